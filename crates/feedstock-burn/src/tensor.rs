//! Columns as tensors.

use burn::tensor::{Bool, BoolStore, DType, Device, Int, IntDType, Tensor, TensorData};
use feedstock::data::batch::{Batch, Column};
use feedstock::data::tensor::DType as Held;
use feedstock::{Error, Result};

use crate::memory;

/// Takes columns out of a [`Batch`] as tensors.
///
/// The tensors have the device's own types (`Device::settings`: f32 and i32 unless configured), so that they go together
/// with whatever burn computes there. **A column that has that type already is not copied on burn's flex backend (CPU)**: the
/// tensor *is* the batch's memory, and when the last tensor that shares it is dropped the memory returns to the loader's
/// pool, to be the memory of a later batch. What an operation writes in place stays in it, too. Other devices copy once, onto
/// the device, and the memory returns at once. So pictures that end in f32 are never copied; class labels (i64) are, 4 bytes
/// each, unless the device was configured with `IntDType::I64` before its first use. [`TakeTensor::take_data`] keeps the
/// column's type.
///
/// burn's tensors are row-major without gaps: a column whose recipe asks for room or alignment (`to` with pad_channels or
/// row_align) is copied once, and its memory returns to the pool at once.
///
/// `D` counts the axes with N: 4 for pictures `[N, C, H, W]`, 1 for labels `[N]`. The true lengths of padded axes stay in
/// [`Dense::lengths`](feedstock::data::batch::Dense::lengths): read them before the column is taken.
///
/// # Errors
/// [`Error::Config`] if there is no such column, if it is ragged or byte strings, if its elements are of another kind, if
/// `D` is not its number of axes, or if an integer is beyond the device's type. The column is then still in the batch.
pub trait TakeTensor {
    /// A column of f32 or f64.
    fn take_float<const D: usize>(&mut self, name: &str, device: &Device) -> Result<Tensor<D>>;

    /// A column of i64 or u8. A class that is unknown is -1.
    fn take_int<const D: usize>(&mut self, name: &str, device: &Device) -> Result<Tensor<D, Int>>;

    /// A column of truth values.
    fn take_bool<const D: usize>(&mut self, name: &str, device: &Device) -> Result<Tensor<D, Bool>>;

    /// A column of any type and shape as it is, without a copy (but of what is not row-major). A tensor of just that type is made by naming it:
    /// `Tensor::<4, Int>::from_data(batch.take_data("image")?, (&device, DType::U8))`.
    fn take_data(&mut self, name: &str) -> Result<TensorData>;
}

impl TakeTensor for Batch {
    fn take_float<const D: usize>(&mut self, name: &str, device: &Device) -> Result<Tensor<D>> {
        check(self, name, D, "a float tensor", DType::is_float)?;
        Ok(Tensor::from_data(self.take_data(name)?, device))
    }

    fn take_int<const D: usize>(&mut self, name: &str, device: &Device) -> Result<Tensor<D, Int>> {
        check(self, name, D, "an int tensor", |d| d.is_int() || d.is_uint())?;
        fits(self, name, device.settings().int_dtype)?;
        Ok(Tensor::from_data(self.take_data(name)?, device))
    }

    fn take_bool<const D: usize>(&mut self, name: &str, device: &Device) -> Result<Tensor<D, Bool>> {
        check(self, name, D, "a bool tensor", DType::is_bool)?;
        Ok(Tensor::from_data(self.take_data(name)?, device))
    }

    fn take_data(&mut self, name: &str) -> Result<TensorData> {
        let dtype = block(name, self.column(name)?)?;
        let Column::Dense(dense) = self.take(name)? else {
            return Err(Error::library("taking a column", "it changed its kind"));
        };
        let dense = dense.into_packed();
        let length = dense.shape.iter().product::<usize>() * dense.dtype.size();
        Ok(TensorData::from_bytes(memory::into_bytes(dense.buffer, length), dense.shape, dtype))
    }
}

/// `[N]`: false for the padding at an epoch's end. This one is copied: a batch holds it as a small `Vec`.
pub fn valid(batch: &Batch, device: &Device) -> Tensor<1, Bool> {
    let data = TensorData::new(batch.valid.clone(), [batch.len()]);
    Tensor::from_data(data, device)
}

/// burn's type of a column that is one block of equal samples; any other is refused.
fn block(name: &str, column: &Column) -> Result<DType> {
    let held = match column {
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
    Ok(match held {
        Held::U8 => DType::U8,
        Held::I8 => DType::I8,
        Held::I64 => DType::I64,
        Held::F16 => DType::F16,
        Held::BF16 => DType::BF16,
        Held::F32 => DType::F32,
        Held::F64 => DType::F64,
        Held::Bool => DType::Bool(BoolStore::Native),
        _ => {
            return Err(Error::config(
                format!("column {name:?} holds {}, which this version of feedstock-burn does not know", held.name()),
                "use the feedstock-burn of the same release as feedstock",
            ));
        }
    })
}

/// Refuses a column of another kind or another number of axes.
fn check(batch: &Batch, name: &str, axes: usize, what: &str, kind: impl Fn(&DType) -> bool) -> Result<()> {
    let column = batch.column(name)?;
    let dtype = block(name, column)?;
    let Column::Dense(dense) = column else { return Ok(()) };
    if !kind(&dtype) {
        return Err(Error::config(
            format!("column {name:?} holds {}: it does not make {what}", dense.dtype.name()),
            "take_float reads f16, bf16, f32 and f64, take_int reads i64, i8 and u8, take_bool reads bool; the operation \"to\" makes f32 of pixels",
        ));
    }
    if dense.shape.len() != axes {
        let shape = &dense.shape;
        return Err(Error::config(
            format!("column {name:?} has the {} axes {shape:?}, and a tensor of {axes} was asked for", shape.len()),
            "count N as an axis: pictures have 4, labels 1",
        ));
    }
    Ok(())
}

/// Refuses integers that would be cut down to the device's type: burn's conversion does not look.
fn fits(batch: &Batch, name: &str, wanted: IntDType) -> Result<()> {
    let (least, most) = match wanted {
        IntDType::I64 => return Ok(()),
        IntDType::I32 => (i64::from(i32::MIN), i64::from(i32::MAX)),
        IntDType::I16 => (i64::from(i16::MIN), i64::from(i16::MAX)),
        IntDType::I8 => (i64::from(i8::MIN), i64::from(i8::MAX)),
        IntDType::U64 => (0, i64::MAX),
        IntDType::U32 => (0, i64::from(u32::MAX)),
        IntDType::U16 => (0, i64::from(u16::MAX)),
        IntDType::U8 => (0, i64::from(u8::MAX)),
    };
    let outside = |value: &i64| !(least..=most).contains(value);
    let found = match batch.column(name)? {
        Column::Dense(dense) if dense.dtype == Held::I64 => batch.get::<i64>(name)?.data.iter().copied().find(outside),
        _ => batch.get::<u8>(name)?.data.iter().map(|v| i64::from(*v)).find(outside),
    };
    match found {
        None => Ok(()),
        Some(value) => Err(Error::config(
            format!("column {name:?} holds {value}, beyond the device's {wanted:?}"),
            "configure the device with IntDType::I64 before its first use, or take the column by take_data",
        )),
    }
}
