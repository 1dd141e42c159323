//! `chars_to_ids`: text as numbers, one for each Unicode character.

use std::collections::HashMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::{Draw, Elements, Media, Op, OpEntry, Spec, Tools, refused};
use crate::data::info::Info;
use crate::data::tensor::{DType, Extent};
use crate::error::{Error, Fault, Reason, Result};

/// Ids `[L]`, i64: each character's code point (a Unicode scalar value), or its place in an alphabet, plus `offset`.
///
/// A character is what Python's `str` counts: an accent that stands behind its letter is one of its own ("normalize_text"
/// joins them). With `pad_to` a batch is dense, `[N, pad_to]`, with true lengths; otherwise it is ragged, for the number of
/// characters is not known before the text is read.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(try_from = "Config", into = "Config")]
pub struct CharsToIds {
    config: Config,
    places: HashMap<char, i64>,
}

/// What a recipe says.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Config {
    /// The characters that have ids: the first is 0, and so on.
    alphabet: Option<String>,
    /// With an alphabet: the id of every other character (nothing is added to it). A text with such a character is refused
    /// unless this is given.
    unknown_id: Option<i64>,
    /// Longer texts are cut to so many characters.
    max_len: Option<u32>,
    /// Every sample has this length: longer texts are cut, shorter ones padded with `pad_id`.
    pad_to: Option<u32>,
    /// Added to each id.
    offset: i64,
    /// What stands behind shorter texts.
    pad_id: i64,
}

const NAME: &str = "chars_to_ids";

/// The table's row.
pub const ENTRY: OpEntry = OpEntry {
    name: NAME,
    version: 1,
    summary: "characters as ids: code points, or places in alphabet = \"abc...\" with unknown_id; max_len, pad_to (one length for all), \
              offset = 0, pad_id = 0",
    build: |params| Ok(Arc::new(super::parse::<CharsToIds>(NAME, params)?)),
    example: r#"{"alphabet": "abcdefghijklmnopqrstuvwxyz ", "unknown_id": 27, "pad_to": 32, "pad_id": -1}"#,
};

impl TryFrom<Config> for CharsToIds {
    type Error = Error;

    fn try_from(config: Config) -> Result<Self> {
        let wrong = |what: String, help: &str| Err(Error::config(what, help));
        let exact = |v: i64| (-(1i64 << 53)..=1 << 53).contains(&v);
        if config.max_len == Some(0) || config.pad_to == Some(0) {
            return wrong("a length of 0".into(), "max_len and pad_to are 1 or more, or left out");
        }
        if ![config.offset, config.pad_id, config.unknown_id.unwrap_or(0)].into_iter().all(exact) {
            return wrong("an id beyond 2^53".into(), "offset, pad_id and unknown_id are within 2^53 of 0");
        }
        let mut places = HashMap::new();
        for (place, c) in (0..).zip(config.alphabet.iter().flat_map(|a| a.chars())) {
            if places.insert(c, place + config.offset).is_some() {
                return wrong(format!("{c:?} is in the alphabet twice"), "name each character once");
            }
        }
        match (&config.alphabet, config.unknown_id) {
            (Some(_), _) if places.is_empty() => wrong("an alphabet of nothing".into(), "name its characters"),
            (None, Some(_)) => wrong("unknown_id without an alphabet".into(), "give alphabet with it: all code points are ids"),
            _ => Ok(CharsToIds { config, places }),
        }
    }
}

impl From<CharsToIds> for Config {
    fn from(op: CharsToIds) -> Self {
        op.config
    }
}

impl CharsToIds {
    fn most(&self) -> u64 {
        [self.config.max_len, self.config.pad_to].into_iter().flatten().map(u64::from).min().unwrap_or(u64::MAX)
    }

    fn id(&self, at: usize, c: char) -> Result<i64, Fault> {
        if self.config.alphabet.is_none() {
            return Ok(i64::from(u32::from(c)) + self.config.offset);
        }
        self.places.get(&c).copied().or(self.config.unknown_id).ok_or_else(|| {
            let what = format!("{NAME}: {c:?} (character {at}) is not in the alphabet: add it, or give unknown_id");
            Fault::new(Reason::Unsupported, what)
        })
    }
}

impl Op for CharsToIds {
    fn spec(&self, input: &Spec) -> Result<Spec, Fault> {
        let Spec::Text { .. } = input else {
            return Err(refused(NAME, "text", input.name()));
        };
        let length = self.config.pad_to.map_or(Extent::Late, |n| Extent::AtMost(n as usize));
        Ok(Spec::Tensor { dtype: DType::I64, shape: vec![length] })
    }

    fn facts(&self, info: &Info, _draw: &Draw) -> Info {
        // No text has more characters than bytes.
        Info { count: info.count.min(self.most()), ..*info }
    }

    fn apply(&self, _draw: &Draw, media: Media, _tools: &mut Tools) -> Result<Media, Fault> {
        let Media::Text(text) = media else {
            return Err(refused(NAME, "text", media.name()));
        };
        let most = usize::try_from(self.most()).unwrap_or(usize::MAX);
        let ids: Vec<i64> =
            text.chars().take(most).enumerate().map(|(at, c)| self.id(at, c)).collect::<Result<_, Fault>>()?;
        Ok(Media::Tensor { shape: vec![ids.len()], data: Elements::I64(ids) })
    }

    fn padding(&self, _before: f64) -> f64 {
        self.config.pad_id as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(params: serde_json::Value, text: &str) -> Result<Elements, Fault> {
        let op = (ENTRY.build)(&params).unwrap();
        op.apply(&Draw::None, Media::Text(text.into()), &mut Tools::default()).map(Media::into_elements)
    }

    #[test]
    fn code_points_or_places_in_an_alphabet() {
        let ids = |v: &[i64]| Ok(Elements::I64(v.to_vec()));
        assert_eq!(run(serde_json::json!({}), "a\u{e9}\u{1f411}"), ids(&[97, 233, 0x1f411]));
        let params = serde_json::json!({"alphabet": "b\u{e9}a", "offset": 10, "unknown_id": 1, "max_len": 4});
        assert_eq!(run(params, "ab\u{e9}xa"), ids(&[12, 10, 11, 1]));
        let fault = run(serde_json::json!({"alphabet": "ab"}), "abc").unwrap_err();
        assert!(fault.message.contains("'c' (character 2)"), "{fault}");
    }
}
