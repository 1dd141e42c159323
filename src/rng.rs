//! Randomness as a function: a [`Key`] is derived from what a draw is *for*, never from a thread, a clock or a global.
//!
//! Keys are mixed with the finaliser of SplitMix64 (Steele, Lea and Flood, "Fast Splittable Pseudorandom Number
//! Generators", OOPSLA 2014), and a [`Stream`] is SplitMix64 itself. Strings enter through XXH3-64.

use xxhash_rust::xxh3::xxh3_64;

const GOLDEN: u64 = 0x9E37_79B9_7F4A_7C15;

/// The finaliser of SplitMix64: a bijection of `u64` in which every input bit moves every output bit.
pub fn mix(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

/// What a random draw belongs to: seed, epoch, row key, occurrence, view, operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Key {
    value: u64,
    /// Which of how many views of a row.
    view: (u32, u32),
}

impl Key {
    /// The key of a seed.
    pub fn new(seed: u64) -> Self {
        Key { value: mix(seed.wrapping_add(GOLDEN)), view: (0, 1) }
    }

    /// The key of `self` narrowed by a number. The order of narrowing matters.
    #[must_use]
    pub fn with(self, part: u64) -> Self {
        Key { value: mix(self.value.rotate_left(23).wrapping_add(mix(part.wrapping_add(GOLDEN)))), ..self }
    }

    /// The key of `self` narrowed by a name.
    #[must_use]
    pub fn named(self, name: &str) -> Self {
        self.with(xxh3_64(name.as_bytes()))
    }

    /// The key of the `view`-th of so many views of a row: narrowed by it, and it stays to be known.
    #[must_use]
    pub fn viewed(self, view: u32, views: u32) -> Self {
        Key { view: (view, views), ..self.with(u64::from(view)) }
    }

    /// Where its view stands between 0 and `most`, for what takes views in turn and not by chance: all at equal distances, the only one in the middle.
    pub fn spread(self, most: u64) -> u64 {
        let (view, views) = self.view;
        match u64::from(views.saturating_sub(1)) {
            0 => most / 2,
            steps => (u128::from(most) * u128::from(view) / u128::from(steps)).min(u128::from(most)) as u64,
        }
    }

    /// The key as a number, for keyed permutations.
    pub fn value(self) -> u64 {
        self.value
    }

    /// A stream of numbers of this key.
    pub fn stream(self) -> Stream {
        Stream(self.value)
    }
}

/// A stream of pseudorandom numbers (SplitMix64).
#[derive(Debug, Clone)]
pub struct Stream(u64);

impl Stream {
    /// The next 64 bits.
    pub fn next_u64(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(GOLDEN);
        mix(self.0)
    }

    /// Uniform in `[0, 1)`, on a grid of 2^-53.
    pub fn unit(&mut self) -> f64 {
        (self.next_u64() >> 11) as f64 * (1.0 / (1u64 << 53) as f64)
    }

    /// Uniform in `[low, high)`.
    pub fn uniform(&mut self, low: f64, high: f64) -> f64 {
        low + (high - low) * self.unit()
    }

    /// Uniform in `0..bound`; 0 for a bound of 0. The bias is below `bound / 2^64` (multiply-shift).
    pub fn below(&mut self, bound: u64) -> u64 {
        ((u128::from(self.next_u64()) * u128::from(bound)) >> 64) as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn splitmix_matches_the_published_sequence() {
        // First outputs for seed 1234567, as listed by the reference C implementation (Vigna, splitmix64.c).
        let mut stream = Stream(1_234_567);
        let got: Vec<u64> = (0..5).map(|_| stream.next_u64()).collect();
        assert_eq!(
            got,
            [
                6_457_827_717_110_365_317,
                3_203_168_211_198_807_973,
                9_817_491_932_198_370_423,
                4_593_380_528_125_082_431,
                16_408_922_859_458_223_821
            ]
        );
    }

    #[test]
    fn keys_depend_on_every_part_and_its_place() {
        let base = Key::new(7);
        assert_ne!(base.with(1).with(2), base.with(2).with(1));
        assert_ne!(base.named("a"), base.named("b"));
        assert_ne!(base.with(0), base);
        assert_ne!(Key::new(0), Key::new(1));
    }

    #[test]
    fn bounds_hold() {
        let mut s = Key::new(3).stream();
        for bound in [1u64, 2, 3, 10, 1 << 40] {
            assert!((0..1000).all(|_| s.below(bound) < bound));
        }
        assert_eq!(s.below(0), 0);
        assert!((0..1000).all(|_| (0.0..1.0).contains(&s.unit())));
    }
}
