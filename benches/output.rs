//! What does the last pass cost, by element type, order of the axes and mirroring?
//!
//! From stored pixels of 224 x 224, which are not decoded, into a batch's slot.

mod common;

use common::sample::{Sample, mean_and_std, pixels};
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use feedstock::data::info::Kind;
use serde_json::json;

fn passes(c: &mut Criterion) {
    let (mean, std) = mean_and_std();
    let payload = pixels(224, 224);
    let mut group = c.benchmark_group("output");
    group.throughput(Throughput::Elements(224 * 224));
    let normalize = json!({"op": "normalize", "mean": mean, "std": std});
    let quantized = json!({"scale": 0.02, "zero_point": 0});
    for dtype in ["u8", "f32", "f16", "bf16", "i8"] {
        for layout in ["nhwc", "nchw"] {
            for mirrored in [false, true] {
                let mut to = json!({"op": "to", "layout": layout});
                let mut ops = vec![json!({"op": "horizontal_flip", "p": f64::from(u8::from(mirrored))})];
                match dtype {
                    "u8" => {}
                    _ => {
                        ops.push(normalize.clone());
                        to["dtype"] = dtype.into();
                    }
                }
                if dtype == "i8" {
                    to["scale"] = quantized["scale"].clone();
                    to["zero_point"] = quantized["zero_point"].clone();
                }
                ops.push(to);
                let mut sample = Sample::new(Kind::Image, payload.clone(), ops.into());
                let id = BenchmarkId::new(format!("{dtype} {layout}"), if mirrored { "mirrored" } else { "as it is" });
                group.bench_function(id, |b| b.iter(|| sample.run()));
            }
        }
    }
    group.finish();
}

criterion_group!(name = benches; config = common::criterion(); targets = passes);
criterion_main!(benches);
