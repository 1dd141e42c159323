//! One row on its way into a dataset.

use super::label::{Objects, Value};

/// One row: an id, a split and a cell for each feature, media still encoded.
#[derive(Debug, Clone, PartialEq)]
pub struct Record {
    /// Unique in a version: the source's relative path with `/`, `!member` for archives, `#ordinal` for parts of a file.
    pub id: String,
    /// The split it belongs to (`train` unless the source says otherwise).
    pub split: String,
    /// One cell for each feature of the schema, in the schema's order.
    pub cells: Vec<Cell>,
}

/// One cell of a record.
#[derive(Debug, Clone, PartialEq)]
pub enum Cell {
    /// Encoded media, or the UTF-8 bytes of a text feature.
    Media(Vec<u8>),
    /// A class by its name; the writer gives it an index, new names are appended.
    Class(String),
    /// Objects, whose classes are places among the names here.
    Objects(Vec<String>, Objects),
    /// Any small value.
    Value(Value),
}

impl Cell {
    /// An absent cell.
    pub const NULL: Cell = Cell::Value(Value::Null);
}

/// The 64-bit key of an id: XXH3-64 of its UTF-8 bytes. Two ids of one version with the same key are refused at commit.
pub fn row_key(id: &str) -> u64 {
    xxhash_rust::xxh3::xxh3_64(id.as_bytes())
}

/// The fast hash of a payload (XXH3-64), stored beside it and checked on demand.
pub fn payload_hash(bytes: &[u8]) -> u64 {
    xxhash_rust::xxh3::xxh3_64(bytes)
}
