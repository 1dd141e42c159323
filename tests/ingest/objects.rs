//! Objects from other tools' files to batches: what datumaro wrote (`fixtures/make/make_objects.py`) is what is read, what is stored comes back from the shards
//! alone, and boxes follow their pictures.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use crate::common::{fixture, made};
use feedstock::data::batch::{Batch, Column};
use feedstock::data::feature::{Feature, Schema};
use feedstock::data::label::Value;
use feedstock::data::objects::{Attribute, AttributeKind, BoxFormat, Objects, ObjectsType};
use feedstock::data::record::{Cell, Record};
use feedstock::dataset::Dataset;
use feedstock::ingest::{Control, DatasetWriter, IngestOptions, Summary, ingest};
use feedstock::plan::Filter;
use feedstock::recipe::Recipe;
use feedstock::verify::{rebuild_index, verify};
use serde::Deserialize;

#[derive(Deserialize)]
struct Expected {
    split: String,
    name: String,
    size: [u32; 2],
    boxes: Vec<[f32; 4]>,
    labels: Vec<String>,
}

fn expected() -> Vec<Expected> {
    serde_json::from_str(&std::fs::read_to_string(fixture("objects/expected.json")).unwrap()).unwrap()
}

fn of(dataset: &Dataset, column: usize) -> &ObjectsType {
    match &dataset.schema().columns[column].feature {
        Feature::Objects(of) => of,
        other => panic!("{other:?}"),
    }
}

/// Objects by the names of their classes, with their corners.
type Named = Vec<(String, [f32; 4])>;

/// Split, and for each object its class and corners, of every row by the end of its id.
fn rows(dataset: &Dataset) -> BTreeMap<String, (String, Option<Named>)> {
    let column = dataset.schema().position("objects").unwrap();
    let image = dataset.schema().position("image").unwrap();
    let of = of(dataset, column);
    let mut rows = BTreeMap::new();
    for split in dataset.splits().keys() {
        for row in dataset.index().ranges(Some(split)).into_iter().flatten() {
            let row = dataset.index().row(row);
            let info = row.payload(image).unwrap().info;
            let objects = row.objects(column, of).unwrap().map(|objects| {
                let names = objects.classes.iter().map(|class| of.names[*class as usize].clone());
                names.zip(objects.xyxy(of.boxes, info.width, info.height)).collect()
            });
            let id = row.id().rsplit_once('.').unwrap().0.to_owned();
            rows.insert(id, (split.clone(), objects));
        }
    }
    rows
}

/// How far a coordinate may be from what was written: COCO and VOC write the numbers, YOLO six decimals of parts of the picture, each of which is half a unit of the
/// last off, for centre and size.
fn bound(format: &str, side: u32) -> f32 {
    if format.starts_with("yolo") { 1.5 * 0.5e-6 * side as f32 + 1e-5 } else { 0.0 }
}

#[test]
fn what_datumaro_wrote_is_what_is_read() {
    for (format, dir) in [
        ("voc", "JPEGImages/"),
        ("coco_keypoints", "images/SPLIT/"),
        ("yolo", "obj_SPLIT_data/"),
        ("yolo_ultralytics", "images/SPLIT/"),
    ] {
        let mut options = IngestOptions::default();
        // datumaro counts from 0.
        options.source.box_origin = (format == "voc").then_some(0);
        let made = made(&format!("objects/{format}"), &options);
        let found = rows(&made.dataset);
        assert_eq!(found.len(), 4, "{format}");
        for row in expected() {
            let id = format!("{}{}", dir.replace("SPLIT", &row.split), row.name);
            let (split, objects) = &found[&id];
            assert_eq!(*split, if row.split == "val" { "validation" } else { "train" }, "{format}");
            // VOC has no file for a picture without objects, of which so nothing is known.
            if format == "voc" && row.boxes.is_empty() {
                assert_eq!(*objects, None);
                continue;
            }
            let objects = objects.as_ref().unwrap();
            assert_eq!(objects.iter().map(|o| o.0.as_str()).collect::<Vec<_>>(), row.labels, "{format} {id}");
            for ((_, found), written) in objects.iter().zip(&row.boxes) {
                for (axis, (a, b)) in found.iter().zip(written).enumerate() {
                    let far = (a - b).abs();
                    assert!(far <= bound(format, row.size[axis % 2]), "{format} {id}: {found:?} for {written:?}");
                }
            }
        }
    }
}

/// Polygons, runs, keypoints and captions are the file's own JSON; what else it says of classes and objects is kept.
#[test]
fn nothing_of_coco_is_lost() {
    let text = |made: &crate::common::Made, column: &str| -> BTreeMap<String, serde_json::Value> {
        let at = made.dataset.schema().position(column).unwrap();
        let mut bytes = Vec::new();
        (0..made.dataset.rows())
            .filter_map(|row| {
                made.dataset.fetch(row, at, &mut bytes).unwrap()?;
                let id = made.dataset.index().row(row).id().to_owned();
                Some((id, serde_json::from_slice(&bytes).unwrap()))
            })
            .collect()
    };
    let options = IngestOptions::default();
    for (kind, file, column) in
        [("coco", "instances", "segmentation"), ("coco_keypoints", "person_keypoints", "keypoints")]
    {
        let made = made(&format!("objects/{kind}"), &options);
        let found = text(&made, column);
        let schema = made.dataset.schema();
        let (objects, image_id) = (schema.position("objects").unwrap(), schema.position("image_id").unwrap());
        let of = of(&made.dataset, objects);
        let mut seen = 0;
        for split in ["train", "val"] {
            let path = fixture(&format!("objects/{kind}/annotations/{file}_{split}.json"));
            let json: serde_json::Value = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
            for category in json["categories"].as_array().unwrap() {
                let name = category["name"].as_str().unwrap();
                let mut said = of.details[name].clone();
                said["name"] = category["name"].clone();
                assert_eq!(said, *category, "{kind}");
            }
            for image in json["images"].as_array().unwrap() {
                let id = format!("images/{split}/{}", image["file_name"].as_str().unwrap());
                let own: Vec<&serde_json::Value> =
                    json["annotations"].as_array().unwrap().iter().filter(|a| a["image_id"] == image["id"]).collect();
                let columns: Vec<&serde_json::Value> = own.iter().map(|a| &a[column]).collect();
                assert_eq!(serde_json::json!(columns), found[&id], "{kind} {id}");
                let row =
                    (0..made.dataset.rows()).map(|row| made.dataset.index().row(row)).find(|r| r.id() == id).unwrap();
                assert_eq!(row.value(image_id), Value::Int(image["id"].as_i64().unwrap()));
                let told = row.told(objects, &schema.columns[objects].feature);
                for (told, own) in told.as_array().unwrap().iter().zip(own) {
                    for (key, value) in [
                        ("bbox", &own["bbox"]),
                        ("area", &own["area"]),
                        ("id", &own["id"]),
                        ("iscrowd", &own["iscrowd"]),
                    ] {
                        assert_eq!(told[key], *value, "{kind} {id} {key}");
                    }
                    seen += 1;
                }
            }
        }
        assert!(seen >= 5, "{kind}: {seen} objects");
    }
    let captions = text(&made("objects/coco_captions", &options), "captions");
    assert_eq!(captions["images/train/a.png"][1], "cat number 1 \"quoted\" ü");
    assert_eq!(captions.len(), 3, "a picture without captions has none");
}

/// The shards alone give the same Index again, byte for byte, and someone who knows nothing of versions reads the same objects.
#[test]
fn shards_alone_have_the_objects() {
    for format in ["voc", "coco", "yolo_ultralytics"] {
        let made = made(&format!("objects/{format}"), &IngestOptions::default());
        let root = made.folder.path().join("dataset");
        let segment = std::fs::read_dir(root.join(".dsctl/segments")).unwrap().next().unwrap().unwrap().path();
        let before = std::fs::read(&segment).unwrap();
        std::fs::remove_file(&segment).unwrap();
        rebuild_index(&root).unwrap();
        let report = verify(&root, true).unwrap();
        assert!(report.findings.is_empty(), "{format}: {:?}", report.findings);
        assert!(std::fs::read(&segment).unwrap() == before, "{format}");
        let foreign = Dataset::open_stored(root.join("data")).unwrap();
        let column = foreign.schema().position("objects").unwrap();
        let own = made.dataset.schema().position("objects").unwrap();
        let (there, here) = (of(&foreign, column), of(&made.dataset, own));
        assert_eq!((there.boxes, &there.names, &there.attributes), (here.boxes, &here.names, &here.attributes));
        let all = |dataset: &Dataset, column: usize| -> Vec<Option<Objects>> {
            let of = of(dataset, column);
            let mut all: Vec<_> =
                (0..dataset.rows()).map(|row| dataset.index().row(row).objects(column, of).unwrap()).collect();
            all.sort_by_key(|objects| format!("{objects:?}"));
            all
        };
        assert_eq!(all(&foreign, column), all(&made.dataset, own), "{format}");
    }
}

fn kinds() -> Schema {
    let attributes = vec![
        Attribute::new("n", AttributeKind::Int),
        Attribute::new("f", AttributeKind::Float),
        Attribute::new("t", AttributeKind::Text),
    ];
    let of = ObjectsType { attributes, ..ObjectsType::new(BoxFormat::Xyxy) };
    Schema::new([("image", Feature::Image), ("objects", Feature::Objects(of))])
}

fn record(id: &str, names: &[&str], objects: Option<Objects>) -> Record {
    let names = names.iter().map(|name| (*name).to_owned()).collect();
    let objects = objects.map_or(Cell::NULL, |objects| Cell::Objects(names, objects));
    Record { id: id.into(), split: "train".into(), cells: vec![Cell::Media(crate::common::gray_png(20, 10)), objects] }
}

fn some(classes: &[i64]) -> Objects {
    let n = classes.len();
    Objects {
        boxes: (0..n).map(|i| [i as f32, 1.5, i as f32 + 4.25, 8.0]).collect(),
        classes: classes.to_vec(),
        attributes: vec![
            (0..n).map(|i| if i == 1 { Value::Null } else { Value::Int(i as i64 - 3) }).collect(),
            (0..n).map(|i| Value::Float(i as f64 / 7.0)).collect(),
            (0..n).map(|i| Value::Text("ü".repeat(i))).collect(),
        ],
    }
}

fn write(path: &Path, records: Vec<Record>) -> feedstock::Result<Summary> {
    let mut writer = DatasetWriter::create(path, kinds(), &IngestOptions::default())?;
    records.into_iter().try_for_each(|record| writer.append(record))?;
    writer.commit()
}

#[test]
fn records_append_classes_and_are_known_again() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("dataset");
    let first = || {
        vec![record("a", &["cat"], Some(some(&[0, 0, -1]))), record("b", &[], Some(some(&[]))), record("c", &[], None)]
    };
    write(&path, first()).unwrap();
    let again = write(&path, first()).unwrap();
    assert_eq!((again.rows, again.skipped), (0, 3));
    write(&path, vec![record("d", &["dog", "cat"], Some(some(&[0, 1])))]).unwrap();
    let dataset = Dataset::open(&path).unwrap();
    let of = of(&dataset, 1);
    assert_eq!(of.names, ["cat", "dog"]);
    let read = |row: u64| dataset.index().row(row).objects(1, of).unwrap();
    assert_eq!(read(0), Some(some(&[0, 0, -1])));
    assert_eq!((read(1), read(2)), (Some(some(&[])), None));
    assert_eq!(read(3), Some(some(&[1, 0])));
    assert!(verify(&path, true).unwrap().findings.is_empty());

    // Another box under the same id is another row; what does not fit its column is refused, and the writer goes on.
    let mut other = some(&[0, 0, -1]);
    other.boxes[2][0] += 0.5;
    let error = write(&path, vec![record("a", &["cat"], Some(other))]).unwrap_err();
    assert!(error.to_string().contains("objects"), "{error}");
    let mut writer = DatasetWriter::create(&path, kinds(), &IngestOptions::default()).unwrap();
    for bad in [
        Objects { classes: vec![], ..some(&[0]) },
        Objects { boxes: vec![[0.0, f32::INFINITY, 1.0, 1.0]], ..some(&[0]) },
        Objects { attributes: vec![vec![Value::Text("x".into())]; 3], ..some(&[0]) },
    ] {
        let error = writer.append(record("e", &["cat"], Some(bad))).unwrap_err();
        assert!(error.to_string().contains("bad-label"), "{error}");
    }
    writer.append(record("e", &["cat"], Some(some(&[0])))).unwrap();
    assert_eq!(writer.commit().unwrap().rows, 1);
    let other =
        Schema::new([("image", Feature::Image), ("objects", Feature::Objects(ObjectsType::new(BoxFormat::Xywh)))]);
    let error = DatasetWriter::create(&path, other, &IngestOptions::default()).unwrap_err();
    assert_eq!(error.exit_code(), 2);
}

fn ragged<'a>(batch: &'a Batch, name: &str) -> &'a feedstock::data::batch::Ragged {
    match batch.column(name) {
        Ok(Column::Ragged(ragged)) => ragged,
        other => panic!("{name}: {other:?}"),
    }
}

/// A picture whose object is a white rectangle on black: after any crops and flips the box of the object is the one around the white pixels.
#[test]
fn boxes_are_where_their_pixels_are() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("dataset");
    let (width, height) = (64u32, 48u32);
    let attributes = vec![vec![Value::Int(5)], vec![Value::Float(0.5)], vec![Value::Text("t".into())]];
    let mut writer = DatasetWriter::create(&path, kinds(), &IngestOptions::default()).unwrap();
    for (n, (x, y)) in [(0, 0), (10, 7), (40, 20), (52, 30), (30, 0), (3, 33)].into_iter().enumerate() {
        let bounds = [x as f32, y as f32, (x + 12) as f32, (y + 15) as f32];
        let inside = |at: u32| (x..x + 12).contains(&(at % width)) && (y..y + 15).contains(&(at / width));
        let pixels: Vec<u8> = (0..width * height).map(|at| if inside(at) { 255 } else { 0 }).collect();
        let mut png = Vec::new();
        use image::ImageEncoder as _;
        image::codecs::png::PngEncoder::new(&mut png)
            .write_image(&pixels, width, height, image::ExtendedColorType::L8)
            .unwrap();
        let objects = Objects { boxes: vec![bounds], classes: vec![0], attributes: attributes.clone() };
        let cells = vec![Cell::Media(png), Cell::Objects(vec!["it".into()], objects)];
        writer.append(Record { id: format!("{n}"), split: "train".into(), cells }).unwrap();
    }
    writer.commit().unwrap();
    let dataset = Arc::new(Dataset::open(&path).unwrap());
    let ops =
        serde_json::json!([{"op": "random_resized_crop", "size": 96, "scale": [0.2, 1.0]}, {"op": "horizontal_flip"}]);
    let recipe: Recipe = serde_json::from_value(serde_json::json!({
        "batch": 6, "seed": 3, "columns": {"image": {"ops": ops}, "objects": {}},
    }))
    .unwrap();
    let (mut seen, mut gone) = (0, 0);
    let loader = recipe.loader(dataset).unwrap();
    for epoch in 0..20 {
        for batch in loader.epoch(epoch).unwrap() {
            let batch = batch.unwrap();
            let Ok(Column::Dense(image)) = batch.column("image") else { panic!() };
            assert_eq!(image.shape, [6, 96, 96, 3]);
            let (boxes, classes) = (ragged(&batch, "objects_bbox"), ragged(&batch, "objects_category"));
            assert!(batch.column("objects_t").is_err(), "texts are not delivered");
            for slot in 0..6 {
                let pixels = &image.buffer.bytes()[slot * 96 * 96 * 3..][..96 * 96 * 3];
                let white: Vec<(usize, usize)> =
                    (0..96 * 96).filter(|at| pixels[at * 3] > 127).map(|at| (at % 96, at / 96)).collect();
                let own: &[f32] = bytemuck::cast_slice(&boxes.values[boxes.offsets[slot]..boxes.offsets[slot + 1]]);
                assert_eq!(boxes.shapes[slot], [own.len() / 4, 4]);
                assert_eq!(classes.shapes[slot], [own.len() / 4]);
                assert_eq!(ragged(&batch, "objects_n").shapes[slot], [own.len() / 4]);
                if white.is_empty() {
                    // A box of which less than a pixel is left may be there still.
                    gone += 1;
                    continue;
                }
                let xs = white.iter().map(|p| p.0);
                let ys = white.iter().map(|p| p.1);
                let around = [
                    xs.clone().min().unwrap() as f32,
                    ys.clone().min().unwrap() as f32,
                    xs.max().unwrap() as f32 + 1.0,
                    ys.max().unwrap() as f32 + 1.0,
                ];
                // The threshold is at the edge of the white pixels: half a pixel to either side of the resized one.
                let far = own.iter().zip(around).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
                assert!(own.len() == 4 && far <= 1.0, "{own:?} for {around:?}");
                seen += 1;
            }
        }
    }
    assert!(seen > 60 && gone > 3, "{seen} seen, {gone} gone");
}

#[test]
fn a_recipe_says_which_picture_and_rows_are_chosen_by_their_number() {
    let made = made("objects/coco", &IngestOptions::default());
    let chosen = |text: &str| {
        let filter = Filter::parse(text).unwrap().bind(made.dataset.schema()).unwrap();
        (0..made.dataset.rows()).filter(|row| filter.holds(&made.dataset.index().row(*row))).count()
    };
    assert_eq!((chosen("objects = 0"), chosen("objects >= 2"), chosen("objects > 9")), (1, 2, 0));
    let recipe = |of: serde_json::Value| -> feedstock::Result<feedstock::loader::Loader> {
        let recipe: Recipe =
            serde_json::from_value(serde_json::json!({"batch": 2, "columns": {"objects": of}})).unwrap();
        recipe.loader(made.dataset.clone())
    };
    // Without its picture among the columns, boxes are those of the stored one.
    let loader = recipe(serde_json::json!({"of": "image"})).unwrap();
    let batches: Vec<Batch> = loader.epoch(0).unwrap().map(Result::unwrap).collect();
    let all: Vec<f32> = batches
        .iter()
        .flat_map(|batch| bytemuck::pod_collect_to_vec::<u8, f32>(&ragged(batch, "objects_bbox").values))
        .collect();
    assert_eq!((batches.len(), all.len()), (2, 6 * 4));
    assert!(all.chunks_exact(4).any(|corners| corners == [20.5, 10.25, 28.0, 19.25]), "{all:?}");
    for (bad, said) in [
        (serde_json::json!({"of": "nothing"}), "no column of pictures"),
        (serde_json::json!({"ops": [{"op": "resize", "size": 3}]}), "follow"),
    ] {
        let error = recipe(bad).map(|_| ()).unwrap_err();
        assert!(error.exit_code() == 2 && error.to_string().contains(said), "{error}");
    }
}

/// JSONL as people write it for `datasets`, both forms in one file, and rows that are bad.
#[test]
fn lines_of_json_have_objects_too() {
    let source = tempfile::tempdir().unwrap();
    for name in ["a", "b", "c", "d"] {
        std::fs::write(source.path().join(name).with_extension("png"), crate::common::gray_png(30, 20)).unwrap();
    }
    let lines = [
        r#"{"file_name": "a.png", "objects": {"bbox": [[302.5, 109.0, 73.0, 52.0], [1, 2, 3, 4]], "categories": [1, 0], "area": [3796, 12]}}"#,
        r#"{"file_name": "b.png", "objects": []}"#,
        r#"{"file_name": "c.png", "objects": [{"bbox": [1, 2, 3, 4], "category": "12", "area": 1.5}]}"#,
        r#"{"file_name": "d.png", "objects": {"bbox": [[1, 2, 3]], "categories": [0]}}"#,
    ];
    std::fs::write(source.path().join("metadata.jsonl"), lines.join("\n")).unwrap();
    let target =
        source.path().join("../").join(format!("{}.dataset", source.path().file_name().unwrap().to_str().unwrap()));
    let options = IngestOptions::default();
    let summary = ingest(source.path(), &target, &options, &Control::default()).unwrap();
    assert_eq!((summary.rows, summary.quarantined), (3, 1));
    let dataset = Dataset::open(&target).unwrap();
    let found = rows(&dataset);
    let of = of(&dataset, dataset.schema().position("objects").unwrap());
    assert_eq!(of.names, ["0", "1", "12"], "numbers in their order");
    assert_eq!(found["a"].1.as_ref().unwrap()[0], ("1".to_owned(), [302.5, 109.0, 375.5, 161.0]));
    assert_eq!((found["b"].1.as_ref().unwrap().len(), found["c"].1.as_ref().unwrap().len()), (0, 1));
    drop(dataset);
    std::fs::remove_dir_all(&target).unwrap();
}

/// A column of floats takes whole numbers that a float holds; one of whole numbers takes no floats, as its files have whole numbers.
#[test]
fn a_column_of_floats_takes_whole_numbers() {
    let dir = tempfile::tempdir().unwrap();
    let source = |name: &str, scores: &[&str]| {
        let folder = dir.path().join(name);
        std::fs::create_dir_all(&folder).unwrap();
        let line = |(n, score): (usize, &&str)| {
            std::fs::write(folder.join(format!("{name}{n}.png")), crate::common::gray_png(30, 20 + n as u32)).unwrap();
            format!(
                "{{\"file_name\": \"{name}{n}.png\", \"objects\": [{{\"bbox\": [1, 2, 3, 4], \"category\": \"a\", \"score\": {score}}}]}}\n"
            )
        };
        std::fs::write(folder.join("metadata.jsonl"), scores.iter().enumerate().map(line).collect::<String>()).unwrap();
        folder
    };
    let take = |source: &Path, target: &str| {
        let options = IngestOptions { max_errors: feedstock::ingest::MaxErrors::ALL, ..IngestOptions::default() };
        ingest(source, &dir.path().join(target), &options, &Control::default())
    };
    let scores = |target: &str| -> Vec<Value> {
        let dataset = Dataset::open(dir.path().join(target)).unwrap();
        let column = dataset.schema().position("objects").unwrap();
        let row = |at| {
            dataset.index().row(at).objects(column, of(&dataset, column)).unwrap().unwrap().attributes[0][0].clone()
        };
        (0..dataset.rows()).map(row).collect()
    };
    take(&source("floats", &["0.5", "1"]), "d").unwrap();
    let summary = take(&source("whole", &["3", "9007199254740992", "9007199254740993", "-7"]), "d").unwrap();
    assert_eq!((summary.rows, summary.quarantined), (3, 1), "2^53 + 1 is no float");
    assert_eq!(scores("d"), [0.5, 1.0, 3.0, 9_007_199_254_740_992.0, -7.0].map(Value::Float));
    let again = take(&source("whole", &["3", "9007199254740992", "9007199254740993", "-7"]), "d").unwrap();
    assert_eq!((again.rows, again.skipped, again.quarantined), (0, 3, 1));
    assert!(verify(dir.path().join("d"), true).unwrap().findings.is_empty());
    take(&source("more", &["3"]), "whole.d").unwrap();
    assert_eq!(take(&source("late", &["0.5"]), "whole.d").unwrap_err().exit_code(), 2);
}

/// Every cell of a folder with metadata is what `datasets` reads (`fixtures/make/make_imagefolder.py`); pictures are known by their size.
#[test]
fn imagefolders_are_what_datasets_reads() {
    let text = std::fs::read_to_string(fixture("imagefolder/expected.json")).unwrap();
    let expected: serde_json::Value = serde_json::from_str(&text).unwrap();
    for (kind, media) in [("captions", &["image"][..]), ("pairs", &["input", "mask"][..])] {
        let made = made(&format!("imagefolder/{kind}"), &IngestOptions::default());
        let (dataset, schema) = (&made.dataset, made.dataset.schema());
        let mut found: BTreeMap<String, Vec<serde_json::Value>> = BTreeMap::new();
        for row in 0..dataset.rows() {
            let entry = dataset.index().row(row);
            let mut told = serde_json::Map::new();
            for (at, column) in schema.columns.iter().enumerate() {
                let mut bytes = Vec::new();
                let cell = match &column.feature {
                    Feature::Image => {
                        let info = dataset.fetch(row, at, &mut bytes).unwrap().unwrap().info;
                        serde_json::json!([info.width, info.height])
                    }
                    Feature::Text => {
                        dataset.fetch(row, at, &mut bytes).unwrap().unwrap();
                        serde_json::json!(String::from_utf8(bytes).unwrap())
                    }
                    feature => entry.told(at, feature),
                };
                told.insert(column.name.clone(), cell);
            }
            let origin = dataset.origin(row, 0);
            let split = origin.file.unwrap().display().to_string();
            let split = ["train", "validation", "test"].into_iter().find(|s| split.contains(&format!("data/{s}/")));
            found.entry(split.unwrap().to_owned()).or_default().push(told.into());
        }
        let mut want: BTreeMap<String, Vec<serde_json::Value>> = BTreeMap::new();
        for (split, rows) in expected[kind].as_object().unwrap() {
            for row in rows.as_array().unwrap() {
                let mut row = row.clone();
                for column in media {
                    row[*column] = row[*column]["size"].clone();
                }
                // Lists side by side there, one object behind the other here; classes that have numbers are called by them.
                if let Some(objects) = row.get("objects").filter(|o| !o.is_null()) {
                    let pairs =
                        objects["bbox"].as_array().unwrap().iter().zip(objects["categories"].as_array().unwrap());
                    let told = pairs.map(|(b, c)| serde_json::json!({"bbox": b, "category": c.to_string()}));
                    row["objects"] = told.collect();
                }
                want.entry(split.clone()).or_default().push(row);
            }
        }
        let key = |row: &serde_json::Value| row.to_string();
        found.values_mut().chain(want.values_mut()).for_each(|rows| rows.sort_by_key(key));
        assert_eq!(found, want, "{kind}");
    }
}

/// Label files that are damaged anywhere: the listing ends with every picture listed or told of, or says that it cannot be; it never panics.
#[test]
fn damaged_labels_lose_no_picture() {
    use feedstock::source::{Listing, choose, sources};
    use feedstock::spool::Spill;

    let mut stream = feedstock::rng::Key::new(11).stream();
    let (mut listed, mut refused, mut ended) = (0u64, 0u64, 0u64);
    for format in ["voc", "coco", "coco_keypoints", "coco_captions", "yolo", "yolo_ultralytics"] {
        let files: Vec<std::path::PathBuf> = walkdir::WalkDir::new(fixture(&format!("objects/{format}")))
            .sort_by_file_name()
            .into_iter()
            .map(Result::unwrap)
            .filter(|entry| entry.file_type().is_file())
            .map(walkdir::DirEntry::into_path)
            .collect();
        let labels: Vec<usize> =
            (0..files.len()).filter(|at| files[*at].extension().is_none_or(|e| e != "png")).collect();
        let source = tempfile::tempdir().unwrap();
        let place = |path: &Path| source.path().join(path.strip_prefix(fixture(&format!("objects/{format}"))).unwrap());
        for file in &files {
            std::fs::create_dir_all(place(file).parent().unwrap()).unwrap();
            std::fs::copy(file, place(file)).unwrap();
        }
        let name = format.split('_').next().unwrap();
        for _ in 0..120 {
            let file = &files[labels[stream.below(labels.len() as u64) as usize]];
            let whole = std::fs::read(file).unwrap();
            let mut bytes = whole.clone();
            for _ in 0..=stream.below(3) {
                let at = stream.below(bytes.len() as u64 + 1) as usize;
                let other = *b"0-\"[{}]<>&,:\n \xff\0e9./".get(stream.below(20) as usize).unwrap();
                match stream.below(4) {
                    0 => bytes.truncate(at),
                    1 => bytes.insert(at, other),
                    2 => bytes.extend_from_slice(&whole[at.min(whole.len())..]),
                    _ if at < bytes.len() => bytes[at] = other,
                    _ => {}
                }
            }
            std::fs::write(place(file), &bytes).unwrap();
            let choice = choose(&sources(), source.path(), Some(name)).unwrap();
            let listing =
                Listing::of(choice.source.as_ref(), source.path(), &Default::default(), &Spill::temporary(), &|_| {
                    Ok(())
                });
            match listing {
                Ok(listing) => {
                    let ids: Vec<String> = listing.entries.iter().map(|entry| entry.unwrap().id).collect();
                    let told: Vec<String> = listing.refused.iter().map(|refusal| refusal.unwrap().id).collect();
                    (listed, refused) = (listed + ids.len() as u64, refused + told.len() as u64);
                    // Of COCO a picture is what the file lists; all else is in the folder.
                    if name != "coco" {
                        for picture in ["a.png", "b.png", "e.png"] {
                            let there = ids.iter().chain(&told).any(|id| id.ends_with(picture));
                            assert!(there, "{format}: {picture} is gone: {:?}", String::from_utf8_lossy(&bytes));
                        }
                    }
                }
                Err(error) => {
                    assert!(error.exit_code() == 2, "{format}: {error}");
                    ended += 1;
                }
            }
            std::fs::write(place(file), &whole).unwrap();
        }
    }
    assert!(listed > 1000 && refused > 50 && ended > 50, "{listed} listed, {refused} refused, {ended} ended");
}

/// Verbs that make a version out of another carry objects along, by the names of their classes.
#[test]
fn objects_go_through_versions() {
    use feedstock::data::partition::Fractions;
    use feedstock::revise::{
        CompactOptions, MergeOptions, RelabelOptions, RemoveOptions, SplitBy, SplitOptions, compact, merge, relabel,
        remove, split,
    };
    use feedstock::store::Store;

    let source = |names: &[(&str, &str)]| {
        let dir = tempfile::tempdir().unwrap();
        let lines: Vec<String> = names
            .iter()
            .map(|(name, class)| {
                std::fs::write(dir.path().join(name), crate::common::gray_png(30, 20)).unwrap();
                format!(r#"{{"file_name": "{name}", "objects": [{{"bbox": [1, 2, 3, 4.5], "category": "{class}", "n": 1}}]}}"#)
            })
            .collect();
        std::fs::write(dir.path().join("metadata.jsonl"), lines.join("\n")).unwrap();
        dir
    };
    let folder = tempfile::tempdir().unwrap();
    let make = |name: &str, rows: &[(&str, &str)]| {
        let (path, source) = (folder.path().join(name), source(rows));
        ingest(source.path(), &path, &IngestOptions::default(), &Control::default()).unwrap();
        path
    };
    let one = make("one", &[("a.png", "sheep"), ("b.png", "sheep"), ("c.png", "horse")]);
    let two = make("two", &[("a.png", "sheep"), ("d.png", "zebra"), ("e.png", "ant")]);
    let store = Store::open(&one);
    let named = || -> BTreeMap<String, String> {
        let rows = rows(&Dataset::open(&one).unwrap());
        rows.into_iter().map(|(id, (_, objects))| (id, objects.unwrap()[0].0.clone())).collect()
    };
    let expected = |all: &[(&str, &str)]| -> BTreeMap<String, String> {
        all.iter().map(|(id, class)| ((*id).to_owned(), (*class).to_owned())).collect()
    };
    let whole = |what: &str| {
        let report = verify(&one, true).unwrap();
        assert!(report.findings.is_empty(), "{what}: {:?}", report.findings);
    };

    let merged =
        merge(&store, &Dataset::open(&two).unwrap(), &MergeOptions::default(), &mut |p| panic!("{p}")).unwrap();
    assert_eq!((merged.added, merged.same), (2, 1));
    let all = [("a", "sheep"), ("b", "sheep"), ("c", "horse"), ("d", "zebra"), ("e", "ant")];
    assert_eq!(named(), expected(&all));
    let dataset = Dataset::open(&one).unwrap();
    assert_eq!(of(&dataset, dataset.schema().position("objects").unwrap()).names, ["horse", "sheep", "ant", "zebra"]);
    whole("merge");

    // Of the same id with another box, another row.
    let other = make("other", &[("a.png", "horse")]);
    let mut problems = Vec::new();
    let dataset = Dataset::open(&other).unwrap();
    let merged = merge(&store, &dataset, &MergeOptions::default(), &mut |p| {
        problems.push(p.to_string());
        Ok(())
    });
    assert!(!merged.unwrap().committed && problems.len() == 1 && problems[0].contains("objects"), "{problems:?}");

    let csv = folder.path().join("labels.csv");
    std::fs::write(&csv, "id,objects\na.png,\n").unwrap();
    let mut problems = Vec::new();
    let done = relabel(&store, &csv, RelabelOptions::default(), &mut |p| {
        problems.push(p.to_string());
        Ok(())
    });
    assert!(!done.unwrap().committed && problems.iter().any(|p| p.contains("stored in the shards")), "{problems:?}");

    let fractions = Fractions::new(vec![("train".into(), 0.5), ("test".into(), 0.5)]).unwrap();
    split(&store, &SplitOptions { fractions, by: SplitBy::Row, seed: 1, only: Vec::new(), dry_run: false }).unwrap();
    assert_eq!(named(), expected(&all));
    whole("split");
    assert!(compact(&store, &CompactOptions { materialise: true, ..CompactOptions::default() }).unwrap().committed);
    assert_eq!(named(), expected(&all));
    whole("compact");
    let options = RemoveOptions { ids: vec!["b.png".into()], ..RemoveOptions::default() };
    assert_eq!(remove(&store, &options, &mut |p| panic!("{p}")).unwrap().left, 4);
    assert_eq!(named(), expected(&[all[0], all[2], all[3], all[4]]));
    whole("rm");
}

/// What boxes in pixels are places in is stored as it is, or not at all; without their picture parts of it are no place.
#[test]
fn pictures_of_boxes_are_not_stored_smaller() {
    let folder = tempfile::tempdir().unwrap();
    let mut smaller = IngestOptions::default();
    smaller.prepare.image.max_side = Some(16);
    let error = ingest(&fixture("objects/coco"), &folder.path().join("a"), &smaller, &Control::default()).unwrap_err();
    assert!(error.exit_code() == 2 && error.to_string().contains("boxes"), "{error}");
    // Parts of a picture are the same of a smaller one.
    let path = folder.path().join("b");
    ingest(&fixture("objects/yolo"), &path, &smaller, &Control::default()).unwrap();
    let found = rows(&Dataset::open(&path).unwrap());
    let (_, objects) = &found["obj_train_data/sub/c d"];
    assert_eq!(objects.as_ref().unwrap()[0].1, [0.0, 0.0, 16.0, 15.0]);
    let error = DatasetWriter::create(folder.path().join("c"), kinds(), &smaller).map(|_| ()).unwrap_err();
    assert_eq!(error.exit_code(), 2);
}

/// An ingest of COCO is taken up again picture by picture: what was mended comes in, and nothing else is touched or forgotten.
#[test]
fn a_retry_of_one_picture_is_of_that_picture() {
    let source = tempfile::tempdir().unwrap();
    for name in ["a", "b", "c"] {
        std::fs::write(source.path().join(name).with_extension("png"), crate::common::gray_png(30, 20)).unwrap();
    }
    let write = |bad: &str, gone: bool| {
        let pictures = [("a", 1), ("b", 2), ("c", 3)].iter().filter(|(_, id)| !(gone && *id == 2));
        let images: Vec<String> =
            pictures.map(|(n, id)| format!(r#"{{"id": {id}, "file_name": "{n}.png"}}"#)).collect();
        let json = format!(
            r#"{{"images": [{}], "categories": [{{"id": 1, "name": "x"}}], "annotations": [
                {{"id": 1, "image_id": 1, "category_id": 1, "bbox": {bad}}},
                {{"id": 2, "image_id": 3, "category_id": 1, "bbox": [1, 2, 3, 4]}}{}]}}"#,
            images.join(", "),
            if gone { "" } else { r#", {"id": 3, "image_id": 2, "category_id": 1, "bbox": [1]}"# }
        );
        std::fs::write(source.path().join("x.json"), json).unwrap();
    };
    write("[1, 2]", false);
    let path = source.path().join("../").join(format!("{}.ds", source.path().file_name().unwrap().to_str().unwrap()));
    let max_errors = feedstock::ingest::MaxErrors::ALL;
    let options = IngestOptions { max_errors, ..IngestOptions::default() };
    let summary = ingest(source.path(), &path, &options, &Control::default()).unwrap();
    assert_eq!((summary.rows, summary.quarantined), (1, 2));
    // One is mended, one is gone from the source: that is not forgotten.
    write("[1, 2, 3, 4]", true);
    let run = &feedstock::quarantine::runs(&path).unwrap()[0];
    let done = feedstock::ingest::retry(&path, run, Some(source.path()), &options, &Control::default()).unwrap();
    assert_eq!(done.summary.rows, 1, "{done:?}");
    assert_eq!(Dataset::open(&path).unwrap().rows(), 2);
    let left = std::fs::read_dir(path.join(".dsctl/quarantine")).unwrap();
    let left: String = left
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|e| e == "jsonl"))
        .map(|path| std::fs::read_to_string(path).unwrap())
        .collect();
    assert!(left.contains("b.png") && !left.contains("a.png"), "{left}");
    std::fs::remove_dir_all(&path).unwrap();
}
