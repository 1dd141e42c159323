//! Lints of payloads of any kind.

use super::lint::{Lint, Rule, Severity, Told};
use super::measure::Measured;
use crate::data::feature::Feature;

/// Of a raw folder and of other people's Parquet: a dataset of ours has all that its version names.
pub(super) const LEFT_OUT: Lint = Lint {
    code: "left-out",
    summary: "an entry or cell that opening left out: its header cannot be read, or its label",
    help: "mend or remove the file; an ingest puts it into the quarantine",
    severity: Severity::Error,
    threshold: None,
    of: Feature::is_payload,
    decodes: false,
    rule: Rule::LeftOut,
};

pub(super) const UNDECODABLE: Lint = Lint {
    code: "undecodable",
    summary: "a payload that cannot be read or decoded whole, or is not the one that was ingested",
    help: "ingest the row anew from an undamaged source; `dsctl verify` says whether the shard is damaged",
    severity: Severity::Error,
    threshold: None,
    of: Feature::is_payload,
    decodes: true,
    rule: Rule::Row(|seen, column, _| match &seen.measured[column] {
        Measured::Refused(fault) => Some(Told { measured: None, message: fault.to_string() }),
        _ => None,
    }),
};
