//! Lints of texts, and of those beside recordings (transcripts).

use super::lint::{Judged, Lint, Rule, Seen, Severity, Threshold, Told};
use super::measure::Measured;
use super::mojibake::{mojibake, replaced};
use super::sounds::is_audio;
use super::values::{key, of_logarithms};
use crate::data::feature::Feature;

/// What is measured of a text.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Writing {
    /// Unicode characters.
    pub chars: u64,
    /// Whether all of them are white space, or there is none.
    pub blank: bool,
    /// Characters that were read in the wrong encoding, as `mojibake.rs` tells them, and U+FFFD.
    pub mojibake: u64,
    /// Control characters other than tab, line feed, carriage return and form feed.
    pub controls: u64,
}

impl Writing {
    /// Measures text.
    pub fn of(text: &str) -> Self {
        let is_control = |c: &char| c.is_control() && !matches!(c, '\t' | '\n' | '\r' | '\u{c}');
        Writing {
            chars: text.chars().count() as u64,
            blank: text.trim().is_empty(),
            mojibake: mojibake(text) + replaced(text),
            controls: text.chars().filter(is_control).count() as u64,
        }
    }
}

fn is_text(feature: &Feature) -> bool {
    matches!(feature, Feature::Text)
}

fn writing<'a>(seen: &'a Seen<'_>, column: usize) -> Option<&'a Writing> {
    match &seen.measured[column] {
        Measured::Text(text) => Some(text),
        _ => None,
    }
}

/// The seconds of the recording beside a text.
fn seconds(seen: &Seen<'_>) -> Option<f64> {
    let info = seen.payload(seen.beside(is_audio)?)?.info;
    (info.duration_us > 0).then_some(info.duration_us as f64 / 1e6)
}

/// Characters of a transcript for each second of its recording; of an empty one none.
fn rate(seen: &Seen<'_>, column: usize) -> Option<f64> {
    let text = writing(seen, column).filter(|text| !text.blank)?;
    Some(text.chars as f64 / seconds(seen)?)
}

pub(super) const EMPTY: Lint = Lint {
    code: "text-empty",
    summary: "a text without a character that is not white space",
    help: "leave it out of the source",
    severity: Severity::Warning,
    threshold: None,
    of: is_text,
    decodes: true,
    rule: Rule::Row(|seen, column, _| {
        let text = writing(seen, column).filter(|text| text.blank && seen.beside(is_audio).is_none())?;
        Some(Told { measured: None, message: format!("{} characters, all white space", text.chars) })
    }),
};

pub(super) const NO_TRANSCRIPT: Lint = Lint {
    code: "transcript-empty",
    summary: "a recording without its text: empty, white space or null",
    help: "transcribe it, or leave it out; silence that is meant can have a mark of its own",
    severity: Severity::Warning,
    threshold: None,
    of: is_text,
    decodes: true,
    rule: Rule::Row(|seen, column, _| {
        // Without a recording there is nothing to transcribe.
        seen.payload(seen.beside(is_audio)?)?;
        match (seen.payload(column), writing(seen, column)) {
            (None, _) => Some(Told { measured: None, message: "the text beside the recording is null".into() }),
            (_, Some(text)) if text.blank => {
                Some(Told { measured: None, message: "the text beside the recording is empty".into() })
            }
            _ => None,
        }
    }),
};

pub(super) const ODD_RATE: Lint = Lint {
    code: "transcript-odd-rate",
    summary: "a transcript of far fewer or more characters a second than the rest, among logarithms, and three times so at the least",
    help: "listen: is the text another recording's, cut short, or is there a long pause?",
    severity: Severity::Warning,
    threshold: Some(Threshold { default: 3.0, meaning: "distances of the quartiles beyond them, above" }),
    of: is_text,
    decodes: true,
    rule: Rule::Values {
        of: |seen, column| Some(key(libm::log(rate(seen, column)?))),
        judge: |values, factor, tell| {
            of_logarithms(values, factor, 3.0, tell, &|value, median| {
                format!("{value:.1} characters a second, half of the others have more than {median:.1}")
            });
        },
    },
};

/// Fast speech in English is 25 characters a second; twice that is read by nobody.
pub(super) const FAST: Lint = Lint {
    code: "transcript-too-fast",
    summary: "a transcript of more characters a second than anyone speaks",
    help: "the text is another recording's, or the recording was cut short",
    severity: Severity::Warning,
    threshold: Some(Threshold { default: 50.0, meaning: "characters a second, above" }),
    of: is_text,
    decodes: true,
    rule: Rule::Row(|seen, column, threshold| {
        let rate = rate(seen, column).filter(|rate| *rate > threshold)?;
        Some(Told::new(rate, format!("{rate:.1} characters a second")))
    }),
};

pub(super) const MOJIBAKE: Lint = Lint {
    code: "mojibake",
    summary: "characters of a wrong encoding: UTF-8 that was read as Windows-1252 or Latin-1, or U+FFFD",
    help: "read the source in its own encoding; what became U+FFFD is lost",
    severity: Severity::Warning,
    threshold: Some(Threshold { default: 1.0, meaning: "such characters, at least" }),
    of: is_text,
    decodes: true,
    rule: Rule::Row(|seen, column, threshold| {
        let count = writing(seen, column)?.mojibake;
        let plural = if count == 1 { "character seems" } else { "characters seem" };
        let says = || format!("{count} {plural} to have been read in a wrong encoding");
        (count > 0 && count as f64 >= threshold).then(|| Told::new(count as f64, says()))
    }),
};

pub(super) const CONTROLS: Lint = Lint {
    code: "control-characters",
    summary: "control characters other than tab, line feed, carriage return and form feed",
    help: "take them out; escape sequences of terminals and byte order gone wrong look like this",
    severity: Severity::Warning,
    threshold: Some(Threshold { default: 1.0, meaning: "such characters, at least" }),
    of: is_text,
    decodes: true,
    rule: Rule::Row(|seen, column, threshold| {
        let count = writing(seen, column)?.controls;
        let says = || format!("{count} control {}", if count == 1 { "character" } else { "characters" });
        (count > 0 && count as f64 >= threshold).then(|| Told::new(count as f64, says()))
    }),
};

pub(super) const LONG: Lint = Lint {
    code: "text-long",
    summary: "a text far longer than the rest, among logarithms, and ten times so at the least",
    help: "was an end of line missed? `dsctl ingest --text-window` cuts long documents",
    severity: Severity::Note,
    threshold: Some(Threshold { default: 3.0, meaning: "distances of the quartiles beyond them, above" }),
    of: is_text,
    decodes: false,
    rule: Rule::Values {
        of: |seen, column| Some(key(libm::log(seen.payload(column)?.length.max(1) as f64))),
        judge: |values, factor, tell| {
            values.outliers(factor, libm::log(10.0), &mut |row, value, fences| {
                let (bytes, median) = (libm::exp(value), libm::exp(fences.median));
                if value > fences.high {
                    let message = format!("{bytes:.0} bytes, half of the others are below {median:.0}");
                    tell(Judged { row: Some(row), split: None, told: Told::new(bytes, message) });
                }
            });
        },
    },
};

pub(super) const DUPLICATE: Lint = Lint {
    code: "text-duplicate",
    summary: "the same text in several rows, byte for byte",
    help: "take all but one away, unless the count of each is meant",
    severity: Severity::Note,
    threshold: Some(Threshold { default: 2.0, meaning: "rows with the text, at least" }),
    of: is_text,
    decodes: false,
    rule: Rule::Values {
        of: |seen, column| seen.payload(column).filter(|payload| payload.length > 0).map(|payload| payload.hash),
        judge: |values, least, tell| {
            for (_, row, rows) in values.runs().filter(|(_, _, rows)| *rows > 1 && *rows as f64 >= least) {
                let message = format!("{rows} rows have this text, this one is the first");
                tell(Judged { row: Some(row), split: None, told: Told::new(rows as f64, message) });
            }
        },
    },
};
