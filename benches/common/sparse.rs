//! An Index of any number of rows, which takes no room: a sparse file, mapped as every Index is. And what is planned over it.

use std::io::{Seek, SeekFrom, Write};
use std::path::Path;
use std::sync::Arc;

use feedstock::data::feature::{Feature, Schema};
use feedstock::data::index::{Access, Index, IndexCell, Payload, Segment, SegmentBuilder};
use feedstock::data::info::{Format, Info};
use feedstock::plan::{Batching, Component, Sequence, Tail};

/// Rows of a shard.
const SHARD: u64 = 65_536;

/// The classes of its rows.
pub(crate) fn names() -> Vec<String> {
    (0..10).map(|class| format!("class {class}")).collect()
}

/// Pictures and their classes.
pub(crate) fn schema() -> Schema {
    Schema::new([("image", Feature::Image), ("label", Feature::ClassLabel { names: names() })])
}

/// Writes an Index of so many rows of pictures and classes, all of them zeros on disk that take no room.
pub(crate) fn write(path: &Path, rows: u64) {
    let mut builder = SegmentBuilder::new(&schema());
    let payload = Payload { offset: 0, length: 100_000, hash: 0, info: Info::of(Format::Jpeg) };
    builder.push("", &[IndexCell::Payload(payload), IndexCell::Int(0)]).expect("a row");
    builder.end_shard("train", 100_000, [0; 32]);
    let one = builder.finish().expect("a segment").to_vec();
    let word = |bytes: &[u8], at: usize| u64::from_le_bytes(bytes[at..at + 8].try_into().expect("8 bytes"));
    let length = word(&one, 8) as usize;
    let shards_at = (16 + length).next_multiple_of(64);
    let stride = (one.len() - shards_at - 64) as u64;

    let mut header: serde_json::Value = serde_json::from_slice(&one[16..16 + length]).expect("a header");
    let shards = rows.div_ceil(SHARD);
    header["rows"] = rows.into();
    header["shards"] = shards.into();
    let header = header.to_string().into_bytes();
    let mut file = std::fs::File::create(path).expect("a file");
    file.write_all(&one[..8]).expect("room");
    file.write_all(&(header.len() as u64).to_le_bytes()).expect("room");
    file.write_all(&header).expect("room");
    let shards_at = (16 + header.len() as u64).next_multiple_of(64);
    file.seek(SeekFrom::Start(shards_at)).expect("a place");
    for shard in 0..shards {
        let first = shard * SHARD;
        let rows = SHARD.min(rows - first);
        let numbers = [first, rows, rows * 100_000, 0];
        let mut entry: Vec<u8> = numbers.iter().flat_map(|n| n.to_le_bytes()).collect();
        entry.resize(64, 0);
        file.write_all(&entry).expect("room");
    }
    file.set_len(shards_at + shards * 64 + rows * stride).expect("a sparse file");
}

/// Opens one as a loader does that is going to read here and there in it.
pub(crate) fn open(path: &Path) -> Index {
    let index = Index::new(vec![Arc::new(Segment::open(path).expect("a segment"))]).expect("an index");
    index.segments().iter().for_each(|segment| segment.expect(Access::Random));
    index
}

/// The epochs of one component without views, partners or a mixture.
pub(crate) fn sequence(component: Component, batching: Option<Arc<Batching>>, batch: usize) -> Sequence {
    Sequence {
        components: vec![component],
        mixing: None,
        batching,
        batch,
        views: 1,
        partners: 0,
        partners_from: None,
        tail: Tail::Drop,
        seed: 7,
    }
}
