//! `pad_trim`: recordings of one length.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::wave;
use super::{Draw, Media, Op, OpEntry, Spec, Tools, refused};
use crate::data::info::Info;
use crate::data::tensor::Extent;
use crate::error::{Error, Fault, Result};
use crate::rng::Key;

/// Where a longer recording is cut.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// Its beginning is kept.
    #[default]
    Start,
    /// A part of it at random is kept.
    Random,
}

/// Cuts longer recordings, and pads shorter ones with silence at the end, to exactly `samples` (or `seconds`).
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PadTrim {
    /// The length in samples.
    #[serde(default)]
    pub samples: Option<u32>,
    /// The length in seconds, rounded to samples; the rate must be known (after a resample).
    #[serde(default)]
    pub seconds: Option<f64>,
    /// "start" or "random".
    #[serde(default)]
    pub mode: Mode,
}

const NAME: &str = "pad_trim";

/// The table's row.
pub const ENTRY: OpEntry = OpEntry {
    name: NAME,
    version: 1,
    summary: "one length: samples = n or seconds = s, mode = \"start\" | \"random\" for what is kept",
    build: |params| {
        let op: PadTrim = super::parse(NAME, params)?;
        op.validate()?;
        Ok(Arc::new(op))
    },
    example: r#"{"samples": 6000, "mode": "random"}"#,
};

impl PadTrim {
    fn validate(&self) -> Result<()> {
        let what = match (self.samples, self.seconds) {
            (Some(1..), None) => return Ok(()),
            (None, Some(s)) if s > 0.0 && s <= 86_400.0 => return Ok(()),
            (Some(_), Some(_)) => "both samples and seconds are given".to_owned(),
            (None, None) => "neither samples nor seconds is given".to_owned(),
            (Some(_), None) => "samples = 0".to_owned(),
            (None, Some(s)) => format!("seconds = {s} is out of range"),
        };
        Err(Error::config(
            format!("operation \"{NAME}\": {what}"),
            "give either samples (1 or more) or seconds (above 0, at most a day)",
        ))
    }

    fn length(&self, rate: u32) -> u64 {
        match (self.samples, self.seconds) {
            (Some(samples), _) => u64::from(samples),
            (None, seconds) => ((seconds.unwrap_or(0.0) * f64::from(rate)).round_ties_even() as u64).max(1),
        }
    }
}

impl Op for PadTrim {
    fn spec(&self, input: &Spec) -> Result<Spec, Fault> {
        match (input, self.samples) {
            (Spec::Wave { rate: None, .. }, None) => Err(refused(
                NAME,
                "a known rate for a length in seconds (put a \"resample\" in front)",
                "recordings of any rate",
            )),
            (Spec::Wave { rate, channels, .. }, _) => {
                let samples = Extent::Fixed(self.length(rate.unwrap_or(0)) as usize);
                Ok(Spec::Wave { rate: *rate, channels: *channels, samples })
            }
            (other, _) => Err(refused(NAME, "recordings", other.name())),
        }
    }

    fn is_random(&self) -> bool {
        self.mode == Mode::Random
    }

    fn draw(&self, info: &Info, key: Key) -> Draw {
        let length = self.length(info.rate);
        if self.mode == Mode::Start || info.count <= length {
            return Draw::None;
        }
        Draw::Numbers(smallvec::smallvec![key.stream().below(info.count - length + 1) as f64])
    }

    fn facts(&self, info: &Info, _draw: &Draw) -> Info {
        let count = self.length(info.rate);
        let duration = u128::from(count) * 1_000_000 / u128::from(info.rate.max(1));
        Info { count, duration_us: u64::try_from(duration).unwrap_or(u64::MAX), ..*info }
    }

    fn apply(&self, draw: &Draw, media: Media, _tools: &mut Tools) -> Result<Media, Fault> {
        let wave = wave::wave(NAME, media)?;
        let length = self.length(wave.rate) as usize;
        let start = if let Draw::Numbers(start) = draw { start.first().map_or(0, |s| *s as usize) } else { 0 };
        wave.each(|plane| {
            let mut plane = plane[start.min(plane.len())..].to_vec();
            plane.resize(length, 0.0);
            Ok(plane)
        })
        .map(Media::Wave)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::augment::Wave;
    use crate::data::info::Format;

    #[test]
    fn silence_behind_and_a_random_part_of_what_is_longer() {
        let op = PadTrim { samples: Some(4), seconds: None, mode: Mode::Random };
        let run = |data: Vec<f32>, key| {
            let draw = op.draw(&Info { count: data.len() as u64, rate: 8000, ..Info::of(Format::Wav) }, Key::new(key));
            op.apply(&draw, Media::Wave(Wave::mono(data, 8000)), &mut Tools::default()).unwrap().into_elements()
        };
        assert_eq!(run(vec![1.0, 2.0], 1), crate::augment::Elements::F32(vec![1.0, 2.0, 0.0, 0.0]));
        let starts: std::collections::BTreeSet<u32> = (0..100)
            .map(|key| match run((0..7).map(|i| i as f32).collect(), key) {
                crate::augment::Elements::F32(v) => v[0] as u32,
                _ => panic!(),
            })
            .collect();
        assert_eq!(starts.into_iter().collect::<Vec<_>>(), [0, 1, 2, 3]);
    }
}
