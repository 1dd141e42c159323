//! What both containers come down to: one H.264 track as a list of samples with times.

use crate::codec::Limits;
use crate::error::{Fault, Reason};

/// A sample as the container lists it, in the order of decoding.
#[derive(Debug, Clone, Copy)]
pub(super) struct Listed {
    /// Where its access unit begins in the payload. Not checked: the payload may be cut.
    pub(super) offset: u64,
    /// Bytes of the access unit.
    pub(super) size: u64,
    /// Presentation time in ticks of the track, after the edit list.
    pub(super) ticks: i64,
    /// Time on display in ticks; 0 if the container does not say.
    pub(super) length: u64,
    /// Whether the container calls it a place to begin.
    pub(super) key: bool,
    /// Whether the edit list presents it; if not it is only decoded.
    pub(super) shown: bool,
}

/// A sample as decoding needs it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sample {
    offset: u64,
    size: u64,
    /// Presentation time in microseconds.
    pub(super) pts_us: i64,
    /// Whether the container calls it a place to begin.
    pub(super) key: bool,
}

/// The first video track of a payload.
#[derive(Debug, Clone)]
pub(super) struct Track {
    /// The `AVCDecoderConfigurationRecord`.
    pub(super) record: Vec<u8>,
    /// In the order of decoding.
    pub(super) samples: Vec<Sample>,
    /// Indices of the presented samples, in the order of presentation.
    pub(super) shown: Vec<usize>,
    /// Time on display of the last presented sample (microseconds).
    last_us: u64,
}

/// The samples that a container lists, held under the limit of frames.
#[derive(Debug)]
pub(super) struct Listing {
    pub(super) samples: Vec<Listed>,
    most: u64,
}

impl Listing {
    /// None yet.
    pub(super) fn new(limits: &Limits) -> Self {
        Listing { samples: Vec::new(), most: limits.frames }
    }

    /// Refuses `more` samples beside those that are here if they are too many.
    pub(super) fn room(&self, more: u64) -> Result<(), Fault> {
        Limits::check("frames", (self.samples.len() as u64).saturating_add(more), self.most)
    }

    /// Adds a sample.
    pub(super) fn push(&mut self, sample: Listed) -> Result<(), Fault> {
        self.room(1)?;
        self.samples.push(sample);
        Ok(())
    }
}

/// `ticks * 1,000,000 * num / den`, to the nearest, halves up.
fn microseconds(ticks: i64, (num, den): (u64, u64)) -> Result<i64, Fault> {
    let (n, d) = (i128::from(ticks) * i128::from(num) * 2_000_000, i128::from(den.max(1)));
    i64::try_from((n + d).div_euclid(2 * d))
        .ok()
        .filter(|us| us.unsigned_abs() < 1 << 62)
        .ok_or_else(|| Fault::new(Reason::Corrupt, "a frame's time is beyond all bounds"))
}

impl Track {
    /// From a container's list. A tick lasts `scale.0 / scale.1` seconds.
    pub(super) fn new(record: Vec<u8>, listing: Listing, scale: (u64, u64)) -> Result<Self, Fault> {
        let listed = listing.samples;
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
            samples.push(Sample { offset: s.offset, size: s.size, pts_us, key: s.key });
        }
        if shown.is_empty() {
            return Err(Fault::new(Reason::Corrupt, "the video track presents no frame"));
        }
        Ok(Track { record, samples, shown, last_us: last_us.unsigned_abs() })
    }

    /// The bytes of a sample, if the payload has them all.
    pub(super) fn data<'a>(&self, payload: &'a [u8], sample: usize) -> Result<&'a [u8], Fault> {
        let s = &self.samples[sample];
        let range = usize::try_from(s.offset).ok().zip(s.offset.checked_add(s.size).and_then(|e| e.try_into().ok()));
        range.and_then(|(start, end): (usize, usize)| payload.get(start..end)).ok_or_else(|| {
            Fault::new(
                Reason::Truncated,
                format!("frame {sample} lies beyond the end of the file ({} bytes)", payload.len()),
            )
        })
    }

    /// Leaves out pictures presented before `first` of an open group of pictures at the beginning of the file: they
    /// refer to pictures that are not there. ffmpeg leaves them out too.
    pub(super) fn hide_before(&mut self, first: i64) {
        self.shown.retain(|&i| self.samples[i].pts_us >= first);
    }

    /// Presentation time of a frame (microseconds) by its place in the order of presentation.
    pub(super) fn pts(&self, frame: usize) -> i64 {
        self.samples[self.shown[frame]].pts_us
    }

    /// The frame on display at a time: the last that begins at or before it, or the first.
    pub(super) fn frame_at(&self, time_us: i64) -> usize {
        self.shown.partition_point(|&i| self.samples[i].pts_us <= time_us).saturating_sub(1)
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
        let listed = |ticks| Listed { offset: 0, size: 1, ticks, length: 0, key: true, shown: true };
        let mut listing = Listing::new(&Limits::default());
        for ticks in [10, 40, 20] {
            listing.push(listed(ticks)).unwrap();
        }
        let track = Track::new(Vec::new(), listing, (1, 1_000_000)).unwrap();
        assert_eq!(track.shown, [0, 2, 1]);
        let frames: Vec<usize> = [-5, 10, 19, 20, 39, 40, 99].iter().map(|&t| track.frame_at(t)).collect();
        assert_eq!(frames, [0, 0, 0, 1, 1, 2, 2]);
        assert_eq!(track.duration_us(), 30 + 20);
    }
}
