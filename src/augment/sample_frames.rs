//! `sample_frames`: which frames of a clip, by time or by key; only those are decoded to pixels.
//!
//! What is drawn follows from a row's facts and key alone, and facts do not say where key frames are. So their choice is handed
//! to the codec as a range and a number ([`Frames::Keys`]), and the length of such a column is known only after decoding.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::pixels;
use super::{Draw, Frames, Lowered, Media, Op, OpEntry, Spec, Tools};
use crate::data::info::{Fact, Info};
use crate::data::tensor::Extent;
use crate::error::{Error, Fault, Reason, Result};
use crate::rng::Key;

/// Chooses frames of a clip, or of a range of it. It stands first in a video column. One of `count`, `fps`, `keyframes` and
/// `times` is given; `count` goes with `keyframes`, too.
///
/// The range begins at `start` and lasts `seconds`, but not beyond the clip's end. `start = "random"` draws its beginning for each
/// sample: training clips of one length.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SampleFrames {
    /// How many frames, in the middles of equal parts of the range: times `start + length * (i + 1/2) / count`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub count: Option<u32>,
    /// Frames a second: times `start + i / fps`. Without `seconds` to the clip's end, at least one; with `seconds` always
    /// `ceil(seconds * fps)` of them, the last frame again where the clip ends before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fps: Option<f64>,
    /// The container's key frames within the range, or the one before it if there are none; `count`: at most that many, evenly.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub keyframes: bool,
    /// The frames on display at these times (seconds, ascending).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub times: Option<Vec<f64>>,
    /// Where the range begins: seconds (0 if absent), "random" or "spread".
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start: Option<Start>,
    /// How long the range is; absent: to the clip's end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seconds: Option<f64>,
}

/// Where a range begins.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(untagged, expecting = "start is a number of seconds, \"random\" or \"spread\"")]
pub enum Start {
    /// At a time in seconds.
    At(f64),
    /// Where chance has it.
    Drawn(Drawn),
}

/// The words for chance, and for taking turns.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Drawn {
    /// Uniform over all beginnings (in microseconds) from which the range ends within the clip; 0 in a shorter clip.
    Random,
    /// Of the `n` views of a clip each has another range, from the first to the last at equal distances; the only one has the middle.
    Spread,
}

const NAME: &str = "sample_frames";

/// More frames of one clip than these are refused.
const MOST: u64 = 100_000;

/// The longest time that can be asked for, in seconds: a year.
const LATEST: f64 = 366.0 * 86_400.0;

/// The table's row.
pub const ENTRY: OpEntry = OpEntry {
    name: NAME,
    version: 1,
    summary: "frames of a clip: count = n evenly, fps = r, keyframes = true, or times = [..]; of start = t | \"random\" | \"spread\", seconds = s",
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
            let help = format!(
                "give one of count = 1 to {MOST}, fps = frames a second (above 0, at most 1000), keyframes = true (with or without \
                 count), times = [seconds, ascending]; and, but for times, start = seconds, \"random\" or \"spread\" and seconds = the length"
            );
            Err(Error::config(format!("operation \"{NAME}\": {what}"), help))
        };
        let time = |t: f64| (0.0..=LATEST).contains(&t);
        let given = [self.count.is_some() && !self.keyframes, self.fps.is_some(), self.keyframes, self.times.is_some()];
        match given.iter().filter(|given| **given).count() {
            0 => return wrong("neither count, fps, keyframes nor times is given".into()),
            1 => {}
            _ => return wrong("more than one of count, fps, keyframes and times is given".into()),
        }
        if let Some(count) = self.count.filter(|&count| !(1..=MOST).contains(&u64::from(count))) {
            return wrong(format!("count = {count} is out of range"));
        }
        if let Some(fps) = self.fps.filter(|&fps| !(fps > 0.0 && fps <= 1000.0)) {
            return wrong(format!("fps = {fps} is out of range"));
        }
        if let Some(times) = &self.times {
            if times.is_empty() || times.len() as u64 > MOST || !times.is_sorted() || !times.iter().all(|&t| time(t)) {
                return wrong("times are not 1 or more ascending seconds of a year at most".into());
            }
            if self.start.is_some() || self.seconds.is_some() {
                return wrong("times are given, and a range of which they would be taken".into());
            }
        }
        if let Some(seconds) = self.seconds.filter(|&s| s == 0.0 || !time(s)) {
            return wrong(format!("seconds = {seconds} is out of range"));
        }
        match self.start {
            Some(Start::At(start)) if !time(start) => return wrong(format!("start = {start} is out of range")),
            Some(Start::Drawn(drawn)) if self.seconds.is_none() => {
                let word = if drawn == Drawn::Random { "random" } else { "spread" };
                return wrong(format!("start = \"{word}\" needs seconds, the length"));
            }
            _ => {}
        }
        match self.fixed() {
            Some(count) if count > MOST => wrong(format!("{count} frames a clip are more than {MOST}")),
            _ => Ok(()),
        }
    }

    /// The number of frames, where it is the same for every clip.
    fn fixed(&self) -> Option<u64> {
        match (self, self.seconds) {
            (SampleFrames { keyframes: true, .. }, _) => None,
            (SampleFrames { count: Some(count), .. }, _) => Some(u64::from(*count)),
            (SampleFrames { times: Some(times), .. }, _) => Some(times.len() as u64),
            // A product that is a whole number but for its rounding is that number.
            (SampleFrames { fps: Some(fps), .. }, Some(seconds)) => Some(((seconds * fps - 1e-6).ceil() as u64).max(1)),
            _ => None,
        }
    }

    /// The range, in microseconds of presentation, for a clip of a length.
    fn range(&self, duration: i64, key: Key) -> (i64, i64) {
        let length = self.seconds.map_or(i64::MAX, microseconds);
        let start = match self.start {
            None => 0,
            Some(Start::At(start)) => microseconds(start).min(duration),
            Some(Start::Drawn(drawn)) => {
                let room = u64::try_from(duration.saturating_sub(length)).unwrap_or(0);
                match drawn {
                    Drawn::Random => key.stream().below(room + 1) as i64,
                    Drawn::Spread => key.spread(room) as i64,
                }
            }
        };
        (start, start.saturating_add(length).min(duration))
    }

    /// Microseconds of presentation; `None` if they are too many.
    fn times(&self, duration_us: u64, key: Key) -> Option<Vec<i64>> {
        let duration = i64::try_from(duration_us).unwrap_or(i64::MAX);
        if let Some(times) = &self.times {
            return Some(times.iter().map(|&t| microseconds(t)).collect());
        }
        let (start, end) = self.range(duration, key);
        let length = end - start;
        if let Some(count) = self.count {
            let part = |i: u64| (length as u128 * u128::from(2 * i + 1) / u128::from(2 * u64::from(count))) as i64;
            return Some((0..u64::from(count)).map(|i| start + part(i)).collect());
        }
        let fps = self.fps.unwrap_or(1.0);
        let time = |i: u64| (i as f64 * 1e6 / fps) as i64;
        if let Some(count) = self.fixed() {
            return Some((0..count).map(|i| start.saturating_add(time(i))).collect());
        }
        if time(MOST) < length {
            return None;
        }
        Some((0..MOST).map(time).take_while(|t| *t == 0 || *t < length).map(|t| start + t).collect())
    }

    /// The most key frames that are chosen.
    fn most(&self) -> u64 {
        self.count.map_or(MOST, u64::from)
    }
}

/// Seconds as microseconds, to the nearest.
fn microseconds(seconds: f64) -> i64 {
    (seconds * 1e6).round() as i64
}

impl Op for SampleFrames {
    fn spec(&self, input: &Spec) -> Result<Spec, Fault> {
        let Spec::Raster { frames: Some(_), height, width, channels, dtype, layout } = *input else {
            return Err(super::refused(NAME, "clips", input.name()));
        };
        let frames = match self.fixed() {
            _ if self.keyframes => Extent::Late,
            Some(count) => Extent::Fixed(count as usize),
            None => Extent::Bounded(Fact::Count),
        };
        Ok(Spec::Raster { frames: Some(frames), height, width, channels, dtype, layout })
    }

    fn is_random(&self) -> bool {
        self.start == Some(Start::Drawn(Drawn::Random))
    }

    fn draw(&self, info: &Info, key: Key) -> Draw {
        if self.keyframes {
            let (start, end) = self.range(i64::try_from(info.duration_us).unwrap_or(i64::MAX), key);
            return Draw::Numbers(smallvec::smallvec![start as f64, end as f64]);
        }
        self.times(info.duration_us, key).map_or(Draw::None, Draw::Times)
    }

    /// Of key frames the count is the most that there may be.
    fn facts(&self, info: &Info, draw: &Draw) -> Info {
        let count = match draw {
            Draw::Times(times) => times.len() as u64,
            Draw::Numbers(_) => info.count.min(self.most()),
            _ => 0,
        };
        Info { count, ..*info }
    }

    fn lower(&self, draw: &Draw) -> Lowered {
        match draw {
            Draw::Times(times) => Lowered::Frames(Frames::At(times.clone())),
            Draw::Numbers(range) if range.len() == 2 => {
                Lowered::Frames(Frames::Keys { from_us: range[0] as i64, to_us: range[1] as i64, most: self.most() })
            }
            _ => Lowered::Custom,
        }
    }

    /// The frames were chosen while decoding; here they are counted.
    fn apply(&self, draw: &Draw, media: Media, _tools: &mut Tools) -> Result<Media, Fault> {
        let expected = match draw {
            Draw::Times(times) => times.len()..=times.len(),
            Draw::Numbers(_) => 1..=usize::try_from(self.most()).unwrap_or(usize::MAX),
            _ => {
                return Err(Fault::new(
                    Reason::OverLimit,
                    format!("a clip of more than {MOST} frames at {:?} frames a second", self.fps),
                ));
            }
        };
        let raster = pixels::raster(NAME, media)?;
        if expected.contains(&raster.frames) {
            return Ok(Media::Raster(raster));
        }
        Err(Fault::new(Reason::Corrupt, format!("{NAME}: {} frames where {expected:?} were chosen", raster.frames)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn op(json: &str) -> SampleFrames {
        let op: SampleFrames = serde_json::from_str(json).unwrap();
        op.validate().unwrap();
        op
    }

    fn times(json: &str, duration_us: u64) -> Vec<i64> {
        op(json).times(duration_us, Key::new(1)).unwrap()
    }

    #[test]
    fn times_are_in_the_middles_or_at_the_rate() {
        assert_eq!(times(r#"{"count": 4}"#, 8_000_000), [1_000_000, 3_000_000, 5_000_000, 7_000_000]);
        assert_eq!(times(r#"{"fps": 2}"#, 1_500_000), [0, 500_000, 1_000_000]);
        assert_eq!(times(r#"{"fps": 2}"#, 0), [0]);
        assert_eq!(op(r#"{"fps": 1000}"#).times(u64::MAX, Key::new(1)), None);
        assert_eq!(times(r#"{"times": [0, 0.5, 0.5, 99]}"#, 1), [0, 500_000, 500_000, 99_000_000]);
    }

    #[test]
    fn ranges_are_cut_at_the_end() {
        assert_eq!(times(r#"{"count": 2, "start": 1, "seconds": 2}"#, 8_000_000), [1_500_000, 2_500_000]);
        assert_eq!(times(r#"{"count": 2, "start": 7, "seconds": 2}"#, 8_000_000), [7_250_000, 7_750_000]);
        assert_eq!(times(r#"{"count": 1, "start": 9}"#, 8_000_000), [8_000_000]);
        assert_eq!(times(r#"{"fps": 4, "start": 0.5}"#, 1_000_000), [500_000, 750_000]);
        // Always three, also where the clip is shorter; 0.7 * 10 is 7 and not 8.
        assert_eq!(times(r#"{"fps": 2, "seconds": 1.5}"#, 600_000), [0, 500_000, 1_000_000]);
        assert_eq!(op(r#"{"fps": 10, "seconds": 0.7}"#).fixed(), Some(7));
    }

    /// A random range lies within the clip, and everywhere in it; the same key draws the same.
    #[test]
    fn ranges_are_drawn_by_the_key() {
        let op = op(r#"{"count": 1, "start": "random", "seconds": 2}"#);
        let at = |key| op.times(10_000_000, Key::new(key)).unwrap()[0];
        let all: Vec<i64> = (0..500).map(at).collect();
        assert!(all.iter().all(|t| (1_000_000..=9_000_000).contains(t)));
        assert!(all.iter().any(|t| *t < 1_500_000) && all.iter().any(|t| *t > 8_500_000));
        assert_eq!(at(7), at(7));
        assert_eq!(op.times(1_000_000, Key::new(3)).unwrap(), [500_000], "a shorter clip is taken whole");
    }

    #[test]
    fn key_frames_are_the_codecs_to_find() {
        let op = op(r#"{"keyframes": true, "count": 3, "start": 1, "seconds": 2}"#);
        let info = Info { count: 90, duration_us: 9_000_000, ..Info::of(crate::data::info::Format::Mp4) };
        let draw = op.draw(&info, Key::new(1));
        let keys = Frames::Keys { from_us: 1_000_000, to_us: 3_000_000, most: 3 };
        assert_eq!(op.lower(&draw), Lowered::Frames(keys));
        assert_eq!(op.facts(&info, &draw).count, 3);
    }

    #[test]
    fn what_contradicts_itself_is_refused() {
        for bad in [
            r#"{"keyframes": true, "fps": 1}"#,
            r#"{"keyframes": false}"#,
            r#"{"count": 0}"#,
            r#"{"times": []}"#,
            r#"{"times": [1, 0]}"#,
            r#"{"times": [-1]}"#,
            r#"{"times": [1], "seconds": 1}"#,
            r#"{"count": 1, "start": "random"}"#,
            r#"{"count": 1, "start": -1}"#,
            r#"{"count": 1, "seconds": 0}"#,
            r#"{"fps": 1000, "seconds": 1000}"#,
        ] {
            let op: SampleFrames = serde_json::from_str(bad).unwrap();
            assert!(op.validate().is_err(), "{bad}");
        }
        let unknown = serde_json::from_str::<SampleFrames>(r#"{"count": 1, "start": "anywhere"}"#).unwrap_err();
        assert!(unknown.to_string().contains("\"random\" or \"spread\""), "{unknown}");
    }
}
