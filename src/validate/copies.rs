//! Lints of payloads that are there several times, by the hashes that the Index has: nothing is read. `dsctl dedup` looks deeper.

use std::collections::BTreeMap;

use super::lint::{Judged, Lint, Rule, Seen, Severity, Threshold, Told};
use super::values::Values;
use crate::data::feature::Feature;

fn hash(seen: &Seen<'_>, column: usize) -> Option<u64> {
    seen.payload(column).filter(|payload| payload.length > 0).map(|payload| payload.hash)
}

/// Rows that have one payload, by split.
type Rows<'a> = BTreeMap<&'a str, Vec<u64>>;

/// Hands over each payload that several rows have, with its rows by split.
fn several(values: &Values<'_>, take: &mut dyn FnMut(&Rows<'_>)) {
    let mut at = 0;
    for (_, _, rows) in values.runs() {
        if rows > 1 {
            let mut splits = Rows::new();
            for (_, row) in (at..at + rows).map(|at| values.get(at)) {
                splits.entry(values.split(row)).or_default().push(row);
            }
            take(&splits);
        }
        at += rows;
    }
}

pub(super) const DUPLICATE: Lint = Lint {
    code: "duplicate",
    summary: "the same picture, recording or clip in several rows of a split, byte for byte",
    help: "`dsctl dedup DATASET --drop` keeps one of them; it finds those that were encoded anew or changed a little, too",
    severity: Severity::Warning,
    threshold: Some(Threshold { default: 2.0, meaning: "rows with the payload in the split, at least" }),
    of: Feature::is_media,
    decodes: false,
    rule: Rule::Values {
        of: hash,
        judge: |values, least, tell| {
            several(values, &mut |splits| {
                for rows in splits.values().filter(|rows| rows.len() > 1 && rows.len() as f64 >= least) {
                    let message = format!("{} rows have this payload, this one is the first", rows.len());
                    tell(Judged { row: Some(rows[0]), split: None, told: Told::new(rows.len() as f64, message) });
                }
            });
        },
    },
};

pub(super) const LEAK: Lint = Lint {
    code: "leak",
    summary: "the same payload in several splits, byte for byte: what is measured there was learned here",
    help: "`dsctl dedup DATASET --across-splits-only --drop` takes them out of all but one split; `dsctl split --group-duplicates` keeps them together",
    severity: Severity::Warning,
    threshold: None,
    // Texts beside media are what is said of them: that many recordings are of one word is no leak.
    of: |feature| Feature::is_media(feature) || matches!(feature, Feature::Text),
    decodes: false,
    rule: Rule::Values {
        of: |seen, column| {
            let is_text = matches!(seen.dataset.schema().columns[column].feature, Feature::Text);
            hash(seen, column).filter(|_| !is_text || seen.beside(Feature::is_media).is_none())
        },
        judge: |values, _, tell| {
            several(values, &mut |splits| {
                let first = splits.values().map(|rows| rows[0]).min();
                if let (Some(row), true) = (first, splits.len() > 1) {
                    let all: Vec<String> =
                        splits.iter().map(|(split, rows)| format!("{} of {split}", rows.len())).collect();
                    let message = format!("rows with this payload: {}; this one is the first", all.join(", "));
                    tell(Judged { row: Some(row), split: None, told: Told { measured: None, message } });
                }
            });
        },
    },
};
