//! The dataset as an ingest finds it: its schema, its classes, and which ids it has.

use std::collections::HashMap;

use xxhash_rust::xxh3::Xxh3DefaultBuilder;

use super::check::Cell;
use super::seen::MadeOf;
use crate::data::changes::{Change, Changes};
use crate::data::feature::{Column, Feature, Schema};
use crate::data::index::{IndexCell, Row};
use crate::data::label::Value;
use crate::data::record::row_key;
use crate::data::storage::Original;
use crate::dataset::Dataset;
use crate::error::{Error, Fault, Reason, Result};
use crate::source::{Entry, EntryCell};
use crate::spool::{Sorted, Sorter, Spill};
use crate::store::Store;
use crate::store::commit::{self, Root};

type Map<K, V> = HashMap<K, V, Xxh3DefaultBuilder>;

/// What the dataset has under an id.
#[derive(Debug)]
pub(super) enum Held {
    /// Nothing.
    Not,
    /// This very row.
    Same,
    /// Another row: how it differs.
    Other(Fault),
}

/// The newest version, if there is one, and what a write needs to ask of it.
#[derive(Debug)]
pub(super) struct Base {
    pub root: Option<Root>,
    dataset: Option<Dataset>,
    spill: Spill,
    /// Rows by key (eight bytes each, the highest of the key first): all, or those that a listing asks for.
    rows: Sorted,
    /// Class indices by name, for each column.
    classes: Vec<Map<String, i64>>,
    /// For each segment what stands over its shards.
    changes: Vec<Option<Changes>>,
}

impl Base {
    /// Opens the newest version.
    pub(super) fn open(store: &Store, spill: &Spill) -> Result<Self> {
        let root = commit::latest(store)?;
        let dataset = root.as_ref().map(|root| Dataset::own(store, root)).transpose()?;
        let changes = root.as_ref().map(|root| commit::all_changes(store, root)).transpose()?.unwrap_or_default();
        Ok(Base { root, dataset, spill: spill.clone(), rows: Sorted::default(), classes: Vec::new(), changes })
    }

    /// Where goes what outgrows memory.
    pub(super) fn spill(&self) -> &Spill {
        &self.spill
    }

    /// The dataset's schema, if it has a version.
    pub(super) fn schema(&self) -> Option<&Schema> {
        self.root.as_ref().map(|root| &root.manifest.schema)
    }

    /// The version; 0 for none.
    pub(super) fn version(&self) -> u64 {
        self.root.as_ref().map_or(0, |r| r.manifest.version)
    }

    /// The schema that new rows will have: the dataset's own, with new classes behind the old ones. The second part says
    /// for each of its columns which one of `new` it is.
    pub(super) fn merge(&self, new: &Schema) -> Result<(Schema, Vec<usize>)> {
        new.validate()?;
        match &self.root {
            None => Ok((new.clone(), (0..new.columns.len()).collect())),
            Some(root) => merge(&root.manifest.schema, new),
        }
    }

    /// Takes the class names from the schema that new rows have.
    pub(super) fn name_classes(&mut self, schema: &Schema) {
        let indices = |names: &[String]| names.iter().cloned().zip(0..).collect();
        self.classes = schema
            .columns
            .iter()
            .map(|c| c.feature.classes().map_or_else(Map::default, |names| indices(names)))
            .collect();
    }

    /// The index of a class.
    pub(super) fn class(&self, column: usize, names: &[String], name: &str) -> Option<i64> {
        let known = self.classes.get(column).and_then(|c| c.get(name)).copied();
        known.filter(|i| usize::try_from(*i).is_ok_and(|i| i < names.len()))
    }

    /// Adds one class.
    pub(super) fn add_class(&mut self, column: usize, name: &str, index: usize) {
        if let (Some(classes), Ok(index)) = (self.classes.get_mut(column), i64::try_from(index)) {
            classes.insert(name.to_owned(), index);
        }
    }

    /// Looks up the rows of all ids, or of those whose keys `wanted` takes.
    pub(super) fn find(&mut self, wanted: impl Fn(u64) -> bool) -> Result<()> {
        let Some(dataset) = &self.dataset else { return Ok(()) };
        let mut rows = Sorter::new(&self.spill);
        let mut at = 0u64;
        for segment in dataset.index().segments() {
            for row in 0..segment.header().rows {
                let key = segment.row(row).key();
                if wanted(key) {
                    rows.push(&key.to_be_bytes(), &(at + row).to_le_bytes())?;
                }
            }
            at += segment.header().rows;
        }
        self.rows = rows.finish()?;
        Ok(())
    }

    fn row(&self, id: &str) -> Option<u64> {
        self.row_of(row_key(id))
    }

    fn row_of(&self, key: u64) -> Option<u64> {
        self.rows.find(&key.to_be_bytes()).and_then(|row| row.try_into().ok()).map(u64::from_le_bytes)
    }

    /// A row by its key, if it is among those found.
    pub(super) fn at(&self, key: u64) -> Option<There<'_>> {
        let (dataset, number) = (self.dataset.as_ref()?, self.row_of(key)?);
        let (segment, row) = dataset.index().locate(number);
        let change = self.changes[segment].as_ref().and_then(|changes| changes.find(key));
        Some(There { row, split: dataset.split_of(number), change })
    }

    /// The row of an id.
    pub(super) fn under(&self, id: &str) -> Option<There<'_>> {
        self.at(row_key(id)).filter(|there| there.row.id() == id)
    }

    /// What the source's payload was of a prepared cell.
    pub(super) fn original(&self, id: &str, column: usize) -> Option<Original> {
        self.under(id)?.row.original(column)
    }

    /// Whether the row of an entry has objects in a column where the entry has none any more.
    pub(super) fn is_emptied(&self, entry: &Entry, schema: &Schema) -> bool {
        entry.cells.iter().zip(&schema.columns).enumerate().any(|(at, (cell, column))| {
            let has_none = match cell {
                EntryCell::Objects(_, objects) => objects.classes.is_empty(),
                cell => *cell == EntryCell::NULL,
            };
            matches!(column.feature, Feature::Objects(_))
                && has_none
                && self.under(&entry.id).is_some_and(|there| matches!(there.row.cell(at), IndexCell::Objects(1..)))
        })
    }

    /// The rows that were found.
    pub(super) fn keys(&self) -> impl Iterator<Item = u64> {
        self.rows.iter().map(|(key, _)| key.try_into().map(u64::from_be_bytes).unwrap_or_default())
    }

    /// The rows of the version.
    pub(super) fn rows(&self) -> u64 {
        self.dataset.as_ref().map_or(0, Dataset::rows)
    }

    /// Whether an id is among the rows found.
    pub(super) fn has(&self, id: &str) -> bool {
        self.row(id).is_some()
    }

    /// What the row under an id is made of; `None` if there is none.
    pub(super) fn made_of(&self, id: &str) -> Option<u64> {
        Some(made_of(&self.under(id)?.row, self.schema()?.columns.len()))
    }

    /// What the dataset holds under the id of a row; where only `content` counts, split and small values may be any. An error is for two ids with one key.
    pub(super) fn holds(&self, id: &str, split: &str, cells: &[Cell], content: bool) -> Result<Held> {
        let (Some(schema), Some(there)) = (self.schema(), self.at(row_key(id))) else { return Ok(Held::Not) };
        let There { row, split: its_split, change } = there;
        let taken = |what: String| {
            let way = "take this source in under other ids (--id-prefix), or into another dataset";
            Held::Other(Fault::new(Reason::IdTaken, format!("the id is in the dataset already, with {what}: {way}")))
        };
        if row.id() != id {
            return Err(collision(id, row.id()));
        }
        if !content && its_split != split && change.and_then(|change| change.split()).is_none() {
            return Ok(taken(format!("the split {its_split:?} instead of {split:?}")));
        }
        let changed: Vec<usize> = change.into_iter().flat_map(|change| change.cells()).map(|(at, _)| at).collect();
        for (i, (cell, column)) in cells.iter().zip(&schema.columns).enumerate() {
            if changed.contains(&i) || content && matches!(cell, Cell::Value(_)) && column.feature.is_small() {
                continue;
            }
            let same = match cell {
                Cell::Payload(bytes, hash) => {
                    source_payload(&row, i) == Some(Original { bytes: bytes.len() as u64, hash: *hash })
                }
                Cell::Known => true,
                Cell::Excerpt(original) => row.original(i) == Some(*original),
                Cell::Objects(_, packed) => row.table(i) == Some(packed),
                Cell::Value(Value::Null) => row.is_null(i),
                // Bits, so that a NaN is the same as itself.
                Cell::Value(Value::Float(v)) => {
                    matches!(row.value(i), Value::Float(w) if w.to_bits() == v.to_bits())
                }
                Cell::Value(value) => row.value(i) == *value,
            };
            if !same {
                return Ok(taken(format!("another {:?}", column.name)));
            }
        }
        Ok(Held::Same)
    }
}

/// A row of the dataset as it is now.
pub(super) struct There<'a> {
    pub row: Row<'a>,
    pub split: &'a str,
    /// What stands over it.
    pub change: Option<Change<'a>>,
}

/// What a row is made of.
pub(super) fn made_of(row: &Row<'_>, columns: usize) -> u64 {
    let mut of = MadeOf::default();
    for column in 0..columns {
        if let Some(payload) = source_payload(row, column) {
            of.add(column, payload);
        }
    }
    of.digest()
}

/// The source's payload of a cell. What was stored of it may be something else: its own hash is beside.
fn source_payload(row: &Row<'_>, column: usize) -> Option<Original> {
    row.original(column).or_else(|| row.payload(column).map(|p| Original { bytes: p.length, hash: p.hash }))
}

/// The error for two ids with one key.
pub(super) fn collision(a: &str, b: &str) -> Error {
    Error::config(
        format!("the ids {a:?} and {b:?} have the same 64-bit key"),
        "rename one of the files, or take this source in with --id-prefix",
    )
}

fn merge(old: &Schema, new: &Schema) -> Result<(Schema, Vec<usize>)> {
    let told = |s: &Schema| {
        let of = |c: &Column| match &c.feature {
            Feature::Objects(of) => format!("{} (objects: {})", c.name, of.told()),
            feature => format!("{} ({})", c.name, feature.name()),
        };
        s.columns.iter().map(of).collect::<Vec<_>>().join(", ")
    };
    let differ = || {
        Error::config(
            format!("the dataset's columns are {}; the source's are {}", told(old), told(new)),
            "a dataset's columns are fixed by its first ingest: use another dataset, or name the columns alike",
        )
    };
    if old.columns.len() != new.columns.len() {
        return Err(differ());
    }
    let (mut merged, mut places) = (old.clone(), Vec::new());
    for column in &mut merged.columns {
        let place = new.position(&column.name).ok_or_else(differ)?;
        places.push(place);
        match (&mut column.feature, &new.columns[place].feature) {
            (Feature::ClassLabel { names }, Feature::ClassLabel { names: more }) => {
                let known: std::collections::BTreeSet<String> = names.iter().cloned().collect();
                names.extend(more.iter().filter(|n| !known.contains(*n)).cloned());
            }
            (Feature::Objects(old), Feature::Objects(new)) => {
                if !old.takes(new) {
                    return Err(differ());
                }
                old.append(new);
            }
            // Whole numbers fit a column of numbers.
            (Feature::Float, Feature::Int) => {}
            (a, b) if a == b => {}
            _ => return Err(differ()),
        }
    }
    Ok((merged, places))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn classes(names: &[&str]) -> Feature {
        Feature::ClassLabel { names: names.iter().map(|n| (*n).to_owned()).collect() }
    }

    #[test]
    fn new_classes_go_behind_old_ones_and_columns_are_found_by_name() {
        let old = Schema::new([("image", Feature::Image), ("label", classes(&["b", "c"])), ("n", Feature::Float)]);
        let new = Schema::new([("n", Feature::Int), ("image", Feature::Image), ("label", classes(&["a", "c", "d"]))]);
        let (merged, places) = merge(&old, &new).unwrap();
        assert_eq!(merged.get("label"), Some(&classes(&["b", "c", "a", "d"])));
        assert_eq!(merged.get("n"), Some(&Feature::Float));
        assert_eq!(places, [1, 2, 0]);
        for other in [
            Schema::new([("image", Feature::Image)]),
            Schema::new([("image", Feature::Audio), ("label", classes(&[])), ("n", Feature::Float)]),
            Schema::new([("image", Feature::Image), ("tag", classes(&[])), ("n", Feature::Float)]),
        ] {
            assert_eq!(merge(&old, &other).unwrap_err().exit_code(), 2);
        }
    }
}
