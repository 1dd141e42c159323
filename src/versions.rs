//! The versions of a dataset: what each one brought ([`log()`]), how two differ ([`diff()`]), and what none of them needs any more ([`garbage`]).

use std::collections::{BTreeMap, HashSet};
use std::path::Path;
use std::time::SystemTime;

use serde::Serialize;

use crate::data::feature::{Feature, Schema};
use crate::data::index::{Segment, TableFile};
use crate::data::manifest::SegmentRef;
use crate::dataset::Dataset;
use crate::error::{Error, Result};
use crate::store::Store;
use crate::store::commit;

mod diff;
mod gc;
#[cfg(test)]
mod tests;

pub use diff::{Differences, Moved, Relabelled, RowChange, Side, diff};
pub use gc::{Garbage, Keep, Taken, Waste, collect, garbage};

/// What one version brought.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Brought {
    /// Its number.
    pub version: u64,
    /// SHA-256 (hex) of its root: the dataset's digest.
    pub digest: String,
    /// That of the version before it, by which it was made.
    pub parent: Option<String>,
    /// Rows in all.
    pub rows: u64,
    /// Rows that the version before does not have.
    pub added: u64,
    /// Rows that only the version before has.
    pub removed: u64,
    /// Rows that are in another split.
    pub moved: u64,
    /// Rows with another value in a small column.
    pub relabelled: u64,
    /// Rows with other bytes.
    pub replaced: u64,
    /// Rows of each split.
    pub splits: BTreeMap<String, u64>,
    /// Shards that the version before does not have.
    pub shards: u64,
    /// Their bytes.
    pub bytes: u64,
    /// What changed in the schema.
    pub schema: Vec<SchemaChange>,
    /// When the root was written, as its file system says; no part of the version. Seconds since 1970.
    pub written: Option<u64>,
}

/// A difference of two schemas.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(tag = "change", rename_all = "snake_case")]
pub enum SchemaChange {
    /// A column is there that was not.
    ColumnAdded {
        /// Its name.
        column: String,
        /// What it holds.
        feature: &'static str,
    },
    /// A column is gone.
    ColumnRemoved {
        /// Its name.
        column: String,
        /// What it held.
        feature: &'static str,
    },
    /// A column of the same name holds something else, or is stored in another way.
    ColumnChanged {
        /// Its name.
        column: String,
        /// What it held.
        from: String,
        /// What it holds.
        to: String,
    },
    /// Classes are there that were not.
    ClassesAdded {
        /// The column.
        column: String,
        /// Their names.
        classes: Vec<String>,
    },
    /// Classes are gone.
    ClassesRemoved {
        /// The column.
        column: String,
        /// Their names.
        classes: Vec<String>,
    },
    /// The classes that both have stand in another order: their numbers differ.
    ClassesReordered {
        /// The column.
        column: String,
    },
}

impl std::fmt::Display for SchemaChange {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            SchemaChange::ColumnAdded { column, feature } => write!(f, "column {column} added ({feature})"),
            SchemaChange::ColumnRemoved { column, feature } => write!(f, "column {column} removed ({feature})"),
            SchemaChange::ColumnChanged { column, from, to } => write!(f, "column {column} was {from}, is {to}"),
            SchemaChange::ClassesAdded { column, classes } => {
                write!(f, "classes of {column} added: {}", classes.join(", "))
            }
            SchemaChange::ClassesRemoved { column, classes } => {
                write!(f, "classes of {column} removed: {}", classes.join(", "))
            }
            SchemaChange::ClassesReordered { column } => write!(f, "classes of {column} have other numbers"),
        }
    }
}

/// What changed from one schema to another, column by column in the order of the newer one.
pub fn schema_changes(from: &Schema, to: &Schema) -> Vec<SchemaChange> {
    let mut changes = Vec::new();
    for column in &to.columns {
        let name = || column.name.clone();
        let Some(before) = from.columns.iter().find(|c| c.name == column.name) else {
            changes.push(SchemaChange::ColumnAdded { column: name(), feature: column.feature.name() });
            continue;
        };
        let alike = match (&before.feature, &column.feature) {
            (Feature::ClassLabel { .. }, Feature::ClassLabel { .. }) => true,
            (Feature::Objects(a), Feature::Objects(b)) => a.is_like(b),
            _ => false,
        };
        match (before.feature.classes(), column.feature.classes()) {
            (Some(old), Some(new)) if alike => {
                // Those that the other has, and those that it has not.
                let parted = |of: &[String], other: &[String]| -> (Vec<String>, Vec<String>) {
                    let other: HashSet<&String> = other.iter().collect();
                    of.iter().cloned().partition(|name| other.contains(name))
                };
                let ((before, removed), (after, added)) = (parted(old, new), parted(new, old));
                if before != after {
                    changes.push(SchemaChange::ClassesReordered { column: name() });
                }
                if !added.is_empty() {
                    changes.push(SchemaChange::ClassesAdded { column: name(), classes: added });
                }
                if !removed.is_empty() {
                    changes.push(SchemaChange::ClassesRemoved { column: name(), classes: removed });
                }
            }
            _ if before.feature != column.feature || before.stored != column.stored => {
                let told = |feature: &Feature, stored: &Option<crate::data::storage::Storage>| {
                    let made = stored.as_ref().map_or_else(String::new, |s| format!(", stored {}", s.told()));
                    let of =
                        if let Feature::Objects(of) = feature { format!(" ({})", of.told()) } else { String::new() };
                    format!("{}{of}{made}", feature.name())
                };
                let (from, to) = (told(&before.feature, &before.stored), told(&column.feature, &column.stored));
                changes.push(SchemaChange::ColumnChanged { column: name(), from, to });
            }
            _ => {}
        }
    }
    let gone = from.columns.iter().filter(|c| to.columns.iter().all(|other| other.name != c.name));
    changes.extend(gone.map(|c| SchemaChange::ColumnRemoved { column: c.name.clone(), feature: c.feature.name() }));
    changes
}

/// What the newest versions brought, at most `limit` of them, newest first. Reads their roots and that of the version before, and of segments that a version has
/// first the shard tables; where it wrote segments anew, also the rows of these.
///
/// # Errors
/// That there is no version, or a root that cannot be read: `dsctl verify` says more of it.
pub fn log(path: impl AsRef<Path>, limit: usize) -> Result<Vec<Brought>> {
    let store = Store::open(path.as_ref());
    let versions = commit::versions(&store)?;
    if versions.is_empty() {
        return Err(none(path.as_ref()));
    }
    let (behind, told) = versions.split_at(versions.len().saturating_sub(limit));
    let mut before = behind.last().map(|version| commit::load(&store, *version)).transpose()?;
    let mut log = Vec::with_capacity(told.len());
    for version in told.iter().copied() {
        let root = commit::load(&store, version)?;
        let manifest = &root.manifest;
        let old = before.as_ref().map_or(&[][..], |b| b.manifest.segments.as_slice());
        let beyond = |of: &[SegmentRef], other: &[SegmentRef]| -> Vec<SegmentRef> {
            let other: HashSet<&String> = other.iter().map(|s| &s.sha256).collect();
            of.iter().filter(|s| !other.contains(&s.sha256)).cloned().collect()
        };
        let (new, gone) = (beyond(&manifest.segments, old), beyond(old, &manifest.segments));
        let mut there = HashSet::new();
        for entry in &gone {
            there.extend(Segment::open(&store.path(&entry.path)?)?.files().iter().map(TableFile::path));
        }
        let (mut shards, mut bytes) = (0u64, 0u64);
        for entry in &new {
            for file in Segment::open(&store.path(&entry.path)?)?.files() {
                if !there.contains(&file.path()) {
                    shards += 1;
                    bytes = bytes.saturating_add(file.bytes);
                }
            }
        }
        // Where no segment was written anew, what is in the new ones was added.
        let mut found = Differences { added: new.iter().map(|s| s.rows).sum(), ..Differences::default() };
        if let Some(before) = before.as_ref().filter(|_| !gone.is_empty()) {
            let sides = [before, &root].map(|root| Side::of(Dataset::own(&store, root)?));
            let [old, now] = sides;
            found = diff(&old?, &now?, &mut |_| Ok(()))?;
        }
        // Of the first that is still there nobody can say what it brought but all.
        let empty = Schema::default();
        let schema = schema_changes(before.as_ref().map_or(&empty, |b| &b.manifest.schema), &manifest.schema);
        let written = std::fs::metadata(store.path(&commit::version_path(version))?).and_then(|m| m.modified());
        let since = |time: SystemTime| time.duration_since(SystemTime::UNIX_EPOCH).ok().map(|d| d.as_secs());
        log.push(Brought {
            version,
            digest: root.sha256.clone(),
            parent: manifest.parent.clone(),
            rows: manifest.rows(),
            added: found.added,
            removed: found.removed,
            moved: found.moved,
            relabelled: found.relabelled,
            replaced: found.replaced,
            splits: manifest.splits.clone(),
            shards,
            bytes,
            schema,
            written: written.ok().and_then(since),
        });
        before = Some(root);
    }
    log.reverse();
    Ok(log)
}

/// The error for a folder without a version.
pub(crate) fn none(path: &Path) -> Error {
    if !path.exists() {
        return Error::io(path, "open", std::io::ErrorKind::NotFound.into());
    }
    if path.join(".dsctl").is_dir() {
        return Error::config(
            format!("{} has no committed version yet", path.display()),
            "run `dsctl ingest` to its end, or remove the folder",
        );
    }
    Error::config(
        format!("{} has no versions", path.display()),
        "versions are what `dsctl ingest SOURCE DATASET` makes; folders of others' Parquet and raw media have none",
    )
}
