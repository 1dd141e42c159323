//! Batches in the types of tensor libraries. Host tensors are the batch itself ([`crate::data::batch`]); every other library
//! is one file behind its feature, or a workspace member where the library is large (`crates/feedstock-burn`).

#[cfg(feature = "ndarray")]
pub mod ndarray;

/// One row of the backend table.
#[derive(Debug, Clone, Copy)]
pub struct BackendEntry {
    /// The library.
    pub name: &'static str,
    /// Where it is to be had.
    pub place: &'static str,
    /// Whether this build has it.
    pub here: bool,
    /// What becomes of a batch's memory.
    pub hand_over: &'static str,
}

/// The tensor libraries that batches go to.
pub const BACKENDS: &[BackendEntry] = &[
    BackendEntry {
        name: "host",
        place: "always there: feedstock::data::batch",
        here: true,
        hand_over: "the batch itself: aligned slices, nothing is copied",
    },
    BackendEntry {
        name: "ndarray",
        place: "feature \"ndarray\"",
        here: cfg!(feature = "ndarray"),
        hand_over: "views of the batch, nothing is copied, strides too",
    },
    BackendEntry {
        name: "burn",
        place: "workspace member feedstock-burn",
        here: false,
        hand_over: "burn's host tensors take the batch's memory, nothing is copied; onto a device, and of a column with strides, one copy",
    },
    BackendEntry {
        name: "candle",
        place: "workspace member feedstock-candle",
        here: false,
        hand_over: "one copy: candle's tensors own their memory",
    },
];
