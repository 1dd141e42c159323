//! Index segments made again from their shards.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use xxhash_rust::xxh3::Xxh3DefaultBuilder;

use crate::data::feature::Schema;
use crate::data::index::{Segment, SegmentBuilder, TableFile};
use crate::data::manifest::SegmentRef;
use crate::error::{Error, Result};
use crate::shard::{FinishedShard, read_finished};
use crate::source;
use crate::store::Store;
use crate::store::commit::{self, sha256_hex};

type Paths = HashSet<String, Xxh3DefaultBuilder>;

/// Makes missing or damaged segments of the newest version again from its shards and the changes that stand over them, and returns them.
///
/// The order of the shards is that of the damaged segment's own table. Where that is gone too it is looked for: that of a segment of another version (over whose shards
/// other changes stand); then that of a listing (split, then id) over the shards that no other segment names: what an ingest writes, and not always what a
/// [`DatasetWriter`](crate::ingest::DatasetWriter) does, nor what is left where rows were taken out. Either way the result must have the digest that the version names,
/// else nothing is written and the finding stays.
pub fn rebuild_index(path: impl AsRef<Path>) -> Result<Vec<PathBuf>> {
    let store = Store::open(path.as_ref());
    let Some(root) = commit::latest(&store)? else { return Ok(Vec::new()) };
    let schema = &root.manifest.schema;
    let mut named = Paths::default();
    let mut broken = Vec::new();
    for entry in &root.manifest.segments {
        let bytes = store.read_if_there(&entry.path)?;
        let whole = bytes.as_ref().is_some_and(|b| sha256_hex(b) == entry.sha256);
        let segment = bytes.and_then(|b| Segment::from_bytes(b).ok());
        let table: Option<Vec<String>> = segment.map(|s| s.files().iter().map(TableFile::path).collect());
        if whole {
            named.extend(table.into_iter().flatten());
        } else {
            broken.push((entry, table));
        }
    }
    let mut mended = Vec::new();
    for (entry, table) in broken {
        let by_table = table.and_then(|paths| made(&store, schema, entry, paths).transpose()).transpose();
        let bytes = match by_table {
            Ok(Some(bytes)) => bytes,
            _ => made_by_search(&store, schema, entry, &named)?.ok_or_else(|| {
                Error::damaged(
                    store.root().join(&entry.path),
                    "no order of the shards at hand gives the segment that the version names",
                    "restore the file from a copy, or open an earlier version",
                )
            })?,
        };
        store.put(&entry.path, &bytes)?;
        let segment = Segment::from_bytes(bytes)?;
        named.extend(segment.files().iter().map(TableFile::path));
        mended.push(store.root().join(&entry.path));
    }
    Ok(mended)
}

/// The segment over these shards, if it is the one that is named.
fn made(store: &Store, schema: &Schema, entry: &SegmentRef, paths: Vec<String>) -> Result<Option<Vec<u8>>> {
    let shards = paths.iter().map(|path| read_finished(&store.path(path)?, schema));
    joined(store, schema, entry, &shards.collect::<Result<Vec<_>>>()?)
}

/// The segment over shards in an order that is found elsewhere.
fn made_by_search(store: &Store, schema: &Schema, entry: &SegmentRef, named: &Paths) -> Result<Option<Vec<u8>>> {
    let mut elsewhere = Paths::default();
    let mut seen = Paths::default();
    for version in commit::versions(store)? {
        // What cannot be read helps nobody here; it has its finding.
        let Ok(root) = commit::load(store, version) else { continue };
        for other in root.manifest.segments.into_iter().filter(|other| other.sha256 != entry.sha256) {
            if !seen.insert(other.sha256.clone()) {
                continue;
            }
            let Ok(Ok(segment)) = store.path(&other.path).map(|path| Segment::open(&path)) else { continue };
            let paths: Vec<String> = segment.files().iter().map(TableFile::path).collect();
            elsewhere.extend(paths.iter().cloned());
            if other.rows == entry.rows
                && !paths.iter().any(|path| named.contains(path))
                && let Ok(Some(bytes)) = made(store, schema, entry, paths)
            {
                return Ok(Some(bytes));
            }
        }
    }
    if let Some(bytes) = made_by_listing(store, schema, entry, &|path| named.contains(path))? {
        return Ok(Some(bytes));
    }
    made_by_listing(store, schema, entry, &|path| named.contains(path) || elsewhere.contains(path))
}

fn made_by_listing(
    store: &Store,
    schema: &Schema,
    entry: &SegmentRef,
    is_left_out: &dyn Fn(&str) -> bool,
) -> Result<Option<Vec<u8>>> {
    let mut shards = Vec::new();
    for split in store.list("data")? {
        for file in store.list(&format!("data/{split}"))? {
            let path = format!("data/{split}/{file}");
            if path.ends_with(".parquet") && !is_left_out(&path) {
                // A file that is no whole shard cannot be one of the segment's.
                shards.extend(read_finished(&store.path(&path)?, schema));
            }
        }
    }
    let first = |s: &FinishedShard| s.rows.first().map(|(id, _)| id.clone()).unwrap_or_default();
    shards.sort_by(|a, b| {
        let (x, y) = (first(a), first(b));
        (&a.shard.split, source::order(&x)).cmp(&(&b.shard.split, source::order(&y)))
    });
    joined(store, schema, entry, &shards)
}

fn joined(store: &Store, schema: &Schema, entry: &SegmentRef, shards: &[FinishedShard]) -> Result<Option<Vec<u8>>> {
    let changes = commit::changes(store, entry, schema)?;
    let mut builder = SegmentBuilder::new(schema);
    for shard in shards {
        shard.enter_under(&mut builder, changes.as_ref())?;
    }
    let bytes = builder.finish()?.to_vec();
    Ok((sha256_hex(&bytes) == entry.sha256).then_some(bytes))
}
