//! `dsctl ingest`: raw labeled media into a dataset.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, ValueEnum};
use feedstock::Error;
use feedstock::codec::Check;
use feedstock::data::info::Kind;
use feedstock::ingest::{Control, IngestOptions, MaxErrors, Progress, Summary, ingest};
use feedstock::source::{SplitDirs, TextUnit};

use crate::{Done, Global, output};

/// Turn a folder, manifest or text file into a dataset, or add to one.
///
/// Every file is checked; what is bad goes to the quarantine with its reason, and the rest goes on. The version is committed
/// as a whole at the end; interrupted or killed, the same command goes on where it was.
#[derive(Debug, Args)]
pub(crate) struct Ingest {
    /// A folder of class folders (with or without train/ val/ test/ above), a CSV, TSV or JSONL manifest, or text.
    source: PathBuf,
    /// The dataset: a new folder, or one that dsctl made.
    dataset: PathBuf,
    /// What SOURCE is: folder, manifest or text. Detected unless told.
    #[arg(long, value_name = "F")]
    format: Option<String>,
    /// Options from a TOML file; flags come first.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// How deep each file is looked at before it is accepted.
    #[arg(long, value_enum)]
    check: Option<CheckLevel>,
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
    /// Refuse to commit when more entries are bad: a count, a share, or the larger of both (25, 5%, 10|1%).
    #[arg(long, value_name = "N|P%")]
    max_errors: Option<MaxErrors>,
    /// Payload bytes at which a shard is cut (64 MiB unless told); 65,536 rows cut it too.
    #[arg(long, value_name = "BYTES")]
    shard_bytes: Option<u64>,
    /// Put in front of every id, for a second source whose relative paths are the same.
    #[arg(long, value_name = "PREFIX")]
    id_prefix: Option<String>,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum CheckLevel {
    /// Decode everything.
    Decode,
    /// Walk the compressed stream, where that is cheaper than decoding.
    Entropy,
    /// Only the header: a file cut in the middle passes.
    Header,
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

impl Ingest {
    fn options(&self, global: &Global) -> Result<IngestOptions, Error> {
        let mut options: IngestOptions = match &self.config {
            Some(path) => crate::read_toml(path)?,
            None => IngestOptions::default(),
        };
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
        if let Some(check) = self.check {
            options.check = match check {
                CheckLevel::Decode => Check::Decode,
                CheckLevel::Entropy => Check::Entropy,
                CheckLevel::Header => Check::Header,
            };
        }
        options.format = self.format.clone().or(options.format);
        options.max_errors = self.max_errors.unwrap_or(options.max_errors);
        options.shard_bytes = self.shard_bytes.unwrap_or(options.shard_bytes);
        options.id_prefix = self.id_prefix.clone().unwrap_or(options.id_prefix);
        options.threads = global.threads.unwrap_or(options.threads);
        options.validate()?;
        Ok(options)
    }

    pub(crate) fn run(self, global: &Global) -> Done {
        let options = self.options(global)?;
        let meter = std::sync::Arc::new(output::Meter::new(global, "entries"));
        let shown = meter.clone();
        let progress = move |p: Progress| {
            if p.total == 0 {
                return shown.count(p.listed, "entries listed");
            }
            let refused = if p.refused > 0 { format!(" ({} refused)", p.refused) } else { String::new() };
            shown.show(p.done, p.total, &refused);
        };
        let control = Control {
            cancel: output::interrupt()?,
            progress: (!global.quiet).then(|| Box::new(progress) as Box<dyn Fn(Progress) + Send + Sync>),
            ..Control::default()
        };
        let done = ingest(&self.source, &self.dataset, &options, &control);
        meter.finish();
        if matches!(done, Err(Error::Interrupted)) {
            output::note(global, "note: nothing was committed; the same command goes on where this one stopped");
        }
        let summary = done?;
        for text in &summary.notes {
            output::note(global, format!("note: {text}"));
        }
        if global.json {
            output::json(&summary)?;
        } else {
            self.tell(&summary);
        }
        Ok(ExitCode::SUCCESS)
    }

    fn tell(&self, summary: &Summary) {
        let target = self.dataset.display();
        if summary.rows == 0 && summary.skipped > 0 {
            output::line(format_args!(
                "{target}: nothing new, {} rows are in version {} already",
                summary.skipped, summary.version
            ));
            self.tell_refused(summary);
            return;
        }
        let seconds = summary.seconds.max(1e-9);
        output::line(format_args!(
            "{target}: version {}, {} rows added in {} shards, {} in {:.2} s ({:.0} entries/s)",
            summary.version,
            summary.rows,
            summary.shards,
            output::bytes(summary.bytes),
            summary.seconds,
            (summary.rows + summary.quarantined) as f64 / seconds
        ));
        for (split, rows) in &summary.rows_by_split {
            output::line(format_args!("  split {split:<12} {rows} rows"));
        }
        for (label, rows) in &summary.rows_by_label {
            output::line(format_args!("  label {label:<12} {rows} rows"));
        }
        if summary.skipped > 0 {
            output::line(format_args!("  {} rows were there already", summary.skipped));
        }
        self.tell_refused(summary);
    }

    fn tell_refused(&self, summary: &Summary) {
        if let Some(list) = &summary.quarantine {
            let target = self.dataset.display();
            output::line(format_args!("  {} entries refused: see {target}/{list}", summary.quarantined));
        }
    }
}
