//! Fingerprints of near duplicates: a small sketch of what a payload shows, sounds or says, which is alike for copies that were encoded
//! anew, scaled, made louder, cut a little.
//!
//! One decoded payload is seen at a time. Which rows are compared, and what becomes of them, is for others to say: a [`Method`] gives the
//! sketch of a payload, the keys by which candidates are found (two sketches that are alike share one, or nearly surely do), and how alike
//! two sketches are. What each finds and what not is measured in docs/duplicates.md.
//!
//! Sketches are the same on every machine: of pictures and texts in whole numbers, of sounds in f64, where another SIMD tier rounds a sum
//! of a spectrum differently in the last bits, which changes a sketch only where two energies are equal to 15 digits. A sketch that comes
//! out otherwise than before is another method: `version` says so, and tests freeze them.

use serde::Serialize;

use crate::codec::Decoded;
use crate::data::info::{Info, Kind};
use crate::error::Fault;

#[cfg(feature = "video")]
mod clip;
#[cfg(any(feature = "image", feature = "video"))]
mod picture;
#[cfg(feature = "audio")]
mod sound;
#[cfg(feature = "text")]
mod text;

#[cfg(test)]
mod tests;

/// How near duplicates of one kind of media are found.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Method {
    /// The name shown by `dsctl`.
    pub name: &'static str,
    /// The kind of media that it compares.
    pub kind: Kind,
    /// Raised when the sketch of any payload changes: sketches of two versions are not compared.
    pub version: u32,
    /// What it finds, in a line.
    pub summary: &'static str,
    /// The least similarity, 0 to 1, of two payloads that count as nearly alike; chosen by measurement (docs/duplicates.md).
    pub threshold: f64,
    /// The sketch of a payload as it is shown, of clips the frames at [`clip_times`]. `None`: there is nothing to compare by (a flat
    /// picture, silence, a few words), and the payload is like no other.
    ///
    /// # Errors
    /// A payload of another kind, or one whose pixels are not what its size says.
    #[serde(skip)]
    pub sketch: fn(&Decoded<'_>) -> Result<Option<Vec<u8>>, Fault>,
    /// By what candidates are found, without repetition, [`KEYS`] at the most: sketches that are alike share at least one key with the
    /// probability that the method states, others hardly ever. Of bytes that are no sketch: none.
    #[serde(skip)]
    pub keys: fn(&[u8]) -> Vec<u64>,
    /// How alike two sketches are: 1 for the same, in any order of the two, and 0 where either is no sketch.
    #[serde(skip)]
    pub similarity: fn(&[u8], &[u8]) -> f64,
}

/// No method gives more keys for one payload.
pub const KEYS: usize = 160;

/// The methods of this build, one a kind of media.
pub static METHODS: &[Method] = &[
    #[cfg(any(feature = "image", feature = "video"))]
    picture::METHOD,
    #[cfg(feature = "audio")]
    sound::METHOD,
    #[cfg(feature = "text")]
    text::METHOD,
    #[cfg(feature = "video")]
    clip::METHOD,
];

/// The method for a kind of media, if this build has one.
pub fn of_kind(kind: Kind) -> Option<&'static Method> {
    METHODS.iter().find(|m| m.kind == kind)
}

/// Frames of a clip that are compared.
const FRAMES: u64 = 5;

/// The times, in microseconds and ascending, of the frames that the sketch of a clip is made of: the middles of five equal parts of it. (The
/// ends are no good: they are often black, and the first to go when a clip is cut.)
pub fn clip_times(info: &Info) -> Vec<i64> {
    let duration = i64::try_from(info.duration_us).unwrap_or(i64::MAX) / (2 * FRAMES as i64);
    (0..FRAMES as i64).map(|n| (2 * n + 1) * duration).collect()
}
