//! Readers of our own files: what a dataset from elsewhere may hold in their place.

use std::cell::RefCell;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use feedstock::data::changes::Changes;
use feedstock::data::feature::{Feature, Schema};
use feedstock::data::index::{Row, Segment};
use feedstock::data::label::Objects;
use feedstock::data::objects::{Attribute, AttributeKind, BoxFormat, ObjectsType};
use feedstock::dataset::Dataset;
use feedstock::ingest::{Control, IngestOptions, MaxErrors, doors, ingest};
use feedstock::quarantine::Run;
use feedstock::revise::{RelabelOptions, relabel};
use feedstock::shard::{read_finished, read_ids, read_rows};
use feedstock::spool::Spooled;
use feedstock::store::commit::{sha256_hex, version_path};
use feedstock::store::fault::{Class, FaultDisk, Kill, Phase};
use feedstock::store::{Disk, Store, commit};
use tempfile::TempDir;

use crate::{Target, files, fixtures, lay};

/// A hundred times the largest input, and what Parquet's reader keeps.
const MOST: usize = 64 << 20;

/// One target for each kind of file.
pub(crate) fn targets() -> Vec<Target> {
    vec![
        Target::new("index", MOST, index, |_| all_of("idx")),
        Target::new("changes", MOST, changes, |_| made(".chg")),
        Target::new("objects", MOST, objects, |_| packed_objects()),
        Target::new("root", MOST, within(root), |_| all_of("json")),
        Target::new("dataset-index", MOST, within(dataset_index), |_| all_of("idx")),
        Target::new("shard", MOST, within(shard), |_| all_of("parquet")),
        Target::new("parquet-folder", MOST, within(parquet_folder), |_| parquet_of_others()),
        Target::new("quarantine", MOST, within(quarantine), |_| made("quarantine.parquet")),
        Target::new("quarantine-list", MOST, within(quarantine_list), |_| made("quarantine.jsonl")),
        Target::new("journal", MOST, doors::journal, |_| made(".journal")),
        Target::new("seen", MOST, doors::seen, |_| made(".seen")),
        Target::new("claims", MOST, doors::claims, |_| made(".rows")),
        Target::new("isolated", MOST, doors::answers, |_| doors::some_answers()),
    ]
}

/// A folder in memory, if the system has such.
pub(crate) fn folder() -> TempDir {
    let memory = Path::new("/dev/shm");
    let made = if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() };
    made.expect("a temporary folder")
}

/// Gives a run a folder that stays from one input to the next.
fn within(run: fn(&Frozen, &[u8])) -> impl Fn(&[u8]) {
    thread_local! {
        static FROZEN: RefCell<Option<Frozen>> = const { RefCell::new(None) };
    }
    move |data| FROZEN.with_borrow_mut(|frozen| run(frozen.get_or_insert_with(Frozen::copy), data))
}

/// A copy of the dataset of `fixtures/frozen/v1`, one file of which is replaced.
pub(crate) struct Frozen {
    pub(crate) root: PathBuf,
    schema: Schema,
    _folder: TempDir,
}

const VERSION: u64 = 2;

impl Frozen {
    pub(crate) fn copy() -> Self {
        let folder = folder();
        lay("frozen/v1/dataset", folder.path(), 1 << 20);
        let root = folder.path().to_owned();
        let schema = commit::load(&Store::open(&root), VERSION).expect("a version").manifest.schema;
        Frozen { root, schema, _folder: folder }
    }

    pub(crate) fn put(&self, rel: &str, bytes: &[u8]) -> PathBuf {
        let path = self.root.join(rel);
        std::fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
        std::fs::write(&path, bytes).expect("a file in memory");
        path
    }
}

/// Asks a row for all it has.
fn ask(row: &Row<'_>, schema: Option<&Schema>, columns: usize) {
    let _ = (row.id(), row.key(), row.shard(), row.row_in_shard());
    for column in 0..columns {
        let _ = (row.value(column), row.cell(column), row.payload(column), row.table(column), row.original(column));
        if let Some(Feature::Objects(of)) = schema.map(|schema| &schema.columns[column].feature) {
            let _ = row.objects(column, of);
        }
    }
}

fn index(data: &[u8]) {
    let Ok(segment) = Segment::from_bytes(data.to_vec()) else { return };
    let header = segment.header();
    for row in 0..header.rows.min(1000) {
        let row = segment.row(row);
        ask(&row, None, header.columns.len());
        let _ = (segment.shard(row.shard()), segment.folder(row.shard()));
    }
    for shard in 0..header.shards.min(1000) {
        let _ = segment.shard(usize::try_from(shard).expect("a thousand"));
    }
}

fn changes(data: &[u8]) {
    let features = [("label", Feature::ClassLabel { names: vec!["a".into(), "b".into()] }), ("n", Feature::Int)];
    let schema = Schema::new(features);
    let Ok(changes) = Changes::read(Spooled::Owned(data.to_vec()), &schema, Path::new("fuzz.chg")) else { return };
    if changes.check().is_err() {
        return;
    }
    for change in changes.iter() {
        let _ = (change.split(), change.cells().count());
        let found = changes.find(change.key()).expect("what is in the list is found");
        assert_eq!(found.key(), change.key());
    }
}

fn objects_type() -> ObjectsType {
    let mut of = ObjectsType::new(BoxFormat::Xywh);
    of.names = vec!["cat".into(), "dog".into()];
    let kinds = [("n", AttributeKind::Int), ("score", AttributeKind::Float), ("who", AttributeKind::Text)];
    of.attributes = kinds.map(|(name, kind)| Attribute::new(name, kind)).into();
    of
}

fn objects(data: &[u8]) {
    let of = objects_type();
    let _ = Objects::count(data);
    let Ok(objects) = Objects::unpack(data, &of) else { return };
    let _ = (of.json(&objects), objects.xyxy(of.boxes, 640, 480).count());
    if objects.fit(&of).is_ok() {
        let again = Objects::unpack(&objects.pack(), &of).expect("what was packed");
        assert_eq!(again.len(), objects.len());
        assert_eq!(again.pack(), objects.pack(), "packing is not the same again");
    }
}

fn packed_objects() -> Vec<Vec<u8>> {
    let none = Objects::default();
    vec![none.pack()]
}

/// Opens the dataset and reads all of it.
fn read(frozen: &Frozen) {
    let Ok(dataset) = Dataset::open_version(&frozen.root, VERSION) else { return };
    let mut bytes = Vec::new();
    for number in 0..dataset.rows().min(200) {
        let (_, row) = dataset.index().locate(number);
        let columns = dataset.schema().columns.len();
        ask(&row, Some(dataset.schema()), columns);
        for column in 0..columns {
            let _ = (dataset.fetch_checked(number, column, &mut bytes), dataset.lies(number, column));
            bytes.clear();
        }
    }
}

fn root(frozen: &Frozen, data: &[u8]) {
    frozen.put(&version_path(VERSION), data);
    read(frozen);
}

/// An Index that its version's root names, as someone who means harm writes both.
fn dataset_index(frozen: &Frozen, data: &[u8]) {
    let sha256 = sha256_hex(data);
    let rel = format!(".dsctl/segments/{}.idx", &sha256[..16]);
    let path = frozen.put(&rel, data);
    let rows = Segment::from_bytes(data.to_vec()).map_or(0, |segment| segment.header().rows);
    let manifest = serde_json::json!({
        "format_version": 2, "version": VERSION, "parent": null, "schema": frozen.schema,
        "segments": [{"path": rel, "sha256": sha256, "rows": rows, "bytes": data.len()}],
        "splits": {"train": rows},
    });
    frozen.put(&version_path(VERSION), manifest.to_string().as_bytes());
    read(frozen);
    let _ = std::fs::remove_file(path);
}

fn shard(frozen: &Frozen, data: &[u8]) {
    let path = frozen.put("data/train/fuzz.parquet", data);
    let _ = read_ids(&path, &mut |_| Ok(()));
    let _ = read_rows(&path, &frozen.schema, &mut |_| Ok(()));
    let _ = read_finished(&path, &frozen.schema);
}

fn parquet_folder(frozen: &Frozen, data: &[u8]) {
    let path = frozen.put("foreign/data/train-00000-of-00001.parquet", data);
    let Ok(dataset) = feedstock::open(path.parent().expect("a folder")) else { return };
    let mut bytes = Vec::new();
    for number in 0..dataset.rows().min(100) {
        for column in 0..dataset.schema().columns.len() {
            let _ = dataset.fetch_checked(number, column, &mut bytes);
        }
    }
}

/// Goes through a run and what it keeps.
fn go_through(frozen: &Frozen) {
    let Ok(run) = Run::open(&frozen.root, "fuzz") else { return };
    let mut count = 0;
    let _ = run.each(&mut |_, _| {
        count += 1;
        Ok(())
    });
    for at in 0..count.min(20) {
        let _ = run.original(at);
    }
}

fn quarantine(frozen: &Frozen, data: &[u8]) {
    let path = frozen.put(".dsctl/quarantine/fuzz.parquet", data);
    go_through(frozen);
    let _ = std::fs::remove_file(path);
}

fn quarantine_list(frozen: &Frozen, data: &[u8]) {
    let path = frozen.put(".dsctl/quarantine/fuzz.jsonl", data);
    go_through(frozen);
    let _ = std::fs::remove_file(path);
}

/// Files of a dataset that is made here, with refusals, another split and a journal, by how they end.
fn made(end: &str) -> Vec<Vec<u8>> {
    let folder = folder();
    let (source, root) = (folder.path().join("source"), folder.path().join("made"));
    for (path, bytes) in [("pos/a.txt", b"one\ntwo\n".as_slice()), ("neg/b.txt", b"three\nnot \xff UTF-8\n")] {
        std::fs::create_dir_all(source.join(path).parent().expect("a folder")).expect("a folder");
        std::fs::write(source.join(path), bytes).expect("a file in memory");
        // What changed just now leaves no record.
        let file = std::fs::File::options().append(true).open(source.join(path)).expect("a file in memory");
        file.set_modified(std::time::SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(1_000_000_000))
            .expect("a time");
    }
    let options = IngestOptions { max_errors: MaxErrors::ALL, ..IngestOptions::default() };
    // Killed before it commits, it leaves its journal.
    let with = |disk: &Arc<FaultDisk>, to: &Path| {
        let disk: Arc<dyn Disk> = disk.clone();
        ingest(&source, to, &options, &Control { disk: Some(disk), ..Control::default() })
    };
    let whole = Arc::new(FaultDisk::new(Kill::Never));
    with(&whole, &folder.path().join("whole")).expect("an ingest");
    let op =
        whole.seen().iter().position(|seen| Class::of(seen.op, &seen.path).contains(&Class::Root)).expect("a commit");
    let _ = with(&Arc::new(FaultDisk::new(Kill::AtOp { op, phase: Phase::Before, bytes: 0 })), &root);
    let mut all = files(&root, 1 << 20);
    all.iter_mut().for_each(|(path, _)| {
        if path.parent().is_some_and(|folder| folder.ends_with(".dsctl/journal")) {
            path.set_extension("journal");
        }
    });
    ingest(&source, &root, &options, &Control::default()).expect("an ingest");
    let told = folder.path().join("told.csv");
    std::fs::write(&told, "id,label\npos/a.txt#1,neg\n").expect("a file in memory");
    relabel(&Store::open(&root), &told, RelabelOptions::default(), &mut |_| Ok(())).expect("another label");
    all.extend(files(&root, 1 << 20));
    // The ingest that went on remembers nothing of what was looked at before.
    all.extend(files(&folder.path().join("whole"), 1 << 20));
    all.iter_mut().for_each(|(path, _)| {
        if path.parent().is_some_and(|folder| folder.ends_with(".dsctl/quarantine")) {
            let extension = path.extension().unwrap_or_default().to_string_lossy().into_owned();
            *path = path.with_extension(format!("quarantine.{extension}"));
        }
    });
    all.into_iter().filter(|(path, _)| path.to_string_lossy().ends_with(end)).map(|(_, bytes)| bytes).collect()
}

/// The files of the frozen datasets that end so.
fn all_of(extension: &str) -> Vec<Vec<u8>> {
    let all = files(&fixtures().join("frozen"), 64 << 10).into_iter();
    all.filter(|(path, _)| {
        path.extension().is_some_and(|e| e == extension) && path.to_string_lossy().contains("dataset")
    })
    .map(|(_, bytes)| bytes)
    .collect()
}

fn parquet_of_others() -> Vec<Vec<u8>> {
    let all = files(&fixtures().join("foreign_hf"), 64 << 10).into_iter();
    let parquet = all.filter(|(path, _)| path.extension().is_some_and(|e| e == "parquet"));
    parquet.map(|(_, bytes)| bytes).chain(all_of("parquet")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reader_has_seeds_that_are_read() {
        for target in targets() {
            let seeds = (target.seeds)(&target.name);
            assert!(!seeds.is_empty(), "{} begins with nothing", target.name);
            seeds.iter().for_each(|seed| (target.run)(seed));
        }
    }
}
