//! A resize of RGB8 with AVX2: both passes over eight rows at a time, which stay in the nearest cache between them.
//!
//! Arithmetic and order (down first) are those of `fast_image_resize`, and so is every bit of the outcome. What differs is what is
//! made: only the part that is asked for, and the rows between the passes stand side by side, pixel by pixel, so that the pass across has eight
//! of a channel in a register, where pixels in a row leave a quarter of each empty.

use std::arch::x86_64::*;

use super::weights::Axis;
use super::{Part, Source};
use crate::codec::Rect;

/// Rows of the result that are made at once, and places of a row that are put together.
const ROWS: usize = 8;
const PLACES: usize = 8;

/// Bytes of a row that the pass down makes at once; what is narrower is not for here.
pub(super) const CHUNK: usize = 32;

/// Bytes between the passes of one pixel in all rows: eight of red, green and blue.
const PIXEL: usize = 3 * ROWS;

/// What is read of one pair of pixels, and a little behind it.
const PAIR: usize = 2 * PIXEL + ROWS;

/// Makes a part of a resize into `out`, its rows without gaps. The source has all that it takes, in rows of [`CHUNK`] bytes at the least.
#[target_feature(enable = "avx2")]
pub(super) fn resize(
    source: &Source<'_>,
    part: &Part,
    [across, down]: &mut [Axis; 2],
    (between, rows): (&mut Vec<u8>, &mut Vec<usize>),
    out: &mut [u8],
) {
    across.prepare(part.from.0, part.to.0);
    down.prepare(part.from.1, part.to.1);
    let (part, width) = (part.rect, part.rect.width as usize);
    // Places at the right edge look at more pixels than there are, with weights of 0.
    between.resize(source.width * PIXEL + (2 * across.pairs + 2) * PIXEL, 0);
    for (number, out) in out.chunks_mut(ROWS * width * 3).enumerate() {
        let first = part.y as usize + number * ROWS;
        // Where there are less than eight rows left, the last one again: it is not written.
        let last = (part.y + part.height - 1) as usize;
        let places: [usize; ROWS] = std::array::from_fn(|row| (first + row).min(last));
        rows.clear();
        for place in places {
            let start = down.starts[place] as usize;
            rows.extend((0..2 * down.pairs).map(|i| source.row(start + i)));
        }
        match down.pairs {
            1 => pass_down::<1>(source, rows, down, places, between),
            2 => pass_down::<2>(source, rows, down, places, between),
            3 => pass_down::<3>(source, rows, down, places, between),
            _ => pass_down::<0>(source, rows, down, places, between),
        }
        match across.pairs {
            1 => pass_across::<1>(source.x, across, part, between, out),
            2 => pass_across::<2>(source.x, across, part, between, out),
            3 => pass_across::<3>(source.x, across, part, between, out),
            _ => pass_across::<0>(source.x, across, part, between, out),
        }
    }
}

/// Makes eight rows, of all columns that are there. `rows` says for each of them where the rows begin that it takes. `PAIRS`: of weights; 0: as many as the
/// axis says.
#[target_feature(enable = "avx2")]
#[inline]
fn pass_down<const PAIRS: usize>(
    source: &Source<'_>,
    rows: &[usize],
    axis: &Axis,
    places: [usize; ROWS],
    between: &mut [u8],
) {
    let pairs = if PAIRS == 0 { axis.pairs } else { PAIRS };
    let bytes = source.width * 3;
    let (zero, half) = (_mm256_setzero_si256(), _mm256_set1_epi32(1 << axis.bits >> 1));
    let bits = _mm_cvtsi32_si128(axis.bits as i32);
    assert!(bytes >= CHUNK && rows.iter().all(|row| row + bytes <= source.bytes.len()), "rows that are not there");
    for chunk in (0..bytes).step_by(CHUNK) {
        // The last one reaches back over the one before.
        let chunk = chunk.min(bytes - CHUNK);
        let mut made = [zero; ROWS];
        for ((made, rows), place) in made.iter_mut().zip(rows.chunks_exact(2 * pairs)).zip(places) {
            let mut sums = [half; 4];
            let weights = &axis.weights[place * pairs..][..pairs];
            for (pair, weights) in rows.as_chunks::<2>().0.iter().zip(weights) {
                let weights = _mm256_set1_epi32(*weights);
                // SAFETY: `chunk` and 32 bytes are within the bytes of a row, and the rows were looked at above.
                let [a, b] = pair.map(|row| unsafe { load32(source.bytes, row + chunk) });
                let (low, high) = (_mm256_unpacklo_epi8(a, b), _mm256_unpackhi_epi8(a, b));
                let pairs = [
                    _mm256_unpacklo_epi8(low, zero),
                    _mm256_unpackhi_epi8(low, zero),
                    _mm256_unpacklo_epi8(high, zero),
                    _mm256_unpackhi_epi8(high, zero),
                ];
                for (sum, pair) in sums.iter_mut().zip(pairs) {
                    *sum = _mm256_add_epi32(*sum, _mm256_madd_epi16(pair, weights));
                }
            }
            let [a, b, c, d] = sums.map(|sum| _mm256_sra_epi32(sum, bits));
            *made = _mm256_packus_epi16(_mm256_packs_epi32(a, b), _mm256_packs_epi32(c, d));
        }
        turn_bytes(made, &mut between[chunk * ROWS..][..CHUNK * ROWS]);
    }
}

/// Writes eight rows of 32 bytes as 32 columns of eight.
#[target_feature(enable = "avx2")]
#[inline]
fn turn_bytes(rows: [__m256i; ROWS], out: &mut [u8]) {
    let [a, b, c, d, e, f, g, h] = rows;
    let mut halves = [_mm256_setzero_si256(); 8];
    // Columns 0 to 7 (and 16 to 23 in the upper half), then those behind them.
    let low = [(a, b), (c, d), (e, f), (g, h)].map(|(a, b)| _mm256_unpacklo_epi8(a, b));
    let high = [(a, b), (c, d), (e, f), (g, h)].map(|(a, b)| _mm256_unpackhi_epi8(a, b));
    for (pairs, halves) in [low, high].into_iter().zip(halves.as_chunks_mut::<4>().0) {
        let [ab, cd, ef, gh] = pairs;
        let (first, second) = (_mm256_unpacklo_epi16(ab, cd), _mm256_unpackhi_epi16(ab, cd));
        let (third, fourth) = (_mm256_unpacklo_epi16(ef, gh), _mm256_unpackhi_epi16(ef, gh));
        *halves = [
            _mm256_unpacklo_epi32(first, third),
            _mm256_unpackhi_epi32(first, third),
            _mm256_unpacklo_epi32(second, fourth),
            _mm256_unpackhi_epi32(second, fourth),
        ];
    }
    let (left, right) = out.split_at_mut(CHUNK * ROWS / 2);
    let to = left.as_chunks_mut::<32>().0.iter_mut().zip(right.as_chunks_mut::<32>().0);
    for ([a, b], (left, right)) in halves.as_chunks::<2>().0.iter().zip(to) {
        store32(left, _mm256_permute2x128_si256::<0x20>(*a, *b));
        store32(right, _mm256_permute2x128_si256::<0x31>(*a, *b));
    }
}

/// Makes the rows of `out`, eight at the most, of those that the pass down made. `PAIRS`: of weights; 0: as many as the axis says.
#[target_feature(enable = "avx2")]
#[inline]
fn pass_across<const PAIRS: usize>(x: usize, axis: &Axis, part: Rect, between: &[u8], out: &mut [u8]) {
    let pairs = if PAIRS == 0 { axis.pairs } else { PAIRS };
    let width = part.width as usize;
    let (first, last) = (part.x as usize, (part.x + part.width - 1) as usize);
    let (zero, half) = (_mm256_setzero_si256(), _mm256_set1_epi32(1 << axis.bits >> 1));
    let bits = _mm_cvtsi32_si128(axis.bits as i32);
    // Four of red, green and blue become four pixels; four pixels of four bytes become as many of three.
    let pixels = both(_mm_setr_epi8(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15));
    let closer = both(_mm_setr_epi8(0, 1, 2, 4, 5, 6, 8, 9, 10, 12, 13, 14, -1, -1, -1, -1));
    for from in (0..width).step_by(PLACES) {
        let mut made = [zero; PLACES];
        for (i, made) in made.iter_mut().enumerate() {
            let place = (first + from + i).min(last);
            let at = (axis.starts[place] as usize - x) * PIXEL;
            let mut sums = [half; 3];
            let weights = &axis.weights[place * pairs..][..pairs];
            for (pair, weights) in weights.iter().enumerate() {
                let weights = _mm256_set1_epi32(*weights);
                let there: &[u8] = &between[at + pair * 2 * PIXEL..][..PAIR];
                let (a, b) = (load16(there, 0), load16(there, PIXEL));
                let (a_blue, b_blue) = (load16(there, 16), load16(there, PIXEL + 16));
                let channels = [_mm_unpacklo_epi8(a, b), _mm_unpackhi_epi8(a, b), _mm_unpacklo_epi8(a_blue, b_blue)];
                for (sum, pairs) in sums.iter_mut().zip(channels) {
                    *sum = _mm256_add_epi32(*sum, _mm256_madd_epi16(_mm256_cvtepu8_epi16(pairs), weights));
                }
            }
            let [red, green, blue] = sums.map(|sum| _mm256_sra_epi32(sum, bits));
            let bytes = _mm256_packus_epi16(_mm256_packs_epi32(red, green), _mm256_packs_epi32(blue, zero));
            *made = _mm256_shuffle_epi8(bytes, pixels);
        }
        let left = turn_pixels(made[..4].try_into().unwrap_or([zero; 4]));
        let right = turn_pixels(made[4..].try_into().unwrap_or([zero; 4]));
        // Row by row; in the upper halves are the rows from the fourth on.
        for number in 0..ROWS {
            let Some(row) = out.get_mut(number * width * 3..(number + 1) * width * 3) else { break };
            let [left, right] = [left, right].map(|rows| {
                let rows = _mm256_shuffle_epi8(rows[number % 4], closer);
                if number < 4 { _mm256_castsi256_si128(rows) } else { _mm256_extracti128_si256::<1>(rows) }
            });
            let to = &mut row[from * 3..];
            // Twelve bytes and four that come anew, twice.
            if let Some(to) = to.first_chunk_mut::<28>() {
                store16(to, 0, left);
                store16(to, 12, right);
            } else {
                let mut room = [0; 28];
                store16(&mut room, 0, left);
                store16(&mut room, 12, right);
                let count = to.len().min(PLACES * 3);
                to[..count].copy_from_slice(&room[..count]);
            }
        }
    }
}

/// Four places of eight rows, a pixel of four bytes each, become rows of four pixels: the first four, and the others in the upper halves.
#[target_feature(enable = "avx2")]
#[inline]
fn turn_pixels([a, b, c, d]: [__m256i; 4]) -> [__m256i; 4] {
    let (ab, cd) = (_mm256_unpacklo_epi32(a, b), _mm256_unpacklo_epi32(c, d));
    let (ab_high, cd_high) = (_mm256_unpackhi_epi32(a, b), _mm256_unpackhi_epi32(c, d));
    [
        _mm256_unpacklo_epi64(ab, cd),
        _mm256_unpackhi_epi64(ab, cd),
        _mm256_unpacklo_epi64(ab_high, cd_high),
        _mm256_unpackhi_epi64(ab_high, cd_high),
    ]
}

#[target_feature(enable = "avx2")]
#[inline]
fn both(half: __m128i) -> __m256i {
    _mm256_broadcastsi128_si256(half)
}

/// # Safety
///
/// From `at` on there are 32 bytes.
#[target_feature(enable = "avx2")]
#[inline]
unsafe fn load32(bytes: &[u8], at: usize) -> __m256i {
    debug_assert!(at + 32 <= bytes.len());
    // SAFETY: the caller says that 32 bytes are there; they may lie anywhere.
    unsafe { _mm256_loadu_si256(bytes.as_ptr().add(at).cast()) }
}

#[target_feature(enable = "avx2")]
#[inline]
fn load16(bytes: &[u8], at: usize) -> __m128i {
    let bytes: &[u8] = &bytes[at..at + 16];
    // SAFETY: these are 16 bytes, and may lie anywhere.
    unsafe { _mm_loadu_si128(bytes.as_ptr().cast()) }
}

#[target_feature(enable = "avx2")]
#[inline]
fn store32(to: &mut [u8; 32], from: __m256i) {
    // SAFETY: these are 32 bytes, and may lie anywhere.
    unsafe { _mm256_storeu_si256(to.as_mut_ptr().cast(), from) }
}

#[target_feature(enable = "avx2")]
#[inline]
fn store16(to: &mut [u8], at: usize, from: __m128i) {
    let to: &mut [u8] = &mut to[at..at + 16];
    // SAFETY: these are 16 bytes, and may lie anywhere.
    unsafe { _mm_storeu_si128(to.as_mut_ptr().cast(), from) }
}
