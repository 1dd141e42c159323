//! What people have and some or all builds do not read, by its first bytes: so that it can be refused by name.

use crate::data::info::Format;

/// What an ASF file begins with.
const ASF: [u8; 16] = *b"\x30\x26\xb2\x75\x8e\x66\xcf\x11\xa6\xd9\x00\xaa\x00\x62\xce\x6c";

/// The name of a format that people have and no codec of this build reads.
pub(super) fn name(bytes: &[u8]) -> Option<&'static str> {
    let brand = |brands: &[&[u8; 4]]| {
        bytes.get(4..8) == Some(b"ftyp") && bytes.get(8..12).is_some_and(|b| brands.iter().any(|brand| **brand == b))
    };
    let known: [(&str, bool); 14] = [
        ("AVIF", brand(&[b"avif", b"avis"])),
        ("HEIC", brand(&[b"heic", b"heix", b"hevc", b"mif1", b"msf1"])),
        ("JPEG XL", bytes.starts_with(b"\xff\x0a") || bytes.get(4..8) == Some(b"JXL ")),
        ("JPEG 2000", bytes.get(4..8) == Some(b"jP  ") || bytes.starts_with(b"\xff\x4f\xff\x51")),
        ("OpenEXR", bytes.starts_with(b"v/1\x01")),
        ("Photoshop", bytes.starts_with(b"8BPS")),
        ("PDF", bytes.starts_with(b"%PDF-")),
        ("SVG", bytes.starts_with(b"<svg")),
        ("Windows Media sound", bytes.starts_with(&ASF)),
        ("Ogg", bytes.starts_with(b"OggS")),
        ("AIFF", bytes.starts_with(b"FORM")),
        ("CAF", bytes.starts_with(b"caff")),
        ("MP3", bytes.starts_with(b"ID3") || matches!(bytes, [0xff, 0xfb | 0xf3 | 0xf2 | 0xfa, ..])),
        ("a ZIP archive", bytes.starts_with(b"PK\x03\x04")),
    ];
    known.into_iter().find(|(_, is)| *is).map(|(name, _)| name)
}

/// The container of moving pictures that the content begins as, of those that only FFmpeg reads.
pub(super) fn moving(bytes: &[u8]) -> Option<Format> {
    let is: [(Format, bool); 7] = [
        (Format::Avi, bytes.starts_with(b"RIFF") && matches!(bytes.get(8..12), Some(b"AVI " | b"AVIX"))),
        (Format::Flv, bytes.starts_with(b"FLV\x01")),
        (Format::Asf, is_asf(bytes)),
        (Format::Mxf, is_mxf(bytes)),
        (Format::Ogv, is_ogg_of_pictures(bytes)),
        // A pack header: of MPEG-2 (01), of MPEG-1 (0010).
        (Format::MpegPs, matches!(bytes, [0, 0, 1, 0xba, next, ..] if next >> 6 == 1 || next >> 4 == 2)),
        // It has a byte in each packet for a mark: after all that have more.
        (Format::MpegTs, is_transport(bytes)),
    ];
    is.into_iter().find(|(_, is)| *is).map(|(format, _)| format)
}

/// The identifier of ASF's header, and in the header a stream of video. One of sound alone is WMA.
fn is_asf(bytes: &[u8]) -> bool {
    const VIDEO: [u8; 16] = *b"\xc0\xef\x19\xbc\x4d\x5b\xcf\x11\xa8\xfd\x00\x80\x5f\x5c\x44\x2b";
    let Some(size) = bytes.get(16..24).and_then(|b| b.try_into().ok()).map(u64::from_le_bytes) else { return false };
    let header = &bytes[..usize::try_from(size).unwrap_or(usize::MAX).min(bytes.len()).min(1 << 16)];
    bytes.starts_with(&ASF) && header.windows(16).any(|w| w == VIDEO)
}

/// The key of a header partition pack (SMPTE ST 377-1, 7.1), with nothing run in front.
fn is_mxf(bytes: &[u8]) -> bool {
    bytes.starts_with(b"\x06\x0e\x2b\x34\x02\x05\x01\x01\x0d\x01\x02\x01\x01\x02")
}

/// Whether one of the streams that an Ogg file begins with is of pictures. All of them begin before any goes on (RFC 3533, 4).
fn is_ogg_of_pictures(mut bytes: &[u8]) -> bool {
    // Theora, Dirac, VP8 and OGM's frame for codings of Windows.
    const CODINGS: [&[u8]; 4] = [b"\x80theora", b"BBCD", b"OVP80", b"\x01video"];
    for _ in 0..16 {
        // A page that begins a stream: flag 2. Its segments' lengths stand in front of them.
        let Some((head, rest)) = bytes.split_at_checked(27) else { return false };
        if !head.starts_with(b"OggS") || head[5] & 2 == 0 {
            return false;
        }
        let Some((lengths, body)) = rest.split_at_checked(usize::from(head[26])) else { return false };
        if CODINGS.iter().any(|coding| body.starts_with(coding)) {
            return true;
        }
        let size: usize = lengths.iter().map(|n| usize::from(*n)).sum();
        bytes = body.get(size..).unwrap_or_default();
    }
    false
}

/// Packets of 188 bytes that begin with 0x47 (ISO/IEC 13818-1, 2.4.3.2): alone, behind a time of 4 bytes, or before 16 of
/// correction.
fn is_transport(bytes: &[u8]) -> bool {
    [(188, 0), (192, 4), (204, 0)].into_iter().any(|(size, first)| {
        let mut marks = bytes.iter().skip(first).step_by(size).take(8).peekable();
        // The beginning of a payload of 4 KiB has 20; three in a row are not met by chance.
        bytes.len() >= 3 * size && marks.all(|byte| *byte == 0x47)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_only_begins_alike_is_not_taken() {
        let not: [&[u8]; 9] = [
            b"",
            b"RIFF\0\0\0\0WAVEfmt ",
            b"GIF89a",
            b"FLV\x02",
            b"OggS\0\x02\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x01\x1e\x01vorbis",
            b"\x30\x26\xb2\x75\x8e\x66\xcf\x11\xa6\xd9\x00\xaa\x00\x62\xce\x6c\x1e\0\0\0\0\0\0\0",
            b"\x00\x00\x01\xb3",
            &[0x47; 400],
            b"\x06\x0e\x2b\x34\x02\x05\x01\x01\x0d\x01\x02\x01\x01\x04",
        ];
        for bytes in not {
            assert_eq!(moving(bytes), None, "{}", bytes.escape_ascii());
        }
    }
}
