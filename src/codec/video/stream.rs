//! The seam between a clip and the decoders: what of a coded video stream must be known, and how it is decoded.
//!
//! [`MEMBERS`] has one line for each coding. A [`Stream`] knows a clip's headers and looks at samples without decoding them; it
//! makes [`Decoder`]s, which take samples in their order and hand pictures over, each with the number of the sample that it
//! came with, at once or later, in any order. A sample is an access unit, superframe or temporal unit: what a container holds as one.
//!
//! A member for a coding that has one already is tried where the first says that it does not support the stream.

#[cfg(feature = "av1")]
use super::av1;
#[cfg(feature = "image")]
use super::mjpeg;
use super::picture::{Picture, Planes};
use super::track::Track;
use super::{h264, h265, vp9};
use crate::codec::Limits;
use crate::codec::container::Coding;
use crate::error::{Fault, Reason};

/// What a stream is opened from.
#[derive(Debug, Clone, Copy)]
pub(super) struct Setup<'a> {
    /// The container's configuration for the coding; may be empty.
    pub(super) record: &'a [u8],
    /// The first sample, if the payload has all of it.
    pub(super) first: Option<&'a [u8]>,
    #[cfg_attr(not(feature = "image"), allow(dead_code))]
    pub(super) limits: &'a Limits,
}

impl<'a> Setup<'a> {
    /// The first sample, where the stream's facts are in no other place.
    pub(super) fn first(&self, name: &str) -> Result<&'a [u8], Fault> {
        let message = || format!("{name}: the first frame lies beyond the end of the file");
        self.first.ok_or_else(|| Fault::new(Reason::Truncated, message()))
    }
}

/// A line of the table.
pub(super) struct Member {
    coding: Coding,
    /// As people call it.
    name: &'static str,
    open: fn(Setup<'_>) -> Result<Box<dyn Stream>, Fault>,
}

/// The codings that are decoded.
const MEMBERS: &[Member] = &[
    Member { coding: Coding::H264, name: "H.264", open: h264::open },
    Member { coding: Coding::H265, name: "H.265", open: h265::open },
    Member { coding: Coding::Vp9, name: "VP9", open: vp9::open },
    #[cfg(feature = "av1")]
    Member { coding: Coding::Av1, name: "AV1", open: av1::open },
    #[cfg(feature = "image")]
    Member { coding: Coding::Mjpeg, name: "Motion JPEG", open: mjpeg::open },
];

/// Codings that a build may lack, as people call them, and the feature that brings each.
const FEATURES: &[(Coding, &str, &str)] = &[(Coding::Av1, "AV1", "av1"), (Coding::Mjpeg, "Motion JPEG", "image")];

/// Opens a stream by the first member that supports it.
pub(super) fn open(coding: &Coding, setup: Setup<'_>) -> Result<Box<dyn Stream>, Fault> {
    let mut refusal = None;
    for member in MEMBERS.iter().filter(|member| member.coding == *coding) {
        match (member.open)(setup) {
            Err(fault) if fault.reason == Reason::Unsupported => {
                refusal.get_or_insert(fault);
            }
            opened => return opened,
        }
    }
    Err(refusal.unwrap_or_else(|| {
        let what = match (coding, FEATURES.iter().find(|(lacking, _, _)| lacking == coding)) {
            (Coding::Other(name), _) => format!("the video is {name}"),
            (_, Some((_, name, feature))) => {
                format!("the video is {name}, which needs the crate feature \"{feature}\"")
            }
            _ => "a video track with the coding of sound".to_owned(),
        };
        let names: Vec<&str> = MEMBERS.iter().map(|member| member.name).collect();
        Fault::new(Reason::Unsupported, format!("{what}; decoded are {}", names.join(", ")))
    }))
}

/// How decoding may begin at a sample.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Entry {
    /// It depends on what came before.
    None,
    /// Right for all pictures presented at or after it: an open group of pictures begins.
    Open,
    /// Nothing before it matters.
    Clean,
}

/// What a decoder will make of a sample.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Unit {
    /// Whether nothing that comes later needs it, so that it may be passed over.
    pub(super) disposable: bool,
    /// Pictures to be decoded.
    pub(super) cost: u64,
}

/// Takes a sample's index and its picture.
pub(super) type Emit<'e> = &'e mut dyn FnMut(usize, Planes<'_>) -> Result<(), Fault>;

/// A track's samples.
#[derive(Clone, Copy)]
pub(super) struct Samples<'a> {
    pub(super) track: &'a Track,
    pub(super) bytes: &'a [u8],
}

impl<'a> Samples<'a> {
    /// Each with its index, in the order of decoding, up to the first that the payload does not have.
    pub(super) fn whole(self) -> impl Iterator<Item = (usize, &'a [u8])> {
        (0..self.track.samples.len()).map_while(move |at| Some((at, self.track.data(self.bytes, at).ok()?)))
    }
}

/// The headers of a coded stream.
pub(super) trait Stream {
    /// What all of its pictures have in common. Held against the limits by the caller.
    fn picture(&self) -> Picture;

    /// About how many bytes a decoder of it holds at the most.
    fn memory(&self) -> u64;

    /// How decoding may begin at a sample. Asked of the first sample and of those that the container calls keys.
    fn entry(&self, sample: &[u8]) -> Result<Entry, Fault>;

    /// Samples that are never presented, whatever the container says: their pictures refer to what is not there, or they
    /// show none. By default those before an open beginning of the file, which ffmpeg leaves out too.
    fn hidden(&self, samples: Samples<'_>) -> Result<Vec<usize>, Fault> {
        let track = samples.track;
        let first = samples.whole().next().map(|(_, sample)| self.entry(sample)).transpose()?;
        let before = |at: &usize| first == Some(Entry::Open) && track.samples[*at].pts_us < track.samples[0].pts_us;
        Ok((0..track.samples.len()).filter(before).collect())
    }

    /// What stands in a seek table for the first sample, where the configuration alone opens no stream: a short sample that opens the
    /// same. Where none is given, or another opens, the clip has no table.
    fn opening(&self, _first: &[u8]) -> Result<Vec<u8>, Fault> {
        Ok(Vec::new())
    }

    /// Appends the parameter sets of a sample, if they stay in force and may be absent where decoding begins later.
    fn sets(&self, _sample: &[u8], _out: &mut Vec<u8>) -> Result<(), Fault> {
        Ok(())
    }

    /// A decoder that knows the parameter sets of the configuration.
    fn decoder(&self) -> Result<Box<dyn Decoder>, Fault>;
}

/// A decoder under way. After a fault it is used further only if the sample was one that may lack references.
pub(super) trait Decoder {
    /// Takes the parameter sets of a sample before those that are decoded.
    fn prime(&mut self, _sample: &[u8]) -> Result<(), Fault> {
        Ok(())
    }

    /// Looks at the next sample's headers, holding what sizes memory against the stream's facts.
    fn read(&mut self, at: usize, sample: &[u8]) -> Result<Unit, Fault>;

    /// Decodes the sample that was read last.
    fn decode(&mut self, at: usize, sample: &[u8], emit: Emit<'_>) -> Result<(), Fault>;

    /// Hands over what was held back. Nothing is decoded after it.
    fn drain(&mut self, _emit: Emit<'_>) -> Result<(), Fault> {
        Ok(())
    }
}
