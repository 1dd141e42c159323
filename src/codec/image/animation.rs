//! Animations as clips: GIF, WebP and APNG in a column of video, as RGB8 frames with presentation times.
//!
//! In a column of pictures the same files are their first frames. Frames are composed on the canvas as their formats say
//! (`canvas`), and come as they are then; what nothing has painted is black, and alpha is dropped as it is of pictures.
//!
//! A frame is on display for its delay; one of 10 ms or less counts as 100 ms, as all browsers have it (and ffmpeg for GIF).
//! Times begin at 0; how often it is repeated is not looked at.

mod canvas;
mod gif;
mod png;
mod webp;

use self::canvas::{Canvas, Frames};
use super::{check_size, icc, metadata};
use crate::codec::{Check, Codec, Decoded, Limits, Pixels, Scratch, Want, guarded};
use crate::data::info::{Format, Info};
use crate::error::{Fault, Reason};

/// What one call may compose, as a multiple of [`Limits::pixels`] (as of video).
const WORK: u64 = 2048;

/// Animated GIF (89a). One that holds a single frame is a clip of one frame.
pub const GIF: Animation = Animation {
    format: Format::AnimatedGif,
    sniff: gif::sniff,
    timeline: gif::timeline,
    frames: gif::frames,
    facts: |_, info| info,
};

/// Animated WebP (RFC 9649, 2.7.1).
pub const WEBP: Animation = Animation {
    format: Format::AnimatedWebp,
    sniff: webp::sniff,
    timeline: webp::timeline,
    frames: webp::frames,
    facts: |bytes, info| metadata::shown(info, metadata::webp(bytes), icc::webp(bytes)),
};

/// Animated PNG (PNG, third edition, 4.9). A default picture that is no frame of the animation is left out.
pub const PNG: Animation = Animation {
    format: Format::Apng,
    sniff: png::sniff,
    timeline: png::timeline,
    frames: png::frames,
    facts: |bytes, info| metadata::shown(info, metadata::png(bytes), None),
};

/// Begins to compose a file's frames.
type Open = for<'b> fn(&'b [u8], &Limits) -> Result<Box<dyn Frames + 'b>, Fault>;

/// A format of animations; the codec of [`GIF`], [`WEBP`] and [`PNG`].
///
/// [`Codec::decode`] takes [`Want::Video`] (a frame for each time) or anything else (all frames), and gives
/// `[frames, height, width, 3]`. Frames build on one another, so all up to the last that is wanted are composed.
#[derive(Debug, Clone, Copy)]
pub struct Animation {
    format: Format,
    sniff: fn(&[u8]) -> bool,
    timeline: fn(&[u8], &Limits) -> Result<Timeline, Fault>,
    frames: Open,
    /// Adds what the format says beside the frames.
    facts: fn(&[u8], Info) -> Info,
}

/// Size and delays, from the headers alone.
struct Timeline {
    /// Pixels across and down of the canvas.
    size: (u32, u32),
    /// When each frame begins, in microseconds; and the end of the last.
    starts: Vec<i64>,
    /// The format's frames so far are held under this number.
    most: u64,
}

impl Timeline {
    fn new(size: (u32, u32), limits: &Limits) -> Result<Self, Fault> {
        check_size(size.0, size.1, limits)?;
        Ok(Timeline { size, starts: vec![0], most: limits.frames })
    }

    /// Adds a frame that is on display for so many microseconds.
    fn push(&mut self, delay_us: u64) -> Result<(), Fault> {
        Limits::check("frames", self.starts.len() as u64, self.most)?;
        let delay = if delay_us <= 10_000 { 100_000 } else { delay_us };
        let last = self.starts.last().copied().unwrap_or(0);
        self.starts.push(last.saturating_add_unsigned(delay));
        Ok(())
    }

    fn count(&self) -> usize {
        self.starts.len() - 1
    }

    /// The frame on display at a time; before the first it is that, behind the last the last.
    fn at(&self, time_us: i64) -> usize {
        self.starts[..self.count()].partition_point(|start| *start <= time_us).saturating_sub(1)
    }
}

fn corrupt(message: impl std::fmt::Display) -> Fault {
    Fault::new(Reason::Corrupt, message)
}

impl Animation {
    fn open(self, bytes: &[u8], limits: &Limits) -> Result<(Timeline, Info), Fault> {
        Limits::check("payload bytes", bytes.len() as u64, limits.payload_bytes)?;
        if !(self.sniff)(bytes) {
            return Err(corrupt(format!("{}: no header of an animation", self.name())));
        }
        let timeline = (self.timeline)(bytes, limits)?;
        if timeline.count() == 0 {
            return Err(corrupt(format!("{}: there is no frame", self.name())));
        }
        let (count, duration_us) = (timeline.count() as u64, timeline.starts[timeline.count()].unsigned_abs());
        let rate = (u128::from(count) * 1_000_000_000 + u128::from(duration_us / 2)) / u128::from(duration_us.max(1));
        let rate = u32::try_from(rate).unwrap_or(u32::MAX);
        let (width, height) = timeline.size;
        let info = Info { width, height, channels: 3, rate, count, duration_us, ..Info::of(self.format) };
        Ok((timeline, (self.facts)(bytes, info)))
    }

    /// Composes the frames up to `last` and shows each.
    fn compose(
        self,
        bytes: &[u8],
        size: (u32, u32),
        last: usize,
        limits: &Limits,
        show: &mut dyn FnMut(usize, &Canvas),
    ) -> Result<(), Fault> {
        let pixels = u64::from(size.0) * u64::from(size.1);
        let work = pixels.saturating_mul(last as u64 + 1);
        if work > limits.pixels.saturating_mul(WORK) {
            let what = format!("more than {WORK} times the largest admitted frame to compose");
            return Err(Fault::new(Reason::OverLimit, what));
        }
        let mut frames = (self.frames)(bytes, limits)?;
        let mut canvas = Canvas::new(size);
        for n in 0..=last {
            if !frames.draw(&mut canvas)? {
                return Err(corrupt(format!("{}: frame {n} is not there", self.name())));
            }
            show(n, &canvas);
        }
        Ok(())
    }
}

impl Codec for Animation {
    fn format(&self) -> Format {
        self.format
    }

    fn sniff(&self, bytes: &[u8]) -> bool {
        (self.sniff)(bytes)
    }

    fn probe(&self, bytes: &[u8], limits: &Limits) -> Result<Info, Fault> {
        guarded(self.name(), || self.open(bytes, limits).map(|(_, info)| info))
    }

    fn check(&self, bytes: &[u8], level: Check, limits: &Limits, _: &mut Scratch) -> Result<Info, Fault> {
        guarded(self.name(), || {
            let (timeline, info) = self.open(bytes, limits)?;
            if level != Check::Header {
                self.compose(bytes, timeline.size, timeline.count() - 1, limits, &mut |_, _| {})?;
            }
            Ok(info)
        })
    }

    fn decode<'s>(
        &self,
        bytes: &'s [u8],
        want: Want<'_>,
        limits: &Limits,
        scratch: &'s mut Scratch,
    ) -> Result<Decoded<'s>, Fault> {
        let (width, height) = guarded(self.name(), || {
            let (timeline, _) = self.open(bytes, limits)?;
            let frames: Vec<usize> = match want {
                Want::Video { times_us } => {
                    Limits::check("frames", times_us.len() as u64, limits.frames)?;
                    times_us.iter().map(|&time| timeline.at(time)).collect()
                }
                // Only the first frame builds on no other.
                Want::Keys { .. } => vec![0],
                _ => (0..timeline.count()).collect(),
            };
            let one = u64::from(timeline.size.0) * u64::from(timeline.size.1) * 3;
            let all = one.saturating_mul(frames.len() as u64);
            Limits::check("decoded bytes", all, limits.decoded_bytes)?;
            let [one, all] = [one, all].map(|n| usize::try_from(n).unwrap_or(usize::MAX));
            scratch.bytes.resize(all, 0);
            if let Some(&last) = frames.iter().max() {
                let out = &mut scratch.bytes;
                self.compose(bytes, timeline.size, last, limits, &mut |n, canvas| {
                    let mut places =
                        frames.iter().enumerate().filter(|(_, frame)| **frame == n).map(|(place, _)| place);
                    if let Some(first) = places.next() {
                        canvas.show(&mut out[first * one..][..one]);
                        places.for_each(|place| out.copy_within(first * one..(first + 1) * one, place * one));
                    }
                })?;
            }
            scratch.times.clear();
            scratch.times.extend(frames.iter().map(|&frame| timeline.starts[frame]));
            Ok(timeline.size)
        })?;
        Ok(Decoded::Pixels(Pixels {
            data: &scratch.bytes,
            frames: scratch.times.len(),
            width,
            height,
            origin: (0, 0),
            pts_us: &scratch.times,
        }))
    }
}

#[cfg(test)]
mod tests;
