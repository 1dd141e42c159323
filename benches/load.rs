//! What a sample costs to load, beside the decoder alone on the very same crops.
//!
//! `cargo bench --bench load` prints the tables of docs/measurements.md. Every repeat runs all contestants, one after
//! the other, over the same epoch; the order turns around from repeat to repeat. The page cache is warm and so are the pools.

mod common;

use std::path::Path;
use std::sync::Arc;

use common::sample::InMemory;
use common::{Cost, Runs, cost, head, machine, measures, memory, photos, row};
use feedstock::augment::Draw;
use feedstock::codec::image::jpeg::Jpeg;
use feedstock::codec::{Codec, Limits, Rect, Scratch, Want};
use feedstock::dataset::Dataset;
use feedstock::ingest::{Control, IngestOptions, ingest};
use feedstock::loader::{Loader, OutColumn, StatsReport, Work};
use feedstock::recipe::Recipe;
use libjpeg_turbo_rs::{Decoder, PixelFormat};

const REPEATS: u64 = 5;
/// The argument that makes this program load one epoch and say how its memory grew: dataset, recipe, threads follow.
const CHILD: &str = "--memory-of";

/// A load on one thread (behind it stands that on two) beside a decoder alone: their places among the contestants.
const RATIOS: [(usize, usize, &str); 5] = [
    (5, 0, "random resized crop 224 / region decode"),
    (7, 3, "resize 256 + center crop 224 / its region decode"),
    (7, 4, "resize 256 + center crop 224 / whole decode"),
    (9, 0, "random resized crop 224 with the crop index / region decode"),
    (11, 3, "resize 256 + center crop 224 with the crop index / its region decode"),
];

const NORMALIZE: &str = r#"{ "op": "normalize", "mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225] },
    { "op": "to", "dtype": "f32", "layout": "nchw" }"#;

fn recipe(name: &str, threads: usize) -> Recipe {
    let front = match name {
        "crop" => r#"{ "op": "random_resized_crop", "size": 224 }, { "op": "horizontal_flip" }"#,
        _ => r#"{ "op": "resize", "size": 256 }, { "op": "center_crop", "size": 224 }"#,
    };
    let ops = format!("[{front}, {NORMALIZE}]");
    let batch = if measures() { 64 } else { 8 };
    let text = format!(
        r#"{{ "batch": {batch}, "seed": 7, "tail": "drop", "run": {{ "threads": {threads}, "prefetch": 2 }},
            "columns": {{ "image": {{ "ops": {ops} }}, "label": {{}} }} }}"#
    );
    serde_json::from_str(&text).expect("a recipe")
}

fn loader(dataset: &Arc<Dataset>, name: &str, threads: usize) -> Loader {
    recipe(name, threads).loader(dataset.clone()).expect("a loader")
}

/// One epoch; returns its samples.
fn load(loader: &Loader, epoch: u64) -> usize {
    loader.epoch(epoch).expect("an epoch").map(|batch| batch.expect("a batch").len()).sum()
}

/// The crops that a loader's epoch draws: a payload each, and the region of it.
fn crops(loader: &Loader, epoch: u64) -> Vec<(u64, Rect)> {
    let Some(OutColumn::Media { index: Some(index), work: Work::Chain(chain), .. }) =
        loader.columns().iter().find(|c| c.name() == "image")
    else {
        panic!("a chain of images");
    };
    let plan = loader.plan(epoch);
    let places = (0..loader.len()).flat_map(|batch| (0..plan.batch_size()).map(move |slot| (batch, slot)));
    let crop = |(batch, slot)| {
        let segment = plan.slot(batch, slot).segments.remove(0);
        let row = loader.dataset().index().row(segment.row);
        let payload = row.payload(*index).expect("a payload");
        let drawn = chain.draw(&payload.info, plan.key(row.key(), &segment));
        let region = match (&drawn.draws[0], &drawn.draws[1]) {
            (Draw::Rect(rect), _) => *rect,
            // Of a crop of the resized picture: the pixels that it is made of, less what a filter adds around.
            (Draw::Numbers(size), Draw::Rect(rect)) => {
                let axis = |first: u32, length: u32, whole: u32, resized: f64| {
                    let scale = f64::from(whole) / resized;
                    let (first, end) = (f64::from(first) * scale, f64::from(first + length) * scale);
                    (first.floor() as u32, (end.ceil() as u32).min(whole) - first.floor() as u32)
                };
                let (x, width) = axis(rect.x, rect.width, payload.info.width, size[0]);
                let (y, height) = axis(rect.y, rect.height, payload.info.height, size[1]);
                Rect { x, y, width, height }
            }
            other => panic!("a crop: {other:?}"),
        };
        (segment.row, region)
    };
    places.map(crop).collect()
}

/// Every payload, in memory.
fn payloads(dataset: &Dataset, column: usize) -> Vec<Vec<u8>> {
    let fetch = |row| {
        let mut bytes = Vec::new();
        dataset.fetch(row, column, &mut bytes).expect("a payload");
        bytes
    };
    (0..dataset.rows()).map(fetch).collect()
}

/// The decoder alone: `set_crop_region` and `decode_image_into`, nothing else; `None`: the whole picture.
fn decode(bytes: &[u8], region: Option<Rect>, out: &mut Vec<u8>) -> usize {
    let mut decoder = Decoder::new(bytes).expect("a JPEG");
    decoder.set_output_format(PixelFormat::Rgb);
    if let Some(r) = region {
        decoder.set_crop_region(r.x as usize, r.y as usize, r.width as usize, r.height as usize);
    }
    let length = decoder.output_buffer_size().expect("a size");
    if out.len() < length {
        out.resize(length, 0);
    }
    decoder.decode_image_into(&mut out[..length]).expect("pixels").bytes_written
}

/// What one contestant cost over the repeats, a sample.
#[derive(Default)]
struct Contestant {
    name: &'static str,
    cpu_ms: Runs,
    system_ms: Runs,
    rate: Runs,
}

impl Contestant {
    fn named(name: &'static str) -> Self {
        Contestant { name, ..Contestant::default() }
    }

    fn add(&mut self, cost: Cost, samples: usize) {
        let samples = samples as f64;
        self.cpu_ms.push(cost.cpu() * 1e3 / samples);
        self.system_ms.push(cost.system * 1e3 / samples);
        self.rate.push(samples / cost.wall);
    }
}

/// The time that each stage took of one sample, in milliseconds of its thread.
fn stages(name: &str, report: &StatsReport) {
    let ms = |seconds: f64| format!("{:.3}", seconds * 1e3 / report.samples as f64);
    let parts = [report.fetch_seconds, report.decode_seconds, report.augment_seconds];
    let mut cells = vec![name.to_owned()];
    cells.extend(parts.map(ms));
    cells.push(format!("{:.1}", report.bytes as f64 / report.samples as f64 / 1024.0));
    row(&cells);
}

/// Loads an epoch in this process, which has done nothing else, and prints how its memory grew.
fn child(arguments: &[String]) {
    let [dataset, name, threads] = arguments else { panic!("dataset, recipe, threads") };
    let dataset = Arc::new(Dataset::open(dataset).expect("a dataset"));
    let before = (memory("VmRSS"), memory("RssAnon"));
    let loader = loader(&dataset, name, threads.parse().expect("a number"));
    let mut anonymous: f64 = 0.0;
    for batch in loader.epoch(0).expect("an epoch") {
        drop(batch.expect("a batch"));
        anonymous = anonymous.max(memory("RssAnon"));
    }
    println!("{:.1} {:.1}", memory("VmHWM") - before.0, anonymous - before.1);
}

/// Peak growth of resident memory, and of its anonymous part, in MiB, of a process that only loads.
fn growth(dataset: &Path, name: &str, threads: usize) -> [f64; 2] {
    let program = std::env::current_exe().expect("this program");
    let mut command = std::process::Command::new(program);
    command.args(std::env::args().skip(1)).arg(CHILD).arg(dataset).args([name, &threads.to_string()]);
    let out = command.output().expect("a child");
    let text = String::from_utf8(out.stdout).expect("text");
    let mut numbers = text.split_whitespace().map(|n| n.parse().expect("a number"));
    std::array::from_fn(|_| numbers.next().expect("two numbers"))
}

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    if let Some(at) = arguments.iter().position(|a| a == CHILD) {
        return child(&arguments[at + 1..]);
    }
    let machine = machine();
    let repeats = if measures() { REPEATS } else { 1 };
    let photos = photos(if measures() { 60 } else { 2 });
    let folder = tempfile::tempdir().expect("a temporary folder");
    let target = folder.path().join("dataset");
    let indexed = folder.path().join("indexed");
    let ingested = |target: &Path, options: &IngestOptions| {
        ingest(&photos.path, target, options, &Control::default()).expect("an ingest");
        Arc::new(Dataset::open(target).expect("a dataset"))
    };
    let dataset = ingested(&target, &IngestOptions::default());
    let mut options = IngestOptions::default();
    options.prepare.image.crop = true;
    let with_index = ingested(&indexed, &options);
    let column = dataset.schema().columns.iter().position(|c| c.name == "image").expect("a column of images");
    let payloads = payloads(&dataset, column);
    let tables: Vec<Option<Vec<u8>>> =
        payloads.iter().map(|bytes| Jpeg.seek_table(bytes, &Limits::default()).expect("a JPEG")).collect();

    let loaders: Vec<(usize, Loader)> =
        [("crop", &dataset), ("center", &dataset), ("crop", &with_index), ("center", &with_index)]
            .into_iter()
            .flat_map(|(name, dataset)| [1, 2].map(|threads| (threads, loader(dataset, name, threads))))
            .collect();
    let mut contestants = [
        Contestant::named("decoder alone: region decode of the same crops"),
        Contestant::named("feedstock's JPEG codec: the same regions"),
        Contestant::named("feedstock's JPEG codec: the same regions, by the crop index"),
        Contestant::named("decoder alone: region decode of the same center crops"),
        Contestant::named("decoder alone: whole decode"),
        Contestant::named("load: random resized crop 224, 1 thread"),
        Contestant::named("load: random resized crop 224, 2 threads"),
        Contestant::named("load: resize 256 + center crop 224, 1 thread"),
        Contestant::named("load: resize 256 + center crop 224, 2 threads"),
        Contestant::named("load: random resized crop 224 with the crop index, 1 thread"),
        Contestant::named("load: random resized crop 224 with the crop index, 2 threads"),
        Contestant::named("load: resize 256 + center crop 224 with the crop index, 1 thread"),
        Contestant::named("load: resize 256 + center crop 224 with the crop index, 2 threads"),
    ];
    const LOADS: usize = 5;
    let (mut out, mut scratch) = (Vec::new(), Scratch::default());
    let mut ratios: [[Runs; 2]; RATIOS.len()] = Default::default();
    let mut areas = [(0.0, 0.0); 2];
    let mut run = |contestant: usize, epoch: u64, [crops, center]: &[Vec<(u64, Rect)>; 2]| match contestant {
        0 | 3 | 4 => cost(|| {
            let crops = if contestant == 0 { crops } else { center };
            let region = |rect: Rect| (contestant != 4).then_some(rect);
            let decoded = |(at, rect): &(u64, Rect)| decode(&payloads[*at as usize], region(*rect), &mut out);
            crops.iter().map(decoded).filter(|bytes| *bytes > 0).count()
        }),
        1 | 2 => cost(|| {
            let limits = Limits::default();
            for (at, rect) in crops {
                let want = Want::Image { region: Some(*rect) };
                let payload = &payloads[*at as usize];
                match tables[*at as usize].as_ref().filter(|_| contestant == 2) {
                    Some(table) => Jpeg.decode_parts(table, &InMemory(payload), want, &limits, &mut scratch),
                    None => Jpeg.decode(payload, want, &limits, &mut scratch),
                }
                .expect("pixels");
            }
            crops.len()
        }),
        n => cost(|| load(&loaders[n - LOADS].1, epoch)),
    };
    for contestant in 0..contestants.len() {
        // Page cache, pools, scratches.
        run(contestant, 1_000, &[0, 2].map(|of| crops(&loaders[of].1, 1_000)));
    }
    let warm: Vec<StatsReport> = loaders.iter().map(|(_, l)| l.stats()).collect();
    for repeat in 0..repeats {
        let both = [0, 2].map(|of| crops(&loaders[of].1, repeat));
        let whole = |row| dataset.index().row(row).payload(column).map_or(0, |p| p.info.width * p.info.height);
        for (area, crops) in areas.iter_mut().zip(&both) {
            area.0 += crops.iter().map(|(_, r)| f64::from(r.width * r.height)).sum::<f64>();
            area.1 += crops.iter().map(|(row, _)| f64::from(whole(*row))).sum::<f64>();
        }
        let mut cpu = [0.0; 13];
        for i in 0..contestants.len() {
            let i = if repeat % 2 == 0 { i } else { contestants.len() - 1 - i };
            let (cost, samples) = run(i, repeat, &both);
            assert_eq!(samples, both[0].len(), "{}", contestants[i].name);
            contestants[i].add(cost, samples);
            cpu[i] = cost.cpu();
        }
        for threads in 0..2 {
            for ((load, floor, _), ratios) in RATIOS.iter().zip(&mut ratios) {
                ratios[threads].push(cpu[load + threads] / cpu[*floor]);
            }
        }
    }

    let samples = loaders[0].1.len() * loaders[0].1.plan(0).batch_size() as u64;
    println!("{machine}");
    println!(
        "{}: {} rows; {samples} samples an epoch, {repeats} epochs after one to warm up",
        photos.name,
        dataset.rows()
    );
    let [random, center] = areas.map(|(own, all)| own / all * 100.0);
    println!("random crops cover {random:.0}% of their pictures, center crops {center:.0}%");
    head(&["", "CPU ms a sample", "of these in the kernel", "samples/s"]);
    for c in &contestants {
        row(&[c.name, &c.cpu_ms.show(3), &c.system_ms.show(3), &c.rate.show(0)]);
    }
    head(&["CPU of a load / CPU of the decoder alone, the same repeat", "1 thread", "2 threads"]);
    for ((_, _, name), [one, two]) in RATIOS.iter().zip(&ratios) {
        row(&[*name, &one.show(2), &two.show(2)]);
    }

    head(&["wall ms of the threads a sample, all repeats", "fetch", "decode", "augment and write", "KiB read"]);
    for (((threads, loader), before), name) in loaders.iter().zip(&warm).zip([
        "random resized crop 224",
        "",
        "resize 256 + center crop 224",
        "",
        "random resized crop 224 with the crop index",
        "",
        "resize 256 + center crop 224 with the crop index",
        "",
    ]) {
        if *threads == 1 {
            let after = loader.stats();
            let report = StatsReport {
                samples: after.samples - before.samples,
                bytes: after.bytes - before.bytes,
                fetch_seconds: after.fetch_seconds - before.fetch_seconds,
                decode_seconds: after.decode_seconds - before.decode_seconds,
                augment_seconds: after.augment_seconds - before.augment_seconds,
                ..after
            };
            stages(name, &report);
        }
    }

    let batch = loaders[0].1.plan(0).batch_size();
    let mib = (batch * 3 * 224 * 224 * 4) as f64 / f64::from(1 << 20);
    println!(
        "\nPeak growth of memory over an open dataset, of processes that only load an epoch, prefetch 2, a batch of {mib:.1} MiB:"
    );
    head(&["MiB", "resident (VmHWM)", "anonymous (RssAnon)"]);
    for (threads, name) in [(1, "random resized crop 224, 1 thread"), (2, "random resized crop 224, 2 threads")] {
        let mut grown = [Runs::default(), Runs::default()];
        for _ in 0..repeats {
            let now = growth(&target, "crop", threads);
            grown.iter_mut().zip(now).for_each(|(runs, mib)| runs.push(mib));
        }
        row(&[name, &grown[0].show(0), &grown[1].show(0)]);
    }
}
