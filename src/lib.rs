//! feedstock turns raw labeled media into Parquet datasets and streams them, deterministically, into training.
//!
//! See `src/README.md` for the map of the rooms.

pub mod augment;
pub mod clock;
pub mod codec;
pub mod data;
pub mod dataset;
pub mod error;
pub mod parallel;
pub mod registry;
pub mod rng;
pub mod shard;
pub mod store;
pub mod verify;

pub use error::{Error, Fault, Reason, Result};
