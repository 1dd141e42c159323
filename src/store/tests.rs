use super::commit::{self, commit, put_segment};
use super::fault::{Class, FaultDisk, Kill, Op, Phase};
use super::*;
use crate::data::index::SegmentBuilder;
use crate::data::manifest::Manifest;
use crate::dataset::Dataset;
use crate::shard::tests::schema;
use crate::shard::{FinishedShard, ShardOptions};

fn segment(shards: &[FinishedShard]) -> Vec<u8> {
    let mut builder = SegmentBuilder::new(&schema());
    for shard in shards {
        for (id, cells) in &shard.rows {
            builder.push(id, cells).unwrap();
        }
        builder.end_shard(&shard.shard.split, shard.shard.bytes, shard.sha256);
    }
    builder.finish().unwrap().to_vec()
}

fn empty() -> Manifest {
    Manifest {
        format_version: 0,
        version: 0,
        parent: None,
        schema: schema(),
        segments: Vec::new(),
        splits: Default::default(),
    }
}

/// A whole small commit, as ingest does it: journal, shards, segment, root, card. Rows are named by `batch`.
pub(crate) fn append_rows(store: &Store, batch: u64) -> Result<commit::Root> {
    store.append(".dsctl/journal/test.jsonl", &[format!("{{\"batch\":{batch}}}\n").as_bytes()])?;
    let mut shards = Vec::new();
    for (split, rows) in [("train", 0..3), ("test", 3..4)] {
        let mut writer = crate::shard::ShardWriter::create(store, &schema(), split, &ShardOptions::default())?;
        for i in rows {
            writer.push(crate::shard::tests::row(batch * 100 + i))?;
        }
        shards.push(writer.finish()?);
    }
    let entry = put_segment(store, &[&segment(&shards)], 4)?;
    let root = commit(store, 20, |parent| {
        let mut manifest = parent.map_or_else(empty, |p| p.manifest.clone());
        if !manifest.segments.contains(&entry) {
            manifest.segments.push(entry.clone());
            *manifest.splits.entry("train".into()).or_insert(0) += 3;
            *manifest.splits.entry("test".into()).or_insert(0) += 1;
        }
        Ok(manifest)
    })?;
    card::write(store)?;
    Ok(root)
}

fn rows_whole(path: &Path) -> u64 {
    let dataset = Dataset::open(path).unwrap();
    let mut out = Vec::new();
    for row in 0..dataset.rows() {
        for column in 0..dataset.schema().columns.len() {
            dataset.fetch_checked(row, column, &mut out).unwrap();
        }
    }
    assert_eq!(dataset.splits().values().sum::<u64>(), dataset.rows());
    dataset.rows()
}

#[test]
fn whole_files_come_and_go() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path().join("new/set"));
    assert_eq!(store.list("").unwrap(), Vec::<String>::new());
    store.put("a/b/c.txt", b"one").unwrap();
    store.put("a/b/c.txt", b"two").unwrap();
    assert_eq!(store.read("a/b/c.txt").unwrap(), b"two");
    assert!(store.create_new("a/x", b"first").unwrap());
    assert!(!store.create_new("a/x", b"second").unwrap());
    assert_eq!((store.read("a/x").unwrap(), store.read_if_there("a/y").unwrap()), (b"first".to_vec(), None));
    store.append("j/log", &[b"1\n"]).unwrap();
    store.append("j/log", &[b"2", b"", b"\n"]).unwrap();
    assert_eq!(store.read("j/log").unwrap(), b"1\n2\n");
    let mut staged = store.stage("a").unwrap();
    staged.write_all(b"late").unwrap();
    assert_eq!(store.list("a").unwrap(), ["b", "x"]);
    assert_eq!(store.clean_temporaries().unwrap(), 0, "a live temporary is not a leftover");
    staged.publish("a/late").unwrap();
    drop(store.stage("a").unwrap());
    assert_eq!(store.list("a").unwrap(), ["b", "late", "x"]);
    store.remove("a/x").unwrap();
    store.remove("a/x").unwrap();
    assert!(!store.exists("a/x").unwrap());
    for bad in ["", "/etc/x", "../x", "a/../../x", "a//b", "a\\b", "a\0", ".", "a/./b"] {
        assert!(matches!(store.put(bad, b""), Err(Error::Config { .. })), "{bad:?}");
    }
    let hidden = dir.path().join("new/set/data/train");
    std::fs::create_dir_all(&hidden).unwrap();
    std::fs::write(hidden.join(".stage.4194999-7.tmp"), b"left").unwrap();
    std::fs::write(hidden.join(".keep.tmp"), b"not ours").unwrap();
    assert_eq!(store.clean_temporaries().unwrap(), 1);
    assert!(hidden.join(".keep.tmp").exists());
}

/// A disk on which another process removes every file a moment before this one does.
#[derive(Debug)]
struct Late(LocalDisk);

impl Disk for Late {
    fn make_dir(&self, path: &Path) -> io::Result<()> {
        self.0.make_dir(path)
    }
    fn create(&self, path: &Path) -> io::Result<File> {
        self.0.create(path)
    }
    fn write(&self, file: &mut File, path: &Path, bytes: &[u8]) -> io::Result<()> {
        self.0.write(file, path, bytes)
    }
    fn sync(&self, file: &File, path: &Path) -> io::Result<()> {
        self.0.sync(file, path)
    }
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.0.rename(from, to)
    }
    fn link(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.0.link(from, to)
    }
    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        self.0.sync_dir(path)
    }
    fn open_append(&self, path: &Path) -> io::Result<File> {
        self.0.open_append(path)
    }
    fn remove(&self, path: &Path) -> io::Result<()> {
        self.0.remove(path)?;
        self.0.remove(path)
    }
    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        self.0.read(path)
    }
    fn list(&self, path: &Path) -> io::Result<Vec<String>> {
        self.0.list(path)
    }
}

#[test]
fn a_temporary_that_another_process_removes_first_is_no_error() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir(dir.path().join("data")).unwrap();
    let left = dir.path().join("data/.stage.4194999-7.tmp");
    std::fs::write(&left, b"left").unwrap();
    let store = Store::with_disk(dir.path(), Arc::new(Late(LocalDisk)));
    assert_eq!(store.clean_temporaries().unwrap(), 0);
    assert!(!left.exists());
}

#[test]
fn versions_follow_one_another() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path());
    assert_eq!(commit::latest(&store).unwrap(), None);
    let first = append_rows(&store, 0).unwrap();
    let second = append_rows(&store, 1).unwrap();
    assert_eq!((first.manifest.version, second.manifest.version), (1, 2));
    assert_eq!(second.manifest.parent.as_ref(), Some(&first.sha256));
    assert_eq!(commit::versions(&store).unwrap(), [1, 2]);
    assert_eq!(commit::load(&store, 1).unwrap(), first);
    assert_eq!(commit::latest(&store).unwrap(), Some(second));
    assert_eq!(Dataset::open_version(dir.path(), 1).unwrap().rows(), 4);
    assert_eq!(rows_whole(dir.path()), 8);
    assert!(matches!(commit::load(&store, 3), Err(Error::Config { .. })));

    let mut newer = serde_json::to_value(&first.manifest).unwrap();
    newer["format_version"] = 99.into();
    newer["new_field"] = 1.into();
    store.put(&commit::version_path(3), newer.to_string().as_bytes()).unwrap();
    let error = Dataset::open(dir.path()).unwrap_err();
    assert!(
        matches!(error, Error::FormatVersion { found: 99, supported: crate::data::manifest::FORMAT_VERSION, .. }),
        "{error}"
    );
    for broken in ["", "{", "[]", "{\"format_version\":1}", "{\"format_version\":\"1\"}"] {
        store.put(&commit::version_path(3), broken.as_bytes()).unwrap();
        let error = Dataset::open(dir.path()).unwrap_err();
        assert!(matches!(error, Error::Damaged { .. }) && error.to_string().contains("versions before"), "{error}");
    }
    assert_eq!(Dataset::open_version(dir.path(), 2).unwrap().rows(), 8);
}

/// Dies before, inside and after every operation of a second commit: the reader sees version 1 or 2 whole, and the same
/// commit run again succeeds.
fn torture(disk: impl Fn(Kill) -> FaultDisk) -> BTreeSet<(Class, Phase)> {
    let base = tempfile::tempdir().unwrap();
    append_rows(&Store::open(base.path()), 0).unwrap();
    let copy = || {
        let dir = tempfile::tempdir().unwrap();
        for entry in walkdir::WalkDir::new(base.path()).min_depth(1) {
            let entry = entry.unwrap();
            let to = dir.path().join(entry.path().strip_prefix(base.path()).unwrap());
            if entry.file_type().is_dir() {
                std::fs::create_dir(to).unwrap();
            } else {
                std::fs::copy(entry.path(), to).unwrap();
            }
        }
        dir
    };
    let mut hit = BTreeSet::new();
    let mut run = |kill: Kill| {
        let dir = copy();
        let disk = Arc::new(disk(kill));
        let answer = append_rows(&Store::with_disk(dir.path(), disk.clone()), 1);
        let Some((seen, phase)) = disk.died() else {
            answer.unwrap();
            return disk.seen();
        };
        hit.extend(Class::of(seen.op, &seen.path).into_iter().map(|class| (class, phase)));
        let rows = rows_whole(dir.path());
        assert!(rows == 4 || rows == 8, "{rows} rows after dying at {kill:?}, {seen:?}");
        assert!(answer.is_err(), "a commit succeeded on a dead disk: {kill:?}, {seen:?}");
        let store = Store::open(dir.path());
        append_rows(&store, 1).unwrap();
        assert_eq!(rows_whole(dir.path()), 8, "after the rerun of {kill:?}, {seen:?}");
        store.clean_temporaries().unwrap();
        let left = walkdir::WalkDir::new(dir.path()).into_iter().filter_map(Result::ok);
        let left: Vec<_> = left.filter(|e| e.file_name().to_str().is_some_and(|n| n.ends_with(".tmp"))).collect();
        assert!(left.is_empty(), "{left:?}");
        disk.seen()
    };
    let all = run(Kill::Never);
    assert!(all.len() > 20, "only {} operations", all.len());
    for (op, seen) in all.iter().enumerate() {
        for phase in [Phase::Before, Phase::After] {
            run(Kill::AtOp { op, phase, bytes: 0 });
        }
        let bytes = seen.bytes;
        let parts = if seen.op == Op::Write { vec![0, 1, bytes / 2, bytes.saturating_sub(1)] } else { vec![0] };
        for bytes in parts {
            run(Kill::AtOp { op, phase: Phase::Inside, bytes });
        }
    }
    let total: u64 = all.iter().map(|s| s.bytes as u64).sum();
    for at in (0..total).step_by(usize::try_from(total / 40).unwrap()) {
        run(Kill::AtByte(at));
    }
    hit
}

fn every_class(hit: &BTreeSet<(Class, Phase)>) {
    use Class::*;
    for class in [TempWrite, Fsync, Rename, Journal, Shard, Segment, Root, Card] {
        for phase in [Phase::Before, Phase::Inside, Phase::After] {
            assert!(hit.contains(&(class, phase)), "no kill {phase:?} {class:?}");
        }
    }
}

#[test]
fn a_killed_commit_leaves_a_whole_version() {
    every_class(&torture(FaultDisk::new));
}

#[test]
fn a_power_cut_leaves_a_whole_version() {
    every_class(&torture(FaultDisk::with_power_cut));
}

#[test]
fn contending_writers_lose_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let writers: Vec<_> = (0..2u64)
        .map(|writer| {
            let store = Store::open(dir.path());
            let (send, done) = std::sync::mpsc::channel();
            let body = move || {
                let answers: Vec<_> = (0..15).map(|i| append_rows(&store, writer * 1_000 + i).map(|_| ())).collect();
                send.send(answers).unwrap();
            };
            (crate::parallel::spawn(format!("writer-{writer}"), body).unwrap(), done)
        })
        .collect();
    for (thread, done) in writers {
        thread.join().unwrap();
        done.recv().unwrap().into_iter().for_each(|answer| answer.unwrap());
    }
    let store = Store::open(dir.path());
    assert_eq!(commit::versions(&store).unwrap(), (1..=30).collect::<Vec<_>>());
    assert_eq!(rows_whole(dir.path()), 30 * 4);
    assert!(crate::verify::verify(dir.path(), true).unwrap().findings.is_empty());
}

#[cfg(target_os = "linux")]
#[test]
fn temporaries_of_a_process_that_nobody_waited_for_are_removed() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path());
    let mut child = std::process::Command::new("sleep").arg("60").spawn().unwrap();
    let at = dir.path().join(format!("data/.shard.{}-0.tmp", child.id()));
    std::fs::create_dir_all(dir.path().join("data")).unwrap();
    std::fs::write(&at, b"half").unwrap();
    assert_eq!(store.clean_temporaries().unwrap(), 0, "it runs");
    child.kill().unwrap();
    let gone = (0..5_000).any(|_| {
        std::thread::sleep(std::time::Duration::from_millis(1));
        store.clean_temporaries().unwrap() == 1
    });
    assert!(gone && !at.exists());
    child.wait().unwrap();
}

#[test]
fn a_lost_race_is_told_after_the_last_try() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path());
    let mut calls = 0;
    let answer = commit(&store, 3, |_| {
        calls += 1;
        let other = commit::root_bytes(&Manifest { format_version: 1, version: calls, ..empty() })?;
        assert!(store.create_new(&commit::version_path(calls), &other)?);
        Ok(empty())
    });
    assert!(matches!(answer, Err(Error::Conflict { version: 3, tries: 3, .. })), "{answer:?}");
    assert_eq!(calls, 3);
}

/// Whatever one operation of a commit fails: the caller is told whether the version is there.
#[test]
fn an_error_says_whether_the_version_is_committed() {
    let whole = tempfile::tempdir().unwrap();
    let disk = Arc::new(FaultDisk::new(Kill::Never));
    append_rows(&Store::with_disk(whole.path(), disk.clone()), 0).unwrap();
    let (mut undurable, mut failed) = (0, 0);
    // Behind the root comes its folder, and then the card.
    let root = disk.seen().iter().position(|seen| seen.op == Op::Link).unwrap();
    for op in 0..disk.seen().len() {
        let dir = tempfile::tempdir().unwrap();
        let refusing = Arc::new(FaultDisk::new(Kill::Refuse(op)));
        let done = append_rows(&Store::with_disk(dir.path(), refusing), 0);
        let committed = commit::versions(&Store::open(dir.path())).unwrap();
        match done {
            Err(Error::Undurable { path, source }) => {
                assert_eq!((committed, source.raw_os_error(), op), (vec![1], Some(libc::EIO), root + 1));
                assert!(path.ends_with(commit::version_path(1)), "{path:?}");
                undurable += 1;
            }
            Err(error) => {
                assert_eq!(committed.is_empty(), op <= root, "operation {op}: {error}");
                failed += 1;
            }
            Ok(_) => assert_eq!(committed, [1], "operation {op}"),
        }
    }
    assert!(undurable == 1 && failed > 5, "{undurable} {failed}");
}

#[test]
fn a_full_disk_is_named_and_leaves_no_temporary() {
    let whole = tempfile::tempdir().unwrap();
    let disk = Arc::new(FaultDisk::new(Kill::Never));
    append_rows(&Store::with_disk(whole.path(), disk.clone()), 0).unwrap();
    let total: u64 = disk.seen().iter().map(|s| s.bytes as u64).sum();
    for limit in (0..total).step_by(usize::try_from(total / 50).unwrap()) {
        let dir = tempfile::tempdir().unwrap();
        let disk = Arc::new(FaultDisk::new(Kill::FullAfter(limit)));
        let error = append_rows(&Store::with_disk(dir.path(), disk), 0).unwrap_err();
        let Error::Io { path, source, .. } = &error else { panic!("full after {limit}: {error}") };
        assert!(path.starts_with(dir.path()) && source.raw_os_error() == Some(libc::ENOSPC), "{error}");
        for entry in walkdir::WalkDir::new(dir.path()) {
            assert!(!entry.unwrap().file_name().to_str().unwrap().ends_with(".tmp"), "full after {limit}");
        }
    }
}

#[test]
fn a_read_only_target_is_named() {
    use std::os::unix::fs::PermissionsExt;
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("set");
    std::fs::create_dir(&root).unwrap();
    std::fs::set_permissions(&root, std::fs::Permissions::from_mode(0o555)).unwrap();
    // The superuser writes everywhere: there the system's own read-only folder stands in.
    let root = if std::fs::write(root.join("probe"), b"").is_ok() { PathBuf::from("/proc/feedstock") } else { root };
    let error = append_rows(&Store::open(&root), 0).unwrap_err();
    assert!(matches!(&error, Error::Io { path, .. } if path.starts_with(&root)), "{error}");
    assert!(write_fails(&root));
}

fn write_fails(root: &Path) -> bool {
    let store = Store::open(root);
    crate::shard::ShardWriter::create(&store, &schema(), "train", &ShardOptions::default()).is_err()
}

/// Writes a dataset for other readers: `FEEDSTOCK_OUT=dir cargo test -- --ignored for_other_readers`.
#[test]
#[ignore = "writes where it is told"]
fn for_other_readers() {
    use crate::data::feature::{Feature, Schema};
    use crate::data::info::{Format, Info};
    use crate::shard::{ShardCell, ShardRow, ShardWriter};
    let dir = std::env::var("FEEDSTOCK_OUT").unwrap();
    let [png, wav, mp4] = ["PNG", "WAV", "MP4"].map(|name| std::fs::read(std::env::var(name).unwrap()).unwrap());
    let schema = Schema::new([
        ("image", Feature::Image),
        ("audio", Feature::Audio),
        ("video", Feature::Video),
        ("caption", Feature::Text),
        ("label", Feature::ClassLabel { names: vec!["cat".into(), "dög: \"x\" # no\u{85}".into(), "- 7".into()] }),
        ("none", Feature::ClassLabel { names: Vec::new() }),
        ("count", Feature::Int),
        ("score", Feature::Float),
        ("good", Feature::Bool),
    ]);
    let store = Store::open(dir);
    let mut shards = Vec::new();
    for (split, rows) in [("train", 0..300), ("hold_out", 300..310)] {
        let mut writer = ShardWriter::create(&store, &schema, split, &ShardOptions::default()).unwrap();
        for i in rows {
            let some = |cell: ShardCell, keep: bool| if keep { cell } else { ShardCell::Null };
            let text = format!("row {i}").into_bytes();
            let cells = vec![
                some(ShardCell::media(png.clone(), "a.png", Info::of(Format::Png)), i % 5 != 3),
                some(ShardCell::media(wav.clone(), "b.wav", Info::of(Format::Wav)), i % 5 != 2),
                some(ShardCell::media(mp4.clone(), "c.mp4", Info::of(Format::Mp4)), i % 5 == 2),
                some(ShardCell::media(text, "", Info::of(Format::Utf8)), i % 7 != 0),
                some(ShardCell::Int(i % 3), i % 4 != 0),
                ShardCell::Null,
                ShardCell::Int(i),
                ShardCell::Float(i as f64 / 3.0),
                ShardCell::Bool(i % 2 == 0),
            ];
            writer.push(ShardRow { id: format!("d/{i}.png"), cells }).unwrap();
        }
        shards.push(writer.finish().unwrap());
    }
    let mut builder = SegmentBuilder::new(&schema);
    for shard in &shards {
        shard.rows.iter().for_each(|(id, cells)| builder.push(id, cells).unwrap());
        builder.end_shard(&shard.shard.split, shard.shard.bytes, shard.sha256);
    }
    let entry = put_segment(&store, &builder.finish().unwrap().parts(), 310).unwrap();
    let splits = [("train".to_owned(), 300), ("hold_out".to_owned(), 10)].into_iter().collect();
    commit(&store, 1, |_| {
        Ok(Manifest { schema: schema.clone(), segments: vec![entry.clone()], splits: Clone::clone(&splits), ..empty() })
    })
    .unwrap();
    card::write(&store).unwrap();
}
