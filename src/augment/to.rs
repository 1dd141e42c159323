//! `to`: element type and order of the axes.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

#[cfg(any(feature = "image", feature = "video"))]
use super::pixels;
use super::{Draw, Elements, Lowered, Media, Op, OpEntry, Quant, Spec, Store, Tools};
use crate::data::tensor::{DType, Layout};
use crate::error::{Error, Fault, Result};

/// Sets the element type of pictures, clips, recordings and tensors of floats, and the order of the axes of pictures and clips;
/// what is not given stays.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct To {
    /// "u8", "i8", "f16", "bf16" or "f32". u8 to a float keeps the values (0 to 255); floats become narrower, never wider.
    #[serde(default)]
    pub dtype: Option<DType>,
    /// "nhwc" or "nchw".
    #[serde(default)]
    pub layout: Option<Layout>,
    /// Of u8: values become 0 to 1 (`x * (1 / 255)`, the factor rounded to f32) before anything else.
    #[serde(default)]
    pub unit: bool,
    /// With dtype "i8" or "u8": `round(x / scale) + zero_point`, ties to even, saturated (ONNX's `QuantizeLinear`).
    #[serde(default)]
    pub scale: Option<f64>,
    /// With `scale`: what 0 becomes; 0 unless told.
    #[serde(default)]
    pub zero_point: Option<i32>,
}

const NAME: &str = "to";

/// The table's row.
pub const ENTRY: OpEntry = OpEntry {
    name: NAME,
    version: 1,
    summary: "element type and axes: dtype = \"f32\" | \"f16\" | \"bf16\" | \"i8\" | \"u8\", layout = \"nhwc\" | \"nchw\", unit = false (0 to 1), \
              scale and zero_point = 0 (quantised i8, u8)",
    build: |params| {
        let op: To = super::parse(NAME, params)?;
        op.validate()?;
        Ok(Arc::new(op))
    },
    example: r#"{"dtype": "f32", "layout": "nchw"}"#,
};

impl To {
    fn validate(&self) -> Result<()> {
        let wrong = |what: String, help: &str| Err(Error::config(format!("operation \"{NAME}\": {what}"), help));
        let range = match self.dtype {
            None if self.layout.is_none() => {
                return wrong("there is nothing to do".into(), "give dtype, layout, or both");
            }
            Some(DType::I8) if self.scale.is_none() => {
                return wrong(
                    "i8 needs a scale".into(),
                    "give scale, and zero_point where 0 is not 0: scale = 0.0078125",
                );
            }
            None | Some(DType::F32 | DType::F16 | DType::BF16) => None,
            Some(DType::I8) => Some(-128..=127),
            Some(DType::U8) => self.scale.map(|_| 0..=255),
            Some(other) => {
                return wrong(
                    format!("nothing becomes {} here", other.name()),
                    "dtype is \"f32\", \"f16\", \"bf16\", \"i8\" or \"u8\"",
                );
            }
        };
        if self.unit && matches!(self.store(), None | Some(Store::U8(_) | Store::I8(_))) && self.scale.is_none() {
            return wrong(
                "unit makes fractions, and the type stays what it is".into(),
                "give dtype = \"f32\" (or \"f16\", \"bf16\") with it",
            );
        }
        let Some(range) = range else {
            if self.scale.is_some() || self.zero_point.is_some() {
                return wrong(
                    "scale and zero_point make i8 or u8 of numbers".into(),
                    "give dtype = \"i8\" or \"u8\" with them; \"normalize\" shifts and scales floats",
                );
            }
            return Ok(());
        };
        let scale = self.scale.unwrap_or_default() as f32;
        if !(scale > 0.0 && scale.is_finite() && range.contains(&self.zero_point.unwrap_or(0))) {
            return wrong(
                format!("scale = {scale}, zero_point = {}", self.zero_point.unwrap_or(0)),
                "scale is above 0, zero_point is a value of the type: -128 to 127 for i8, 0 to 255 for u8",
            );
        }
        Ok(())
    }

    /// What the elements become; `None`: what they are.
    fn store(&self) -> Option<Store> {
        let quant = Quant { scale: self.scale.unwrap_or(1.0) as f32, zero_point: self.zero_point.unwrap_or(0) };
        match self.dtype? {
            DType::F16 => Some(Store::F16),
            DType::BF16 => Some(Store::BF16),
            DType::I8 => Some(Store::I8(quant)),
            DType::U8 => self.scale.map(|_| Store::U8(quant)),
            _ => Some(Store::F32),
        }
    }

    /// The type behind it, of elements that are `dtype` in front.
    fn becomes(&self, input: &Spec, dtype: DType) -> Result<DType, Fault> {
        let wanted = self.dtype.unwrap_or(dtype);
        let fine = match dtype {
            DType::U8 => true,
            DType::F32 => !self.unit && (wanted != DType::U8 || self.scale.is_some()),
            _ => wanted == dtype && !self.unit && self.scale.is_none(),
        };
        let takes = match dtype {
            DType::F32 => "u8 where it is to make plain u8 or 0-to-1 of them (give scale to quantise floats)",
            _ => "u8 or f32 elements",
        };
        if fine { Ok(wanted) } else { Err(super::refused(NAME, takes, &input.to_string())) }
    }
}

/// The factor of `unit`.
pub(super) const UNIT: f32 = (1.0f64 / 255.0) as f32;

impl Op for To {
    fn spec(&self, input: &Spec) -> Result<Spec, Fault> {
        let plain = |what: &str| match self.layout {
            Some(_) => Err(super::refused(NAME, "pictures or clips where it is given a layout", what)),
            None => Ok(()),
        };
        match input {
            Spec::Raster { frames, height, width, channels, dtype, layout } => Ok(Spec::Raster {
                frames: *frames,
                height: *height,
                width: *width,
                channels: *channels,
                dtype: self.becomes(input, *dtype)?,
                layout: self.layout.unwrap_or(*layout),
            }),
            Spec::Wave { channels, samples, .. } => {
                plain(input.name())?;
                match self.becomes(input, DType::F32)? {
                    DType::F32 => Ok(input.clone()),
                    dtype => Ok(Spec::Tensor { dtype, shape: channels.iter().copied().chain([*samples]).collect() }),
                }
            }
            Spec::Tensor { dtype, shape } => {
                plain(input.name())?;
                Ok(Spec::Tensor { dtype: self.becomes(input, *dtype)?, shape: shape.clone() })
            }
            Spec::Text { .. } | Spec::Tokens { .. } => {
                Err(super::refused(NAME, "pictures, clips, recordings or tensors", input.name()))
            }
        }
    }

    fn lower(&self, _draw: &Draw) -> Lowered {
        Lowered::Output { store: self.store(), layout: self.layout, unit: self.unit }
    }

    fn apply(&self, _draw: &Draw, media: Media, _tools: &mut Tools) -> Result<Media, Fault> {
        match media {
            #[cfg(any(feature = "image", feature = "video"))]
            Media::Raster(mut raster) => {
                raster.data = self.elements(raster.data);
                let layout = self.layout.unwrap_or(raster.layout);
                Ok(Media::Raster(pixels::permuted(raster, layout)))
            }
            Media::Wave(wave) => match self.store().unwrap_or(Store::F32) {
                Store::F32 => Ok(Media::Wave(wave)),
                store => Ok(Media::Tensor { shape: wave.shape(), data: store.elements(wave.data) }),
            },
            Media::Tensor { data, shape } => Ok(Media::Tensor { data: self.elements(data), shape }),
            other => Err(super::refused(NAME, "pictures, clips, recordings or tensors", other.name())),
        }
    }

    fn padding(&self, before: f64) -> f64 {
        self.store().map_or(before, |store| store.padding(before))
    }
}

impl To {
    fn elements(&self, data: Elements) -> Elements {
        match (self.store(), data) {
            (Some(store), Elements::U8(values)) => {
                let factor = if self.unit { UNIT } else { 1.0 };
                store.elements(values.into_iter().map(|x| f32::from(x) * factor).collect())
            }
            (Some(store), Elements::F32(values)) => store.elements(values),
            (_, same) => same,
        }
    }
}
