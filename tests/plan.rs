//! The laws of the plan over recipes drawn at random: every order, choice, balance, mixture, view, tail, batch and world, together.
//!
//! `FEEDSTOCK_PLANS=20000 cargo test --test plan` draws more of them. What was covered is printed with `--nocapture`.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use feedstock::data::feature::{Feature, Schema};
use feedstock::data::index::{Index, IndexCell, Segment, SegmentBuilder};
use feedstock::plan::{
    Balance, Balanced, Component, Deal, Exhausted, Filter, Fold, Mixture, Order, Phase, Plan, Rows, Sequence, Slot,
    Subset, Tail, Window, World,
};
use feedstock::rng::{Key, Stream};

fn names() -> Vec<String> {
    ["a", "b", "c", "d"].map(str::to_owned).to_vec()
}

fn schema() -> Schema {
    Schema::new([("label", Feature::ClassLabel { names: names() }), ("speaker", Feature::Int)])
}

/// Rows in two splits and two segments, of classes that differ much in size, some of them unknown.
fn index(rows: u64, one_class: bool) -> Index {
    let segment = |from: u64, to: u64| {
        let mut builder = SegmentBuilder::new(&schema());
        for n in from..to {
            let class =
                if one_class { 2 } else { [0, 0, 0, 0, 0, 0, 1, 1, 2, -1][Key::new(n).stream().below(10) as usize] };
            let label = if n % 97 == 5 { IndexCell::Null } else { IndexCell::Int(class) };
            builder.push(&format!("row {n}"), &[label, IndexCell::Int((n % 13) as i64)]).unwrap();
            if n + 1 == to || n % 100 == 99 {
                builder.end_shard(if n / 100 % 3 == 2 { "test" } else { "train" }, 7_000, [n as u8; 32]);
            }
        }
        Arc::new(Segment::from_bytes(builder.finish().unwrap().to_vec()).unwrap())
    };
    Index::new(vec![segment(0, rows / 3), segment(rows / 3, rows)]).unwrap()
}

fn of<T: Clone>(stream: &mut Stream, any: &[T]) -> T {
    any[stream.below(any.len() as u64) as usize].clone()
}

/// What is wanted of an Index, with words for what it is.
fn component(stream: &mut Stream, index: &Index, name: Option<&str>, order: Order) -> (Component, Vec<&'static str>) {
    let mut about = Vec::new();
    let split = of(stream, &[None, None, Some("train"), Some("train"), Some("train"), Some("none")]);
    let mut rows = Rows::new(index.ranges(split));
    about.push(split.map_or("all", |s| if s == "none" { "no split" } else { "a split" }));
    if stream.below(3) == 0 {
        let text = of(stream, &["label in ['a', 'c']", "label is null or speaker > 6", "id like '%7%'", "label = 'd'"]);
        let filter = Filter::parse(text).unwrap().bind(&schema()).unwrap();
        rows = rows.choose(|row| filter.holds(&index.row(row)));
        about.push("where");
    }
    if stream.below(3) == 0 {
        let part = Some(stream.below(3) as u32);
        let (hold_out, only) = of(stream, &[(part, None), (None, part)]);
        let by = of(stream, &[None, Some("speaker".to_owned())]);
        let fold = Fold { of: 3, hold_out, only, by, seed: 1 };
        rows = fold.choose(&rows, index, &schema()).unwrap();
        about.push("fold");
    }
    if stream.below(4) == 0 {
        let subset = of(stream, &[(Some(50), None), (None, Some(0.4))]);
        rows = Subset { rows: subset.0, share: subset.1, seed: 2 }.choose(&rows, index);
        about.push("subset");
    }
    let balance = match stream.below(4) {
        0 => Some(Balance { power: Some(1.0), ..Balance::default() }),
        1 => Some(Balance { repeat_threshold: Some(0.3), cap: Some(2.5), ..Balance::default() }),
        _ => None,
    };
    about.push(match &balance {
        None => "as they are",
        Some(balance) if balance.cap.is_some() => "repeat factors",
        Some(_) => "balanced",
    });
    let balance = balance.map(|balance| Balanced::new(&balance, &rows, index, 0, &names()).unwrap());
    let window = Window { group: 70 * stream.below(40), bytes: 70 * stream.below(400) }.of_rows(70);
    (Component { name: name.map(str::to_owned), rows, balance, order, window }, about)
}

/// A sequence over Indices, which of them each component is of, and words for what it is.
fn drawn(stream: &mut Stream, indices: &[Index]) -> (Sequence, Vec<Index>, Vec<&'static str>) {
    let order = of(stream, Order::ALL);
    let mut about = Vec::new();
    let (mut components, mut own) = (Vec::new(), Vec::new());
    let sources = of(stream, &[0, 0, 1, 2, 3]);
    for source in 0..sources.max(1) {
        let index = of(stream, indices);
        let name = (sources > 0).then(|| ["x", "y", "z"][source]);
        let (component, words) = component(stream, &index, name, order);
        components.push(component);
        own.push(index);
        about.extend(words);
    }
    let views = of(stream, &[1usize, 1, 2, 3]);
    let batch = views * of(stream, &[1usize, 2, 7, 64]);
    let tail = of(stream, &[Tail::Drop, Tail::Pad, Tail::Repeat]);
    let mut mixing = None;
    if sources > 0 {
        let exhausted = of(stream, Exhausted::ALL);
        let weights = of(stream, &[[3.0, 1.0, 1.0], [0.7, 0.2, 0.1], [1.0, 0.001, 2.0]]);
        let names = ["x", "y", "z"][..sources].iter();
        let later = names.clone().enumerate().map(|(at, name)| ((*name).to_owned(), weights[2 - at])).collect();
        let phase = Phase { epoch: stream.below(3), batch: stream.below(100), weights: later };
        let phases = of(stream, &[Vec::new(), vec![phase]]);
        let samples = of(stream, &[None, None, Some(9_000), Some(3)]);
        let sizes = components.iter().map(Component::samples);
        let parts: Vec<_> = names.zip(weights).zip(sizes).map(|((name, w), n)| ((*name).to_owned(), w, n)).collect();
        about.push(if phases.is_empty() { "weights" } else { "phases" });
        let mixture = Mixture { exhausted, samples, phases, ..Mixture::default() };
        mixing = match mixture.bind(&parts, (batch / views) as u64) {
            Ok(mixing) => Some(mixing),
            // Nothing to repeat: refused.
            Err(_) => {
                assert!(exhausted == Exhausted::Repeat && parts.iter().any(|(.., n)| *n == 0), "{parts:?}");
                Some(Mixture { exhausted: Exhausted::Drop, ..mixture }.bind(&parts, (batch / views) as u64).unwrap())
            }
        };
        about.push(match exhausted {
            Exhausted::Stop => "stop",
            Exhausted::Repeat => "repeat sources",
            Exhausted::Drop => "drop sources",
        });
        about.push(["one source", "two sources", "three sources"][sources - 1]);
    } else {
        about.push("no mixture");
    }
    about.push(if views == 1 { "one view" } else { "views" });
    about.push(match order {
        Order::Sequential => "sequential",
        Order::Shuffle => "shuffle",
        Order::Windowed => "windowed",
    });
    about.push(match tail {
        Tail::Drop => "drop",
        Tail::Pad => "pad",
        Tail::Repeat => "repeat",
    });
    let seed = stream.next_u64();
    (Sequence { components, mixing, batch, views, tail, seed }, own, about)
}

/// All slots of the batches that ranks get from a global batch on, in the global order, and how many steps each has.
fn dealt(plan: &Plan, size: u64, start: u64) -> (Vec<Slot>, u64) {
    let deals: Vec<Deal> = (0..size).map(|rank| plan.deal(World { rank, size }, start)).collect();
    assert!(deals.iter().all(|deal| deal.steps == deals[0].steps));
    let batches = (0..deals[0].steps).flat_map(|step| deals.iter().map(move |deal| deal.batch(step)));
    let slots = batches.flat_map(|batch| (0..plan.batch_size()).map(move |slot| plan.slot(batch, slot)));
    (slots.collect(), deals[0].steps)
}

#[test]
fn laws_hold_for_recipes_drawn_at_random() {
    let cases: u64 = std::env::var("FEEDSTOCK_PLANS").ok().and_then(|n| n.parse().ok()).unwrap_or(600);
    let sizes = [0, 1, 5, 99, 100, 301, 640, 1500, 5000];
    let indices: Vec<Index> = sizes.iter().flat_map(|n| [index(*n, false), index(*n, true)]).collect();
    let mut covered: BTreeMap<&str, u64> = BTreeMap::new();
    for case in 0..cases {
        let mut stream = Key::new(77).with(case).stream();
        let (sequence, own, mut about) = drawn(&mut stream, &indices);
        let epoch = stream.below(4);
        let plan = Plan::new(&sequence, epoch);
        let (samples, places, batch) = (plan.samples(), plan.places(), plan.batch_size() as u64);
        assert_eq!(places, samples * sequence.views as u64);
        let context = format!("case {case}: {about:?}, {samples} samples, batch {batch}");
        let size = of(&mut stream, &[1u64, 2, 3, 5, 40]);
        let (slots, steps) = dealt(&plan, size, 0);

        // 2. Complete or counted: each wanted row as often as it is due, no occurrence or view twice.
        let valid: Vec<&Slot> = slots.iter().filter(|slot| slot.valid).collect();
        assert!(slots.iter().all(|slot| slot.valid != slot.segments.is_empty()), "{context}");
        let what = |slot: &Slot| {
            let segment = &slot.segments[0];
            (segment.source, segment.row, segment.occurrence, segment.view)
        };
        let seen: BTreeSet<_> = valid.iter().map(|slot| what(slot)).collect();
        assert_eq!(seen.len(), valid.len(), "{context}: an occurrence comes twice");
        match sequence.tail {
            Tail::Drop => {
                assert_eq!(valid.len(), slots.len(), "{context}");
                let dropped = plan.deal(World { rank: 0, size }, 0).dropped(places, batch);
                assert_eq!(valid.len() as u64 + dropped, places, "{context}");
                assert!(dropped < batch * size, "{context}");
            }
            Tail::Pad => assert_eq!(valid.len() as u64, places, "{context}"),
            Tail::Repeat => {
                assert!(valid.len() == slots.len() || places == 0, "{context}");
                assert!(valid.len() as u64 >= places && (valid.len() as u64) < places + batch * size, "{context}");
            }
        }
        let mut times: BTreeMap<(u32, u64), u64> = BTreeMap::new();
        for n in 0..samples {
            let (source, picked) = plan.sample(n);
            *times.entry((source as u32, picked.row)).or_default() += 1;
        }
        for (source, component) in sequence.components.iter().enumerate() {
            let wanted: BTreeSet<u64> = component.rows.iter().collect();
            let came: BTreeMap<u64, u64> =
                times.iter().filter(|((of, _), _)| *of as usize == source).map(|((_, row), n)| (*row, *n)).collect();
            assert!(came.keys().all(|row| wanted.contains(row)), "{context}: a row that was not chosen");
            let due = plan.blended().map_or(samples, |blended| blended.all()[source]);
            assert_eq!(came.values().sum::<u64>(), due, "{context}");
            if let Some(balance) = &component.balance {
                let due: u64 = balance.shares().iter().map(|share| share.samples).sum();
                assert_eq!(due, component.samples(), "{context}");
            } else if due > 0 {
                // As many whole passes as there are, and the rest of the rows once more.
                let n = wanted.len() as u64;
                assert!(came.len() as u64 == n.min(due), "{context}");
                assert!(came.values().all(|times| *times == due / n || *times == due.div_ceil(n)), "{context}");
            }
        }
        if sequence.tail == Tail::Pad {
            let mut came: BTreeMap<(u32, u64), u64> = BTreeMap::new();
            valid
                .iter()
                .for_each(|slot| *came.entry((slot.segments[0].source, slot.segments[0].row)).or_default() += 1);
            let due: BTreeMap<_, u64> = times.iter().map(|(row, n)| (*row, n * sequence.views as u64)).collect();
            assert_eq!(came, due, "{context}");
        }

        // 4. No two places draw alike.
        let keys: BTreeSet<u64> = valid
            .iter()
            .map(|slot| {
                let segment = &slot.segments[0];
                plan.key(own[segment.source as usize].row(segment.row).key(), segment).value()
            })
            .collect();
        assert_eq!(keys.len(), valid.len(), "{context}: two places draw alike");

        // 3. Stopped after any step and continued on another world: the same batches in the same order.
        let (global, _) = dealt(&plan, 1, 0);
        let saved = if steps == 0 { 0 } else { stream.below(steps + 1) * size };
        let other = of(&mut stream, &[1u64, 2, 4, 9]);
        let (rest, _) = dealt(&plan, other, saved);
        let left = global.get((saved * batch) as usize..).unwrap_or_default();
        let common = rest.len().min(left.len());
        assert_eq!(rest[..common], left[..common], "{context}: stopped at batch {saved}, continued on {other}");
        match sequence.tail {
            Tail::Drop => assert!((left.len() - common) as u64 <= batch * (other - 1), "{context}"),
            _ => assert_eq!(common, left.len(), "{context}"),
        }

        // 1. The plan of the same recipe, seed and epoch is the same; batches are asked for in any order.
        let n = stream.below(global.len().max(1) as u64);
        if let Some(slot) = global.get(n as usize) {
            assert_eq!(plan.slot(n / batch, (n % batch) as usize), *slot, "{context}");
        }

        about.push(if samples == 0 {
            "no sample"
        } else if samples < batch {
            "fewer samples than a batch"
        } else {
            "batches"
        });
        about.push(if size > places.div_ceil(batch).max(1) {
            "more ranks than batches"
        } else {
            "enough for all ranks"
        });
        about.into_iter().for_each(|word| *covered.entry(word).or_default() += 1);
    }
    println!("{cases} recipes: {covered:?}");
    // What was meant to be drawn was drawn.
    let least = cases / 100;
    assert_eq!(covered.len(), 31, "{covered:?}");
    assert!(covered.values().all(|n| *n >= least), "{covered:?}");
}
