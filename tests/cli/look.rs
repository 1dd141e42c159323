//! `dsctl ls`, `inspect` and `verify`.

use std::path::PathBuf;

use serde_json::{Value, json};

use crate::common::fixture;
use crate::run::{files, flip, folder};

/// The photos as a dataset.
fn photos() -> (tempfile::TempDir, PathBuf) {
    let dir = folder();
    let dataset = dir.path().join("d");
    dsctl!["ingest", fixture("images"), dataset, "--quiet"].ok();
    (dir, dataset)
}

#[test]
fn ls_shows_the_whole_and_its_rows() {
    let (_dir, dataset) = photos();
    let shown = dsctl!["ls", dataset].ok();
    for part in ["version 1, 32 rows, 2 shards", "split test", "3 classes: pants, shoes, t-shirt", "data/train/"] {
        assert!(shown.out.contains(part), "{part}: {}", shown.out);
    }
    assert_eq!(shown.err, "");
    let few = dsctl!["ls", dataset, "--rows", "--split", "train", "--limit", "3"].ok().out;
    assert_eq!(few.lines().count(), 3);
    assert_eq!(few.lines().next(), Some("11\ttrain/pants/000_444.jpg\tlabel=\"pants\""));
    let json = dsctl!["ls", dataset, "--json"].ok().json();
    let keys: Vec<&String> = json.as_object().unwrap().keys().collect();
    assert_eq!(keys, ["path", "version", "digest", "rows", "bytes", "splits", "schema", "shards"]);
    dsctl!["ls", dataset, "--split", "trian"].ended(2).says(&["trian", "test, train"]);
    assert_eq!(dsctl!["ls", dataset, "--version", "1", "--json"].ok().json(), json);
    dsctl!["ls", dataset, "--version", "7"].ended(2).says(&["no version 7", "version 1 is there"]);
    dsctl!["ls", dataset.join("nowhere")].ended(1).says(&["nowhere"]);
}

#[test]
fn inspect_shows_a_row_a_shard_and_a_version() {
    let (dir, dataset) = photos();
    let by_id = dsctl!["inspect", dataset, "train/shoes/006_palette.png", "--json"].ok().json();
    let number = by_id["row"].as_u64().unwrap().to_string();
    let by_number = dsctl!["inspect", dataset, number, "--json"].ok().json();
    assert_eq!(by_id, by_number);
    let media = &by_id["media"]["image"];
    assert_eq!((&media["format"], &media["bytes"], &media["hash_ok"]), (&json!("png"), &json!(2180), &json!(true)));
    assert_eq!(by_id["values"], json!({"label": "shoes"}));

    let out = dir.path().join("out");
    let shown = dsctl!["inspect", dataset, number, "--extract", out, "--json"].ok().json();
    let original = std::fs::read(fixture("images/train/shoes/006_palette.png")).unwrap();
    let extracted = shown["media"]["image"]["extracted"].as_str().unwrap();
    assert_eq!(std::fs::read(extracted).unwrap(), original);

    // The bytes lie in the shard where it says.
    let shard = std::fs::read(by_id["file"].as_str().unwrap()).unwrap();
    let at = media["offset"].as_u64().unwrap() as usize;
    assert_eq!(&shard[at..at + 2180], original);

    let whole = dsctl!["inspect", dataset, "--json"].ok().json();
    let listed = &whole["shards"][1];
    for name in [&listed["path"], &listed["sha256"]] {
        let shown = dsctl!["inspect", dataset, "--shard", name.as_str().unwrap(), "--json"].ok().json();
        assert_eq!((&shown["rows"], &shown["split"]), (&json!(21), &json!("train")));
        let groups = shown["row_groups"].as_array().unwrap();
        assert_eq!(groups.iter().map(|g| g["rows"].as_u64().unwrap()).sum::<u64>(), 21);
    }
    let human = dsctl!["inspect", dataset, "0", "--version", "1"].ok().out;
    assert!(human.contains("id: test/pants/000_420.jpg") && human.contains("hash_ok: true"), "{human}");
    dsctl!["inspect", dataset, "32"].ended(2).says(&["row 32 of 32"]);
    dsctl!["inspect", dataset, "train/shoes/none.png"].ended(2).says(&["none.png", "--rows"]);
    dsctl!["inspect", dataset, "--shard", "xyz"].ended(2).says(&["xyz"]);
    dsctl!["inspect", dataset, "0", "--version", "2"].ended(2).says(&["no version 2"]);
}

#[test]
fn verify_finds_a_flipped_byte_and_a_lost_shard() {
    let (_dir, dataset) = photos();
    let before = files(&dataset);
    let whole = dsctl!["verify", dataset, "--json"].ok().json();
    assert_eq!((&whole["findings"], &whole["notes"], &whole["rows"]), (&json!([]), &json!([]), &json!(32)));
    assert_eq!(files(&dataset), before, "verify only reads");

    let row = dsctl!["inspect", dataset, "20", "--json"].ok().json();
    let shard = PathBuf::from(row["file"].as_str().unwrap());
    let bytes = std::fs::read(&shard).unwrap();
    flip(&shard, row["media"]["image"]["offset"].as_u64().unwrap() as usize + 100);
    let ran = dsctl!["verify", dataset, "--json"].ended(3);
    let findings = ran.json()["findings"].as_array().unwrap().clone();
    let relative = shard.strip_prefix(&dataset).unwrap().to_str().unwrap();
    assert!(findings.iter().all(|f| f["path"] == relative), "{findings:?}");
    assert!(findings.iter().any(|f| f["code"] == "shard-digest"), "{findings:?}");
    let human = dsctl!["verify", dataset].ended(3).out;
    assert!(human.contains(relative) && human.contains("(shard-digest)"), "{human}");
    let shown = dsctl!["inspect", dataset, "20", "--json"].ok().json();
    assert_eq!(shown["media"]["image"]["hash_ok"], json!(false));

    std::fs::remove_file(&shard).unwrap();
    let codes: Vec<Value> = dsctl!["verify", dataset, "--json"].ended(3).json()["findings"]
        .as_array()
        .unwrap()
        .iter()
        .map(|f| f["code"].clone())
        .collect();
    assert_eq!(codes, ["shard-missing"]);
    std::fs::write(&shard, bytes).unwrap();
    dsctl!["verify", dataset].ok();
}

fn segment(dataset: &std::path::Path) -> PathBuf {
    std::fs::read_dir(dataset.join(".dsctl/segments")).unwrap().next().unwrap().unwrap().path()
}

#[test]
fn a_damaged_segment_is_made_again() {
    let (_dir, dataset) = photos();
    let segment = segment(&dataset);
    let whole = std::fs::read(&segment).unwrap();
    flip(&segment, whole.len() - 1);
    dsctl!["verify", dataset].ended(3);
    dsctl!["verify", dataset, "--rebuild-index"].ok().says(&["made again"]);
    assert!(std::fs::read(&segment).unwrap() == whole);
}

#[test]
fn a_lost_segment_is_made_again() {
    let (_dir, dataset) = photos();
    let segment = segment(&dataset);
    let whole = std::fs::read(&segment).unwrap();
    std::fs::remove_file(&segment).unwrap();
    dsctl!["verify", dataset].ended(3);
    dsctl!["verify", dataset, "--rebuild-index"].ok().says(&["made again"]);
    assert!(std::fs::read(&segment).unwrap() == whole);
    flip(&segment, 20);
    dsctl!["verify", dataset, "--rebuild-index"].ok();
    assert!(std::fs::read(&segment).unwrap() == whole);
}

#[test]
fn a_lost_segment_is_a_finding() {
    let (_dir, dataset) = photos();
    std::fs::remove_file(segment(&dataset)).unwrap();
    let ran = dsctl!["verify", dataset].ended(3);
    assert!(ran.out.contains(".idx") && ran.out.contains("(segment)"), "{}", ran.out);
    dsctl!["ls", dataset].says(&[".idx"]);
}
