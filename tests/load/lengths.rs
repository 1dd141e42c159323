//! Batches of like length and packed rows, as a training loop gets them.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::sync::Arc;

use crate::common::{fixture, loader, made};
use feedstock::Fault;
use feedstock::augment::{self, Draw, Elements, Media, Op, OpEntry, Spec, Tools};
use feedstock::data::batch::{Batch, Column, Dense};
use feedstock::data::info::Info;
use feedstock::data::tensor::{DType, Extent};
use feedstock::dataset::Dataset;
use feedstock::ingest::{Control, IngestOptions, ingest};
use feedstock::plan::{At, State, World, waste};
use feedstock::recipe::{Recipe, Registry};
use serde_json::json;

const TEXT: &str = "text/shakespeare_20k.txt";

fn recipe(value: serde_json::Value) -> Recipe {
    let recipe: Recipe = serde_json::from_value(value).unwrap();
    recipe.validate().unwrap();
    recipe
}

/// Lines of a play, stored as the numbers of their bytes.
fn bytes(ops: serde_json::Value) -> crate::common::Made {
    let prepare = serde_json::from_value(json!({"columns": {"text": {"ops": ops}}})).unwrap();
    made(TEXT, &IngestOptions { prepare, ..IngestOptions::default() })
}

fn dense<'a>(batch: &'a Batch, name: &str) -> &'a Dense {
    match &batch.columns.iter().find(|(own, _)| own == name).unwrap().1 {
        Column::Dense(dense) => dense,
        other => panic!("{other:?}"),
    }
}

fn all(dataset: &Arc<Dataset>, recipe: &Recipe) -> Vec<Batch> {
    loader(dataset, recipe).epoch(0).unwrap().map(Result::unwrap).collect()
}

/// Every line by its id.
fn lines(dataset: &Dataset) -> BTreeMap<String, Vec<u8>> {
    let mut all = BTreeMap::new();
    for row in 0..dataset.rows() {
        let mut payload = Vec::new();
        dataset.fetch(row, 0, &mut payload).unwrap();
        // As 64-bit numbers.
        let payload = payload.into_iter().step_by(8).collect();
        all.insert(dataset.index().row(row).id().to_owned(), payload);
    }
    all
}

#[test]
fn rows_hold_whole_sequences_and_say_which_is_which() {
    let made = bytes(json!([{"op": "bytes_to_ids"}]));
    let stored = lines(&made.dataset);
    let length = 48usize;
    for (fit, long) in [("best", "split"), ("greedy", "split"), ("best", "truncate"), ("greedy", "truncate")] {
        let pack = json!({"column": "text", "length": length, "fit": fit, "long": long});
        let recipe = recipe(json!({"batch": 5, "tail": "pad", "pack": pack}));
        let mut came: BTreeMap<String, Vec<Vec<u8>>> = BTreeMap::new();
        let (mut rows, mut tokens) = (0, 0);
        for batch in all(&made.dataset, &recipe) {
            let (ids, segments, positions) = (
                dense(&batch, "text"),
                batch.get::<i64>("text_segments").unwrap().data.to_vec(),
                batch.get::<i64>("text_positions").unwrap().data.to_vec(),
            );
            assert_eq!(ids.shape, [5, length]);
            let size = ids.dtype.size();
            let held = ids.packed();
            let token = |at: usize| {
                held[at * size] as usize
                    | (held.get(at * size + 1).map_or(0, |b| *b as usize) * usize::from(size > 1) * 256)
            };
            for row in 0..5 {
                let names: Vec<&str> = batch.ids[row].lines().collect();
                assert_eq!(batch.valid[row], !names.is_empty());
                let of = |at: usize| row * length + at;
                let last = segments[of(0)..of(length)].iter().max().copied().unwrap();
                assert_eq!(last as usize, names.len());
                let mut at = 0;
                for (number, name) in (1..).zip(names) {
                    let start = at;
                    let mut text = Vec::new();
                    while at < length && segments[of(at)] == number {
                        assert_eq!(positions[of(at)] as usize, at - start);
                        text.push(token(of(at)) as u8);
                        at += 1;
                    }
                    assert!(at > start, "{name} has no place");
                    tokens += text.len();
                    came.entry(name.to_owned()).or_default().push(text);
                }
                // Behind them is padding.
                assert!((at..length).all(|at| segments[of(at)] == 0 && positions[of(at)] == 0 && token(of(at)) == 0));
                rows += usize::from(batch.valid[row]);
            }
        }
        let mut longer = 0;
        for (id, line) in &stored {
            let mut pieces = came.remove(id).unwrap_or_default();
            // Pieces of one that was cut may come in any order: they are told apart by what they hold.
            pieces.sort_by_key(|piece| line.windows(piece.len().max(1)).position(|w| w == piece.as_slice()));
            longer += usize::from(line.len() > length);
            let want = if long == "truncate" { &line[..line.len().min(length)] } else { line };
            assert_eq!(pieces.concat(), want, "{fit} {long} {id}");
        }
        assert!(came.is_empty() && longer > 0, "{longer}");
        // No packer has fewer rows than this; the best fit is known to have at most 11/9 of the least, and 1.
        let least = tokens.div_ceil(length);
        assert!(rows >= least && rows <= 2 * least, "{fit}: {rows} rows, at least {least}");
        if fit == "best" {
            assert!(rows * 9 <= least * 11 + 9, "{rows} rows, at least {least}");
        }
        let told = waste(&loader(&made.dataset, &recipe).plan(0));
        let own = told.iter().find(|(name, _)| *name == format!("pack, {fit}")).unwrap().1;
        assert_eq!((own.filled, own.length), (rows as u64, tokens as u64));
    }
}

/// Documents of so many bytes, one a file, stored as the numbers of their bytes.
fn documents(lengths: &[usize]) -> crate::common::Made {
    let folder = Arc::new(tempfile::tempdir().unwrap());
    let source = folder.path().join("documents.jsonl");
    let text = |(n, length): (usize, &usize)| {
        let text: String = (0..*length).map(|at| char::from(b'a' + ((at * at + n) % 23) as u8)).collect();
        json!({"text": text}).to_string() + "\n"
    };
    std::fs::write(&source, lengths.iter().enumerate().map(text).collect::<String>()).unwrap();
    let prepare = serde_json::from_value(json!({"columns": {"text": {"ops": [{"op": "bytes_to_ids"}]}}})).unwrap();
    let options = IngestOptions { prepare, ..IngestOptions::default() };
    ingest(&source, &folder.path().join("d"), &options, &Control::default()).unwrap();
    let dataset = Arc::new(Dataset::open(folder.path().join("d")).unwrap());
    crate::common::Made { folder, dataset }
}

#[test]
fn of_a_sequence_that_is_cut_each_row_reads_its_piece() {
    let made = documents(&[100, 200_000, 3, 5_000, 0, 256, 700]);
    for (fit, long) in [("best", "split"), ("greedy", "split"), ("best", "truncate"), ("greedy", "truncate")] {
        let pack = json!({"column": "text", "length": 256, "fit": fit, "long": long});
        let mut recipe = recipe(json!({"batch": 16, "tail": "pad", "pack": pack}));
        let own = loader(&made.dataset, &recipe);
        let batches: Vec<Batch> = own.epoch(0).unwrap().map(Result::unwrap).collect();
        let tokens: usize = batches
            .iter()
            .map(|b| b.get::<i64>("text_segments").unwrap().data.iter().filter(|s| **s > 0).count())
            .sum();
        assert!(tokens > 1_000);
        assert_eq!(own.stats().bytes, tokens as u64 * 8, "{fit} {long}");
        // With its hash a payload is read whole, and the batches are the same.
        recipe.run.check_hash = true;
        let whole = loader(&made.dataset, &recipe);
        let checked: Vec<u128> = whole.epoch(0).unwrap().map(|batch| batch.unwrap().digest()).collect();
        assert_eq!(batches.iter().map(Batch::digest).collect::<Vec<_>>(), checked, "{fit} {long}");
        assert!(whole.stats().bytes > own.stats().bytes);
    }
    // A range is what the whole has there.
    let (mut all, mut part) = (Vec::new(), Vec::new());
    made.dataset.fetch(1, 0, &mut all).unwrap().unwrap();
    let view = |dataset: &Dataset, row, range: Option<Range<u64>>, held: &mut Vec<u8>| {
        dataset.viewer().view(row, 0, range, held, <[u8]>::to_vec)
    };
    for range in [0..0, 0..16, 8_000..8_008, 0..1_600_000, 1_599_992..1_600_000] {
        let own = all[range.start as usize..range.end as usize].to_vec();
        let read = view(&made.dataset, 1, Some(range.clone()), &mut part).unwrap();
        assert_eq!(read, Some((range.end - range.start, own)));
    }
    assert_eq!(view(&made.dataset, 1, None, &mut part).unwrap(), Some((1_600_000, all.clone())));
    // In its place: nothing was copied.
    assert!(part.is_empty());
    assert!(view(&made.dataset, 1, Some(8..1_600_001), &mut part).is_err());
    assert!(view(&made.dataset, 9, Some(0..1), &mut part).is_err());
    // Also where the whole is read for it.
    let files = Dataset::open(fixture("digits")).unwrap();
    files.fetch(3, 0, &mut all).unwrap().unwrap();
    let length = all.len() as u64;
    assert_eq!(view(&files, 3, Some(10..30), &mut part).unwrap(), Some((length, all[10..30].to_vec())));
    assert!(view(&files, 3, Some(10..length + 1), &mut part).is_err());

    // A shard that ends within the sequence is named, whichever piece is asked for.
    let payload = made.dataset.index().row(1).payload(0).unwrap();
    let shard = made.dataset.origin(1, 0).file.unwrap();
    let file = std::fs::OpenOptions::new().write(true).open(&shard).unwrap();
    file.set_len(payload.offset + payload.length - 8).unwrap();
    let error = view(&made.dataset, 1, Some(0..8), &mut part).unwrap_err().to_string();
    let name = shard.file_name().unwrap().to_str().unwrap();
    assert!(error.contains(name) && error.contains("ends before byte"), "{error}");
    let recipe = recipe(json!({"batch": 16, "tail": "pad", "pack": {"column": "text", "length": 256}}));
    let error = loader(&made.dataset, &recipe).epoch(0).unwrap().find_map(Result::err).unwrap().to_string();
    assert!(error.contains(name) && error.contains("ends before byte"), "{error}");
}

#[test]
fn buckets_have_less_padding_and_every_sample() {
    let mut options = IngestOptions::default();
    options.source.label_regex = Some(r"^(?P<label>\d)_".into());
    let made = made("digits", &options);
    let padded = |batches: &[Batch]| -> usize {
        batches.iter().map(|b| dense(b, "audio").shape[..2].iter().product::<usize>()).sum()
    };
    let ids = |batches: &[Batch]| -> BTreeSet<String> {
        batches.iter().flat_map(|b| b.ids.clone()).filter(|id| !id.is_empty()).collect()
    };
    let plain = all(&made.dataset, &recipe(json!({"batch": 4, "tail": "pad"})));
    let sorted = all(&made.dataset, &recipe(json!({"batch": 4, "tail": "pad", "bucket": {"by": "audio.count"}})));
    assert_eq!(ids(&plain), ids(&sorted));
    assert!(padded(&sorted) < padded(&plain), "{} and {}", padded(&sorted), padded(&plain));
    let cap = 9_000;
    let capped = recipe(json!({"batch": 4, "tail": "pad", "bucket": {"by": "audio.count", "padded": cap}}));
    let batches = all(&made.dataset, &capped);
    assert_eq!(ids(&batches), ids(&plain));
    let sizes: BTreeSet<usize> = batches.iter().map(Batch::len).collect();
    assert!(sizes.len() > 1 && *sizes.last().unwrap() <= 4, "{sizes:?}");
    assert!(batches.iter().all(|b| b.len() == 1 || dense(b, "audio").shape[..2].iter().product::<usize>() <= cap));
    // The order of the batches is drawn anew, and is not that of their lengths.
    let longest = |epoch: u64| -> Vec<usize> {
        let batches = loader(&made.dataset, &capped).epoch(epoch).unwrap();
        batches.map(|b| dense(&b.unwrap(), "audio").shape[1]).collect()
    };
    assert!(longest(0) != longest(1) && !longest(0).is_sorted());
    // Two views of a sample stay side by side.
    let views = recipe(json!({"batch": 4, "views": 2, "tail": "pad", "bucket": {"by": "audio.count"}}));
    for batch in all(&made.dataset, &views) {
        assert!(batch.len() <= 4 && batch.ids.chunks(2).all(|pair| pair[0] == pair[1]));
    }
}

#[test]
fn a_run_goes_on_in_any_window() {
    let made = bytes(json!([{"op": "bytes_to_ids"}]));
    let mixed = |more: serde_json::Value| {
        let mut value = json!({
            "batch": 4_000, "tail": "pad", "sources": {"a": {"weight": 3}, "b": {"weight": 1}},
            "mixture": {"exhausted": "repeat", "samples": 90_000},
        });
        value.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        recipe(value)
    };
    for more in [
        json!({"bucket": {"by": "text.count", "bounds": [10, 20, 30, 40]}}),
        json!({"pack": {"column": "text", "length": 512}, "batch": 300}),
    ] {
        let recipe = mixed(more);
        let on = |rank, size| {
            let mut recipe = recipe.clone();
            recipe.run.world = World { rank, size };
            loader(&made.dataset, &recipe)
        };
        let key = |batch: &Batch| At { window: batch.place.window, batch: batch.place.batch };
        let global: Vec<(At, u128)> =
            on(0, 1).epoch(3).unwrap().map(Result::unwrap).map(|b| (key(&b), b.digest())).collect();
        assert!(global.is_sorted() && global.first().unwrap().0 == At::default());
        let first = global.iter().filter(|(at, _)| at.window == 0).count();
        assert!(first > 3 && global.len() > first, "{first} of {}", global.len());
        assert_eq!(on(0, 1).len(), global.len() as u64);
        // Three ranks, stopped before and behind the end of the first window, go on as two.
        for steps in [first / 3 - 1, first / 3, first / 3 + 1] {
            let lone = on(1, 3);
            let mut epoch = lone.epoch(3).unwrap();
            assert_eq!(epoch.by_ref().take(steps).map(Result::unwrap).count(), steps);
            let json = epoch.state().to_json();
            drop(epoch);
            let state = State::from_json(&json).unwrap();
            assert!(json.len() <= 1024 && state.at() == global[3 * steps].0, "{json}");
            let mut rest: BTreeMap<At, u128> = BTreeMap::new();
            for rank in 0..2 {
                let batches = on(rank, 2).resume(&state).unwrap().map(Result::unwrap);
                rest.extend(batches.map(|batch| (key(&batch), batch.digest())));
            }
            let left = &global[3 * steps..];
            assert!(left.iter().all(|(at, digest)| rest.get(at) == Some(digest)), "after {steps} steps");
            assert!(rest.len() - left.len() <= 1);
        }
        // A part of an epoch is so many of its steps.
        let part = on(0, 2).part(3, 1..3).unwrap().map(|batch| key(&batch.unwrap())).collect::<Vec<_>>();
        assert_eq!(part, [global[2].0, global[4].0]);
    }
}

#[test]
fn a_window_of_no_windows_is_refused() {
    let made = bytes(json!([{"op": "bytes_to_ids"}]));
    let plain = loader(&made.dataset, &recipe(json!({"batch": 4})));
    let state = plain.epoch(0).unwrap().state();
    assert!(plain.resume(&state).is_ok());
    let message = plain.resume(&State { window: 2, ..state }).unwrap_err().to_string();
    assert!(message.contains("window 2") && message.contains("start the epoch anew"), "{message}");
}

#[test]
fn a_mixture_is_packed_if_its_tokens_mean_the_same() {
    let (one, two) = (bytes(json!([{"op": "bytes_to_ids"}])), bytes(json!([{"op": "bytes_to_ids"}])));
    let datasets: BTreeMap<String, Arc<Dataset>> =
        [("a".to_owned(), one.dataset.clone()), ("b".to_owned(), two.dataset.clone())].into();
    let recipe = recipe(json!({
        "batch": 4, "tail": "pad", "sources": {"a": {"weight": 1}, "b": {"weight": 1, "subset": {"rows": 5}}},
        "mixture": {"exhausted": "drop"}, "pack": {"column": "text", "length": 256},
    }));
    let batches: Vec<Batch> = recipe.mixed(&datasets).unwrap().epoch(0).unwrap().map(Result::unwrap).collect();
    let names: Vec<&str> = batches[0].columns.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["text", "text_segments", "text_positions"]);
    let stored = lines(&one.dataset).values().filter(|line| !line.is_empty()).count();
    let came = batches.iter().flat_map(|batch| &batch.ids).flat_map(|ids| ids.lines()).count();
    assert_eq!(came, stored + 5);
    let other = bytes(json!([{"op": "normalize_text", "form": "nfc", "lowercase": true}, {"op": "bytes_to_ids"}]));
    let datasets = [("a".to_owned(), one.dataset), ("b".to_owned(), other.dataset)].into();
    let message = recipe.mixed(&datasets).unwrap_err().to_string();
    assert!(message.contains("made in other ways"), "{message}");
}

#[test]
fn what_cannot_be_packed_or_sorted_is_refused_with_the_way_out() {
    let text = made(TEXT, &IngestOptions::default());
    let stored = bytes(json!([{"op": "bytes_to_ids"}]));
    let refused = |dataset: &Arc<Dataset>, value: serde_json::Value, parts: &[&str]| {
        let recipe: Recipe = serde_json::from_value(value).unwrap();
        let message = recipe.loader(dataset.clone()).unwrap_err().to_string();
        assert!(parts.iter().all(|part| message.contains(part)), "{message}");
    };
    let pack = json!({"column": "text", "length": 64});
    refused(
        &text.dataset,
        json!({"pack": pack}),
        &[
            "as text",
            "dsctl ingest SOURCE DATASET --tokenize tokenizer.json",
            "dsctl ingest SOURCE DATASET --count-tokens tokenizer.json",
            "dsctl tokenizer train",
        ],
    );
    let digits = made("digits", &IngestOptions::default());
    refused(&digits.dataset, json!({"pack": {"column": "audio", "length": 64}}), &["as audio"]);
    refused(&stored.dataset, json!({"pack": {"column": "x", "length": 64}}), &["no column \"x\"", "it has: text"]);
    refused(&stored.dataset, json!({"pack": {"column": "text"}}), &["rows of 0"]);
    refused(&stored.dataset, json!({"pack": pack, "views": 2, "batch": 2}), &["pack", "views"]);
    refused(&stored.dataset, json!({"pack": pack, "bucket": {"by": "text.count"}}), &["bucket"]);
    refused(&stored.dataset, json!({"pack": pack, "columns": {"id": {}}}), &["\"text\" alone", "\"id\""]);
    let windows = json!({"text": {"ops": [{"op": "token_window", "length": 8}]}});
    refused(&stored.dataset, json!({"pack": pack, "columns": windows}), &["change how many tokens"]);
    let raw = json!({"text": {"raw": true}});
    refused(&stored.dataset, json!({"pack": pack, "columns": raw}), &["\"text\" is raw"]);
    refused(&digits.dataset, json!({"bucket": {"by": "audio.frames"}}), &["length: ", "frames"]);
    refused(&digits.dataset, json!({"bucket": {"by": "audio.duration"}}), &["whole number"]);
    refused(&digits.dataset, json!({"bucket": {"by": "audio.count", "bounds": [5, 5]}}), &["bounds [5, 5]"]);
    refused(&digits.dataset, json!({"bucket": {}}), &["by which length"]);
    assert!(fixture(TEXT).is_file());
}

/// Lines of a play as they are, with a count of what operations make of each.
fn counted(ops: serde_json::Value) -> crate::common::Made {
    let prepare = serde_json::from_value(json!({"columns": {"text": {"ops": ops, "count": true}}})).unwrap();
    made(TEXT, &IngestOptions { prepare, ..IngestOptions::default() })
}

#[test]
fn texts_are_packed_by_their_counts_as_stored_tokens_are() {
    let ids = json!([{"op": "normalize_text", "form": "nfc", "lowercase": true}, {"op": "bytes_to_ids", "offset": 3, "pad_id": 1}]);
    let (text, stored) = (counted(ids.clone()), bytes(ids.clone()));
    for (fit, long, length) in [("best", "split", 48), ("greedy", "split", 200), ("best", "truncate", 30)] {
        let pack = json!({"column": "text", "length": length, "fit": fit, "long": long});
        let recipe = |ops: serde_json::Value| {
            recipe(json!({"batch": 5, "tail": "pad", "seed": 9, "pack": pack, "columns": {"text": {"ops": ops}}}))
        };
        let digests = |batches: Vec<Batch>| batches.iter().map(Batch::digest).collect::<Vec<_>>();
        let packed = digests(all(&text.dataset, &recipe(ids.clone())));
        assert!(packed.len() > 3);
        assert_eq!(packed, digests(all(&stored.dataset, &recipe(json!([])))), "{fit} {long} {length}");
    }
    // The same numbers order buckets and choose rows, as any column does.
    let recipe = recipe(json!({
        "batch": 8, "tail": "pad", "where": "text_tokens >= 30", "bucket": {"by": "text_tokens"},
        "columns": {"text": {"ops": ids}, "text_tokens": {}},
    }));
    let (mut rows, mut widest) = (0, 0);
    for batch in all(&text.dataset, &recipe) {
        let counts = batch.get::<i64>("text_tokens").unwrap().data.to_vec();
        let counts: Vec<i64> = counts.iter().zip(&batch.valid).filter(|(_, valid)| **valid).map(|(n, _)| *n).collect();
        assert!(counts.iter().all(|count| *count >= 30));
        rows += counts.len();
        widest = counts.iter().max().unwrap_or(&0) - counts.iter().min().unwrap_or(&0);
        assert!(widest < 40, "{counts:?}");
    }
    assert!(rows > 100, "{rows} {widest}");
}

#[test]
fn every_source_of_a_mixture_has_its_texts_counted() {
    let ids = json!([{"op": "bytes_to_ids"}]);
    let (one, two, none) = (counted(ids.clone()), counted(ids.clone()), made(TEXT, &IngestOptions::default()));
    let mixed = |b: &Arc<Dataset>| -> BTreeMap<String, Arc<Dataset>> {
        [("a".to_owned(), one.dataset.clone()), ("b".to_owned(), b.clone())].into()
    };
    let recipe = recipe(json!({
        "batch": 4, "tail": "pad", "sources": {"a": {"weight": 1}, "b": {"weight": 1, "subset": {"rows": 5}}},
        "mixture": {"exhausted": "drop"}, "pack": {"column": "text", "length": 256}, "columns": {"text": {"ops": ids}},
    }));
    let batches = recipe.mixed(&mixed(&two.dataset)).unwrap().epoch(0).unwrap().map(Result::unwrap);
    let came = batches.map(|batch| batch.ids.iter().flat_map(|ids| ids.lines()).count()).sum::<usize>();
    let empty = |row: &u64| one.dataset.index().row(*row).payload(0).unwrap().length == 0;
    assert_eq!(came as u64, one.dataset.rows() - (0..one.dataset.rows()).filter(empty).count() as u64 + 5);
    let told = recipe.mixed(&mixed(&none.dataset)).unwrap_err().to_string();
    assert!(told.contains("source \"b\"") && told.contains("--count-ops 'text=[{\"op\":\"bytes_to_ids\"}]'"), "{told}");
}

/// Bytes as ids, and some more behind them: another build of an operation, which forgot to raise its version.
#[derive(Debug)]
struct Ids(usize);

impl Op for Ids {
    fn spec(&self, input: &Spec) -> Result<Spec, Fault> {
        match input {
            Spec::Text { .. } => Ok(Spec::Tensor { dtype: DType::I64, shape: vec![Extent::Late] }),
            other => Err(augment::refused("ids", "text", other.name())),
        }
    }
    fn facts(&self, info: &Info, _: &Draw) -> Info {
        Info { count: info.count + 1, ..*info }
    }
    fn apply(&self, _: &Draw, media: Media, _: &mut Tools) -> Result<Media, Fault> {
        let Media::Text(text) = media else { return Err(augment::refused("ids", "text", media.name())) };
        let ids: Vec<i64> = text.bytes().map(i64::from).chain(std::iter::repeat_n(0, self.0)).collect();
        Ok(Media::Tensor { shape: vec![ids.len()], data: Elements::I64(ids) })
    }
}

fn ids(more: bool) -> OpEntry {
    let build: fn(&serde_json::Value) -> feedstock::Result<Arc<dyn Op>> =
        if more { |_| Ok(Arc::new(Ids(1))) } else { |_| Ok(Arc::new(Ids(0))) };
    OpEntry { name: "ids", version: 1, summary: "ids", build, example: "{}" }
}

#[test]
fn a_text_that_has_other_tokens_than_were_counted_is_an_error_with_its_row() {
    let prepare = json!({"columns": {"text": {"ops": [{"op": "ids"}], "count": true}}});
    let options = IngestOptions { prepare: serde_json::from_value(prepare).unwrap(), ..IngestOptions::default() };
    let dir = tempfile::tempdir().unwrap();
    for (counted, loaded) in [(true, false), (false, true), (true, true)] {
        let target = dir.path().join(format!("{counted}-{loaded}"));
        let control = Control { ops: augment::ops().with(ids(counted)), ..Control::default() };
        ingest(&fixture(TEXT), &target, &options, &control).unwrap();
        let dataset = Arc::new(Dataset::open(&target).unwrap());
        let registry = Registry { ops: augment::ops().with(ids(loaded)) };
        for (long, errors) in [("split", "fail"), ("truncate", "fail"), ("split", "substitute")] {
            let pack = json!({"column": "text", "length": 40, "long": long});
            let recipe =
                json!({"batch": 4, "pack": pack, "errors": errors, "columns": {"text": {"ops": [{"op": "ids"}]}}});
            let recipe: Recipe = serde_json::from_value(recipe).unwrap();
            let mut batches = recipe.loader_with(dataset.clone(), &registry).unwrap().epoch(0).unwrap();
            let first = batches.next().unwrap();
            if counted == loaded {
                first.unwrap();
            } else if errors == "substitute" {
                let batch = first.unwrap();
                assert!(
                    batch.substituted.iter().all(|s| s.reason.contains("the Index says")),
                    "{:?}",
                    batch.substituted
                );
                assert!(!batch.substituted.is_empty());
            } else {
                let told = first.unwrap_err().to_string();
                assert!(told.contains("shakespeare_20k.txt#") && told.contains("tokens, the Index says"), "{told}");
            }
        }
    }
}

#[cfg(feature = "tokenizers")]
#[test]
fn tokens_are_packed_if_that_tokenizer_counted_them() {
    let file = |name: &str| fixture(&format!("tokenizers/{name}.json"));
    let text = |prepare: serde_json::Value| {
        let prepare = serde_json::from_value(json!({ "text": prepare })).unwrap();
        made(TEXT, &IngestOptions { prepare, ..IngestOptions::default() })
    };
    let (text, stored) = (text(json!({"count": file("wordpiece")})), text(json!({"tokenizer": file("wordpiece")})));
    let with = |ops: serde_json::Value| json!({"batch": 3, "seed": 4, "tail": "pad", "pack": {"column": "text", "length": 512}, "columns": {"text": {"ops": ops}}});
    let op = |name: &str, more: serde_json::Value| {
        let mut op = json!({"op": "tokenize", "file": file(name)});
        op.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        op
    };
    let digests = |dataset: &Arc<Dataset>, ops: serde_json::Value| {
        all(dataset, &recipe(with(ops))).iter().map(Batch::digest).collect::<Vec<_>>()
    };
    let tokens = digests(&stored.dataset, json!([]));
    assert!(tokens.len() > 2);
    for same in [json!({}), json!({"add_special_tokens": true}), json!({"max_length": null})] {
        assert_eq!(digests(&text.dataset, json!([op("wordpiece", same.clone())])), tokens, "{same}");
    }
    let refused = |ops: serde_json::Value, parts: &[&str]| {
        let recipe: Recipe = serde_json::from_value(with(ops)).unwrap();
        let error = recipe.loader(text.dataset.clone()).unwrap_err();
        let told = error.to_string();
        assert!(error.exit_code() == 2 && parts.iter().all(|part| told.contains(part)), "{told}");
    };
    let sha256 = |name: &str| {
        let tokenizer = feedstock::tokenizer::Tokenizer::open(file(name), true, None).unwrap();
        tokenizer.sha256()[..12].to_owned()
    };
    let command = |flag: &str| format!("dsctl ingest SOURCE DATASET {flag} {}", file("unigram").display());
    refused(
        json!([op("unigram", json!({}))]),
        &[
            &sha256("unigram"),
            &sha256("wordpiece"),
            "\"text_tokens\"",
            &command("--count-tokens"),
            &command("--tokenize"),
        ],
    );
    // As many with other settings nobody knows.
    for other in
        [json!({"add_special_tokens": false}), json!({"max_length": 9}), json!({"max_length": 9, "truncate": "none"})]
    {
        refused(json!([op("wordpiece", other)]), &["--count-ops 'text=[{", "--store-ops 'text=[{"]);
    }
    refused(json!([]), &["makes no tokens of it", &sha256("wordpiece")]);
    refused(json!([op("wordpiece", json!({})), {"op": "token_window", "length": 8}]), &["change how many tokens"]);
    refused(json!([op("wordpiece", json!({"offsets": "bytes"}))]), &["\"text\""]);
    refused(json!([{"op": "normalize_text", "form": "nfc"}, op("wordpiece", json!({}))]), &["--count-ops"]);
}
