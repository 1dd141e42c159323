//! `to`: element type and order of the axes.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::pixels;
use super::{Draw, Elements, Lowered, Media, Op, OpEntry, Spec, Tools};
use crate::data::tensor::{DType, Layout};
use crate::error::{Error, Fault, Result};

/// Sets the element type and the order of the axes of pictures and clips; what is not given stays.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct To {
    /// "u8" or "f32". u8 to f32 keeps the values (0 to 255); f32 to u8 is refused.
    #[serde(default)]
    pub dtype: Option<DType>,
    /// "nhwc" or "nchw".
    #[serde(default)]
    pub layout: Option<Layout>,
    /// With dtype "f32": values become 0 to 1 (`x * (1 / 255)`, the factor rounded to f32).
    #[serde(default)]
    pub unit: bool,
}

const NAME: &str = "to";

/// The table's row.
pub const ENTRY: OpEntry = OpEntry {
    name: NAME,
    version: 1,
    summary: "element type and axes: dtype = \"u8\" | \"f32\", layout = \"nhwc\" | \"nchw\", unit = false (0 to 1)",
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
        match self.dtype {
            None if self.layout.is_none() => wrong("there is nothing to do".into(), "give dtype, layout, or both"),
            None | Some(DType::U8) if self.unit => {
                wrong("unit makes fractions, and the type stays what it is".into(), "give dtype = \"f32\" with it")
            }
            None | Some(DType::U8 | DType::F32) => Ok(()),
            Some(other) => wrong(format!("pixels do not become {}", other.name()), "dtype is \"u8\" or \"f32\""),
        }
    }
}

/// The factor of `unit`.
pub(super) const UNIT: f32 = (1.0f64 / 255.0) as f32;

impl Op for To {
    fn spec(&self, input: &Spec) -> Result<Spec, Fault> {
        let Spec::Raster { frames, height, width, channels, dtype, layout } = *input else {
            return Err(super::refused(NAME, "pictures or clips", input.name()));
        };
        if dtype == DType::F32 && (self.dtype == Some(DType::U8) || self.unit) {
            return Err(super::refused(NAME, "u8 pixels where it is to make u8 or 0-to-1 of them", &input.to_string()));
        }
        let (dtype, layout) = (self.dtype.unwrap_or(dtype), self.layout.unwrap_or(layout));
        Ok(Spec::Raster { frames, height, width, channels, dtype, layout })
    }

    fn lower(&self, _draw: &Draw) -> Lowered {
        let dtype = self.dtype.filter(|d| *d == DType::F32);
        Lowered::Output { dtype, layout: self.layout, unit: self.unit }
    }

    fn apply(&self, _draw: &Draw, media: Media, _tools: &mut Tools) -> Result<Media, Fault> {
        let mut raster = pixels::raster(NAME, media)?;
        if let (Some(DType::F32), Elements::U8(values)) = (self.dtype, &raster.data) {
            let factor = if self.unit { UNIT } else { 1.0 };
            raster.data = Elements::F32(values.iter().map(|&x| f32::from(x) * factor).collect());
        }
        let layout = self.layout.unwrap_or(raster.layout);
        Ok(Media::Raster(pixels::permuted(raster, layout)))
    }
}
