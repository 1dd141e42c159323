//! `dsctl dedup` and `dsctl split --group-duplicates`.

use serde_json::json;

use crate::run::{copies, files, folder, rows, version};

const PHOTO: &str = "images/train/pants/000_444.jpg";
const OTHER: &str = "images/train/pants/001_422.jpg";

/// Six photos: one three times in two splits, one with two labels.
fn made(root: &std::path::Path) {
    let all = [
        (PHOTO, "train/cat/a.jpg"),
        (PHOTO, "train/cat/b.jpg"),
        (PHOTO, "test/cat/c.jpg"),
        (OTHER, "train/cat/d.jpg"),
        (OTHER, "train/dog/e.jpg"),
    ];
    copies(root, &all);
}

#[test]
fn copies_are_reported_and_dropped() {
    let dir = folder();
    let (s, d) = (dir.path().join("s"), dir.path().join("d"));
    made(&s);
    dsctl!["ingest", s, d].ok();
    let before = files(&d);
    let found = dsctl!["dedup", d].ended(3).out;
    assert!(found.contains("3 rows, payload, in several splits: test, train"), "{found}");
    assert!(found.contains("2 rows, payload, they differ in label"), "{found}");
    assert!(found.contains("test and train have 1 in common: 1 rows of test, 2 of train"), "{found}");
    assert!(
        found.contains(
            "2 groups (2 payload), 5 of 5 rows by image: 1 across splits, 1 with labels that differ; 2 rows are surplus"
        ),
        "{found}"
    );
    let report = dsctl!["dedup", d, "--json", "--payload"].ended(3).json()["duplicates"].clone();
    let first = &report["listed"].as_array().unwrap().iter().find(|g| g["count"] == 3).unwrap()["rows"];
    assert_eq!(
        (&first[0]["id"], &first[0]["stays"], &first[1]["stays"], &first[1]["labels"]),
        (&json!("test/cat/c.jpg"), &json!(true), &json!(false), &json!({"label": "cat"}))
    );
    assert_eq!(report["leaks"], json!([{"splits": ["test", "train"], "groups": 1, "rows": [1, 2]}]));
    let short = dsctl!["dedup", d, "--limit", "0"].ended(3).out;
    assert!(short.contains("and 2 more groups: --limit lists them") && !short.contains("jpg"), "{short}");
    assert_eq!(dsctl!["dedup", s, "--across-splits-only", "--json"].ended(3).json()["duplicates"]["groups"], 1);
    let dry = dsctl!["dedup", d, "--drop", "-n"].ok().out;
    assert!(dry.contains("version 1 stays (dry run): 2 rows out, 3 stay"), "{dry}");
    assert!(files(&d) == before, "it wrote though it should not");
    let done = dsctl!["dedup", d, "--drop"].ok().out;
    assert!(done.contains("version 2: 2 rows out, 3 stay; shards: 1 written anew, 0 dropped, 1 kept"), "{done}");
    assert!(done.contains("1 groups stay as they are, as their labels differ"), "{done}");
    assert!(done.contains("proof: the ids of all 2 shards of version 2 were read"), "{done}");
    assert_eq!(rows(&d).into_keys().collect::<Vec<_>>(), ["test/cat/c.jpg", "train/cat/d.jpg", "train/dog/e.jpg"]);
    dsctl!["dedup", d].ended(3);
    dsctl!["dedup", d, "--version", "1"].ended(3);
    let json = dsctl!["dedup", d, "--drop", "--drop-conflicting", "--json"].ok().json();
    assert_eq!((&json["removed"]["rows"], &json["duplicates"]["conflicting"]), (&json!(2), &json!(1)));
    dsctl!["dedup", d].ok();
    let again = dsctl!["dedup", d, "--drop"].ok().out;
    assert!(again.contains("nothing to do, version 3 stays"), "{again}");
    dsctl!["verify", d].ok();
}

#[test]
fn the_row_of_the_split_that_is_named_stays() {
    let dir = folder();
    let (s, d) = (dir.path().join("s"), dir.path().join("d"));
    made(&s);
    dsctl!["ingest", s, d].ok();
    dsctl!["dedup", d, "--drop", "--keep-in", "tset"].ended(2).says(&["tset", "there are: test, train"]);
    dsctl!["dedup", d, "--drop", "--keep-in", "train"].ok();
    let left = rows(&d);
    assert!(left.contains_key("train/cat/a.jpg") && left.len() == 3, "{:?}", left.keys());
}

#[test]
fn copies_stay_in_one_split() {
    let dir = folder();
    let (s, d) = (dir.path().join("s"), dir.path().join("d"));
    let names: Vec<String> = (0..12).map(|n| format!("cat/{n}.jpg")).collect();
    copies(&s, &names.iter().map(|name| (PHOTO, name.as_str())).collect::<Vec<_>>());
    copies(&s, &[(OTHER, "dog/x.jpg"), (OTHER, "dog/y.jpg")]);
    dsctl!["ingest", s, d].ok();
    let halves = "train=0.5,test=0.5";
    dsctl!["split", d, "--fractions", halves, "--near"].ended(2);
    dsctl!["split", d, "--fractions", halves, "--column", "image"].ended(2).says(&["--group-duplicates"]);
    let done = dsctl!["split", d, "--fractions", halves, "--group-duplicates"].ok().out;
    assert!(done.contains("2 groups, 0 rows without one"), "{done}");
    let splits: std::collections::BTreeSet<_> =
        rows(&d).into_iter().filter(|(id, _)| id.starts_with("cat")).map(|(_, row)| row["split"].to_string()).collect();
    assert_eq!(splits.len(), 1, "{splits:?}");
    assert_eq!(dsctl!["dedup", d, "--across-splits-only"].ok().code, Some(0));
}

#[test]
fn what_cannot_be_compared_is_refused_or_counted() {
    let dir = folder();
    let (s, d) = (dir.path().join("s"), dir.path().join("d"));
    made(&s);
    dsctl!["ingest", s, d].ok();
    for flags in [
        &["--similarity", "2", "--near"][..],
        &["--similarity", "0.5"],
        &["--keep-in"],
        &["--payload", "--near"],
        &["--dry-run"],
    ] {
        let mut args: Vec<std::ffi::OsString> = vec!["dedup".into(), d.clone().into()];
        args.extend(flags.iter().map(Into::into));
        crate::run::run(&args).ended(2);
    }
    dsctl!["dedup", d, "--column", "picture"].ended(2).says(&["picture", "there are: image"]);
    dsctl!["dedup", d, "--column", "label"].ended(2).says(&["class label"]);
    dsctl!["dedup", d, "--drop", "--version", "1"].ended(2);
    dsctl!["dedup", s, "--drop"].ended(2).says(&["has no versions"]);
    dsctl!["dedup", dir.path().join("nowhere")].ended(1);
    assert_eq!(version(&d).1, 1);
    // A photo whose end was cut off beside a whole one of its size: the bytes of both are read, one is decoded in vain.
    let bytes = std::fs::read(s.join("train/cat/d.jpg")).unwrap();
    std::fs::write(s.join("train/dog/e.jpg"), &bytes[..bytes.len() / 2]).unwrap();
    let found = dsctl!["dedup", s].ended(3);
    assert!(found.out.contains("1 groups (1 payload)"), "{}", found.out);
    found.says(&["note: not compared: 1 truncated"]);
}
