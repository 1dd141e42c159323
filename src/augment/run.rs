//! The plain way through a chain: decode, then one operation after another on owned media.

use super::chain::{Chain, Drawn, Job};
use super::{Elements, Frames, Lowered, Media, Raster, Tools, Wave, packed};
use crate::clock::Mark;
use crate::codec::{self, Decoded, Pixels, Want, decode_shown};
use crate::data::info::{Info, Kind};
use crate::data::tensor::Layout;
use crate::error::{Fault, Reason};

impl Chain {
    /// Decodes and applies every operation's reference. The second value is the frames' times (clips only).
    pub(super) fn media(&self, drawn: &Drawn, job: Job<'_>, tools: &mut Tools) -> Result<(Media, Vec<i64>), Fault> {
        let chosen = self.chosen(drawn);
        let range = self.range(drawn);
        let want = match (&chosen, range) {
            (Some(frames), _) => frames.want(),
            (None, Some(range)) => Want::Audio { range: Some(range) },
            (None, None) => Want::Whole,
        };
        let mark = Mark::now();
        let decoded = decode_shown(job.codec, job.payload, want, &drawn.source, job.limits, &mut tools.scratch)?;
        tools.decode_nanos += mark.nanos();
        let pts_us = match &decoded {
            Decoded::Pixels(pixels) => pixels.pts_us.to_vec(),
            _ => Vec::new(),
        };
        let media = match (&self.tensor, &decoded) {
            (Some(tensor), Decoded::Elements(bytes)) => packed::unpacked(tensor, bytes, &drawn.source)?,
            (None, Decoded::Wave(wave)) if self.kind == Kind::Audio => {
                Media::Wave(recording(wave, &drawn.source, range, self.keeps_channels)?)
            }
            _ => owned(self.kind, &decoded, &drawn.source, chosen.as_ref())?,
        };
        Ok((self.apply_from(0, drawn, media, tools)?, pts_us))
    }

    /// How many operations stand at the front that say what is decoded of a recording.
    fn front(&self, drawn: &Drawn) -> usize {
        let front = self.steps.iter().zip(&drawn.draws).take_while(|(step, draw)| {
            matches!(step.op.lower(draw), Lowered::Range(..) | Lowered::Channels | Lowered::Keep)
        });
        if self.kind == Kind::Audio && self.fuse { front.count() } else { 0 }
    }

    /// The range to decode, where operations at the front choose one; each counts in what the one before it left.
    fn range(&self, drawn: &Drawn) -> Option<(u64, u64)> {
        let front = self.steps.iter().zip(&drawn.draws).take(self.front(drawn));
        let parts = front.filter_map(|(step, draw)| match step.op.lower(draw) {
            Lowered::Range(start, end) => Some((start, end)),
            _ => None,
        });
        parts.reduce(|all, part| (all.0.saturating_add(part.0), all.0.saturating_add(part.1).min(all.1)))
    }

    /// The facts of what is decoded of a payload: of a picture the size of the region, of a recording the samples of the range, of a clip how many frames.
    pub fn decoded(&self, drawn: &Drawn) -> Info {
        let mut part = drawn.source;
        #[cfg(any(feature = "image", feature = "video"))]
        if let Some(region) = self.region(drawn) {
            (part.width, part.height) = (region.width, region.height);
        }
        match self.chosen(drawn) {
            Some(Frames::At(times)) => part.count = times.len() as u64,
            Some(Frames::Keys { most, .. }) => part.count = part.count.min(most),
            None => {}
        }
        if let Some((start, end)) = self.range(drawn) {
            part.count = end.min(part.count).saturating_sub(start);
        }
        part
    }

    /// Applies the operations from the `first`-th on.
    pub(super) fn apply_from(
        &self,
        first: usize,
        drawn: &Drawn,
        mut media: Media,
        tools: &mut Tools,
    ) -> Result<Media, Fault> {
        let front = self.front(drawn);
        for (i, (step, draw)) in self.steps.iter().zip(&drawn.draws).enumerate().skip(first) {
            if i < front && matches!(step.op.lower(draw), Lowered::Range(..)) {
                continue; // only that was decoded
            }
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
        (Kind::Text, Decoded::Text(text)) => {
            agree("bytes", text.len() as u64, info.count)?;
            Ok(Media::Text((*text).to_owned()))
        }
        _ => Err(Fault::new(Reason::WrongMedia, format!("the column holds {}, the payload is none", kind.name()))),
    }
}

/// What was decoded of a recording, cut to `range` (`None`: all of it): its channels side by side, or mixed to their mean.
fn recording(
    wave: &codec::Wave<'_>,
    info: &Info,
    range: Option<(u64, u64)>,
    keeps_channels: bool,
) -> Result<Wave, Fault> {
    let channels = wave.channels.max(1) as usize;
    let there = (wave.data.len() / channels) as u64;
    agree("Hz", u64::from(wave.rate), u64::from(info.rate))?;
    let (start, end) = match range {
        Some((start, end)) if wave.start <= start && end <= wave.start + there => {
            (start - wave.start, end - wave.start)
        }
        Some((start, end)) => {
            let what = format!("decoding gave {there} samples from {} on, wanted were {start} to {end}", wave.start);
            return Err(Fault::new(Reason::Corrupt, what));
        }
        None => {
            agree("samples", there, info.count)?;
            (0, there)
        }
    };
    let data = &wave.data[start as usize * channels..end as usize * channels];
    if keeps_channels {
        agree("channels", u64::from(wave.channels), u64::from(info.channels))?;
        let planes = (0..channels).flat_map(|c| data.iter().skip(c).step_by(channels).copied()).collect();
        return Ok(Wave { data: planes, channels: Some(channels), rate: wave.rate });
    }
    Ok(Wave::mono(mixed(data, channels), wave.rate))
}

/// Interleaved samples as one channel: the mean of all.
pub(crate) fn mixed(data: &[f32], channels: usize) -> Vec<f32> {
    match channels {
        1 => data.to_vec(),
        _ => data.chunks_exact(channels).map(|c| c.iter().sum::<f32>() / channels as f32).collect(),
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
