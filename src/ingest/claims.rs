//! Which rows of a dataset a source brought, and what it said of them, so that `--sync` takes out no row of another source and lets stand what people
//! changed.
//!
//! A file at `.dsctl/sources/<hash of the source's path and the id prefix>.rows` for each source. It is in no version, because a version must not hang on
//! where a source lay; but it says of which version it is. It is written twice: before the commit as `.next`, and behind it as `.rows`. Whoever finds a
//! `.next` looks whether the version that it names was committed, by the digest of that version's segments: a run that was killed in between forgets
//! nothing, and one that was killed before it claims nothing. What cannot be told this way counts as not committed, so that rows are
//! at worst nobody's: those are never taken out.
//!
//! A row is the source's if its key is here and it is made of what the source brought (`made_of`): a row that was taken out and came again from elsewhere
//! with other content is not.
//!
//! | bytes | what |
//! |---|---|
//! | 8 | `FDSROWS1` |
//! | 8 | the version that it is of |
//! | 8 | XXH3 of that version's list of segments |
//! | 8 | how many records |
//! | 8 | how many small columns a record has |
//! | 8 | 1 if it has all rows that the source ever brought, else 0 |
//! | 8 | XXH3 of the 40 bytes before, and of the records |
//! | 24 + 8 a column | row key (the highest byte first; ascending), `made_of`, then what the source said: XXH3 of the split, and of the value in each small column; 0: not known |
//!
//! Numbers are little-endian where nothing else is said.

use std::io::{BufWriter, Write as _};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use xxhash_rust::xxh3::Xxh3Default;

use super::options::IngestOptions;
use crate::data::feature::{Column, Schema};
use crate::data::label::Value;
use crate::data::manifest::SegmentRef;
use crate::error::{Error, Result};
use crate::spool::{Sorted, Sorter, Spill, Spooled};
use crate::store::Store;
use crate::store::commit;

/// The folder.
pub(super) const SOURCES: &str = ".dsctl/sources";
const MAGIC: &[u8; 8] = b"FDSROWS1";
const HEAD: usize = 56;
/// Key, `made_of` and split.
const FIXED: usize = 24;
/// Something that the source said and nobody wrote down.
pub(super) const UNKNOWN: u64 = 0;

/// The places of the columns whose values a source says and a person may change.
pub(super) fn small(schema: &Schema) -> Vec<usize> {
    let is_small = |c: &Column| c.feature.is_small() && c.stored.is_none();
    schema.columns.iter().enumerate().filter(|(_, column)| is_small(column)).map(|(at, _)| at).collect()
}

/// A hash of something said; never [`UNKNOWN`].
fn said(tag: u8, bytes: &[u8]) -> u64 {
    let mut hash = Xxh3Default::new();
    hash.update(&[tag]);
    hash.update(bytes);
    hash.digest().max(1)
}

/// Of a split.
pub(super) fn said_split(split: &str) -> u64 {
    said(b's', split.as_bytes())
}

/// Of a value. Classes are numbers, which mean the same in every later version.
pub(super) fn said_value(value: &Value) -> u64 {
    match value {
        Value::Null => said(b'0', &[]),
        Value::Int(v) => said(b'i', &v.to_le_bytes()),
        Value::Float(v) => said(b'f', &v.to_bits().to_le_bytes()),
        Value::Bool(v) => said(b'b', &[u8::from(*v)]),
        Value::Text(v) => said(b't', v.as_bytes()),
    }
}

/// One record.
#[derive(Debug, Clone, Copy)]
pub(super) struct Claim<'a>(&'a [u8]);

impl Claim<'_> {
    fn word(&self, at: usize) -> u64 {
        self.0[at..at + 8].try_into().map(u64::from_le_bytes).unwrap_or_default()
    }

    pub(super) fn key(&self) -> u64 {
        self.0[..8].try_into().map(u64::from_be_bytes).unwrap_or_default()
    }

    pub(super) fn made_of(&self) -> u64 {
        self.word(8)
    }

    /// What was said of the split.
    pub(super) fn split(&self) -> u64 {
        self.word(16)
    }

    /// What was said of the n-th small column.
    pub(super) fn value(&self, n: usize) -> u64 {
        if FIXED + n * 8 + 8 <= self.0.len() { self.word(FIXED + n * 8) } else { UNKNOWN }
    }
}

/// A whole file of claims.
#[derive(Debug)]
struct Table {
    bytes: Spooled,
    record: usize,
}

impl Table {
    /// `None` if it is none of ours, or damaged.
    fn of(bytes: Spooled) -> Option<Self> {
        let (head, records) = bytes.split_first_chunk::<HEAD>()?;
        let columns = usize::try_from(word(head, 32)).ok().filter(|columns| *columns < 1 << 20)?;
        let record = FIXED + 8 * columns;
        let count = u64::try_from(records.len() / record).ok().filter(|_| records.len().is_multiple_of(record))?;
        let is_whole = head.starts_with(MAGIC) && word(head, 24) == count && word(head, 48) == digest(head, [records]);
        is_whole.then_some(Table { bytes, record })
    }

    fn version(&self) -> u64 {
        word(&self.bytes, 8)
    }

    fn is_complete(&self) -> bool {
        word(&self.bytes, 40) == 1
    }

    fn len(&self) -> usize {
        (self.bytes.len() - HEAD) / self.record
    }

    fn get(&self, at: usize) -> Claim<'_> {
        Claim(&self.bytes[HEAD + at * self.record..][..self.record])
    }

    fn find(&self, key: u64) -> Option<Claim<'_>> {
        let (mut from, mut to) = (0, self.len());
        while from < to {
            let middle = from + (to - from) / 2;
            match self.get(middle).key() {
                at if at == key => return Some(self.get(middle)),
                at if at < key => from = middle + 1,
                _ => to = middle,
            }
        }
        None
    }

    /// Whether its version was committed as it says.
    fn is_committed(&self, store: &Store) -> Result<bool> {
        if !store.exists(&commit::version_path(self.version()))? {
            return Ok(false);
        }
        Ok(segments_digest(&commit::load(store, self.version())?.manifest.segments)? == word(&self.bytes, 16))
    }
}

fn word(bytes: &[u8], at: usize) -> u64 {
    bytes[at..at + 8].try_into().map(u64::from_le_bytes).unwrap_or_default()
}

fn digest<'a>(head: &[u8], records: impl IntoIterator<Item = &'a [u8]>) -> u64 {
    let mut hash = Xxh3Default::new();
    hash.update(&head[8..48]);
    records.into_iter().for_each(|record| hash.update(record));
    hash.digest()
}

fn segments_digest(segments: &[SegmentRef]) -> Result<u64> {
    let json = serde_json::to_vec(segments).map_err(|e| Error::library("naming the segments of a version", e))?;
    Ok(xxhash_rust::xxh3::xxh3_64(&json))
}

/// What is known of the rows that a source brought.
#[derive(Debug)]
pub(super) struct Claims {
    store: Store,
    /// Its files, without their endings.
    rel: String,
    /// Those of the place where it was before, if they are what is known of it.
    moved: Option<String>,
    table: Option<Table>,
    /// A file is there that is not whole.
    pub damaged: bool,
    /// Those of the other sources of the dataset.
    others: Vec<Table>,
}

impl Claims {
    /// Reads what there is of a source, which may have been at another place before.
    pub(super) fn open(
        store: &Store,
        source: &Path,
        moved_from: Option<&Path>,
        options: &IngestOptions,
    ) -> Result<Self> {
        let rel = name_of(source, options);
        let (mut table, damaged) = newest(store, &rel)?;
        let before = moved_from.map(|path| name_of(path, options)).filter(|before| *before != rel);
        let mut moved = None;
        if let (Some(before), None) = (before, &table) {
            table = newest(store, &before)?.0;
            moved = table.is_some().then_some(before);
        }
        let mut others = Vec::new();
        for other in named(store)?.into_iter().filter(|other| *other != rel && Some(other) != moved.as_ref()) {
            others.extend(newest(store, &other)?.0);
        }
        Ok(Claims { store: store.clone(), rel, moved, table, damaged, others })
    }

    /// Whether it has all rows that the source ever brought; `None` if there is nothing.
    pub(super) fn is_complete(&self) -> Option<bool> {
        if self.damaged {
            return Some(false);
        }
        self.table.as_ref().map(Table::is_complete)
    }

    pub(super) fn find(&self, key: u64) -> Option<Claim<'_>> {
        self.table.as_ref()?.find(key)
    }

    /// That nothing was written down.
    pub(super) fn damaged_note(&self) -> String {
        let path = self.store.root().join(&self.rel);
        format!(
            "{}.rows is damaged: which rows this source brought is not known (--sync says how to go on)",
            path.display()
        )
    }

    /// Whether a row of the dataset is this source's.
    pub(super) fn owns(&self, key: u64, made_of: u64) -> bool {
        self.find(key).is_some_and(|claim| claim.made_of() == made_of)
    }

    /// Whether it is (also) another's.
    pub(super) fn of_another(&self, key: u64, made_of: u64) -> bool {
        self.others.iter().any(|table| table.find(key).is_some_and(|claim| claim.made_of() == made_of))
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = Claim<'_>> {
        self.table.iter().flat_map(|table| (0..table.len()).map(|at| table.get(at)))
    }

    fn put(&self, to: &str, next: &Next, version: u64, segments: u64) -> Result<()> {
        put(&self.store, &format!("{}.{to}", self.rel), next, version, segments)
    }

    /// Writes down what will be so once a version is committed.
    pub(super) fn intend(&self, next: &Next, version: u64, segments: &[SegmentRef]) -> Result<()> {
        self.put("next", next, version, segments_digest(segments)?)
    }

    /// It is so: the version is committed, or nothing was to be. What goes wrong is a note.
    pub(super) fn keep(&self, next: &Next, version: u64, segments: &[SegmentRef], spill: &Spill) -> Option<String> {
        let put = || -> Result<()> {
            let segments = segments_digest(segments)?;
            match newest(&self.store, &self.rel)?.0 {
                // Another ingest of this source came to its end meanwhile: what it brought is not forgotten.
                Some(now)
                    if self.table.as_ref().map_or(0, Table::version) < now.version() && now.version() < version =>
                {
                    let mut both = Collected::new(spill, next.columns, next.complete && now.is_complete());
                    for (key, value) in next.records.iter() {
                        both.sorter.push(key, value)?;
                    }
                    for claim in (0..now.len()).map(|at| now.get(at)).filter(|claim| !next.has(claim.key())) {
                        both.push_again(claim)?;
                    }
                    self.put("rows", &both.finish()?, version, segments)?;
                }
                _ => self.put("rows", next, version, segments)?,
            }
            let moved = self.moved.iter().flat_map(|moved| ["rows", "next"].map(|to| format!("{moved}.{to}")));
            for done in moved.chain([format!("{}.next", self.rel)]) {
                if self.store.exists(&done)? {
                    self.store.remove(&done)?;
                }
            }
            Ok(())
        };
        put().err().map(|why| {
            format!("which rows this source brought was not written down for good (the next ingest does it): {why}")
        })
    }
}

/// Writes a file of claims.
fn put(store: &Store, rel: &str, next: &Next, version: u64, segments: u64) -> Result<()> {
    let mut head = Vec::with_capacity(HEAD);
    head.extend(MAGIC);
    let numbers = [version, segments, next.records.len() as u64, next.columns as u64, u64::from(next.complete)];
    head.extend(numbers.map(u64::to_le_bytes).as_flattened());
    let parts = next.records.iter().flat_map(|(key, value)| [key, value]);
    head.extend(digest(&head, parts).to_le_bytes());
    // The file itself is asked: what was read may have been a `.next`, or another place's.
    let there = if rel.ends_with(".rows") { store.map_if_there(rel)?.and_then(Table::of) } else { None };
    if there.is_some_and(|there| there.bytes.starts_with(&head)) {
        return Ok(());
    }
    let mut staged = BufWriter::with_capacity(1 << 20, store.stage(SOURCES)?);
    let mut write = || -> std::io::Result<()> {
        staged.write_all(&head)?;
        for (key, value) in next.records.iter() {
            staged.write_all(key)?;
            staged.write_all(value)?;
        }
        staged.flush()
    };
    write().map_err(|e| Error::io(store.root().join(rel), "write", e))?;
    let staged = staged.into_inner().map_err(|e| Error::library("writing which rows a source brought", e))?;
    staged.publish(rel)
}

/// The files of a source, without their endings.
fn name_of(source: &Path, options: &IngestOptions) -> String {
    let mut name = Xxh3Default::new();
    for part in [real(source).as_os_str().as_bytes(), options.id_prefix.as_bytes()] {
        name.update(&(part.len() as u64).to_le_bytes());
        name.update(part);
    }
    format!("{SOURCES}/{:016x}", name.digest())
}

/// A path without links, also of what is not there any more.
fn real(path: &Path) -> PathBuf {
    let path = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    let there = path.ancestors().find_map(|above| Some((above, above.canonicalize().ok()?)));
    match there {
        Some((above, real)) => match path.strip_prefix(above) {
            Ok(rest) if !rest.as_os_str().is_empty() => real.join(rest),
            _ => real,
        },
        None => path,
    }
}

/// The names of the sources that a dataset knows.
fn named(store: &Store) -> Result<Vec<String>> {
    let names = store.list(SOURCES)?.into_iter();
    let mut rels: Vec<String> = names
        .filter_map(|name| Some(name.strip_suffix(".rows").or_else(|| name.strip_suffix(".next"))?.to_owned()))
        .map(|name| format!("{SOURCES}/{name}"))
        .collect();
    rels.dedup();
    Ok(rels)
}

/// The claims of a source that count now, and whether a file of it is damaged.
fn newest(store: &Store, rel: &str) -> Result<(Option<Table>, bool)> {
    let read = |to: &str| -> Result<(Option<Table>, bool)> {
        let bytes = store.map_if_there(&format!("{rel}.{to}"))?;
        let was_there = bytes.is_some();
        let table = bytes.and_then(Table::of);
        Ok((table, was_there))
    };
    let (next, _) = read("next")?;
    let (rows, was_there) = read("rows")?;
    if let Some(next) = next
        && rows.as_ref().is_none_or(|rows| rows.version() < next.version())
        && next.is_committed(store)?
    {
        return Ok((Some(next), false));
    }
    let damaged = was_there && rows.is_none();
    Ok((rows, damaged))
}

/// Forgets rows that were taken out on purpose: if they come again from elsewhere, they are not the source's.
///
/// # Errors
/// [`Error::Io`].
pub(crate) fn forget(store: &Store, out: &Sorted, spill: &Spill) -> Result<()> {
    for rel in named(store)? {
        let Some(table) = newest(store, &rel)?.0 else { continue };
        let mut next = Collected::new(spill, (table.record - FIXED) / 8, table.is_complete());
        let mut forgotten = false;
        for at in 0..table.len() {
            let claim = table.get(at);
            match out.find(&claim.0[..8]) {
                Some(_) => forgotten = true,
                None => next.push_again(claim)?,
            }
        }
        if forgotten {
            // The other file stays: it may be that of an ingest which is at work.
            let (version, segments) = (table.version(), word(&table.bytes, 16));
            put(store, &format!("{rel}.rows"), &next.finish()?, version, segments)?;
        }
    }
    Ok(())
}

/// Writes down for good what holds of ingests that were killed behind their commit: it is known by their versions, so that this comes before these are taken
/// away.
///
/// # Errors
/// [`Error::Io`].
pub(crate) fn settle(store: &Store) -> Result<()> {
    for rel in named(store)? {
        let there = store.map_if_there(&format!("{rel}.rows"))?.and_then(Table::of);
        let Some(now) = newest(store, &rel)?.0 else { continue };
        if there.is_some_and(|there| there.bytes[..] == now.bytes[..]) {
            continue;
        }
        // The other file stays: it may be that of an ingest which is at work.
        let mut staged = store.stage(SOURCES)?;
        staged.write_all(&now.bytes).map_err(|e| Error::io(store.root().join(&rel), "write", e))?;
        staged.publish(&format!("{rel}.rows"))?;
    }
    Ok(())
}

/// Reads what may be a file of claims.
#[cfg(feature = "fuzzing")]
pub(super) fn read(bytes: &[u8]) {
    let Some(table) = Table::of(Spooled::Owned(bytes.to_vec())) else { return };
    for claim in (0..table.len()).map(|at| table.get(at)) {
        let _ = (table.find(claim.key()), claim.made_of(), claim.split(), claim.value(0), claim.value(usize::MAX / 16));
    }
}

/// Claims that are being collected.
pub(super) struct Collected {
    sorter: Sorter,
    columns: usize,
    pub complete: bool,
}

/// Those of a version to come.
pub(super) struct Next {
    records: Sorted,
    columns: usize,
    complete: bool,
}

impl Next {
    pub(super) fn has(&self, key: u64) -> bool {
        self.records.position(&key.to_be_bytes()).is_some()
    }
}

impl Collected {
    /// None yet, of rows with so many small columns.
    pub(super) fn new(spill: &Spill, columns: usize, complete: bool) -> Self {
        Collected { sorter: Sorter::new(spill), columns, complete }
    }

    /// Adds a row. Each is added once.
    pub(super) fn push(&mut self, key: u64, made_of: u64, split: u64, values: &[u64]) -> Result<()> {
        let mut value = Vec::with_capacity(16 + self.columns * 8);
        value.extend(made_of.to_le_bytes());
        value.extend(split.to_le_bytes());
        let values = values.iter().copied().chain(std::iter::repeat(UNKNOWN)).take(self.columns);
        values.for_each(|said| value.extend(said.to_le_bytes()));
        self.sorter.push(&key.to_be_bytes(), &value)
    }

    /// Adds a row as it stands in the claims that are there.
    pub(super) fn push_again(&mut self, claim: Claim<'_>) -> Result<()> {
        let values: Vec<u64> = (0..self.columns).map(|n| claim.value(n)).collect();
        self.push(claim.key(), claim.made_of(), claim.split(), &values)
    }

    pub(super) fn finish(self) -> Result<Next> {
        Ok(Next { records: self.sorter.finish()?, columns: self.columns, complete: self.complete })
    }
}
