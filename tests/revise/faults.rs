//! Each verb killed at every operation of the disk: a reader finds the old version or the new one, and the same command again gives the same as an undisturbed run.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use feedstock::dataset::Dataset;
use feedstock::revise::{CompactOptions, MergeOptions, RelabelOptions, RemoveOptions, compact, merge, remove};
use feedstock::store::Store;
use feedstock::store::fault::{FaultDisk, Kill, Phase};
use feedstock::{Error, Result};

use crate::common::copy_folder;
use crate::{append, contents, id, made, relabelled, split_up};

/// All files but temporaries.
fn files(root: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let walk = walkdir::WalkDir::new(root).into_iter().map(Result::unwrap).filter(|e| e.file_type().is_file());
    let of = |e: walkdir::DirEntry| (e.path().strip_prefix(root).unwrap().to_owned(), std::fs::read(e.path()).unwrap());
    walk.filter(|e| !e.file_name().to_string_lossy().ends_with(".tmp")).map(of).collect()
}

fn relabel_some(store: &Store) -> Result<bool, Error> {
    let csv = format!("id,label\n{},new\n{},dog\n", id(3), id(20));
    relabelled(store, &csv, RelabelOptions::default()).0.map(|done| done.committed)
}

fn take_out(store: &Store) -> Result<bool, Error> {
    let options = RemoveOptions { filter: Some("id like '%7.txt'".into()), ..RemoveOptions::default() };
    remove(store, &options, &mut |_| Ok(())).map(|done| done.committed)
}

fn compacted(store: &Store, materialise: bool) -> Result<bool, Error> {
    compact(store, &CompactOptions { materialise, shard_bytes: 40_000, dry_run: false }).map(|done| done.committed)
}

/// The rows of another dataset, which lies beside it.
fn merged(store: &Store) -> Result<bool, Error> {
    let beside = store.root().with_file_name("other");
    if !beside.exists() {
        append(&beside, 50..60).unwrap();
    }
    let options = MergeOptions { shard_bytes: 300, ..MergeOptions::default() };
    merge(store, &Dataset::open(&beside).unwrap(), &options, &mut |p| panic!("{p}")).map(|done| done.committed)
}

#[test]
fn relabel_is_killed_anywhere_and_goes_on() {
    killed_anywhere("relabel", relabel_some);
}

#[test]
fn split_is_killed_anywhere_and_goes_on() {
    killed_anywhere("split", split_up);
}

#[test]
fn rm_is_killed_anywhere_and_goes_on() {
    killed_anywhere("rm", take_out);
}

#[test]
fn dedup_is_killed_anywhere_and_goes_on() {
    killed_anywhere("dedup", crate::duplicates::near_ones_dropped);
}

#[test]
fn compact_is_killed_anywhere_and_goes_on() {
    killed_anywhere("compact", |store| compacted(store, false));
    killed_anywhere("materialise", |store| compacted(store, true));
}

#[test]
fn merge_is_killed_anywhere_and_goes_on() {
    killed_anywhere("merge", merged);
}

/// How a process may die in an operation: when, and whether what was not synced is lost. Each operation gets two of them in turn.
const DEATHS: [(Phase, bool); 4] =
    [(Phase::Before, false), (Phase::Inside, true), (Phase::After, true), (Phase::Inside, false)];

fn killed_anywhere(name: &str, verb: fn(&Store) -> Result<bool, Error>) {
    let (_dir, base, _) = made();
    // What stands over shards is there already, so that every verb has to do with it.
    relabelled(&Store::open(&base), &format!("id,label,score\n{},owl,9\n", id(4)), RelabelOptions::default())
        .0
        .unwrap();
    let work = tempfile::tempdir().unwrap();
    let old = contents(&Dataset::open(&base).unwrap()).0;
    let whole = work.path().join(name);
    copy_folder(&base, &whole);
    let disk = Arc::new(FaultDisk::new(Kill::Never));
    assert!(verb(&Store::with_disk(&whole, disk.clone())).unwrap(), "{name}");
    let (undisturbed, new) = (files(&whole), contents(&Dataset::open(&whole).unwrap()).0);
    let (mut before, mut after) = (0, 0);
    let seen = disk.seen();
    for (op, of) in seen.iter().enumerate() {
        for (phase, power) in [DEATHS[op % 4], DEATHS[(op + 1) % 4]] {
            let at = format!("{name}, operation {op} of {}, {phase:?}, power {power}", seen.len());
            let target = work.path().join("killed");
            copy_folder(&base, &target);
            let kill = Kill::AtOp { op, phase, bytes: of.bytes / 2 };
            let disk = Arc::new(if power { FaultDisk::with_power_cut(kill) } else { FaultDisk::new(kill) });
            let killed = verb(&Store::with_disk(&target, disk));
            let found = Dataset::open(&target).unwrap();
            match found.version() {
                Some(3) => {
                    assert!(killed.is_err(), "{at}");
                    assert_eq!(contents(&found).0, old, "{at}");
                    before += 1;
                }
                _ => {
                    assert_eq!(contents(&found).0, new, "{at}");
                    after += 1;
                }
            }
            drop(found);
            let store = Store::open(&target);
            verb(&store).unwrap();
            feedstock::store::card::write(&store).unwrap();
            assert!(files(&target) == undisturbed, "{at}: {:?}", files(&target).keys());
            std::fs::remove_dir_all(&target).unwrap();
        }
    }
    assert!(before > 10 && after > 0, "{name}: {before} {after}");
}
