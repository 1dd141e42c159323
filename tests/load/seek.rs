//! Seek tables of clips, from the shard to the batch: fewer bytes, the same batches, and datasets with and without them.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use feedstock::codec::{Codec, Limits, video};
use feedstock::data::feature::{Column, Feature, Schema};
use feedstock::data::index::Segment;
use feedstock::data::info::Kind;
use feedstock::dataset::Dataset;
use feedstock::error::Reason;
use feedstock::ingest::{Control, IngestOptions, MaxErrors, ingest};
use feedstock::loader::StatsReport;
use feedstock::recipe::Recipe;
use feedstock::source::SourceOptions;
use feedstock::verify::{rebuild_index, verify};
use feedstock::{Error, open};

/// The digest of each batch of an epoch, and what it cost.
fn digests(dataset: &Arc<Dataset>, recipe: &Recipe, epoch: u64) -> (Vec<String>, StatsReport) {
    let loader = recipe.loader(dataset.clone()).unwrap();
    let batches = loader.epoch(epoch).unwrap().map(|batch| format!("{:032x}", batch.unwrap().digest()));
    let batches = batches.collect();
    (batches, loader.stats())
}

fn recipe(ops: &str) -> Recipe {
    toml::from_str(&format!("batch = 3\ntail = \"pad\"\n[columns.video]\nops = [{ops}]\n")).unwrap()
}

/// The rows that have a table.
fn tables(dataset: &Dataset) -> usize {
    (0..dataset.rows()).filter(|row| dataset.apart(*row, 0).is_some()).count()
}

/// Every segment is made again byte for byte where it is lost, and nothing is wrong with the dataset.
fn verified(root: &Path) {
    let report = verify(root, true).unwrap();
    assert!(report.findings.is_empty() && report.deep, "{report:?}");
    let segments: Vec<PathBuf> =
        std::fs::read_dir(root.join(".dsctl/segments")).unwrap().map(|entry| entry.unwrap().path()).collect();
    for path in &segments {
        let whole = std::fs::read(path).unwrap();
        std::fs::remove_file(path).unwrap();
        assert_eq!(rebuild_index(root).unwrap(), std::slice::from_ref(path));
        assert!(std::fs::read(path).unwrap() == whole, "{}", path.display());
    }
    assert!(!segments.is_empty());
}

/// A folder of clips, which has no tables, and the dataset made of it deliver the same, the dataset for fewer bytes.
#[test]
fn a_dataset_delivers_what_its_folder_does_and_reads_less() {
    let folder = Arc::new(open(crate::common::fixture("clips")).unwrap());
    let made = crate::common::made("clips", &IngestOptions::default());
    assert_eq!((tables(&folder), tables(&made.dataset)), (0, made.dataset.rows() as usize));
    let early = recipe("{ op = \"sample_frames\", times = [0.1] }");
    let keys = recipe("{ op = \"sample_frames\", keyframes = true, count = 1, start = \"random\", seconds = 0.4 }");
    for (recipe, part) in [
        (crate::common::recipe("clips"), 1.0),
        (crate::common::recipe("keyframes"), 1.0),
        (early, 0.5),
        (keys, 0.6),
        (recipe(""), 1.0),
        (recipe("{ op = \"sample_frames\", count = 2, start = \"random\", seconds = 0.2 }"), 0.9),
    ] {
        for (threads, fuse) in [(1, true), (2, false)] {
            let mut recipe = recipe.clone();
            (recipe.run.threads, recipe.fuse) = (threads, fuse);
            let (whole, before) = digests(&folder, &recipe, 4);
            let (parts, after) = digests(&made.dataset, &recipe, 4);
            assert_eq!(parts, whole, "{recipe:?}");
            assert!(after.bytes as f64 <= before.bytes as f64 * part, "{} of {}", after.bytes, before.bytes);
            assert!(after.bytes > 0 && after.samples == before.samples);
        }
    }
    verified(&made.folder.path().join("dataset"));
}

/// A frame in the middle of a clip of several groups of pictures has its own group read and nothing else.
#[test]
fn a_frame_in_the_middle_reads_its_own_group() {
    let source = tempfile::tempdir().unwrap();
    std::fs::create_dir(source.path().join("dial")).unwrap();
    // 24 frames at 12 a second, H.264 without B-frames, a key frame at every twelfth.
    std::fs::copy(crate::common::fixture("clips/dial/no_b_frames.mp4"), source.path().join("dial/clip.mp4")).unwrap();
    let target = source.path().join("dataset");
    ingest(&source.path().join("dial"), &target, &IngestOptions::default(), &Control::default()).unwrap();
    let dataset = Arc::new(open(&target).unwrap());
    let bytes =
        |time: f64| digests(&dataset, &recipe(&format!("{{ op = \"sample_frames\", times = [{time}] }}")), 0).1.bytes;
    let payload = dataset.index().row(0).payload(0).unwrap().length;
    let (first, second) = (bytes(0.95), bytes(1.95));
    assert!(first + second < payload, "{first} and {second} bytes are two groups of {payload}");
    // The container's own tables are in neither.
    assert!(first + second > payload / 2, "{first} and {second} bytes of {payload}");
    assert!(bytes(0.0) < first && bytes(1.0) < second, "a key frame is less than its group");
    assert!(bytes(1.4) > bytes(1.0) && bytes(1.4) < second, "up to the wanted frame");
}

/// Clips that were made at the ingest have tables, too.
#[test]
fn clips_made_at_the_ingest_have_tables() {
    let prepare = serde_json::from_value(serde_json::json!({"video": {"fps": 6.0, "max_side": 48}})).unwrap();
    let made = crate::common::made("clips", &IngestOptions { prepare, ..IngestOptions::default() });
    assert_eq!(tables(&made.dataset), made.dataset.rows() as usize);
    let one = digests(&made.dataset, &recipe("{ op = \"sample_frames\", times = [0.6] }"), 0).1;
    let all = digests(&made.dataset, &recipe(""), 0).1;
    assert!(one.bytes * 4 < all.bytes, "{} of {}", one.bytes, all.bytes);
    verified(&made.folder.path().join("dataset"));
}

/// What was made before there were tables (`fixtures/frozen/clips`) delivers what it did, and grows.
#[test]
fn a_dataset_without_tables_goes_on() {
    let frozen = crate::common::fixture("frozen/clips");
    let text = |name: &str| std::fs::read_to_string(frozen.join(name)).unwrap();
    let recipe: Recipe = toml::from_str(&text("recipe.toml")).unwrap();
    let expect: serde_json::Value = serde_json::from_str(&text("expect.json")).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("dataset");
    crate::common::copy_folder(&frozen.join("dataset"), &root);
    let old = Arc::new(open(&root).unwrap());
    assert_eq!((tables(&old), old.rows()), (0, 4));
    assert_eq!(serde_json::json!(digests(&old, &recipe, 3).0), expect["batches"]);
    verified(&root);

    let more = dir.path().join("more");
    for (class, name) in [("chart", "variable_rate.mp4"), ("dial", "fragmented.mp4")] {
        std::fs::create_dir_all(more.join(class)).unwrap();
        std::fs::copy(crate::common::fixture("clips").join(class).join(name), more.join(class).join(name)).unwrap();
    }
    ingest(&more, &root, &IngestOptions::default(), &Control::default()).unwrap();
    let grown = Arc::new(open(&root).unwrap());
    assert_eq!((tables(&grown), grown.rows()), (2, 6));
    let has = |segment: usize| grown.index().segments()[segment].header().tables.is_some();
    assert_eq!((has(0), has(1)), (false, true));
    let first = Arc::new(Dataset::open_version(&root, 1).unwrap());
    assert_eq!(serde_json::json!(digests(&first, &recipe, 3).0), expect["batches"]);
    assert_eq!(digests(&grown, &recipe, 3).0.len(), 3);
    verified(&root);
}

/// Where there is no clip, nothing is different: not the columns of a shard, not the form of a segment.
#[test]
fn other_media_have_neither_field_nor_part() {
    for (source, kind) in [("images", Feature::Image), ("audio", Feature::Audio), ("text", Feature::Text)] {
        let made = crate::common::made(source, &IngestOptions::default());
        let header = made.dataset.index().segments()[0].header();
        assert!(header.tables.is_none() && !serde_json::to_string(header).unwrap().contains("tables"));
        assert!(!format!("{:?}", Schema::new([("x", kind)]).to_arrow()).contains("seek"));
    }
    assert!(format!("{:?}", Schema::new([("x", Feature::Video)]).to_arrow()).contains("seek"));
    // A column of clips none of which has a table.
    let options = IngestOptions {
        format: Some("folder".into()),
        source: SourceOptions { kind: Some(Kind::Video), ..SourceOptions::default() },
        max_errors: MaxErrors::ALL,
        ..IngestOptions::default()
    };
    let made = crate::common::made("animations", &options);
    assert!(made.dataset.rows() > 0 && made.dataset.index().segments()[0].header().tables.is_none());
    verified(&made.folder.path().join("dataset"));
}

/// A dataset of one clip with a table of the caller's.
fn with_table(root: &Path, clip: &[u8], seek: Vec<u8>) {
    let info = video::MP4.probe(clip, &Limits::default()).unwrap();
    crate::common::with_table(root, Column::new("video", Feature::Video), "a.mp4", (clip, info), seek);
}

/// A table that is not its payload's is found by `verify`, and a loader names the shard, the row and the id.
#[test]
fn a_table_that_lies_is_found() {
    let clip = std::fs::read(crate::common::fixture("clips/dial/no_b_frames.mp4")).unwrap();
    let other = std::fs::read(crate::common::fixture("clips/chart/b_frames.mp4")).unwrap();
    let table = |bytes: &[u8]| video::MP4.seek_table(bytes, &Limits::default()).unwrap().unwrap();
    let mut damaged = table(&clip);
    damaged[20] ^= 4;
    for (table, right) in [(table(&clip), true), (table(&other), false), (damaged, false), (vec![1], false)] {
        let dir = tempfile::tempdir().unwrap();
        with_table(dir.path(), &clip, table);
        let codes: Vec<_> = verify(dir.path(), true).unwrap().findings.iter().map(|found| found.code).collect();
        assert_eq!(codes, if right { vec![] } else { vec!["table"] });
        let dataset = Arc::new(open(dir.path()).unwrap());
        let loader = recipe("{ op = \"sample_frames\", times = [0.6] }").loader(dataset).unwrap();
        match loader.epoch(0).unwrap().next().unwrap() {
            Ok(_) => assert!(right),
            Err(Error::Sample { fault, origin }) => {
                assert!(!right && fault.reason == Reason::Corrupt, "{fault}");
                assert!(fault.message.contains("seek table"), "{fault}");
                assert_eq!((origin.row, origin.id.as_deref()), (Some(0), Some("d/a.mp4")));
                assert!(origin.file.is_some());
            }
            Err(other) => panic!("{other}"),
        }
    }
}

/// A segment whose ends of tables are wrong gives no table, or one that is refused, and no panic.
#[test]
fn a_segment_that_lies_of_its_tables_does_not_panic() {
    let made = crate::common::made("clips", &IngestOptions::default());
    let whole = made.dataset.index().segments()[0].bytes().to_vec();
    let rows = made.dataset.rows();
    let header = made.dataset.index().segments()[0].header().clone();
    let ends = whole.len() - header.tables.unwrap().bytes as usize - 8 * rows as usize;
    let mut gone = 0;
    for at in ends..ends + 8 * rows as usize {
        let mut bad = whole.clone();
        bad[at] ^= 0xff;
        let segment = Segment::from_bytes(bad).unwrap();
        gone += (0..rows).filter(|row| segment.row(*row).table(0).is_none()).count();
    }
    assert!(gone > 0);
    for cut in ends..whole.len() {
        assert!(Segment::from_bytes(whole[..cut].to_vec()).is_err());
    }
}
