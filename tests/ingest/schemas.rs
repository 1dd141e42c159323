//! `schemas/` says what the code writes: the same fields at every level, the same names of variants.

use crate::common::{fixture, made};
use feedstock::codec::Check;
use feedstock::data::info::Kind;
use feedstock::data::partition::Fractions;
use feedstock::ingest::InvalidUtf8;
use feedstock::loader::OnError;
use feedstock::plan::{Bucket, Exhausted, Fit, Long, Order, Pack, Phase, Tail};
use feedstock::prepare::AudioCodec;
use feedstock::recipe::{ColumnRecipe, OpConfig, Recipe};
use feedstock::revise::{SplitBy, SplitOptions, split};
use feedstock::source::{ChunkTail, SplitDirs, TextUnit};
use feedstock::store::Store;
use serde_json::{Value, json};

fn schema(name: &str) -> Value {
    let path = fixture("..").join("schemas").join(format!("{name}.schema.json"));
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

/// Holds a value against the part of JSON Schema that our files use. Returns how many objects were compared.
fn hold(value: &Value, schema: &Value, at: &str) -> usize {
    if let Some(choices) = schema.get("oneOf").and_then(Value::as_array) {
        let fits = choices.iter().filter(|c| std::panic::catch_unwind(|| hold(value, c, at)).is_ok()).count();
        assert_eq!(fits, 1, "{at}: {value} fits {fits} of the choices");
        return 1;
    }
    if let Some(choices) = schema.get("anyOf").and_then(Value::as_array) {
        let fits = choices.iter().any(|c| std::panic::catch_unwind(|| hold(value, c, at)).is_ok());
        assert!(fits, "{at}: {value} fits none of the choices");
        return 1;
    }
    if let Some(constant) = schema.get("const") {
        assert_eq!(value, constant, "{at}");
    }
    if let Some(names) = schema.get("enum").and_then(Value::as_array) {
        assert!(names.contains(value), "{at}: {value}");
    }
    let types: Vec<&str> = match &schema["type"] {
        Value::String(one) => vec![one],
        Value::Array(many) => many.iter().filter_map(Value::as_str).collect(),
        _ => Vec::new(),
    };
    let own = match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(n) if n.is_f64() => "number",
        Value::Number(_) => "integer",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    };
    assert!(types.is_empty() || types.contains(&own), "{at}: {own} is none of {types:?}");
    match value {
        Value::Array(items) => {
            items.iter().map(|item| schema.get("items").map_or(0, |s| hold(item, s, &format!("{at}[]")))).sum()
        }
        Value::Object(map) => {
            let properties = schema.get("properties").and_then(Value::as_object).cloned().unwrap_or_default();
            for name in schema.get("required").and_then(Value::as_array).into_iter().flatten() {
                assert!(map.contains_key(name.as_str().unwrap()), "{at}: {name} is missing");
            }
            let mut compared = 1;
            for (name, value) in map {
                let at = format!("{at}.{name}");
                match (properties.get(name), schema.get("additionalProperties")) {
                    (Some(property), _) => compared += hold(value, property, &at),
                    (None, Some(Value::Bool(false))) => panic!("{at} is not in the schema"),
                    (None, Some(other)) => compared += hold(value, other, &at),
                    (None, None) => {}
                }
            }
            compared
        }
        _ => 0,
    }
}

/// Every property of the schema is one that the value has.
fn complete(value: &Value, schema: &Value, at: &str) {
    let (Some(map), Some(properties)) = (value.as_object(), schema.get("properties").and_then(Value::as_object)) else {
        return;
    };
    for (name, property) in properties {
        let value = map.get(name).unwrap_or_else(|| panic!("{at}.{name} is in the schema and not in the code"));
        complete(value, property, &format!("{at}.{name}"));
    }
}

#[test]
fn the_recipe_schema_is_the_recipe() {
    let mut recipe = Recipe::default();
    let op = OpConfig { op: "resize".into(), params: json!({"size": 3}).as_object().unwrap().clone() };
    recipe.columns.insert("image".into(), ColumnRecipe { ops: vec![op], ..ColumnRecipe::default() });
    let all = json!({
        "dataset": "d", "version": 1, "weight": 2.0, "split": "train", "where": "label = 1", "fold": {"of": 5, "only": 0},
        "subset": {"share": 0.5}, "balance": {"by": "label", "power": 1.0}, "rename": {"a": "b"}, "absent": ["c"],
    });
    recipe.sources.insert("x".into(), serde_json::from_value(all.clone()).unwrap());
    recipe.mixture.samples = Some(3);
    recipe.partners_from = Some("x".into());
    recipe.bucket = Some(Bucket { by: "audio.count".into(), bounds: vec![5], padded: Some(9) });
    recipe.pack = Some(Pack { column: "text".into(), length: 5, ..Pack::default() });
    recipe.mixture.phases = vec![Phase { epoch: 1, batch: 2, weights: [("x".to_owned(), 1.0)].into() }];
    let value = json!(recipe);
    assert!(hold(&value, &schema("recipe"), "recipe") >= 12);
    let parts = schema("recipe")["properties"].clone();
    complete(&all, &json!({"properties": {"dataset": {}, "version": {}, "weight": {}}}), "source");
    for name in parts["sources"]["additionalProperties"]["properties"].as_object().unwrap().keys() {
        assert!(value["sources"]["x"].get(name).is_some(), "{name}");
    }
    complete(&value["mixture"]["phases"][0], &parts["mixture"]["properties"]["phases"]["items"], "phase");
    let pack = &parts["pack"]["properties"];
    Fit::ALL.iter().for_each(|fit| assert_eq!(hold(&json!(fit), &pack["fit"], "fit"), 0));
    Long::ALL.iter().for_each(|long| assert_eq!(hold(&json!(long), &pack["long"], "long"), 0));
    OnError::ALL.iter().for_each(|errors| assert_eq!(hold(&json!(errors), &parts["errors"], "errors"), 0));
    for exhausted in Exhausted::ALL {
        hold(&json!(exhausted), &parts["mixture"]["properties"]["exhausted"], "exhausted");
    }
    complete(&value, &schema("recipe"), "recipe");
    let choice = json!({
        "fold": {"of": 5, "only": 0, "by": "speaker"}, "subset": {"share": 0.5}, "where": "label = 1",
        "balance": {"by": "label", "weights": {"cat": 2.0}, "cap": 3.0},
    });
    let choice: Recipe = serde_json::from_value(choice).unwrap();
    assert!(hold(&json!(choice), &schema("recipe"), "recipe") >= 5);
    for (name, value) in
        [("fold", json!(choice.fold)), ("subset", json!(choice.subset)), ("balance", json!(choice.balance))]
    {
        let part = schema("recipe")["properties"][name]["anyOf"][0].clone();
        hold(&value, &part, name);
    }
    for order in Order::ALL {
        hold(&json!(order), &schema("recipe")["properties"]["order"], "order");
    }
    for tail in [Tail::Drop, Tail::Pad, Tail::Repeat] {
        hold(&json!(tail), &schema("recipe")["properties"]["tail"], "tail");
    }
}

/// The manifest of a fixture's dataset.
fn made_of(source: &str, options: &feedstock::ingest::IngestOptions) -> Value {
    let made = made(source, options);
    let root = made.dataset.root().join(".dsctl/versions/00000000000000000001.json");
    serde_json::from_str(&std::fs::read_to_string(root).unwrap()).unwrap()
}

#[test]
fn the_manifest_and_state_schemas_are_what_is_written() {
    let made = made("images", &feedstock::ingest::IngestOptions::default());
    let manifest = made_of("images", &feedstock::ingest::IngestOptions::default());
    assert!(hold(&manifest, &schema("manifest"), "manifest") >= 5);
    complete(&manifest, &schema("manifest"), "manifest");
    let prepare = json!({"columns": {"image": {"ops": [{"op": "to", "dtype": "f16"}]}}});
    let prepare = serde_json::from_value(prepare).unwrap();
    let prepared = feedstock::ingest::IngestOptions { prepare, ..Default::default() };
    let prepared = made_of("images", &prepared);
    assert_eq!(prepared["schema"][0]["feature"]["type"], "tensor");
    assert!(hold(&prepared, &schema("manifest"), "manifest") >= 7);
    let counts = json!({"columns": {"text": {"ops": [{"op": "bytes_to_ids"}], "count": true}}});
    let counts =
        feedstock::ingest::IngestOptions { prepare: serde_json::from_value(counts).unwrap(), ..Default::default() };
    let counts = made_of("text/shakespeare_20k.txt", &counts);
    assert_eq!(counts["schema"][1]["stored"]["mode"], "counts");
    assert!(hold(&counts, &schema("manifest"), "manifest") >= 7);
    // What stands over files is named beside their segment.
    let parts = vec![("train".to_owned(), 0.5), ("test".to_owned(), 0.5)];
    let options = SplitOptions {
        fractions: Fractions::new(parts).unwrap(),
        by: SplitBy::Row,
        seed: 0,
        only: Vec::new(),
        dry_run: false,
    };
    split(&Store::open(made.dataset.root()), &options).unwrap();
    let root = made.dataset.root().join(".dsctl/versions/00000000000000000002.json");
    let overlaid: Value = serde_json::from_str(&std::fs::read_to_string(root).unwrap()).unwrap();
    assert_eq!(overlaid["segments"][0]["changes"].as_object().unwrap().len(), 4);
    assert!(hold(&overlaid, &schema("manifest"), "manifest") >= 6);
    let state = Recipe::default().loader(made.dataset.clone()).unwrap().epoch(0).unwrap().state();
    hold(&json!(state), &schema("state"), "state");
    let with_sources = |state: &Value| {
        let mut state = state.clone();
        state["sources"] = json!(["0123abcd"]);
        state["window"] = json!(1);
        state
    };
    hold(&with_sources(&json!(state)), &schema("state"), "state");
    complete(&with_sources(&json!(state)), &schema("state"), "state");
    let mixed = crate::common::modalities().into_iter().find(|(_, _, recipe)| !recipe.sources.is_empty()).unwrap();
    let state = crate::common::loader(&mixed.1.dataset, &mixed.2).epoch(0).unwrap().state();
    assert_eq!(state.sources.len(), 2);
    hold(&json!(state), &schema("state"), "state");
}

#[test]
fn the_config_schema_is_what_an_ingest_takes() {
    let mut options = feedstock::ingest::IngestOptions::default();
    options.source.text_window = Some(feedstock::source::TextWindow::default());
    options.source.audio_chunks = Some(feedstock::source::AudioChunks::default());
    let source = &mut options.source;
    [source.start_column, source.end_column, source.duration_column] = ["a", "b", "c"].map(|name| Some(name.into()));
    source.whole_files = true;
    source.box_origin = Some(0);
    source.provenance = Some(feedstock::source::Provenance::default());
    source.assign = Some(feedstock::source::Assign::default());
    options.max_errors_per_class = Some("5%".parse().unwrap());
    (options.isolate, options.payload_seconds, options.checksum) = (true, 9.5, true);
    (options.quarantine_bytes, options.quarantine_total_bytes) = (7, 8);
    let column = feedstock::prepare::ColumnOptions { count: true, ..Default::default() };
    options.prepare.columns.insert("text".into(), column.clone());
    complete(
        &json!(column),
        &schema("config")["properties"]["prepare"]["properties"]["columns"]["additionalProperties"],
        "column",
    );
    let value = json!(options);
    assert!(hold(&value, &schema("config"), "config") >= 3);
    complete(&value, &schema("config"), "config");
    let properties = schema("config")["properties"].clone();
    for (at, values) in [
        ("check", json!([Check::Header, Check::Entropy, Check::Decode])),
        ("max_errors", json!(["10|1%", 25])),
        ("max_errors_per_class", json!(["10|1%", 25])),
        ("/source/text_unit", json!([TextUnit::Line, TextUnit::Paragraph, TextUnit::File, TextUnit::Window])),
        ("invalid_utf8", json!([InvalidUtf8::Refuse, InvalidUtf8::Replace])),
        ("/source/audio_chunks/tail", json!([ChunkTail::Keep, ChunkTail::Drop])),
        ("/prepare/audio/codec", json!([AudioCodec::Flac, AudioCodec::Wav, AudioCodec::Lossless, null])),
        ("/source/split_dirs", json!([SplitDirs::Auto, SplitDirs::Yes, SplitDirs::No])),
        ("/source/kind", json!([Kind::Image, Kind::Audio, Kind::Video, Kind::Text, null])),
    ] {
        // A path of properties below each other, as in a pointer.
        let path = at.strip_prefix('/').map_or_else(|| at.to_owned(), |path| path.replace('/', "/properties/"));
        let schema = properties.pointer(&format!("/{path}")).unwrap_or_else(|| panic!("{at}"));
        for value in values.as_array().unwrap() {
            hold(value, schema, at);
        }
        // As many as the code has.
        let count = schema["enum"].as_array().map_or(2, Vec::len);
        assert_eq!(count, values.as_array().unwrap().len(), "{at}");
    }
}

#[test]
fn the_index_schema_is_the_header_of_a_segment() {
    let made = made("images", &feedstock::ingest::IngestOptions::default());
    let header = json!(made.dataset.index().segments()[0].header());
    assert_eq!(hold(&header, &schema("index"), "index"), 1);
    // Pictures have no seek tables, clips have all there is.
    assert!(header.get("tables").is_none());
    let clips = crate::common::made("clips", &feedstock::ingest::IngestOptions::default());
    let header = json!(clips.dataset.index().segments()[0].header());
    hold(&header, &schema("index"), "index");
    complete(&header, &schema("index"), "index");
}

/// Every row of every kind, as `dsctl head` shows it, fits the schema of records and the one that `dsctl schema` makes for its
/// dataset.
#[cfg(feature = "cli")]
#[test]
fn the_record_schema_is_what_head_shows() {
    let dsctl = |args: &[&std::ffi::OsStr]| -> Value {
        let done = std::process::Command::new(env!("CARGO_BIN_EXE_dsctl")).args(args).output().unwrap();
        serde_json::from_slice(&done.stdout).unwrap_or_else(|e| panic!("{e}: {args:?}: {done:?}"))
    };
    for name in ["images", "digits", "clips", "text/shakespeare_20k.txt", "images_formats", "audio_formats"] {
        let path = fixture(name);
        let rows = dsctl(&["head".as_ref(), path.as_ref(), "-n".as_ref(), "30".as_ref(), "--json".as_ref()]);
        let own = dsctl(&["schema".as_ref(), path.as_ref(), "--as".as_ref(), "json-schema".as_ref()]);
        assert!(rows.as_array().unwrap().len() >= 10, "{name}");
        for row in rows.as_array().unwrap() {
            assert!(hold(row, &schema("record"), name) >= 3);
            complete(row, &json!({"properties": {"row": {}, "id": {}, "split": {}, "values": {}, "media": {}}}), name);
            assert!(hold(row, &own, name) >= 3, "{name}");
        }
        let no_text = json!({"values": {}, "media": {}, "row": -1});
        assert!(std::panic::catch_unwind(|| hold(&no_text, &own, name)).is_err());
    }
}

#[test]
fn the_schemas_of_validations_are_what_is_taken_and_said() {
    use feedstock::validate::{Severity, ValidateOptions, lints, validate};
    let options = ValidateOptions {
        split: Some("train".into()),
        set: [("dark".to_owned(), 2.0)].into(),
        severity: Severity::ALL.map(|severity| (severity.name().to_owned(), severity)).into(),
        ..ValidateOptions::default()
    };
    let value = json!(options);
    assert!(hold(&value, &schema("validate"), "validate") >= 4);
    complete(&value, &schema("validate"), "validate");
    hold(&json!(ValidateOptions::default()), &schema("validate"), "validate");
    // Whatever is dark is darker than twice white.
    let made = made("images", &feedstock::ingest::IngestOptions::default());
    let found = ValidateOptions { set: options.set, ..ValidateOptions::default() };
    let report = json!(validate(&made.dataset, &lints(), &found, &|_, _| Ok(())).unwrap());
    assert!(hold(&report, &schema("validation"), "validation") >= 20 + 30);
    complete(&report, &schema("validation"), "validation");
    let dark = report["lints"].as_array().unwrap().iter().find(|lint| lint["code"] == "dark").unwrap();
    complete(dark, &schema("validation")["properties"]["lints"]["items"], "lint");
    let finding = &schema("validation")["properties"]["lints"]["items"]["properties"]["findings"]["items"];
    complete(&dark["findings"][0], finding, "finding");
}

#[test]
fn what_does_not_fit_is_seen() {
    let wrong = |value: Value| std::panic::catch_unwind(|| hold(&value, &schema("recipe"), "recipe")).is_err();
    assert!(wrong(json!({"order": "random"})));
    assert!(wrong(json!({"bach": 3})));
    assert!(wrong(json!({"run": {"threads": "two"}})));
    assert!(!wrong(json!({"batch": 3})));
}
