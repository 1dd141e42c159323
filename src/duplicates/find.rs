//! The work itself, level by level.

use std::collections::BTreeMap;

use serde::Serialize;

use super::content::Wanted;
use super::equal::{row_of, runs};
use super::groups::Duplicates;
use super::near::Gathered;
use super::sets::Sets;
use super::{Chosen, DuplicateOptions, Level};
use crate::codec::Scratches;
use crate::dataset::{Dataset, Decoding};
use crate::error::Result;
use crate::parallel;
use crate::spool::{Sorter, Spill};

/// Is told what is being done, and how much of how much; its error ends the search.
pub type Watch<'w> = &'w (dyn Fn(&'static str, u64, u64) -> Result<()> + Sync);

/// Payloads that could not be compared, by reason: those of [`crate::Reason`], and the ones below.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub(super) struct LeftOut(pub(super) BTreeMap<String, u64>);

impl LeftOut {
    /// The cell is absent.
    pub(super) const NULL: &'static str = "null";
    /// The payload has no bytes.
    pub(super) const EMPTY: &'static str = "no-bytes";
    /// A format that this build does not know.
    pub(super) const UNKNOWN: &'static str = "unknown-format";
    /// Nothing to make a sketch of: a flat picture, silence, few words. Only near duplicates of it are not found.
    pub(super) const NO_SKETCH: &'static str = "no-sketch";

    pub(super) fn add(&mut self, reason: &str) {
        self.add_all(reason, 1);
    }

    pub(super) fn add_all(&mut self, reason: &str, payloads: u64) {
        match self.0.get_mut(reason) {
            Some(known) => *known += payloads,
            None if payloads > 0 => drop(self.0.insert(reason.to_owned(), payloads)),
            None => {}
        }
    }
}

/// What every level works with.
pub(super) struct Work<'a> {
    pub(super) dataset: &'a Dataset,
    pub(super) column: usize,
    pub(super) options: &'a DuplicateOptions,
    pub(super) scratches: Scratches,
    pub(super) pool: rayon::ThreadPool,
    pub(super) spill: Spill,
    pub(super) watch: Watch<'a>,
    pub(super) left_out: LeftOut,
}

impl Work<'_> {
    pub(super) fn decoding(&self) -> Decoding<'_> {
        Decoding { dataset: self.dataset, limits: &self.options.limits, scratches: &self.scratches }
    }
}

/// Finds the rows of a dataset that are there twice.
///
/// # Errors
/// [`crate::Error::Config`]: options that cannot be, a column that there is not or that holds no payloads, a level that this build does not have for it; what `watch`
/// returns; I/O. A payload that cannot be read or decoded is counted, and no error.
pub fn find<'a>(dataset: &'a Dataset, options: &DuplicateOptions, watch: Watch<'_>) -> Result<Duplicates<'a>> {
    let Chosen { column, kind, near } = options.chosen(dataset.schema())?;
    let mut work = Work {
        dataset,
        column,
        options,
        scratches: Scratches::new(options.decode_memory),
        pool: parallel::pool(options.threads)?,
        spill: Spill::temporary(),
        watch,
        left_out: LeftOut::default(),
    };
    let mut sets = Sets::new(dataset.rows())?;
    let mut rows = work.payloads(&mut sets)?;
    sets.flatten();
    let payload = sets.clone();
    // From here on a payload is looked at once, whoever else has it.
    (0..).zip(&mut rows).for_each(|(row, is): (u32, _)| *is &= payload.root(row) == row);
    let (mut decoded, mut sketches, mut crowded) = (None, None, super::Crowded::default());
    if options.level >= Level::Decoded {
        // Text and tensors are decoded as they are stored.
        let has_more = kind.is_media();
        let compared = if has_more { work.with_facts_in_common(&rows)? } else { vec![false; rows.len()] };
        let mut digests = Sorter::new(&work.spill);
        let mut gathered = near.map(|near| Gathered::new(near.method, &work.spill));
        let wanted = |row: u32| Wanted { digest: compared[row as usize], sketch: near.map(|near| near.method) };
        let mut without_sketch = 0;
        let decoded_rows = if near.is_some() { &rows } else { &compared };
        work.decode(&wanted, decoded_rows, &mut |row, content| {
            if let Some(digest) = content.digest {
                digests.push(&[&digest[..], &row.to_be_bytes()].concat(), &[])?;
            }
            match (&mut gathered, content.sketch) {
                (Some(gathered), Some(sketch)) => gathered.push(row, &sketch)?,
                (Some(_), None) => without_sketch += 1,
                (None, _) => {}
            }
            Ok(())
        })?;
        work.left_out.add_all(LeftOut::NO_SKETCH, without_sketch);
        let digests = digests.finish()?;
        for run in runs(&digests) {
            let first = row_of(digests.get(run.start).0);
            run.skip(1).for_each(|at| sets.join(first, row_of(digests.get(at).0)));
        }
        sets.flatten();
        decoded = Some(sets.clone());
        if let (Some(gathered), Some(near)) = (gathered, near) {
            let (made, keys) = gathered.finish()?;
            crowded = super::near::join(&work, &made, &keys, near, &mut sets)?;
            sets.flatten();
            sketches = Some(made);
        }
    }
    let found = (work.left_out, crowded);
    Duplicates::new(dataset, (column, kind), (options.level, near), (payload, decoded, sets), sketches, found)
}
