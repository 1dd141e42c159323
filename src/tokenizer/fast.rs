//! Ids by the next version of the library `tokenizers`, a release candidate: many times as fast as the released one.
//!
//! It is taken only if it reads the file and gives the released version's ids for texts that try what tokenizers differ in.
//! The two know different versions of Unicode: a character that is a letter or punctuation to one only (U+061D, say) is
//! divided otherwise. So a text goes this way if all of its characters are older than either ([`settled`]), and the tests
//! try every one of these.

use tokenizers::utils::truncation::TruncationDirection;
use tokenizers_rc::TruncationParams;
use tokenizers_rc::pipeline::{EncodeOptions, Override, PipelineToken, PipelineTokenizer};

use super::Tokenizer;
use crate::codec::guarded;
use crate::error::{Fault, Reason};

/// The fast way to ids.
pub(super) struct Fast {
    inner: PipelineTokenizer,
    options: EncodeOptions,
}

/// Texts that the two must agree on: white space, case, accents, scripts, numbers, contractions, controls.
const TRIALS: &[&str] = &[
    "",
    " ",
    "\n\n  \t \r\n",
    "The quick brown fox jumps over the lazy dog.",
    "  two  spaces, THEN CAPITALS; and-hyphens_underscores/slashes\\",
    "don't we've I'LL they'd 12345 3.14159 1,000,000 x=1; y=[2] {z} $5 50% #tag @name",
    "na\u{ef}ve \u{1c5} \u{1e9e}\u{130}I\u{132} \u{3a3}\u{391}\u{3a3} \u{ff21}\u{ff42}\u{ff11} \u{b2}\u{bd} \u{2026}\u{2014}\u{201c}x\u{201d}",
    "\u{65e5}\u{672c}\u{8a9e}\u{306e}\u{6bb5}\u{843d}\u{3002} \u{d55c}\u{ad6d}\u{c5b4} \u{e20}\u{e32}\u{e29}\u{e32}",
    "\u{627}\u{644}\u{633}\u{644}\u{627}\u{645} \u{5e9}\u{5dc}\u{5d5}\u{5dd} \u{928}\u{92e}\u{938}\u{94d}\u{924}\u{947}",
    "\u{41f}\u{440}\u{438}\u{432}\u{435}\u{442} \u{1f411}\u{1f469} x\u{a0}y\u{3000}z\u{85}v \u{1}\u{7f}\u{ad}\u{0}",
    "fn main() {\n    println!(\"{}\", 1 + 2);\n}\n",
    "https://example.org/a?b=c&d=%20 name@example.org",
    "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
];

/// Characters whose properties were settled before the older of the two versions' tables (Unicode 8) were made, of the
/// scripts that most texts are in. Whole ranges, all of whose characters are assigned.
const SETTLED: &[(char, char)] = &[
    ('\0', '\u{24f}'),
    ('\u{391}', '\u{3a1}'),
    ('\u{3a3}', '\u{3ce}'),
    ('\u{400}', '\u{481}'),
    ('\u{48a}', '\u{4ff}'),
    ('\u{5d0}', '\u{5ea}'),
    ('\u{621}', '\u{63a}'),
    ('\u{640}', '\u{64a}'),
    ('\u{660}', '\u{669}'),
    ('\u{905}', '\u{939}'),
    ('\u{93e}', '\u{94d}'),
    ('\u{e01}', '\u{e3a}'),
    ('\u{e40}', '\u{e4e}'),
    ('\u{1e00}', '\u{1eff}'),
    ('\u{2010}', '\u{2027}'),
    ('\u{2030}', '\u{205e}'),
    ('\u{20ac}', '\u{20ac}'),
    ('\u{2190}', '\u{22ff}'),
    ('\u{2500}', '\u{257f}'),
    ('\u{3000}', '\u{303f}'),
    ('\u{3041}', '\u{3096}'),
    ('\u{3099}', '\u{30ff}'),
    ('\u{4e00}', '\u{9fa5}'),
    ('\u{ac00}', '\u{d7a3}'),
    ('\u{ff01}', '\u{ff5e}'),
    ('\u{1f400}', '\u{1f64f}'),
];

/// Whether all characters of a text are settled.
fn settled(text: &str) -> bool {
    let old = |c: char| {
        let behind = SETTLED.partition_point(|(first, _)| *first <= c);
        behind > 0 && c <= SETTLED[behind - 1].1
    };
    text.is_ascii() || text.chars().all(|c| c < '\u{250}' || old(c))
}

impl Fast {
    /// The tokenizer of a file, if this version reads it.
    pub(super) fn of(file: &[u8], special: bool, most: Option<(usize, TruncationDirection)>) -> Option<Self> {
        let text = std::str::from_utf8(file).ok()?;
        let read = || {
            let canonical = tokenizers_rc::canonicalize_str(text).map_err(|e| Fault::new(Reason::Unsupported, e))?;
            tokenizers_rc::from_json(&canonical).map_err(|e| Fault::new(Reason::Unsupported, e))
        };
        let inner = guarded("tokenizers", read).ok()?;
        let truncation = most.map_or(Override::Off, |(max_length, side)| {
            Override::With(TruncationParams {
                direction: match side {
                    TruncationDirection::Left => tokenizers_rc::TruncationDirection::Left,
                    TruncationDirection::Right => tokenizers_rc::TruncationDirection::Right,
                },
                max_length,
                ..TruncationParams::default()
            })
        });
        let options = EncodeOptions {
            add_special_tokens: special,
            truncation,
            padding: Override::Off,
            ..EncodeOptions::default()
        };
        Some(Fast { inner, options })
    }

    /// Whether it gives the ids that count.
    pub(super) fn agrees(&self, with: &Tokenizer) -> bool {
        let added = with.inner.get_added_tokens_decoder();
        let added = added.values().map(|token| format!("a{0} {0}\u{e9}{0}{0}\n{0}", token.content));
        let mut trials = TRIALS.iter().map(|t| (*t).to_owned()).chain(added).filter(|text| settled(text));
        trials.all(|text| {
            with.encode_slowly(&text, None).is_ok_and(|e| self.encode(&text).is_some_and(|ids| ids == e.ids))
        })
    }

    /// The ids of a text; `None` if it has to go the other way.
    pub(super) fn encode(&self, text: &str) -> Option<Vec<u32>> {
        if !settled(text) {
            return None;
        }
        let encoded = guarded("tokenizers", || {
            let mut ids: Vec<PipelineToken> = Vec::new();
            let done = self.inner.encode_into(text, &self.options, &mut ids);
            done.map_err(|e| Fault::new(Reason::Unsupported, e))?;
            Ok(ids.into_iter().map(PipelineToken::id).collect())
        });
        encoded.ok()
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Truncate, train};
    use super::*;
    use crate::rng::{Key, Stream};

    /// A text of words of the play, random characters of many blocks, white space and special tokens.
    fn any_text(s: &mut Stream, words: &[&str]) -> String {
        let blocks: [(u32, u64); 12] = [
            (0x20, 95),
            (0x20, 95),
            (0x09, 5),
            (0x00, 256),
            (0x0100, 0x300),
            (0x0300, 0x70),
            (0x0400, 0x100),
            (0x0590, 0x400),
            (0x1e00, 0x200),
            (0x2000, 0x400),
            (0x3000, 0x7000),
            (0x1_f300, 0x300),
        ];
        let mut text = String::new();
        for _ in 0..s.below(40) {
            match s.below(8) {
                0..4 => {
                    text.push_str(words[s.below(words.len() as u64) as usize]);
                    text.push_str([" ", " ", " ", "", "  ", "\n"][s.below(6) as usize]);
                }
                4 => text.push_str(["</s>", "[SEP]", "<|endoftext|>", "<mask>", "king", "[UNK]"][s.below(6) as usize]),
                _ => {
                    let (from, count) = blocks[s.below(blocks.len() as u64) as usize];
                    let character = |s: &mut Stream| char::from_u32(from + s.below(count) as u32).unwrap_or('\u{fffd}');
                    (0..1 + s.below(4)).for_each(|_| text.push(character(s)));
                }
            }
        }
        text
    }

    /// The fast way gives the released version's ids, for every fixture and for what this crate trains.
    #[test]
    fn both_ways_give_the_same_ids() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/");
        let play = std::fs::read_to_string(format!("{folder}text/shakespeare_20k.txt")).unwrap();
        let words: Vec<&str> = play.split_whitespace().collect();
        let dir = tempfile::tempdir().unwrap();
        let mut files: Vec<std::path::PathBuf> = ["byte_level", "wordpiece", "unigram", "byte_fallback", "word_level"]
            .map(|name| format!("{folder}tokenizers/{name}.json").into())
            .to_vec();
        for model in [train::Model::Bpe, train::Model::Wordpiece, train::Model::Unigram] {
            let options = train::TrainOptions { model, vocabulary: 600, lowercase: true, ..Default::default() };
            let mut trainer = train::Trainer::new(&options).unwrap();
            trainer.feed(&play.lines().map(str::to_owned).collect::<Vec<_>>()).unwrap();
            files.push(dir.path().join(model.name()));
            std::fs::write(files.last().unwrap(), trainer.train().unwrap().json).unwrap();
        }
        let mut fast = 0;
        for (n, file) in files.iter().enumerate() {
            for (special, most) in
                [(true, None), (false, None), (true, Some((7, Truncate::Right))), (false, Some((5, Truncate::Left)))]
            {
                let tokenizer = Tokenizer::open(file, special, most).unwrap();
                let Some(way) = &tokenizer.fast else {
                    println!("{} does not go the fast way", file.display());
                    continue;
                };
                fast += 1;
                let slow = |text: &str| tokenizer.encode_slowly(text, None).unwrap().ids;
                for seed in 0..600 {
                    let text = any_text(&mut Key::new(seed).with(n as u64).stream(), &words);
                    let plain: String = text.chars().filter(|c| settled(&c.to_string())).collect();
                    assert_eq!(way.encode(&plain).as_ref(), Some(&slow(&plain)), "{} {plain:?}", file.display());
                    assert_eq!(tokenizer.encode(&text, None).unwrap().ids, slow(&text), "{} {text:?}", file.display());
                }
                // Every settled character but most of the ideographs and syllables, which are alike.
                let every = SETTLED.iter().flat_map(|(first, last)| *first..=*last);
                let alike = |c: char| ('\u{4e00}'..='\u{d7a3}').contains(&c) && u32::from(c) % 29 != 0;
                let other = |c: &char| {
                    let text = format!("a{c}b {c} x{c}{c}\n{c}1");
                    way.encode(&text) != Some(slow(&text))
                };
                let odd: Vec<char> = every.filter(|c| most.is_none() && !alike(*c)).filter(other).collect();
                assert!(odd.is_empty(), "{}: {odd:?}", file.display());
            }
        }
        println!("{fast} of {} go the fast way", files.len() * 4);
        assert!(fast >= 16, "{fast} of {} go the fast way", files.len() * 4);
    }
}
