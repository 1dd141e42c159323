//! Does one slow sample idle the other threads?
//!
//! `cargo bench --bench slow` prints the table of docs/measurements.md. An operation sleeps, so that what is measured is who waits for whom and not how
//! fast a core is: 1 ms a sample, and 100 ms for one row in 200. Each epoch has the same samples in the same order.

mod common;

use std::sync::Arc;
use std::time::Duration;

use common::{Runs, cost, head, machine, measures, row};
use feedstock::augment::{self, Draw, Media, Op, OpEntry, Spec, Tools};
use feedstock::data::info::Info;
use feedstock::dataset::Dataset;
use feedstock::error::Fault;
use feedstock::ingest::{Control, IngestOptions, ingest};
use feedstock::recipe::{Recipe, Registry};
use feedstock::rng::Key;

const EACH: Duration = Duration::from_millis(1);
const SLOW: Duration = Duration::from_millis(100);
const THREADS: usize = 4;

/// Sleeps; longer for texts that say so.
#[derive(Debug, serde::Deserialize)]
struct Sleeps {
    slow: bool,
}

impl Op for Sleeps {
    fn spec(&self, input: &Spec) -> Result<Spec, Fault> {
        Ok(input.clone())
    }

    fn facts(&self, input: &Info, _: &Draw) -> Info {
        *input
    }

    fn draw(&self, _: &Info, _: Key) -> Draw {
        Draw::None
    }

    fn apply(&self, _: &Draw, media: Media, _: &mut Tools) -> Result<Media, Fault> {
        let slow = matches!(&media, Media::Text(text) if text.ends_with("slow")) && self.slow;
        std::thread::sleep(if slow { SLOW } else { EACH });
        Ok(media)
    }
}

fn main() {
    let (rows, repeats) = if measures() { (2_000u64, 5) } else { (40, 1) };
    let folder = tempfile::tempdir().expect("a temporary folder");
    let text: String = (0..rows).map(|n| format!("line {n}{}\n", if n % 200 == 77 { " slow" } else { "" })).collect();
    std::fs::write(folder.path().join("lines.txt"), text).expect("room");
    let target = folder.path().join("dataset");
    ingest(&folder.path().join("lines.txt"), &target, &IngestOptions::default(), &Control::default())
        .expect("a dataset");
    let dataset = Arc::new(Dataset::open(&target).expect("a dataset"));
    let mut registry = Registry::default();
    registry.ops = registry.ops.with(OpEntry {
        name: "sleeps",
        version: 1,
        summary: "sleeps",
        build: |params| Ok(Arc::new(augment::parse::<Sleeps>("sleeps", params)?)),
        example: r#"{"slow": true}"#,
    });
    let epoch = |slow: bool, prefetch: usize, epoch: u64| {
        let text = format!(
            r#"{{"batch": 16, "tail": "pad", "run": {{"threads": {THREADS}, "prefetch": {prefetch}}},
                "columns": {{"text": {{"ops": [{{"op": "sleeps", "slow": {slow}}}]}}}}}}"#
        );
        let recipe: Recipe = serde_json::from_str(&text).expect("a recipe");
        let loader = recipe.loader_with(dataset.clone(), &registry).expect("a loader");
        let mut peak = 0;
        let (cost, samples) = cost(|| {
            let batches = loader.epoch(epoch).expect("an epoch");
            let mut samples = 0;
            for batch in batches {
                samples += batch.expect("a batch").len();
                peak = loader.stats().in_flight_batches.max(peak);
            }
            samples
        });
        assert!(samples as u64 >= rows);
        (cost.wall, peak, loader.stats().stall_seconds)
    };
    println!("{}\n", machine());
    let slow = rows.div_ceil(200);
    let ideal =
        |slow: u64| ((rows - slow) as f64 * EACH.as_secs_f64() + slow as f64 * SLOW.as_secs_f64()) / THREADS as f64;
    println!(
        "{rows} samples in batches of 16 on {THREADS} threads; all awake all the time: {:.2} s even, {:.2} s with {slow} slow samples",
        ideal(0),
        ideal(slow)
    );
    head(&["prefetch", "even, s", "one in 200 slow, s", "most batches on their way", "threads waited for room, s"]);
    for prefetch in [1, 2, 4, 16, 64, 0] {
        let (mut even, mut uneven, mut most, mut stall) = (Runs::default(), Runs::default(), 0, Runs::default());
        for repeat in 0..repeats {
            even.push(epoch(false, prefetch, repeat).0);
            let (wall, peak, waited) = epoch(true, prefetch, repeat);
            uneven.push(wall);
            stall.push(waited);
            most = peak.max(most);
        }
        let name = if prefetch == 0 { "0: as it needs".to_owned() } else { prefetch.to_string() };
        row(&[name, even.show(2), uneven.show(2), most.to_string(), stall.show(2)]);
    }
}
