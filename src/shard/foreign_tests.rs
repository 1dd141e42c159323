use std::sync::Arc;

use arrow::array::{
    ArrayRef, BooleanArray, Float32Array, Int64Array, LargeBinaryArray, LargeStringArray, ListArray, RecordBatch,
    StringArray, StringViewArray, StructArray, UInt8Array,
};
use arrow::datatypes::{DataType, Field, Fields, Int32Type, Schema as ArrowSchema};
use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression, ZstdLevel};
use parquet::file::properties::{EnabledStatistics, WriterProperties};

use super::foreign::{Foreign, files, open};
use crate::data::feature::Feature;
use crate::data::info::{Format, Info, Kind};
use crate::data::label::Value;
use crate::dataset::{Backing, Dataset};
use crate::error::{Error, Fault, Reason};

/// Stands in for the codecs: a payload that begins with `P` is a picture as wide as it is long.
fn probe(bytes: &[u8], kind: Option<Kind>) -> Result<Info, Fault> {
    match bytes.first() {
        Some(b'P') if kind.is_none_or(|k| k == Kind::Image) => {
            Ok(Info { width: bytes.len() as u32, ..Info::of(Format::Png) })
        }
        _ => Err(Fault::new(Reason::UnknownFormat, "not a picture")),
    }
}

fn picture(i: u64) -> Option<Vec<u8>> {
    match i % 7 {
        3 => None,
        5 => Some(b"rubbish".to_vec()),
        _ => Some(format!("P{i}{}", "x".repeat(i as usize * 3)).into_bytes()),
    }
}

fn batch(rows: std::ops::Range<u64>) -> RecordBatch {
    let rows: Vec<u64> = rows.collect();
    let pictures: Vec<Option<Vec<u8>>> = rows.iter().map(|i| picture(*i)).collect();
    let bytes: ArrayRef = Arc::new(LargeBinaryArray::from_iter(pictures.iter().map(Option::as_deref)));
    let paths: ArrayRef = Arc::new(StringArray::from_iter_values(rows.iter().map(|i| format!("{i}.png"))));
    let fields =
        Fields::from(vec![Field::new("path", DataType::Utf8, true), Field::new("bytes", DataType::LargeBinary, true)]);
    let image = StructArray::new(fields.clone(), vec![paths, bytes], None);
    let columns: Vec<(Field, ArrayRef)> = vec![
        (Field::new("image", DataType::Struct(fields), true), Arc::new(image)),
        (
            Field::new("label", DataType::Int64, true),
            Arc::new(Int64Array::from_iter(rows.iter().map(|i| (i % 4 != 1).then_some(*i as i64 % 2)))),
        ),
        (
            Field::new("text", DataType::LargeUtf8, false),
            Arc::new(LargeStringArray::from_iter_values(rows.iter().map(|i| format!("text {i} ✓")))),
        ),
        (
            Field::new("view", DataType::Utf8View, true),
            Arc::new(StringViewArray::from_iter_values(rows.iter().map(|i| format!("a view longer than twelve {i}")))),
        ),
        (Field::new("small", DataType::UInt8, true), Arc::new(UInt8Array::from_iter(rows.iter().map(|i| *i as u8)))),
        (Field::new("id", DataType::Float32, true), Arc::new(Float32Array::from_iter(rows.iter().map(|i| *i as f32)))),
        (
            Field::new("a.b", DataType::Boolean, true),
            Arc::new(BooleanArray::from_iter(rows.iter().map(|i| Some(i % 2 == 0)))),
        ),
        (
            Field::new("list", DataType::new_list(DataType::Int32, true), true),
            Arc::new(ListArray::from_iter_primitive::<Int32Type, _, _>(rows.iter().map(|_| Some(vec![Some(1)])))),
        ),
    ];
    let hf =
        r#"{"info":{"features":{"image":{"_type":"Image"},"label":{"names":["cat","dog"],"_type":"ClassLabel"}}}}"#;
    let metadata: std::collections::HashMap<_, _> = [("huggingface".to_owned(), hf.to_owned())].into_iter().collect();
    let (fields, arrays): (Vec<_>, Vec<_>) = columns.into_iter().unzip();
    RecordBatch::try_new(Arc::new(ArrowSchema::new_with_metadata(fields, metadata)), arrays).unwrap()
}

fn write(path: &std::path::Path, rows: std::ops::Range<u64>, pages: bool) {
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    let mut properties = WriterProperties::builder()
        .set_compression(Compression::ZSTD(ZstdLevel::default()))
        .set_data_page_row_count_limit(5)
        .set_write_batch_size(5)
        .set_max_row_group_row_count(Some(90));
    if !pages {
        properties = properties.set_offset_index_disabled(true).set_statistics_enabled(EnabledStatistics::None);
    }
    let batch = batch(rows);
    let file = std::fs::File::create(path).unwrap();
    let mut writer = ArrowWriter::try_new(file, batch.schema(), Some(properties.build())).unwrap();
    writer.write(&batch).unwrap();
    writer.close().unwrap();
}

fn dataset(path: &std::path::Path) -> Dataset {
    let Foreign { schema, index, fetch, notes, left_out } = open(path, &probe).unwrap().unwrap();
    let dataset = Dataset::from_parts(path, schema, index, Backing::Custom(fetch)).unwrap();
    dataset.with_notes(notes).with_left_out(left_out)
}

#[test]
fn a_hub_folder_reads_as_its_rows() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path();
    write(&path.join("data/train-00000-of-00002.parquet"), 0..200, true);
    write(&path.join("data/train-00001-of-00002.parquet"), 200..300, false);
    write(&path.join("data/extra/test.parquet"), 300..310, true);
    std::fs::write(path.join("data/.hidden.parquet"), b"x").unwrap();
    std::fs::create_dir(path.join("__cache")).unwrap();
    std::fs::write(path.join("__cache/x.parquet"), b"x").unwrap();
    let dataset = dataset(path);
    assert_eq!(dataset.rows(), 310);
    assert_eq!(dataset.version(), None);
    let splits: Vec<_> = dataset.splits().iter().map(|(k, v)| (k.as_str(), *v)).collect();
    assert_eq!(splits, [("test", 10), ("train", 300)]);
    let names: Vec<_> = dataset.schema().columns.iter().map(|c| c.name.as_str()).collect();
    assert_eq!(names, ["image", "label", "text", "view", "small", "source_id", "a_b"]);
    assert_eq!(dataset.schema().columns[0].feature, Feature::Image);
    assert_eq!(dataset.schema().columns[1].feature, Feature::ClassLabel { names: vec!["cat".into(), "dog".into()] });
    let notes = dataset.notes().join("\n");
    for part in ["\"list\" was left out", "\"id\" is called \"source_id\"", "cells are absent (unknown-format)"] {
        assert!(notes.contains(part), "{notes}");
    }
    // The test file sorts first ("data/extra" before "data/train").
    let number = |row: u64| if row < 10 { 300 + row } else { row - 10 };
    let bad: Vec<u64> = (0..310).filter(|row| picture(number(*row)).is_some_and(|bytes| bytes[0] != b'P')).collect();
    let left_out = dataset.left_out();
    let rows: Vec<u64> = left_out.first.iter().map(|(origin, _)| origin.row.unwrap()).collect();
    assert!(!bad.is_empty() && rows == bad && left_out.count == bad.len() as u64, "{left_out:?}");
    for (origin, _) in &left_out.first {
        let row = dataset.index().row(origin.row.unwrap());
        assert_eq!((origin.id.as_deref(), origin.column.as_deref()), (Some(row.id()), Some("image")));
        assert!(row.is_null(0));
    }
    let mut out = Vec::new();
    for row in (0..310).map(|i| i * 97 % 310) {
        let i = number(row);
        let expected = picture(i).filter(|bytes| bytes[0] == b'P');
        let found = dataset.fetch_checked(row, 0, &mut out).unwrap();
        assert_eq!(found.map(|p| (p.info.width as usize, out.clone())), expected.map(|b| (b.len(), b)), "row {i}");
        dataset.fetch_checked(row, 2, &mut out).unwrap().unwrap();
        assert_eq!(out, format!("text {i} ✓").as_bytes());
        dataset.fetch_checked(row, 3, &mut out).unwrap().unwrap();
        assert_eq!(out, format!("a view longer than twelve {i}").as_bytes());
        let entry = dataset.index().row(row);
        assert_eq!(entry.value(1), if i % 4 == 1 { Value::Null } else { Value::Int(i as i64 % 2) });
        assert_eq!((entry.value(4), entry.value(5)), (Value::Int(i as i64 % 256), Value::Float(i as f64)));
        assert_eq!(entry.value(6), Value::Bool(i % 2 == 0));
    }
    assert_eq!(dataset.index().row(10).id(), "data/train-00000-of-00002.parquet#0");
    let origin = dataset.origin(215, 0);
    assert!(origin.file.unwrap().ends_with("data/train-00001-of-00002.parquet") && origin.row == Some(5));
    assert_eq!(dataset.digest(), self::dataset(path).digest());
    assert!(crate::verify::verify(path, true).is_ok());
}

#[test]
fn our_own_shard_is_a_file_like_any_other() {
    let dir = tempfile::tempdir().unwrap();
    let store = crate::store::Store::open(dir.path());
    let schema = crate::data::feature::Schema::new([("picture", Feature::Image), ("caption", Feature::Text)]);
    let mut writer = super::ShardWriter::create(&store, &schema, "val", &Default::default()).unwrap();
    for i in 0..5u64 {
        let image = super::ShardCell::media(vec![b'P'; 10_000 + i as usize], "x.png", Info::of(Format::Png));
        let cells = vec![image, super::ShardCell::media(b"yes".to_vec(), "", Info::of(Format::Utf8))];
        writer.push(super::ShardRow { id: i.to_string(), cells }).unwrap();
    }
    let shard = writer.finish().unwrap().shard;
    let whole = dataset(dir.path());
    assert_eq!(whole.splits().get("validation"), Some(&5));
    let one = dataset(&dir.path().join(&shard.path));
    let mut out = Vec::new();
    assert_eq!(
        one.fetch_checked(3, one.schema().position("picture").unwrap(), &mut out).unwrap().unwrap().info.width,
        10_003
    );
    assert!(one.notes().iter().any(|n| n.contains("\"info\" was left out")), "{:?}", one.notes());
}

#[test]
fn what_is_no_parquet_is_told() {
    let dir = tempfile::tempdir().unwrap();
    assert!(open(dir.path(), &probe).unwrap().is_none());
    assert!(matches!(Dataset::open_stored(dir.path()), Err(Error::Config { .. })));
    assert!(matches!(Dataset::open_stored(dir.path().join("not there")), Err(Error::Io { .. })));
    write(&dir.path().join("a.parquet"), 0..5, true);
    std::fs::write(dir.path().join("b.parquet"), b"PAR1 no").unwrap();
    assert!(matches!(open(dir.path(), &probe), Err(Error::Damaged { path, .. }) if path.ends_with("b.parquet")));
    let other = RecordBatch::try_from_iter([("x", Arc::new(Int64Array::from(vec![1])) as ArrayRef)]).unwrap();
    let file = std::fs::File::create(dir.path().join("b.parquet")).unwrap();
    let mut writer = ArrowWriter::try_new(file, other.schema(), None).unwrap();
    writer.write(&other).unwrap();
    writer.close().unwrap();
    assert!(matches!(open(dir.path(), &probe), Err(Error::Config { .. })));
}

#[test]
fn splits_follow_the_names() {
    let dir = tempfile::tempdir().unwrap();
    let cases = [
        ("data/hold_out-00000-of-00002.parquet", "hold_out"),
        ("test/0001.parquet", "test"),
        ("x/validation-3.parquet", "validation"),
        ("test/train.parquet", "train"),
        ("contest.parquet", "train"),
        ("dev/00000-of-00002.parquet", "validation"),
    ];
    for (name, _) in cases {
        let path = dir.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, b"").unwrap();
    }
    let found = files(dir.path()).unwrap();
    assert_eq!(found.len(), cases.len());
    for (_, name, split) in found {
        assert_eq!(cases.iter().find(|(n, _)| *n == name).map(|(_, s)| *s), Some(split.as_str()), "{name}");
    }
}
