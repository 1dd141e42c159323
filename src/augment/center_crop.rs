//! `center_crop`: the middle of a picture, at torchvision's offsets.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::pixels::{self, Size};
use super::{Draw, Geometry, Lowered, Media, Op, OpEntry, Spec, Tools};
use crate::codec::Rect;
use crate::data::info::Info;
use crate::data::label::Labels;
use crate::data::tensor::Extent;
use crate::error::{Fault, Reason};
use crate::rng::Key;

/// Keeps the middle `size` pixels. Offsets are `round((side - size) / 2)` with halves to even, as torchvision's.
/// A smaller picture is a fault (torchvision pads it with black): put a resize in front.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CenterCrop {
    /// One number for a square, or `[height, width]`, in pixels.
    pub size: Size,
}

/// The table's row.
pub const ENTRY: OpEntry = OpEntry {
    name: "center_crop",
    version: 1,
    summary: "the middle of the picture: size = side or [height, width]",
    build: |params| {
        let op: CenterCrop = super::parse("center_crop", params)?;
        op.size.validate("center_crop")?;
        Ok(Arc::new(op))
    },
    example: r#"{"size": 24}"#,
};

/// `round(spare / 2)`, halves to even (Python's `round`).
fn half_even(spare: u32) -> u32 {
    let half = spare / 2;
    if spare % 2 == 1 && half % 2 == 1 { half + 1 } else { half }
}

impl Op for CenterCrop {
    fn spec(&self, input: &Spec) -> Result<Spec, Fault> {
        let [h, w] = self.size.square().map(|n| n as usize);
        if let Spec::Raster { height, width, .. } = input {
            let small = |extent: &Extent, size| matches!(extent, Extent::Fixed(n) if *n < size);
            if small(height, h) || small(width, w) {
                return Err(super::refused(
                    "center_crop",
                    &format!("at least {h} x {w} pixels (h x w)"),
                    &input.to_string(),
                ));
            }
        }
        pixels::sized("center_crop", input, Extent::Fixed(h), Extent::Fixed(w))
    }

    fn draw(&self, info: &Info, _key: Key) -> Draw {
        let [height, width] = self.size.square();
        if info.width < width || info.height < height {
            return Draw::None;
        }
        Draw::Rect(Rect { x: half_even(info.width - width), y: half_even(info.height - height), width, height })
    }

    fn facts(&self, info: &Info, _draw: &Draw) -> Info {
        let [height, width] = self.size.square();
        Info { width, height, ..*info }
    }

    fn lower(&self, draw: &Draw) -> Lowered {
        match draw {
            Draw::Rect(rect) => Lowered::Geometry(Geometry { crop: Some(*rect), ..Geometry::default() }),
            _ => Lowered::Custom,
        }
    }

    fn apply(&self, draw: &Draw, media: Media, tools: &mut Tools) -> Result<Media, Fault> {
        let Draw::Rect(rect) = draw else {
            let raster = pixels::raster("center_crop", media)?;
            let [h, w] = self.size.square();
            return Err(Fault::new(
                Reason::WrongMedia,
                format!(
                    "center_crop wants {h} x {w} pixels (h x w) of a picture of {} x {}: put a \"resize\" in front of it",
                    raster.height, raster.width
                ),
            ));
        };
        pixels::moved("center_crop", Geometry { crop: Some(*rect), ..Geometry::default() }, media, tools)
    }

    fn labels(&self, draw: &Draw, _info: &Info, labels: &mut Labels) -> Result<(), Fault> {
        if let Draw::Rect(rect) = draw {
            pixels::crop_boxes(labels, *rect);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn halves_go_to_even() {
        assert_eq!([0, 1, 2, 3, 4, 5, 6, 7].map(half_even), [0, 0, 1, 2, 2, 2, 3, 4]);
    }
}
