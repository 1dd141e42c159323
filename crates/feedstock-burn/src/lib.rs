//! feedstock's batches as [burn](https://burn.dev) tensors, without a copy, and its loader as burn's own `DataLoader`.
//!
//! Three steps from a dataset to a training step:
//!
//! 1. a [`Recipe`](feedstock::recipe::Recipe) says what a batch holds, and builds a [`Loader`](feedstock::loader::Loader);
//! 2. a *batcher*, any `Fn(Batch, &Device) -> feedstock::Result<O>`, makes of a batch what your model takes, mostly by
//!    [`TakeTensor`];
//! 3. [`BurnLoader`] joins the two. It implements burn's `DataLoader<O>`: hand it to `SupervisedTraining`, or iterate over
//!    it in a loop of your own.
//!
//! ```no_run
//! use std::sync::Arc;
//! use burn::data::dataloader::DataLoader;
//! use burn::tensor::{Device, Int, Tensor};
//! use feedstock::{data::batch::Batch, dataset::Dataset, recipe::Recipe};
//! use feedstock_burn::{BurnLoader, TakeTensor};
//!
//! let recipe: Recipe = serde_json::from_str(r#"{
//!     "split": "train", "batch": 32,
//!     "columns": {
//!         "image": { "ops": [
//!             { "op": "random_resized_crop", "size": 64 },
//!             { "op": "normalize", "mean": [0.5, 0.5, 0.5], "std": [0.25, 0.25, 0.25] },
//!             { "op": "to", "layout": "nchw" }
//!         ] },
//!         "label": {}
//!     }
//! }"#)?;
//! let loader = Arc::new(recipe.loader(Dataset::open("clothing")?)?);
//! let batcher = |mut batch: Batch, device: &Device| -> feedstock::Result<(Tensor<4>, Tensor<1, Int>)> {
//!     Ok((batch.take_float("image", device)?, batch.take_int("label", device)?))
//! };
//! let train = BurnLoader::new(loader, Device::default().autodiff(), batcher);
//! for item in train.iter() {
//!     let (images, labels) = item?;
//!     println!("{:?} {:?}", images.dims(), labels.dims()); // [32, 3, 64, 64] [32]
//! }
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod loader;
mod memory;
mod tensor;

pub use loader::{Batches, BurnLoader};
pub use tensor::{TakeTensor, tensor_data, valid};
