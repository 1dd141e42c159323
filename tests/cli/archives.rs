//! `dsctl` with an archive as the source.

use std::path::{Path, PathBuf};

use serde_json::json;

use crate::common::fixture;
use crate::common::pack::{self, Zipped, zip_of};
use crate::run::folder;

/// The photos as a ZIP, with one that is cut.
fn photos(root: &Path, is_mended: bool) -> PathBuf {
    let files = pack::files(&fixture("images"));
    let members = files.iter().enumerate().map(|(at, (name, bytes))| {
        let bytes = if at == 3 && !is_mended { &bytes[..100] } else { bytes };
        Zipped::new(&format!("photos/{name}"), bytes)
    });
    let path = root.join("photos.zip");
    std::fs::write(&path, zip_of(&members.collect::<Vec<_>>())).unwrap();
    path
}

#[test]
fn an_archive_is_detected_isolated_retried_and_looked_at() {
    let dir = folder();
    let archive = photos(dir.path(), false);
    let seen = dsctl!["detect", archive, "--list", "--json"].ok().json();
    assert!(seen["listing"]["notes"].to_string().contains("the source is the folder"), "{seen}");
    assert_eq!((&seen["format"], &seen["listing"]["entries"]), (&json!("folder"), &json!(32)));
    let dataset = dir.path().join("dataset");
    let plain = dsctl!["ingest", archive, dataset, "--max-errors", "1", "--json"].ok().json();
    assert_eq!((&plain["rows"], &plain["quarantined"]), (&json!(31), &json!(1)), "{plain}");
    let isolated = dir.path().join("isolated");
    dsctl!["ingest", archive, isolated, "--max-errors", "1", "--isolate"].ok();
    let shards = |root: &Path| pack::files(&root.join("data"));
    assert!(shards(&dataset) == shards(&isolated));
    // What was kept of the refused member is what stands in the archive.
    let listed = dsctl!["quarantine", "ls", dataset, "--rows", "--json"].ok().json();
    let entry = &listed[0]["entries"][0];
    assert_eq!((&entry["reason"], &entry["kept"]), (&json!("truncated"), &json!(100)), "{listed}");
    photos(dir.path(), true);
    dsctl!["quarantine", "retry", dataset].ok();
    let again = dsctl!["ingest", archive, dataset, "--json"].ok().json();
    assert_eq!((&again["rows"], &again["skipped"]), (&json!(0), &json!(32)), "{again}");
    dsctl!["verify", dataset].ok();
    // A ZIP that stores its members is read where it is; what it deflates has to be ingested.
    dsctl!["head", fixture("archives/python_stored.zip")].ok();
    dsctl!["head", archive].ended(2).says(&["ingest"]);
}

#[test]
fn what_is_no_archive_and_what_is_damaged_is_said() {
    let dir = folder();
    let path = dir.path().join("x.tar.gz");
    std::fs::write(&path, pack::gzip(b"not a tar")).unwrap();
    dsctl!["ingest", path, dir.path().join("d")].ended(2).says(&["x.tar.gz", "nothing of it can be read"]);
    std::fs::write(dir.path().join("x.zip"), b"PK\x03\x04 and no more").unwrap();
    dsctl!["detect", dir.path().join("x.zip")].ended(2).says(&["x.zip", "central directory"]);
    let (shards, dataset) = (dir.path().join("shards"), dir.path().join("d2"));
    std::fs::create_dir(&shards).unwrap();
    std::fs::rename(&path, shards.join("x.tar.gz")).unwrap();
    dsctl!["ingest", shards, dataset].ended(2).says(&["no samples"]);
    std::fs::copy(fixture("webdataset/shards/val-000000.tar"), shards.join("y.tar")).unwrap();
    let summary = dsctl!["ingest", shards, dataset, "--max-errors", "1", "--json"].ok().json();
    assert_eq!(
        (&summary["rows"], &summary["quarantined"]),
        (&json!(2), &json!(1)),
        "a shard that is none is one refusal"
    );
}
