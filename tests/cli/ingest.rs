//! `dsctl ingest` over everything that the fixtures hold.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::{Value, json};

use crate::common::fixture;
use crate::run::{copies, folder, rows};

/// What a summary holds; adding a key is a change of the interface.
const KEYS: [&str; 14] = [
    "rows",
    "rows_by_split",
    "rows_by_label",
    "quarantined",
    "quarantine",
    "skipped",
    "unread",
    "mended",
    "replaced",
    "shards",
    "bytes",
    "seconds",
    "version",
    "notes",
];

#[test]
fn pictures_and_the_summary() {
    let dir = folder();
    let dataset = dir.path().join("d");
    let ran = dsctl!["ingest", fixture("images"), dataset, "--json"].ok().says(&["32/32 ", "note: read as folder"]);
    let summary = ran.json();
    assert_eq!(summary.as_object().unwrap().keys().collect::<Vec<_>>(), KEYS);
    assert_eq!(summary["rows_by_split"], json!({"test": 11, "train": 21}));
    assert_eq!(summary["rows_by_label"], json!({"pants": 11, "shoes": 11, "t-shirt": 10}));
    let numbers = ["rows", "quarantined", "skipped", "shards", "version"].map(|k| summary[k].as_u64().unwrap());
    assert_eq!((numbers, &summary["quarantine"]), ([32, 0, 0, 2, 1], &Value::Null));
    let on_disk: u64 = ["test", "train"]
        .iter()
        .flat_map(|split| std::fs::read_dir(dataset.join("data").join(split)).unwrap())
        .map(|shard| shard.unwrap().metadata().unwrap().len())
        .sum();
    assert_eq!(summary["bytes"], on_disk);
    assert!(summary["seconds"].as_f64().unwrap() > 0.0);

    let mut counts: BTreeMap<(String, String), u64> = BTreeMap::new();
    for (id, row) in rows(&dataset) {
        let label = row["values"]["label"].as_str().unwrap().to_owned();
        let parts: Vec<&str> = id.split('/').collect();
        assert_eq!(parts[1], label);
        *counts.entry((parts[0].to_owned(), label)).or_default() += 1;
    }
    let of = |split: &str| ["pants", "shoes", "t-shirt"].map(|label| counts[&(split.into(), label.into())]);
    assert_eq!((of("train"), of("test")), ([7, 7, 7], [4, 4, 3]));

    let quiet = dsctl!["ingest", fixture("images"), dir.path().join("e"), "--quiet"].ok();
    assert_eq!(quiet.err, "");
    assert!(quiet.out.contains("version 1, 32 rows added in 2 shards"), "{}", quiet.out);
}

#[test]
fn the_bytes_do_not_depend_on_threads() {
    let dir = folder();
    let digests = ["1", "2", "5"].map(|threads| {
        let dataset = dir.path().join(threads);
        dsctl!["ingest", fixture("images"), dataset, "--threads", threads, "--shard-bytes", "20000"].ok();
        crate::run::version(&dataset).0
    });
    assert!(digests.iter().all(|d| *d == digests[0]), "{digests:?}");
}

#[test]
fn manifests_with_columns_of_every_type() {
    for name in ["manifest.csv", "manifest.jsonl"] {
        let dir = folder();
        let dataset = dir.path().join("d");
        let summary = dsctl!["ingest", fixture("manifests").join(name), dataset, "--json"].ok().json();
        assert_eq!(summary["rows_by_label"], json!({"bird": 1, "cat": 3, "dog": 2}), "{name}");
        let rows = rows(&dataset);
        let values = &rows["media/sub/grüße 1.jpg"]["values"];
        let numbers = (&values["label"], &values["count"], &values["score"], &values["checked"]);
        assert_eq!(numbers, (&json!("dog"), &json!(2_147_483_648_u64), &json!(3.0), &json!(false)), "{name}");
        let shown = dsctl!["inspect", dataset, "media/sub/grüße 1.jpg", "--json"].ok().json();
        assert_eq!(shown["media"]["note"]["text"], "two\nlines", "{name}");
        assert_eq!(shown["media"]["image"]["format"], "jpeg", "{name}");
        assert_eq!(rows["media/f.jpg"]["values"]["count"], 1, "{name}");
    }
}

#[test]
fn a_manifest_of_recordings_and_one_of_bad_rows() {
    let dir = folder();
    let dataset = dir.path().join("d");
    let manifest = fixture("manifests/audio.csv");
    let summary = dsctl!["ingest", manifest, dataset, "--json"].ok().json();
    assert_eq!(summary["rows_by_label"], json!({"1": 1, "2": 1}));
    let other = dir.path().join("e");
    dsctl!["ingest", manifest, other, "--label-column", "speaker"].ok();
    assert_eq!(rows(&other)["media/g.wav"]["values"], json!({"speaker": "ada", "label": 1}));
    dsctl!["ingest", manifest, dir.path().join("f"), "--label-column", "spoken"]
        .ended(2)
        .says(&["spoken", "path, label, speaker"]);

    let dataset = dir.path().join("bad");
    let summary = dsctl!["ingest", fixture("manifests/bad_rows.csv"), dataset, "--json"].ok().json();
    assert_eq!(summary["quarantined"].as_u64().unwrap() + summary["rows"].as_u64().unwrap(), {
        let text = std::fs::read_to_string(fixture("manifests/bad_rows.csv")).unwrap();
        text.lines().count() as u64 - 1
    });
    let refused = quarantine(&dataset, &summary);
    let reason = |id: &str| refused.iter().find(|r| r["id"] == id).map(|r| (r["reason"].clone(), r["line"].clone()));
    assert_eq!(reason("media/missing.jpg"), Some((json!("unreadable"), json!(3))));
    assert_eq!(reason("../images/train/pants/000_444.jpg"), Some((json!("bad-path"), json!(4))));
    assert_eq!(reason("/etc/passwd"), Some((json!("bad-path"), json!(5))));
}

#[test]
fn text_by_windows_and_text_that_is_mended() {
    let dir = folder();
    let source = fixture("text/shakespeare_20k.txt");
    let dataset = dir.path().join("windows");
    let summary = dsctl![
        "ingest",
        source,
        dataset,
        "--text-window",
        "1000",
        "--text-stride",
        "500",
        "--text-cut",
        "space",
        "--json"
    ]
    .ok()
    .json();
    assert!((38..60).contains(&summary["rows"].as_u64().unwrap()), "{summary}");
    let first = dsctl!["head", dataset, "-n", "1", "--json", "--quiet"].ok().json();
    assert_eq!(first[0]["id"], "shakespeare_20k.txt#0");
    let other = dir.path().join("other");
    dsctl!["ingest", source, other, "--text-window", "5", "--text-stride", "9"]
        .ended(2)
        .says(&["stride of 9", "help: "]);
    dsctl!["ingest", source, other, "--text-unit", "line", "--text-window", "5"].ended(2).says(&["--text-unit window"]);

    let latin = dir.path().join("latin.txt");
    std::fs::write(&latin, b"caf\xe9 au lait\ngood\n").unwrap();
    let refused = dir.path().join("refused");
    let summary = dsctl!["ingest", latin, refused, "--max-errors", "1", "--json"].ok().json();
    assert_eq!((&summary["rows"], &summary["quarantined"], &summary["mended"]), (&json!(1), &json!(1), &json!(0)));
    let mended = dsctl!["ingest", latin, other, "--invalid-utf8", "replace", "--quiet"].ok();
    assert!(mended.out.contains("1 rows were not UTF-8: 1 U+FFFD put in"), "{mended:?}");
}

#[test]
fn text_by_line_and_paragraph() {
    let dir = folder();
    let source = fixture("text/shakespeare_20k.txt");
    let text = std::fs::read_to_string(&source).unwrap();
    let lines = text.lines().filter(|l| !l.trim().is_empty()).count();
    let paragraphs = text.split("\n\n").filter(|p| !p.trim().is_empty()).count();
    for (unit, rows) in [("line", lines), ("paragraph", paragraphs), ("file", 1)] {
        let dataset = dir.path().join(unit);
        let summary = dsctl!["ingest", source, dataset, "--text-unit", unit, "--json"].ok().json();
        assert_eq!(summary["rows"], rows, "{unit}");
    }
    let first = dsctl!["inspect", dir.path().join("line"), "0", "--json"].ok().json();
    assert_eq!(first["media"]["text"]["text"].as_str(), text.lines().next());
    assert_eq!(first["id"], "shakespeare_20k.txt#1");
}

#[test]
fn labels_off_file_names_by_flag_and_by_file() {
    let dir = folder();
    let four = json!({"0": 4, "1": 4, "2": 4, "3": 4});
    let by_flag = dir.path().join("flag");
    let regex = r"^(?P<label>\d)_";
    let ran = dsctl!["ingest", fixture("digits"), by_flag, "--label-regex", regex, "--json"].ok();
    assert_eq!(ran.json()["rows_by_label"], four);
    let config = dir.path().join("ingest.toml");
    std::fs::write(&config, "max_errors = 0\n[source]\nlabel_regex = '^(?P<label>\\d)_'\n").unwrap();
    let by_file = dir.path().join("file");
    dsctl!["ingest", fixture("digits"), by_file, "--config", config].ok();
    assert_eq!(crate::run::version(&by_flag), crate::run::version(&by_file));
    // A flag comes before the file.
    let speaker = r"_(?P<label>[a-z]+)_";
    let other = dir.path().join("other");
    let ran = dsctl!["ingest", fixture("digits"), other, "--config", config, "--label-regex", speaker, "--json"].ok();
    assert_eq!(ran.json()["rows_by_label"], json!({"ada": 8, "ben": 8}));
    std::fs::write(&config, "max_errors = 0\n\nshard_byte = 3\n").unwrap();
    dsctl!["ingest", fixture("digits"), other, "--config", config].ended(2).says(&[
        "ingest.toml",
        "line 3",
        "shard_byte",
    ]);
}

#[test]
fn clips() {
    let dir = folder();
    let dataset = dir.path().join("d");
    let summary = dsctl!["ingest", fixture("clips"), dataset, "--json"].ok().json();
    assert_eq!(summary["rows_by_label"], json!({"chart": 7, "dial": 7}));
    let shown = dsctl!["inspect", dataset, "dial/cropped_98x54.mp4", "--json"].ok().json();
    let media = &shown["media"]["video"];
    assert_eq!((&media["width"], &media["height"], &media["hash_ok"]), (&json!(98), &json!(54), &json!(true)));
}

/// The lines of the quarantine file that a summary names.
fn quarantine(dataset: &Path, summary: &Value) -> Vec<Value> {
    let text = std::fs::read_to_string(dataset.join(summary["quarantine"].as_str().unwrap())).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// Hostile files of each kind with the reason for which each is refused; `None`: read without harm.
type Hostile = &'static [(&'static str, Option<&'static str>)];

const PICTURES: Hostile = &[
    ("bad_crc.png", Some("corrupt")),
    ("bomb_50000x50000.png", Some("over-limit")),
    ("bomb_65500x65500.jpg", Some("over-limit")),
    ("corrupt_scan.jpg", None),
    ("header_only.jpg", Some("truncated")),
    ("not_media.jpg", Some("unknown-format")),
    ("png_named.jpg", None),
    ("text_bomb.png", None),
    ("truncated.jpg", Some("truncated")),
    ("truncated.png", Some("truncated")),
    ("zero.jpg", Some("empty")),
    ("zero_size.png", Some("corrupt")),
];
const RECORDINGS: Hostile = &[
    ("65535_channels.wav", Some("corrupt")),
    ("claims_4gb.wav", Some("truncated")),
    ("corrupt_frame.flac", Some("corrupt")),
    ("no_samples.wav", None),
    ("random.wav", Some("unknown-format")),
    ("rate_4ghz.wav", Some("corrupt")),
    ("silence_10h.flac", Some("over-limit")),
    ("truncated.flac", Some("truncated")),
    ("truncated.wav", Some("truncated")),
    ("zero_channels.wav", Some("corrupt")),
    ("zero_rate.wav", Some("corrupt")),
];
const CLIPS: Hostile = &[
    ("random.mp4", Some("truncated")),
    ("sample_4gb.mp4", Some("truncated")),
    ("samples_4g.mp4", Some("corrupt")),
    ("truncated.mkv", Some("truncated")),
    ("truncated.mp4", Some("truncated")),
    ("truncated_faststart.mp4", Some("truncated")),
];
const TEXTS: Hostile = &[
    ("invalid_utf8.txt", Some("invalid-utf8")),
    ("nul.txt", Some("corrupt")),
    ("surrogate.txt", Some("invalid-utf8")),
    ("utf16.txt", Some("invalid-utf8")),
    ("zero.txt", Some("empty")),
];

#[test]
fn what_is_hostile_ends_in_the_quarantine_and_the_rest_is_committed() {
    let kinds: [(&str, Hostile, &[&str]); 4] = [
        ("image", PICTURES, &["images/train/pants/000_444.jpg", "images/train/pants/006_rgb.png"]),
        ("audio", RECORDINGS, &["digits/0_ada_0.wav", "audio/mono_16bit_44100.flac"]),
        ("video", CLIPS, &["clips/dial/faststart.mp4", "clips/chart/b_frames.mkv"]),
        ("text", TEXTS, &["text/no_final_newline.txt"]),
    ];
    let listed: usize = kinds.iter().map(|k| k.1.len()).sum();
    assert_eq!(listed, std::fs::read_dir(fixture("hostile")).unwrap().count(), "a hostile file that no test names");
    for (kind, hostile, good) in kinds {
        let dir = folder();
        let source = dir.path().join("source");
        for (name, _) in hostile {
            copies(&source, &[(&format!("hostile/{name}"), &format!("bad/{name}"))]);
        }
        for path in good {
            copies(&source, &[(path, &format!("good/{}", path.rsplit('/').next().unwrap()))]);
        }
        let dataset = dir.path().join("d");
        let unit = if kind == "text" { "file" } else { "line" };
        let args =
            ["--kind", kind, "--format", if kind == "text" { "text" } else { "folder" }, "--text-unit", unit, "--json"];
        let [a, b, c, d, e, f, g] = args;
        let none = dsctl!["ingest", source, dataset, a, b, c, d, e, f, g, "--max-errors", "0"].ended(5);
        assert_eq!(none.json()["exit_code"], 5, "{kind}");
        assert!(none.err.contains("nothing was committed") && none.err.contains(".dsctl/quarantine"), "{}", none.err);
        dsctl!["ls", dataset].ended(2).says(&["no committed version"]);

        let ran = dsctl!["ingest", source, dataset, a, b, c, d, e, f, g, "--max-errors", "100%"].ok();
        let summary = ran.json();
        let rows = rows(&dataset);
        let mut refused: BTreeMap<String, Value> = BTreeMap::new();
        for line in quarantine(&dataset, &summary) {
            assert!(!line["message"].as_str().unwrap().is_empty());
            refused.insert(line["origin"].as_str().unwrap().to_owned(), line["reason"].clone());
        }
        for (name, reason) in hostile {
            let origin = format!("bad/{name}");
            assert_eq!(refused.get(&origin), reason.map(|r| json!(r)).as_ref(), "{kind}: {origin}");
            assert_eq!(rows.contains_key(&origin), reason.is_none(), "{kind}: {origin}");
        }
        assert_eq!(refused.len() as u64, summary["quarantined"], "{kind}");
        assert!(good.iter().all(|g| rows.contains_key(&format!("good/{}", g.rsplit('/').next().unwrap()))), "{kind}");
        assert_eq!(rows.len() as u64, summary["rows"], "{kind}");
        dsctl!["verify", dataset].ok();
    }
}
