//! What planning needs to know of a piece of media without decoding it.

use serde::{Deserialize, Serialize};

use super::orientation::Orientation;
use super::profile::Profile;

/// The kinds of media a feature can hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// A still picture.
    Image,
    /// A recording.
    Audio,
    /// Moving pictures.
    Video,
    /// Unicode text.
    Text,
    /// Numbers that operations made, of the type and shape that the column says.
    Tensor,
}

impl Kind {
    /// The name used in configuration and messages.
    pub fn name(self) -> &'static str {
        match self {
            Kind::Image => "image",
            Kind::Audio => "audio",
            Kind::Video => "video",
            Kind::Text => "text",
            Kind::Tensor => "tensor",
        }
    }

    /// Whether it is pictures, recordings or clips: what is decoded to more than its bytes.
    pub fn is_media(self) -> bool {
        matches!(self, Kind::Image | Kind::Audio | Kind::Video)
    }
}

impl Format {
    /// The ending of a file of this format, by which readers know it.
    pub fn extension(self) -> &'static str {
        match self {
            Format::Jpeg => "jpg",
            Format::Rgb => "ppm",
            Format::Matroska => "mkv",
            Format::Utf8 => "txt",
            Format::AnimatedGif => "gif",
            Format::AnimatedWebp => "webp",
            Format::MpegTs => "ts",
            Format::MpegPs => "mpg",
            other => other.name(),
        }
    }
}

macro_rules! formats {
    ($($(#[$doc:meta])* $variant:ident = $code:literal, $kind:ident, $name:literal;)+) => {
        /// The encodings that payloads are stored in. The numbers are part of the Index format: never reuse one.
        #[non_exhaustive]
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[repr(u32)]
        pub enum Format { $($(#[$doc])* $variant = $code),+ }

        impl Format {
            /// Every format.
            pub const ALL: &'static [Format] = &[$(Format::$variant),+];
            /// The number stored in the Index.
            pub fn code(self) -> u32 { self as u32 }
            /// The format of a stored number.
            pub fn from_code(code: u32) -> Option<Self> {
                match code { $($code => Some(Format::$variant),)+ _ => None }
            }
            /// The name stored in shards and shown to people.
            pub fn name(self) -> &'static str { match self { $(Format::$variant => $name),+ } }
            /// The format of a name.
            pub fn from_name(name: &str) -> Option<Self> { Self::ALL.iter().copied().find(|f| f.name() == name) }
            /// What kind of media it encodes.
            pub fn kind(self) -> Kind { match self { $(Format::$variant => Kind::$kind),+ } }
        }
    };
}

formats! {
    /// JPEG (ITU-T T.81), baseline or progressive.
    Jpeg = 1, Image, "jpeg";
    /// PNG.
    Png = 2, Image, "png";
    /// WebP.
    Webp = 3, Image, "webp";
    /// GIF.
    Gif = 4, Image, "gif";
    /// Windows bitmap.
    Bmp = 5, Image, "bmp";
    /// TIFF.
    Tiff = 6, Image, "tiff";
    /// QOI.
    Qoi = 7, Image, "qoi";
    /// PBM, PGM, PPM and PAM.
    Pnm = 8, Image, "pnm";
    /// Truevision TGA.
    Tga = 9, Image, "tga";
    /// Windows icon.
    Ico = 10, Image, "ico";
    /// Radiance RGBE.
    Hdr = 11, Image, "hdr";
    /// OpenEXR.
    Exr = 12, Image, "exr";
    /// DirectDraw surface.
    Dds = 13, Image, "dds";
    /// RGB pixels without compression, behind a header of 64 bytes that makes a PPM of them.
    Rgb = 14, Image, "rgb";
    /// AVIF.
    Avif = 15, Image, "avif";
    /// RIFF WAVE.
    Wav = 16, Audio, "wav";
    /// Native FLAC.
    Flac = 17, Audio, "flac";
    /// MPEG audio, layers II and III.
    Mp3 = 18, Audio, "mp3";
    /// Vorbis, Opus or FLAC in Ogg.
    Ogg = 19, Audio, "ogg";
    /// AAC in ADTS.
    Aac = 20, Audio, "aac";
    /// ISO base media (MP4, M4A) with sound alone.
    M4a = 21, Audio, "m4a";
    /// AIFF or AIFC.
    Aiff = 22, Audio, "aiff";
    /// Apple's Core Audio Format.
    Caf = 23, Audio, "caf";
    /// Matroska or WebM with sound alone.
    Mka = 24, Audio, "mka";
    /// ISO base media (MP4, MOV) with a video track.
    Mp4 = 32, Video, "mp4";
    /// Matroska or WebM with a video track.
    Matroska = 33, Video, "matroska";
    /// GIF as moving pictures.
    AnimatedGif = 34, Video, "animated-gif";
    /// WebP as moving pictures.
    AnimatedWebp = 35, Video, "animated-webp";
    /// PNG as moving pictures.
    Apng = 36, Video, "apng";
    /// AVI.
    Avi = 40, Video, "avi";
    /// MPEG transport stream.
    MpegTs = 41, Video, "mpegts";
    /// MPEG program stream.
    MpegPs = 42, Video, "mpegps";
    /// Flash video.
    Flv = 43, Video, "flv";
    /// Advanced Systems Format (WMV).
    Asf = 44, Video, "asf";
    /// Ogg with pictures.
    Ogv = 45, Video, "ogv";
    /// Material Exchange Format.
    Mxf = 46, Video, "mxf";
    /// UTF-8 text.
    Utf8 = 48, Text, "utf8";
    /// Little-endian elements, whose type and shape the column says.
    Tensor = 64, Tensor, "tensor";
}

/// Facts of one payload, read from its header: what draws and buffer sizes are made from.
///
/// Fields that mean nothing for a kind are 0. After an operation the same struct says what the operation made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Info {
    /// The encoding.
    pub format: Format,
    /// Pixels across as shown (image, video).
    pub width: u32,
    /// Pixels down as shown (image, video).
    pub height: u32,
    /// Colour channels as stored, or audio channels.
    pub channels: u32,
    /// Audio: samples a second and channel (Hz). Video: mean frames per 1,000 seconds.
    pub rate: u32,
    /// Audio: samples per channel. Video: frames. Text: UTF-8 bytes; after tokenisation, tokens. After log-mel, frames.
    /// Tensor: the length of the axis that differs from row to row.
    pub count: u64,
    /// Play time in microseconds (audio, video).
    pub duration_us: u64,
    /// How what is stored is turned to be shown (image, video).
    pub orientation: Orientation,
    /// The colour profile that it carries (image). Noted, not applied.
    pub profile: Profile,
}

impl Info {
    /// Nothing known but the format.
    pub fn of(format: Format) -> Self {
        Info {
            format,
            width: 0,
            height: 0,
            channels: 0,
            rate: 0,
            count: 0,
            duration_us: 0,
            orientation: Orientation::STORED,
            profile: Profile::Srgb,
        }
    }

    /// The value of one fact, as an extent of a tensor.
    pub fn fact(&self, fact: Fact) -> usize {
        match fact {
            Fact::Width => self.width as usize,
            Fact::Height => self.height as usize,
            Fact::Count => usize::try_from(self.count).unwrap_or(usize::MAX),
            Fact::Channels => self.channels as usize,
        }
    }
}

/// The facts that the length of an axis can follow from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
pub enum Fact {
    /// [`Info::width`].
    Width,
    /// [`Info::height`].
    Height,
    /// [`Info::count`].
    Count,
    /// [`Info::channels`].
    Channels,
}
