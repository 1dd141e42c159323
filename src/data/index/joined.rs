//! The segments of a version as one Index.

use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use super::{Row, Segment, damaged};
use crate::error::Result;

/// The segments of a version, one behind the other.
#[derive(Debug, Clone, Default)]
pub struct Index {
    segments: Vec<Arc<Segment>>,
    starts: Vec<u64>,
    rows: u64,
}

impl Index {
    /// Joins segments; all must have the same columns.
    pub fn new(segments: Vec<Arc<Segment>>) -> Result<Self> {
        let mut index = Index::default();
        for segment in segments {
            if let Some(first) = index.segments.first()
                && first.header.columns != segment.header.columns
            {
                return Err(damaged(Path::new("(index)"), "two segments have different columns"));
            }
            index.starts.push(index.rows);
            index.rows += segment.header.rows;
            index.segments.push(segment);
        }
        Ok(index)
    }

    /// Rows over all segments.
    pub fn rows(&self) -> u64 {
        self.rows
    }

    /// The segments.
    pub fn segments(&self) -> &[Arc<Segment>] {
        &self.segments
    }

    /// The segment that holds a row, and the row.
    pub fn locate(&self, row: u64) -> (usize, Row<'_>) {
        let segment = self.starts.partition_point(|start| *start <= row) - 1;
        (segment, self.segments[segment].row(row - self.starts[segment]))
    }

    /// A row.
    pub fn row(&self, row: u64) -> Row<'_> {
        self.locate(row).1
    }

    /// The greatest payload length, width, height and count of a column over all segments.
    pub fn largest(&self, column: usize) -> [u64; 4] {
        let of = |s: &Arc<Segment>| s.header.largest.get(column).copied().unwrap_or_default();
        self.segments.iter().map(of).fold([0; 4], |a, b| std::array::from_fn(|i| a[i].max(b[i])))
    }

    /// Bytes of the shards for each row, rounded up; 0 without rows.
    pub fn mean_row(&self) -> u64 {
        let files = self.segments.iter().flat_map(|s| s.files());
        let bytes: u64 = files.map(|file| file.bytes).fold(0, u64::saturating_add);
        if self.rows == 0 { 0 } else { bytes.div_ceil(self.rows) }
    }

    /// The rows of a split as ascending ranges, adjacent ones joined. `None`: all rows.
    pub fn ranges(&self, split: Option<&str>) -> Vec<Range<u64>> {
        let mut ranges: Vec<Range<u64>> = Vec::new();
        for (segment, start) in self.segments.iter().zip(&self.starts) {
            for shard in 0..segment.header.shards as usize {
                let Some((rows, shard)) = segment.shard(shard) else { continue };
                if rows.is_empty() || split.is_some_and(|s| s != shard.split) {
                    continue;
                }
                let rows = start + rows.start..start + rows.end;
                match ranges.last_mut() {
                    Some(last) if last.end == rows.start => last.end = rows.end,
                    _ => ranges.push(rows),
                }
            }
        }
        ranges
    }
}
