//! Pascal VOC: `JPEGImages/`, an XML file of each picture in `Annotations/`, and the splits as lists in `ImageSets/Main/`.
//!
//! Follows the development kit of the VOC challenges, which counts pixels from 1 and means the last one, too.

use std::fmt::Write as _;

use super::asked::{no_place, odd_splits, short};
use super::{Asked, ExportFormat, Folder, Outgoing, Writer};
use crate::data::label::Value;
use crate::data::objects::ObjectsType;
use crate::error::Result;
use crate::xml::escaped;

pub(super) const FORMAT: ExportFormat =
    ExportFormat { name: "voc", summary: "Pascal VOC: JPEGImages/, Annotations/*.xml, ImageSets/Main/SPLIT.txt", make };

/// Folders of pictures in whose place one of annotations stands.
const PICTURES: [&str; 2] = ["JPEGImages", "images"];
/// The attributes of an object that VOC has, in its order.
const KNOWN: [&str; 4] = ["pose", "truncated", "occluded", "difficult"];

struct Voc {
    of: ObjectsType,
    notes: Vec<String>,
}

fn make(asked: &Asked<'_>) -> Result<Box<dyn Writer>> {
    asked.pictures("voc")?;
    let (column, of) = asked.objects("voc")?;
    let mut notes: Vec<String> =
        asked.unsaid(&[asked.media, column]).into_iter().chain(odd_splits(&asked.splits)).collect();
    let others: Vec<&str> =
        of.attributes.iter().map(|a| a.name.as_str()).filter(|name| !KNOWN.contains(name)).collect();
    notes.extend(no_place("left out of the objects", &others));
    Ok(Box::new(Voc { of: of.clone(), notes }))
}

/// A far edge, or a near one as VOC counts it, in as few digits as give the corner back.
fn edge(corner: f32, first: f64) -> String {
    let exact = f64::from(corner) + first;
    let back = |text: &str| text.parse::<f64>().is_ok_and(|read| (read - first) as f32 == corner);
    let short = (exact as f32).to_string();
    if back(&short) { short } else { exact.to_string() }
}

/// The list of a split.
fn list(split: &str) -> String {
    format!("ImageSets/Main/{}.txt", short(split))
}

/// A picture's path without the folder of pictures and the ending: by that its annotation is found.
fn stem(path: &str) -> &str {
    let below = path.split_once('/').map_or(path, |(_, below)| below);
    below.rsplit_once('.').map_or(below, |(stem, _)| stem)
}

impl Writer for Voc {
    fn place(&mut self, row: &Outgoing<'_>) -> std::result::Result<String, String> {
        row.has_classes(&self.of)?;
        let id = row.name.as_str();
        let lies = id.split('/').next().is_some_and(|first| PICTURES.contains(&first)) && id.contains('/');
        Ok(if lies { id.to_owned() } else { format!("JPEGImages/{id}") })
    }

    fn beside(&self, path: &str) -> Vec<String> {
        vec![format!("Annotations/{}.xml", stem(path))]
    }

    fn at_the_end(&self, splits: &[String]) -> Vec<String> {
        splits.iter().map(|split| list(split)).collect()
    }

    fn row(&mut self, row: &mut Outgoing<'_>, path: &str, folder: &mut Folder) -> Result<()> {
        let stem = stem(path);
        folder.append(&list(row.split), &[stem.as_bytes(), b"\n"])?;
        let Some(objects) = &row.objects else { return Ok(()) };
        let ([width, height], file) = (row.size, path.rsplit('/').next().unwrap_or(path));
        let mut xml = format!(
            "<annotation>\n  <filename>{}</filename>\n  <size><width>{width}</width><height>{height}</height><depth>3</depth></size>\n",
            escaped(file)
        );
        let corners: Vec<[f32; 4]> = objects.xyxy(self.of.boxes, width, height).collect();
        for (at, ([x0, y0, x1, y1], class)) in corners.into_iter().zip(&objects.classes).enumerate() {
            let name = self.of.class(*class).unwrap_or_default();
            let _ = writeln!(xml, "  <object>\n    <name>{}</name>", escaped(name));
            for known in KNOWN {
                let values =
                    self.of.attributes.iter().position(|a| a.name == known).and_then(|a| objects.attributes.get(a));
                let text = match values.and_then(|values| values.get(at)) {
                    Some(Value::Int(v)) => v.to_string(),
                    Some(Value::Float(v)) => v.to_string(),
                    Some(Value::Text(v)) => escaped(v),
                    _ => continue,
                };
                let _ = writeln!(xml, "    <{known}>{text}</{known}>");
            }
            let edges = [("xmin", x0, 1.0), ("ymin", y0, 1.0), ("xmax", x1, 0.0), ("ymax", y1, 0.0)];
            let edges = edges.map(|(name, corner, first)| format!("<{name}>{}</{name}>", edge(corner, first)));
            let _ = writeln!(xml, "    <bndbox>{}</bndbox>\n  </object>", edges.concat());
        }
        xml.push_str("</annotation>\n");
        folder.put(&format!("Annotations/{stem}.xml"), &[xml.as_bytes()])
    }

    fn finish(self: Box<Self>, _: &mut Folder) -> Result<Vec<String>> {
        Ok(self.notes)
    }
}
