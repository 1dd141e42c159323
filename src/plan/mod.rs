//! The plan: which rows stand at which place of an epoch. Pure arithmetic on (Index, recipe, seed, epoch).
//!
//! There is no I/O here, no clock, no thread and no world size: [`deal`] decides which rank executes which batch.

use serde::{Deserialize, Serialize};
use smallvec::SmallVec;

use crate::rng::Key;

pub mod balance;
pub mod choice;
pub mod deal;
pub mod filter;
pub mod permute;
pub mod rows;
pub mod score;
pub mod state;
pub mod windowed;

pub use balance::{Balance, Balanced, Share};
pub use choice::{Fold, Subset};
pub use deal::{Deal, Tail, World};
pub use filter::Filter;
pub use permute::Permutation;
pub use rows::Rows;
pub use score::Score;
pub use state::State;
pub use windowed::{Window, Windowed};

/// Raised whenever the same recipe would give another order or other draws; part of the recipe's digest.
pub const PLAN_VERSION: u32 = 1;

/// In which order the rows of an epoch come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Order {
    /// As stored.
    #[serde(alias = "none")]
    Sequential,
    /// A keyed permutation of all rows, another one each epoch.
    #[default]
    #[serde(alias = "global")]
    Shuffle,
    /// Groups of neighbouring rows in a keyed order, and the rows of some groups mixed: [`Windowed`].
    Windowed,
}

impl Sequence {
    /// Samples of an epoch before any tail policy, each counted once, however many views there are of it.
    pub fn samples(&self) -> u64 {
        self.balance.as_ref().map_or(self.rows.len(), Balanced::len)
    }
}

impl Order {
    /// All orders.
    pub const ALL: &'static [Order] = &[Order::Sequential, Order::Shuffle, Order::Windowed];
}

/// A row at a position, one of several where it comes more often.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Picked {
    /// The row in the Index.
    pub row: u64,
    /// How often it comes at positions before.
    pub occurrence: u64,
    /// How often such rows come at the most in an epoch.
    pub most: u64,
}

/// An order of so many positions, any of which can be asked for alone.
#[derive(Debug, Clone, Copy)]
enum Ordered {
    Sequential,
    Shuffle(Permutation),
    Windowed(Windowed),
}

impl Ordered {
    fn at(&self, place: u64) -> u64 {
        match self {
            Ordered::Sequential => place,
            Ordered::Shuffle(permutation) => permutation.at(place),
            Ordered::Windowed(windowed) => windowed.at(place),
        }
    }
}

/// What the plan of every epoch is made from.
#[derive(Debug, Clone)]
pub struct Sequence {
    /// The rows to run over.
    pub rows: Rows,
    /// How often each comes, if that is not once.
    pub balance: Option<Balanced>,
    /// Places of a batch.
    pub batch: usize,
    /// How many views of each sample stand side by side, each with draws of its own.
    pub views: usize,
    /// Their order.
    pub order: Order,
    /// Rows of a group and groups of a window, where the order has windows.
    pub window: (u64, u64),
    /// What happens to the last batches.
    pub tail: Tail,
    /// The seed of everything random.
    pub seed: u64,
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
    balance: Option<Balanced>,
    samples: u64,
    batch: u64,
    views: u64,
    tail: Tail,
    order: Ordered,
    /// Of the rows that come once more than others.
    extra: Key,
    draws: Key,
}

impl Plan {
    /// The plan of an epoch.
    pub fn new(sequence: &Sequence, epoch: u64) -> Self {
        let Sequence { rows, balance, batch, views, order, window, tail, seed } = sequence;
        let samples = sequence.samples();
        let key = Key::new(*seed);
        let order_key = key.named("order").with(epoch);
        let order = match order {
            Order::Sequential => Ordered::Sequential,
            Order::Shuffle => Ordered::Shuffle(Permutation::new(samples, order_key)),
            Order::Windowed => Ordered::Windowed(Windowed::new(samples, *window, order_key)),
        };
        let draws = key.named("draws").with(epoch);
        let extra = key.named("balance").with(epoch);
        let (batch, views) = (*batch as u64, (*views).max(1) as u64);
        Plan { rows: rows.clone(), balance: balance.clone(), samples, batch, views, tail: *tail, order, extra, draws }
    }

    /// Places of the epoch before any tail policy: one for each view of each sample.
    pub fn places(&self) -> u64 {
        self.samples.saturating_mul(self.views)
    }

    /// What is at a position of the order of storage (where classes are balanced: class by class).
    pub fn picked(&self, position: u64) -> Picked {
        match &self.balance {
            None => Picked { row: self.rows.at(position), occurrence: 0, most: 1 },
            Some(balance) => balance.at(position, self.extra),
        }
    }

    /// Places of a batch.
    pub fn batch_size(&self) -> usize {
        self.batch as usize
    }

    /// The deal of this epoch's batches from global batch `start` on.
    pub fn deal(&self, world: World, start: u64) -> Deal {
        Deal::new(self.places(), self.batch, self.tail, world, start)
    }

    /// Which position ([`Plan::picked`]) the n-th sample of the epoch's order has; `n` is below [`Sequence::samples`].
    pub fn position(&self, sample: u64) -> u64 {
        self.order.at(sample)
    }

    /// What stands at `slot` of global batch `batch`.
    pub fn slot(&self, batch: u64, slot: usize) -> Slot {
        let place = batch.saturating_mul(self.batch).saturating_add(slot as u64);
        let places = self.places();
        let (first, again) = match self.tail {
            _ if place < places => (place, 0),
            Tail::Repeat if places > 0 => (place % places, place / places),
            _ => return Slot { place, valid: false, segments: SmallVec::new() },
        };
        let Picked { row, occurrence, most } = self.picked(self.order.at(first / self.views));
        let view = (first % self.views) as u32;
        let occurrence = u32::try_from(again.saturating_mul(most).saturating_add(occurrence)).unwrap_or(u32::MAX);
        let segment = Segment { source: 0, row, range: None, occurrence, view };
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

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(rows: u64, tail: Tail, order: Order) -> Plan {
        // Two ranges with a hole, so that positions and rows differ.
        let rows = Rows::new([10..10 + rows / 2, 100..100 + rows.div_ceil(2)]);
        Plan::new(&Sequence { rows, balance: None, batch: 4, views: 1, order, window: (3, 2), tail, seed: 7 }, 2)
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
            all.sort_unstable();
            for order in Order::ALL {
                let mut shuffled = rows_of(&plan(rows, Tail::Pad, *order));
                shuffled.sort_unstable();
                assert_eq!(shuffled, all);
                assert_eq!(rows_of(&plan(rows, Tail::Drop, *order)).len() as u64, rows / 4 * 4);
            }
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
