use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use super::diff::Side;
use super::*;
use crate::data::feature::Feature;
use crate::data::index::{Index, IndexCell, Segment, SegmentBuilder};
use crate::dataset::{Backing, Dataset};
use crate::rng::{Key, Stream};
use crate::store::tests::append_rows;
use crate::verify::verify;

const HOUR: Duration = Duration::from_secs(3600);

/// What a row is, as the naive comparison sees it: split, class, count.
type Plain = (String, Option<String>, Option<i64>);

/// Classes, and a class number, a null class or one without a name.
fn segment(names: &[String], rows: &[(String, Plain)]) -> Arc<Segment> {
    let mut builder = SegmentBuilder::new(&schema(names));
    for split in ["train", "test"] {
        let mut any = false;
        for (id, (_, class, count)) in rows.iter().filter(|(_, (own, ..))| own == split) {
            let class = class.as_ref().map_or(IndexCell::Null, |class| {
                IndexCell::Int(names.iter().position(|name| name == class).unwrap() as i64)
            });
            builder.push(id, &[class, count.map_or(IndexCell::Null, IndexCell::Int)]).unwrap();
            any = true;
        }
        if any {
            builder.end_shard(split, 100, [7; 32]);
        }
    }
    Arc::new(Segment::from_bytes(builder.finish().unwrap().to_vec()).unwrap())
}

fn schema(names: &[String]) -> Schema {
    Schema::new([("label", Feature::ClassLabel { names: names.to_vec() }), ("count", Feature::Int)])
}

fn side(names: &[String], segments: Vec<(String, Arc<Segment>)>) -> Side {
    let (digests, segments): (Vec<_>, Vec<_>) = segments.into_iter().unzip();
    let index = Index::new(segments).unwrap();
    let paths = (0..index.rows()).map(|_| PathBuf::from("none").into()).collect();
    let dataset = Dataset::from_parts("none", schema(names), index, Backing::Files { paths }).unwrap();
    Side::made(dataset, digests)
}

fn rows(stream: &mut Stream, ids: std::ops::Range<u64>, names: &[String]) -> Vec<(String, Plain)> {
    let any = |stream: &mut Stream, id| {
        let split = ["train", "train", "test"][stream.below(3) as usize].to_owned();
        let class = (stream.below(4) > 0).then(|| names[stream.below(names.len() as u64) as usize].clone());
        let count = (stream.below(3) > 0).then(|| stream.below(2) as i64);
        (format!("row {id}"), (split, class, count))
    };
    let mut rows = Vec::new();
    for id in ids {
        if stream.below(5) > 0 {
            rows.push(any(stream, id));
        }
    }
    rows
}

#[test]
fn differences_are_those_of_a_naive_comparison() {
    let mut kinds = BTreeMap::<&str, u64>::new();
    for case in 0..300 {
        let mut stream = Key::new(5).with(case).stream();
        let old: Vec<String> = ["a", "b", "c"].map(str::to_owned).to_vec();
        // Appended, as within a dataset; or in another order, as between datasets.
        let new: Vec<String> = match case % 3 {
            0 => old.clone(),
            1 => ["a", "b", "c", "d"].map(str::to_owned).to_vec(),
            _ => ["c", "a", "b"].map(str::to_owned).to_vec(),
        };
        // Rows of both, whose classes have the same numbers in both unless the names are in another order.
        let common = rows(&mut stream, 0..20, &old);
        let (own, other) = (rows(&mut stream, 20..40, &old), rows(&mut stream, 20..40, &new));
        let shared = segment(&old, &common);
        let again = if case % 3 == 2 { segment(&new, &common) } else { shared.clone() };
        let from = side(&old, vec![("shared".into(), shared), ("old".into(), segment(&old, &own))]);
        // Of which the name is the same though the classes have other numbers: it must be looked at.
        let to = side(&new, vec![("new".into(), segment(&new, &other)), ("shared".into(), again)]);

        let before: BTreeMap<_, _> = common.iter().chain(&own).cloned().collect();
        let after: BTreeMap<_, _> = common.iter().chain(&other).cloned().collect();
        let mut want = BTreeMap::new();
        for id in before.keys().chain(after.keys()) {
            let what = match (before.get(id), after.get(id)) {
                (Some(was), Some(is)) if was == is => continue,
                (Some(was), Some(is)) => format!("{:?} {:?} {:?}", was.0 != is.0, was.1 != is.1, was.2 != is.2),
                (None, _) => "added".to_owned(),
                (_, None) => "removed".to_owned(),
            };
            want.insert(id.clone(), what);
        }
        let mut got = BTreeMap::new();
        let found = diff(&from, &to, &mut |change| {
            let (id, what) = match &change {
                RowChange::Added { id, .. } => (id, "added".to_owned()),
                RowChange::Removed { id, .. } => (id, "removed".to_owned()),
                RowChange::Changed { id, moved, relabelled, replaced } => {
                    assert!(replaced.is_empty());
                    let of = |name: &str| relabelled.iter().any(|r| r.column == name);
                    (id, format!("{:?} {:?} {:?}", moved.is_some(), of("label"), of("count")))
                }
            };
            assert!(got.insert(id.clone(), what).is_none(), "{id} twice");
            Ok(())
        })
        .unwrap();
        assert_eq!(got, want, "case {case}");
        let count = |what: &str| want.values().filter(|w| *w == what).count() as u64;
        assert_eq!([found.added, found.removed], [count("added"), count("removed")]);
        assert_eq!(found.changed, want.len() as u64 - found.added - found.removed);
        assert_eq!(found.same + found.changed + found.added, after.len() as u64);
        let told: Vec<String> = found.schema.iter().map(ToString::to_string).collect();
        let expected: &[&str] =
            [&[][..], &["classes of label added: d"], &["classes of label have other numbers"]][case as usize % 3];
        assert_eq!(told, expected);
        for (kind, n) in [("added", found.added), ("moved", found.moved), ("relabelled", found.relabelled)] {
            *kinds.entry(kind).or_default() += n;
        }
    }
    assert!(kinds.values().all(|n| *n > 300), "{kinds:?}");
}

/// A dataset of three versions, with things that no version names, all written two hours ago.
fn littered() -> (tempfile::TempDir, Store) {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path());
    (0..3).for_each(|n| drop(append_rows(&store, n).unwrap()));
    store.put("data/train/0123456789abcdef.parquet", b"of an ingest that died").unwrap();
    store.put("data/gone/fedcba9876543210.parquet", b"of another").unwrap();
    store.put(".dsctl/segments/0123456789abcdef.idx", b"a segment").unwrap();
    store.put("data/notes.txt", b"somebody else's").unwrap();
    store.put("data/train/1111111111111111.parquet", b"of an ingest that goes on").unwrap();
    let shard = "{\"path\":\"data/train/1111111111111111.parquet\",\"split\":\"train\",\"rows\":1,\"bytes\":1,\"sha256\":\"11\"}";
    let stretch =
        format!("{{\"from\":0,\"to\":1,\"files\":\"\",\"shard\":{shard},\"skipped\":0,\"refused\":0}}\n{{\"from\":1");
    store.put(".dsctl/journal/unfinished.jsonl", stretch.as_bytes()).unwrap();
    store.remove(".dsctl/journal/test.jsonl").unwrap();
    for entry in walkdir::WalkDir::new(dir.path()).into_iter().map(Result::unwrap) {
        if entry.file_type().is_file() {
            age(entry.path(), 2 * HOUR);
        }
    }
    (dir, store)
}

fn age(path: &Path, by: Duration) {
    let file = std::fs::File::options().append(true).open(path).unwrap();
    // Of the test's own files, against the same clock.
    let now = std::fs::metadata(path).unwrap().modified().unwrap();
    let then = now.checked_sub(by).unwrap_or(SystemTime::UNIX_EPOCH);
    file.set_modified(then).unwrap();
}

fn paths(garbage: &Garbage) -> Vec<(&str, &str)> {
    garbage.files.iter().map(|waste| (waste.kind, waste.path.as_str())).collect()
}

#[test]
fn what_no_version_names_goes_and_all_versions_stay_whole() {
    let (dir, _) = littered();
    let keep = Keep { younger: HOUR, ..Keep::default() };
    let young = garbage(dir.path(), Keep::default()).unwrap();
    assert_eq!((young.files.len(), young.young, young.unfinished), (0, 3, 1), "a day is not over");
    assert_eq!(collect(dir.path(), &young).unwrap().files, 0);
    let found = garbage(dir.path(), keep).unwrap();
    let want = [
        ("segment", ".dsctl/segments/0123456789abcdef.idx"),
        ("shard", "data/gone/fedcba9876543210.parquet"),
        ("shard", "data/train/0123456789abcdef.parquet"),
    ];
    assert_eq!(paths(&found), want);
    assert_eq!((found.young, found.unfinished, found.bytes), (0, 1, 9 + 10 + 22));
    assert_eq!(collect(dir.path(), &found).unwrap().files, 3);
    let left = garbage(dir.path(), Keep { unfinished: false, ..keep }).unwrap();
    let want = [("journal", ".dsctl/journal/unfinished.jsonl"), ("shard", "data/train/1111111111111111.parquet")];
    assert_eq!(paths(&left), want);
    assert_eq!(collect(dir.path(), &left).unwrap().files, 2);
    // Once more is nothing more.
    assert_eq!(collect(dir.path(), &left).unwrap().files, 0);
    assert!(dir.path().join("data/notes.txt").exists());
    for version in 1..=3 {
        assert_eq!(Dataset::open_version(dir.path(), version).unwrap().rows(), 4 * version);
    }
    let report = verify(dir.path(), true).unwrap();
    assert!(report.findings.is_empty(), "{report:?}");
    assert_eq!(report.notes.iter().map(|n| n.path.as_str()).collect::<Vec<_>>(), ["data/notes.txt"]);
}

#[test]
fn versions_expire_and_those_that_stay_are_whole_whenever_it_ends() {
    let (dir, _) = littered();
    let keep = Keep { versions: Some(1), younger: HOUR, unfinished: false };
    // All three have what the first has: nothing but roots is free.
    let all = garbage(dir.path(), keep).unwrap();
    assert_eq!(all.versions, [1, 2]);
    let kinds = |g: &Garbage, kind| g.files.iter().filter(|w| w.kind == kind).count();
    assert_eq!(["version", "journal", "segment", "shard"].map(|kind| kinds(&all, kind)), [2, 1, 1, 3]);
    // A version that has none of the others' segments.
    let store = Store::open(dir.path());
    let newest = commit::latest(&store).unwrap().unwrap().manifest;
    commit::commit(&store, 1, |_| {
        let last = newest.segments.last().cloned().unwrap();
        Ok(crate::data::manifest::Manifest {
            segments: vec![last],
            splits: [("train".to_owned(), 3), ("test".to_owned(), 1)].into(),
            ..newest.clone()
        })
    })
    .unwrap();
    crate::store::card::write(&store).unwrap();
    let found = garbage(dir.path(), keep).unwrap();
    assert_eq!(found.versions, [1, 2, 3]);
    assert_eq!(["version", "journal", "segment", "shard"].map(|kind| kinds(&found, kind)), [3, 1, 3, 7]);
    let order: Vec<&str> = found.files.iter().map(|w| w.kind).collect();
    assert!(order.is_sorted_by_key(|kind| ["version", "journal", "segment", "shard"].iter().position(|k| k == kind)));
    // Killed behind any file: what is there is whole, and the next time takes the rest.
    for taken in 0..found.files.len() {
        let mut part = found.clone();
        part.files = found.files[taken..=taken].to_vec();
        assert_eq!(collect(dir.path(), &part).unwrap().files, 1, "{taken}");
        let report = verify(dir.path(), true).unwrap();
        assert!(report.findings.is_empty(), "{taken}: {report:?}");
        let versions = commit::versions(&store).unwrap();
        versions.iter().for_each(|version| drop(Dataset::open_version(dir.path(), *version).unwrap()));
        let rest = garbage(dir.path(), keep).unwrap();
        assert_eq!(rest.files, found.files[taken + 1..], "{taken}");
    }
    assert_eq!(commit::versions(&store).unwrap(), [4]);
    assert_eq!(log(dir.path(), usize::MAX).unwrap()[0].rows, 4);
    // A dataset goes on behind versions that are gone.
    assert_eq!(append_rows(&store, 9).unwrap().manifest.version, 5);
    let report = verify(dir.path(), true).unwrap();
    assert!(report.findings.is_empty(), "{report:?}");
}

#[test]
fn what_is_written_anew_meanwhile_stays() {
    let (dir, store) = littered();
    let found = garbage(dir.path(), Keep { younger: HOUR, ..Keep::default() }).unwrap();
    store.put("data/train/0123456789abcdef.parquet", b"the same ingest, begun anew").unwrap();
    assert_eq!(collect(dir.path(), &found).unwrap().files, 2);
    assert_eq!(store.read("data/train/0123456789abcdef.parquet").unwrap(), b"the same ingest, begun anew");
    assert_eq!(store.list("data/train").unwrap().len(), 3 + 2);
}

#[test]
fn what_is_committed_meanwhile_stays() {
    let (dir, store) = littered();
    // The shards of an ingest that is about to commit, and has taken its time.
    append_rows(&store, 9).unwrap();
    let (root, aside) = (store.path(&commit::version_path(4)).unwrap(), dir.path().join("root"));
    for entry in walkdir::WalkDir::new(dir.path()).into_iter().map(Result::unwrap).filter(|e| e.file_type().is_file()) {
        age(entry.path(), 2 * HOUR);
    }
    std::fs::rename(&root, &aside).unwrap();
    let keep = Keep { younger: HOUR, ..Keep::default() };
    let found = garbage(dir.path(), keep).unwrap();
    assert_eq!(found.files.len(), 3 + 3);
    std::fs::rename(&aside, &root).unwrap();
    assert_eq!(collect(dir.path(), &found).unwrap().files, 3);
    assert_eq!(Dataset::open_version(dir.path(), 4).unwrap().rows(), 16);
    assert!(verify(dir.path(), true).unwrap().findings.is_empty());
}

#[test]
fn what_is_not_known_is_not_taken() {
    let (dir, store) = littered();
    let keep = Keep { versions: Some(2), younger: HOUR, unfinished: false };
    let error = garbage(dir.path(), Keep { versions: Some(0), ..keep }).unwrap_err();
    assert!(matches!(error, Error::Config { .. }));
    let segment = commit::load(&store, 3).unwrap().manifest.segments[2].path.clone();
    let whole = store.read(&segment).unwrap();
    store.put(&segment, &whole[..40]).unwrap();
    assert!(garbage(dir.path(), keep).is_err(), "its shards are not known");
    // One bit of a shard's digest: the shard that is there would be one that nobody names.
    let segment_now = Segment::from_bytes(whole.clone()).unwrap();
    let digest = segment_now.shard(0).unwrap().1.sha256;
    let digest: Vec<u8> = (0..32).map(|n| u8::from_str_radix(&digest[2 * n..2 * n + 2], 16).unwrap()).collect();
    let mut bent = whole.clone();
    let at = bent.windows(32).position(|bytes| bytes == digest).unwrap();
    bent[at] ^= 1;
    store.put(&segment, &bent).unwrap();
    let error = garbage(dir.path(), keep).unwrap_err();
    assert!(error.to_string().contains("--rebuild-index"), "{error}");
    store.put(&segment, &whole).unwrap();
    // A version that expires may be damaged.
    store.put(&commit::version_path(1), b"{").unwrap();
    age(&store.path(&commit::version_path(1)).unwrap(), 2 * HOUR);
    assert_eq!(garbage(dir.path(), keep).unwrap().versions, [1]);
    assert!(garbage(dir.path(), Keep { versions: None, ..keep }).is_err());
    assert!(matches!(garbage(tempfile::tempdir().unwrap().path(), keep), Err(Error::Config { .. })));
}

#[test]
fn a_log_says_what_each_version_brought() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path());
    let roots: Vec<_> = (0..3).map(|n| append_rows(&store, n).unwrap()).collect();
    let log = log(dir.path(), usize::MAX).unwrap();
    assert_eq!(log.iter().map(|v| v.version).collect::<Vec<_>>(), [3, 2, 1]);
    for (version, root) in log.iter().rev().zip(&roots) {
        let n = version.version;
        assert_eq!((&version.digest, &version.parent), (&root.sha256, &root.manifest.parent));
        assert_eq!((version.rows, version.added, version.removed, version.shards), (4 * n, 4, 0, 2));
        assert_eq!(version.schema.is_empty(), n > 1, "{:?}", version.schema);
        assert!(version.bytes > 500 && version.written.is_some());
    }
    assert_eq!(super::log(dir.path(), 2).unwrap(), log[..2]);
    let own = diff(&Side::version(dir.path(), 1).unwrap(), &Side::version(dir.path(), 3).unwrap(), &mut |change| {
        assert!(matches!(change, RowChange::Added { .. }));
        Ok(())
    });
    let own = own.unwrap();
    assert_eq!((own.added, own.removed, own.changed, own.same), (8, 0, 0, 4));
}
