//! Values of all rows in order, beyond memory too, and what lies far from the rest.

use crate::dataset::Dataset;
use crate::error::Result;
use crate::spool::{Sorted, Sorter, Spill};

use super::lint::{Judged, Told};

/// Rows from which quartiles say anything of what is usual.
pub const USUAL: usize = 16;

/// The value of each row of a column, ascending, rows of equal values ascending.
#[derive(Debug)]
pub struct Values<'a> {
    dataset: &'a Dataset,
    sorted: Sorted,
}

/// Gathers values.
#[derive(Debug)]
pub(super) struct Gathered(Sorter);

impl Gathered {
    pub(super) fn new(spill: &Spill) -> Self {
        Gathered(Sorter::new(spill))
    }

    pub(super) fn push(&mut self, value: u64, row: u64) -> Result<()> {
        let mut key = [0; 16];
        key[..8].copy_from_slice(&value.to_be_bytes());
        key[8..].copy_from_slice(&row.to_be_bytes());
        self.0.push(&key, &[])
    }

    pub(super) fn finish(self, dataset: &Dataset) -> Result<Values<'_>> {
        Ok(Values { dataset, sorted: self.0.finish()? })
    }
}

impl Values<'_> {
    /// Rows that have a value.
    pub fn len(&self) -> usize {
        self.sorted.len()
    }

    /// Whether no row has one.
    pub fn is_empty(&self) -> bool {
        self.sorted.is_empty()
    }

    /// Value and row at a place of the order. Panics beyond the end, as a slice does.
    pub fn get(&self, at: usize) -> (u64, u64) {
        let (key, _) = self.sorted.get(at);
        let number = |part: &[u8]| part.iter().fold(0, |n, byte| n << 8 | u64::from(*byte));
        (number(&key[..8]), number(&key[8..]))
    }

    /// The id of a row.
    pub fn id(&self, row: u64) -> &str {
        self.dataset.index().row(row).id()
    }

    /// The split of a row.
    pub fn split(&self, row: u64) -> &str {
        self.dataset.split_of(row)
    }

    /// Runs of equal values: the value, the first row that has it, how many do.
    pub fn runs(&self) -> impl Iterator<Item = (u64, u64, usize)> {
        let mut at = 0;
        std::iter::from_fn(move || {
            let (value, row) = (at < self.len()).then(|| self.get(at))?;
            let from = at;
            while at < self.len() && self.get(at).0 == value {
                at += 1;
            }
            Some((value, row, at - from))
        })
    }

    /// A quantile of values that [`key`] made, interpolated between neighbours as NumPy's `percentile` does.
    fn quantile(&self, part: f64) -> f64 {
        let place = part * (self.len() - 1) as f64;
        let (below, above) = (self.get(place.floor() as usize).0, self.get(place.ceil() as usize).0);
        let (below, above) = (unkey(below), unkey(above));
        below + (above - below) * (place - place.floor())
    }

    /// Tells of each value (that [`key`] made) further below the first or above the third quartile than `factor` times the
    /// distance of the two (Tukey's fences), and than `least` beyond the median. Of fewer than [`USUAL`] rows nothing is usual.
    pub fn outliers(&self, factor: f64, least: f64, tell: &mut dyn FnMut(u64, f64, Fences)) {
        if self.len() < USUAL {
            return;
        }
        let [first, median, third] = [0.25, 0.5, 0.75].map(|part| self.quantile(part));
        let reach = factor * (third - first);
        let fences =
            Fences { low: (first - reach).min(median - least), high: (third + reach).max(median + least), median };
        let values = || (0..self.len()).map(|at| self.get(at)).map(|(value, row)| (unkey(value), row));
        for (value, row) in values().take_while(|(value, _)| *value < fences.low) {
            tell(row, value, fences);
        }
        let mut at = self.len();
        while at > 0 {
            at -= 1;
            let (value, row) = self.get(at);
            let value = unkey(value);
            if value <= fences.high {
                break;
            }
            tell(row, value, fences);
        }
    }
}

/// Between which values the usual ones lie.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Fences {
    /// The least.
    pub low: f64,
    /// The most.
    pub high: f64,
    /// The middle one.
    pub median: f64,
}

/// Outliers among logarithms, told as what they are logarithms of. `within` is a factor from the median that is usual in any case.
pub(super) fn of_logarithms(
    values: &Values<'_>,
    factor: f64,
    within: f64,
    tell: &mut dyn FnMut(Judged),
    say: &dyn Fn(f64, f64) -> String,
) {
    values.outliers(factor, libm::log(within), &mut |row, value, fences| {
        let (value, median) = (libm::exp(value), libm::exp(fences.median));
        tell(Judged { row: Some(row), split: None, told: Told::new(value, say(value, median)) });
    });
}

/// A float as a number of the same order. What is no number comes last.
pub fn key(value: f64) -> u64 {
    let bits = if value.is_nan() { f64::NAN.to_bits() & !(1 << 63) } else { value.to_bits() };
    if bits >> 63 == 1 { !bits } else { bits | 1 << 63 }
}

/// The float of a [`key`].
pub fn unkey(key: u64) -> f64 {
    f64::from_bits(if key >> 63 == 1 { key & !(1 << 63) } else { !key })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_keep_the_order_and_come_back() {
        let values = [f64::NEG_INFINITY, -1e300, -2.5, -1e-310, -0.0, 0.0, 1e-310, 1.0, 1.5, 1e300, f64::INFINITY];
        let keys = values.map(key);
        assert!(keys.is_sorted());
        assert_eq!(keys.map(unkey), values);
        assert!(unkey(key(f64::NAN)).is_nan() && key(-f64::NAN) == key(f64::NAN) && key(f64::NAN) > key(f64::INFINITY));
    }
}
