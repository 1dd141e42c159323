//! `ndarray`: borrowed views without a copy (`view[..]` is the batch's own memory, also of columns with room or alignment, by
//! their strides), and owned arrays with one.

use ndarray::{ArrayD, ArrayViewD, IxDyn, ShapeBuilder as _};

use crate::data::batch::Batch;
use crate::data::tensor::Element;
use crate::error::{Error, Result};

/// A dense column as a view of the batch's own memory, `[N, ...]`.
///
/// # Errors
/// As [`Batch::get`]: no such column, another element type, ragged or bytes.
pub fn view<'a, T: Element>(batch: &'a Batch, column: &str) -> Result<ArrayViewD<'a, T>> {
    let view = batch.get::<T>(column)?;
    let shape = IxDyn(view.shape);
    let made = match view.strides {
        [] => ArrayViewD::from_shape(shape, view.data),
        strides => ArrayViewD::from_shape(shape.strides(IxDyn(strides)), view.data),
    };
    made.map_err(|e| Error::library(format!("viewing column {column:?}"), e))
}

/// A dense column as an array of its own (one copy, row-major), for keeping it after the batch is dropped.
///
/// # Errors
/// As [`view`].
pub fn array<T: Element>(batch: &Batch, column: &str) -> Result<ArrayD<T>> {
    view(batch, column).map(|v| v.as_standard_layout().into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::batch::{BatchPlace, Column, Dense};
    use crate::data::buffer::Buffer;
    use crate::data::tensor::DType;

    #[test]
    fn a_view_is_the_batch_itself_and_an_array_is_not() {
        let batch_of = |buffer, shape: &[usize], strides: &[usize]| {
            let (shape, strides) = (shape.to_vec(), strides.to_vec());
            let dense = Dense { buffer, shape, strides, dtype: DType::F32, lengths: Vec::new(), missing: Vec::new() };
            Batch {
                place: BatchPlace { epoch: 0, window: 0, batch: 0 },
                columns: vec![("x".into(), Column::Dense(dense))],
                valid: vec![true; 2],
                ids: vec![String::new(); 2],
                substituted: Vec::new(),
            }
        };
        let mut buffer = Buffer::zeroed(24);
        buffer.bytes_mut().copy_from_slice(bytemuck::cast_slice(&[0f32, 1.0, 2.0, 3.0, 4.0, 5.0]));
        let address = buffer.bytes().as_ptr() as usize;
        let batch = batch_of(buffer, &[2, 3], &[]);
        let view = view::<f32>(&batch, "x").unwrap();
        assert_eq!((view.shape(), view[[1, 2]], view.as_ptr() as usize), ([2, 3].as_slice(), 5.0, address));
        assert_ne!(array::<f32>(&batch, "x").unwrap().as_ptr() as usize, address);
        assert!(super::view::<u8>(&batch, "x").is_err());

        // Two rows of three elements, each with room for four.
        let mut buffer = Buffer::zeroed(32);
        buffer.bytes_mut().copy_from_slice(bytemuck::cast_slice(&[0f32, 1.0, 2.0, 9.0, 3.0, 4.0, 5.0, 9.0]));
        let address = buffer.bytes().as_ptr() as usize;
        let batch = batch_of(buffer, &[2, 3], &[4, 1]);
        let view = super::view::<f32>(&batch, "x").unwrap();
        assert_eq!((view.strides(), view[[1, 0]], view.as_ptr() as usize), ([4, 1].as_slice(), 3.0, address));
        let array = array::<f32>(&batch, "x").unwrap();
        assert_eq!(array.as_slice().unwrap(), [0.0, 1.0, 2.0, 3.0, 4.0, 5.0]);
        let Column::Dense(dense) = batch.column("x").unwrap() else { panic!() };
        let packed = dense.packed();
        assert_eq!(bytemuck::pod_collect_to_vec::<u8, f32>(&packed), [0.0, 1.0, 2.0, 3.0, 4.0, 5.0]);
        let view = dense.view::<f32>().unwrap();
        assert_eq!([view.get(&[1, 2]), view.get(&[0, 3]), view.get(&[1])], [Some(5.0), None, None]);
    }
}
