//! Which batch a rank executes at which step, also where a window's batches are known only when it is formed.

use std::sync::{Arc, Mutex, PoisonError};

use serde::{Deserialize, Serialize};

use super::{Plan, State, Tail, World};
use crate::error::{Error, Result};

/// A batch of an epoch. Where all batches have as many places there is one window, and `batch` is the batch's number in the global order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
pub struct At {
    /// The window.
    pub window: u64,
    /// The batch in it, from 0.
    pub batch: u64,
}

impl At {
    /// A batch of the first window.
    pub fn batch(batch: u64) -> Self {
        At { window: 0, batch }
    }
}

impl std::fmt::Display for At {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.window > 0 {
            write!(f, "{}:", self.window)?;
        }
        write!(f, "{}", self.batch)
    }
}

/// One rank's steps through an epoch from some batch on: of the batches that follow it, the `step * world + rank`-th. All ranks have as many steps.
#[derive(Debug)]
pub struct Steps {
    plan: Arc<Plan>,
    world: World,
    start: At,
    /// Steps at the most, of a part of an epoch.
    most: u64,
    /// Batches from the start to the end of each window that was looked at.
    ends: Mutex<Vec<u64>>,
}

impl Steps {
    /// The steps of a rank from `start` on.
    pub fn new(plan: Arc<Plan>, world: World, start: At) -> Self {
        Steps { plan, world, start, most: u64::MAX, ends: Mutex::default() }
    }

    /// The steps of a rank from where a state was saved on.
    ///
    /// # Errors
    /// [`Error::State`] if the plan has no such place.
    pub fn resumed(plan: Arc<Plan>, world: World, state: &State) -> Result<Self> {
        let (At { window, batch }, windows) = (state.at(), plan.windows());
        let wrong = if window > 0 && plan.batching().is_none() {
            Some(format!("it stands in window {window}, and this recipe forms its batches in none"))
        } else if window > 0 && window >= windows {
            Some(format!("it stands in window {window}, and the epoch has {windows}, from 0"))
        } else if window + 1 < windows && batch > plan.batches(window).len() {
            // Behind the last window's batches is the epoch's end, where a state may stand.
            let all = plan.batches(window).len();
            Some(format!("it stands at batch {batch} of window {window}, which has {all}"))
        } else {
            None
        };
        match wrong {
            None => Ok(Steps::new(plan, world, At { window, batch })),
            Some(what) => Err(Error::State {
                what,
                help: "give the state as --state-out (or Epoch::state) wrote it, or start the epoch anew".into(),
            }),
        }
    }

    /// Some of these steps.
    #[must_use]
    pub fn part(&self, steps: std::ops::Range<u64>) -> Self {
        let most = steps.end.min(self.most).saturating_sub(steps.start);
        Steps { most, ..Steps::new(self.plan.clone(), self.world, self.after(steps.start)) }
    }

    /// The plan.
    pub fn plan(&self) -> &Arc<Plan> {
        &self.plan
    }

    /// The rank and its world.
    pub fn world(&self) -> World {
        self.world
    }

    /// How many batches there are from the start on, or at least `enough`.
    fn batches(&self, enough: u64) -> u64 {
        if self.plan.batching().is_none() {
            let (places, batch) = (self.plan.places(), self.plan.batch_size() as u64);
            let all = if self.plan.tail() == Tail::Drop { places / batch } else { places.div_ceil(batch) };
            return all.saturating_sub(self.start.batch);
        }
        let mut ends = self.ends.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            let known = ends.last().copied().unwrap_or(0);
            let window = self.start.window.saturating_add(ends.len() as u64);
            if known >= enough || window >= self.plan.windows() {
                return known;
            }
            let own = self.plan.batches(window).len();
            let before = if ends.is_empty() { self.start.batch } else { 0 };
            ends.push(known.saturating_add(own.saturating_sub(before)));
        }
    }

    /// Whether every rank has this step.
    pub fn has(&self, step: u64) -> bool {
        let all = |batches: u64| self.batches(batches) >= batches;
        step < self.most
            && match self.plan.tail() {
                Tail::Drop => all(step.saturating_add(1).saturating_mul(self.world.size)),
                Tail::Pad | Tail::Repeat => all(step.saturating_mul(self.world.size).saturating_add(1)),
            }
    }

    /// How many steps there are. Where batches are formed in windows, that looks at every window.
    pub fn count(&self) -> u64 {
        let batches = self.batches(u64::MAX);
        let steps = match self.plan.tail() {
            Tail::Drop => batches / self.world.size,
            Tail::Pad | Tail::Repeat => batches.div_ceil(self.world.size),
        };
        steps.min(self.most)
    }

    /// The batch of this rank's step.
    pub fn batch(&self, step: u64) -> At {
        self.at(step.saturating_mul(self.world.size).saturating_add(self.world.rank))
    }

    /// The first batch that no rank has taken after `step` steps.
    pub fn after(&self, step: u64) -> At {
        self.at(step.saturating_mul(self.world.size))
    }

    /// The n-th batch from the start on; behind the epoch's end in its last window.
    fn at(&self, nth: u64) -> At {
        if self.plan.batching().is_none() {
            return At::batch(self.start.batch.saturating_add(nth));
        }
        self.batches(nth.saturating_add(1));
        let ends = self.ends.lock().unwrap_or_else(PoisonError::into_inner);
        let at = ends.partition_point(|end| *end <= nth).min(ends.len().saturating_sub(1));
        let before = at.checked_sub(1).map_or(0, |before| ends[before]);
        let first = if at == 0 { self.start.batch } else { 0 };
        At { window: self.start.window + at as u64, batch: first.saturating_add(nth - before) }
    }

    /// Places that no rank gets, whatever the steps (only [`Tail::Drop`] leaves any). A part of an epoch leaves none.
    pub fn dropped(&self) -> u64 {
        if self.most < u64::MAX || self.plan.tail() != Tail::Drop {
            return 0;
        }
        let all = self.batches(u64::MAX);
        if self.plan.batching().is_none() {
            let taken = self.start.batch.saturating_add(all / self.world.size * self.world.size);
            return self.plan.places().saturating_sub(taken.saturating_mul(self.plan.batch_size() as u64));
        }
        let left = (all / self.world.size * self.world.size..all).map(|nth| self.plan.slots(self.at(nth)));
        left.flatten().filter(|slot| slot.valid).count() as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    use crate::plan::{Component, Order, Rows, Sequence};

    /// The steps over so many places, in batches of 8.
    fn steps(places: u64, tail: Tail, world: World, start: u64) -> Steps {
        let rows = Rows::new(Some(0..places));
        let component = Component { name: None, rows, balance: None, order: Order::Shuffle, window: (1, 1) };
        let (components, mixing, batching) = (vec![component], None, None);
        let sequence = Sequence {
            components,
            mixing,
            batching,
            batch: 8,
            views: 1,
            partners: 0,
            partners_from: None,
            tail,
            seed: 0,
        };
        Steps::new(Arc::new(Plan::new(&sequence, 0)), world, At::batch(start))
    }

    fn dealt(places: u64, tail: Tail, size: u64, start: u64) -> Vec<u64> {
        let ranks: Vec<Steps> = (0..size).map(|rank| steps(places, tail, World { rank, size }, start)).collect();
        (0..ranks[0].count()).flat_map(|step| ranks.iter().map(move |rank| rank.batch(step).batch)).collect()
    }

    #[test]
    fn ranks_are_disjoint_equal_and_in_global_order() {
        for places in [0, 1, 5, 63, 64, 65, 1000] {
            for size in [1, 2, 3, 7] {
                for start in [0, 1, 4] {
                    for tail in [Tail::Drop, Tail::Pad, Tail::Repeat] {
                        let got = dealt(places, tail, size, start);
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
        let drop = steps(100, Tail::Drop, World { rank: 1, size: 5 }, 0);
        assert_eq!((drop.count(), drop.dropped()), (2, 20));
        let pad = steps(100, Tail::Pad, World { rank: 0, size: 5 }, 0);
        assert_eq!((pad.count(), pad.dropped()), (3, 0));
    }
}
