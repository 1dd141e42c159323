//! `dsctl verify`: does a dataset hold what it says.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use feedstock::verify::verify;
use serde_json::json;

use crate::{Done, Global, output};

/// Check a dataset: checksums, Index against shards, counts. Exit code 3 if anything is found.
#[derive(Debug, Args)]
pub(crate) struct Verify {
    /// A dataset that dsctl made.
    dataset: PathBuf,
}

impl Verify {
    pub(crate) fn run(self, global: &Global) -> Done {
        let report = verify(&self.dataset)?;
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
