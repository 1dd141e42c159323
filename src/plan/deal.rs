//! Who gets which batch: global batches, formed once, dealt to ranks in turn.

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

/// What happens to the batches at the end of an epoch that do not come out even.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Tail {
    /// Incomplete batches, and full ones that cannot be dealt to every rank, are left out (and counted).
    #[default]
    Drop,
    /// Complete: missing samples are padding with `valid = false`.
    Pad,
    /// Complete: samples from the front of the epoch's order are repeated, as a further occurrence of their row.
    Repeat,
}

/// One rank of a world.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct World {
    /// This process, from 0.
    pub rank: u64,
    /// How many processes share the epoch.
    pub size: u64,
}

impl Default for World {
    fn default() -> Self {
        World { rank: 0, size: 1 }
    }
}

impl World {
    /// Checks that the rank is in the world.
    pub fn validate(&self) -> Result<()> {
        if self.size == 0 || self.rank >= self.size {
            return Err(Error::config(
                format!("rank {} of a world of {}", self.rank, self.size),
                "ranks count from 0 to world - 1, and a world has at least one",
            ));
        }
        Ok(())
    }
}

/// The deal of one epoch's batches from `start` on: this rank gets `start + step * world + rank`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Deal {
    /// This process among all.
    pub world: World,
    /// The first global batch that is dealt.
    pub start: u64,
    /// Steps of every rank.
    pub steps: u64,
}

impl Deal {
    /// Deals the batches of `places` samples from global batch `start` on. Every rank gets the same number of steps.
    pub fn new(places: u64, batch: u64, tail: Tail, world: World, start: u64) -> Self {
        let batches = match tail {
            Tail::Drop => places / batch,
            Tail::Pad | Tail::Repeat => places.div_ceil(batch),
        };
        let left = batches.saturating_sub(start);
        let steps = match tail {
            Tail::Drop => left / world.size,
            Tail::Pad | Tail::Repeat => left.div_ceil(world.size),
        };
        Deal { world, start, steps }
    }

    /// The global batch of this rank's step.
    pub fn batch(&self, step: u64) -> u64 {
        self.after(step).saturating_add(self.world.rank)
    }

    /// The first global batch that no rank has taken after `step` steps.
    pub fn after(&self, step: u64) -> u64 {
        self.start.saturating_add(step.saturating_mul(self.world.size))
    }

    /// Samples of `places` that no rank gets, whatever the steps (only [`Tail::Drop`] leaves any).
    pub fn dropped(&self, places: u64, batch: u64) -> u64 {
        places.saturating_sub(self.after(self.steps).saturating_mul(batch))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dealt(places: u64, batch: u64, tail: Tail, size: u64, start: u64) -> Vec<u64> {
        let deals: Vec<Deal> =
            (0..size).map(|rank| Deal::new(places, batch, tail, World { rank, size }, start)).collect();
        (0..deals[0].steps).flat_map(|step| deals.iter().map(move |d| d.batch(step))).collect()
    }

    #[test]
    fn ranks_are_disjoint_equal_and_in_global_order() {
        for places in [0, 1, 5, 63, 64, 65, 1000] {
            for size in [1, 2, 3, 7] {
                for start in [0, 1, 4] {
                    for tail in [Tail::Drop, Tail::Pad, Tail::Repeat] {
                        let got = dealt(places, 8, tail, size, start);
                        let want: Vec<u64> = (start..start + got.len() as u64).collect();
                        assert_eq!(got, want);
                        let batches = places.div_ceil(8);
                        if tail == Tail::Drop {
                            assert!(start + got.len() as u64 <= (places / 8).max(start));
                            assert!((places / 8).saturating_sub(start) - (got.len() as u64) < size);
                        } else {
                            assert!(start + got.len() as u64 >= batches.max(start));
                            assert!((got.len() as u64) < batches.saturating_sub(start) + size);
                        }
                    }
                }
            }
        }
    }

    #[test]
    fn what_is_dropped_is_counted() {
        let deal = Deal::new(100, 8, Tail::Drop, World { rank: 1, size: 5 }, 0);
        assert_eq!((deal.steps, deal.dropped(100, 8)), (2, 20));
        let deal = Deal::new(100, 8, Tail::Pad, World { rank: 0, size: 5 }, 0);
        assert_eq!((deal.steps, deal.dropped(100, 8)), (3, 0));
    }
}
