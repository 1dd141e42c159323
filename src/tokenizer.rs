//! Hugging Face's `tokenizer.json`: read as a whole, named by what is in it, and made from texts ([`train`]).
//!
//! The numbers are those of the library `tokenizers`, which Python's `tokenizers` and `transformers` run on. Truncation and
//! padding that a file asks for are not done: a recipe says what is done.
//!
//! Two versions of the library are at work. The released one reads every file, knows offsets and trains, and its ids are the
//! ones that count. The next one gives ids at many times its speed (`fast`), where it reads the file and agrees.

use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};
use tokenizers::utils::truncation::{TruncationDirection, TruncationParams, TruncationStrategy};
use tokenizers::{ModelWrapper, PostProcessor as _};

use crate::codec::guarded;
use crate::data::index::hex;
use crate::error::{Error, Fault, Reason, Result};

mod fast;
pub mod train;

use fast::Fast;

/// A tokenizer, ready to encode on any number of threads.
pub struct Tokenizer {
    path: PathBuf,
    inner: tokenizers::Tokenizer,
    /// The same by the library's next version, if it reads the file.
    fast: Option<Fast>,
    /// Whether special tokens are put around a text.
    special: bool,
    sha256: String,
}

impl std::fmt::Debug for Tokenizer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tokenizer").field("path", &self.path).field("sha256", &self.sha256).finish_non_exhaustive()
    }
}

/// What the places of tokens are counted in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Places {
    /// Bytes of the UTF-8 text, as batches carry text.
    Bytes,
    /// Unicode characters (code points), as Python counts in a `str`.
    Chars,
}

/// Where a text that has too many tokens loses some.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Truncate {
    /// Its end is cut off.
    #[default]
    Right,
    /// Its beginning is cut off.
    Left,
    /// Nowhere: the sample is refused.
    None,
}

/// A text's ids, and their places if these were asked for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Encoded {
    /// `[L]`.
    pub ids: Vec<u32>,
    /// `[L]` beginnings and ends in the text, `[start, end)`; (0, 0) for a token that the post-processor added.
    pub places: Vec<[usize; 2]>,
}

impl Tokenizer {
    /// Reads a `tokenizer.json`. `special` says whether the tokens that the file's post-processor puts around a text are put
    /// there. Longer texts are cut to `most` tokens, these included.
    ///
    /// # Errors
    /// [`Error::Config`] for a file that is not there or is no tokenizer, for one that draws at random (BPE dropout, Unigram
    /// sampling), and for a `most` that the special tokens alone fill.
    pub fn open(path: impl AsRef<Path>, special: bool, most: Option<(usize, Truncate)>) -> Result<Self> {
        let path = path.as_ref();
        let bytes = std::fs::read(path).map_err(|e| {
            let folder = std::env::current_dir().unwrap_or_default();
            Error::config(
                format!("the tokenizer {}: {e}", path.display()),
                format!("name a tokenizer.json; a relative path begins in {}", folder.display()),
            )
        })?;
        let broken = |what: String| {
            Error::config(
                format!("{} is no tokenizer of Hugging Face's: {what}", path.display()),
                "name the tokenizer.json of a model (other files of it, as vocab.txt or a .model, are not read); \
                 `dsctl tokenizer train` makes one",
            )
        };
        let read = || tokenizers::Tokenizer::from_bytes(&bytes).map_err(|e| Fault::new(Reason::Corrupt, e));
        let mut inner = guarded("tokenizers", read).map_err(|fault| broken(fault.message))?;
        let random = match inner.get_model() {
            ModelWrapper::BPE(bpe) => bpe.dropout.is_some_and(|p| p > 0.0).then_some("\"dropout\""),
            ModelWrapper::Unigram(unigram) => unigram.alpha.is_some_and(|a| a > 0.0).then_some("\"alpha\""),
            _ => None,
        };
        if let Some(what) = random {
            return Err(Error::config(
                format!("{}: its {what} makes it draw at random, which no seed governs", path.display()),
                format!("set {what} in its \"model\" to null"),
            ));
        }
        inner.with_padding(None);
        let added = if special { inner.get_post_processor().map_or(0, |p| p.added_tokens(false)) } else { 0 };
        let truncation = match most {
            Some((most, _)) if most <= added => {
                return Err(Error::config(
                    format!("at most {most} tokens, and {} puts {added} special ones around a text", path.display()),
                    format!("allow {} or more, or leave the special tokens out", added + 1),
                ));
            }
            Some((most, Truncate::Left)) => Some((most, TruncationDirection::Left)),
            Some((most, Truncate::Right)) => Some((most, TruncationDirection::Right)),
            Some((_, Truncate::None)) | None => None,
        };
        // The library's own check subtracts special tokens even where they are not wanted: the length is set behind it.
        let strategy = TruncationStrategy::LongestFirst;
        let room =
            truncation.map(|(_, direction)| TruncationParams { max_length: 1 << 32, direction, strategy, stride: 0 });
        inner.with_truncation(room).map_err(|e| broken(e.to_string()))?;
        if let (Some(set), Some((most, _))) = (inner.get_truncation_mut(), truncation) {
            set.max_length = most;
        }
        let mut made =
            Tokenizer { path: path.to_owned(), inner, fast: None, special, sha256: hex(&Sha256::digest(&bytes)) };
        made.fast = Fast::of(&bytes, special, truncation).filter(|fast| fast.agrees(&made));
        Ok(made)
    }

    /// Where it was read from.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// SHA-256 of the file's content, in hex: two files of one content give the same ids.
    pub fn sha256(&self) -> &str {
        &self.sha256
    }

    /// How many ids there are, those of added tokens included.
    pub fn vocabulary(&self) -> usize {
        self.inner.get_vocab_size(true)
    }

    /// The id of a token by its exact text.
    pub fn id(&self, token: &str) -> Option<u32> {
        self.inner.token_to_id(token)
    }

    /// The id of the token that stands for nothing, by the names that such tokens have.
    pub fn pad_id(&self) -> Option<u32> {
        ["[PAD]", "<pad>", "<|pad|>", "<|padding|>", "<PAD>", "<|finetune_right_pad_id|>"]
            .iter()
            .find_map(|t| self.id(t))
    }

    /// The ids of a text, and their places if these are wanted.
    ///
    /// # Errors
    /// A text with a character that the vocabulary cannot express at all, or one that makes the library panic.
    pub fn encode(&self, text: &str, places: Option<Places>) -> Result<Encoded, Fault> {
        if let (Some(fast), None) = (&self.fast, places)
            && let Some(ids) = fast.encode(text)
        {
            return Ok(Encoded { ids, places: Vec::new() });
        }
        self.encode_slowly(text, places)
    }

    /// Without the fast way.
    fn encode_slowly(&self, text: &str, places: Option<Places>) -> Result<Encoded, Fault> {
        let encoding = guarded("tokenizers", || {
            match places {
                None => self.inner.encode_fast(text, self.special),
                Some(Places::Bytes) => self.inner.encode(text, self.special),
                Some(Places::Chars) => self.inner.encode_char_offsets(text, self.special),
            }
            .map_err(|e| Fault::new(Reason::Unsupported, format!("{}: {e}", self.path.display())))
        })?;
        let places = places.map_or_else(Vec::new, |_| encoding.get_offsets().iter().map(|(a, b)| [*a, *b]).collect());
        Ok(Encoded { ids: encoding.get_ids().to_vec(), places })
    }

    /// The text of some ids.
    pub fn decode(&self, ids: &[u32], skip_special: bool) -> Result<String, Fault> {
        guarded("tokenizers", || {
            self.inner.decode(ids, skip_special).map_err(|e| Fault::new(Reason::Unsupported, e.to_string()))
        })
    }
}
