//! Text from files to batches: windows and mended UTF-8 at ingest, tokens dense and ragged with their offsets, the digest of a
//! recipe that names a tokenizer.

use std::path::Path;
use std::sync::Arc;

use crate::common::{batches, fixture, made};
use feedstock::data::batch::{Batch, Column, Dense, Ragged};
use feedstock::data::tensor::DType;
use feedstock::dataset::Dataset;
use feedstock::ingest::{Control, IngestOptions, InvalidUtf8, MaxErrors, ingest};
use feedstock::plan::World;
use feedstock::recipe::Recipe;
use feedstock::source::{Count, Cut, SourceOptions, TextUnit, TextWindow};
use serde_json::{Value, json};

fn recipe(ops: Value) -> Recipe {
    let columns = json!({"text": {"ops": ops}});
    serde_json::from_value(json!({"batch": 5, "order": "sequential", "tail": "pad", "columns": columns})).unwrap()
}

fn tokenizer(name: &str) -> String {
    fixture(&format!("tokenizers/{name}.json")).to_str().unwrap().to_owned()
}

fn dense<'a>(batch: &'a Batch, name: &str) -> &'a Dense {
    match batch.column(name).unwrap() {
        Column::Dense(dense) => dense,
        other => panic!("{other:?}"),
    }
}

fn ragged<'a>(batch: &'a Batch, name: &str) -> &'a Ragged {
    match batch.column(name).unwrap() {
        Column::Ragged(ragged) => ragged,
        other => panic!("{other:?}"),
    }
}

fn text(dataset: &Dataset, id: &str) -> String {
    let mut bytes = Vec::new();
    let row = (0..dataset.rows()).find(|row| dataset.index().row(*row).id() == id).unwrap();
    dataset.fetch(row, 0, &mut bytes).unwrap();
    String::from_utf8(bytes).unwrap()
}

/// Padded and ragged batches hold the same ids, lengths say where padding begins, offsets point at the words.
#[test]
fn tokens_are_dense_with_lengths_or_ragged_and_offsets_lie_beside() {
    let made = made("text/unicode.txt", &IngestOptions::default());
    let op = json!({"op": "tokenize", "file": tokenizer("wordpiece"), "offsets": "bytes"});
    let mut padded = op.clone();
    padded["max_length"] = json!(12);
    padded["pad"] = json!(true);
    let loose = batches(&made.dataset, &recipe(json!([op])), 0, World::default());
    let fixed = batches(&made.dataset, &recipe(json!([padded])), 0, World::default());
    assert_eq!((loose.len(), fixed.len()), (2, 2));
    let (mut cut, mut words) = (0, 0);
    for (loose, fixed) in loose.iter().zip(&fixed) {
        let names: Vec<&str> = loose.columns.iter().map(|(n, _)| n.as_str()).collect();
        assert_eq!(names, ["text", "text_offsets"]);
        let (tokens, places) = (ragged(loose, "text"), ragged(loose, "text_offsets"));
        let (ids, offsets) = (dense(fixed, "text"), dense(fixed, "text_offsets"));
        assert_eq!((tokens.dtype, &ids.shape[..], &offsets.shape[..]), (DType::I64, &[5, 12][..], &[5, 12, 2][..]));
        let [(1, lengths)] = &ids.lengths[..] else { panic!("{:?}", ids.lengths) };
        let (ids, offsets) = (ids.view::<i64>().unwrap().data, offsets.view::<i64>().unwrap().data);
        for i in 0..5 {
            let (all, at) = (tokens.get::<i64>(i).unwrap(), places.get::<i64>(i).unwrap());
            let (own, own_at) = (&ids[i * 12..][..12], &offsets[i * 24..][..24]);
            assert_eq!(places.shapes[i].first(), tokens.shapes[i].first());
            assert_eq!(lengths[i], all.len().min(12), "{all:?}");
            if all.len() <= 12 {
                assert_eq!((&own[..all.len()], &own_at[..at.len()]), (&all[..], &at[..]));
            } else {
                // [SEP] stands at the end of what was cut, too.
                assert_eq!((&own[..11], own[11]), (&all[..11], 3));
                cut += 1;
            }
            assert!(own[lengths[i]..].iter().all(|id| *id == 0) && own_at[lengths[i] * 2..].iter().all(|at| *at == 0));
            if !fixed.valid[i] {
                assert!(all.is_empty());
                continue;
            }
            let text = text(&made.dataset, &fixed.ids[i]);
            for place in at.as_chunks::<2>().0 {
                let word = &text[place[0] as usize..place[1] as usize];
                assert!(!word.contains(' '), "{word:?}");
                words += usize::from(!word.is_empty());
            }
        }
    }
    assert!(cut >= 3 && words > 60, "{cut} {words}");
}

#[test]
fn a_chain_of_text_operations_ends_in_windows_of_one_length() {
    let made = made("text/shakespeare_20k.txt", &IngestOptions::default());
    let ops = json!([
        {"op": "normalize_text", "form": "nfkc", "lowercase": true},
        {"op": "tokenize", "file": tokenizer("unigram"), "add_special_tokens": false, "offsets": "chars"},
        {"op": "token_window", "length": 8, "mode": "random", "pad_id": -1},
    ]);
    let shuffled = |seed: u64| {
        let recipe = Recipe { seed, ..recipe(ops.clone()) };
        batches(&made.dataset, &recipe, 0, World::default())
    };
    let (first, again, other) = (shuffled(1), shuffled(1), shuffled(2));
    let digests = |batches: &[Batch]| batches.iter().map(Batch::digest).collect::<Vec<_>>();
    assert_eq!(digests(&first), digests(&again));
    assert_ne!(digests(&first), digests(&other));
    let mut starts = std::collections::BTreeSet::new();
    for batch in &first {
        let ids = dense(batch, "text");
        assert_eq!(ids.shape, [5, 8]);
        let [(1, lengths)] = &ids.lengths[..] else { panic!() };
        let offsets = dense(batch, "text_offsets").view::<i64>().unwrap().data;
        for (i, row) in ids.view::<i64>().unwrap().data.chunks(8).enumerate() {
            assert!(row[..lengths[i]].iter().all(|id| *id >= 0) && row[lengths[i]..].iter().all(|id| *id == -1));
            starts.insert(offsets[i * 16]);
        }
    }
    assert!(starts.len() > 8, "windows begin everywhere: {starts:?}");
    // Ragged where nothing bounds it, text where nothing makes numbers of it.
    let chars = batches(&made.dataset, &recipe(json!([{"op": "chars_to_ids"}])), 0, World::default());
    let column = ragged(&chars[0], "text");
    let first: String = column.get::<i64>(0).unwrap().iter().map(|c| char::from_u32(*c as u32).unwrap()).collect();
    assert_eq!(first, text(&made.dataset, &chars[0].ids[0]));
    let upper =
        batches(&made.dataset, &recipe(json!([{"op": "normalize_text", "lowercase": true}])), 0, World::default());
    let Column::Bytes(strings) = upper[0].column("text").unwrap() else { panic!() };
    assert_eq!(strings.get(0), first.to_lowercase().as_bytes());
}

/// The digest covers what is in a tokenizer's file, not what the file is called.
#[test]
fn a_recipes_digest_is_that_of_the_tokenizers_content() {
    let made = made("text/unicode.txt", &IngestOptions::default());
    let dir = tempfile::tempdir().unwrap();
    let copy = dir.path().join("copy.json");
    let content = std::fs::read_to_string(tokenizer("byte_level")).unwrap();
    std::fs::write(&copy, &content).unwrap();
    let digest = |file: &Path| {
        let recipe = recipe(json!([{"op": "tokenize", "file": file}]));
        recipe.loader(made.dataset.clone()).unwrap().recipe_digest().to_owned()
    };
    let first = digest(Path::new(&tokenizer("byte_level")));
    assert_eq!(digest(&copy), first);
    std::fs::write(&copy, content + "\n").unwrap();
    assert_ne!(digest(&copy), first);

    let wrong = |file: &Path, parts: &[&str]| {
        let error = recipe(json!([{"op": "tokenize", "file": file}])).loader(made.dataset.clone()).unwrap_err();
        let told = error.to_string();
        assert!(error.exit_code() == 2 && parts.iter().all(|p| told.contains(p)), "{told}");
    };
    wrong(&dir.path().join("none.json"), &["\"tokenize\"", "none.json", "relative path"]);
    wrong(dir.path(), &["tokenize"]);
    std::fs::write(&copy, "{\"version\": \"1.0\"").unwrap();
    wrong(&copy, &["copy.json is no tokenizer", "dsctl tokenizer train"]);
    let random =
        std::fs::read_to_string(tokenizer("byte_level")).unwrap().replace("\"dropout\":null", "\"dropout\":0.1");
    std::fs::write(&copy, random).unwrap();
    wrong(&copy, &["dropout", "null"]);
}

#[test]
fn too_many_tokens_are_a_fault_with_the_rows_name() {
    let made = made("text/shakespeare_20k.txt", &IngestOptions::default());
    let op = json!({"op": "tokenize", "file": tokenizer("byte_level"), "max_length": 4, "truncate": "none"});
    let loader = recipe(json!([op])).loader(made.dataset.clone()).unwrap();
    let error = loader.epoch(0).unwrap().find_map(Result::err).unwrap().to_string();
    assert!(error.contains("shakespeare_20k.txt#") && error.contains("max_length"), "{error}");
}

fn taken(source: &Path, options: &IngestOptions) -> (tempfile::TempDir, Arc<Dataset>, feedstock::ingest::Summary) {
    let dir = tempfile::tempdir().unwrap();
    let dataset = dir.path().join("dataset");
    let summary = ingest(source, &dataset, options, &Control::default()).unwrap();
    let opened = Arc::new(Dataset::open(&dataset).unwrap());
    (dir, opened, summary)
}

#[test]
fn windows_of_a_document_are_rows_and_give_the_document_back() {
    let source = fixture("text/shakespeare_20k.txt");
    let whole = std::fs::read_to_string(&source).unwrap();
    for (count, cut) in [(Count::Chars, Cut::Anywhere), (Count::Bytes, Cut::Space)] {
        let window = TextWindow { length: 700, stride: None, count, cut };
        let source_options =
            SourceOptions { text_unit: TextUnit::Window, text_window: Some(window), ..SourceOptions::default() };
        let options = IngestOptions { source: source_options, ..IngestOptions::default() };
        let (_dir, dataset, summary) = taken(&source, &options);
        assert!((28..40).contains(&summary.rows), "{}", summary.rows);
        let texts: Vec<String> =
            (0..summary.rows).map(|n| text(&dataset, &format!("shakespeare_20k.txt#{n}"))).collect();
        assert_eq!(texts.concat(), whole);
        let words = texts[..texts.len() - 1].iter().all(|t| t.ends_with(char::is_whitespace));
        assert_eq!(words, cut == Cut::Space);
    }
}

#[test]
fn what_is_no_utf_8_is_refused_or_mended() {
    let dir = tempfile::tempdir().unwrap();
    let source = dir.path().join("notes.txt");
    // Latin 1, a cut character, a surrogate; Python's errors="replace" gives 1, 1 and 3.
    std::fs::write(&source, b"good\ncaf\xe9 au lait\nend \xe3\x81\nsurrogate \xed\xa0\x80!\nfine\n").unwrap();
    let options = |invalid_utf8| IngestOptions { invalid_utf8, max_errors: MaxErrors::ALL, ..IngestOptions::default() };
    let (_kept, _, summary) = taken(&source, &options(InvalidUtf8::Refuse));
    assert_eq!((summary.rows, summary.quarantined, summary.mended, summary.replaced), (2, 3, 0, 0));
    let (kept, dataset, summary) = taken(&source, &options(InvalidUtf8::Replace));
    assert_eq!((summary.rows, summary.quarantined, summary.mended, summary.replaced), (5, 0, 3, 5));
    assert_eq!(text(&dataset, "notes.txt#2"), "caf\u{fffd} au lait");
    assert_eq!(text(&dataset, "notes.txt#3"), "end \u{fffd}");
    assert_eq!(text(&dataset, "notes.txt#4"), "surrogate \u{fffd}\u{fffd}\u{fffd}!");
    // A second run knows the mended rows again.
    let again = ingest(&source, &kept.path().join("dataset"), &options(InvalidUtf8::Replace), &Control::default());
    assert_eq!(again.unwrap().skipped, 5);
}
