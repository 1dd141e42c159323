#![doc = include_str!("../README.md")]

mod loader;
mod memory;
mod tensor;

pub use loader::{Batches, BurnLoader};
pub use tensor::{TakeTensor, valid};
