//! The laws of the plan over recipes drawn at random: every order, choice, balance, view, tail, batch and world, together.
//!
//! `FEEDSTOCK_PLANS=20000 cargo test --test plan` draws more of them. What was covered is printed with `--nocapture`.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use feedstock::data::feature::{Feature, Schema};
use feedstock::data::index::{Index, IndexCell, Segment, SegmentBuilder};
use feedstock::plan::{
    Balance, Balanced, Deal, Filter, Fold, Order, Plan, Rows, Sequence, Slot, Subset, Tail, Window, World,
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

/// A sequence over an Index, and words for what it is.
fn drawn(stream: &mut Stream, index: &Index) -> (Sequence, Vec<&'static str>) {
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
    let views = of(stream, &[1usize, 1, 2, 3]);
    let batch = views * of(stream, &[1usize, 2, 7, 64]);
    let order = of(stream, Order::ALL);
    let tail = of(stream, &[Tail::Drop, Tail::Pad, Tail::Repeat]);
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
    let window = Window { group: 70 * stream.below(40), bytes: 70 * stream.below(400) }.of_rows(70);
    let seed = stream.next_u64();
    (Sequence { rows, balance, batch, views, order, window, tail, seed }, about)
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
        let index = of(&mut stream, &indices);
        let (sequence, mut about) = drawn(&mut stream, &index);
        let plan = Plan::new(&sequence, stream.below(4));
        let (samples, places, batch) = (sequence.samples(), plan.places(), plan.batch_size() as u64);
        assert_eq!(places, samples * sequence.views as u64);
        let context = format!("case {case}: {about:?}, {samples} samples, batch {batch}");
        let size = of(&mut stream, &[1u64, 2, 3, 5, 40]);
        let (slots, steps) = dealt(&plan, size, 0);

        // 2. Complete or counted: each wanted row as often as it is due, no occurrence or view twice.
        let valid: Vec<&Slot> = slots.iter().filter(|slot| slot.valid).collect();
        assert!(slots.iter().all(|slot| slot.valid != slot.segments.is_empty()), "{context}");
        let own = |slot: &Slot| (slot.segments[0].row, slot.segments[0].occurrence, slot.segments[0].view);
        let seen: BTreeSet<_> = valid.iter().map(|slot| own(slot)).collect();
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
        let wanted: BTreeSet<u64> = sequence.rows.iter().collect();
        assert!(seen.iter().all(|(row, ..)| wanted.contains(row)), "{context}: a row that was not chosen");
        let mut times: BTreeMap<u64, u64> = BTreeMap::new();
        (0..samples).for_each(|n| *times.entry(plan.picked(plan.position(n)).row).or_default() += 1);
        if let Some(balance) = &sequence.balance {
            let due: u64 = balance.shares().iter().map(|share| share.samples).sum();
            assert_eq!(due, samples, "{context}");
        } else {
            assert_eq!(times.keys().copied().collect::<BTreeSet<_>>(), wanted, "{context}");
            assert!(times.values().all(|n| *n == 1), "{context}");
        }
        if sequence.tail == Tail::Pad {
            let mut came: BTreeMap<u64, u64> = BTreeMap::new();
            valid.iter().for_each(|slot| *came.entry(slot.segments[0].row).or_default() += 1);
            let due: BTreeMap<u64, u64> = times.iter().map(|(row, n)| (*row, n * sequence.views as u64)).collect();
            assert_eq!(came, due, "{context}");
        }

        // 4. No two places draw alike.
        let keys: BTreeSet<u64> = valid
            .iter()
            .map(|slot| plan.key(index.row(slot.segments[0].row).key(), &slot.segments[0]).value())
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
    assert_eq!(covered.len(), 22, "{covered:?}");
    assert!(covered.values().all(|n| *n >= least), "{covered:?}");
}
