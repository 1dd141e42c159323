//! Recipes drawn at random over every modality, executed: the bytes of every column are the same for any threads, prefetch, memory and world, and behind a state
//! that is saved before any step and restored on another world.
//!
//! `tests/load/plan.rs` draws many more without executing them. `FEEDSTOCK_RECIPES=1000 cargo test --test load recipes:: -- --nocapture` draws more, and prints what was covered.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::common::{Made, loader, modalities};
use feedstock::data::batch::Batch;
use feedstock::data::feature::Feature;
use feedstock::dataset::Dataset;
use feedstock::loader::Loader;
use feedstock::plan::{Balance, Bucket, Fold, Order, State, Subset, Tail, Window, World};
use feedstock::recipe::Recipe;
use feedstock::rng::{Key, Stream};

fn of<T: Clone>(stream: &mut Stream, any: &[T]) -> T {
    any[stream.below(any.len() as u64) as usize].clone()
}

/// A recipe of a modality with anything that may go with it, and words for what that is.
fn drawn(stream: &mut Stream, made: &Made, recipe: &Recipe) -> (Recipe, Vec<&'static str>) {
    let mut words = Vec::new();
    let mut recipe =
        Recipe { window: Window { group: 9_000, bytes: 20_000 }, seed: stream.below(1000), ..recipe.clone() };
    recipe.order = of(stream, Order::ALL);
    recipe.tail = of(stream, &[Tail::Drop, Tail::Pad, Tail::Repeat]);
    words.push(
        ["sequential", "shuffle", "windowed"][Order::ALL.iter().position(|order| *order == recipe.order).unwrap()],
    );
    words.push(match recipe.tail {
        Tail::Drop => "drop",
        Tail::Pad => "pad",
        Tail::Repeat => "repeat",
    });
    let schema = made.dataset.schema();
    let image = schema.get("image").is_some();
    if image && recipe.sources.is_empty() && stream.below(3) == 0 {
        recipe.bucket = Some(Bucket { by: "image.width".into(), bounds: vec![40], padded: None });
    }
    let formed = recipe.bucket.is_some() || recipe.pack.is_some();
    words.push(match (&recipe.bucket, &recipe.pack) {
        (Some(_), _) => "buckets",
        (_, Some(_)) => "packs",
        _ => "batches in order",
    });
    let views = if recipe.pack.is_some() { 1 } else { of(stream, &[1, 1, 2, 3]) };
    let partners = if formed { 0 } else { of(stream, &[0, 0, 1, 3]) };
    (recipe.views, recipe.partners) = (views, partners);
    recipe.batch = (views + partners) * of(stream, &[1, 2, 3, 5]);
    if views > 1 {
        words.push("views");
    }
    if partners > 0 {
        words.push("partners");
    }
    if !recipe.sources.is_empty() {
        words.push("mixture");
    }
    match stream.below(5) {
        0 => {
            let all = ["id like '%1%'", "id like '%0%' or id like '%2%'", "id = 'none'"];
            // A mixture of nothing is refused.
            recipe.filter = Some(of(stream, &all[..if recipe.sources.is_empty() { 3 } else { 2 }]).to_owned());
            words.push("where");
        }
        1 => {
            recipe.fold = Some(Fold { of: 3, hold_out: Some(1), ..Fold::default() });
            words.push("fold");
        }
        _ => {}
    }
    let class = schema.columns.iter().find(|column| matches!(column.feature, Feature::ClassLabel { .. }));
    // Rows that come again have no place in the order of storage.
    if let (Some(class), Order::Shuffle, 0..2) = (class, recipe.order, stream.below(3)) {
        recipe.balance = Some(Balance { by: class.name.clone(), power: Some(1.0), ..Balance::default() });
        words.push("balance");
    }
    // Texts have many rows, which would say nothing more.
    let rows = if made.dataset.rows() > 100 { 40 } else { 25 };
    if stream.below(2) == 0 || made.dataset.rows() > 100 {
        recipe.subset = Some(Subset { rows: Some(of(stream, &[1, 2, rows])), ..Subset::default() });
        words.push("subset");
    }
    (recipe, words)
}

fn on(dataset: &Arc<Dataset>, recipe: &Recipe, rank: u64, size: u64) -> Loader {
    let mut recipe = recipe.clone();
    recipe.run.world = World { rank, size };
    loader(dataset, &recipe)
}

type Place = (u64, u64);

/// What ranks deliver, by the place in the global order; and how many batches each of them had.
fn all(
    dataset: &Arc<Dataset>,
    recipe: &Recipe,
    size: u64,
    begin: impl Fn(&Loader) -> feedstock::loader::Epoch,
) -> (BTreeMap<Place, u128>, BTreeSet<usize>) {
    let (mut got, mut counts) = (BTreeMap::new(), BTreeSet::new());
    for rank in 0..size {
        let loader = on(dataset, recipe, rank, size);
        let batches: Vec<Batch> = begin(&loader).map(Result::unwrap).collect();
        counts.insert(batches.len());
        for batch in batches {
            let place = (batch.place.window, batch.place.batch);
            assert!(got.insert(place, batch.digest()).is_none(), "{place:?} was dealt twice");
        }
    }
    (got, counts)
}

#[test]
fn bytes_depend_on_nothing_but_dataset_recipe_seed_and_epoch() {
    let cases: u64 = std::env::var("FEEDSTOCK_RECIPES").ok().and_then(|n| n.parse().ok()).unwrap_or(72);
    let modalities = modalities();
    let mut covered: BTreeMap<&str, u64> = BTreeMap::new();
    for case in 0..cases {
        let mut stream = Key::new(41).with(case).stream();
        let (name, made, recipe) = &modalities[case as usize % modalities.len()];
        let (recipe, mut words) = drawn(&mut stream, made, recipe);
        words.push(name);
        let epoch = stream.below(3);
        let context = format!("case {case}: {words:?}, batch {}, epoch {epoch}", recipe.batch);
        let mut plain = recipe.clone();
        (plain.run.threads, plain.run.prefetch) = (1, 1);
        let reference = on(&made.dataset, &plain, 0, 1);
        let plan = reference.plan(epoch);
        let wanted: Vec<Batch> = reference.epoch(epoch).unwrap().map(Result::unwrap).collect();
        let order: Vec<Place> = wanted.iter().map(|batch| (batch.place.window, batch.place.batch)).collect();
        assert!(order.is_sorted(), "{context}");
        let wanted: BTreeMap<Place, u128> = order.iter().copied().zip(wanted.iter().map(Batch::digest)).collect();
        assert_eq!(wanted.len(), order.len(), "{context}");

        // 1. Any threads, prefetch and memory.
        let mut run = recipe.clone();
        (run.run.threads, run.run.prefetch) = (of(&mut stream, &[1, 2, 5, 8]), of(&mut stream, &[0, 1, 2, 6]));
        run.run.memory = of(&mut stream, &[64 << 20, 1 << 30]);
        let start = |loader: &Loader| loader.epoch(epoch).unwrap();
        assert_eq!(all(&made.dataset, &run, 1, start).0, wanted, "{context}: {:?}", run.run);

        // 2. Any world: the same steps for each, and together the global order, but for the tail.
        let size = of(&mut stream, &[1u64, 2, 3, 7]);
        let (dealt, counts) = all(&made.dataset, &run, size, start);
        assert_eq!(counts.len(), 1, "{context}: {size} ranks have {counts:?} batches");
        let left_out = wanted.len().saturating_sub(dealt.len());
        assert!(left_out == 0 || recipe.tail == Tail::Drop && (left_out as u64) < size, "{context}");
        assert!(dealt.len() < wanted.len() + size as usize, "{context}");
        assert!(
            order.iter().take(order.len() - left_out).all(|place| dealt.get(place) == wanted.get(place)),
            "{context}"
        );

        // 3. Saved before every step of a rank, and at the end; restored on another world.
        let (saver, other) = (of(&mut stream, &[1u64, 2, 3]), of(&mut stream, &[1u64, 2, 5]));
        let saving = on(&made.dataset, &run, stream.below(saver), saver);
        let mut saved = saving.epoch(epoch).unwrap();
        for step in 0.. {
            let text = saved.state().to_json();
            assert!(text.len() <= 1024, "{context}");
            let state = State::from_json(&text).unwrap();
            let (rest, counts) = all(&made.dataset, &run, other, |loader| loader.resume(&state).unwrap());
            assert_eq!(counts.len(), 1, "{context}");
            let left: Vec<&Place> = order.iter().skip((step * saver) as usize).collect();
            let lost = left.len().saturating_sub(rest.len());
            assert!(lost == 0 || recipe.tail == Tail::Drop && (lost as u64) < other, "{context}: step {step}");
            assert!(rest.len() < left.len() + other as usize, "{context}: step {step}");
            for place in &left[..left.len() - lost] {
                assert_eq!(
                    rest.get(place),
                    wanted.get(place),
                    "{context}: {place:?} after step {step} of {saver} on {other}"
                );
            }
            if saved.next().transpose().unwrap().is_none() {
                break;
            }
        }

        words.push(match (plan.samples(), plan.places() < recipe.batch as u64) {
            (0, _) => "no sample",
            (_, true) => "less than a batch",
            _ => "batches",
        });
        if !wanted.is_empty() && (wanted.len() as u64) < size {
            words.push("more ranks than batches");
        }
        words.into_iter().for_each(|word| *covered.entry(word).or_default() += 1);
    }
    println!("{cases} recipes: {covered:?}");
    let words = [
        "sequential",
        "shuffle",
        "windowed",
        "drop",
        "pad",
        "repeat",
        "buckets",
        "packs",
        "batches in order",
        "views",
        "partners",
        "mixture",
        "where",
        "fold",
        "balance",
        "subset",
        "no sample",
        "less than a batch",
        "batches",
        "more ranks than batches",
        "a huge sample",
    ];
    assert!(words.iter().all(|word| covered.contains_key(word)), "{covered:?}");
    assert!(modalities.iter().all(|(name, ..)| covered.contains_key(name)), "{covered:?}");
}
