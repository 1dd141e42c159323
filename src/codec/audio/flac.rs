//! FLAC (RFC 9639) in its native container, by `symphonia`.

use std::io::{Cursor, Read};

use symphonia::core::codecs::CodecParameters;
use symphonia::core::codecs::audio::{AudioDecoder, AudioDecoderOptions};
use symphonia::core::formats::{FormatOptions, FormatReader};
use symphonia::core::io::{MediaSourceStream, MediaSourceStreamOptions, ReadOnlySource};
use symphonia::default::codecs::FlacDecoder;
use symphonia::default::formats::FlacReader;

use super::{decode_packets, facts, fault, range_of};
use crate::codec::{Check, Codec, Decoded, Limits, Scratch, Want, Wave, guarded};
use crate::data::info::{Format, Info};
use crate::error::{Fault, Reason};

/// The FLAC codec. A range is decoded from the block it begins in; the blocks before it are parsed, not decoded.
///
/// Blocks whose checksum is wrong are [`Reason::Corrupt`], a missing end is [`Reason::Truncated`]; [`Check::Decode`] also
/// compares the MD5 of the samples. A file that does not state its length is walked by `probe` to count it.
#[derive(Debug, Clone, Copy)]
pub struct Flac;

/// Where STREAMINFO ends: behind the marker (4), a block header (4) and its 34 bytes.
const STREAM_INFO_END: usize = 42;

/// A file's facts, and where its audio blocks begin.
struct Parsed {
    info: Info,
    frames_at: usize,
}

/// Reads STREAMINFO (8.2), within the limits, and steps over the other metadata. A `count` of 0 means "not stated".
fn header(bytes: &[u8], limits: &Limits) -> Result<Parsed, Fault> {
    Limits::check("payload bytes", bytes.len() as u64, limits.payload_bytes)?;
    let corrupt = |what: &str| Fault::new(Reason::Corrupt, format!("flac: {what}"));
    let truncated = || Fault::new(Reason::Truncated, "flac: it ends inside its header");
    if !bytes.starts_with(b"fLaC") {
        return Err(corrupt("no \"fLaC\" marker"));
    }
    let block = bytes.get(4..STREAM_INFO_END).ok_or_else(truncated)?;
    if block[0] & 0x7f != 0 || block[1..4] != [0, 0, 34] {
        return Err(corrupt("the first block is not STREAMINFO"));
    }
    let packed = block[14..22].iter().fold(0u64, |all, &byte| all << 8 | u64::from(byte));
    let (rate, channels) = ((packed >> 44) as u32, (packed >> 41 & 7) as u32 + 1);
    let info = facts(Format::Flac, channels, rate, packed & ((1 << 36) - 1), limits)?;
    let (mut last, mut at) = (block[0] & 0x80 != 0, STREAM_INFO_END);
    while !last {
        let &[kind, l2, l1, l0] = bytes.get(at..at + 4).and_then(|b| b.first_chunk()).ok_or_else(truncated)?;
        last = kind & 0x80 != 0;
        at += 4 + u32::from_be_bytes([0, l2, l1, l0]) as usize;
    }
    if at > bytes.len() { Err(truncated()) } else { Ok(Parsed { info, frames_at: at }) }
}

/// Opens the audio behind STREAMINFO alone: tags and pictures, whose lengths nobody vouches for, are not shown.
fn open<'b>(bytes: &'b [u8], parsed: &Parsed) -> Result<FlacReader<'b>, Fault> {
    let mut head = [0; STREAM_INFO_END];
    head.copy_from_slice(&bytes[..STREAM_INFO_END]);
    head[4] |= 0x80;
    let source = ReadOnlySource::new(Cursor::new(head).chain(&bytes[parsed.frames_at..]));
    let stream = MediaSourceStream::new(Box::new(source), MediaSourceStreamOptions::default());
    FlacReader::try_new(stream, FormatOptions::default()).map_err(|e| fault(&e, "flac"))
}

/// The facts; of a file that does not state its length, by walking its blocks.
fn counted(bytes: &[u8], limits: &Limits) -> Result<Parsed, Fault> {
    let parsed = header(bytes, limits)?;
    if parsed.info.count > 0 {
        return Ok(parsed);
    }
    guarded("FLAC", || {
        let (mut reader, mut info) = (open(bytes, &parsed)?, parsed.info);
        while let Some(packet) = reader.next_packet().map_err(|e| fault(&e, "flac"))? {
            info = facts(Format::Flac, info.channels, info.rate, info.count + packet.dur.get(), limits)?;
        }
        Ok(Parsed { info, ..parsed })
    })
}

/// Decodes a range; returns the place of the first sample in `out`. `verify` compares the checksum of the whole.
fn decode(bytes: &[u8], parsed: &Parsed, range: (u64, u64), verify: bool, out: &mut Vec<f32>) -> Result<u64, Fault> {
    let info = &parsed.info;
    guarded("FLAC", || {
        let mut reader = open(bytes, parsed)?;
        let Some(CodecParameters::Audio(params)) = reader.tracks().first().and_then(|t| t.codec_params.clone()) else {
            return Err(Fault::new(Reason::Corrupt, "flac: no track"));
        };
        let options = AudioDecoderOptions::default().verify(verify);
        let mut decoder = FlacDecoder::try_new(&params, &options).map_err(|e| fault(&e, "flac"))?;
        let (first, behind) = decode_packets(&mut reader, &mut decoder, info, range, out)?;
        if behind < range.1 {
            let what = format!("flac: {behind} samples where the header says {}", info.count);
            return Err(Fault::new(Reason::Truncated, what));
        }
        if verify && decoder.finalize().verify_ok == Some(false) {
            return Err(Fault::new(Reason::Corrupt, "flac: the samples' MD5 is not the header's"));
        }
        Ok(first)
    })
}

impl Codec for Flac {
    fn format(&self) -> Format {
        Format::Flac
    }

    fn sniff(&self, bytes: &[u8]) -> bool {
        bytes.starts_with(b"fLaC")
    }

    fn probe(&self, bytes: &[u8], limits: &Limits) -> Result<Info, Fault> {
        Ok(counted(bytes, limits)?.info)
    }

    fn check(&self, bytes: &[u8], level: Check, limits: &Limits, scratch: &mut Scratch) -> Result<Info, Fault> {
        let parsed = counted(bytes, limits)?;
        let info = parsed.info;
        match level {
            Check::Header => {}
            // Every block is parsed and its checksum compared; none is decoded.
            Check::Entropy => {
                decode(bytes, &parsed, (info.count, info.count), false, &mut scratch.floats)?;
            }
            Check::Decode => {
                decode(bytes, &parsed, (0, info.count), true, &mut scratch.floats)?;
            }
        }
        Ok(info)
    }

    fn decode_checked<'s>(
        &self,
        bytes: &'s [u8],
        limits: &Limits,
        scratch: &'s mut Scratch,
    ) -> Result<Decoded<'s>, Fault> {
        let parsed = counted(bytes, limits)?;
        let info = parsed.info;
        let start = decode(bytes, &parsed, (0, info.count), true, &mut scratch.floats)?;
        Ok(Decoded::Wave(Wave { data: &scratch.floats, channels: info.channels, rate: info.rate, start }))
    }

    fn decode<'s>(
        &self,
        bytes: &'s [u8],
        want: Want<'_>,
        limits: &Limits,
        scratch: &'s mut Scratch,
    ) -> Result<Decoded<'s>, Fault> {
        let parsed = counted(bytes, limits)?;
        let info = parsed.info;
        let range = range_of(want, info.count)?;
        let start = decode(bytes, &parsed, range, false, &mut scratch.floats)?;
        Ok(Decoded::Wave(Wave { data: &scratch.floats, channels: info.channels, rate: info.rate, start }))
    }
}
