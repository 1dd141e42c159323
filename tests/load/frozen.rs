//! A dataset and a loader state that version 0.1 wrote (`fixtures/frozen/v1`) open and deliver the same forever.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use feedstock::data::batch::Batch;
use feedstock::data::feature::Feature;
use feedstock::data::label::Value;
use feedstock::data::manifest::FORMAT_VERSION;
use feedstock::dataset::Dataset;
use feedstock::ingest::{Control, IngestOptions, ingest};
use feedstock::plan::State;
use feedstock::recipe::Recipe;
use feedstock::verify::{rebuild_index, verify};
use feedstock::{Error, open};
use serde_json::{Map, json};

fn frozen() -> PathBuf {
    crate::common::fixture("frozen/v1")
}

fn read(name: &str) -> String {
    std::fs::read_to_string(frozen().join(name)).unwrap()
}

fn recipe() -> Recipe {
    toml::from_str(&read("recipe.toml")).unwrap()
}

/// Everything a version holds, as JSON: classes, and for each row its id, split, values and payload hashes.
fn contents(dataset: &Dataset) -> serde_json::Value {
    let mut rows = Vec::new();
    let mut bytes = Vec::new();
    for row in 0..dataset.rows() {
        let (segment, entry) = dataset.index().locate(row);
        let split = dataset.index().segments()[segment].shard(entry.shard()).unwrap().1.split;
        let mut cells = Map::new();
        for (i, column) in dataset.schema().columns.iter().enumerate() {
            let cell = if column.feature.is_payload() {
                let payload = dataset.fetch_checked(row, i, &mut bytes).unwrap();
                payload.map_or(json!(null), |p| json!(format!("{:016x}", p.hash)))
            } else {
                match entry.value(i) {
                    Value::Null => json!(null),
                    Value::Int(v) => json!(v),
                    Value::Float(v) => json!(v),
                    Value::Bool(v) => json!(v),
                    Value::Text(v) => json!(v),
                }
            };
            cells.insert(column.name.clone(), cell);
        }
        rows.push(json!({"id": entry.id(), "split": split, "cells": cells}));
    }
    let Some(Feature::ClassLabel { names }) = dataset.schema().get("label") else { panic!("{:?}", dataset.schema()) };
    json!({"version": dataset.version(), "digest": dataset.digest(), "classes": names, "rows": rows})
}

const EPOCH: u64 = 3;

/// Number and digest of each batch.
fn digests(batches: impl Iterator<Item = feedstock::Result<Batch>>) -> serde_json::Value {
    let all = batches.map(Result::unwrap).map(|b| json!([b.place.batch, format!("{:032x}", b.digest()), b.ids]));
    all.collect()
}

fn expected() -> serde_json::Value {
    serde_json::from_str(&read("expect.json")).unwrap()
}

fn dataset() -> Arc<Dataset> {
    Arc::new(open(frozen().join("dataset")).unwrap())
}

#[test]
fn both_versions_hold_what_they_held() {
    let want = expected();
    assert_eq!(contents(&dataset()), want["version_2"]);
    let first = Dataset::open_version(frozen().join("dataset"), 1).unwrap();
    assert_eq!(contents(&first), want["version_1"]);
    let report = verify(frozen().join("dataset"), true).unwrap();
    assert!(report.findings.is_empty() && report.version == Some(2), "{report:?}");
}

#[test]
fn an_epoch_delivers_what_it_delivered() {
    let want = expected();
    for (threads, fuse) in [(1, true), (4, true), (2, false)] {
        let mut recipe = recipe();
        (recipe.run.threads, recipe.fuse) = (threads, fuse);
        let loader = recipe.loader(dataset()).unwrap();
        assert_eq!(loader.recipe_digest(), want["recipe"].as_str().unwrap());
        assert_eq!(digests(loader.epoch(EPOCH).unwrap()), want["batches"], "{threads} threads, fuse {fuse}");
    }
}

#[test]
fn the_state_goes_on_where_it_was_saved() {
    let state = State::from_json(&read("state.json")).unwrap();
    let loader = recipe().loader(dataset()).unwrap();
    assert_eq!(digests(loader.resume(&state).unwrap()), expected()["remaining"]);
    let newer = read("state.json").replace("\"format_version\":1", "\"format_version\":9");
    let refused = State::from_json(&newer).unwrap_err();
    assert!(matches!(refused, Error::FormatVersion { found: 9, supported: 2, .. }), "{refused}");
}

#[test]
fn a_newer_format_is_refused_and_named() {
    let dir = tempfile::tempdir().unwrap();
    crate::common::copy_folder(&frozen().join("dataset"), dir.path());
    let root = dir.path().join(".dsctl/versions/00000000000000000002.json");
    let mut manifest: serde_json::Value = serde_json::from_slice(&std::fs::read(&root).unwrap()).unwrap();
    manifest["format_version"] = json!(FORMAT_VERSION + 1);
    // Something that only a newer program knows: the version is looked at before it.
    manifest["tomorrow"] = json!({});
    std::fs::write(&root, manifest.to_string()).unwrap();
    let refused = [
        Dataset::open(dir.path()).map(|_| ()),
        open(dir.path()).map(|_| ()),
        verify(dir.path(), true).map(|_| ()),
        ingest(&crate::common::fixture("images"), dir.path(), &IngestOptions::default(), &Control::default())
            .map(|_| ()),
    ];
    for result in refused {
        let error = result.unwrap_err();
        let newer =
            matches!(error, Error::FormatVersion { found, supported: FORMAT_VERSION, .. } if found > FORMAT_VERSION);
        assert!(newer, "{error}");
        assert!(error.to_string().contains("newer feedstock"), "{error}");
    }
    assert_eq!(Dataset::open_version(dir.path(), 1).unwrap().version(), Some(1), "the version before still opens");
}

#[test]
fn it_can_be_added_to() {
    let dir = tempfile::tempdir().unwrap();
    let target = dir.path().join("dataset");
    crate::common::copy_folder(&frozen().join("dataset"), &target);
    let source = dir.path().join("more");
    write_source(
        &source,
        &[("photo.jpg", "images_turned/jpeg_6.jpg")],
        &[
            json!({"file_name": "photo.jpg", "label": "bat", "split": "test", "count": 1, "score": 2.5, "checked": true, "note": "new"}),
        ],
    );
    let summary =
        ingest(&source.join("manifest.jsonl"), &target, &IngestOptions::default(), &Control::default()).unwrap();
    assert_eq!((summary.rows, summary.version), (1, 3));
    let (now, want) = (contents(&Dataset::open(&target).unwrap()), expected());
    let old = want["version_2"]["rows"].as_array().unwrap();
    assert_eq!(now["rows"].as_array().unwrap()[..old.len()], old[..]);
    assert_eq!(now["classes"], json!(["cat", "dog", "ant", "bat"]));
    assert!(verify(&target, true).unwrap().findings.is_empty());
    // Rows from before orientation was read stay as they are stored, new ones are as they are shown.
    let dataset = Dataset::open(&target).unwrap();
    let turned = |id: &str| {
        let row = (0..dataset.rows()).find(|r| dataset.index().row(*r).id() == id).unwrap();
        let info = dataset.index().row(row).payload(0).unwrap().info;
        (info.orientation.code(), info.width, info.height)
    };
    assert_eq!((turned("f.jpg"), turned("photo.jpg")), ((0, 64, 48), (6, 27, 43)));
    // Segments over shards of both formats are made again as they were.
    for segment in std::fs::read_dir(target.join(".dsctl/segments")).unwrap().map(|e| e.unwrap().path()) {
        std::fs::remove_file(&segment).unwrap();
        assert_eq!(rebuild_index(&target).unwrap(), [segment]);
    }
    let state = State::from_json(&read("state.json")).unwrap();
    let before = Arc::new(Dataset::open_version(&target, 2).unwrap());
    assert_eq!(digests(recipe().loader(before).unwrap().resume(&state).unwrap()), want["remaining"]);
}

fn write_source(root: &Path, media: &[(&str, &str)], rows: &[serde_json::Value]) {
    std::fs::create_dir_all(root).unwrap();
    for (name, fixture) in media {
        std::fs::copy(crate::common::fixture(fixture), root.join(name)).unwrap();
    }
    let lines: String = rows.iter().map(|row| format!("{row}\n")).collect();
    std::fs::write(root.join("manifest.jsonl"), lines).unwrap();
}

/// The recipe of the frozen state: u8 and i64 (and stored values), so that its bytes are the same on every machine.
const RECIPE: &str = r#"# The recipe of state.json and of the digests in expect.json. Never edited: it is what version 0.1 was given.
seed = 5
batch = 2
tail = "pad"

[columns.image]
ops = [{ op = "random_resized_crop", size = 16 }, { op = "horizontal_flip" }, { op = "to", layout = "nchw" }]

[columns.note]
ops = [{ op = "bytes_to_ids", max_len = 12, offset = 3 }]

[columns.label]
[columns.count]
[columns.score]
[columns.checked]
"#;

/// Writes the frozen dataset with the code of today. A frozen folder is never written again: a new format gets a new one.
#[test]
#[ignore = "writes fixtures/frozen/v1, once: cargo test --test load frozen::make_frozen -- --ignored"]
fn make_frozen() {
    assert!(!frozen().exists(), "frozen is frozen: a new format gets a folder of its own (v2)");
    let dir = tempfile::tempdir().unwrap();
    let target = frozen().join("dataset");
    let (first, second) = (dir.path().join("first"), dir.path().join("second"));
    let row = |name: &str, label: &str, split: &str, rest: serde_json::Value| {
        let mut row = json!({"file_name": name, "label": label, "split": split});
        row.as_object_mut().unwrap().extend(rest.as_object().unwrap().clone());
        row
    };
    write_source(
        &first,
        &[
            ("a.jpg", "images/train/t-shirt/004_422_odd.jpg"),
            ("b.png", "images/train/shoes/006_palette.png"),
            ("c.png", "images/test/pants/003_gray.png"),
            ("sub ü.jpg", "images_extra/named_png.png"),
            ("one.jpg", "images_extra/one_pixel.jpg"),
        ],
        &[
            row("a.jpg", "cat", "train", json!({"count": 7, "score": 0.1, "checked": true, "note": "plain"})),
            row("b.png", "dog", "train", json!({"count": -3, "score": null, "checked": false, "note": "grüße 🐑"})),
            row("c.png", "cat", "test", json!({"count": null, "score": -2.25, "checked": null, "note": null})),
            row("sub ü.jpg", "dog", "train", json!({"count": 9_007_199_254_740_993_i64, "note": "two\nlines"})),
            row("one.jpg", "dog", "test", json!({"score": 1e300, "checked": true})),
        ],
    );
    write_source(
        &second,
        &[
            ("d.png", "images_extra/bilevel.png"),
            ("e.jpg", "images_extra/sampling_4x1.jpg"),
            ("f.jpg", "images_extra/exif_orientation_6.jpg"),
        ],
        &[
            row(
                "d.png",
                "ant",
                "train",
                json!({"count": 1, "score": 4, "checked": true, "note": "a class that is new"}),
            ),
            row("e.jpg", "cat", "validation", json!({"count": 2, "score": 0.5, "checked": false, "note": "x"})),
            row("f.jpg", "ant", "train", json!({"note": ""})),
        ],
    );
    let options = IngestOptions { max_errors: feedstock::ingest::MaxErrors::NONE, ..IngestOptions::default() };
    for source in [first, second] {
        ingest(&source.join("manifest.jsonl"), &target, &options, &Control::default()).unwrap();
    }
    std::fs::write(frozen().join("recipe.toml"), RECIPE).unwrap();
    let loader = recipe().loader(dataset()).unwrap();
    let mut epoch = loader.epoch(EPOCH).unwrap();
    (0..2).for_each(|_| drop(epoch.next().unwrap().unwrap()));
    let state = epoch.state();
    drop(epoch);
    std::fs::write(frozen().join("state.json"), state.to_json()).unwrap();
    let expect = json!({
        "version_1": contents(&Dataset::open_version(&target, 1).unwrap()),
        "version_2": contents(&dataset()),
        "recipe": loader.recipe_digest(),
        "epoch": EPOCH,
        "batches": digests(loader.epoch(EPOCH).unwrap()),
        "remaining": digests(loader.resume(&state).unwrap()),
    });
    std::fs::write(frozen().join("expect.json"), serde_json::to_string_pretty(&expect).unwrap() + "\n").unwrap();
}
