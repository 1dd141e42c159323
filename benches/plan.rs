//! What does a plan cost as the dataset grows?
//!
//! `cargo bench --bench plan` prints the table of docs/plan.md. The Index is a real file of so many rows, sparse: nothing of it is in memory but
//! what is read, as with any mapped Index. Each line is a process of its own, so that its memory is its own.

mod common;

use std::io::{Seek, SeekFrom, Write};
use std::path::Path;
use std::sync::Arc;

use common::{cost, machine, measures, memory};
use feedstock::data::feature::{Feature, Schema};
use feedstock::data::index::{Index, IndexCell, Payload, Segment, SegmentBuilder};
use feedstock::data::info::{Format, Info};
use feedstock::plan::{Balance, Balanced, Component, Filter, Order, Plan, Rows, Sequence, Tail, Window};

/// The argument that makes this program measure one line: file and what to do follow.
const CHILD: &str = "--line";

/// Rows of a shard.
const SHARD: u64 = 65_536;

fn names() -> Vec<String> {
    (0..10).map(|class| format!("class {class}")).collect()
}

fn schema() -> Schema {
    Schema::new([("image", Feature::Image), ("label", Feature::ClassLabel { names: names() })])
}

/// Writes an Index of so many rows of pictures and classes, all of them zeros on disk that take no room.
fn sparse(path: &Path, rows: u64) {
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

/// Opens the file, makes the first batch of an epoch and one from its middle, and says what each took.
fn line(path: &Path, what: &str) {
    let before = memory("RssAnon");
    let batch = 64;
    let (opened, index) =
        cost(|| Index::new(vec![Arc::new(Segment::open(path).expect("a segment"))]).expect("an index"));
    let (chosen, (rows, balance)) = cost(|| {
        let mut rows = Rows::new(index.ranges(Some("train")));
        let mut balance = None;
        match what {
            "where" => {
                let filter =
                    Filter::parse("id like '%' and label = 0").and_then(|f| f.bind(&schema())).expect("a condition");
                // Half of them, so that the bits are kept.
                let mut odd = false;
                rows = rows.choose(|row| {
                    odd = !odd;
                    odd && filter.holds(&index.row(row))
                });
            }
            "balance" => {
                let by = Balance { by: "label".into(), power: Some(1.0), ..Balance::default() };
                balance = Some(Balanced::new(&by, &rows, &index, 1, &names()).expect("classes"));
            }
            _ => {}
        }
        (rows, balance)
    });
    let order = if what == "windowed" { Order::Windowed } else { Order::Shuffle };
    let window = Window::default().of_rows(index.mean_row());
    let component = Component { name: None, rows, balance, order, window };
    let sequence = Sequence { components: vec![component], mixing: None, batch, views: 1, tail: Tail::Drop, seed: 7 };
    let slots = |plan: &Plan, at: u64| (0..batch).filter(|slot| plan.slot(at, *slot).valid).count();
    let (first, (plan, mut count)) = cost(|| {
        let plan = Plan::new(&sequence, 3);
        let count = slots(&plan, 0);
        (plan, count)
    });
    let middle = plan.places() / batch as u64 / 2;
    let (restored, _) = cost(|| count += slots(&Plan::new(&sequence, 3), middle));
    assert!(count == 2 * batch, "{count} rows");
    println!(
        "| {} | {what} | {:.2} | {:.2} | {:.3} | {:.3} | {:.1} |",
        index.rows(),
        opened.wall * 1e3,
        chosen.wall * 1e3,
        first.wall * 1e3,
        restored.wall * 1e3,
        memory("RssAnon") - before
    );
}

fn main() {
    let args: Vec<String> = std::env::args().collect();
    if let Some(at) = args.iter().position(|arg| arg == CHILD) {
        return line(Path::new(&args[at + 1]), &args[at + 2]);
    }
    let sizes: &[u64] =
        if measures() { &[1_000_000, 10_000_000, 100_000_000, 1_000_000_000] } else { &[1_000, 100_000] };
    println!("{}\n", machine());
    println!(
        "| rows | plan | open, ms | choose, ms | first batch, ms | a batch in the middle, ms | anonymous memory, MiB |"
    );
    println!("|---|---|---|---|---|---|---|");
    let folder = tempfile::tempdir().expect("a temporary folder");
    for rows in sizes {
        let path = folder.path().join("index");
        sparse(&path, *rows);
        // The condition twice: at first nothing of the file is in the page cache.
        for what in ["shuffle", "windowed", "where", "where", "balance"] {
            // A look at every row of 1e9 reads 112 GB of zeros.
            if *rows > 100_000_000 && matches!(what, "where" | "balance") {
                continue;
            }
            let program = std::env::current_exe().expect("this program");
            let done =
                std::process::Command::new(program).args([CHILD.as_ref(), path.as_os_str(), what.as_ref()]).status();
            assert!(done.expect("a process").success());
        }
    }
}
