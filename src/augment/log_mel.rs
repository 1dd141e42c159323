//! `log_mel`: mel spectrograms, as `librosa.feature.melspectrogram` and a logarithm.

use std::sync::Arc;

use realfft::num_complex::Complex32;
use realfft::{RealFftPlanner, RealToComplex};
use serde::{Deserialize, Serialize};

use super::mel::{self, Filter};
use super::{Draw, Elements, Media, Op, OpEntry, Spec, Tools, refused};
use super::{logarithm, wave};
use crate::data::info::{Fact, Info};
use crate::data::tensor::{DType, Extent};
use crate::error::{Error, Fault, Reason, Result};

/// How a filter's triangle is scaled.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Norm {
    /// Equal areas.
    Slaney,
    /// Equal heights of 1.
    None,
}

/// What stands beyond the ends of a recording when windows are centred.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PadMode {
    /// The recording mirrored, without repeating its end (again and again where it is short).
    Reflect,
    /// Silence.
    Constant,
}

/// The logarithm.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Log {
    /// Natural.
    Ln,
    /// Of base 10.
    Log10,
    /// Decibel: 10 log10 of power, 20 log10 of magnitude; reference 1.
    Db,
    /// The mel energies themselves.
    None,
}

/// Mel spectrogram `[n_mels, T]`, f32, of recordings of one known rate (`[C, n_mels, T]` where channels are kept); `T = 1 + samples / hop` with `center`, else
/// `1 + (samples - n_fft) / hop`. Window: periodic Hann of `n_fft`. The defaults are 25 ms and 10 ms at 16 kHz.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LogMel {
    /// Samples of a window.
    pub n_fft: usize,
    /// Samples from one window to the next.
    pub hop: usize,
    /// Mel bands.
    pub n_mels: usize,
    /// Hz where the lowest band begins.
    pub f_min: f64,
    /// Hz where the highest band ends; half the rate if it is not given.
    pub f_max: Option<f64>,
    /// HTK's mel scale instead of Slaney's.
    pub htk: bool,
    /// "slaney" (equal areas) or "none".
    pub norm: Norm,
    /// 2 for power, 1 for magnitude.
    pub power: f64,
    /// Whether windows are centred on multiples of `hop`, the recording being padded at both ends.
    pub center: bool,
    /// "reflect" or "constant".
    pub pad_mode: PadMode,
    /// "ln", "log10", "db" or "none".
    pub log: Log,
    /// The least value that the logarithm is taken of.
    pub floor: f64,
    /// Added before the logarithm (and before the floor is applied).
    pub offset: f64,
    /// What stands behind a sample's own frames in a padded batch. Unless told, what silence gives.
    pub pad_value: Option<f64>,
}

impl Default for LogMel {
    fn default() -> Self {
        LogMel {
            n_fft: 400,
            hop: 160,
            n_mels: 80,
            f_min: 0.0,
            f_max: None,
            htk: false,
            norm: Norm::Slaney,
            power: 2.0,
            center: true,
            pad_mode: PadMode::Reflect,
            log: Log::Ln,
            floor: 1e-10,
            offset: 0.0,
            pad_value: None,
        }
    }
}

const NAME: &str = "log_mel";

/// The table's row.
pub const ENTRY: OpEntry = OpEntry {
    name: NAME,
    version: 1,
    summary: "log-mel spectrogram [n_mels, T]: n_fft = 400, hop = 160, n_mels = 80, log = \"ln\", ... (librosa's definition)",
    build: |params| {
        let op: LogMel = super::parse(NAME, params)?;
        op.validate()?;
        Ok(Arc::new(op))
    },
    example: r#"{"n_mels": 40}"#,
};

impl LogMel {
    fn validate(&self) -> Result<()> {
        let wrong = |what: String, help: &str| Err(Error::config(format!("operation \"{NAME}\": {what}"), help));
        if !(16..=65_536).contains(&self.n_fft) || self.hop == 0 || self.hop > 1 << 24 {
            let what = format!("n_fft = {}, hop = {}", self.n_fft, self.hop);
            return wrong(what, "n_fft is 16 to 65536 samples, hop at least 1");
        }
        if !(1..=4096).contains(&self.n_mels) {
            return wrong(format!("n_mels = {}", self.n_mels), "n_mels is 1 to 4096");
        }
        if self.power != 1.0 && self.power != 2.0 {
            return wrong(format!("power = {}", self.power), "power is 2 (power) or 1 (magnitude)");
        }
        let f_max = self.f_max.unwrap_or(f64::INFINITY);
        if !(self.f_min >= 0.0 && self.f_min < f_max) {
            let what = format!("f_min = {} and f_max = {f_max}", self.f_min);
            return wrong(what, "frequencies are in Hz, 0 <= f_min < f_max");
        }
        if self.log != Log::None && !(self.floor as f32 > 0.0 || (self.floor == 0.0 && self.offset as f32 > 0.0)) {
            let what = format!("floor = {} and offset = {} let log(0) through", self.floor, self.offset);
            return wrong(what, "floor is above 0 (1e-10), or it is 0 and offset is above 0");
        }
        if ![self.floor, self.offset, self.pad_value.unwrap_or(0.0)]
            .iter()
            .all(|v| (*v as f32).is_finite() && self.offset >= 0.0)
        {
            return wrong("floor, offset or pad_value is not a finite number".into(), "offset is 0 or more");
        }
        Ok(())
    }

    fn highest(&self, rate: u32) -> f64 {
        self.f_max.unwrap_or(f64::from(rate) / 2.0)
    }

    /// Windows over so many samples.
    fn frames(&self, samples: u64) -> u64 {
        match (self.center, samples) {
            (_, 0) => 0,
            (true, n) => 1 + n / self.hop as u64,
            (false, n) if n < self.n_fft as u64 => 0,
            (false, n) => 1 + (n - self.n_fft as u64) / self.hop as u64,
        }
    }

    /// Energies to what is delivered, in place.
    fn finish(&self, energies: &mut [f32]) {
        let (offset, floor) = (self.offset as f32, self.floor as f32);
        energies.iter_mut().for_each(|e| *e = (*e + offset).max(floor));
        match self.log {
            Log::Ln => logarithm::ln(energies),
            Log::Log10 => logarithm::log10(energies),
            Log::Db => {
                logarithm::log10(energies);
                let scale = 10.0 * self.power_in_decibel();
                energies.iter_mut().for_each(|e| *e *= scale);
            }
            Log::None => {}
        }
    }

    fn power_in_decibel(&self) -> f32 {
        if self.power == 1.0 { 2.0 } else { 1.0 }
    }
}

/// Windows that the filters are laid over at once: as many as registers have room for.
const TOGETHER: usize = 8;

/// What a spectrogram of one kind needs; kept by each thread.
struct Plan {
    rate: u32,
    config: LogMel,
    fft: Arc<dyn RealToComplex<f32>>,
    window: Vec<f32>,
    filters: Vec<Filter>,
    input: Vec<f32>,
    spectrum: Vec<Complex32>,
    scratch: Vec<Complex32>,
    /// The power in each bin, of several windows.
    power: Vec<[f32; TOGETHER]>,
}

/// A thread's plans: one for each `log_mel` of the recipe.
#[derive(Default)]
struct Plans(Vec<Plan>);

impl Plans {
    fn of(&mut self, config: &LogMel, rate: u32) -> &mut Plan {
        let known = self.0.iter().position(|p| p.rate == rate && p.config.same_filters(config));
        let place = known.unwrap_or_else(|| {
            if self.0.len() >= 8 {
                self.0.remove(0);
            }
            self.0.push(Plan::new(config, rate));
            self.0.len() - 1
        });
        &mut self.0[place]
    }
}

impl LogMel {
    fn same_filters(&self, other: &Self) -> bool {
        (self.n_fft, self.n_mels, self.htk, self.norm) == (other.n_fft, other.n_mels, other.htk, other.norm)
            && (self.f_min, self.f_max) == (other.f_min, other.f_max)
    }
}

impl Plan {
    fn new(config: &LogMel, rate: u32) -> Self {
        let n = config.n_fft;
        let fft = RealFftPlanner::<f32>::new().plan_fft_forward(n);
        let hann = |i: usize| (0.5 - 0.5 * libm::cos(std::f64::consts::TAU * i as f64 / n as f64)) as f32;
        let band = (config.f_min, config.highest(rate));
        Plan {
            rate,
            window: (0..n).map(hann).collect(),
            filters: mel::filters(rate, n, config.n_mels, band, config.htk, config.norm == Norm::Slaney),
            input: fft.make_input_vec(),
            spectrum: fft.make_output_vec(),
            scratch: fft.make_scratch_vec(),
            power: vec![[0.0; TOGETHER]; n / 2 + 1],
            config: config.clone(),
            fft,
        }
    }

    /// `[n_mels, frames]`.
    fn run(&mut self, config: &LogMel, wave: &[f32], frames: usize) -> Result<Vec<f32>, Fault> {
        let mut out = vec![0.0; config.n_mels * frames];
        for first in (0..frames).step_by(TOGETHER) {
            let windows = TOGETHER.min(frames - first);
            for place in 0..windows {
                self.spectrum_of(config, wave, first + place)?;
                for (p, c) in self.power.iter_mut().zip(&self.spectrum) {
                    p[place] = c.re * c.re + c.im * c.im;
                }
            }
            if config.power == 1.0 {
                self.power.iter_mut().for_each(|bin| bin.iter_mut().for_each(|p| *p = p.sqrt()));
            }
            for (filter, row) in self.filters.iter().zip(out.chunks_exact_mut(frames)) {
                let energies = energies(filter, &self.power);
                row[first..first + windows].copy_from_slice(&energies[..windows]);
            }
        }
        config.finish(&mut out);
        Ok(out)
    }

    /// Puts a window's spectrum into `spectrum`.
    fn spectrum_of(&mut self, config: &LogMel, wave: &[f32], number: usize) -> Result<(), Fault> {
        let half = if config.center { config.n_fft / 2 } else { 0 };
        let start = (number * config.hop) as i64 - half as i64;
        let inside = usize::try_from(start).ok().and_then(|s| wave.get(s..s + config.n_fft));
        if let Some(inside) = inside {
            self.input.iter_mut().zip(inside).zip(&self.window).for_each(|((to, x), w)| *to = x * w);
        } else {
            for (i, (to, w)) in self.input.iter_mut().zip(&self.window).enumerate() {
                *to = sample(wave, start + i as i64, config.pad_mode) * w;
            }
        }
        let made = self.fft.process_with_scratch(&mut self.input, &mut self.spectrum, &mut self.scratch);
        made.map_err(|e| Fault::new(Reason::Corrupt, format!("{NAME}: {e}")))
    }
}

/// A filter over the spectra of several windows: the same sum for each, in the order of the bins.
fn energies(filter: &Filter, power: &[[f32; TOGETHER]]) -> [f32; TOGETHER] {
    let mut sums = [0f64; TOGETHER];
    for (weight, bin) in filter.weights.iter().zip(&power[filter.first..]) {
        let weight = f64::from(*weight);
        sums.iter_mut().zip(bin).for_each(|(sum, p)| *sum += weight * f64::from(*p));
    }
    sums.map(|sum| sum as f32)
}

/// The sample at a place that may lie beyond the ends.
#[inline]
fn sample(wave: &[f32], at: i64, mode: PadMode) -> f32 {
    if let Some(x) = usize::try_from(at).ok().and_then(|i| wave.get(i)) {
        return *x;
    }
    match (mode, wave.len() as i64) {
        (PadMode::Constant, _) | (_, 0) => 0.0,
        (PadMode::Reflect, 1) => wave[0],
        (PadMode::Reflect, n) => {
            let i = at.rem_euclid(2 * (n - 1)); // up and down again, without repeating the ends
            wave[i.min(2 * (n - 1) - i) as usize]
        }
    }
}

impl Op for LogMel {
    fn spec(&self, input: &Spec) -> Result<Spec, Fault> {
        let (rate, channels, samples) = wave::spec(NAME, input)?;
        let Some(rate) = rate else {
            return Err(refused(NAME, "one known rate (put a \"resample\" in front)", "recordings of any rate"));
        };
        if self.f_min >= self.highest(rate) || self.highest(rate) > f64::from(rate) / 2.0 {
            let band = format!("{} to {} Hz", self.f_min, self.highest(rate));
            let takes = format!("a band within half the rate, {} Hz", f64::from(rate) / 2.0);
            return Err(refused(NAME, &takes, &band));
        }
        let frames = match samples {
            Extent::Fixed(n) if self.frames(n as u64) == 0 => {
                return Err(refused(NAME, &format!("at least one window of {} samples", self.n_fft), &format!("{n}")));
            }
            Extent::Fixed(n) => Extent::Fixed(self.frames(n as u64) as usize),
            Extent::Bounded(_) => Extent::Bounded(Fact::Count),
            Extent::AtMost(_) | Extent::Late => Extent::Late,
        };
        let shape = channels.into_iter().chain([Extent::Fixed(self.n_mels), frames]).collect();
        Ok(Spec::Tensor { dtype: DType::F32, shape })
    }

    fn facts(&self, info: &Info, _draw: &Draw) -> Info {
        Info { count: self.frames(info.count), ..*info }
    }

    fn apply(&self, _draw: &Draw, media: Media, tools: &mut Tools) -> Result<Media, Fault> {
        let wave = wave::wave(NAME, media)?;
        let samples = wave.samples();
        let frames = self.frames(samples as u64) as usize;
        if frames == 0 {
            let what = format!("{NAME}: {samples} samples are less than one window: put a \"pad_trim\" in front");
            return Err(Fault::new(Reason::WrongMedia, what));
        }
        let plan = tools.state::<Plans>().of(self, wave.rate);
        let made = wave.each(|plane| plan.run(self, plane, frames))?;
        let shape = made.channels.into_iter().chain([self.n_mels, frames]).collect();
        Ok(Media::Tensor { data: Elements::F32(made.data), shape })
    }

    fn padding(&self, _before: f64) -> f64 {
        self.pad_value.unwrap_or_else(|| {
            let mut silence = [0.0];
            self.finish(&mut silence);
            f64::from(silence[0])
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::augment::Wave;

    #[test]
    fn short_recordings_reflect_as_numpy_does() {
        // numpy.pad([1, 2, 3], 5, mode="reflect") and numpy.pad([7], 2, mode="reflect")
        let at = |wave: &[f32], i| sample(wave, i, PadMode::Reflect);
        let got: Vec<f32> = (-5..8).map(|i| at(&[1.0, 2.0, 3.0], i)).collect();
        assert_eq!(got, [2.0, 1.0, 2.0, 3.0, 2.0, 1.0, 2.0, 3.0, 2.0, 1.0, 2.0, 3.0, 2.0]);
        assert_eq!([-2, 0, 2].map(|i| at(&[7.0], i)), [7.0; 3]);
        for n in [1usize, 2, 3, 199, 200, 201] {
            let media = Media::Wave(Wave::mono(vec![0.5; n], 16_000));
            let made = LogMel::default().apply(&Draw::None, media, &mut Tools::default()).unwrap();
            let Media::Tensor { shape, .. } = made else { panic!() };
            assert_eq!(shape, [80, 1 + n / 160]);
        }
    }
}
