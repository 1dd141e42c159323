//! Text within XML 1.0: findings for JUnit, annotations of Pascal VOC.

use std::fmt::Write as _;

/// Text for XML 1.0, which has no characters for most controls, not even escaped: they become U+FFFD.
pub(crate) fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\t' | '\n' | '\r' => {
                let _ = write!(out, "&#{};", c as u32);
            }
            '\0'..='\u{1f}' | '\u{fffe}' | '\u{ffff}' => out.push('\u{fffd}'),
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::escaped;

    #[test]
    fn what_xml_cannot_say_is_replaced() {
        assert_eq!(
            escaped("a<b & \"c\">\n\u{1}\u{1b}é\u{ffff}"),
            "a&lt;b &amp; &quot;c&quot;&gt;&#10;\u{fffd}\u{fffd}é\u{fffd}"
        );
    }
}
