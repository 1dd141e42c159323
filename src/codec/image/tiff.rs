//! TIFF with a palette, which the `image` crate refuses and `tiff` gives no indices of.
//!
//! The decoder is shown the file with another photometric interpretation (tag 262): what it then takes for gray are the
//! indices, and the ColorMap (tag 320) makes colours of them.

use std::io::Cursor;

use ::image::error::{DecodingError, ImageError, ImageFormatHint, LimitError, LimitErrorKind, UnsupportedError};
use ::image::error::{ImageResult, UnsupportedErrorKind};
use ::image::metadata::Orientation;
use ::image::{ColorType, ImageDecoder, ImageFormat, Limits};
use tiff::TiffError;
use tiff::decoder::{Decoder, DecodingResult};
use tiff::tags::Tag;

use super::bombs;

/// Photometric interpretations (TIFF 6.0, section 8).
const GRAY: u8 = 1;
const PALETTE: u8 = 3;

/// A palette picture behind its header. It hands over RGB.
pub(super) struct Palette {
    /// Always there: it is only taken out to be given limits.
    decoder: Option<Decoder<Cursor<Vec<u8>>>>,
    size: (u32, u32),
    bits: u8,
    map: Vec<[u8; 3]>,
}

fn error(error: TiffError) -> ImageError {
    match error {
        TiffError::IoError(e) => ImageError::IoError(e),
        TiffError::LimitsExceeded => ImageError::Limits(LimitError::from_kind(LimitErrorKind::InsufficientMemory)),
        TiffError::UnsupportedError(e) => unsupported(e.to_string()),
        e => ImageError::Decoding(DecodingError::new(ImageFormat::Tiff.into(), e)),
    }
}

fn unsupported(what: String) -> ImageError {
    let kind = UnsupportedErrorKind::GenericFeature(what);
    ImageError::Unsupported(UnsupportedError::from_format_and_kind(ImageFormatHint::Exact(ImageFormat::Tiff), kind))
}

/// Whether the first directory says that its picture has a palette.
pub(super) fn has_palette(bytes: &[u8]) -> bool {
    interpretation(bytes).is_some()
}

/// Where the byte is that says so.
fn interpretation(bytes: &[u8]) -> Option<usize> {
    let entry = bombs::tiff_entries(bytes).find(|entry| entry.tag == 262)?;
    let little = bytes.starts_with(b"II");
    let at = if little { entry.value_at } else { entry.value_at + 1 };
    // A SHORT, alone.
    (entry.kind == 3 && entry.count == 1 && bytes.get(at) == Some(&PALETTE)).then_some(at)
}

impl Palette {
    pub(super) fn open(bytes: &[u8]) -> ImageResult<Self> {
        let at = interpretation(bytes).ok_or_else(|| unsupported("no palette".into()))?;
        let mut shown = bytes.to_vec();
        shown[at] = GRAY;
        let mut decoder = Decoder::new(Cursor::new(shown)).map_err(error)?;
        let size = decoder.dimensions().map_err(error)?;
        let bits = match decoder.colortype().map_err(error)? {
            tiff::ColorType::Gray(bits @ (1 | 2 | 4 | 8)) => bits,
            other => return Err(unsupported(format!("a palette with {other:?}"))),
        };
        let map = decoder.get_tag_u16_vec(Tag::ColorMap).map_err(error)?;
        let entries = 1 << bits;
        if map.len() != 3 * entries {
            return Err(unsupported(format!("a palette of {} values for {bits} bits", map.len())));
        }
        // All reds, then greens, then blues, of 16 bits: their high bytes, as Pillow takes them.
        let map = (0..entries).map(|i| [0, 1, 2].map(|c| (map[c * entries + i] >> 8) as u8)).collect();
        Ok(Palette { decoder: Some(decoder), size, bits, map })
    }

    fn decoder(&mut self) -> ImageResult<&mut Decoder<Cursor<Vec<u8>>>> {
        self.decoder.as_mut().ok_or_else(|| unsupported("a decoder that is gone".into()))
    }
}

impl ImageDecoder for Palette {
    fn dimensions(&self) -> (u32, u32) {
        self.size
    }

    fn color_type(&self) -> ColorType {
        ColorType::Rgb8
    }

    fn orientation(&mut self) -> ImageResult<Orientation> {
        let value: Option<u16> = self.decoder()?.find_tag_unsigned(Tag::Orientation).map_err(error)?;
        let known = value.and_then(|v| Orientation::from_exif(u8::try_from(v).ok()?));
        Ok(known.unwrap_or(Orientation::NoTransforms))
    }

    fn set_limits(&mut self, limits: Limits) -> ImageResult<()> {
        let most = usize::try_from(limits.max_alloc.unwrap_or(u64::MAX)).unwrap_or(usize::MAX);
        let mut own = tiff::decoder::Limits::default();
        (own.decoding_buffer_size, own.intermediate_buffer_size, own.ifd_value_size) = (most, most, most);
        self.decoder = self.decoder.take().map(|decoder| decoder.with_limits(own));
        Ok(())
    }

    fn read_image(mut self, out: &mut [u8]) -> ImageResult<()> {
        let mut indices = DecodingResult::U8(Vec::new());
        self.decoder()?.read_image_to_buffer(&mut indices).map_err(error)?;
        let DecodingResult::U8(indices) = indices else { return Err(unsupported("a palette of wide indices".into())) };
        let (width, bits) = (self.size.0 as usize, usize::from(self.bits));
        // Rows begin with a byte; the highest bits are the left pixel.
        let rows = indices.chunks_exact((width * bits).div_ceil(8).max(1));
        for (row, out) in rows.zip(out.chunks_exact_mut((width * 3).max(1))) {
            for (x, pixel) in out.as_chunks_mut::<3>().0.iter_mut().enumerate() {
                let shift = 8 - bits - x * bits % 8;
                let index = row[x * bits / 8] >> shift & (((1u16 << bits) - 1) as u8);
                *pixel = self.map[usize::from(index)];
            }
        }
        Ok(())
    }

    fn read_image_boxed(self: Box<Self>, out: &mut [u8]) -> ImageResult<()> {
        (*self).read_image(out)
    }
}
