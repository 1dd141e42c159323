//! Columns become tensors of their own type, with one copy and no more.

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use candle_core::{DType, Device};
use feedstock::data::batch::{Batch, BatchPlace, ByteStrings, Column, Dense, Ragged};
use feedstock::data::buffer::Pool;
use feedstock::data::tensor::DType as Held;
use feedstock_candle::ToTensor;

/// Adds up what is allocated.
struct Counting;

static ALLOCATED: AtomicUsize = AtomicUsize::new(0);

// SAFETY: every call is the system allocator's own; only a number is kept beside it.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATED.fetch_add(layout.size(), Ordering::Relaxed);
        // SAFETY: the caller's promises are handed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        // SAFETY: as above.
        unsafe { System.dealloc(at, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn dense(pool: &Arc<Pool>, dtype: Held, shape: &[usize], bytes: &[u8]) -> Column {
    let mut buffer = Pool::take(pool, bytes.len());
    buffer.bytes_mut().copy_from_slice(bytes);
    Column::Dense(Dense {
        buffer,
        shape: shape.to_vec(),
        strides: Vec::new(),
        dtype,
        lengths: Vec::new(),
        missing: Vec::new(),
    })
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

/// The numbers from 0 in rows, each with room for one more, in which there is NaN.
fn batch_of_rows(pool: &Arc<Pool>, rows: usize, width: usize) -> Batch {
    let mut values: Vec<f32> = Vec::new();
    for row in 0..rows {
        values.extend((0..width).map(|i| (row * width + i) as f32));
        values.push(f32::NAN);
    }
    let Column::Dense(mut dense) = dense(pool, Held::F32, &[rows, width], &bytes(&values, f32::to_ne_bytes)) else {
        unreachable!()
    };
    dense.strides = vec![width + 1, 1];
    batch(vec![("wide", Column::Dense(dense))])
}

/// One test: another one on another thread would be counted with it.
#[test]
fn every_type_is_copied_once() {
    let pool = Pool::new(16);
    let halves: Vec<u8> = bytes(&[0x3c00u16, 0xc000, 0x7bff], u16::to_ne_bytes);
    let brains: Vec<u8> = bytes(&[0x3f80u16, 0xc000, 0x7f7f], u16::to_ne_bytes);
    let long = bytes(&(0..3 * 50_000).map(|i| i as f32).collect::<Vec<_>>(), f32::to_ne_bytes);
    let ragged = Ragged {
        values: vec![0; 8],
        offsets: vec![0, 4, 8, 8],
        shapes: vec![vec![1], vec![1], vec![0]],
        dtype: Held::F32,
        missing: vec![false, false, true],
    };
    let strings = ByteStrings { values: vec![65], offsets: vec![0, 1, 1, 1], missing: vec![false; 3] };
    let columns = vec![
        ("u8", dense(&pool, Held::U8, &[3, 1, 2], &[0, 1, 2, 253, 254, 255])),
        ("bool", dense(&pool, Held::Bool, &[3], &[1, 0, 1])),
        ("i64", dense(&pool, Held::I64, &[3], &bytes(&[4i64, -1, i64::MAX], i64::to_ne_bytes))),
        ("f16", dense(&pool, Held::F16, &[3], &halves)),
        ("bf16", dense(&pool, Held::BF16, &[3], &brains)),
        ("f64", dense(&pool, Held::F64, &[3], &bytes(&[0f64, 0.1, 1e300], f64::to_ne_bytes))),
        ("f32", dense(&pool, Held::F32, &[3, 50_000], &long)),
        ("i8", dense(&pool, Held::I8, &[3], &[0x80, 0, 0x7f])),
        ("ragged", Column::Ragged(ragged)),
        ("bytes", Column::Bytes(strings)),
    ];
    let batch = batch(columns);
    let tensor = |name: &str| batch.tensor(name, &Device::Cpu).unwrap();
    assert_eq!((tensor("u8").dtype(), tensor("u8").dims()), (DType::U8, &[3, 1, 2][..]));
    assert_eq!(tensor("u8").flatten_all().unwrap().to_vec1::<u8>().unwrap(), [0, 1, 2, 253, 254, 255]);
    assert_eq!(tensor("bool").to_vec1::<u8>().unwrap(), [1, 0, 1]);
    assert_eq!(tensor("i64").to_vec1::<i64>().unwrap(), [4, -1, i64::MAX]);
    assert_eq!(tensor("f16").dtype(), DType::F16);
    let floats = |name: &str| tensor(name).to_dtype(DType::F32).unwrap().to_vec1::<f32>().unwrap();
    assert_eq!(floats("f16"), [1.0, -2.0, 65_504.0]);
    assert_eq!((tensor("bf16").dtype(), floats("bf16")), (DType::BF16, vec![1.0, -2.0, f32::from_bits(0x7f7f_0000)]));
    assert_eq!(tensor("f64").to_vec1::<f64>().unwrap(), [0.0, 0.1, 1e300]);
    assert_eq!(batch.valid_tensor(&Device::Cpu).unwrap().to_vec1::<u8>().unwrap(), [1, 1, 0]);

    for (name, part) in [("i8", "candle does not have"), ("ragged", "ragged"), ("bytes", "byte strings"), ("no", "no")]
    {
        let refusal = batch.tensor(name, &Device::Cpu).unwrap_err().to_string();
        assert!(refusal.contains(part) && refusal.contains("help: "), "{name}: {refusal}");
    }

    let before = ALLOCATED.load(Ordering::Relaxed);
    let floats = tensor("f32");
    let allocated = ALLOCATED.load(Ordering::Relaxed) - before;
    // The elements, and what a tensor keeps of itself.
    assert!((long.len()..long.len() + 4096).contains(&allocated), "{allocated} bytes for {}", long.len());
    // Rows with room for one element more: the copy leaves it out.
    let mut wide = batch_of_rows(&pool, 3, 50_000);
    let before = ALLOCATED.load(Ordering::Relaxed);
    let packed = wide.tensor("wide", &Device::Cpu).unwrap();
    let allocated = ALLOCATED.load(Ordering::Relaxed) - before;
    assert!((long.len()..long.len() + 4096).contains(&allocated), "{allocated} bytes for {}", long.len());
    wide.columns.clear();
    let difference = (packed - &floats).unwrap().abs().unwrap().sum_all().unwrap();
    assert_eq!(difference.to_scalar::<f32>().unwrap(), 0.0);
    drop(batch);
    assert_eq!(floats.get(2).unwrap().get(49_999).unwrap().to_scalar::<f32>().unwrap(), 149_999.0);
}
