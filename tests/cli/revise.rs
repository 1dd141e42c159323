//! New versions out of old ones: `relabel`, `split`, `rm`, `compact`.

use std::collections::BTreeSet;

use serde_json::json;

use crate::run::{command, copies, files, folder, rows, version};

const PHOTO: &str = "images/train/pants/000_444.jpg";

fn photos(root: &std::path::Path, names: &[&str]) {
    copies(root, &names.iter().map(|name| (PHOTO, *name)).collect::<Vec<_>>());
}

#[test]
fn labels_and_splits_change_and_go_into_the_files_when_told() {
    let dir = folder();
    let (d, told) = (dir.path().join("d"), dir.path().join("told.csv"));
    photos(&dir.path().join("s"), &["cat/a.jpg", "cat/b.jpg", "dog/c.jpg", "dog/d.jpg"]);
    dsctl!["ingest", dir.path().join("s"), d].ok();
    std::fs::write(&told, "id,label\ncat/a.jpg,dog\ncat/b.jpg,cow\nnowhere.jpg,dog\n").unwrap();
    let before = files(&d);
    let wrong = dsctl!["relabel", d, told, "--skip-unknown"].ended(3);
    assert!(
        wrong.out.contains("there is no class \"cow\"; there are \"cat\", \"dog\" (unknown-class)"),
        "{}",
        wrong.out
    );
    wrong.says(&["--new-classes"]);
    let wrong = dsctl!["relabel", d, told, "--new-classes"].ended(3).out;
    assert!(wrong.contains("line 4, id \"nowhere.jpg\": no row of the version has this id (unknown-id)"), "{wrong}");
    assert!(wrong.contains("version 1 stays (1 problems)"), "{wrong}");
    let json = dsctl!["relabel", d, told, "--new-classes", "--json"].ended(3).json();
    assert_eq!((&json["problems"][0]["code"], &json["relabelled"]["committed"]), (&json!("unknown-id"), &json!(false)));
    let dry = dsctl!["relabel", d, told, "--skip-unknown", "--new-classes", "-n"].ok().out;
    assert!(dry.contains("new classes of label: cow") && dry.contains("version 1 stays (dry run)"), "{dry}");
    assert!(files(&d) == before, "it wrote though it should not");
    let done = dsctl!["relabel", d, told, "--skip-unknown", "--new-classes"].ok().out;
    assert!(done.contains("version 2: 2 of 3 rows relabelled, 0 were so already, 1 are not there"), "{done}");
    assert_eq!(rows(&d)["cat/b.jpg"]["values"]["label"], "cow");
    let again = dsctl!["relabel", d, told, "--skip-unknown"].ok().out;
    assert!(again.contains("nothing to do, version 2 stays"), "{again}");

    let split = dsctl!["split", d, "--fractions", "train=0.5,val=0.5", "--seed", "4"].ok().out;
    assert!(split.contains("split validation") && split.contains("version 3"), "{split}");
    std::fs::write(&told, "id\tsplit\ncat/a.jpg\ttest\n").unwrap();
    std::fs::rename(&told, told.with_extension("tsv")).unwrap();
    dsctl!["split", d, "--from-csv", told.with_extension("tsv")].ok();
    let log = dsctl!["log", d].ok().out;
    assert!(log.contains("4 rows (+0, 1 moved), 0 new shards") && log.contains("(+0, 2 relabelled)"), "{log}");
    let listed = dsctl!["ls", d].ok().out;
    assert!(listed.contains(", 1 shards,") && listed.contains("rows of test"), "{listed}");
    let diff = dsctl!["diff", d, "--from", "1"].ok().out;
    assert!(diff.contains("split train -> test") && diff.contains("label \"cat\" -> \"cow\""), "{diff}");
    // The card is true to the files, and says what stands over them.
    let card = std::fs::read_to_string(d.join("README.md")).unwrap();
    assert!(card.contains("name: \"train\"\n    num_bytes:") && !card.contains("- split: \"test\""), "{card}");
    assert!(card.contains("Changes stand over") && card.contains("| test | 1 |"), "{card}");
    dsctl!["verify", d].ok();

    let saw: Vec<_> = rows(&d).into_values().map(|row| (row["id"].clone(), row["values"].clone())).collect();
    let dry = dsctl!["compact", d, "--materialise", "-n"].ok().out;
    assert!(dry.contains("stays (dry run): 1 shards; 1 written anew"), "{dry}");
    let done = dsctl!["compact", d, "--materialise"].ok().out;
    assert!(done.contains("version 5: 1 shards, ") && done.contains("with the changes of"), "{done}");
    assert_eq!(rows(&d).into_values().map(|row| (row["id"].clone(), row["values"].clone())).collect::<Vec<_>>(), saw);
    let card = std::fs::read_to_string(d.join("README.md")).unwrap();
    assert!(card.contains("- split: \"test\"") && !card.contains("Changes stand over"), "{card}");
    dsctl!["verify", d].ok();
    dsctl!["compact", d, "--materialise"].ok();
    assert_eq!(version(&d).1, 5, "there was nothing to do");
}

#[test]
fn rows_are_taken_out_with_proof() {
    let dir = folder();
    let d = dir.path().join("d");
    photos(&dir.path().join("s"), &["train/cat/a.jpg", "train/cat/b.jpg", "test/dog/c.jpg", "test/dog/d.jpg"]);
    dsctl!["ingest", dir.path().join("s"), d].ok();
    dsctl!["rm", d].ended(2);
    dsctl!["rm", d, "--id", "nothing"].ended(3);
    dsctl!["rm", d, "--where", "colour = 3"].ended(2).says(&["colour"]);
    let dry = dsctl!["rm", d, "--source", "train/", "-n"].ok().out;
    assert!(dry.contains("2 rows out, 2 stay; shards: 0 written anew, 1 dropped, 1 kept"), "{dry}");
    std::fs::write(dir.path().join("them.txt"), "train/cat/a.jpg\r\n\ntest/dog/c.jpg\n").unwrap();
    let done = dsctl!["rm", d, "--ids-from", dir.path().join("them.txt")].ok().out;
    assert!(done.contains("version 2: 2 rows out, 2 stay; shards: 2 written anew, 0 dropped, 0 kept"), "{done}");
    assert!(done.contains("proof: the ids of all 2 shards of version 2 were read"), "{done}");
    assert!(done.contains("version 1 still has them: `dsctl gc") && done.contains("--keep 1"), "{done}");
    let json = dsctl!["rm", d, "--where", "label = 'dog'", "--json"].ok().json();
    assert_eq!(json["removed"]["proof"], json!({"shards": 1, "rows": 1, "older": [1, 2]}));
    assert_eq!(rows(&d).into_keys().collect::<Vec<_>>(), ["train/cat/b.jpg"]);
    dsctl!["gc", d, "--keep", "1", "--min-age", "0s", "--yes"].ok();
    dsctl!["verify", d].ok();
    assert_eq!(files(&d).keys().filter(|path| path.extension().is_some_and(|e| e == "parquet")).count(), 1);
}

#[test]
fn datasets_are_merged_by_names() {
    let dir = folder();
    let (d, e) = (dir.path().join("d"), dir.path().join("e"));
    photos(&dir.path().join("s"), &["cat/a.jpg", "dog/b.jpg"]);
    photos(&dir.path().join("t"), &["cat/a.jpg", "bat/b.jpg", "dog/c.jpg"]);
    copies(&dir.path().join("t"), &[("images/train/pants/001_422.jpg", "dog/b.jpg")]);
    dsctl!["ingest", dir.path().join("s"), d].ok();
    dsctl!["ingest", dir.path().join("t"), e].ok();
    let wrong = dsctl!["merge", d, e].ended(3).out;
    assert!(
        wrong.contains("id \"dog/b.jpg\": the row is there already, with another \"image\"")
            && wrong.contains("(id-taken)"),
        "{wrong}"
    );
    assert_eq!(version(&d).1, 1);
    let done = dsctl!["merge", d, e, "--id-prefix", "e/"].ok().out;
    assert!(done.contains("new classes of label: bat") && done.contains("version 2: 4 rows of"), "{done}");
    assert_eq!(rows(&d)["e/bat/b.jpg"]["values"]["label"], "bat");
    let json = dsctl!["merge", d, e, "--id-prefix", "e/", "--json"].ok().json();
    assert_eq!((&json["datasets"][0]["merged"]["same"], &json["problems"]), (&json!(4), &json!([])));
    dsctl!["merge", dir.path().join("new"), e].ended(1);
    dsctl!["verify", d].ok();
}

#[test]
fn flags_that_do_not_fit_are_refused() {
    let dir = folder();
    let d = dir.path().join("d");
    photos(&dir.path().join("s"), &["cat/a.jpg", "dog/b.jpg"]);
    dsctl!["ingest", dir.path().join("s"), d].ok();
    dsctl!["split", d].ended(2);
    dsctl!["split", d, "--fractions", "train=0.5,test=0.6"].ended(2).says(&["not 1"]);
    dsctl!["split", d, "--fractions", "train=1,a-b=0"].ended(2).says(&["a-b"]);
    dsctl!["split", d, "--fractions", "train=1", "--group", "label", "--stratify", "label"].ended(2);
    dsctl!["split", d, "--fractions", "train=1", "--group", "speaker"].ended(2).says(&["there are: image, label"]);
    dsctl!["split", d, "--from-csv", dir.path().join("none.csv")].ended(1).says(&["none.csv"]);
    dsctl!["relabel", dir.path().join("s"), dir.path().join("none.csv")].ended(2).says(&["has no versions"]);
    dsctl!["relabel", d, dir.path().join("none.csv")].ended(1).says(&["none.csv"]);
    dsctl!["compact", dir.path().join("nowhere")].ended(1);
    assert_eq!(version(&d).1, 1);
}

#[test]
fn writers_at_once_lose_no_label() {
    let dir = folder();
    let d = dir.path().join("d");
    let texts = dir.path().join("texts.jsonl");
    let line = |n: usize| format!("{{\"text\": \"row {n}\", \"label\": \"none\"}}\n");
    std::fs::write(&texts, (0..40).map(line).collect::<String>()).unwrap();
    dsctl!["ingest", texts, d].ok();
    let ids: Vec<String> = rows(&d).into_keys().collect();
    assert_eq!(ids.len(), 40);
    // Each labels rows of its own, in one segment, with a class that only it has.
    let mut open: BTreeSet<usize> = (0..4).collect();
    let told = |writer: usize| {
        let path = dir.path().join(format!("{writer}.csv"));
        let lines = ids.iter().skip(writer).step_by(4).map(|id| format!("{id},class {writer}\n"));
        std::fs::write(&path, format!("id,label\n{}", lines.collect::<String>())).unwrap();
        path
    };
    let mut rounds = 0;
    while !open.is_empty() {
        let run = |writer: &usize| {
            let mut command = command();
            command.args(["relabel", "--quiet", "--new-classes"]).arg(&d).arg(told(*writer));
            command.stdout(std::process::Stdio::null()).stderr(std::process::Stdio::piped()).spawn().unwrap()
        };
        let running: Vec<_> = open.iter().map(|writer| (*writer, run(writer))).collect();
        for (writer, child) in running {
            let done = child.wait_with_output().unwrap();
            match done.status.code() {
                Some(0) => assert!(open.remove(&writer)),
                code => assert_eq!(code, Some(4), "{}", String::from_utf8_lossy(&done.stderr)),
            }
        }
        rounds += 1;
        assert!(rounds < 50, "they never come to an end");
    }
    for (n, id) in ids.iter().enumerate() {
        assert_eq!(rows(&d)[id]["values"]["label"], format!("class {}", n % 4));
    }
    assert_eq!(version(&d).1, 5);
    dsctl!["verify", d].ok();
}
