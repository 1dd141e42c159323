//! Trains a small convolutional network on spoken digits, from log-mel spectrograms, with candle on the CPU.
//!
//! ```text
//! dsctl ingest shared/data/spoken-digits digits.ds --label-regex '^(?P<label>\d)_(?:(?P<split>theo)|[a-z]+)_\d+'
//! cargo run --release -p feedstock-candle --example train_digits -- --train-dataset digits.ds
//! ```
//!
//! Every split but `train` is examined at the end: here the recordings of a speaker that the network never heard. With the
//! pattern `^(?P<label>\d)_[a-z]+_(?:(?P<split>7)|\d)` it is the eighth recording of each digit by each speaker instead.
//!
//! Without `--train-dataset` it ingests the bundled fixtures into a temporary folder and takes a few steps, which shows that
//! all parts fit. The dataset needs an audio column `audio` and a class column `label`.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use candle_core::{DType, Device, Tensor};
use candle_nn::{AdamW, Conv2d, Conv2dConfig, Dropout, Linear, Module, Optimizer, ParamsAdamW, VarBuilder, VarMap};
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
train_digits [--train-dataset DIR] [options]

  --train-dataset DIR  a feedstock dataset with the split train and others (the bundled fixtures, a few steps)
  --epochs N           passes over the training recordings (40)
  --batch N            recordings of a step (32)
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
        let mut args = Args { dataset: None, epochs: 40, batch: 32, threads: 1, seed: 0 };
        let (mut given, mut epochs, mut batch) = (std::env::args().skip(1), None, None);
        while let Some(flag) = given.next() {
            let mut value = || given.next().ok_or_else(|| format!("{flag} needs a value\n\n{HELP}"));
            match flag.as_str() {
                "--train-dataset" => args.dataset = Some(value()?.into()),
                "--epochs" => epochs = Some(value()?.parse()?),
                "--batch" => batch = Some(value()?.parse()?),
                "--threads" => args.threads = value()?.parse()?,
                "--seed" => args.seed = value()?.parse()?,
                "--help" | "-h" => {
                    println!("{HELP}");
                    std::process::exit(0);
                }
                other => return Err(format!("unknown argument {other}\n\n{HELP}").into()),
            }
        }
        if args.dataset.is_none() {
            (args.epochs, args.batch) = (6, 8);
        }
        args.epochs = epochs.unwrap_or(args.epochs);
        args.batch = batch.unwrap_or(args.batch);
        Ok(args)
    }
}

/// Mel bands.
const MELS: usize = 40;

/// One second of 8 kHz as log-mel, `[40, 101]`: cut at random to learn from, at its beginning to be examined on.
fn recipe(args: &Args, split: &str, train: bool) -> Result<Recipe, Failure> {
    Ok(serde_json::from_value(json!({
        "split": split, "seed": args.seed, "batch": args.batch,
        "order": if train { "shuffle" } else { "sequential" }, "tail": if train { "drop" } else { "pad" },
        "run": { "threads": args.threads, "prefetch": 3 },
        "columns": { "label": {}, "audio": { "ops": [
            { "op": "resample", "rate": 8000 },
            { "op": "pad_trim", "seconds": 1.0, "mode": if train { "random" } else { "start" } },
            { "op": "log_mel", "n_fft": 256, "hop": 80, "n_mels": MELS, "floor": 1e-4 }
        ] } }
    }))?)
}

/// Three convolutions over bands and time, the mean over what is left of time, and a linear layer.
///
/// Convolutions of two dimensions on purpose: candle 0.10's `conv1d` computes its kernel's gradient wrongly on the CPU (a
/// transposed kernel is read by the original's offsets; mended upstream for `conv2d`), and a network of them does not learn.
struct Network {
    layers: Vec<Conv2d>,
    dropout: Dropout,
    classes: Linear,
}

impl Network {
    fn new(classes: usize, vars: VarBuilder<'_>) -> candle_core::Result<Self> {
        let widths = [1, 16, 32, 64];
        let same = Conv2dConfig { padding: 1, ..Conv2dConfig::default() };
        let layers = (0..3).map(|i| candle_nn::conv2d(widths[i], widths[i + 1], 3, same, vars.pp(format!("conv{i}"))));
        Ok(Network {
            layers: layers.collect::<Result<_, _>>()?,
            dropout: Dropout::new(0.3),
            classes: candle_nn::linear(widths[3] * (MELS / 8), classes, vars.pp("classes"))?,
        })
    }

    /// `[N, 40, T]` to `[N, classes]`.
    fn forward(&self, mel: &Tensor, train: bool) -> candle_core::Result<Tensor> {
        // Each recording's own loudness is taken off: one mean and one deviation over bands and time.
        let mel = mel.broadcast_sub(&mel.mean_keepdim((1, 2))?)?;
        let deviation = mel.sqr()?.mean_keepdim((1, 2))?.sqrt()?;
        let mut x = mel.broadcast_div(&(deviation + 1e-3)?)?.unsqueeze(1)?;
        for layer in &self.layers {
            x = layer.forward(&x)?.relu()?.max_pool2d(2)?;
        }
        let x = self.dropout.forward(&x.mean(3)?.flatten_from(1)?, train)?;
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

/// Up over the first twentieth of the training, then down along a cosine.
fn rate(step: u64, steps: u64) -> f64 {
    const MOST: f64 = 2e-3;
    let (step, steps) = (step as f64 + 1.0, steps.max(1) as f64);
    let warm = (steps / 20.0).max(1.0);
    if step < warm {
        return MOST * step / warm;
    }
    MOST * 0.5 * (1.0 + (std::f64::consts::PI * (step - warm) / (steps - warm).max(1.0)).cos())
}

/// How many recordings of a split the network names rightly, of how many.
fn examine(network: &Network, dataset: &Arc<Dataset>, args: &Args, split: &str) -> Result<(u64, u64), Failure> {
    let loader = recipe(args, split, false)?.loader(dataset.clone())?;
    let (mut right, mut all) = (0, 0);
    for batch in loader.epoch(0)? {
        let batch = batch?;
        let named = network.forward(&batch.tensor("audio", &Device::Cpu)?, false)?.argmax(1)?.to_vec1::<u32>()?;
        let labels = batch.get::<i64>("label")?;
        for ((named, label), valid) in named.iter().zip(labels.data).zip(&batch.valid) {
            right += u64::from(*valid && i64::from(*named) == *label);
            all += u64::from(*valid);
        }
    }
    Ok((right, all))
}

fn train(dataset: Dataset, args: &Args) -> Result<(), Failure> {
    let dataset = Arc::new(dataset);
    let Some(Feature::ClassLabel { names }) = dataset.schema().get("label") else {
        return Err("the dataset has no class column \"label\": ingest it with --label-regex".into());
    };
    println!("{}: {:?}, {} classes", dataset.root().display(), dataset.splits(), names.len());
    let loader = recipe(args, "train", true)?.loader(dataset.clone())?;
    let steps = args.epochs * loader.len();
    if steps == 0 {
        return Err(format!("no step to take: fewer recordings than a batch of {}", args.batch).into());
    }

    let vars = VarMap::new();
    let network = Network::new(names.len(), VarBuilder::from_varmap(&vars, DType::F32, &Device::Cpu))?;
    let weights = first_weights(&vars, args.seed)?;
    println!("{weights} weights, {steps} steps of {} recordings", args.batch);
    let mut optimizer = AdamW::new(vars.all_vars(), ParamsAdamW { weight_decay: 0.02, ..ParamsAdamW::default() })?;

    let began = Mark::now();
    let mut step = 0;
    for epoch in 0..args.epochs {
        let (mut total, mut own) = (0.0, 0);
        for batch in loader.epoch(epoch)? {
            let batch = batch?;
            let (mel, label) = (batch.tensor("audio", &Device::Cpu)?, batch.tensor("label", &Device::Cpu)?);
            // Its memory is the loader's again before the model begins.
            drop(batch);
            let loss = candle_nn::loss::cross_entropy(&network.forward(&mel, true)?, &label)?;
            optimizer.set_learning_rate(rate(step, steps));
            optimizer.backward_step(&loss)?;
            total += f64::from(loss.to_scalar::<f32>()?);
            (step, own) = (step + 1, own + 1);
        }
        println!("epoch {epoch:2}: loss {:.4}", total / f64::from(own.max(1)));
    }
    let (seconds, stats) = (began.elapsed().as_secs_f64(), loader.stats());
    println!(
        "loader: {} samples, decode {:.2} s, augment {:.2} s, the training waited {:.2} s of {seconds:.1} s",
        stats.samples, stats.decode_seconds, stats.augment_seconds, stats.wait_seconds,
    );
    for split in dataset.splits().keys() {
        let (right, all) = examine(&network, &dataset, args, split)?;
        let share = 100.0 * right as f64 / all.max(1) as f64;
        println!(
            "{split}: {right} of {all} recordings named rightly, {share:.1} % (chance: {:.1} %)",
            100.0 / names.len() as f64
        );
    }
    Ok(())
}

fn main() -> Result<(), Failure> {
    let args = Args::parse()?;
    if let Some(path) = &args.dataset {
        return train(Dataset::open(path)?, &args);
    }
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures/digits");
    let folder = tempfile::tempdir()?;
    let target = folder.path().join("digits");
    let mut options = IngestOptions::default();
    options.source.label_regex = Some(r"^(?P<label>\d)_[a-z]+_(?:(?P<split>1)|\d)".into());
    let summary = ingest(&source, &target, &options, &Control::default())?;
    println!("ingested {} recordings into {} shards", summary.rows, summary.shards);
    train(Dataset::open(&target)?, &args)
}
