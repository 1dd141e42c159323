//! Any sequence of verbs leaves what a map says.

use std::collections::BTreeMap;

use feedstock::data::partition::{Fractions, Member, place};
use feedstock::data::record::row_key;
use feedstock::dataset::Dataset;
use feedstock::revise::{
    CompactOptions, RelabelOptions, RemoveOptions, SplitBy, SplitOptions, compact, remove, split, split_as_told,
};
use feedstock::rng::{Key, Stream};
use feedstock::store::Store;
use feedstock::verify::verify;
use feedstock::versions::log;

use crate::{Rows, append, contents, hold, id, made, plain, relabelled, relabelled_by};

fn fractions() -> Fractions {
    Fractions::new(vec![("train".into(), 0.5), ("validation".into(), 0.3), ("test".into(), 0.2)]).unwrap()
}

/// One verb, on the dataset and on the map. Returns what it was.
fn step(stream: &mut Stream, store: &Store, rows: &mut Rows, next: &mut u64) -> &'static str {
    let ids: Vec<String> = rows.keys().cloned().collect();
    let some = |stream: &mut Stream, share: u64| -> Vec<String> {
        ids.iter().filter(|_| stream.below(10) < share).cloned().collect()
    };
    match stream.below(7) {
        0 => {
            let chosen = some(stream, 3);
            let mut csv = "id,label,good,score\n".to_owned();
            for id in &chosen {
                let label = ["cat", "owl", "", "NA", "new one"][stream.below(5) as usize];
                let (good, score) =
                    (["true", "False", ""][stream.below(3) as usize], ["-0.5", "7", "NA"][stream.below(3) as usize]);
                csv += &format!("{id},{label},{good},{score}\n");
                let row = rows.get_mut(id).unwrap();
                row.label = Some(label.to_owned()).filter(|l| !matches!(l.as_str(), "" | "NA"));
                row.good = ["true", "False"].iter().position(|g| *g == good).map(|at| at == 0);
                row.score = score.parse().ok();
            }
            let (done, problems) = relabelled(store, &csv, RelabelOptions::default());
            assert_eq!((done.unwrap().listed, problems), (chosen.len() as u64, Vec::new()));
            "relabel"
        }
        1 => {
            let seed = stream.below(3);
            let options =
                SplitOptions { fractions: fractions(), by: SplitBy::Row, seed, only: Vec::new(), dry_run: false };
            split(store, &options).unwrap();
            for (id, row) in rows.iter_mut() {
                row.split = fractions().at(place(seed, Member::Row(row_key(id)))).to_owned();
            }
            "split"
        }
        2 => {
            let chosen = some(stream, 2);
            let folder = tempfile::tempdir().unwrap();
            let file = folder.path().join("splits.jsonl");
            let mut lines = String::new();
            for id in &chosen {
                let split = ["train", "test", "hold_out"][stream.below(3) as usize];
                lines += &format!("{{\"id\": \"{id}\", \"split\": \"{split}\"}}\n");
                rows.get_mut(id).unwrap().split = split.to_owned();
            }
            // Of a file without a line nobody knows the columns.
            if !chosen.is_empty() {
                std::fs::write(&file, lines).unwrap();
                split_as_told(store, &file, (false, false), &mut |problem| panic!("{problem}")).unwrap();
            }
            "split as told"
        }
        3 => {
            let chosen = some(stream, 1);
            if chosen.is_empty() || chosen.len() == rows.len() {
                return "nothing";
            }
            let before = Dataset::open(store.root()).unwrap();
            let order = contents(&before).1;
            let done = remove(store, &RemoveOptions { ids: chosen.clone(), ..RemoveOptions::default() }, &mut |p| {
                panic!("{p}")
            });
            let done = done.unwrap();
            let proof = done.proof.unwrap();
            assert_eq!((done.rows, proof.rows), (chosen.len() as u64, (rows.len() - chosen.len()) as u64));
            assert!(proof.older.contains(&before.version().unwrap()), "{proof:?}");
            rows.retain(|id, _| !chosen.contains(id));
            // The others stay in their order.
            let mut left = order;
            left.values_mut().for_each(|ids| ids.retain(|id| !chosen.contains(id)));
            left.retain(|_, ids| !ids.is_empty());
            assert_eq!(contents(&Dataset::open(store.root()).unwrap()).1, left);
            "rm"
        }
        4 => {
            append(store.root(), *next..*next + 4).unwrap();
            rows.extend((*next..*next + 4).map(|n| (id(n), plain(n))));
            *next += 4;
            "append"
        }
        at => {
            let materialise = at == 5;
            let before = Dataset::open(store.root()).unwrap();
            let options = CompactOptions { materialise, shard_bytes: 500 + stream.below(3) * 20_000, dry_run: false };
            let done = compact(store, &options).unwrap();
            let after = Dataset::open(store.root()).unwrap();
            let moved = before.shards().iter().any(|s| !s.path.starts_with(&format!("data/{}/", s.split)));
            if materialise || !moved {
                assert_eq!(contents(&before).1, contents(&after).1, "the order of a split changed");
            }
            if materialise {
                assert!(after.shards().iter().all(|s| s.path.starts_with(&format!("data/{}/", s.split))));
            }
            let files: std::collections::BTreeSet<&String> = after.shards().iter().map(|s| &s.path).collect();
            assert_eq!(done.after, files.len() as u64);
            // Nothing is left to do.
            assert!(!compact(store, &options).unwrap().committed);
            match (materialise, done.committed) {
                (true, _) => "materialise",
                (false, true) => "compact",
                (false, false) => "compact what is full",
            }
        }
    }
}

#[test]
fn any_sequence_of_verbs_leaves_what_a_map_says() {
    let mut counts = BTreeMap::new();
    for case in 0..12 {
        let mut stream = Key::new(11).with(case).stream();
        let (_dir, path, mut rows) = made();
        let store = Store::open(&path);
        let mut next = 30;
        for _ in 0..8 {
            let what = step(&mut stream, &store, &mut rows, &mut next);
            let before = counts.entry(what).or_insert(0);
            *before += 1;
            hold(&path, &rows);
        }
        // What each version brought, added up, is what is there.
        let log = log(&path, usize::MAX).unwrap();
        let sum: i64 = log.iter().map(|v| v.added as i64 - v.removed as i64).sum();
        assert_eq!(sum, rows.len() as i64, "{log:?}");
    }
    counts.remove("nothing");
    assert!(counts.len() == 8 && counts.values().all(|n| *n > 2), "{counts:?}");
}

#[test]
fn what_is_relabelled_is_told_and_no_shard_is_opened() {
    let (_dir, path, mut rows) = made();
    let store = Store::open(&path);
    // Shards that nobody can read: what only looks at the Index and at lists does not mind.
    let shards: Vec<_> = Dataset::open(&path).unwrap().shards().iter().map(|s| path.join(&s.path)).collect();
    let bytes: Vec<_> = shards.iter().map(|shard| std::fs::read(shard).unwrap()).collect();
    shards.iter().for_each(|shard| std::fs::write(shard, b"").unwrap());
    let csv = format!("id,label,score\n{},cow,2\n{},dog,\n{},ant,1\n", id(3), id(20), id(1));
    let dry = relabelled(&store, &csv, RelabelOptions { dry_run: true, ..RelabelOptions::default() }).0.unwrap();
    assert_eq!((dry.committed, dry.version, dry.changed), (false, 2, 3));
    assert!(!path.join(".dsctl/changes").exists(), "a dry run wrote");
    let done = relabelled(&store, &csv, RelabelOptions::default()).0.unwrap();
    // New classes in the order of the lines, behind those that are there.
    assert_eq!(done.classes["label"], ["cow", "ant"]);
    assert_eq!((done.version, done.committed, done.changed, done.cells["label"]), (3, true, 3, 3));
    let log = log(&path, 1).unwrap();
    assert_eq!((log[0].relabelled, log[0].added, log[0].removed, log[0].shards), (3, 0, 0, 0));
    let again = relabelled(&store, &csv, RelabelOptions::default()).0.unwrap();
    assert_eq!((again.committed, again.version, again.same), (false, 3, 3));
    shards.iter().zip(bytes).for_each(|(shard, bytes)| std::fs::write(shard, bytes).unwrap());
    for (n, label, score) in [(3, "cow", Some(2.0)), (20, "dog", None), (1, "ant", Some(1.0))] {
        let row = rows.get_mut(&id(n)).unwrap();
        (row.label, row.score) = (Some(label.into()), score);
    }
    hold(&path, &rows);
}

#[test]
fn all_that_is_wrong_is_told_and_nothing_is_committed() {
    let (_dir, path, rows) = made();
    let store = Store::open(&path);
    let known = id(3);
    let csv = format!(
        "id,label,score,good,text,split,nothing\nno such row,cat,1,true,x,a,b\n{known},cat,much,yes,x,a,b\n{known},cat,1,true,x,a,b\n,cat,1,true,x,a,b\nshort,1\n"
    );
    for skip_unknown in [false, true] {
        let (done, problems) = relabelled(&store, &csv, RelabelOptions { skip_unknown, ..RelabelOptions::default() });
        let mut codes: Vec<_> = problems.iter().map(|p| p.code).collect();
        codes.sort_unstable();
        let want = [
            "bad-column",
            "bad-row",
            "bad-row",
            "bad-value",
            "bad-value",
            "same-id",
            "unknown-column",
            "unknown-column",
            "unknown-id",
        ];
        assert_eq!(codes, want, "{problems:#?}");
        let done = done.unwrap();
        assert_eq!((done.committed, done.version, done.unknown, done.problems), (false, 2, 1, 8));
        let value = problems.iter().find(|p| p.code == "bad-value").unwrap();
        assert_eq!((value.line, value.id.as_deref()), (Some(3), Some(known.as_str())));
        assert!(
            value.to_string().starts_with(&format!("line 3, id {known:?}, column \"score\": \"much\" is no float"))
        );
    }
    let (done, problems) = relabelled(&store, "id,label\nno such row,cat\n", RelabelOptions::default());
    assert_eq!((problems.len(), done.unwrap().committed), (1, false));
    for bad in ["label,score\ncat,1\n", "id,id\na,b\n"] {
        assert_eq!(relabelled(&store, bad, RelabelOptions::default()).0.unwrap_err().exit_code(), 2, "{bad}");
    }
    hold(&path, &rows);
    // A split that no folder can be called like is no split.
    let bad = Fractions::new(vec![("../out".into(), 1.0)]).unwrap();
    let options = SplitOptions { fractions: bad, by: SplitBy::Row, seed: 0, only: Vec::new(), dry_run: false };
    assert_eq!(split(&store, &options).unwrap_err().exit_code(), 2);
    assert_eq!(Dataset::open(&path).unwrap().version(), Some(2));
    let skipped = relabelled(
        &store,
        &format!("id,label\nno such row,cat\n{known},dog\n"),
        RelabelOptions { skip_unknown: true, ..RelabelOptions::default() },
    );
    assert!(skipped.0.unwrap().committed);
}

#[test]
fn what_a_line_does_not_speak_of_stays() {
    let (_dir, path, mut rows) = made();
    let store = Store::open(&path);
    // Rows 1, 2, 3 and 13 have a value in every column.
    let all = [1, 2, 3, 13].map(id);
    assert!(all.iter().all(|id| rows[id].label.is_some() && rows[id].score.is_some() && rows[id].good.is_some()));
    let lines = [
        format!("{{\"id\": {:?}, \"label\": \"cow\"}}", all[0]),
        format!("{{\"id\": {:?}, \"score\": 0.5, \"good\": null}}", all[1]),
        format!("{{\"id\": {:?}, \"label\": \"\", \"score\": \"NA\"}}", all[2]),
        format!("{{\"id\": {:?}}}", all[3]),
    ];
    let (done, problems) = relabelled_by(&store, "told.jsonl", &lines.join("\n"), RelabelOptions::default());
    let done = done.unwrap();
    assert_eq!((done.changed, done.same, problems), (3, 1, Vec::new()));
    assert_eq!(
        done.cells.into_iter().collect::<Vec<_>>(),
        [("good".to_owned(), 1), ("label".to_owned(), 2), ("score".to_owned(), 2)]
    );
    rows.get_mut(&all[0]).unwrap().label = Some("cow".into());
    (rows.get_mut(&all[1]).unwrap().score, rows.get_mut(&all[1]).unwrap().good) = (Some(0.5), None);
    (rows.get_mut(&all[2]).unwrap().score, rows.get_mut(&all[2]).unwrap().label) = (None, None);
    hold(&path, &rows);
    // A row without a split is told, and goes nowhere.
    let file = path.with_file_name("splits.jsonl");
    std::fs::write(&file, format!("{{\"id\": {:?}, \"split\": \"test\"}}\n{{\"id\": {:?}}}\n", all[0], all[1]))
        .unwrap();
    let mut told = Vec::new();
    let mut tell = |problem: feedstock::revise::Problem| {
        told.push((problem.line, problem.code));
        Ok(())
    };
    assert!(!split_as_told(&store, &file, (false, false), &mut tell).unwrap().committed);
    assert_eq!(told, [(Some(2), "bad-value")]);
}

#[test]
fn a_change_that_was_undone_leaves_a_list_that_stays() {
    let (_dir, path, mut rows) = made();
    let store = Store::open(&path);
    let label = rows[&id(3)].label.clone().unwrap_or_default();
    for label in ["owl", &label] {
        relabelled(&store, &format!("id,label\n{},{label}\n", id(3)), RelabelOptions::default()).0.unwrap();
    }
    let [first, last] = [1, 4].map(|n| {
        let root = std::fs::read(path.join(format!(".dsctl/versions/{n:020}.json"))).unwrap();
        serde_json::from_slice::<serde_json::Value>(&root).unwrap()["segments"][0].clone()
    });
    assert_eq!(first["path"], last["path"], "the rows are what they were");
    assert!(first.get("changes").is_none() && last.get("changes").is_some());
    let keep = feedstock::versions::Keep { versions: None, younger: std::time::Duration::ZERO, unfinished: true };
    let found = feedstock::versions::garbage(&path, keep).unwrap();
    assert_eq!(found.files, [], "every version is kept, and all that they name");
    feedstock::versions::collect(&path, &found).unwrap();
    hold(&path, &rows);
    relabelled(&store, &format!("id,label\n{},dog\n", id(3)), RelabelOptions::default()).0.unwrap();
    rows.get_mut(&id(3)).unwrap().label = Some("dog".into());
    append(&path, 30..34).unwrap();
    rows.extend((30..34).map(|n| (id(n), plain(n))));
    hold(&path, &rows);
}

#[test]
fn a_lost_or_changed_list_is_found() {
    let (_dir, path, _) = made();
    relabelled(&Store::open(&path), &format!("id,label\n{},dog\n", id(3)), RelabelOptions::default()).0.unwrap();
    let list = std::fs::read_dir(path.join(".dsctl/changes")).unwrap().next().unwrap().unwrap().path();
    let whole = std::fs::read(&list).unwrap();
    let codes = || {
        let report = verify(&path, true).unwrap();
        report.findings.iter().map(|f| f.code).collect::<Vec<_>>()
    };
    for at in [0, whole.len() / 2, whole.len() - 1] {
        let mut bytes = whole.clone();
        bytes[at] ^= 1;
        std::fs::write(&list, bytes).unwrap();
        assert!(codes().contains(&"changes"), "byte {at}");
    }
    std::fs::remove_file(&list).unwrap();
    // What it changed does not follow from the shards any more.
    assert_eq!(codes(), ["changes", "index"]);
    assert_eq!(Dataset::open(&path).unwrap().rows(), 30, "the Index is whole: it can be read");
    std::fs::write(&list, whole).unwrap();
    assert!(codes().is_empty());
}

#[test]
fn a_lost_segment_is_made_again_over_the_shards_of_another_versions() {
    let (_dir, path, _) = made();
    let store = Store::open(&path);
    relabelled(&store, &format!("id,label\n{},dog\n{},owl\n", id(3), id(20)), RelabelOptions::default()).0.unwrap();
    let options = SplitOptions { fractions: fractions(), by: SplitBy::Row, seed: 0, only: Vec::new(), dry_run: false };
    split(&store, &options).unwrap();
    let rows = contents(&Dataset::open(&path).unwrap()).0;
    let root = std::fs::read_to_string(path.join(".dsctl/versions/00000000000000000004.json")).unwrap();
    let root: serde_json::Value = serde_json::from_str(&root).unwrap();
    for entry in root["segments"].as_array().unwrap() {
        let file = path.join(entry["path"].as_str().unwrap());
        let whole = std::fs::read(&file).unwrap();
        std::fs::remove_file(&file).unwrap();
        assert_eq!(feedstock::verify::rebuild_index(&path).unwrap(), std::slice::from_ref(&file));
        assert!(std::fs::read(&file).unwrap() == whole);
    }
    hold(&path, &rows);
}

#[test]
fn what_is_taken_out_is_in_no_byte_of_the_version() {
    let (_dir, path, mut rows) = made();
    let store = Store::open(&path);
    relabelled(&store, &format!("id,label\n{},dog\n{},owl\n", id(5), id(6)), RelabelOptions::default()).0.unwrap();
    let dry =
        RemoveOptions { filter: Some("score > 1.5 or label = 'owl'".into()), dry_run: true, ..Default::default() };
    let expected =
        rows.values().filter(|r| r.score.is_some_and(|s| s > 1.5) || r.label.as_deref() == Some("owl")).count();
    let counted = remove(&store, &dry, &mut |p| panic!("{p}")).unwrap();
    // Row 5 is no owl any more, and row 6 is one.
    assert_eq!((counted.committed, counted.rows), (false, expected as u64));
    let out = RemoveOptions { ids: vec![id(5)], prefix: Some("source1/001".into()), ..Default::default() };
    let done = remove(&store, &out, &mut |p| panic!("{p}")).unwrap();
    let gone: Vec<u64> = (0..30).filter(|n| *n == 5 || id(*n).starts_with("source1/001")).collect();
    assert_eq!((done.rows, done.left), (gone.len() as u64, 30 - gone.len() as u64));
    assert!(done.rewritten > 0 && done.kept > 0, "{done:?}");
    assert_eq!(done.proof.unwrap().older, [1, 2, 3]);
    gone.iter().for_each(|n| drop(rows.remove(&id(*n))));
    rows.get_mut(&id(6)).unwrap().label = Some("owl".into());
    hold(&path, &rows);
    // What no version names any more goes, and then no byte of the folder says anything of them.
    let keep = feedstock::versions::Keep { versions: Some(1), younger: std::time::Duration::ZERO, unfinished: true };
    let found = feedstock::versions::garbage(&path, keep).unwrap();
    feedstock::versions::collect(&path, &found).unwrap();
    for file in walkdir::WalkDir::new(&path).into_iter().map(Result::unwrap).filter(|e| e.file_type().is_file()) {
        let bytes = std::fs::read(file.path()).unwrap();
        for n in &gone {
            for trace in [id(*n).into_bytes(), plain(*n).text.into_bytes(), row_key(&id(*n)).to_le_bytes().to_vec()] {
                assert!(!bytes.windows(trace.len()).any(|w| w == trace), "{} in {}", n, file.path().display());
            }
        }
    }
    hold(&path, &rows);
    let unknown = RemoveOptions { ids: vec![id(5)], ..Default::default() };
    let mut told = Vec::new();
    let done = remove(&store, &unknown, &mut |problem| {
        told.push(problem.code);
        Ok(())
    });
    assert_eq!((done.unwrap().committed, told), (false, vec!["unknown-id"]));
    for bad in [
        RemoveOptions::default(),
        RemoveOptions { filter: Some("colour = 1".into()), ..Default::default() },
        RemoveOptions { prefix: Some(String::new()), ..Default::default() },
    ] {
        assert_eq!(remove(&store, &bad, &mut |_| Ok(())).unwrap_err().exit_code(), 2, "{bad:?}");
    }
    // All of it: a version without rows.
    let all = RemoveOptions { prefix: Some("source".into()), ..Default::default() };
    remove(&store, &all, &mut |p| panic!("{p}")).unwrap();
    hold(&path, &Rows::new());
    append(&path, 0..3).unwrap();
    hold(&path, &(0..3).map(|n| (id(n), plain(n))).collect());
}
