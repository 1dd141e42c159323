//! Compares everything a dataset says of itself with what lies on disk.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::Path;

use rayon::prelude::*;
use serde::Serialize;

use crate::data::index::{Segment, hex};
use crate::data::manifest::SegmentRef;
use crate::data::record::row_key;
use crate::dataset::Dataset;
use crate::error::{Error, Result};
use crate::shard::reader;
use crate::spool::{Sorted, Sorter, Spill};
use crate::store::commit::{self, Named, Root};
use crate::store::{Store, card};

mod rebuild;
mod shards;

pub use rebuild::rebuild_index;
use shards::Under;

/// One thing that is not as it should be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// The file, relative to the dataset.
    pub path: String,
    /// The row within the file, where one is meant.
    pub row: Option<u64>,
    /// The row's id.
    pub id: Option<String>,
    /// What is wrong, in a sentence.
    pub what: String,
    /// A stable code: `root`, `parent`, `segment`, `shard-missing`, `shard-size`, `shard-digest`, `shard-content`,
    /// `index`, `changes`, `split-count`, `duplicate-key`, `payload`, `table`; among the notes `orphan`, `card`, `old-version`.
    pub code: &'static str,
}

impl std::fmt::Display for Finding {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.path)?;
        if let Some(row) = self.row {
            write!(f, ", row {row}")?;
        }
        if let Some(id) = &self.id {
            write!(f, ", id {id:?}")?;
        }
        write!(f, ": {} ({})", self.what, self.code)
    }
}

/// What [`verify`] saw.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Report {
    /// The version looked at.
    pub version: Option<u64>,
    /// What is damaged. Empty: all is well.
    pub findings: Vec<Finding>,
    /// What is worth knowing but no damage: files that no version names, a stale card.
    pub notes: Vec<Finding>,
    /// Rows of the version.
    pub rows: u64,
    /// Shards of the version.
    pub shards: u64,
    /// Bytes of these shards.
    pub bytes: u64,
    /// Whether payloads and Index were compared (`deep`), not only digests.
    pub deep: bool,
}

fn finding(code: &'static str, path: impl Into<String>, what: impl Into<String>) -> Finding {
    Finding { path: path.into(), row: None, id: None, what: what.into(), code }
}

/// Verifies the newest version of a dataset, and the chain of roots behind it. Reads every byte of every shard; `deep`
/// decodes the shards' Parquet too, compares every cell of the Index and every payload's hash. Never stops at a finding;
/// an error means that nothing could be looked at (no such folder, a newer format).
pub fn verify(path: impl AsRef<Path>, deep: bool) -> Result<Report> {
    let path = path.as_ref();
    let store = Store::open(path);
    if !path.join(commit::VERSIONS).is_dir() {
        return foreign(&Dataset::open_stored(path)?);
    }
    let mut report = Report { deep, ..Report::default() };
    let Some(root) = roots(&store, &mut report)? else { return Ok(report) };
    let manifest = &root.manifest;
    report.version = Some(manifest.version);
    if let Err(e) = manifest.schema.validate() {
        report.findings.push(finding("root", commit::version_path(manifest.version), e.to_string()));
    }

    let mut splits: BTreeMap<String, u64> = BTreeMap::new();
    let mut keys = Sorter::new(&Spill::temporary());
    let mut segments: Vec<(&String, Segment)> = Vec::new();
    for entry in &manifest.segments {
        let Some(segment) = open_segment(&store, &root, entry, &mut report) else { continue };
        let changes = match commit::changes(&store, entry, &manifest.schema) {
            Ok(changes) => changes,
            Err(e) => {
                let path = entry.changes.as_ref().map_or("", |changes| &changes.path);
                report.findings.push(finding("changes", path, e.to_string()));
                None
            }
        };
        let mut next = 0;
        for number in 0..segment.header().shards as usize {
            match segment.shard(number) {
                Some((rows, shard)) if rows.start == next && rows.end <= segment.header().rows => {
                    next = rows.end;
                    *splits.entry(shard.split.clone()).or_default() += shard.rows;
                }
                _ => report.findings.push(finding(
                    "segment",
                    &entry.path,
                    format!("entry {number} of its shard table is impossible"),
                )),
            }
        }
        report.rows += segment.header().rows;
        for number in 0..segment.header().rows {
            let row = segment.row(number);
            let id = row.id();
            if row.key() != row_key(id) {
                let what = format!("the key of id {id:?} is not its hash");
                report.findings.push(Finding { id: Some(id.to_owned()), ..finding("index", &entry.path, what) });
            }
            let place = [segments.len() as u64, number].map(u64::to_le_bytes);
            keys.push(&row.key().to_be_bytes(), place.as_flattened())?;
        }
        let files = segment.files();
        report.shards += files.len() as u64;
        report.bytes += files.iter().map(|file| file.bytes).sum::<u64>();
        let found: Vec<Finding> = crate::parallel::pool(0)?.install(|| {
            let under = Under { store: &store, root: &root, segment: &segment, changes: changes.as_ref() };
            files.par_iter().flat_map_iter(|file| under.check(file, deep)).collect()
        });
        report.findings.extend(found);
        segments.push((&entry.path, segment));
    }
    duplicates(&keys.finish()?, &segments, &mut report);
    if splits != manifest.splits {
        let what = format!("it counts {:?}, its segments hold {splits:?}", manifest.splits);
        report.findings.push(finding("split-count", commit::version_path(manifest.version), what));
    }
    notes(&store, &root, &mut report)?;
    Ok(report)
}

/// Rows that have the key of an earlier one.
fn duplicates(keys: &Sorted, segments: &[(&String, Segment)], report: &mut Report) {
    let id = |place: &[u8]| {
        let number = |at: usize| place[at..at + 8].iter().rev().fold(0, |n, b| n << 8 | u64::from(*b));
        let (path, segment) = &segments[number(0) as usize];
        (*path, segment.row(number(8)).id())
    };
    let mut last: Option<(&[u8], &[u8])> = None;
    for (key, place) in keys.iter() {
        if let Some((_, before)) = last.filter(|(known, _)| *known == key) {
            let ((_, other), (path, id)) = (id(before), id(place));
            let what = match other == id {
                true => format!("id {id:?} stands twice"),
                false => format!("ids {id:?} and {other:?} have the same key"),
            };
            report.findings.push(Finding { id: Some(id.to_owned()), ..finding("duplicate-key", path, what) });
        }
        last = Some((key, place));
    }
}

/// Every root, newest first: readable, numbered as its file, naming its parent by digest. Returns the newest.
fn roots(store: &Store, report: &mut Report) -> Result<Option<Root>> {
    let versions = commit::versions(store)?;
    let Some(newest) = versions.last().copied() else {
        report.findings.push(finding("root", commit::VERSIONS, "there is no committed version"));
        return Ok(None);
    };
    let mut newest_root = None;
    let mut wanted: Option<(u64, Option<String>)> = None;
    for version in versions.iter().rev().copied() {
        let root = match commit::load(store, version) {
            Ok(root) => root,
            Err(e @ Error::FormatVersion { .. }) if version == newest => return Err(e),
            Err(e) => {
                report.findings.push(finding("root", commit::version_path(version), e.to_string()));
                wanted = None;
                continue;
            }
        };
        if let Some((child, parent)) = wanted
            && (parent.as_ref() != Some(&root.sha256) || child != version + 1)
        {
            let what = format!("version {child} was committed on a parent that is not the version {version} on disk");
            report.findings.push(finding("parent", commit::version_path(version), what));
        }
        wanted = Some((version, root.manifest.parent.clone()));
        if version == newest {
            newest_root = Some(root);
        }
    }
    if let Some((1, Some(_))) = wanted {
        report.findings.push(finding("parent", commit::version_path(1), "the first version names a parent"));
    }
    Ok(newest_root)
}

fn open_segment(store: &Store, root: &Root, entry: &SegmentRef, report: &mut Report) -> Option<Segment> {
    let mut push = |what: String| report.findings.push(finding("segment", &entry.path, what));
    let opened = store.path(&entry.path).and_then(|path| {
        // Mapped, not read: a segment of many rows need not fit into memory.
        let file = File::open(&path).map_err(|e| Error::io(&path, "open", e))?;
        Ok((reader::digest(&mut &file).map_err(|e| Error::io(&path, "read", e))?, Segment::open(&path)))
    });
    let ((sha256, bytes), segment) = match opened {
        Ok(opened) => opened,
        Err(e) => {
            push(e.to_string());
            return None;
        }
    };
    if bytes != entry.bytes {
        push(format!("it has {bytes} bytes, its version says {}", entry.bytes));
    } else if hex(&sha256) != entry.sha256 {
        push("its SHA-256 is not the one its version names".into());
    }
    let segment = match segment {
        Ok(segment) => segment,
        Err(e) => {
            push(e.to_string());
            return None;
        }
    };
    if segment.header().rows != entry.rows {
        push(format!("it has {} rows, its version says {}", segment.header().rows, entry.rows));
    }
    if !segment.header().fits(&root.manifest.schema) {
        push("its columns are not those of its version".into());
        return None;
    }
    Some(segment)
}

/// Files that no version names, and a card that does not describe the newest version.
fn notes(store: &Store, root: &Root, report: &mut Report) -> Result<()> {
    let mut named = Named::default();
    for version in commit::versions(store)? {
        // What cannot be read has its finding.
        drop(named.add(store, version));
    }
    for dir in ["data", commit::SEGMENTS, commit::CHANGES] {
        let base = store.root().join(dir);
        if !base.is_dir() {
            continue;
        }
        for entry in walkdir::WalkDir::new(&base).sort_by_file_name().into_iter().filter_map(std::result::Result::ok) {
            let relative = entry.path().strip_prefix(store.root()).ok().and_then(Path::to_str).unwrap_or("(not UTF-8)");
            if entry.file_type().is_file() && !named.files.contains(relative) {
                report.notes.push(finding(
                    "orphan",
                    relative,
                    "no version names this file (an ingest under way, or one that died); `dsctl gc` takes it away",
                ));
            }
        }
    }
    let fresh = card::expected(store, root).ok();
    let there = store.read_if_there(card::CARD)?.and_then(|b| String::from_utf8(b).ok());
    if fresh.is_some() && there != fresh {
        report.notes.push(finding(
            "card",
            card::CARD,
            "the card does not describe the newest version; the next commit writes it",
        ));
    }
    Ok(())
}

/// What is not ours has no records to compare: every payload is read and compared with its hash at opening.
fn foreign(dataset: &Dataset) -> Result<Report> {
    let mut report =
        Report { rows: dataset.rows(), shards: dataset.shards().len() as u64, deep: true, ..Report::default() };
    let mut buffer = Vec::new();
    for row in 0..dataset.rows() {
        for (column, _) in dataset.schema().payloads() {
            match dataset.fetch_checked(row, column, &mut buffer) {
                Ok(payload) => report.bytes += payload.map_or(0, |p| p.length),
                Err(e) => {
                    let origin = dataset.origin(row, column);
                    let path = origin.file.unwrap_or_default().to_string_lossy().into_owned();
                    report.findings.push(Finding {
                        row: origin.row,
                        id: origin.id,
                        ..finding("payload", path, e.to_string())
                    });
                }
            }
        }
    }
    let note = |what: &String| finding("left-out", "", what.as_str());
    report.notes.extend(dataset.notes().iter().map(note));
    Ok(report)
}

#[cfg(test)]
mod tests;
