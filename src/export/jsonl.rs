//! JSON lines: `SPLIT/metadata.jsonl` beside the media, as ImageFolder and AudioFolder of HF `datasets` have it; of texts `SPLIT.jsonl`.

use serde_json::{Map, Value as Json, json};

use super::asked::no_place;
use super::{Asked, ExportFormat, Folder, Outgoing, Writer};
use crate::data::feature::{Column, Feature};
use crate::data::label::Value;
use crate::data::objects::{ObjectsType, short};
use crate::error::{Error, Result};

pub(super) const FORMAT: ExportFormat = ExportFormat {
    name: "jsonl",
    summary: "SPLIT/metadata.jsonl beside the media (ImageFolder, AudioFolder); of texts SPLIT.jsonl",
    make,
};

struct Lines {
    media: usize,
    objects: Option<(usize, ObjectsType)>,
    /// Of the attributes of objects those that some object has: of lists of nothing but nulls pyarrow 26.0.1 cannot read a column.
    told: Vec<bool>,
    columns: Vec<Column>,
    /// What they are called in the lines.
    names: Vec<String>,
    is_text: bool,
    notes: Vec<String>,
}

fn make(asked: &Asked<'_>) -> Result<Box<dyn Writer>> {
    let columns = asked.dataset.schema().columns.clone();
    let tensors: Vec<&str> =
        columns.iter().filter(|c| matches!(c.feature, Feature::Tensor(_))).map(|c| c.name.as_str()).collect();
    let mut notes: Vec<String> = no_place("left out", &tensors).into_iter().collect();
    let mut told = Vec::new();
    if let Some((column, of)) = asked.objects {
        told.resize(of.attributes.len(), false);
        let rows = asked.splits.iter().flat_map(|split| asked.dataset.index().ranges(Some(split))).flatten();
        for number in rows {
            let Ok(Some(objects)) = asked.dataset.index().row(number).objects(column, of) else { continue };
            for (told, values) in told.iter_mut().zip(&objects.attributes) {
                *told |= !values.iter().all(Value::is_null);
            }
        }
        let null: Vec<&str> =
            of.attributes.iter().zip(&told).filter(|(_, told)| !**told).map(|(a, _)| a.name.as_str()).collect();
        if !null.is_empty() {
            notes.push(format!("left out, as no object has it: {}", null.join(", ")));
        }
    }
    let names = keys(&columns, &mut notes);
    Ok(Box::new(Lines {
        names,
        told,
        media: asked.media,
        objects: asked.objects.map(|(at, of)| (at, of.clone())),
        is_text: columns[asked.media].feature == Feature::Text,
        columns,
        notes,
    }))
}

/// The boxes of a row in the numbers of COCO, which is what this form is read with.
fn told(row: &Outgoing<'_>, of: &ObjectsType, which: &[bool]) -> Json {
    let Some(objects) = &row.objects else { return Json::Null };
    let [width, height] = row.size;
    // `datasets` asks that whole numbers and fractions are not one list's and another's.
    let boxes: Vec<[f64; 4]> =
        super::coco::xywh(objects, of.boxes, width, height).into_iter().map(|b| b.map(short)).collect();
    let class = |class: &i64| of.class(*class).map_or(json!(class), |name| json!(name));
    let mut said = Map::new();
    said.insert("bbox".into(), boxes.into());
    said.insert("categories".into(), objects.classes.iter().map(class).collect::<Vec<_>>().into());
    let attributes = of.attributes.iter().zip(&objects.attributes).zip(which);
    for ((attribute, values), _) in attributes.filter(|(_, told)| **told) {
        said.insert(attribute.name.clone(), values.iter().map(Value::json).collect::<Vec<_>>().into());
    }
    said.into()
}

/// The file of a split.
fn list(split: &str, is_text: bool) -> String {
    if is_text { format!("{split}.jsonl") } else { format!("{split}/metadata.jsonl") }
}

/// How the files of another column begin, beside those of a row.
fn path_of(path: &str, column: &str) -> String {
    let stem = path.rsplit_once('.').map_or(path, |(stem, _)| stem);
    // A column may be called by a path, which its file is not.
    if column.is_empty() { format!("{stem}.") } else { format!("{stem}.{}.", column.replace(['/', '\\'], "_")) }
}

/// The keys of columns. `datasets` takes `file_name`, and what ends so, for the paths of files: columns that are none are called otherwise.
fn keys(columns: &[Column], notes: &mut Vec<String>) -> Vec<String> {
    let is_path =
        |name: &str| ["file_name", "file_names"].iter().any(|end| name == *end || name.ends_with(&format!("_{end}")));
    let name = |column: &Column| {
        if column.feature.is_media() || !is_path(&column.name) {
            return column.name.clone();
        }
        let mut name = format!("{}_text", column.name);
        while columns.iter().any(|other| other.name == name) {
            name.push('_');
        }
        notes.push(format!(
            "{:?} is called {name:?}: readers take keys that end in file_name for paths of files",
            column.name
        ));
        name
    };
    columns.iter().map(name).collect()
}

impl Writer for Lines {
    fn place(&mut self, row: &Outgoing<'_>) -> std::result::Result<String, String> {
        let id = row.name.as_str();
        let below = id.strip_prefix(row.split).is_some_and(|rest| rest.starts_with('/'));
        Ok(if below { id.to_owned() } else { format!("{}/{id}", row.split) })
    }

    fn beside(&self, path: &str) -> Vec<String> {
        // Files of other columns are called by the row's and the column.
        let others = || self.columns.iter().enumerate().filter(|(at, c)| *at != self.media && c.feature.is_media());
        let all = std::iter::once(path_of(path, "")).chain(others().map(|(_, c)| path_of(path, &c.name)));
        if others().next().is_some() { all.collect() } else { Vec::new() }
    }

    fn at_the_end(&self, splits: &[String]) -> Vec<String> {
        splits.iter().map(|split| list(split, self.is_text)).collect()
    }

    fn row(&mut self, row: &mut Outgoing<'_>, path: &str, folder: &mut Folder) -> Result<()> {
        let mut said = Map::new();
        let split = format!("{}/", row.split);
        let below = |path: &str| path.strip_prefix(&split).unwrap_or(path).to_owned();
        if !self.is_text {
            // `datasets` calls the column of `file_name` by the kind of its media, one of `x_file_name` x.
            let column = &self.columns[self.media];
            let is_plain = column.feature.kind().is_some_and(|kind| kind.name() == column.name);
            let key = if is_plain { "file_name".to_owned() } else { format!("{}_file_name", column.name) };
            said.insert(key, below(path).into());
        }
        for (at, column) in self.columns.iter().enumerate() {
            let cell = match &column.feature {
                feature if feature.is_media() && at == self.media => continue,
                feature if feature.is_media() => {
                    // More media of a row: beside the first, under the name of their column.
                    let Some(payload) = row.dataset.fetch_checked(row.number, at, row.scratch)? else {
                        said.insert(format!("{}_file_name", column.name), Json::Null);
                        continue;
                    };
                    let path = format!("{}{}", path_of(path, &column.name), payload.info.format.extension());
                    folder.put(&path, &[row.scratch])?;
                    said.insert(format!("{}_file_name", column.name), below(&path).into());
                    continue;
                }
                Feature::Text => row.text(at)?.map_or(Json::Null, Json::from),
                Feature::Objects(_) => match &self.objects {
                    Some((column, of)) if *column == at => told(row, of, &self.told),
                    _ => row.entry.told(at, &column.feature),
                },
                Feature::Tensor(_) => continue,
                feature => row.entry.told(at, feature),
            };
            said.insert(self.names[at].clone(), cell);
        }
        let line = serde_json::to_vec(&said).map_err(|e| Error::library("writing a line of JSON", e))?;
        folder.append(&list(row.split, self.is_text), &[&line, b"\n"])
    }

    fn finish(self: Box<Self>, _: &mut Folder) -> Result<Vec<String>> {
        Ok(self.notes)
    }
}
