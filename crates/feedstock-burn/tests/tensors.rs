//! Columns become tensors without a copy, and their memory returns to the pool.

use std::sync::Arc;

use burn::tensor::{DType, Device, Int, Tensor};
use feedstock::data::batch::{Batch, BatchPlace, ByteStrings, Column, Dense, Ragged};
use feedstock::data::buffer::Pool;
use feedstock::data::tensor::DType as Held;
use feedstock_burn::{TakeTensor, tensor_data, valid};

fn dense(pool: &Arc<Pool>, dtype: Held, shape: &[usize], bytes: &[u8]) -> (Column, usize) {
    let mut buffer = Pool::take(pool, bytes.len());
    buffer.bytes_mut().copy_from_slice(bytes);
    let address = buffer.bytes().as_ptr() as usize;
    let dense = Dense { buffer, shape: shape.to_vec(), dtype, lengths: Vec::new(), missing: Vec::new() };
    (Column::Dense(dense), address)
}

fn bytes<const N: usize, T: Copy>(values: &[T], to: impl Fn(T) -> [u8; N]) -> Vec<u8> {
    values.iter().flat_map(|v| to(*v)).collect()
}

fn batch(columns: Vec<(&str, Column)>) -> Batch {
    Batch {
        place: BatchPlace { epoch: 0, batch: 0 },
        columns: columns.into_iter().map(|(n, c)| (n.to_owned(), c)).collect(),
        valid: vec![true, true, false],
        ids: vec!["a".into(), "b".into(), String::new()],
    }
}

#[test]
fn every_type_keeps_its_address_on_the_cpu() {
    let device = Device::flex();
    let pool = Pool::new(8);
    let (f32s, at_f32) =
        dense(&pool, Held::F32, &[3, 2], &bytes(&[0f32, 1.5, -2.0, 3.0, f32::MIN, 5.0], f32::to_ne_bytes));
    let (f64s, at_f64) = dense(&pool, Held::F64, &[3], &bytes(&[0f64, 0.1, 1e300], f64::to_ne_bytes));
    let (i64s, at_i64) = dense(&pool, Held::I64, &[3], &bytes(&[4i64, -1, i64::MAX], i64::to_ne_bytes));
    let (u8s, at_u8) = dense(&pool, Held::U8, &[3, 1, 2], &[0, 1, 2, 253, 254, 255]);
    let (bools, at_bool) = dense(&pool, Held::Bool, &[3], &[1, 0, 1]);
    let mut batch = batch(vec![("a", f32s), ("b", f64s), ("c", i64s), ("d", u8s), ("e", bools)]);

    let data = batch.take_float::<2>("a", &device).unwrap().into_data();
    assert_eq!((data.as_bytes().as_ptr() as usize, data.dtype()), (at_f32, DType::F32));
    assert_eq!(data.as_slice::<f32>().unwrap(), [0f32, 1.5, -2.0, 3.0, f32::MIN, 5.0]);

    let data = batch.take_float::<1>("b", &device).unwrap().into_data();
    assert_eq!((data.as_bytes().as_ptr() as usize, data.dtype()), (at_f64, DType::F64));
    assert_eq!(data.as_slice::<f64>().unwrap(), [0f64, 0.1, 1e300]);

    let data = batch.take_int::<1>("c", &device).unwrap().into_data();
    assert_eq!((data.as_bytes().as_ptr() as usize, data.dtype()), (at_i64, DType::I64));
    assert_eq!(data.as_slice::<i64>().unwrap(), [4i64, -1, i64::MAX]);

    let tensor = batch.take_int::<3>("d", &device).unwrap();
    assert_eq!(tensor.dims(), [3, 1, 2]);
    let data = tensor.into_data();
    assert_eq!((data.as_bytes().as_ptr() as usize, data.dtype()), (at_u8, DType::U8));
    assert_eq!(data.as_slice::<u8>().unwrap(), [0, 1, 2, 253, 254, 255]);

    let data = batch.take_bool::<1>("e", &device).unwrap().into_data();
    assert_eq!(data.as_bytes().as_ptr() as usize, at_bool);
    assert_eq!(data.as_slice::<bool>().unwrap(), [true, false, true]);

    assert!(batch.columns.is_empty());
    assert_eq!(valid(&batch, &device).into_data().as_slice::<bool>().unwrap(), [true, true, false]);
}

#[test]
fn the_memory_returns_when_the_last_tensor_goes() {
    let device = Device::flex().autodiff();
    let pool = Pool::new(1);
    let values = bytes(&[1f32; 1024], f32::to_ne_bytes);
    let (column, address) = dense(&pool, Held::F32, &[16, 64], &values);
    let mut batch = batch(vec![("x", column)]);
    let tensor = batch.take_float::<2>("x", &device).unwrap();
    drop(batch);
    let view = tensor.clone().slice([0..1, 0..64]);
    drop(tensor);
    let other = Pool::take(&pool, values.len());
    assert_ne!(other.bytes().as_ptr() as usize, address, "a view still reads the memory");
    assert_eq!(view.clone().sum().into_scalar::<f32>(), 64.0);
    drop(view);
    assert_eq!(
        Pool::take(&pool, values.len()).bytes().as_ptr() as usize,
        address,
        "the next batch has the memory again"
    );
}

#[test]
fn a_result_written_in_place_keeps_the_memory_and_a_clone_is_not_touched() {
    let device = Device::flex();
    let pool = Pool::new(2);
    let (column, address) = dense(&pool, Held::F32, &[4], &bytes(&[1f32, 2.0, 3.0, 4.0], f32::to_ne_bytes));
    let mut batch = batch(vec![("x", column)]);
    let tensor = batch.take_float::<1>("x", &device).unwrap();
    let kept = tensor.clone();
    let doubled = tensor * 2.0;
    assert_eq!(kept.to_data().as_slice::<f32>().unwrap(), [1.0, 2.0, 3.0, 4.0]);
    assert_eq!(doubled.into_data().as_slice::<f32>().unwrap(), [2.0, 4.0, 6.0, 8.0]);
    let data = (kept + 1.0).into_data();
    assert_eq!(data.as_slice::<f32>().unwrap(), [2.0, 3.0, 4.0, 5.0]);
    assert_eq!(data.as_bytes().as_ptr() as usize, address, "the only owner is written in place");
    drop(data);
    assert_eq!(Pool::take(&pool, 16).bytes().as_ptr() as usize, address);
}

#[test]
fn a_column_shorter_than_its_buffer_and_an_empty_one_work() {
    let device = Device::flex();
    let pool = Pool::new(2);
    let (column, _) = dense(&pool, Held::F32, &[1, 2], &bytes(&[1f32, 2.0, 9.0, 9.0], f32::to_ne_bytes));
    let (empty, _) = dense(&pool, Held::I64, &[0], &[]);
    let mut batch = batch(vec![("x", column), ("none", empty)]);
    assert_eq!(batch.take_float::<2>("x", &device).unwrap().sum().into_scalar::<f32>(), 3.0);
    let none: Tensor<1, Int> = batch.take_int("none", &device).unwrap();
    assert_eq!(none.dims(), [0]);
}

#[test]
fn what_is_no_tensor_says_so_and_stays() {
    let device = Device::flex();
    let pool = Pool::new(1);
    let (image, _) = dense(&pool, Held::U8, &[3, 1], &[1, 2, 3]);
    let ragged =
        Ragged { values: vec![1], offsets: vec![0, 0, 0, 1], shapes: vec![vec![0], vec![0], vec![1]], dtype: Held::U8 };
    let text = ByteStrings { values: b"hi".to_vec(), offsets: vec![0, 2, 2, 2] };
    let mut batch =
        batch(vec![("image", image), ("points", Column::Ragged(ragged.clone())), ("caption", Column::Bytes(text))]);
    let says = |error: feedstock::Error, parts: &[&str]| {
        let text = error.to_string();
        assert!(parts.iter().all(|p| text.contains(p)), "{text}");
    };
    says(batch.take_float::<2>("image", &device).unwrap_err(), &["\"image\"", "u8", "float", "take_int", "\"to\""]);
    says(batch.take_bool::<2>("image", &device).unwrap_err(), &["\"image\"", "u8", "bool"]);
    says(batch.take_int::<4>("image", &device).unwrap_err(), &["\"image\"", "2 axes", "[3, 1]", "4 was asked"]);
    says(batch.take_float::<2>("points", &device).unwrap_err(), &["\"points\"", "ragged"]);
    says(batch.take_int::<1>("caption", &device).unwrap_err(), &["\"caption\"", "byte strings"]);
    says(batch.take_int::<1>("label", &device).unwrap_err(), &["\"label\"", "image, points, caption"]);
    says(tensor_data("points", Column::Ragged(ragged)).unwrap_err(), &["\"points\"", "ragged"]);
    assert_eq!(batch.columns.len(), 3);
    assert_eq!(batch.take_int::<2>("image", &device).unwrap().dims(), [3, 1]);
}
