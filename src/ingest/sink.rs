//! Where rows go: one open shard a split, and the segment of all that is finished.

use std::collections::BTreeMap;

use crate::data::feature::Schema;
use crate::data::index::{Finished, IndexCell, SegmentBuilder};
use crate::data::manifest::ShardRef;
use crate::error::Result;
use crate::shard::{FinishedShard, ShardOptions, ShardRow, ShardWriter};
use crate::spool::Spill;
use crate::store::Store;

/// Writes shards and collects their Index.
#[derive(Debug)]
pub(super) struct Sink {
    store: Store,
    options: ShardOptions,
    open: BTreeMap<String, ShardWriter>,
    segment: SegmentBuilder,
    pub tally: Tally,
}

/// What the finished shards hold.
#[derive(Debug, Default)]
pub(super) struct Tally {
    pub rows: u64,
    pub shards: u64,
    pub bytes: u64,
    pub by_split: BTreeMap<String, u64>,
    /// Rows by class index of the label.
    pub by_class: BTreeMap<i64, u64>,
}

impl Sink {
    pub(super) fn new(store: &Store, schema: &Schema, options: ShardOptions, spill: &Spill) -> Self {
        Sink {
            store: store.clone(),
            options,
            open: BTreeMap::new(),
            segment: SegmentBuilder::spilling(schema, spill),
            tally: Tally::default(),
        }
    }

    /// Adds a row to the open shard of its split. The shard is returned if this row filled it.
    pub(super) fn push(&mut self, schema: &Schema, split: &str, row: ShardRow) -> Result<Option<ShardRef>> {
        let writer = match self.open.get_mut(split) {
            Some(writer) => writer,
            None => {
                let writer = ShardWriter::create(&self.store, schema, split, &self.options)?;
                self.open.entry(split.to_owned()).or_insert(writer)
            }
        };
        writer.push(row)?;
        if writer.is_full() { self.finish(schema, split) } else { Ok(None) }
    }

    /// Finishes the open shard of a split, if it has rows.
    pub(super) fn finish(&mut self, schema: &Schema, split: &str) -> Result<Option<ShardRef>> {
        let Some(writer) = self.open.remove(split).filter(|w| w.rows() > 0) else { return Ok(None) };
        let finished = writer.finish()?;
        let shard = finished.shard.clone();
        self.adopt(schema, finished)?;
        Ok(Some(shard))
    }

    /// The splits whose shards are open.
    pub(super) fn open_splits(&self) -> Vec<String> {
        self.open.keys().cloned().collect()
    }

    /// Takes a finished shard into the segment.
    pub(super) fn adopt(&mut self, schema: &Schema, finished: FinishedShard) -> Result<()> {
        let class = schema.label();
        let tally = &mut self.tally;
        finished.enter(&mut self.segment)?;
        for (_, cells) in &finished.rows {
            if let Some(IndexCell::Int(index)) = class.and_then(|c| cells.get(c)) {
                *tally.by_class.entry(*index).or_default() += 1;
            }
        }
        let shard = finished.shard;
        tally.rows += shard.rows;
        tally.shards += 1;
        tally.bytes += shard.bytes;
        *tally.by_split.entry(shard.split).or_default() += shard.rows;
        Ok(())
    }

    /// The segment, and what is in it. Every shard must be finished.
    pub(super) fn into_segment(self) -> Result<(Finished, Tally)> {
        Ok((self.segment.finish()?, self.tally))
    }
}
