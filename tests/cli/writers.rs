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
