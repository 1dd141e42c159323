//! The operations on text against Python's `tokenizers`, `unicodedata` and `str`. Bound: equality, for all of it is whole
//! numbers and table look-ups.

use serde_json::{Value, json};

#[cfg(feature = "tokenizers")]
use super::Elements;
use super::{Draw, Media, Tools};

fn golden(name: &str) -> Vec<Value> {
    let path = format!("{}/fixtures/golden/{name}", env!("CARGO_MANIFEST_DIR"));
    let text = std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{path}: {e}"));
    let Value::Object(mut all) = serde_json::from_str(&text).unwrap() else { panic!() };
    let Some(Value::Array(cases)) = all.remove("cases") else { panic!() };
    cases
}

fn apply(name: &str, params: &Value, text: &str) -> Media {
    let op = (super::ops().get(name).unwrap().build)(params).unwrap_or_else(|e| panic!("{params}: {e}"));
    op.apply(&Draw::None, Media::Text(text.to_owned()), &mut Tools::default()).unwrap()
}

#[cfg(feature = "tokenizers")]
#[test]
fn ids_and_places_are_those_of_hugging_faces_tokenizers() {
    let numbers = |v: &Value| v.as_array().unwrap().iter().map(|n| n.as_i64().unwrap()).collect::<Vec<_>>();
    let mut cases = golden("tokens.json");
    let texts = cases.remove(0)["texts"].as_array().unwrap().clone();
    let mut kinds = std::collections::BTreeMap::<String, usize>::new();
    for case in &cases {
        let text = texts[case["text"].as_u64().unwrap() as usize].as_str().unwrap();
        let name = case["tokenizer"].as_str().unwrap();
        let file = format!("{}/fixtures/tokenizers/{name}.json", env!("CARGO_MANIFEST_DIR"));
        let mut params = json!({"file": file, "add_special_tokens": case["special"]});
        if !case["most"].is_null() {
            params["max_length"] = case["most"].clone();
            params["truncate"] = case["side"].clone();
        }
        let ids = numbers(&case["ids"]);
        let Media::Tensor { data, shape } = apply("tokenize", &params, text) else { panic!() };
        assert_eq!((data, shape), (Elements::I64(ids.clone()), vec![ids.len()]), "{case} {text:?}");

        let chars: Vec<[i64; 2]> = numbers(&case["chars"]).as_chunks::<2>().0.to_vec();
        let mut starts: Vec<i64> = text.char_indices().map(|(at, _)| at as i64).collect();
        starts.push(text.len() as i64);
        let bytes = chars.iter().map(|place| place.map(|at| starts[at as usize])).collect();
        for (unit, want) in [("chars", chars), ("bytes", bytes)] {
            params["offsets"] = json!(unit);
            let Media::Tokens { ids: again, offsets } = apply("tokenize", &params, text) else { panic!() };
            assert_eq!((&again, &offsets), (&ids, &want), "{unit} {case} {text:?}");
        }
        *kinds.entry(name.to_owned()).or_default() += 1;
    }
    assert!(kinds.len() == 5 && kinds.values().all(|n| *n > 80), "{kinds:?}");
}

#[test]
fn normal_forms_and_case_are_pythons() {
    let cases = golden("normalize.json");
    let text = |params: Value, text: &str| match apply("normalize_text", &params, text) {
        Media::Text(text) => text,
        other => panic!("{other:?}"),
    };
    for case in &cases {
        let given = case["text"].as_str().unwrap();
        for form in ["nfc", "nfd", "nfkc", "nfkd"] {
            assert_eq!(text(json!({"form": form}), given), case[form].as_str().unwrap(), "{form} {given:?}");
        }
        assert_eq!(text(json!({"lowercase": true}), given), case["lower"].as_str().unwrap(), "{given:?}");
        // Python's white space has four control characters more than Unicode's.
        if given.contains(|c| ('\u{1c}'..='\u{1f}').contains(&c)) {
            continue;
        }
        assert_eq!(text(json!({"strip": true}), given), case["strip"].as_str().unwrap(), "{given:?}");
        let both = json!({"strip": true, "collapse_whitespace": true});
        assert_eq!(text(both, given), case["collapse"].as_str().unwrap(), "{given:?}");
        let all = json!({"form": "nfkc", "lowercase": true, "strip": true, "collapse_whitespace": true});
        assert_eq!(text(all, given), case["all"].as_str().unwrap(), "{given:?}");
    }
    assert!(cases.len() > 30);
}
