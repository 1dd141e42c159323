//! Which split a row goes into: a pure function of a seed, the fractions, and the row's id, group or stratum.
//!
//! - **By row or group** a hash says it: the split of a row depends on nothing but the seed, the fractions and its id (or the value of its group). It stays whatever rows are
//!   added or removed, and rows of one group are always on one side. The shares are those of chance: of n rows (or groups) about sqrt(n) more or less.
//! - **By stratum** the rows of each are put in the order of their hashes and cut at the fractions: the counts are exact (largest remainder, Hamilton's method), and a row
//!   changes its split only where rows that were added move a cut over it.

use crate::error::{Error, Result};
use crate::rng::Key;

/// Splits and the share of each.
#[derive(Debug, Clone, PartialEq)]
pub struct Fractions {
    parts: Vec<(String, f64)>,
}

/// What a row is hashed by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Member<'a> {
    /// Itself: its row key.
    Row(u64),
    /// The value of a group, as a number.
    Group(u64),
    /// The name of a group.
    Named(&'a str),
}

/// The place of a member between 0 and 2^64.
pub fn place(seed: u64, member: Member<'_>) -> u64 {
    let key = Key::new(seed).named("split");
    let key = match member {
        Member::Row(row) => key.named("row").with(row),
        Member::Group(value) => key.named("group").with(value),
        Member::Named(name) => key.named("group name").named(name),
    };
    key.stream().next_u64()
}

impl Fractions {
    /// Splits with their shares, which are 1 together.
    ///
    /// # Errors
    /// [`Error::Config`]: shares that are none or not 1 together, a split twice.
    pub fn new(parts: Vec<(String, f64)>) -> Result<Self> {
        let help = "write --fractions train=0.8,validation=0.1,test=0.1";
        if let Some((split, share)) = parts.iter().find(|(_, share)| !(0.0..=1.0).contains(share)) {
            return Err(Error::config(format!("fractions: a share of {share} for {split:?}"), help));
        }
        let mut names: Vec<&String> = parts.iter().map(|(split, _)| split).collect();
        names.sort_unstable();
        if let Some(twice) = names.windows(2).find(|pair| pair[0] == pair[1]) {
            return Err(Error::config(format!("fractions: {:?} stands twice", twice[0]), help));
        }
        let sum: f64 = parts.iter().map(|(_, share)| share).sum();
        if (sum - 1.0).abs() > 1e-9 {
            return Err(Error::config(format!("fractions: they are {sum} together, not 1"), help));
        }
        Ok(Fractions { parts })
    }

    /// The splits, in the order in which they were given.
    pub fn splits(&self) -> impl Iterator<Item = &str> {
        self.parts.iter().map(|(split, _)| split.as_str())
    }

    /// The share of a split; 0 of one that is not among them.
    pub fn share(&self, split: &str) -> f64 {
        self.parts.iter().find(|(name, _)| name == split).map_or(0.0, |(_, share)| *share)
    }

    /// The split at a [`place()`].
    pub fn at(&self, place: u64) -> &str {
        let unit = (place >> 11) as f64 / (1u64 << 53) as f64;
        let mut sum = 0.0;
        let found = self.parts.iter().find(|(_, share)| {
            sum += share;
            unit < sum
        });
        // Shares that are a little less than 1 together leave the rest to the last that has any.
        let rest = || self.parts.iter().rev().find(|(_, share)| *share > 0.0);
        found.or_else(rest).map_or("", |(split, _)| split)
    }

    /// How many of `rows` go into each split: whole numbers nearest to the shares, what is left to the largest remainders, the first of equal ones.
    pub fn counts(&self, rows: u64) -> Vec<u64> {
        let exact: Vec<f64> = self.parts.iter().map(|(_, share)| share * rows as f64).collect();
        // A share of 0.1 of 30 is 3, though 0.1 is a little more than that. Of very many rows the slack must not become a row.
        let whole = |v: f64| (v + (1e-9 * v.max(1.0)).min(1e-6)).floor();
        let mut counts: Vec<u64> = exact.iter().map(|v| whole(*v) as u64).collect();
        let mut order: Vec<usize> = (0..self.parts.len()).collect();
        let rest = |at: &usize| exact[*at] - whole(exact[*at]);
        order.sort_by(|a, b| rest(b).total_cmp(&rest(a)).then(a.cmp(b)));
        // Shares may be a little more than 1 together, which of very many rows is some: those with the smallest remainders give them back.
        let mut over = counts.iter().sum::<u64>().saturating_sub(rows);
        for at in order.iter().rev().cycle() {
            if over == 0 {
                break;
            }
            if counts[*at] > 0 {
                counts[*at] -= 1;
                over -= 1;
            }
        }
        let mut left = rows.saturating_sub(counts.iter().sum());
        for at in order.iter().cycle() {
            if left == 0 {
                break;
            }
            if self.parts[*at].1 > 0.0 {
                counts[*at] += 1;
                left -= 1;
            }
        }
        counts
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(parts: &[(&str, f64)]) -> Result<Fractions> {
        Fractions::new(parts.iter().map(|(split, share)| ((*split).to_owned(), *share)).collect())
    }

    #[test]
    fn shares_are_those_of_the_fractions_and_places_do_not_change() {
        let fractions = of(&[("train", 0.8), ("validation", 0.1), ("test", 0.1)]).unwrap();
        let mut counts = std::collections::BTreeMap::new();
        for row in 0..20_000 {
            *counts.entry(fractions.at(place(7, Member::Row(row)))).or_insert(0u64) += 1;
        }
        // Five deviations of a binomial count.
        for (split, share) in [("train", 0.8), ("validation", 0.1), ("test", 0.1)] {
            let share: f64 = share;
            let bound = 5.0 * (20_000.0 * share * (1.0 - share)).sqrt();
            assert!((counts[split] as f64 - 20_000.0 * share).abs() < bound, "{counts:?}");
        }
        // Frozen: a split that was made once is made again by every later build.
        let places = [place(0, Member::Row(1)), place(0, Member::Group(1)), place(1, Member::Named("a"))];
        assert_eq!(places, FROZEN);
        assert_eq!((fractions.at(0), fractions.at(u64::MAX)), ("train", "test"));
    }

    const FROZEN: [u64; 3] = [15906380375470706086, 4096580545340691156, 14210071386349547943];

    #[test]
    fn fewer_fractions_move_only_rows_of_what_is_gone() {
        // A share that grows at the cost of the one behind it takes rows from that one only.
        let [small, large] = [0.1, 0.2].map(|share| of(&[("test", share), ("train", 1.0 - share)]).unwrap());
        for row in 0..2_000 {
            let at = place(3, Member::Row(row));
            assert!(small.at(at) != "test" || large.at(at) == "test");
        }
    }

    #[test]
    fn counts_are_whole_and_nearest() {
        let fractions = of(&[("train", 0.8), ("validation", 0.1), ("test", 0.1)]).unwrap();
        for (rows, want) in
            [(0, [0, 0, 0]), (1, [1, 0, 0]), (10, [8, 1, 1]), (30, [24, 3, 3]), (5, [4, 1, 0]), (19, [15, 2, 2])]
        {
            assert_eq!(fractions.counts(rows), want, "{rows}");
        }
        for rows in 0..500 {
            let counts = fractions.counts(rows);
            assert_eq!(counts.iter().sum::<u64>(), rows);
            assert!(counts.iter().zip([0.8, 0.1, 0.1]).all(|(n, share)| (*n as f64 - share * rows as f64).abs() < 1.0));
        }
        assert_eq!(of(&[("a", 0.0), ("b", 1.0)]).unwrap().counts(3), [0, 3]);
        // Of very many rows, too, where a rounding is no row.
        let uneven = of(&[("a", 0.900_000_000_3), ("b", 0.049_999_999_4), ("c", 0.050_000_000_3)]).unwrap();
        assert_eq!(uneven.counts(1_000_000_000), [900_000_000, 50_000_000, 50_000_000]);
        let more = of(&[("a", 0.333_333_333_7), ("b", 0.333_333_333_3), ("c", 0.333_333_333_3)]).unwrap();
        for rows in [100_000_000, 1_000_000_000, 10_000_000_000, 10_000_000_007] {
            for fractions in [&fractions, &uneven, &more] {
                let counts = fractions.counts(rows);
                assert_eq!(counts.iter().sum::<u64>(), rows, "{counts:?}");
                let near = |split: &str, n: u64| (n as f64 - fractions.share(split) * rows as f64).abs() < 3.0;
                assert!(fractions.splits().zip(&counts).all(|(split, n)| near(split, *n)), "{counts:?} of {rows}");
            }
        }
        for bad in [
            &[("a", 0.5), ("b", 0.6)][..],
            &[("a", 0.5), ("a", 0.5)],
            &[("a", -0.5), ("b", 1.5)],
            &[("a", f64::NAN)],
            &[],
        ] {
            assert_eq!(of(bad).unwrap_err().exit_code(), 2, "{bad:?}");
        }
    }
}
