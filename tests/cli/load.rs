//! `dsctl load`: digests, ranks, states, dumps, and what is no dataset of ours.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use safetensors::SafeTensors;
use safetensors::tensor::Dtype;

use crate::common::fixture;
use crate::run::{Ran, folder};

fn photos() -> (tempfile::TempDir, PathBuf, PathBuf) {
    let dir = folder();
    let dataset = dir.path().join("d");
    dsctl!["ingest", fixture("images"), dataset, "--quiet"].ok();
    (dir, dataset, fixture("recipes/images.toml"))
}

/// Batch digests of a run with `--digest --json`, by number.
fn digests(ran: Ran) -> BTreeMap<u64, String> {
    let json = ran.ok().json();
    let batches = json["digests"].as_array().unwrap().iter();
    batches.map(|b| (b["batch"].as_u64().unwrap(), b["digest"].as_str().unwrap().to_owned())).collect()
}

/// The README shows real output: everything but the time, the folder and the machine's numerics tier.
#[test]
fn the_readme_shows_what_is_printed() {
    let readme = std::fs::read_to_string(fixture("../README.md")).unwrap();
    let dir = folder();
    let dataset = dir.path().join("demo");
    let made = dsctl!["ingest", fixture("images"), dataset].ok();
    let loaded =
        dsctl!["load", dataset, "--recipe", fixture("recipes/images.toml"), "--digest", "--progress", "none"].ok();
    let mut compared = 0;
    for line in made.out.lines().skip(1).chain(loaded.out.lines()) {
        let stable = line.split_once(", dataset ").map_or(line, |(_, digests)| digests);
        assert!(readme.contains(stable), "README.md lacks: {stable}");
        compared += 1;
    }
    assert!(compared >= 10);
}

#[test]
fn digests_do_not_depend_on_how_it_is_run() {
    let (_dir, dataset, recipe) = photos();
    let run = |more: &[&str]| {
        let mut args = vec!["load".into(), dataset.clone().into(), "--recipe".into(), recipe.clone().into()];
        args.extend(more.iter().map(std::ffi::OsString::from));
        crate::run::run(&args)
    };
    let all = digests(run(&["--digest", "--json"]));
    assert_eq!(all.len(), 3);
    for more in [&["--threads", "1"][..], &["--threads", "4"], &["--no-fuse"], &["--prefetch", "1", "--threads", "3"]] {
        assert_eq!(digests(run(&[more, &["--digest", "--json"]].concat())), all, "{more:?}");
    }
    assert_ne!(digests(run(&["--digest", "--json", "--epoch", "1"])), all);
    assert_ne!(digests(run(&["--digest", "--json", "--seed", "8"])), all);

    let text = run(&["--digest", "--quiet"]).ok();
    let lines: Vec<&str> = text.out.lines().collect();
    assert_eq!(lines.len(), 5, "{}", text.out);
    assert!(lines[0].starts_with("# numerics ") && lines[0].contains("recipe "), "{}", text.out);
    assert!(all.iter().all(|(batch, d)| text.out.contains(&format!("epoch 0 batch {batch} {d}"))), "{}", text.out);
    assert!(lines[4].starts_with("epoch 0 3 batches 21 samples "), "{}", text.out);
    assert_eq!(text.err, "");

    // Several epochs are those, one by one.
    let lines = |more: &[&str]| -> Vec<String> {
        let out = run(&[&["--digest", "--quiet"], more].concat()).ok().out;
        out.lines().filter(|line| line.contains(" batch ")).map(str::to_owned).collect()
    };
    let both = lines(&["--epoch", "1", "--epochs", "2"]);
    assert_eq!(both, [lines(&["--epoch", "1"]), lines(&["--epoch", "2"])].concat());
    assert!(run(&["--digest", "--quiet", "--epochs", "2"]).ok().out.contains("\nepochs 0 to 1 6 batches 42 samples "));
    let told = run(&["--json", "--digest", "--epochs", "2"]).ok().json();
    assert_eq!((&told["epochs"], &told["digests"][5]["epoch"]), (&serde_json::json!(2), &serde_json::json!(1)));
    run(&["--epochs", "0"]).ended(2);
    run(&["--epochs", "2", "--steps", "0..1"]).ended(2);

    for world in ["2", "3", "7"] {
        let mut union = BTreeMap::new();
        for rank in 0..world.parse().unwrap() {
            let rank = format!("{rank}");
            union.append(&mut digests(run(&["--digest", "--json", "--rank", &rank, "--world", world])));
        }
        assert!(all.iter().all(|(batch, digest)| union.get(batch) == Some(digest)), "world {world}: {union:?}");
    }
}

#[test]
fn a_state_goes_on_in_another_world() {
    let (dir, dataset, recipe) = photos();
    let state = dir.path().join("s.json");
    let batch = "2";
    let all = digests(dsctl!["load", dataset, "--recipe", recipe, "--batch", batch, "--digest", "--json"]);
    assert_eq!(all.len(), 11);
    // Two ranks take two steps each.
    let taken = digests(dsctl![
        "load",
        dataset,
        "--recipe",
        recipe,
        "--batch",
        batch,
        "--digest",
        "--json",
        "--limit",
        "2",
        "--world",
        "2",
        "--state-out",
        state
    ]);
    assert_eq!(taken.keys().copied().collect::<Vec<_>>(), [0, 2]);
    let text = std::fs::read_to_string(&state).unwrap();
    assert!(text.len() < 1024 && text.contains("\"batch\":4"), "{text}");
    let mut rest = BTreeMap::new();
    for rank in ["0", "1", "2"] {
        rest.append(&mut digests(dsctl![
            "load",
            dataset,
            "--recipe",
            recipe,
            "--batch",
            batch,
            "--digest",
            "--json",
            "--world",
            "3",
            "--rank",
            rank,
            "--state-in",
            state
        ]));
    }
    let want: BTreeMap<u64, String> = all.into_iter().filter(|(batch, _)| *batch >= 4).collect();
    rest.retain(|batch, _| *batch < 11); // beyond: padding, so that the ranks have equal steps
    assert_eq!(rest, want);

    dsctl!["load", dataset, "--recipe", recipe, "--batch", "3", "--state-in", state].ended(2).says(&["the recipe"]);
    dsctl!["load", fixture("images"), "--recipe", recipe, "--batch", batch, "--state-in", state]
        .ended(2)
        .says(&["the dataset"]);
    let newer = text.replace("\"format_version\":1", "\"format_version\":9");
    std::fs::write(&state, newer).unwrap();
    dsctl!["load", dataset, "--recipe", recipe, "--batch", batch, "--state-in", state]
        .ended(1)
        .says(&["format version 9"]);
}

/// The ids of a batch in a dump.
fn ids(tensors: &SafeTensors<'_>, batch: u64) -> Vec<String> {
    let offsets = tensors.tensor(&format!("{batch}/ids/offsets")).unwrap();
    let offsets: Vec<usize> =
        offsets.data().chunks(8).map(|c| i64::from_le_bytes(c.try_into().unwrap()) as usize).collect();
    let values = tensors.tensor(&format!("{batch}/ids/values")).unwrap();
    offsets.windows(2).map(|w| String::from_utf8(values.data()[w[0]..w[1]].to_vec()).unwrap()).collect()
}

#[test]
fn a_dump_is_readable_and_has_the_right_shapes() {
    let (dir, dataset, recipe) = photos();
    let path = dir.path().join("x.safetensors");
    dsctl!["load", dataset, "--recipe", recipe, "--dump", path].ok();
    let bytes = std::fs::read(&path).unwrap();
    let tensors = SafeTensors::deserialize(&bytes).unwrap();
    let mut labels = BTreeMap::new();
    for batch in 0..3u64 {
        let image = tensors.tensor(&format!("{batch}/image")).unwrap();
        assert_eq!((image.dtype(), image.shape()), (Dtype::F32, &[8, 3, 64, 64][..]));
        let label = tensors.tensor(&format!("{batch}/label")).unwrap();
        assert_eq!((label.dtype(), label.shape()), (Dtype::I64, &[8][..]));
        let valid = tensors.tensor(&format!("{batch}/valid")).unwrap();
        for (i, id) in ids(&tensors, batch).into_iter().enumerate() {
            assert_eq!(valid.data()[i] == 1, !id.is_empty());
            if valid.data()[i] == 1 {
                labels.insert(id, label.data()[i * 8]);
            }
        }
    }
    assert_eq!(labels.len(), 21);
    let names = ["pants", "shoes", "t-shirt"];
    assert!(labels.iter().all(|(id, l)| id.split('/').nth(1) == Some(names[usize::from(*l)])), "{labels:?}");
    dsctl!["load", dataset, "--limit", "1", "--dump", dir.path().join("no/such/x")].ended(1).says(&["no/such/x"]);
}

/// Shape and bytes of a picture, bytes of its label.
type Sample = (Vec<usize>, Vec<u8>, Vec<u8>);

/// Every sample that batches of one deliver, by id.
fn samples(dir: &Path, source: &Path, recipe: Option<&Path>) -> BTreeMap<String, Sample> {
    let path = dir.join("samples.safetensors");
    match recipe {
        Some(recipe) => dsctl!["load", source, "--recipe", recipe, "--batch", "1", "--dump", path].ok(),
        None => dsctl!["load", source, "--batch", "1", "--dump", path].ok(),
    };
    let bytes = std::fs::read(&path).unwrap();
    let tensors = SafeTensors::deserialize(&bytes).unwrap();
    let batches = tensors.names().into_iter().filter_map(|n| n.strip_suffix("/valid")?.parse().ok());
    let sample = |batch: u64| {
        let id = ids(&tensors, batch).remove(0);
        let image = tensors.tensor(&format!("{batch}/image")).unwrap();
        let label = tensors.tensor(&format!("{batch}/label")).unwrap();
        (id, (image.shape().to_vec(), image.data().to_vec(), label.data().to_vec()))
    };
    batches.map(sample).collect()
}

#[test]
fn a_raw_folder_delivers_what_the_ingested_one_does() {
    let (dir, dataset, recipe) = photos();
    let plain = samples(dir.path(), &dataset, None);
    assert_eq!(plain.len(), 32);
    assert_eq!(samples(dir.path(), &fixture("images"), None), plain);
    // Drawn crops too: draws belong to the id.
    let drawn = samples(dir.path(), &dataset, Some(&recipe));
    assert_eq!(drawn.len(), 21);
    assert_eq!(samples(dir.path(), &fixture("images"), Some(&recipe)), drawn);
    let note = dsctl!["load", fixture("images"), "--limit", "1"].ok();
    assert!(note.err.contains("read as folder"), "{}", note.err);
}

#[test]
fn someone_elses_parquet_loads() {
    let foreign = fixture("foreign_hf");
    let shown = dsctl!["ls", foreign].ok().out;
    assert!(shown.contains("read-only") && shown.contains("9 rows"), "{shown}");
    let one = digests(dsctl!["load", foreign, "--batch", "3", "--digest", "--json", "--threads", "1"]);
    let four = digests(dsctl!["load", foreign, "--batch", "3", "--digest", "--json", "--threads", "4"]);
    assert_eq!((one.len(), &one), (3, &four));
    dsctl!["verify", foreign].ok();
    dsctl!["inspect", foreign, "0"].ok();
    // An epoch that is shorter than a batch says so.
    dsctl!["load", foreign].ok().says(&["no batch on this rank", "--tail"]);
}

#[test]
fn every_kind_of_media_loads_by_its_recipe() {
    let dir = folder();
    let regex = ["--label-regex", r"^(?P<label>\d)_"];
    let all = [("digits", "digits"), ("clips", "clips"), ("clips", "keyframes"), ("text/shakespeare_20k.txt", "text")];
    for (source, recipe) in all {
        let dataset = dir.path().join(recipe);
        let [flag, value] = if source == "digits" { regex } else { ["--progress", "none"] };
        dsctl!["ingest", fixture(source), dataset, flag, value].ok();
        let recipe = fixture("recipes").join(recipe).with_extension("toml");
        let one = digests(dsctl!["load", dataset, "--recipe", recipe, "--digest", "--json", "--threads", "1"]);
        let four = digests(dsctl!["load", dataset, "--recipe", recipe, "--digest", "--json", "--threads", "4"]);
        assert!(one.len() > 2 && one == four, "{source}");
        let said = dsctl!["load", dataset, "--recipe", recipe, "--limit", "1"].ok().out;
        assert!(said.contains("samples/s") && said.contains("consumer waited"), "{said}");
    }
}

/// A byte that changed in a shard is found where the payload is read, if that is asked for; text decodes whatever it is.
#[test]
fn payloads_are_held_against_their_hashes() {
    let dir = folder();
    let dataset = dir.path().join("d");
    dsctl!["ingest", fixture("text/shakespeare_20k.txt"), dataset, "--quiet"].ok();
    dsctl!["load", dataset, "--check-hash"].ok();
    dsctl!["load", fixture("images"), "--check-hash", "--batch", "2"].ok();
    let shard = std::fs::read_dir(dataset.join("data/train")).unwrap().next().unwrap().unwrap().path();
    let mut bytes = std::fs::read(&shard).unwrap();
    let at = bytes.windows(6).position(|w| w == b"Before").unwrap();
    bytes[at] = b'b';
    std::fs::write(&shard, bytes).unwrap();
    dsctl!["load", dataset].ok();
    dsctl!["load", dataset, "--check-hash"].ended(3).says(&["shakespeare_20k.txt#", "hash", ".parquet"]);
    // Another line in its place: the run is whole, and the exit code says that the data is not.
    let run = dsctl!["load", dataset, "--check-hash", "--errors", "substitute", "--tail", "pad", "--json"].ended(3);
    let run = run.says(&["note: batch ", "another in place of", ".parquet"]).json();
    let bad = run["substituted"].as_array().unwrap();
    assert!(bad.len() == 1 && bad[0]["id"].as_str().unwrap().starts_with("shakespeare_20k.txt#"), "{run}");
    assert_eq!((&run["stats"]["substituted"], &run["samples"]), (&serde_json::json!(1), &serde_json::json!(607)));
    dsctl!["load", dataset, "--errors", "skip"].ended(2).says(&["fail or substitute"]);
}

/// Runs `dsctl` where no file may become larger than so many blocks of 512 or 1,024 bytes: what a full disk refuses, also for root.
#[cfg(target_os = "linux")]
fn run_full(blocks: u32, args: &[&std::ffi::OsStr]) -> crate::run::Ran {
    let script = format!("trap '' XFSZ; ulimit -f {blocks}; exec \"$0\" \"$@\"");
    let mut shell = std::process::Command::new("sh");
    shell.args(["-c", &script]).arg(env!("CARGO_BIN_EXE_dsctl")).args(args).env_remove("RUST_BACKTRACE");
    let done = shell.stdin(std::process::Stdio::null()).output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    crate::run::Ran { code: done.status.code(), out: text(done.stdout), err: text(done.stderr) }
}

#[cfg(target_os = "linux")]
#[test]
fn out_of_disk_is_an_error_that_names_the_file_and_leaves_what_was_there() {
    let dir = tempfile::tempdir().unwrap();
    let (dataset, state, dump) = (dir.path().join("dataset"), dir.path().join("state.json"), dir.path().join("dump"));
    dsctl!["ingest", fixture("images"), dataset].ok();
    dsctl!["load", dataset, "--batch", "4", "--limit", "2", "--state-out", state].ok();
    let before = std::fs::read(&state).unwrap();
    let args = |more: &[&str], files: &[&std::path::PathBuf]| -> Vec<std::ffi::OsString> {
        let mut all: Vec<std::ffi::OsString> = vec!["load".into(), dataset.clone().into()];
        all.extend(["--batch", "4", "--limit", "1"].map(Into::into));
        more.iter().zip(files).for_each(|(flag, file)| all.extend([(*flag).into(), (*file).into()]));
        all
    };
    let of = |blocks, args: &[std::ffi::OsString]| {
        run_full(blocks, &args.iter().map(AsRef::as_ref).collect::<Vec<&std::ffi::OsStr>>())
    };
    // The state that was there is still the one to go on with.
    of(0, &args(&["--state-in", "--state-out"], &[&state, &state])).ended(1).says(&["state.tmp", "cannot write"]);
    assert_eq!(std::fs::read(&state).unwrap(), before);
    let left = |dir: &std::path::Path| std::fs::read_dir(dir).unwrap().count();
    assert_eq!(left(dir.path()), 2, "nothing is left beside the state and the dataset");
    of(2, &args(&["--dump"], &[&dump])).ended(1).says(&["dump"]);
    assert_eq!(left(dir.path()), 2, "no half dump");
    // With room it goes on from there.
    let mut with_digest = args(&["--state-in"], &[&state]);
    with_digest.push("--digest".into());
    let (one, more) = (dsctl!["load", dataset, "--batch", "4", "--digest"].ok(), of(1 << 20, &with_digest).ok());
    let third = one.out.lines().find(|line| line.starts_with("epoch 0 batch 2 ")).unwrap();
    assert!(more.out.contains(third), "{} without {third}", more.out);
}
