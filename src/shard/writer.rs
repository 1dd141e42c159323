//! Writes one shard.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::os::unix::fs::FileExt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arrow::datatypes::SchemaRef;
use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression, Encoding};
use parquet::file::metadata::KeyValue;
use parquet::file::properties::{EnabledStatistics, WriterProperties};
use parquet::schema::types::ColumnPath;
use sha2::{Digest, Sha256};

use super::cells::Cells;
use super::{check_split, layout, reader};
use crate::data::changes::Changes;
use crate::data::feature::{Feature, SEEK, Schema};
use crate::data::index::{IndexCell, Payload, SegmentBuilder, enter_file, hex, shard_path};
use crate::data::info::Info;
use crate::data::manifest::ShardRef;
use crate::data::objects::Objects;
use crate::data::record::{payload_hash, row_key};
use crate::data::storage::Original;
use crate::error::{Error, Fault, Origin, Reason, Result};
use crate::store::{Staged, Store};

/// The writer's name in every file: a constant of the format, so that a new release writes the same bytes.
const CREATED_BY: &str = "feedstock version 1";
/// A page of the payload column holds one row where the first row group's mean payload is at least this.
const ROW_PAGE: u64 = 8 << 10;
/// Bytes of a page of smaller payloads.
const PAGE_BYTES: usize = 64 << 10;
/// Rows at which a shard is full, however small they are: the writer keeps an Index row of each in memory.
pub const SHARD_ROWS: u64 = 1 << 16;
/// Parquet counts a page's bytes in an `i32`.
const PAYLOAD_LIMIT: u64 = (1 << 31) - (1 << 20);

/// Sizes of a shard.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ShardOptions {
    /// Payload bytes at which a shard is full ([`ShardWriter::is_full`]); [`SHARD_ROWS`] rows fill it too.
    pub shard_bytes: u64,
    /// Rows of a row group at the most.
    pub row_group_rows: usize,
    /// Payload bytes of a row group at the most (one larger row gets a row group of its own).
    pub row_group_bytes: u64,
}

impl Default for ShardOptions {
    /// 64 MiB shards, row groups of 256 rows and 32 MiB.
    fn default() -> Self {
        ShardOptions { shard_bytes: 64 << 20, row_group_rows: 256, row_group_bytes: 32 << 20 }
    }
}

/// One row for a shard.
#[derive(Debug, Clone, PartialEq)]
pub struct ShardRow {
    /// The record's id.
    pub id: String,
    /// One cell for each column of the schema.
    pub cells: Vec<ShardCell>,
}

/// One cell of a [`ShardRow`].
#[derive(Debug, Clone, PartialEq)]
pub enum ShardCell {
    /// Absent.
    Null,
    /// An integer or a class.
    Int(i64),
    /// A float.
    Float(f64),
    /// A truth value.
    Bool(bool),
    /// Objects that fit their column.
    Objects(Objects),
    /// A payload: encoded media, or the UTF-8 bytes of a text.
    Media {
        /// The bytes as they are stored.
        bytes: Vec<u8>,
        /// What the `path` of media holds: a file name ([`super::base_name`]); unused for text.
        path: String,
        /// What its header says.
        info: Info,
        /// [`payload_hash`] of the bytes.
        hash: u64,
        /// In a column whose payloads are made of the source's: what the source's was.
        original: Option<Original>,
        /// Its seek table ([`Codec::seek_table`](crate::codec::Codec::seek_table)), if it has one.
        seek: Option<Vec<u8>>,
    },
}

impl ShardCell {
    /// A payload with its hash.
    pub fn media(bytes: Vec<u8>, path: impl Into<String>, info: Info) -> Self {
        let hash = payload_hash(&bytes);
        ShardCell::Media { bytes, path: path.into(), info, hash, original: None, seek: None }
    }

    /// The bytes by which row groups and shards are measured: the payload's, and its table's, which lies in the same file; of objects, those of their numbers.
    fn payload_bytes(&self) -> u64 {
        match self {
            ShardCell::Media { bytes, seek, .. } => {
                bytes.len() as u64 + seek.as_ref().map_or(0, |table| table.len() as u64)
            }
            // Rows of many boxes would otherwise count as nothing.
            ShardCell::Objects(objects) => objects.bytes(),
            _ => 0,
        }
    }

    fn fits(&self, feature: &Feature) -> bool {
        match self {
            ShardCell::Null => true,
            ShardCell::Int(_) => matches!(feature, Feature::Int | Feature::ClassLabel { .. }),
            ShardCell::Float(_) => *feature == Feature::Float,
            ShardCell::Bool(_) => *feature == Feature::Bool,
            ShardCell::Objects(_) => matches!(feature, Feature::Objects(_)),
            ShardCell::Media { info, .. } => feature.kind() == Some(info.format.kind()),
        }
    }
}

/// A shard that is published: what its segment needs to know.
#[derive(Debug, Clone, PartialEq)]
pub struct FinishedShard {
    /// The shard as manifests name it.
    pub shard: ShardRef,
    /// SHA-256 of the file.
    pub sha256: [u8; 32],
    /// Id and Index cells of every row, in order.
    pub rows: Vec<(String, Vec<IndexCell>)>,
    /// What stands beside the cells in the Index.
    pub tables: Tables,
}

/// Seek tables and packed objects by row of the shard and column.
pub type Tables = BTreeMap<(u64, usize), Vec<u8>>;

impl FinishedShard {
    /// Adds its rows to a segment, and closes the shard there.
    ///
    /// # Errors
    /// Those of [`SegmentBuilder::push`].
    pub fn enter(&self, segment: &mut SegmentBuilder) -> Result<()> {
        self.enter_under(segment, None)
    }

    /// The same, under the changes that stand over it.
    ///
    /// # Errors
    /// Those of [`SegmentBuilder::push`].
    pub fn enter_under(&self, segment: &mut SegmentBuilder, changes: Option<&Changes>) -> Result<()> {
        let keys = self.rows.iter().map(|(id, _)| row_key(id));
        let of = (self.shard.split.as_str(), self.shard.bytes, self.sha256);
        let mut cells = Vec::new();
        enter_file(segment, of, keys, changes, &mut |segment, place, new| {
            let (id, own) = &self.rows[place];
            cells.clone_from(own);
            new.iter().for_each(|(column, cell)| cells[*column] = *cell);
            let row = place as u64;
            segment.push_at(place as u32, id, &cells, &|column| self.tables.get(&(row, column)).map(Vec::as_slice))
        })
    }
}

/// The staged file and the digest of what went into it.
#[derive(Debug)]
struct Digesting {
    staged: Staged,
    sha256: Sha256,
    bytes: u64,
}

/// What the Parquet writer writes to. Shared, because that writer keeps what it was given, and turns a full disk into a
/// message without the path; [`Shared::error`] has the original.
#[derive(Debug, Clone)]
struct Shared(Arc<Mutex<Digesting>>);

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Digesting> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn error(&self, doing: &str, e: impl std::fmt::Display) -> Error {
        self.lock().staged.take_error().unwrap_or_else(|| Error::library(doing, e))
    }
}

impl Write for Shared {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut file = self.lock();
        let written = file.staged.write(bytes)?;
        file.sha256.update(&bytes[..written]);
        file.bytes += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Whether the first row group, which decides the page sizes, is written.
enum Output {
    Waiting,
    Open(Box<ArrowWriter<Shared>>),
    /// An error took it; nothing more can be written.
    Gone,
}

/// Writes the rows of one shard in the order pushed. Memory: about twice the payload of one row group, and the ids and
/// Index cells of at most [`SHARD_ROWS`] rows for a caller that heeds [`ShardWriter::is_full`].
pub struct ShardWriter {
    schema: Schema,
    arrow: SchemaRef,
    split: String,
    options: ShardOptions,
    cells: Cells,
    group_bytes: u64,
    payload_bytes: u64,
    rows: Vec<(String, Vec<IndexCell>)>,
    tables: Tables,
    output: Output,
    file: Shared,
}

impl std::fmt::Debug for ShardWriter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let rows = self.rows.len();
        f.debug_struct("ShardWriter").field("split", &self.split).field("rows", &rows).finish_non_exhaustive()
    }
}

impl ShardWriter {
    /// Begins a shard in a split's folder.
    pub fn create(store: &Store, schema: &Schema, split: &str, options: &ShardOptions) -> Result<Self> {
        schema.validate()?;
        check_split(split)?;
        if options.row_group_rows == 0 || options.row_group_bytes == 0 || options.shard_bytes == 0 {
            return Err(Error::config("a shard's sizes are all at least 1", "leave them at their defaults"));
        }
        let arrow = Arc::new(schema.to_arrow());
        let staged = store.stage(&format!("data/{split}"))?;
        Ok(ShardWriter {
            schema: schema.clone(),
            cells: Cells::new(schema, arrow.clone()),
            arrow,
            split: split.to_owned(),
            options: *options,
            group_bytes: 0,
            payload_bytes: 0,
            rows: Vec::new(),
            tables: Tables::new(),
            output: Output::Waiting,
            file: Shared(Arc::new(Mutex::new(Digesting { staged, sha256: Sha256::new(), bytes: 0 }))),
        })
    }

    /// Payload bytes so far.
    pub fn payload_bytes(&self) -> u64 {
        self.payload_bytes
    }

    /// Rows so far.
    pub fn rows(&self) -> u64 {
        self.rows.len() as u64
    }

    /// Whether the shard has reached [`ShardOptions::shard_bytes`] or [`SHARD_ROWS`].
    pub fn is_full(&self) -> bool {
        self.payload_bytes >= self.options.shard_bytes || self.rows() >= SHARD_ROWS
    }

    fn origin(&self, id: &str, column: Option<usize>) -> Origin {
        Origin {
            file: None,
            row: Some(self.rows()),
            id: Some(id.to_owned()),
            column: column.map(|c| self.schema.columns[c].name.clone()),
        }
    }

    /// Adds a row. A row that is refused (wrong kinds, invalid UTF-8, a payload over 2 GiB) leaves the shard as it was;
    /// after any other error the shard is lost.
    pub fn push(&mut self, row: ShardRow) -> Result<()> {
        if row.cells.len() != self.schema.columns.len() {
            let what = format!("{} cells for {} columns", row.cells.len(), self.schema.columns.len());
            return Err(Error::library(format!("writing row {:?}", row.id), what));
        }
        if row.id.is_empty() || row.id.len() > 1 << 16 {
            let fault = Fault::new(Reason::BadPath, "an id has 1 to 65,536 bytes");
            return Err(fault.at(self.origin(&row.id, None)));
        }
        for (i, (cell, column)) in row.cells.iter().zip(&self.schema.columns).enumerate() {
            let fault = match cell {
                cell if !cell.fits(&column.feature) => {
                    Fault::new(Reason::BadLabel, format!("the cell does not fit a column of {}", column.feature.name()))
                }
                cell if cell.payload_bytes() > PAYLOAD_LIMIT => {
                    Fault::new(Reason::OverLimit, format!("a payload of {} bytes is over 2 GiB", cell.payload_bytes()))
                }
                ShardCell::Objects(objects) => match &column.feature {
                    Feature::Objects(of) => match objects.fit(of) {
                        Ok(()) => continue,
                        Err(why) => Fault::new(Reason::BadLabel, why),
                    },
                    _ => continue,
                },
                ShardCell::Media { bytes, .. } if column.feature == Feature::Text => match std::str::from_utf8(bytes) {
                    Ok(_) => continue,
                    Err(e) => Fault::new(Reason::InvalidUtf8, e),
                },
                ShardCell::Media { info: Info { width, height, channels, rate, .. }, .. }
                    if [width, height, channels, rate].iter().any(|v| i32::try_from(**v).is_err()) =>
                {
                    Fault::new(Reason::OverLimit, "a width, height, channel count or rate is over 2^31")
                }
                _ => continue,
            };
            return Err(fault.at(self.origin(&row.id, Some(i))));
        }
        let bytes: u64 = row.cells.iter().map(ShardCell::payload_bytes).sum();
        let rows = self.cells.rows();
        if rows > 0
            && (rows >= self.options.row_group_rows
                || self.group_bytes.saturating_add(bytes) > self.options.row_group_bytes)
        {
            self.flush_group()?;
        }
        self.cells.push(&row.id, &row.cells).map_err(|e| Error::library(format!("writing row {:?}", row.id), e))?;
        self.group_bytes += bytes;
        self.payload_bytes += bytes;
        // Offsets are filled in when the file is finished.
        let number = self.rows();
        let tables = &mut self.tables;
        let cells = row.cells.into_iter().enumerate().map(|(column, cell)| match cell {
            ShardCell::Null => IndexCell::Null,
            ShardCell::Int(v) => IndexCell::Int(v),
            ShardCell::Float(v) => IndexCell::Float(v),
            ShardCell::Bool(v) => IndexCell::Bool(v),
            ShardCell::Objects(objects) => {
                tables.insert((number, column), objects.pack());
                IndexCell::Objects(u32::try_from(objects.len()).unwrap_or(u32::MAX))
            }
            ShardCell::Media { bytes, info, hash, original, seek, .. } => {
                tables.extend(seek.map(|table| ((number, column), table)));
                let payload = Payload { offset: 0, length: bytes.len() as u64, hash, info };
                original.map_or(IndexCell::Payload(payload), |original| IndexCell::Prepared(payload, original))
            }
        });
        let cells = cells.collect();
        self.rows.push((row.id, cells));
        Ok(())
    }

    /// Writes the collected rows as one row group.
    fn flush_group(&mut self) -> Result<()> {
        if self.cells.rows() == 0 {
            return Ok(());
        }
        let mut writer = match std::mem::replace(&mut self.output, Output::Gone) {
            Output::Waiting => {
                let writer = ArrowWriter::try_new(self.file.clone(), self.arrow.clone(), Some(self.properties()));
                Box::new(writer.map_err(|e| self.file.error("beginning a shard", e))?)
            }
            Output::Open(writer) => writer,
            Output::Gone => return Err(gone()),
        };
        let batch = self.cells.take().map_err(|e| Error::library("writing a row group", e))?;
        self.group_bytes = 0;
        writer.write(&batch).and_then(|()| writer.flush()).map_err(|e| self.file.error("writing a row group", e))?;
        self.output = Output::Open(writer);
        Ok(())
    }

    /// The writer's settings, from the rows of the first row group.
    fn properties(&self) -> WriterProperties {
        let mut builder = WriterProperties::builder()
            .set_created_by(CREATED_BY.to_owned())
            .set_max_row_group_row_count(None)
            .set_max_row_group_bytes(None)
            .set_compression(Compression::UNCOMPRESSED)
            .set_key_value_metadata(Some(vec![KeyValue::new(
                "huggingface".to_owned(),
                self.schema.hf_metadata().to_string(),
            )]));
        for (i, column) in self.schema.payloads() {
            let leaf = match column.feature {
                Feature::Text | Feature::Tensor(_) => ColumnPath::from(vec![column.name.clone()]),
                _ => ColumnPath::from(vec![column.name.clone(), "bytes".to_owned()]),
            };
            if column.is_seekable() {
                // Long values, each its own: nothing is gained by a dictionary or by their least and greatest.
                let seek = ColumnPath::from(vec!["info".to_owned(), column.name.clone(), SEEK.to_owned()]);
                builder = builder
                    .set_column_dictionary_enabled(seek.clone(), false)
                    .set_column_encoding(seek.clone(), Encoding::PLAIN)
                    .set_column_statistics_enabled(seek, EnabledStatistics::None);
            }
            let lengths = self.rows.iter().filter_map(|(_, cells)| cells[i].payload().map(|p| p.length));
            let (count, sum) = lengths.fold((0u64, 0u64), |(count, sum), length| (count + 1, sum + length));
            builder = builder
                .set_column_encoding(leaf.clone(), Encoding::PLAIN)
                .set_column_dictionary_enabled(leaf.clone(), false)
                .set_column_statistics_enabled(leaf.clone(), EnabledStatistics::None)
                .set_column_data_page_size_limit(leaf.clone(), PAGE_BYTES);
            if sum >= ROW_PAGE * count.max(1) {
                // The limit is checked after each batch of values, so a batch is one value.
                builder = builder.set_column_data_page_row_count_limit(leaf, 1).set_write_batch_size(1);
            }
        }
        builder.build()
    }

    /// Ends the shard: footer, offsets of every payload (each proved by reading it back), fsync, and the name that its
    /// digest gives it. A shard without rows is refused.
    pub fn finish(mut self) -> Result<FinishedShard> {
        self.flush_group()?;
        match std::mem::replace(&mut self.output, Output::Gone) {
            Output::Open(writer) => writer.close().map_err(|e| self.file.error("writing a shard's footer", e))?,
            Output::Waiting => return Err(Error::library("finishing a shard", "it has no rows")),
            Output::Gone => return Err(gone()),
        };
        let Digesting { staged, sha256, bytes } =
            Arc::into_inner(self.file.0).and_then(|m| m.into_inner().ok()).ok_or_else(gone)?;
        place(&staged, &self.schema, &mut self.rows)?;
        let sha256: [u8; 32] = sha256.finalize().into();
        let digest = hex(&sha256);
        let path = shard_path(&self.split, &digest);
        staged.publish(&path)?;
        let rows = self.rows.len() as u64;
        let shard = ShardRef { path, split: self.split, rows, bytes, sha256: digest };
        Ok(FinishedShard { shard, sha256, rows: self.rows, tables: self.tables })
    }
}

fn gone() -> Error {
    Error::library("writing a shard", "an earlier error ended this shard")
}

/// Fills in the offset of every payload, and proves each by its hash.
fn place(staged: &Staged, schema: &Schema, rows: &mut [(String, Vec<IndexCell>)]) -> Result<()> {
    let wrong = |what: String| {
        Error::damaged(
            staged.path(),
            what,
            "the shard was not published; please report this with your file system's kind",
        )
    };
    let metadata = reader::metadata(staged.file()).map_err(wrong)?;
    let leaves = layout::payload_leaves(&metadata, schema).map_err(wrong)?;
    let mut buffer = Vec::new();
    for (column, leaf) in leaves.into_iter().enumerate() {
        let Some(leaf) = leaf else { continue };
        let lengths: Vec<_> = rows.iter().map(|(_, cells)| cells[column].payload().map(|p| p.length)).collect();
        let offsets = layout::offsets(&metadata, leaf, &lengths).map_err(wrong)?;
        for ((id, cells), offset) in rows.iter_mut().zip(offsets) {
            if let Some(payload) = cells[column].payload_mut() {
                payload.offset = offset;
                buffer.resize(payload.length as usize, 0);
                staged.file().read_exact_at(&mut buffer, offset).map_err(|e| Error::io(staged.path(), "read", e))?;
                if payload_hash(&buffer) != payload.hash {
                    return Err(wrong(format!("the payload of {id:?} does not read back as it was written")));
                }
            }
        }
    }
    Ok(())
}
