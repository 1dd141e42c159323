//! What a caller asks for, and the ways that follow from it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::augment::OpConfig;
use crate::data::excerpt::Excerpts;
use crate::data::feature::{Column, Feature, Schema};
use crate::data::info::Kind;
use crate::data::objects::BoxFormat;
use crate::data::packed::Packed;
use crate::data::storage::Storage;
use crate::error::{Error, Result};

/// What is stored of the source's payloads. By default they are stored as they are.
///
/// The options of a kind of media hold for every column of that kind, unless `columns` says something of it.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PrepareOptions {
    /// Encoded as the source has them, or decoded.
    pub store: StoreAs,
    /// Of pictures.
    pub image: ImageOptions,
    /// Of recordings.
    pub audio: AudioOptions,
    /// Of clips.
    pub video: VideoOptions,
    /// Of texts.
    pub text: TextOptions,
    /// Of single columns, by name.
    pub columns: BTreeMap<String, ColumnOptions>,
}

impl PrepareOptions {
    /// Refuses to store pictures in another size, or as what operations make of them, where the boxes of a schema are places in them as they are.
    ///
    /// # Errors
    /// [`Error::Config`] with the columns.
    pub(crate) fn check_objects(&self, schema: &Schema) -> Result<()> {
        let Some(objects) = schema.columns.iter().find(|c| matches!(c.feature, Feature::Objects(_))) else {
            return Ok(());
        };
        let Feature::Objects(of) = &objects.feature else { return Ok(()) };
        let ops = |c: &Column| self.columns.get(&c.name).is_some_and(|column| !column.ops.is_empty());
        let smaller = self.image.shrinks() && of.boxes != BoxFormat::CxcywhNormalized;
        let moved = |c: &&Column| c.feature == Feature::Image && (ops(c) || smaller);
        match schema.columns.iter().find(moved) {
            None => Ok(()),
            Some(picture) => Err(Error::config(
                format!(
                    "column {:?} is to be stored otherwise, and the boxes of {:?} are places in it as it is",
                    picture.name, objects.name
                ),
                "store pictures with boxes as they are: a recipe's operations (resize, crops) move the boxes, too",
            )),
        }
    }
}

/// How media are stored.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum StoreAs {
    /// As they come, but for what else is asked.
    #[default]
    Original,
    /// Decoded: pictures as RGB pixels, recordings as PCM that has every bit of the samples.
    Raw,
}

/// The encoding of stored pictures.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ImageFormat {
    /// Baseline JPEG with 4:2:0 subsampling.
    Jpeg,
    /// PNG.
    Png,
    /// Lossless WebP.
    Webp,
    /// Pixels without compression.
    Rgb,
}

/// How pictures are stored.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ImageOptions {
    /// The longer side is this at the most, in pixels. A picture that is no larger keeps its bytes, unless `format` says
    /// otherwise.
    pub max_side: Option<u32>,
    /// The same of the shorter side.
    pub short_side: Option<u32>,
    /// The encoding of all pictures. Unless told, JPEG for those that are encoded.
    pub format: Option<ImageFormat>,
    /// JPEG's quality, 1 to 100, as libjpeg counts it; 90 unless told.
    pub quality: Option<u8>,
    /// An index beside each JPEG, of at most 3 parts in 100 of its bytes, by which a region is decoded for what lies in it. The bytes stay as they are, unless something else is
    /// asked, and so do the pixels.
    pub crop: bool,
    /// JPEGs that are progressive, coded arithmetically or begin anew within rows are written as one scan of Huffman's codes, which decodes faster and can have a crop index: the same
    /// coefficients, so the same pixels, and their metadata.
    pub transcode: bool,
}

impl ImageOptions {
    /// Whether pictures are encoded anew, at least some of them.
    pub(super) fn encodes(&self) -> bool {
        ImageOptions { crop: false, transcode: false, ..*self } != ImageOptions::default()
    }

    /// Whether pictures become smaller.
    fn shrinks(&self) -> bool {
        self.max_side.is_some() || self.short_side.is_some()
    }
}

/// The encoding of stored recordings.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AudioCodec {
    /// FLAC, of 16 or 24 bits.
    Flac,
    /// PCM in WAVE, of 16 or 24 bits or 32-bit floats.
    Wav,
    /// FLAC where 16 or 24 bits hold every sample, else 32-bit floats in WAVE: what is decoded is what the source decodes to.
    Lossless,
}

/// How recordings are stored.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AudioOptions {
    /// Samples a second, in Hz; resampled as the operation `resample` does, each channel alone.
    pub rate: Option<u32>,
    /// The encoding; FLAC unless told. Parts of recordings are lossless unless something is told of recordings.
    pub codec: Option<AudioCodec>,
    /// Bits of a sample: 16 or 24, and 32 (floats) in WAVE. Unless told, 16 where these hold every sample of the source, else
    /// 24, else in WAVE 32.
    pub bits: Option<u8>,
    /// One channel, the mean of all; else the channels are kept.
    pub mono: bool,
}

/// How clips are stored: frames at a fixed rate as JPEGs in Matroska, without sound.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct VideoOptions {
    /// Frames a second: those on display at `i / fps`, as the operation `sample_frames` takes them.
    pub fps: Option<f64>,
    /// The longer side of a frame is this at the most, in pixels.
    pub max_side: Option<u32>,
    /// JPEG's quality, 1 to 100; 90 unless told.
    pub quality: Option<u8>,
}

/// How texts are stored.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TextOptions {
    /// Stored as the token ids of this `tokenizer.json`: short for the operation `tokenize`, with u16 where the vocabulary fits.
    pub tokenizer: Option<PathBuf>,
    /// Stored as they are, with a column `NAME_tokens` beside them: how many ids this `tokenizer.json` gives. Short for `count` of the
    /// operation `tokenize`.
    pub count: Option<PathBuf>,
}

/// How one column is stored.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ColumnOptions {
    /// Stored as what these operations make of it. None of them may be random.
    pub ops: Vec<OpConfig>,
    /// For whole numbers: the type that they are stored in, u8 to i64. They are delivered as i64.
    pub dtype: Option<Packed>,
    /// Of a text: it is stored as it is, and of what the operations make only how many numbers there are, in a column `NAME_tokens`.
    pub count: bool,
}

/// The parameters of [`Way::Ops`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct OpsOptions {
    pub ops: Vec<OpConfig>,
    pub dtype: Option<Packed>,
}

/// What is done to a column, in full.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Way {
    Image(ImageOptions),
    Audio(AudioOptions),
    Video(VideoOptions),
    Ops(OpsOptions),
}

/// The key under which the parameters name the kind of media.
const OF: &str = "of";
/// The key under which they say which parts of recordings there are.
const EXCERPTS: &str = "excerpts";

/// Which parts of recordings a column holds, if it holds parts.
pub(super) fn excerpts_of(stored: &Storage) -> Option<Excerpts> {
    stored.parameters.get(EXCERPTS).and_then(|said| serde_json::from_value(said.clone()).ok())
}

impl Way {
    /// The way of parts of recordings of which nothing else is asked: they have no bytes of their own to be stored as they are.
    pub(super) const LOSSLESS: Way =
        Way::Audio(AudioOptions { rate: None, codec: Some(AudioCodec::Lossless), bits: None, mono: false });

    /// What [`Storage::parameters`] holds of it, and of the parts of recordings that it is done to.
    pub(super) fn parameters(&self, excerpts: Option<Excerpts>) -> Result<Map<String, Value>> {
        let (of, said) = match self {
            Way::Image(options) => ("image", json!(options)),
            Way::Audio(options) => ("audio", json!(options)),
            Way::Video(options) => ("video", json!(options)),
            Way::Ops(options) => ("ops", json!(options)),
        };
        let Value::Object(mut map) = said else {
            return Err(Error::library("describing a column", "its options are no table"));
        };
        // What was not asked for is left out, so that an option that comes later changes no digest.
        map.retain(|_, value| !matches!(value, Value::Null | Value::Bool(false)));
        map.insert(OF.to_owned(), json!(of));
        if let Some(excerpts) = excerpts {
            map.insert(EXCERPTS.to_owned(), json!(excerpts));
        }
        Ok(map)
    }

    /// The way that a dataset's column was made in.
    pub(super) fn of(stored: &Storage, column: &str) -> Result<Self> {
        let mut map = stored.parameters.clone();
        let of = map.remove(OF);
        map.remove(EXCERPTS);
        let foreign = |e: &dyn std::fmt::Display| {
            Error::config(
                format!("column {column:?} was made in a way that this build does not know: {e}"),
                "use the feedstock that made it, or a newer one",
            )
        };
        let value = Value::Object(map);
        let parsed = match of.as_ref().and_then(Value::as_str) {
            Some("image") => serde_json::from_value(value).map(Way::Image),
            Some("audio") => serde_json::from_value(value).map(Way::Audio),
            Some("video") => serde_json::from_value(value).map(Way::Video),
            Some("ops") => serde_json::from_value(value).map(Way::Ops),
            _ => return Err(foreign(&"it names no kind of media")),
        };
        parsed.map_err(|e| foreign(&e))
    }

    /// Whether decoded media are stored.
    pub(super) fn is_raw(&self) -> bool {
        match self {
            Way::Image(options) => options.format == Some(ImageFormat::Rgb),
            Way::Audio(options) => options.codec == Some(AudioCodec::Wav),
            Way::Video(_) | Way::Ops(_) => false,
        }
    }
}

impl PrepareOptions {
    /// What is asked of a column of a source; none: nothing.
    pub(super) fn way(&self, column: &Column) -> Result<Option<Way>> {
        if let Some(options) = self.columns.get(&column.name) {
            let ColumnOptions { ops, dtype, count } = options.clone();
            if count {
                return Ok(None);
            }
            return Ok(Some(Way::Ops(OpsOptions { ops, dtype })));
        }
        let raw = self.store == StoreAs::Raw;
        Ok(match column.feature.kind() {
            Some(Kind::Image) if raw || self.image != ImageOptions::default() => {
                let format = if raw { Some(ImageFormat::Rgb) } else { self.image.format };
                let lossy = self.image.encodes() && matches!(format, None | Some(ImageFormat::Jpeg));
                let quality = lossy.then_some(self.image.quality.unwrap_or(QUALITY));
                Some(Way::Image(ImageOptions { format, quality, ..self.image }))
            }
            Some(Kind::Audio) if raw || self.audio != AudioOptions::default() => {
                let codec = if raw { AudioCodec::Wav } else { self.audio.codec.unwrap_or(AudioCodec::Flac) };
                // What was resampled lies between the steps of any integers.
                let bits = if raw && self.audio.rate.is_some() { Some(32) } else { self.audio.bits };
                Some(Way::Audio(AudioOptions { codec: Some(codec), bits, ..self.audio }))
            }
            Some(Kind::Video) if self.video != VideoOptions::default() => {
                Some(Way::Video(VideoOptions { quality: Some(self.video.quality.unwrap_or(QUALITY)), ..self.video }))
            }
            Some(Kind::Text) => match &self.text.tokenizer {
                Some(file) => {
                    Some(Way::Ops(OpsOptions { ops: tokenize(file), dtype: Some(super::features::ids_of(file)?) }))
                }
                None => None,
            },
            _ => None,
        })
    }

    /// The operations whose numbers are counted of a column; none: nothing is asked.
    pub(super) fn counted(&self, column: &Column) -> Option<Vec<OpConfig>> {
        match self.columns.get(&column.name) {
            Some(options) => options.count.then(|| options.ops.clone()),
            None => self.text.count.as_ref().filter(|_| column.feature == Feature::Text).map(|file| tokenize(file)),
        }
    }

    /// Refuses what cannot be, and what no column of a source uses.
    pub(super) fn validate(&self, source: &Schema) -> Result<()> {
        self.check()?;
        let of = |kind: Kind| {
            source.payloads().any(|(_, c)| c.feature.kind() == Some(kind) && !self.columns.contains_key(&c.name))
        };
        let unused = |what: &str, of: &str| {
            Err(Error::config(
                format!("{what}: the source has no column of {of} that it could be done to"),
                "leave it out, or check what the source is taken for (`dsctl detect`)",
            ))
        };
        for (asked, kind, what, name) in [
            (self.image != ImageOptions::default(), Kind::Image, "image.*", "pictures"),
            (self.audio != AudioOptions::default(), Kind::Audio, "audio.*", "recordings"),
            (self.video != VideoOptions::default(), Kind::Video, "video.*", "clips"),
            (self.text != TextOptions::default(), Kind::Text, "text.*", "texts"),
        ] {
            if asked && !of(kind) {
                return unused(what, name);
            }
        }
        if self.store == StoreAs::Raw && !of(Kind::Image) && !of(Kind::Audio) {
            return unused("store = \"raw\"", "pictures or recordings");
        }
        for (name, options) in &self.columns {
            match source.get(name) {
                Some(feature) if feature.is_payload() && !matches!(feature, Feature::Tensor(_)) => {}
                Some(feature) => {
                    let what = format!("columns.{name}: operations work on media, and this is {}", feature.name());
                    return Err(Error::config(what, "leave it out: such a column is stored as it is"));
                }
                None => {
                    let names: Vec<&str> = source.columns.iter().map(|c| c.name.as_str()).collect();
                    let what = format!("columns.{name}: the source has no such column");
                    return Err(Error::config(what, format!("it has: {}", names.join(", "))));
                }
            }
            if options.count && source.get(name) != Some(&Feature::Text) {
                let what = format!("columns.{name}.count: tokens are counted of texts");
                return Err(Error::config(what, "leave count out: what else is made has its lengths in the Index"));
            }
            if options.ops.is_empty() {
                let what = format!("columns.{name} has no operations");
                return Err(Error::config(what, "give ops, or leave the column out"));
            }
        }
        Ok(())
    }

    /// Refuses what cannot be, whatever the source is.
    pub fn check(&self) -> Result<()> {
        let wrong = |what: String, help: &str| Err(Error::config(what, help));
        if self.text.tokenizer.is_some() && self.text.count.is_some() {
            let help = "tokens that are stored have their lengths in the Index: leave one of the two out";
            return wrong("text.tokenizer and text.count".into(), help);
        }
        if let Some((name, _)) = self.columns.iter().find(|(_, options)| options.count && options.dtype.is_some()) {
            return wrong(format!("columns.{name}: count and dtype"), "counts are 64-bit integers: leave dtype out");
        }
        let raw = self.store == StoreAs::Raw;
        let ImageOptions { max_side, short_side, format, quality, crop, transcode } = self.image;
        let sides =
            [("image.max_side", max_side), ("image.short_side", short_side), ("video.max_side", self.video.max_side)];
        for (name, side) in sides {
            if side.is_some_and(|side| !(1..=1 << 16).contains(&side)) {
                return wrong(format!("{name} = {}", side.unwrap_or(0)), "a side is 1 to 65536 pixels");
            }
        }
        if max_side.is_some() && short_side.is_some() {
            return wrong(
                "image.max_side and image.short_side".into(),
                "pictures have one size: leave one of the two out",
            );
        }
        if crop && (raw || !matches!(format, None | Some(ImageFormat::Jpeg))) {
            let help = "regions of pixels are read without one: leave image.crop, or the format out";
            return wrong("image.crop is of JPEG, and none is stored".into(), help);
        }
        if transcode && (raw || !matches!(format, None | Some(ImageFormat::Jpeg))) {
            let help = "what is made of a JPEG needs no other order of its coefficients: leave image.transcode, or the format out";
            return wrong("image.transcode is of JPEG, and none is stored".into(), help);
        }
        for (name, quality) in [("image", quality), ("video", self.video.quality)] {
            if quality.is_some_and(|quality| !(1..=100).contains(&quality)) {
                return wrong(format!("{name}.quality = {}", quality.unwrap_or(0)), "a quality is 1 to 100");
            }
        }
        if quality.is_some() && (raw || !matches!(format, None | Some(ImageFormat::Jpeg))) {
            return wrong(
                "image.quality is of JPEG, and none is written".into(),
                "leave the quality or the format out",
            );
        }
        if raw && !matches!(format, None | Some(ImageFormat::Rgb)) {
            return wrong("store = \"raw\" and image.format".into(), "pixels have no format: leave one of the two out");
        }
        let AudioOptions { codec, bits, .. } = self.audio;
        if raw && (matches!(codec, Some(AudioCodec::Flac | AudioCodec::Lossless)) || bits.is_some()) {
            let help = "raw recordings are PCM that has every bit: leave store, or audio.codec and audio.bits out";
            return wrong("store = \"raw\" and audio.codec or audio.bits".into(), help);
        }
        if codec == Some(AudioCodec::Lossless) && bits.is_some() {
            let help =
                "lossless keeps the bits that there are: leave audio.bits out, or say codec = \"flac\" or \"wav\"";
            return wrong("audio.codec = \"lossless\" and audio.bits".into(), help);
        }
        let possible: &[u8] = if codec == Some(AudioCodec::Wav) { &[16, 24, 32] } else { &[16, 24] };
        if let Some(bits) = bits.filter(|bits| !possible.contains(bits)) {
            return wrong(format!("audio.bits = {bits}"), "16 or 24; with codec = \"wav\" also 32, for floats");
        }
        if self.audio.rate.is_some_and(|rate| !(100..=768_000).contains(&rate)) {
            return wrong(format!("audio.rate = {}", self.audio.rate.unwrap_or(0)), "a rate is 100 to 768000 Hz");
        }
        if self.video.fps.is_some_and(|fps| !(fps > 0.0 && fps <= 1000.0)) {
            return wrong(
                format!("video.fps = {}", self.video.fps.unwrap_or(0.0)),
                "a rate is above 0, at most 1000 frames a second",
            );
        }
        if self.video != VideoOptions::default() && self.video.fps.is_none() {
            return wrong(
                "video.max_side or video.quality without video.fps".into(),
                "clips are encoded anew at a fixed rate: give fps",
            );
        }
        Ok(())
    }
}

/// The operation that a `tokenizer.json` alone stands for.
fn tokenize(file: &Path) -> Vec<OpConfig> {
    let params = Map::from_iter([("file".to_owned(), json!(file))]);
    vec![OpConfig { op: super::features::TOKENIZE.to_owned(), params }]
}

/// JPEG's quality where none is told.
const QUALITY: u8 = 90;
