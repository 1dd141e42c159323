//! A report as SARIF 2.1.0 (OASIS standard), which GitHub's code scanning and editors read.
//!
//! A lint is a rule, a finding a result. Its file is the row's id, the source's relative path; of a column's finding the
//! dataset itself. Rows and columns are logical locations. Findings that are only counted are a notification of the run.

use serde_json::{Value, json};

use super::lint::Severity;
use super::report::{Finding, Linted, Report};
use crate::data::record::row_key;

/// The schema that is written.
const SCHEMA: &str = "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json";

/// The report as a SARIF log of one run.
pub fn sarif(report: &Report) -> Value {
    let rules: Vec<Value> = report.lints.iter().map(rule).collect();
    let results = report
        .lints
        .iter()
        .enumerate()
        .flat_map(|(number, lint)| lint.findings.iter().map(move |finding| result(report, number, lint, finding)));
    let results: Vec<Value> = results.collect();
    let more = report.lints.iter().filter(|lint| lint.left_out() > 0).map(|lint| {
        let text = format!("{} more findings of {}: --max-findings lists them", lint.left_out(), lint.code);
        json!({"level": "note", "associatedRule": {"id": lint.code}, "message": {"text": text}})
    });
    let more: Vec<Value> = more.collect();
    let driver = json!({"name": "dsctl", "version": env!("CARGO_PKG_VERSION"), "rules": rules});
    let properties = json!({"rows": report.rows, "decoded": report.decoded, "datasetVersion": report.version});
    json!({
        "$schema": SCHEMA,
        "version": "2.1.0",
        "runs": [{
            "tool": {"driver": driver},
            "columnKind": "unicodeCodePoints",
            "invocations": [{"executionSuccessful": true, "toolExecutionNotifications": more}],
            "results": results,
            "properties": properties,
        }],
    })
}

fn level(severity: Severity) -> &'static str {
    // The names are SARIF's.
    severity.name()
}

fn rule(lint: &Linted) -> Value {
    json!({
        "id": lint.code,
        "shortDescription": {"text": lint.summary},
        "help": {"text": lint.help},
        "defaultConfiguration": {"level": level(lint.severity)},
        "properties": {"threshold": lint.threshold, "found": lint.found},
    })
}

fn result(report: &Report, number: usize, lint: &Linted, finding: &Finding) -> Value {
    let of = finding.id.clone().unwrap_or_else(|| report.dataset.to_string_lossy().into_owned());
    let split = finding.split.as_deref().unwrap_or_default();
    let place = format!("{split}/{}/{}", finding.id.as_deref().unwrap_or_default(), finding.column);
    // The same finding of another version has the same fingerprint; what is of no row is told apart by what it says.
    let told = if finding.row.is_some() { "" } else { finding.message.as_str() };
    let print = row_key(&format!("{}\n{place}\n{told}", lint.code));
    let logical = json!({"name": finding.column, "fullyQualifiedName": place, "kind": "member"});
    json!({
        "ruleId": lint.code,
        "ruleIndex": number,
        "level": level(lint.severity),
        "message": {"text": format!("{}: {}", finding.column, finding.message)},
        "locations": [{
            // Code scanning wants a line; a payload has none.
            "physicalLocation": {"artifactLocation": {"uri": uri(&of)}, "region": {"startLine": 1}},
            "logicalLocations": [logical],
        }],
        "partialFingerprints": {"feedstock/v1": format!("{print:016x}")},
        "properties": {
            "row": finding.row, "split": finding.split, "measured": finding.measured, "threshold": finding.threshold,
        },
    })
}

/// A path as a URI reference (RFC 3986): all but unreserved characters and slashes in percent.
fn uri(path: &str) -> String {
    use std::fmt::Write as _;
    let mut out = String::with_capacity(path.len());
    for byte in path.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' | b'/' => out.push(char::from(byte)),
            _ => {
                let _ = write!(out, "%{byte:02X}");
            }
        }
    }
    // Two slashes in front would begin with a host.
    if out.starts_with("//") { format!("/{}", out.trim_start_matches('/')) } else { out }
}

#[cfg(test)]
mod tests {
    use super::uri;

    #[test]
    fn paths_are_uris() {
        assert_eq!(uri("train/a b#3.jpg"), "train/a%20b%233.jpg");
        assert_eq!(uri("é:x"), "%C3%A9%3Ax");
        assert_eq!(uri("//host/x"), "/host/x");
    }
}
