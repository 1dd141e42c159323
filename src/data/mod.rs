//! The nouns: what a feature, a record, a batch, an index row and a version are. No I/O but the map of an Index.

pub mod batch;
pub mod buffer;
pub mod changes;
pub mod excerpt;
pub mod feature;
pub mod index;
pub mod info;
pub mod label;
pub mod manifest;
pub mod objects;
pub mod orientation;
pub mod packed;
pub mod partition;
pub mod profile;
pub mod record;
pub mod storage;
pub mod tensor;

/// What the hand-off of buffers synchronises with; `crates/handoff-model` puts loom's in its place.
mod sync {
    pub(crate) use std::sync::{Arc, Mutex, PoisonError};
}
