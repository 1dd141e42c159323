//! What a loader says of its work: counters, levels that come back to nothing, Prometheus's text, spans.

mod common;

use feedstock::loader::stats::METRICS;
use feedstock::loader::{Loader, StatsReport};
use feedstock::recipe::Recipe;

fn levels(stats: &StatsReport) -> (u64, u64, u64) {
    (stats.in_flight_batches, stats.in_flight_bytes, stats.ready_batches)
}

/// Waits until `prefetch` batches are done.
fn full(loader: &Loader, prefetch: u64) -> StatsReport {
    for _ in 0..5_000 {
        let stats = loader.stats();
        if stats.ready_batches == prefetch {
            return stats;
        }
        std::thread::sleep(std::time::Duration::from_millis(1));
    }
    panic!("{:?}", loader.stats());
}

#[test]
fn levels_say_what_is_on_its_way_and_end_at_nothing() {
    for (name, made, recipe) in common::modalities() {
        let mut recipe = Recipe { batch: recipe.batch.min(3), ..recipe };
        (recipe.run.threads, recipe.run.prefetch) = (2, 2);
        let loader = common::loader(&made.dataset, &recipe);
        assert_eq!(levels(&loader.stats()), (0, 0, 0));
        let mut epoch = loader.epoch(0).unwrap();
        // A consumer that takes nothing finds the queue full, and its bytes told.
        let stats = full(&loader, 2);
        assert!(stats.in_flight_batches == 2 && stats.in_flight_bytes > 0, "{name}: {stats:?}");
        assert!(stats.in_flight_bytes <= recipe.run.memory && stats.batches == 0, "{name}: {stats:?}");
        let batch = epoch.next().unwrap().unwrap();
        drop(batch);
        assert_eq!(full(&loader, 2).batches, 1, "{name}");
        drop(epoch);
        assert_eq!(levels(&loader.stats()), (0, 0, 0), "{name}: dropped");
        let mut epoch = loader.epoch(0).unwrap();
        assert!(epoch.by_ref().all(|batch| batch.is_ok()));
        assert_eq!(levels(&loader.stats()), (0, 0, 0), "{name}: at the end");
        drop(epoch);
        let stats = loader.stats();
        assert_eq!((levels(&stats), stats.batches), ((0, 0, 0), loader.len() + 1), "{name}");
        for (stage, _, grows, value) in METRICS {
            let is = value(&stats);
            // Whatever needs no decoder, and nothing is substituted here; and bytes are packed as they are stored, by no operation.
            let as_stored = name == "packs of bytes" && *stage == "augment_seconds";
            let may_be_none = ["substituted_samples", "decode_seconds"].contains(stage) || as_stored || !grows;
            assert!(is >= 0.0 && (is > 0.0 || may_be_none), "{name}: {stage} is {is}");
        }
    }
}

#[test]
fn the_next_epoch_is_under_way_before_the_last_batch_is_taken() {
    let (_, made, recipe) = common::modalities().swap_remove(0);
    let mut recipe = Recipe { batch: 3, ..recipe };
    (recipe.run.threads, recipe.run.prefetch) = (2, 3);
    let loader = common::loader(&made.dataset, &recipe);
    let mut run = loader.epochs(0..2).unwrap();
    let before = loader.len() - 1;
    run.by_ref().take(before as usize).for_each(|batch| drop(batch.unwrap()));
    // One is left of this epoch, and three are ready.
    assert_eq!(full(&loader, 3).batches, before);
    let next: Vec<u64> = run.by_ref().take(3).map(|batch| batch.unwrap().place.epoch).collect();
    assert_eq!(next, [0, 1, 1]);
    drop(run);
    assert_eq!(levels(&loader.stats()), (0, 0, 0));
}

#[cfg(feature = "prometheus")]
#[test]
fn prometheus_reads_every_number() {
    let (_, made, recipe) = common::modalities().swap_remove(0);
    let loader = common::loader(&made.dataset, &recipe);
    assert!(loader.epoch(0).unwrap().all(|batch| batch.is_ok()));
    let (text, stats) = (loader.prometheus(), loader.stats());
    for (name, help, grows, value) in METRICS {
        let kind = if *grows { "counter" } else { "gauge" };
        assert!(text.contains(&format!("# TYPE feedstock_loader_{name} {kind}\n")), "{text}");
        assert!(text.contains(&format!("# HELP feedstock_loader_{name} {help}")), "{text}");
        let suffix = if *grows { "_total" } else { "" };
        let line = text.lines().find(|line| line.starts_with(&format!("feedstock_loader_{name}{suffix} "))).unwrap();
        let said: f64 = line.split(' ').nth(1).unwrap().parse().unwrap();
        assert!((said - value(&stats)).abs() < 1e-9, "{line}");
    }
    assert!(text.ends_with("# EOF\n"));
    // Two loaders in one registry, told apart by a label.
    let mut registry = prometheus_client::registry::Registry::default();
    for name in ["train", "test"] {
        registry.sub_registry_with_label(("loader".into(), name.into())).register_collector(Box::new(loader.metrics()));
    }
    let mut text = String::new();
    prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
    assert!(text.contains("feedstock_loader_batches_total{loader=\"train\"}"), "{text}");
}

#[cfg(feature = "tracing")]
mod spans {
    use std::collections::BTreeMap;
    use std::sync::{Arc, Mutex};

    use tracing::span::{Attributes, Id, Record};
    use tracing::{Event, Metadata, Subscriber};

    /// Counts the spans of each name.
    #[derive(Clone, Default)]
    struct Counts(Arc<Mutex<BTreeMap<&'static str, u64>>>);

    impl Subscriber for Counts {
        fn enabled(&self, metadata: &Metadata<'_>) -> bool {
            metadata.target() == "feedstock"
        }
        fn new_span(&self, span: &Attributes<'_>) -> Id {
            let mut counts = self.0.lock().unwrap();
            *counts.entry(span.metadata().name()).or_default() += 1;
            Id::from_u64(counts.values().sum())
        }
        fn record(&self, _: &Id, _: &Record<'_>) {}
        fn record_follows_from(&self, _: &Id, _: &Id) {}
        fn event(&self, _: &Event<'_>) {}
        fn enter(&self, _: &Id) {}
        fn exit(&self, _: &Id) {}
    }

    #[test]
    fn every_stage_has_its_span() {
        let counts = Counts::default();
        tracing::subscriber::set_global_default(counts.clone()).unwrap();
        let (_, made, recipe) = super::common::modalities().swap_remove(0);
        let loader = super::common::loader(&made.dataset, &recipe);
        let batches = loader.epoch(0).unwrap().map(Result::unwrap).count() as u64;
        let counts = counts.0.lock().unwrap().clone();
        let of = |name: &str| counts.get(name).copied().unwrap_or(0);
        assert!(of("open") >= batches && of("close") >= batches && of("wait") >= batches, "{counts:?}");
        assert!(of("sample") >= loader.stats().samples && of("fetch") >= loader.stats().samples, "{counts:?}");
        assert!(of("work") >= of("fetch"), "{counts:?}");
    }
}
