#![doc = include_str!("../README.md")]

pub mod augment;
pub mod backend;
pub mod clock;
pub mod codec;
pub mod collate;
pub mod data;
pub mod dataset;
pub mod duplicates;
pub mod error;
pub mod export;
pub mod fingerprint;
pub mod ingest;
pub mod loader;
pub mod parallel;
pub mod plan;
pub mod prepare;
pub mod quarantine;
pub mod recipe;
pub mod registry;
pub mod revise;
pub mod rng;
pub mod shard;
pub mod source;
pub mod spool;
pub mod stats;
pub mod store;
#[cfg(feature = "tokenizers")]
pub mod tokenizer;
pub mod validate;
pub mod verify;
pub mod versions;
mod xml;

pub use error::{Error, Fault, Reason, Result};

/// Opens whatever is at a path for reading: our own dataset, someone else's Parquet folder, a raw folder of labeled media.
pub fn open(path: impl AsRef<std::path::Path>) -> Result<dataset::Dataset> {
    source::open_any(path)
}
