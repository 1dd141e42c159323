//! How an entry lies in a sorter: its key says split and id in their order, its value the rest.

use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::Print;
use crate::data::label::{Objects, Value};
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
    pub print: Print,
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

/// Boxes with their classes.
type Boxes = Vec<([f32; 4], i64)>;

#[derive(Serialize, Deserialize)]
pub(super) enum StoredCell<'a> {
    File(#[serde(borrow)] Bytes<'a>, u64),
    Slice(#[serde(borrow)] Bytes<'a>, u64, u64, u64),
    Inline(#[serde(borrow)] Bytes<'a>),
    Seconds(#[serde(borrow)] Bytes<'a>, u64, f64, f64),
    Samples(#[serde(borrow)] Bytes<'a>, u64, [u64; 3], u32),
    Class(&'a str),
    Objects(Vec<&'a str>, Boxes, Vec<Vec<StoredCell<'a>>>),
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
            EntryCell::Objects(names, objects) => {
                let boxes = objects.boxes.iter().copied().zip(objects.classes.iter().copied()).collect();
                let attributes = objects.attributes.iter().map(|values| values.iter().map(Self::value).collect());
                StoredCell::Objects(names.iter().map(String::as_str).collect(), boxes, attributes.collect())
            }
            EntryCell::Value(value) => Self::value(value),
        }
    }

    fn value(value: &'a Value) -> Self {
        match value {
            Value::Null => StoredCell::Null,
            Value::Int(v) => StoredCell::Int(*v),
            Value::Float(v) => StoredCell::Float(*v),
            Value::Bool(v) => StoredCell::Bool(*v),
            Value::Text(v) => StoredCell::Text(v),
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
            StoredCell::Objects(names, boxes, attributes) => {
                let (boxes, classes) = boxes.into_iter().unzip();
                let values = |cells: Vec<StoredCell<'_>>| cells.iter().map(StoredCell::read).collect();
                let objects = Objects { boxes, classes, attributes: attributes.into_iter().map(values).collect() };
                EntryCell::Objects(names.into_iter().map(str::to_owned).collect(), Box::new(objects))
            }
            value => EntryCell::Value(value.read()),
        }
    }

    /// The small value that it is; null for what is none.
    fn read(&self) -> Value {
        match self {
            StoredCell::Int(v) => Value::Int(*v),
            StoredCell::Float(v) => Value::Float(*v),
            StoredCell::Bool(v) => Value::Bool(*v),
            StoredCell::Text(v) => Value::Text((*v).to_owned()),
            _ => Value::Null,
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
