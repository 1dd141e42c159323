//! One annotation file of Pascal VOC.
//!
//! Follows the development kit of the VOC challenges (`annotation/object/{name,pose,truncated,occluded,difficult,bndbox}`,
//! `VOCdevkit/VOCcode/PASreadrecord.m`), whose order and completeness tools do not keep: elements are found by name, and what may be
//! absent is null. A DTD, and so an entity of one, is refused.

use roxmltree::{Document, Node, ParsingOptions};

use crate::data::label::{Objects, Value};
use crate::data::objects::{Attribute, AttributeKind};
use crate::error::{Fault, Reason};
use crate::source::labels::Names;

/// Elements and texts of an annotation at the most: some hundred thousand objects.
const NODES: u32 = 4_000_000;

/// What an annotation file says.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Annotation {
    /// The picture that it names.
    pub filename: Option<String>,
    /// The names of the classes of its objects.
    pub names: Names,
    /// Its objects, xyxy with exclusive edges on the right and below.
    pub objects: Objects,
    /// Parts of objects (a head, a hand), which are no objects.
    pub parts: u64,
    /// Boxes with a coordinate of 0, where the first pixel should be 1.
    pub zeros: u64,
}

/// The attributes of VOC's objects.
pub(super) fn attributes() -> Vec<Attribute> {
    let int = |name: &str| Attribute::new(name, AttributeKind::Int);
    vec![Attribute::new("pose", AttributeKind::Text), int("truncated"), int("occluded"), int("difficult")]
}

/// Reads an annotation. `origin` is the coordinate of the first pixel: 1, unless a tool did otherwise.
pub(super) fn read(bytes: &[u8], origin: u8) -> Result<Annotation, Fault> {
    let text = std::str::from_utf8(bytes)
        .map_err(|e| Fault::new(Reason::InvalidUtf8, format!("the annotation is not UTF-8: {e}")))?;
    let corrupt = |e: roxmltree::Error| match e {
        roxmltree::Error::DtdDetected => Fault::new(Reason::BadLabel, "the annotation has a DTD, which is not read"),
        e => Fault::new(Reason::BadLabel, format!("the annotation is not XML: {e}")),
    };
    let options = ParsingOptions { nodes_limit: NODES, ..ParsingOptions::default() };
    let document = Document::parse_with_options(text.trim_start_matches('\u{feff}'), options).map_err(corrupt)?;
    let root = document.root_element();
    if root.tag_name().name() != "annotation" {
        let what = format!("the annotation begins with <{}>, not <annotation>", root.tag_name().name());
        return Err(Fault::new(Reason::BadLabel, what));
    }
    let mut annotation = Annotation { filename: text_of(root, "filename"), ..Annotation::default() };
    annotation.objects.attributes = vec![Vec::new(); attributes().len()];
    for (number, object) in children(root, "object").enumerate() {
        let told = |fault: Fault| {
            let line = document.text_pos_at(object.range().start).row;
            Fault::new(fault.reason, format!("object {} (line {line}): {}", number + 1, fault.message))
        };
        annotation.add(object, origin).map_err(told)?;
    }
    Ok(annotation)
}

impl Annotation {
    fn add(&mut self, object: Node<'_, '_>, origin: u8) -> Result<(), Fault> {
        let bad = |what: String| Fault::new(Reason::BadLabel, what);
        let name = text_of(object, "name").ok_or_else(|| bad("it has no name".into()))?;
        let Some(bounds) = children(object, "bndbox").next() else {
            return Err(match children(object, "robndbox").next() {
                Some(_) => Fault::new(Reason::Unsupported, "a rotated box (robndbox)"),
                None => bad("it has no bndbox".into()),
            });
        };
        let mut corners = [0f64; 4];
        for (corner, edge) in corners.iter_mut().zip(["xmin", "ymin", "xmax", "ymax"]) {
            let text = text_of(bounds, edge).ok_or_else(|| bad(format!("its bndbox has no {edge}")))?;
            let number = text.parse::<f64>().ok().filter(|v| v.is_finite());
            *corner = number.ok_or_else(|| bad(format!("its {edge} is {text:?}")))?;
        }
        self.zeros += u64::from(corners[0] == 0.0 || corners[1] == 0.0);
        let [x0, y0, x1, y1] = corners;
        // Counted from 1, the last pixel belongs to the box, and its number is that of its far edge. Tools that count from 0 write corners.
        let first = f64::from(origin);
        self.objects.boxes.push([x0 - first, y0 - first, x1, y1].map(|v| v as f32));
        self.objects.classes.push(self.names.place(&name));
        for (values, attribute) in self.objects.attributes.iter_mut().zip(attributes()) {
            let text = text_of(object, &attribute.name);
            values.push(match (attribute.kind, text) {
                (_, None) => Value::Null,
                (AttributeKind::Text, Some(text)) => Value::Text(text),
                (_, Some(text)) => match text.parse() {
                    Ok(value) => Value::Int(value),
                    Err(_) => return Err(bad(format!("its {} is {text:?}, not a number", attribute.name))),
                },
            });
        }
        self.parts += children(object, "part").count() as u64;
        Ok(())
    }
}

fn children<'a, 'i>(node: Node<'a, 'i>, name: &'a str) -> impl Iterator<Item = Node<'a, 'i>> {
    node.children().filter(move |child| child.has_tag_name(name))
}

/// The text of a child, trimmed; none if there is no such child or nothing in it.
fn text_of(node: Node<'_, '_>, name: &str) -> Option<String> {
    let text = children(node, name).next()?.text()?.trim();
    (!text.is_empty()).then(|| text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn object(inside: &str) -> Result<Annotation, Fault> {
        read(format!("<annotation><object>{inside}</object></annotation>").as_bytes(), 1)
    }

    const BOX: &str = "<bndbox><xmin>1</xmin><ymin>2</ymin><xmax>1</xmax><ymax>4</ymax></bndbox>";

    #[test]
    fn elements_are_found_by_name_and_may_be_absent() {
        let one = object(&format!("<difficult> 1 </difficult>{BOX}<name>a &amp; b</name>")).unwrap();
        assert_eq!((one.names.into_list(), one.filename), (vec!["a & b".to_owned()], None));
        // One pixel wide, three high.
        assert_eq!(one.objects.boxes, [[0.0, 1.0, 1.0, 4.0]]);
        assert_eq!(
            one.objects.attributes,
            [vec![Value::Null], vec![Value::Null], vec![Value::Null], vec![Value::Int(1)]]
        );
        assert_eq!(read(b"\xef\xbb\xbf<?xml version='1.0'?><annotation/>", 1).unwrap().objects.len(), 0);
    }

    #[test]
    fn the_first_pixel_may_be_zero_and_coordinates_fractions() {
        let text = "<annotation><object><name>a</name><bndbox><ymax>4.5</ymax><xmin>0</xmin><xmax>2.25</xmax><ymin>1e0</ymin>\
            </bndbox><part><name>head</name></part></object></annotation>";
        let (one, zero) = (read(text.as_bytes(), 1).unwrap(), read(text.as_bytes(), 0).unwrap());
        assert_eq!(one.objects.boxes, [[-1.0, 0.0, 2.25, 4.5]]);
        assert_eq!(zero.objects.boxes, [[0.0, 1.0, 2.25, 4.5]]);
        assert_eq!((one.zeros, one.parts, one.objects.len()), (1, 1, 1));
    }

    #[test]
    fn what_is_wrong_is_said_with_its_object() {
        let name = "<name>a</name>";
        let bounds = |x: &str| format!("{name}{}", BOX.replace("<xmin>1<", &format!("<xmin>{x}<")));
        for (inside, reason, said) in [
            (BOX.to_owned(), Reason::BadLabel, "object 1 (line 1): it has no name"),
            (name.to_owned(), Reason::BadLabel, "no bndbox"),
            (format!("{name}<robndbox/>"), Reason::Unsupported, "rotated"),
            (bounds("x"), Reason::BadLabel, "xmin is \"x\""),
            (bounds("NaN"), Reason::BadLabel, "NaN"),
            (bounds("inf"), Reason::BadLabel, "inf"),
            (bounds(""), Reason::BadLabel, "no xmin"),
            (format!("{name}{BOX}<truncated>maybe</truncated>"), Reason::BadLabel, "maybe"),
        ] {
            let fault = object(&inside).unwrap_err();
            assert!(fault.reason == reason && fault.message.contains(said), "{inside}: {fault}");
        }
        let entities =
            "<!DOCTYPE a [<!ENTITY b SYSTEM \"file:///etc/passwd\">]><annotation><filename>&b;</filename></annotation>";
        for (bytes, reason, said) in [
            (entities.as_bytes(), Reason::BadLabel, "DTD"),
            (b"<annotation><object>", Reason::BadLabel, "not XML"),
            (b"", Reason::BadLabel, "not XML"),
            (b"<html/>", Reason::BadLabel, "<html>"),
            (b"<annotation>\xff</annotation>", Reason::InvalidUtf8, "UTF-8"),
        ] {
            let fault = read(bytes, 1).unwrap_err();
            assert!(fault.reason == reason && fault.message.contains(said), "{fault}");
        }
        let deep = "<a>".repeat(1 << 18);
        assert!(read(deep.as_bytes(), 1).is_err(), "no stack is as deep as a file may say");
    }
}
