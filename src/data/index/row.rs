//! One row of a segment.

use super::{FIXED, IndexCell, PAYLOAD, Payload, Segment, Stored, u32_at, u64_at};
use crate::data::feature::Feature;
use crate::data::info::{Format, Info};
use crate::data::label::Value;
use crate::data::objects::{Objects, ObjectsType};
use crate::data::orientation::Orientation;
use crate::data::profile::Profile;
use crate::data::storage::Original;

/// Stands for an id that is not there or no text.
const UNREADABLE: &str = "(unreadable id)";

/// One row of a segment.
#[derive(Clone, Copy)]
pub struct Row<'a> {
    pub(super) segment: &'a Segment,
    pub(super) number: u64,
    pub(super) bytes: &'a [u8],
}

impl std::fmt::Debug for Row<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Row").field("id", &self.id()).finish_non_exhaustive()
    }
}

impl<'a> Row<'a> {
    /// The row key.
    pub fn key(&self) -> u64 {
        u64_at(self.bytes, 0)
    }

    /// The id.
    pub fn id(&self) -> &'a str {
        std::str::from_utf8(self.id_bytes()).unwrap_or(UNREADABLE)
    }

    /// Asks for its entry without waiting for it: rows lie anywhere, and of several that are asked for one behind the other, with nothing between, memory
    /// gives many at a time.
    pub(crate) fn touch(&self) {
        std::hint::black_box(self.bytes[FIXED] ^ self.bytes[self.bytes.len() - 1]);
    }

    /// The id, not yet looked at whether it is UTF-8.
    pub(crate) fn id_bytes(&self) -> &'a [u8] {
        let (offset, length) = (u64_at(self.bytes, 8), u32_at(self.bytes, 16) as u64);
        let heap = &self.segment.backing.bytes()[self.segment.ids_at..];
        let range = offset.checked_add(length).and_then(|end| heap.get(offset as usize..end as usize));
        range.unwrap_or(UNREADABLE.as_bytes())
    }

    /// Which shard of the segment's table holds it.
    pub fn shard(&self) -> usize {
        u32_at(self.bytes, 20) as usize
    }

    /// Its place within the shard.
    pub fn row_in_shard(&self) -> u64 {
        u64::from(u32_at(self.bytes, 24))
    }

    /// Whether a column is absent in this row.
    pub fn is_null(&self, column: usize) -> bool {
        self.bytes[FIXED + column / 8] & (1 << (column % 8)) != 0
    }

    /// The value of a small column, of objects their number; `Null` for payload columns.
    pub fn value(&self, column: usize) -> Value {
        let at = self.segment.offsets[column];
        match self.segment.header.columns[column].1 {
            _ if self.is_null(column) => Value::Null,
            Stored::Int => Value::Int(u64_at(self.bytes, at) as i64),
            Stored::Float => Value::Float(f64::from_bits(u64_at(self.bytes, at))),
            Stored::Bool => Value::Bool(u64_at(self.bytes, at) != 0),
            Stored::Objects => Value::Int(u64_at(self.bytes, at) as i64),
            Stored::Payload | Stored::Prepared => Value::Null,
        }
    }

    /// A cell as it was pushed; `Null` too for a payload of a format this build does not know.
    pub fn cell(&self, column: usize) -> IndexCell {
        if let Some(payload) = self.payload(column) {
            let prepared = self.original(column).map(|original| IndexCell::Prepared(payload, original));
            return prepared.unwrap_or(IndexCell::Payload(payload));
        }
        match self.value(column) {
            Value::Int(v) if self.segment.header.columns[column].1 == Stored::Objects => {
                IndexCell::Objects(u32::try_from(v).unwrap_or(u32::MAX))
            }
            Value::Int(v) => IndexCell::Int(v),
            Value::Float(v) => IndexCell::Float(v),
            Value::Bool(v) => IndexCell::Bool(v),
            Value::Null | Value::Text(_) => IndexCell::Null,
        }
    }

    /// Where the payload of a column lies; `None` when it is absent, small, or of a format this build does not know.
    pub fn payload(&self, column: usize) -> Option<Payload> {
        if !self.segment.header.columns[column].1.is_payload() || self.is_null(column) {
            return None;
        }
        let at = &self.bytes[self.segment.offsets[column]..];
        Some(Payload {
            offset: u64_at(at, 0),
            length: u64_at(at, 8),
            hash: u64_at(at, 16),
            info: Info {
                format: Format::from_code(u32_at(at, 24))?,
                width: u32_at(at, 28),
                height: u32_at(at, 32),
                channels: u32_at(at, 36),
                rate: u32_at(at, 40),
                orientation: Orientation::of(u32_at(at, 44) & 0xff),
                profile: Profile::from_code(u32_at(at, 44) >> 8 & 0xff),
                count: u64_at(at, 48),
                duration_us: u64_at(at, 56),
            },
        })
    }
}

impl<'a> Row<'a> {
    /// A small value as JSON: a class by its name, objects one by one ([`ObjectsType::json`]).
    pub fn told(&self, column: usize, feature: &Feature) -> serde_json::Value {
        match feature {
            Feature::Objects(of) => match self.objects(column, of) {
                Ok(objects) => objects.map_or(serde_json::Value::Null, |objects| of.json(&objects)),
                Err(why) => serde_json::Value::String(why),
            },
            feature => feature.told(&self.value(column)),
        }
    }

    /// The objects of a column of them; `None` where they are absent.
    ///
    /// # Errors
    /// What is wrong with the packed bytes.
    pub fn objects(&self, column: usize, of: &ObjectsType) -> Result<Option<Objects>, String> {
        self.table(column).map(|packed| Objects::unpack(packed, of)).transpose()
    }

    /// What stands in the Index for a column of this row beside its cell, if there is something: the seek table of a payload, packed objects.
    pub fn table(&self, column: usize) -> Option<&'a [u8]> {
        self.segment.table(self.number, column).filter(|_| !self.is_null(column))
    }

    /// What the source's payload was, where the stored one was made of it.
    pub fn original(&self, column: usize) -> Option<Original> {
        if self.segment.header.columns[column].1 != Stored::Prepared || self.is_null(column) {
            return None;
        }
        let at = self.segment.offsets[column] + PAYLOAD;
        Some(Original { bytes: u64_at(self.bytes, at), hash: u64_at(self.bytes, at + 8) })
    }
}
