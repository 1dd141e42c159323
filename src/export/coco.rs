//! COCO: `annotations/instances_SPLIT.json` (`person_keypoints_` with keypoints, `captions_` for captions), beside pictures under their ids.
//!
//! Follows the format of the COCO challenges (cocodataset.org, "Data format").

use std::collections::BTreeMap;

use serde_json::value::RawValue;
use serde_json::{Map, Value as Json, json};

use super::asked::{odd_splits, short};
use super::row::number;
use super::{Asked, ExportFormat, Folder, Outgoing, Writer};
use crate::data::feature::Feature;
use crate::data::label::{Objects, Value};
use crate::data::objects::{BoxFormat, ObjectsType};
use crate::error::{Error, Result};
use crate::spool::{Spill, Spool};

pub(super) const FORMAT: ExportFormat = ExportFormat {
    name: "coco",
    summary: "COCO: annotations/instances_SPLIT.json with boxes, segmentations, keypoints; captions; pictures under their ids",
    make,
};

/// What the export says of an object itself: attributes that are called so are not.
const OWN: [&str; 4] = ["id", "image_id", "category_id", "bbox"];

struct Coco {
    objects: Option<(usize, ObjectsType)>,
    segmentation: Option<usize>,
    keypoints: Option<usize>,
    captions: Option<usize>,
    /// The column of the pictures' ids, if each row has one and no two the same in a split.
    image_id: Option<usize>,
    /// The attribute with the annotations' ids, if each has one and no two the same in a split.
    id: Option<usize>,
    categories: Vec<Json>,
    files: BTreeMap<String, Lists>,
    next: i64,
    bare: u64,
    spill: Spill,
    notes: Vec<String>,
}

/// What a file has so far.
struct Lists {
    images: Spool,
    annotations: Spool,
    captions: Spool,
}

fn make(asked: &Asked<'_>) -> Result<Box<dyn Writer>> {
    asked.pictures("coco")?;
    let captions = asked.text("captions");
    let objects = asked.objects.map(|(at, of)| (at, of.clone()));
    if objects.is_none() && captions.is_none() {
        asked.objects("coco")?;
    }
    let is_int = |at: &usize| matches!(asked.dataset.schema().columns[*at].feature, Feature::Int);
    let (segmentation, keypoints) = (asked.text("segmentation"), asked.text("keypoints"));
    let image_id = asked.column("image_id").filter(is_int).filter(|at| {
        differ(asked, |row| match row.value(*at) {
            Value::Int(id) => Some(vec![id]),
            _ => None,
        })
    });
    let id = asked.objects.and_then(|(column, of)| {
        let at = of.attributes.iter().position(|attribute| attribute.name == "id")?;
        let ids = |row: &crate::data::index::Row<'_>| {
            let objects = row.objects(column, of).ok()?;
            let ids = objects.iter().flat_map(|objects| objects.attributes.get(at)).flatten();
            ids.map(|id| if let Value::Int(id) = id { Some(*id) } else { None }).collect()
        };
        differ(asked, ids).then_some(at)
    });
    let known = objects.as_ref().map_or(&[][..], |(_, of)| of.names.as_slice());
    let mut used: Vec<&Json> = Vec::new();
    let details = objects.as_ref().map(|(_, of)| &of.details);
    let told = |name: &String| details.and_then(|details| details.get(name));
    let mut categories = Vec::new();
    // The ids of the source, where every class has one of its own.
    let own = known.iter().all(|name| {
        let id = told(name).and_then(|said| said.get("id")).filter(|id| !used.contains(id));
        used.extend(id);
        id.is_some()
    });
    for (at, name) in known.iter().enumerate() {
        let mut said = Map::new();
        let details = told(name).and_then(Json::as_object);
        let id = details.and_then(|said| said.get("id")).filter(|_| own).cloned().unwrap_or(json!(at + 1));
        said.insert("id".into(), id);
        said.insert("name".into(), name.as_str().into());
        // In an order that does not hang on how they came.
        let rest: BTreeMap<&String, &Json> = details.into_iter().flatten().filter(|(key, _)| *key != "id").collect();
        rest.into_iter().for_each(|(key, of)| drop(said.insert(key.clone(), of.clone())));
        categories.push(said.into());
    }
    let said: Vec<usize> = [Some(asked.media), objects.as_ref().map(|(at, _)| *at), segmentation, keypoints, captions]
        .into_iter()
        .flatten()
        .chain(image_id)
        .collect();
    let notes = asked.unsaid(&said).into_iter().chain(odd_splits(&asked.splits)).collect();
    let (files, spill) = (BTreeMap::new(), asked.spill.clone());
    Ok(Box::new(Coco {
        objects,
        segmentation,
        keypoints,
        captions,
        image_id,
        id,
        categories,
        files,
        next: 0,
        bare: 0,
        spill,
        notes,
    }))
}

/// Whether every row has these numbers, and no two are the same.
fn differ(asked: &Asked<'_>, of: impl Fn(&crate::data::index::Row<'_>) -> Option<Vec<i64>>) -> bool {
    asked.splits.iter().all(|split| {
        let mut all = Vec::new();
        for number in asked.dataset.index().ranges(Some(split)).into_iter().flatten() {
            match of(&asked.dataset.index().row(number)) {
                Some(ids) => all.extend(ids),
                None => return false,
            }
        }
        let count = all.len();
        all.sort_unstable();
        all.dedup();
        all.len() == count
    })
}

/// Boxes as corner and size in pixels. Those that are so already keep their numbers.
pub(super) fn xywh(objects: &Objects, format: BoxFormat, width: u32, height: u32) -> Vec<[f32; 4]> {
    let of = |corners: [f32; 4]| {
        let [x0, y0, x1, y1] = corners.map(f64::from);
        [x0 as f32, y0 as f32, (x1 - x0) as f32, (y1 - y0) as f32]
    };
    match format {
        BoxFormat::Xywh => objects.boxes.clone(),
        _ => objects.xyxy(format, width, height).map(of).collect(),
    }
}

/// Appends an entry to a list.
fn push(list: &mut Spool, entry: &Json) -> Result<()> {
    if !list.is_empty() {
        list.push(b",\n")?;
    }
    list.push(&serde_json::to_vec(entry).map_err(|e| Error::library("writing JSON", e))?)
}

impl Coco {
    /// How files of objects are called.
    fn kind(&self) -> &'static str {
        if self.keypoints.is_some() { "person_keypoints" } else { "instances" }
    }

    fn id(&mut self) -> i64 {
        self.next += 1;
        self.next
    }
}

impl Writer for Coco {
    fn place(&mut self, row: &Outgoing<'_>) -> std::result::Result<String, String> {
        if let Some((_, of)) = &self.objects {
            row.has_classes(of)?;
        }
        Ok(row.name.clone())
    }

    fn at_the_end(&self, splits: &[String]) -> Vec<String> {
        let of =
            |kind: &'static str| splits.iter().map(move |split| format!("annotations/{kind}_{}.json", short(split)));
        of(self.kind()).chain(of("captions")).collect()
    }

    fn row(&mut self, row: &mut Outgoing<'_>, path: &str, _: &mut Folder) -> Result<()> {
        let captions = match self.captions {
            Some(column) => row.text(column)?,
            None => None,
        };
        let objects = row.objects.take();
        if objects.is_none() && self.objects.is_some() && captions.is_none() {
            self.bare += 1;
            return Ok(());
        }
        let image = match self.image_id.map(|at| row.entry.value(at)) {
            Some(Value::Int(id)) => id,
            _ => i64::try_from(row.number).unwrap_or(i64::MAX).saturating_add(1),
        };
        let [width, height] = row.size;
        let segmentations = row.of_objects(self.segmentation)?;
        let keypoints = row.of_objects(self.keypoints)?;
        let mut annotations = Vec::new();
        if let (Some(objects), Some((_, of))) = (&objects, self.objects.clone()) {
            let boxes = xywh(objects, of.boxes, width, height);
            for (at, (bbox, class)) in boxes.into_iter().zip(&objects.classes).enumerate() {
                let mut said = Map::new();
                let own = self.id.and_then(|id| objects.attributes.get(id)?.get(at));
                let id = if let Some(Value::Int(id)) = own { *id } else { self.id() };
                said.insert("id".into(), id.into());
                said.insert("image_id".into(), image.into());
                let class = usize::try_from(*class).ok().and_then(|class| self.categories.get(class));
                said.insert("category_id".into(), class.map_or(Json::Null, |class| class["id"].clone()));
                let raw = |v: f32| number(v).parse::<serde_json::Number>().map_or(Json::Null, Json::Number);
                said.insert("bbox".into(), bbox.map(raw).to_vec().into());
                for (attribute, values) in of.attributes.iter().zip(&objects.attributes) {
                    let null = values.get(at).is_none_or(Value::is_null);
                    if !OWN.contains(&attribute.name.as_str()) && !null {
                        said.insert(attribute.name.clone(), values[at].json());
                    }
                }
                // The format asks for them, and pycocotools measures nothing without.
                let area = f64::from(bbox[2]) * f64::from(bbox[3]);
                said.entry("area").or_insert_with(|| area.into());
                said.entry("iscrowd").or_insert_with(|| 0.into());
                for (name, all) in [("segmentation", &segmentations), ("keypoints", &keypoints)] {
                    let raw = all.as_ref().and_then(|all| all.get(at)).map(|raw| RawValue::get(raw));
                    if let Some(raw) = raw.filter(|raw| *raw != "null") {
                        let of = serde_json::from_str(raw).map_err(|e| Error::library("reading JSON", e))?;
                        said.insert(name.into(), of);
                    }
                }
                if let Some(points) = said.get("keypoints").and_then(Json::as_array) {
                    // COCO counts those that are labelled: of three numbers each the last is 1 or 2.
                    let seen = points.iter().skip(2).step_by(3).filter(|v| v.as_f64().is_some_and(|v| v > 0.0)).count();
                    said.insert("num_keypoints".into(), seen.into());
                }
                annotations.push(Json::from(said));
            }
        }
        // A text that is no list is one caption.
        let captions: Vec<String> =
            captions.map_or_else(Vec::new, |text| serde_json::from_str(&text).unwrap_or_else(|_| vec![text]));
        let captions: Vec<Json> = captions
            .into_iter()
            .map(|caption| json!({"id": self.id(), "image_id": image, "caption": caption}))
            .collect();
        let spool = || Spool::new(&self.spill);
        let file = self.files.entry(row.split.to_owned()).or_insert_with(|| Lists {
            images: spool(),
            annotations: spool(),
            captions: spool(),
        });
        push(&mut file.images, &json!({"id": image, "file_name": path, "width": width, "height": height}))?;
        annotations.iter().try_for_each(|annotation| push(&mut file.annotations, annotation))?;
        captions.iter().try_for_each(|caption| push(&mut file.captions, caption))
    }

    fn finish(mut self: Box<Self>, folder: &mut Folder) -> Result<Vec<String>> {
        let categories = serde_json::to_vec(&self.categories).map_err(|e| Error::library("writing JSON", e))?;
        let kind = self.kind();
        for (split, lists) in std::mem::take(&mut self.files) {
            let (images, annotations, captions) =
                (lists.images.finish()?, lists.annotations.finish()?, lists.captions.finish()?);
            let put = |kind: &str, annotations: &[u8], categories: &[u8]| {
                let parts: [&[u8]; 7] = [
                    b"{\"images\": [",
                    &images,
                    b"],\n\"annotations\": [",
                    annotations,
                    b"],\n\"categories\": ",
                    categories,
                    b"}\n",
                ];
                folder.put(&format!("annotations/{kind}_{}.json", short(&split)), &parts)
            };
            if self.objects.is_some() {
                put(kind, &annotations, &categories)?;
            }
            if self.captions.is_some() {
                put("captions", &captions, b"[]")?;
            }
        }
        if self.bare > 0 {
            let what = "pictures are not annotated: they are there, and in no file of annotations";
            self.notes.push(format!("{} {what}", self.bare));
        }
        Ok(self.notes)
    }
}
