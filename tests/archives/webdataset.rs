//! WebDataset: what its own reader reads of the shards that its own writer wrote (`fixtures/make/make_webdataset.py`) is what is taken in.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use feedstock::data::feature::{Feature, Schema};
use feedstock::data::info::Kind;
use feedstock::data::label::Value;
use feedstock::dataset::Dataset;
use feedstock::ingest::{Control, IngestOptions, MaxErrors, Summary, ingest};
use feedstock::quarantine::runs;
use serde::Deserialize;
use sha2::{Digest, Sha256};

use crate::common::fixture;
use crate::common::pack::{END, Zipped, gzip, member, tar, zip_of};

#[derive(Deserialize)]
struct Expected {
    shard: String,
    key: String,
    members: BTreeMap<String, (u64, String)>,
}

fn expected(folder: &str) -> BTreeMap<String, BTreeMap<String, (u64, String)>> {
    let all: Vec<Expected> =
        serde_json::from_str(&fs::read_to_string(fixture("webdataset/expected.json")).unwrap()).unwrap();
    let within = all.into_iter().filter_map(|e| {
        let shard = e.shard.strip_prefix(folder)?.strip_prefix('/')?;
        Some((format!("{shard}/{}", e.key), e.members))
    });
    within.collect()
}

fn take(source: &Path, dataset: &Path) -> Summary {
    let options = IngestOptions { max_errors: MaxErrors::ALL, ..IngestOptions::default() };
    ingest(source, dataset, &options, &Control::default()).unwrap_or_else(|e| panic!("{}: {e}", source.display()))
}

/// Rows by id: the split, and the cells by column; payloads by length and hash.
type Rows = BTreeMap<String, (String, BTreeMap<String, String>)>;

fn rows(dataset: &Path) -> (Schema, Rows) {
    let dataset = Dataset::open(dataset).unwrap();
    let mut rows = Rows::new();
    for split in dataset.splits().keys() {
        for at in dataset.index().ranges(Some(split)).into_iter().flatten() {
            let (row, mut cells) = (dataset.index().row(at), BTreeMap::new());
            for (i, column) in dataset.schema().columns.iter().enumerate() {
                let shown = match (&column.feature, row.value(i)) {
                    (feature, _) if feature.is_payload() => {
                        if row.payload(i).is_none() {
                            continue;
                        }
                        let mut bytes = Vec::new();
                        dataset.fetch_checked(at, i, &mut bytes).unwrap().unwrap();
                        match feature.kind() {
                            Some(Kind::Text) => String::from_utf8(bytes).unwrap(),
                            _ => hashed(&bytes),
                        }
                    }
                    (Feature::ClassLabel { names }, Value::Int(class)) => names[class as usize].clone(),
                    (_, Value::Int(v)) => v.to_string(),
                    (_, Value::Float(v)) => v.to_string(),
                    (_, Value::Bool(v)) => v.to_string(),
                    (_, Value::Text(v)) => v,
                    (_, Value::Null) => continue,
                };
                cells.insert(column.name.clone(), shown);
            }
            rows.insert(row.id().to_owned(), (split.clone(), cells));
        }
    }
    (dataset.schema().clone(), rows)
}

fn hashed(bytes: &[u8]) -> String {
    let hex: String = Sha256::digest(bytes).iter().map(|b| format!("{b:02x}")).collect();
    format!("{} {hex}", bytes.len())
}

fn columns(schema: &Schema) -> Vec<(&str, &str)> {
    schema.columns.iter().map(|column| (column.name.as_str(), column.feature.name())).collect()
}

#[test]
fn shards_are_read_as_the_library_reads_them() {
    let dir = tempfile::tempdir().unwrap();
    let cases: [(&str, &[(&str, &str)]); 3] = [
        ("shards", &[("image", "jpg"), ("text", "txt"), ("label", "cls")]),
        ("sounds", &[("audio", "wav"), ("transcript", "transcript.txt")]),
        (
            "quirks",
            &[("image", "jpg"), ("first", "first.jpg"), ("second", "second.jpg"), ("seg", "seg.png"), ("label", "cls")],
        ),
    ];
    for (folder, suffixes) in cases {
        let target = dir.path().join(folder);
        let summary = take(&fixture("webdataset").join(folder), &target);
        let (expected, (_, found)) = (expected(folder), rows(&target));
        assert_eq!((summary.rows as usize, summary.quarantined), (expected.len(), 0), "{folder}");
        assert!(found.keys().eq(expected.keys()), "{folder}");
        for (id, members) in &expected {
            for (column, suffix) in suffixes {
                let told = format!("{id} {column}");
                match (found[id].1.get(*column), members.get(*suffix)) {
                    (None, None) => {}
                    (Some(text), Some((_, hash))) if suffix.ends_with("txt") => {
                        assert!(hashed(text.as_bytes()).ends_with(hash), "{told}");
                    }
                    // A class is a number that has a name, or a name.
                    (Some(class), Some((_, hash))) if *suffix == "cls" => {
                        let names = ["zero", "one", "two", "three", "four"];
                        let number = names.iter().position(|name| name == class).map(|n| n.to_string());
                        let said = if folder == "shards" { number.unwrap() } else { class.clone() };
                        assert!(hashed(said.as_bytes()).ends_with(hash), "{told}");
                    }
                    (found, expected) => {
                        assert_eq!(found.cloned(), expected.map(|(n, hash)| format!("{n} {hash}")), "{told}");
                    }
                }
            }
        }
    }
}

#[test]
fn splits_and_fields_are_those_of_the_shards() {
    let dir = tempfile::tempdir().unwrap();
    take(&fixture("webdataset/shards"), &dir.path().join("shards"));
    let (schema, found) = rows(&dir.path().join("shards"));
    let expected = [
        ("image", "image"),
        ("text", "text"),
        ("label", "class label"),
        ("width", "int"),
        ("score", "float"),
        ("kept", "bool"),
        ("who", "text"),
        ("tags", "text"),
    ];
    assert_eq!(columns(&schema), expected);
    let splits: Vec<(&str, &str)> = found.iter().map(|(id, (split, _))| (id.as_str(), split.as_str())).collect();
    assert!(splits.iter().all(|(id, split)| id.starts_with("val-") == (*split == "validation")), "{splits:?}");
    let row = &found.iter().find(|(id, _)| id.starts_with("train-000001.tar/") && id.ends_with("/0003")).unwrap().1.1;
    assert!(!row.contains_key("text"), "it has no caption");
    let cells =
        [("width", "13"), ("score", "0.75"), ("kept", "false"), ("who", "p3"), ("tags", "[\"x\",3]"), ("label", "one")];
    for (column, value) in cells {
        assert_eq!(row[column], value, "{column}");
    }
    // A shard alone: the same rows, and its classes called by their numbers, each at its place.
    take(&fixture("webdataset/shards/train-000001.tar"), &dir.path().join("one"));
    let (schema, one) = rows(&dir.path().join("one"));
    let names: Vec<&str> = schema.get("label").unwrap().classes().unwrap().iter().map(String::as_str).collect();
    assert_eq!(names, ["0", "1", "2", "3"]);
    for (id, (split, cells)) in &one {
        let (other_split, other) = &found[id];
        let same = |cells: &BTreeMap<String, String>| {
            let cells = cells.iter().filter(|(name, _)| *name != "label");
            cells.map(|(name, value)| (name.clone(), value.clone())).collect::<Vec<_>>()
        };
        assert_eq!((split, same(cells)), (other_split, same(other)), "{id}");
    }
    take(&fixture("webdataset/sounds"), &dir.path().join("sounds"));
    let (_, sounds) = rows(&dir.path().join("sounds"));
    let row = &sounds["test/part_0.tar.gz/2_ada_0"];
    assert_eq!((row.0.as_str(), row.1["label"].as_str(), row.1["speaker"].as_str()), ("test", "d2", "ada"));
}

/// Pictures with texts in a ZIP, and frames with numbers behind a dot, are pictures.
#[test]
fn a_zip_and_numbered_pictures_are_no_shards() {
    let dir = tempfile::tempdir().unwrap();
    let png = fs::read(fixture("images/test/pants/003_gray.png")).unwrap();
    let (mut captioned, mut frames) = (Vec::new(), Vec::new());
    for n in 0..3 {
        captioned.push((format!("c/{n}.png"), png.clone()));
        captioned.push((format!("c/{n}.txt"), b"a text".to_vec()));
        frames.push((format!("c/clip.000{n}.png"), png.clone()));
    }
    let tarred = |files: &[(String, Vec<u8>)]| tar(files.iter().map(|(name, bytes)| (name.as_str(), bytes.as_slice())));
    let members: Vec<Zipped> = captioned.iter().map(|(name, bytes)| Zipped::new(name, bytes)).collect();
    let cases = [
        ("x.zip", zip_of(&members), "c/0.png"),
        ("frames.tar", tarred(&frames), "c/clip.0000.png"),
        ("samples.tar", tarred(&captioned), "samples.tar/c/0"),
    ];
    for (name, bytes, first) in cases {
        fs::write(dir.path().join(name), bytes).unwrap();
        let target = dir.path().join(format!("{name}-target"));
        take(&dir.path().join(name), &target);
        let (_, found) = rows(&target);
        assert_eq!((found.len(), found.keys().next().unwrap().as_str()), (3, first), "{name}");
    }
}

/// What is wrong with a sample refuses it, and no other.
#[test]
fn a_bad_sample_is_refused_with_its_reason() {
    let dir = tempfile::tempdir().unwrap();
    let jpg = fs::read(fixture("images/test/pants/001_444_odd.jpg")).unwrap();
    let jpg = jpg.as_slice();
    let one: Vec<(&str, &[u8])> = vec![
        ("good.jpg", jpg),
        ("good.cls", b"1"),
        ("good.json", b"{\"n\": 1}"),
        ("twice.jpg", jpg),
        ("twice.cls", b"0"),
        ("twice.JPG", jpg),
        ("number.jpg", jpg),
        ("number.cls", b"9"),
        ("fields.jpg", jpg),
        ("fields.cls", b"0"),
        ("fields.json", b"[1]"),
        ("half.jpg", jpg),
        ("half.json", b"{\"n\": "),
        ("cut.jpg", &jpg[..300]),
        ("cut.cls", b"0"),
        ("alone.cls", b"0"),
        ("good.txt", b"comes again"),
        ("pickle.jpg", jpg),
        ("pickle.pkl", b"never read"),
    ];
    let mut bytes: Vec<u8> = one.iter().flat_map(|(name, bytes)| member(name.as_bytes(), b'0', bytes)).collect();
    bytes.extend(member(b"linked.jpg", b'2', b""));
    bytes.extend(member(b"linked.cls", b'0', b"0"));
    bytes.extend(member(b"../up.jpg", b'0', jpg));
    bytes.extend(END);
    let source = dir.path().join("source");
    fs::create_dir_all(source.join("sub")).unwrap();
    fs::write(source.join("train-0.tar"), &bytes).unwrap();
    fs::write(source.join("train-1.tar"), tar([("good.jpg", jpg), ("good.cls", b"0")])).unwrap();
    fs::write(source.join("none.tar"), b"no tar at all").unwrap();
    fs::write(source.join("sub/x.tar.gz"), gzip(&tar([("a.jpg", jpg), ("a.cls", b"0")]))).unwrap();
    fs::write(source.join("classes.txt"), "no\nyes\n").unwrap();
    let target = dir.path().join("target");
    let summary = take(&source, &target);
    let (_, found) = rows(&target);
    let ids: Vec<&str> = found.keys().map(String::as_str).collect();
    assert_eq!(ids, ["sub/x.tar.gz/a", "train-0.tar/good", "train-0.tar/pickle", "train-1.tar/good"]);
    assert_eq!(found["train-0.tar/good"].1["label"], "yes");
    let mut refused = Vec::new();
    runs(&target).unwrap()[0]
        .each(&mut |_, line| {
            refused.push((line.id, line.reason));
            Ok(())
        })
        .unwrap();
    refused.sort();
    let refused: Vec<(&str, &str)> = refused.iter().map(|(id, reason)| (id.as_str(), reason.as_str())).collect();
    let expected = [
        ("none.tar", "unknown-format"),
        ("train-0.tar/../up", "bad-path"),
        ("train-0.tar/alone", "unreadable"),
        ("train-0.tar/cut", "truncated"),
        ("train-0.tar/fields", "corrupt"),
        ("train-0.tar/good", "corrupt"),
        ("train-0.tar/half", "corrupt"),
        ("train-0.tar/linked", "bad-path"),
        ("train-0.tar/number", "bad-label"),
        ("train-0.tar/twice", "corrupt"),
    ];
    assert_eq!(refused, expected);
    let notes = summary.notes.join("\n");
    for said in ["have the key of an earlier one", ".pkl (1)", "classes.txt"] {
        assert!(notes.contains(said), "{said}: {notes}");
    }
}

/// Shards that are there already are not read again, and a new one adds its rows.
#[test]
fn a_further_shard_is_added() {
    let dir = tempfile::tempdir().unwrap();
    let (source, target) = (dir.path().join("source"), dir.path().join("target"));
    fs::create_dir(&source).unwrap();
    let then = std::time::SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(1_000_000_000);
    let mut rows = 0;
    for (number, name) in ["train-000000.tar", "train-000001.tar"].into_iter().enumerate() {
        fs::copy(fixture("webdataset/shards").join(name), source.join(name)).unwrap();
        fs::File::options().append(true).open(source.join(name)).unwrap().set_modified(then).unwrap();
        let summary = take(&source, &target);
        assert_eq!((summary.unread, summary.version), (rows, number as u64 + 1));
        rows += summary.rows;
    }
    assert_eq!(rows, 5);
}

/// More shards than a process may have open files for in one go.
#[test]
fn there_may_be_many_shards() {
    let dir = tempfile::tempdir().unwrap();
    let source = dir.path().join("source");
    fs::create_dir(&source).unwrap();
    for n in 0..300 {
        let text = format!("text {n}");
        fs::write(source.join(format!("{n:04}.tar")), tar([("a.txt", text.as_bytes()), ("a.cls", b"0")])).unwrap();
    }
    let summary = take(&source, &dir.path().join("target"));
    assert_eq!((summary.rows, summary.quarantined), (300, 0));
    let open = fs::read_dir("/proc/self/fd").map_or(0, Iterator::count);
    assert!(open < 200, "{open} files are open");
}
