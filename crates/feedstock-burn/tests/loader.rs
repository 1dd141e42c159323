//! The loader as burn's `DataLoader`: epochs, items, slices, errors, memory.

mod common;

use std::collections::BTreeSet;
use std::sync::Arc;

use burn::data::dataloader::{DataLoader, DataLoaderIterator, split::split_dataloader};
use burn::tensor::Device;
use common::{loader, numbers, photo_recipe, photos};
use feedstock::data::batch::Batch;
use feedstock::{Error, Result};
use feedstock_burn::{BurnLoader, TakeTensor};
use serde_json::json;

/// The numbers of a batch that are not padding.
fn seen(mut batch: Batch, device: &Device) -> Result<Vec<i64>> {
    let valid = batch.valid.clone();
    let data = batch.take_int::<1>("n", device)?.into_data();
    Ok(data.iter::<i64>().zip(valid).filter(|(_, valid)| *valid).map(|(n, _)| n).collect())
}

fn numbered(rows: i64, tail: &str, rank: u64, size: u64) -> BurnLoader<Vec<i64>> {
    let recipe = json!({
        "batch": 8, "tail": tail, "seed": 3,
        "run": { "threads": 2, "world": { "rank": rank, "size": size } }
    });
    BurnLoader::new(loader(numbers(rows), recipe), Device::flex(), seen)
}

fn all(loader: &dyn DataLoader<Vec<i64>>) -> Vec<i64> {
    let mut iterator = loader.iter();
    let mut all = Vec::new();
    while let Some(item) = iterator.next() {
        all.extend(item.unwrap());
        assert_eq!(iterator.progress().items_processed, all.len());
    }
    let progress = iterator.progress();
    assert!(progress.is_completed(), "{progress:?}");
    assert_eq!((progress.items_total, progress.unit.as_deref()), (loader.num_items(), Some("items")));
    all
}

#[test]
fn every_iteration_is_the_next_epoch() {
    let ours = numbered(40, "pad", 0, 1);
    let epochs: Vec<Vec<i64>> = (0..3).map(|_| all(&ours)).collect();
    for (epoch, order) in epochs.iter().enumerate() {
        let direct: Vec<i64> = ours.batches(epoch as u64).flat_map(|item| item.unwrap()).collect();
        assert_eq!(*order, direct);
        assert_eq!(order.iter().collect::<BTreeSet<_>>().len(), 40);
    }
    assert_ne!(epochs[0], epochs[1]);
    // An epoch that was left counts too, and a moved loader goes on from here with a count of its own.
    drop(ours.iter());
    let moved = ours.to_device(&Device::flex());
    assert_eq!(all(&*moved), ours.batches(4).flat_map(|i| i.unwrap()).collect::<Vec<_>>());
    assert_eq!(all(&ours), ours.batches(4).flat_map(|i| i.unwrap()).collect::<Vec<_>>());
    assert_eq!(all(&numbered(40, "pad", 0, 1).starting_at(1)), epochs[1]);
}

#[test]
fn items_are_this_ranks_samples_without_padding() {
    for (rows, tail, size, want) in [
        (40, "drop", 1, vec![40]),
        (41, "drop", 1, vec![40]),
        (41, "pad", 1, vec![41]),
        (41, "repeat", 1, vec![48]),
        (41, "pad", 4, vec![16, 9, 8, 8]),
        (41, "drop", 2, vec![16, 16]),
        (3, "drop", 1, vec![0]),
        (0, "pad", 2, vec![0, 0]),
    ] {
        let items: Vec<usize> = (0..size).map(|rank| all(&numbered(rows, tail, rank, size)).len()).collect();
        assert_eq!(items, want, "{rows} rows, {tail}, {size} ranks");
    }
}

#[test]
fn slices_share_and_lose_nothing() {
    for (rows, tail, rank, size) in [
        (100, "pad", 0, 1),
        (101, "pad", 1, 3),
        (97, "pad", 3, 4),
        (100, "drop", 0, 1),
        (100, "repeat", 1, 2),
        (5, "pad", 0, 1),
        (0, "pad", 0, 1),
    ] {
        let whole: Arc<dyn DataLoader<Vec<i64>>> = Arc::new(numbered(rows, tail, rank, size));
        let expected = all(&*whole);
        for devices in 1..5 {
            let whole = Arc::new(numbered(rows, tail, rank, size)) as Arc<dyn DataLoader<Vec<i64>>>;
            let parts = split_dataloader(whole.clone(), &vec![Device::flex(); devices]);
            assert_eq!(parts.iter().map(|p| p.num_items()).sum::<usize>(), whole.num_items());
            let joined: Vec<i64> = parts.iter().flat_map(|p| all(&**p)).collect();
            assert_eq!(joined, expected, "{rows} rows, {tail}, rank {rank} of {size}, {devices} devices");
            let sizes: Vec<usize> = parts.iter().map(|p| p.num_items()).collect();
            assert!(
                devices == 1 || rows < 40 || sizes.iter().max().unwrap() - sizes.iter().min().unwrap() <= 16,
                "{sizes:?}"
            );
        }
        // A slice of a slice counts from the slice's own front.
        let whole = numbered(rows, tail, rank, size);
        let want: Vec<i64> = expected.iter().skip(24).take(16).copied().collect();
        assert_eq!(all(&*whole.slice(16, 64).slice(8, 24)), want);
        assert_eq!(whole.slice(9, 3).num_items(), 0);
        assert_eq!(all(&*whole.slice(0, usize::MAX)), expected);
    }
}

#[test]
fn a_state_goes_on_where_it_was_taken() {
    let ours = numbered(50, "pad", 0, 1);
    let whole: Vec<Vec<i64>> = ours.batches(2).map(|i| i.unwrap()).collect();
    let mut batches = ours.batches(2);
    for taken in 0..=whole.len() {
        let state = batches.state().unwrap();
        let again = numbered(50, "pad", 0, 1);
        let rest = again.batches_from(&state).unwrap();
        assert_eq!(rest.progress().items_total, whole[taken..].iter().map(Vec::len).sum::<usize>());
        assert_eq!(rest.map(|i| i.unwrap()).collect::<Vec<_>>(), whole[taken..]);
        // Two ranks share the rest.
        let shared: Vec<i64> = (0..2)
            .flat_map(|rank| {
                numbered(50, "pad", rank, 2).batches_from(&state).unwrap().flat_map(|i| i.unwrap()).collect::<Vec<_>>()
            })
            .collect();
        let sorted = |v: Vec<i64>| v.into_iter().collect::<BTreeSet<_>>();
        assert_eq!(sorted(shared), sorted(whole[taken..].concat()));
        batches.next();
    }
    let other = numbered(51, "pad", 0, 1);
    assert!(matches!(other.batches_from(&batches.state().unwrap()), Err(Error::State { .. })));
}

#[test]
fn an_error_comes_out_once_and_ends_the_epoch() {
    let mut recipe = photo_recipe();
    recipe["order"] = json!("sequential");
    let broken = BurnLoader::new(loader(photos(true), recipe), Device::flex(), |mut batch: Batch, device: &Device| {
        batch.take_float::<4>("image", device)
    });
    let mut items = broken.iter();
    assert!(items.next().unwrap().is_ok());
    let error = items.next().unwrap().unwrap_err();
    assert!(error.to_string().contains("photo-5") && error.to_string().contains("\"image\""), "{error}");
    let source = std::error::Error::source(&error).and_then(|e| e.downcast_ref::<Error>());
    assert!(matches!(source, Some(Error::Sample { .. })), "{source:?}");
    assert!(items.next().is_none());
    assert!(!items.progress().is_completed());

    let refusing = BurnLoader::new(
        loader(numbers(30), json!({ "batch": 8 })),
        Device::flex(),
        |mut batch: Batch, device: &Device| batch.take_float::<1>("n", device),
    );
    let mut items = refusing.batches(0);
    let error = items.next().unwrap().unwrap_err();
    assert!(error.to_string().contains("take_int"), "{error}");
    assert!(items.next().is_none() && items.state().is_none());
}

#[test]
fn the_tensors_are_the_loaders_memory_which_goes_round() {
    let batches = 40;
    let mut recipe = photo_recipe();
    recipe["tail"] = json!("repeat");
    recipe["batch"] = json!(2);
    let ours = BurnLoader::new(loader(photos(false), recipe), Device::flex(), |mut batch: Batch, device: &Device| {
        let address = batch.get::<f32>("image")?.data.as_ptr() as usize;
        let data = batch.take_float::<4>("image", device)?.into_data();
        assert_eq!(data.as_bytes().as_ptr() as usize, address, "the tensor is the batch's memory");
        assert_eq!(address % 64, 0);
        Ok(address)
    });
    let mut addresses = Vec::new();
    for item in (0..).flat_map(|epoch| ours.batches(epoch)).take(batches) {
        addresses.push(item.unwrap());
    }
    let distinct = addresses.iter().collect::<BTreeSet<_>>().len();
    assert!(distinct <= 4, "{batches} batches were made in {distinct} places: the pool got its memory back");
}
