//! The commit: the segment, the root, the card.

use super::base::Base;
use super::keys::Keys;
use super::options::Summary;
use super::sink::{Sink, Tally};
use crate::data::feature::{Feature, Schema};
use crate::data::index::{Segment, TableFile};
use crate::data::manifest::{Manifest, SegmentRef};
use crate::dataset::Dataset;
use crate::error::{Error, Result};
use crate::store::Store;
use crate::store::card::{self, Card};
use crate::store::commit::{self, Root};

/// How often a commit is tried against other writers.
const TRIES: u32 = 16;

/// Stores the segment of what a sink wrote.
pub(super) fn put(store: &Store, sink: Sink) -> Result<(SegmentRef, Tally)> {
    let (segment, tally) = sink.into_segment()?;
    let segment = commit::put_segment(store, &segment.parts(), tally.rows)?;
    shards_are_there(store, &segment)?;
    Ok((segment, tally))
}

/// Told of the number and the segments of a version before it is committed.
pub(super) type Intend<'a> = &'a mut dyn FnMut(u64, &[SegmentRef]) -> Result<()>;

/// Commits what a sink wrote as the version behind the newest one.
pub(super) fn publish(
    store: &Store,
    base: &Base,
    schema: &Schema,
    (segment, tally): (SegmentRef, Tally),
    summary: &mut Summary,
    intend: Intend<'_>,
) -> Result<Root> {
    let mut keys = None;
    let root = commit::commit(store, TRIES, |latest| {
        let merged = match latest {
            Some(latest) if latest.manifest.version != base.version() => {
                if keys.is_none() {
                    keys = Some(Keys::stored(&Segment::open(&store.path(&segment.path)?)?, base.spill())?);
                }
                rebase(store, latest, schema, |key| keys.as_ref().is_some_and(|k| k.contains(key)))?
            }
            _ => schema.clone(),
        };
        let next = manifest(latest.map(|l| &l.manifest), merged, &segment, &tally);
        intend(latest.map_or(1, |latest| latest.manifest.version + 1), &next.segments)?;
        Ok(next)
    })?;
    summary.version = root.manifest.version;
    summarise(summary, &root.manifest.schema, tally);
    write_card(store, summary);
    Ok(root)
}

/// Refuses to name shards that something took away before they were named.
fn shards_are_there(store: &Store, segment: &SegmentRef) -> Result<()> {
    let segment = Segment::open(&store.path(&segment.path)?)?;
    for shard in segment.files().iter().map(TableFile::path) {
        if !store.exists(&shard)? {
            let help =
                "nothing was committed: run it again, and no `dsctl gc` with a --min-age below the time it takes";
            return Err(Error::damaged(store.path(&shard)?, "the shard was written and is gone", help));
        }
    }
    Ok(())
}

/// Writes the README card of the newest version, so that other readers see what is committed and no more. The version is
/// committed: a card that cannot be written is a note.
pub(super) fn write_card(store: &Store, summary: &mut Summary) {
    let why = match card::write(store) {
        Ok(Card::Kept { why }) => why,
        Err(e) => format!("{e} (the version is committed; the same ingest again writes the card)"),
        Ok(_) => return,
    };
    summary.notes.push(format!("the README card was left as it was: {why}"));
}

fn manifest(latest: Option<&Manifest>, schema: Schema, segment: &SegmentRef, tally: &Tally) -> Manifest {
    let (mut segments, mut splits) = latest.map(|l| (l.segments.clone(), l.splits.clone())).unwrap_or_default();
    segments.push(segment.clone());
    for (split, rows) in &tally.by_split {
        *splits.entry(split.clone()).or_default() += rows;
    }
    // Format, number and parent are those of the commit.
    Manifest { format_version: 0, version: 0, parent: None, schema, segments, splits }
}

/// The schema when another writer committed since this work began. Its class indices are in our shards already: if that
/// writer appended other classes at the same places, or ids of ours, this work has to be done again.
fn rebase(store: &Store, latest: &Root, ours: &Schema, is_ours: impl Fn(u64) -> bool) -> Result<Schema> {
    let conflict =
        || Error::Conflict { dataset: store.root().to_owned(), version: latest.manifest.version + 1, tries: 1 };
    let merged = rebased(&latest.manifest.schema, ours).ok_or_else(conflict)?;
    let dataset = Dataset::own(store, latest)?;
    for segment in dataset.index().segments() {
        if (0..segment.header().rows).any(|row| is_ours(segment.row(row).key())) {
            return Err(conflict());
        }
    }
    Ok(merged)
}

/// The schema of another writer's version with the classes that our shards number as they do; `None` if their numbers are others.
pub(crate) fn rebased(theirs: &Schema, ours: &Schema) -> Option<Schema> {
    let mut merged = theirs.clone();
    if merged.columns.len() != ours.columns.len() {
        return None;
    }
    for (theirs, ours) in merged.columns.iter_mut().zip(&ours.columns) {
        match (&mut theirs.feature, &ours.feature) {
            _ if theirs.name != ours.name || theirs.stored != ours.stored => return None,
            (Feature::Objects(theirs), Feature::Objects(ours)) if !theirs.is_like(ours) => return None,
            (Feature::Objects(theirs), Feature::Objects(ours)) => {
                let common = theirs.names.len().min(ours.names.len());
                if theirs.names[..common] != ours.names[..common] {
                    return None;
                }
                theirs.append(ours);
            }
            (Feature::ClassLabel { names }, Feature::ClassLabel { names: more }) => {
                let common = names.len().min(more.len());
                if names[..common] != more[..common] {
                    return None;
                }
                names.extend(more[common..].iter().cloned());
            }
            (a, b) if *a == *b => {}
            _ => return None,
        }
    }
    Some(merged)
}

/// Fills in what the shards of a run say.
pub(super) fn summarise(summary: &mut Summary, schema: &Schema, tally: Tally) {
    summary.rows = tally.rows;
    summary.shards = tally.shards;
    summary.bytes = tally.bytes;
    summary.rows_by_split = tally.by_split;
    let names = schema.label().and_then(|label| schema.columns[label].feature.classes());
    for (index, rows) in tally.by_class {
        let name = usize::try_from(index).ok().and_then(|i| names?.get(i));
        summary.rows_by_label.insert(name.cloned().unwrap_or_else(|| index.to_string()), rows);
    }
}
