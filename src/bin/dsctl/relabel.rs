//! `dsctl relabel`: other values of small columns, as a file tells them.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use feedstock::Error;
use feedstock::revise::{Problem, RelabelOptions, relabel};
use feedstock::store::Store;
use serde_json::{Value, json};

use crate::{Done, Global, output};

/// Give rows other labels or small values, as a new version. No media is read or written.
#[derive(Debug, Args)]
#[command(after_help = "\
The file (.csv, .tsv or .jsonl) has a column `id` (as `dsctl ls --rows` lists them) and columns of the dataset that hold small values. Classes are given by \
their names, new ones only with --new-classes; an empty cell or NA is no value. All that is wrong is listed: exit code 3, and nothing is committed.\n\
The new values stand over the files: feedstock sees them, other readers of the Parquet files see what was ingested until `dsctl compact --materialise`.")]
pub(crate) struct Relabel {
    /// A dataset that dsctl made.
    dataset: PathBuf,
    /// What the rows are: a table with the column `id`.
    file: PathBuf,
    /// Leave out rows of the file whose ids are not in the dataset.
    #[arg(long)]
    skip_unknown: bool,
    /// Append classes that a column does not have yet, instead of taking their names for slips of the pen.
    #[arg(long)]
    new_classes: bool,
    /// Say what would change, and change nothing.
    #[arg(long, short = 'n')]
    dry_run: bool,
}

/// Prints problems as they come, or keeps them for JSON.
pub(crate) fn told(global: &Global, listed: &mut Vec<Value>, problem: &Problem) {
    if global.json {
        listed.push(json!(problem));
    } else {
        output::line(problem);
    }
}

impl Relabel {
    pub(crate) fn run(self, global: &Global) -> Done {
        let store = Store::open(&self.dataset);
        let options =
            RelabelOptions { skip_unknown: self.skip_unknown, known_classes: !self.new_classes, dry_run: self.dry_run };
        let mut listed = Vec::new();
        let mut listed_classes = false;
        let done = relabel(&store, &self.file, options, &mut |problem| -> Result<(), Error> {
            listed_classes |= problem.code == "unknown-class";
            if !(self.skip_unknown && problem.code == "unknown-id") {
                told(global, &mut listed, &problem);
            }
            Ok(())
        })?;
        let wrong = done.problems + if self.skip_unknown { 0 } else { done.unknown };
        for note in &done.notes {
            output::note(global, format!("note: {note}"));
        }
        if listed_classes {
            output::note(global, "classes that are meant to be new come with --new-classes");
        }
        if global.json {
            output::json(&json!({"relabelled": done, "problems": listed}))?;
        } else {
            for (column, classes) in &done.classes {
                output::line(format_args!("  new classes of {column}: {}", classes.join(", ")));
            }
            for (column, cells) in &done.cells {
                output::line(format_args!("  column {column:<11} {cells} other values"));
            }
            let version = output::version_told(done.committed, self.dry_run, done.version, wrong);
            output::line(format_args!(
                "{}: {version}: {} of {} rows relabelled, {} were so already{}",
                self.dataset.display(),
                done.changed,
                done.listed,
                done.same,
                if done.unknown > 0 { format!(", {} are not there", done.unknown) } else { String::new() }
            ));
        }
        Ok(if wrong > 0 { ExitCode::from(3) } else { ExitCode::SUCCESS })
    }
}
