//! Another writer commits between the look and the commit.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use feedstock::data::label::Value;
use feedstock::dataset::Dataset;
use feedstock::ingest::{Control, IngestOptions, ingest};
use feedstock::revise::{CompactOptions, RelabelOptions, RemoveOptions, SplitBy, SplitOptions, compact, remove, split};
use feedstock::store::{Disk, LocalDisk, Store};
use feedstock::{Error, Result};

use crate::{Rows, append, contents, hold, id, made, plain, relabelled};

/// A disk on which somebody else commits just before a version gets its name, a few times.
struct Meanwhile<F> {
    other: F,
    left: AtomicUsize,
}

impl<F> std::fmt::Debug for Meanwhile<F> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Meanwhile").finish_non_exhaustive()
    }
}

impl<F: Fn(usize) + Send + Sync> Disk for Meanwhile<F> {
    fn make_dir(&self, path: &Path) -> std::io::Result<()> {
        LocalDisk.make_dir(path)
    }
    fn create(&self, path: &Path) -> std::io::Result<std::fs::File> {
        LocalDisk.create(path)
    }
    fn write(&self, file: &mut std::fs::File, path: &Path, bytes: &[u8]) -> std::io::Result<()> {
        LocalDisk.write(file, path, bytes)
    }
    fn sync(&self, file: &std::fs::File, path: &Path) -> std::io::Result<()> {
        LocalDisk.sync(file, path)
    }
    fn rename(&self, from: &Path, to: &Path) -> std::io::Result<()> {
        LocalDisk.rename(from, to)
    }
    fn link(&self, from: &Path, to: &Path) -> std::io::Result<()> {
        let left = self.left.load(Ordering::Relaxed);
        if left > 0 {
            self.left.store(left - 1, Ordering::Relaxed);
            (self.other)(left);
        }
        LocalDisk.link(from, to)
    }
    fn sync_dir(&self, path: &Path) -> std::io::Result<()> {
        LocalDisk.sync_dir(path)
    }
    fn open_append(&self, path: &Path) -> std::io::Result<std::fs::File> {
        LocalDisk.open_append(path)
    }
    fn remove(&self, path: &Path) -> std::io::Result<()> {
        LocalDisk.remove(path)
    }
    fn read(&self, path: &Path) -> std::io::Result<Vec<u8>> {
        LocalDisk.read(path)
    }
    fn list(&self, path: &Path) -> std::io::Result<Vec<String>> {
        LocalDisk.list(path)
    }
}

pub(crate) fn meanwhile(path: &Path, times: usize, other: impl Fn(usize) + Send + Sync + 'static) -> Store {
    Store::with_disk(path, Arc::new(Meanwhile { other, left: times.into() }))
}

fn label(store: &Store, n: u64, label: &str) -> Result<u64, Error> {
    relabelled(store, &format!("id,label\n{},{label}\n", id(n)), RelabelOptions::default()).0.map(|done| done.version)
}

fn take_out(store: &Store, n: u64) -> Result<u64, Error> {
    let options = RemoveOptions { ids: vec![id(n)], ..RemoveOptions::default() };
    remove(store, &options, &mut |_| Ok(())).map(|done| done.version)
}

/// What the other writer does, and whether what was told of row 3 still counts.
type Other = fn(&Path);

#[test]
fn what_was_told_of_rows_counts_only_while_they_are_what_they_were() {
    let others: [(&str, Other, bool); 6] = [
        ("rows are appended", |path| append(path, 40..44).unwrap(), true),
        ("another row gets another label", |path| assert!(label(&Store::open(path), 4, "owl").is_ok()), true),
        ("another row is out", |path| assert!(take_out(&Store::open(path), 4).is_ok()), true),
        (
            "the files are others",
            |path| {
                let options = CompactOptions { shard_bytes: 50_000, ..CompactOptions::default() };
                assert!(compact(&Store::open(path), &options).unwrap().committed);
            },
            true,
        ),
        ("the row gets another label", |path| assert!(label(&Store::open(path), 3, "owl").is_ok()), false),
        ("the row is out", |path| assert!(take_out(&Store::open(path), 3).is_ok()), false),
    ];
    for (what, other, counts) in others {
        for removes in [false, true] {
            let (_dir, path, _) = made();
            let own = path.clone();
            let store = meanwhile(&path, 1, move |_| other(&own));
            let done = if removes { take_out(&store, 3) } else { label(&store, 3, "new") };
            let rows = contents(&Dataset::open(&path).unwrap()).0;
            if counts {
                assert_eq!(done.unwrap(), 4, "{what}");
                assert_eq!(rows.get(&id(3)).map(|r| r.label.as_deref()), (!removes).then_some(Some("new")), "{what}");
            } else {
                let error = done.unwrap_err();
                assert_eq!(
                    (error.exit_code(), Dataset::open(&path).unwrap().version()),
                    (4, Some(3)),
                    "{what}: {error}"
                );
                assert_ne!(rows.get(&id(3)).and_then(|r| r.label.clone()), Some("new".to_owned()), "{what}");
            }
            hold(&path, &rows);
        }
    }
}

#[test]
fn an_ingest_goes_behind_what_was_changed_meanwhile() {
    let dir = tempfile::tempdir().unwrap();
    let (source, path) = (dir.path().join("rows.jsonl"), dir.path().join("d"));
    let lines = |numbers: std::ops::Range<u64>| {
        let line = |n| format!("{{\"text\": \"row {n}\", \"label\": \"cat\"}}\n");
        std::fs::write(&source, numbers.map(line).collect::<String>()).unwrap();
    };
    lines(0..4);
    ingest(&source, &path, &IngestOptions::default(), &Control::default()).unwrap();
    lines(0..6);
    let own = path.clone();
    let other = move |_| {
        let csv = "id,label\nrows.jsonl#1,owl\n";
        assert!(relabelled(&Store::open(&own), csv, RelabelOptions::default()).0.unwrap().committed);
    };
    let disk = Arc::new(Meanwhile { other, left: 1.into() });
    let done = ingest(&source, &path, &IngestOptions::default(), &Control { disk: Some(disk), ..Control::default() });
    let done = done.unwrap();
    assert_eq!((done.version, done.rows, done.skipped, done.quarantined), (3, 2, 4, 0));
    let dataset = Dataset::open(&path).unwrap();
    let names = format!("{:?}", dataset.schema().get("label"));
    assert!(dataset.rows() == 6 && names.contains("[\"cat\", \"owl\"]"), "{names}");
    let label = |id: &str| {
        let row = (0..6).map(|row| dataset.index().row(row)).find(|row| row.id() == id).unwrap();
        row.value(dataset.schema().position("label").unwrap())
    };
    assert_eq!([label("rows.jsonl#1"), label("rows.jsonl#6")], [Value::Int(1), Value::Int(0)]);
    let report = feedstock::verify::verify(&path, true).unwrap();
    assert!(report.findings.is_empty(), "{report:?}");
}

#[test]
fn splits_and_compactions_are_made_anew_over_what_another_writer_left() {
    let (_dir, path, mut rows) = made();
    let own = path.clone();
    let store = meanwhile(&path, 3, move |left| append(&own, left as u64 * 10 + 30..left as u64 * 10 + 35).unwrap());
    let fractions = feedstock::data::partition::Fractions::new(vec![("a".into(), 0.5), ("b".into(), 0.5)]).unwrap();
    let options = SplitOptions { fractions, by: SplitBy::Row, seed: 0, only: Vec::new(), dry_run: false };
    let done = split(&store, &options).unwrap();
    assert_eq!((done.version, done.rows), (6, 45));
    for n in [40, 50, 60] {
        rows.extend((n..n + 5).map(|n| (id(n), plain(n))));
    }
    let now = contents(&Dataset::open(&path).unwrap()).0;
    assert!(now.values().all(|row| row.split == "a" || row.split == "b"), "what came meanwhile is split, too");
    let strip = |rows: &Rows| -> Rows {
        rows.iter().map(|(id, row)| (id.clone(), crate::Plain { split: String::new(), ..row.clone() })).collect()
    };
    assert_eq!(strip(&now), strip(&rows));
    hold(&path, &now);
    let own = path.clone();
    let store = meanwhile(&path, 1, move |_| assert!(take_out(&Store::open(&own), 3).is_ok()));
    let options = CompactOptions { materialise: true, ..CompactOptions::default() };
    assert_eq!(compact(&store, &options).unwrap().version, 8);
    let mut want = now;
    want.remove(&id(3));
    hold(&path, &want);
    // One who is always faster: it ends, with the exit code for it.
    let own = path.clone();
    let store =
        meanwhile(&path, 100, move |left| append(&own, left as u64 * 10 + 1000..left as u64 * 10 + 1001).unwrap());
    assert_eq!(label(&store, 4, "slow").unwrap_err().exit_code(), 4);
}
