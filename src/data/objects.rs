//! Located things in a picture: boxes with a class each, and what else a source says of them.
//!
//! A column of objects holds the numbers of its source in its source's convention ([`BoxFormat`]), so that what comes in
//! can go out again; [`Objects::xyxy`] makes corners in pixels of them. In Parquet it is a struct of lists,
//! one entry an object in each; the Index holds the same packed, beside the row.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use serde_json::{Map, json};

use super::label::Value;
use crate::error::{Error, Result};

/// What the four numbers of a box are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BoxFormat {
    /// `x_min, y_min, x_max, y_max` in pixels from the upper left corner; the right and lower edge are exclusive, so that
    /// a box of one pixel is as wide as one.
    Xyxy,
    /// `x_min, y_min, width, height` in pixels, as in COCO.
    Xywh,
    /// `x_center, y_center, width, height` as parts of the picture's width and height, as in YOLO.
    CxcywhNormalized,
}

impl BoxFormat {
    /// The name in messages.
    pub fn name(self) -> &'static str {
        match self {
            BoxFormat::Xyxy => "xyxy",
            BoxFormat::Xywh => "xywh",
            BoxFormat::CxcywhNormalized => "normalized cxcywh",
        }
    }

    /// A box as corners in pixels of a picture of this size.
    pub fn xyxy(self, [a, b, c, d]: [f32; 4], width: u32, height: u32) -> [f32; 4] {
        match self {
            BoxFormat::Xyxy => [a, b, c, d],
            BoxFormat::Xywh => [a, b, a + c, b + d],
            BoxFormat::CxcywhNormalized => {
                let (w, h) = (f64::from(width), f64::from(height));
                let edges = |center: f32, size: f32, of: f64| {
                    let (center, half) = (f64::from(center) * of, f64::from(size) * of / 2.0);
                    ((center - half) as f32, (center + half) as f32)
                };
                let ((x0, x1), (y0, y1)) = (edges(a, c, w), edges(b, d, h));
                [x0, y0, x1, y1]
            }
        }
    }
}

/// What an attribute of objects is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AttributeKind {
    /// A 64-bit integer.
    Int,
    /// A 64-bit float.
    Float,
    /// Text.
    Text,
}

/// One more thing that is said of each object: `difficult`, `area`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Attribute {
    /// Its name.
    pub name: String,
    /// What it holds.
    pub kind: AttributeKind,
}

impl Attribute {
    /// An attribute.
    pub fn new(name: impl Into<String>, kind: AttributeKind) -> Self {
        Attribute { name: name.into(), kind }
    }
}

/// The name of the boxes among the lists of a column.
pub const BBOX: &str = "bbox";
/// The name of the classes.
pub const CATEGORY: &str = "category";

/// The type of a column of objects.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ObjectsType {
    /// What the numbers of a box are.
    pub boxes: BoxFormat,
    /// The names of the classes, in index order. Names are only ever appended.
    pub names: Vec<String>,
    /// What else is said of each object.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub attributes: Vec<Attribute>,
    /// What the source says of its classes beyond their names, by name, as it says it: COCO's ids, supercategories, names of keypoints. Nothing here reads it.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub details: BTreeMap<String, serde_json::Value>,
}

impl ObjectsType {
    /// Objects of boxes and classes.
    pub fn new(boxes: BoxFormat) -> Self {
        ObjectsType { boxes, names: Vec::new(), attributes: Vec::new(), details: BTreeMap::new() }
    }

    /// Takes in the classes of another: new names go behind the old ones, with what is said of them. Where both have one, what is said here stays.
    pub fn append(&mut self, other: &ObjectsType) {
        let known: BTreeSet<&str> = self.names.iter().map(String::as_str).collect();
        let new: Vec<String> = other.names.iter().filter(|name| !known.contains(name.as_str())).cloned().collect();
        self.names.extend(new);
        for (name, said) in &other.details {
            if !self.details.contains_key(name) {
                self.details.insert(name.clone(), said.clone());
            }
        }
    }

    /// Whether rows of both can be in one column, but for the numbers of their classes.
    pub fn is_like(&self, other: &ObjectsType) -> bool {
        (self.boxes, &self.attributes) == (other.boxes, &other.attributes)
    }

    /// Whether rows of another can be taken into this: as [`ObjectsType::is_like`], and whole numbers where this has floats ([`Objects::widen`]). The other way round a column cannot
    /// be widened: its files and its Index have the whole numbers.
    pub fn takes(&self, other: &ObjectsType) -> bool {
        let fits = |(a, b): (&Attribute, &Attribute)| {
            let widens = a.kind == AttributeKind::Float && b.kind == AttributeKind::Int;
            a.name == b.name && (a.kind == b.kind || widens)
        };
        self.boxes == other.boxes
            && self.attributes.len() == other.attributes.len()
            && self.attributes.iter().zip(&other.attributes).all(fits)
    }

    /// Checks the names of a column called `column`.
    ///
    /// # Errors
    /// [`Error::Config`] for a class or attribute that stands twice, or is called like the boxes.
    pub fn validate(&self, column: &str) -> Result<()> {
        let twice = |what: &str, name: &str| {
            Err(Error::config(
                format!("{what} {name:?} stands twice in column {column:?}"),
                format!("the names of {what}s must differ: merge or rename them"),
            ))
        };
        let mut seen = BTreeSet::new();
        if let Some(name) = self.names.iter().find(|name| !seen.insert(name.as_str())) {
            return twice("class", name);
        }
        let mut seen = BTreeSet::from([BBOX, CATEGORY]);
        if let Some(of) = self.attributes.iter().find(|of| of.name.is_empty() || !seen.insert(of.name.as_str())) {
            return twice("attribute", &of.name);
        }
        Ok(())
    }

    /// The name of a class; none of one that is not known.
    pub fn class(&self, class: i64) -> Option<&str> {
        usize::try_from(class).ok().and_then(|class| self.names.get(class)).map(String::as_str)
    }

    /// The objects of a row as JSON: one object each, with its box, its class by name (one without a name as its number) and its attributes.
    pub fn json(&self, objects: &Objects) -> serde_json::Value {
        let told = |at: usize| {
            let mut told = Map::new();
            let class = objects.classes.get(at).copied().unwrap_or(-1);
            told.insert(BBOX.to_owned(), json!(objects.boxes[at].map(short)));
            told.insert(CATEGORY.to_owned(), self.class(class).map_or(json!(class), |name| json!(name)));
            for (attribute, values) in self.attributes.iter().zip(&objects.attributes) {
                told.insert(attribute.name.clone(), values.get(at).map_or(json!(null), Value::json));
            }
            serde_json::Value::Object(told)
        };
        (0..objects.len()).map(told).collect()
    }

    /// What a person is told of it.
    pub fn told(&self) -> String {
        let attributes: Vec<&str> = self.attributes.iter().map(|a| a.name.as_str()).collect();
        let with = if attributes.is_empty() { String::new() } else { format!(" with {}", attributes.join(", ")) };
        format!("{} boxes of {} classes{with}", self.boxes.name(), self.names.len())
    }
}

/// A coordinate as a float of 64 bits that is written in as few digits as give it back to who reads 64 bits and keeps 32: 0.1, not 0.10000000149011612.
pub fn short(value: f32) -> f64 {
    value.to_string().parse::<f64>().ok().filter(|read| *read as f32 == value).unwrap_or(f64::from(value))
}

/// The objects of one row, in the order of the source.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Objects {
    /// One box each, as the column's [`BoxFormat`] says.
    pub boxes: Vec<[f32; 4]>,
    /// One class index each, -1 for one that is not known.
    pub classes: Vec<i64>,
    /// For each attribute of the column one value an object; none at all for objects without attributes.
    pub attributes: Vec<Vec<Value>>,
}

impl Objects {
    /// How many there are.
    pub fn len(&self) -> usize {
        self.boxes.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.boxes.is_empty()
    }

    /// Bytes of their numbers and texts.
    pub fn bytes(&self) -> u64 {
        let text = |value: &Value| if let Value::Text(text) = value { text.len() as u64 } else { 0 };
        let attributes: u64 = self.attributes.iter().flatten().map(|value| 8 + text(value)).sum();
        self.boxes.len() as u64 * 24 + attributes
    }

    /// The boxes as corners in pixels of a picture of this size.
    pub fn xyxy(&self, format: BoxFormat, width: u32, height: u32) -> impl Iterator<Item = [f32; 4]> + '_ {
        self.boxes.iter().map(move |b| format.xyxy(*b, width, height))
    }

    /// Makes floats of whole numbers where the column has floats.
    ///
    /// # Errors
    /// A number beyond 2^53, which a float may not hold exactly, for a person.
    pub fn widen(&mut self, of: &ObjectsType) -> Result<(), String> {
        let floats = self.attributes.iter_mut().zip(&of.attributes).filter(|(_, a)| a.kind == AttributeKind::Float);
        for (values, attribute) in floats {
            for value in values {
                if let Value::Int(v) = *value {
                    if v.unsigned_abs() > 1 << 53 {
                        return Err(format!("attribute {:?} is {v}: a float does not hold it exactly", attribute.name));
                    }
                    *value = Value::Float(v as f64);
                }
            }
        }
        Ok(())
    }

    /// Whether these can be of a column of this type: as many of each, of its kinds, all numbers finite.
    ///
    /// # Errors
    /// What does not fit, for a person.
    pub fn fit(&self, of: &ObjectsType) -> Result<(), String> {
        self.fit_classes(of, Some(of.names.len()))
    }

    /// The same, of so many classes, or of any.
    pub(crate) fn fit_classes(&self, of: &ObjectsType, names: Option<usize>) -> Result<(), String> {
        let n = self.boxes.len();
        if self.classes.len() != n || self.attributes.len() != of.attributes.len() {
            let (classes, attributes) = (self.classes.len(), self.attributes.len());
            return Err(format!("{n} boxes, {classes} classes and {attributes} of {} attributes", of.attributes.len()));
        }
        if let Some(at) = self.boxes.iter().position(|b| b.iter().any(|v| !v.is_finite())) {
            return Err(format!("the box of object {at} is {:?}", self.boxes[at]));
        }
        let beyond = |class: &i64| *class < -1 || names.is_some_and(|names| *class >= names as i64);
        if let Some(class) = self.classes.iter().find(|class| beyond(class)) {
            return Err(format!("class {class} of {}", of.names.len()));
        }
        for (values, attribute) in self.attributes.iter().zip(&of.attributes) {
            let kind = |value: &Value| match value {
                Value::Null => true,
                Value::Int(_) => attribute.kind == AttributeKind::Int,
                Value::Float(_) => attribute.kind == AttributeKind::Float,
                Value::Text(_) => attribute.kind == AttributeKind::Text,
                Value::Bool(_) => false,
            };
            if values.len() != n || !values.iter().all(kind) {
                return Err(format!("attribute {:?} does not fit {n} objects", attribute.name));
            }
        }
        Ok(())
    }

    /// The objects as bytes: a version, how many, boxes, classes, and of each attribute which are absent (a bit each) and the
    /// values; texts as their lengths, then all of them. Little endian.
    pub fn pack(&self) -> Vec<u8> {
        let n = self.boxes.len();
        let mut out = Vec::with_capacity(5 + n * 24);
        out.push(PACKED);
        out.extend((n as u32).to_le_bytes());
        self.boxes.iter().flatten().for_each(|v| out.extend(v.to_le_bytes()));
        self.classes.iter().for_each(|v| out.extend(v.to_le_bytes()));
        for values in &self.attributes {
            let at = out.len();
            out.resize(at + n.div_ceil(8), 0);
            for (i, value) in values.iter().enumerate().filter(|(_, value)| value.is_null()) {
                let _ = value;
                out[at + i / 8] |= 1 << (i % 8);
            }
            let texts = values.iter().any(|value| matches!(value, Value::Text(_)));
            for value in values {
                match value {
                    Value::Int(v) => out.extend(v.to_le_bytes()),
                    Value::Float(v) => out.extend(v.to_le_bytes()),
                    Value::Text(v) => out.extend((v.len() as u64).to_le_bytes()),
                    Value::Null | Value::Bool(_) => out.extend([0; 8]),
                }
            }
            if texts {
                values.iter().for_each(|value| {
                    if let Value::Text(text) = value {
                        out.extend(text.bytes())
                    }
                });
            }
        }
        out
    }

    /// What [`Objects::pack`] made, of a column of this type.
    ///
    /// # Errors
    /// What is wrong with the bytes: they are of another type, of a later form, or damaged.
    pub fn unpack(bytes: &[u8], of: &ObjectsType) -> Result<Objects, String> {
        let mut bytes = Reader(bytes);
        match bytes.take(1)? {
            [PACKED] => {}
            other => return Err(format!("objects of form {}: use a newer feedstock", other[0])),
        }
        let n = u32::from_le_bytes(bytes.array()?) as usize;
        // Before anything is made of a count that may be any number.
        if bytes.0.len() / 24 < n {
            return Err(CUT.into());
        }
        let mut objects = Objects { boxes: Vec::with_capacity(n), ..Objects::default() };
        for _ in 0..n {
            let mut corners = [0f32; 4];
            for v in &mut corners {
                *v = f32::from_le_bytes(bytes.array()?);
            }
            objects.boxes.push(corners);
        }
        for _ in 0..n {
            objects.classes.push(i64::from_le_bytes(bytes.array()?));
        }
        for attribute in &of.attributes {
            let absent = bytes.take(n.div_ceil(8))?;
            let numbers = bytes.take(n.checked_mul(8).ok_or(CUT)?)?.as_chunks::<8>().0;
            let mut values = Vec::with_capacity(n);
            for (i, number) in numbers.iter().enumerate() {
                values.push(match attribute.kind {
                    _ if absent[i / 8] & (1 << (i % 8)) != 0 => Value::Null,
                    AttributeKind::Int => Value::Int(i64::from_le_bytes(*number)),
                    AttributeKind::Float => Value::Float(f64::from_le_bytes(*number)),
                    AttributeKind::Text => {
                        let length = usize::try_from(u64::from_le_bytes(*number)).map_err(|e| e.to_string())?;
                        let text = std::str::from_utf8(bytes.take(length)?).map_err(|e| e.to_string())?;
                        Value::Text(text.to_owned())
                    }
                });
            }
            objects.attributes.push(values);
        }
        if bytes.0.is_empty() { Ok(objects) } else { Err("packed objects with bytes behind them".into()) }
    }

    /// How many a packed row has, without unpacking it; 0 for what is none.
    pub fn count(bytes: &[u8]) -> u32 {
        bytes.get(1..5).and_then(|n| n.try_into().ok()).map_or(0, u32::from_le_bytes)
    }
}

/// The form of packed objects.
const PACKED: u8 = 1;
const CUT: &str = "packed objects that are cut off";

struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, n: usize) -> Result<&'a [u8], String> {
        let (head, rest) = self.0.split_at_checked(n).ok_or(CUT)?;
        self.0 = rest;
        Ok(head)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], String> {
        self.take(N)?.try_into().map_err(|_| CUT.to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::{Key, Stream};

    fn of(kinds: &[AttributeKind]) -> ObjectsType {
        let attributes = kinds.iter().enumerate().map(|(i, kind)| Attribute::new(format!("a{i}"), *kind)).collect();
        let names = (0..9).map(|n| n.to_string()).collect();
        ObjectsType { names, attributes, ..ObjectsType::new(BoxFormat::Xywh) }
    }

    /// Objects of any type, by chance.
    fn drawn(stream: &mut Stream) -> (ObjectsType, Objects) {
        use AttributeKind::{Float, Int, Text};
        let kinds: Vec<AttributeKind> =
            (0..stream.below(4)).map(|_| [Int, Float, Text][stream.below(3) as usize]).collect();
        let n = stream.below(20) as usize;
        let mut value = |kind: AttributeKind| match (stream.below(4), kind) {
            (0, _) => Value::Null,
            (_, Int) => Value::Int(stream.below(u64::MAX) as i64),
            (_, Float) => Value::Float(stream.below(1 << 40) as f64 / 7.0 - 1e9),
            (_, Text) => Value::Text("aü\u{1f411}".chars().cycle().take(stream.below(6) as usize).collect()),
        };
        let attributes = kinds.iter().map(|kind| (0..n).map(|_| value(*kind)).collect()).collect();
        let boxes = (0..n).map(|_| std::array::from_fn(|_| stream.below(1 << 20) as f32 / 3.0 - 1e5)).collect();
        let classes = (0..n).map(|_| stream.below(10) as i64 - 1).collect();
        (of(&kinds), Objects { boxes, classes, attributes })
    }

    #[test]
    fn what_is_packed_comes_back() {
        let mut stream = Key::new(5).stream();
        for _ in 0..500 {
            let (of, objects) = drawn(&mut stream);
            assert_eq!(objects.fit(&of), Ok(()));
            let packed = objects.pack();
            assert_eq!(Objects::unpack(&packed, &of), Ok(objects.clone()));
            assert_eq!(Objects::count(&packed) as usize, objects.len());
            let cut = stream.below(packed.len() as u64) as usize;
            assert!(Objects::unpack(&packed[..cut], &of).is_err());
            // Another byte is another row or an error, never a panic or more memory than there are bytes.
            let mut other = packed;
            let at = stream.below(other.len() as u64) as usize;
            other[at] ^= 1 + stream.below(255) as u8;
            if let Ok(read) = Objects::unpack(&other, &of) {
                assert_eq!(read.len(), Objects::count(&other) as usize);
            }
        }
    }

    #[test]
    fn boxes_become_corners() {
        assert_eq!(BoxFormat::Xyxy.xyxy([1.0, 2.0, 3.0, 5.0], 9, 9), [1.0, 2.0, 3.0, 5.0]);
        assert_eq!(BoxFormat::Xywh.xyxy([1.0, 2.0, 3.0, 5.0], 9, 9), [1.0, 2.0, 4.0, 7.0]);
        assert_eq!(BoxFormat::CxcywhNormalized.xyxy([0.5, 0.25, 1.0, 0.5], 640, 480), [0.0, 0.0, 640.0, 240.0]);
    }

    #[test]
    fn what_does_not_fit_is_said() {
        let of = of(&[AttributeKind::Int]);
        let good = Objects { boxes: vec![[0.0; 4]], classes: vec![8], attributes: vec![vec![Value::Int(1)]] };
        assert_eq!(good.fit(&of), Ok(()));
        for (bad, why) in [
            (Objects { classes: vec![9], ..good.clone() }, "class 9 of 9"),
            (Objects { classes: vec![-2], ..good.clone() }, "class -2"),
            (Objects { classes: vec![], ..good.clone() }, "0 classes"),
            (Objects { boxes: vec![[0.0, f32::NAN, 1.0, 1.0]], ..good.clone() }, "object 0"),
            (Objects { attributes: vec![], ..good.clone() }, "0 of 1 attributes"),
            (Objects { attributes: vec![vec![Value::Float(1.0)]], ..good.clone() }, "\"a0\""),
        ] {
            let said = bad.fit(&of).unwrap_err();
            assert!(said.contains(why), "{said}");
        }
        assert!(ObjectsType { names: vec!["a".into(), "a".into()], ..of.clone() }.validate("o").is_err());
        assert!(
            ObjectsType { attributes: vec![Attribute::new("bbox", AttributeKind::Int)], ..of }.validate("o").is_err()
        );
    }
}
