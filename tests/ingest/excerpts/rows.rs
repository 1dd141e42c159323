//! Rows of a manifest that name parts of recordings.

use std::fs;

use feedstock::data::label::Value;

use super::{Sound, decoded, every, folder, options, quarantine, refused, rows, slice, take};
use crate::common::fixture;

fn manifest(name: &str, text: &str) -> tempfile::TempDir {
    let dir = folder(&[("a.wav", "digits/0_ada_0.wav"), ("b.mp3", "audio_formats/mp3_variable.mp3")]);
    fs::write(dir.path().join(name), text).unwrap();
    dir
}

#[test]
fn a_row_is_the_part_that_it_names() {
    let a = decoded(&fs::read(fixture("digits/0_ada_0.wav")).unwrap());
    let b = decoded(&fs::read(fixture("audio_formats/mp3_variable.mp3")).unwrap());
    let seconds = |sound: &Sound| sound.0.len() as f64 / f64::from(sound.1) / f64::from(sound.2);
    let micros = |seconds: f64| (seconds * 1e6).round() / 1e6;
    let (long, rate) = (seconds(&b), f64::from(b.2));
    let csv = format!(
        "path,start,end,label,speaker\na.wav,0.1,0.2,x,7\nb.mp3,0.0101,{long},y,8\na.wav,0.05,0.3,y,9\na.wav,0.1,0.2,x,7\n\
         b.mp3,0,{},y,1\n",
        long + 0.0499
    );
    let jsonl =
        "{\"path\": \"a.wav\", \"offset\": 0.1, \"duration\": 0.125}\n{\"path\": \"a.wav\", \"duration\": 0.25}\n";
    let dir = tempfile::tempdir().unwrap();
    let source = manifest("m.csv", &csv);
    let target = dir.path().join("csv");
    let (summary, decodes) = take(&source.path().join("m.csv"), &target, &options(None)).unwrap();
    assert_eq!((summary.rows, summary.quarantined, decodes), (5, 0, 2), "{summary:?}");
    assert!(summary.notes.iter().any(|n| n.contains("\"start\"") && n.contains("--whole-files")), "{summary:?}");
    let all = b.0.len() / b.1 as usize;
    let expected = [
        ("a.wav#0.05-0.3".to_owned(), slice(&a, 400, 2400), 1, 0.05, 9),
        ("a.wav#0.1-0.2".to_owned(), slice(&a, 800, 1600), 0, 0.1, 7),
        ("a.wav#0.1-0.2#2".to_owned(), slice(&a, 800, 1600), 0, 0.1, 7),
        (format!("b.mp3#0-{}", micros(long + 0.0499)), slice(&b, 0, all), 1, 0.0, 1),
        (format!("b.mp3#0.0101-{}", micros(long)), slice(&b, (0.0101 * rate).round() as usize, all), 1, 0.0101, 8),
    ];
    let found = rows(&target);
    assert_eq!(found.len(), expected.len());
    for ((id, sound, values), (name, samples, label, start, speaker)) in found.into_iter().zip(expected) {
        assert_eq!(id, name);
        assert!(sound == samples, "{id}");
        let of = (&values[0], &values[1], &values[3]);
        assert_eq!(of, (&Value::Int(label), &Value::Float(start), &Value::Int(speaker)), "{id}");
    }
    let (again, decodes) = take(&source.path().join("m.csv"), &target, &options(None)).unwrap();
    assert_eq!((again.rows, again.skipped, decodes), (0, 5, 0));

    let source = manifest("m.jsonl", jsonl);
    let target = dir.path().join("jsonl");
    take(&source.path().join("m.jsonl"), &target, &options(None)).unwrap();
    let found: Vec<_> = rows(&target).into_iter().map(|(id, sound, _)| (id, sound)).collect();
    assert!(found == [("a.wav#0-0.25".into(), slice(&a, 0, 2000)), ("a.wav#0.1-0.225".into(), slice(&a, 800, 1800))]);
    // Rows are cut into chunks, too: chunk k of a range.
    let target = dir.path().join("chunks");
    take(&source.path().join("m.jsonl"), &target, &options(Some(every(0.1)))).unwrap();
    let found: Vec<_> = rows(&target).into_iter().map(|(id, sound, _)| (id, sound)).collect();
    let first = [("0-0.25#0", 0, 800), ("0-0.25#1", 800, 1600), ("0-0.25#2", 1600, 2000)];
    let expected = first.into_iter().chain([("0.1-0.225#0", 800, 1600), ("0.1-0.225#1", 1600, 1800)]);
    let expected: Vec<_> = expected.map(|(id, from, to)| (format!("a.wav#{id}"), slice(&a, from, to))).collect();
    assert!(found == expected);
    // And a dataset of rows' parts takes no whole recordings.
    let csv = manifest("w.csv", "path,offset,duration\na.wav,0,0.1\n");
    let target = dir.path().join("csv2");
    take(&csv.path().join("w.csv"), &target, &options(None)).unwrap();
    let mut whole = options(None);
    whole.source.whole_files = true;
    let other = refused(take(&csv.path().join("w.csv"), &target, &whole));
    assert!(other.contains("whole recordings") && other.contains("that rows name"), "{other}");
    assert!(other.contains("without --whole-files"), "{other}");
}

/// A dataset of whole recordings, made when such columns were only values: what goes on is told.
#[test]
fn ranges_that_nobody_asked_for_are_told_how_to_leave_alone() {
    let dir = tempfile::tempdir().unwrap();
    let mut whole = options(None);
    whole.source.whole_files = true;
    let more = manifest("m.csv", "path,start,end\nb.mp3,0,0.01\n");
    let encoded = r#"{"audio": {"codec": "flac"}}"#;
    for (name, prepare, holds) in [("own", "{}", "the source's own bytes"), ("flac", encoded, "encoded: codec flac")] {
        let first = manifest("m.csv", "path,start,end\na.wav,0.1,0.2\n");
        let target = dir.path().join(name);
        whole.prepare = serde_json::from_str(prepare).unwrap();
        take(&first.path().join("m.csv"), &target, &whole).unwrap();
        let told = refused(take(&more.path().join("m.csv"), &target, &options(None)));
        assert!(told.contains("holds whole recordings") && told.contains(holds), "{told}");
        assert!(told.contains("--whole-files") && !told.contains("leave"), "{told}");
        let (summary, _) = take(&more.path().join("m.csv"), &target, &whole).unwrap();
        assert_eq!((summary.rows, summary.version), (1, 2));
        let told = refused(take(&more.path().join("m.csv"), &target, &options(Some(every(0.1)))));
        assert!(told.contains("leave --chunk-seconds"), "{told}");
    }
}

/// An id says the place: a row in front of others is one more row, and the others are there.
#[test]
fn rows_may_be_added_anywhere() {
    let dir = tempfile::tempdir().unwrap();
    let target = dir.path().join("d");
    let take = |text: &str| take(&manifest("m.csv", text).path().join("m.csv"), &target, &options(None)).unwrap();
    assert_eq!(take("path,start,end\na.wav,0.1,0.2\na.wav,0.20,0.3\n").0.rows, 2);
    let (summary, decodes) = take("path,start,end\na.wav,0,0.1\na.wav,0.1,0.2\na.wav,0.2,0.3\n");
    assert_eq!((summary.rows, summary.skipped, summary.quarantined, decodes), (1, 2, 0, 1), "{summary:?}");
    let ids: Vec<String> = rows(&target).into_iter().map(|(id, ..)| id).collect();
    assert_eq!(ids, ["a.wav#0.1-0.2", "a.wav#0.2-0.3", "a.wav#0-0.1"]);
}

#[test]
fn columns_are_named_or_left_alone() {
    let source = manifest("m.csv", "path,from,to,start,end\na.wav,0.1,0.2,x,0.5\nb.mp3,0,0.02,y,0.7\n");
    let csv = source.path().join("m.csv");
    let dir = tempfile::tempdir().unwrap();
    let (summary, _) = take(&csv, &dir.path().join("whole"), &options(None)).unwrap();
    assert!(summary.notes.iter().any(|n| n.contains("whole recordings") && n.contains("\"start\"")), "{summary:?}");
    let named = |start: Option<&str>, end: Option<&str>, duration: Option<&str>, target: &str| {
        let mut options = options(None);
        [options.source.start_column, options.source.end_column, options.source.duration_column] =
            [start, end, duration].map(|name| name.map(str::to_owned));
        take(&csv, &dir.path().join(target), &options)
    };
    let (summary, _) = named(Some("from"), Some("to"), None, "named").unwrap();
    assert_eq!((summary.rows, summary.quarantined), (2, 0), "{summary:?}");
    let first = rows(&dir.path().join("named")).remove(0);
    assert_eq!((first.0.as_str(), first.1.0.len()), ("a.wav#0.1-0.2", 800));
    named(Some("from"), None, Some("to"), "duration").unwrap();
    assert_eq!(rows(&dir.path().join("duration")).remove(0).1.0.len(), 1600);
    for (result, word) in [
        (named(Some("none"), None, None, "x"), "\"none\" is no column"),
        (named(Some("start"), Some("to"), None, "x"), "not all of it are numbers"),
        (named(None, Some("to"), Some("end"), "x"), "both an end and a duration"),
    ] {
        let told = refused(result);
        assert!(told.contains(word), "{told}");
    }
    let images = tempfile::tempdir().unwrap();
    fs::copy(fixture("images/train/pants/000_444.jpg"), images.path().join("a.jpg")).unwrap();
    fs::write(images.path().join("m.csv"), "path,start,end\na.jpg,0,1\n").unwrap();
    take(&images.path().join("m.csv"), &dir.path().join("images"), &options(None)).unwrap();
    let mut named = options(None);
    named.source.start_column = Some("start".into());
    let told = refused(take(&images.path().join("m.csv"), &dir.path().join("x"), &named));
    assert!(told.contains("no recordings"), "{told}");
    for source in [images.path().join("m.csv"), fixture("text/shakespeare_20k.txt")] {
        let told = refused(take(&source, &dir.path().join("x"), &options(Some(every(1.0)))));
        assert!(told.contains("--chunk-seconds cuts recordings"), "{told}");
    }
}

#[test]
fn a_bad_range_is_refused_with_its_reason_and_line() {
    let cases = [
        ("-0.1,0.2", "begins before"),
        ("0.2,0.1", "ends before it begins"),
        ("0.2,0.2", "no sample"),
        ("0.2,0.8", "ends behind"),
        ("9,10", "ends behind"),
        ("0.2,", "\"end\" is empty"),
        (",0.2", "\"start\" is empty"),
    ];
    let lines: String = cases.iter().map(|(range, _)| format!("a.wav,{range}\n")).collect();
    let source = manifest("m.csv", &format!("path,start,end\n{lines}a.wav,0.1,0.2\nb.mp3,0,0.01\n"));
    let dir = tempfile::tempdir().unwrap();
    let target = dir.path().join("d");
    let (summary, _) = take(&source.path().join("m.csv"), &target, &options(None)).unwrap();
    assert_eq!((summary.rows, summary.quarantined), (2, cases.len() as u64));
    let refused = quarantine(&target, &summary);
    for (at, (range, word)) in cases.into_iter().enumerate() {
        let line = refused.iter().find(|r| r.line == Some(at as u64 + 2)).unwrap_or_else(|| panic!("{range}"));
        assert_eq!((line.reason.as_str(), line.origin.as_str()), ("bad-range", "m.csv"), "{range}");
        assert!(line.message.contains(word), "{range}: {}", line.message);
    }
}

#[test]
fn parts_have_to_be_ingested() {
    let source = manifest("m.csv", "path,start,end\na.wav,0.1,0.2\nb.mp3,0,0.01\n");
    let error = feedstock::open(source.path().join("m.csv")).map(|_| ()).unwrap_err();
    assert_eq!(error.exit_code(), 2);
    assert!(error.to_string().contains("dsctl ingest"), "{error}");
}
