//! `minhash`: what part of their character sequences two texts have in common.
//!
//! MinHash (Broder, "On the resemblance and containment of documents", 1997) over the sequences of five characters of a text in NFKC, in lower case, with all that
//! is neither letter nor digit folded to one space. Characters and not words: a slip of the pen then costs five of a text's many sequences and not three of
//! its few words, and languages without spaces need nothing of their own.
//!
//! Of each of 128 hash functions the sketch has the least value of any sequence, of which 16 bits are kept (b-bit minwise hashing, Li and König, 2010; b = 16
//! makes the estimate too high by (1 - J) / 65,536). Similarity is the part of the values that are equal: an estimate of the Jaccard index J, with a standard deviation of
//! sqrt(J (1 - J) / 128), 0.04 at J = 0.7.
//!
//! **Covered**: case, punctuation, line breaks, forms of characters, slips in up to some 3 % of the letters, a word or sentence more or less in a longer text, another order of
//! sentences. **Not covered**: a short quotation within a long text (that is containment, not resemblance), translations, other words for the same, texts below 24 characters.

use unicode_normalization::UnicodeNormalization;
use xxhash_rust::xxh3::{xxh3_64, xxh3_64_with_seed};

use super::Method;
use crate::codec::Decoded;
use crate::data::info::Kind;
use crate::error::{Fault, Reason};

/// Characters of a sequence.
const LENGTH: usize = 5;
/// Sequences that a text has at least, or else it says too little.
const LEAST: usize = 20;
/// Hash functions.
const HASHES: usize = 128;
/// Values of a key.
const ROWS: usize = 5;
/// Keys.
const BANDS: usize = 25;

/// The table's row.
///
/// Keys: 25 bands of 5 values. Two texts with the Jaccard index J share one with the probability 1 - (1 - J^5)^25: 0.06 at J = 0.3, 0.55 at 0.5, 0.87 at 0.6, 0.991 at 0.7,
/// 0.99995 at 0.8.
pub(super) const METHOD: Method = Method {
    name: "minhash",
    kind: Kind::Text,
    version: 1,
    summary: "MinHash of texts: other case, punctuation and line breaks, some slips, a sentence more or less",
    threshold: 0.7,
    sketch: |decoded| match decoded {
        Decoded::Text(text) => Ok(sketch(text)),
        _ => Err(Fault::new(Reason::WrongMedia, "there is no text to make a MinHash of")),
    },
    keys,
    similarity,
};

/// The text as it is compared, as characters.
fn folded(text: &str) -> Vec<char> {
    let mut folded = Vec::new();
    for c in text.nfkc().flat_map(char::to_lowercase) {
        if c.is_alphanumeric() {
            folded.push(c);
        } else if folded.last().is_some_and(|last| *last != ' ') {
            folded.push(' ');
        }
    }
    folded.pop_if(|last| *last == ' ');
    folded
}

/// A hash of each sequence of characters.
fn sequences(folded: &[char]) -> impl Iterator<Item = u64> {
    folded.windows(LENGTH).map(|sequence| {
        let mut bytes = [0u8; 4 * LENGTH];
        for (to, c) in bytes.as_chunks_mut::<4>().0.iter_mut().zip(sequence) {
            *to = u32::from(*c).to_le_bytes();
        }
        xxh3_64(&bytes)
    })
}

/// The least values, little endian.
fn sketch(text: &str) -> Option<Vec<u8>> {
    let folded = folded(text);
    if folded.len() < LENGTH - 1 + LEAST {
        return None;
    }
    // A bijection of 32 bits for each function: exclusive or, an odd factor, the upper half into the lower.
    let of: [(u32, u32); HASHES] = std::array::from_fn(|n| {
        let both = xxh3_64_with_seed(b"minhash", n as u64);
        (both as u32, (both >> 32) as u32 | 1)
    });
    let mut least = [u32::MAX; HASHES];
    for hash in sequences(&folded) {
        for (least, (turned, factor)) in least.iter_mut().zip(of) {
            let value = (hash as u32 ^ turned).wrapping_mul(factor);
            *least = (*least).min(value ^ value >> 15);
        }
    }
    // The upper bits of least values are zeros.
    Some(least.iter().flat_map(|value| (*value as u16).to_le_bytes()).collect())
}

/// The values; none if it is no sketch.
fn values(sketch: &[u8]) -> &[[u8; 2]] {
    if sketch.len() == 2 * HASHES { sketch.as_chunks::<2>().0 } else { &[] }
}

fn keys(sketch: &[u8]) -> Vec<u64> {
    let bands = values(sketch).chunks_exact(ROWS).take(BANDS).enumerate();
    let mut keys: Vec<u64> = bands.map(|(n, band)| xxh3_64_with_seed(band.as_flattened(), n as u64)).collect();
    keys.sort_unstable();
    keys.dedup();
    keys
}

fn similarity(a: &[u8], b: &[u8]) -> f64 {
    let equal = values(a).iter().zip(values(b)).filter(|(x, y)| x == y).count();
    equal as f64 / HASHES as f64
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::codec::tests::fixture;

    /// The index by its definition, over the sequences themselves.
    fn jaccard(a: &str, b: &str) -> f64 {
        let set = |text: &str| -> BTreeSet<String> {
            folded(text).windows(LENGTH).map(|sequence| sequence.iter().collect()).collect()
        };
        let (a, b) = (set(a), set(b));
        a.intersection(&b).count() as f64 / a.union(&b).count() as f64
    }

    /// Every text with the play's beginning replaced, more and more: J from 1 to 0. The bound, from before the first comparison: four standard deviations of 128 draws, and
    /// one value for two sequences that share 16 bits.
    #[test]
    fn similarity_is_the_jaccard_index() {
        let play = String::from_utf8(fixture("text/shakespeare_20k.txt")).unwrap();
        let (one, other) = play.split_at(play.len() / 2);
        let mut indices = Vec::new();
        for (length, part) in (0..=20).flat_map(|n| [400, 4_000, 9_000].map(|length| (length, n * length / 20))) {
            let (a, b) = (&one[..length], format!("{}{}", &other[..part], &one[part..length]));
            let (exact, own) = (jaccard(a, &b), similarity(&sketch(a).unwrap(), &sketch(&b).unwrap()));
            let bound = 4.0 * (exact * (1.0 - exact) / HASHES as f64).sqrt() + 1.0 / HASHES as f64;
            assert!((exact - own).abs() <= bound, "{part} of {length}: {exact} is estimated as {own}");
            indices.push(own - exact);
        }
        // The mean of errors of 63 texts, which are not independent of each other: three deviations of 16.
        let mean = indices.iter().sum::<f64>() / indices.len() as f64;
        assert!(mean.abs() < 3.0 * 0.045 / 4.0, "{mean}");
    }

    #[test]
    fn what_is_no_letter_is_folded() {
        let as_text = |text: &str| folded(text).into_iter().collect::<String>();
        assert_eq!(
            as_text("  \u{201c}The \u{fb01}rst\u{201d} --\r\n\tSECOND; \u{c9}t\u{e9} 1,000 "),
            "the first second \u{e9}t\u{e9} 1 000"
        );
        assert_eq!(as_text("e\u{301}"), "\u{e9}");
        assert_eq!(as_text("!?"), "");
        let long = "a".repeat(LENGTH - 1 + LEAST);
        assert!(sketch(&long).is_some() && sketch(&long[1..]).is_none());
    }

    /// The curve that the method states, by 2,000 draws of sketches that agree in each value with the probability J: within four standard deviations.
    #[test]
    fn keys_are_shared_as_often_as_is_said() {
        for j in [0.3, 0.5, 0.7, 0.8] {
            let mut shared = 0;
            for draw in 0..2_000u64 {
                let hash = |n: usize, of: u64| xxh3_64_with_seed(&(n as u64).to_le_bytes(), draw << 2 | of);
                let equal = |n: usize| (hash(n, 0) >> 11) as f64 / (1u64 << 53) as f64 > 1.0 - j;
                let a: Vec<u8> = (0..HASHES).flat_map(|n| (hash(n, 1) as u16).to_le_bytes()).collect();
                let value = |n: usize| hash(n, if equal(n) { 1 } else { 2 }) as u16;
                let b: Vec<u8> = (0..HASHES).flat_map(|n| value(n).to_le_bytes()).collect();
                shared += u32::from(keys(&a).iter().any(|key| keys(&b).contains(key)));
            }
            let said = 1.0 - (1.0 - f64::powi(j, 5)).powi(25);
            let bound = 4.0 * (said * (1.0 - said) / 2_000.0).sqrt() + 1e-3;
            assert!((f64::from(shared) / 2_000.0 - said).abs() < bound, "{j}: {shared} of 2,000, {said} is said");
        }
    }
}
