//! What does each look at a picture cost an ingest, and what does all the rest of taking it in?
//!
//! A photo of 400 x 533 in memory, by one thread; "taken in" is a dataset of 16 of them, from the first record to the committed version, fsync included. What an
//! ingest of a folder costs a file, in CPU time and by threads, is told by the bench `depths`.

mod common;

use std::hint::black_box;

use common::bytes_of;
use common::datasets::written;
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use feedstock::codec::image::jpeg::Jpeg;
use feedstock::codec::{self, Check, Codec, Limits, Scratch};
use feedstock::data::feature::{Feature, Schema};
use feedstock::data::info::Kind;
use feedstock::data::record::{Cell, payload_hash};
use feedstock::ingest::IngestOptions;

const ROWS: usize = 16;

const CHECKS: [(&str, Check); 3] = [("header", Check::Header), ("entropy", Check::Entropy), ("decode", Check::Decode)];

fn looks(c: &mut Criterion) {
    let (photo, limits, mut scratch) = (bytes_of("photo/shorts.jpg"), Limits::default(), Scratch::default());
    let mut group = c.benchmark_group("ingest/look");
    group.throughput(Throughput::Bytes(photo.len() as u64));
    group.bench_function("what it is", |b| {
        b.iter(|| black_box(codec::sniff(&photo, Kind::Image).expect("a JPEG").name()))
    });
    for (name, check) in CHECKS {
        group.bench_function(BenchmarkId::new("check", name), |b| {
            b.iter(|| black_box(Jpeg.check(&photo, check, &limits, &mut scratch).expect("a whole JPEG")))
        });
    }
    group.bench_function("crop index", |b| b.iter(|| black_box(Jpeg.seek_table(&photo, &limits).expect("a JPEG"))));
    group.bench_function("hash", |b| b.iter(|| black_box(payload_hash(&photo))));
    group.finish();
}

fn taken_in(c: &mut Criterion) {
    let photo = bytes_of("photo/shorts.jpg");
    let mut group = c.benchmark_group("ingest/taken in");
    group.sample_size(20).throughput(Throughput::Elements(ROWS as u64));
    for (name, check) in CHECKS {
        for crop in [false, true] {
            let mut options = IngestOptions { check, ..IngestOptions::default() };
            options.prepare.image.crop = crop;
            group.bench_function(BenchmarkId::new(if crop { "with a crop index" } else { "as they are" }, name), |b| {
                b.iter(|| {
                    let folder = tempfile::tempdir().expect("a temporary folder");
                    let schema = Schema::new([("image", Feature::Image)]);
                    written(&folder.path().join("dataset"), schema, ROWS, &options, |_| Cell::Media(photo.clone()));
                })
            });
        }
    }
    group.finish();
}

criterion_group!(name = benches; config = common::criterion(); targets = looks, taken_in);
criterion_main!(benches);
