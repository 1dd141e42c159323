//! Decoded media between operations, owned.

use super::Wave;
use crate::data::tensor::Layout;

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
pub(super) use each;

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
