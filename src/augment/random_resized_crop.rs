//! `random_resized_crop`: a region of random area and aspect, resized (the "Inception" crop: Szegedy et al.,
//! "Going Deeper with Convolutions", CVPR 2015), drawn by the procedure of torchvision's `RandomResizedCrop.get_params`.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::pixels::{self, Size};
use super::{Draw, Geometry, Lowered, Media, Op, OpEntry, Spec, Tools};
use crate::codec::Rect;
use crate::data::info::Info;
use crate::data::label::Labels;
use crate::data::tensor::Extent;
use crate::error::{Error, Fault, Result};
use crate::rng::Key;

/// Crops a random region and resizes it, antialiased bilinear. The logarithm and exponential are `libm`'s, so that every
/// machine draws the same.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RandomResizedCrop {
    /// One number for a square, or `[height, width]`, in pixels.
    pub size: Size,
    /// The least and greatest share of the picture's area.
    #[serde(default = "default_scale")]
    pub scale: [f64; 2],
    /// The least and greatest width / height of the region.
    #[serde(default = "default_ratio")]
    pub ratio: [f64; 2],
}

fn default_scale() -> [f64; 2] {
    [0.08, 1.0]
}

fn default_ratio() -> [f64; 2] {
    [3.0 / 4.0, 4.0 / 3.0]
}

const NAME: &str = "random_resized_crop";

/// The table's row.
pub const ENTRY: OpEntry = OpEntry {
    name: NAME,
    version: 1,
    summary: "a region of random area and aspect, resized: size, scale = [0.08, 1], ratio = [3/4, 4/3]",
    build: |params| {
        let op: RandomResizedCrop = super::parse(NAME, params)?;
        op.validate()?;
        Ok(Arc::new(op))
    },
    example: r#"{"size": 24, "scale": [0.2, 1.0]}"#,
};

impl RandomResizedCrop {
    fn validate(&self) -> Result<()> {
        self.size.validate(NAME)?;
        let [least, most] = self.scale;
        if !(least > 0.0 && least <= most && most <= 1.0) {
            return Err(Error::config(
                format!("operation \"{NAME}\": scale {:?} is not a range of shares", self.scale),
                "scale = [least, greatest] with 0 < least <= greatest <= 1",
            ));
        }
        let [least, most] = self.ratio;
        if !(least >= 0.01 && least <= most && most <= 100.0) {
            return Err(Error::config(
                format!("operation \"{NAME}\": ratio {:?} is not a range of width / height", self.ratio),
                "ratio = [least, greatest] with 0.01 <= least <= greatest <= 100",
            ));
        }
        Ok(())
    }

    /// torchvision's procedure: ten tries, then the largest central region within the ratios.
    fn region(&self, info: &Info, key: Key) -> Rect {
        let mut stream = key.stream();
        let (width, height) = (f64::from(info.width), f64::from(info.height));
        let (low, high) = (libm::log(self.ratio[0]), libm::log(self.ratio[1]));
        for _ in 0..10 {
            let area = width * height * stream.uniform(self.scale[0], self.scale[1]);
            let aspect = libm::exp(stream.uniform(low, high));
            let w = (area * aspect).sqrt().round_ties_even();
            let h = (area / aspect).sqrt().round_ties_even();
            if w > 0.0 && w <= width && h > 0.0 && h <= height {
                let (w, h) = (w as u32, h as u32);
                let y = stream.below(u64::from(info.height - h) + 1) as u32;
                let x = stream.below(u64::from(info.width - w) + 1) as u32;
                return Rect { x, y, width: w, height: h };
            }
        }
        let (mut w, mut h) = (info.width, info.height);
        let aspect = width / height;
        if aspect < self.ratio[0] {
            h = ((width / self.ratio[0]).round_ties_even() as u32).clamp(1, info.height);
        } else if aspect > self.ratio[1] {
            w = ((height * self.ratio[1]).round_ties_even() as u32).clamp(1, info.width);
        }
        Rect { x: (info.width - w) / 2, y: (info.height - h) / 2, width: w, height: h }
    }

    fn geometry(&self, rect: Rect) -> Geometry {
        let [height, width] = self.size.square();
        Geometry { crop: Some(rect), resize: Some((width, height)), mirror: false }
    }
}

impl Op for RandomResizedCrop {
    fn spec(&self, input: &Spec) -> Result<Spec, Fault> {
        pixels::resizable(NAME, input)?;
        let [height, width] = self.size.square().map(|n| Extent::Fixed(n as usize));
        pixels::sized(NAME, input, height, width)
    }

    fn is_random(&self) -> bool {
        true
    }

    fn draw(&self, info: &Info, key: Key) -> Draw {
        if info.width == 0 || info.height == 0 {
            return Draw::None;
        }
        Draw::Rect(self.region(info, key))
    }

    fn facts(&self, info: &Info, _draw: &Draw) -> Info {
        let [height, width] = self.size.square();
        Info { width, height, ..*info }
    }

    fn lower(&self, draw: &Draw) -> Lowered {
        match draw {
            Draw::Rect(rect) => Lowered::Geometry(self.geometry(*rect)),
            _ => Lowered::Custom,
        }
    }

    fn apply(&self, draw: &Draw, media: Media, tools: &mut Tools) -> Result<Media, Fault> {
        match draw {
            Draw::Rect(rect) => pixels::moved(NAME, self.geometry(*rect), media, tools),
            other => Err(super::foreign(NAME, other)),
        }
    }

    fn labels(&self, draw: &Draw, _info: &Info, labels: &mut Labels) -> Result<(), Fault> {
        if let Draw::Rect(rect) = draw {
            let [height, width] = self.size.square();
            pixels::crop_boxes(labels, *rect);
            pixels::resize_boxes(labels, (rect.width, rect.height), (width, height));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::info::Format;

    fn op(ratio: [f64; 2]) -> RandomResizedCrop {
        RandomResizedCrop { size: Size::One(8), scale: default_scale(), ratio }
    }

    #[test]
    fn regions_are_inside_and_spread() {
        let info = Info { width: 97, height: 41, ..Info::of(Format::Png) };
        let (mut least, mut most) = (1.0f64, 0.0f64);
        for i in 0..2000 {
            let r = op(default_ratio()).region(&info, Key::new(i));
            assert!(r.width > 0 && r.height > 0 && r.x + r.width <= 97 && r.y + r.height <= 41);
            let share = f64::from(r.width * r.height) / (97.0 * 41.0);
            (least, most) = (least.min(share), most.max(share));
        }
        assert!(least < 0.1 && most > 0.5, "{least} {most}");
    }

    #[test]
    fn what_fits_never_is_cut_from_the_middle() {
        let narrow = Info { width: 2, height: 400, ..Info::of(Format::Png) };
        let r = op([3.0 / 4.0, 4.0 / 3.0]).region(&narrow, Key::new(1));
        assert_eq!(r, Rect { x: 0, y: 198, width: 2, height: 3 });
        let one = Info { width: 1, height: 1, ..Info::of(Format::Png) };
        assert_eq!(op([1.0, 1.0]).region(&one, Key::new(1)), Rect { x: 0, y: 0, width: 1, height: 1 });
    }

    /// Frozen: a change here changes every user's data, so raise the operation's version with it.
    #[test]
    fn draws_are_frozen() {
        let info = Info { width: 500, height: 375, ..Info::of(Format::Jpeg) };
        let drawn = [0, 1, 2].map(|i| op(default_ratio()).region(&info, Key::new(i)));
        let drawn = drawn.map(|r| [r.x, r.y, r.width, r.height]);
        assert_eq!(drawn, [[80, 15, 378, 337], [142, 5, 318, 247], [137, 43, 255, 324]]);
    }
}
