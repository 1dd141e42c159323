//! The versions of a dataset: `log`, `diff`, `gc`.

use std::time::{Duration, SystemTime};

use serde_json::json;

use crate::run::{copies, folder};

/// Two photos and a list of them: what each is called, its label and its split.
fn listed(root: &std::path::Path, rows: &[(&str, &str, &str)]) {
    let lines: Vec<String> = rows.iter().map(|(name, label, split)| format!("{name},{label},{split}\n")).collect();
    std::fs::write(root.join("list.csv"), format!("file_name,label,split\n{}", lines.concat())).unwrap();
}

#[test]
fn versions_are_listed_and_compared() {
    let dir = folder();
    let (old, new) = (dir.path().join("old"), dir.path().join("new"));
    let (one, other) = ("images/train/pants/000_444.jpg", "images/train/pants/001_422.jpg");
    copies(&old, &[(one, "a.jpg"), (one, "b.jpg"), (one, "c.jpg"), (one, "d.jpg")]);
    copies(&new, &[(one, "a.jpg"), (one, "b.jpg"), (other, "c.jpg"), (one, "e.jpg")]);
    listed(
        &old,
        &[("a.jpg", "cat", "train"), ("b.jpg", "dog", "train"), ("c.jpg", "cat", "test"), ("d.jpg", "dog", "train")],
    );
    listed(
        &new,
        &[("a.jpg", "dog", "train"), ("b.jpg", "dog", "val"), ("c.jpg", "cat", "test"), ("e.jpg", "cow", "train")],
    );
    let (d, e) = (dir.path().join("d"), dir.path().join("e"));
    dsctl!["ingest", old.join("list.csv"), d].ok();
    dsctl!["diff", d].ended(2).says(&["has none before it", "dsctl diff DATASET OTHER"]);
    dsctl!["ingest", new.join("list.csv"), e].ok();
    let told = dsctl!["diff", d, e, "--exit-code"].ended(3).out;
    let lines = [
        "~ a.jpg  label \"cat\" -> \"dog\"",
        "~ b.jpg  split train -> val",
        "~ c.jpg  image: other bytes",
        "- d.jpg  train label=\"dog\"",
        "+ e.jpg  train label=\"cow\"",
        "classes of label added: cow",
        "1 added, 1 removed, 3 changed (1 moved, 1 relabelled, 1 replaced), 0 the same",
    ];
    for line in lines {
        assert!(told.contains(line), "no {line:?} in {told}");
    }
    let few = dsctl!["diff", d, e, "--limit", "2"].ok().out;
    assert!(few.contains("... and 3 more"), "{few}");
    let json = dsctl!["diff", d, e, "--json", "--limit", "0"].ok().json();
    assert_eq!((json["differences"]["changed"].clone(), json["rows"].as_array().unwrap().len()), (json!(3), 5));
    // What lies in a folder is compared as well as what was made of it.
    let same = dsctl!["diff", d, old.join("list.csv"), "--exit-code"].ok().out;
    assert!(same.contains("4 the same"), "{same}");

    // More of the same: a second version.
    copies(&old, &[(other, "f.jpg")]);
    listed(&old, &[("f.jpg", "cow", "train")]);
    dsctl!["ingest", old.join("list.csv"), d].ok();
    let log = dsctl!["log", d].ok().out;
    assert!(log.starts_with("version 2 ") && log.contains("5 rows (+1), 1 new shards"), "{log}");
    assert!(log.contains("version 1 ") && log.contains("classes of label added: cow"), "{log}");
    let json = dsctl!["log", d, "-n", "1", "--json"].ok().json();
    assert_eq!((json.as_array().unwrap().len(), &json[0]["rows"], &json[0]["added"]), (1, &json!(5), &json!(1)));
    let told = dsctl!["diff", d].ok().out;
    assert!(told.contains("+ f.jpg") && told.contains("1 added, 0 removed, 0 changed"), "{told}");
    let back = dsctl!["diff", d, "--from", "2", "--to", "1"].ok().out;
    assert!(back.contains("- f.jpg") && back.contains("classes of label removed: cow"), "{back}");
    dsctl!["diff", d, "--from", "7"].ended(2).says(&["no version 7", "versions 1 to 2"]);
    dsctl!["log", old].ended(2).says(&["has no versions"]);
}

#[test]
fn what_no_version_needs_is_listed_and_then_taken() {
    let dir = folder();
    let d = dir.path().join("d");
    copies(
        &dir.path().join("s"),
        &[("images/train/pants/000_444.jpg", "cat/a.jpg"), ("images/train/pants/001_422.jpg", "dog/b.jpg")],
    );
    dsctl!["ingest", dir.path().join("s"), d].ok();
    let orphan = d.join("data/train/0123456789abcdef.parquet");
    std::fs::write(&orphan, b"an ingest that died").unwrap();
    let young = dsctl!["gc", d, "--yes"].ok().says(&["1 more are younger than 1day"]);
    assert!(young.out.contains("0 files") && orphan.exists(), "{}", young.out);
    let old = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000_000);
    std::fs::File::options().append(true).open(&orphan).unwrap().set_modified(old).unwrap();
    let listed = dsctl!["gc", d].ok().out;
    assert!(listed.contains("data/train/0123456789abcdef.parquet") && listed.contains("--yes takes"), "{listed}");
    assert!(orphan.exists());
    let json = dsctl!["gc", d, "--json"].ok().json();
    assert_eq!((&json["garbage"]["bytes"], &json["taken"]), (&json!(19), &json!(null)));
    let taken = dsctl!["gc", d, "--yes"].ok().out;
    assert!(taken.contains("1 files taken away") && !orphan.exists(), "{taken}");
    dsctl!["verify", d].ok();
    dsctl!["gc", d, "--keep", "0"].ended(2).says(&["1 or more"]);
    dsctl!["gc", d, "--min-age", "soon"].ended(2);
    dsctl!["gc", dir.path().join("nowhere")].ended(1).says(&["nowhere: cannot open"]);
    dsctl!["gc", dir.path().join("s")].ended(2).says(&["has no versions"]);
}
