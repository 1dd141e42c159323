//! `dsctl plan`: what it says is what `load` does.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::common::fixture;
use crate::run::folder;

#[test]
fn a_step_explained_is_the_step_loaded() {
    let dir = folder();
    let dataset = dir.path().join("d");
    dsctl!["ingest", fixture("images"), dataset, "--quiet"].ok();
    let recipe = fixture("recipes/images.toml");
    let dump = dir.path().join("dump.safetensors");
    let choice = ["--where", "label in ['pants', 'shoes']", "--order", "windowed", "--batch", "3", "--epoch", "2"];
    let [condition, list, order, windowed, batch, three, epoch, two] = choice;
    dsctl![
        "load", dataset, "--recipe", recipe, condition, list, order, windowed, batch, three, epoch, two, "--dump", dump
    ]
    .ok();
    let bytes = std::fs::read(&dump).unwrap();
    let tensors = safetensors::SafeTensors::deserialize(&bytes).unwrap();
    let planned = |step: &str| -> Value {
        dsctl![
            "plan", dataset, "--recipe", recipe, condition, list, order, windowed, batch, three, epoch, two, "--step",
            step, "--json"
        ]
        .ok()
        .json()
    };
    let steps = planned("0")["steps"].as_u64().unwrap();
    assert!(steps >= 2, "{steps}");
    for step in 0..steps {
        let plan = planned(&step.to_string());
        let slots = plan["slots"].as_array().unwrap();
        let told: String = slots.iter().filter_map(|slot| slot["id"].as_str()).collect();
        let loaded = tensors.tensor(&format!("{step}/ids/values")).unwrap();
        assert_eq!(told.as_bytes(), loaded.data());
        let wanted = |id: &str| id.contains("/pants/") || id.contains("/shoes/");
        assert!(slots.iter().all(|slot| slot["valid"] == false || wanted(slot["id"].as_str().unwrap())));
        let drawn = &slots[0]["draws"]["image"];
        assert_eq!(drawn[0][0], "random_resized_crop", "{drawn}");
        assert!(drawn[0][1]["width"].as_u64().unwrap() > 0);
    }
    let text = dsctl!["plan", dataset, "--recipe", recipe, "--step", "0"].ok().out;
    assert!(text.contains("random_resized_crop") && text.contains("global batch 0"), "{text}");
}

#[test]
fn folds_on_the_command_line_part_the_rows() {
    let dir = folder();
    let dataset = dir.path().join("d");
    dsctl!["ingest", fixture("images"), dataset, "--quiet"].ok();
    let rows =
        |flag: &str, fold: &str| dsctl!["plan", dataset, flag, fold, "--json"].ok().json()["rows"].as_u64().unwrap();
    let all = dsctl!["plan", dataset, "--json"].ok().json()["rows"].as_u64().unwrap();
    assert_eq!((0..3).map(|n| rows("--only-fold", &format!("{n}/3"))).sum::<u64>(), all);
    for n in 0..3 {
        let fold = format!("{n}/3");
        assert_eq!(rows("--only-fold", &fold) + rows("--hold-out", &fold), all);
    }
    assert_eq!(rows("--subset", "5"), 5);
}

#[test]
fn balanced_classes_are_told() {
    let dir = folder();
    let dataset = dir.path().join("d");
    dsctl!["ingest", fixture("images"), dataset, "--quiet"].ok();
    let few = "not (label = 'pants' and id like '%42%')";
    let plan = dsctl!["plan", dataset, "--where", few, "--balance", "label", "--json"].ok().json();
    let classes = plan["classes"].as_array().unwrap();
    let sum = |what: &str| classes.iter().map(|class| class[what].as_u64().unwrap()).sum::<u64>();
    assert_eq!((sum("rows"), sum("samples")), (plan["rows"].as_u64().unwrap(), plan["samples"].as_u64().unwrap()));
    let samples: BTreeSet<u64> = classes.iter().map(|class| class["samples"].as_u64().unwrap()).collect();
    assert!(samples.len() <= 2 && classes.len() == 3, "{classes:?}");
    let text = dsctl!["plan", dataset, "--balance", "label"].ok().out;
    assert!(text.contains("t-shirt") && text.contains("samples"), "{text}");
    dsctl!["plan", dataset, "--balance", "image"].ended(2).says(&["there are: label"]);
}

#[test]
fn tasks_are_the_epoch_in_parts() {
    let dir = folder();
    let dataset = dir.path().join("d");
    dsctl!["ingest", fixture("images"), dataset, "--quiet"].ok();
    let recipe = fixture("recipes/images.toml");
    let digests = |ran: crate::run::Ran| ran.ok().json()["digests"].as_array().unwrap().clone();
    let whole = digests(dsctl!["load", dataset, "--recipe", recipe, "--batch", "4", "--digest", "--json"]);
    assert!(whole.len() > 4);
    for tasks in [1, 2, 3, 4, 100] {
        let number = tasks.to_string();
        let plan = dsctl!["plan", dataset, "--recipe", recipe, "--batch", "4", "--tasks", number, "--json"].ok().json();
        let list = plan["tasks"].as_array().unwrap();
        assert_eq!(list.len(), whole.len().min(tasks));
        let mut parts = Vec::new();
        for task in list {
            let steps = format!("{}..{}", task["steps"][0], task["steps"][1]);
            parts.extend(digests(dsctl![
                "load", dataset, "--recipe", recipe, "--batch", "4", "--digest", "--json", "--steps", steps
            ]));
        }
        assert_eq!(parts, whole, "{tasks} tasks");
    }
    dsctl!["load", dataset, "--recipe", recipe, "--batch", "4", "--steps", "4..7"].ended(2).says(&["of 6 steps"]);
    let part =
        dsctl!["load", dataset, "--recipe", recipe, "--batch", "4", "--tail", "drop", "--steps", "0..2", "--json"].ok();
    assert_eq!(part.json()["dropped"], 0);
    for wrong in ["3", "3..3", "4..2", "..", "a..b"] {
        dsctl!["load", dataset, "--steps", wrong].ended(2).says(&["10..20"]);
    }
    dsctl!["plan", dataset, "--tasks", "0"].ended(2);
}

#[test]
fn recipes_are_compared() {
    let dir = folder();
    let dataset = dir.path().join("d");
    dsctl!["ingest", fixture("images"), dataset, "--quiet"].ok();
    let recipe = fixture("recipes/images.toml");
    let other = |from: &str, to: &str| {
        let path = dir.path().join("other.toml");
        let text = std::fs::read_to_string(&recipe).unwrap();
        assert!(text.contains(from));
        std::fs::write(&path, text.replace(from, to)).unwrap();
        dsctl!["plan", dataset, "--recipe", recipe, "--diff", path, "--json"].ok().json()["diff"].clone()
    };
    let same = other("batch = 8", "batch = 8\nrun = { threads = 3 }");
    assert_eq!((&same["same_digest"], &same["first_other_place"]), (&Value::Bool(true), &Value::Null), "{same}");
    assert_eq!(same["fields"]["run.threads"], serde_json::json!([0, 3]));
    let seed = other("seed = 7", "seed = 8");
    assert_eq!(
        (&seed["same_digest"], seed["first_other_place"].as_u64().is_some()),
        (&Value::Bool(false), true),
        "{seed}"
    );
    let crop = other("size = 64", "size = 32");
    assert_eq!((&crop["same_digest"], &crop["first_other_place"]), (&Value::Bool(false), &Value::Null), "{crop}");
    let text = dsctl!["plan", dataset, "--recipe", recipe, "--diff", recipe].ok().out;
    assert!(text.contains("the batches are the same") && text.contains("at the first 21 places of 21"), "{text}");
}

#[test]
fn orders_are_scored_side_by_side() {
    let dir = folder();
    let dataset = dir.path().join("d");
    dsctl!["ingest", fixture("images"), dataset, "--quiet"].ok();
    let scores = dsctl!["plan", dataset, "--score", "--batch", "4", "--json"].ok().json()["scores"].clone();
    let of =
        |name: &str| scores.as_array().unwrap().iter().find(|s| s[0] == name).unwrap()[1]["score"].as_f64().unwrap();
    assert_eq!(of("sequential"), 0.0);
    assert!(of("shuffle") > 0.5, "{scores}");
    let names: BTreeSet<&str> = scores.as_array().unwrap().iter().filter_map(|s| s[0].as_str()).collect();
    assert_eq!(names, BTreeSet::from(["buffer of 1000", "sequential", "shuffle", "windowed"]));
    let text = dsctl!["plan", dataset, "--score"].ok().out;
    assert!(text.contains("neighbours") && text.lines().count() >= 9, "{text}");
}

#[test]
fn what_cannot_be_planned_is_refused() {
    let dir = folder();
    let dataset = dir.path().join("d");
    dsctl!["ingest", fixture("images"), dataset, "--quiet"].ok();
    for (flag, value, said) in [
        ("--where", "label = 'pnats'", "it has: pants, shoes"),
        ("--where", "label = ", "it ends where"),
        ("--step", "900", "there is no step 900"),
        ("--hold-out", "3/3", "part 3 of 3"),
        ("--hold-out", "3", "0/5"),
        ("--subset", "-1", "a share of them"),
        ("--where", "image.duration < 1", "image has no fact"),
        ("--order", "random", "sequential, shuffle or windowed"),
    ] {
        let flag = format!("{flag}={value}");
        dsctl!["plan", dataset, flag].ended(2).says(&[said]);
    }
}

#[test]
fn a_mixture_is_planned_and_loaded_from_its_recipe() {
    let dir = folder();
    for name in ["photos", "more"] {
        dsctl!["ingest", fixture("images"), dir.path().join(name), "--quiet"].ok();
    }
    let recipe = dir.path().join("mix.toml");
    let text = "batch = 4\ntail = \"pad\"\nmixture = { exhausted = \"repeat\" }\n[sources.photos]\ndataset = \"photos\"\nsplit = \"train\"\nweight = 3\nbalance = { by = \"label\", power = 1.0 }\n[sources.test]\ndataset = \"more\"\nsplit = \"test\"\nweight = 1\n[columns.image]\nops = [{ op = \"resize\", size = [8, 8] }]\n[columns.label]\n";
    std::fs::write(&recipe, text).unwrap();
    // Its paths are from its folder, wherever one stands.
    let plan = dsctl!["plan", "--recipe", recipe, "--step", "0", "--score", "--json"].ok().json();
    let sources = plan["sources"].as_array().unwrap();
    let of = |at: usize, what: &str| sources[at][what].as_u64().unwrap();
    assert_eq!((sources[0]["source"].as_str(), sources[1]["source"].as_str()), (Some("photos"), Some("test")));
    assert_eq!(of(0, "samples") + of(1, "samples"), plan["samples"].as_u64().unwrap());
    assert!(of(0, "samples").abs_diff(3 * of(1, "samples")) <= 3 && of(0, "samples") >= of(0, "rows"), "{plan}");
    assert!(sources[0]["classes"].is_array() && sources[1]["scores"].is_array());
    let slots = plan["slots"].as_array().unwrap();
    assert!(slots.iter().all(|slot| ["photos", "test"].contains(&slot["source"].as_str().unwrap())), "{slots:?}");
    let text = dsctl!["plan", "--recipe", recipe, "--step", "0", "--score"].ok().out;
    assert!(text.contains("source photos:") && text.contains("source test:") && text.contains("t-shirt"), "{text}");

    let digests = |args: &[&str]| {
        let mut all: Vec<std::ffi::OsString> = vec!["load".into(), "--recipe".into(), recipe.clone().into()];
        all.extend(["--digest"].iter().chain(args).map(Into::into));
        let run = crate::run::run(&all).ok();
        run.out.lines().filter(|l| l.contains(" batch ")).map(str::to_owned).collect::<Vec<_>>()
    };
    let whole = digests(&[]);
    let state = dir.path().join("state");
    let first = digests(&["--limit", "2", "--state-out", state.to_str().unwrap()]);
    let rest = digests(&["--state-in", state.to_str().unwrap()]);
    assert_eq!([first, rest].concat(), whole);
    let moved = dir.path().join("moved");
    std::fs::rename(dir.path().join("more"), &moved).unwrap();
    dsctl!["load", "--recipe", recipe].ended(1).says(&["more"]);
    std::fs::rename(&moved, dir.path().join("more")).unwrap();
    dsctl!["load", dir.path().join("photos"), "--recipe", recipe].ended(2).says(&["sources"]);
    dsctl!["load", "--recipe", recipe, "--version", "1"].ended(2).says(&["version = 3"]);
    dsctl!["plan"].ended(2).says(&["DATASET"]);
    // Another weight: the digests differ, and so do the rows.
    let other = dir.path().join("other.toml");
    std::fs::write(&other, std::fs::read_to_string(&recipe).unwrap().replace("weight = 3", "weight = 2")).unwrap();
    let diff = dsctl!["plan", "--recipe", recipe, "--diff", other, "--json"].ok().json();
    assert_eq!(diff["diff"]["fields"]["sources.photos.weight"], serde_json::json!([3.0, 2.0]));
    assert_eq!(diff["diff"]["same_digest"], false);
    assert!(diff["diff"]["first_other_place"].is_u64());
}

#[test]
fn lengths_make_batches_and_rows_and_the_padding_is_told() {
    let dir = folder();
    let (sounds, tokens) = (dir.path().join("s"), dir.path().join("t"));
    dsctl!["ingest", fixture("digits"), sounds, "--quiet"].ok();
    let config = dir.path().join("tokens.toml");
    std::fs::write(&config, "[prepare.columns.text]\nops = [{ op = \"bytes_to_ids\" }]\n").unwrap();
    dsctl!["ingest", fixture("text/shakespeare_20k.txt"), tokens, "--config", config, "--quiet"].ok();
    let told = |plan: &Value, name: &str| -> Value {
        let lines = plan["padding"].as_array().unwrap();
        lines.iter().find(|line| line["batches_of"] == name).unwrap_or_else(|| panic!("{name}: {lines:?}")).clone()
    };
    let waste = |plan: &Value, name: &str| told(plan, name)["waste"].as_f64().unwrap();
    let bucket = ["--bucket", "audio.count", "--batch", "4", "--tail", "pad"];
    let [b, by, n, four, t, pad] = bucket;
    let plan = dsctl!["plan", sounds, b, by, n, four, t, pad, "--waste", "--step", "0", "--json"].ok().json();
    assert!(waste(&plan, "bucket") < waste(&plan, "as they come"), "{plan}");
    assert_eq!(plan["at"], serde_json::json!({"window": 0, "batch": 0}));
    let text = dsctl!["plan", sounds, b, by, n, four, t, pad, "--step", "0"].ok().out;
    assert!(text.contains("window 0, global batch 0") && !text.contains("null"), "{text}");
    assert!(plan["slots"].as_array().unwrap().iter().all(|slot| slot["length"].as_u64().unwrap() > 0));
    let pack =
        dsctl!["plan", tokens, "--pack", "text:256", "--batch", "4", "--waste", "--step", "1", "--json"].ok().json();
    assert!(waste(&pack, "pack, best") < 0.1 && waste(&pack, "as they come") > 0.2, "{pack}");
    assert!(pack["slots"][0]["pieces"].as_array().unwrap().len() > 1, "{pack}");
    let text = dsctl!["plan", tokens, "--pack", "text:256", "--batch", "4", "--waste", "--step", "1"].ok().out;
    assert!(text.contains("waste") && text.contains("length "), "{text}");

    // As many batches as are said come, and a state goes on among them.
    let whole = dsctl!["load", tokens, "--pack", "text:256", "--batch", "4", "--digest"].ok().out;
    let whole: Vec<&str> = whole.lines().filter(|line| line.contains(" batch ")).collect();
    assert_eq!(whole.len() as u64, pack["steps"].as_u64().unwrap());
    let state = dir.path().join("state");
    dsctl!["load", tokens, "--pack", "text:256", "--batch", "4", "--limit", "3", "--state-out", state].ok();
    let rest = dsctl!["load", tokens, "--pack", "text:256", "--batch", "4", "--state-in", state, "--digest"].ok().out;
    assert_eq!(rest.lines().filter(|line| line.contains(" batch ")).collect::<Vec<_>>(), whole[3..]);
    dsctl!["load", tokens, "--pack", "text:32", "--batch", "4", "--state-in", state].ended(2).says(&["the recipe"]);
    // Of very many samples no more is formed than is asked for.
    let endless = dir.path().join("endless.toml");
    let text = "batch = 4\nmixture = { exhausted = \"repeat\", samples = 18446744073709551615 }\n[sources.t]\ndataset = \"t\"\n[pack]\ncolumn = \"text\"\nlength = 256\n";
    std::fs::write(&endless, text).unwrap();
    let plan = dsctl!["plan", "--recipe", endless, "--step", "7", "--json"].ok().json();
    assert!(plan["steps"].is_null() && plan["slots"].as_array().unwrap().len() == 4, "{plan}");
    assert!(dsctl!["plan", "--recipe", endless].ok().out.contains("not counted"));
    let some = dsctl!["load", "--recipe", endless, "--limit", "3", "--json"].ok().json();
    assert_eq!(some["batches"], 3);
    dsctl!["load", tokens, "--pack", "text:256", "--steps", "0..100000"].ended(2).says(&["of an epoch of"]);
    dsctl!["load", sounds, "--pack", "audio:64"].ended(2).says(&["as audio", "dsctl ingest"]);
    dsctl!["load", sounds, "--pack", "audio"].ended(2).says(&["tokens:2048"]);
    dsctl!["plan", sounds, "--waste"].ended(2).says(&["--bucket"]);
    dsctl!["plan", sounds, "--bucket", "audio.frames"].ended(2).says(&["frames", "it has"]);
}
