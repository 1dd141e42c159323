//! `band-energies`: a fingerprint of recordings, from how the energies of neighbouring bands rise and fall against each other.
//!
//! After Haitsma and Kalker, "A Highly Robust Audio Fingerprinting System" (ISMIR 2002): 33 bands, and for each moment 32 bits, of which one
//! says whether the difference of two neighbouring bands is greater than it was before. Different from theirs, for recordings as short as a spoken word: windows of
//! 128 ms and not 370, every 12 ms; bands from 250 to 3,000 Hz and not 300 to 2,000; a difference to two moments before. And a bit counts only where
//! something is heard: beside the bits stands a mask of those whose difference is above the median of the recording. What is not in the mask of both
//! recordings is not compared, so that noise in the pauses and in empty bands, which decides every bit there, is passed over.
//!
//! Channels are averaged, silence at both ends (40 dB below the loudest 12 ms) is left out, and two recordings are compared at the best of all offsets
//! up to 0.48 s, if neither has more than a quarter of what is heard before or behind the other. Of a recording of more than 24.6 s the first 24.6 s are compared, and the duration, which may differ by a tenth.
//!
//! **Covered**: coding, volume, other rates (from 6 kHz), noise 20 dB below, some clipping, silence in front, a beginning or end that is cut off.
//! **Not covered**: other speeds (at 1 % a quarter is missed, at 3 % nearly all), other pitch, a part of a long recording, echo, a voice above music.

use realfft::RealFftPlanner;

use super::Method;
use crate::codec::{Decoded, Wave};
use crate::data::info::Kind;
use crate::error::{Fault, Reason};

/// Bands, of which each two neighbours give a bit.
const BANDS: usize = 33;
/// Where the lowest band begins and the highest ends, in Hz, at equal ratios.
const HZ: (f64, f64) = (250.0, 3_000.0);
/// From the middle of one window to that of the next, and a window, in milliseconds.
const HOP_MS: u64 = 12;
const WINDOW_MS: u64 = 128;
/// Windows back to the one that is compared.
const BACK: usize = 2;
/// What is heard, as a part of the power of the loudest hop: 40 dB below.
const HEARD: f64 = 1e-4;
/// The mean square of samples that is silence, whatever the rest: 80 dB below full scale.
const SILENCE: f64 = 1e-8;
/// Moments of the shortest recording that is compared, and those that are kept at the most.
const MOMENTS: (usize, usize) = (8, 2_048);
/// Moments that two recordings are moved against each other, either way.
const SHIFT: isize = 40;

/// The table's row.
///
/// Keys: MinHash (Broder, 1997) of features of eight neighbouring bits at three moments, 48 ms apart, where at least six of the eight are in the mask at each. Each of
/// 96 keys is shared with the probability that the Jaccard index of the two sets of features is: 0.62 where that is 0.01, 0.99 at 0.05.
pub(super) const METHOD: Method = Method {
    name: "band-energies",
    kind: Kind::Audio,
    version: 1,
    summary: "audio fingerprint of recordings: coded anew, louder, resampled, with noise 20 dB below, silence in front",
    threshold: 0.93,
    sketch: |decoded| match decoded {
        Decoded::Wave(wave) => sketch(wave),
        _ => Err(Fault::new(Reason::WrongMedia, "there are no samples to make a fingerprint of")),
    },
    keys,
    similarity,
};

/// One moment: the bits, and which of them count.
type Moment = (u32, u32);

/// Little endian: the moments of the whole recording, and of those that are kept the bits and the mask, each as 32 bits.
fn sketch(wave: &Wave<'_>) -> Result<Option<Vec<u8>>, Fault> {
    if wave.rate < (2.0 * HZ.1) as u32 {
        return Ok(None);
    }
    let by = u64::from(wave.rate / 8_000).max(1);
    let samples = reduced(wave, by as usize);
    // Samples in so many milliseconds, to the nearest.
    let after = |ms: u64| ((ms * u64::from(wave.rate) + 500 * by) / (1_000 * by)) as usize;
    let Some((first, last)) = heard(&samples, &after) else { return Ok(None) };
    let kept = (last - first + 1).min(MOMENTS.1 + BACK);
    if kept < MOMENTS.0 + BACK {
        return Ok(None);
    }
    let rate = f64::from(wave.rate) / by as f64;
    let energies =
        energies(&samples, rate, after(WINDOW_MS), (first..first + kept).map(|hop| after(hop as u64 * HOP_MS)))?;
    let falls = |bands: &[f64; BANDS], m: usize| bands[m] - bands[m + 1];
    let rises: Vec<[f64; BANDS - 1]> =
        (BACK..kept).map(|n| std::array::from_fn(|m| falls(&energies[n], m) - falls(&energies[n - BACK], m))).collect();
    let mut sizes: Vec<f64> = rises.as_flattened().iter().map(|rise| rise.abs()).collect();
    let middle = sizes.len() / 2;
    let median = *sizes.select_nth_unstable_by(middle, f64::total_cmp).1;
    let mut sketch = ((last - first) as u32).to_le_bytes().to_vec();
    for rise in &rises {
        let gather = |is: &dyn Fn(f64) -> bool| rise.iter().fold(0u32, |bits, r| bits << 1 | u32::from(is(*r)));
        sketch.extend(gather(&|r| r > 0.0).to_le_bytes());
        sketch.extend(gather(&|r| r.abs() >= median && r != 0.0).to_le_bytes());
    }
    Ok(Some(sketch))
}

/// The mean of the channels without its mean, every `by`th sample of it after a triangular filter of twice that length: what is folded down to
/// below 3 kHz lies within 3 kHz of a multiple of the new rate, where the filter lets little through.
fn reduced(wave: &Wave<'_>, by: usize) -> Vec<f64> {
    let channels = wave.channels.max(1) as usize;
    let sum = |frame: &[f32]| frame.iter().map(|v| if v.is_finite() { f64::from(*v) } else { 0.0 }).sum::<f64>();
    let mut samples: Vec<f64> = wave.data.chunks_exact(channels).map(|frame| sum(frame) / channels as f64).collect();
    let mean = samples.iter().sum::<f64>() / samples.len().max(1) as f64;
    samples.iter_mut().for_each(|v| *v -= mean);
    if by == 1 {
        return samples;
    }
    let weight = |k: usize| (by - k.abs_diff(by - 1)) as f64 / (by * by) as f64;
    let weights: Vec<f64> = (0..2 * by - 1).map(weight).collect();
    let at = |middle: usize| {
        let (before, start) = ((by - 1).saturating_sub(middle), (middle + 1).saturating_sub(by));
        samples[start..].iter().zip(&weights[before..]).map(|(v, w)| v * w).sum()
    };
    (0..samples.len().div_ceil(by)).map(|n| at(n * by)).collect()
}

/// The first and the last hop in which something is heard.
fn heard(samples: &[f64], after: &dyn Fn(u64) -> usize) -> Option<(usize, usize)> {
    let hops = (0u64..)
        .map(|hop| (after(hop * HOP_MS), after((hop + 1) * HOP_MS)))
        .take_while(|(_, end)| *end <= samples.len());
    // Around the mean of the hop: a constant beside digital silence would be heard.
    let power = |(start, end): (usize, usize)| {
        let count = (end - start).max(1) as f64;
        let mean = samples[start..end].iter().sum::<f64>() / count;
        samples[start..end].iter().map(|v| (v - mean) * (v - mean)).sum::<f64>() / count
    };
    let powers: Vec<f64> = hops.map(power).collect();
    let loudest = powers.iter().copied().fold(0.0, f64::max);
    let is = |power: &f64| *power > loudest * HEARD && loudest > SILENCE;
    Some((powers.iter().position(is)?, powers.iter().rposition(is)?))
}

/// The energies of the bands in windows around each of some samples.
fn energies(
    samples: &[f64],
    rate: f64,
    window: usize,
    middles: impl Iterator<Item = usize>,
) -> Result<Vec<[f64; BANDS]>, Fault> {
    let size = window.next_power_of_two();
    let fft = RealFftPlanner::<f64>::new().plan_fft_forward(size);
    let (mut input, mut spectrum, mut scratch) = (fft.make_input_vec(), fft.make_output_vec(), fft.make_scratch_vec());
    let hann: Vec<f64> =
        (0..window).map(|n| 0.5 - 0.5 * libm::cos(std::f64::consts::TAU * (n as f64 + 0.5) / window as f64)).collect();
    // Where bands begin and end, in bins, each of which reaches half a bin to either side.
    let edges: [f64; BANDS + 1] =
        std::array::from_fn(|n| HZ.0 * libm::pow(HZ.1 / HZ.0, n as f64 / BANDS as f64) * size as f64 / rate + 0.5);
    let mut below = vec![0.0; size / 2 + 2];
    let mut made = Vec::new();
    for middle in middles {
        input.fill(0.0);
        let start = middle as isize - (window / 2) as isize;
        for (n, (to, weight)) in input.iter_mut().zip(&hann).enumerate() {
            let from = usize::try_from(start + n as isize).ok().and_then(|at| samples.get(at));
            *to = from.map_or(0.0, |v| v * weight);
        }
        fft.process_with_scratch(&mut input, &mut spectrum, &mut scratch)
            .map_err(|e| Fault::new(Reason::Corrupt, format!("a fingerprint: {e}")))?;
        let mut sum = 0.0;
        for (to, value) in below[1..].iter_mut().zip(&spectrum) {
            sum += value.re * value.re + value.im * value.im;
            *to = sum;
        }
        let up_to = edges.map(|edge| {
            let bin = (edge as usize).min(below.len() - 2);
            below[bin] + (below[bin + 1] - below[bin]) * (edge - bin as f64)
        });
        made.push(std::array::from_fn(|n| up_to[n + 1] - up_to[n]));
    }
    Ok(made)
}

/// The moments of the whole recording, and those that are kept; `None` if it is no sketch.
fn moments(sketch: &[u8]) -> Option<(u32, Vec<Moment>)> {
    let (whole, kept) = sketch.split_first_chunk::<4>()?;
    let (kept, rest) = kept.as_chunks::<8>();
    if !rest.is_empty() || kept.is_empty() || kept.len() > MOMENTS.1 {
        return None;
    }
    let halves = kept.iter().map(|moment| u64::from_le_bytes(*moment));
    Some((u32::from_le_bytes(*whole), halves.map(|both| (both as u32, (both >> 32) as u32)).collect()))
}

/// Keys of a recording.
const MINIMA: u64 = 96;
/// Moments between those of a feature, and bits that it has of each.
const APART: usize = 4;
const WIDTH: u32 = 8;
/// Of these bits in the mask, at the least.
const SURE: u32 = 6;

fn keys(sketch: &[u8]) -> Vec<u64> {
    let Some((_, moments)) = moments(sketch) else { return Vec::new() };
    let mut features = Vec::new();
    for three in moments.windows(2 * APART + 1) {
        for low in 0..=32 - WIDTH {
            let parts =
                [three[0], three[APART], three[2 * APART]].map(|(bits, mask)| (bits >> low & 0xff, mask >> low & 0xff));
            if parts.iter().all(|(_, mask)| mask.count_ones() >= SURE) {
                features.push(parts.iter().fold(u64::from(low), |feature, (bits, _)| feature << 8 | u64::from(*bits)));
            }
        }
    }
    features.sort_unstable();
    features.dedup();
    let least = |n: u64| features.iter().map(|feature| mixed(*feature, n)).min();
    (0..MINIMA).filter_map(|n| Some(n << 56 | least(n)? >> 8)).collect()
}

/// A hash of its own for each `n` (the finalizer of MurmurHash3, Appleby, 2011).
fn mixed(feature: u64, n: u64) -> u64 {
    let mut x = feature ^ (n + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    for factor in [0xff51_afd7_ed55_8ccd, 0xc4ce_b9fe_1a85_ec53] {
        x = (x ^ x >> 33).wrapping_mul(factor);
    }
    x ^ x >> 33
}

/// 1 less the part of the bits that differ, of those in both masks, at the best offset. What is compared must be half of the larger of the two masks; or
/// four fifths of the smaller and a quarter of the larger, as noise in long pauses, which are silence without it, makes a mask larger. And of neither mask
/// more than a quarter may be before or behind the other recording: a part is not the whole.
fn similarity(a: &[u8], b: &[u8]) -> f64 {
    let (Some((whole_a, a)), Some((whole_b, b))) = (moments(a), moments(b)) else { return 0.0 };
    let (shorter, longer) = (u64::from(whole_a.min(whole_b)), u64::from(whole_a.max(whole_b)));
    if longer > MOMENTS.1 as u64 && shorter * 10 < longer * 9 {
        return 0.0;
    }
    // Marked bits of the moments before each.
    let marked = |moments: &[Moment]| -> Vec<u64> {
        let counts = moments.iter().map(|(_, mask)| u64::from(mask.count_ones()));
        let sums = counts.scan(0, |sum, count| {
            *sum += count;
            Some(*sum)
        });
        std::iter::once(0).chain(sums).collect()
    };
    let (marked_a, marked_b) = (marked(&a), marked(&b));
    let (all_a, all_b) = (marked_a[a.len()], marked_b[b.len()]);
    let (smaller, larger) = (all_a.min(all_b), all_a.max(all_b));
    let least = larger.div_ceil(2).min(larger.div_ceil(4).max((4 * smaller).div_ceil(5))).max(1);
    let at = |shift: isize| {
        let (from_a, from_b) = (a.len().min(shift.max(0) as usize), b.len().min((-shift).max(0) as usize));
        let (beside_a, beside_b) = (&a[from_a..], &b[from_b..]);
        let both = beside_a.len().min(beside_b.len());
        let inside = |marked: &[u64], from: usize, all: u64| 4 * (marked[from + both] - marked[from]) >= 3 * all;
        if !inside(&marked_a, from_a, all_a) || !inside(&marked_b, from_b, all_b) {
            return 0.0;
        }
        let (mut compared, mut differ) = (0u64, 0u64);
        for ((bits_a, mask_a), (bits_b, mask_b)) in beside_a.iter().zip(beside_b) {
            compared += u64::from((mask_a & mask_b).count_ones());
            differ += u64::from(((bits_a ^ bits_b) & mask_a & mask_b).count_ones());
        }
        if compared < least { 0.0 } else { 1.0 - differ as f64 / compared as f64 }
    };
    (-SHIFT..=SHIFT).map(at).fold(0.0, f64::max)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wave(seconds: f64, rate: u32, at: impl Fn(f64) -> f64) -> Vec<f32> {
        (0..(seconds * f64::from(rate)) as usize).map(|n| at(n as f64 / f64::from(rate)) as f32).collect()
    }

    fn sketched(data: &[f32], rate: u32) -> Option<Vec<u8>> {
        sketch(&Wave { data, channels: 1, rate, start: 0 }).unwrap()
    }

    /// A melody of its own for each `seed`: a tone of ten harmonics for each 90 ms.
    fn melody(seed: u64) -> impl Fn(f64) -> f64 {
        move |t| {
            let hash = xxhash_rust::xxh3::xxh3_64_with_seed(&((t / 0.09) as u64).to_le_bytes(), seed);
            let (hz, loud) = (110.0 + (hash % 300) as f64, 0.2 + (hash >> 32 & 0xff) as f64 / 256.0);
            (1..=10).map(|k| (std::f64::consts::TAU * hz * f64::from(k) * t).sin() * loud / f64::from(10 * k)).sum()
        }
    }

    /// Energy is where the tone is, whatever the rate: of a tone of 1 kHz nearly all is in the band that has it.
    #[test]
    fn a_tone_is_in_its_band() {
        let band = (4f64.ln() / 12f64.ln() * BANDS as f64) as usize;
        for rate in [6_000, 8_000, 11_025, 44_100, 48_000, 192_000] {
            let data = wave(0.5, rate, |t| (t * 1_000.0 * std::f64::consts::TAU).sin());
            let by = (rate / 8_000).max(1);
            let samples = reduced(&Wave { data: &data, channels: 1, rate, start: 0 }, by as usize);
            let rate = f64::from(rate) / f64::from(by);
            let energies =
                energies(&samples, rate, (rate * 0.128) as usize, std::iter::once(samples.len() / 2)).unwrap();
            let sum: f64 = energies[0].iter().sum();
            assert!(energies[0][band] > 0.95 * sum, "{rate}: {:?}", energies[0]);
        }
    }

    #[test]
    fn rates_and_channels_make_little_difference() {
        let of = |rate| sketched(&wave(2.0, rate, melody(1)), rate).unwrap();
        for rate in [6_000, 11_025, 16_000, 22_050, 44_100, 48_000, 96_000] {
            let similarity = similarity(&of(8_000), &of(rate));
            assert!(similarity > 0.97, "{rate}: {similarity}");
        }
        assert_eq!(sketched(&wave(2.0, 5_999, melody(1)), 5_999), None);
    }

    /// A word is not three words that begin or end with it: whoever drops duplicates would lose two.
    #[test]
    fn a_part_is_not_the_whole() {
        let of = |from: f64, seconds: f64| {
            let at = melody(1);
            sketched(&wave(seconds, 8_000, |t| at(t + from)), 8_000).unwrap()
        };
        let whole = of(0.0, 3.0);
        for part in [of(0.0, 1.0), of(0.0, 1.5), of(0.0, 2.0), of(0.45, 1.5), of(1.5, 1.5)] {
            let (there, back) = (similarity(&whole, &part), similarity(&part, &whole));
            assert!(there < METHOD.threshold && there == back, "{there} {back}");
        }
        // A tenth is missing.
        assert!(similarity(&whole, &of(0.0, 2.7)) > 0.95 && similarity(&whole, &of(0.3, 2.7)) > 0.95);
    }

    /// A long recording is told from one that begins alike and goes on for longer, and from another one.
    #[test]
    fn long_recordings_are_compared_by_their_beginning_and_duration() {
        let of = |seconds: f64, seed| sketched(&wave(seconds, 8_000, melody(seed)), 8_000).unwrap();
        let (long, longer, twice, other) = (of(30.0, 1), of(31.0, 1), of(60.0, 1), of(30.0, 2));
        assert_eq!(long.len(), 4 + 8 * MOMENTS.1);
        assert!(similarity(&long, &longer) > 0.99);
        assert_eq!(similarity(&long, &twice), 0.0);
        assert!(similarity(&long, &other) < 0.8);
    }
}
