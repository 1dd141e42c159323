//! Reads shards: payloads by `pread` at known offsets, and everything else again from the file alone.

use std::fs::File;
use std::io::Read;
use std::ops::Range;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use arrow::array::{Array, AsArray, RecordBatch, StructArray};
use arrow::datatypes::{Float64Type, Int32Type, Int64Type, UInt64Type};
use memmap2::Mmap;
use parquet::arrow::arrow_reader::{ArrowReaderMetadata, ArrowReaderOptions, ParquetRecordBatchReaderBuilder};
use parquet::file::metadata::{PageIndexPolicy, ParquetMetaData};
use sha2::{Digest, Sha256};

use super::batches::{Batches, guarded};
use super::layout;
use super::located::objects_at;
use super::writer::{FinishedShard, Tables};
use crate::data::feature::{Column, Feature, ORIGINAL_BYTES, ORIGINAL_HASH, SEEK, Schema, fits_info};
use crate::data::index::{IndexCell, Payload, hex, shard_path};
use crate::data::info::{Format, Info};
use crate::data::manifest::ShardRef;
use crate::data::orientation::Orientation;
use crate::data::profile::Profile;
use crate::data::record::payload_hash;
use crate::data::storage::Original;
use crate::error::{Error, Result};

/// An open shard. Shared between threads: reads carry their own position.
#[derive(Debug)]
pub struct ShardFile {
    file: File,
    path: PathBuf,
    /// All of it, once somebody looked at a payload in its place; `None` where the system maps no files.
    map: OnceLock<Option<Mmap>>,
    /// Whether the system says what of it is in memory ([`is_told`]).
    told: OnceLock<bool>,
}

impl ShardFile {
    /// Opens a shard for reading payloads. Nothing is read.
    pub fn open(path: impl Into<PathBuf>) -> Result<Self> {
        let path = path.into();
        match File::open(&path) {
            Ok(file) => Ok(ShardFile { file, path, map: OnceLock::new(), told: OnceLock::new() }),
            Err(e) => Err(Error::io(path, "open", e)),
        }
    }

    /// Where it lies.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Looks whether the file is long enough for the bytes of a payload, and says how long it is. A shard shorter than its Index is [`Error::Damaged`].
    pub fn holds(&self, payload: &Range<u64>) -> Result<u64> {
        holds(&self.file, &self.path, payload.start, payload.end.saturating_sub(payload.start))
    }

    /// Tells the system that some bytes will be read soon, so that it reads them meanwhile. It may as well not.
    pub fn foretell(&self, bytes: &std::ops::Range<u64>) {
        #[cfg(target_os = "linux")]
        {
            use std::os::fd::AsRawFd;
            let short = |v: u64| libc::off64_t::try_from(v).unwrap_or(libc::off64_t::MAX);
            let (at, length) = (short(bytes.start), short(bytes.end.saturating_sub(bytes.start)));
            // SAFETY: the descriptor is open as long as `self.file`, and the call takes numbers only.
            unsafe { libc::posix_fadvise64(self.file.as_raw_fd(), at, length, libc::POSIX_FADV_WILLNEED) };
        }
        #[cfg(not(target_os = "linux"))]
        let _ = bytes;
    }

    /// Reads some of the bytes of a payload, as many as `out` has, from its byte `at` on.
    pub fn fetch_part(&self, payload: &Range<u64>, at: u64, out: &mut [u8]) -> Result<()> {
        let offset = payload.start.checked_add(at);
        let end = offset.and_then(|offset| offset.checked_add(out.len() as u64)).filter(|end| *end <= payload.end);
        let offset = offset.filter(|_| end.is_some()).ok_or_else(|| {
            Error::library("fetching a part of a payload", format!("{} bytes at {at} of {payload:?}", out.len()))
        })?;
        fill(&self.file, &self.path, offset, out)
    }

    /// Bytes of the file in their place, without a copy. `None`: it cannot be mapped, or was shorter when it was.
    ///
    /// Who looks at them makes sure beforehand ([`ShardFile::holds`]) that the file still has them: a page that it lost since then kills the process.
    pub fn mapped(&self, bytes: &Range<u64>) -> Option<&[u8]> {
        let map = self.map.get_or_init(|| {
            // SAFETY: shards are immutable once renamed into place; a foreign process that truncates one while its bytes are looked at is outside
            // the contract, as with segments of the Index.
            let map = unsafe { Mmap::map(&self.file) };
            map.ok()
        });
        let bytes = usize::try_from(bytes.start).ok()?..usize::try_from(bytes.end).ok()?;
        map.as_ref()?.get(bytes)
    }

    /// Waits until bytes that are mapped are in memory. Where all of them are it costs a call: to look at each page would be to wait for memory, one page
    /// after the other, and whoever reads them next can ask ahead.
    pub fn wait_for(&self, mapped: &[u8]) {
        for bytes in mapped.chunks(ASKED * PAGE) {
            if !(*self.told.get_or_init(|| is_told(&self.file)) && are_there(bytes)) {
                bytes.iter().step_by(PAGE).for_each(|byte| _ = std::hint::black_box(*byte));
            }
        }
    }

    /// Reads a payload into `out`, replacing what was there. A shard shorter than its Index is [`Error::Damaged`].
    pub fn fetch(&self, payload: &Payload, out: &mut Vec<u8>) -> Result<()> {
        read_at(&self.file, &self.path, payload.offset, payload.length, out)
    }
}

/// Bytes of a page of memory; a system may have larger ones.
const PAGE: usize = 4096;

/// Pages that the system is asked about at once.
const ASKED: usize = 256;

/// Whether the system says of this process's maps of a file what is in memory. Linux says of files that somebody else owns (and this process may not write) that
/// all is.
fn is_told(file: &File) -> bool {
    // SAFETY: the call takes and touches nothing.
    let own = || unsafe { libc::geteuid() };
    cfg!(target_os = "linux") && file.metadata().is_ok_and(|metadata| metadata.uid() == own())
}

/// Whether bytes, of [`ASKED`] pages at the most, are in memory. Not where pages are larger, nor if the system refuses to say.
fn are_there(bytes: &[u8]) -> bool {
    // The call takes whole pages, and the first one begins before the bytes.
    let before = bytes.as_ptr().addr() % PAGE;
    let (start, length) = (bytes.as_ptr().wrapping_sub(before), before + bytes.len());
    let mut pages = [0u8; ASKED + 1];
    let Some(pages) = pages.get_mut(..length.div_ceil(PAGE)) else { return false };
    // SAFETY: the call writes a byte for each page of the length, and reads none of the pages.
    let answer = unsafe { libc::mincore(start.cast_mut().cast(), length, pages.as_mut_ptr().cast()) };
    answer == 0 && pages.iter().all(|page| page & 1 == 1)
}

fn holds(file: &File, path: &Path, offset: u64, length: u64) -> Result<u64> {
    let there = file.metadata().map_err(|e| Error::io(path, "look at", e))?.len();
    if offset.checked_add(length).is_none_or(|end| end > there) {
        return Err(short(path, offset, length));
    }
    Ok(there)
}

/// Reads a range of a file; the length is compared with the file's before memory is asked for.
pub(crate) fn read_at(file: &File, path: &Path, offset: u64, length: u64, out: &mut Vec<u8>) -> Result<()> {
    let size = usize::try_from(length).map_err(|_| short(path, offset, length))?;
    if size > out.capacity() {
        holds(file, path, offset, length)?;
    }
    out.resize(size, 0);
    fill(file, path, offset, out)
}

/// Reads as many bytes of a file as `out` has.
fn fill(file: &File, path: &Path, offset: u64, out: &mut [u8]) -> Result<()> {
    file.read_exact_at(out, offset).map_err(|e| match e.kind() {
        std::io::ErrorKind::UnexpectedEof => short(path, offset, out.len() as u64),
        _ => Error::io(path, "read", e),
    })
}

fn short(path: &Path, offset: u64, length: u64) -> Error {
    Error::damaged(
        path,
        format!("it ends before byte {} of a payload", offset.saturating_add(length)),
        "restore the file, or open an earlier version; `dsctl verify` lists all that is damaged",
    )
}

/// The footer with the offset index.
pub(super) fn metadata(file: &File) -> Result<Arc<ParquetMetaData>, String> {
    Ok(arrow_metadata(file)?.metadata().clone())
}

pub(super) fn arrow_metadata(file: &File) -> Result<ArrowReaderMetadata, String> {
    let options = ArrowReaderOptions::new()
        .with_offset_index_policy(PageIndexPolicy::Optional)
        .with_column_index_policy(PageIndexPolicy::Skip);
    guarded(|| ArrowReaderMetadata::load(file, options)).map_err(|e| format!("it is not a readable Parquet file: {e}"))
}

/// Derives everything a segment holds of a shard from the shard's file alone: digest, ids, labels, facts, offsets.
/// Every payload is read and its hash compared. The split is the name of the file's folder.
pub fn read_finished(path: &Path, schema: &Schema) -> Result<FinishedShard> {
    let wrong = |what: String| Error::damaged(path, what, "restore the shard, or open a version that does not name it");
    let mut file = File::open(path).map_err(|e| Error::io(path, "open", e))?;
    let (sha256, bytes) = digest(&mut file).map_err(|e| Error::io(path, "read", e))?;
    let arrow = arrow_metadata(&file).map_err(wrong)?;
    let metadata = arrow.metadata().clone();
    check_columns(&arrow, schema).map_err(wrong)?;
    let leaves = layout::payload_leaves(&metadata, schema).map_err(wrong)?;
    let builder = ParquetRecordBatchReaderBuilder::new_with_metadata(file, arrow);
    let reader = Batches::of(builder.with_batch_size(layout::batch_rows(&metadata)))
        .map_err(|e| wrong(format!("it is not a readable Parquet file: {e}")))?;
    let (mut rows, mut tables) = (Vec::new(), Tables::new());
    for batch in reader {
        let batch = batch.map_err(|e| wrong(format!("it cannot be decoded: {e}")))?;
        rows_of(&batch, schema, &mut rows, &mut tables).map_err(wrong)?;
    }
    for (column, leaf) in leaves.into_iter().enumerate() {
        let Some(leaf) = leaf else { continue };
        let lengths: Vec<_> = rows.iter().map(|(_, cells)| cells[column].payload().map(|p| p.length)).collect();
        let offsets = layout::offsets(&metadata, leaf, &lengths).map_err(wrong)?;
        for ((_, cells), offset) in rows.iter_mut().zip(offsets) {
            if let Some(payload) = cells[column].payload_mut() {
                payload.offset = offset;
            }
        }
    }
    let split = path.parent().and_then(Path::file_name).and_then(|n| n.to_str()).unwrap_or("train").to_owned();
    let digest = hex(&sha256);
    let shard = ShardRef { path: shard_path(&split, &digest), split, rows: rows.len() as u64, bytes, sha256: digest };
    Ok(FinishedShard { shard, sha256, rows, tables })
}

/// SHA-256 and length of a file from its beginning.
pub(crate) fn digest(file: &mut impl Read) -> std::io::Result<([u8; 32], u64)> {
    let mut sha256 = Sha256::new();
    let mut buffer = vec![0; 1 << 20];
    let mut bytes = 0;
    loop {
        match file.read(&mut buffer) {
            Ok(0) => return Ok((sha256.finalize().into(), bytes)),
            Ok(n) => {
                sha256.update(&buffer[..n]);
                bytes += n as u64;
            }
            Err(e) if e.kind() == std::io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
}

/// The columns' types must be those that the schema writes.
pub(super) fn check_columns(arrow: &ArrowReaderMetadata, schema: &Schema) -> Result<(), String> {
    for expected in schema.to_arrow().fields() {
        let found = arrow
            .schema()
            .field_with_name(expected.name())
            .map_err(|_| format!("it has no column {:?}", expected.name()))?;
        let fits = match expected.name().as_str() {
            "info" => fits_info(found.data_type(), expected.data_type()),
            _ => found.data_type() == expected.data_type(),
        };
        if !fits {
            return Err(format!("column {:?} is {}, not {}", expected.name(), found.data_type(), expected.data_type()));
        }
    }
    Ok(())
}

fn rows_of(
    batch: &RecordBatch,
    schema: &Schema,
    rows: &mut Vec<(String, Vec<IndexCell>)>,
    tables: &mut Tables,
) -> Result<(), String> {
    let column = |name: &str| batch.column_by_name(name).ok_or_else(|| format!("it has no column {name:?}"));
    let ids = column("id")?.as_string::<i32>();
    let info = batch.column_by_name("info").map(|c| c.as_struct());
    let readers = schema
        .columns
        .iter()
        .map(|c| CellReader::new(column(&c.name)?, c, info))
        .collect::<Result<Vec<_>, String>>()?;
    for row in 0..batch.num_rows() {
        if ids.is_null(row) {
            return Err(format!("row {} has no id", rows.len()));
        }
        let id = ids.value(row);
        for (column, reader) in readers.iter().enumerate() {
            let table = reader.table(row).map_err(|e| format!("row {}, id {id:?}: {e}", rows.len()))?;
            tables.extend(table.map(|table| ((rows.len() as u64, column), table)));
        }
        let cells = readers.iter().map(|reader| reader.cell(row)).collect::<Result<Vec<_>, _>>();
        rows.push((id.to_owned(), cells.map_err(|e| format!("row {}, id {id:?}: {e}", rows.len()))?));
    }
    Ok(())
}

/// One column of a batch.
pub(super) struct CellReader<'a> {
    column: &'a Column,
    array: &'a dyn Array,
    facts: Option<&'a StructArray>,
}

impl<'a> CellReader<'a> {
    pub(super) fn new(
        array: &'a Arc<dyn Array>,
        column: &'a Column,
        info: Option<&'a StructArray>,
    ) -> Result<Self, String> {
        let facts = match (column.feature.is_payload(), info.and_then(|i| i.column_by_name(&column.name))) {
            (false, _) => None,
            (true, Some(facts)) => Some(facts.as_struct()),
            (true, None) => return Err(format!("it has no facts of column {:?}", column.name)),
        };
        Ok(CellReader { column, array: array.as_ref(), facts })
    }

    pub(super) fn cell(&self, row: usize) -> Result<IndexCell, String> {
        if self.array.is_null(row) {
            return Ok(IndexCell::Null);
        }
        Ok(match &self.column.feature {
            Feature::Int | Feature::ClassLabel { .. } => {
                IndexCell::Int(self.array.as_primitive::<Int64Type>().value(row))
            }
            Feature::Float => IndexCell::Float(self.array.as_primitive::<Float64Type>().value(row)),
            Feature::Bool => IndexCell::Bool(self.array.as_boolean().value(row)),
            Feature::Objects(of) => match objects_at(self.array, row, of)? {
                Some(objects) => IndexCell::Objects(u32::try_from(objects.len()).map_err(|e| e.to_string())?),
                None => IndexCell::Null,
            },
            Feature::Text => self.payload(self.array.as_string::<i32>().value(row).as_bytes(), row)?,
            Feature::Tensor(_) => self.payload(self.array.as_binary::<i32>().value(row), row)?,
            Feature::Image | Feature::Audio | Feature::Video => {
                let bytes = self.array.as_struct().column(0).as_binary::<i32>();
                if bytes.is_null(row) {
                    return Ok(IndexCell::Null);
                }
                self.payload(bytes.value(row), row)?
            }
        })
    }

    /// What stands beside the cell in the Index.
    fn table(&self, row: usize) -> Result<Option<Vec<u8>>, String> {
        match &self.column.feature {
            Feature::Objects(of) => {
                let name = &self.column.name;
                let objects = objects_at(self.array, row, of).map_err(|e| format!("column {name:?}: {e}"))?;
                let Some(objects) = objects else { return Ok(None) };
                objects.fit(of).map_err(|e| format!("column {name:?}: {e}"))?;
                Ok(Some(objects.pack()))
            }
            _ => Ok(self.seek(row).map(<[u8]>::to_vec)),
        }
    }

    /// The seek table, where the shard has one.
    pub(super) fn seek(&self, row: usize) -> Option<&'a [u8]> {
        let facts = self.facts.filter(|_| self.column.is_seekable())?;
        let tables = facts.column_by_name(SEEK)?.as_binary_opt::<i32>()?;
        let there = facts.is_valid(row) && tables.is_valid(row) && self.array.is_valid(row);
        there.then(|| tables.value(row)).filter(|table| !table.is_empty())
    }

    fn payload(&self, bytes: &[u8], row: usize) -> Result<IndexCell, String> {
        let name = &self.column.name;
        let facts = self.facts.filter(|f| !f.is_null(row)).ok_or_else(|| format!("column {name:?} has no facts"))?;
        let small = |at: usize| {
            let array = facts.column(at).as_primitive::<Int32Type>();
            if array.is_null(row) { Ok(0) } else { u32::try_from(array.value(row)).map_err(|_| "a negative fact") }
        };
        let large = |at: usize| {
            let array = facts.column(at).as_primitive::<Int64Type>();
            if array.is_null(row) { Ok(0) } else { u64::try_from(array.value(row)).map_err(|_| "a negative fact") }
        };
        let format = facts.column(0).as_string::<i32>().value(row);
        let format = Format::from_name(format).ok_or_else(|| format!("column {name:?}: unknown format {format:?}"))?;
        // What came later is not in every shard.
        let later = |name: &str| {
            let array = facts.column_by_name(name).map(|column| column.as_primitive::<Int32Type>());
            array.filter(|a| a.is_valid(row)).map_or(0, |a| u32::try_from(a.value(row)).unwrap_or(0))
        };
        let profile = facts.column_by_name("profile").map(|column| column.as_string::<i32>());
        let profile = profile.filter(|a| a.is_valid(row)).map(|a| a.value(row));
        let info = Info {
            format,
            width: small(1)?,
            height: small(2)?,
            channels: small(3)?,
            rate: small(4)?,
            count: large(5)?,
            duration_us: large(6)?,
            orientation: Orientation::of(later("orientation")),
            profile: profile.map_or(Profile::Srgb, Profile::from_name),
        };
        let hash = facts.column(7).as_primitive::<UInt64Type>().value(row);
        if payload_hash(bytes) != hash {
            return Err(format!("column {name:?}: the payload does not have its hash"));
        }
        let payload = Payload { offset: 0, length: bytes.len() as u64, hash, info };
        if self.column.stored.is_none() {
            return Ok(IndexCell::Payload(payload));
        }
        let whose = |name: &str| facts.column_by_name(name).filter(|a| a.is_valid(row));
        let length = whose(ORIGINAL_BYTES).and_then(|a| u64::try_from(a.as_primitive::<Int64Type>().value(row)).ok());
        let hash = whose(ORIGINAL_HASH).map(|a| a.as_primitive::<UInt64Type>().value(row));
        match length.zip(hash) {
            Some((bytes, hash)) => Ok(IndexCell::Prepared(payload, Original { bytes, hash })),
            None => Err(format!("column {name:?} does not say what it was made of")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_that_were_never_brought_are_not_there() {
        let folder = tempfile::tempdir().unwrap();
        let length = 9 * ASKED * PAGE;
        std::fs::File::create(folder.path().join("shard")).unwrap().set_len(length as u64).unwrap();
        let shard = ShardFile::open(folder.path().join("shard")).unwrap();
        let map = shard.mapped(&(0..length as u64)).unwrap();
        // SAFETY: the call takes a number.
        if unsafe { libc::sysconf(libc::_SC_PAGESIZE) } != PAGE as i64 || !is_told(&shard.file) {
            return; // nobody asks here
        }
        let asked = |from: usize, count: usize| are_there(&map[from..from + count]);
        assert!(!asked(0, 1) && !asked(length - 1, 1), "nobody looked at it");
        // Over the border of what is asked at once, from the middle of a page to that of another.
        let (from, to) = (PAGE + 100, 2 * ASKED * PAGE - PAGE / 2);
        shard.wait_for(&map[from..to]);
        for at in [from, from + PAGE - 1, ASKED * PAGE / 2] {
            assert!(asked(at, ASKED * PAGE - PAGE), "from {at} on");
        }
        assert!(asked(to - ASKED * PAGE, ASKED * PAGE), "up to the last byte");
        // All of them, wherever the first that is not there lies: the system reads on behind what is looked at.
        let ends = (to / PAGE..length / PAGE).find(|page| !asked(page * PAGE, 1)).unwrap() * PAGE;
        for before in [1, PAGE, 7 * PAGE, 255 * PAGE] {
            assert!(asked(ends - before, before) && !asked(ends - before, before + 1), "{before} bytes in front");
        }
        assert!(!are_there(&map[..2 * ASKED * PAGE]), "more than is asked about at once");
    }
}
