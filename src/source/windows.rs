//! Windows of a long text: stretches of so many characters or bytes, in one pass and the memory of one window.

use std::io::BufRead;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

/// How a long text is divided.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TextWindow {
    /// The length of a window, in characters or bytes; the last of a text may be shorter.
    pub length: u64,
    /// From the beginning of one window to the beginning of the next; `length` unless told. Less makes windows overlap.
    pub stride: Option<u64>,
    /// What is counted.
    pub count: Count,
    /// Where a window may end.
    pub cut: Cut,
}

impl Default for TextWindow {
    fn default() -> Self {
        TextWindow { length: 4096, stride: None, count: Count::default(), cut: Cut::default() }
    }
}

/// What the length of a window is counted in.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Count {
    /// Unicode characters (code points).
    #[default]
    Chars,
    /// Bytes of UTF-8; no character is cut in two.
    Bytes,
}

/// Where a window may end.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Cut {
    /// Behind any character.
    #[default]
    Anywhere,
    /// Behind white space, if there is any in the last half stride of the window; windows that overlap begin behind white
    /// space, too.
    Space,
}

/// Longer windows are no windows.
const LONGEST: u64 = 1 << 26;

impl TextWindow {
    /// Refuses what cannot be.
    pub(crate) fn validate(&self) -> Result<()> {
        if !(1..=LONGEST).contains(&self.length) {
            return Err(Error::config(
                format!("windows of {} {}", self.length, self.count.name()),
                format!("a window has 1 to {LONGEST}"),
            ));
        }
        if !(1..=self.length).contains(&self.stride()) {
            return Err(Error::config(
                format!("a stride of {} for windows of {}", self.stride(), self.length),
                "the stride is 1 or more, and no more than the length: nothing of a text is left out",
            ));
        }
        Ok(())
    }

    fn stride(&self) -> u64 {
        self.stride.unwrap_or(self.length)
    }
}

impl Count {
    /// The name in messages.
    pub fn name(self) -> &'static str {
        match self {
            Count::Chars => "characters",
            Count::Bytes => "bytes",
        }
    }
}

/// One window.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Window {
    /// Its place in the text, from 0.
    pub number: u64,
    /// The line it begins on, from 1.
    pub line: u64,
    /// Its bytes, counted from the beginning of the file.
    pub start: u64,
    pub end: u64,
    /// Whether it is nothing but white space.
    pub blank: bool,
}

/// Hands over the windows of what a reader holds from byte `start` of its file on. The outer error is `take`'s.
pub(super) fn windows(
    reader: &mut impl BufRead,
    start: u64,
    how: &TextWindow,
    mut take: impl FnMut(Window) -> Result<()>,
) -> Result<std::io::Result<()>> {
    let (length, stride) = (how.length as usize, how.stride() as usize);
    // Enough that a window, and what stands behind it, is in memory.
    let wanted = match how.count {
        Count::Chars => length * 4 + 4,
        Count::Bytes => length + 4,
    };
    let mut text: Vec<u8> = Vec::new();
    let (mut at, mut line, mut number) = (start, 1, 0);
    loop {
        while text.len() < wanted {
            let more = match reader.fill_buf() {
                Ok(more) => more,
                Err(e) => return Ok(Err(e)),
            };
            if more.is_empty() {
                break;
            }
            let used = more.len().min(wanted - text.len());
            text.extend_from_slice(&more[..used]);
            reader.consume(used);
        }
        if text.is_empty() {
            return Ok(Ok(()));
        }
        let whole = text.len() < wanted;
        let mut end = forward(&text, length, how.count);
        let last = whole && end == text.len();
        if !last && how.cut == Cut::Space {
            end = behind_space(&text, end, back(&text, end, stride / 2, how.count)).unwrap_or(end);
        }
        let blank = text[..end].iter().all(u8::is_ascii_whitespace);
        take(Window { number, line, start: at, end: at + end as u64, blank })?;
        if last {
            return Ok(Ok(()));
        }
        let mut next = back(&text, end, length - stride, how.count);
        // A word that the next window would begin in the middle of is this one's, unless nothing of it is behind.
        if how.cut == Cut::Space && (1..end).contains(&next) && !ends_in_space(&text, next) {
            let word = (next..end).find(|i| ends_in_space(&text, *i));
            next = word.unwrap_or(next);
        }
        // At least one character further on, whatever the rounding to characters did.
        let next = next.max(width(&text, 0)).min(text.len());
        line += text[..next].iter().filter(|b| **b == b'\n').count() as u64;
        text.drain(..next);
        at += next as u64;
        number += 1;
    }
}

/// The bytes of the character that begins here; of what is no UTF-8, one.
fn width(text: &[u8], at: usize) -> usize {
    let width = match text[at] {
        0xc2..=0xdf => 2,
        0xe0..=0xef => 3,
        0xf0..=0xf4 => 4,
        _ => return 1,
    };
    let whole = text.get(at..at + width).is_some_and(|c| std::str::from_utf8(c).is_ok());
    if whole { width } else { 1 }
}

/// The bytes of the character that ends here.
fn width_before(text: &[u8], end: usize) -> usize {
    (2..=4.min(end)).find(|n| width(text, end - n) == *n).unwrap_or(1)
}

/// So many characters or bytes on from the beginning, at the end of a character.
fn forward(text: &[u8], count: usize, unit: Count) -> usize {
    let mut at = 0;
    match unit {
        Count::Chars => {
            for _ in 0..count {
                if at == text.len() {
                    break;
                }
                at += width(text, at);
            }
        }
        Count::Bytes => {
            at = count.min(text.len());
            // No character lies across the cut, unless the window is smaller than the character.
            if let Some(cut) = (1..=3.min(at)).find(|n| width(text, at - n) > *n)
                && at < text.len()
            {
                at = if cut == at { width(text, 0) } else { at - cut };
            }
        }
    }
    at
}

/// So many characters or bytes back, at the beginning of a character.
fn back(text: &[u8], from: usize, count: usize, unit: Count) -> usize {
    let mut at = from;
    match unit {
        Count::Chars => {
            for _ in 0..count {
                if at == 0 {
                    break;
                }
                at -= width_before(text, at);
            }
        }
        Count::Bytes => {
            let goal = from.saturating_sub(count);
            while at > goal {
                at -= width_before(text, at);
            }
        }
    }
    at
}

/// Whether the character that ends here is white space.
fn ends_in_space(text: &[u8], end: usize) -> bool {
    let c = &text[end - width_before(text, end)..end];
    std::str::from_utf8(c).is_ok_and(|c| c.starts_with(char::is_whitespace))
}

/// The last place up to `end` and behind `least` that stands behind white space.
fn behind_space(text: &[u8], end: usize, least: usize) -> Option<usize> {
    let mut at = end;
    while at > least {
        if ends_in_space(text, at) {
            return Some(at);
        }
        at -= width_before(text, at);
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::Key;

    fn cut(text: &[u8], how: &TextWindow) -> Vec<Window> {
        how.validate().unwrap();
        let mut found = Vec::new();
        let mut reader = std::io::BufReader::with_capacity(7, text);
        windows(&mut reader, 100, how, |w| {
            found.push(w);
            Ok(())
        })
        .unwrap()
        .unwrap();
        found
    }

    fn texts(text: &str, how: &TextWindow) -> Vec<String> {
        let of = |w: &Window| text[w.start as usize - 100..w.end as usize - 100].to_owned();
        cut(text.as_bytes(), how).iter().map(of).collect()
    }

    fn how(length: u64, stride: u64, count: Count, cut: Cut) -> TextWindow {
        TextWindow { length, stride: Some(stride), count, cut }
    }

    #[test]
    fn characters_or_bytes_with_and_without_overlap() {
        let text = "a\u{e9}\u{1f411}bcde";
        assert_eq!(texts(text, &how(3, 3, Count::Chars, Cut::Anywhere)), ["a\u{e9}\u{1f411}", "bcd", "e"]);
        assert_eq!(texts(text, &how(4, 2, Count::Chars, Cut::Anywhere)), ["a\u{e9}\u{1f411}b", "\u{1f411}bcd", "cde"]);
        assert_eq!(texts(text, &how(4, 4, Count::Bytes, Cut::Anywhere)), ["a\u{e9}", "\u{1f411}", "bcde"]);
        // A window too small for a character holds that character.
        assert_eq!(texts("\u{1f411}x", &how(2, 2, Count::Bytes, Cut::Anywhere)), ["\u{1f411}", "x"]);
        assert_eq!(texts("abcd", &how(2, 2, Count::Chars, Cut::Anywhere)), ["ab", "cd"], "nothing behind a full last one");
        assert!(texts("", &how(2, 2, Count::Chars, Cut::Anywhere)).is_empty());
    }

    #[test]
    fn words_stay_whole_where_there_is_white_space() {
        let text = "one two three four fivesixseveneight nine";
        let cuts = texts(text, &how(10, 10, Count::Chars, Cut::Space));
        assert_eq!(cuts, ["one two ", "three ", "four fives", "ixseveneig", "ht nine"]);
        assert_eq!(cuts.concat(), text);
        let overlap = texts(text, &how(14, 8, Count::Chars, Cut::Space));
        assert_eq!(overlap[..2], ["one two three ", "three four "]);
    }

    #[test]
    fn lines_are_counted_and_blank_windows_marked() {
        let found = cut(b"ab\ncd\n\n\n\n\nx", &how(4, 4, Count::Bytes, Cut::Anywhere));
        let seen: Vec<_> = found.iter().map(|w| (w.number, w.line, w.blank)).collect();
        assert_eq!(seen, [(0, 1, false), (1, 2, false), (2, 5, false)]);
        assert!(cut(b"\n\n\n\n\n\n", &how(3, 3, Count::Bytes, Cut::Anywhere)).iter().all(|w| w.blank));
    }

    /// On any bytes: every byte is in a window, windows go on, and no character is cut.
    #[test]
    fn any_text_is_covered_without_a_cut_character() {
        for seed in 0..3000 {
            let mut s = Key::new(seed).named("windows").stream();
            let alphabet: [&[u8]; 8] =
                [b"a", b" ", b"\n", "\u{e9}".as_bytes(), "\u{3042}".as_bytes(), "\u{1f411}".as_bytes(), b"\xff", b"\xe3\x81"];
            let damaged = s.below(3) == 0;
            let kinds = if damaged { 8 } else { 6 };
            let text: Vec<u8> = (0..s.below(80)).flat_map(|_| alphabet[s.below(kinds) as usize].to_vec()).collect();
            let length = 1 + s.below(12);
            let count = [Count::Chars, Count::Bytes][s.below(2) as usize];
            let how = how(length, 1 + s.below(length), count, [Cut::Anywhere, Cut::Space][s.below(2) as usize]);
            let found = cut(&text, &how);
            let mut reached = 100;
            for (n, window) in found.iter().enumerate() {
                assert_eq!(window.number, n as u64);
                assert!(window.start <= reached && window.end > window.start, "{how:?} {text:?}");
                assert!(n == 0 || window.start > found[n - 1].start, "{how:?} {text:?}");
                reached = reached.max(window.end);
                let bytes = &text[window.start as usize - 100..window.end as usize - 100];
                if !damaged {
                    let own = std::str::from_utf8(bytes).unwrap_or_else(|_| panic!("{how:?} {text:?} {window:?}"));
                    let units = if count == Count::Chars { own.chars().count() } else { own.len() };
                    assert!(units as u64 <= length.max(4) && (count == Count::Bytes || units as u64 <= length));
                }
            }
            assert_eq!(reached, 100 + text.len() as u64, "{how:?} {text:?}");
        }
    }
}
