//! Pixels as they are decoded, stored without compression: `[height, width, 3]`, 8 bits a sample.
//!
//! The header has 64 bytes and makes a PPM of the payload (netpbm's P6, with a comment), which any viewer and Pillow opens. A
//! region is copied row by row out of the payload; the whole picture is borrowed.

use super::{check_size, region_of, sized};
use crate::codec::{Codec, Decoded, Limits, Pixels, Scratch, Want};
use crate::data::info::{Format, Info};
use crate::error::{Fault, Reason};

/// Uncompressed RGB.
#[derive(Debug, Clone, Copy)]
pub struct Rgb;

/// Bytes of the header.
const HEADER: usize = 64;
/// What it begins with: a PPM whose comment no other writer makes.
const MAGIC: &[u8] = b"P6\n# feedstock rgb, pixels from 64\n";

/// The payload of some pixels: `[height, width, 3]`, rows without gaps.
pub fn encode(width: u32, height: u32, pixels: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(HEADER + pixels.len());
    bytes.extend_from_slice(MAGIC);
    // Two numbers of up to ten digits and the largest sample, to the end of the header.
    bytes.extend_from_slice(format!("{width:>12} {height:>11}\n255\n").as_bytes());
    bytes.extend_from_slice(pixels);
    bytes
}

/// The facts of a payload whose pixels are all there.
fn header(bytes: &[u8], limits: &Limits) -> Result<Info, Fault> {
    Limits::check("payload bytes", bytes.len() as u64, limits.payload_bytes)?;
    let corrupt = || Fault::new(Reason::Corrupt, "rgb: no header");
    let numbers = bytes.get(MAGIC.len()..HEADER).filter(|_| bytes.starts_with(MAGIC)).ok_or_else(corrupt)?;
    let numbers = numbers.strip_suffix(b"\n255\n").and_then(|n| std::str::from_utf8(n).ok()).ok_or_else(corrupt)?;
    let (width, height) = numbers.split_at_checked(12).ok_or_else(corrupt)?;
    let number = |text: &str| text.trim_start_matches(' ').parse::<u32>().ok().filter(|n| (1..1 << 31).contains(n));
    let (width, height) = number(width).zip(number(height)).ok_or_else(corrupt)?;
    check_size(width, height, limits)?;
    let there = bytes.len() as u64 - HEADER as u64;
    let wanted = u64::from(width) * u64::from(height) * 3;
    if there < wanted {
        return Err(Fault::new(Reason::Truncated, format!("rgb: {there} bytes of {wanted} for {width}x{height}")));
    }
    if there > wanted {
        return Err(Fault::new(
            Reason::Corrupt,
            format!("rgb: {there} bytes for {width}x{height}, which takes {wanted}"),
        ));
    }
    Ok(Info { width, height, channels: 3, ..Info::of(Format::Rgb) })
}

impl Codec for Rgb {
    fn format(&self) -> Format {
        Format::Rgb
    }

    fn sniff(&self, bytes: &[u8]) -> bool {
        bytes.starts_with(MAGIC)
    }

    fn probe(&self, bytes: &[u8], limits: &Limits) -> Result<Info, Fault> {
        header(bytes, limits)
    }

    fn memory(&self, _: &[u8], _: &Info) -> u64 {
        0
    }

    fn decode<'s>(
        &self,
        bytes: &'s [u8],
        want: Want<'_>,
        limits: &Limits,
        scratch: &'s mut Scratch,
    ) -> Result<Decoded<'s>, Fault> {
        let region = want.region("rgb")?;
        let info = header(bytes, limits)?;
        let rect = region_of(region, info.width, info.height)?;
        let pixels = &bytes[HEADER..];
        if rect.width == info.width {
            // Whole rows lie together.
            let row = info.width as usize * 3;
            return Ok(Decoded::Pixels(Pixels::picture(&pixels[rect.y as usize * row..], rect)));
        }
        let (stride, row) = (info.width as usize * 3, rect.width as usize * 3);
        let out = sized(&mut scratch.bytes, row * rect.height as usize);
        let rows = pixels.chunks_exact(stride).skip(rect.y as usize);
        for (from, to) in rows.zip(out.chunks_exact_mut(row)) {
            to.copy_from_slice(&from[rect.x as usize * 3..][..row]);
        }
        Ok(Decoded::Pixels(Pixels::picture(&scratch.bytes, rect)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::{Check, Rect, mutants, sniff};
    use crate::data::info::Kind;

    fn picture(width: u32, height: u32) -> (Vec<u8>, Vec<u8>) {
        let pixels: Vec<u8> = (0..width * height * 3).map(|i| (i * 7 + i / 31) as u8).collect();
        (encode(width, height, &pixels), pixels)
    }

    #[test]
    fn pixels_and_every_region_come_back() {
        let (limits, mut scratch) = (Limits::default(), Scratch::default());
        let (bytes, pixels) = picture(7, 5);
        assert_eq!(bytes.len(), HEADER + 7 * 5 * 3);
        let info = Rgb.check(&bytes, Check::Decode, &limits, &mut scratch).unwrap();
        assert_eq!((info.width, info.height, info.channels), (7, 5, 3));
        assert_eq!(sniff(&bytes, Kind::Image).unwrap().name(), "rgb");
        for (x, y, width, height) in [(0, 0, 7, 5), (0, 2, 7, 2), (3, 1, 2, 3), (6, 4, 1, 1), (0, 0, 1, 5)] {
            let want = Want::Image { region: Some(Rect { x, y, width, height }) };
            let Ok(Decoded::Pixels(got)) = Rgb.decode(&bytes, want, &limits, &mut scratch) else { panic!() };
            let rows = (y..y + height).flat_map(|y| &pixels[((y * 7 + x) * 3) as usize..][..width as usize * 3]);
            assert_eq!((got.origin, got.width, got.height), ((x, y), width, height));
            assert!(got.data.iter().eq(rows), "{want:?}");
        }
    }

    /// The same bytes are a PPM to the decoder of PNM.
    #[test]
    fn any_reader_of_ppm_reads_it() {
        let (bytes, pixels) = picture(9, 4);
        let read = ::image::load_from_memory_with_format(&bytes, ::image::ImageFormat::Pnm).unwrap();
        assert_eq!((read.width(), read.height()), (9, 4));
        assert_eq!(read.into_rgb8().into_raw(), pixels);
    }

    #[test]
    fn a_payload_that_is_not_all_of_it_is_refused() {
        let (bytes, _) = picture(6, 6);
        let (mut scratch, limits) = (Scratch::default(), Limits::default());
        for cut in 0..bytes.len() {
            assert!(Rgb.check(&bytes[..cut], Check::Decode, &limits, &mut scratch).is_err(), "cut at {cut}");
        }
        assert_eq!(Rgb.probe(&[&bytes[..], b"x"].concat(), &limits).unwrap_err().reason, Reason::Corrupt);
        let large = encode(u32::MAX >> 1, u32::MAX >> 1, &[]);
        assert_eq!(large.len(), HEADER);
        assert_eq!(Rgb.probe(&large, &limits).unwrap_err().reason, Reason::OverLimit);
        for made in mutants(&bytes, 2_000) {
            if let Ok(info) = Rgb.check(&made, Check::Decode, &limits, &mut scratch) {
                assert_eq!(made.len() as u64, 64 + u64::from(info.width) * u64::from(info.height) * 3);
            }
        }
    }
}
