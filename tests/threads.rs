//! Dropping a loader's epoch anywhere ends its threads. A process of its own, so that no other test's threads are counted.

mod common;

use feedstock::recipe::Recipe;

/// The loader threads of this process.
#[cfg(target_os = "linux")]
fn loader_threads() -> usize {
    let tasks = std::fs::read_dir("/proc/self/task").unwrap();
    let names = tasks.filter_map(|task| std::fs::read_to_string(task.unwrap().path().join("comm")).ok());
    names.filter(|name| name.starts_with("feedstock-load")).count()
}

/// Whether no loader thread is left. The kernel takes a joined thread off its list a moment after the join returns.
#[cfg(target_os = "linux")]
fn gone() -> bool {
    (0..5_000).any(|_| {
        std::thread::sleep(std::time::Duration::from_millis(1));
        loader_threads() == 0
    })
}

#[cfg(target_os = "linux")]
#[test]
fn dropping_an_epoch_anywhere_ends_its_threads() {
    let made = common::made("images", &feedstock::ingest::IngestOptions::default());
    let mut recipe = Recipe { batch: 2, ..common::recipe("images") };
    recipe.run.threads = 8;
    let loader = recipe.loader(made.dataset.clone()).unwrap();
    let mut seen = 0;
    for taken in [0, 1, 3] {
        let mut epoch = loader.epoch(0).unwrap();
        (0..taken).for_each(|_| drop(epoch.next().unwrap().unwrap()));
        seen = seen.max(loader_threads());
        drop(epoch);
        assert!(gone(), "after {taken} batches");
    }
    assert!(seen > 0, "no thread was ever seen: the count is wrong");
    let mut epoch = loader.epoch(0).unwrap();
    assert_eq!(epoch.by_ref().count() as u64, loader.len());
    drop(epoch);
    assert!(gone(), "after a whole epoch");
}
