//! `random_crop`: a region of a fixed size at a random place, of a picture that may be padded around first; drawn as torchvision's `RandomCrop`
//! draws it (`padding`, `pad_if_needed`, `fill`; its mode "constant").

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::pixels::{self, Size};
use super::{Canvas, Draw, Elements, Lowered, Media, Op, OpEntry, Raster, Spec, Tools};
use crate::codec::Rect;
use crate::data::info::Info;
use crate::data::label::Labels;
use crate::data::tensor::Extent;
use crate::error::{Error, Fault, Reason, Result};
use crate::rng::Key;

/// Crops a region of `size`, every place of which within the padded picture is as likely.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RandomCrop {
    /// One number for a square, or `[height, width]`, in pixels.
    pub size: Size,
    /// Pixels that are added on each side; `[down, across]`: above and below, left and right.
    #[serde(default = "none")]
    pub padding: Size,
    /// Pads a picture that is smaller than `size` further, by what it lacks on either side, as torchvision does; else it is a fault.
    #[serde(default)]
    pub pad_if_needed: bool,
    /// The value of what is added, 0 to 255: one number, or one for each of red, green and blue.
    #[serde(default)]
    pub fill: Fill,
}

/// The color of what is added around a picture.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged, expecting = "a fill is a whole number from 0 to 255 or [red, green, blue]")]
pub enum Fill {
    /// A gray.
    Gray(u8),
    /// Red, green, blue.
    Color([u8; 3]),
}

impl Default for Fill {
    fn default() -> Self {
        Fill::Gray(0)
    }
}

impl Fill {
    fn color(self) -> [u8; 3] {
        match self {
            Fill::Gray(value) => [value; 3],
            Fill::Color(color) => color,
        }
    }
}

fn none() -> Size {
    Size::One(0)
}

const NAME: &str = "random_crop";

/// The table's row.
pub const ENTRY: OpEntry = OpEntry {
    name: NAME,
    version: 1,
    summary: "a region of a fixed size anywhere in the picture: size, padding = 0, pad_if_needed = false, fill = 0",
    build: |params| {
        let op: RandomCrop = super::parse(NAME, params)?;
        op.validate()?;
        Ok(Arc::new(op))
    },
    example: r#"{"size": 24, "padding": 4}"#,
};

impl RandomCrop {
    fn validate(&self) -> Result<()> {
        self.size.validate(NAME)?;
        let ([height, width], [down, across]) = (self.size.square(), self.padding.square());
        if down >= height || across >= width {
            return Err(Error::config(
                format!(
                    "operation \"{NAME}\": a padding of {down} x {across} for a region of {height} x {width} (h x w)"
                ),
                "a region must not lie in the padding alone: padding is less than size",
            ));
        }
        Ok(())
    }

    /// Padding above and below, and left and right, of a picture.
    fn padding(&self, info: &Info) -> (u32, u32) {
        let ([height, width], [down, across]) = (self.size.square(), self.padding.square());
        let more = |side: u32, padding: u32, wanted: u32| {
            let there = u64::from(side) + 2 * u64::from(padding);
            let lacks = u64::from(wanted).saturating_sub(there) as u32;
            if self.pad_if_needed { padding + lacks } else { padding }
        };
        (more(info.height, down, height), more(info.width, across, width))
    }

    /// The region that a draw chose: its left upper corner, in the picture's coordinates, which is above or beside the picture where it is padded.
    fn canvas(&self, draw: &Draw) -> Option<Canvas> {
        let Draw::Numbers(numbers) = draw else { return None };
        let &[x, y] = numbers.as_slice() else { return None };
        let [height, width] = self.size.square();
        Some(Canvas { x: x as i64, y: y as i64, width, height, fill: self.fill.color() })
    }

    fn too_small(&self, width: usize, height: usize) -> Fault {
        let ([h, w], [down, across]) = (self.size.square(), self.padding.square());
        Fault::new(
            Reason::WrongMedia,
            format!(
                "{NAME} wants {h} x {w} pixels (h x w) of a picture of {height} x {width} with {down} x {across} around it: set pad_if_needed, \
                 or put a \"resize\" in front of it"
            ),
        )
    }
}

impl Op for RandomCrop {
    fn spec(&self, input: &Spec) -> Result<Spec, Fault> {
        pixels::resizable(NAME, input)?;
        let [h, w] = self.size.square().map(|n| n as usize);
        if let Spec::Raster { height, width, .. } = input
            && !self.pad_if_needed
        {
            let [down, across] = self.padding.square().map(|n| 2 * n as usize);
            let small = |extent: &Extent, more, size| matches!(extent, Extent::Fixed(n) if *n + more < size);
            if small(height, down, h) || small(width, across, w) {
                let takes = format!("at least {h} x {w} pixels (h x w) with their padding");
                return Err(super::refused(NAME, &takes, &input.to_string()));
            }
        }
        pixels::sized(NAME, input, Extent::Fixed(h), Extent::Fixed(w))
    }

    fn is_random(&self) -> bool {
        true
    }

    fn draw(&self, info: &Info, key: Key) -> Draw {
        let ([height, width], (down, across)) = (self.size.square(), self.padding(info));
        let spare = |side: u32, padding: u32, wanted: u32| {
            (u64::from(side) + 2 * u64::from(padding)).checked_sub(u64::from(wanted)).filter(|_| side > 0)
        };
        let (Some(free_y), Some(free_x)) = (spare(info.height, down, height), spare(info.width, across, width)) else {
            return Draw::None;
        };
        let mut stream = key.stream();
        let mut place = |free: u64, padding: u32| stream.below(free + 1) as f64 - f64::from(padding);
        let (y, x) = (place(free_y, down), place(free_x, across));
        Draw::Numbers([x, y].into_iter().collect())
    }

    fn facts(&self, info: &Info, _draw: &Draw) -> Info {
        let [height, width] = self.size.square();
        Info { width, height, ..*info }
    }

    fn lower(&self, draw: &Draw) -> Lowered {
        self.canvas(draw).map_or(Lowered::Custom, Lowered::Canvas)
    }

    fn apply(&self, draw: &Draw, media: Media, _tools: &mut Tools) -> Result<Media, Fault> {
        let raster = pixels::raster(NAME, media)?;
        let canvas = self.canvas(draw).ok_or_else(|| self.too_small(raster.width, raster.height))?;
        let Elements::U8(values) = &raster.data else {
            return Err(super::refused(NAME, "u8 pixels", "others"));
        };
        let (width, height) = (canvas.width as usize, canvas.height as usize);
        let mut out = Vec::with_capacity(raster.frames * width * height * 3);
        for frame in values.chunks_exact((raster.width * raster.height * 3).max(1)) {
            for (y, x) in (0..height).flat_map(|y| (0..width).map(move |x| (y, x))) {
                let at =
                    |from: i64, by: usize, all: usize| usize::try_from(from + by as i64).ok().filter(|at| *at < all);
                let pixel = at(canvas.y, y, raster.height).zip(at(canvas.x, x, raster.width));
                match pixel.map(|(row, column)| (row * raster.width + column) * 3) {
                    Some(start) => out.extend_from_slice(&frame[start..start + 3]),
                    None => out.extend_from_slice(&canvas.fill),
                }
            }
        }
        Ok(Media::Raster(Raster { data: Elements::U8(out), width, height, ..raster }))
    }

    fn labels(&self, draw: &Draw, _info: &Info, labels: &mut Labels) -> Result<(), Fault> {
        if let Some(Canvas { x, y, width, height, .. }) = self.canvas(draw) {
            pixels::move_boxes(labels, (-x as f32, -y as f32));
            pixels::crop_boxes(labels, Rect { x: 0, y: 0, width, height });
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::info::Format;

    fn op(size: u32, padding: u32, pad_if_needed: bool) -> RandomCrop {
        RandomCrop { size: Size::One(size), padding: Size::One(padding), pad_if_needed, fill: Fill::Color([7, 8, 9]) }
    }

    fn picture(width: u32, height: u32) -> (Info, Media) {
        let data = Elements::U8((0..width * height * 3).map(|v| 100 + (v % 100) as u8).collect());
        let (width, height) = (width as usize, height as usize);
        let raster = Raster { data, frames: 1, still: true, width, height, layout: crate::data::tensor::Layout::Nhwc };
        (Info { width: width as u32, height: height as u32, ..Info::of(Format::Png) }, Media::Raster(raster))
    }

    #[test]
    fn every_place_of_the_padded_picture_comes() {
        let (info, _) = picture(6, 5);
        let mut places = std::collections::BTreeSet::new();
        for seed in 0..2_000 {
            let canvas = op(4, 2, false).canvas(&op(4, 2, false).draw(&info, Key::new(seed))).unwrap();
            places.insert((canvas.x, canvas.y));
        }
        let want = (-2..=4).flat_map(|x| (-2..=3).map(move |y| (x, y))).collect();
        assert_eq!(places, want);
    }

    #[test]
    fn what_is_no_picture_has_the_fill() {
        let (info, media) = picture(3, 2);
        let crop = op(4, 0, true);
        // 1 across and 2 down on either side: the picture is whole in every region.
        for seed in 0..50 {
            let draw = crop.draw(&info, Key::new(seed));
            assert_eq!(crop.padding(&info), (2, 1));
            let (inside, (left, top)) = crop.canvas(&draw).unwrap().inside(3, 2).unwrap();
            assert_eq!((inside.width, inside.height), (3, 2));
            let Media::Raster(out) = crop.apply(&draw, media.clone(), &mut Tools::default()).unwrap() else { panic!() };
            let Elements::U8(out) = out.data else { panic!() };
            let filled = out.as_chunks::<3>().0.iter().filter(|pixel| **pixel == [7, 8, 9]).count();
            assert_eq!(filled, 16 - 6);
            let first = (top as usize * 4 + left as usize) * 3;
            assert_eq!(out[first..first + 3], [100, 101, 102]);
        }
    }

    #[test]
    fn what_does_not_fit_says_what_to_do() {
        let (info, media) = picture(3, 2);
        let crop = op(6, 1, false);
        let draw = crop.draw(&info, Key::new(0));
        assert_eq!(draw, Draw::None);
        let fault = crop.apply(&draw, media, &mut Tools::default()).unwrap_err().message;
        assert!(fault.contains("pad_if_needed") && fault.contains("6 x 6") && fault.contains("2 x 3"), "{fault}");
        for wrong in [r#"{"size": 4, "padding": 4}"#, r#"{"size": 4, "fill": 256}"#, r#"{"padding": 4}"#] {
            assert!((ENTRY.build)(&serde_json::from_str(wrong).unwrap()).is_err(), "{wrong}");
        }
    }

    #[test]
    fn boxes_move_with_the_padding() {
        use crate::data::label::Objects;
        let crop = op(4, 2, false);
        let (info, _) = picture(6, 5);
        for seed in 0..40 {
            let draw = crop.draw(&info, Key::new(seed));
            let canvas = crop.canvas(&draw).unwrap();
            let objects = Objects { boxes: vec![[0.0, 0.0, 6.0, 5.0]], classes: vec![1], attributes: Vec::new() };
            let mut labels = Labels { objects: Some(objects) };
            crop.labels(&draw, &info, &mut labels).unwrap();
            let (inside, (left, top)) = canvas.inside(6, 5).unwrap();
            let want = [left, top, left + inside.width, top + inside.height].map(|v| v as f32);
            assert_eq!(labels.objects.unwrap().boxes, [want]);
        }
    }

    /// Frozen: a change here changes every user's data, so raise the operation's version with it.
    #[test]
    fn draws_are_frozen() {
        let info = Info { width: 32, height: 32, ..Info::of(Format::Jpeg) };
        let at = |seed| op(32, 4, false).canvas(&op(32, 4, false).draw(&info, Key::new(seed))).unwrap();
        // From the padded picture's corner.
        assert_eq!([0, 1, 2, 3].map(at).map(|c| (c.x + 4, c.y + 4)), [(6, 5), (8, 3), (0, 3), (5, 6)]);
    }
}
