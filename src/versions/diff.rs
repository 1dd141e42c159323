//! How two versions, or two datasets, differ: by row, by label, by content.

use std::collections::{BTreeMap, HashSet};
use std::path::Path;

use serde::Serialize;
use serde_json::Value as Json;

use super::{SchemaChange, schema_changes};
use crate::data::feature::{Feature, Schema};
use crate::data::index::Row;
use crate::dataset::Dataset;
use crate::error::Result;
use crate::spool::{Sorter, Spill};
use crate::store::Store;
use crate::store::commit;

/// One of the two that are compared.
#[derive(Debug)]
pub struct Side {
    /// Open for reading.
    pub dataset: Dataset,
    /// SHA-256 of its segments; empty for what is not ours.
    segments: Vec<String>,
}

impl Side {
    /// A dataset as it was opened, by which its own versions are known again.
    ///
    /// # Errors
    /// What keeps its root from being read.
    pub fn of(dataset: Dataset) -> Result<Self> {
        let segments = match dataset.version() {
            Some(version) => {
                let root = commit::load(&Store::open(dataset.root()), version)?;
                root.manifest.segments.into_iter().map(|s| s.sha256).collect()
            }
            None => Vec::new(),
        };
        Ok(Side { dataset, segments })
    }

    #[cfg(test)]
    pub(super) fn made(dataset: Dataset, segments: Vec<String>) -> Self {
        Side { dataset, segments }
    }

    /// A version of ours.
    ///
    /// # Errors
    /// Those of opening it.
    pub fn version(path: impl AsRef<Path>, version: u64) -> Result<Self> {
        Side::of(Dataset::open_version(path, version)?)
    }

    fn rows_beyond(&self, common: &HashSet<&String>) -> Vec<std::ops::Range<u64>> {
        let mut ranges = Vec::new();
        let mut start = 0;
        for (n, segment) in self.dataset.index().segments().iter().enumerate() {
            let end = start + segment.header().rows;
            if self.segments.get(n).is_none_or(|sha256| !common.contains(sha256)) {
                ranges.push(start..end);
            }
            start = end;
        }
        ranges
    }

    fn split(&self, row: u64) -> String {
        let (segment, entry) = self.dataset.index().locate(row);
        let shard = self.dataset.index().segments()[segment].shard(entry.shard());
        shard.map_or_else(String::new, |(_, shard)| shard.split)
    }

    /// The small values of a row by column, classes by name.
    fn values(&self, row: &Row<'_>) -> BTreeMap<&str, Json> {
        let columns = self.dataset.schema().columns.iter().enumerate().filter(|(_, c)| !c.feature.is_payload());
        columns.map(|(at, c)| (c.name.as_str(), row.told(at, &c.feature))).collect()
    }

    /// Length and hash of the stored payloads by column.
    fn payloads(&self, row: &Row<'_>) -> BTreeMap<&str, Option<(u64, u64)>> {
        let of = |at| row.payload(at).map(|payload| (payload.length, payload.hash));
        self.dataset.schema().payloads().map(|(at, column)| (column.name.as_str(), of(at))).collect()
    }
}

/// A row that is not the same in both.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(tag = "change", rename_all = "snake_case")]
pub enum RowChange {
    /// Only the newer one has it.
    Added {
        /// Its id.
        id: String,
        /// Its split.
        split: String,
        /// Its small values by column.
        values: BTreeMap<String, Json>,
    },
    /// Only the older one has it.
    Removed {
        /// Its id.
        id: String,
        /// Its split.
        split: String,
        /// Its small values by column.
        values: BTreeMap<String, Json>,
    },
    /// Both have it, and it is not the same in all columns that both have.
    Changed {
        /// Its id.
        id: String,
        /// It is in another split.
        #[serde(skip_serializing_if = "Option::is_none")]
        moved: Option<Moved>,
        /// It has other small values.
        #[serde(skip_serializing_if = "Vec::is_empty")]
        relabelled: Vec<Relabelled>,
        /// Columns with other bytes.
        #[serde(skip_serializing_if = "Vec::is_empty")]
        replaced: Vec<String>,
    },
}

/// From one split to another.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Moved {
    /// Where it was.
    pub from: String,
    /// Where it is.
    pub to: String,
}

/// Another value in a column; classes by name.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Relabelled {
    /// The column.
    pub column: String,
    /// What it was.
    pub from: Json,
    /// What it is.
    pub to: Json,
}

impl std::fmt::Display for RowChange {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut alone = |sign: char, id: &str, split: &str, values: &BTreeMap<String, Json>| {
            write!(f, "{sign} {id}  {split}")?;
            values.iter().try_for_each(|(column, value)| write!(f, " {column}={value}"))
        };
        match self {
            RowChange::Added { id, split, values } => alone('+', id, split, values),
            RowChange::Removed { id, split, values } => alone('-', id, split, values),
            RowChange::Changed { id, moved, relabelled, replaced } => {
                write!(f, "~ {id} ")?;
                if let Some(Moved { from, to }) = moved {
                    write!(f, " split {from} -> {to}")?;
                }
                for Relabelled { column, from, to } in relabelled {
                    write!(f, " {column} {from} -> {to}")?;
                }
                replaced.iter().try_for_each(|column| write!(f, " {column}: other bytes"))
            }
        }
    }
}

/// How many rows differ, and how.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Differences {
    /// What changed in the schema.
    pub schema: Vec<SchemaChange>,
    /// Rows that only the newer one has.
    pub added: u64,
    /// Rows that only the older one has.
    pub removed: u64,
    /// Rows that differ: of these some may be moved, relabelled and replaced at once.
    pub changed: u64,
    /// Rows in another split.
    pub moved: u64,
    /// Rows with another small value.
    pub relabelled: u64,
    /// Rows with other bytes.
    pub replaced: u64,
    /// Rows that are the same.
    pub same: u64,
}

impl Differences {
    /// Whether anything differs.
    pub fn any(&self) -> bool {
        !self.schema.is_empty() || self.added + self.removed + self.changed > 0
    }
}

/// Compares two versions, or datasets: rows by their ids, columns by their names, classes by theirs. `each` gets every row that differs, in the order of
/// row keys. Segments that both have are not looked at, so that the cost is that of the change.
///
/// # Errors
/// Those of temporary files (beyond 32 MiB of keys), and what `each` returns.
pub fn diff(from: &Side, to: &Side, each: &mut dyn FnMut(RowChange) -> Result<()>) -> Result<Differences> {
    let (old, new) = (from.dataset.schema(), to.dataset.schema());
    let mut found = Differences { schema: schema_changes(old, new), ..Differences::default() };
    let both: HashSet<&String> = if same_numbers(old, new) {
        let own: HashSet<&String> = from.segments.iter().collect();
        to.segments.iter().filter(|sha256| own.contains(sha256)).collect()
    } else {
        HashSet::new()
    };
    let mut sorter = Sorter::new(&Spill::temporary());
    let mut beyond = 0;
    for (number, side) in [(0u8, from), (1, to)] {
        for range in side.rows_beyond(&both) {
            for row in range {
                let key = side.dataset.index().row(row).key();
                // By key, then the older one first.
                sorter.push(&key.to_be_bytes(), &[&[number], &row.to_le_bytes()[..]].concat())?;
                beyond += u64::from(number);
            }
        }
    }
    found.same = to.dataset.rows() - beyond;
    let sorted = sorter.finish()?;
    let mut rows = sorted.iter().peekable();
    while let Some((key, value)) = rows.next() {
        let (number, row) = side_and_row(value);
        let other = rows.next_if(|(other, value)| *other == key && side_and_row(value).0 != number);
        match other.map(|(_, value)| side_and_row(value).1) {
            Some(other) => {
                let pair = if number == 0 { (row, other) } else { (other, row) };
                match changed(from, to, pair) {
                    Some(change) => {
                        if let RowChange::Changed { moved, relabelled, replaced, .. } = &change {
                            found.changed += 1;
                            found.moved += u64::from(moved.is_some());
                            found.relabelled += u64::from(!relabelled.is_empty());
                            found.replaced += u64::from(!replaced.is_empty());
                        }
                        each(change)?;
                    }
                    None => found.same += 1,
                }
            }
            None => {
                let side = if number == 0 { from } else { to };
                let entry = side.dataset.index().row(row);
                let (id, split) = (entry.id().to_owned(), side.split(row));
                let values = side.values(&entry).into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
                if number == 0 {
                    found.removed += 1;
                    each(RowChange::Removed { id, split, values })?;
                } else {
                    found.added += 1;
                    each(RowChange::Added { id, split, values })?;
                }
            }
        }
    }
    Ok(found)
}

fn side_and_row(value: &[u8]) -> (u8, u64) {
    let row = value[1..].iter().rev().fold(0, |row, byte| row << 8 | u64::from(*byte));
    (value[0], row)
}

/// Whether what is stored of rows means the same in both: the same columns, and no class with another number.
fn same_numbers(old: &Schema, new: &Schema) -> bool {
    let agrees = |a: &Feature, b: &Feature| match (a, b) {
        (Feature::ClassLabel { names: a }, Feature::ClassLabel { names: b }) => a.iter().zip(b).all(|(a, b)| a == b),
        (Feature::Objects(a), Feature::Objects(b)) => a.is_like(b) && a.names.iter().zip(&b.names).all(|(a, b)| a == b),
        _ => a == b,
    };
    old.columns.len() == new.columns.len()
        && old.columns.iter().zip(&new.columns).all(|(a, b)| a.name == b.name && agrees(&a.feature, &b.feature))
}

fn changed(from: &Side, to: &Side, (old, new): (u64, u64)) -> Option<RowChange> {
    let (before, after) = (from.dataset.index().row(old), to.dataset.index().row(new));
    let (was, is) = (from.split(old), to.split(new));
    let moved = (was != is).then_some(Moved { from: was, to: is });
    let mut values = to.values(&after);
    let pairs = from.values(&before).into_iter().filter_map(|(name, was)| Some((name, was, values.remove(name)?)));
    let relabelled: Vec<Relabelled> = pairs
        .filter(|(_, was, is)| was != is)
        .map(|(name, from, to)| Relabelled { column: name.to_owned(), from, to })
        .collect();
    let payloads = to.payloads(&after);
    let replaced: Vec<String> = from
        .payloads(&before)
        .into_iter()
        .filter(|(name, was)| payloads.get(name).is_some_and(|is| is != was))
        .map(|(name, _)| name.to_owned())
        .collect();
    let same = moved.is_none() && relabelled.is_empty() && replaced.is_empty();
    (!same).then(|| RowChange::Changed { id: after.id().to_owned(), moved, relabelled, replaced })
}
