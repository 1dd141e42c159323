//! WebP: each frame is decoded as a still picture of its own, for `image-webp` leaves disposal out.

use std::io::Cursor;

use ::image::codecs::webp::WebPDecoder;
use ::image::{ColorType, ImageDecoder};

use super::canvas::{After, Blend, Canvas, Frames};
use super::{Timeline, corrupt};
use crate::codec::image::{bombs, metadata, raster};
use crate::codec::{Limits, Rect};
use crate::error::Fault;

/// A WebP whose extended header says that it is animated.
pub(super) fn sniff(bytes: &[u8]) -> bool {
    bytes.starts_with(b"RIFF")
        && bytes.get(8..16) == Some(b"WEBPVP8X")
        && bytes.get(20).is_some_and(|flags| flags & 2 != 0)
}

fn three(bytes: &[u8]) -> u32 {
    bytes.iter().take(3).rev().fold(0, |n, b| n << 8 | u32::from(*b))
}

/// The bytes of each frame: 16 of a header, then chunks (RFC 9649, 2.7.1).
fn parts(bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
    metadata::riff_chunks(bytes).filter(|(name, _)| name == b"ANMF").map(|(_, data)| data)
}

pub(super) fn timeline(bytes: &[u8], limits: &Limits) -> Result<Timeline, Fault> {
    let size = bytes.get(24..30).ok_or_else(|| corrupt("WebP: the extended header is cut off"))?;
    let mut timeline = Timeline::new((three(size) + 1, three(&size[3..]) + 1), limits)?;
    for part in parts(bytes) {
        let delay = part.get(12..15).ok_or_else(|| corrupt("WebP: a frame ends within its header"))?;
        timeline.push(u64::from(three(delay)) * 1000)?;
    }
    Ok(timeline)
}

struct WebP<'b> {
    parts: Box<dyn Iterator<Item = &'b [u8]> + 'b>,
    still: Vec<u8>,
    stored: Vec<u8>,
    rgba: Vec<u8>,
    limits: Limits,
}

pub(super) fn frames<'b>(bytes: &'b [u8], limits: &Limits) -> Result<Box<dyn Frames + 'b>, Fault> {
    let parts = Box::new(parts(bytes));
    Ok(Box::new(WebP { parts, still: Vec::new(), stored: Vec::new(), rgba: Vec::new(), limits: *limits }))
}

impl Frames for WebP<'_> {
    fn draw(&mut self, canvas: &mut Canvas) -> Result<bool, Fault> {
        let Some(part) = self.parts.next() else { return Ok(false) };
        let Some((head, chunks)) = part.split_at_checked(16) else {
            return Err(corrupt("WebP: a frame ends within its header"));
        };
        let field = |n: usize| three(&head[n * 3..]);
        let at = Rect { x: field(0) * 2, y: field(1) * 2, width: field(2) + 1, height: field(3) + 1 };
        super::check_size(at.width, at.height, &self.limits)?;
        still(chunks, at, &mut self.still)?;
        bombs::webp(&self.still, &self.limits).map_err(|fault| corrupt(format!("WebP: {}", fault.message)))?;
        let fault = |e| raster::WEBP.fault(e);
        let decoder = WebPDecoder::new(Cursor::new(&self.still[..])).map_err(fault)?;
        if decoder.dimensions() != (at.width, at.height) {
            return Err(corrupt("WebP: a frame of another size than its header says"));
        }
        let colour = decoder.color_type();
        let pixels = at.width as usize * at.height as usize;
        self.stored.resize(pixels * usize::from(colour.bytes_per_pixel()), 0);
        decoder.read_image(&mut self.stored).map_err(fault)?;
        let rgba = if colour == ColorType::Rgb8 {
            self.rgba.clear();
            self.rgba.extend(self.stored.as_chunks::<3>().0.iter().flat_map(|&[r, g, b]| [r, g, b, 255]));
            &self.rgba
        } else {
            &self.stored
        };
        let blend = if head[15] & 2 == 0 { Blend::WebpOver } else { Blend::Source };
        let after = if head[15] & 1 == 0 { After::Keep } else { After::Fill([0; 4]) };
        canvas.draw(at, rgba, blend, after)?;
        Ok(true)
    }
}

/// A still file of a frame's chunks.
fn still(chunks: &[u8], at: Rect, file: &mut Vec<u8>) -> Result<(), Fault> {
    file.clear();
    file.extend(b"RIFF\0\0\0\0WEBP");
    if metadata::chunks(chunks).any(|(name, _)| &name == b"ALPH") {
        file.extend(b"VP8X\x0a\0\0\0\x10\0\0\0");
        for side in [at.width, at.height] {
            file.extend(&(side - 1).to_le_bytes()[..3]);
        }
    }
    file.extend(chunks);
    let size = u32::try_from(file.len() - 8).map_err(|_| corrupt("WebP: a frame of 4 GiB"))?;
    file[4..8].copy_from_slice(&size.to_le_bytes());
    Ok(())
}
