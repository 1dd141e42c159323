//! Pictures with a crop index, from the source to the batch: the same bytes, the same batches, and an index that every verb keeps.

use std::path::Path;
use std::sync::Arc;

use crate::common::put;
use feedstock::codec::image::jpeg::Jpeg;
use feedstock::codec::{Check, Codec, Limits};
use feedstock::data::feature::{Column, Feature};
use feedstock::data::storage::{Mode, Storage};
use feedstock::dataset::Dataset;
use feedstock::error::Reason;
use feedstock::ingest::{Control, IngestOptions, MaxErrors, ingest};
use feedstock::recipe::Recipe;
use feedstock::revise::{CompactOptions, MergeOptions, RemoveOptions, compact, merge, remove};
use feedstock::store::Store;
use feedstock::verify::{rebuild_index, verify};
use feedstock::{Error, open};
use libjpeg_turbo_rs::{Encoder, PixelFormat, Subsampling};
use serde_json::json;

/// Smooth parts with some noise, so that a photo's share of bits falls to each.
fn pixels(width: usize, height: usize, seed: u32) -> Vec<u8> {
    let mut noise = seed;
    let mut next = || {
        noise = noise.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        noise >> 27
    };
    let value = |x: usize, y: usize, c: usize| ((x + seed as usize) * 255 / (width + 97) + y * c / 7) as u32;
    let places = (0..height).flat_map(|y| (0..width).flat_map(move |x| (0..3).map(move |c| (x, y, c))));
    places.map(|(x, y, c)| (value(x, y, c) + next()) as u8).collect()
}

fn jpeg(width: usize, height: usize, seed: u32, subsampling: Subsampling, progressive: bool) -> Vec<u8> {
    let pixels = pixels(width, height, seed);
    let encoder = Encoder::new(&pixels, width, height, PixelFormat::Rgb).quality(88).subsampling(subsampling);
    encoder.progressive(progressive).encode().unwrap()
}

/// Photos of several samplings, one that is shown turned, and pictures that have no index: progressive, small, PNG.
fn source(root: &Path) -> usize {
    let mut with = 0;
    for (seed, subsampling) in
        [Subsampling::S444, Subsampling::S422, Subsampling::S420, Subsampling::S440].into_iter().enumerate()
    {
        for turned in [false, true] {
            let seed = seed as u32;
            let mut bytes = jpeg(401, 303 - seed as usize, seed, subsampling, false);
            if turned {
                let exif = b"\xff\xe1\0\x22Exif\0\0II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x06\0\0\0\0\0\0\0";
                bytes.splice(2..2, exif.iter().copied());
            }
            put(&root.join(format!("a/{seed}_{turned}.jpg")), &bytes, 0);
            with += 1;
        }
    }
    put(&root.join("b/progressive.jpg"), &jpeg(320, 240, 9, Subsampling::S420, true), 0);
    put(&root.join("b/small.jpg"), &jpeg(24, 24, 9, Subsampling::S420, false), 0);
    std::fs::copy(crate::common::fixture("objects/voc/JPEGImages/a.png"), root.join("b/other.png")).unwrap();
    with
}

fn options(prepare: serde_json::Value) -> IngestOptions {
    IngestOptions { prepare: serde_json::from_value(prepare).unwrap(), ..IngestOptions::default() }
}

fn made(source: &Path, target: &Path, prepare: serde_json::Value) -> Arc<Dataset> {
    ingest(source, target, &options(prepare), &Control::default()).unwrap();
    Arc::new(Dataset::open(target).unwrap())
}

/// The rows that have an index.
fn tables(dataset: &Dataset) -> usize {
    (0..dataset.rows()).filter(|row| dataset.apart(*row, 0).is_some()).count()
}

fn recipe(ops: &str) -> Recipe {
    toml::from_str(&format!("batch = 4\ntail = \"pad\"\n[columns.image]\nops = [{ops}]\n")).unwrap()
}

fn digests(dataset: &Arc<Dataset>, recipe: &Recipe, epoch: u64) -> Vec<String> {
    let loader = recipe.loader(dataset.clone()).unwrap();
    loader.epoch(epoch).unwrap().map(|batch| format!("{:032x}", batch.unwrap().digest())).collect()
}

/// Nothing is wrong with a dataset, and a segment that is lost is made again byte for byte.
fn verified(root: &Path) {
    let report = verify(root, true).unwrap();
    assert!(report.findings.is_empty() && report.deep, "{report:?}");
    let mut made = 0;
    for entry in std::fs::read_dir(root.join(".dsctl/segments")).unwrap() {
        let path = entry.unwrap().path();
        let whole = std::fs::read(&path).unwrap();
        std::fs::remove_file(&path).unwrap();
        let again = rebuild_index(root).unwrap();
        if again.is_empty() {
            // One of older versions alone.
            std::fs::write(&path, &whole).unwrap();
        }
        made += again.len();
        assert!(std::fs::read(&path).unwrap() == whole, "{}", path.display());
    }
    assert!(made > 0);
}

#[test]
fn batches_are_the_same_with_an_index_and_the_bytes_are_the_sources() {
    let dir = tempfile::tempdir().unwrap();
    let (from, plain, indexed) = (dir.path().join("s"), dir.path().join("p"), dir.path().join("i"));
    let with = source(&from);
    let plain = made(&from, &plain, json!({}));
    let crop = made(&from, &indexed, json!({"image": {"crop": true}}));
    assert_eq!((tables(&plain), tables(&crop)), (0, with));
    let stored = crop.schema().columns[0].stored.as_ref().unwrap();
    assert_eq!((stored.mode, stored.told().as_str()), (Mode::Indexed, "indexed: crop true, of image"));
    for row in 0..plain.rows() {
        let (mut a, mut b) = (Vec::new(), Vec::new());
        let id = plain.index().row(row).id().to_owned();
        let there = (0..crop.rows()).find(|row| crop.index().row(*row).id() == id).unwrap();
        plain.fetch(row, 0, &mut a).unwrap();
        crop.fetch(there, 0, &mut b).unwrap();
        assert!(a == b, "{id}");
        let table = crop.apart(there, 0).map_or(0, |(table, _)| table.len());
        assert!(table * 100 <= b.len() * 3, "{id}: {table} bytes of {}", b.len());
    }
    for ops in [
        "{ op = \"random_resized_crop\", size = 48 }, { op = \"horizontal_flip\" }",
        "{ op = \"random_resized_crop\", size = 16, scale = [0.01, 0.1] }",
        "{ op = \"center_crop\", size = 20 }",
        "{ op = \"resize\", size = 64 }, { op = \"center_crop\", size = 56 }",
    ] {
        for (threads, fuse) in [(1, true), (2, false)] {
            let mut recipe = recipe(ops);
            (recipe.run.threads, recipe.fuse) = (threads, fuse);
            for epoch in 0..3 {
                assert_eq!(digests(&crop, &recipe, epoch), digests(&plain, &recipe, epoch), "{ops}");
            }
        }
    }
    verified(&indexed);
}

#[test]
fn transcoded_pictures_have_an_index_and_give_the_same_batches() {
    let dir = tempfile::tempdir().unwrap();
    let (from, plain, both) = (dir.path().join("s"), dir.path().join("p"), dir.path().join("t"));
    let with = source(&from);
    let plain = made(&from, &plain, json!({}));
    let asked = json!({"image": {"crop": true, "transcode": true}});
    let coded = made(&from, &both, asked.clone());
    assert_eq!(tables(&coded), with + 1);
    let stored = coded.schema().columns[0].stored.as_ref().unwrap();
    assert_eq!((stored.mode, stored.told().as_str()), (Mode::Encoded, "encoded: crop true, of image, transcode true"));
    for row in 0..plain.rows() {
        let (mut a, mut b) = (Vec::new(), Vec::new());
        let id = plain.index().row(row).id().to_owned();
        let there = (0..coded.rows()).find(|row| coded.index().row(*row).id() == id).unwrap();
        plain.fetch(row, 0, &mut a).unwrap();
        coded.fetch(there, 0, &mut b).unwrap();
        assert_eq!(a == b, id != "b/progressive.jpg", "{id}");
    }
    for ops in [
        "{ op = \"random_resized_crop\", size = 48 }, { op = \"horizontal_flip\" }",
        "{ op = \"resize\", size = 64 }, { op = \"center_crop\", size = 56 }",
    ] {
        let recipe = recipe(ops);
        assert_eq!(digests(&coded, &recipe, 1), digests(&plain, &recipe, 1), "{ops}");
    }
    verified(&both);
    // The files are known again by what they were.
    let again = ingest(&from, &both, &options(asked), &Control::default()).unwrap();
    assert_eq!(again.rows, 0);
    let raw = json!({"image": {"transcode": true, "format": "png"}});
    let refused = ingest(&from, &dir.path().join("n"), &options(raw), &Control::default()).unwrap_err();
    assert!(refused.to_string().contains("image.transcode"), "{refused}");
}

#[test]
fn damage_is_found_whether_an_index_is_made_or_not() {
    let dir = tempfile::tempdir().unwrap();
    let from = dir.path().join("s");
    let with = source(&from);
    let whole = jpeg(401, 303, 3, Subsampling::S420, false);
    put(&from.join("a/cut.jpg"), &whole[..whole.len() / 2], 0);
    for check in [Check::Header, Check::Entropy, Check::Decode] {
        let [plain, crop] = [false, true].map(|crop| {
            let target = dir.path().join(format!("{check:?}{crop}"));
            let options =
                IngestOptions { check, max_errors: MaxErrors::ALL, ..options(json!({"image": {"crop": crop}})) };
            let summary = ingest(&from, &target, &options, &Control::default()).unwrap();
            (summary.rows, summary.quarantined, tables(&Dataset::open(&target).unwrap()))
        });
        assert_eq!((plain.0, plain.1), (crop.0, crop.1), "{check:?}");
        assert_eq!((plain.1, plain.2, crop.2), (u64::from(check != Check::Header), 0, with), "{check:?}");
    }
}

#[test]
fn every_verb_keeps_the_index() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    let with = source(&at("s"));
    let crop = json!({"image": {"crop": true}});
    made(&at("s"), &at("d"), crop.clone());
    // A source that comes later needs no word of it.
    put(&at("t").join("a/more.jpg"), &jpeg(380, 290, 77, Subsampling::S420, false), 0);
    assert_eq!(tables(&made(&at("t"), &at("d"), json!({}))), with + 1);
    let store = Store::open(at("d"));
    let out = RemoveOptions { ids: vec!["a/0_false.jpg".into()], ..RemoveOptions::default() };
    assert_eq!(remove(&store, &out, &mut |_| Ok(())).unwrap().rows, 1);
    assert_eq!(tables(&open(at("d")).unwrap()), with);
    assert!(compact(&store, &CompactOptions::default()).unwrap().committed);
    assert_eq!(tables(&open(at("d")).unwrap()), with);
    verified(&at("d"));
    put(&at("u").join("a/other.jpg"), &jpeg(390, 280, 78, Subsampling::S444, false), 0);
    let other = made(&at("u"), &at("o"), crop);
    merge(&store, &other, &MergeOptions::default(), &mut |_| Ok(())).unwrap();
    assert_eq!(tables(&open(at("d")).unwrap()), with + 1);
    verified(&at("d"));
}

#[test]
fn smaller_pictures_have_an_index_too() {
    let dir = tempfile::tempdir().unwrap();
    let from = dir.path().join("s");
    let with = source(&from);
    let both = json!({"image": {"crop": true, "short_side": 200, "quality": 85}});
    let dataset = made(&from, &dir.path().join("d"), both);
    // The progressive one was made anew.
    assert_eq!(tables(&dataset), with + 1);
    for row in 0..dataset.rows() {
        let info = dataset.index().row(row).payload(0).unwrap().info;
        assert!(info.width.min(info.height) <= 200, "{info:?}");
        assert!(dataset.apart(row, 0).is_none() || info.width.min(info.height) == 200, "{info:?}");
    }
    verified(&dir.path().join("d"));
    for (prepare, said) in [
        (json!({"image": {"crop": true, "format": "png"}}), "image.crop"),
        (json!({"store": "raw", "image": {"crop": true}}), "image.crop"),
        (json!({"image": {"max_side": 9, "short_side": 9}}), "short_side"),
    ] {
        let error = ingest(&from, &dir.path().join("x"), &options(prepare), &Control::default()).unwrap_err();
        assert!(error.exit_code() == 2 && error.to_string().contains(said), "{error}");
    }
}

/// A dataset of one picture with an index of the caller's.
fn with_table(root: &Path, bytes: &[u8], seek: Vec<u8>) {
    let parameters = json!({"crop": true, "of": "image"}).as_object().unwrap().clone();
    let stored = Some(Storage::new(Mode::Indexed, &parameters, vec!["crop index 1".into()]));
    let info = Jpeg.probe(bytes, &Limits::default()).unwrap();
    let column = Column { name: "image".into(), feature: Feature::Image, stored };
    crate::common::with_table(root, column, "a.jpg", (bytes, info), seek);
}

/// An index that is not its payload's is found by `verify`, and a loader names the shard, the row and the id.
#[test]
fn an_index_that_lies_is_found() {
    let [own, other] = [1, 2].map(|seed| jpeg(400, 300, seed, Subsampling::S420, false));
    let table = |bytes: &[u8]| Jpeg.seek_table(bytes, &Limits::default()).unwrap().unwrap();
    let mut damaged = table(&own);
    damaged[4] ^= 4;
    let cut = table(&own)[..14].to_vec();
    for (table, right) in [(table(&own), true), (table(&other), false), (damaged, false), (cut, false)] {
        let dir = tempfile::tempdir().unwrap();
        with_table(dir.path(), &own, table);
        let codes: Vec<_> = verify(dir.path(), true).unwrap().findings.iter().map(|found| found.code).collect();
        assert_eq!(codes, if right { vec![] } else { vec!["table"] });
        let dataset = Arc::new(open(dir.path()).unwrap());
        let loader = recipe("{ op = \"center_crop\", size = 64 }").loader(dataset).unwrap();
        match loader.epoch(0).unwrap().next().unwrap() {
            Ok(_) => assert!(right),
            Err(Error::Sample { fault, origin }) => {
                assert!(!right && fault.reason == Reason::Corrupt, "{fault}");
                assert!(fault.message.contains("crop index"), "{fault}");
                assert_eq!((origin.row, origin.id.as_deref()), (Some(0), Some("d/a.jpg")));
                assert!(origin.file.is_some());
            }
            Err(other) => panic!("{other}"),
        }
    }
}
