//! Writing a segment.

use super::{
    Backing, FIXED, Header, IndexCell, MAGIC, Row, Segment, Stored, Tables, damaged, null_bytes, u32_at, u64_at,
};
use crate::data::feature::Schema;
use crate::data::record::row_key;
use crate::error::{Error, Result};
use crate::spool::{Spill, Spool, Spooled};

/// Collects the rows of a segment, in files where they are too many for memory.
#[derive(Debug)]
pub struct SegmentBuilder {
    columns: Vec<(String, Stored)>,
    splits: Vec<String>,
    shards: Vec<u8>,
    rows: Spool,
    ids: Spool,
    /// The columns that may have tables, by their places.
    tabled: Vec<usize>,
    ends: Spool,
    tables: Spool,
    /// The row being added.
    row: Vec<u8>,
    spill: Spill,
    count: u64,
    shard_count: u32,
    shard_rows: u32,
    largest: Vec<[u64; 4]>,
}

impl SegmentBuilder {
    /// An empty segment for a schema. What outgrows memory goes to the system's folder for temporary files.
    pub fn new(schema: &Schema) -> Self {
        Self::spilling(schema, &Spill::temporary())
    }

    /// An empty segment for a schema, with a place for what outgrows memory.
    pub fn spilling(schema: &Schema, spill: &Spill) -> Self {
        SegmentBuilder {
            columns: schema.columns.iter().map(|c| (c.name.clone(), Stored::of(c))).collect(),
            splits: Vec::new(),
            shards: Vec::new(),
            rows: Spool::new(spill),
            ids: Spool::new(spill),
            tabled: (0..schema.columns.len()).filter(|c| schema.columns[*c].has_table()).collect(),
            ends: Spool::new(spill),
            tables: Spool::new(spill),
            row: Vec::new(),
            spill: spill.clone(),
            count: 0,
            shard_count: 0,
            shard_rows: 0,
            largest: vec![[0; 4]; schema.columns.len()],
        }
    }

    /// Adds a row to the shard that the next [`SegmentBuilder::end_shard`] closes. One cell a column, of the column's kind.
    pub fn push(&mut self, id: &str, cells: &[IndexCell]) -> Result<()> {
        self.push_with(id, cells, &|_| None)
    }

    /// The same, with the table of each column that has one ([`Column::has_table`](crate::data::feature::Column::has_table)).
    pub fn push_with<'t>(
        &mut self,
        id: &str,
        cells: &[IndexCell],
        table: &dyn Fn(usize) -> Option<&'t [u8]>,
    ) -> Result<()> {
        self.push_at(self.shard_rows, id, cells, table)
    }

    /// The same, at a place in the shard's file, where not all its rows are of one split.
    pub fn push_at<'t>(
        &mut self,
        place: u32,
        id: &str,
        cells: &[IndexCell],
        table: &dyn Fn(usize) -> Option<&'t [u8]>,
    ) -> Result<()> {
        if cells.len() != self.columns.len() {
            return Err(Error::library(
                "building an index segment",
                format!("{} cells for {} columns", cells.len(), self.columns.len()),
            ));
        }
        let id_length = u32::try_from(id.len())
            .map_err(|_| Error::config("an id is longer than 4 GiB", "shorten the relative path"))?;
        let row = &mut self.row;
        row.clear();
        row.extend(row_key(id).to_le_bytes());
        row.extend(self.ids.len().to_le_bytes());
        row.extend(id_length.to_le_bytes());
        row.extend(self.shard_count.to_le_bytes());
        row.extend(place.to_le_bytes());
        row.extend(0u32.to_le_bytes());
        let nulls = row.len();
        row.resize(nulls + null_bytes(cells.len()), 0);
        for (column, (cell, (name, stored))) in cells.iter().zip(&self.columns).enumerate() {
            match (cell, stored) {
                (IndexCell::Null, _) => {
                    row[nulls + column / 8] |= 1 << (column % 8);
                    row.resize(row.len() + stored.size(), 0);
                }
                (IndexCell::Int(v), Stored::Int) => row.extend(v.to_le_bytes()),
                (IndexCell::Float(v), Stored::Float) => row.extend(v.to_bits().to_le_bytes()),
                (IndexCell::Bool(v), Stored::Bool) => row.extend(u64::from(*v).to_le_bytes()),
                (IndexCell::Objects(n), Stored::Objects) => row.extend(u64::from(*n).to_le_bytes()),
                (IndexCell::Payload(p), Stored::Payload) | (IndexCell::Prepared(p, _), Stored::Prepared) => {
                    for v in [p.offset, p.length, p.hash] {
                        row.extend(v.to_le_bytes());
                    }
                    let i = &p.info;
                    let facts = [p.length, u64::from(p.info.width), u64::from(p.info.height), p.info.count];
                    for (most, fact) in self.largest[column].iter_mut().zip(facts) {
                        *most = fact.max(*most);
                    }
                    for v in [
                        i.format.code(),
                        i.width,
                        i.height,
                        i.channels,
                        i.rate,
                        i.orientation.code() | i.profile.code() << 8,
                    ] {
                        row.extend(v.to_le_bytes());
                    }
                    for v in [i.count, i.duration_us] {
                        row.extend(v.to_le_bytes());
                    }
                    if let IndexCell::Prepared(_, original) = cell {
                        row.extend(original.bytes.to_le_bytes());
                        row.extend(original.hash.to_le_bytes());
                    }
                }
                (cell, stored) => {
                    return Err(Error::library(
                        format!("building an index segment, column {name:?} of row {id:?}"),
                        format!("{cell:?} in a column of {stored:?}"),
                    ));
                }
            }
        }
        self.rows.push(row)?;
        self.close_row(id, table)
    }

    /// Takes a row of another segment over as it stands there, whatever this build knows of it, at its place in the file; but for these cells of small columns.
    ///
    /// # Errors
    /// Those of temporary files, and a segment of other columns.
    pub fn push_row(&mut self, from: &Row<'_>, cells: &[(usize, IndexCell)]) -> Result<()> {
        let wrong = |what: String| Error::library("taking a row of an index segment over", what);
        if from.segment.header.columns != self.columns {
            return Err(wrong("the segments have other columns".into()));
        }
        let id = from.id();
        let row = &mut self.row;
        row.clear();
        row.extend(from.bytes);
        row[8..16].copy_from_slice(&self.ids.len().to_le_bytes());
        row[20..24].copy_from_slice(&self.shard_count.to_le_bytes());
        for (column, cell) in cells {
            let at = from.segment.offsets[*column];
            let bits = match (cell, self.columns[*column].1) {
                (IndexCell::Null, stored) if stored.is_value() => None,
                (IndexCell::Int(v), Stored::Int) => Some(*v as u64),
                (IndexCell::Float(v), Stored::Float) => Some(v.to_bits()),
                (IndexCell::Bool(v), Stored::Bool) => Some(u64::from(*v)),
                (cell, stored) => return Err(wrong(format!("{cell:?} in a column of {stored:?}"))),
            };
            let (byte, bit) = (FIXED + column / 8, 1 << (column % 8));
            row[byte] = if bits.is_none() { row[byte] | bit } else { row[byte] & !bit };
            row[at..at + 8].copy_from_slice(&bits.unwrap_or(0).to_le_bytes());
        }
        for column in (0..self.columns.len()).filter(|c| self.columns[*c].1.is_payload() && !from.is_null(*c)) {
            let at = from.segment.offsets[column];
            let small = |at: usize| u64::from(u32_at(from.bytes, at));
            let facts = [u64_at(from.bytes, at + 8), small(at + 28), small(at + 32), u64_at(from.bytes, at + 48)];
            for (most, fact) in self.largest[column].iter_mut().zip(facts) {
                *most = fact.max(*most);
            }
        }
        self.rows.push(row)?;
        self.close_row(id, &|column| from.table(column))
    }

    fn close_row<'t>(&mut self, id: &str, table: &dyn Fn(usize) -> Option<&'t [u8]>) -> Result<()> {
        self.ids.push(id.as_bytes())?;
        for column in &self.tabled {
            self.tables.push(table(*column).unwrap_or_default())?;
            self.ends.push(&self.tables.len().to_le_bytes())?;
        }
        self.count += 1;
        self.shard_rows += 1;
        Ok(())
    }

    /// The place of a split's name.
    fn split(&mut self, split: &str) -> u32 {
        let place = self.splits.iter().position(|s| s == split).unwrap_or_else(|| {
            self.splits.push(split.to_owned());
            self.splits.len() - 1
        });
        place as u32
    }

    /// Closes the shard of the rows pushed since the last one.
    pub fn end_shard(&mut self, split: &str, bytes: u64, sha256: [u8; 32]) {
        self.end_shard_in(split, split, bytes, sha256);
    }

    /// The same, of rows whose file lies in the folder of another split.
    pub fn end_shard_in(&mut self, split: &str, folder: &str, bytes: u64, sha256: [u8; 32]) {
        let split_index = self.split(split);
        let folder_index = if folder == split { 0 } else { self.split(folder) + 1 };
        self.shards.extend((self.count - u64::from(self.shard_rows)).to_le_bytes());
        self.shards.extend(u64::from(self.shard_rows).to_le_bytes());
        self.shards.extend(bytes.to_le_bytes());
        self.shards.extend(split_index.to_le_bytes());
        self.shards.extend(folder_index.to_le_bytes());
        self.shards.extend(sha256);
        self.shard_count += 1;
        self.shard_rows = 0;
    }

    /// Rows so far.
    pub fn rows(&self) -> u64 {
        self.count
    }

    /// The segment. Rows behind the last [`SegmentBuilder::end_shard`] are refused.
    pub fn finish(self) -> Result<Finished> {
        if self.shard_rows > 0 {
            return Err(Error::library("building an index segment", "the last shard was not closed"));
        }
        let (mut ends, mut tables) = (self.ends.finish()?, self.tables.finish()?);
        let said = Tables { columns: self.tabled, bytes: tables.len() as u64 };
        let said = Some(said).filter(|tables| tables.bytes > 0);
        if said.is_none() {
            (ends, tables) = (Spooled::Owned(Vec::new()), Spooled::Owned(Vec::new()));
        }
        let header = Header {
            columns: self.columns,
            splits: self.splits,
            shards: u64::from(self.shard_count),
            rows: self.count,
            id_bytes: self.ids.len(),
            largest: self.largest,
            tables: said,
        };
        let json = serde_json::to_vec(&header).map_err(|e| Error::library("writing an index header", e))?;
        let mut head = Vec::with_capacity(128 + json.len() + self.shards.len());
        head.extend(MAGIC);
        head.extend((json.len() as u64).to_le_bytes());
        head.extend(json);
        head.resize(head.len().next_multiple_of(64), 0);
        head.extend(self.shards);
        Ok(Finished { head, rows: self.rows.finish()?, ids: self.ids.finish()?, ends, tables, spill: self.spill })
    }
}

/// A segment that is complete and in no file yet.
#[derive(Debug)]
pub struct Finished {
    head: Vec<u8>,
    rows: Spooled,
    ids: Spooled,
    ends: Spooled,
    tables: Spooled,
    spill: Spill,
}

impl Finished {
    /// Its bytes: these parts, one behind the other.
    pub fn parts(&self) -> [&[u8]; 5] {
        [&self.head, &self.rows, &self.ids, &self.ends, &self.tables]
    }

    /// Its bytes in one piece.
    pub fn to_vec(&self) -> Vec<u8> {
        self.parts().concat()
    }

    /// The segment for reading, without a file of its own.
    ///
    /// # Errors
    ///
    /// [`Error::Io`] of a temporary file.
    pub fn open(self) -> Result<Segment> {
        let mut bytes = Spool::new(&self.spill);
        for part in self.parts() {
            part.chunks(1 << 20).try_for_each(|chunk| bytes.push(chunk))?;
        }
        Segment::read(Backing::Spooled(bytes.finish()?)).map_err(|what| damaged("(memory)".as_ref(), what))
    }
}
