//! What ingests saw of the files whose rows a dataset has, so that a grown source costs only what is new.
//!
//! A file at `.dsctl/seen/<hash of the source's path and the id prefix>.seen` for each source, outside all versions. A record says that the
//! row of a key is made of payloads with certain hashes (`made_of`), and that it was so when its files had certain places, sizes and times of
//! change (`print`). Whoever lists the same print, while the dataset's row is made of the same, need not read the files.
//! That is all a record is trusted for, so one that is missing, old or damaged costs time and no row, and a row that was
//! replaced since has no record. A whole ingest leaves those of what it listed; a retry adds to them.
//!
//! | bytes | what |
//! |---|---|
//! | 8 | `FDSSEEN1` |
//! | 8 | the newest version when it was written |
//! | 8 | how many records |
//! | 8 | XXH3 of the sixteen bytes before, and of the records |
//! | 24 each | row key (the highest byte first; ascending), `print`, `made_of` |
//!
//! Numbers are little-endian where nothing else is said.

use std::io::{BufWriter, Write as _};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use xxhash_rust::xxh3::Xxh3Default;

use super::base::Base;
use super::options::{IngestOptions, InvalidUtf8};
use crate::data::record::row_key;
use crate::data::storage::Original;
use crate::error::{Error, Result};
use crate::shard::{ShardCell, ShardRow};
use crate::source::{Entry, EntryCell, Print};
use crate::spool::{Sorted, Sorter, Spill, Spooled};
use crate::store::Store;

/// The folder.
const SEEN: &str = ".dsctl/seen";
const MAGIC: &[u8; 8] = b"FDSSEEN1";
const HEAD: usize = 32;
const RECORD: usize = 24;

/// A file that changed within this time before it was listed may change again and keep its time: the coarsest file system in use (FAT) counts
/// two seconds. There is no record of it.
pub(super) const MARGIN: Duration = Duration::from_secs(2);

/// What the rows of a source were made of, as earlier ingests saw it.
pub(super) struct Seen {
    store: Store,
    rel: String,
    /// The file, if it is whole.
    there: Option<Spooled>,
    /// Why it is not, if it cannot be read.
    unreadable: Option<Error>,
    /// The source's folder without links, and as it was called.
    roots: [PathBuf; 2],
    mended: bool,
    /// What changed before this, in nanoseconds since 1970, is settled.
    settled: i128,
    trusted: bool,
}

impl Seen {
    /// Reads what there is of a source whose folder is `root`. `settled` is [`MARGIN`] before anything of it was listed.
    pub(super) fn open(
        store: &Store,
        source: &Path,
        root: &Path,
        options: &IngestOptions,
        settled: Option<SystemTime>,
    ) -> Self {
        let mut name = Xxh3Default::new();
        let real = source.canonicalize().unwrap_or_else(|_| source.to_owned());
        for part in [real.as_os_str().as_bytes(), options.id_prefix.as_bytes()] {
            name.update(&(part.len() as u64).to_le_bytes());
            name.update(part);
        }
        let rel = format!("{SEEN}/{:016x}.seen", name.digest());
        let (there, unreadable) = match store.map_if_there(&rel) {
            Ok(there) => (there.filter(|bytes| is_whole(bytes)), None),
            Err(e) => (None, Some(e)),
        };
        let called = if source.is_dir() { source } else { source.parent().unwrap_or(source) };
        let since = settled.and_then(|at| at.duration_since(SystemTime::UNIX_EPOCH).ok());
        Seen {
            store: store.clone(),
            rel,
            there,
            unreadable,
            roots: [root.to_owned(), called.to_owned()],
            mended: options.invalid_utf8 == InvalidUtf8::Replace,
            settled: since.map_or(i128::MIN, |since| i128::try_from(since.as_nanos()).unwrap_or(i128::MIN)),
            trusted: !options.checksum,
        }
    }

    /// Whether an ingest of the source left something.
    pub(super) fn is_there(&self) -> bool {
        self.there.is_some() || self.unreadable.is_some()
    }

    fn records(&self) -> &[u8] {
        self.there.as_ref().map_or(&[], |bytes| &bytes[HEAD..])
    }

    /// The record of a row key, if there is one: `print` and `made_of`.
    fn find(&self, key: u64) -> Option<&[u8]> {
        let (records, key) = (self.records().as_chunks::<RECORD>().0, key.to_be_bytes());
        let at = records.binary_search_by(|record| record[..8].cmp(&key)).ok()?;
        Some(&records[at][8..])
    }

    /// Whether the files of an entry need not be read: the dataset's row is made of what an ingest saw in them when they had the places, sizes and
    /// times of change that they have.
    pub(super) fn knows(&self, entry: &Entry, print: Print, base: &Base) -> bool {
        let known = || {
            let record = self.find(row_key(&entry.id))?;
            Some(record == [self.print(entry, print)?, base.made_of(&entry.id)?].map(u64::to_le_bytes).as_flattened())
        };
        self.trusted && known() == Some(true)
    }

    /// A hash of what was listed of the files of an entry: which parts of which files its payloads are, with sizes and times of change. What
    /// becomes of bytes that are no UTF-8 is in it, as it decides what a row is compared with. An entry without files has none, nor have
    /// parts of recordings: those are read to be listed.
    fn print(&self, entry: &Entry, listed: Print) -> Option<u64> {
        let mut hash = Xxh3Default::new();
        hash.update(&listed.hash.to_le_bytes());
        hash.update(&[u8::from(self.mended)]);
        let mut any = false;
        for (column, cell) in entry.cells.iter().enumerate() {
            let (path, numbers): (&Path, _) = match cell {
                EntryCell::File { path, bytes } => (path, [0, *bytes, *bytes]),
                EntryCell::Slice { path, range, file_bytes } => (path, [range.start, range.end, *file_bytes]),
                EntryCell::Excerpt { .. } => return None,
                EntryCell::Inline(_) | EntryCell::Class(_) | EntryCell::Value(_) | EntryCell::Objects(..) => continue,
            };
            any = true;
            let within = self.roots.iter().find_map(|root| path.strip_prefix(root).ok());
            let path = within.unwrap_or(path).as_os_str().as_bytes();
            hash.update([column as u64, path.len() as u64].map(u64::to_le_bytes).as_flattened());
            hash.update(path);
            hash.update(numbers.map(u64::to_le_bytes).as_flattened());
        }
        any.then(|| hash.digest())
    }

    /// Keeps what an ingest saw that left a version as the newest, in the place of what was there (`beside`: with that of it which is
    /// of other rows). The rows are committed: what goes wrong is a note.
    pub(super) fn keep(&self, sightings: Sightings, version: u64, beside: bool, spill: &Spill) -> Option<String> {
        let why = match (self.write(sightings, version, beside, spill), &self.unreadable) {
            (Err(why), _) => format!("kept, so the next ingest reads them all: {why}"),
            (Ok(()), Some(why)) => format!("known, so all of them were read: {why}"),
            (Ok(()), None) => return None,
        };
        Some(format!("what was seen of the files was not {why}"))
    }

    fn write(&self, Sightings(new): Sightings, version: u64, beside: bool, spill: &Spill) -> Result<()> {
        let mut new = new.finish()?;
        if beside {
            let mut all = Sorter::new(spill);
            for (key, value) in new.iter() {
                all.push(key, value)?;
            }
            for record in self.records().chunks_exact(RECORD) {
                if new.position(&record[..8]).is_none() {
                    all.push(&record[..8], &record[8..])?;
                }
            }
            new = all.finish()?;
        }
        let (mut head, count) = (Vec::with_capacity(HEAD), records(&new).count() as u64);
        head.extend(MAGIC);
        head.extend([version, count].map(u64::to_le_bytes).as_flattened());
        let mut hash = Xxh3Default::new();
        hash.update(&head[8..]);
        records(&new).for_each(|(key, value)| {
            hash.update(key);
            hash.update(value);
        });
        head.extend(hash.digest().to_le_bytes());
        if count == 0 {
            return if self.store.exists(&self.rel)? { self.store.remove(&self.rel) } else { Ok(()) };
        }
        if self.there.as_ref().is_some_and(|there| there.starts_with(&head)) {
            return Ok(());
        }
        let mut staged = BufWriter::with_capacity(1 << 20, self.store.stage(SEEN)?);
        let mut put = || -> std::io::Result<()> {
            staged.write_all(&head)?;
            for (key, value) in records(&new) {
                staged.write_all(key)?;
                staged.write_all(value)?;
            }
            staged.flush()
        };
        put().map_err(|e| Error::io(self.store.root().join(&self.rel), "write", e))?;
        let staged = staged.into_inner().map_err(|e| Error::library("writing what was seen", e))?;
        staged.publish(&self.rel)
    }
}

/// Those that are to be kept.
fn records(sorted: &Sorted) -> impl Iterator<Item = (&[u8], &[u8])> {
    sorted.iter().filter(|(_, value)| !value.is_empty())
}

/// What an ingest sees of the files whose rows the dataset has or gets: records by key, without a value where there is to be none.
pub(super) struct Sightings(Sorter);

impl Sightings {
    pub(super) fn new(spill: &Spill) -> Self {
        Sightings(Sorter::new(spill))
    }

    /// Notes what the row of an entry is made of, if it is in the dataset then.
    pub(super) fn add(&mut self, seen: &Seen, entry: &Entry, print: Print, made_of: Option<u64>) -> Result<()> {
        let is_settled = print.changed.is_some_and(|at| at < seen.settled);
        let record = made_of.filter(|_| is_settled).and_then(|made_of| Some([seen.print(entry, print)?, made_of]));
        let value = record.map(|record| record.map(u64::to_le_bytes));
        let value = value.as_ref().map_or(&[][..], |value| value.as_flattened());
        self.0.push(&row_key(&entry.id).to_be_bytes(), value)
    }

    /// Notes what was known of an id.
    pub(super) fn again(&mut self, seen: &Seen, id: &str) -> Result<()> {
        let key = row_key(id);
        let value = seen.find(key).filter(|_| seen.trusted);
        self.0.push(&key.to_be_bytes(), value.unwrap_or_default())
    }
}

/// What a row is made of: the source's payloads, by length and hash.
#[derive(Default)]
pub(super) struct MadeOf(Xxh3Default);

impl MadeOf {
    pub(super) fn add(&mut self, column: usize, payload: Original) {
        self.0.update([column as u64, payload.bytes, payload.hash].map(u64::to_le_bytes).as_flattened());
    }

    pub(super) fn digest(&self) -> u64 {
        self.0.digest()
    }

    /// Of a row that is not written yet.
    pub(super) fn row(row: &ShardRow) -> u64 {
        let mut of = MadeOf::default();
        for (column, cell) in row.cells.iter().enumerate() {
            if let ShardCell::Media { bytes, hash, original, .. } = cell {
                of.add(column, original.unwrap_or(Original { bytes: bytes.len() as u64, hash: *hash }));
            }
        }
        of.digest()
    }
}

/// The version in the head of a file of ours.
fn version(bytes: &[u8]) -> Option<u64> {
    let head = bytes.first_chunk::<HEAD>()?.strip_prefix(MAGIC)?;
    Some(u64::from_le_bytes(*head.first_chunk()?))
}

/// Whether a file is one of ours and not damaged.
pub(super) fn is_whole(bytes: &[u8]) -> bool {
    let Some((head, records)) = bytes.split_first_chunk::<HEAD>() else { return false };
    let mut hash = Xxh3Default::new();
    hash.update(&head[8..24]);
    hash.update(records);
    let count = u64::try_from(records.len() / RECORD).ok().filter(|_| records.len().is_multiple_of(RECORD));
    head.starts_with(MAGIC)
        && count.is_some_and(|count| head[16..24] == count.to_le_bytes())
        && head[24..] == hash.digest().to_le_bytes()
}

/// The files in which a dataset's ingests keep what they saw, each with the version that was the newest then; `None` if it is not told.
///
/// # Errors
/// [`crate::Error::Io`].
pub(crate) fn remembered(store: &Store) -> Result<Vec<(String, Option<u64>)>> {
    let mut all = Vec::new();
    for name in store.list(SEEN)?.into_iter().filter(|name| name.ends_with(".seen")) {
        let rel = format!("{SEEN}/{name}");
        if let Some(bytes) = store.map_if_there(&rel)? {
            all.push((rel, version(&bytes)));
        }
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Writes records and reads them back, as an ingest and the next one do.
    fn seen(store: &Store, options: &IngestOptions) -> Seen {
        let source = store.root();
        Seen::open(store, source, source, options, Some(SystemTime::UNIX_EPOCH + Duration::from_nanos(100)))
    }

    fn entry(id: &str, cell: EntryCell) -> Entry {
        Entry {
            id: id.into(),
            split: "train".into(),
            cells: vec![EntryCell::NULL, cell],
            origin: id.into(),
            line: None,
        }
    }

    fn file(path: &str) -> EntryCell {
        EntryCell::File { path: path.into(), bytes: 9 }
    }

    #[test]
    fn no_flipped_bit_and_no_cut_is_a_whole_file() {
        let dir = tempfile::tempdir().unwrap();
        let (store, spill) = (Store::open(dir.path()), Spill::temporary());
        let before = seen(&store, &IngestOptions::default());
        let mut new = Sightings::new(&spill);
        for id in ["a", "b", "c"] {
            let print = Print { hash: 7, changed: Some(99) };
            new.add(&before, &entry(id, file("/x")), print, Some(5)).unwrap();
        }
        assert_eq!(before.keep(new, 3, false, &spill), None);
        let mut bytes = store.read(&before.rel).unwrap();
        assert!(is_whole(&bytes) && bytes.len() == HEAD + 3 * RECORD);
        assert_eq!(remembered(&store).unwrap(), [(before.rel.clone(), Some(3))]);
        for bit in 0..bytes.len() * 8 {
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert!(!is_whole(&bytes), "bit {bit}");
            bytes[bit / 8] ^= 1 << (bit % 8);
        }
        assert!((0..bytes.len()).all(|length| !is_whole(&bytes[..length])));
        let after = seen(&store, &IngestOptions::default());
        assert!(
            ["a", "b", "c"].iter().all(|id| after.find(row_key(id)).is_some()) && after.find(row_key("d")).is_none()
        );
    }

    #[test]
    fn a_print_is_of_all_that_says_which_bytes_a_row_is() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path());
        let at = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
        let print = |cell, hash, invalid_utf8| {
            let options = IngestOptions { invalid_utf8, ..IngestOptions::default() };
            seen(&store, &options).print(&entry("a", cell), Print { hash, changed: None })
        };
        let slice =
            |start, end, file_bytes| EntryCell::Slice { path: Path::new("/x").into(), range: start..end, file_bytes };
        let [refuse, replace] = [InvalidUtf8::Refuse, InvalidUtf8::Replace];
        let all = [
            print(file("/x"), 1, refuse),
            print(file("/x"), 2, refuse),
            print(file("/x"), 1, replace),
            print(file("/y"), 1, refuse),
            print(file(&at("x")), 1, refuse),
            print(slice(0, 9, 10), 1, refuse),
            print(slice(1, 9, 10), 1, refuse),
            print(slice(0, 8, 10), 1, refuse),
            print(slice(0, 9, 11), 1, refuse),
        ];
        let distinct: std::collections::BTreeSet<_> = all.iter().collect();
        assert!(distinct.len() == all.len() && all.iter().all(Option::is_some), "{all:?}");
        assert_eq!(print(file("/x"), 1, refuse), all[0]);
        assert_eq!(print(EntryCell::Inline(vec![1]), 1, refuse), None, "there is no file");
        let part = crate::source::Part::Seconds { start: 0.0, end: 1.0 };
        let part = EntryCell::Excerpt { path: Path::new("/x").into(), file_bytes: 9, part };
        assert_eq!(print(part, 1, refuse), None, "it is read in any case");
    }

    #[test]
    fn what_is_refused_unsettled_or_asked_for_anew_leaves_no_record() {
        let dir = tempfile::tempdir().unwrap();
        let (store, spill) = (Store::open(dir.path()), Spill::temporary().beyond(0));
        let keep = |ids: &[(&str, Option<i128>, Option<u64>)], again: &[&str], checksum, beside| {
            let seen = seen(&store, &IngestOptions { checksum, ..IngestOptions::default() });
            let mut new = Sightings::new(&spill);
            for (id, changed, made_of) in ids {
                new.add(&seen, &entry(id, file("/x")), Print { hash: 7, changed: *changed }, *made_of).unwrap();
            }
            again.iter().for_each(|id| new.again(&seen, id).unwrap());
            assert_eq!(seen.keep(new, 1, beside, &spill), None);
        };
        let there = || {
            let seen = seen(&store, &IngestOptions::default());
            let ids = ["a", "b", "c", "d", "e"];
            ids.into_iter().filter(|id| seen.find(row_key(id)).is_some()).collect::<String>()
        };
        let (old, good) = (Some(99), Some(5));
        keep(
            &[("a", old, good), ("b", Some(100), good), ("c", None, good), ("d", old, None), ("e", Some(-1), good)],
            &[],
            false,
            false,
        );
        assert_eq!(there(), "ae");
        keep(&[("b", old, good)], &["a", "c"], false, false);
        assert_eq!(there(), "ab", "a stretch of a journal keeps what was known of it, and no more");
        keep(&[("c", old, good), ("a", old, None)], &[], false, true);
        assert_eq!(there(), "bc", "beside: what was refused goes, what was not listed stays");
        keep(&[("d", old, good)], &["c"], true, false);
        assert_eq!(there(), "d", "what is not trusted is not kept");
        keep(&[("d", old, None)], &[], false, false);
        assert!(there().is_empty() && remembered(&store).unwrap().is_empty(), "no records, no file");
    }
}
