//! The write door on real files: the fixtures of every kind of media, and everything hostile.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use crate::common::{files, fixture};
use feedstock::Error;
use feedstock::data::info::Kind;
use feedstock::dataset::Dataset;
use feedstock::ingest::{Control, IngestOptions, MaxErrors, Refused, Summary, ingest};
use feedstock::source::SourceOptions;

struct Taken {
    _dir: tempfile::TempDir,
    dataset: PathBuf,
    summary: Result<Summary, Error>,
}

fn take(source: &Path, options: &IngestOptions) -> Taken {
    let dir = tempfile::tempdir().unwrap();
    let dataset = dir.path().join("dataset");
    let summary = ingest(source, &dataset, options, &Control::default());
    Taken { _dir: dir, dataset, summary }
}

fn quarantine(taken: &Taken) -> BTreeMap<String, String> {
    let summary = taken.summary.as_ref().unwrap();
    let Some(rel) = &summary.quarantine else { return BTreeMap::new() };
    let text = fs::read_to_string(taken.dataset.join(rel)).unwrap();
    let lines: Vec<Refused> = text.lines().map(|l| serde_json::from_str(l).unwrap()).collect();
    assert_eq!(lines.len() as u64, summary.quarantined);
    lines.into_iter().map(|r| (r.id, r.reason)).collect()
}

fn of(kind: Kind) -> IngestOptions {
    IngestOptions {
        format: Some("folder".into()),
        source: SourceOptions { kind: Some(kind), ..Default::default() },
        max_errors: MaxErrors::ALL,
        ..Default::default()
    }
}

#[test]
fn pictures_in_splits_and_classes() {
    let taken = take(&fixture("images"), &IngestOptions::default());
    let summary = taken.summary.as_ref().unwrap();
    assert_eq!((summary.rows, summary.quarantined), (32, 0), "{:?}", quarantine(&taken));
    assert_eq!(summary.rows_by_split, BTreeMap::from([("test".into(), 11), ("train".into(), 21)]));
    assert_eq!(summary.rows_by_label.keys().collect::<Vec<_>>(), ["pants", "shoes", "t-shirt"]);
    let opened = Dataset::open(&taken.dataset).unwrap();
    let mut bytes = Vec::new();
    for row in 0..opened.rows() {
        opened.fetch_checked(row, 0, &mut bytes).unwrap().unwrap();
        let (_, entry) = opened.index().locate(row);
        assert_eq!(bytes, fs::read(fixture("images").join(entry.id())).unwrap(), "original bytes");
    }
}

#[test]
fn recordings_with_labels_in_their_names_clips_and_manifests() {
    let source = SourceOptions { label_regex: Some(r"^(?P<label>\d)_".into()), ..Default::default() };
    let digits = take(&fixture("digits"), &IngestOptions { source, ..Default::default() });
    let summary = digits.summary.as_ref().unwrap();
    assert_eq!(summary.rows, 16);
    assert_eq!(summary.rows_by_label, ["0", "1", "2", "3"].map(|d| (d.to_owned(), 4)).into());
    let clips = take(&fixture("clips"), &IngestOptions { max_errors: MaxErrors::ALL, ..Default::default() });
    let rows = clips.summary.as_ref().unwrap().rows;
    assert!(rows >= 10, "{rows} clips; {:?}", quarantine(&clips));
    for (manifest, rows) in [("manifest.csv", 6), ("manifest.jsonl", 6), ("audio.csv", 2)] {
        let taken = take(&fixture("manifests").join(manifest), &IngestOptions::default());
        assert_eq!(taken.summary.as_ref().unwrap().rows, rows, "{manifest}");
    }
    let bad = take(&fixture("manifests/bad_rows.csv"), &IngestOptions::default());
    let expected = [
        ("../images/train/pants/000_444.jpg", "bad-path"),
        ("/etc/passwd", "bad-path"),
        ("media/missing.jpg", "unreadable"),
    ];
    assert_eq!(quarantine(&bad), expected.map(|(a, b)| (a.to_owned(), b.to_owned())).into());
    // Several manifests beside a folder of media: the media is read, and the note says what was not.
    let several = take(&fixture("manifests"), &IngestOptions::default()).summary.unwrap();
    let said = |text: &str| several.notes.iter().any(|n| n.contains(text));
    assert!(said("read as folder") && said("not read as manifest (4 manifests"), "{:?}", several.notes);
    assert!(several.rows_by_label.keys().eq(["media"]), "{several:?}");
}

/// What of the hostile files each kind may take, and the reasons that a few must have.
#[test]
fn hostile_files_end_in_the_quarantine_with_their_reasons() {
    let listed = fs::read_dir(fixture("hostile")).unwrap().count() as u64;
    for (kind, good, reasons) in [
        (
            Kind::Image,
            &["png_named.jpg", "text_bomb.png"][..],
            &[
                ("zero.jpg", "empty"),
                ("not_media.jpg", "unknown-format"),
                ("bomb_50000x50000.png", "over-limit"),
                ("bomb_65500x65500.jpg", "over-limit"),
                ("truncated.jpg", "truncated"),
                ("truncated.png", "truncated"),
                ("truncated.wav", "wrong-media"),
                ("silence_10h.flac", "wrong-media"),
            ][..],
        ),
        (
            Kind::Audio,
            &[][..],
            &[
                ("silence_10h.flac", "over-limit"),
                ("truncated.flac", "truncated"),
                ("zero.jpg", "empty"),
                ("truncated.png", "wrong-media"),
            ][..],
        ),
        (Kind::Video, &[][..], &[("truncated.mp4", "truncated"), ("zero.txt", "empty")][..]),
    ] {
        let taken = take(&fixture("hostile"), &of(kind));
        match (&taken.summary, good) {
            (Ok(summary), _) => {
                assert_eq!(summary.rows + summary.quarantined, listed, "{kind:?}");
                let found = quarantine(&taken);
                for id in good {
                    assert!(!found.contains_key(*id), "{kind:?}: {id} is {}", found[*id]);
                }
                for (id, reason) in reasons {
                    assert_eq!(found.get(*id).map(String::as_str), Some(*reason), "{kind:?}: {id}");
                }
            }
            // Not one good file of this kind.
            (Err(Error::QuarantineLimit { refused, report, .. }), []) => {
                assert_eq!(*refused, listed, "{kind:?}");
                let text = fs::read_to_string(report).unwrap();
                for (id, reason) in reasons {
                    let line = text.lines().find(|l| l.contains(&format!("\"id\":\"{id}\""))).unwrap_or("");
                    assert!(line.contains(&format!("\"reason\":\"{reason}\"")), "{kind:?}: {line}");
                }
            }
            (Err(e), _) => panic!("{kind:?}: {e}"),
        }
    }
}

#[test]
fn pictures_good_and_hostile_give_the_same_bytes_for_any_number_of_threads() {
    let source = tempfile::tempdir().unwrap();
    let put = |from: &Path, to: PathBuf| {
        let to = source.path().join(to);
        fs::create_dir_all(to.parent().unwrap()).unwrap();
        fs::copy(from, to).unwrap();
    };
    for (relative, _) in files(&fixture("images")) {
        put(&fixture("images").join(&relative), relative);
    }
    let hostile =
        ["zero.jpg", "truncated.jpg", "not_media.jpg", "bomb_50000x50000.png", "bad_crc.png", "truncated.wav"];
    for name in hostile {
        put(&fixture("hostile").join(name), Path::new("train/pants").join(name));
    }
    let options = |threads| IngestOptions {
        threads,
        shard_bytes: 20_000,
        row_group_rows: 3,
        max_errors: MaxErrors::ALL,
        ..Default::default()
    };
    let one = take(source.path(), &options(1));
    let summary = one.summary.as_ref().unwrap();
    assert_eq!((summary.rows, summary.quarantined), (32, hostile.len() as u64), "{:?}", quarantine(&one));
    assert!(summary.shards > 2, "{summary:?}");
    for threads in [2, 8] {
        let many = take(source.path(), &options(threads));
        assert_eq!(many.summary.as_ref().unwrap().rows, 32);
        assert!(files(&many.dataset) == files(&one.dataset), "{threads} threads");
    }
}

#[cfg(feature = "cli")]
#[test]
fn the_command_tells_refusals_also_when_nothing_is_new() {
    let dir = tempfile::tempdir().unwrap();
    let (source, dataset) = (dir.path().join("a.txt"), dir.path().join("dataset"));
    fs::write(&source, b"one\n\xff\n").unwrap();
    let told = || {
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_dsctl"));
        let output = command.arg("ingest").arg(&source).arg(&dataset).output().unwrap();
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap()
    };
    assert!(told().contains("1 entries refused: see "));
    let again = told();
    assert!(again.contains("nothing new") && again.contains("1 entries refused: see "), "{again}");
}

#[test]
fn hostile_text_is_refused_line_by_line() {
    let options = IngestOptions { format: Some("text".into()), max_errors: MaxErrors::ALL, ..Default::default() };
    let taken = take(&fixture("hostile"), &options);
    let found = quarantine(&taken);
    assert_eq!(found.get("invalid_utf8.txt#2").map(String::as_str), Some("invalid-utf8"), "{found:?}");
    assert_eq!(found.get("zero.txt").map(String::as_str), Some("empty"));
    assert!(!found.contains_key("invalid_utf8.txt#1"));
    let plain = take(&fixture("text"), &IngestOptions::default());
    assert!(plain.summary.unwrap().rows > 100);
}
