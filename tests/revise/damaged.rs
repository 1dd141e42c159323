//! What is wrong in a version does not get into the next one, and what is wrong in older ones keeps nobody from it.

use std::path::{Path, PathBuf};

use feedstock::data::record::row_key;
use feedstock::dataset::Dataset;
use feedstock::open;
use feedstock::revise::{CompactOptions, MergeOptions, RelabelOptions, RemoveOptions, Removed, compact, merge, remove};
use feedstock::store::Store;
use feedstock::store::commit::sha256_hex;

use crate::{append, contents, hold, id, made, relabelled, split_up};

/// Writes another file under a name: the old one may be mapped.
fn replace(file: &Path, bytes: &[u8]) {
    std::fs::remove_file(file).unwrap();
    std::fs::write(file, bytes).unwrap();
}

fn root_of(path: &Path, version: u64) -> (PathBuf, serde_json::Value) {
    let file = path.join(format!(".dsctl/versions/{version:020}.json"));
    let root = serde_json::from_slice(&std::fs::read(&file).unwrap()).unwrap();
    (file, root)
}

fn segment(path: &Path, version: u64, number: usize) -> PathBuf {
    path.join(root_of(path, version).1["segments"][number]["path"].as_str().unwrap())
}

fn out(store: &Store, options: RemoveOptions) -> feedstock::Result<Removed> {
    remove(store, &options, &mut |problem| panic!("{problem}"))
}

fn ids(ids: &[u64]) -> RemoveOptions {
    RemoveOptions { ids: ids.iter().copied().map(id).collect(), ..RemoveOptions::default() }
}

#[test]
fn no_verb_believes_a_segment_that_is_not_the_one_that_is_named() {
    let (dir, path, rows) = made();
    let store = Store::open(&path);
    let other = dir.path().join("other");
    append(&other, 50..60).unwrap();
    let sound = Dataset::open(&other).unwrap();
    let file = segment(&path, 2, 0);
    let whole = std::fs::read(&file).unwrap();
    // A bit of a score: nothing but the digest knows.
    let score = 1.0f64 / 8.0;
    let at = whole.windows(8).position(|w| w == score.to_le_bytes()).unwrap();
    let mut flipped = whole.clone();
    flipped[at + 6] ^= 1;
    replace(&file, &flipped);
    assert_ne!(contents(&Dataset::open(&path).unwrap()).0, rows, "readers do not see it");
    let compacting = CompactOptions { shard_bytes: 40_000, ..CompactOptions::default() };
    let merging =
        |into: &Path, from: &Dataset| merge(&Store::open(into), from, &MergeOptions::default(), &mut |p| panic!("{p}"));
    let done = [
        relabelled(&store, &format!("id,label\n{},dog\n", id(3)), RelabelOptions::default()).0.map(drop),
        split_up(&store).map(drop),
        out(&store, ids(&[3])).map(drop),
        compact(&store, &compacting).map(drop),
        merging(&path, &sound).map(drop),
        merging(&other, &open(&path).unwrap()).map(drop),
    ];
    for (verb, done) in done.into_iter().enumerate() {
        let error = done.expect_err("a verb went on");
        assert!(
            error.to_string().contains("SHA-256") && error.to_string().contains("--rebuild-index"),
            "{verb}: {error}"
        );
    }
    assert_eq!([&path, &other].map(|path| Dataset::open(path).unwrap().version()), [Some(2), Some(1)]);
    replace(&file, &whole);
    hold(&path, &rows);
}

/// Changes a byte of the newest segment and names it anew, as a program with an error would write it.
fn miswritten(path: &Path, version: u64, number: usize, find: &[u8], change: usize) {
    let (file, mut root) = root_of(path, version);
    let mut bytes = std::fs::read(segment(path, version, number)).unwrap();
    let at = bytes.windows(find.len()).position(|w| w == find).unwrap();
    bytes[at + change] ^= 1;
    let digest = sha256_hex(&bytes);
    let name = format!(".dsctl/segments/{}.idx", &digest[..16]);
    std::fs::write(path.join(&name), bytes).unwrap();
    root["segments"][number]["path"] = name.into();
    root["segments"][number]["sha256"] = digest.into();
    replace(&file, &serde_json::to_vec_pretty(&root).unwrap());
}

#[test]
fn what_is_out_is_told_by_ids_and_the_rest_is_held_against_the_old_index() {
    // The key of a row that should be out is wrong: the files know its id.
    let (_dir, path, mut rows) = made();
    miswritten(&path, 2, 0, &row_key(&id(3)).to_le_bytes(), 0);
    let store = Store::open(&path);
    let done = out(&store, RemoveOptions { prefix: Some(id(3)), ..RemoveOptions::default() }).unwrap();
    assert_eq!((done.rows, done.left, done.proof.unwrap().rows), (1, 29, 29));
    rows.remove(&id(3));
    hold(&path, &rows);
    // The key or the id of one that stays, in a shard that is written anew (rows 0, 1, 3 and so on of train) or kept.
    for (find, beside) in [
        (row_key(&id(1)).to_le_bytes().to_vec(), 3),
        (id(1).into_bytes(), 3),
        (id(1).into_bytes(), 17),
        (id(3).into_bytes(), 1),
    ] {
        let (_dir, path, _) = made();
        miswritten(&path, 2, 0, &find, 0);
        let error = out(&Store::open(&path), ids(&[beside])).unwrap_err();
        assert!(error.to_string().contains("nothing was committed"), "{error}");
        assert_eq!(Dataset::open(&path).unwrap().version(), Some(2));
    }
}

#[test]
fn new_files_are_looked_into_before_the_commit_and_old_ones_behind_it() {
    let (_dir, path, mut rows) = made();
    let store = Store::open(&path);
    let csv = format!("id,label\n{},cow\n{},cow\n", id(3), id(20));
    relabelled(&store, &csv, RelabelOptions::default()).0.unwrap();
    rows.get_mut(&id(3)).unwrap().label = Some("cow".into());
    rows.get_mut(&id(20)).unwrap().label = Some("cow".into());
    // A shard that stays, but cannot be read, or is another.
    let shards: Vec<PathBuf> = Dataset::open(&path).unwrap().shards().iter().map(|s| path.join(&s.path)).collect();
    let holds = |shard: &Path, n: u64| {
        let bytes = std::fs::read(shard).unwrap();
        bytes.windows(id(n).len()).any(|w| w == id(n).as_bytes())
    };
    let stays = shards.iter().find(|shard| !holds(shard, 3) && !holds(shard, 20)).unwrap();
    let another = shards.iter().find(|shard| *shard != stays && !holds(shard, 3) && !holds(shard, 20)).unwrap();
    let whole = std::fs::read(stays).unwrap();
    for bad in [b"no Parquet".to_vec(), std::fs::read(another).unwrap()] {
        replace(stays, &bad);
        out(&store, ids(&[3, 20])).unwrap_err();
        assert_eq!(Dataset::open(&path).unwrap().version(), Some(3), "it was committed");
    }
    replace(stays, &whole);
    // A segment that only older versions have.
    replace(&segment(&path, 1, 0), b"nothing");
    let done = out(&store, ids(&[3, 20])).unwrap();
    assert_eq!((done.committed, done.version, done.left), (true, 4, 28));
    assert_eq!(done.proof.unwrap().older, [2, 3], "version 2 has row 20 in another segment");
    let told = done.notes.iter().find(|note| note.contains("version 1")).unwrap();
    assert!(told.contains("not known") && told.contains("version 4 is committed"), "{told}");
    rows.retain(|row, _| *row != id(3) && *row != id(20));
    assert_eq!(contents(&Dataset::open(&path).unwrap()).0, rows);
}
