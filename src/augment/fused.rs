//! The fused way of pictures and clips: one decode of the region that is needed, resizes into buffers that are kept, and
//! one last pass into the batch.
//!
//! Walking the draws gives a [`Program`] before anything is decoded. Crops and mirrors only move a view; a resize (of no more than a later crop
//! leaves of it), and what is beyond a picture, make pixels; everything that changes values or axes is left to the last pass. What is known only as
//! [`Lowered::Custom`] ends the program, and the rest runs on owned media.

use smallvec::SmallVec;

use super::chain::{Chain, Drawn, Job};
use super::pass::{self, Finish, Level, View};
use super::scale::{Part, Scaler};
use super::slot::SlotMut;
use super::{Elements, Geometry, Lowered, Media, Output, Raster, Store, Tools, run, to};
use crate::clock::Mark;
use crate::codec::{Decoded, Pixels, Rect, Want, decode_shown};
use crate::data::info::Kind;
use crate::data::tensor::{DType, Layout};
use crate::error::{Fault, Reason};

/// A region of some pixels, perhaps mirrored.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Window {
    rect: Rect,
    mirror: bool,
}

/// What makes new pixels of a window.
#[derive(Debug)]
enum Make {
    /// They are resized.
    Resize,
    /// They are resized, and this is what is used of the outcome.
    Part(Part),
    /// They are laid at a place (x, y) of a picture of one color.
    Border((u32, u32), [u8; 3]),
}

/// What of the pixels goes into a step that makes new ones, how, and the size (width, height) that comes out.
type Step = (Window, Make, (u32, u32));

/// What happens to each frame.
#[derive(Debug)]
struct Program {
    /// What makes new pixels, in order.
    steps: SmallVec<[Step; 2]>,
    /// What of the last pixels is written.
    last: Window,
    /// How it is written.
    finish: Finish,
    /// The first operation that is not in the program.
    next: usize,
}

impl Program {
    /// The region of the payload's pixels that is needed.
    fn region(&self) -> Rect {
        self.steps.first().map_or(self.last.rect, taken)
    }

    /// Where a resize's outcome is cropped, only that part of it is made.
    fn trim(&mut self) {
        for i in (0..self.steps.len()).rev() {
            let used = self.steps.get(i + 1).map_or(self.last.rect, taken);
            let (window, make, to) = &mut self.steps[i];
            let from = (window.rect.width, window.rect.height);
            let less = (used.width, used.height) != *to && from.0 != to.0 && from.1 != to.1;
            if matches!(make, Make::Resize) && !window.mirror && less {
                *make = Make::Part(Part { from, to: *to, rect: used });
            }
        }
    }

    fn new(chain: &Chain, drawn: &Drawn) -> Result<Self, Fault> {
        let whole = |width, height| Window { rect: Rect { x: 0, y: 0, width, height }, mirror: false };
        let mut program = Program {
            steps: SmallVec::new(),
            last: whole(drawn.source.width, drawn.source.height),
            finish: Finish::PIXELS,
            next: chain.steps.len(),
        };
        for (i, (step, draw)) in chain.steps.iter().zip(&drawn.draws).enumerate() {
            let floats = program.finish.affine.is_some();
            match step.op.lower(draw) {
                Lowered::Keep | Lowered::Frames(_) => {}
                Lowered::Geometry(Geometry { crop, resize, mirror }) if resize.is_none() || !floats => {
                    if let Some(crop) = crop {
                        program.last = inside(program.last, crop, &step.path)?;
                    }
                    let Rect { width, height, .. } = program.last.rect;
                    if let Some(to) = resize.filter(|to| *to != (width, height)) {
                        program.steps.push((program.last, Make::Resize, to));
                        program.last = whole(to.0, to.1);
                    }
                    program.last.mirror ^= mirror;
                }
                Lowered::Canvas(canvas) if !floats => {
                    let Rect { width, height, .. } = program.last.rect;
                    let (part, at) = canvas.inside(width, height).ok_or_else(|| {
                        Fault::new(Reason::Corrupt, format!("{}: a region beyond its picture: {canvas:?}", step.path))
                    })?;
                    program.last = inside(program.last, part, &step.path)?;
                    let to = (canvas.width, canvas.height);
                    if (part.width, part.height) != to {
                        program.steps.push((program.last, Make::Border(at, canvas.fill), to));
                        program.last = whole(to.0, to.1);
                    }
                }
                Lowered::Affine { scale, bias } if !floats => program.finish.affine = Some((scale, bias)),
                // What is narrower than f32 is at its end: whatever else is to become of it goes the long way.
                Lowered::Output { store, layout, unit }
                    if !(floats && unit) && (store.is_none() || program.finish.store == Store::F32) =>
                {
                    if let Some(store) = store {
                        let factor = if unit { to::UNIT } else { 1.0 };
                        program.finish.affine.get_or_insert(([factor; 3], [0.0; 3]));
                        program.finish.store = store;
                    }
                    program.finish.layout = layout.unwrap_or(program.finish.layout);
                }
                _ => {
                    program.next = i;
                    break;
                }
            }
        }
        if program.last.rect.width == 0 || program.last.rect.height == 0 {
            return Err(Fault::new(Reason::Corrupt, "a picture without pixels"));
        }
        program.trim();
        Ok(program)
    }

    /// Runs the program on every frame of `pixels`, whose first pixel is at `origin` of the payload's picture, into
    /// `out`: one region of `frame` bytes after the other, with planes of `plane` (height, width).
    fn write(
        &self,
        pixels: &Pixels<'_>,
        scaler: &mut Scaler,
        plane: (usize, usize),
        out: &mut [u8],
    ) -> Result<(), Fault> {
        let level = Level::best();
        let (width, height) = (pixels.width as usize, pixels.height as usize);
        let frame = plane.0 * plane.1 * 3 * self.finish.dtype().size();
        let frames = pixels.data.chunks_exact((width * height * 3).max(1));
        let (mut front, mut back) = (std::mem::take(&mut scaler.front), std::mem::take(&mut scaler.back));
        for (data, out) in frames.zip(out.chunks_exact_mut(frame.max(1))) {
            let mut at = (width, height, pixels.origin);
            for (i, step) in self.steps.iter().enumerate() {
                let (window, make, to) = step;
                let data = if i == 0 { data } else { &front };
                let mut made = Rect { x: 0, y: 0, width: to.0, height: to.1 };
                match make {
                    Make::Resize => scale(scaler, view(data, at, *window), at.1, *to, &mut back)?,
                    Make::Part(part) => {
                        let (stride, rows, origin) = at;
                        let Rect { x, y, .. } = taken(step);
                        let place = ((x - origin.0) as usize, (y - origin.1) as usize);
                        let columns = scaler.resize_part((data, stride, rows), place, part, &mut back)?;
                        made = Rect { x: columns.0, width: columns.1, ..part.rect };
                    }
                    Make::Border(place, fill) => border(view(data, at, *window), *place, *fill, *to, &mut back),
                }
                std::mem::swap(&mut front, &mut back);
                at = (made.width as usize, made.height as usize, (made.x, made.y));
            }
            let from = if self.steps.is_empty() { data } else { &front };
            pass::write(level, view(from, at, self.last), self.finish, plane, out);
        }
        (scaler.front, scaler.back) = (front, back);
        Ok(())
    }
}

/// What a step reads of the pixels below it.
fn taken((window, make, _): &Step) -> Rect {
    match make {
        Make::Part(part) => {
            let takes = part.takes();
            Rect { x: window.rect.x + takes.x, y: window.rect.y + takes.y, ..takes }
        }
        _ => window.rect,
    }
}

/// A crop inside a window, in the coordinates of the pixels below both.
fn inside(window: Window, crop: Rect, path: &str) -> Result<Window, Fault> {
    let Rect { x, y, width, height } = window.rect;
    let right = u64::from(crop.x) + u64::from(crop.width);
    let below = u64::from(crop.y) + u64::from(crop.height);
    if crop.width == 0 || crop.height == 0 || right > u64::from(width) || below > u64::from(height) {
        return Err(super::pixels::outside(path, crop, width as usize, height as usize));
    }
    let left = if window.mirror { width - crop.x - crop.width } else { crop.x };
    let rect = Rect { x: x + left, y: y + crop.y, ..crop };
    Ok(Window { rect, mirror: window.mirror })
}

/// A window on pixels of some width whose first pixel is at an origin.
fn view(data: &[u8], (stride, _, origin): (usize, usize, (u32, u32)), window: Window) -> View<'_> {
    View {
        data,
        stride,
        x: (window.rect.x - origin.0) as usize,
        y: (window.rect.y - origin.1) as usize,
        width: window.rect.width as usize,
        height: window.rect.height as usize,
        mirror: window.mirror,
    }
}

/// Resizes a view; a mirrored one is written out first, for the filter's rounding has a direction.
fn scale(scaler: &mut Scaler, view: View<'_>, rows: usize, to: (u32, u32), out: &mut Vec<u8>) -> Result<(), Fault> {
    let mut rect = Rect { x: view.x as u32, y: view.y as u32, width: view.width as u32, height: view.height as u32 };
    if !view.mirror {
        return scaler.resize((view.data, view.stride, rows), rect, to, out);
    }
    let mut turned = std::mem::take(&mut scaler.turned);
    turned.resize(view.width * view.height * 3, 0);
    pass::write(Level::best(), view, Finish::PIXELS, (view.height, view.width), &mut turned);
    (rect.x, rect.y) = (0, 0);
    let done = scaler.resize((&turned, view.width, view.height), rect, to, out);
    scaler.turned = turned;
    done
}

/// Lays a view at a place (x, y) of a picture of one color.
fn border(view: View<'_>, (x, y): (u32, u32), fill: [u8; 3], (width, height): (u32, u32), out: &mut Vec<u8>) {
    let (width, height) = (width as usize, height as usize);
    out.clear();
    if fill == [fill[0]; 3] {
        out.resize(width * height * 3, fill[0]);
    } else {
        out.extend(fill.iter().cycle().take(width * height * 3));
    }
    let level = Level::best();
    let rows = out.chunks_exact_mut(width * 3).skip(y as usize);
    for (row, to) in rows.take(view.height).enumerate() {
        let row = View { y: view.y + row, height: 1, ..view };
        pass::write(level, row, Finish::PIXELS, (1, view.width), &mut to[x as usize * 3..][..view.width * 3]);
    }
}

impl Chain {
    /// The region of a picture that is decoded.
    pub(super) fn region(&self, drawn: &Drawn) -> Option<Rect> {
        let fused = self.kind == Kind::Image && self.fuse;
        fused.then(|| Program::new(self, drawn).ok().map(|program| program.region())).flatten()
    }

    /// Runs a chain of pictures or clips the fused way, and returns the lengths of the axes. `None`: this chain has none, and
    /// nothing was done.
    pub(super) fn run_fused(
        &self,
        drawn: &Drawn,
        job: Job<'_>,
        tools: &mut Tools,
        slot: &mut SlotMut<'_>,
        output: &Output,
        extents: &[usize],
    ) -> Result<Option<SmallVec<[usize; 4]>>, Fault> {
        if !self.fuse || !matches!(self.kind, Kind::Image | Kind::Video) {
            return Ok(None);
        }
        let program = Program::new(self, drawn)?;
        let still = self.kind == Kind::Image;
        let complete = program.next == self.steps.len();
        let picture = &slot.shape[usize::from(!still)..];
        let (plane, channels) = match (program.finish.layout, picture) {
            (Layout::Nhwc, &[down, across, channels]) => ((down, across), channels),
            (Layout::Nchw, &[channels, down, across]) => ((down, across), channels),
            _ => ((0, 0), 0),
        };
        if complete && channels != 3 {
            return Ok(None); // a slot with room for more channels: nothing that the last pass writes
        }
        let chosen = self.chosen(drawn);
        let region = program.region();
        let all = Rect { x: 0, y: 0, width: drawn.source.width, height: drawn.source.height };
        let want = match (&chosen, self.kind) {
            (Some(frames), _) => frames.want(),
            (None, Kind::Image) if region != all => Want::Image { region: Some(region) },
            _ => Want::Whole,
        };
        let Tools { scratch, own, decode_nanos } = tools;
        let mark = Mark::now();
        let decoded = decode_shown(job.codec, job.payload, want, &drawn.source, job.limits, scratch)?;
        *decode_nanos += mark.nanos();
        let Decoded::Pixels(pixels) = decoded else {
            return Err(Fault::new(Reason::WrongMedia, "the payload holds no pixels"));
        };
        if matches!(want, Want::Image { .. }) {
            run::frames(self.kind, &pixels, &drawn.source, None)?;
            covers(&pixels, region)?;
        } else {
            run::whole(self.kind, &pixels, &drawn.source, chosen.as_ref())?;
        }

        let (width, height) = (program.last.rect.width as usize, program.last.rect.height as usize);
        if complete {
            let dtype = program.finish.dtype();
            let mut made: SmallVec<[usize; 4]> =
                if still { SmallVec::new() } else { SmallVec::from_slice(&[pixels.frames]) };
            made.extend(match program.finish.layout {
                Layout::Nhwc => [height, width, 3],
                Layout::Nchw => [3, height, width],
            });
            if dtype != output.dtype || made.as_slice() != extents {
                return Err(super::chain::unlike(&Some((dtype, made.to_vec())), Some((output.dtype, extents))));
            }
            slot.pad(dtype, extents, output.pad);
            slot.numbers(output.beside, pixels.pts_us, pixels.frames)?;
            program.write(&pixels, own.state(), plane, slot.bytes)?;
            return Ok(Some(made));
        }

        let values = pixels.frames * width * height * 3;
        let dtype = program.finish.dtype();
        let mut bytes = vec![0; values * dtype.size()];
        program.write(&pixels, own.state(), (height, width), &mut bytes)?;
        let data = match dtype {
            DType::F32 => Elements::F32(bytemuck::pod_collect_to_vec(&bytes)),
            DType::F16 => Elements::F16(bytemuck::pod_collect_to_vec(&bytes)),
            DType::BF16 => Elements::BF16(bytemuck::pod_collect_to_vec(&bytes)),
            DType::I8 => Elements::I8(bytemuck::pod_collect_to_vec(&bytes)),
            _ => Elements::U8(bytes),
        };
        let raster = Raster { data, frames: pixels.frames, still, width, height, layout: program.finish.layout };
        let pts_us = pixels.pts_us.to_vec();
        let media = self.apply_from(program.next, drawn, Media::Raster(raster), tools)?;
        let made = self.finished(drawn, media)?;
        made.place(slot, output, &pts_us)?;
        Ok(Some(SmallVec::from_vec(made.shape)))
    }
}

/// Refuses a decode that gave less than the region.
fn covers(pixels: &Pixels<'_>, region: Rect) -> Result<(), Fault> {
    let (x, y) = pixels.origin;
    let end = |from: u32, length: u32| u64::from(from) + u64::from(length);
    if x <= region.x
        && y <= region.y
        && end(x, pixels.width) >= end(region.x, region.width)
        && end(y, pixels.height) >= end(region.y, region.height)
    {
        return Ok(());
    }
    let (w, h) = (pixels.width, pixels.height);
    Err(Fault::new(Reason::Corrupt, format!("decoding gave {w} x {h} pixels at ({x}, {y}), wanted was {region:?}")))
}
