//! Containers of coded streams: MP4 and Matroska, down to a [`Track`], a list of samples with their times.
//!
//! They know no codec: what a sample is, and which of them are presented, is for `video` and `audio` to say.

use std::fmt::Display;

use crate::codec::Limits;
use crate::data::orientation::Orientation;
use crate::error::{Fault, Reason};

#[cfg(feature = "avif")]
pub(super) mod heif;
pub(super) mod mkv;
pub(super) mod mp4;
#[cfg(all(feature = "video", feature = "image"))]
pub(crate) mod mux;

/// The kind of track that is looked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Medium {
    #[cfg_attr(not(feature = "video"), allow(dead_code))]
    Video,
    #[cfg_attr(not(feature = "audio"), allow(dead_code))]
    Audio,
}

impl Medium {
    pub(super) fn name(self) -> &'static str {
        match self {
            Medium::Video => "video",
            Medium::Audio => "audio",
        }
    }
}

/// How a track's samples are coded.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(not(all(feature = "audio", feature = "video")), allow(dead_code))]
pub(super) enum Coding {
    /// The configuration is an `AVCDecoderConfigurationRecord`.
    H264,
    /// The configuration is an `HEVCDecoderConfigurationRecord`.
    H265,
    /// The configuration says nothing that the stream does not, and may be absent.
    Vp9,
    /// The configuration is an `AV1CodecConfigurationRecord`, or absent.
    Av1,
    /// Each sample is a JPEG.
    Mjpeg,
    /// The configuration is an `AudioSpecificConfig`.
    Aac,
    /// The configuration is Apple's "magic cookie".
    Alac,
    /// The configuration begins with STREAMINFO.
    Flac,
    Mp2,
    Mp3,
    /// The configuration is `OpusHead` (RFC 7845, 5.1).
    Opus,
    /// The configuration is the three headers, in Xiph's lacing.
    Vorbis,
    /// Little-endian integers (unsigned if they have 8 bits) or floats.
    Pcm {
        float: bool,
    },
    /// What nothing here decodes, by its name and the container's code for it.
    Other(String),
}

/// A sample as the container lists it, in the order of decoding.
#[derive(Debug, Clone, Copy)]
pub(super) struct Listed {
    /// Where its data begins in the payload. Not checked: the payload may be cut.
    pub(super) offset: u64,
    /// Bytes of data.
    pub(super) size: u64,
    /// Presentation time in ticks of the track, before any edit list.
    pub(super) ticks: i64,
    /// Time on display in ticks; 0 if the container does not say.
    pub(super) length: u64,
    /// Whether the container calls it a place to begin.
    pub(super) key: bool,
    /// Whether the container presents it; if not it is only decoded.
    #[cfg_attr(not(feature = "video"), allow(dead_code))]
    pub(super) shown: bool,
    /// Nanoseconds at its end that are decoded and not presented (Matroska's `DiscardPadding`).
    pub(super) discard_ns: u64,
}

/// The samples that a container lists, held under a limit.
#[derive(Debug)]
pub(super) struct Listing {
    pub(super) samples: Vec<Listed>,
    what: &'static str,
    most: u64,
}

impl Listing {
    /// None yet. Packets of sound are more than frames of pictures, and each has a byte at least.
    pub(super) fn new(medium: Medium, payload: usize, limits: &Limits) -> Self {
        let (what, most) = match medium {
            Medium::Video => ("frames", limits.frames),
            Medium::Audio => ("packets", (limits.samples / 64).min(payload as u64)),
        };
        Listing { samples: Vec::new(), what, most }
    }

    /// Refuses `more` samples beside those that are here if they are too many.
    pub(super) fn room(&self, more: u64) -> Result<(), Fault> {
        Limits::check(self.what, (self.samples.len() as u64).saturating_add(more), self.most)
    }

    /// Adds a sample.
    pub(super) fn push(&mut self, sample: Listed) -> Result<(), Fault> {
        self.room(1)?;
        self.samples.push(sample);
        Ok(())
    }
}

/// What an edit list does, in ticks of the media.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Edit {
    /// Before anything is presented.
    pub(super) empty: i64,
    /// What is presented first.
    pub(super) start: i64,
    /// Behind what is presented last.
    pub(super) end: i64,
    /// How far `end` may be off: edits are counted in ticks of the movie, which may be longer.
    #[cfg_attr(not(feature = "audio"), allow(dead_code))]
    pub(super) tolerance: i64,
}

/// What a container says of the colours of pictures, for streams that do not say it themselves.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[cfg_attr(not(feature = "video"), allow(dead_code))]
pub(super) struct Colour {
    /// `MatrixCoefficients` of ITU-T H.273; never 2 (unspecified).
    pub(super) matrix: Option<u8>,
    /// Whether samples use all of their range.
    pub(super) full_range: Option<bool>,
}

impl Colour {
    /// The same, and where it is silent what `other` says.
    #[cfg_attr(not(feature = "video"), allow(dead_code))]
    pub(super) fn or(self, other: Colour) -> Colour {
        Colour { matrix: self.matrix.or(other.matrix), full_range: self.full_range.or(other.full_range) }
    }
}

/// The first track of a kind.
#[derive(Debug)]
#[cfg_attr(not(all(feature = "audio", feature = "video")), allow(dead_code))]
pub(super) struct Track {
    pub(super) coding: Coding,
    /// The coding's configuration.
    pub(super) record: Vec<u8>,
    pub(super) listing: Listing,
    /// A tick lasts `scale.0 / scale.1` seconds.
    pub(super) scale: (u64, u64),
    pub(super) edit: Option<Edit>,
    /// Whether the lengths of its samples are exact to the sample of sound (Matroska's are not, and many are left out).
    pub(super) exact: bool,
    /// Whether its samples are in fragments, and none in the index.
    pub(super) fragmented: bool,
    /// Audio: channels, as the container has it.
    pub(super) channels: u32,
    /// Audio: samples a second and channel, as the container has it.
    pub(super) rate: u32,
    /// PCM: bits of a sample.
    pub(super) bits: u32,
    /// Nanoseconds at the beginning that are decoded and not presented (Matroska's `CodecDelay`).
    pub(super) delay_ns: u64,
    /// Video: colours.
    pub(super) colour: Colour,
    /// Video: how its frames are turned to be shown.
    pub(super) orientation: Orientation,
}

/// The bytes of a sample, if the payload has them all.
pub(super) fn data(payload: &[u8], (offset, size): (u64, u64), what: impl Display) -> Result<&[u8], Fault> {
    let range = usize::try_from(offset).ok().zip(offset.checked_add(size).and_then(|e| e.try_into().ok()));
    range.and_then(|(start, end): (usize, usize)| payload.get(start..end)).ok_or_else(|| {
        Fault::new(Reason::Truncated, format!("{what} lies beyond the end of the file ({} bytes)", payload.len()))
    })
}
