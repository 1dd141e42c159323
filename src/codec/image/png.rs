//! PNG (ISO/IEC 15948), interlaced or not, by the `png` crate (the one under `image`).

use std::io::{Cursor, ErrorKind};

use ::png::{ColorType, Decoder, DecodingError, Reader, Transformations};

use super::{check_size, region_of, sized};
use crate::codec::{Check, Codec, Decoded, Limits, Pixels, Scratch, Want, guarded};
use crate::data::info::{Format, Info};
use crate::error::{Fault, Reason};

/// The PNG codec: every colour type and depth. Of an animated PNG the default picture is taken.
///
/// A region is handed over as the rows from the top to its lower edge, at their full width (an interlaced file: whole).
/// Text, colour profiles and gamma are not looked at; a wrong checksum of pixel data is [`Reason::Corrupt`].
#[derive(Debug, Clone, Copy)]
pub struct Png;

/// What the decoder may allocate for itself: a few rows, the palette, chunk buffers. Not the picture.
const WORKING_BYTES: usize = 64 << 20;

/// Rows or pictures before they are RGB, kept between calls for their memory.
#[derive(Default)]
struct Native(Vec<u8>);

/// The eight bytes in front of every PNG (5.2).
const SIGNATURE: &[u8] = b"\x89PNG\r\n\x1a\n";

/// What IHDR (11.2.2) says, within the limits.
fn header(bytes: &[u8], limits: &Limits) -> Result<Info, Fault> {
    Limits::check("payload bytes", bytes.len() as u64, limits.payload_bytes)?;
    let corrupt = |what: &str| Fault::new(Reason::Corrupt, format!("PNG: {what}"));
    if !bytes.starts_with(SIGNATURE) {
        return Err(corrupt("no signature"));
    }
    let Some(&[l0, l1, l2, l3, b'I', b'H', b'D', b'R', w0, w1, w2, w3, h0, h1, h2, h3, bits, color, ..]) =
        bytes.get(8..33)
    else {
        let short = bytes.len() < 33;
        return Err(if short {
            Fault::new(Reason::Truncated, "the PNG ends inside its header")
        } else {
            corrupt("the first chunk is not IHDR")
        });
    };
    if [l0, l1, l2, l3] != [0, 0, 0, 13] {
        return Err(corrupt("an IHDR chunk that is not 13 bytes long"));
    }
    let (width, height) = (u32::from_be_bytes([w0, w1, w2, w3]), u32::from_be_bytes([h0, h1, h2, h3]));
    if width == 0 || height == 0 || width > i32::MAX as u32 || height > i32::MAX as u32 {
        return Err(corrupt(&format!("a size of {width}x{height}")));
    }
    check_size(width, height, limits)?;
    let (channels, stored) = match color {
        0 => (1, 1),
        2 => (3, 3),
        3 => (3, 1),
        4 => (2, 2),
        6 => (4, 4),
        n => return Err(corrupt(&format!("a colour type of {n}"))),
    };
    // Deflate shrinks by less than 1,032 to 1: a few bytes are refused before they get a large picture's memory.
    let row = (u64::from(width) * stored * u64::from(bits)).div_ceil(8) + 1;
    if row.saturating_mul(u64::from(height)) / 1032 > bytes.len() as u64 {
        let what = format!("{} bytes cannot hold a PNG of {width}x{height}", bytes.len());
        return Err(Fault::new(Reason::Truncated, what));
    }
    Ok(Info { width, height, channels, ..Info::of(Format::Png) })
}

/// Decodes the first `rows` rows (at least) as RGB8 into `out` and returns how many there are; with `checked`, also reads
/// on to the end, so that the last checksums are compared.
fn decode(
    bytes: &[u8],
    info: &Info,
    rows: u32,
    checked: bool,
    native: &mut Vec<u8>,
    out: &mut Vec<u8>,
) -> Result<u32, Fault> {
    let limits = ::png::Limits { bytes: WORKING_BYTES };
    let mut decoder = Decoder::new_with_limits(Cursor::new(bytes), limits);
    decoder.set_transformations(Transformations::EXPAND | Transformations::STRIP_16);
    decoder.set_ignore_text_chunk(true);
    decoder.set_ignore_iccp_chunk(true);
    let mut reader = decoder.read_info().map_err(fault)?;
    if reader.info().size() != (info.width, info.height) {
        return Err(Fault::new(Reason::Corrupt, "PNG: the header is read in two ways"));
    }
    let (width, height) = (info.width as usize, info.height as usize);
    let channels = match reader.output_color_type().0 {
        ColorType::Grayscale => 1,
        ColorType::GrayscaleAlpha => 2,
        ColorType::Rgb => 3,
        ColorType::Rgba => 4,
        ColorType::Indexed => return Err(Fault::new(Reason::Corrupt, "PNG: a palette picture without its palette")),
    };
    if reader.info().interlaced {
        let whole = sized(native, width * height * channels);
        reader.next_frame(whole).map_err(fault)?;
        spread(whole, channels, sized(out, width * height * 3));
        if checked {
            finish(&mut reader)?;
        }
        return Ok(info.height);
    }
    let row = sized(native, width * channels);
    for target in sized(out, width * rows as usize * 3).chunks_exact_mut(width * 3) {
        let line = if channels == 3 { &mut *target } else { &mut *row };
        if reader.read_row(line).map_err(fault)?.is_none() {
            return Err(Fault::new(Reason::Truncated, "the PNG ends before its last row"));
        }
        if channels != 3 {
            spread(row, channels, target);
        }
    }
    if checked {
        finish(&mut reader)?;
    }
    Ok(rows)
}

/// Reads what follows the picture. A missing end is fine: every row is there.
fn finish(reader: &mut Reader<Cursor<&[u8]>>) -> Result<(), Fault> {
    match reader.finish() {
        Err(DecodingError::IoError(e)) if e.kind() == ErrorKind::UnexpectedEof => Ok(()),
        done => done.map_err(fault),
    }
}

/// Gray to three channels; alpha is dropped.
fn spread(from: &[u8], channels: usize, to: &mut [u8]) {
    match channels {
        1 | 2 => {
            for (from, to) in from.chunks_exact(channels).zip(to.chunks_exact_mut(3)) {
                to.fill(from[0]);
            }
        }
        _ => {
            for (from, to) in from.chunks_exact(channels).zip(to.chunks_exact_mut(3)) {
                to.copy_from_slice(&from[..3]);
            }
        }
    }
}

fn fault(error: DecodingError) -> Fault {
    match error {
        DecodingError::IoError(e) if e.kind() == ErrorKind::UnexpectedEof => {
            Fault::new(Reason::Truncated, "the PNG ends before its picture does")
        }
        DecodingError::LimitsExceeded => Fault::new(Reason::OverLimit, "PNG: a row or chunk that is too large"),
        error => Fault::new(Reason::Corrupt, format!("PNG: {error}")),
    }
}

impl Png {
    fn run(self, bytes: &[u8], info: &Info, rows: u32, checked: bool, scratch: &mut Scratch) -> Result<u32, Fault> {
        let mut native = std::mem::take(scratch.state::<Native>());
        let rows = guarded("PNG", || decode(bytes, info, rows, checked, &mut native.0, &mut scratch.bytes));
        *scratch.state::<Native>() = native;
        rows
    }
}

impl Codec for Png {
    fn name(&self) -> &'static str {
        "png"
    }

    fn format(&self) -> Format {
        Format::Png
    }

    fn sniff(&self, bytes: &[u8]) -> bool {
        bytes.starts_with(SIGNATURE)
    }

    fn probe(&self, bytes: &[u8], limits: &Limits) -> Result<Info, Fault> {
        header(bytes, limits)
    }

    fn check(&self, bytes: &[u8], level: Check, limits: &Limits, scratch: &mut Scratch) -> Result<Info, Fault> {
        let info = header(bytes, limits)?;
        if level != Check::Header {
            self.run(bytes, &info, info.height, true, scratch)?;
        }
        Ok(info)
    }

    fn decode<'s>(
        &self,
        bytes: &'s [u8],
        want: Want<'_>,
        limits: &Limits,
        scratch: &'s mut Scratch,
    ) -> Result<Decoded<'s>, Fault> {
        let region = match want {
            Want::Whole => None,
            Want::Image { region } => region,
            _ => return Err(Fault::new(Reason::WrongMedia, "a PNG has neither samples nor frames")),
        };
        let info = header(bytes, limits)?;
        let region = region_of(region, info.width, info.height)?;
        let rows = self.run(bytes, &info, region.y + region.height, false, scratch)?;
        Ok(Decoded::Pixels(Pixels {
            data: &scratch.bytes[..info.width as usize * rows as usize * 3],
            frames: 1,
            width: info.width,
            height: rows,
            origin: (0, 0),
            pts_us: &[],
        }))
    }
}
