//! Several datasets in one epoch, by weight: exact counts in blocks of 4,096 samples, instead of draws.
//!
//! Within a stretch of constant weights `w` of sum `W`, source `i` is due `t = x w_i / W` of the first `x` samples. At the end of every block
//! it has had `floor(t)` or `ceil(t)`: its k-th sample may come from the block on in which `t` goes beyond `k - 1`, and must have come by the end of that in
//! which `t` reaches `k`; of those that may, the ones that must come first are taken. (The chairman assignment problem; Tijdeman, Discrete Mathematics
//! 1980. That earliest deadlines first keeps every deadline that can be kept: Steiner and Yeomans, Management Science 1993.) Counts repeat after
//! `W / gcd(W, 4096)` blocks, so a place is found by a division and a table. Which sources stand at which places of a block is drawn anew each epoch.

mod blend;

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use blend::Making;
pub use blend::{Blend, Blended};

use crate::error::{Error, Result};

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
        let wanted = |at: usize| weights.iter().any(|(_, weights)| weights[at] > 0);
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
            blend: Arc::new(Making::new(0).made()),
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
                    // A source that has no weight now, and rows left, has its turn in a later phase.
                    let behind = &phases[nth + 1..];
                    let due = |at: usize| behind.iter().any(|(_, _, later)| later[at] > 0);
                    let later = open.iter().any(|at| weights[*at] == 0 && due(*at));
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
        Ok(making.made())
    }

    fn bounded(&self, end: u64) -> u64 {
        self.samples.map_or(end, |most| most.min(end))
    }
}

fn total(weights: &[u64]) -> u128 {
    weights.iter().map(|weight| u128::from(*weight)).sum()
}

#[cfg(test)]
mod tests;
