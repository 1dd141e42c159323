//! Features: the typed columns of a dataset, and their spelling in Arrow and in Hugging Face's JSON.
//!
//! The Arrow types are the ones `datasets` 3.6 to 5.2 recognise exactly (a mismatch drops the feature silently there):
//! media is `struct<bytes: binary, path: string>`, a class is `int64` with its names in the schema metadata.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Fields, Schema as ArrowSchema};
use serde::{Deserialize, Serialize};
use serde_json::{Map, json};

use super::info::Kind;
use super::label::Value;
use super::objects::{AttributeKind, BBOX, CATEGORY, ObjectsType};
use super::packed::{Packed, TensorType};
use super::storage::Storage;
use crate::error::{Error, Result};

/// Names that the shard format keeps for itself.
pub const RESERVED: &[&str] = &["id", "info"];

/// Columns that say where a row comes from, in the order in which they are added.
pub const PROVENANCE: [&str; 3] = ["source", "license", "tool"];

/// What a column holds.
#[non_exhaustive]
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
pub enum Feature {
    /// Encoded pictures.
    Image,
    /// Encoded recordings.
    Audio,
    /// Encoded clips.
    Video,
    /// UTF-8 text as a payload.
    Text,
    /// One class of a list; stored as its index, -1 or null when unknown. Names are only ever appended.
    ClassLabel {
        /// The names, in index order.
        names: Vec<String>,
    },
    /// A 64-bit integer.
    Int,
    /// A 64-bit float.
    Float,
    /// A truth value.
    Bool,
    /// Tensors of one type and number of axes, as payloads.
    Tensor(TensorType),
    /// Located things in the picture of the row: boxes with classes.
    Objects(ObjectsType),
}

impl Feature {
    /// The kind of media, if it is media.
    pub fn kind(&self) -> Option<Kind> {
        match self {
            Feature::Image => Some(Kind::Image),
            Feature::Audio => Some(Kind::Audio),
            Feature::Video => Some(Kind::Video),
            Feature::Text => Some(Kind::Text),
            Feature::Tensor(_) => Some(Kind::Tensor),
            _ => None,
        }
    }

    /// The feature of a kind of media; of tensors that of bytes.
    pub fn of(kind: Kind) -> Self {
        match kind {
            Kind::Image => Feature::Image,
            Kind::Audio => Feature::Audio,
            Kind::Video => Feature::Video,
            Kind::Text => Feature::Text,
            Kind::Tensor => Feature::Tensor(TensorType { dtype: Packed::U8, shape: vec![None], pad: 0.0 }),
        }
    }

    /// Whether its cells are payloads (fetched as bytes), not values in the Index.
    pub fn is_payload(&self) -> bool {
        self.kind().is_some()
    }

    /// Whether its cells are pictures, recordings or clips: encoded, and files of their own elsewhere.
    pub fn is_media(&self) -> bool {
        self.kind().is_some_and(Kind::is_media)
    }

    /// Whether a row's value is its cell in the Index and nothing else: what stands over shards may say another.
    pub fn is_small(&self) -> bool {
        !self.is_payload() && !matches!(self, Feature::Objects(_))
    }

    /// The names of the classes, of a column that has some.
    pub fn classes(&self) -> Option<&Vec<String>> {
        match self {
            Feature::ClassLabel { names } | Feature::Objects(ObjectsType { names, .. }) => Some(names),
            _ => None,
        }
    }

    /// The same, to be appended to.
    pub fn classes_mut(&mut self) -> Option<&mut Vec<String>> {
        match self {
            Feature::ClassLabel { names } | Feature::Objects(ObjectsType { names, .. }) => Some(names),
            _ => None,
        }
    }

    /// The name used in messages.
    pub fn name(&self) -> &'static str {
        match self {
            Feature::ClassLabel { .. } => "class label",
            Feature::Int => "int",
            Feature::Float => "float",
            Feature::Bool => "bool",
            Feature::Objects(_) => "objects",
            media => media.kind().map_or("media", Kind::name),
        }
    }

    /// A small value of it as JSON, a class by its name (one without a name as its number).
    pub fn told(&self, value: &Value) -> serde_json::Value {
        match (self, value) {
            (Feature::ClassLabel { names }, Value::Int(class)) => {
                let name = usize::try_from(*class).ok().and_then(|class| names.get(class));
                name.map_or(json!(class), |name| json!(name))
            }
            (_, value) => value.json(),
        }
    }

    /// The Arrow type of the column.
    pub fn arrow_type(&self) -> DataType {
        match self {
            Feature::Image | Feature::Audio | Feature::Video => DataType::Struct(media_fields()),
            Feature::Text => DataType::Utf8,
            Feature::Tensor(_) => DataType::Binary,
            Feature::ClassLabel { .. } | Feature::Int => DataType::Int64,
            Feature::Float => DataType::Float64,
            Feature::Bool => DataType::Boolean,
            Feature::Objects(of) => DataType::Struct(objects_fields(of)),
        }
    }

    /// Hugging Face's JSON of the feature, in the spelling that loads in `datasets` 3.6 and 5.2.
    pub fn hf_json(&self) -> serde_json::Value {
        match self {
            Feature::Image => json!({"_type": "Image"}),
            Feature::Audio => json!({"_type": "Audio"}),
            Feature::Video => json!({"_type": "Video"}),
            Feature::Text => json!({"dtype": "string", "_type": "Value"}),
            Feature::Tensor(_) => json!({"dtype": "binary", "_type": "Value"}),
            Feature::ClassLabel { names } => json!({"names": names, "_type": "ClassLabel"}),
            Feature::Int => json!({"dtype": "int64", "_type": "Value"}),
            Feature::Float => json!({"dtype": "float64", "_type": "Value"}),
            Feature::Bool => json!({"dtype": "bool", "_type": "Value"}),
            Feature::Objects(of) => {
                let value = |dtype: &str| json!({"dtype": dtype, "_type": "Value"});
                let list = |feature: serde_json::Value| json!({"feature": feature, "_type": "Sequence"});
                let corners = json!({"feature": value("float32"), "length": 4, "_type": "Sequence"});
                let mut lists = Map::new();
                lists.insert(BBOX.to_owned(), list(corners));
                lists.insert(CATEGORY.to_owned(), list(json!({"names": of.names, "_type": "ClassLabel"})));
                for attribute in &of.attributes {
                    lists.insert(attribute.name.clone(), list(value(hf_dtype(&attribute_type(attribute.kind)))));
                }
                lists.into()
            }
        }
    }
}

/// The lists of a column of objects, one entry an object in each: the boxes, the classes, the attributes in their order.
pub fn objects_fields(of: &ObjectsType) -> Fields {
    let item = |data_type| Arc::new(Field::new("item", data_type, true));
    let list = |name: &str, data_type| Field::new(name, DataType::List(item(data_type)), true);
    let mut fields =
        vec![list(BBOX, DataType::FixedSizeList(item(DataType::Float32), 4)), list(CATEGORY, DataType::Int64)];
    fields.extend(of.attributes.iter().map(|a| list(&a.name, attribute_type(a.kind))));
    Fields::from(fields)
}

/// The Arrow type of an attribute's values.
pub fn attribute_type(kind: AttributeKind) -> DataType {
    match kind {
        AttributeKind::Int => DataType::Int64,
        AttributeKind::Float => DataType::Float64,
        AttributeKind::Text => DataType::Utf8,
    }
}

/// `bytes` then `path`, both nullable: the order and nullability that `datasets` compares.
pub fn media_fields() -> Fields {
    Fields::from(vec![Field::new("bytes", DataType::Binary, true), Field::new("path", DataType::Utf8, true)])
}

/// The fields of one media column's facts within the `info` struct, all nullable. Of what is not the source's own bytes
/// they say of which bytes it was made.
pub fn info_fields(column: &Column) -> Fields {
    let mut fields = vec![
        Field::new("format", DataType::Utf8, true),
        Field::new("width", DataType::Int32, true),
        Field::new("height", DataType::Int32, true),
        Field::new("channels", DataType::Int32, true),
        Field::new("rate", DataType::Int32, true),
        Field::new("count", DataType::Int64, true),
        Field::new("duration_us", DataType::Int64, true),
        Field::new("hash", DataType::UInt64, true),
        Field::new("orientation", DataType::Int32, true),
        Field::new("profile", DataType::Utf8, true),
    ];
    if column.stored.is_some() {
        fields.push(Field::new(ORIGINAL_BYTES, DataType::Int64, true));
        fields.push(Field::new(ORIGINAL_HASH, DataType::UInt64, true));
    }
    if column.is_seekable() {
        fields.push(Field::new(SEEK, DataType::Binary, true));
    }
    Fields::from(fields)
}

/// The fact that holds [`super::storage::Original::bytes`].
pub const ORIGINAL_BYTES: &str = "original_bytes";
/// The fact that holds [`super::storage::Original::hash`].
pub const ORIGINAL_HASH: &str = "original_hash";
/// The fact that holds the seek table.
pub const SEEK: &str = "seek";
/// The key of our metadata of an Arrow field.
pub const FIELD_KEY: &str = "feedstock";

/// How many of these fields every shard has. Those behind them came later: a shard without one says nothing there.
pub const FIRST_FACTS: usize = 8;

/// Whether the `info` struct of a shard is that of a schema, perhaps without the fields that came later.
pub fn fits_info(found: &DataType, expected: &DataType) -> bool {
    let (DataType::Struct(found), DataType::Struct(expected)) = (found, expected) else { return found == expected };
    let facts = |found: &Field, expected: &Field| match (found.data_type(), expected.data_type()) {
        (DataType::Struct(found), DataType::Struct(all)) => {
            found.len() >= FIRST_FACTS && found.len() <= all.len() && found.iter().zip(all).all(|(f, a)| f == a)
        }
        _ => false,
    };
    found.len() == expected.len() && found.iter().zip(expected).all(|(f, e)| f.name() == e.name() && facts(f, e))
}

/// One named feature.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Column {
    /// The column's name.
    pub name: String,
    /// What it holds.
    pub feature: Feature,
    /// What made it of the source's payloads; none: they are stored as they were.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stored: Option<Storage>,
}

impl Column {
    /// A column that holds what its source has.
    pub fn new(name: impl Into<String>, feature: Feature) -> Self {
        Column { name: name.into(), feature, stored: None }
    }

    /// Whether payloads of it may have seek tables, by which parts of them are decoded for less: clips, and pictures that were stored with an index.
    pub fn is_seekable(&self) -> bool {
        match self.feature {
            Feature::Video => true,
            Feature::Image => self.stored.as_ref().is_some_and(Storage::has_crop_index),
            _ => false,
        }
    }

    /// Whether a row of it has bytes of its own in the Index, beside its fixed-width cell: a seek table, packed objects.
    pub fn has_table(&self) -> bool {
        self.is_seekable() || matches!(self.feature, Feature::Objects(_))
    }

    /// The field of a shard. What the Arrow type does not say is in its metadata, as JSON under one key (the order of several
    /// would be chance): the type and shape of tensors, the convention of boxes, and what made the column.
    fn to_arrow(&self) -> Field {
        let field = Field::new(&self.name, self.feature.arrow_type(), true);
        let mut said = Map::new();
        match &self.feature {
            Feature::Tensor(tensor) => said.extend([("tensor".to_owned(), json!(tensor))]),
            // Classes and attributes are in the metadata of the schema and the type.
            Feature::Objects(of) => said.extend([("boxes".to_owned(), json!(of.boxes))]),
            _ => {}
        }
        if said.is_empty() && self.stored.is_none() {
            return field;
        }
        said.extend(self.stored.as_ref().map(|s| ("stored".to_owned(), json!(s))));
        let text = serde_json::Value::Object(said).to_string();
        field.with_metadata(HashMap::from([(FIELD_KEY.to_owned(), text)]))
    }
}

/// The features of a dataset, in order.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Schema {
    /// The columns, media first by convention.
    pub columns: Vec<Column>,
}

impl Schema {
    /// A schema of named features.
    pub fn new<N: Into<String>>(columns: impl IntoIterator<Item = (N, Feature)>) -> Self {
        Schema { columns: columns.into_iter().map(|(name, feature)| Column::new(name, feature)).collect() }
    }

    /// The position of a column.
    pub fn position(&self, name: &str) -> Option<usize> {
        self.columns.iter().position(|c| c.name == name)
    }

    /// The feature of a column.
    pub fn get(&self, name: &str) -> Option<&Feature> {
        self.columns.iter().find(|c| c.name == name).map(|c| &c.feature)
    }

    /// The column of the label: the first of classes, but for those that say where rows come from.
    pub fn label(&self) -> Option<usize> {
        let is = |c: &Column| matches!(c.feature, Feature::ClassLabel { .. }) && !PROVENANCE.contains(&c.name.as_str());
        self.columns.iter().position(is)
    }

    /// The payload columns with their positions.
    pub fn payloads(&self) -> impl Iterator<Item = (usize, &Column)> {
        self.columns.iter().enumerate().filter(|(_, c)| c.feature.is_payload())
    }

    /// Checks names: present, unique, not reserved; class names unique.
    pub fn validate(&self) -> Result<()> {
        let mut seen = HashSet::<_, xxhash_rust::xxh3::Xxh3DefaultBuilder>::default();
        for column in &self.columns {
            let name = &column.name;
            if name.is_empty() || name.contains(['.', '\n', '\0']) {
                return Err(Error::config(
                    format!("column name {name:?} is empty or holds '.', a newline or NUL"),
                    "rename the column in the source",
                ));
            }
            if RESERVED.contains(&name.as_str()) {
                return Err(Error::config(
                    format!("column name {name:?} is kept by the shard format"),
                    format!("rename it, to \"source_{name}\" for example"),
                ));
            }
            if !seen.insert(name.as_str()) {
                return Err(Error::config(format!("two columns are called {name:?}"), "rename one of them"));
            }
            if let Feature::Tensor(tensor) = &column.feature {
                tensor.validate(name)?;
            }
            if let Feature::Objects(of) = &column.feature {
                of.validate(name)?;
            }
            if let Feature::ClassLabel { names } = &column.feature {
                let mut classes = HashSet::<_, xxhash_rust::xxh3::Xxh3DefaultBuilder>::default();
                if let Some(twice) = names.iter().find(|n| !classes.insert(n.as_str())) {
                    return Err(Error::config(
                        format!("class {twice:?} stands twice in column {name:?}"),
                        "class names must differ: merge or rename them",
                    ));
                }
            }
        }
        Ok(())
    }

    /// The Arrow schema of a shard: `id`, the features, then `info` (a struct of one struct for each payload column),
    /// with the `huggingface` key in the schema metadata.
    pub fn to_arrow(&self) -> ArrowSchema {
        let mut fields = vec![Field::new("id", DataType::Utf8, true)];
        fields.extend(self.columns.iter().map(Column::to_arrow));
        let infos: Vec<Field> =
            self.payloads().map(|(_, c)| Field::new(&c.name, DataType::Struct(info_fields(c)), true)).collect();
        if !infos.is_empty() {
            fields.push(Field::new("info", DataType::Struct(Fields::from(infos)), true));
        }
        let metadata = HashMap::from([("huggingface".to_owned(), self.hf_metadata().to_string())]);
        ArrowSchema::new_with_metadata(fields.into_iter().map(Arc::new).collect::<Vec<_>>(), metadata)
    }

    /// The value of the `huggingface` metadata key.
    pub fn hf_metadata(&self) -> serde_json::Value {
        json!({"info": {"features": self.hf_features()}})
    }

    /// Every column of a shard in Hugging Face's JSON, in file order.
    pub fn hf_features(&self) -> serde_json::Value {
        let mut features = Map::new();
        features.insert("id".into(), json!({"dtype": "string", "_type": "Value"}));
        for column in &self.columns {
            features.insert(column.name.clone(), column.feature.hf_json());
        }
        let mut infos = Map::new();
        for (_, column) in self.payloads() {
            let facts: Map<String, serde_json::Value> = info_fields(column)
                .iter()
                .map(|f| (f.name().clone(), json!({"dtype": hf_dtype(f.data_type()), "_type": "Value"})))
                .collect();
            infos.insert(column.name.clone(), facts.into());
        }
        if !infos.is_empty() {
            features.insert("info".into(), infos.into());
        }
        features.into()
    }
}

/// Hugging Face's name of a scalar Arrow type.
pub fn hf_dtype(data_type: &DataType) -> &'static str {
    match data_type {
        DataType::Utf8 => "string",
        DataType::Int32 => "int32",
        DataType::Int64 => "int64",
        DataType::Float32 => "float32",
        DataType::UInt64 => "uint64",
        DataType::Float64 => "float64",
        DataType::Boolean => "bool",
        _ => "binary",
    }
}
