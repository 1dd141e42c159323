//! What a lint is, and what it sees.

use serde::{Deserialize, Serialize};

use super::classes::Classes;
use super::measure::Measured;
use super::values::Values;
use crate::data::feature::Feature;
use crate::data::index::{Payload, Row};
use crate::data::label::Value;
use crate::dataset::Dataset;
use crate::registry::Named;

/// How much a finding weighs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Worth knowing; may well be meant.
    Note,
    /// Likely not meant.
    Warning,
    /// Cannot be trained on.
    Error,
}

impl Severity {
    /// All of them, lightest first.
    pub const ALL: [Severity; 3] = [Severity::Note, Severity::Warning, Severity::Error];

    /// The name in options and reports.
    pub fn name(self) -> &'static str {
        match self {
            Severity::Note => "note",
            Severity::Warning => "warning",
            Severity::Error => "error",
        }
    }
}

/// The one number by which a lint decides.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Threshold {
    /// What it is unless told.
    pub default: f64,
    /// What is compared with it and how, with its unit.
    pub meaning: &'static str,
}

/// One member of the table of lints.
#[derive(Debug, Clone)]
pub struct Lint {
    /// The stable name, in reports and options.
    pub code: &'static str,
    /// What it finds, in one line.
    pub summary: &'static str,
    /// What one can do about a finding.
    pub help: &'static str,
    /// How much its findings weigh unless told.
    pub severity: Severity,
    /// By what it decides, if by a number.
    pub threshold: Option<Threshold>,
    /// Which columns it looks at.
    pub of: fn(&Feature) -> bool,
    /// Whether it needs payloads decoded. One that does not looks at every row, also of a sample.
    pub decodes: bool,
    /// How it decides.
    pub rule: Rule,
}

impl Named for Lint {
    fn name(&self) -> &'static str {
        self.code
    }
}

/// How a lint decides. Functions get the column's place in the schema and the threshold.
#[derive(Debug, Clone, Copy)]
pub enum Rule {
    /// Row by row, from any thread.
    Row(fn(&Seen<'_>, usize, f64) -> Option<Told>),
    /// By a value of each row, against the values of all rows: what is far from the rest, what comes twice.
    Values {
        /// The value of a row, from any thread; rows without one do not count. [`super::values::key`] makes one of a float.
        of: fn(&Seen<'_>, usize) -> Option<u64>,
        /// Looks at the values of all rows, in ascending order.
        judge: fn(&Values<'_>, f64, &mut dyn FnMut(Judged)),
    },
    /// By what opening the dataset left out ([`Dataset::left_out`]).
    LeftOut,
    /// By how many rows each class has in each split.
    Classes(fn(&Classes<'_>, f64, &mut dyn FnMut(Judged))),
}

/// A row as lints see it.
#[derive(Debug)]
pub struct Seen<'a> {
    /// The dataset.
    pub dataset: &'a Dataset,
    /// The row's number.
    pub row: u64,
    /// The row in the Index.
    pub entry: Row<'a>,
    /// What was measured of each column's payload.
    pub measured: Vec<Measured>,
}

impl Seen<'_> {
    /// The small value of a column.
    pub fn value(&self, column: usize) -> Value {
        self.entry.value(column)
    }

    /// Facts of a column's payload; `None` if it is null.
    pub fn payload(&self, column: usize) -> Option<Payload> {
        self.entry.payload(column)
    }

    /// The first column of a feature.
    pub fn beside(&self, is: fn(&Feature) -> bool) -> Option<usize> {
        self.dataset.schema().columns.iter().position(|c| is(&c.feature))
    }
}

/// What a lint says of a row.
#[derive(Debug, Clone, PartialEq)]
pub struct Told {
    /// The number that was measured, if it is one.
    pub measured: Option<f64>,
    /// One line for a person, without row and column.
    pub message: String,
}

impl Told {
    /// A measured number and what it means.
    pub fn new(measured: f64, message: impl Into<String>) -> Self {
        Told { measured: Some(measured), message: message.into() }
    }
}

/// What a lint says after it saw all rows.
#[derive(Debug, Clone, PartialEq)]
pub struct Judged {
    /// The row, unless it is about a column.
    pub row: Option<u64>,
    /// The split, where it is about one and no row.
    pub split: Option<String>,
    /// The rest.
    pub told: Told,
}
