use std::os::unix::fs::FileExt;

use super::writer::{ShardCell, ShardOptions, ShardRow, ShardWriter};
use super::*;
use crate::data::feature::{Feature, Schema};
use crate::data::index::IndexCell;
use crate::data::info::{Format, Info};
use crate::data::orientation::Orientation;
use crate::data::profile::Profile;
use crate::store::Store;

/// A column of every kind, two of them pictures of very different size.
pub(crate) fn schema() -> Schema {
    Schema::new([
        ("image", Feature::Image),
        ("audio", Feature::Audio),
        ("clip", Feature::Video),
        ("caption", Feature::Text),
        ("label", Feature::ClassLabel { names: vec!["cat".into(), "dög: \"x\"".into()] }),
        ("count", Feature::Int),
        ("score", Feature::Float),
        ("good", Feature::Bool),
    ])
}

/// Bytes that are nowhere equal.
fn noise(seed: u64, length: usize) -> Vec<u8> {
    (0..length as u64)
        .map(|i| (crate::data::record::payload_hash(&(seed, i).0.to_le_bytes()) >> (i % 57)) as u8 ^ i as u8)
        .collect()
}

pub(crate) fn row(i: u64) -> ShardRow {
    let id = format!("träin/{}/日本 {i}.png#{i}", i % 7);
    let (orientation, profile) = (Orientation::of(i as u32 % 9), Profile::ALL[i as usize % 8]);
    let image = Info { width: 3 + i as u32, height: 7, channels: 3, orientation, profile, ..Info::of(Format::Png) };
    let audio = Info { channels: 2, rate: 16_000, count: i * 10, duration_us: i * 625, ..Info::of(Format::Flac) };
    let clip = Info { width: 16, height: 8, rate: 25_000, count: 9, duration_us: 360_000, ..Info::of(Format::Mp4) };
    let large = if i.is_multiple_of(5) { 20_000 } else { 10 + i as usize };
    let text = ["", "ein Satz", "zwei\nZeilen ✓"][i as usize % 3].as_bytes().to_vec();
    let words = Info { count: text.len() as u64, ..Info::of(Format::Utf8) };
    let some = |cell: ShardCell, null: bool| if null { ShardCell::Null } else { cell };
    ShardRow {
        cells: vec![
            some(ShardCell::media(noise(i, large), base_name(&id), image), i % 11 == 3),
            some(ShardCell::media(noise(i + 1, i as usize % 40), "a.flac", audio), i % 2 == 1),
            some(ShardCell::media(noise(i + 2, 100), "c.mp4", clip), true),
            some(ShardCell::media(text, "", words), i % 13 == 5),
            some(ShardCell::Int(i as i64 % 2), i % 3 == 2),
            some(ShardCell::Int(i64::MIN + i as i64), i % 4 == 2),
            some(ShardCell::Float(i as f64 / 3.0), i % 5 == 2),
            some(ShardCell::Bool(i.is_multiple_of(2)), i % 6 == 2),
        ],
        id,
    }
}

pub(crate) fn write(store: &Store, split: &str, rows: std::ops::Range<u64>, options: &ShardOptions) -> FinishedShard {
    let mut writer = ShardWriter::create(store, &schema(), split, options).unwrap();
    for i in rows {
        writer.push(row(i)).unwrap();
    }
    writer.finish().unwrap()
}

/// Every payload by its offset, every value, and the shard read back as a whole.
fn check(store: &Store, finished: &FinishedShard, first: u64) {
    let path = store.path(&finished.shard.path).unwrap();
    let file = ShardFile::open(&path).unwrap();
    let mut buffer = vec![1, 2, 3];
    for (i, (id, cells)) in (first..).zip(&finished.rows) {
        let expected = row(i);
        assert_eq!(*id, expected.id);
        for (cell, expected) in cells.iter().zip(expected.cells) {
            match (cell, expected) {
                (IndexCell::Null, ShardCell::Null) => {}
                (IndexCell::Int(a), ShardCell::Int(b)) => assert_eq!(*a, b),
                (IndexCell::Float(a), ShardCell::Float(b)) => assert_eq!(a.to_bits(), b.to_bits()),
                (IndexCell::Bool(a), ShardCell::Bool(b)) => assert_eq!(*a, b),
                (IndexCell::Payload(p), ShardCell::Media { bytes, info, hash, .. }) => {
                    file.fetch(p, &mut buffer).unwrap();
                    assert!(buffer == bytes && p.info == info && p.hash == hash, "{id}");
                }
                (cell, expected) => panic!("{cell:?} is not {expected:?}"),
            }
        }
    }
    assert_eq!(read_finished(&path, &schema()).unwrap(), *finished);
    let digest = crate::store::commit::sha256_hex(&std::fs::read(&path).unwrap());
    assert_eq!(digest, finished.shard.sha256);
    assert_eq!(finished.shard.path, format!("data/{}/{}.parquet", finished.shard.split, &digest[..16]));
}

#[test]
fn rows_of_every_kind_come_back() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path());
    let options = [
        ShardOptions::default(),
        ShardOptions { row_group_rows: 7, ..ShardOptions::default() },
        ShardOptions { row_group_bytes: 5_000, ..ShardOptions::default() },
        ShardOptions { row_group_bytes: 1, ..ShardOptions::default() },
    ];
    for (rows, options) in
        [(0..600, options[0]), (0..64, options[1]), (0..64, options[2]), (5..9, options[3]), (3..4, options[0])]
    {
        let first = rows.start;
        check(&store, &write(&store, "train", rows, &options), first);
    }
    assert!(store.clean_temporaries().unwrap() == 0);
}

#[test]
fn many_small_rows_fill_a_shard_too() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path());
    let schema = Schema::new([("text", Feature::Text)]);
    let options = ShardOptions { row_group_rows: 4096, ..ShardOptions::default() };
    let mut writer = ShardWriter::create(&store, &schema, "train", &options).unwrap();
    for i in 0..1u64 << 16 {
        assert!(!writer.is_full(), "{i}");
        let cells = vec![ShardCell::media(b"x".to_vec(), "", Info::of(Format::Utf8))];
        writer.push(ShardRow { id: i.to_string(), cells }).unwrap();
    }
    assert!(writer.is_full());
}

/// Rows a page where payloads are large, also when some are null.
#[test]
fn large_payloads_have_a_page_each() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path());
    let schema = Schema::new([("image", Feature::Image), ("caption", Feature::Text)]);
    let mut writer = ShardWriter::create(&store, &schema, "train", &ShardOptions::default()).unwrap();
    for i in 0..300u64 {
        let image = ShardCell::media(noise(i, 9_000), "x.png", Info::of(Format::Png));
        let text = ShardCell::media(b"hello".to_vec(), "", Info::of(Format::Utf8));
        let cells = vec![if i % 4 == 1 { ShardCell::Null } else { image }, text];
        writer.push(ShardRow { id: i.to_string(), cells }).unwrap();
    }
    assert_eq!((writer.rows(), writer.payload_bytes(), writer.is_full()), (300, 225 * 9_000 + 300 * 5, false));
    let finished = writer.finish().unwrap();
    let file = std::fs::File::open(store.path(&finished.shard.path).unwrap()).unwrap();
    let metadata = reader::metadata(&file).unwrap();
    assert_eq!(metadata.num_row_groups(), 2);
    let leaves = layout::payload_leaves(&metadata, &schema).unwrap();
    let pages = |group: usize, column: usize| {
        metadata.page_index_for_row_group(group).page_locations(leaves[column].unwrap()).unwrap().len()
    };
    assert_eq!([pages(0, 0), pages(1, 0), pages(0, 1)], [256, 44, 1]);
    assert_eq!(read_finished(&store.path(&finished.shard.path).unwrap(), &schema).unwrap(), finished);
    // No chance, host or time: created_by is a constant, statistics are absent where they would copy payloads.
    assert_eq!(metadata.file_metadata().created_by(), Some("feedstock version 1"));
    assert!(metadata.row_group(0).column(leaves[0].unwrap()).statistics().is_none());
}

/// A batch copies its payloads, so that large ones are read one by one; also a few among many.
#[test]
fn large_payloads_are_decoded_one_by_one() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path());
    let schema = Schema::new([("image", Feature::Image), ("caption", Feature::Text)]);
    let large = 17usize << 20;
    for (sizes, rows) in [(vec![9_000; 40], 16), (vec![large, 100], 1), ([vec![100; 40], vec![large]].concat(), 1)] {
        let mut writer = ShardWriter::create(&store, &schema, "train", &ShardOptions::default()).unwrap();
        for (i, size) in sizes.iter().enumerate() {
            let image = ShardCell::media(vec![i as u8; *size], "x.png", Info::of(Format::Png));
            let text = ShardCell::media(b"hello".to_vec(), "", Info::of(Format::Utf8));
            writer.push(ShardRow { id: i.to_string(), cells: vec![image, text] }).unwrap();
        }
        let finished = writer.finish().unwrap();
        let path = store.path(&finished.shard.path).unwrap();
        let metadata = reader::metadata(&std::fs::File::open(&path).unwrap()).unwrap();
        assert_eq!(layout::batch_rows(&metadata), rows, "{} rows", sizes.len());
        assert_eq!(read_finished(&path, &schema).unwrap(), finished);
        let mut read = Vec::new();
        let take = &mut |row: ShardRow| {
            let ShardCell::Media { bytes, .. } = &row.cells[0] else { panic!("{}", row.id) };
            read.push(bytes.len());
            Ok(())
        };
        super::read_rows(&path, &schema, take).unwrap();
        assert_eq!(read, sizes);
    }
}

#[test]
fn equal_rows_make_equal_files() {
    let [a, b] = [(); 2].map(|()| tempfile::tempdir().unwrap());
    let options = ShardOptions { row_group_rows: 50, ..ShardOptions::default() };
    let [one, two] = [&a, &b].map(|dir| write(&Store::open(dir.path()), "test", 0..120, &options));
    assert_eq!(one, two);
    let read = |dir: &tempfile::TempDir| std::fs::read(dir.path().join(&one.shard.path)).unwrap();
    assert!(read(&a) == read(&b));
    // Frozen: a change here makes every dataset's shards new ones and needs a new format version. (Seek tables gave columns of clips,
    // of which this schema has one, a field more; shards without clips kept their bytes.)
    assert_eq!(one.shard.sha256, "75aa2f80f7626cfe1ddb011557f8e74bb1198981338d23f3a4e717b740c33ed8");
}

#[test]
fn what_does_not_fit_is_refused_and_the_shard_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path());
    assert!(ShardWriter::create(&store, &schema(), "hold-out", &ShardOptions::default()).is_err());
    assert!(ShardWriter::create(&store, &schema(), "../x", &ShardOptions::default()).is_err());
    let mut writer = ShardWriter::create(&store, &schema(), "train", &ShardOptions::default()).unwrap();
    let change = |column: usize, cell: ShardCell| {
        let mut row = row(0);
        row.cells[column] = cell;
        row
    };
    let wrong = [
        change(0, ShardCell::Int(1)),
        change(0, ShardCell::media(vec![1], "x", Info::of(Format::Wav))),
        change(0, ShardCell::media(vec![1], "x", Info { width: u32::MAX, ..Info::of(Format::Png) })),
        change(3, ShardCell::media(vec![0xff], "", Info::of(Format::Utf8))),
        ShardRow { id: String::new(), ..row(0) },
    ];
    for row in wrong {
        assert!(matches!(writer.push(row.clone()), Err(Error::Sample { .. })), "{row:?}");
    }
    writer.push(row(0)).unwrap();
    let finished = writer.finish().unwrap();
    check(&store, &finished, 0);
    let empty = ShardWriter::create(&store, &schema(), "train", &ShardOptions::default()).unwrap();
    assert!(empty.finish().is_err());
    assert_eq!(std::fs::read_dir(dir.path().join("data/train")).unwrap().count(), 1, "a temporary was left");
}

#[test]
fn a_damaged_shard_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path());
    let finished = write(&store, "train", 0..20, &ShardOptions::default());
    let path = store.path(&finished.shard.path).unwrap();
    let whole = std::fs::read(&path).unwrap();
    let payload = finished.rows[0].1[0].payload().unwrap();
    let file = std::fs::OpenOptions::new().write(true).open(&path).unwrap();
    file.write_all_at(&[whole[payload.offset as usize] ^ 1], payload.offset).unwrap();
    let message = read_finished(&path, &schema()).unwrap_err().to_string();
    assert!(message.contains("does not have its hash") && message.contains("column \"image\""), "{message}");
    for cut in [0, 3, 100, whole.len() / 2, whole.len() - 1] {
        std::fs::write(&path, &whole[..cut]).unwrap();
        assert!(matches!(read_finished(&path, &schema()), Err(Error::Damaged { .. })), "cut at {cut}");
    }
    let mut out = Vec::new();
    let beyond = crate::data::index::Payload { offset: u64::MAX - 3, length: u64::MAX, ..*payload };
    assert!(matches!(ShardFile::open(&path).unwrap().fetch(&beyond, &mut out), Err(Error::Damaged { .. })));
}

#[test]
fn names_within_ids() {
    let cases =
        [("a/b/c.png", "c.png"), ("t.tar!x/y.flac", "y.flac"), ("v.mp4#12", "v.mp4"), ("c#.png", "c#.png"), ("x", "x")];
    for (id, name) in cases {
        assert_eq!(base_name(id), name);
    }
    for (split, fine) in [("train", true), ("größe.v2_1", true), ("", false), ("a..b", false), ("a b", false)] {
        assert_eq!(check_split(split).is_ok(), fine, "{split:?}");
    }
}
