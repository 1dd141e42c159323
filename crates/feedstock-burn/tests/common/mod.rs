//! Small datasets to load from.
#![allow(dead_code, reason = "each test binary uses its part")]

use std::path::{Path, PathBuf};
use std::sync::Arc;

use feedstock::codec::{Limits, sniff};
use feedstock::data::feature::{Feature, Schema};
use feedstock::data::index::{Index, IndexCell, Payload, SegmentBuilder};
use feedstock::data::info::Kind;
use feedstock::data::record::payload_hash;
use feedstock::dataset::{Backing, Dataset};
use feedstock::loader::Loader;
use feedstock::recipe::Recipe;

/// `rows` rows of one int column `n`, each its own number.
pub(crate) fn numbers(rows: i64) -> Arc<Dataset> {
    let schema = Schema::new([("n", Feature::Int)]);
    let mut builder = SegmentBuilder::new(&schema);
    for n in 0..rows {
        builder.push(&format!("{n}"), &[IndexCell::Int(n)]).unwrap();
    }
    builder.end_shard("train", 0, [0; 32]);
    dataset(schema, builder, Vec::new())
}

/// The 20 or so small photos of `fixtures/images/train`, with their labels, as they lie; `broken` adds a row that is none.
pub(crate) fn photos(broken: bool) -> Arc<Dataset> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures/images/train");
    let mut classes: Vec<PathBuf> = std::fs::read_dir(root).unwrap().map(|e| e.unwrap().path()).collect();
    classes.sort();
    let names = classes.iter().map(|c| c.file_name().unwrap().to_str().unwrap().to_owned()).collect();
    let schema = Schema::new([("image", Feature::Image), ("label", Feature::ClassLabel { names })]);
    let mut builder = SegmentBuilder::new(&schema);
    let mut paths = Vec::new();
    for (label, class) in classes.iter().enumerate() {
        let mut files: Vec<PathBuf> = std::fs::read_dir(class).unwrap().map(|e| e.unwrap().path()).collect();
        files.sort();
        for file in files {
            let bytes = std::fs::read(&file).unwrap();
            let info = sniff(&bytes, Kind::Image).unwrap().probe(&bytes, &Limits::default()).unwrap();
            let length = if broken && paths.len() == 5 { bytes.len() as u64 / 2 } else { bytes.len() as u64 };
            let payload = Payload { offset: 0, length, hash: payload_hash(&bytes[..length as usize]), info };
            let id = format!("photo-{}", paths.len());
            builder.push(&id, &[IndexCell::Payload(payload), IndexCell::Int(label as i64)]).unwrap();
            paths.push(file);
        }
    }
    assert!(paths.len() >= 20, "{} photos", paths.len());
    builder.end_shard("train", 0, [0; 32]);
    dataset(schema, builder, paths)
}

fn dataset(schema: Schema, builder: SegmentBuilder, paths: Vec<PathBuf>) -> Arc<Dataset> {
    let index = Index::new(vec![Arc::new(builder.finish().unwrap().open().unwrap())]).unwrap();
    let paths = if paths.is_empty() { vec![PathBuf::new(); index.rows() as usize] } else { paths };
    let paths = paths.into_iter().map(Into::into).collect();
    Arc::new(Dataset::from_parts("here", schema, index, Backing::Files { paths }).unwrap())
}

/// The loader of a recipe in JSON.
pub(crate) fn loader(dataset: Arc<Dataset>, recipe: serde_json::Value) -> Arc<Loader> {
    let recipe: Recipe = serde_json::from_value(recipe).unwrap();
    Arc::new(recipe.loader(dataset).unwrap())
}

/// Photos as f32 `[N, 3, 32, 32]` with their labels.
pub(crate) fn photo_recipe() -> serde_json::Value {
    serde_json::json!({
        "batch": 4,
        "columns": {
            "image": { "ops": [
                { "op": "random_resized_crop", "size": 32 },
                { "op": "horizontal_flip" },
                { "op": "normalize", "mean": [0.5, 0.5, 0.5], "std": [0.25, 0.25, 0.25] },
                { "op": "to", "layout": "nchw" }
            ] },
            "label": {}
        },
        "run": { "threads": 2, "prefetch": 1 }
    })
}
