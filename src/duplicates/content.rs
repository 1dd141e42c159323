//! What a payload is once decoded: a digest of it, a sketch of it.

use sha2::{Digest, Sha256};

use crate::codec::{Codec, Decoded, Limits, Scratch, Want, decode_shown};
use crate::data::index::Payload;
use crate::data::info::{Info, Kind};
use crate::error::{Fault, Result};
use crate::fingerprint::Method;

/// Frames of a clip whose pixels are more than this are not all compared.
const FRAMES_BYTES: u64 = 512 << 20;

/// How many of such a clip are, the first and the last among them.
const FRAMES: u64 = 64;

/// Frames of a clip that a sketch is made of: the first, the last, and those at equal distances between them.
const SKETCHED: u64 = 8;

/// What is wanted of a payload.
#[derive(Debug, Clone, Copy)]
pub(super) struct Wanted {
    pub(super) digest: bool,
    pub(super) sketch: Option<&'static Method>,
}

/// What came of it.
#[derive(Debug, Default)]
pub(super) struct Content {
    /// SHA-256 over everything that two payloads must have in common to be equal once decoded.
    pub(super) digest: Option<[u8; 32]>,
    /// The sketch, where one was wanted and could be made.
    pub(super) sketch: Option<Vec<u8>>,
}

/// Facts that two payloads of a kind have in common if they are equal once decoded: as many bytes as distinguish them.
pub(super) fn facts(info: &Info) -> [u8; 28] {
    let Info { width, height, channels, rate, count, .. } = *info;
    // A gray picture decodes to the pixels of one with colours, and the rate of a clip is that of its container.
    let facts = match info.format.kind() {
        Kind::Image => [u64::from(width), u64::from(height), 0],
        Kind::Video => [u64::from(width), u64::from(height), count],
        Kind::Audio => [u64::from(channels), u64::from(rate), count],
        Kind::Text | Kind::Tensor => [0, 0, count],
    };
    let mut bytes = [0; 28];
    bytes[..4].copy_from_slice(&(info.format.kind() as u32).to_be_bytes());
    for (to, fact) in bytes[4..].chunks_exact_mut(8).zip(facts) {
        to.copy_from_slice(&fact.to_be_bytes());
    }
    bytes
}

/// Whether the frames of a clip are all compared.
fn is_whole(info: &Info) -> bool {
    frame_bytes(info).saturating_mul(info.count) <= FRAMES_BYTES
}

fn frame_bytes(info: &Info) -> u64 {
    u64::from(info.width).saturating_mul(u64::from(info.height)).saturating_mul(3)
}

/// Bytes that are held beside the decoder: turned pixels, the frames of a clip.
pub(super) fn beside(info: &Info, wanted: Wanted) -> u64 {
    let turned = if info.orientation.is_stored() { 1 } else { 2 };
    match info.format.kind() {
        Kind::Image if turned == 2 => frame_bytes(info),
        Kind::Video => {
            let sketched = if wanted.sketch.is_some() { SKETCHED } else { 0 };
            let compared = if is_whole(info) { info.count } else { FRAMES };
            frame_bytes(info).saturating_mul(if wanted.digest { compared } else { sketched }).saturating_mul(turned)
        }
        _ => 0,
    }
}

/// When frames are shown, in microseconds: the first, the last, and those at equal distances between them.
fn times(info: &Info, most: u64) -> Vec<i64> {
    let frames = most.min(info.count.max(1));
    let at = |i: u64| u128::from(info.duration_us) * u128::from(i) / u128::from((frames - 1).max(1));
    (0..frames).map(|i| i64::try_from(at(i)).unwrap_or(i64::MAX)).collect()
}

/// Decodes a payload and says what is wanted of it.
pub(super) fn content(
    codec: &dyn Codec,
    payload: &Payload,
    bytes: &[u8],
    limits: &Limits,
    scratch: &mut Scratch,
    wanted: Wanted,
) -> Result<Content, Fault> {
    let info = &payload.info;
    let mut content = Content::default();
    if codec.kind() == Kind::Video {
        if wanted.digest {
            let times = times(info, FRAMES);
            let want = if is_whole(info) { Want::Whole } else { Want::Video { times_us: &times } };
            content.digest = Some(digest(info, &decode_shown(codec, bytes, want, info, limits, scratch)?));
        }
        if let Some(method) = wanted.sketch {
            let times = times(info, SKETCHED);
            let frames = decode_shown(codec, bytes, Want::Video { times_us: &times }, info, limits, scratch)?;
            content.sketch = (method.sketch)(&frames)?;
        }
        return Ok(content);
    }
    let decoded = decode_shown(codec, bytes, Want::Whole, info, limits, scratch)?;
    content.digest = wanted.digest.then(|| digest(info, &decoded));
    if let Some(method) = wanted.sketch {
        content.sketch = (method.sketch)(&decoded)?;
    }
    Ok(content)
}

fn digest(info: &Info, decoded: &Decoded<'_>) -> [u8; 32] {
    let mut sha = Sha256::new();
    sha.update(facts(info));
    match decoded {
        Decoded::Pixels(pixels) => {
            sha.update((pixels.frames as u64).to_le_bytes());
            sha.update(pixels.width.to_le_bytes());
            sha.update(pixels.height.to_le_bytes());
            sha.update(pixels.data);
        }
        Decoded::Wave(wave) => {
            sha.update(wave.channels.to_le_bytes());
            sha.update(wave.rate.to_le_bytes());
            sha.update((wave.data.len() as u64).to_le_bytes());
            let mut bytes = [0; 4096];
            for samples in wave.data.chunks(bytes.len() / 4) {
                for (to, sample) in bytes.as_chunks_mut::<4>().0.iter_mut().zip(samples) {
                    // The two zeros are one level.
                    *to = (sample + 0.0).to_le_bytes();
                }
                sha.update(&bytes[..samples.len() * 4]);
            }
        }
        Decoded::Text(text) => sha.update(text.as_bytes()),
        Decoded::Elements(elements) => sha.update(elements),
    }
    sha.finalize().into()
}
