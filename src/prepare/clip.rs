//! Clips: frames at a fixed rate, as JPEGs in Matroska.

use super::options::VideoOptions;
use super::picture::{compiled, jpeg, shrink, within};
use super::{Accepted, Maker};
use crate::augment::{self, Draw, Lowered, Media, Op, Spec, Tools, sample_frames};
use crate::codec::container::mux::{Frames, mjpeg};
use crate::data::feature::Feature;
use crate::data::info::{Format, Info, Kind};
use crate::error::{Fault, Reason, Result};
use crate::rng::Key;

/// Stores clips as frames at a fixed rate, each a picture of its own, without sound.
#[derive(Debug)]
pub(super) struct Clips {
    options: VideoOptions,
    times: std::sync::Arc<dyn Op>,
}

/// Bytes of the frames that are decoded at a time. Each time begins at the last key frame before the first of them.
const AT_A_TIME: u64 = 128 << 20;

impl Clips {
    pub(super) fn new(options: VideoOptions) -> Result<Self> {
        let times = (sample_frames::ENTRY.build)(&serde_json::json!({ "fps": options.fps }))?;
        Ok(Clips { options, times })
    }

    /// Frames that are decoded at a time.
    fn part(info: &Info) -> usize {
        let frame = u64::from(info.width).saturating_mul(u64::from(info.height)).saturating_mul(3).max(1);
        usize::try_from(AT_A_TIME / frame).unwrap_or(usize::MAX).max(1)
    }
}

impl Maker for Clips {
    fn feature(&self) -> Feature {
        Feature::Video
    }

    fn made_by(&self) -> Vec<String> {
        let mut by = vec![format!("sample_frames {}", sample_frames::ENTRY.version)];
        if self.options.max_side.is_some() {
            by.push(format!("resize {}", augment::resize::ENTRY.version));
        }
        by.extend(["jpeg 1".to_owned(), "mjpeg-matroska 1".to_owned()]);
        by
    }

    fn grows(&self) -> bool {
        true // of a codec that predicts frames
    }

    fn memory(&self, info: &Info) -> u64 {
        let frame = u64::from(info.width).saturating_mul(u64::from(info.height)).saturating_mul(3);
        // As decoded and as the operations own them, and smaller ones of these; what is encoded is small.
        frame.saturating_mul(Self::part(info) as u64).min(AT_A_TIME.max(frame)).saturating_mul(3)
    }

    fn make(&self, payload: Accepted<'_>, tools: &mut Tools) -> Result<Option<(Vec<u8>, Info)>, Fault> {
        let Accepted { bytes, codec, info, limits } = payload;
        let Draw::Times(times) = self.times.draw(info, Key::new(0)) else {
            return Err(Fault::new(Reason::OverLimit, "more frames than may be chosen of a clip"));
        };
        let (width, height) = within((info.width, info.height), self.options.max_side);
        let mut frames = Vec::with_capacity(times.len());
        for part in times.chunks(Self::part(info)) {
            let mut ops = vec![("frames".to_owned(), std::sync::Arc::new(At(part.to_vec())) as _)];
            ops.extend(shrink(info, within((info.width, info.height), self.options.max_side)));
            let chain = compiled(Kind::Video, ops)?;
            let drawn = chain.draw(info, Key::new(0));
            let made = chain.run_late(&drawn, bytes, codec, limits, tools)?;
            let size = width as usize * height as usize * 3;
            for pixels in made.bytes.chunks_exact(size.max(1)) {
                frames.push(jpeg(pixels, (width, height), self.options.quality.unwrap_or(90))?);
            }
        }
        if frames.len() != times.len() {
            return Err(Fault::new(Reason::Corrupt, format!("{} frames for {} times", frames.len(), times.len())));
        }
        // Down to whole microseconds, so that the clip ends before the next frame would be on display.
        let length_us = (1e6 / self.options.fps.unwrap_or(1.0)) as u64;
        let out = mjpeg(&Frames { jpegs: &frames, times_us: &times, length_us, width, height });
        let count = frames.len() as u64;
        let duration_us = times.last().map_or(0, |last| last.unsigned_abs()) + length_us;
        let rate = (u128::from(count) * 1_000_000_000 + u128::from(duration_us / 2)) / u128::from(duration_us.max(1));
        let rate = u32::try_from(rate).unwrap_or(u32::MAX);
        let info = Info { width, height, channels: 3, rate, count, duration_us, ..Info::of(Format::Matroska) };
        Ok(Some((out, info)))
    }
}

/// The frames on display at some times.
#[derive(Debug)]
struct At(Vec<i64>);

impl Op for At {
    fn spec(&self, input: &Spec) -> Result<Spec, Fault> {
        Ok(input.clone())
    }

    fn draw(&self, _: &Info, _: Key) -> Draw {
        Draw::Times(self.0.clone())
    }

    fn facts(&self, info: &Info, _: &Draw) -> Info {
        Info { count: self.0.len() as u64, ..*info }
    }

    fn lower(&self, _: &Draw) -> Lowered {
        Lowered::Frames(augment::Frames::At(self.0.clone()))
    }

    fn apply(&self, _: &Draw, media: Media, _: &mut Tools) -> Result<Media, Fault> {
        Ok(media)
    }
}
