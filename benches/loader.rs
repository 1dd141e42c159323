//! What does a sample cost as batches grow from 1 to 4,096, on one thread and on two?
//!
//! Stored tensors of 256 bytes, which nothing is done to: what is left is the loader's own work. And small photos that are decoded, cropped to 32 x 32 and made
//! f32, beside which that work is to be little. Batches are taken from a stream of epochs without end, so that nothing begins or ends meanwhile.

mod common;

use std::hint::black_box;
use std::time::Duration;

use common::datasets::Made;
use common::{bytes_of, measures};
use criterion::{BenchmarkId, Criterion, SamplingMode, Throughput, criterion_group, criterion_main};
use feedstock::ingest::IngestOptions;
use serde_json::json;

const BATCHES: [u64; 7] = [1, 4, 16, 64, 256, 1_024, 4_096];

fn batches(c: &mut Criterion, name: &str, made: &Made, columns: &serde_json::Value) {
    let mut group = c.benchmark_group(name);
    // A batch of 4,096 photos takes a second.
    group.sampling_mode(SamplingMode::Flat).sample_size(15).measurement_time(Duration::from_secs(3));
    for threads in [1, 2] {
        for batch in BATCHES {
            let run = json!({"threads": threads, "prefetch": 2});
            let recipe = json!({"batch": batch, "seed": 7, "tail": "drop", "run": run, "columns": columns});
            let loader = made.loader(recipe);
            let mut stream = loader.epochs(0..u64::MAX).expect("epochs");
            group.throughput(Throughput::Elements(batch));
            group.bench_function(BenchmarkId::new(format!("threads {threads}, batch"), batch), |b| {
                b.iter(|| {
                    let batch = stream.next().expect("no end").expect("a batch");
                    black_box(batch)
                })
            });
        }
    }
    group.finish();
}

fn tensors(c: &mut Criterion) {
    let made = Made::tensors(64, 4 * 4_096);
    batches(c, "loader/stored tensors", &made, &json!({"tensor": {}}));
}

fn crops(c: &mut Criterion) {
    let photo = bytes_of("images/train/pants/002_420.jpg");
    let made = Made::pictures(&photo, if measures() { 2 * 4_096 } else { 4_096 }, &IngestOptions::default());
    let ops = json!([
        {"op": "random_resized_crop", "size": 32},
        {"op": "horizontal_flip"},
        {"op": "normalize", "mean": [0.5, 0.5, 0.5], "std": [0.25, 0.25, 0.25]},
        {"op": "to", "dtype": "f32", "layout": "nchw"},
    ]);
    batches(c, "loader/crops of 32 x 32", &made, &json!({"image": {"ops": ops}}));
}

criterion_group!(name = benches; config = common::criterion(); targets = tensors, crops);
criterion_main!(benches);
