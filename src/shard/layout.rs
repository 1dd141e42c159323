//! Where the values of a PLAIN, uncompressed byte-array column lie within a Parquet file.
//!
//! A data page is a header, the levels, then for each value that is not null a little-endian `u32` length and the bytes,
//! up to the page's last byte; so the page's end, which the offset index names, and the lengths give every offset. This
//! holds for both page versions (v2 moves the levels' lengths into the header). Format: apache/parquet-format,
//! `Encodings.md` (PLAIN) and `PageIndex.md`.

use parquet::basic::{Compression, Encoding};
use parquet::file::metadata::ParquetMetaData;

use crate::data::feature::{Feature, Schema};

/// The leaf (physical column) that holds the payload of each column of a schema; `None` for small columns.
pub(super) fn payload_leaves(metadata: &ParquetMetaData, schema: &Schema) -> Result<Vec<Option<usize>>, String> {
    let descriptor = metadata.file_metadata().schema_descr();
    let find = |path: &[&str]| descriptor.columns().iter().position(|c| c.path().parts() == path);
    let leaf = |name: &str, feature: &Feature| match feature {
        Feature::Text | Feature::Tensor(_) => {
            find(&[name]).map(Some).ok_or_else(|| format!("it has no column {name:?}"))
        }
        f if f.is_payload() => {
            find(&[name, "bytes"]).map(Some).ok_or_else(|| format!("it has no column \"{name}.bytes\""))
        }
        _ => Ok(None),
    };
    schema.columns.iter().map(|c| leaf(&c.name, &c.feature)).collect()
}

/// Rows that are read at a time where payloads are small.
const BATCH: usize = 16;
/// Bytes of payloads in a row, or of a page of them, beyond which one row is read at a time.
const LARGE: i64 = 16 << 20;

/// How many rows are decoded at a time: a batch has copies of its payloads, and a column of a batch no room for 2 GiB. One row where the footer tells of large payloads: by the
/// mean row of a row group, and, as a few may be large among many, by the largest page.
pub(super) fn batch_rows(metadata: &ParquetMetaData) -> usize {
    let large = metadata.row_groups().iter().enumerate().any(|(number, group)| {
        let mean = group.total_byte_size() / group.num_rows().max(1);
        let index = metadata.page_index_for_row_group(number);
        let pages = (0..group.num_columns()).filter_map(|leaf| index.page_locations(leaf)).flatten();
        mean > LARGE || pages.into_iter().any(|page| i64::from(page.compressed_page_size) > LARGE)
    });
    if large { 1 } else { BATCH }
}

/// The offset of every value's first byte within the file; 0 for nulls. `lengths` holds one entry a row of the file.
pub(super) fn offsets(metadata: &ParquetMetaData, leaf: usize, lengths: &[Option<u64>]) -> Result<Vec<u64>, String> {
    let mut offsets = Vec::with_capacity(lengths.len());
    for (number, group) in metadata.row_groups().iter().enumerate() {
        let chunk = group.column(leaf);
        let name = chunk.column_path().string();
        let plain = |e| matches!(e, Encoding::PLAIN | Encoding::RLE);
        if chunk.compression() != Compression::UNCOMPRESSED
            || chunk.dictionary_page_offset().is_some()
            || !chunk.encodings().all(plain)
        {
            return Err(format!("column {name:?} is compressed or not PLAIN in row group {number}"));
        }
        let index = metadata.page_index_for_row_group(number);
        let pages = index.page_locations(leaf).ok_or_else(|| format!("column {name:?} has no offset index"))?;
        let group_rows = usize::try_from(group.num_rows()).map_err(|_| "a row group has a negative number of rows")?;
        let first = offsets.len();
        for (i, page) in pages.iter().enumerate() {
            let from = usize::try_from(page.first_row_index).ok();
            let to = pages.get(i + 1).map_or(Some(group_rows), |p| usize::try_from(p.first_row_index).ok());
            let rows = match (from, to) {
                (Some(from), Some(to)) if offsets.len() == first + from && to >= from => {
                    lengths.get(first + from..first + to)
                }
                _ => None,
            };
            let rows =
                rows.ok_or_else(|| format!("column {name:?}: page {i} of row group {number} names impossible rows"))?;
            let bytes: u64 = rows.iter().flatten().map(|length| length + 4).sum();
            let begin = u64::try_from(page.offset).unwrap_or(0);
            let end = begin + u64::try_from(page.compressed_page_size).unwrap_or(0);
            let mut at = end
                .checked_sub(bytes)
                .filter(|at| *at > begin)
                .ok_or_else(|| format!("column {name:?}: page {i} of row group {number} is shorter than its values"))?;
            for length in rows {
                offsets.push(length.map_or(0, |_| at + 4));
                at += length.map_or(0, |length| length + 4);
            }
        }
        if offsets.len() != first + group_rows {
            return Err(format!("column {name:?}: the pages of row group {number} do not cover its rows"));
        }
    }
    if offsets.len() != lengths.len() {
        return Err(format!("it has {} rows, not {}", offsets.len(), lengths.len()));
    }
    Ok(offsets)
}
