//! New versions out of old ones: other labels ([`relabel()`]), other splits ([`split()`], [`split_as_told`], [`split_together`]), fewer rows ([`remove()`],
//! [`drop_duplicates()`]), fewer and fuller files ([`compact()`]), the rows of other datasets ([`merge()`]), and those of a source as it is now ([`sync()`]).
//!
//! Each of them looks at the newest version, makes whatever files the next one needs (shards, lists of changes, segments; all named by their content, so that a run
//! that was killed is simply run again), and commits the next one if the version it looked at is still the newest. If another writer was
//! faster it looks again, at most [`TRIES`] times; but never at rows that were told one by one and that the other writer changed or took away:
//! what was said of them was said of what they were, so that it ends with [`Error::Overtaken`].

use std::collections::BTreeMap;

use crate::data::changes::Changes;
use crate::data::feature::Schema;
use crate::data::index::{IndexCell, Row, Segment, TableFile};
use crate::data::manifest::{Manifest, SegmentRef};
use crate::dataset::Dataset;
use crate::error::{Error, Result};
use crate::shard::check_split;
use crate::spool::Spill;
use crate::store::Store;
use crate::store::card::{self, Card};
use crate::store::commit::{self, Root};
use crate::versions;

mod compact;
mod deduplicate;
mod files;
mod merge;
mod overlay;
mod relabel;
mod remove;
mod split;
mod sync;
mod told;

pub use compact::{CompactOptions, Compacted, compact};
pub use deduplicate::{Deduplicated, drop_duplicates};
pub use merge::{MergeOptions, Merged, merge};
pub use relabel::{Relabel, RelabelOptions, relabel};
pub use remove::{Proof, RemoveOptions, Removed, remove};
pub use split::{SplitBy, SplitOptions, SplitSummary, split, split_as_told, split_together};
pub use sync::sync;
pub use told::Problem;

/// How often a new version is tried against other writers.
pub const TRIES: u32 = 16;

/// The newest version, as a verb found it.
#[derive(Debug)]
struct Old {
    store: Store,
    root: Root,
    dataset: Dataset,
    /// For each segment what stands over its shards.
    changes: Vec<Option<Changes>>,
    spill: Spill,
}

impl Old {
    fn open(store: &Store) -> Result<Self> {
        let Some(root) = commit::latest(store)? else { return Err(versions::none(store.root())) };
        let dataset = Dataset::own(store, &root)?;
        hold_segments(store, &root, &dataset)?;
        let changes = commit::all_changes(store, &root)?;
        Ok(Old { store: store.clone(), root, dataset, changes, spill: Spill::to(store.root().join(".dsctl")) })
    }

    fn version(&self) -> u64 {
        self.root.manifest.version
    }

    fn schema(&self) -> &Schema {
        &self.root.manifest.schema
    }

    fn segments(&self) -> &[SegmentRef] {
        &self.root.manifest.segments
    }

    /// The split of a row, by its segment.
    fn split_of(&self, segment: usize, row: &Row<'_>) -> String {
        let shard = self.dataset.index().segments()[segment].shard(row.shard());
        shard.map_or_else(String::new, |(_, shard)| shard.split)
    }
}

/// Holds the segments of an open version against the digests that its root names: what a verb reads of them it writes into files, and then no digest says
/// any more that a bit is wrong.
fn hold_segments(store: &Store, root: &Root, dataset: &Dataset) -> Result<()> {
    for (entry, segment) in root.manifest.segments.iter().zip(dataset.index().segments()) {
        if commit::sha256_hex(segment.bytes()) != entry.sha256 {
            let help = "nothing was committed; `dsctl verify --rebuild-index` makes it again from the shards";
            let path = store.path(&entry.path)?;
            return Err(Error::damaged(path, "its SHA-256 is not the one its version names", help));
        }
    }
    Ok(())
}

/// What the next version is.
#[derive(Debug)]
struct Edit {
    schema: Schema,
    segments: Vec<SegmentRef>,
}

/// What came of looking at one version.
struct Attempt<T> {
    /// The next version, if there is to be one.
    edit: Option<Edit>,
    /// Of rows that were told one by one: a digest of what they are.
    touched: Option<u64>,
    done: T,
}

/// What a verb did, and the version that has it.
struct Revised<T> {
    done: T,
    version: u64,
    committed: bool,
    notes: Vec<String>,
}

/// Tries an edit on the newest version until no other writer comes between.
fn revise<T>(store: &Store, mut attempt: impl FnMut(&Old) -> Result<Attempt<T>>) -> Result<Revised<T>> {
    let mut first = None;
    let mut version = 0;
    for tries in 1..=TRIES {
        let old = Old::open(store)?;
        version = old.version() + 1;
        let Attempt { edit, touched, done } = attempt(&old)?;
        // What was said of rows was said of those that were there.
        if *first.get_or_insert(touched) != touched {
            return Err(Error::Overtaken { dataset: store.root().to_owned(), version: old.version() });
        }
        let Some(edit) = edit else {
            return Ok(Revised { done, version: old.version(), committed: false, notes: Vec::new() });
        };
        let splits = prepare(store, &edit)?;
        let stale = || Error::Conflict { dataset: store.root().to_owned(), version, tries };
        let committed = commit::commit(store, 1, |latest| {
            if latest.is_none_or(|latest| latest.sha256 != old.root.sha256) {
                return Err(stale());
            }
            let (schema, segments) = (edit.schema.clone(), edit.segments.clone());
            Ok(Manifest { format_version: 0, version: 0, parent: None, schema, segments, splits: splits.clone() })
        });
        match committed {
            Ok(root) => {
                let notes = write_card(store);
                return Ok(Revised { done, version: root.manifest.version, committed: true, notes });
            }
            Err(Error::Conflict { .. }) => {}
            Err(other) => return Err(other),
        }
    }
    Err(Error::Conflict { dataset: store.root().to_owned(), version, tries: TRIES })
}

/// Looks whether all that an edit names is there, and counts the rows of each split.
fn prepare(store: &Store, edit: &Edit) -> Result<BTreeMap<String, u64>> {
    let mut splits = BTreeMap::new();
    for entry in &edit.segments {
        let segment = Segment::open(&store.path(&entry.path)?)?;
        for (_, shard) in (0..segment.header().shards as usize).filter_map(|n| segment.shard(n)) {
            check_split(&shard.split)?;
            *splits.entry(shard.split).or_default() += shard.rows;
        }
        for file in segment.files().iter().map(TableFile::path) {
            if !store.exists(&file)? {
                let help = "nothing was committed: run it again, and no `dsctl gc` meanwhile";
                return Err(Error::damaged(store.path(&file)?, "the shard is gone", help));
            }
        }
    }
    Ok(splits)
}

/// Writes the card of the newest version. That is committed: a card that cannot be written is a note.
fn write_card(store: &Store) -> Vec<String> {
    let why = match card::write(store) {
        Ok(Card::Kept { why }) => why,
        Err(e) => format!("{e} (the version is committed; the next commit writes the card)"),
        Ok(_) => return Vec::new(),
    };
    vec![format!("the README card was left as it was: {why}")]
}

/// What a row is, whatever file it lies in: what was told of it counts as long as this stays.
fn content(row: &Row<'_>, split: &str, columns: usize) -> u64 {
    let mut hash = xxhash_rust::xxh3::Xxh3Default::new();
    hash.update(&row.key().to_le_bytes());
    hash.update(&(row.id().len() as u64).to_le_bytes());
    hash.update(row.id().as_bytes());
    hash.update(split.as_bytes());
    for column in 0..columns {
        let cell = match row.payload(column) {
            Some(payload) => format!("{} {:x}", payload.length, payload.hash),
            None => format!("{:?}", row.cell(column)),
        };
        hash.update(&(cell.len() as u64).to_le_bytes());
        hash.update(cell.as_bytes());
        // Of objects, that was their number.
        if let (IndexCell::Objects(_), Some(packed)) = (row.cell(column), row.table(column)) {
            hash.update(packed);
        }
    }
    hash.digest()
}

/// Rows and the sum of what they are, of those that stay: equal of two Indices that have the same rows in any files and order.
fn sum(segments: &[impl AsRef<Segment>], columns: usize, stays: &dyn Fn(&Row<'_>) -> bool) -> [u64; 2] {
    let mut sum = [0u64; 2];
    for segment in segments.iter().map(AsRef::as_ref) {
        for (rows, shard) in (0..segment.header().shards as usize).filter_map(|n| segment.shard(n)) {
            for row in rows.map(|row| segment.row(row)).filter(|row| stays(row)) {
                sum = [sum[0] + 1, sum[1].wrapping_add(content(&row, &shard.split, columns))];
            }
        }
    }
    sum
}
