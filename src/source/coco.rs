//! COCO: one JSON file of boxes, polygons, masks, keypoints or captions for many pictures.
//!
//! Boxes stay as they are (`xywh` in pixels), with the annotation's `id`, `area` and `iscrowd` beside them; what else is said of an object
//! stands as the file's own JSON in columns of text, one list a row with an entry an object: `segmentation` (polygons, or runs as
//! pycocotools has them; [`mask`](crate::codec::mask) reads them) and `keypoints`. `captions` is a list of texts. Of classes their order is
//! that of the categories' ids, which are kept with all else that is said of a category.

use std::collections::{BTreeMap, HashSet};
use std::path::{Path, PathBuf};

use super::labels::{self, Names};
use super::walk::{self, Found};
use super::{Entry, EntryCell, Evidence, Lister, Look, Refusal, Source, SourceEntry, SourceOptions, Tree, pictures};
use crate::data::feature::{Feature, Schema};
use crate::data::label::{Objects, Value};
use crate::data::objects::{Attribute, AttributeKind, BoxFormat, ObjectsType};
use crate::data::record::row_key;
use crate::error::{Error, Fault, Reason, Result};

mod read;

use read::{Annotation, Has, Id, Read};

/// The table's row.
pub const ENTRY: SourceEntry = SourceEntry {
    name: "coco",
    version: 1,
    summary: "COCO: JSON files of boxes, polygons, masks, keypoints or captions, with their pictures",
    build: || Box::new(Coco),
};

/// COCO's annotations.
#[derive(Debug, Clone, Copy, Default)]
pub struct Coco;

/// Folders of pictures beside annotations.
const PICTURES: &[&str] = &["", "images", "data", "JPEGImages"];
/// Pictures that are looked for in each folder where they may be.
const TRIED: usize = 32;

impl Source for Coco {
    fn name(&self) -> &'static str {
        ENTRY.name
    }

    fn detect(&self, root: &Path, look: &Look) -> Option<Evidence> {
        if look.is_file {
            return is_coco(look.tree(), root).then(|| Evidence::new(95, "it is JSON with images and annotations"));
        }
        let names = look.files.iter().map(|f| f.relative.as_str()).filter(|f| f.ends_with(".json"));
        let found: Vec<&str> = names.filter(|name| is_coco(look.tree(), &root.join(name))).collect();
        let first = found.first()?;
        Some(Evidence::new(88, format!("{} files like {first} are JSON with images and annotations", found.len())))
    }

    fn list(&self, root: &Path, options: &SourceOptions, lister: &mut Lister<'_>) -> Result<Schema> {
        labels::unused("COCO", &[("--label-regex", &options.label_regex)])?;
        labels::unused("COCO", &labels::of_manifests(options))?;
        let tree = lister.tree().clone();
        let (base, files) = files(root, lister)?;
        let mut read = Vec::with_capacity(files.len());
        let mut has = Has::default();
        for relative in files {
            let file = read::read(&base.join(&relative), &relative, lister)?;
            has.add(file.has);
            // Without one annotation it is a file of pictures that have no objects.
            has.boxes |= !file.categories.is_empty() && !file.has.captions;
            read.push((relative, file));
        }
        let mut objects = ObjectsType { attributes: attributes(), ..ObjectsType::new(BoxFormat::Xywh) };
        let mut known = HashSet::new();
        for category in read.iter().flat_map(|(_, file)| &file.categories) {
            if known.insert(&category.name) {
                objects.names.push(category.name.clone());
                objects.details.insert(category.name.clone(), category.details.clone());
            }
        }
        let mut taken = HashSet::new();
        for (relative, file) in &read {
            OneFile { tree: &tree, relative, base: &base, file, has, options }.list(&mut taken, lister)?;
        }
        let mut columns = vec![("image", Feature::Image), ("image_id", Feature::Int)];
        columns.extend(has.boxes.then_some(("objects", Feature::Objects(objects))));
        columns.extend(has.segmentations.then_some(("segmentation", Feature::Text)));
        columns.extend(has.keypoints.then_some(("keypoints", Feature::Text)));
        columns.extend(has.captions.then_some(("captions", Feature::Text)));
        Ok(Schema::new(columns))
    }
}

fn attributes() -> Vec<Attribute> {
    vec![
        Attribute::new("id", AttributeKind::Int),
        Attribute::new("area", AttributeKind::Float),
        Attribute::new("iscrowd", AttributeKind::Int),
    ]
}

/// Whether the beginning of a file is that of COCO's JSON: an object with lists that it has. Their order is anybody's, and the first may be longer
/// than what is looked at.
fn is_coco(tree: &Tree, path: &Path) -> bool {
    let Ok(head) = tree.head(path) else { return false };
    let head = String::from_utf8_lossy(&head);
    let head = head.trim_start_matches('\u{feff}').trim_start();
    let key = |name: &str| head.contains(&format!("\"{name}\""));
    head.starts_with('{')
        && (key("images") || key("annotations") || key("categories"))
        && (key("file_name") || key("image_id") || key("info") || key("licenses") || key("supercategory"))
}

/// The folder that all pictures are in, and the annotation files of a root, relative to it.
fn files(root: &Path, lister: &mut Lister<'_>) -> Result<(PathBuf, Vec<String>)> {
    let name = |path: &Path| path.file_name().and_then(|n| n.to_str()).map(str::to_owned);
    let tree = lister.tree().clone();
    if tree.is_file(root) {
        let real = tree.canonicalize(root).map_err(|e| Error::io(root, "open", e))?;
        let parent = real.parent().unwrap_or(Path::new("/"));
        // annotations/instances_val.json beside val/.
        let base = match name(parent).as_deref() {
            Some("annotations" | "Annotations") => parent.parent().unwrap_or(parent),
            _ => parent,
        };
        let relative = real.strip_prefix(base).ok().and_then(Path::to_str).map(str::to_owned);
        let relative = relative
            .ok_or_else(|| Error::config(format!("the name of {} is not UTF-8", root.display()), "rename it"))?;
        return Ok((base.to_owned(), vec![relative]));
    }
    let walk = walk::walk(root, lister)?;
    walk.notes().into_iter().for_each(|note| lister.note(note));
    let json = walk.files.iter().filter(|found| found.relative.ends_with(".json"));
    let (found, other): (Vec<Found>, Vec<Found>) = json.partition(|found| is_coco(&tree, &found.path));
    // Nobody knows which pictures an annotation file has that cannot be read, or was cut down to nothing.
    for found in &other {
        tree.head(&found.path).map_err(|e| Error::io(&found.path, "read", e))?;
        if found.bytes == 0 {
            let what = format!("{}: it is empty, and may have been annotations", found.path.display());
            return Err(Error::config(what, "restore it, or take it away; or give one annotation file to read that"));
        }
    }
    if let Some(first) = other.first() {
        let (n, first) = (other.len(), &first.relative);
        lister.note(format!(
            "{n} .json files do not begin like annotations of COCO and were not read: {first}, .. (give one to read it)"
        ));
    }
    let mut found: Vec<String> = found.into_iter().map(|found| found.relative).collect();
    // The challenges have the same pictures in files of several kinds: each is a dataset of its own.
    let instances = |name: &String| name.rsplit('/').next().is_some_and(|name| name.starts_with("instances_"));
    if found.iter().any(instances) {
        let others: Vec<String> = found.extract_if(.., |name| !instances(name)).collect();
        if !others.is_empty() {
            lister.note(format!(
                "not read, as the boxes are in instances_*.json: {} (give one of them to read it)",
                others.join(", ")
            ));
        }
    }
    if found.is_empty() {
        let what = format!("{} has no annotation file of COCO", root.display());
        return Err(Error::config(what, "give the .json file itself"));
    }
    Ok((tree.canonicalize(root).map_err(|e| Error::io(root, "open", e))?, found))
}

/// One annotation file.
struct OneFile<'a> {
    tree: &'a Tree,
    relative: &'a str,
    base: &'a Path,
    file: &'a Read,
    has: Has,
    options: &'a SourceOptions,
}

impl OneFile<'_> {
    /// Lists its pictures. `taken` are those that a file before has.
    fn list(&self, taken: &mut HashSet<u64>, lister: &mut Lister<'_>) -> Result<()> {
        let split = self.split(lister)?;
        let folder = self.folder(lister)?;
        let names: BTreeMap<&Id, &str> = self.file.categories.iter().map(|c| (&c.id, c.name.as_str())).collect();
        let mut at = 0;
        let mut last: Option<&[u8]> = None;
        for (key, value) in self.file.pictures.iter() {
            lister.step()?;
            let (id, file_name): (String, String) =
                postcard::from_bytes(value).map_err(|e| Error::library("reading a picture's name", e))?;
            // Those of pictures that the file does not have.
            while at < self.file.annotations.len() && self.file.annotations.get(at).0 < key {
                at += self.orphan(at, lister)?;
            }
            let from = at;
            while at < self.file.annotations.len() && self.file.annotations.get(at).0.starts_with(key) {
                at += 1;
            }
            let entered = if last == Some(key) {
                Err(Fault::new(Reason::BadLabel, format!("two pictures have the id {id}")))
            } else {
                self.found(&folder, &file_name).and_then(|found| match taken.insert(row_key(&found.relative)) {
                    true => Ok(found),
                    false => Err(Fault::new(Reason::BadLabel, "the picture is listed twice")),
                })
            };
            last = Some(key);
            let cells = entered.and_then(|found| self.cells(from..at, key, &names).map(|cells| (found, cells)));
            match cells {
                Ok((found, mut cells)) => {
                    let Found { relative, path, bytes } = found;
                    cells.insert(0, EntryCell::File { path, bytes });
                    let origin = self.relative.to_owned();
                    lister.entry(Entry { id: relative, split: split.clone(), cells, origin, line: None })?;
                }
                Err(fault) => {
                    // The id that it would have, as far as it can have one.
                    let id = walk::within(&file_name).map(|name| pictures::join(&folder, &name)).unwrap_or(file_name);
                    lister.refuse(Refusal { id, origin: self.relative.to_owned(), line: None, fault })?;
                }
            }
        }
        while at < self.file.annotations.len() {
            at += self.orphan(at, lister)?;
        }
        Ok(())
    }

    /// Refuses an annotation of a picture that is not there; 1, as it is one.
    fn orphan(&self, at: usize, lister: &mut Lister<'_>) -> Result<usize> {
        let text = String::from_utf8_lossy(self.file.annotations.get(at).1);
        let id = Annotation::read(&text).ok().and_then(|a| a.id).map_or_else(|| format!("?{at}"), |id| id.to_string());
        let fault = Fault::new(Reason::BadLabel, "the annotation is of a picture that the file does not list");
        let id = format!("{}!annotation-{id}", self.relative);
        lister.refuse(Refusal { id, origin: self.relative.to_owned(), line: None, fault })?;
        Ok(1)
    }

    /// The split that the name of the file, or of its folder, says.
    fn split(&self, lister: &mut Lister<'_>) -> Result<String> {
        let (dir, stem) = pictures::parts(self.relative);
        let words =
            |text: &str| text.split(|c: char| !c.is_ascii_alphabetic()).find_map(labels::split_of).map(str::to_owned);
        let by_folder = || dir.split('/').rev().find_map(labels::split_of).map(str::to_owned);
        match words(stem).or_else(by_folder) {
            Some(split) => Ok(split),
            None => {
                let split = labels::default_split(self.options)?;
                lister.note(format!(
                    "{}: its name says no split: its pictures are in {split:?} (--split)",
                    self.relative
                ));
                Ok(split)
            }
        }
    }

    /// The folder that the names of pictures are relative to: of those where they may be the one that has most of the first.
    fn folder(&self, lister: &mut Lister<'_>) -> Result<String> {
        let (dir, stem) = pictures::parts(self.relative);
        let mut names = Vec::new();
        for at in 0..self.file.pictures.len().min(TRIED) {
            let (_, name): (String, String) = postcard::from_bytes(self.file.pictures.get(at).1)
                .map_err(|e| Error::library("reading a picture's name", e))?;
            names.push(name);
        }
        // instances_val2017.json and val2017/.
        let year = stem.rsplit_once('_').map_or(stem, |(_, year)| year);
        let above = dir.rsplit_once('/').map_or("", |(above, _)| above);
        let mut folders = Vec::new();
        for dir in [dir, above, ""] {
            for pictures in PICTURES {
                let here = if pictures.is_empty() { dir.to_owned() } else { pictures::join(dir, pictures) };
                folders.push(pictures::join(&here, year));
                folders.push(here);
            }
        }
        let count = |folder: &String| names.iter().filter(|name| self.found(folder, name).is_ok()).count();
        let mut best = (0, dir.to_owned());
        for folder in folders {
            let n = count(&folder);
            if n > best.0 {
                best = (n, folder);
            }
        }
        if best.0 == 0 && !names.is_empty() {
            lister.note(format!(
                "{}: none of its first pictures ({}, ..) is in its folder, the one above, or images/ of these",
                self.relative, names[0]
            ));
        }
        Ok(best.1)
    }

    fn found(&self, folder: &str, file_name: &str) -> Result<Found, Fault> {
        let name = walk::within(file_name)?;
        walk::named(self.tree, self.base, &pictures::join(folder, &name))
    }

    /// The cells behind the picture, of its annotations.
    fn cells(
        &self,
        range: std::ops::Range<usize>,
        key: &[u8],
        names: &BTreeMap<&Id, &str>,
    ) -> Result<Vec<EntryCell>, Fault> {
        let mut own = Names::default();
        let mut objects = Objects { attributes: vec![Vec::new(); 3], ..Objects::default() };
        let (mut segmentations, mut keypoints, mut captions) = (Vec::new(), Vec::new(), Vec::new());
        for at in range {
            let text = String::from_utf8_lossy(self.file.annotations.get(at).1);
            let annotation = Annotation::read(&text)?;
            let is_caption = annotation.caption.is_some();
            captions.extend(annotation.caption);
            let named =
                annotation.id.as_ref().map_or_else(|| "an annotation".to_owned(), |id| format!("annotation {id}"));
            let bad = |what: String| Fault::new(Reason::BadLabel, format!("{named}: {what}"));
            let bbox = match annotation.bbox {
                Some(bbox) => bbox,
                None if is_caption => continue,
                None => return Err(bad("it has no bbox".into())),
            };
            let category = annotation.category.ok_or_else(|| bad("it has a bbox and no category_id".into()))?;
            let name = names.get(&category).ok_or_else(|| bad(format!("there is no category {category}")))?;
            let class = own.place(name);
            objects.boxes.push(bbox.map(|v| v as f32));
            objects.classes.push(class);
            let id = match annotation.id {
                Some(Id::Number(n)) => Value::Int(n),
                _ => Value::Null,
            };
            let values = [
                id,
                annotation.area.map_or(Value::Null, Value::Float),
                annotation.is_crowd.map_or(Value::Null, Value::Int),
            ];
            objects.attributes.iter_mut().zip(values).for_each(|(all, value)| all.push(value));
            let json = |text: Option<String>| text.unwrap_or_else(|| "null".to_owned());
            segmentations.push(json(annotation.segmentation));
            keypoints.push(json(annotation.keypoints));
        }
        let list = |entries: Vec<String>| EntryCell::Inline(format!("[{}]", entries.join(",")).into_bytes());
        let id = key.get(1..9).filter(|_| key[0] == 0).and_then(|n| n.try_into().ok());
        let mut cells = vec![EntryCell::Value(id.map_or(Value::Null, |n| Value::Int(i64::from_be_bytes(n))))];
        if self.has.boxes {
            cells.push(EntryCell::Objects(own.into_list(), Box::new(objects)));
        }
        cells.extend(self.has.segmentations.then(|| list(segmentations)));
        cells.extend(self.has.keypoints.then(|| list(keypoints)));
        if self.has.captions {
            let texts = serde_json::to_vec(&captions).unwrap_or_default();
            cells.push(if captions.is_empty() { EntryCell::NULL } else { EntryCell::Inline(texts) });
        }
        Ok(cells)
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::source::listing::listed;

    /// Ids with their splits and classes, and refusals, of one file of annotations beside a.png, b.png and sub/c.png.
    fn seen(name: &str, json: &str) -> Result<(Vec<String>, Vec<String>)> {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("sub")).unwrap();
        for picture in ["a.png", "b.png", "sub/c.png"] {
            fs::write(dir.path().join(picture), "x").unwrap();
        }
        fs::write(dir.path().join(name), json).unwrap();
        let (listing, entries) = listed(&Coco, dir.path(), &SourceOptions::default())?;
        let told = |entry: &Entry| {
            let classes = match entry.cells.get(2) {
                Some(EntryCell::Objects(names, objects)) => {
                    objects.classes.iter().map(|c| names[*c as usize].clone()).collect::<Vec<_>>().join("+")
                }
                _ => "-".into(),
            };
            format!("{} {} {classes}", entry.split, entry.id)
        };
        let refused = listing.refused.iter().map(Result::unwrap).map(|r| format!("{} {}", r.id, r.fault));
        Ok((entries.iter().map(told).collect(), refused.collect()))
    }

    const CATEGORIES: &str = r#""categories": [{"id": 90, "name": "dog"}, {"id": 1, "name": "cat"}]"#;
    const PICTURES: &str = r#""images": [{"id": 7, "file_name": "a.png"}, {"id": 3, "file_name": "sub/c.png"}]"#;

    #[test]
    fn lists_come_in_any_order_and_ids_are_sparse() {
        let annotations = r#""annotations": [
            {"id": 5, "image_id": 7, "category_id": 90, "bbox": [1, 2, 3, 4]},
            {"id": 4, "image_id": 7, "category_id": 1, "bbox": [1, 2, 3, 4], "iscrowd": 1, "area": 3.5}
        ]"#;
        for json in [
            format!("{{{annotations}, {PICTURES}, {CATEGORIES}, \"info\": {{\"deep\": [[[]]]}}}}"),
            format!("{{{CATEGORIES}, \"info\": 1, {PICTURES}, {annotations}}}"),
        ] {
            let (rows, refused) = seen("instances_val2017.json", &json).unwrap();
            assert_eq!(rows, ["validation a.png dog+cat", "validation sub/c.png "]);
            assert_eq!(refused, Vec::<String>::new());
        }
    }

    #[test]
    fn a_bad_annotation_refuses_its_picture() {
        let one = |annotation: &str| {
            seen("x.json", &format!("{{{PICTURES}, {CATEGORIES}, \"annotations\": [{annotation}, {{\"id\": 9, \"image_id\": 3, \"category_id\": 1, \"bbox\": [0, 0, 1, 1]}}]}}")).unwrap()
        };
        for (annotation, said) in [
            (
                r#"{"id": 1, "image_id": 7, "category_id": 2, "bbox": [1, 2, 3, 4]}"#,
                "annotation 1: there is no category 2",
            ),
            (
                r#"{"id": 1, "image_id": 7, "category_id": 1, "bbox": [1, 2, 3]}"#,
                "annotation 1: its bbox has 3 numbers",
            ),
            (r#"{"id": 1, "image_id": 7, "category_id": 1, "bbox": [1, 2, 3, "4"]}"#, "not readable"),
            (r#"{"id": 1, "image_id": 7, "bbox": [1, 2, 3, 4]}"#, "no category_id"),
            (r#"{"id": 1, "image_id": 7, "category_id": 1}"#, "annotation 1: it has no bbox"),
            (r#"{"id": 1, "image_id": 7, "category_id": 1, "bbox": []}"#, "annotation 1: it has no bbox"),
        ] {
            let (rows, refused) = one(annotation);
            assert_eq!(rows, ["train sub/c.png cat"], "{annotation}");
            assert!(refused.len() == 1 && refused[0].starts_with("a.png ") && refused[0].contains(said), "{refused:?}");
        }
        for (annotation, said) in [
            (
                r#"{"id": 1, "image_id": 8, "category_id": 1, "bbox": [1, 2, 3, 4]}"#,
                "a picture that the file does not list",
            ),
            (
                r#"{"id": 1, "image_id": "7", "category_id": 1, "bbox": [1, 2, 3, 4]}"#,
                "a picture that the file does not list",
            ),
            (r#"{"id": 1}"#, "without an image_id"),
            (r#"3"#, "without an image_id"),
            (r#"{"image_id": 7, "segments_info": []}"#, "panoptic"),
        ] {
            let (rows, refused) = one(annotation);
            assert_eq!(rows, ["train a.png ", "train sub/c.png cat"], "{annotation}");
            assert!(refused.len() == 1 && refused[0].contains(said), "{refused:?}");
        }
    }

    #[test]
    fn pictures_are_there_once_and_below_the_source() {
        let images = r#"{"id": 1, "file_name": "a.png"}, {"id": 2, "file_name": "a.png"}, {"id": 2, "file_name": "b.png"},
            {"id": 4, "file_name": "../x.png"}, {"id": 5, "file_name": "/etc/passwd"}, {"id": 6, "file_name": "no.png"}, {"id": 7}, {"id": "t", "file_name": ".\\sub\\c.png"}"#;
        let (rows, refused) =
            seen("x.json", &format!("{{\"images\": [{images}], {CATEGORIES}, \"annotations\": []}}")).unwrap();
        assert_eq!(rows, ["train a.png ", "train sub/c.png "]);
        let told = refused.join("\n");
        for said in ["listed twice", "two pictures have the id 2", "leaves", "absolute", "no such file", "file_name"] {
            assert!(told.contains(said), "{said}: {told}");
        }
        assert_eq!(refused.len(), 6, "{told}");
    }

    #[test]
    fn what_is_no_annotation_file_is_an_error_with_its_place() {
        for json in [
            r#"{"images": [{"id": 1, "file_name": "a.png"}, ], "annotations": []}"#,
            r#"{"images": {"id": 1, "file_name": "a.png"}}"#,
            r#"{"images": [], "annotations": [{"image_id": 1, "bbox": [NaN, 1, 1, 1]}]}"#,
            r#"{"images": [], "annotations": [{"file_name": 1"#,
            r#"{"images": [], "file_name": 1} 7"#,
        ] {
            let error = seen("x.json", json).map(|_| ()).unwrap_err();
            assert!(error.exit_code() == 2 && error.to_string().contains("line 1"), "{json}: {error}");
        }
        let deep = format!("{{\"images\": [], \"info\": {}}}", "[".repeat(1 << 20));
        assert!(seen("x.json", &deep).is_err(), "no stack is as deep as a file may say");
    }
}
