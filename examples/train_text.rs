//! Trains a small transformer to go on with a text, from its bytes or from a tokenizer's ids, on the CPU.
//!
//! ```text
//! cargo run --release -p feedstock-burn --example train_text -- --text ../shared/data/shakespeare.txt
//! dsctl tokenizer train ../shared/data/shakespeare.txt tokenizer.json --vocab-size 2000
//! cargo run --release -p feedstock-burn --example train_text -- --text ../shared/data/shakespeare.txt --tokenizer tokenizer.json
//! ```
//!
//! The text is cut in two: the first nine tenths to learn from, the rest held out. Both are ingested as windows of a few
//! thousand characters, into a temporary folder; each step takes a stretch of each of its windows, drawn anew every epoch.
//! Without `--text` it reads an excerpt of Shakespeare among the bundled fixtures, takes a few steps, and fails if the
//! network did not learn.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use burn::module::Module;
use burn::nn::attention::generate_autoregressive_mask;
use burn::nn::loss::{CrossEntropyLoss, CrossEntropyLossConfig};
use burn::nn::transformer::{TransformerEncoder, TransformerEncoderConfig, TransformerEncoderInput};
use burn::nn::{Embedding, EmbeddingConfig, LayerNorm, LayerNormConfig, Linear, LinearConfig};
use burn::optim::{AdamWConfig, GradientsParams};
use burn::tensor::{Device, Int, Tensor, TensorData};
use feedstock::clock::Mark;
use feedstock::data::batch::Batch;
use feedstock::dataset::Dataset;
use feedstock::ingest::{Control, IngestOptions, ingest};
use feedstock::recipe::Recipe;
use feedstock::rng::Key;
use feedstock::source::{Cut, SourceOptions, SplitDirs, TextUnit, TextWindow};
use feedstock::tokenizer::Tokenizer;
use feedstock_burn::{BurnLoader, TakeTensor};
use serde_json::json;

type Failure = Box<dyn std::error::Error>;

const HELP: &str = "\
train_text [--text FILE | --fixtures] [options]

  --text FILE       a UTF-8 text
  --fixtures        the bundled excerpt, a few steps (the default without a text)
  --tokenizer FILE  a tokenizer.json; bytes are the tokens without one
  --steps N         steps to take (1500; 60 on the fixtures)
  --batch N         stretches of a step (24; 16 on the fixtures)
  --context N       tokens that the network sees (96; 48 on the fixtures)
  --width N         numbers for each token within the network (128; 64 on the fixtures)
  --threads N       threads of the loader (1: the model has the other core)
  --seed N          of the order, the stretches and the first weights (0)";

struct Args {
    text: Option<PathBuf>,
    tokenizer: Option<PathBuf>,
    steps: u64,
    batch: usize,
    context: usize,
    width: usize,
    threads: usize,
    seed: u64,
}

impl Args {
    fn parse() -> Result<Self, Failure> {
        let (mut given, mut fixtures) = (std::env::args().skip(1), false);
        let (mut text, mut tokenizer) = (None, None);
        let (mut steps, mut batch, mut context, mut width, mut threads, mut seed) = (None, None, None, None, 1, 0);
        while let Some(flag) = given.next() {
            let mut value = || given.next().ok_or_else(|| format!("{flag} needs a value\n\n{HELP}"));
            match flag.as_str() {
                "--text" => text = Some(PathBuf::from(value()?)),
                "--fixtures" => fixtures = true,
                "--tokenizer" => tokenizer = Some(PathBuf::from(value()?)),
                "--steps" => steps = Some(value()?.parse()?),
                "--batch" => batch = Some(value()?.parse()?),
                "--context" => context = Some(value()?.parse()?),
                "--width" => width = Some(value()?.parse()?),
                "--threads" => threads = value()?.parse()?,
                "--seed" => seed = value()?.parse()?,
                "--help" | "-h" => {
                    println!("{HELP}");
                    std::process::exit(0);
                }
                other => return Err(format!("unknown argument {other}\n\n{HELP}").into()),
            }
        }
        if fixtures && text.is_some() {
            return Err("either --fixtures or --text".into());
        }
        let small = text.is_none();
        Ok(Args {
            text,
            tokenizer,
            steps: steps.unwrap_or(if small { 60 } else { 1500 }),
            batch: batch.unwrap_or(if small { 16 } else { 24 }),
            context: context.unwrap_or(if small { 48 } else { 96 }),
            width: width.unwrap_or(if small { 64 } else { 128 }),
            threads,
            seed,
        })
    }
}

/// What the tokens are.
enum Tokens {
    Bytes,
    Of(Box<Tokenizer>, PathBuf),
}

impl Tokens {
    /// How many there are. Byte 0 stands in no text: it is the padding.
    fn count(&self) -> usize {
        match self {
            Tokens::Bytes => 256,
            Tokens::Of(tokenizer, _) => tokenizer.vocabulary(),
        }
    }

    fn pad(&self) -> Result<usize, Failure> {
        match self {
            Tokens::Bytes => Ok(0),
            Tokens::Of(tokenizer, _) => {
                Ok(tokenizer.pad_id().ok_or("the tokenizer has no token for padding")? as usize)
            }
        }
    }

    fn op(&self) -> serde_json::Value {
        match self {
            Tokens::Bytes => json!({ "op": "bytes_to_ids" }),
            Tokens::Of(_, file) => json!({ "op": "tokenize", "file": file, "add_special_tokens": false }),
        }
    }

    fn text(&self, ids: &[i64]) -> Result<String, Failure> {
        match self {
            Tokens::Bytes => {
                Ok(String::from_utf8_lossy(&ids.iter().map(|id| *id as u8).collect::<Vec<_>>()).into_owned())
            }
            Tokens::Of(tokenizer, _) => {
                let ids: Vec<u32> = ids.iter().map(|id| *id as u32).collect();
                Ok(tokenizer.decode(&ids, true).map_err(|fault| fault.to_string())?)
            }
        }
    }
}

/// The two recipes: random stretches to learn from, the first stretch of every window to be examined on. One token more
/// than the network sees: the last is only asked for.
fn recipes(args: &Args, tokens: &Tokens) -> Result<(Recipe, Recipe), Failure> {
    let run = json!({ "threads": args.threads, "prefetch": 3 });
    let stretch = |mode: &str| -> Result<serde_json::Value, Failure> {
        let window = json!({ "op": "token_window", "length": args.context + 1, "mode": mode, "pad_id": tokens.pad()? });
        Ok(json!({ "text": { "ops": [tokens.op(), window] } }))
    };
    let train = json!({
        "split": "train", "seed": args.seed, "batch": args.batch, "tail": "repeat", "run": run, "columns": stretch("random")?
    });
    let test = json!({
        "split": "test", "order": "sequential", "batch": args.batch, "tail": "pad", "run": run, "columns": stretch("start")?
    });
    Ok((serde_json::from_value(train)?, serde_json::from_value(test)?))
}

/// Cuts a text in two and ingests both parts as windows.
fn dataset(text: &Path, window: u64, folder: &Path) -> Result<Dataset, Failure> {
    let whole = std::fs::read_to_string(text).map_err(|e| format!("{}: {e}", text.display()))?;
    let cut = whole.floor_char_boundary(whole.len() / 10 * 9);
    let cut = whole[cut..].find('\n').map_or(cut, |line| cut + line + 1);
    for (split, part) in [("train", &whole[..cut]), ("test", &whole[cut..])] {
        let folder = folder.join("text").join(split);
        std::fs::create_dir_all(&folder)?;
        std::fs::write(folder.join("part.txt"), part)?;
    }
    let windows = TextWindow { length: window, cut: Cut::Space, ..TextWindow::default() };
    let source = SourceOptions {
        text_unit: TextUnit::Window,
        text_window: Some(windows),
        split_dirs: SplitDirs::Yes,
        ..SourceOptions::default()
    };
    let options = IngestOptions { format: Some("text".into()), source, ..IngestOptions::default() };
    let target = folder.join("dataset");
    let summary = ingest(&folder.join("text"), &target, &options, &Control::default())?;
    println!("{}: {:?} windows of up to {window} characters", text.display(), summary.rows_by_split);
    Ok(Dataset::open(&target)?)
}

/// A transformer that sees nothing of what comes.
#[derive(Module, Debug)]
struct Network {
    tokens: Embedding,
    places: Embedding,
    blocks: TransformerEncoder,
    norm: LayerNorm,
    next: Linear,
}

impl Network {
    fn new(tokens: usize, args: &Args, device: &Device) -> Self {
        let width = args.width;
        Network {
            tokens: EmbeddingConfig::new(tokens, width).init(device),
            places: EmbeddingConfig::new(args.context, width).init(device),
            blocks: TransformerEncoderConfig::new(width, 4 * width, 4, 2)
                .with_norm_first(true)
                .with_dropout(0.0)
                .init(device),
            norm: LayerNormConfig::new(width).init(device),
            next: LinearConfig::new(width, tokens).init(device),
        }
    }

    /// `[N, T]` ids to `[N, T, tokens]`: what comes behind each.
    fn forward(&self, ids: Tensor<2, Int>) -> Tensor<3> {
        let ([n, t], device) = (ids.dims(), ids.device());
        let places = Tensor::arange(0..t as i64, &device).unsqueeze::<2>().expand([n, t]);
        let x = self.tokens.forward(ids) + self.places.forward(places);
        let mask = generate_autoregressive_mask(n, t, &device);
        let x = self.blocks.forward(TransformerEncoderInput::new(x).mask_attn(mask));
        self.next.forward(self.norm.forward(x))
    }

    /// The mean cross entropy of each token given those before it, in nats. Padding is not asked for.
    fn loss(&self, ids: Tensor<2, Int>, loss: &CrossEntropyLoss) -> Tensor<1> {
        let [n, t] = ids.dims();
        let made = self.forward(ids.clone().slice([0..n, 0..t - 1]));
        let tokens = made.dims()[2];
        loss.forward(made.reshape([n * (t - 1), tokens]), ids.slice([0..n, 1..t]).reshape([n * (t - 1)]))
    }

    /// Goes on with a text: each token drawn by its probability, sharpened a little.
    fn go_on(&self, ids: &mut Vec<i64>, more: usize, context: usize, device: &Device) {
        let mut stream = Key::new(0).named("go on").stream();
        for _ in 0..more {
            let seen = &ids[ids.len().saturating_sub(context)..];
            let seen = Tensor::<2, Int>::from_data(TensorData::new(seen.to_vec(), [1, seen.len()]), device);
            let made = self.forward(seen);
            let [_, t, tokens] = made.dims();
            let scores: Vec<f32> = made.slice([0..1, t - 1..t, 0..tokens]).into_data().iter::<f32>().collect();
            let most = scores.iter().copied().fold(f32::NEG_INFINITY, f32::max);
            let shares: Vec<f64> = scores.iter().map(|s| f64::from((s - most) / 0.8).exp()).collect();
            let mut left = stream.unit() * shares.iter().sum::<f64>();
            let drawn = shares.iter().position(|share| {
                left -= share;
                left <= 0.0
            });
            ids.push(drawn.unwrap_or(0) as i64);
        }
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
    MOST * (0.05 + 0.475 * (1.0 + (std::f64::consts::PI * (step - warm) / (steps - warm).max(1.0)).cos()))
}

/// The mean loss over the held-out windows.
fn examine(network: &Network, test: &BurnLoader<Tensor<2, Int>>, loss: &CrossEntropyLoss) -> Result<f64, Failure> {
    let network = network.valid();
    let (mut total, mut batches) = (0.0, 0);
    for ids in test.batches(0) {
        total += f64::from(network.loss(ids?, loss).into_scalar::<f32>());
        batches += 1;
    }
    Ok(total / f64::from(batches.max(1)))
}

fn main() -> Result<(), Failure> {
    let args = Args::parse()?;
    let small = args.text.is_none();
    let fixture = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures/text/shakespeare_20k.txt");
    let text = args.text.clone().unwrap_or_else(fixture);
    let tokens = match &args.tokenizer {
        None => Tokens::Bytes,
        Some(file) => Tokens::Of(Box::new(Tokenizer::open(file, false, None)?), file.clone()),
    };
    let folder = tempfile::tempdir()?;
    let dataset = Arc::new(dataset(&text, if small { 512 } else { 2048 }, folder.path())?);

    let device = Device::flex();
    device.seed(args.seed);
    let (train, test) = recipes(&args, &tokens)?;
    let ids =
        |mut batch: Batch, device: &Device| -> feedstock::Result<Tensor<2, Int>> { batch.take_int("text", device) };
    let loader = Arc::new(train.loader(dataset.clone())?);
    let train = BurnLoader::new(loader.clone(), device.clone().autodiff(), ids);
    let test = BurnLoader::new(Arc::new(test.loader(dataset)?.sharing(loader.crew())?), device.clone(), ids);

    let mut network = Network::new(tokens.count(), &args, &device.clone().autodiff());
    println!(
        "{} weights, {} tokens, {} steps of {} stretches of {}",
        network.num_params(),
        tokens.count(),
        args.steps,
        args.batch,
        args.context
    );
    let losses = |device: &Device| -> Result<CrossEntropyLoss, Failure> {
        Ok(CrossEntropyLossConfig::new().with_pad_tokens(Some(vec![tokens.pad()?])).init(device))
    };
    let (train_loss, test_loss) = (losses(&device.clone().autodiff())?, losses(&device)?);
    let mut optimizer = AdamWConfig::new().with_weight_decay(0.01).init();

    let before = examine(&network, &test, &test_loss)?;
    println!("step    0: held-out loss {before:.3} (chance: {:.3})", (tokens.count() as f64).ln());
    let began = Mark::now();
    let shown = (args.steps / 10).max(1);
    let (mut step, mut epoch) = (0, 0);
    let (mut total, mut first, mut last) = (0.0, None, 0.0);
    while step < args.steps {
        for ids in train.batches(epoch) {
            let loss = network.loss(ids?, &train_loss);
            total += f64::from(loss.clone().into_scalar::<f32>());
            let gradients = GradientsParams::from_grads(loss.backward(), &network);
            network = optimizer.step(rate(step, args.steps), network, gradients);
            step += 1;
            if step % shown == 0 || step == args.steps {
                let count = if step % shown == 0 { shown } else { step % shown };
                last = total / count as f64;
                first.get_or_insert(last);
                let held_out = examine(&network, &test, &test_loss)?;
                let rate = step as f64 / began.elapsed().as_secs_f64();
                println!("step {step:4}: loss {last:.3}, held-out loss {held_out:.3} ({rate:.1} steps a second)");
                total = 0.0;
            }
            if step == args.steps {
                break;
            }
        }
        epoch += 1;
    }
    let stats = loader.stats();
    println!(
        "loader: {} samples, {:.1} MB read, decode and augment {:.2} s, the training waited {:.2} s of {:.1} s",
        stats.samples,
        stats.bytes as f64 / 1e6,
        stats.decode_seconds + stats.augment_seconds,
        stats.wait_seconds,
        began.elapsed().as_secs_f64(),
    );
    let after = examine(&network, &test, &test_loss)?;
    if !small {
        let mut ids = match &tokens {
            Tokens::Bytes => b"KING ".iter().map(|b| i64::from(*b)).collect(),
            Tokens::Of(..) => vec![10],
        };
        network.valid().go_on(&mut ids, 300, args.context, &device);
        println!("it goes on:\n{}", tokens.text(&ids)?);
    }
    // A network that learns nothing stays at chance: what is asked for here is far from that, and from what it reaches.
    if args.steps >= 20 && !(last < first.unwrap_or(last) && after < before - 0.8) {
        return Err(format!("the loss did not fall: {before:.3} to {after:.3} on what was held out").into());
    }
    Ok(())
}
