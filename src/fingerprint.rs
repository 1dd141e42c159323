//! Sketches of decoded media by which what is nearly alike is found. (A stub: the branch `near` has the methods.)

use crate::codec::Decoded;
use crate::data::info::{Info, Kind};
use crate::error::Fault;

/// One way to sketch media of one kind.
#[derive(Debug, Clone)]
pub struct Method {
    /// The stable name.
    pub name: &'static str,
    /// Of what.
    pub kind: Kind,
    /// Raised when a sketch of the same media changes.
    pub version: u32,
    /// What it is, in one line.
    pub summary: &'static str,
    /// The least similarity, 0 to 1, that counts as nearly alike.
    pub threshold: f64,
    /// The sketch; `None`: nothing can be said (a flat picture, silence, few words).
    pub sketch: fn(&Decoded<'_>) -> Result<Option<Vec<u8>>, Fault>,
    /// Keys of a sketch: two sketches that are alike share at least one.
    pub keys: fn(&[u8]) -> Vec<u64>,
    /// How much two sketches are alike, 0 to 1.
    pub similarity: fn(&[u8], &[u8]) -> f64,
}

/// The methods of this build, one a kind.
pub static METHODS: &[Method] = &[];

/// The method for a kind of media, if there is one.
pub fn of_kind(kind: Kind) -> Option<&'static Method> {
    METHODS.iter().find(|method| method.kind == kind)
}

/// The times, in microseconds, of the frames that the sketch of a clip is made of.
pub fn clip_times(info: &Info) -> Vec<i64> {
    let duration = i64::try_from(info.duration_us).unwrap_or(i64::MAX) / 10;
    (0..5).map(|n| (2 * n + 1) * duration).collect()
}
