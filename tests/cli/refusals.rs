//! What is refused, with which words and which exit code, and that nothing was touched.

use crate::common::fixture;
use crate::run::{copies, files, folder};

#[test]
fn targets_that_are_no_dataset() {
    let dir = folder();
    let full = dir.path().join("full");
    copies(&full, &[("text/unicode.txt", "notes.txt"), ("text/crlf_bom.txt", "deep/more.txt")]);
    let before = files(&full);
    dsctl!["ingest", fixture("images"), full].ended(2).says(&["full", "not empty", "new, empty, or a dataset"]);
    assert_eq!(files(&full), before);
    let file = full.join("notes.txt");
    dsctl!["ingest", fixture("images"), file].ended(2).says(&["notes.txt is a file"]);
    dsctl!["ingest", fixture("images"), file.join("below")].ended(1).says(&["notes.txt"]);
    assert_eq!(files(&full), before);
    // Nobody, not even root, makes folders there.
    dsctl!["ingest", fixture("images"), "/proc/feedstock/d"].ended(1).says(&["/proc/feedstock", "cannot"]);
}

#[test]
fn a_folder_without_the_right_to_write() {
    use std::os::unix::fs::PermissionsExt as _;
    let dir = folder();
    let closed = dir.path().join("closed");
    std::fs::create_dir(&closed).unwrap();
    std::fs::set_permissions(&closed, std::fs::Permissions::from_mode(0o555)).unwrap();
    if std::fs::write(closed.join("probe"), "").is_ok() {
        return; // Root writes anywhere; the folder below /proc is for it.
    }
    dsctl!["ingest", fixture("images"), closed.join("d")].ended(1).says(&["closed"]);
    dsctl!["ingest", fixture("images"), closed].ended(1).says(&["closed"]);
}

#[test]
fn sources_that_are_none() {
    let dir = folder();
    let target = dir.path().join("d");
    let empty = dir.path().join("empty");
    std::fs::create_dir(&empty).unwrap();
    dsctl!["ingest", empty, target].ended(2).says(&["empty holds no files"]);
    let missing = dsctl!["ingest", dir.path().join("none"), target, "--json"].ended(1).says(&["none: cannot open"]);
    let json = missing.json();
    assert!(json["error"].as_str().unwrap().contains("none") && json["exit_code"] == 1, "{json}");
    let noise = dir.path().join("noise.xyz");
    std::fs::write(&noise, [0u8, 159, 146, 150, 255, 0, 1]).unwrap();
    dsctl!["ingest", noise, target].ended(2).says(&["noise.xyz", "no source recognises it", "folder, manifest, text"]);
    dsctl!["ingest", fixture("images"), target, "--format", "foldr"].ended(2).says(&["foldr", "there are: folder, "]);
    dsctl!["ingest", fixture("images"), target, "--label-regex", "(x)"].ended(2).says(&["named `label`"]);
    dsctl!["ingest", fixture("images"), fixture("images").join("train/new")].ended(2).says(&["within its source"]);
    assert!(!target.exists(), "a refusal makes no folder");
    // An extension that nobody knows does not matter: content decides.
    let odd = dir.path().join("words.xyz");
    std::fs::write(&odd, "one\ntwo\n").unwrap();
    dsctl!["ingest", odd, target].ok().says(&["read as text"]);
}

#[test]
fn wrong_flags() {
    let dir = folder();
    let target = dir.path().join("d");
    dsctl!["ingest", fixture("images"), target, "--max-errors", "x"].ended(2).says(&["--max-errors", "10|1%"]);
    dsctl!["ingest", fixture("images"), target, "--check", "half"].ended(2).says(&["decode", "entropy", "header"]);
    dsctl!["ingest", fixture("images"), target, "--shard-bytes", "0"].ended(2).says(&["shard_bytes"]);
    dsctl!["ingest", fixture("images")].ended(2).says(&["DATASET"]);
    dsctl!["swallow"].ended(2).says(&["swallow"]);
    let help = dsctl!["--help"].ok().out;
    for part in ["ingest", "load", "ls", "inspect", "verify", "Exit codes", "130 interrupted"] {
        assert!(help.contains(part), "{part}: {help}");
    }
    for verb in ["ingest", "load", "ls", "inspect", "verify"] {
        dsctl![verb, "--help"].ok();
    }
    assert!(dsctl!["--version"].ok().out.starts_with("dsctl "));
    assert!(!target.exists());
}

#[test]
fn wrong_recipes_name_what_is_wrong_and_what_there_is() {
    let dir = folder();
    let photos = fixture("images");
    let recipe = dir.path().join("r.toml");
    let says = |text: &str, parts: &[&str]| {
        std::fs::write(&recipe, text).unwrap();
        dsctl!["load", photos, "--recipe", recipe].ended(2).says(parts);
    };
    says("columns.image.ops = [{ op = \"resise\", size = 3 }]", &["\"resise\"", "there are: resize, "]);
    says("columns.image.ops = [{ op = \"horizontal_flipp\" }]", &["there are: horizontal_flip, "]);
    says("columns.image.ops = [{ op = \"resize\", siz = 3 }]", &["\"resize\"", "siz"]);
    says("columns.image.ops = [{ op = \"log_mel\" }]", &["log_mel"]);
    says("columns.label.ops = [{ op = \"resize\", size = 3 }]", &["\"label\"", "operations"]);
    says("columns.immage = {}", &["immage", "it has: image, label"]);
    says("split = \"trian\"", &["trian", "it has: test, train"]);
    says("batch = 0", &["batch = 0"]);
    says("batch = 3\nbach = 4\n", &["r.toml", "line 2", "bach"]);
    says("batch = \"many\"\n", &["r.toml", "line 1", "many"]);
    says("batch = 3\ncolumns = [\n", &["r.toml", "line 2"]);
    dsctl!["load", photos, "--recipe", dir.path().join("none.toml")].ended(1).says(&["none.toml"]);
    dsctl!["load", photos, "--rank", "3", "--world", "2"].ended(2).says(&["rank 3 of a world of 2"]);
    dsctl!["load", photos, "--epoch", "1", "--state-in", "x"].ended(2).says(&["--epoch", "--state-in"]);
    dsctl!["load", photos, "--tail", "cut"].ended(2).says(&["drop, pad or repeat"]);
    dsctl!["load", photos, "--memory", "0"].ended(2).says(&["memory budget"]);
    let state = dir.path().join("s.json");
    std::fs::write(&state, "{}").unwrap();
    dsctl!["load", photos, "--state-in", state].ended(2).says(&["not a loader state"]);
}
