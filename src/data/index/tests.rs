use std::sync::Arc;

use super::*;
use crate::data::info::Format;
use crate::data::label::Value;
use crate::data::orientation::Orientation;
use crate::data::profile::Profile;

fn schema() -> Schema {
    Schema::new([
        ("image", Feature::Image),
        ("label", Feature::ClassLabel { names: vec!["a".into()] }),
        ("score", Feature::Float),
    ])
}

fn sample() -> Vec<u8> {
    finished(SegmentBuilder::new(&schema())).to_vec()
}

fn finished(mut builder: SegmentBuilder) -> Finished {
    for (i, split) in [(0u64, "train"), (1, "train"), (2, "test")] {
        let (orientation, profile) = (Orientation::of(3 * i as u32), Profile::ALL[5 * i as usize % 8]);
        let info = Info { width: 10 + i as u32, height: 7, count: i, orientation, profile, ..Info::of(Format::Png) };
        let payload = IndexCell::Payload(Payload { offset: 4 * i, length: 9, hash: 77 + i, info });
        let score = if i == 1 { IndexCell::Null } else { IndexCell::Float(0.5) };
        builder.push(&format!("dir/é{i}.png"), &[payload, IndexCell::Int(-1), score]).unwrap();
        builder.end_shard(split, 100 + i, [i as u8; 32]);
    }
    builder.finish().unwrap()
}

#[test]
fn a_segment_that_outgrew_memory_has_the_same_bytes() {
    let spill = crate::spool::Spill::temporary().beyond(0);
    let spilled = finished(SegmentBuilder::spilling(&schema(), &spill));
    assert_eq!(spilled.to_vec(), sample());
    assert_eq!(spilled.open().unwrap().bytes(), sample());
}

#[test]
fn rows_come_back_as_pushed() {
    let segment = Arc::new(Segment::from_bytes(sample()).unwrap());
    let index = Index::new(vec![segment.clone(), segment]).unwrap();
    assert_eq!(index.rows(), 6);
    let (segment, row) = index.locate(4);
    assert_eq!((segment, row.id(), row.shard(), row.row_in_shard()), (1, "dir/é1.png", 1, 0));
    let payload = row.payload(0).unwrap();
    assert_eq!((payload.offset, payload.length, payload.hash, payload.info.width), (4, 9, 78, 11));
    assert_eq!((payload.info.orientation.code(), payload.info.profile), (3, Profile::Gray));
    assert_eq!((row.value(1), row.value(2)), (Value::Int(-1), Value::Null));
    assert_eq!(index.row(0).value(2), Value::Float(0.5));
    assert_eq!(index.ranges(None), vec![0..6]);
    assert_eq!(index.ranges(Some("train")), [0..2, 3..5]);
    assert_eq!(index.ranges(Some("test")), [2..3, 5..6]);
    let (rows, shard) = index.segments()[0].shard(2).unwrap();
    assert_eq!((rows, shard.bytes, shard.path.as_str()), (2..3, 102, "data/test/0202020202020202.parquet"));
}

#[test]
fn a_cut_or_foreign_segment_is_refused() {
    let whole = sample();
    for cut in 0..whole.len() {
        assert!(Segment::from_bytes(whole[..cut].to_vec()).is_err(), "cut at {cut}");
    }
    let mut foreign = whole;
    foreign[0] = b'X';
    assert!(Segment::from_bytes(foreign).is_err());
}

#[test]
fn a_file_of_several_splits_stands_once_for_each() {
    let mut builder = SegmentBuilder::new(&schema());
    let row = |builder: &mut SegmentBuilder, place: u32| {
        let cells = [IndexCell::Null, IndexCell::Int(0), IndexCell::Null];
        builder.push_at(place, &format!("{place}"), &cells, &|_| None).unwrap();
    };
    [0, 3].iter().for_each(|place| row(&mut builder, *place));
    builder.end_shard("train", 90, [5; 32]);
    [1, 2].iter().for_each(|place| row(&mut builder, *place));
    builder.end_shard_in("val", "train", 90, [5; 32]);
    row(&mut builder, 0);
    builder.end_shard("val", 70, [6; 32]);
    let bytes = builder.finish().unwrap().to_vec();
    let segment = Segment::from_bytes(bytes.clone()).unwrap();
    let shards: Vec<_> = (0..3).map(|n| segment.shard(n).unwrap().1).collect();
    let paths = ["data/train/0505050505050505.parquet", "data/val/0606060606060606.parquet"];
    assert_eq!(shards.iter().map(|s| s.path.as_str()).collect::<Vec<_>>(), [paths[0], paths[0], paths[1]]);
    assert_eq!(shards.iter().map(|s| s.split.as_str()).collect::<Vec<_>>(), ["train", "val", "val"]);
    let files = segment.files();
    assert_eq!(files.iter().map(TableFile::path).collect::<Vec<_>>(), paths);
    assert_eq!((files[0].rows.clone(), files[0].entries.clone(), files[0].bytes), (0..4, 0..2, 90));
    assert_eq!(segment.in_file_order(&files[0]), [0, 2, 3, 1]);
    let index = Index::new(vec![Arc::new(segment)]).unwrap();
    let ranges = index.ranges(Some("val"));
    assert_eq!((ranges.len(), ranges.first(), index.mean_row()), (1, Some(&(2..5)), 160 / 5));
    // Without the changes all rows are of their folder's split again, in the order of the file.
    let spill = crate::spool::Spill::temporary();
    let plain = overlaid(&index.segments()[0], &schema(), None, &spill).unwrap().open().unwrap();
    assert_eq!((plain.header().shards, plain.shard(0).unwrap().1.rows), (2, 4));
    assert_eq!((0..5).map(|n| plain.row(n).id()).collect::<Vec<_>>(), ["0", "1", "2", "3", "0"]);
    // A folder that the table does not name.
    let at = bytes.len() - 5 - 5 * (FIXED + 8 + PAYLOAD + 2 * VALUE) - 2 * SHARD + 28;
    assert_eq!(u32_at(&bytes, at), 1, "the folder of the second entry");
    let mut hostile = bytes;
    hostile[at] = 9;
    assert!(Segment::from_bytes(hostile).is_err());
}
