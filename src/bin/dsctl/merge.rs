//! `dsctl merge`: the rows of other datasets behind one's own.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use feedstock::revise::{MergeOptions, merge};
use feedstock::store::Store;
use feedstock::{Error, open};
use serde_json::json;

use crate::relabel::told;
use crate::{Done, Global, output};

/// Append the rows of other datasets, each as a new version. Columns are joined by name, classes by theirs.
#[derive(Debug, Args)]
#[command(after_help = "\
A row that is there already with the same content is left out; one of whose id another is there, or with a class beyond the names, is listed: exit code 3, and nothing of that dataset is committed. \
Payloads are written as they are stored; `dsctl ingest` is for raw media, which it checks.")]
pub(crate) struct Merge {
    /// The dataset that grows: one that dsctl made.
    into: PathBuf,
    /// Those whose rows are appended: datasets, or folders of Parquet files.
    #[arg(required = true)]
    others: Vec<PathBuf>,
    /// Put in front of every id of the others.
    #[arg(long, value_name = "PREFIX", default_value = "")]
    id_prefix: String,
    /// Leave out columns that only one of the two has, or make them null.
    #[arg(long)]
    common_columns: bool,
    /// Payload bytes at which a shard is full (64 MiB unless told).
    #[arg(long, value_name = "BYTES", default_value_t = 0, hide_default_value = true)]
    shard_bytes: u64,
    /// Say what would be appended, and change nothing.
    #[arg(long, short = 'n')]
    dry_run: bool,
}

impl Merge {
    pub(crate) fn run(self, global: &Global) -> Done {
        let store = Store::open(&self.into);
        let options = MergeOptions {
            id_prefix: self.id_prefix.clone(),
            common_columns: self.common_columns,
            shard_bytes: self.shard_bytes,
            dry_run: self.dry_run,
        };
        let (mut listed, mut all) = (Vec::new(), Vec::new());
        let mut wrong = 0;
        for path in &self.others {
            let other = open(path)?;
            let done = merge(&store, &other, &options, &mut |problem| -> Result<(), Error> {
                told(global, &mut listed, &problem);
                Ok(())
            })?;
            let problems = done.taken + done.unnamed;
            wrong += problems;
            for note in &done.notes {
                output::note(global, format!("note: {}: {note}", path.display()));
            }
            if global.json {
                all.push(json!({"path": path, "merged": done}));
                continue;
            }
            for (split, rows) in &done.splits {
                output::line(format_args!("  split {split:<12} {rows} rows"));
            }
            for (column, classes) in &done.classes {
                output::line(format_args!("  new classes of {column}: {}", classes.join(", ")));
            }
            let version = output::version_told(done.committed, self.dry_run, done.version, problems);
            output::line(format_args!(
                "{}: {version}: {} rows of {} added, {} were there already{}{}",
                self.into.display(),
                if done.committed || self.dry_run { done.added } else { 0 },
                path.display(),
                done.same,
                if done.taken > 0 { format!(", {} ids are those of other rows", done.taken) } else { String::new() },
                if done.unnamed > 0 {
                    format!(", {} have a class without a name", done.unnamed)
                } else {
                    String::new()
                }
            ));
            if problems > 0 {
                break;
            }
        }
        if global.json {
            output::json(&json!({"datasets": all, "problems": listed}))?;
        }
        Ok(if wrong > 0 { ExitCode::from(3) } else { ExitCode::SUCCESS })
    }
}
