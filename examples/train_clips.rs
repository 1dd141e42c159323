//! Trains a small network to name short clips by their frames, with candle on the CPU.
//!
//! ```text
//! dsctl ingest shared/data/clips clips.ds --label-regex '^(?P<label>[a-z-]+)'
//! cargo run --release -p feedstock-candle --example train_clips -- --train-dataset clips.ds
//! ```
//!
//! Each step sees a few frames of each clip, cut at random. With one clip of each word, as there, nothing can be held back: the
//! example shows a loader of clips in a training loop, not a network that knows signs.
//!
//! With `--fixtures` (or nothing) it ingests the bundled clips into a temporary folder, and fails unless the loss falls to half.
//! The dataset needs a video column `video` and a class column `label`.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use candle_core::{DType, Device, Tensor};
use candle_nn::{AdamW, Conv2d, Conv2dConfig, Linear, Module, Optimizer, ParamsAdamW, VarBuilder, VarMap};
use feedstock::clock::Mark;
use feedstock::data::feature::Feature;
use feedstock::dataset::Dataset;
use feedstock::ingest::{Control, IngestOptions, ingest};
use feedstock::recipe::Recipe;
use feedstock::rng::Key;
use feedstock_candle::ToTensor;
use serde_json::json;

type Failure = Box<dyn std::error::Error>;

const HELP: &str = "\
train_clips [--train-dataset DIR | --fixtures] [options]

  --train-dataset DIR  a feedstock dataset of labeled clips
  --fixtures           the bundled clips (unless a dataset is given)
  --epochs N           passes over the clips (20)
  --batch N            clips of a step (3)
  --threads N          threads of the loader (1: the model has the other core)
  --seed N             of the order, the cuts and the first weights (0)";

struct Args {
    dataset: Option<PathBuf>,
    epochs: u64,
    batch: usize,
    threads: usize,
    seed: u64,
}

impl Args {
    fn parse() -> Result<Self, Failure> {
        let mut args = Args { dataset: None, epochs: 20, batch: 3, threads: 1, seed: 0 };
        let mut given = std::env::args().skip(1);
        while let Some(flag) = given.next() {
            let mut value = || given.next().ok_or_else(|| format!("{flag} needs a value\n\n{HELP}"));
            match flag.as_str() {
                "--train-dataset" => args.dataset = Some(value()?.into()),
                "--fixtures" => args.dataset = None,
                "--epochs" => args.epochs = value()?.parse()?,
                "--batch" => args.batch = value()?.parse()?,
                "--threads" => args.threads = value()?.parse()?,
                "--seed" => args.seed = value()?.parse()?,
                "--help" | "-h" => {
                    println!("{HELP}");
                    std::process::exit(0);
                }
                other => return Err(format!("unknown argument {other}\n\n{HELP}").into()),
            }
        }
        Ok(args)
    }
}

/// Frames of a clip, and pixels down and across.
const FRAMES: usize = 4;
const SIDE: usize = 48;

/// `[N, 4, 3, 48, 48]`, f32: frames spread over each clip, one region of all of them.
fn recipe(args: &Args) -> Result<Recipe, Failure> {
    Ok(serde_json::from_value(json!({
        "seed": args.seed, "batch": args.batch, "tail": "drop",
        "run": { "threads": args.threads, "prefetch": 3 },
        "columns": { "label": {}, "video": { "ops": [
            { "op": "sample_frames", "count": FRAMES },
            { "op": "random_resized_crop", "size": SIDE, "scale": [0.6, 1.0] },
            { "op": "normalize", "mean": [0.45, 0.45, 0.45], "std": [0.225, 0.225, 0.225] },
            { "op": "to", "layout": "nchw" }
        ] } }
    }))?)
}

/// Three convolutions over each frame, the mean over frames and places, and a linear layer.
struct Network {
    layers: Vec<Conv2d>,
    classes: Linear,
}

impl Network {
    fn new(classes: usize, vars: VarBuilder<'_>) -> candle_core::Result<Self> {
        let widths = [3, 8, 16, 32];
        let same = Conv2dConfig { padding: 1, ..Conv2dConfig::default() };
        let layers = (0..3).map(|i| candle_nn::conv2d(widths[i], widths[i + 1], 3, same, vars.pp(format!("conv{i}"))));
        Ok(Network {
            layers: layers.collect::<Result<_, _>>()?,
            classes: candle_nn::linear(widths[3], classes, vars.pp("classes"))?,
        })
    }

    /// `[N, T, 3, H, W]` to `[N, classes]`.
    fn forward(&self, clips: &Tensor) -> candle_core::Result<Tensor> {
        let (samples, frames, ..) = clips.dims5()?;
        let mut x = clips.flatten(0, 1)?;
        for layer in &self.layers {
            x = layer.forward(&x)?.relu()?.max_pool2d(2)?;
        }
        let width = x.dim(1)?;
        let x = x.mean(3)?.mean(2)?.reshape((samples, frames, width))?.mean(1)?;
        self.classes.forward(&x)
    }
}

/// First weights that follow from the seed (candle's own cannot be seeded on the CPU): uniform, with the deviation of He et al.
/// 2015, biases 0.
fn first_weights(vars: &VarMap, seed: u64) -> Result<usize, Failure> {
    let vars = vars.data().lock().map_err(|_| "the weights are locked")?;
    let mut count = 0;
    for (name, var) in vars.iter() {
        let inputs: usize = var.dims().iter().skip(1).product();
        let bound = if name.ends_with("bias") { 0.0 } else { (6.0 / inputs.max(1) as f64).sqrt() };
        let mut stream = Key::new(seed).named(name).stream();
        let values: Vec<f32> = (0..var.elem_count()).map(|_| stream.uniform(-bound, bound) as f32).collect();
        count += values.len();
        var.set(&Tensor::from_vec(values, var.dims(), &Device::Cpu)?)?;
    }
    Ok(count)
}

/// The mean loss of the first epoch and of the last.
fn train(dataset: Dataset, args: &Args) -> Result<(f64, f64), Failure> {
    let dataset = Arc::new(dataset);
    let Some(Feature::ClassLabel { names }) = dataset.schema().get("label") else {
        return Err("the dataset has no class column \"label\": ingest it with --label-regex".into());
    };
    println!("{}: {:?}, {} classes", dataset.root().display(), dataset.splits(), names.len());
    let loader = recipe(args)?.loader(dataset.clone())?;
    if args.epochs * loader.len() == 0 {
        return Err(format!("no step to take: fewer clips than a batch of {}", args.batch).into());
    }

    let vars = VarMap::new();
    let network = Network::new(names.len(), VarBuilder::from_varmap(&vars, DType::F32, &Device::Cpu))?;
    let weights = first_weights(&vars, args.seed)?;
    println!("{weights} weights, {} steps of {} clips, {FRAMES} frames each", args.epochs * loader.len(), args.batch);
    let mut optimizer = AdamW::new(vars.all_vars(), ParamsAdamW { lr: 4e-3, ..ParamsAdamW::default() })?;

    let began = Mark::now();
    let mut losses = Vec::new();
    for epoch in 0..args.epochs {
        let (mut total, mut right) = (0.0, 0);
        for batch in loader.epoch(epoch)? {
            let batch = batch?;
            let (clips, label) = (batch.tensor("video", &Device::Cpu)?, batch.tensor("label", &Device::Cpu)?);
            // Its memory is the loader's again before the model begins.
            drop(batch);
            let scores = network.forward(&clips)?;
            let loss = candle_nn::loss::cross_entropy(&scores, &label)?;
            optimizer.backward_step(&loss)?;
            total += f64::from(loss.to_scalar::<f32>()?);
            let named = scores.argmax(1)?.to_vec1::<u32>()?;
            right += named.iter().zip(label.to_vec1::<i64>()?).filter(|(n, l)| i64::from(**n) == *l).count();
        }
        let (steps, loss) = (loader.len(), total / loader.len() as f64);
        println!("epoch {epoch:2}: loss {loss:.4}, {right} of {} clips named rightly", steps * args.batch as u64);
        losses.push(loss);
    }
    let (seconds, stats) = (began.elapsed().as_secs_f64(), loader.stats());
    println!(
        "loader: {} samples, decode {:.2} s, augment {:.2} s, the training waited {:.2} s of {seconds:.1} s",
        stats.samples, stats.decode_seconds, stats.augment_seconds, stats.wait_seconds,
    );
    Ok((losses[0], losses[losses.len() - 1]))
}

fn main() -> Result<(), Failure> {
    let args = Args::parse()?;
    if let Some(path) = &args.dataset {
        let (first, last) = train(Dataset::open(path)?, &args)?;
        println!("the loss fell from {first:.4} to {last:.4}");
        return Ok(());
    }
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures/clips");
    let folder = tempfile::tempdir()?;
    let target = folder.path().join("clips");
    let summary = ingest(&source, &target, &IngestOptions::default(), &Control::default())?;
    println!("ingested {} clips into {} shards", summary.rows, summary.shards);
    let (first, last) = train(Dataset::open(&target)?, &args)?;
    println!("the loss fell from {first:.4} to {last:.4}");
    if last < first / 2.0 { Ok(()) } else { Err("the loss did not fall to half".into()) }
}
