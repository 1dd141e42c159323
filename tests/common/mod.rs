//! What several test files need.
#![allow(dead_code, reason = "each test file uses its own part")]

pub(crate) mod pack;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use feedstock::data::batch::{Batch, Column};
use feedstock::data::feature::{Column as Of, Feature, Schema};
use feedstock::data::index::SegmentBuilder;
use feedstock::data::info::Info;
use feedstock::data::label::Value;
use feedstock::data::manifest::Manifest;
use feedstock::data::storage::Original;
use feedstock::dataset::Dataset;
use feedstock::ingest::{Control, IngestOptions, ingest};
use feedstock::loader::Loader;
use feedstock::plan::{Bucket, Exhausted, Mixture, Pack, World};
use feedstock::recipe::{ColumnRecipe, OpConfig, Recipe, SourceRecipe};
use feedstock::shard::{ShardCell, ShardOptions, ShardRow, ShardWriter};
use feedstock::store::{Store, commit};

/// A path below `fixtures`.
pub(crate) fn fixture(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures").join(path)
}

/// A dataset in a folder of its own, which lives as long as this does.
pub(crate) struct Made {
    pub(crate) folder: Arc<tempfile::TempDir>,
    pub(crate) dataset: Arc<Dataset>,
}

/// Ingests a fixture.
pub(crate) fn made(source: &str, options: &IngestOptions) -> Made {
    let folder = Arc::new(tempfile::tempdir().unwrap());
    let target = folder.path().join("dataset");
    ingest(&fixture(source), &target, options, &Control::default()).unwrap();
    Made { dataset: Arc::new(Dataset::open(&target).unwrap()), folder }
}

/// A dataset of one row, `d/NAME`, whose payload has a seek table of the caller's.
pub(crate) fn with_table(root: &Path, column: Of, name: &str, (payload, info): (&[u8], Info), seek: Vec<u8>) {
    let made = column.stored.is_some();
    let (store, schema) = (Store::open(root), Schema { columns: vec![column] });
    let mut writer = ShardWriter::create(&store, &schema, "train", &ShardOptions::default()).unwrap();
    let ShardCell::Media { bytes, path, info, hash, .. } = ShardCell::media(payload.to_vec(), name, info) else {
        unreachable!()
    };
    let original = made.then_some(Original { bytes: payload.len() as u64, hash });
    let cells = vec![ShardCell::Media { bytes, path, info, hash, original, seek: Some(seek) }];
    writer.push(ShardRow { id: format!("d/{name}"), cells }).unwrap();
    let finished = writer.finish().unwrap();
    let mut segment = SegmentBuilder::new(&schema);
    finished.enter(&mut segment).unwrap();
    let entry = commit::put_segment(&store, &segment.finish().unwrap().parts(), 1).unwrap();
    let splits = [("train".to_owned(), 1)].into_iter().collect();
    let manifest = Manifest { format_version: 0, version: 0, parent: None, schema, segments: vec![entry], splits };
    commit::commit(&store, 1, |_| Ok(manifest.clone())).unwrap();
}

/// Copies a folder with all that is in it.
pub(crate) fn copy_folder(from: &Path, to: &Path) {
    for entry in walkdir::WalkDir::new(from).into_iter().map(Result::unwrap) {
        let target = to.join(entry.path().strip_prefix(from).unwrap());
        if entry.file_type().is_dir() {
            std::fs::create_dir_all(target).unwrap();
        } else {
            std::fs::copy(entry.path(), target).unwrap();
        }
    }
}

/// A time so many seconds behind one long ago: files that changed then are remembered by ingests.
pub(crate) fn long_ago(seconds: u64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(1_500_000_000 + seconds)
}

/// Gives a file its time of change.
pub(crate) fn settle(path: &Path, at: SystemTime) {
    std::fs::File::options().append(true).open(path).unwrap().set_modified(at).unwrap();
}

/// Writes a file that changed at some time, in a folder that is made if it is not there.
pub(crate) fn put_at(path: &Path, bytes: &[u8], at: SystemTime) {
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, bytes).unwrap();
    settle(path, at);
}

/// The same, that changed so many seconds behind a time long ago.
pub(crate) fn put(path: &Path, bytes: &[u8], seconds: u64) {
    put_at(path, bytes, long_ago(seconds));
}

/// The files of a dataset, but what the ingest saw of the source: that is no part of the dataset, and hangs on when files changed.
pub(crate) fn files(root: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let walk = walkdir::WalkDir::new(root)
        .into_iter()
        .filter_entry(|e| ![".dsctl/seen", ".dsctl/sources"].iter().any(|of| e.path().ends_with(of)));
    let walk = walk.map(Result::unwrap).filter(|e| e.file_type().is_file());
    walk.map(|e| (e.path().strip_prefix(root).unwrap().to_owned(), std::fs::read(e.path()).unwrap())).collect()
}

/// Of every row by its id: split, class, and the payload of the first column that has some.
pub(crate) fn contents(dataset: &Path) -> BTreeMap<String, (String, String, Vec<u8>)> {
    let opened = Dataset::open(dataset).unwrap();
    let names = opened.schema().get("label").and_then(Feature::classes).cloned().unwrap_or_default();
    let label = opened.schema().position("label");
    let media = opened.schema().columns.iter().position(|c| c.feature.is_payload()).unwrap();
    let rows = (0..opened.rows()).map(|at| {
        let (segment, row) = opened.index().locate(at);
        let split = opened.index().segments()[segment].shard(row.shard()).unwrap().1.split;
        let class = match label.map(|column| row.value(column)) {
            Some(Value::Int(class)) => names[usize::try_from(class).unwrap()].clone(),
            _ => String::new(),
        };
        let mut bytes = Vec::new();
        opened.fetch_checked(at, media, &mut bytes).unwrap();
        (row.id().to_owned(), (split, class, bytes))
    });
    rows.collect()
}

/// A gray PNG of one colour.
pub(crate) fn gray_png(width: u32, height: u32) -> Vec<u8> {
    use image::ImageEncoder;
    let mut bytes = Vec::new();
    let pixels = vec![90u8; (width * height) as usize];
    let encoder = image::codecs::png::PngEncoder::new(&mut bytes);
    encoder.write_image(&pixels, width, height, image::ExtendedColorType::L8).unwrap();
    bytes
}

/// A recipe of `fixtures/recipes`.
pub(crate) fn recipe(name: &str) -> Recipe {
    let path = fixture("recipes").join(name).with_extension("toml");
    toml::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

/// Pictures with objects: some have many, some none, and of some nothing is known.
fn located() -> Made {
    let source = tempfile::tempdir().unwrap();
    let mut lines = String::new();
    let mut all: Vec<PathBuf> = ["pants", "shoes", "t-shirt"]
        .iter()
        .flat_map(|class| std::fs::read_dir(fixture("images/train").join(class)).unwrap())
        .map(|entry| entry.unwrap().path())
        .collect();
    all.sort();
    for (n, path) in all.iter().enumerate() {
        let name = format!("{n}_{}", path.file_name().unwrap().to_str().unwrap());
        std::fs::copy(path, source.path().join(&name)).unwrap();
        let boxes: Vec<[usize; 4]> = (0..n * 7 % 5).map(|i| [i * 9, n, 10 + n, 12 + i]).collect();
        let classes: Vec<String> = boxes.iter().map(|b| format!("c{}", b[3] % 3)).collect();
        let objects = match n % 6 {
            5 => serde_json::Value::Null,
            _ => {
                serde_json::json!({"bbox": boxes, "category": classes, "area": boxes.iter().map(|b| b[2] * b[3]).collect::<Vec<_>>()})
            }
        };
        lines += &serde_json::json!({"file_name": name, "objects": objects}).to_string();
        lines.push('\n');
    }
    std::fs::write(source.path().join("metadata.jsonl"), lines).unwrap();
    let folder = Arc::new(tempfile::tempdir().unwrap());
    let target = folder.path().join("dataset");
    ingest(source.path(), &target, &IngestOptions::default(), &Control::default()).unwrap();
    Made { dataset: Arc::new(Dataset::open(&target).unwrap()), folder }
}

/// Small pictures, and one of 3.2 million pixels among them.
fn huge() -> Made {
    let source = tempfile::tempdir().unwrap();
    for (i, name) in ["000_444.jpg", "001_422.jpg", "002_420.jpg", "003_420_odd.jpg", "006_rgb.png"].iter().enumerate()
    {
        let class = source.path().join(format!("train/{}", i % 2));
        std::fs::create_dir_all(&class).unwrap();
        std::fs::copy(fixture("images/train/pants").join(name), class.join(name)).unwrap();
        std::fs::copy(fixture("images/train/pants").join(name), class.join(format!("again_{name}"))).unwrap();
    }
    std::fs::write(source.path().join("train/0/huge.png"), gray_png(2_000, 1_600)).unwrap();
    let folder = Arc::new(tempfile::tempdir().unwrap());
    let target = folder.path().join("dataset");
    ingest(source.path(), &target, &IngestOptions::default(), &Control::default()).unwrap();
    Made { dataset: Arc::new(Dataset::open(&target).unwrap()), folder }
}

/// One dataset and recipe of each modality, and one that delivers everything as stored.
pub(crate) fn modalities() -> Vec<(&'static str, Made, Recipe)> {
    let plain = IngestOptions::default();
    let mut digits = IngestOptions::default();
    digits.source.label_regex = Some(r"^(?P<label>\d)_".into());
    let images = made("images", &plain);
    let sounds = made("digits", &digits);
    let tokens = serde_json::json!({"columns": {"text": {"ops": [{"op": "bytes_to_ids"}]}}});
    let tokens = IngestOptions { prepare: serde_json::from_value(tokens).unwrap(), ..IngestOptions::default() };
    let counts = serde_json::json!({"columns": {"text": {"ops": [{"op": "bytes_to_ids"}], "count": true}}});
    let counts = IngestOptions { prepare: serde_json::from_value(counts).unwrap(), ..IngestOptions::default() };
    let clips = made("clips", &plain);
    let again = |made: &Made| Made { dataset: made.dataset.clone(), folder: made.folder.clone() };
    let (whole, mixed, keyframes) = (again(&images), again(&images), again(&clips));
    vec![
        ("images", images, recipe("images")),
        ("buckets", again(&sounds), Recipe { bucket: Some(bucket()), ..recipe("digits") }),
        ("digits", sounds, recipe("digits")),
        ("clips", clips, recipe("clips")),
        ("key frames", keyframes, recipe("keyframes")),
        ("text", made("text/shakespeare_20k.txt", &plain), recipe("text")),
        #[cfg(feature = "tokenizers")]
        ("tokens", made("text/shakespeare_20k.txt", &plain), recipe("tokens")),
        ("objects", located(), recipe("objects")),
        ("a huge sample", huge(), recipe("images")),
        (
            "packs of bytes",
            made("text/shakespeare_20k.txt", &tokens),
            Recipe { batch: 8, pack: Some(pack()), ..Recipe::default() },
        ),
        (
            "packs of counted text",
            made("text/shakespeare_20k.txt", &counts),
            Recipe { batch: 8, pack: Some(pack()), columns: [("text".to_owned(), ids())].into(), ..Recipe::default() },
        ),
        ("a mixture, 3 to 1", mixed, mixture()),
        ("everything as it is", whole, Recipe { batch: 6, ..Recipe::default() }),
    ]
}

fn bucket() -> Bucket {
    Bucket { by: "audio.count".into(), bounds: vec![3_000], padded: Some(30_000) }
}

/// Rows in which the longest line has room.
fn pack() -> Pack {
    Pack { column: "text".into(), length: 200, ..Pack::default() }
}

/// The bytes of a text as numbers.
fn ids() -> ColumnRecipe {
    let ops = vec![OpConfig { op: "bytes_to_ids".into(), params: serde_json::Map::new() }];
    ColumnRecipe { ops, ..ColumnRecipe::default() }
}

/// Two splits of one dataset, mixed.
fn mixture() -> Recipe {
    let source = |split: &str, weight| {
        let weight = Some(weight);
        (split.to_owned(), SourceRecipe { split: Some(split.into()), weight, ..SourceRecipe::default() })
    };
    let sources = [source("train", 3.0), source("test", 1.0)].into();
    let mixture = Mixture { exhausted: Exhausted::Drop, ..Mixture::default() };
    Recipe { sources, mixture, split: None, ..recipe("images") }
}

/// The loader of a recipe; where it has sources, each of them is the dataset.
pub(crate) fn loader(dataset: &Arc<Dataset>, recipe: &Recipe) -> Loader {
    if recipe.sources.is_empty() {
        return recipe.loader(dataset.clone()).unwrap();
    }
    recipe.mixed(&recipe.sources.keys().map(|name| (name.clone(), dataset.clone())).collect()).unwrap()
}

/// The batches of one rank of an epoch.
pub(crate) fn batches(dataset: &Arc<Dataset>, recipe: &Recipe, epoch: u64, world: World) -> Vec<Batch> {
    let mut recipe = recipe.clone();
    recipe.run.world = world;
    loader(dataset, &recipe).epoch(epoch).unwrap().map(Result::unwrap).collect()
}

/// The digests of one rank's batches.
pub(crate) fn digests(dataset: &Arc<Dataset>, recipe: &Recipe, epoch: u64, world: World) -> Vec<u128> {
    batches(dataset, recipe, epoch, world).iter().map(Batch::digest).collect()
}

/// The bytes of one sample of a batch, over all columns, without padding of bounded axes.
pub(crate) fn sample_bytes(batch: &Batch, i: usize) -> Vec<u8> {
    let mut bytes = batch.ids[i].as_bytes().to_vec();
    for (name, column) in &batch.columns {
        bytes.extend(name.as_bytes());
        match column {
            Column::Dense(dense) => {
                let stride = dense.shape[1..].iter().product::<usize>() * dense.dtype.size();
                bytes.extend(&dense.packed()[i * stride..(i + 1) * stride]);
            }
            Column::Bytes(strings) => bytes.extend(strings.get(i)),
            Column::Ragged(ragged) => bytes.extend(&ragged.values[ragged.offsets[i]..ragged.offsets[i + 1]]),
        }
    }
    bytes
}
