//! Isolation and the watchdog as a user of the crate meets them; what an isolated ingest survives is in `tests/cli`.
#![cfg(feature = "text")]

use std::fs;
use std::path::Path;
use std::sync::{Arc, Condvar, Mutex};

use feedstock::augment::{self, Draw, Media, Op, OpEntry, Spec, Tools};
use feedstock::dataset::Dataset;
use feedstock::ingest::{Control, IngestOptions, Isolate, Summary, ingest};
use feedstock::{Error, Fault};

fn texts() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("x.txt"), "one\nwait for me\nthree\n").unwrap();
    dir
}

fn take(source: &Path, dataset: &Path, options: serde_json::Value, control: &Control) -> Result<Summary, Error> {
    ingest(source, dataset, &serde_json::from_value(options).unwrap(), control)
}

/// Whether the operation below may go on.
static FREE: (Mutex<bool>, Condvar) = (Mutex::new(false), Condvar::new());

/// Does not come back from a text that says so, until it is let go.
#[derive(Debug, serde::Deserialize)]
struct Waits {}

impl Op for Waits {
    fn spec(&self, input: &Spec) -> Result<Spec, Fault> {
        Ok(input.clone())
    }
    fn apply(&self, _: &Draw, media: Media, _: &mut Tools) -> Result<Media, Fault> {
        if matches!(&media, Media::Text(text) if text.contains("wait")) {
            drop(FREE.1.wait_while(FREE.0.lock().unwrap(), |free| !*free).unwrap());
        }
        Ok(media)
    }
}

/// Who does not come back is named, while nothing else happens; an ingest that is let wait goes on all the same.
#[test]
fn a_decoder_that_does_not_come_back_is_named() {
    let entry = OpEntry {
        name: "waits",
        version: 1,
        summary: "waits",
        build: |params| Ok(Arc::new(augment::parse::<Waits>("waits", params)?)),
        example: "{}",
    };
    let (source, dir) = (texts(), tempfile::tempdir().unwrap());
    let told = Arc::new(Mutex::new(Vec::new()));
    let hears = Arc::clone(&told);
    let stuck = move |error: &Error| {
        hears.lock().unwrap().push((error.exit_code(), error.to_string()));
        // On a slow machine the others may be told of, too.
        if error.to_string().contains("x.txt#2") {
            *FREE.0.lock().unwrap() = true;
            FREE.1.notify_all();
        }
    };
    let control = Control { ops: augment::ops().with(entry), stuck: Some(Arc::new(stuck)), ..Control::default() };
    let options = serde_json::json!({
        "payload_seconds": 0.01,
        "prepare": {"columns": {"text": {"ops": [{"op": "waits"}, {"op": "bytes_to_ids"}]}}},
    });
    let summary = take(source.path(), &dir.path().join("d"), options, &control).unwrap();
    assert_eq!((summary.rows, summary.quarantined), (3, 0));
    let told = told.lock().unwrap();
    let (code, what) = told.iter().find(|(_, what)| what.contains("x.txt#2")).unwrap();
    assert!(*code == 1 && what.contains("row 2") && what.contains("--isolate"), "{what}");
}

/// A program that cannot be begun, or answers nothing, nonsense, or never, ends the ingest with an error that names it: it is no fault
/// of any payload, and nothing is committed.
#[test]
fn programs_that_look_at_nothing_end_the_ingest() {
    let (source, dir) = (texts(), tempfile::tempdir().unwrap());
    let ids = serde_json::json!({"columns": {"text": {"ops": [{"op": "bytes_to_ids"}]}}});
    let options = serde_json::json!({"isolate": true, "payload_seconds": 0.5, "prepare": ids});
    let dataset = dir.path().join("d");
    let none = take(source.path(), &dataset, options.clone(), &Control::default()).unwrap_err();
    assert!(none.exit_code() == 2 && none.to_string().contains("Control::isolate"), "{none}");
    for (program, args) in [
        ("/no/such/program", &[][..]),
        ("true", &[]),
        ("cat", &[]),
        ("yes", &[]),
        ("sleep", &["600"]),
        ("head", &["-c", "1000000000", "/dev/zero"]),
    ] {
        let args = args.iter().map(Into::into).collect();
        let control = Control { isolate: Some(Isolate { program: program.into(), args }), ..Control::default() };
        let error = take(source.path(), &dataset, options.clone(), &control).unwrap_err();
        assert!(error.exit_code() == 1 && error.to_string().contains(program), "{program}: {error}");
        assert!(Dataset::open(&dataset).is_err(), "{program}");
        let refused = dataset.join(".dsctl/quarantine");
        assert!(!refused.exists(), "{program}: {refused:?}");
    }
    // Text that is stored as it is needs no decoder.
    let control = Control {
        isolate: Some(Isolate { program: "/no/such/program".into(), args: Vec::new() }),
        ..Control::default()
    };
    assert_eq!(take(source.path(), &dataset, serde_json::json!({"isolate": true}), &control).unwrap().rows, 3);
    let wrong = IngestOptions { payload_seconds: f64::NAN, ..IngestOptions::default() };
    assert!(wrong.validate().is_err());
}
