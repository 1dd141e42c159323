//! What of a batch is padding: as batches are formed, as they would be without, and without windows.

use serde::Serialize;

use super::Plan;
use super::batching::{Batches, Batching, Bucket, Fit, Forming, Long, Pack};

/// Lengths and padding of some batches.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Waste {
    /// Batches.
    pub batches: u64,
    /// Places that hold something: samples, or rows of packed sequences.
    pub filled: u64,
    /// The lengths of all that they hold, in the unit of the lengths.
    pub length: u64,
    /// What it takes, padded: of each batch its places times the longest of them, or the length of a row.
    pub padded: u64,
}

impl Waste {
    /// The share of what it takes that is padding, from 0 to 1.
    pub fn share(&self) -> f64 {
        if self.padded == 0 { 0.0 } else { 1.0 - self.length as f64 / self.padded as f64 }
    }

    /// Counts the batches of a window. With `row`, they are of `batch` rows of so many tokens each.
    fn add(&mut self, lengths: &[u64], batches: &Batches, row: Option<(u64, u64)>) {
        for batch in 0..batches.len() {
            let (mut filled, mut longest) = (0, 0);
            for slot in batches.batch(batch) {
                let own: u64 = slot
                    .iter()
                    .map(|piece| piece.range.map_or(lengths[piece.sample as usize], |(from, to)| to - from))
                    .fold(0, u64::saturating_add);
                filled += 1;
                longest = own.max(longest);
                self.length = self.length.saturating_add(own);
            }
            self.batches += 1;
            self.filled += filled;
            let padded = row.map_or(longest.saturating_mul(filled), |(rows, length)| rows.saturating_mul(length));
            self.padded = self.padded.saturating_add(padded);
        }
    }
}

/// What is looked at: as many samples as memory is to hold the lengths of.
const LOOKED_AT: u64 = 1 << 24;

/// Padding of an epoch (of its first 16 million samples): the plan's own, and beside it that of the same samples in other batches. Each by
/// a name; nothing where batches are not formed by length.
pub fn waste(plan: &Plan) -> Vec<(String, Waste)> {
    let Some(batching) = plan.batching() else { return Vec::new() };
    let batch = plan.batch_size();
    let samples = (batch / plan.group as usize).max(1);
    let windows = plan.windows().min(LOOKED_AT.div_ceil(plan.window_samples()));
    let all: Vec<Vec<u64>> = (0..windows).map(|window| plan.lengths(window)).collect();
    let of = |forming: Forming, whole: bool| {
        let row = match &forming {
            Forming::Pack(pack) => Some((batch as u64, pack.length as u64)),
            Forming::Bucket(_) => None,
        };
        let places = plan.group;
        let per_batch = if row.is_some() { batch } else { samples };
        let batching = Batching { forming, window: batching.window, lengths: Vec::new() };
        let mut waste = Waste::default();
        if whole {
            let lengths = all.concat();
            waste.add(&lengths, &batching.formed(&lengths, per_batch, places, None), row);
        } else {
            all.iter().for_each(|own| waste.add(own, &batching.formed(own, per_batch, places, None), row));
        }
        waste
    };
    // As they come, one batch after the other: one bucket for all.
    let plain = Forming::Bucket(Bucket { bounds: vec![u64::MAX], ..Bucket::default() });
    let mut told = vec![("as they come".to_owned(), of(plain, true))];
    match &batching.forming {
        Forming::Bucket(bucket) => {
            let forming = |bucket: &Bucket| Forming::Bucket(bucket.clone());
            told.push(("bucket".into(), of(forming(bucket), false)));
            told.push(("bucket, without windows".into(), of(forming(bucket), true)));
            if !bucket.bounds.is_empty() {
                let sorted = Bucket { bounds: Vec::new(), ..bucket.clone() };
                told.push(("bucket, sorted instead of bounds".into(), of(forming(&sorted), false)));
            }
        }
        Forming::Pack(pack) => {
            for fit in [pack.fit, if pack.fit == Fit::Best { Fit::Greedy } else { Fit::Best }] {
                let name = if fit == Fit::Best { "best" } else { "greedy" };
                let forming = || Forming::Pack(Pack { fit, ..pack.clone() });
                told.push((format!("pack, {name}"), of(forming(), false)));
                told.push((format!("pack, {name}, without windows"), of(forming(), true)));
            }
            if pack.long == Long::Split {
                let cut = Pack { long: Long::Truncate, ..pack.clone() };
                told.push(("pack, truncated".into(), of(Forming::Pack(cut), false)));
            }
        }
    }
    told
}
