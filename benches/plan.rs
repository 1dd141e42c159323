//! Does a batch of the plan cost the same for 1e3 and 1e9 rows?
//!
//! Batches of 64 slots from all over an epoch, whose Index is in memory as far as it is looked at. What a fresh process pays once, and in memory, is told by the
//! bench `growth`.

mod common;

use std::hint::black_box;
use std::sync::Arc;

use common::sparse::{self, names};
use common::{SIZES, measures};
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use feedstock::plan::batching::{Forming, WINDOW};
use feedstock::plan::{
    At, Balance, Balanced, Batching, Bucket, Component, Exhausted, Fit, Long, Mixture, Order, Pack, Plan, Rows,
    Sequence, Steps, Window, World,
};
use feedstock::rng::Key;

const BATCH: u64 = 64;

/// Batches that are asked for in turn, evenly over the epoch.
const BATCHES: u64 = 16;

fn component(rows: Rows, order: Order) -> Component {
    // Groups of 100,000 bytes each a row, as the Index has them.
    Component { name: None, rows, balance: None, order, window: Window::default().of_rows(100_000) }
}

fn all(rows: u64) -> Rows {
    Rows::new(Some(0..rows))
}

/// Runs some batches of a sequence, one after the other and from the front again.
fn batches<'a>(sequence: &Sequence, mut look: impl FnMut(&Plan, At) + 'a) -> impl FnMut() + 'a {
    let plan = Plan::new(sequence, 3);
    let apart = (plan.places() / BATCH / BATCHES).max(1);
    let mut number = 0;
    move || {
        number = (number + 1) % BATCHES;
        look(&plan, At::batch(number * apart % (plan.places() / BATCH)));
    }
}

fn by_size(c: &mut Criterion) {
    let slots = |plan: &Plan, at: At| drop(black_box(plan.slots(at)));
    let mut group = c.benchmark_group("plan/batch");
    group.throughput(Throughput::Elements(BATCH));
    for rows in SIZES {
        for (name, order) in
            [("sequential", Order::Sequential), ("shuffle", Order::Shuffle), ("windowed", Order::Windowed)]
        {
            let sequence = sparse::sequence(component(all(rows), order), None, BATCH as usize);
            let mut run = batches(&sequence, slots);
            group.bench_function(BenchmarkId::new(name, rows), |b| b.iter(&mut run));
        }
        // Choosing looks at each row, which is no matter of a batch: a minute of it for 1e9 rows is spared.
        if rows <= if measures() { 100_000_000 } else { 1_000_000 } {
            let half = all(rows).choose(|row| row % 2 == 0);
            let sequence = sparse::sequence(component(half, Order::Shuffle), None, BATCH as usize);
            let mut run = batches(&sequence, slots);
            group.bench_function(BenchmarkId::new("where, half of the rows", rows), |b| b.iter(&mut run));
        }
    }
    group.finish();
}

/// With what the loader looks up for each slot, and what it needs at a start.
fn by_index(c: &mut Criterion) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let mut group = c.benchmark_group("plan/with the Index");
    for rows in SIZES {
        let path = folder.path().join(format!("index {rows}"));
        sparse::write(&path, rows);
        let index = sparse::open(&path);
        let sequence = sparse::sequence(component(Rows::new(index.ranges(Some("train"))), Order::Shuffle), None, 64);
        let mut run = batches(&sequence, |plan, at| {
            for slot in plan.slots(at) {
                for segment in &slot.segments {
                    let row = index.row(segment.row);
                    black_box((row.payload(0), plan.key(row.key(), segment)));
                }
            }
        });
        group.throughput(Throughput::Elements(BATCH));
        group.bench_function(BenchmarkId::new("a batch, its rows and keys", rows), |b| b.iter(&mut run));
        group.throughput(Throughput::Elements(1));
        group.bench_function(BenchmarkId::new("an epoch's first batch, resumed in the middle", rows), |b| {
            b.iter(|| {
                let plan = Arc::new(Plan::new(&sequence, 3));
                let middle = At::batch(plan.places() / BATCH / 2);
                let steps = Steps::new(plan.clone(), World::default(), middle);
                black_box(plan.slots(steps.batch(0)))
            })
        });
        // Balancing counts the classes of all rows.
        if rows <= if measures() { 10_000_000 } else { 100_000 } {
            let by = Balance { by: "label".into(), power: Some(1.0), ..Balance::default() };
            let balance = Balanced::new(&by, &all(rows), &index, 1, &names()).expect("classes");
            let component = Component { balance: Some(balance), ..component(all(rows), Order::Shuffle) };
            let mut run = batches(&sparse::sequence(component, None, 64), |plan, at| drop(black_box(plan.slots(at))));
            group.throughput(Throughput::Elements(BATCH));
            group.bench_function(BenchmarkId::new("balance of 10 classes", rows), |b| b.iter(&mut run));
        }
    }
    group.finish();
}

/// One window of samples, whose lengths are drawn as a text's are, becomes batches.
fn forming(c: &mut Criterion) {
    // Lengths from 1 to 2,048, most of them short.
    let length = |n: u64| (libm::pow(2.0, 11.0 * Key::new(n).stream().unit()) as u64).max(1);
    let lengths: Vec<u64> = (0..WINDOW).map(length).collect();
    let bucket = |bounds| Forming::Bucket(Bucket { by: "length".into(), bounds, padded: None });
    let pack = |fit| Forming::Pack(Pack { column: "tokens".into(), length: 2048, fit, long: Long::Split });
    let mut group = c.benchmark_group("plan/form a window");
    group.sample_size(20).throughput(Throughput::Elements(WINDOW));
    for (name, forming) in [
        ("bucket, sorted", bucket(Vec::new())),
        ("bucket, 8 bounds", bucket((0..8).map(|n| 8 << n).collect())),
        ("pack, greedy", pack(Fit::Greedy)),
        ("pack, best", pack(Fit::Best)),
    ] {
        let batching = Batching { forming, window: WINDOW, lengths: Vec::new() };
        group.bench_function(name, |b| b.iter(|| black_box(batching.formed(&lengths, 64, 1, Some(Key::new(3))))));
    }
    group.finish();
}

/// To make a mixture, and a batch of it.
fn mixing(c: &mut Criterion) {
    let mut group = c.benchmark_group("plan/mixture");
    for weights in [&[3.0, 1.0][..], &[0.7, 0.2, 0.1], &[0.333_333, 0.3, 0.2, 0.166_667]] {
        for rows in [1_000_000u64, 1_000_000_000] {
            let sources: Vec<_> =
                (0..).zip(weights).map(|(n, weight)| (format!("source {n}"), *weight, rows)).collect();
            let mixture = Mixture { exhausted: Exhausted::Drop, ..Mixture::default() };
            let make = || mixture.bind(&sources, BATCH).expect("weights");
            let named = |(name, ..): &(String, f64, u64)| Component {
                name: Some(name.clone()),
                ..component(all(rows), Order::Shuffle)
            };
            let components = sources.iter().map(named).collect();
            let one = sparse::sequence(component(all(rows), Order::Shuffle), None, BATCH as usize);
            let sequence = Sequence { components, mixing: Some(make()), ..one };
            let name = format!("{weights:?}");
            group.throughput(Throughput::Elements(1));
            group.bench_function(BenchmarkId::new(format!("make {name}"), rows), |b| b.iter(|| black_box(make())));
            let mut run = batches(&sequence, |plan, at| drop(black_box(plan.slots(at))));
            group.throughput(Throughput::Elements(BATCH));
            group.bench_function(BenchmarkId::new(format!("batch of {name}"), rows), |b| b.iter(&mut run));
        }
    }
    group.finish();
}

criterion_group!(name = benches; config = common::criterion(); targets = by_size, by_index, forming, mixing);
criterion_main!(benches);
