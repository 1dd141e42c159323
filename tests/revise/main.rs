//! New versions out of old ones, against a plain map of what the rows are: relabelled, split, taken out, compacted, in any order.

#[path = "../common/mod.rs"]
mod common;
mod damaged;
mod duplicates;
mod faults;
mod laws;
mod loaded;
mod merged;
mod splits;
mod writers;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use feedstock::data::feature::{Feature, Schema};
use feedstock::data::label::Value;
use feedstock::data::partition::Fractions;
use feedstock::data::record::{Cell, Record};
use feedstock::dataset::Dataset;
use feedstock::ingest::{DatasetWriter, IngestOptions};
use feedstock::revise::{Problem, Relabel, RelabelOptions, SplitBy, SplitOptions, relabel, split};
use feedstock::store::Store;
use feedstock::verify::{rebuild_index, verify};
use feedstock::{Error, Result};

/// What a row is.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Plain {
    pub(crate) split: String,
    pub(crate) text: String,
    pub(crate) label: Option<String>,
    pub(crate) score: Option<f64>,
    pub(crate) good: Option<bool>,
}

pub(crate) type Rows = BTreeMap<String, Plain>;

/// Row n of a dataset: some of it in each split, with values and without.
pub(crate) fn plain(n: u64) -> Plain {
    Plain {
        split: ["train", "train", "test"][n as usize % 3].into(),
        text: format!("the text of row {n}, {}", "and more of it ".repeat(n as usize % 5)),
        label: (!n.is_multiple_of(4)).then(|| ["cat", "dog", "owl"][n as usize % 3].into()),
        score: (!n.is_multiple_of(5)).then_some(n as f64 / 8.0),
        good: (!n.is_multiple_of(7)).then_some(n.is_multiple_of(2)),
    }
}

pub(crate) fn id(n: u64) -> String {
    format!("source{}/{n:04}.txt", n % 2)
}

pub(crate) fn schema() -> Schema {
    let names = ["cat", "dog"].map(str::to_owned).to_vec();
    Schema::new([
        ("text", Feature::Text),
        ("label", Feature::ClassLabel { names }),
        ("score", Feature::Float),
        ("good", Feature::Bool),
    ])
}

/// Appends rows in a commit of their own, in small shards.
pub(crate) fn append(dataset: &Path, numbers: std::ops::Range<u64>) -> Result<()> {
    let options = IngestOptions { shard_bytes: 400, row_group_rows: 3, ..IngestOptions::default() };
    let mut writer = DatasetWriter::create(dataset, schema(), &options)?;
    for n in numbers {
        let row = plain(n);
        let value = |value: Option<Value>| Cell::Value(value.unwrap_or(Value::Null));
        let cells = vec![
            Cell::Media(row.text.into_bytes()),
            row.label.map_or(Cell::NULL, Cell::Class),
            value(row.score.map(Value::Float)),
            value(row.good.map(Value::Bool)),
        ];
        writer.append(Record { id: id(n), split: row.split, cells })?;
    }
    writer.commit().map(drop)
}

/// A dataset of two commits with rows 0 to 30, and what is in it.
pub(crate) fn made() -> (tempfile::TempDir, PathBuf, Rows) {
    let dir = tempfile::tempdir().unwrap();
    let dataset = dir.path().join("d");
    append(&dataset, 0..18).unwrap();
    append(&dataset, 18..30).unwrap();
    let rows = (0..30).map(|n| (id(n), plain(n))).collect();
    (dir, dataset, rows)
}

/// What a reader finds, and in which order within each split.
pub(crate) fn contents(dataset: &Dataset) -> (Rows, BTreeMap<String, Vec<String>>) {
    let (mut rows, mut order) = (Rows::new(), BTreeMap::<String, Vec<String>>::new());
    let names = match dataset.schema().get("label") {
        Some(Feature::ClassLabel { names }) => names.clone(),
        other => panic!("{other:?}"),
    };
    let mut text = Vec::new();
    for split in dataset.splits().keys() {
        for row in dataset.index().ranges(Some(split)).into_iter().flatten() {
            dataset.fetch_checked(row, 0, &mut text).unwrap();
            let entry = dataset.index().row(row);
            let plain = Plain {
                split: split.clone(),
                text: String::from_utf8(text.clone()).unwrap(),
                label: match entry.value(1) {
                    Value::Int(class) if class >= 0 => Some(names[class as usize].clone()),
                    _ => None,
                },
                score: if let Value::Float(v) = entry.value(2) { Some(v) } else { None },
                good: if let Value::Bool(v) = entry.value(3) { Some(v) } else { None },
            };
            order.entry(split.clone()).or_default().push(entry.id().to_owned());
            assert!(rows.insert(entry.id().to_owned(), plain).is_none(), "{} stands twice", entry.id());
        }
    }
    assert_eq!(rows.len() as u64, dataset.rows());
    (rows, order)
}

/// The newest version is these rows, sound, and its Index follows from files and lists.
pub(crate) fn hold(path: &Path, want: &Rows) {
    let dataset = Dataset::open(path).unwrap();
    assert_eq!(&contents(&dataset).0, want);
    let report = verify(path, true).unwrap();
    assert!(report.findings.is_empty(), "{report:?}");
    assert!(report.notes.iter().all(|note| note.code == "orphan"), "{:?}", report.notes);
    // What nothing needs is nothing that the version names.
    let orphans: Vec<&str> = report.notes.iter().map(|note| note.path.as_str()).collect();
    let segments = path.join(".dsctl/segments");
    let version = format!("{:020}.json", dataset.version().unwrap());
    let root: serde_json::Value =
        serde_json::from_slice(&std::fs::read(path.join(".dsctl/versions").join(version)).unwrap()).unwrap();
    let overlaid = root["segments"].as_array().unwrap().iter().any(|s| s.get("changes").is_some());
    assert_eq!(root["format_version"], if overlaid { 3 } else { 2 });
    drop(dataset);
    for entry in root["segments"].as_array().unwrap() {
        let list = entry.get("changes").map(|changes| changes["path"].as_str().unwrap());
        assert!(list.is_none_or(|list| !orphans.contains(&list)), "{list:?} is named, and among {orphans:?}");
        let file = path.join(entry["path"].as_str().unwrap());
        assert_eq!(file.parent(), Some(segments.as_path()));
        let whole = std::fs::read(&file).unwrap();
        let mut damaged = whole.clone();
        *damaged.last_mut().unwrap() ^= 1;
        // In another file of the name: the old one may be mapped.
        std::fs::remove_file(&file).unwrap();
        std::fs::write(&file, damaged).unwrap();
        assert_eq!(rebuild_index(path).unwrap(), std::slice::from_ref(&file));
        assert!(std::fs::read(&file).unwrap() == whole, "{} is another", file.display());
    }
}

/// Splits all rows by their ids.
pub(crate) fn split_up(store: &Store) -> Result<bool, Error> {
    let fractions = Fractions::new(vec![("train".into(), 0.5), ("validation".into(), 0.5)]).unwrap();
    let options = SplitOptions { fractions, by: SplitBy::Row, seed: 1, only: Vec::new(), dry_run: false };
    split(store, &options).map(|done| done.committed)
}

/// Relabels by lines of CSV, and says what was wrong.
pub(crate) fn relabelled(store: &Store, csv: &str, options: RelabelOptions) -> (Result<Relabel, Error>, Vec<Problem>) {
    relabelled_by(store, "told.csv", csv, options)
}

/// Relabels by a file of some name.
pub(crate) fn relabelled_by(
    store: &Store,
    name: &str,
    told: &str,
    options: RelabelOptions,
) -> (Result<Relabel, Error>, Vec<Problem>) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join(name);
    std::fs::write(&file, told).unwrap();
    let mut problems = Vec::new();
    let done = relabel(store, &file, options, &mut |problem| {
        problems.push(problem);
        Ok(())
    });
    (done, problems)
}
