//! `dct`: a perceptual hash of pictures, from the signs of low frequencies.
//!
//! As pHash and Python's imagehash (`phash` with `hash_size` 16: Zauner, "Implementation and Benchmarking of Perceptual Image Hash
//! Functions", 2010): gray, 64 x 64 pixels, a discrete cosine transform, and of its lowest 16 x 16 frequencies one bit each. There a bit says
//! whether the value is above the median of all; here, whether it is above zero, and the mean (which is always above) is left out. The median
//! is close to zero anyway, and so mirroring from left to right exactly turns over the bits of odd horizontal frequencies: two pictures are
//! compared as they are and mirrored, for the cost of one bit in a key.
//!
//! The hash does not bear cropping, so a sketch has three: of the whole picture, and of its inner 95 and 90 % in either direction. The whole of one
//! picture is compared with all three of the other. That covers a frame around the picture, too.
//!
//! **Covered**: encoding, scaling, other proportions, brightness, contrast, gamma, gray, noise, blur, small watermarks, mirroring, crops and
//! frames of some 5 %, turns of some 2 degrees. **Not covered**: crops of more than about 7 %, turns by 90 degrees or upside down, collages.
//! Colour is not looked at: two things of one shape before one background, in different colours, are the false pairs.

use fast_image_resize::images::{TypedImage, TypedImageRef};
use fast_image_resize::pixels::U8;
use fast_image_resize::{FilterType, ResizeAlg, ResizeOptions, Resizer};

use super::Method;
use crate::codec::{Decoded, luma};
use crate::data::info::Kind;
use crate::error::{Fault, Reason};

/// The side of the gray picture that is transformed.
const SIDE: usize = 64;
/// Frequencies in each direction, with the mean.
const LOW: usize = 16;
/// Bits of a hash that say anything: all frequencies but the mean, which comes first.
const BITS: u32 = (LOW * LOW) as u32 - 1;
/// Parts of the width and height, in hundredths, that a hash is made of.
const WINDOWS: [u32; 3] = [100, 95, 90];
/// Bytes of a hash.
const HASH: usize = LOW * LOW / 8;
/// Keys of each window.
const BANDS: usize = 10;
/// Bits of a key, of which mirroring costs one.
const BAND: usize = 18;
/// Levels that a picture must deviate from its mean, as the root of the mean square, or else it is flat.
const FLAT: u64 = 2;

/// The table's row.
///
/// Keys: each window's 180 lowest frequencies, dealt to ten keys of 18 bits. Hashes of which one window differs from a window of the other in at most
/// 9 of these bits share a key for certain. If bits differed independently with probability p they would with 1 - (1 - (1 - p)^18)^10: 0.99 at
/// p = 0.055, 0.80 at 0.10; in fact bits differ more at frequencies that have little in them. Measured, of copies above the threshold: 95 in 100 share a key where
/// 5 % are cut off, 98 where there is a frame or a turn, 99 and more of all others (docs/duplicates.md).
pub(super) const METHOD: Method = Method {
    name: "dct",
    kind: Kind::Image,
    version: 1,
    summary: "perceptual hash of pictures: encoded anew, scaled, recoloured, mirrored, with crops or frames of 5 %",
    threshold: 0.83,
    sketch: |decoded| match decoded {
        Decoded::Pixels(pixels) => sketch(pixels.data, pixels.width, pixels.height),
        _ => Err(Fault::new(Reason::WrongMedia, "there are no pixels to make a perceptual hash of")),
    },
    keys,
    similarity,
};

/// Those of all windows.
pub(super) fn keys(sketch: &[u8]) -> Vec<u64> {
    let mut keys: Vec<u64> = hashes(sketch).into_iter().flatten().flat_map(|hash| bands(&hash)).collect();
    keys.sort_unstable();
    keys.dedup();
    keys
}

/// One bit a frequency, in rows of horizontal frequencies: bit `u` of word `v` is horizontal frequency `u` of vertical frequency `v`.
pub(super) type Hash = [u16; LOW];
/// Bytes of a picture's sketch.
pub(super) const SKETCH: usize = HASH * WINDOWS.len();
/// The bits of a row that mirroring turns over.
const ODD: u16 = 0xaaaa;

/// The hashes of RGB8 pixels, one a window, each as little-endian words.
pub(super) fn sketch(data: &[u8], width: u32, height: u32) -> Result<Option<Vec<u8>>, Fault> {
    let wrong = |e: &dyn std::fmt::Display| Fault::new(Reason::Corrupt, format!("a perceptual hash: {e}"));
    let gray: Vec<u8> = data.as_chunks::<3>().0.iter().map(|pixel| luma(*pixel)).collect();
    let from = TypedImageRef::<U8>::from_buffer(width, height, &gray).map_err(|e| wrong(&e))?;
    let (mut resizer, mut small) = (Resizer::new(), [0u8; SIDE * SIDE]);
    let mut sketch = Vec::with_capacity(SKETCH);
    for window in WINDOWS {
        let part = |side: u32| {
            (f64::from(side) * f64::from(100 - window) / 200.0, f64::from(side) * f64::from(window) / 100.0)
        };
        let ((left, across), (top, down)) = (part(width), part(height));
        let options =
            ResizeOptions::new().resize_alg(ResizeAlg::Convolution(FilterType::Lanczos3)).crop(left, top, across, down);
        let mut target = TypedImage::<U8>::from_buffer(SIDE as u32, SIDE as u32, &mut small).map_err(|e| wrong(&e))?;
        resizer.resize_typed(&from, &mut target, &options).map_err(|e| wrong(&e))?;
        if window == 100 && is_flat(&small) {
            return Ok(None);
        }
        sketch.extend(hash(&small).iter().flat_map(|row| row.to_le_bytes()));
    }
    Ok(Some(sketch))
}

fn is_flat(small: &[u8; SIDE * SIDE]) -> bool {
    let (sum, squares) = small.iter().fold((0u64, 0u64), |(s, q), &v| (s + u64::from(v), q + u64::from(v).pow(2)));
    let count = (SIDE * SIDE) as u64;
    // Variance times the square of the count.
    count * squares - sum * sum < FLAT * FLAT * count * count
}

/// cos(pi k (2 n + 1) / 128) in steps of 2^-14: whole numbers, so that sums are exact in any order.
static COSINES: std::sync::LazyLock<[[i64; SIDE]; LOW]> = std::sync::LazyLock::new(|| {
    let cosine = |k: usize, n: usize| libm::cos(std::f64::consts::PI * (k * (2 * n + 1)) as f64 / (2 * SIDE) as f64);
    // The right half is the left one mirrored, by definition and here to the bit.
    let at =
        |k: usize, n: usize| if n < SIDE / 2 { cosine(k, n) } else { cosine(k, SIDE - 1 - n) * [1.0, -1.0][k % 2] };
    std::array::from_fn(|k| std::array::from_fn(|n| libm::round(at(k, n) * 16_384.0) as i64))
});

/// The values of the low frequencies, `[vertical][horizontal]`, in steps of 2^-28 of a level.
pub(super) fn frequencies(small: &[u8; SIDE * SIDE]) -> [[i64; LOW]; LOW] {
    let cosines = &*COSINES;
    let mut rows = [[0i64; LOW]; SIDE];
    for (row, pixels) in rows.iter_mut().zip(small.as_chunks::<SIDE>().0) {
        for (value, wave) in row.iter_mut().zip(cosines) {
            *value = pixels.iter().zip(wave).map(|(p, c)| i64::from(*p) * c).sum();
        }
    }
    // At most 64 * 64 * 255 * 2^28 < 2^48.
    std::array::from_fn(|v| std::array::from_fn(|u| rows.iter().zip(&cosines[v]).map(|(row, c)| row[u] * c).sum()))
}

fn hash(small: &[u8; SIDE * SIDE]) -> Hash {
    let mut hash = frequencies(small).map(|row| (0..LOW).fold(0, |bits, u| bits | u16::from(row[u] > 0) << u));
    hash[0] &= !1;
    hash
}

/// The hashes of a sketch; `None` if it is none.
fn hashes(sketch: &[u8]) -> Option<[Hash; WINDOWS.len()]> {
    let words: &[[u8; 2]; SKETCH / 2] = sketch.as_chunks::<2>().0.try_into().ok().filter(|_| sketch.len() == SKETCH)?;
    Some(std::array::from_fn(|w| std::array::from_fn(|v| u16::from_le_bytes(words[w * LOW + v]) & !u16::from(v == 0))))
}

/// Which frequencies each key is made of: (vertical, horizontal), the lowest by their sum, dealt out in turn.
static DEALT: std::sync::LazyLock<[[(usize, usize); BAND]; BANDS]> = std::sync::LazyLock::new(|| {
    let mut order: Vec<(usize, usize)> = (1..LOW * LOW).map(|n| (n / LOW, n % LOW)).collect();
    order.sort_by_key(|&(v, u)| (v + u, v.max(u), v));
    std::array::from_fn(|band| std::array::from_fn(|n| order[n * BANDS + band]))
});

/// The keys of a hash, the same for its mirror image: of the two the smaller.
fn bands(hash: &Hash) -> [u64; BANDS] {
    let deal = &*DEALT;
    std::array::from_fn(|band| {
        let gather = |turned: u16| {
            deal[band].iter().fold(0u64, |key, &(v, u)| key << 1 | u64::from((hash[v] ^ turned) >> u & 1))
        };
        (band as u64) << 32 | gather(0).min(gather(ODD))
    })
}

/// Bits of two hashes that differ, mirrored or not, whichever is less.
fn differing(a: &Hash, b: &Hash) -> u32 {
    let count = |turned: u16| a.iter().zip(b).map(|(x, y)| (x ^ y ^ turned).count_ones()).sum::<u32>();
    // The mean is no bit of either, and horizontally even.
    count(0).min(count(ODD))
}

/// 1 less the part of the bits that differ, of the two windows that are most alike; one of the two is the whole picture.
pub(super) fn similarity(a: &[u8], b: &[u8]) -> f64 {
    let (Some(a), Some(b)) = (hashes(a), hashes(b)) else { return 0.0 };
    let pairs = a.iter().map(|window| (window, &b[0])).chain(b.iter().map(|window| (&a[0], window)));
    let least = pairs.map(|(x, y)| differing(x, y)).min().unwrap_or(BITS);
    1.0 - f64::from(least) / f64::from(BITS)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::tests::fixture;
    use crate::codec::{Limits, Scratch, Want, sniff};

    /// golden/phash.json: imagehash's bits and the signs of Pillow's and SciPy's frequencies; fixtures/make/make_golden_fingerprints.py has the
    /// bounds, written before the first comparison.
    #[test]
    #[cfg(feature = "image")]
    fn bits_are_imagehashs() {
        let golden: serde_json::Value = serde_json::from_slice(&fixture("golden/phash.json")).unwrap();
        let (mut exempt, mut photos) = (0, 0);
        for (name, of) in golden["files"].as_object().unwrap() {
            let bits = |key: &str| -> Hash {
                let hex = of[key].as_str().unwrap();
                std::array::from_fn(|v| u16::from_str_radix(&hex[4 * v..4 * v + 4], 16).unwrap())
            };
            let (bytes, mut scratch) = (fixture(name), Scratch::default());
            let codec = sniff(&bytes, Kind::Image).unwrap();
            let decoded = codec.decode(&bytes, Want::Whole, &Limits::default(), &mut scratch).unwrap();
            let Some(sketch) = (METHOD.sketch)(&decoded).unwrap() else {
                assert_eq!(name, "lints/light.png", "six levels are flat, nothing else here is");
                continue;
            };
            let own = hashes(&sketch).unwrap()[0];
            let (signs, phash, between, near) = (bits("signs"), bits("phash"), bits("between"), bits("near"));
            for v in 0..LOW {
                // The mean is no bit of ours.
                let counts = !u16::from(v == 0) & !near[v];
                assert_eq!((own[v] ^ signs[v]) & counts, 0, "{name}, row {v}: signs");
                assert_eq!((own[v] ^ phash[v]) & counts & !between[v], 0, "{name}, row {v}: imagehash's");
            }
            if name.starts_with("images/") {
                photos += 1;
                exempt += (0..LOW).map(|v| (near[v] | between[v]).count_ones()).sum::<u32>();
            }
        }
        assert!(photos >= 30 && exempt * 6 < photos * BITS, "{exempt} bits of {photos} photos are not compared");
    }

    /// What mirroring does to the pixels it does to the bits, exactly, and keys do not see it.
    #[test]
    fn a_mirrored_picture_turns_over_odd_frequencies() {
        let mut small = [0u8; SIDE * SIDE];
        small.iter_mut().enumerate().for_each(|(n, v)| *v = xxhash_rust::xxh3::xxh3_64(&n.to_le_bytes()) as u8);
        let mut mirrored = small;
        mirrored.as_chunks_mut::<SIDE>().0.iter_mut().for_each(|row| row.reverse());
        let (a, b) = (hash(&small), hash(&mirrored));
        assert!(frequencies(&small).as_flattened().iter().all(|value| *value != 0));
        assert_eq!(a.map(|row| row ^ ODD), b);
        assert_eq!((differing(&a, &b), bands(&a)), (0, bands(&b)));
        assert_ne!(a, b);
    }

    /// Hashes that differ in 9 bits of the keys' share one: there are ten.
    #[test]
    fn nine_bits_leave_a_key() {
        let a: Hash = std::array::from_fn(|v| (xxhash_rust::xxh3::xxh3_64(&[v as u8]) as u16) & !u16::from(v == 0));
        for first in 0..BAND * BANDS - 9 {
            let mut b = a;
            for n in first..first + 9 {
                let (v, u) = DEALT[n % BANDS][n / BANDS];
                b[v] ^= 1 << u;
            }
            assert_eq!(differing(&a, &b), 9);
            assert!(bands(&a).iter().any(|key| bands(&b).contains(key)));
        }
    }

    /// The transform by its definition, in f64.
    #[test]
    fn frequencies_are_the_cosine_transforms() {
        let mut small = [0u8; SIDE * SIDE];
        small.iter_mut().enumerate().for_each(|(n, v)| *v = (n * n / 97) as u8);
        let cosine = |k: usize, n: usize| (std::f64::consts::PI * (k * (2 * n + 1)) as f64 / 128.0).cos();
        let found = frequencies(&small);
        for (v, u) in [(0, 0), (0, 1), (3, 5), (15, 15), (7, 0)] {
            let terms = (0..SIDE * SIDE).map(|n| f64::from(small[n]) * cosine(v, n / SIDE) * cosine(u, n % SIDE));
            // Two cosines rounded to 2^-15 each, over 4,096 pixels of 255 levels at the most.
            let (exact, own) = (terms.sum::<f64>(), found[v][u] as f64 / f64::from(1 << 28));
            assert!((exact - own).abs() <= 4_096.0 * 255.0 * 2.0 / 32_768.0, "{v} {u}: {exact} {own}");
        }
    }
}
