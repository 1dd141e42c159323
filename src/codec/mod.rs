//! Decoders of single payloads. A codec is chosen by content, never by a file's extension.
//!
//! Nothing here knows of shards, plans or batches. Every codec works under [`Limits`]: untrusted bytes may neither panic
//! out nor allocate without bound; budgets are counts (pixels, samples, frames, bytes), never a clock.

use std::sync::LazyLock;

use serde::{Deserialize, Serialize};

use crate::data::info::{Format, Info, Kind};
use crate::error::{Fault, Reason};

pub use guard::{guarded, is_guarded};
pub use parts::{Encoded, Parts, Ranged};
pub use scratch::Scratch;
pub(crate) use scratches::{Loan, Scratches};
pub use shown::decode_shown;

#[cfg(feature = "audio")]
pub mod audio;
pub mod codings;
#[cfg(any(feature = "audio", feature = "video"))]
pub(crate) mod container;
mod foreign;
mod guard;
#[cfg(feature = "image")]
pub mod image;
#[cfg(feature = "masks")]
pub mod mask;
mod parts;
mod scratch;
mod scratches;
mod shown;
pub mod tensor;
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
    /// 1 GiB encoded, 178,956,970 pixels (Pillow's bomb limit), one hour of 48 kHz mono (half an hour of stereo), 100,000
    /// frames, 2 GiB decoded.
    fn default() -> Self {
        Limits {
            payload_bytes: 1 << 30,
            pixels: 178_956_970,
            samples: 48_000 * 3_600,
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

    /// The limits of a recording that parts are cut from: each part has the limit of samples, and all of it may decode to
    /// `decoded_bytes`.
    #[must_use]
    pub fn cut(&self) -> Limits {
        Limits { samples: self.samples.max(self.decoded_bytes / 4), ..*self }
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
        /// In pixels of the picture as it is stored; for [`decode_shown`] as it is shown.
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
    /// The frames within a range of time that the container calls keys, as RGB8; the last one before the range, or else the clip's
    /// first frame, if it has none.
    Keys {
        /// The earliest time, in microseconds of presentation.
        from_us: i64,
        /// The time behind the latest.
        to_us: i64,
        /// At most this many, those in the middles of equal parts of all.
        most: u64,
    },
}

impl Want<'_> {
    /// The region that is wanted of a picture, which `what` ("a PNG") is.
    pub fn region(self, what: &str) -> Result<Option<Rect>, Fault> {
        match self {
            Want::Whole => Ok(None),
            Want::Image { region } => Ok(region),
            _ => Err(Fault::new(Reason::WrongMedia, format!("{what} has neither samples nor frames"))),
        }
    }
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
    /// The elements of a tensor, little endian.
    Elements(&'s [u8]),
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

impl<'s> Pixels<'s> {
    /// What is here of a picture: the rectangle `of`, in the first bytes of `bytes`.
    pub fn picture(bytes: &'s [u8], of: Rect) -> Self {
        let Rect { x, y, width, height } = of;
        let data = &bytes[..width as usize * height as usize * 3];
        Pixels { data, frames: 1, width, height, origin: (x, y), pts_us: &[] }
    }
}

/// How bright a pixel is: BT.601 in 16 bits, as Pillow's `convert("L")` has it.
pub(crate) fn luma([r, g, b]: [u8; 3]) -> u8 {
    ((u32::from(r) * 19_595 + u32::from(g) * 38_470 + u32::from(b) * 7_471 + 0x8000) >> 16) as u8
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
    fn name(&self) -> &'static str {
        self.format().name()
    }

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

    /// Looks as deep as `level` says, and returns the facts; after `Decode` the facts are those of the decoded media. A codec
    /// that can walk its stream for less than a decode, or compare more than a decode does, has a check of its own.
    fn check(&self, bytes: &[u8], level: Check, limits: &Limits, scratch: &mut Scratch) -> Result<Info, Fault> {
        let info = self.probe(bytes, limits)?;
        if level != Check::Header {
            self.decode(bytes, Want::Whole, limits, scratch)?;
        }
        Ok(info)
    }

    /// Decodes all of it and compares what a check at [`Check::Decode`] does: for who needs both and decodes once.
    fn decode_checked<'s>(
        &self,
        bytes: &'s [u8],
        limits: &Limits,
        scratch: &'s mut Scratch,
    ) -> Result<Decoded<'s>, Fault> {
        self.decode(bytes, Want::Whole, limits, scratch)
    }

    /// About how many bytes a check that decodes holds at once, beside the payload: what it decodes to, and what the decoder
    /// keeps for itself. `info` is what [`Codec::probe`] said of the payload. Ingest decodes only as many at once as fit into
    /// its budget, so rather too much than too little. Without bytes: the most of any payload of these facts.
    fn memory(&self, _bytes: &[u8], info: &Info) -> u64 {
        let pixels = u64::from(info.width).saturating_mul(u64::from(info.height));
        match self.kind() {
            // As RGB, and as the decoder has it: four samples of 8 bits.
            Kind::Image => pixels.saturating_mul(3 + 4),
            Kind::Audio => info.count.saturating_mul(u64::from(info.channels)).saturating_mul(4),
            // 4:2:0 takes 3/2 bytes a pixel. A check hands over no frame, but the decoder keeps up to 16 for reference (H.264
            // A.3.1), the one before and the one under way.
            Kind::Video => pixels.saturating_mul((16 + 2) * 3 / 2),
            // Borrowed from the payload.
            Kind::Text | Kind::Tensor => 0,
        }
    }

    /// As [`Codec::memory`], of decoding a part: `part` has the size of a region, or the samples of a range.
    fn memory_of_part(&self, bytes: &[u8], info: &Info, part: &Info) -> u64 {
        self.memory(bytes, if self.kind() == Kind::Audio { part } else { info })
    }

    /// Decodes what is wanted, or more, as it is stored: [`decode_shown`] turns it. Facts that disagree with `probe` are a fault,
    /// never a wrong answer.
    fn decode<'s>(
        &self,
        bytes: &'s [u8],
        want: Want<'_>,
        limits: &Limits,
        scratch: &'s mut Scratch,
    ) -> Result<Decoded<'s>, Fault>;

    /// What [`Codec::decode_parts`] needs to know of a payload to decode some of it from less than all of its bytes: compact, the
    /// same for the same bytes, and in a form whose version is its first byte. `None`: such a table would be of no use, or there is
    /// something about the payload that it could not say.
    ///
    /// # Errors
    /// A payload that the codec cannot open by itself, under these limits.
    fn seek_table(&self, _bytes: &[u8], _limits: &Limits) -> Result<Option<Vec<u8>>, Fault> {
        Ok(None)
    }

    /// [`Codec::check`] of what gets a seek table, and the table, where making it is part of the check; `None`: it was not made, and may be there.
    /// What this accepts [`Codec::check`] does.
    ///
    /// # Errors
    /// Those of [`Codec::check`].
    fn check_seekable(
        &self,
        bytes: &[u8],
        level: Check,
        limits: &Limits,
        scratch: &mut Scratch,
    ) -> Result<(Info, Option<Vec<u8>>), Fault> {
        Ok((self.check(bytes, level, limits, scratch)?, None))
    }

    /// Whether [`Codec::decode_parts`] does anything. Where it does not, a table (a later build may have made one) is passed over and
    /// the payload read whole.
    fn seeks(&self) -> bool {
        false
    }

    /// Whether [`Codec::decode_parts`] reads all of a payload at once, as what it saves is decoding: all of it is in memory then.
    fn reads_whole(&self) -> bool {
        false
    }

    /// Decodes what [`Codec::decode`] does of the whole payload, byte for byte, from its table and what is read of it. Neither is to be
    /// trusted: the limits hold as they do there, and a table that contradicts itself or the payload is a fault. One of a form that
    /// is not known has the payload read whole.
    fn decode_parts<'s>(
        &self,
        _table: &[u8],
        _source: &dyn Ranged,
        _want: Want<'_>,
        _limits: &Limits,
        _scratch: &'s mut Scratch,
    ) -> Result<Decoded<'s>, Fault> {
        Err(Fault::new(Reason::Corrupt, format!("{} has no seek tables", self.name())))
    }
}

/// The codecs of this build, in the order in which content is tried. Text is last: it is what nothing else is.
pub const CODECS: &[&dyn Codec] = &[
    #[cfg(feature = "image")]
    &image::jpeg::Jpeg,
    #[cfg(feature = "image")]
    &image::png::Png,
    #[cfg(feature = "image")]
    &image::raster::WEBP,
    #[cfg(feature = "image")]
    &image::raster::GIF,
    #[cfg(feature = "image")]
    &image::raster::BMP,
    #[cfg(feature = "image")]
    &image::raster::TIFF,
    #[cfg(feature = "image")]
    &image::raster::QOI,
    // In front of PNM, which it is too.
    #[cfg(feature = "image")]
    &image::rgb::Rgb,
    #[cfg(feature = "image")]
    &image::raster::PNM,
    #[cfg(feature = "image")]
    &image::raster::ICO,
    #[cfg(feature = "image")]
    &image::raster::HDR,
    #[cfg(feature = "exr")]
    &image::raster::EXR,
    #[cfg(feature = "image")]
    &image::raster::DDS,
    #[cfg(feature = "avif")]
    &image::avif::Avif,
    #[cfg(feature = "audio")]
    &audio::Wav,
    #[cfg(feature = "audio")]
    &audio::Flac,
    #[cfg(feature = "ffmpeg")]
    &video::ffmpeg::AVI,
    #[cfg(feature = "ffmpeg")]
    &video::ffmpeg::FLV,
    #[cfg(feature = "ffmpeg")]
    &video::ffmpeg::ASF,
    #[cfg(feature = "ffmpeg")]
    &video::ffmpeg::MXF,
    #[cfg(feature = "ffmpeg")]
    &video::ffmpeg::OGV,
    #[cfg(feature = "audio")]
    &audio::OGG,
    #[cfg(feature = "audio")]
    &audio::AIFF,
    #[cfg(feature = "audio")]
    &audio::CAF,
    #[cfg(feature = "audio")]
    &audio::M4A,
    #[cfg(feature = "audio")]
    &audio::MKA,
    #[cfg(feature = "video")]
    &video::MP4,
    #[cfg(feature = "video")]
    &video::MATROSKA,
    // The same files as of pictures: pictures come first, and only where clips are wanted they are these.
    #[cfg(feature = "image")]
    &image::animation::GIF,
    #[cfg(feature = "image")]
    &image::animation::WEBP,
    #[cfg(feature = "image")]
    &image::animation::PNG,
    #[cfg(feature = "ffmpeg")]
    &video::ffmpeg::MPEGPS,
    #[cfg(feature = "ffmpeg")]
    &video::ffmpeg::MPEGTS,
    // These have a few bits for a magic number, and TGA has none: after all that have one.
    #[cfg(feature = "audio")]
    &audio::AAC,
    #[cfg(feature = "audio")]
    &audio::MP3,
    #[cfg(feature = "image")]
    &image::raster::TGA,
    #[cfg(feature = "text")]
    &text::Utf8,
    &tensor::Tensor,
];

/// The codec for some content, or the reason why there is none. `kind` narrows the search to one kind of media.
pub fn sniff(bytes: &[u8], kind: Kind) -> Result<&'static dyn Codec, Fault> {
    match kind {
        Kind::Text => return by_format(Format::Utf8),
        Kind::Tensor => return by_format(Format::Tensor),
        _ => {}
    }
    if bytes.is_empty() {
        return Err(Fault::new(Reason::Empty, "the file has no bytes"));
    }
    // Known in every build, so that one without FFmpeg can say what it lacks.
    if let Some(format) = foreign::moving(bytes) {
        if kind != Kind::Video {
            let (is, holds) = (format.name(), kind.name());
            return Err(Fault::new(
                Reason::WrongMedia,
                format!("the content is {is} (video), the column holds {holds}"),
            ));
        }
        return by_format(format);
    }
    // An animation is read by codecs of two kinds: it is what is wanted.
    let wanted = || CODECS.iter().copied().filter(|c| c.kind() == kind).find(|c| c.sniff(bytes));
    match CODECS.iter().copied().filter(|c| c.kind() != Kind::Text).find(|c| c.sniff(bytes)) {
        Some(codec) if codec.kind() == kind => Ok(codec),
        Some(codec) => wanted().ok_or_else(|| {
            let (is, holds) = (codec.kind().name(), kind.name());
            Fault::new(Reason::WrongMedia, format!("the content is {} ({is}), the column holds {holds}", codec.name()))
        }),
        None => Err(match foreign::name(bytes) {
            Some(name) => {
                Fault::new(Reason::Unsupported, format!("the content is {name}, which this build does not read"))
            }
            None => Fault::new(
                Reason::UnknownFormat,
                format!("the content is none of the {} formats of this build", kind.name()),
            ),
        }),
    }
}

/// The feature that brings a format.
fn feature(format: Format) -> &'static str {
    match format {
        Format::Exr => "exr",
        Format::Avif => "avif",
        Format::AnimatedGif | Format::AnimatedWebp | Format::Apng => "image",
        Format::Avi | Format::MpegTs | Format::MpegPs | Format::Flv | Format::Asf | Format::Ogv | Format::Mxf => {
            "ffmpeg"
        }
        _ => format.kind().name(),
    }
}

/// The codec of a stored format, or the feature that would bring it.
pub fn by_format(format: Format) -> Result<&'static dyn Codec, Fault> {
    // Asked for every sample: the first codec of each format, by its number.
    static FIRST: LazyLock<Vec<Option<&dyn Codec>>> = LazyLock::new(|| {
        let numbers = Format::ALL.iter().map(|format| format.code() as usize + 1);
        let mut first: Vec<Option<&dyn Codec>> = vec![None; numbers.max().unwrap_or(0)];
        CODECS.iter().rev().for_each(|codec| first[codec.format().code() as usize] = Some(*codec));
        first
    });
    FIRST[format.code() as usize].ok_or_else(|| {
        Fault::new(Reason::Unsupported, format!("{} needs the crate feature \"{}\"", format.name(), feature(format)))
    })
}

#[cfg(test)]
mod mutants;
#[cfg(test)]
pub(crate) use mutants::mutants;
#[cfg(test)]
pub(crate) mod tests;
