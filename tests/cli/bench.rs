//! `dsctl bench`: numbers that fit together, advice that fits what is stored.

use crate::common::fixture;
use crate::run::folder;

#[test]
fn the_stages_add_up_and_advice_follows_what_is_stored() {
    let dir = folder();
    let (plain, indexed) = (dir.path().join("plain"), dir.path().join("indexed"));
    dsctl!["ingest", fixture("images"), plain, "--quiet"].ok();
    dsctl!["ingest", fixture("images"), indexed, "--prepare", "crop", "--quiet"].ok();
    let recipe = fixture("recipes/images.toml");
    let told = dsctl!["bench", plain, "--recipe", recipe, "--seconds", "0.3", "--json", "--threads", "1"].ok().json();
    let number = |name: &str| told[name].as_f64().unwrap_or_else(|| panic!("{name} in {told}"));
    assert!(number("samples") > 0.0 && number("batches") > 0.0 && number("seconds") >= 0.3);
    assert!((number("samples_per_second") * number("seconds") - number("samples")).abs() < 1.0, "{told}");
    let stages = told["stages"].as_array().unwrap();
    let shares: f64 = stages.iter().map(|stage| stage["share"].as_f64().unwrap()).sum();
    assert!((shares - 1.0).abs() < 1e-6 && stages.len() == 5, "{told}");
    let most = stages.iter().max_by(|a, b| a["share"].as_f64().unwrap().total_cmp(&b["share"].as_f64().unwrap()));
    assert_eq!(told["bottleneck"], most.unwrap()["name"]);
    assert!(number("cpu_ms_per_sample") >= number("floor_ms_per_sample"), "{told}");
    assert!(number("peak_bytes") >= number("peak_anonymous_bytes") && number("first_batch_seconds") > 0.0);
    let says_crop = |told: &serde_json::Value| told["advice"].to_string().contains("--prepare crop");
    assert_eq!(says_crop(&told), told["bottleneck"] == "decode");
    let with = dsctl!["bench", indexed, "--recipe", recipe, "--seconds", "0.1", "--json"].ok().json();
    assert!(!says_crop(&with), "what is so already is no advice: {with}");
    // Nor is it one to make pictures smaller than what is made of them, or to index what is small.
    let small = dir.path().join("small");
    dsctl!["ingest", fixture("images"), small, "--image-max-side", "40", "--quiet"].ok();
    let squares = dir.path().join("squares.toml");
    std::fs::write(&squares, "[columns.image]\nops = [{ op = \"resize\", size = [48, 48] }]\n").unwrap();
    for (dataset, is_larger) in [(&small, false), (&plain, true)] {
        let told = dsctl!["bench", dataset, "--recipe", &squares, "--seconds", "0.1", "--json"].ok().json();
        let says = told["advice"].to_string().contains("--prepare resize");
        assert!(!says || is_larger, "{told}");
        assert!(says || told["bottleneck"] != "decode" || !is_larger, "{told}");
    }
    let text = dsctl!["bench", plain, "--seconds", "0.1", "--progress", "none"].ok().out;
    for part in ["samples/s", "decode", "floor", "first batch", "most of the time"] {
        assert!(text.contains(part), "no {part:?} in {text}");
    }
}

#[test]
fn what_cannot_be_measured_is_said() {
    let dir = folder();
    let dataset = dir.path().join("d");
    dsctl!["ingest", fixture("images"), dataset, "--quiet"].ok();
    dsctl!["bench", dataset, "--seconds", "0"].ended(2).says(&["--seconds"]);
    dsctl!["bench", dataset, "--batch", "500", "--tail", "drop"].ended(2).says(&["no batch"]);
    dsctl!["bench", dir.path().join("nowhere")].ended(1).says(&["nowhere"]);
}
