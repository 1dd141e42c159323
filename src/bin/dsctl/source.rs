//! The flags that say how a source is read: those of `ingest` and `detect`.

use clap::{Args, ValueEnum};
use feedstock::data::info::Kind;
use feedstock::ingest::IngestOptions;
use feedstock::source::{Count, Cut, SplitDirs, TextUnit};

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
    /// Windows of a long text: their length (4096 unless told). With it a row of a text file is a window.
    #[arg(long, value_name = "N")]
    text_window: Option<u64>,
    /// From the beginning of one window to that of the next (the length unless told; less makes windows overlap).
    #[arg(long, value_name = "N")]
    text_stride: Option<u64>,
    /// What windows are counted in (chars unless told).
    #[arg(long, value_enum)]
    text_count: Option<Units>,
    /// Where windows may end (anywhere unless told).
    #[arg(long, value_enum)]
    text_cut: Option<Ends>,
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
    /// Stretches of a long document (`--text-window`).
    Window,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Units {
    /// Unicode characters.
    Chars,
    /// Bytes of UTF-8; no character is cut in two.
    Bytes,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Ends {
    /// Behind any character.
    Anywhere,
    /// Behind white space, where there is some near the end.
    Space,
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
                Unit::Window => TextUnit::Window,
            };
        }
        if self.text_window.is_some() || self.text_stride.is_some() || self.text_count.is_some() || self.text_cut.is_some()
        {
            let window = source.text_window.get_or_insert_default();
            window.length = self.text_window.unwrap_or(window.length);
            window.stride = self.text_stride.or(window.stride);
            match self.text_count {
                Some(Units::Chars) => window.count = Count::Chars,
                Some(Units::Bytes) => window.count = Count::Bytes,
                None => {}
            }
            match self.text_cut {
                Some(Ends::Anywhere) => window.cut = Cut::Anywhere,
                Some(Ends::Space) => window.cut = Cut::Space,
                None => {}
            }
            if self.text_unit.is_none() {
                source.text_unit = TextUnit::Window;
            }
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
