//! What stands behind the decoders in Rust: FFmpeg, for streams that they do not support, or a word about the feature that would
//! bring it.

use super::Container;
#[cfg(feature = "ffmpeg")]
use super::ffmpeg::{self, Muxed};
use crate::codec::Limits;
use crate::data::info::Info;
use crate::error::{Fault, Reason};

/// About how many bytes a check by FFmpeg holds beside the payload: the packets, and the pictures that the decoder keeps, at the most
/// 18 of 4:2:0 in 16 bits.
pub(super) fn memory(bytes: &[u8], info: &Info) -> u64 {
    let pixels = u64::from(info.width).saturating_mul(u64::from(info.height));
    pixels.saturating_mul(18 * 3).saturating_add(bytes.len() as u64)
}

/// Who is asked next about a payload that was refused; the refusal, if nobody is.
#[cfg(feature = "ffmpeg")]
pub(super) fn of(container: &Container, bytes: &[u8], limits: &Limits, fault: Fault) -> Result<Muxed, Fault> {
    use crate::codec::container::{self, Medium, mp4};
    use crate::data::info::Format;
    use crate::data::orientation::Orientation;
    if fault.reason != Reason::Unsupported {
        return Err(fault);
    }
    // FFmpeg does not mind a file that is cut, and sizes its tables by what those in the file claim.
    let mut orientation = Orientation::STORED;
    if let Ok(track) = (container.read)(bytes, Medium::Video, limits) {
        orientation = track.orientation;
        for (at, sample) in track.listing.samples.iter().enumerate() {
            container::data(bytes, (sample.offset, sample.size), format_args!("frame {at}"))?;
        }
    }
    if container.format == Format::Mp4 {
        mp4::tables_fit(bytes)?;
        return Ok(ffmpeg::MP4.turned(orientation));
    }
    Ok(ffmpeg::MATROSKA.turned(orientation))
}

/// No build without the feature has one.
#[cfg(not(feature = "ffmpeg"))]
#[derive(Debug, Clone, Copy)]
pub(super) enum Muxed {}

#[cfg(not(feature = "ffmpeg"))]
mod without {
    use super::Muxed;
    use crate::codec::{Limits, Scratch, Want};
    use crate::data::info::Info;
    use crate::error::Fault;

    impl Muxed {
        pub(in crate::codec::video) fn probe(self, _: &[u8], _: &Limits) -> Result<Info, Fault> {
            match self {}
        }

        pub(in crate::codec::video) fn check(self, _: &[u8], _: &Limits) -> Result<Info, Fault> {
            match self {}
        }

        pub(in crate::codec::video) fn decode(
            self,
            _: &[u8],
            _: Want<'_>,
            _: &Limits,
            _: &mut Scratch,
        ) -> Result<(u32, u32), Fault> {
            match self {}
        }
    }
}

/// The refusal, with the feature that may help.
#[cfg(not(feature = "ffmpeg"))]
pub(super) fn of(_: &Container, _: &[u8], _: &Limits, fault: Fault) -> Result<Muxed, Fault> {
    Err(match fault.reason {
        Reason::Unsupported => {
            let message = format!("{}; FFmpeg is behind the crate feature \"ffmpeg\"", fault.message);
            Fault::new(fault.reason, message)
        }
        _ => fault,
    })
}
