//! A raw folder as a read-only dataset, without an ingest: headers are probed, payloads stay where they are.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rayon::prelude::*;

use super::{Entry, EntryCell, Listing, SourceOptions, Tree, choose, sources};
use crate::codec::{self, Limits};
use crate::data::feature::{Column, Feature, Schema};
use crate::data::index::{Index, IndexCell, Payload, SegmentBuilder};
use crate::data::label::{Objects, Value};
use crate::data::record::payload_hash;
use crate::dataset::{Backing, Dataset};
use crate::error::{Error, Fault, LeftOut, Origin, Reason, Result};
use crate::parallel;
use crate::spool::Spill;

/// Opens whatever is at a path for reading: our own dataset, someone else's Parquet folder or file, or raw media as
/// [`raw_dataset`] does.
pub fn open_any(path: impl AsRef<Path>) -> Result<Dataset> {
    let path = path.as_ref();
    if is_stored(path) { Dataset::open_stored(path) } else { raw_dataset(path) }
}

/// Whether a path holds a dataset that is opened as it is, ours or someone's Parquet, and not a source.
pub fn is_stored(path: &Path) -> bool {
    path.join(".dsctl").is_dir() || holds_parquet(path)
}

impl Dataset {
    /// Opens whatever is at a path for reading, as [`open_any`]: here, as only the sources know what a raw folder is.
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        open_any(path)
    }
}

fn holds_parquet(path: &Path) -> bool {
    let parquet = |p: &Path| p.extension().is_some_and(|e| e.eq_ignore_ascii_case("parquet"));
    let hidden = |e: &walkdir::DirEntry| e.depth() > 0 && e.file_name().as_encoded_bytes().starts_with(b".");
    // Parquet folders are shallow: DIR/x.parquet, DIR/data/x.parquet, DIR/data/SPLIT/x.parquet.
    let walk = walkdir::WalkDir::new(path).max_depth(3).sort_by_file_name().into_iter();
    walk.filter_entry(|e| !hidden(e)).filter_map(Result::ok).take(LOOKED).any(|e| parquet(e.path()))
}

/// Entries read between two looks at their order.
const PROBED: usize = 1024;

/// Files looked at before a folder counts as one without Parquet.
const LOOKED: usize = 4096;

/// A raw folder (or text file) as a dataset: listed by the source that fits, every payload read once for its hash and its
/// header. Nothing is written and nothing decoded; entries whose headers are refused are left out and named in the notes.
/// One payload a row: sources with further payload columns have to be ingested.
pub fn raw_dataset(root: &Path) -> Result<Dataset> {
    let choice = choose(&sources(), root, None)?;
    let spill = Spill::temporary();
    let options = SourceOptions::default();
    let listing = Listing::of_choice(&choice, &options, &spill, &|_| Ok(()))?;
    let Listing { schema, entries, refused, notes, excerpts, tree } = listing;
    if excerpts.is_some() {
        return Err(Error::config(
            format!("{}: its rows are parts of recordings, which lie in no file of their own", root.display()),
            "run `dsctl ingest` and open the dataset",
        ));
    }
    let first = schema.payloads().next().map(|(i, c)| (i, c.feature.clone(), c.name.clone()));
    let Some((column, feature, name)) = first else {
        return Err(Error::config(format!("{} has no payload column", root.display()), "ingest it first"));
    };
    if schema.payloads().nth(1).is_some() {
        return Err(Error::config(
            format!("{} has several payload columns: that needs shards", root.display()),
            "run `dsctl ingest` and open the dataset",
        ));
    }
    let pool = parallel::pool(0)?;
    let (mut segment, mut paths) = (SegmentBuilder::new(&schema), Vec::<Arc<Path>>::new());
    // Of the split under way.
    let mut bytes = 0u64;
    let mut left_out = LeftOut { count: refused.len() as u64, first: Vec::new() };
    let place = |id: String| Origin { id: Some(id), column: Some(name.clone()), ..Origin::default() };
    for refused in refused.iter().take(LeftOut::KEPT) {
        let refused = refused?;
        left_out.first.push((place(refused.id), refused.fault));
    }
    let mut split: Option<String> = None;
    for from in (0..entries.len()).step_by(PROBED) {
        let chunk: Vec<Entry> =
            (from..entries.len().min(from + PROBED)).map(|at| entries.get(at)).collect::<Result<_>>()?;
        let probed: Vec<Result<(PathBuf, Payload), Fault>> =
            pool.install(|| chunk.par_iter().map(|entry| probe(&tree, &entry.cells[column], &feature)).collect());
        for (entry, probed) in chunk.iter().zip(probed) {
            let (path, payload) = match probed {
                Ok(probed) => probed,
                Err(fault) => {
                    left_out.push(|| place(entry.id.clone()), &fault);
                    continue;
                }
            };
            if split.as_ref().is_some_and(|s| *s != entry.split) {
                segment.end_shard(split.as_deref().unwrap_or_default(), std::mem::take(&mut bytes), [0; 32]);
            }
            bytes += payload.length;
            let located: Vec<Option<Vec<u8>>> =
                entry.cells.iter().zip(&schema.columns).map(|(cell, column)| objects(cell, column)).collect();
            let table = |column: usize| located[column].as_deref();
            segment.push_with(&entry.id, &cells(entry, &schema, column, payload), &table)?;
            // The parts of one file share its path.
            let last = paths.last().filter(|last| ***last == *path).cloned();
            paths.push(last.unwrap_or_else(|| path.into()));
            split = Some(entry.split.clone());
        }
    }
    let Some(split) = split else {
        let why = told(&left_out).map_or_else(String::new, |first| format!(" (the first: {first})"));
        return Err(Error::config(format!("{}: not one entry can be read{why}", root.display()), "check the files"));
    };
    segment.end_shard(&split, bytes, [0; 32]);
    let index = Index::new(vec![segment.finish()?.open()?.into()])?;
    let mut notes = [choice.notes, notes].concat();
    if let Some(first) = told(&left_out) {
        notes.push(format!("{} entries were left out; the first: {first}", left_out.count));
    }
    let dataset = Dataset::from_parts(root, schema, index, Backing::Files { paths })?;
    Ok(dataset.with_notes(notes).with_left_out(left_out))
}

/// The first that was left out, and why.
fn told(left_out: &LeftOut) -> Option<String> {
    let (origin, fault) = left_out.first.first()?;
    Some(format!("{}: {fault}", origin.id.as_deref().unwrap_or_default()))
}

fn cells(entry: &Entry, schema: &Schema, payload_column: usize, payload: Payload) -> Vec<IndexCell> {
    let cell = |(i, cell): (usize, &EntryCell)| match (cell, &schema.columns[i].feature) {
        _ if i == payload_column => IndexCell::Payload(payload),
        (EntryCell::Class(name), Feature::ClassLabel { names }) => {
            names.iter().position(|n| n == name).map_or(IndexCell::Null, |at| IndexCell::Int(at as i64))
        }
        (EntryCell::Value(Value::Int(v)), Feature::Int | Feature::ClassLabel { .. }) => IndexCell::Int(*v),
        (EntryCell::Value(Value::Int(v)), Feature::Float) => IndexCell::Float(*v as f64),
        (EntryCell::Value(Value::Float(v)), Feature::Float) => IndexCell::Float(*v),
        (EntryCell::Value(Value::Bool(v)), Feature::Bool) => IndexCell::Bool(*v),
        (EntryCell::Objects(_, objects), Feature::Objects(_)) => {
            IndexCell::Objects(u32::try_from(objects.len()).unwrap_or(u32::MAX))
        }
        _ => IndexCell::Null,
    };
    entry.cells.iter().enumerate().map(cell).collect()
}

/// The objects of a cell, packed, their classes those of the column.
fn objects(cell: &EntryCell, column: &Column) -> Option<Vec<u8>> {
    let (EntryCell::Objects(own, objects), Feature::Objects(of)) = (cell, &column.feature) else { return None };
    let class = |class: &i64| {
        let name = usize::try_from(*class).ok().and_then(|at| own.get(at));
        name.and_then(|name| of.names.iter().position(|n| n == name)).map_or(-1, |at| at as i64)
    };
    Some(Objects { classes: objects.classes.iter().map(class).collect(), ..(**objects).clone() }.pack())
}

/// The header and hash of one payload on disk, with the file of the system that it is in.
fn probe(tree: &Tree, cell: &EntryCell, feature: &Feature) -> Result<(PathBuf, Payload), Fault> {
    let (path, range, file_bytes) = match cell {
        EntryCell::File { path, bytes } => (path.as_path(), 0..*bytes, *bytes),
        EntryCell::Slice { path, range, file_bytes } => (path.as_ref(), range.clone(), *file_bytes),
        _ => {
            return Err(Fault::new(
                Reason::Unsupported,
                "the payload lies in no file of its own: it has to be ingested",
            ));
        }
    };
    let limits = Limits::default();
    let length = range.end.saturating_sub(range.start);
    Limits::check("payload bytes", length, limits.payload_bytes)?;
    let (file, before) = tree.stands(path)?;
    let bytes = tree.read_range(path, range.start, length, file_bytes)?;
    let codec = codec::sniff(&bytes, feature.kind().ok_or_else(|| Fault::new(Reason::BadLabel, "no media"))?)?;
    let info = codec::guarded(codec.name(), || codec.probe(&bytes, &limits))?;
    Ok((file, Payload { offset: before + range.start, length, hash: payload_hash(&bytes), info }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_folder_opens_without_an_ingest() {
        let dir = tempfile::tempdir().unwrap();
        for (name, bytes) in [("neg/a", "bad\nworse\n"), ("pos/b", "good\n")] {
            let path = dir.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, bytes).unwrap();
        }
        let dataset = open_any(dir.path()).unwrap();
        assert_eq!((dataset.rows(), dataset.version()), (3, None));
        let mut bytes = Vec::new();
        dataset.fetch_checked(1, 0, &mut bytes).unwrap().unwrap();
        assert_eq!(bytes, b"worse");
        let (_, row) = dataset.index().locate(2);
        assert_eq!((row.id(), row.value(1)), ("pos/b#1", Value::Int(1)));
    }
}
