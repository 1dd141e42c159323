//! `dsctl ingest --isolate`: what kills, hangs or exhausts its decoder costs itself, and the dataset is the same.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use feedstock::ingest::{Control, Isolate, ingest};
use feedstock::store::fault::{FaultDisk, Kill, Op};
use serde_json::{Value, json};

use crate::common::fixture;
use crate::run::{command, copies, files, folder};

/// The variable that only the processes of an isolated ingest look at.
const HOOK: &str = "FEEDSTOCK_TEST_HOSTILE";

/// Photos, and some among them that make the process which looks at them do something.
fn photos(root: &Path, hostile: &[&str]) -> PathBuf {
    let source = root.join("photos");
    for (at, name) in ["000_444", "001_422", "002_420", "003_420_odd"].iter().enumerate() {
        let fixture = format!("images/train/pants/{name}.jpg");
        copies(&source, &[(&fixture, &format!("train/pants/{at}.jpg")), (&fixture, &format!("train/hat/{at}.jpg"))]);
    }
    for what in hostile {
        let mut bytes = std::fs::read(fixture("images/train/pants/000_444.jpg")).unwrap();
        bytes.extend(format!("feedstock-test:{what}").bytes());
        std::fs::write(source.join(format!("train/hat/2_{what}.jpg")), bytes).unwrap();
    }
    source
}

fn command_of(source: &Path, dataset: &Path, more: &[&str]) -> Command {
    let mut command = command();
    command.arg("ingest").arg(source).arg(dataset).args(["--json", "--max-errors", "100%"]).args(more).env(HOOK, "1");
    command
}

fn ended(mut command: Command, code: i32) -> Value {
    let done = command.output().unwrap();
    assert_eq!(done.status.code(), Some(code), "{done:?}");
    serde_json::from_slice(&done.stdout).unwrap_or_else(|e| panic!("{e}: {done:?}"))
}

fn reasons(dataset: &Path) -> Vec<(String, String)> {
    let listed = dsctl!["quarantine", "ls", dataset, "--rows", "--limit", "0", "--json"].ok().json();
    let rows = listed.as_array().unwrap().iter().flat_map(|run| run["entries"].as_array().unwrap());
    rows.map(|row| (row["id"].as_str().unwrap().to_owned(), row["reason"].as_str().unwrap().to_owned())).collect()
}

#[test]
fn one_crash_costs_one_entry() {
    let dir = folder();
    let source = photos(dir.path(), &["abort", "exit", "memory"]);
    for threads in ["1", "3"] {
        let dataset = dir.path().join(threads);
        let more = ["--isolate", "--threads", threads];
        let summary = ended(command_of(&source, &dataset, &more), 0);
        assert_eq!((&summary["rows"], &summary["quarantined"]), (&json!(8), &json!(3)), "{summary}");
        let expected = [("abort", "crashed"), ("exit", "crashed"), ("memory", "out-of-memory")];
        assert_eq!(reasons(&dataset), expected.map(|(what, why)| (format!("train/hat/2_{what}.jpg"), why.to_owned())));
        dsctl!["verify", dataset].ok();
        // Not isolated the files are good: a retry that was not told otherwise is isolated as its ingest was.
        let told = ended(
            {
                let mut command = command();
                command.args(["quarantine", "retry", "--json"]).arg(&dataset).env(HOOK, "1");
                command
            },
            0,
        );
        assert_eq!((&told[0]["summary"]["rows"], &told[0]["after"]), (&json!(0), &json!(3)), "{told}");
    }
    assert_eq!(files(&dir.path().join("1/data")), files(&dir.path().join("3/data")));
}

#[test]
fn what_does_not_come_back_is_refused() {
    let dir = folder();
    let (source, dataset) = (photos(dir.path(), &["hang"]), dir.path().join("d"));
    // Long enough for a photo on any machine, and all that this test waits for.
    let summary = ended(command_of(&source, &dataset, &["--isolate", "--payload-seconds", "8"]), 0);
    assert_eq!((&summary["rows"], &summary["quarantined"]), (&json!(8), &json!(1)));
    assert_eq!(reasons(&dataset), [("train/hat/2_hang.jpg".to_owned(), "timed-out".to_owned())]);
    let shown = dsctl!["quarantine", "show", dataset, "train/hat/2_hang.jpg"].ok().out;
    assert!(shown.contains("8 s (--payload-seconds)"), "{shown}");
}

/// Every kind of media, what is made of it, parts of recordings and counts of tokens: the same files, isolated or not.
#[test]
fn the_dataset_is_the_same() {
    let dir = folder();
    for (name, source, more) in [
        ("images", "images", &[][..]),
        ("formats", "images_formats", &[]),
        ("hostile", "hostile", &["--kind", "image", "--max-errors", "100%"]),
        ("smaller", "images", &["--image-max-side", "40"]),
        ("header", "images", &["--check", "header"]),
        ("digits", "digits", &["--audio-rate", "16000"]),
        ("chunks", "digits", &["--chunk-seconds", "0.1"]),
        ("clips", "clips", &[]),
        ("texts", "text/shakespeare_20k.txt", &[]),
        ("ids", "text/shakespeare_20k.txt", &["--store-ops", r#"text=[{"op": "bytes_to_ids"}]"#]),
        ("counts", "text/shakespeare_20k.txt", &["--count-ops", r#"text=[{"op": "bytes_to_ids"}]"#]),
    ] {
        let run = |isolated: bool| {
            let dataset = dir.path().join(format!("{name}-{isolated}"));
            let mut command = command();
            command.arg("ingest").arg(fixture(source)).arg(&dataset).args(more).args(["--threads", "2"]);
            if isolated {
                command.arg("--isolate");
            }
            let done = command.output().unwrap();
            (done.status.code(), dataset)
        };
        let ((here, one), (away, two)) = (run(false), run(true));
        assert_eq!((here, away), (here, here), "{name}");
        let (mut one, mut two) = (files(&one), files(&two));
        // The table says that the ingest was isolated; its list is the same.
        for files in [&mut one, &mut two] {
            files.retain(|path, _| path.extension().is_none_or(|e| e != "parquet") || path.starts_with("data"));
        }
        assert!(one.len() > 1, "{name}");
        for (path, bytes) in &one {
            assert!(two.get(path) == Some(bytes), "{name}: {}", path.display());
        }
        assert_eq!(one.len(), two.len(), "{name}");
    }
}

/// What crashed before the run was killed has crashed for good: the same files, quarantine included, as of a run that nothing disturbed.
#[test]
fn a_killed_run_has_the_quarantine_of_an_undisturbed_one() {
    let dir = folder();
    let source = photos(dir.path(), &["abort", "exit", "memory"]);
    let run = |dataset: &Path, disk: Option<Arc<FaultDisk>>| {
        // A library does not set variables; `env` does, and is the process it begins from then on.
        let args = [format!("{HOOK}=1").into(), env!("CARGO_BIN_EXE_dsctl").into(), "isolated".into()].into();
        let mut control = Control { isolate: Some(Isolate { program: "env".into(), args }), ..Control::default() };
        if let Some(disk) = disk {
            control.disk = Some(disk);
        }
        let options = serde_json::json!({"isolate": true, "max_errors": "100%", "shard_bytes": 6_000, "threads": 2});
        ingest(&source, dataset, &serde_json::from_value(options).unwrap(), &control)
    };
    let whole = dir.path().join("whole");
    let disk = Arc::new(FaultDisk::new(Kill::Never));
    let summary = run(&whole, Some(Arc::clone(&disk))).unwrap();
    assert_eq!((summary.rows, summary.quarantined), (8, 3));
    assert!(summary.shards > 2, "{summary:?}");
    let undisturbed = files(&whole);
    let written: u64 = disk.seen().iter().filter(|s| s.op == Op::Write).map(|s| s.bytes as u64).sum();
    for draw in 0..6 {
        let byte = written * draw / 6 + 11;
        let target = dir.path().join(draw.to_string());
        let faulty = Arc::new(FaultDisk::new(Kill::AtByte(byte)));
        assert!(run(&target, Some(Arc::clone(&faulty))).is_err() && faulty.died().is_some(), "{byte}");
        assert_eq!(run(&target, None).unwrap().version, 1, "{byte}");
        assert_eq!(files(&target), undisturbed, "byte {byte} of {written}");
    }
}

/// Not isolated, a decoder that takes longer than any sane time ends the run, which names it and can be gone on with: here a clip
/// under a limit of microseconds.
#[test]
fn without_it_the_run_ends_and_names_the_file() {
    let dir = folder();
    let dataset = dir.path().join("d");
    let ended =
        dsctl!["ingest", fixture("clips"), dataset, "--payload-seconds", "0.000001", "--threads", "1", "--json"];
    let ended = ended.ended(1).says(&["it is not decoded after", "id \"", "--isolate"]);
    assert_eq!(ended.json()["exit_code"], 1);
    assert_eq!(std::fs::read_dir(dataset.join(".dsctl/journal")).unwrap().count(), 1, "it can be gone on with");
    dsctl!["ingest", fixture("clips"), dataset, "--isolate"].ok();
    assert_eq!(std::fs::read_dir(dataset.join(".dsctl/journal")).unwrap().count(), 0, "the same work, isolated or not");
}

/// Killed outright, the ingest leaves no process, not even one whose decoder does not come back.
#[test]
fn the_processes_end_with_the_ingest() {
    let dir = folder();
    let (source, dataset) = (photos(dir.path(), &["hang"]), dir.path().join("d"));
    let marked = |pid: u32| {
        let environment = std::fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
        let mark = format!("FEEDSTOCK_TEST_MARK={}", dir.path().display());
        environment.split(|b| *b == 0).any(|variable| variable == mark.as_bytes())
    };
    let ours = || -> Vec<u32> {
        let processes = std::fs::read_dir("/proc").unwrap().filter_map(|e| e.ok()?.file_name().to_str()?.parse().ok());
        processes.filter(|pid| marked(*pid)).collect()
    };
    let mut command = command_of(&source, &dataset, &["--isolate"]);
    let mut parent =
        command.env("FEEDSTOCK_TEST_MARK", dir.path()).stdout(std::process::Stdio::null()).spawn().unwrap();
    let waits = |until: &dyn Fn() -> bool| {
        while !until() {
            std::thread::yield_now();
        }
    };
    // A photo of this size takes milliseconds: who has worked for a second is the one that does not come back. (proc(5): the time
    // in ticks is the 14th field, 12 behind the name in parentheses.)
    let ticks = |pid: u32| -> Option<u64> {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        stat.rsplit_once(") ")?.1.split(' ').nth(11)?.parse().ok()
    };
    let own = parent.id();
    waits(&|| ours().iter().any(|pid| *pid != own && ticks(*pid) > Some(100)));
    parent.kill().unwrap();
    parent.wait().unwrap();
    waits(&|| ours().is_empty());
}

#[test]
fn what_cannot_be_begun_is_no_fault_of_a_payload() {
    dsctl!["isolated"].ended(1).says(&["started by an ingest"]);
    let dir = folder();
    let source = photos(dir.path(), &[]);
    dsctl!["ingest", source, dir.path().join("d"), "--payload-seconds", "0"].ended(2).says(&["payload_seconds"]);
    assert!(!dsctl!["--help"].ok().out.contains("isolated"));
}
