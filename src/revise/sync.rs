//! The rows of a source as it is now: an ingest whose rows follow their source, committed as one version.

use std::path::Path;

use super::overlay::Overlay;
use super::remove::{Removed, without};
use super::{Attempt, Edit, Old, Revised, revise, sum};
use crate::data::changes::RowChanges;
use crate::data::index::{Row, Segment};
use crate::dataset::Dataset;
use crate::error::{Error, Result};
use crate::ingest::{self, Control, IngestOptions, Pending, Summary, SyncOptions};
use crate::spool::{Sorted, Sorter};
use crate::store::Store;
use crate::store::commit::{self, Root};

/// Takes a source in as [`crate::ingest::ingest()`] does, and has the rows that it brought before follow it: changed files replace their rows, rows whose file is
/// gone are taken out, and labels, values and splits that the source says otherwise than before are taken over. All of it is one version, with the rows that one
/// ingest of the source as it is would have. Rows of other sources stay as they are, and so does what people changed where the source says what it said.
///
/// A file that is refused now leaves the row that it has ([`crate::ingest::Synced::kept_refused`]). Files with the size and time of change that an earlier ingest saw are not read.
/// Killed anywhere, it is run again, and decodes what was not finished. The counts are in [`Summary::sync`].
///
/// # Errors
/// Those of an ingest; [`Error::MassRemoval`] if too much of the source is gone; [`Error::Config`] if nobody wrote down which rows it brought
/// ([`crate::ingest::Own`] is the way out); [`Error::Overtaken`] if another writer changed rows of it meanwhile, [`Error::Conflict`] if others were faster all the time.
pub fn sync(
    source: &Path,
    dataset: &Path,
    options: &IngestOptions,
    sync: &SyncOptions,
    control: &Control,
) -> Result<Summary> {
    ingest::follow(source, dataset, options, sync, control, &|store, pending| commit_pending(store, pending))
}

fn commit_pending(store: &Store, pending: &Pending<'_>) -> Result<(Root, Vec<String>)> {
    let keys = touched_keys(store, pending)?;
    let is_touched = |row: &Row<'_>| keys.position(&row.key().to_be_bytes()).is_some();
    let of = |dataset: &Dataset| sum(dataset.index().segments(), dataset.schema().columns.len(), &is_touched);
    let mut looked_at = None;
    let Revised { version, committed, notes, .. } = revise(store, |old| {
        // What was found out was so of the version that was looked at: it counts while those rows are what they were.
        if old.root.sha256 != pending.base.sha256 {
            let before = match looked_at {
                Some(before) => before,
                None => *looked_at.insert(of(&Dataset::own(store, pending.base)?)),
            };
            if of(&old.dataset) != before {
                return Err(Error::Overtaken { dataset: store.root().to_owned(), version: old.version() });
            }
        }
        let edit = edit(old, pending)?;
        (pending.intend)(old.version() + 1, &edit.segments)?;
        Ok(Attempt { edit: Some(edit), touched: None, done: () })
    })?;
    if !committed {
        return Err(Error::library("following a source", "no version came of it"));
    }
    Ok((commit::load(store, version)?, notes))
}

/// The keys of all rows that the next version has otherwise.
fn touched_keys(store: &Store, pending: &Pending<'_>) -> Result<Sorted> {
    let mut keys = Sorter::new(pending.spill);
    for (key, _) in pending.out.iter().chain(pending.changes.iter()) {
        keys.push(key, &[])?;
    }
    if let Some(entry) = pending.segment {
        let segment = Segment::open(&store.path(&entry.path)?)?;
        for row in 0..segment.header().rows {
            keys.push(&segment.row(row).key().to_be_bytes(), &[])?;
        }
    }
    keys.finish()
}

/// The version behind one: without the rows that are out, with the new ones behind the others, and with what changes over all of them.
fn edit(old: &Old, pending: &Pending<'_>) -> Result<Edit> {
    let (store, theirs) = (&old.store, old.schema());
    let conflict = || Error::Conflict { dataset: store.root().to_owned(), version: old.version() + 1, tries: 1 };
    let schema = ingest::rebased(theirs, pending.schema).ok_or_else(conflict)?;
    let segments = old.dataset.index().segments();
    let is_out = |segment: &Segment, row: u64| pending.out.position(&segment.row(row).key().to_be_bytes()).is_some();
    let counts: Vec<u64> = segments
        .iter()
        .map(|segment| (0..segment.header().rows).filter(|row| is_out(segment, *row)).count() as u64)
        .collect();
    let mut next = without(old, pending.out, &counts, true, &mut Removed::default())?;
    next.extend(pending.segment.cloned());
    if pending.changes.is_empty() {
        return Ok(Edit { schema, segments: next });
    }
    // What changes stands over the segments as they are by now.
    let mut manifest = old.root.manifest.clone();
    (manifest.schema, manifest.segments) = (schema.clone(), next.clone());
    let root = Root { manifest, sha256: old.root.sha256.clone() };
    let dataset = Dataset::own(store, &root)?;
    let changes = commit::all_changes(store, &root)?;
    let between = Old { store: store.clone(), root, dataset, changes, spill: old.spill.clone() };
    let mut overlay = Overlay::new(&between, &schema);
    for (number, segment) in between.dataset.index().segments().iter().enumerate() {
        for row in (0..segment.header().rows).map(|row| segment.row(row)) {
            if let Some(change) = pending.changes.find(&row.key().to_be_bytes()) {
                overlay.push(number, row.key(), &RowChanges::from_bytes(change)?)?;
            }
        }
    }
    Ok(overlay.finish()?.unwrap_or(Edit { schema, segments: next }))
}
