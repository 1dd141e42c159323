//! `dsctl verify`: does a dataset hold what it says.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use feedstock::verify::{rebuild_index, verify};
use serde_json::json;

use crate::{Done, Global, output};

/// Check a dataset: checksums, Index against shards, counts. Exit code 3 if anything is found.
#[derive(Debug, Args)]
pub(crate) struct Verify {
    /// A dataset that dsctl made.
    dataset: PathBuf,
    /// Before checking, make missing or damaged Index segments again from the shards.
    #[arg(long)]
    rebuild_index: bool,
}

impl Verify {
    pub(crate) fn run(self, global: &Global) -> Done {
        if self.rebuild_index {
            for path in rebuild_index(&self.dataset)? {
                output::note(global, format!("made again: {}", path.display()));
            }
        }
        let report = verify(&self.dataset, true)?;
        if global.json {
            output::json(&json!(report))?;
        } else {
            for finding in &report.findings {
                output::line(finding);
            }
            for text in &report.notes {
                output::note(global, format!("note: {text}"));
            }
            output::line(format_args!(
                "{}: {} findings in {} rows, {} shards, {}",
                self.dataset.display(),
                report.findings.len(),
                report.rows,
                report.shards,
                output::bytes(report.bytes)
            ));
        }
        Ok(if report.findings.is_empty() { ExitCode::SUCCESS } else { ExitCode::from(3) })
    }
}
