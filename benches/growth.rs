//! What do opening a dataset and the first batches of a plan cost a fresh process as the dataset grows, in time and memory?
//!
//! `cargo bench --bench growth` prints the table of docs/plan.md. The Index is a real file of so many rows, sparse: nothing of it is in memory but
//! what is read, as with any mapped Index. Each line is a process of its own, so that its memory is its own. What is planned again and again, and is warm, is
//! measured by the bench `plan`.

mod common;

use std::path::Path;
use std::sync::Arc;

use common::sparse::{self, names, schema};
use common::{cost, machine, measures, memory};
use feedstock::data::feature::{Feature, Schema};
use feedstock::data::index::{Access, Index, Segment};
use feedstock::plan::batching::{Forming, Quantity, WINDOW};
use feedstock::plan::{At, Balance, Balanced, Batching, Bucket, Component, Filter, Order, Plan, Rows, Window};

/// The argument that makes this program measure one line: file and what to do follow.
const CHILD: &str = "--line";

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
    let sequence = sparse::sequence(component, batching, batch);
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
        sparse::write(&path, *rows);
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
}
