//! `dsctl list`: the tables of this build.

use std::process::ExitCode;

use clap::{Args, ValueEnum};
use feedstock::augment::OPS;
use feedstock::backend::BACKENDS;
use feedstock::codec::CODECS;
use feedstock::codec::codings::CODINGS;
use feedstock::export::FORMATS;
use feedstock::source::SOURCES;
use feedstock::validate::LINTS;
use serde_json::{Map, Value, json};

use crate::{Done, Global, output};

/// List what this build can do: sources, codecs, operations with their parameters, backends, lints.
#[derive(Debug, Args)]
pub(crate) struct List {
    /// One table only.
    #[arg(value_enum)]
    table: Option<Table>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Table {
    /// Label conventions that `ingest` reads.
    Sources,
    /// Formats that are decoded.
    Codecs,
    /// What a recipe may do with a sample.
    Operations,
    /// Tensor libraries that batches go to.
    Backends,
    /// What `validate` looks for.
    Lints,
    /// Formats that `export` writes.
    Exports,
}

impl Table {
    fn name(self) -> &'static str {
        match self {
            Table::Sources => "sources",
            Table::Codecs => "codecs",
            Table::Operations => "operations",
            Table::Backends => "backends",
            Table::Lints => "lints",
            Table::Exports => "exports",
        }
    }

    /// Its rows; the first member is the name.
    fn rows(self) -> Vec<Value> {
        match self {
            Table::Sources => {
                SOURCES.iter().map(|s| json!({"name": s.name, "version": s.version, "summary": s.summary})).collect()
            }
            Table::Codecs => CODECS
                .iter()
                .map(|c| {
                    let of = CODINGS.iter().filter(|coding| coding.format == c.format() && coding.here());
                    let codings: Vec<Value> =
                        of.map(|c| json!({"coding": c.coding, "crate": c.krate, "pure_rust": c.pure_rust})).collect();
                    json!({"name": c.name(), "kind": c.kind(), "codings": codings})
                })
                .collect(),
            Table::Operations => OPS
                .iter()
                .map(|o| {
                    let example: Value = serde_json::from_str(o.example).unwrap_or_default();
                    json!({"name": o.name, "version": o.version, "summary": o.summary, "example": example})
                })
                .collect(),
            Table::Backends => BACKENDS
                .iter()
                .map(|b| json!({"name": b.name, "where": b.place, "here": b.here, "hand_over": b.hand_over}))
                .collect(),
            Table::Exports => FORMATS.iter().map(|f| json!({"name": f.name, "summary": f.summary})).collect(),
            Table::Lints => LINTS
                .iter()
                .map(|l| {
                    let mut row = json!({"name": l.code, "severity": l.severity, "summary": l.summary});
                    if let (Some(row), Some(threshold)) = (row.as_object_mut(), l.threshold) {
                        row.insert("threshold".into(), json!(threshold.default));
                        row.insert("of".into(), json!(threshold.meaning));
                    }
                    row
                })
                .collect(),
        }
    }
}

impl List {
    pub(crate) fn run(self, global: &Global) -> Done {
        let wanted = |t: &Table| self.table.is_none_or(|only| only == *t);
        let tables: Vec<Table> = Table::value_variants().iter().copied().filter(wanted).collect();
        if global.json {
            let tables: Map<String, Value> = tables.iter().map(|t| (t.name().to_owned(), json!(t.rows()))).collect();
            output::json(&tables)?;
            return Ok(ExitCode::SUCCESS);
        }
        for table in tables {
            output::line(format_args!("{}:", table.name()));
            for row in table.rows() {
                let Some(row) = row.as_object() else { continue };
                let said = row.iter().skip(1).filter(|(key, _)| *key != "version");
                let said: Vec<String> = said
                    .map(|(key, value)| match (key.as_str(), value) {
                        ("summary" | "kind" | "where" | "hand_over" | "severity", Value::String(text)) => text.clone(),
                        ("here", Value::Bool(here)) => if *here { "in this build" } else { "not in this build" }.into(),
                        ("codings", Value::Array(codings)) => {
                            let names = codings.iter().filter_map(|c| c["coding"].as_str());
                            names.collect::<Vec<_>>().join(", ")
                        }
                        ("of", Value::String(text)) => format!("of {text}"),
                        (key, value) => format!("{key} {value}"),
                    })
                    .collect();
                let name = row.get("name").and_then(Value::as_str).unwrap_or_default();
                output::line(format_args!("  {name:<20} {}", said.join("; ")));
            }
        }
        Ok(ExitCode::SUCCESS)
    }
}
