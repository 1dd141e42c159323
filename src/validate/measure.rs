//! What is measured of a payload, once for all lints: it is fetched, compared with its hash, decoded whole.

use super::clips::Clip;
#[cfg(feature = "image")]
use super::eye::{Eye, Picture};
use super::sounds::Sound;
use super::texts::Writing;
use crate::codec::{self, Check, Codec, Decoded, Limits, Scratch, Scratches, Want};
use crate::data::index::Payload;
use crate::data::info::Kind;
use crate::dataset::Dataset;
use crate::error::{Error, Fault, Reason, Result};

/// A thread's buffer for payloads gives back what is more than this.
const KEPT: usize = 32 << 20;

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

/// Fetches and measures payloads; shared by all threads.
pub(super) struct Measurer<'a> {
    pub dataset: &'a Dataset,
    pub limits: &'a Limits,
    pub scratches: &'a Scratches,
}

impl Measurer<'_> {
    /// Measures the payload of a cell. An error is for what is no fault of the payload.
    pub(super) fn measure(&self, row: u64, column: usize, payload: &Payload, tools: &mut Tools) -> Result<Measured> {
        let codec = match codec::by_format(payload.info.format) {
            Ok(codec) => codec,
            Err(fault) => return Ok(Measured::Refused(fault)),
        };
        // Without its bytes: it is not read before there is memory to decode it.
        let needs = codec.memory(&[], &payload.info).saturating_add(payload.length).saturating_add(looked_at(payload));
        let mut loan = self.scratches.lend(needs);
        match self.dataset.fetch_checked(row, column, &mut tools.bytes) {
            Ok(_) => {}
            Err(Error::Sample { fault, .. }) => return Ok(Measured::Refused(fault)),
            Err(error) => return Err(error),
        }
        let measured = codec::guarded(codec.name(), || look(codec, payload, self.limits, &mut loan.scratch, tools));
        if matches!(&measured, Err(fault) if fault.reason == Reason::DecoderPanic) {
            loan.scratch = Scratch::default();
        }
        tools.bytes.clear();
        tools.bytes.shrink_to(KEPT);
        Ok(measured.unwrap_or_else(Measured::Refused))
    }
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
    limits: &Limits,
    scratch: &mut Scratch,
    tools: &mut Tools,
) -> Result<Measured, Fault> {
    let bytes = tools.bytes.as_slice();
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
