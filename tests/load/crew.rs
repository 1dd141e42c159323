//! Loaders that share their threads and one budget: no batch changes, nobody waits for ever, and no more work is in hand than there are seats and bytes.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::common::{batches, loader, made, modalities, recipe};
use feedstock::augment::{self, Draw, Media, Op, OpEntry, Spec, Tools};
use feedstock::data::info::Info;
use feedstock::dataset::Dataset;
use feedstock::ingest::{Control, IngestOptions, ingest};
use feedstock::loader::{Crew, Epoch};
use feedstock::plan::{Tail, World};
use feedstock::recipe::{OpConfig, Recipe, Registry};
use feedstock::rng::Key;
use feedstock::{Error, Fault};

static ALONE: Mutex<()> = Mutex::new(());

fn alone() -> MutexGuard<'static, ()> {
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Operations at work now, and the most at one time.
static NOW: AtomicI64 = AtomicI64::new(0);
static MOST: AtomicI64 = AtomicI64::new(0);

/// Leaves samples as they are, and counts how many are in hand.
#[derive(Debug)]
struct Counts;

impl Op for Counts {
    fn spec(&self, input: &Spec) -> Result<Spec, Fault> {
        Ok(input.clone())
    }

    fn draw(&self, _: &Info, _: Key) -> Draw {
        Draw::None
    }

    fn facts(&self, input: &Info, _: &Draw) -> Info {
        *input
    }

    fn apply(&self, _: &Draw, media: Media, _: &mut Tools) -> Result<Media, Fault> {
        MOST.fetch_max(NOW.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
        std::thread::sleep(std::time::Duration::from_micros(200));
        NOW.fetch_sub(1, Ordering::SeqCst);
        Ok(media)
    }
}

fn registry() -> Registry {
    let mut registry = Registry::default();
    registry.ops = registry.ops.with(OpEntry {
        name: "counts",
        version: 1,
        summary: "counts",
        build: |params| {
            let serde_json::Value::Object(_) = augment::parse("counts", params)? else {
                return Err(Error::config("counts", "without parameters"));
            };
            Ok(Arc::new(Counts))
        },
        example: "{}",
    });
    registry
}

fn digests(epoch: impl Iterator<Item = feedstock::Result<feedstock::data::batch::Batch>>) -> Vec<u128> {
    epoch.map(|batch| batch.unwrap().digest()).collect()
}

#[test]
fn any_two_loaders_share_a_crew_and_give_what_they_give_alone() {
    let _alone = alone();
    let all = modalities();
    let want: Vec<Vec<u128>> = all
        .iter()
        .map(|(_, made, recipe)| {
            batches(&made.dataset, recipe, 1, World::default()).iter().map(|b| b.digest()).collect()
        })
        .collect();
    for ((first, a, recipe), want_a) in all.iter().zip(&want) {
        for ((second, b, other), want_b) in all.iter().zip(&want) {
            let crew = Crew::new(2, 64 << 20);
            let train = loader(&a.dataset, recipe).sharing(&crew).unwrap();
            let test = loader(&b.dataset, other).sharing(&crew).unwrap();
            let mut training = train.epoch(1).unwrap();
            let mut got: Vec<u128> = digests(training.by_ref().take(1));
            // Nobody takes from training while a whole validation goes through.
            assert_eq!(digests(test.epoch(1).unwrap()), *want_b, "{second} beside {first}");
            got.extend(digests(training.by_ref()));
            assert_eq!(got, *want_a, "{first} beside {second}");
        }
    }
}

#[test]
fn a_full_budget_lets_each_loader_go_on() {
    let _alone = alone();
    let made = made("images", &IngestOptions::default());
    let recipe = Recipe { batch: 4, split: None, tail: Tail::Pad, ..recipe("images") };
    let want = digests(loader(&made.dataset, &recipe).epoch(0).unwrap());
    let mut recipe = recipe;
    // The bytes of one batch.
    recipe.run.prefetch = 1;
    let mut alone = loader(&made.dataset, &recipe).epoch(0).unwrap();
    alone.by_ref().for_each(|batch| drop(batch.unwrap()));
    let one = alone.peak_bytes();
    recipe.run.prefetch = 64;
    let least = {
        // The least that is not refused.
        let mut bytes = 1 << 12;
        while loader(&made.dataset, &recipe).sharing(&Crew::new(1, bytes)).is_err() {
            bytes += bytes / 8;
        }
        bytes
    };
    for threads in [1, 3] {
        let crew = Crew::new(threads, least);
        let loaders: Vec<_> = (0..3).map(|_| loader(&made.dataset, &recipe).sharing(&crew).unwrap()).collect();
        let mut epochs: Vec<Epoch> = loaders.iter().map(|loader| loader.epoch(0).unwrap()).collect();
        // One after the other, then in turns.
        let mut got: Vec<Vec<u128>> = epochs.iter_mut().map(|epoch| digests(epoch.by_ref().take(3))).collect();
        while got.iter().any(|got| got.len() < want.len()) {
            for (epoch, got) in epochs.iter_mut().zip(&mut got) {
                got.extend(epoch.next().map(|batch| batch.unwrap().digest()));
            }
        }
        assert!(got.iter().all(|got| *got == want));
        // Each may have one batch beyond the budget.
        assert!(crew.peak_bytes() <= least + 3 * one, "{} of {least}", crew.peak_bytes());
    }
}

#[allow(
    clippy::disallowed_methods,
    reason = "a training and its validations may be taken from by threads of the caller's own"
)]
#[test]
fn no_more_is_in_hand_than_there_are_seats() {
    let _alone = alone();
    let made = made("images", &IngestOptions::default());
    let mut recipe = Recipe { batch: 4, ..recipe("images") };
    let counts = OpConfig { op: "counts".into(), params: serde_json::Map::new() };
    recipe.columns.get_mut("image").unwrap().ops.insert(0, counts);
    let crew = Crew::new(3, 1 << 30);
    MOST.store(0, Ordering::SeqCst);
    let loaders: Vec<_> = (0..4)
        .map(|_| recipe.loader_with(made.dataset.clone(), &registry()).unwrap().sharing(&crew).unwrap())
        .collect();
    let all: Vec<Vec<u128>> = std::thread::scope(|scope| {
        let consume =
            |loader: &feedstock::loader::Loader| digests((0..3).flat_map(|epoch| loader.epoch(epoch).unwrap()));
        let consumers: Vec<_> = loaders.iter().map(|loader| scope.spawn(move || consume(loader))).collect();
        consumers.into_iter().map(|consumer| consumer.join().unwrap()).collect()
    });
    assert!(all.iter().all(|one| *one == all[0]) && !all[0].is_empty());
    assert_eq!(MOST.load(Ordering::SeqCst), 3, "12 threads on 3 seats");
}

#[test]
fn decoders_of_large_pictures_stay_within_the_budget() {
    let _alone = alone();
    let source = tempfile::tempdir().unwrap();
    for i in 0..12 {
        // 7 bytes a pixel while they are decoded, as far as a gray PNG's codec says: 8.4 MB each.
        std::fs::write(source.path().join(format!("{i}.png")), crate::common::gray_png(1_200, 1_000 + i)).unwrap();
    }
    let folder = tempfile::tempdir().unwrap();
    let target = folder.path().join("dataset");
    ingest(source.path(), &target, &IngestOptions::default(), &Control::default()).unwrap();
    let dataset = Arc::new(Dataset::open(&target).unwrap());
    let ops = serde_json::json!([{ "op": "resize", "size": 16 }, { "op": "center_crop", "size": 16 }]);
    let columns = BTreeMap::from([("image", serde_json::json!({ "ops": ops }))]);
    let recipe: Recipe = serde_json::from_value(serde_json::json!({ "batch": 6, "columns": columns })).unwrap();
    let want = digests(loader(&dataset, &recipe).epoch(0).unwrap());
    assert!(!want.is_empty());
    for (memory, together) in [(20 << 20, true), (40 << 20, true), (4 << 20, false)] {
        let crew = Crew::new(8, memory);
        let own = loader(&dataset, &recipe).sharing(&crew).unwrap();
        assert_eq!(digests(own.epoch(0).unwrap()), want);
        let peak = crew.peak_bytes();
        assert!(peak > 8 << 20, "{peak}: decoders are not counted");
        // What needs more than all of it is decoded alone.
        assert!(if together { peak <= memory } else { peak < 14 << 20 }, "{peak} of {memory}");
    }
}

#[test]
fn a_budget_that_is_too_small_for_one_of_them_is_refused() {
    let made = made("images", &IngestOptions::default());
    let error = loader(&made.dataset, &recipe("images")).sharing(&Crew::new(1, 1_000)).unwrap_err();
    assert!(matches!(&error, Error::Config { .. }) && error.to_string().contains("1000 bytes"), "{error}");
}
