//! Shards against what their segment says of them, and against themselves.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::Path;

use super::{Finding, finding};
use crate::codec::{self, Limits};
use crate::data::changes::Changes;
use crate::data::index::{IndexCell, Row, Segment, TableFile};
use crate::data::info::Info;
use crate::data::manifest::ShardRef;
use crate::data::record::{payload_hash, row_key};
use crate::shard::{FinishedShard, read_finished, reader};
use crate::store::Store;
use crate::store::commit::Root;

/// What the shards of a segment are held against.
pub(super) struct Under<'a> {
    pub(super) store: &'a Store,
    pub(super) root: &'a Root,
    pub(super) segment: &'a Segment,
    /// What stands over them.
    pub(super) changes: Option<&'a Changes>,
}

impl Under<'_> {
    /// One shard against its entries in the shard table and, when `deep`, against its rows in the segment.
    pub(super) fn check(&self, of: &TableFile, deep: bool) -> Vec<Finding> {
        let shard = of.path();
        let one = |code, what: String| vec![finding(code, &shard, what)];
        let path = match self.store.path(&shard) {
            Ok(path) => path,
            Err(e) => return one("segment", e.to_string()),
        };
        let mut file = match File::open(&path) {
            Ok(file) => file,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
                return one("shard-missing", "the shard is missing".into());
            }
            Err(e) => return one("shard-missing", format!("the shard cannot be opened: {e}")),
        };
        let (sha256, bytes) = match reader::digest(&mut file) {
            Ok(answer) => answer,
            Err(e) => return one("shard-missing", format!("the shard cannot be read: {e}")),
        };
        let mut found = Vec::new();
        if bytes != of.bytes {
            found.extend(one("shard-size", format!("it has {bytes} bytes, its segment says {}", of.bytes)));
        } else if sha256 != of.sha256 {
            found.extend(one("shard-digest", "its SHA-256 is not the one its segment names".into()));
        }
        if !deep {
            return found;
        }
        match read_finished(&path, &self.root.manifest.schema) {
            Ok(finished) => {
                found.extend(self.compare(of, &shard, &finished));
                found.extend(check_tables(&path, &finished, &shard));
            }
            Err(e) => {
                found.extend(one("shard-content", e.to_string()));
                found.extend(check_payloads(self.store, self.root, self.segment, of, &shard));
            }
        }
        found
    }

    /// The rows of a shard against those of the segment, under what stands over them.
    fn compare(&self, of: &TableFile, shard: &str, finished: &FinishedShard) -> Vec<Finding> {
        let mut found = Vec::new();
        let rows = of.rows.end.saturating_sub(of.rows.start);
        if finished.rows.len() as u64 != rows {
            let what = format!("it has {} rows, the Index says {rows}", finished.rows.len());
            found.push(finding("index", shard, what));
        }
        let mut seen = vec![false; finished.rows.len()];
        for number in of.entries.clone() {
            let Some((range, entry)) = self.segment.shard(number) else { continue };
            let mut next = 0;
            for at in range.filter(|at| *at < self.segment.header().rows) {
                let row = self.segment.row(at);
                let place = row.row_in_shard();
                let wrong = |what: String| Finding {
                    row: Some(place),
                    id: Some(row.id().to_owned()),
                    ..finding("index", shard, what)
                };
                // Of a split's rows each is behind the one before it in the file, and none is there twice.
                let there = usize::try_from(place).ok().filter(|p| finished.rows.len() > *p && !seen[*p]);
                let Some(there) = there.filter(|_| row.shard() == number && place >= next) else {
                    found.push(wrong(format!("the Index puts this row at {place} of shard {}", row.shard())));
                    continue;
                };
                seen[there] = true;
                next = place + 1;
                found.extend(self.row(&row, &finished.rows[there], &entry, of).into_iter().map(wrong));
                for (c, column) in self.root.manifest.schema.columns.iter().enumerate() {
                    if row.table(c) != finished.tables.get(&(place, c)).map(Vec::as_slice) {
                        found.push(wrong(format!("column {:?}: the seek table is not the shard's", column.name)));
                    }
                }
            }
        }
        found
    }

    /// What of a row in the segment does not follow from the file and what stands over it.
    fn row(
        &self,
        row: &Row<'_>,
        (id, cells): &(String, Vec<IndexCell>),
        entry: &ShardRef,
        of: &TableFile,
    ) -> Vec<String> {
        let mut found = Vec::new();
        if row.id() != id {
            found.push(format!("the shard calls this row {id:?}"));
        }
        let change = self.changes.and_then(|changes| changes.find(row_key(id)));
        let split = change.and_then(|change| change.split()).unwrap_or(&of.folder);
        if entry.split != split {
            found.push(format!("the Index has it in split {:?}, not in {split:?}", entry.split));
        }
        let new: BTreeMap<usize, IndexCell> = change.into_iter().flat_map(|change| change.cells()).collect();
        for (c, (cell, column)) in cells.iter().zip(&self.root.manifest.schema.columns).enumerate() {
            let (stored, cell) = (row.cell(c), new.get(&c).unwrap_or(cell));
            if !same(&stored, cell) {
                let whose = if new.contains_key(&c) { "the list of changes" } else { "the shard" };
                found.push(format!("column {:?}: the Index says {stored:?}, {whose} {cell:?}", column.name));
            }
        }
        found
    }
}

/// Seek tables against the payloads that they were made of.
fn check_tables(path: &Path, finished: &FinishedShard, shard: &str) -> Vec<Finding> {
    let Ok(file) = reader::ShardFile::open(path) else { return Vec::new() };
    let mut buffer = Vec::new();
    let mut found = Vec::new();
    for ((row, column), table) in &finished.tables {
        let Some((id, cells)) = finished.rows.get(*row as usize) else { continue };
        let Some(payload) = cells[*column].payload() else { continue };
        let Ok(codec) = codec::by_format(payload.info.format) else { continue };
        // A payload that cannot be read has its finding elsewhere; what this build cannot open it makes no table of.
        if file.fetch(payload, &mut buffer).is_err() {
            continue;
        }
        let Ok(made) = codec.seek_table(&buffer, &limits_of(&payload.info)) else { continue };
        // One of another form was made by another build.
        if made.as_ref().is_some_and(|made| made != table && made.first() == table.first()) || made.is_none() {
            let what = "the seek table is not the one that its payload gives".to_owned();
            let id = Some(id.clone());
            found.push(Finding { row: Some(*row), id, ..finding("table", shard, what) });
        }
    }
    found
}

/// Limits that admit what the facts of a clip say, which was admitted when it was ingested: samples that are not presented are
/// among its frames, and what is coded is larger than what is shown.
fn limits_of(info: &Info) -> Limits {
    let usual = Limits::default();
    let pixels = u64::from(info.width).saturating_mul(u64::from(info.height)).saturating_mul(2);
    Limits {
        payload_bytes: u64::MAX,
        pixels: usual.pixels.max(pixels),
        frames: usual.frames.max(info.count.saturating_mul(2)),
        ..usual
    }
}

/// Equality of cells bit by bit (a NaN equals itself).
fn same(a: &IndexCell, b: &IndexCell) -> bool {
    match (a, b) {
        (IndexCell::Float(a), IndexCell::Float(b)) => a.to_bits() == b.to_bits(),
        (a, b) => a == b,
    }
}

/// Which payloads of a shard that cannot be decoded any more still read well at their offsets.
fn check_payloads(store: &Store, root: &Root, segment: &Segment, of: &TableFile, shard: &str) -> Vec<Finding> {
    let Ok(file) = store.path(shard).and_then(reader::ShardFile::open) else { return Vec::new() };
    let mut buffer = Vec::new();
    let mut found = Vec::new();
    for at in of.rows.clone().take_while(|at| *at < segment.header().rows) {
        let row = segment.row(at);
        for (c, column) in root.manifest.schema.payloads() {
            let Some(payload) = row.payload(c) else { continue };
            let what = match file.fetch(&payload, &mut buffer) {
                Ok(()) if payload_hash(&buffer) == payload.hash => continue,
                Ok(()) => format!("column {:?}: the payload does not have its hash", column.name),
                Err(e) => format!("column {:?}: {e}", column.name),
            };
            found.push(Finding {
                row: Some(row.row_in_shard()),
                id: Some(row.id().to_owned()),
                ..finding("payload", shard, what)
            });
        }
    }
    found
}
