//! Several datasets in one epoch, by weight: exact counts in blocks of 4,096 samples, instead of draws.
//!
//! Within a stretch of constant weights `w` of sum `W`, source `i` is due `t = x w_i / W` of the first `x` samples. At the end of every block
//! it has had `floor(t)` or `ceil(t)`: its k-th sample may come from the block on in which `t` goes beyond `k - 1`, and must have come by the end of that in
//! which `t` reaches `k`; of those that may, the ones that must come first are taken. (The chairman assignment problem; Tijdeman, Discrete Mathematics
//! 1980. That earliest deadlines first keeps every deadline that can be kept: Steiner and Yeomans, Management Science 1993.) Counts repeat after
//! `W / gcd(W, 4096)` blocks, so a place is found by a division and a table. Which sources stand at which places of a block is drawn anew each epoch.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use serde::{Deserialize, Serialize};

use super::Permutation;
use crate::error::{Error, Result};
use crate::rng::Key;

/// Samples of a block, within which the counts of the sources are exact.
pub const BLOCK: u64 = 4096;

/// Counts that tables hold at the most: 128 MiB.
const MOST_COUNTS: u64 = 1 << 24;

/// What happens when a source of a mixture has no rows left.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Exhausted {
    /// The epoch ends: no row comes twice.
    #[default]
    Stop,
    /// It begins anew, until every source has had all its rows.
    Repeat,
    /// The others go on, each in proportion to its weight, until no source has rows left: every row comes once.
    Drop,
}

impl Exhausted {
    /// All ways.
    pub const ALL: &'static [Exhausted] = &[Exhausted::Stop, Exhausted::Repeat, Exhausted::Drop];
}

/// How the sources of a mixture come together.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Mixture {
    /// What happens when a source has no rows left.
    pub exhausted: Exhausted,
    /// Samples of an epoch: with [`Exhausted::Repeat`] just so many, with the others at the most.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub samples: Option<u64>,
    /// Other weights from some batch on: a curriculum.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub phases: Vec<Phase>,
    /// The column that says which source each sample is of, by number in the order of their names.
    pub column: String,
}

impl Default for Mixture {
    fn default() -> Self {
        Mixture { exhausted: Exhausted::Stop, samples: None, phases: Vec::new(), column: "source".into() }
    }
}

/// Weights that hold from a batch of an epoch on, and in all later epochs, until the next phase.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Phase {
    /// The epoch (from 0).
    pub epoch: u64,
    /// The global batch (from 0, over all ranks); weights change with the first block that begins at it or later.
    pub batch: u64,
    /// The weight of every source.
    pub weights: BTreeMap<String, f64>,
}

/// The sources of a mixture, their sizes and weights checked: what the [`Blend`] of every epoch is made from.
#[derive(Debug, Clone)]
pub struct Mixing {
    exhausted: Exhausted,
    samples: Option<u64>,
    /// Samples of a pass of each source.
    rows: Vec<u64>,
    /// From which block of which epoch on which weights hold, ascending.
    weights: Vec<((u64, u64), Vec<u64>)>,
    blend: Arc<Blend>,
}

impl Mixture {
    /// Checks the phases' order.
    ///
    /// # Errors
    /// [`Error::Config`] for phases that do not come one after the other.
    pub fn validate(&self) -> Result<()> {
        let order = |phase: &Phase| (phase.epoch, phase.batch);
        match self.phases.windows(2).find(|pair| order(&pair[0]) >= order(&pair[1])) {
            Some(pair) => Err(Error::config(
                format!("mixture: the phase of epoch {}, batch {} comes too late", pair[1].epoch, pair[1].batch),
                "list phases in the order in which they begin",
            )),
            None => Ok(()),
        }
    }

    /// Binds the mixture to sources: their names, weights and samples. `batch` is how many samples a batch has.
    ///
    /// # Errors
    /// [`Error::Config`] for weights that are none, phases that do not name each source, sources that would repeat nothing, and
    /// weights of so many digits that their counts would need tables of more than 128 MiB.
    pub fn bind(&self, sources: &[(String, f64, u64)], batch: u64) -> Result<Mixing> {
        self.validate()?;
        let names: Vec<&str> = sources.iter().map(|(name, ..)| name.as_str()).collect();
        let mut weights = vec![((0, 0), whole(&names, &sources.iter().map(|s| s.1).collect::<Vec<_>>())?)];
        for phase in &self.phases {
            let at = format!("the phase of epoch {}, batch {}", phase.epoch, phase.batch);
            if let Some(other) = phase.weights.keys().find(|name| !names.contains(&name.as_str())) {
                let help = format!("the sources are: {}", names.join(", "));
                return Err(Error::config(
                    format!("mixture: {at} has a weight for {other:?}, which is no source"),
                    help,
                ));
            }
            let of = |name: &&str| {
                let help = "every phase says the weight of every source; 0 leaves one out";
                let none = || Error::config(format!("mixture: {at} has no weight for {name:?}"), help);
                phase.weights.get(*name).copied().ok_or_else(none)
            };
            let own = whole(&names, &names.iter().map(of).collect::<Result<Vec<_>>>()?)?;
            let block = phase.batch.saturating_mul(batch).div_ceil(BLOCK);
            // Of two that begin with the same block, the later one counts.
            weights.retain(|(from, _)| *from != (phase.epoch, block));
            weights.push(((phase.epoch, block), own));
        }
        let rows: Vec<u64> = sources.iter().map(|s| s.2).collect();
        let wanted =
            |at: usize| self.exhausted == Exhausted::Repeat || weights.iter().any(|(_, weights)| weights[at] > 0);
        if self.exhausted != Exhausted::Drop
            && let Some(at) = (0..rows.len()).find(|at| rows[*at] == 0 && wanted(*at))
        {
            let help = "choose other rows of it, give it the weight 0, or leave it out";
            return Err(Error::config(format!("mixture: {:?} has a weight and no rows", names[at]), help));
        }
        let mut mixing = Mixing {
            exhausted: self.exhausted,
            samples: self.samples,
            rows,
            weights,
            blend: Arc::new(Blend { sources: 0, stretches: Vec::new(), end: 0 }),
        };
        mixing.blend = Arc::new(mixing.blended(0)?);
        // So that no epoch meets an error that could be told now.
        let later = mixing.weights.iter().map(|((epoch, _), _)| *epoch);
        let epochs: std::collections::BTreeSet<u64> =
            later.flat_map(|epoch| [epoch, epoch.saturating_add(1)]).collect();
        epochs.into_iter().try_for_each(|epoch| mixing.blended(epoch).map(|_| ()))?;
        Ok(mixing)
    }
}

/// Weights as whole numbers in the same proportion: decimals count as they are written, up to nine places behind the point.
fn whole(names: &[&str], weights: &[f64]) -> Result<Vec<u64>> {
    const PLACES: usize = 9;
    let help = "weights are numbers from 0 on with at most nine places behind the point, one of them above 0";
    let mut parts = Vec::with_capacity(weights.len());
    for (name, weight) in names.iter().zip(weights) {
        // Weights that are counts of rows may be larger, and are whole.
        let written =
            if weight.fract() == 0.0 { format!("{weight:.0}.{:09}", 0) } else { format!("{weight:.PLACES$}") };
        let part = written.replace('.', "").parse::<u128>().ok().filter(|part| *weight == 0.0 || *part > 0);
        parts.push(part.ok_or_else(|| Error::config(format!("mixture: the weight of {name:?} is {weight}"), help))?);
    }
    let divisor = parts.iter().copied().fold(0, gcd);
    if divisor == 0 {
        return Err(Error::config("mixture: no source has a weight", help));
    }
    let parts: Option<Vec<u64>> = parts.iter().map(|part| u64::try_from(part / divisor).ok()).collect();
    // The products of places and weights stay within 128 bits.
    let parts = parts.filter(|parts| parts.iter().try_fold(0u64, |sum, part| sum.checked_add(*part)).is_some());
    parts.ok_or_else(|| Error::config(format!("mixture: the weights {weights:?} are too far apart"), help))
}

fn gcd(a: u128, b: u128) -> u128 {
    if b == 0 { a } else { gcd(b, a % b) }
}

impl Mixing {
    /// The blend of an epoch.
    pub fn blend(&self, epoch: u64) -> Arc<Blend> {
        if self.weights.len() == 1 {
            return self.blend.clone();
        }
        // `bind` has made one like it.
        self.blended(epoch).map_or_else(|_| self.blend.clone(), Arc::new)
    }

    /// How many sources there are.
    pub fn sources(&self) -> usize {
        self.rows.len()
    }

    /// The weights of an epoch: from which sample on (a multiple of [`BLOCK`]), and until where if others follow.
    fn phases(&self, epoch: u64) -> Vec<(u64, Option<u64>, &[u64])> {
        let before = self.weights.iter().rfind(|((of, block), _)| *of < epoch || (*of == epoch && *block == 0));
        let own = self.weights.iter().filter(|((of, block), _)| *of == epoch && *block > 0);
        let starts: Vec<(u64, &[u64])> = before
            .map(|(_, weights)| (0, weights.as_slice()))
            .into_iter()
            .chain(own.map(|((_, block), weights)| (block.saturating_mul(BLOCK), weights.as_slice())))
            .collect();
        let end = |at: usize| starts.get(at + 1).map(|(start, _)| *start);
        starts.iter().enumerate().map(|(at, (start, weights))| (*start, end(at), *weights)).collect()
    }

    fn blended(&self, epoch: u64) -> Result<Blend> {
        let mut making = Making::new(self.rows.len());
        let phases = self.phases(epoch);
        for (nth, (start, end, weights)) in phases.iter().copied().enumerate() {
            // An earlier phase ended the epoch, or (drop) had nothing left to give.
            let late = making.at < start;
            if late && self.exhausted != Exhausted::Drop {
                break;
            }
            let end = end.unwrap_or(u64::MAX);
            match self.exhausted {
                Exhausted::Drop => {
                    making.until_empty(&self.rows, weights, self.bounded(end), nth + 1 == phases.len())?;
                }
                Exhausted::Stop => {
                    let left = |at: usize| u128::from(self.rows[at] - making.taken[at]);
                    let sum = total(weights);
                    let ends = (0..weights.len())
                        .filter(|at| weights[*at] > 0)
                        .map(|at| left(at) * sum / u128::from(weights[at]));
                    let ends = ends.min().unwrap_or(0).saturating_add(u128::from(making.at));
                    making.run(weights, self.bounded(u64::try_from(ends).unwrap_or(u64::MAX).min(end)))?;
                }
                Exhausted::Repeat => {
                    let left = |at: usize| u128::from(self.rows[at].saturating_sub(making.taken[at]));
                    let sum = total(weights);
                    let open: Vec<usize> = (0..weights.len()).filter(|at| left(*at) > 0).collect();
                    let later = end < u64::MAX && open.iter().any(|at| weights[*at] == 0);
                    let ends = open
                        .iter()
                        .filter(|at| weights[**at] > 0)
                        .map(|at| (left(*at) * sum).div_ceil(u128::from(weights[*at])));
                    let ends = ends.max().unwrap_or(0).saturating_add(u128::from(making.at));
                    let ends = if later { end } else { u64::try_from(ends).unwrap_or(u64::MAX).min(end) };
                    making.run(weights, self.samples.unwrap_or(ends).min(end))?;
                }
            }
        }
        Ok(Blend { sources: making.taken.len(), stretches: making.stretches, end: making.at })
    }

    fn bounded(&self, end: u64) -> u64 {
        self.samples.map_or(end, |most| most.min(end))
    }
}

fn total(weights: &[u64]) -> u128 {
    weights.iter().map(|weight| u128::from(*weight)).sum()
}

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
struct Making {
    at: u64,
    taken: Vec<u64>,
    stretches: Vec<Stretch>,
    counts: u64,
}

impl Making {
    fn new(sources: usize) -> Self {
        Making { at: 0, taken: vec![0; sources], stretches: Vec::new(), counts: 0 }
    }

    /// Goes on with weights until sample `end`. Only at the epoch's end that is no multiple of a block.
    fn run(&mut self, weights: &[u64], end: u64) -> Result<()> {
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
    fn until_empty(&mut self, rows: &[u64], weights: &[u64], end: u64, last: bool) -> Result<()> {
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

#[cfg(test)]
mod tests {
    use super::*;

    fn named(sources: &[(f64, u64)]) -> Vec<(String, f64, u64)> {
        sources.iter().enumerate().map(|(at, (weight, rows))| (format!("s{at}"), *weight, *rows)).collect()
    }

    fn of(mixture: &Mixture, sources: &[(f64, u64)]) -> Mixing {
        mixture.bind(&named(sources), 8).unwrap()
    }

    fn by(exhausted: Exhausted) -> Mixture {
        Mixture { exhausted, ..Mixture::default() }
    }

    /// What stands at every sample, and the counts of each source before each block and at the end; each source's samples come in order.
    fn walked(mixing: &Mixing, epoch: u64) -> (Vec<usize>, Vec<Vec<u64>>) {
        let blended = Blended::new(mixing.blend(epoch), Key::new(5).with(epoch));
        let samples = blended.blend().samples();
        let (mut all, mut had, mut ends) = (Vec::new(), vec![0; mixing.sources()], Vec::new());
        for sample in 0..samples {
            if sample % BLOCK == 0 {
                ends.push(had.clone());
                assert_eq!(blended.blend().counts(sample / BLOCK).0, had);
            }
            let (source, nth) = blended.at(sample);
            assert_eq!(nth, had[source], "sample {sample} of source {source}");
            had[source] += 1;
            all.push(source);
        }
        assert_eq!(had, blended.all());
        ends.push(had);
        // Asked for backwards it is the same.
        let place = |n: &u64| blended.at(*n).0 == all[*n as usize];
        assert!((0..samples).rev().step_by(1 + samples as usize / 50).all(|n| place(&n)));
        (all, ends)
    }

    #[test]
    fn counts_are_within_one_of_their_share_at_every_block() {
        let weights: &[&[f64]] = &[
            &[3.0, 1.0],
            &[0.7, 0.2, 0.1],
            &[1.0, 1.0, 1.0],
            &[0.999, 0.0005, 0.0003, 0.0002],
            &[0.123456789, 0.3, 0.0001],
            &[1.0, 0.0, 2.0],
            &[1.0; 40],
            &[5.0],
        ];
        for (seed, weights) in weights.iter().enumerate() {
            let mut stream = Key::new(seed as u64).stream();
            let sources: Vec<(f64, u64)> = weights.iter().map(|w| (*w, 1 + stream.below(9_000))).collect();
            let sum: f64 = weights.iter().sum();
            for exhausted in [Exhausted::Stop, Exhausted::Repeat] {
                let most = Mixture { samples: Some(30_000), ..by(exhausted) };
                let (samples, ends) = walked(&of(&most, &sources), 0);
                let n = samples.len() as f64;
                for (block, had) in ends.iter().enumerate() {
                    let at = (block as f64 * BLOCK as f64).min(n);
                    for (had, (weight, _)) in had.iter().zip(&sources) {
                        let due = at * weight / sum;
                        assert!((*had as f64 - due).abs() < 1.0, "{weights:?} block {block}: {had}, due {due}");
                    }
                }
                let last = ends.last().unwrap();
                match exhausted {
                    // One more sample, and a source would have none left.
                    Exhausted::Stop => {
                        assert!(last.iter().zip(&sources).all(|(had, (_, rows))| had <= rows));
                        let beyond = |(weight, rows): &(f64, u64)| (n + 1.0) * weight / sum > *rows as f64 - 1e-6;
                        assert!(samples.len() == 30_000 || sources.iter().any(beyond), "{weights:?}: {n}");
                    }
                    _ => assert_eq!(samples.len(), 30_000),
                }
            }
        }
    }

    #[test]
    fn repeating_goes_on_until_all_have_had_all_rows_and_no_further() {
        for sources in [vec![(3.0, 5_000), (1.0, 5_000)], vec![(1.0, 10), (1.0, 20_001), (0.5, 700)], vec![(2.0, 1)]] {
            let mixing = of(&by(Exhausted::Repeat), &sources);
            let (samples, ends) = walked(&mixing, 0);
            assert!(ends.last().unwrap().iter().zip(&sources).all(|(had, (_, rows))| had >= rows));
            let sum: f64 = sources.iter().map(|s| s.0).sum();
            let short = |(weight, rows): &(f64, u64)| (samples.len() as f64 - 1.0) * weight / sum < *rows as f64;
            assert!(sources.iter().any(short), "{sources:?}: {}", samples.len());
        }
    }

    #[test]
    fn dropping_gives_every_row_once() {
        let many: Vec<(f64, u64)> = (0..30u32).map(|n| (f64::from(n % 7 + 1), u64::from(n * n * 13 % 2_000))).collect();
        for sources in [vec![(3.0, 5_000), (1.0, 9_000)], vec![(1.0, 0), (1.0, 4_095)], vec![(1.0, 0)], many] {
            let mixing = of(&by(Exhausted::Drop), &sources);
            let (samples, ends) = walked(&mixing, 0);
            let rows: Vec<u64> = sources.iter().map(|s| s.1).collect();
            assert_eq!(*ends.last().unwrap(), rows);
            assert_eq!(samples.len() as u64, rows.iter().sum::<u64>());
        }
        // While both have rows they come 3 to 1; then the other goes on alone.
        let (_, ends) = walked(&of(&by(Exhausted::Drop), &[(3.0, 6_000), (1.0, 9_000)]), 0);
        assert_eq!(ends[1], [3072, 1024]);
        assert_eq!(ends[2], [6000, 2192]);
        assert_eq!(ends[3], [6000, 6288]);
    }

    #[test]
    fn weights_left_out_are_the_sizes() {
        let sources = [(1_281_167.0, 1_281_167), (50_000.0, 50_000), (31.0, 31)];
        let mixing = of(&Mixture::default(), &sources);
        assert_eq!(mixing.blend(0).samples(), 1_331_198);
        assert_eq!(mixing.blend(0).all(), [1_281_167, 50_000, 31]);
    }

    #[test]
    fn phases_change_the_weights_with_a_block() {
        let weights = |a: f64, b: f64| BTreeMap::from([("s0".to_owned(), a), ("s1".to_owned(), b)]);
        let phase = |epoch, batch, a, b| Phase { epoch, batch, weights: weights(a, b) };
        // Batches of 8: batch 600 is sample 4,800, so the second phase begins with sample 8,192.
        let phases = vec![phase(0, 600, 1.0, 1.0), phase(2, 0, 0.0, 1.0), phase(2, 1024, 1.0, 3.0)];
        for exhausted in Exhausted::ALL {
            let mixture = Mixture { phases: phases.clone(), samples: Some(20_000), ..by(*exhausted) };
            let mixing = of(&mixture, &[(3.0, 40_000), (1.0, 40_000)]);
            let (first, second, third) = (walked(&mixing, 0).1, walked(&mixing, 1).1, walked(&mixing, 2).1);
            assert_eq!(first[1..=3], [[3072, 1024], [6144, 2048], [8192, 4096]].map(Vec::from), "{exhausted:?}");
            assert_eq!(second[1], [2048, 2048]);
            assert_eq!(third[1..=3], [[0, 4096], [0, 8192], [1024, 11264]].map(Vec::from));
            assert_eq!(third.last().unwrap().iter().sum::<u64>(), 20_000);
        }
        // The sources of a phase run out within a block, and within the samples: the next begins with a block.
        let mixture = Mixture { phases: vec![phase(0, 2_560, 1.0, 1.0)], samples: Some(10_000), ..by(Exhausted::Drop) };
        let all = walked(&of(&mixture, &[(1.0, 5_000), (0.0, 5_000)]), 0).1;
        assert_eq!(*all.last().unwrap(), [5_000, 5_000]);
        // What is left out at first comes later, and an epoch that repeats waits for it.
        let mixture = Mixture { phases: phases[1..].to_vec(), ..by(Exhausted::Repeat) };
        let all = walked(&of(&mixture, &[(0.0, 5_000), (1.0, 100)]), 2).1;
        assert!(all.last().unwrap()[0] >= 5_000);
        // Dropped, nothing is lost where a phase's sources run out before it ends.
        let mixture = Mixture { phases, ..by(Exhausted::Drop) };
        let all = walked(&of(&mixture, &[(3.0, 7_000), (1.0, 5_000)]), 2).1;
        assert_eq!(*all.last().unwrap(), [7_000, 5_000]);
    }

    #[test]
    fn another_epoch_has_other_places_and_the_same_counts() {
        let mixing = of(&by(Exhausted::Stop), &[(3.0, 9_000), (1.0, 9_000)]);
        let (one, two) = (walked(&mixing, 0), walked(&mixing, 1));
        assert_eq!(one.1, two.1);
        assert_ne!(one.0, two.0);
        // No long runs: of 3,000 samples of the rarer of 3 to 1 in places drawn at random, a gap of 100 has a chance of 1e-9.
        let gap = one.0.split(|source| *source == 1).map(<[usize]>::len).max();
        assert!(gap < Some(100), "{gap:?}");
    }

    #[test]
    fn what_says_nothing_is_refused() {
        let refused = |mixture: &Mixture, sources: &[(f64, u64)], part: &str| {
            let message = mixture.bind(&named(sources), 8).unwrap_err().to_string();
            assert!(message.contains(part), "{message}");
        };
        let plain = Mixture::default();
        for wrong in [-1.0, f64::NAN, f64::INFINITY, 1e-12, 1e300] {
            refused(&plain, &[(1.0, 5), (wrong, 5)], "s1");
        }
        refused(&plain, &[(0.0, 5), (0.0, 5)], "no source");
        refused(&by(Exhausted::Repeat), &[(1.0, 5), (1.0, 0)], "a weight and no rows");
        refused(&plain, &[(1.0, 5), (1.0, 0)], "a weight and no rows");
        let phase = |batch, names: &[&str]| Phase {
            epoch: 0,
            batch,
            weights: names.iter().map(|name| ((*name).to_owned(), 1.0)).collect(),
        };
        let phases = |phases| Mixture { phases, ..Mixture::default() };
        refused(&phases(vec![phase(5, &["s0"])]), &[(1.0, 5), (1.0, 5)], "no weight for \"s1\"");
        refused(&phases(vec![phase(5, &["s0", "x"])]), &[(1.0, 5)], "no source");
        refused(&phases(vec![phase(5, &["s0"]), phase(5, &["s0"])]), &[(1.0, 5)], "too late");
        refused(&plain, &[(1.0, 1 << 60), (0.123_456_789, 1 << 60)], "too large a table");
        // Also where only a later epoch would need it.
        let late = Phase {
            epoch: 0,
            batch: 4_999_000_000,
            weights: BTreeMap::from([("s0".into(), 0.123_456_789), ("s1".into(), 1.0)]),
        };
        let repeat = Mixture { samples: Some(40_000_000_000), phases: vec![late], ..by(Exhausted::Repeat) };
        refused(&repeat, &[(1.0, 1_000), (1.0, 1_000)], "too large a table");
        // The same weights over fewer rows are fine, and so are many rows in plain proportions.
        assert!(plain.bind(&named(&[(1.0, 1 << 20), (0.123_456_789, 1 << 20)]), 8).is_ok());
        let huge = of(&plain, &[(3.0, 1 << 60), (1.0, 1 << 60)]);
        let blended = Blended::new(huge.blend(0), Key::new(1));
        let (source, nth) = blended.at(1 << 59);
        let share = [3u64, 1][source] << 57;
        assert!(nth.abs_diff(share) <= BLOCK, "{source} {nth} {share}");
    }
}
