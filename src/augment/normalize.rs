//! `normalize`: u8 pixels to centred and scaled f32, as torchvision's `ToTensor` and `Normalize` together.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::pixels;
use super::{Draw, Lowered, Media, Op, OpEntry, Spec, Tools};
use crate::data::tensor::DType;
use crate::error::{Error, Fault};

/// `(x / 255 - mean) / std` for each channel, as `x * scale + bias` with `scale = 1 / (255 std)` and `bias = -mean / std`
/// computed in f64 and rounded once. The product is rounded before the sum, so every CPU gives the same bits.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Normalize {
    /// Means of red, green, blue, in units where white is 1.
    pub mean: [f64; 3],
    /// Standard deviations in the same units.
    pub std: [f64; 3],
}

const NAME: &str = "normalize";

/// The table's row.
pub const ENTRY: OpEntry = OpEntry {
    name: NAME,
    version: 1,
    summary: "u8 to f32 as (x / 255 - mean) / std: mean, std of red, green, blue",
    build: |params| {
        let op: Normalize = super::parse(NAME, params)?;
        let (scale, bias) = op.affine();
        if op.std.iter().any(|s| *s <= 0.0) || scale.iter().chain(&bias).any(|v| !v.is_finite()) {
            return Err(Error::config(
                format!("operation \"{NAME}\": mean {:?} and std {:?} do not give finite numbers", op.mean, op.std),
                "std is above 0, both are in units where white is 1 (ImageNet: mean = [0.485, 0.456, 0.406], std = [0.229, 0.224, 0.225])",
            ));
        }
        Ok(Arc::new(op))
    },
    example: r#"{"mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225]}"#,
};

impl Normalize {
    /// Factor and summand of each channel, for values 0 to 255.
    pub fn affine(&self) -> ([f32; 3], [f32; 3]) {
        let scale = self.std.map(|s| (1.0 / (255.0 * s)) as f32);
        let bias = [0, 1, 2].map(|c| (-self.mean[c] / self.std[c]) as f32);
        (scale, bias)
    }
}

impl Op for Normalize {
    fn spec(&self, input: &Spec) -> Result<Spec, Fault> {
        match input {
            Spec::Raster { dtype: DType::U8, .. } => {
                let mut output = input.clone();
                if let Spec::Raster { dtype, .. } = &mut output {
                    *dtype = DType::F32;
                }
                Ok(output)
            }
            Spec::Raster { .. } => Err(super::refused(
                NAME,
                "u8 pixels and makes them f32 itself (drop the \"to\" or \"normalize\" in front, or put it behind)",
                &input.to_string(),
            )),
            other => Err(super::refused(NAME, "pictures or clips", other.name())),
        }
    }

    fn lower(&self, _draw: &Draw) -> Lowered {
        let (scale, bias) = self.affine();
        Lowered::Affine { scale, bias }
    }

    fn apply(&self, _draw: &Draw, media: Media, _tools: &mut Tools) -> Result<Media, Fault> {
        let (scale, bias) = self.affine();
        let raster = pixels::raster(NAME, media)?;
        pixels::affine(raster, scale, bias)
            .map(Media::Raster)
            .ok_or_else(|| super::refused(NAME, "u8 pixels", "others"))
    }
}
