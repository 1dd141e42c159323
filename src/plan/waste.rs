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

    /// Counts the batches of a window, of `batch` rows or of any samples.
    fn add(&mut self, lengths: &[u64], batches: &Batches, batch: u64, pack: Option<&Pack>) {
        self.batches = self.batches.saturating_add(batches.len());
        if let Some((packing, pack)) = batches.packing().zip(pack) {
            // Full rows are too many to be looked at one by one.
            self.filled = self.filled.saturating_add(packing.rows());
            self.length = self.length.saturating_add(packing.tokens(lengths));
            let padded = batches.len().saturating_mul(batch).saturating_mul(pack.length as u64);
            self.padded = self.padded.saturating_add(padded);
            return;
        }
        for batch in 0..batches.len() {
            let slots = batches.batch(batch);
            let own = || slots.iter().flatten().map(|piece| lengths[piece.sample as usize]);
            let filled = slots.len() as u64;
            self.filled += filled;
            self.length = own().fold(self.length, u64::saturating_add);
            self.padded = self.padded.saturating_add(own().max().unwrap_or(0).saturating_mul(filled));
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
        let places = plan.group;
        let per_batch = if matches!(forming, Forming::Pack(_)) { batch } else { samples };
        let batching = Batching { forming, window: batching.window, lengths: Vec::new() };
        let pack = if let Forming::Pack(pack) = &batching.forming { Some(pack) } else { None };
        let mut waste = Waste::default();
        let mut add = |own: &[u64]| waste.add(own, &batching.formed(own, per_batch, places, None), batch as u64, pack);
        if whole {
            add(&all.concat());
        } else {
            all.iter().for_each(|own| add(own));
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
