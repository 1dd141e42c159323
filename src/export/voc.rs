//! Pascal VOC: `JPEGImages/`, an XML file of each picture in `Annotations/`, and the splits as lists in `ImageSets/Main/`.
//!
//! Follows the development kit of the VOC challenges, which counts pixels from 1 and means the last one, too.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use super::{Asked, ExportFormat, Folder, Outgoing, Writer, odd_splits, short, unnamed};
use crate::data::label::Value;
use crate::data::objects::ObjectsType;
use crate::error::Result;
use crate::spool::{Spill, Spool};

pub(super) const FORMAT: ExportFormat =
    ExportFormat { name: "voc", summary: "Pascal VOC: JPEGImages/, Annotations/*.xml, ImageSets/Main/SPLIT.txt", make };

/// Folders of pictures in whose place one of annotations stands.
const PICTURES: [&str; 2] = ["JPEGImages", "images"];
/// The attributes of an object that VOC has, in its order.
const KNOWN: [&str; 4] = ["pose", "truncated", "occluded", "difficult"];

struct Voc {
    of: ObjectsType,
    lists: BTreeMap<String, Spool>,
    spill: Spill,
    notes: Vec<String>,
}

fn make(asked: &Asked<'_>) -> Result<Box<dyn Writer>> {
    asked.pictures("voc")?;
    let (column, of) = asked.objects("voc")?;
    let mut notes: Vec<String> =
        asked.unsaid(&[asked.media, column]).into_iter().chain(odd_splits(&asked.splits)).collect();
    let others: Vec<&str> =
        of.attributes.iter().map(|a| a.name.as_str()).filter(|name| !KNOWN.contains(name)).collect();
    if !others.is_empty() {
        notes.push(format!("left out of the objects, as the format has no place for it: {}", others.join(", ")));
    }
    Ok(Box::new(Voc { of: of.clone(), lists: BTreeMap::new(), spill: asked.spill.clone(), notes }))
}

/// Text within an element (XML 1.0, 2.4). Characters that XML cannot have are replaced.
fn escaped(text: &str) -> String {
    let allowed =
        |c: char| matches!(c, '\t' | '\n' | '\r' | ' '..='\u{d7ff}' | '\u{e000}'..='\u{fffd}' | '\u{10000}'..);
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            // Readers make a line feed of one that stands as it is (2.11).
            '\r' => out.push_str("&#13;"),
            c if allowed(c) => out.push(c),
            _ => out.push('\u{fffd}'),
        }
    }
    out
}

/// A far edge, or a near one as VOC counts it, in as few digits as give the corner back.
fn edge(corner: f32, first: f64) -> String {
    let exact = f64::from(corner) + first;
    let back = |text: &str| text.parse::<f64>().is_ok_and(|read| (read - first) as f32 == corner);
    let short = (exact as f32).to_string();
    if back(&short) { short } else { exact.to_string() }
}

/// A picture's path without the folder of pictures and the ending: by that its annotation is found.
fn stem(path: &str) -> &str {
    let below = path.split_once('/').map_or(path, |(_, below)| below);
    below.rsplit_once('.').map_or(below, |(stem, _)| stem)
}

impl Writer for Voc {
    fn place(&mut self, row: &Outgoing<'_>) -> std::result::Result<String, String> {
        unnamed(row.objects.as_ref(), &self.of)?;
        let id = row.name.as_str();
        let lies = id.split('/').next().is_some_and(|first| PICTURES.contains(&first)) && id.contains('/');
        Ok(if lies { id.to_owned() } else { format!("JPEGImages/{id}") })
    }

    fn beside(&self, path: &str) -> Vec<String> {
        vec![format!("Annotations/{}.xml", stem(path))]
    }

    fn at_the_end(&self, splits: &[String]) -> Vec<String> {
        splits.iter().map(|split| format!("ImageSets/Main/{}.txt", short(split))).collect()
    }

    fn row(&mut self, row: &mut Outgoing<'_>, path: &str, folder: &Folder) -> Result<()> {
        let stem = stem(path);
        let list = self.lists.entry(row.split.to_owned()).or_insert_with(|| Spool::new(&self.spill));
        list.push(format!("{stem}\n").as_bytes())?;
        let Some(objects) = &row.objects else { return Ok(()) };
        let ([width, height], file) = (row.size, path.rsplit('/').next().unwrap_or(path));
        let mut xml = format!(
            "<annotation>\n  <filename>{}</filename>\n  <size><width>{width}</width><height>{height}</height><depth>3</depth></size>\n",
            escaped(file)
        );
        let corners: Vec<[f32; 4]> = objects.xyxy(self.of.boxes, width, height).collect();
        for (at, ([x0, y0, x1, y1], class)) in corners.into_iter().zip(&objects.classes).enumerate() {
            let name = usize::try_from(*class).ok().and_then(|class| self.of.names.get(class));
            let _ = writeln!(xml, "  <object>\n    <name>{}</name>", escaped(name.map_or("", String::as_str)));
            for known in KNOWN {
                let values =
                    self.of.attributes.iter().position(|a| a.name == known).and_then(|a| objects.attributes.get(a));
                let text = match values.and_then(|values| values.get(at)) {
                    Some(Value::Int(v)) => v.to_string(),
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

    fn finish(self: Box<Self>, folder: &Folder) -> Result<Vec<String>> {
        for (split, list) in self.lists {
            folder.put(&format!("ImageSets/Main/{}.txt", short(&split)), &[&list.finish()?])?;
        }
        Ok(self.notes)
    }
}
