//! Tells the system what will be read, ahead of need: the plan knows it long before.
//!
//! What is told is read into the system's memory while threads do something else, neighbours in one go. Nothing is held here, so nothing of it counts
//! against the budget, and a system that does not listen changes no byte.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::atomic::Ordering;
use std::sync::{Mutex, TryLockError};

use super::lane::Lane;
use super::{Core, Feed, OutColumn};
use crate::data::packed::Packed;
use crate::dataset::Place;
use crate::plan::{Course, Plan, Slot};

/// Steps that are told ahead of the one that is opened.
const STEPS: u64 = 2;

/// Payloads with no more bytes than this between them are read in one go: the bytes cost less than another read.
const GAP: u64 = 64 << 10;

/// Bytes that are told for a batch at the most: of more, the first would be gone from memory before they are needed.
const MOST: u64 = 256 << 20;

/// Groups of a window that are told with a batch, as long as some are left.
const GROUPS: usize = 2;

/// Payloads of fewer bytes in the mean are told only while threads were seen to wait for storage: else the telling is what costs.
const SMALL: u64 = 16 << 10;

/// Steps that such are told for once threads had to wait, and that are not looked at where they did not.
const AGAIN: u64 = 64;

/// Threads waited for storage if one in so many of the last fetches was long: on a busy machine some are that only had to wait for a core.
const LONG: u64 = 32;

/// Long fetches that are looked at together at the least.
const FEW: u64 = 4;

/// Bytes of a shard of a source.
type Run = (usize, usize, Range<u64>);

/// What was told.
#[derive(Debug, Default)]
pub(super) struct Ahead {
    told: Mutex<Told>,
}

#[derive(Debug, Default)]
struct Told {
    /// The step behind the last that was told.
    steps: u64,
    /// Fetches, and long ones of them, at the last look; and the step up to which small payloads are told since.
    fetches: u64,
    waits: u64,
    small: u64,
    /// The step up to which nothing is told, as long as nobody waits.
    rests: u64,
    /// The epoch that the windows are of.
    epoch: u64,
    /// Of each windowed source the window that is told, and how many of its groups were.
    windows: BTreeMap<usize, (u64, usize)>,
}

impl Ahead {
    /// A step is opened: tells of those behind it. Another thread that does so already is not waited for.
    pub(super) fn opened(&self, core: &Core, lane: &Lane, step: u64) {
        let mut told = match self.told.try_lock() {
            Ok(told) => told,
            Err(TryLockError::Poisoned(told)) => told.into_inner(),
            Err(TryLockError::WouldBlock) => return,
        };
        if core.feeds.iter().all(|feed| !feed.dataset.is_sharded()) {
            return;
        }
        // What is opened is read now anyway.
        for step in told.steps.max(step + 1)..=step + STEPS {
            let Some((leg, own)) = lane.find(step) else { break };
            told.steps = step + 1;
            if told.epoch != leg.epoch {
                // Its windows are numbered anew.
                told.epoch = leg.epoch;
                told.windows.clear();
            }
            told.look(core, step);
            if step < told.rests && step >= told.small {
                continue;
            }
            let plan = leg.steps.plan();
            let slots = plan.slots(leg.steps.batch(own));
            let mut runs = core.payloads(&slots);
            if told.worth(step, &runs) {
                told.windows(core, plan, &slots, &mut runs);
                core.tell(runs);
            }
        }
    }
}

impl Told {
    /// Looks whether threads had to wait for storage since the last look, more than once in a while: then small payloads are told for some steps.
    fn look(&mut self, core: &Core, step: u64) {
        let [fetches, waits] = [&core.stats.fetches, &core.stats.waits].map(|count| count.load(Ordering::Relaxed));
        let (all, long) = (fetches.saturating_sub(self.fetches), waits.saturating_sub(self.waits));
        let waited = long >= FEW && long.saturating_mul(LONG) >= all;
        if waited {
            self.small = step + AGAIN;
        }
        if waited || all >= FEW * LONG {
            (self.fetches, self.waits) = (fetches, waits);
        }
    }

    /// Whether the payloads of a step are worth telling.
    fn worth(&mut self, step: u64, runs: &[Run]) -> bool {
        let bytes = runs.iter().map(|(.., bytes)| bytes.end - bytes.start).fold(0, u64::saturating_add);
        let worth = step < self.small || bytes >= SMALL * runs.len() as u64;
        if !worth {
            self.rests = step + AGAIN;
        }
        worth
    }

    /// The next groups of the windows that some slots are of: first all of that window, then of the next as many as the part of it that has passed.
    fn windows(&mut self, core: &Core, plan: &Plan, slots: &[Slot], runs: &mut Vec<Run>) {
        let Some((source, nth)) = slots.iter().find(|slot| slot.valid).map(|slot| plan.nth(slot)) else { return };
        let course = &plan.courses()[source];
        let Some((window, places)) = course.window(nth) else { return };
        let (feed, passed) = (&core.feeds[source], nth - places.start);
        let (mut at, mut groups) = self.windows.get(&source).copied().unwrap_or((window, 0));
        if at < window {
            (at, groups) = (window, 0);
        }
        for _ in 0..GROUPS {
            let all = course.groups(at);
            if at == window && groups as u64 == all {
                (at, groups) = (window + 1, 0);
                continue;
            }
            let due =
                at == window || all.saturating_mul(passed).div_ceil((places.end - places.start).max(1)) > groups as u64;
            let Some(group) = course.group(at, groups as u64).filter(|_| due) else { break };
            feed.group(source, course, group, runs);
            groups += 1;
        }
        self.windows.insert(source, (at, groups));
    }
}

impl Feed {
    /// The columns that are read whole from shards.
    fn read(&self) -> impl Iterator<Item = usize> {
        self.columns.iter().filter_map(|column| match column {
            OutColumn::Media { index, .. } => *index,
            OutColumn::Packed { index, .. } => Some(*index),
            OutColumn::Values { .. } | OutColumn::Objects { .. } | OutColumn::Source { .. } => None,
        })
    }

    /// The type of the tokens, where rows are packed of such as are stored: of a long sequence a piece is read alone.
    fn divisible(&self) -> Option<Packed> {
        match self.columns.first() {
            Some(OutColumn::Packed { chain, .. }) => chain.divisible(),
            _ => None,
        }
    }

    /// Where the payloads of a run of positions are: one run of bytes for each shard.
    fn group(&self, source: usize, course: &Course, positions: Range<u64>, runs: &mut Vec<Run>) {
        if positions.is_empty() {
            return;
        }
        let at = |position| course.picked(position).row;
        let (first, last) = (at(positions.start), at(positions.end - 1));
        for column in self.read() {
            match (self.dataset.lies(first, column), self.dataset.lies(last, column)) {
                (Some(from), Some(to)) if from.shard == to.shard => {
                    let (from, to, shard) = (from.bytes, to.bytes, from.shard);
                    runs.push((source, shard, from.start.min(to.start)..to.end.max(from.end)));
                }
                _ if positions.end - positions.start > 1 => {
                    let middle = positions.start + (positions.end - positions.start) / 2;
                    self.group(source, course, positions.start..middle, runs);
                    self.group(source, course, middle..positions.end, runs);
                    return;
                }
                _ => {}
            }
        }
    }
}

impl Core {
    /// Where the payloads of some slots are.
    fn payloads(&self, slots: &[Slot]) -> Vec<Run> {
        let mut runs = Vec::with_capacity(slots.len());
        for segment in slots.iter().flat_map(|slot| &slot.segments) {
            let feed = self.feed(segment);
            for column in feed.read() {
                if let Some(Place { shard, mut bytes }) = feed.dataset.lies(segment.row, column) {
                    if let (Some((from, to)), Some(dtype)) = (segment.range, feed.divisible()) {
                        let at = |token: u64| bytes.start.saturating_add(token.saturating_mul(dtype.size() as u64));
                        bytes = at(from)..at(to).min(bytes.end).max(at(from));
                    }
                    runs.push((segment.source as usize, shard, bytes));
                }
            }
        }
        runs
    }

    /// Tells the system, neighbours together.
    fn tell(&self, runs: Vec<Run>) {
        let mut left = MOST;
        for (source, shard, bytes) in joined(runs) {
            let own = bytes.end - bytes.start;
            if own > left {
                return;
            }
            left -= own;
            self.feeds[source].dataset.foretell(shard, bytes);
        }
    }
}

/// Runs of bytes in the order of storage, those without much between them as one.
fn joined(mut runs: Vec<Run>) -> Vec<Run> {
    runs.sort_unstable_by_key(|(source, shard, bytes)| (*source, *shard, bytes.start));
    let mut all: Vec<Run> = Vec::with_capacity(runs.len());
    for (source, shard, bytes) in runs {
        match all.last_mut() {
            Some((s, h, last)) if (*s, *h) == (source, shard) && bytes.start <= last.end.saturating_add(GAP) => {
                last.end = last.end.max(bytes.end);
            }
            _ => all.push((source, shard, bytes)),
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neighbours_are_one_run() {
        let runs =
            vec![(0, 1, 70..80), (0, 0, 0..10), (1, 0, 5..9), (0, 0, 10..20), (0, 0, 4..6), (0, 0, 200_000..200_001)];
        let want = [(0, 0, 0..20), (0, 0, 200_000..200_001), (0, 1, 70..80), (1, 0, 5..9)];
        assert_eq!(joined(runs), want);
        assert!(joined(Vec::new()).is_empty());
    }
}
