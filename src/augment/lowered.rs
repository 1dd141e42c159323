//! What an operation drew for a sample, and what it is to the chain.

use serde::Serialize;

use super::Elements;
use crate::codec::Rect;
use crate::data::tensor::{DType, Layout};

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
    /// Keeps a region of u8 pixels that may reach beyond the picture.
    Canvas(Canvas),
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
    /// Only [`Op::apply`](super::Op::apply) knows.
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
    pub(super) fn padding(self, before: f64) -> f64 {
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

/// A region that may reach beyond its picture, and what stands there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Canvas {
    /// Where the region begins, from the picture's left upper corner.
    pub x: i64,
    /// The same, down.
    pub y: i64,
    /// Its size.
    pub width: u32,
    /// Its size.
    pub height: u32,
    /// The color of what is no picture.
    pub fill: [u8; 3],
}

impl Canvas {
    /// What of the region is within a picture, in the picture's coordinates, and where that is in the region (x, y). `None`: nothing.
    pub fn inside(&self, width: u32, height: u32) -> Option<(Rect, (u32, u32))> {
        let span = |from: i64, length: u32, all: u32| {
            let (start, end) = (from.clamp(0, i64::from(all)), (from + i64::from(length)).clamp(0, i64::from(all)));
            (end > start).then_some((start as u32, (end - start) as u32, (start - from) as u32))
        };
        let (x, width, left) = span(self.x, self.width, width)?;
        let (y, height, top) = span(self.y, self.height, height)?;
        Some((Rect { x, y, width, height }, (left, top)))
    }
}
