//! One video track as a list of samples with times, in the order of presentation.
//!
//! Edit lists are followed as ffmpeg does: one edit, with any empty ones in front. Frames outside it are decoded but not
//! presented; the first presented frame is at the sum of the empty edits. In fragmented files an edit only moves the times;
//! where such a file has negative composition offsets and no edit, ffmpeg 5.1 adds the largest of them, and this does not.

use super::stream::Entry;
use crate::codec::container::{self, Edit, Listed};
use crate::data::orientation::Orientation;
use crate::error::{Fault, Reason};

/// A sample as decoding needs it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Sample {
    /// Where its data lies in the payload, and how long it is. Not checked: the payload may be cut.
    pub(super) offset: u64,
    pub(super) size: u64,
    /// Presentation time in microseconds.
    pub(super) pts_us: i64,
    /// Whether the container calls it a place to begin.
    pub(super) key: bool,
    /// How decoding may begin here; `None`: its headers say so and were not asked.
    pub(super) entry: Option<Entry>,
}

impl Sample {
    /// Where its data lies.
    pub(super) fn range(&self) -> std::ops::Range<u64> {
        self.offset..self.offset.saturating_add(self.size)
    }
}

/// The first video track of a payload.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Track {
    /// In the order of decoding.
    pub(super) samples: Vec<Sample>,
    /// Indices of the presented samples, in the order of presentation.
    pub(super) shown: Vec<usize>,
    /// How the container turns the frames.
    pub(super) orientation: Orientation,
    /// Time on display of the last presented sample (microseconds).
    pub(super) last_us: u64,
}

/// `ticks * 1,000,000 * num / den`, to the nearest, halves up.
pub(super) fn microseconds(ticks: i64, (num, den): (u64, u64)) -> Result<i64, Fault> {
    let (n, d) = (i128::from(ticks) * i128::from(num) * 2_000_000, i128::from(den.max(1)));
    i64::try_from((n + d).div_euclid(2 * d))
        .ok()
        .filter(|us| us.unsigned_abs() < 1 << 62)
        .ok_or_else(|| Fault::new(Reason::Corrupt, "a frame's time is beyond all bounds"))
}

/// Chooses keys as [`Track::keys`] does, of `frames` frames of which `facts` says whether they are keys, and their times.
pub(super) fn keys(
    frames: usize,
    facts: &dyn Fn(usize) -> (bool, i64),
    range: std::ops::Range<i64>,
    most: u64,
) -> Vec<usize> {
    let is_key = |frame: &usize| facts(*frame).0;
    let keys: Vec<usize> = (0..frames).filter(|frame| is_key(frame) && range.contains(&facts(*frame).1)).collect();
    if keys.is_empty() {
        let before = (0..frames).rev().find(|frame| is_key(frame) && facts(*frame).1 <= range.start);
        return vec![before.unwrap_or(0)];
    }
    let (all, most) = (keys.len(), usize::try_from(most).unwrap_or(usize::MAX).max(1));
    if all <= most {
        return keys;
    }
    (0..most).map(|i| keys[(2 * i + 1) * all / (2 * most)]).collect()
}

/// Mean frames per 1,000 seconds.
pub(super) fn mean_rate(frames: u64, duration_us: u64) -> u32 {
    let rate = (u128::from(frames) * 1_000_000_000 + u128::from(duration_us / 2)) / u128::from(duration_us.max(1));
    u32::try_from(rate).unwrap_or(u32::MAX)
}

/// Hides what is outside an edit and moves the rest.
fn apply(edit: Edit, samples: &mut [Listed], fragmented: bool) {
    let inside = |s: &Listed| fragmented || (edit.start..edit.end).contains(&s.ticks);
    let first = if fragmented { Some(edit.start) } else { samples.iter().filter(|s| inside(s)).map(|s| s.ticks).min() };
    let Some(first) = first else { return samples.iter_mut().for_each(|s| s.shown = false) };
    for sample in samples {
        sample.shown = inside(sample);
        sample.ticks = sample.ticks.saturating_sub(first).saturating_add(edit.empty);
    }
}

impl Track {
    /// From a container's list.
    pub(super) fn new(track: container::Track) -> Result<Self, Fault> {
        let container::Track { listing, scale, edit, fragmented, orientation, .. } = track;
        let mut listed = listing.samples;
        if let Some(edit) = edit {
            apply(edit, &mut listed, fragmented);
        }
        let mut shown: Vec<usize> = (0..listed.len()).filter(|&i| listed[i].shown).collect();
        shown.sort_by_key(|&i| listed[i].ticks); // stable: equal times stay in the order of decoding
        let last_us = match shown[..] {
            [.., last] if listed[last].length > 0 => {
                microseconds(i64::try_from(listed[last].length).unwrap_or(i64::MAX), scale)?
            }
            [.., before, last] => microseconds(listed[last].ticks.saturating_sub(listed[before].ticks), scale)?,
            _ => 0,
        };
        let mut samples = Vec::with_capacity(listed.len());
        for s in listed {
            let pts_us = microseconds(s.ticks, scale)?;
            samples.push(Sample { offset: s.offset, size: s.size, pts_us, key: s.key, entry: None });
        }
        let track = Track { samples, shown, orientation, last_us: last_us.unsigned_abs() };
        track.not_empty()?;
        Ok(track)
    }

    /// From samples with their times: those that `hidden` does not name, in ascending order, are presented in the order of times.
    pub(super) fn of_samples(
        samples: Vec<Sample>,
        hidden: &[usize],
        orientation: Orientation,
        last_us: u64,
    ) -> Result<Self, Fault> {
        let mut shown: Vec<usize> = (0..samples.len()).filter(|at| hidden.binary_search(at).is_err()).collect();
        shown.sort_by_key(|&at| samples[at].pts_us); // stable: equal times stay in the order of decoding
        let track = Track { samples, shown, orientation, last_us };
        track.not_empty()?;
        Ok(track)
    }

    fn not_empty(&self) -> Result<(), Fault> {
        if self.shown.is_empty() {
            return Err(Fault::new(Reason::Corrupt, "the video track presents no frame"));
        }
        Ok(())
    }

    /// The bytes of a sample, if the payload has them all.
    pub(super) fn data<'a>(&self, payload: &'a [u8], sample: usize) -> Result<&'a [u8], Fault> {
        let Sample { offset, size, .. } = self.samples[sample];
        container::data(payload, (offset, size), format_args!("frame {sample}"))
    }

    /// Leaves out samples, given in the order of decoding.
    pub(super) fn hide(&mut self, hidden: &[usize]) -> Result<(), Fault> {
        if !hidden.is_empty() {
            self.shown.retain(|at| hidden.binary_search(at).is_err());
        }
        self.not_empty()
    }

    /// Presentation time of a frame (microseconds) by its place in the order of presentation.
    pub(super) fn pts(&self, frame: usize) -> i64 {
        self.samples[self.shown[frame]].pts_us
    }

    /// The frame on display at a time: the last that begins at or before it, or the first.
    pub(super) fn frame_at(&self, time_us: i64) -> usize {
        self.shown.partition_point(|&i| self.samples[i].pts_us <= time_us).saturating_sub(1)
    }

    /// The frames of a range of time that the container calls keys, at most `most` of them, evenly; the last one before it if
    /// there are none, or the first frame.
    pub(super) fn keys(&self, range: std::ops::Range<i64>, most: u64) -> Vec<usize> {
        keys(self.shown.len(), &|frame| (self.samples[self.shown[frame]].key, self.pts(frame)), range, most)
    }

    /// From the first frame's beginning to the last one's end, in microseconds.
    pub(super) fn duration_us(&self) -> u64 {
        let frames = self.shown.len();
        if frames == 0 {
            return 0;
        }
        self.pts(frames - 1).abs_diff(self.pts(0)).saturating_add(self.last_us)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::Limits;
    use crate::codec::container::{Coding, Colour, Listing, Medium};

    fn listed(ticks: i64, length: u64) -> Listed {
        Listed { offset: 0, size: 1, ticks, length, key: true, shown: true, discard_ns: 0 }
    }

    #[test]
    fn edits_hide_and_move() {
        let sample = |ticks| listed(ticks, 10);
        let mut samples = [0, 30, 10, 20, 40].map(sample);
        apply(Edit { empty: 5, start: 8, end: 40, tolerance: 0 }, &mut samples, false);
        assert_eq!(samples.map(|s| s.shown), [false, true, true, true, false]);
        assert_eq!(samples.map(|s| s.ticks), [-5, 25, 5, 15, 35]);
        let mut samples = [10, 20].map(sample);
        apply(Edit { empty: 0, start: 10, end: 15, tolerance: 0 }, &mut samples, true);
        assert_eq!(samples.map(|s| (s.ticks, s.shown)), [(0, true), (10, true)]);
    }

    #[test]
    fn times_round_to_the_nearest() {
        assert_eq!(microseconds(1024, (1, 12_288)).unwrap(), 83_333);
        assert_eq!(microseconds(2048, (1, 12_288)).unwrap(), 166_667);
        assert_eq!(microseconds(-1024, (1, 12_288)).unwrap(), -83_333);
        assert_eq!(microseconds(1, (1, 2_000_000)).unwrap(), 1, "halves up");
        assert_eq!(microseconds(-1, (1, 2_000_000)).unwrap(), 0, "halves up");
        assert!(microseconds(i64::MAX, (1, 1)).is_err());
    }

    #[test]
    fn the_frame_on_display() {
        let mut listing = Listing::new(Medium::Video, 3, &Limits::default());
        for ticks in [10, 40, 20] {
            listing.push(listed(ticks, 0)).unwrap();
        }
        let track = Track::new(container::Track {
            coding: Coding::H264,
            record: Vec::new(),
            listing,
            scale: (1, 1_000_000),
            edit: None,
            exact: true,
            fragmented: false,
            channels: 0,
            rate: 0,
            bits: 0,
            delay_ns: 0,
            colour: Colour::default(),
            orientation: Orientation::STORED,
        });
        let track = track.unwrap();
        assert_eq!(track.shown, [0, 2, 1]);
        let frames: Vec<usize> = [-5, 10, 19, 20, 39, 40, 99].iter().map(|&t| track.frame_at(t)).collect();
        assert_eq!(frames, [0, 0, 0, 1, 1, 2, 2]);
        assert_eq!(track.duration_us(), 30 + 20);
    }

    #[test]
    fn key_frames_of_a_range() {
        let mut listing = Listing::new(Medium::Video, 9, &Limits::default());
        for frame in 0..9 {
            listing.push(Listed { key: frame % 2 == 0, ..listed(frame * 10, 10) }).unwrap();
        }
        let track = Track::new(container::Track {
            coding: Coding::Mjpeg,
            record: Vec::new(),
            listing,
            scale: (1, 1_000_000),
            edit: None,
            exact: true,
            fragmented: false,
            channels: 0,
            rate: 0,
            bits: 0,
            delay_ns: 0,
            colour: Colour::default(),
            orientation: Orientation::STORED,
        });
        let keys = |range, most| track.as_ref().unwrap().keys(range, most);
        assert_eq!(keys(0..90, 99), [0, 2, 4, 6, 8]);
        assert_eq!(keys(0..90, 2), [2, 6]);
        assert_eq!(keys(0..90, 1), [4]);
        assert_eq!(keys(20..40, 9), [2]);
        assert_eq!(keys(51..60, 9), [4], "the one before");
        assert_eq!(keys(-9..-5, 9), [0]);
    }
}
