//! `tokenize`: text as the ids of a Hugging Face tokenizer.

use std::path::PathBuf;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::{Draw, Elements, Media, Op, OpEntry, Spec, Tools, refused};
use crate::codec::Limits;
use crate::data::info::Info;
use crate::data::tensor::{DType, Extent};
use crate::error::{Error, Fault, Result};
use crate::tokenizer::{Encode, Places, Tokenizer, Truncate};

/// What a recipe says. The ids are those that Python's `tokenizers` gives for the same file, text and settings.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TokenizeConfig {
    /// A `tokenizer.json`; a relative path begins in the process's folder. A recipe's digest covers what is in the file, not
    /// where it is.
    pub file: PathBuf,
    /// Whether the tokens that the file's post-processor puts around a text (`[CLS]`, `</s>`) are put there; so unless told.
    #[serde(default)]
    pub add_special_tokens: Option<bool>,
    /// The most tokens of a sample, the special ones included.
    #[serde(default)]
    pub max_length: Option<u32>,
    /// With `max_length`: "right" cuts the end of a longer text, "left" its beginning, "none" refuses the sample.
    #[serde(default)]
    pub truncate: Option<Truncate>,
    /// With `max_length`: samples are `[max_length]`, padded with `pad_id`; the batch says each one's true length.
    #[serde(default)]
    pub pad: bool,
    /// What stands behind a shorter text; the file's `[PAD]` or `<pad>` unless told.
    #[serde(default)]
    pub pad_id: Option<u32>,
    /// "bytes" or "chars": a column `NAME_offsets` `[L, 2]` beside the ids says where each token begins and ends in the text
    /// that the operation was given.
    #[serde(default)]
    pub offsets: Option<Places>,
}

/// Token ids `[L]`, i64.
///
/// With `max_length` and `pad` a batch is dense, `[N, max_length]`, with true lengths; otherwise it is ragged, for no length is
/// known before its text is tokenised. Memory is counted for one token a byte of the text and 256 more: a text of more is
/// refused.
#[derive(Debug)]
pub struct Tokenize {
    config: TokenizeConfig,
    tokenizer: Tokenizer,
}

const NAME: &str = "tokenize";

/// Tokens beyond one a byte that a text may have: special ones, a prefix.
const SPARE: u64 = 256;

/// The table's row.
pub const ENTRY: OpEntry = OpEntry {
    name: NAME,
    version: 1,
    summary: "ids by a Hugging Face tokenizer: file = \"tokenizer.json\", add_special_tokens = true, max_length with truncate = \"right\" | \"left\" | \
              \"none\" and pad = false (one length for all, pad_id), offsets = \"bytes\" | \"chars\" (a column beside)",
    build: |params| Ok(Arc::new(Tokenize::new(super::parse(NAME, params)?)?)),
    example: r#"{"file": "tokenizer.json", "max_length": 16}"#,
};

impl Tokenize {
    /// Reads the tokenizer.
    ///
    /// # Errors
    /// [`Error::Config`] as [`Tokenizer::open`], and for settings that do not go together.
    pub fn new(config: TokenizeConfig) -> Result<Self> {
        let wrong = |what: &str, help: &str| Err(Error::config(format!("operation \"{NAME}\": {what}"), help));
        if config.max_length.is_none() && (config.pad || config.truncate.is_some()) {
            return wrong("pad and truncate need a length", "give max_length with them");
        }
        if config.max_length == Some(0) {
            return wrong("max_length = 0", "max_length is 1 or more, or left out");
        }
        let special = config.add_special_tokens.unwrap_or(true);
        let most = config.max_length.map(|n| (n as usize, config.truncate.unwrap_or_default()));
        let tokenizer = Tokenizer::open(&config.file, most, special).map_err(|e| match e {
            Error::Config { what, help } => Error::config(format!("operation \"{NAME}\": {what}"), help),
            other => other,
        })?;
        let config = TokenizeConfig { pad_id: config.pad_id.or(tokenizer.pad_id()), ..config };
        if config.pad && config.pad_id.is_none() {
            let what = format!("{} names no token for padding", config.file.display());
            return wrong(&what, "give pad_id");
        }
        Ok(Tokenize { config, tokenizer })
    }

    /// The tokenizer, for its digest and vocabulary.
    pub fn tokenizer(&self) -> &Tokenizer {
        &self.tokenizer
    }

    /// What it was told, with the padding that it found.
    pub fn config(&self) -> &TokenizeConfig {
        &self.config
    }

    fn length(&self) -> Extent {
        match self.config.max_length {
            Some(most) if self.config.pad => Extent::AtMost(most as usize),
            _ => Extent::Late,
        }
    }
}

impl Op for Tokenize {
    fn spec(&self, input: &Spec) -> Result<Spec, Fault> {
        let Spec::Text { .. } = input else {
            return Err(refused(NAME, "text", input.name()));
        };
        Ok(match self.config.offsets {
            None => Spec::Tensor { dtype: DType::I64, shape: vec![self.length()] },
            Some(_) => Spec::Tokens { length: self.length() },
        })
    }

    fn facts(&self, info: &Info, _draw: &Draw) -> Info {
        let most = self.config.max_length.map_or(u64::MAX, u64::from);
        Info { count: info.count.saturating_add(SPARE).min(most), ..*info }
    }

    fn apply(&self, _draw: &Draw, media: Media, _tools: &mut Tools) -> Result<Media, Fault> {
        let Media::Text(text) = media else {
            return Err(refused(NAME, "text", media.name()));
        };
        let special = self.config.add_special_tokens.unwrap_or(true);
        let encoded = self.tokenizer.encode(&text, Encode { special, places: self.config.offsets })?;
        if let Some(most) = self.config.max_length {
            Limits::check("tokens (max_length; truncate = \"none\")", encoded.ids.len() as u64, u64::from(most))?;
        }
        let ids: Vec<i64> = encoded.ids.into_iter().map(i64::from).collect();
        Ok(match self.config.offsets {
            None => Media::Tensor { shape: vec![ids.len()], data: Elements::I64(ids) },
            Some(_) => {
                let offsets = encoded.places.iter().map(|place| place.map(|at| at as i64)).collect();
                Media::Tokens { ids, offsets }
            }
        })
    }

    fn padding(&self, _before: f64) -> f64 {
        self.config.pad_id.map_or(0.0, f64::from)
    }

    fn files(&self) -> Vec<(&'static str, String)> {
        vec![("file", self.tokenizer.sha256().to_owned())]
    }
}
