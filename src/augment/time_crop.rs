//! `time_crop`: a part of a recording by time; at the front of a column only that part is decoded.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use smallvec::smallvec;

use super::wave;
use super::{Draw, Lowered, Media, Op, OpEntry, Spec, Tools, refused};
use crate::data::info::{Fact, Info};
use crate::data::tensor::Extent;
use crate::error::{Error, Fault, Reason, Result};
use crate::rng::Key;

/// Which part is taken.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// From `start` on.
    #[default]
    Start,
    /// The middle.
    Center,
    /// A part at random: each possible begin is as likely.
    Random,
    /// Of the `n` views of a recording each has another part, from the first to the last at equal distances; the only one has the middle.
    Spread,
}

/// Takes `seconds` (or `samples`) of a recording. What is shorter stays as it is: put a `pad_trim` behind for one length. At
/// the front of an audio column (beside `channels`) only that range is decoded, bit for bit what cutting the whole gives.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TimeCrop {
    /// The length in seconds, rounded to samples of the recording's own rate.
    #[serde(default)]
    pub seconds: Option<f64>,
    /// The length in samples.
    #[serde(default)]
    pub samples: Option<u32>,
    /// Where it begins, in seconds; a recording that ends before is a fault.
    #[serde(default)]
    pub start: Option<f64>,
    /// "start", "center", "random" or "spread".
    #[serde(default)]
    pub mode: Mode,
}

const NAME: &str = "time_crop";

/// The table's row.
pub const ENTRY: OpEntry = OpEntry {
    name: NAME,
    version: 1,
    summary: "a part of a recording, alone decoded: seconds = s or samples = n, start = seconds or mode = \"random\" | \"center\" | \"spread\"",
    build: |params| {
        let op: TimeCrop = super::parse(NAME, params)?;
        op.validate()?;
        Ok(Arc::new(op))
    },
    example: r#"{"seconds": 0.25, "mode": "random"}"#,
};

/// Seconds of a day: nothing is longer.
const DAY: f64 = 86_400.0;

fn places(seconds: f64, rate: u32) -> u64 {
    (seconds * f64::from(rate)).round_ties_even() as u64
}

impl TimeCrop {
    fn validate(&self) -> Result<()> {
        let what = match (self.samples, self.seconds, self.start) {
            (Some(_), Some(_), _) => "both samples and seconds are given".to_owned(),
            (None, None, _) => "neither samples nor seconds is given".to_owned(),
            (Some(0), ..) => "samples = 0".to_owned(),
            (_, Some(s), _) if !(s > 0.0 && s <= DAY) => format!("seconds = {s} is out of range"),
            (.., Some(s)) if !(0.0..=DAY).contains(&s) => format!("start = {s} is out of range"),
            (.., Some(_)) if self.mode != Mode::Start => "a start, and a mode that chooses one".to_owned(),
            _ => return Ok(()),
        };
        Err(Error::config(
            format!("operation \"{NAME}\": {what}"),
            "give seconds (above 0, at most a day) or samples, and start in seconds, or mode = \"random\", \"center\" or \"spread\"",
        ))
    }

    fn length(&self, rate: u32) -> u64 {
        match (self.samples, self.seconds) {
            (Some(samples), _) => u64::from(samples),
            (None, seconds) => places(seconds.unwrap_or(0.0), rate).max(1),
        }
    }

    /// Begin and end, in samples. `key` draws.
    fn range(&self, info: &Info, key: Key) -> (u64, u64) {
        let spare = info.count.saturating_sub(self.length(info.rate));
        let start = match self.mode {
            Mode::Start => places(self.start.unwrap_or(0.0), info.rate).min(info.count),
            Mode::Center => spare / 2,
            Mode::Random => key.stream().below(spare + 1),
            Mode::Spread => key.spread(spare),
        };
        (start, start.saturating_add(self.length(info.rate)).min(info.count))
    }
}

/// Begin and end of a draw.
fn drawn(draw: &Draw) -> Option<(u64, u64)> {
    match draw {
        Draw::Numbers(numbers) if numbers.len() == 2 => Some((numbers[0] as u64, numbers[1] as u64)),
        _ => None,
    }
}

impl Op for TimeCrop {
    fn spec(&self, input: &Spec) -> Result<Spec, Fault> {
        let (rate, channels, samples) = wave::spec(NAME, input)?;
        let samples = match (samples, rate) {
            (Extent::Late, _) => return Err(refused(NAME, "recordings of a length that is known", "others")),
            (Extent::Fixed(n), Some(rate)) => {
                let info = Info { count: n as u64, rate, ..Info::of(crate::data::info::Format::Wav) };
                let (start, end) = self.range(&info, Key::new(0));
                if start == end {
                    return Err(refused(NAME, "recordings that are longer than its start", &input.to_string()));
                }
                Extent::Fixed((end - start) as usize)
            }
            _ => Extent::Bounded(Fact::Count),
        };
        Ok(Spec::Wave { rate, channels, samples })
    }

    fn is_random(&self) -> bool {
        self.mode == Mode::Random
    }

    fn draw(&self, info: &Info, key: Key) -> Draw {
        let (start, end) = self.range(info, key);
        Draw::Numbers(smallvec![start as f64, end as f64])
    }

    fn facts(&self, info: &Info, draw: &Draw) -> Info {
        let (start, end) = drawn(draw).unwrap_or((0, info.count));
        let count = end - start;
        let duration = u128::from(count) * 1_000_000 / u128::from(info.rate.max(1));
        Info { count, duration_us: u64::try_from(duration).unwrap_or(u64::MAX), ..*info }
    }

    fn lower(&self, draw: &Draw) -> Lowered {
        match drawn(draw) {
            Some((start, end)) if start < end => Lowered::Range(start, end),
            _ => Lowered::Custom,
        }
    }

    fn apply(&self, draw: &Draw, media: Media, _tools: &mut Tools) -> Result<Media, Fault> {
        let wave = wave::wave(NAME, media)?;
        let (start, end) = drawn(draw).ok_or_else(|| super::foreign(NAME, draw))?;
        let count = wave.samples() as u64;
        if start >= end {
            let start = self.start.unwrap_or(0.0);
            let seconds = count as f64 / f64::from(wave.rate.max(1));
            let what = format!("{NAME}: it begins at {start} s of a recording of {seconds} s");
            return Err(Fault::new(Reason::WrongMedia, what));
        }
        if end > count {
            return Err(super::foreign(NAME, draw));
        }
        let part = |plane: &[f32]| Ok(plane[start as usize..end as usize].to_vec());
        wave.each(part).map(Media::Wave)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::augment::Wave;
    use crate::data::info::Format;

    #[test]
    fn parts_are_counted_in_the_recordings_own_samples() {
        let info = |count, rate| Info { count, rate, ..Info::of(Format::Wav) };
        let op = |params: serde_json::Value| super::super::parse::<TimeCrop>(NAME, &params).unwrap();
        let range = |params, info: &Info| op(params).range(info, Key::new(3));
        let five = serde_json::json!({"seconds": 5.0, "start": 12.5});
        assert_eq!(range(five.clone(), &info(200_000, 8000)), (100_000, 140_000));
        assert_eq!(range(five.clone(), &info(110_000, 8000)), (100_000, 110_000));
        assert_eq!(range(five, &info(800, 8000)), (800, 800));
        let center = serde_json::json!({"samples": 4, "mode": "center"});
        assert_eq!([9, 8, 3].map(|n| range(center.clone(), &info(n, 1))), [(2, 6), (2, 6), (0, 3)]);
        let random = op(serde_json::json!({"samples": 4, "mode": "random"}));
        let starts: std::collections::BTreeSet<u64> =
            (0..100).map(|key| random.range(&info(7, 8000), Key::new(key)).0).collect();
        assert_eq!(starts.into_iter().collect::<Vec<_>>(), [0, 1, 2, 3]);
        let wave = Wave { data: (0..8).map(|i| i as f32).collect(), channels: Some(2), rate: 4 };
        let draw = Draw::Numbers(smallvec![1.0, 3.0]);
        let made = random.apply(&draw, Media::Wave(wave), &mut Tools::default()).unwrap();
        assert_eq!(made, Media::Wave(Wave { data: vec![1.0, 2.0, 5.0, 6.0], channels: Some(2), rate: 4 }));
    }
}
