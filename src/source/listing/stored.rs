//! How an entry lies in a sorter: its key says split and id in their order, its value the rest.

use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::data::label::Value;
use crate::source::{EntryCell, Part};

/// The place of an id in a listing: bytes, but the parts of one file by their ordinal, so that line 10 follows line 9.
pub(crate) fn order(id: &str) -> (&str, u64, &str) {
    let part = id.rsplit_once('#').and_then(|(base, n)| Some((base, n.parse().ok()?)));
    let (base, n) = part.unwrap_or((id, 0));
    (base, n, &id[base.len()..])
}

/// A key whose bytes are ordered like (split, [`order`] of the id).
pub(super) fn put_key(key: &mut Vec<u8>, split: &str, id: &str) {
    let (base, n, rest) = order(id);
    for part in [split, base] {
        // A part ends in two zeros, so one that is the beginning of another comes first; a zero within is marked.
        for byte in part.bytes() {
            key.push(byte);
            if byte == 0 {
                key.push(0xff);
            }
        }
        key.extend([0, 0]);
    }
    key.extend(n.to_be_bytes());
    key.extend(rest.as_bytes());
}

/// Split and id of a key.
pub(super) fn read_key(key: &[u8]) -> Option<(String, String)> {
    let mut bytes = key.iter().copied();
    let mut part = || {
        let mut part = Vec::new();
        loop {
            match bytes.next()? {
                0 => match bytes.next()? {
                    0 => return Some(part),
                    _ => part.push(0),
                },
                byte => part.push(byte),
            }
        }
    };
    let (split, mut id) = (part()?, part()?);
    id.extend(bytes.skip(8));
    Some((String::from_utf8(split).ok()?, String::from_utf8(id).ok()?))
}

/// An entry without what its key says.
#[derive(Serialize, Deserialize)]
pub(super) struct Stored<'a> {
    /// Absent if it is the id.
    #[serde(borrow)]
    pub origin: Option<&'a str>,
    pub line: Option<u64>,
    pub print: u64,
    pub cells: Vec<StoredCell<'a>>,
}

/// A refusal; its key gives the order and no more.
#[derive(Serialize, Deserialize)]
pub(super) struct StoredRefusal<'a> {
    pub id: &'a str,
    /// Absent if it is the id.
    #[serde(borrow)]
    pub origin: Option<&'a str>,
    pub line: Option<u64>,
    pub reason: &'a str,
    pub message: &'a str,
}

#[derive(Serialize, Deserialize)]
pub(super) enum StoredCell<'a> {
    File(#[serde(borrow)] Bytes<'a>, u64),
    Slice(#[serde(borrow)] Bytes<'a>, u64, u64, u64),
    Inline(#[serde(borrow)] Bytes<'a>),
    Seconds(#[serde(borrow)] Bytes<'a>, u64, f64, f64),
    Samples(#[serde(borrow)] Bytes<'a>, u64, [u64; 3], u32),
    Class(&'a str),
    Null,
    Int(i64),
    Float(f64),
    Bool(bool),
    Text(&'a str),
}

impl<'a> StoredCell<'a> {
    pub(super) fn of(cell: &'a EntryCell) -> Self {
        let path = |path: &'a Path| Bytes(path.as_os_str().as_bytes());
        match cell {
            EntryCell::File { path: at, bytes } => StoredCell::File(path(at), *bytes),
            EntryCell::Slice { path: at, range, file_bytes } => {
                StoredCell::Slice(path(at), range.start, range.end, *file_bytes)
            }
            EntryCell::Excerpt { path: at, file_bytes, part } => match part {
                Part::Seconds { start, end } => StoredCell::Seconds(path(at), *file_bytes, *start, *end),
                Part::Samples { range, of, channels } => {
                    StoredCell::Samples(path(at), *file_bytes, [range.start, range.end, *of], *channels)
                }
            },
            EntryCell::Inline(bytes) => StoredCell::Inline(Bytes(bytes)),
            EntryCell::Class(name) => StoredCell::Class(name),
            EntryCell::Value(Value::Null) => StoredCell::Null,
            EntryCell::Value(Value::Int(v)) => StoredCell::Int(*v),
            EntryCell::Value(Value::Float(v)) => StoredCell::Float(*v),
            EntryCell::Value(Value::Bool(v)) => StoredCell::Bool(*v),
            EntryCell::Value(Value::Text(v)) => StoredCell::Text(v),
        }
    }

    pub(super) fn cell(self) -> EntryCell {
        let path = |bytes: &[u8]| PathBuf::from(std::ffi::OsStr::from_bytes(bytes));
        match self {
            StoredCell::File(at, bytes) => EntryCell::File { path: path(at.0), bytes },
            StoredCell::Slice(at, start, end, file_bytes) => {
                EntryCell::Slice { path: path(at.0).into(), range: start..end, file_bytes }
            }
            StoredCell::Seconds(at, file_bytes, start, end) => {
                EntryCell::Excerpt { path: path(at.0).into(), file_bytes, part: Part::Seconds { start, end } }
            }
            StoredCell::Samples(at, file_bytes, [start, end, of], channels) => EntryCell::Excerpt {
                path: path(at.0).into(),
                file_bytes,
                part: Part::Samples { range: start..end, of, channels },
            },
            StoredCell::Inline(bytes) => EntryCell::Inline(bytes.0.to_vec()),
            StoredCell::Class(name) => EntryCell::Class(name.to_owned()),
            StoredCell::Null => EntryCell::NULL,
            StoredCell::Int(v) => EntryCell::Value(Value::Int(v)),
            StoredCell::Float(v) => EntryCell::Value(Value::Float(v)),
            StoredCell::Bool(v) => EntryCell::Value(Value::Bool(v)),
            StoredCell::Text(v) => EntryCell::Value(Value::Text(v.to_owned())),
        }
    }
}

/// Bytes as one piece, where serde would write numbers.
pub(super) struct Bytes<'a>(&'a [u8]);

impl Serialize for Bytes<'_> {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(self.0)
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Bytes<'a> {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        <&[u8]>::deserialize(deserializer).map(Bytes)
    }
}
