//! Batches of samples of like length, and rows packed with several token sequences.
//!
//! Both are formed within windows of 65,536 places of the epoch's order, of which nothing is carried over: a window's batches are a function of its own
//! samples' lengths, so that a run goes on at any of them having looked at no window before. What the edge of a window costs is told by
//! `dsctl plan --waste`, beside a packer without windows.

use std::sync::{Arc, Mutex, PoisonError};

use serde::{Deserialize, Serialize};
use smallvec::SmallVec;

use super::Permutation;
use super::filter::{self, Fact, Found, Is, Operand};
use super::packing::Packing;
use crate::data::feature::{Feature, Schema};
use crate::data::index::{Index, Row};
use crate::error::{Error, Result};
use crate::rng::Key;

/// Places of a window.
pub const WINDOW: u64 = 65_536;

/// Samples of like length in one batch, so that little of it is padding. A batch has at most the recipe's `batch` places.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Bucket {
    /// The length, by the Index: `audio.count` (samples), `text.count` (bytes), `tokens.count`, `image.pixels`, a column of whole numbers.
    pub by: String,
    /// The greatest lengths of the buckets, ascending; what is longer than the last has one of its own. Without any, a window's samples are
    /// sorted by length and cut into batches, which leaves the least padding.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub bounds: Vec<u64>,
    /// A batch's places times the length of its longest sample is at most this (a longer sample is alone).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub padded: Option<u64>,
}

/// How sequences are put into rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Fit {
    /// One after the other; one that does not fit begins the next row. Neighbours stay together.
    Greedy,
    /// The longest first, each into the fullest row that has room for it (best-fit decreasing; Johnson et al., SIAM J. Comput. 1974).
    #[default]
    Best,
}

/// What becomes of sequences that are longer than a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Long {
    /// They are cut into pieces of a row's length, and a rest.
    #[default]
    Split,
    /// Their first piece is taken.
    Truncate,
}

/// Token sequences packed into rows `[batch, length]`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Pack {
    /// The column of stored tokens, or of text whose tokens were counted.
    pub column: String,
    /// Tokens of a row.
    pub length: usize,
    /// How sequences are put into rows.
    pub fit: Fit,
    /// What becomes of those that are longer than a row.
    pub long: Long,
}

impl Fit {
    /// All ways.
    pub const ALL: &'static [Fit] = &[Fit::Greedy, Fit::Best];
}

impl Long {
    /// All ways.
    pub const ALL: &'static [Long] = &[Long::Split, Long::Truncate];
}

impl Bucket {
    /// Checks the numbers.
    ///
    /// # Errors
    /// [`Error::Config`] without a length, or for bounds that do not ascend.
    pub fn validate(&self) -> Result<()> {
        let help = "write bucket = { by = \"audio.count\" }, beside it bounds = [8000, 16000] or padded = 512000";
        if self.by.is_empty() {
            return Err(Error::config("bucket: by which length", help));
        }
        if self.bounds.windows(2).any(|pair| pair[0] >= pair[1]) || self.padded == Some(0) {
            return Err(Error::config(format!("bucket: bounds {:?}, padded {:?}", self.bounds, self.padded), help));
        }
        Ok(())
    }
}

impl Pack {
    /// Checks the numbers.
    ///
    /// # Errors
    /// [`Error::Config`] without a column or a length.
    pub fn validate(&self) -> Result<()> {
        if self.column.is_empty() || self.length == 0 || u32::try_from(self.length).is_err() {
            let help = "write pack = { column = \"tokens\", length = 2048 }";
            return Err(Error::config(format!("pack: {:?} in rows of {}", self.column, self.length), help));
        }
        Ok(())
    }
}

/// A length of rows, from the Index.
#[derive(Debug, Clone, PartialEq)]
pub struct Quantity {
    operand: Operand,
}

impl Quantity {
    /// Finds a number by its name: a fact of a payload, or a column of whole numbers.
    ///
    /// # Errors
    /// [`Error::Config`] for what is not there, or no length.
    pub fn bind(text: &str, schema: &Schema) -> Result<Self> {
        let found = filter::parse::name(text).and_then(|name| filter::operand(&name, schema));
        let (operand, is) = found.map_err(|error| match error {
            Error::Config { what, help } => Error::config(what.replacen("where: ", "length: ", 1), help),
            other => other,
        })?;
        let whole = match &operand {
            Operand::Value(at) => schema.columns[*at].feature == Feature::Int,
            Operand::Fact(_, fact) => *fact != Fact::Duration,
            _ => false,
        };
        if !matches!(is, Is::Number) || !whole {
            let help =
                "a length is a whole number: audio.count, tokens.count, image.pixels, or a column of whole numbers";
            return Err(Error::config(format!("length: {text} is none"), help));
        }
        Ok(Quantity { operand })
    }

    /// The length of a row; 0 where it is absent or negative.
    pub fn of(&self, row: &Row<'_>) -> u64 {
        match (self.operand.of(row), &self.operand) {
            (Found::Int(v), _) => u64::try_from(v).unwrap_or(0),
            // Of a format that is newer than this build: it has a place, so that loading it says so.
            (_, Operand::Fact(at, _)) if row.payload(*at).is_none() && !row.is_null(*at) => 1,
            _ => 0,
        }
    }
}

/// How batches are formed, other than one place after the other.
#[derive(Debug, Clone)]
pub enum Forming {
    /// By like length.
    Bucket(Bucket),
    /// Several sequences in a row.
    Pack(Pack),
}

/// How batches are formed, and where the lengths of each component's rows are.
#[derive(Debug, Clone)]
pub struct Batching {
    /// How.
    pub forming: Forming,
    /// Places of a window: [`WINDOW`].
    pub window: u64,
    /// Of each component its Index, and its lengths.
    pub lengths: Vec<(Index, Quantity)>,
}

impl Batching {
    /// The length of a row of a component.
    pub fn length(&self, component: usize, row: u64) -> u64 {
        self.lengths[component].1.of(&self.row(component, row))
    }

    /// A row of a component.
    pub(super) fn row(&self, component: usize, row: u64) -> Row<'_> {
        self.lengths[component].0.row(row)
    }

    /// The batches of one window from its samples' lengths: `batch` samples (or rows) a batch at the most, each sample of so many places, which come in the order of `key`, or
    /// without one as they are formed.
    pub fn formed(&self, lengths: &[u64], batch: usize, places: u64, key: Option<Key>) -> Batches {
        let formed = match &self.forming {
            Forming::Bucket(bucket) => {
                let batches = shuffled(bucketed(lengths, bucket, batch, places), key);
                let ends = batches.iter().scan(0, |end, batch| {
                    *end += batch.len() as u32;
                    Some(*end)
                });
                let ends = ends.collect();
                Formed::Samples(batches.concat(), ends)
            }
            Forming::Pack(pack) => {
                let packing = Packing::new(lengths, pack);
                let order = key.map(|key| Permutation::new(packing.rows(), key));
                Formed::Rows(packing, batch as u64, order)
            }
        };
        Batches { formed }
    }
}

/// A sample of a window, or some of its tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Piece {
    /// The sample, counted from the window's front.
    pub sample: u32,
    /// Its tokens; `None`: all.
    pub range: Option<(u64, u64)>,
}

/// What a slot holds.
pub type Pieces = SmallVec<[Piece; 1]>;

/// The batches of a window.
#[derive(Debug, Clone)]
pub struct Batches {
    formed: Formed,
}

#[derive(Debug, Clone)]
enum Formed {
    /// One sample in each slot: all samples, and where those of each batch end.
    Samples(Vec<u32>, Vec<u32>),
    /// So many packed rows in each batch, in this order of the rows; without one as they were packed.
    Rows(Packing, u64, Option<Permutation>),
}

impl Default for Batches {
    fn default() -> Self {
        Batches { formed: Formed::Samples(Vec::new(), Vec::new()) }
    }
}

impl Batches {
    /// How many batches.
    pub fn len(&self) -> u64 {
        match &self.formed {
            Formed::Samples(_, ends) => ends.len() as u64,
            Formed::Rows(packing, batch, _) => packing.rows().div_ceil(*batch),
        }
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The slots of a batch below `len`, each with its pieces.
    pub fn batch(&self, batch: u64) -> Vec<Pieces> {
        match &self.formed {
            Formed::Samples(samples, ends) => {
                let at = batch as usize;
                let from = at.checked_sub(1).map_or(0, |before| ends[before]);
                let own = &samples[from as usize..ends[at] as usize];
                own.iter().map(|sample| Pieces::from_buf([Piece { sample: *sample, range: None }])).collect()
            }
            Formed::Rows(packing, rows, order) => {
                let from = batch.saturating_mul(*rows);
                let own = from..from.saturating_add(*rows).min(packing.rows());
                own.map(|row| packing.row(order.map_or(row, |order| order.at(row)))).collect()
            }
        }
    }

    /// The rows, where sequences are packed.
    pub(super) fn packing(&self) -> Option<&Packing> {
        match &self.formed {
            Formed::Samples(..) => None,
            Formed::Rows(packing, ..) => Some(packing),
        }
    }
}

/// What comes in the order of a key.
fn shuffled<T>(all: Vec<T>, key: Option<Key>) -> Vec<T> {
    let Some(key) = key else { return all };
    let order = Permutation::new(all.len() as u64, key);
    let mut all: Vec<Option<T>> = all.into_iter().map(Some).collect();
    (0..all.len()).filter_map(|at| all[order.at(at as u64) as usize].take()).collect()
}

/// Samples by like length, in batches.
fn bucketed(lengths: &[u64], bucket: &Bucket, most: usize, places: u64) -> Vec<Vec<u32>> {
    let over = |samples: usize, longest: u64| {
        bucket.padded.is_some_and(|cap| longest.saturating_mul(places.saturating_mul(samples as u64)) > cap)
    };
    let samples = 0..lengths.len() as u32;
    let mut batches: Vec<Vec<u32>> = Vec::new();
    // Of each open batch its samples and the longest.
    let mut open: Vec<(Vec<u32>, u64)> = vec![(Vec::new(), 0); bucket.bounds.len() + 1];
    let mut put = |at: usize, sample: u32| {
        let length = lengths[sample as usize];
        let (batch, longest) = &mut open[at];
        if !batch.is_empty() && (batch.len() == most || over(batch.len() + 1, length.max(*longest))) {
            batches.push(std::mem::take(batch));
            *longest = 0;
        }
        batch.push(sample);
        *longest = length.max(*longest);
    };
    if bucket.bounds.is_empty() {
        let mut sorted: Vec<u32> = samples.collect();
        sorted.sort_by_key(|sample| lengths[*sample as usize]);
        sorted.into_iter().for_each(|sample| put(0, sample));
    } else {
        samples
            .for_each(|sample| put(bucket.bounds.partition_point(|bound| *bound < lengths[sample as usize]), sample));
    }
    batches.extend(open.into_iter().map(|(batch, _)| batch).filter(|batch| !batch.is_empty()));
    batches
}

/// Windows whose batches are kept.
const KEPT: usize = 3;

/// A window and its batches.
type Window = (u64, Arc<Batches>);

/// The batches of the windows that were last asked for.
#[derive(Debug, Clone, Default)]
pub(super) struct Kept {
    windows: Arc<Mutex<Vec<Window>>>,
}

impl Kept {
    /// The batches of a window, made if they are not there. Others wait for them meanwhile.
    pub(super) fn get(&self, window: u64, make: impl FnOnce() -> Batches) -> Arc<Batches> {
        let mut kept = self.windows.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, batches)) = kept.iter().find(|(of, _)| *of == window) {
            return batches.clone();
        }
        let batches = Arc::new(make());
        if kept.len() == KEPT {
            kept.remove(0);
        }
        kept.push((window, batches.clone()));
        batches
    }
}

#[cfg(test)]
mod tests;
