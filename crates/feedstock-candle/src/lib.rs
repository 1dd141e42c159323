#![doc = include_str!("../README.md")]

use std::borrow::Cow;

use candle_core::{Device, Tensor, WithDType};
use feedstock::data::batch::{Batch, Column};
use feedstock::data::tensor::{DType, Element};
use feedstock::{Error, Result};

/// Columns of a batch as candle tensors.
///
/// candle's tensors on the CPU own a `Vec` of their elements, so the batch's pooled memory cannot become one: each tensor is
/// one copy, and the batch's memory goes back to the loader's pool when the batch is dropped. Columns with room or alignment
/// (`to` with pad_channels or row_align) are made row-major by that one copy.
pub trait ToTensor {
    /// A dense column as a tensor of its own type, `[N, ...]`: u8, i64, f16, bf16, f32 or f64 as they are, bool as u8.
    ///
    /// # Errors
    /// [`Error::Config`]: no such column, one that is ragged or of bytes, or i8, which candle does not have.
    /// [`Error::Library`]: the device refused it.
    fn tensor(&self, name: &str, device: &Device) -> Result<Tensor>;

    /// `[N]`, u8: 0 for the padding at an epoch's end, 1 otherwise.
    ///
    /// # Errors
    /// [`Error::Library`]: the device refused it.
    fn valid_tensor(&self, device: &Device) -> Result<Tensor>;
}

impl ToTensor for Batch {
    fn tensor(&self, name: &str, device: &Device) -> Result<Tensor> {
        let dtype = match self.column(name)? {
            Column::Dense(dense) => dense.dtype,
            Column::Ragged(_) => {
                return Err(Error::config(
                    format!("column {name:?} is ragged: its samples differ in shape, and a tensor has one"),
                    "end its chain with an operation that fixes the shape (resize, pad_trim, ...), or read Column::Ragged yourself",
                ));
            }
            Column::Bytes(_) => {
                return Err(Error::config(
                    format!("column {name:?} holds byte strings: they are no tensor"),
                    "give the column operations that decode it, or read Column::Bytes yourself",
                ));
            }
        };
        match dtype {
            DType::U8 | DType::Bool => copied::<u8>(self, name, device),
            DType::I64 => copied::<i64>(self, name, device),
            DType::F16 => copied::<half::f16>(self, name, device),
            DType::BF16 => copied::<half::bf16>(self, name, device),
            DType::F32 => copied::<f32>(self, name, device),
            DType::F64 => copied::<f64>(self, name, device),
            other => Err(Error::config(
                format!("column {name:?} holds {}, which candle does not have", other.name()),
                "read it with Batch::get, or let the operation \"to\" make u8 (with scale and zero_point) or floats of it",
            )),
        }
    }

    fn valid_tensor(&self, device: &Device) -> Result<Tensor> {
        let valid: Vec<u8> = self.valid.iter().map(|v| u8::from(*v)).collect();
        let count = valid.len();
        Tensor::from_vec(valid, count, device).map_err(|e| Error::library("making a tensor of what is valid", e))
    }
}

fn copied<T: Element + WithDType>(batch: &Batch, name: &str, device: &Device) -> Result<Tensor> {
    let view = batch.get::<T>(name)?;
    // A column with room or alignment is packed: that copy is the tensor.
    let made = match view.packed() {
        Cow::Owned(packed) => Tensor::from_vec(packed, view.shape, device),
        Cow::Borrowed(data) => Tensor::from_slice(data, view.shape, device),
    };
    made.map_err(|e| Error::library(format!("making a tensor of column {name:?}"), e))
}
