//! The other formats of the `image` crate, each a row of the table: how it is recognised, and what its bytes can hold.
//!
//! All of them are pure Rust. Of a file with several pictures the first is taken: the first frame of an animation, the
//! first page of a TIFF, the largest picture of an icon.

use std::io::Cursor;

use ::image::error::ImageError;
use ::image::{ColorType, ImageDecoder, ImageFormat, ImageReader, Limits as ImageLimits};

use super::{Native, bombs, check_size, icc, metadata, region_of, sized, spread, tiff};
use crate::codec::{Codec, Decoded, Limits, Pixels, Rect, Scratch, Want, guarded};
use crate::data::info::{Format, Info};
use crate::data::orientation::Orientation;
use crate::error::{Fault, Reason};

/// A format that the `image` crate decodes whole. A region is handed over as the whole picture.
///
/// Light that is stored linearly as floats (Radiance, OpenEXR) is cut to `[0, 1]` and encoded as sRGB (IEC 61966-2-1); not
/// a number is black.
#[derive(Debug, Clone, Copy)]
pub struct Raster {
    format: Format,
    image: ImageFormat,
    sniff: fn(&[u8]) -> bool,
    /// Pixels that a byte of the file can stand for at the most, so that a few bytes are refused before they get a large
    /// picture's memory. 0: nobody can say.
    dense: u64,
    /// Refuses what the decoder would take memory for, and that cannot be there.
    bomb: fn(&[u8], &Limits) -> Result<(), Fault>,
}

/// For decoders that take no memory for what is not there.
fn none(_: &[u8], _: &Limits) -> Result<(), Fault> {
    Ok(())
}

/// WebP, lossy and lossless (RFC 9649).
pub const WEBP: Raster = Raster {
    format: Format::Webp,
    image: ImageFormat::WebP,
    sniff: |b| b.starts_with(b"RIFF") && b.get(8..12) == Some(b"WEBP"),
    dense: 0,
    bomb: bombs::webp,
};

/// GIF (87a and 89a).
pub const GIF: Raster = Raster {
    format: Format::Gif,
    image: ImageFormat::Gif,
    sniff: |b| b.starts_with(b"GIF87a") || b.starts_with(b"GIF89a"),
    dense: 0,
    bomb: none,
};

/// Windows bitmap, with run lengths or without.
pub const BMP: Raster = Raster {
    format: Format::Bmp,
    image: ImageFormat::Bmp,
    // The letters alone begin many a text: the size of the second header, too.
    sniff: |b| {
        b.starts_with(b"BM") && matches!(b.get(14..18), Some([12 | 16 | 40 | 52 | 56 | 64 | 108 | 124, 0, 0, 0]))
    },
    // A run of 255 pixels takes two bytes, a jump to the end of the picture as many.
    dense: 0,
    bomb: none,
};

/// TIFF 6.0: strips and tiles; uncompressed, LZW, Deflate, PackBits, fax, JPEG; gray, colour, four inks, palettes.
pub const TIFF: Raster = Raster {
    format: Format::Tiff,
    image: ImageFormat::Tiff,
    sniff: |b| [&b"II*\0"[..], b"MM\0*", b"II+\0", b"MM\0+"].iter().any(|magic| b.starts_with(magic)),
    // Deflate shrinks by less than 1,032 to 1, fax by less, of pixels that may be bits.
    dense: 8 * 1032,
    bomb: bombs::tiff,
};

/// The Quite OK Image Format.
pub const QOI: Raster =
    Raster { format: Format::Qoi, image: ImageFormat::Qoi, sniff: |b| b.starts_with(b"qoif"), dense: 62, bomb: none };

/// PBM, PGM, PPM, plain or raw, and PAM.
pub const PNM: Raster = Raster { format: Format::Pnm, image: ImageFormat::Pnm, sniff: is_pnm, dense: 8, bomb: none };

/// Truevision TGA, with run lengths or without.
pub const TGA: Raster = Raster { format: Format::Tga, image: ImageFormat::Tga, sniff: is_tga, dense: 128, bomb: none };

/// Windows icons: bitmaps or PNGs.
pub const ICO: Raster = Raster { format: Format::Ico, image: ImageFormat::Ico, sniff: is_ico, dense: 0, bomb: none };

/// Radiance RGBE.
pub const HDR: Raster = Raster {
    format: Format::Hdr,
    image: ImageFormat::Hdr,
    sniff: |b| b.starts_with(b"#?RADIANCE") || b.starts_with(b"#?RGBE"),
    // A run of 127 samples takes two bytes, four samples make a pixel; old files repeat a pixel by a count of any length.
    dense: 0,
    bomb: none,
};

/// OpenEXR.
#[cfg(feature = "exr")]
pub const EXR: Raster = Raster {
    format: Format::Exr,
    image: ImageFormat::OpenExr,
    sniff: |b| b.starts_with(b"v/1\x01"),
    dense: 0,
    bomb: bombs::exr,
};

/// DirectDraw surfaces: DXT1, DXT3 and DXT5.
pub const DDS: Raster =
    // A block of 16 pixels takes 8 bytes.
    Raster {
        format: Format::Dds,
        image: ImageFormat::Dds,
        sniff: |b| b.starts_with(b"DDS "),
        dense: 2,
        bomb: none,
    };

/// A magic of two letters that text may begin with, then two or three numbers as the format wants them.
fn is_pnm(bytes: &[u8]) -> bool {
    let [b'P', kind @ b'1'..=b'7', rest @ ..] = bytes else { return false };
    if *kind == b'7' {
        return rest.starts_with(b"\n") && rest.windows(6).take(256).any(|w| w == b"WIDTH ");
    }
    let mut numbers = 0;
    let mut rest = rest;
    while numbers < if matches!(kind, b'1' | b'4') { 2 } else { 3 } {
        let space = rest.iter().take_while(|b| b.is_ascii_whitespace()).count();
        if space == 0 {
            return false;
        }
        rest = &rest[space..];
        if rest.first() == Some(&b'#') {
            // A comment goes to the end of its line.
            rest = &rest[rest.iter().take_while(|b| **b != b'\n').count()..];
            continue;
        }
        let digits = rest.iter().take_while(|b| b.is_ascii_digit()).count();
        if !(1..=9).contains(&digits) {
            return false;
        }
        (rest, numbers) = (&rest[digits..], numbers + 1);
    }
    rest.first().is_some_and(u8::is_ascii_whitespace)
}

/// There is no magic, so the whole header has to make sense.
fn is_tga(bytes: &[u8]) -> bool {
    let Some(&[_, map, kind, m0, m1, m2, m3, depth_of_map, _, _, _, _, w0, w1, h0, h1, depth, flags]) = bytes.get(..18)
    else {
        return false;
    };
    let mapped = matches!(kind, 1 | 9);
    let map = match map {
        0 => !mapped && [m0, m1, m2, m3, depth_of_map] == [0; 5],
        1 => mapped && (m2 != 0 || m3 != 0) && matches!(depth_of_map, 15 | 16 | 24 | 32),
        _ => false,
    };
    let depth = match kind {
        1 | 9 => depth == 8 || depth == 16,
        2 | 10 => matches!(depth, 15 | 16 | 24 | 32),
        3 | 11 => depth == 8 || depth == 16,
        _ => false,
    };
    map && depth && (w0 != 0 || w1 != 0) && (h0 != 0 || h1 != 0) && flags & 0xc0 == 0
}

/// A directory of icons (not of cursors) whose first picture lies behind it.
fn is_ico(bytes: &[u8]) -> bool {
    let Some(&[0, 0, 1, 0, n0, n1, _, _, _, 0, _, _, _, _, s0, s1, s2, s3, o0, o1, o2, o3]) = bytes.get(..22) else {
        return false;
    };
    let count = u64::from(u16::from_le_bytes([n0, n1]));
    let at = u64::from(u32::from_le_bytes([o0, o1, o2, o3]));
    count > 0 && [s0, s1, s2, s3] != [0; 4] && at >= 6 + 16 * count
}

/// The PNG within an icon, if its best picture is one: that of most bits, then of most pixels, as the library has it, which by itself
/// reads PNGs of four channels only.
fn png_of_icon(bytes: &[u8]) -> Option<&[u8]> {
    let count = usize::from(u16::from_le_bytes([*bytes.get(4)?, *bytes.get(5)?]));
    let (entries, _) = bytes.get(6..)?.get(..16 * count)?.as_chunks::<16>();
    let side = |byte: u8| if byte == 0 { 256 } else { u32::from(byte) };
    // Of equals it takes the last one, and then the first.
    let score = |e: &[u8; 16]| (u16::from_le_bytes([e[6], e[7]]), side(e[0]) * side(e[1]));
    let mut best = entries.last()?;
    for entry in entries {
        if score(entry) > score(best) {
            best = entry;
        }
    }
    let [size, at] = [8, 12].map(|n| u32::from_le_bytes([best[n], best[n + 1], best[n + 2], best[n + 3]]) as usize);
    bytes.get(at..at.checked_add(size)?).filter(|picture| picture.starts_with(b"\x89PNG\r\n\x1a\n"))
}

impl Raster {
    pub(super) fn fault(self, error: ImageError) -> Fault {
        let name = self.name();
        match error {
            ImageError::IoError(e) if e.kind() == std::io::ErrorKind::UnexpectedEof => {
                Fault::new(Reason::Truncated, format!("the {name} ends before its picture does"))
            }
            ImageError::Limits(e) => Fault::new(Reason::OverLimit, format!("{name}: {e}")),
            ImageError::Unsupported(e) => Fault::new(Reason::Unsupported, format!("{name}: {e}")),
            error => Fault::new(Reason::Corrupt, format!("{name}: {error}")),
        }
    }

    /// What a file says of how it is turned.
    fn orientation(self, bytes: &[u8], decoder: &mut dyn ImageDecoder) -> Orientation {
        match self.format {
            Format::Webp => metadata::webp(bytes),
            // A tag of the first directory, 1 where it is not there (TIFF 6.0, section 8).
            Format::Tiff => decoder.orientation().map_or(Orientation::STORED, |o| Orientation::of(o.to_exif().into())),
            _ => Orientation::STORED,
        }
    }

    /// A decoder behind its header, and the facts as stored, within the limits.
    fn open<'b>(self, bytes: &'b [u8], limits: &Limits) -> Result<(Box<dyn ImageDecoder + 'b>, Info), Fault> {
        Limits::check("payload bytes", bytes.len() as u64, limits.payload_bytes)?;
        if !(self.sniff)(bytes) {
            return Err(Fault::new(Reason::Corrupt, format!("{}: no header", self.name())));
        }
        (self.bomb)(bytes, limits)
            .map_err(|fault| Fault::new(fault.reason, format!("{}: {}", self.name(), fault.message)))?;
        let mut decoder: Box<dyn ImageDecoder + 'b> = if self.format == Format::Tiff && tiff::has_palette(bytes) {
            Box::new(tiff::Palette::open(bytes).map_err(|e| self.fault(e))?)
        } else {
            let icon = (self.format == Format::Ico).then(|| png_of_icon(bytes)).flatten();
            let (bytes, image) = icon.map_or((bytes, self.image), |png| (png, ImageFormat::Png));
            let reader = ImageReader::with_format(Cursor::new(bytes), image);
            Box::new(reader.into_decoder().map_err(|e| self.fault(e))?)
        };
        let (width, height) = decoder.dimensions();
        if width == 0 || height == 0 || width > i32::MAX as u32 || height > i32::MAX as u32 {
            return Err(Fault::new(Reason::Corrupt, format!("{}: a size of {width}x{height}", self.name())));
        }
        check_size(width, height, limits)?;
        let pixels = u64::from(width) * u64::from(height);
        if self.dense > 0 && pixels / self.dense > bytes.len() as u64 {
            let what = format!("{} bytes cannot hold a {} of {width}x{height}", bytes.len(), self.name());
            return Err(Fault::new(Reason::Truncated, what));
        }
        let mut own = ImageLimits::no_limits();
        // As it is stored, and as much again for what the decoder keeps.
        own.max_alloc = Some(decoder.total_bytes().saturating_mul(2).saturating_add(WORKING_BYTES));
        decoder.set_limits(own).map_err(|e| self.fault(e))?;
        let channels = u32::from(decoder.color_type().channel_count());
        Ok((decoder, Info { width, height, channels, ..Info::of(self.format) }))
    }

    fn read(self, bytes: &[u8], limits: &Limits, native: &mut Vec<u8>, out: &mut Vec<u8>) -> Result<Info, Fault> {
        let (decoder, info) = self.open(bytes, limits)?;
        let color = decoder.color_type();
        let pixels = info.width as usize * info.height as usize;
        let rgb = sized(out, pixels * 3);
        // What the library does not take (and the first frame of an animation) goes the other way, which says why.
        #[cfg(feature = "libwebp")]
        if self.format == Format::Webp && super::libwebp::decode(bytes, (info.width, info.height), rgb) {
            return Ok(info);
        }
        if color == ColorType::Rgb8 {
            decoder.read_image_boxed(rgb).map_err(|e| self.fault(e))?;
            return Ok(info);
        }
        let stored = sized(native, pixels * usize::from(color.bytes_per_pixel()));
        decoder.read_image_boxed(stored).map_err(|e| self.fault(e))?;
        let channels = usize::from(color.channel_count());
        match color {
            ColorType::L8 | ColorType::La8 | ColorType::Rgba8 => spread(stored, channels, 1, 0, rgb),
            ColorType::L16 | ColorType::La16 | ColorType::Rgb16 | ColorType::Rgba16 => {
                // 16-bit samples keep their high byte; they come in the machine's byte order.
                let high = if cfg!(target_endian = "little") { 1 } else { 0 };
                spread(stored, channels, 2, high, rgb);
            }
            ColorType::Rgb32F | ColorType::Rgba32F => {
                for (from, to) in stored.chunks_exact(channels * 4).zip(rgb.chunks_exact_mut(3)) {
                    for (from, to) in from.as_chunks::<4>().0.iter().zip(to) {
                        *to = srgb(f32::from_ne_bytes(*from));
                    }
                }
            }
            other => {
                let what = format!("{}: pixels of {other:?}", self.name());
                return Err(Fault::new(Reason::Unsupported, what));
            }
        }
        Ok(info)
    }
}

/// What the decoder may allocate for itself beside pictures.
const WORKING_BYTES: u64 = 64 << 20;

/// Linear light to sRGB, rounded to the nearest of 256 steps.
fn srgb(light: f32) -> u8 {
    // Not a number is no greater than 0.
    let light = if light > 0.0 { light.min(1.0) } else { 0.0 };
    let coded = if light <= 0.003_130_8 { 12.92 * light } else { 1.055 * libm::powf(light, 1.0 / 2.4) - 0.055 };
    (coded * 255.0 + 0.5) as u8
}

impl Codec for Raster {
    fn format(&self) -> Format {
        self.format
    }

    fn sniff(&self, bytes: &[u8]) -> bool {
        (self.sniff)(bytes)
    }

    fn probe(&self, bytes: &[u8], limits: &Limits) -> Result<Info, Fault> {
        guarded(self.name(), || {
            let (mut decoder, info) = self.open(bytes, limits)?;
            let turn = self.orientation(bytes, decoder.as_mut());
            Ok(match self.format {
                Format::Webp => metadata::shown(info, turn, icc::webp(bytes)),
                Format::Tiff => metadata::shown(info, turn, icc::tiff(bytes)),
                _ => info,
            })
        })
    }

    fn memory(&self, _bytes: &[u8], info: &Info) -> u64 {
        let pixels = u64::from(info.width) * u64::from(info.height);
        // As RGB, as it is handed over (up to four samples of 16 bits, or of 32 in the two that store light), and once more
        // in the decoder.
        let sample = if matches!(self.format, Format::Hdr | Format::Exr) { 4 } else { 2 };
        pixels.saturating_mul(3 + 2 * 4 * sample)
    }

    fn decode<'s>(
        &self,
        bytes: &'s [u8],
        want: Want<'_>,
        limits: &Limits,
        scratch: &'s mut Scratch,
    ) -> Result<Decoded<'s>, Fault> {
        let region = want.region(self.name())?;
        let mut native = std::mem::take(scratch.state::<Native>());
        let done = guarded(self.name(), || self.read(bytes, limits, &mut native.0, &mut scratch.bytes));
        *scratch.state::<Native>() = native;
        let info = done?;
        region_of(region, info.width, info.height)?;
        let whole = Rect { x: 0, y: 0, width: info.width, height: info.height };
        Ok(Decoded::Pixels(Pixels::picture(&scratch.bytes, whole)))
    }
}

#[cfg(test)]
mod tests {
    use super::srgb;

    #[test]
    fn light_becomes_srgb_and_what_is_no_light_is_black_or_white() {
        let dark = [f32::NAN, f32::NEG_INFINITY, -1.0, -0.0, 0.0, f32::MIN_POSITIVE];
        assert_eq!(dark.map(srgb), [0; 6]);
        assert_eq!([1.0, 2.0, f32::INFINITY].map(srgb), [255; 3]);
        // IEC 61966-2-1: 0.5 is 187.5 of 255, 0.214 the middle gray.
        assert_eq!([0.003, 0.0032, 0.2140, 0.5].map(srgb), [10, 11, 127, 188]);
    }
}
