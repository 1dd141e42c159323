//! What must be known of an H.264 stream beside its pixels: parameter sets, slice headers, recovery points.
//!
//! The decoder trusts what it is fed: it sizes memory by numbers in headers, conceals a missing reference by leaving
//! pixels unpredicted, and passes over syntax that it does not apply. So each NAL unit is looked at here before it is
//! handed on: numbers are held within the standard's bounds, jumps in `frame_num` and unsupported syntax are faults.
//! Section numbers are those of ITU-T H.264 (08/2021).

mod params;

use std::collections::BTreeMap;

use rusty_h264_decoder::{DecodeError, Pps};

use self::params::{Sequence, sequence};
use super::bits::{Bits, unescape};
use super::nal::{nals, take, take_counted};
use super::picture::{Picture, Plane, Planes};
use super::stream::{self, Decoder, Emit, Entry, Setup};
use crate::error::{Fault, Reason};

/// The same of a picture parameter set (7.3.2.2).
#[derive(Debug, Clone, Copy)]
struct Set {
    sequence: u32,
    bottom_order: bool,
    redundant: bool,
}

/// Bytes of a slice that are looked at: more than a header has, as far as it is read here.
const SLICE_HEADER: usize = 64;

/// An access unit, ready for the decoder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Unit {
    /// Whether it is an IDR picture: nothing before it matters.
    idr: bool,
    /// Whether later pictures may refer to it.
    reference: bool,
    /// `frame_num`, and what it is counted modulo of; `None` if the stream may skip numbers.
    number: Option<(u32, u32)>,
    /// Whether it brings parameter sets.
    sets: bool,
}

/// The parameter sets seen so far and the form in which samples hold NAL units.
#[derive(Debug, Clone)]
struct Stream {
    /// Bytes of the length in front of each NAL unit.
    length_size: usize,
    sequences: BTreeMap<u32, Sequence>,
    sets: BTreeMap<u32, Set>,
    /// The parameter sets of the configuration, as the decoder wants them (Annex B).
    header: Vec<u8>,
}

/// Opens an H.264 stream by its `AVCDecoderConfigurationRecord`.
pub(super) fn open(setup: Setup<'_>) -> Result<Box<dyn stream::Stream>, Fault> {
    let stream = Stream::new(setup.record, setup.first)?;
    stream.any()?;
    Ok(Box::new(stream))
}

fn corrupt(message: impl std::fmt::Display) -> Fault {
    Fault::new(Reason::Corrupt, message)
}

fn unsupported(message: impl std::fmt::Display) -> Fault {
    Fault::new(Reason::Unsupported, message)
}

/// The decoder's refusal as a fault.
fn refused(error: DecodeError) -> Fault {
    match error {
        DecodeError::Truncated => corrupt("H.264: the coded data of a picture ends early or contradicts itself"),
        DecodeError::MissingParameterSet => corrupt("H.264: a slice names a parameter set that is not there"),
        DecodeError::Unsupported(what) if what.contains("interlace") => unsupported("interlaced H.264"),
        // The decoder uses one word for tools that it lacks and for values that the standard does not have.
        DecodeError::Unsupported(what) => unsupported(format!("H.264: {what}")),
        DecodeError::Internal(what) => corrupt(format!("H.264 decoder: {what}")),
    }
}

impl Stream {
    /// From an `AVCDecoderConfigurationRecord` (ISO/IEC 14496-15, 5.3.3.1), the same in MP4 and Matroska. `first` is the
    /// first sample, asked only if the record holds no parameter sets (`avc3`).
    fn new(record: &[u8], first: Option<&[u8]>) -> Result<Self, Fault> {
        let [1, _, _, _, lengths, counts, rest @ ..] = record else {
            return Err(corrupt("the H.264 configuration record is too short or of an unknown version"));
        };
        let mut stream = Stream {
            length_size: usize::from(lengths & 3) + 1,
            sequences: BTreeMap::new(),
            sets: BTreeMap::new(),
            header: Vec::new(),
        };
        let mut rest = rest;
        for kind in [7, 8] {
            let count = match kind {
                7 => counts & 31,
                _ => take(&mut rest, 1)?[0],
            };
            for _ in 0..count {
                let nal = take_counted(&mut rest, 2)?;
                if nal.first().map(|b| b & 31) == Some(kind) {
                    let mut header = std::mem::take(&mut stream.header);
                    stream.nal(nal, &mut header, &mut None)?;
                    stream.header = header;
                }
            }
        }
        if stream.sequences.is_empty() {
            let first = first.ok_or_else(|| corrupt("the H.264 track has no parameter sets"))?;
            stream.unit(first, &mut Vec::new())?;
        }
        Ok(stream)
    }

    /// Any sequence parameter set: all have the same picture ([`Stream::sequence`] sees to it).
    fn any(&self) -> Result<&Sequence, Fault> {
        self.sequences.values().next().ok_or_else(|| corrupt("the H.264 track has no sequence parameter set"))
    }

    /// Reads a sample's access unit and appends it to `out` as the decoder wants it: start codes instead of lengths, and
    /// only slices and parameter sets.
    fn unit(&mut self, sample: &[u8], out: &mut Vec<u8>) -> Result<Unit, Fault> {
        let mut unit = None;
        let mut sets = false;
        for nal in nals(sample, self.length_size) {
            let nal = nal?;
            sets |= matches!(kind(nal), 7 | 8);
            // Others are delimiters, fillers, extensions that a base decoder passes over (7.4.1, Table 7-1).
            if matches!(kind(nal), 1..=5 | 7 | 8) {
                self.nal(nal, out, &mut unit)?;
            }
        }
        let unit: Unit = unit.ok_or_else(|| corrupt("a sample of the H.264 track holds no picture"))?;
        Ok(Unit { sets, ..unit })
    }

    /// Reads one slice or parameter set and appends it to `out`.
    fn nal(&mut self, nal: &[u8], out: &mut Vec<u8>, unit: &mut Option<Unit>) -> Result<(), Fault> {
        let header = nal.first().copied().unwrap_or(0x80);
        if header & 0x80 != 0 {
            return Err(corrupt("an H.264 NAL unit begins with a forbidden bit"));
        }
        match header & 31 {
            7 => self.sequence(nal)?,
            8 => self.set(nal)?,
            1 | 5 => self.slice(nal, unit)?,
            _ => return Err(unsupported("H.264 with data partitioning")),
        }
        if holds_start_code(nal) {
            return Err(corrupt("an H.264 NAL unit holds a start code"));
        }
        out.extend_from_slice(&[0, 0, 0, 1]);
        out.extend_from_slice(nal);
        Ok(())
    }

    fn sequence(&mut self, nal: &[u8]) -> Result<(), Fault> {
        let (id, sequence) = sequence(&unescape(nal, 4096))?;
        let differs = |other: &Sequence| (other.picture, other.references) != (sequence.picture, sequence.references);
        if self.sequences.values().any(differs) {
            return Err(unsupported("H.264 whose picture size, colours or references change on the way"));
        }
        self.sequences.insert(id, sequence);
        Ok(())
    }

    fn set(&mut self, nal: &[u8]) -> Result<(), Fault> {
        let raw = unescape(nal, 4096);
        let mut bits = Bits::new(&raw);
        let id = bits.ue_to("pic_parameter_set_id", 255)?;
        let sequence = bits.ue_to("seq_parameter_set_id", 31)?;
        bits.take(2)?;
        if bits.ue()? != 0 {
            return Err(unsupported("H.264 with slice groups (FMO)"));
        }
        bits.ue_to("num_ref_idx_l0", 31)?;
        bits.ue_to("num_ref_idx_l1", 31)?;
        bits.take(3)?;
        for (what, least, most) in
            [("pic_init_qp", -26, 25), ("pic_init_qs", -26, 25), ("chroma_qp_index_offset", -12, 12)]
        {
            let value = bits.se()?;
            if !(least..=most).contains(&value) {
                return Err(corrupt(format!("{what} is {value}, between {least} and {most} at the most")));
            }
        }
        let pps = Pps::parse(&raw).map_err(refused)?;
        if pps.second_chroma_qp_index_offset != pps.chroma_qp_index_offset {
            // The decoder reads the second offset and does not apply it: Cr would come out wrong.
            return Err(unsupported("H.264 with a quantiser offset of its own for Cr"));
        }
        let set = Set {
            sequence,
            bottom_order: pps.bottom_field_pic_order_present,
            redundant: pps.redundant_pic_cnt_present_flag,
        };
        self.sets.insert(id, set);
        Ok(())
    }

    /// The slice header as far as the counts that size memory (7.3.3).
    fn slice(&mut self, nal: &[u8], unit: &mut Option<Unit>) -> Result<(), Fault> {
        let idr = nal[0] & 31 == 5;
        let reference = nal[0] >> 5 & 3 != 0;
        let raw = unescape(nal, SLICE_HEADER);
        let mut bits = Bits::new(&raw);
        let first = bits.ue()?;
        let kind = bits.ue_to("slice_type", 9)? % 5;
        let missing = || corrupt("an H.264 slice names a parameter set that is not there");
        let set = *self.sets.get(&bits.ue()?).ok_or_else(missing)?;
        let sequence = *self.sequences.get(&set.sequence).ok_or_else(missing)?;
        let number = bits.take(sequence.frame_num_bits)?;
        if !sequence.frames_only && bits.flag()? {
            return Err(unsupported("interlaced H.264 (fields)"));
        }
        if idr {
            bits.ue()?;
        }
        if sequence.order_type == 0 {
            bits.take(sequence.order_bits)?;
            if set.bottom_order {
                bits.se()?;
            }
        } else if sequence.order_type == 1 && !sequence.order_always_zero {
            bits.se()?;
            if set.bottom_order {
                bits.se()?;
            }
        }
        if set.redundant && bits.ue()? != 0 {
            return Ok(()); // a second coding of the same picture; the decoder leaves it
        }
        if kind == 1 {
            bits.flag()?;
        }
        if kind < 2 && bits.flag()? {
            bits.ue_to("num_ref_idx_l0", 31)?;
            if kind == 1 {
                bits.ue_to("num_ref_idx_l1", 31)?;
            }
        }
        if kind > 2 {
            return Err(unsupported("H.264 with SP or SI slices"));
        }
        let here = Unit {
            idr,
            reference,
            sets: false,
            number: (!sequence.gaps).then_some((number, 1 << sequence.frame_num_bits)),
        };
        match unit {
            None => *unit = Some(here),
            Some(_) if first == 0 => return Err(corrupt("a sample holds two H.264 pictures")),
            Some(seen) if *seen != here => return Err(corrupt("the slices of an H.264 picture contradict each other")),
            Some(_) => {}
        }
        Ok(())
    }
}

/// The kind of a NAL unit (Table 7-1); 0 if it is empty.
fn kind(nal: &[u8]) -> u8 {
    nal.first().map_or(0, |b| b & 31)
}

impl stream::Stream for Stream {
    fn picture(&self) -> Picture {
        self.any().expect("seen when it was opened").picture
    }

    fn memory(&self) -> u64 {
        // What is kept for reference, the picture before and the one under way.
        let pictures = u64::from(self.any().map_or(16, |sequence| sequence.references)) + 2;
        pictures.saturating_mul(self.picture().coded).saturating_mul(3) / 2
    }

    /// From the kinds of its NAL units: an IDR picture, or a recovery point with exact match (D.2.8).
    fn entry(&self, sample: &[u8]) -> Result<Entry, Fault> {
        let mut entry = Entry::None;
        for nal in nals(sample, self.length_size) {
            let nal = nal?;
            match kind(nal) {
                5 => return Ok(Entry::Clean),
                6 if recovery_point(nal).unwrap_or(false) => entry = Entry::Open,
                _ => {}
            }
        }
        Ok(entry)
    }

    /// The parameter sets, and the headers of the slices.
    fn opening(&self, first: &[u8]) -> Result<Vec<u8>, Fault> {
        let mut out = Vec::new();
        for nal in nals(first, self.length_size) {
            let nal = nal?;
            let kept = match kind(nal) {
                7 | 8 => nal,
                1..=5 => &nal[..nal.len().min(2 * SLICE_HEADER)], // with what is escaped
                _ => continue,
            };
            let length = (kept.len() as u64).to_be_bytes();
            out.extend_from_slice(&length[8 - self.length_size..]);
            out.extend_from_slice(kept);
        }
        Ok(out)
    }

    fn sets(&self, sample: &[u8], out: &mut Vec<u8>) -> Result<(), Fault> {
        for nal in nals(sample, self.length_size) {
            let nal = nal?;
            if matches!(kind(nal), 7 | 8) {
                out.extend_from_slice(&[0, 0, 0, 1]);
                out.extend_from_slice(nal);
            }
        }
        Ok(())
    }

    fn decoder(&self) -> Result<Box<dyn Decoder>, Fault> {
        let mut decoder = rusty_h264_decoder::Decoder::new();
        decoder.decode(&self.header).map_err(refused)?;
        Ok(Box::new(Running { stream: self.clone(), decoder, number: None, stale: false, unit: Vec::new() }))
    }
}

/// A decoder under way.
struct Running {
    stream: Stream,
    decoder: rusty_h264_decoder::Decoder,
    /// `frame_num` of the last reference picture.
    number: Option<u32>,
    /// Whether the decoder may have a broken picture pending, which makes it refuse the next one once.
    stale: bool,
    /// The access unit that was read.
    unit: Vec<u8>,
}

impl Decoder for Running {
    fn prime(&mut self, sample: &[u8]) -> Result<(), Fault> {
        self.unit.clear();
        for nal in nals(sample, self.stream.length_size) {
            let nal = nal?;
            if matches!(kind(nal), 7 | 8) {
                self.stream.nal(nal, &mut self.unit, &mut None)?;
            }
        }
        self.decoder.decode(&self.unit).map(drop).map_err(refused)
    }

    fn read(&mut self, at: usize, sample: &[u8]) -> Result<stream::Unit, Fault> {
        self.unit.clear();
        let unit = self.stream.unit(sample, &mut self.unit)?;
        if let (Some((number, modulus)), Some(last), false) = (unit.number, self.number, unit.idr) {
            // 7.4.3: the number of the last reference picture or one more; 0 or 1 after it was set back (MMCO 5).
            if number > 1 && number != last && number != (last + 1) % modulus {
                return Err(corrupt(format!(
                    "H.264: pictures are missing before frame {at} (frame_num {number} after {last})"
                )));
            }
        }
        if unit.reference {
            self.number = unit.number.map(|(number, _)| number);
        }
        Ok(stream::Unit { disposable: !unit.reference && !unit.sets, cost: 1 })
    }

    fn decode(&mut self, at: usize, _sample: &[u8], emit: Emit<'_>) -> Result<(), Fault> {
        let mut picture = self.decoder.decode(&self.unit);
        if std::mem::replace(&mut self.stale, picture.is_err()) && picture.is_err() {
            picture = self.decoder.decode(&self.unit);
            self.stale = picture.is_err();
        }
        let frame = picture.map_err(refused)?;
        let frame = frame.ok_or_else(|| corrupt(format!("H.264: frame {at} is not complete")))?;
        let size = self.stream.any()?.picture;
        let (width, height) = ((size.width + size.left) as usize, (size.height + size.top) as usize);
        let luma = width * height;
        if (frame.width, frame.y.len(), frame.u.len(), frame.v.len()) != (width, luma, luma / 4, luma / 4) {
            return Err(corrupt(format!("H.264: frame {at} is not of the size that the header says")));
        }
        let plane = |samples, stride| Plane { samples, stride };
        emit(
            at,
            Planes::Bytes([plane(&frame.y[..], width), plane(&frame.u[..], width / 2), plane(&frame.v[..], width / 2)]),
        )
    }
}

/// Whether 0, 0, 1 occurs: a decoder of start codes would see another unit there, unseen by us.
fn holds_start_code(nal: &[u8]) -> bool {
    let mut at = 2;
    while let Some(&byte) = nal.get(at) {
        if byte > 1 {
            at += 3;
        } else if byte == 1 && nal[at - 1] == 0 && nal[at - 2] == 0 {
            return true;
        } else {
            at += 1;
        }
    }
    false
}

/// Whether a supplemental message says that decoding may begin here: `recovery_frame_cnt` 0 and an exact match (D.1.8).
pub(super) fn recovery_point(nal: &[u8]) -> Result<bool, Fault> {
    let raw = unescape(nal, 4096);
    let mut rest = &raw[..];
    while rest.len() > 2 {
        let mut number = [0usize; 2]; // payloadType, payloadSize (7.3.2.3.1)
        for n in &mut number {
            loop {
                let byte = take(&mut rest, 1)?[0];
                *n += usize::from(byte);
                if byte != 255 {
                    break;
                }
            }
        }
        let payload = take(&mut rest, number[1])?;
        if number[0] == 6 {
            let mut bits = Bits::new(payload);
            return Ok(bits.ue()? == 0 && bits.flag()?);
        }
    }
    Ok(false)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn start_codes_are_found() {
        for (nal, found) in [
            (&[0x65, 0, 0, 1][..], true),
            (&[0x65, 0, 0, 3, 1], false),
            (&[0, 0, 1], true),
            (&[0x65, 7, 0, 0, 0, 1], true),
            (&[0x65, 9, 9, 0, 0], false),
            (&[0x65, 1, 0, 1, 0, 0, 2], false),
        ] {
            assert_eq!(holds_start_code(nal), found, "{nal:?}");
        }
    }

    #[test]
    fn records_cut_short_are_refused() {
        for record in
            [&[][..], &[1, 100, 0, 31, 255], &[1, 100, 0, 31, 255, 0xe1, 0, 9, 0x67], &[2, 1, 1, 1, 255, 0, 0]]
        {
            assert_eq!(Stream::new(record, None).unwrap_err().reason, Reason::Corrupt, "{record:?}");
        }
    }
}
