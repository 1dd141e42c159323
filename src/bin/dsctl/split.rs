//! `dsctl split`: which split rows are in.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{ArgGroup, Args};
use feedstock::Error;
use feedstock::data::partition::Fractions;
use feedstock::duplicates::Level;
use feedstock::revise::{SplitBy, SplitOptions, SplitSummary, split, split_as_told, split_together};
use feedstock::store::Store;
use serde_json::json;

use crate::relabel::told;
use crate::{Done, Global, dedup, output};

/// Put rows into other splits, as a new version: by fractions, or as a file tells. No media is read or written.
#[derive(Debug, Args)]
#[command(
    group(ArgGroup::new("how").required(true).args(["fractions", "from_csv"])),
    after_help = "\
A row's split is a hash of the seed and its id, or of its group: rows that are added later change it for none, and the same command puts the new ones where they belong. \
With --stratify the shares are exact within each value, and rows that are added may move a few of the others.\n\
The splits stand over the files: feedstock sees them, other readers of the Parquet files see the old ones until `dsctl compact --materialise`."
)]
pub(crate) struct Split {
    /// A dataset that dsctl made.
    dataset: PathBuf,
    /// The splits with their shares: train=0.8,validation=0.1,test=0.1.
    #[arg(long, value_name = "SPLIT=SHARE,..", value_parser = fractions)]
    fractions: Option<Fractions>,
    /// A table (.csv, .tsv, .jsonl) with the columns `id` and `split`.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["stratify", "group", "group_id", "group_duplicates", "seed", "only"])]
    from_csv: Option<PathBuf>,
    /// The same shares of each value of this column, exactly.
    #[arg(long, value_name = "COLUMN", conflicts_with_all = ["group", "group_id"])]
    stratify: Option<String>,
    /// All rows with the same value in this column (a label, a number, a text; of media the same bytes) in one split: no speaker on both sides.
    #[arg(long, value_name = "COLUMN", conflicts_with = "group_id")]
    group: Option<String>,
    /// All rows for whose ids the first group of this expression is the same in one split: '/(speaker\d+)_'; '^(.*)#' for the parts of a file.
    #[arg(long, value_name = "REGEX")]
    group_id: Option<String>,
    /// Rows that are there twice (`dsctl dedup`) in one split, also beside --group, --group-id or --stratify.
    #[arg(long)]
    group_duplicates: bool,
    /// Those that are nearly alike, too.
    #[arg(long, requires = "group_duplicates")]
    near: bool,
    #[command(flatten)]
    how: dedup::How,
    /// Only rows that are in this split; may be given several times.
    #[arg(long, value_name = "SPLIT")]
    only: Vec<String>,
    /// Another seed is another assignment.
    #[arg(long, value_name = "N", default_value_t = 0)]
    seed: u64,
    /// Leave out rows of the file whose ids are not in the dataset.
    #[arg(long, requires = "from_csv")]
    skip_unknown: bool,
    /// Say what would change, and change nothing.
    #[arg(long, short = 'n')]
    dry_run: bool,
}

/// Splits with their shares, as a flag has them.
pub(crate) fn fractions(text: &str) -> Result<Fractions, String> {
    let part = |part: &str| {
        let (split, share) = part.split_once('=').ok_or(format!("{part:?} is no SPLIT=SHARE"))?;
        let share = share.trim().parse().map_err(|e| format!("{part:?}: {e}"))?;
        let split = feedstock::source::split_name(split.trim()).map_err(|fault| fault.message)?;
        Ok((split, share))
    };
    let parts = text.split(',').map(part).collect::<Result<Vec<_>, String>>()?;
    Fractions::new(parts).map_err(|e| e.to_string())
}

impl Split {
    pub(crate) fn run(self, global: &Global) -> Done {
        let store = Store::open(&self.dataset);
        let mut listed = Vec::new();
        let done = match (&self.from_csv, &self.fractions) {
            (Some(file), _) => {
                split_as_told(&store, file, (self.skip_unknown, self.dry_run), &mut |problem| -> Result<(), Error> {
                    if !(self.skip_unknown && problem.code == "unknown-id") {
                        told(global, &mut listed, &problem);
                    }
                    Ok(())
                })?
            }
            (None, Some(fractions)) if self.group_duplicates => {
                let level = if self.near { Level::Near } else { Level::Decoded };
                let duplicates = self.how.options(level, global)?;
                let options = self.options(fractions);
                dedup::watched(global, |watch| split_together(&store, &options, &duplicates, watch))?
            }
            (None, Some(_)) if self.how.column.is_some() => {
                let help = "say --group-duplicates, or leave --column out";
                return Err(Error::config("a column to compare rows by, and duplicates are not looked for", help));
            }
            (None, Some(fractions)) => split(&store, &self.options(fractions))?,
            (None, None) => return Err(Error::config("no splits are given", "say --fractions or --from-csv")),
        };
        let wrong = done.problems + if self.skip_unknown { 0 } else { done.unknown };
        for note in &done.notes {
            output::note(global, format!("note: {note}"));
        }
        if global.json {
            output::json(&json!({"split": done, "problems": listed}))?;
        } else {
            self.tell(&done, wrong);
        }
        Ok(if wrong > 0 { ExitCode::from(3) } else { ExitCode::SUCCESS })
    }

    fn options(&self, fractions: &Fractions) -> SplitOptions {
        let by = match (&self.stratify, &self.group, &self.group_id) {
            (Some(column), ..) => SplitBy::Stratum(column.clone()),
            (_, Some(column), _) => SplitBy::Group(column.clone()),
            (_, _, Some(expression)) => SplitBy::GroupId(expression.clone()),
            _ => SplitBy::Row,
        };
        let (fractions, only) = (fractions.clone(), self.only.clone());
        SplitOptions { fractions, by, seed: self.seed, only, dry_run: self.dry_run }
    }

    fn tell(&self, done: &SplitSummary, wrong: u64) {
        for (split, rows) in &done.after {
            let before = done.before.get(split).copied().unwrap_or(0);
            output::line(format_args!("  split {split:<12} {rows} rows ({before} before)"));
        }
        for (split, before) in done.before.iter().filter(|(split, _)| !done.after.contains_key(*split)) {
            output::line(format_args!("  split {split:<12} 0 rows ({before} before)"));
        }
        if let (Some(groups), Some(alone)) = (done.groups, done.alone) {
            output::line(format_args!("  {groups} groups, {} rows without one", alone));
        }
        let version = output::version_told(done.committed, self.dry_run, done.version, wrong);
        output::line(format_args!(
            "{}: {version}: {} of {} rows moved{}",
            self.dataset.display(),
            done.moved,
            done.rows,
            if done.unknown > 0 { format!(", {} are not there", done.unknown) } else { String::new() }
        ));
    }
}
