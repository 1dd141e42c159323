//! `dsctl dedup`: what is there twice, and out with it.

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::atomic::Ordering;

use clap::Args;
use feedstock::Error;
use feedstock::duplicates::{Copy, DuplicateOptions, Group, KeepIn, Leak, Level, Report, ReportOptions, Watch, find};
use feedstock::revise::{Deduplicated, drop_duplicates};
use feedstock::store::Store;
use serde_json::json;

use crate::remove::{proof, rows_out};
use crate::{Done, Global, ls, output};

/// Find rows that are there twice: the same bytes, the same pixels, samples or frames, with --near also what is nearly alike; and say which of them are in several splits.
///
/// Exit code 3 if there are any, 0 if not; with --drop 0.
#[derive(Debug, Args)]
#[command(after_help = "\
Rows are compared by one column: of groups, the rows in the split that --keep-in names first have the first claim to stay, then those that come first. By default that is test, then validation, then train, \
so that what models are measured by stays whole.\n\
Groups whose labels differ (classes, objects) are reported, and neither kept nor dropped in part: one of the labels is wrong, and nobody knows which. --drop leaves them as they are, --drop-conflicting takes them out as a whole.\n\
--drop makes a new version, as `dsctl rm` does; older versions still have the rows.")]
pub(crate) struct Dedup {
    /// A dataset, a folder of Parquet files, or a raw folder; with --drop one that dsctl made.
    dataset: PathBuf,
    #[command(flatten)]
    how: How,
    /// Compare bytes only: nothing is decoded.
    #[arg(long, conflicts_with = "near")]
    payload: bool,
    /// Also what is nearly alike: pictures, recordings and texts that were changed a little.
    #[arg(long)]
    near: bool,
    /// Another version than the latest.
    #[arg(long, value_name = "V", conflicts_with = "drop")]
    version: Option<u64>,
    /// Groups that are listed, and rows of each; the others are counted.
    #[arg(long, value_name = "N", default_value_t = 20)]
    limit: u64,
    /// Only groups with rows in several splits; with --drop, rows go only for one in another split.
    #[arg(long)]
    across_splits_only: bool,
    /// Take all but one row of each group out, as a new version.
    #[arg(long)]
    drop: bool,
    /// Say what would be out, and change nothing.
    #[arg(long, short = 'n', requires = "drop")]
    dry_run: bool,
    /// The splits whose rows stay before others [default: test,validation,train].
    #[arg(long, value_name = "SPLIT,..", value_delimiter = ',')]
    keep_in: Vec<String>,
    /// Take groups whose labels differ out as a whole.
    #[arg(long, requires = "drop")]
    drop_conflicting: bool,
}

/// How rows are compared.
#[derive(Debug, Args)]
pub(crate) struct How {
    /// Compare rows by this column of media or text (the first one of pictures, recordings or clips unless told, else the first text).
    #[arg(long, value_name = "COLUMN")]
    pub(crate) column: Option<String>,
    /// From which similarity on, 0 to 1, sketches are nearly alike; unless told, as the method says (`dsctl list`).
    #[arg(long, value_name = "X", requires = "near")]
    pub(crate) similarity: Option<f64>,
}

impl How {
    /// The options that these and others come to.
    pub(crate) fn options(&self, level: Level, global: &Global) -> Result<DuplicateOptions, Error> {
        let default = DuplicateOptions::default();
        let threads = global.threads.unwrap_or(default.threads);
        let (column, similarity) = (self.column.clone(), self.similarity);
        let options = DuplicateOptions { column, level, similarity, threads, ..default };
        options.validate()?;
        Ok(options)
    }
}

/// Runs what finds duplicates with a meter, until Ctrl-C.
pub(crate) fn watched<T>(global: &Global, run: impl FnOnce(Watch<'_>) -> Result<T, Error>) -> Result<T, Error> {
    let cancel = output::interrupt()?;
    let meter = output::Meter::new(global, "");
    let watch = |what: &'static str, done, total| {
        meter.show(done, total, what);
        if cancel.load(Ordering::Relaxed) { Err(Error::Interrupted) } else { Ok(()) }
    };
    let done = run(&watch);
    meter.finish();
    done
}

impl Dedup {
    pub(crate) fn run(self, global: &Global) -> Done {
        let level = match (self.near, self.payload) {
            (true, _) => Level::Near,
            (_, true) => Level::Payload,
            _ => Level::Decoded,
        };
        let options = self.how.options(level, global)?;
        let told = ReportOptions {
            keep_in: if self.keep_in.is_empty() { KeepIn::default() } else { KeepIn(self.keep_in.clone()) },
            across_splits_only: self.across_splits_only,
            drop_conflicting: self.drop_conflicting,
            limit: self.limit,
        };
        if self.drop {
            let store = Store::open(&self.dataset);
            let done = watched(global, |watch| drop_duplicates(&store, &options, &told, self.dry_run, watch))?;
            notes(global, &done.found, self.near);
            for note in &done.removed.notes {
                output::note(global, format!("note: {note}"));
            }
            if global.json {
                output::json(&json!({"duplicates": done.found, "removed": done.removed}))?;
            } else {
                self.tell_dropped(&done);
            }
            return Ok(ExitCode::SUCCESS);
        }
        let dataset = ls::open_at(&self.dataset, self.version)?;
        for text in dataset.notes() {
            output::note(global, format!("note: {text}"));
        }
        let report = watched(global, |watch| find(&dataset, &options, watch)?.report(&told, watch, &mut |_| Ok(())))?;
        notes(global, &report, self.near);
        if global.json {
            output::json(&json!({"duplicates": report}))?;
        } else {
            tell(&report);
        }
        Ok(if report.groups > 0 { ExitCode::from(3) } else { ExitCode::SUCCESS })
    }

    fn tell_dropped(&self, done: &Deduplicated) {
        tell(&done.found);
        let (found, removed) = (&done.found, &done.removed);
        rows_out(&self.dataset, removed, self.dry_run, 0);
        if found.conflicting > 0 && !self.drop_conflicting {
            output::line(format_args!(
                "  {} groups stay as they are, as their labels differ (`dsctl relabel` mends them, --drop-conflicting takes them out)",
                found.conflicting
            ));
        }
        proof(&self.dataset, removed);
    }
}

fn notes(global: &Global, report: &Report, near: bool) {
    let left_out: Vec<String> =
        report.left_out.iter().map(|(reason, payloads)| format!("{payloads} {reason}")).collect();
    if !left_out.is_empty() {
        output::note(global, format!("note: not compared: {}", left_out.join(", ")));
    }
    if near && report.crowded.keys > 0 {
        output::note(
            global,
            format!(
                "note: {} keys are shared by very many sketches ({} at the most), which were compared with representatives only: some near duplicates may not be found",
                report.crowded.keys, report.crowded.largest
            ),
        );
    }
}

/// Groups, then what they come to.
fn tell(report: &Report) {
    for Group { level, count, splits, conflicts, rows } in &report.listed {
        let mut what = format!("{count} rows, {}", level.name());
        if splits.len() > 1 {
            what.push_str(&format!(", in several splits: {}", splits.join(", ")));
        }
        if !conflicts.is_empty() {
            what.push_str(&format!(", they differ in {}", conflicts.join(", ")));
        }
        output::line(&what);
        for copy in rows {
            let Copy { row, id, split, labels, level, similarity, stays } = copy;
            let labels: String = labels.iter().map(|(name, value)| format!(" {name}={value}")).collect();
            let how = if *level == Level::Near { format!(" ({similarity:.3})") } else { String::new() };
            let mark = if *stays { " " } else { "-" };
            output::line(format_args!("  {mark} {split} row {row} {id:?}{labels}{how}"));
        }
        if *count > rows.len() as u64 {
            output::line(format_args!("    and {} more", count - rows.len() as u64));
        }
    }
    let more = report.groups - report.listed.len() as u64;
    if more > 0 {
        output::line(format_args!("and {more} more groups: --limit lists them"));
    }
    for Leak { splits: [one, other], groups, rows: [in_one, in_other] } in &report.leaks {
        output::line(format_args!(
            "{one} and {other} have {groups} in common: {in_one} rows of {one}, {in_other} of {other}"
        ));
    }
    let levels: Vec<String> =
        report.levels.iter().map(|(level, groups)| format!("{groups} {}", level.name())).collect();
    let by = match (&report.method, report.similarity) {
        (Some(method), Some(similarity)) => format!(" and by {method} from {similarity} on"),
        _ => String::new(),
    };
    output::line(format_args!(
        "{}: {} groups{}, {} of {} rows by {}{by}: {} across splits, {} with labels that differ; {} rows are surplus",
        report.dataset.display(),
        report.groups,
        if levels.is_empty() { String::new() } else { format!(" ({})", levels.join(", ")) },
        report.in_groups,
        report.rows,
        report.column,
        report.across_splits,
        report.conflicting,
        report.surplus
    ));
}
