//! What is there twice: out but for one, or in one split.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use feedstock::codec::Decoded;
use feedstock::data::info::Kind;
use feedstock::data::partition::Fractions;
use feedstock::data::record::{Cell, Record};
use feedstock::dataset::Dataset;
use feedstock::duplicates::{DuplicateOptions, Level, ReportOptions};
use feedstock::fingerprint::Method;
use feedstock::ingest::{DatasetWriter, IngestOptions};
use feedstock::revise::{
    Deduplicated, RemoveOptions, SplitBy, SplitOptions, SplitSummary, drop_duplicates, remove, split, split_together,
};
use feedstock::store::Store;
use feedstock::{Error, Result};

use crate::writers::meanwhile;
use crate::{Rows, append, contents, hold, id, made, plain, schema};

/// Row n: of its own split, with text and label of row n % kinds.
fn copy(n: u64, kinds: u64) -> crate::Plain {
    crate::Plain { split: plain(n).split, ..plain(n % kinds) }
}

fn append_copies(dataset: &Path, numbers: std::ops::Range<u64>, kinds: u64) {
    let options = IngestOptions { shard_bytes: 400, row_group_rows: 3, ..IngestOptions::default() };
    let mut writer = DatasetWriter::create(dataset, schema(), &options).unwrap();
    for n in numbers {
        let row = copy(n, kinds);
        let label = row.label.map_or(Cell::NULL, Cell::Class);
        let cells = vec![Cell::Media(row.text.into_bytes()), label, Cell::NULL, Cell::NULL];
        writer.append(Record { id: id(n), split: row.split, cells }).unwrap();
    }
    writer.commit().unwrap();
}

/// Rows 0 to `rows` of `kinds` texts, in two commits.
fn copied(rows: u64, kinds: u64) -> (tempfile::TempDir, std::path::PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("d");
    append_copies(&path, 0..rows / 2, kinds);
    append_copies(&path, rows / 2..rows, kinds);
    (dir, path)
}

fn rows_of(path: &Path) -> Rows {
    contents(&Dataset::open(path).unwrap()).0
}

fn dropped(store: &Store, told: &ReportOptions) -> Result<Deduplicated, Error> {
    drop_duplicates(store, &DuplicateOptions::default(), told, false, &|_, _, _| Ok(()))
}

fn texts(rows: &Rows) -> BTreeMap<String, BTreeSet<String>> {
    let mut of = BTreeMap::<String, BTreeSet<String>>::new();
    for (id, row) in rows {
        of.entry(row.text.clone()).or_default().insert(id.clone());
    }
    of
}

#[test]
fn one_row_of_each_group_stays_and_nothing_else_changes() {
    let (_dir, path) = copied(30, 10);
    append_copies(&path, 30..35, 1_000);
    let before = rows_of(&path);
    let store = Store::open(&path);
    let dry = drop_duplicates(&store, &DuplicateOptions::default(), &ReportOptions::default(), true, &|_, _, _| Ok(()));
    let dry = dry.unwrap();
    assert_eq!(
        (dry.removed.rows, dry.removed.committed, Dataset::open(&path).unwrap().version()),
        (20, false, Some(3))
    );
    let done = dropped(&store, &ReportOptions::default()).unwrap();
    assert_eq!((done.found.groups, done.found.surplus, done.removed.rows, done.removed.left), (10, 20, 20, 15));
    assert_eq!(done.removed.proof.as_ref().unwrap().older, [1, 2, 3]);
    let after = rows_of(&path);
    hold(&path, &after);
    assert!(after.iter().all(|(id, row)| before[id] == *row), "a row that stays was changed");
    for (text, ids) in texts(&before) {
        let left = &texts(&after)[&text];
        assert_eq!(left.len(), 1, "{text}");
        let of_test = ids.iter().any(|id| before[id].split == "test");
        assert_eq!(before[left.first().unwrap()].split == "test", of_test, "{text}: the test split has it still");
    }
    let again = dropped(&store, &ReportOptions::default()).unwrap();
    assert_eq!((again.found.groups, again.removed.committed, again.removed.version), (0, false, 4));
}

#[test]
fn only_copies_in_other_splits_go_if_so_told() {
    let (_dir, path) = copied(60, 10);
    let across = ReportOptions { across_splits_only: true, ..ReportOptions::default() };
    let before = rows_of(&path);
    let done = dropped(&Store::open(&path), &across).unwrap();
    let want: Rows = before.into_iter().filter(|(_, row)| row.split == "test").collect();
    assert_eq!((done.removed.rows, want.len()), (40, 20), "of each text there were four in train, two in test");
    hold(&path, &want);
}

#[test]
fn another_writer_between_is_looked_at_and_the_last_of_a_group_never_goes() {
    let (_dir, path) = copied(30, 10);
    let own = path.clone();
    // The row that would have stayed of the first group goes, and copies of others come.
    let store = meanwhile(&path, 1, move |_| {
        let options = RemoveOptions { ids: vec![id(20)], ..RemoveOptions::default() };
        assert!(remove(&Store::open(&own), &options, &mut |_| Ok(())).unwrap().committed);
        append_copies(&own, 30..35, 10);
    });
    let done = dropped(&store, &ReportOptions::default()).unwrap();
    assert_eq!(done.removed.version, 5);
    let after = rows_of(&path);
    hold(&path, &after);
    assert_eq!((after.len(), texts(&after).len()), (10, 10));
    // One who is always faster: it ends, with the exit code for it, and everything is there.
    append_copies(&path, 40..50, 10);
    let own = path.clone();
    let store =
        meanwhile(&path, 100, move |left| append(&own, left as u64 * 10 + 1000..left as u64 * 10 + 1001).unwrap());
    assert_eq!(dropped(&store, &ReportOptions::default()).unwrap_err().exit_code(), 4);
    assert!((40..50).all(|n| rows_of(&path).contains_key(&id(n))));
}

#[test]
fn what_is_wrong_is_told_before_anything_is_made() {
    let (_dir, path, rows) = made();
    let store = Store::open(&path);
    let wrong = DuplicateOptions { similarity: Some(2.0), ..DuplicateOptions::default() };
    let refused = |options: &DuplicateOptions| {
        drop_duplicates(&store, options, &ReportOptions::default(), false, &|_, _, _| Ok(())).unwrap_err().exit_code()
    };
    assert_eq!(refused(&wrong), 2);
    assert_eq!(refused(&DuplicateOptions { column: Some("score".into()), ..DuplicateOptions::default() }), 2);
    let stopped =
        drop_duplicates(&store, &DuplicateOptions::default(), &ReportOptions::default(), false, &|_, _, _| {
            Err(Error::Interrupted)
        });
    assert_eq!(stopped.unwrap_err().exit_code(), 130);
    hold(&path, &rows);
}

/// Texts of rows 0 and 1, 6 and 7 and so on are alike.
static NUMBERS: Method = Method {
    name: "numbers",
    kind: Kind::Text,
    version: 1,
    summary: "the number in the text",
    threshold: 1.0,
    sketch: |decoded| match decoded {
        Decoded::Text(text) => {
            let digits: String = text.chars().filter(char::is_ascii_digit).collect();
            let number = digits.parse::<u32>().unwrap();
            Ok((number % 6 < 2).then(|| (number / 6).to_be_bytes().to_vec()))
        }
        other => panic!("{other:?}"),
    },
    keys: |sketch| vec![u64::from(sketch[3])],
    similarity: |a, b| f64::from(u8::from(a == b)),
};

/// For the test that kills verbs anywhere: pairs of rows go, as their labels differ.
pub(crate) fn near_ones_dropped(store: &Store) -> Result<bool, Error> {
    let options = DuplicateOptions { level: Level::Near, method: Some(&NUMBERS), ..DuplicateOptions::default() };
    let told = ReportOptions { drop_conflicting: true, ..ReportOptions::default() };
    drop_duplicates(store, &options, &told, false, &|_, _, _| Ok(())).map(|done| done.removed.committed)
}

fn options(by: SplitBy) -> SplitOptions {
    let fractions = Fractions::new(vec![("train".into(), 0.6), ("test".into(), 0.4)]).unwrap();
    SplitOptions { fractions, by, seed: 4, only: Vec::new(), dry_run: false }
}

fn together(path: &Path, options: &SplitOptions) -> SplitSummary {
    split_together(&Store::open(path), options, &DuplicateOptions::default(), &|_, _, _| Ok(())).unwrap()
}

/// Sets of ids that share a text or a group, by comparing all.
fn sets(rows: &Rows, group: &dyn Fn(&str) -> Option<String>) -> Vec<BTreeSet<String>> {
    let ids: Vec<&String> = rows.keys().collect();
    let mut of: Vec<usize> = (0..ids.len()).collect();
    for _ in 0..ids.len() {
        for a in 0..ids.len() {
            for b in 0..a {
                let same_group = group(ids[a]).is_some() && group(ids[a]) == group(ids[b]);
                if same_group || rows[ids[a]].text == rows[ids[b]].text {
                    let least = of[a].min(of[b]);
                    (of[a], of[b]) = (least, least);
                }
            }
        }
    }
    let set = |root: usize| (0..ids.len()).filter(|at| of[*at] == root).map(|at| ids[at].clone()).collect();
    (0..ids.len()).map(set).filter(|set: &BTreeSet<String>| !set.is_empty()).collect()
}

#[test]
fn duplicates_go_into_one_split_with_their_groups_and_others_go_where_they_went() {
    // Texts n and n + 20 are one; so are groups of ids: n and n + 27.
    let group = |id: &str| {
        let n: u64 = id.rsplit(['/', '.']).nth(1).unwrap().parse().unwrap();
        (n % 27 < 3).then(|| (n % 27).to_string())
    };
    let by_id = r"(0000|0027|0001|0028|0002|0029)\.txt$";
    for (by, group) in [
        (SplitBy::Row, (&|_: &str| None) as &dyn Fn(&str) -> Option<String>),
        (SplitBy::GroupId(by_id.into()), &|_: &str| None),
        (SplitBy::Group("label".into()), &|_: &str| None),
    ] {
        let (_dir, path) = copied(30, 20);
        let rows = rows_of(&path);
        let of_label = |id: &str| rows[id].label.clone();
        let groups: &dyn Fn(&str) -> Option<String> = if matches!(by, SplitBy::Group(_)) { &of_label } else { group };
        let alone = copied(30, 20);
        split(&Store::open(&alone.1), &options(by.clone())).unwrap();
        let alone = rows_of(&alone.1);
        let done = together(&path, &options(by.clone()));
        let after = rows_of(&path);
        hold(&path, &after);
        let mut met = BTreeSet::new();
        for set in sets(&rows, groups) {
            let splits: BTreeSet<&String> = set.iter().map(|id| &after[id].split).collect();
            assert_eq!(splits.len(), 1, "{by:?}: {set:?}");
            met.extend(splits.into_iter().cloned());
            if set.len() == 1 {
                let id = set.first().unwrap();
                assert_eq!(after[id].split, alone[id].split, "{by:?}: a row without a copy went elsewhere");
            }
        }
        assert!(met.len() == 2 || matches!(by, SplitBy::Group(_)), "{by:?}: {met:?}");
        assert!(done.groups_apart == Some(0) && done.groups.is_some());
        let again = together(&path, &options(by.clone()));
        assert!(!again.committed, "{by:?}: the same again is nothing to do");
        // Rows that are added, copies of old ones among them, move none.
        append_copies(&path, 30..36, 20);
        together(&path, &options(by.clone()));
        let more = rows_of(&path);
        assert!(after.iter().all(|(id, row)| more[id] == *row), "{by:?}");
    }
    assert_eq!(group("source0/0027.txt"), Some("0".into()));
}

#[test]
fn shares_of_each_value_are_exact_to_the_largest_set() {
    let (_dir, path) = copied(120, 50);
    let by = SplitBy::Stratum("label".into());
    let done = together(&path, &options(by));
    let rows = rows_of(&path);
    hold(&path, &rows);
    for ids in texts(&rows).into_values() {
        assert_eq!(ids.iter().map(|id| &rows[id].split).collect::<BTreeSet<_>>().len(), 1, "{ids:?}");
    }
    let mut counts = BTreeMap::<Option<String>, [f64; 2]>::new();
    for row in rows.values() {
        counts.entry(row.label.clone()).or_default()[usize::from(row.split == "test")] += 1.0;
    }
    // Sets have three rows at the most.
    for (label, [train, test]) in counts {
        assert!((test - 0.4 * (train + test)).abs() <= 3.0, "{label:?}: {train} {test}");
    }
    assert_eq!((done.groups, done.groups_apart, done.alone), (Some(50), Some(0), Some(0)));
}
