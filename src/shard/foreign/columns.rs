//! What the columns of someone else's Parquet are to us, and how their cells are read.

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, Float64Type, Int64Type};

use super::{ForeignFile, Probe};
use crate::data::feature::{Column, FIELD_KEY, Feature, RESERVED, Schema, objects_fields};
use crate::data::index::{IndexCell, Payload};
use crate::data::info::{Format, Info, Kind};
use crate::data::objects::Objects;
use crate::data::packed::TensorType;
use crate::data::record::payload_hash;
use crate::error::{Fault, Reason, Result};
use crate::shard::located;

/// How a column's cells are read.
#[derive(Debug, Clone)]
pub(super) struct Mapped {
    /// The name in the files (ours is in the schema).
    pub(super) source: String,
    /// The Arrow type, equal in all files.
    pub(super) data_type: DataType,
    pub(super) feature: Feature,
}

/// Our schema of a file's columns.
pub(super) fn map_columns(
    file: &ForeignFile,
    probe: Probe<'_>,
    notes: &mut Vec<String>,
) -> Result<(Schema, Vec<Mapped>)> {
    let arrow = file.metadata.schema();
    let hf: serde_json::Value = match arrow.metadata().get("huggingface").map(|text| serde_json::from_str(text)) {
        Some(Ok(value)) => value,
        Some(Err(e)) => {
            notes.push(format!("the \"huggingface\" metadata is not JSON and was left out: {e}"));
            serde_json::Value::Null
        }
        None => serde_json::Value::Null,
    };
    let (mut schema, mut columns) = (Schema::default(), Vec::new());
    for field in arrow.fields() {
        let source = field.name().clone();
        let mut mapped = Mapped { source, data_type: field.data_type().clone(), feature: Feature::Int };
        let said = &hf["info"]["features"][field.name()];
        let feature = match ours(field) {
            Some(tensor) => Ok(tensor),
            None => feature_of(&mapped, field, file, said, probe),
        };
        mapped.feature = match feature {
            Ok(feature) => feature,
            Err(why) => {
                notes.push(format!("column {:?} was left out: {why}", mapped.source));
                continue;
            }
        };
        let mut name = mapped.source.replace(['.', '\n', '\0'], "_");
        while name.is_empty() || RESERVED.contains(&name.as_str()) || schema.position(&name).is_some() {
            name.insert_str(0, "source_");
        }
        if name != mapped.source {
            notes.push(format!("column {:?} is called {name:?} here", mapped.source));
        }
        schema.columns.push(Column::new(name, mapped.feature.clone()));
        columns.push(mapped);
    }
    schema.validate()?;
    Ok((schema, columns))
}

/// The tensors of one of our own shards that is read without its dataset. With more than one length that differs, a payload
/// alone does not tell its shape.
fn ours(field: &Field) -> Option<Feature> {
    let said: serde_json::Value = serde_json::from_str(field.metadata().get(FIELD_KEY)?).ok()?;
    let tensor: TensorType = serde_json::from_value(said.get("tensor")?.clone()).ok()?;
    let told = tensor.shape.iter().filter(|axis| axis.is_none()).count() < 2 && is_binary(field.data_type());
    told.then_some(Feature::Tensor(tensor))
}

fn feature_of(
    column: &Mapped,
    field: &Field,
    file: &ForeignFile,
    said: &serde_json::Value,
    probe: Probe<'_>,
) -> Result<Feature, String> {
    let kind = match said["_type"].as_str() {
        Some("Image") => Some(Kind::Image),
        Some("Audio") => Some(Kind::Audio),
        Some("Video") => Some(Kind::Video),
        Some("ClassLabel") if column.data_type.is_integer() => {
            let names =
                said["names"].as_array().map(|a| a.iter().filter_map(|n| n.as_str().map(str::to_owned)).collect());
            return Ok(Feature::ClassLabel { names: names.ok_or("its class names are not a list")? });
        }
        _ => None,
    };
    match &column.data_type {
        t if t.is_integer() => Ok(Feature::Int),
        DataType::Float16 | DataType::Float32 | DataType::Float64 => Ok(Feature::Float),
        DataType::Boolean => Ok(Feature::Bool),
        t if is_text(t) => Ok(Feature::Text),
        DataType::Dictionary(_, value) if is_text(value) => Ok(Feature::Text),
        t if media_bytes(t) => match kind {
            Some(kind) => Ok(Feature::of(kind)),
            None => sniff_column(column, file, probe).map(Feature::of),
        },
        DataType::Struct(_) => located::foreign(field, said).map(Feature::Objects),
        other => Err(format!("{other} is not read yet")),
    }
}

fn is_text(data_type: &DataType) -> bool {
    matches!(data_type, DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View)
}

fn is_binary(data_type: &DataType) -> bool {
    matches!(data_type, DataType::Binary | DataType::LargeBinary | DataType::BinaryView)
}

/// Plain bytes, or a struct with a field `bytes` of them.
fn media_bytes(data_type: &DataType) -> bool {
    match data_type {
        DataType::Struct(fields) => fields.find("bytes").is_some_and(|(_, f)| is_binary(f.data_type())),
        other => is_binary(other),
    }
}

/// The kind of the first value that is there.
fn sniff_column(column: &Mapped, file: &ForeignFile, probe: Probe<'_>) -> Result<Kind, String> {
    // As bytes, whatever kind they turn out to be.
    let column = &Mapped { feature: Feature::Image, ..column.clone() };
    for batch in file.batches(std::slice::from_ref(column)).map_err(|e| e.to_string())? {
        let array = column.canonical(&batch.map_err(|e| e.to_string())?)?;
        if let Some(row) = (0..array.len()).find(|row| array.is_valid(*row)) {
            let info = probe(array.as_binary::<i32>().value(row), None).map_err(|fault| fault.to_string())?;
            return Ok(info.format.kind());
        }
    }
    Err("it has no value to tell its kind by".into())
}

impl Mapped {
    /// The column of a batch as Int64, Float64, Boolean, Utf8 or Binary.
    pub(super) fn canonical(&self, batch: &RecordBatch) -> Result<ArrayRef, String> {
        let missing = || format!("there is no column {:?}", self.source);
        let mut array = batch.column_by_name(&self.source).ok_or_else(missing)?.clone();
        if let Feature::Objects(of) = &self.feature {
            return located::canonical(&array, of);
        }
        if let DataType::Struct(_) = self.data_type {
            let parent = array.as_struct();
            let bytes = parent.column_by_name("bytes").ok_or_else(missing)?.clone();
            // A null struct may hide bytes that are there.
            array = match parent.nulls() {
                Some(nulls) => arrow::compute::nullif(&bytes, &arrow::array::BooleanArray::new(!nulls.inner(), None))
                    .map_err(|e| e.to_string())?,
                None => bytes,
            };
        }
        let wanted = match &self.feature {
            Feature::Int | Feature::ClassLabel { .. } => DataType::Int64,
            Feature::Float => DataType::Float64,
            Feature::Bool => DataType::Boolean,
            Feature::Objects(of) => DataType::Struct(objects_fields(of)),
            Feature::Text => DataType::Utf8,
            Feature::Image | Feature::Audio | Feature::Video | Feature::Tensor(_) => DataType::Binary,
        };
        cast(&array, &wanted).map_err(|e| e.to_string())
    }

    /// The bytes of a payload in a canonical array; `None` when null.
    pub(super) fn bytes<'a>(&self, array: &'a ArrayRef, row: usize) -> Option<&'a [u8]> {
        match &self.feature {
            _ if array.is_null(row) => None,
            Feature::Text => Some(array.as_string::<i32>().value(row).as_bytes()),
            _ => Some(array.as_binary::<i32>().value(row)),
        }
    }

    /// The objects of a canonical array's row, if these are some.
    pub(super) fn objects(&self, array: &ArrayRef, i: usize) -> Result<Option<Objects>, Fault> {
        let Feature::Objects(of) = &self.feature else { return Ok(None) };
        let objects = located::objects_at(array, i, of).and_then(|objects| match objects {
            // Of classes without names the numbers are all that is known.
            Some(objects) => {
                let classes = (!of.names.is_empty()).then_some(of.names.len());
                objects.fit_classes(of, classes).map(|()| Some(objects))
            }
            None => Ok(None),
        });
        objects.map_err(|why| Fault::new(Reason::BadLabel, why))
    }

    pub(super) fn cell(
        &self,
        array: &ArrayRef,
        i: usize,
        row: u64,
        objects: Option<&Objects>,
        probe: Probe<'_>,
    ) -> Result<IndexCell, Fault> {
        if array.is_null(i) {
            return Ok(IndexCell::Null);
        }
        Ok(match &self.feature {
            Feature::Int | Feature::ClassLabel { .. } => IndexCell::Int(array.as_primitive::<Int64Type>().value(i)),
            Feature::Float => IndexCell::Float(array.as_primitive::<Float64Type>().value(i)),
            Feature::Bool => IndexCell::Bool(array.as_boolean().value(i)),
            Feature::Objects(_) => match objects {
                Some(objects) => IndexCell::Objects(u32::try_from(objects.len()).unwrap_or(u32::MAX)),
                None => IndexCell::Null,
            },
            payload => {
                let bytes = self.bytes(array, i).unwrap_or_default();
                let info = match payload {
                    Feature::Tensor(tensor) => tensor.info_of(bytes.len() as u64)?,
                    Feature::Text => Info { count: bytes.len() as u64, ..Info::of(Format::Utf8) },
                    media => probe(bytes, media.kind())?,
                };
                let (length, hash) = (bytes.len() as u64, payload_hash(bytes));
                IndexCell::Payload(Payload { offset: row, length, hash, info })
            }
        })
    }
}
