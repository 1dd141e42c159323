//! All that the system's FFmpeg decodes: containers that are read by nothing else here, and codings inside MP4 and Matroska that the
//! decoders in Rust do not support. Feature `ffmpeg`.
//!
//! `input` demuxes, `decoder` decodes, `frame` and `scaler` hold pixels: they own FFmpeg's structures and are the only places that
//! call it (beside `log`, which keeps it silent). `packets` lists what is in a container; `clip` decodes the wanted frames;
//! `convert` makes RGB of them.
//!
//! - A payload is read from memory by the one demuxer that its content names. Nothing else is opened: no file, no address, no
//!   other demuxer, and no decoder before its limits are set.
//! - Times are microseconds of presentation as ffprobe reports them; in the containers that only FFmpeg reads they count from the first
//!   frame, for their clocks begin anywhere. Edit lists are applied. Frames come as they are stored: **rotation and
//!   pixel aspect ratio are not applied.**
//! - One thread and `bitexact`: the same bytes on every machine with the same FFmpeg.
//! - What is damaged is refused (`err_detect explode`), where `ffmpeg` by itself would conceal it.
//! - Fields of interlaced pictures come as they lie in the frame, row by row.

mod clip;
mod convert;
mod decoder;
mod frame;
mod input;
mod log;
mod packets;
mod raw;
mod scaler;

use std::collections::HashMap;
use std::ffi::CStr;

use self::clip::Clip;
use self::convert::Converter;
use self::frame::Frame;
use super::behind;
use super::track::{keys, mean_rate, microseconds};
use crate::codec::foreign;
use crate::codec::{Check, Codec, Decoded, Limits, Pixels, Scratch, Want, guarded};
use crate::data::info::{Format, Info};
use crate::data::orientation::Orientation;
use crate::error::{Fault, Reason};

/// AVI, also with OpenDML's extensions.
pub const AVI: Muxed = Muxed::alone(Format::Avi, c"avi");
/// MPEG transport streams (ISO/IEC 13818-1), also of 192 and 204 bytes a packet.
pub const MPEGTS: Muxed = Muxed::alone(Format::MpegTs, c"mpegts");
/// MPEG program streams and MPEG-1 system streams (ISO/IEC 13818-1 and 11172-1).
pub const MPEGPS: Muxed = Muxed::alone(Format::MpegPs, c"mpeg");
/// Flash video.
pub const FLV: Muxed = Muxed::alone(Format::Flv, c"flv");
/// Advanced Systems Format: WMV.
pub const ASF: Muxed = Muxed::alone(Format::Asf, c"asf");
/// Ogg (RFC 3533) with pictures.
pub const OGV: Muxed = Muxed::alone(Format::Ogv, c"ogg");
/// Material Exchange Format (SMPTE ST 377-1).
pub const MXF: Muxed = Muxed::alone(Format::Mxf, c"mxf");
/// What the decoders in Rust refuse in [`super::MP4`].
pub(super) const MP4: Muxed = Muxed { from_first: false, ..Muxed::alone(Format::Mp4, c"mov") };
/// What the decoders in Rust refuse in [`super::MATROSKA`].
pub(super) const MATROSKA: Muxed = Muxed { from_first: false, ..Muxed::alone(Format::Matroska, c"matroska") };

/// A container that FFmpeg reads.
///
/// [`Codec::probe`] lists the packets and decodes the first frame: size in pixels as presented, frames, mean rate (per 1,000 s) and the time from
/// the first frame's beginning to the last one's end. Where packets do not tell which frames there are (times are missing, the file
/// begins within a group of pictures) it decodes all of them. [`Codec::decode`] takes [`Want::Video`] and [`Want::Keys`],
/// decoding only what the wanted frames need, or anything else (all frames), and gives `[frames, height, width, 3]`.
#[derive(Debug, Clone, Copy)]
pub struct Muxed {
    format: Format,
    demuxer: &'static CStr,
    /// Whether times count from the first frame.
    from_first: bool,
    /// How the container turns what is stored, as it was read without FFmpeg.
    orientation: Orientation,
}

/// The version of the FFmpeg that this process runs with, as its builder calls it.
pub fn version() -> String {
    raw::version()
}

/// Frames of one size, one behind the other.
struct Out<'o> {
    bytes: &'o mut Vec<u8>,
    size: Option<(u32, u32)>,
    count: usize,
    converter: Converter,
    /// Whether the coding has a place for the range of its samples.
    standard: bool,
    limits: Limits,
}

impl Out<'_> {
    /// Bytes of a frame.
    fn one(&self) -> usize {
        self.size.map_or(0, |(width, height)| width as usize * height as usize * 3)
    }

    /// Writes a frame at a place.
    fn put(&mut self, place: usize, frame: &Frame) -> Result<(), Fault> {
        let facts = frame.facts();
        let size = (facts.width, facts.height);
        match self.size {
            None => {
                let one = (u64::from(size.0) * u64::from(size.1)).saturating_mul(3);
                let all = one.saturating_mul(self.count as u64);
                Limits::check("decoded bytes", all, self.limits.decoded_bytes)?;
                self.size = Some(size);
                self.bytes.resize(usize::try_from(all).unwrap_or(usize::MAX), 0);
            }
            Some(first) if first == size => {}
            Some((width, height)) => {
                let message = format!("video whose pictures change from {width} x {height} to {} x {}", size.0, size.1);
                return Err(Fault::new(Reason::Unsupported, message));
            }
        }
        let one = self.one();
        self.converter.convert(frame, self.standard, &mut self.bytes[place * one..][..one])
    }
}

impl Muxed {
    const fn alone(format: Format, demuxer: &'static CStr) -> Self {
        Muxed { format, demuxer, from_first: true, orientation: Orientation::STORED }
    }

    /// The same for a file whose pictures are turned to be shown.
    pub(super) fn turned(self, orientation: Orientation) -> Self {
        Muxed { orientation, ..self }
    }

    fn open(&self, bytes: &[u8], limits: &Limits) -> Result<Clip, Fault> {
        Clip::open(bytes, self.demuxer, limits)
    }

    fn info(&self, clip: &Clip, limits: &Limits) -> Result<Info, Fault> {
        let orientation = self.orientation;
        let (width, height) = orientation.size(clip.size(limits)?);
        let (count, duration_us) = (clip.packets.shown.len() as u64, clip.packets.duration_us()?);
        let rate = mean_rate(count, duration_us);
        Ok(Info { width, height, channels: 3, rate, count, duration_us, orientation, ..Info::of(self.format) })
    }

    /// The presented frames' times in microseconds.
    fn times(&self, clip: &Clip) -> Result<Vec<i64>, Fault> {
        let packets = &clip.packets;
        let pts = |at: &usize| packets.samples[*at].pts;
        let zero = if self.from_first { packets.shown.first().map_or(0, pts) } else { 0 };
        packets.shown.iter().map(|at| microseconds(pts(at).saturating_sub(zero), packets.stream.scale)).collect()
    }

    /// [`Codec::probe`], to be called where a panic is caught.
    pub(super) fn probe(&self, bytes: &[u8], limits: &Limits) -> Result<Info, Fault> {
        self.info(&self.open(bytes, limits)?, limits)
    }

    /// [`Codec::check`] of everything, the same.
    pub(super) fn check(&self, bytes: &[u8], limits: &Limits) -> Result<Info, Fault> {
        let clip = self.open(bytes, limits)?;
        let info = self.info(&clip, limits)?;
        clip.everything(limits, &mut |_, frame| {
            let facts = frame.facts();
            if self.orientation.size((facts.width, facts.height)) == (info.width, info.height) {
                return Ok(());
            }
            Err(Fault::new(Reason::Unsupported, "video whose pictures change their size"))
        })?;
        Ok(info)
    }

    /// [`Codec::decode`], the same: the size of the frames that are now in the scratch.
    pub(super) fn decode(
        &self,
        bytes: &[u8],
        want: Want<'_>,
        limits: &Limits,
        scratch: &mut Scratch,
    ) -> Result<(u32, u32), Fault> {
        let clip = self.open(bytes, limits)?;
        let times = self.times(&clip)?;
        let shown = &clip.packets.shown;
        let frames: Option<Vec<usize>> = match want {
            Want::Video { times_us } => {
                Limits::check("frames", times_us.len() as u64, limits.frames)?;
                let on_display = |time: &i64| times.partition_point(|t| t <= time).saturating_sub(1);
                Some(times_us.iter().map(on_display).collect())
            }
            Want::Keys { from_us, to_us, most } => {
                let facts = |frame: usize| (clip.packets.samples[shown[frame]].key, times[frame]);
                Some(keys(shown.len(), &facts, from_us..to_us, most))
            }
            _ => None,
        };
        let count = frames.as_ref().map_or(shown.len(), Vec::len);
        let (converter, standard) = (Converter::default(), clip.packets.says_range());
        scratch.bytes.clear();
        let mut out = Out { bytes: &mut scratch.bytes, size: None, count, converter, standard, limits: *limits };
        scratch.times.clear();
        match &frames {
            None => {
                clip.everything(limits, &mut |place, frame| out.put(place, frame))?;
                scratch.times.extend(times);
            }
            Some(frames) => {
                let mut wanted: Vec<usize> = frames.iter().map(|&frame| shown[frame]).collect();
                // Where each is wanted.
                let mut places: HashMap<usize, Vec<usize>> = HashMap::new();
                for (place, packet) in wanted.iter().enumerate() {
                    places.entry(*packet).or_default().push(place);
                }
                wanted.dedup();
                clip.frames(&wanted, limits, &mut |packet, frame| {
                    let Some((&first, others)) = places.get(&packet).and_then(|places| places.split_first()) else {
                        return Ok(());
                    };
                    out.put(first, frame)?;
                    let one = out.one();
                    for place in others {
                        out.bytes.copy_within(first * one..(first + 1) * one, place * one);
                    }
                    Ok(())
                })?;
                scratch.times.extend(frames.iter().map(|&frame| times[frame]));
            }
        }
        match out.size {
            Some(size) => Ok(size),
            None => clip.size(limits), // nothing is wanted
        }
    }
}

impl Codec for Muxed {
    fn format(&self) -> Format {
        self.format
    }

    fn sniff(&self, bytes: &[u8]) -> bool {
        foreign::moving(bytes) == Some(self.format)
    }

    fn probe(&self, bytes: &[u8], limits: &Limits) -> Result<Info, Fault> {
        guarded(self.name(), || self.probe(bytes, limits))
    }

    fn check(&self, bytes: &[u8], level: Check, limits: &Limits, _: &mut Scratch) -> Result<Info, Fault> {
        guarded(self.name(), || match level {
            Check::Header => self.probe(bytes, limits),
            _ => self.check(bytes, limits),
        })
    }

    fn memory(&self, bytes: &[u8], info: &Info) -> u64 {
        behind::memory(bytes, info)
    }

    fn decode<'s>(
        &self,
        bytes: &'s [u8],
        want: Want<'_>,
        limits: &Limits,
        scratch: &'s mut Scratch,
    ) -> Result<Decoded<'s>, Fault> {
        let (width, height) = guarded(self.name(), || self.decode(bytes, want, limits, scratch))?;
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
