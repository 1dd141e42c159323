//! `ndarray`: borrowed views without a copy, and owned arrays with one.

use ndarray::{ArrayD, ArrayViewD};

use crate::data::batch::Batch;
use crate::data::tensor::Element;
use crate::error::{Error, Result};

/// A dense column as a view of the batch's own memory, `[N, ...]`.
///
/// # Errors
/// As [`Batch::get`]: no such column, another element type, ragged or bytes.
pub fn view<'a, T: Element>(batch: &'a Batch, column: &str) -> Result<ArrayViewD<'a, T>> {
    let view = batch.get::<T>(column)?;
    ArrayViewD::from_shape(view.shape, view.data).map_err(|e| Error::library(format!("viewing column {column:?}"), e))
}

/// A dense column as an array of its own (one copy), for keeping it after the batch is dropped.
///
/// # Errors
/// As [`view`].
pub fn array<T: Element>(batch: &Batch, column: &str) -> Result<ArrayD<T>> {
    view(batch, column).map(|v| v.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::batch::{BatchPlace, Column, Dense};
    use crate::data::buffer::Buffer;
    use crate::data::tensor::DType;

    #[test]
    fn a_view_is_the_batch_itself_and_an_array_is_not() {
        let mut buffer = Buffer::zeroed(24);
        buffer.bytes_mut().copy_from_slice(bytemuck::cast_slice(&[0f32, 1.0, 2.0, 3.0, 4.0, 5.0]));
        let address = buffer.bytes().as_ptr() as usize;
        let dense = Dense { buffer, shape: vec![2, 3], dtype: DType::F32, lengths: Vec::new(), missing: Vec::new() };
        let batch = Batch {
            place: BatchPlace { epoch: 0, batch: 0 },
            columns: vec![("x".into(), Column::Dense(dense))],
            valid: vec![true; 2],
            ids: vec![String::new(); 2],
        };
        let view = view::<f32>(&batch, "x").unwrap();
        assert_eq!((view.shape(), view[[1, 2]], view.as_ptr() as usize), ([2, 3].as_slice(), 5.0, address));
        assert_ne!(array::<f32>(&batch, "x").unwrap().as_ptr() as usize, address);
        assert!(super::view::<u8>(&batch, "x").is_err());
    }
}
