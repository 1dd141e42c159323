//! The write door end to end, on small made-up files. Hostile media of every codec and kill points are in `tests/`.

use std::collections::BTreeMap;
use std::fs;
use std::sync::atomic::Ordering;

use super::*;
use crate::data::feature::{Feature, Schema};
use crate::data::record::{Cell, Record};
use crate::dataset::Dataset;
use crate::error::Reason;
use crate::source::{Entry, EntryCell, Evidence, Lister, Look, Source, SourceEntry, SourceOptions};
use crate::store::commit;

mod memory;

/// Files below a temporary folder.
fn tree(files: &[(&str, &[u8])]) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    for (name, bytes) in files {
        let path = dir.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }
    dir
}

/// Every file below a folder with its bytes.
fn files(root: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    // What the ingest saw of the source is no part of the dataset, and hangs on when files changed.
    let walk = walkdir::WalkDir::new(root)
        .into_iter()
        .filter_entry(|e| ![".dsctl/seen", ".dsctl/sources"].iter().any(|of| e.path().ends_with(of)));
    let walk = walk.map(Result::unwrap).filter(|e| e.file_type().is_file());
    walk.map(|e| (e.path().strip_prefix(root).unwrap().to_owned(), fs::read(e.path()).unwrap())).collect()
}

/// Text in class folders: `lines` lines in all, in files of 100.
fn texts(lines: usize) -> tempfile::TempDir {
    let names: Vec<String> = (0..lines.div_ceil(100)).map(|i| format!("{}/f{i}.txt", ["neg", "pos"][i % 2])).collect();
    let text = |i: usize| (0..100.min(lines - i * 100)).map(|l| format!("line {l} of file {i}\n")).collect::<String>();
    let all: Vec<(String, String)> = names.into_iter().enumerate().map(|(i, n)| (n, text(i))).collect();
    tree(&all.iter().map(|(n, t)| (n.as_str(), t.as_bytes())).collect::<Vec<_>>())
}

fn run(source: &Path, dataset: &Path, options: &IngestOptions) -> (Result<Summary>, u64) {
    let control = Control::default();
    let summary = ingest(source, dataset, options, &control);
    (summary, control.decodes.load(Ordering::Relaxed))
}

fn good(source: &Path, dataset: &Path, options: &IngestOptions) -> Summary {
    run(source, dataset, options).0.unwrap()
}

fn quarantine(dataset: &Path, summary: &Summary) -> Vec<(String, String)> {
    let text = fs::read_to_string(dataset.join(summary.quarantine.as_ref().unwrap())).unwrap();
    let lines = text.lines().map(|l| serde_json::from_str::<Refused>(l).unwrap());
    lines.map(|r| (r.id, r.reason)).collect()
}

fn refusal(result: Result<Summary>) -> String {
    let error = result.unwrap_err();
    assert_eq!(error.exit_code(), 2, "{error}");
    error.to_string()
}

#[test]
fn the_same_bytes_for_any_number_of_threads() {
    let source = texts(1500);
    let dir = tempfile::tempdir().unwrap();
    let mut first = None;
    for threads in [1, 2, 5, 8] {
        let dataset = dir.path().join(format!("t{threads}"));
        let options = IngestOptions { threads, shard_bytes: 3000, row_group_rows: 7, ..Default::default() };
        let summary = good(source.path(), &dataset, &options);
        assert_eq!((summary.rows, summary.version), (1500, 1));
        assert!(summary.shards > 5, "{summary:?}");
        assert_eq!(summary.rows_by_label, BTreeMap::from([("neg".into(), 800), ("pos".into(), 700)]));
        let written = files(&dataset);
        assert!(written.keys().all(|p| !p.starts_with(JOURNALS)), "the journal is gone");
        assert_eq!(first.get_or_insert_with(|| written.clone()), &written, "{threads} threads");
    }
}

#[cfg(feature = "image")]
#[test]
fn the_same_bytes_for_any_memory_of_decoders() {
    let source = tempfile::tempdir().unwrap();
    fs::create_dir(source.path().join("a")).unwrap();
    let fixtures = files(&Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/images"));
    let pictures = fixtures.values().filter(|bytes| bytes.starts_with(b"\x89PNG"));
    for (i, bytes) in (0..40).zip(pictures.cycle()) {
        // The same content again is fine, as long as the id is another.
        fs::write(source.path().join(format!("a/{i}.png")), bytes).unwrap();
    }
    fs::write(source.path().join("a/cut.png"), &fixtures.values().find(|b| b.starts_with(b"\x89PNG")).unwrap()[..99])
        .unwrap();
    let dir = tempfile::tempdir().unwrap();
    let mut first = None;
    for (threads, decode_memory) in [(1, u64::MAX), (8, 1), (8, 20_000), (8, IngestOptions::default().decode_memory)] {
        let dataset = dir.path().join(format!("t{threads} m{decode_memory}"));
        let options = IngestOptions { threads, decode_memory, shard_bytes: 20_000, ..Default::default() };
        let summary = good(source.path(), &dataset, &options);
        assert_eq!((summary.rows, summary.quarantined), (40, 1));
        let written = files(&dataset);
        assert_eq!(first.get_or_insert_with(|| written.clone()), &written, "{threads} threads, {decode_memory} bytes");
    }
}

#[test]
fn twice_the_same_is_nothing_new_and_new_classes_go_behind() {
    let source = texts(250);
    let dir = tempfile::tempdir().unwrap();
    let dataset = dir.path().join("d");
    let options = IngestOptions::default();
    good(source.path(), &dataset, &options);
    let before = files(&dataset);
    let (again, decodes) = run(source.path(), &dataset, &options);
    let again = again.unwrap();
    assert_eq!((again.rows, again.skipped, again.version, decodes), (0, 250, 1, 0));
    assert_eq!(files(&dataset), before);

    fs::create_dir(source.path().join("amber")).unwrap();
    fs::write(source.path().join("amber/x.txt"), "new\n").unwrap();
    let more = good(source.path(), &dataset, &options);
    assert_eq!((more.rows, more.skipped, more.version), (1, 250, 2));
    assert_eq!(more.rows_by_label, BTreeMap::from([("amber".into(), 1)]));
    let opened = Dataset::open(&dataset).unwrap();
    let names = ["neg", "pos", "amber"].map(str::to_owned).to_vec();
    assert_eq!(opened.schema().get("label"), Some(&Feature::ClassLabel { names }));
    assert_eq!(opened.rows(), 251);

    fs::write(source.path().join("amber/x.txt"), "other\n").unwrap();
    fs::write(source.path().join("neg/f0.txt"), texts_with_a_bad_first_line()).unwrap();
    let (taken, decodes) = run(source.path(), &dataset, &options);
    let taken = taken.unwrap();
    assert_eq!((taken.rows, taken.skipped, taken.quarantined, taken.version, decodes), (0, 249, 2, 2, 2));
    let expected = [("amber/x.txt#1", "id-taken"), ("neg/f0.txt#1", "invalid-utf8")];
    assert_eq!(quarantine(&dataset, &taken), expected.map(|(a, b)| (a.to_owned(), b.to_owned())));
    let text = fs::read_to_string(dataset.join(taken.quarantine.unwrap())).unwrap();
    assert!(text.contains("--id-prefix") && text.contains("another \\\"text\\\""), "{text}");
    fs::write(source.path().join("neg/f0.txt"), texts_of_one_file()).unwrap();
    let prefixed = IngestOptions { id_prefix: "second/".into(), ..options };
    assert_eq!(good(source.path(), &dataset, &prefixed).rows, 251);
    assert_eq!(Dataset::open(&dataset).unwrap().rows(), 502);
}

fn texts_of_one_file() -> Vec<u8> {
    (0..100).flat_map(|l| format!("line {l} of file 0\n").into_bytes()).collect()
}

fn texts_with_a_bad_first_line() -> Vec<u8> {
    let mut text = texts_of_one_file();
    text[0] = 0xff;
    text
}

#[test]
fn an_interrupted_run_goes_on_where_its_last_shard_ended() {
    let source = texts(2000);
    let dir = tempfile::tempdir().unwrap();
    let options = IngestOptions { shard_bytes: 4000, row_group_rows: 16, threads: 2, ..Default::default() };
    let (whole, part) = (dir.path().join("whole"), dir.path().join("part"));
    good(source.path(), &whole, &options);

    let mut control = Control::default();
    let cancel = Arc::clone(&control.cancel);
    control.progress = Some(Box::new(move |p| cancel.store(p.done >= 500, Ordering::Relaxed)));
    let stopped = ingest(source.path(), &part, &options, &control).unwrap_err();
    assert_eq!(stopped.exit_code(), 130);
    assert!(Dataset::open(&part).is_err(), "there is no version yet");
    let key = fs::read_dir(part.join(JOURNALS)).unwrap().next().unwrap().unwrap().path();
    let journal = fs::read_to_string(&key).unwrap();
    let last: serde_json::Value = serde_json::from_str(journal.lines().last().unwrap()).unwrap();
    let done = last["to"].as_u64().unwrap();
    assert!((100..1000).contains(&done), "{done}");
    // A line that was torn by a kill is done again.
    fs::write(&key, format!("{journal}{{\"from\":{done},")).unwrap();

    let (summary, decodes) = run(source.path(), &part, &options);
    assert_eq!((summary.unwrap().rows, decodes), (2000, 2000 - done));
    assert_eq!(files(&part), files(&whole));
}

#[test]
fn a_journaled_shard_that_is_gone_or_damaged_is_written_again() {
    let source = texts(600);
    let dir = tempfile::tempdir().unwrap();
    let options = IngestOptions { shard_bytes: 2000, ..Default::default() };
    let (whole, part) = (dir.path().join("whole"), dir.path().join("part"));
    good(source.path(), &whole, &options);
    let mut control = Control::default();
    let cancel = Arc::clone(&control.cancel);
    control.progress = Some(Box::new(move |p| cancel.store(p.done > 0, Ordering::Relaxed)));
    ingest(source.path(), &part, &options, &control).unwrap_err();
    let shards = files(&part.join("data"));
    let first = part.join("data").join(shards.keys().next().unwrap());
    let mut bytes = fs::read(&first).unwrap();
    bytes[100] ^= 1;
    fs::write(&first, bytes).unwrap();
    assert_eq!(good(source.path(), &part, &options).rows, 600);
    assert_eq!(files(&part), files(&whole));
}

#[test]
fn a_file_that_changed_in_place_is_not_taken_from_the_journal() {
    let source = texts(600);
    let dir = tempfile::tempdir().unwrap();
    let dataset = dir.path().join("d");
    let options = IngestOptions { shard_bytes: 2000, ..Default::default() };
    let mut control = Control::default();
    let cancel = Arc::clone(&control.cancel);
    control.progress = Some(Box::new(move |p| cancel.store(p.done >= 256, Ordering::Relaxed)));
    ingest(source.path(), &dataset, &options, &control).unwrap_err();
    let changed = source.path().join("neg/f0.txt");
    let text = fs::read_to_string(&changed).unwrap().replacen("line 0 of", "LINE 0 OF", 1);
    fs::write(&changed, text).unwrap();
    let later = fs::metadata(&changed).unwrap().modified().unwrap() + std::time::Duration::from_millis(5);
    fs::File::options().append(true).open(&changed).unwrap().set_modified(later).unwrap();
    let (summary, decodes) = run(source.path(), &dataset, &options);
    assert_eq!((summary.unwrap().rows, decodes), (600, 600));
    let opened = Dataset::open(&dataset).unwrap();
    let mut bytes = Vec::new();
    opened.fetch_checked(0, 0, &mut bytes).unwrap();
    assert_eq!(bytes, b"LINE 0 OF file 0");
}

#[test]
fn too_many_refusals_commit_nothing_and_a_higher_limit_goes_on() {
    let source = tree(&[
        ("a/1.txt", b"good\nfine\n"),
        ("a/2.txt", b"caf\xe9\n\xff\nwell\n"),
        ("b/3.txt", b""),
        ("b/4.txt", b"yes\n"),
    ]);
    let dir = tempfile::tempdir().unwrap();
    let dataset = dir.path().join("d");
    let mut options = IngestOptions { max_errors: MaxErrors::NONE, ..Default::default() };
    let error = run(source.path(), &dataset, &options).0.unwrap_err();
    assert_eq!(error.exit_code(), 5, "{error}");
    let Error::QuarantineLimit { report, .. } = &error else { panic!("{error}") };
    assert!(report.is_file(), "{error}");
    assert!(commit::latest(&Store::open(&dataset)).unwrap().is_none());

    options.max_errors = "60%".parse().unwrap();
    let summary = good(source.path(), &dataset, &options);
    assert_eq!((summary.rows, summary.quarantined, summary.version), (4, 3, 1));
    let expected = [("b/3.txt", "empty"), ("a/2.txt#1", "invalid-utf8"), ("a/2.txt#2", "invalid-utf8")];
    assert_eq!(quarantine(&dataset, &summary), expected.map(|(a, b)| (a.to_owned(), b.to_owned())));

    let bad = tree(&[("a/1.txt", b"\xff\n"), ("a/2.txt", b"x\xff\n")]);
    let all = IngestOptions { format: Some("text".into()), max_errors: MaxErrors::ALL, ..Default::default() };
    assert_eq!(run(bad.path(), &dir.path().join("e"), &all).0.unwrap_err().exit_code(), 5);
}

#[test]
fn targets_that_cannot_be_are_refused_before_anything_is_decoded() {
    let source = texts(10);
    let options = IngestOptions::default();
    let full = tree(&[("notes.txt", b"mine")]);
    assert!(refusal(run(source.path(), full.path(), &options).0).contains("notes.txt"));
    assert_eq!(files(full.path()).len(), 1);
    refusal(run(source.path(), &full.path().join("notes.txt"), &options).0);
    refusal(run(source.path(), &source.path().join("pos"), &options).0);
    refusal(run(source.path(), &source.path().join("new/deep"), &options).0);
    refusal(run(source.path(), source.path(), &options).0);
    let dir = tempfile::tempdir().unwrap();
    let dataset = dir.path().join("d");
    good(source.path(), &dataset, &options);
    refusal(run(&dataset.join("data"), &dataset, &options).0);
    let empty = tempfile::tempdir().unwrap();
    refusal(run(empty.path(), &dir.path().join("e"), &options).0);
    assert!(!dir.path().join("e").exists());
    // Nobody, not even root, makes folders there.
    let (refused, decodes) = run(source.path(), Path::new("/proc/self/feedstock"), &options);
    assert!(matches!(refused, Err(Error::Io { .. })), "{refused:?}");
    assert_eq!(decodes, 0);
    let missing = run(&dir.path().join("none"), &dataset, &options).0.unwrap_err();
    assert_eq!(missing.exit_code(), 1, "{missing}");
    let fresh = tree(&[(".git/HEAD", b"ref"), ("README.md", b"# mine\n")]);
    assert_eq!(good(source.path(), fresh.path(), &options).rows, 10);
}

#[test]
fn other_columns_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let dataset = dir.path().join("d");
    good(texts(10).path(), &dataset, &IngestOptions::default());
    let bare = tree(&[("a.txt", b"x\n")]);
    let message = refusal(run(bare.path(), &dataset, &IngestOptions::default()).0);
    assert!(message.contains("label (class label)"), "{message}");
}

/// A source as a user of the crate writes one.
struct Own;

impl Source for Own {
    fn name(&self) -> &'static str {
        "own"
    }
    fn detect(&self, _: &Path, _: &Look) -> Option<Evidence> {
        Some(Evidence::new(100, "it is ours"))
    }
    fn list(&self, root: &Path, _: &SourceOptions, lister: &mut Lister<'_>) -> Result<Schema> {
        let file = |bytes| EntryCell::File { path: root.join("a.txt"), bytes };
        let class = |name: &str| EntryCell::Class(name.into());
        for (id, cells) in [
            ("b", vec![file(3), class("z")]),
            ("a", vec![file(2), class("y")]),
            ("c", vec![EntryCell::Inline(b"inline".to_vec()), EntryCell::NULL]),
            ("d", vec![EntryCell::Class("text?".into()), EntryCell::NULL]),
        ] {
            lister.entry(Entry { id: id.into(), split: "train".into(), cells, origin: id.into(), line: None })?;
        }
        Ok(Schema::new([("text", Feature::Text), ("label", Feature::ClassLabel { names: vec!["z".into()] })]))
    }
}

#[test]
fn a_source_from_outside_works_and_a_changed_file_is_seen() {
    let root = tree(&[("a.txt", b"abc")]);
    let dir = tempfile::tempdir().unwrap();
    let own = SourceEntry { name: "own", version: 1, summary: "test", build: || Box::new(Own) };
    let control = Control { sources: crate::source::sources().with(own), ..Control::default() };
    let dataset = dir.path().join("d");
    let summary = ingest(root.path(), &dataset, &IngestOptions::default(), &control).unwrap();
    assert_eq!((summary.rows, summary.quarantined), (2, 2));
    let expected = [("a", Reason::Changed.code()), ("d", Reason::BadLabel.code())];
    assert_eq!(quarantine(&dataset, &summary), expected.map(|(a, b)| (a.to_owned(), b.to_owned())));
    let opened = Dataset::open(&dataset).unwrap();
    let names = vec!["z".to_owned(), "y".to_owned()];
    assert_eq!(opened.schema().get("label"), Some(&Feature::ClassLabel { names }));
}

fn record(id: &str, text: &str, class: &str) -> Record {
    let cells = vec![Cell::Media(text.into()), Cell::Class(class.into())];
    Record { id: id.into(), split: "train".into(), cells }
}

fn schema() -> Schema {
    Schema::new([("text", Feature::Text), ("label", Feature::ClassLabel { names: vec!["a".into()] })])
}

#[test]
fn records_from_code_take_the_same_way() {
    let dir = tempfile::tempdir().unwrap();
    let options = IngestOptions::default();
    let mut writer = DatasetWriter::create(dir.path(), schema(), &options).unwrap();
    writer.append(record("1", "one", "a")).unwrap();
    let refused = writer.append(record("2", "x", "new")).map(|()| 0);
    assert!(refused.is_ok());
    let mut bad = record("3", "", "never");
    bad.cells[0] = Cell::Media(b"\xff".to_vec());
    let error = writer.append(bad).unwrap_err();
    assert!(error.to_string().contains("id \"3\", column \"text\""), "{error}");
    assert_eq!(writer.append(record("1", "again", "a")).unwrap_err().exit_code(), 2);
    let mut test = record("4", "four", "new");
    test.split = "test".into();
    writer.append(test).unwrap();
    let summary = writer.commit().unwrap();
    assert_eq!((summary.rows, summary.shards, summary.version), (3, 2, 1));
    assert_eq!(summary.rows_by_label, BTreeMap::from([("a".into(), 1), ("new".into(), 2)]));
    let names = vec!["a".to_owned(), "new".to_owned()];
    let opened = Dataset::open(dir.path()).unwrap();
    assert_eq!(opened.schema().get("label"), Some(&Feature::ClassLabel { names }), "a refused record names no class");

    let mut again = DatasetWriter::create(dir.path(), schema(), &options).unwrap();
    again.append(record("1", "one", "a")).unwrap();
    let message = again.append(record("2", "y", "new")).unwrap_err().to_string();
    assert!(message.contains("another \"text\""), "{message}");
    let nothing = again.commit().unwrap();
    assert_eq!((nothing.rows, nothing.skipped, nothing.version), (0, 1, 1));
    let empty = dir.path().join("none");
    assert_eq!(DatasetWriter::create(&empty, schema(), &options).unwrap().commit().unwrap_err().exit_code(), 2);
}

#[test]
fn a_writer_that_lost_accepted_records_commits_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let options = IngestOptions { shard_bytes: 5, ..Default::default() };
    let mut writer = DatasetWriter::create(dir.path(), schema(), &options).unwrap();
    writer.append(record("1", "one", "a")).unwrap();
    fs::remove_dir_all(dir.path().join("data")).unwrap();
    let lost = writer.append(record("2", "two", "a")).unwrap_err();
    assert!(matches!(lost, Error::Io { .. }), "{lost}");
    let closed = writer.append(record("2", "two", "a")).unwrap_err().to_string();
    assert!(closed.contains("lost records"), "{closed}");
    assert!(writer.commit().unwrap_err().to_string().contains("commits nothing"));
    assert!(Dataset::open(dir.path()).is_err());
}

#[test]
fn shards_that_something_took_away_are_not_named() {
    let dir = tempfile::tempdir().unwrap();
    let options = IngestOptions { shard_bytes: 5, ..Default::default() };
    let mut writer = DatasetWriter::create(dir.path(), schema(), &options).unwrap();
    for n in 0..4 {
        writer.append(record(&n.to_string(), "one and more", "a")).unwrap();
    }
    let shard = dir.path().join("data/train");
    let shard = fs::read_dir(shard).unwrap().map(|e| e.unwrap().path()).find(|p| p.extension().unwrap() == "parquet");
    fs::remove_file(shard.unwrap()).unwrap();
    let error = writer.commit().unwrap_err();
    assert!(matches!(error, Error::Damaged { .. }) && error.to_string().contains("dsctl gc"), "{error}");
    assert!(Dataset::open(dir.path()).is_err(), "nothing was committed");
}

#[test]
fn two_writers_at_once_rebase_or_say_that_they_conflict() {
    let dir = tempfile::tempdir().unwrap();
    let open = || DatasetWriter::create(dir.path(), schema(), &IngestOptions::default()).unwrap();
    let with = |records: &[Record]| {
        let mut writer = open();
        records.iter().for_each(|r| writer.append(r.clone()).unwrap());
        writer
    };
    let first = with(&[record("1", "one", "a")]);
    let second = with(&[record("2", "two", "b")]);
    let third = with(&[record("3", "three", "c")]);
    let same = with(&[record("1", "one", "a")]);
    assert_eq!(first.commit().unwrap().version, 1);
    assert_eq!(second.commit().unwrap().version, 2, "its class comes behind the one there is");
    assert_eq!(third.commit().unwrap_err().exit_code(), 4, "its class has the place of another");
    assert_eq!(same.commit().unwrap_err().exit_code(), 4, "its id is taken");
    let opened = Dataset::open(dir.path()).unwrap();
    assert_eq!(opened.rows(), 2);
    let names = vec!["a".to_owned(), "b".to_owned()];
    assert_eq!(opened.schema().get("label"), Some(&Feature::ClassLabel { names }));
}
