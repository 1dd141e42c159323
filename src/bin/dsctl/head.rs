//! `dsctl head`: the first rows, with the facts of their media.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use feedstock::Error;
use feedstock::data::feature::Feature;
use feedstock::data::index::Payload;
use feedstock::data::info::Kind;
use feedstock::data::objects::CATEGORY;
use feedstock::dataset::Dataset;
use serde_json::{Map, Value, json};

use crate::{Done, Global, ls, output};

/// Characters of a text that are shown to people.
const SHOWN: usize = 72;

/// Show the first rows: ids, values, and what the headers say of their media.
#[derive(Debug, Args)]
pub(crate) struct Head {
    /// A dataset, a folder of Parquet files, or a raw class folder.
    dataset: PathBuf,
    /// How many rows.
    #[arg(long, short = 'n', value_name = "N", default_value_t = 5)]
    rows: usize,
    /// Only rows of this split.
    #[arg(long)]
    split: Option<String>,
    /// Another version than the latest.
    #[arg(long, value_name = "V")]
    version: Option<u64>,
}

impl Head {
    pub(crate) fn run(self, global: &Global) -> Done {
        let dataset = ls::open_at(&self.dataset, self.version)?;
        for text in dataset.notes() {
            output::note(global, format!("note: {text}"));
        }
        ls::check_split(&dataset, self.split.as_deref())?;
        let rows = dataset.index().ranges(self.split.as_deref()).into_iter().flatten().take(self.rows);
        let mut listed = Vec::new();
        for row in rows {
            let shown = record(&dataset, row)?;
            if global.json {
                listed.push(shown);
            } else {
                tell(&shown);
            }
        }
        if global.json {
            output::json(&listed)?;
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// A row as `schemas/record.schema.json` has it.
fn record(dataset: &Dataset, row: u64) -> Result<Value, Error> {
    let split = dataset.splits().keys().find(|split| {
        let ranges = dataset.index().ranges(Some(split));
        ranges.iter().any(|range| range.contains(&row))
    });
    let (mut media, mut bytes) = (Map::new(), Vec::new());
    for (i, column) in dataset.schema().payloads() {
        let entry = dataset.index().row(row);
        let facts = match entry.payload(i) {
            None => Value::Null,
            Some(payload) => {
                let mut facts = facts(&payload);
                if let Feature::Tensor(tensor) = &column.feature {
                    facts.insert("shape".into(), json!(tensor.lengths(&payload.info)));
                }
                if payload.info.format.kind() == Kind::Text {
                    dataset.fetch(row, i, &mut bytes)?;
                    facts.insert("text".into(), json!(String::from_utf8_lossy(&bytes)));
                }
                facts.into()
            }
        };
        media.insert(column.name.clone(), facts);
    }
    let id = dataset.index().row(row).id();
    Ok(json!({"row": row, "id": id, "split": split, "values": ls::values(dataset, row), "media": media}))
}

fn tell(record: &Value) {
    let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    output::line(format_args!("{}\t{} ({})", record["row"], text(&record["id"]), text(&record["split"])));
    for (name, value) in record["values"].as_object().into_iter().flatten() {
        match value.as_array() {
            Some(objects) => output::line(format_args!("\t{name} = {}", counted(objects))),
            None => output::line(format_args!("\t{name} = {value}")),
        }
    }
    for (name, facts) in record["media"].as_object().into_iter().flatten() {
        let shown = match facts {
            Value::Object(facts) => said(facts),
            _ => "null".to_owned(),
        };
        output::line(format_args!("\t{name} = {shown}"));
    }
}

/// Objects for people: how many of each class.
fn counted(objects: &[Value]) -> String {
    let mut classes = BTreeMap::<String, u64>::new();
    for object in objects {
        let class = &object[CATEGORY];
        *classes.entry(class.as_str().map_or_else(|| class.to_string(), str::to_owned)).or_default() += 1;
    }
    let told: Vec<String> = classes.into_iter().map(|(class, n)| format!("{n} {class}")).collect();
    if told.is_empty() { "no objects".to_owned() } else { told.join(", ") }
}

/// The facts of a payload for people.
fn said(facts: &Map<String, Value>) -> String {
    let number = |name: &str| facts.get(name).and_then(Value::as_u64);
    let mut parts = vec![facts.get("format").and_then(Value::as_str).unwrap_or_default().to_owned()];
    if let Some(shape) = facts.get("shape") {
        parts.push(shape.to_string());
    } else if let Some((width, height)) = number("width").zip(number("height")) {
        parts.push(format!("{width} x {height}"));
    }
    parts.extend(number("orientation").filter(|n| *n > 1).map(|n| format!("turned by orientation {n}")));
    parts.extend(facts.get("profile").and_then(Value::as_str).map(|name| format!("profile {name}")));
    parts.extend(number("channels").map(|n| format!("{n} channels")));
    let is_clip = number("width").is_some();
    parts.extend(
        number("rate").map(|r| if is_clip { format!("{} frames/s", r as f64 / 1e3) } else { format!("{r} Hz") }),
    );
    parts.extend(number("duration_us").map(|us| format!("{:.3} s", us as f64 / 1e6)));
    parts.extend(number("bytes").map(output::bytes));
    if let Some(text) = facts.get("text").and_then(Value::as_str) {
        let short: String = text.chars().take(SHOWN).collect();
        parts.push(format!("{short:?}{}", if short.len() < text.len() { " ..." } else { "" }));
    }
    parts.join(", ")
}

/// A payload's facts, without those that mean nothing for its kind.
pub(crate) fn facts(payload: &Payload) -> Map<String, Value> {
    let info = payload.info;
    let facts = json!({
        "format": info.format.name(), "bytes": payload.length, "width": info.width, "height": info.height,
        "channels": info.channels, "rate": info.rate, "count": info.count, "duration_us": info.duration_us,
        "orientation": info.orientation.code(),
                "profile": info.profile.name(),
    });
    let facts = facts.as_object().cloned().unwrap_or_default();
    facts.into_iter().filter(|(name, value)| (*value != 0 || name == "bytes") && *value != "srgb").collect()
}
