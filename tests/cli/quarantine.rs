//! `dsctl quarantine`: what was refused, seen, written out, and taken in again.

use std::path::{Path, PathBuf};

use serde_json::json;

use crate::run::{copies, folder};

/// Two good photos, a text among them with an id that would do things to a terminal, and half a photo.
fn photos(root: &Path) -> PathBuf {
    let source = root.join("photos");
    copies(
        &source,
        &[
            ("images/train/pants/000_444.jpg", "train/pants/one.jpg"),
            ("images/train/pants/001_422.jpg", "train/hat/two.jpg"),
            ("hostile/truncated.jpg", "train/hat/cut.jpg"),
        ],
    );
    std::fs::write(source.join("train/pants/sh \u{1b}[31m$(x).jpg"), b"#!/bin/sh\nnot a picture\n").unwrap();
    source
}

#[test]
fn it_is_listed_by_reason_and_class() {
    let dir = folder();
    let (source, dataset) = (photos(dir.path()), dir.path().join("d"));
    dsctl!["quarantine", "ls", dataset].ended(2).says(&["no dataset that dsctl made"]);
    dsctl!["ingest", source, dataset].ok();
    let [run] = <[serde_json::Value; 1]>::try_from(
        dsctl!["quarantine", "ls", dataset, "--json"].ok().json().as_array().unwrap().clone(),
    )
    .unwrap();
    assert_eq!(
        (&run["refused"], &run["rows"], &run["kept"], &run["unfinished"]),
        (&json!(2), &json!(2), &json!(2), &json!(false))
    );
    assert_eq!(run["reasons"], json!({"truncated": 1, "unknown-format": 1}));
    assert_eq!(run["classes"], json!({"hat": 1, "pants": 1}));
    assert_eq!(run["source"], json!(source.canonicalize().unwrap()));
    assert!(run.get("entries").is_none());
    let only = |flag: &str, value: &str| {
        let listed = dsctl!["quarantine", "ls", dataset, flag, value, "--rows", "--json"].ok().json();
        listed[0]["entries"]
            .as_array()
            .unwrap()
            .iter()
            .map(|e| e["id"].as_str().unwrap().to_owned())
            .collect::<Vec<_>>()
    };
    assert_eq!(only("--reason", "truncated"), ["train/hat/cut.jpg"]);
    assert_eq!(only("--class", "pants"), ["train/pants/sh \u{1b}[31m$(x).jpg"]);
    assert!(only("--class", "socks").is_empty());
    dsctl!["quarantine", "ls", dataset, "--reason", "cut"].ended(2).says(&["no reason \"cut\"", "truncated, "]);
    dsctl!["quarantine", "ls", dataset, "--run", "abc"].ended(2).says(&["abc"]);
    let told = dsctl!["quarantine", "ls", dataset, "--rows", "--limit", "1"].ok().out;
    assert!(told.contains("reason truncated        1") && told.contains("class  hat              1"), "{told}");
    assert!(told.contains("... and 1 more (--limit)") && !told.contains('\u{1b}'), "{told}");
    let told = dsctl!["quarantine", "ls", dataset, "--rows"].ok().out;
    assert!(
        told.contains("\\u{1b}[31m") && !told.contains('\u{1b}'),
        "nothing of a stranger's reaches the terminal: {told}"
    );
}

#[test]
fn the_bytes_come_out_under_a_safe_name() {
    let dir = folder();
    let (source, dataset) = (photos(dir.path()), dir.path().join("d"));
    dsctl!["ingest", source, dataset, "--quarantine-bytes", "1KiB"].ok();
    let id = "train/pants/sh \u{1b}[31m$(x).jpg";
    let shown = dsctl!["quarantine", "show", dataset, id].ok().out;
    for part in ["unknown-format", "23 21 2f 62 69 6e 2f 73 68", "#!/bin/sh.not a", "class      pants"] {
        assert!(shown.contains(part), "no {part:?}: {shown}");
    }
    assert!(!shown.contains('\u{1b}'), "{shown}");
    let out = dir.path().join("out");
    let told = dsctl!["quarantine", "show", dataset, id, "--extract", out, "--json"].ok().json();
    let [file] =
        <[PathBuf; 1]>::try_from(std::fs::read_dir(&out).unwrap().map(|f| f.unwrap().path()).collect::<Vec<_>>())
            .unwrap();
    assert_eq!(told[0]["file"], json!(file));
    let name = file.file_name().unwrap().to_str().unwrap();
    assert!(name.ends_with("-sh___31m__x_.jpg.refused"), "{name}");
    assert!(name.chars().all(|c| c.is_ascii_alphanumeric() || "._-".contains(c)) && !name.starts_with('.'), "{name}");
    assert_eq!(std::fs::read(&file).unwrap(), b"#!/bin/sh\nnot a picture\n");
    // Nothing is written over.
    dsctl!["quarantine", "show", dataset, id, "--extract", out].ended(1).says(&["cannot create"]);
    let cut = dir.path().join("cut.jpg");
    let told = dsctl!["quarantine", "show", dataset, "train/hat/cut.jpg", "-o", cut].ok().out;
    assert!(told.contains("the beginning"), "{told}");
    assert_eq!(std::fs::read(&cut).unwrap(), std::fs::read(source.join("train/hat/cut.jpg")).unwrap()[..1024]);
    dsctl!["quarantine", "show", dataset, "train/hat/cut.jpg", "-o", cut].ended(1).says(&["cut.jpg"]);
    dsctl!["quarantine", "show", dataset, "two.jpg"].ended(2).says(&["\"two.jpg\"", "ls --rows"]);

    let without = dir.path().join("without");
    dsctl!["ingest", source, without, "--quarantine-bytes", "0"].ok();
    dsctl!["quarantine", "show", without, id].ok();
    dsctl!["quarantine", "show", without, id, "-o", dir.path().join("x")]
        .ended(2)
        .says(&["no bytes", "--quarantine-bytes"]);
    dsctl!["ingest", source, without, "--quarantine-bytes", "1MB"].ended(2).says(&["1MiB"]);
}

#[test]
fn what_is_good_now_is_taken_in() {
    let dir = folder();
    let (source, dataset) = (photos(dir.path()), dir.path().join("d"));
    dsctl!["ingest", source, dataset, "--max-errors", "0"].ended(5).says(&["dsctl quarantine ls"]);
    let listed = dsctl!["quarantine", "ls", dataset].ok().out;
    assert!(listed.contains("has committed nothing"), "{listed}");
    dsctl!["quarantine", "retry", dataset].ok().says(&["committed nothing", "nothing to take in again"]);
    dsctl!["ingest", source, dataset].ok();
    copies(&source, &[("images/train/pants/001_422.jpg", "train/hat/cut.jpg")]);
    dsctl!["quarantine", "retry", dataset, "--max-errors", "0"].ended(5).says(&["1 of 2 entries"]);
    let told = dsctl!["quarantine", "retry", dataset, "--json"].ok().json();
    assert_eq!((&told[0]["before"], &told[0]["after"], &told[0]["missing"]), (&json!(2), &json!(1), &json!(0)));
    assert_eq!((&told[0]["summary"]["rows"], &told[0]["summary"]["version"]), (&json!(1), &json!(2)));
    let moved = dir.path().join("moved");
    std::fs::rename(&source, &moved).unwrap();
    dsctl!["quarantine", "retry", dataset].ended(2).says(&["photos", "--source PATH"]);
    std::fs::remove_file(moved.join("train/pants/sh \u{1b}[31m$(x).jpg")).unwrap();
    let told = dsctl!["quarantine", "retry", dataset, "--source", moved].ok().out;
    assert!(
        told.contains("of 1 refusals, no new rows (version 2); 0 are refused still, 1 the source has no more"),
        "{told}"
    );
    dsctl!["verify", dataset].ok();
}

#[test]
fn a_class_that_is_mostly_bad_ends_the_ingest() {
    let dir = folder();
    let (source, dataset) = (photos(dir.path()), dir.path().join("d"));
    let told = dsctl!["ingest", source, dataset, "--max-errors-per-class", "40%", "--json"].ended(5);
    assert!(
        told.err.contains("1 of 2 entries of class \"hat\"") && told.err.contains("--max-errors-per-class"),
        "{told:?}"
    );
    assert_eq!(told.json()["exit_code"], 5);
    dsctl!["ingest", source, dataset, "--max-errors-per-class", "50%"].ok();
}
