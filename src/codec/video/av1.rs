//! AV1 by `re_rav1d`: profiles 0 to 2, 8 to 12 bits, any subsampling, monochrome, film grain applied.
//!
//! A sample is a temporal unit, of which one picture is presented; a shown key frame is a clean entry. (A key frame that is
//! coded hidden and shown later is none: decoding begins at the shown one before.) No sample is passed over.
//!
//! The decoder sizes its memory by the sequence header, which is read here first and may not change. Frames that are
//! smaller than it says are refused, as is what a scalable stream has beside its first operating point.
//! Section numbers are those of the AV1 Bitstream & Decoding Process Specification (version 1.0.0 with errata 1).

use re_rav1d::dav1d::{Decoder as Rav1d, Error, PixelLayout, PlanarImageComponent as Component, Settings};

use super::bits::Bits;
use super::picture::{Chroma, Picture, Plane, Planes};
use super::stream::{self, Decoder, Emit, Entry, Setup, Unit};
use crate::codec::container::Colour;
use crate::error::{Fault, Reason};

fn corrupt(message: impl std::fmt::Display) -> Fault {
    Fault::new(Reason::Corrupt, format!("AV1: {message}"))
}

fn unsupported(message: impl std::fmt::Display) -> Fault {
    Fault::new(Reason::Unsupported, format!("AV1: {message}"))
}

fn refused(error: Error) -> Fault {
    match error {
        Error::UnsupportedBitstream => unsupported("a stream that the decoder does not know"),
        Error::NotEnoughMemory => {
            Fault::new(Reason::OverLimit, "AV1: the decoder has not got the memory that it wants")
        }
        other => corrupt(other),
    }
}

/// What is taken from a sequence header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Sequence {
    picture: Picture,
    /// Whether frame headers are left out: each is a shown key frame.
    reduced: bool,
}

/// The headers of an AV1 stream.
#[derive(Debug, Clone)]
struct Stream {
    /// The OBUs of the configuration.
    header: Vec<u8>,
    sequence: Sequence,
}

/// Frames of one temporal unit. Of a picture that is shown, those that are not are references; encoders have seven at most.
const MOST_FRAMES: u64 = 64;

const SEQUENCE: u8 = 1;
const FRAME_HEADER: u8 = 3;
const FRAME: u8 = 6;

/// Opens an AV1 stream by the sequence header in its `AV1CodecConfigurationRecord`, or in its first sample.
pub(super) fn open(setup: Setup<'_>) -> Result<Box<dyn stream::Stream>, Fault> {
    let header = match setup.record {
        [] => Vec::new(),
        [0x81, _, _, _, units @ ..] => units.to_vec(),
        _ => return Err(corrupt("the configuration record is too short or of an unknown version")),
    };
    let mut found = None;
    for unit in units(&header) {
        note(unit?, &mut found)?;
    }
    if found.is_none() {
        for unit in units(setup.first("AV1")?) {
            note(unit?, &mut found)?;
        }
    }
    let sequence = found.ok_or_else(|| corrupt("the track has no sequence header"))?;
    Ok(Box::new(Stream { header, sequence }))
}

/// The OBUs of a sample: type and content (5.3). The last may be without a size.
fn units(sample: &[u8]) -> impl Iterator<Item = Result<(u8, &[u8]), Fault>> {
    let mut rest = sample;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let unit = next(&mut rest);
        if unit.is_err() {
            rest = &[];
        }
        Some(unit)
    })
}

fn next<'a>(rest: &mut &'a [u8]) -> Result<(u8, &'a [u8]), Fault> {
    let ends = || corrupt("an OBU is longer than what holds it");
    let (&head, mut body) = rest.split_first().ok_or_else(ends)?;
    if head & 0x80 != 0 {
        return Err(corrupt("an OBU begins with a forbidden bit"));
    }
    if head & 4 != 0 {
        body = body.get(1..).ok_or_else(ends)?; // the extension
    }
    if head & 2 == 0 {
        *rest = &[];
        return Ok((head >> 3 & 15, body));
    }
    let mut size = 0u64;
    for n in 0..8 {
        let (&byte, behind) = body.split_first().ok_or_else(ends)?;
        (size, body) = (size | u64::from(byte & 0x7f) << (7 * n), behind);
        if byte & 0x80 == 0 {
            let size = usize::try_from(size).map_err(|_| ends())?;
            let (unit, behind) = body.split_at_checked(size).ok_or_else(ends)?;
            *rest = behind;
            return Ok((head >> 3 & 15, unit));
        }
    }
    Err(corrupt("an OBU has no valid size"))
}

/// Takes note of a sequence header, which must say what those before it did.
fn note((kind, unit): (u8, &[u8]), found: &mut Option<Sequence>) -> Result<(), Fault> {
    if kind != SEQUENCE {
        return Ok(());
    }
    let sequence = sequence(unit)?;
    match found {
        None => *found = Some(sequence),
        Some(known) if *known == sequence => {}
        Some(_) => return Err(unsupported("the picture size, format or colours change on the way")),
    }
    Ok(())
}

/// The sequence header (5.5.1).
fn sequence(unit: &[u8]) -> Result<Sequence, Fault> {
    let mut bits = Bits::new(unit);
    let profile = bits.take(3)?;
    if profile > 2 {
        return Err(unsupported(format!("profile {profile}")));
    }
    bits.flag()?; // still_picture
    let reduced = bits.flag()?;
    if reduced {
        bits.take(5)?;
    } else {
        operating_points(&mut bits)?;
    }
    let (across, down) = (bits.take(4)? + 1, bits.take(4)? + 1);
    let (width, height) = (bits.take(across)? + 1, bits.take(down)? + 1);
    if !reduced && bits.flag()? {
        bits.take(4 + 3)?; // lengths of frame numbers
    }
    bits.take(3)?;
    if !reduced {
        bits.take(4)?;
        let ordered = bits.flag()?;
        if ordered {
            bits.take(2)?;
        }
        let screen = bits.flag()? || bits.flag()?; // chosen by each frame, or forced
        if screen && !bits.flag()? {
            bits.flag()?;
        }
        if ordered {
            bits.take(3)?;
        }
    }
    bits.take(3)?;
    let (depth, chroma, colour) = colours(&mut bits, profile)?;
    let coded = u64::from(width) * u64::from(height);
    let picture = Picture { width, height, left: 0, top: 0, coded, depth, chroma, colour };
    Ok(Sequence { picture, reduced })
}

/// Timing, decoder model and operating points of a sequence header.
fn operating_points(bits: &mut Bits<'_>) -> Result<(), Fault> {
    let mut delay_bits = None;
    if bits.flag()? {
        bits.take(32)?;
        bits.take(32)?;
        if bits.flag()? {
            // uvlc (4.10.3), which is the Exp-Golomb code
            bits.ue()?;
        }
        if bits.flag()? {
            delay_bits = Some(bits.take(5)? + 1);
            bits.take(32)?;
            bits.take(10)?;
        }
    }
    let display_delays = bits.flag()?;
    for _ in 0..=bits.take(5)? {
        bits.take(12)?;
        if bits.take(5)? > 7 {
            bits.flag()?;
        }
        if let Some(delay_bits) = delay_bits
            && bits.flag()?
        {
            bits.take(delay_bits)?;
            bits.take(delay_bits)?;
            bits.flag()?;
        }
        if display_delays && bits.flag()? {
            bits.take(4)?;
        }
    }
    Ok(())
}

/// `color_config` (5.5.2).
fn colours(bits: &mut Bits<'_>, profile: u32) -> Result<(u32, Chroma, Colour), Fault> {
    let high = bits.flag()?;
    let depth = match (high, profile) {
        (true, 2) if bits.flag()? => 12,
        (true, _) => 10,
        (false, _) => 8,
    };
    let mono = profile != 1 && bits.flag()?;
    let [primaries, transfer, matrix] = match bits.flag()? {
        true => [bits.take(8)?, bits.take(8)?, bits.take(8)?],
        false => [2, 2, 2],
    };
    let matrix_known = u8::try_from(matrix).ok().filter(|&matrix| matrix != 2);
    if !mono && (primaries, transfer, matrix) == (1, 13, 0) {
        return Ok((depth, Chroma::Full, Colour { matrix: Some(0), full_range: Some(true) }));
    }
    let full_range = Some(bits.flag()?);
    let chroma = match profile {
        _ if mono => Chroma::Mono,
        0 => Chroma::Quarter,
        1 => Chroma::Full,
        _ if depth == 12 => {
            let x = bits.flag()?;
            Chroma::of_subsampling(x, x && bits.flag()?)
        }
        _ => Chroma::Half,
    };
    Ok((depth, chroma, Colour { matrix: matrix_known, full_range }))
}

impl stream::Stream for Stream {
    fn picture(&self) -> Picture {
        self.sequence.picture
    }

    fn memory(&self) -> u64 {
        // Eight references, the picture under way, the one handed over, that with film grain, and one kept for its memory. Sides are
        // rounded up to 128 samples; of each block of 8 x 8 pixels less than 256 bytes are known, in each reference 16.
        let picture = &self.sequence.picture;
        let coded = (u64::from(picture.width) + 128) * (u64::from(picture.height) + 128);
        let one = picture.chroma.samples(coded).saturating_mul(if picture.depth > 8 { 2 } else { 1 });
        one.saturating_mul(8 + 4).saturating_add(coded.saturating_mul(8))
    }

    fn entry(&self, sample: &[u8]) -> Result<Entry, Fault> {
        for unit in units(sample) {
            let (kind, unit) = unit?;
            if matches!(kind, FRAME_HEADER | FRAME) {
                // show_existing_frame, frame_type, show_frame (5.9.2)
                let key = self.sequence.reduced || unit.first().is_some_and(|byte| byte >> 4 == 0b0001);
                return Ok(if key { Entry::Clean } else { Entry::None });
            }
        }
        Ok(Entry::None)
    }

    /// The sequence headers, each with a size.
    fn opening(&self, first: &[u8]) -> Result<Vec<u8>, Fault> {
        let mut out = Vec::new();
        for unit in units(first) {
            let (kind, unit) = unit?;
            // Sizes of one byte are below 128, which no sequence header comes near.
            if let (SEQUENCE, Ok(size @ ..128)) = (kind, u8::try_from(unit.len())) {
                out.extend([SEQUENCE << 3 | 2, size]);
                out.extend_from_slice(unit);
            }
        }
        Ok(out)
    }

    fn decoder(&self) -> Result<Box<dyn Decoder>, Fault> {
        let mut settings = Settings::new();
        // One thread, so that a temporal unit's picture comes at once.
        settings.set_n_threads(1);
        settings.set_max_frame_delay(1);
        settings.set_all_layers(false);
        settings.set_frame_size_limit(u32::try_from(self.sequence.picture.coded).unwrap_or(u32::MAX));
        let decoder = Rav1d::with_settings(&settings).map_err(refused)?;
        let mut running = Running { sequence: self.sequence, decoder };
        if !self.header.is_empty() {
            running.send(&self.header, &mut |_| Ok(()))?;
        }
        Ok(Box::new(running))
    }
}

/// A decoder under way.
struct Running {
    sequence: Sequence,
    decoder: Rav1d,
}

impl Running {
    /// Has the decoder take OBUs, and takes what pictures come of them.
    fn send(
        &mut self,
        units: &[u8],
        take: &mut dyn FnMut(re_rav1d::dav1d::Picture) -> Result<(), Fault>,
    ) -> Result<(), Fault> {
        let mut pending = match self.decoder.send_data(units.to_vec(), None, None, None) {
            Ok(()) => false,
            Err(Error::Again) => true,
            Err(error) => return Err(refused(error)),
        };
        // Each turn takes a picture or hands on what is pending; neither are more than the unit's frames.
        for _ in 0..4 * MOST_FRAMES {
            match self.decoder.get_picture() {
                Ok(picture) => take(picture)?,
                Err(Error::Again) if !pending => return Ok(()),
                Err(Error::Again) => {}
                Err(error) => return Err(refused(error)),
            }
            if pending {
                pending = match self.decoder.send_pending_data() {
                    Ok(()) => false,
                    Err(Error::Again) => true,
                    Err(error) => return Err(refused(error)),
                };
            }
        }
        Err(corrupt("a temporal unit does not come to an end"))
    }
}

impl Decoder for Running {
    fn read(&mut self, at: usize, sample: &[u8]) -> Result<Unit, Fault> {
        let mut cost = 0;
        for unit in units(sample) {
            let unit = unit?;
            note(unit, &mut Some(self.sequence))?;
            cost += u64::from(matches!(unit.0, FRAME_HEADER | FRAME));
        }
        if !(1..=MOST_FRAMES).contains(&cost) {
            return Err(corrupt(format!("frame {at} holds {cost} pictures")));
        }
        Ok(Unit { disposable: false, cost })
    }

    fn decode(&mut self, at: usize, sample: &[u8], emit: Emit<'_>) -> Result<(), Fault> {
        let known = self.sequence.picture;
        self.send(sample, &mut |picture| {
            let chroma = match picture.pixel_layout() {
                PixelLayout::I400 => Chroma::Mono,
                PixelLayout::I420 => Chroma::Quarter,
                PixelLayout::I422 => Chroma::Half,
                PixelLayout::I444 => Chroma::Full,
            };
            let depth = picture.bits_per_component().map_or(0, |bits| bits.0 as u32);
            if (picture.width(), picture.height()) != (known.width, known.height) {
                return Err(unsupported("pictures of other sizes than the sequence header says"));
            }
            if (depth, chroma) != (known.depth, known.chroma) {
                return Err(corrupt("a picture is not of the format that the sequence header says"));
            }
            // The last two planes are empty where there is no chroma, and must not be asked for.
            let components = [Component::Y, Component::U, Component::V];
            let count = if chroma == Chroma::Mono { 1 } else { 3 };
            let planes: Vec<_> = components[..count].iter().map(|&c| (picture.plane(c), picture.stride(c))).collect();
            let bytes =
                |n: usize| planes.get(n).map_or((&[][..], 0), |(plane, stride)| (plane.as_ref(), *stride as usize));
            if known.depth == 8 {
                return emit(at, Planes::Bytes([0, 1, 2].map(|n| Plane { samples: bytes(n).0, stride: bytes(n).1 })));
            }
            let mut words = [Plane { samples: &[][..], stride: 0 }; 3];
            for (n, plane) in words.iter_mut().enumerate().take(count) {
                let (bytes, stride) = bytes(n);
                let samples = bytemuck::try_cast_slice(bytes).map_err(|error| corrupt(format!("planes: {error}")))?;
                *plane = Plane { samples, stride: stride / 2 };
            }
            emit(at, Planes::Words(words))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_are_held_to_their_sizes() {
        let all = |sample| units(sample).collect::<Result<Vec<(u8, &[u8])>, Fault>>().map_err(|f| f.reason);
        assert_eq!(all(&[0x12, 0, 0x0a, 2, 7, 8]), Ok(vec![(2, &[][..]), (1, &[7, 8])]));
        assert_eq!(all(&[0x30, 7, 8]), Ok(vec![(6, &[7, 8][..])]), "without a size");
        assert_eq!(all(&[0x36, 0, 1, 9]), Ok(vec![(6, &[9][..])]), "with an extension");
        for cut in [&[0x12u8][..], &[0x0a, 2, 7], &[0x80, 0], &[0x12, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff]] {
            assert_eq!(all(cut), Err(Reason::Corrupt), "{cut:?}");
        }
    }
}
