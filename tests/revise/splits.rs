//! What is promised of splits.

use std::collections::{BTreeMap, BTreeSet};

use feedstock::data::partition::Fractions;
use feedstock::dataset::Dataset;
use feedstock::ingest::IngestOptions;
use feedstock::revise::{SplitBy, SplitOptions, split};
use feedstock::store::Store;

use crate::common;
use crate::{append, contents, id, made};

fn options(by: SplitBy) -> SplitOptions {
    let fractions = Fractions::new(vec![("train".into(), 0.6), ("validation".into(), 0.2), ("test".into(), 0.2)]);
    SplitOptions { fractions: fractions.unwrap(), by, seed: 4, only: Vec::new(), dry_run: false }
}

fn splits(path: &std::path::Path) -> BTreeMap<String, String> {
    contents(&Dataset::open(path).unwrap()).0.into_iter().map(|(id, row)| (id, row.split)).collect()
}

#[test]
fn rows_that_are_added_move_no_other() {
    for by in [SplitBy::Row, SplitBy::Group("text".into()), SplitBy::GroupId(r"(\d\d)\.txt$".into())] {
        let (_dir, path, _) = made();
        let store = Store::open(&path);
        split(&store, &options(by.clone())).unwrap();
        let before = splits(&path);
        append(&path, 30..90).unwrap();
        let again = split(&store, &options(by.clone())).unwrap();
        assert!(again.committed && again.rows == 90);
        let after = splits(&path);
        assert!(before.iter().all(|(id, split)| after[id] == *split), "{by:?}");
        assert!(!split(&store, &options(by.clone())).unwrap().committed, "{by:?}: the same again is nothing to do");
        let other = SplitOptions { seed: 5, dry_run: true, ..options(by) };
        assert!(split(&store, &other).unwrap().moved > 0, "another seed is another assignment");
        assert_eq!(splits(&path), after, "a dry run moved rows");
    }
}

#[test]
fn groups_are_on_one_side() {
    // Speakers in the names of files; and texts that are the same.
    let digits = common::made("digits", &IngestOptions::default());
    let path = digits.dataset.root().to_owned();
    let store = Store::open(&path);
    let speaker = |id: &str| id.split('_').nth(1).unwrap().to_owned();
    let done = split(&store, &options(SplitBy::GroupId(r"_([a-z]+)_\d+\.".into()))).unwrap();
    let mut sides: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    let dataset = Dataset::open(&path).unwrap();
    for name in dataset.splits().keys() {
        for row in dataset.index().ranges(Some(name)).into_iter().flatten() {
            sides.entry(speaker(dataset.index().row(row).id())).or_default().insert(name.clone());
        }
    }
    assert!(sides.values().all(|splits| splits.len() == 1), "{sides:?}");
    assert_eq!((done.groups, done.groups_apart, done.alone), (Some(sides.len() as u64), Some(0), Some(0)));
    // Few groups cannot have the shares that were asked for, and that is said.
    assert!(done.notes.iter().any(|note| note.contains("groups fall as their hashes do")), "{done:?}");
    // Rows of other splits than those that are chosen stay, and it is told what that does to groups.
    let (_dir, path, _) = made();
    let only = SplitOptions { only: vec!["train".into()], ..options(SplitBy::Group("good".into())) };
    let done = split(&Store::open(&path), &only).unwrap();
    assert!(
        done.groups_apart.unwrap() > 0
            && done.notes.iter().any(|n| n.contains("rows of other splits than --only stay")),
        "{done:?}"
    );
    let after = splits(&path);
    assert!((0..30).filter(|n| n % 3 == 2).all(|n| after[&id(n)] == "test"), "rows that were not chosen moved");
    let alone = split(&Store::open(&path), &options(SplitBy::GroupId("(never)".into()))).unwrap();
    assert!(alone.notes[0].contains("does not match 30 ids"), "{alone:?}");
}

/// Whole groups, and each label in each split about as often as asked: to the rows of the two largest groups, as one is what a split may have too much and another what it lacks for it.
#[test]
fn groups_are_whole_and_strata_even() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("d");
    append(&path, 0..180).unwrap();
    let store = Store::open(&path);
    // Rows of a text are a group: 5 texts of each number are of one, so name groups by the tens of the id.
    let group = |id: &str| id.split('/').nth(1).unwrap()[..3].to_owned();
    let by =
        || SplitBy::Even { group: Box::new(SplitBy::GroupId(r"/(\d\d\d)\d\.txt$".into())), stratum: "label".into() };
    let done = split(&store, &options(by())).unwrap();
    assert_eq!((done.rows, done.groups, done.groups_apart, done.alone), (180, Some(18), Some(0), Some(0)), "{done:?}");
    let rows = contents(&Dataset::open(&path).unwrap()).0;
    let mut sides: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    let mut counts: BTreeMap<Option<String>, BTreeMap<String, f64>> = BTreeMap::new();
    for (id, row) in &rows {
        sides.entry(group(id)).or_default().insert(row.split.clone());
        for of in [row.label.clone(), Some("all".into())] {
            *counts.entry(of).or_default().entry(row.split.clone()).or_default() += 1.0;
        }
    }
    assert!(sides.len() == 18 && sides.values().all(|splits| splits.len() == 1), "{sides:?}");
    let fractions = options(SplitBy::Row).fractions;
    for (label, splits) in &counts {
        let all: f64 = splits.values().sum();
        for split in fractions.splits() {
            let apart = (splits.get(split).copied().unwrap_or(0.0) - fractions.share(split) * all).abs();
            // Groups have 10 rows.
            assert!(apart <= 20.0, "{label:?} in {split}: {apart} rows from its share of {all}");
        }
    }
    assert!(!split(&store, &options(by())).unwrap().committed, "the same again is nothing to do");
    crate::hold(&path, &rows);
    let wrong = SplitBy::Even { group: Box::new(SplitBy::Row), stratum: "nothing".into() };
    assert_eq!(split(&store, &options(wrong)).unwrap_err().exit_code(), 2);
}

#[test]
fn strata_have_the_same_shares_exactly() {
    let (_dir, path, _) = made();
    append(&path, 30..130).unwrap();
    let store = Store::open(&path);
    split(&store, &options(SplitBy::Stratum("label".into()))).unwrap();
    let mut counts: BTreeMap<Option<String>, BTreeMap<String, u64>> = BTreeMap::new();
    for row in contents(&Dataset::open(&path).unwrap()).0.into_values() {
        *counts.entry(row.label).or_default().entry(row.split).or_default() += 1;
    }
    // Also of those without a label.
    assert_eq!(counts.len(), 4);
    let fractions = options(SplitBy::Row).fractions;
    for (label, splits) in counts {
        let want = fractions.counts(splits.values().sum());
        let got: Vec<u64> = fractions.splits().map(|split| splits.get(split).copied().unwrap_or(0)).collect();
        assert_eq!(got, want, "{label:?}");
    }
    assert!(!split(&store, &options(SplitBy::Stratum("label".into()))).unwrap().committed);
}

#[test]
fn what_cannot_be_split_by_is_refused() {
    let (_dir, path, rows) = made();
    let store = Store::open(&path);
    for by in [SplitBy::Group("speaker".into()), SplitBy::GroupId("(".into()), SplitBy::GroupId("a".into())] {
        assert_eq!(split(&store, &options(by.clone())).unwrap_err().exit_code(), 2, "{by:?}");
    }
    let only = SplitOptions { only: vec!["nowhere".into()], ..options(SplitBy::Row) };
    assert_eq!(split(&store, &only).unwrap_err().exit_code(), 2);
    let nowhere = split(&Store::open(path.join("no")), &options(SplitBy::Row)).unwrap_err();
    assert_eq!(nowhere.exit_code(), 1, "{nowhere}");
    crate::hold(&path, &rows);
}
