//! `dsctl detect`, `head`, `schema`, `stats`, `list`, `doctor`, `completions`, `man`, and what comes before what.

use serde_json::{Value, json};

use crate::common::{fixture, gray_png};
use crate::run::{command, copies, files, flip, folder};

#[test]
fn detect_says_what_and_why_and_writes_nothing() {
    let shown = dsctl!["detect", fixture("images"), "--list", "--json"].ok().json();
    assert_eq!((&shown["format"], &shown["files"]["contents"]["image"]), (&json!("folder"), &json!(32)));
    assert_eq!(shown["candidates"][0]["format"], "folder");
    let listing = &shown["listing"];
    assert_eq!(listing["splits"], json!({"test": 11, "train": 21}));
    assert_eq!(listing["classes"], json!({"pants": 11, "shoes": 11, "t-shirt": 10}));
    assert_eq!((&listing["entries"], &listing["refused"]), (&json!(32), &json!(0)));

    let root = folder();
    for (name, bytes) in
        [("rows.csv", &b"text,label\na,x\nb,y\n"[..]), ("book.txt", b"one\ntwo\n"), ("odd.bin", b"\0\x01")]
    {
        std::fs::write(root.path().join(name), bytes).unwrap();
    }
    let before = files(root.path());
    let csv = dsctl!["detect", root.path().join("rows.csv"), "--list"].ok();
    assert!(csv.out.contains("read as manifest") && csv.out.contains("label: class label"), "{}", csv.out);
    assert!(csv.err.contains("next: dsctl ingest"), "{}", csv.err);
    let text = dsctl!["detect", root.path().join("book.txt"), "--json"].ok().json();
    assert_eq!(text["format"], "text");
    let odd = dsctl!["detect", root.path().join("odd.bin")].ended(2).says(&["no source recognises it", "--format"]);
    assert!(odd.out.contains("1 of no known kind"), "{}", odd.out);
    let odd = dsctl!["detect", root.path().join("odd.bin"), "--json"].ended(2).json();
    assert_eq!((&odd["format"], &odd["exit_code"]), (&Value::Null, &json!(2)));
    let asked = dsctl!["detect", root.path().join("odd.bin"), "--format", "text"].ok();
    assert!(asked.out.contains("asked for, nothing speaks for it"), "{}", asked.out);
    dsctl!["detect", root.path(), "--format", "cocoa"].ended(2).says(&["no source format called", "folder"]);
    dsctl!["detect", root.path().join("nowhere")].ended(1).says(&["nowhere"]);
    assert_eq!(files(root.path()), before);

    let dataset = root.path().join("d");
    dsctl!["ingest", fixture("digits"), dataset, "--quiet"].ok();
    let own = dsctl!["detect", dataset, "--json"].ok().json();
    assert_eq!((&own["format"], &own["version"], &own["rows"]), (&json!("feedstock"), &json!(1), &json!(16)));
    let shards = dsctl!["detect", dataset.join("data"), "--json"].ok().json();
    assert_eq!((&shards["format"], &shards["version"]), (&json!("parquet"), &Value::Null));
}

#[test]
fn detect_names_what_the_listing_refuses() {
    let root = folder();
    std::fs::write(root.path().join("rows.jsonl"), "{\"text\": \"a\"}\n{\"text\": \n{\"text\": \"b\"}\n").unwrap();
    let shown = dsctl!["detect", root.path().join("rows.jsonl"), "--list", "--json"].ok().json();
    assert_eq!((&shown["listing"]["entries"], &shown["listing"]["refused"]), (&json!(2), &json!(1)));
    assert!(shown["listing"]["refused_first"][0]["id"].as_str().is_some_and(|id| id.contains('2')), "{shown}");
}

#[test]
fn head_shows_rows_of_every_kind() {
    let clip = dsctl!["head", fixture("clips"), "-n", "1"].ok().out;
    assert!(clip.contains("64") && clip.contains("frames/s"), "{clip}");
    let digit = dsctl!["head", fixture("digits"), "-n", "2", "--json"].ok().json();
    assert_eq!(digit.as_array().unwrap().len(), 2);
    let facts = &digit[0]["media"]["audio"];
    assert_eq!((&facts["format"], &facts["rate"], &facts["count"]), (&json!("wav"), &json!(8000), &json!(2688)));
    let text = dsctl!["head", fixture("text/shakespeare_20k.txt"), "-n", "1", "--json"].ok().json();
    assert_eq!(text[0]["media"]["text"]["text"], "First Citizen:");
    assert_eq!(text[0]["split"], "train");
    let train = dsctl!["head", fixture("images"), "--split", "train", "-n", "3"].ok().out;
    assert_eq!(train.lines().filter(|l| l.contains("(train)")).count(), 3, "{train}");
    dsctl!["head", fixture("images"), "--split", "trian"].ended(2).says(&["trian", "test, train"]);
}

#[test]
fn schema_speaks_three_languages() {
    let arrow = dsctl!["schema", fixture("images"), "--json"].ok().json();
    let names: Vec<&str> = arrow.as_array().unwrap().iter().map(|f| f["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["id", "image", "label", "info"]);
    let hf = dsctl!["schema", fixture("images"), "--as", "hf"].ok().json();
    assert_eq!(hf["label"], json!({"names": ["pants", "shoes", "t-shirt"], "_type": "ClassLabel"}));
    let row = dsctl!["schema", fixture("images"), "--as", "json-schema"].ok().json();
    let image = &row["properties"]["media"]["properties"]["image"];
    assert!(image["properties"]["format"]["enum"].as_array().unwrap().contains(&json!("jpeg")), "{row}");
    assert_eq!(row["properties"]["values"]["required"], json!(["label"]));
}

/// Levels of the training pictures and the digits by Pillow, soundfile and numpy:
/// `a.mean(0), a.std(0)` over all pixels as float64 / 255, and over all samples.
#[test]
fn stats_are_those_of_numpy_on_any_threads() {
    let one = dsctl!["stats", fixture("images"), "--decode", "--json", "--threads", "1"].ok();
    let shown = one.json();
    assert_eq!(dsctl!["stats", fixture("images"), "--decode", "--json", "--threads", "3"].ok().out, one.out);
    let (image, label) = (&shown["splits"]["train"]["columns"][0], &shown["splits"]["train"]["columns"][1]);
    assert_eq!(label["classes"], json!([["pants", 7], ["shoes", 7], ["t-shirt", 7]]));
    assert_eq!(image["media"]["formats"], json!({"jpeg": 18, "png": 3}));
    let levels = &image["media"]["levels"]["pixels"];
    assert_eq!((&levels["pixels"], &levels["payloads"], &levels["refused"]), (&json!(233_887), &json!(21), &json!(0)));
    let close = |found: &Value, wanted: &[f64], bound: f64| {
        let found: Vec<f64> = found
            .as_array()
            .map_or_else(|| vec![found.as_f64().unwrap()], |a| a.iter().map(|v| v.as_f64().unwrap()).collect());
        assert_eq!(found.len(), wanted.len());
        assert!(found.iter().zip(wanted).all(|(f, w)| (f - w).abs() < bound), "{found:?} {wanted:?}");
    };
    // Ours are exact integers to the last division; numpy adds 233,887 doubles pairwise: 1e-9 leaves it room.
    close(&levels["mean"], &MEAN, 1e-9);
    close(&levels["std"], &STD, 1e-9);
    let audio = dsctl!["stats", fixture("digits"), "--decode", "--json"].ok().json();
    let levels = &audio["splits"]["train"]["columns"][0]["media"]["levels"]["samples"];
    assert_eq!(levels["samples"], json!(45_828));
    close(&levels["mean"], &[WAVE[0]], 1e-9);
    close(&levels["std"], &[WAVE[1]], 1e-9);
    close(&levels["peak"], &[WAVE[2]], 1e-12);
    let few = dsctl!["stats", fixture("images"), "--decode", "2", "--split", "test", "--json"].ok().json();
    assert_eq!(few["splits"]["test"]["columns"][0]["media"]["levels"]["pixels"]["payloads"], 2);
    assert!(few["splits"]["train"].is_null());
    dsctl!["stats", fixture("images"), "--split", "trian"].ended(2).says(&["trian", "test, train"]);
    let people = dsctl!["stats", fixture("images")].ok().out;
    assert!(people.contains("shoes                        7  33.33 %") && !people.contains("levels"), "{people}");
}

const MEAN: [f64; 3] = [0.529_102_045_842_983, 0.478_907_335_593_689_4, 0.458_853_542_229_259_2];
const STD: [f64; 3] = [0.249_797_082_576_030_87, 0.239_038_295_939_034_17, 0.236_076_113_070_417_18];
const WAVE: [f64; 3] = [-2.314_988_840_746_923e-5, 0.179_218_416_305_381_85, 0.5];

#[test]
fn stats_count_what_cannot_be_decoded() {
    let root = folder();
    for (name, level) in [("a/x.png", 0), ("a/y.png", 1), ("b/z.png", 2)] {
        let path = root.path().join("source").join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, gray_png(8 + level, 8)).unwrap();
    }
    let dataset = root.path().join("d");
    dsctl!["ingest", root.path().join("source"), dataset, "--quiet"].ok();
    let whole = dsctl!["stats", dataset, "--decode", "--json"].ok().json();
    let levels = &whole["splits"]["train"]["columns"][0]["media"]["levels"]["pixels"];
    assert_eq!((&levels["mean"][0], &levels["std"][0]), (&json!(90.0 / 255.0), &json!(0.0)));

    let row = dsctl!["inspect", dataset, "1", "--json"].ok().json();
    let at = row["media"]["image"]["offset"].as_u64().unwrap() as usize + 45;
    flip(std::path::Path::new(row["file"].as_str().unwrap()), at);
    let hurt = dsctl!["stats", dataset, "--decode", "--json"].ended(3).says(&["a/y.png"]);
    let levels = &hurt.json()["splits"]["train"]["columns"][0]["media"]["levels"]["pixels"];
    assert_eq!((&levels["payloads"], &levels["refused"]), (&json!(2), &json!(1)));
}

#[test]
fn list_has_every_row_of_every_table() {
    let shown = dsctl!["list", "--json"].ok().json();
    let names = |table: &str| -> Vec<String> {
        shown[table].as_array().unwrap().iter().map(|r| r["name"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(names("sources"), feedstock::source::SOURCES.iter().map(|s| s.name).collect::<Vec<_>>());
    assert_eq!(names("codecs"), feedstock::codec::CODECS.iter().map(|c| c.name()).collect::<Vec<_>>());
    assert_eq!(names("operations"), feedstock::augment::OPS.iter().map(|o| o.name).collect::<Vec<_>>());
    assert_eq!(names("backends"), feedstock::backend::BACKENDS.iter().map(|b| b.name).collect::<Vec<_>>());
    assert!(shown["operations"].as_array().unwrap().iter().all(|o| o["example"].is_object()));
    let one = dsctl!["list", "codecs"].ok().out;
    assert!(one.starts_with("codecs:\n  jpeg ") && !one.contains("operations"), "{one}");
}

#[test]
fn doctor_tries_a_place_and_leaves_nothing() {
    let root = folder();
    let shown = dsctl!["doctor", root.path(), "--json"].ok().json();
    assert!(shown.as_array().unwrap().iter().all(|f| f["ok"] == true), "{shown}");
    assert!(files(root.path()).is_empty() && std::fs::read_dir(root.path()).unwrap().next().is_none());
    let bad = dsctl!["doctor", "/proc"].ended(1);
    assert!(bad.out.contains("FAIL place: /proc") && bad.out.contains("help:"), "{}", bad.out);
}

#[test]
fn shells_and_man_know_every_verb() {
    let verbs = ["detect", "ingest", "load", "ls", "head", "inspect", "schema", "stats", "verify", "list", "doctor"];
    for shell in ["bash", "zsh", "fish"] {
        let script = dsctl!["completions", shell].ok().out;
        assert!(verbs.iter().all(|verb| script.contains(verb)), "{shell}");
    }
    let page = dsctl!["man"].ok().out;
    assert!(page.starts_with(".ie") && verbs.iter().all(|verb| page.contains(verb)), "{page}");
    let root = folder();
    dsctl!["man", root.path().join("man1")].ok();
    for verb in verbs {
        assert!(root.path().join(format!("man1/dsctl-{verb}.1")).is_file(), "{verb}");
    }
}

#[test]
fn a_flag_comes_before_the_environment_and_that_before_the_file() {
    let root = folder();
    copies(
        &root.path().join("s"),
        &[("images/train/pants/000_444.jpg", "a/0.jpg"), ("images/train/pants/001_422.jpg", "a/1.jpg")],
    );
    let config = root.path().join("c.toml");
    std::fs::write(&config, "check = \"thorough\"\n").unwrap();
    let ingest = |name: &str, env: &[(&str, &str)], flags: &[&str]| {
        let mut command = command();
        command.arg("ingest").arg(root.path().join("s")).arg(root.path().join(name)).arg("--quiet").args(flags);
        let done = command.arg("--json").envs(env.iter().copied()).output().unwrap();
        let json: Value = serde_json::from_slice(&done.stdout).unwrap_or_default();
        (done.status.code(), json["shards"].as_u64(), String::from_utf8(done.stderr).unwrap())
    };
    // A shard a row by the file, both in one by the environment, a shard a row again by the flag.
    std::fs::write(&config, "shard_bytes = 1\n").unwrap();
    let file = ["--config", config.to_str().unwrap()];
    let env = [("DSCTL_SHARD_BYTES", "1000000")];
    assert_eq!(ingest("default", &[], &[]).1, Some(1));
    assert_eq!(ingest("file", &[], &file).1, Some(2));
    assert_eq!(ingest("environment", &env, &file).1, Some(1));
    assert_eq!(ingest("flag", &env, &[file[0], file[1], "--shard-bytes", "1"]).1, Some(2));
    assert_eq!(ingest("named", &[("DSCTL_CONFIG", file[1])], &[]).1, Some(2), "the file by the environment");
    let wrong = ingest("wrong", &[("DSCTL_THREADS", "many")], &[]);
    assert_eq!(wrong.0, Some(2));
    assert!(wrong.2.contains("many"), "{}", wrong.2);
}

#[cfg(feature = "tokenizers")]
#[test]
fn a_tokenizer_is_trained_and_used() {
    let dir = folder();
    let (file, source) = (dir.path().join("tokenizer.json"), fixture("text/shakespeare_20k.txt"));
    let train = ["--vocab-size", "400", "--json", "--quiet"];
    let made = dsctl!["tokenizer", "train", source, file, train[0], train[1], train[2], train[3]].ok().json();
    assert_eq!((&made["model"], &made["vocabulary"]), (&serde_json::json!("bpe"), &serde_json::json!(400)));
    let again = dir.path().join("again.json");
    dsctl!["tokenizer", "train", source, again, train[0], train[1], "--threads", "1"].ok();
    assert!(std::fs::read(&file).unwrap() == std::fs::read(&again).unwrap(), "the same texts give the same file");
    dsctl!["tokenizer", "train", source, file].ended(2).says(&["is there already"]);
    dsctl!["tokenizer", "train", source, dir.path().join("x.json"), "--vocab-size", "9"]
        .ended(2)
        .says(&["258 or more"]);
    dsctl!["tokenizer", "train", fixture("images"), dir.path().join("x.json")].ended(2).says(&["has no text"]);
    dsctl!["tokenizer", "train", source, dir.path().join("x.json"), "--column", "note"]
        .ended(2)
        .says(&["there is: text"]);

    let recipe = dir.path().join("recipe.toml");
    let ops =
        format!("[columns.text]\nops = [{{ op = \"tokenize\", file = {file:?}, max_length = 16, pad = true }}]\n");
    std::fs::write(&recipe, ops).unwrap();
    let out = dsctl!["load", source, "--recipe", recipe, "--digest", "--json"].ok();
    assert!(out.out.contains("digest"), "{out:?}");

    // What a refusal says makes the dataset that is packed.
    let (plain, counted, tokens) = (dir.path().join("plain"), dir.path().join("counted"), dir.path().join("tokens"));
    let [packs, bare] = [
        ("packs", format!("[columns.text]\nops = [{{ op = \"tokenize\", file = {file:?} }}]\n")),
        ("bare", String::new()),
    ]
    .map(|(name, columns)| {
        let path = dir.path().join(name);
        std::fs::write(&path, format!("batch = 2\n[pack]\ncolumn = \"text\"\nlength = 128\n{columns}")).unwrap();
        path
    });
    dsctl!["ingest", source, plain].ok();
    let said = format!("dsctl ingest SOURCE DATASET --count-tokens {}", file.display());
    dsctl!["load", plain, "--recipe", packs].ended(2).says(&[&said]);
    dsctl!["ingest", source, counted, "--count-tokens", file].ok();
    dsctl!["ingest", source, tokens, "--tokenize", file].ok();
    let digests = |dataset: &std::path::Path, recipe: &std::path::Path| {
        let told = dsctl!["load", dataset, "--recipe", recipe, "--digest", "--json"].ok().json();
        told["epoch_digest"].as_str().unwrap().to_owned()
    };
    assert_eq!(digests(&counted, &packs), digests(&tokens, &bare));
    dsctl!["load", counted, "--bucket", "text_tokens", "--batch", "4"].ok();
    dsctl!["verify", counted].ok();
    dsctl!["ingest", source, dir.path().join("x"), "--count-tokens", file, "--tokenize", file]
        .ended(2)
        .says(&["cannot be used"]);
    let (count, store) = ("text=[{\"op\": \"bytes_to_ids\"}]", "text=[{\"op\": \"chars_to_ids\"}]");
    dsctl!["ingest", source, dir.path().join("x"), "--count-ops", count, "--store-ops", store]
        .ended(2)
        .says(&["--count-ops"]);
}
