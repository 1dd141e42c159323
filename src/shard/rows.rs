//! Whole rows of a shard, to be written into another.

use std::fs::File;
use std::path::Path;

use arrow::array::{Array, AsArray};
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

use super::batches::{Batches, guarded};
use super::layout;
use super::located::objects_at;
use super::reader::{CellReader, arrow_metadata, check_columns};
use super::writer::{ShardCell, ShardRow};
use crate::data::feature::{Feature, Schema};
use crate::data::index::IndexCell;
use crate::error::{Error, Result};

fn wrong(path: &Path, what: impl Into<String>) -> Error {
    Error::damaged(path, what, "restore the shard, or open a version that does not name it")
}

/// Hands over the rows of a shard in order, with everything that was written of them. Every payload is compared with its hash.
///
/// # Errors
/// [`Error::Damaged`]: the shard is not readable, or not of this schema; and what `take` returns.
pub fn read_rows(path: &Path, schema: &Schema, take: &mut dyn FnMut(ShardRow) -> Result<()>) -> Result<()> {
    let wrong = |what: String| wrong(path, what);
    let file = File::open(path).map_err(|e| Error::io(path, "open", e))?;
    let arrow = arrow_metadata(&file).map_err(wrong)?;
    check_columns(&arrow, schema).map_err(wrong)?;
    let unreadable = |e: &dyn std::fmt::Display| wrong(format!("it cannot be decoded: {e}"));
    let batch = layout::batch_rows(arrow.metadata());
    let builder = ParquetRecordBatchReaderBuilder::new_with_metadata(file, arrow).with_batch_size(batch);
    for batch in Batches::of(builder).map_err(|e| unreadable(&e))? {
        let batch = batch.map_err(|e| unreadable(&e))?;
        let column = |name: &str| batch.column_by_name(name).ok_or_else(|| wrong(format!("it has no column {name:?}")));
        let ids = column("id")?.as_string::<i32>();
        let info = batch.column_by_name("info").map(|c| c.as_struct());
        let mut readers = Vec::with_capacity(schema.columns.len());
        for of in &schema.columns {
            let array = column(&of.name)?;
            readers.push((array, of, CellReader::new(array, of, info).map_err(wrong)?));
        }
        for row in 0..batch.num_rows() {
            if ids.is_null(row) {
                return Err(wrong("a row has no id".into()));
            }
            let mut cells = Vec::with_capacity(readers.len());
            for (array, of, reader) in &readers {
                let cell = reader.cell(row).map_err(|e| wrong(format!("id {:?}: {e}", ids.value(row))))?;
                let (payload, original) = match cell {
                    IndexCell::Null => {
                        cells.push(ShardCell::Null);
                        continue;
                    }
                    IndexCell::Int(v) => {
                        cells.push(ShardCell::Int(v));
                        continue;
                    }
                    IndexCell::Float(v) => {
                        cells.push(ShardCell::Float(v));
                        continue;
                    }
                    IndexCell::Bool(v) => {
                        cells.push(ShardCell::Bool(v));
                        continue;
                    }
                    IndexCell::Objects(_) => {
                        let Feature::Objects(objects) = &of.feature else {
                            return Err(wrong(format!("column {:?} has objects", of.name)));
                        };
                        let found = objects_at(array.as_ref(), row, objects).map_err(wrong)?;
                        cells.push(found.map_or(ShardCell::Null, ShardCell::Objects));
                        continue;
                    }
                    IndexCell::Payload(payload) => (payload, None),
                    IndexCell::Prepared(payload, original) => (payload, Some(original)),
                };
                let (bytes, name) = match &of.feature {
                    Feature::Text => (array.as_string::<i32>().value(row).as_bytes(), ""),
                    Feature::Tensor(_) => (array.as_binary::<i32>().value(row), ""),
                    _ => {
                        let media = array.as_struct();
                        let names = media.column(1).as_string::<i32>();
                        let name = if names.is_null(row) { "" } else { names.value(row) };
                        (media.column(0).as_binary::<i32>().value(row), name)
                    }
                };
                let seek = reader.seek(row).map(<[u8]>::to_vec);
                let (info, hash) = (payload.info, payload.hash);
                cells.push(ShardCell::Media {
                    bytes: bytes.to_vec(),
                    path: name.to_owned(),
                    info,
                    hash,
                    original,
                    seek,
                });
            }
            take(ShardRow { id: ids.value(row).to_owned(), cells })?;
        }
    }
    Ok(())
}

/// Hands over the ids of a file, in order: of its bytes only those of that column are read.
///
/// # Errors
/// [`Error::Damaged`]: it is not readable, or has no column of ids; and what `take` returns.
pub fn read_ids(path: &Path, take: &mut dyn FnMut(&str) -> Result<()>) -> Result<()> {
    let file = File::open(path).map_err(|e| Error::io(path, "open", e))?;
    let unreadable = |e: &dyn std::fmt::Display| wrong(path, format!("it cannot be decoded: {e}"));
    let builder = guarded(|| ParquetRecordBatchReaderBuilder::try_new(file)).map_err(|e| unreadable(&e))?;
    let only = ProjectionMask::columns(builder.parquet_schema(), ["id"]);
    for batch in Batches::of(builder.with_projection(only)).map_err(|e| unreadable(&e))? {
        let batch = batch.map_err(|e| unreadable(&e))?;
        let ids = batch.column_by_name("id").and_then(|ids| ids.as_string_opt::<i32>());
        let ids = ids.ok_or_else(|| wrong(path, "it has no column of ids"))?;
        ids.iter().flatten().try_for_each(&mut *take)?;
    }
    Ok(())
}
