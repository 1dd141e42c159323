//! The plain way through a chain: decode, then one operation after another on owned media.

use super::chain::{Chain, Drawn, Job};
use super::{Elements, Frames, Lowered, Media, Raster, Tools};
use crate::clock::Mark;
use crate::codec::{Decoded, Pixels, Want};
use crate::data::info::{Info, Kind};
use crate::data::tensor::Layout;
use crate::error::{Fault, Reason};

impl Chain {
    /// Decodes and applies every operation's reference. The second value is the frames' times (clips only).
    pub(super) fn media(&self, drawn: &Drawn, job: Job<'_>, tools: &mut Tools) -> Result<(Media, Vec<i64>), Fault> {
        let chosen = self.chosen(drawn);
        let want = chosen.as_ref().map_or(Want::Whole, Frames::want);
        let mark = Mark::now();
        let decoded = job.codec.decode(job.payload, want, job.limits, &mut tools.scratch)?;
        tools.decode_nanos += mark.nanos();
        let pts_us = match &decoded {
            Decoded::Pixels(pixels) => pixels.pts_us.to_vec(),
            _ => Vec::new(),
        };
        let media = owned(self.kind, &decoded, &drawn.source, chosen.as_ref())?;
        Ok((self.apply_from(0, drawn, media, tools)?, pts_us))
    }

    /// Applies the operations from the `first`-th on.
    pub(super) fn apply_from(
        &self,
        first: usize,
        drawn: &Drawn,
        mut media: Media,
        tools: &mut Tools,
    ) -> Result<Media, Fault> {
        for (step, draw) in self.steps.iter().zip(&drawn.draws).skip(first) {
            media = step.op.apply(draw, media, tools).map_err(|mut fault| {
                fault.message = format!("{}: {}", step.path, fault.message);
                fault
            })?;
        }
        Ok(media)
    }

    /// The frames to decode, where the first operation chooses them.
    pub(super) fn chosen(&self, drawn: &Drawn) -> Option<Frames> {
        let (step, draw) = (self.steps.first()?, drawn.draws.first()?);
        match step.op.lower(draw) {
            Lowered::Frames(frames) => Some(frames),
            _ => None,
        }
    }
}

/// Owned media of what was decoded; refused if it is not what the facts say.
fn owned(kind: Kind, decoded: &Decoded<'_>, info: &Info, chosen: Option<&Frames>) -> Result<Media, Fault> {
    match (kind, decoded) {
        (Kind::Image | Kind::Video, Decoded::Pixels(pixels)) => {
            whole(kind, pixels, info, chosen)?;
            let (width, height) = (pixels.width as usize, pixels.height as usize);
            let data = Elements::U8(pixels.data.to_vec());
            let still = kind == Kind::Image;
            Ok(Media::Raster(Raster { data, frames: pixels.frames, still, width, height, layout: Layout::Nhwc }))
        }
        (Kind::Audio, Decoded::Wave(wave)) => {
            let channels = wave.channels.max(1) as usize;
            let samples = wave.data.len() / channels;
            agree("Hz", u64::from(wave.rate), u64::from(info.rate))?;
            agree("samples", samples as u64, info.count)?;
            let data = match channels {
                1 => wave.data.to_vec(),
                _ => wave.data.chunks_exact(channels).map(|c| c.iter().sum::<f32>() / channels as f32).collect(),
            };
            Ok(Media::Wave { data, rate: wave.rate })
        }
        (Kind::Text, Decoded::Text(text)) => {
            agree("bytes", text.len() as u64, info.count)?;
            Ok(Media::Text((*text).to_owned()))
        }
        _ => Err(Fault::new(Reason::WrongMedia, format!("the column holds {}, the payload is none", kind.name()))),
    }
}

/// Holds pixels that should be all of a picture or clip against the facts.
pub(super) fn whole(kind: Kind, pixels: &Pixels<'_>, info: &Info, chosen: Option<&Frames>) -> Result<(), Fault> {
    agree("pixels across", u64::from(pixels.width), u64::from(info.width))?;
    agree("pixels down", u64::from(pixels.height), u64::from(info.height))?;
    if pixels.origin != (0, 0) {
        return Err(Fault::new(Reason::Corrupt, "only a part was decoded where all was wanted"));
    }
    frames(kind, pixels, info, chosen)
}

/// Holds the number of frames and bytes against the facts.
pub(super) fn frames(kind: Kind, pixels: &Pixels<'_>, info: &Info, chosen: Option<&Frames>) -> Result<(), Fault> {
    let expected = match (kind, chosen) {
        (Kind::Image, _) => Some(1),
        (_, Some(chosen)) => chosen.count(),
        (_, None) => Some(info.count),
    };
    agree("frames", pixels.frames as u64, expected.unwrap_or(pixels.frames as u64))?;
    let bytes = [pixels.frames, pixels.width as usize, pixels.height as usize, 3];
    let bytes = bytes.iter().fold(1u64, |n, &f| n.saturating_mul(f as u64));
    agree("bytes of pixels", pixels.data.len() as u64, bytes)
}

fn agree(what: &str, got: u64, fact: u64) -> Result<(), Fault> {
    if got == fact {
        return Ok(());
    }
    Err(Fault::new(Reason::Corrupt, format!("decoding gave {got} {what}, its facts say {fact}")))
}
