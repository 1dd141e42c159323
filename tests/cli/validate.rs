//! `dsctl validate` and `dsctl list lints`.

use serde_json::{Value, json};

use crate::common::fixture;
use crate::run::{copies, files, flip, folder};

const DOCS: &str = include_str!("../../docs/validate.md");

/// The findings of a lint in a report.
fn of<'a>(report: &'a Value, code: &str) -> &'a Value {
    report["lints"].as_array().unwrap().iter().find(|lint| lint["code"] == code).unwrap()
}

#[test]
fn a_clean_dataset_has_no_errors_and_is_only_read() {
    let dir = folder();
    let dataset = dir.path().join("d");
    dsctl!["ingest", fixture("images"), dataset, "--quiet"].ok();
    let before = files(&dataset);
    let report = dsctl!["validate", dataset, "--json", "--progress", "none"].ok();
    assert_eq!(report.err, "");
    let report = report.json();
    assert_eq!((&report["rows"], &report["decoded"], &report["version"]), (&json!(32), &json!(32), &json!(1)));
    assert_eq!(report["found"]["error"], json!(0));
    assert_eq!(of(&report, "undecodable")["found"], json!(0));
    assert_eq!(files(&dataset), before, "validate only reads");
    for threads in ["1", "3"] {
        assert_eq!(dsctl!["validate", dataset, "--json", "--threads", threads].ok().json(), report);
    }
    assert_eq!(dsctl!["validate", dataset, "--version", "1", "--format", "json"].ok().json(), report);

    // A changed byte of a payload.
    let row = dsctl!["inspect", dataset, "20", "--json"].ok().json();
    flip(row["file"].as_str().unwrap().as_ref(), row["media"]["image"]["offset"].as_u64().unwrap() as usize + 100);
    let report = dsctl!["validate", dataset, "--json"].ended(3).json();
    let found = &of(&report, "undecodable")["findings"][0];
    assert_eq!((&found["row"], &found["id"], &found["split"]), (&json!(20), &row["id"], &json!("train")));
    let shown = dsctl!["validate", dataset, "--only", "undecodable"].ended(3);
    for part in [
        "error undecodable: 1 found",
        "train row 20",
        "not the one of its Index (corrupt)",
        "-> ingest",
        "1 errors, 0 warnings",
    ] {
        assert!(shown.out.contains(part), "{part}: {}", shown.out);
    }
    // What does not decode is none of the lints that look at classes.
    dsctl!["validate", dataset, "--skip", "undecodable"].ok();
}

#[test]
fn a_raw_folder_and_other_peoples_parquet_are_looked_at_too() {
    let dir = folder();
    let photo = "images/train/shoes/000_444.jpg";
    copies(dir.path(), &[(photo, "a/1.jpg"), ("hostile/truncated.jpg", "a/2.jpg"), ("lints/dark.png", "b/3.png")]);
    copies(dir.path(), &[("hostile/zero.jpg", "b/4.jpg")]);
    let report = dsctl!["validate", dir.path(), "--json"].ended(3).json();
    assert_eq!((&report["version"], &report["rows"]), (&Value::Null, &json!(3)));
    let ids = |code: &str| -> Vec<String> {
        let findings = of(&report, code)["findings"].as_array().unwrap();
        findings.iter().map(|f| f["id"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!((ids("undecodable"), ids("dark")), (vec!["a/2.jpg".to_owned()], vec!["b/3.png".to_owned()]));
    let gone = &of(&report, "left-out")["findings"][0];
    assert_eq!((&gone["id"], &gone["row"], &gone["column"]), (&json!("b/4.jpg"), &Value::Null, &json!("image")));
    assert!(gone["message"].as_str().unwrap().ends_with("(empty)"), "{gone}");
    let dark = &of(&report, "dark")["findings"][0];
    assert!(dark["measured"].as_f64().unwrap() < 0.32 && dark["threshold"] == json!(0.32), "{dark}");
    let foreign = dsctl!["validate", fixture("foreign_hf"), "--json", "--quiet"];
    assert_eq!(foreign.json()["version"], Value::Null);
}

#[test]
fn flags_and_the_file_say_what_is_looked_for() {
    let dir = folder();
    let dark = fixture("lints");
    let found = |ran: crate::run::Ran| {
        let report = ran.json();
        let lints = report["lints"].as_array().unwrap().clone();
        lints.iter().map(|l| format!("{} {}", l["code"].as_str().unwrap(), l["found"])).collect::<Vec<_>>()
    };
    assert_eq!(found(dsctl!["validate", dark, "--only", "dark,light", "--json"].ok()), ["dark 1", "light 1"]);
    let set = ["--only", "dark", "--set", "dark=0.1", "--json"];
    assert_eq!(found(dsctl!["validate", dark, set[0], set[1], set[2], set[3], set[4]].ok()), ["dark 0"]);
    dsctl!["validate", dark, "--only", "dark", "--strict"].ended(3);
    dsctl!["validate", dark, "--only", "dark", "--severity", "dark=error"].ended(3);
    dsctl!["validate", dark, "--only", "dark", "--severity", "dark=note", "--strict"].ok();
    let config = dir.path().join("validate.toml");
    std::fs::write(&config, "only = [\"dark\", \"light\"]\nstrict = true\nset = { light = 1 }\n").unwrap();
    assert_eq!(found(dsctl!["validate", dark, "--config", config, "--json"].ended(3)), ["dark 1", "light 0"]);
    let skipped = dsctl!["validate", dark, "--config", config, "--skip", "dark", "--json"].ok();
    assert_eq!(found(skipped), ["light 0"]);
    let few = dsctl!["validate", dark, "--set", "dark=2", "--only", "dark", "--max-findings", "3"].ok().out;
    assert_eq!(few.lines().filter(|l| l.contains(" row ")).count(), 3, "{few}");
    assert!(few.contains("dark: 10 found") && few.contains("and 7 more"), "{few}");
    let sampled = dsctl!["validate", dark, "--sample", "4", "--json"].ok().json();
    assert_eq!((&sampled["decoded"], &sampled["rows"]), (&json!(4), &json!(10)));

    dsctl!["validate", dark, "--only", "drak"].ended(2).says(&["drak", "there are: dark"]);
    dsctl!["validate", dark, "--set", "dark"].ended(2).says(&["dark=0.2"]);
    dsctl!["validate", dark, "--set", "dark=x"].ended(2).says(&["no number"]);
    dsctl!["validate", dark, "--set", "undecodable=1"].ended(2).says(&["has no threshold", "list lints"]);
    dsctl!["validate", dark, "--severity", "dark=fatal"].ended(2).says(&["error, warning, note"]);
    dsctl!["validate", dark, "--split", "tets"].ended(2).says(&["no split \"tets\""]);
    dsctl!["validate", dark, "--json", "--format", "junit"].ended(2).says(&["--format"]);
    dsctl!["validate", dir.path().join("nowhere")].ended(1).says(&["nowhere"]);
    std::fs::write(&config, "onyl = []\n").unwrap();
    dsctl!["validate", dark, "--config", config].ended(2).says(&["onyl", "validate.toml"]);
}

#[test]
fn reports_for_machines_go_to_stdout_alone() {
    let dark = fixture("lints");
    let log = dsctl!["validate", dark, "--format", "sarif", "--quiet"].ok();
    assert_eq!(log.err, "");
    let run = &log.json()["runs"][0];
    assert_eq!(run["tool"]["driver"]["name"], "dsctl");
    let dark_result = run["results"].as_array().unwrap().iter().find(|r| r["ruleId"] == "dark").unwrap();
    let place = &dark_result["locations"][0]["physicalLocation"]["artifactLocation"]["uri"];
    assert_eq!((place, &dark_result["level"]), (&json!("dark.png"), &json!("warning")));
    let xml = dsctl!["validate", dark, "--format", "junit", "--strict", "--only", "dark"].ended(3).out;
    assert!(xml.starts_with("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuites name="), "{xml}");
    assert!(xml.contains("<testcase classname=\"dsctl.validate.dark\" name=\"train dark.png image\""), "{xml}");
    assert!(xml.contains("tests=\"1\" failures=\"1\""), "{xml}");
}

#[test]
fn list_shows_the_lints() {
    let shown = dsctl!["list", "lints"].ok().out;
    assert!(shown.contains("dark") && shown.contains("threshold 0.32"), "{shown}");
    let table = dsctl!["list", "lints", "--json"].ok().json();
    let table = table["lints"].as_array().unwrap();
    assert_eq!(table.len(), feedstock::validate::LINTS.len());
    for (row, lint) in table.iter().zip(feedstock::validate::LINTS) {
        assert_eq!((&row["name"], &row["severity"]), (&json!(lint.code), &json!(lint.severity)));
        assert_eq!(row.get("threshold"), lint.threshold.map(|t| json!(t.default)).as_ref());
        // The table of the documents is this one.
        let threshold = lint.threshold.map_or_else(String::new, |t| format!("{}: {}", t.default, t.meaning));
        let line = format!("| `{}` | {} | {} | {threshold} |\n", lint.code, lint.severity.name(), lint.summary);
        assert!(DOCS.contains(&line), "docs/validate.md lacks {line}");
    }
}
