//! Trains a small convolutional network on photos, from Parquet shards, on the CPU.
//!
//! ```text
//! dsctl ingest shared/data/clothing clothing.ds
//! cargo run --release -p feedstock-burn --example train_images -- --train-dataset clothing.ds
//! ```
//!
//! Without `--train-dataset` it ingests the bundled fixtures into a temporary folder and takes a few steps, which shows that
//! all parts fit. The dataset needs the splits `train` and `test`, an image column `image` and a class column `label`.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use burn::data::dataloader::{DataLoader, DataLoaderIterator};
use burn::module::Module;
use burn::nn::conv::{Conv2d, Conv2dConfig};
use burn::nn::loss::CrossEntropyLossConfig;
use burn::nn::pool::{AdaptiveAvgPool2d, AdaptiveAvgPool2dConfig, MaxPool2d, MaxPool2dConfig};
use burn::nn::{BatchNorm, BatchNormConfig, Dropout, DropoutConfig, Linear, LinearConfig, PaddingConfig2d};
use burn::optim::{AdamWConfig, GradientsParams};
use burn::tensor::activation::relu;
use burn::tensor::{Bool, Device, Int, Tensor};
use feedstock::clock::Mark;
use feedstock::data::batch::Batch;
use feedstock::data::feature::Feature;
use feedstock::dataset::Dataset;
use feedstock::ingest::{Control, IngestOptions, ingest};
use feedstock::recipe::Recipe;
use feedstock_burn::{BurnLoader, TakeTensor, valid};
use serde_json::json;

type Failure = Box<dyn std::error::Error>;

const HELP: &str = "\
train_images [--train-dataset DIR | --fixtures] [options]

  --train-dataset DIR  a feedstock dataset with the splits train and test
  --fixtures           the bundled photos, a few steps (the default without a dataset)
  --epochs N           passes over the training photos (16)
  --steps N            end after so many steps, whatever the epochs
  --batch N            photos of a step (32)
  --image-size N       pixels of a side (64)
  --threads N          threads of the loader (1: the model has the other core)
  --seed N             of the order, the crops and the first weights (0)";

struct Args {
    dataset: Option<PathBuf>,
    epochs: u64,
    steps: u64,
    batch: usize,
    size: usize,
    threads: usize,
    seed: u64,
}

impl Args {
    fn parse() -> Result<Self, Failure> {
        let mut args = Args { dataset: None, epochs: 16, steps: u64::MAX, batch: 32, size: 64, threads: 1, seed: 0 };
        let (mut given, mut fixtures) = (std::env::args().skip(1), false);
        let (mut epochs, mut steps, mut batch) = (None, None, None);
        while let Some(flag) = given.next() {
            let mut value = || given.next().ok_or_else(|| format!("{flag} needs a value\n\n{HELP}"));
            match flag.as_str() {
                "--train-dataset" => args.dataset = Some(value()?.into()),
                "--fixtures" => fixtures = true,
                "--epochs" => epochs = Some(value()?.parse()?),
                "--steps" => steps = Some(value()?.parse()?),
                "--batch" => batch = Some(value()?.parse()?),
                "--image-size" => args.size = value()?.parse()?,
                "--threads" => args.threads = value()?.parse()?,
                "--seed" => args.seed = value()?.parse()?,
                "--help" | "-h" => {
                    println!("{HELP}");
                    std::process::exit(0);
                }
                other => return Err(format!("unknown argument {other}\n\n{HELP}").into()),
            }
        }
        if fixtures && args.dataset.is_some() {
            return Err("either --fixtures or --train-dataset".into());
        }
        if args.dataset.is_none() {
            (args.epochs, args.steps, args.batch) = (4, 8, 8);
        }
        args.epochs = epochs.unwrap_or(args.epochs);
        args.steps = steps.unwrap_or(args.steps);
        args.batch = batch.unwrap_or(args.batch);
        Ok(args)
    }
}

/// What a step takes.
#[derive(Debug)]
struct Photos {
    /// `[N, 3, H, W]`
    images: Tensor<4>,
    /// `[N]`
    labels: Tensor<1, Int>,
    /// `[N]`: false for padding.
    valid: Tensor<1, Bool>,
}

fn photos(mut batch: Batch, device: &Device) -> feedstock::Result<Photos> {
    Ok(Photos {
        valid: valid(&batch, device),
        images: batch.take_float("image", device)?,
        labels: batch.take_int("label", device)?,
    })
}

/// The two recipes: random views to learn from, the plain middle to be examined on.
fn recipes(args: &Args) -> Result<(Recipe, Recipe), Failure> {
    let normalize = json!({ "op": "normalize", "mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225] });
    let nchw = json!({ "op": "to", "layout": "nchw" });
    let run = json!({ "threads": args.threads, "prefetch": 3 });
    let train = json!({
        "split": "train", "seed": args.seed, "batch": args.batch, "tail": "drop", "run": run,
        "columns": { "label": {}, "image": { "ops": [
            { "op": "random_resized_crop", "size": args.size, "scale": [0.4, 1.0] },
            { "op": "horizontal_flip" },
            normalize, nchw
        ] } }
    });
    let test = json!({
        "split": "test", "order": "sequential", "batch": args.batch, "tail": "pad", "run": run,
        "columns": { "label": {}, "image": { "ops": [
            { "op": "resize", "size": args.size * 8 / 7 },
            { "op": "center_crop", "size": args.size },
            normalize, nchw
        ] } }
    });
    Ok((serde_json::from_value(train)?, serde_json::from_value(test)?))
}

/// Convolution, normalisation, non-linearity, and half the sides.
#[derive(Module, Debug)]
struct Block {
    conv: Conv2d,
    norm: BatchNorm,
    pool: MaxPool2d,
}

impl Block {
    fn new([from, to]: [usize; 2], stride: usize, device: &Device) -> Self {
        let side = if stride == 1 { 3 } else { 5 };
        let margin = side / 2;
        Block {
            conv: Conv2dConfig::new([from, to], [side, side])
                .with_stride([stride, stride])
                .with_padding(PaddingConfig2d::Explicit(margin, margin, margin, margin))
                .with_bias(false)
                .init(device),
            norm: BatchNormConfig::new(to).init(device),
            pool: MaxPool2dConfig::new([2, 2]).with_strides([2, 2]).init(),
        }
    }

    fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        // The non-linearity comes last: it keeps the order of numbers, so behind the pool it does the same to a quarter of them.
        relu(self.pool.forward(self.norm.forward(self.conv.forward(x))))
    }
}

/// Four blocks, the mean over what is left of the picture, and a linear layer.
#[derive(Module, Debug)]
struct Network {
    blocks: Vec<Block>,
    mean: AdaptiveAvgPool2d,
    dropout: Dropout,
    classes: Linear,
}

impl Network {
    fn new(classes: usize, device: &Device) -> Self {
        let widths = [3, 32, 64, 128, 192];
        let blocks =
            (0..4).map(|i| Block::new([widths[i], widths[i + 1]], if i == 0 { 2 } else { 1 }, device)).collect();
        Network {
            blocks,
            mean: AdaptiveAvgPool2dConfig::new([1, 1]).init(),
            dropout: DropoutConfig::new(0.2).init(),
            classes: LinearConfig::new(widths[4], classes).init(device),
        }
    }

    /// `[N, 3, H, W]` to `[N, classes]`.
    fn forward(&self, images: Tensor<4>) -> Tensor<2> {
        let mut x = images;
        for block in &self.blocks {
            x = block.forward(x);
        }
        let x = self.mean.forward(x).flatten::<2>(1, 3);
        self.classes.forward(self.dropout.forward(x))
    }
}

/// Up over the first twentieth of the training, then down along a cosine.
fn rate(step: u64, steps: u64) -> f64 {
    const MOST: f64 = 3e-3;
    let (step, steps) = (step as f64 + 1.0, steps.max(1) as f64);
    let warm = (steps / 20.0).max(1.0);
    if step < warm {
        return MOST * step / warm;
    }
    MOST * 0.5 * (1.0 + (std::f64::consts::PI * (step - warm) / (steps - warm).max(1.0)).cos())
}

/// The share of the test photos that the network names rightly, and the share of the commonest class among them.
fn examine(network: &Network, test: &BurnLoader<Photos>, classes: usize) -> Result<(f64, f64), Failure> {
    let network = network.valid();
    let (mut right, mut each) = (0, vec![0usize; classes]);
    for item in test.batches(0) {
        let Photos { images, labels, valid } = item?;
        let named = network.forward(images).argmax(1).flatten::<1>(0, 1);
        right += named.equal(labels.clone()).bool_and(valid).int().sum().into_scalar::<i64>();
        for label in labels.into_data().iter::<i64>() {
            // Padding has the label -1.
            if let Some(count) = usize::try_from(label).ok().and_then(|label| each.get_mut(label)) {
                *count += 1;
            }
        }
    }
    let all = each.iter().sum::<usize>().max(1) as f64;
    Ok((right as f64 / all, each.into_iter().max().unwrap_or(0) as f64 / all))
}

fn train(dataset: Dataset, args: &Args) -> Result<(), Failure> {
    let dataset = Arc::new(dataset);
    let Some(Feature::ClassLabel { names }) = dataset.schema().get("label") else {
        return Err("the dataset has no class column \"label\"".into());
    };
    let names = names.clone();
    println!("{}: {:?}, {} classes", dataset.root().display(), dataset.splits(), names.len());

    let device = Device::flex();
    device.seed(args.seed);
    let (train, test) = recipes(args)?;
    let loader = Arc::new(train.loader(dataset.clone())?);
    let train = BurnLoader::new(loader.clone(), device.clone().autodiff(), photos);
    let test = BurnLoader::new(Arc::new(test.loader(dataset)?.sharing(loader.crew())?), device.clone(), photos);
    let steps = (args.epochs * loader.len()).min(args.steps);
    if steps == 0 {
        return Err(format!("no step to take: {} photos, {} a batch", train.num_items(), args.batch).into());
    }

    let mut network = Network::new(names.len(), &device.clone().autodiff());
    println!("{} weights, {steps} steps of {} photos {}x{}", network.num_params(), args.batch, args.size, args.size);
    let loss = CrossEntropyLossConfig::new().with_smoothing(Some(0.1)).init(&device);
    let mut optimizer = AdamWConfig::new().with_weight_decay(0.02).init();

    let began = Mark::now();
    let mut step = 0;
    for epoch in 0..args.epochs {
        let mark = Mark::now();
        let mut items = train.batches(epoch);
        let (mut total, mut own) = (0.0, 0);
        while step < steps {
            let Some(item) = items.next() else { break };
            let Photos { images, labels, .. } = item?;
            let loss = loss.forward(network.forward(images), labels);
            total += f64::from(loss.clone().into_scalar::<f32>());
            let gradients = GradientsParams::from_grads(loss.backward(), &network);
            network = optimizer.step(rate(step, steps), network, gradients);
            (step, own) = (step + 1, own + 1);
        }
        if own == 0 {
            break;
        }
        let photos = items.progress().items_processed as f64;
        let seconds = mark.elapsed().as_secs_f64();
        println!(
            "epoch {epoch:2}: loss {:.4}, {photos:.0} photos in {seconds:.1} s ({:.0} a second)",
            total / f64::from(own),
            photos / seconds,
        );
    }
    let seconds = began.elapsed().as_secs_f64();
    let stats = loader.stats();
    println!(
        "loader: {} samples, {:.1} MB read, fetch {:.2} s, decode {:.2} s, augment {:.2} s, the training waited {:.2} s of {seconds:.1} s",
        stats.samples,
        stats.bytes as f64 / 1e6,
        stats.fetch_seconds,
        stats.decode_seconds,
        stats.augment_seconds,
        stats.wait_seconds,
    );
    let (right, commonest) = examine(&network, &test, names.len())?;
    println!(
        "test accuracy: {:.1} % of {} photos after {seconds:.0} s of training (chance: {:.1} %; the commonest class: {:.1} %)",
        100.0 * right,
        test.num_items(),
        100.0 / names.len() as f64,
        100.0 * commonest,
    );
    Ok(())
}

fn main() -> Result<(), Failure> {
    let args = Args::parse()?;
    if let Some(path) = &args.dataset {
        return train(Dataset::open(path)?, &args);
    }
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures/images");
    let folder = tempfile::tempdir()?;
    let target = folder.path().join("photos");
    let summary = ingest(&source, &target, &IngestOptions::default(), &Control::default())?;
    println!("ingested {} photos into {} shards", summary.rows, summary.shards);
    train(Dataset::open(&target)?, &args)
}
