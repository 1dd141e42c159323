//! `sample_frames`: which frames of a clip, by time; only those are decoded to pixels.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::pixels;
use super::{Draw, Lowered, Media, Op, OpEntry, Spec, Tools};
use crate::data::info::{Fact, Info};
use crate::data::tensor::Extent;
use crate::error::{Error, Fault, Reason, Result};
use crate::rng::Key;

/// Chooses frames of a clip: `count` of them, in the middles of equal parts of the play time, or `fps` a second from the
/// beginning. It stands first in a video column.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SampleFrames {
    /// How many frames: times `duration * (i + 1/2) / count`.
    #[serde(default)]
    pub count: Option<u32>,
    /// Frames a second: times `i / fps` below the duration, at least one.
    #[serde(default)]
    pub fps: Option<f64>,
}

const NAME: &str = "sample_frames";

/// More frames of one clip than these are refused.
const MOST: u64 = 100_000;

/// The table's row.
pub const ENTRY: OpEntry = OpEntry {
    name: NAME,
    version: 1,
    summary: "frames of a clip: count = n evenly over the play time, or fps = r from the beginning",
    build: |params| {
        let op: SampleFrames = super::parse(NAME, params)?;
        op.validate()?;
        Ok(Arc::new(op))
    },
    example: r#"{"count": 4}"#,
};

impl SampleFrames {
    fn validate(&self) -> Result<()> {
        let wrong = |what: String| {
            Err(Error::config(
                format!("operation \"{NAME}\": {what}"),
                format!("give either count = 1 to {MOST} frames, or fps = frames a second (above 0, at most 1000)"),
            ))
        };
        match (self.count, self.fps) {
            (Some(count), None) if (1..=MOST).contains(&u64::from(count)) => Ok(()),
            (None, Some(fps)) if fps > 0.0 && fps <= 1000.0 => Ok(()),
            (None, None) => wrong("neither count nor fps is given".into()),
            (Some(_), Some(_)) => wrong("both count and fps are given".into()),
            (Some(count), None) => wrong(format!("count = {count} is out of range")),
            (None, Some(fps)) => wrong(format!("fps = {fps} is out of range")),
        }
    }

    /// Microseconds of presentation; `None` if they are too many.
    fn times(&self, duration_us: u64) -> Option<Vec<i64>> {
        let duration = duration_us.min(i64::MAX as u64);
        if let Some(count) = self.count {
            let part =
                |i: u64| (u128::from(duration) * u128::from(2 * i + 1) / u128::from(2 * u64::from(count))) as i64;
            return Some((0..u64::from(count)).map(part).collect());
        }
        let fps = self.fps.unwrap_or(1.0);
        let time = |i: u64| (i as f64 * 1e6 / fps) as i64;
        if time(MOST) < duration as i64 {
            return None;
        }
        Some((0..MOST).map(time).take_while(|t| *t == 0 || *t < duration as i64).collect())
    }
}

impl Op for SampleFrames {
    fn spec(&self, input: &Spec) -> Result<Spec, Fault> {
        let Spec::Raster { frames: Some(_), height, width, channels, dtype, layout } = *input else {
            return Err(super::refused(NAME, "clips", input.name()));
        };
        let frames = match self.count {
            Some(count) => Extent::Fixed(count as usize),
            None => Extent::Bounded(Fact::Count),
        };
        Ok(Spec::Raster { frames: Some(frames), height, width, channels, dtype, layout })
    }

    fn draw(&self, info: &Info, _key: Key) -> Draw {
        self.times(info.duration_us).map_or(Draw::None, Draw::Times)
    }

    fn facts(&self, info: &Info, draw: &Draw) -> Info {
        let count = if let Draw::Times(times) = draw { times.len() as u64 } else { 0 };
        Info { count, ..*info }
    }

    fn lower(&self, draw: &Draw) -> Lowered {
        match draw {
            Draw::Times(times) => Lowered::Frames(times.clone()),
            _ => Lowered::Custom,
        }
    }

    /// The frames were chosen while decoding; here they are counted.
    fn apply(&self, draw: &Draw, media: Media, _tools: &mut Tools) -> Result<Media, Fault> {
        let Draw::Times(times) = draw else {
            return Err(Fault::new(
                Reason::OverLimit,
                format!("a clip of more than {MOST} frames at {:?} frames a second", self.fps),
            ));
        };
        let raster = pixels::raster(NAME, media)?;
        if raster.frames == times.len() {
            return Ok(Media::Raster(raster));
        }
        Err(Fault::new(Reason::Corrupt, format!("{NAME}: {} frames for {} times", raster.frames, times.len())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_in_the_middles_or_at_the_rate() {
        let by = |count, fps| SampleFrames { count, fps };
        assert_eq!(by(Some(4), None).times(8_000_000).unwrap(), [1_000_000, 3_000_000, 5_000_000, 7_000_000]);
        assert_eq!(by(None, Some(2.0)).times(1_500_000).unwrap(), [0, 500_000, 1_000_000]);
        assert_eq!(by(None, Some(2.0)).times(0).unwrap(), [0]);
        assert_eq!(by(None, Some(1000.0)).times(u64::MAX), None);
    }
}
