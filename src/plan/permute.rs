//! A keyed permutation of `0..n` in constant memory: any place can be asked for on its own.
//!
//! A balanced Feistel network (six keyed rounds; Luby and Rackoff, "How to construct pseudorandom permutations",
//! SIAM J. Comput. 1988) permutes the smallest even power of two that holds `n`, and values outside are walked on until they
//! fall inside (cycle walking; Black and Rogaway, "Ciphers with arbitrary finite domains", CT-RSA 2002). The domain is less
//! than `4 n`, so the walk takes fewer than four steps on average.

use crate::rng::{Key, mix};

const ROUNDS: usize = 6;

/// A bijection of `0..n`.
#[derive(Debug, Clone, Copy)]
pub struct Permutation {
    n: u64,
    half_bits: u32,
    keys: [u64; ROUNDS],
}

impl Permutation {
    /// The permutation of `0..n` that belongs to a key.
    pub fn new(n: u64, key: Key) -> Self {
        let bits = (64 - n.saturating_sub(1).leading_zeros()).max(2);
        let mut stream = key.stream();
        Permutation { n, half_bits: bits.div_ceil(2), keys: std::array::from_fn(|_| stream.next_u64()) }
    }

    /// Where place `i` goes.
    ///
    /// # Panics
    /// If `i` is not below `n`.
    pub fn at(&self, i: u64) -> u64 {
        assert!(i < self.n, "place {i} of {}", self.n);
        let mut x = i;
        loop {
            x = self.step(x);
            if x < self.n {
                return x;
            }
        }
    }

    /// The place that goes to `x`: `at(inverse(x)) == x`.
    ///
    /// # Panics
    /// If `x` is not below `n`.
    pub fn inverse(&self, x: u64) -> u64 {
        assert!(x < self.n, "{x} of {}", self.n);
        let mut i = x;
        loop {
            i = self.step_back(i);
            if i < self.n {
                return i;
            }
        }
    }

    fn step_back(&self, x: u64) -> u64 {
        let mask = (1u64 << self.half_bits) - 1;
        let (mut left, mut right) = (x >> self.half_bits, x & mask);
        for key in self.keys.into_iter().rev() {
            (left, right) = (right ^ (mix(left.wrapping_add(key)) & mask), left);
        }
        (left << self.half_bits) | right
    }

    fn step(&self, x: u64) -> u64 {
        let mask = (1u64 << self.half_bits) - 1;
        let (mut left, mut right) = (x >> self.half_bits, x & mask);
        for key in self.keys {
            (left, right) = (right, left ^ (mix(right.wrapping_add(key)) & mask));
        }
        (left << self.half_bits) | right
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_size_is_a_bijection() {
        for n in (1..300).chain([1023, 1024, 1025, 4095, 5000, 65_537]) {
            for seed in 0..3 {
                let permutation = Permutation::new(n, Key::new(seed));
                let mut seen = vec![false; n as usize];
                for i in 0..n {
                    let x = permutation.at(i);
                    assert!(!std::mem::replace(&mut seen[x as usize], true), "n {n}, seed {seed}");
                    assert_eq!(permutation.inverse(x), i, "n {n}, seed {seed}");
                }
            }
        }
    }

    #[test]
    fn the_order_of_ten_is_frozen() {
        // A change here changes every user's batches: it needs a new plan version, not a new number.
        let permutation = Permutation::new(10, Key::new(0));
        assert_eq!((0..10).map(|i| permutation.at(i)).collect::<Vec<_>>(), FROZEN);
    }
    const FROZEN: [u64; 10] = [8, 6, 5, 1, 7, 4, 3, 0, 2, 9];

    #[test]
    fn the_largest_domains_work() {
        for n in [u64::MAX, 1 << 63, (1 << 62) + 1, 1_000_000_000] {
            let permutation = Permutation::new(n, Key::new(5));
            assert!(
                [0, 1, n / 2, n - 1]
                    .iter()
                    .all(|i| permutation.at(*i) < n && permutation.inverse(permutation.at(*i)) == *i)
            );
        }
    }

    #[test]
    fn neighbours_do_not_stay_neighbours() {
        // In a uniform permutation of n, a step of +1 happens about once in all; 20 would be beyond any chance.
        let n = 10_000;
        let permutation = Permutation::new(n, Key::new(1));
        let kept = (1..n).filter(|i| permutation.at(*i) == permutation.at(i - 1) + 1).count();
        assert!(kept < 20, "{kept} neighbours of {n} kept");
        // Spearman-like: the mean displacement of a uniform permutation is n / 3.
        let moved: u64 = (0..n).map(|i| permutation.at(i).abs_diff(i)).sum();
        assert!((moved as f64 / n as f64 - n as f64 / 3.0).abs() < n as f64 / 30.0);
    }
}
