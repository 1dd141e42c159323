//! Changes that stand over shards: rows that are in another split, or have other values in small columns, than their files say.
//!
//! A list of them is one immutable file, named by its content. A segment of the Index is derived from its shards and, where its
//! version names one, a list. All numbers are little endian:
//!
//! | part | bytes |
//! |---|---|
//! | magic `FSCHANG1` | 8 |
//! | length of the header | 8 |
//! | header: JSON of [`Header`] | as said |
//! | zeros up to a multiple of 64 | |
//! | rows, ascending by key | each: key u64, split u32 (0: as it is; n: the n-th of the header's), 0 u32, a byte for each column (0: as it is, 1: null, 2: a value), zeros up to a multiple of 8, then 8 for each column's value |
//!
//! Classes are numbers: names are only ever appended, so that a number means the same in every later version.

use std::collections::BTreeMap;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::feature::Schema;
use super::index::{IndexCell, Stored};
use crate::error::{Error, Result};
use crate::spool::{Sorted, Sorter, Spill, Spool, Spooled};

const MAGIC: &[u8; 8] = b"FSCHANG1";
/// Key, split and zeros.
const FIXED: usize = 16;
const VALUE: usize = 8;

/// The JSON at the head of a list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Header {
    /// The columns in which a row has another value, in schema order.
    pub columns: Vec<(String, Stored)>,
    /// The splits into which a row goes.
    pub splits: Vec<String>,
    /// Rows.
    pub rows: u64,
}

/// A list of changes, read only.
#[derive(Debug)]
pub struct Changes {
    bytes: Spooled,
    header: Header,
    /// For each column of the header its place in the schema.
    places: Vec<usize>,
    rows_at: usize,
    stride: usize,
}

/// The changes of one row.
#[derive(Debug, Clone, Copy)]
pub struct Change<'a> {
    list: &'a Changes,
    bytes: &'a [u8],
}

fn values_at(columns: usize) -> usize {
    FIXED + columns.next_multiple_of(8)
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().expect("eight bytes"))
}

impl Changes {
    /// Reads a list for the rows of a schema. Only the header is looked at.
    ///
    /// # Errors
    /// [`Error::Damaged`] names `path`: it is no list, or one of columns that the schema does not have.
    pub fn read(bytes: Spooled, schema: &Schema, path: &Path) -> Result<Self> {
        Self::parse(bytes, schema).map_err(|what| damaged(path, what))
    }

    fn parse(bytes: Spooled, schema: &Schema) -> Result<Self, String> {
        if bytes.len() < 16 || &bytes[..8] != MAGIC {
            return Err("it does not begin as a list of changes".into());
        }
        let length = usize::try_from(u64_at(&bytes, 8)).map_err(|_| "its header is too long")?;
        let json = length.checked_add(16).and_then(|end| bytes.get(16..end)).ok_or("its header is cut off")?;
        let header: Header = serde_json::from_slice(json).map_err(|e| format!("its header is not readable: {e}"))?;
        let mut places = Vec::with_capacity(header.columns.len());
        for (name, stored) in &header.columns {
            let at = schema.position(name).filter(|at| Stored::of(&schema.columns[*at]) == *stored);
            let at = at.filter(|_| stored.is_value());
            let at = at.ok_or_else(|| format!("its column {name:?} is no small column of the version"))?;
            if places.last().is_some_and(|last| *last >= at) {
                return Err("its columns are not in the order of the version's".into());
            }
            places.push(at);
        }
        let stride = values_at(header.columns.len()) + header.columns.len() * VALUE;
        let rows_at = (16 + length).next_multiple_of(64);
        let rows = usize::try_from(header.rows).ok();
        let end = rows.and_then(|rows| rows.checked_mul(stride)?.checked_add(rows_at));
        let end = end.ok_or("its header names an impossible size")?;
        if end != bytes.len() {
            return Err(format!("it has {} bytes, its header says {end}", bytes.len()));
        }
        Ok(Changes { bytes, header, places, rows_at, stride })
    }

    /// The header.
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// Whether its rows are in order and name only what the header has: what [`Changes::find`] relies on.
    ///
    /// # Errors
    /// What is wrong, in a sentence.
    pub fn check(&self) -> Result<(), String> {
        let mut last = None;
        for number in 0..self.header.rows {
            let change = self.at(number);
            if last.is_some_and(|last| last >= change.key()) {
                return Err(format!("row {number} is not behind the one before it"));
            }
            last = Some(change.key());
            let split = u32_at(change.bytes, 8) as usize;
            let states = &change.bytes[FIXED..FIXED + self.places.len()];
            if split > self.header.splits.len() || states.iter().any(|state| *state > 2) {
                return Err(format!("row {number} names what the header does not have"));
            }
        }
        Ok(())
    }

    /// A row by its place.
    pub fn at(&self, number: u64) -> Change<'_> {
        assert!(number < self.header.rows, "row {number} of {}", self.header.rows);
        let at = self.rows_at + number as usize * self.stride;
        Change { list: self, bytes: &self.bytes[at..at + self.stride] }
    }

    /// All rows, ascending by key.
    pub fn iter(&self) -> impl Iterator<Item = Change<'_>> {
        (0..self.header.rows).map(|number| self.at(number))
    }

    /// The changes of a row key, if it has any.
    pub fn find(&self, key: u64) -> Option<Change<'_>> {
        let (mut low, mut high) = (0, self.header.rows);
        while low < high {
            let middle = low + (high - low) / 2;
            match self.at(middle).key() {
                at if at == key => return Some(self.at(middle)),
                at if at < key => low = middle + 1,
                _ => high = middle,
            }
        }
        None
    }
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four bytes"))
}

fn damaged(path: &Path, what: impl Into<String>) -> Error {
    Error::damaged(path, what, "restore the file from a copy, or open a version that does not name it")
}

impl<'a> Change<'a> {
    /// The row key.
    pub fn key(self) -> u64 {
        u64_at(self.bytes, 0)
    }

    /// The split it goes into, if it is another.
    pub fn split(self) -> Option<&'a str> {
        let number = u32_at(self.bytes, 8).checked_sub(1)?;
        self.list.header.splits.get(number as usize).map(String::as_str)
    }

    /// The new values: place in the schema and cell.
    pub fn cells(self) -> impl Iterator<Item = (usize, IndexCell)> + 'a {
        let (list, bytes) = (self.list, self.bytes);
        let values = values_at(list.places.len());
        list.places.iter().enumerate().filter_map(move |(n, place)| {
            let value = u64_at(bytes, values + n * VALUE);
            let cell = match (bytes[FIXED + n], list.header.columns[n].1) {
                (0, _) => return None,
                (1, _) => IndexCell::Null,
                (_, Stored::Float) => IndexCell::Float(f64::from_bits(value)),
                (_, Stored::Bool) => IndexCell::Bool(value != 0),
                _ => IndexCell::Int(value as i64),
            };
            Some((*place, cell))
        })
    }
}

/// What is to change in one row.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct RowChanges {
    /// The split it goes into, if it is another.
    pub split: Option<String>,
    /// New values by place in the schema.
    pub cells: BTreeMap<usize, IndexCell>,
}

/// A small cell on its way.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
enum Kept {
    Null,
    Int(i64),
    /// Its bits.
    Float(u64),
    Bool(bool),
}

impl RowChanges {
    /// Whether nothing is to change.
    pub fn is_empty(&self) -> bool {
        self.split.is_none() && self.cells.is_empty()
    }

    /// As bytes that [`RowChanges::from_bytes`] reads, until they are in a list.
    ///
    /// # Errors
    /// [`Error::Library`]: a cell is no small value.
    pub(crate) fn to_bytes(&self) -> Result<Vec<u8>> {
        let kept = |(place, cell): (&usize, &IndexCell)| {
            let kept = match cell {
                IndexCell::Null => Kept::Null,
                IndexCell::Int(v) => Kept::Int(*v),
                IndexCell::Float(v) => Kept::Float(v.to_bits()),
                IndexCell::Bool(v) => Kept::Bool(*v),
                other => return Err(Error::library("keeping a change", format!("{other:?} in column {place}"))),
            };
            Ok((*place, kept))
        };
        let cells = self.cells.iter().map(kept).collect::<Result<Vec<_>>>()?;
        postcard::to_allocvec(&(&self.split, &cells)).map_err(|e| Error::library("keeping a change", e))
    }

    /// What [`RowChanges::to_bytes`] made.
    ///
    /// # Errors
    /// [`Error::Library`]: bytes that it did not make.
    pub(crate) fn from_bytes(bytes: &[u8]) -> Result<Self> {
        let kept = postcard::from_bytes::<(Option<String>, Vec<(usize, Kept)>)>(bytes);
        let (split, cells) = kept.map_err(|e| Error::library("reading a change again", e))?;
        let cell = |kept| match kept {
            Kept::Null => IndexCell::Null,
            Kept::Int(v) => IndexCell::Int(v),
            Kept::Float(bits) => IndexCell::Float(f64::from_bits(bits)),
            Kept::Bool(v) => IndexCell::Bool(v),
        };
        Ok(RowChanges { split, cells: cells.into_iter().map(|(place, kept)| (place, cell(kept))).collect() })
    }

    /// Puts later changes over these.
    pub fn then(mut self, later: RowChanges) -> Self {
        self.split = later.split.or(self.split);
        self.cells.extend(later.cells);
        self
    }
}

impl From<Change<'_>> for RowChanges {
    fn from(change: Change<'_>) -> Self {
        RowChanges { split: change.split().map(str::to_owned), cells: change.cells().collect() }
    }
}

/// Collects changes in any order, in files where they are too many for memory. Of the changes of one row those pushed later stand over the earlier ones.
#[derive(Debug)]
pub struct ChangesBuilder {
    schema: Schema,
    splits: Vec<String>,
    /// Whether some row has a new value there.
    used: Vec<bool>,
    sorter: Sorter,
    spill: Spill,
}

impl ChangesBuilder {
    /// An empty list for the rows of a schema.
    pub fn new(schema: &Schema, spill: &Spill) -> Self {
        ChangesBuilder {
            schema: schema.clone(),
            splits: Vec::new(),
            used: vec![false; schema.columns.len()],
            sorter: Sorter::new(spill),
            spill: spill.clone(),
        }
    }

    /// Adds what changes in a row. Nothing to change is nothing added.
    ///
    /// # Errors
    /// Those of temporary files, and a cell that is not of its column's kind.
    pub fn push(&mut self, key: u64, changes: &RowChanges) -> Result<()> {
        if changes.is_empty() {
            return Ok(());
        }
        let split = changes.split.as_ref().map_or(0, |split| {
            let known = self.splits.iter().position(|s| s == split).unwrap_or_else(|| {
                self.splits.push(split.clone());
                self.splits.len() - 1
            });
            known as u32 + 1
        });
        let mut value = split.to_le_bytes().to_vec();
        for (place, cell) in &changes.cells {
            let fits = self.schema.columns.get(*place).map(Stored::of);
            let (state, bits) = match (cell, fits) {
                (IndexCell::Null, Some(stored)) if stored.is_value() => (1u8, 0),
                (IndexCell::Int(v), Some(Stored::Int)) => (2, *v as u64),
                (IndexCell::Float(v), Some(Stored::Float)) => (2, v.to_bits()),
                (IndexCell::Bool(v), Some(Stored::Bool)) => (2, u64::from(*v)),
                _ => return Err(Error::library("collecting changes", format!("{cell:?} in column {place}"))),
            };
            self.used[*place] = true;
            value.extend((*place as u32).to_le_bytes());
            value.push(state);
            value.extend(bits.to_le_bytes());
        }
        // Those of one key stay in this order.
        self.sorter.push(&key.to_be_bytes(), &value)
    }

    /// The file's bytes in two parts; `None` where nothing changes. Split names are in order, so that the same changes give the same bytes.
    ///
    /// # Errors
    /// Those of temporary files.
    pub fn finish(self) -> Result<Option<(Vec<u8>, Spooled)>> {
        let sorted = self.sorter.finish()?;
        if sorted.is_empty() {
            return Ok(None);
        }
        // Of those that a later change stands over nothing is written.
        let last = |values: &[&[u8]]| values.iter().rev().map(|value| u32_at(value, 0)).find(|split| *split > 0);
        let mut wanted = vec![false; self.splits.len()];
        each(&sorted, &mut |_, values| {
            last(values).into_iter().for_each(|split| wanted[split as usize - 1] = true);
            Ok(())
        })?;
        let mut splits: Vec<String> =
            self.splits.iter().zip(&wanted).filter(|(_, wanted)| **wanted).map(|(split, _)| split.clone()).collect();
        splits.sort_unstable();
        let numbers: Vec<u32> =
            self.splits.iter().map(|split| splits.partition_point(|s| s < split) as u32 + 1).collect();
        let places: Vec<usize> = (0..self.used.len()).filter(|place| self.used[*place]).collect();
        let mut rows = Spool::new(&self.spill);
        let mut count = 0;
        let mut row = Vec::new();
        each(&sorted, &mut |key, values| {
            row.clear();
            row.extend(key.to_le_bytes());
            row.resize(values_at(places.len()) + places.len() * VALUE, 0);
            if let Some(split) = last(values) {
                row[8..12].copy_from_slice(&numbers[split as usize - 1].to_le_bytes());
            }
            for value in values {
                for cell in value[4..].chunks_exact(13) {
                    let place = u32_at(cell, 0) as usize;
                    let at = places.partition_point(|p| *p < place);
                    row[FIXED + at] = cell[4];
                    let to = values_at(places.len()) + at * VALUE;
                    row[to..to + VALUE].copy_from_slice(&cell[5..13]);
                }
            }
            count += 1;
            rows.push(&row)
        })?;
        let named = |place: &usize| {
            let column = &self.schema.columns[*place];
            (column.name.clone(), Stored::of(column))
        };
        let header = Header { columns: places.iter().map(named).collect(), splits, rows: count };
        let json = serde_json::to_vec(&header).map_err(|e| Error::library("writing the header of changes", e))?;
        let mut head = Vec::with_capacity(128 + json.len());
        head.extend(MAGIC);
        head.extend((json.len() as u64).to_le_bytes());
        head.extend(json);
        head.resize(head.len().next_multiple_of(64), 0);
        Ok(Some((head, rows.finish()?)))
    }
}

/// What gets a key with all its values.
type Take<'a> = &'a mut dyn FnMut(u64, &[&[u8]]) -> Result<()>;

/// Hands over all values of each key, ascending.
fn each(sorted: &Sorted, take: Take<'_>) -> Result<()> {
    let mut rows = sorted.iter().peekable();
    let mut values = Vec::new();
    while let Some((key, value)) = rows.next() {
        values.clear();
        values.push(value);
        while let Some((_, more)) = rows.next_if(|(other, _)| *other == key) {
            values.push(more);
        }
        take(u64::from_be_bytes(key.try_into().expect("eight bytes")), &values)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::feature::Feature;
    use crate::rng::Key;

    fn schema() -> Schema {
        let names = vec!["a".into(), "b".into()];
        Schema::new([
            ("image", Feature::Image),
            ("label", Feature::ClassLabel { names }),
            ("score", Feature::Float),
            ("good", Feature::Bool),
        ])
    }

    fn built(all: &[(u64, RowChanges)], spill: &Spill) -> Option<Vec<u8>> {
        let mut builder = ChangesBuilder::new(&schema(), spill);
        all.iter().for_each(|(key, changes)| builder.push(*key, changes).unwrap());
        builder.finish().unwrap().map(|(head, rows)| [&head, &rows[..]].concat())
    }

    fn read(bytes: Vec<u8>) -> Result<Changes> {
        Changes::read(Spooled::Owned(bytes), &schema(), Path::new("list"))
    }

    #[test]
    fn changes_are_those_of_a_map_and_the_last_one_counts() {
        for case in 0..60 {
            let mut stream = Key::new(3).with(case).stream();
            let (mut all, mut want) = (Vec::new(), BTreeMap::<u64, RowChanges>::new());
            for _ in 0..stream.below(40) {
                let mut one = RowChanges::default();
                if stream.below(2) == 0 {
                    one.split = Some(["val", "a.b", "test"][stream.below(3) as usize].into());
                }
                for (place, cell) in [(1, IndexCell::Int(-1)), (2, IndexCell::Float(-0.0)), (3, IndexCell::Bool(true))]
                {
                    match stream.below(4) {
                        0 => drop(one.cells.insert(place, cell)),
                        1 if case % 2 == 0 => drop(one.cells.insert(place, IndexCell::Null)),
                        _ => {}
                    }
                }
                let key = stream.below(20) << 59 | stream.below(2);
                if !one.is_empty() {
                    let before = want.remove(&key).unwrap_or_default();
                    want.insert(key, before.then(one.clone()));
                }
                all.push((key, one));
            }
            let bytes = built(&all, &Spill::temporary());
            assert_eq!(bytes, built(&all, &Spill::temporary().beyond(64)), "the bound of memory is in the bytes");
            let Some(bytes) = bytes else {
                assert!(want.is_empty());
                continue;
            };
            let list = read(bytes.clone()).unwrap();
            list.check().unwrap();
            let got: BTreeMap<u64, RowChanges> = list.iter().map(|c| (c.key(), c.into())).collect();
            assert_eq!((got.len() as u64, &got), (list.header().rows, &want));
            for key in (0..20).flat_map(|k| [k << 59, k << 59 | 1, k << 59 | 2]) {
                assert_eq!(list.find(key).map(RowChanges::from), want.get(&key).cloned());
            }
            // The same changes, told one by one in the order of keys, are the same file.
            let again: Vec<(u64, RowChanges)> = want.into_iter().rev().collect();
            assert_eq!(built(&again, &Spill::temporary()), Some(bytes));
        }
    }

    #[test]
    fn what_is_no_list_is_refused() {
        let one = RowChanges { split: Some("val".into()), cells: BTreeMap::from([(1, IndexCell::Int(1))]) };
        let whole = built(&[(5, one.clone()), (9, one)], &Spill::temporary()).unwrap();
        for cut in 0..whole.len() {
            assert!(read(whole[..cut].to_vec()).is_err(), "cut at {cut}");
        }
        let other = Schema::new([("label", Feature::Float)]);
        let refused = Changes::read(Spooled::Owned(whole.clone()), &other, Path::new("list")).unwrap_err();
        assert!(refused.to_string().contains("\"label\""), "{refused}");
        let stride = 8 + 16 + 8;
        for (at, bits) in [(whole.len() - stride, 0x40), (whole.len() - stride + 8, 0x40), (whole.len() - 16, 4)] {
            let mut bytes = whole.clone();
            bytes[at] ^= bits;
            if at == whole.len() - stride {
                bytes[at] = 1;
            }
            assert!(read(bytes).unwrap().check().is_err(), "at {at}");
        }
        let wrong = RowChanges { split: None, cells: BTreeMap::from([(0, IndexCell::Null)]) };
        assert!(ChangesBuilder::new(&schema(), &Spill::temporary()).push(1, &wrong).is_err(), "media are no values");
    }
}
