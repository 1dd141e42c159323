//! The counts of every block, and the places within it.

use std::sync::{Arc, Mutex, PoisonError};

use super::{BLOCK, MOST_COUNTS, gcd, total};
use crate::error::{Error, Result};
use crate::plan::Permutation;
use crate::rng::Key;

/// A run of blocks whose counts repeat.
#[derive(Debug)]
struct Stretch {
    /// The first sample.
    start: u64,
    /// Samples of each source before it.
    taken: Vec<u64>,
    /// Blocks after which the counts repeat.
    period: u64,
    /// Samples of each source since the stretch's front: before its first block, before its second, ... `[blocks + 1][sources]`.
    counts: Vec<u64>,
}

/// Which source stands at which sample of an epoch.
#[derive(Debug)]
pub struct Blend {
    sources: usize,
    stretches: Vec<Stretch>,
    end: u64,
}

impl Blend {
    /// Samples of the epoch.
    pub fn samples(&self) -> u64 {
        self.end
    }

    /// The samples of a block, which may be fewer than [`BLOCK`] at the epoch's end.
    pub fn block(&self, block: u64) -> std::ops::Range<u64> {
        let start = block.saturating_mul(BLOCK);
        start..start.saturating_add(BLOCK).min(self.end)
    }

    /// Samples of each source before a block, and before the next one. At the end of the last block all are counted.
    pub fn counts(&self, block: u64) -> (Vec<u64>, Vec<u64>) {
        let start = block.saturating_mul(BLOCK);
        let at = self.stretches.partition_point(|stretch| stretch.start <= start);
        let Some(stretch) = at.checked_sub(1).and_then(|at| self.stretches.get(at)) else {
            return (vec![0; self.sources], vec![0; self.sources]);
        };
        let nth = (start - stretch.start) / BLOCK;
        let (full, nth) = (nth / stretch.period, nth % stretch.period);
        let row = |nth: u64| &stretch.counts[nth as usize * self.sources..][..self.sources];
        let of = |nth: u64| -> Vec<u64> {
            let cycle = |at: usize| if full == 0 { 0 } else { full * row(stretch.period)[at] };
            (0..self.sources).map(|at| stretch.taken[at] + cycle(at) + row(nth)[at]).collect()
        };
        (of(nth), of(nth + 1))
    }

    /// Samples of each source in the epoch.
    pub fn all(&self) -> Vec<u64> {
        if self.end == 0 { vec![0; self.sources] } else { self.counts((self.end - 1) / BLOCK).1 }
    }
}

/// A blend under way.
pub(super) struct Making {
    pub(super) at: u64,
    pub(super) taken: Vec<u64>,
    stretches: Vec<Stretch>,
    counts: u64,
}

impl Making {
    /// What was made.
    pub(super) fn made(self) -> Blend {
        Blend { sources: self.taken.len(), stretches: self.stretches, end: self.at }
    }

    pub(super) fn new(sources: usize) -> Self {
        Making { at: 0, taken: vec![0; sources], stretches: Vec::new(), counts: 0 }
    }

    /// Goes on with weights until sample `end`. Only at the epoch's end that is no multiple of a block.
    pub(super) fn run(&mut self, weights: &[u64], end: u64) -> Result<()> {
        debug_assert!(self.at.is_multiple_of(BLOCK) || end <= self.at, "a stretch begins with a block");
        let length = end.saturating_sub(self.at);
        let sum = total(weights);
        let (blocks, rest) = (length / BLOCK, length % BLOCK);
        let period = (sum / gcd(sum, u128::from(BLOCK))).try_into().unwrap_or(u64::MAX);
        let rows = period.min(blocks);
        self.counts = self.counts.saturating_add(rows.saturating_add(2).saturating_mul(weights.len() as u64));
        if self.counts > MOST_COUNTS {
            return Err(Error::config(
                format!(
                    "mixture: the counts of {} sources over {length} samples need too large a table",
                    weights.len()
                ),
                "give weights of fewer digits (without any, they are the sources' sizes): their counts repeat after as many blocks of 4,096 as \
                 their sum (in lowest terms) says",
            ));
        }
        let front = self.taken.clone();
        let mut had = vec![0; weights.len()];
        let mut counts = had.clone();
        for block in 0..rows {
            step(&mut had, weights, sum, (block + 1) * BLOCK);
            counts.extend_from_slice(&had);
        }
        if blocks > 0 {
            let (full, nth) = (blocks / period, (blocks % period) as usize);
            let last = |at: usize| if full == 0 { 0 } else { full * counts[period as usize * weights.len() + at] };
            had = (0..weights.len()).map(|at| last(at) + counts[nth * weights.len() + at]).collect();
            self.stretches.push(Stretch { start: self.at, taken: front.clone(), period, counts });
            self.at += blocks * BLOCK;
        }
        if rest > 0 {
            let before = had.clone();
            step(&mut had, weights, sum, length);
            let own = had.iter().zip(&before).map(|(after, before)| after - before).collect();
            self.taken = front.iter().zip(&before).map(|(front, had)| front + had).collect();
            self.block(own);
        } else {
            self.taken = front.iter().zip(&had).map(|(front, had)| front + had).collect();
        }
        Ok(())
    }

    /// One block of just these counts.
    fn block(&mut self, own: Vec<u64>) {
        let mut counts = vec![0; own.len()];
        counts.extend_from_slice(&own);
        let taken = self.taken.clone();
        self.taken.iter_mut().zip(&own).for_each(|(taken, own)| *taken += own);
        self.stretches.push(Stretch { start: self.at, taken, period: u64::MAX, counts });
        self.at += own.iter().sum::<u64>();
    }

    /// Goes on until `end`, or until no source that has a weight has rows left. Unless it is the last phase, it ends before a block that its sources
    /// cannot fill, so that the next one begins with a block.
    pub(super) fn until_empty(&mut self, rows: &[u64], weights: &[u64], end: u64, last: bool) -> Result<()> {
        loop {
            let left: Vec<u64> = rows.iter().zip(&self.taken).map(|(rows, taken)| rows - taken).collect();
            let alive: Vec<u64> = weights.iter().zip(&left).map(|(w, left)| if *left > 0 { *w } else { 0 }).collect();
            let sum = total(&alive);
            if sum == 0 || self.at >= end {
                return Ok(());
            }
            // As far as all of them go.
            let ends = (0..alive.len()).filter(|at| alive[*at] > 0);
            let ends = ends.map(|at| u128::from(left[at]) * sum / u128::from(alive[at])).min().unwrap_or(0);
            let reach = u64::try_from(ends).unwrap_or(u64::MAX);
            if reach >= end - self.at {
                return self.run(&lowest(&alive), end);
            }
            if reach >= BLOCK {
                self.run(&lowest(&alive), self.at + reach / BLOCK * BLOCK)?;
                continue;
            }
            // A block in which one runs out: the others share what it leaves.
            let open = left.iter().zip(&alive).filter(|(_, weight)| **weight > 0);
            let open = open.fold(0u64, |open, (left, _)| open.saturating_add(*left));
            let places = open.min(BLOCK).min(end - self.at);
            // Where the epoch's samples end, the block does.
            if places < BLOCK && !last && self.at + places < end {
                return Ok(());
            }
            self.counts = self.counts.saturating_add(2 * rows.len() as u64);
            self.block(shared(places, &alive, &left));
        }
    }
}

/// Parts of `places` by weight, none beyond what is left of its source, by largest remainders; ties go to the first. All of them have so many left.
fn shared(places: u64, weights: &[u64], left: &[u64]) -> Vec<u64> {
    let mut parts = vec![0; weights.len()];
    let mut open: Vec<usize> = (0..weights.len()).filter(|at| weights[*at] > 0).collect();
    let mut places = places;
    loop {
        let sum: u128 = open.iter().map(|at| u128::from(weights[*at])).sum();
        let due = |at: usize| u128::from(places) * u128::from(weights[at]);
        let (over, rest): (Vec<usize>, Vec<usize>) =
            open.iter().partition(|at| due(**at) > u128::from(left[**at]) * sum);
        if over.is_empty() {
            open.iter().for_each(|at| parts[*at] = (due(*at) / sum) as u64);
            let given: u64 = open.iter().map(|at| parts[*at]).sum();
            open.sort_by(|a, b| (due(*b) % sum).cmp(&(due(*a) % sum)).then(a.cmp(b)));
            open.iter().take((places - given) as usize).for_each(|at| parts[*at] += 1);
            return parts;
        }
        for at in over {
            parts[at] = left[at];
            places -= left[at];
        }
        open = rest;
    }
}

/// Weights in lowest terms.
fn lowest(weights: &[u64]) -> Vec<u64> {
    let divisor = weights.iter().fold(0, |divisor, weight| gcd(divisor, u128::from(*weight))).max(1);
    weights.iter().map(|weight| (u128::from(*weight) / divisor) as u64).collect()
}

/// What each source has had at the end of the next block, `end` samples from the stretch's front.
fn step(had: &mut [u64], weights: &[u64], sum: u128, end: u64) {
    let due = |at: usize| u128::from(end) * u128::from(weights[at]);
    // May have one more than it must, and by which sample the next is due.
    let mut open: Vec<(u128, usize)> = Vec::with_capacity(weights.len());
    for at in 0..weights.len() {
        let least = (due(at) / sum) as u64;
        let most = due(at).div_ceil(sum) as u64;
        had[at] = had[at].max(least);
        if had[at] < most {
            open.push(((u128::from(had[at] + 1) * sum).div_ceil(u128::from(weights[at])), at));
        }
    }
    let left = end.saturating_sub(had.iter().sum());
    open.sort_unstable();
    debug_assert!(left as usize <= open.len(), "a schedule within one sample exists");
    for (_, at) in open.into_iter().take(left as usize) {
        had[at] += 1;
    }
}

/// Blocks whose places are kept: those of a window in which batches are formed, and some of the next.
const KEPT: usize = 20;

/// For each place of a block: the source, and how many samples of it the block has before.
type Places = Arc<[(u32, u32)]>;

/// A block, what each source has had before it, and its places.
type Block = (u64, Arc<[u64]>, Places);

/// A blend in one epoch: which sample of which source stands where.
#[derive(Debug, Clone)]
pub struct Blended {
    blend: Arc<Blend>,
    key: Key,
    /// The places of some blocks, and what each source has had before them.
    kept: Arc<Mutex<Vec<Block>>>,
    /// Samples of each source in the epoch.
    all: Arc<[u64]>,
}

impl Blended {
    /// The blend under a key.
    pub fn new(blend: Arc<Blend>, key: Key) -> Self {
        let all = blend.all().into();
        Blended { blend, key, kept: Arc::default(), all }
    }

    /// The counts behind it.
    pub fn blend(&self) -> &Blend {
        &self.blend
    }

    /// Samples of each source in the epoch.
    pub fn all(&self) -> &[u64] {
        &self.all
    }

    /// The source at a sample of the epoch, and which of its samples stands there.
    ///
    /// # Panics
    /// If there are not so many samples.
    pub fn at(&self, sample: u64) -> (usize, u64) {
        // One source alone (a dataset that repeats, say) stands everywhere.
        if let [all] = self.all[..] {
            assert!(sample < all, "sample {sample} of {all}");
            return (0, sample);
        }
        let block = sample / BLOCK;
        let (before, places) = self.places(block);
        let (source, nth) = places[(sample % BLOCK) as usize];
        (source as usize, before[source as usize] + u64::from(nth))
    }

    fn places(&self, block: u64) -> (Arc<[u64]>, Places) {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(at) = kept.iter().position(|(of, ..)| *of == block) {
            let (_, before, places) = &kept[at];
            return (before.clone(), places.clone());
        }
        let (before, after) = self.blend.counts(block);
        // Where the drawn numbers of each source end.
        let mut ends = Vec::with_capacity(before.len());
        for (after, before) in after.iter().zip(&before) {
            ends.push(ends.last().copied().unwrap_or(0) + after - before);
        }
        let length = ends.last().copied().unwrap_or(0);
        let order = Permutation::new(length, self.key.with(block));
        let mut nth = vec![0u32; before.len()];
        let place = |place: u64| {
            let drawn = order.at(place);
            let source = ends.partition_point(|end| *end <= drawn);
            let own = nth[source];
            nth[source] += 1;
            (source as u32, own)
        };
        let places: Places = (0..length).map(place).collect();
        let before: Arc<[u64]> = before.into();
        if kept.len() == KEPT {
            kept.remove(0);
        }
        kept.push((block, before.clone(), places.clone()));
        (before, places)
    }
}
