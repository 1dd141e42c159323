//! Which rows an epoch runs over: positions to row numbers.

use std::ops::Range;
use std::sync::Arc;

/// The rows that an epoch runs over, in the order of storage: positions `0..len` to row numbers.
///
/// Whole ranges cost a binary search. Where some of their rows were left out ([`Rows::choose`]), a bit for each row says which are in, and
/// counts of the bits before each block find the n-th of them (rank and select; Jacobson, "Space-efficient static trees and graphs",
/// FOCS 1989): 1 bit and 1/64 a row, 127 MB for 1e9 rows.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Rows {
    ranges: Arc<Vec<(u64, Range<u64>)>>,
    chosen: Option<Arc<Bits>>,
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
        Rows { ranges: Arc::new(ranges.collect()), chosen: None, length }
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
        self.in_ranges(self.chosen.as_ref().map_or(position, |bits| bits.select(position)))
    }

    fn in_ranges(&self, position: u64) -> u64 {
        let (start, range) = &self.ranges[self.ranges.partition_point(|(start, _)| *start <= position) - 1];
        range.start + (position - start)
    }

    /// All rows, ascending.
    pub fn iter(&self) -> impl Iterator<Item = u64> + '_ {
        let bits = self.chosen.as_deref();
        let all = self.ranges.iter().flat_map(|(start, range)| (*start..).zip(range.clone()));
        all.filter(move |(position, _)| bits.is_none_or(|bits| bits.has(*position))).map(|(_, row)| row)
    }

    /// Those of the rows that are wanted, which is asked once for each of them, ascending.
    #[must_use]
    pub fn choose(&self, mut wanted: impl FnMut(u64) -> bool) -> Self {
        let all: u64 = self.ranges.iter().map(|(_, range)| range.end - range.start).sum();
        let mut bits = Bits::none(all);
        for (start, range) in self.ranges.iter() {
            for (position, row) in (*start..).zip(range.clone()) {
                if self.chosen.as_ref().is_none_or(|chosen| chosen.has(position)) && wanted(row) {
                    bits.set(position);
                }
            }
        }
        let length = bits.count();
        let chosen = (length < all).then(|| Arc::new(bits));
        Rows { ranges: self.ranges.clone(), chosen, length }
    }
}

/// Words of a block, before which the set bits are counted.
const BLOCK: usize = 64;

/// A bit for each position.
#[derive(Debug, PartialEq, Eq)]
struct Bits {
    words: Vec<u64>,
    /// Set bits before each block; filled by [`Bits::count`].
    before: Vec<u64>,
}

impl Bits {
    fn none(positions: u64) -> Self {
        Bits { words: vec![0; positions.div_ceil(64) as usize], before: Vec::new() }
    }

    fn set(&mut self, position: u64) {
        self.words[(position / 64) as usize] |= 1 << (position % 64);
    }

    fn has(&self, position: u64) -> bool {
        self.words[(position / 64) as usize] & (1 << (position % 64)) != 0
    }

    /// Counts all set bits.
    fn count(&mut self) -> u64 {
        let mut all = 0;
        self.before = self
            .words
            .chunks(BLOCK)
            .map(|block| {
                let before = all;
                all += block.iter().map(|word| u64::from(word.count_ones())).sum::<u64>();
                before
            })
            .collect();
        all
    }

    /// The position of the n-th set bit, from 0.
    ///
    /// # Panics
    /// If there are not so many.
    fn select(&self, n: u64) -> u64 {
        let block = self.before.partition_point(|before| *before <= n) - 1;
        let mut left = n - self.before[block];
        let first = block * BLOCK;
        for (at, word) in self.words[first..].iter().enumerate() {
            let ones = u64::from(word.count_ones());
            if left < ones {
                let mut word = *word;
                for _ in 0..left {
                    word &= word - 1;
                }
                return (first + at) as u64 * 64 + u64::from(word.trailing_zeros());
            }
            left -= ones;
        }
        panic!("there is no {n}th row")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::Key;

    #[test]
    fn chosen_rows_are_those_of_a_list() {
        for (seed, sizes) in
            [vec![0], vec![1], vec![70, 3], vec![5000, 1, 9000], vec![64 * 64, 64 * 64 + 1]].iter().enumerate()
        {
            let mut at = 10;
            let ranges: Vec<Range<u64>> = sizes
                .iter()
                .map(|size| {
                    at += 7 + size;
                    at - size..at
                })
                .collect();
            let rows = Rows::new(ranges.clone());
            let all: Vec<u64> = ranges.into_iter().flatten().collect();
            assert_eq!(rows.iter().collect::<Vec<_>>(), all);
            for share in [0, 1, 30, 500, 999, 1000] {
                let wanted = |row: u64| Key::new(seed as u64).with(row).stream().below(1000) < share;
                let chosen = rows.choose(wanted);
                let expected: Vec<u64> = all.iter().copied().filter(|row| wanted(*row)).collect();
                assert_eq!(chosen.len(), expected.len() as u64);
                assert_eq!((0..chosen.len()).map(|n| chosen.at(n)).collect::<Vec<_>>(), expected);
                assert_eq!(chosen.iter().collect::<Vec<_>>(), expected);
                // Chosen twice is chosen by both.
                let odd = |row: u64| row % 2 == 1;
                let twice = chosen.choose(odd);
                let expected: Vec<u64> = expected.into_iter().filter(|row| odd(*row)).collect();
                assert_eq!((0..twice.len()).map(|n| twice.at(n)).collect::<Vec<_>>(), expected);
            }
        }
    }

    #[test]
    fn choosing_all_keeps_no_bits() {
        let rows = Rows::new(Some(3..90));
        assert_eq!(rows.choose(|_| true), rows);
        assert!(rows.choose(|_| false).is_empty());
    }
}
