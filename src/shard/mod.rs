//! Shards: immutable Parquet files whose payloads lie in plain bytes at known offsets.
//!
//! A shard's payload columns are PLAIN, uncompressed and without dictionary, so a value is a `u32` length and its bytes,
//! and the Index can name the first byte: the hot path is one `pread`, no footer, no Arrow. Every other reader of
//! Parquet opens the same file, and `datasets` finds its own types in it. Nothing of time, host, chance or absolute path
//! is inside, so equal rows make equal files and a file's name is its digest.

mod batches;
mod cells;
pub mod foreign;
#[cfg(test)]
mod foreign_tests;
mod layout;
mod located;
pub mod reader;
mod rows;
#[cfg(test)]
pub(crate) mod tests;
pub mod writer;

pub(crate) use batches::{Batches, guarded};
pub use reader::{ShardFile, read_finished};
pub use rows::{read_ids, read_rows};
pub use writer::{FinishedShard, SHARD_ROWS, ShardCell, ShardOptions, ShardRow, ShardWriter, Tables};

use std::fmt::Debug;

use crate::data::index::Payload;
use crate::error::{Error, Origin, Result};

/// Payloads that lie neither in shards nor in plain files: archives, compressed Parquet, remote objects.
pub trait Fetch: Send + Sync + Debug {
    /// Reads the payload of a row's column into `out`, replacing what was there. `payload` is the Index's entry; what
    /// its offset means is the implementor's own matter.
    fn fetch(&self, row: u64, column: usize, payload: &Payload, out: &mut Vec<u8>) -> Result<()>;

    /// The file a row comes from and its row there, for messages.
    fn origin(&self, row: u64) -> Origin;
}

/// The file name that a media cell's `path` holds: the last part of an id, without the `#ordinal` of a part.
///
/// Readers of the shard only use its extension; the folder stays out of it, so that moving a source moves no byte.
pub fn base_name(id: &str) -> &str {
    let whole = match id.rsplit_once('#') {
        Some((whole, ordinal)) if !ordinal.is_empty() && ordinal.bytes().all(|b| b.is_ascii_digit()) => whole,
        _ => id,
    };
    whole.rsplit(['/', '!']).next().unwrap_or(whole)
}

/// Checks a split's name: letters, digits and `_`, in parts joined by `.`, as `datasets` wants it (`\w+(\.\w+)*`).
pub fn check_split(split: &str) -> Result<()> {
    let word = |part: &str| !part.is_empty() && part.chars().all(|c| c.is_alphanumeric() || c == '_');
    if split.split('.').all(word) && split.len() <= 100 {
        return Ok(());
    }
    Err(Error::config(
        format!("{split:?} cannot be the name of a split"),
        "use letters, digits and \"_\" (\"hold_out\", not \"hold-out\")",
    ))
}
