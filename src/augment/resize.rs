//! `resize`: antialiased bilinear, as Pillow's `BILINEAR` (and torchvision's `Resize(antialias=True)`).

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::pixels::{self, Size};
use super::{Draw, Geometry, Lowered, Media, Op, OpEntry, Spec, Tools};
use crate::data::info::{Fact, Info};
use crate::data::label::Labels;
use crate::data::tensor::Extent;
use crate::error::{Fault, Reason};
use crate::rng::Key;

/// Resizes pictures and clips. `size` is the length of the shorter side (the longer becomes `int(size * long / short)`, as
/// in torchvision), or `[height, width]`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Resize {
    /// The shorter side, or `[height, width]`, in pixels.
    pub size: Size,
}

/// The table's row.
pub const ENTRY: OpEntry = OpEntry {
    name: "resize",
    version: 1,
    summary: "antialiased bilinear resize: size = shorter side or [height, width]",
    build: |params| {
        let op: Resize = super::parse("resize", params)?;
        op.size.validate("resize")?;
        Ok(Arc::new(op))
    },
    example: r#"{"size": 40}"#,
};

/// torchvision's size for a wanted shorter side: (width, height).
pub fn shorter_side(width: u32, height: u32, side: u32) -> (u32, u32) {
    let (short, long) = (width.min(height).max(1), width.max(height));
    let long = u64::from(side) * u64::from(long) / u64::from(short);
    let long = u32::try_from(long).unwrap_or(u32::MAX);
    if width <= height { (side, long) } else { (long, side) }
}

/// The size that a draw of [`Resize`] holds: (width, height).
fn drawn(draw: &Draw) -> Option<(u32, u32)> {
    match draw {
        Draw::Numbers(n) if n.len() == 2 => Some((n[0] as u32, n[1] as u32)),
        _ => None,
    }
}

impl Op for Resize {
    fn spec(&self, input: &Spec) -> Result<Spec, Fault> {
        pixels::resizable("resize", input)?;
        let (height, width) = match (self.size, input) {
            (Size::Both([h, w]), _) => (Extent::Fixed(h as usize), Extent::Fixed(w as usize)),
            (Size::One(side), Spec::Raster { height: Extent::Fixed(h), width: Extent::Fixed(w), .. }) => {
                let (w, h) = shorter_side(*w as u32, *h as u32, side);
                (Extent::Fixed(h as usize), Extent::Fixed(w as usize))
            }
            (Size::One(_), _) => (Extent::Bounded(Fact::Height), Extent::Bounded(Fact::Width)),
        };
        pixels::sized("resize", input, height, width)
    }

    fn draw(&self, info: &Info, _key: Key) -> Draw {
        if info.width == 0 || info.height == 0 {
            return Draw::None;
        }
        let (width, height) = match self.size {
            Size::One(side) => shorter_side(info.width, info.height, side),
            Size::Both([h, w]) => (w, h),
        };
        Draw::Numbers(smallvec::smallvec![f64::from(width), f64::from(height)])
    }

    fn facts(&self, info: &Info, draw: &Draw) -> Info {
        match drawn(draw) {
            Some((width, height)) => Info { width, height, ..*info },
            None => *info,
        }
    }

    fn lower(&self, draw: &Draw) -> Lowered {
        match drawn(draw) {
            Some(size) => Lowered::Geometry(Geometry { resize: Some(size), ..Geometry::default() }),
            None => Lowered::Custom,
        }
    }

    fn apply(&self, draw: &Draw, media: Media, tools: &mut Tools) -> Result<Media, Fault> {
        match drawn(draw) {
            Some(size) => pixels::moved("resize", Geometry { resize: Some(size), ..Geometry::default() }, media, tools),
            None => Err(Fault::new(Reason::Corrupt, "resize: a picture without pixels")),
        }
    }

    fn labels(&self, draw: &Draw, info: &Info, labels: &mut Labels) -> Result<(), Fault> {
        if let Some(to) = drawn(draw) {
            pixels::resize_boxes(labels, (info.width, info.height), to);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longer_side_is_truncated() {
        assert_eq!(shorter_side(96, 128, 56), (56, 74));
        assert_eq!(shorter_side(101, 75, 31), (41, 31));
        assert_eq!(shorter_side(100, 100, 7), (7, 7));
        assert_eq!(shorter_side(1, u32::MAX, 224), (224, u32::MAX));
    }
}
