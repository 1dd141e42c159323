//! Batches of samples of like length, and rows packed with several token sequences.
//!
//! Both are formed within windows of 65,536 places of the epoch's order, of which nothing is carried over: a window's batches are a function of its own
//! samples' lengths, so that a run goes on at any of them having looked at no window before. What the edge of a window costs is told by
//! `dsctl plan --waste`, beside a packer without windows.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use serde::{Deserialize, Serialize};

use super::Permutation;
use super::filter::{self, Fact, Found, Is, Operand};
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
        if let Operand::Fact(at, _) = &self.operand
            && row.payload(*at).is_none()
            && !row.is_null(*at)
        {
            // Of a format that is newer than this build: it has a place, so that loading it says so.
            return 1;
        }
        match self.operand.of(row) {
            Found::Int(v) => u64::try_from(v).unwrap_or(0),
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
        let (index, quantity) = &self.lengths[component];
        quantity.of(&index.row(row))
    }

    /// The batches of one window from its samples' lengths: `batch` samples (or rows) a batch at the most, each sample of so many places, which come in the order of `key`, or
    /// without one as they are formed.
    pub fn formed(&self, lengths: &[u64], batch: usize, places: u64, key: Option<Key>) -> Batches {
        let rows = match &self.forming {
            Forming::Bucket(bucket) => {
                let batches = bucketed(lengths, bucket, batch, places);
                return Batches::of(shuffled(batches, key), |sample| vec![vec![Piece::whole(sample)]]);
            }
            Forming::Pack(pack) => packed(lengths, pack),
        };
        let rows = shuffled(rows, key);
        let batches: Vec<Vec<Vec<Piece>>> = rows.chunks(batch).map(<[_]>::to_vec).collect();
        Batches::of(batches, |row| vec![row])
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

impl Piece {
    fn whole(sample: u32) -> Self {
        Piece { sample, range: None }
    }
}

/// The batches of a window: slots, and what each holds.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Batches {
    pieces: Vec<Piece>,
    /// Where the pieces of each slot begin, and where all end.
    slots: Vec<u32>,
    /// Where the slots of each batch begin, and where all end.
    batches: Vec<u32>,
}

impl Batches {
    fn of<T>(batches: Vec<Vec<T>>, slots: impl Fn(T) -> Vec<Vec<Piece>>) -> Self {
        let mut all = Batches { pieces: Vec::new(), slots: vec![0], batches: vec![0] };
        for batch in batches {
            for slot in batch.into_iter().flat_map(&slots) {
                all.pieces.extend(slot);
                all.slots.push(all.pieces.len() as u32);
            }
            all.batches.push(all.slots.len() as u32 - 1);
        }
        all
    }

    /// How many batches.
    pub fn len(&self) -> u64 {
        self.batches.len().saturating_sub(1) as u64
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The slots of a batch below `len`, each with its pieces.
    pub fn batch(&self, batch: u64) -> impl ExactSizeIterator<Item = &[Piece]> {
        let at = batch as usize;
        (self.batches[at] as usize..self.batches[at + 1] as usize)
            .map(|slot| &self.pieces[self.slots[slot] as usize..self.slots[slot + 1] as usize])
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

/// Sequences in rows. Empty ones have no place.
fn packed(lengths: &[u64], pack: &Pack) -> Vec<Vec<Piece>> {
    let row = pack.length as u64;
    let pieces = lengths.iter().enumerate().flat_map(|(sample, length)| {
        let all = match pack.long {
            Long::Split => *length,
            Long::Truncate => row.min(*length),
        };
        let cut = all > row || all < *length;
        let range = move |at: u64| cut.then(|| (at, all.min(at.saturating_add(row))));
        (0..all)
            .step_by(pack.length)
            .map(move |at| (Piece { sample: sample as u32, range: range(at) }, row.min(all - at)))
    });
    match pack.fit {
        Fit::Greedy => {
            let mut rows: Vec<Vec<Piece>> = Vec::new();
            let mut room = 0;
            for (piece, length) in pieces {
                if length > room {
                    rows.push(Vec::new());
                    room = row;
                }
                room -= length;
                rows.last_mut().into_iter().for_each(|row| row.push(piece));
            }
            rows
        }
        Fit::Best => best(pieces.collect(), row),
    }
}

/// Best-fit decreasing, with the rows that have room by how much they have.
fn best(mut pieces: Vec<(Piece, u64)>, length: u64) -> Vec<Vec<Piece>> {
    // Longest first, and in their order among equals.
    pieces.sort_by_key(|(_, length)| std::cmp::Reverse(*length));
    let mut rows: Vec<Vec<Piece>> = Vec::new();
    let mut with: BTreeMap<u64, Vec<u32>> = BTreeMap::new();
    for (piece, own) in pieces {
        let (row, room) = match with.range_mut(own..).next() {
            Some((room, those)) => {
                let (room, row) = (*room, those.pop().unwrap_or_default());
                if those.is_empty() {
                    with.remove(&room);
                }
                (row, room)
            }
            None => {
                rows.push(Vec::new());
                (rows.len() as u32 - 1, length)
            }
        };
        rows[row as usize].push(piece);
        if room > own {
            with.entry(room - own).or_default().push(row);
        }
    }
    // Within a row in the order of the epoch.
    rows.iter_mut().for_each(|row| row.sort_by_key(|piece| (piece.sample, piece.range)));
    rows
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
