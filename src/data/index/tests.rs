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
