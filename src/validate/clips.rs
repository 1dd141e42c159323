//! Lints of clips: every frame is decoded, some are looked at.

use super::lint::{Lint, Rule, Seen, Severity, Threshold, Told};
use super::measure::Measured;
use super::percentile::percentile;
use crate::codec::{Pixels, luma};
use crate::data::feature::Feature;
use crate::data::info::Info;

/// Frames that are looked at: the first, the last, and those at equal distances between them.
pub(super) const FRAMES: u64 = 8;

/// What is measured of a clip.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Clip {
    /// Frames that were looked at.
    pub frames: usize,
    /// The greatest mean distance of the levels of two neighbours among them; between black and white it is 1.
    pub moved: f64,
    /// The luma that 98 in 100 pixels are not above, of the brightest frame; white is 1.
    pub bright: f64,
}

/// When they are shown, in microseconds.
pub(super) fn times(info: &Info) -> Vec<i64> {
    let frames = FRAMES.min(info.count.max(1));
    let at = |i: u64| i64::try_from(info.duration_us.saturating_mul(i) / (frames - 1).max(1)).unwrap_or(i64::MAX);
    (0..frames).map(at).collect()
}

impl Clip {
    /// Measures RGB8 frames.
    pub fn of(pixels: &Pixels<'_>) -> Self {
        let length = (pixels.width as usize * pixels.height as usize * 3).max(1);
        let frames: Vec<&[u8]> = pixels.data.chunks_exact(length).collect();
        let moved = frames.windows(2).map(|pair| {
            let sum: u64 = pair[0].iter().zip(pair[1]).map(|(a, b)| u64::from(a.abs_diff(*b))).sum();
            sum as f64 / length as f64 / 255.0
        });
        let moved = moved.fold(0.0, f64::max);
        let bright = frames.iter().map(|frame| {
            let mut levels = [0u32; 256];
            frame.as_chunks::<3>().0.iter().for_each(|pixel| levels[usize::from(luma(*pixel))] += 1);
            percentile(&levels, length as u64 / 3, 0.98) / 255.0
        });
        Clip { frames: frames.len(), moved, bright: bright.fold(0.0, f64::max) }
    }
}

fn is_video(feature: &Feature) -> bool {
    matches!(feature, Feature::Video)
}

fn clip<'a>(seen: &'a Seen<'_>, column: usize) -> Option<&'a Clip> {
    match &seen.measured[column] {
        Measured::Clip(clip) => Some(clip),
        _ => None,
    }
}

/// The threshold is that of FFmpeg's filter `freezedetect` (its `noise`).
pub(super) const FROZEN: Lint = Lint {
    code: "clip-frozen",
    summary: "a clip in which nothing moves: first, last and the frames between are one picture",
    help: "look at it: a still, a stuck camera, or a stream that broke off",
    severity: Severity::Warning,
    threshold: Some(Threshold {
        default: 0.001,
        meaning: "greatest mean distance of two frames' levels, white is 1, below",
    }),
    of: is_video,
    decodes: true,
    rule: Rule::Row(|seen, column, threshold| {
        let Clip { frames, moved, .. } = *clip(seen, column)?;
        let says = || format!("{frames} frames of all of it differ by {moved:.5} at the most, white is 1");
        (frames > 1 && moved < threshold).then(|| Told::new(moved, says()))
    }),
};

/// Threshold and share of pixels are those of FFmpeg's filter `blackdetect` (its `pixel_black_th` and `picture_black_ratio_th`).
pub(super) const BLACK: Lint = Lint {
    code: "clip-black",
    summary: "a clip that is black from the first frame to the last",
    help: "look at it: a lens cap, or a codec that was not decoded when it was recorded",
    severity: Severity::Warning,
    threshold: Some(Threshold {
        default: 0.1,
        meaning: "luma of the 98th percentile of the brightest frame, white is 1, below",
    }),
    of: is_video,
    decodes: true,
    rule: Rule::Row(|seen, column, threshold| {
        let Clip { frames, bright, .. } = *clip(seen, column)?;
        let says =
            || format!("98 % of the pixels of each of {frames} frames are no brighter than {bright:.3}, white is 1");
        (bright < threshold).then(|| Told::new(bright, says()))
    }),
};
