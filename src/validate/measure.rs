//! What is measured of a payload, once for all lints: it is fetched, compared with its hash, decoded whole.

use super::clips::Clip;
#[cfg(feature = "image")]
use super::eye::{Eye, Picture};
use super::sounds::Sound;
use super::texts::Writing;
use crate::codec::{Check, Codec, Decoded, Limits, Scratch, Want};
use crate::data::index::Payload;
use crate::data::info::Kind;
use crate::dataset::Decoding;
use crate::error::{Fault, Result};

/// What was measured of a payload.
#[derive(Debug)]
#[non_exhaustive]
pub enum Measured {
    /// Nothing: no payload, or none that is decoded this time.
    Nothing,
    /// It cannot be read or decoded.
    Refused(Fault),
    /// A picture, as it is stored.
    #[cfg(feature = "image")]
    Picture(Picture),
    /// A recording.
    Sound(Sound),
    /// A clip.
    Clip(Clip),
    /// A text.
    Text(Writing),
    /// A tensor.
    Elements,
}

/// What a thread measures with.
#[derive(Debug, Default)]
pub(super) struct Tools {
    bytes: Vec<u8>,
    #[cfg(feature = "image")]
    eye: Eye,
}

/// Measures the payload of a cell. An error is for what is no fault of the payload.
pub(super) fn measure(
    decoding: &Decoding<'_>,
    cell: (u64, usize),
    payload: &Payload,
    tools: &mut Tools,
) -> Result<Measured> {
    let mut bytes = std::mem::take(&mut tools.bytes);
    let limits = decoding.limits;
    let measured = decoding.look(cell, payload, looked_at(payload), &mut bytes, |codec, bytes, scratch| {
        look(codec, payload, bytes, limits, scratch, tools)
    });
    tools.bytes = bytes;
    Ok(measured?.unwrap_or_else(Measured::Refused))
}

/// Bytes that measuring holds beside the decoder: the frames of a clip, a reduced picture.
fn looked_at(payload: &Payload) -> u64 {
    let info = &payload.info;
    let pixels = u64::from(info.width).saturating_mul(u64::from(info.height));
    match info.format.kind() {
        Kind::Video => pixels.saturating_mul(3).saturating_mul(super::clips::FRAMES),
        // As RGB, and twice with 4 bytes a pixel.
        Kind::Image => pixels.min(512 * 512) * (3 + 8),
        _ => 0,
    }
}

fn look(
    codec: &dyn Codec,
    payload: &Payload,
    bytes: &[u8],
    limits: &Limits,
    scratch: &mut Scratch,
    #[cfg_attr(not(feature = "image"), expect(unused_variables, reason = "only pictures need tools"))]
    tools: &mut Tools,
) -> Result<Measured, Fault> {
    if codec.kind() == Kind::Video {
        // Every frame is decoded by the check; what is looked at are a few.
        codec.check(bytes, Check::Decode, limits, scratch)?;
        let times = super::clips::times(&payload.info);
        let decoded = codec.decode(bytes, Want::Video { times_us: &times }, limits, scratch)?;
        let Decoded::Pixels(pixels) = decoded else { return Ok(Measured::Elements) };
        return Ok(Measured::Clip(Clip::of(&pixels)));
    }
    Ok(match codec.decode_checked(bytes, limits, scratch)? {
        #[cfg(feature = "image")]
        Decoded::Pixels(pixels) => Measured::Picture(tools.eye.look(&pixels, payload.info.channels <= 2)?),
        #[cfg(not(feature = "image"))]
        Decoded::Pixels(_) => Measured::Elements,
        Decoded::Wave(wave) => Measured::Sound(Sound::of(&wave)),
        Decoded::Text(text) => Measured::Text(Writing::of(text)),
        Decoded::Elements(_) => Measured::Elements,
    })
}
