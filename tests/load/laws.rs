//! The laws of the read door (ARCHITECTURE.md), over every modality.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::common::{batches, digests, loader, modalities, sample_bytes};
use feedstock::data::batch::Batch;
use feedstock::data::feature::{Feature, Schema};
use feedstock::data::index::Index;
use feedstock::dataset::{Backing, Dataset};
use feedstock::plan::{Balance, Bucket, Fold, Order, State, Subset, Tail, Window, World};
use feedstock::recipe::Recipe;

const WORLDS: [u64; 4] = [1, 2, 3, 7];
const TAILS: [Tail; 3] = [Tail::Drop, Tail::Pad, Tail::Repeat];
/// Windows of a few groups of a few of the fixtures' rows.
const SMALL: Window = Window { group: 9_000, bytes: 20_000 };
const ALONE: World = World { rank: 0, size: 1 };

#[test]
fn law_1_bytes_are_the_same_for_any_threads_prefetch_and_memory() {
    for (name, made, recipe) in modalities() {
        let mut run = recipe.clone();
        (run.run.threads, run.run.prefetch) = (1, 1);
        let reference = digests(&made.dataset, &run, 1, ALONE);
        assert!(!reference.is_empty(), "{name}");
        for threads in [1, 2, 5, 8] {
            for prefetch in [0, 1, 2, 6] {
                (run.run.threads, run.run.prefetch) = (threads, prefetch);
                run.run.memory = if prefetch == 2 { 64 << 20 } else { 1 << 30 };
                assert_eq!(
                    digests(&made.dataset, &run, 1, ALONE),
                    reference,
                    "{name}: {threads} threads, prefetch {prefetch}"
                );
            }
        }
        // Digests have the epoch in them: ids and samples have not.
        let samples = |epoch| -> Vec<Vec<u8>> {
            let all = batches(&made.dataset, &run, epoch, ALONE);
            all.iter().flat_map(|batch| (0..batch.len()).map(|n| sample_bytes(batch, n))).collect()
        };
        assert_ne!(samples(2), samples(1), "{name}: another epoch is the same");
    }
}

#[test]
fn law_1_the_fused_chain_equals_the_unfused_one() {
    for (name, made, recipe) in modalities() {
        let unfused = Recipe { fuse: false, ..recipe.clone() };
        assert_eq!(digests(&made.dataset, &unfused, 0, ALONE), digests(&made.dataset, &recipe, 0, ALONE), "{name}");
    }
}

#[test]
fn law_2_ranks_are_disjoint_equal_in_steps_and_together_the_global_order() {
    for (name, made, recipe) in modalities() {
        for tail in TAILS {
            let recipe = Recipe { tail, ..recipe.clone() };
            let global: Vec<u128> = digests(&made.dataset, &recipe, 0, ALONE);
            for size in WORLDS {
                let ranks: Vec<Vec<u128>> =
                    (0..size).map(|rank| digests(&made.dataset, &recipe, 0, World { rank, size })).collect();
                assert!(ranks.iter().all(|r| r.len() == ranks[0].len()), "{name} {tail:?} {size}: unequal steps");
                let dealt: Vec<u128> =
                    (0..ranks[0].len()).flat_map(|step| ranks.iter().map(move |r| r[step])).collect();
                let common = dealt.len().min(global.len());
                assert_eq!(dealt[..common], global[..common], "{name} {tail:?} {size}");
                match tail {
                    Tail::Drop => assert!(dealt.len() <= global.len() && global.len() - dealt.len() < size as usize),
                    _ => assert!(dealt.len() >= global.len() && dealt.len() - global.len() < size as usize),
                }
            }
        }
    }
}

#[test]
fn law_2_tails_are_complete_or_counted() {
    let (_, made, recipe) = modalities().swap_remove(0);
    let rows = made.dataset.splits()["train"];
    for size in WORLDS {
        let seen = |tail| -> (u64, BTreeMap<String, usize>) {
            let recipe = Recipe { tail, ..recipe.clone() };
            let mut ids = BTreeMap::new();
            let mut places = 0;
            for rank in 0..size {
                for batch in batches(&made.dataset, &recipe, 0, World { rank, size }) {
                    places += batch.len() as u64;
                    for (id, valid) in batch.ids.iter().zip(&batch.valid) {
                        assert_eq!(*valid, !id.is_empty());
                        if *valid {
                            *ids.entry(id.clone()).or_default() += 1;
                        }
                    }
                }
            }
            (places, ids)
        };
        let (_, ids) = seen(Tail::Pad);
        assert_eq!((ids.len() as u64, ids.values().max()), (rows, Some(&1)), "pad, world {size}");
        let (places, ids) = seen(Tail::Repeat);
        assert_eq!((ids.len() as u64, ids.values().sum::<usize>() as u64), (rows, places), "repeat, world {size}");
        let (_, ids) = seen(Tail::Drop);
        let mut of = Recipe { tail: Tail::Drop, ..recipe.clone() };
        of.run.world.size = size;
        let dropped = of.loader(made.dataset.clone()).unwrap().dropped(0);
        assert_eq!(ids.len() as u64 + dropped, rows, "drop, world {size}");
        assert!(ids.values().all(|n| *n == 1));
    }
}

/// The remaining global batches of an epoch, gathered from every rank of a world that resumes from a state.
fn resumed(dataset: &Arc<Dataset>, recipe: &Recipe, state: &State, size: u64) -> BTreeMap<u64, u128> {
    let mut all = BTreeMap::new();
    for rank in 0..size {
        let mut recipe = recipe.clone();
        recipe.run.world = World { rank, size };
        let loader = loader(dataset, &recipe);
        for batch in loader.resume(state).unwrap() {
            let batch = batch.unwrap();
            assert!(all.insert(batch.place.batch, batch.digest()).is_none(), "a batch was dealt twice");
        }
    }
    all
}

#[test]
fn law_3_saved_before_every_step_and_restored_on_another_world() {
    let all = modalities();
    assert_eq!(all.iter().map(|(name, ..)| TAILS[name.len() % 3] as usize).collect::<BTreeSet<_>>().len(), 3);
    let (mut orders, mut balanced) = (BTreeSet::new(), 0);
    for (name, made, recipe) in all {
        let tail = TAILS[name.len() % TAILS.len()];
        let order = Order::ALL[name.len() / 3 % Order::ALL.len()];
        orders.insert(format!("{order:?}"));
        // Where there are classes and the order is shuffled, they are balanced, so that rows come again.
        let classes = made.dataset.schema().columns.iter().find(|c| matches!(c.feature, Feature::ClassLabel { .. }));
        let balance = classes.filter(|_| order == Order::Shuffle).map(|column| equal(&column.name));
        balanced += usize::from(balance.is_some());
        let recipe = Recipe { tail, batch: 3, order, window: SMALL, balance, ..recipe };
        let global: Vec<Batch> = batches(&made.dataset, &recipe, 2, ALONE);
        let global: Vec<u128> = global.iter().map(Batch::digest).collect();
        let saved_world = World { rank: 0, size: 2 };
        let mut saving = recipe.clone();
        saving.run.world = saved_world;
        let loader = loader(&made.dataset, &saving);
        let mut epoch = loader.epoch(2).unwrap();
        let mut step = 0;
        loop {
            let state = epoch.state();
            let json = state.to_json();
            assert!(json.len() <= 1024);
            let state = State::from_json(&json).unwrap();
            assert_eq!(state.batch, step * 2);
            let size = WORLDS[step as usize % WORLDS.len()];
            let rest = resumed(&made.dataset, &recipe, &state, size);
            let left = global.len().saturating_sub(state.batch as usize);
            // `drop` may leave out less than one batch a rank; the others are complete.
            let complete = if tail == Tail::Drop { left / size as usize * size as usize } else { left };
            for (batch, want) in global.iter().enumerate().skip(state.batch as usize).take(complete) {
                assert_eq!(rest.get(&(batch as u64)), Some(want), "{name}: batch {batch} after step {step} on {size}");
            }
            assert!(rest.keys().all(|b| *b >= state.batch) && rest.len() >= complete, "{name} {tail:?}");
            if epoch.next().transpose().unwrap().is_none() {
                break;
            }
            step += 1;
        }
        assert!(step >= 2, "{name}: only {step} steps");
    }
    assert_eq!(orders.len(), Order::ALL.len(), "{orders:?}");
    assert!(balanced > 0, "{balanced}");
}

/// Classes come equally often.
fn equal(column: &str) -> Balance {
    Balance { by: column.into(), power: Some(1.0), ..Balance::default() }
}

#[test]
fn law_2_balanced_classes_come_as_often_as_they_are_due() {
    let (_, made, recipe) = modalities().swap_remove(0);
    let names = match made.dataset.schema().get("label").unwrap() {
        Feature::ClassLabel { names } => names.clone(),
        other => panic!("{other:?}"),
    };
    // Of one class of the three there are fewer.
    let few = format!("not (label = '{}' and id like '%42%')", names[0]);
    let recipe = Recipe { filter: Some(few), tail: Tail::Pad, batch: 5, ..recipe };
    let plain = recipe.loader(made.dataset.clone()).unwrap();
    let recipe = Recipe { balance: Some(equal("label")), ..recipe };
    let loader = recipe.loader(made.dataset.clone()).unwrap();
    assert_eq!(loader.plan(0).places(), plain.plan(0).places());
    let due = loader.sequence().components[0].balance.as_ref().unwrap().shares();
    assert!(
        due.iter().any(|share| share.samples > share.rows) && due.iter().any(|share| share.samples < share.rows),
        "{due:?}"
    );
    let mut drawn = BTreeSet::new();
    for epoch in 0..3 {
        let mut counts = vec![0; names.len()];
        let mut pictures: BTreeMap<String, BTreeSet<Vec<u8>>> = BTreeMap::new();
        let mut times: BTreeMap<String, usize> = BTreeMap::new();
        for batch in batches(&made.dataset, &recipe, epoch, ALONE) {
            let labels = batch.get::<i64>("label").unwrap().data.to_vec();
            for n in (0..batch.len()).filter(|n| batch.valid[*n]) {
                counts[labels[n] as usize] += 1;
                pictures.entry(batch.ids[n].clone()).or_default().insert(sample_bytes(&batch, n));
                *times.entry(batch.ids[n].clone()).or_default() += 1;
            }
        }
        let said: Vec<u64> = due.iter().map(|share| share.samples).collect();
        assert_eq!(counts, said, "epoch {epoch}");
        // What comes again is another crop, and which rows come more often than others is drawn in each epoch.
        for (id, times) in &times {
            assert_eq!(pictures[id].len(), *times, "{id}: a repeat is the same picture");
        }
        drawn.insert(times);
    }
    assert!(drawn.len() > 1, "{drawn:?}");
    let wrong = Recipe { balance: Some(equal("image")), ..recipe };
    assert!(wrong.loader(made.dataset.clone()).unwrap_err().to_string().contains("there are: label"));
}

/// The ids of an epoch over all ranks, and how often each came.
fn ids(dataset: &Arc<Dataset>, recipe: &Recipe) -> BTreeMap<String, usize> {
    let mut ids = BTreeMap::new();
    for batch in batches(dataset, recipe, 0, ALONE) {
        batch
            .ids
            .into_iter()
            .zip(batch.valid)
            .filter(|(_, valid)| *valid)
            // A row of several samples has a line for each.
            .flat_map(|(ids, _)| ids.lines().map(str::to_owned).collect::<Vec<_>>())
            .for_each(|id| *ids.entry(id).or_default() += 1);
    }
    ids
}

#[test]
fn law_2_every_order_and_choice_gives_each_wanted_row_once() {
    for (name, made, recipe) in modalities() {
        let recipe = Recipe { tail: Tail::Pad, batch: 3, window: SMALL, ..recipe };
        let all = ids(&made.dataset, &recipe);
        let (hold_out, only) =
            (Fold { of: 3, hold_out: Some(1), ..Fold::default() }, Fold { of: 3, only: Some(1), ..Fold::default() });
        for order in Order::ALL {
            let recipe = Recipe { order: *order, ..recipe.clone() };
            assert_eq!(ids(&made.dataset, &recipe), all, "{name} {order:?}");
            let [kept, held] = [&hold_out, &only].map(|fold| {
                let recipe = Recipe { fold: Some(fold.clone()), ..recipe.clone() };
                ids(&made.dataset, &recipe)
            });
            assert!(!kept.is_empty() && kept.len() < all.len(), "{name}: {} of {}", kept.len(), all.len());
            assert_eq!(kept.len() + held.len(), all.len(), "{name} {order:?}");
            assert_eq!(kept.into_iter().chain(held).collect::<BTreeMap<_, _>>(), all, "{name} {order:?}");
            let three = Recipe { subset: Some(Subset { rows: Some(3), ..Subset::default() }), ..recipe.clone() };
            let of_each = 3 * recipe.sources.len().max(1);
            assert_eq!(ids(&made.dataset, &three).values().sum::<usize>(), of_each, "{name} {order:?}");
        }
        // A condition, against the ids themselves.
        let every: Vec<String> = all.into_keys().collect();
        let second = |from: usize| every.iter().skip(from).step_by(2).cloned().collect::<Vec<_>>();
        let (odd, other) = (second(1), second(0));
        let list = odd.iter().map(|id| format!("'{}'", id.replace('\'', "''"))).collect::<Vec<_>>().join(", ");
        for (condition, expected) in [(format!("id in [{list}]"), &odd), (format!("id not in [{list}]"), &other)] {
            let recipe = Recipe { filter: Some(condition), ..recipe.clone() };
            assert_eq!(ids(&made.dataset, &recipe).into_keys().collect::<Vec<_>>(), *expected, "{name}");
        }
    }
}

#[test]
fn law_4_views_are_one_row_with_draws_of_their_own() {
    let (_, made, recipe) = modalities().swap_remove(0);
    for tail in TAILS {
        let recipe = Recipe { views: 3, batch: 6, tail, ..recipe.clone() };
        let once = Recipe { views: 1, batch: 2, ..recipe.clone() };
        let all = batches(&made.dataset, &recipe, 1, ALONE);
        let plain = batches(&made.dataset, &once, 1, ALONE);
        assert_eq!(all.len(), plain.len());
        for (views, plain) in all.iter().zip(&plain) {
            for n in 0..plain.len() {
                let own = 3 * n..3 * n + 3;
                assert!(views.ids[own.clone()].iter().all(|id| *id == plain.ids[n]), "{:?} {:?}", views.ids, plain.ids);
                assert!(views.valid[own.clone()].iter().all(|valid| *valid == plain.valid[n]));
                if plain.valid[n] {
                    let drawn: BTreeSet<Vec<u8>> = own.clone().map(|n| sample_bytes(views, n)).collect();
                    assert_eq!(drawn.len(), 3, "views are the same picture");
                    // The first view is the sample that there is without views.
                    assert_eq!(sample_bytes(views, 3 * n), sample_bytes(plain, n));
                }
            }
        }
    }
}

#[test]
fn views_take_the_parts_of_a_recording_and_of_a_clip_in_turn() {
    let all = modalities();
    let of = |name: &str| all.iter().find(|(of, ..)| *of == name).unwrap();
    let (_, sounds, _) = of("digits");
    let (_, clips, _) = of("clips");
    let recipe = |column: &str, op: &str| -> Recipe {
        let text = format!("views = 3\nbatch = 6\ntail = \"pad\"\n[columns.{column}]\nops = [{op}]");
        toml::from_str(&text).unwrap()
    };
    let part = |mode: &str| recipe("audio", &format!("{{ op = \"time_crop\", samples = 400, {mode} }}"));
    let samples = |recipe: &Recipe| {
        let batches = batches(&sounds.dataset, recipe, 0, ALONE);
        let of = |batch: &Batch| {
            (0..batch.len()).filter(|n| batch.valid[*n]).map(|n| sample_bytes(batch, n)).collect::<Vec<_>>()
        };
        batches.iter().flat_map(of).collect::<Vec<_>>()
    };
    let (spread, start, center) =
        (samples(&part("mode = \"spread\"")), samples(&part("mode = \"start\"")), samples(&part("mode = \"center\"")));
    assert!(spread.len() > 30);
    for (n, sample) in spread.iter().enumerate() {
        match n % 3 {
            0 => assert_eq!(*sample, start[n], "the first view begins where the recording does"),
            1 => assert_eq!(*sample, center[n], "the second of three is the middle"),
            _ => assert!(*sample != start[n] && *sample != center[n], "the last is another"),
        }
    }
    // The last ends where the recording does.
    let whole = samples(&Recipe { batch: 3, ..recipe("audio", "") });
    assert!((2..whole.len()).step_by(3).all(|n| whole[n].ends_with(&spread[n][spread[n].len() - 400 * 4..])));
    // A single view has the middle.
    let single = samples(&Recipe { views: 1, batch: 2, ..part("mode = \"spread\"") });
    assert!(single.iter().enumerate().all(|(n, sample)| *sample == center[3 * n]));

    let frames = |start: &str| {
        let op = format!(
            "{{ op = \"sample_frames\", count = 2, seconds = 0.2, start = {start} }}, {{ op = \"resize\", size = 16 }}, {{ op = \"center_crop\", size = 16 }}"
        );
        let batches = batches(&clips.dataset, &recipe("video", &op), 0, ALONE);
        batches
            .iter()
            .flat_map(|batch| (0..batch.len()).map(|n| sample_bytes(batch, n)).collect::<Vec<_>>())
            .collect::<Vec<_>>()
    };
    let (spread, first) = (frames("\"spread\""), frames("0.0"));
    assert!(spread.iter().step_by(3).eq(first.iter().step_by(3)));
    assert!(spread.chunks(3).any(|views| views[0] != views[1] && views[1] != views[2]));
}

#[test]
fn law_4_partners_are_other_samples_drawn_for_the_place() {
    let (_, made, recipe) = modalities().swap_remove(0);
    let alone = Recipe { batch: 4, tail: Tail::Pad, ..recipe.clone() };
    let with = Recipe { partners: 3, batch: 16, ..alone.clone() };
    let (plain, mixed) = (batches(&made.dataset, &alone, 1, ALONE), batches(&made.dataset, &with, 1, ALONE));
    assert_eq!(plain.len(), mixed.len());
    let (mut pairs, mut drawn) = (BTreeSet::new(), BTreeMap::<String, BTreeSet<Vec<u8>>>::new());
    let mut places = 0;
    for (plain, mixed) in plain.iter().zip(&mixed) {
        for n in 0..plain.len() {
            // The sample itself is the one that there is alone.
            assert_eq!(sample_bytes(plain, n), sample_bytes(mixed, 4 * n));
            for at in (4 * n + 1..4 * n + 4).filter(|at| mixed.valid[*at]) {
                assert_ne!(mixed.ids[at], plain.ids[n], "its own partner");
                pairs.insert((plain.ids[n].clone(), mixed.ids[at].clone()));
                drawn.entry(mixed.ids[at].clone()).or_default().insert(sample_bytes(mixed, at));
                places += 1;
            }
        }
    }
    // Drawn at random of 20 others: three of 21 samples each are 60 or so different pairs, and each time another crop.
    assert!(places == 63 && pairs.len() > 50, "{places} {}", pairs.len());
    assert!(drawn.values().map(BTreeSet::len).sum::<usize>() == places);
    // Another epoch has others.
    let again = batches(&made.dataset, &with, 2, ALONE);
    let groups = again.iter().flat_map(|batch| batch.ids.chunks(4));
    let other: BTreeSet<(String, String)> = groups
        .flat_map(|ids| ids[1..].iter().filter(|id| !id.is_empty()).map(|id| (ids[0].clone(), id.clone())))
        .collect();
    assert!(other.len() > 50 && other != pairs);
}

#[test]
fn law_3_a_state_belongs_to_its_choice_and_order() {
    let (_, made, recipe) = modalities().swap_remove(0);
    let state = recipe.loader(made.dataset.clone()).unwrap().epoch(0).unwrap().state();
    let others = [
        Recipe { filter: Some("id like '%'".into()), ..recipe.clone() },
        Recipe { fold: Some(Fold { of: 2, only: Some(0), ..Fold::default() }), ..recipe.clone() },
        Recipe { subset: Some(Subset { rows: Some(4), ..Subset::default() }), ..recipe.clone() },
        Recipe { order: Order::Windowed, ..recipe.clone() },
        Recipe { order: Order::Windowed, window: SMALL, ..recipe.clone() },
        Recipe { balance: Some(equal("label")), ..recipe.clone() },
        Recipe { views: recipe.batch, ..recipe.clone() },
        Recipe { partners: recipe.batch - 1, ..recipe.clone() },
        Recipe { bucket: Some(Bucket { by: "image.pixels".into(), ..Bucket::default() }), ..recipe.clone() },
    ];
    let mut digests = BTreeSet::from([state.recipe.clone()]);
    for other in others {
        let loader = other.loader(made.dataset.clone()).unwrap();
        assert!(loader.resume(&state).is_err(), "{other:?}");
        digests.insert(loader.recipe_digest().to_owned());
    }
    assert_eq!(digests.len(), 10);
    // A window that no order has changes nothing.
    let same = Recipe { window: SMALL, ..recipe.clone() };
    assert!(same.loader(made.dataset.clone()).unwrap().resume(&state).is_ok());
}

#[test]
fn law_3_a_state_of_another_recipe_or_dataset_is_refused() {
    let all = modalities();
    let (_, made, recipe) = &all[0];
    let state = recipe.loader(made.dataset.clone()).unwrap().epoch(0).unwrap().state();
    let other = Recipe { seed: 99, ..recipe.clone() };
    let message = other.loader(made.dataset.clone()).unwrap().resume(&state).unwrap_err().to_string();
    assert!(message.contains("recipe") && !message.contains("of the dataset"), "{message}");
    let (_, other, recipe) = &all[2];
    let message = recipe.loader(other.dataset.clone()).unwrap().resume(&state).unwrap_err().to_string();
    assert!(message.contains("dataset"), "{message}");
    let mut run = all[0].2.clone();
    (run.run.threads, run.run.prefetch, run.fuse) = (3, 4, false);
    assert!(run.loader(made.dataset.clone()).unwrap().resume(&state).is_ok(), "execution is not part of the digest");
}

#[test]
fn law_4_draws_depend_on_the_row_not_on_its_place_or_the_other_rows() {
    let (_, made, recipe) = modalities().swap_remove(0);
    // All rows, and only those of one split: other places, other neighbours, the same samples.
    let of = |split: Option<&str>, batch, order| -> BTreeMap<String, Vec<u8>> {
        let recipe = Recipe { split: split.map(Into::into), batch, order, tail: Tail::Pad, ..recipe.clone() };
        let all = batches(&made.dataset, &recipe, 3, ALONE);
        let samples = all.iter().flat_map(|b| (0..b.len()).map(move |i| (b.ids[i].clone(), sample_bytes(b, i))));
        samples.filter(|(id, _)| !id.is_empty()).collect()
    };
    let everything = of(None, 7, Order::Shuffle);
    let train = of(Some("train"), 4, Order::Sequential);
    assert!(train.len() > 10 && everything.len() > train.len());
    for (id, bytes) in &train {
        assert_eq!(everything.get(id), Some(bytes), "{id}");
    }
}

#[test]
fn law_4_repeats_and_epochs_and_seeds_are_drawn_anew() {
    let (_, made, recipe) = modalities().swap_remove(0);
    let recipe = Recipe { batch: 64, tail: Tail::Repeat, ..recipe };
    let batch = &batches(&made.dataset, &recipe, 0, ALONE)[0];
    let mut by_id: BTreeMap<&String, BTreeSet<Vec<u8>>> = BTreeMap::new();
    let mut counts: BTreeMap<&String, usize> = BTreeMap::new();
    for (i, id) in batch.ids.iter().enumerate() {
        by_id.entry(id).or_default().insert(sample_bytes(batch, i));
        *counts.entry(id).or_default() += 1;
    }
    assert!(counts.values().any(|n| *n > 1));
    for (id, count) in counts {
        assert_eq!(by_id[id].len(), count, "{id}: a repeat is the same picture");
    }
    let first = |recipe: &Recipe, epoch| sample_bytes(&batches(&made.dataset, recipe, epoch, ALONE)[0], 0);
    let fixed = Recipe { order: Order::Sequential, ..recipe.clone() };
    assert_ne!(first(&fixed, 0), first(&fixed, 1));
    assert_ne!(first(&fixed, 0), first(&Recipe { seed: 8, ..fixed.clone() }, 0));
}

#[test]
fn law_7_too_small_a_budget_is_refused_and_the_smallest_works() {
    let (_, made, recipe) = modalities().swap_remove(0);
    let with = |memory| {
        let mut recipe = recipe.clone();
        recipe.run.memory = memory;
        recipe.loader(made.dataset.clone())
    };
    let message = with(1000).unwrap_err().to_string();
    let needed: u64 = message.split("at least ").nth(1).unwrap().split_whitespace().next().unwrap().parse().unwrap();
    let batch = 8 * 3 * 64 * 64 * 4;
    assert!(needed > batch && needed < batch + (1 << 20), "{message}");
    assert!(with(needed - 1).is_err());
    let digests_of = |loader: feedstock::loader::Loader| -> Vec<u128> {
        loader.epoch(0).unwrap().map(|b| b.unwrap().digest()).collect()
    };
    assert_eq!(digests_of(with(needed).unwrap()), digests_of(with(1 << 30).unwrap()));
}

#[test]
fn law_7_batches_on_their_way_stay_within_the_budget() {
    let (_, made, recipe) = modalities().swap_remove(0);
    let mut recipe = Recipe { batch: 2, ..recipe };
    (recipe.run.threads, recipe.run.prefetch) = (8, 1000);
    let batch = 2 * 3 * 64 * 64 * 4;
    for batches in [2, 3, 5] {
        recipe.run.memory = batches * batch + 60_000;
        let loader = recipe.loader(made.dataset.clone()).unwrap();
        let mut epoch = loader.epoch(0).unwrap();
        assert_eq!(epoch.by_ref().map(Result::unwrap).count(), 11);
        assert!(epoch.peak_bytes() >= batch && epoch.peak_bytes() <= recipe.run.memory, "{} bytes", epoch.peak_bytes());
    }
}

#[test]
fn law_7_a_sample_that_grows_beyond_the_limits_is_an_error_not_an_allocation() {
    // One pixel wide and 60,000 high: harmless as stored, 224 x 13,440,000 after the resize.
    let folder = tempfile::tempdir().unwrap();
    let classes = folder.path().join("source/long");
    std::fs::create_dir_all(&classes).unwrap();
    std::fs::copy(crate::common::fixture("images/train/pants/000_444.jpg"), classes.join("a.jpg")).unwrap();
    std::fs::write(classes.join("b.png"), crate::common::gray_png(1, 60_000)).unwrap();
    let target = folder.path().join("dataset");
    let options = feedstock::ingest::IngestOptions::default();
    feedstock::ingest::ingest(&folder.path().join("source"), &target, &options, &Default::default()).unwrap();
    let mut recipe = crate::common::recipe("images");
    recipe.columns.get_mut("image").unwrap().ops = serde_json::from_str(r#"[{"op": "resize", "size": 224}]"#).unwrap();
    recipe.run.memory = 4 << 40;
    let loader = recipe.loader(Arc::new(Dataset::open(&target).unwrap())).unwrap();
    let error = loader.epoch(0).unwrap().next().unwrap().unwrap_err().to_string();
    assert!(error.contains("b.png") && error.contains("over-limit") && error.contains("resize"), "{error}");
}

/// A dataset of no rows.
fn empty() -> Arc<Dataset> {
    let schema = Schema::new([("image", Feature::Image), ("label", Feature::ClassLabel { names: Vec::new() })]);
    Arc::new(Dataset::from_parts("/nowhere", schema, Index::default(), Backing::Files { paths: Vec::new() }).unwrap())
}

#[test]
fn nothing_comes_of_nothing() {
    let dataset = empty();
    for tail in TAILS {
        for size in WORLDS {
            let mut recipe = Recipe { tail, batch: 4, ..Recipe::default() };
            recipe.run.world = World { rank: size - 1, size };
            let loader = recipe.loader(dataset.clone()).unwrap();
            assert!(loader.is_empty());
            assert_eq!(loader.epoch(0).unwrap().count(), 0);
            assert_eq!(loader.epoch(5).unwrap().state().batch, 0);
        }
    }
}

#[test]
fn one_row_and_worlds_larger_than_the_epoch() {
    let made = crate::common::made("text/one_long_line.txt", &feedstock::ingest::IngestOptions::default());
    assert_eq!(made.dataset.rows(), 1);
    for (tail, steps) in [(Tail::Drop, 0), (Tail::Pad, 1), (Tail::Repeat, 1)] {
        for rank in 0..7 {
            let recipe = Recipe { tail, batch: 3, ..Recipe::default() };
            let got = batches(&made.dataset, &recipe, 0, World { rank, size: 7 });
            assert_eq!(got.len(), steps, "{tail:?}");
            for batch in got {
                let valid = batch.valid.iter().filter(|v| **v).count();
                let want = match tail {
                    Tail::Repeat => 3,
                    _ if rank == 0 => 1,
                    _ => 0,
                };
                assert_eq!((batch.len(), valid), (3, want), "{tail:?}, rank {rank}");
            }
        }
    }
}

#[test]
fn epochs_behind_each_other_are_the_epochs() {
    for (name, made, recipe) in modalities() {
        let mut recipe = Recipe { batch: recipe.batch.min(4), ..recipe };
        recipe.run.prefetch = 5;
        for world in [ALONE, World { rank: 1, size: 3 }] {
            recipe.run.world = world;
            let loader = loader(&made.dataset, &recipe);
            let key = |batch: &Batch| (batch.place.epoch, batch.place.window, batch.place.batch, batch.digest());
            let of = |epoch| loader.epoch(epoch).unwrap().map(|batch| key(&batch.unwrap())).collect::<Vec<_>>();
            let want: Vec<_> = (1..4).flat_map(of).collect();
            let mut run = loader.epochs(1..4).unwrap();
            assert_eq!(run.remaining(), want.len() as u64, "{name}");
            let steps = want.len() / 3;
            for at in 0..=want.len() {
                let state = State::from_json(&run.state().to_json()).unwrap();
                // Between two epochs it stands before the first batch of the next.
                assert_eq!(state.epoch, 1 + (at / steps.max(1)).min(2) as u64, "{name} at {at}");
                if at % steps.max(2) < 2 {
                    let rest = loader.resume_epochs(&state, 4).unwrap();
                    let rest: Vec<_> = rest.map(|batch| key(&batch.unwrap())).collect();
                    assert_eq!(rest, want[at..], "{name} at {at}");
                }
                assert_eq!(run.next().map(|batch| key(&batch.unwrap())).as_ref(), want.get(at), "{name}");
            }
            assert!(loader.epochs(3..3).unwrap().next().is_none());
            // Saved at the very end of an epoch, a run goes on with the next one.
            let mut last = loader.epoch(1).unwrap();
            last.by_ref().for_each(|batch| drop(batch.unwrap()));
            let rest = loader.resume_epochs(&last.state(), 3).unwrap().map(|batch| key(&batch.unwrap()));
            assert_eq!(rest.collect::<Vec<_>>(), want[steps..2 * steps], "{name}");
            assert_eq!(loader.resume(&last.state()).unwrap().count(), 0);
            let endless = loader.epochs(0..u64::MAX).unwrap();
            assert_eq!(endless.remaining(), u64::MAX);
            assert_eq!(endless.take(4 * steps).map(Result::unwrap).last().unwrap().place.epoch, 3, "{name}");
        }
    }
    // Epochs of nothing end.
    let nothing = Recipe::default().loader(empty()).unwrap();
    assert_eq!(nothing.epochs(0..u64::MAX).unwrap().count(), 0);
    assert_eq!(nothing.epochs(0..5).unwrap().remaining(), 0);
}
