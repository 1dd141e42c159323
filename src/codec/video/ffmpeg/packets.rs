//! The packets of a payload's video stream, with what can be known of their frames before any is decoded.
//!
//! A packet is what a decoder takes at once, mostly one frame. FFmpeg's demuxers and parsers cut a stream into packets and find
//! their times. What is added here: times of presentation where the container has only those of decoding, and which packets
//! show nothing. Where that cannot be said with certainty ([`Packets::certain`]), decoding all of it says so.

use std::ffi::CStr;

use ffmpeg_sys_next::AVCodecID as Id;

use super::input::{Input, Packet, Stream};
use crate::codec::Limits;
use crate::codec::video::track::microseconds;
use crate::error::{Fault, Reason};

/// A packet and its times, in ticks.
pub(super) struct Sample {
    pub(super) packet: Packet,
    /// Of presentation.
    pub(super) pts: i64,
    /// Of decoding.
    dts: Option<i64>,
    /// Ticks on display; 0 if that is unknown.
    length: u64,
    /// Whether the container or the parser calls it a place to begin.
    pub(super) key: bool,
}

/// The video stream of a payload, in packets, in the order of decoding.
pub(super) struct Packets {
    pub(super) stream: Stream,
    /// The coding's name.
    pub(super) name: String,
    pub(super) samples: Vec<Sample>,
    /// The packets whose frames are presented, in the order of presentation.
    pub(super) shown: Vec<usize>,
    /// Whether `shown` is what decoding will give.
    pub(super) certain: bool,
    /// Whether what a decoder must know changes on the way, so that decoding begins at the beginning.
    pub(super) changes: bool,
}

/// Whether the stream is of one of these codings.
fn is(coding: i32, any: &[Id]) -> bool {
    any.iter().any(|id| *id as i32 == coding)
}

/// Codings with pictures of three kinds, of which the predicted ones are held back for one picture: a picture that others may refer to is
/// presented when the next such one is decoded (ISO/IEC 13818-2, 6.1.1.11).
const ONE_BEHIND: &[Id] = &[
    Id::AV_CODEC_ID_MPEG1VIDEO,
    Id::AV_CODEC_ID_MPEG2VIDEO,
    Id::AV_CODEC_ID_MPEG4,
    Id::AV_CODEC_ID_VC1,
    Id::AV_CODEC_ID_WMV3,
];

impl Packets {
    /// Walks through the container. Packets are held under the limit of frames, their bytes under twice those of the payload.
    pub(super) fn read(bytes: &[u8], demuxer: &CStr, limits: &Limits) -> Result<Self, Fault> {
        // In MXF a tick is an edit unit, a frame (SMPTE ST 377-1, 3): one that the header counts and no packet has was cut off.
        let counted = demuxer == c"mxf";
        let mut input = Input::open(bytes, demuxer)?;
        let stream = input.video()?;
        let (width, height) = stream.parameters.size();
        Limits::check("pixels of a frame", width.saturating_mul(height), limits.pixels)?;
        Limits::check("frames", stream.frames, limits.frames)?;
        let (name, each_alone) = stream.parameters.describe();
        let coding = stream.parameters.coding();
        let mut list: Vec<(Packet, Option<i64>)> = Vec::new();
        let mut held = 0;
        while let Some(packet) = input.packet()? {
            if packet.stream() != stream.index {
                continue;
            }
            let at = list.len();
            Limits::check("frames", at as u64 + 1, limits.frames)?;
            held += packet.data().len() as u64;
            Limits::check("bytes of packets", held, 2 * bytes.len() as u64 + 4096)?;
            if packet.damaged() {
                let message = format!("ffmpeg: packet {at} of the video is cut or damaged");
                return Err(Fault::new(Reason::Truncated, message));
            }
            list.push((packet, None));
        }
        drop(input);
        if (list.len() as u64) < stream.frames {
            let message = format!("the header speaks of {} frames, {} are there", stream.frames, list.len());
            return Err(Fault::new(Reason::Truncated, message));
        }
        let ticks = stream.ticks;
        let held = || list.iter().map(|(packet, _)| packet.length()).fold(0, u64::saturating_add);
        if counted && held() < ticks {
            let held = held();
            let message = format!("the header speaks of {ticks} ticks, packets of {held} are there");
            return Err(Fault::new(Reason::Truncated, message));
        }
        let timed = times(&mut list, coding);
        let mut samples = Vec::with_capacity(list.len());
        for (place, (mut packet, pts)) in list.into_iter().enumerate() {
            let (dts, length, key) = (packet.times().1, packet.length(), packet.key() || each_alone);
            let pts = pts.or(dts).unwrap_or(place as i64);
            packet.number(place);
            samples.push(Sample { packet, pts, dts, length, key });
        }
        let changes = samples.iter().skip(1).any(|s| s.packet.changes());
        let mut packets = Packets { stream, name, samples, shown: Vec::new(), certain: timed, changes };
        packets.show();
        Ok(packets)
    }

    /// Says which packets are presented, and when, as far as that is known.
    fn show(&mut self) {
        let coding = self.stream.parameters.coding();
        let first = self.samples.iter().position(|s| s.key).unwrap_or(0);
        let begin = self.samples.get(first).map_or(0, |s| s.pts);
        self.shown = (first..self.samples.len()).filter(|&at| !self.samples[at].packet.hidden()).collect();
        if is(coding, &[Id::AV_CODEC_ID_VP8]) {
            // RFC 6386, 9.1: the bit `show_frame`.
            self.shown.retain(|&at| self.samples[at].packet.data().first().is_some_and(|b| b & 0x10 != 0));
        }
        let samples = &self.samples;
        self.shown.sort_by_key(|&at| samples[at].pts); // stable: equal times stay in the order of decoding
        let leading = self.shown.iter().take_while(|&&at| samples[at].pts < begin).count();
        let same = self.shown.windows(2).any(|pair| samples[pair[0]].pts == samples[pair[1]].pts);
        // An empty packet repeats the frame before in some codings; a picture of MPEG-4 in a few bytes stands for one that came
        // with the packet before.
        let small = if is(coding, &[Id::AV_CODEC_ID_MPEG4]) { 12 } else { 0 };
        let odd = samples.iter().any(|s| s.packet.data().len() <= small);
        self.certain &= leading == 0 && !same && !odd;
    }

    /// Takes the frames that decoding gave, by their packets, in their order. Times that were not known are those of decoding.
    pub(super) fn decoded(&mut self, order: Vec<usize>) {
        if !self.certain {
            let mut ticks: Vec<i64> = order.iter().map(|&at| self.samples[at].dts.unwrap_or(at as i64)).collect();
            let timed = order.windows(2).all(|pair| self.samples[pair[0]].pts < self.samples[pair[1]].pts);
            if !timed {
                ticks.sort_unstable();
                for (&at, tick) in order.iter().zip(ticks) {
                    self.samples[at].pts = tick;
                }
            }
        }
        self.shown = order;
        self.certain = true;
    }

    /// Whether the coding has a place where the range of its samples is stated.
    pub(super) fn says_range(&self) -> bool {
        is(
            self.stream.parameters.coding(),
            &[Id::AV_CODEC_ID_H264, Id::AV_CODEC_ID_HEVC, Id::AV_CODEC_ID_AV1, Id::AV_CODEC_ID_VP9],
        )
    }

    /// From the first frame's beginning to the last one's end, in microseconds.
    pub(super) fn duration_us(&self) -> Result<u64, Fault> {
        let pts = |at: usize| self.samples[at].pts;
        let (Some(&first), Some(&last)) = (self.shown.first(), self.shown.last()) else { return Ok(0) };
        let length = match self.shown[..] {
            _ if self.samples[last].length > 0 => i64::try_from(self.samples[last].length).unwrap_or(i64::MAX),
            [.., before, last] => pts(last).saturating_sub(pts(before)),
            _ => 0,
        };
        let begin = microseconds(pts(first), self.stream.scale)?;
        let end = microseconds(pts(last), self.stream.scale)?;
        let length = microseconds(length, self.stream.scale)?;
        Ok(end.abs_diff(begin).saturating_add(length.unsigned_abs()))
    }
}

/// Finds times of presentation. `false` if there are packets without one, and only decoding tells their order.
fn times(list: &mut [(Packet, Option<i64>)], coding: i32) -> bool {
    for (packet, pts) in list.iter_mut() {
        *pts = packet.times().0;
    }
    if list.iter().all(|(_, pts)| pts.is_some()) {
        return true;
    }
    if !is(coding, ONE_BEHIND) {
        return false;
    }
    // What is presented when it is decoded is a picture that none refers to; the others are presented one such picture later.
    let lone = |packet: &Packet| matches!(packet.times(), (Some(pts), Some(dts)) if pts == dts && !packet.key());
    let mut later: Option<i64> = None;
    for at in (0..list.len()).rev() {
        let (packet, pts) = &mut list[at];
        let Some(dts) = packet.times().1 else { return false };
        if pts.is_none() {
            *pts = Some(later.unwrap_or_else(|| dts.saturating_add(packet.length() as i64)));
        }
        if !lone(packet) {
            later = Some(dts);
        }
    }
    true
}
