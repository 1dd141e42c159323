//! Clips: video in MP4 or QuickTime files (also fragmented) and in Matroska or WebM, as RGB8 frames with presentation times.
//!
//! `codec/container` reads MP4 and Matroska, `track` puts their samples in the order of presentation, `clip` decodes the wanted ones
//! through the seam in `stream`, whose members are a file each (`h264`, `h265`, `vp9`, `av1`, `mjpeg`), and `color` makes RGB of them.
//! Each member looks at every header before the decoder gets it.
//!
//! - Times are microseconds of presentation, after the edit list, as ffprobe reports them; frames come in their order.
//! - Pictures are cropped as the stream says. Frames come as they are stored, and the facts say how the container turns them
//!   ([`decode_shown`](super::decode_shown)). **The pixel aspect ratio is not applied.**
//! - What a decoder does not do (`docs/formats.md` says what it does) is refused as `unsupported` by name.
//! - A stream with a missing reference picture is refused where ffmpeg would conceal it.

#[cfg(feature = "av1")]
mod av1;
mod behind;
mod bits;
mod clip;
mod color;
#[cfg(feature = "ffmpeg")]
pub mod ffmpeg;
mod h264;
mod h265;
#[cfg(feature = "image")]
mod mjpeg;
mod nal;
mod picture;
mod seek;
#[cfg(feature = "avif")]
pub(in crate::codec) mod still;
mod stream;
mod track;
mod vp9;

use self::clip::Clip;
use self::color::{Rows, to_rgb};
use self::track::{Track, mean_rate};
use crate::codec::container::{Medium, mkv, mp4};
use crate::codec::{Check, Codec, Decoded, Limits, Parts, Pixels, Ranged, Scratch, Want, guarded, parts};
use crate::data::info::{Format, Info};
use crate::error::{Fault, Reason};

/// Video in ISO base media files: MP4, QuickTime, whole or fragmented (ISO/IEC 14496-12 and 14496-15).
pub const MP4: Container = Container { format: Format::Mp4, sniff: mp4::sniff, read: mp4::read };

/// Video in Matroska and WebM (RFC 9559).
pub const MATROSKA: Container = Container { format: Format::Matroska, sniff: mkv::sniff, read: mkv::read };

/// A container of video; the codec of [`MP4`] and [`MATROSKA`].
///
/// [`Codec::probe`] gives the cropped size of a frame in pixels, the number of frames that are presented, their mean rate (per
/// 1,000 s) and the time from the first frame's beginning to the last one's end. [`Codec::decode`] takes [`Want::Video`] (a
/// frame for each time, decoding only what these need), [`Want::Keys`], or anything else (all frames), and gives `[frames, height, width, 3]`.
#[derive(Debug, Clone, Copy)]
pub struct Container {
    format: Format,
    sniff: fn(&[u8], Medium) -> bool,
    read: clip::Read,
}

impl Container {
    fn info(&self, clip: &Clip<'_>) -> Info {
        let (count, duration_us) = (clip.track.shown.len() as u64, clip.track.duration_us());
        let rate = mean_rate(count, duration_us);
        let orientation = clip.track.orientation;
        let (width, height) = orientation.size((clip.picture.width, clip.picture.height));
        Info { width, height, channels: 3, rate, count, duration_us, orientation, ..Info::of(self.format) }
    }

    /// Decodes everything and compares what came with what was announced.
    fn all(&self, bytes: &[u8], limits: &Limits) -> Result<Info, Fault> {
        let clip = Clip::open(bytes, limits, self.read)?;
        let mut wanted = clip.track.shown.clone();
        wanted.sort_unstable();
        let mut decoded = 0;
        clip.frames(&wanted, limits, &mut |_, _| {
            decoded += 1;
            Ok(())
        })?;
        let info = self.info(&clip);
        if decoded != info.count {
            return Err(Fault::new(Reason::Corrupt, format!("{decoded} of {} frames decode", info.count)));
        }
        Ok(info)
    }

    /// Decodes what is wanted into the scratch; width and height.
    fn wanted(
        &self,
        bytes: &[u8],
        want: Want<'_>,
        limits: &Limits,
        scratch: &mut Scratch,
    ) -> Result<(u32, u32), Fault> {
        let clip = Clip::open(bytes, limits, self.read)?;
        let frames = chosen(&clip.track, want, limits)?;
        frames_of(&clip, &frames, limits, scratch)
    }

    /// The same, of what stands behind for a stream that the decoders in Rust do not support.
    fn or_behind(
        &self,
        bytes: &[u8],
        want: Want<'_>,
        limits: &Limits,
        scratch: &mut Scratch,
    ) -> Result<(u32, u32), Fault> {
        let size = self.wanted(bytes, want, limits, scratch);
        size.or_else(|fault| behind::of(self, bytes, limits, fault)?.decode(bytes, want, limits, scratch))
    }
}

/// The frames that are wanted, by their places in the order of presentation.
fn chosen(track: &Track, want: Want<'_>, limits: &Limits) -> Result<Vec<usize>, Fault> {
    Ok(match want {
        Want::Video { times_us } => {
            Limits::check("frames", times_us.len() as u64, limits.frames)?;
            times_us.iter().map(|&time| track.frame_at(time)).collect()
        }
        Want::Keys { from_us, to_us, most } => track.keys(from_us..to_us, most),
        _ => (0..track.shown.len()).collect(),
    })
}

/// Decodes frames into the scratch; width and height.
fn frames_of(clip: &Clip<'_>, frames: &[usize], limits: &Limits, scratch: &mut Scratch) -> Result<(u32, u32), Fault> {
    rgb(clip, frames, limits, &mut scratch.bytes)?;
    scratch.times.clear();
    scratch.times.extend(frames.iter().map(|&frame| clip.track.pts(frame)));
    Ok((clip.picture.width, clip.picture.height))
}

/// Decodes from a table and what is read for it.
fn from_parts(
    table: &[u8],
    source: &dyn Ranged,
    want: Want<'_>,
    limits: &Limits,
    scratch: &mut Scratch,
) -> Result<(u32, u32), Fault> {
    let clip = seek::open(table, source.bytes(), limits)?;
    let frames = chosen(&clip.track, want, limits)?;
    let mut samples: Vec<usize> = frames.iter().map(|&frame| clip.track.shown[frame]).collect();
    samples.sort_unstable();
    samples.dedup();
    let room = std::mem::take(&mut scratch.state::<Room>().0);
    let parts = Parts::read(source, clip.ranges(&samples)?, room)?;
    let size = frames_of(&clip.of_parts(&parts), &frames, limits, scratch);
    scratch.state::<Room>().0 = parts.into_room();
    size
}

/// Where parts of payloads are read, kept between calls for its memory.
#[derive(Default)]
struct Room(Vec<u8>);

/// What was decoded into the scratch.
fn pixels(scratch: &Scratch, (width, height): (u32, u32)) -> Decoded<'_> {
    Decoded::Pixels(Pixels {
        data: &scratch.bytes,
        frames: scratch.times.len(),
        width,
        height,
        origin: (0, 0),
        pts_us: &scratch.times,
    })
}

/// What the decoder of a clip keeps at the most, as VP9's does: twelve pictures of 4:2:0 in 16 bits, and what it knows of blocks.
fn most(info: &Info) -> u64 {
    u64::from(info.width).saturating_mul(u64::from(info.height)).saturating_mul(12 * 3 + 4)
}

impl Codec for Container {
    fn format(&self) -> Format {
        self.format
    }

    fn sniff(&self, bytes: &[u8]) -> bool {
        (self.sniff)(bytes, Medium::Video)
    }

    fn probe(&self, bytes: &[u8], limits: &Limits) -> Result<Info, Fault> {
        guarded(self.name(), || {
            let info = Clip::open(bytes, limits, self.read).map(|clip| self.info(&clip));
            info.or_else(|fault| behind::of(self, bytes, limits, fault)?.probe(bytes, limits))
        })
    }

    /// What the decoder of this stream keeps. A check hands over no frame.
    fn memory(&self, bytes: &[u8], info: &Info) -> u64 {
        if bytes.is_empty() {
            return most(info);
        }
        let clip = guarded(self.name(), || Clip::open(bytes, &Limits::default(), self.read).map(|clip| clip.memory()));
        // What cannot be opened is refused before it is decoded, or decoded by what stands behind.
        clip.unwrap_or_else(|_| behind::memory(bytes, info))
    }

    /// As without bytes: to open a clip once more for each sample would cost more than it tells.
    fn memory_of_part(&self, _: &[u8], info: &Info, _: &Info) -> u64 {
        most(info)
    }

    fn check(&self, bytes: &[u8], level: Check, limits: &Limits, _: &mut Scratch) -> Result<Info, Fault> {
        if level == Check::Header {
            return self.probe(bytes, limits);
        }
        guarded(self.name(), || {
            let all = self.all(bytes, limits);
            all.or_else(|fault| behind::of(self, bytes, limits, fault)?.check(bytes, limits))
        })
    }

    fn decode<'s>(
        &self,
        bytes: &'s [u8],
        want: Want<'_>,
        limits: &Limits,
        scratch: &'s mut Scratch,
    ) -> Result<Decoded<'s>, Fault> {
        let size = guarded(self.name(), || self.or_behind(bytes, want, limits, scratch))?;
        Ok(pixels(scratch, size))
    }

    fn seek_table(&self, bytes: &[u8], limits: &Limits) -> Result<Option<Vec<u8>>, Fault> {
        guarded(self.name(), || {
            let clip = Clip::open(bytes, limits, self.read)?;
            Ok(seek::table(&clip, bytes, limits))
        })
    }

    fn seeks(&self) -> bool {
        true
    }

    fn decode_parts<'s>(
        &self,
        table: &[u8],
        source: &dyn Ranged,
        want: Want<'_>,
        limits: &Limits,
        scratch: &'s mut Scratch,
    ) -> Result<Decoded<'s>, Fault> {
        let size = guarded(self.name(), || match from_parts(table, source, want, limits, scratch) {
            // A form of a later build, or a coding that this one has only behind the decoders in Rust.
            Err(fault) if fault.reason == Reason::Unsupported => {
                Limits::check("encoded bytes", source.bytes(), limits.payload_bytes)?;
                self.or_behind(&parts::all(source)?, want, limits, scratch)
            }
            outcome => outcome,
        })?;
        Ok(pixels(scratch, size))
    }
}

/// Writes frames, by their places in the order of presentation, one behind the other.
fn rgb(clip: &Clip<'_>, frames: &[usize], limits: &Limits, out: &mut Vec<u8>) -> Result<(), Fault> {
    let one = u64::from(clip.picture.width) * u64::from(clip.picture.height) * 3;
    let all = one.saturating_mul(frames.len() as u64);
    Limits::check("decoded bytes", all, limits.decoded_bytes)?;
    let [one, all] = [one, all].map(|n| usize::try_from(n).unwrap_or(usize::MAX));
    out.resize(all, 0);
    // Where each sample's picture goes, in the order of decoding.
    let mut places: Vec<(usize, usize)> =
        frames.iter().enumerate().map(|(place, &frame)| (clip.track.shown[frame], place)).collect();
    places.sort_unstable();
    let mut wanted: Vec<usize> = places.iter().map(|&(sample, _)| sample).collect();
    wanted.dedup();
    let mut rows = Rows::default();
    clip.frames(&wanted, limits, &mut |sample, planes| {
        let mut of_sample = places[places.partition_point(|&(of, _)| of < sample)..].iter();
        let mut first = None;
        while let Some((_, place)) = of_sample.next().filter(|&&(of, _)| of == sample) {
            match first {
                None => {
                    to_rgb(planes, &clip.picture, &clip.matrix, &mut rows, &mut out[place * one..][..one]);
                    first = Some(place);
                }
                Some(first) => out.copy_within(first * one..(first + 1) * one, place * one),
            }
        }
        Ok(())
    })
}

#[cfg(test)]
mod tests;
