//! Rows that follow their source: after any edits of it, `revise::sync` leaves the rows that one ingest of the source as it is now has, beside those of other
//! sources, without decoding what did not change; and what people changed stays where the source says what it said.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use feedstock::data::partition::Fractions;
use feedstock::data::record::{Cell, Record};
use feedstock::dataset::Dataset;
use feedstock::error::Error;
use feedstock::ingest::{Control, DatasetWriter, IngestOptions, MaxErrors, Own, Summary, SyncOptions, Synced, ingest};
use feedstock::revise::{
    CompactOptions, RelabelOptions, RemoveOptions, SplitBy, SplitOptions, compact, relabel, remove, split, sync,
};
use feedstock::source::{SourceOptions, TextUnit};
use feedstock::store::Store;
use feedstock::store::fault::{FaultDisk, Kill, Phase};
use feedstock::versions::{Keep, collect, garbage};

use crate::common::{contents, copy_folder, fixture, put};

fn options() -> IngestOptions {
    IngestOptions { max_errors: MaxErrors::ALL, threads: 2, shard_bytes: 12_000, ..IngestOptions::default() }
}

fn any() -> SyncOptions {
    SyncOptions { max_removed: MaxErrors::ALL, ..SyncOptions::default() }
}

fn follow_as(
    source: &Path,
    dataset: &Path,
    options: &IngestOptions,
    how: &SyncOptions,
) -> (Result<Summary, Error>, u64) {
    let control = Control::default();
    let done = sync(source, dataset, options, how, &control);
    (done, control.decodes.load(Ordering::Relaxed))
}

fn follow(source: &Path, dataset: &Path) -> (Synced, u64) {
    let (done, decodes) = follow_as(source, dataset, &options(), &any());
    (done.unwrap().sync.unwrap(), decodes)
}

/// Added, replaced, removed, relabelled, moved.
fn counts(synced: &Synced) -> [u64; 5] {
    [synced.added, synced.replaced, synced.removed, synced.relabelled, synced.moved]
}

/// Every row: split, class, payload.
type Rows = BTreeMap<String, (String, String, Vec<u8>)>;

fn holds(dataset: &Path) {
    let report = feedstock::verify::verify(dataset, true).unwrap();
    assert!(report.findings.is_empty(), "{report:?}");
}

fn pictures() -> Vec<Vec<u8>> {
    let root = fixture("images");
    let walk = walkdir::WalkDir::new(&root).sort_by_file_name().into_iter().map(Result::unwrap);
    walk.filter(|e| e.file_type().is_file()).map(|e| fs::read(e.path()).unwrap()).collect()
}

/// Draws numbers.
struct Draw(u64);

impl Draw {
    fn below(&mut self, n: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        ((self.0 >> 33) % n.max(1) as u64) as usize
    }
}

/// Rows that are not the source's: of a writer, and of another folder.
fn strangers(dir: &Path, dataset: &Path, all: &[Vec<u8>]) -> Rows {
    let before = contents(dataset);
    let schema = Dataset::open(dataset).unwrap().schema().clone();
    let mut writer = DatasetWriter::create(dataset, schema, &options()).unwrap();
    let cells = vec![Cell::Media(all[0].clone()), Cell::Class("of a writer".into())];
    writer.append(Record { id: "written".into(), split: "train".into(), cells }).unwrap();
    writer.commit().unwrap();
    let other = dir.join("other");
    for class in ["one", "two"] {
        put(&other.join("train").join(class).join("x.jpg"), &all[1], 0);
        put(&other.join("test").join(class).join("y.jpg"), &all[2], 0);
    }
    let prefixed = IngestOptions { id_prefix: "other/".into(), ..options() };
    ingest(&other, dataset, &prefixed, &Control::default()).unwrap();
    let mut now = contents(dataset);
    before.keys().for_each(|id| drop(now.remove(id)));
    assert_eq!(now.len(), 5);
    now
}

/// Class folders under splits: a file that goes to another folder is another row.
#[test]
fn folders_that_are_edited_at_random_are_followed() {
    let all = pictures();
    let mut kinds = [0; 5];
    for case in 0..4u64 {
        let dir = tempfile::tempdir().unwrap();
        let (source, dataset) = (dir.path().join("s"), dir.path().join("d"));
        let mut draw = Draw(case + 1);
        let mut clock = 0;
        let place = |draw: &mut Draw| {
            let (split, class) = (["train", "test"][draw.below(2)], ["a", "b", "c"][draw.below(3)]);
            PathBuf::from(format!("{split}/{class}/{}.jpg", draw.below(12)))
        };
        let mut now: BTreeMap<PathBuf, (usize, u64)> = BTreeMap::new();
        for first in ["train/a/0.jpg", "test/b/0.jpg", "train/b/1.jpg"] {
            now.insert(first.into(), (draw.below(all.len()), 0));
        }
        let mut before = BTreeMap::new();
        let mut others = Rows::new();
        for step in 0..8 {
            if step > 0 {
                for _ in 0..1 + draw.below(8) {
                    clock += 1;
                    let names: Vec<PathBuf> = now.keys().cloned().collect();
                    let some = names[draw.below(names.len())].clone();
                    match draw.below(5) {
                        0 | 1 => drop(now.insert(place(&mut draw), (draw.below(all.len()), clock))),
                        2 => drop(now.insert(some, (draw.below(all.len()), clock))),
                        3 if now.len() > 3 => drop(now.remove(&some)),
                        _ => {
                            let file = now.remove(&some).unwrap();
                            now.insert(place(&mut draw), file);
                        }
                    }
                }
            }
            // The layout wants both splits.
            for split in ["train", "test"] {
                now.entry(format!("{split}/a/always.jpg").into()).or_insert((0, 0));
            }
            let _ = fs::remove_dir_all(&source);
            now.iter().for_each(|(name, (which, at))| put(&source.join(name), &all[*which], *at));
            let version = (step > 0).then(|| Dataset::open(&dataset).unwrap().version().unwrap());
            let dry = follow_as(&source, &dataset, &options(), &SyncOptions { dry_run: true, ..any() });
            let (done, decodes) = follow(&source, &dataset);
            let (dry, looked) = (dry.0.unwrap().sync.unwrap(), dry.1);
            assert_eq!((counts(&dry), looked, dry.committed), (counts(&done), 0, false), "case {case} step {step}");
            let other: Vec<&PathBuf> = now.keys().filter(|name| now.get(*name) != before.get(*name)).collect();
            let content = |name: &PathBuf| before.get(name).map(|(which, _): &(usize, u64)| *which);
            let made = other.iter().filter(|name| content(name) != Some(now[**name].0)).count() as u64;
            assert_eq!(decodes, made, "case {case} step {step}: what did not change is not decoded");
            let added = now.keys().filter(|name| !before.contains_key(*name)).count() as u64;
            let removed = before.keys().filter(|name| !now.contains_key(*name)).count() as u64;
            assert_eq!(counts(&done), [added, made - added, removed, 0, 0], "case {case} step {step}");
            counts(&done).iter().zip(&mut kinds).for_each(|(n, sum)| *sum += n);
            let nothing = done.is_nothing();
            assert_eq!(done.committed, !nothing);
            if let Some(version) = version {
                let now = Dataset::open(&dataset).unwrap().version().unwrap();
                assert_eq!(now, version + u64::from(!nothing), "one version, or none");
            }
            let once = dir.path().join(format!("once-{step}"));
            ingest(&source, &once, &options(), &Control::default()).unwrap();
            let mut want = contents(&once);
            want.extend(others.clone());
            assert_eq!(contents(&dataset), want, "case {case} step {step}");
            holds(&dataset);
            if step == 0 {
                others = strangers(dir.path(), &dataset, &all);
            }
            before.clone_from(&now);
        }
        assert_eq!(follow(&source, &dataset).0.others, 5);
    }
    assert!(kinds[..3].iter().all(|n| *n > 0), "{kinds:?}");
}

/// A picture, when it changed, its label and its split.
type Line = (usize, u64, &'static str, &'static str);
type Differ<'a> = &'a dyn Fn(&Line, &Line) -> bool;

/// A manifest: labels and splits change without the files.
#[test]
fn manifests_that_are_edited_at_random_are_followed() {
    let all = pictures();
    let mut kinds = [0; 5];
    for case in 0..4u64 {
        let dir = tempfile::tempdir().unwrap();
        let (source, dataset) = (dir.path().join("s"), dir.path().join("d"));
        let mut draw = Draw(case + 90);
        let mut now: BTreeMap<String, Line> = BTreeMap::new();
        let (labels, splits) = (["cat", "dog", "owl", "fox"], ["train", "test"]);
        for n in 0..8 {
            now.insert(format!("{n}.jpg"), (draw.below(all.len()), 0, labels[n % 2], splits[n % 2]));
        }
        let mut before: BTreeMap<String, Line> = BTreeMap::new();
        for step in 0..8u64 {
            for edit in 0..if step == 0 { 0 } else { 1 + draw.below(8) as u64 } {
                let names: Vec<String> = now.keys().cloned().collect();
                let some = names[draw.below(names.len())].clone();
                let at = step * 100 + edit;
                let row = now.get_mut(&some).unwrap();
                match draw.below(6) {
                    0 => row.2 = labels[draw.below(4)],
                    1 => row.3 = splits[draw.below(2)],
                    2 => (row.0, row.1) = (draw.below(all.len()), at),
                    3 if names.len() > 4 => drop(now.remove(&some)),
                    _ => {
                        let name = format!("{}.jpg", draw.below(30));
                        now.insert(name, (draw.below(all.len()), at, labels[draw.below(4)], splits[draw.below(2)]));
                    }
                }
            }
            let _ = fs::remove_dir_all(&source);
            let mut csv = "file_name,label,split\n".to_owned();
            for (name, (which, at, label, split)) in &now {
                put(&source.join(name), &all[*which], *at);
                csv.push_str(&format!("{name},{label},{split}\n"));
            }
            put(&source.join("metadata.csv"), csv.as_bytes(), 0);
            let (done, decodes) = follow(&source, &dataset);
            let both = now.iter().filter_map(|(name, row)| Some((row, before.get(name)?)));
            let count = |differ: Differ<'_>| both.clone().filter(|(a, b)| differ(a, b)).count() as u64;
            let replaced = count(&|a, b| a.0 != b.0);
            let added = now.keys().filter(|name| !before.contains_key(*name)).count() as u64;
            let want = [
                added,
                replaced,
                before.keys().filter(|name| !now.contains_key(*name)).count() as u64,
                count(&|a, b| a.0 == b.0 && a.2 != b.2),
                count(&|a, b| a.0 == b.0 && a.3 != b.3),
            ];
            assert_eq!((counts(&done), decodes), (want, added + replaced), "case {case} step {step}");
            want.iter().zip(&mut kinds).for_each(|(n, sum)| *sum += n);
            let once = dir.path().join(format!("once-{step}"));
            ingest(&source, &once, &options(), &Control::default()).unwrap();
            assert_eq!(contents(&dataset), contents(&once), "case {case} step {step}");
            holds(&dataset);
            before.clone_from(&now);
        }
    }
    assert!(kinds.iter().all(|n| *n > 0), "{kinds:?}");
}

/// A manifest of one picture a line.
fn sheet(source: &Path, rows: &[(&str, &[u8], u64, &str, &str)]) {
    let _ = fs::remove_dir_all(source);
    let mut csv = "file_name,label,split\n".to_owned();
    for (name, bytes, at, label, split) in rows {
        put(&source.join(name), bytes, *at);
        csv.push_str(&format!("{name},{label},{split}\n"));
    }
    put(&source.join("metadata.csv"), csv.as_bytes(), 0);
}

fn told(dataset: &Path, csv: &str) {
    let file = dataset.with_extension("told.csv");
    fs::write(&file, csv).unwrap();
    let done = relabel(&Store::open(dataset), &file, RelabelOptions::default(), &mut |_| Ok(())).unwrap();
    assert!(done.committed, "{done:?}");
}

fn all_to(dataset: &Path, to: &str) {
    let fractions = Fractions::new(vec![(to.to_owned(), 1.0)]).unwrap();
    let options = SplitOptions { fractions, by: SplitBy::Row, seed: 0, only: vec!["train".into()], dry_run: false };
    assert!(split(&Store::open(dataset), &options).unwrap().committed);
}

fn brief(dataset: &Path) -> BTreeMap<String, (String, String)> {
    contents(dataset).into_iter().map(|(id, (split, label, _))| (id, (split, label))).collect()
}

/// What people changed stays where the source says what it said, whatever the files of the dataset say; and what the source says anew is taken over.
#[test]
fn what_people_changed_stays_until_the_source_says_something_new() {
    let all = pictures();
    for materialised in [false, true] {
        let dir = tempfile::tempdir().unwrap();
        let (source, dataset) = (dir.path().join("s"), dir.path().join("d"));
        let (p, q) = (&all[0][..], &all[1][..]);
        let first = [
            ("0.jpg", p, 0, "cat", "train"),
            ("1.jpg", p, 0, "cat", "train"),
            ("2.jpg", p, 0, "cat", "train"),
            ("3.jpg", p, 0, "cat", "test"),
            ("4.jpg", p, 0, "dog", "test"),
        ];
        sheet(&source, &first);
        assert_eq!(counts(&follow(&source, &dataset).0), [5, 0, 0, 0, 0]);
        told(&dataset, "id,label\n0.jpg,owl\n1.jpg,owl\n2.jpg,owl\n3.jpg,owl\n");
        all_to(&dataset, "val");
        if materialised {
            let options = CompactOptions { materialise: true, ..CompactOptions::default() };
            assert!(compact(&Store::open(&dataset), &options).unwrap().committed);
        }
        let by_hand = brief(&dataset);
        let done = follow(&source, &dataset).0;
        assert!(done.is_nothing() && !done.committed, "{done:?}");
        assert_eq!(brief(&dataset), by_hand);
        // 0: other content. 1: another label. 2: another split. 3: another content and label. 4: gone.
        let second = [
            ("0.jpg", q, 1, "cat", "train"),
            ("1.jpg", p, 0, "fox", "train"),
            ("2.jpg", p, 0, "cat", "extra"),
            ("3.jpg", q, 1, "fox", "test"),
        ];
        sheet(&source, &second);
        let (done, decodes) = follow(&source, &dataset);
        assert_eq!((counts(&done), decodes), ([0, 2, 1, 1, 1], 2));
        let want = [("0", "val", "owl"), ("1", "val", "fox"), ("2", "extra", "owl"), ("3", "test", "fox")];
        let want: BTreeMap<_, _> = want
            .iter()
            .map(|(id, split, label)| (format!("{id}.jpg"), ((*split).to_owned(), (*label).to_owned())))
            .collect();
        assert_eq!(brief(&dataset), want, "materialised: {materialised}");
        assert_eq!(contents(&dataset)["0.jpg"].2, all[1]);
        holds(&dataset);
        assert!(follow(&source, &dataset).0.is_nothing());
        // What was taken out on purpose comes back as long as the source has it; what the source says again is taken over again.
        let out = RemoveOptions { ids: vec!["0.jpg".into()], ..RemoveOptions::default() };
        assert!(remove(&Store::open(&dataset), &out, &mut |_| Ok(())).unwrap().committed);
        assert_eq!(counts(&follow(&source, &dataset).0), [1, 0, 0, 0, 0]);
        assert_eq!(brief(&dataset)["0.jpg"], ("train".to_owned(), "cat".to_owned()));
        holds(&dataset);
    }
}

/// A file that is refused now leaves the row that it has, and so does what cannot be listed.
#[test]
fn what_is_refused_now_keeps_its_row() {
    let all = pictures();
    let dir = tempfile::tempdir().unwrap();
    let (source, dataset) = (dir.path().join("s"), dir.path().join("d"));
    for (n, name) in ["a/0.jpg", "a/1.jpg", "b/2.jpg", "b/3.jpg"].iter().enumerate() {
        put(&source.join(name), &all[n], 0);
    }
    follow(&source, &dataset);
    let before = contents(&dataset);
    // Half of a picture, nothing, and a new picture.
    put(&source.join("a/0.jpg"), &all[0][..all[0].len() / 2], 1);
    put(&source.join("a/1.jpg"), b"", 1);
    put(&source.join("b/2.jpg"), &all[7], 1);
    let (done, _) = follow_as(&source, &dataset, &options(), &any());
    let done = done.unwrap();
    let synced = done.sync.unwrap();
    assert_eq!((counts(&synced), synced.kept_refused, done.quarantined), ([0, 1, 0, 0, 0], 2, 2));
    let now = contents(&dataset);
    assert_eq!(
        (&now["a/0.jpg"], &now["a/1.jpg"], &now["b/2.jpg"].2),
        (&before["a/0.jpg"], &before["a/1.jpg"], &all[7])
    );
    // As long as it is so, nothing happens; once it is mended it is replaced.
    let done = follow(&source, &dataset).0;
    assert!(done.is_nothing() && done.kept_refused == 2, "{done:?}");
    put(&source.join("a/0.jpg"), &all[8], 2);
    fs::remove_file(source.join("a/1.jpg")).unwrap();
    assert_eq!(counts(&follow(&source, &dataset).0), [0, 1, 1, 0, 0]);
    holds(&dataset);

    // A line that cannot be read may be any row's: none is taken out before it is mended.
    let (source, dataset) = (dir.path().join("lines"), dir.path().join("of lines"));
    let rows = [("0.jpg", &all[0][..], 0, "cat", "train"), ("1.jpg", &all[1], 0, "dog", "train")];
    sheet(&source, &[rows[0], rows[1], ("2.jpg", &all[2], 0, "cat", "train")]);
    follow(&source, &dataset);
    sheet(&source, &rows);
    let torn = fs::read_to_string(source.join("metadata.csv")).unwrap() + "2.jpg\n";
    put(&source.join("metadata.csv"), torn.as_bytes(), 1);
    let done = follow(&source, &dataset).0;
    assert_eq!((counts(&done), done.kept_refused), ([0, 0, 0, 0, 0], 1));
    sheet(&source, &rows);
    assert_eq!(counts(&follow(&source, &dataset).0), [0, 0, 1, 0, 0]);
}

#[test]
fn a_source_that_is_not_there_takes_nothing_out() {
    let all = pictures();
    let dir = tempfile::tempdir().unwrap();
    let (source, dataset) = (dir.path().join("s"), dir.path().join("d"));
    let name = |n: usize| format!("{}/{n}.jpg", ["a", "b"][n % 2]);
    (0..10).for_each(|n| put(&source.join(name(n)), &all[n], 0));
    let careful = |options: &SyncOptions| follow_as(&source, &dataset, &self::options(), options).0;
    careful(&SyncOptions::default()).unwrap();
    (0..6).for_each(|n| fs::remove_file(source.join(name(n))).unwrap());
    put(&source.join(name(11)), &all[11], 0);
    let error = careful(&SyncOptions::default()).unwrap_err();
    assert!(matches!(error, Error::MassRemoval { removed: 6, rows: 10, .. }), "{error}");
    assert_eq!((error.exit_code(), Dataset::open(&dataset).unwrap().version()), (3, Some(1)));
    let dry = SyncOptions { dry_run: true, ..SyncOptions::default() };
    assert_eq!(careful(&dry).unwrap_err().exit_code(), 3);
    for (limit, passes) in [("59%", false), ("5", false), ("60%", true)] {
        let limit = SyncOptions { max_removed: limit.parse().unwrap(), dry_run: true, ..SyncOptions::default() };
        assert_eq!(careful(&limit).is_ok(), passes, "{limit:?}");
    }
    let six = SyncOptions { max_removed: "6".parse().unwrap(), ..SyncOptions::default() };
    assert_eq!(counts(&careful(&six).unwrap().sync.unwrap()), [1, 0, 6, 0, 0]);
    // Nothing at all, and a folder that is not there.
    fs::remove_dir_all(&source).unwrap();
    assert!(careful(&any()).is_err());
    fs::create_dir_all(source.join("a")).unwrap();
    assert!(careful(&any()).is_err());
    assert_eq!(Dataset::open(&dataset).unwrap().version(), Some(2));
}

#[test]
fn rows_of_which_nobody_knows_who_brought_them_are_asked_for() {
    let all = pictures();
    let dir = tempfile::tempdir().unwrap();
    let (source, dataset, moved) = (dir.path().join("s"), dir.path().join("d"), dir.path().join("moved"));
    let name = |n: usize| format!("{}/{n}.jpg", ["a", "b"][n % 2]);
    (0..6).for_each(|n| put(&source.join(name(n)), &all[n], 0));
    ingest(&source, &dataset, &options(), &Control::default()).unwrap();
    fs::remove_file(source.join(name(0))).unwrap();
    let records = || -> Vec<PathBuf> {
        fs::read_dir(dataset.join(".dsctl/sources")).unwrap().map(|entry| entry.unwrap().path()).collect()
    };
    let record = records().remove(0);
    let whole = fs::read(&record).unwrap();
    let as_own = |own: Own| {
        follow_as(&source, &dataset, &options(), &SyncOptions { own, dry_run: true, ..any() })
            .0
            .map(|s| counts(&s.sync.unwrap()))
    };
    assert_eq!(as_own(Own::Recorded).unwrap(), [0, 0, 1, 0, 0], "a plain ingest wrote it down");
    // Damaged in any byte, cut, gone, or what was seen gone with it: no row is taken out unasked.
    let mut damaged: Vec<Option<Vec<u8>>> =
        (0..whole.len()).step_by(3).map(|length| Some(whole[..length].to_vec())).collect();
    damaged.extend((0..whole.len()).map(|at| {
        let mut bytes = whole.clone();
        bytes[at] ^= 1 << (at % 8);
        Some(bytes)
    }));
    damaged.push(None);
    for bytes in damaged {
        match &bytes {
            Some(bytes) => fs::write(&record, bytes).unwrap(),
            None => fs::remove_file(&record).unwrap(),
        }
        let error = as_own(Own::Recorded).unwrap_err();
        assert!(error.exit_code() == 2 && error.to_string().contains("--all-rows"), "{error}");
        assert_eq!(as_own(Own::All).unwrap(), [0, 0, 1, 0, 0]);
    }
    // Without the record a plain ingest does not claim to know what came before it.
    put(&source.join(name(7)), &all[7], 0);
    ingest(&source, &dataset, &options(), &Control::default()).unwrap();
    assert_eq!(as_own(Own::Recorded).unwrap_err().exit_code(), 2);
    fs::remove_dir_all(dataset.join(".dsctl/seen")).unwrap();
    assert_eq!(as_own(Own::Recorded).unwrap_err().exit_code(), 2);
    fs::rename(&source, &moved).unwrap();
    let follow_moved = |own: Own| follow_as(&moved, &dataset, &options(), &SyncOptions { own, ..any() }).0;
    assert_eq!(follow_moved(Own::Recorded).unwrap_err().exit_code(), 2, "a source that was moved is another one");
    // Those that it lists: what it lost before stays, and from now on it is known.
    let listed = follow_moved(Own::Listed).unwrap().sync.unwrap();
    assert!(listed.is_nothing() && listed.others == 1, "{listed:?}");
    fs::remove_file(moved.join(name(1))).unwrap();
    assert_eq!(counts(&follow_moved(Own::Recorded).unwrap().sync.unwrap()), [0, 0, 1, 0, 0]);
    assert!(contents(&dataset).contains_key(&name(0)));
    assert_eq!(counts(&follow_moved(Own::All).unwrap().sync.unwrap()), [0, 0, 1, 0, 0]);
    assert!(!contents(&dataset).contains_key(&name(0)));
    holds(&dataset);
}

/// Two folders that have a row in common: it goes when neither has it.
#[test]
fn a_row_of_two_sources_stays_while_one_has_it() {
    let all = pictures();
    let dir = tempfile::tempdir().unwrap();
    let dataset = dir.path().join("d");
    let sources = [dir.path().join("s"), dir.path().join("t")];
    for source in &sources {
        put(&source.join("a/both.jpg"), &all[0], 0);
        put(&source.join("b/both.jpg"), &all[1], 0);
        put(&source.join(format!("a/{}.jpg", source.file_name().unwrap().to_str().unwrap())), &all[2], 0);
        // The second lists rows that are there: whose these are it has to say.
        let own = if source.ends_with("t") { Own::Listed } else { Own::Recorded };
        let refused = follow_as(source, &dataset, &options(), &any()).0.is_err();
        assert_eq!(refused, own == Own::Listed);
        follow_as(source, &dataset, &options(), &SyncOptions { own, ..any() }).0.unwrap();
    }
    fs::remove_file(sources[0].join("a/both.jpg")).unwrap();
    let done = follow(&sources[0], &dataset).0;
    assert_eq!((counts(&done), done.kept_shared), ([0, 0, 0, 0, 0], 1));
    fs::remove_file(sources[1].join("a/both.jpg")).unwrap();
    assert_eq!(counts(&follow(&sources[1], &dataset).0), [0, 0, 1, 0, 0]);
    // Other content in one of them is no other content in the other.
    put(&sources[0].join("b/both.jpg"), &all[3], 1);
    let done = follow(&sources[0], &dataset).0;
    assert_eq!((counts(&done), done.kept_refused, &contents(&dataset)["b/both.jpg"].2), ([0; 5], 1, &all[1]));
    put(&sources[1].join("b/both.jpg"), &all[3], 1);
    let whose = SyncOptions { own: Own::Listed, ..any() };
    let done = follow_as(&sources[1], &dataset, &options(), &whose).0.unwrap().sync.unwrap();
    assert_eq!((counts(&done), &contents(&dataset)["b/both.jpg"].2), ([0, 1, 0, 0, 0], &all[3]));
    assert!(follow(&sources[0], &dataset).0.is_nothing());
    // Taken out on purpose and put in by hand: it is nobody's any more, though it is the same.
    let out = RemoveOptions { ids: vec!["a/s.jpg".into()], ..RemoveOptions::default() };
    assert!(remove(&Store::open(&dataset), &out, &mut |_| Ok(())).unwrap().committed);
    let schema = Dataset::open(&dataset).unwrap().schema().clone();
    let mut writer = DatasetWriter::create(&dataset, schema, &options()).unwrap();
    let cells = vec![Cell::Media(all[2].clone()), Cell::Class("a".into())];
    writer.append(Record { id: "a/s.jpg".into(), split: "train".into(), cells }).unwrap();
    writer.commit().unwrap();
    fs::remove_file(sources[0].join("a/s.jpg")).unwrap();
    assert!(follow(&sources[0], &dataset).0.is_nothing());
    assert!(contents(&dataset).contains_key("a/s.jpg"));
}

/// What was refused because another source has its id is not that other's row, however often it is asked.
#[test]
fn a_row_of_another_source_is_not_replaced_by_what_was_refused_for_it() {
    let all = pictures();
    for first in [false, true] {
        let dir = tempfile::tempdir().unwrap();
        let (mine, theirs, dataset) = (dir.path().join("s"), dir.path().join("t"), dir.path().join("d"));
        put(&theirs.join("a/same.jpg"), &all[0], 0);
        put(&theirs.join("a/other.jpg"), &all[1], 0);
        put(&mine.join("a/same.jpg"), &all[0], 0);
        put(&mine.join("a/other.jpg"), &all[2], 0);
        follow(&theirs, &dataset);
        let before = contents(&dataset);
        if first {
            assert_eq!(ingest(&mine, &dataset, &options(), &Control::default()).unwrap().quarantined, 1);
        } else {
            let how = SyncOptions { own: Own::Recorded, ..any() };
            drop(follow_as(&mine, &dataset, &options(), &how));
            ingest(&mine, &dataset, &options(), &Control::default()).unwrap();
        }
        // A dry run does not have to decode it to know.
        let (dry, decodes) = follow_as(&mine, &dataset, &options(), &SyncOptions { dry_run: true, ..any() });
        assert_eq!((counts(&dry.unwrap().sync.unwrap()), decodes), ([0; 5], 0));
        for _ in 0..2 {
            let (done, _) = follow_as(&mine, &dataset, &options(), &any());
            let done = done.unwrap();
            assert_eq!((counts(&done.sync.unwrap()), done.quarantined), ([0; 5], 1));
            assert_eq!(contents(&dataset), before);
        }
        // Nor does it keep the row where that other has it no more.
        fs::remove_file(theirs.join("a/other.jpg")).unwrap();
        fs::remove_file(theirs.join("a/same.jpg")).unwrap();
        put(&theirs.join("a/more.jpg"), &all[3], 0);
        let done = follow(&theirs, &dataset).0;
        assert_eq!((counts(&done), done.kept_shared), ([1, 0, 1, 0, 0], 1));
    }
}

/// Where a source was before is said once.
#[test]
fn a_source_that_was_moved_is_followed_when_it_says_so() {
    let all = pictures();
    let dir = tempfile::tempdir().unwrap();
    let (source, dataset, moved) = (dir.path().join("s"), dir.path().join("d"), dir.path().join("deep/m"));
    ["a/0.jpg", "a/1.jpg", "b/2.jpg"].iter().enumerate().for_each(|(n, name)| put(&source.join(name), &all[n], 0));
    follow(&source, &dataset);
    told(&dataset, "id,label\nb/2.jpg,owl\n");
    fs::create_dir_all(moved.parent().unwrap()).unwrap();
    fs::rename(&source, &moved).unwrap();
    let again = |moved_from: Option<&Path>| {
        let how = SyncOptions { moved_from: moved_from.map(Path::to_owned), ..any() };
        follow_as(&moved, &dataset, &options(), &how).0.map(|done| counts(&done.sync.unwrap()))
    };
    assert_eq!(again(None).unwrap_err().exit_code(), 2);
    assert_eq!(again(Some(&dir.path().join("never"))).unwrap_err().exit_code(), 2);
    let records = || fs::read_dir(dataset.join(".dsctl/sources")).unwrap().count();
    // Where nothing else changed, too; and back again with a change.
    assert_eq!((again(Some(&source)).unwrap(), records()), ([0; 5], 1), "it is not there twice, nor lost");
    fs::remove_file(moved.join("a/1.jpg")).unwrap();
    fs::rename(&moved, &source).unwrap();
    let back = SyncOptions { moved_from: Some(moved.clone()), ..any() };
    let done = follow_as(&source, &dataset, &options(), &back).0.unwrap().sync.unwrap();
    assert_eq!((counts(&done), records()), ([0, 0, 1, 0, 0], 1));
    fs::rename(&source, &moved).unwrap();
    assert_eq!(again(Some(&source)).unwrap(), [0; 5]);
    assert_eq!(brief(&dataset)["b/2.jpg"].1, "owl");
    fs::remove_file(moved.join("a/0.jpg")).unwrap();
    put(&moved.join("a/4.jpg"), &all[4], 0);
    assert_eq!(again(None).unwrap(), [1, 0, 1, 0, 0]);
    assert_eq!((again(Some(&source)).unwrap(), records()), ([0; 5], 1), "said again it is no matter");
}

/// Text by lines, where every line behind a new one is another row; and text by files.
#[test]
fn text_is_followed() {
    let dir = tempfile::tempdir().unwrap();
    for unit in [TextUnit::Line, TextUnit::File] {
        let (source, dataset) = (dir.path().join(format!("{unit:?}")), dir.path().join(format!("d{unit:?}")));
        let options =
            IngestOptions { source: SourceOptions { text_unit: unit, ..SourceOptions::default() }, ..options() };
        let texts: [&[(&str, &str)]; 4] = [
            &[("a/1.txt", "one\ntwo\nthree\n"), ("b/2.txt", "four\n")],
            &[("a/1.txt", "zero\none\ntwo\nthree\n"), ("b/2.txt", "four\n")],
            &[("a/1.txt", "zero\nthree\n"), ("b/2.txt", "four\n"), ("b/3.txt", "five\n")],
            &[("a/1.txt", "zero\nthree\n"), ("a/3.txt", "five\n"), ("b/4.txt", "six\n")],
        ];
        for (step, files) in texts.iter().enumerate() {
            let _ = fs::remove_dir_all(&source);
            for (name, text) in *files {
                put(&source.join(name), text.as_bytes(), text.len() as u64);
            }
            follow_as(&source, &dataset, &options, &any()).0.unwrap();
            let once = dir.path().join(format!("once-{unit:?}-{step}"));
            ingest(&source, &once, &options, &Control::default()).unwrap();
            assert_eq!(contents(&dataset), contents(&once), "{unit:?} {step}");
            holds(&dataset);
        }
    }
}

/// Killed at any operation, a reader sees the old version or the new one, and run again it is the new one; what was finished is not decoded again.
#[test]
fn killed_anywhere_it_is_run_again() {
    let all = pictures();
    let dir = tempfile::tempdir().unwrap();
    let (source, base) = (dir.path().join("s"), dir.path().join("base"));
    let rows = |second: bool| -> Vec<(String, Vec<u8>, u64, &'static str, &'static str)> {
        let row = |n: usize| {
            let changed = second && n.is_multiple_of(3);
            let label = ["cat", "dog", "owl"][(n + usize::from(second && n % 4 == 1)) % 3];
            (
                format!("{n}.jpg"),
                all[n + usize::from(changed) * 12].clone(),
                u64::from(changed),
                label,
                ["train", "test"][n % 2],
            )
        };
        (0..if second { 20 } else { 16 }).filter(|n| !second || n % 5 != 2).map(row).collect()
    };
    let write = |second: bool| {
        let rows = rows(second);
        let rows: Vec<_> = rows
            .iter()
            .map(|(name, bytes, at, label, split)| (name.as_str(), &bytes[..], *at, *label, *split))
            .collect();
        sheet(&source, &rows);
    };
    write(false);
    let small = IngestOptions { shard_bytes: 6_000, threads: 1, ..options() };
    follow_as(&source, &base, &small, &any()).0.unwrap();
    told(&base, "id,label\n4.jpg,bat\n6.jpg,bat\n");
    let old = contents(&base);
    write(true);
    let run = |dataset: &Path, disk: Option<Arc<FaultDisk>>| {
        let mut control = Control::default();
        if let Some(disk) = disk {
            control.disk = Some(disk);
        }
        let done = sync(&source, dataset, &small, &any(), &control);
        (done, control.decodes.load(Ordering::Relaxed))
    };
    let whole = dir.path().join("whole");
    copy_folder(&base, &whole);
    let never = Arc::new(FaultDisk::new(Kill::Never));
    let (done, decodes) = run(&whole, Some(Arc::clone(&never)));
    let done = done.unwrap().sync.unwrap();
    let new = contents(&whole);
    assert!(counts(&done)[..4].iter().all(|n| *n > 0), "{done:?}");
    let (mut olds, mut news, mut spared) = (0, 0, 0);
    let mut classes = std::collections::BTreeSet::new();
    for (op, seen) in never.seen().iter().enumerate() {
        let text = seen.path.to_string_lossy();
        let around = [".dsctl/versions", ".dsctl/sources", ".dsctl/changes"].iter().any(|part| text.contains(part));
        let phases = [(Phase::Before, false), (Phase::Inside, op % 2 == 0), (Phase::After, true)];
        // Around the commit all of them, else one after the other (`tests/kills.rs` draws more).
        for (phase, power) in phases.into_iter().enumerate().filter(|(n, _)| around || *n == op % 3).map(|(_, of)| of) {
            let target = dir.path().join("killed");
            let _ = fs::remove_dir_all(&target);
            copy_folder(&base, &target);
            let kill = Kill::AtOp { op, phase, bytes: seen.bytes / 2 };
            let disk = Arc::new(if power { FaultDisk::with_power_cut(kill) } else { FaultDisk::new(kill) });
            let _ = run(&target, Some(Arc::clone(&disk)));
            let Some((died, _)) = disk.died() else { continue };
            let point = format!("operation {op} {phase:?} {died:?}");
            let left = contents(&target);
            assert!(left == old || left == new, "{point}");
            let committed = left == new;
            let (again, more) = run(&target, None);
            let again = again.unwrap_or_else(|e| panic!("{point}: {e}")).sync.unwrap();
            assert_eq!(contents(&target), new, "{point}");
            if committed {
                assert!(again.is_nothing() && more == 0, "{point}: {again:?}, {more} decoded");
                news += 1;
            } else {
                assert_eq!(counts(&again), counts(&done), "{point}");
                olds += 1;
                spared += decodes - more;
            }
            // Nobody's rows are lost: what was brought is known, also by who was killed.
            let once_more = run(&target, None).0.unwrap().sync.unwrap();
            assert!(once_more.is_nothing() && once_more.others == 0, "{point}: {once_more:?}");
            let known = fs::read_dir(target.join(".dsctl/sources"))
                .unwrap()
                .map(|e| e.unwrap().file_name().into_string().unwrap());
            assert!(known.filter(|name| !name.starts_with('.')).all(|name| name.ends_with(".rows")), "{point}");
            classes.extend(feedstock::store::fault::Class::of(died.op, &died.path));
        }
    }
    holds(&whole);
    assert!(olds > 0 && news > 0 && spared > 0, "{olds} {news} {spared}");
    assert_eq!(classes.len(), 10, "{classes:?}");
}

/// A line that was cut off within the path that names its row: the row may be its.
#[test]
fn a_line_that_is_cut_off_takes_no_row_out() {
    let all = pictures();
    let dir = tempfile::tempdir().unwrap();
    let (source, dataset) = (dir.path().join("s"), dir.path().join("d"));
    let mut sheet = "label,path\n".to_owned();
    for (at, bytes) in all.iter().enumerate().take(6) {
        put(&source.join(format!("im/{at}.jpg")), bytes, 0);
        sheet += &format!("c{},im/{at}.jpg\n", at % 2);
    }
    let manifest = source.join("m.csv");
    put(&manifest, sheet.as_bytes(), 0);
    assert_eq!(follow(&manifest, &dataset).0.added, 6);
    let before = contents(&dataset);
    // All of "c1,im/5.jpg" but its last bytes; with all of these it is another file's name.
    for cut in 2..=9 {
        put(&manifest, &sheet.as_bytes()[..sheet.len() - cut], cut as u64);
        assert_eq!(follow(&manifest, &dataset).0.removed, 0, "{cut}");
        assert_eq!(contents(&dataset), before);
    }
    put(&manifest, &sheet.as_bytes()[..sheet.len() - 12], 20);
    assert_eq!(follow(&manifest, &dataset).0.removed, 1);
}

/// A tar that ends without an end may have been cut between two members.
#[test]
fn an_archive_without_an_end_takes_no_row_out() {
    let all = pictures();
    let dir = tempfile::tempdir().unwrap();
    let (source, dataset) = (dir.path().join("s.tar"), dir.path().join("d"));
    let names: Vec<String> = (0..6).map(|at| format!("{}/{at}.jpg", ["a", "b"][at % 2])).collect();
    let whole = crate::common::pack::tar(names.iter().map(String::as_str).zip(all.iter().map(Vec::as_slice)));
    put(&source, &whole, 0);
    assert_eq!(follow(&source, &dataset).0.added, 6);
    let last = 512 + all[5].len().next_multiple_of(512);
    let five = crate::common::pack::tar(names.iter().map(String::as_str).zip(all.iter().map(Vec::as_slice)).take(5));
    let end = whole.len() - 1024 - last;
    assert_eq!(five[..end], whole[..end]);
    put(&source, &five[..end], 1);
    let done = follow(&source, &dataset).0;
    assert_eq!((done.removed, done.kept_refused), (0, 1));
    // Nor one that ends within a member, or has a hole.
    put(&source, &whole[..end - 512], 2);
    let done = follow(&source, &dataset).0;
    assert_eq!((done.removed, done.kept_refused), (0, 2));
    let mut hole = whole.clone();
    hole[end..end + 512].fill(0);
    put(&source, &hole, 3);
    assert_eq!(follow(&source, &dataset).0.removed, 0);
    put(&source, &five, 4);
    assert_eq!(follow(&source, &dataset).0.removed, 1);
}

/// Boxes drawn by hand lie in files beside the pictures: a disk of labels that is not there is like one of pictures.
#[cfg(feature = "annotations")]
#[test]
fn labels_that_are_not_there_empty_no_dataset() {
    let all = pictures();
    let dir = tempfile::tempdir().unwrap();
    let (source, dataset) = (dir.path().join("s"), dir.path().join("d"));
    put(&source.join("data.yaml"), b"path: .\ntrain: images/train\nval: images/val\nnames: [x]\n", 0);
    for (at, bytes) in all.iter().enumerate().take(8) {
        let split = ["val", "train"][usize::from(at == 0)];
        put(&source.join(format!("images/{split}/{at}.jpg")), bytes, 0);
        put(&source.join(format!("labels/{split}/{at}.txt")), b"0 0.5 0.5 0.2 0.2\n", 0);
    }
    assert_eq!(follow(&source, &dataset).0.added, 8);
    let (labels, away) = (source.join("labels/val"), dir.path().join("away"));
    fs::rename(&labels, &away).unwrap();
    let half = SyncOptions::default();
    let error = follow_as(&source, &dataset, &options(), &half).0.unwrap_err();
    assert!(matches!(error, Error::MassRemoval { removed: 7, rows: 8, .. }), "{error}");
    // A link to what is not mounted is no file without objects.
    std::os::unix::fs::symlink(dir.path().join("nowhere"), &labels).unwrap();
    let done = follow(&source, &dataset).0;
    assert_eq!((counts(&done), done.kept_refused), ([0; 5], 7));
    fs::remove_file(&labels).unwrap();
    assert_eq!(counts(&follow(&source, &dataset).0), [0, 7, 0, 0, 0], "if it is asked for");
}

/// An annotation file that is empty, or cannot be read, has nobody knows which pictures.
#[cfg(feature = "annotations")]
#[test]
fn annotations_that_are_empty_take_no_row_out() {
    let all = pictures();
    let dir = tempfile::tempdir().unwrap();
    let (source, dataset) = (dir.path().join("s"), dir.path().join("d"));
    for (split, from) in [("train", 0), ("valid", 3)] {
        let images: Vec<String> = (from..from + 3)
            .map(|at| {
                put(&source.join(format!("{split}/{at}.jpg")), &all[at], 0);
                format!(r#"{{"id":{at},"file_name":"{at}.jpg","width":9,"height":9}}"#)
            })
            .collect();
        let json = format!(r#"{{"images":[{}],"annotations":[],"categories":[]}}"#, images.join(","));
        put(&source.join(split).join("_annotations.coco.json"), json.as_bytes(), 0);
    }
    let coco = IngestOptions { format: Some("coco".into()), ..options() };
    assert_eq!(follow_as(&source, &dataset, &coco, &any()).0.unwrap().sync.unwrap().added, 6);
    let before = contents(&dataset);
    put(&source.join("valid/_annotations.coco.json"), b"", 1);
    let error = follow_as(&source, &dataset, &coco, &any()).0.unwrap_err();
    assert_eq!(error.exit_code(), 2, "{error}");
    assert_eq!(contents(&dataset), before);
    fs::remove_file(source.join("valid/_annotations.coco.json")).unwrap();
    assert_eq!(follow_as(&source, &dataset, &coco, &any()).0.unwrap().sync.unwrap().removed, 3);
}

/// An ingest that was killed behind its commit, whose version `dsctl gc` took away before the source was ingested again.
#[test]
fn what_a_killed_ingest_brought_outlasts_its_version() {
    let all = pictures();
    let dir = tempfile::tempdir().unwrap();
    let (source, base, dataset) = (dir.path().join("s"), dir.path().join("base"), dir.path().join("d"));
    (0..4).for_each(|at| put(&source.join(format!("a/{at}.jpg")), &all[at], 0));
    follow(&source, &base);
    put(&source.join("a/4.jpg"), &all[4], 0);
    let run = |kill| {
        let _ = fs::remove_dir_all(&dataset);
        copy_folder(&base, &dataset);
        let disk = Arc::new(FaultDisk::new(kill));
        let control = Control { disk: Some(Arc::clone(&disk) as Arc<_>), ..Control::default() };
        drop(sync(&source, &dataset, &options(), &any(), &control));
        disk.seen()
    };
    let seen = run(Kill::Never);
    let is_of = |op: usize, part: &str| seen[op].path.to_string_lossy().contains(part);
    let committed = (0..seen.len()).rfind(|op| is_of(*op, ".dsctl/versions")).unwrap();
    let op = (committed..seen.len()).find(|op| is_of(*op, ".dsctl/sources")).unwrap();
    run(Kill::AtOp { op, phase: Phase::Before, bytes: 0 });
    assert_eq!(contents(&dataset).len(), 5);
    told(&dataset, "id,label\na/0.jpg,b\n");
    let keep = Keep { versions: Some(1), younger: Duration::ZERO, ..Keep::default() };
    let garbage = garbage(&dataset, keep).unwrap();
    assert_eq!(garbage.versions, [1, 2]);
    collect(&dataset, &garbage).unwrap();
    fs::remove_file(source.join("a/4.jpg")).unwrap();
    assert_eq!(counts(&follow(&source, &dataset).0), [0, 0, 1, 0, 0]);
    assert_eq!(brief(&dataset)["a/0.jpg"].1, "b");
}

/// An annotation that names its picture, and cannot be read: nobody says then that the picture has no objects.
#[cfg(feature = "annotations")]
#[test]
fn objects_stay_while_an_annotation_cannot_be_read() {
    let all = pictures();
    let dir = tempfile::tempdir().unwrap();
    let (source, dataset) = (dir.path().join("s"), dir.path().join("d"));
    let xml = |at: usize| {
        let size = "<size><width>20</width><height>20</height><depth>3</depth></size>";
        let of = "<bndbox><xmin>1</xmin><ymin>1</ymin><xmax>5</xmax><ymax>5</ymax></bndbox>";
        format!("<annotation><filename>{at}.jpg</filename>{size}<object><name>x</name>{of}</object></annotation>")
    };
    for (at, bytes) in all.iter().enumerate().take(6) {
        put(&source.join(format!("JPEGImages/{at}.jpg")), bytes, 0);
        put(&source.join(format!("Annotations/of-{at}.xml")), xml(at).as_bytes(), 0);
    }
    let voc = IngestOptions { format: Some("voc".into()), ..options() };
    let follow = || follow_as(&source, &dataset, &voc, &any()).0.unwrap().sync.unwrap();
    assert_eq!(follow().added, 6);
    put(&source.join("Annotations/of-3.xml"), &xml(3).as_bytes()[..90], 1);
    let done = follow();
    assert_eq!((counts(&done), done.kept_refused), ([0; 5], 1));
    fs::remove_file(source.join("Annotations/of-3.xml")).unwrap();
    assert_eq!(counts(&follow()), [0, 1, 0, 0, 0], "it is gone");
}
