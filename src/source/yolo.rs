//! YOLO: a text file of boxes for each picture, and a file that names classes and splits.
//!
//! What is read is what Ultralytics (8.4) and Darknet read: `data.yaml` with `train`, `val`, `test` and `names`, or `obj.data` and `obj.names`. The labels of
//! `images/train/a.jpg` are in `labels/train/a.txt` (of the last `images` in the path), of pictures elsewhere beside them; a picture without any has no
//! objects. A row is a class and a box, as parts of width and height: they stay so ([`BoxFormat::CxcywhNormalized`]). Files with rows of more than 6 numbers are
//! polygons: each row's box is the one around it, and the column `polygons` has them as JSON, a list an object. Where `data.yaml` has `kpt_shape`, rows are poses: a box
//! and so many keypoints, which the column `keypoints` has. Rows that come twice count once. A file
//! with one bad row is refused with its picture.

use std::collections::HashMap;
use std::ops::Range;
use std::path::Path;

use settings::Settings;

use super::walk::{self, Files, Found};
use super::{
    Entry, EntryCell, Evidence, Lister, Look, Refusal, Source, SourceEntry, SourceOptions, Tree, labels, pictures,
};
use crate::data::feature::{Feature, Schema};
use crate::data::objects::{BoxFormat, ObjectsType};
use crate::data::record::row_key;
use crate::error::{Error, Fault, Reason, Result};

mod rows;
mod settings;

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
            let (bytes, _) = look.tree().stamp(path).ok()?;
            (bytes <= LARGEST).then(|| look.tree().read(path, LARGEST).ok()).flatten()
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
        let rows = whole(&root.join(first))
            .filter(|bytes| !bytes.is_empty() && rows::read(bytes, rows::Form::default()).is_ok());
        rows.map(|_| Evidence::new(75, format!("{first} has rows of a class and a box")))
    }

    fn list(&self, root: &Path, options: &SourceOptions, lister: &mut Lister<'_>) -> Result<Schema> {
        labels::unused("YOLO", &[("--label-regex", &options.label_regex)])?;
        labels::unused("YOLO", &labels::of_manifests(options))?;
        let tree = lister.tree().clone();
        let folder = if tree.is_file(root) {
            root.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."))
        } else {
            root
        };
        let walk = walk::walk(folder, lister)?;
        walk.notes().into_iter().for_each(|note| lister.note(note));
        let settings = Settings::find(&tree, root, &walk.files)?;
        let mut listing = Listing {
            tree,
            folder,
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
        let pose = listing.settings.pose.is_some();
        let polygons = !pose && listing.any_polygons(lister)?;
        listing.list(polygons, lister)?;
        listing.check_labels(root, lister)?;
        let mut objects = ObjectsType::new(BoxFormat::CxcywhNormalized);
        objects.names = listing.settings.names.take().unwrap_or_default();
        objects.details = std::mem::take(&mut listing.settings.details);
        let mut columns = vec![("image", Feature::Image), ("objects", Feature::Objects(objects))];
        columns.extend(polygons.then_some(("polygons", Feature::Text)));
        columns.extend(pose.then_some(("keypoints", Feature::Text)));
        Ok(Schema::new(columns))
    }
}

fn is_yaml(name: &str) -> bool {
    name.ends_with(".yaml") || name.ends_with(".yml")
}

struct Listing<'a> {
    tree: Tree,
    folder: &'a Path,
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

/// What is done with each picture and its split.
type Visit<'v> = &'v mut dyn FnMut(&mut Listing<'_>, &mut Lister<'_>, Found, &str) -> Result<()>;

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
    fn each(&mut self, lister: &mut Lister<'_>, visit: Visit<'_>) -> Result<()> {
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

    fn picture(&mut self, at: usize, split: &str, lister: &mut Lister<'_>, visit: Visit<'_>) -> Result<()> {
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
    fn list_of(&mut self, at: usize, split: &str, lister: &mut Lister<'_>, visit: Visit<'_>) -> Result<()> {
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
        let bytes = self.tree.read_range(&list.path, 0, list.bytes, list.bytes);
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
        self.files.find(&Self::place_of_labels(relative)).map(|at| self.files.get(at))
    }

    fn place_of_labels(relative: &str) -> String {
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
        pictures::join(&dir, &format!("{stem}.txt"))
    }

    /// Why the labels of a picture were not found, if something stands in their place, or where a folder above them should be: a link to what is not
    /// mounted does not say that there are no objects.
    fn unread_labels(&self, relative: &str) -> Option<Fault> {
        // What an archive has is listed as it is.
        if !self.folder.is_dir() {
            return None;
        }
        let mut path = self.folder.to_owned();
        for part in Self::place_of_labels(relative).split('/') {
            path.push(part);
            let unread = |why: &str| Some(Fault::new(Reason::Unreadable, format!("{}: {why}", path.display())));
            match std::fs::symlink_metadata(&path) {
                Err(e) if e.kind() == std::io::ErrorKind::NotFound => return None,
                Err(e) => return unread(&e.to_string()),
                Ok(meta) if meta.is_symlink() => match (path.canonicalize(), self.folder.canonicalize()) {
                    (Ok(real), Ok(folder)) if real.starts_with(&folder) => {}
                    (Ok(_), _) => return unread("the link leads out of the source"),
                    (Err(e), _) => return unread(&e.to_string()),
                },
                Ok(_) => {}
            }
        }
        let what = format!("{}: it is there, and was not listed as a file", path.display());
        Some(Fault::new(Reason::Unreadable, what))
    }

    /// Whether a file has polygons; the first that has decides the columns.
    fn any_polygons(&mut self, lister: &mut Lister<'_>) -> Result<bool> {
        for at in 0..self.files.len() {
            let found = self.files.get(at);
            if !pictures::is(&found.relative) {
                continue;
            }
            lister.step()?;
            let labels = self
                .labels_of(&found.relative)
                .and_then(|labels| read(&self.tree, &labels, rows::Form::default()).ok());
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
        let form = rows::Form { classes: names.as_ref().map(Vec::len), pose: self.settings.pose };
        self.each(lister, &mut |listing, lister, found, split| {
            let Found { relative, path, bytes } = found;
            let labels = match listing.labels_of(&relative) {
                None => match listing.unread_labels(&relative) {
                    None => {
                        listing.bare += 1;
                        Ok(rows::Labels::default())
                    }
                    Some(fault) => {
                        let origin = Listing::place_of_labels(&relative);
                        Err(Refusal { id: relative.clone(), origin, line: None, fault })
                    }
                },
                Some(labels) => read(&listing.tree, &labels, form).map_err(|fault| Refusal {
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
                cells.push(EntryCell::Inline(labels.polygons().into_bytes()));
            }
            if form.pose.is_some() {
                cells.push(EntryCell::Inline(labels.keypoints().into_bytes()));
            }
            lister.entry(Entry { origin: relative.clone(), id: relative, split: split.to_owned(), cells, line: None })
        })
    }
}

fn line_id(list: &str, line: Option<u64>) -> String {
    format!("{list}#{}", line.unwrap_or_default())
}

fn read(tree: &Tree, labels: &Found, form: rows::Form) -> Result<rows::Labels, Fault> {
    if labels.bytes > LARGEST {
        return Err(Fault::new(Reason::OverLimit, format!("labels of {} bytes", labels.bytes)));
    }
    rows::read(&tree.read_range(&labels.path, 0, labels.bytes, labels.bytes)?, form)
}

/// Classes of a file by the place that they have among those of its own.
type Own = HashMap<usize, i64>;

#[cfg(test)]
mod tests;
