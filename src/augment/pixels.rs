//! What the pixel operations share: sizes in recipes, motion of whole rasters (the reference), motion of boxes.

use serde::{Deserialize, Serialize};

use super::{Elements, Geometry, Media, Raster, Spec, Tools, each, refused};
use crate::augment::scale::Scaler;
use crate::codec::Rect;
use crate::data::label::{Labels, Objects};
use crate::data::tensor::{DType, Extent, Layout};
use crate::error::{Error, Fault, Reason, Result};

/// A size in a recipe: one number, or `[height, width]` as in PyTorch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged, expecting = "a size is a whole number of pixels or [height, width]")]
pub enum Size {
    /// One number; the operation says what it means.
    One(u32),
    /// `[height, width]`.
    Both([u32; 2]),
}

/// The largest side that an operation may be asked for.
const LARGEST: u32 = 1 << 16;

impl Size {
    /// Refuses sizes of nothing and sizes beyond reason.
    pub fn validate(self, op: &str) -> Result<()> {
        let [height, width] = self.square();
        if (1..=LARGEST).contains(&height) && (1..=LARGEST).contains(&width) {
            return Ok(());
        }
        Err(Error::config(
            format!("operation \"{op}\": size {height} x {width} is out of range"),
            format!("sides are 1 to {LARGEST} pixels: size = 224, or size = [height, width]"),
        ))
    }

    /// `[height, width]`, one number meaning a square.
    pub fn square(self) -> [u32; 2] {
        match self {
            Size::One(side) => [side, side],
            Size::Both(both) => both,
        }
    }
}

/// The spec of a raster whose picture becomes `height` x `width`; anything else is refused in the operation's name.
pub(super) fn sized(op: &str, input: &Spec, height: Extent, width: Extent) -> Result<Spec, Fault> {
    match input {
        Spec::Raster { frames, channels, dtype, layout, .. } => {
            Ok(Spec::Raster { frames: *frames, height, width, channels: *channels, dtype: *dtype, layout: *layout })
        }
        other => Err(refused(op, "pictures or clips", other.name())),
    }
}

/// Refuses what cannot be resized: only u8 pixels, channels last, as they are decoded.
pub(super) fn resizable(op: &str, input: &Spec) -> Result<(), Fault> {
    match input {
        Spec::Raster { dtype: DType::U8, layout: Layout::Nhwc, .. } => Ok(()),
        Spec::Raster { dtype, layout, .. } => Err(refused(
            op,
            "u8 pixels with channels last (put it in front of \"normalize\" and \"to\")",
            &format!("{} pixels in {layout:?}", dtype.name()),
        )),
        other => Err(refused(op, "pictures or clips", other.name())),
    }
}

/// The raster in some media, or a refusal in the operation's name.
pub(super) fn raster(op: &str, media: Media) -> Result<Raster, Fault> {
    match media {
        Media::Raster(raster) => Ok(raster),
        other => Err(refused(op, "pictures or clips", other.name())),
    }
}

/// Moves whole rasters: crop, then resize, then mirror. The reference of the fused way.
pub(super) fn moved(op: &str, geometry: Geometry, media: Media, tools: &mut Tools) -> Result<Media, Fault> {
    let mut raster = raster(op, media)?;
    if let Some(rect) = geometry.crop {
        raster = crop(op, &raster, rect)?;
    }
    if let Some((width, height)) = geometry.resize {
        raster = resize(op, raster, width as usize, height as usize, tools.state())?;
    }
    if geometry.mirror {
        mirror(&mut raster);
    }
    Ok(Media::Raster(raster))
}

/// Planes and the elements of one pixel in each: channels last is one plane of pixels, channels first three of values.
fn planes(raster: &Raster) -> (usize, usize) {
    match raster.layout {
        Layout::Nhwc => (raster.frames, 3),
        Layout::Nchw => (raster.frames * 3, 1),
    }
}

fn crop(op: &str, raster: &Raster, rect: Rect) -> Result<Raster, Fault> {
    let (x, y, width, height) = (rect.x as usize, rect.y as usize, rect.width as usize, rect.height as usize);
    if width == 0 || height == 0 || x + width > raster.width || y + height > raster.height {
        return Err(outside(op, rect, raster.width, raster.height));
    }
    let (planes, unit) = planes(raster);
    fn rows<T: Copy>(data: &[T], r: &Raster, at: (usize, usize), size: (usize, usize), p: (usize, usize)) -> Vec<T> {
        let mut out = Vec::with_capacity(p.0 * size.0 * size.1 * p.1);
        for plane in 0..p.0 {
            for row in at.1..at.1 + size.1 {
                let start = ((plane * r.height + row) * r.width + at.0) * p.1;
                out.extend_from_slice(&data[start..start + size.0 * p.1]);
            }
        }
        out
    }
    let (at, size, shape) = ((x, y), (width, height), (planes, unit));
    let data = each!(&raster.data, v => same rows(v, raster, at, size, shape));
    Ok(Raster { data, width, height, ..*raster })
}

/// The outcome of a crop that is not inside its picture.
pub(super) fn outside(op: &str, rect: Rect, width: usize, height: usize) -> Fault {
    let Rect { x, y, width: w, height: h } = rect;
    Fault::new(
        Reason::Corrupt,
        format!("{op}: the region {w} x {h} at ({x}, {y}) is not inside {width} x {height} pixels"),
    )
}

fn resize(op: &str, raster: Raster, width: usize, height: usize, scaler: &mut Scaler) -> Result<Raster, Fault> {
    if (width, height) == (raster.width, raster.height) {
        return Ok(raster);
    }
    let Elements::U8(bytes) = &raster.data else {
        return Err(refused(op, "u8 pixels", "others"));
    };
    let mut out = Vec::with_capacity(raster.frames * width * height * 3);
    let rect = Rect { x: 0, y: 0, width: raster.width as u32, height: raster.height as u32 };
    for frame in bytes.chunks_exact(raster.width * raster.height * 3) {
        let mut one = Vec::new();
        scaler.resize((frame, raster.width, raster.height), rect, (width as u32, height as u32), &mut one)?;
        out.extend_from_slice(&one);
    }
    Ok(Raster { data: Elements::U8(out), width, height, ..raster })
}

fn mirror(raster: &mut Raster) {
    fn rows<T>(data: &mut [T], row: usize, unit: usize) {
        for row in data.chunks_exact_mut(row.max(1)) {
            row.reverse(); // the values of a pixel too, so each is turned back
            row.chunks_exact_mut(unit).for_each(<[T]>::reverse);
        }
    }
    let (_, unit) = planes(raster);
    let row = raster.width * unit;
    each!(&mut raster.data, v => rows(v, row, unit));
}

/// The raster with its axes in the order of `layout`.
pub(super) fn permuted(raster: Raster, layout: Layout) -> Raster {
    if raster.layout == layout {
        return raster;
    }
    fn values<T: Copy>(data: &[T], frame: usize, pixels: usize, to: Layout) -> Vec<T> {
        let mut out = Vec::with_capacity(data.len());
        for frame in data.chunks_exact(frame.max(1)) {
            match to {
                Layout::Nchw => (0..3).for_each(|c| out.extend((0..pixels).map(|p| frame[p * 3 + c]))),
                Layout::Nhwc => (0..pixels).for_each(|p| out.extend((0..3).map(|c| frame[c * pixels + p]))),
            }
        }
        out
    }
    let pixels = raster.width * raster.height;
    let data = each!(&raster.data, v => same values(v, pixels * 3, pixels, layout));
    Raster { data, layout, ..raster }
}

/// `x * scale + bias` on u8 values, channel by channel: the product is rounded, then the sum.
pub(super) fn affine(raster: Raster, scale: [f32; 3], bias: [f32; 3]) -> Option<Raster> {
    let Elements::U8(values) = &raster.data else { return None };
    let pixels = (raster.width * raster.height).max(1);
    let channel = |i: usize| match raster.layout {
        Layout::Nhwc => i % 3,
        Layout::Nchw => i / pixels % 3,
    };
    let data = values.iter().enumerate().map(|(i, &x)| f32::from(x) * scale[channel(i)] + bias[channel(i)]).collect();
    Some(Raster { data: Elements::F32(data), ..raster })
}

/// Moves boxes into a crop: shifted, clipped to it, and dropped (class and all) where nothing is left.
pub(super) fn crop_boxes(labels: &mut Labels, rect: Rect) {
    let Some(objects) = &mut labels.objects else { return };
    let (x, y, width, height) = (rect.x as f32, rect.y as f32, rect.width as f32, rect.height as f32);
    let Objects { boxes, classes, attributes } = std::mem::take(objects);
    objects.attributes.resize_with(attributes.len(), Vec::new);
    for (i, [x0, y0, x1, y1]) in boxes.into_iter().enumerate() {
        let moved = [
            (x0 - x).clamp(0.0, width),
            (y0 - y).clamp(0.0, height),
            (x1 - x).clamp(0.0, width),
            (y1 - y).clamp(0.0, height),
        ];
        if moved[2] > moved[0] && moved[3] > moved[1] {
            objects.boxes.push(moved);
            objects.classes.extend(classes.get(i));
            for (kept, values) in objects.attributes.iter_mut().zip(&attributes) {
                kept.extend(values.get(i).cloned());
            }
        }
    }
}

/// Shifts boxes right and down, by pixels.
pub(super) fn move_boxes(labels: &mut Labels, (x, y): (f32, f32)) {
    for b in labels.objects.iter_mut().flat_map(|o| &mut o.boxes) {
        *b = [b[0] + x, b[1] + y, b[2] + x, b[3] + y];
    }
}

/// Scales boxes from one size (width, height) to another.
pub(super) fn resize_boxes(labels: &mut Labels, from: (u32, u32), to: (u32, u32)) {
    let factor = |to: u32, from: u32| (f64::from(to) / f64::from(from.max(1))) as f32;
    let (fx, fy) = (factor(to.0, from.0), factor(to.1, from.1));
    for b in labels.objects.iter_mut().flat_map(|o| &mut o.boxes) {
        *b = [b[0] * fx, b[1] * fy, b[2] * fx, b[3] * fy];
    }
}

/// Mirrors boxes in a picture of this width.
pub(super) fn mirror_boxes(labels: &mut Labels, width: u32) {
    let width = width as f32;
    for b in labels.objects.iter_mut().flat_map(|o| &mut o.boxes) {
        *b = [width - b[2], b[1], width - b[0], b[3]];
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::label::Value;

    fn raster(layout: Layout) -> Raster {
        let data = Elements::U8((0..2 * 2 * 3 * 3).collect());
        Raster { data, frames: 2, still: false, width: 3, height: 2, layout }
    }

    #[test]
    fn axes_go_there_and_back() {
        let there = permuted(raster(Layout::Nhwc), Layout::Nchw);
        assert_eq!(there.data, {
            let plane = |f: u8, c: u8| (0..6).map(move |p| f * 18 + p * 3 + c);
            Elements::U8((0..2).flat_map(|f| (0..3).flat_map(move |c| plane(f, c))).collect())
        });
        assert_eq!(permuted(there, Layout::Nhwc), raster(Layout::Nhwc));
    }

    #[test]
    fn motion_commutes_with_the_order_of_the_axes() {
        let rect = Rect { x: 1, y: 0, width: 2, height: 1 };
        let geometry = Geometry { crop: Some(rect), resize: None, mirror: true };
        let last = moved("t", geometry, Media::Raster(raster(Layout::Nhwc)), &mut Tools::default()).unwrap();
        let first = permuted(raster(Layout::Nhwc), Layout::Nchw);
        let first = moved("t", geometry, Media::Raster(first), &mut Tools::default()).unwrap();
        let Media::Raster(first) = first else { panic!() };
        assert_eq!(Media::Raster(permuted(first, Layout::Nhwc)), last);
        let Elements::U8(got) = last.into_elements() else { panic!() };
        assert_eq!(got, [6, 7, 8, 3, 4, 5, 24, 25, 26, 21, 22, 23]);
    }

    #[test]
    fn boxes_move_clip_and_vanish() {
        let attributes = vec![vec![Value::Int(1), Value::Int(2)]];
        let boxes = vec![[0.0, 0.0, 10.0, 10.0], [30.0, 30.0, 40.0, 40.0]];
        let objects = Objects { boxes, classes: vec![7, 8], attributes };
        let mut labels = Labels { objects: Some(objects) };
        crop_boxes(&mut labels, Rect { x: 5, y: 2, width: 20, height: 20 });
        assert_eq!(labels.objects.as_ref().unwrap().boxes, [[0.0, 0.0, 5.0, 8.0]]);
        assert_eq!(labels.objects.as_ref().unwrap().classes, [7]);
        assert_eq!(labels.objects.as_ref().unwrap().attributes, [[Value::Int(1)]]);
        resize_boxes(&mut labels, (20, 20), (40, 10));
        mirror_boxes(&mut labels, 40);
        assert_eq!(labels.objects.unwrap().boxes, [[30.0, 0.0, 40.0, 4.0]]);
    }
}
