//! What goes out comes in again the same: each format that has an importer, over what other tools wrote (`fixtures/make/make_objects.py`), and over
//! each other's datasets as far as a format has a place for what they say.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use crate::common::fixture;
use feedstock::Error;
use feedstock::data::feature::{Feature, Schema};
use feedstock::data::label::Objects;
use feedstock::data::objects::{BoxFormat, ObjectsType};
use feedstock::data::record::{Cell, Record};
use feedstock::dataset::Dataset;
use feedstock::export::{ExportOptions, Exported, export};
use feedstock::ingest::{Control, DatasetWriter, IngestOptions, ingest};
use serde_json::Value as Json;

struct Place(tempfile::TempDir);

impl Place {
    fn new() -> Self {
        Place(tempfile::tempdir().unwrap())
    }

    fn at(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn taken_in(&self, source: &Path, name: &str, format: &str) -> Dataset {
        let options = IngestOptions { format: Some(format.to_owned()), ..IngestOptions::default() };
        let summary = ingest(source, &self.at(name), &options, &Control::default()).unwrap();
        assert_eq!(summary.quarantined, 0, "{:?}", summary.notes);
        Dataset::open_stored(self.at(name)).unwrap()
    }

    fn out(&self, dataset: &Dataset, format: &str, name: &str) -> Exported {
        export(dataset, format, &self.at(name), &ExportOptions::default(), &|_| Ok(())).unwrap()
    }
}

/// All that a dataset says of each row: its split, hashes of payloads, small values by name, objects with classes by name.
fn told(dataset: &Dataset) -> BTreeMap<String, Json> {
    let mut rows = BTreeMap::new();
    for number in 0..dataset.rows() {
        let (segment, row) = dataset.index().locate(number);
        let split = dataset.index().segments()[segment].shard(row.shard()).unwrap().1.split;
        let mut said = serde_json::Map::from_iter([("split".to_owned(), split.into())]);
        for (at, column) in dataset.schema().columns.iter().enumerate() {
            let cell = match row.payload(at) {
                Some(payload) => format!("{:016x}", payload.hash).into(),
                None => row.told(at, &column.feature),
            };
            said.insert(column.name.clone(), cell);
        }
        assert!(rows.insert(row.id().to_owned(), said.into()).is_none());
    }
    rows
}

fn files(root: &Path) -> BTreeMap<String, Vec<u8>> {
    let walk = walkdir::WalkDir::new(root).into_iter().map(Result::unwrap).filter(|e| e.file_type().is_file());
    let name = |path: &Path| path.strip_prefix(root).unwrap().to_str().unwrap().to_owned();
    walk.map(|e| (name(e.path()), fs::read(e.path()).unwrap())).collect()
}

/// A fixture, the format that it is in, and what an export puts in front of its ids.
const OWN: &[(&str, &str, &str)] = &[
    ("objects/voc", "voc", ""),
    ("objects/coco", "coco", ""),
    ("objects/coco_keypoints", "coco", ""),
    ("objects/coco_captions", "coco", ""),
    ("objects/yolo_ultralytics", "yolo", ""),
    ("objects/yolo", "yolo", "images/"),
];

#[test]
fn what_a_format_says_goes_out_and_comes_in_the_same() {
    for (source, format, before) in OWN {
        let place = Place::new();
        let first = place.taken_in(&fixture(source), "first", format);
        let out = place.out(&first, format, "out");
        assert!(out.left_out.is_empty() && out.rows == first.rows(), "{source}: {out:?}");
        let second = place.taken_in(&place.at("out"), "second", format);
        let moved: BTreeMap<String, Json> =
            told(&first).into_iter().map(|(id, row)| (format!("{before}{id}"), row)).collect();
        assert_eq!(told(&second), moved, "{source}");
        assert_eq!(second.schema(), first.schema(), "{source}");
        // Nothing is lost the second time either: the files are the same, byte for byte.
        place.out(&second, format, "again");
        assert_eq!(files(&place.at("again")), files(&place.at("out")), "{source}");
    }
}

/// The annotations of a COCO file by their ids, of each picture by its name.
fn annotations(path: &Path) -> BTreeMap<String, Json> {
    let file: Json = serde_json::from_slice(&fs::read(path).unwrap()).unwrap();
    let mut all = BTreeMap::new();
    let names: BTreeMap<i64, &str> = file["images"]
        .as_array()
        .unwrap()
        .iter()
        .map(|i| (i["id"].as_i64().unwrap(), i["file_name"].as_str().unwrap()))
        .collect();
    for annotation in file["annotations"].as_array().unwrap() {
        let mut annotation = annotation.clone();
        let of = annotation.as_object_mut().unwrap();
        let image = of["image_id"].as_i64().unwrap();
        let base = names[&image].rsplit('/').next().unwrap();
        let id = of["id"].to_string();
        // datumaro adds a field of its own, which the importer tells of.
        of.remove("attributes");
        // No segmentation is said in two ways.
        if of.get("segmentation").is_some_and(|of| of.as_array().is_some_and(Vec::is_empty)) {
            of.remove("segmentation");
        }
        for key in ["bbox", "area"] {
            let numbers = |v: &Json| {
                v.as_array()
                    .map_or_else(|| vec![v.as_f64().unwrap()], |a| a.iter().map(|v| v.as_f64().unwrap()).collect())
            };
            let floats = numbers(&of[key]);
            of.insert(key.into(), floats.into());
        }
        all.insert(format!("{image} {base} {id}"), annotation);
    }
    let classes = file["categories"].as_array().unwrap().iter();
    all.extend(classes.map(|class| (format!("class {}", class["id"]), class.clone())));
    all
}

/// Not what our importer makes of it: what stands in the file of another tool stands in ours.
#[test]
fn every_annotation_of_coco_stands_in_the_export_as_it_stood() {
    for (set, kind) in [("coco", "instances"), ("coco_keypoints", "person_keypoints")] {
        let place = Place::new();
        let dataset = place.taken_in(&fixture(&format!("objects/{set}")), "first", "coco");
        place.out(&dataset, "coco", "out");
        for split in ["train", "val"] {
            let name = format!("annotations/{kind}_{split}.json");
            let theirs = annotations(&fixture(&format!("objects/{set}")).join(&name));
            assert!(theirs.len() > 2, "{theirs:?}");
            assert_eq!(annotations(&place.at("out").join(&name)), theirs, "{set} {split}");
        }
    }
}

/// Corners of every object by the end of its picture's name, with its class.
fn corners(dataset: &Dataset) -> BTreeMap<String, Vec<(String, [f32; 4])>> {
    let at = |is: fn(&Feature) -> bool| dataset.schema().columns.iter().position(|c| is(&c.feature)).unwrap();
    let (image, objects) = (at(|f| *f == Feature::Image), at(|f| matches!(f, Feature::Objects(_))));
    let Feature::Objects(of) = &dataset.schema().columns[objects].feature else { unreachable!() };
    let of_row = |number| {
        let row = dataset.index().row(number);
        let info = row.payload(image).unwrap().info;
        let found = row.objects(objects, of).unwrap().unwrap_or_default();
        let names = found.classes.iter().map(|class| of.names[*class as usize].clone());
        let all = names.zip(found.xyxy(of.boxes, info.width, info.height)).collect();
        (row.id().rsplit('/').next().unwrap().to_owned(), all)
    };
    (0..dataset.rows()).map(of_row).collect()
}

#[test]
fn boxes_are_the_same_in_every_format() {
    for (source, from) in [("objects/voc", "voc"), ("objects/coco", "coco"), ("objects/yolo_ultralytics", "yolo")] {
        for to in ["voc", "coco", "yolo", "jsonl"] {
            let place = Place::new();
            let first = place.taken_in(&fixture(source), "first", from);
            place.out(&first, to, "out");
            let second = place.taken_in(&place.at("out"), "second", if to == "jsonl" { "manifest" } else { to });
            let (before, after) = (corners(&first), corners(&second));
            // COCO has no place for pictures that are not annotated.
            let bare = if (from, to) == ("voc", "coco") { 1 } else { 0 };
            assert_eq!(before.len(), after.len() + bare, "{from} to {to}");
            for (name, objects) in before {
                let none = Vec::new();
                let there = after.get(&name).unwrap_or(&none);
                assert_eq!(objects.len(), there.len(), "{from} to {to}: {name}");
                for ((class, a), (as_class, b)) in objects.iter().zip(there) {
                    assert_eq!(class, as_class);
                    // Pictures have 100 pixels at the most: parts of them as floats of 32 bits are good to 100 * 2^-24, twice.
                    // YOLO has no place for what is beyond the picture, which is 40 by 30 or so.
                    let far = |v: &&f32| to != "yolo" || (0.0..=30.0).contains(*v);
                    assert!(
                        a.iter().zip(b).filter(|(a, _)| far(a)).all(|(a, b)| (a - b).abs() <= 2e-5),
                        "{from} to {to}: {name}: {a:?} {b:?}"
                    );
                }
            }
        }
    }
}

#[test]
fn class_folders_and_lines_come_in_the_same() {
    let place = Place::new();
    let first = place.taken_in(&fixture("images"), "first", "folder");
    let out = place.out(&first, "folder", "out");
    assert_eq!((out.rows, out.left_out.len()), (first.rows(), 0));
    let second = place.taken_in(&place.at("out"), "second", "folder");
    assert_eq!(told(&second), told(&first));
    for (source, name) in [("imagefolder/captions", "captions"), ("imagefolder/pairs", "pairs")] {
        let first = place.taken_in(&fixture(source), &format!("{name}-1"), "manifest");
        place.out(&first, "jsonl", &format!("{name}-out"));
        let second = place.taken_in(&place.at(&format!("{name}-out")), &format!("{name}-2"), "manifest");
        assert_eq!(second.rows(), first.rows());
        let strip = |dataset: &Dataset| -> Vec<Json> { told(dataset).into_values().collect() };
        let (mut before, mut after) = (strip(&first), strip(&second));
        before.sort_by_key(Json::to_string);
        after.sort_by_key(Json::to_string);
        assert_eq!(after, before, "{name}");
    }
    // Texts are lines of a file.
    let first = place.taken_in(&fixture("text/shakespeare_20k.txt"), "text", "text");
    place.out(&first, "jsonl", "lines");
    let lines = fs::read_to_string(place.at("lines/train.jsonl")).unwrap();
    assert_eq!(lines.lines().count() as u64, first.rows());
}

/// A dataset of ids and objects that no importer makes.
fn odd(place: &Place) -> Dataset {
    let of = ObjectsType { names: vec!["a<b & \"c\": #\u{1}".into()], ..ObjectsType::new(BoxFormat::Xyxy) };
    let schema = Schema::new([("image", Feature::Image), ("objects", Feature::Objects(of.clone()))]);
    let mut writer = DatasetWriter::create(place.at("odd"), schema, &IngestOptions::default()).unwrap();
    let png = fs::read(fixture("objects/voc/JPEGImages/a.png")).unwrap();
    let objects = |class, corner: f32| Objects {
        boxes: vec![[corner, 0.1, corner + 3.5, 9.0]],
        classes: vec![class],
        ..Objects::default()
    };
    for (id, objects) in [
        ("../../escape.png", Some(objects(0, 0.0))),
        ("/etc/passwd", Some(objects(0, 1.7))),
        ("no ending", Some(objects(0, 35.3))),
        ("images/fine.png", Some(objects(0, 1e-3))),
        ("classless.png", Some(objects(-1, 0.0))),
        ("unseen.png", None),
        ("none.png", Some(Objects::default())),
    ] {
        let mut png = png.clone();
        // Different bytes behind the end, so that no two rows are alike.
        png.extend(id.as_bytes());
        let names = || of.names.clone();
        let cells = vec![Cell::Media(png), objects.map_or(Cell::NULL, |objects| Cell::Objects(names(), objects))];
        writer.append(Record { id: id.into(), split: "train".into(), cells }).unwrap();
    }
    writer.commit().unwrap();
    Dataset::open_stored(place.at("odd")).unwrap()
}

#[test]
fn no_id_leads_out_of_the_folder_and_what_has_no_place_is_told() {
    let place = Place::new();
    let dataset = odd(&place);
    for format in ["voc", "coco", "yolo", "jsonl"] {
        let before: Vec<String> = files(place.0.path()).into_keys().collect();
        let out = place.out(&dataset, format, format);
        let written = files(&place.at(format));
        // Nothing beside it, and all media in it.
        let below = format!("{format}/");
        let outside: Vec<String> = files(place.0.path()).into_keys().filter(|name| !name.starts_with(&below)).collect();
        assert_eq!(outside, before, "{format}");
        let pictures = written.keys().filter(|name| name.ends_with(".png")).count() as u64;
        assert_eq!(pictures, out.rows, "{format}");
        let left = if format == "jsonl" { 0 } else { 1 };
        assert_eq!((out.rows, out.left_out.len()), (7 - left, left as usize), "{format}: {out:?}");
        assert!(left == 0 || out.left_out[0].first == "classless.png");
        assert!(out.notes.iter().any(|note| note.contains("other names than their ids")), "{format}: {:?}", out.notes);
        if format != "jsonl" {
            let second = place.taken_in(&place.at(format), &format!("{format}-again"), format);
            let class = |name: &str| name.starts_with("a<b & \"c\": #");
            let mut boxes: Vec<[f32; 4]> = Vec::new();
            for objects in corners(&second).into_values().flatten() {
                assert!(class(&objects.0), "{objects:?}");
                boxes.push(objects.1);
            }
            assert_eq!(boxes.len(), 4, "{format}");
            if format == "voc" {
                // To the bit, though VOC counts from 1.
                boxes.sort_by(|a, b| a[0].total_cmp(&b[0]));
                assert_eq!(boxes.iter().map(|b| b[0]).collect::<Vec<_>>(), [0.0, 1e-3, 1.7, 35.3]);
            }
        }
    }
}

#[test]
fn a_folder_is_there_whole_or_not_at_all() {
    let place = Place::new();
    let dataset = place.taken_in(&fixture("objects/voc"), "first", "voc");
    let stop = |rows| if rows >= 2 { Err(Error::Interrupted) } else { Ok(()) };
    let before: Vec<PathBuf> = fs::read_dir(place.0.path()).unwrap().map(|e| e.unwrap().path()).collect();
    let ended = export(&dataset, "coco", &place.at("out"), &ExportOptions::default(), &stop);
    assert!(matches!(ended, Err(Error::Interrupted)));
    let after: Vec<PathBuf> = fs::read_dir(place.0.path()).unwrap().map(|e| e.unwrap().path()).collect();
    assert_eq!(before, after, "nothing is left behind");
    fs::create_dir(place.at("out")).unwrap();
    place.out(&dataset, "coco", "out");
    let full = export(&dataset, "coco", &place.at("out"), &ExportOptions::default(), &|_| Ok(())).unwrap_err();
    assert!(full.exit_code() == 2 && full.to_string().contains("not empty"), "{full}");
}

#[test]
fn what_cannot_be_is_said() {
    let place = Place::new();
    let dataset = place.taken_in(&fixture("objects/voc"), "first", "voc");
    let digits = place.taken_in(&fixture("digits"), "digits", "folder");
    let named = |media: Option<&str>, splits: &[&str]| ExportOptions {
        media: media.map(str::to_owned),
        splits: splits.iter().map(|s| (*s).to_owned()).collect(),
        ..ExportOptions::default()
    };
    for (dataset, format, options, said) in [
        (&dataset, "tfrecord", named(None, &[]), "coco"),
        (&dataset, "folder", named(None, &[]), "no column of classes"),
        (&dataset, "coco", named(Some("sound"), &[]), "image"),
        (&dataset, "coco", named(None, &["nowhere"]), "validation"),
        (&digits, "coco", named(None, &[]), "coco is of pictures"),
    ] {
        let error = export(dataset, format, &place.at("out"), &options, &|_| Ok(())).unwrap_err();
        assert!(error.exit_code() == 2 && format!("{error}").contains(said), "{format}: {error}");
        assert!(!place.at("out").exists());
    }
}

/// Rows of these ids, each with a picture and a box of its own; `None`: not annotated. Row n has a box of n + 1 by 3.
fn named(place: &Place, name: &str, class: &str, rows: &[(&str, bool)]) -> Dataset {
    let of = ObjectsType { names: vec![class.into()], ..ObjectsType::new(BoxFormat::Xyxy) };
    let schema = Schema::new([("image", Feature::Image), ("objects", Feature::Objects(of.clone()))]);
    let mut writer = DatasetWriter::create(place.at(name), schema, &IngestOptions::default()).unwrap();
    let png = fs::read(fixture("objects/voc/JPEGImages/a.png")).unwrap();
    for (n, (id, annotated)) in rows.iter().enumerate() {
        let bytes = [&png[..], &[n as u8]].concat();
        let boxes = vec![[0.0, 0.0, n as f32 + 1.0, 3.0]];
        let objects = Objects { boxes, classes: vec![0], ..Objects::default() };
        let objects = if *annotated { Cell::Objects(of.names.clone(), objects) } else { Cell::NULL };
        writer
            .append(Record { id: (*id).into(), split: "train".into(), cells: vec![Cell::Media(bytes), objects] })
            .unwrap();
    }
    writer.commit().unwrap();
    Dataset::open_stored(place.at(name)).unwrap()
}

/// The width of each row's box by the hash of its picture; 0: none.
fn by_picture(dataset: &Dataset) -> BTreeMap<u64, f32> {
    let Feature::Objects(of) = dataset.schema().get("objects").unwrap() else { unreachable!() };
    let at = |name: &str| dataset.schema().position(name).unwrap();
    let of_row = |number| {
        let row = dataset.index().row(number);
        let info = row.payload(at("image")).unwrap().info;
        let found = row.objects(at("objects"), of).unwrap().unwrap_or_default();
        let width = found.xyxy(of.boxes, info.width, info.height).next().map_or(0.0, |b| (b[2] - b[0]).round());
        (row.payload(at("image")).unwrap().hash, width)
    };
    (0..dataset.rows()).map(of_row).collect()
}

#[test]
fn no_picture_gets_the_file_or_the_labels_of_another() {
    let rows = [
        ("a.png", true),
        ("a.jpg", true),
        ("b.png", false),
        ("b.jpg", true),
        ("c.jpg", true),
        ("c.png", false),
        ("images/a.png", true),
        ("JPEGImages/a.png", true),
        ("d.png", true),
        ("d.png/e.png", true),
        ("row-000000001.jpg", true),
        ("row-000000001.png", true),
        ("annotations/instances_train.json", true),
        ("train/metadata.jsonl", true),
        ("data.yaml/images/f.png", true),
        ("train.txt/images/f.png", true),
        ("labels/images/a.png", true),
        ("Annotations/a.xml", true),
        ("A.png", true),
        ("v1.10", true),
        ("one\u{2028}line\u{85}more\u{b}.png", true),
    ];
    let place = Place::new();
    let dataset = named(&place, "first", "cat", &rows);
    for format in ["voc", "yolo", "coco", "jsonl"] {
        let out = place.out(&dataset, format, format);
        assert!(out.rows == rows.len() as u64 && out.left_out.is_empty(), "{format}: {out:?}");
        let again = if format == "jsonl" { "manifest" } else { format };
        let second = place.taken_in(&place.at(format), &format!("{format}-again"), again);
        let (mut before, after) = (by_picture(&dataset), by_picture(&second));
        if format == "coco" {
            before.retain(|_, width| *width > 0.0);
        }
        assert_eq!(after, before, "{format}");
        // Readers take lines apart where Python does.
        for name in files(&place.at(format)).into_keys() {
            assert!(!name.contains(|c: char| c.is_control() || c == '\u{2028}'), "{name:?}");
        }
    }
}

#[test]
fn names_of_classes_are_in_yaml_what_they_were() {
    let place = Place::new();
    let class = "\u{7f}a\u{85}b\u{2028}c\u{feff}: \"#é";
    let dataset = named(&place, "first", class, &[("a.png", true)]);
    place.out(&dataset, "yolo", "out");
    // PyYAML refuses the first, and makes blanks of the others.
    let yaml = fs::read_to_string(place.at("out/data.yaml")).unwrap();
    assert!(yaml.contains(r##""\u007fa\u0085b\u2028c\ufeff: \"#é""##), "{yaml}");
    let second = place.taken_in(&place.at("out"), "second", "yolo");
    assert_eq!(corners(&second)["a.png"][0].0, class);
}

/// pycocotools measures nothing without `area` and `iscrowd`.
#[test]
fn annotations_of_coco_have_all_that_it_asks_for() {
    let place = Place::new();
    let dataset = named(&place, "first", "cat", &[("a.png", true), ("b.png", true)]);
    place.out(&dataset, "coco", "out");
    let file: Json =
        serde_json::from_slice(&fs::read(place.at("out/annotations/instances_train.json")).unwrap()).unwrap();
    let told = |n: usize| (file["annotations"][n]["area"].as_f64(), file["annotations"][n]["iscrowd"].as_i64());
    assert_eq!((told(0), told(1)), ((Some(3.0), Some(0)), (Some(6.0), Some(0))));
}

#[test]
fn keys_of_lines_that_are_paths_are_those_of_media() {
    let place = Place::new();
    let columns = [("image", Feature::Image), ("file_name", Feature::Text), ("other_file_name", Feature::Int)];
    let mut writer = DatasetWriter::create(place.at("d"), Schema::new(columns), &IngestOptions::default()).unwrap();
    let png = fs::read(fixture("objects/voc/JPEGImages/a.png")).unwrap();
    let cells =
        vec![Cell::Media(png), Cell::Media(b"said".to_vec()), Cell::Value(feedstock::data::label::Value::Int(3))];
    writer.append(Record { id: "a.png".into(), split: "train".into(), cells }).unwrap();
    writer.commit().unwrap();
    let out = place.out(&Dataset::open_stored(place.at("d")).unwrap(), "jsonl", "out");
    let line: Json = serde_json::from_slice(&fs::read(place.at("out/train/metadata.jsonl")).unwrap()).unwrap();
    assert_eq!(line, serde_json::json!({"file_name": "a.png", "file_name_text": "said", "other_file_name_text": 3}));
    assert_eq!(out.notes.len(), 2, "{:?}", out.notes);
}

#[test]
fn where_it_goes_is_looked_at_before_it_is_written() {
    let place = Place::new();
    let dataset = named(&place, "first", "cat", &[("a.png", true)]);
    let twice = ExportOptions { splits: vec!["train".into(), "train".into()], ..ExportOptions::default() };
    assert_eq!(export(&dataset, "coco", &place.at("twice"), &twice, &|_| Ok(())).unwrap().rows, 1);
    fs::create_dir(place.at("real")).unwrap();
    std::os::unix::fs::symlink(place.at("real"), place.at("link")).unwrap();
    place.out(&dataset, "coco", "link");
    assert!(place.at("real/a.png").exists() && place.at("link").is_symlink());
}

/// A dataset whose pictures have captions as people write them, and splits of these names.
fn captioned(place: &Place, name: &str, rows: &[(&str, &str)]) -> Dataset {
    let schema = Schema::new([("image", Feature::Image), ("captions", Feature::Text)]);
    let mut writer = DatasetWriter::create(place.at(name), schema, &IngestOptions::default()).unwrap();
    let png = fs::read(fixture("objects/voc/JPEGImages/a.png")).unwrap();
    for (number, (split, text)) in rows.iter().enumerate() {
        let mut png = png.clone();
        png.push(number as u8);
        let cells = vec![Cell::Media(png), Cell::Media(text.as_bytes().to_vec())];
        writer.append(Record { id: format!("{number}.png"), split: (*split).into(), cells }).unwrap();
    }
    writer.commit().unwrap();
    Dataset::open_stored(place.at(name)).unwrap()
}

#[test]
fn captions_are_a_list_or_one_text() {
    let place = Place::new();
    let rows = [("train", "a cat"), ("train", "[\"one\", \"two\"]"), ("train", "[sic] a dog"), ("train", "7")];
    place.out(&captioned(&place, "first", &rows), "coco", "out");
    let written: Json =
        serde_json::from_slice(&fs::read(place.at("out/annotations/captions_train.json")).unwrap()).unwrap();
    let told: Vec<(u64, &str)> = written["annotations"]
        .as_array()
        .unwrap()
        .iter()
        .map(|said| (said["image_id"].as_u64().unwrap(), said["caption"].as_str().unwrap()))
        .collect();
    assert_eq!(told, [(1, "a cat"), (2, "one"), (2, "two"), (3, "[sic] a dog"), (4, "7")]);
}

#[test]
fn two_splits_do_not_share_a_file() {
    let place = Place::new();
    let dataset = captioned(&place, "first", &[("val", "a"), ("validation", "b")]);
    for format in ["coco", "voc", "yolo"] {
        let Err(error) = export(&dataset, format, &place.at("out"), &ExportOptions::default(), &|_| Ok(())) else {
            assert_eq!(format, "yolo", "whose files are by folders");
            continue;
        };
        assert_eq!(error.exit_code(), 2, "{error}");
        assert!(!place.at("out").exists());
    }
    let told = ExportOptions { splits: vec!["val".into()], ..ExportOptions::default() };
    export(&dataset, "coco", &place.at("out"), &told, &|_| Ok(())).unwrap();
}
