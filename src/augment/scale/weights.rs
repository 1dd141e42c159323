//! The weights of a resize along one axis: a triangle over the source's pixels in one of the result, at the least over one, as Pillow's
//! `BILINEAR` has it, in the fixed point of `fast_image_resize` (whose pixels these are: the tests compare).

/// What each place of the result takes of the source. Kept between resizes, for its memory and because photos often have one size.
#[derive(Debug, Default)]
pub(super) struct Axis {
    /// The lengths (source, result) that the weights are for.
    lengths: (u32, u32),
    /// Weights are parts of `1 << bits`.
    pub(super) bits: u32,
    /// How many pairs of weights each place has.
    pub(super) pairs: usize,
    /// The first pixel that each place takes.
    pub(super) starts: Vec<u32>,
    /// The weights of the pixels from there on, in pairs, the first one in the lower half; zeros behind those that it has.
    pub(super) weights: Vec<i32>,
    /// The weights before they are rounded.
    exact: Vec<f64>,
}

/// Fixed point of a weight: 16 bits with a sign, and 8 bits of pixel beside it in 32, two of them kept free.
const MOST_BITS: u32 = 32 - 8 - 2;
const WEIGHT: f64 = (1 << 15) as f64;

impl Axis {
    /// Has the weights be those from one length to another, neither of them 0. Inline: with AVX2 rounding up is no call.
    #[inline(always)]
    pub(super) fn prepare(&mut self, from: u32, to: u32) {
        if self.lengths == (from, to) {
            return;
        }
        self.lengths = (from, to);
        let scale = f64::from(from) / f64::from(to);
        let radius = scale.max(1.0);
        let (nearer, room) = (1.0 / radius, radius.ceil() as usize * 2 + 1);
        self.starts.clear();
        self.exact.clear();
        self.exact.resize(room * to as usize, 0.0);
        let (mut most, mut largest) = (0, 0f64);
        for (place, exact) in self.exact.chunks_exact_mut(room).enumerate() {
            let center = (place as f64 + 0.5) * scale;
            let (low, high) = ((center - radius).max(0.0) as u32, (center + radius).ceil().min(f64::from(from)) as u32);
            let (mut start, mut count, mut sum) = (low, 0, 0.0);
            for x in low..high {
                let weight = 1.0 - ((f64::from(x) - (center - 0.5)) * nearer).abs();
                let weight = if weight > 0.0 { weight } else { 0.0 };
                if count == 0 && weight == 0.0 {
                    start += 1;
                } else {
                    exact[count] = weight;
                    count += 1;
                    sum += weight;
                }
            }
            while count > 0 && exact[count - 1] == 0.0 {
                count -= 1;
            }
            for weight in &mut exact[..count] {
                *weight /= sum;
                largest = largest.max(*weight);
            }
            most = most.max(count);
            self.starts.push(start);
        }
        let too_large = |bits: u32| (largest * f64::from(1u32 << (bits + 1))).round() >= WEIGHT;
        self.bits = (0..MOST_BITS).find(|bits| too_large(*bits)).unwrap_or(MOST_BITS - 1);
        self.pairs = most.div_ceil(2);
        self.weights.clear();
        let one = f64::from(1u32 << self.bits);
        for exact in self.exact.chunks_exact(room) {
            self.weights.extend((0..self.pairs).map(|pair| {
                let fixed = |i: usize| exact.get(i).map_or(0, |weight| nearest(weight * one));
                fixed(pair * 2) | fixed(pair * 2 + 1) << 16
            }));
        }
    }
}

/// `f64::round` of what is at least 0 and below 2^15, without a call.
#[inline(always)]
fn nearest(x: f64) -> i32 {
    let whole = x as i32;
    whole + i32::from(x - f64::from(whole) >= 0.5)
}
