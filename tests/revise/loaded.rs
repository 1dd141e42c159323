//! Training does not see whether a split and a label stand over the files or in them.

use std::collections::BTreeMap;
use std::sync::Arc;

use feedstock::data::partition::Fractions;
use feedstock::dataset::Dataset;
use feedstock::ingest::{Control, IngestOptions, ingest};
use feedstock::plan::World;
use feedstock::recipe::Recipe;
use feedstock::revise::{CompactOptions, RelabelOptions, SplitBy, SplitOptions, compact, split};
use feedstock::store::Store;

use crate::common::{digests, fixture, modalities};
use crate::relabelled;

/// The batches of all splits of a dataset, by split and epoch.
fn all(path: &std::path::Path, recipe: &Recipe) -> BTreeMap<(String, u64), Vec<u128>> {
    let dataset = Arc::new(Dataset::open(path).unwrap());
    let mut found = BTreeMap::new();
    for name in dataset.splits().keys() {
        for epoch in [0, 3] {
            let recipe = Recipe { split: Some(name.clone()), batch: 2, ..recipe.clone() };
            let batches = digests(&dataset, &recipe, epoch, World::default());
            assert!(!batches.is_empty(), "{name}");
            found.insert((name.clone(), epoch), batches);
        }
    }
    found
}

#[test]
fn batches_are_byte_equal_over_overlays_and_over_files() {
    for (seed, (name, made, recipe)) in (0..).zip(modalities()) {
        // Sources name splits of their own.
        if !recipe.sources.is_empty() || recipe.bucket.is_some() || recipe.pack.is_some() || name.contains("huge") {
            continue;
        }
        let path = made.dataset.root().to_owned();
        let store = Store::open(&path);
        let class = made.dataset.schema().get("label").is_some();
        let fractions = Fractions::new(vec![("train".into(), 0.6), ("odd.one".into(), 0.4)]).unwrap();
        let options = SplitOptions { fractions, by: SplitBy::Row, seed, only: Vec::new(), dry_run: false };
        assert!(split(&store, &options).unwrap().committed, "{name}: nothing moved");
        if class {
            let ids: Vec<String> =
                (0..made.dataset.rows()).step_by(3).map(|r| made.dataset.index().row(r).id().to_owned()).collect();
            let csv: String = ids.iter().map(|id| format!("\"{id}\",none of {seed}\n")).collect();
            assert!(relabelled(&store, &format!("id,label\n{csv}"), RelabelOptions::default()).0.unwrap().committed);
        }
        let over = all(&path, &recipe);
        let small = CompactOptions { materialise: true, shard_bytes: 20_000, dry_run: false };
        assert!(compact(&store, &small).unwrap().committed, "{name}");
        assert_eq!(all(&path, &recipe), over, "{name}: materialised");
        // And compacted, from many files to few.
        compact(&store, &CompactOptions::default()).unwrap();
        assert_eq!(all(&path, &recipe), over, "{name}: compacted");
        let report = feedstock::verify::verify(&path, true).unwrap();
        assert!(report.findings.is_empty(), "{name}: {report:?}");
    }
}

#[test]
fn a_source_that_grew_is_ingested_over_other_splits_and_labels() {
    let dir = tempfile::tempdir().unwrap();
    let (source, path) = (dir.path().join("s"), dir.path().join("d"));
    let photo = fixture("images/train/pants/000_444.jpg");
    let add = |name: &str| {
        let to = source.join(name);
        std::fs::create_dir_all(to.parent().unwrap()).unwrap();
        std::fs::copy(&photo, to).unwrap();
    };
    ["train/cat/a.jpg", "train/cat/b.jpg", "train/dog/c.jpg"].iter().for_each(|name| add(name));
    let run = || ingest(&source, &path, &IngestOptions::default(), &Control::default()).unwrap();
    run();
    let store = Store::open(&path);
    relabelled(&store, "id,label\ntrain/cat/a.jpg,dog\n", RelabelOptions::default()).0.unwrap();
    let fractions = Fractions::new(vec![("test".into(), 1.0)]).unwrap();
    let options = SplitOptions { fractions, by: SplitBy::Row, seed: 2, only: Vec::new(), dry_run: false };
    split(&store, &options).unwrap();
    let same = run();
    assert_eq!((same.rows, same.skipped, same.quarantined, same.version), (0, 3, 0, 3), "{same:?}");
    add("train/dog/d.jpg");
    let more = run();
    assert_eq!((more.rows, more.skipped, more.quarantined, more.version), (1, 3, 0, 4), "{more:?}");
    // The same command again puts the new row where it belongs, and moves no other.
    let done = split(&store, &options).unwrap();
    assert_eq!((done.moved, done.after["test"]), (1, 4));
    // Another payload under an id is refused as before, whatever stands over the row.
    std::fs::copy(fixture("images/train/pants/001_422.jpg"), source.join("train/cat/a.jpg")).unwrap();
    let max_errors = feedstock::ingest::MaxErrors::ALL;
    let refused =
        ingest(&source, &path, &IngestOptions { max_errors, ..IngestOptions::default() }, &Control::default());
    assert_eq!(refused.unwrap().quarantined, 1);
}
