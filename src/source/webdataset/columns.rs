//! What the members of samples are by their suffixes, and the columns that follow from all of them.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::Path;

use serde_json::Value as Json;

use super::samples::{Member, Sample};
use crate::data::feature::{Feature, Schema};
use crate::data::info::Kind;
use crate::error::{Error, Fault, Reason, Result};
use crate::source::labels::LABELS;
use crate::source::typing::{Cell, Typing, column_name};
use crate::source::{EntryCell, Lister, SourceOptions, Tree};

const IMAGES: &[&str] = &[
    "jpg", "jpeg", "png", "bmp", "gif", "webp", "tif", "tiff", "ppm", "pgm", "pbm", "tga", "avif", "exr", "hdr", "qoi",
    "ico", "dds", "img", "image",
];
const SOUNDS: &[&str] = &["wav", "flac", "mp3", "ogg", "oga", "opus", "m4a", "aac", "aiff", "aif", "caf", "audio"];
const CLIPS: &[&str] = &["mp4", "mkv", "webm", "mov", "m4v", "avi", "mpg", "mpeg", "video"];
const TEXTS: &[&str] = &["txt", "text", "transcript", "caption"];
/// Suffixes whose members hold one number or word.
const NUMBERS: &[&str] = &["cls2", "class", "index", "inx", "id", "count"];
/// Bytes of a member with fields at the most, and of one with a number.
const LARGEST: u64 = 64 << 20;
const SMALL: u64 = 64 << 10;
/// Columns at the most: more are the keys of data, not names of fields.
const COLUMNS: usize = 4096;
/// Classes that are numbers get names up to this one.
const CLASSES: i64 = 1 << 20;

/// What a member is by its suffix.
#[derive(Debug, Clone, PartialEq, Eq)]
enum What {
    /// Media; what stands in front of the last part of the suffix tells several of one kind apart.
    Media(String, Kind),
    Class,
    Number,
    Fields,
    Other,
}

fn what(suffix: &str) -> What {
    let (front, last) = suffix.rsplit_once('.').unwrap_or(("", suffix));
    let kind = [(IMAGES, Kind::Image), (SOUNDS, Kind::Audio), (CLIPS, Kind::Video), (TEXTS, Kind::Text)];
    if let Some((_, kind)) = kind.iter().find(|(suffixes, _)| suffixes.contains(&last)) {
        return What::Media(front.to_owned(), *kind);
    }
    match suffix {
        "cls" => What::Class,
        "json" | "jsn" => What::Fields,
        _ if NUMBERS.contains(&suffix) => What::Number,
        // Further JSON is kept as it is.
        _ if last == "json" => What::Media(front.to_owned(), Kind::Text),
        _ => What::Other,
    }
}

/// Members of one kind and front.
#[derive(Debug, Default)]
struct Group {
    suffixes: BTreeSet<String>,
    /// Whether a sample has several of them: then each suffix is a column.
    together: bool,
}

/// What all samples have.
#[derive(Debug, Default)]
pub(super) struct Survey {
    pub samples: u64,
    media: BTreeMap<(String, Kind), Group>,
    classes: Option<Classes>,
    numbers: BTreeMap<String, Typing>,
    fields: Vec<(String, Typing)>,
    places: HashMap<String, usize>,
    others: BTreeMap<String, u64>,
}

/// The contents of members `.cls`.
#[derive(Debug)]
struct Classes {
    numbers: bool,
    most: i64,
}

impl Classes {
    fn see(&mut self, text: &str) {
        let number = text.parse::<i64>().ok().filter(|n| (0..CLASSES).contains(n) && n.to_string() == text);
        self.numbers &= number.is_some();
        self.most = self.most.max(number.unwrap_or_default());
    }
}

/// The text of a small member.
fn text(tree: &Tree, shard: &Path, member: &Member) -> Result<String, Fault> {
    if member.bytes > SMALL {
        let what = format!("{}: {} bytes are no number and no class", member.name, member.bytes);
        return Err(Fault::new(Reason::OverLimit, what));
    }
    let bytes = tree.read_range(&shard.join(&member.name), 0, member.bytes, member.bytes)?;
    let text = String::from_utf8(bytes)
        .map_err(|_| Fault::new(Reason::InvalidUtf8, format!("{} is not UTF-8", member.name)))?;
    Ok(text.trim().to_owned())
}

/// The fields of a member.
fn fields(tree: &Tree, shard: &Path, member: &Member) -> Result<serde_json::Map<String, Json>, Fault> {
    if member.bytes > LARGEST {
        return Err(Fault::new(Reason::OverLimit, format!("{}: {} bytes of fields", member.name, member.bytes)));
    }
    let bytes = tree.read_range(&shard.join(&member.name), 0, member.bytes, member.bytes)?;
    match serde_json::from_slice(&bytes) {
        Ok(Json::Object(fields)) => Ok(fields),
        Ok(_) => Err(Fault::new(Reason::Corrupt, format!("{} is no object of JSON", member.name))),
        Err(e) => Err(Fault::new(Reason::Corrupt, format!("{}: {e}", member.name))),
    }
}

impl Survey {
    /// Sees a sample. What cannot be read is for the second reading to refuse.
    pub(super) fn see(&mut self, tree: &Tree, shard: &Path, sample: &Sample) -> Result<()> {
        self.samples += 1;
        let mut here = BTreeSet::new();
        for member in &sample.members {
            match what(&member.suffix) {
                What::Media(front, kind) => {
                    let again = !here.insert((front.clone(), kind));
                    let group = self.media.entry((front, kind)).or_default();
                    group.together |= again;
                    group.suffixes.insert(member.suffix.clone());
                }
                What::Class => {
                    if let Ok(text) = text(tree, shard, member) {
                        self.classes.get_or_insert(Classes { numbers: true, most: 0 }).see(&text);
                    }
                }
                What::Number => {
                    if let Ok(text) = text(tree, shard, member) {
                        self.numbers.entry(member.suffix.clone()).or_default().see(&Cell::Plain(text));
                    }
                }
                What::Fields => {
                    for (key, value) in fields(tree, shard, member).into_iter().flatten() {
                        let next = self.fields.len();
                        let place = *self.places.entry(key.clone()).or_insert(next);
                        if place == next {
                            self.fields.push((key, Typing::default()));
                        }
                        self.fields[place].1.see(&Cell::of_json(value));
                    }
                }
                What::Other => *self.others.entry(member.suffix.clone()).or_default() += 1,
            }
            if self.fields.len() + self.others.len() + self.media.len() > COLUMNS {
                return Err(Error::config(
                    format!("{}: its samples have more than {COLUMNS} fields and suffixes", shard.display()),
                    "are the keys of their JSON data? make one field of them",
                ));
            }
        }
        Ok(())
    }
}

/// Where a column's cells come from.
#[derive(Debug, Clone)]
enum From {
    /// The member with one of these suffixes.
    Media(Vec<String>),
    Class,
    Number(String),
    Field(String),
}

/// The columns of a dataset.
#[derive(Debug)]
pub(super) struct Columns {
    columns: Vec<(String, Feature, From)>,
    /// The names of classes that are numbers.
    names: Option<Vec<String>>,
    media: String,
}

impl Columns {
    /// The columns of what was seen. `names` are those of the classes, if a file has them.
    pub(super) fn of(
        survey: Survey,
        names: Option<Vec<String>>,
        options: &SourceOptions,
        lister: &mut Lister<'_>,
    ) -> Result<Self> {
        let Survey { media, classes, numbers, fields, others, .. } = survey;
        let mut columns = Columns { columns: Vec::new(), names: None, media: String::new() };
        let mut groups: Vec<((String, Kind), Group)> = media.into_iter().collect();
        groups.sort_by(|(a, _), (b, _)| (!a.0.is_empty(), a.1, &a.0).cmp(&(!b.0.is_empty(), b.1, &b.0)));
        for ((front, kind), Group { suffixes, together }) in groups {
            let feature = Feature::of(kind);
            if together {
                for suffix in suffixes {
                    columns.push(&suffix.replace('.', "_"), feature.clone(), From::Media(vec![suffix]), lister);
                }
                continue;
            }
            let name = if front.is_empty() { kind.name().to_owned() } else { front.replace('.', "_") };
            columns.push(&name, feature, From::Media(suffixes.into_iter().collect()), lister);
        }
        let called: Vec<&str> = columns.columns.iter().map(|(name, ..)| name.as_str()).collect();
        columns.media = called.join(", ");
        if let Some(Classes { numbers, most }) = classes {
            // So that a class is stored as the number that the shards have.
            let own = || (0..=most).map(|n| n.to_string()).collect();
            columns.names = numbers.then(|| names.unwrap_or_else(own));
            let names = columns.names.clone().unwrap_or_default();
            columns.push("label", Feature::ClassLabel { names }, From::Class, lister);
        }
        for (suffix, typing) in numbers {
            columns.push(&suffix.clone(), typing.feature(), From::Number(suffix), lister);
        }
        let is_label = |name: &str| match &options.label_column {
            Some(told) => name == told,
            None => LABELS.iter().any(|label| label.eq_ignore_ascii_case(name)),
        };
        let has_label = columns.columns.iter().any(|(_, _, from)| matches!(from, From::Class));
        if has_label && let Some(told) = &options.label_column {
            let what = format!("--label-column {told:?}, and samples have classes of their own (.cls)");
            return Err(Error::config(what, "leave --label-column away"));
        }
        let label = fields.iter().find(|(name, typing)| {
            !has_label && is_label(name) && typing.feature() != Feature::Float && !typing.is_nested()
        });
        let label = label.map(|(name, _)| name.clone());
        if let Some(told) = options.label_column.as_ref().filter(|_| label.is_none()) {
            let what = format!("no sample has a field {told:?} that may be a class");
            return Err(Error::config(what, "--label-column names a field of the members .json"));
        }
        for (name, typing) in fields {
            let feature = typing.feature();
            if label.as_ref() == Some(&name) {
                columns.push(&name.clone(), Feature::ClassLabel { names: Vec::new() }, From::Field(name), lister);
                continue;
            }
            if typing.is_nested() && !matches!(feature, Feature::Objects(_)) {
                lister.note(format!("field {name:?} holds lists or objects: kept as JSON text"));
            }
            columns.push(&name.clone(), feature, From::Field(name), lister);
        }
        if !others.is_empty() {
            let told: Vec<String> = others.iter().take(10).map(|(suffix, n)| format!(".{suffix} ({n})")).collect();
            let more = if others.len() > 10 { ", .." } else { "" };
            lister.note(format!("members that are not read, by suffix: {}{more}", told.join(", ")));
        }
        Ok(columns)
    }

    fn push(&mut self, name: &str, feature: Feature, from: From, lister: &mut Lister<'_>) {
        let is_taken = |name: &str| self.columns.iter().any(|(taken, ..)| taken == name);
        let new = column_name(name, self.columns.len(), is_taken, lister);
        self.columns.push((new, feature, from));
    }

    /// The features.
    pub(super) fn schema(&self) -> Schema {
        Schema::new(self.columns.iter().map(|(name, feature, _)| (name.clone(), feature.clone())))
    }

    /// The cells of a sample.
    pub(super) fn cells(&self, tree: &Tree, shard: &Path, sample: &Sample) -> Result<Vec<EntryCell>, Fault> {
        let mut fields = match sample.members.iter().find(|member| what(&member.suffix) == What::Fields) {
            Some(member) => fields(tree, shard, member)?,
            None => serde_json::Map::new(),
        };
        let mut any = self.media.is_empty();
        let mut cells = Vec::with_capacity(self.columns.len());
        for (_, feature, from) in &self.columns {
            cells.push(match from {
                From::Media(suffixes) => match suffixes.iter().find_map(|suffix| sample.get(suffix)) {
                    Some(member) => {
                        any = true;
                        EntryCell::File { path: shard.join(&member.name), bytes: member.bytes }
                    }
                    None => EntryCell::NULL,
                },
                From::Class => match sample.get("cls") {
                    Some(member) => EntryCell::Class(self.class(&text(tree, shard, member)?)?),
                    None => EntryCell::NULL,
                },
                From::Number(suffix) => match sample.get(suffix) {
                    Some(member) => match text(tree, shard, member)? {
                        text if text.is_empty() => EntryCell::NULL,
                        text => Cell::Plain(text).into_entry(feature)?,
                    },
                    None => EntryCell::NULL,
                },
                From::Field(name) => fields.remove(name).map_or(Cell::Null, Cell::of_json).into_entry(feature)?,
            });
        }
        if !any {
            let what =
                format!("the sample has no member of {}: those of one key have to follow one another", self.media);
            return Err(Fault::new(Reason::Unreadable, what));
        }
        Ok(cells)
    }

    /// The class that a member names.
    fn class(&self, text: &str) -> Result<String, Fault> {
        if text.is_empty() {
            return Err(Fault::new(Reason::BadLabel, "the class is empty"));
        }
        let Some(names) = &self.names else { return Ok(text.to_owned()) };
        let name = text.parse::<usize>().ok().and_then(|n| names.get(n));
        name.cloned().ok_or_else(|| {
            Fault::new(Reason::BadLabel, format!("class {text:?}, and {} classes have names", names.len()))
        })
    }
}
