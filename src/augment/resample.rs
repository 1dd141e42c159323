//! `resample`: another sample rate, by FFT (rubato), with the filter's delay taken out.

use std::sync::Arc;

use rubato::audioadapter_buffers::direct::InterleavedSlice;
use rubato::{Fft, FixedSync, Resampler, WindowFunction};
use serde::{Deserialize, Serialize};

use super::wave::{self, Wave};
use super::{Draw, Media, Op, OpEntry, Spec, Tools};
use crate::data::info::{Fact, Info};
use crate::data::tensor::Extent;
use crate::error::{Error, Fault, Reason};

/// Resamples recordings to `rate`; `n` samples at `r` Hz become `ceil(n * rate / r)`. By blocks of at least 512
/// samples at the lower rate, with a squared Blackman-Harris window: flat to 0.94 of the lower Nyquist frequency, aliases below -170 dB.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Resample {
    /// The new rate in Hz.
    pub rate: u32,
}

const NAME: &str = "resample";

/// Rates beyond these are refused: the filter's length grows with them.
const RATES: std::ops::RangeInclusive<u32> = 100..=768_000;

/// Samples of a block, and taps of its filter, at the lower rate: rubato's advice is 100 to 1000. A recording costs whole blocks, and
/// one more for the delay; of eight times as many, a spoken word would cost twice what it does.
const LEAST_BLOCK: usize = 512;

/// Input samples of a block that is made longer to be even, at the most: rates without a common divisor give long ones.
const LONGEST_EVEN: usize = 1 << 17;

/// Resamplers that a thread keeps.
const KEPT: usize = 8;

/// The table's row.
pub const ENTRY: OpEntry = OpEntry {
    name: NAME,
    version: 2,
    summary: "another sample rate: rate in Hz",
    build: |params| {
        let op: Resample = super::parse(NAME, params)?;
        if !RATES.contains(&op.rate) {
            return Err(Error::config(
                format!("operation \"{NAME}\": rate = {} is out of range", op.rate),
                format!("rate is {} to {} Hz, 16000 for speech", RATES.start(), RATES.end()),
            ));
        }
        Ok(Arc::new(op))
    },
    example: r#"{"rate": 8000}"#,
};

/// A thread's resamplers, each for one pair of rates, and room for their output.
#[derive(Default)]
struct Kept {
    resamplers: Vec<((u32, u32), Fft<f32>)>,
    room: Vec<f32>,
}

impl Kept {
    fn run(&mut self, data: &[f32], from: u32, to: u32) -> Result<Vec<f32>, Fault> {
        let failed = |e: &dyn std::fmt::Display| Fault::new(Reason::Corrupt, format!("{NAME} {from} to {to} Hz: {e}"));
        let place = match self.resamplers.iter().position(|(rates, _)| *rates == (from, to)) {
            Some(place) => place,
            None => {
                let (window, block) = (WindowFunction::BlackmanHarris2, block(from as usize, to as usize));
                let made = Fft::new_custom(from as usize, to as usize, block, 1, 1, window, FixedSync::Both);
                if self.resamplers.len() >= KEPT {
                    self.resamplers.remove(0);
                }
                self.resamplers.push(((from, to), made.map_err(|e| failed(&e))?));
                self.resamplers.len() - 1
            }
        };
        let resampler = &mut self.resamplers[place].1;
        resampler.reset();
        let room = resampler.process_all_needed_output_len(data.len());
        self.room.clear();
        self.room.resize(room, 0.0);
        let input = InterleavedSlice::new(data, 1, data.len()).map_err(|e| failed(&e))?;
        let mut output = InterleavedSlice::new_mut(&mut self.room, 1, room).map_err(|e| failed(&e))?;
        resampler.process_all_into_buffer(&input, &mut output, data.len(), None).map_err(|e| failed(&e))?;
        let length = length(data.len() as u64, from, to);
        let mut out = self.room[..room.min(length as usize)].to_vec();
        out.resize(length as usize, 0.0);
        Ok(out)
    }
}

/// Input samples of a block.
fn block(from: usize, to: usize) -> usize {
    let divisor = gcd(from, to).max(1);
    let (input, output) = (from / divisor, to / divisor);
    let units = LEAST_BLOCK.div_ceil(input.min(output).max(1));
    // The delay is half a block, at both rates: of an odd one rubato takes off half a sample too few.
    let even = units.next_multiple_of(2) * input;
    if even <= LONGEST_EVEN { even } else { units * input }
}

fn gcd(a: usize, b: usize) -> usize {
    if b == 0 { a } else { gcd(b, a % b) }
}

/// `ceil(n * to / from)`.
fn length(n: u64, from: u32, to: u32) -> u64 {
    u64::try_from((u128::from(n) * u128::from(to)).div_ceil(u128::from(from.max(1)))).unwrap_or(u64::MAX)
}

impl Op for Resample {
    fn spec(&self, input: &Spec) -> Result<Spec, Fault> {
        let (rate, channels, samples) = wave::spec(NAME, input)?;
        let samples = match (samples, rate) {
            (Extent::Fixed(n), Some(from)) => Extent::Fixed(length(n as u64, from, self.rate) as usize),
            (Extent::AtMost(_) | Extent::Late, _) => Extent::Late,
            _ => Extent::Bounded(Fact::Count),
        };
        Ok(Spec::Wave { rate: Some(self.rate), channels, samples })
    }

    fn facts(&self, info: &Info, _draw: &Draw) -> Info {
        Info { count: length(info.count, info.rate, self.rate), rate: self.rate, ..*info }
    }

    fn apply(&self, _draw: &Draw, media: Media, tools: &mut Tools) -> Result<Media, Fault> {
        let wave = wave::wave(NAME, media)?;
        let rate = wave.rate;
        if !RATES.contains(&rate) {
            let (least, most) = (RATES.start(), RATES.end());
            return Err(Fault::new(Reason::OverLimit, format!("{rate} Hz; {least} to {most} Hz can be resampled")));
        }
        if rate == self.rate || wave.data.is_empty() {
            return Ok(Media::Wave(Wave { rate: self.rate, ..wave }));
        }
        let kept = tools.state::<Kept>();
        let made = wave.each(|plane| kept.run(plane, rate, self.rate))?;
        Ok(Media::Wave(Wave { rate: self.rate, ..made }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(tools: &mut Tools, data: Vec<f32>, from: u32, to: u32) -> Vec<f32> {
        let media = Media::Wave(Wave::mono(data, from));
        wave::wave(NAME, Resample { rate: to }.apply(&Draw::None, media, tools).unwrap()).unwrap().data
    }

    /// A tone at 0.9 of the lower Nyquist frequency and one at a tenth, against the same at the new times. Of blocks of odd lengths
    /// all would be late.
    #[test]
    fn tones_are_the_same_at_the_new_times() {
        for (from, to) in [(8000, 16000), (16000, 11025), (44100, 16000), (48000, 8000), (22050, 16000), (16000, 44100)]
        {
            for share in [0.1, 0.9] {
                let hz = share * f64::from(from.min(to)) / 2.0;
                let tone = |rate: u32| {
                    let at = |i: u32| libm::sin(std::f64::consts::TAU * hz * f64::from(i) / f64::from(rate)) as f32;
                    (0..rate).map(at).collect::<Vec<_>>()
                };
                let (made, exact) = (run(&mut Tools::default(), tone(from), from, to), tone(to));
                let middle = to as usize / 4..to as usize * 3 / 4;
                let off = middle.map(|i| (made[i] - exact[i]).abs()).fold(0.0, f32::max);
                assert!(off < 1e-5, "{from} to {to} Hz, a tone of {hz} Hz: {off}");
            }
        }
    }

    #[test]
    fn lengths_are_exact_and_nothing_is_left_over_between_samples() {
        let mut tools = Tools::default();
        let tone = |n: usize| (0..n).map(|i| (i as f32 * 0.05).sin()).collect::<Vec<_>>();
        for (from, to) in [(8000, 16000), (44100, 16000), (16000, 8000), (48000, 44100), (16000, 16000), (11025, 48000)]
        {
            for n in [0, 1, 2, 147, 4095, 4096, 4097, 9001] {
                let first = run(&mut tools, tone(n), from, to);
                assert_eq!(first.len() as u64, length(n as u64, from, to), "{n} at {from} to {to}");
                let alone = run(&mut Tools::default(), tone(n), from, to);
                assert!(first == alone, "{n} at {from} to {to} depends on what was before");
            }
        }
    }
}
