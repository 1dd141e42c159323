//! YUV of 8 to 12 bits to RGB8.
//!
//! With the luma weights Kr and Kb of the matrix (Kg = 1 - Kr - Kb) and samples of b bits, for limited range (ITU-R BT.601, BT.709
//! and BT.2020 with non-constant luminance; s = 2^(b - 8)):
//!
//! ```text
//! y = (Y - 16 s) * 255 / (219 s)      u = (U - 128 s) * 255 / (224 s)      v = (V - 128 s) * 255 / (224 s)
//! R = y + 2 (1 - Kr) v                B = y + 2 (1 - Kb) u                 G = (y - Kr R - Kb B) / Kg
//! ```
//!
//! and for full range y = Y * 255 / (2^b - 1) and u = (U - 128 s) * 255 / (2^b - 1), v the same (ITU-T T.871 for 8 bits, H.273 for more).
//! With the identity matrix the planes are G, B and R, and each is converted as y is. Rounded once, at the end, to the nearest, and
//! clamped to 0..=255: bits beyond 8 are not dropped before. Each chroma sample stands for the pixels that it was taken for, as
//! in ffmpeg's swscale unless it is asked for more. Where neither stream nor container names a matrix it is BT.601 for any size, and
//! limited range, as swscale takes it.
//!
//! Whole numbers only, in units of 2^-(b + 8): bit-equal on every CPU. The weights are rounded to half of that, times at most
//! 2^b in three terms that is below 0.006: **at most 1 from the formula in real numbers, and only where that lies within 0.006 of a half**.
//!
//! Measured on the first frames of three fixture clips (ffmpeg 5.1; no bound): `ffmpeg -pix_fmt rgb24` is within 3 of this,
//! at most 0.8 on average; swscale told to interpolate chroma (`full_chroma_int`) is up to 139 away, at edges of colour.

use super::picture::{Chroma, Picture, Plane, Planes};
use crate::codec::container::Colour;
use crate::error::{Fault, Reason};

/// Weights in units of 2^-(depth + 8).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Matrix {
    shift: u32,
    /// Whether the planes are G, B and R.
    identity: bool,
    y: i32,
    y0: i32,
    /// The middle of chroma.
    c0: i32,
    rv: i32,
    gu: i32,
    gv: i32,
    bu: i32,
}

impl Matrix {
    /// The weights for a picture's samples and colours (`MatrixCoefficients` of ITU-T H.273).
    pub(super) fn of(picture: &Picture, colour: Colour) -> Result<Self, Fault> {
        let refused = |what: String| Err(Fault::new(Reason::Unsupported, what));
        let identity = colour.matrix == Some(0);
        // Kr, Kb in 1/10,000.
        let (kr, kb) = match colour.matrix {
            Some(0) if picture.chroma == Chroma::Full => (2990, 1140),
            Some(0) => return refused(format!("RGB (colour matrix 0) in {}", picture.chroma.name())),
            Some(1) => (2126, 722),
            None | Some(2 | 5 | 6) => (2990, 1140),
            Some(4) => (3000, 1100),
            Some(7) => (2120, 870),
            Some(9) => (2627, 593),
            Some(_) if picture.chroma == Chroma::Mono => (2990, 1140),
            Some(other) => {
                let name = match other {
                    8 => " (YCgCo)",
                    10 => " (BT.2020 with constant luminance)",
                    14 => " (ICtCp)",
                    _ => "",
                };
                return refused(format!("video with colour matrix {other}{name} of ITU-T H.273"));
            }
        };
        if !(8..=12).contains(&picture.depth) {
            return refused(format!("{} video", picture.kind()));
        }
        let (kg, one) = (10_000 - kr - kb, 10_000);
        let (shift, step) = (picture.depth + 8, 1i64 << (picture.depth - 8));
        let full = colour.full_range == Some(true);
        let whole = (255, (1 << picture.depth) - 1);
        let (luma, chroma) = if full { (whole, whole) } else { ((255, 219 * step), (255, 224 * step)) };
        // a / b in the unit, rounded to the nearest.
        let fixed = |a: i64, b: i64| (((a << (shift + 1)) + b) / (2 * b)) as i32;
        let of_chroma = |a: i64, b: i64| fixed(a * chroma.0, b * chroma.1);
        Ok(Matrix {
            shift,
            identity,
            y: fixed(luma.0, luma.1),
            y0: if full { 0 } else { 16 * step as i32 },
            c0: 128 * step as i32,
            rv: of_chroma(2 * (one - kr), one),
            gu: of_chroma(2 * kb * (one - kb), kg * one),
            gv: of_chroma(2 * kr * (one - kr), kg * one),
            bu: of_chroma(2 * (one - kb), one),
        })
    }

    /// What is added to the product of luma: the half for rounding, less luma's offset.
    fn base(&self) -> i32 {
        (1 << (self.shift - 1)) - self.y0 * self.y
    }
}

/// One sample of any width.
trait Sample: Copy {
    fn value(self) -> i32;
}

impl Sample for u8 {
    #[inline(always)]
    fn value(self) -> i32 {
        i32::from(self)
    }
}

impl Sample for u16 {
    #[inline(always)]
    fn value(self) -> i32 {
        i32::from(self)
    }
}

impl Sample for [u8; 2] {
    #[inline(always)]
    fn value(self) -> i32 {
        i32::from(u16::from_le_bytes(self))
    }
}

/// Rows of working memory.
#[derive(Debug, Default)]
pub(super) struct Rows {
    /// What is added to luma for red, green and blue of each pixel.
    terms: [Vec<i32>; 3],
    /// Pixels, red in the lowest byte.
    packed: Vec<u32>,
}

/// Writes the cropped picture as RGB8, `[height, width, 3]`, into `out`, which has just that size. The planes hold the
/// picture ([`Picture::check`]).
pub(super) fn to_rgb(planes: Planes<'_>, picture: &Picture, matrix: &Matrix, rows: &mut Rows, out: &mut [u8]) {
    match planes {
        Planes::Bytes(planes) => convert(planes, picture, matrix, rows, out),
        Planes::Words(planes) => convert(planes, picture, matrix, rows, out),
        Planes::Pairs(planes) => convert(planes, picture, matrix, rows, out),
        Planes::Rgb(rgb) => out.copy_from_slice(rgb),
    }
}

fn convert<S: Sample>(planes: [Plane<'_, S>; 3], picture: &Picture, matrix: &Matrix, rows: &mut Rows, out: &mut [u8]) {
    #[cfg(target_arch = "x86_64")]
    if std::arch::is_x86_feature_detected!("avx2") {
        // SAFETY: the processor has the feature.
        return unsafe { convert_avx2(planes, picture, matrix, rows, out) };
    }
    convert_plain(planes, picture, matrix, rows, out);
}

/// The same code with wider registers: whole numbers, so the same bytes.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
fn convert_avx2<S: Sample>(
    planes: [Plane<'_, S>; 3],
    picture: &Picture,
    matrix: &Matrix,
    rows: &mut Rows,
    out: &mut [u8],
) {
    convert_plain(planes, picture, matrix, rows, out);
}

#[inline(always)]
fn convert_plain<S: Sample>(
    planes: [Plane<'_, S>; 3],
    picture: &Picture,
    matrix: &Matrix,
    rows: &mut Rows,
    out: &mut [u8],
) {
    let (width, left, top) = (picture.width as usize, picture.left as usize, picture.top as usize);
    let (x_shift, y_shift) = picture.chroma.shifts();
    let [luma, cb, cr] = planes;
    rows.terms.iter_mut().for_each(|row| row.resize(width, matrix.base()));
    rows.packed.resize(width, 0);
    if picture.chroma == Chroma::Mono {
        rows.terms.iter_mut().for_each(|row| row.fill(matrix.base()));
    }
    for (block, out) in out.chunks_mut((width * 3) << y_shift).enumerate() {
        let (at, first, count) = ((top >> y_shift) + block, left >> x_shift, width.div_ceil(1 << x_shift));
        if picture.chroma != Chroma::Mono && !matrix.identity {
            let (u, v) = (cb.row(at, first, count), cr.row(at, first, count));
            match x_shift {
                0 => chroma_terms::<S, 1>(u, v, matrix, &mut rows.terms),
                _ => chroma_terms::<S, 2>(u, v, matrix, &mut rows.terms),
            }
        }
        for (line, out) in out.chunks_exact_mut(width * 3).enumerate() {
            let at = top + (block << y_shift) + line;
            let y = luma.row(at, left, width);
            if matrix.identity {
                pack_identity([cr.row(at, left, width), y, cb.row(at, left, width)], matrix, &mut rows.packed);
            } else {
                pack(y, &rows.terms, matrix, &mut rows.packed);
            }
            spread(&rows.packed, out);
        }
    }
}

/// What chroma adds to each colour, for `N` pixels a sample, with the half for rounding and the luma offset in it.
#[inline(always)]
fn chroma_terms<S: Sample, const N: usize>(u: &[S], v: &[S], m: &Matrix, terms: &mut [Vec<i32>; 3]) {
    // Sums stay below 2^30; `wrapping` only keeps checks for overflow out of the loop where they are on.
    let base = m.base();
    let colours = |u: S, v: S| {
        let (u, v) = (u.value().wrapping_sub(m.c0), v.value().wrapping_sub(m.c0));
        let red = base.wrapping_add(m.rv.wrapping_mul(v));
        let green = base.wrapping_sub(m.gu.wrapping_mul(u)).wrapping_sub(m.gv.wrapping_mul(v));
        [red, green, base.wrapping_add(m.bu.wrapping_mul(u))]
    };
    let [red, green, blue] = terms;
    let ((red, red_end), (green, green_end), (blue, blue_end)) =
        (red.as_chunks_mut::<N>(), green.as_chunks_mut::<N>(), blue.as_chunks_mut::<N>());
    let whole = red.len();
    let blocks = red.iter_mut().zip(green).zip(blue);
    for (((red, green), blue), (&u, &v)) in blocks.zip(u.iter().zip(v)) {
        let [r, g, b] = colours(u, v);
        (*red, *green, *blue) = ([r; N], [g; N], [b; N]);
    }
    // The last column of an odd width has a sample to itself.
    if let (Some(&u), Some(&v)) = (u.get(whole), v.get(whole)) {
        for (end, colour) in [red_end, green_end, blue_end].into_iter().zip(colours(u, v)) {
            end.fill(colour);
        }
    }
}

#[inline(always)]
fn pack<S: Sample>(luma: &[S], [red, green, blue]: &[Vec<i32>; 3], m: &Matrix, packed: &mut [u32]) {
    for ((((&y, &red), &green), &blue), packed) in luma.iter().zip(red).zip(green).zip(blue).zip(packed) {
        let y = y.value().wrapping_mul(m.y);
        let colour = |term: i32| (y.wrapping_add(term) >> m.shift).clamp(0, 255) as u32;
        *packed = colour(red) | colour(green) << 8 | colour(blue) << 16;
    }
}

/// Planes that are red, green and blue already.
#[inline(always)]
fn pack_identity<S: Sample>([red, green, blue]: [&[S]; 3], m: &Matrix, packed: &mut [u32]) {
    let base = m.base();
    let colour = |sample: S| (sample.value().wrapping_mul(m.y).wrapping_add(base) >> m.shift).clamp(0, 255) as u32;
    for (((&red, &green), &blue), packed) in red.iter().zip(green).zip(blue).zip(packed) {
        *packed = colour(red) | colour(green) << 8 | colour(blue) << 16;
    }
}

/// Four bytes a store, of which the next pixel overwrites the last.
#[inline(always)]
fn spread(packed: &[u32], out: &mut [u8]) {
    let Some((&last, front)) = packed.split_last() else { return };
    for (n, &pixel) in front.iter().enumerate() {
        out[n * 3..][..4].copy_from_slice(&pixel.to_le_bytes());
    }
    out[front.len() * 3..].copy_from_slice(&last.to_le_bytes()[..3]);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn picture(depth: u32, chroma: Chroma) -> Picture {
        let colour = Colour::default();
        Picture { width: 2, height: 2, left: 0, top: 0, coded: 256, depth, chroma, colour }
    }

    fn colour(matrix: u8, full: bool) -> Colour {
        Colour { matrix: Some(matrix), full_range: Some(full) }
    }

    fn plane<S>(samples: &[S], stride: usize) -> Plane<'_, S> {
        Plane { samples, stride }
    }

    /// The formula in real numbers.
    fn exact(depth: u32, (kr, kb): (f64, f64), full: bool, [y, u, v]: [u16; 3]) -> [f64; 3] {
        let s = f64::from(1 << (depth - 8));
        let (y, u, v) = (f64::from(y), f64::from(u) - 128.0 * s, f64::from(v) - 128.0 * s);
        let top = f64::from((1u32 << depth) - 1);
        let (y, c) = if full {
            (y * 255.0 / top, 255.0 / top)
        } else {
            ((y - 16.0 * s) * 255.0 / (219.0 * s), 255.0 / (224.0 * s))
        };
        let (r, b) = (y + 2.0 * (1.0 - kr) * c * v, y + 2.0 * (1.0 - kb) * c * u);
        [r, (y - kr * r - kb * b) / (1.0 - kr - kb), b]
    }

    /// The bound of the module's first lines, over many Y, U and V of 8, 10 and 12 bits, with the extremes.
    #[test]
    fn follows_the_formula() {
        for (depth, code, kr, kb) in [
            (8, 1, 0.2126, 0.0722),
            (8, 2, 0.299, 0.114),
            (8, 6, 0.299, 0.114),
            (8, 9, 0.2627, 0.0593),
            (10, 9, 0.2627, 0.0593),
            (10, 1, 0.2126, 0.0722),
            (12, 6, 0.299, 0.114),
        ] {
            let (top, step) = ((1u16 << depth) - 1, 1usize << (depth - 8));
            for full in [false, true] {
                let picture = picture(depth, Chroma::Quarter);
                let matrix = Matrix::of(&picture, colour(code, full)).unwrap();
                let mut rows = Rows::default();
                let grid = |by: usize| (0..=top).step_by(by * step).chain([top]);
                for (u, v) in grid(5).flat_map(|u| grid(3).map(move |v| (u, v))) {
                    // For more bits not only the multiples of a byte's.
                    for y in (0..=top).step_by(if depth == 8 { 1 } else { 4 * step - 1 }) {
                        let mut out = [0; 12];
                        let (luma, cb, cr) = ([y; 4], [u], [v]);
                        let planes = [plane(&luma, 2), plane(&cb, 1), plane(&cr, 1)];
                        to_rgb(Planes::Words(planes), &picture, &matrix, &mut rows, &mut out);
                        for (exact, got) in exact(depth, (kr, kb), full, [y, u, v]).into_iter().zip(out) {
                            let exact = exact.clamp(0.0, 255.0);
                            assert!((exact - f64::from(got)).abs() <= 0.506, "{depth}: {y} {u} {v}: {exact} and {got}");
                        }
                        assert_eq!(out[..6], out[6..]);
                    }
                }
            }
        }
    }

    /// The planes of the identity matrix are G, B and R; gray has no chroma.
    #[test]
    fn other_planes() {
        let gbr = picture(8, Chroma::Full);
        let matrix = Matrix::of(&gbr, colour(0, true)).unwrap();
        let planes = Planes::Bytes([plane(&[1, 2, 3, 4], 2), plane(&[5, 6, 7, 8], 2), plane(&[9, 10, 11, 12], 2)]);
        let mut out = [0; 12];
        to_rgb(planes, &gbr, &matrix, &mut Rows::default(), &mut out);
        assert_eq!(out, [9, 1, 5, 10, 2, 6, 11, 3, 7, 12, 4, 8]);
        let limited = Matrix::of(&gbr, colour(0, false)).unwrap();
        let planes = Planes::Bytes([plane(&[16; 4], 2), plane(&[235; 4], 2), plane(&[255; 4], 2)]);
        to_rgb(planes, &gbr, &limited, &mut Rows::default(), &mut out);
        assert_eq!(out[..3], [255, 0, 255]);
        let gray = picture(10, Chroma::Mono);
        let matrix = Matrix::of(&gray, colour(1, true)).unwrap();
        let pairs = [0u16, 1023, 512, 4].map(u16::to_le_bytes);
        let planes = Planes::Pairs([plane(&pairs, 2), plane(&[], 0), plane(&[], 0)]);
        to_rgb(planes, &gray, &matrix, &mut Rows::default(), &mut out);
        assert_eq!(out, [0, 0, 0, 255, 255, 255, 128, 128, 128, 1, 1, 1]);
    }

    /// Both ways give the same bytes, for widths that do and do not fill registers, for samples of any kind, and each pixel has
    /// the chroma sample that it belongs to.
    #[test]
    fn registers_change_nothing() {
        let noise =
            |n: usize, seed: usize| (0..n).map(|i| ((i * i * 31 + seed * i + seed) >> 3) as u8).collect::<Vec<u8>>();
        let chromas = [Chroma::Quarter, Chroma::Half, Chroma::HalfRows, Chroma::Full];
        let sizes = [(2, 2, 0, 0), (34, 6, 2, 4), (98, 54, 0, 0), (64, 8, 6, 0), (33, 7, 0, 0), (1, 1, 0, 0)];
        for (chroma, (width, height, left, top)) in chromas.into_iter().flat_map(|c| sizes.map(|size| (c, size))) {
            let picture = Picture { width, height, left, top, ..picture(8, chroma) };
            let (x_shift, y_shift) = chroma.shifts();
            let (across, down) = ((width + left) as usize, (height + top) as usize);
            let (half, half_down) = (across.div_ceil(1 << x_shift), down.div_ceil(1 << y_shift));
            let y = noise(across * down, 7);
            let [u, v] = [11, 5].map(|seed| noise(half * half_down, seed));
            let planes = [plane(&y, across), plane(&u, half), plane(&v, half)];
            picture.check(&Planes::Bytes(planes)).unwrap();
            let matrix = Matrix::of(&picture, colour(1, false)).unwrap();
            let [mut one, mut two, mut words] = [(); 3].map(|()| vec![0; (width * height * 3) as usize]);
            to_rgb(Planes::Bytes(planes), &picture, &matrix, &mut Rows::default(), &mut one);
            convert_plain(planes, &picture, &matrix, &mut Rows::default(), &mut two);
            assert!(one == two, "{width} x {height}");
            let [y16, u16s, v16] = [&y, &u, &v].map(|p| p.iter().map(|&s| u16::from(s)).collect::<Vec<u16>>());
            let wide = Planes::Words([plane(&y16, across), plane(&u16s, half), plane(&v16, half)]);
            to_rgb(wide, &picture, &matrix, &mut Rows::default(), &mut words);
            assert!(one == words, "{width} x {height}");
            for (row, column) in [(0, 0), (height - 1, width - 1), (height / 2, width / 3)] {
                let (cy, cx) = ((row + top) as usize, (column + left) as usize);
                let luma = i64::from(y[cy * across + cx]) * i64::from(matrix.y) + i64::from(matrix.base());
                let chroma = i64::from(v[(cy >> y_shift) * half + (cx >> x_shift)]) - 128;
                let red = ((luma + i64::from(matrix.rv) * chroma) >> 16).clamp(0, 255);
                let got = one[((row * width + column) * 3) as usize];
                assert_eq!(i64::from(got), red, "{width} x {height}, {chroma:?} at {row}, {column}");
            }
        }
    }

    #[test]
    fn matrices_without_a_formula_are_refused() {
        let of = |depth, chroma, code| Matrix::of(&picture(depth, chroma), colour(code, false)).map_err(|f| f.reason);
        for code in [0, 3, 8, 10, 11, 14, 255] {
            assert_eq!(of(8, Chroma::Quarter, code), Err(Reason::Unsupported), "{code}");
        }
        assert_eq!(of(14, Chroma::Quarter, 1), Err(Reason::Unsupported));
        assert!(of(8, Chroma::Full, 0).is_ok() && of(12, Chroma::Mono, 8).is_ok());
    }
}
