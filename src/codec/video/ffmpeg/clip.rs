//! Decoding the frames that are wanted, from the nearest packet where decoding may begin.
//!
//! A packet's place in the list travels through the decoder as its time, so that each frame says which packet it came with. Decoding
//! begins at a key packet that is presented at or before the wanted frame. Leading pictures, which are presented before the key
//! packet that they come after, may refer to what is not there: they are decoded where they can be, and handed over only at the
//! beginning of the stream, where the decoder itself leaves out what it cannot decode.

use std::collections::HashSet;
use std::ffi::CStr;

use ffmpeg_sys_next::AVCodecID as Id;

use super::decoder::Decoder;
use super::frame::Frame;
use super::packets::Packets;
use crate::codec::Limits;
use crate::codec::video::clip::WORK;
use crate::codec::video::h264::recovery_point;
use crate::codec::video::nal::nals;
use crate::error::{Fault, Reason};

/// A payload whose packets have been listed and held against the limits.
pub(super) struct Clip {
    pub(super) packets: Packets,
    /// The packet at which decoding begins where nothing lies before.
    first: usize,
    /// Whether each frame stands by itself.
    pub(super) each_alone: bool,
    /// The packets behind the first at which decoding may begin.
    begins: Vec<usize>,
}

/// What may still be decoded in one call, whatever sessions it takes.
struct Work {
    /// Pixels.
    left: u64,
    /// Those of the largest frame so far, which each packet is taken to have.
    largest: u64,
}

impl Work {
    fn new(clip: &Clip, limits: &Limits) -> Self {
        let (width, height) = clip.packets.stream.parameters.size();
        Work { left: limits.pixels.saturating_mul(WORK), largest: width.saturating_mul(height).max(256) }
    }

    fn take(&mut self, pixels: u64) -> Result<(), Fault> {
        self.left = self.left.checked_sub(pixels).ok_or_else(|| {
            Fault::new(Reason::OverLimit, format!("more than {WORK} times the largest admitted frame to decode"))
        })?;
        Ok(())
    }
}

/// Bytes of the pictures that a decoder of pictures of some size keeps at once.
pub(super) fn kept(pixels: u64, each_alone: bool) -> u64 {
    // Up to 16 for reference (H.264, A.3.1), the one before and the one under way, of 4:2:0 in 16 bits; or two of any kind.
    pixels.saturating_mul(if each_alone { 2 * 8 } else { (16 + 2) * 3 })
}

/// Takes a frame, by the packet it came with.
pub(super) type Emit<'e> = &'e mut dyn FnMut(usize, &Frame) -> Result<(), Fault>;

fn corrupt(message: impl std::fmt::Display) -> Fault {
    Fault::new(Reason::Corrupt, message)
}

impl Clip {
    /// Lists the packets; where they do not tell which frames there are, decodes all of them.
    pub(super) fn open(bytes: &[u8], demuxer: &CStr, limits: &Limits) -> Result<Self, Fault> {
        if bytes.is_empty() {
            return Err(Fault::new(Reason::Empty, "the file has no bytes"));
        }
        Limits::check("encoded bytes", bytes.len() as u64, limits.payload_bytes)?;
        let packets = Packets::read(bytes, demuxer, limits)?;
        let first = packets.samples.iter().position(|s| s.key).unwrap_or(0);
        let each_alone = packets.stream.parameters.describe().1;
        let mut clip = Clip { packets, first, each_alone, begins: Vec::new() };
        let samples = &clip.packets.samples;
        clip.begins = (first + 1..samples.len())
            .filter(|&at| samples[at].key && clip.may_begin(samples[at].packet.data()))
            .collect();
        if !clip.packets.certain {
            let order = clip.all(limits, &mut |_, _| Ok(()))?;
            clip.packets.decoded(order);
        }
        if clip.packets.shown.is_empty() {
            return Err(corrupt("the video track presents no frame"));
        }
        Ok(clip)
    }

    /// Width and height of the first frame.
    pub(super) fn size(&self, limits: &Limits) -> Result<(u32, u32), Fault> {
        let mut size = (0, 0);
        self.frames(&[self.packets.shown[0]], limits, &mut |_, frame| {
            let facts = frame.facts();
            size = (facts.width, facts.height);
            Ok(())
        })?;
        let pixels = u64::from(size.0) * u64::from(size.1);
        if pixels == 0 {
            return Err(corrupt("the picture has no pixels"));
        }
        Ok(size)
    }

    /// Decodes everything and hands over what is presented, in its order, which it returns.
    pub(super) fn all(&self, limits: &Limits, emit: Emit<'_>) -> Result<Vec<usize>, Fault> {
        let mut session = Session::new(self, self.first, limits)?;
        let mut work = Work::new(self, limits);
        let (mut order, mut seen) = (Vec::new(), HashSet::new());
        while let Some(place) = session.next(&mut work, &|_| true)? {
            if self.packets.samples[place].packet.hidden() {
                continue;
            }
            Limits::check("frames", order.len() as u64 + 1, limits.frames)?;
            if !seen.insert(place) {
                return Err(self.several());
            }
            emit(place, &session.frame)?;
            order.push(place);
        }
        Ok(order)
    }

    /// Decodes everything and hands each frame over by its place in the order of presentation. Refused if it is another order than
    /// that of the packets.
    pub(super) fn everything(&self, limits: &Limits, emit: Emit<'_>) -> Result<(), Fault> {
        let (shown, mut count) = (&self.packets.shown, 0);
        self.all(limits, &mut |packet, frame| {
            if shown.get(count) != Some(&packet) {
                return Err(corrupt(format!("ffmpeg: frame {packet} is presented where another was announced")));
            }
            count += 1;
            emit(count - 1, frame)
        })?;
        if count < shown.len() {
            return Err(corrupt(format!("{count} of {} frames decode", shown.len())));
        }
        Ok(())
    }

    /// Decodes frames, given by their packets in the order of presentation, and hands each over once.
    pub(super) fn frames(&self, wanted: &[usize], limits: &Limits, emit: Emit<'_>) -> Result<(), Fault> {
        let mut work = Work::new(self, limits);
        let mut missing: HashSet<usize> = wanted.iter().copied().collect();
        let mut session: Option<Session<'_>> = None;
        for &target in wanted {
            let mut start = self.start(target);
            loop {
                if !missing.contains(&target) {
                    break;
                }
                let going = session.take().filter(|s| (s.start..).contains(&target) && start <= s.next);
                let mut now = match going {
                    Some(going) => going,
                    None => Session::new(self, start, limits)?,
                };
                let place = match now.next(&mut work, &|at| missing.contains(&at)) {
                    // The container calls it a key and it is none.
                    Ok(Some(place)) if place == now.start && place > self.first && now.frame.facts().predicted => {
                        start = self.start(place - 1);
                        continue;
                    }
                    Err(fault) if fault.reason == Reason::Corrupt && !now.gave && now.start > self.first => {
                        start = self.start(now.start - 1);
                        continue;
                    }
                    Ok(Some(place)) => place,
                    Ok(None) => return Err(corrupt(format!("ffmpeg: frame {target} is not complete"))),
                    Err(fault) => return Err(fault),
                };
                now.gave = true;
                if missing.remove(&place) {
                    emit(place, &now.frame)?;
                }
                session = Some(now);
            }
        }
        Ok(())
    }

    /// The last packet from which a packet's frame can be decoded.
    pub(super) fn start(&self, target: usize) -> usize {
        let samples = &self.packets.samples;
        let first = self.first.min(target);
        if self.packets.changes {
            return first;
        }
        let before = &self.begins[..self.begins.partition_point(|at| *at <= target)];
        before.iter().rev().copied().find(|&at| samples[at].pts <= samples[target].pts).unwrap_or(first)
    }

    /// A packet that more than one frame came with.
    fn several(&self) -> Fault {
        let name = &self.packets.name;
        Fault::new(Reason::Unsupported, format!("ffmpeg: {name} with several frames in a packet"))
    }

    /// Whether decoding may begin at a key packet, from what is in it.
    fn may_begin(&self, data: &[u8]) -> bool {
        // For H.264 any picture with a recovery point is a key, also one from which it takes a while to recover.
        let parameters = &self.packets.stream.parameters;
        parameters.coding() != Id::AV_CODEC_ID_H264 as i32
            || any_unit(parameters.record(), data, |nal| idr(nal) || recovers(nal))
    }

    /// Whether a packet is one of H.264 that begins anew, so that nothing behind it may name what lies before.
    fn begins_anew(&self, at: usize) -> bool {
        let parameters = &self.packets.stream.parameters;
        let data = self.packets.samples.get(at).map_or(&[][..], |sample| sample.packet.data());
        parameters.coding() == Id::AV_CODEC_ID_H264 as i32 && any_unit(parameters.record(), data, idr)
    }
}

/// Whether a unit of H.264 is a slice of an IDR picture.
fn idr(nal: &[u8]) -> bool {
    nal.first().is_some_and(|b| b & 31 == 5)
}

/// Whether a unit of H.264 is a recovery point with an exact match at once (ITU-T H.264, D.2.8).
fn recovers(nal: &[u8]) -> bool {
    nal.first().is_some_and(|b| b & 31 == 6) && recovery_point(nal).unwrap_or(false)
}

/// Whether any unit of a packet of H.264 is such a one.
fn any_unit(record: &[u8], data: &[u8], such: impl Fn(&[u8]) -> bool) -> bool {
    match record {
        // ISO/IEC 14496-15, 5.3.3.1: units behind their lengths.
        [1, _, _, _, lengths, ..] => nals(data, usize::from(lengths & 3) + 1).flatten().any(such),
        // Annex B: units behind start codes.
        _ => {
            let behind =
                data.windows(3).enumerate().filter(|(_, code)| *code == [0, 0, 1]).map(|(at, _)| &data[at + 3..]);
            behind.take(64).any(such)
        }
    }
}

/// A decoder under way.
struct Session<'c> {
    clip: &'c Clip,
    decoder: Decoder,
    start: usize,
    /// Whether it begins at a recovery point of H.264 from which all that is presented later is exact.
    recovers: bool,
    /// The packet to be taken next.
    next: usize,
    ended: bool,
    /// Whether a frame was handed over.
    gave: bool,
    limits: Limits,
    frame: Frame,
}

impl<'c> Session<'c> {
    fn new(clip: &'c Clip, start: usize, limits: &Limits) -> Result<Self, Fault> {
        let parameters = &clip.packets.stream.parameters;
        let mut decoder = Decoder::open(parameters, &clip.packets.name, limits)?;
        // What begins at a recovery point may yet say of pictures before it that they are no longer referred to.
        let h264 = parameters.coding() == Id::AV_CODEC_ID_H264 as i32;
        let within = h264 && !clip.begins_anew(start);
        decoder.admit_unknown_references(within);
        let recovers = within && clip.may_begin(clip.packets.samples.get(start).map_or(&[][..], |s| s.packet.data()));
        if recovers {
            decoder.give_unrecovered();
        }
        let frame = Frame::new()?;
        Ok(Session { clip, decoder, start, recovers, next: start, ended: false, gave: false, limits: *limits, frame })
    }

    /// Whether a packet's picture is presented before the start.
    fn leading(&self, place: usize) -> bool {
        let samples = &self.clip.packets.samples;
        place > self.start && samples[place].pts < samples[self.start].pts
    }

    /// Decodes up to the next frame, which is then in `self.frame`, and says which packet it came with. What is not `wanted` is
    /// decoded only if others need it.
    fn next(&mut self, work: &mut Work, wanted: &dyn Fn(usize) -> bool) -> Result<Option<usize>, Fault> {
        loop {
            let received = self.decoder.receive(&mut self.frame);
            match self.tolerated(received)? {
                Some(true) => {
                    let facts = self.frame.facts();
                    let pixels = u64::from(facts.width) * u64::from(facts.height);
                    let kept = kept(pixels, self.clip.each_alone);
                    Limits::check("pixels of a frame", pixels, self.limits.pixels)?;
                    Limits::check("bytes of the frames kept for reference", kept, self.limits.decoded_bytes)?;
                    // What it was taken to have, it has been charged with.
                    work.take(pixels.saturating_sub(work.largest))?;
                    work.largest = work.largest.max(pixels);
                    let known = facts.place.filter(|place| *place < self.clip.packets.samples.len());
                    let place = known.ok_or_else(|| self.clip.several())?;
                    // Where nothing lies before, the decoder knows which of them can be decoded, and gives only those.
                    if self.leading(place) && (self.recovers || self.start != self.clip.first) {
                        continue;
                    }
                    if facts.damaged || facts.unrecovered && !self.recovers {
                        return Err(corrupt(format!("ffmpeg: frame {place} is damaged")));
                    }
                    return Ok(Some(place));
                }
                Some(false) if self.ended => return Ok(None),
                _ => {}
            }
            let samples = &self.clip.packets.samples;
            let sent = match samples.get(self.next) {
                Some(sample) => {
                    work.take(work.largest)?;
                    if self.decoder.admits_unknown_references()
                        && self.next > self.start
                        && self.clip.begins_anew(self.next)
                    {
                        self.decoder.admit_unknown_references(false);
                    }
                    self.next += 1;
                    self.decoder.send(Some(&sample.packet), !wanted(self.next - 1)).map(|()| true)
                }
                None => {
                    self.ended = true;
                    self.decoder.send(None, false).map(|()| true)
                }
            };
            self.tolerated(sent)?;
        }
    }

    /// What the decoder said; `None` for a refusal of a leading picture, which is looked for elsewhere if it is wanted.
    fn tolerated<T>(&self, outcome: Result<T, Fault>) -> Result<Option<T>, Fault> {
        let place = self.next.saturating_sub(1);
        match outcome {
            Ok(outcome) => Ok(Some(outcome)),
            Err(fault) if fault.reason == Reason::Corrupt && !self.ended && self.leading(place) => Ok(None),
            Err(fault) => Err(Fault::new(fault.reason, format!("frame {place}: {}", fault.message))),
        }
    }
}
