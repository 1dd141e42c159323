//! YOLO: a text file of boxes for each picture, and a file that names classes and splits.
//!
//! What is read is what Ultralytics (8.4) and Darknet read: `data.yaml` with `train`, `val`, `test` and `names`, or `obj.data` and `obj.names`. The labels of
//! `images/train/a.jpg` are in `labels/train/a.txt` (of the last `images` in the path), of pictures elsewhere beside them; a picture without any has no
//! objects. A row is a class and a box, as parts of width and height: they stay so ([`BoxFormat::CxcywhNormalized`]). Files with rows of more than 6 numbers are
//! polygons: each row's box is the one around it, and the column `polygons` has them as JSON, a list an object. Rows that come twice count once. A file
//! with one bad row is refused with its picture.

use std::collections::{BTreeMap, HashMap};
use std::ops::Range;
use std::path::Path;

use serde::Deserialize;

use super::walk::{self, Files, Found};
use super::{Entry, EntryCell, Evidence, Lister, Look, Refusal, Source, SourceEntry, SourceOptions, labels, pictures};
use crate::data::feature::{Feature, Schema};
use crate::data::objects::{BoxFormat, ObjectsType};
use crate::data::record::row_key;
use crate::error::{Error, Fault, Reason, Result};

mod rows;

/// The table's row.
pub const ENTRY: SourceEntry = SourceEntry {
    name: "yolo",
    version: 1,
    summary: "YOLO: a .txt file of boxes or polygons for each picture, with data.yaml or obj.names",
    build: || Box::new(Yolo),
};

/// YOLO's text files.
#[derive(Debug, Clone, Copy, Default)]
pub struct Yolo;

/// The split of pictures that none of the splits has.
const UNLISTED: &str = "unlisted";
/// Bytes of a file of settings or labels at the most.
const LARGEST: u64 = 16 << 20;
/// Bytes of a list of pictures at the most.
const LARGEST_LIST: u64 = 1 << 30;
/// Parts and bytes of a path at the most.
const DEEPEST: usize = 64;
const LONGEST: usize = 4096;

impl Source for Yolo {
    fn name(&self) -> &'static str {
        ENTRY.name
    }

    fn detect(&self, root: &Path, look: &Look) -> Option<Evidence> {
        let whole = |path: &Path| {
            std::fs::metadata(path).ok().filter(|m| m.len() <= LARGEST).and_then(|_| std::fs::read(path).ok())
        };
        let settings =
            |path: &Path| whole(path).and_then(|bytes| Settings::yaml(&bytes).ok()).is_some_and(|s| s.has_splits());
        if look.is_file {
            return (is_yaml(root.to_str()?) && settings(root))
                .then(|| Evidence::new(95, "it names splits and classes"));
        }
        let top = |is: &dyn Fn(&str) -> bool| look.top().map(|f| f.relative.as_str()).find(|name| is(name));
        if let Some(name) = top(&|name| is_yaml(name) && settings(&root.join(name))) {
            return Some(Evidence::new(92, format!("{name} names splits and classes")));
        }
        if let Some(name) = top(&|name| name == "obj.data") {
            return Some(Evidence::new(92, format!("{name} is that of Darknet")));
        }
        // images/ and labels/ with rows of five numbers.
        let mut labels =
            look.files.iter().map(|f| f.relative.as_str()).filter(|name| name.split('/').any(|part| part == "labels"));
        let first = labels.find(|name| name.ends_with(".txt"))?;
        let rows = whole(&root.join(first)).filter(|bytes| !bytes.is_empty() && rows::read(bytes, None).is_ok());
        rows.map(|_| Evidence::new(75, format!("{first} has rows of a class and a box")))
    }

    fn list(&self, root: &Path, options: &SourceOptions, lister: &mut Lister<'_>) -> Result<Schema> {
        labels::unused("YOLO", &[("--label-regex", &options.label_regex)])?;
        labels::unused("YOLO", &labels::of_manifests(options))?;
        let folder = if root.is_file() {
            root.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."))
        } else {
            root
        };
        let walk = walk::walk(folder, lister)?;
        walk.notes().into_iter().for_each(|note| lister.note(note));
        let settings = Settings::find(root, &walk.files)?;
        let mut listing = Listing {
            files: &walk.files,
            settings,
            taken: vec![0; walk.files.len().div_ceil(64)],
            options,
            twice: 0,
            shared: 0,
            bare: 0,
            labelled: 0,
        };
        if listing.settings.names.is_none() {
            lister.note(
                "nothing names the classes (data.yaml, obj.names, classes.txt): they are called by their numbers",
            );
        }
        let polygons = listing.any_polygons(lister)?;
        listing.list(polygons, lister)?;
        listing.check_labels(root, lister)?;
        let mut objects = ObjectsType::new(BoxFormat::CxcywhNormalized);
        objects.names = listing.settings.names.take().unwrap_or_default();
        let mut columns = vec![("image", Feature::Image), ("objects", Feature::Objects(objects))];
        columns.extend(polygons.then_some(("polygons", Feature::Text)));
        Ok(Schema::new(columns))
    }
}

fn is_yaml(name: &str) -> bool {
    name.ends_with(".yaml") || name.ends_with(".yml")
}

/// What names classes and splits.
#[derive(Debug, Default)]
struct Settings {
    /// Where it stands, for messages and for paths that are relative to it.
    name: String,
    names: Option<Vec<String>>,
    /// The splits with the paths of their pictures, folders or lists.
    splits: Vec<(String, Vec<String>)>,
    /// The folder that these are relative to.
    path: Option<String>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Paths {
    One(String),
    Many(Vec<String>),
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Names {
    List(Vec<String>),
    Map(BTreeMap<u32, String>),
}

#[derive(Deserialize)]
struct Yaml {
    #[serde(default)]
    path: Option<String>,
    #[serde(default)]
    train: Option<Paths>,
    #[serde(default, alias = "validation")]
    val: Option<Paths>,
    #[serde(default)]
    test: Option<Paths>,
    #[serde(default)]
    names: Option<Names>,
    #[serde(default)]
    nc: Option<u32>,
    /// Of poses: how many keypoints a row has, and numbers of each.
    #[serde(default)]
    kpt_shape: Option<serde_json::Value>,
}

impl Settings {
    fn has_splits(&self) -> bool {
        !self.splits.is_empty()
    }

    fn yaml(bytes: &[u8]) -> Result<Self, String> {
        let text = std::str::from_utf8(bytes).map_err(|e| format!("it is not UTF-8: {e}"))?;
        // The parser has a budget of its own for aliases and depth.
        let yaml: Yaml = serde_saphyr::from_str(text).map_err(|e| e.to_string())?;
        if yaml.kpt_shape.is_some_and(|shape| !shape.is_null()) {
            return Err("it is of poses (kpt_shape), whose keypoints are not read yet".into());
        }
        let names = match yaml.names {
            Some(Names::List(names)) => names,
            // As Ultralytics calls them.
            None => match yaml.nc {
                Some(nc) if nc <= 1 << 20 => (0..nc).map(|n| format!("class_{n}")).collect(),
                _ => return Err("it has neither names nor nc".into()),
            },
            Some(Names::Map(map)) => {
                // Numbers in between that nobody named are called by themselves.
                let count = map.keys().last().map_or(0, |last| u64::from(*last) + 1);
                if count > 1 << 20 {
                    return Err(format!("a class has the number {}", count - 1));
                }
                (0..count as u32).map(|n| map.get(&n).cloned().unwrap_or_else(|| n.to_string())).collect()
            }
        };
        if let Some(nc) = yaml.nc.filter(|nc| *nc as usize != names.len()) {
            return Err(format!("nc is {nc}, and there are {} names", names.len()));
        }
        let all = |paths: Paths| match paths {
            Paths::One(path) => vec![path],
            Paths::Many(paths) => paths,
        };
        let splits = [("train", yaml.train), ("validation", yaml.val), ("test", yaml.test)];
        let splits = splits.into_iter().filter_map(|(split, paths)| Some((split.to_owned(), all(paths?)))).collect();
        Ok(Settings { name: String::new(), names: Some(names), splits, path: yaml.path })
    }

    /// The settings of a root.
    fn find(root: &Path, files: &Files) -> Result<Self> {
        let wrong = |name: &str, what: String| {
            Error::config(
                format!("{name}: {what}"),
                "it says train, val and names, as for Ultralytics: names is a list or a map of all classes",
            )
        };
        if root.is_file() {
            let name = root.file_name().and_then(|n| n.to_str()).unwrap_or_default().to_owned();
            let bytes = std::fs::read(root).map_err(|e| Error::io(root, "read", e))?;
            return Ok(Settings { name: name.clone(), ..Self::yaml(&bytes).map_err(|what| wrong(&name, what))? });
        }
        let text = |at: usize| -> Result<(String, String)> {
            let found = files.get(at);
            if found.bytes > LARGEST {
                return Err(wrong(&found.relative, format!("{} bytes are too many", found.bytes)));
            }
            let bytes = std::fs::read(&found.path).map_err(|e| Error::io(&found.path, "read", e))?;
            Ok((found.relative, String::from_utf8_lossy(&bytes).into_owned()))
        };
        let mut bad = None;
        for at in
            (0..files.len()).filter(|at| is_yaml(&files.get(*at).relative) && !files.get(*at).relative.contains('/'))
        {
            let (name, text) = text(at)?;
            match Self::yaml(text.as_bytes()) {
                Ok(settings) => return Ok(Settings { name, ..settings }),
                Err(what) => bad = Some(wrong(&name, what)),
            }
        }
        if let Some(error) = bad {
            return Err(error);
        }
        let mut settings = Settings::default();
        let mut names = vec!["obj.names".to_owned(), "classes.txt".to_owned(), "labels/classes.txt".to_owned()];
        if let Some(at) = files.find("obj.data") {
            let (name, text) = text(at)?;
            settings.name = name;
            for (key, value) in text.lines().filter_map(|line| line.split_once('=')) {
                let value = value.trim().to_owned();
                match (key.trim(), labels::split_of(key.trim())) {
                    ("names", _) => names.insert(0, place_of(&value)),
                    (_, Some(split)) => settings.splits.push((split.to_owned(), vec![value])),
                    _ => {}
                }
            }
        }
        if let Some(at) = names.iter().find_map(|name| files.find(name)) {
            let (_, text) = text(at)?;
            // A class is the number of its line: one without a name is called by that.
            let lines = text.trim_end().lines().map(|line| line.trim_start_matches('\u{feff}').trim()).enumerate();
            let name = |(n, line): (usize, &str)| if line.is_empty() { n.to_string() } else { line.to_owned() };
            settings.names = Some(lines.map(name).collect());
        }
        Ok(settings)
    }
}

/// A path of Darknet's within its folder: `data/` is where that stands for the program.
fn place_of(path: &str) -> String {
    let path = path.replace('\\', "/");
    path.trim_start_matches("./").trim_start_matches("data/").to_owned()
}

struct Listing<'a> {
    files: &'a Files,
    settings: Settings,
    taken: Vec<u64>,
    options: &'a SourceOptions,
    /// Rows that came before.
    twice: u64,
    /// Pictures that a split before has.
    shared: u64,
    /// Pictures without a file of labels.
    bare: u64,
    labelled: u64,
}

/// Where the pictures of a split are.
enum Place {
    Folder(Range<usize>),
    List(usize),
}

impl Listing<'_> {
    fn take(&mut self, at: usize) -> bool {
        let (word, bit) = (at / 64, 1 << (at % 64));
        let was = self.taken[word] & bit != 0;
        self.taken[word] |= bit;
        !was
    }

    /// Where a path of the settings, or of a list in `dir`, leads. Paths begin in many places: what goes up, or is absolute, is
    /// looked for by its end.
    fn find(&self, path: &str, dir: &str) -> Option<Place> {
        let slashed = path.trim().replace('\\', "/");
        let parts: Vec<&str> = slashed.split('/').filter(|p| !p.is_empty() && *p != "." && *p != "..").collect();
        // Longer ones lead nowhere, and would be looked for many times.
        if parts.len() > DEEPEST || slashed.len() > LONGEST {
            return None;
        }
        let base = self.settings.path.as_deref().map(|p| p.replace('\\', "/"));
        let base = base.iter().flat_map(|base| base.split('/')).filter(|p| !p.is_empty() && *p != "." && *p != "..");
        let base = base.collect::<Vec<_>>().join("/");
        for from in 0..parts.len().max(1) {
            let path = parts.get(from..).unwrap_or_default().join("/");
            for dir in [dir, base.as_str(), ""] {
                let path = if path.is_empty() { dir.to_owned() } else { pictures::join(dir, &path) };
                if let Some(at) = self.files.find(&path) {
                    return Some(Place::List(at));
                }
                let below = self.files.below(&path);
                if !below.is_empty() && !path.is_empty() {
                    return Some(Place::Folder(below));
                }
            }
        }
        parts.is_empty().then(|| Place::Folder(0..self.files.len()))
    }

    /// Every picture with its split, in the order of the settings; then those of no split.
    fn each(
        &mut self,
        lister: &mut Lister<'_>,
        visit: &mut dyn FnMut(&mut Self, &mut Lister<'_>, Found, &str) -> Result<()>,
    ) -> Result<()> {
        self.taken.fill(0);
        let splits = self.settings.splits.clone();
        for (split, paths) in &splits {
            for path in paths {
                match self.find(path, "") {
                    // Trainers ask for it no sooner than they test.
                    None if split == "test" => {
                        let name = &self.settings.name;
                        lister.note(format!("{name}: test is {path:?}, which is not there, and was left out"));
                    }
                    None => {
                        let what = format!("{}: {split} is {path:?}, which is not there", self.settings.name);
                        return Err(Error::config(
                            what,
                            "paths are those of folders of pictures, or of lists of them, below the settings",
                        ));
                    }
                    Some(Place::Folder(range)) => {
                        for at in range {
                            self.picture(at, split, lister, visit)?;
                        }
                    }
                    Some(Place::List(at)) => self.list_of(at, split, lister, visit)?,
                }
            }
        }
        let mut unlisted = 0u64;
        for at in 0..self.files.len() {
            let found = self.files.get(at);
            if pictures::is(&found.relative) && self.take(at) {
                lister.step()?;
                let split = if splits.is_empty() { self.by_folder(&found.relative)? } else { UNLISTED.to_owned() };
                unlisted += u64::from(!splits.is_empty());
                visit(self, lister, found, &split)?;
            }
        }
        if unlisted > 0 {
            lister.note(format!(
                "{unlisted} pictures are in none of the splits of {}: their split is {UNLISTED:?}",
                self.settings.name
            ));
        }
        Ok(())
    }

    fn picture(
        &mut self,
        at: usize,
        split: &str,
        lister: &mut Lister<'_>,
        visit: &mut dyn FnMut(&mut Self, &mut Lister<'_>, Found, &str) -> Result<()>,
    ) -> Result<()> {
        let found = self.files.get(at);
        if !pictures::is(&found.relative) {
            return Ok(());
        }
        lister.step()?;
        if self.take(at) {
            return visit(self, lister, found, split);
        }
        self.shared += 1;
        Ok(())
    }

    /// The pictures of a list, a path a line.
    fn list_of(
        &mut self,
        at: usize,
        split: &str,
        lister: &mut Lister<'_>,
        visit: &mut dyn FnMut(&mut Self, &mut Lister<'_>, Found, &str) -> Result<()>,
    ) -> Result<()> {
        let list = self.files.get(at);
        if pictures::is(&list.relative) {
            return self.picture(at, split, lister, visit);
        }
        if list.bytes > LARGEST_LIST {
            let what = format!("{}: a list of pictures of {} bytes", list.relative, list.bytes);
            return Err(Error::config(
                what,
                "is it a list of paths? a split is a folder of pictures, or a list of them",
            ));
        }
        let bytes = super::read_range(&list.path, 0, list.bytes, list.bytes);
        let bytes = bytes.map_err(|fault| {
            Error::config(format!("{}: {fault}", list.relative), "it names pictures, a path a line")
        })?;
        let dir = pictures::parts(&list.relative).0.to_owned();
        for (number, line) in String::from_utf8_lossy(&bytes).lines().enumerate() {
            lister.step()?;
            let line = line.trim_start_matches('\u{feff}').trim();
            if line.is_empty() {
                continue;
            }
            match self.find(line, &dir) {
                Some(Place::List(at)) if pictures::is(&self.files.get(at).relative) => {
                    self.picture(at, split, lister, visit)?
                }
                _ => {
                    let fault = Fault::new(Reason::Unreadable, "there is no such picture");
                    let line = Some(number as u64 + 1);
                    lister.refuse(Refusal {
                        id: line_id(&list.relative, line),
                        origin: list.relative.clone(),
                        line,
                        fault,
                    })?;
                }
            }
        }
        Ok(())
    }

    /// The split that a folder of the path is called like.
    fn by_folder(&self, relative: &str) -> Result<String> {
        let (dir, _) = pictures::parts(relative);
        match dir.split('/').rev().find_map(labels::split_of) {
            Some(split) => Ok(split.to_owned()),
            None => labels::default_split(self.options),
        }
    }

    /// The file of labels of a picture: `labels` in place of the last `images` of its path, else beside it.
    fn labels_of(&self, relative: &str) -> Option<Found> {
        let (dir, stem) = pictures::parts(relative);
        let parts: Vec<&str> = dir.split('/').collect();
        // Ultralytics knows `images`, Darknet `JPEGImages` too.
        let at = parts.iter().rposition(|part| *part == "images" || *part == "JPEGImages");
        let dir = match at {
            Some(at) => {
                let mut parts = parts.clone();
                parts[at] = "labels";
                parts.join("/")
            }
            None => dir.to_owned(),
        };
        self.files.find(&pictures::join(&dir, &format!("{stem}.txt"))).map(|at| self.files.get(at))
    }

    /// Whether a file has polygons; the first that has decides the columns.
    fn any_polygons(&mut self, lister: &mut Lister<'_>) -> Result<bool> {
        for at in 0..self.files.len() {
            let found = self.files.get(at);
            if !pictures::is(&found.relative) {
                continue;
            }
            lister.step()?;
            let labels = self.labels_of(&found.relative).and_then(|labels| read(&labels, None).ok());
            if labels.is_some_and(|labels| !labels.polygons.is_empty()) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Says what was seen of labels beside what became of them: none at all is an error, and those that no picture has are refused.
    fn check_labels(&mut self, root: &Path, lister: &mut Lister<'_>) -> Result<()> {
        let mut note = |n: u64, what: &str| {
            if n > 0 {
                lister.note(format!("{n} {what}"));
            }
        };
        note(self.twice, "rows of labels came twice and count once");
        note(self.shared, "pictures are named by two splits, or twice by one: they are in the first");
        note(self.bare, "pictures have no file of labels: they have no objects, as YOLO has it");
        let mut owned = std::collections::HashSet::new();
        for at in 0..self.files.len() {
            let found = self.files.get(at);
            if pictures::is(&found.relative)
                && let Some(labels) = self.labels_of(&found.relative)
            {
                owned.insert(row_key(&labels.relative));
            }
        }
        for at in 0..self.files.len() {
            let found = self.files.get(at);
            let is_labels = found.relative.ends_with(".txt")
                && found.relative.split('/').rev().skip(1).any(|part| part == "labels");
            if is_labels && found.file_name() != "classes.txt" && !owned.contains(&row_key(&found.relative)) {
                let what = "no picture of this name has these labels (a picture is .jpg, .png, .webp, ..)";
                lister.refuse(Refusal::file(found.relative, Fault::new(Reason::Unreadable, what)))?;
            }
        }
        if self.labelled == 0 && owned.is_empty() {
            let what = format!("{}: not one picture has a file of labels", root.display());
            let help = "they are in labels/ where the picture is in images/, or beside it; or say another --format";
            return Err(Error::config(what, help));
        }
        Ok(())
    }

    fn list(&mut self, polygons: bool, lister: &mut Lister<'_>) -> Result<()> {
        let names = self.settings.names.clone();
        self.each(lister, &mut |listing, lister, found, split| {
            let Found { relative, path, bytes } = found;
            let labels = match listing.labels_of(&relative) {
                None => {
                    listing.bare += 1;
                    Ok(rows::Labels::default())
                }
                Some(labels) => read(&labels, names.as_ref().map(Vec::len)).map_err(|fault| Refusal {
                    id: relative.clone(),
                    origin: labels.relative,
                    line: None,
                    fault,
                }),
            };
            let labels = match labels {
                Ok(labels) => labels,
                Err(refusal) => return lister.refuse(refusal),
            };
            listing.twice += labels.twice;
            listing.labelled += u64::from(labels.any());
            let (own, objects) = labels.objects(names.as_deref());
            let mut cells = vec![EntryCell::File { path, bytes }, EntryCell::Objects(own, Box::new(objects))];
            if polygons {
                cells.push(EntryCell::Inline(labels.json().into_bytes()));
            }
            lister.entry(Entry { origin: relative.clone(), id: relative, split: split.to_owned(), cells, line: None })
        })
    }
}

fn line_id(list: &str, line: Option<u64>) -> String {
    format!("{list}#{}", line.unwrap_or_default())
}

fn read(labels: &Found, classes: Option<usize>) -> Result<rows::Labels, Fault> {
    if labels.bytes > LARGEST {
        return Err(Fault::new(Reason::OverLimit, format!("labels of {} bytes", labels.bytes)));
    }
    rows::read(&super::read_range(&labels.path, 0, labels.bytes, labels.bytes)?, classes)
}

/// Classes of a file by the place that they have among those of its own.
type Own = HashMap<usize, i64>;

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::source::listing::listed;

    fn tree(files: &[(&str, &str)]) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        for (name, content) in files {
            let path = dir.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, content).unwrap();
        }
        dir
    }

    const ONE: &str = "0 0.5 0.5 1 1\n";

    /// Ids with their splits and classes.
    fn seen(files: &[(&str, &str)]) -> (Vec<String>, Vec<String>, Vec<String>) {
        let dir = tree(files);
        let (listing, entries) = listed(&Yolo, dir.path(), &SourceOptions::default()).unwrap();
        let told = |entry: &Entry| match &entry.cells[1] {
            EntryCell::Objects(names, objects) => {
                let classes: Vec<&str> = objects.classes.iter().map(|c| names[*c as usize].as_str()).collect();
                format!("{} {} {}", entry.split, entry.id, classes.join("+"))
            }
            other => panic!("{other:?}"),
        };
        let refused = listing.refused.iter().map(Result::unwrap).map(|r| format!("{} {}", r.id, r.fault));
        (entries.iter().map(told).collect(), refused.collect(), listing.notes)
    }

    #[test]
    fn settings_may_be_written_in_many_ways() {
        for yaml in [
            "train: images/train\nval: images/val\nnames: [cat, dog]\nnc: 2",
            "path: ../datasets/mine\ntrain: images/train\nvalidation: [images/val]\nnames:\n  0: cat\n  1: dog",
            "path: /data/of/someone\ntrain: ../images/train/\nval: ./images/val\nnames: {0: cat, 1: dog}",
            "train: lists/train.txt\nval: C:\\x\\images\\val\nnames: ['cat', \"dog\"]",
        ] {
            let (rows, refused, notes) = seen(&[
                ("data.yaml", yaml),
                ("images/train/a.jpg", "1"),
                ("labels/train/a.txt", "1 0.5 0.5 1 1\n0 0.5 0.5 1 1"),
                ("images/val/b.images.jpg", "2"),
                ("labels/val/b.images.txt", ONE),
                ("images/val/background.jpg", "3"),
                ("images/other/c.jpg", "4"),
                ("lists/train.txt", "./../images/train/a.jpg\n"),
            ]);
            let expected = [
                "train images/train/a.jpg dog+cat",
                "unlisted images/other/c.jpg ",
                "validation images/val/b.images.jpg cat",
                "validation images/val/background.jpg ",
            ];
            let mut sorted = rows.clone();
            sorted.sort();
            assert_eq!(sorted, expected, "{yaml}");
            assert!(refused.is_empty(), "{refused:?}");
            assert!(notes.iter().any(|n| n.contains("1 pictures are in none of the splits")), "{notes:?}");
        }
    }

    #[test]
    fn without_settings_folders_and_numbers_say_it() {
        let (rows, _, notes) = seen(&[
            ("a/images/x/images/valid/p.png", "1"),
            ("a/images/x/labels/valid/p.txt", "3 0.5 0.5 1 1"),
            ("q.png", "2"),
            ("q.txt", ONE),
        ]);
        assert_eq!(rows, ["train q.png 0", "validation a/images/x/images/valid/p.png 3"]);
        assert!(notes.iter().any(|n| n.contains("called by their numbers")), "{notes:?}");
        let (rows, ..) = seen(&[
            ("classes.txt", "\u{feff}cat\n\ndog\n\n"),
            ("q.png", "2"),
            ("q.txt", "2 0.5 0.5 1 1\n1 0.5 0.5 1 1"),
        ]);
        assert_eq!(rows, ["train q.png dog+1"], "a class is the number of its line");
    }

    #[test]
    fn what_is_wrong_is_refused_or_said() {
        let (rows, refused, _) = seen(&[
            ("data.yaml", "train: train.txt\nnames: [cat]"),
            ("train.txt", "a.png\nmissing.png\n../../etc/passwd\nb.png\n"),
            ("a.png", "1"),
            ("a.txt", "1 0.5 0.5 1 1"),
            ("b.png", "1"),
            ("b.txt", "0 0.1 0.1 0.2 0.2 0.3 0.3\n"),
        ]);
        assert_eq!(rows, ["train b.png cat"]);
        assert_eq!(refused.len(), 3, "{refused:?}");
        assert!(refused[0].contains("class 1, and there are 1"), "{refused:?}");
        for yaml in [
            "train: nowhere\nnames: [a]",
            "names: [a]\nnc: 2\ntrain: .",
            "names: {4000000000: a}\ntrain: .",
            "train: .",
            "[1, 2",
            "a: &a [x]\nb: &b [*a, *a, *a, *a, *a, *a, *a, *a, *a]\nc: &c [*b, *b, *b, *b, *b, *b, *b, *b, *b]\nd: &d [*c, *c, *c, *c, *c, *c, *c, *c]\n\
             e: &e [*d, *d, *d, *d, *d, *d, *d, *d]\nf: &f [*e, *e, *e, *e, *e, *e, *e, *e]\nnames: *f\ntrain: .",
        ] {
            let dir = tree(&[("data.yaml", yaml), ("a.png", "1")]);
            let error = listed(&Yolo, dir.path(), &SourceOptions::default()).map(|_| ()).unwrap_err();
            assert!(error.exit_code() == 2, "{yaml}: {error}");
        }
    }

    #[test]
    fn polygons_of_one_file_make_a_column_for_all() {
        let dir = tree(&[("a.png", "1"), ("a.txt", "0 0.1 0.1 0.2 0.1 0.2 0.3\n"), ("b.png", "2"), ("b.txt", ONE)]);
        let (listing, entries) = listed(&Yolo, dir.path(), &SourceOptions::default()).unwrap();
        assert_eq!(listing.schema.get("polygons"), Some(&Feature::Text));
        let text = |at: usize| match &entries[at].cells[2] {
            EntryCell::Inline(bytes) => String::from_utf8_lossy(bytes).into_owned(),
            other => panic!("{other:?}"),
        };
        assert_eq!((text(0).as_str(), text(1).as_str()), ("[[[0.1,0.1,0.2,0.1,0.2,0.3]]]", "[]"));
    }
}
