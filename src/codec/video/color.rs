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

use super::h264::Picture;
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
    ru: i32,
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
            ru: of_chroma(2 * (one - kr), one),
            gu: of_chroma(2 * kb * (one - kb), kg * one),
            gv: of_chroma(2 * kr * (one - kr), kg * one),
            bu: of_chroma(2 * (one - kb), one),
        })
    }
}

/// Rows of working memory.
#[derive(Debug, Default)]
pub(super) struct Rows {
    terms: [Vec<i32>; 3],
    colours: [Vec<u8>; 3],
}

/// Writes the cropped picture as RGB8, `[height, width, 3]`, into `out`, which has just that size.
pub(super) fn to_rgb(planes: Planes<'_>, picture: &Picture, matrix: &Matrix, rows: &mut Rows, out: &mut [u8]) {
    let (width, left, top) = (picture.width as usize, picture.left as usize, picture.top as usize);
    let half = planes.stride / 2;
    for row in &mut rows.terms {
        row.resize(width, 0);
    }
    for row in &mut rows.colours {
        row.resize(width, 0);
    }
    for (pair, out) in out.chunks_mut(width * 3 * 2).enumerate() {
        let at = (top / 2 + pair) * half + left / 2;
        let chroma = (&planes.u[at..at + width / 2], &planes.v[at..at + width / 2]);
        chroma_terms(chroma.0, chroma.1, matrix, &mut rows.terms);
        for (line, out) in out.chunks_exact_mut(width * 3).enumerate() {
            let at = (top + pair * 2 + line) * planes.stride + left;
            let luma = &planes.y[at..at + width];
            for (term, colour) in rows.terms.iter().zip(&mut rows.colours) {
                add_luma(luma, term, matrix, colour);
            }
            interleave(&rows.colours, out);
        }
    }
}

/// What chroma adds to each colour, for two pixels a sample, with the half for rounding and the luma offset in it.
fn chroma_terms(u: &[u8], v: &[u8], m: &Matrix, terms: &mut [Vec<i32>; 3]) {
    let base = 32_768 - m.y0 * m.y;
    let [red, green, blue] = terms;
    let pairs = red.chunks_exact_mut(2).zip(green.chunks_exact_mut(2)).zip(blue.chunks_exact_mut(2));
    for (((red, green), blue), (&u, &v)) in pairs.zip(u.iter().zip(v)) {
        let (u, v) = (i32::from(u) - 128, i32::from(v) - 128);
        red.fill(base + m.ru * v);
        green.fill(base - m.gu * u - m.gv * v);
        blue.fill(base + m.bu * u);
    }
}

fn add_luma(luma: &[u8], term: &[i32], m: &Matrix, colour: &mut [u8]) {
    for ((&y, &term), colour) in luma.iter().zip(term).zip(colour) {
        *colour = ((i32::from(y) * m.y + term) >> 16).clamp(0, 255) as u8;
    }
}

fn interleave([red, green, blue]: &[Vec<u8>; 3], out: &mut [u8]) {
    for (((out, &r), &g), &b) in out.chunks_exact_mut(3).zip(red).zip(green).zip(blue) {
        out[0] = r;
        out[1] = g;
        out[2] = b;
    }
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

    #[test]
    fn matrices_without_a_formula_are_refused() {
        for code in [0, 3, 8, 10, 11, 255] {
            assert_eq!(Matrix::of(&picture(code, false)).unwrap_err().reason, Reason::Unsupported, "{code}");
        }
    }
}
