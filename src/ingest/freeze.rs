//! The digest of a frozen listing: by it a later run knows that it goes on with the same work.

use sha2::{Digest, Sha256};
use xxhash_rust::xxh3::Xxh3Default;

use super::options::IngestOptions;
use crate::data::feature::Schema;
use crate::data::index::hex;
use crate::data::label::Value;
use crate::error::{Error, Result};
use crate::source::{EntryCell, Listing, Part, Print, SourceEntry};

/// Raised whenever the same listing and options give other shards.
const WRITER: &str = concat!("feedstock ingest 4, ", env!("CARGO_PKG_VERSION"));

/// What an ingest is going to do, as digests (hex).
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Frozen {
    /// Of ids, splits, labels, values and sizes; nothing of absolute paths or times.
    pub listing: String,
    /// Of the options that change bytes, the source's version and the writer's.
    pub options: String,
    /// Of both and the dataset's schema: the journal's name.
    pub key: String,
}

/// Freezes a listing. `schema` is the one the shards will have: class indices follow from it.
pub(super) fn freeze(
    listing: &Listing,
    source: &SourceEntry,
    options: &IngestOptions,
    schema: &Schema,
) -> Result<Frozen> {
    let listing = listing_digest(listing)?;
    let shaping = options.shaping();
    let mut digest = Sha256::new();
    put(&mut digest, WRITER.as_bytes());
    put(&mut digest, source.name.as_bytes());
    put(&mut digest, &source.version.to_le_bytes());
    put(&mut digest, &json(&shaping)?);
    let options = hex(&digest.finalize());
    let mut digest = Sha256::new();
    put(&mut digest, listing.as_bytes());
    put(&mut digest, options.as_bytes());
    put(&mut digest, &json(schema)?);
    Ok(Frozen { listing, options, key: hex(&digest.finalize())[..16].to_owned() })
}

fn listing_digest(listing: &Listing) -> Result<String> {
    let mut digest = Sha256::new();
    put(&mut digest, &json(&listing.schema)?);
    for entry in listing.entries.iter() {
        let entry = entry?;
        put(&mut digest, entry.id.as_bytes());
        put(&mut digest, entry.split.as_bytes());
        put(&mut digest, entry.origin.as_bytes());
        put(&mut digest, &entry.line.unwrap_or(0).to_le_bytes());
        for cell in &entry.cells {
            cell_digest(&mut digest, cell);
        }
    }
    for refusal in listing.refused.iter() {
        let refusal = refusal?;
        put(&mut digest, refusal.id.as_bytes());
        put(&mut digest, refusal.fault.reason.code().as_bytes());
    }
    Ok(hex(&digest.finalize()))
}

fn cell_digest(digest: &mut Sha256, cell: &EntryCell) {
    match cell {
        EntryCell::File { bytes, .. } => tagged(digest, b'f', &bytes.to_le_bytes()),
        EntryCell::Slice { range, file_bytes, .. } => {
            let numbers = [range.start, range.end, *file_bytes].map(u64::to_le_bytes);
            tagged(digest, b's', numbers.as_flattened());
        }
        EntryCell::Excerpt { file_bytes, part, .. } => {
            let numbers = match part {
                Part::Samples { range, of, .. } => [range.start, range.end, *of, *file_bytes],
                Part::Seconds { start, end } => [start.to_bits(), end.to_bits(), 0, *file_bytes],
            };
            tagged(digest, b'e', numbers.map(u64::to_le_bytes).as_flattened());
        }
        EntryCell::Inline(bytes) => tagged(digest, b'b', bytes),
        EntryCell::Class(name) => tagged(digest, b'c', name.as_bytes()),
        EntryCell::Objects(names, objects) => {
            tagged(digest, b'o', &objects.pack());
            names.iter().for_each(|name| tagged(digest, b'n', name.as_bytes()));
        }
        EntryCell::Value(Value::Null) => tagged(digest, b'0', &[]),
        EntryCell::Value(Value::Int(v)) => tagged(digest, b'i', &v.to_le_bytes()),
        EntryCell::Value(Value::Float(v)) => tagged(digest, b'd', &v.to_bits().to_le_bytes()),
        EntryCell::Value(Value::Bool(v)) => tagged(digest, b't', &[u8::from(*v)]),
        EntryCell::Value(Value::Text(v)) => tagged(digest, b'u', v.as_bytes()),
    }
}

/// What the files of some entries looked like when they were listed: sizes and times of change. It decides what a later
/// run takes over and enters no version.
#[derive(Default)]
pub(super) struct Files(Xxh3Default);

impl Files {
    /// Adds an entry with its print ([`crate::source::Entries::listed`]).
    pub(super) fn add(&mut self, id: &str, print: Print) {
        self.0.update(&(id.len() as u64).to_le_bytes());
        self.0.update(id.as_bytes());
        self.0.update(&print.hash.to_le_bytes());
    }

    /// All of them as one digest (hex).
    pub(super) fn digest(&self) -> String {
        format!("{:032x}", self.0.digest128())
    }
}

fn tagged(digest: &mut Sha256, tag: u8, bytes: &[u8]) {
    digest.update([tag]);
    put(digest, bytes);
}

/// Length first, so that no two sequences of parts read the same.
fn put(digest: &mut Sha256, bytes: &[u8]) {
    digest.update((bytes.len() as u64).to_le_bytes());
    digest.update(bytes);
}

fn json(value: &impl serde::Serialize) -> Result<Vec<u8>> {
    serde_json::to_vec(value).map_err(|e| Error::library("freezing a listing", e))
}
