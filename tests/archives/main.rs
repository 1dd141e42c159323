//! Archives as sources: an archive is, byte for byte, the dataset of its files unpacked, and whatever stands in it that cannot be taken has a reason.

#[path = "../common/mod.rs"]
mod common;

mod hostile;
mod same;
mod webdataset;
