//! `dsctl schema`: a dataset's columns in the words of others.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, ValueEnum};
use feedstock::data::feature::{Column, FIELD_KEY, Feature, Schema};
use feedstock::data::info::Format;
use feedstock::data::objects::{AttributeKind, BBOX, CATEGORY, ObjectsType};
use feedstock::data::profile::Profile;
use serde_json::{Map, Value, json};

use crate::{Done, Global, ls, output};

/// Show the schema of a dataset: for Arrow, as JSON Schema of a row, or as Hugging Face features.
#[derive(Debug, Args)]
pub(crate) struct SchemaVerb {
    /// A dataset, a folder of Parquet files, or a raw class folder.
    dataset: PathBuf,
    /// In which words.
    #[arg(long = "as", value_enum, default_value_t = Words::Arrow)]
    words: Words,
    /// Another version than the latest.
    #[arg(long, value_name = "V")]
    version: Option<u64>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Words {
    /// The Arrow fields of a shard; with --json as a list of name, type and nullability.
    Arrow,
    /// JSON Schema (2020-12) of a row as `dsctl head --json` shows it.
    JsonSchema,
    /// The `features` of Hugging Face `datasets`.
    Hf,
}

impl SchemaVerb {
    pub(crate) fn run(self, global: &Global) -> Done {
        let dataset = ls::open_at(&self.dataset, self.version)?;
        let schema = dataset.schema();
        match self.words {
            Words::Hf => output::json(&schema.hf_features())?,
            Words::JsonSchema => output::json(&json_schema(schema, dataset.splits().keys()))?,
            Words::Arrow => {
                let arrow = schema.to_arrow();
                let fields = arrow.fields().iter();
                if global.json {
                    let fields = fields.map(|f| {
                        let mut said =
                            json!({"name": f.name(), "type": f.data_type().to_string(), "nullable": f.is_nullable()});
                        // What our metadata says beyond the Arrow type.
                        let ours =
                            f.metadata().get(FIELD_KEY).and_then(|text| serde_json::from_str::<Value>(text).ok());
                        if let Some(ours) = ours {
                            said[FIELD_KEY] = ours;
                        }
                        said
                    });
                    output::json(&fields.collect::<Vec<Value>>())?;
                } else {
                    for field in fields {
                        let nullable = if field.is_nullable() { "" } else { " not null" };
                        let ours = schema.columns.iter().find(|c| c.name == *field.name());
                        let more = ours.map_or_else(String::new, beyond);
                        output::line(format_args!("{}: {}{nullable}{more}", field.name(), field.data_type()));
                    }
                }
            }
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// What a column's Arrow type does not say.
fn beyond(column: &Column) -> String {
    let tensor = match &column.feature {
        Feature::Tensor(tensor) => Some(tensor.told()),
        Feature::Objects(of) => Some(of.told()),
        _ => None,
    };
    let stored = column.stored.as_ref().map(|stored| format!("stored {}", stored.told()));
    let parts: Vec<String> = tensor.into_iter().chain(stored).collect();
    if parts.is_empty() { String::new() } else { format!(" ({})", parts.join("; ")) }
}

/// A list of objects.
fn objects_schema(of: &ObjectsType) -> Value {
    let number = json!({"type": "number"});
    let mut properties = Map::new();
    properties.insert(BBOX.into(), json!({"type": "array", "items": number, "minItems": 4, "maxItems": 4}));
    properties.insert(CATEGORY.into(), json!({"anyOf": [{"enum": of.names}, {"type": "integer"}]}));
    for attribute in &of.attributes {
        let kind = match attribute.kind {
            AttributeKind::Int => "integer",
            AttributeKind::Float => "number",
            AttributeKind::Text => "string",
        };
        properties.insert(attribute.name.clone(), json!({"type": [kind, "null"]}));
    }
    let required: Vec<&String> = properties.keys().collect();
    let object =
        json!({"type": "object", "properties": properties, "required": required, "additionalProperties": false});
    json!({"type": ["array", "null"], "items": object})
}

/// What a row of this dataset is, in the form of `schemas/record.schema.json`.
fn json_schema<'a>(schema: &Schema, splits: impl Iterator<Item = &'a String>) -> Value {
    let mut values = Map::new();
    let mut media = Map::new();
    for Column { name, feature, .. } in &schema.columns {
        let described = match feature {
            Feature::ClassLabel { names } => {
                // A class that is not known is -1 or null; one without a name is its number.
                json!({"anyOf": [{"enum": names}, {"type": ["integer", "null"]}]})
            }
            Feature::Int => json!({"type": ["integer", "null"]}),
            Feature::Float => json!({"type": ["number", "null"]}),
            Feature::Bool => json!({"type": ["boolean", "null"]}),
            Feature::Objects(of) => objects_schema(of),
            payload => {
                let formats = Format::ALL.iter().filter(|f| Some(f.kind()) == payload.kind()).map(|f| f.name());
                let formats: Vec<&str> = formats.collect();
                let count = json!({"type": "integer", "minimum": 0});
                let mut properties = json!({
                    "format": {"enum": formats}, "bytes": count, "width": count, "height": count, "channels": count,
                    "rate": count, "count": count, "duration_us": count, "orientation": {"type": "integer", "minimum": 1, "maximum": 8},
                    "profile": {"enum": Profile::ALL[1..].iter().map(|p| p.name()).collect::<Vec<_>>()},
                });
                if let Feature::Tensor(_) = payload {
                    properties["shape"] = json!({"type": "array", "items": count});
                }
                if *payload == Feature::Text {
                    properties["text"] = json!({"type": "string"});
                }
                media.insert(
                    name.clone(),
                    json!({
                        "type": ["object", "null"], "properties": properties, "required": ["format", "bytes"],
                        "additionalProperties": false,
                    }),
                );
                continue;
            }
        };
        values.insert(name.clone(), described);
    }
    let all = |properties: Map<String, Value>| {
        let required: Vec<&String> = properties.keys().collect();
        json!({"type": "object", "properties": properties, "required": required, "additionalProperties": false})
    };
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Row",
        "type": "object",
        "properties": {
            "row": {"type": "integer", "minimum": 0},
            "id": {"type": "string"},
            "split": {"enum": splits.collect::<Vec<_>>()},
            "values": all(values),
            "media": all(media),
        },
        "required": ["row", "id", "split", "values", "media"],
        "additionalProperties": false,
    })
}
