//! How a column's payloads were made of the source's.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};

use super::index::hex;

/// What is stored in place of the source's own bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// The media, encoded anew.
    Encoded,
    /// The source's own bytes, with an index of what lies where in each.
    Indexed,
    /// The decoded media: pixels, samples, frames.
    Raw,
    /// What operations made of the media.
    Features,
    /// How many numbers operations make of another column's texts: no payload, but a whole number beside it.
    Counts,
}

impl Mode {
    /// The name used in configuration and messages.
    pub fn name(self) -> &'static str {
        match self {
            Mode::Encoded => "encoded",
            Mode::Indexed => "indexed",
            Mode::Raw => "raw",
            Mode::Features => "features",
            Mode::Counts => "counts",
        }
    }
}

/// The parameter of pictures with a crop index.
const CROP: &str = "crop";
/// The parameters of [`Mode::Counts`].
const COLUMN: &str = "column";
const OPS: &str = "ops";

/// What made the payloads of a column. It is fixed by a dataset's first ingest; a column without one holds the source's
/// own bytes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Storage {
    /// What is stored.
    pub mode: Mode,
    /// What was asked for, complete, with its keys in order: enough to do the same again.
    pub parameters: Map<String, Value>,
    /// What did it, with versions: operations, encoders, and the SIMD tier where bits hang on it.
    pub made_by: Vec<String>,
    /// SHA-256 (hex) of the three above.
    pub digest: String,
}

impl Storage {
    /// Says what makes a column.
    pub fn new(mode: Mode, parameters: &Map<String, Value>, made_by: Vec<String>) -> Self {
        let sorted = sorted(&Value::Object(parameters.clone()));
        let digest = hex(&Sha256::digest(json!([mode, sorted, made_by]).to_string().as_bytes()));
        let parameters = if let Value::Object(map) = sorted { map } else { Map::new() };
        Storage { mode, parameters, made_by, digest }
    }

    /// What counts the numbers that operations make of a column. Files are named by their SHA-256, which so is the key of the counts.
    pub fn counts(column: &str, ops: Value, made_by: Vec<String>) -> Self {
        let parameters = Map::from_iter([(COLUMN.to_owned(), json!(column)), (OPS.to_owned(), ops)]);
        Storage::new(Mode::Counts, &parameters, made_by)
    }

    /// The column that is counted, and the operations that make the numbers of it.
    pub fn counted(&self) -> Option<(&str, &[Value])> {
        let said = (self.parameters.get(COLUMN)?.as_str()?, self.parameters.get(OPS)?.as_array()?.as_slice());
        (self.mode == Mode::Counts).then_some(said)
    }

    /// Whether pictures have an index by which regions of them are decoded.
    pub fn has_crop_index(&self) -> bool {
        self.parameters.get(CROP) == Some(&Value::Bool(true))
    }

    /// In one line for people: `encoded: max_side 256, of image, quality 90`.
    pub fn told(&self) -> String {
        let said = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        let parts: Vec<String> =
            self.parameters.iter().map(|(name, value)| format!("{name} {}", said(value))).collect();
        if parts.is_empty() {
            self.mode.name().to_owned()
        } else {
            format!("{}: {}", self.mode.name(), parts.join(", "))
        }
    }
}

/// The source's payload that a stored one was made of: by it a later ingest knows the row again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Original {
    /// Its bytes; of a part of a recording, those of the recording's file.
    pub bytes: u64,
    /// Its [`super::record::payload_hash`]; of a part of a recording, that of three little-endian u64: the hash of the file, and
    /// the part's first sample and the one behind its last.
    pub hash: u64,
}

/// The value with every object's keys in order.
pub fn sorted(value: &Value) -> Value {
    match value {
        Value::Object(map) => {
            let ordered: BTreeMap<&String, Value> = map.iter().map(|(k, v)| (k, sorted(v))).collect();
            json!(ordered)
        }
        Value::Array(items) => items.iter().map(sorted).collect(),
        other => other.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_digest_is_of_what_is_said_and_not_of_its_order() {
        let map = |text: &str| serde_json::from_str::<Map<String, Value>>(text).unwrap();
        let by = || vec!["jpeg 1".to_owned()];
        let one = Storage::new(Mode::Encoded, &map(r#"{"quality": 90, "max_side": 256, "x": {"b": 1, "a": 2}}"#), by());
        let same =
            Storage::new(Mode::Encoded, &map(r#"{"x": {"a": 2, "b": 1}, "max_side": 256, "quality": 90}"#), by());
        assert_eq!(one, same);
        assert_eq!(json!(one).to_string(), json!(same).to_string());
        assert_eq!(one.told(), r#"encoded: max_side 256, quality 90, x {"a":2,"b":1}"#);
        for other in [
            Storage::new(Mode::Raw, &one.parameters, by()),
            Storage::new(Mode::Encoded, &map(r#"{"quality": 91}"#), by()),
            Storage::new(Mode::Encoded, &one.parameters, vec!["jpeg 2".to_owned()]),
        ] {
            assert_ne!(other.digest, one.digest);
        }
    }
}
