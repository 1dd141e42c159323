//! Columns become tensors without a copy, and their memory returns to the pool.

use std::sync::Arc;

use burn::tensor::{DType, Device, Int, Tensor, TensorData};
use feedstock::data::batch::{Batch, BatchPlace, ByteStrings, Column, Dense, Ragged};
use feedstock::data::buffer::Pool;
use feedstock::data::tensor::DType as Held;
use feedstock_burn::{TakeTensor, valid};

fn dense(pool: &Arc<Pool>, dtype: Held, shape: &[usize], bytes: &[u8]) -> (Column, usize) {
    let mut buffer = Pool::take(pool, bytes.len());
    buffer.bytes_mut().copy_from_slice(bytes);
    let address = buffer.bytes().as_ptr() as usize;
    let dense =
        Dense { buffer, shape: shape.to_vec(), strides: Vec::new(), dtype, lengths: Vec::new(), missing: Vec::new() };
    (Column::Dense(dense), address)
}

fn bytes<const N: usize, T: Copy>(values: &[T], to: impl Fn(T) -> [u8; N]) -> Vec<u8> {
    values.iter().flat_map(|v| to(*v)).collect()
}

fn batch(columns: Vec<(&str, Column)>) -> Batch {
    Batch {
        place: BatchPlace { epoch: 0, window: 0, batch: 0 },
        columns: columns.into_iter().map(|(n, c)| (n.to_owned(), c)).collect(),
        valid: vec![true, true, false],
        ids: vec!["a".into(), "b".into(), String::new()],
        substituted: Vec::new(),
    }
}

#[test]
fn every_type_keeps_its_address_on_the_cpu() {
    let device = Device::flex();
    let pool = Pool::new(16);
    let (f32s, at_f32) =
        dense(&pool, Held::F32, &[3, 2], &bytes(&[0f32, 1.5, -2.0, 3.0, f32::MIN, 5.0], f32::to_ne_bytes));
    let (f64s, at_f64) = dense(&pool, Held::F64, &[3], &bytes(&[0f64, 0.1, 1e300], f64::to_ne_bytes));
    let (i64s, at_i64) = dense(&pool, Held::I64, &[3], &bytes(&[4i64, -1, i64::MAX], i64::to_ne_bytes));
    let (u8s, at_u8) = dense(&pool, Held::U8, &[3, 1, 2], &[0, 1, 2, 253, 254, 255]);
    let (bools, at_bool) = dense(&pool, Held::Bool, &[3], &[1, 0, 1]);
    let (f16s, at_f16) = dense(&pool, Held::F16, &[3], &bytes(&[0x3c00u16, 0xc000, 0x7bff], u16::to_ne_bytes));
    let (bf16s, at_bf16) = dense(&pool, Held::BF16, &[3], &bytes(&[0x3f80u16, 0xc000, 0x7f7f], u16::to_ne_bytes));
    let (i8s, at_i8) = dense(&pool, Held::I8, &[3], &[0x80, 0, 0x7f]);
    let mut batch = batch(vec![
        ("a", f32s),
        ("b", f64s),
        ("c", i64s),
        ("d", u8s),
        ("e", bools),
        ("f", f16s),
        ("g", bf16s),
        ("h", i8s),
    ]);

    let as_it_is = |batch: &mut Batch, name: &str| -> TensorData {
        let data = batch.take_data(name).unwrap();
        let dtype = data.dtype();
        match data.shape().num_dims() {
            1 if dtype.is_float() => Tensor::<1>::from_data(data, (&device, dtype)).into_data(),
            1 => Tensor::<1, Int>::from_data(data, (&device, dtype)).into_data(),
            _ => Tensor::<3, Int>::from_data(data, (&device, dtype)).into_data(),
        }
    };

    let data = batch.take_float::<2>("a", &device).unwrap().into_data();
    assert_eq!((data.as_bytes().as_ptr() as usize, data.dtype()), (at_f32, DType::F32));
    assert_eq!(data.as_slice::<f32>().unwrap(), [0f32, 1.5, -2.0, 3.0, f32::MIN, 5.0]);

    let data = as_it_is(&mut batch, "b");
    assert_eq!((data.as_bytes().as_ptr() as usize, data.dtype()), (at_f64, DType::F64));
    assert_eq!(data.as_slice::<f64>().unwrap(), [0f64, 0.1, 1e300]);

    let data = as_it_is(&mut batch, "c");
    assert_eq!((data.as_bytes().as_ptr() as usize, data.dtype()), (at_i64, DType::I64));
    assert_eq!(data.as_slice::<i64>().unwrap(), [4i64, -1, i64::MAX]);

    let data = as_it_is(&mut batch, "d");
    assert_eq!((data.as_bytes().as_ptr() as usize, data.dtype()), (at_u8, DType::U8));
    assert_eq!(
        (data.as_slice::<u8>().unwrap(), data.shape().as_slice()),
        (&[0, 1, 2, 253, 254, 255][..], &[3, 1, 2][..])
    );

    let data = batch.take_bool::<1>("e", &device).unwrap().into_data();
    assert_eq!(data.as_bytes().as_ptr() as usize, at_bool);
    assert_eq!(data.as_slice::<bool>().unwrap(), [true, false, true]);

    for (name, at, dtype) in [("f", at_f16, DType::F16), ("g", at_bf16, DType::BF16), ("h", at_i8, DType::I8)] {
        let data = batch.take_data(name).unwrap();
        assert_eq!((data.as_bytes().as_ptr() as usize, data.dtype()), (at, dtype));
        let values: Vec<f32> = data.iter::<f32>().collect();
        let want = match name {
            "f" => [1.0, -2.0, 65_504.0],
            "g" => [1.0, -2.0, f32::from_bits(0x7f7f_0000)],
            _ => [-128.0, 0.0, 127.0],
        };
        assert_eq!(values, want);
    }

    assert!(batch.columns.is_empty());
    assert_eq!(valid(&batch, &device).into_data().as_slice::<bool>().unwrap(), [true, true, false]);
}

#[test]
fn tensors_have_the_devices_types() {
    let device = Device::flex();
    let pool = Pool::new(8);
    let (labels, _) = dense(&pool, Held::I64, &[3], &bytes(&[2i64, -1, 7], i64::to_ne_bytes));
    let (pixels, _) = dense(&pool, Held::U8, &[3], &[0, 128, 255]);
    let (values, _) = dense(&pool, Held::F64, &[3], &bytes(&[0.5f64, 1.0, -2.0], f64::to_ne_bytes));
    let (times, _) = dense(&pool, Held::I64, &[3], &bytes(&[0i64, 3_000_000_000, 1], i64::to_ne_bytes));
    let mut batch = batch(vec![("label", labels), ("pixel", pixels), ("value", values), ("time", times)]);
    let labels = batch.take_int::<1>("label", &device).unwrap();
    // What burn computes itself, as its metrics do: other types would not compare.
    let named = Tensor::<2>::from_data([[0.0, 0.0, 1.0], [1.0, 0.0, 0.0], [0.0, 1.0, 0.0]], &device).argmax(1);
    let right = named.flatten::<1>(0, 1).equal(labels.clone()).into_data();
    assert_eq!(right.as_slice::<bool>().unwrap(), [true, false, false]);
    assert_eq!(labels.into_data().iter::<i64>().collect::<Vec<_>>(), [2, -1, 7]);
    let pixels = batch.take_int::<1>("pixel", &device).unwrap();
    assert_eq!(pixels.into_data().iter::<i64>().collect::<Vec<_>>(), [0, 128, 255]);
    let values = batch.take_float::<1>("value", &device).unwrap() + Tensor::ones([3], &device);
    assert_eq!(values.into_data().as_slice::<f32>().unwrap(), [1.5, 2.0, -1.0]);
    let error = batch.take_int::<1>("time", &device).unwrap_err().to_string();
    assert!(
        error.contains("\"time\" holds 3000000000") && error.contains("I32") && error.contains("take_data"),
        "{error}"
    );
    assert_eq!(batch.take_data("time").unwrap().as_slice::<i64>().unwrap()[1], 3_000_000_000);
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
    let ragged = Ragged {
        values: vec![1],
        offsets: vec![0, 0, 0, 1],
        shapes: vec![vec![0], vec![0], vec![1]],
        dtype: Held::U8,
        missing: Vec::new(),
    };
    let text = ByteStrings { values: b"hi".to_vec(), offsets: vec![0, 2, 2, 2], missing: Vec::new() };
    let mut batch = batch(vec![("image", image), ("points", Column::Ragged(ragged)), ("caption", Column::Bytes(text))]);
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
    says(batch.take_data("points").unwrap_err(), &["\"points\"", "ragged"]);
    assert_eq!(batch.columns.len(), 3);
    assert_eq!(batch.take_int::<2>("image", &device).unwrap().dims(), [3, 1]);
}

#[test]
fn a_column_with_gaps_is_copied_once_and_its_memory_returns() {
    let device = Device::flex();
    let pool = Pool::new(1);
    let (column, address) =
        dense(&pool, Held::F32, &[3, 2], &bytes(&[0f32, 1.0, 9.0, 2.0, 3.0, 9.0, 4.0, 5.0, 9.0], f32::to_ne_bytes));
    let Column::Dense(mut dense) = column else { unreachable!() };
    dense.strides = vec![3, 1];
    let mut batch = batch(vec![("a", Column::Dense(dense))]);
    let data = batch.take_float::<2>("a", &device).unwrap().into_data();
    assert_eq!(data.as_slice::<f32>().unwrap(), [0f32, 1.0, 2.0, 3.0, 4.0, 5.0]);
    assert_ne!(data.as_bytes().as_ptr() as usize, address);
    assert_eq!(Pool::take(&pool, 36).bytes().as_ptr() as usize, address, "the column's memory is the pool's again");
}
