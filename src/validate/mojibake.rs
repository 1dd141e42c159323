//! Text whose UTF-8 was taken for Windows-1252 or Latin-1 on its way.
//!
//! The rule: characters that both encodings have beyond ASCII are taken back to their bytes; where these are UTF-8 of two to
//! four bytes, a character was misread ("Ã©" was "é", "â€™" was an apostrophe). Some pairs are good text as they are ("Spaß“",
//! "CAFÉ»"), so that pairs count only
//! - if they begin with Â or Ã, as those of Latin letters do, and not where that ends a word in capitals in front of a space,
//!   a quotation mark or a dash ("MAÇÃ»"); or
//! - where two of them follow each other, as those of Greek, Cyrillic, Hebrew and Arabic do ("Ð¿Ñ€").
//!
//! Text in single characters of a wrong code page ("Ïðèâåò") is not seen. The idea of going back through the encodings is
//! that of ftfy (<https://github.com/rspeer/python-ftfy>), whose measure of badness this is not.

/// The byte of a character in Windows-1252; of the controls that it does not have, in Latin-1. `None` for ASCII and the rest.
fn byte(c: char) -> Option<u8> {
    Some(match c {
        '\u{80}'..='\u{ff}' => c as u8,
        '€' => 0x80,
        '‚' => 0x82,
        'ƒ' => 0x83,
        '„' => 0x84,
        '…' => 0x85,
        '†' => 0x86,
        '‡' => 0x87,
        'ˆ' => 0x88,
        '‰' => 0x89,
        'Š' => 0x8a,
        '‹' => 0x8b,
        'Œ' => 0x8c,
        'Ž' => 0x8e,
        '‘' => 0x91,
        '’' => 0x92,
        '“' => 0x93,
        '”' => 0x94,
        '•' => 0x95,
        '–' => 0x96,
        '—' => 0x97,
        '˜' => 0x98,
        '™' => 0x99,
        'š' => 0x9a,
        '›' => 0x9b,
        'œ' => 0x9c,
        'ž' => 0x9e,
        'Ÿ' => 0x9f,
        _ => return None,
    })
}

/// What may follow a word.
fn is_behind_a_word(c: char) -> bool {
    matches!(c, '\u{a0}' | '»' | '›' | '”' | '“' | '’' | '‘' | '…' | '–' | '—')
}

/// Characters that were misread.
pub(super) fn mojibake(text: &str) -> u64 {
    if text.is_ascii() {
        return 0;
    }
    let mut found = 0;
    let mut before = ' ';
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        let count = match byte(c) {
            Some(0xc2..) => misread(rest, before),
            _ => None,
        };
        let (chars, misread) = count.unwrap_or((1, 0));
        found += misread;
        for _ in 0..chars {
            let mut chars = rest.chars();
            before = chars.next().unwrap_or(before);
            rest = chars.as_str();
        }
    }
    found
}

/// How many characters at the beginning of a text stand for how many misread ones.
fn misread(text: &str, before: char) -> Option<(usize, u64)> {
    let first = sequence(text)?;
    if first > 2 {
        return Some((first, 1));
    }
    let mut chars = text.chars();
    let (lead, next) = (chars.next()?, chars.next()?);
    if matches!(lead, 'Â' | 'Ã') {
        return (!(before.is_uppercase() && is_behind_a_word(next))).then_some((2, 1));
    }
    (sequence(chars.as_str()) == Some(2)).then_some((4, 2))
}

/// The length of the UTF-8 sequence that the first characters are the bytes of.
fn sequence(text: &str) -> Option<usize> {
    let mut bytes = [0; 4];
    for (at, c) in text.chars().take(4).enumerate() {
        bytes[at] = byte(c)?;
        if std::str::from_utf8(&bytes[..=at]).is_ok() {
            return Some(at + 1);
        }
    }
    None
}

/// U+FFFD, which stands where something could not be read.
pub(super) fn replaced(text: &str) -> u64 {
    text.matches('\u{fffd}').count() as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    /// UTF-8 read as Latin-1, or as Windows-1252 where that has the byte.
    fn read_as(text: &str, windows: bool) -> String {
        let back: Vec<char> = ('\u{80}'..='\u{2122}').filter(|c| byte(*c).is_some() && *c > '\u{ff}').collect();
        text.bytes()
            .map(|b| back.iter().copied().find(|c| windows && byte(*c) == Some(b)).unwrap_or(char::from(b)))
            .collect()
    }

    #[test]
    fn what_is_read_wrong_is_found_in_every_script() {
        for text in [
            "Café déjà",
            "naïve “quotes” – and it’s",
            "Привет мир",
            "γειά σου",
            "שלום עולם",
            "日本語",
            "😀 fun",
            "ÀÉÎÕÜ 10 €",
        ] {
            let beyond = text.chars().filter(|c| !c.is_ascii()).count() as u64;
            for windows in [true, false] {
                let wrong = read_as(text, windows);
                let found = mojibake(&wrong);
                assert!(found * 2 > beyond && found <= beyond, "{text:?} {wrong:?}: {found} of {beyond}");
            }
            assert_eq!(mojibake(text), 0, "{text:?} is good as it is");
        }
        assert_eq!(mojibake("it was Ã©tÃ©"), 2);
        assert_eq!(replaced("a\u{fffd}b\u{fffd}"), 2);
    }

    #[test]
    fn good_text_is_left_alone() {
        for text in [
            "Das macht Spaß“, sagte er. „Groß“ und „süß“ … heiß’",
            "«CAFÉ» et «À LA CARTE»… MAÇÃ» SÃO PAULO, IRMÃ” – IRMÃ… NÃO",
            "Ångström, Übergröße, ÆØÅ – þæð, Straße‘",
            "l’été à la plage ; « bientôt »",
            "¿Qué? ¡Sí! 25 °C ± 3 µm, §4 ©2020 ®",
            "Ελληνικά Русский 中文 العربية",
            "Â, Ã and â are letters: Âge, Ãnimo, château",
        ] {
            assert_eq!(mojibake(text), 0, "{text:?}");
        }
    }
}
