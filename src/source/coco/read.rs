//! One annotation file of COCO, read as a stream: what it says of pictures goes to sorters, so that the memory it takes is not that of the file.
//!
//! Follows the format of the COCO challenges (cocodataset.org, "Data format") as pycocotools 2.0.11 reads it.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::io::BufReader;
use std::path::Path;

use serde::Deserialize;
use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::Value as Json;
use serde_json::value::RawValue;

use crate::error::{Error, Fault, Reason, Result};
use crate::source::{Lister, Refusal};
use crate::spool::{Sorted, Sorter, Spill};

/// A number or a text, by which files of COCO name things.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(untagged)]
pub(super) enum Id {
    Number(i64),
    Text(String),
}

impl Id {
    /// As the key of a sorter, and what stands behind it.
    pub(super) fn key(&self) -> Vec<u8> {
        match self {
            Id::Number(n) => [&[0u8][..], &n.to_be_bytes()].concat(),
            // Its end is marked, as more follows in a key.
            Id::Text(text) => [&[1u8][..], text.as_bytes(), &[0]].concat(),
        }
    }
}

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Id::Number(n) => n.fmt(f),
            Id::Text(text) => write!(f, "{text:?}"),
        }
    }
}

/// A picture.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub(super) struct Picture {
    pub id: Id,
    pub file_name: String,
}

/// A class: its name and what else is said of it.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Category {
    pub id: Id,
    pub name: String,
    pub details: Json,
}

/// What is said of one thing in a picture, the parts that are JSON as they stand in the file.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Annotation {
    pub id: Option<Id>,
    pub category: Option<Id>,
    pub bbox: Option<[f64; 4]>,
    pub area: Option<f64>,
    pub is_crowd: Option<i64>,
    pub segmentation: Option<String>,
    pub keypoints: Option<String>,
    pub caption: Option<String>,
}

/// As a file has it.
#[derive(Deserialize)]
struct Said<'a> {
    #[serde(default)]
    id: Option<Id>,
    #[serde(default)]
    category_id: Option<Id>,
    #[serde(default)]
    bbox: Option<Vec<f64>>,
    #[serde(default)]
    area: Option<f64>,
    #[serde(default)]
    iscrowd: Option<i64>,
    #[serde(default, borrow)]
    segmentation: Option<&'a RawValue>,
    #[serde(default, borrow)]
    keypoints: Option<&'a RawValue>,
    #[serde(default)]
    caption: Option<String>,
    #[serde(default)]
    segments_info: Option<IgnoredAny>,
}

impl Annotation {
    /// Reads what a file says of one thing, in its own words.
    pub(super) fn read(text: &str) -> Result<Self, Fault> {
        let bad = |what: String| Fault::new(Reason::BadLabel, what);
        let said: Said<'_> =
            serde_json::from_str(text).map_err(|e| bad(format!("an annotation is not readable: {e}")))?;
        let named = said.id.as_ref().map_or_else(|| "an annotation".to_owned(), |id| format!("annotation {id}"));
        let bbox = match said.bbox.as_deref() {
            None => None,
            // What has no box at all says so with an empty list, too.
            Some([]) => None,
            Some(numbers) => {
                let four = <[f64; 4]>::try_from(numbers);
                Some(four.map_err(|_| bad(format!("{named}: its bbox has {} numbers, not 4", numbers.len())))?)
            }
        };
        let raw = |raw: Option<&RawValue>| raw.map(RawValue::get).filter(|raw| *raw != "null").map(str::to_owned);
        Ok(Annotation {
            id: said.id,
            category: said.category_id,
            bbox,
            area: said.area,
            is_crowd: said.iscrowd,
            segmentation: raw(said.segmentation),
            keypoints: raw(said.keypoints),
            caption: said.caption,
        })
    }
}

/// What a file has, the pictures and annotations sorted by the picture's id.
pub(super) struct Read {
    /// [`Picture`]s by the key of their id.
    pub pictures: Sorted,
    /// Texts of annotations by the key of their picture's id, in the order of the file.
    pub annotations: Sorted,
    /// By their id.
    pub categories: Vec<Category>,
    pub has: Has,
}

/// What the annotations of a file have.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Has {
    pub boxes: bool,
    pub segmentations: bool,
    pub keypoints: bool,
    pub captions: bool,
}

impl Has {
    pub(super) fn add(&mut self, other: Has) {
        self.boxes |= other.boxes;
        self.segmentations |= other.segmentations;
        self.keypoints |= other.keypoints;
        self.captions |= other.captions;
    }
}

/// Keys of an annotation that are read, and the one that follows from another.
const READ: [&str; 10] = [
    "id",
    "image_id",
    "category_id",
    "bbox",
    "area",
    "iscrowd",
    "segmentation",
    "keypoints",
    "caption",
    "num_keypoints",
];
/// Annotations of a file whose keys are looked at for others.
const LOOKED_AT: u64 = 1000;

/// Reads a file, which is called `name` in the source. What names no picture is refused.
pub(super) fn read(path: &Path, name: &str, lister: &mut Lister<'_>) -> Result<Read> {
    let file = lister.tree().open(path).map_err(|e| Error::io(path, "open", e))?;
    let spill = lister.spill().clone();
    let mut top = Top::new(lister, name, &spill);
    let mut json = serde_json::Deserializer::from_reader(BufReader::with_capacity(1 << 18, file));
    let read = (&mut top).deserialize(&mut json).and_then(|()| json.end());
    if let Some(error) = top.error {
        return Err(error);
    }
    read.map_err(|e| {
        if e.is_io() {
            return Error::io(path, "read", e.into());
        }
        let what = format!("{}: {e}", path.display());
        Error::config(what, "an annotation file of COCO is JSON with lists of images, annotations and categories")
    })?;
    let Top { pictures, annotations, mut categories, has, unread, lister, .. } = top;
    if !unread.is_empty() {
        let keys: Vec<&str> = unread.iter().take(10).map(String::as_str).collect();
        lister.note(format!("{name}: keys of annotations that are not read: {}", keys.join(", ")));
    }
    categories.sort_by(|a, b| a.id.cmp(&b.id));
    Ok(Read { pictures: pictures.finish()?, annotations: annotations.finish()?, categories, has })
}

/// The object at the top.
struct Top<'l, 'w> {
    lister: &'l mut Lister<'w>,
    name: &'l str,
    pictures: Sorter,
    annotations: Sorter,
    categories: Vec<Category>,
    has: Has,
    count: u64,
    refused: u64,
    /// Keys of annotations that are not read, of the first of them.
    unread: BTreeSet<String>,
    /// What ends the reading and is none of JSON.
    error: Option<Error>,
}

impl<'l, 'w> Top<'l, 'w> {
    fn new(lister: &'l mut Lister<'w>, name: &'l str, spill: &Spill) -> Self {
        let sorter = || Sorter::new(spill);
        let (pictures, annotations) = (sorter(), sorter());
        Top {
            lister,
            name,
            pictures,
            annotations,
            categories: Vec::new(),
            has: Has::default(),
            count: 0,
            refused: 0,
            unread: BTreeSet::new(),
            error: None,
        }
    }

    fn refuse(&mut self, reason: Reason, what: String) -> Result<()> {
        self.refused += 1;
        let (id, origin) = (format!("{}!{}", self.name, self.refused), self.name.to_owned());
        self.lister.refuse(Refusal { id, origin, line: None, fault: Fault::new(reason, what) })
    }

    fn picture(&mut self, text: &str) -> Result<()> {
        match serde_json::from_str::<Picture>(text) {
            Ok(picture) => {
                let value = postcard::to_stdvec(&(picture.id.to_string(), &picture.file_name));
                self.pictures
                    .push(&picture.id.key(), &value.map_err(|e| Error::library("keeping a picture's name", e))?)
            }
            Err(e) => self.refuse(Reason::BadLabel, format!("one of \"images\" is none: {e}")),
        }
    }

    fn annotation(&mut self, text: &str) -> Result<()> {
        #[derive(Deserialize)]
        struct Whose {
            #[serde(default)]
            image_id: Option<Id>,
        }
        let whose = serde_json::from_str::<Whose>(text).map(|whose| whose.image_id);
        let Ok(Some(picture)) = whose else {
            let start: String = text.chars().take(80).collect();
            return self.refuse(Reason::BadLabel, format!("an annotation without an image_id: {start}"));
        };
        // What is wrong with it otherwise is told with its picture.
        if let Ok(said) = serde_json::from_str::<Said<'_>>(text) {
            let some = |raw: Option<&RawValue>| raw.is_some_and(|raw| !matches!(raw.get(), "null" | "[]"));
            self.has.add(Has {
                boxes: said.bbox.is_some_and(|bbox| !bbox.is_empty()),
                segmentations: some(said.segmentation),
                keypoints: some(said.keypoints),
                captions: said.caption.is_some(),
            });
            if said.segments_info.is_some() {
                return self.refuse(Reason::Unsupported, "a panoptic annotation (segments_info)".into());
            }
        }
        if self.count < LOOKED_AT
            && let Ok(said) = serde_json::from_str::<BTreeMap<String, IgnoredAny>>(text)
        {
            self.unread.extend(said.into_keys().filter(|key| !READ.contains(&key.as_str())));
        }
        self.count += 1;
        let mut key = picture.key();
        key.extend(self.count.to_be_bytes());
        self.annotations.push(&key, text.as_bytes())
    }

    fn category(&mut self, text: &str) -> Result<()> {
        #[derive(Deserialize)]
        struct Named {
            id: Id,
            name: String,
        }
        match serde_json::from_str::<Named>(text) {
            Ok(Named { id, name }) => {
                let mut details: Json = serde_json::from_str(text).unwrap_or_default();
                if let Some(details) = details.as_object_mut() {
                    details.remove("name");
                }
                self.categories.push(Category { id, name, details });
            }
            Err(e) => return self.refuse(Reason::BadLabel, format!("one of \"categories\" is none: {e}")),
        }
        Ok(())
    }
}

impl<'de> DeserializeSeed<'de> for &mut Top<'_, '_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for &mut Top<'_, '_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object with lists of images, annotations and categories")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(key) = map.next_key::<String>()? {
            let each: fn(&mut Top<'_, '_>, &str) -> Result<()> = match key.as_str() {
                "images" => |top, text| top.picture(text),
                "annotations" => |top, text| top.annotation(text),
                "categories" => |top, text| top.category(text),
                _ => {
                    map.next_value::<IgnoredAny>()?;
                    continue;
                }
            };
            map.next_value_seed(List { top: self, each })?;
        }
        Ok(())
    }
}

/// One of the lists.
struct List<'t, 'l, 'w> {
    top: &'t mut Top<'l, 'w>,
    each: fn(&mut Top<'_, '_>, &str) -> Result<()>,
}

impl<'de> DeserializeSeed<'de> for List<'_, '_, '_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for List<'_, '_, '_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        while let Some(text) = seq.next_element::<Box<RawValue>>()? {
            let done = self.top.lister.step().and_then(|()| (self.each)(self.top, text.get()));
            if let Err(error) = done {
                self.top.error = Some(error);
                return Err(serde::de::Error::custom("it was ended"));
            }
        }
        Ok(())
    }
}
