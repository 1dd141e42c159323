//! What a source becomes on its way into a dataset, and out again: labels, parts of recordings, what is bad, what changes.

#[path = "../common/mod.rs"]
mod common;

#[cfg(feature = "audio")]
mod excerpts;
#[cfg(feature = "annotations")]
mod export;
#[cfg(feature = "annotations")]
mod objects;
mod quarantine;
mod schemas;
mod sync;
mod whole;
