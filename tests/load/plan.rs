//! The laws of the plan over recipes drawn at random: every order, choice, balance, mixture, bucket, pack, view, tail, batch and world, together.
//!
//! `FEEDSTOCK_PLANS=20000 cargo test --test load plan::` draws more of them. What was covered is printed with `--nocapture`.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use feedstock::data::feature::{Feature, Schema};
use feedstock::data::index::{Index, IndexCell, SegmentBuilder};
use feedstock::plan::batching::{Forming, Quantity, WINDOW};
use feedstock::plan::{
    At, Balance, Balanced, Batching, Bucket, Component, Exhausted, Filter, Fit, Fold, Long, Mixing, Mixture, Order,
    Pack, Phase, Plan, Rows, Segment, Sequence, Slot, Steps, Subset, Tail, Window, World,
};
use feedstock::rng::{Key, Stream};

fn names() -> Vec<String> {
    ["a", "b", "c", "d"].map(str::to_owned).to_vec()
}

fn schema() -> Schema {
    let label = Feature::ClassLabel { names: names() };
    Schema::new([("label", label), ("speaker", Feature::Int), ("length", Feature::Int)])
}

/// Rows in two splits and two segments, of classes that differ much in size, some of them unknown.
fn index(rows: u64, one_class: bool) -> Index {
    let segment = |from: u64, to: u64| {
        let mut builder = SegmentBuilder::new(&schema());
        for n in from..to {
            let class =
                if one_class { 2 } else { [0, 0, 0, 0, 0, 0, 1, 1, 2, -1][Key::new(n).stream().below(10) as usize] };
            let label = if n % 97 == 5 { IndexCell::Null } else { IndexCell::Int(class) };
            let length = match n % 211 {
                // One that is huge, ones that have no length, and ones of none.
                7 => IndexCell::Int(3_000),
                8 => IndexCell::Null,
                9 => IndexCell::Int(-1),
                _ => IndexCell::Int(Key::new(n).with(1).stream().below(40) as i64),
            };
            builder.push(&format!("row {n}"), &[label, IndexCell::Int((n % 13) as i64), length]).unwrap();
            if n + 1 == to || n % 100 == 99 {
                builder.end_shard(if n / 100 % 3 == 2 { "test" } else { "train" }, 7_000, [n as u8; 32]);
            }
        }
        Arc::new(feedstock::data::index::Segment::from_bytes(builder.finish().unwrap().to_vec()).unwrap())
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
    let forming = match stream.below(4) {
        0 => {
            let (bounds, padded) =
                of(stream, &[(vec![], None), (vec![], Some(200)), (vec![10, 30], None), (vec![5], Some(90))]);
            Some(Forming::Bucket(Bucket { by: "length".into(), bounds, padded }))
        }
        1 => {
            let (fit, long, length) = (of(stream, Fit::ALL), of(stream, Long::ALL), of(stream, &[1, 39, 64, 5_000]));
            Some(Forming::Pack(Pack { column: "length".into(), length, fit, long }))
        }
        _ => None,
    };
    let packs = matches!(forming, Some(Forming::Pack(_)));
    about.push(match &forming {
        None => "batches in order",
        Some(Forming::Bucket(_)) => "buckets",
        Some(Forming::Pack(_)) => "packs",
    });
    let window = of(stream, &[WINDOW, 100, 601]);
    let batching = forming.map(|forming| {
        let quantity = |index: &Index| (index.clone(), Quantity::bind("length", &schema()).unwrap());
        Arc::new(Batching { forming, window, lengths: own.iter().map(quantity).collect() })
    });
    let views = if packs { 1 } else { of(stream, &[1usize, 1, 2, 3]) };
    let partners = if batching.is_some() { 0 } else { of(stream, &[0usize, 0, 1, 3]) };
    about.push(if partners == 0 { "alone" } else { "partners" });
    let group = views + partners;
    let batch = group * of(stream, &[1usize, 2, 7, 64]);
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
        let mut mixture = Mixture { exhausted, samples, phases, ..Mixture::default() };
        // A small source repeated until a large one with little weight has run out: millions of samples, all of which are held here.
        let long = |mixing: &Mixing| (0..4).any(|epoch| mixing.blend(epoch).samples() > 60_000);
        let bound = |mixture: &Mixture| mixture.bind(&parts, (batch / group) as u64);
        if bound(&mixture).is_ok_and(|mixing| long(&mixing)) {
            mixture.samples = Some(60_000);
        }
        mixing = match bound(&mixture) {
            Ok(mixing) => Some(mixing),
            // Nothing to repeat: refused.
            Err(_) => {
                assert!(exhausted != Exhausted::Drop && parts.iter().any(|(.., n)| *n == 0), "{parts:?}");
                Some(Mixture { exhausted: Exhausted::Drop, ..mixture }.bind(&parts, (batch / group) as u64).unwrap())
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
    let partners_from =
        (sources > 0 && partners > 0 && stream.below(2) == 0).then(|| stream.below(sources as u64) as usize);
    about.push(match (partners, partners_from) {
        (0, _) => "no partners",
        (_, None) => "partners of all",
        _ => "partners from one source",
    });
    let seed = stream.next_u64();
    (Sequence { components, mixing, batching, batch, views, partners, partners_from, tail, seed }, own, about)
}

/// The batches that ranks get from one on, in the global order, and how many steps each rank has.
fn dealt(plan: &Arc<Plan>, size: u64, start: At) -> (Vec<(At, Vec<Slot>)>, u64) {
    let ranks: Vec<Steps> = (0..size).map(|rank| Steps::new(plan.clone(), World { rank, size }, start)).collect();
    let mut batches = Vec::new();
    let mut step = 0;
    while ranks[0].has(step) {
        assert!(ranks.iter().all(|rank| rank.has(step)));
        batches.extend(ranks.iter().map(|rank| rank.batch(step)).map(|at| (at, plan.slots(at))));
        step += 1;
    }
    assert!(ranks.iter().all(|rank| !rank.has(step) && rank.count() == step));
    (batches, step)
}

/// What a row is said to have of a length.
fn length(own: &[Index], (source, row): (u32, u64)) -> u64 {
    match own[source as usize].row(row).value(2) {
        feedstock::data::label::Value::Int(n) => n.max(0) as u64,
        _ => 0,
    }
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
        let plan = Arc::new(Plan::new(&sequence, epoch));
        let (samples, places, batch) = (plan.samples(), plan.places(), plan.batch_size() as u64);
        let group = (sequence.views + sequence.partners) as u64;
        assert_eq!(places, samples * group);
        let context = format!("case {case}: {about:?}, {samples} samples, batch {batch}");
        let size = of(&mut stream, &[1u64, 2, 3, 5, 40]);
        let (batches, steps) = dealt(&plan, size, At::default());
        let pack = match plan.batching().map(|batching| &batching.forming) {
            Some(Forming::Pack(pack)) => Some(pack),
            _ => None,
        };

        // 2. Complete or counted: each wanted row as often as it is due, no occurrence or view (or token of it) twice.
        let slots: Vec<&Slot> = batches.iter().flat_map(|(_, slots)| slots).collect();
        let valid: Vec<&Slot> = slots.iter().filter(|slot| slot.valid).copied().collect();
        assert!(slots.iter().all(|slot| slot.valid != slot.segments.is_empty()), "{context}");
        let pieces: Vec<&Segment> = valid.iter().flat_map(|slot| &slot.segments).collect();
        let what = |s: &Segment| (s.source, s.row, s.occurrence, s.view, s.range);
        let seen: BTreeSet<_> = pieces.iter().map(|segment| what(segment)).collect();
        assert_eq!(seen.len(), pieces.len(), "{context}: an occurrence comes twice");
        let mut times: BTreeMap<(u32, u64), u64> = BTreeMap::new();
        for n in 0..samples {
            let (source, picked) = plan.sample(n);
            *times.entry((source as u32, picked.row)).or_default() += 1;
        }
        let dropped = Steps::new(plan.clone(), World { rank: 0, size }, At::default()).dropped();
        if sequence.tail != Tail::Drop {
            assert_eq!(dropped, 0, "{context}");
        }
        // What came of each row, without partners, against what is due of it.
        let mut came: BTreeMap<(u32, u64), u64> = BTreeMap::new();
        for segment in pieces.iter().filter(|segment| (segment.view as usize) < sequence.views) {
            *came.entry((segment.source, segment.row)).or_default() += 1;
        }
        let due: BTreeMap<(u32, u64), u64> = times.iter().map(|(row, n)| (*row, n * sequence.views as u64)).collect();
        match (sequence.tail, pack) {
            (Tail::Drop, None) => {
                assert!(came.iter().all(|(row, n)| due.get(row).is_some_and(|due| n <= due)), "{context}");
                assert_eq!(valid.len(), slots.len(), "{context}");
                assert_eq!(valid.len() as u64 + dropped, places, "{context}");
                assert!(dropped < batch * size, "{context}");
            }
            (Tail::Pad, None) => {
                assert_eq!(valid.len() as u64, places, "{context}");
                let partner = |segment: &&&Segment| segment.view as usize >= sequence.views;
                // Partners are any others of the epoch, each drawn for its place.
                for segment in pieces.iter().filter(partner) {
                    match sequence.partners_from.filter(|from| plan.courses()[*from].samples() > 0) {
                        Some(from) => assert_eq!(segment.source as usize, from, "{context}"),
                        None => assert!(times.contains_key(&(segment.source, segment.row)), "{context}"),
                    }
                }
                // Where no row comes again, a partner is another row than the sample's.
                if samples > 1 && sequence.partners_from.is_none() && times.values().all(|n| *n == 1) {
                    let of = |slot: &&Slot| slot.segments.first().map(|segment| (segment.source, segment.row));
                    for slots in slots.chunks(group as usize).filter(|slots| slots[0].valid) {
                        let (own, partners) = (of(&slots[0]), &slots[sequence.views..]);
                        assert!(partners.iter().all(|slot| of(slot) != own), "{context}: its own partner");
                    }
                }
                assert_eq!(came, due, "{context}");
            }
            (Tail::Repeat, None) => {
                assert!(valid.len() == slots.len() || places == 0, "{context}");
                assert!(valid.len() as u64 >= places && (valid.len() as u64) < places + batch * size, "{context}");
                assert!(came.keys().eq(due.keys()) && due.iter().all(|(row, n)| came[row] >= *n), "{context}");
            }
            (tail, Some(pack)) => {
                // Every batch has as many rows, none is longer than it may be.
                assert!(batches.iter().all(|(_, slots)| slots.len() as u64 == batch), "{context}");
                let long = |segment: &Segment| {
                    let all = length(&own, (segment.source, segment.row));
                    let (from, to) = segment.range.unwrap_or((0, all));
                    assert!(from < to && to <= all, "{context}: {segment:?} of {all}");
                    to - from
                };
                let rows = valid.iter().map(|slot| slot.segments.iter().map(long).sum::<u64>());
                assert!(rows.clone().all(|tokens| (1..=pack.length as u64).contains(&tokens)), "{context}");
                // Each token once: all of a row's, as often as it comes, or those that fit.
                let mut tokens: BTreeMap<(u32, u64), u64> = BTreeMap::new();
                pieces.iter().for_each(|s| *tokens.entry((s.source, s.row)).or_default() += long(s));
                let due: BTreeMap<_, u64> = times
                    .iter()
                    .map(|(row, n)| {
                        let all = length(&own, *row);
                        (*row, n * if pack.long == Long::Truncate { all.min(pack.length as u64) } else { all })
                    })
                    .filter(|(_, n)| *n > 0)
                    .collect();
                match tail {
                    Tail::Pad => assert_eq!(tokens, due, "{context}"),
                    Tail::Drop => {
                        assert!(tokens.iter().all(|(row, n)| *n <= due[row]), "{context}");
                        assert!(dropped <= batch * (size - 1), "{context}");
                        assert!(size > 1 || tokens == due, "{context}: tokens are missing");
                    }
                    Tail::Repeat => assert!(due.iter().all(|(row, n)| tokens[row] >= *n), "{context}"),
                }
            }
        }
        if let Some(Forming::Bucket(bucket)) = plan.batching().map(|batching| &batching.forming) {
            for (at, slots) in batches.iter().filter(|(_, slots)| slots.iter().any(|slot| slot.valid)) {
                let lengths: Vec<u64> = slots
                    .iter()
                    .flat_map(|slot| &slot.segments)
                    .map(|segment| length(&own, (segment.source, segment.row)))
                    .collect();
                let (longest, shortest) = (lengths.iter().max().unwrap(), lengths.iter().min().unwrap());
                let samples = (slots.len() / sequence.views) as u64;
                assert!(!slots.is_empty() && slots.len() as u64 <= batch, "{context} {at}");
                assert!(
                    samples == 1 || bucket.padded.is_none_or(|cap| slots.len() as u64 * longest <= cap),
                    "{context} {at}"
                );
                let of = |length: &u64| bucket.bounds.partition_point(|bound| bound < length);
                assert_eq!(of(longest), of(shortest), "{context} {at}: two buckets in a batch");
                // Nothing of another window is in it.
                let windows: BTreeSet<u64> =
                    slots.iter().map(|s| s.place / sequence.views as u64 / plan.window_samples()).collect();
                assert_eq!(windows.len(), 1, "{context} {at}");
            }
        }
        for (source, component) in sequence.components.iter().enumerate() {
            let wanted: BTreeSet<u64> = component.rows.iter().collect();
            let came: BTreeMap<u64, u64> =
                times.iter().filter(|((of, _), _)| *of as usize == source).map(|((_, row), n)| (*row, *n)).collect();
            assert!(came.keys().all(|row| wanted.contains(row)), "{context}: a row that was not chosen");
            let due = plan.blended().map_or(samples, |blended| blended.all()[source]);
            assert_eq!(came.values().sum::<u64>(), due, "{context}");
            if let Some(balance) = &component.balance {
                // Each class as often as its share says, once for each whole pass and for what of another was begun.
                let all = component.samples();
                let mut classes: BTreeMap<Option<i64>, u64> = BTreeMap::new();
                for (row, n) in &came {
                    let feedstock::data::label::Value::Int(class) = own[source].row(*row).value(0) else { continue };
                    *classes.entry((class >= 0).then_some(class)).or_default() += n;
                }
                let full = due.checked_div(all).unwrap_or(0);
                for share in balance.shares() {
                    let class = names().iter().position(|name| Some(name.as_str()) == share.class.as_deref());
                    let Some(class) = class else { continue };
                    let got = classes.get(&Some(class as i64)).copied().unwrap_or(0);
                    let most = share.samples * (full + u64::from(due > full * all));
                    assert!(
                        (share.samples * full..=most).contains(&got),
                        "{context}: {got} of {share:?}, {full} passes"
                    );
                }
            } else if due > 0 {
                // As many whole passes as there are, and the rest of the rows once more.
                let n = wanted.len() as u64;
                assert!(came.len() as u64 == n.min(due), "{context}");
                assert!(came.values().all(|times| *times == due / n || *times == due.div_ceil(n)), "{context}");
            }
        }

        // 4. No two places draw alike.
        let mut keys: BTreeSet<u64> = BTreeSet::new();
        let once = |segment: &&&Segment| segment.range.is_none_or(|(from, _)| from == 0);
        let drawn: Vec<&&Segment> = pieces.iter().filter(once).collect();
        for segment in &drawn {
            keys.insert(plan.key(own[segment.source as usize].row(segment.row).key(), segment).value());
        }
        assert_eq!(keys.len(), drawn.len(), "{context}: two places draw alike");

        // 3. Stopped after any step and continued on another world: the same batches in the same order.
        let (global, _) = dealt(&plan, 1, At::default());
        assert!(global.windows(2).all(|pair| pair[0].0 < pair[1].0), "{context}");
        let taken = if steps == 0 { 0 } else { stream.below(steps + 1) };
        let saved = Steps::new(plan.clone(), World { rank: 0, size }, At::default()).after(taken);
        let other = of(&mut stream, &[1u64, 2, 4, 9]);
        // Another process has nothing of what this one has kept.
        let (rest, _) = dealt(&Arc::new(Plan::new(&sequence, epoch)), other, saved);
        let left = global.get((taken * size) as usize..).unwrap_or_default();
        let common = rest.len().min(left.len());
        assert_eq!(rest[..common], left[..common], "{context}: stopped at {saved}, continued on {other}");
        match sequence.tail {
            Tail::Drop => assert!(((left.len() - common) as u64) < other, "{context}"),
            _ => assert_eq!(common, left.len(), "{context}"),
        }
        // On more ranks than there are batches left they have padding, or repeats, as many as all the others.
        assert!(rest.len() < left.len() + other as usize, "{context}");

        // 1. The plan of the same recipe, seed and epoch is the same; batches are asked for in any order.
        let n = stream.below(global.len().max(1) as u64);
        if let Some((at, slots)) = global.get(n as usize) {
            assert_eq!(plan.slots(*at), *slots, "{context}");
        }

        about.push(if samples == 0 {
            "no sample"
        } else if places < batch {
            "fewer samples than a batch"
        } else {
            "batches"
        });
        let few = !global.is_empty() && size > global.len() as u64;
        about.push(if few { "more ranks than batches" } else { "enough for all ranks" });
        // Among other rows, the one that is longer than most rows of packs and caps of batches.
        let huge = times.len() > 1 && times.keys().any(|row| length(&own, *row) == 3_000);
        about.push(if huge { "one huge sample" } else { "no huge sample" });
        let class = |(source, row): &(u32, u64)| match own[*source as usize].row(*row).value(0) {
            feedstock::data::label::Value::Int(class) => Some(class),
            _ => None,
        };
        let classes: BTreeSet<i64> = times.keys().filter_map(class).collect();
        about.push(match (classes.len(), sequence.components.iter().any(|c| c.balance.is_some())) {
            (1, true) => "one class, balanced",
            (1, false) => "one class",
            (0, _) => "no class",
            _ => "classes",
        });
        about.push(if plan.windows() > 1 { "several windows" } else { "one window" });
        about.into_iter().for_each(|word| *covered.entry(word).or_default() += 1);
    }
    println!("{cases} recipes: {covered:?}");
    // What was meant to be drawn was drawn.
    let least = cases / 100;
    assert_eq!(covered.len(), 47, "{covered:?}");
    assert!(covered.values().all(|n| *n >= least), "{covered:?}");
}
