//! YUV 4:2:0 to RGB8.
//!
//! With the luma weights Kr and Kb of the matrix (Kg = 1 - Kr - Kb), for limited range (ITU-R BT.601 and BT.709):
//!
//! ```text
//! y = (Y - 16) * 255 / 219      u = (U - 128) * 255 / 224      v = (V - 128) * 255 / 224
//! R = y + 2 (1 - Kr) v          B = y + 2 (1 - Kb) u           G = (y - Kr R - Kb B) / Kg
//! ```
//!
//! and for full range y = Y, u = U - 128, v = V - 128 (ITU-T T.871). Rounded to the nearest, clamped to 0..=255. Each
//! chroma sample stands for its block of 2 x 2 pixels, as in ffmpeg's swscale unless it is asked for more. Where the stream
//! names no matrix it is BT.601 for any size, and limited range, as swscale takes it.
//!
//! Whole numbers only, in 1/65536: bit-equal on every CPU. The weights are rounded to 2^-17, times at most 255 in three
//! terms that is below 0.006: **at most 1 from the formula in real numbers, and only where that lies within 0.006 of a half**.
//!
//! Measured on the first frames of three fixture clips (ffmpeg 5.1; no bound): `ffmpeg -pix_fmt rgb24` is within 3 of this,
//! at most 0.8 on average; swscale told to interpolate chroma (`full_chroma_int`) is up to 139 away, at edges of colour.

use super::params::Picture;
use crate::error::{Fault, Reason};

/// Planes of a decoded picture; rows without gaps.
#[derive(Debug, Clone, Copy)]
pub(super) struct Planes<'a> {
    /// Luma, `[height, width]`.
    pub(super) y: &'a [u8],
    /// Cb, `[height / 2, width / 2]`.
    pub(super) u: &'a [u8],
    /// Cr, the same.
    pub(super) v: &'a [u8],
    /// Luma samples from row to row.
    pub(super) stride: usize,
}

/// Weights in 1/65536.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Matrix {
    y: i32,
    y0: i32,
    rv: i32,
    gu: i32,
    gv: i32,
    bu: i32,
}

impl Matrix {
    /// The weights for `matrix_coefficients` of ITU-T H.264 Table E-5 (the same numbers as in ITU-T H.273).
    pub(super) fn of(picture: &Picture) -> Result<Self, Fault> {
        // Kr, Kb in 1/10,000.
        let (kr, kb) = match picture.matrix {
            1 => (2126, 722),
            2 | 5 | 6 => (2990, 1140),
            4 => (3000, 1100),
            7 => (2120, 870),
            9 => (2627, 593),
            other => {
                return Err(Fault::new(
                    Reason::Unsupported,
                    format!("H.264 with colour matrix {other} of ITU-T H.273"),
                ));
            }
        };
        let (kg, one) = (10_000 - kr - kb, 10_000);
        let (luma, chroma) = if picture.full_range { ((1, 1), (1, 1)) } else { ((255, 219), (255, 224)) };
        // a / b in 1/65536, rounded to the nearest.
        let fixed = |a: i64, b: i64| ((a * 131_072 + b) / (2 * b)) as i32;
        let of_chroma = |a: i64, b: i64| fixed(a * chroma.0, b * chroma.1);
        Ok(Matrix {
            y: fixed(luma.0, luma.1),
            y0: if picture.full_range { 0 } else { 16 },
            rv: of_chroma(2 * (one - kr), one),
            gu: of_chroma(2 * kb * (one - kb), kg * one),
            gv: of_chroma(2 * kr * (one - kr), kg * one),
            bu: of_chroma(2 * (one - kb), one),
        })
    }
}

/// Rows of working memory.
#[derive(Debug, Default)]
pub(super) struct Rows {
    /// What chroma adds to red, green and blue of each pixel.
    terms: [Vec<i32>; 3],
    /// Pixels, red in the lowest byte.
    packed: Vec<u32>,
}

/// Writes the cropped picture as RGB8, `[height, width, 3]`, into `out`, which has just that size.
pub(super) fn to_rgb(planes: Planes<'_>, picture: &Picture, matrix: &Matrix, rows: &mut Rows, out: &mut [u8]) {
    #[cfg(target_arch = "x86_64")]
    if std::arch::is_x86_feature_detected!("avx2") {
        // SAFETY: the processor has the feature.
        return unsafe { to_rgb_avx2(planes, picture, matrix, rows, out) };
    }
    to_rgb_plain(planes, picture, matrix, rows, out);
}

/// The same code with wider registers: whole numbers, so the same bytes.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
fn to_rgb_avx2(planes: Planes<'_>, picture: &Picture, matrix: &Matrix, rows: &mut Rows, out: &mut [u8]) {
    to_rgb_plain(planes, picture, matrix, rows, out);
}

#[inline(always)]
fn to_rgb_plain(planes: Planes<'_>, picture: &Picture, matrix: &Matrix, rows: &mut Rows, out: &mut [u8]) {
    let (width, left, top) = (picture.width as usize, picture.left as usize, picture.top as usize);
    let half = planes.stride / 2;
    rows.terms.iter_mut().for_each(|row| row.resize(width, 0));
    rows.packed.resize(width, 0);
    for (pair, out) in out.chunks_mut(width * 3 * 2).enumerate() {
        let at = (top / 2 + pair) * half + left / 2;
        chroma_terms(&planes.u[at..at + width / 2], &planes.v[at..at + width / 2], matrix, &mut rows.terms);
        for (line, out) in out.chunks_exact_mut(width * 3).enumerate() {
            let at = (top + pair * 2 + line) * planes.stride + left;
            pack(&planes.y[at..at + width], &rows.terms, matrix, &mut rows.packed);
            spread(&rows.packed, out);
        }
    }
}

/// What chroma adds to each colour, for two pixels a sample, with the half for rounding and the luma offset in it.
#[inline(always)]
fn chroma_terms(u: &[u8], v: &[u8], m: &Matrix, terms: &mut [Vec<i32>; 3]) {
    // Sums stay below 2^26; `wrapping` only keeps checks for overflow out of the loop where they are on.
    let base = 32_768 - m.y0 * m.y;
    let [red, green, blue] = terms;
    let pairs =
        red.as_chunks_mut::<2>().0.iter_mut().zip(green.as_chunks_mut::<2>().0).zip(blue.as_chunks_mut::<2>().0);
    for (((red, green), blue), (&u, &v)) in pairs.zip(u.iter().zip(v)) {
        let (u, v) = (i32::from(u).wrapping_sub(128), i32::from(v).wrapping_sub(128));
        *red = [base.wrapping_add(m.rv.wrapping_mul(v)); 2];
        *green = [base.wrapping_sub(m.gu.wrapping_mul(u)).wrapping_sub(m.gv.wrapping_mul(v)); 2];
        *blue = [base.wrapping_add(m.bu.wrapping_mul(u)); 2];
    }
}

#[inline(always)]
fn pack(luma: &[u8], [red, green, blue]: &[Vec<i32>; 3], m: &Matrix, packed: &mut [u32]) {
    for ((((&y, &red), &green), &blue), packed) in luma.iter().zip(red).zip(green).zip(blue).zip(packed) {
        let y = i32::from(y).wrapping_mul(m.y);
        let colour = |term: i32| (y.wrapping_add(term) >> 16).clamp(0, 255) as u32;
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

    fn picture(matrix: u8, full_range: bool) -> Picture {
        Picture { width: 2, height: 2, left: 0, top: 0, macroblocks: 1, references: 1, matrix, full_range }
    }

    /// The bound of the module's first lines, over every Y and a grid of U and V.
    #[test]
    fn follows_the_formula() {
        for (code, kr, kb) in [(1, 0.2126, 0.0722), (2, 0.299, 0.114), (6, 0.299, 0.114), (9, 0.2627, 0.0593)] {
            for full in [false, true] {
                let picture = picture(code, full);
                let matrix = Matrix::of(&picture).unwrap();
                let mut rows = Rows::default();
                for (u, v) in (0..=255u8).step_by(5).flat_map(|u| (0..=255u8).step_by(3).map(move |v| (u, v))) {
                    for y in 0..=255u8 {
                        let mut out = [0; 12];
                        let planes = Planes { y: &[y; 4], u: &[u], v: &[v], stride: 2 };
                        to_rgb(planes, &picture, &matrix, &mut rows, &mut out);
                        let (yf, uf, vf) = (f64::from(y), f64::from(u) - 128.0, f64::from(v) - 128.0);
                        let (yf, c) = if full { (yf, 1.0) } else { ((yf - 16.0) * 255.0 / 219.0, 255.0 / 224.0) };
                        let (r, b) = (yf + 2.0 * (1.0 - kr) * c * vf, yf + 2.0 * (1.0 - kb) * c * uf);
                        let g = (yf - kr * r - kb * b) / (1.0 - kr - kb);
                        for (exact, got) in [r, g, b].into_iter().zip(out) {
                            let exact = exact.clamp(0.0, 255.0);
                            assert!((exact - f64::from(got)).abs() <= 0.506, "{y} {u} {v}: {exact} and {got}");
                        }
                        assert_eq!(out[..6], out[6..]);
                    }
                }
            }
        }
    }

    /// Both ways give the same bytes, for widths that do and do not fill registers.
    #[test]
    fn registers_change_nothing() {
        let noise =
            |n: usize, seed: usize| (0..n).map(|i| ((i * i * 31 + seed * i + seed) >> 3) as u8).collect::<Vec<u8>>();
        for (width, height, left, top) in [(2, 2, 0, 0), (34, 6, 2, 4), (98, 54, 0, 0), (64, 8, 6, 0)] {
            let picture = Picture { width, height, left, top, ..picture(1, false) };
            let (stride, lines) = ((width + left) as usize, (height + top) as usize);
            let [y, u, v] = [(1, 7), (4, 11), (4, 5)].map(|(by, seed)| noise(stride * lines / by, seed));
            let planes = Planes { y: &y, u: &u, v: &v, stride };
            let matrix = Matrix::of(&picture).unwrap();
            let [mut one, mut two] = [(); 2].map(|()| vec![0; (width * height * 3) as usize]);
            to_rgb(planes, &picture, &matrix, &mut Rows::default(), &mut one);
            to_rgb_plain(planes, &picture, &matrix, &mut Rows::default(), &mut two);
            assert!(one == two, "{width} x {height}");
            let at = |x: usize, y: usize| (y + top as usize) * stride + x + left as usize;
            let grey = i64::from(y[at(1, 1)]) * i64::from(matrix.y) - 16 * i64::from(matrix.y) + 32_768;
            let red = grey
                + i64::from(matrix.rv) * (i64::from(v[at(0, 0) / stride / 2 * (stride / 2) + left as usize / 2]) - 128);
            assert_eq!(i64::from(one[(width as usize + 1) * 3]), (red >> 16).clamp(0, 255), "{width} x {height}");
        }
    }

    #[test]
    fn matrices_without_a_formula_are_refused() {
        for code in [0, 3, 8, 10, 11, 255] {
            assert_eq!(Matrix::of(&picture(code, false)).unwrap_err().reason, Reason::Unsupported, "{code}");
        }
    }
}
