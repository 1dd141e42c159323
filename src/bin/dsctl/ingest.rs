//! `dsctl ingest`: raw labeled media into a dataset.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, ValueEnum};
use feedstock::Error;
use feedstock::codec::Check;
use feedstock::ingest::{
    Control, IngestOptions, InvalidUtf8, Isolate, MaxErrors, Own, Progress, Summary, SyncOptions, Synced, ingest, serve,
};
use feedstock::prepare::ops;
use feedstock::revise::sync;

use crate::prepare::PrepareFlags;
use crate::source::SourceFlags;
use crate::{Done, Global, output};

/// Turn a folder, archive, manifest or text file into a dataset, or add to one.
///
/// Every file is checked; what is bad goes to the quarantine with its reason, and the rest goes on. The version is committed
/// as a whole at the end; interrupted or killed, the same command goes on where it was.
#[derive(Debug, Args)]
pub(crate) struct Ingest {
    /// A folder of class folders (with or without train/ val/ test/ above), a CSV, TSV or JSONL manifest, or text; a .zip, .tar,
    /// .tar.gz or .tar.zst of such; or shards of WebDataset.
    source: PathBuf,
    /// The dataset: a new folder, or one that dsctl made.
    dataset: PathBuf,
    /// Have the rows that this source brought follow it: files that changed replace their rows, rows whose file is gone are taken out, labels and splits
    /// that it says otherwise are taken over, as one version. Rows of other sources stay.
    #[arg(long)]
    sync: bool,
    /// Refuse to take out more of the source's rows than this: a count, a share, or the larger of both (25, 5%, 10|1%; 50% unless told).
    #[arg(long, value_name = "N|P%", requires = "sync", value_parser = removed)]
    max_removed: Option<MaxErrors>,
    /// All rows of the dataset are this source's: where no ingest wrote down which are.
    #[arg(long, requires = "sync", conflicts_with = "listed_rows")]
    all_rows: bool,
    /// The rows that the source lists now are its own: where no ingest wrote down which are.
    #[arg(long, requires = "sync")]
    listed_rows: bool,
    /// Where the source was when it was taken in, if it was moved since.
    #[arg(long, value_name = "PATH", requires = "sync")]
    moved_from: Option<PathBuf>,
    /// Only say what would be added, replaced, removed and relabelled. Nothing is decoded: what is told as new may be refused yet.
    #[arg(long, short = 'n', requires = "sync")]
    dry_run: bool,
    #[command(flatten)]
    flags: IngestFlags,
}

fn removed(text: &str) -> Result<MaxErrors, String> {
    text.parse()
        .map_err(|_| format!("{text:?} is neither a count nor a percentage: write 25, 5% or 10|1% (whichever is more)"))
}

/// How a source becomes a dataset: the flags of `ingest`, and of a retry.
#[derive(Debug, Args)]
pub(crate) struct IngestFlags {
    #[command(flatten)]
    source: SourceFlags,
    #[command(flatten)]
    prepare: PrepareFlags,
    /// Options from a TOML file (schemas/config.schema.json); flags and the environment come first.
    #[arg(long, value_name = "FILE", env = "DSCTL_CONFIG")]
    config: Option<PathBuf>,
    /// How deep each file is looked at before it is accepted.
    #[arg(long, value_enum, env = "DSCTL_CHECK")]
    check: Option<CheckLevel>,
    /// What becomes of text that is not UTF-8 (refuse unless told).
    #[arg(long, value_enum, env = "DSCTL_INVALID_UTF8")]
    invalid_utf8: Option<Utf8Policy>,
    /// Refuse to commit when more entries are bad: a count, a share, or the larger of both (25, 5%, 10|1%). A
    /// damaged recording counts as one, of the share as its rows.
    #[arg(long, value_name = "N|P%", env = "DSCTL_MAX_ERRORS")]
    pub(crate) max_errors: Option<MaxErrors>,
    /// The same for each class alone: a count, or a share of the entries of the class (no limit unless told).
    #[arg(long, value_name = "N|P%", env = "DSCTL_MAX_ERRORS_PER_CLASS")]
    max_errors_per_class: Option<MaxErrors>,
    /// Bytes that are kept of each refused entry (1MiB unless told; 0 keeps none).
    #[arg(long, value_name = "BYTES", env = "DSCTL_QUARANTINE_BYTES", value_parser = size)]
    quarantine_bytes: Option<u64>,
    /// Bytes that are kept of all of them (256MiB unless told).
    #[arg(long, value_name = "BYTES", env = "DSCTL_QUARANTINE_TOTAL_BYTES", value_parser = size)]
    quarantine_total_bytes: Option<u64>,
    /// Decode in processes of their own: a file that crashes its decoder, never comes back or takes all memory is refused
    /// (crashed, timed-out, out-of-memory), and the rest goes on. The dataset is the same.
    #[arg(long, env = "DSCTL_ISOLATE", value_parser = clap::builder::BoolishValueParser::new())]
    isolate: bool,
    /// Seconds by the clock that one file may be decoded with --isolate (600 unless told). Without it, a run whose file takes
    /// six times as long ends and names it.
    #[arg(long, value_name = "S", env = "DSCTL_PAYLOAD_SECONDS")]
    payload_seconds: Option<f64>,
    /// Read every file again, also those that an ingest of this source saw with the size and time of change that they have
    /// now. Unless told, these are skipped unread.
    #[arg(long, env = "DSCTL_CHECKSUM", value_parser = clap::builder::BoolishValueParser::new())]
    checksum: bool,
    /// Payload bytes at which a shard is cut (64 MiB unless told); 65,536 rows cut it too.
    #[arg(long, value_name = "BYTES", env = "DSCTL_SHARD_BYTES")]
    shard_bytes: Option<u64>,
    /// Put in front of every id, for a second source whose relative paths are the same.
    #[arg(long, value_name = "PREFIX")]
    id_prefix: Option<String>,
}

/// A number of bytes, plain or with a unit.
fn size(text: &str) -> Result<u64, String> {
    let (number, unit) = text.split_at(text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len()));
    let shift = match unit.trim() {
        "" | "B" => 0,
        "KiB" => 10,
        "MiB" => 20,
        "GiB" => 30,
        _ => return Err(format!("{text:?} is no number of bytes: 65536, 64KiB, 1MiB or 2GiB")),
    };
    let bytes = number.parse::<u64>().ok().and_then(|n| n.checked_mul(1 << shift));
    bytes.ok_or_else(|| format!("{text:?} is no number of bytes"))
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
enum Utf8Policy {
    /// The entry goes to the quarantine.
    Refuse,
    /// Each part that is none becomes U+FFFD.
    Replace,
}

impl IngestFlags {
    /// The options of the file, or else `options`, with what was given in the place of what they say.
    pub(crate) fn options(&self, options: IngestOptions, global: &Global) -> Result<IngestOptions, Error> {
        let mut options: IngestOptions = match &self.config {
            Some(path) => crate::read_toml(path)?,
            None => options,
        };
        self.source.apply(&mut options);
        self.prepare.apply(&mut options.prepare)?;
        if let Some(check) = self.check {
            options.check = match check {
                CheckLevel::Decode => Check::Decode,
                CheckLevel::Entropy => Check::Entropy,
                CheckLevel::Header => Check::Header,
            };
        }
        options.invalid_utf8 = match self.invalid_utf8 {
            Some(Utf8Policy::Refuse) => InvalidUtf8::Refuse,
            Some(Utf8Policy::Replace) => InvalidUtf8::Replace,
            None => options.invalid_utf8,
        };
        options.max_errors = self.max_errors.unwrap_or(options.max_errors);
        options.max_errors_per_class = self.max_errors_per_class.or(options.max_errors_per_class);
        options.quarantine_bytes = self.quarantine_bytes.unwrap_or(options.quarantine_bytes);
        options.quarantine_total_bytes = self.quarantine_total_bytes.unwrap_or(options.quarantine_total_bytes);
        options.isolate |= self.isolate;
        options.checksum |= self.checksum;
        options.payload_seconds = self.payload_seconds.unwrap_or(options.payload_seconds);
        options.shard_bytes = self.shard_bytes.unwrap_or(options.shard_bytes);
        options.id_prefix = self.id_prefix.clone().unwrap_or(options.id_prefix);
        options.threads = global.threads.unwrap_or(options.threads);
        options.validate()?;
        Ok(options)
    }
}

/// This program, as a process that looks at payloads.
fn isolated() -> Result<Isolate, Error> {
    let program = std::env::current_exe().map_err(|e| Error::library("looking for the program itself", e))?;
    Ok(Isolate { program, args: vec!["isolated".into()] })
}

/// Look at payloads for an ingest with --isolate, which begins this by itself.
#[derive(Debug, Args)]
pub(crate) struct Isolated {}

impl Isolated {
    pub(crate) fn run(self) -> Done {
        serve(&ops())?;
        Ok(ExitCode::SUCCESS)
    }
}

/// Runs an ingest with a meter and under Ctrl-C.
pub(crate) fn watched<T>(global: &Global, work: impl FnOnce(&Control) -> Result<T, Error>) -> Result<T, Error> {
    let meter = std::sync::Arc::new(output::Meter::new(global, "entries"));
    let shown = meter.clone();
    let progress = move |p: Progress| {
        if p.total == 0 {
            return shown.count(p.listed, "entries listed");
        }
        let refused = if p.refused > 0 { format!(" ({} refused)", p.refused) } else { String::new() };
        shown.show(p.done, p.total, &refused);
    };
    let told = global.clone();
    let stuck = move |error: &Error| {
        // The thread that is stuck ends with the process; what is finished is in the journal.
        output::error(&told, error);
        std::process::exit(error.exit_code().into());
    };
    let control = Control {
        isolate: Some(isolated()?),
        stuck: Some(std::sync::Arc::new(stuck)),
        cancel: output::interrupt()?,
        progress: (!global.quiet).then(|| Box::new(progress) as Box<dyn Fn(Progress) + Send + Sync>),
        ..Control::default()
    };
    let done = work(&control);
    meter.finish();
    if matches!(done, Err(Error::Interrupted)) {
        output::note(global, "note: nothing was committed; the same command goes on where this one stopped");
    }
    done
}

impl Ingest {
    pub(crate) fn run(self, global: &Global) -> Done {
        let options = self.flags.options(IngestOptions::default(), global)?;
        let summary = watched(global, |control| match self.following() {
            Some(following) => sync(&self.source, &self.dataset, &options, &following, control),
            None => ingest(&self.source, &self.dataset, &options, control),
        })?;
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

    /// How rows follow the source, if they do.
    fn following(&self) -> Option<SyncOptions> {
        let own = match (self.all_rows, self.listed_rows) {
            (true, _) => Own::All,
            (_, true) => Own::Listed,
            _ => Own::Recorded,
        };
        let max_removed = self.max_removed.unwrap_or(SyncOptions::default().max_removed);
        self.sync.then_some(SyncOptions {
            max_removed,
            own,
            moved_from: self.moved_from.clone(),
            dry_run: self.dry_run,
        })
    }

    /// What became of rows that follow their source.
    fn tell_synced(&self, summary: &Summary, synced: &Synced) {
        let target = self.dataset.display();
        let version = match (synced.committed, synced.dry_run) {
            (true, _) => format!("version {}", summary.version),
            (_, true) => format!("version {} stays (dry run)", summary.version),
            _ => format!("version {} stays", summary.version),
        };
        let Synced { added, replaced, removed, relabelled, moved, .. } = synced;
        output::line(format_args!(
            "{target}: {version}: {added} rows added, {replaced} replaced, {removed} removed, {relabelled} relabelled, {moved} moved"
        ));
        let notes = [
            (synced.kept_refused, "rows are kept, although what the source has in their place is refused now"),
            (synced.kept_shared, "rows that the source has no more are kept: another source has them"),
            (synced.others, "rows are of other sources, and stay as they are"),
        ];
        for (rows, what) in notes.into_iter().filter(|(rows, _)| *rows > 0) {
            output::line(format_args!("  {rows} {what}"));
        }
        if summary.skipped > 0 {
            output::line(format_args!("  {} rows have the content of their files{}", summary.skipped, unread(summary)));
        }
        self.tell_refused(summary);
    }

    fn tell(&self, summary: &Summary) {
        if let Some(synced) = &summary.sync {
            return self.tell_synced(summary, synced);
        }
        let target = self.dataset.display();
        if summary.rows == 0 && summary.skipped > 0 {
            output::line(format_args!(
                "{target}: nothing new, {} rows are in version {} already{}",
                summary.skipped,
                summary.version,
                unread(summary)
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
        if summary.mended > 0 {
            output::line(format_args!("  {} rows were not UTF-8: {} U+FFFD put in", summary.mended, summary.replaced));
        }
        if summary.skipped > 0 {
            output::line(format_args!("  {} rows were there already{}", summary.skipped, unread(summary)));
        }
        self.tell_refused(summary);
    }

    fn tell_refused(&self, summary: &Summary) {
        if let Some(list) = &summary.quarantine {
            let target = self.dataset.display();
            let more = format_args!("dsctl quarantine ls {target}");
            output::line(format_args!("  {} entries refused: see {target}/{list} ({more})", summary.quarantined));
        }
    }
}

/// How many rows were known without being read.
pub(crate) fn unread(summary: &Summary) -> String {
    match summary.unread {
        0 => String::new(),
        n => format!(", {n} of them unread (same size and time of change; --checksum reads them)"),
    }
}
