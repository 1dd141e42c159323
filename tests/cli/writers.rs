//! Several processes that write into one dataset at once.

use crate::run::{command, folder, rows, version};

/// Rounds of each writer, and rows of a round.
const ROUNDS: usize = 5;
const ROWS: usize = 3;

#[test]
fn writers_at_once_lose_no_commit_and_say_when_they_conflict() {
    let dir = folder();
    let dataset = dir.path().join("d");
    // Two of them bring classes that the other one does not have: who comes second has numbered them as the first did, and begins anew.
    let classes = [["cat", "dog"], ["cat", "dog"], ["cat", "owl"], ["cat", "fox"]];
    let sources: Vec<Vec<std::path::PathBuf>> = classes
        .iter()
        .enumerate()
        .map(|(writer, classes)| {
            let of = |round: usize| {
                let path = dir.path().join(format!("{writer}-{round}.jsonl"));
                let line = |row: usize| {
                    let class = classes[usize::from(round > 1) * (row % 2)];
                    format!("{{\"text\": \"writer {writer} round {round} row {row}\", \"label\": \"{class}\"}}\n")
                };
                std::fs::write(&path, (0..ROWS).map(line).collect::<String>()).unwrap();
                path
            };
            (0..ROUNDS).map(of).collect()
        })
        .collect();
    let (mut commits, mut conflicts) = (0, 0);
    for round in 0..ROUNDS {
        let mut open: Vec<usize> = (0..sources.len()).collect();
        while !open.is_empty() {
            let begin = |writer: &usize| {
                let mut command = command();
                command.args(["ingest", "--quiet"]).arg(&sources[*writer][round]).arg(&dataset);
                command.stdout(std::process::Stdio::null()).stderr(std::process::Stdio::piped()).spawn().unwrap()
            };
            let running: Vec<_> = open.iter().map(|writer| (*writer, begin(writer))).collect();
            open.clear();
            for (writer, child) in running {
                let done = child.wait_with_output().unwrap();
                let said = String::from_utf8(done.stderr).unwrap();
                match done.status.code() {
                    Some(0) => commits += 1,
                    Some(4) => {
                        assert!(said.contains("run the command again"), "{said}");
                        conflicts += 1;
                        open.push(writer);
                    }
                    code => panic!("writer {writer}, round {round}: {code:?}: {said}"),
                }
            }
            assert!(conflicts < 100, "they never come to an end");
        }
    }
    assert_eq!(commits, sources.len() * ROUNDS);
    // A version for each commit, and every row once, under its own label.
    assert_eq!(version(&dataset).1, commits as u64);
    let rows = rows(&dataset);
    assert_eq!(rows.len(), commits * ROWS);
    for (id, row) in &rows {
        let number = |at: usize| id.split(['-', '.', '#']).nth(at).unwrap().parse::<usize>().unwrap();
        let (writer, round) = (number(0), number(1));
        let label = row["values"]["label"].as_str().unwrap();
        assert!(classes[writer][..1 + usize::from(round > 1)].contains(&label), "{row}");
    }
    dsctl!["verify", dataset].ok();
    let log = dsctl!["log", dataset, "--json"].ok().json();
    assert!(log.as_array().unwrap().iter().all(|v| v["added"] == ROWS && v["removed"] == 0), "{log}");
}

/// What one writer of many knows of its rows.
struct Writer {
    source: std::path::PathBuf,
    name: String,
    /// Label, split and bytes of each row by id.
    rows: std::collections::BTreeMap<String, (String, String, u64)>,
    next: usize,
    commits: u64,
    again: u64,
}

impl Writer {
    fn file(&self, id: &str) -> std::path::PathBuf {
        self.source.join(id.strip_prefix(&format!("{}/", self.name)).unwrap())
    }

    /// A new file, or other content of one.
    fn write(&mut self, id: Option<String>, round: usize) {
        let id = id.unwrap_or_else(|| {
            self.next += 1;
            format!("{}/{}/{}.txt", self.name, ["cat", "dog"][self.next % 2], self.next)
        });
        let text = format!("{id} of round {round} {}", "and on ".repeat(round % 9));
        std::fs::create_dir_all(self.file(&id).parent().unwrap()).unwrap();
        std::fs::write(self.file(&id), &text).unwrap();
        let class = id.split('/').nth(1).unwrap().to_owned();
        let row = self.rows.entry(id).or_insert((class, "train".into(), 0));
        row.2 = text.len() as u64;
    }

    /// One commit: of five verbs in turn, on rows of its own.
    fn round(&mut self, dataset: &std::path::Path, round: usize) {
        let told = self.source.with_extension("csv");
        let ids: Vec<String> = self.rows.keys().cloned().collect();
        let pick = |n: usize| ids[(round * 7 + n * 3) % ids.len()].clone();
        let before = self.rows.clone();
        let mut ingest = vec!["ingest".into(), self.source.clone().into_os_string(), dataset.into()];
        ingest.extend(["--text-unit", "file", "--id-prefix"].map(std::ffi::OsString::from));
        ingest.push(format!("{}/", self.name).into());
        let args: Vec<std::ffi::OsString> = match round % 5 {
            0 => {
                (0..3).for_each(|_| self.write(None, round));
                ingest
            }
            1 => {
                let label = format!("told in {}", round / 5 % 3);
                std::fs::write(&told, format!("id,label\n{},{label}\n", pick(0))).unwrap();
                self.rows.get_mut(&pick(0)).unwrap().0 = label;
                vec!["relabel".into(), dataset.into(), told.into(), "--new-classes".into()]
            }
            2 => {
                let split = ["validation", "test"][round / 5 % 2];
                std::fs::write(&told, format!("id,split\n{},{split}\n", pick(1))).unwrap();
                self.rows.get_mut(&pick(1)).unwrap().1 = split.into();
                vec!["split".into(), dataset.into(), "--from-csv".into(), told.into()]
            }
            3 => {
                // From the source, too: it would come back.
                std::fs::remove_file(self.file(&pick(2))).unwrap();
                self.rows.remove(&pick(2));
                vec!["rm".into(), dataset.into(), "--id".into(), pick(2).into()]
            }
            _ => {
                std::fs::remove_file(self.file(&pick(3))).unwrap();
                self.rows.remove(&pick(3));
                let changed = ids.iter().find(|id| **id != pick(3)).cloned();
                self.write(changed, round);
                self.write(None, round);
                ingest.extend(["--sync", "--max-removed", "100%"].map(std::ffi::OsString::from));
                ingest
            }
        };
        let mut tries = 0;
        loop {
            let done = command().args(&args).arg("--quiet").output().unwrap();
            let said = String::from_utf8(done.stderr).unwrap();
            match done.status.code() {
                Some(0) => break,
                Some(4) => {
                    self.again += 1;
                    tries += 1;
                    assert!(tries < 200, "{args:?} never comes to its end");
                }
                code => panic!("{args:?}: {code:?}: {said}"),
            }
        }
        // What is so already is no version.
        self.commits += u64::from(self.rows != before);
    }
}

/// Processes that ingest, relabel, split, take out and follow their sources, all in one dataset at once: each commit is there, none is lost, and what all left is what each of them did.
/// `FEEDSTOCK_WRITERS=PROCESSESxCOMMITS` for more of them; docs/torture.md has the table.
#[test]
#[allow(clippy::disallowed_methods, reason = "each thread waits for processes")]
fn writers_of_all_verbs_lose_nothing() {
    let told = std::env::var("FEEDSTOCK_WRITERS").unwrap_or_else(|_| "3x10".into());
    let (writers, commits) = told.split_once('x').unwrap();
    let (writers, commits): (usize, usize) = (writers.parse().unwrap(), commits.parse().unwrap());
    let dir = folder();
    let dataset = dir.path().join("d");
    let all: Vec<Writer> = std::thread::scope(|scope| {
        let work = |n: usize| {
            let (source, dataset) = (dir.path().join(format!("w{n}")), dataset.clone());
            scope.spawn(move || {
                let rows = std::collections::BTreeMap::new();
                let mut writer = Writer { source, name: format!("w{n}"), rows, next: 0, commits: 0, again: 0 };
                (0..4).for_each(|_| writer.write(None, 0));
                (0..commits).for_each(|round| writer.round(&dataset, round));
                writer
            })
        };
        let running: Vec<_> = (0..writers).map(work).collect();
        running.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    let (made, again) = (all.iter().map(|w| w.commits).sum::<u64>(), all.iter().map(|w| w.again).sum::<u64>());
    let versions = version(&dataset).1;
    let now = crate::follow::contents(&dataset);
    let mut lost = 0;
    let mut there = 0;
    for writer in &all {
        for (id, (label, split, bytes)) in &writer.rows {
            there += 1;
            let row = now.get(id);
            let is = row.is_some_and(|(is_in, values, payloads)| {
                (is_in, values, payloads[0].len() as u64) == (split, &vec![serde_json::json!(label)], *bytes)
            });
            if !is {
                println!("lost: {id} {label} {split} {bytes}: {row:?}");
                lost += 1;
            }
        }
    }
    println!("| {writers} | {commits} | {made} | {versions} | {again} | {there} | {lost} |");
    assert_eq!((lost, now.len()), (0, there), "what each did is there, and nothing else");
    assert_eq!(versions, made, "a version for each commit");
    dsctl!["verify", dataset].ok();
}
