//! The table: one Parquet file of what a run refused, with the original bytes in its last column.

use std::fs::File;
use std::path::Path;
use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray as _, BinaryBuilder, Int64Builder, RecordBatch, StringBuilder};
use arrow::datatypes::{DataType, Field, Int64Type, Schema, SchemaRef};
use parquet::arrow::ArrowWriter;
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use parquet::basic::{Compression, Encoding};
use parquet::file::metadata::KeyValue;
use parquet::file::properties::{EnabledStatistics, WriterProperties};
use parquet::schema::types::ColumnPath;

use super::{FORMAT, Head, Refused, damaged};
use crate::error::{Error, Result};
use crate::shard::{Batches, guarded};
use crate::store::{Staged, Store};

/// The writer's name in every file: a constant of the format.
const CREATED_BY: &str = "feedstock quarantine version 1";
/// Where the head is in the file's metadata.
const HEAD: &str = "feedstock.quarantine";
/// Original bytes of a row group at the most; a larger row has one of its own.
const GROUP_BYTES: usize = 8 << 20;
/// Rows of one.
const GROUP_ROWS: usize = 8 << 10;
/// The column of the original bytes, behind all others.
const ORIGINAL: &str = "original";

/// Texts of a row, in the order of the table; the second part says whether one may be absent.
const TEXTS: [(&str, bool); 8] = [
    ("id", false),
    ("split", true),
    ("class", true),
    ("reason", false),
    ("message", false),
    ("origin", false),
    ("column", true),
    ("recording", true),
];
/// Numbers of a row, behind the texts.
const NUMBERS: [&str; 4] = ["line", "rows", "bytes", "kept"];

fn schema() -> SchemaRef {
    let texts = TEXTS.iter().map(|(name, absent)| Field::new(*name, DataType::Utf8, *absent));
    let numbers = NUMBERS.iter().map(|name| Field::new(*name, DataType::Int64, true));
    let fields = texts.chain(numbers).chain([Field::new(ORIGINAL, DataType::Binary, true)]);
    Arc::new(Schema::new(fields.collect::<Vec<_>>()))
}

/// Rows of the open row group.
#[derive(Default)]
struct Group {
    rows: usize,
    bytes: usize,
    texts: [StringBuilder; TEXTS.len()],
    numbers: [Int64Builder; NUMBERS.len()],
    original: BinaryBuilder,
}

impl Group {
    fn push(&mut self, refused: &Refused, original: Option<&[u8]>) {
        let Refused { id, reason, message, origin, split, class, column, recording, .. } = refused;
        let texts = [
            Some(id),
            split.as_ref(),
            class.as_ref(),
            Some(reason),
            Some(message),
            Some(origin),
            column.as_ref(),
            recording.as_ref(),
        ];
        for (builder, text) in self.texts.iter_mut().zip(texts) {
            builder.append_option(text);
        }
        for (builder, number) in self.numbers.iter_mut().zip([refused.line, refused.rows, refused.bytes, refused.kept])
        {
            // What a file says of its length is below 2^63.
            builder.append_option(number.and_then(|n| i64::try_from(n).ok()));
        }
        self.original.append_option(original);
        self.rows += 1;
        self.bytes += original.map_or(0, <[u8]>::len);
    }

    fn finish(&mut self, schema: &SchemaRef) -> Result<RecordBatch> {
        let Group { texts, numbers, original, .. } = self;
        let mut columns: Vec<ArrayRef> = texts.iter_mut().map(|b| Arc::new(b.finish()) as ArrayRef).collect();
        columns.extend(numbers.iter_mut().map(|b| Arc::new(b.finish()) as ArrayRef));
        columns.push(Arc::new(original.finish()));
        (self.rows, self.bytes) = (0, 0);
        RecordBatch::try_new(schema.clone(), columns).map_err(|e| Error::library("writing a quarantine", e))
    }
}

/// Takes a row: what is known, and the original bytes.
pub(super) type Push<'a> = &'a mut dyn FnMut(&Refused, Option<&[u8]>) -> Result<()>;

/// Writes a table of the rows that `rows` pushes, in the place of the one that was there. Equal rows make equal files.
pub(super) fn write(
    store: &Store,
    folder: &str,
    name: &str,
    head: &Head,
    rows: &mut dyn FnMut(Push<'_>) -> Result<()>,
) -> Result<()> {
    let head = serde_json::to_string(head).map_err(|e| Error::library("writing a quarantine", e))?;
    let original = ColumnPath::from(ORIGINAL);
    let properties = WriterProperties::builder()
        .set_created_by(CREATED_BY.to_owned())
        .set_max_row_group_row_count(None)
        .set_max_row_group_bytes(None)
        .set_compression(Compression::UNCOMPRESSED)
        .set_key_value_metadata(Some(vec![KeyValue::new(HEAD.to_owned(), head)]))
        .set_column_encoding(original.clone(), Encoding::PLAIN)
        .set_column_dictionary_enabled(original.clone(), false)
        .set_column_statistics_enabled(original, EnabledStatistics::None)
        .build();
    let mut staged = store.stage(folder)?;
    let written = fill(&mut staged, properties, rows);
    match staged.take_error() {
        // What the disk said, which the libraries between wrap beyond recognition.
        Some(error) => Err(error),
        None => written.and_then(|()| staged.publish(name)),
    }
}

fn fill(staged: &mut Staged, properties: WriterProperties, rows: &mut dyn FnMut(Push<'_>) -> Result<()>) -> Result<()> {
    let lost = |e| Error::library("writing a quarantine", e);
    let schema = schema();
    let mut writer = ArrowWriter::try_new(staged, schema.clone(), Some(properties)).map_err(lost)?;
    let mut group = Group::default();
    let mut close = |group: &mut Group| -> Result<()> {
        writer.write(&group.finish(&schema)?).map_err(lost)?;
        writer.flush().map_err(lost)
    };
    rows(&mut |refused, original| {
        let more = original.map_or(0, <[u8]>::len);
        if group.rows > 0 && (group.rows == GROUP_ROWS || group.bytes + more > GROUP_BYTES) {
            close(&mut group)?;
        }
        group.push(refused, original);
        Ok(())
    })?;
    if group.rows > 0 {
        close(&mut group)?;
    }
    writer.close().map(drop).map_err(lost)
}

fn open(path: &Path) -> Result<ParquetRecordBatchReaderBuilder<File>> {
    let file = File::open(path).map_err(|e| Error::io(path, "open", e))?;
    let opened = guarded(|| ParquetRecordBatchReaderBuilder::try_new(file));
    opened.map_err(|e| damaged(path, format!("it is no readable Parquet file: {e}")))
}

/// The next rows of a reader.
fn next(reader: &mut Batches, path: &Path) -> Result<Option<RecordBatch>> {
    reader.next().transpose().map_err(|e| damaged(path, e))
}

/// What the file says of its run.
pub(super) fn head(path: &Path) -> Result<Head> {
    let opened = open(path)?;
    let texts = opened.metadata().file_metadata().key_value_metadata();
    let text = texts.and_then(|texts| texts.iter().find(|pair| pair.key == HEAD)?.value.as_deref());
    let text = text.ok_or_else(|| damaged(path, "it does not say of which run it is"))?;
    let value: serde_json::Value = serde_json::from_str(text).map_err(|e| damaged(path, e))?;
    match value["quarantine"].as_u64() {
        Some(FORMAT) => serde_json::from_value(value).map_err(|e| damaged(path, e)),
        Some(found) => Err(Error::FormatVersion { what: "a quarantine", found, supported: FORMAT }),
        None => Err(damaged(path, "its head has no format")),
    }
}

/// A reader of some columns, in the order of the table.
fn reader(path: &Path, wanted: impl Fn(&str) -> bool, rows: usize, part: Option<(usize, usize)>) -> Result<Batches> {
    let opened = open(path)?;
    let names: Vec<String> = schema().fields().iter().map(|f| f.name().clone()).filter(|name| wanted(name)).collect();
    let mask = ProjectionMask::columns(opened.parquet_schema(), names.iter().map(String::as_str));
    let mut opened = opened.with_projection(mask).with_batch_size(rows);
    if let Some((from, count)) = part {
        opened = opened.with_offset(from).with_limit(count);
    }
    Batches::of(opened).map_err(|e| damaged(path, e))
}

/// Hands over the rows.
pub(super) fn each(path: &Path, take: &mut dyn FnMut(u64, Refused) -> Result<()>) -> Result<()> {
    let mut at = 0;
    let mut reader = reader(path, |name| name != ORIGINAL, 1024, None)?;
    while let Some(batch) = next(&mut reader, path)? {
        let column =
            |name: &str| batch.column_by_name(name).ok_or_else(|| damaged(path, format!("it has no column {name:?}")));
        let mut texts = Vec::new();
        for (name, absent) in TEXTS {
            let texts_of = column(name)?
                .as_string_opt::<i32>()
                .filter(|array| absent || arrow::array::Array::null_count(*array) == 0);
            texts.push(texts_of.ok_or_else(|| damaged(path, format!("the column {name:?} is no text")))?);
        }
        let mut numbers = Vec::new();
        for name in NUMBERS {
            let array = column(name)?.as_primitive_opt::<Int64Type>();
            numbers.push(array.ok_or_else(|| damaged(path, format!("the column {name:?} has no numbers")))?);
        }
        for row in 0..batch.num_rows() {
            let mut texts = texts
                .iter()
                .map(|array| arrow::array::Array::is_valid(*array, row).then(|| array.value(row).to_owned()));
            let mut text = || texts.next().flatten();
            let mut numbers = numbers.iter().map(|array| {
                arrow::array::Array::is_valid(*array, row).then(|| array.value(row)).and_then(|n| u64::try_from(n).ok())
            });
            let mut number = || numbers.next().flatten();
            let refused = Refused {
                id: text().unwrap_or_default(),
                split: text(),
                class: text(),
                reason: text().unwrap_or_default(),
                message: text().unwrap_or_default(),
                origin: text().unwrap_or_default(),
                column: text(),
                recording: text(),
                line: number(),
                rows: number(),
                bytes: number(),
                kept: number(),
                original: None,
            };
            take(at, refused)?;
            at += 1;
        }
    }
    Ok(())
}

/// The original bytes of a row.
pub(super) fn original(path: &Path, at: u64) -> Result<Option<Vec<u8>>> {
    let place = usize::try_from(at).map_err(|e| damaged(path, e))?;
    let mut reader = reader(path, |name| name == ORIGINAL, 1, Some((place, 1)))?;
    let Some(batch) = next(&mut reader, path)? else { return Ok(None) };
    let bytes = batch.column_by_name(ORIGINAL).and_then(|array| array.as_binary_opt::<i32>().cloned());
    let bytes = bytes.ok_or_else(|| damaged(path, "it has no original bytes"))?;
    Ok(bytes.iter().next().flatten().map(<[u8]>::to_vec))
}
