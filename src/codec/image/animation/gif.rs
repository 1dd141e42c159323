//! GIF by the crate `gif`.

use std::io::Cursor;

use ::gif::{ColorOutput, DecodeOptions, Decoder, DecodingError, DisposalMethod, MemoryLimit};

use super::Timeline;
use super::canvas::{After, Blend, Canvas, Frames};
use crate::codec::{Limits, Rect};
use crate::error::{Fault, Reason};

pub(super) fn sniff(bytes: &[u8]) -> bool {
    bytes.starts_with(b"GIF87a") || bytes.starts_with(b"GIF89a")
}

fn fault(error: DecodingError) -> Fault {
    match error {
        DecodingError::Io(e) if e.kind() == std::io::ErrorKind::UnexpectedEof => {
            Fault::new(Reason::Truncated, "the GIF ends before its animation does")
        }
        DecodingError::OutOfMemory | DecodingError::MemoryLimit => {
            Fault::new(Reason::OverLimit, "GIF: an extension that is too large")
        }
        error => Fault::new(Reason::Corrupt, format!("GIF: {error}")),
    }
}

fn open(bytes: &[u8], skip: bool) -> Result<Decoder<Cursor<&[u8]>>, Fault> {
    let mut options = DecodeOptions::new();
    options.set_color_output(ColorOutput::RGBA);
    // Of extensions; pixels go into memory of ours.
    options.set_memory_limit(MemoryLimit::Bytes(const { std::num::NonZeroU64::new(64 << 20).unwrap() }));
    options.skip_frame_decoding(skip);
    options.read_info(Cursor::new(bytes)).map_err(fault)
}

/// Walks over the blocks without decoding any pixels.
pub(super) fn timeline(bytes: &[u8], limits: &Limits) -> Result<Timeline, Fault> {
    let mut decoder = open(bytes, true)?;
    let size = (u32::from(decoder.width()), u32::from(decoder.height()));
    if size.0 == 0 || size.1 == 0 {
        return Err(Fault::new(Reason::Corrupt, format!("GIF: a size of {}x{}", size.0, size.1)));
    }
    let mut timeline = Timeline::new(size, limits)?;
    while let Some(frame) = decoder.next_frame_info().map_err(fault)? {
        Limits::check("pixels of a frame", u64::from(frame.width) * u64::from(frame.height), limits.pixels)?;
        timeline.push(u64::from(frame.delay) * 10_000)?;
    }
    Ok(timeline)
}

struct Gif<'b> {
    decoder: Decoder<Cursor<&'b [u8]>>,
    rgba: Vec<u8>,
    most: u64,
}

pub(super) fn frames<'b>(bytes: &'b [u8], limits: &Limits) -> Result<Box<dyn Frames + 'b>, Fault> {
    Ok(Box::new(Gif { decoder: open(bytes, false)?, rgba: Vec::new(), most: limits.pixels }))
}

impl Frames for Gif<'_> {
    fn draw(&mut self, canvas: &mut Canvas) -> Result<bool, Fault> {
        let Some(frame) = self.decoder.next_frame_info().map_err(fault)? else { return Ok(false) };
        let at = Rect {
            x: u32::from(frame.left),
            y: u32::from(frame.top),
            width: u32::from(frame.width),
            height: u32::from(frame.height),
        };
        let (dispose, transparent) = (frame.dispose, frame.transparent.is_some());
        Limits::check("pixels of a frame", u64::from(at.width) * u64::from(at.height), self.most)?;
        self.rgba.resize(self.decoder.buffer_size(), 0);
        self.decoder.read_into_buffer(&mut self.rgba).map_err(fault)?;
        let after = match dispose {
            DisposalMethod::Any | DisposalMethod::Keep => After::Keep,
            DisposalMethod::Previous => After::Previous,
            DisposalMethod::Background => After::Fill(self.background(transparent)),
        };
        canvas.draw(at, &self.rgba, Blend::Mask, after)?;
        Ok(true)
    }
}

impl Gif<'_> {
    /// What is left of a frame that goes: nothing; but the background's colour where the frame has no transparent one, as
    /// Pillow and ffmpeg have it.
    fn background(&self, transparent: bool) -> [u8; 4] {
        let colour = || {
            let palette = self.decoder.global_palette()?.as_chunks::<3>().0;
            let [r, g, b] = *palette.get(self.decoder.bg_color()?)?;
            Some([r, g, b, 255])
        };
        if transparent { [0; 4] } else { colour().unwrap_or([0; 4]) }
    }
}
