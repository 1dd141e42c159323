//! More into a dataset that is there: nothing new, new rows, new classes.

use serde_json::json;

use crate::common::fixture;
use crate::run::{copies, files, folder, rows, run, version};

#[test]
fn the_same_again_is_nothing_new() {
    let dir = folder();
    let dataset = dir.path().join("d");
    dsctl!["ingest", fixture("images"), dataset].ok();
    let (before, was) = (files(&dataset), version(&dataset));
    let again = dsctl!["ingest", fixture("images"), dataset].ok();
    assert!(again.out.contains("nothing new") && again.out.contains("version 1"), "{}", again.out);
    let summary = dsctl!["ingest", fixture("images"), dataset, "--json"].ok().json();
    assert_eq!((&summary["rows"], &summary["skipped"], &summary["version"]), (&json!(0), &json!(32), &json!(1)));
    assert_eq!(version(&dataset), was);
    assert_eq!(files(&dataset), before);
    // An id with other contents is not the same: it is refused, and the dataset stays as it is.
    let other = dir.path().join("other");
    copies(&other, &[("images/train/pants/001_422.jpg", "train/pants/000_444.jpg")]);
    dsctl!["ingest", other, dataset, "--split-dirs", "yes"].ended(5).says(&["id-taken", "--id-prefix"]);
    assert_eq!(version(&dataset), was);
    let mut refused = std::fs::read_dir(dataset.join(".dsctl/quarantine")).unwrap().map(|f| f.unwrap().path());
    let refused = refused.find(|f| f.extension().is_some_and(|e| e == "jsonl")).unwrap();
    let refused = std::fs::read_to_string(refused).unwrap();
    assert!(refused.contains("train/pants/000_444.jpg") && refused.contains("\"id-taken\""), "{refused}");
    assert_eq!(files(&dataset).keys().filter(|f| f.starts_with("data")).count(), 2);
    dsctl!["ingest", other, dataset, "--split-dirs", "yes", "--id-prefix", "more/"].ok();
    assert_eq!((version(&dataset).1, rows(&dataset).len()), (2, 33));
}

#[test]
fn one_class_and_a_class_called_test() {
    let dir = folder();
    let one = dir.path().join("one");
    copies(
        &one,
        &[("images/train/pants/000_444.jpg", "pants/a.jpg"), ("images/train/pants/001_422.jpg", "pants/b.jpg")],
    );
    let ran = dsctl!["ingest", one, dir.path().join("d1"), "--json"].ok().says(&["one class only, \"pants\""]);
    assert_eq!(ran.json()["rows_by_label"], json!({"pants": 2}));

    let named = dir.path().join("named");
    let photo = "images/train/pants/000_444.jpg";
    copies(&named, &[(photo, "cat/a.jpg"), (photo, "test/b.jpg"), (photo, "val/c.jpg")]);
    let summary = dsctl!["ingest", named, dir.path().join("d2"), "--json"].ok().json();
    assert_eq!(summary["rows_by_split"], json!({"train": 3}));
    assert_eq!(summary["rows_by_label"], json!({"cat": 1, "test": 1, "val": 1}));
    // Splits over bare files may be either: that is asked, not guessed.
    let bare = dir.path().join("bare");
    copies(&bare, &[(photo, "train/a.jpg"), (photo, "test/b.jpg")]);
    dsctl!["ingest", bare, dir.path().join("d3")].ended(2).says(&["--split-dirs yes", "--split-dirs no"]);
}

#[test]
fn new_classes_come_behind_the_old_ones() {
    let dir = folder();
    let dataset = dir.path().join("d");
    let (first, second) = (dir.path().join("first"), dir.path().join("second"));
    copies(
        &first,
        &[("images/train/pants/000_444.jpg", "boot/a.jpg"), ("images/train/pants/001_422.jpg", "dress/b.jpg")],
    );
    copies(
        &second,
        &[
            ("images/train/shoes/000_444.jpg", "ascot/c.jpg"),
            ("images/train/shoes/001_422.jpg", "cape/d.jpg"),
            ("images/train/shoes/002_420.jpg", "dress/e.jpg"),
        ],
    );
    dsctl!["ingest", first, dataset].ok();
    let (digest, _) = version(&dataset);
    let old = rows(&dataset);
    let summary = dsctl!["ingest", second, dataset, "--json"].ok().json();
    assert_eq!((&summary["rows"], &summary["version"]), (&json!(3), &json!(2)));
    assert_eq!(summary["rows_by_label"], json!({"ascot": 1, "cape": 1, "dress": 1}));

    let names = |args: &[&str]| {
        let shown = match args {
            [] => dsctl!["inspect", dataset, "--json"],
            [v, ..] => dsctl!["inspect", dataset, "--json", "--version", *v],
        };
        let shown = shown.ok().json();
        let schema = shown["schema"].as_array().unwrap();
        schema.iter().find(|c| c["name"] == "label").unwrap()["feature"]["names"].clone()
    };
    assert_eq!(names(&[]), json!(["boot", "dress", "ascot", "cape"]));
    assert_eq!(names(&["1"]), json!(["boot", "dress"]));
    let now = rows(&dataset);
    assert_eq!(now.len(), 5);
    assert!(old.iter().all(|(id, row)| now[id] == *row), "rows keep their numbers and labels");
    assert_eq!(now["dress/e.jpg"]["values"]["label"], "dress");
    let shown = dsctl!["ls", dataset, "--version", "1", "--json"].ok().json();
    assert_eq!((&shown["digest"], &shown["rows"]), (&json!(digest), &json!(2)));
    let batches = |version: &str| {
        let ran = dsctl!["load", dataset, "--version", version, "--batch", "1", "--json"].ok().json();
        ran["batches"].as_u64().unwrap()
    };
    assert_eq!((batches("1"), batches("2")), (2, 5));
    dsctl!["verify", dataset].ok();
    // Other columns are refused.
    let other = dir.path().join("words");
    copies(&other, &[("text/unicode.txt", "boot/a.txt")]);
    dsctl!["ingest", other, dataset, "--format", "text"].ended(2).says(&["image (image)", "text (text)"]);
    assert_eq!(version(&dataset).1, 2);
}

#[test]
fn over_the_limit_nothing_is_committed_and_a_rerun_goes_on() {
    let dir = folder();
    let (source, dataset) = (dir.path().join("source"), dir.path().join("d"));
    copies(
        &source,
        &[
            ("images/train/pants/000_444.jpg", "a/1.jpg"),
            ("hostile/truncated.jpg", "a/2.jpg"),
            ("images/train/pants/001_422.jpg", "b/3.jpg"),
            ("hostile/zero.jpg", "b/4.jpg"),
        ],
    );
    dsctl!["ingest", source, dataset, "--max-errors", "1"].ended(5).says(&["2 of 4", "more than 1 allow"]);
    dsctl!["ls", dataset].ended(2).says(&["no committed version"]);
    assert!(!files(&dataset).keys().any(|f| f.starts_with(".dsctl/versions")));
    let summary = dsctl!["ingest", source, dataset, "--max-errors", "50%", "--json"].ok().json();
    assert_eq!((&summary["rows"], &summary["quarantined"], &summary["version"]), (&json!(2), &json!(2), &json!(1)));
    // The good ones are the same whether the bad ones lay beside them or not, and whatever run took them in.
    let straight = dir.path().join("e");
    dsctl!["ingest", source, straight].ok();
    assert_eq!(version(&straight), version(&dataset));
    // Mended, they come in as new rows.
    copies(
        &source,
        &[("images/train/pants/002_420.jpg", "a/2.jpg"), ("images/train/pants/003_420_odd.jpg", "b/4.jpg")],
    );
    let summary = dsctl!["ingest", source, dataset, "--max-errors", "0", "--json"].ok().json();
    assert_eq!((&summary["rows"], &summary["skipped"], &summary["version"]), (&json!(2), &json!(2), &json!(2)));
}

/// What is stored is asked by flags, the environment or a file, shown by the verbs that look, and not asked again.
#[test]
fn what_is_stored_is_said_once() {
    let dir = folder();
    let dataset = dir.path().join("d");
    let config = dir.path().join("ingest.toml");
    std::fs::write(&config, "[prepare.image]\nmax_side = 60\nquality = 70\n").unwrap();
    dsctl!["ingest", fixture("images"), dataset, "--config", config, "--image-max-side", "40"].ok();
    let inspected = dsctl!["inspect", dataset, "--json"].ok().json();
    let stored = &inspected["schema"][0]["stored"];
    assert_eq!(stored["mode"], "encoded");
    assert_eq!(stored["parameters"], json!({"max_side": 40, "of": "image", "quality": 70}), "the flag comes first");
    let told = "encoded: max_side 40, of image, quality 70";
    for args in [["schema"], ["stats"], ["ls"]] {
        let shown = dsctl![args[0], dataset].ok().out;
        assert!(shown.contains(told), "{args:?}: {shown}");
    }
    let card = std::fs::read_to_string(dataset.join("README.md")).unwrap();
    assert!(card.contains("encoded: max\\_side 40"), "{card}");
    let row = dsctl!["inspect", dataset, "0", "--json"].ok().json();
    assert!(row["media"]["image"]["original"]["bytes"].as_u64() > row["media"]["image"]["bytes"].as_u64(), "{row}");
    let again = dsctl!["ingest", fixture("images"), dataset].ok();
    assert!(again.out.contains("nothing new"), "{}", again.out);
    dsctl!["ingest", fixture("images"), dataset, "--image-max-side", "50"]
        .ended(2)
        .says(&["max_side 40", "another dataset"]);
    for (flag, value, part) in [
        ("--audio-rate", "16000", "recordings"),
        ("--image-quality", "0", "quality"),
        ("--store-ops", "image", "COLUMN="),
        ("--store-ops", "image=[{]", "JSON"),
        ("--store-ops", "picture=[{\"op\": \"resize\", \"size\": 3}]", "it has: image"),
        ("--tokenize", "x.json", "texts"),
        ("--count-tokens", "x.json", "texts"),
        ("--count-ops", "label=[{\"op\": \"bytes_to_ids\"}]", "media"),
        ("--store", "smaller", "possible values"),
    ] {
        dsctl!["ingest", fixture("images"), dir.path().join("never"), flag, value].ended(2).says(&[part]);
    }
    assert!(!dir.path().join("never").exists());

    let mels = dir.path().join("mels");
    let ops = "audio=[{\"op\": \"resample\", \"rate\": 16000}, {\"op\": \"log_mel\"}]";
    dsctl!["ingest", fixture("digits"), mels, "--store-ops", ops].ok();
    let first = dsctl!["head", mels, "-n", "1", "--json"].ok().json();
    assert_eq!(first[0]["media"]["audio"]["shape"][0], 80, "{first}");
    let fields = dsctl!["schema", mels, "--json"].ok().json();
    assert_eq!(fields[1]["feedstock"]["tensor"]["shape"], json!([80, null]), "{fields}");
    dsctl!["load", mels].ok();
}

/// Files that an ingest saw are not read by the next one, and a person is told so, and how to have them read.
#[test]
fn files_that_are_as_they_were_are_not_read() {
    let dir = folder();
    let (source, dataset) = (dir.path().join("s"), dir.path().join("d"));
    copies(&source, &[("images/train/pants/000_444.jpg", "a/1.jpg"), ("images/train/pants/001_422.jpg", "b/2.jpg")]);
    let then = std::time::SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(1_500_000_000);
    let settle = |name: &str, bytes: &[u8]| {
        std::fs::write(source.join(name), bytes).unwrap();
        std::fs::File::options().append(true).open(source.join(name)).unwrap().set_modified(then).unwrap();
    };
    let mut other = std::fs::read(source.join("b/2.jpg")).unwrap();
    for name in ["a/1.jpg", "b/2.jpg"] {
        settle(name, &std::fs::read(source.join(name)).unwrap());
    }
    dsctl!["ingest", source, dataset].ok();
    // Other content under the same size and time: what is not read is not seen.
    *other.last_mut().unwrap() ^= 1;
    settle("b/2.jpg", &other);
    let ingest = |flags: &[&str]| {
        let paths = [source.as_os_str(), dataset.as_os_str()];
        let args = std::iter::once("ingest".as_ref()).chain(paths).chain(flags.iter().map(AsRef::as_ref));
        run(&args.map(std::ffi::OsStr::to_owned).collect::<Vec<_>>()).ok()
    };
    for flags in [&[][..], &["--isolate"]] {
        let again = ingest(flags);
        assert!(again.out.contains("nothing new") && again.out.contains("2 of them unread"), "{}", again.out);
    }
    let counts = |json: &serde_json::Value| ["skipped", "unread", "quarantined"].map(|key| json[key].as_u64().unwrap());
    for flags in [&["--checksum", "--json"][..], &["--checksum", "--isolate", "--json"]] {
        assert_eq!(counts(&ingest(flags).json()), [1, 0, 1]);
    }
    assert_eq!(counts(&ingest(&["--json"]).json()), [1, 1, 1]);
}
