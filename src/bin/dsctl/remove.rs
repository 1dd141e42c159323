//! `dsctl rm`: rows out of a dataset.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{ArgGroup, Args};
use feedstock::Error;
use feedstock::revise::{RemoveOptions, Removed, remove};
use feedstock::store::Store;
use serde_json::json;

use crate::relabel::told;
use crate::{Done, Global, output};

/// Take rows out of a dataset, as a new version, and show that they are out.
#[derive(Debug, Args)]
#[command(
    group(ArgGroup::new("which").required(true).multiple(true).args(["id", "ids_from", "filter", "source"])),
    after_help = "\
A row is out if any of the flags names it. Only shards that hold such rows are written anew; then the ids of every shard file of the new version are read. \
Older versions still have the rows: it says which, and how they and their files are taken away. A source that still has them brings them back when it is ingested again. \
What else was made of the rows (trained models, batches, copies, the quarantine's files) is no part of the dataset."
)]
pub(crate) struct Rm {
    /// A dataset that dsctl made.
    dataset: PathBuf,
    /// A row's id; may be given several times.
    #[arg(long, value_name = "ID")]
    id: Vec<String>,
    /// A file with an id on each line.
    #[arg(long, value_name = "FILE")]
    ids_from: Option<PathBuf>,
    /// Rows of which this holds: 'label = "cat" and image.width < 64'.
    #[arg(long = "where", value_name = "CONDITION")]
    filter: Option<String>,
    /// Rows whose ids begin so: those of a source taken in with --id-prefix, or of a folder.
    #[arg(long, value_name = "PREFIX")]
    source: Option<String>,
    /// Leave out ids that are not in the dataset.
    #[arg(long)]
    skip_unknown: bool,
    /// Say what would be out, and change nothing.
    #[arg(long, short = 'n')]
    dry_run: bool,
}

impl Rm {
    pub(crate) fn run(self, global: &Global) -> Done {
        let options = RemoveOptions {
            ids: self.id.clone(),
            ids_from: self.ids_from.clone(),
            filter: self.filter.clone(),
            prefix: self.source.clone(),
            skip_unknown: self.skip_unknown,
            dry_run: self.dry_run,
        };
        let mut listed = Vec::new();
        let done = remove(&Store::open(&self.dataset), &options, &mut |problem| -> Result<(), Error> {
            if !self.skip_unknown {
                told(global, &mut listed, &problem);
            }
            Ok(())
        })?;
        let wrong = if self.skip_unknown { 0 } else { done.unknown };
        for note in &done.notes {
            output::note(global, format!("note: {note}"));
        }
        if global.json {
            output::json(&json!({"removed": done, "problems": listed}))?;
        } else {
            rows_out(&self.dataset, &done, self.dry_run, wrong);
            proof(&self.dataset, &done);
        }
        Ok(if wrong > 0 { ExitCode::from(3) } else { ExitCode::SUCCESS })
    }
}

/// How many rows are out, and what became of the shards.
pub(crate) fn rows_out(dataset: &Path, done: &Removed, dry_run: bool, wrong: u64) {
    let version = output::version_told(done.committed, dry_run, done.version, wrong);
    output::line(format_args!(
        "{}: {version}: {} rows out, {} stay; shards: {} written anew, {} dropped, {} kept{}",
        dataset.display(),
        done.rows,
        done.left,
        done.rewritten,
        done.dropped,
        done.kept,
        if done.unknown > 0 { format!("; {} ids are not there", done.unknown) } else { String::new() }
    ));
}

/// What shows that rows are out, and where they still are.
pub(crate) fn proof(dataset: &Path, done: &Removed) {
    let Some(proof) = &done.proof else { return };
    let dataset = dataset.display();
    output::line(format_args!(
        "  proof: the ids of all {} shards of version {} were read: none of their {} rows is one of those",
        proof.shards, done.version, proof.rows
    ));
    if !proof.older.is_empty() {
        let older: Vec<String> = proof.older.iter().map(u64::to_string).collect();
        let (versions, have) = if older.len() == 1 { ("version", "has") } else { ("versions", "have") };
        output::line(format_args!(
            "  {versions} {} still {have} them: `dsctl gc {dataset} --keep 1 --min-age 0s --yes` takes old versions and their files away (no ingest may be at work)",
            older.join(", ")
        ));
    }
}
