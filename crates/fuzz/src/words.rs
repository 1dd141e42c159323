//! Small languages: conditions, recipes, states, masks, what a file says of rows.

use std::cell::RefCell;

use feedstock::codec::Limits;
use feedstock::codec::mask::Mask;
use feedstock::data::feature::{Feature, Schema};
use feedstock::plan::{Filter, State};
use feedstock::recipe::Recipe;
use feedstock::revise::{RelabelOptions, relabel};
use feedstock::store::Store;
use feedstock::tokenizer::Tokenizer;

use crate::{Target, files, fixtures, readers};

const MOST: usize = 64 << 20;

/// One target for each language.
pub(crate) fn targets() -> Vec<Target> {
    vec![
        Target::new("condition", MOST, condition, |_| {
            let some = [
                r#"label in ["cat", "dog"] and image.width >= 64"#,
                r#"not (id like "%_george_%" or n is null) and n != -3.5e2"#,
                r#"`odd name` = "x" or bytes(image) < 10"#,
            ];
            some.map(|text| text.as_bytes().to_vec()).into()
        }),
        Target::new("recipe", MOST, recipe, |_| ending("toml")),
        Target::new("state", MOST, state, |_| {
            vec![std::fs::read(fixtures().join("frozen/v1/state.json")).unwrap_or_default()]
        }),
        Target::new("mask", MOST, mask, |_| {
            let some = [
                r#"{"size": [20, 30], "counts": [1, 2, 597]}"#,
                r#"{"size": [20, 30], "counts": "X1"}"#,
                r#"[[1.5, 2, 10, 2, 10, 12.25, 1.5, 12]]"#,
                r#"[null, [], {"size": [20, 30], "counts": [600]}]"#,
            ];
            some.map(|text| text.as_bytes().to_vec()).into()
        }),
        Target::new("relabel", MOST, labels(), |_| {
            let some = ["id,label\na.txt#1,pos\nb,neg\n", "id,split\n\"x\"\"y\",test\n", "id,n\n1,\n"];
            some.map(|text| text.as_bytes().to_vec()).into()
        }),
        Target::new("tokenizer", 4 * MOST, tokenizer(), |_| {
            let all = files(&fixtures().join("tokenizers"), 16 << 10);
            all.into_iter()
                .filter(|(path, _)| path.extension().is_some_and(|e| e == "json"))
                .map(|(_, bytes)| bytes)
                .collect()
        }),
    ]
}

fn ending(extension: &str) -> Vec<Vec<u8>> {
    let all = files(&fixtures(), 16 << 10).into_iter();
    all.filter(|(path, _)| path.extension().is_some_and(|e| e == extension)).map(|(_, bytes)| bytes).collect()
}

fn condition(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let schema = Schema::new([
        ("image", Feature::Image),
        ("label", Feature::ClassLabel { names: vec!["cat".into(), "dog".into()] }),
        ("n", Feature::Float),
        ("odd name", Feature::Text),
    ]);
    if let Ok(filter) = Filter::parse(text) {
        let _ = filter.bind(&schema);
    }
}

fn recipe(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let Ok(recipe) = toml::from_str::<Recipe>(text) else { return };
    // Files that operations name are not looked for where the input says.
    let reads = |ops: &[feedstock::augment::OpConfig]| {
        ops.iter().any(|op| serde_json::to_string(op).is_ok_and(|t| t.contains("tokenizer")))
    };
    if recipe.columns.values().any(|column| reads(&column.ops)) {
        return;
    }
    // One that is none may have numbers that JSON has no words for.
    if recipe.validate().is_err() {
        return;
    }
    let json = serde_json::to_string(&recipe).expect("a recipe is JSON");
    assert_eq!(serde_json::from_str::<Recipe>(&json).expect("a recipe that was written"), recipe);
}

fn state(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    if let Ok(state) = State::from_json(text) {
        let again = State::from_json(&state.to_json()).expect("a state that was written");
        assert_eq!(again.to_json(), state.to_json());
    }
}

fn mask(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let limits = Limits { pixels: 1 << 20, ..Limits::default() };
    if let Ok(mask) = Mask::read(text, 20, 30, &limits) {
        assert_eq!(mask.pixels.len(), 600);
        assert!(mask.area() <= 600);
    }
    let _ = Mask::read_all(text, 20, 30, &limits);
}

fn labels() -> impl Fn(&[u8]) {
    thread_local! {
        static AT: RefCell<Option<readers::Frozen>> = const { RefCell::new(None) };
    }
    |data| {
        AT.with_borrow_mut(|frozen| {
            let frozen = frozen.get_or_insert_with(readers::Frozen::copy);
            let path = frozen.put("told.csv", data);
            let options = RelabelOptions { dry_run: true, ..RelabelOptions::default() };
            let _ = relabel(&Store::open(&frozen.root), &path, options, &mut |_| Ok(()));
        });
    }
}

fn tokenizer() -> impl Fn(&[u8]) {
    thread_local! {
        static AT: RefCell<Option<tempfile::TempDir>> = const { RefCell::new(None) };
    }
    |data| {
        AT.with_borrow_mut(|folder| {
            let path = folder.get_or_insert_with(readers::folder).path().join("tokenizer.json");
            std::fs::write(&path, data).expect("a file in memory");
            let Ok(tokenizer) = Tokenizer::open(&path, true, None) else { return };
            if let Ok(encoded) = tokenizer.encode("Some words, and ünïcode 123.", None) {
                let _ = tokenizer.decode(&encoded.ids, true);
            }
        });
    }
}
