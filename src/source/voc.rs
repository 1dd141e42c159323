//! Pascal VOC: an XML file of boxes for each picture.
//!
//! A picture and its annotation share their stem. The annotation stands beside the picture, or in a folder `Annotations` where the path of
//! the picture has another one: `JPEGImages/a.jpg` and `Annotations/a.xml`. An annotation that no picture is found for by its
//! own name is asked for the name of its picture. Splits are the lists `ImageSets/Main/{train,val,test}.txt` where they are there, else folders that are called so.

use std::collections::HashMap;
use std::path::Path;

use super::walk::{self, Files, Found};
use super::{Entry, EntryCell, Evidence, Lister, Look, Refusal, Source, SourceEntry, SourceOptions, labels, pictures};
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
/// The split of pictures that none of the lists has.
const UNLISTED: &str = "unlisted";
/// Bytes of an annotation at the most.
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
        let head = walk::head(&root.join(first)).ok()?;
        let said = String::from_utf8_lossy(&head);
        let is = said.trim_start_matches('\u{feff}').contains("<annotation");
        is.then(|| Evidence::new(85, format!("{} XML files, of which {first} is an <annotation>", files.count() + 1)))
    }

    fn list(&self, root: &Path, options: &SourceOptions, lister: &mut Lister<'_>) -> Result<Schema> {
        labels::unused("Pascal VOC", &[("--label-regex", &options.label_regex)])?;
        labels::unused("Pascal VOC", &labels::of_manifests(options))?;
        let walk = walk::walk(root, lister)?;
        walk.notes().into_iter().for_each(|note| lister.note(note));
        let origin = options.box_origin.unwrap_or(1);
        let default = labels::default_split(options)?;
        let mut listing = Listing {
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

struct Listing<'a> {
    files: &'a Files,
    options: &'a SourceOptions,
    origin: u8,
    default: String,
    /// A bit for each file that was taken.
    taken: Vec<u64>,
    /// The lists of each folder that has some, by stem.
    lists: HashMap<String, Option<HashMap<String, String>>>,
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

    /// Every picture, with the annotation of its name.
    fn pictures(&mut self, lister: &mut Lister<'_>) -> Result<()> {
        for at in 0..self.files.len() {
            let found = self.files.get(at);
            if !pictures::is(&found.relative) {
                continue;
            }
            lister.step()?;
            let (dir, stem) = pictures::parts(&found.relative);
            let annotation = places(dir, ANNOTATIONS).find_map(|(base, dir)| {
                let name = pictures::join(&dir, &format!("{stem}.xml"));
                self.files.find(&name).map(|at| (base, at))
            });
            if let Some((base, xml)) = annotation
                && self.take(xml)
            {
                self.take(at);
                let xml = self.files.get(xml);
                self.enter(found, &base, Some(&xml), lister)?;
            }
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
            match picture.filter(|_| pictures::is(named)) {
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
            if pictures::is(&found.relative) && !self.is_taken(at) {
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
        xml::read(&super::read_range(&xml.path, 0, xml.bytes, xml.bytes)?, self.origin)
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
            return Ok(lists.get(&below).or_else(|| lists.get(stem)).cloned().unwrap_or_else(|| {
                self.seen.unlisted += 1;
                UNLISTED.to_owned()
            }));
        }
        Ok(pictures::split_of(relative, self.options)?.unwrap_or_else(|| self.default.clone()))
    }

    /// The split of each stem, by the lists of a folder that has some. `trainval` is what train and val are together.
    fn read_lists(&self, base: &str) -> Result<Option<HashMap<String, String>>, Fault> {
        let mut of = HashMap::new();
        let mut any = false;
        for list in ["train", "val", "test", "trainval"] {
            let Some(at) = self.files.find(&pictures::join(base, &format!("ImageSets/Main/{list}.txt"))) else {
                continue;
            };
            if list == "trainval" && any && of.values().any(|split| split != "test") {
                continue;
            }
            any = true;
            let file = self.files.get(at);
            let bytes = super::read_range(&file.path, 0, file.bytes, file.bytes)?;
            let split = labels::split_of(list).unwrap_or("train");
            for line in String::from_utf8_lossy(&bytes).lines() {
                // The lists of one class say behind each whether it has some.
                let stem = line.trim_start_matches('\u{feff}').trim();
                let stem = [" 1", " -1", " 0"].iter().find_map(|end| stem.strip_suffix(end)).unwrap_or(stem).trim_end();
                if stem.is_empty() {
                    continue;
                }
                if let Some(other) = of.insert(stem.to_owned(), split.to_owned()).filter(|other| other != split) {
                    let what = format!("{}: {stem} is in {other}, too", file.relative);
                    return Err(Fault::new(Reason::BadLabel, what));
                }
            }
        }
        Ok(any.then_some(of))
    }
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
mod tests {
    use std::fs;

    use super::*;
    use crate::source::listing::listed;

    const BOX: &str =
        "<object><name>a</name><bndbox><xmin>1</xmin><ymin>1</ymin><xmax>2</xmax><ymax>2</ymax></bndbox></object>";

    fn tree(files: &[(&str, &str)]) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        for (name, content) in files {
            let path = dir.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            let content = if content.starts_with('<') && !content.starts_with("<!") {
                format!("<annotation>{content}</annotation>")
            } else {
                (*content).to_owned()
            };
            fs::write(path, content).unwrap();
        }
        dir
    }

    type Row = (String, String, Option<usize>);

    /// Ids with their splits and how many objects they have; refusals; notes.
    fn seen(dir: &tempfile::TempDir, options: &SourceOptions) -> (Vec<Row>, Vec<(String, Reason)>, Vec<String>) {
        let (listing, entries) = listed(&Voc, dir.path(), options).unwrap();
        let entry = |entry: &Entry| {
            let objects = match &entry.cells[1] {
                EntryCell::Objects(_, objects) => Some(objects.len()),
                _ => None,
            };
            (entry.id.clone(), entry.split.clone(), objects)
        };
        let refused = listing.refused.iter().map(Result::unwrap).map(|r| (r.id, r.fault.reason)).collect();
        (entries.iter().map(entry).collect(), refused, listing.notes)
    }

    fn row(id: &str, split: &str, objects: impl Into<Option<usize>>) -> Row {
        (id.to_owned(), split.to_owned(), objects.into())
    }

    #[test]
    fn pictures_find_their_annotations_and_lists_their_splits() {
        let dir = tree(&[
            ("V/JPEGImages/one.jpg", "1"),
            ("V/JPEGImages/sub/two.JPG", "2"),
            ("V/JPEGImages/bare.png", "3"),
            ("V/JPEGImages/named.png", "4"),
            ("V/JPEGImages/unlisted.png", "5"),
            ("V/Annotations/one.xml", BOX),
            ("V/Annotations/sub/two.xml", "<filename>two.JPG</filename>"),
            ("V/Annotations/other.xml", "<filename>C:\\data\\named.png</filename>"),
            ("V/Annotations/unlisted.xml", "<filename>x.png</filename>"),
            ("V/Annotations/nobody.xml", "<filename>nobody.png</filename>"),
            ("V/Annotations/twice.xml", "<filename>one.jpg</filename>"),
            ("V/ImageSets/Main/train.txt", "one\nbare\n"),
            ("V/ImageSets/Main/val.txt", "sub/two\r\nnamed  1\n\n"),
            ("V/ImageSets/Main/trainval.txt", "one\nunlisted\n"),
            ("side/test/a.png", "6"),
            ("side/test/a.xml", BOX),
        ]);
        let (rows, refused, notes) = seen(&dir, &SourceOptions::default());
        let expected = [
            row("side/test/a.png", "train", 1),
            row("V/JPEGImages/bare.png", "train", None),
            row("V/JPEGImages/one.jpg", "train", 1),
            row("V/JPEGImages/unlisted.png", "unlisted", 0),
            row("V/JPEGImages/named.png", "validation", 0),
            row("V/JPEGImages/sub/two.JPG", "validation", 0),
        ];
        let mut sorted = expected.to_vec();
        sorted.sort_by(|a, b| (&a.1, &a.0).cmp(&(&b.1, &b.0)));
        assert_eq!(rows, sorted);
        let refused: Vec<(&str, Reason)> = refused.iter().map(|(id, reason)| (id.as_str(), *reason)).collect();
        assert_eq!(
            refused,
            [("V/Annotations/nobody.xml", Reason::Unreadable), ("V/Annotations/twice.xml", Reason::BadLabel)]
        );
        for said in
            ["1 pictures have no annotation", "1 annotations name another file", "1 pictures are in none of the lists"]
        {
            assert!(notes.iter().any(|note| note.contains(said)), "{said}: {notes:?}");
        }
        // Folders that are called like splits are splits.
        let dir = tree(&[("test/a.png", "6"), ("test/a.xml", BOX), ("b.png", "7"), ("b.xml", BOX)]);
        let (rows, ..) = seen(&dir, &SourceOptions { split: "fold".into(), ..SourceOptions::default() });
        assert_eq!(rows, [row("b.png", "fold", 1), row("test/a.png", "test", 1)]);
    }

    #[test]
    fn bad_annotations_refuse_their_picture_and_nothing_else() {
        let dir = tree(&[
            ("a.png", "1"),
            ("a.xml", "<object><name>a</name></object>"),
            ("b.png", "1"),
            ("b.xml", "<!DOCTYPE annotation [<!ENTITY e \"x\">]><annotation>&e;</annotation>"),
            ("c.png", "1"),
            ("c.xml", BOX),
        ]);
        let (rows, refused, _) = seen(&dir, &SourceOptions::default());
        assert_eq!(rows, [row("c.png", "train", 1)]);
        let reasons: Vec<(&str, Reason)> = refused.iter().map(|(id, reason)| (id.as_str(), *reason)).collect();
        assert_eq!(reasons, [("a.png", Reason::BadLabel), ("b.png", Reason::BadLabel)]);
        let dir = tree(&[
            ("a.png", "1"),
            ("ImageSets/Main/train.txt", "a"),
            ("ImageSets/Main/val.txt", "a"),
            ("Annotations/a.xml", BOX),
        ]);
        let (rows, refused, _) = seen(&dir, &SourceOptions::default());
        assert_eq!((rows.len(), refused.len()), (0, 1), "a picture in two lists");
        for (files, options) in [
            (&[("a.png", "1")][..], SourceOptions::default()),
            (
                &[("a.png", "1"), ("a.xml", BOX)],
                SourceOptions { label_column: Some("x".into()), ..SourceOptions::default() },
            ),
        ] {
            assert_eq!(listed(&Voc, tree(files).path(), &options).map(|_| ()).unwrap_err().exit_code(), 2);
        }
    }
}
