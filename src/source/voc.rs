//! Pascal VOC: an XML file of boxes for each picture.
//!
//! A picture and its annotation share their stem. The annotation stands beside the picture, or in a folder `Annotations` where the path of
//! the picture has another one: `JPEGImages/a.jpg` and `Annotations/a.xml`. An annotation that no picture is found for by its
//! own name is asked for the name of its picture. Splits are the lists `ImageSets/Main/{train,val,test}.txt` where they are there, else folders that are called so.

use std::collections::HashMap;
use std::path::Path;

use super::walk::{self, Files, Found};
use super::{
    Entry, EntryCell, Evidence, Lister, Look, Refusal, Source, SourceEntry, SourceOptions, Tree, labels, pictures,
};
use crate::data::feature::{Feature, Schema};
use crate::data::objects::{BoxFormat, ObjectsType};
use crate::error::{Error, Fault, Reason, Result};

mod xml;

/// The table's row.
pub const ENTRY: SourceEntry = SourceEntry {
    name: "voc",
    version: 1,
    summary: "Pascal VOC: an XML file of boxes for each picture, in Annotations/ or beside it",
    build: || Box::new(Voc),
};

/// Folders of annotations.
const ANNOTATIONS: &[&str] = &["Annotations", "annotations"];
/// Folders of pictures beside one of annotations.
const PICTURES: &[&str] = &["JPEGImages", "images", "Images", "imgs", "img"];
/// Folders of the development kit whose pictures are masks of others.
const MASKS: &[&str] = &["SegmentationClass", "SegmentationObject"];
/// The split of pictures that none of the lists has.
const UNLISTED: &str = "unlisted";
/// Bytes of an annotation, or of a list, at the most.
const LARGEST: u64 = 64 << 20;

/// Pascal VOC.
#[derive(Debug, Clone, Copy, Default)]
pub struct Voc;

impl Source for Voc {
    fn name(&self) -> &'static str {
        ENTRY.name
    }

    fn detect(&self, root: &Path, look: &Look) -> Option<Evidence> {
        let mut files = look.files.iter().map(|f| f.relative.as_str()).filter(|f| is_xml(f));
        let first = files.next().filter(|_| !look.is_file)?;
        let head = look.tree().head(&root.join(first)).ok()?;
        let said = String::from_utf8_lossy(&head);
        if !said.trim_start_matches('\u{feff}').contains("<annotation") {
            return None;
        }
        // A forgotten annotation in a folder of classes does not make it this.
        let (xml, pictures) = (files.count() + 1, look.files.iter().filter(|f| pictures::is(&f.relative)).count());
        let score = if xml * 4 >= pictures { 85 } else { 45 };
        Some(Evidence::new(score, format!("{xml} XML files, of which {first} is an <annotation>")))
    }

    fn list(&self, root: &Path, options: &SourceOptions, lister: &mut Lister<'_>) -> Result<Schema> {
        labels::unused("Pascal VOC", &[("--label-regex", &options.label_regex)])?;
        labels::unused("Pascal VOC", &labels::of_manifests(options))?;
        let walk = walk::walk(root, lister)?;
        walk.notes().into_iter().for_each(|note| lister.note(note));
        let origin = options.box_origin.unwrap_or(1);
        let default = labels::default_split(options)?;
        let mut listing = Listing {
            tree: lister.tree().clone(),
            files: &walk.files,
            options,
            origin,
            default,
            taken: Vec::new(),
            lists: HashMap::new(),
            seen: Seen::default(),
        };
        listing.taken.resize(walk.files.len().div_ceil(64), 0);
        listing.pictures(lister)?;
        listing.annotations(lister)?;
        if listing.seen.annotations == 0 {
            let what = format!("{} has no annotation of a picture", root.display());
            return Err(Error::config(
                what,
                "Pascal VOC has a .xml for each picture, of its name; or say another --format",
            ));
        }
        listing.seen.notes(origin).into_iter().for_each(|note| lister.note(note));
        let objects = ObjectsType { attributes: xml::attributes(), ..ObjectsType::new(BoxFormat::Xyxy) };
        Ok(Schema::new([("image", Feature::Image), ("objects", Feature::Objects(objects))]))
    }
}

/// What a person is told at the end.
#[derive(Debug, Default)]
struct Seen {
    annotations: u64,
    bare: u64,
    others: u64,
    parts: u64,
    zeros: u64,
    unlisted: u64,
    masks: u64,
    copies: u64,
}

impl Seen {
    fn notes(&self, origin: u8) -> Vec<String> {
        let mut notes = Vec::new();
        let mut note = |n: u64, what: String| {
            if n > 0 {
                notes.push(format!("{n} {what}"))
            }
        };
        note(self.bare, "pictures have no annotation: their objects are absent, which is not none".into());
        note(self.others, "annotations name another file than the picture of their own name, which was taken".into());
        note(self.masks, format!("pictures in {} are masks of others, and were left out", MASKS.join(", ")));
        note(self.copies, "pictures have the stem of another that has the annotation: their objects are absent".into());
        note(self.parts, "parts of objects (a head, a hand) were left out".into());
        note(self.unlisted, format!("pictures are in none of the lists of ImageSets: their split is {UNLISTED:?}"));
        if origin == 1 {
            let what =
                "boxes have a coordinate of 0, where VOC counts from 1: if the tool counted from 0, say --box-origin 0";
            note(self.zeros, what.into());
        }
        notes
    }
}

/// The split of each stem; none: two lists have it.
type Lists = HashMap<String, Option<String>>;

struct Listing<'a> {
    tree: Tree,
    files: &'a Files,
    options: &'a SourceOptions,
    origin: u8,
    default: String,
    /// A bit for each file that was taken.
    taken: Vec<u64>,
    /// The lists of each folder that has some, by stem.
    lists: HashMap<String, Option<Lists>>,
    seen: Seen,
}

impl Listing<'_> {
    fn take(&mut self, at: usize) -> bool {
        let (word, bit) = (at / 64, 1 << (at % 64));
        let was = self.taken[word] & bit != 0;
        self.taken[word] |= bit;
        !was
    }

    fn is_taken(&self, at: usize) -> bool {
        self.taken[at / 64] & (1 << (at % 64)) != 0
    }

    /// Whether a file is a picture to be taken in.
    fn is_picture(&self, relative: &str) -> bool {
        pictures::is(relative) && !is_mask(relative)
    }

    /// Every picture, with the annotation of its name. Of several with one stem the annotation's is the one that it names, else one in a folder of
    /// pictures, else the first.
    fn pictures(&mut self, lister: &mut Lister<'_>) -> Result<()> {
        // Of each annotation the picture that it is of, as far as is known.
        let mut of: HashMap<usize, (u8, usize, String)> = HashMap::new();
        for at in 0..self.files.len() {
            let found = self.files.get(at);
            self.seen.masks += u64::from(pictures::is(&found.relative) && is_mask(&found.relative));
            if !self.is_picture(&found.relative) {
                continue;
            }
            lister.step()?;
            let (dir, stem) = pictures::parts(&found.relative);
            let annotation = places(dir, ANNOTATIONS).find_map(|(base, dir)| {
                let name = pictures::join(&dir, &format!("{stem}.xml"));
                self.files.find(&name).map(|at| (base, at))
            });
            let Some((base, xml)) = annotation else { continue };
            let rank = |relative: &str, named: Option<&str>| {
                let file = relative.rsplit('/').next();
                let in_pictures = relative.split('/').rev().skip(1).any(|part| PICTURES.contains(&part));
                u8::from(in_pictures) + 2 * u8::from(named.is_some() && named == file)
            };
            match of.get(&xml) {
                None => {
                    of.insert(xml, (0, at, base));
                }
                // Rare: only then is the annotation read to see which it names.
                Some((_, other, _)) => {
                    let other = *other;
                    let named = self.read(&self.files.get(xml)).ok().and_then(|annotation| annotation.filename);
                    let named = named.as_deref().and_then(|name| name.rsplit(['/', '\\']).next());
                    let before = rank(&self.files.get(other).relative, named);
                    let now = rank(&found.relative, named);
                    self.seen.copies += 1;
                    if now > before {
                        of.insert(xml, (now, at, base));
                    }
                }
            }
        }
        let mut pairs: Vec<(usize, usize, String)> =
            of.into_iter().map(|(xml, (_, at, base))| (at, xml, base)).collect();
        pairs.sort_unstable();
        for (at, xml, base) in pairs {
            self.take(at);
            self.take(xml);
            let xml = self.files.get(xml);
            self.enter(self.files.get(at), &base, Some(&xml), lister)?;
        }
        Ok(())
    }

    /// The annotations that are left, with the pictures that they name; then the pictures that are left.
    fn annotations(&mut self, lister: &mut Lister<'_>) -> Result<()> {
        for at in 0..self.files.len() {
            let xml = self.files.get(at);
            if !is_xml(&xml.relative) || self.is_taken(at) {
                continue;
            }
            lister.step()?;
            let annotation = match self.read(&xml) {
                Ok(annotation) => annotation,
                Err(fault) => {
                    lister.refuse(Refusal::file(&xml.relative, fault))?;
                    continue;
                }
            };
            // A path of another machine may stand there.
            let named = annotation.filename.as_deref().and_then(|name| name.rsplit(['/', '\\']).next()).unwrap_or("");
            let (dir, stem) = pictures::parts(&xml.relative);
            let picture = places(dir, PICTURES)
                .find_map(|(base, dir)| self.files.find(&pictures::join(&dir, named)).map(|at| (base, at)));
            match picture.filter(|_| self.is_picture(named)) {
                Some((base, picture)) if self.take(picture) => {
                    self.enter(self.files.get(picture), &base, Some(&xml), lister)?;
                }
                Some(_) => {
                    let what = format!("its picture {named:?} has an annotation already");
                    lister.refuse(Refusal::file(&xml.relative, Fault::new(Reason::BadLabel, what)))?;
                }
                None => {
                    let named = if named.is_empty() { String::new() } else { format!(" or {named:?}") };
                    let what = format!("there is no picture {stem:?}{named} for the annotation");
                    lister.refuse(Refusal::file(&xml.relative, Fault::new(Reason::Unreadable, what)))?;
                }
            }
        }
        for at in 0..self.files.len() {
            let found = self.files.get(at);
            if self.is_picture(&found.relative) && !self.is_taken(at) {
                self.seen.bare += 1;
                let base = places(pictures::parts(&found.relative).0, ANNOTATIONS).next().map(|(base, _)| base);
                self.enter(found, &base.unwrap_or_default(), None, lister)?;
            }
        }
        Ok(())
    }

    fn read(&self, xml: &Found) -> Result<xml::Annotation, Fault> {
        if xml.bytes > LARGEST {
            return Err(Fault::new(Reason::OverLimit, format!("an annotation of {} bytes", xml.bytes)));
        }
        xml::read(&self.tree.read_range(&xml.path, 0, xml.bytes, xml.bytes)?, self.origin)
    }

    fn enter(&mut self, picture: Found, base: &str, xml: Option<&Found>, lister: &mut Lister<'_>) -> Result<()> {
        let Found { relative, path, bytes } = picture;
        let refuse = |fault: Fault| {
            let told = xml.map_or_else(
                || fault.clone(),
                |x| Fault::new(fault.reason, format!("{}: {}", x.relative, fault.message)),
            );
            Refusal {
                origin: xml.map_or(&relative, |x| &x.relative).clone(),
                id: relative.clone(),
                line: None,
                fault: told,
            }
        };
        let objects = match xml.map(|xml| self.read(xml)).transpose() {
            Ok(None) => EntryCell::NULL,
            Ok(Some(annotation)) => {
                let file = relative.rsplit('/').next();
                self.seen.annotations += 1;
                let named = annotation.filename.as_deref().and_then(|name| name.rsplit(['/', '\\']).next());
                self.seen.others += u64::from(named.is_some() && named != file);
                self.seen.parts += annotation.parts;
                self.seen.zeros += annotation.zeros;
                EntryCell::Objects(annotation.names.into_list(), Box::new(annotation.objects))
            }
            Err(fault) => {
                // It is an annotation, if a bad one.
                self.seen.annotations += 1;
                return lister.refuse(refuse(fault));
            }
        };
        let split = match self.split(&relative, base) {
            Ok(split) => split,
            Err(fault) => return lister.refuse(refuse(fault)),
        };
        let cells = vec![EntryCell::File { path, bytes }, objects];
        lister.entry(Entry { origin: relative.clone(), id: relative, split, cells, line: None })
    }

    /// The split of a picture: by the lists below `base`, else by its folder.
    fn split(&mut self, relative: &str, base: &str) -> Result<String, Fault> {
        if !self.lists.contains_key(base) {
            let lists = self.read_lists(base)?;
            self.lists.insert(base.to_owned(), lists);
        }
        if let Some(Some(lists)) = self.lists.get(base) {
            // Below the folder of the pictures, or by the last part of the name.
            let (dir, stem) = pictures::parts(relative);
            let below = dir.strip_prefix(base).map_or(dir, |dir| dir.trim_start_matches('/'));
            let below = pictures::join(below.split_once('/').map_or("", |(_, below)| below), stem);
            return match lists.get(&below).or_else(|| lists.get(stem)) {
                Some(Some(split)) => Ok(split.clone()),
                Some(None) => Err(Fault::new(Reason::BadLabel, format!("two lists of ImageSets/Main have {stem:?}"))),
                None => {
                    self.seen.unlisted += 1;
                    Ok(UNLISTED.to_owned())
                }
            };
        }
        Ok(pictures::split_of(relative, self.options)?.unwrap_or_else(|| self.default.clone()))
    }

    /// The split of each stem, by the lists of a folder that has some. `trainval` is what train and val are together.
    fn read_lists(&self, base: &str) -> Result<Option<Lists>, Fault> {
        let mut of = Lists::new();
        let mut any = false;
        for list in ["train", "val", "test", "trainval"] {
            let Some(at) = self.files.find(&pictures::join(base, &format!("ImageSets/Main/{list}.txt"))) else {
                continue;
            };
            if list == "trainval" && of.values().flatten().any(|split| split != "test") {
                continue;
            }
            any = true;
            let file = self.files.get(at);
            if file.bytes > LARGEST {
                return Err(Fault::new(
                    Reason::OverLimit,
                    format!("{}: a list of {} bytes", file.relative, file.bytes),
                ));
            }
            let bytes = self.tree.read_range(&file.path, 0, file.bytes, file.bytes)?;
            let split = labels::split_of(list).unwrap_or("train");
            for line in String::from_utf8_lossy(&bytes).lines() {
                let whole = line.trim_start_matches('\u{feff}').trim();
                // The lists of one class say behind each whether it has some.
                let stem = [" 1", " -1", " 0"].iter().find_map(|end| whole.strip_suffix(end)).map(str::trim_end);
                for stem in [Some(whole), stem].into_iter().flatten().filter(|stem| !stem.is_empty()) {
                    let known = of.entry(stem.to_owned()).or_insert_with(|| Some(split.to_owned()));
                    if known.as_deref().is_some_and(|known| known != split) {
                        *known = None;
                    }
                }
            }
        }
        Ok(any.then_some(of))
    }
}

/// Whether a picture is in a folder of masks.
fn is_mask(relative: &str) -> bool {
    relative.split('/').rev().skip(1).any(|part| MASKS.contains(&part))
}

/// Where the folder of the other kind is for a file in `dir`: beside it in `dir` itself, then in one of `names` in place of each part of the
/// path, the last first. With each the folder that both are in.
fn places<'a>(dir: &'a str, names: &'a [&str]) -> impl Iterator<Item = (String, String)> + 'a {
    let parts: Vec<&str> = dir.split('/').filter(|part| !part.is_empty()).collect();
    let of = move |(at, name): (usize, &&str)| {
        let mut other = parts.clone();
        if at < other.len() {
            other[at] = name
        } else {
            other.push(name)
        }
        (other[..at].join("/"), other.join("/"))
    };
    let all: Vec<(usize, &&str)> = (0..=dir.split('/').filter(|p| !p.is_empty()).count())
        .rev()
        .flat_map(|at| names.iter().map(move |name| (at, name)))
        .collect();
    let beside = dir.rsplit_once('/').map_or("", |(base, _)| base);
    std::iter::once((beside.to_owned(), dir.to_owned())).chain(all.into_iter().map(of))
}

fn is_xml(name: &str) -> bool {
    name.len() > 4 && name.as_bytes()[name.len() - 4..].eq_ignore_ascii_case(b".xml")
}

#[cfg(test)]
mod tests;
