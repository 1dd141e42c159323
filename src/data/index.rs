//! The Index: fixed-width facts of every row, so that planning and fetching never read a Parquet footer.
//!
//! A segment is one file (or one block of memory) holding the rows of one commit. All numbers are little endian:
//!
//! | part | bytes |
//! |---|---|
//! | magic `FSINDEX1` | 8 |
//! | length of the header | 8 |
//! | header: JSON of [`Header`] | as said |
//! | zeros up to a multiple of 64 | |
//! | shard table | 64 a shard: first row u64, rows u64, bytes u64, split u32, folder u32, SHA-256 |
//! | rows | `stride` each: key u64, id offset u64, id length u32, shard u32, row in shard u32, 0 u32, null bits, then the columns |
//! | ids | UTF-8, one after the other |
//! | ends of tables | 8 for each row and column of [`Tables::columns`]: where its table ends among them; it begins where the one before ends |
//! | tables | one after the other: seek tables, packed objects |
//!
//! The folder of a shard is 0 where it is its split, else one more than the place of its name among the splits: changes stand over it
//! ([`super::changes`]). A file with rows of several splits is in the table once for each of them, one behind the other, its folder's first, then by
//! name; a row's place in the shard is the one in the file.
//!
//! The last two parts are there if the header has `tables`, which it has if a row has one: segments from before there were any, and those of
//! payloads that have none, are of the same form. A seek table is what a payload's codec needs to decode a part of it from a part of its
//! bytes; none is a table of no bytes. The objects of a row ([`super::objects::Objects::pack`]) are its table in their column.
//!
//! A value column takes 8 bytes (of objects, their number), a payload column 64: offset u64, length u64, hash u64, format u32, width u32,
//! height u32, channels u32, rate u32, turn u32, count u64, duration u64; one whose payloads were made of the source's 80, with the
//! source's behind: length u64, hash u64.
//! The lowest byte of `turn` is the [`Orientation`](super::orientation::Orientation), the next the [`Profile`](super::profile::Profile), the rest is 0. A segment is derived from its shards and can be
//! made again from them.

use std::fs::File;
use std::ops::Range;
use std::path::Path;

use memmap2::Mmap;
use serde::{Deserialize, Serialize};

use super::feature::{Column, Feature, Schema};
use super::info::Info;
use super::manifest::ShardRef;
use super::storage::Original;
use crate::error::{Error, Result};
use crate::spool::Spooled;

mod builder;
mod joined;
mod overlay;
mod row;
#[cfg(test)]
mod tests;

pub use builder::{Finished, SegmentBuilder};
pub use joined::Index;
pub use overlay::{PushRow, TableFile, enter_file, overlaid, take_over};
pub use row::Row;

const MAGIC: &[u8; 8] = b"FSINDEX1";
const FIXED: usize = 32;
const SHARD: usize = 64;
const VALUE: usize = 8;
const PAYLOAD: usize = 64;
const ORIGINAL: usize = 16;
const END: usize = 8;

/// What a column of the Index holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stored {
    /// A 64-bit integer (also a class).
    Int,
    /// A 64-bit float.
    Float,
    /// A truth value.
    Bool,
    /// Where a payload lies, and its facts.
    Payload,
    /// The same, and what the source's payload was that it was made of.
    Prepared,
    /// How many objects there are; they themselves are packed beside the ids, where seek tables are.
    Objects,
}

impl Stored {
    pub(super) fn of(column: &Column) -> Self {
        match &column.feature {
            Feature::ClassLabel { .. } | Feature::Int => Stored::Int,
            Feature::Float => Stored::Float,
            Feature::Bool => Stored::Bool,
            Feature::Objects(_) => Stored::Objects,
            _ if column.stored.is_some() => Stored::Prepared,
            _ => Stored::Payload,
        }
    }

    fn size(self) -> usize {
        match self {
            Stored::Payload => PAYLOAD,
            Stored::Prepared => PAYLOAD + ORIGINAL,
            _ => VALUE,
        }
    }

    /// Whether a cell is its value, so that another can stand over it.
    pub(super) fn is_value(self) -> bool {
        matches!(self, Stored::Int | Stored::Float | Stored::Bool)
    }

    pub(super) fn is_payload(self) -> bool {
        matches!(self, Stored::Payload | Stored::Prepared)
    }
}

/// The JSON at the head of a segment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Header {
    /// The columns with what they hold, in schema order.
    pub columns: Vec<(String, Stored)>,
    /// The split names that the shard table refers to.
    pub splits: Vec<String>,
    /// Shards in the table.
    pub shards: u64,
    /// Rows.
    pub rows: u64,
    /// Bytes of the id heap.
    pub id_bytes: u64,
    /// For every column the greatest payload length, width, height and count; zeros for value columns. Memory is planned with them.
    pub largest: Vec<[u64; 4]>,
    /// Where the tables are, if a row has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tables: Option<Tables>,
}

/// What a header says of tables.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tables {
    /// The columns that may have one, by their places, ascending.
    pub columns: Vec<usize>,
    /// Bytes of all of them.
    pub bytes: u64,
}

impl Header {
    /// Whether the columns are those of a schema.
    pub fn fits(&self, schema: &Schema) -> bool {
        self.columns.len() == schema.columns.len()
            && schema
                .columns
                .iter()
                .zip(&self.columns)
                .all(|(c, (name, stored))| c.name == *name && Stored::of(c) == *stored)
    }
}

/// Where a payload lies within its shard file, with its facts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Payload {
    /// First byte in the file.
    pub offset: u64,
    /// Bytes.
    pub length: u64,
    /// XXH3-64 of the bytes.
    pub hash: u64,
    /// What the header of the media says.
    pub info: Info,
}

/// One cell on its way into a segment.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum IndexCell {
    /// Absent.
    Null,
    /// An integer or class.
    Int(i64),
    /// A float.
    Float(f64),
    /// A truth value.
    Bool(bool),
    /// A payload.
    Payload(Payload),
    /// A payload, and the source's that it was made of.
    Prepared(Payload, Original),
    /// Objects, by their number.
    Objects(u32),
}

impl IndexCell {
    /// The payload, if it is one.
    pub fn payload(&self) -> Option<&Payload> {
        match self {
            IndexCell::Payload(payload) | IndexCell::Prepared(payload, _) => Some(payload),
            _ => None,
        }
    }

    /// The payload, to be changed.
    pub fn payload_mut(&mut self) -> Option<&mut Payload> {
        match self {
            IndexCell::Payload(payload) | IndexCell::Prepared(payload, _) => Some(payload),
            _ => None,
        }
    }
}

/// Bytes of the null bits of `columns` columns: whole 8-byte words.
fn null_bytes(columns: usize) -> usize {
    columns.div_ceil(64) * 8
}

/// The memory that a segment is read from.
enum Backing {
    Mapped(Mmap),
    Spooled(Spooled),
}

impl Backing {
    fn bytes(&self) -> &[u8] {
        match self {
            Backing::Mapped(map) => map,
            Backing::Spooled(bytes) => bytes,
        }
    }
}

/// In which order rows are going to be looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// One after the other.
    Scan,
    /// Here and there.
    Random,
}

/// Maps from this size on are told how they will be read; smaller ones are soon in memory as a whole.
const TOLD: usize = 256 << 20;

/// The rows of one commit, read only.
pub struct Segment {
    backing: Backing,
    header: Header,
    offsets: Vec<usize>,
    stride: usize,
    shards_at: usize,
    rows_at: usize,
    ids_at: usize,
    /// Where the ends of tables are.
    ends_at: usize,
}

impl std::fmt::Debug for Segment {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Segment").field("header", &self.header).finish_non_exhaustive()
    }
}

impl Segment {
    /// Maps a segment file. Only the header is read.
    pub fn open(path: &Path) -> Result<Self> {
        let file = File::open(path).map_err(|e| Error::io(path, "open", e))?;
        // SAFETY: segments are immutable once renamed into place; a foreign process that truncates one is outside the
        // contract (as it is for every mapped database file).
        let map = unsafe { Mmap::map(&file) }.map_err(|e| Error::io(path, "map", e))?;
        Self::read(Backing::Mapped(map)).map_err(|what| damaged(path, what))
    }

    /// Tells the system in which order rows are going to be looked at. By default it reads 128 KB around each page: much faster for a scan, and for
    /// rows here and there of an Index beyond memory the other way round.
    pub fn expect(&self, access: Access) {
        if let Backing::Mapped(map) = &self.backing
            && map.len() >= TOLD
        {
            let advice = match access {
                Access::Scan => memmap2::Advice::Normal,
                Access::Random => memmap2::Advice::Random,
            };
            // It is advice: a system that does not take it reads the same bytes.
            let _ = map.advise(advice);
        }
    }

    /// A segment in memory.
    pub fn from_bytes(bytes: Vec<u8>) -> Result<Self> {
        Self::read(Backing::Spooled(Spooled::Owned(bytes))).map_err(|what| damaged(Path::new("(memory)"), what))
    }

    fn read(backing: Backing) -> Result<Self, String> {
        let bytes = backing.bytes();
        if bytes.len() < 16 || &bytes[..8] != MAGIC {
            return Err("it does not begin as an index segment".into());
        }
        let length = usize::try_from(u64_at(bytes, 8)).map_err(|_| "its header is too long")?;
        let json = length.checked_add(16).and_then(|end| bytes.get(16..end)).ok_or("its header is cut off")?;
        let header: Header = serde_json::from_slice(json).map_err(|e| format!("its header is not readable: {e}"))?;
        if header.largest.len() != header.columns.len() {
            return Err("its header does not fit itself".into());
        }
        let mut offsets = Vec::with_capacity(header.columns.len());
        let mut stride = FIXED + null_bytes(header.columns.len());
        for (_, stored) in &header.columns {
            offsets.push(stride);
            stride += stored.size();
        }
        let shards_at = (16 + length).next_multiple_of(64);
        let place = || -> Option<(usize, usize, usize, usize)> {
            let rows = usize::try_from(header.rows).ok()?;
            let rows_at = shards_at.checked_add(usize::try_from(header.shards).ok()?.checked_mul(SHARD)?)?;
            let ids_at = rows_at.checked_add(rows.checked_mul(stride)?)?;
            let ends_at = ids_at.checked_add(usize::try_from(header.id_bytes).ok()?)?;
            let mut end = ends_at;
            if let Some(tables) = &header.tables {
                end = end.checked_add(rows.checked_mul(tables.columns.len())?.checked_mul(END)?)?;
                end = end.checked_add(usize::try_from(tables.bytes).ok()?)?;
            }
            Some((rows_at, ids_at, ends_at, end))
        };
        let (rows_at, ids_at, ends_at, end) = place().ok_or("its header names impossible sizes")?;
        if end != bytes.len() {
            return Err(format!("it has {} bytes, its header says {end}", bytes.len()));
        }
        let mut rows = 0u64;
        for entry in bytes[shards_at..rows_at].chunks_exact(SHARD) {
            let (split, folder) = (u32_at(entry, 24) as usize, u32_at(entry, 28) as usize);
            let whole = u64_at(entry, 0) == rows && split < header.splits.len() && folder <= header.splits.len();
            rows =
                rows.checked_add(u64_at(entry, 8)).filter(|_| whole).ok_or("its shard table does not fit its rows")?;
        }
        if rows != header.rows {
            return Err(format!("its shards have {rows} rows, its header says {}", header.rows));
        }
        Ok(Segment { header, offsets, stride, shards_at, rows_at, ids_at, ends_at, backing })
    }

    /// The header.
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// The rows of a shard of the table, and the shard itself.
    pub fn shard(&self, shard: usize) -> Option<(Range<u64>, ShardRef)> {
        let at = self.shards_at + shard.checked_mul(SHARD)?;
        if shard as u64 >= self.header.shards {
            return None;
        }
        let entry = &self.backing.bytes()[at..at + SHARD];
        let (first, rows) = (u64_at(entry, 0), u64_at(entry, 8));
        let split = self.header.splits.get(u32_at(entry, 24) as usize)?.clone();
        let sha256 = hex(&entry[32..64]);
        let path = shard_path(self.folder(shard)?, &sha256);
        Some((first..first.checked_add(rows)?, ShardRef { path, split, rows, bytes: u64_at(entry, 16), sha256 }))
    }

    /// The folder of a shard of the table: the split that its file says.
    pub fn folder(&self, shard: usize) -> Option<&str> {
        let at = self.shards_at + shard.checked_mul(SHARD)?;
        if shard as u64 >= self.header.shards {
            return None;
        }
        let entry = &self.backing.bytes()[at..at + SHARD];
        let place = u32_at(entry, 28).checked_sub(1).unwrap_or_else(|| u32_at(entry, 24));
        self.header.splits.get(place as usize).map(String::as_str)
    }

    /// All its bytes, as they are on disk.
    pub fn bytes(&self) -> &[u8] {
        self.backing.bytes()
    }

    /// A row by its place in this segment.
    pub fn row(&self, row: u64) -> Row<'_> {
        assert!(row < self.header.rows, "row {row} of {}", self.header.rows);
        let at = self.rows_at + row as usize * self.stride;
        Row { segment: self, number: row, bytes: &self.backing.bytes()[at..at + self.stride] }
    }

    /// The table of a row's column, by its place among all.
    fn table(&self, row: u64, column: usize) -> Option<&[u8]> {
        let columns = &self.header.tables.as_ref()?.columns;
        let number = usize::try_from(row).ok()? * columns.len() + columns.binary_search(&column).ok()?;
        let ends = &self.backing.bytes()[self.ends_at..];
        let heap = &ends[self.header.rows as usize * columns.len() * END..];
        let end = |number: usize| usize::try_from(u64_at(ends, number * END)).ok();
        let start = number.checked_sub(1).map_or(Some(0), end)?;
        heap.get(start..end(number)?).filter(|table| !table.is_empty())
    }
}

fn damaged(path: &Path, what: impl Into<String>) -> Error {
    Error::damaged(path, what, "`dsctl verify --rebuild-index` makes it again from the shards")
}

/// The path of a shard within its dataset.
pub fn shard_path(split: &str, sha256: &str) -> String {
    format!("data/{split}/{}.parquet", &sha256[..sha256.len().min(16)])
}

/// Lower-case hexadecimal.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut s, b| {
        s.push(char::from_digit(u32::from(b >> 4), 16).unwrap_or('0'));
        s.push(char::from_digit(u32::from(b & 15), 16).unwrap_or('0'));
        s
    })
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().expect("eight bytes"))
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four bytes"))
}
