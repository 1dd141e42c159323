//! Pictures: smaller, encoded anew, or as pixels.

use std::io::Cursor;
use std::sync::Arc;

use ::image::codecs::png::PngEncoder;
use ::image::codecs::webp::WebPEncoder;
use ::image::{ExtendedColorType, ImageEncoder};
use libjpeg_turbo_rs::{Encoder, PixelFormat};

use super::options::{ImageFormat, ImageOptions};
use super::{Accepted, Maker};
use crate::augment::pixels::Size;
use crate::augment::resize::Resize;
use crate::augment::{Chain, Op, Tools};
use crate::codec::{self, image::rgb};
use crate::data::feature::Feature;
use crate::data::info::{Format, Info, Kind};
use crate::error::{Error, Fault, Reason};
use crate::rng::Key;

/// Stores pictures in another size or encoding. What is made is upright, sRGB as it was decoded, and has no metadata.
#[derive(Debug)]
pub(super) struct Pictures {
    options: ImageOptions,
}

impl Pictures {
    pub(super) fn new(options: ImageOptions) -> Self {
        Pictures { options }
    }

    fn format(&self) -> ImageFormat {
        self.options.format.unwrap_or(ImageFormat::Jpeg)
    }

    /// Whether a picture is decoded, and what is made of it encoded.
    fn anew(&self, info: &Info) -> bool {
        let size = (info.width, info.height);
        let ImageOptions { max_side, short_side, format, .. } = self.options;
        if (max_side, short_side, format) == (None, None, None) {
            // Only a quality was asked for: all get it.
            return self.options.encodes();
        }
        self.size(size) != size || format.is_some_and(|format| of(format) != info.format)
    }

    /// The size in which a picture is stored.
    fn size(&self, (width, height): (u32, u32)) -> (u32, u32) {
        let ImageOptions { max_side, short_side, .. } = self.options;
        within((width, height), short_side.map_or(max_side, |short| Some(longer((width, height), short))))
    }
}

/// A size whose longer side is no longer than `side`: (width, height), the shorter one to the nearest pixel, at least 1.
pub(super) fn within((width, height): (u32, u32), side: Option<u32>) -> (u32, u32) {
    let long = width.max(height);
    match side.filter(|side| *side < long) {
        None => (width, height),
        Some(side) => {
            let scaled = |length: u32| {
                let (length, side, long) = (u64::from(length), u64::from(side), u64::from(long));
                ((2 * length * side + long) / (2 * long)).max(1) as u32
            };
            (scaled(width), scaled(height))
        }
    }
}

/// The longer side of a picture whose shorter side becomes `short`: such that [`within`] gives just that.
fn longer((width, height): (u32, u32), short: u32) -> u32 {
    let (long, least) = (u64::from(width.max(height)), u64::from(width.min(height)).max(1));
    let scaled = (2 * long * u64::from(short) + least) / (2 * least);
    u32::try_from(scaled).unwrap_or(u32::MAX)
}

/// The operation that gives a picture or clip a size, if it has another.
pub(super) fn shrink(info: &Info, (width, height): (u32, u32)) -> Vec<(String, Arc<dyn Op>)> {
    if (width, height) == (info.width, info.height) {
        return Vec::new();
    }
    vec![("max_side".to_owned(), Arc::new(Resize { size: Size::Both([height, width]) }))]
}

/// A chain that cannot be compiled is our mistake, not the payload's.
pub(super) fn compiled(kind: Kind, ops: Vec<(String, Arc<dyn Op>)>) -> Result<Chain, Fault> {
    Chain::compile(kind, ops, true).map_err(broken)
}

pub(super) fn broken(error: Error) -> Fault {
    Fault::new(Reason::Unsupported, error)
}

/// A baseline JPEG of RGB pixels: the standard's tables, 4:2:0, as libjpeg-turbo and Pillow write it.
pub(super) fn jpeg(pixels: &[u8], (width, height): (u32, u32), quality: u8) -> Result<Vec<u8>, Fault> {
    if width.max(height) > 65_500 {
        return Err(Fault::new(
            Reason::OverLimit,
            format!("a JPEG has sides of 65500 pixels at the most, not {width}x{height}"),
        ));
    }
    let encoder = Encoder::new(pixels, width as usize, height as usize, PixelFormat::Rgb).quality(quality);
    encoder.force_baseline(true).encode().map_err(|e| Fault::new(Reason::Unsupported, format!("encoding a JPEG: {e}")))
}

impl Maker for Pictures {
    fn feature(&self) -> Feature {
        Feature::Image
    }

    fn made_by(&self) -> Vec<String> {
        let mut by = Vec::new();
        if self.options.max_side.is_some() || self.options.short_side.is_some() {
            by.push(format!("resize {}", crate::augment::resize::ENTRY.version));
        }
        if self.options.encodes() {
            by.push(match self.format() {
                ImageFormat::Jpeg => "jpeg 1".to_owned(),
                ImageFormat::Png => "png 1".to_owned(),
                ImageFormat::Webp => "webp 1".to_owned(),
                ImageFormat::Rgb => "rgb 1".to_owned(),
            });
        }
        if self.options.transcode {
            by.push("jpeg in sequence 1".to_owned());
        }
        if self.options.crop {
            by.push("crop index 1".to_owned());
        }
        by
    }

    fn takes(&self, info: &Info) -> bool {
        self.anew(info) || self.options.transcode && info.format == Format::Jpeg
    }

    fn decodes(&self, info: &Info) -> bool {
        self.anew(info)
    }

    fn grows(&self) -> bool {
        self.options.encodes() && self.format() != ImageFormat::Jpeg
    }

    fn memory(&self, info: &Info) -> u64 {
        let (width, height) = self.size((info.width, info.height));
        let pixels = |width: u32, height: u32| u64::from(width).saturating_mul(u64::from(height)).saturating_mul(3);
        if !self.anew(info) {
            // Coefficients of two bytes in whole MCUs (of 32 pixels at the most), the pixels of both files, and what is written.
            let whole = |side: u32| side.saturating_add(31) / 32 * 32;
            return pixels(whole(info.width), whole(info.height)).saturating_mul(6);
        }
        // The decoded picture as the operations own it; what is made of it, twice, and what the encoder keeps.
        pixels(info.width, info.height).saturating_add(pixels(width, height).saturating_mul(4))
    }

    fn make(&self, payload: Accepted<'_>, tools: &mut Tools) -> Result<Option<(Vec<u8>, Info)>, Fault> {
        let Accepted { bytes, codec, info, limits } = payload;
        if !self.anew(info) {
            let made = codec::image::jpeg::in_sequence(bytes, info, limits, &mut tools.scratch)?;
            return Ok(made.map(|made| (made, *info)));
        }
        let chain = compiled(Kind::Image, shrink(info, self.size((info.width, info.height))))?;
        let drawn = chain.draw(info, Key::new(0));
        let made = chain.run_late(&drawn, bytes, codec, limits, tools)?;
        let (width, height) = (drawn.facts.width, drawn.facts.height);
        let fault = |e: ::image::ImageError| Fault::new(Reason::Unsupported, format!("encoding a picture: {e}"));
        let mut out = Vec::new();
        let color = ExtendedColorType::Rgb8;
        match self.format() {
            ImageFormat::Jpeg => out = jpeg(&made.bytes, (width, height), self.options.quality.unwrap_or(90))?,
            ImageFormat::Png => {
                PngEncoder::new(Cursor::new(&mut out)).write_image(&made.bytes, width, height, color).map_err(fault)?;
            }
            ImageFormat::Webp => {
                let encoder = WebPEncoder::new_lossless(Cursor::new(&mut out));
                encoder.write_image(&made.bytes, width, height, color).map_err(fault)?;
            }
            ImageFormat::Rgb => out = rgb::encode(width, height, &made.bytes),
        }
        let info = codec::by_format(of(self.format()))?.probe(&out, limits)?;
        Ok(Some((out, info)))
    }
}

fn of(format: ImageFormat) -> Format {
    match format {
        ImageFormat::Jpeg => Format::Jpeg,
        ImageFormat::Png => Format::Png,
        ImageFormat::Webp => Format::Webp,
        ImageFormat::Rgb => Format::Rgb,
    }
}
