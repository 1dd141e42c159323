//! The last pass: crop, mirror, element type, scale and order of the axes, from u8 pixels straight into the batch.
//!
//! One body of plain loops is compiled twice, for any x86-64 (or other) CPU and with AVX2, and chosen when it runs. There is
//! no fused multiply-add in either, so both give the same bits. A batch of pictures is larger than caches, and nobody reads it before it is
//! whole: f32 are written past them, so that the CPU does not read first what it is to write (docs/measurements.md). The only `unsafe` here are the call of
//! the AVX2 copy, those stores with their fence, and a hint of what is read next.

use half::slice::HalfFloatSliceExt as _;

use super::Store;
use crate::data::tensor::{DType, Layout};

/// A region of RGB8 pixels, perhaps to be read from right to left.
#[derive(Debug, Clone, Copy)]
pub(super) struct View<'a> {
    /// Whole rows, `stride` pixels each.
    pub(super) data: &'a [u8],
    /// Pixels from one row to the next.
    pub(super) stride: usize,
    /// The region's left edge.
    pub(super) x: usize,
    /// The region's upper edge.
    pub(super) y: usize,
    /// Pixels across.
    pub(super) width: usize,
    /// Pixels down.
    pub(super) height: usize,
    /// Whether the region is mirrored.
    pub(super) mirror: bool,
}

impl<'a> View<'a> {
    /// One row of the region, from left to right whatever `mirror` says.
    #[inline(always)]
    pub(super) fn row(&self, y: usize) -> &'a [[u8; 3]] {
        let start = ((self.y + y) * self.stride + self.x) * 3;
        self.data[start..start + self.width * 3].as_chunks::<3>().0
    }
}

/// What the pixels become.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Finish {
    /// `x * scale[c] + bias[c]` as f32; `None`: they stay u8, and `store` says nothing.
    pub(super) affine: Option<([f32; 3], [f32; 3])>,
    /// What becomes of the f32.
    pub(super) store: Store,
    /// The order of the axes.
    pub(super) layout: Layout,
}

impl Finish {
    /// As they were decoded.
    pub(super) const PIXELS: Finish = Finish { affine: None, store: Store::F32, layout: Layout::Nhwc };

    /// The type of the elements.
    pub(super) fn dtype(&self) -> DType {
        if self.affine.is_some() { self.store.dtype() } else { DType::U8 }
    }
}

/// The instruction sets that the body is compiled for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Level {
    /// What every CPU of the target has.
    Portable,
    /// AVX2.
    #[cfg(target_arch = "x86_64")]
    Avx2,
}

impl Default for Level {
    fn default() -> Self {
        Level::best()
    }
}

impl Level {
    /// The best that this CPU has.
    pub(super) fn best() -> Self {
        #[cfg(target_arch = "x86_64")]
        if std::arch::is_x86_feature_detected!("avx2") {
            return Level::Avx2;
        }
        Level::Portable
    }
}

/// Writes one picture into `out`, whose plane is `plane` (height, width) pixels and at least as large as the view.
/// Bytes beyond the view are left.
pub(super) fn write(level: Level, view: View<'_>, finish: Finish, plane: (usize, usize), out: &mut [u8]) {
    match level {
        Level::Portable => body(view, finish, plane, out),
        #[cfg(target_arch = "x86_64")]
        // SAFETY: the level is made by `best` only where the CPU has AVX2.
        Level::Avx2 => unsafe { avx2(view, finish, plane, out) },
    }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
fn avx2(view: View<'_>, finish: Finish, plane: (usize, usize), out: &mut [u8]) {
    body(view, finish, plane, out);
}

/// A picture of so many bytes is written past the caches: with others like it a batch of them is larger than a core's.
const PAST_CACHES: usize = 128 << 10;

#[inline(always)]
fn body(view: View<'_>, finish: Finish, plane: (usize, usize), out: &mut [u8]) {
    match finish.store {
        _ if finish.affine.is_none() => floats::<false>(view, finish, plane, out),
        Store::F32 if out.len() < PAST_CACHES => floats::<false>(view, finish, plane, out),
        Store::F32 => {
            floats::<true>(view, finish, plane, out);
            // Before anyone is told that it is there.
            fence();
        }
        Store::F16 => narrow(view, finish, plane, out, |from, to: &mut [half::f16]| to.convert_from_f32_slice(from)),
        Store::BF16 => narrow(view, finish, plane, out, |from, to: &mut [half::bf16]| {
            to.iter_mut().zip(from).for_each(|(to, x)| *to = nearest_bf16(*x));
        }),
        Store::I8(quant) => narrow(view, finish, plane, out, |from, to: &mut [i8]| {
            to.iter_mut().zip(from).for_each(|(to, x)| *to = quant.value(*x, -128, 127) as i8);
        }),
        Store::U8(quant) => narrow(view, finish, plane, out, |from, to: &mut [u8]| {
            to.iter_mut().zip(from).for_each(|(to, x)| *to = quant.value(*x, 0, 255) as u8);
        }),
    }
}

/// `half::bf16::from_f32` without its branches, which keep the compiler from doing several at once.
#[inline(always)]
fn nearest_bf16(x: f32) -> half::bf16 {
    let bits = x.to_bits();
    let rounded = bits.wrapping_add(0x7fff + ((bits >> 16) & 1)) >> 16;
    let quiet = (bits >> 16) | 0x40;
    half::bf16::from_bits(if bits & 0x7fff_ffff > 0x7f80_0000 { quiet } else { rounded } as u16)
}

/// Pixels that are made f32 at once, on the way to something narrower: 3 KiB, which stay in the nearest cache.
const BLOCK: usize = 256;

/// Block by block to f32, and from there by `convert`.
#[inline(always)]
fn narrow<T: bytemuck::Pod>(
    view: View<'_>,
    finish: Finish,
    (down, across): (usize, usize),
    out: &mut [u8],
    convert: impl Fn(&[f32], &mut [T]),
) {
    let (mut wide, mut made) = ([0f32; BLOCK * 3], [T::zeroed(); BLOCK * 3]);
    let finish = Finish { store: Store::F32, ..finish };
    for y in 0..view.height {
        for x in (0..view.width).step_by(BLOCK) {
            let width = BLOCK.min(view.width - x);
            let left = if view.mirror { view.width - x - width } else { x };
            let part = View { x: view.x + left, y: view.y + y, width, height: 1, ..view };
            let (wide, made) = (&mut wide[..width * 3], &mut made[..width * 3]);
            floats::<false>(part, finish, (1, width), bytemuck::cast_slice_mut(wide));
            convert(wide, made);
            let made: &[u8] = bytemuck::cast_slice(made);
            let (size, at) = (size_of::<T>(), y * across + x);
            match finish.layout {
                Layout::Nhwc => out[at * 3 * size..][..made.len()].copy_from_slice(made),
                Layout::Nchw => {
                    for (c, row) in made.chunks_exact(width * size).enumerate() {
                        out[(c * down * across + at) * size..][..row.len()].copy_from_slice(row);
                    }
                }
            }
        }
    }
}

/// `PAST`: past the caches.
#[inline(always)]
fn floats<const PAST: bool>(view: View<'_>, finish: Finish, (down, across): (usize, usize), out: &mut [u8]) {
    match (finish.affine, finish.layout) {
        (None, Layout::Nhwc) => {
            for (y, to) in out.chunks_exact_mut((across * 3).max(1)).take(view.height).enumerate() {
                let to = &mut to.as_chunks_mut::<3>().0[..view.width];
                to.copy_from_slice(view.row(y));
                turn(to, view.mirror);
            }
        }
        (None, Layout::Nchw) => planes::<false, _, _>(
            view,
            down * across,
            across,
            out,
            |to, from: &[u8; LANES]| to.copy_from_slice(from),
            |_| |x| x,
        ),
        (Some((scale, bias)), Layout::Nhwc) => {
            for (y, to) in out.chunks_exact_mut((across * 12).max(1)).take(view.height).enumerate() {
                let to = &mut to.as_chunks_mut::<12>().0[..view.width];
                spread::<PAST>(view.row(y), view.mirror, to, scale, bias);
            }
        }
        (Some((scale, bias)), Layout::Nchw) => {
            planes::<PAST, _, _>(view, down * across, across, out, put::<PAST, LANES>, |c| {
                let (scale, bias) = (scale[c], bias[c]);
                move |x| f32::from(x) * scale + bias
            });
        }
    }
}

/// Writes elements where they belong, past the caches if they may be.
#[inline(always)]
fn put<const PAST: bool, const N: usize>(to: &mut [u8], from: &[f32; N]) {
    #[cfg(target_arch = "x86_64")]
    if PAST && to.len() == N * 4 && to.as_ptr().cast::<std::arch::x86_64::__m128>().is_aligned() {
        use std::arch::x86_64::{_mm_loadu_ps, _mm_stream_ps};
        for (to, from) in to.as_chunks_mut::<16>().0.iter_mut().zip(from.as_chunks::<4>().0) {
            // SAFETY: SSE is part of x86-64. Both have four f32, and where they go is aligned to 16 bytes.
            unsafe { _mm_stream_ps(to.as_mut_ptr().cast::<f32>(), _mm_loadu_ps(from.as_ptr())) };
        }
        return;
    }
    to.copy_from_slice(bytemuck::cast_slice(from));
}

/// Has the memory some way behind pixels fetched. Those of a map are in no cache, and stores past the caches keep the CPU from seeing ahead by itself. Where they
/// were just made, and are, it costs two instructions for 32 pixels.
#[inline(always)]
fn ahead<const PAST: bool>(pixels: &[[u8; 3]]) {
    #[cfg(target_arch = "x86_64")]
    if PAST {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        // Some 200 ns of work, which is about what an answer takes.
        const AHEAD: usize = 1024;
        for line in 0..2 {
            let at = pixels.as_ptr().cast::<i8>().wrapping_add(AHEAD + line * 64);
            // SAFETY: SSE is part of x86-64, and a hint reads nothing: it may point anywhere.
            unsafe { _mm_prefetch::<_MM_HINT_T0>(at) };
        }
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = pixels;
}

/// Has what was written past the caches come before all that is written from here on.
#[inline(always)]
fn fence() {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: SSE is part of x86-64, and a fence touches nothing.
    unsafe {
        std::arch::x86_64::_mm_sfence();
    }
}

/// Pixels that are taken apart at once.
const LANES: usize = 32;

/// Three planes of `size` elements.
#[inline(always)]
fn planes<const PAST: bool, T: bytemuck::Pod, F: Fn(u8) -> T + Copy>(
    view: View<'_>,
    size: usize,
    across: usize,
    out: &mut [u8],
    put: impl Fn(&mut [u8], &[T; LANES]),
    value: impl Fn(usize) -> F,
) {
    let bytes = size_of::<T>();
    let (red, rest) = out.split_at_mut(size * bytes);
    let (green, blue) = rest.split_at_mut(size * bytes);
    let mut planes = [(red, value(0)), (green, value(1)), (blue, value(2))];
    for y in 0..view.height {
        let (blocks, rest) = view.row(y).as_chunks::<LANES>();
        for (number, block) in blocks.iter().enumerate() {
            ahead::<PAST>(block);
            let x = number * LANES;
            let at = y * across + if view.mirror { view.width - x - LANES } else { x };
            // Channel by channel, in loops of one length: what compilers make vectors of.
            let mut channels = [[0u8; LANES]; 3];
            for (i, pixel) in block.iter().enumerate() {
                for c in 0..3 {
                    channels[c][i] = pixel[c];
                }
            }
            for (channel, (plane, value)) in channels.iter_mut().zip(&mut planes) {
                if view.mirror {
                    channel.reverse();
                }
                let value = *value;
                let mut made = [T::zeroed(); LANES];
                made.iter_mut().zip(channel.iter()).for_each(|(made, x)| *made = value(*x));
                put(&mut plane[at * bytes..][..LANES * bytes], &made);
            }
        }
        for (number, pixel) in rest.iter().enumerate() {
            let x = blocks.len() * LANES + number;
            let at = y * across + if view.mirror { view.width - 1 - x } else { x };
            for (x, (plane, value)) in pixel.iter().zip(&mut planes) {
                plane[at * bytes..][..bytes].copy_from_slice(bytemuck::bytes_of(&value(*x)));
            }
        }
    }
}

/// Pixels to three f32 each, from right to left if mirrored. Eight pixels at a time, so that the channels' factors stand in one pattern.
#[inline(always)]
fn spread<const PAST: bool>(row: &[[u8; 3]], mirror: bool, to: &mut [[u8; 12]], scale: [f32; 3], bias: [f32; 3]) {
    let scales: [[f32; 8]; 3] = std::array::from_fn(|j| std::array::from_fn(|i| scale[(j * 8 + i) % 3]));
    let biases: [[f32; 8]; 3] = std::array::from_fn(|j| std::array::from_fn(|i| bias[(j * 8 + i) % 3]));
    let (to_eights, to_rest) = to.as_chunks_mut::<8>();
    for (number, to) in to_eights.iter_mut().enumerate() {
        let at = if mirror { row.len() - 8 * (number + 1) } else { 8 * number };
        let Some(mut from) = row[at..].first_chunk::<8>().copied() else { continue };
        if mirror {
            from.reverse();
        }
        let (from, to) = (from.as_flattened().as_chunks::<8>().0, to.as_flattened_mut().as_chunks_mut::<32>().0);
        for (((from, to), scale), bias) in from.iter().zip(to).zip(&scales).zip(&biases) {
            let values: [f32; 8] = std::array::from_fn(|i| f32::from(from[i]) * scale[i] + bias[i]);
            put::<PAST, 8>(to, &values);
        }
    }
    let done = row.len() - to_rest.len();
    for (number, to) in to_rest.iter_mut().enumerate() {
        let from = row[if mirror { row.len() - 1 - done - number } else { done + number }];
        for (c, to) in to.as_chunks_mut::<4>().0.iter_mut().enumerate() {
            *to = (f32::from(from[c]) * scale[c] + bias[c]).to_ne_bytes();
        }
    }
}

#[inline(always)]
fn turn<T>(row: &mut [T], mirror: bool) {
    if mirror {
        row.reverse();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::augment::Quant;

    /// One element at a time, by the definition.
    fn reference(view: View<'_>, finish: Finish, (down, across): (usize, usize), out: &mut [u8]) {
        for y in 0..view.height {
            for x in 0..view.width {
                let pixel = view.row(y)[if view.mirror { view.width - 1 - x } else { x }];
                for (c, value) in pixel.into_iter().enumerate() {
                    let at = match finish.layout {
                        Layout::Nhwc => (y * across + x) * 3 + c,
                        Layout::Nchw => (c * down + y) * across + x,
                    };
                    let Some((s, b)) = finish.affine else {
                        out[at] = value;
                        continue;
                    };
                    let value = f32::from(value) * s[c] + b[c];
                    let size = finish.dtype().size();
                    let to = &mut out[at * size..][..size];
                    match finish.store {
                        Store::F32 => to.copy_from_slice(&value.to_ne_bytes()),
                        Store::F16 => to.copy_from_slice(&half::f16::from_f32(value).to_ne_bytes()),
                        Store::BF16 => to.copy_from_slice(&half::bf16::from_f32(value).to_ne_bytes()),
                        Store::I8(q) => to[0] = quantised(value, q).clamp(-128.0, 127.0) as i8 as u8,
                        Store::U8(q) => to[0] = quantised(value, q).clamp(0.0, 255.0) as u8,
                    }
                }
            }
        }
    }

    /// ONNX's `QuantizeLinear` before it saturates, in f64 but for the division, which is one of f32.
    fn quantised(value: f32, quant: Quant) -> f64 {
        let (ratio, whole) = (f64::from(value / quant.scale), f64::from(value / quant.scale).floor());
        let rest = ratio - whole;
        let up = rest > 0.5 || (rest == 0.5 && whole % 2.0 != 0.0);
        whole + f64::from(u8::from(up)) + f64::from(quant.zero_point)
    }

    #[test]
    fn every_level_writes_what_the_definition_says() {
        let data: Vec<u8> = (0..340 * 63 * 3).map(|i| (i * 89 % 256) as u8).collect();
        let affine = ([0.017_124_754, 0.017_507, 0.017_429_19], [-2.117_904, -2.035_714, -1.804_444]);
        let plain = ([1.0; 3], [0.0; 3]);
        let [i8, u8] = [(0.0186, -14), (0.0173, 121)].map(|(scale, zero_point)| Quant { scale, zero_point });
        // Halves of a step in every second value.
        let ties = Quant { scale: 2.0, zero_point: 3 };
        let finishes = [
            (None, Store::F32),
            (Some(affine), Store::F32),
            (Some(affine), Store::F16),
            (Some(plain), Store::F16),
            (Some(affine), Store::BF16),
            (Some(plain), Store::BF16),
            (Some(affine), Store::I8(i8)),
            (Some(plain), Store::I8(ties)),
            (Some(affine), Store::U8(u8)),
            (Some(plain), Store::U8(ties)),
        ];
        // The last two are written past the caches, with rows that are aligned and that are not.
        for (width, height) in [(1, 1), (7, 3), (8, 2), (33, 5), (256, 1), (301, 2), (210, 60), (211, 60)] {
            for layout in [Layout::Nhwc, Layout::Nchw] {
                for (affine, store) in finishes {
                    for mirror in [false, true] {
                        let view = View { data: &data, stride: 340, x: 3, y: 2, width, height, mirror };
                        let (finish, plane) = (Finish { affine, store, layout }, (height + 1, width + 2));
                        let size = plane.0 * plane.1 * 3 * finish.dtype().size();
                        let mut want = vec![7; size];
                        reference(view, finish, plane, &mut want);
                        for level in [Level::Portable, Level::best()] {
                            let mut got = vec![7; size];
                            write(level, view, finish, plane, &mut got);
                            assert!(got == want, "{level:?} {finish:?} {width} x {height}, mirror {mirror}");
                        }
                    }
                }
            }
        }
    }

    #[test]
    fn bf16_is_that_of_half() {
        // Every upper half, with every kind of lower half.
        for upper in 0..=u16::MAX {
            for lower in [0u16, 1, 0x7fff, 0x8000, 0x8001, 0xffff] {
                let x = f32::from_bits(u32::from(upper) << 16 | u32::from(lower));
                assert_eq!(nearest_bf16(x).to_bits(), half::bf16::from_f32(x).to_bits(), "{:#x}", x.to_bits());
            }
        }
    }
}
