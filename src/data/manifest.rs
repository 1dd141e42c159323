//! A version of a dataset: a small root that names its segments by digest.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::feature::Schema;

/// The newest manifest format that this build reads and the one it writes. 2: facts have an orientation and a colour profile (a shard of 1
/// has neither, and its pictures are shown as they are stored); columns may be made of the source's payloads
/// ([`super::storage::Storage`]), and may hold tensors; clips may have seek tables (in `info` and in segments, both of which are as before without).
pub const FORMAT_VERSION: u64 = 2;

/// The root of one version, at `.dsctl/versions/%020d.json`. Nothing of time, host, chance or absolute path is in it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// [`FORMAT_VERSION`] of the writer.
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
}

/// One shard of a segment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ShardRef {
    /// Relative path within the dataset, `data/SPLIT/<digest16>.parquet`.
    pub path: String,
    /// The split of all its rows.
    pub split: String,
    /// Rows in it.
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
}
