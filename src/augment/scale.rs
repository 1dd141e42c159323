//! Antialiased bilinear resizing of RGB8, the pixels of `fast_image_resize`, within one level of Pillow's `BILINEAR`.
//!
//! The resizer sees a *sub-view* of the region, never a crop box: a box would let the filter read pixels beside the region,
//! which Pillow's and torchvision's crop-then-resize does not. Nor is there one where only a part of the result is wanted: a
//! box with fractions would round the filter's weights otherwise than the whole does.
//!
//! With AVX2 both passes are ours (`scale/avx2.rs`), and make the part alone. Elsewhere, and for the narrowest pictures, they are the library's, run one by
//! one where a part is wanted, each with the weights of the whole, on as few of the other axis's lines as the part takes. The bits are the same (tested).

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod weights;

use fast_image_resize::images::{TypedCroppedImage, TypedImage, TypedImageRef};
use fast_image_resize::pixels::U8x3;
use fast_image_resize::{FilterType, ImageView, ResizeAlg, ResizeOptions, Resizer};

#[cfg(target_arch = "x86_64")]
use super::pass::Level;
use crate::codec::Rect;
use crate::error::{Fault, Reason};

/// A thread's resizer and the buffers between resizes.
#[derive(Debug, Default)]
pub(super) struct Scaler {
    #[cfg(target_arch = "x86_64")]
    level: Level,
    resizer: Resizer,
    /// Pixels of the last resize, of the one before, and of a mirrored region.
    pub(super) front: Vec<u8>,
    pub(super) back: Vec<u8>,
    pub(super) turned: Vec<u8>,
    /// Rows between the two passes.
    middle: Vec<u8>,
    /// Where the rows begin that eight rows of the result take.
    #[cfg(target_arch = "x86_64")]
    starts: Vec<usize>,
    /// Across and down.
    #[cfg(target_arch = "x86_64")]
    axes: [weights::Axis; 2],
}

/// A part of what a resize makes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Part {
    /// The size of all that is resized, in pixels: (width, height).
    pub(super) from: (u32, u32),
    /// The size that all of it would get; on neither axis the one that it has.
    pub(super) to: (u32, u32),
    /// What of the result is wanted. Not empty, and inside it.
    pub(super) rect: Rect,
}

impl Part {
    /// The pixels that this takes: those that the filter reads (a triangle over the source's pixels in one of the result, at the least over
    /// one), and one more around them, so that nothing hangs on how a fraction is rounded.
    pub(super) fn takes(&self) -> Rect {
        let axis = |from: u32, to: u32, first: u32, count: u32| {
            let scale = f64::from(from) / f64::from(to.max(1));
            let radius = scale.max(1.0) + 1.0;
            let low = ((f64::from(first) + 0.5) * scale - radius).floor().max(0.0) as u32;
            let high =
                ((f64::from(first) + f64::from(count) - 0.5) * scale + radius).ceil().min(f64::from(from)) as u32;
            (low, high.saturating_sub(low))
        };
        let (x, width) = axis(self.from.0, self.to.0, self.rect.x, self.rect.width);
        let (y, height) = axis(self.from.1, self.to.1, self.rect.y, self.rect.height);
        Rect { x, y, width, height }
    }
}

/// A picture of which some rows are known. In place of the others stand the nearest of them: what comes of those is not used.
struct Known<'a> {
    /// Each known row begins `stride` pixels after the one before and has, with what lies behind it, the picture's width.
    pixels: &'a [U8x3],
    stride: usize,
    /// The picture's row that is the first known, and how many are.
    first: usize,
    rows: usize,
    width: u32,
    height: u32,
}

impl<'a> Known<'a> {
    /// `None`: there are not so many pixels.
    fn new(
        pixels: &'a [U8x3],
        stride: usize,
        (first, rows): (usize, usize),
        (width, height): (u32, u32),
    ) -> Option<Self> {
        let end = rows.checked_sub(1)?.checked_mul(stride)?.checked_add(width as usize)?;
        (end <= pixels.len()).then_some(Known { pixels, stride, first, rows, width, height })
    }
}

// SAFETY: a row is a slice of just the width.
unsafe impl ImageView for Known<'_> {
    type Pixel = U8x3;

    fn width(&self) -> u32 {
        self.width
    }

    fn height(&self) -> u32 {
        self.height
    }

    fn iter_rows(&self, start_row: u32) -> impl Iterator<Item = &[U8x3]> {
        (start_row as usize..self.height as usize).map(|row| {
            let row = row.saturating_sub(self.first).min(self.rows - 1);
            &self.pixels[row * self.stride..][..self.width as usize]
        })
    }
}

/// RGB8 pixels of a picture, as many as are there.
#[derive(Debug)]
struct Source<'a> {
    /// From the first pixel that is there, rows of `stride` bytes.
    bytes: &'a [u8],
    stride: usize,
    /// Where that is in the picture, and how much there is: at least one pixel.
    x: usize,
    y: usize,
    width: usize,
    height: usize,
}

impl<'a> Source<'a> {
    /// A region of a whole, `there`, of which an RGB8 picture `(bytes, width, height)` has the pixels, from its place (x, y) on. `None`: it has not, or the region is
    /// empty.
    fn new((bytes, width, height): (&'a [u8], usize, usize), (x, y): (usize, usize), there: Rect) -> Option<Self> {
        let (across, down) = (there.width as usize, there.height as usize);
        let inside = x.checked_add(across)? <= width && y.checked_add(down)? <= height && across > 0 && down > 0;
        let whole = width.checked_mul(height)?.checked_mul(3)? <= bytes.len();
        let bytes = bytes.get((y * width + x) * 3..).filter(|_| inside && whole)?;
        Some(Source { bytes, stride: width * 3, x: there.x as usize, y: there.y as usize, width: across, height: down })
    }

    /// Where a row of the picture begins, or the nearest that is there.
    #[cfg(target_arch = "x86_64")]
    fn row(&self, y: usize) -> usize {
        y.saturating_sub(self.y).min(self.height - 1) * self.stride
    }
}

impl Scaler {
    /// Resizes a region of an RGB8 picture `(bytes, width, height)` to `(width, height)`. `out` becomes exactly the result.
    pub(super) fn resize(
        &mut self,
        picture: (&[u8], usize, usize),
        rect: Rect,
        to: (u32, u32),
        out: &mut Vec<u8>,
    ) -> Result<(), Fault> {
        let wrong = |e: &dyn std::fmt::Display| Fault::new(Reason::Corrupt, format!("resize: {e}"));
        let from = (rect.width, rect.height);
        let all = Part { from, to, rect: Rect { x: 0, y: 0, width: to.0, height: to.1 } };
        let source = Source::new(picture, (rect.x as usize, rect.y as usize), Rect { x: 0, y: 0, ..rect });
        if from != to && source.is_some_and(|source| self.by_avx2(&source, &all, out)) {
            return Ok(());
        }
        let side = |n: usize| u32::try_from(n).map_err(|e| wrong(&e));
        let source = TypedImageRef::<U8x3>::from_buffer(side(picture.1)?, side(picture.2)?, picture.0);
        let source = source.map_err(|e| wrong(&e))?;
        let source = TypedCroppedImage::from_ref(&source, rect.x, rect.y, rect.width, rect.height);
        let source = source.map_err(|e| wrong(&e))?;
        out.resize(to.0 as usize * to.1 as usize * 3, 0);
        let mut target = TypedImage::<U8x3>::from_buffer(to.0, to.1, out).map_err(|e| wrong(&e))?;
        self.resizer.resize_typed(&source, &mut target, &options()).map_err(|e| wrong(&e))
    }

    /// Makes a part of what [`Scaler::resize`] would make of a picture, the same pixels. Of the picture only what the part takes is there: in an RGB8 picture
    /// `(bytes, width, height)`, from a place (x, y) on. `out` becomes the rows of the part. Returns which columns of the result they have, (first, count): all of the part's, at least.
    pub(super) fn resize_part(
        &mut self,
        picture: (&[u8], usize, usize),
        place: (usize, usize),
        part: &Part,
        out: &mut Vec<u8>,
    ) -> Result<(u32, u32), Fault> {
        let wrong = |e: &dyn std::fmt::Display| Fault::new(Reason::Corrupt, format!("resize: {e}"));
        let takes = part.takes();
        let short = || {
            let (_, width, height) = picture;
            wrong(&format_args!("{width} x {height} pixels, and {takes:?} is needed from {place:?} on"))
        };
        let source = Source::new(picture, place, takes).ok_or_else(short)?;
        if self.by_avx2(&source, part, out) {
            return Ok((part.rect.x, part.rect.width));
        }
        let side = |n: usize| u32::try_from(n).map_err(|e| wrong(&e));
        let (Rect { y: top, height: rows, .. }, stride) = (part.rect, source.stride / 3);
        let (across, down) = (source.width, source.height);
        let pixels = &source.bytes[..source.bytes.len() / 3 * 3];
        let pixels = TypedImageRef::<U8x3>::from_buffer(side(pixels.len() / 3)?, 1, pixels).map_err(|e| wrong(&e))?;
        let known = Known::new(pixels.pixels(), stride, (source.y, down), (takes.width, part.from.1));
        let known = known.ok_or_else(short)?;

        // Down first, as the library does with u8: all rows of the result, of the columns that are there. They lie in the buffer so that a row of all columns
        // can be cut out around each: what stands in the others' place is of other rows, and what comes of it is not used.
        let (before, high) = (source.x, part.to.1 as usize);
        let held = (high - 1) * across + (part.from.0 as usize).max(before + across);
        self.middle.resize(held * 3, 0);
        let target = &mut self.middle[before * 3..][..high * across * 3];
        let mut target = TypedImage::<U8x3>::from_buffer(takes.width, part.to.1, target).map_err(|e| wrong(&e))?;
        self.resizer.resize_typed(&known, &mut target, &options()).map_err(|e| wrong(&e))?;

        let middle = &self.middle[top as usize * across * 3..];
        let middle = TypedImageRef::<U8x3>::from_buffer(side(middle.len() / 3)?, 1, middle).map_err(|e| wrong(&e))?;
        let known = Known::new(middle.pixels(), across, (0, rows as usize), (part.from.0, rows)).ok_or_else(short)?;
        out.resize(part.to.0 as usize * rows as usize * 3, 0);
        let mut target = TypedImage::<U8x3>::from_buffer(part.to.0, rows, out).map_err(|e| wrong(&e))?;
        self.resizer.resize_typed(&known, &mut target, &options()).map_err(|e| wrong(&e))?;
        Ok((0, part.to.0))
    }

    /// Makes a part with AVX2; `false`: not here, and nothing was done.
    #[cfg(target_arch = "x86_64")]
    fn by_avx2(&mut self, source: &Source<'_>, part: &Part, out: &mut Vec<u8>) -> bool {
        let Rect { width, height, .. } = part.rect;
        if self.level != Level::Avx2 || source.width * 3 < avx2::CHUNK || width == 0 || height == 0 {
            return false;
        }
        out.resize(width as usize * height as usize * 3, 0);
        let between = (&mut self.middle, &mut self.starts);
        // SAFETY: the level is `Avx2` only where the CPU has it.
        unsafe { avx2::resize(source, part, &mut self.axes, between, out) };
        true
    }

    #[cfg(not(target_arch = "x86_64"))]
    fn by_avx2(&mut self, _: &Source<'_>, _: &Part, _: &mut Vec<u8>) -> bool {
        false
    }
}

/// Antialiased bilinear; three channels have no alpha.
fn options() -> ResizeOptions {
    ResizeOptions::new().resize_alg(ResizeAlg::Convolution(FilterType::Bilinear)).use_alpha(false)
}

#[cfg(test)]
mod tests {
    use fast_image_resize::CpuExtensions;

    use super::*;

    /// A scaler of each level that this CPU has: the library's, and ours.
    fn levels() -> Vec<(String, Scaler)> {
        let levels = [
            CpuExtensions::None,
            #[cfg(target_arch = "x86_64")]
            CpuExtensions::Sse4_1,
            #[cfg(target_arch = "x86_64")]
            CpuExtensions::Avx2,
            #[cfg(target_arch = "aarch64")]
            CpuExtensions::Neon,
        ];
        let library = levels.into_iter().filter(CpuExtensions::is_supported).map(|level| {
            let mut scaler = Scaler {
                #[cfg(target_arch = "x86_64")]
                level: Level::Portable,
                ..Scaler::default()
            };
            // SAFETY: only levels that this CPU supports.
            unsafe { scaler.resizer.set_cpu_extensions(level) };
            (format!("{level:?}"), scaler)
        });
        library.chain([("ours".into(), Scaler::default())]).collect()
    }

    /// Law 1: pixels are bit-equal on every CPU.
    #[test]
    fn every_level_gives_the_same_pixels() {
        let mut scalers = levels();
        let mut stream = crate::rng::Key::new(11).stream();
        for turn in 0..600 {
            let mut side = |most: u64| 1 + stream.below(most) as u32;
            let (mut width, mut height, mut to) = (side(190), side(190), (side(150), side(150)));
            match turn % 6 {
                // Sizes whose weights are halves and quarters, where a rounding has the most to say.
                0 => (width, height) = (to.0 * (1 << (turn / 6 % 3)), to.1 * 2),
                // Pictures that become many times smaller.
                3 => to = (side(9), side(9)),
                _ => {}
            }
            let extreme = turn % 5 == 0;
            let value = |bits: u64| if extreme { (bits & 1) as u8 * 255 } else { bits as u8 };
            let pixels: Vec<u8> = (0..width * height * 3).map(|_| value(stream.next_u64())).collect();
            let (x, y) = if turn % 2 == 0 { (0, 0) } else { (width / 7, height / 5) };
            let rect = Rect { x, y, width: width - x, height: height - y };
            // A side that stays.
            match turn % 12 {
                1 | 2 => to.0 = rect.width,
                4 | 5 => to.1 = rect.height,
                _ => {}
            }
            let mut reference: Option<Vec<u8>> = None;
            for (level, scaler) in &mut scalers {
                let mut out = Vec::new();
                scaler.resize((&pixels, width as usize, height as usize), rect, to, &mut out).unwrap();
                let reference = reference.get_or_insert_with(|| out.clone());
                assert!(out == *reference, "{width}x{height}, {rect:?} to {to:?}: {level}");
                // The same once more, with weights that are there, and only a part.
                let part =
                    Part { from: (rect.width, rect.height), to, rect: Rect { x: to.0 / 2, y: 0, width: 1, height: 1 } };
                if part.from.0 != to.0 && part.from.1 != to.1 {
                    let takes = part.takes();
                    let place = ((x + takes.x) as usize, (y + takes.y) as usize);
                    let picture = (&pixels[..], width as usize, height as usize);
                    let (first, _) = scaler.resize_part(picture, place, &part, &mut out).unwrap();
                    let at = |row: &[u8], first: u32| row[(part.rect.x - first) as usize * 3..][..3].to_vec();
                    assert_eq!(at(&out, first), at(reference, 0), "{level}, {part:?}");
                }
            }
        }
        assert!(scalers.len() > 1);
    }

    #[test]
    fn what_is_not_there_is_refused() {
        let pixels = [7; 40 * 40 * 3];
        let mut out = Vec::new();
        for (level, mut scaler) in levels() {
            for (width, height, rect) in [
                (40, 41, Rect { x: 0, y: 0, width: 40, height: 41 }),
                (40, 40, Rect { x: 1, y: 0, width: 40, height: 40 }),
                (40, 40, Rect { x: 0, y: 30, width: 40, height: 11 }),
            ] {
                let made = scaler.resize((&pixels, width, height), rect, (20, 20), &mut out);
                assert!(made.is_err(), "{level}: {rect:?} of {width} x {height}");
            }
        }
    }

    #[test]
    fn a_part_is_that_of_the_whole() {
        let mut stream = crate::rng::Key::new(12).stream();
        let (mut scalers, mut all, mut some) = (levels(), Vec::new(), Vec::new());
        for turn in 0..400 {
            let mut side = |most: u64| 1 + stream.below(most) as u32;
            let mut from = (side(300), side(300));
            let mut to = (side(200), side(200));
            // Sizes whose weights are halves and quarters, where a rounding has the most to say.
            if turn % 4 == 0 {
                to = (16 + side(40), 16 + side(40));
                from = (to.0 * (1 << (turn / 4 % 3)), to.1 * 2);
            }
            if from.0 == to.0 || from.1 == to.1 {
                continue;
            }
            let (width, height) = (side(u64::from(to.0)), side(u64::from(to.1)));
            let rect = Rect {
                x: side(u64::from(to.0 - width + 1)) - 1,
                y: side(u64::from(to.1 - height + 1)) - 1,
                width,
                height,
            };
            let pixels: Vec<u8> = (0..from.0 * from.1 * 3).map(|_| stream.next_u64() as u8).collect();
            let picture = (&pixels[..], from.0 as usize, from.1 as usize);
            scalers[0].1.resize(picture, Rect { x: 0, y: 0, width: from.0, height: from.1 }, to, &mut all).unwrap();
            // Only what it takes is there, with something else around.
            let part = Part { from, to, rect };
            let takes = part.takes();
            let (stride, rows) = (takes.width as usize + 3, takes.height as usize + 2);
            let mut there = vec![0xAA; stride * rows * 3];
            for (row, line) in there.chunks_exact_mut(stride * 3).skip(1).take(takes.height as usize).enumerate() {
                let at = ((takes.y as usize + row) * from.0 as usize + takes.x as usize) * 3;
                line[6..][..takes.width as usize * 3].copy_from_slice(&pixels[at..][..takes.width as usize * 3]);
            }
            for (level, scaler) in &mut scalers {
                let (first, count) = scaler.resize_part((&there, stride, rows), (2, 1), &part, &mut some).unwrap();
                assert!(first <= rect.x && first + count >= rect.x + rect.width, "{level}, {part:?}: {first}, {count}");
                // Ours makes the part alone: where it could, it did.
                let ours = level == "ours" && Level::best() != Level::Portable && takes.width * 3 >= 32;
                assert!(!ours || (first, count) == (rect.x, rect.width), "{part:?} was not made by AVX2");
                for (row, own) in some.chunks_exact(count as usize * 3).enumerate() {
                    let same = &all[(rect.y as usize + row) * to.0 as usize * 3..][..to.0 as usize * 3];
                    let columns = |from: u32| (rect.x - from) as usize * 3..(rect.x - from + rect.width) as usize * 3;
                    assert_eq!(own[columns(first)], same[columns(0)], "{level}, {part:?}, row {row}");
                }
                assert_eq!(some.len(), (count * height * 3) as usize);
                let short = (&there[..stride * 3], stride, 1);
                assert!(scaler.resize_part(short, (2, 1), &part, &mut some).is_err());
            }
        }
    }
}
