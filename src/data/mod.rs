//! The nouns: what a feature, a record, a batch, an index row and a version are. No I/O but the map of an Index.

pub mod batch;
pub mod buffer;
pub mod feature;
pub mod index;
pub mod info;
pub mod label;
pub mod manifest;
pub mod record;
pub mod tensor;
