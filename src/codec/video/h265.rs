//! H.265 (ITU-T H.265, HEVC) by `rusty_h265`: Main and Main 10, 4:2:0.
//!
//! The decoder makes gray pictures of references that are missing and keeps as many pictures as the stream says, so that
//! is looked at here: a made-up reference is a fault, and all sequence parameter sets agree in what sizes memory.
//!
//! An IDR or BLA picture is a clean entry, a CRA picture an open one. RASL pictures, which precede such a picture in presentation
//! and refer to what precedes it in the stream, are hidden where that is not there: behind a BLA picture, behind the end of a
//! sequence, and at the beginning of the file, as ffmpeg has it. RADL pictures are presented.
//! Section numbers are those of ITU-T H.265 (08/2021).

use rusty_h265::nal::{NalHeader, NalType, unescape};
use rusty_h265::ps::parse_sps;
use rusty_h265::{Error, Picture as Decoded};

use super::nal::{nals, take, take_counted};
use super::picture::{Chroma, Picture, Plane, Planes};
use super::stream::{self, Decoder, Emit, Entry, Samples, Setup, Unit};
use crate::codec::container::Colour;
use crate::error::{Fault, Reason};

fn corrupt(message: impl std::fmt::Display) -> Fault {
    Fault::new(Reason::Corrupt, format!("H.265: {message}"))
}

fn unsupported(message: impl std::fmt::Display) -> Fault {
    Fault::new(Reason::Unsupported, format!("H.265: {message}"))
}

/// The decoder's refusal as a fault.
fn refused(error: Error) -> Fault {
    match error {
        Error::Unsupported(what) => unsupported(what),
        other => corrupt(other),
    }
}

/// What is taken from a sequence parameter set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Facts {
    picture: Picture,
    /// Pictures that the decoder keeps, with the one under way.
    keeps: u32,
    /// The highest temporal sub-layer.
    top_layer: u8,
}

/// The headers of an H.265 stream.
#[derive(Debug, Clone)]
struct Stream {
    /// Bytes of the length in front of each NAL unit.
    length_size: usize,
    /// The parameter sets of the configuration, each behind a length of that many bytes.
    header: Vec<u8>,
    facts: Facts,
}

/// Slice segments of one picture (Table A.8, the highest level).
const MOST_SLICES: u64 = 600;

/// Bytes of a parameter set; scaling lists and reference sets take some hundreds.
const LONGEST_SET: usize = 1 << 14;

/// Opens an H.265 stream by its `HEVCDecoderConfigurationRecord` (ISO/IEC 14496-15, 8.3.3.1).
pub(super) fn open(setup: Setup<'_>) -> Result<Box<dyn stream::Stream>, Fault> {
    let record = setup.record;
    let (Some(&(0 | 1)), Some(lengths), Some(&arrays)) = (record.first(), record.get(21), record.get(22)) else {
        return Err(corrupt("the configuration record is too short or of an unknown version"));
    };
    let length_size = usize::from(lengths & 3) + 1;
    let mut rest = &record[23..];
    let (mut header, mut facts) = (Vec::new(), None);
    for _ in 0..arrays {
        take(&mut rest, 1)?;
        let count = take(&mut rest, 2)?;
        for _ in 0..u16::from_be_bytes([count[0], count[1]]) {
            let nal = take_counted(&mut rest, 2)?;
            if is_set(nal) {
                note(nal, &mut facts)?;
                append(nal, length_size, &mut header);
            }
        }
    }
    if facts.is_none() {
        for nal in nals(setup.first("H.265")?, length_size) {
            note(nal?, &mut facts)?;
        }
    }
    let facts = facts.ok_or_else(|| corrupt("the track has no sequence parameter set"))?;
    Ok(Box::new(Stream { length_size, header, facts }))
}

/// Appends a NAL unit behind its length; one that is too long for it came from a configuration that holds longer ones.
fn append(nal: &[u8], length_size: usize, out: &mut Vec<u8>) {
    let length = (nal.len() as u64).to_be_bytes();
    if nal.len() as u64 >> (8 * length_size) == 0 {
        out.extend_from_slice(&length[8 - length_size..]);
        out.extend_from_slice(nal);
    }
}

/// The kind of a NAL unit of the base layer; `None` for what is not decoded.
fn kind(nal: &[u8]) -> Option<NalType> {
    NalHeader::parse(nal).filter(|header| header.layer_id == 0).map(|header| header.nal_type)
}

/// A sequence or picture parameter set. Video parameter sets say nothing that decoding needs.
fn is_set(nal: &[u8]) -> bool {
    matches!(kind(nal), Some(NalType::Sps | NalType::Pps))
}

/// A slice segment of a kind that is not reserved (Table 7-1).
fn is_slice(kind: NalType) -> bool {
    matches!(kind.id(), 0..=9 | 16..=21)
}

/// Takes note of a parameter set, which must agree with those before it.
fn note(nal: &[u8], facts: &mut Option<Facts>) -> Result<(), Fault> {
    if is_set(nal) && nal.len() > LONGEST_SET {
        return Err(corrupt("a parameter set is too long"));
    }
    if kind(nal) != Some(NalType::Sps) {
        return Ok(());
    }
    let found = sequence(&unescape(&nal[2..]).data)?;
    match facts {
        None => *facts = Some(found),
        Some(known) if *known == found => {}
        Some(_) => return Err(unsupported("the picture size, colours or references change on the way")),
    }
    Ok(())
}

/// The facts of a sequence parameter set (7.3.2.2).
fn sequence(raw: &[u8]) -> Result<Facts, Fault> {
    let sps = parse_sps(raw).map_err(refused)?;
    let chroma = Chroma::of_format(u32::from(sps.chroma_format_idc));
    let depth = u32::from(sps.bit_depth_luma.max(sps.bit_depth_chroma));
    let extended = sps.range_extension || sps.multilayer_extension || sps.ext_3d || sps.scc_extension;
    if chroma != Chroma::Quarter || depth > 10 || extended || !matches!(sps.ptl.profile(), 0..=3) {
        let name = match sps.ptl.profile() {
            0..=3 => String::new(),
            4 => " (range extensions)".into(),
            9 | 11 => " (screen content coding)".into(),
            other => format!(" (profile {other})"),
        };
        return Err(unsupported(format!(
            "{depth}-bit {}{name}; Main and Main 10 are decoded, 8- and 10-bit 4:2:0",
            chroma.name()
        )));
    }
    if sps.bit_depth_luma != sps.bit_depth_chroma {
        return Err(unsupported(format!(
            "luma of {} bits with chroma of {}",
            sps.bit_depth_luma, sps.bit_depth_chroma
        )));
    }
    let ordering = sps.ordering[usize::from(sps.max_sub_layers_minus1)];
    let (width, height) = sps.output_size();
    // The crate has zeros for what is absent; primaries of 0 are reserved, which no stream says.
    let colour = sps.vui.as_ref().map(|vui| Colour {
        matrix: Some(vui.matrix_coeffs).filter(|&matrix| vui.colour_primaries != 0 && matrix != 2),
        full_range: Some(vui.video_full_range_flag).filter(|&full| full || vui.colour_primaries != 0),
    });
    let picture = Picture {
        width,
        height,
        left: sps.conf_win[0] * u32::from(sps.sub_width_c),
        top: sps.conf_win[2] * u32::from(sps.sub_height_c),
        coded: u64::from(sps.width) * u64::from(sps.height),
        depth,
        chroma,
        colour: colour.unwrap_or_default(),
    };
    Ok(Facts { picture, keeps: ordering.max_dec_pic_buffering_minus1 + 1, top_layer: sps.max_sub_layers_minus1 })
}

/// What a sample's NAL units say of it.
#[derive(Debug, Clone, Copy, Default)]
struct Outline {
    /// Of its slices.
    kind: Option<NalType>,
    layer: u8,
    slices: u64,
    /// Whether it brings parameter sets.
    sets: bool,
    /// Whether a sequence ends behind it (7.4.2.4.4).
    ends: bool,
}

impl Stream {
    fn outline(&self, sample: &[u8]) -> Result<Outline, Fault> {
        let mut outline = Outline::default();
        for nal in nals(sample, self.length_size) {
            let nal = nal?;
            let Some(header) = NalHeader::parse(nal).filter(|header| header.layer_id == 0) else {
                if nal.first().is_some_and(|byte| byte & 0x80 != 0) {
                    return Err(corrupt("a NAL unit begins with a forbidden bit"));
                }
                continue;
            };
            match header.nal_type {
                NalType::Sps | NalType::Pps => outline.sets = true,
                NalType::Eos | NalType::Eob => outline.ends = true,
                kind if is_slice(kind) => {
                    // first_slice_segment_in_pic_flag
                    let first = nal.get(2).is_some_and(|byte| byte & 0x80 != 0);
                    if first != (outline.slices == 0) || outline.kind.is_some_and(|other| other != kind) {
                        return Err(corrupt("a sample does not hold the slices of one picture"));
                    }
                    (outline.kind, outline.layer) = (Some(kind), header.temporal_id);
                    outline.slices += 1;
                }
                _ => {}
            }
        }
        if outline.slices > MOST_SLICES {
            return Err(corrupt(format!("a picture has more than {MOST_SLICES} slice segments")));
        }
        Ok(outline)
    }
}

impl stream::Stream for Stream {
    fn picture(&self) -> Picture {
        self.facts.picture
    }

    fn memory(&self) -> u64 {
        // The decoder has two bytes for each sample, and about 3 a pixel for what it knows of blocks and motion.
        let picture = &self.facts.picture;
        let one = picture.chroma.samples(picture.coded).saturating_mul(2).saturating_add(picture.coded / 8);
        let under_way = picture.coded.saturating_mul(3 + 2); // with what its filters work on
        one.saturating_mul(u64::from(self.facts.keeps) + SLACK as u64 + 1).saturating_add(under_way)
    }

    fn entry(&self, sample: &[u8]) -> Result<Entry, Fault> {
        let kind = self.outline(sample)?.kind;
        Ok(match kind {
            Some(kind) if kind.is_idr() || kind.is_bla() => Entry::Clean,
            Some(kind) if kind.is_cra() => Entry::Open,
            _ => Entry::None,
        })
    }

    fn hidden(&self, samples: Samples<'_>) -> Result<Vec<usize>, Fault> {
        // Whether RASL pictures have what they refer to (8.1.3: NoRaslOutputFlag of the last entry).
        let (mut lost, mut first) = (true, true);
        let mut hidden = Vec::new();
        for (at, sample) in samples.whole() {
            let Ok(Outline { kind: Some(kind), ends, .. }) = self.outline(sample) else { continue };
            if kind.is_irap() {
                lost = first || !kind.is_cra();
            }
            if kind.is_rasl() && lost {
                hidden.push(at);
            }
            first = ends;
        }
        Ok(hidden)
    }

    fn opening(&self, first: &[u8]) -> Result<Vec<u8>, Fault> {
        let mut out = Vec::new();
        self.sets(first, &mut out)?;
        Ok(out)
    }

    fn sets(&self, sample: &[u8], out: &mut Vec<u8>) -> Result<(), Fault> {
        for nal in nals(sample, self.length_size) {
            let nal = nal?;
            if is_set(nal) {
                append(nal, self.length_size, out);
            }
        }
        Ok(())
    }

    fn decoder(&self) -> Result<Box<dyn Decoder>, Fault> {
        let mut running =
            Running { stream: self.clone(), decoder: rusty_h265::Decoder::new(), outline: Outline::default() };
        running.prime(&self.header)?;
        Ok(Box::new(running))
    }
}

/// Pictures beside those that the stream says are kept: rounding in how decoders count the one under way.
const SLACK: usize = 2;

/// A decoder under way.
struct Running {
    stream: Stream,
    decoder: rusty_h265::Decoder,
    /// Of the sample that was read.
    outline: Outline,
}

impl Running {
    /// Hands over what the decoder puts out.
    fn emit(&mut self, emit: Emit<'_>) -> Result<(), Fault> {
        while let Ok(frame) = self.decoder.next_frame() {
            let picture: &Decoded = &frame.picture;
            let planes = picture.planes.each_ref().map(|p| Plane { samples: &p.data[..], stride: p.stride });
            let depth = u32::from(picture.bit_depth_luma);
            let (left, top, width, height) = picture.crop;
            let facts = &self.stream.facts.picture;
            if (depth, left as u32, top as u32, width as u32, height as u32)
                != (facts.depth, facts.left, facts.top, facts.width, facts.height)
            {
                return Err(corrupt("a picture is not of the size that the header says"));
            }
            if let Some(at) = frame.pts.and_then(|pts| usize::try_from(pts).ok()) {
                emit(at, Planes::Words(planes))?;
            }
        }
        Ok(())
    }
}

impl Decoder for Running {
    fn prime(&mut self, sample: &[u8]) -> Result<(), Fault> {
        for nal in nals(sample, self.stream.length_size) {
            let nal = nal?;
            if is_set(nal) {
                note(nal, &mut Some(self.stream.facts))?;
                self.decoder.push_nal(nal, None).map_err(refused)?;
            }
        }
        Ok(())
    }

    fn read(&mut self, at: usize, sample: &[u8]) -> Result<Unit, Fault> {
        let outline = self.stream.outline(sample)?;
        let kind = outline.kind.ok_or_else(|| corrupt(format!("frame {at} holds no picture")))?;
        for nal in nals(sample, self.stream.length_size) {
            note(nal?, &mut Some(self.stream.facts))?;
        }
        self.outline = outline;
        // A sub-layer non-reference picture of the highest sub-layer: nothing refers to it (3.148).
        let unused = kind.is_sub_layer_non_ref() && outline.layer >= self.stream.facts.top_layer;
        // A slice takes time of its own only where it overlaps with others, which they do not in a stream that is right.
        Ok(Unit { disposable: unused && !outline.sets && !outline.ends, cost: 1 + outline.slices / 16 })
    }

    fn decode(&mut self, at: usize, sample: &[u8], emit: Emit<'_>) -> Result<(), Fault> {
        // Nothing refers across these, so all before is put out; a flag of theirs may have the decoder drop it instead.
        if self.outline.kind.is_some_and(|kind| kind.is_idr() || kind.is_bla()) {
            self.drain(emit)?;
        }
        let missing = self.decoder.stats.generated_refs;
        let mut number = i64::try_from(at).ok();
        for nal in nals(sample, self.stream.length_size) {
            let nal = nal?;
            match kind(nal) {
                Some(NalType::Sps | NalType::Pps) => self.decoder.push_nal(nal, None).map_err(refused)?,
                Some(kind) if is_slice(kind) => self.decoder.push_nal(nal, number.take()).map_err(refused)?,
                _ => {}
            }
        }
        if self.decoder.stats.generated_refs != missing {
            return Err(corrupt(format!("frame {at} refers to pictures that are missing")));
        }
        if self.decoder.dpb().len() > self.stream.facts.keeps as usize + SLACK {
            return Err(corrupt("the stream keeps more pictures than it says"));
        }
        if self.outline.ends {
            return self.drain(emit);
        }
        self.emit(emit)
    }

    fn drain(&mut self, emit: Emit<'_>) -> Result<(), Fault> {
        self.decoder.flush();
        self.emit(emit)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::Limits;

    #[test]
    fn records_cut_short_are_refused() {
        let whole = [&[1u8; 21][..], &[3, 1, 33, 0, 1, 0, 4, 0x42, 1, 1, 1]].concat();
        for end in 0..=whole.len() {
            let setup = Setup { record: &whole[..end], first: None, limits: &Limits::default() };
            let reason = open(setup).err().map(|fault| fault.reason);
            assert!(matches!(reason, Some(Reason::Corrupt | Reason::Truncated)), "{end}: {reason:?}");
        }
    }
}
