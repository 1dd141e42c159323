//! `normalize_text`: Unicode normalisation forms, lower case, white space.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use unicode_normalization::UnicodeNormalization as _;

use super::{Draw, Media, Op, OpEntry, Spec, Tools, refused};
use crate::data::info::Info;
use crate::data::tensor::Extent;
use crate::error::{Error, Fault, Result};

/// The normalisation forms of Unicode (UAX #15).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Form {
    /// Canonical composition: letters and accents joined.
    Nfc,
    /// Canonical decomposition: apart.
    Nfd,
    /// Compatibility composition: ligatures, circled numbers, full-width letters become plain, too.
    Nfkc,
    /// Compatibility decomposition.
    Nfkd,
}

impl Form {
    /// How many times as many UTF-8 bytes a text can have afterwards (UAX #15, table 8).
    fn growth(self) -> u64 {
        match self {
            Form::Nfc | Form::Nfd => 3,
            Form::Nfkc | Form::Nfkd => 11,
        }
    }
}

/// Makes texts that mean the same the same, in this order: form, lower case, white space. In front of what makes ids of them.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct NormalizeText {
    /// "nfc", "nfd", "nfkc" or "nfkd".
    pub form: Option<Form>,
    /// Lower case by Unicode's full mapping, final sigma included: Python's `str.lower`.
    pub lowercase: bool,
    /// Takes white space off both ends: Unicode's property `White_Space` (Python's `str.strip` takes U+001C to U+001F, too).
    pub strip: bool,
    /// Every run of white space becomes one space; at the ends, too, unless `strip` takes it away.
    pub collapse_whitespace: bool,
}

const NAME: &str = "normalize_text";

/// The table's row.
pub const ENTRY: OpEntry = OpEntry {
    name: NAME,
    version: 1,
    summary: "text made uniform: form = \"nfc\" | \"nfd\" | \"nfkc\" | \"nfkd\", lowercase = false, strip = false, collapse_whitespace = false",
    build: |params| {
        let op: NormalizeText = super::parse(NAME, params)?;
        if op == NormalizeText::default() {
            return Err(Error::config(
                format!("operation \"{NAME}\": there is nothing to do"),
                "give form, lowercase, strip or collapse_whitespace",
            ));
        }
        Ok(Arc::new(op))
    },
    example: r#"{"form": "nfkc", "lowercase": true, "strip": true, "collapse_whitespace": true}"#,
};

impl NormalizeText {
    /// The text as it should be.
    pub fn text(&self, text: String) -> String {
        let mut text = match self.form {
            None => text,
            Some(_) if text.is_ascii() => text,
            Some(Form::Nfc) => text.nfc().collect(),
            Some(Form::Nfd) => text.nfd().collect(),
            Some(Form::Nfkc) => text.nfkc().collect(),
            Some(Form::Nfkd) => text.nfkd().collect(),
        };
        if self.lowercase {
            text = text.to_lowercase();
        }
        if self.collapse_whitespace {
            let mut out = String::with_capacity(text.len());
            for c in text.chars() {
                match c.is_whitespace() {
                    false => out.push(c),
                    true if out.ends_with(' ') => {}
                    true => out.push(' '),
                }
            }
            text = out;
        }
        if self.strip { text.trim().to_owned() } else { text }
    }
}

impl Op for NormalizeText {
    fn spec(&self, input: &Spec) -> Result<Spec, Fault> {
        match input {
            Spec::Text { .. } => Ok(Spec::Text { bytes: Extent::Late }),
            other => Err(refused(NAME, "text", other.name())),
        }
    }

    fn facts(&self, info: &Info, _draw: &Draw) -> Info {
        // Lower case makes three bytes of two at the most.
        let grown = info.count.saturating_mul(self.form.map_or(1, Form::growth));
        let count = if self.lowercase { grown.saturating_add(grown / 2) } else { grown };
        Info { count, ..*info }
    }

    fn apply(&self, _draw: &Draw, media: Media, _tools: &mut Tools) -> Result<Media, Fault> {
        match media {
            Media::Text(text) => Ok(Media::Text(self.text(text))),
            other => Err(refused(NAME, "text", other.name())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every character there is, alone, stays within what is counted for it.
    #[test]
    fn no_character_grows_beyond_its_count() {
        for form in [None, Some(Form::Nfc), Some(Form::Nfd), Some(Form::Nfkc), Some(Form::Nfkd)] {
            let op = NormalizeText { form, lowercase: true, ..NormalizeText::default() };
            let mut most = 0.0f64;
            for c in '\0'..=char::MAX {
                let text = c.to_string();
                let bytes = text.len();
                let info = Info { count: bytes as u64, ..Info::of(crate::data::info::Format::Utf8) };
                let made = op.text(text).len();
                assert!(made as u64 <= op.facts(&info, &Draw::None).count, "{c:?} {form:?}: {made} of {bytes}");
                most = most.max(made as f64 / bytes as f64);
            }
            println!("{form:?}: at most {most} times the bytes");
        }
    }

    #[test]
    fn white_space_is_collapsed_and_stripped() {
        let op = |strip, collapse_whitespace| NormalizeText { strip, collapse_whitespace, ..NormalizeText::default() };
        let text = || " \ta \u{a0}\n b\u{3000}".to_owned();
        assert_eq!(op(false, true).text(text()), " a b ");
        assert_eq!(op(true, true).text(text()), "a b");
        assert_eq!(op(true, false).text(text()), "a \u{a0}\n b");
    }
}
