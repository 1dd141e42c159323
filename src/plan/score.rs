//! How random an order is, in numbers that can be compared: for one that reads fast and mixes little has a price in training.
//!
//! Three things are measured on the places of an epoch, each 0 for a uniformly random order and 1 for the order of storage:
//!
//! - **Neighbours**: of the pairs of rows that lie side by side in storage, the share that is in one batch, beyond what chance puts there.
//! - **Distance**: by how much less than in a random order places differ from positions. The mean of `|place - position|` is `(n² - 1) / 3n`
//!   for a random one (Spearman's footrule; Diaconis and Graham, "Spearman's footrule as a measure of disarray", J. R. Stat. Soc. B 1977).
//! - **Labels**: the correlation of labels within a batch: `(deff - 1) / (b - 1)`, where `deff` is the variance of a class's share over batches of `b`
//!   beside that of independent draws (the design effect; Kish, "Survey Sampling", 1965). It is what a gradient's variance over batches
//!   grows by (the factor `h_D` of CorgiPile; Xu et al., SIGMOD 2022, with labels in place of gradients). Slightly below 0 for a random
//!   order, whose batches are drawn without replacement.
//!
//! The **score** is 1 less the worst of the three, so 1 for a random order and 0 for none. A buffer of 1,000 samples, as most loaders
//! shuffle by, is measured with [`buffered`].

use serde::Serialize;

use crate::rng::Key;

/// The numbers of one order. See the module.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Score {
    /// 1 less the worst of the others.
    pub score: f64,
    /// Pairs of neighbours that stay in a batch, beyond chance.
    pub neighbours: f64,
    /// How much less than at random places differ from positions.
    pub distance: f64,
    /// The correlation of labels within a batch; `None` without a column of classes, or with one class.
    pub labels: Option<f64>,
}

/// Measures an order, given as batches of `(place, position, label)`; `n` is how many positions there are in all. Batches may be
/// a sample of all batches, of whole ones of about one size.
///
/// `None` where there is nothing to measure: fewer than two batches, or two samples.
pub fn score<B>(n: u64, batches: impl IntoIterator<Item = B>) -> Option<Score>
where
    B: IntoIterator<Item = (u64, u64, Option<i64>)>,
{
    let mut classes: std::collections::BTreeMap<i64, (u64, f64)> = std::collections::BTreeMap::new();
    let (mut samples, mut count, mut pairs, mut expected, mut moved, mut labelled) = (0u64, 0u64, 0u64, 0.0, 0.0, 0u64);
    let mut squares = 0.0;
    for batch in batches {
        let mut positions = Vec::new();
        let mut labels: std::collections::BTreeMap<i64, u64> = std::collections::BTreeMap::new();
        for (place, position, label) in batch {
            moved += place.abs_diff(position) as f64;
            positions.push(position);
            if let Some(label) = label {
                *labels.entry(label).or_default() += 1;
            }
        }
        let b = positions.len() as u64;
        if b == 0 {
            continue;
        }
        (count, samples) = (count + 1, samples + b);
        positions.sort_unstable();
        pairs += positions.windows(2).filter(|pair| pair[1] - pair[0] == 1).count() as u64;
        // Of the b (b - 1) / 2 pairs of a batch each is one of neighbours with chance 2 / n.
        expected += (b * (b - 1)) as f64 / n as f64;
        let in_batch: u64 = labels.values().sum();
        labelled += in_batch;
        for (label, times) in labels {
            let class = classes.entry(label).or_default();
            class.0 += times;
            class.1 += (times * times) as f64 / in_batch as f64;
        }
        squares += in_batch as f64;
    }
    if count < 2 || n < 2 {
        return None;
    }
    let (n, b) = (n as f64, samples as f64 / count as f64);
    // In the order of storage each batch has one pair less than rows.
    let most = (samples - count) as f64;
    let neighbours = if most > expected { (pairs as f64 - expected) / (most - expected) } else { 0.0 };
    let random = (n * n - 1.0) / (3.0 * n);
    let distance = 1.0 - moved / samples as f64 / random;
    // The sum over classes of the variance of a batch's share, by that of independent draws: sum of p (1 - p) / b.
    let total = labelled as f64;
    let shares: Vec<(f64, f64)> = classes.values().map(|(times, squares)| (*times as f64 / total, *squares)).collect();
    let one: f64 = shares.iter().map(|(p, _)| p * (1.0 - p)).sum();
    let labels = (one > 0.0 && b > 1.0).then(|| {
        // Of class c: sum over batches of b (share - p)² = sum of times² / b - p² total.
        let between: f64 = shares.iter().map(|(p, squares)| squares - p * p * total).sum();
        let deff = between / (count as f64 * one);
        let size = squares / count as f64;
        if size > 1.0 { (deff - 1.0) / (size - 1.0) } else { 0.0 }
    });
    let worst = [neighbours, distance, labels.unwrap_or(0.0)].into_iter().fold(0.0, f64::max);
    Some(Score { score: (1.0 - worst).clamp(0.0, 1.0), neighbours, distance, labels })
}

/// The order that a buffer of so many samples gives: it is filled from the front, and each sample taken at random from it makes room for the
/// next (`tf.data`'s `shuffle`, WebDataset's, and others').
pub fn buffered(n: u64, size: u64, key: Key) -> impl Iterator<Item = u64> {
    let mut buffer: Vec<u64> = (0..n.min(size.max(1))).collect();
    let mut next = buffer.len() as u64;
    let mut stream = key.stream();
    std::iter::from_fn(move || {
        if buffer.is_empty() {
            return None;
        }
        let at = stream.below(buffer.len() as u64) as usize;
        if next < n {
            next += 1;
            Some(std::mem::replace(&mut buffer[at], next - 1))
        } else {
            Some(buffer.swap_remove(at))
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::{Permutation, Windowed};

    /// Of 10 classes that lie one behind the other.
    fn of(order: impl Iterator<Item = u64>, n: u64) -> Score {
        let label = |position: u64| Some((position * 10 / n) as i64);
        let places: Vec<_> = order.enumerate().map(|(place, p)| (place as u64, p, label(p))).collect();
        assert_eq!(places.len() as u64, n);
        score(n, places.chunks(32).map(|batch| batch.to_vec())).unwrap()
    }

    #[test]
    fn storage_scores_nothing_and_chance_all() {
        let n = 10_000;
        let stored = of(0..n, n);
        assert_eq!((stored.score, stored.neighbours, stored.distance), (0.0, 1.0, 1.0));
        // All but the batches over a border of classes are of one class.
        assert!(stored.labels.unwrap() > 0.95);
        let p = Permutation::new(n, Key::new(1));
        let random = of((0..n).map(|i| p.at(i)), n);
        assert!(random.score > 0.98, "{random:?}");
        assert!(random.neighbours.abs() < 0.005 && random.labels.unwrap().abs() < 0.005, "{random:?}");
        // What lies between: a buffer forgets its neighbours, and no more; windows of many groups mix more than those of few.
        let buffer = of(buffered(n, 1000, Key::new(1)), n);
        assert!(buffer.neighbours < 0.03 && buffer.labels.unwrap() > 0.25 && buffer.score < 0.3, "{buffer:?}");
        let windowed = |groups| {
            let w = Windowed::new(n, (50, groups), Key::new(1));
            of((0..n).map(|i| w.at(i)), n)
        };
        let (few, many) = (windowed(2), windowed(40));
        assert!(few.labels.unwrap() > 3.0 * many.labels.unwrap() && many.score > few.score, "{few:?} {many:?}");
        assert!(many.score > buffer.score + 0.5, "{many:?}");
    }

    #[test]
    fn a_buffer_gives_each_sample_once() {
        for (n, size) in [(0, 5), (1, 5), (5, 1), (100, 7), (100, 1000)] {
            let mut all: Vec<u64> = buffered(n, size, Key::new(2)).collect();
            if size == 1 {
                assert_eq!(all, (0..n).collect::<Vec<_>>());
            }
            all.sort_unstable();
            assert_eq!(all, (0..n).collect::<Vec<_>>());
        }
    }

    #[test]
    fn one_class_or_none_has_no_correlation() {
        let places = |label| (0..8u64).map(move |i| vec![(2 * i, 2 * i, label), (2 * i + 1, 2 * i + 1, label)]);
        assert_eq!(score(16, places(Some(3))).unwrap().labels, None);
        assert_eq!(score(16, places(None)).unwrap().labels, None);
        assert_eq!(score(0, Vec::<Vec<(u64, u64, Option<i64>)>>::new()), None);
        assert_eq!(score(16, places(None).take(1)), None);
    }
}
