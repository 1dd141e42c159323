//! Writing a segment.

use super::{Header, IndexCell, MAGIC, Stored, null_bytes};
use crate::data::feature::Schema;
use crate::data::record::row_key;
use crate::error::{Error, Result};

/// Collects the rows of a segment.
#[derive(Debug)]
pub struct SegmentBuilder {
    columns: Vec<(String, Stored)>,
    splits: Vec<String>,
    shards: Vec<u8>,
    rows: Vec<u8>,
    ids: Vec<u8>,
    count: u64,
    shard_count: u32,
    shard_rows: u32,
    largest: Vec<[u64; 4]>,
}

impl SegmentBuilder {
    /// An empty segment for a schema.
    pub fn new(schema: &Schema) -> Self {
        SegmentBuilder {
            columns: schema.columns.iter().map(|c| (c.name.clone(), Stored::of(&c.feature))).collect(),
            splits: Vec::new(),
            shards: Vec::new(),
            rows: Vec::new(),
            ids: Vec::new(),
            count: 0,
            shard_count: 0,
            shard_rows: 0,
            largest: vec![[0; 4]; schema.columns.len()],
        }
    }

    /// Adds a row to the shard that the next [`SegmentBuilder::end_shard`] closes. One cell a column, of the column's kind.
    pub fn push(&mut self, id: &str, cells: &[IndexCell]) -> Result<()> {
        if cells.len() != self.columns.len() {
            return Err(Error::library(
                "building an index segment",
                format!("{} cells for {} columns", cells.len(), self.columns.len()),
            ));
        }
        let id_length = u32::try_from(id.len())
            .map_err(|_| Error::config("an id is longer than 4 GiB", "shorten the relative path"))?;
        self.rows.extend(row_key(id).to_le_bytes());
        self.rows.extend((self.ids.len() as u64).to_le_bytes());
        self.rows.extend(id_length.to_le_bytes());
        self.rows.extend(self.shard_count.to_le_bytes());
        self.rows.extend(self.shard_rows.to_le_bytes());
        self.rows.extend(0u32.to_le_bytes());
        self.ids.extend(id.as_bytes());
        let nulls = self.rows.len();
        self.rows.resize(nulls + null_bytes(cells.len()), 0);
        for (column, (cell, (name, stored))) in cells.iter().zip(&self.columns).enumerate() {
            match (cell, stored) {
                (IndexCell::Null, _) => {
                    self.rows[nulls + column / 8] |= 1 << (column % 8);
                    self.rows.resize(self.rows.len() + stored.size(), 0);
                }
                (IndexCell::Int(v), Stored::Int) => self.rows.extend(v.to_le_bytes()),
                (IndexCell::Float(v), Stored::Float) => self.rows.extend(v.to_bits().to_le_bytes()),
                (IndexCell::Bool(v), Stored::Bool) => self.rows.extend(u64::from(*v).to_le_bytes()),
                (IndexCell::Payload(p), Stored::Payload) => {
                    for v in [p.offset, p.length, p.hash] {
                        self.rows.extend(v.to_le_bytes());
                    }
                    let i = &p.info;
                    let facts = [p.length, u64::from(p.info.width), u64::from(p.info.height), p.info.count];
                    for (most, fact) in self.largest[column].iter_mut().zip(facts) {
                        *most = fact.max(*most);
                    }
                    for v in [i.format.code(), i.width, i.height, i.channels, i.rate, 0] {
                        self.rows.extend(v.to_le_bytes());
                    }
                    for v in [i.count, i.duration_us] {
                        self.rows.extend(v.to_le_bytes());
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
        self.count += 1;
        self.shard_rows += 1;
        Ok(())
    }

    /// Closes the shard of the rows pushed since the last one.
    pub fn end_shard(&mut self, split: &str, bytes: u64, sha256: [u8; 32]) {
        let split_index = self.splits.iter().position(|s| s == split).unwrap_or_else(|| {
            self.splits.push(split.to_owned());
            self.splits.len() - 1
        });
        self.shards.extend((self.count - u64::from(self.shard_rows)).to_le_bytes());
        self.shards.extend(u64::from(self.shard_rows).to_le_bytes());
        self.shards.extend(bytes.to_le_bytes());
        self.shards.extend((split_index as u32).to_le_bytes());
        self.shards.extend(0u32.to_le_bytes());
        self.shards.extend(sha256);
        self.shard_count += 1;
        self.shard_rows = 0;
    }

    /// Rows so far.
    pub fn rows(&self) -> u64 {
        self.count
    }

    /// The segment's bytes. Rows behind the last [`SegmentBuilder::end_shard`] are refused.
    pub fn finish(self) -> Result<Vec<u8>> {
        if self.shard_rows > 0 {
            return Err(Error::library("building an index segment", "the last shard was not closed"));
        }
        let header = Header {
            columns: self.columns,
            splits: self.splits,
            shards: u64::from(self.shard_count),
            rows: self.count,
            id_bytes: self.ids.len() as u64,
            largest: self.largest,
        };
        let json = serde_json::to_vec(&header).map_err(|e| Error::library("writing an index header", e))?;
        let mut bytes = Vec::with_capacity(128 + json.len() + self.shards.len() + self.rows.len() + self.ids.len());
        bytes.extend(MAGIC);
        bytes.extend((json.len() as u64).to_le_bytes());
        bytes.extend(json);
        bytes.resize(bytes.len().next_multiple_of(64), 0);
        bytes.extend(self.shards);
        bytes.extend(self.rows);
        bytes.extend(self.ids);
        Ok(bytes)
    }
}
