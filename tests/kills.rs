//! Every verb that commits, killed at points drawn over what it writes, and run again: a reader sees the old version or the new one, the rerun gives the new one, and no more
//! is decoded again than was not finished. `FEEDSTOCK_KILLS=1000` for more than the 50 kills of each verb; docs/torture.md has the table that is printed then.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use feedstock::Error;
use feedstock::data::partition::Fractions;
use feedstock::dataset::Dataset;
use feedstock::ingest::{Control, IngestOptions, MaxErrors, SyncOptions, ingest};
use feedstock::revise::{
    CompactOptions, RelabelOptions, RemoveOptions, SplitBy, SplitOptions, compact, relabel, remove, split, sync,
};
use feedstock::source::{SourceOptions, TextUnit};
use feedstock::store::fault::{FaultDisk, Kill, Op, Phase};
use feedstock::store::{Disk, Store};

mod common;

use common::{copy_folder, put};

/// Lines of a file, and files: more entries than are looked at at once (256), that a kill can find some finished and some not.
const LINES: usize = 150;
const FILES: usize = 10;
/// Rows of a shard at the most: 2,000 bytes of lines of at least 20.
const SHARD: u64 = 100;
/// Entries that are decoded again at the most: those of the shard that was open, of the chunk that was written, and of the one that was decoded meanwhile (256 each).
const BOUND: u64 = SHARD + 2 * 256;

fn text(file: usize, second: bool) -> String {
    let line = |line: usize| {
        let more = if second && file % 3 == 1 && line.is_multiple_of(2) { ", other" } else { "" };
        format!("line {line} of file {file}{more} ----\n")
    };
    (0..if second && file % 4 == 3 { LINES / 2 } else { LINES }).map(line).collect()
}

fn write(source: &Path, second: bool) {
    let _ = fs::remove_dir_all(source);
    for file in (0..FILES).filter(|file| !second || *file != 5) {
        let path = source.join(["train/a", "train/b", "test/a"][file % 3]).join(format!("{file}.txt"));
        put(&path, text(file, second).as_bytes(), u64::from(second));
    }
}

fn options() -> IngestOptions {
    let source = SourceOptions { text_unit: TextUnit::Line, ..SourceOptions::default() };
    IngestOptions { shard_bytes: 2_000, threads: 2, source, max_errors: MaxErrors::ALL, ..IngestOptions::default() }
}

/// Does the work on a disk, and says what it decoded.
type Verb<'a> = &'a dyn Fn(&Path, Option<Arc<FaultDisk>>) -> (Result<(), Error>, u64);

type Rows = BTreeMap<String, String>;

/// Rows with all that is known of them; none where there is no version.
fn contents(dataset: &Path) -> Rows {
    let Ok(opened) = Dataset::open(dataset) else { return Rows::new() };
    let rows = (0..opened.rows()).map(|at| {
        let (segment, row) = opened.index().locate(at);
        let split = opened.index().segments()[segment].shard(row.shard()).unwrap().1.split;
        let mut bytes = Vec::new();
        opened.fetch_checked(at, 0, &mut bytes).unwrap();
        let label = opened.schema().columns[1].feature.told(&row.value(1));
        (row.id().to_owned(), format!("{split} {label} {}", String::from_utf8(bytes).unwrap()))
    });
    rows.collect()
}

/// A folder as it was, in place of what a run left of it.
fn copy(from: &Path, to: &Path) {
    let _ = fs::remove_dir_all(to);
    if from.exists() {
        copy_folder(from, to);
    }
}

/// What kind of point it is: where the file lies.
fn class(path: &Path) -> &'static str {
    let text = path.to_string_lossy();
    let classes = [
        (".dsctl/journal", "journal"),
        (".dsctl/segments", "segment"),
        (".dsctl/changes", "changes"),
        (".dsctl/versions", "root"),
        (".dsctl/seen", "seen"),
        (".dsctl/sources", "sources"),
        (".dsctl/quarantine", "quarantine"),
        ("README.md", "card"),
        ("/data", "shard"),
    ];
    classes.iter().find(|(part, _)| text.contains(part)).map_or("folder", |(_, class)| class)
}

#[derive(Default)]
struct Line {
    kills: u64,
    old: u64,
    again: u64,
    most: u64,
}

struct Kills<'a> {
    name: &'a str,
    base: PathBuf,
    verb: Verb<'a>,
    old: Rows,
    new: Rows,
    /// Entries that an undisturbed run decodes.
    decodes: u64,
    dir: &'a Path,
}

impl Kills<'_> {
    /// Kills one run, and runs it again. `None`: it was not killed.
    fn one(&self, disk: FaultDisk) -> Option<(&'static str, bool, u64)> {
        let target = self.dir.join("killed");
        copy(&self.base, &target);
        let disk = Arc::new(disk);
        let (_, first) = (self.verb)(&target, Some(Arc::clone(&disk)));
        let (died, phase) = disk.died()?;
        let point = format!("{}: {died:?} {phase:?}", self.name);
        let left = contents(&target);
        assert!(left == self.old || left == self.new, "{point}: neither the old rows nor the new ones");
        let is_old = left == self.old;
        let (again, second) = (self.verb)(&target, None);
        again.unwrap_or_else(|e| panic!("{point}: {e}"));
        assert_eq!(contents(&target), self.new, "{point}");
        let again = (first + second).saturating_sub(self.decodes);
        assert!(again <= BOUND, "{point}: {again} of {} entries are decoded again", self.decodes);
        Some((class(&died.path), is_old, again))
    }

    fn table(&self, count: u64) -> BTreeMap<&'static str, Line> {
        let whole = self.dir.join("killed");
        copy(&self.base, &whole);
        let disk = Arc::new(FaultDisk::new(Kill::Never));
        (self.verb)(&whole, Some(Arc::clone(&disk))).0.unwrap();
        let seen = disk.seen();
        let written: u64 = seen.iter().filter(|s| s.op == Op::Write).map(|s| s.bytes as u64).sum();
        let mut lines = BTreeMap::<&'static str, Line>::new();
        for draw in 0..count {
            // Multiples of the golden ratio spread over the whole: over the bytes, and over the operations, so that small files come to their turn.
            let at = draw.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 11;
            let kill = match draw % 2 {
                0 => Kill::AtByte(at % written),
                _ => {
                    let op = (at % seen.len() as u64) as usize;
                    let phase = [Phase::Before, Phase::Inside, Phase::After][(at >> 20) as usize % 3];
                    Kill::AtOp { op, phase, bytes: seen[op].bytes / 2 }
                }
            };
            // Every third one loses what was not synced.
            let disk = if draw % 3 == 2 { FaultDisk::with_power_cut(kill) } else { FaultDisk::new(kill) };
            // Threads may order operations otherwise: a point may not come.
            let Some((class, is_old, again)) = self.one(disk) else { continue };
            for class in [class, if draw % 3 == 2 { "(unsynced writes lost)" } else { "(process killed)" }] {
                let line = lines.entry(class).or_default();
                line.kills += 1;
                line.old += u64::from(is_old);
                line.again += again;
                line.most = line.most.max(again);
            }
        }
        for part in 0..(count / 20).max(4) {
            let target = self.dir.join("killed");
            copy(&self.base, &target);
            let at = written * part / (count / 20).max(4);
            let (full, first) = (self.verb)(&target, Some(Arc::new(FaultDisk::new(Kill::FullAfter(at)))));
            let left = contents(&target);
            assert!(left == self.old || left == self.new && full.is_ok(), "{}: full after {at}", self.name);
            if let Err(error) = full {
                assert!(matches!(&error, Error::Io { source, .. } if source.raw_os_error() == Some(28)), "{error}");
            }
            let (again, second) = (self.verb)(&target, None);
            again.unwrap();
            assert_eq!(contents(&target), self.new, "{}: full after {at}", self.name);
            let again = (first + second).saturating_sub(self.decodes);
            assert!(again <= BOUND, "{}: full after {at}: {again} decoded again", self.name);
            let line = lines.entry("(disk full)").or_default();
            line.kills += 1;
            line.old += u64::from(left == self.old);
            line.again += again;
            line.most = line.most.max(again);
        }
        lines
    }
}

#[test]
fn every_verb_is_killed_and_run_again() {
    let count: u64 = std::env::var("FEEDSTOCK_KILLS").map_or(50, |count| count.parse().unwrap());
    let dir = tempfile::tempdir().unwrap();
    let (first, second, none, base) =
        (dir.path().join("1"), dir.path().join("2"), dir.path().join("0"), dir.path().join("d"));
    write(&first, false);
    ingest(&first, &base, &options(), &Control::default()).unwrap();
    let told = dir.path().join("told.csv");
    let names: Vec<String> = contents(&base).into_keys().collect();
    fs::write(&told, names.iter().step_by(9).fold("id,label\n".to_owned(), |all, id| all + id + ",b\n")).unwrap();
    let over = dir.path().join("over");
    copy(&base, &over);
    relabel(&Store::open(&over), &told, RelabelOptions::default(), &mut |_| Ok(())).unwrap();
    // The source that is followed is at the place of the one that was taken in.
    let taken = dir.path().join("s");
    write(&taken, false);
    let followed = dir.path().join("followed");
    ingest(&taken, &followed, &options(), &Control::default()).unwrap();
    write(&taken, true);
    write(&second, true);

    let taking = |source: &Path, follows: bool, dataset: &Path, disk: Option<Arc<FaultDisk>>| {
        let mut control = Control::default();
        if let Some(disk) = disk {
            control.disk = Some(disk);
        }
        let how = SyncOptions { max_removed: MaxErrors::ALL, ..SyncOptions::default() };
        let done = match follows {
            true => sync(source, dataset, &options(), &how, &control),
            false => ingest(source, dataset, &options(), &control),
        };
        (done.map(drop), control.decodes.load(Ordering::Relaxed))
    };
    let store = |dataset: &Path, disk: Option<Arc<FaultDisk>>| match disk {
        Some(disk) => Store::with_disk(dataset, disk as Arc<dyn Disk>),
        None => Store::open(dataset),
    };
    let halves = || Fractions::new(vec![("a".into(), 0.5), ("b".into(), 0.5)]).unwrap();
    let verbs: [(&str, &Path, Verb<'_>); 6] = [
        ("ingest", &none, &|dataset, disk| taking(&first, false, dataset, disk)),
        ("ingest --sync", &followed, &|dataset, disk| taking(&taken, true, dataset, disk)),
        ("relabel", &base, &|dataset, disk| {
            (relabel(&store(dataset, disk), &told, RelabelOptions::default(), &mut |_| Ok(())).map(drop), 0)
        }),
        ("split", &base, &|dataset, disk| {
            let by = SplitBy::Row;
            let options = SplitOptions { fractions: halves(), by, seed: 3, only: Vec::new(), dry_run: false };
            (split(&store(dataset, disk), &options).map(drop), 0)
        }),
        ("rm", &over, &|dataset, disk| {
            let ids = names.iter().step_by(11).cloned().collect();
            let options = RemoveOptions { ids, skip_unknown: true, ..RemoveOptions::default() };
            (remove(&store(dataset, disk), &options, &mut |_| Ok(())).map(drop), 0)
        }),
        ("compact", &over, &|dataset, disk| {
            let options = CompactOptions { materialise: true, ..CompactOptions::default() };
            (compact(&store(dataset, disk), &options).map(drop), 0)
        }),
    ];
    for (name, base, verb) in verbs {
        let whole = dir.path().join("whole");
        copy(base, &whole);
        let (done, decodes) = verb(&whole, None);
        done.unwrap();
        let (old, new) = (contents(base), contents(&whole));
        let kills = Kills { name, base: base.to_owned(), verb, old, new, decodes, dir: dir.path() };
        for (class, Line { kills, old, again, most }) in kills.table(count) {
            let mean = again as f64 / kills as f64;
            let bound = if decodes > 0 { BOUND.to_string() } else { "0".into() };
            println!(
                "| `{name}` | {class} | {kills} | {old} | {} | {kills} | {mean:.1} | {most} | {bound} |",
                kills - old
            );
        }
        let findings = feedstock::verify::verify(&whole, true).unwrap().findings;
        assert!(findings.is_empty(), "{name}: {findings:?}");
    }
}

/// Each operation of an ingest fails once: it is told whether the version is there, and the same ingest again leaves it there.
#[test]
fn a_disk_that_refuses_once_is_told_with_what_it_left() {
    let dir = tempfile::tempdir().unwrap();
    let (source, whole) = (dir.path().join("s"), dir.path().join("whole"));
    for n in 0..3 {
        let path = source.join(["a", "b"][n % 2]).join(format!("{n}.txt"));
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, format!("text {n}\n")).unwrap();
    }
    let take = |dataset: &Path, disk: Option<Arc<FaultDisk>>| {
        let mut control = Control::default();
        if let Some(disk) = disk {
            control.disk = Some(disk);
        }
        ingest(&source, dataset, &options(), &control)
    };
    let disk = Arc::new(FaultDisk::new(Kill::Never));
    take(&whole, Some(Arc::clone(&disk))).unwrap();
    let new = contents(&whole);
    let mut undurable = 0;
    for op in 0..disk.seen().len() {
        let target = dir.path().join(op.to_string());
        let done = take(&target, Some(Arc::new(FaultDisk::new(Kill::Refuse(op)))));
        let left = contents(&target);
        match &done {
            Err(error @ Error::Undurable { .. }) => {
                assert!(left == new && error.exit_code() == 1, "operation {op}: {error}");
                assert!(error.to_string().contains("it is committed"), "{error}");
                undurable += 1;
            }
            // What comes behind the commit and is an error all the same: the quarantine, and the journal that is taken away.
            Err(_) => assert!(left.is_empty() || left == new, "operation {op}"),
            Ok(summary) => assert!(left == new && summary.version == 1, "operation {op}"),
        }
        assert_eq!(take(&target, None).unwrap().version, 1, "operation {op}");
        assert_eq!(contents(&target), new, "operation {op}");
    }
    assert_eq!(undurable, 1);
}
