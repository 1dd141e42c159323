//! What lies beside the pixels: the EXIF block of each format, and what it says.
//!
//! A block that is broken, or says nothing sensible, is as good as none: it is no reason to refuse a picture.

use ::image::metadata::Orientation as Exif;

use super::{icc, jpeg_header};
use crate::data::info::Info;
use crate::data::orientation::Orientation;

/// The facts of a picture as it is shown, from those as it is stored, its orientation and its colour profile (ICC).
pub(super) fn shown(stored: Info, orientation: Orientation, icc: Option<&[u8]>) -> Info {
    let (width, height) = orientation.size((stored.width, stored.height));
    Info { width, height, orientation, profile: icc.map(icc::named).unwrap_or_default(), ..stored }
}

/// What an EXIF block says; it is a TIFF file's beginning, by rights without the name that JPEG has in front of it.
pub(super) fn orientation(mut exif: &[u8]) -> Orientation {
    for _ in 0..2 {
        exif = exif.strip_prefix(NAME).unwrap_or(exif);
    }
    Exif::from_exif_chunk(exif).map_or(Orientation::STORED, |o| Orientation::of(u32::from(o.to_exif())))
}

const NAME: &[u8] = b"Exif\0\0";

/// Of a JPEG whose header has been read: the first APP1 segment with the name (CIPA DC-008, 4.7.2).
pub(super) fn jpeg(headers: &[u8]) -> Orientation {
    let mut segments = jpeg_header::segments(headers).filter(|s| headers.get(s.start + 1) == Some(&0xe1));
    let exif = segments.find_map(|s| headers.get(s)?.get(4..)?.strip_prefix(NAME));
    exif.map(orientation).unwrap_or_default()
}

/// Of a PNG: the chunk eXIf, which may also lie behind the picture.
pub(super) fn png(bytes: &[u8]) -> Orientation {
    png_chunks(bytes).find(|(name, _)| name == b"eXIf").map(|(_, data)| orientation(data)).unwrap_or_default()
}

/// The chunks of a PNG (ISO/IEC 15948, 5.3), their checksums not looked at.
pub(super) fn png_chunks(bytes: &[u8]) -> impl Iterator<Item = ([u8; 4], &[u8])> {
    let mut at = 8usize;
    std::iter::from_fn(move || {
        let &[l0, l1, l2, l3, n0, n1, n2, n3] = bytes.get(at..at.checked_add(8)?)?.first_chunk()?;
        let end = (at + 8).checked_add(u32::from_be_bytes([l0, l1, l2, l3]) as usize)?;
        let data = bytes.get(at + 8..end)?;
        at = end.checked_add(4)?;
        Some(([n0, n1, n2, n3], data))
    })
}

/// Of a WebP: the chunk EXIF (RFC 9649, 2.7).
pub(super) fn webp(bytes: &[u8]) -> Orientation {
    riff_chunks(bytes).find(|(name, _)| name == b"EXIF").map(|(_, data)| orientation(data)).unwrap_or_default()
}

/// The chunks of a WebP (RFC 9649, 2.3); the last may be cut.
pub(super) fn riff_chunks(bytes: &[u8]) -> impl Iterator<Item = ([u8; 4], &[u8])> {
    chunks(bytes.get(12..).unwrap_or_default())
}

/// Chunks without anything in front of them.
pub(super) fn chunks(bytes: &[u8]) -> impl Iterator<Item = ([u8; 4], &[u8])> {
    let mut at = 0usize;
    std::iter::from_fn(move || {
        let &[n0, n1, n2, n3, s0, s1, s2, s3] = bytes.get(at..at.checked_add(8)?)?.first_chunk()?;
        let size = u32::from_le_bytes([s0, s1, s2, s3]) as usize;
        let end = (at + 8).saturating_add(size);
        let data = &bytes[at + 8..end.min(bytes.len())];
        at = end.saturating_add(size % 2);
        Some(([n0, n1, n2, n3], data))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_block_is_read_with_and_without_its_name_and_a_broken_one_says_nothing() {
        let block = |value: [u8; 2]| [&b"MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01"[..], &value, &[0; 6]].concat();
        for code in 0..12 {
            let said = if (1..=8).contains(&code) { u32::from(code) } else { 0 };
            let bare = block([0, code]);
            assert_eq!(orientation(&bare).code(), said);
            assert_eq!(orientation(&[NAME, &bare].concat()).code(), said);
            assert_eq!(orientation(&[NAME, NAME, &bare].concat()).code(), said);
        }
        let good = block([0, 6]);
        for cut in 0..good.len() - 6 {
            assert_eq!(orientation(&good[..cut]).code(), 0, "{cut}");
        }
        assert_eq!(orientation(b"II*\0\xff\xff\xff\xff").code(), 0);
        assert_eq!(orientation(&block([1, 6])).code(), 0, "262 is no orientation");
    }

    #[test]
    fn walks_end() {
        assert_eq!(png_chunks(b"12345678\xff\xff\xff\xffeXIf").count(), 0);
        assert_eq!(png_chunks(b"12345678\0\0\0\0eXIf").count(), 1);
        assert_eq!(png_chunks(b"").count(), 0);
        assert_eq!(riff_chunks(b"RIFF\0\0\0\0WEBPEXIF\xff\xff\xff\xffab").map(|c| c.1.len()).sum::<usize>(), 2);
        assert_eq!(riff_chunks(b"RIFF\0\0\0\0WEBPEXIF\x01\0\0\0a\0VP8 \0\0\0\0").count(), 2);
    }
}
