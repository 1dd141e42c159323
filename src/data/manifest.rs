//! A version of a dataset: a small root that names its segments by digest.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::feature::{Feature, Schema};

/// The newest manifest format that this build reads. It writes 3 where a segment has [`SegmentRef::changes`], else 2 ([`Manifest::format`]). 2: facts have an orientation and a colour profile (a shard of 1
/// has neither, and its pictures are shown as they are stored); columns may be made of the source's payloads
/// ([`super::storage::Storage`]), and may hold tensors; clips may have seek tables (in `info` and in segments, both of which are as before without).
pub const FORMAT_VERSION: u64 = 3;

/// The root of one version, at `.dsctl/versions/%020d.json`. Nothing of time, host, chance or absolute path is in it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// What a reader must know at least, up to [`FORMAT_VERSION`].
    pub format_version: u64,
    /// 1 for the first commit.
    pub version: u64,
    /// SHA-256 (hex) of the parent version's root file; none for version 1.
    pub parent: Option<String>,
    /// The features with their label names.
    pub schema: Schema,
    /// The segments, oldest first.
    pub segments: Vec<SegmentRef>,
    /// Rows of each split, over all segments.
    pub splits: BTreeMap<String, u64>,
}

/// One segment of the Index: the rows of one commit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SegmentRef {
    /// Relative path within the dataset, `.dsctl/segments/<digest16>.idx`.
    pub path: String,
    /// SHA-256 (hex) of the file.
    pub sha256: String,
    /// Rows in it.
    pub rows: u64,
    /// Bytes of the file.
    pub bytes: u64,
    /// Changes that stand over its shards: other splits and values than their files say. They are in the segment already; the list is what it
    /// is derived from, beside the shards.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub changes: Option<ChangesRef>,
}

/// The changes of one segment ([`super::changes`]).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ChangesRef {
    /// Relative path within the dataset, `.dsctl/changes/<digest16>.chg`.
    pub path: String,
    /// SHA-256 (hex) of the file.
    pub sha256: String,
    /// Rows that it changes.
    pub rows: u64,
    /// Bytes of the file.
    pub bytes: u64,
}

/// One shard of a segment. A file whose rows are of several splits, by changes that stand over it, is there once for each of these.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ShardRef {
    /// Relative path within the dataset, `data/FOLDER/<digest16>.parquet`. The folder is the split of its rows, unless changes stand over it.
    pub path: String,
    /// The split of its rows.
    pub split: String,
    /// Rows of this split in it.
    pub rows: u64,
    /// Bytes of the file.
    pub bytes: u64,
    /// SHA-256 (hex) of the file.
    pub sha256: String,
}

impl Manifest {
    /// Rows over all splits.
    pub fn rows(&self) -> u64 {
        self.splits.values().sum()
    }

    /// The format of which it is: the lowest that says what it needs, so that older builds read what they understand.
    pub fn format(&self) -> u64 {
        let objects = self.schema.columns.iter().any(|column| matches!(column.feature, Feature::Objects(_)));
        if self.is_overlaid() || objects { 3 } else { 2 }
    }

    /// Whether changes stand over some of its shards.
    pub fn is_overlaid(&self) -> bool {
        self.segments.iter().any(|segment| segment.changes.is_some())
    }
}
