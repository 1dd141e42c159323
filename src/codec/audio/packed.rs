//! Recordings as packets in a container, by `symphonia`: what is common to all of them.
//!
//! A container gives packets in order. The samples that these decode to form one line; a container presents a part of it,
//! and leaves out what an encoder had to put in front (its delay) and behind (its padding). All counts here are samples a
//! channel.

use std::borrow::Cow;
use std::collections::VecDeque;

use symphonia::core::codecs::CodecParameters;
use symphonia::core::codecs::audio::well_known as known;
use symphonia::core::codecs::audio::{AudioCodecParameters, AudioDecoder, AudioDecoderOptions};
use symphonia::core::formats::FormatReader;
use symphonia::core::packet::PacketRef;
use symphonia::core::units::{Duration, Timestamp};

use super::{append, facts, fault, finite, opus, range_of};
use crate::codec::{Check, Codec, Decoded, Limits, Scratch, Want, Wave, guarded};
use crate::data::info::{Format, Info};
use crate::error::{Fault, Reason};

/// A format whose recordings are packets; the codec of all of them.
///
/// [`Codec::probe`] counts samples: by the packets' headers where these say it, by decoding where they do not (Matroska).
/// A range is decoded from as many packets before it as its decoder needs to be in the state that it has in a decode of the
/// whole, so its samples are the same bits. Damage is a fault: nothing is concealed, unlike in ffmpeg.
#[derive(Clone, Copy)]
pub struct Packed {
    pub(super) format: Format,
    pub(super) sniff: fn(&[u8]) -> bool,
    pub(super) open: for<'b> fn(&'b [u8], &Limits) -> Result<Recording<'b>, Fault>,
}

impl std::fmt::Debug for Packed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Packed").field("format", &self.format).finish()
    }
}

/// One packet.
pub(super) struct Packet<'b> {
    pub(super) data: Cow<'b, [u8]>,
    /// The samples it decodes to, if that can be said without decoding it.
    pub(super) samples: Option<u64>,
    /// How many of them, at its end, are not presented. Only the last packet may have any.
    pub(super) padding: u64,
}

/// Packets, one after the other; `None` behind the last.
pub(super) type Packets<'b> = Box<dyn FnMut() -> Result<Option<Packet<'b>>, Fault> + 'b>;

/// What is presented of the line of samples behind [`Recording::delay`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    /// All of it.
    Line,
    /// So many samples: fewer are [`Reason::Truncated`].
    Stated(u64),
    /// Up to this place of the line, the delay counted.
    At(u64),
}

/// A payload that has been opened.
pub(super) struct Recording<'b> {
    pub(super) decoder: Box<dyn AudioDecoder>,
    pub(super) packets: Packets<'b>,
    /// Samples at the beginning that are not presented.
    pub(super) delay: u64,
    pub(super) end: End,
    /// Packets before one that its decoder must have seen.
    pub(super) warm_up: usize,
}

/// Every packet before one has to be decoded: the decoder's state is that of the whole stream (AAC's noise generator).
pub(super) const FROM_THE_START: usize = usize::MAX;

/// Samples of a packet at the most, over all channels: 16 MiB, hundreds of times what encoders write.
const PACKET_SAMPLES: u64 = 1 << 22;

/// The decoder for a track's parameters.
pub(super) fn decoder(params: &AudioCodecParameters, name: &str) -> Result<Box<dyn AudioDecoder>, Fault> {
    // Some decoders make room for the largest packet that the header states before they see one.
    let frames = params.max_frames_per_packet.unwrap_or(0);
    let channels = params.channels.as_ref().map_or(1, |channels| channels.count() as u64);
    Limits::check("samples of one packet", frames.saturating_mul(channels), PACKET_SAMPLES)?;
    if params.codec == known::CODEC_ID_OPUS {
        // CAF has none.
        let head = params.extra_data.as_deref().filter(|data| data.starts_with(b"OpusHead"));
        let plain = || Ok(opus::Head::plain(u32::try_from(channels).unwrap_or(u32::MAX)));
        return opus::decoder(&head.map_or_else(plain, opus::Head::read)?);
    }
    let options = AudioDecoderOptions::default();
    symphonia::default::get_codecs().make_audio_decoder(params, &options).map_err(|e| match e {
        symphonia::core::errors::Error::Unsupported(what) => {
            let what = match params.codec {
                known::CODEC_ID_SPEEX => "Speex, which nothing here decodes".into(),
                codec => format!("{what} ({codec})"),
            };
            Fault::new(Reason::Unsupported, format!("{name}: {what}"))
        }
        e => fault(&e, name),
    })
}

/// The parameters of a reader's first track of sound.
pub(super) fn parameters(reader: &dyn FormatReader, name: &str) -> Result<AudioCodecParameters, Fault> {
    reader
        .tracks()
        .iter()
        .find_map(|track| match &track.codec_params {
            Some(CodecParameters::Audio(params)) => Some(params.clone()),
            _ => None,
        })
        .ok_or_else(|| Fault::new(Reason::Unsupported, format!("{name}: no stream of sound that is known here")))
}

/// What a walk over the line found.
struct Walked {
    /// Samples of the line.
    line: u64,
    /// Samples at its end that the last packet says are not presented.
    padding: u64,
}

impl<'b> Recording<'b> {
    /// Channels and rate (Hz).
    fn layout(&self, name: &str) -> Result<(u32, u32), Fault> {
        let params = self.decoder.codec_params();
        let channels = params.channels.as_ref().map_or(0, |channels| channels.count());
        match (u32::try_from(channels), params.sample_rate) {
            (Ok(channels @ 1..), Some(rate)) => Ok((channels, rate)),
            _ => Err(Fault::new(Reason::Corrupt, format!("{name}: neither its channels nor its rate are known"))),
        }
    }

    /// Goes along the line up to `to` and decodes what lies behind `from` into `out`, which holds just that afterwards; with
    /// no `out` it counts, and decodes only packets that do not say what they hold.
    fn walk(
        &mut self,
        name: &str,
        (from, to): (u64, u64),
        limits: &Limits,
        mut out: Option<&mut Vec<f32>>,
    ) -> Result<Walked, Fault> {
        let (channels, rate) = self.layout(name)?;
        if let Some(out) = out.as_deref_mut() {
            out.clear();
        }
        let mut seen = VecDeque::new();
        let mut walked = Walked { line: 0, padding: 0 };
        while walked.line < to {
            let Some(packet) = (self.packets)()? else { break };
            if packet.data.is_empty() {
                return Err(Fault::new(Reason::Truncated, format!("{name}: it ends behind sample {}", walked.line)));
            }
            if walked.padding > 0 {
                return Err(Fault::new(Reason::Unsupported, format!("{name}: a gap within the recording")));
            }
            let at = walked.line;
            let samples = match packet.samples {
                Some(samples) if out.is_none() || at.saturating_add(samples) <= from => {
                    if out.is_some() && self.warm_up > 0 {
                        seen.push_back(packet.data);
                        if self.warm_up == FROM_THE_START {
                            self.warm(&mut seen); // kept, they would be a second payload
                        } else if seen.len() > self.warm_up {
                            seen.pop_front();
                        }
                    }
                    samples
                }
                stated => {
                    self.warm(&mut seen);
                    // The decoder of ADPCM goes by the duration.
                    let length = Duration::from(stated.unwrap_or(0));
                    let packet = PacketRef::new(0, Timestamp::ZERO, length, &packet.data);
                    let buffer = self.decoder.decode_ref(&packet).map_err(|e| fault(&e, name))?;
                    let samples = buffer.frames() as u64;
                    if stated.is_some_and(|stated| stated != samples) {
                        let what = format!("{name}: a packet at sample {at} that is not what it says");
                        return Err(Fault::new(Reason::Corrupt, what));
                    }
                    let (planes, hertz) = (buffer.num_planes(), buffer.spec().rate());
                    if samples > 0 && (planes != channels as usize || hertz != rate) {
                        let what = format!(
                            "{planes} channels at {hertz} Hz behind sample {at}; {channels} at {rate} Hz before"
                        );
                        return Err(Fault::new(Reason::Unsupported, format!("{name}: {what}")));
                    }
                    if let Some(out) = out.as_deref_mut()
                        && at + samples > from
                    {
                        append(&buffer, out);
                        if at < from {
                            out.drain(..(from - at) as usize * channels as usize);
                        }
                    }
                    samples
                }
            };
            walked.line = at.saturating_add(samples);
            walked.padding = packet.padding.min(samples);
            let presented = walked.line.saturating_sub(self.delay).saturating_mul(u64::from(channels));
            Limits::check("samples", presented, limits.samples)?;
        }
        if let Some(out) = out {
            out.truncate(to.saturating_sub(from).saturating_mul(u64::from(channels)) as usize);
        }
        Ok(walked)
    }

    /// Brings the decoder into the state it has behind these packets. What they lack (the packets before them) makes them
    /// fail or sound wrong, and nobody hears them; if they are damaged, a decode of the whole says so.
    fn warm(&mut self, seen: &mut VecDeque<Cow<'b, [u8]>>) {
        for data in seen.drain(..) {
            let packet = PacketRef::new(0, Timestamp::ZERO, Duration::ZERO, &data);
            let _ = self.decoder.decode_ref(&packet);
        }
    }

    /// The samples that are presented of what a walk over all of the line found.
    fn count(&self, name: &str, walked: &Walked) -> Result<u64, Fault> {
        let there = (walked.line - walked.padding).saturating_sub(self.delay);
        match self.end {
            End::Line => Ok(there),
            End::At(place) => Ok(there.min(place.saturating_sub(self.delay))),
            End::Stated(count) if count <= there => Ok(count),
            End::Stated(count) => {
                let what = format!("{name}: {there} samples where the header says {count}");
                Err(Fault::new(Reason::Truncated, what))
            }
        }
    }
}

impl Packed {
    fn opened<'b>(&self, bytes: &'b [u8], limits: &Limits) -> Result<Recording<'b>, Fault> {
        Limits::check("payload bytes", bytes.len() as u64, limits.payload_bytes)?;
        (self.open)(bytes, limits)
    }

    fn info(&self, recording: &Recording<'_>, count: u64, limits: &Limits) -> Result<Info, Fault> {
        let (channels, rate) = recording.layout(self.name())?;
        facts(self.format, channels, rate, count, limits)
    }

    /// Decodes all of it into `out`.
    fn whole(&self, bytes: &[u8], limits: &Limits, out: &mut Vec<f32>) -> Result<Info, Fault> {
        guarded(self.name(), || {
            let mut recording = self.opened(bytes, limits)?;
            let walked = recording.walk(self.name(), (recording.delay, u64::MAX), limits, Some(out))?;
            let count = recording.count(self.name(), &walked)?;
            let info = self.info(&recording, count, limits)?;
            out.truncate(count as usize * info.channels as usize);
            finite(out, info.channels)?;
            Ok(info)
        })
    }

    /// Decodes what is wanted into `out`; returns the facts and the place of the first sample.
    pub(super) fn wave(
        &self,
        bytes: &[u8],
        want: Want<'_>,
        limits: &Limits,
        out: &mut Vec<f32>,
    ) -> Result<(Info, u64), Fault> {
        let Want::Audio { range: Some(_) } = want else {
            range_of(want, 0)?;
            return Ok((self.whole(bytes, limits, out)?, 0));
        };
        let info = self.probe(bytes, limits)?;
        let (start, end) = range_of(want, info.count)?;
        guarded(self.name(), || {
            let mut recording = self.opened(bytes, limits)?;
            let place = (recording.delay + start, recording.delay + end);
            recording.walk(self.name(), place, limits, Some(out))?;
            finite(out, info.channels)
        })?;
        Ok((info, start))
    }
}

impl Codec for Packed {
    fn format(&self) -> Format {
        self.format
    }

    fn sniff(&self, bytes: &[u8]) -> bool {
        (self.sniff)(bytes)
    }

    fn probe(&self, bytes: &[u8], limits: &Limits) -> Result<Info, Fault> {
        guarded(self.name(), || {
            let mut recording = self.opened(bytes, limits)?;
            let walked = recording.walk(self.name(), (0, u64::MAX), limits, None)?;
            let count = recording.count(self.name(), &walked)?;
            self.info(&recording, count, limits)
        })
    }

    fn check(&self, bytes: &[u8], level: Check, limits: &Limits, scratch: &mut Scratch) -> Result<Info, Fault> {
        match level {
            Check::Header => self.probe(bytes, limits),
            Check::Entropy | Check::Decode => self.whole(bytes, limits, &mut scratch.floats),
        }
    }

    fn memory(&self, bytes: &[u8], info: &Info) -> u64 {
        // The samples, and what a reader keeps of the payload: its own copy, tables of packets and codebooks.
        let samples = info.count.saturating_mul(u64::from(info.channels)).saturating_mul(4);
        samples.saturating_add(2 * bytes.len() as u64).saturating_add(1 << 20)
    }

    fn decode<'s>(
        &self,
        bytes: &'s [u8],
        want: Want<'_>,
        limits: &Limits,
        scratch: &'s mut Scratch,
    ) -> Result<Decoded<'s>, Fault> {
        let (info, start) = self.wave(bytes, want, limits, &mut scratch.floats)?;
        Ok(Decoded::Wave(Wave { data: &scratch.floats, channels: info.channels, rate: info.rate, start }))
    }
}
