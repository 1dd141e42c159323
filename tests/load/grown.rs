//! A grown source costs only what is new: files that an ingest saw are skipped unread while they have their size and time of change, the
//! rows are those of one ingest of all, and what an ingest remembers of files decides nothing else.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use feedstock::Error;
use feedstock::data::feature::{Feature, Schema};
use feedstock::data::partition::Fractions;
use feedstock::data::record::{Cell, Record};
use feedstock::dataset::Dataset;
use feedstock::ingest::{Control, DatasetWriter, IngestOptions, InvalidUtf8, MaxErrors, Summary, ingest, retry};
use feedstock::revise::{CompactOptions, RemoveOptions, SplitBy, SplitOptions, compact, remove, split};
use feedstock::source::{SourceOptions, TextUnit, TextWindow};
use feedstock::store::Store;
use feedstock::versions::{Keep, collect, garbage};

use crate::common::{contents, fixture, long_ago, put, put_at, settle};

/// Other content of the same size under the same time of change: who reads the file sees it. Its beginning stays, as who looks for what a
/// source is reads that of some files.
fn spoil(path: &Path) {
    let (mut bytes, meta) = (fs::read(path).unwrap(), fs::metadata(path).unwrap());
    bytes.iter_mut().rev().take(8).for_each(|byte| *byte ^= 1);
    put_at(path, &bytes, meta.modified().unwrap());
}

/// Many refusals are allowed.
fn lenient() -> IngestOptions {
    IngestOptions { max_errors: MaxErrors::ALL, threads: 2, ..IngestOptions::default() }
}

fn checksum() -> IngestOptions {
    IngestOptions { checksum: true, ..lenient() }
}

fn take(source: &Path, dataset: &Path, options: &IngestOptions) -> Summary {
    ingest(source, dataset, options, &Control::default()).unwrap()
}

/// Rows, skipped, skipped unread, refused.
fn counts(summary: &Summary) -> [u64; 4] {
    [summary.rows, summary.skipped, summary.unread, summary.quarantined]
}

fn classes(dataset: &Path) -> Vec<String> {
    let opened = Dataset::open(dataset).unwrap();
    opened.schema().get("label").and_then(Feature::classes).unwrap().to_vec()
}

/// Why the entries of an ingest were refused.
fn reasons(dataset: &Path, summary: &Summary) -> BTreeMap<String, (String, String)> {
    let text = fs::read_to_string(dataset.join(summary.quarantine.as_ref().unwrap())).unwrap();
    let lines = text.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
    let text = |value: &serde_json::Value| value.as_str().unwrap().to_owned();
    lines.map(|line| (text(&line["id"]), (text(&line["reason"]), text(&line["message"])))).collect()
}

/// The one file in which the ingests of a dataset keep what they saw.
fn seen(dataset: &Path) -> PathBuf {
    let mut files: Vec<PathBuf> =
        fs::read_dir(dataset.join(".dsctl/seen")).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert_eq!(files.len(), 1, "{files:?}");
    files.remove(0)
}

fn pictures() -> Vec<(PathBuf, Vec<u8>)> {
    let root = fixture("images");
    let walk = walkdir::WalkDir::new(&root).sort_by_file_name().into_iter().map(Result::unwrap);
    let files = walk.filter(|e| e.file_type().is_file());
    files.map(|e| (e.path().strip_prefix(&root).unwrap().to_owned(), fs::read(e.path()).unwrap())).collect()
}

/// A row of classes that is never read back as it was: what is already in is spoilt after each step, and nothing sees it.
#[test]
fn a_source_that_grows_in_any_steps_is_as_one_that_was_there_at_once_and_no_known_file_is_opened() {
    let all = pictures();
    let mut draw = 7u64;
    let mut below = |n: u64| {
        draw = draw.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (draw >> 33) % n
    };
    for case in 0..4 {
        let dir = tempfile::tempdir().unwrap();
        let (once, grown, whole, parts) =
            (dir.path().join("once"), dir.path().join("grown"), dir.path().join("whole"), dir.path().join("parts"));
        all.iter().for_each(|(name, bytes)| put(&once.join(name), bytes, 0));
        let one = take(&once, &whole, &lenient());
        // One of each split, that the folder looks as it will.
        let (mut left, mut now): (Vec<_>, Vec<_>) = (all.clone(), Vec::new());
        for split in ["test", "train"] {
            let firsts: Vec<usize> = (0..left.len()).filter(|at| left[*at].0.starts_with(split)).collect();
            now.push(left.remove(firsts[below(firsts.len() as u64) as usize]));
        }
        let (mut had, mut names): (Vec<PathBuf>, Vec<String>) = (Vec::new(), Vec::new());
        while !now.is_empty() {
            now.iter().for_each(|(name, bytes)| put(&grown.join(name), bytes, 0));
            let summary = take(&grown, &parts, &lenient());
            let (new, known) = (now.len() as u64, had.len() as u64);
            assert_eq!(counts(&summary), [new, known, known, 0], "case {case}");
            let classes = classes(&parts);
            assert!(classes.starts_with(&names), "case {case}: {names:?} became {classes:?}");
            names = classes;
            now.iter().for_each(|(name, _)| spoil(&grown.join(name)));
            had.extend(now.drain(..).map(|(name, _)| name));
            let many = (left.len() as u64).min(1 + below(12));
            now = (0..many).map(|_| left.remove(below(left.len() as u64) as usize)).collect();
        }
        assert_eq!((contents(&parts), had.len() as u64), (contents(&whole), one.rows), "case {case}");
        let report = feedstock::verify::verify(&parts, true).unwrap();
        assert!(report.findings.is_empty(), "case {case}: {report:?}");

        // All is known, also to who spells the source in another way, and isolates; and all was spoilt, which --checksum sees.
        let before = contents(&parts);
        let odd = grown.join("../grown/.");
        assert_eq!(counts(&take(&odd, &parts, &lenient())), [0, one.rows, one.rows, 0]);
        let (name, bytes) = &all[9];
        put(&grown.join(name), bytes, 0);
        for _ in 0..2 {
            assert_eq!(counts(&take(&grown, &parts, &checksum())), [0, 1, 0, one.rows - 1]);
        }
        // What was found is not forgotten by the next one that does not ask for it.
        assert_eq!(counts(&take(&grown, &parts, &lenient())), [0, 1, 1, one.rows - 1]);
        assert_eq!(contents(&parts), before);
    }
}

#[test]
fn what_may_change_within_the_same_time_is_not_remembered() {
    let dir = tempfile::tempdir().unwrap();
    let (source, dataset) = (dir.path().join("s"), dir.path().join("d"));
    let files = pictures();
    let later = SystemTime::UNIX_EPOCH + Duration::from_secs(100_000_000_000);
    put(&source.join("a/old.jpg"), &files[0].1, 0);
    put_at(&source.join("a/later.jpg"), &files[1].1, later);
    // Just now: `fs::write` says so.
    fs::write(source.join("a/now.jpg"), &files[2].1).unwrap();
    assert_eq!(counts(&take(&source, &dataset, &lenient())), [3, 0, 0, 0]);
    assert_eq!(fs::metadata(seen(&dataset)).unwrap().len(), 32 + 24);
    assert_eq!(counts(&take(&source, &dataset, &lenient())), [0, 3, 1, 0]);
    // Read, and the same: from now on it is known.
    put(&source.join("a/now.jpg"), &files[2].1, 0);
    put(&source.join("a/later.jpg"), &files[1].1, 0);
    assert_eq!(counts(&take(&source, &dataset, &lenient())), [0, 3, 1, 0]);
    assert_eq!(counts(&take(&source, &dataset, &lenient())), [0, 3, 3, 0]);
    // Another time, another size: they are read.
    put_at(&source.join("a/old.jpg"), &files[0].1, long_ago(1));
    assert_eq!(counts(&take(&source, &dataset, &lenient())), [0, 3, 2, 0]);
    put(&source.join("a/old.jpg"), &files[3].1, 0);
    assert_eq!(counts(&take(&source, &dataset, &lenient())), [0, 2, 2, 1]);
}

/// Three short texts, each a row.
fn texts(dir: &Path) -> (PathBuf, PathBuf, IngestOptions) {
    let source = dir.join("s");
    for (name, text) in [("a/1.txt", "one"), ("a/2.txt", "two"), ("b/3.txt", "three")] {
        put(&source.join(name), text.as_bytes(), 0);
    }
    let by_file = SourceOptions { text_unit: TextUnit::File, ..SourceOptions::default() };
    (source, dir.join("d"), IngestOptions { source: by_file, ..lenient() })
}

#[test]
fn a_damaged_memory_costs_time_and_no_row() {
    let dir = tempfile::tempdir().unwrap();
    let (source, dataset, options) = texts(dir.path());
    take(&source, &dataset, &options);
    let (path, rows) = (seen(&dataset), contents(&dataset));
    let good = fs::read(&path).unwrap();
    assert_eq!(good.len(), 32 + 3 * 24);
    let mut damaged: Vec<Option<Vec<u8>>> = vec![None, Some(b"FDSSEEN2".to_vec()), Some([&good[..], b"x"].concat())];
    damaged.push(Some([&good[..], &good[32..56]].concat()));
    damaged.extend((0..good.len()).step_by(5).map(|length| Some(good[..length].to_vec())));
    for at in 0..good.len() {
        let mut flipped = good.clone();
        flipped[at] ^= 1 << (at % 8);
        damaged.push(Some(flipped));
    }
    for bytes in damaged {
        match &bytes {
            Some(bytes) => fs::write(&path, bytes).unwrap(),
            None => fs::remove_file(&path).unwrap(),
        }
        let summary = take(&source, &dataset, &options);
        assert_eq!((counts(&summary), summary.version), ([0, 3, 0, 0], 1), "{bytes:?}");
        assert_eq!(fs::read(&path).unwrap(), good, "it is made again");
    }
    assert_eq!(contents(&dataset), rows);
    // Something that is no file is a note, and the version is committed.
    fs::remove_file(&path).unwrap();
    fs::create_dir(&path).unwrap();
    put(&source.join("b/4.txt"), b"four", 0);
    let summary = take(&source, &dataset, &options);
    assert_eq!((counts(&summary), summary.version), ([1, 3, 0, 0], 2));
    assert!(summary.notes.iter().any(|note| note.contains("what was seen")), "{summary:?}");
}

#[test]
fn a_record_does_not_outlive_its_row() {
    let dir = tempfile::tempdir().unwrap();
    let (source, dataset, options) = texts(dir.path());
    take(&source, &dataset, &options);
    let out = |id: &str| {
        let options = RemoveOptions { ids: vec![id.to_owned()], ..RemoveOptions::default() };
        assert!(remove(&Store::open(&dataset), &options, &mut |_| Ok(())).unwrap().committed);
    };
    // Out, and taken in again with what the file holds by now.
    out("a/1.txt");
    put(&source.join("a/1.txt"), b"ONE", 0);
    assert_eq!(counts(&take(&source, &dataset, &options)), [1, 2, 2, 0]);
    assert_eq!(contents(&dataset)["a/1.txt"].2, b"ONE");
    assert_eq!(counts(&take(&source, &dataset, &options)), [0, 3, 3, 0]);

    // Out, and another one came in under its id from elsewhere: the file is read, and differs.
    out("a/1.txt");
    let schema = Schema::new([("text", Feature::Text), ("label", Feature::ClassLabel { names: Vec::new() })]);
    let mut writer = DatasetWriter::create(&dataset, schema, &IngestOptions::default()).unwrap();
    let cells = vec![Cell::Media(b"uno".to_vec()), Cell::Class("a".into())];
    writer.append(Record { id: "a/1.txt".into(), split: "train".into(), cells }).unwrap();
    writer.commit().unwrap();
    let summary = take(&source, &dataset, &options);
    assert_eq!(counts(&summary), [0, 2, 2, 1]);
    assert_eq!(reasons(&dataset, &summary)["a/1.txt"].0, "id-taken");
}

/// A label that changed under the same file is told as it was before, and the file is not looked into for it.
#[test]
fn small_values_are_compared_also_of_files_that_are_not_read() {
    let dir = tempfile::tempdir().unwrap();
    let (source, dataset) = (dir.path().join("s"), dir.path().join("d"));
    let files = pictures();
    let paths: Vec<PathBuf> = (0..3).map(|n| source.join(format!("{n}.jpg"))).collect();
    paths.iter().zip(&files).for_each(|(path, (_, bytes))| put(path, bytes, 0));
    let csv = source.join("m.csv");
    let list = |last: &str| put(&csv, format!("path,label,n\n0.jpg,a,1\n1.jpg,b,2\n2.jpg,{last}\n").as_bytes(), 0);
    list("a,3");
    take(&csv, &dataset, &lenient());
    let odd = source.join("../s/m.csv");
    assert_eq!(counts(&take(&odd, &dataset, &lenient())), [0, 3, 3, 0], "called in another way");
    paths.iter().for_each(|path| spoil(path));
    let memory = fs::read(seen(&dataset)).unwrap();
    for (last, column) in [("b,3", "label"), ("a,4", "n")] {
        list(last);
        let summary = take(&csv, &dataset, &lenient());
        assert_eq!(counts(&summary), [0, 2, 2, 1]);
        let (reason, message) = &reasons(&dataset, &summary)["2.jpg"];
        assert!(reason == "id-taken" && message.contains(&format!("another {column:?}")), "{reason}: {message}");
        fs::write(seen(&dataset), &memory).unwrap();
    }
    // Nor is a payload taken that is larger than is allowed by now.
    list("a,3");
    let mut small = lenient();
    small.limits.payload_bytes = 10;
    let refused = ingest(&csv, &dataset, &small, &Control::default()).unwrap_err();
    assert!(matches!(refused, Error::QuarantineLimit { .. }), "{refused}");
}

/// What decides which bytes of which file a row is belongs to what is remembered.
#[test]
fn another_part_of_the_same_file_is_read() {
    let dir = tempfile::tempdir().unwrap();
    let (source, dataset) = (dir.path().join("s"), dir.path().join("d"));
    put(&source.join("a.txt"), "0123456789".repeat(9).as_bytes(), 0);
    let windows = |stride: u64| {
        let window = TextWindow { length: 20, stride: Some(stride), ..TextWindow::default() };
        let source =
            SourceOptions { text_unit: TextUnit::Window, text_window: Some(window), ..SourceOptions::default() };
        IngestOptions { source, ..lenient() }
    };
    let first = take(&source, &dataset, &windows(10));
    assert!(first.rows > 3, "{first:?}");
    assert_eq!(counts(&take(&source, &dataset, &windows(10))), [0, first.rows, first.rows, 0]);
    // The first window is the same one; the others have the ids and lengths of others.
    let other = take(&source, &dataset, &windows(7));
    assert!(other.unread == 1 && other.quarantined > 2, "{other:?}");

    let (source, dataset) = (dir.path().join("t"), dir.path().join("e"));
    put(&source.join("a.txt"), b"good\nb\xffd\n", 0);
    let mend = |invalid_utf8| IngestOptions { invalid_utf8, ..lenient() };
    assert_eq!(take(&source, &dataset, &mend(InvalidUtf8::Replace)).mended, 1);
    assert_eq!(counts(&take(&source, &dataset, &mend(InvalidUtf8::Replace))), [0, 2, 2, 0]);
    assert_eq!(counts(&take(&source, &dataset, &mend(InvalidUtf8::Refuse))), [0, 1, 0, 1]);
}

#[test]
fn sources_are_remembered_by_where_they_are_and_what_stands_before_their_ids() {
    let dir = tempfile::tempdir().unwrap();
    let (source, dataset, options) = texts(dir.path());
    take(&source, &dataset, &options);
    let prefixed = IngestOptions { id_prefix: "more/".into(), ..options.clone() };
    assert_eq!(counts(&take(&source, &dataset, &prefixed)), [3, 0, 0, 0]);
    for options in [&options, &prefixed] {
        assert_eq!(counts(&take(&source, &dataset, options)), [0, 3, 3, 0]);
    }
    let moved = dir.path().join("moved");
    fs::rename(&source, &moved).unwrap();
    assert_eq!(counts(&take(&moved, &dataset, &options)), [0, 3, 0, 0]);
    assert_eq!(counts(&take(&moved, &dataset, &options)), [0, 3, 3, 0]);
}

#[test]
fn a_retry_remembers_what_it_took_in_and_forgets_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let (source, dataset) = (dir.path().join("s"), dir.path().join("d"));
    let files = pictures();
    for (n, (_, bytes)) in files[..4].iter().enumerate() {
        put(&source.join(format!("a/{n}.jpg")), bytes, 0);
    }
    put(&source.join("a/bad.jpg"), b"no picture", 0);
    assert_eq!(counts(&take(&source, &dataset, &lenient())), [4, 0, 0, 1]);
    put(&source.join("a/bad.jpg"), &files[4].1, 0);
    let runs = feedstock::quarantine::runs(&dataset).unwrap();
    let done = retry(&dataset, &runs[0], None, &lenient(), &Control::default()).unwrap();
    assert_eq!(counts(&done.summary), [1, 0, 0, 0]);
    assert_eq!(counts(&take(&source, &dataset, &lenient())), [0, 5, 5, 0]);
}

#[test]
fn what_nobody_asks_for_any_more_is_taken_away_with_its_version() {
    let dir = tempfile::tempdir().unwrap();
    let (source, dataset, options) = texts(dir.path());
    take(&source, &dataset, &options);
    let other = dir.path().join("other");
    put(&other.join("c/x.txt"), b"x", 0);
    put(&other.join("d/y.txt"), b"y", 0);
    let old = seen(&dataset);
    take(&other, &dataset, &options);
    let age = |path: &Path| settle(path, long_ago(0));
    let walk = walkdir::WalkDir::new(&dataset).into_iter().map(Result::unwrap);
    walk.filter(|e| e.file_type().is_file()).for_each(|e| age(e.path()));
    let kinds = |keep: Keep| {
        let found = garbage(&dataset, keep).unwrap();
        let kinds: Vec<_> = found.files.iter().map(|waste| waste.kind).collect();
        (kinds, found)
    };
    // Of versions that are all kept, what was seen is kept.
    assert!(kinds(Keep::default()).0.is_empty());
    let (found, garbage) = kinds(Keep { versions: Some(1), ..Keep::default() });
    assert_eq!(found, ["version", "seen"]);
    assert_eq!(collect(&dataset, &garbage).unwrap().files, 2);
    assert!(!old.exists());
    // It costs time, and is back.
    assert_eq!(counts(&take(&source, &dataset, &options)), [0, 3, 0, 0]);
    assert_eq!(counts(&take(&other, &dataset, &options)), [0, 2, 2, 0]);
    fs::write(&old, b"none of ours").unwrap();
    age(&old);
    assert_eq!(kinds(Keep::default()).0, ["seen"], "what cannot be read is of no use");
}

/// Rows are known by what the source gave, whatever was made of it, whatever stands over them, and wherever they were moved to.
#[test]
fn rows_are_known_by_their_source_whatever_became_of_them() {
    let dir = tempfile::tempdir().unwrap();
    let texts = "{\"columns\": {\"text\": {\"ops\": [{\"op\": \"chars_to_ids\"}], \"count\": true}}}";
    for (from, prepare) in [
        ("images", "{\"image\": {\"max_side\": 40}}"),
        ("images", "{}"),
        ("digits", "{\"audio\": {\"rate\": 4000}}"),
        ("clips", "{}"),
        ("text/shakespeare_20k.txt", texts),
    ] {
        let (source, dataset) = (dir.path().join("s"), dir.path().join("d"));
        let root = fixture(from);
        for entry in walkdir::WalkDir::new(&root).into_iter().map(Result::unwrap).filter(|e| e.file_type().is_file()) {
            let name = entry.path().strip_prefix(root.parent().unwrap()).unwrap();
            put(&source.join(name), &fs::read(entry.path()).unwrap(), 0);
        }
        let source = source.join(root.file_name().unwrap());
        let prepare_as = serde_json::from_str(prepare).unwrap();
        let options = IngestOptions { prepare: prepare_as, shard_bytes: 4_000, ..lenient() };
        let rows = take(&source, &dataset, &options).rows;
        let known = || assert_eq!(counts(&take(&source, &dataset, &lenient())), [0, rows, rows, 0], "{from} {prepare}");
        known();
        let store = Store::open(&dataset);
        let fractions = Fractions::new(vec![("train".into(), 0.5), ("test".into(), 0.5)]).unwrap();
        let by_row = SplitOptions { fractions, by: SplitBy::Row, seed: 1, only: Vec::new(), dry_run: false };
        assert!(split(&store, &by_row).unwrap().committed, "{from}");
        known();
        assert!(compact(&store, &CompactOptions::default()).unwrap().committed, "{from}");
        known();
        fs::remove_dir_all(dir.path().join("s")).unwrap();
        fs::remove_dir_all(&dataset).unwrap();
    }
}
