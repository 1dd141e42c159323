//! Operations on decoded media, and the chain that runs them.
//!
//! An operation has two faces. [`Op::apply`] is the reference: it takes a whole [`Media`] and gives a whole one back.
//! [`Op::lower`] tells the chain what the operation *is*, so that the chain can fuse it with its neighbours: a crop in
//! front becomes the region that is decoded, a flip and a normalisation become the pass that writes the batch.
//! The law (tested over every member): the fused chain's bytes equal the unfused chain's.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::codec::Rect;
use crate::data::feature::Feature;
use crate::data::info::{Fact, Info, Kind};
use crate::data::label::Labels;
use crate::data::tensor::{DType, Extent, Layout};
use crate::error::{Fault, Reason, Result};
use crate::registry::{Named, Table};
use crate::rng::Key;

pub mod chain;
pub mod packed;
pub(crate) mod run;
pub mod slot;

#[cfg(test)]
mod goldens;
#[cfg(all(test, feature = "text"))]
mod goldens_text;
#[cfg(test)]
mod laws;

// Recordings and text.
#[cfg(feature = "text")]
pub mod bytes_to_ids;
#[cfg(feature = "text")]
pub mod chars_to_ids;
#[cfg(feature = "audio")]
pub mod channels;
#[cfg(feature = "audio")]
pub mod log_mel;
#[cfg(feature = "audio")]
pub mod mel;
#[cfg(feature = "text")]
pub mod normalize_text;
#[cfg(feature = "audio")]
pub mod pad_trim;
#[cfg(feature = "audio")]
pub mod resample;
#[cfg(feature = "audio")]
pub mod time_crop;
#[cfg(feature = "text")]
pub mod token_window;
#[cfg(feature = "tokenizers")]
pub mod tokenize;
mod wave;

// Pictures and clips.
#[cfg(any(feature = "image", feature = "video"))]
pub mod center_crop;
#[cfg(any(feature = "image", feature = "video"))]
mod fused;
#[cfg(any(feature = "image", feature = "video"))]
pub mod horizontal_flip;
#[cfg(any(feature = "image", feature = "video"))]
pub mod normalize;
#[cfg(any(feature = "image", feature = "video"))]
mod pass;
#[cfg(any(feature = "image", feature = "video"))]
pub mod pixels;
#[cfg(any(feature = "image", feature = "video"))]
pub mod random_resized_crop;
#[cfg(any(feature = "image", feature = "video"))]
pub mod resize;
#[cfg(feature = "video")]
pub mod sample_frames;
#[cfg(any(feature = "image", feature = "video"))]
mod scale;

// Whatever there is.
pub mod to;

pub use chain::{Chain, Drawn, Late, Output};
pub use slot::{Beside, SlotMut};
pub use wave::Wave;

/// What flows between two operations, as known when the loader is built.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub enum Spec {
    /// Pictures or frames, `[H, W, C]` or `[T, H, W, C]` (channels first under [`Layout::Nchw`]).
    Raster {
        /// Frames of a clip; `None` for a still picture (no T axis).
        frames: Option<Extent>,
        /// Pixels down.
        height: Extent,
        /// Pixels across.
        width: Extent,
        /// Channels, 3 after decoding.
        channels: usize,
        /// `U8` after decoding, `F32` after normalisation.
        dtype: DType,
        /// Channels last after decoding.
        layout: Layout,
    },
    /// PCM, `[S]` or `[C, S]`, `f32`. Decoding averages the channels, unless a `channels` says otherwise.
    Wave {
        /// Hz, if it is the same for every sample (after a resample). `None`: whatever each recording has.
        rate: Option<u32>,
        /// The axis of channels; `None`: mono, and no such axis.
        channels: Option<Extent>,
        /// Samples.
        samples: Extent,
    },
    /// UTF-8 text; delivered as bytes.
    Text {
        /// Its bytes. Where they are [`Extent::Late`], [`Info::count`] is the most that they may be.
        bytes: Extent,
    },
    /// A plain tensor: log-mel `[mels, T]`, token ids `[L]`. Where an axis of what was text is [`Extent::Late`],
    /// [`Info::count`] is the most that it may be.
    Tensor {
        /// Element type.
        dtype: DType,
        /// One extent for each axis.
        shape: Vec<Extent>,
    },
    /// Token ids, `[L]` i64, with the place of each in the text, `[L, 2]` i64: delivered as a column of its own beside them.
    Tokens {
        /// L.
        length: Extent,
    },
}

impl Spec {
    /// What a codec hands to the first operation.
    pub fn decoded(kind: Kind) -> Self {
        let raster = |frames| Spec::Raster {
            frames,
            height: Extent::Bounded(Fact::Height),
            width: Extent::Bounded(Fact::Width),
            channels: 3,
            dtype: DType::U8,
            layout: Layout::Nhwc,
        };
        match kind {
            Kind::Image => raster(None),
            Kind::Video => raster(Some(Extent::Bounded(Fact::Count))),
            Kind::Audio => Spec::Wave { rate: None, channels: None, samples: Extent::Bounded(Fact::Count) },
            Kind::Text => Spec::Text { bytes: Extent::Bounded(Fact::Count) },
            Kind::Tensor => Spec::Tensor { dtype: DType::U8, shape: vec![Extent::Bounded(Fact::Count)] },
        }
    }

    /// What the payloads of a column are to the first operation; none for a column that has no payloads.
    pub fn stored(feature: &Feature) -> Option<Self> {
        match feature {
            Feature::Tensor(tensor) => Some(Spec::Tensor { dtype: tensor.dtype.dtype(), shape: tensor.extents() }),
            other => other.kind().map(Spec::decoded),
        }
    }

    /// Element type and extents of one sample, as they stand in a batch (without the N axis). Text has none: it is bytes.
    pub fn output(&self) -> Option<(DType, Vec<Extent>)> {
        match self {
            Spec::Raster { frames, height, width, channels, dtype, layout } => {
                let mut shape: Vec<Extent> = frames.iter().copied().collect();
                match layout {
                    Layout::Nhwc => shape.extend([*height, *width, Extent::Fixed(*channels)]),
                    Layout::Nchw => shape.extend([Extent::Fixed(*channels), *height, *width]),
                }
                Some((*dtype, shape))
            }
            Spec::Wave { channels, samples, .. } => {
                Some((DType::F32, channels.iter().copied().chain([*samples]).collect()))
            }
            Spec::Text { .. } => None,
            Spec::Tensor { dtype, shape } => Some((*dtype, shape.clone())),
            Spec::Tokens { length } => Some((DType::I64, vec![*length])),
        }
    }

    /// The name used in messages.
    pub fn name(&self) -> &'static str {
        match self {
            Spec::Raster { frames: None, .. } => "a picture",
            Spec::Raster { .. } => "a clip",
            Spec::Wave { .. } => "a recording",
            Spec::Text { .. } => "text",
            Spec::Tensor { .. } => "a tensor",
            Spec::Tokens { .. } => "tokens",
        }
    }
}

impl fmt::Display for Spec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())?;
        if let Some((dtype, shape)) = self.output() {
            write!(f, " ({}", dtype.name())?;
            for (i, extent) in shape.iter().enumerate() {
                f.write_str(if i == 0 { " [" } else { ", " })?;
                match extent {
                    Extent::Fixed(n) => write!(f, "{n}")?,
                    Extent::Bounded(fact) => write!(f, "{}", format!("{fact:?}").to_lowercase())?,
                    Extent::AtMost(n) => write!(f, "at most {n}")?,
                    Extent::Late => f.write_str("late")?,
                }
            }
            f.write_str("])")?;
        }
        Ok(())
    }
}

/// The outcome of an operation's randomness for one sample. The plan can print it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub enum Draw {
    /// Nothing was drawn.
    None,
    /// A region, in pixels of the operation's input.
    Rect(Rect),
    /// Yes or no.
    Flag(bool),
    /// Anything else, as numbers.
    Numbers(smallvec::SmallVec<[f64; 4]>),
    /// Times of presentation in microseconds.
    Times(Vec<i64>),
}

/// What an operation is, to the chain.
#[derive(Debug, Clone, PartialEq)]
pub enum Lowered {
    /// Changes nothing for this draw.
    Keep,
    /// Moves pixels: crop, then resize, then mirror.
    Geometry(Geometry),
    /// `x * scale[c] + bias[c]` on u8 pixels (product rounded, then the sum: no fused multiply-add), giving `f32`.
    Affine {
        /// One factor a channel.
        scale: [f32; 3],
        /// One summand a channel.
        bias: [f32; 3],
    },
    /// Sets element type and layout.
    Output {
        /// What the elements become; `None`: as they are.
        store: Option<Store>,
        /// Channels last or first, or `None`: as it is.
        layout: Option<Layout>,
        /// Whether `u8` values become `value * (1 / 255)`, the factor rounded to `f32`; else 255 becomes 255.0.
        unit: bool,
    },
    /// Chooses frames of a clip, before decoding.
    Frames(Frames),
    /// Keeps a range of a recording, in samples: from the first one up to the second. Before decoding, at the front.
    Range(u64, u64),
    /// Chooses among a recording's channels: they are not mixed while decoding.
    Channels,
    /// Only [`Op::apply`] knows.
    Custom,
}

/// Which frames of a clip are decoded to pixels.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Frames {
    /// Those on display at these times, in microseconds of presentation, ascending.
    At(Vec<i64>),
    /// Key frames, as [`Want::Keys`](crate::codec::Want::Keys) has them: how many is known only after decoding.
    Keys {
        /// The earliest time, in microseconds of presentation.
        from_us: i64,
        /// The time behind the latest.
        to_us: i64,
        /// At most this many, evenly.
        most: u64,
    },
}

impl Frames {
    /// What is asked of the codec.
    pub fn want(&self) -> crate::codec::Want<'_> {
        match self {
            Frames::At(times_us) => crate::codec::Want::Video { times_us },
            Frames::Keys { from_us, to_us, most } => {
                crate::codec::Want::Keys { from_us: *from_us, to_us: *to_us, most: *most }
            }
        }
    }

    /// How many come, where that is known.
    pub fn count(&self) -> Option<u64> {
        match self {
            Frames::At(times) => Some(times.len() as u64),
            Frames::Keys { .. } => None,
        }
    }
}

/// What numbers become on their way out, from `f32`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Store {
    /// They stay `f32`.
    F32,
    /// binary16, rounded to nearest, ties to even; beyond 65,504 to infinity.
    F16,
    /// bfloat16, rounded to nearest, ties to even.
    BF16,
    /// `round(x / scale) + zero_point`, ties to even, saturated: ONNX's `QuantizeLinear`. What is no number gives the smallest.
    I8(Quant),
    /// The same into 0 to 255.
    U8(Quant),
}

impl Store {
    /// The type of the elements.
    pub fn dtype(self) -> DType {
        match self {
            Store::F32 => DType::F32,
            Store::F16 => DType::F16,
            Store::BF16 => DType::BF16,
            Store::I8(_) => DType::I8,
            Store::U8(_) => DType::U8,
        }
    }
}

impl Store {
    /// Some numbers as they are stored, one by one: the reference of the last pass.
    pub fn elements(self, values: Vec<f32>) -> Elements {
        match self {
            Store::F32 => Elements::F32(values),
            Store::F16 => Elements::F16(values.into_iter().map(half::f16::from_f32).collect()),
            Store::BF16 => Elements::BF16(values.into_iter().map(half::bf16::from_f32).collect()),
            Store::I8(quant) => Elements::I8(values.into_iter().map(|x| quant.value(x, -128, 127) as i8).collect()),
            Store::U8(quant) => Elements::U8(values.into_iter().map(|x| quant.value(x, 0, 255) as u8).collect()),
        }
    }

    /// What padding of a value becomes, as a number of the stored type.
    fn padding(self, before: f64) -> f64 {
        match self {
            Store::I8(quant) => f64::from(quant.value(before as f32, -128, 127)),
            Store::U8(quant) => f64::from(quant.value(before as f32, 0, 255)),
            _ => before,
        }
    }
}

/// The parameters of a linear quantisation.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Quant {
    /// The step between two neighbours, above 0.
    pub scale: f32,
    /// What 0 becomes.
    pub zero_point: i32,
}

impl Quant {
    /// One value, saturated to `low..=high`, which lie within -2^16 to 2^16.
    #[inline(always)]
    pub fn value(self, x: f32, low: i32, high: i32) -> i32 {
        // Saturated first, which is the same as the ends are whole numbers. Behind this sum floats are whole numbers, so that
        // it rounds to the nearest, ties to even, and its low bits are the number: all of it is done on several at once.
        const WHOLE: f32 = 1.5 * (1 << 23) as f32;
        let ends = ((low - self.zero_point) as f32, (high - self.zero_point) as f32);
        let ratio = (x / self.scale).max(ends.0).min(ends.1);
        (ratio + WHOLE).to_bits() as i32 - WHOLE.to_bits() as i32 + self.zero_point
    }
}

/// Pixel motion, applied in the order of the fields.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Geometry {
    /// Keep only this region.
    pub crop: Option<Rect>,
    /// Resize to (width, height): antialiased bilinear, as Pillow's `BILINEAR`.
    pub resize: Option<(u32, u32)>,
    /// Mirror left and right.
    pub mirror: bool,
}

/// Decoded media between operations, owned.
#[derive(Debug, Clone, PartialEq)]
pub enum Media {
    /// Pictures or frames.
    Raster(Raster),
    /// PCM.
    Wave(Wave),
    /// Text.
    Text(String),
    /// A plain tensor, row-major.
    Tensor {
        /// Its elements.
        data: Elements,
        /// One length for each axis.
        shape: Vec<usize>,
    },
    /// Token ids with their places in the text.
    Tokens {
        /// The ids.
        ids: Vec<i64>,
        /// For each the beginning and the end in the text, `[start, end)`.
        offsets: Vec<[i64; 2]>,
    },
}

impl Media {
    /// The bare elements, row-major; a text's are its bytes.
    pub fn into_elements(self) -> Elements {
        match self {
            Media::Raster(raster) => raster.data,
            Media::Wave(wave) => Elements::F32(wave.data),
            Media::Text(text) => Elements::U8(text.into_bytes()),
            Media::Tensor { data, .. } => data,
            Media::Tokens { ids, .. } => Elements::I64(ids),
        }
    }

    /// The name used in messages.
    pub fn name(&self) -> &'static str {
        match self {
            Media::Raster(_) => "pixels",
            Media::Wave(_) => "a recording",
            Media::Text(_) => "text",
            Media::Tensor { .. } => "a tensor",
            Media::Tokens { .. } => "tokens",
        }
    }
}

/// Owned elements.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Elements {
    /// Unsigned 8-bit.
    U8(Vec<u8>),
    /// Signed 8-bit.
    I8(Vec<i8>),
    /// 16-bit floats (binary16).
    F16(Vec<half::f16>),
    /// bfloat16.
    BF16(Vec<half::bf16>),
    /// 32-bit floats.
    F32(Vec<f32>),
    /// 64-bit integers.
    I64(Vec<i64>),
}

/// Does the same with whatever vector some elements are; the result is wrapped again where it is `=> same`.
macro_rules! each {
    ($elements:expr, $v:ident => same $body:expr) => {
        match $elements {
            Elements::U8($v) => Elements::U8($body),
            Elements::I8($v) => Elements::I8($body),
            Elements::F16($v) => Elements::F16($body),
            Elements::BF16($v) => Elements::BF16($body),
            Elements::F32($v) => Elements::F32($body),
            Elements::I64($v) => Elements::I64($body),
        }
    };
    ($elements:expr, $v:ident => $body:expr) => {
        match $elements {
            Elements::U8($v) => $body,
            Elements::I8($v) => $body,
            Elements::F16($v) => $body,
            Elements::BF16($v) => $body,
            Elements::F32($v) => $body,
            Elements::I64($v) => $body,
        }
    };
}
use each;

/// Pictures or frames with three channels.
#[derive(Debug, Clone, PartialEq)]
pub struct Raster {
    /// The elements, `[frames, height, width, 3]` or `[frames, 3, height, width]`.
    pub data: Elements,
    /// 1 for a picture.
    pub frames: usize,
    /// Whether this is a picture, without an axis of frames in its shape.
    pub still: bool,
    /// Pixels across.
    pub width: usize,
    /// Pixels down.
    pub height: usize,
    /// The order of the axes.
    pub layout: Layout,
}

/// One operation: a serde struct that is at once its config and its behaviour.
pub trait Op: Send + Sync + fmt::Debug {
    /// What comes out for what goes in; refuses what it cannot take, so that errors surface before the first batch.
    fn spec(&self, input: &Spec) -> Result<Spec, Fault>;

    /// Whether anything is drawn from the key. What is random cannot be stored ([`crate::prepare`]): it would be the same in
    /// every epoch.
    fn is_random(&self) -> bool {
        false
    }

    /// What is drawn for one sample, from its facts alone. `key` is unique to (seed, epoch, row, occurrence, view, name path).
    fn draw(&self, _info: &Info, _key: Key) -> Draw {
        Draw::None
    }

    /// The facts after the operation, for the draws and buffer sizes behind it.
    fn facts(&self, info: &Info, _draw: &Draw) -> Info {
        *info
    }

    /// What the operation is, to the chain.
    fn lower(&self, _draw: &Draw) -> Lowered {
        Lowered::Custom
    }

    /// The reference behaviour on whole media. Its output has exactly the extents that [`Op::facts`] states.
    fn apply(&self, draw: &Draw, media: Media, tools: &mut Tools) -> Result<Media, Fault>;

    /// Moves the labels as the pixels moved; `info` holds the facts in front of the operation. The default leaves them:
    /// right only for what moves no pixels.
    fn labels(&self, _draw: &Draw, _info: &Info, _labels: &mut Labels) -> Result<(), Fault> {
        Ok(())
    }

    /// What stands in a batch beyond a sample's own extents, given what it was in front of the operation (0 after decoding).
    fn padding(&self, before: f64) -> f64 {
        before
    }

    /// The parameters that name files, each with the SHA-256 (hex) of what the file held when the operation was built: the
    /// recipe's digest covers that, and not where the file lies.
    fn files(&self) -> Vec<(&'static str, String)> {
        Vec::new()
    }
}

/// A thread's reusable tools: a codec's scratch, and what operations keep (resizers, FFT plans and the like) by type.
#[derive(Debug, Default)]
pub struct Tools {
    /// What decoding borrows; decoded media live in it while operations work.
    pub scratch: crate::codec::Scratch,
    /// Nanoseconds spent in codecs since the owner last set it to 0.
    pub decode_nanos: u64,
    /// What operations keep.
    own: crate::codec::Scratch,
}

impl Tools {
    /// The state of a type, made by `Default` at first use.
    pub fn state<T: std::any::Any + Send + Default>(&mut self) -> &mut T {
        self.own.state()
    }
}

/// One operation by name with its parameters, as a recipe or an ingest's configuration has it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct OpConfig {
    /// The name in the operation table.
    pub op: String,
    /// Its parameters.
    #[serde(flatten)]
    pub params: Map<String, Value>,
}

impl OpConfig {
    /// Builds some operations, each with its name path: `column` and its place, on which its randomness hangs.
    ///
    /// # Errors
    /// [`crate::Error::Config`] for an unknown name or wrong parameters.
    pub fn build(list: &[OpConfig], column: &str, table: &Table<OpEntry>) -> Result<Vec<(String, Arc<dyn Op>)>> {
        let build = |(place, config): (usize, &OpConfig)| {
            let op = (table.get(&config.op)?.build)(&Value::Object(config.params.clone()))?;
            Ok((format!("{column}/{place}:{}", config.op), op))
        };
        list.iter().enumerate().map(build).collect()
    }
}

/// A fault for an operation that was given something it does not take.
pub fn refused(op: &str, takes: &str, given: &str) -> Fault {
    Fault::new(Reason::WrongMedia, format!("operation \"{op}\" takes {takes}, and here it is given {given}"))
}

#[cfg(any(feature = "image", feature = "video", feature = "audio"))]
/// The outcome for a draw that its operation cannot have made.
fn foreign(op: &str, draw: &Draw) -> Fault {
    Fault::new(Reason::Corrupt, format!("operation \"{op}\" was given a draw that is not its own: {draw:?}"))
}

/// One row of the operation table: a name, a version that enters the recipe's digest, and the way from configuration to behaviour.
#[derive(Clone, Copy)]
pub struct OpEntry {
    /// The name in recipes.
    pub name: &'static str,
    /// Raised whenever the same config and key give other bytes.
    pub version: u32,
    /// One line for listings and error hints.
    pub summary: &'static str,
    /// Builds the operation from its parameters (the recipe's table without `op`), checking them.
    pub build: fn(&Value) -> Result<Arc<dyn Op>>,
    /// Parameters that build a sensible instance on its own; conformance tests use them.
    pub example: &'static str,
}

impl Named for OpEntry {
    fn name(&self) -> &'static str {
        self.name
    }
}

impl fmt::Debug for OpEntry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} v{}", self.name, self.version)
    }
}

/// Parses an operation's parameters into its struct; unknown or missing parameters name the operation.
pub fn parse<T: serde::de::DeserializeOwned>(op: &str, params: &Value) -> Result<T> {
    serde_json::from_value(params.clone()).map_err(|e| {
        let example = OPS.iter().find(|entry| entry.name == op).map_or("{}", |entry| entry.example);
        crate::error::Error::config(
            format!("operation \"{op}\": {e}"),
            format!("parameters that \"{op}\" takes, for example: {example}"),
        )
    })
}

/// The numerics tier of this process: which SIMD level the float DSP (FFT) runs on. Pixels and integers are bit-equal on
/// every tier; log-mel and resampling are bit-equal within one, and within a stated bound across them.
pub fn numerics() -> &'static str {
    #[cfg(target_arch = "x86_64")]
    {
        if std::arch::is_x86_feature_detected!("avx") && std::arch::is_x86_feature_detected!("fma") {
            return "x86_64-avx-fma";
        }
        if std::arch::is_x86_feature_detected!("sse4.1") {
            return "x86_64-sse4.1";
        }
        return "x86_64-scalar";
    }
    #[cfg(target_arch = "aarch64")]
    return "aarch64-neon";
    #[allow(unreachable_code, reason = "the other targets")]
    "scalar"
}

/// The operations of this build.
pub const OPS: &[OpEntry] = &[
    #[cfg(any(feature = "image", feature = "video"))]
    resize::ENTRY,
    #[cfg(any(feature = "image", feature = "video"))]
    center_crop::ENTRY,
    #[cfg(any(feature = "image", feature = "video"))]
    random_resized_crop::ENTRY,
    #[cfg(any(feature = "image", feature = "video"))]
    horizontal_flip::ENTRY,
    #[cfg(any(feature = "image", feature = "video"))]
    normalize::ENTRY,
    to::ENTRY,
    #[cfg(feature = "video")]
    sample_frames::ENTRY,
    #[cfg(feature = "audio")]
    channels::ENTRY,
    #[cfg(feature = "audio")]
    time_crop::ENTRY,
    #[cfg(feature = "audio")]
    resample::ENTRY,
    #[cfg(feature = "audio")]
    pad_trim::ENTRY,
    #[cfg(feature = "audio")]
    log_mel::ENTRY,
    #[cfg(feature = "text")]
    normalize_text::ENTRY,
    #[cfg(feature = "text")]
    bytes_to_ids::ENTRY,
    #[cfg(feature = "text")]
    chars_to_ids::ENTRY,
    #[cfg(feature = "tokenizers")]
    tokenize::ENTRY,
    #[cfg(feature = "text")]
    token_window::ENTRY,
];

/// The built-in operations as a table that can be added to.
pub fn ops() -> Table<OpEntry> {
    Table::new("operation", OPS)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The examples of ONNX's specification of `QuantizeLinear` (opset 13: halves to even, then saturation), and the ends.
    #[test]
    fn quantising_is_onnx_quantize_linear() {
        let quant = Quant { scale: 2.0, zero_point: 128 };
        let given = [0.0, 2.0, 3.0, 1000.0, -254.0, -1000.0];
        assert_eq!(given.map(|x| quant.value(x, 0, 255)), [128, 129, 130, 255, 1, 0]);
        let halves = Quant { scale: 1.0, zero_point: 0 };
        assert_eq!([0.5, 1.5, 2.5, -0.5, -1.5].map(|x| halves.value(x, -128, 127)), [0, 2, 2, 0, -2]);
        let ends = [f32::INFINITY, f32::NEG_INFINITY, f32::MAX, f32::NAN].map(|x| halves.value(x, -128, 127));
        assert_eq!(ends, [127, -128, 127, -128]);
        let tiny = Quant { scale: f32::MIN_POSITIVE, zero_point: -5 };
        assert_eq!([1.0, -1.0, 0.0].map(|x| tiny.value(x, -128, 127)), [127, -128, -5]);
    }

    /// Every binary16 there is, and the binary32 around each: what is stored is the nearest.
    #[test]
    fn halves_are_rounded_to_the_nearest() {
        for bits in 0..=u16::MAX {
            let half = half::f16::from_bits(bits);
            if !half.is_finite() {
                continue;
            }
            let near = [half.to_f32(), half.to_f32().next_up(), half.to_f32().next_down()];
            let Elements::F16(stored) = Store::F16.elements(near.to_vec()) else { panic!() };
            assert!(stored.iter().all(|s| *s == half), "{bits:#x}");
        }
    }
}
