//! The quarantine as a user of the crate meets it: what is kept of what is refused, the limit of a class, and that a retry brings
//! what a first ingest of the mended source would have brought.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::Arc;

use crate::common::fixture;
use feedstock::Error;
use feedstock::dataset::Dataset;
use feedstock::ingest::{Control, IngestOptions, InvalidUtf8, MaxErrors, Retried, Summary, ingest, recorded, retry};
use feedstock::quarantine::{Refused, Run, runs};
use feedstock::source::AudioChunks;
use feedstock::store::fault::{FaultDisk, Kill, Phase};
use feedstock::verify::verify;

fn put(root: &Path, name: &str, bytes: &[u8]) {
    let path = root.join(name);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, bytes).unwrap();
}

fn photo(name: &str) -> Vec<u8> {
    fs::read(fixture("images/train/pants").join(name)).unwrap()
}

fn lenient() -> IngestOptions {
    IngestOptions { max_errors: MaxErrors::ALL, threads: 2, ..IngestOptions::default() }
}

fn take(source: &Path, dataset: &Path, options: &IngestOptions) -> Summary {
    ingest(source, dataset, options, &Control::default()).unwrap()
}

/// The only run of a dataset.
fn run(dataset: &Path) -> Run {
    let [run] = <[Run; 1]>::try_from(runs(dataset).unwrap()).unwrap();
    run
}

/// What is in the quarantine, with the bytes, by id.
fn held(dataset: &Path) -> BTreeMap<String, (Refused, Option<Vec<u8>>)> {
    let mut all = BTreeMap::new();
    for run in runs(dataset).unwrap() {
        run.each(&mut |at, refused| {
            let bytes = run.original(at)?;
            assert_eq!(refused.kept, bytes.as_ref().map(|b| b.len() as u64), "{refused:?}");
            all.insert(refused.id.clone(), (refused, bytes));
            Ok(())
        })
        .unwrap();
    }
    all
}

fn reasons(dataset: &Path) -> Vec<(String, String)> {
    held(dataset).into_values().map(|(refused, _)| (refused.id, refused.reason)).collect()
}

fn again(dataset: &Path) -> Retried {
    let run = run(dataset);
    let options = IngestOptions { max_errors: MaxErrors::ALL, ..recorded(&run).unwrap() };
    retry(dataset, &run, None, &options, &Control::default()).unwrap()
}

/// Rows by id: the payload, the split and the small values, classes by name.
fn rows(dataset: &Path) -> BTreeMap<String, (Vec<u8>, String)> {
    let report = verify(dataset, true).unwrap();
    assert!(report.findings.is_empty(), "{:?}", report.findings);
    let dataset = Dataset::open(dataset).unwrap();
    let mut all = BTreeMap::new();
    for at in 0..dataset.rows() {
        let mut bytes = Vec::new();
        dataset.fetch_checked(at, 0, &mut bytes).unwrap();
        let (_, row) = dataset.index().locate(at);
        let columns = dataset.schema().columns.iter().enumerate().filter(|(_, c)| !c.feature.is_payload());
        let values: Vec<String> = columns.map(|(i, c)| format!("{:?}", c.feature.told(&row.value(i)))).collect();
        assert!(all.insert(row.id().to_owned(), (bytes, values.join(","))).is_none());
    }
    all
}

/// After a retry the dataset has the rows of a first ingest of the mended source, and the quarantine what that would refuse.
fn is_as_a_first_ingest(source: &Path, dataset: &Path, options: &IngestOptions) {
    let dir = tempfile::tempdir().unwrap();
    let fresh = dir.path().join("fresh");
    take(source, &fresh, options);
    assert_eq!(rows(dataset), rows(&fresh));
    assert_eq!(reasons(dataset), reasons(&fresh));
}

#[test]
fn mended_files_become_a_version_and_leave_the_quarantine() {
    let dir = tempfile::tempdir().unwrap();
    let (source, dataset) = (dir.path().join("photos"), dir.path().join("d"));
    let [one, two] = ["000_444.jpg", "001_422.jpg"].map(photo);
    put(&source, "train/cats/good.jpg", &one);
    put(&source, "train/cats/cut.jpg", &two[..two.len() / 2]);
    put(&source, "train/dogs/noise.jpg", b"\x00\x01\x02 no picture");
    put(&source, "train/dogs/gone.jpg", b"\x00\x01\x02 nor this");
    put(&source, "train/birds/empty.jpg", b"");
    let first = take(&source, &dataset, &lenient());
    assert_eq!((first.rows, first.quarantined, first.version), (1, 4, 1));
    let before = held(&dataset);
    let (refused, bytes) = &before["train/cats/cut.jpg"];
    assert_eq!(bytes.as_deref(), Some(&two[..two.len() / 2]));
    assert_eq!((refused.class.as_deref(), refused.split.as_deref()), (Some("cats"), Some("train")));
    assert_eq!((refused.column.as_deref(), refused.bytes), (Some("image"), Some(two.len() as u64 / 2)));
    assert_eq!(before["train/birds/empty.jpg"].0.kept, None);

    // Nothing changed: nothing is committed, and the quarantine is the same.
    let same = again(&dataset);
    assert_eq!((same.before, same.after, same.missing, same.summary.rows, same.summary.version), (4, 4, 0, 0, 1));
    assert_eq!(held(&dataset), before);

    put(&source, "train/cats/cut.jpg", &two);
    put(&source, "train/dogs/noise.jpg", b"other noise, without a picture too");
    put(&source, "train/dogs/new.jpg", &one);
    fs::remove_file(source.join("train/dogs/gone.jpg")).unwrap();
    let done = again(&dataset);
    assert_eq!((done.before, done.after, done.missing), (4, 3, 1), "{done:?}");
    assert_eq!(
        (done.summary.rows, done.summary.skipped, done.summary.version),
        (1, 0, 2),
        "a retry takes nothing that is new"
    );
    let after = held(&dataset);
    let gone = "train/dogs/gone.jpg";
    assert_eq!(after[gone], before[gone], "what the source has no more stays as it was");
    assert_eq!(after["train/dogs/noise.jpg"].1.as_deref(), Some(&b"other noise, without a picture too"[..]));
    assert!(
        !dataset.join(".dsctl/journal").exists() || fs::read_dir(dataset.join(".dsctl/journal")).unwrap().count() == 0
    );
    fs::remove_file(source.join("train/dogs/new.jpg")).unwrap();

    // The last of them leave, and the files with them.
    put(&source, gone, &one);
    put(&source, "train/dogs/noise.jpg", &one);
    put(&source, "train/birds/empty.jpg", &one);
    let last = again(&dataset);
    assert_eq!((last.before, last.after, last.summary.rows, last.summary.version), (3, 0, 3, 3));
    assert_eq!(fs::read_dir(dataset.join(".dsctl/quarantine")).unwrap().count(), 0);
    is_as_a_first_ingest(&source, &dataset, &lenient());
}

/// Rows that came in by an ordinary ingest meanwhile leave the quarantine, too; a source that was moved is named.
#[test]
fn what_is_in_the_dataset_by_now_leaves_too_and_a_source_may_move() {
    let dir = tempfile::tempdir().unwrap();
    let (source, dataset) = (dir.path().join("photos"), dir.path().join("d"));
    put(&source, "cats/good.jpg", &photo("000_444.jpg"));
    put(&source, "cats/bad.jpg", b"\0");
    put(&source, "cats/worse.jpg", b"\0\0");
    take(&source, &dataset, &lenient());
    let old = run(&dataset);
    put(&source, "cats/bad.jpg", &photo("001_422.jpg"));
    assert_eq!(take(&source, &dataset, &lenient()).version, 2);
    let moved = dir.path().join("elsewhere");
    fs::rename(&source, &moved).unwrap();
    let options = lenient();
    let lost = retry(&dataset, &old, None, &options, &Control::default()).unwrap_err();
    assert!(lost.exit_code() == 2 && lost.to_string().contains("--source"), "{lost}");
    let done = retry(&dataset, &old, Some(&moved), &options, &Control::default()).unwrap();
    assert_eq!((done.before, done.after, done.summary.skipped, done.summary.version), (2, 1, 1, 2), "{done:?}");
}

/// Text: lines, a file that was refused whole, other options.
#[test]
fn lines_and_whole_files_are_found_again() {
    let dir = tempfile::tempdir().unwrap();
    let (source, dataset) = (dir.path().join("texts"), dir.path().join("d"));
    put(&source, "a/one.txt", b"good\nbad \xff line\nfine\nworse \xfe\n");
    put(&source, "a/wide.txt", b"\xff\xfea\0b\0\n\0");
    put(&source, "b/two.txt", b"two\n");
    let first = take(&source, &dataset, &lenient());
    assert_eq!((first.rows, first.quarantined), (3, 3));
    let lines = held(&dataset);
    assert_eq!(lines["a/one.txt#2"].1.as_deref(), Some(&b"bad \xff line"[..]), "the line alone");
    assert_eq!(lines["a/wide.txt"].1.as_deref(), Some(&b"\xff\xfea\0b\0\n\0"[..]), "a file that was not listed");

    put(&source, "a/wide.txt", b"a b\nc\n");
    put(&source, "a/one.txt", b"good\nbad - line\nfine\nworse \xfe\n");
    let done = again(&dataset);
    assert_eq!((done.before, done.after, done.summary.rows), (3, 1, 3), "{done:?}");
    is_as_a_first_ingest(&source, &dataset, &lenient());
    let run = run(&dataset);
    let mending = IngestOptions { invalid_utf8: InvalidUtf8::Replace, ..recorded(&run).unwrap() };
    let done = retry(&dataset, &run, None, &mending, &Control::default()).unwrap();
    assert_eq!((done.after, done.summary.rows, done.summary.mended), (0, 1, 1));
    assert!(runs(&dataset).unwrap().is_empty());
}

/// Rows of a manifest, by id or line; ids with a prefix; a folder that was a link.
#[test]
fn rows_of_manifests_and_folders_are_found_again() {
    let dir = tempfile::tempdir().unwrap();
    let (source, dataset) = (dir.path().join("m"), dir.path().join("d"));
    let [one, two] = ["000_444.jpg", "001_422.jpg"].map(photo);
    put(&source, "x/1.jpg", &one);
    put(&source, "x/2.jpg", &two[..100]);
    put(&source, "m.csv", b"path,label\nx/1.jpg,cat\nx/2.jpg,dog\nx/3.jpg,dog\n../4.jpg,dog\n");
    let options = IngestOptions { id_prefix: "one/".into(), ..lenient() };
    let first = take(&source.join("m.csv"), &dataset, &options);
    assert_eq!((first.rows, first.quarantined), (1, 3), "{:?}", reasons(&dataset));
    put(&source, "x/2.jpg", &two);
    put(&source, "x/3.jpg", &two);
    put(&source, "x/5.jpg", &two);
    put(&source, "m.csv", b"path,label\nx/1.jpg,cat\nx/2.jpg,dog\nx/3.jpg,dog\nx/5.jpg,dog\nx/1.jpg,cat\n");
    let done = again(&dataset);
    assert_eq!((done.before, done.after, done.summary.rows), (3, 0, 3), "{done:?}");
    assert!(rows(&dataset).keys().all(|id| id.starts_with("one/x/")), "{:?}", rows(&dataset).keys());

    let (source, dataset, outside) = (dir.path().join("f"), dir.path().join("e"), dir.path().join("outside"));
    put(&source, "cats/1.jpg", &one);
    put(&outside, "2.jpg", &two);
    put(&outside, "secret", b"a secret of somebody else");
    std::os::unix::fs::symlink(&outside, source.join("dogs")).unwrap();
    std::os::unix::fs::symlink(outside.join("secret"), source.join("cats/2.jpg")).unwrap();
    take(&source, &dataset, &lenient());
    for (refused, bytes) in held(&dataset).values() {
        assert_eq!((refused.reason.as_str(), bytes), ("bad-path", &None), "nothing out of the source is read");
    }
    fs::remove_file(source.join("dogs")).unwrap();
    put(&source, "dogs/2.jpg", &two);
    let done = again(&dataset);
    assert_eq!((done.before, done.after, done.summary.rows), (2, 1, 1), "{done:?}");
    is_as_a_first_ingest(&source, &dataset, &lenient());
}

/// A recording that was refused with all its parts comes back with all of them, cut into chunks or by a manifest.
#[test]
fn recordings_come_back_with_their_parts() {
    let dir = tempfile::tempdir().unwrap();
    let flac = fs::read(fixture("audio/mono_16bit_44100.flac")).unwrap();
    let mut damaged = flac.clone();
    damaged[flac.len() - flac.len() / 4] ^= 0x55;
    let chunks = Some(AudioChunks { seconds: 0.01, ..AudioChunks::default() });
    let mut chunked = lenient();
    chunked.source.audio_chunks = chunks;
    let manifest = b"path,start,end\ngood.flac,0,0.01\nbad.flac,0,0.01\nbad.flac,0.01,0.02\nbad.flac,0.02,0.03\n";
    for (name, file, options) in [("folder", "", &chunked), ("rows", "m.csv", &lenient())] {
        let (source, dataset) = (dir.path().join(name), dir.path().join(format!("{name}-d")));
        let folder = if file.is_empty() { "ada/" } else { "" };
        put(&source, &format!("{folder}good.flac"), &flac);
        put(&source, &format!("{folder}bad.flac"), &damaged);
        if !file.is_empty() {
            put(&source, file, manifest);
        }
        let from = if file.is_empty() { source.clone() } else { source.join(file) };
        let first = take(&from, &dataset, options);
        assert_eq!(first.quarantined, 1, "{name}");
        let (refused, bytes) = held(&dataset).into_values().next().unwrap();
        assert_eq!(refused.recording, Some(format!("{folder}bad.flac")));
        assert!(refused.rows > Some(2) && bytes.as_deref() == Some(&damaged[..]), "{name}: {refused:?}");
        put(&source, &format!("{folder}bad.flac"), &flac);
        let older = dir.path().join(format!("{name}-older"));
        copy_of(&dataset, &older);
        let done = again(&dataset);
        assert_eq!((done.after, done.summary.rows), (0, refused.rows.unwrap()), "{name}: {done:?}");
        is_as_a_first_ingest(&from, &dataset, options);

        // A list of an older version says less, and all parts come back nevertheless.
        let key = run(&older).key;
        let file = |kind: &str| older.join(format!(".dsctl/quarantine/{key}.{kind}"));
        fs::remove_file(file("parquet")).unwrap();
        let mut line: serde_json::Value = serde_json::from_slice(&fs::read(file("jsonl")).unwrap()).unwrap();
        let known = ["id", "reason", "message", "origin", "line", "column"];
        line.as_object_mut().unwrap().retain(|name, _| known.contains(&name.as_str()));
        fs::write(file("jsonl"), format!("{line}\n")).unwrap();
        let done = retry(&older, &run(&older), Some(&from), options, &Control::default()).unwrap();
        assert_eq!((done.after, done.summary.rows), (0, refused.rows.unwrap()), "{name}: {done:?}");
        assert_eq!(rows(&older), rows(&dataset));
    }
}

#[test]
fn bytes_are_kept_up_to_both_limits() {
    let dir = tempfile::tempdir().unwrap();
    let source = dir.path().join("s");
    put(&source, "cats/0.jpg", &photo("000_444.jpg"));
    for at in 1..6 {
        put(&source, &format!("cats/{at}.jpg"), &[at; 100]);
    }
    let kept = |row, total, threads| {
        let dataset = dir.path().join(format!("{row}-{total}-{threads}"));
        let options = IngestOptions { quarantine_bytes: row, quarantine_total_bytes: total, threads, ..lenient() };
        take(&source, &dataset, &options);
        let held = held(&dataset);
        assert!(held.values().all(|(refused, _)| refused.bytes == Some(100)));
        assert!(
            held.values().flat_map(|(r, b)| b.iter().flatten().map(|b| format!("cats/{b}.jpg") == r.id)).all(|own| own)
        );
        held.into_values().map(|(refused, _)| refused.kept.unwrap_or(0)).collect::<Vec<_>>()
    };
    for threads in [1, 4] {
        assert_eq!(kept(1 << 20, 1 << 20, threads), [100; 5]);
        assert_eq!(kept(30, 1 << 20, threads), [30; 5]);
        assert_eq!(kept(100, 250, threads), [100, 100, 50, 0, 0], "the first in the order of the listing");
        assert_eq!(kept(0, 1 << 20, threads), [0; 5]);
        assert_eq!(kept(100, 0, threads), [0; 5]);
    }
    assert!(IngestOptions { quarantine_bytes: (1 << 30) + 1, ..lenient() }.validate().is_err());
    // The dataset is the same whatever is kept.
    let shards = |name: &str| {
        fs::read_dir(dir.path().join(name).join("data/train"))
            .unwrap()
            .map(|f| f.unwrap().file_name())
            .collect::<Vec<_>>()
    };
    assert_eq!(shards("0-1048576-1"), shards("1048576-1048576-4"));
}

#[test]
fn a_class_has_a_limit_of_its_own() {
    let dir = tempfile::tempdir().unwrap();
    let source = dir.path().join("s");
    for at in 0..10 {
        put(&source, &format!("cats/{at}.txt"), format!("cat {at}").as_bytes());
        put(&source, &format!("dogs/{at}.txt"), if at < 3 { b"\xff" } else { b"dog" });
    }
    put(&source, "cats/0.txt", b"\xff");
    let limited = |name: &str, limit: &str| {
        let options = IngestOptions { max_errors_per_class: Some(limit.parse().unwrap()), ..lenient() };
        ingest(&source, &dir.path().join(name), &options, &Control::default())
    };
    for limit in ["2", "29%", "1|20%"] {
        let error = limited("d", limit).unwrap_err();
        assert_eq!(error.exit_code(), 5);
        assert!(
            matches!(&error, Error::QuarantineLimit { class: Some(class), refused: 3, seen: 10, .. } if class == "dogs")
        );
        let told = error.to_string();
        assert!(
            told.contains("3 of 10 entries of class \"dogs\"") && told.contains("--max-errors-per-class"),
            "{told}"
        );
        assert!(Dataset::open(dir.path().join("d")).is_err(), "nothing is committed");
    }
    let summary = limited("d", "30%").unwrap();
    assert_eq!((summary.rows, summary.quarantined, summary.version), (16, 4, 1));
    assert_eq!(limited("e", "3").unwrap().quarantined, 4);
}

#[test]
fn what_cannot_be_retried_says_why() {
    let dir = tempfile::tempdir().unwrap();
    let (source, dataset) = (dir.path().join("s"), dir.path().join("d"));
    put(&source, "cats/0.txt", b"\xff");
    put(&source, "cats/1.txt", b"cat");
    let strict = IngestOptions { max_errors: MaxErrors::NONE, ..IngestOptions::default() };
    ingest(&source, &dataset, &strict, &Control::default()).unwrap_err();
    let retried = || retry(&dataset, &run(&dataset), None, &lenient(), &Control::default());
    let error = retried().unwrap_err();
    assert!(error.exit_code() == 2 && error.to_string().contains("committed nothing"), "{error}");
    take(&source, &dataset, &lenient());
    // Too many again: the quarantine stays as it is.
    let before = held(&dataset);
    let over = retry(&dataset, &run(&dataset), None, &strict, &Control::default()).unwrap_err();
    assert_eq!((over.exit_code(), held(&dataset)), (5, before));
    // All of the source that was refused is gone.
    fs::remove_file(source.join("cats/0.txt")).unwrap();
    let done = retried().unwrap();
    assert_eq!((done.before, done.after, done.missing, done.summary.version), (1, 1, 1, 1));

    // A list of an older version does not say where its source was.
    let folder = dataset.join(".dsctl/quarantine");
    for file in
        fs::read_dir(&folder).unwrap().map(|f| f.unwrap().path()).filter(|p| p.extension().unwrap() == "parquet")
    {
        fs::remove_file(file).unwrap();
    }
    let error = retried().unwrap_err();
    assert!(error.exit_code() == 2 && error.to_string().contains("--source"), "{error}");
    put(&source, "cats/0.txt", b"a cat");
    let done = retry(&dataset, &run(&dataset), Some(&source), &lenient(), &Control::default()).unwrap();
    assert_eq!((done.after, done.summary.rows, done.summary.version), (0, 1, 2), "{done:?}");
}

fn copy_of(from: &Path, to: &Path) {
    for entry in walkdir::WalkDir::new(from).into_iter().map(Result::unwrap) {
        let target = to.join(entry.path().strip_prefix(from).unwrap());
        match entry.file_type().is_dir() {
            true => fs::create_dir_all(target).unwrap(),
            false => drop(fs::copy(entry.path(), target).unwrap()),
        }
    }
}

fn files(root: &Path) -> BTreeMap<String, Vec<u8>> {
    // What the ingest saw of the source is no part of the dataset, and hangs on when files changed.
    let walk = walkdir::WalkDir::new(root)
        .into_iter()
        .filter_entry(|e| ![".dsctl/seen", ".dsctl/sources"].iter().any(|of| e.path().ends_with(of)));
    let walk = walk.map(Result::unwrap).filter(|e| e.file_type().is_file());
    walk.map(|e| (e.path().strip_prefix(root).unwrap().to_str().unwrap().to_owned(), fs::read(e.path()).unwrap()))
        .collect()
}

/// A retry that is killed at any operation and run again leaves what an undisturbed one leaves; no row is ever in neither the
/// dataset nor the quarantine.
#[test]
fn a_retry_is_killed_anywhere() {
    let dir = tempfile::tempdir().unwrap();
    let (source, base) = (dir.path().join("s"), dir.path().join("base"));
    for at in 0..30 {
        put(&source, &format!("cats/{at:02}.txt"), if at % 3 == 0 { b"\xff bad" } else { b"a good cat" });
    }
    let options = IngestOptions { shard_bytes: 40, ..lenient() };
    take(&source, &base, &options);
    for at in (0..30).step_by(3).skip(2) {
        put(&source, &format!("cats/{at:02}.txt"), b"a mended cat");
    }
    let retried = |dataset: &Path, disk: Option<Arc<FaultDisk>>| {
        let run = run(dataset);
        let mut control = Control::default();
        if let Some(disk) = disk {
            control.disk = Some(disk);
        }
        let options = IngestOptions { max_errors: MaxErrors::ALL, threads: 1, ..recorded(&run).unwrap() };
        retry(dataset, &run, None, &options, &control)
    };
    let whole = dir.path().join("whole");
    copy_of(&base, &whole);
    let disk = Arc::new(FaultDisk::new(Kill::Never));
    let done = retried(&whole, Some(Arc::clone(&disk))).unwrap();
    assert_eq!((done.summary.rows, done.summary.version, done.after), (8, 2, 2));
    assert!(done.summary.shards > 1, "{done:?}");
    let undisturbed = files(&whole);
    let mut committed = 0;
    for (op, seen) in disk.seen().iter().enumerate() {
        for phase in [Phase::Before, Phase::Inside, Phase::After] {
            for power_cut in [false, true] {
                let told = format!("operation {op} {phase:?} of {seen:?}, power cut {power_cut}");
                let target = dir.path().join("killed");
                copy_of(&base, &target);
                let kill = Kill::AtOp { op, phase, bytes: seen.bytes / 2 };
                let faulty = Arc::new(if power_cut { FaultDisk::with_power_cut(kill) } else { FaultDisk::new(kill) });
                let killed = retried(&target, Some(Arc::clone(&faulty)));
                if faulty.died().is_some() {
                    assert!(killed.is_err(), "{told}");
                    let there = Dataset::open(&target).unwrap();
                    committed += u32::from(there.version() == Some(2));
                    let waiting = held(&target).len() as u64;
                    assert!(there.rows() + waiting >= 30, "{told}: rows are lost");
                    retried(&target, None).unwrap_or_else(|e| panic!("{told}: {e}"));
                    let now = files(&target);
                    let other: Vec<_> = now.keys().filter(|k| now.get(*k) != undisturbed.get(*k)).collect();
                    assert!(other.is_empty() && now.len() == undisturbed.len(), "{told}: {other:?}");
                }
                fs::remove_dir_all(&target).unwrap();
            }
        }
    }
    assert!(committed > 3, "{committed} kills behind the commit");
}
