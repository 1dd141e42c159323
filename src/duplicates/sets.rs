//! Disjoint sets of rows.

use crate::error::{Error, Result};

/// Sets of rows, each known by its lowest row (Tarjan 1975, with halved paths). Which rows are in one set does not depend on the order in which they were joined.
#[derive(Debug, Clone)]
pub(crate) struct Sets {
    above: Vec<u32>,
}

impl Sets {
    /// Each row alone.
    ///
    /// # Errors
    /// [`Error::Config`]: more rows than 2^32.
    pub(crate) fn new(rows: u64) -> Result<Self> {
        let rows = u32::try_from(rows).map_err(|_| {
            let help = "take it apart by source or by time: what is the same in two parts is not found then";
            Error::config(format!("{rows} rows are more than are compared at once (4294967295)"), help)
        })?;
        Ok(Sets { above: (0..rows).collect() })
    }

    /// Rows.
    pub(crate) fn len(&self) -> u32 {
        self.above.len() as u32
    }

    /// The lowest row of the set that a row is in.
    pub(crate) fn root(&self, mut row: u32) -> u32 {
        while self.above[row as usize] != row {
            row = self.above[row as usize];
        }
        row
    }

    /// Whether two rows are in one set.
    pub(crate) fn same(&self, a: u32, b: u32) -> bool {
        self.root(a) == self.root(b)
    }

    /// Makes one set of those of two rows.
    pub(crate) fn join(&mut self, a: u32, b: u32) {
        let (a, b) = (self.halve(a), self.halve(b));
        self.above[a.max(b) as usize] = a.min(b);
    }

    fn halve(&mut self, mut row: u32) -> u32 {
        while self.above[row as usize] != row {
            let next = self.above[self.above[row as usize] as usize];
            self.above[row as usize] = next;
            row = next;
        }
        row
    }

    /// Lets every row know its set at once.
    pub(crate) fn flatten(&mut self) {
        for row in 0..self.len() {
            // What is above a row is below it in number, and flat already.
            self.above[row as usize] = self.above[self.above[row as usize] as usize];
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sets_are_those_of_a_plain_search_in_any_order() {
        let mut draws = crate::rng::Key::new(3).stream();
        for _ in 0..50 {
            let mut pairs: Vec<(u32, u32)> =
                (0..30).map(|_| (draws.below(60) as u32, draws.below(60) as u32)).collect();
            let mut plain: Vec<u32> = (0..60).collect();
            for _ in 0..60 {
                for (a, b) in &pairs {
                    let least = plain[*a as usize].min(plain[*b as usize]);
                    (plain[*a as usize], plain[*b as usize]) = (least, least);
                }
            }
            for _ in 0..2 {
                let mut sets = Sets::new(60).unwrap();
                pairs.iter().for_each(|(a, b)| sets.join(*a, *b));
                let roots: Vec<u32> = (0..60).map(|row| sets.root(row)).collect();
                assert_eq!(roots, plain);
                sets.flatten();
                assert_eq!(sets.above, plain);
                pairs.reverse();
            }
        }
    }
}
