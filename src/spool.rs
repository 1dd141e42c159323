//! Data that may outgrow memory: appended bytes and sorted records that go on in unnamed temporary files beyond a bound.
//!
//! What an ingest knows of a source grows with its rows, a hundred bytes for a line of text. Here it is kept in memory
//! while it is small and in files behind a memory map when it is not, so that the system may drop its pages. The files have
//! no name: nothing is left of them when the process ends in whatever way.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::fs::File;
use std::io::Write as _;
use std::ops::Deref;
use std::path::{Path, PathBuf};

use memmap2::Mmap;

use crate::error::{Error, Result};

/// Where data goes that outgrows memory, and when.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Spill {
    folder: PathBuf,
    memory: usize,
}

impl Spill {
    /// Into temporary files in a folder, made when it is needed, beyond 32 MiB of each spool and sorter.
    pub fn to(folder: impl Into<PathBuf>) -> Self {
        Spill { folder: folder.into(), memory: 32 << 20 }
    }

    /// Into the system's folder for temporary files (`TMPDIR`).
    pub fn temporary() -> Self {
        Spill::to(std::env::temp_dir())
    }

    /// With another bound, in bytes of each spool and sorter.
    #[must_use]
    pub fn beyond(mut self, bytes: usize) -> Self {
        self.memory = bytes;
        self
    }

    fn file(&self) -> Result<File> {
        make_folder(&self.folder)?;
        tempfile::tempfile_in(&self.folder).map_err(|e| Error::io(&self.folder, "make a temporary file", e))
    }
}

/// Makes a folder with those above it, each name durable: what a commit puts inside later must not be lost with it.
pub(crate) fn make_folder(folder: &Path) -> Result<()> {
    let mut missing: Vec<&Path> = folder.ancestors().take_while(|a| !a.as_os_str().is_empty() && !a.is_dir()).collect();
    missing.reverse();
    for path in missing {
        match std::fs::create_dir(path) {
            Err(e) if e.kind() == std::io::ErrorKind::AlreadyExists && path.is_dir() => {}
            made => made.map_err(|e| Error::io(path, "create folder", e))?,
        }
        let above = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
        File::open(above).and_then(|above| above.sync_all()).map_err(|e| Error::io(above, "sync", e))?;
    }
    Ok(())
}

/// Bytes of one write to a temporary file.
const WRITE: usize = 1 << 20;

/// Bytes that are appended first and read afterwards.
#[derive(Debug)]
pub struct Spool {
    spill: Spill,
    buffer: Vec<u8>,
    file: Option<File>,
    written: u64,
}

impl Spool {
    /// An empty one.
    pub fn new(spill: &Spill) -> Self {
        Spool { spill: spill.clone(), buffer: Vec::new(), file: None, written: 0 }
    }

    /// Bytes so far.
    pub fn len(&self) -> u64 {
        self.written + self.buffer.len() as u64
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Adds bytes at the end.
    ///
    /// # Errors
    ///
    /// [`Error::Io`] names the folder of the temporary files.
    pub fn push(&mut self, bytes: &[u8]) -> Result<()> {
        // With a file there is no reason to keep more than one good write, and none to copy a large piece.
        let bound = if self.file.is_some() { WRITE } else { self.spill.memory };
        if self.buffer.len() + bytes.len() <= bound {
            self.buffer.extend_from_slice(bytes);
            return Ok(());
        }
        let buffer = std::mem::take(&mut self.buffer);
        self.write(&buffer)?;
        if bytes.len() < WRITE {
            self.buffer = buffer;
            self.buffer.clear();
            self.buffer.shrink_to(2 * WRITE);
            self.buffer.extend_from_slice(bytes);
            Ok(())
        } else {
            self.write(bytes)
        }
    }

    fn write(&mut self, bytes: &[u8]) -> Result<()> {
        let file = match &mut self.file {
            Some(file) => file,
            None => self.file.insert(self.spill.file()?),
        };
        file.write_all(bytes).map_err(|e| Error::io(&self.spill.folder, "write a temporary file", e))?;
        self.written += bytes.len() as u64;
        Ok(())
    }

    /// Ends it.
    ///
    /// # Errors
    ///
    /// As [`Spool::push`].
    pub fn finish(mut self) -> Result<Spooled> {
        if self.file.is_some() {
            let buffer = std::mem::take(&mut self.buffer);
            self.write(&buffer)?;
        }
        let Some(file) = self.file else { return Ok(Spooled::Owned(self.buffer)) };
        // SAFETY: the file has no name, so nothing else can change or cut it, and nothing writes to it any more.
        let map = unsafe { Mmap::map(&file) };
        Ok(Spooled::Mapped(map.map_err(|e| Error::io(&self.spill.folder, "map a temporary file", e))?))
    }
}

/// What a [`Spool`] held, to be read in any order.
#[derive(Debug)]
pub enum Spooled {
    /// It stayed in memory.
    Owned(Vec<u8>),
    /// It went into a file.
    Mapped(Mmap),
}

impl Default for Spooled {
    fn default() -> Self {
        Spooled::Owned(Vec::new())
    }
}

impl Deref for Spooled {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match self {
            Spooled::Owned(bytes) => bytes,
            Spooled::Mapped(map) => map,
        }
    }
}

/// Length of the key and of the value before each record of a run.
const HEAD: usize = 8;

/// Sorts records by their keys' bytes; those of one key stay in the order in which they were pushed.
///
/// An external merge sort: runs that fill the memory are sorted and put into files, and merged at the end.
#[derive(Debug)]
pub struct Sorter {
    spill: Spill,
    run: Vec<u8>,
    places: Vec<usize>,
    runs: Vec<Spooled>,
}

impl Sorter {
    /// An empty one.
    pub fn new(spill: &Spill) -> Self {
        Sorter { spill: spill.clone(), run: Vec::new(), places: Vec::new(), runs: Vec::new() }
    }

    /// Adds a record.
    ///
    /// # Errors
    ///
    /// [`Error::Io`] names the folder of the temporary files; [`Error::Library`]: a key or value over 4 GiB.
    pub fn push(&mut self, key: &[u8], value: &[u8]) -> Result<()> {
        let length = |part: &[u8]| u32::try_from(part.len()).map_err(|e| Error::library("sorting a record", e));
        let lengths = [length(key)?, length(value)?];
        self.places.push(self.run.len());
        self.run.extend(lengths.map(u32::to_le_bytes).as_flattened());
        self.run.extend_from_slice(key);
        self.run.extend_from_slice(value);
        if self.run.len() + size_of_val(self.places.as_slice()) > self.spill.memory {
            let run = self.sort()?;
            self.runs.push(run);
        }
        Ok(())
    }

    /// Ends the open run: its records in order, in a file.
    fn sort(&mut self) -> Result<Spooled> {
        let run = std::mem::take(&mut self.run);
        self.places.sort_by(|a, b| record(&run, *a).key.cmp(record(&run, *b).key));
        let mut sorted = Spool::new(&self.spill.clone().beyond(0));
        for place in self.places.drain(..) {
            sorted.push(record(&run, place).bytes)?;
        }
        sorted.finish()
    }

    /// All records in order.
    ///
    /// # Errors
    ///
    /// As [`Sorter::push`].
    pub fn finish(mut self) -> Result<Sorted> {
        let (mut records, mut places) = (Spool::new(&self.spill), Spool::new(&self.spill));
        let mut count = 0;
        let mut put = |bytes: &[u8]| -> Result<()> {
            places.push(&records.len().to_le_bytes())?;
            count += 1;
            records.push(bytes)
        };
        if self.runs.is_empty() {
            let run = std::mem::take(&mut self.run);
            self.places.sort_by(|a, b| record(&run, *a).key.cmp(record(&run, *b).key));
            for place in &self.places {
                put(record(&run, *place).bytes)?;
            }
        } else {
            if !self.run.is_empty() {
                let run = self.sort()?;
                self.runs.push(run);
            }
            // Of equal keys the earlier run's record comes first: it was pushed first.
            let mut heads = BinaryHeap::new();
            for (i, run) in self.runs.iter().enumerate() {
                heads.push(Reverse((record(run, 0).key, i, 0)));
            }
            while let Some(Reverse((_, i, place))) = heads.pop() {
                let run = &self.runs[i];
                let bytes = record(run, place).bytes;
                put(bytes)?;
                let next = place + bytes.len();
                if next < run.len() {
                    heads.push(Reverse((record(run, next).key, i, next)));
                }
            }
        }
        Ok(Sorted { count, places: places.finish()?, records: records.finish()? })
    }
}

/// A record within a run: its lengths, its key, its value.
struct Record<'a> {
    bytes: &'a [u8],
    key: &'a [u8],
    value: &'a [u8],
}

fn record(run: &[u8], at: usize) -> Record<'_> {
    let length = |at: usize| u32::from_le_bytes([run[at], run[at + 1], run[at + 2], run[at + 3]]) as usize;
    let (key, value) = (length(at), length(at + 4));
    let bytes = &run[at..at + HEAD + key + value];
    Record { bytes, key: &bytes[HEAD..HEAD + key], value: &bytes[HEAD + key..] }
}

/// Records in the order of their keys, in memory or in a file.
#[derive(Debug, Default)]
pub struct Sorted {
    count: usize,
    places: Spooled,
    records: Spooled,
}

impl Sorted {
    /// Records.
    pub fn len(&self) -> usize {
        self.count
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Key and value of a record by its place in the order. Panics beyond the end, as a slice does.
    pub fn get(&self, at: usize) -> (&[u8], &[u8]) {
        assert!(at < self.count, "record {at} of {}", self.count);
        let place = self.places[at * 8..at * 8 + 8].try_into().map(u64::from_le_bytes).unwrap_or_default();
        let record = record(&self.records, place as usize);
        (record.key, record.value)
    }

    /// All records in order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&[u8], &[u8])> {
        (0..self.count).map(|at| self.get(at))
    }

    /// The place of the first record with a key.
    pub fn position(&self, key: &[u8]) -> Option<usize> {
        let from = self.at_least(key);
        (from < self.count && self.get(from).0 == key).then_some(from)
    }

    /// How many records have lesser keys.
    pub fn at_least(&self, key: &[u8]) -> usize {
        let (mut from, mut to) = (0, self.count);
        while from < to {
            let middle = from + (to - from) / 2;
            if self.get(middle).0 < key { from = middle + 1 } else { to = middle }
        }
        from
    }

    /// The value of the first record with a key.
    pub fn find(&self, key: &[u8]) -> Option<&[u8]> {
        self.all(key).next()
    }

    /// The values of all records with a key.
    pub fn all(&self, key: &[u8]) -> impl Iterator<Item = &[u8]> {
        let from = self.at_least(key);
        (from..self.count).map(|at| self.get(at)).take_while(move |(found, _)| *found == key).map(|(_, value)| value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_come_back_from_memory_and_from_files() {
        let dir = tempfile::tempdir().unwrap();
        for memory in [0, 1, 10, usize::MAX] {
            let spill = Spill::to(dir.path().join("new")).beyond(memory);
            let mut spool = Spool::new(&spill);
            assert!(spool.is_empty());
            for part in [&b"one"[..], b"", b"two", &[7; 3 << 20], b"end"] {
                spool.push(part).unwrap();
            }
            assert_eq!(spool.len(), (3 << 20) + 9);
            assert_eq!(spool.file.is_some(), memory < 100);
            let spooled = spool.finish().unwrap();
            assert_eq!((&spooled[..6], &spooled[spooled.len() - 4..]), (&b"onetwo"[..], &b"\x07end"[..]));
            assert!(Spool::new(&spill).finish().unwrap().is_empty());
        }
        let names = std::fs::read_dir(dir.path().join("new")).unwrap().count();
        assert_eq!(names, 0, "temporary files have no names");
    }

    #[test]
    fn sorting_is_that_of_the_standard_library_however_little_memory_there_is() {
        let dir = tempfile::tempdir().unwrap();
        let mut draws = crate::rng::Key::new(7).stream();
        for count in [0, 1, 2, 1000] {
            let key = |n: u64| vec![b'k'; n as usize % 4].into_iter().chain([n as u8]).collect::<Vec<u8>>();
            let records: Vec<(Vec<u8>, Vec<u8>)> =
                (0..count).map(|i: u32| (key(draws.below(40)), i.to_le_bytes().to_vec())).collect();
            let mut expected = records.clone();
            expected.sort_by(|a, b| a.0.cmp(&b.0));
            for memory in [0, 100, 4000, usize::MAX] {
                let mut sorter = Sorter::new(&Spill::to(dir.path()).beyond(memory));
                for (key, value) in &records {
                    sorter.push(key, value).unwrap();
                }
                if count == 1000 {
                    assert_eq!(sorter.runs.len() > 1, memory < 5000, "{memory} bytes");
                }
                let sorted = sorter.finish().unwrap();
                assert_eq!((sorted.len(), sorted.is_empty()), (count as usize, count == 0));
                let seen: Vec<_> = sorted.iter().map(|(k, v)| (k.to_vec(), v.to_vec())).collect();
                assert_eq!(seen, expected, "{memory} bytes for {count}");
                for (key, _) in &records {
                    let first = expected.iter().find(|e| e.0 == *key).unwrap();
                    assert_eq!(sorted.find(key), Some(first.1.as_slice()));
                    let all = expected.iter().filter(|e| e.0 == *key).map(|e| e.1.as_slice());
                    assert!(sorted.all(key).eq(all));
                }
                assert_eq!(sorted.find(b"no such key"), None);
            }
        }
    }

    #[test]
    fn a_folder_that_cannot_be_is_an_error_that_names_it() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let mut spool = Spool::new(&Spill::to(file.path()).beyond(0));
        let error = spool.push(b"x").unwrap_err();
        assert!(error.to_string().contains(file.path().to_str().unwrap()), "{error}");
    }
}
