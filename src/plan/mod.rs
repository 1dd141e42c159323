//! The plan: which rows stand at which place of an epoch. Pure arithmetic on (Index, recipe, seed, epoch).
//!
//! There is no I/O here, no clock, no thread and no world size: [`deal`] decides which rank executes which batch.

use smallvec::SmallVec;

use crate::rng::Key;

pub mod balance;
pub mod choice;
pub mod component;
pub mod deal;
pub mod filter;
pub mod mixture;
pub mod permute;
pub mod rows;
pub mod score;
pub mod state;
pub mod windowed;

pub use balance::{Balance, Balanced, Share};
pub use choice::{Fold, Subset};
pub use component::{Component, Course, Order, Picked};
pub use deal::{Deal, Tail, World};
pub use filter::Filter;
pub use mixture::{Blended, Exhausted, Mixing, Mixture, Phase};
pub use permute::Permutation;
pub use rows::Rows;
pub use score::Score;
pub use state::{Identity, State};
pub use windowed::{Window, Windowed};

/// Raised whenever the same recipe would give another order or other draws; part of the recipe's digest.
pub const PLAN_VERSION: u32 = 1;

/// What the plan of every epoch is made from.
#[derive(Debug, Clone)]
pub struct Sequence {
    /// The dataset; or those of a mixture, in the order of their names.
    pub components: Vec<Component>,
    /// How they come together, where there are several.
    pub mixing: Option<Mixing>,
    /// Places of a batch.
    pub batch: usize,
    /// How many views of each sample stand side by side, each with draws of its own.
    pub views: usize,
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
    courses: Vec<Course>,
    blended: Option<Blended>,
    samples: u64,
    batch: u64,
    views: u64,
    tail: Tail,
    /// What the keys of each component's draws begin with.
    draws: Vec<Key>,
}

impl Plan {
    /// The plan of an epoch.
    pub fn new(sequence: &Sequence, epoch: u64) -> Self {
        let Sequence { components, mixing, batch, views, tail, seed } = sequence;
        let courses: Vec<Course> = components.iter().map(|component| Course::new(component, *seed, epoch)).collect();
        let key = Key::new(*seed);
        let blended = mixing.as_ref().map(|mixing| Blended::new(mixing.blend(epoch), key.named("mixture").with(epoch)));
        let samples = match &blended {
            Some(blended) => blended.blend().samples(),
            None => courses.first().map_or(0, Course::samples),
        };
        let draws = key.named("draws").with(epoch);
        // The only dataset has the key of the first source from before there were mixtures.
        let named = |component: &Component| component.name.as_ref().map_or(draws.with(0), |name| draws.named(name));
        let draws = components.iter().map(named).collect();
        let (batch, views) = (*batch as u64, (*views).max(1) as u64);
        Plan { courses, blended, samples, batch, views, tail: *tail, draws }
    }

    /// Samples of the epoch before any tail policy, each counted once, however many views there are of it.
    pub fn samples(&self) -> u64 {
        self.samples
    }

    /// Places of the epoch before any tail policy: one for each view of each sample.
    pub fn places(&self) -> u64 {
        self.samples.saturating_mul(self.views)
    }

    /// The courses of the components.
    pub fn courses(&self) -> &[Course] {
        &self.courses
    }

    /// How the components of a mixture come together.
    pub fn blended(&self) -> Option<&Blended> {
        self.blended.as_ref()
    }

    /// Places of a batch.
    pub fn batch_size(&self) -> usize {
        self.batch as usize
    }

    /// The deal of this epoch's batches from global batch `start` on.
    pub fn deal(&self, world: World, start: u64) -> Deal {
        Deal::new(self.places(), self.batch, self.tail, world, start)
    }

    /// The component at the n-th sample of the epoch (below [`Plan::samples`]), and what of it stands there.
    pub fn sample(&self, n: u64) -> (usize, Picked) {
        let (source, nth) = self.blended.as_ref().map_or((0, n), |blended| blended.at(n));
        (source, self.courses[source].at(nth))
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
        let (source, Picked { row, occurrence, most }) = self.sample(first / self.views);
        // A row of a mixture may come in several passes of its source.
        let passes = self.blended.as_ref().map_or(1, |b| b.all()[source].div_ceil(self.courses[source].samples()));
        let most = most.saturating_mul(passes);
        let view = (first % self.views) as u32;
        let occurrence = u32::try_from(again.saturating_mul(most).saturating_add(occurrence)).unwrap_or(u32::MAX);
        let segment = Segment { source: source as u32, row, range: None, occurrence, view };
        Slot { place, valid: true, segments: SmallVec::from_buf([segment]) }
    }

    /// The key of a segment's draws. Operations narrow it by their name path.
    pub fn key(&self, row_key: u64, segment: &Segment) -> Key {
        self.draws[segment.source as usize]
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
        let component = Component { name: None, rows, balance: None, order, window: (3, 2) };
        Plan::new(&Sequence { components: vec![component], mixing: None, batch: 4, views: 1, tail, seed: 7 }, 2)
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
