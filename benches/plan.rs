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
use feedstock::data::index::{Access, Index, IndexCell, Payload, Segment, SegmentBuilder};
use feedstock::data::info::{Format, Info};
use feedstock::plan::batching::{Forming, Quantity, WINDOW};
use feedstock::plan::{
    At, Balance, Balanced, Batching, Bucket, Component, Exhausted, Filter, Fit, Long, Mixture, Order, Pack, Plan, Rows,
    Sequence, Tail, Window,
};
use feedstock::rng::Key;

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
    // Of an Index of zeros all lengths are; what forming costs with others is told below.
    let batching = |forming| {
        let schema = Schema::new([("image", Feature::Image), ("length", Feature::Int)]);
        let quantity = Quantity::bind("length", &schema).expect("a length");
        Some(Arc::new(Batching { forming, window: WINDOW, lengths: vec![(index.clone(), quantity)] }))
    };
    let batching = match what {
        "bucket" => batching(Forming::Bucket(Bucket { by: "length".into(), ..Bucket::default() })),
        _ => None,
    };
    let order = if what == "windowed" { Order::Windowed } else { Order::Shuffle };
    let window = Window::default().of_rows(index.mean_row());
    let component = Component { name: None, rows, balance, order, window };
    let sequence = Sequence {
        components: vec![component],
        mixing: None,
        batching,
        batch,
        views: 1,
        partners: 0,
        partners_from: None,
        tail: Tail::Drop,
        seed: 7,
    };
    // As a recipe's loader tells it.
    index.segments().iter().for_each(|segment| segment.expect(Access::Random));
    let slots = |plan: &Plan, at: At| plan.slots(at).iter().filter(|slot| slot.valid).count();
    let (first, (plan, mut count)) = cost(|| {
        let plan = Plan::new(&sequence, 3);
        let count = slots(&plan, At::default());
        (plan, count)
    });
    // A state names a batch in a window, where there are some.
    let middle = match plan.batching() {
        Some(_) => At { window: plan.windows() / 2, batch: 7 },
        None => At::batch(plan.places() / batch as u64 / 2),
    };
    let (restored, _) = cost(|| count += slots(&Plan::new(&sequence, 3), middle));
    let fresh = Plan::new(&sequence, 3);
    count += slots(&fresh, middle);
    let (again, _) = cost(|| count += slots(&fresh, middle));
    assert!(count == 4 * batch, "{count} rows");
    println!(
        "| {} | {what} | {:.2} | {:.2} | {:.3} | {:.3} | {:.3} | {:.1} |",
        index.rows(),
        opened.wall * 1e3,
        chosen.wall * 1e3,
        first.wall * 1e3,
        restored.wall * 1e3,
        again.wall * 1e3,
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
        "| rows | plan | open, ms | choose, ms | first batch, ms | a batch in the middle, ms | once more, ms | anonymous memory, MiB |"
    );
    println!("|---|---|---|---|---|---|---|---|");
    let folder = tempfile::tempdir().expect("a temporary folder");
    for rows in sizes {
        let path = folder.path().join("index");
        sparse(&path, *rows);
        // The condition twice: at first nothing of the file is in the page cache.
        for what in ["shuffle", "windowed", "where", "where", "balance", "bucket"] {
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
    forming();
    mixing();
}

/// What does it cost to form the batches of one window, whose lengths are drawn as a text's are?
fn forming() {
    let samples = WINDOW as usize;
    // Lengths from 1 to 2,048, most of them short.
    let length = |n: u64| (libm::pow(2.0, 11.0 * Key::new(n).stream().unit()) as u64).max(1);
    let lengths: Vec<u64> = (0..samples as u64).map(length).collect();
    println!("\n| {samples} samples | form, ms | batches of 64 |\n|---|---|---|");
    let bucket = |bounds| Forming::Bucket(Bucket { by: "length".into(), bounds, padded: None });
    let pack = |fit| Forming::Pack(Pack { column: "tokens".into(), length: 2048, fit, long: Long::Split });
    for (name, forming) in [
        ("bucket, sorted", bucket(Vec::new())),
        ("bucket, 8 bounds", bucket((0..8).map(|n| 8 << n).collect())),
        ("pack, greedy", pack(Fit::Greedy)),
        ("pack, best", pack(Fit::Best)),
    ] {
        let batching = Batching { forming, window: WINDOW, lengths: Vec::new() };
        let mut times: Vec<f64> =
            (0..5).map(|n| cost(|| batching.formed(&lengths, 64, 1, Some(Key::new(n)))).0.wall).collect();
        times.sort_by(f64::total_cmp);
        let batches = batching.formed(&lengths, 64, 1, None).len();
        println!("| {name} | {:.2} | {batches} |", times[2] * 1e3);
    }
}

/// What does a mixture cost: to make, and a batch of it?
fn mixing() {
    println!("\n| mixture | samples | make, ms | first batch, ms | a batch in the middle, ms |\n|---|---|---|---|---|");
    for weights in [&[3.0, 1.0][..], &[0.7, 0.2, 0.1], &[0.333_333, 0.3, 0.2, 0.166_667]] {
        for rows in [1_000_000u64, 1_000_000_000] {
            let names = (0..weights.len()).map(|n| format!("source {n}"));
            let sources: Vec<_> = names.zip(weights).map(|(name, weight)| (name, *weight, rows)).collect();
            let mixture = Mixture { exhausted: Exhausted::Drop, ..Mixture::default() };
            let (made, mixing) = cost(|| mixture.bind(&sources, 64).expect("weights"));
            let component = |(name, ..): &(String, f64, u64)| Component {
                name: Some(name.clone()),
                rows: Rows::new(Some(0..rows)),
                balance: None,
                order: Order::Shuffle,
                window: (1, 1),
            };
            let components = sources.iter().map(component).collect();
            let (batching, tail) = (None, Tail::Drop);
            let sequence = Sequence {
                components,
                mixing: Some(mixing),
                batching,
                batch: 64,
                views: 1,
                partners: 0,
                partners_from: None,
                tail,
                seed: 7,
            };
            let plan = Plan::new(&sequence, 0);
            let (first, a) = cost(|| plan.slots(At::default()));
            let (middle, b) = cost(|| plan.slots(At::batch(plan.places() / 128)));
            assert!(a.iter().chain(&b).all(|slot| slot.valid));
            println!(
                "| {weights:?} | {} | {:.2} | {:.3} | {:.3} |",
                plan.samples(),
                made.wall * 1e3,
                first.wall * 1e3,
                middle.wall * 1e3
            );
        }
    }
}
