//! Law 5: an ingest that is killed at any instant and run again gives the shards, the segment and the root of the
//! undisturbed run; a reader sees no version or a whole one; entries of finished shards are not decoded again.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use feedstock::Error;
use feedstock::dataset::Dataset;
use feedstock::ingest::{Control, IngestOptions, MaxErrors, Summary, ingest};
use feedstock::store::fault::{Class, FaultDisk, Kill, Op, Phase};

mod common;

use common::{copy_folder, files, long_ago, settle};

/// A small source of many shards, with refusals in the middle and at the end.
fn source() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    for class in ["train/neg", "train/pos", "test/neg"] {
        fs::create_dir_all(dir.path().join(class)).unwrap();
        for file in 0..2 {
            let mut text: Vec<u8> = Vec::new();
            for line in 0..10 {
                text.extend(format!("line {line} of file {file} in {class}\n").bytes());
            }
            text.extend(b"not utf-8: \xff\n");
            let path = dir.path().join(class).join(format!("{file}.txt"));
            fs::write(&path, text).unwrap();
            settle(&path, long_ago(0));
        }
    }
    dir
}

const REFUSED: u64 = 6;
const ENTRIES: u64 = 11 * REFUSED;

fn options() -> IngestOptions {
    IngestOptions { shard_bytes: 500, row_group_rows: 64, threads: 1, max_errors: MaxErrors::ALL, ..Default::default() }
}

fn run(source: &Path, dataset: &Path, disk: Option<Arc<FaultDisk>>) -> (Result<Summary, Error>, u64) {
    let mut control = Control::default();
    if let Some(disk) = disk {
        control.disk = Some(disk);
    }
    let result = ingest(source, dataset, &options(), &control);
    (result, control.decodes.load(Ordering::Relaxed))
}

/// Entries in journaled stretches, as a reader of the format sees them.
fn journaled(dataset: &Path) -> u64 {
    let Ok(folder) = fs::read_dir(dataset.join(".dsctl/journal")) else { return 0 };
    let mut done = 0;
    for file in folder.map(|f| f.unwrap().path()).filter(|p| p.extension().is_some_and(|e| e == "jsonl")) {
        let text = fs::read(&file).unwrap();
        for line in text.split_inclusive(|b| *b == b'\n').filter(|l| l.ends_with(b"\n")).skip(1) {
            let line: serde_json::Value = serde_json::from_slice(line).unwrap();
            // The line of a refused entry has no range.
            done = done.max(line["to"].as_u64().unwrap_or(0));
        }
    }
    done
}

fn journals(dataset: &Path) -> usize {
    fs::read_dir(dataset.join(".dsctl/journal")).map_or(0, Iterator::count)
}

struct Undisturbed {
    source: tempfile::TempDir,
    files: BTreeMap<PathBuf, Vec<u8>>,
}

/// Kills one run, looks at what is left, and runs again. Returns the kinds of the point.
fn kill_and_rerun(whole: &Undisturbed, disk: FaultDisk, told: &str) -> Option<(BTreeSet<Class>, Phase)> {
    let dir = tempfile::tempdir().unwrap();
    let dataset = dir.path().join("dataset");
    let disk = Arc::new(disk);
    let (first, _) = run(whole.source.path(), &dataset, Some(Arc::clone(&disk)));
    let (seen, phase) = disk.died()?;
    assert!(first.is_err(), "{told}: the disk died at {seen:?} and the run did not notice");
    // A reader sees no version, or the whole one.
    let committed = match Dataset::open(&dataset) {
        Ok(opened) => {
            assert_eq!((opened.version(), opened.rows()), (Some(1), ENTRIES - REFUSED), "{told}: {seen:?}");
            let mut bytes = Vec::new();
            for row in 0..opened.rows() {
                opened.fetch_checked(row, 0, &mut bytes).unwrap();
            }
            true
        }
        Err(e) => {
            assert!(matches!(e, Error::Config { .. } | Error::Io { .. }), "{told}: {seen:?}: {e}");
            false
        }
    };
    let before = journaled(&dataset);
    let (again, decodes) = run(whole.source.path(), &dataset, None);
    let again = again.unwrap_or_else(|e| panic!("{told}: the rerun after {seen:?} ({phase:?}): {e}"));
    assert_eq!(again.version, 1, "{told}: {seen:?}");
    if committed {
        // Only what was refused is looked at again.
        assert_eq!((again.rows, decodes), (0, REFUSED), "{told}: {seen:?}");
    } else {
        assert_eq!(again.rows, ENTRIES - REFUSED, "{told}: {seen:?}");
        assert_eq!(decodes, ENTRIES - before, "{told}: {seen:?}: finished shards are not decoded again");
    }
    let now = files(&dataset);
    let difference: Vec<_> = now.keys().filter(|k| now.get(*k) != whole.files.get(*k)).collect();
    assert!(difference.is_empty(), "{told}: {seen:?}: other files: {difference:?}");
    assert_eq!(now.len(), whole.files.len(), "{told}: {seen:?}: files are missing");
    // What was seen of the files is known the next time, or the time after that: of finished shards nothing was seen again.
    let next = |unread: std::ops::RangeInclusive<u64>| {
        let (next, decodes) = run(whole.source.path(), &dataset, None);
        let next = next.unwrap();
        assert_eq!((next.rows, next.skipped, decodes), (0, ENTRIES - REFUSED, REFUSED), "{told}: {seen:?}");
        assert!(unread.contains(&next.unread), "{told}: {seen:?}: {} unread", next.unread);
    };
    next(if committed { ENTRIES - REFUSED } else { ENTRIES.saturating_sub(before + REFUSED) }..=ENTRIES - REFUSED);
    next(ENTRIES - REFUSED..=ENTRIES - REFUSED);
    assert!(now == files(&dataset), "{told}: {seen:?}: nothing new changes nothing");
    Some((Class::of(seen.op, &seen.path), phase))
}

fn undisturbed() -> (Undisturbed, Arc<FaultDisk>) {
    let source = source();
    let dir = tempfile::tempdir().unwrap();
    let dataset = dir.path().join("dataset");
    let disk = Arc::new(FaultDisk::new(Kill::Never));
    let (summary, decodes) = run(source.path(), &dataset, Some(Arc::clone(&disk)));
    let summary = summary.unwrap();
    assert_eq!((summary.rows, summary.quarantined, decodes), (ENTRIES - REFUSED, REFUSED, ENTRIES));
    assert!(summary.shards >= 4, "{summary:?}");
    (Undisturbed { source, files: files(&dataset) }, disk)
}

#[test]
fn killed_before_inside_and_after_every_operation() {
    every_operation(FaultDisk::new);
}

#[test]
fn power_cut_before_inside_and_after_every_operation() {
    every_operation(FaultDisk::with_power_cut);
}

fn every_operation(disk_of: impl Fn(Kill) -> FaultDisk) {
    let (whole, disk) = undisturbed();
    let mut hit: BTreeMap<(Class, Phase), u32> = BTreeMap::new();
    for (op, seen) in disk.seen().iter().enumerate() {
        for phase in [Phase::Before, Phase::Inside, Phase::After] {
            let faulty = disk_of(Kill::AtOp { op, phase, bytes: seen.bytes / 2 });
            if let Some((classes, phase)) = kill_and_rerun(&whole, faulty, &format!("operation {op} {phase:?}")) {
                classes.into_iter().for_each(|class| *hit.entry((class, phase)).or_default() += 1);
            }
        }
    }
    let classes = [
        Class::TempWrite,
        Class::Fsync,
        Class::Rename,
        Class::Journal,
        Class::Shard,
        Class::Segment,
        Class::Root,
        Class::Card,
        Class::Seen,
        Class::Claims,
    ];
    for class in classes {
        for phase in [Phase::Before, Phase::Inside, Phase::After] {
            assert!(hit.contains_key(&(class, phase)), "no kill {phase:?} a {class:?}: {hit:?}");
        }
    }
    println!("{} operations: {hit:?}", disk.seen().len());
}

#[test]
fn killed_at_points_drawn_over_the_bytes_written() {
    let (whole, disk) = undisturbed();
    let written: u64 = disk.seen().iter().filter(|s| s.op == Op::Write).map(|s| s.bytes as u64).sum();
    for draw in 0..40u64 {
        // A fixed sequence that spreads over the whole: multiples of the golden ratio.
        let byte = (draw.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 11) % written;
        let hit = kill_and_rerun(&whole, FaultDisk::new(Kill::AtByte(byte)), &format!("byte {byte} of {written}"));
        assert!(hit.is_some(), "byte {byte} of {written} was never written");
    }
}

/// Photos with a new class and bad files among them, appended to a version on five threads, killed, and run again on two.
#[test]
fn pictures_appended_on_many_threads_are_killed_too() {
    let dir = tempfile::tempdir().unwrap();
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures");
    let (base, more) = (dir.path().join("base"), dir.path().join("more"));
    let append = |source: &Path, dataset: &Path, threads: usize, disk: Option<Arc<FaultDisk>>| {
        let mut control = Control::default();
        if let Some(disk) = disk {
            control.disk = Some(disk);
        }
        let options = IngestOptions { shard_bytes: 12_000, threads, max_errors: MaxErrors::ALL, ..Default::default() };
        (ingest(source, dataset, &options, &control), control.decodes.load(Ordering::Relaxed))
    };
    let first = append(&fixtures.join("images"), &base, 3, None).0.unwrap();
    let mut entries = 0;
    for (from, class) in [("pants", "hat"), ("shoes", "shoes"), ("t-shirt", "hat")] {
        let to = more.join("train").join(class);
        fs::create_dir_all(&to).unwrap();
        for file in fs::read_dir(fixtures.join("images/train").join(from)).unwrap().map(Result::unwrap) {
            let name = format!("{from}_{}", file.file_name().to_str().unwrap());
            fs::copy(file.path(), to.join(format!("more_{name}"))).unwrap();
            settle(&to.join(format!("more_{name}")), long_ago(0));
            entries += 1;
        }
        fs::copy(fixtures.join("hostile/truncated.jpg"), to.join(format!("more_{from}_000_cut.jpg"))).unwrap();
        entries += 1;
    }
    let refused = 3;
    let whole = dir.path().join("whole");
    copy_folder(&base, &whole);
    let disk = Arc::new(FaultDisk::new(Kill::Never));
    let (summary, decodes) = append(&more, &whole, 1, Some(Arc::clone(&disk)));
    let summary = summary.unwrap();
    assert_eq!((summary.version, summary.rows, summary.quarantined, decodes), (2, entries - refused, refused, entries));
    assert!(summary.shards >= 4, "{summary:?}");
    let undisturbed = files(&whole);

    let written: u64 = disk.seen().iter().filter(|s| s.op == Op::Write).map(|s| s.bytes as u64).sum();
    let (mut old, mut new, mut spared) = (0, 0, 0);
    for draw in 0..24u64 {
        // The last draws are in what is written behind the shards: segment, root and card.
        let byte = if draw < 16 { written * draw / 16 + 7 } else { written - 1 - (draw - 16) * 900 };
        let target = dir.path().join(format!("killed-{draw}"));
        copy_folder(&base, &target);
        let faulty = Arc::new(FaultDisk::new(Kill::AtByte(byte)));
        let killed = append(&more, &target, 5, Some(Arc::clone(&faulty))).0;
        assert!(faulty.died().is_some(), "byte {byte} of {written} was never written");
        let opened = Dataset::open(&target).unwrap();
        match opened.version() {
            Some(1) => {
                assert_eq!(opened.rows(), first.rows);
                assert!(killed.is_err());
                old += 1;
            }
            version => {
                assert_eq!((version, opened.rows()), (Some(2), first.rows + summary.rows));
                new += 1;
            }
        }
        let committed = opened.version() == Some(2);
        let before = if committed { entries - refused } else { journaled(&target) };
        let (again, decodes) = append(&more, &target, 2, None);
        assert_eq!((again.unwrap().version, decodes), (2, entries - before), "byte {byte}");
        assert_eq!(files(&target), undisturbed, "byte {byte} of {written}");
        spared += before;
    }
    assert!(old > 0 && new > 0 && spared > 0, "old {old}, new {new}, entries not decoded again {spared}");
}

#[test]
fn a_full_disk_is_an_error_and_not_a_damage() {
    let (whole, disk) = undisturbed();
    let written: u64 = disk.seen().iter().filter(|s| s.op == Op::Write).map(|s| s.bytes as u64).sum();
    let parts = (0..12).map(|part| written * part / 12).chain([written - 1]);
    // With a disk that is full one byte before the end the version is committed.
    for part in parts {
        let dir = tempfile::tempdir().unwrap();
        let dataset = dir.path().join("dataset");
        let full = Arc::new(FaultDisk::new(Kill::FullAfter(part)));
        let committed = match run(whole.source.path(), &dataset, Some(full)).0 {
            Err(error) => {
                assert!(matches!(&error, Error::Io { source, .. } if source.raw_os_error() == Some(28)), "{error:?}");
                false
            }
            // Only the card, or what was seen of the files, had no place, and the version does not hang on it.
            Ok(summary) => {
                let told = |n: &String| {
                    ["README card", "what was seen", "this source brought"].iter().any(|what| n.contains(what))
                };
                assert!(summary.notes.iter().any(told), "{summary:?}");
                assert_eq!(journals(&dataset), 0, "the work is done");
                true
            }
        };
        let before = if committed { ENTRIES - REFUSED } else { journaled(&dataset) };
        let (again, decodes) = run(whole.source.path(), &dataset, None);
        assert_eq!((again.unwrap().version, decodes), (1, ENTRIES - before));
        assert_eq!(files(&dataset), whole.files, "part {part}");
    }
}

/// What is stored of a payload is made again the same: log-mels, smaller pictures, the seek tables of clips and the counts of tokens, killed and run again on other threads.
#[test]
fn what_is_made_of_payloads_is_killed_too() {
    let dir = tempfile::tempdir().unwrap();
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures");
    for (name, source, prepare) in [
        ("clips", "clips", "{}"),
        ("small", "images", r#"{"image": {"max_side": 40}}"#),
        (
            "mels",
            "digits",
            r#"{"columns": {"audio": {"ops": [{"op": "resample", "rate": 16000}, {"op": "log_mel"}]}}}"#,
        ),
        (
            "counts",
            "text/shakespeare_20k.txt",
            r#"{"columns": {"text": {"ops": [{"op": "chars_to_ids"}], "count": true}}}"#,
        ),
    ] {
        let run = |dataset: &Path, threads: usize, disk: Option<Arc<FaultDisk>>| {
            let mut control = Control::default();
            if let Some(disk) = disk {
                control.disk = Some(disk);
            }
            let prepare = serde_json::from_str(prepare).unwrap();
            let options = IngestOptions { shard_bytes: 6_000, threads, prepare, ..Default::default() };
            (ingest(&fixtures.join(source), dataset, &options, &control), control.decodes.load(Ordering::Relaxed))
        };
        let whole = dir.path().join(format!("{name}-whole"));
        let disk = Arc::new(FaultDisk::new(Kill::Never));
        let (summary, entries) = run(&whole, 1, Some(Arc::clone(&disk)));
        assert!(summary.unwrap().shards >= 4);
        let undisturbed = files(&whole);
        let written: u64 = disk.seen().iter().filter(|s| s.op == Op::Write).map(|s| s.bytes as u64).sum();
        let mut spared = 0;
        for draw in 0..10 {
            let byte = written * draw / 10 + 11;
            let target = dir.path().join(format!("{name}-{draw}"));
            let faulty = Arc::new(FaultDisk::new(Kill::AtByte(byte)));
            let killed = run(&target, 4, Some(Arc::clone(&faulty))).0;
            assert!(killed.is_err() && faulty.died().is_some());
            let before = if Dataset::open(&target).is_ok() { entries } else { journaled(&target) };
            let (again, decodes) = run(&target, 2, None);
            assert_eq!((again.unwrap().version, decodes), (1, entries - before), "{name}, byte {byte}");
            assert_eq!(files(&target), undisturbed, "{name}, byte {byte} of {written}");
            spared += before;
        }
        assert!(spared > 0, "{name}: every entry was decoded again");
    }
}
