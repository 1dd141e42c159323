//! Is a dataset fit to be trained on? Decodes everything, measures it, and tells what stands out.
//!
//! A **lint** ([`LINTS`]) looks for one thing: row by row (a dark picture), by a value of each row against those of all (a
//! duration far from the rest), or by the classes of a column. Payloads are decoded and measured once for all lints. What is
//! said does not depend on threads: rows are measured in any order, and findings are told by row. Memory: the decoders of all
//! threads hold `decode_memory` together, values that are compared with all others go on in temporary files beyond 32 MiB a
//! lint and column, and no lint keeps more than `max_findings` findings.
//!
//! Unlike `verify`, which holds a dataset against what it says of itself, this has an opinion, and may be wrong: thresholds are such
//! that few in a hundred rows of clean data are named (docs/validate.md), and each can be changed.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

mod boxes;
mod classes;
mod clips;
mod copies;
#[cfg(feature = "image")]
mod eye;
#[cfg(feature = "image")]
mod focus;
mod junit;
mod lint;
mod measure;
mod mojibake;
mod payloads;
mod percentile;
#[cfg(feature = "image")]
mod pictures;
mod report;
mod run;
mod sarif;
mod sounds;
mod texts;
pub mod values;

pub use classes::Classes;
pub use clips::Clip;
#[cfg(feature = "image")]
pub use eye::Picture;
pub use junit::junit;
pub use lint::{Judged, Lint, Rule, Seen, Severity, Threshold, Told};
pub use measure::Measured;
pub use report::{Finding, Linted, Report};
pub use run::validate;
pub use sarif::sarif;
pub use sounds::{SILENCE_DB, Sound};
pub use texts::Writing;

use crate::codec::Limits;
use crate::error::{Error, Result};
use crate::registry::Table;

/// The lints of this build, in the order of reports.
pub const LINTS: &[Lint] = &[
    payloads::LEFT_OUT,
    payloads::UNDECODABLE,
    copies::DUPLICATE,
    copies::LEAK,
    classes::OUT_OF_RANGE,
    classes::UNKNOWN,
    classes::EMPTY,
    classes::RARE,
    classes::MISSING,
    classes::IMBALANCE,
    classes::NOT_FINITE,
    #[cfg(feature = "image")]
    pictures::DARK,
    #[cfg(feature = "image")]
    pictures::LIGHT,
    #[cfg(feature = "image")]
    pictures::BLURRED,
    #[cfg(feature = "image")]
    pictures::OUT_OF_FOCUS,
    #[cfg(feature = "image")]
    pictures::LOW_INFORMATION,
    #[cfg(feature = "image")]
    pictures::ASPECT,
    #[cfg(feature = "image")]
    pictures::SIZE,
    #[cfg(feature = "image")]
    pictures::GRAY,
    sounds::SILENT,
    sounds::CLIPPED,
    sounds::OFFSET,
    sounds::RATES,
    sounds::DURATION,
    boxes::OUTSIDE,
    boxes::NO_AREA,
    boxes::TINY,
    boxes::TWICE,
    boxes::UNKNOWN,
    clips::FROZEN,
    clips::BLACK,
    texts::NO_TRANSCRIPT,
    texts::ODD_RATE,
    texts::FAST,
    texts::EMPTY,
    texts::MOJIBAKE,
    texts::CONTROLS,
    texts::LONG,
    texts::DUPLICATE,
];

/// The lints of this build as a table, to which a caller may add some.
pub fn lints() -> Table<Lint> {
    Table::new("lint", LINTS)
}

/// What is looked for: one struct for code, `--config FILE` (TOML) and the command line.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ValidateOptions {
    /// One split; all of them unless told.
    pub split: Option<String>,
    /// Only these lints; all of them if there is none.
    pub only: Vec<String>,
    /// Not these.
    pub skip: Vec<String>,
    /// Other thresholds, by lint.
    pub set: BTreeMap<String, f64>,
    /// Other weights, by lint.
    pub severity: BTreeMap<String, Severity>,
    /// Decode so many rows of each split, evenly spaced; all of them unless told. Lints that decode nothing look at every row.
    pub sample: Option<u64>,
    /// Findings of each lint that are listed, the first by row; the others are counted.
    pub max_findings: u64,
    /// Whether warnings fail a run, as errors do.
    pub strict: bool,
    /// What one payload may cost.
    pub limits: Limits,
    /// Threads; 0 for all of the machine. What is found does not depend on it.
    pub threads: usize,
    /// Bytes that payloads and decoders of all threads may hold together; what needs more is decoded alone.
    pub decode_memory: u64,
}

impl Default for ValidateOptions {
    /// All lints on all rows, 20 findings of each listed, 2 GiB for decoders.
    fn default() -> Self {
        ValidateOptions {
            split: None,
            only: Vec::new(),
            skip: Vec::new(),
            set: BTreeMap::new(),
            severity: BTreeMap::new(),
            sample: None,
            max_findings: 20,
            strict: false,
            limits: Limits::default(),
            threads: 0,
            decode_memory: 2 << 30,
        }
    }
}

impl ValidateOptions {
    /// The lints that are asked for, in the order of the table, each with its weight and threshold.
    ///
    /// # Errors
    ///
    /// [`Error::Config`]: a lint that there is not, a threshold for one that has none or that is no finite number.
    pub fn chosen<'a>(&self, lints: &'a Table<Lint>) -> Result<Vec<(&'a Lint, Severity, Option<f64>)>> {
        for code in self.only.iter().chain(&self.skip).chain(self.severity.keys()) {
            lints.get(code)?;
        }
        for (code, value) in &self.set {
            if lints.get(code)?.threshold.is_none() {
                let help = "`dsctl list lints` says which have one; --skip leaves the lint out";
                return Err(Error::config(format!("lint {code:?} has no threshold"), help));
            }
            if !value.is_finite() {
                return Err(Error::config(format!("the threshold {value} of {code:?}"), "give it a finite number"));
            }
        }
        if self.decode_memory == 0 {
            return Err(Error::config("decode_memory is at least 1 byte", "1 decodes one payload at a time"));
        }
        let is_wanted = |lint: &&Lint| {
            let named = |codes: &[String]| codes.iter().any(|code| code == lint.code);
            (self.only.is_empty() || named(&self.only)) && !named(&self.skip)
        };
        let chosen: Vec<_> = lints
            .iter()
            .filter(is_wanted)
            .map(|lint| {
                let threshold = lint.threshold.map(|t| self.set.get(lint.code).copied().unwrap_or(t.default));
                (lint, self.severity.get(lint.code).copied().unwrap_or(lint.severity), threshold)
            })
            .collect();
        if chosen.is_empty() {
            return Err(Error::config("no lint is left", "skip fewer, or name others"));
        }
        Ok(chosen)
    }
}

#[cfg(all(test, feature = "image"))]
pub(crate) mod tests;
