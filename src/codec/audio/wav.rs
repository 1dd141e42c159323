//! RIFF WAVE (Microsoft's "Multimedia Programming Interface and Data Specifications", 1991; WAVEFORMATEXTENSIBLE).

use std::io::Cursor;

use symphonia::core::codecs::CodecParameters;
use symphonia::core::codecs::audio::AudioDecoderOptions;
use symphonia::core::formats::{FormatOptions, FormatReader};
use symphonia::core::io::{MediaSourceStream, MediaSourceStreamOptions};
use symphonia::default::codecs::PcmDecoder;
use symphonia::default::formats::WavReader;

use super::packed::{End, Packed, Packet, Recording, decoder, parameters};
use super::{decode_packets, facts, fault, finite, range_of};
use crate::codec::{Codec, Decoded, Limits, Scratch, Want, Wave, guarded};
use crate::data::info::{Format, Info};
use crate::error::{Fault, Reason};

/// The WAVE codec: PCM of 8 (unsigned), 16, 24 and 32 bits, floats of 32 and 64, A-law and mu-law, ADPCM of Microsoft and IMA.
///
/// PCM ranges are read where they lie. A data chunk that is longer than the file is [`Reason::Truncated`], unless its
/// length is the "not known" of streaming writers (0xFFFFFFFF): then it goes to the end. A float that is not finite is
/// [`Reason::Corrupt`].
#[derive(Debug, Clone, Copy)]
pub struct Wav;

/// How samples lie in the data chunk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Coding {
    U8,
    S16,
    S24,
    S32,
    F32,
    F64,
    /// A-law or mu-law (ITU-T G.711).
    Companded,
    /// ADPCM of Microsoft or IMA: blocks of so many bytes, each of so many samples a channel.
    Blocks(u16, u16),
}

impl Coding {
    /// `bits` is rounded up to whole bytes: 12 bits in two bytes lie in their upper part.
    fn of(tag: u16, bits: u16) -> Option<Self> {
        match (tag, bits.div_ceil(8)) {
            (1, 1) => Some(Coding::U8),
            (1, 2) => Some(Coding::S16),
            (1, 3) => Some(Coding::S24),
            (1, 4) => Some(Coding::S32),
            (3, 4) => Some(Coding::F32),
            (3, 8) => Some(Coding::F64),
            (6 | 7, 1) => Some(Coding::Companded),
            _ => None,
        }
    }

    /// ADPCM with 4 bits a sample: a block is a header for each channel, which holds two samples (Microsoft) or one (IMA), and
    /// the others.
    fn of_blocks(tag: u16, channels: u16, block: u16) -> Option<Self> {
        let (header, in_header) = match tag {
            2 => (7 * u32::from(channels), 2),
            0x11 => (4 * u32::from(channels), 1),
            _ => return None,
        };
        let rest = u32::from(block).checked_sub(header)? * 2 / u32::from(channels);
        Some(Coding::Blocks(block, u16::try_from(rest + in_header).ok()?))
    }

    fn bytes(self) -> usize {
        match self {
            Coding::Blocks(..) => 0,
            Coding::U8 | Coding::Companded => 1,
            Coding::S16 => 2,
            Coding::S24 => 3,
            Coding::S32 | Coding::F32 => 4,
            Coding::F64 => 8,
        }
    }
}

/// A parsed file: its facts, and the whole blocks of its data chunk.
struct Parsed<'b> {
    info: Info,
    coding: Coding,
    data: &'b [u8],
}

fn corrupt(what: impl std::fmt::Display) -> Fault {
    Fault::new(Reason::Corrupt, format!("wav: {what}"))
}

fn truncated(what: impl std::fmt::Display) -> Fault {
    Fault::new(Reason::Truncated, format!("wav: {what}"))
}

fn u16_at(bytes: &[u8], at: usize) -> u16 {
    bytes.get(at..at + 2).map_or(0, |two| u16::from_le_bytes([two[0], two[1]]))
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from(u16_at(bytes, at)) | u32::from(u16_at(bytes, at + 2)) << 16
}

/// Reads the chunks up to the samples.
fn parse<'b>(bytes: &'b [u8], limits: &Limits) -> Result<Parsed<'b>, Fault> {
    Limits::check("payload bytes", bytes.len() as u64, limits.payload_bytes)?;
    if !Wav.sniff(bytes) {
        return Err(corrupt("no RIFF WAVE header"));
    }
    let mut at = 12;
    let (mut format, mut fact) = (None, None);
    loop {
        let Some(head) = bytes.get(at..at + 8) else { return Err(truncated("it ends before its samples")) };
        let (id, length) = (&head[..4], u32_at(head, 4));
        let rest = &bytes[at + 8..];
        if id == b"data" {
            let (coding, channels, rate) = format.ok_or_else(|| corrupt("samples before their format"))?;
            let length = if length == u32::MAX { rest.len() } else { length as usize };
            let data = rest
                .get(..length)
                .ok_or_else(|| truncated(format!("{} bytes of samples where the header says {length}", rest.len())))?;
            if let Coding::Blocks(block, samples) = coding {
                let there = data.len() as u64 / u64::from(block) * u64::from(samples);
                // The last block is filled up; the fact chunk says where the recording ends in it.
                let count = fact.filter(|&fact| fact <= there && there - fact < u64::from(samples)).unwrap_or(there);
                let info = facts(Format::Wav, u32::from(channels), rate, count, limits)?;
                return Ok(Parsed { info, coding, data });
            }
            let block = Coding::bytes(coding) * usize::from(channels);
            let count = data.len() / block;
            let info = facts(Format::Wav, u32::from(channels), rate, count as u64, limits)?;
            return Ok(Parsed { info, coding, data: &data[..count * block] });
        }
        let chunk = rest.get(..length as usize).ok_or_else(|| truncated("it ends before its samples"))?;
        if id == b"fmt " {
            format = Some(parse_format(chunk)?);
        }
        if id == b"fact" && chunk.len() >= 4 {
            fact = Some(u64::from(u32_at(chunk, 0)));
        }
        // Chunks begin at even places.
        at += 8 + chunk.len() + (chunk.len() & 1);
    }
}

/// Coding, channels and rate of a "fmt " chunk.
fn parse_format(chunk: &[u8]) -> Result<(Coding, u16, u32), Fault> {
    if chunk.len() < 16 {
        return Err(corrupt("a format chunk that is too short"));
    }
    let (channels, rate, block, bits) = (u16_at(chunk, 2), u32_at(chunk, 4), u16_at(chunk, 12), u16_at(chunk, 14));
    // WAVEFORMATEXTENSIBLE: the tag is the beginning of a GUID at 24.
    let tag = match u16_at(chunk, 0) {
        0xfffe => u16_at(chunk, 24),
        tag => tag,
    };
    if channels == 0 || rate == 0 || bits == 0 {
        return Err(corrupt(format!("{channels} channels at {rate} Hz with {bits} bits")));
    }
    if let (4, Some(coding)) = (bits, Coding::of_blocks(tag, channels, block)) {
        return Ok((coding, channels, rate));
    }
    let coding = Coding::of(tag, bits)
        .ok_or_else(|| Fault::new(Reason::Unsupported, format!("wav: format 0x{tag:04X} with {bits} bits")))?;
    if usize::from(block) != coding.bytes() * usize::from(channels) {
        return Err(corrupt(format!("blocks of {block} bytes for {channels} channels of {bits} bits")));
    }
    Ok((coding, channels, rate))
}

/// Converts samples; `out` holds just them afterwards.
fn convert(data: &[u8], coding: Coding, out: &mut Vec<f32>) {
    out.clear();
    match coding {
        Coding::U8 | Coding::Companded | Coding::Blocks(..) => {
            out.extend(data.iter().map(|&b| (f32::from(b) - 128.0) / 128.0))
        }
        Coding::S16 => {
            out.extend(data.as_chunks().0.iter().map(|&b| f32::from(i16::from_le_bytes(b)) / 32_768.0));
        }
        Coding::S24 => out.extend(
            data.as_chunks()
                .0
                .iter()
                .map(|&[low, middle, high]| (i32::from_le_bytes([0, low, middle, high]) >> 8) as f32 / 8_388_608.0),
        ),
        Coding::S32 => {
            out.extend(data.as_chunks().0.iter().map(|&b| i32::from_le_bytes(b) as f32 / 2_147_483_648.0));
        }
        Coding::F32 => out.extend(data.as_chunks().0.iter().map(|&b| f32::from_le_bytes(b))),
        Coding::F64 => out.extend(data.as_chunks().0.iter().map(|&b| f64::from_le_bytes(b) as f32)),
    }
}

/// Decodes a range through symphonia; returns the place of the first sample in `out`.
pub(super) fn decode_foreign(bytes: &[u8], info: &Info, range: (u64, u64), out: &mut Vec<f32>) -> Result<u64, Fault> {
    guarded("WAV", || {
        let stream = MediaSourceStream::new(Box::new(Cursor::new(bytes)), MediaSourceStreamOptions::default());
        let mut reader = WavReader::try_new(stream, FormatOptions::default()).map_err(|e| fault(&e, "wav"))?;
        let Some(CodecParameters::Audio(params)) = reader.tracks().first().and_then(|t| t.codec_params.clone()) else {
            return Err(corrupt("no track"));
        };
        let options = AudioDecoderOptions::default();
        let mut decoder = PcmDecoder::try_new(&params, &options).map_err(|e| fault(&e, "wav"))?;
        let (first, behind) = decode_packets(&mut reader, &mut decoder, info, range, out)?;
        if behind < range.1 {
            return Err(truncated(format!("{behind} samples where the header says {}", info.count)));
        }
        Ok(first)
    })
}

/// ADPCM: no sample stands alone, so its blocks are packets.
const BLOCKS: Packed = Packed { format: Format::Wav, sniff: |_| false, open: open_blocks };

fn open_blocks<'b>(bytes: &'b [u8], limits: &Limits) -> Result<Recording<'b>, Fault> {
    let Parsed { info, coding, data } = parse(bytes, limits)?;
    let Coding::Blocks(block, samples) = coding else { return Err(corrupt("not in blocks")) };
    let stream = MediaSourceStream::new(Box::new(Cursor::new(bytes)), MediaSourceStreamOptions::default());
    let reader = WavReader::try_new(stream, FormatOptions::default()).map_err(|e| fault(&e, "wav"))?;
    let mut params = parameters(&reader, "wav")?;
    params.with_max_frames_per_packet(u64::from(samples));
    let mut blocks = data.chunks_exact(usize::from(block));
    let packets = move || {
        let block = blocks.next();
        Ok(block.map(|data| Packet { data: data.into(), samples: Some(u64::from(samples)), padding: 0 }))
    };
    let decoder = decoder(&params, "wav")?;
    Ok(Recording { decoder, packets: Box::new(packets), delay: 0, end: End::At(info.count), warm_up: 0 })
}

/// Decodes a range into `out`; returns the facts and the place of the first sample.
fn decode(bytes: &[u8], want: Want<'_>, limits: &Limits, out: &mut Vec<f32>) -> Result<(Info, u64), Fault> {
    let Parsed { info, coding, data } = parse(bytes, limits)?;
    let (start, end) = range_of(want, info.count)?;
    if coding == Coding::Companded {
        return Ok((info, decode_foreign(bytes, &info, (start, end), out)?));
    }
    if let Coding::Blocks(..) = coding {
        return BLOCKS.wave(bytes, want, limits, out);
    }
    let block = coding.bytes() * info.channels as usize;
    convert(&data[start as usize * block..end as usize * block], coding, out);
    if matches!(coding, Coding::F32 | Coding::F64) {
        finite(out, info.channels)?;
    }
    Ok((info, start))
}

impl Codec for Wav {
    fn format(&self) -> Format {
        Format::Wav
    }

    fn sniff(&self, bytes: &[u8]) -> bool {
        bytes.starts_with(b"RIFF") && bytes.get(8..12) == Some(b"WAVE")
    }

    fn probe(&self, bytes: &[u8], limits: &Limits) -> Result<Info, Fault> {
        Ok(parse(bytes, limits)?.info)
    }

    fn decode<'s>(
        &self,
        bytes: &'s [u8],
        want: Want<'_>,
        limits: &Limits,
        scratch: &'s mut Scratch,
    ) -> Result<Decoded<'s>, Fault> {
        let (info, start) = decode(bytes, want, limits, &mut scratch.floats)?;
        Ok(Decoded::Wave(Wave { data: &scratch.floats, channels: info.channels, rate: info.rate, start }))
    }
}
