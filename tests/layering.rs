//! The arrows of ARCHITECTURE.md: a room imports only rooms below it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// The rooms from the bottom to the top: each may import those before it, unless [`FORBIDDEN`] says otherwise.
const ROOMS: &[&str] = &[
    "error",
    "clock",
    "rng",
    "registry",
    "parallel",
    "xml",
    "spool",
    "data",
    "store",
    "codec",
    "fingerprint",
    "tokenizer",
    "shard",
    "plan",
    "augment",
    "prepare",
    "collate",
    "dataset",
    "stats",
    "source",
    "backend",
    "verify",
    "validate",
    "duplicates",
    "quarantine",
    "ingest",
    "versions",
    "revise",
    "export",
    "loader",
    "recipe",
];

/// Arrows that point down and are still not wanted, with the reason.
const FORBIDDEN: &[(&str, &[&str], &str)] = &[
    ("plan", &["clock", "parallel", "store", "codec", "shard"], "the plan is arithmetic: no I/O, clock or thread"),
    ("codec", &["store", "parallel", "clock"], "a codec sees bytes, not where they come from"),
    ("fingerprint", &["store", "spool", "parallel", "clock"], "a fingerprint is of one payload"),
    ("data", &["clock", "parallel", "registry"], "nouns do nothing"),
    ("store", &["clock"], "nothing of time is written"),
    ("shard", &["clock"], "nothing of time is written"),
    ("augment", &["store", "shard", "plan", "parallel"], "operations see one sample"),
    ("prepare", &["store", "shard", "plan", "parallel", "clock"], "a payload is made of a payload"),
    (
        "loader",
        &["source", "verify", "ingest", "revise", "store", "shard", "prepare"],
        "the read door reads through Dataset",
    ),
    ("ingest", &["plan", "augment", "collate"], "the write door knows no batches"),
    ("revise", &["codec", "augment", "prepare", "collate", "clock"], "rows are moved as they are stored"),
    ("duplicates", &["source", "store", "shard", "clock"], "they are found in any dataset, and nothing is changed"),
    ("export", &["source", "codec", "augment", "plan", "ingest", "revise"], "payloads go out as they are stored"),
    ("source", &["plan", "augment", "prepare", "collate"], "sources list, they do not load"),
];

fn files(folder: &Path, into: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files(&path, into);
        } else if path.extension().is_some_and(|e| e == "rs") {
            into.push(path);
        }
    }
}

/// The room of a file: its first folder below `src`, or its own name.
fn room(path: &Path, src: &Path) -> String {
    let relative = path.strip_prefix(src).unwrap();
    relative.components().next().unwrap().as_os_str().to_str().unwrap().trim_end_matches(".rs").to_owned()
}

/// The rooms that some code names through `crate::`. Comments and test modules do not count.
fn imports(code: &str) -> Vec<String> {
    // Test modules written out in the file are left out; `#[cfg(test)] mod x;` names another file.
    let tests =
        code.find("#[cfg(test)]\nmod ").filter(|at| code[*at..].lines().nth(1).is_some_and(|l| l.ends_with('{')));
    let code = &code[..tests.unwrap_or(code.len())];
    let mut found = Vec::new();
    let lines: Vec<&str> = code.lines().filter(|l| !l.trim_start().starts_with("//")).collect();
    let code = lines.join("\n");
    for part in code.split("crate::").skip(1) {
        if let Some(group) = part.strip_prefix('{') {
            let group = group.split("};").next().unwrap();
            found.extend(group.split(',').map(|p| p.trim().split("::").next().unwrap().to_owned()));
        } else {
            found.push(part.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect());
        }
    }
    found
}

fn complaint(from: &str, to: &str) -> Option<String> {
    let place = |name: &str| ROOMS.iter().position(|r| *r == name);
    let (Some(own), Some(other)) = (place(from), place(to)) else { return None };
    if other > own {
        return Some(format!("{from} imports {to}, which is above it"));
    }
    let rule = FORBIDDEN.iter().find(|(room, rooms, _)| *room == from && rooms.contains(&to));
    rule.map(|(_, _, why)| format!("{from} imports {to}: {why}"))
}

#[test]
fn arrows_point_down() {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut all = Vec::new();
    files(&src, &mut all);
    let mut complaints = Vec::new();
    let mut read: BTreeMap<String, usize> = BTreeMap::new();
    for path in &all {
        let room = room(path, &src);
        if room == "lib" || room == "bin" || path.to_string_lossy().ends_with("tests.rs") {
            continue;
        }
        assert!(ROOMS.contains(&room.as_str()), "{}: {room:?} has no place among the rooms", path.display());
        *read.entry(room.clone()).or_default() += 1;
        let code = std::fs::read_to_string(path).unwrap();
        let found = imports(&code).into_iter().filter_map(|to| complaint(&room, &to));
        complaints.extend(found.map(|c| format!("{}: {c}", path.display())));
    }
    assert!(complaints.is_empty(), "{complaints:#?}");
    let missing: Vec<_> = ROOMS.iter().filter(|r| !read.contains_key(**r)).collect();
    assert!(missing.is_empty(), "no file was read of {missing:?}");
    assert!(all.len() >= 60, "only {} files were read", all.len());
}

#[test]
fn a_forbidden_import_is_caught() {
    assert_eq!(
        imports("use crate::plan::Plan;\n// use crate::bin::x;\nfn f() { crate::store::x() }"),
        ["plan", "store"]
    );
    assert_eq!(imports("use crate::{error::Result, loader};"), ["error", "loader"]);
    assert_eq!(imports("use crate::data::x;\n#[cfg(test)]\nmod tests {\nuse crate::recipe; }"), ["data"]);
    assert_eq!(imports("#[cfg(test)]\nmod laws;\nuse crate::data::x;"), ["data"]);
    assert!(complaint("codec", "loader").unwrap().contains("above"));
    assert!(complaint("plan", "codec").unwrap().contains("arithmetic"));
    assert!(complaint("plan", "shard").is_some());
    assert!(complaint("loader", "plan").is_none());
}
