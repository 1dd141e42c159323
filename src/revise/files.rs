//! Shards that are written for a new version, one open for each split, and the segment of what is finished.

use std::collections::BTreeMap;

use super::Old;
use crate::data::changes::Changes;
use crate::data::feature::Schema;
use crate::data::index::{Segment, SegmentBuilder, TableFile, take_over};
use crate::error::Result;
use crate::shard::{ShardOptions, ShardRow, ShardWriter};
use crate::store::Store;

/// The files of a new version. The rows of each split stay in the order in which they come.
pub(super) struct Files<'o> {
    store: &'o Store,
    schema: &'o Schema,
    options: ShardOptions,
    open: BTreeMap<String, ShardWriter>,
    segment: SegmentBuilder,
    /// What stands over them.
    list: Option<&'o Changes>,
    count: u64,
}

impl<'o> Files<'o> {
    /// None yet.
    pub(super) fn new(old: &'o Old, schema: &'o Schema, options: ShardOptions, list: Option<&'o Changes>) -> Self {
        let segment = SegmentBuilder::spilling(schema, &old.spill);
        Files { store: &old.store, schema, options, open: BTreeMap::new(), segment, list, count: 0 }
    }

    /// Adds a row to the open file of a folder.
    pub(super) fn push(&mut self, folder: &str, row: ShardRow) -> Result<()> {
        let writer = match self.open.get_mut(folder) {
            Some(writer) => writer,
            None => {
                let writer = ShardWriter::create(self.store, self.schema, folder, &self.options)?;
                self.open.entry(folder.to_owned()).or_insert(writer)
            }
        };
        writer.push(row)?;
        if writer.is_full() { self.close(folder) } else { Ok(()) }
    }

    /// Takes a file of another segment over as it is, behind what is open of its folder.
    pub(super) fn keep(&mut self, segment: &Segment, file: &TableFile) -> Result<()> {
        self.close(&file.folder)?;
        self.count += 1;
        take_over(&mut self.segment, segment, file, self.list)
    }

    fn close(&mut self, folder: &str) -> Result<()> {
        let Some(writer) = self.open.remove(folder) else { return Ok(()) };
        self.count += 1;
        writer.finish()?.enter_under(&mut self.segment, self.list)
    }

    /// The segment of all of them, and how many they are.
    pub(super) fn finish(mut self) -> Result<(SegmentBuilder, u64)> {
        while let Some(folder) = self.open.keys().next().cloned() {
            self.close(&folder)?;
        }
        Ok((self.segment, self.count))
    }
}
