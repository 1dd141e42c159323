//! What does a row cost to read from a shard and to write into one, by the size of its payload?
//!
//! Read as the loader does, by the Index; with the payload's hash compared; all and a part of it in the mapped file; and all rows by Parquet, as tools of others do. Everything is in the
//! page cache.

mod common;

use std::hint::black_box;

use common::datasets::Made;
use criterion::{BatchSize, BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use feedstock::shard::{ShardOptions, ShardRow, ShardWriter, read_rows};
use feedstock::store::Store;

const ROWS: usize = 64;

fn rows(c: &mut Criterion) {
    let mut group = c.benchmark_group("shard");
    for bytes in [256u32, 4 << 10, 64 << 10, 1 << 20] {
        let made = Made::tensors(bytes / 4, ROWS);
        let dataset = made.dataset();
        let mut out = Vec::new();
        let mut row = 0;
        let mut next = move || {
            row = (row + 29) % ROWS as u64;
            row
        };
        group.throughput(Throughput::Elements(1));
        group.bench_function(BenchmarkId::new("fetch", bytes), |b| {
            b.iter(|| black_box(dataset.fetch(next(), 0, &mut out).expect("a payload")))
        });
        group.bench_function(BenchmarkId::new("fetch and compare the hash", bytes), |b| {
            b.iter(|| black_box(dataset.fetch_checked(next(), 0, &mut out).expect("a payload")))
        });
        let mut viewer = dataset.viewer();
        group.bench_function(BenchmarkId::new("look at all of it, mapped", bytes), |b| {
            let look = |payload: &[u8]| payload.iter().map(|byte| u64::from(*byte)).sum::<u64>();
            b.iter(|| black_box(viewer.view(next(), 0, None, &mut out, look).expect("a payload")))
        });
        group.bench_function(BenchmarkId::new("look at 256 bytes of it, mapped", bytes), |b| {
            let look = |part: &[u8]| part.iter().map(|byte| u64::from(*byte)).sum::<u64>();
            b.iter(|| black_box(viewer.view(next(), 0, Some(0..256), &mut out, look).expect("a payload")))
        });
        group.throughput(Throughput::Elements(ROWS as u64));
        let path = dataset.root().join(&dataset.shards()[0].path);
        group.bench_function(BenchmarkId::new("read 64 by Parquet", bytes), |b| {
            b.iter(|| {
                let mut take = |row: ShardRow| {
                    black_box(row);
                    Ok(())
                };
                read_rows(&path, dataset.schema(), &mut take).expect("a shard");
            })
        });

        let mut all = Vec::new();
        let mut keep = |row| {
            all.push(row);
            Ok(())
        };
        read_rows(&path, dataset.schema(), &mut keep).expect("a shard");
        let folder = tempfile::tempdir().expect("a temporary folder");
        let store = Store::open(folder.path());
        group.sample_size(20);
        group.bench_function(BenchmarkId::new("write 64, fsync included", bytes), |b| {
            let write = |rows: Vec<ShardRow>| {
                let options = ShardOptions::default();
                let mut writer = ShardWriter::create(&store, dataset.schema(), "train", &options).expect("a shard");
                rows.into_iter().for_each(|row| writer.push(row).expect("a row"));
                writer.finish().expect("a shard")
            };
            b.iter_batched(|| all.clone(), write, BatchSize::PerIteration)
        });
        group.sample_size(100);
    }
    group.finish();
}

criterion_group!(name = benches; config = common::criterion(); targets = rows);
criterion_main!(benches);
