//! An ingest that is interrupted, killed, or whose reader goes away.

use std::io::{BufRead as _, BufReader, Read as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::time::Duration;

use crate::common::fixture;
use crate::run::{command, copies, files, folder, rows, version};

/// Many chunks of pictures in two classes, and a small source for the version before.
fn sources(dir: &Path) -> (PathBuf, PathBuf) {
    let (small, large) = (dir.join("small"), dir.join("large"));
    copies(&small, &[("images/train/pants/000_444.jpg", "a/first.jpg")]);
    let photos = ["train/shoes/000_444.jpg", "train/shoes/001_422.jpg", "train/t-shirt/002_420.jpg"];
    let photos = photos.map(|p| std::fs::read(fixture("images").join(p)).unwrap());
    for class in ["a", "b"] {
        std::fs::create_dir_all(large.join(class)).unwrap();
        for i in 0..1500 {
            std::fs::write(large.join(class).join(format!("{i:04}.jpg")), &photos[i % 3]).unwrap();
        }
    }
    (small, large)
}

const FLAGS: [&str; 6] = ["--threads", "1", "--shard-bytes", "300000", "--progress", "none"];

/// Starts the ingest of the large source and waits until a further shard of it is in the journal, far from its end.
fn under_way(large: &Path, dataset: &Path) -> Child {
    let mut child = command();
    child.arg("ingest").arg(large).arg(dataset).args(FLAGS).stdout(Stdio::null()).stderr(Stdio::piped());
    let before = journaled(dataset).max(1);
    let mut child = child.spawn().unwrap();
    while journaled(dataset) <= before {
        assert_eq!(child.try_wait().unwrap(), None, "it ended before it was interrupted");
        std::thread::sleep(Duration::from_millis(2));
    }
    child
}

/// Lines in the journals of a dataset: a head each, and one for each finished stretch.
fn journaled(dataset: &Path) -> usize {
    let Ok(journals) = std::fs::read_dir(dataset.join(".dsctl/journal")) else { return 0 };
    let lines = |path: PathBuf| std::fs::read(path).map_or(0, |b| b.iter().filter(|b| **b == b'\n').count());
    journals.map(|j| lines(j.unwrap().path())).sum()
}

fn undisturbed(small: &Path, large: &Path, dataset: &Path) -> (String, u64) {
    dsctl!["ingest", small, dataset].ok();
    dsctl!["ingest", large, dataset, FLAGS[0], "2", FLAGS[2], FLAGS[3], FLAGS[4], FLAGS[5]].ok();
    version(dataset)
}

#[test]
fn an_interrupted_and_a_killed_ingest_go_on_to_the_same_version() {
    let dir = folder();
    let (small, large) = sources(dir.path());
    let want = undisturbed(&small, &large, &dir.path().join("undisturbed"));
    assert_eq!(want.1, 2);

    let dataset = dir.path().join("d");
    dsctl!["ingest", small, dataset].ok();
    let first = version(&dataset);

    let child = under_way(&large, &dataset);
    interrupt(&child);
    let done = child.wait_with_output().unwrap();
    let said = String::from_utf8(done.stderr).unwrap();
    assert_eq!(done.status.code(), Some(130), "{said}");
    assert!(said.contains("interrupted"), "{said}");
    assert_eq!((version(&dataset), rows(&dataset).len()), (first.clone(), 1));
    let kept = shards(&dataset);
    assert!(kept > 1, "finished shards are kept");
    dsctl!["verify", dataset].ok();

    let mut child = under_way(&large, &dataset);
    child.kill().unwrap();
    assert_eq!(child.wait().unwrap().code(), None);
    assert_eq!((version(&dataset), rows(&dataset).len()), (first, 1));
    assert!(shards(&dataset) >= kept);
    dsctl!["verify", dataset].ok();

    dsctl!["ingest", large, dataset, FLAGS[0], "2", FLAGS[2], FLAGS[3], FLAGS[4], FLAGS[5]].ok();
    assert_eq!(version(&dataset), want);
    let report = dsctl!["verify", dataset, "--json"].ok().json();
    assert_eq!((&report["rows"], &report["notes"]), (&serde_json::json!(3001), &serde_json::json!([])));
    assert_eq!(files(&dataset), files(&dir.path().join("undisturbed")), "not a byte differs, and nothing is left over");

    gone_reader(&dataset);
    interrupted_load(&dataset, &dir.path().join("state.json"));
    interrupted_validation(&dataset);
}

fn shards(dataset: &Path) -> usize {
    files(dataset).keys().filter(|f| f.starts_with("data")).count()
}

/// `dsctl ls --rows | head -1`: more rows than a pipe holds, and a reader of one.
fn gone_reader(dataset: &Path) {
    for json in [false, true] {
        let mut child = command();
        child.arg("ls").arg(dataset).args(["--rows", "--limit", "100000"]);
        if json {
            child.arg("--json");
        }
        let mut child = child.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        assert!(!line.is_empty());
        let done = child.wait_with_output().unwrap();
        assert_eq!((done.status.code(), String::from_utf8(done.stderr).unwrap()), (Some(0), String::new()));
    }
}

/// What Ctrl-C sends.
fn interrupt(child: &Child) {
    // SAFETY: a signal to a child that has not been waited for.
    assert_eq!(unsafe { libc::kill(i32::try_from(child.id()).unwrap(), libc::SIGINT) }, 0);
}

/// Ctrl-C while validating: no report, and the exit code that says so.
fn interrupted_validation(dataset: &Path) {
    let mut child = command();
    child.arg("validate").arg(dataset).args(["--threads", "1", "--progress", "plain", "--json"]);
    let mut child = child.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut errors = BufReader::new(child.stderr.take().unwrap());
    let mut said = String::new();
    errors.read_line(&mut said).unwrap();
    assert!(said.contains("/3001 rows"), "{said}");
    interrupt(&child);
    errors.read_to_string(&mut said).unwrap();
    let done = child.wait_with_output().unwrap();
    assert_eq!(done.status.code(), Some(130), "{said}");
    let report: serde_json::Value = serde_json::from_slice(&done.stdout).unwrap();
    assert_eq!(report, serde_json::json!({"error": "interrupted", "exit_code": 130}));
}

/// Ctrl-C while loading: the state is that of the last batch handed out, and the rest is the rest.
fn interrupted_load(dataset: &Path, state: &Path) {
    let batches =
        |out: &str| -> Vec<String> { out.lines().filter(|l| l.contains(" batch ")).map(str::to_owned).collect() };
    let all = batches(&dsctl!["load", dataset, "--batch", "2", "--tail", "pad", "--digest"].ok().out);
    assert_eq!(all.len(), 1501);
    let mut child = command();
    child.arg("load").arg(dataset).args(["--batch", "2", "--tail", "pad", "--digest", "--threads", "1", "--state-out"]);
    let mut child = child.arg(state).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut out = BufReader::new(child.stdout.take().unwrap());
    let mut said = String::new();
    (0..3).for_each(|_| assert!(out.read_line(&mut said).unwrap() > 0));
    interrupt(&child);
    out.read_to_string(&mut said).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(130));
    let mut got = batches(&said);
    assert!(got.len() >= 2 && got.len() < all.len(), "{}", got.len());
    let rest = dsctl!["load", dataset, "--batch", "2", "--tail", "pad", "--digest", "--state-in", state].ok();
    got.extend(batches(&rest.out));
    assert_eq!(got, all);
}
