//! `dsctl ingest --sync`: whatever the source is, the rows are those of one ingest of it as it is now.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use feedstock::dataset::Dataset;
use serde_json::{Value, json};

use crate::common::{copy_folder, fixture};
use crate::run::{copies, folder, run, version};

/// Split, small values and objects as they are told, and the bytes of payloads.
pub(crate) type Row = (String, Vec<Value>, Vec<Vec<u8>>);

/// Rows by id.
pub(crate) fn contents(dataset: &Path) -> BTreeMap<String, Row> {
    let opened = Dataset::open(dataset).unwrap();
    let columns = &opened.schema().columns;
    let rows = (0..opened.rows()).map(|at| {
        let (segment, row) = opened.index().locate(at);
        let split = opened.index().segments()[segment].shard(row.shard()).unwrap().1.split;
        let (mut values, mut payloads) = (Vec::new(), Vec::new());
        for (column, of) in columns.iter().enumerate() {
            if of.feature.is_payload() {
                let mut bytes = Vec::new();
                opened.fetch_checked(at, column, &mut bytes).unwrap();
                payloads.push(bytes);
            } else {
                values.push(row.told(column, &of.feature));
            }
        }
        (row.id().to_owned(), (split, values, payloads))
    });
    rows.collect()
}

fn files(root: &Path, ending: &str) -> Vec<PathBuf> {
    let walk = walkdir::WalkDir::new(root).sort_by_file_name().into_iter().map(Result::unwrap);
    walk.map(|entry| entry.path().to_owned()).filter(|path| path.to_string_lossy().ends_with(ending)).collect()
}

/// One file has the content of another, one is gone, one is new.
fn edit_files(root: &Path, ending: &str) {
    let all = files(root, ending);
    std::fs::copy(&all[3], &all[0]).unwrap();
    std::fs::copy(&all[2], all[4].with_file_name(format!("zz_{}", all[4].file_name().unwrap().to_str().unwrap())))
        .unwrap();
    std::fs::remove_file(&all[1]).unwrap();
}

/// A box moves, a class has another name, an image is gone with its annotations, one has no boxes any more.
fn edit_coco(root: &Path) {
    let path = root.join("annotations/instances_train.json");
    let mut all: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    let images = all["images"].as_array_mut().unwrap();
    let (gone, bare) = (images.remove(0)["id"].clone(), images[0]["id"].clone());
    let boxes = all["annotations"].as_array_mut().unwrap();
    boxes.retain(|of| of["image_id"] != gone && of["image_id"] != bare);
    boxes[0]["bbox"] = json!([1.0, 2.0, 3.0, 4.0]);
    all["categories"][0]["name"] = json!("renamed");
    std::fs::write(path, all.to_string()).unwrap();
}

type Edit = fn(&Path);

#[test]
fn every_kind_of_source_is_followed() {
    let dir = folder();
    let all: [(&str, &str, &[&str], Edit); 7] = [
        ("plain", "images", &[], |root| edit_files(root, ".jpg")),
        ("isolated", "images", &["--isolate"], |root| edit_files(root, ".jpg")),
        ("smaller", "images", &["--image-max-side", "30"], |root| edit_files(root, ".jpg")),
        ("parts", "digits", &["--chunk-seconds", "0.2"], |root| edit_files(root, ".wav")),
        ("mels", "digits", &["--label-regex", r"^(?P<label>\d)_", "--audio-rate", "16000"], |root| {
            edit_files(root, ".wav")
        }),
        (
            "drawn",
            "digits",
            &["--label-regex", r"^(?P<label>\d)_", "--split-fractions", "train=0.7,test=0.3"],
            |root| {
                edit_files(root, ".wav");
            },
        ),
        ("objects", "objects/coco", &[], edit_coco),
    ];
    for (name, from, more, edit) in all {
        let (source, dataset) = (dir.path().join(name), dir.path().join(format!("{name}.d")));
        copy_folder(&fixture(from), &source);
        let take = |dataset: &Path, flags: &[&str]| {
            let mut args: Vec<std::ffi::OsString> =
                vec!["ingest".into(), (&source).into(), dataset.into(), "--json".into()];
            args.extend(more.iter().chain(flags).map(std::ffi::OsString::from));
            run(&args).ok().json()
        };
        take(&dataset, &["--sync"]);
        edit(&source);
        let dry = take(&dataset, &["--sync", "--dry-run"]);
        assert_eq!(version(&dataset).1, 1, "{name}");
        let done = take(&dataset, &["--sync"]);
        let (mut dry, mut synced) = (dry["sync"].clone(), done["sync"].clone());
        for of in [&mut dry, &mut synced] {
            ["committed", "dry_run"].iter().for_each(|key| drop(of.as_object_mut().unwrap().remove(*key)));
        }
        assert_eq!(dry, synced, "{name}");
        assert!(synced["removed"].as_u64() > Some(0) && synced["replaced"].as_u64() > Some(0), "{name}: {synced}");
        assert_eq!((done["sync"]["committed"].clone(), version(&dataset).1), (json!(true), 2), "{name}");
        let once = dir.path().join(format!("{name}.once"));
        take(&once, &[]);
        let (now, want) = (contents(&dataset), contents(&once));
        assert!(now.keys().eq(want.keys()), "{name}: {:?} and {:?}", now.keys(), want.keys());
        for (id, row) in &want {
            assert!(
                now[id] == *row,
                "{name}, {id}: {:?} {:?} instead of {:?} {:?}",
                now[id].0,
                now[id].1,
                row.0,
                row.1
            );
        }
        dsctl!["verify", dataset].ok();
        let again = take(&dataset, &["--sync"]);
        assert_eq!((again["sync"]["committed"].clone(), version(&dataset).1), (json!(false), 2), "{name}");
    }
}

#[test]
fn what_it_does_is_said() {
    let dir = folder();
    let (source, dataset) = (dir.path().join("s"), dir.path().join("d"));
    let photos = ["000_444.jpg", "001_422.jpg"];
    let from = |n: usize| format!("images/train/pants/{}", photos[n % 2]);
    for (n, name) in ["a/0.jpg", "a/1.jpg", "b/2.jpg", "b/3.jpg"].iter().enumerate() {
        copies(&source, &[(&from(n), name)]);
    }
    // Flags that say nothing without --sync.
    for flag in ["--all-rows", "--listed-rows", "--dry-run", "--max-removed=3", "--moved-from=x"] {
        dsctl!["ingest", source, dataset, flag].ended(2).says(&["--sync"]);
    }
    dsctl!["ingest", source, dataset, "--sync", "--max-removed", "many"].ended(2).says(&["neither a count nor"]);
    let first = dsctl!["ingest", source, dataset, "--sync"].ok();
    assert!(first.out.contains("version 1: 4 rows added, 0 replaced, 0 removed"), "{}", first.out);
    std::fs::remove_file(source.join("a/0.jpg")).unwrap();
    copies(&source, &[(&from(1), "b/2.jpg")]);
    let dry = dsctl!["ingest", source, dataset, "--sync", "-n"].ok();
    assert!(dry.out.contains("version 1 stays (dry run): 0 rows added, 1 replaced, 1 removed"), "{}", dry.out);
    let done = dsctl!["ingest", source, dataset, "--sync"].ok();
    assert!(done.out.contains("version 2: 0 rows added, 1 replaced, 1 removed"), "{}", done.out);
    let log = dsctl!["log", dataset, "--json"].ok().json();
    assert_eq!((&log[0]["replaced"], &log[0]["removed"], &log[0]["added"]), (&json!(1), &json!(1), &json!(0)));
    // Most of it is gone.
    ["a/1.jpg", "b/2.jpg"].iter().for_each(|name| std::fs::remove_file(source.join(name)).unwrap());
    dsctl!["ingest", source, dataset, "--sync"].ended(3).says(&["2 of the 3 rows", "--max-removed 100%"]);
    assert_eq!(version(&dataset).1, 2);
    // One that nobody knows of.
    std::fs::remove_dir_all(dataset.join(".dsctl/sources")).unwrap();
    dsctl!["ingest", source, dataset, "--sync"].ended(2).says(&["--all-rows", "--listed-rows", "--moved-from"]);
    dsctl!["ingest", source, dataset, "--sync", "--all-rows", "--max-removed", "100%"].ok();
    assert_eq!(contents(&dataset).len(), 1);
}
