//! What a validation says.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::Serialize;

use super::lint::Severity;

/// One thing that a lint found.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Finding {
    /// The row's number in the version; null where a column is meant.
    pub row: Option<u64>,
    /// The row's id.
    pub id: Option<String>,
    /// The split of the row, or the one that is meant.
    pub split: Option<String>,
    /// The column.
    pub column: String,
    /// The number that was measured, if it is one.
    pub measured: Option<f64>,
    /// What it was compared with.
    pub threshold: Option<f64>,
    /// What is wrong, in a sentence.
    pub message: String,
}

/// What one lint found.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Linted {
    /// The lint.
    pub code: &'static str,
    /// What it looks for.
    pub summary: &'static str,
    /// What one can do about its findings.
    pub help: &'static str,
    /// How much they weigh.
    pub severity: Severity,
    /// By what it decided, if by a number.
    pub threshold: Option<f64>,
    /// All that it found.
    pub found: u64,
    /// The first of them, by row.
    pub findings: Vec<Finding>,
}

impl Linted {
    /// Findings that are counted and not listed.
    pub fn left_out(&self) -> u64 {
        self.found - self.findings.len() as u64
    }
}

/// What a validation says of a dataset.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Report {
    /// The folder or file.
    pub dataset: PathBuf,
    /// The version; null for what is not ours.
    pub version: Option<u64>,
    /// Rows that were looked at.
    pub rows: u64,
    /// Payloads that were decoded.
    pub decoded: u64,
    /// Findings of each severity, listed or not.
    pub found: BTreeMap<Severity, u64>,
    /// Every lint that ran, in the order of the table, also those that found nothing.
    pub lints: Vec<Linted>,
}

impl Report {
    /// Findings of a severity.
    pub fn count(&self, severity: Severity) -> u64 {
        self.found.get(&severity).copied().unwrap_or(0)
    }

    /// Whether findings of this severity fail a run: errors do, warnings of a strict one.
    pub fn fails(severity: Severity, strict: bool) -> bool {
        severity == Severity::Error || strict && severity == Severity::Warning
    }

    /// Whether the dataset is to be refused.
    pub fn failed(&self, strict: bool) -> bool {
        Severity::ALL.iter().any(|severity| Self::fails(*severity, strict) && self.count(*severity) > 0)
    }
}
