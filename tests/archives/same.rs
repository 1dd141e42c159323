//! The law: for every source, an archive of any kind gives the dataset of the folder that it would be unpacked.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use feedstock::dataset::Dataset;
use feedstock::ingest::{Control, IngestOptions, MaxErrors, Summary, SyncOptions, ingest, retry};
use feedstock::revise::sync;
use feedstock::source::{Provenance, TextUnit, TextWindow};
use feedstock::store::fault::{FaultDisk, Kill};

use crate::common::fixture;
use crate::common::pack::{END, Zipped, files, gzip, tar, zip_of, zstandard};

/// What a version consists of; not what was seen of the source, nor where its refusals lie.
pub(crate) fn version(root: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let skipped = [".dsctl/seen", ".dsctl/quarantine", ".dsctl/sources"];
    let walk = walkdir::WalkDir::new(root).into_iter();
    let walk = walk.filter_entry(|e| !skipped.iter().any(|s| e.path().ends_with(s))).map(Result::unwrap);
    let files = walk.filter(|e| e.file_type().is_file());
    files.map(|e| (e.path().strip_prefix(root).unwrap().to_owned(), fs::read(e.path()).unwrap())).collect()
}

fn named(files: &[(String, Vec<u8>)], prefix: &str) -> Vec<(String, Vec<u8>)> {
    files.iter().map(|(name, bytes)| (format!("{prefix}{name}"), bytes.clone())).collect()
}

fn as_tar(files: &[(String, Vec<u8>)]) -> Vec<u8> {
    tar(files.iter().map(|(name, bytes)| (name.as_str(), bytes.as_slice())))
}

fn as_zip(files: &[(String, Vec<u8>)], change: impl Fn(&mut Zipped)) -> Vec<u8> {
    let members = files.iter().map(|(name, bytes)| {
        let mut member = Zipped::new(name, bytes);
        change(&mut member);
        member
    });
    zip_of(&members.collect::<Vec<_>>())
}

/// Archives of a folder by what they are called, the last as their programs write them: with the folder itself on top.
pub(crate) fn archives(folder: &Path) -> Vec<(String, Vec<u8>)> {
    let files = files(folder);
    let called = folder.file_name().unwrap().to_str().unwrap();
    let within = named(&files, &format!("{called}/"));
    let dotted = named(&files, "./");
    let backwards: Vec<_> = files.iter().rev().cloned().collect();
    let all: [(&str, Vec<u8>); 8] = [
        ("flat.tar", as_tar(&backwards)),
        ("dotted.tar.gz", gzip(&as_tar(&dotted))),
        ("flat.tar.zst", zstandard(&as_tar(&files))),
        ("deflated.zip", as_zip(&backwards, |_| {})),
        ("stored.zip", as_zip(&files, |member| member.deflate = false)),
        ("wide.zip", as_zip(&files, |member| member.wide = true)),
        (".tar", as_tar(&within)),
        (".zip", as_zip(&within, |_| {})),
    ];
    all.into_iter()
        .map(|(name, bytes)| match name.starts_with('.') {
            true => (format!("{called}{name}"), bytes),
            false => (name.to_owned(), bytes),
        })
        .collect()
}

fn lenient() -> IngestOptions {
    IngestOptions { max_errors: MaxErrors::ALL, ..IngestOptions::default() }
}

pub(crate) fn take(source: &Path, dataset: &Path, options: &IngestOptions) -> Summary {
    ingest(source, dataset, options, &Control::default()).unwrap_or_else(|e| panic!("{}: {e}", source.display()))
}

/// Copies a fixture into a folder of its own name.
fn copied(path: &str, into: &Path) -> PathBuf {
    let folder = into.join(path.rsplit('/').next().unwrap());
    for (name, bytes) in files(&fixture(path)) {
        let to = folder.join(name);
        fs::create_dir_all(to.parent().unwrap()).unwrap();
        fs::write(to, bytes).unwrap();
    }
    folder
}

/// A source of each kind, with options that bring out what it reads.
fn sources(into: &Path) -> Vec<(PathBuf, IngestOptions)> {
    let regex = |mut options: IngestOptions| {
        options.source.label_regex = Some(r"^(?P<label>\d)_".into());
        options
    };
    let provenance = |mut options: IngestOptions| {
        options.source.provenance = Some(Provenance { columns: true, ..Provenance::default() });
        options
    };
    let windows = |mut options: IngestOptions| {
        options.source.text_unit = TextUnit::Window;
        options.source.text_window = Some(TextWindow::default());
        options
    };
    let one = |manifest: &str, called: &str| {
        let folder = into.join(called);
        for (name, bytes) in files(&fixture("manifests")).into_iter().filter(|(n, _)| n == manifest || n.contains('/'))
        {
            let to = folder.join(name);
            fs::create_dir_all(to.parent().unwrap()).unwrap();
            fs::write(to, bytes).unwrap();
        }
        folder
    };
    let mut all = vec![
        (copied("images", into), provenance(lenient())),
        (copied("digits", into), regex(lenient())),
        (copied("text", into), lenient()),
        (copied("hostile", into), IngestOptions { format: Some("folder".into()), ..lenient() }),
        (one("manifest.csv", "csv"), lenient()),
        (one("manifest.jsonl", "jsonl"), lenient()),
        (one("audio.csv", "audio"), lenient()),
        (one("bad_rows.csv", "bad"), lenient()),
        (copied("imagefolder/captions", into), lenient()),
        (copied("imagefolder/pairs", into), lenient()),
    ];
    let long = into.join("long");
    fs::create_dir_all(&long).unwrap();
    fs::write(long.join("a.txt"), "one two three. ".repeat(2000)).unwrap();
    fs::write(long.join("b.txt"), "eins zwei drei\n".repeat(300)).unwrap();
    all.push((long, windows(lenient())));
    let spoken = into.join("spoken");
    fs::create_dir_all(spoken.join("wav")).unwrap();
    let mut rows = "path,start,end,label\n".to_owned();
    for (at, (name, bytes)) in files(&fixture("digits")).into_iter().enumerate() {
        fs::write(spoken.join("wav").join(&name), bytes).unwrap();
        rows += &format!("wav/{name},0.0{at},0.15,d{}\nwav/{name},0.1,9,d\n", at % 3);
    }
    fs::write(spoken.join("parts.csv"), rows).unwrap();
    all.push((spoken, lenient()));
    #[cfg(feature = "annotations")]
    for path in ["coco", "coco_captions", "coco_keypoints", "voc", "yolo", "yolo_ultralytics"] {
        all.push((copied(&format!("objects/{path}"), into), lenient()));
    }
    all
}

#[test]
fn an_archive_is_the_dataset_of_its_files_unpacked() {
    let dir = tempfile::tempdir().unwrap();
    let packed = dir.path().join("packed");
    fs::create_dir(&packed).unwrap();
    let mut seen = 0;
    for (folder, options) in sources(&dir.path().join("sources")) {
        let plain = dir.path().join("plain");
        let of_folder = take(&folder, &plain, &options);
        let expected = version(&plain);
        fs::remove_dir_all(&plain).unwrap();
        for (name, bytes) in archives(&folder) {
            let archive = packed.join(&name);
            fs::write(&archive, bytes).unwrap();
            // Where rows are called after their source, only the archive of that name is the same.
            if options.source.provenance.is_some() && !name.starts_with("images") {
                continue;
            }
            let target = dir.path().join("target");
            let summary = take(&archive, &target, &options);
            let told = format!("{} as {name}", folder.display());
            assert_eq!((summary.rows, summary.quarantined), (of_folder.rows, of_folder.quarantined), "{told}");
            let found = version(&target);
            assert!(found.keys().eq(expected.keys()), "{told}: {:?} {:?}", found.keys(), expected.keys());
            for (path, bytes) in &expected {
                assert!(found[path] == *bytes, "{told}: {} differs", path.display());
            }
            fs::remove_dir_all(&target).unwrap();
            seen += 1;
        }
    }
    assert!(seen > 80, "{seen} archives");
}

/// The same few files as the programs pack them that people use (`fixtures/make/make_archives.py`).
#[test]
fn what_programs_pack_is_what_they_packed() {
    let dir = tempfile::tempdir().unwrap();
    let folder = fixture("archives/files");
    let (plain, pants) = (dir.path().join("plain"), dir.path().join("pants"));
    take(&folder, &plain, &lenient());
    let only = dir.path().join("only");
    for (name, bytes) in files(&folder).into_iter().filter(|(name, _)| name.starts_with("pants")) {
        fs::create_dir_all(only.join(&name).parent().unwrap()).unwrap();
        fs::write(only.join(&name), bytes).unwrap();
    }
    take(&only, &pants, &lenient());
    let mut seen = 0;
    for (name, _) in files(&fixture("archives")).into_iter().filter(|(name, _)| !name.starts_with("files/")) {
        let target = dir.path().join(&name);
        let summary = take(&fixture("archives").join(&name), &target, &lenient());
        // The oldest form has no long names.
        let expected = if name == "tar_v7.tar" { &pants } else { &plain };
        assert_eq!(summary.quarantined, 0, "{name}");
        assert!(version(&target) == version(expected), "{name}");
        seen += 1;
    }
    assert_eq!(seen, 14);
}

/// An archive that lies where it lay: nothing of it is read but its table, and what it grew by is taken in.
#[test]
fn an_archive_that_was_seen_is_not_read_again() {
    let dir = tempfile::tempdir().unwrap();
    for (name, bytes) in archives(&fixture("images")) {
        let archive = dir.path().join(&name);
        fs::write(&archive, bytes).unwrap();
        let then = std::time::SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(1_000_000_000);
        fs::File::options().append(true).open(&archive).unwrap().set_modified(then).unwrap();
        let target = dir.path().join(format!("of {name}"));
        let first = take(&archive, &target, &lenient());
        let control = Control::default();
        let again = ingest(&archive, &target, &lenient(), &control).unwrap();
        assert_eq!((again.version, again.rows, again.skipped, again.unread), (1, 0, first.rows, first.rows), "{name}");
        assert_eq!(control.decodes.load(Ordering::Relaxed), 0, "{name}");
        // Under another time each is read, and is the same.
        fs::File::options()
            .append(true)
            .open(&archive)
            .unwrap()
            .set_modified(then + std::time::Duration::from_secs(9))
            .unwrap();
        let again = take(&archive, &target, &lenient());
        assert_eq!((again.skipped, again.unread), (first.rows, 0), "{name}");
    }
}

/// A kill in the middle, with an archive as the source.
#[test]
fn an_ingest_of_an_archive_goes_on_where_it_was_killed() {
    let dir = tempfile::tempdir().unwrap();
    let options = IngestOptions { shard_bytes: 20_000, threads: 1, ..lenient() };
    let whole = dir.path().join("whole");
    take(&fixture("images"), &whole, &options);
    let expected = version(&whole);
    for (name, bytes) in archives(&fixture("images")).into_iter().step_by(3) {
        let archive = dir.path().join(&name);
        fs::write(&archive, bytes).unwrap();
        for kill in [5_000, 60_000, 130_000] {
            let target = dir.path().join(format!("{kill} {name}"));
            let control = Control { disk: Some(Arc::new(FaultDisk::new(Kill::AtByte(kill)))), ..Control::default() };
            assert!(ingest(&archive, &target, &options, &control).is_err(), "{name} at {kill}");
            take(&archive, &target, &options);
            assert!(version(&target) == expected, "{name} at {kill}");
        }
    }
}

/// What was refused of an archive is taken in from another that has it mended, alone.
#[test]
fn members_are_taken_in_again() {
    let dir = tempfile::tempdir().unwrap();
    let good = files(&fixture("images"));
    let mut bad = good.clone();
    bad[3].1.truncate(100);
    let archive = dir.path().join("images.zip");
    fs::write(&archive, as_zip(&bad, |_| {})).unwrap();
    let target = dir.path().join("target");
    let first = take(&archive, &target, &lenient());
    assert_eq!((first.rows, first.quarantined), (31, 1));
    fs::write(&archive, as_zip(&good, |_| {})).unwrap();
    let runs = feedstock::quarantine::runs(&target).unwrap();
    let retried = retry(&target, &runs[0], None, &lenient(), &Control::default()).unwrap();
    assert_eq!((retried.before, retried.after, retried.summary.rows), (1, 0, 1));
    assert_eq!(Dataset::open(&target).unwrap().rows(), 32);
}

/// Rows follow an archive as they follow a folder; behind damage nothing is taken for gone.
#[test]
fn rows_follow_an_archive() {
    let dir = tempfile::tempdir().unwrap();
    let whole = files(&fixture("images"));
    let (archive, target) = (dir.path().join("x.tar"), dir.path().join("target"));
    fs::write(&archive, as_tar(&whole)).unwrap();
    assert_eq!(take(&archive, &target, &lenient()).rows, 32);
    let follow = || {
        let how = SyncOptions { max_removed: MaxErrors::ALL, ..SyncOptions::default() };
        let summary = sync(&archive, &target, &lenient(), &how, &Control::default()).unwrap();
        let synced = summary.sync.unwrap();
        ([synced.added, synced.replaced, synced.removed], summary.notes.join("\n"))
    };
    let mut edited = whole.clone();
    edited.truncate(30);
    edited[0].1 = edited[1].1.clone();
    fs::write(&archive, as_tar(&edited)).unwrap();
    assert_eq!(follow().0, [0, 1, 2]);
    let bytes = as_tar(&edited);
    // Within a member, within a header, between two members, and with the size of the whole.
    let half = as_tar(&edited[..15]).len() - END.len();
    let mut zeros = bytes[..half].to_vec();
    zeros.resize(zeros.len() + 100_000, 0);
    for (cut, what) in [
        (&bytes[..half + 600], "data"),
        (&bytes[..half + 100], "header"),
        (&bytes[..half], "between"),
        (&zeros, "zeros"),
    ] {
        fs::write(&archive, cut).unwrap();
        let (counts, notes) = follow();
        assert_eq!(counts, [0, 0, 0], "{what}");
        assert!(notes.contains("may have been cut") && notes.contains("does not list"), "{what}: {notes}");
        assert_eq!(Dataset::open(&target).unwrap().rows(), 30, "{what}");
    }
    fs::write(&archive, &bytes).unwrap();
    assert_eq!(follow().0, [0, 0, 0]);
    assert_eq!(Dataset::open(&target).unwrap().rows(), 30);
}

/// What a cut archive does not say any more of a row is not taken from it: objects of pictures, labels of samples.
#[test]
fn a_cut_archive_takes_no_labels_from_rows() {
    let dir = tempfile::tempdir().unwrap();
    let png = fs::read(fixture("images/test/pants/003_gray.png")).unwrap();
    let mut samples: Vec<(String, Vec<u8>)> = Vec::new();
    for n in 0..6u8 {
        samples.push((format!("{n}.png"), png.clone()));
        samples.push((format!("{n}.cls"), vec![b'0' + n % 2]));
    }
    let mut all = vec![("samples.tar", samples, 9)];
    if cfg!(feature = "annotations") {
        let mut voc = files(&fixture("objects/voc"));
        // Pictures before what is said of them, as an archive may have them.
        voc.sort_by_key(|(name, _)| name.ends_with(".xml"));
        let keep = voc.len() - 1;
        all.push(("voc.tar", voc, keep));
    }
    for (name, whole, keep) in all {
        let (archive, target) = (dir.path().join(name), dir.path().join(format!("{name}-target")));
        fs::write(&archive, as_tar(&whole)).unwrap();
        take(&archive, &target, &lenient());
        let before = version(&target);
        let kept = as_tar(&whole[..keep]);
        let between = &kept[..kept.len() - END.len()];
        for cut in [between.to_vec(), [between, &[1; 30][..]].concat()] {
            fs::write(&archive, &cut).unwrap();
            let how = SyncOptions { max_removed: MaxErrors::ALL, ..SyncOptions::default() };
            let summary = sync(&archive, &target, &lenient(), &how, &Control::default()).unwrap();
            let synced = summary.sync.unwrap();
            assert!(!synced.committed && synced.kept_refused > 0, "{name}: {synced:?} {:?}", summary.notes);
            assert_eq!(version(&target), before, "{name}");
        }
    }
}

/// What stood behind the damage of an archive is taken in again with it.
#[test]
fn all_of_an_archive_that_was_cut_is_taken_in_again() {
    let dir = tempfile::tempdir().unwrap();
    let whole = files(&fixture("images"));
    let (archive, target) = (dir.path().join("x.tar"), dir.path().join("target"));
    let bytes = as_tar(&whole);
    let half = as_tar(&whole[..15]).len() - END.len();
    for cut in [half + 600, half + 100] {
        let _ = fs::remove_dir_all(&target);
        fs::write(&archive, &bytes[..cut]).unwrap();
        take(&archive, &target, &lenient());
        assert!(Dataset::open(&target).unwrap().rows() < 16);
        fs::write(&archive, &bytes).unwrap();
        let runs = feedstock::quarantine::runs(&target).unwrap();
        let retried = retry(&target, &runs[0], None, &lenient(), &Control::default()).unwrap();
        assert_eq!((retried.after, Dataset::open(&target).unwrap().rows()), (0, 32));
    }
}

/// Opened without an ingest: what stands in it as it is.
#[test]
fn what_an_archive_stores_is_read_where_it_is() {
    let dir = tempfile::tempdir().unwrap();
    let folder = Dataset::open(fixture("images")).unwrap();
    for (name, bytes) in archives(&fixture("images")) {
        let archive = dir.path().join(&name);
        fs::write(&archive, bytes).unwrap();
        let opened = Dataset::open(&archive);
        if name.contains("stored") || name.ends_with(".tar") {
            let opened = opened.unwrap();
            assert_eq!(opened.rows(), folder.rows(), "{name}");
            let (mut one, mut other) = (Vec::new(), Vec::new());
            for row in 0..opened.rows() {
                opened.fetch_checked(row, 0, &mut one).unwrap().unwrap();
                folder.fetch_checked(row, 0, &mut other).unwrap().unwrap();
                assert_eq!(one, other, "{name}: {row}");
            }
        } else {
            assert!(opened.unwrap_err().to_string().contains("ingest"), "{name}");
        }
    }
}

/// One folder on top is the source, unless it may be a class or a split.
#[test]
fn the_folder_on_top_is_the_source_or_a_class() {
    let dir = tempfile::tempdir().unwrap();
    let png = fs::read(fixture("images/test/pants/003_gray.png")).unwrap();
    let cases: [(&str, &[&str], &[&str]); 7] = [
        ("pets.tar", &["pets/a.png", "pets/b.png"], &["a.png", "b.png"]),
        ("x.tar", &["cat/a.png", "cat/b.png"], &["cat/a.png", "cat/b.png"]),
        ("x.tar", &["data/cat/a.png", "data/dog/b.png"], &["cat/a.png", "dog/b.png"]),
        ("val.tar", &["val/cat/a.png", "val/dog/b.png"], &["val/cat/a.png", "val/dog/b.png"]),
        ("x.tar", &["train/cat/a.png", "train/dog/b.png"], &["train/cat/a.png", "train/dog/b.png"]),
        ("x.tar", &["x/cat/a.png", "__MACOSX/x/cat/._a.png", ".DS_Store"], &["cat/a.png"]),
        ("x.tar", &["x/a.png", "b.png"], &["b.png", "x/a.png"]),
    ];
    for (number, (name, paths, expected)) in cases.into_iter().enumerate() {
        let archive = dir.path().join(name);
        fs::write(&archive, tar(paths.iter().map(|path| (*path, png.as_slice())))).unwrap();
        let choice = feedstock::source::choose(&feedstock::source::sources(), &archive, Some("folder")).unwrap();
        let spill = feedstock::spool::Spill::temporary();
        let label_regex = Some("(?P<label>.)".into());
        let options = feedstock::source::SourceOptions { label_regex, ..Default::default() };
        let listing = feedstock::source::Listing::of_choice(&choice, &options, &spill, &|_| Ok(())).unwrap();
        let mut ids: Vec<String> = listing.entries.iter().map(|entry| entry.unwrap().id).collect();
        ids.extend(listing.refused.iter().map(|refusal| refusal.unwrap().id));
        ids.sort();
        assert_eq!(ids, expected, "{number}");
    }
}
