//! The plan: which rows stand at which place of an epoch. Pure arithmetic on (Index, recipe, seed, epoch).
//!
//! There is no I/O here, no clock, no thread and no world size: [`deal`] decides which rank executes which batch.

use std::ops::Range;

use serde::{Deserialize, Serialize};
use smallvec::SmallVec;

use crate::rng::Key;

pub mod deal;
pub mod permute;
pub mod state;

pub use deal::{Deal, Tail, World};
pub use permute::Permutation;
pub use state::State;

/// Raised whenever the same recipe would give another order or other draws; part of the recipe's digest.
pub const PLAN_VERSION: u32 = 1;

/// In which order the rows of an epoch come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Order {
    /// As stored.
    Sequential,
    /// A keyed permutation of all rows, another one each epoch.
    #[default]
    Shuffle,
}

/// One place of a batch: every row it needs, named before any I/O.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Slot {
    /// The place in the epoch's global order.
    pub place: u64,
    /// False for padding.
    pub valid: bool,
    /// The rows: one for a plain sample, several for packing, mosaic or mixing, none for padding.
    pub segments: SmallVec<[Segment; 1]>,
}

/// One row (or a part of it) of a slot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Segment {
    /// Which dataset of a mixture; 0 for a single one.
    pub source: u32,
    /// The row in that dataset's Index.
    pub row: u64,
    /// The part of the row that is wanted, in the unit of its feature (samples, microseconds, tokens). `None`: all.
    pub range: Option<(u64, u64)>,
    /// How often the row has come before in this epoch.
    pub occurrence: u32,
    /// Which of several views of the row.
    pub view: u32,
}

/// The order of one epoch.
#[derive(Debug, Clone)]
pub struct Plan {
    rows: Rows,
    batch: u64,
    tail: Tail,
    permutation: Option<Permutation>,
    draws: Key,
}

impl Plan {
    /// The plan of an epoch over the given rows (ascending ranges), in batches of `batch`.
    pub fn new(rows: &Rows, batch: usize, order: Order, tail: Tail, seed: u64, epoch: u64) -> Self {
        let key = Key::new(seed);
        let permutation = match order {
            Order::Sequential => None,
            Order::Shuffle => Some(Permutation::new(rows.len(), key.named("order").with(epoch))),
        };
        Plan { rows: rows.clone(), batch: batch as u64, tail, permutation, draws: key.named("draws").with(epoch) }
    }

    /// Samples of the epoch before any tail policy.
    pub fn places(&self) -> u64 {
        self.rows.len()
    }

    /// Samples of a batch.
    pub fn batch_size(&self) -> usize {
        self.batch as usize
    }

    /// The deal of this epoch's batches from global batch `start` on.
    pub fn deal(&self, world: World, start: u64) -> Deal {
        Deal::new(self.places(), self.batch, self.tail, world, start)
    }

    /// What stands at `slot` of global batch `batch`.
    pub fn slot(&self, batch: u64, slot: usize) -> Slot {
        let place = batch.saturating_mul(self.batch).saturating_add(slot as u64);
        let rows = self.rows.len();
        let (position, occurrence) = match self.tail {
            _ if place < rows => (place, 0),
            Tail::Repeat if rows > 0 => (place % rows, u32::try_from(place / rows).unwrap_or(u32::MAX)),
            _ => return Slot { place, valid: false, segments: SmallVec::new() },
        };
        let position = self.permutation.map_or(position, |p| p.at(position));
        let segment = Segment { source: 0, row: self.rows.at(position), range: None, occurrence, view: 0 };
        Slot { place, valid: true, segments: SmallVec::from_buf([segment]) }
    }

    /// The key of a segment's draws. Operations narrow it by their name path.
    pub fn key(&self, row_key: u64, segment: &Segment) -> Key {
        self.draws
            .with(u64::from(segment.source))
            .with(row_key)
            .with(u64::from(segment.occurrence))
            .with(u64::from(segment.view))
    }
}

/// The rows that an epoch runs over: positions `0..len` to row numbers, by binary search over range starts.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Rows {
    ranges: std::sync::Arc<Vec<(u64, Range<u64>)>>,
    length: u64,
}

impl Rows {
    /// Rows of ascending, disjoint ranges.
    pub fn new(ranges: impl IntoIterator<Item = Range<u64>>) -> Self {
        let mut length = 0;
        let ranges = ranges.into_iter().filter(|r| !r.is_empty()).map(|range| {
            let start = length;
            length += range.end - range.start;
            (start, range)
        });
        Rows { ranges: std::sync::Arc::new(ranges.collect()), length }
    }

    /// How many rows.
    pub fn len(&self) -> u64 {
        self.length
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.length == 0
    }

    /// The row at a position below `len`.
    pub fn at(&self, position: u64) -> u64 {
        let (start, range) = &self.ranges[self.ranges.partition_point(|(start, _)| *start <= position) - 1];
        range.start + (position - start)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(rows: u64, tail: Tail, order: Order) -> Plan {
        // Two ranges with a hole, so that positions and rows differ.
        Plan::new(&Rows::new([10..10 + rows / 2, 100..100 + rows.div_ceil(2)]), 4, order, tail, 7, 2)
    }

    fn rows_of(plan: &Plan) -> Vec<u64> {
        let deal = plan.deal(World::default(), 0);
        (0..deal.steps)
            .flat_map(|s| (0..4).map(move |i| (deal.batch(s), i)))
            .flat_map(|(batch, i)| plan.slot(batch, i).segments.into_iter().map(|s| s.row))
            .collect()
    }

    #[test]
    fn an_epoch_holds_every_row_once() {
        for rows in [0u64, 1, 3, 4, 5, 17, 400] {
            let mut all: Vec<u64> = (10..10 + rows / 2).chain(100..100 + rows.div_ceil(2)).collect();
            assert_eq!(rows_of(&plan(rows, Tail::Pad, Order::Sequential)), all);
            let mut shuffled = rows_of(&plan(rows, Tail::Pad, Order::Shuffle));
            shuffled.sort_unstable();
            all.sort_unstable();
            assert_eq!(shuffled, all);
            assert_eq!(rows_of(&plan(rows, Tail::Drop, Order::Shuffle)).len() as u64, rows / 4 * 4);
        }
    }

    #[test]
    fn repeats_are_further_occurrences_with_their_own_draws() {
        let plan = plan(3, Tail::Repeat, Order::Shuffle);
        let slots: Vec<Slot> = (0..12).map(|i| plan.slot(i / 4, i as usize % 4)).collect();
        for place in 3..12 {
            let (slot, first) = (&slots[place].segments[0], &slots[place % 3].segments[0]);
            assert_eq!((slot.row, slot.occurrence), (first.row, place as u32 / 3));
            assert_ne!(plan.key(1, slot), plan.key(1, first));
        }
    }

    #[test]
    fn padding_names_no_row() {
        let slot = plan(3, Tail::Pad, Order::Shuffle).slot(0, 3);
        assert!(!slot.valid && slot.segments.is_empty());
        assert!(!plan(0, Tail::Repeat, Order::Shuffle).slot(0, 0).valid);
    }
}
