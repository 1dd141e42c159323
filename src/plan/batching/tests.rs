//! Windows of lengths, through the plan: what stands behind the last batch, where a state may stand, what is told of padding.

use super::*;
use crate::data::index::{IndexCell, Segment, SegmentBuilder};
use crate::error::Error;
use crate::plan::{At, Component, Identity, Order, Plan, Rows, Sequence, Slot, State, Steps, Tail, World, waste};

/// A plan of rows of these lengths, in their order, in windows of 10.
fn plan(lengths: &[i64], forming: Option<Forming>, tail: Tail) -> Arc<Plan> {
    let schema = Schema::new([("length", Feature::Int)]);
    let mut builder = SegmentBuilder::new(&schema);
    for (row, length) in lengths.iter().enumerate() {
        builder.push(&format!("row {row}"), &[IndexCell::Int(*length)]).unwrap();
    }
    builder.end_shard("train", 1, [0; 32]);
    let segment = Segment::from_bytes(builder.finish().unwrap().to_vec()).unwrap();
    let index = Index::new(vec![Arc::new(segment)]).unwrap();
    let lengths = vec![(index.clone(), Quantity::bind("length", &schema).unwrap())];
    let batching = forming.map(|forming| Arc::new(Batching { forming, window: 10, lengths }));
    let rows = Rows::new(Some(0..index.rows()));
    let components = vec![Component { name: None, rows, balance: None, order: Order::Sequential, window: (1, 1) }];
    let sequence = Sequence {
        components,
        mixing: None,
        batching,
        batch: 4,
        views: 1,
        partners: 0,
        partners_from: None,
        tail,
        seed: 0,
    };
    Arc::new(Plan::new(&sequence, 0))
}

fn pack() -> Option<Forming> {
    Some(Forming::Pack(Pack { column: "length".into(), length: 8, ..Pack::default() }))
}

fn bucket() -> Option<Forming> {
    Some(Forming::Bucket(Bucket { by: "length".into(), ..Bucket::default() }))
}

fn rows(slots: &[Slot]) -> Vec<Option<u64>> {
    slots.iter().map(|slot| slot.segments.first().map(|segment| segment.row)).collect()
}

#[test]
fn what_repeats_comes_from_the_first_window_that_holds_something() {
    // Three windows of nothing, one with 6 full rows, and one of nothing behind it.
    let mut lengths = vec![0; 50];
    lengths[31..37].fill(8);
    let plan = plan(&lengths, pack(), Tail::Repeat);
    let behind = |batch| rows(&plan.slots(At { window: 4, batch }));
    assert_eq!(behind(0), [31, 32, 33, 34].map(Some));
    assert_eq!(behind(3), [Some(35), Some(36), None, None]);
    // It is looked for once, and no other window is formed for that.
    assert_eq!(plan.front.get(), Some(&Some(3)));
    let kept: Vec<u64> = plan.kept.windows.lock().unwrap().iter().map(|(window, _)| *window).collect();
    assert_eq!(kept, [4, 3]);
}

#[test]
fn where_nothing_repeats_a_batch_of_rows_is_still_one() {
    for tail in [Tail::Pad, Tail::Repeat] {
        let slots = plan(&[0; 25], pack(), tail).slots(At { window: 2, batch: 0 });
        assert_eq!(rows(&slots), [None; 4], "{tail:?}");
        assert!(slots.iter().all(|slot| !slot.valid));
    }
}

#[test]
fn beside_a_slot_are_the_others_of_its_batch() {
    let plan = plan(&[9, 1, 8, 2, 7, 3, 6, 4], bucket(), Tail::Pad);
    let slots = plan.slots(At::default());
    let own = rows(&slots);
    assert_eq!(own, [1, 3, 5, 7].map(Some));
    for (at, slot) in slots.iter().enumerate() {
        let beside = plan.neighbours(&slots, slot);
        let came: Vec<_> = beside.iter().map(|segment| Some(segment.row)).collect();
        assert_eq!(came, [1, 2, 3].map(|by| own[(at + by) % 4]));
        // Their draws are those of no place, and each its own.
        assert!(beside.iter().all(|segment| segment.occurrence >= 1 << 31));
        assert!(beside[0].occurrence != beside[1].occurrence && beside == plan.neighbours(&slots, slot));
    }
    let plain = self::plan(&[1; 8], None, Tail::Pad);
    let slots = plain.slots(At::default());
    assert!(plain.neighbours(&slots, &slots[0]).is_empty());
}

#[test]
fn a_state_that_stands_nowhere_is_refused() {
    let identity = Identity::of(&[("", "digest")]);
    let resumed = |plan: &Arc<Plan>, window, batch| {
        let state = State::new(&identity, "recipe", 0, At { window, batch });
        Steps::resumed(plan.clone(), World::default(), &state)
    };
    let refused = |plan: &Arc<Plan>, window, batch, parts: &[&str]| {
        let error = resumed(plan, window, batch).unwrap_err();
        let message = error.to_string();
        assert!(matches!(error, Error::State { .. }) && parts.iter().all(|part| message.contains(part)), "{message}");
    };
    let plain = plan(&[1; 25], None, Tail::Pad);
    refused(&plain, 3, 1, &["window 3", "batches in none", "start the epoch anew"]);
    assert_eq!(resumed(&plain, 0, 2).unwrap().count(), 5);
    // 3 batches in each of the first two windows, and 2 in the last.
    let sorted = plan(&[1; 25], bucket(), Tail::Pad);
    refused(&sorted, 3, 0, &["window 3", "the epoch has 3"]);
    refused(&sorted, 1, 4, &["batch 4 of window 1", "which has 3"]);
    assert_eq!(resumed(&sorted, 0, 3).unwrap().batch(0), At { window: 1, batch: 0 });
    assert_eq!(resumed(&sorted, 1, 2).unwrap().count(), 3);
    // Where a run on many ranks has come to the epoch's end.
    assert_eq!(resumed(&sorted, 2, 9).unwrap().count(), 0);
    // No samples, no windows.
    assert_eq!(resumed(&plan(&[], bucket(), Tail::Pad), 0, 0).unwrap().count(), 0);
}

#[test]
fn padding_is_counted_of_sequences_of_any_length() {
    let long = 1_000_000_000_001;
    let plan = plan(&[3, long, 0, 8], pack(), Tail::Pad);
    let told = waste(&plan);
    let of = |name: &str| told.iter().find(|(own, _)| own == name).unwrap().1;
    let (rows, tokens) = (long as u64 / 8 + 2, long as u64 + 11);
    for fit in ["best", "greedy"] {
        let own = of(&format!("pack, {fit}, without windows"));
        assert_eq!(own, of(&format!("pack, {fit}")));
        // The rest of 1 token and the 3 share a row if they may.
        let rows = rows + u64::from(fit == "greedy");
        assert_eq!((own.filled, own.length), (rows, tokens), "{fit}");
        assert_eq!((own.batches, own.padded), (rows.div_ceil(4), rows.div_ceil(4) * 4 * 8), "{fit}");
    }
    // Its last batch can be asked for.
    let steps = Steps::new(plan.clone(), World::default(), At::default());
    let last = plan.slots(steps.batch(steps.count() - 1));
    assert!(steps.count() == rows.div_ceil(4) && last.len() == 4 && last.iter().any(|slot| slot.valid));
}
