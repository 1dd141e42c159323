//! Lints of recordings: levels, clipping, offset, rates, durations.

use super::lint::{Judged, Lint, Rule, Seen, Severity, Threshold, Told};
use super::measure::Measured;
use super::values::{key, of_logarithms};
use crate::codec::Wave;
use crate::data::feature::Feature;

/// What digital silence is said to have, in dB of full scale: below the last bit of 24.
pub const SILENCE_DB: f64 = -200.0;
/// From here on a sample may be at full scale: 127/128, the greatest of 8 bits, is.
const FULL: f32 = 0.99;
/// Samples in a row that make a flat top.
const FLAT: usize = 3;

/// What is measured of a recording.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Sound {
    /// Root mean square over all channels, in dB of full scale; [`SILENCE_DB`] for none.
    pub rms_db: f64,
    /// The greatest distance from 0, in dB of full scale; [`SILENCE_DB`] for none.
    pub peak_db: f64,
    /// The mean of the channel whose mean is farthest from 0, full scale is 1.
    pub offset: f64,
    /// Share of the samples that lie in flat tops: three or more neighbours of a channel at full scale, all beyond it or
    /// equal to the last bit of 16.
    pub clipped: f64,
}

/// A level in dB of full scale.
fn decibel(level: f64) -> f64 {
    if level > 0.0 { (20.0 * libm::log10(level)).max(SILENCE_DB) } else { SILENCE_DB }
}

impl Sound {
    /// Measures PCM.
    pub fn of(wave: &Wave<'_>) -> Self {
        let channels = wave.channels.max(1) as usize;
        let (mut squares, mut peak, mut clipped, mut offset) = (0.0, 0.0f32, 0u64, 0.0f64);
        for channel in 0..channels {
            let (mut sum, mut run, mut last) = (0.0, 0usize, 0.0f32);
            let mut count = 0u64;
            for value in wave.data.iter().skip(channel).step_by(channels).copied() {
                sum += f64::from(value);
                squares += f64::from(value) * f64::from(value);
                peak = peak.max(value.abs());
                count += 1;
                let full = value.abs() >= FULL;
                let beyond = value.abs() >= 1.0 && last.abs() >= 1.0;
                let goes_on = run > 0 && full && (value > 0.0) == (last > 0.0) && (beyond || is_equal(value, last));
                run = if goes_on { run + 1 } else { usize::from(full) };
                clipped += match run {
                    FLAT => FLAT as u64,
                    longer if longer > FLAT => 1,
                    _ => 0,
                };
                last = value;
            }
            let mean = if count > 0 { sum / count as f64 } else { 0.0 };
            if mean.abs() > offset.abs() {
                offset = mean;
            }
        }
        let samples = wave.data.len().max(1) as f64;
        Sound {
            rms_db: decibel((squares / samples).sqrt()),
            peak_db: decibel(f64::from(peak)),
            offset,
            clipped: clipped as f64 / samples,
        }
    }
}

/// Whether two samples are the same to the last bit of 16.
fn is_equal(a: f32, b: f32) -> bool {
    (a - b).abs() <= 1.0 / 32_768.0
}

pub(super) fn is_audio(feature: &Feature) -> bool {
    matches!(feature, Feature::Audio)
}

fn sound<'a>(seen: &'a Seen<'_>, column: usize) -> Option<&'a Sound> {
    match &seen.measured[column] {
        Measured::Sound(sound) => Some(sound),
        _ => None,
    }
}

pub(super) const SILENT: Lint = Lint {
    code: "silent",
    summary: "a recording that is silent, or all but",
    help: "listen to it (`dsctl inspect DATASET ROW --extract DIR`); was the right channel or file taken?",
    severity: Severity::Warning,
    threshold: Some(Threshold { default: -60.0, meaning: "root mean square in dB of full scale, below" }),
    of: is_audio,
    decodes: true,
    rule: Rule::Row(|seen, column, threshold| {
        let Sound { rms_db, peak_db, .. } = *sound(seen, column)?;
        let says = || format!("the level is {rms_db:.1} dB of full scale, the peak {peak_db:.1} dB");
        (rms_db < threshold).then(|| Told::new(rms_db, says()))
    }),
};

pub(super) const CLIPPED: Lint = Lint {
    code: "clipped",
    summary: "flat tops at full scale: three or more equal samples in a row",
    help: "record with less gain; what was cut off cannot be brought back",
    severity: Severity::Warning,
    threshold: Some(Threshold { default: 0.001, meaning: "share of samples in flat tops, above" }),
    of: is_audio,
    decodes: true,
    rule: Rule::Row(|seen, column, threshold| {
        let clipped = sound(seen, column)?.clipped;
        let says = || format!("{:.2} % of the samples are in flat tops at full scale", clipped * 100.0);
        (clipped > threshold).then(|| Told::new(clipped, says()))
    }),
};

pub(super) const OFFSET: Lint = Lint {
    code: "dc-offset",
    summary: "a recording whose mean is not 0",
    help: "take the mean off, or filter below 20 Hz, before the ingest",
    severity: Severity::Warning,
    threshold: Some(Threshold {
        default: 0.02,
        meaning: "distance of a channel's mean from 0, full scale is 1, above",
    }),
    of: is_audio,
    decodes: true,
    rule: Rule::Row(|seen, column, threshold| {
        let offset = sound(seen, column)?.offset;
        let says = || format!("the samples' mean is {offset:.4} of full scale");
        (offset.abs() > threshold).then(|| Told::new(offset, says()))
    }),
};

pub(super) const RATES: Lint = Lint {
    code: "mixed-sample-rates",
    summary: "a sample rate that most recordings of the column do not have",
    help: "resample: the operation `resample` in the recipe, or `dsctl ingest --audio-rate HZ`",
    severity: Severity::Warning,
    threshold: None,
    of: is_audio,
    decodes: false,
    rule: Rule::Values {
        of: |seen, column| seen.payload(column).map(|payload| u64::from(payload.info.rate)),
        judge: |values, _, tell| {
            // Of equally many the lower rate, that runs begin with.
            let usual = values.runs().fold(None, |most: Option<(u64, usize)>, (rate, _, rows)| {
                most.filter(|(_, most)| *most >= rows).or(Some((rate, rows)))
            });
            let Some((usual, most)) = usual else { return };
            for (rate, row, rows) in values.runs().filter(|(rate, _, _)| *rate != usual) {
                let message = format!("{rate} Hz in {rows} rows, this one is the first; {usual} Hz in {most}");
                tell(Judged { row: Some(row), split: None, told: Told::new(rate as f64, message) });
            }
        },
    },
};

pub(super) const DURATION: Lint = Lint {
    code: "odd-duration",
    summary: "a recording or clip far shorter or longer than the rest, among logarithms, and four times so at the least",
    help: "look at both ends of it; long ones can be cut: `dsctl ingest --chunk-seconds`",
    severity: Severity::Note,
    threshold: Some(Threshold { default: 3.0, meaning: "distances of the quartiles beyond them, above" }),
    of: |feature| matches!(feature, Feature::Audio | Feature::Video),
    decodes: false,
    rule: Rule::Values {
        of: |seen, column| {
            let duration = seen.payload(column)?.info.duration_us;
            // One of no length has no logarithm, and is as far away as can be.
            Some(key(libm::log((duration as f64 / 1e6).max(1e-6))))
        },
        judge: |values, factor, tell| {
            of_logarithms(values, factor, 4.0, tell, &|value, median| {
                format!("{value:.3} s, half of the others are below {median:.3} s")
            });
        },
    },
};

#[cfg(test)]
mod tests {
    use super::*;

    fn measured(data: &[f32], channels: u32) -> Sound {
        Sound::of(&Wave { data, channels, rate: 8_000, start: 0 })
    }

    #[test]
    fn levels_are_those_of_known_signals() {
        // A square wave of half of full scale has its level and its peak at -6.02 dB.
        let square: Vec<f32> = (0..1000).map(|i| if i % 2 == 0 { 0.5 } else { -0.5 }).collect();
        let Sound { rms_db, peak_db, offset, clipped } = measured(&square, 1);
        assert!((rms_db + 6.0206).abs() < 1e-4 && (peak_db + 6.0206).abs() < 1e-4, "{rms_db} {peak_db}");
        assert_eq!((offset, clipped), (0.0, 0.0));
        assert_eq!(measured(&[0.0; 8], 1).rms_db, SILENCE_DB);
        assert_eq!(measured(&[], 2).rms_db, SILENCE_DB);
        // The offset of one channel is not hidden by the other.
        let stereo: Vec<f32> = (0..1000).map(|i| if i % 2 == 0 { 0.1 } else { -0.1 }).collect();
        assert!((measured(&stereo, 2).offset.abs() - 0.1).abs() < 1e-6);
    }

    #[test]
    fn flat_tops_are_clipped_and_round_ones_are_not() {
        // A slow sine up to full scale, 50 Hz at 8 kHz.
        let sine = |gain: f32, rate: f64| -> Vec<f32> {
            (0..rate as usize)
                .map(|i| gain * libm::sin(i as f64 * 50.0 * std::f64::consts::TAU / rate) as f32)
                .collect()
        };
        let quantised = |wave: &[f32], full: f32| -> Vec<f32> {
            wave.iter().map(|v| (v * full).round().clamp(-full, full - 1.0) / full).collect()
        };
        assert_eq!(measured(&quantised(&sine(0.999, 8_000.0), 32_768.0), 1).clipped, 0.0);
        let clipped = measured(&quantised(&sine(2.0, 8_000.0), 32_768.0), 1).clipped;
        // Beyond half of the amplitude: two thirds of the time.
        assert!((clipped - 2.0 / 3.0).abs() < 0.01, "{clipped}");
        let bits8 = measured(&quantised(&sine(2.0, 8_000.0), 128.0), 1).clipped;
        assert!((bits8 - 2.0 / 3.0).abs() < 0.01, "{bits8}");
        // Half as loud it is no clipping at full scale any more; floats beyond it are.
        assert_eq!(measured(&sine(0.5, 8_000.0), 1).clipped, 0.0);
        let beyond = measured(&sine(2.0, 8_000.0), 1).clipped;
        assert!((beyond - 2.0 / 3.0).abs() < 0.01, "{beyond}");
        // Two samples are no run, three are; in another channel they are none.
        assert_eq!(measured(&[0.0, 1.0, 1.0, 0.0], 1).clipped, 0.0);
        assert_eq!(measured(&[0.0, 1.0, 1.0, 1.0, 0.0, -1.0, -1.0, 1.0], 1).clipped, 3.0 / 8.0);
        assert_eq!(measured(&[1.0, 0.0, 1.0, 0.0, 1.0, 0.0], 2).clipped, 0.5);
    }
}
