//! `dsctl bench`: what a recipe's batches cost on this machine, where that goes, and what would change it.

use std::path::Path;
use std::process::ExitCode;
use std::sync::atomic::Ordering;

use clap::Args;
use feedstock::Error;
use feedstock::clock::Mark;
use feedstock::data::info::{Format, Kind};
use feedstock::data::tensor::Extent;
use feedstock::loader::{Loader, OutColumn, StatsReport, Work};
use feedstock::recipe::Recipe;
use serde::Serialize;

use crate::chosen::Chosen;
use crate::{Done, Global, output};

/// Measure a recipe: samples a second, CPU time a sample by stage, memory, what holds it up and what to change.
#[derive(Debug, Args)]
pub(crate) struct Bench {
    #[command(flatten)]
    what: Chosen,
    /// Measure for about so many seconds, behind two batches that are not counted. Epochs follow one another.
    #[arg(long, value_name = "SECONDS", default_value_t = 5.0)]
    seconds: f64,
}

/// What a stage took.
#[derive(Debug, Serialize)]
struct Stage {
    name: &'static str,
    /// Of the time that threads worked.
    share: f64,
    cpu_ms_per_sample: Option<f64>,
}

#[derive(Debug, Serialize)]
struct Measured {
    samples: u64,
    batches: u64,
    seconds: f64,
    samples_per_second: f64,
    threads: usize,
    /// From the opened dataset to the first batch.
    first_batch_seconds: f64,
    cpu_ms_per_sample: Option<f64>,
    /// Reading and decoding alone: what these payloads cost with these decoders, whatever is done with them.
    floor_ms_per_sample: Option<f64>,
    stages: Vec<Stage>,
    read_bytes_per_sample: u64,
    peak_bytes: Option<u64>,
    peak_anonymous_bytes: Option<u64>,
    bottleneck: String,
    advice: Vec<String>,
}

/// What was seen of a column's payloads, in its first rows.
struct Seen {
    kind: Kind,
    rows: u64,
    jpegs: u64,
    /// JPEGs with a crop index, or too small for one.
    indexed: u64,
    /// Pictures whose shorter side is more than a fifth longer than that of what is made of them.
    larger: u64,
    /// Pictures that are stored without loss and compressed.
    lossless: u64,
    /// Whether a recipe's operations take a random part of each.
    crops: bool,
    /// Texts and recordings: whether something is made of them that could be stored.
    makes: bool,
}

/// The shorter side, in pixels, of pictures that may have no crop index.
const SMALL: u64 = 64;

/// Rows that are looked at for advice.
const ROWS: u64 = 1_000;

impl Bench {
    pub(crate) fn run(self, global: &Global) -> Done {
        if !(self.seconds > 0.0 && self.seconds <= 86_400.0) {
            return Err(Error::config(format!("--seconds {}", self.seconds), "a time above 0, at most a day"));
        }
        let mut recipe = self.what.recipe()?;
        recipe.run.threads = global.threads.unwrap_or(recipe.run.threads);
        let loader = self.what.loader(&recipe, global)?;
        let interrupted = output::interrupt()?;
        let begun = Mark::now();
        let mut epochs = loader.epochs(0..u64::MAX)?;
        let mut next = || match epochs.next() {
            Some(batch) => batch.map(|batch| batch.valid.iter().filter(|valid| **valid).count() as u64),
            None => Err(Error::config(
                "there is no batch to measure",
                "see --tail, --batch, --world and the choice of rows",
            )),
        };
        next()?;
        let first = begun.elapsed().as_secs_f64();
        next()?;
        let (started, cpu_before, before) = (Mark::now(), cpu(), loader.stats());
        let meter = output::Meter::new(global, "batches");
        let (mut batches, mut samples, mut anonymous) = (0, 0, None);
        while started.elapsed().as_secs_f64() < self.seconds && !interrupted.load(Ordering::Relaxed) {
            samples += next()?;
            batches += 1;
            anonymous = anonymous.max(status("RssAnon"));
            meter.count(batches, "batches");
        }
        meter.finish();
        let (seconds, cpu_after, after) = (started.elapsed().as_secs_f64(), cpu(), loader.stats());
        if interrupted.load(Ordering::Relaxed) {
            return Err(Error::Interrupted);
        }
        let cpu = cpu_after.zip(cpu_before).map(|(after, before)| (after - before) * 1e3 / samples.max(1) as f64);
        let (stages, stalled) = stages(&before, &after, cpu);
        let of = |name: &str| stages.iter().find(|stage| stage.name == name);
        let floor = ["fetch", "decode"].iter().map(|name| of(name)?.cpu_ms_per_sample).sum();
        let seen: Vec<Seen> = loader.columns().iter().filter_map(|column| seen(&loader, &recipe, column)).collect();
        let slowest = stages.iter().max_by(|a, b| a.share.total_cmp(&b.share));
        let bottleneck = match slowest {
            _ if stalled > 0.5 => "memory".to_owned(),
            Some(stage) => stage.name.to_owned(),
            None => "nothing".to_owned(),
        };
        let measured = Measured {
            samples,
            batches,
            seconds,
            samples_per_second: samples as f64 / seconds.max(1e-9),
            threads: loader.threads(),
            first_batch_seconds: first,
            cpu_ms_per_sample: cpu,
            floor_ms_per_sample: floor,
            stages,
            read_bytes_per_sample: (after.bytes - before.bytes) / (after.samples - before.samples).max(1),
            peak_bytes: status("VmHWM"),
            peak_anonymous_bytes: anonymous,
            advice: advice(&bottleneck, &seen, loader.threads()),
            bottleneck,
        };
        if global.json {
            output::json(&measured)?;
        } else {
            tell(&measured);
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// The stages that a thread goes through, each with its share of their time, and the share of it that they waited for room.
fn stages(before: &StatsReport, after: &StatsReport, cpu: Option<f64>) -> (Vec<Stage>, f64) {
    let spans = [
        ("open", after.open_seconds - before.open_seconds),
        ("fetch", after.fetch_seconds - before.fetch_seconds),
        ("decode", after.decode_seconds - before.decode_seconds),
        ("augment", after.augment_seconds - before.augment_seconds),
        ("close", after.close_seconds - before.close_seconds),
    ];
    let all: f64 = spans.iter().map(|(_, seconds)| seconds).sum::<f64>().max(1e-9);
    let stalled = after.stall_seconds - before.stall_seconds;
    let stage = |(name, seconds): (&'static str, f64)| {
        let share = seconds / all;
        Stage { name, share, cpu_ms_per_sample: cpu.map(|cpu| cpu * share) }
    };
    (spans.map(stage).into_iter().collect(), stalled / (stalled + all))
}

/// Looks at the payloads of a column that is decoded.
fn seen(loader: &Loader, recipe: &Recipe, column: &OutColumn) -> Option<Seen> {
    let OutColumn::Media { name, index: Some(at), work: Work::Chain(chain), .. } = column else { return None };
    let ops: Vec<&str> = recipe.columns.get(name).into_iter().flat_map(|c| &c.ops).map(|op| op.op.as_str()).collect();
    let kind = chain.kind();
    let made: &[&str] = match kind {
        Kind::Audio => &["resample", "log_mel"],
        Kind::Text => &["tokenize"],
        _ => &[],
    };
    let mut seen = Seen {
        kind,
        rows: 0,
        jpegs: 0,
        indexed: 0,
        larger: 0,
        lossless: 0,
        crops: ["random_crop", "random_resized_crop"].iter().any(|op| ops.contains(op)),
        makes: ops.iter().any(|op| made.contains(op)),
    };
    let dataset = loader.dataset();
    // Of [3, H, W] or [H, W, 3] the shorter side, where it is always the same.
    let sides = chain.output().into_iter().flat_map(|output| &output.shape);
    let side = sides.filter_map(|extent| if let Extent::Fixed(n) = extent { Some(*n as u64) } else { None });
    let side = side.filter(|n| *n > 3).min().filter(|_| kind == Kind::Image);
    for row in 0..dataset.rows().min(ROWS) {
        let Some(payload) = dataset.index().row(row).payload(*at) else { continue };
        let is_jpeg = payload.info.format == Format::Jpeg;
        seen.rows += 1;
        seen.jpegs += u64::from(is_jpeg);
        let shorter = u64::from(payload.info.width.min(payload.info.height));
        seen.indexed += u64::from(is_jpeg && (shorter < SMALL || dataset.apart(row, *at).is_some()));
        seen.larger += u64::from(side.is_some_and(|side| shorter * 5 > side * 6));
        seen.lossless += u64::from(matches!(payload.info.format, Format::Png | Format::Webp | Format::Tiff));
    }
    Some(seen)
}

/// What would make it faster: nothing that is so already.
fn advice(bottleneck: &str, seen: &[Seen], threads: usize) -> Vec<String> {
    let mut all = Vec::new();
    let cores = feedstock::parallel::threads(0);
    if threads < cores {
        all.push(format!("{threads} of {cores} cores work: --threads {cores}, or run.threads in the recipe"));
    }
    let any = |holds: fn(&Seen) -> bool| seen.iter().any(holds);
    match bottleneck {
        "decode" => {
            if any(|s| s.crops && s.jpegs * 2 > s.rows && s.indexed * 2 < s.jpegs) {
                all.push("crops of JPEGs: `dsctl ingest --prepare crop` (`transcode+crop` where they are progressive) into a new dataset decodes what lies in them, to the same pixels".into());
            }
            if any(|s| s.jpegs * 2 > s.rows && s.larger * 2 > s.rows) {
                all.push("pictures larger than what is made of them: `dsctl ingest --prepare resize:N,Q` stores them smaller, encoded anew".into());
            }
            if any(|s| s.lossless * 2 > s.rows) {
                all.push("PNG, WebP and TIFF are slow to decode: `--store raw` keeps pixels (larger), `--image-format jpeg` loses some".into());
            }
            if any(|s| s.kind == Kind::Video) {
                all.push("clips: `--video-fps` stores the frames that are wanted".into());
            }
            if any(|s| s.kind == Kind::Audio) {
                all.push("recordings: `--store raw`, or `--audio-codec wav`, is PCM".into());
            }
        }
        "augment" => {
            if any(|s| s.makes) {
                all.push(
                    "what is made alike in each epoch can be stored: `dsctl ingest --store-ops`, `--tokenize`".into(),
                );
            }
            if any(|s| s.kind == Kind::Image) {
                all.push(
                    "pictures as f16, bf16 or u8 (the operation `to`) are half or a quarter of the bytes to write"
                        .into(),
                );
            }
        }
        "fetch" => all.push("storage: a local disk, or `order = \"windowed\"`, which reads what lies together".into()),
        "memory" => all.push("threads wait for room: more `run.memory`, or fewer of them".into()),
        _ => {}
    }
    all
}

fn tell(measured: &Measured) {
    let ms = |ms: Option<f64>| ms.map_or_else(|| "?".to_owned(), |ms| format!("{ms:.3} ms"));
    let Measured { samples, seconds, threads, .. } = measured;
    output::line(format_args!(
        "{:.0} samples/s on {threads} threads ({samples} samples in {seconds:.2} s), {} CPU a sample",
        measured.samples_per_second,
        ms(measured.cpu_ms_per_sample)
    ));
    for Stage { name, share, cpu_ms_per_sample } in &measured.stages {
        output::line(format_args!("  {name:8} {:>5.1} %  {}", share * 100.0, ms(*cpu_ms_per_sample)));
    }
    output::line(format_args!(
        "  floor: {} (reading and decoding alone); {} read a sample",
        ms(measured.floor_ms_per_sample),
        output::bytes(measured.read_bytes_per_sample)
    ));
    let told = |bytes: Option<u64>| bytes.map_or_else(|| "?".to_owned(), output::bytes);
    output::line(format_args!(
        "  first batch after {:.3} s; memory at most {}, {} of it anonymous",
        measured.first_batch_seconds,
        told(measured.peak_bytes),
        told(measured.peak_anonymous_bytes)
    ));
    output::line(format_args!("  most of the time: {}", measured.bottleneck));
    for advice in &measured.advice {
        output::line(format_args!("  try: {advice}"));
    }
}

/// CPU seconds of this process, where the system has a `/proc` that tells; ticks of 10 ms.
fn cpu() -> Option<f64> {
    let text = std::fs::read_to_string("/proc/self/stat").ok()?;
    // Behind the name, which may have spaces: state, then eleven numbers, then user and system time (proc(5)).
    let mut fields = text.rsplit_once(')')?.1.split_whitespace().skip(11);
    let mut ticks = || fields.next()?.parse::<f64>().ok();
    Some((ticks()? + ticks()?) / 100.0)
}

/// A number of `/proc/self/status` in bytes.
fn status(field: &str) -> Option<u64> {
    let text = std::fs::read_to_string(Path::new("/proc/self/status")).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':'))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok().map(|kib| kib << 10)
}
