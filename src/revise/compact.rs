//! Fewer and fuller files, and what stands over files written into them.

use std::collections::BTreeMap;

use serde::Serialize;

use super::files::Files;
use super::overlay::stored;
use super::{Attempt, Edit, Old, Revised, revise, sum};
use crate::data::changes::{Changes, ChangesBuilder};
use crate::data::index::{IndexCell, Segment, TableFile};
use crate::data::manifest::SegmentRef;
use crate::data::record::row_key;
use crate::error::{Error, Result};
use crate::shard::{SHARD_ROWS, ShardCell, ShardOptions, read_rows};
use crate::store::Store;
use crate::store::commit;

/// How [`compact`] goes about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CompactOptions {
    /// Splits and values that stand over the files are written into them.
    pub materialise: bool,
    /// Payload bytes at which a shard is full. Shards below half of it are put together with their neighbours.
    pub shard_bytes: u64,
    /// Nothing is written.
    pub dry_run: bool,
}

impl Default for CompactOptions {
    /// Shards of 64 MiB, and what stands over them stays there.
    fn default() -> Self {
        CompactOptions { materialise: false, shard_bytes: ShardOptions::default().shard_bytes, dry_run: false }
    }
}

/// What [`compact`] did.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Compacted {
    /// The version that has it; where nothing was committed the one that was looked at.
    pub version: u64,
    /// Whether a version was made.
    pub committed: bool,
    /// Rows of the version.
    pub rows: u64,
    /// Shards before.
    pub before: u64,
    /// Shards after; in a dry run 0.
    pub after: u64,
    /// Shards that were written anew into others.
    pub rewritten: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Rows whose changes were written into files.
    pub materialised: u64,
    /// What the user should know.
    pub notes: Vec<String>,
}

/// Puts small shards together, and commits the version in which they are; rows, ids, payloads, labels and splits are the same. The rows of a split stay in their order, but those
/// that a change has moved into it from several folders; so that, as randomness follows row keys, batches of a split are the same, too. Before it is committed the new Index is held against the old.
///
/// # Errors
/// [`Error::Conflict`] if other writers were faster all the time; [`Error::Damaged`] for a shard that cannot be read.
pub fn compact(store: &Store, options: &CompactOptions) -> Result<Compacted> {
    if options.shard_bytes == 0 {
        return Err(Error::config("a shard's size is at least 1", "leave --shard-bytes out"));
    }
    let Revised { mut done, version, committed, notes } = revise(store, |old| attempt(old, options))?;
    (done.version, done.committed, done.notes) = (version, committed, notes);
    Ok(done)
}

/// A file of the old version.
struct Unit<'o> {
    segment: &'o Segment,
    file: TableFile,
    /// The list that stands over it, if it changes any of its rows.
    over: Option<&'o Changes>,
    kept: bool,
}

fn units<'o>(old: &'o Old, options: &CompactOptions) -> Vec<Unit<'o>> {
    let mut units = Vec::new();
    for (number, segment) in old.dataset.index().segments().iter().enumerate() {
        for file in segment.files() {
            let list = old.changes[number].as_ref();
            let over = list.filter(|list| file.rows.clone().any(|row| list.find(segment.row(row).key()).is_some()));
            units.push(Unit { segment, file, over, kept: true });
        }
    }
    // The files that follow one another in a folder, or in a split: all of a run that is not full are written anew, unless that is one file, as it should be.
    let mut runs: BTreeMap<String, Vec<usize>> = BTreeMap::new();
    let mut anew = Vec::new();
    for (at, unit) in units.iter().enumerate() {
        let dirty = options.materialise && unit.over.is_some();
        let rows = unit.file.rows.end - unit.file.rows.start;
        let small = unit.file.bytes < options.shard_bytes / 2 && rows < SHARD_ROWS / 2;
        let into: Vec<String> = match options.materialise {
            true => unit.file.entries.clone().filter_map(|n| unit.segment.shard(n)).map(|(_, s)| s.split).collect(),
            false => vec![unit.file.folder.clone()],
        };
        if dirty {
            anew.push(at);
        }
        for split in into {
            let run = runs.entry(split).or_default();
            if dirty || small {
                run.push(at);
            } else {
                anew.extend(Some(std::mem::take(run)).filter(|run| run.len() > 1).into_iter().flatten());
            }
        }
    }
    anew.extend(runs.into_values().filter(|run| run.len() > 1).flatten());
    anew.into_iter().for_each(|at| units[at].kept = false);
    units
}

fn attempt(old: &Old, options: &CompactOptions) -> Result<Attempt<Compacted>> {
    let schema = old.schema();
    let units = units(old, options);
    let anew: Vec<&Unit<'_>> = units.iter().filter(|unit| !unit.kept).collect();
    let mut done = Compacted { rows: old.dataset.rows(), before: units.len() as u64, ..Compacted::default() };
    done.rewritten = anew.len() as u64;
    done.bytes = anew.iter().map(|unit| unit.file.bytes).sum();
    let listed = old.segments().iter().filter_map(|s| s.changes.as_ref()).map(|c| c.rows).sum();
    done.materialised = if options.materialise { listed } else { 0 };
    if options.dry_run || (anew.is_empty() && done.materialised == 0) {
        if anew.is_empty() {
            done.after = done.before;
        }
        return Ok(Attempt { edit: None, touched: None, done });
    }
    // One segment over all, and one list.
    let mut changes = None;
    if !options.materialise {
        let mut list = ChangesBuilder::new(schema, &old.spill);
        for change in old.changes.iter().flatten().flat_map(Changes::iter) {
            list.push(change.key(), &change.into())?;
        }
        changes = stored(old, list, schema)?;
    }
    let list = changes.as_ref().map(|(_, list)| list);
    let sizes = ShardOptions { shard_bytes: options.shard_bytes, ..ShardOptions::default() };
    let mut files = Files::new(old, schema, sizes, list);
    for unit in &units {
        if unit.kept {
            files.keep(unit.segment, &unit.file)?;
            continue;
        }
        let over = unit.over.filter(|_| options.materialise);
        let path = old.store.path(&unit.file.path())?;
        read_rows(&path, schema, &mut |mut row| {
            let change = over.and_then(|list| list.find(row_key(&row.id)));
            for (column, cell) in change.into_iter().flat_map(|change| change.cells()) {
                row.cells[column] = cell_of(cell);
            }
            files.push(change.and_then(|change| change.split()).unwrap_or(&unit.file.folder), row)
        })?;
    }
    let (segment, count) = files.finish()?;
    done.after = count;
    let rows = segment.rows();
    let entry = commit::put_segment(&old.store, &segment.finish()?.parts(), rows)?;
    let entry = SegmentRef { changes: changes.map(|(named, _)| named), ..entry };
    check(old, &entry)?;
    Ok(Attempt { edit: Some(Edit { schema: schema.clone(), segments: vec![entry] }), touched: None, done })
}

fn cell_of(cell: IndexCell) -> ShardCell {
    match cell {
        IndexCell::Int(v) => ShardCell::Int(v),
        IndexCell::Float(v) => ShardCell::Float(v),
        IndexCell::Bool(v) => ShardCell::Bool(v),
        // Changes are of small columns only.
        IndexCell::Null | IndexCell::Objects(_) | IndexCell::Payload(_) | IndexCell::Prepared(..) => ShardCell::Null,
    }
}

/// Holds the new Index against the old: the same rows with the same payloads, values and splits.
fn check(old: &Old, entry: &SegmentRef) -> Result<()> {
    let path = old.store.path(&entry.path)?;
    let new = std::sync::Arc::new(Segment::open(&path)?);
    let columns = old.schema().columns.len();
    if sum(old.dataset.index().segments(), columns, &|_| true) == sum(&[new], columns, &|_| true) {
        return Ok(());
    }
    let help = "nothing was committed; `dsctl verify` says whether a shard is damaged, else please report this";
    Err(Error::damaged(path, "the rows of the new files are not those of the old ones", help))
}
