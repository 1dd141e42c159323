//! What goes wrong under way: damaged payloads, panics, shards that are gone, consumers that stop. No hang, no thread left, no byte over the
//! budget, and the error names the row. One test at a time, as threads of this process are counted.

mod common;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use common::{loader, made, recipe, sample_bytes};
use feedstock::augment::{self, Draw, Media, Op, OpEntry, Spec, Tools};
use feedstock::data::batch::Batch;
use feedstock::data::info::Info;
use feedstock::dataset::Dataset;
use feedstock::ingest::{Control, IngestOptions, ingest};
use feedstock::loader::{Loader, OnError};
use feedstock::plan::{Balance, State, Tail, World};
use feedstock::recipe::{OpConfig, Recipe, Registry};
use feedstock::rng::Key;
use feedstock::{Error, Fault, Reason};

static ALONE: Mutex<()> = Mutex::new(());

fn alone() -> MutexGuard<'static, ()> {
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Whether no loader thread is left. The kernel takes a joined thread off its list a moment after the join returns.
fn gone() -> bool {
    let threads = || {
        let tasks = std::fs::read_dir("/proc/self/task").unwrap();
        let names = tasks.filter_map(|task| std::fs::read_to_string(task.unwrap().path().join("comm")).ok());
        names.filter(|name| name.starts_with("feedstock-load")).count()
    };
    (0..5_000).any(|_| {
        std::thread::sleep(std::time::Duration::from_millis(1));
        threads() == 0
    })
}

/// A dataset of photos, some of whose payloads begin with other bytes than those of a picture; and the ids of these.
fn damaged(every: u64) -> (common::Made, BTreeSet<String>) {
    damage(made("images", &IngestOptions::default()), every, |bytes| bytes[..4].fill(0))
}

fn damage(made: common::Made, every: u64, how: impl Fn(&mut [u8])) -> (common::Made, BTreeSet<String>) {
    let (index, mut ids) = (made.dataset.index().clone(), BTreeSet::new());
    for row in (0..index.rows()).filter(|row| row % every == 0) {
        let entry = index.row(row);
        let payload = entry.payload(0).unwrap();
        let shard = made.dataset.origin(row, 0).file.unwrap();
        let mut bytes = std::fs::read(&shard).unwrap();
        let range = payload.offset as usize..(payload.offset + payload.length) as usize;
        how(&mut bytes[range]);
        std::fs::write(&shard, bytes).unwrap();
        ids.insert(entry.id().to_owned());
    }
    assert!(ids.len() > 2 && (ids.len() as u64) < index.rows());
    (made, ids)
}

fn all(loader: &Loader, epoch: u64) -> Vec<Batch> {
    loader.epoch(epoch).unwrap().map(Result::unwrap).collect()
}

#[test]
fn another_sample_stands_in_for_one_that_cannot_be_read() {
    let _alone = alone();
    let (made, bad) = damaged(5);
    let failing = Recipe { split: None, tail: Tail::Pad, ..recipe("images") };
    let recipe = Recipe { errors: OnError::Substitute, ..failing.clone() };
    let error = loader(&made.dataset, &failing).epoch(0).unwrap().find_map(Result::err).unwrap();
    assert!(matches!(&error, Error::Sample { .. }) && bad.iter().any(|id| error.to_string().contains(id)), "{error}");

    let own = loader(&made.dataset, &recipe);
    let batches = all(&own, 1);
    let names = own.classes("label").unwrap();
    let mut replaced = BTreeMap::new();
    for batch in &batches {
        let labels = batch.get::<i64>("label").unwrap().data.to_vec();
        for slot in (0..batch.len()).filter(|slot| batch.valid[*slot]) {
            assert!(!bad.contains(&batch.ids[slot]), "{}", batch.ids[slot]);
            // The label is that of what stands there.
            assert!(batch.ids[slot].contains(&format!("/{}/", names[labels[slot] as usize])));
        }
        for substituted in &batch.substituted {
            assert!(
                substituted.reason.contains(&substituted.id) && substituted.reason.contains(".parquet"),
                "{substituted:?}"
            );
            replaced.insert(
                substituted.id.clone(),
                (batch.place.batch, substituted.slot, batch.ids[substituted.slot].clone()),
            );
        }
    }
    assert_eq!(replaced.keys().cloned().collect::<BTreeSet<_>>(), bad);
    assert_eq!(own.stats().substituted, bad.len() as u64);
    let places: usize = batches.iter().map(|batch| batch.valid.iter().filter(|v| **v).count()).sum();
    assert_eq!(places as u64, made.dataset.rows());

    // The same ones for any threads, on any rank, and after a restart.
    let digests = |batches: &[Batch]| batches.iter().map(|b| (b.place.batch, b.digest())).collect::<BTreeMap<_, _>>();
    let want = digests(&batches);
    for threads in [1, 7] {
        let mut run = recipe.clone();
        run.run.threads = threads;
        assert_eq!(digests(&all(&loader(&made.dataset, &run), 1)), want);
    }
    let mut dealt = BTreeMap::new();
    for rank in 0..3 {
        let mut run = recipe.clone();
        run.run.world = World { rank, size: 3 };
        dealt.extend(digests(&all(&loader(&made.dataset, &run), 1)));
    }
    assert!(want.iter().all(|(batch, digest)| dealt.get(batch) == Some(digest)));
    let mut epoch = own.epoch(1).unwrap();
    epoch.by_ref().take(2).for_each(|batch| drop(batch.unwrap()));
    let state = State::from_json(&epoch.state().to_json()).unwrap();
    let rest: Vec<Batch> = own.resume(&state).unwrap().map(Result::unwrap).collect();
    assert!(!rest.is_empty() && digests(&rest).iter().all(|(batch, digest)| want.get(batch) == Some(digest)));
    // A recipe that fails is another one.
    assert!(loader(&made.dataset, &failing).resume(&state).is_err());

    // Two views of a bad sample are of one other, each drawn for itself.
    let views = Recipe {
        views: 2,
        balance: Some(Balance { by: "label".into(), power: Some(1.0), ..Balance::default() }),
        ..recipe
    };
    for batch in all(&loader(&made.dataset, &views), 0) {
        for pair in (0..batch.len()).step_by(2).filter(|slot| batch.valid[*slot]) {
            assert_eq!(batch.ids[pair], batch.ids[pair + 1]);
            assert_ne!(sample_bytes(&batch, pair), sample_bytes(&batch, pair + 1));
        }
    }
    drop(epoch);
    assert!(gone());
}

#[test]
fn what_stands_in_fits_where_lengths_differ() {
    let _alone = alone();
    let (sounds, bad) = damage(made("digits", &IngestOptions::default()), 4, |bytes| bytes[..4].fill(0));
    let recipe = Recipe { errors: OnError::Substitute, ..recipe("digits") };
    let recipe = Recipe { columns: recipe.columns.into_iter().filter(|(name, _)| name == "audio").collect(), ..recipe };
    let batches = all(&loader(&sounds.dataset, &recipe), 0);
    let found: BTreeSet<String> = batches.iter().flat_map(|b| &b.substituted).map(|s| s.id.clone()).collect();
    assert_eq!(found, bad);
    assert!(batches.iter().flat_map(|b| &b.ids).all(|id| !bad.contains(id)));

    // In a packed row the place of what cannot be read is padding, and its id is gone.
    let prepare = serde_json::from_value(serde_json::json!({"columns": {"text": {"ops": [{"op": "bytes_to_ids"}]}}}));
    let options = IngestOptions { prepare: prepare.unwrap(), ..IngestOptions::default() };
    // Ids of any bytes are ids: what is damaged is seen by its hash.
    let (text, bad) =
        damage(made("text/shakespeare_20k.txt", &options), 9, |bytes| bytes.iter_mut().for_each(|b| *b ^= 1));
    let mut recipe: Recipe = serde_json::from_value(serde_json::json!({
        "batch": 4, "tail": "pad", "errors": "substitute", "pack": {"column": "text", "length": 100},
    }))
    .unwrap();
    recipe.run.check_hash = true;
    let loader = loader(&text.dataset, &recipe);
    let (mut came, mut found) = (BTreeSet::new(), BTreeSet::new());
    for batch in all(&loader, 0) {
        let segments = batch.get::<i64>("text_segments").unwrap().data.to_vec();
        for (slot, ids) in batch.ids.iter().enumerate() {
            let last = segments[slot * 100..(slot + 1) * 100].iter().max().copied().unwrap();
            assert_eq!(last as usize, ids.lines().count());
            assert_eq!(batch.valid[slot], last > 0);
            came.extend(ids.lines().map(str::to_owned));
        }
        found.extend(batch.substituted.into_iter().map(|s| s.id));
    }
    assert!(came.is_disjoint(&bad));
    let index = text.dataset.index();
    let empty = |row: u64| index.row(row).payload(0).unwrap().info.count == 0;
    let full: BTreeSet<String> =
        (0..index.rows()).filter(|row| !empty(*row)).map(|row| index.row(row).id().to_owned()).collect();
    assert_eq!(found, bad.intersection(&full).cloned().collect());
    assert_eq!(came.len() + found.len(), full.len());
}

#[test]
fn what_stands_in_for_the_shortest_is_beside_it() {
    let _alone = alone();
    // Two short lines among so many long ones that none of those drawn is short enough.
    let folder = Arc::new(tempfile::tempdir().unwrap());
    let text = folder.path().join("lines.txt");
    let lines = (0..6_000).map(|n| match n {
        0 => "ab\n".to_owned(),
        1 => "abc\n".to_owned(),
        _ => format!("line {n:060}\n"),
    });
    std::fs::write(&text, lines.collect::<String>()).unwrap();
    let prepare = serde_json::from_value(serde_json::json!({"columns": {"text": {"ops": [{"op": "bytes_to_ids"}]}}}));
    let options = IngestOptions { prepare: prepare.unwrap(), ..IngestOptions::default() };
    ingest(&text, &folder.path().join("d"), &options, &Control::default()).unwrap();
    let dataset = Arc::new(Dataset::open(folder.path().join("d")).unwrap());
    let (made, bad) = damage(common::Made { folder, dataset }, 2_000, |bytes| bytes[0] ^= 1);
    let index = made.dataset.index();
    let (own, beside) = (index.row(0).id().to_owned(), index.row(1).id().to_owned());
    for views in [1, 2] {
        let mut recipe: Recipe = serde_json::from_value(serde_json::json!({
            "batch": 2 * views, "views": views, "tail": "pad", "errors": "substitute", "bucket": {"by": "text.count"},
        }))
        .unwrap();
        recipe.run.check_hash = true;
        let key = |batch: &Batch| (batch.place.window, batch.place.batch);
        let batches = all(&loader(&made.dataset, &recipe), 0);
        let found: BTreeSet<String> = batches.iter().flat_map(|b| &b.substituted).map(|s| s.id.clone()).collect();
        assert_eq!(found, bad);
        let short = batches.iter().find(|batch| batch.substituted.iter().any(|s| s.id == own)).unwrap();
        assert!(short.len() == 2 * views && short.ids.iter().all(|id| *id == beside), "{:?}", short.ids);
        // The same for any threads, on any rank, and after a restart.
        let want: BTreeMap<_, u128> = batches.iter().map(|batch| (key(batch), batch.digest())).collect();
        let same = |batches: Vec<Batch>| {
            assert!(batches.iter().all(|b| b.valid.iter().all(|v| !v) || want.get(&key(b)) == Some(&b.digest())));
        };
        for (rank, size, threads) in [(0, 1, 1), (0, 3, 4), (1, 3, 2), (2, 3, 1)] {
            let mut run = recipe.clone();
            (run.run.world, run.run.threads) = (World { rank, size }, threads);
            same(all(&loader(&made.dataset, &run), 0));
        }
        let lone = loader(&made.dataset, &recipe);
        let mut epoch = lone.epoch(0).unwrap();
        let before = batches.iter().position(|batch| key(batch) == key(short)).unwrap();
        epoch.by_ref().take(before).for_each(|batch| drop(batch.unwrap()));
        let state = State::from_json(&epoch.state().to_json()).unwrap();
        let rest: Vec<Batch> = lone.resume(&state).unwrap().map(Result::unwrap).collect();
        assert_eq!(rest[0].digest(), short.digest());
        same(rest);
    }
    assert!(gone());
}

#[test]
fn a_slot_says_why_its_own_sample_is_not_there_whatever_was_tried_after_it() {
    let _alone = alone();
    let (made, mut bad) = damaged(2);
    // Half of the rows are too large for this recipe, and half of the rest are damaged: the first that stands in is often bad, too.
    let index = made.dataset.index();
    let pixels = |row: u64| {
        let info = index.row(row).payload(0).unwrap().info;
        u64::from(info.width) * u64::from(info.height)
    };
    let mut sizes: Vec<u64> = (0..index.rows()).map(pixels).collect();
    sizes.sort_unstable();
    let mut recipe = Recipe { split: None, tail: Tail::Pad, errors: OnError::Substitute, ..recipe("images") };
    recipe.limits.pixels = sizes[sizes.len() / 2];
    // What it makes is as large as what it gets, which is seen before anything is read.
    let flip = OpConfig { op: "horizontal_flip".into(), params: Default::default() };
    recipe.columns.get_mut("image").unwrap().ops.insert(0, flip);
    let large: BTreeSet<String> = (0..index.rows())
        .filter(|row| pixels(*row) > recipe.limits.pixels)
        .map(|row| index.row(row).id().to_owned())
        .collect();
    assert!(large.len() > 3 && large.intersection(&bad).count() < large.len());
    bad.extend(large.iter().cloned());
    let batches = all(&loader(&made.dataset, &recipe), 0);
    let told: Vec<_> = batches.iter().flat_map(|batch| &batch.substituted).collect();
    assert_eq!(told.iter().map(|one| one.id.clone()).collect::<BTreeSet<_>>(), bad);
    for one in told {
        assert!(one.reason.contains(&one.id), "{one:?}");
        assert_eq!(one.reason.contains("over-limit"), large.contains(&one.id), "{one:?}");
    }
}

#[test]
fn the_last_epoch_is_refused() {
    let _alone = alone();
    let made = made("images", &IngestOptions::default());
    let loader = loader(&made.dataset, &recipe("images"));
    assert!(loader.epoch(u64::MAX).is_err() && loader.part(u64::MAX, 0..1).is_err());
    let mut last = loader.epoch(u64::MAX - 1).unwrap();
    assert_eq!(last.remaining(), loader.len());
    last.next().unwrap().unwrap();
    let state = State { epoch: u64::MAX, ..last.state() };
    let error = loader.resume(&state).map(drop).unwrap_err().to_string();
    assert!(error.contains("no epoch"), "{error}");
}

#[test]
fn a_shard_cut_or_deleted_under_way_ends_the_epoch_at_a_row_of_it() {
    let _alone = alone();
    for cut in [true, false] {
        let folder = tempfile::tempdir().unwrap();
        let target = folder.path().join("d");
        let options = IngestOptions { shard_bytes: 20_000, ..IngestOptions::default() };
        ingest(&common::fixture("images"), &target, &options, &Control::default()).unwrap();
        let dataset = Arc::new(Dataset::open(&target).unwrap());
        let mut recipe = Recipe { split: None, batch: 2, tail: Tail::Pad, ..recipe("images") };
        (recipe.run.threads, recipe.run.prefetch) = (2, 1);
        let want = common::digests(&dataset, &recipe, 0, World::default());
        let loader = loader(&Arc::new(Dataset::open(&target).unwrap()), &recipe);
        let mut epoch = loader.epoch(0).unwrap();
        let mut taken = 2;
        epoch.by_ref().take(taken).for_each(|batch| drop(batch.unwrap()));
        for shard in dataset.shards() {
            let path = target.join(&shard.path);
            // An open file goes on being whole when its name is taken, so that some shards must still be closed.
            let file = std::fs::File::options().write(true).open(&path).unwrap();
            if cut { file.set_len(10).unwrap() } else { std::fs::remove_file(&path).unwrap() }
        }
        let error = loop {
            match epoch.next() {
                Some(Ok(batch)) => assert_eq!(batch.digest(), want[taken], "a batch of what was cut"),
                Some(Err(error)) => break Some(error),
                None => break None,
            }
            taken += 1;
        };
        match error {
            Some(error) => {
                let text = error.to_string();
                let ids = (0..dataset.rows()).map(|row| dataset.index().row(row).id());
                assert!(text.contains(".parquet") && ids.into_iter().any(|id| text.contains(id)), "{text}");
                assert!(epoch.next().is_none());
            }
            // All of them were open.
            None => assert!(!cut && taken == want.len(), "cut {cut}: {taken} batches without an error"),
        }
        drop(epoch);
        assert!(gone());
        assert_eq!(loader.crew().bytes(), 0);
    }
}

/// An operation that panics at one of its stages, in every so many-th call.
#[derive(Debug)]
struct Panics {
    stage: Stage,
    calls: AtomicU32,
}

#[derive(Debug, Clone, Copy, PartialEq, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
enum Stage {
    Draw,
    Facts,
    Apply,
    Fault,
}

#[derive(serde::Deserialize)]
struct Config {
    stage: Stage,
}

impl Panics {
    fn at(&self, stage: Stage) {
        if self.stage == stage && self.calls.fetch_add(1, Ordering::Relaxed) == 9 {
            panic!("the tenth {stage:?}");
        }
    }
}

impl Op for Panics {
    fn spec(&self, input: &Spec) -> Result<Spec, Fault> {
        Ok(input.clone())
    }

    fn draw(&self, _: &Info, _: Key) -> Draw {
        self.at(Stage::Draw);
        Draw::None
    }

    fn facts(&self, input: &Info, _: &Draw) -> Info {
        self.at(Stage::Facts);
        *input
    }

    fn apply(&self, _: &Draw, media: Media, _: &mut Tools) -> Result<Media, Fault> {
        self.at(Stage::Apply);
        if self.stage == Stage::Fault && self.calls.fetch_add(1, Ordering::Relaxed) == 9 {
            return Err(Fault::new(Reason::Corrupt, "the tenth"));
        }
        Ok(media)
    }
}

fn registry() -> Registry {
    let mut registry = Registry::default();
    registry.ops = registry.ops.with(OpEntry {
        name: "panics",
        version: 1,
        summary: "panics",
        build: |params| {
            let Config { stage } = augment::parse("panics", params)?;
            Ok(Arc::new(Panics { stage, calls: AtomicU32::new(0) }))
        },
        example: r#"{"stage": "draw"}"#,
    });
    registry
}

#[test]
fn a_panic_in_any_stage_ends_the_epoch_with_an_error_and_all_its_threads() {
    let _alone = alone();
    let images = Recipe { batch: 4, ..recipe("images") };
    let photos = made("images", &IngestOptions::default());
    let packs = common::modalities().into_iter().find(|(name, ..)| *name == "packs of bytes").unwrap();
    let cases = [
        ("batches", &photos, images.clone(), "image"),
        ("views", &photos, Recipe { views: 2, ..images.clone() }, "image"),
        ("partners", &photos, Recipe { partners: 1, ..images }, "image"),
        ("packs", &packs.1, packs.2.clone(), "text"),
    ];
    for (name, made, recipe, column) in &cases {
        for stage in ["draw", "facts", "apply", "fault"] {
            // Of packs the length is asked for while the recipe is checked, which is the caller's own thread.
            if *name == "packs" && matches!(stage, "draw" | "facts") {
                continue;
            }
            for (threads, errors) in [1, 4].into_iter().flat_map(|n| OnError::ALL.iter().map(move |e| (n, e))) {
                let params = serde_json::json!({ "stage": stage }).as_object().unwrap().clone();
                let mut recipe = Recipe { errors: *errors, ..recipe.clone() };
                recipe
                    .columns
                    .entry((*column).into())
                    .or_default()
                    .ops
                    .insert(0, OpConfig { op: "panics".into(), params });
                recipe.run.threads = threads;
                let loader = recipe.loader_with(made.dataset.clone(), &registry()).unwrap();
                let mut epoch = loader.epoch(0).unwrap();
                let error = epoch.by_ref().find_map(Result::err);
                let context = format!("{name}, {stage}, {threads} threads, {errors:?}");
                match (stage, errors) {
                    // A fault of one sample: another stands in.
                    ("fault", OnError::Substitute) => assert!(error.is_none(), "{context}: {error:?}"),
                    _ => {
                        let text = error.unwrap_or_else(|| panic!("{context}: no error")).to_string();
                        assert!(text.contains("the tenth"), "{context}: {text}");
                        // What is done for one sample names it.
                        let named = [".jpg", ".png", "shakespeare_20k.txt#"].iter().any(|part| text.contains(part));
                        assert!(named, "{context}: {text}");
                        // Nothing comes behind it.
                        assert!(epoch.next().is_none() && epoch.remaining() == 0, "{context}");
                    }
                }
                drop(epoch);
                assert!(gone(), "{context}: threads are left");
                assert_eq!(
                    (loader.crew().bytes(), loader.stats().in_flight_bytes),
                    (0, 0),
                    "{context}: bytes are left"
                );
            }
        }
    }
}

#[test]
fn a_loader_dropped_at_every_point_leaves_nothing() {
    let _alone = alone();
    for (name, made, recipe) in common::modalities() {
        let mut recipe = Recipe { batch: recipe.batch.min(4), ..recipe };
        (recipe.run.threads, recipe.run.prefetch) = (3, 3);
        let want = common::digests(&made.dataset, &recipe, 0, World::default());
        let loader = loader(&made.dataset, &recipe);
        let steps = loader.len().min(12);
        for taken in 0..=steps {
            let mut epoch = loader.epoch(0).unwrap();
            let kept: Vec<Batch> = epoch.by_ref().take(taken as usize).map(Result::unwrap).collect();
            if taken % 3 == 1 {
                // A consumer that stops: what is on its way comes to a standstill within its bounds.
                std::thread::sleep(std::time::Duration::from_millis(20));
                assert!(loader.stats().in_flight_batches <= 3, "{name}: {:?}", loader.stats());
            }
            drop(epoch);
            assert!(gone(), "{name} after {taken} batches");
            let stats = loader.stats();
            assert_eq!([stats.in_flight_batches, stats.in_flight_bytes, stats.ready_batches], [0; 3], "{name}");
            assert_eq!(loader.crew().bytes(), 0, "{name} after {taken} batches: bytes are left");
            // Batches outlive their epoch.
            assert!(kept.iter().map(Batch::digest).eq(want[..taken as usize].iter().copied()), "{name}");
        }
    }
}

#[test]
fn a_shard_that_is_gone_is_an_error_that_names_it() {
    let _alone = alone();
    let folder = tempfile::tempdir().unwrap();
    let target = folder.path().join("d");
    let options = IngestOptions { shard_bytes: 20_000, ..IngestOptions::default() };
    ingest(&common::fixture("images"), &target, &options, &Control::default()).unwrap();
    let dataset = Arc::new(Dataset::open(&target).unwrap());
    let shards: Vec<PathBuf> = dataset.shards().iter().map(|shard| target.join(&shard.path)).collect();
    assert!(shards.len() > 3);
    let lost = &shards[shards.len() / 2];
    std::fs::remove_file(lost).unwrap();
    let mut recipe = Recipe { split: None, batch: 2, tail: Tail::Pad, ..recipe("images") };
    let error = loader(&dataset, &recipe).epoch(0).unwrap().find_map(Result::err).unwrap().to_string();
    let name = lost.file_name().unwrap().to_str().unwrap();
    assert!(error.contains(name) && error.contains("No such file"), "{error}");
    assert!(gone());
    // It may be there on another rank, so that nothing stands in for it.
    recipe.errors = OnError::Substitute;
    let error = loader(&dataset, &recipe).epoch(0).unwrap().find_map(Result::err).unwrap().to_string();
    assert!(error.contains(name), "{error}");
    // Nor for one that was cut short: a copy of it elsewhere may be whole.
    std::fs::write(lost, b"").unwrap();
    let error = loader(&dataset, &recipe).epoch(0).unwrap().find_map(Result::err).unwrap().to_string();
    assert!(error.contains(name) && error.contains("unreadable"), "{error}");
    assert!(gone());
    // All of them.
    shards.iter().filter(|shard| shard.exists()).for_each(|shard| std::fs::remove_file(shard).unwrap());
    let dataset = Arc::new(Dataset::open(&target).unwrap());
    let error = loader(&dataset, &recipe).epoch(0).unwrap().find_map(Result::err).unwrap().to_string();
    assert!(error.contains(".parquet"), "{error}");
    assert!(gone());
}
