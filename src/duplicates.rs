//! Which rows of a dataset are there twice: with equal payloads, equal once decoded, or nearly alike.
//!
//! Rows are compared by one column of payloads. Three levels, each of which holds the one before:
//!
//! - **payload**: the same bytes. Candidates are those of one length and 64-bit hash in the Index; only they are read, and held against each other by
//!   SHA-256.
//! - **decoded**: the same pixels as shown, samples with rate and channels, or frames. Candidates are those whose facts in the Index (size, samples,
//!   frames) are the same; only they are decoded, one for each payload, and held against each other by SHA-256.
//! - **near**: sketches ([`crate::fingerprint`]) that share a key are compared, and are alike from a similarity on. Every payload is decoded.
//!
//! A group is all rows that are connected: near duplicates are so by steps, each of which is between two that are alike, and its ends may be less alike
//! than that. What is found depends neither on threads nor on the order of rows.
//!
//! Memory: 4 bytes a row for each level, and decoders of all threads together [`DuplicateOptions::decode_memory`]; facts, hashes, sketches and keys go on
//! in temporary files beyond 32 MiB each.

use serde::Serialize;

mod content;
mod equal;
mod find;
mod groups;
mod near;
mod report;
mod sets;

pub use find::{Watch, find};
pub use groups::{Duplicates, KeepIn};
pub use near::Crowded;
pub use report::{Copy, Group, Leak, Report, ReportOptions};
pub(crate) use sets::Sets;

use crate::codec::Limits;
use crate::data::feature::{Feature, Schema};
use crate::data::info::Kind;
use crate::error::{Error, Result};
use crate::fingerprint::{self, Method};

/// How much two rows are the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// The same bytes.
    Payload,
    /// The same pixels, samples or frames.
    #[default]
    Decoded,
    /// Alike by their sketches.
    Near,
}

impl Level {
    /// The name in reports.
    pub fn name(self) -> &'static str {
        match self {
            Level::Payload => "payload",
            Level::Decoded => "decoded",
            Level::Near => "near",
        }
    }
}

/// What is looked for.
#[derive(Debug, Clone)]
pub struct DuplicateOptions {
    /// The column by which rows are compared; none: the first with pictures, recordings or clips, else the first of texts, else that of tensors.
    pub column: Option<String>,
    /// Down to which level.
    pub level: Level,
    /// How near duplicates are found; none: as [`fingerprint::of_kind`] says for the column.
    pub method: Option<&'static Method>,
    /// From which similarity on, 0 to 1, two sketches are alike; none: the method's own. Below that, not all pairs are found: keys are made for it.
    pub similarity: Option<f64>,
    /// What one payload may cost.
    pub limits: Limits,
    /// Threads; 0 for all of the machine. What is found does not depend on it.
    pub threads: usize,
    /// Bytes that payloads and decoders of all threads may hold together; what needs more is decoded alone.
    pub decode_memory: u64,
}

impl Default for DuplicateOptions {
    /// What is equal once decoded, in the first column of media; 2 GiB for decoders.
    fn default() -> Self {
        DuplicateOptions {
            column: None,
            level: Level::default(),
            method: None,
            similarity: None,
            limits: Limits::default(),
            threads: 0,
            decode_memory: 2 << 30,
        }
    }
}

/// What the options come to for a schema.
#[derive(Debug, Clone, Copy)]
struct Chosen {
    column: usize,
    kind: Kind,
    near: Option<Near>,
}

/// By what sketches are alike.
#[derive(Debug, Clone, Copy)]
struct Near {
    method: &'static Method,
    similarity: f64,
}

impl DuplicateOptions {
    /// Whether the options can be, of any dataset.
    ///
    /// # Errors
    /// [`Error::Config`]: a similarity that is not between 0 and 1, or is asked for without [`Level::Near`]; no memory.
    pub fn validate(&self) -> Result<()> {
        if let Some(similarity) = self.similarity {
            if !(0.0..=1.0).contains(&similarity) {
                let help = "1 is the same sketch, 0 nothing in common";
                return Err(Error::config(format!("a similarity of {similarity}"), help));
            }
            if self.level != Level::Near {
                let help = "say --near, too: equal payloads and pixels have no threshold";
                return Err(Error::config("a similarity, and near duplicates are not looked for", help));
            }
        }
        if self.decode_memory == 0 {
            return Err(Error::config("decode_memory is at least 1 byte", "1 decodes one payload at a time"));
        }
        Ok(())
    }

    fn chosen(&self, schema: &Schema) -> Result<Chosen> {
        self.validate()?;
        let (column, kind) = column(schema, self.column.as_deref())?;
        let near = if self.level == Level::Near {
            let method = self.method.or_else(|| fingerprint::of_kind(kind)).filter(|method| method.kind == kind);
            let method = method.ok_or_else(|| {
                let what = format!("this build has no way to find what is nearly alike among {}", kind.name());
                Error::config(what, "leave out --near, or compare by another column (--column)")
            })?;
            Some(Near { method, similarity: self.similarity.unwrap_or(method.threshold) })
        } else {
            None
        };
        Ok(Chosen { column, kind, near })
    }
}

/// The column by which rows are compared.
fn column(schema: &Schema, named: Option<&str>) -> Result<(usize, Kind)> {
    let payloads = || schema.columns.iter().enumerate().filter_map(|(at, c)| Some((at, c.feature.kind()?)));
    let comparable = || {
        let names: Vec<&str> = payloads().map(|(at, _)| schema.columns[at].name.as_str()).collect();
        if names.is_empty() { "it has none".to_owned() } else { format!("there are: {}", names.join(", ")) }
    };
    let Some(named) = named else {
        let of = |wanted: fn(Kind) -> bool| payloads().find(|(_, kind)| wanted(*kind));
        let media = of(Kind::is_media);
        return media.or_else(|| of(|kind| kind == Kind::Text)).or_else(|| of(|_| true)).ok_or_else(|| {
            let help =
                "rows are compared by pictures, recordings, clips, texts or tensors; values alone make no duplicate";
            Error::config("the dataset has no column of media or text to compare rows by", help)
        });
    };
    let at = schema.position(named);
    let at =
        at.ok_or_else(|| Error::config(format!("there is no column {named:?} to compare rows by"), comparable()))?;
    match schema.columns[at].feature.kind() {
        Some(kind) => Ok((at, kind)),
        None => {
            let of = schema.columns[at].feature.name();
            Err(Error::config(format!("{named:?} is a column of {of} values, not of media or text"), comparable()))
        }
    }
}

/// Whether a column says what a row is: rows that are the same and differ in it contradict each other.
fn is_label(schema: &Schema, column: usize) -> bool {
    let column = &schema.columns[column];
    let of_source = crate::data::feature::PROVENANCE.contains(&column.name.as_str());
    matches!(&column.feature, Feature::ClassLabel { .. } | Feature::Objects(_)) && !of_source
}

#[cfg(all(test, feature = "image"))]
mod tests;
