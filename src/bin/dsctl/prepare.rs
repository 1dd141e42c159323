//! The flags that say what is stored of a source's payloads.

use std::path::PathBuf;
use std::str::FromStr;

use clap::{Args, ValueEnum};
use feedstock::Error;
use feedstock::prepare::{AudioCodec, ImageFormat, OpConfig, PrepareOptions, StoreAs, TextOptions};

/// What is stored. A dataset's first ingest fixes it; later ones need not say it again.
#[derive(Debug, Args)]
#[command(next_help_heading = "What is stored (unless told, the files as they are)")]
pub(crate) struct PrepareFlags {
    /// crop: an index beside each JPEG (3% of its bytes at the most), by which random crops are decoded for what lies in them; the bytes and pixels stay.
    /// transcode: JPEGs that are progressive, or can have no such index for another reason, as one scan; the pixels and the metadata stay.
    /// resize:N or resize:N,Q: pictures whose shorter side is longer than N, as JPEGs of quality Q with that side. raw: as --store raw. Several: resize:320+crop, transcode+crop.
    #[arg(long, value_name = "HOW", value_delimiter = '+', env = "DSCTL_PREPARE")]
    prepare: Vec<How>,
    /// Pictures as RGB pixels and recordings as PCM, decoded once.
    #[arg(long, value_enum, env = "DSCTL_STORE")]
    store: Option<Store>,
    /// Pictures whose longer side is longer are made smaller; the others keep their bytes.
    #[arg(long, value_name = "PIXELS", env = "DSCTL_IMAGE_MAX_SIDE")]
    image_max_side: Option<u32>,
    /// The same by their shorter side.
    #[arg(long, value_name = "PIXELS", env = "DSCTL_IMAGE_SHORT_SIDE", conflicts_with = "image_max_side")]
    image_short_side: Option<u32>,
    /// JPEG's quality where pictures are encoded, 1 to 100 (90 unless told); alone, all are encoded anew.
    #[arg(long, value_name = "Q", env = "DSCTL_IMAGE_QUALITY")]
    image_quality: Option<u8>,
    /// All pictures in this format. webp is lossless.
    #[arg(long, value_enum, env = "DSCTL_IMAGE_FORMAT")]
    image_format: Option<Format>,
    /// Recordings at this sample rate.
    #[arg(long, value_name = "HZ", env = "DSCTL_AUDIO_RATE")]
    audio_rate: Option<u32>,
    /// Recordings as FLAC or PCM, lossless for sources of up to 24 bits.
    #[arg(long, value_enum, env = "DSCTL_AUDIO_CODEC")]
    audio_codec: Option<Codec>,
    /// Bits of a sample: 16 or 24, with wav also 32 (floats). Unless told, what the source has.
    #[arg(long, value_name = "BITS", env = "DSCTL_AUDIO_BITS")]
    audio_bits: Option<u8>,
    /// Recordings as one channel, the mean of all.
    #[arg(long, env = "DSCTL_AUDIO_MONO")]
    audio_mono: bool,
    /// Clips as so many frames a second, each a JPEG, in Matroska, without sound.
    #[arg(long, value_name = "FPS", env = "DSCTL_VIDEO_FPS")]
    video_fps: Option<f64>,
    /// With --video-fps: frames whose longer side is longer are made smaller.
    #[arg(long, value_name = "PIXELS", env = "DSCTL_VIDEO_MAX_SIDE")]
    video_max_side: Option<u32>,
    /// With --video-fps: JPEG's quality, 1 to 100 (90 unless told).
    #[arg(long, value_name = "Q", env = "DSCTL_VIDEO_QUALITY")]
    video_quality: Option<u8>,
    /// A column as what operations make of it: --store-ops 'audio=[{"op": "resample", "rate": 16000}, {"op": "log_mel"}]'.
    #[arg(long, value_name = "COLUMN=OPS")]
    store_ops: Vec<ColumnOps>,
    /// Texts as the token ids of this tokenizer.json, in 16 bits where the vocabulary fits.
    #[arg(long, value_name = "FILE", env = "DSCTL_TOKENIZE")]
    tokenize: Option<PathBuf>,
    /// Texts as they are, and beside them how many tokens this tokenizer.json makes of each (NAME_tokens): what packing needs to know.
    #[arg(long, value_name = "FILE", env = "DSCTL_COUNT_TOKENS", conflicts_with = "tokenize")]
    count_tokens: Option<PathBuf>,
    /// The same by any operations: --count-ops 'text=[{"op": "tokenize", "file": "tokenizer.json", "add_special_tokens": false}]'.
    #[arg(long, value_name = "COLUMN=OPS")]
    count_ops: Vec<ColumnOps>,
}

/// `crop`, `transcode`, `resize:N`, `resize:N,Q` or `raw`.
#[derive(Debug, Clone, Copy)]
enum How {
    Crop,
    Transcode,
    Resize(u32, Option<u8>),
    Raw,
}

impl FromStr for How {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match (text, text.strip_prefix("resize:")) {
            ("crop", _) => Ok(How::Crop),
            ("transcode", _) => Ok(How::Transcode),
            ("raw", _) => Ok(How::Raw),
            (_, Some(size)) => {
                let (side, quality) =
                    size.split_once(',').map_or((size, None), |(side, quality)| (side, Some(quality)));
                let side = side.parse().map_err(|e| format!("{side:?} is no number of pixels: {e}"))?;
                let quality = quality.map(|q| q.parse().map_err(|e| format!("{q:?} is no quality: {e}")));
                Ok(How::Resize(side, quality.transpose()?))
            }
            _ => Err("write crop, transcode, resize:N, resize:N,QUALITY or raw".to_owned()),
        }
    }
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Store {
    /// As they are, but for what the other options say.
    Original,
    /// Decoded.
    Raw,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Format {
    Jpeg,
    Png,
    Webp,
    Rgb,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Codec {
    Flac,
    Wav,
    /// FLAC where 24 bits hold every sample, else floats: MP3 and the like.
    Lossless,
}

/// `COLUMN=[{"op": ...}, ...]`.
#[derive(Debug, Clone)]
struct ColumnOps {
    column: String,
    ops: Vec<OpConfig>,
}

impl FromStr for ColumnOps {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (column, ops) = text.split_once('=').ok_or("write COLUMN=[{\"op\": NAME, ...}, ...]")?;
        let ops = serde_json::from_str(ops)
            .map_err(|e| format!("the operations are no JSON list of {{\"op\": NAME, ...}}: {e}"))?;
        Ok(ColumnOps { column: column.to_owned(), ops })
    }
}

impl PrepareFlags {
    /// Puts what was given in the place of what the options say.
    pub(crate) fn apply(&self, options: &mut PrepareOptions) -> Result<(), Error> {
        if let Some(store) = self.store {
            options.store = match store {
                Store::Original => StoreAs::Original,
                Store::Raw => StoreAs::Raw,
            };
        }
        let image = &mut options.image;
        for how in &self.prepare {
            match *how {
                How::Crop => image.crop = true,
                How::Transcode => image.transcode = true,
                How::Resize(side, quality) => {
                    image.short_side = Some(side);
                    image.quality = quality.or(image.quality);
                }
                How::Raw => options.store = StoreAs::Raw,
            }
        }
        image.max_side = self.image_max_side.or(image.max_side);
        image.short_side = self.image_short_side.or(image.short_side);
        image.quality = self.image_quality.or(image.quality);
        if let Some(format) = self.image_format {
            image.format = Some(match format {
                Format::Jpeg => ImageFormat::Jpeg,
                Format::Png => ImageFormat::Png,
                Format::Webp => ImageFormat::Webp,
                Format::Rgb => ImageFormat::Rgb,
            });
        }
        let audio = &mut options.audio;
        audio.rate = self.audio_rate.or(audio.rate);
        audio.bits = self.audio_bits.or(audio.bits);
        audio.mono |= self.audio_mono;
        if let Some(codec) = self.audio_codec {
            audio.codec = Some(match codec {
                Codec::Flac => AudioCodec::Flac,
                Codec::Wav => AudioCodec::Wav,
                Codec::Lossless => AudioCodec::Lossless,
            });
        }
        let video = &mut options.video;
        video.fps = self.video_fps.or(video.fps);
        video.max_side = self.video_max_side.or(video.max_side);
        video.quality = self.video_quality.or(video.quality);
        // One of the two takes the place of the other.
        if self.tokenize.is_some() || self.count_tokens.is_some() {
            options.text = TextOptions { tokenizer: self.tokenize.clone(), count: self.count_tokens.clone() };
        }
        let counted = self.count_ops.iter().map(|given| (given, true));
        for (given, count) in self.store_ops.iter().map(|given| (given, false)).chain(counted) {
            if count && self.store_ops.iter().any(|stored| stored.column == given.column) {
                return Err(Error::config(
                    format!("--store-ops and --count-ops of column {:?}", given.column),
                    "what is stored has its lengths in the Index: leave one of the two out",
                ));
            }
            let column = options.columns.entry(given.column.clone()).or_default();
            column.ops.clone_from(&given.ops);
            column.count = count;
        }
        Ok(())
    }
}
