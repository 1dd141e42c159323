//! Decoders of single payloads. A codec is chosen by content, never by a file's extension.
//!
//! Nothing here knows of shards, plans or batches. Every codec works under [`Limits`]: untrusted bytes may neither panic
//! out nor allocate without bound; budgets are counts (pixels, samples, frames, bytes), never a clock.

use std::any::{Any, TypeId};
use std::collections::HashMap;

use serde::{Deserialize, Serialize};

use crate::data::info::{Format, Info, Kind};
use crate::error::{Fault, Reason};

#[cfg(feature = "audio")]
pub mod audio;
#[cfg(feature = "image")]
pub mod image;
#[cfg(feature = "text")]
pub mod text;
#[cfg(feature = "video")]
pub mod video;

/// What one payload may cost at the most.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// Encoded bytes of one payload.
    pub payload_bytes: u64,
    /// Pixels of one picture or video frame.
    pub pixels: u64,
    /// Samples of one recording, over all channels.
    pub samples: u64,
    /// Frames of one clip.
    pub frames: u64,
    /// Bytes that one decode may hand over.
    pub decoded_bytes: u64,
}

impl Default for Limits {
    /// 1 GiB encoded, 178,956,970 pixels (Pillow's bomb limit), one hour of 48 kHz stereo, 100,000 frames, 2 GiB decoded.
    fn default() -> Self {
        Limits {
            payload_bytes: 1 << 30,
            pixels: 178_956_970,
            samples: 48_000 * 2 * 3_600,
            frames: 100_000,
            decoded_bytes: 2 << 30,
        }
    }
}

impl Limits {
    /// Refuses `value` over `limit` by name.
    pub fn check(what: &str, value: u64, limit: u64) -> Result<(), Fault> {
        if value > limit {
            return Err(Fault::new(Reason::OverLimit, format!("{what}: {value} is over the limit of {limit}")));
        }
        Ok(())
    }
}

/// How much of a payload ingest looks at before it accepts it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Check {
    /// The header only: cheapest; a file cut in the middle passes.
    Header,
    /// The whole compressed stream is walked, where the codec can do so for less than a decode; else as `Decode`.
    Entropy,
    /// Everything is decoded.
    #[default]
    Decode,
}

/// A rectangle of pixels, `x` to the right, `y` down.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Rect {
    /// Left edge.
    pub x: u32,
    /// Upper edge.
    pub y: u32,
    /// Pixels across.
    pub width: u32,
    /// Pixels down.
    pub height: u32,
}

/// What the caller needs of a payload. A codec may return more and says what ([`Decoded`]); the caller trims.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Want<'a> {
    /// All of it.
    Whole,
    /// A picture's region, as RGB8. `None`: all of it.
    Image {
        /// In pixels of the stored picture.
        region: Option<Rect>,
    },
    /// A range of a recording, in samples a channel. `None`: all of it.
    Audio {
        /// First sample and the one behind the last.
        range: Option<(u64, u64)>,
    },
    /// The frames on display at these times (microseconds of presentation, ascending), as RGB8. A time before the first
    /// frame gets the first, one behind the last gets the last.
    Video {
        /// The wanted times.
        times_us: &'a [i64],
    },
}

/// What a codec made of a payload; borrowed from the scratch or from the payload itself.
#[derive(Debug)]
pub enum Decoded<'s> {
    /// A picture or frames.
    Pixels(Pixels<'s>),
    /// A recording.
    Wave(Wave<'s>),
    /// Text.
    Text(&'s str),
}

/// RGB8 pixels, `[frames, height, width, 3]`, rows without gaps.
#[derive(Debug, Clone, Copy)]
pub struct Pixels<'s> {
    /// The bytes.
    pub data: &'s [u8],
    /// 1 for a picture.
    pub frames: usize,
    /// Pixels across of what is here (not of the whole picture).
    pub width: u32,
    /// Pixels down of what is here.
    pub height: u32,
    /// Where what is here lies in the whole picture: (x, y) of its upper left pixel.
    pub origin: (u32, u32),
    /// Presentation times in microseconds, one for each frame; empty for a picture.
    pub pts_us: &'s [i64],
}

/// PCM in `[-1, 1)` nominal, interleaved `[samples, channels]`. Integers are divided by 2^(bits-1).
#[derive(Debug, Clone, Copy)]
pub struct Wave<'s> {
    /// The samples.
    pub data: &'s [f32],
    /// Channels.
    pub channels: u32,
    /// Samples a second and channel (Hz).
    pub rate: u32,
    /// The first sample's place in the whole recording (samples a channel).
    pub start: u64,
}

/// One format family's decoder.
pub trait Codec: Send + Sync {
    /// The name shown by `dsctl` ("jpeg").
    fn name(&self) -> &'static str;

    /// The format it decodes.
    fn format(&self) -> Format;

    /// The kind of media it decodes.
    fn kind(&self) -> Kind {
        self.format().kind()
    }

    /// Whether the content looks like this format. `bytes` is the whole payload or its beginning (4 KiB at least, if it has them).
    fn sniff(&self, bytes: &[u8]) -> bool;

    /// Reads the header only.
    fn probe(&self, bytes: &[u8], limits: &Limits) -> Result<Info, Fault>;

    /// Looks as deep as `level` says, and returns the facts; after `Decode` the facts are those of the decoded media.
    fn check(&self, bytes: &[u8], level: Check, limits: &Limits, scratch: &mut Scratch) -> Result<Info, Fault>;

    /// Decodes what is wanted, or more. Facts that disagree with `probe` are a fault, never a wrong answer.
    fn decode<'s>(
        &self,
        bytes: &'s [u8],
        want: Want<'_>,
        limits: &Limits,
        scratch: &'s mut Scratch,
    ) -> Result<Decoded<'s>, Fault>;
}

/// A thread's reusable memory for decoding: plain buffers, and whatever decoder state a codec wants to keep.
#[derive(Default)]
pub struct Scratch {
    /// For pixels and other bytes.
    pub bytes: Vec<u8>,
    /// For samples.
    pub floats: Vec<f32>,
    /// For presentation times.
    pub times: Vec<i64>,
    /// Decoder states by type.
    states: HashMap<TypeId, Box<dyn Any + Send>, xxhash_rust::xxh3::Xxh3DefaultBuilder>,
}

impl Scratch {
    /// The state of a type, made by `Default` at first use.
    pub fn state<T: Any + Send + Default>(&mut self) -> &mut T {
        let state = self.states.entry(TypeId::of::<T>()).or_insert_with(|| Box::new(T::default()));
        state.downcast_mut().expect("the map's key is the type")
    }
}

impl std::fmt::Debug for Scratch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Scratch")
            .field("bytes", &self.bytes.capacity())
            .field("floats", &self.floats.capacity())
            .finish()
    }
}

/// The codecs of this build, in the order in which content is tried. Text is last: it is what nothing else is.
pub const CODECS: &[&dyn Codec] = &[
    #[cfg(feature = "video")]
    &video::MP4,
    #[cfg(feature = "video")]
    &video::MATROSKA,
];

/// The codec for some content, or the reason why there is none. `kind` narrows the search to one kind of media.
pub fn sniff(bytes: &[u8], kind: Kind) -> Result<&'static dyn Codec, Fault> {
    if kind == Kind::Text {
        return by_format(Format::Utf8);
    }
    if bytes.is_empty() {
        return Err(Fault::new(Reason::Empty, "the file has no bytes"));
    }
    match CODECS.iter().copied().filter(|c| c.kind() != Kind::Text).find(|c| c.sniff(bytes)) {
        Some(codec) if codec.kind() == kind => Ok(codec),
        Some(codec) => Err(Fault::new(
            Reason::WrongMedia,
            format!("the content is {} ({}), the column holds {}", codec.name(), codec.kind().name(), kind.name()),
        )),
        None => Err(Fault::new(
            Reason::UnknownFormat,
            format!("the content is none of the {} formats of this build", kind.name()),
        )),
    }
}

/// The codec of a stored format, or the feature that would bring it.
pub fn by_format(format: Format) -> Result<&'static dyn Codec, Fault> {
    CODECS.iter().copied().find(|c| c.format() == format).ok_or_else(|| {
        Fault::new(
            Reason::Unsupported,
            format!("{} needs the crate feature \"{}\"", format.name(), format.kind().name()),
        )
    })
}
