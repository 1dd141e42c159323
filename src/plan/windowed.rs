//! Shuffling for storage that is slow to jump about in: groups of neighbouring rows in a keyed order, and all rows of a window of
//! such groups mixed.
//!
//! Rows are drawn evenly over all of the dataset, but a window's rows lie in few places, so that they can be read in long runs and
//! held in memory. (The two levels are those of CorgiPile; Xu et al., "In-Database Machine Learning with CorgiPile",
//! SIGMOD 2022.) [`Score`](super::Score) says what that costs in randomness.

use serde::{Deserialize, Serialize};

use super::Permutation;
use crate::rng::Key;

/// How large the groups and windows of [`Order::Windowed`](super::Order::Windowed) are, in bytes of payload. They are turned into rows by the
/// dataset's mean row, so that any place can be asked for alone; a window of larger rows is larger.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Window {
    /// Bytes of a run of neighbouring rows that stays together: what is read in one go.
    pub group: u64,
    /// Bytes of the groups that are mixed with each other: what a reader must hold.
    pub bytes: u64,
}

impl Default for Window {
    fn default() -> Self {
        Window { group: 8 << 20, bytes: 512 << 20 }
    }
}

impl Window {
    /// Rows of a group, and groups of a window, for rows of a mean size in bytes.
    pub fn of_rows(&self, mean: u64) -> (u64, u64) {
        let group = (self.group / mean.max(1)).max(1);
        let groups = (self.bytes / group.saturating_mul(mean.max(1)).max(1)).max(1);
        (group, groups)
    }
}

/// A windowed order of `0..n`.
#[derive(Debug, Clone, Copy)]
pub struct Windowed {
    n: u64,
    /// Rows of a group.
    group: u64,
    /// Groups of a window.
    groups: u64,
    order: Permutation,
    /// Where in the order the last group stands, and its rows, which may be fewer.
    last: (u64, u64),
    key: Key,
}

impl Windowed {
    /// The order of `0..n` that belongs to a key. Groups and windows hold at least one.
    pub fn new(n: u64, (group, groups): (u64, u64), key: Key) -> Self {
        let (group, groups) = (group.max(1), groups.max(1));
        let all = n.div_ceil(group);
        let order = Permutation::new(all, key.named("groups"));
        let last = if all == 0 { (0, 0) } else { (order.inverse(all - 1), n - (all - 1) * group) };
        Windowed { n, group, groups, order, last, key: key.named("rows") }
    }

    /// Rows of the first so many groups in the order.
    fn before(&self, groups: u64) -> u64 {
        let (at, rows) = self.last;
        let missing = u128::from(if groups > at { self.group - rows } else { 0 });
        let full = u128::from(groups) * u128::from(self.group);
        (full.min(u128::from(self.n) + missing) - missing) as u64
    }

    /// The places of window `window`.
    pub fn window(&self, window: u64) -> std::ops::Range<u64> {
        let first = window.saturating_mul(self.groups);
        self.before(first)..self.before(first.saturating_add(self.groups))
    }

    /// The window of a place.
    pub fn window_of(&self, place: u64) -> u64 {
        // The short group may lie before, so that the place is in the next one.
        let window = place / self.group.saturating_mul(self.groups);
        if place < self.window(window).end { window } else { window + 1 }
    }

    /// How many runs of `0..n` a window mixes: its groups.
    pub fn runs(&self, window: u64) -> u64 {
        self.n.div_ceil(self.group).saturating_sub(window.saturating_mul(self.groups)).min(self.groups)
    }

    /// One of them, in their order.
    pub fn run(&self, window: u64, nth: u64) -> Option<std::ops::Range<u64>> {
        (nth < self.runs(window)).then(|| {
            let start = self.order.at(window * self.groups + nth) * self.group;
            start..start.saturating_add(self.group).min(self.n)
        })
    }

    /// Where place `i` goes.
    ///
    /// # Panics
    /// If `i` is not below `n`.
    pub fn at(&self, i: u64) -> u64 {
        assert!(i < self.n, "place {i} of {}", self.n);
        let window = self.window_of(i);
        let places = self.window(window);
        let mixed = Permutation::new(places.end - places.start, self.key.with(window)).at(i - places.start);
        // Which group of the window, and which row of it: the short one may be among them.
        let first = window * self.groups;
        let (at, rows) = self.last;
        let short = at.checked_sub(first).filter(|at| *at < self.groups);
        let (nth, row) = match short {
            Some(short) if mixed >= short * self.group + rows => {
                let behind = mixed - short * self.group - rows;
                (short + 1 + behind / self.group, behind % self.group)
            }
            _ => (mixed / self.group, mixed % self.group),
        };
        self.order.at(first + nth) * self.group + row
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_size_is_a_bijection_of_whole_windows() {
        for n in (0..70).chain([1000, 1023, 4097]) {
            for (group, groups) in [(1, 1), (1, 5), (4, 1), (4, 3), (7, 2), (64, 100), (5000, 1)] {
                for seed in 0..4 {
                    let order = Windowed::new(n, (group, groups), Key::new(seed));
                    let mut seen = vec![false; n as usize];
                    for i in 0..n {
                        assert!(!std::mem::replace(&mut seen[order.at(i) as usize], true), "{n} {group} {groups} {i}");
                        assert!(order.window(order.window_of(i)).contains(&i));
                    }
                    // A window's rows are those of at most so many groups.
                    let windows = n.div_ceil(group).div_ceil(groups);
                    let mut ends = 0;
                    for window in 0..windows {
                        let places = order.window(window);
                        assert_eq!(places.start, ends);
                        ends = places.end;
                        // All of them, and no others.
                        let mixed: std::collections::BTreeSet<u64> = places.map(|i| order.at(i)).collect();
                        let runs: std::collections::BTreeSet<u64> =
                            (0..order.runs(window)).flat_map(|n| order.run(window, n).unwrap()).collect();
                        assert!(
                            mixed == runs
                                && order.runs(window) <= groups
                                && order.run(window, order.runs(window)).is_none()
                        );
                    }
                    assert_eq!(ends, n);
                }
            }
        }
    }

    #[test]
    fn the_order_of_ten_is_frozen() {
        // As for the permutation: a change here is a new plan version.
        let order = Windowed::new(10, (3, 2), Key::new(0));
        assert_eq!((0..10).map(|i| order.at(i)).collect::<Vec<_>>(), FROZEN);
    }
    const FROZEN: [u64; 10] = [6, 5, 8, 3, 7, 4, 1, 2, 9, 0];

    #[test]
    fn bytes_become_rows() {
        let window = Window { group: 100, bytes: 1000 };
        assert_eq!(window.of_rows(10), (10, 10));
        assert_eq!(window.of_rows(0), (100, 10));
        assert_eq!(window.of_rows(1_000_000), (1, 1));
        let huge = Windowed::new(u64::MAX - 5, Window::default().of_rows(100_000), Key::new(3));
        assert!([0, 1 << 40, u64::MAX - 6].iter().all(|i| huge.at(*i) < u64::MAX - 5));
    }
}
