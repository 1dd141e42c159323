//! One version of a dataset, open for reading: its schema, its Index, and the bytes of any cell.

use std::collections::BTreeMap;
use std::fs::File;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use sha2::{Digest, Sha256};

use crate::codec;
use crate::data::feature::Schema;
use crate::data::index::{Index, Payload, Row, Segment, hex};
use crate::data::info::{Info, Kind};
use crate::data::manifest::ShardRef;
use crate::data::record::payload_hash;
use crate::error::{Error, Fault, LeftOut, Origin, Reason, Result};
pub use crate::shard::Fetch;
use crate::shard::{check_split, foreign, reader};
use crate::store::Store;
use crate::store::commit::{self, Root};

mod decoding;
mod shards;

pub(crate) use decoding::Decoding;
pub use shards::{Apart, Place, Seen, ShardSet, Viewer};

/// Where payloads are fetched from.
#[non_exhaustive]
#[derive(Debug)]
pub enum Backing {
    /// Our own shards: payloads lie at the Index's offsets.
    Shards(ShardSet),
    /// Plain files, one a row of the Index: a payload is the byte range `offset .. offset + length` of its row's file.
    Files {
        /// The file of each row.
        paths: Vec<Arc<Path>>,
    },
    /// Anything else.
    Custom(Arc<dyn Fetch>),
}

/// What keeps a payload from being read, as a fault of the payload; other errors stay what they are.
fn unread(error: Error) -> Result<Fault, Error> {
    match error {
        Error::Io { action, source, .. } => Ok(Fault::new(Reason::Unreadable, format!("cannot {action}: {source}"))),
        // A shard that was cut short here may be whole where another rank reads it: it is no content to judge.
        Error::Damaged { what, .. } => Ok(Fault::new(Reason::Unreadable, what)),
        other => Err(other),
    }
}

/// One version of a dataset, read only. `Send + Sync`: share it by `Arc`.
#[derive(Debug)]
pub struct Dataset {
    root: PathBuf,
    schema: Schema,
    index: Index,
    version: Option<u64>,
    digest: String,
    splits: BTreeMap<String, u64>,
    shards: Vec<ShardRef>,
    /// The number of each segment's first shard.
    bases: Vec<usize>,
    backing: Backing,
    notes: Vec<String>,
    left_out: LeftOut,
}

impl Dataset {
    /// Opens a dataset: the newest version of our own; or a folder of Parquet files or one such file, read only, with an
    /// Index made in memory (every row's media is looked at once). A folder of raw media is the sources' matter:
    /// [`Dataset::open`] takes it too.
    pub fn open_stored(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        let store = Store::open(path);
        // Also before the first commit: the shards of an ingest under way are nobody's Parquet folder.
        if path.join(".dsctl").is_dir() {
            let Some(root) = commit::latest(&store)? else {
                return Err(Error::config(
                    format!("{} has no committed version yet", path.display()),
                    "run `dsctl ingest` to its end",
                ));
            };
            return Self::own(&store, &root);
        }
        if !path.try_exists().map_err(|e| Error::io(path, "look at", e))? {
            return Err(Error::io(path, "open", std::io::ErrorKind::NotFound.into()));
        }
        match foreign::open(path, &probe)? {
            Some(parts) => {
                let dataset = Self::from_parts(path, parts.schema, parts.index, Backing::Custom(parts.fetch))?;
                Ok(dataset.with_notes(parts.notes).with_left_out(parts.left_out))
            }
            None => Err(Error::config(
                format!("{} is neither a dataset nor Parquet", path.display()),
                "make a dataset of it: `dsctl ingest SOURCE DATASET`",
            )),
        }
    }

    /// Opens one version of our own dataset.
    pub fn open_version(path: impl AsRef<Path>, version: u64) -> Result<Self> {
        let store = Store::open(path.as_ref());
        let root = commit::load(&store, version)?;
        Self::own(&store, &root)
    }

    /// Opens a committed version. Segments are mapped, of the shards nothing is touched.
    pub fn own(store: &Store, root: &Root) -> Result<Self> {
        let manifest = &root.manifest;
        let mut segments = Vec::with_capacity(manifest.segments.len());
        for entry in &manifest.segments {
            let path = store.path(&entry.path)?;
            let segment = Segment::open(&path)?;
            let rows = segment.header().rows;
            let help = "`dsctl verify --rebuild-index` makes it again from the shards";
            if segment.bytes().len() as u64 != entry.bytes || rows != entry.rows {
                let what = format!(
                    "the segment has {} bytes and {rows} rows, its version says {} and {}",
                    segment.bytes().len(),
                    entry.bytes,
                    entry.rows
                );
                return Err(Error::damaged(path, what, help));
            }
            if !segment.header().fits(&manifest.schema) {
                return Err(Error::damaged(path, "the segment's columns are not those of its version", help));
            }
            // Split names become folder names: a hostile segment must not lead out of the dataset.
            if let Some(Err(e)) = segment.header().splits.iter().map(|s| check_split(s)).find(Result::is_err) {
                return Err(Error::damaged(path, e.to_string(), help));
            }
            segments.push(Arc::new(segment));
        }
        let index = Index::new(segments)?;
        let (shards, bases) = shard_table(&index);
        Ok(Dataset {
            root: store.root().to_owned(),
            schema: manifest.schema.clone(),
            version: Some(manifest.version),
            digest: root.sha256.clone(),
            splits: manifest.splits.clone(),
            backing: Backing::Shards(ShardSet::new(shards.len())),
            index,
            shards,
            bases,
            notes: Vec::new(),
            left_out: LeftOut::default(),
        })
    }

    /// A read-only dataset of an Index made elsewhere. Its digest covers the schema and the Index.
    pub fn from_parts(root: impl Into<PathBuf>, schema: Schema, index: Index, backing: Backing) -> Result<Self> {
        schema.validate()?;
        if let Backing::Files { paths } = &backing
            && paths.len() as u64 != index.rows()
        {
            return Err(Error::library("opening files", format!("{} paths for {} rows", paths.len(), index.rows())));
        }
        let mut digest = Sha256::new();
        digest.update(serde_json::to_vec(&schema).map_err(|e| Error::library("writing a schema", e))?);
        let mut splits = BTreeMap::new();
        for segment in index.segments() {
            if !segment.header().fits(&schema) {
                return Err(Error::library("opening a dataset", "the Index's columns are not the schema's"));
            }
            digest.update((segment.bytes().len() as u64).to_le_bytes());
            digest.update(segment.bytes());
        }
        let (shards, bases) = shard_table(&index);
        for shard in &shards {
            *splits.entry(shard.split.clone()).or_insert(0) += shard.rows;
        }
        let (root, digest) = (root.into(), hex(&digest.finalize()));
        let (notes, left_out) = (Vec::new(), LeftOut::default());
        Ok(Dataset { root, schema, index, version: None, digest, splits, shards, bases, backing, notes, left_out })
    }

    /// Adds what a reader should know of how a foreign dataset was understood.
    pub fn with_notes(mut self, notes: Vec<String>) -> Self {
        self.notes = notes;
        self
    }

    /// Adds what opening left out of a dataset that is not ours.
    pub fn with_left_out(mut self, left_out: LeftOut) -> Self {
        self.left_out = left_out;
        self
    }

    /// Entries and cells of a dataset that is not ours whose payload is none. The notes tell of them, too.
    pub fn left_out(&self) -> &LeftOut {
        &self.left_out
    }

    /// The folder (or the one Parquet file).
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The features.
    pub fn schema(&self) -> &Schema {
        &self.schema
    }

    /// The rows.
    pub fn index(&self) -> &Index {
        &self.index
    }

    /// Rows in all.
    pub fn rows(&self) -> u64 {
        self.index.rows()
    }

    /// The version; `None` for what is not ours.
    pub fn version(&self) -> Option<u64> {
        self.version
    }

    /// SHA-256 (hex) of the version's root, or of schema and Index for what is not ours.
    pub fn digest(&self) -> &str {
        &self.digest
    }

    /// Rows of each split.
    pub fn splits(&self) -> &BTreeMap<String, u64> {
        &self.splits
    }

    /// Whether rows are in a split.
    ///
    /// # Errors
    /// [`Error::Config`]: there is no such split; it names those that there are.
    pub fn has_split(&self, split: &str) -> Result<()> {
        if self.splits.contains_key(split) {
            return Ok(());
        }
        let there: Vec<&str> = self.splits.keys().map(String::as_str).collect();
        let there = if there.is_empty() { "none, as there are no rows".to_owned() } else { there.join(", ") };
        Err(Error::config(format!("there is no split {split:?}"), format!("there are: {there}")))
    }

    /// The split of a row. Panics beyond the last, as a slice does.
    pub fn split_of(&self, row: u64) -> &str {
        let (segment, entry) = self.index.locate(row);
        self.shards.get(self.bases[segment] + entry.shard()).map_or("", |shard| &shard.split)
    }

    /// The shards, oldest first. Of a dataset that is not ours the paths and digests mean nothing.
    pub fn shards(&self) -> &[ShardRef] {
        &self.shards
    }

    /// Columns and cells of a foreign dataset that were left out, and why.
    pub fn notes(&self) -> &[String] {
        &self.notes
    }

    /// Reads a payload into `out`, replacing what was there; `None` if the cell is null or not a payload. From any
    /// thread. Errors name the shard, row, id and column.
    pub fn fetch(&self, row: u64, column: usize, out: &mut Vec<u8>) -> Result<Option<Payload>> {
        let (segment, entry, payload) = self.find(row, column)?;
        let Some(payload) = payload else { return Ok(None) };
        let answer = match &self.backing {
            Backing::Shards(set) => {
                let shard = self.bases[segment] + entry.shard();
                set.with(shard, || self.root.join(&self.shards[shard].path), &mut |file| file.fetch(&payload, out))
            }
            Backing::Files { paths } => fetch_file(&paths[row as usize], &payload, out),
            Backing::Custom(custom) => custom.fetch(row, column, &payload, out),
        };
        self.told(row, column, answer)?;
        Ok(Some(payload))
    }

    /// Looks at payloads in their place.
    pub fn viewer(&self) -> Viewer<'_> {
        Viewer { dataset: self, seen: Default::default(), waits: false }
    }

    /// As [`Dataset::viewer`]; what another saw of this dataset a moment before is not looked at again.
    pub fn viewer_after(&self, seen: Seen) -> Viewer<'_> {
        Viewer { dataset: self, seen, waits: false }
    }

    /// The segment that holds a row, the row, and its payload, if it has one.
    fn find(&self, row: u64, column: usize) -> Result<(usize, Row<'_>, Option<Payload>)> {
        if row >= self.rows() || column >= self.schema.columns.len() {
            let what = format!("row {row} of {}, column {column} of {}", self.rows(), self.schema.columns.len());
            return Err(Error::library("fetching a payload", what));
        }
        let (segment, entry) = self.index.locate(row);
        Ok((segment, entry, entry.payload(column)))
    }

    /// What became of reading a payload; errors name where it lies.
    fn told(&self, row: u64, column: usize, answer: Result<()>) -> Result<()> {
        answer.map_err(|error| match unread(error) {
            Ok(fault) => fault.at(self.origin(row, column)),
            Err(other) => other,
        })
    }

    /// Whether payloads are in shards of our own.
    pub fn is_sharded(&self) -> bool {
        matches!(self.backing, Backing::Shards(_))
    }

    /// Where a payload lies that is read whole; `None` for others, and for what is in no shard of ours.
    pub fn lies(&self, row: u64, column: usize) -> Option<Place> {
        let (segment, entry) = self.index.locate(row);
        let payload = entry.payload(column).filter(|_| self.is_sharded() && entry.table(column).is_none())?;
        let place = self.place(segment, &entry, &payload);
        (place.bytes.end - place.bytes.start == payload.length).then_some(place)
    }

    fn place(&self, segment: usize, entry: &Row<'_>, payload: &Payload) -> Place {
        let bytes = payload.offset..payload.offset.saturating_add(payload.length);
        Place { shard: self.bases[segment] + entry.shard(), bytes }
    }

    /// Tells the system that some bytes of a shard will be read soon. What is wrong with the shard is told by whoever reads it.
    pub fn foretell(&self, shard: usize, bytes: Range<u64>) {
        let (Backing::Shards(set), Some(of)) = (&self.backing, self.shards.get(shard)) else { return };
        let told = set.with(shard, || self.root.join(&of.path), &mut |file| {
            file.foretell(&bytes);
            Ok(())
        });
        drop(told);
    }

    /// A payload that is to be read in parts, with its seek table; `None` if it has no table.
    pub fn apart(&self, row: u64, column: usize) -> Option<(&[u8], Apart<'_>)> {
        let Backing::Shards(set) = &self.backing else { return None };
        if row >= self.rows() || column >= self.schema.columns.len() {
            return None;
        }
        let (segment, entry) = self.index.locate(row);
        let (table, payload) = entry.table(column).zip(entry.payload(column))?;
        Some((table, Apart { dataset: self, set, place: self.place(segment, &entry, &payload) }))
    }

    /// As [`Dataset::fetch`], and compares the payload's hash.
    pub fn fetch_checked(&self, row: u64, column: usize, out: &mut Vec<u8>) -> Result<Option<Payload>> {
        let payload = self.fetch(row, column, out)?;
        if let Some(payload) = &payload
            && payload_hash(out) != payload.hash
        {
            let fault = Fault::new(Reason::Corrupt, "the payload's hash is not the one of its Index");
            return Err(fault.at(self.origin(row, column)));
        }
        Ok(payload)
    }

    /// Where a cell comes from, for messages.
    pub fn origin(&self, row: u64, column: usize) -> Origin {
        let column = self.schema.columns.get(column).map(|c| c.name.clone());
        if row >= self.rows() {
            return Origin { file: Some(self.root.clone()), row: Some(row), id: None, column };
        }
        let (segment, entry) = self.index.locate(row);
        let id = Some(entry.id().to_owned());
        match &self.backing {
            Backing::Shards(_) => {
                let shard = self.shards.get(self.bases[segment] + entry.shard());
                let file = shard.map(|s| self.root.join(&s.path));
                Origin { file, row: Some(entry.row_in_shard()), id, column }
            }
            Backing::Files { paths } => {
                Origin { file: paths.get(row as usize).map(|p| p.to_path_buf()), row: None, id, column }
            }
            Backing::Custom(custom) => Origin { id, column, ..custom.origin(row) },
        }
    }
}

/// The shards of all segments, and each segment's first.
fn shard_table(index: &Index) -> (Vec<ShardRef>, Vec<usize>) {
    let (mut shards, mut bases) = (Vec::new(), Vec::new());
    for segment in index.segments() {
        bases.push(shards.len());
        // A table entry that cannot be read keeps its place: rows name shards by number.
        let empty = || ShardRef { path: String::new(), split: String::new(), rows: 0, bytes: 0, sha256: String::new() };
        shards.extend((0..segment.header().shards as usize).map(|i| segment.shard(i).map_or_else(empty, |(_, s)| s)));
    }
    (shards, bases)
}

/// A payload of a plain file. A file that changed its size since it was listed is refused.
fn fetch_file(path: &Path, payload: &Payload, out: &mut Vec<u8>) -> Result<()> {
    let file = File::open(path).map_err(|e| Error::io(path, "open", e))?;
    reader::read_at(&file, path, payload.offset, payload.length, out)
}

/// The facts of a payload, by its content.
fn probe(bytes: &[u8], kind: Option<Kind>) -> Result<Info, Fault> {
    let codec = match kind {
        Some(kind) => codec::sniff(bytes, kind)?,
        // The first of the kinds whose sniffing does not refuse it; the last one's refusal if none.
        None => codec::sniff(bytes, Kind::Image)
            .or_else(|_| codec::sniff(bytes, Kind::Audio))
            .or_else(|_| codec::sniff(bytes, Kind::Video))?,
    };
    codec.probe(bytes, &codec::Limits::default())
}
