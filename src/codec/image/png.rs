//! PNG (ISO/IEC 15948), interlaced or not, by the `image` crate.

use std::io::Cursor;

use ::image::codecs::png::PngDecoder;
use ::image::error::ImageError;
use ::image::{ImageDecoder, Limits as ImageLimits};

use super::{Native, check_size, metadata, region_of, sized, spread};
use crate::codec::{Codec, Decoded, Limits, Pixels, Rect, Scratch, Want, guarded};
use crate::data::info::{Format, Info};
use crate::error::{Fault, Reason};

/// The PNG codec: every colour type and depth. Of an animated PNG the default picture is taken.
///
/// A region is handed over as the whole picture. Text and gamma are not looked at; a wrong checksum of
/// pixel data is [`Reason::Corrupt`].
#[derive(Debug, Clone, Copy)]
pub struct Png;

/// What the decoder may allocate for itself: a few rows, the palette, chunk buffers. Not the picture.
pub(super) const WORKING_BYTES: u64 = 64 << 20;

/// The eight bytes in front of every PNG (5.2).
pub(super) const SIGNATURE: &[u8] = b"\x89PNG\r\n\x1a\n";

/// What IHDR (11.2.2) says, within the limits.
pub(super) fn header(bytes: &[u8], limits: &Limits) -> Result<Info, Fault> {
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

/// The profile in iCCP (11.3.2.3), which is compressed: the decoder reads it, under its limits. What it cannot read is none.
fn profile(bytes: &[u8]) -> Option<Vec<u8>> {
    let mut front = metadata::png_chunks(bytes).take_while(|(name, _)| name != b"IDAT");
    if !front.any(|(name, _)| &name == b"iCCP") {
        return None;
    }
    let mut limits = ImageLimits::no_limits();
    limits.max_alloc = Some(WORKING_BYTES);
    let read = || {
        let mut decoder = PngDecoder::with_limits(Cursor::new(bytes), limits).map_err(fault)?;
        decoder.icc_profile().map_err(fault)
    };
    guarded("PNG", read).ok().flatten()
}

/// Decodes the picture as RGB8 into `out`, by way of `native` where it is stored otherwise.
fn decode(bytes: &[u8], info: &Info, native: &mut Vec<u8>, out: &mut Vec<u8>) -> Result<(), Fault> {
    let mut limits = ImageLimits::no_limits();
    limits.max_alloc = Some(WORKING_BYTES);
    let decoder = PngDecoder::with_limits(Cursor::new(bytes), limits).map_err(fault)?;
    if decoder.dimensions() != (info.width, info.height) {
        return Err(Fault::new(Reason::Corrupt, "PNG: the header is read in two ways"));
    }
    let color = decoder.color_type();
    let (channels, wide) = (usize::from(color.channel_count()), color.bytes_per_pixel() > color.channel_count());
    let pixels = info.width as usize * info.height as usize;
    let rgb = sized(out, pixels * 3);
    if channels == 3 && !wide {
        return decoder.read_image(rgb).map_err(fault);
    }
    let stored = sized(native, pixels * usize::from(color.bytes_per_pixel()));
    decoder.read_image(stored).map_err(fault)?;
    if wide {
        // 16-bit samples keep their high byte; they come in the machine's byte order.
        let high = if cfg!(target_endian = "little") { 1 } else { 0 };
        spread(stored, channels, 2, high, rgb);
    } else {
        spread(stored, channels, 1, 0, rgb);
    }
    Ok(())
}

fn fault(error: ImageError) -> Fault {
    match error {
        ImageError::IoError(e) if e.kind() == std::io::ErrorKind::UnexpectedEof => {
            Fault::new(Reason::Truncated, "the PNG ends before its picture does")
        }
        ImageError::Limits(e) => Fault::new(Reason::OverLimit, format!("PNG: a row or chunk that is too large: {e}")),
        ImageError::Unsupported(e) => Fault::new(Reason::Unsupported, format!("PNG: {e}")),
        error => Fault::new(Reason::Corrupt, format!("PNG: {error}")),
    }
}

impl Png {
    fn run(self, bytes: &[u8], info: &Info, scratch: &mut Scratch) -> Result<(), Fault> {
        let mut native = std::mem::take(scratch.state::<Native>());
        let done = guarded("PNG", || decode(bytes, info, &mut native.0, &mut scratch.bytes));
        *scratch.state::<Native>() = native;
        done
    }
}

impl Codec for Png {
    fn format(&self) -> Format {
        Format::Png
    }

    fn sniff(&self, bytes: &[u8]) -> bool {
        bytes.starts_with(SIGNATURE)
    }

    fn probe(&self, bytes: &[u8], limits: &Limits) -> Result<Info, Fault> {
        let stored = header(bytes, limits)?;
        Ok(metadata::shown(stored, metadata::png(bytes), profile(bytes).as_deref()))
    }

    fn memory(&self, bytes: &[u8], info: &Info) -> u64 {
        // The depth, behind the size in IHDR. A picture is there as RGB, and with four samples a pixel as it is stored.
        let wide = bytes.get(24).is_none_or(|depth| *depth == 16);
        let pixels = u64::from(info.width) * u64::from(info.height);
        pixels.saturating_mul(if wide { 3 + 8 } else { 3 + 4 })
    }

    fn decode<'s>(
        &self,
        bytes: &'s [u8],
        want: Want<'_>,
        limits: &Limits,
        scratch: &'s mut Scratch,
    ) -> Result<Decoded<'s>, Fault> {
        let region = want.region("a PNG")?;
        let info = header(bytes, limits)?;
        region_of(region, info.width, info.height)?;
        self.run(bytes, &info, scratch)?;
        let whole = Rect { x: 0, y: 0, width: info.width, height: info.height };
        Ok(Decoded::Pixels(Pixels::picture(&scratch.bytes, whole)))
    }
}
