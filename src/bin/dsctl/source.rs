//! The flags that say how a source is read: those of `ingest` and `detect`.

use clap::{Args, ValueEnum};
use feedstock::data::info::Kind;
use feedstock::ingest::IngestOptions;
use feedstock::source::{SplitDirs, TextUnit};

/// How a source is read.
#[derive(Debug, Args)]
#[command(next_help_heading = "How the source is read")]
pub(crate) struct SourceFlags {
    /// What SOURCE is: folder, manifest or text (`dsctl list sources`). Detected unless told.
    #[arg(long, value_name = "F")]
    pub(crate) format: Option<String>,
    /// Take labels from file names: a regular expression with a group named `label` (and perhaps one named `split`).
    #[arg(long, value_name = "REGEX")]
    label_regex: Option<String>,
    /// The manifest column that holds the class.
    #[arg(long, value_name = "COLUMN")]
    label_column: Option<String>,
    /// The manifest column that holds the relative path.
    #[arg(long, value_name = "COLUMN")]
    path_column: Option<String>,
    /// The kind of media, where the files do not make it plain.
    #[arg(long, value_enum)]
    kind: Option<MediaKind>,
    /// What one row of a text file is.
    #[arg(long, value_enum)]
    text_unit: Option<Unit>,
    /// The split of rows that the source puts into none (train unless told).
    #[arg(long)]
    split: Option<String>,
    /// Whether the top folders are splits: auto (only if all that hold media are called so), yes or no.
    #[arg(long, value_enum)]
    split_dirs: Option<Dirs>,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum MediaKind {
    Image,
    Audio,
    Video,
    Text,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Unit {
    Line,
    Paragraph,
    File,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Dirs {
    Auto,
    Yes,
    No,
}

impl SourceFlags {
    /// Puts what was given in the place of what the options say.
    pub(crate) fn apply(&self, options: &mut IngestOptions) {
        options.format = self.format.clone().or(options.format.take());
        let source = &mut options.source;
        source.label_regex = self.label_regex.clone().or(source.label_regex.take());
        source.label_column = self.label_column.clone().or(source.label_column.take());
        source.path_column = self.path_column.clone().or(source.path_column.take());
        if let Some(split) = &self.split {
            source.split.clone_from(split);
        }
        if let Some(kind) = self.kind {
            source.kind = Some(match kind {
                MediaKind::Image => Kind::Image,
                MediaKind::Audio => Kind::Audio,
                MediaKind::Video => Kind::Video,
                MediaKind::Text => Kind::Text,
            });
        }
        if let Some(unit) = self.text_unit {
            source.text_unit = match unit {
                Unit::Line => TextUnit::Line,
                Unit::Paragraph => TextUnit::Paragraph,
                Unit::File => TextUnit::File,
            };
        }
        if let Some(dirs) = self.split_dirs {
            source.split_dirs = match dirs {
                Dirs::Auto => SplitDirs::Auto,
                Dirs::Yes => SplitDirs::Yes,
                Dirs::No => SplitDirs::No,
            };
        }
    }
}
