//! Members from outside the crate: operations, a source and records made in code, from a folder to a batch.

use std::path::Path;
use std::sync::Arc;

use feedstock::augment::{self, Draw, Elements, Media, Op, OpEntry, Raster, Spec, Tools};
use feedstock::codec::Check;
use feedstock::data::batch::{Batch, Column};
use feedstock::data::feature::{Feature, Schema};
use feedstock::data::info::Info;
use feedstock::data::label::Value;
use feedstock::data::record::{Cell, Record};
use feedstock::data::tensor::DType;
use feedstock::dataset::Dataset;
use feedstock::ingest::{Control, DatasetWriter, IngestOptions, ingest};
use feedstock::loader::Loader;
use feedstock::plan::World;
use feedstock::recipe::{Recipe, Registry};
use feedstock::rng::Key;
use feedstock::source::{Entry, EntryCell, Evidence, Lister, Look, Refusal, Source, SourceEntry, SourceOptions};
use feedstock::{Error, Fault, Reason, source};

/// Turns u8 pixels around.
#[derive(Debug, serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Invert {}

/// Adds a drawn number to u8 pixels, up to 255.
#[derive(Debug, serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Brighten {
    most: u8,
}

fn invert(version: u32) -> OpEntry {
    OpEntry {
        name: "invert",
        version,
        summary: "255 minus the value",
        build: |params| Ok(Arc::new(augment::parse::<Invert>("invert", params)?)),
        example: "{}",
    }
}

const BRIGHTEN: OpEntry = OpEntry {
    name: "brighten",
    version: 1,
    summary: "adds a number up to `most`",
    build: |params| Ok(Arc::new(augment::parse::<Brighten>("brighten", params)?)),
    example: r#"{"most": 20}"#,
};

fn pixels(op: &str, input: &Spec) -> Result<Spec, Fault> {
    match input {
        Spec::Raster { dtype: DType::U8, .. } => Ok(input.clone()),
        other => Err(augment::refused(op, "u8 pixels", other.name())),
    }
}

fn each(op: &str, media: Media, change: impl Fn(u8) -> u8) -> Result<Media, Fault> {
    match media {
        Media::Raster(Raster { data: Elements::U8(mut data), frames, still, width, height, layout }) => {
            data.iter_mut().for_each(|v| *v = change(*v));
            Ok(Media::Raster(Raster { data: Elements::U8(data), frames, still, width, height, layout }))
        }
        other => Err(augment::refused(op, "u8 pixels", other.name())),
    }
}

impl Op for Invert {
    fn spec(&self, input: &Spec) -> Result<Spec, Fault> {
        pixels("invert", input)
    }
    fn apply(&self, _: &Draw, media: Media, _: &mut Tools) -> Result<Media, Fault> {
        each("invert", media, |v| 255 - v)
    }
}

impl Op for Brighten {
    fn spec(&self, input: &Spec) -> Result<Spec, Fault> {
        pixels("brighten", input)
    }
    fn draw(&self, _: &Info, key: Key) -> Draw {
        Draw::Numbers([key.stream().below(u64::from(self.most) + 1) as f64].into_iter().collect())
    }
    fn apply(&self, draw: &Draw, media: Media, _: &mut Tools) -> Result<Media, Fault> {
        let more = match draw {
            Draw::Numbers(numbers) => numbers[0] as u8,
            _ => 0,
        };
        each("brighten", media, |v| v.saturating_add(more))
    }
}

fn registry() -> Registry {
    let built_in = Registry::default();
    Registry { ops: built_in.ops.with(invert(1)).with(BRIGHTEN) }
}

/// A recipe over the photos with the given operations behind a resize.
fn recipe(ops: &str) -> Recipe {
    let text = format!(
        "split = \"train\"\nbatch = 5\ntail = \"pad\"\nseed = 3\n[columns.label]\n[columns.image]\n\
         ops = [{{ op = \"resize\", size = [8, 10] }}, {ops}]"
    );
    toml::from_str(&text).unwrap()
}

fn epoch(loader: &Loader, number: u64) -> Vec<Batch> {
    loader.epoch(number).unwrap().map(Result::unwrap).collect()
}

#[test]
fn an_operation_from_outside_runs_among_the_built_in_ones() {
    let made = crate::common::made("images", &IngestOptions::default());
    let photos = &made.dataset;
    let plain = epoch(&recipe("").loader(photos.clone()).unwrap(), 0);
    let inverted = recipe("{ op = \"invert\" }").loader_with(photos.clone(), &registry()).unwrap();
    for (batch, plain) in epoch(&inverted, 0).iter().zip(&plain) {
        assert_eq!(batch.ids, plain.ids);
        let (now, was) = (batch.get::<u8>("image").unwrap(), plain.get::<u8>("image").unwrap());
        assert_eq!((now.shape, was.shape), (&[5, 8, 10, 3][..], &[5, 8, 10, 3][..]));
        for i in (0..5).filter(|i| batch.valid[*i]) {
            let at = i * 240..(i + 1) * 240;
            assert!(now.data[at.clone()].iter().zip(&was.data[at]).all(|(a, b)| *a == 255 - b), "{}", batch.ids[i]);
        }
    }
    // Built-in ones behind it, on the fused way and the other.
    let ops = "{ op = \"invert\" }, { op = \"horizontal_flip\" }, { op = \"brighten\", most = 40 }, \
               { op = \"normalize\", mean = [0.5, 0.5, 0.5], std = [0.5, 0.5, 0.5] }, { op = \"to\", layout = \"nchw\" }";
    let digests = |fuse: bool, threads: usize| -> Vec<u128> {
        let mut recipe = recipe(ops);
        (recipe.fuse, recipe.run.threads) = (fuse, threads);
        epoch(&recipe.loader_with(photos.clone(), &registry()).unwrap(), 1).iter().map(Batch::digest).collect()
    };
    let want = digests(true, 1);
    assert_eq!(want.len(), 5);
    assert_eq!((digests(true, 4), digests(false, 3)), (want.clone(), want));
}

#[test]
fn what_an_operation_draws_belongs_to_the_sample() {
    let made = crate::common::made("images", &IngestOptions::default());
    let photos = &made.dataset;
    let added = |number: u64, threads: usize, split: bool| -> std::collections::BTreeMap<String, u8> {
        let mut recipe = recipe("{ op = \"brighten\", most = 200 }");
        recipe.run.threads = threads;
        recipe.split = split.then(|| "train".to_owned());
        let mut plain = Recipe { split: recipe.split.clone(), ..self::recipe("") };
        plain.run.threads = 1;
        let bright = epoch(&recipe.loader_with(photos.clone(), &registry()).unwrap(), number);
        let plain = epoch(&plain.loader(photos.clone()).unwrap(), number);
        let mut all = std::collections::BTreeMap::new();
        for (bright, plain) in bright.iter().zip(&plain) {
            let (now, was) = (bright.get::<u8>("image").unwrap(), plain.get::<u8>("image").unwrap());
            for i in (0..5).filter(|i| bright.valid[*i]) {
                let pixels = (i * 240..(i + 1) * 240).filter(|p| now.data[*p] < 255);
                let steps: Vec<u8> = pixels.map(|p| now.data[p] - was.data[p]).collect();
                assert!(steps.windows(2).all(|w| w[0] == w[1]), "one number a picture");
                all.insert(bright.ids[i].clone(), steps.first().copied().unwrap_or(255));
            }
        }
        all
    };
    let first = added(0, 1, true);
    assert_eq!(first, added(0, 4, true));
    let all = added(0, 2, false);
    assert!(first.iter().all(|(id, n)| all[id] == *n), "other neighbours, the same numbers");
    assert_ne!(first, added(1, 1, true));
    let different: std::collections::BTreeSet<&u8> = first.values().collect();
    assert!(different.len() > 10, "{first:?}");
}

#[test]
fn an_operations_version_is_part_of_the_recipe() {
    let made = crate::common::made("images", &IngestOptions::default());
    let photos = &made.dataset;
    let recipe = recipe("{ op = \"invert\" }");
    let with = |version| {
        let registry = Registry { ops: Registry::default().ops.with(invert(version)) };
        recipe.loader_with(photos.clone(), &registry).unwrap()
    };
    let (one, again, two) = (with(1), with(1), with(2));
    assert_eq!(one.recipe_digest(), again.recipe_digest());
    assert_ne!(one.recipe_digest(), two.recipe_digest());
    let state = one.epoch(0).unwrap().state();
    assert!(again.resume(&state).is_ok());
    let refused = two.resume(&state).unwrap_err();
    assert!(matches!(refused, Error::State { .. }), "{refused}");
    // Unknown without the registry, and its own mistakes are named as those of the built-in ones.
    let message = recipe.loader(photos.clone()).unwrap_err().to_string();
    assert!(message.contains("no operation called \"invert\""), "{message}");
    let wrong = |ops: &str| self::recipe(ops).loader_with(photos.clone(), &registry()).unwrap_err();
    let (field, order) =
        (wrong("{ op = \"brighten\", mots = 3 }"), wrong("{ op = \"to\", dtype = \"f32\" }, { op = \"invert\" }"));
    assert!(field.to_string().contains("mots") && field.exit_code() == 2, "{field}");
    assert!(order.to_string().contains("u8 pixels"), "{order}");
}

/// A convention of its own: `x.jpg` beside `x.label`, whose text is the class.
struct Pairs;

const PAIRS: SourceEntry =
    SourceEntry { name: "pairs", version: 1, summary: "x.jpg beside x.label", build: || Box::new(Pairs) };

impl Source for Pairs {
    fn name(&self) -> &'static str {
        PAIRS.name
    }

    fn detect(&self, _: &Path, look: &Look) -> Option<Evidence> {
        let labels = look.top().filter(|f| f.relative.ends_with(".label")).count();
        (labels > 0).then(|| Evidence::new(95, format!("{labels} files .label")))
    }

    fn list(&self, root: &Path, options: &SourceOptions, lister: &mut Lister<'_>) -> Result<Schema, Error> {
        let schema = Schema::new([("image", Feature::Image), ("label", Feature::ClassLabel { names: Vec::new() })]);
        for found in std::fs::read_dir(root).map_err(|e| Error::io(root, "list", e))? {
            let path = found.map_err(|e| Error::io(root, "list", e))?.path();
            let id = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            if path.extension().is_none_or(|e| e != "jpg") {
                continue;
            }
            let bytes = std::fs::metadata(&path).map_err(|e| Error::io(&path, "look at", e))?.len();
            match std::fs::read_to_string(path.with_extension("label")) {
                Ok(label) => lister.entry(Entry {
                    id: id.clone(),
                    split: options.split.clone(),
                    cells: vec![EntryCell::File { path, bytes }, EntryCell::Class(label.trim().to_owned())],
                    origin: id,
                    line: None,
                })?,
                Err(e) => lister.refuse(Refusal::file(id, Fault::new(Reason::BadLabel, e)))?,
            }
        }
        Ok(schema)
    }
}

#[test]
fn a_source_from_outside_goes_all_the_way_to_a_batch() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("pairs");
    std::fs::create_dir(&root).unwrap();
    let photos = ["pants/000_444.jpg", "pants/001_422.jpg", "shoes/000_444.jpg", "shoes/001_422.jpg"];
    for (i, photo) in photos.iter().enumerate() {
        std::fs::copy(crate::common::fixture("images/train").join(photo), root.join(format!("{i}.jpg"))).unwrap();
        if i != 2 {
            std::fs::write(root.join(format!("{i}.label")), format!("{}\n", photo.split('/').next().unwrap())).unwrap();
        }
    }
    let control = Control { sources: source::sources().with(PAIRS), ..Control::default() };
    let target = dir.path().join("d");
    let summary = ingest(&root, &target, &IngestOptions::default(), &control).unwrap();
    assert_eq!((summary.rows, summary.quarantined), (3, 1), "{summary:?}");
    assert_eq!(summary.rows_by_label.into_iter().collect::<Vec<_>>(), [("pants".into(), 2), ("shoes".into(), 1)]);
    assert!(summary.notes.iter().any(|n| n.contains("read as pairs")), "{:?}", summary.notes);
    let by_name = IngestOptions { format: Some("pairs".into()), ..IngestOptions::default() };
    assert_eq!(ingest(&root, &target, &by_name, &control).unwrap().skipped, 3);
    let unknown = ingest(&root, &target, &by_name, &Control::default()).unwrap_err();
    assert!(unknown.to_string().contains("pairs") && unknown.exit_code() == 2, "{unknown}");

    let dataset = Arc::new(Dataset::open(&target).unwrap());
    let recipe = Recipe { split: None, ..recipe("{ op = \"invert\" }") };
    let batch = epoch(&recipe.loader_with(dataset, &registry()).unwrap(), 0).remove(0);
    let labels = batch.get::<i64>("label").unwrap();
    for (i, id) in batch.ids.iter().enumerate().filter(|(i, _)| batch.valid[*i]) {
        assert_eq!(labels.data[i], i64::from(id == "3.jpg"), "{id}");
    }
    assert_eq!(batch.valid.iter().filter(|v| **v).count(), 3);
}

#[test]
fn records_from_code_come_out_of_the_loader() {
    let dir = tempfile::tempdir().unwrap();
    let photo = |name: &str| Cell::Media(std::fs::read(crate::common::fixture("images/train").join(name)).unwrap());
    let classes = Feature::ClassLabel { names: vec!["pants".into()] };
    let schema = Schema::new([
        ("image", Feature::Image),
        ("caption", Feature::Text),
        ("label", classes),
        ("count", Feature::Int),
        ("score", Feature::Float),
        ("checked", Feature::Bool),
    ]);
    let options = IngestOptions { check: Check::Header, ..IngestOptions::default() };
    let mut writer = DatasetWriter::create(dir.path(), schema, &options).unwrap();
    let mut record = |id: &str, cells: Vec<Cell>| writer.append(Record { id: id.into(), split: "train".into(), cells });
    let value = |v: Value| Cell::Value(v);
    record(
        "full",
        vec![
            photo("pants/000_444.jpg"),
            Cell::Media("a caption".into()),
            Cell::Class("shoes".into()),
            value(Value::Int(-7)),
            value(Value::Float(0.1)),
            value(Value::Bool(true)),
        ],
    )
    .unwrap();
    record("empty", vec![photo("pants/006_rgb.png"), Cell::NULL, Cell::NULL, Cell::NULL, Cell::NULL, Cell::NULL])
        .unwrap();
    let refused = record(
        "bad",
        vec![Cell::Media(b"no picture".to_vec()), Cell::NULL, Cell::NULL, Cell::NULL, Cell::NULL, Cell::NULL],
    );
    assert_eq!(refused.unwrap_err().exit_code(), 3);
    let summary = writer.commit().unwrap();
    assert_eq!((summary.rows, summary.version), (2, 1));

    let text = "order = \"sequential\"\nbatch = 2\n[columns]\nlabel = {}\ncount = {}\nscore = {}\nchecked = {}\n\
                caption = { raw = true }\nimage.ops = [{ op = \"resize\", size = [4, 6] }]";
    let recipe: Recipe = toml::from_str(text).unwrap();
    let dataset = Arc::new(Dataset::open(dir.path()).unwrap());
    let loader = recipe.loader(dataset.clone()).unwrap();
    let batch = epoch(&loader, 0).remove(0);
    assert_eq!(batch.ids, ["full", "empty"]);
    assert_eq!(batch.get::<i64>("label").unwrap().data, [1, -1]);
    assert_eq!(batch.get::<i64>("count").unwrap().data, [-7, 0]);
    let score = batch.get::<f64>("score").unwrap().data;
    assert!(score[0].to_bits() == 0.1f64.to_bits() && score[1].is_nan(), "{score:?}");
    assert_eq!(batch.get::<u8>("checked").unwrap().data, [1, 0]);
    let Column::Dense(count) = batch.column("count").unwrap() else { panic!("{batch:?}") };
    assert_eq!(count.missing, [false, true]);
    let Column::Bytes(caption) = batch.column("caption").unwrap() else { panic!("{batch:?}") };
    assert_eq!((caption.get(0), caption.get(1)), (&b"a caption"[..], &b""[..]));
    assert_eq!(caption.missing, [false, true]);
    assert_eq!(batch.get::<u8>("image").unwrap().shape, [2, 4, 6, 3]);
    assert!(batch.get::<f32>("image").unwrap_err().to_string().contains("u8"));
    assert!(batch.get::<u8>("picture").unwrap_err().to_string().contains("it has: image, caption"));
}

#[test]
fn the_statistics_add_up() {
    let made = crate::common::made("images", &IngestOptions::default());
    let photos = &made.dataset;
    let recipe = Recipe { split: None, batch: 8, ..recipe("") };
    let loader = recipe.loader(photos.clone()).unwrap();
    let none = loader.stats();
    assert_eq!((none.batches, none.samples, none.bytes), (0, 0, 0));
    let payloads: u64 = (0..photos.rows()).map(|row| photos.index().row(row).payload(0).unwrap().length).sum();
    for epochs in 1..=2u64 {
        assert_eq!(epoch(&loader, epochs).len(), 4);
        let stats = loader.stats();
        assert_eq!((stats.batches, stats.samples, stats.bytes), (4 * epochs, 32 * epochs, payloads * epochs));
        assert!(stats.decode_seconds > 0.0 && stats.fetch_seconds > 0.0 && stats.augment_seconds > 0.0, "{stats:?}");
        assert!(stats.wait_seconds >= 0.0);
    }
    // The ranks of a world read every payload once between them; padding is no sample.
    let (mut samples, mut bytes) = (0, 0);
    for rank in 0..3 {
        let mut recipe = recipe.clone();
        recipe.run.world = World { rank, size: 3 };
        let loader = recipe.loader(photos.clone()).unwrap();
        epoch(&loader, 0);
        (samples, bytes) = (samples + loader.stats().samples, bytes + loader.stats().bytes);
    }
    assert_eq!((samples, bytes), (32, payloads));
}
