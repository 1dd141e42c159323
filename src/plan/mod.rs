//! The plan: which rows stand at which place of an epoch. Pure arithmetic on (Index, recipe, seed, epoch).
//!
//! There is no I/O here, no clock, no thread and no world size: [`steps`] decides which rank executes which batch.

use std::sync::{Arc, OnceLock};

use batching::{Batches, Kept};
use smallvec::SmallVec;

use crate::rng::Key;

pub mod balance;
pub mod batching;
pub mod choice;
pub mod component;
pub mod deal;
pub mod filter;
pub mod mixture;
mod packing;
pub mod permute;
pub mod rows;
pub mod score;
pub mod state;
pub mod steps;
pub mod waste;
pub mod windowed;

pub use balance::{Balance, Balanced, Share};
pub use batching::{Batching, Bucket, Fit, Long, Pack};
pub use choice::{Fold, Subset};
pub use component::{Component, Course, Order, Picked};
pub use deal::{Tail, World};
pub use filter::Filter;
pub use mixture::{Blended, Exhausted, Mixing, Mixture, Phase};
pub use permute::Permutation;
pub use rows::Rows;
pub use score::Score;
pub use state::{Identity, State};
pub use steps::{At, Steps};
pub use waste::{Waste, waste};
pub use windowed::{Window, Windowed};

/// Raised whenever the same recipe would give another order or other draws; part of the recipe's digest.
pub const PLAN_VERSION: u32 = 1;

/// Entries of the Index that are asked for together.
const TOUCHED: usize = 64;

/// What the plan of every epoch is made from.
#[derive(Debug, Clone)]
pub struct Sequence {
    /// The dataset; or those of a mixture, in the order of their names.
    pub components: Vec<Component>,
    /// How they come together, where there are several.
    pub mixing: Option<Mixing>,
    /// How batches are formed, if that is not one place after the other.
    pub batching: Option<Arc<Batching>>,
    /// Places of a batch; where batches differ, the most.
    pub batch: usize,
    /// How many views of each sample stand side by side, each with draws of its own.
    pub views: usize,
    /// How many other samples stand behind them, to be mixed with it.
    pub partners: usize,
    /// The component that these are drawn from; none: they are other samples of the epoch.
    pub partners_from: Option<usize>,
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
    batching: Option<Arc<Batching>>,
    kept: Kept,
    /// The first window that has batches, once it was looked for.
    front: OnceLock<Option<u64>>,
    /// Of the order of a window's batches; none: as they are formed.
    mixed: Option<Key>,
    samples: u64,
    batch: u64,
    views: u64,
    /// Places of a sample: its views, and its partners.
    group: u64,
    partners: Key,
    partners_from: Option<usize>,
    tail: Tail,
    /// What the keys of each component's draws begin with.
    draws: Vec<Key>,
}

impl Plan {
    /// The plan of an epoch.
    pub fn new(sequence: &Sequence, epoch: u64) -> Self {
        let Sequence { components, mixing, batching, batch, views, partners, partners_from, tail, seed } = sequence;
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
        let (group, partners) = (views.saturating_add(*partners as u64), key.named("partners").with(epoch));
        let stored = components.iter().all(|component| component.order == Order::Sequential);
        let mixed = (!stored).then(|| key.named("batches").with(epoch));
        let (batching, kept, front, tail) = (batching.clone(), Kept::default(), OnceLock::new(), *tail);
        Plan {
            courses,
            blended,
            batching,
            kept,
            front,
            mixed,
            samples,
            batch,
            views,
            group,
            partners,
            partners_from: *partners_from,
            tail,
            draws,
        }
    }

    /// Samples of the epoch before any tail policy, each counted once, however many views there are of it.
    pub fn samples(&self) -> u64 {
        self.samples
    }

    /// Places of the epoch before any tail policy: one for each view and each partner of each sample.
    pub fn places(&self) -> u64 {
        self.samples.saturating_mul(self.group)
    }

    /// The courses of the components.
    pub fn courses(&self) -> &[Course] {
        &self.courses
    }

    /// How the components of a mixture come together.
    pub fn blended(&self) -> Option<&Blended> {
        self.blended.as_ref()
    }

    /// Places of a batch; where batches differ, the most.
    pub fn batch_size(&self) -> usize {
        self.batch as usize
    }

    /// What happens to the last batches.
    pub fn tail(&self) -> Tail {
        self.tail
    }

    /// How batches are formed, if that is not one place after the other.
    pub fn batching(&self) -> Option<&Batching> {
        self.batching.as_deref()
    }

    /// Samples of a window in which batches are formed.
    pub fn window_samples(&self) -> u64 {
        let places = self.batching.as_ref().map_or(batching::WINDOW, |batching| batching.window);
        (places / self.group).max(1)
    }

    /// Windows of the epoch; one where batches have as many places each.
    pub fn windows(&self) -> u64 {
        if self.batching.is_some() { self.samples.div_ceil(self.window_samples()) } else { 1 }
    }

    /// The samples of a window.
    pub fn window(&self, window: u64) -> std::ops::Range<u64> {
        let start = window.saturating_mul(self.window_samples()).min(self.samples);
        start..start.saturating_add(self.window_samples()).min(self.samples)
    }

    /// The lengths by which a window's batches are formed; none where they are not.
    pub fn lengths(&self, window: u64) -> Vec<u64> {
        let Some(batching) = &self.batching else { return Vec::new() };
        let rows = self.window(window).map(|n| {
            let (source, picked) = self.sample(n);
            (source, picked.row)
        });
        let (rows, mut lengths): (Vec<(usize, u64)>, _) = (rows.collect(), Vec::new());
        for some in rows.chunks(TOUCHED) {
            some.iter().for_each(|(source, row)| batching.row(*source, *row).touch());
            lengths.extend(some.iter().map(|(source, row)| batching.length(*source, *row)));
        }
        lengths
    }

    /// The batches that are formed of a window.
    fn batches(&self, window: u64) -> Arc<Batches> {
        self.kept.get(window, || match &self.batching {
            Some(batching) => {
                let key = self.mixed.map(|key| key.with(window));
                batching.formed(&self.lengths(window), (self.batch / self.group).max(1) as usize, self.group, key)
            }
            None => Batches::default(),
        })
    }

    /// What stands in a batch, slot by slot. Behind the epoch's last batch are such of padding, or repeats from its front.
    pub fn slots(&self, at: At) -> Vec<Slot> {
        let Some(batching) = &self.batching else {
            return (0..self.batch_size()).map(|slot| self.slot(at.batch, slot)).collect();
        };
        let formed = self.batches(at.window);
        let packs = matches!(batching.forming, batching::Forming::Pack(_));
        if at.batch < formed.len() {
            return self.filled(at.window, &formed.batch(at.batch), 0, packs);
        }
        let behind = at.batch - formed.len();
        if self.tail == Tail::Repeat
            && let Some(first) = self.front()
        {
            let front = self.batches(first);
            if !front.is_empty() {
                return self.filled(first, &front.batch(behind % front.len()), 1 + behind / front.len(), packs);
            }
        }
        // As many as the last batch has.
        let last = formed.len().checked_sub(1).map_or(1, |last| formed.batch(last).len() as u64 * self.group);
        let slots = if packs { self.batch } else { last };
        (0..slots).map(|_| self.padding()).collect()
    }

    /// The first window that has batches: one of sequences that are all empty has none. Each padding batch asks for it, so that it is looked for once.
    fn front(&self) -> Option<u64> {
        let length = |n| {
            let (source, picked) = self.sample(n);
            self.batching.as_ref().map_or(0, |batching| batching.length(source, picked.row))
        };
        let packs = self.batching.as_ref().is_some_and(|b| matches!(b.forming, batching::Forming::Pack(_)));
        let holds = |window: &u64| self.window(*window).any(|n| !packs || length(n) > 0);
        *self.front.get_or_init(|| (0..self.windows()).find(holds))
    }

    fn padding(&self) -> Slot {
        Slot { place: self.places(), valid: false, segments: SmallVec::new() }
    }

    /// The slots of a formed batch, for the n-th time in the epoch.
    fn filled(&self, window: u64, slots: &[batching::Pieces], again: u64, packs: bool) -> Vec<Slot> {
        let front = self.window(window).start;
        let mut filled = Vec::with_capacity(self.batch_size());
        for pieces in slots {
            for view in 0..self.group {
                let place = pieces.first().map_or(0, |piece| (front + u64::from(piece.sample)) * self.group + view);
                let segment = |piece: &batching::Piece| {
                    let segment = self.segment(front + u64::from(piece.sample), again, view);
                    Segment { range: piece.range, ..segment }
                };
                filled.push(Slot { place, valid: true, segments: pieces.iter().map(segment).collect() });
            }
        }
        // Rows of packed sequences have one shape also at a window's end.
        while packs && filled.len() < self.batch_size() {
            filled.push(self.padding());
        }
        filled
    }

    /// A view of the n-th sample of the epoch for the `again`-th time, or (behind the views) one of its partners: another sample of the epoch, drawn for
    /// this place, in an occurrence that no place of the order has.
    fn segment(&self, n: u64, again: u64, view: u64) -> Segment {
        if view >= self.views {
            let mut stream = self.partners.with(n).with(again).with(view - self.views).stream();
            let (source, picked) = match self.partners_from.filter(|source| self.courses[*source].samples() > 0) {
                Some(source) => {
                    let course = &self.courses[source];
                    (source, course.at(stream.below(course.samples())))
                }
                None => self.other(n, stream.below(self.samples - 1)),
            };
            // Another for each place, as far as 30 bits go.
            let occurrence = (1 << 30) | (again.wrapping_mul(self.samples).wrapping_add(n) as u32 & ((1 << 30) - 1));
            return Segment { source: source as u32, row: picked.row, range: None, occurrence, view: view as u32 };
        }
        let (source, Picked { row, occurrence, most }) = self.sample(n);
        // A row of a mixture may come in several passes of its source.
        let passes = self.blended.as_ref().map_or(1, |b| b.all()[source].div_ceil(self.courses[source].samples()));
        let most = most.saturating_mul(passes);
        let occurrence = u32::try_from(again.saturating_mul(most).saturating_add(occurrence)).unwrap_or(u32::MAX);
        Segment { source: source as u32, row, range: None, occurrence, view: view as u32 }
    }

    /// The `other`-th of the epoch's samples without the n-th, source by source: which of them stands where in a block need not be known.
    fn other(&self, n: u64, other: u64) -> (usize, Picked) {
        let Some(blended) = &self.blended else {
            return self.sample(if other < n || self.samples == 1 { other } else { other + 1 });
        };
        let (own, nth) = blended.at(n);
        let own = nth + blended.all()[..own].iter().sum::<u64>();
        let mut left = if other < own || self.samples == 1 { other } else { other + 1 };
        for (source, all) in blended.all().iter().enumerate() {
            if left < *all {
                return (source, self.courses[source].at(left));
            }
            left -= all;
        }
        self.sample(n)
    }

    /// The component at the n-th sample of the epoch (below [`Plan::samples`]), and what of it stands there.
    pub fn sample(&self, n: u64) -> (usize, Picked) {
        let (source, nth) = self.blended.as_ref().map_or((0, n), |blended| blended.at(n));
        (source, self.courses[source].at(nth))
    }

    /// The component whose sample a slot is for, and which of its samples that is, counted through the epoch.
    pub fn nth(&self, slot: &Slot) -> (usize, u64) {
        let n = slot.place / self.group % self.samples.max(1);
        self.blended.as_ref().map_or((0, n), |blended| blended.at(n))
    }

    /// What stands at `slot` of global batch `batch`, where each has as many places.
    pub fn slot(&self, batch: u64, slot: usize) -> Slot {
        let place = batch.saturating_mul(self.batch).saturating_add(slot as u64);
        let places = self.places();
        let (first, again) = match self.tail {
            _ if place < places => (place, 0),
            Tail::Repeat if places > 0 => (place % places, place / places),
            _ => return Slot { place, valid: false, segments: SmallVec::new() },
        };
        let segment = self.segment(first / self.group, again, first % self.group);
        Slot { place, valid: true, segments: SmallVec::from_buf([segment]) }
    }

    /// What stands in for the sample of a slot that cannot be read: the `attempt`-th of a row of so many, the same wherever the slot is executed. It is drawn
    /// anew from the same component, and its occurrence is one that no place of the order has. All views of a sample have the same.
    pub fn substitute(&self, slot: &Slot, attempt: u32) -> Option<Segment> {
        let own = slot.segments.first()?;
        let course = &self.courses[own.source as usize];
        let mut stream = self.substituting("substitutes", slot, own).with(u64::from(attempt)).stream();
        let Picked { row, .. } = course.at(stream.below(course.samples()));
        let occurrence = (1 << 31) | (stream.next_u64() >> 33) as u32;
        Some(Segment { row, range: None, occurrence, ..own.clone() })
    }

    /// What else stands in where batches are formed by length, as samples of like length are few: the other samples of a slot's batch from that slot on, those of
    /// its component first. As with [`Plan::substitute`], their occurrences are others', and all views of a sample have the same.
    pub fn neighbours(&self, slots: &[Slot], slot: &Slot) -> Vec<Segment> {
        let at = self.batching.as_ref().and_then(|_| slots.iter().position(|other| other.place == slot.place));
        let Some((at, own)) = at.zip(slot.segments.first()) else { return Vec::new() };
        let key = self.substituting("neighbours", slot, own);
        // Beside a view the same one of the other samples.
        let others = (1..slots.len() / self.group as usize).map(|by| (at + by * self.group as usize) % slots.len());
        let others = others.filter_map(|other| slots[other].segments.first());
        let (mut all, further): (Vec<_>, Vec<_>) = others.partition(|other| other.source == own.source);
        all.extend(further);
        let stands = |(nth, other): (u64, &Segment)| {
            let occurrence = (1 << 31) | (key.with(nth).stream().next_u64() >> 33) as u32;
            Segment { range: None, occurrence, view: own.view, ..other.clone() }
        };
        (0..).zip(all).map(stands).collect()
    }

    /// The key of what stands in for a sample.
    fn substituting(&self, how: &str, slot: &Slot, own: &Segment) -> Key {
        let sample = self.draws[own.source as usize].named(how).with(slot.place / self.group);
        sample.with(u64::from(own.occurrence))
    }

    /// The key of a segment's draws. Operations narrow it by their name path.
    pub fn key(&self, row_key: u64, segment: &Segment) -> Key {
        // A partner is no view of the sample.
        let views =
            if u64::from(segment.view) < self.views { u32::try_from(self.views).unwrap_or(u32::MAX) } else { 1 };
        self.draws[segment.source as usize]
            .with(row_key)
            .with(u64::from(segment.occurrence))
            .viewed(segment.view, views)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(rows: u64, tail: Tail, order: Order) -> Plan {
        // Two ranges with a hole, so that positions and rows differ.
        let rows = Rows::new([10..10 + rows / 2, 100..100 + rows.div_ceil(2)]);
        let component = Component { name: None, rows, balance: None, order, window: (3, 2) };
        Plan::new(
            &Sequence {
                components: vec![component],
                mixing: None,
                batching: None,
                batch: 4,
                views: 1,
                partners: 0,
                partners_from: None,
                tail,
                seed: 7,
            },
            2,
        )
    }

    fn rows_of(plan: &Plan) -> Vec<u64> {
        let steps = Steps::new(Arc::new(plan.clone()), World::default(), At::default());
        (0..steps.count())
            .flat_map(|step| plan.slots(steps.batch(step)))
            .flat_map(|slot| slot.segments.into_iter().map(|s| s.row))
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
