//! Rows of another dataset come behind one's own, and stay what they are.

use std::path::Path;

use feedstock::data::feature::{Feature, Schema};
use feedstock::data::record::{Cell, Record};
use feedstock::dataset::Dataset;
use feedstock::ingest::{DatasetWriter, IngestOptions};
use feedstock::open;
use feedstock::revise::{MergeOptions, Merged, Problem, RelabelOptions, merge};
use feedstock::store::Store;

use crate::common;
use crate::{Plain, Rows, append, contents, hold, id, made, plain, relabelled, split_up};

fn merged(into: &Path, other: &Path, options: &MergeOptions) -> (feedstock::Result<Merged>, Vec<Problem>) {
    let mut problems = Vec::new();
    let done = merge(&Store::open(into), &open(other).unwrap(), options, &mut |problem| {
        problems.push(problem);
        Ok(())
    });
    (done, problems)
}

fn prefixed(prefix: &str) -> MergeOptions {
    MergeOptions { id_prefix: prefix.into(), shard_bytes: 300, ..MergeOptions::default() }
}

#[test]
fn labels_are_joined_by_name_and_what_stands_over_files_comes_along() {
    let (_dir, into, mut rows) = made();
    let (_other_dir, other, _) = made();
    // In the other dataset a class more, other labels and splits over the files; here one that it does not have.
    let store = Store::open(&other);
    relabelled(&store, &format!("id,label\n{},cow\n{},\n", id(3), id(4)), RelabelOptions::default()).0.unwrap();
    split_up(&store).unwrap();
    relabelled(&Store::open(&into), &format!("id,label\n{},ant\n", id(3)), RelabelOptions::default()).0.unwrap();
    rows.get_mut(&id(3)).unwrap().label = Some("ant".into());
    let theirs = contents(&Dataset::open(&other).unwrap()).0;
    let dry = MergeOptions { dry_run: true, ..prefixed("b/") };
    let (counted, _) = merged(&into, &other, &dry);
    assert_eq!((counted.as_ref().unwrap().added, counted.unwrap().committed), (30, false));
    let done = merged(&into, &other, &prefixed("b/")).0.unwrap();
    assert_eq!((done.added, done.same, done.version), (30, 0, 4));
    assert_eq!(done.classes["label"], ["cow"]);
    rows.extend(theirs.into_iter().map(|(id, row)| (format!("b/{id}"), row)));
    hold(&into, &rows);
    // The same again is nothing new.
    let again = merged(&into, &other, &prefixed("b/")).0.unwrap();
    assert_eq!((again.added, again.same, again.committed), (0, 30, false));
    // Its rows under their own ids are not those that are here: all of them are told, and none is taken.
    let (done, problems) = merged(&into, &other, &MergeOptions::default());
    let done = done.unwrap();
    assert_eq!((done.committed, done.taken, done.taken + done.same), (false, problems.len() as u64, 30));
    assert!(
        done.taken > 0 && problems.iter().all(|p| p.code == "id-taken" && p.what.contains("--id-prefix")),
        "{problems:?}"
    );
    hold(&into, &rows);
}

#[test]
fn foreign_parquet_is_appended_too() {
    let (_dir, into, mut rows) = made();
    let (_other_dir, other, theirs) = made();
    // What another program sees of it: a folder of Parquet files.
    std::fs::remove_dir_all(other.join(".dsctl")).unwrap();
    std::fs::remove_file(other.join("README.md")).unwrap();
    let dataset = open(&other).unwrap();
    assert_eq!(dataset.version(), None);
    // Its ids are the places in its files; those that were written into them are a column like another.
    let (done, problems) = merged(&into, &other, &MergeOptions { common_columns: true, ..prefixed("hub/") });
    let done = done.unwrap();
    assert_eq!((done.added, problems), (30, Vec::new()));
    assert!(done.notes.iter().any(|note| note.contains("left out: source_id")), "{:?}", done.notes);
    let now = contents(&Dataset::open(&into).unwrap()).0;
    let sorted = |rows: &Rows| {
        let mut all: Vec<Plain> =
            rows.iter().filter(|(id, _)| !id.starts_with("source")).map(|(_, row)| row.clone()).collect();
        all.sort_by(|a, b| a.text.cmp(&b.text));
        all
    };
    let renamed: Rows = theirs.into_iter().map(|(id, row)| (format!("hub/{id}"), row)).collect();
    assert_eq!(sorted(&now), sorted(&renamed));
    rows.extend(now.into_iter().filter(|(id, _)| id.starts_with("hub/")));
    hold(&into, &rows);
}

#[test]
fn classes_without_a_name_are_told_and_nothing_is_taken() {
    use arrow::array::{ArrayRef, Int64Array, RecordBatch, StringArray};
    use arrow::datatypes::{DataType, Field, Schema as ArrowSchema};
    let (dir, into, mut rows) = made();
    let said = r#"{"info":{"features":{"label":{"names":["cat"],"_type":"ClassLabel"}}}}"#;
    let write = |name: &str, labels: &[Option<i64>]| {
        let path = dir.path().join(name);
        let fields = vec![Field::new("text", DataType::Utf8, true), Field::new("label", DataType::Int64, true)];
        let metadata = std::collections::HashMap::from([("huggingface".to_owned(), said.to_owned())]);
        let texts = (0..labels.len()).map(|n| format!("text {n}"));
        let texts: ArrayRef = std::sync::Arc::new(StringArray::from_iter_values(texts));
        let columns = vec![texts, std::sync::Arc::new(Int64Array::from(labels.to_vec())) as ArrayRef];
        let schema = std::sync::Arc::new(ArrowSchema::new_with_metadata(fields, metadata));
        let batch = RecordBatch::try_new(schema, columns).unwrap();
        let file = std::fs::File::create(&path).unwrap();
        let mut writer = parquet::arrow::ArrowWriter::try_new(file, batch.schema(), None).unwrap();
        writer.write(&batch).unwrap();
        writer.close().unwrap();
        path
    };
    let options = MergeOptions { common_columns: true, ..prefixed("hub/") };
    let bad = write("bad.parquet", &[Some(0), Some(7), Some(-1), None, Some(-2), Some(1)]);
    let (done, problems) = merged(&into, &bad, &options);
    let done = done.unwrap();
    assert_eq!((done.committed, done.unnamed, done.taken, done.version), (false, 3, 0, 2));
    let told: Vec<_> = problems.iter().map(|p| (p.code, p.column.as_deref(), p.what.contains("of 1 that"))).collect();
    assert_eq!(told, [("bad-value", Some("label"), true); 3], "{problems:?}");
    assert!(problems[0].id.as_deref().is_some_and(|id| id.starts_with("hub/")), "{problems:?}");
    hold(&into, &rows);
    // One that is not known has no class, and no problem.
    let good = write("good.parquet", &[Some(0), Some(-1), None]);
    let (done, problems) = merged(&into, &good, &options);
    assert_eq!((done.unwrap().added, problems), (3, Vec::new()));
    let now = contents(&Dataset::open(&into).unwrap()).0;
    let mut labels: Vec<_> =
        now.iter().filter(|(id, _)| id.starts_with("hub/")).map(|(_, row)| row.label.as_deref()).collect();
    labels.sort_unstable();
    assert_eq!(labels, [None, None, Some("cat")]);
    rows.extend(now.into_iter().filter(|(id, _)| id.starts_with("hub/")));
    hold(&into, &rows);
}

#[test]
fn columns_that_do_not_fit_are_refused_or_left_out() {
    let (_dir, into, mut rows) = made();
    let write = |schema: Schema, cells: Vec<Cell>| {
        let dir = tempfile::tempdir().unwrap();
        let mut writer = DatasetWriter::create(dir.path().join("o"), schema, &IngestOptions::default()).unwrap();
        writer.append(Record { id: "one".into(), split: "train".into(), cells }).unwrap();
        writer.commit().unwrap();
        dir
    };
    let text = || Cell::Media(b"one".to_vec());
    let int = |n| Cell::Value(feedstock::data::label::Value::Int(n));
    let other = write(Schema::new([("text", Feature::Text), ("label", Feature::Int)]), vec![text(), int(1)]);
    let refused =
        merged(&into, &other.path().join("o"), &MergeOptions { common_columns: true, ..prefixed("") }).0.unwrap_err();
    assert!(
        refused.exit_code() == 2 && refused.to_string().contains("class label here and int in the other"),
        "{refused}"
    );
    // A whole number fits a column of numbers; a column more or less only if that is wanted.
    let other = write(
        Schema::new([("score", Feature::Int), ("text", Feature::Text), ("more", Feature::Int)]),
        vec![int(3), text(), int(1)],
    );
    let refused = merged(&into, &other.path().join("o"), &prefixed("")).0.unwrap_err();
    assert!(refused.exit_code() == 2 && refused.to_string().contains("--common-columns"), "{refused}");
    let done =
        merged(&into, &other.path().join("o"), &MergeOptions { common_columns: true, ..prefixed("") }).0.unwrap();
    assert_eq!((done.added, done.notes.len()), (1, 3), "{:?}", done.notes);
    let one = Plain { split: "train".into(), text: "one".into(), label: None, score: Some(3.0), good: None };
    rows.insert("one".into(), one);
    hold(&into, &rows);
    append(&into, 30..32).unwrap();
    rows.extend((30..32).map(|n| (id(n), plain(n))));
    hold(&into, &rows);
}

#[test]
fn media_keep_their_bytes_names_facts_and_tables() {
    for (source, column) in [("clips", "video"), ("images", "image"), ("digits", "audio")] {
        let [into, other] = [(); 2].map(|()| common::made(source, &IngestOptions::default()));
        let (path, theirs) = (into.dataset.root().to_owned(), &other.dataset);
        let done = merged(&path, theirs.root(), &prefixed("b/")).0.unwrap();
        assert_eq!(done.added, theirs.rows());
        let both = Dataset::open(&path).unwrap();
        let at = both.schema().position(column).unwrap();
        let find = |id: &str| (0..both.rows()).find(|row| both.index().row(*row).id() == id).unwrap();
        let (mut a, mut b) = (Vec::new(), Vec::new());
        for row in 0..theirs.rows() {
            let (own, new) = (theirs.index().row(row), find(&format!("b/{}", theirs.index().row(row).id())));
            theirs.fetch_checked(row, at, &mut a).unwrap();
            both.fetch_checked(new, at, &mut b).unwrap();
            let new = both.index().row(new);
            assert!(a == b && own.table(at) == new.table(at));
            assert_eq!(own.payload(at).unwrap().info, new.payload(at).unwrap().info);
        }
        let report = feedstock::verify::verify(&path, true).unwrap();
        assert!(report.findings.is_empty(), "{report:?}");
    }
}
