//! VP9 by `rusty_vp9`: profiles 0 to 3, 8 to 12 bits, any subsampling.
//!
//! A sample is a frame or a superframe, of which the last frame that is shown is presented; a sample without one (an
//! alternate reference in a packet of its own) is hidden. A key frame is a clean entry. No sample is passed over: each one
//! leaves motion vectors and probabilities for the next.
//!
//! The decoder makes frames of any size that a header says, and takes references of any kind, so headers are read here
//! first: frames of another size or kind than the first one's, and references that are not there, are refused.
//! Section numbers are those of the VP9 Bitstream & Decoding Process Specification (v0.6).

use rusty_vp9::{DecodedFrame, Error, Vp9Decoder};

use super::bits::Bits;
use super::picture::{Chroma, Picture, Plane, Planes};
use super::stream::{self, Decoder, Emit, Entry, Samples, Setup, Unit};
use crate::codec::container::Colour;
use crate::error::{Fault, Reason};

fn corrupt(message: impl std::fmt::Display) -> Fault {
    Fault::new(Reason::Corrupt, format!("VP9: {message}"))
}

fn unsupported(message: impl std::fmt::Display) -> Fault {
    Fault::new(Reason::Unsupported, format!("VP9: {message}"))
}

/// Bytes that a key frame's header has at the most, as far as it is read here.
const HEADER: usize = 16;

/// The headers of a VP9 stream: those of its first frame.
#[derive(Debug, Clone, Copy)]
struct Stream {
    picture: Picture,
}

/// Opens a VP9 stream by its first frame, which is a key frame.
pub(super) fn open(setup: Setup<'_>) -> Result<Box<dyn stream::Stream>, Fault> {
    let sample = setup.first("VP9")?;
    let first = frames(sample)?.next().ok_or_else(|| corrupt("the first frame is empty"))?;
    let header = header(first)?;
    let (Kind::Key, Some(format), Some((width, height))) = (header.kind, header.format, header.size) else {
        return Err(corrupt("the clip does not begin with a key frame"));
    };
    let picture = Picture {
        width,
        height,
        left: 0,
        top: 0,
        coded: u64::from(width) * u64::from(height),
        depth: format.depth,
        chroma: format.chroma,
        colour: format.colour,
    };
    Ok(Box::new(Stream { picture }))
}

/// The frames of a sample (annex B): one, or those of the index of a superframe.
fn frames(sample: &[u8]) -> Result<impl Iterator<Item = &[u8]>, Fault> {
    let mut sizes = vec![sample.len()];
    if let Some(&marker) = sample.last().filter(|&byte| byte & 0xe0 == 0xc0) {
        let (count, bytes) = (usize::from(marker & 7) + 1, usize::from(marker >> 3 & 3) + 1);
        let index = sample.len().checked_sub(2 + count * bytes).filter(|&at| sample[at] == marker);
        if let Some(index) = index {
            let entries = sample[index + 1..sample.len() - 1].chunks_exact(bytes);
            sizes = entries.map(|e| e.iter().rev().fold(0, |n, &b| n << 8 | usize::from(b))).collect();
            let all = sizes.iter().fold(0usize, |sum, &size| sum.saturating_add(size));
            if all > index || sizes.contains(&0) {
                return Err(corrupt("the frames of a superframe are longer than it, or empty"));
            }
        }
    }
    let mut at = 0;
    Ok(sizes.into_iter().map(move |size| {
        at += size;
        &sample[at - size..at]
    }))
}

/// How a frame is coded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Key,
    /// Without references, but not a place to begin.
    Intra,
    /// With these three slots of references.
    Inter([u8; 3]),
    /// No picture of its own: the one of a slot is shown.
    Shown(u8),
}

/// What a frame's samples are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Format {
    depth: u32,
    chroma: Chroma,
    colour: Colour,
}

/// The uncompressed header as far as the size (6.2).
#[derive(Debug, Clone, Copy)]
struct Header {
    kind: Kind,
    /// Whether it is presented.
    shown: bool,
    /// `None`: as before.
    format: Option<Format>,
    /// `None`: of the references that `sized_by` has bits for, in their order, the first one's.
    size: Option<(u32, u32)>,
    /// Slots that the frame is kept in.
    refresh: u8,
}

fn header(frame: &[u8]) -> Result<Header, Fault> {
    let mut bits = Bits::new(frame);
    if bits.take(2)? != 2 {
        return Err(corrupt("a frame has no frame marker"));
    }
    let profile = bits.take(1)? | bits.take(1)? << 1;
    if profile == 3 && bits.flag()? {
        return Err(unsupported("a reserved profile"));
    }
    let mut header = Header { kind: Kind::Key, shown: true, format: None, size: None, refresh: 0xff };
    if bits.flag()? {
        return Ok(Header { kind: Kind::Shown(bits.take(3)? as u8), refresh: 0, ..header });
    }
    let inter = bits.flag()?;
    header.shown = bits.flag()?;
    let resilient = bits.flag()?;
    if !inter {
        sync(&mut bits)?;
        header.format = Some(format(&mut bits, profile)?);
        header.size = Some(size(&mut bits)?);
        return Ok(header);
    }
    let intra = !header.shown && bits.flag()?;
    if !resilient {
        bits.take(2)?; // reset_frame_context
    }
    if intra {
        header.kind = Kind::Intra;
        sync(&mut bits)?;
        header.format = Some(match profile {
            0 => Format { depth: 8, chroma: Chroma::Quarter, colour: Colour::default() },
            _ => format(&mut bits, profile)?,
        });
        header.refresh = bits.take(8)? as u8;
        header.size = Some(size(&mut bits)?);
        return Ok(header);
    }
    header.refresh = bits.take(8)? as u8;
    let mut slots = [0; 3];
    for slot in &mut slots {
        *slot = bits.take(3)? as u8;
        bits.flag()?; // its sign bias
    }
    header.kind = Kind::Inter(slots);
    // 7.2.5: the size of a reference, or one of its own. All are of one size, so which reference makes no difference.
    let mut found = false;
    for _ in 0..3 {
        found = found || bits.flag()?;
    }
    if !found {
        header.size = Some(size(&mut bits)?);
    }
    Ok(header)
}

fn sync(bits: &mut Bits<'_>) -> Result<(), Fault> {
    if bits.take(24)? != 0x49_8342 {
        return Err(corrupt("a key frame has no synchronisation code"));
    }
    Ok(())
}

fn size(bits: &mut Bits<'_>) -> Result<(u32, u32), Fault> {
    Ok((bits.take(16)? + 1, bits.take(16)? + 1))
}

/// A bit that is 0 in every stream that there is.
fn reserved(bits: &mut Bits<'_>) -> Result<(), Fault> {
    if bits.flag()? {
        return Err(unsupported("a reserved bit is set"));
    }
    Ok(())
}

/// `color_config` (6.2.2); the spaces of 7.2.2 as numbers of ITU-T H.273.
fn format(bits: &mut Bits<'_>, profile: u32) -> Result<Format, Fault> {
    let depth = match profile {
        0 | 1 => 8,
        _ if bits.flag()? => 12,
        _ => 10,
    };
    let space = bits.take(3)? as usize;
    if space == 7 {
        if profile & 1 == 0 {
            return Err(corrupt("RGB in a profile that has none"));
        }
        reserved(bits)?;
        let colour = Colour { matrix: Some(0), full_range: Some(true) };
        return Ok(Format { depth, chroma: Chroma::Full, colour });
    }
    let full = bits.flag()?;
    let chroma = match profile & 1 {
        0 => Chroma::Quarter,
        _ => {
            let chroma = Chroma::of_subsampling(bits.flag()?, bits.flag()?);
            reserved(bits)?;
            chroma
        }
    };
    if profile & 1 == 1 && chroma == Chroma::Quarter {
        return Err(corrupt("4:2:0 in a profile that has none"));
    }
    let matrix = [None, Some(6), Some(1), Some(6), Some(7), Some(9), None][space];
    Ok(Format { depth, chroma, colour: Colour { matrix, full_range: Some(full) } })
}

impl stream::Stream for Stream {
    fn picture(&self) -> Picture {
        self.picture
    }

    fn memory(&self) -> u64 {
        // Eight references, two kept for their memory, the frame under way and the one handed over; two bytes a sample. Of each
        // block of 8 x 8 pixels less than 128 bytes are known, twice.
        let one = self.picture.chroma.samples(self.picture.coded).saturating_mul(2);
        one.saturating_mul(8 + 2 + 2).saturating_add(self.picture.coded.saturating_mul(4))
    }

    fn entry(&self, sample: &[u8]) -> Result<Entry, Fault> {
        let first = frames(sample)?.next().ok_or_else(|| corrupt("a frame is empty"))?;
        Ok(if header(first)?.kind == Kind::Key { Entry::Clean } else { Entry::None })
    }

    fn hidden(&self, samples: Samples<'_>) -> Result<Vec<usize>, Fault> {
        let shows = |sample| frames(sample).is_ok_and(|mut f| f.any(|f| header(f).is_ok_and(|header| header.shown)));
        // What cannot be read is left for decoding to complain of.
        let reads = |sample| frames(sample).is_ok_and(|mut f| f.all(|f| header(f).is_ok()));
        let hidden = samples.whole().filter(|&(_, sample)| reads(sample) && !shows(sample));
        Ok(hidden.map(|(at, _)| at).collect())
    }

    /// The beginning of the first frame has all of its uncompressed header; a byte of 0 behind it is no index of a superframe.
    fn opening(&self, first: &[u8]) -> Result<Vec<u8>, Fault> {
        Ok([&first[..first.len().min(HEADER)], &[0]].concat())
    }

    fn decoder(&self) -> Result<Box<dyn Decoder>, Fault> {
        Ok(Box::new(Running { picture: self.picture, decoder: Vp9Decoder::new(), kept: 0 }))
    }
}

/// A decoder under way.
struct Running {
    picture: Picture,
    decoder: Vp9Decoder,
    /// Slots that hold a picture.
    kept: u8,
}

impl Decoder for Running {
    fn read(&mut self, at: usize, sample: &[u8]) -> Result<Unit, Fault> {
        let mut cost = 0;
        let known = &self.picture;
        for frame in frames(sample)? {
            let header = header(frame)?;
            let slots = match header.kind {
                Kind::Key | Kind::Intra => 0,
                Kind::Inter(slots) => slots.iter().fold(0, |all, slot| all | 1u8 << slot),
                Kind::Shown(slot) => 1 << slot,
            };
            if slots & !self.kept != 0 {
                return Err(corrupt(format!("frame {at} refers to pictures that are missing")));
            }
            let another = |format: Format| (format.depth, format.chroma) != (known.depth, known.chroma);
            let resized = header.size.is_some_and(|size| size != (known.width, known.height));
            if resized || header.format.is_some_and(another) {
                return Err(unsupported("the picture size or format changes on the way"));
            }
            self.kept |= header.refresh;
            cost += 1;
        }
        Ok(Unit { disposable: false, cost })
    }

    fn decode(&mut self, at: usize, sample: &[u8], emit: Emit<'_>) -> Result<(), Fault> {
        let refused = |error| match error {
            Error::Unsupported(what) => unsupported(what),
            other => corrupt(other),
        };
        self.decoder.push(sample, None).map_err(refused)?;
        for _ in frames(sample)? {
            match self.decoder.next_frame() {
                Ok(frame) => emit(at, planes(&frame, &self.picture)?)?,
                Err(Error::Again) => {} // it was hidden
                Err(error) => return Err(refused(error)),
            }
        }
        Ok(())
    }
}

/// The planes of a frame, which are rows without gaps.
fn planes<'f>(frame: &'f DecodedFrame, picture: &Picture) -> Result<Planes<'f>, Fault> {
    let chroma = Chroma::of_subsampling(frame.subsampling_x != 0, frame.subsampling_y != 0);
    let (Ok(planes), Ok(strides)) =
        (<&[Vec<u8>; 3]>::try_from(&frame.planes[..]), <[usize; 3]>::try_from(&frame.strides[..]))
    else {
        return Err(corrupt("a frame has not three planes"));
    };
    if (frame.width, frame.height, frame.bit_depth, chroma)
        != (picture.width, picture.height, picture.depth, picture.chroma)
    {
        return Err(corrupt("a frame is not of the size that its header says"));
    }
    Ok(match picture.depth {
        8 => Planes::Bytes([0, 1, 2].map(|n| Plane { samples: &planes[n][..], stride: strides[n] })),
        _ => Planes::Pairs([0, 1, 2].map(|n| Plane { samples: planes[n].as_chunks().0, stride: strides[n] / 2 })),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn superframes_are_taken_apart() {
        let all = |sample: &'static [u8]| frames(sample).map(|f| f.map(<[u8]>::len).collect::<Vec<_>>()).ok();
        assert_eq!(all(&[1, 2, 3]), Some(vec![3]));
        // Two frames of 2 and 1 bytes, sizes of one byte.
        assert_eq!(all(&[7, 7, 9, 0xc1, 2, 1, 0xc1]), Some(vec![2, 1]));
        assert_eq!(all(&[7, 7, 9, 0xc1, 2, 2, 0xc1]), None, "longer than the superframe");
        assert_eq!(all(&[7, 7, 9, 0xc1, 2, 0, 0xc1]), None, "an empty frame");
        assert_eq!(all(&[7, 0xc1]), Some(vec![2]), "no index");
        assert_eq!(all(&[0xdf]), Some(vec![1]));
    }

    #[test]
    fn headers_that_end_early_are_refused() {
        for frame in [&[][..], &[0x82], &[0x82, 0x49, 0x83], &[0x00, 0x49, 0x83, 0x42]] {
            assert_eq!(header(frame).unwrap_err().reason, Reason::Corrupt, "{frame:?}");
        }
        // 10, profile 0, show_existing_frame, slot 5.
        assert_eq!(header(&[0b1000_1101]).unwrap().kind, Kind::Shown(5));
    }
}
