//! The mel scale and its triangular filters, as librosa computes them (`librosa.filters.mel`).
//!
//! Two scales: Slaney's (linear below 1 kHz, logarithmic above: Malcolm Slaney, "Auditory Toolbox" version 2, Technical
//! Report 1998-010, Interval Research), and HTK's `2595 log10(1 + f / 700)` (Young et al., "The HTK Book", section 5.4).
//! All in f64 with `libm`, so that every machine has the same filters.

/// Hz in one mel of Slaney's linear part, and where it ends.
const HZ_PER_MEL: f64 = 200.0 / 3.0;
const BREAK_HZ: f64 = 1000.0;
const BREAK_MEL: f64 = BREAK_HZ / HZ_PER_MEL;

/// ln(6.4) / 27: the step of Slaney's logarithmic part.
fn log_step() -> f64 {
    libm::log(6.4) / 27.0
}

/// Hz to mel.
pub fn from_hz(hz: f64, htk: bool) -> f64 {
    if htk {
        2595.0 * libm::log10(1.0 + hz / 700.0)
    } else if hz >= BREAK_HZ {
        BREAK_MEL + libm::log(hz / BREAK_HZ) / log_step()
    } else {
        hz / HZ_PER_MEL
    }
}

/// Mel to Hz.
pub fn to_hz(mel: f64, htk: bool) -> f64 {
    if htk {
        700.0 * (libm::pow(10.0, mel / 2595.0) - 1.0)
    } else if mel >= BREAK_MEL {
        BREAK_HZ * libm::exp(log_step() * (mel - BREAK_MEL))
    } else {
        mel * HZ_PER_MEL
    }
}

/// One triangle: the first bin with weight, and the weights from there on.
#[derive(Debug, Clone, PartialEq)]
pub struct Filter {
    /// The first bin of the spectrum.
    pub first: usize,
    /// One weight a bin.
    pub weights: Vec<f32>,
}

/// `n_mels` triangles over the `n_fft / 2 + 1` bins of a spectrum at `rate` Hz, from `f_min` to `f_max` Hz. `slaney`
/// divides each by half its width in Hz, so that all have the same area.
pub fn filters(
    rate: u32,
    n_fft: usize,
    n_mels: usize,
    (f_min, f_max): (f64, f64),
    htk: bool,
    slaney: bool,
) -> Vec<Filter> {
    let (low, high) = (from_hz(f_min, htk), from_hz(f_max, htk));
    let point = |i: usize| to_hz(low + (high - low) * i as f64 / (n_mels + 1) as f64, htk);
    let points: Vec<f64> = (0..n_mels + 2).map(point).collect();
    let bin = |k: usize| k as f64 * f64::from(rate) / n_fft as f64;
    let triangle = |p: &[f64]| {
        let area = if slaney { 2.0 / (p[2] - p[0]) } else { 1.0 };
        let weight = |k: usize| {
            let rising = (bin(k) - p[0]) / (p[1] - p[0]);
            let falling = (p[2] - bin(k)) / (p[2] - p[1]);
            rising.min(falling).max(0.0) * area
        };
        let inside = (0..=n_fft / 2).filter(|&k| weight(k) > 0.0);
        let first = inside.clone().next().unwrap_or(0);
        Filter { first, weights: inside.map(|k| weight(k) as f32).collect() }
    };
    points.windows(3).map(triangle).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `librosa.hz_to_mel([60, 999, 1000, 4000])` and the inverse.
    #[test]
    fn scales_are_librosas() {
        let near = |a: f64, b: f64| (a - b).abs() < 1e-9 * b.abs().max(1.0);
        assert!(near(from_hz(60.0, false), 0.9) && near(from_hz(1000.0, false), 15.0));
        assert!(near(from_hz(6400.0, false), 42.0));
        assert!(near(from_hz(700.0, true), 2595.0 * 2f64.log10()));
        for hz in [0.0, 60.0, 999.0, 1000.0, 4000.0, 7999.0] {
            assert!(near(to_hz(from_hz(hz, false), false), hz) && near(to_hz(from_hz(hz, true), true), hz));
        }
    }
}
