//! Objects in a cell of a JSONL manifest, in the two forms that people write: lists side by side, as `datasets` has them
//! (`{"bbox": [[x, y, w, h]], "categories": [0]}`), or a list of objects (`[{"bbox": [x, y, w, h], "category": "cat"}]`).

use std::collections::BTreeMap;

use serde_json::{Map, Value as Json};

use super::EntryCell;
use super::labels::Names;
use crate::data::label::{Objects, Value};
use crate::data::objects::{Attribute, AttributeKind, BBOX, BoxFormat, CATEGORY, ObjectsType};
use crate::error::{Fault, Reason};

/// What the class of an object is called.
const CLASSES: &[&str] = &[CATEGORY, "categories", "label", "labels", "class", "classes", "category_id"];

/// What the cells of a column seen so far say of objects.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Boxes {
    /// Whether it is a column of objects, as the first cell says that has one.
    is: Option<bool>,
    attributes: BTreeMap<String, AttributeKind>,
}

/// One cell: as many of each.
struct Lists {
    boxes: Vec<Json>,
    classes: Vec<Json>,
    others: BTreeMap<String, Vec<Json>>,
}

impl Boxes {
    /// Sees one more cell, as JSON.
    pub(super) fn see(&mut self, text: &str) {
        if self.is == Some(false) {
            return;
        }
        match lists(text) {
            Ok(Some(lists)) => {
                self.is = Some(true);
                for (name, values) in lists.others {
                    let kinds = values.iter().filter_map(kind);
                    let known = self.attributes.get(&name).copied();
                    if let Some(kind) = known.into_iter().chain(kinds).reduce(wider) {
                        self.attributes.insert(name, kind);
                    }
                }
            }
            // No object says nothing of the column.
            Ok(None) => {}
            Err(_) if self.is.is_none() => self.is = Some(false),
            Err(_) => {}
        }
    }

    /// The type, if these are objects.
    pub(super) fn of(&self) -> Option<ObjectsType> {
        let attributes = self.attributes.iter().map(|(name, kind)| Attribute::new(name, *kind)).collect();
        (self.is == Some(true)).then(|| ObjectsType { attributes, ..ObjectsType::new(BoxFormat::Xywh) })
    }
}

fn kind(value: &Json) -> Option<AttributeKind> {
    match value {
        Json::Null => None,
        Json::Bool(_) => Some(AttributeKind::Int),
        Json::Number(n) if n.is_i64() => Some(AttributeKind::Int),
        Json::Number(_) => Some(AttributeKind::Float),
        _ => Some(AttributeKind::Text),
    }
}

fn wider(a: AttributeKind, b: AttributeKind) -> AttributeKind {
    match (a, b) {
        (a, b) if a == b => a,
        (AttributeKind::Text, _) | (_, AttributeKind::Text) => AttributeKind::Text,
        _ => AttributeKind::Float,
    }
}

/// The lists of a cell in either form; `None`: no object.
fn lists(text: &str) -> Result<Option<Lists>, String> {
    let mut all = Lists { boxes: Vec::new(), classes: Vec::new(), others: BTreeMap::new() };
    let class_of = |object: &Map<String, Json>| CLASSES.iter().find(|name| object.contains_key(**name)).copied();
    match serde_json::from_str(text).map_err(|e| e.to_string())? {
        Json::Array(objects) => {
            for (at, object) in objects.into_iter().enumerate() {
                let Json::Object(mut object) = object else { return Err("an object is none".into()) };
                all.boxes.push(object.remove(BBOX).ok_or("an object has no bbox")?);
                let class = class_of(&object).ok_or("an object has no category")?;
                all.classes.push(object.remove(class).unwrap_or_default());
                for (name, value) in object {
                    let values = all.others.entry(name).or_default();
                    values.resize(at, Json::Null);
                    values.push(value);
                }
            }
            let n = all.boxes.len();
            all.others.values_mut().for_each(|values| values.resize(n, Json::Null));
            Ok((n > 0).then_some(all))
        }
        Json::Object(mut lists) => {
            let mut list = |name: &str| match lists.remove(name) {
                Some(Json::Array(values)) => Ok(values),
                _ => Err(format!("{name:?} is no list")),
            };
            all.boxes = list(BBOX)?;
            let class = class_of(&lists).ok_or("there is no list of categories")?;
            let mut list = |name: &str| match lists.remove(name) {
                Some(Json::Array(values)) => Ok(values),
                _ => Err(format!("{name:?} is no list")),
            };
            all.classes = list(class)?;
            let n = all.boxes.len();
            if all.classes.len() != n {
                return Err(format!("{n} boxes and {} categories", all.classes.len()));
            }
            for (name, values) in lists {
                let Json::Array(values) = values else { return Err(format!("{name:?} is no list")) };
                if values.len() != n {
                    return Err(format!("{n} boxes and {} of {name:?}", values.len()));
                }
                all.others.insert(name, values);
            }
            Ok((n > 0).then_some(all))
        }
        _ => Err("it is neither a list of objects nor an object of lists".into()),
    }
}

/// The objects of a cell in a column of this type.
pub(super) fn read(text: &str, of: &ObjectsType) -> Result<EntryCell, Fault> {
    let bad = |what: String| Fault::new(Reason::BadLabel, format!("its objects: {what}"));
    let mut objects = Objects { attributes: vec![Vec::new(); of.attributes.len()], ..Objects::default() };
    let Some(lists) = lists(text).map_err(bad)? else { return Ok(EntryCell::Objects(Vec::new(), Box::new(objects))) };
    let mut names = Names::default();
    for (number, (corners, class)) in lists.boxes.iter().zip(&lists.classes).enumerate() {
        let numbers = corners.as_array().map_or(&[][..], Vec::as_slice);
        let corners: Vec<f32> = numbers.iter().filter_map(Json::as_f64).map(|v| v as f32).collect();
        let corners = <[f32; 4]>::try_from(corners).ok().filter(|_| numbers.len() == 4);
        objects
            .boxes
            .push(corners.ok_or_else(|| bad(format!("the bbox of object {} is no list of 4 numbers", number + 1)))?);
        let name = match class {
            Json::String(name) if !name.is_empty() => name.clone(),
            Json::Number(n) if n.is_i64() => n.to_string(),
            other => return Err(bad(format!("the category of object {} is {other}", number + 1))),
        };
        objects.classes.push(names.place(&name));
    }
    for (values, attribute) in objects.attributes.iter_mut().zip(&of.attributes) {
        let Some(said) = lists.others.get(&attribute.name) else {
            values.resize(lists.boxes.len(), Value::Null);
            continue;
        };
        values.extend(said.iter().map(|value| match (attribute.kind, value) {
            (_, Json::Null) => Value::Null,
            (AttributeKind::Int, Json::Bool(v)) => Value::Int(i64::from(*v)),
            (AttributeKind::Int, value) => value.as_i64().map_or(Value::Null, Value::Int),
            (AttributeKind::Float, Json::Bool(v)) => Value::Float(f64::from(u8::from(*v))),
            (AttributeKind::Float, value) => value.as_f64().map_or(Value::Null, Value::Float),
            (AttributeKind::Text, Json::String(text)) => Value::Text(text.clone()),
            (AttributeKind::Text, value) => Value::Text(value.to_string()),
        }));
    }
    Ok(EntryCell::Objects(names.into_list(), Box::new(objects)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn column(cells: &[&str]) -> Option<ObjectsType> {
        let mut boxes = Boxes::default();
        cells.iter().for_each(|cell| boxes.see(cell));
        boxes.of()
    }

    #[test]
    fn both_forms_are_one_column() {
        let lists = r#"{"bbox": [[1, 2, 3.5, 4], [0, 0, 1, 1]], "categories": [0, 7], "area": [14, 1.5], "crowd": [true, null]}"#;
        let objects = r#"[{"category": 7, "bbox": [1, 2, 3, 4], "note": "ü"}, {"bbox": [5, 6, 7, 8], "category": 0}]"#;
        let of = column(&["[]", lists, objects]).unwrap();
        let told: Vec<(&str, AttributeKind)> = of.attributes.iter().map(|a| (a.name.as_str(), a.kind)).collect();
        use AttributeKind::{Float, Int, Text};
        assert_eq!(told, [("area", Float), ("crowd", Int), ("note", Text)]);
        let EntryCell::Objects(names, read_lists) = read(lists, &of).unwrap() else { panic!() };
        assert_eq!(
            (names.as_slice(), read_lists.classes.as_slice()),
            (&["0".to_owned(), "7".to_owned()][..], &[0, 1][..])
        );
        assert_eq!(read_lists.boxes, [[1.0, 2.0, 3.5, 4.0], [0.0, 0.0, 1.0, 1.0]]);
        assert_eq!(read_lists.attributes[0], [Value::Float(14.0), Value::Float(1.5)]);
        assert_eq!(read_lists.attributes[1], [Value::Int(1), Value::Null]);
        assert_eq!(read_lists.attributes[2], [Value::Null, Value::Null]);
        let EntryCell::Objects(names, read_objects) = read(objects, &of).unwrap() else { panic!() };
        assert_eq!((names[0].as_str(), read_objects.attributes[2][0].clone()), ("7", Value::Text("ü".into())));
        let EntryCell::Objects(_, none) = read("[]", &of).unwrap() else { panic!() };
        assert_eq!((none.len(), none.fit(&of)), (0, Ok(())));
    }

    #[test]
    fn other_lists_are_no_objects_and_bad_ones_are_said() {
        for other in ["[1, 2]", "{\"a\": 1}", "{\"bbox\": [1, 2, 3, 4]}", "[{\"box\": 1}]", "[]"] {
            assert_eq!(column(&[other]), None, "{other}");
        }
        let of = column(&[r#"[{"bbox": [1, 2, 3, 4], "label": "a"}]"#, "[1]"]).unwrap();
        for (bad, said) in [
            ("[1]", "an object is none"),
            (r#"[{"bbox": [1, 2, 3], "label": "a"}]"#, "object 1 is no list of 4 numbers"),
            (r#"[{"bbox": [1, 2, 3, "4"], "label": "a"}]"#, "no list of 4 numbers"),
            (r#"[{"bbox": [1, 2, 3, 4], "label": null}]"#, "category of object 1 is null"),
            (r#"{"bbox": [[1, 2, 3, 4]], "label": []}"#, "1 boxes and 0 categories"),
            (r#"{"bbox": [[1, 2, 3, 4]], "label": ["a"], "x": [1, 2]}"#, "2 of \"x\""),
        ] {
            let fault = read(bad, &of).unwrap_err();
            assert!(fault.reason == Reason::BadLabel && fault.message.contains(said), "{fault}");
        }
    }
}
