//! Batches in the types of tensor libraries. Host tensors are the batch itself ([`crate::data::batch`]); every other library
//! is one file behind its feature, or a workspace member where the library is large (`crates/feedstock-burn`).

#[cfg(feature = "ndarray")]
pub mod ndarray;
