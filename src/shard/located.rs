//! Columns of objects as Arrow arrays: a struct of lists, one entry an object in each.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, FixedSizeListBuilder, Float32Builder, Float64Builder, Int64Builder, ListBuilder,
    StringBuilder, StructArray,
};
use arrow::buffer::NullBuffer;
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, Fields, Float32Type, Float64Type, Int64Type};
use arrow::error::ArrowError;

use crate::data::feature::{FIELD_KEY, objects_fields};
use crate::data::label::Value;
use crate::data::objects::{Attribute, AttributeKind, BBOX, BoxFormat, CATEGORY, Objects, ObjectsType};

/// The lists of one attribute.
#[derive(Debug)]
enum Lists {
    Int(ListBuilder<Int64Builder>),
    Float(ListBuilder<Float64Builder>),
    Text(ListBuilder<StringBuilder>),
}

impl Lists {
    fn new(kind: AttributeKind) -> Self {
        match kind {
            AttributeKind::Int => Lists::Int(ListBuilder::new(Int64Builder::new())),
            AttributeKind::Float => Lists::Float(ListBuilder::new(Float64Builder::new())),
            AttributeKind::Text => Lists::Text(ListBuilder::new(StringBuilder::new())),
        }
    }

    fn push(&mut self, value: &Value) -> Result<(), String> {
        match (self, value) {
            (Lists::Int(list), Value::Int(v)) => list.values().append_value(*v),
            (Lists::Int(list), Value::Null) => list.values().append_null(),
            (Lists::Float(list), Value::Float(v)) => list.values().append_value(*v),
            (Lists::Float(list), Value::Null) => list.values().append_null(),
            (Lists::Text(list), Value::Text(v)) => list.values().append_value(v),
            (Lists::Text(list), Value::Null) => list.values().append_null(),
            _ => return Err("an attribute is not of its column's kind".into()),
        }
        Ok(())
    }

    fn end(&mut self, valid: bool) {
        match self {
            Lists::Int(list) => list.append(valid),
            Lists::Float(list) => list.append(valid),
            Lists::Text(list) => list.append(valid),
        }
    }

    fn finish(&mut self) -> ArrayRef {
        match self {
            Lists::Int(list) => Arc::new(list.finish()),
            Lists::Float(list) => Arc::new(list.finish()),
            Lists::Text(list) => Arc::new(list.finish()),
        }
    }
}

/// A column of objects in the making.
#[derive(Debug)]
pub(super) struct Located {
    fields: Fields,
    boxes: ListBuilder<FixedSizeListBuilder<Float32Builder>>,
    classes: ListBuilder<Int64Builder>,
    attributes: Vec<Lists>,
    valid: Vec<bool>,
}

impl Located {
    pub(super) fn new(of: &ObjectsType) -> Self {
        Located {
            fields: objects_fields(of),
            boxes: ListBuilder::new(FixedSizeListBuilder::new(Float32Builder::new(), 4)),
            classes: ListBuilder::new(Int64Builder::new()),
            attributes: of.attributes.iter().map(|a| Lists::new(a.kind)).collect(),
            valid: Vec::new(),
        }
    }

    fn end(&mut self, valid: bool) {
        self.boxes.append(valid);
        self.classes.append(valid);
        self.attributes.iter_mut().for_each(|list| list.end(valid));
        self.valid.push(valid);
    }

    pub(super) fn null(&mut self) {
        self.end(false);
    }

    /// Adds the objects of a row, which fit the column.
    pub(super) fn push(&mut self, objects: &Objects) -> Result<(), String> {
        for corners in &objects.boxes {
            self.boxes.values().values().append_slice(corners);
            self.boxes.values().append(true);
        }
        self.classes.values().append_slice(&objects.classes);
        for (list, values) in self.attributes.iter_mut().zip(&objects.attributes) {
            values.iter().try_for_each(|value| list.push(value))?;
        }
        self.end(true);
        Ok(())
    }

    pub(super) fn finish(&mut self) -> Result<ArrayRef, ArrowError> {
        let mut lists: Vec<ArrayRef> = vec![Arc::new(self.boxes.finish()), Arc::new(self.classes.finish())];
        lists.extend(self.attributes.iter_mut().map(Lists::finish));
        let valid = NullBuffer::from(std::mem::take(&mut self.valid));
        Ok(Arc::new(StructArray::try_new(self.fields.clone(), lists, Some(valid))?))
    }
}

/// The objects of a row of an array whose type is the column's; `None` where they are absent.
pub(super) fn objects_at(array: &dyn Array, row: usize, of: &ObjectsType) -> Result<Option<Objects>, String> {
    if array.is_null(row) {
        return Ok(None);
    }
    let lists = array.as_struct();
    let list = |at: usize| {
        let list = lists.column(at).as_list::<i32>();
        if list.is_null(row) {
            Err(format!("the list {:?} is absent", lists.fields()[at].name()))
        } else {
            Ok(list.value(row))
        }
    };
    let (boxes, classes) = (list(0)?, list(1)?);
    let boxes = boxes.as_fixed_size_list();
    let corner = |at: usize| -> Result<[f32; 4], String> {
        let corners = boxes.value(at);
        let corners = corners.as_primitive::<Float32Type>();
        if boxes.is_null(at) || corners.null_count() > 0 {
            return Err("a box is absent".into());
        }
        corners.values().as_ref().try_into().map_err(|_| "a box has not four numbers".to_owned())
    };
    let classes = classes.as_primitive::<Int64Type>();
    let mut objects = Objects {
        boxes: (0..boxes.len()).map(corner).collect::<Result<_, _>>()?,
        classes: (0..classes.len()).map(|at| if classes.is_null(at) { -1 } else { classes.value(at) }).collect(),
        attributes: Vec::with_capacity(of.attributes.len()),
    };
    for (at, attribute) in of.attributes.iter().enumerate() {
        let values = list(at + 2)?;
        let value = |i: usize| match attribute.kind {
            _ if values.is_null(i) => Value::Null,
            AttributeKind::Int => Value::Int(values.as_primitive::<Int64Type>().value(i)),
            AttributeKind::Float => Value::Float(values.as_primitive::<Float64Type>().value(i)),
            AttributeKind::Text => Value::Text(values.as_string::<i32>().value(i).to_owned()),
        };
        objects.attributes.push((0..values.len()).map(value).collect());
    }
    let n = objects.boxes.len();
    if objects.classes.len() != n || objects.attributes.iter().any(|values| values.len() != n) {
        return Err(format!("lists of {n} boxes and other numbers of what belongs to them"));
    }
    Ok(Some(objects))
}

/// What the lists of a foreign struct are: `bbox` of four numbers, `category` of integers, and attributes. Boxes are `xywh` as in
/// COCO, which is what `datasets` has, unless the field says (as ours do) what they are.
pub(super) fn foreign(field: &Field, said: &serde_json::Value) -> Result<ObjectsType, String> {
    let DataType::Struct(fields) = field.data_type() else { return Err("it is no struct".into()) };
    let item = |name: &str| match fields.find(name).map(|(_, f)| f.data_type()) {
        Some(DataType::List(item) | DataType::LargeList(item)) => Some(item.data_type()),
        _ => None,
    };
    let corners = match item(BBOX) {
        Some(DataType::FixedSizeList(item, 4) | DataType::List(item) | DataType::LargeList(item)) => item.data_type(),
        _ => return Err(format!("{} is not read yet", field.data_type())),
    };
    let Some(class) = item(CATEGORY) else { return Err(format!("it has {BBOX:?} without a list {CATEGORY:?}")) };
    if !corners.is_numeric() || !class.is_integer() {
        return Err(format!("{BBOX:?} are of {corners} and {CATEGORY:?} of {class}"));
    }
    // A dict of lists, or a list of dicts as older versions of `datasets` wrote it.
    let names = [&said[CATEGORY]["feature"]["names"], &said["feature"][CATEGORY]["names"]];
    let names = names.into_iter().find_map(serde_json::Value::as_array).into_iter().flatten();
    let names = names.filter_map(|name| name.as_str().map(str::to_owned)).collect();
    let attributes = fields.iter().filter(|f| ![BBOX, CATEGORY].contains(&f.name().as_str())).filter_map(|f| {
        let kind = match item(f.name())? {
            t if t.is_integer() || *t == DataType::Boolean => AttributeKind::Int,
            t if t.is_floating() => AttributeKind::Float,
            DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => AttributeKind::Text,
            _ => return None,
        };
        Some(Attribute::new(f.name(), kind))
    });
    let ours = field.metadata().get(FIELD_KEY).and_then(|text| serde_json::from_str::<serde_json::Value>(text).ok());
    let boxes = ours.and_then(|ours| serde_json::from_value(ours["boxes"].clone()).ok()).unwrap_or(BoxFormat::Xywh);
    Ok(ObjectsType { names, attributes: attributes.collect(), ..ObjectsType::new(boxes) })
}

/// A foreign column as one of this type.
pub(super) fn canonical(array: &ArrayRef, of: &ObjectsType) -> Result<ArrayRef, String> {
    let fields = objects_fields(of);
    let lists = array.as_struct();
    let list = |field: &Arc<Field>| {
        let list = lists.column_by_name(field.name()).ok_or_else(|| format!("there is no list {:?}", field.name()))?;
        cast(list, field.data_type()).map_err(|e| e.to_string())
    };
    let columns = fields.iter().map(list).collect::<Result<Vec<_>, _>>()?;
    let array = StructArray::try_new(fields, columns, lists.nulls().cloned()).map_err(|e| e.to_string())?;
    Ok(Arc::new(array))
}
