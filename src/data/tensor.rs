//! Element types, memory layouts and the extents of tensors.

use serde::{Deserialize, Serialize};

use super::info::Fact;

/// The type of a tensor's elements, native endian.
#[non_exhaustive]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DType {
    /// Unsigned 8-bit.
    U8,
    /// Signed 8-bit.
    I8,
    /// Signed 64-bit.
    I64,
    /// IEEE 754 binary16.
    F16,
    /// bfloat16: the upper half of a binary32.
    BF16,
    /// IEEE 754 binary32.
    F32,
    /// IEEE 754 binary64.
    F64,
    /// One byte, 0 or 1.
    Bool,
}

impl DType {
    /// Bytes of one element.
    pub fn size(self) -> usize {
        match self {
            DType::U8 | DType::I8 | DType::Bool => 1,
            DType::F16 | DType::BF16 => 2,
            DType::F32 => 4,
            DType::I64 | DType::F64 => 8,
        }
    }

    /// The name used in configuration and messages.
    pub fn name(self) -> &'static str {
        match self {
            DType::U8 => "u8",
            DType::I8 => "i8",
            DType::I64 => "i64",
            DType::F16 => "f16",
            DType::BF16 => "bf16",
            DType::F32 => "f32",
            DType::F64 => "f64",
            DType::Bool => "bool",
        }
    }
}

mod sealed {
    pub trait Sealed {}
    impl Sealed for u8 {}
    impl Sealed for i8 {}
    impl Sealed for half::f16 {}
    impl Sealed for half::bf16 {}
    impl Sealed for i64 {}
    impl Sealed for f32 {}
    impl Sealed for f64 {}
}

/// A Rust type that a tensor can be read as. Every bit pattern is a value (so no `bool`: read those as `u8`).
pub trait Element: sealed::Sealed + bytemuck::Pod + Send + Sync {
    /// Whether a buffer of this type may be read as `Self`.
    fn reads(dtype: DType) -> bool;
    /// The type's name.
    const NAME: &'static str;
}

impl Element for u8 {
    fn reads(dtype: DType) -> bool {
        matches!(dtype, DType::U8 | DType::Bool)
    }
    const NAME: &'static str = "u8";
}

macro_rules! elements {
    ($($t:ty = $dtype:ident, $name:literal;)+) => {
        $(impl Element for $t {
            fn reads(dtype: DType) -> bool {
                dtype == DType::$dtype
            }
            const NAME: &'static str = $name;
        })+
    };
}

elements! {
    i8 = I8, "i8";
    i64 = I64, "i64";
    half::f16 = F16, "f16";
    half::bf16 = BF16, "bf16";
    f32 = F32, "f32";
    f64 = F64, "f64";
}

/// The order of a picture's axes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Layout {
    /// `[H, W, C]`: channels last, as decoders write.
    Nhwc,
    /// `[C, H, W]`: channels first, as PyTorch and burn read.
    Nchw,
}

/// The length of one axis of one sample, and when it is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
pub enum Extent {
    /// The same for every sample, known when the loader is built.
    Fixed(usize),
    /// Follows from the Index and the draws: known when the batch is opened; padded to the batch's longest.
    Bounded(Fact),
    /// Known only after decoding, and no longer than this: padded to it in every batch, with the true lengths beside.
    AtMost(usize),
    /// Known only after decoding: delivered ragged.
    Late,
}
