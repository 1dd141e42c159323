//! What does a decoder take for a part of a payload, beside all of it?
//!
//! Of a photo of 400 x 533 the whole, a quarter and a sixteenth in its middle, as a JPEG (whose rows above the region are read, unless there is a crop index), as
//! PNG (which knows no regions) and as stored pixels; of a recording all and its second tenth.

mod common;

use std::hint::black_box;

use common::sample::InMemory;
use common::{bytes_of, sample};
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use feedstock::codec::image::jpeg::Jpeg;
use feedstock::codec::{self, Codec, Limits, Rect, Scratch, Want};
use feedstock::data::info::Kind;

/// In a picture of that size, so many parts of each side.
fn middle(width: u32, height: u32, part: u32) -> Rect {
    let (w, h) = (width / part, height / part);
    Rect { x: (width - w) / 2, y: (height - h) / 2, width: w, height: h }
}

fn pictures(c: &mut Criterion) {
    let (limits, mut scratch) = (Limits::default(), Scratch::default());
    let photo = bytes_of("photo/shorts.jpg");
    let table = Jpeg.seek_table(&photo, &limits).expect("a JPEG").expect("one that has a crop index");
    let mut group = c.benchmark_group("decode/picture");
    let payloads = [
        ("JPEG", photo.clone()),
        ("PNG of 61 x 47", bytes_of("images/train/pants/006_rgb.png")),
        ("stored pixels", sample::pixels(400, 533)),
    ];
    for (name, payload) in &payloads {
        let codec = codec::sniff(payload, Kind::Image).expect("a picture");
        let info = codec.probe(payload, &limits).expect("a header");
        for (part, of) in [(1, "all of it"), (2, "a quarter"), (4, "a sixteenth")] {
            let rect = middle(info.width, info.height, part);
            let want = if part == 1 { Want::Whole } else { Want::Image { region: Some(rect) } };
            // Of the pixels that are wanted, so that what is decoded beside them shows.
            group.throughput(Throughput::Elements(u64::from(rect.width * rect.height)));
            group.bench_function(BenchmarkId::new(*name, of), |b| {
                b.iter(|| {
                    black_box(codec.decode(payload, want, &limits, &mut scratch).expect("pixels"));
                })
            });
            if codec.name() == "jpeg" && part > 1 {
                group.bench_function(BenchmarkId::new("JPEG by its crop index", of), |b| {
                    b.iter(|| {
                        let source = InMemory(payload);
                        black_box(Jpeg.decode_parts(&table, &source, want, &limits, &mut scratch).expect("pixels"));
                    })
                });
            }
        }
    }
    group.finish();
}

#[cfg(feature = "audio")]
fn recordings(c: &mut Criterion) {
    let (limits, mut scratch) = (Limits::default(), Scratch::default());
    let mut group = c.benchmark_group("decode/recording");
    for (name, payload) in [
        ("WAV, 10 s at 16,000 Hz", sample::wav(16_000, 160_000)),
        ("FLAC fixture", bytes_of("audio/mono_16bit_44100.flac")),
        ("MP3 fixture", bytes_of("audio_formats/mp3_constant.mp3")),
    ] {
        let codec = codec::sniff(&payload, Kind::Audio).expect("a recording");
        let info = codec.probe(&payload, &limits).expect("a header");
        let tenth = info.count / 10;
        let part = Want::Audio { range: Some((tenth, 2 * tenth)) };
        for (of, want, samples) in [("all of it", Want::Whole, info.count), ("a tenth", part, tenth)] {
            group.throughput(Throughput::Elements(samples));
            group.bench_function(BenchmarkId::new(name, of), |b| {
                b.iter(|| {
                    black_box(codec.decode(&payload, want, &limits, &mut scratch).expect("samples"));
                })
            });
        }
    }
    group.finish();
}

#[cfg(not(feature = "audio"))]
fn recordings(_: &mut Criterion) {}

criterion_group!(name = benches; config = common::criterion(); targets = pictures, recordings);
criterion_main!(benches);
