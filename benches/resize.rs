//! What does a resize cost, by the size that it begins with and the size that it ends with?
//!
//! From stored pixels, which are not decoded, into a batch's slot, to which they are copied as they are.

mod common;

use common::sample::{Sample, pixels};
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use feedstock::data::info::Kind;

fn sizes(c: &mut Criterion) {
    let mut group = c.benchmark_group("resize");
    for from in [(160, 120), (400, 533), (1_600, 1_200)] {
        let payload = pixels(from.0, from.1);
        for to in [32, 64, 224, 448] {
            let ops = serde_json::json!([{"op": "resize", "size": [to, to]}]);
            let mut sample = Sample::new(Kind::Image, payload.clone(), ops);
            // Of the pixels that go in: what is made smaller has each of them in some filter.
            group.throughput(Throughput::Elements(u64::from(from.0) * u64::from(from.1)));
            let id = BenchmarkId::new(format!("{} x {} to", from.0, from.1), to);
            group.bench_function(id, |b| b.iter(|| sample.run()));
        }
    }
    group.finish();
}

criterion_group!(name = benches; config = common::criterion(); targets = sizes);
criterion_main!(benches);
