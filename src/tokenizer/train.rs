//! Tokenizers made from texts: the trainers of the library `tokenizers`, so fed that the same texts give the same file.
//!
//! Left to themselves the library's trainers iterate over hash maps with random seeds: WordPiece numbers the continuing
//! characters in that order, Unigram sums floats in it. Here the words are counted first and handed over sorted, on one
//! thread, and what is still in the order of a hash map afterwards is put in order. (Unigram takes logarithms of the system's
//! library: another one may round another way.)

use std::collections::{BTreeSet, HashMap};

use compact_str::CompactString;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokenizers::models::bpe::{BPE, BpeTrainer};
use tokenizers::models::unigram::{Unigram, UnigramTrainer};
use tokenizers::models::wordpiece::WordPiece;
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::{
    AddedToken, ModelWrapper, NormalizedString, Normalizer as _, OffsetReferential, OffsetType, PreTokenizedString,
    PreTokenizer as _,
};

use crate::codec::guarded;
use crate::error::{Error, Fault, Reason, Result};
use crate::parallel;

/// The kinds of tokenizers that are trained.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Model {
    /// Merges of bytes, as GPT-2 has them (Sennrich et al. 2016; Radford et al. 2019): every text can be expressed, and comes back
    /// byte for byte. Special tokens: `<|endoftext|>`, `<|pad|>`.
    #[default]
    Bpe,
    /// Word pieces, as BERT has them (Devlin et al. 2019): words apart from punctuation, `[CLS]` and `[SEP]` around a text. Special
    /// tokens: `[PAD]`, `[UNK]`, `[CLS]`, `[SEP]`, `[MASK]`.
    Wordpiece,
    /// The likeliest division by a unigram language model, as T5 and ALBERT have it (Kudo 2018): text in the form NFKC, `</s>` at its
    /// end. Special tokens: `<pad>`, `</s>`, `<unk>`.
    Unigram,
}

impl Model {
    /// The name in messages.
    pub fn name(self) -> &'static str {
        match self {
            Model::Bpe => "bpe",
            Model::Wordpiece => "wordpiece",
            Model::Unigram => "unigram",
        }
    }

    fn special(self) -> &'static [&'static str] {
        match self {
            Model::Bpe => &["<|endoftext|>", "<|pad|>"],
            Model::Wordpiece => &["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"],
            Model::Unigram => &["<pad>", "</s>", "<unk>"],
        }
    }
}

/// What is trained.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TrainOptions {
    /// The kind of tokenizer.
    pub model: Model,
    /// Tokens of the vocabulary, special ones included. Fewer come out where the texts do not give so many.
    pub vocabulary: usize,
    /// Pairs that occur less often are not merged (bpe, wordpiece).
    pub least: u64,
    /// Special tokens behind the model's own.
    pub special: Vec<String>,
    /// Whether the tokenizer makes lower case of its texts; for wordpiece without accents, too, as BERT uncased.
    pub lowercase: bool,
    /// Threads that count words; 0 for all of the machine. The file does not depend on it.
    pub threads: usize,
}

impl Default for TrainOptions {
    fn default() -> Self {
        TrainOptions {
            model: Model::default(),
            vocabulary: 8000,
            least: 2,
            special: Vec::new(),
            lowercase: false,
            threads: 0,
        }
    }
}

/// Counts the words of texts, then trains. Memory: the different words.
pub struct Trainer {
    options: TrainOptions,
    frame: tokenizers::Tokenizer,
    special: Vec<String>,
    pool: rayon::ThreadPool,
    words: HashMap<String, u64>,
}

impl std::fmt::Debug for Trainer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Trainer").field("options", &self.options).field("words", &self.words.len()).finish_non_exhaustive()
    }
}

/// A trained tokenizer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trained {
    /// The `tokenizer.json`.
    pub json: String,
    /// Tokens of its vocabulary.
    pub vocabulary: usize,
    /// Different words that it was made from.
    pub words: usize,
}

type Words = HashMap<String, u64>;

impl Trainer {
    /// A trainer that has seen nothing.
    ///
    /// # Errors
    /// [`Error::Config`] for a vocabulary with no room for what has to be in it, and for a special token named twice.
    pub fn new(options: &TrainOptions) -> Result<Self> {
        let mut special: Vec<String> = options.model.special().iter().map(|s| (*s).to_owned()).collect();
        for token in &options.special {
            if token.is_empty() || special.contains(token) {
                return Err(Error::config(
                    format!("the special token {token:?} is empty or there already"),
                    format!("{} has {}", options.model.name(), options.model.special().join(", ")),
                ));
            }
            special.push(token.clone());
        }
        let least = special.len() + if options.model == Model::Bpe { 256 } else { 1 };
        if options.vocabulary < least || u32::try_from(options.vocabulary).is_err() {
            return Err(Error::config(
                format!("a vocabulary of {} tokens", options.vocabulary),
                format!("{} wants {least} or more, special tokens included", options.model.name()),
            ));
        }
        let frame = frame(options, &special);
        let frame = tokenizers::Tokenizer::from_bytes(frame.to_string()).map_err(trouble)?;
        let pool = parallel::pool(options.threads)?;
        Ok(Trainer { options: options.clone(), frame, special, pool, words: HashMap::new() })
    }

    /// Counts the words of some texts.
    pub fn feed(&mut self, texts: &[String]) -> Result<()> {
        let frame = &self.frame;
        let count = |texts: &[String]| -> Result<Words, Fault> {
            let mut words = Words::new();
            for text in texts {
                guarded("tokenizers", || {
                    words_of(frame, text, |word| {
                        if let Some(count) = words.get_mut(word) {
                            *count += 1;
                        } else {
                            words.insert(word.to_owned(), 1);
                        }
                    })
                })?;
            }
            Ok(words)
        };
        let parts: Result<Vec<Words>, Fault> = self.pool.install(|| texts.par_chunks(64).map(count).collect());
        for (word, count) in parts.map_err(trouble)?.into_iter().flatten() {
            *self.words.entry(word).or_default() += count;
        }
        Ok(())
    }

    /// Trains on what was counted.
    ///
    /// # Errors
    /// [`Error::Config`] if there were no words, or more characters than the vocabulary has room for.
    pub fn train(self) -> Result<Trained> {
        let Trainer { options, mut frame, special, words, .. } = self;
        if words.is_empty() {
            return Err(Error::config("the texts hold not one word", "give texts to train on"));
        }
        let count = words.len();
        let mut words: Vec<(String, u64)> = words.into_iter().collect();
        words.sort_unstable();
        // One thread: the library divides its sums among threads, and floats are added in another order then.
        let one = parallel::pool(1)?;
        let model = one.install(|| {
            guarded("tokenizers", || match options.model {
                Model::Bpe => merges(&options, &special, &words, &[]).map(ModelWrapper::BPE),
                Model::Wordpiece => {
                    let behind: BTreeSet<char> = words.iter().flat_map(|(w, _)| w.chars().skip(1)).collect();
                    let behind: Vec<String> = behind.into_iter().map(|c| format!("##{c}")).collect();
                    let bpe = merges(&options, &special, &words, &behind)?;
                    Ok(ModelWrapper::WordPiece(WordPiece::from_bpe(&bpe)))
                }
                Model::Unigram => unigram(&options, &special, words).map(ModelWrapper::Unigram),
            })
        });
        let model = model.map_err(|fault| {
            let help = "a larger vocabulary holds more characters; texts of one language or script have fewer";
            Error::config(format!("training {}: {}", options.model.name(), fault.message), help)
        })?;
        frame.with_model(model);
        frame.add_special_tokens(special.into_iter().map(|t| AddedToken::from(t, true))).map_err(trouble)?;
        let json = frame.to_string(false).map_err(trouble)?;
        Ok(Trained { vocabulary: frame.get_vocab_size(true), json, words: count })
    }
}

fn trouble(e: impl std::fmt::Display) -> Error {
    Error::library("training a tokenizer", e)
}

fn fault(e: tokenizers::Error) -> Fault {
    Fault::new(Reason::Unsupported, e)
}

/// Everything of a `tokenizer.json` but the vocabulary. The special tokens come first, so that their ids are their places.
fn frame(options: &TrainOptions, special: &[String]) -> Value {
    let id = |token: &str| special.iter().position(|s| s == token).unwrap_or_default();
    let token = |t: &str| json!({"SpecialToken": {"id": t, "type_id": 0}});
    let text = json!({"Sequence": {"id": "A", "type_id": 0}});
    let second = json!({"Sequence": {"id": "B", "type_id": 1}});
    let closing = |t: &str| json!({"SpecialToken": {"id": t, "type_id": 1}});
    let listed = |tokens: &[&str]| -> Value {
        tokens.iter().map(|t| ((*t).to_owned(), json!({"id": t, "ids": [id(t)], "tokens": [t]}))).collect()
    };
    let lowercase = json!({"type": "Lowercase"});
    let byte_level = json!({"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": false, "use_regex": true});
    let metaspace = json!({"type": "Metaspace", "replacement": "\u{2581}", "prepend_scheme": "always", "split": true});
    let (normalizer, pre_tokenizer, post_processor, decoder, model) = match options.model {
        Model::Bpe => (
            if options.lowercase { lowercase } else { Value::Null },
            byte_level.clone(),
            byte_level.clone(),
            byte_level,
            json!({"type": "BPE", "vocab": {}, "merges": []}),
        ),
        Model::Wordpiece => (
            json!({
                "type": "BertNormalizer", "clean_text": true, "handle_chinese_chars": true, "strip_accents": null,
                "lowercase": options.lowercase,
            }),
            json!({"type": "BertPreTokenizer"}),
            json!({
                "type": "TemplateProcessing", "single": [token("[CLS]"), text, token("[SEP]")],
                "pair": [token("[CLS]"), text, token("[SEP]"), second, closing("[SEP]")],
                "special_tokens": listed(&["[CLS]", "[SEP]"]),
            }),
            json!({"type": "WordPiece", "prefix": "##", "cleanup": true}),
            json!({
                "type": "WordPiece", "unk_token": "[UNK]", "continuing_subword_prefix": "##",
                "max_input_chars_per_word": 100, "vocab": {},
            }),
        ),
        Model::Unigram => {
            let spaces = json!({"type": "Replace", "pattern": {"Regex": " {2,}"}, "content": " "});
            let mut steps = vec![json!({"type": "NFKC"}), spaces];
            if options.lowercase {
                steps.insert(1, lowercase);
            }
            (
                json!({"type": "Sequence", "normalizers": steps}),
                metaspace.clone(),
                json!({
                    "type": "TemplateProcessing", "single": [text, token("</s>")],
                    "pair": [text, token("</s>"), second, closing("</s>")], "special_tokens": listed(&["</s>"]),
                }),
                metaspace,
                json!({"type": "Unigram", "unk_id": 0, "vocab": [["<unk>", 0.0]]}),
            )
        }
    };
    json!({
        "version": "1.0", "truncation": null, "padding": null, "added_tokens": [], "normalizer": normalizer,
        "pre_tokenizer": pre_tokenizer, "post_processor": post_processor, "decoder": decoder, "model": model,
    })
}

/// What the model is shown of a text, piece by piece.
fn words_of(frame: &tokenizers::Tokenizer, text: &str, mut take: impl FnMut(&str)) -> Result<(), Fault> {
    let mut normalized = NormalizedString::from(text);
    if let Some(normalizer) = frame.get_normalizer() {
        normalizer.normalize(&mut normalized).map_err(fault)?;
    }
    let mut divided = PreTokenizedString::from(normalized);
    if let Some(pre_tokenizer) = frame.get_pre_tokenizer() {
        pre_tokenizer.pre_tokenize(&mut divided).map_err(fault)?;
    }
    for (word, ..) in divided.get_splits(OffsetReferential::Original, OffsetType::None) {
        if !word.is_empty() {
            take(word);
        }
    }
    Ok(())
}

/// Merges of what stands side by side most often. `behind` are the characters within words, which get the first ids behind
/// the special tokens.
fn merges(options: &TrainOptions, special: &[String], words: &[(String, u64)], behind: &[String]) -> Result<BPE, Fault> {
    let first = special.iter().chain(behind).map(|t| AddedToken::from(t.clone(), true)).collect();
    let mut trainer = BpeTrainer::builder()
        .show_progress(false)
        .vocab_size(options.vocabulary)
        .min_frequency(options.least)
        .special_tokens(first);
    let mut characters: BTreeSet<char> = words.iter().flat_map(|(w, _)| w.chars()).collect();
    if options.model == Model::Bpe {
        characters = ByteLevel::alphabet().into_iter().collect();
        trainer = trainer.initial_alphabet(characters.iter().copied().collect());
    } else {
        trainer = trainer.continuing_subword_prefix("##".to_owned());
    }
    let needed = special.len() + behind.len() + characters.len();
    if needed > options.vocabulary {
        let what = format!("the characters of the texts alone take {needed} of {} tokens", options.vocabulary);
        return Err(Fault::new(Reason::OverLimit, what));
    }
    let words = words.iter().map(|(word, count)| (CompactString::from(word), *count)).collect();
    let mut model = BPE::default();
    trainer.build().do_train(&words, &mut model).map_err(fault)?;
    Ok(model)
}

/// The pieces that make the texts likeliest.
fn unigram(options: &TrainOptions, special: &[String], words: Vec<(String, u64)>) -> Result<Unigram, Fault> {
    let trainer = UnigramTrainer::builder()
        .show_progress(false)
        .vocab_size(u32::try_from(options.vocabulary).unwrap_or(u32::MAX))
        .special_tokens(special.iter().map(|t| AddedToken::from(t.clone(), true)).collect())
        .unk_token(Some("<unk>".to_owned()))
        .build()
        .map_err(|e| Fault::new(Reason::Unsupported, e))?;
    let words = words.into_iter().map(|(word, count)| (word, u32::try_from(count).unwrap_or(u32::MAX))).collect();
    let mut model = Unigram::default();
    trainer.do_train(words, &mut model).map_err(fault)?;
    let mut pieces: Vec<(String, f64)> = model.iter().cloned().collect();
    let own = pieces.split_off(special.len());
    pieces.extend(ordered(own));
    let unknown = special.iter().position(|t| t == "<unk>");
    Unigram::from(pieces, unknown, false).map_err(fault)
}

/// Puts pieces in the order of their scores, and by text where these are equal. The library adds the characters that its last
/// step had thrown out in the order of a hash map, each a little above the one before, from the lowest score of all on: these
/// are known by their scores, which are given to them anew in the order of the characters.
fn ordered(mut pieces: Vec<(String, f64)>) -> Vec<(String, f64)> {
    let lowest = pieces.iter().map(|(_, score)| *score).fold(f64::INFINITY, f64::min);
    let (mut above, mut added) = (0.0, Vec::new());
    loop {
        let before = added.len();
        let level = lowest + above;
        let alone = |(_, (piece, score)): &(usize, &(String, f64))| *score == level && piece.chars().count() == 1;
        added.extend(pieces.iter().enumerate().filter(alone).map(|(at, _)| at));
        if added.len() == before {
            break;
        }
        // As the library counts, so that the sums are the same.
        above += 0.0001;
    }
    let mut scores: Vec<f64> = added.iter().map(|at| pieces[*at].1).collect();
    scores.sort_unstable_by(f64::total_cmp);
    added.sort_unstable_by(|a, b| pieces[*a].0.cmp(&pieces[*b].0));
    for (at, score) in added.into_iter().zip(scores) {
        pieces[at].1 = score;
    }
    pieces.sort_unstable_by(|(a, x), (b, y)| y.total_cmp(x).then_with(|| a.cmp(b)));
    pieces
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tokenizer::{Encode, Tokenizer};

    fn play() -> Vec<String> {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/text/shakespeare_20k.txt");
        std::fs::read_to_string(path).unwrap().lines().map(str::to_owned).collect()
    }

    fn trained(options: &TrainOptions) -> Trained {
        let mut trainer = Trainer::new(options).unwrap();
        play().chunks(100).for_each(|texts| trainer.feed(texts).unwrap());
        trainer.train().unwrap()
    }

    #[test]
    fn the_same_texts_give_the_same_file_and_it_reads_what_it_was_made_from() {
        let dir = tempfile::tempdir().unwrap();
        for (model, vocabulary) in [(Model::Bpe, 400), (Model::Wordpiece, 300), (Model::Unigram, 260)] {
            let options = TrainOptions { model, vocabulary, special: vec!["<extra>".into()], ..TrainOptions::default() };
            let made = trained(&options);
            for threads in [1, 2, 3] {
                let again = trained(&TrainOptions { threads, ..options.clone() });
                assert!(again == made, "{model:?} on {threads} threads");
            }
            assert!(made.vocabulary <= vocabulary && made.vocabulary + 20 > vocabulary, "{model:?} {}", made.vocabulary);
            let path = dir.path().join("tokenizer.json");
            std::fs::write(&path, &made.json).unwrap();
            let tokenizer = Tokenizer::open(&path, None, true).unwrap();
            assert_eq!(tokenizer.vocabulary(), made.vocabulary);
            let pad = tokenizer.pad_id().unwrap();
            assert!((pad as usize) < 3 && tokenizer.id("<extra>") == Some(model.special().len() as u32));
            let (mut tokens, mut characters) = (0, 0);
            for line in play().iter().filter(|l| !l.is_empty()) {
                let ids = tokenizer.encode(line, Encode { special: false, places: None }).unwrap().ids;
                assert_eq!(tokenizer.id("[UNK]").or(tokenizer.id("<unk>")).filter(|u| ids.contains(u)), None, "{line}");
                if model == Model::Bpe {
                    assert_eq!(tokenizer.decode(&ids, false).unwrap(), *line);
                }
                (tokens, characters) = (tokens + ids.len(), characters + line.chars().count());
            }
            // More than characters alone would do.
            assert!(tokens * 3 < characters * 2, "{model:?}: {tokens} tokens of {characters} characters");
        }
    }

    #[test]
    fn characters_that_the_library_adds_are_put_in_order() {
        let piece = |t: &str, score: f64| (t.to_owned(), score);
        let (low, delta) = (-9.25, 0.0001);
        let third = low + (delta + delta);
        let given = [piece("ab", -1.0), piece("z", low), piece("cd", -2.0), piece("x", low + delta), piece("y", third)];
        let other = [piece("cd", -2.0), piece("y", low), piece("ab", -1.0), piece("z", low + delta), piece("x", third)];
        let want = [piece("ab", -1.0), piece("cd", -2.0), piece("z", third), piece("y", low + delta), piece("x", low)];
        assert_eq!(ordered(given.to_vec()), want);
        assert_eq!(ordered(other.to_vec()), want);
    }

    #[test]
    fn what_cannot_be_trained_is_said() {
        let wrong = |options: TrainOptions, texts: &[String], part: &str| {
            let made = Trainer::new(&options).and_then(|mut t| t.feed(texts).and_then(|()| t.train()));
            let told = made.unwrap_err().to_string();
            assert!(told.contains(part) && told.contains("help: "), "{told}");
        };
        let of = |model, vocabulary| TrainOptions { model, vocabulary, ..TrainOptions::default() };
        wrong(of(Model::Bpe, 200), &[], "258 or more");
        wrong(of(Model::Bpe, 300), &[], "not one word");
        wrong(of(Model::Wordpiece, 20), &play(), "characters");
        wrong(of(Model::Unigram, 20), &play(), "training unigram");
        wrong(TrainOptions { special: vec!["<|pad|>".into()], ..TrainOptions::default() }, &[], "<|pad|>");
    }
}
