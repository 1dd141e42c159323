//! Parts of recordings, as a user asks for them.

use serde_json::json;

use crate::common::fixture;
use crate::run::{folder, run};

#[test]
fn chunks_by_flags_and_by_a_file_whose_flags_come_first() {
    let dir = folder();
    let config = dir.path().join("chunks.toml");
    std::fs::write(&config, "[source.audio_chunks]\nseconds = 0.1\ntail = \"drop\"\n").unwrap();
    let rows = |target: &str, flags: &[&str]| {
        let mut args: Vec<std::ffi::OsString> =
            ["ingest".into(), fixture("digits").into(), dir.path().join(target).into()].into();
        args.extend(flags.iter().map(Into::into));
        args.push("--json".into());
        run(&args).ok().json()["rows"].as_u64().unwrap()
    };
    let file = config.to_str().unwrap();
    let dropped = rows("file", &["--config", file]);
    let kept = rows("kept", &["--chunk-seconds", "0.1"]);
    assert!(0 < dropped && dropped < kept, "{dropped} {kept}");
    assert_eq!(rows("both", &["--config", file, "--chunk-tail", "keep"]), kept);
    assert!(rows("stride", &["--chunk-seconds", "0.1", "--chunk-stride", "0.05"]) > kept);
    let least = rows("least", &["--chunk-seconds", "0.1", "--chunk-min-seconds", "0.05"]);
    assert!(dropped <= least && least < kept, "{least}");
    let listed = dsctl!["detect", fixture("digits"), "--list", "--chunk-seconds", "0.1", "--json"].ok().json();
    assert_eq!(listed["listing"]["entries"], json!(kept));
    let first = dsctl!["head", dir.path().join("kept"), "-n", "1", "--json", "--quiet"].ok().json();
    assert_eq!((&first[0]["id"], &first[0]["media"]["audio"]["format"]), (&json!("0_ada_0.wav#0"), &json!("flac")));
}

#[test]
fn what_cannot_be_cut_says_what_to_do() {
    let dir = folder();
    let target = dir.path().join("d");
    let digits = fixture("digits");
    for (flags, words) in [
        (["--chunk-seconds", "0"], ["chunks of 0 seconds", "0.01 to 86400"]),
        (["--chunk-seconds", "nan"], ["chunks of NaN seconds", "help: "]),
        (["--chunk-stride", "0.5"], ["chunks of 0 seconds", "--chunk-seconds"]),
        (["--chunk-tail", "drop"], ["chunks of 0 seconds", "--chunk-seconds"]),
        (["--start-column", "start"], ["--start-column", "folder of media"]),
    ] {
        dsctl!["ingest", digits, target, flags[0], flags[1]].ended(2).says(&words);
    }
    for (more, words) in [
        (["--chunk-stride", "2"], ["a stride of 2 seconds", "help: "]),
        (["--chunk-min-seconds", "2"], ["a least length of 2 seconds", "help: "]),
    ] {
        dsctl!["ingest", digits, target, "--chunk-seconds", "1", more[0], more[1]].ended(2).says(&words);
    }
    for source in [fixture("images"), fixture("text/shakespeare_20k.txt"), fixture("manifests/manifest.csv")] {
        dsctl!["ingest", source, target, "--chunk-seconds", "1"]
            .ended(2)
            .says(&["--chunk-seconds cuts recordings", "leave it away"]);
    }
    assert!(!target.exists(), "nothing was begun");
}
