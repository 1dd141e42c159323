//! APNG by the crate `png`.

use std::io::Cursor;

use ::png::{BlendOp, ColorType, Decoder, DecodingError, DisposeOp, Reader, Transformations};

use super::canvas::{After, Blend, Canvas, Frames};
use super::{Timeline, corrupt};
use crate::codec::image::{metadata, png as still};
use crate::codec::{Limits, Rect};
use crate::error::{Fault, Reason};

/// A PNG with a chunk acTL in front of the picture.
pub(super) fn sniff(bytes: &[u8]) -> bool {
    bytes.starts_with(still::SIGNATURE) && control(bytes).is_some()
}

/// The number of frames that acTL says.
fn control(bytes: &[u8]) -> Option<u32> {
    let mut front = metadata::png_chunks(bytes).take_while(|(name, _)| name != b"IDAT");
    let (_, data) = front.find(|(name, _)| name == b"acTL")?;
    data.first_chunk().map(|count| u32::from_be_bytes(*count))
}

/// The delays of the chunks fcTL.
pub(super) fn timeline(bytes: &[u8], limits: &Limits) -> Result<Timeline, Fault> {
    let info = still::header(bytes, limits)?;
    let mut timeline = Timeline::new((info.width, info.height), limits)?;
    for (_, data) in metadata::png_chunks(bytes).filter(|(name, _)| name == b"fcTL") {
        let Some(&[n0, n1, d0, d1]) = data.get(20..24) else {
            return Err(corrupt("PNG: a chunk fcTL that is too short"));
        };
        let (number, parts) = (u16::from_be_bytes([n0, n1]), u16::from_be_bytes([d0, d1]));
        let parts = if parts == 0 { 100 } else { u64::from(parts) };
        timeline.push((u64::from(number) * 1_000_000 + parts / 2) / parts)?;
    }
    let said = control(bytes).unwrap_or(0);
    if timeline.count() as u64 != u64::from(said) {
        let reason = if timeline.count() < said as usize { Reason::Truncated } else { Reason::Corrupt };
        let what = format!("the PNG says that it has {said} frames and holds {}", timeline.count());
        return Err(Fault::new(reason, what));
    }
    Ok(timeline)
}

fn fault(error: DecodingError) -> Fault {
    match error {
        DecodingError::IoError(e) if e.kind() == std::io::ErrorKind::UnexpectedEof => {
            Fault::new(Reason::Truncated, "the PNG ends before its animation does")
        }
        DecodingError::LimitsExceeded => Fault::new(Reason::OverLimit, "PNG: a row or chunk that is too large"),
        error => Fault::new(Reason::Corrupt, format!("PNG: {error}")),
    }
}

struct Png<'b> {
    reader: Reader<Cursor<&'b [u8]>>,
    stored: Vec<u8>,
    rgba: Vec<u8>,
}

pub(super) fn frames<'b>(bytes: &'b [u8], limits: &Limits) -> Result<Box<dyn Frames + 'b>, Fault> {
    let budget = ::png::Limits { bytes: still::WORKING_BYTES as usize };
    let mut decoder = Decoder::new_with_limits(Cursor::new(bytes), budget);
    decoder.set_ignore_text_chunk(true);
    decoder.set_transformations(Transformations::normalize_to_color8());
    let reader = decoder.read_info().map_err(fault)?;
    let length = reader.output_buffer_size().unwrap_or(usize::MAX);
    // Up to four samples a pixel.
    Limits::check("decoded bytes", length as u64, limits.pixels.saturating_mul(4))?;
    let mut frames = Png { reader, stored: vec![0; length], rgba: Vec::new() };
    if frames.reader.info().frame_control.is_none() {
        // The default picture is not in the animation.
        frames.reader.next_frame(&mut frames.stored).map_err(fault)?;
    }
    Ok(Box::new(frames))
}

impl Frames for Png<'_> {
    fn draw(&mut self, canvas: &mut Canvas) -> Result<bool, Fault> {
        let made = self.reader.next_frame(&mut self.stored).map_err(fault)?;
        let control = self.reader.info().frame_control.ok_or_else(|| corrupt("PNG: a frame without a chunk fcTL"))?;
        let at = Rect { x: control.x_offset, y: control.y_offset, width: control.width, height: control.height };
        if (made.width, made.height) != (at.width, at.height) {
            return Err(corrupt("PNG: a frame of another size than its chunk fcTL says"));
        }
        let stored = &self.stored[..made.buffer_size()];
        self.rgba.clear();
        match made.color_type {
            ColorType::Grayscale => self.rgba.extend(stored.iter().flat_map(|&v| [v, v, v, 255])),
            ColorType::GrayscaleAlpha => {
                self.rgba.extend(stored.as_chunks::<2>().0.iter().flat_map(|&[v, alpha]| [v, v, v, alpha]));
            }
            ColorType::Rgb => self.rgba.extend(stored.as_chunks::<3>().0.iter().flat_map(|&[r, g, b]| [r, g, b, 255])),
            ColorType::Rgba => self.rgba.extend_from_slice(stored),
            ColorType::Indexed => return Err(corrupt("PNG: indices were left")),
        }
        let blend = if control.blend_op == BlendOp::Over { Blend::Over } else { Blend::Source };
        let after = match control.dispose_op {
            DisposeOp::None => After::Keep,
            DisposeOp::Background => After::Fill([0; 4]),
            DisposeOp::Previous => After::Previous,
        };
        canvas.draw(at, &self.rgba, blend, after)?;
        Ok(true)
    }
}
