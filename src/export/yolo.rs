//! YOLO: `images/`, a file of labels for each picture in `labels/`, and `data.yaml` with lists of the splits, as Ultralytics reads it.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use serde_json::Value as Json;

use super::asked::{no_place, odd_splits, short};
use super::row::number;
use super::{Asked, ExportFormat, Folder, Outgoing, Writer};
use crate::data::objects::{BoxFormat, ObjectsType};
use crate::error::{Error, Result};

pub(super) const FORMAT: ExportFormat = ExportFormat {
    name: "yolo",
    summary: "YOLO: images/, labels/*.txt, data.yaml with lists of the splits (boxes, polygons, poses)",
    make,
};

struct Yolo {
    of: ObjectsType,
    /// Columns of what stands in place of a box, or behind it, in parts of the picture's sides.
    polygons: Option<usize>,
    keypoints: Option<usize>,
    /// That have rows.
    splits: BTreeSet<String>,
    bare: u64,
    cut: u64,
    notes: Vec<String>,
}

fn make(asked: &Asked<'_>) -> Result<Box<dyn Writer>> {
    asked.pictures("yolo")?;
    let (column, of) = asked.objects("yolo")?;
    // Keypoints of COCO are in pixels, and their number hangs on the class.
    let has_shape = of.details.values().any(|said| said.get("kpt_shape").is_some());
    let keypoints = asked.text("keypoints").filter(|_| has_shape);
    let polygons = asked.text("polygons").filter(|_| of.boxes == BoxFormat::CxcywhNormalized);
    let said: Vec<usize> = [Some(asked.media), Some(column), polygons, keypoints].into_iter().flatten().collect();
    let mut notes: Vec<String> = asked.unsaid(&said).into_iter().chain(odd_splits(&asked.splits)).collect();
    let attributes: Vec<&str> = of.attributes.iter().map(|a| a.name.as_str()).collect();
    notes.extend(no_place("left out of the objects", &attributes));
    let splits = BTreeSet::new();
    Ok(Box::new(Yolo { of: of.clone(), polygons, keypoints, splits, bare: 0, cut: 0, notes }))
}

/// The numbers of a JSON list, or of the first list in it.
fn numbers(json: &Json) -> Vec<f64> {
    let list = json.as_array().map_or(&[][..], Vec::as_slice);
    match list.first() {
        Some(Json::Array(first)) => first.iter().filter_map(Json::as_f64).collect(),
        _ => list.iter().filter_map(Json::as_f64).collect(),
    }
}

/// Centre and size, as parts of the picture's; and how many boxes were cut to the picture: readers refuse files with coordinates beyond it.
fn centred(row: &Outgoing<'_>, of: &ObjectsType) -> (Vec<[f32; 4]>, u64) {
    let Some(objects) = &row.objects else { return (Vec::new(), 0) };
    if of.boxes == BoxFormat::CxcywhNormalized {
        return (objects.boxes.clone(), 0);
    }
    let [width, height] = row.size;
    let (w, h) = (f64::from(width.max(1)), f64::from(height.max(1)));
    let mut cut = 0;
    let mut all = Vec::with_capacity(objects.len());
    for corners in objects.xyxy(of.boxes, width, height) {
        let told = corners.map(f64::from);
        let [x0, y0, x1, y1] =
            [(told[0], w), (told[1], h), (told[2], w), (told[3], h)].map(|(v, most)| v.clamp(0.0, most));
        cut += u64::from([x0, y0, x1, y1] != told);
        all.push([(x0 + x1) / 2.0 / w, (y0 + y1) / 2.0 / h, (x1 - x0) / w, (y1 - y0) / h].map(|v| v as f32));
    }
    (all, cut)
}

/// The list of a split.
fn list(split: &str) -> String {
    format!("{}.txt", short(split))
}

/// Where the labels of a picture are.
fn labels(path: &str) -> String {
    // The last folder of that name, as readers replace it.
    let parts: Vec<&str> = path.split('/').collect();
    let images = parts.iter().rposition(|part| *part == "images").unwrap_or(0);
    let labels: Vec<&str> =
        parts.iter().enumerate().map(|(at, part)| if at == images { "labels" } else { part }).collect();
    let labels = labels.join("/");
    let stem = labels.rsplit_once('.').map_or(labels.as_str(), |(stem, _)| stem);
    format!("{stem}.txt")
}

/// A value as YAML: JSON is YAML, with rules of quoting of its own, but that YAML has characters that end lines or may not stand in it (YAML 1.1, 5.1 and 5.4).
fn told(value: &Json) -> String {
    let json = value.to_string();
    let mut out = String::with_capacity(json.len());
    for c in json.chars() {
        match c {
            '\u{7f}'..='\u{a0}' | '\u{2028}' | '\u{2029}' | '\u{feff}' | '\u{fffe}' | '\u{ffff}' => {
                let _ = write!(out, "\\u{:04x}", u32::from(c));
            }
            c => out.push(c),
        }
    }
    out
}

impl Writer for Yolo {
    fn place(&mut self, row: &Outgoing<'_>) -> std::result::Result<String, String> {
        row.has_classes(&self.of)?;
        let id = row.name.as_str();
        // Darknet's readers replace this folder, too: a path with both would have two places for its labels.
        let parts: Vec<&str> = id.split('/').map(|part| if part == "JPEGImages" { "images" } else { part }).collect();
        let lies = parts[..parts.len() - 1].contains(&"images");
        let path = parts.join("/");
        Ok(if lies { path } else { format!("images/{path}") })
    }

    fn beside(&self, path: &str) -> Vec<String> {
        vec![labels(path)]
    }

    fn at_the_end(&self, splits: &[String]) -> Vec<String> {
        splits.iter().map(|split| list(split)).chain(["data.yaml".to_owned()]).collect()
    }

    fn row(&mut self, row: &mut Outgoing<'_>, path: &str, folder: &mut Folder) -> Result<()> {
        if !self.splits.contains(row.split) {
            self.splits.insert(row.split.to_owned());
        }
        folder.append(&list(row.split), &[b"./", path.as_bytes(), b"\n"])?;
        let (polygons, keypoints) = (row.of_objects(self.polygons)?, row.of_objects(self.keypoints)?);
        let Some(objects) = &row.objects else {
            self.bare += 1;
            return Ok(());
        };
        let read = |all: &Option<Vec<Box<serde_json::value::RawValue>>>, at: usize| -> Result<Vec<f64>> {
            let Some(raw) = all.as_ref().and_then(|all| all.get(at)) else { return Ok(Vec::new()) };
            let json: Json = serde_json::from_str(raw.get()).map_err(|e| Error::library("reading JSON", e))?;
            Ok(numbers(&json))
        };
        let mut text = String::new();
        let (boxes, cut) = centred(row, &self.of);
        self.cut += cut;
        for (at, (bounds, class)) in boxes.into_iter().zip(&objects.classes).enumerate() {
            let (polygon, points) = (read(&polygons, at)?, read(&keypoints, at)?);
            let _ = write!(text, "{class}");
            if polygon.is_empty() {
                bounds.iter().for_each(|v| text.extend([" ", &number(*v)]));
            }
            polygon.iter().chain(&points).for_each(|v| text.extend([" ", &v.to_string()]));
            text.push('\n');
        }
        folder.put(&labels(path), &[text.as_bytes()])
    }

    fn finish(mut self: Box<Self>, folder: &mut Folder) -> Result<Vec<String>> {
        let mut yaml = String::new();
        for split in
            self.splits.iter().map(|split| short(split)).filter(|split| ["train", "val", "test"].contains(split))
        {
            let _ = writeln!(yaml, "{split}: {split}.txt");
        }
        yaml.push_str("names:\n");
        for (class, name) in self.of.names.iter().enumerate() {
            let _ = writeln!(yaml, "  {class}: {}", told(&name.as_str().into()));
        }
        let first = self.of.names.iter().find_map(|name| self.of.details.get(name));
        for key in ["kpt_shape", "flip_idx"] {
            if let Some(said) = first.and_then(|said| said.get(key)).filter(|_| self.keypoints.is_some()) {
                let _ = writeln!(yaml, "{key}: {}", told(said));
            }
        }
        let named = |name: &String| self.of.details.get(name).and_then(|said| said.get("keypoints")).cloned();
        let points: Vec<(usize, Json)> =
            self.of.names.iter().enumerate().filter_map(|(class, name)| Some((class, named(name)?))).collect();
        if self.keypoints.is_some() && !points.is_empty() {
            yaml.push_str("kpt_names:\n");
            for (class, names) in &points {
                let _ = writeln!(yaml, "  {class}: {}", told(names));
            }
        }
        folder.put("data.yaml", &[yaml.as_bytes()])?;
        if self.bare > 0 {
            self.notes.push(format!(
                "{} pictures are not annotated: YOLO takes them for pictures without objects",
                self.bare
            ));
        }
        if self.cut > 0 {
            self.notes.push(format!("{} boxes go beyond their pictures and were cut to them", self.cut));
        }
        Ok(self.notes)
    }
}
