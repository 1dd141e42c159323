//! Storage modes: what is stored loads as what it was made of, by the same operations; datasets go on as they were begun.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use crate::common::{digests, fixture};
use feedstock::data::batch::Column;
use feedstock::data::feature::{Feature, Schema};
use feedstock::data::packed::{Packed, TensorType};
use feedstock::data::record::{Cell, Record};
use feedstock::data::storage::Mode;
use feedstock::dataset::Dataset;
use feedstock::ingest::{Control, DatasetWriter, IngestOptions, MaxErrors, Summary, ingest};
use feedstock::plan::{Order, World};
use feedstock::recipe::Recipe;
use feedstock::verify::verify;
use feedstock::{Error, verify::rebuild_index};
use serde_json::{Value, json};

fn options(prepare: Value) -> IngestOptions {
    let mut options = IngestOptions {
        prepare: serde_json::from_value(prepare).unwrap(),
        max_errors: MaxErrors::ALL,
        ..Default::default()
    };
    options.shard_bytes = 40_000;
    options
}

/// Ingests a fixture; returns the summary and the payloads that were decoded.
fn take(source: &Path, dataset: &Path, options: &IngestOptions) -> Result<(Summary, u64), Error> {
    let control = Control::default();
    let summary = ingest(source, dataset, options, &control)?;
    Ok((summary, control.decodes.load(Ordering::Relaxed)))
}

struct Folder(tempfile::TempDir);

impl Folder {
    fn new() -> Self {
        Folder(tempfile::tempdir().unwrap())
    }

    fn made(&self, source: &str, prepare: Value) -> Arc<Dataset> {
        let target = self.0.path().join(format!("{source}{prepare}").replace(|c: char| !c.is_alphanumeric(), "_"));
        take(&fixture(source), &target, &options(prepare)).unwrap();
        let report = verify(&target, true).unwrap();
        assert!(report.findings.is_empty(), "{:?}", report.findings);
        Arc::new(Dataset::open(&target).unwrap())
    }
}

/// A recipe over everything in order of the plan, with these operations.
fn recipe(columns: Value) -> Recipe {
    let columns = serde_json::from_value(columns).unwrap();
    Recipe { batch: 5, seed: 3, order: Order::Shuffle, columns, ..Recipe::default() }
}

fn loaded(dataset: &Arc<Dataset>, columns: Value) -> Vec<u128> {
    let digests = digests(dataset, &recipe(columns), 1, World::default());
    assert!(digests.len() > 1);
    digests
}

#[test]
fn raw_pictures_load_as_their_originals() {
    let folder = Folder::new();
    let (original, raw) = (folder.made("images", json!({})), folder.made("images", json!({"store": "raw"})));
    assert_eq!(raw.schema().columns[0].stored.as_ref().map(|s| s.mode), Some(Mode::Raw));
    for ops in [
        json!([]),
        json!([{"op": "random_resized_crop", "size": 24}, {"op": "horizontal_flip"}, {"op": "to", "dtype": "f32", "layout": "nchw"}]),
        json!([{"op": "resize", "size": 40}, {"op": "center_crop", "size": 32}]),
    ] {
        let columns = json!({"image": {"ops": ops}, "label": {}});
        assert_eq!(loaded(&raw, columns.clone()), loaded(&original, columns), "{ops}");
    }
    // A size that was stored, and one of all: what is left of the recipe gives the same.
    let ops = json!([{"op": "resize", "size": [30, 40]}]);
    let sized = folder.made("images", json!({"columns": {"image": {"ops": ops}}}));
    let rest = json!([{"op": "random_resized_crop", "size": 16}, {"op": "horizontal_flip"}]);
    let whole = json!([{"op": "resize", "size": [30, 40]}, rest[0], rest[1]]);
    // Randomness hangs on an operation's place in its column: here it is another.
    let still = |ops: Value| json!({"image": {"ops": ops}});
    assert_eq!(
        loaded(&sized, still(json!([{"op": "center_crop", "size": 16}]))),
        loaded(&original, still(json!([{"op": "resize", "size": [30, 40]}, {"op": "center_crop", "size": 16}])))
    );
    assert_ne!(loaded(&sized, still(rest)), loaded(&original, still(whole)));
}

#[test]
fn recordings_load_as_their_originals() {
    let folder = Folder::new();
    let mel = json!({"op": "log_mel", "n_mels": 40});
    let resample = json!({"op": "resample", "rate": 16000});
    let original = folder.made("digits", json!({}));
    let columns = |ops: Value| json!({"audio": {"ops": ops}});
    let whole = loaded(&original, columns(json!([resample, mel])));
    for (prepare, rest) in [
        (json!({"store": "raw"}), json!([resample, mel])),
        (json!({"audio": {"codec": "flac"}}), json!([resample, mel])),
        (json!({"store": "raw", "audio": {"rate": 16000}}), json!([resample, mel])),
        (json!({"columns": {"audio": {"ops": [resample, mel]}}}), json!([])),
    ] {
        let stored = folder.made("digits", prepare.clone());
        assert_eq!(loaded(&stored, columns(rest)), whole, "{prepare}");
    }
    // A chain goes on behind what is stored, with its padding.
    let stored = folder.made("digits", json!({"columns": {"audio": {"ops": [resample, mel]}}}));
    let half = json!({"op": "to", "dtype": "f16"});
    assert_eq!(loaded(&stored, columns(json!([half]))), loaded(&original, columns(json!([resample, mel, half]))));
    let Feature::Tensor(tensor) = &stored.schema().columns[0].feature else { panic!() };
    assert_eq!(tensor.shape, [Some(40), None]);
    assert!(tensor.pad < -20.0, "{tensor:?}");
}

#[test]
fn ids_load_as_their_texts() {
    let folder = Folder::new();
    let ids = json!({"op": "bytes_to_ids", "offset": 3, "pad_id": 9});
    let original = folder.made("text/shakespeare_20k.txt", json!({}));
    let whole = loaded(&original, json!({"text": {"ops": [ids]}}));
    for dtype in ["u16", "i32", "u32", "i64"] {
        let prepare = json!({"columns": {"text": {"ops": [ids], "dtype": dtype}}});
        let stored = folder.made("text/shakespeare_20k.txt", prepare);
        assert_eq!(loaded(&stored, json!({"text": {}})), whole, "{dtype}");
    }
}

/// Pictures of all sizes as tensors: two lengths that differ; and of one size, a dense column.
#[test]
fn tensors_of_pictures_are_padded_or_dense() {
    let folder = Folder::new();
    let original = folder.made("images", json!({}));
    let plain = json!({"op": "to", "dtype": "f16", "layout": "nchw"});
    let stored = folder.made("images", json!({"columns": {"image": {"ops": [plain]}}}));
    let columns = |ops: Value| json!({"image": {"ops": ops}});
    assert_eq!(loaded(&stored, columns(json!([]))), loaded(&original, columns(json!([plain]))));
    let fixed =
        folder.made("images", json!({"columns": {"image": {"ops": [{"op": "resize", "size": [8, 9]}, plain]}}}));
    let batch = recipe(columns(json!([]))).loader(fixed).unwrap().epoch(0).unwrap().next().unwrap().unwrap();
    let Column::Dense(dense) = batch.column("image").unwrap() else { panic!() };
    assert_eq!((&dense.shape[..], dense.lengths.len()), (&[5, 3, 8, 9][..], 0));
}

fn versions(dataset: &Path) -> Vec<String> {
    (1..=9).map_while(|v| Dataset::open_version(dataset, v).ok()).map(|d| d.digest().to_owned()).collect()
}

#[test]
fn bytes_do_not_depend_on_threads() {
    let dir = tempfile::tempdir().unwrap();
    for (source, prepare) in [
        ("images", json!({"image": {"max_side": 50, "quality": 80}})),
        ("images", json!({"image": {"format": "png"}})),
        ("digits", json!({"audio": {"rate": 11025, "codec": "flac"}})),
        ("clips", json!({"video": {"fps": 3.0, "max_side": 40}})),
        ("digits", json!({"columns": {"audio": {"ops": [{"op": "resample", "rate": 16000}, {"op": "log_mel"}]}}})),
        ("text/shakespeare_20k.txt", json!({"columns": {"text": {"ops": [{"op": "chars_to_ids"}], "count": true}}})),
    ] {
        let mut seen = BTreeMap::new();
        for threads in [1, 5] {
            let name = source.replace('/', "-");
            let target = dir.path().join(format!("{name}-{threads}-{}", prepare.to_string().len()));
            take(&fixture(source), &target, &IngestOptions { threads, ..options(prepare.clone()) }).unwrap();
            seen.insert(versions(&target), threads);
        }
        assert_eq!(seen.len(), 1, "{source} {prepare}");
    }
}

#[test]
fn a_dataset_goes_on_as_it_was_begun() {
    let dir = tempfile::tempdir().unwrap();
    let dataset = dir.path().join("d");
    let small = options(json!({"image": {"max_side": 50}}));
    let (first, decodes) = take(&fixture("images"), &dataset, &small).unwrap();
    assert_eq!((first.rows, decodes), (32, 32));
    // The same files: known by what they were, not by what is stored of them; nothing is decoded.
    for again in [&small, &options(json!({}))] {
        let (summary, decodes) = take(&fixture("images"), &dataset, again).unwrap();
        assert_eq!((summary.rows, summary.skipped, summary.version, decodes), (0, 32, 1, 0));
    }
    // More of it, without saying how.
    let more = dir.path().join("more/train/hat");
    std::fs::create_dir_all(&more).unwrap();
    std::fs::copy(fixture("images/train/pants/000_444.jpg"), more.join("new.jpg")).unwrap();
    let (summary, _) = take(&dir.path().join("more"), &dataset, &options(json!({}))).unwrap();
    assert_eq!((summary.rows, summary.version), (1, 2));
    let opened = Dataset::open(&dataset).unwrap();
    let row = opened.index().row(32);
    let (payload, original) = (row.payload(0).unwrap(), row.original(0).unwrap());
    assert_eq!(payload.info.width.max(payload.info.height), 50);
    assert_eq!(original.bytes, std::fs::metadata(more.join("new.jpg")).unwrap().len());
    // Another picture under an id that is there; then other options.
    std::fs::copy(fixture("images/train/pants/001_422.jpg"), more.join("new.jpg")).unwrap();
    std::fs::copy(fixture("images/train/pants/001_422.jpg"), more.join("other.jpg")).unwrap();
    let (summary, _) = take(&dir.path().join("more"), &dataset, &options(json!({}))).unwrap();
    assert_eq!((summary.rows, summary.quarantined, summary.version), (1, 1, 3));
    let error = take(&fixture("images"), &dataset, &options(json!({"store": "raw"}))).unwrap_err();
    assert!(error.exit_code() == 2 && error.to_string().contains("another dataset"), "{error}");
    // The Index is made again from the shards, with what the source's payloads were.
    let before = versions(&dataset);
    let segments = std::fs::read_dir(dataset.join(".dsctl/segments")).unwrap().map(|e| e.unwrap().path());
    std::fs::remove_file(segments.max_by_key(|path| path.metadata().unwrap().len()).unwrap()).unwrap();
    rebuild_index(&dataset).unwrap();
    assert!(verify(&dataset, true).unwrap().findings.is_empty());
    assert_eq!(versions(&dataset), before);
    assert_eq!(take(&fixture("images"), &dataset, &options(json!({}))).unwrap().0.skipped, 32);
}

#[test]
fn a_run_that_goes_on_with_other_options_begins_anew() {
    let dir = tempfile::tempdir().unwrap();
    let dataset = dir.path().join("d");
    let mut control = Control::default();
    let cancel = Arc::clone(&control.cancel);
    control.progress = Some(Box::new(move |p| cancel.store(p.done > 0, Ordering::Relaxed)));
    let mut lines: String = String::new();
    (0..900).for_each(|i| lines.push_str(&format!("line {i}\n")));
    let source = dir.path().join("lines.txt");
    std::fs::write(&source, lines).unwrap();
    let ids = |offset: i64| {
        let mut options =
            options(json!({"columns": {"text": {"ops": [{"op": "bytes_to_ids", "offset": offset}], "dtype": "u16"}}}));
        options.shard_bytes = 1_000;
        options
    };
    assert!(matches!(ingest(&source, &dataset, &ids(1), &control), Err(Error::Interrupted)));
    let (summary, decodes) = take(&source, &dataset, &ids(2)).unwrap();
    assert_eq!((summary.rows, decodes), (900, 900), "nothing of the first run's is taken over");
    let undisturbed = dir.path().join("e");
    take(&source, &undisturbed, &ids(2)).unwrap();
    assert_eq!(versions(&dataset), versions(&undisturbed));
}

#[test]
fn records_from_code_are_prepared_and_may_be_tensors() {
    let dir = tempfile::tempdir().unwrap();
    let tensor = Feature::Tensor(TensorType { dtype: Packed::F32, shape: vec![Some(2)], pad: 0.0 });
    let schema = Schema::new([("image", Feature::Image), ("embedding", tensor.clone())]);
    let asked = options(json!({"image": {"max_side": 20}}));
    let mut writer = DatasetWriter::create(dir.path(), schema.clone(), &asked).unwrap();
    let photo = std::fs::read(fixture("images/train/pants/000_444.jpg")).unwrap();
    let record = |id: &str, floats: &[f32]| {
        let bytes = floats.iter().flat_map(|f| f.to_le_bytes()).collect();
        let cells = vec![Cell::Media(photo.clone()), Cell::Media(bytes)];
        Record { id: id.into(), split: "train".into(), cells }
    };
    writer.append(record("a", &[1.0, 2.0])).unwrap();
    writer.append(record("b", &[3.0, 4.0])).unwrap();
    let wrong = writer.append(record("c", &[1.0])).unwrap_err().to_string();
    assert!(wrong.contains("embedding") && wrong.contains("4 bytes"), "{wrong}");
    assert_eq!(writer.commit().unwrap().rows, 2);
    let mut again = DatasetWriter::create(dir.path(), schema, &IngestOptions::default()).unwrap();
    again.append(record("a", &[1.0, 2.0])).unwrap();
    assert_eq!(again.commit().unwrap().skipped, 1);
    let dataset = Arc::new(Dataset::open(dir.path()).unwrap());
    assert_eq!(dataset.schema().get("embedding"), Some(&tensor));
    let recipe = Recipe { batch: 2, order: Order::Sequential, ..Recipe::default() };
    let batch = recipe.loader(dataset).unwrap().epoch(0).unwrap().next().unwrap().unwrap();
    assert_eq!(batch.get::<f32>("embedding").unwrap().data, [1.0, 2.0, 3.0, 4.0]);
    assert!(batch.column("image").is_ok());
}

/// The shards alone, as anybody's Parquet: a tensor is known by the field's metadata.
#[test]
fn shards_tell_their_tensors_without_the_dataset() {
    let folder = Folder::new();
    let ids = json!([{"op": "bytes_to_ids"}]);
    let dataset = folder.made("text/shakespeare_20k.txt", json!({"columns": {"text": {"ops": ids, "dtype": "u16"}}}));
    let alone = Arc::new(Dataset::open(dataset.root().join("data")).unwrap());
    assert_eq!(alone.schema().get("text"), dataset.schema().get("text"));
    assert_eq!(alone.rows(), dataset.rows());
    let recipe = Recipe { batch: 4, order: Order::Sequential, ..recipe(json!({"text": {}})) };
    let texts = |dataset: &Arc<Dataset>| {
        let batches = recipe.loader(dataset.clone()).unwrap().epoch(0).unwrap();
        batches.map(|b| b.unwrap().get::<i64>("text").unwrap().data.to_vec()).collect::<Vec<_>>()
    };
    assert_eq!(texts(&alone), texts(&dataset));
}

/// Everything hostile: the quarantine has what cannot be made, with the reasons of the check.
#[test]
fn what_cannot_be_made_is_quarantined() {
    let dir = tempfile::tempdir().unwrap();
    for (kind, prepare) in [
        ("image", json!({"image": {"max_side": 16}})),
        ("image", json!({"store": "raw"})),
        ("audio", json!({"audio": {"rate": 8000}})),
        ("video", json!({"video": {"fps": 2.0}})),
    ] {
        let target = |name: &str| dir.path().join(format!("{kind}-{name}-{}", prepare.to_string().len()));
        let mut plain = options(json!({}));
        plain.source.kind = serde_json::from_value(json!(kind)).unwrap();
        plain.format = Some("folder".into());
        let with = IngestOptions { prepare: options(prepare.clone()).prepare, ..plain.clone() };
        let refused = |options: &IngestOptions, name: &str| {
            let dataset = target(name);
            // A kind without one good file commits nothing, and reports all the same.
            let _ = take(&fixture("hostile"), &dataset, options);
            let reports = std::fs::read_dir(dataset.join(".dsctl/quarantine")).unwrap().map(|f| f.unwrap().path());
            let reports = reports.filter(|f| f.extension().is_some_and(|e| e == "jsonl"));
            let text: String = reports.map(|f| std::fs::read_to_string(f).unwrap()).collect();
            let line = |line: &str| {
                let line: Value = serde_json::from_str(line).unwrap();
                (line["id"].as_str().unwrap().to_owned(), line["reason"].as_str().unwrap().to_owned())
            };
            text.lines().map(line).collect::<BTreeMap<_, _>>()
        };
        let (before, after) = (refused(&plain, "plain"), refused(&with, "made"));
        for (id, reason) in &before {
            assert_eq!(after.get(id), Some(reason), "{kind} {prepare}: {id}");
        }
        assert!(after.values().all(|reason| reason != "decoder-panic" || before.values().any(|r| r == reason)));
    }
}

/// What a counted column holds, by id.
fn counted(dataset: &Dataset, name: &str) -> BTreeMap<String, Option<i64>> {
    let at = dataset.schema().position(name).unwrap();
    let rows = (0..dataset.rows()).map(|row| dataset.index().row(row));
    let value = |row: &feedstock::data::index::Row<'_>| match row.value(at) {
        feedstock::data::label::Value::Int(value) => Some(value),
        _ => None,
    };
    rows.map(|row| (row.id().to_owned(), value(&row))).collect()
}

/// Texts stay as they are, and beside them stands how many numbers operations make of each; a dataset goes on counting so.
#[test]
fn numbers_are_counted_beside_the_texts() {
    let dir = tempfile::tempdir().unwrap();
    let chars = |count: bool| json!({"columns": {"text": {"ops": [{"op": "chars_to_ids"}], "count": count}}});
    let manifest = |name: &str, text: &str| {
        let path = dir.path().join(name);
        std::fs::write(&path, text).unwrap();
        path
    };
    let one = manifest("one.jsonl", "{\"text\": \"grüße\", \"label\": \"a\"}\n{\"text\": \"\", \"label\": \"b\"}\n");
    let dataset = dir.path().join("d");
    take(&one, &dataset, &options(chars(true))).unwrap();
    let opened = Arc::new(Dataset::open(&dataset).unwrap());
    let names: Vec<&str> = opened.schema().columns.iter().map(|c| c.name.as_str()).collect();
    let own = names.iter().position(|name| *name == "text").unwrap();
    assert_eq!((names.len(), names[2]), (3, "text_tokens"));
    let column = &opened.schema().columns[2];
    let stored = column.stored.as_ref().unwrap();
    assert_eq!(
        (&column.feature, stored.mode, stored.made_by.as_slice()),
        (&Feature::Int, Mode::Counts, &["chars_to_ids 1".to_owned()][..])
    );
    assert_eq!(stored.counted(), Some(("text", &[json!({"op": "chars_to_ids"})][..])));
    assert!(opened.schema().columns[own].stored.is_none() && opened.index().row(0).original(own).is_none());
    let mut text = Vec::new();
    opened.fetch(0, own, &mut text).unwrap();
    assert_eq!(text, "grüße".as_bytes());
    // As Hugging Face's readers see it, also without us.
    assert_eq!(opened.schema().hf_features()["text_tokens"], json!({"dtype": "int64", "_type": "Value"}));
    let alone = Dataset::open(dataset.join("data")).unwrap();
    assert_eq!(alone.schema().get("text_tokens"), Some(&Feature::Int));

    // Known rows are known, and others are counted, whatever the order of the columns; nobody has to say how.
    let two = manifest(
        "two.jsonl",
        "{\"label\": \"b\", \"text\": \"drei\"}\n{\"label\": \"a\", \"text\": \"grüß\"}\n{\"label\": \"a\", \"text\": \"x\"}\n",
    );
    for (prepare, rows, skipped) in [(json!({}), 3, 0), (chars(true), 0, 3)] {
        let (summary, decodes) = take(&two, &dataset, &options(prepare)).unwrap();
        assert_eq!((summary.rows, summary.skipped, decodes), (rows, skipped, rows));
    }
    let opened = Dataset::open(&dataset).unwrap();
    let counts = counted(&opened, "text_tokens");
    let of = |id: &str| *counts.iter().find(|(own, _)| own.contains(id)).unwrap().1;
    // What is not there has no count.
    assert_eq!((counts.len(), of("one.jsonl#1"), of("one.jsonl#2")), (5, Some(5), None), "{counts:?}");
    assert_eq!([1, 2, 3].map(|line| of(&format!("two.jsonl#{line}"))), [Some(4), Some(4), Some(1)], "{counts:?}");
    // The Index is made again from the shards.
    assert!(verify(&dataset, true).unwrap().findings.is_empty());
    let before = versions(&dataset);
    let segments = std::fs::read_dir(dataset.join(".dsctl/segments")).unwrap().map(|e| e.unwrap().path());
    std::fs::remove_file(segments.max_by_key(|path| path.metadata().unwrap().len()).unwrap()).unwrap();
    assert_eq!(rebuild_index(&dataset).unwrap().len(), 1);
    assert!(verify(&dataset, true).unwrap().findings.is_empty());
    assert_eq!(versions(&dataset), before);

    // Records from code, one of them without a text.
    let code = dir.path().join("code");
    let schema = Schema::new([("text", Feature::Text), ("n", Feature::Int)]);
    let mut writer = DatasetWriter::create(&code, schema, &options(chars(true))).unwrap();
    for (id, cell) in [("a", Cell::Media(b"abc".to_vec())), ("b", Cell::NULL)] {
        let cells = vec![cell, Cell::Value(feedstock::data::label::Value::Int(7))];
        writer.append(Record { id: id.into(), split: "train".into(), cells }).unwrap();
    }
    writer.commit().unwrap();
    let counts = counted(&Dataset::open(&code).unwrap(), "text_tokens");
    assert_eq!(counts, [("a".to_owned(), Some(3)), ("b".to_owned(), None)].into());
    assert!(verify(&code, true).unwrap().findings.is_empty());
}

#[test]
fn what_cannot_be_counted_is_said_with_the_way_out() {
    let dir = tempfile::tempdir().unwrap();
    let count = |ops: Value| json!({"columns": {"text": {"ops": ops, "count": true}}});
    let ids = count(json!([{"op": "bytes_to_ids"}]));
    let line = |name: &str, text: &str| {
        std::fs::write(dir.path().join(name), text).unwrap();
        dir.path().join(name)
    };
    let (plain, own) = (
        line("plain.jsonl", "{\"text\": \"a\", \"n\": 1}\n"),
        line("own.jsonl", "{\"text\": \"a\", \"text_tokens\": 1}\n"),
    );
    let refused = |source: &Path, dataset: &str, prepare: &Value, parts: &[&str]| {
        let error = take(source, &dir.path().join(dataset), &options(prepare.clone())).unwrap_err();
        let told = error.to_string();
        assert!(error.exit_code() == 2 && parts.iter().all(|part| told.contains(part)), "{told}");
    };
    refused(&own, "x", &ids, &["\"text_tokens\"", "call it otherwise"]);
    refused(
        &plain,
        "x",
        &count(json!([{"op": "normalize_text", "form": "nfc"}])),
        &["no sequence of tokens", "bytes_to_ids"],
    );
    refused(&plain, "x", &count(json!([{"op": "token_window", "length": 5}])), &["token_window"]);
    refused(
        &plain,
        "x",
        &json!({"columns": {"n": {"ops": [{"op": "bytes_to_ids"}], "count": true}}}),
        &["columns.n", "int"],
    );
    refused(
        &fixture("images"),
        "x",
        &json!({"columns": {"image": {"ops": [{"op": "to"}], "count": true}}}),
        &["of texts"],
    );
    refused(&fixture("images"), "x", &json!({"text": {"count": "t.json"}}), &["no column of texts"]);
    let both = json!({"text": {"count": "t.json", "tokenizer": "t.json"}});
    refused(&plain, "x", &both, &["text.tokenizer and text.count"]);
    let typed = json!({"columns": {"text": {"ops": [{"op": "bytes_to_ids"}], "count": true, "dtype": "u16"}}});
    refused(&plain, "x", &typed, &["leave dtype out"]);
    // A dataset is counted from its first ingest on, in one way.
    take(&plain, &dir.path().join("without"), &options(json!({}))).unwrap();
    refused(&plain, "without", &ids, &["no column \"text_tokens\"", "another dataset"]);
    take(&own, &dir.path().join("own"), &options(json!({}))).unwrap();
    take(&plain, &dir.path().join("with"), &options(ids.clone())).unwrap();
    refused(&own, "with", &json!({}), &["the source has a column \"text_tokens\""]);
    let other = count(json!([{"op": "chars_to_ids"}]));
    refused(&plain, "with", &other, &["bytes_to_ids", "chars_to_ids", "leave these options out"]);
    let stored = json!({"columns": {"text": {"ops": [{"op": "bytes_to_ids"}]}}});
    refused(&plain, "with", &stored, &["\"text\"", "another dataset"]);
}

/// Counts are keyed by what is in the tokenizer's file, which a dataset does not keep.
#[cfg(feature = "tokenizers")]
#[test]
fn tokens_are_counted_by_one_tokenizer() {
    let dir = tempfile::tempdir().unwrap();
    let (dataset, source) = (dir.path().join("d"), fixture("text/unicode.txt"));
    let file = |name: &str| fixture(&format!("tokenizers/{name}.json"));
    let count = |file: &Path| options(json!({"text": {"count": file}}));
    let copy = dir.path().join("copy.json");
    std::fs::copy(file("wordpiece"), &copy).unwrap();
    let (summary, _) = take(&source, &dataset, &count(&copy)).unwrap();
    let opened = Dataset::open(&dataset).unwrap();
    let tokenizer = feedstock::tokenizer::Tokenizer::open(file("wordpiece"), true, None).unwrap();
    let counts = counted(&opened, "text_tokens");
    let mut text = Vec::new();
    for row in 0..opened.rows() {
        opened.fetch(row, 0, &mut text).unwrap();
        let ids = tokenizer.encode(std::str::from_utf8(&text).unwrap(), None).unwrap().ids;
        assert_eq!(counts[opened.index().row(row).id()], Some(ids.len() as i64));
    }
    let stored = opened.schema().columns[1].stored.as_ref().unwrap();
    assert_eq!(stored.counted().unwrap().1, [json!({"op": "tokenize", "file": {"sha256": tokenizer.sha256()}})]);
    // The same content is the same tokenizer, wherever it lies.
    assert_eq!(take(&source, &dataset, &count(&file("wordpiece"))).unwrap().0.skipped, summary.rows);
    let refused = |options: &IngestOptions, parts: &[&str]| {
        let error = take(&source, &dataset, options).unwrap_err();
        let told = error.to_string();
        assert!(error.exit_code() == 2 && parts.iter().all(|part| told.contains(part)), "{told}");
    };
    refused(&count(&file("unigram")), &[tokenizer.sha256(), "another dataset"]);
    refused(&options(json!({})), &["\"text_tokens\"", tokenizer.sha256(), "--count-tokens"]);
    refused(&count(&dir.path().join("none.json")), &["\"tokenize\"", "none.json"]);
    assert_eq!(Dataset::open(&dataset).unwrap().version(), Some(1));
}
