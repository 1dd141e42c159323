//! One row group on its way into Arrow arrays: the columns of [`Schema::to_arrow`], filled row by row.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, BinaryBuilder, BooleanBuilder, Float64Builder, Int32Builder, Int64Builder, RecordBatch, StringBuilder,
    StructArray, UInt64Builder,
};
use arrow::buffer::NullBuffer;
use arrow::datatypes::{DataType, Fields, SchemaRef};
use arrow::error::ArrowError;

use super::located::Located;
use super::writer::ShardCell;
use crate::data::feature::{self, Feature, Schema, info_fields, media_fields};
use crate::data::info::{Info, Kind};
use crate::data::profile::Profile;
use crate::data::storage::Original;

/// The facts of one payload column, as the `info` struct holds them. What means nothing for a kind is null.
#[derive(Debug)]
struct Facts {
    format: StringBuilder,
    small: [Int32Builder; 4],
    large: [Int64Builder; 2],
    hash: UInt64Builder,
    orientation: Int32Builder,
    profile: StringBuilder,
    /// Of a column that was made of the source's payloads: what these were.
    original: Option<(Int64Builder, UInt64Builder)>,
    /// Of a column whose payloads may have one: their seek tables.
    seek: Option<BinaryBuilder>,
    fields: Fields,
    valid: Vec<bool>,
}

impl Facts {
    fn new(column: &feature::Column) -> Self {
        Facts {
            format: StringBuilder::new(),
            small: std::array::from_fn(|_| Int32Builder::new()),
            large: std::array::from_fn(|_| Int64Builder::new()),
            hash: UInt64Builder::new(),
            orientation: Int32Builder::new(),
            profile: StringBuilder::new(),
            original: column.stored.as_ref().map(|_| (Int64Builder::new(), UInt64Builder::new())),
            seek: column.is_seekable().then(BinaryBuilder::new),
            fields: info_fields(column),
            valid: Vec::new(),
        }
    }

    fn null(&mut self) {
        self.format.append_null();
        self.small.iter_mut().for_each(Int32Builder::append_null);
        self.large.iter_mut().for_each(Int64Builder::append_null);
        self.hash.append_null();
        self.orientation.append_null();
        self.profile.append_null();
        if let Some((bytes, hash)) = &mut self.original {
            bytes.append_null();
            hash.append_null();
        }
        self.seek.iter_mut().for_each(BinaryBuilder::append_null);
        self.valid.push(false);
    }

    fn push(
        &mut self,
        info: &Info,
        hash: u64,
        original: Option<Original>,
        seek: Option<&Vec<u8>>,
    ) -> Result<(), String> {
        let (picture, sound) = match info.format.kind() {
            Kind::Image => (true, false),
            Kind::Audio => (false, true),
            Kind::Video => (true, true),
            Kind::Text | Kind::Tensor => (false, false),
        };
        self.format.append_value(info.format.name());
        let small =
            [(info.width, picture), (info.height, picture), (info.channels, picture || sound), (info.rate, sound)];
        for (builder, (value, means)) in self.small.iter_mut().zip(small) {
            let value = i32::try_from(value).map_err(|_| format!("a fact of {value} is over 2^31"))?;
            builder.append_option((means || value != 0).then_some(value));
        }
        let large = [(info.count, info.format.kind() != Kind::Image), (info.duration_us, sound)];
        for (builder, (value, means)) in self.large.iter_mut().zip(large) {
            let value = i64::try_from(value).map_err(|_| format!("a fact of {value} is over 2^63"))?;
            builder.append_option((means || value != 0).then_some(value));
        }
        self.hash.append_value(hash);
        let turn = info.orientation.code() as i32;
        self.orientation.append_option((turn != 0).then_some(turn));
        self.profile.append_option((info.profile != Profile::Srgb).then_some(info.profile.name()));
        match (&mut self.original, original) {
            (Some((bytes, hash)), Some(original)) => {
                bytes.append_value(i64::try_from(original.bytes).map_err(|e| e.to_string())?);
                hash.append_value(original.hash);
            }
            (None, None) => {}
            _ => return Err("the source's payload is named where it is stored itself, or not where it is not".into()),
        }
        match (&mut self.seek, seek) {
            (Some(builder), seek) => builder.append_option(seek),
            (None, None) => {}
            (None, Some(_)) => return Err("a payload has a seek table in a column without any".into()),
        }
        self.valid.push(true);
        Ok(())
    }

    fn finish(&mut self) -> Result<ArrayRef, ArrowError> {
        let [width, height, channels, rate] = &mut self.small;
        let [count, duration] = &mut self.large;
        let mut arrays: Vec<ArrayRef> = vec![
            Arc::new(self.format.finish()),
            Arc::new(width.finish()),
            Arc::new(height.finish()),
            Arc::new(channels.finish()),
            Arc::new(rate.finish()),
            Arc::new(count.finish()),
            Arc::new(duration.finish()),
            Arc::new(self.hash.finish()),
            Arc::new(self.orientation.finish()),
            Arc::new(self.profile.finish()),
        ];
        if let Some((bytes, hash)) = &mut self.original {
            arrays.push(Arc::new(bytes.finish()));
            arrays.push(Arc::new(hash.finish()));
        }
        if let Some(seek) = &mut self.seek {
            arrays.push(Arc::new(seek.finish()));
        }
        let valid = NullBuffer::from(std::mem::take(&mut self.valid));
        Ok(Arc::new(StructArray::try_new(self.fields.clone(), arrays, Some(valid))?))
    }
}

#[derive(Debug)]
enum Column {
    Media { bytes: BinaryBuilder, path: StringBuilder, facts: Box<Facts> },
    Text { text: StringBuilder, facts: Box<Facts> },
    Tensor { bytes: BinaryBuilder, facts: Box<Facts> },
    Int(Int64Builder),
    Float(Float64Builder),
    Bool(BooleanBuilder),
    Objects(Box<Located>),
}

/// The rows of one row group.
#[derive(Debug)]
pub(super) struct Cells {
    schema: SchemaRef,
    ids: StringBuilder,
    columns: Vec<Column>,
    rows: usize,
}

impl Cells {
    pub(super) fn new(schema: &Schema, arrow: SchemaRef) -> Self {
        let columns = schema.columns.iter().map(|c| match &c.feature {
            Feature::Text => Column::Text { text: StringBuilder::new(), facts: Box::new(Facts::new(c)) },
            Feature::Tensor(_) => Column::Tensor { bytes: BinaryBuilder::new(), facts: Box::new(Facts::new(c)) },
            Feature::Int | Feature::ClassLabel { .. } => Column::Int(Int64Builder::new()),
            Feature::Float => Column::Float(Float64Builder::new()),
            Feature::Bool => Column::Bool(BooleanBuilder::new()),
            Feature::Objects(of) => Column::Objects(Box::new(Located::new(of))),
            Feature::Image | Feature::Audio | Feature::Video => {
                let facts = Box::new(Facts::new(c));
                Column::Media { bytes: BinaryBuilder::new(), path: StringBuilder::new(), facts }
            }
        });
        Cells { schema: arrow, ids: StringBuilder::new(), columns: columns.collect(), rows: 0 }
    }

    pub(super) fn rows(&self) -> usize {
        self.rows
    }

    /// Appends a checked row: one cell a column, of its kind, text in UTF-8. On an error the group is no longer whole.
    pub(super) fn push(&mut self, id: &str, cells: &[ShardCell]) -> Result<(), String> {
        self.ids.append_value(id);
        for (column, cell) in self.columns.iter_mut().zip(cells) {
            match (column, cell) {
                (
                    Column::Media { bytes, path, facts },
                    ShardCell::Media { bytes: b, path: p, info, hash, original, seek },
                ) => {
                    bytes.append_value(b);
                    path.append_value(p);
                    facts.push(info, *hash, *original, seek.as_ref())?;
                }
                (Column::Media { bytes, path, facts }, ShardCell::Null) => {
                    bytes.append_null();
                    path.append_null();
                    facts.null();
                }
                (Column::Text { text, facts }, ShardCell::Media { bytes, info, hash, original, seek, .. }) => {
                    text.append_value(std::str::from_utf8(bytes).map_err(|e| e.to_string())?);
                    facts.push(info, *hash, *original, seek.as_ref())?;
                }
                (Column::Tensor { bytes, facts }, ShardCell::Media { bytes: b, info, hash, original, seek, .. }) => {
                    bytes.append_value(b);
                    facts.push(info, *hash, *original, seek.as_ref())?;
                }
                (Column::Tensor { bytes, facts }, ShardCell::Null) => {
                    bytes.append_null();
                    facts.null();
                }
                (Column::Text { text, facts }, ShardCell::Null) => {
                    text.append_null();
                    facts.null();
                }
                (Column::Int(builder), ShardCell::Int(v)) => builder.append_value(*v),
                (Column::Int(builder), ShardCell::Null) => builder.append_null(),
                (Column::Float(builder), ShardCell::Float(v)) => builder.append_value(*v),
                (Column::Float(builder), ShardCell::Null) => builder.append_null(),
                (Column::Bool(builder), ShardCell::Bool(v)) => builder.append_value(*v),
                (Column::Bool(builder), ShardCell::Null) => builder.append_null(),
                (Column::Objects(lists), ShardCell::Objects(objects)) => lists.push(objects)?,
                (Column::Objects(lists), ShardCell::Null) => lists.null(),
                _ => return Err("a cell is not of its column's kind".into()),
            }
        }
        self.rows += 1;
        Ok(())
    }

    /// The rows as a batch; the next row begins a new one.
    pub(super) fn take(&mut self) -> Result<RecordBatch, ArrowError> {
        self.rows = 0;
        let mut arrays: Vec<ArrayRef> = vec![Arc::new(self.ids.finish())];
        let mut infos = Vec::new();
        for column in &mut self.columns {
            arrays.push(match column {
                Column::Media { bytes, path, facts } => {
                    infos.push(facts.finish()?);
                    let (bytes, path) = (bytes.finish(), path.finish());
                    let valid = arrow::array::Array::nulls(&bytes).cloned();
                    Arc::new(StructArray::try_new(media_fields(), vec![Arc::new(bytes), Arc::new(path)], valid)?)
                }
                Column::Text { text, facts } => {
                    infos.push(facts.finish()?);
                    Arc::new(text.finish())
                }
                Column::Tensor { bytes, facts } => {
                    infos.push(facts.finish()?);
                    Arc::new(bytes.finish())
                }
                Column::Int(builder) => Arc::new(builder.finish()),
                Column::Float(builder) => Arc::new(builder.finish()),
                Column::Bool(builder) => Arc::new(builder.finish()),
                Column::Objects(lists) => lists.finish()?,
            });
        }
        if let Some(DataType::Struct(fields)) = self.schema.fields().last().map(|f| f.data_type())
            && !infos.is_empty()
        {
            arrays.push(Arc::new(StructArray::try_new(Fields::clone(fields), infos, None)?));
        }
        RecordBatch::try_new(self.schema.clone(), arrays)
    }
}
