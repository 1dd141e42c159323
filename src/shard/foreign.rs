//! Someone else's Parquet, read only: a schema guessed from Hugging Face's metadata or the Arrow types, an Index made in
//! memory by reading every row once, and payloads fetched through the Parquet reader.
//!
//! A payload's offset here is its row within its file. Where a file has an offset index, a fetch reads the one page that
//! holds the row; else it decodes the column of the whole row group, of which the last [`KEPT`] are kept. A shuffled
//! reader of compressed row groups without pages so reads a row group (100 MB as `datasets` writes them) for a row:
//! fine to look around or to read in order, for training ingest the data first.

use std::collections::{BTreeMap, VecDeque};
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use arrow::array::{Array, ArrayRef, RecordBatch};
use arrow::datatypes::Field;
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{ArrowReaderMetadata, ParquetRecordBatchReaderBuilder, RowSelection, RowSelector};
use sha2::{Digest, Sha256};

mod columns;

use columns::{Mapped, map_columns};

use super::{Batches, Fetch, reader};
use crate::data::feature::Schema;
use crate::data::index::{Index, IndexCell, Payload, SegmentBuilder};
use crate::data::info::{Info, Kind};
use crate::error::{Error, Fault, LeftOut, Origin, Result};

/// Decoded row groups that are kept for the next fetch.
pub const KEPT: usize = 4;
/// Rows decoded at a time.
const BATCH: usize = 64;

/// Reads the facts of a payload: of the given kind, or of whatever kind it is. The codecs lie above this room.
pub type Probe<'a> = &'a (dyn Fn(&[u8], Option<Kind>) -> Result<Info, Fault> + Sync);

/// A foreign dataset, ready for [`crate::dataset::Dataset::from_parts`].
#[derive(Debug)]
pub struct Foreign {
    /// The columns that we can read.
    pub schema: Schema,
    /// Every row, with the id `relative/path#row`.
    pub index: Index,
    /// Fetches payloads.
    pub fetch: Arc<dyn Fetch>,
    /// What was left out, and why.
    pub notes: Vec<String>,
    /// Cells that are null because their payload is none.
    pub left_out: LeftOut,
}

#[derive(Debug)]
struct ForeignFile {
    path: PathBuf,
    metadata: ArrowReaderMetadata,
    /// First row of each row group, and the file's number of rows.
    groups: Vec<u64>,
}

type Kept = (usize, usize, usize, Arc<Vec<ArrayRef>>);

#[derive(Debug)]
struct ForeignSet {
    files: Vec<ForeignFile>,
    starts: Vec<u64>,
    columns: Vec<Mapped>,
    kept: Mutex<VecDeque<Kept>>,
}

/// The Parquet files of a folder (sorted; hidden files, and folders that begin with `.` or `__`, are left out) or the one
/// file itself, with their relative names and splits.
pub fn files(path: &Path) -> Result<Vec<(PathBuf, String, String)>> {
    if path.is_file() {
        let name = path.file_name().and_then(|n| n.to_str()).unwrap_or("file.parquet").to_owned();
        return Ok(vec![(path.to_owned(), name, "train".to_owned())]);
    }
    let seen = |name: &str, dir: bool| !(name.starts_with('.') || dir && name.starts_with("__"));
    let walk = walkdir::WalkDir::new(path).max_depth(8).sort_by_file_name().into_iter();
    let walk = walk
        .filter_entry(|e| e.depth() == 0 || e.file_name().to_str().is_some_and(|n| seen(n, e.file_type().is_dir())));
    let mut files = Vec::new();
    for entry in walk {
        let entry = entry.map_err(|e| Error::io(path, "list", e.into()))?;
        let parquet = entry.path().extension().is_some_and(|e| e.eq_ignore_ascii_case("parquet"));
        if let (true, Some(relative)) = (parquet && entry.file_type().is_file(), entry.path().strip_prefix(path).ok()) {
            let parts: Vec<&str> = relative.iter().filter_map(|p| p.to_str()).collect();
            files.push((entry.path().to_owned(), parts.join("/"), split_of(&parts)));
        }
    }
    Ok(files)
}

/// The split of a file: `SPLIT-00000-of-00002.parquet`, else the innermost part of its path that holds one of the words
/// that `datasets` knows, else train.
fn split_of(parts: &[&str]) -> String {
    let name = parts.last().copied().unwrap_or("");
    let pieces: Vec<&str> = name.split('.').next().unwrap_or("").rsplitn(4, '-').collect();
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    if let [total, "of", number, split] = pieces[..]
        && digits(total)
        && digits(number)
        && super::check_split(split).is_ok()
    {
        return split.to_owned();
    }
    let known = [
        ("train", ["train", "training", "", ""]),
        ("validation", ["validation", "valid", "val", "dev"]),
        ("test", ["test", "testing", "eval", "evaluation"]),
    ];
    for part in parts.iter().rev() {
        for word in part.to_lowercase().split(|c: char| !c.is_alphanumeric()) {
            if let Some((split, _)) = known.iter().find(|(_, words)| !word.is_empty() && words.contains(&word)) {
                return (*split).to_owned();
            }
        }
    }
    "train".to_owned()
}

/// Opens a folder of Parquet files or one file; `None` if there is no Parquet file. Reads everything once.
pub fn open(path: &Path, probe: Probe<'_>) -> Result<Option<Foreign>> {
    let listed = files(path)?;
    if listed.is_empty() {
        return Ok(None);
    }
    let mut notes = Vec::new();
    let mut opened = Vec::with_capacity(listed.len());
    for (path, ..) in &listed {
        let file = File::open(path).map_err(|e| Error::io(path, "open", e))?;
        let metadata = reader::arrow_metadata(&file).map_err(|e| Error::damaged(path, e, "is this really Parquet?"))?;
        let mut groups = vec![0u64];
        for group in metadata.metadata().row_groups() {
            groups.push(groups.last().copied().unwrap_or(0) + u64::try_from(group.num_rows()).unwrap_or(0));
        }
        opened.push(ForeignFile { path: path.clone(), metadata, groups });
    }
    let (schema, columns) = map_columns(&opened[0], probe, &mut notes)?;
    for file in &opened {
        for column in &columns {
            let found = file.metadata.schema().field_with_name(&column.source).map(Field::data_type);
            if found.ok() != Some(&column.data_type) {
                return Err(Error::config(
                    format!(
                        "{}: column {:?} is not {} as in the other files",
                        file.path.display(),
                        column.source,
                        column.data_type
                    ),
                    "open a folder whose files have the same columns, or one file",
                ));
            }
        }
    }
    let mut builder = SegmentBuilder::new(&schema);
    let mut starts = Vec::new();
    let mut left_out = LeftOut::default();
    let mut refused: BTreeMap<(String, &'static str), (u64, String)> = BTreeMap::new();
    for (file, (_, relative, split)) in opened.iter().zip(&listed) {
        starts.push(builder.rows());
        let first = builder.rows();
        for batch in file.batches(&columns)? {
            let batch = batch?;
            let arrays = columns.iter().map(|c| c.canonical(&batch)).collect::<Result<Vec<_>, _>>();
            let arrays = arrays.map_err(|e| Error::damaged(&file.path, e, "the column could not be converted"))?;
            for i in 0..batch.num_rows() {
                let row = builder.rows() - first;
                let mut cells = Vec::with_capacity(columns.len());
                let mut tables = Vec::with_capacity(columns.len());
                for ((column, array), own) in columns.iter().zip(&arrays).zip(&schema.columns) {
                    let cell = column.objects(array, i).and_then(|objects| {
                        let cell = column.cell(array, i, row, objects.as_ref(), probe)?;
                        tables.push(objects.map(|objects| objects.pack()));
                        Ok(cell)
                    });
                    tables.resize(cells.len() + 1, None);
                    cells.push(cell.unwrap_or_else(|fault| {
                        let place = || Origin {
                            file: Some(file.path.clone()),
                            row: Some(first + row),
                            id: Some(format!("{relative}#{row}")),
                            column: Some(own.name.clone()),
                        };
                        left_out.push(place, &fault);
                        let entry = refused.entry((column.source.clone(), fault.reason.code())).or_default();
                        entry.0 += 1;
                        if entry.0 == 1 {
                            entry.1 = format!("{relative} row {row}: {fault}");
                        }
                        IndexCell::Null
                    }));
                }
                builder.push_with(&format!("{relative}#{row}"), &cells, &|column| tables[column].as_deref())?;
            }
        }
        let bytes = std::fs::metadata(&file.path).map_err(|e| Error::io(&file.path, "look at", e))?.len();
        builder.end_shard(split, bytes, Sha256::digest(format!("{relative}\0{bytes}")).into());
    }
    for ((column, code), (count, example)) in refused {
        notes.push(format!("column {column:?}: {count} cells are absent ({code}), the first: {example}"));
    }
    let index = Index::new(vec![Arc::new(builder.finish()?.open()?)])?;
    let fetch = Arc::new(ForeignSet { files: opened, starts, columns, kept: Mutex::default() });
    Ok(Some(Foreign { schema, index, fetch, notes, left_out }))
}

impl ForeignFile {
    fn builder(&self, columns: &[Mapped]) -> Result<ParquetRecordBatchReaderBuilder<File>> {
        // A file of its own for each reader: Parquet's reader seeks, and clones of a descriptor share their position.
        let file = File::open(&self.path).map_err(|e| Error::io(&self.path, "open", e))?;
        let names: Vec<&str> = columns.iter().map(|c| c.source.as_str()).collect();
        let roots = self.metadata.schema().fields().iter().enumerate();
        let roots = roots.filter(|(_, f)| names.contains(&f.name().as_str())).map(|(i, _)| i);
        let mask = ProjectionMask::roots(self.metadata.parquet_schema(), roots);
        let builder = ParquetRecordBatchReaderBuilder::new_with_metadata(file, self.metadata.clone());
        Ok(builder.with_projection(mask).with_batch_size(BATCH))
    }

    fn damaged(&self, e: impl std::fmt::Display) -> Error {
        Error::damaged(&self.path, format!("it cannot be decoded: {e}"), "restore the file")
    }

    /// All rows of some columns.
    fn batches(&self, columns: &[Mapped]) -> Result<impl Iterator<Item = Result<RecordBatch>>> {
        let reader = Batches::of(self.builder(columns)?).map_err(|e| self.damaged(e))?;
        Ok(reader.map(|batch| batch.map_err(|e| self.damaged(e))))
    }

    /// Whether a column's pages can be told apart.
    fn has_pages(&self, group: usize, column: &Mapped) -> bool {
        let metadata = self.metadata.metadata();
        let leaves = metadata.file_metadata().schema_descr().columns();
        let mut leaves = leaves.iter().enumerate().filter(|(_, c)| c.path().parts().first() == Some(&column.source));
        let index = metadata.page_index_for_row_group(group);
        leaves.all(|(leaf, _)| index.page_locations(leaf).is_some_and(|pages| !pages.is_empty()))
    }
}

impl ForeignSet {
    /// The file of a row of the Index.
    fn file(&self, row: u64) -> usize {
        self.starts.partition_point(|start| *start <= row).saturating_sub(1)
    }

    /// The arrays of one column of a row group, decoded once for the fetches that follow.
    fn group(&self, number: usize, group: usize, column: usize) -> Result<Arc<Vec<ArrayRef>>> {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((.., arrays)) = kept.iter().find(|(f, g, c, _)| (*f, *g, *c) == (number, group, column)) {
            return Ok(arrays.clone());
        }
        let (file, mapped) = (&self.files[number], &self.columns[column]);
        let builder = file.builder(std::slice::from_ref(mapped))?.with_row_groups(vec![group]);
        let mut arrays = Vec::new();
        for batch in Batches::of(builder).map_err(|e| file.damaged(e))? {
            let batch = batch.map_err(|e| file.damaged(e))?;
            arrays.push(mapped.canonical(&batch).map_err(|e| file.damaged(e))?);
        }
        let arrays = Arc::new(arrays);
        kept.truncate(KEPT - 1);
        kept.push_front((number, group, column, arrays.clone()));
        Ok(arrays)
    }
}

impl Fetch for ForeignSet {
    fn fetch(&self, row: u64, column: usize, payload: &Payload, out: &mut Vec<u8>) -> Result<()> {
        let number = self.file(row);
        let (Some(file), Some(mapped)) = (self.files.get(number), self.columns.get(column)) else {
            return Err(Error::library(
                "fetching a payload",
                format!("row {row}, column {column} of a foreign dataset"),
            ));
        };
        let group = file.groups.partition_point(|start| *start <= payload.offset).saturating_sub(1);
        let within = usize::try_from(payload.offset - file.groups[group]).map_err(|e| file.damaged(e))?;
        let short = || file.damaged(format!("row {} is not there any more", payload.offset));
        let (arrays, batch, at) = if file.has_pages(group, mapped) {
            let select = RowSelection::from(vec![RowSelector::skip(within), RowSelector::select(1)]);
            let builder = file.builder(std::slice::from_ref(mapped))?.with_row_groups(vec![group]);
            let mut reader = Batches::of(builder.with_row_selection(select)).map_err(|e| file.damaged(e))?;
            let batch = reader.next().ok_or_else(short)?.map_err(|e| file.damaged(e))?;
            (Arc::new(vec![mapped.canonical(&batch).map_err(|e| file.damaged(e))?]), 0, 0)
        } else {
            (self.group(number, group, column)?, within / BATCH, within % BATCH)
        };
        let array = arrays.get(batch).filter(|a| at < a.len()).ok_or_else(short)?;
        let bytes = mapped.bytes(array, at).filter(|b| b.len() as u64 == payload.length).ok_or_else(short)?;
        out.clear();
        out.extend_from_slice(bytes);
        Ok(())
    }

    fn origin(&self, row: u64) -> Origin {
        let number = self.file(row);
        let row_in_file = self.starts.get(number).map(|start| row - start);
        Origin { file: self.files.get(number).map(|f| f.path.clone()), row: row_in_file, id: None, column: None }
    }
}
