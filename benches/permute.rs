//! Does a step of the permutation cost the same for 1e3 and 1e9 rows?
//!
//! It is a power of four that is permuted, and places outside the dataset are walked on from: how many steps a place takes hangs on how far the rows are below
//! that power, not on how many they are. So the worst size of each order of magnitude, one row more than a power of four, stands beside the powers of ten.

mod common;

use std::hint::black_box;

use common::SIZES;
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use feedstock::plan::Permutation;
use feedstock::rng::Key;

/// Places that are asked for, all over the epoch.
const PLACES: u64 = 1_000;

fn steps(c: &mut Criterion) {
    let worst = [5, 7, 9, 11, 13, 15].map(|power| 4u64.pow(power) + 1);
    for (name, sizes) in [("permute/powers of ten", &SIZES[..]), ("permute/worst sizes", &worst)] {
        let mut group = c.benchmark_group(name);
        group.throughput(Throughput::Elements(PLACES));
        for rows in sizes {
            let permutation = Permutation::new(*rows, Key::new(7));
            let apart = rows / PLACES;
            group.bench_with_input(BenchmarkId::new("at", rows), &apart, |b, apart| {
                b.iter(|| (0..PLACES).map(|place| permutation.at(black_box(place * apart))).fold(0, u64::wrapping_add))
            });
            group.bench_with_input(BenchmarkId::new("inverse", rows), &apart, |b, apart| {
                b.iter(|| (0..PLACES).map(|row| permutation.inverse(black_box(row * apart))).fold(0, u64::wrapping_add))
            });
        }
        group.finish();
    }
}

criterion_group!(name = benches; config = common::criterion(); targets = steps);
criterion_main!(benches);
