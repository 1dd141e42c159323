//! Parts of recordings as rows: by the times that a manifest names, or in chunks of one length.
//!
//! A time is a place between two samples: `round(seconds * rate)`, ties away from zero. A chunk's length and stride are
//! rounded once, so that all chunks of one rate have the same number of samples and chunks without overlap leave none out.

use std::ops::Range;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Fault, Reason, Result};

/// How recordings are cut into rows of one length.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AudioChunks {
    /// The length of a chunk in seconds. There is no default.
    pub seconds: f64,
    /// From the beginning of one chunk to that of the next, in seconds; `seconds` unless told. Less makes chunks overlap.
    pub stride: Option<f64>,
    /// What becomes of the rest behind the last whole chunk.
    pub tail: ChunkTail,
    /// A rest that is shorter, in seconds, is dropped; 0 unless told.
    pub min_seconds: f64,
}

impl Default for AudioChunks {
    fn default() -> Self {
        AudioChunks { seconds: 0.0, stride: None, tail: ChunkTail::default(), min_seconds: 0.0 }
    }
}

/// What becomes of the rest of a recording that is shorter than a chunk.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ChunkTail {
    /// It is a chunk, shorter than the others, if it has samples that no other chunk has.
    #[default]
    Keep,
    /// It is left out.
    Drop,
}

/// Which parts of recordings the rows of a column are.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Excerpts {
    /// Those that the rows of the source name.
    Rows,
    /// Chunks of one length.
    Chunks(AudioChunks),
}

/// Shorter and longer chunks are mistakes; the first would also be more rows than a recording has sense.
const SECONDS: std::ops::RangeInclusive<f64> = 0.01..=86_400.0;

/// So far beyond a recording's end an end may lie that still means the end, in seconds: manifests round, and encoders pad.
pub const TOLERANCE: f64 = 0.05;

impl AudioChunks {
    /// Refuses what cannot be.
    ///
    /// # Errors
    ///
    /// [`Error::Config`].
    pub fn validate(&self) -> Result<()> {
        let AudioChunks { seconds, stride, tail, min_seconds } = *self;
        if !SECONDS.contains(&seconds) {
            return Err(Error::config(
                format!("chunks of {seconds} seconds"),
                "a chunk has 0.01 to 86400 seconds: say how many with --chunk-seconds (source.audio_chunks.seconds)",
            ));
        }
        if let Some(stride) = stride.filter(|s| !(*SECONDS.start()..=seconds).contains(s)) {
            return Err(Error::config(
                format!("a stride of {stride} seconds for chunks of {seconds}"),
                "the stride is 0.01 or more, and no more than the length: nothing of a recording is left out",
            ));
        }
        if !(0.0..=seconds).contains(&min_seconds) {
            return Err(Error::config(
                format!("a least length of {min_seconds} seconds for chunks of {seconds}"),
                "--chunk-min-seconds is 0 or more, and no more than the length",
            ));
        }
        if tail == ChunkTail::Drop && min_seconds > 0.0 {
            return Err(Error::config(
                "a least length of the tail, and tails are dropped",
                "leave --chunk-min-seconds or --chunk-tail drop away",
            ));
        }
        Ok(())
    }

    /// The same with the stride said: who says it and who does not ask for one thing.
    #[must_use]
    pub fn settled(self) -> Self {
        AudioChunks { stride: Some(self.stride.unwrap_or(self.seconds)), ..self }
    }

    /// The chunks of so many samples a channel at a rate, in order. Chunk `k` begins at `k` strides.
    pub fn ranges(&self, rate: u32, count: u64) -> impl Iterator<Item = Range<u64>> + use<> {
        let length = place(self.seconds, rate).max(1);
        let stride = self.stride.map_or(length, |stride| place(stride, rate).clamp(1, length));
        let whole = if count < length { 0 } else { (count - length) / stride + 1 };
        let covered = if whole == 0 { 0 } else { (whole - 1) * stride + length };
        let tail = whole.saturating_mul(stride)..count;
        let least = place(self.min_seconds, rate).max(1);
        let kept = self.tail == ChunkTail::Keep && covered < count && count - tail.start >= least;
        (0..whole).map(move |k| k * stride..k * stride + length).chain(kept.then_some(tail))
    }
}

/// The sample before which a time lies.
fn place(seconds: f64, rate: u32) -> u64 {
    (seconds * f64::from(rate)).round() as u64
}

/// The samples between two times of a recording of so many samples a channel.
///
/// # Errors
///
/// [`Reason::BadRange`] for times that are no range of it. An end that lies less than [`TOLERANCE`] beyond the recording's is
/// the recording's.
pub fn between(start: f64, end: f64, rate: u32, count: u64) -> Result<Range<u64>, Fault> {
    let bad = |what: String| Fault::new(Reason::BadRange, format!("the range from {start} s to {end} s {what}"));
    if !start.is_finite() || !end.is_finite() {
        return Err(bad("is not finite".to_owned()));
    }
    if start < 0.0 {
        return Err(bad("begins before the recording".to_owned()));
    }
    if end < start {
        return Err(bad("ends before it begins".to_owned()));
    }
    let length = count as f64 / f64::from(rate.max(1));
    if end - length >= TOLERANCE {
        let way = "if the files are cut already, take them whole (--whole-files)";
        return Err(bad(format!("ends behind the recording, which has {length} s: {way}")));
    }
    let range = place(start, rate).min(count)..place(end, rate).min(count);
    if range.is_empty() { Err(bad(format!("holds no sample at {rate} Hz"))) } else { Ok(range) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cut(chunks: AudioChunks, count: u64) -> Vec<(u64, u64)> {
        chunks.validate().unwrap();
        chunks.ranges(10, count).map(|r| (r.start, r.end)).collect()
    }

    #[test]
    fn chunks_follow_one_another_and_the_tail_is_a_policy() {
        let one = AudioChunks { seconds: 1.0, ..AudioChunks::default() };
        assert_eq!(cut(one, 20), [(0, 10), (10, 20)], "no tail of nothing");
        assert_eq!(cut(one, 23), [(0, 10), (10, 20), (20, 23)]);
        assert_eq!(cut(one, 3), [(0, 3)], "a recording shorter than a chunk is a tail");
        assert_eq!(cut(one, 0), []);
        let drop = AudioChunks { tail: ChunkTail::Drop, ..one };
        assert_eq!(cut(drop, 23), [(0, 10), (10, 20)]);
        assert_eq!(cut(drop, 9), []);
        let least = AudioChunks { min_seconds: 0.4, ..one };
        assert_eq!((cut(least, 23), cut(least, 24)), (vec![(0, 10), (10, 20)], vec![(0, 10), (10, 20), (20, 24)]));
    }

    #[test]
    fn a_tail_that_overlaps_needs_samples_of_its_own() {
        let half = AudioChunks { seconds: 1.0, stride: Some(0.5), ..AudioChunks::default() };
        assert_eq!(cut(half, 20), [(0, 10), (5, 15), (10, 20)]);
        assert_eq!(cut(half, 21), [(0, 10), (5, 15), (10, 20), (15, 21)]);
        assert_eq!(cut(half, 7), [(0, 7)]);
        let odd = AudioChunks { seconds: 0.33, ..AudioChunks::default() };
        assert!(odd.ranges(44_100, 1 << 20).all(|r| r.end - r.start == 14_553 || r.end == 1 << 20));
    }

    #[test]
    fn what_cannot_be_is_refused() {
        let of = |seconds, stride, min_seconds, tail| AudioChunks { seconds, stride, tail, min_seconds }.validate();
        let keep = ChunkTail::Keep;
        for wrong in [
            of(0.0, None, 0.0, keep),
            of(-1.0, None, 0.0, keep),
            of(f64::NAN, None, 0.0, keep),
            of(1e9, None, 0.0, keep),
            of(1.0, Some(0.0), 0.0, keep),
            of(1.0, Some(1.1), 0.0, keep),
            of(1.0, None, 1.1, keep),
            of(1.0, None, -0.1, keep),
            of(1.0, None, 0.5, ChunkTail::Drop),
        ] {
            assert_eq!(wrong.unwrap_err().exit_code(), 2);
        }
        of(1.0, Some(1.0), 1.0, keep).unwrap();
    }

    #[test]
    fn times_are_places_between_samples_and_bad_ones_say_why() {
        assert_eq!(between(0.0, 1.0, 8000, 8000), Ok(0..8000));
        assert_eq!(between(0.1, 0.2, 11_025, 11_025), Ok(1103..2205), "1102.5 away from zero");
        assert_eq!(between(0.5, 1.0499, 8000, 8000), Ok(4000..8000), "rounding of manifests");
        for (start, end, word) in [
            (-0.1, 0.5, "begins before"),
            (0.5, 0.1, "ends before it begins"),
            (0.5, 0.5, "no sample"),
            (0.5, 0.50001, "no sample"),
            (1.01, 1.02, "no sample"),
            (0.5, 1.05, "has 1 s"),
            (7.0, 9.0, "has 1 s"),
            (f64::NAN, 1.0, "not finite"),
            (0.0, f64::INFINITY, "not finite"),
        ] {
            let fault = between(start, end, 8000, 8000).unwrap_err();
            assert!(fault.reason == Reason::BadRange && fault.message.contains(word), "{fault:?}");
        }
    }
}
