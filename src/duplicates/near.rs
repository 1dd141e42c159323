//! What is nearly alike: sketches with a key in common are compared.

use rayon::prelude::*;
use serde::Serialize;
use xxhash_rust::xxh3::xxh3_64;

use super::Near;
use super::equal::{row_of, runs};
use super::find::Work;
use super::sets::Sets;
use crate::error::Result;
use crate::fingerprint::Method;
use crate::spool::{Sorted, Sorter, Spill, Spool, Spooled};

/// Sketches with one key of which each pair is compared. Of more, each is compared with representatives.
pub(super) const CROWD: usize = 1_000;

/// Representatives of a crowd at the most: sketches none of which is alike another.
pub(super) const REPRESENTATIVES: usize = 100;

/// Pairs that are compared between two looks at the watch.
const PAIRS: usize = 1 << 17;

/// Sketches of a crowd that are compared with its representatives at once.
const CHUNK: usize = 4_096;

/// Keys that so many sketches share that not all pairs of them were compared.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Crowded {
    /// Such keys.
    pub keys: u64,
    /// Sketches that share the one shared by most.
    pub largest: u64,
}

/// Sketches on their way.
pub(super) struct Gathered {
    method: &'static Method,
    rows: Spool,
    ends: Spool,
    bytes: Spool,
    keys: Sorter,
    count: u32,
}

impl Gathered {
    pub(super) fn new(method: &'static Method, spill: &Spill) -> Self {
        let spool = || Spool::new(spill);
        Gathered { method, rows: spool(), ends: spool(), bytes: spool(), keys: Sorter::new(spill), count: 0 }
    }

    /// Adds the sketch of a row; rows come in ascending order.
    pub(super) fn push(&mut self, row: u32, sketch: &[u8]) -> Result<()> {
        let mut keys = (self.method.keys)(sketch);
        keys.sort_unstable();
        keys.dedup();
        for key in keys {
            let mut record = [0; 12];
            record[..8].copy_from_slice(&key.to_be_bytes());
            record[8..].copy_from_slice(&self.count.to_be_bytes());
            self.keys.push(&record, &[])?;
        }
        self.rows.push(&row.to_le_bytes())?;
        self.bytes.push(sketch)?;
        self.ends.push(&self.bytes.len().to_le_bytes())?;
        self.count += 1;
        Ok(())
    }

    pub(super) fn finish(self) -> Result<(Sketches, Sorted)> {
        let (rows, ends, bytes) = (self.rows.finish()?, self.ends.finish()?, self.bytes.finish()?);
        Ok((Sketches { count: self.count, rows, ends, bytes }, self.keys.finish()?))
    }
}

/// Sketches by their places, in the order of rows.
#[derive(Debug, Default)]
pub(super) struct Sketches {
    count: u32,
    rows: Spooled,
    ends: Spooled,
    bytes: Spooled,
}

impl Sketches {
    fn row(&self, at: u32) -> u32 {
        self.rows.as_chunks::<4>().0.get(at as usize).copied().map_or(0, u32::from_le_bytes)
    }

    fn end(&self, at: u32) -> usize {
        self.ends.as_chunks::<8>().0.get(at as usize).copied().map_or(0, u64::from_le_bytes) as usize
    }

    fn get(&self, at: u32) -> &[u8] {
        &self.bytes[at.checked_sub(1).map_or(0, |before| self.end(before))..self.end(at)]
    }

    /// The sketch of a row, if it has one.
    pub(super) fn of_row(&self, row: u32) -> Option<&[u8]> {
        let (mut from, mut to) = (0, self.count);
        while from < to {
            let middle = from + (to - from) / 2;
            if self.row(middle) < row { from = middle + 1 } else { to = middle }
        }
        (from < self.count && self.row(from) == row).then(|| self.get(from))
    }
}

/// What pairs are alike.
struct Alike<'a> {
    sketches: &'a Sketches,
    keys: &'a Sorted,
    near: Near,
    /// What is known to be one already: such pairs are not compared.
    sets: &'a Sets,
}

impl Alike<'_> {
    fn place(&self, at: usize) -> u32 {
        row_of(self.keys.get(at).0)
    }

    fn are(&self, a: u32, b: u32) -> bool {
        self.sets.same(self.sketches.row(a), self.sketches.row(b))
            || (self.near.method.similarity)(self.sketches.get(a), self.sketches.get(b)) >= self.near.similarity
    }

    fn rows(&self, a: u32, b: u32) -> (u32, u32) {
        (self.sketches.row(a), self.sketches.row(b))
    }

    /// Pairs of rows that connect all of a run that is alike.
    fn run(&self, run: &std::ops::Range<usize>) -> Result<Vec<(u32, u32)>> {
        let places: Vec<u32> = run.clone().map(|at| self.place(at)).collect();
        let mut connected = Sets::new(places.len() as u64)?;
        let mut pairs = Vec::new();
        for (b, place) in (0..).zip(&places) {
            for (a, before) in (0..b).zip(&places) {
                if !connected.same(a, b) && self.are(*before, *place) {
                    pairs.push(self.rows(*before, *place));
                    connected.join(a, b);
                }
            }
        }
        Ok(pairs)
    }

    /// The same of a run of many, each of which is compared with representatives of those before it.
    fn crowd(&self, run: &std::ops::Range<usize>, work: &Work<'_>) -> Result<Vec<(u32, u32)>> {
        let mut representatives: Vec<u32> = Vec::new();
        let mut pairs = Vec::new();
        // Which of them stand for the others hangs on what they are, not on where their rows are.
        let mut places: Vec<u32> = run.clone().map(|at| self.place(at)).collect();
        places.sort_by_cached_key(|place| xxh3_64(self.sketches.get(*place)));
        for (number, chunk) in places.chunks(CHUNK).enumerate() {
            (work.watch)("sketches of a crowd compared", (number * CHUNK) as u64, run.len() as u64)?;
            let alike = |among: &[u32], place: u32| among.iter().copied().find(|other| self.are(*other, place));
            let known = representatives.len();
            let found: Vec<Option<u32>> =
                work.pool.install(|| chunk.par_iter().map(|place| alike(&representatives, *place)).collect());
            for (place, found) in chunk.iter().copied().zip(found) {
                // Not alike those from before the chunk: perhaps those that it brought.
                match found.or_else(|| alike(&representatives[known..], place)) {
                    Some(other) => pairs.push(self.rows(other, place)),
                    None if representatives.len() < REPRESENTATIVES => representatives.push(place),
                    None => {}
                }
            }
        }
        Ok(pairs)
    }
}

/// Joins rows whose sketches are alike.
pub(super) fn join(
    work: &Work<'_>,
    sketches: &Sketches,
    keys: &Sorted,
    near: Near,
    sets: &mut Sets,
) -> Result<Crowded> {
    let mut crowded = Crowded::default();
    let mut all = runs(keys).filter(|run| run.len() > 1).peekable();
    while all.peek().is_some() {
        let mut batch = Vec::new();
        let mut pairs = 0;
        let mut crowd = None;
        while let (Some(run), true) = (all.peek(), pairs < PAIRS && crowd.is_none()) {
            if run.len() > CROWD {
                crowd = all.next();
            } else {
                pairs += run.len() * (run.len() - 1) / 2;
                batch.extend(all.next());
            }
        }
        let done = batch.last().or(crowd.as_ref()).map_or(0, |run: &std::ops::Range<usize>| run.end);
        (work.watch)("keys of sketches compared", done as u64, keys.len() as u64)?;
        let alike = Alike { sketches, keys, near, sets };
        let mut found = work.pool.install(|| batch.par_iter().map(|run| alike.run(run)).collect::<Result<Vec<_>>>())?;
        if let Some(run) = crowd {
            crowded = Crowded { keys: crowded.keys + 1, largest: crowded.largest.max(run.len() as u64) };
            found.push(alike.crowd(&run, work)?);
        }
        found.into_iter().flatten().for_each(|(a, b)| sets.join(a, b));
    }
    Ok(crowded)
}
