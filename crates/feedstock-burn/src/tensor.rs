//! Columns as tensors.

use burn::tensor::{Bool, DType, Device, Int, Tensor, TensorData};
use feedstock::data::batch::{Batch, Column};
use feedstock::data::tensor::DType as Held;
use feedstock::{Error, Result};

use crate::memory;

/// Takes columns out of a [`Batch`] as tensors.
///
/// On burn's flex backend (CPU) a tensor *is* the batch's memory: nothing is copied, and when the last tensor that shares
/// it is dropped the memory returns to the loader's pool, to be the memory of a later batch. What an operation writes in
/// place stays in it, too. Other devices copy once, onto the device, and the memory returns at once.
///
/// A tensor has the column's own element type where the device can hold it; otherwise burn converts to the device's default
/// (wgpu has no 64-bit types). To compute with f64 columns beside f32 ones, `cast` them.
///
/// `D` counts the axes with N: 4 for pictures `[N, C, H, W]`, 1 for labels `[N]`. The true lengths of padded axes stay in
/// [`Dense::lengths`](feedstock::data::batch::Dense::lengths): read them before the column is taken.
///
/// # Errors
/// [`Error::Config`] if there is no such column, if it is ragged or byte strings, if its elements are of another kind, or
/// if `D` is not its number of axes. The column is then still in the batch.
pub trait TakeTensor {
    /// A column of f32 or f64.
    fn take_float<const D: usize>(&mut self, name: &str, device: &Device) -> Result<Tensor<D>>;

    /// A column of i64 or u8. A class that is unknown is -1.
    fn take_int<const D: usize>(&mut self, name: &str, device: &Device) -> Result<Tensor<D, Int>>;

    /// A column of truth values.
    fn take_bool<const D: usize>(&mut self, name: &str, device: &Device) -> Result<Tensor<D, Bool>>;
}

impl TakeTensor for Batch {
    fn take_float<const D: usize>(&mut self, name: &str, device: &Device) -> Result<Tensor<D>> {
        let data = take::<D>(self, name, "a float tensor", DType::is_float)?;
        let dtype = data.dtype();
        Ok(if device.supports_dtype(dtype) {
            Tensor::from_data(data, (device, dtype))
        } else {
            Tensor::from_data(data, device)
        })
    }

    fn take_int<const D: usize>(&mut self, name: &str, device: &Device) -> Result<Tensor<D, Int>> {
        let data = take::<D>(self, name, "an int tensor", |d| d.is_int() || d.is_uint())?;
        let dtype = data.dtype();
        Ok(if device.supports_dtype(dtype) {
            Tensor::from_data(data, (device, dtype))
        } else {
            Tensor::from_data(data, device)
        })
    }

    fn take_bool<const D: usize>(&mut self, name: &str, device: &Device) -> Result<Tensor<D, Bool>> {
        Ok(Tensor::from_data(take::<D>(self, name, "a bool tensor", DType::is_bool)?, device))
    }
}

/// `[N]`: false for the padding at an epoch's end. This one is copied: a batch holds it as a small `Vec`.
pub fn valid(batch: &Batch, device: &Device) -> Tensor<1, Bool> {
    let data = TensorData::new(batch.valid.clone(), [batch.len()]);
    Tensor::from_data(data, device)
}

/// A column's memory as burn's data, without a copy.
///
/// # Errors
/// [`Error::Config`] for ragged columns and byte strings, which have no shape `[N, ...]`.
pub fn tensor_data(name: &str, column: Column) -> Result<TensorData> {
    check(name, &column)?;
    match column {
        Column::Dense(dense) => {
            let dtype = dtype(dense.dtype).ok_or_else(|| unknown(name, dense.dtype))?;
            let length = dense.shape.iter().product::<usize>() * dense.dtype.size();
            Ok(TensorData::from_bytes(memory::into_bytes(dense.buffer, length), dense.shape, dtype))
        }
        Column::Ragged(_) | Column::Bytes(_) => Err(Error::library("making a tensor", "a column changed its kind")),
    }
}

/// Takes a column whose type and number of axes are what is wanted; leaves any other where it is.
fn take<const D: usize>(
    batch: &mut Batch,
    name: &str,
    what: &str,
    fits: impl Fn(&DType) -> bool,
) -> Result<TensorData> {
    let column = batch.column(name)?;
    check(name, column)?;
    if let Column::Dense(dense) = column {
        if !dtype(dense.dtype).is_some_and(|d| fits(&d)) {
            return Err(Error::config(
                format!("column {name:?} holds {}: it does not make {what}", dense.dtype.name()),
                "take_float reads f32 and f64, take_int reads i64 and u8, take_bool reads bool; the operation \"to\" makes f32 of pixels",
            ));
        }
        if dense.shape.len() != D {
            return Err(Error::config(
                format!(
                    "column {name:?} has the {} axes {:?}, and a tensor of {D} was asked for",
                    dense.shape.len(),
                    dense.shape
                ),
                "count N as an axis: pictures have 4, labels 1",
            ));
        }
    }
    tensor_data(name, batch.take(name)?)
}

/// Refuses columns that are not one block of equal samples.
fn check(name: &str, column: &Column) -> Result<()> {
    match column {
        Column::Dense(dense) => dtype(dense.dtype).map(|_| ()).ok_or_else(|| unknown(name, dense.dtype)),
        Column::Ragged(_) => Err(Error::config(
            format!("column {name:?} is ragged: its samples differ in shape, and a tensor has one"),
            "end its chain with an operation that fixes the shape (resize, pad_trim, ...), or read Column::Ragged yourself",
        )),
        Column::Bytes(_) => Err(Error::config(
            format!("column {name:?} holds byte strings: they are no tensor"),
            "give the column operations that decode it, or read Column::Bytes yourself",
        )),
    }
}

/// burn's name of a type.
fn dtype(held: Held) -> Option<DType> {
    Some(match held {
        Held::U8 => DType::U8,
        Held::I64 => DType::I64,
        Held::F32 => DType::F32,
        Held::F64 => DType::F64,
        Held::Bool => DType::Bool(burn::tensor::BoolStore::Native),
        _ => return None,
    })
}

fn unknown(name: &str, held: Held) -> Error {
    Error::config(
        format!("column {name:?} holds {}, which this version of feedstock-burn does not know", held.name()),
        "use the feedstock-burn of the same release as feedstock",
    )
}
