//! `dct-frames`: the perceptual hash of pictures, of a few frames of a clip at equal parts of its duration.
//!
//! Frames are compared in their order, so what is slower, faster or of another rate of frames is covered as far as the same moments are met, and
//! what is cut by a fifth is where little moves. A clip with nothing to see in all frames has no sketch; one with some flat frames (a fade)
//! is compared by the others, if they are most of them.

use super::{FRAMES, Method, picture};
use crate::codec::Decoded;
use crate::data::info::Kind;
use crate::error::{Fault, Reason};

/// The table's row.
///
/// Keys: those of the frames, each with its place. Two clips above the threshold have at least one pair of frames above it, and each shares a key
/// as often as two such pictures do: there are five chances.
pub(super) const METHOD: Method = Method {
    name: "dct-frames",
    kind: Kind::Video,
    version: 1,
    summary: "perceptual hashes of five frames of a clip: encoded anew, scaled, of another rate of frames, mirrored",
    // Higher than that of pictures: a fixed camera sees nearly the same at all times.
    threshold: 0.9,
    sketch,
    keys,
    similarity,
};

/// Bytes of a clip's sketch.
const SKETCH: usize = picture::SKETCH * FRAMES as usize;

/// The sketches of frames, one behind the other; a flat one has nothing but zeros.
fn sketch(decoded: &Decoded<'_>) -> Result<Option<Vec<u8>>, Fault> {
    let Decoded::Pixels(pixels) = decoded else {
        return Err(Fault::new(Reason::WrongMedia, "there are no frames to make perceptual hashes of"));
    };
    let frame = pixels.width as usize * pixels.height as usize * 3;
    let mut made = Vec::with_capacity(SKETCH);
    for data in pixels.data.chunks_exact(frame.max(1)).take(FRAMES as usize) {
        let of = picture::sketch(data, pixels.width, pixels.height)?;
        made.extend(of.unwrap_or_else(|| vec![0; picture::SKETCH]));
    }
    made.resize(SKETCH, 0);
    Ok(if seen(&made).count() * 2 > FRAMES as usize { Some(made) } else { None })
}

/// The frames that are not flat, with their places.
fn seen(sketch: &[u8]) -> impl Iterator<Item = (usize, &[u8])> {
    let whole = sketch.len() == SKETCH;
    let frames = sketch.chunks_exact(picture::SKETCH).enumerate();
    frames.filter(move |(_, frame)| whole && frame.iter().any(|byte| *byte != 0))
}

fn keys(sketch: &[u8]) -> Vec<u64> {
    seen(sketch)
        .flat_map(|(n, frame)| picture::keys(frame).into_iter().map(move |key| key | (n as u64) << 40))
        .collect()
}

/// The mean over frames that have something to see in both clips, if these are most of them.
fn similarity(a: &[u8], b: &[u8]) -> f64 {
    let pairs = seen(a).filter_map(|(n, x)| seen(b).find(|(m, _)| n == *m).map(|(_, y)| picture::similarity(x, y)));
    let (count, sum) = pairs.fold((0, 0.0), |(count, sum), s| (count + 1, sum + s));
    if count * 2 > FRAMES as usize { sum / f64::from(count as u32) } else { 0.0 }
}
