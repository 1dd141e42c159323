//! Datasets as the files that other tools read: media in folders, and what is said of them in a format's own files beside them.
//!
//! Payloads go out as they are stored, byte for byte; what a format cannot say is left out and told in a note. A folder comes into being whole or
//! not at all: it is written beside its place and moved there at the end.

use std::collections::{BTreeMap, HashSet};
use std::fs::{self, File};
use std::io::Write as _;
use std::path::{Component, Path, PathBuf};

use serde::Serialize;
use xxhash_rust::xxh3::xxh3_64;

use crate::data::feature::Feature;
use crate::data::index::Row;
use crate::data::info::Kind;
use crate::data::label::{Objects, Value};
use crate::data::objects::ObjectsType;
use crate::dataset::Dataset;
use crate::error::{Error, Result};
use crate::registry::{Named, Table};
use crate::spool::Spill;

mod coco;
mod folder;
mod jsonl;
mod voc;
mod yolo;

/// One format: a row of the table.
#[derive(Debug, Clone, Copy)]
pub struct ExportFormat {
    /// The name for `--format`.
    pub name: &'static str,
    /// What comes out, in one line.
    pub summary: &'static str,
    /// Begins an export.
    make: fn(&Asked<'_>) -> Result<Box<dyn Writer>>,
}

impl Named for ExportFormat {
    fn name(&self) -> &'static str {
        self.name
    }
}

/// The formats of this build.
pub const FORMATS: &[ExportFormat] = &[folder::FORMAT, jsonl::FORMAT, coco::FORMAT, voc::FORMAT, yolo::FORMAT];

/// What is exported, and how.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ExportOptions {
    /// Of which splits the rows are; empty: of all.
    pub splits: Vec<String>,
    /// The column of media; unless told the first.
    pub media: Option<String>,
    /// The column of objects; unless told the first.
    pub objects: Option<String>,
    /// The column of classes for class folders; unless told the first.
    pub label: Option<String>,
}

/// What came of an export.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Exported {
    /// The format.
    pub format: &'static str,
    /// Rows whose media are there.
    pub rows: u64,
    /// Rows of each split.
    pub splits: BTreeMap<String, u64>,
    /// Bytes of media.
    pub bytes: u64,
    /// Rows that the format has no place for: the first of them with the reason, and how many.
    pub left_out: Vec<LeftOut>,
    /// What the format does not say, and other things to know.
    pub notes: Vec<String>,
}

/// Rows that are not in an export for one reason.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LeftOut {
    /// Why, in a sentence.
    pub reason: String,
    /// How many.
    pub rows: u64,
    /// The id of the first.
    pub first: String,
}

/// What a format is asked to write.
struct Asked<'a> {
    dataset: &'a Dataset,
    /// The column of media.
    media: usize,
    objects: Option<(usize, &'a ObjectsType)>,
    label: Option<usize>,
    splits: Vec<String>,
    spill: Spill,
}

impl Asked<'_> {
    /// A column by name.
    fn column(&self, name: &str) -> Option<usize> {
        self.dataset.schema().position(name)
    }

    /// A column of texts by name.
    fn text(&self, name: &str) -> Option<usize> {
        self.column(name).filter(|at| matches!(self.dataset.schema().columns[*at].feature, Feature::Text))
    }

    /// A note of the columns that are none of these, if there are such.
    fn unsaid(&self, said: &[usize]) -> Option<String> {
        let columns = self.dataset.schema().columns.iter().enumerate();
        let others: Vec<&str> = columns.filter(|(at, _)| !said.contains(at)).map(|(_, c)| c.name.as_str()).collect();
        (!others.is_empty()).then(|| format!("left out, as the format has no place for it: {}", others.join(", ")))
    }

    /// The objects, or an error that says what the format wants.
    fn objects(&self, format: &str) -> Result<(usize, &ObjectsType)> {
        self.objects.ok_or_else(|| {
            let what = format!("{} has no column of objects", self.dataset.root().display());
            Error::config(what, format!("{format} is a format for boxes: --format jsonl takes any columns"))
        })
    }

    /// Only pictures have a place in formats of boxes.
    fn pictures(&self, format: &str) -> Result<()> {
        let column = &self.dataset.schema().columns[self.media];
        if column.feature.kind() == Some(Kind::Image) {
            return Ok(());
        }
        Err(Error::config(
            format!("{format} is of pictures, and {:?} is none", column.name),
            "--media names the column of pictures",
        ))
    }
}

/// A row on its way out.
struct Outgoing<'a> {
    dataset: &'a Dataset,
    number: u64,
    entry: Row<'a>,
    split: &'a str,
    /// The id as a file may be called.
    name: String,
    /// Of the media as they are shown, in pixels; 0 where they are none.
    size: [u32; 2],
    /// `None`: not annotated.
    objects: Option<Objects>,
    scratch: &'a mut Vec<u8>,
}

impl Outgoing<'_> {
    /// A text of the row.
    fn text(&mut self, column: usize) -> Result<Option<String>> {
        if self.dataset.fetch_checked(self.number, column, self.scratch)?.is_none() {
            return Ok(None);
        }
        Ok(Some(String::from_utf8_lossy(self.scratch).into_owned()))
    }

    /// A text of the row that is JSON with an entry an object.
    fn of_objects(&mut self, column: Option<usize>) -> Result<Option<Vec<Box<serde_json::value::RawValue>>>> {
        let Some(column) = column else { return Ok(None) };
        let Some(text) = self.text(column)? else { return Ok(None) };
        let list: Vec<Box<serde_json::value::RawValue>> = serde_json::from_str(&text).map_err(|e| {
            let column = &self.dataset.schema().columns[column].name;
            let what = format!("row {} {:?}: its {column} is no JSON list: {e}", self.number, self.entry.id());
            Error::config(what, "mend it in the source, or take the row out: `dsctl rm DATASET --id ID`")
        })?;
        Ok(Some(list))
    }
}

/// Writes one format.
trait Writer {
    /// Where the media of a row go, relative to the folder: its name, and what the format puts in front. An error says why it has no place for the row.
    fn place(&mut self, row: &Outgoing<'_>) -> std::result::Result<String, String>;

    /// What else a row at `path` has for its own: paths of other files, or how they begin. No two rows have the same.
    fn beside(&self, _path: &str) -> Vec<String> {
        Vec::new()
    }

    /// Files that are written at the end, and are for no row to have.
    fn at_the_end(&self, splits: &[String]) -> Vec<String>;

    /// Says what is said of a row, whose media are at `path`.
    fn row(&mut self, row: &mut Outgoing<'_>, path: &str, folder: &Folder) -> Result<()>;

    /// Writes what is written at the end; returns notes.
    fn finish(self: Box<Self>, folder: &Folder) -> Result<Vec<String>>;
}

/// The folder that is being written.
struct Folder {
    root: PathBuf,
}

impl Folder {
    /// A new file. Two of one name are an error: rows must not write over each other.
    fn create(&self, relative: &str) -> Result<(PathBuf, File)> {
        let path = self.root.join(relative);
        if !Path::new(relative).components().all(|part| matches!(part, Component::Normal(_))) {
            return Err(Error::config(
                format!("{relative:?} leads out of the folder"),
                "rename what it is called by in the dataset",
            ));
        }
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent).map_err(|e| Error::io(parent, "make", e))?;
        }
        match File::options().write(true).create_new(true).open(&path) {
            Ok(file) => Ok((path, file)),
            Err(e) if e.kind() == std::io::ErrorKind::AlreadyExists => Err(Error::config(
                format!("two rows are the file {relative}"),
                "the file system takes two names for one: export to another",
            )),
            Err(e) => Err(Error::io(&path, "make", e)),
        }
    }

    fn put(&self, relative: &str, parts: &[&[u8]]) -> Result<()> {
        let (path, mut file) = self.create(relative)?;
        parts.iter().try_for_each(|part| file.write_all(part)).map_err(|e| Error::io(&path, "write", e))
    }
}

/// Paths that are taken, by their hashes: two that are taken for one cost a row its name, and no more.
#[derive(Default)]
struct Taken {
    files: HashSet<u64>,
    folders: HashSet<u64>,
    /// The file system takes `A` and `a` for one name.
    folds: bool,
}

impl Taken {
    fn hash(&self, path: &str) -> u64 {
        if self.folds { xxh3_64(path.to_lowercase().as_bytes()) } else { xxh3_64(path.as_bytes()) }
    }

    /// Takes files, all or none: `false` if one is there already, or is a folder of another, or has a file among its folders.
    fn take(&mut self, paths: &[&str]) -> bool {
        let above =
            |path: &'_ str| -> Vec<u64> { path.match_indices('/').map(|(at, _)| self.hash(&path[..at])).collect() };
        let files: Vec<u64> = paths.iter().map(|path| self.hash(path)).collect();
        let folders: Vec<u64> = paths.iter().flat_map(|path| above(path)).collect();
        if files.iter().any(|file| self.files.contains(file) || self.folders.contains(file))
            || folders.iter().any(|folder| self.files.contains(folder))
        {
            return false;
        }
        self.files.extend(files);
        self.folders.extend(folders);
        true
    }
}

/// Where the media of a row go: under its id, or, if another row has that already, or the same file of labels, under its number.
fn placed(
    writer: &mut dyn Writer,
    row: &mut Outgoing<'_>,
    ending: &str,
    taken: &mut Taken,
) -> std::result::Result<String, String> {
    for again in 0..100 {
        let path = writer.place(row)?;
        let beside = writer.beside(&path);
        let paths: Vec<&str> = [path.as_str()].into_iter().chain(beside.iter().map(String::as_str)).collect();
        if taken.take(&paths) {
            return Ok(path);
        }
        row.name = match again {
            0 => format!("row-{:09}.{ending}", row.number),
            _ => format!("row-{:09}-{again}.{ending}", row.number),
        };
    }
    Err("other rows have all names that it could have".into())
}

/// Writes a dataset into a folder that is not there, or empty. `step` is asked before each row whether to go on.
///
/// # Errors
/// [`Error::Config`]: no such format or column, a folder with something in it, a format that has no place for the dataset. What cannot be read or written; what
/// `step` returns. Nothing is left behind then.
pub fn export(
    dataset: &Dataset,
    format: &str,
    to: &Path,
    options: &ExportOptions,
    step: &dyn Fn(u64) -> Result<()>,
) -> Result<Exported> {
    let format = *Table::new("export format", FORMATS).get(format)?;
    let asked = asked(dataset, options)?;
    let mut writer = (format.make)(&asked)?;
    match fs::read_dir(to).map(|mut entries| entries.next().is_some()) {
        Ok(false) => {}
        Ok(true) => return Err(Error::config(format!("{} is not empty", to.display()), "name a new folder")),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => {}
        Err(e) => return Err(Error::io(to, "open", e)),
    }
    // Where a link leads, and what stands above `.`.
    let real = fs::canonicalize(to).unwrap_or_else(|_| to.to_owned());
    let to = real.as_path();
    // It is replaced at the end: what cannot be is said before anything is written.
    if to.is_dir() {
        let is_here = std::env::current_dir().is_ok_and(|here| here.starts_with(to));
        let gone = if is_here {
            Err("it is the folder that this is called in".to_owned())
        } else {
            fs::remove_dir(to).and_then(|()| fs::create_dir(to)).map_err(|e| e.to_string())
        };
        gone.map_err(|why| {
            Error::config(format!("{} cannot be replaced: {why}", to.display()), "name a folder that is not there")
        })?;
    }
    let above = to.parent().filter(|above| !above.as_os_str().is_empty()).unwrap_or(Path::new("."));
    fs::create_dir_all(above).map_err(|e| Error::io(above, "make", e))?;
    let made =
        tempfile::Builder::new().prefix(".export-").tempdir_in(above).map_err(|e| Error::io(above, "make", e))?;
    let folder = Folder { root: made.path().to_owned() };
    let mut taken = Taken { folds: folds(&folder)?, ..Taken::default() };
    writer.at_the_end(&asked.splits).iter().for_each(|path| _ = taken.take(&[path]));
    let mut done = Exported { format: format.name, ..Exported::default() };
    let (mut bytes, mut scratch) = (Vec::new(), Vec::new());
    let mut renamed = 0u64;
    for split in &asked.splits {
        for number in dataset.index().ranges(Some(split)).into_iter().flatten() {
            step(done.rows)?;
            let (_, entry) = dataset.index().locate(number);
            let objects = match asked.objects {
                Some((column, of)) => entry.objects(column, of).map_err(|why| {
                    Error::damaged(dataset.root(), format!("row {number} {:?}: {why}", entry.id()), "dsctl verify")
                })?,
                None => None,
            };
            let info = entry.payload(asked.media).map(|payload| payload.info);
            let size = info.map_or([0, 0], |info| [info.width, info.height]);
            let name = info.and_then(|info| safe(entry.id(), info.format));
            let mut row = Outgoing {
                dataset,
                number,
                entry,
                split,
                name: name.unwrap_or_default(),
                size,
                objects,
                scratch: &mut scratch,
            };
            let Some(info) = info else {
                let is_null = row.entry.is_null(asked.media);
                let why = if is_null {
                    "the media are null"
                } else {
                    "the media are of a format that this build does not know"
                };
                left_out(&mut done, why, &row);
                continue;
            };
            if row.name.is_empty() {
                row.name = format!("row-{number:09}.{}", extension(info.format));
            }
            let is_text = info.format.kind() == Kind::Text;
            let path = match placed(writer.as_mut(), &mut row, extension(info.format), &mut taken) {
                Ok(path) => path,
                Err(reason) => {
                    left_out(&mut done, &reason, &row);
                    continue;
                }
            };
            // Text is a row of its file.
            if !is_text {
                renamed += u64::from(row.name != entry.id());
                dataset.fetch_checked(number, asked.media, &mut bytes)?;
                folder.put(&path, &[&bytes])?;
                done.bytes += bytes.len() as u64;
            }
            writer.row(&mut row, &path, &folder)?;
            done.rows += 1;
            *done.splits.entry(split.clone()).or_default() += 1;
        }
    }
    done.notes = writer.finish(&folder)?;
    if renamed > 0 {
        done.notes.push(format!("{renamed} files have other names than their ids, which are none for files, or those of others (a.png and a.jpg have one file of labels)"));
    }
    // An empty one; if something came into it meanwhile, the move says so.
    let _ = fs::remove_dir(to);
    let kept = made.keep();
    fs::rename(&kept, to).map_err(|e| {
        let _ = fs::remove_dir_all(&kept);
        Error::io(to, "move the export to", e)
    })?;
    Ok(done)
}

fn asked<'a>(dataset: &'a Dataset, options: &ExportOptions) -> Result<Asked<'a>> {
    let columns = &dataset.schema().columns;
    let find = |name: &Option<String>, what: &str, is: &dyn Fn(&Feature) -> bool| -> Result<Option<usize>> {
        let Some(name) = name else { return Ok(columns.iter().position(|c| is(&c.feature))) };
        let there: Vec<&str> = columns.iter().filter(|c| is(&c.feature)).map(|c| c.name.as_str()).collect();
        match columns.iter().position(|c| c.name == *name && is(&c.feature)) {
            Some(at) => Ok(Some(at)),
            None => Err(Error::config(
                format!("{} has no column {name:?} of {what}", dataset.root().display()),
                if there.is_empty() { "it has none".to_owned() } else { format!("it has {}", there.join(", ")) },
            )),
        }
    };
    let is_media = |feature: &Feature| matches!(feature, Feature::Image | Feature::Audio | Feature::Video);
    let media = match find(&options.media, "media", &|f| is_media(f) || *f == Feature::Text)? {
        // Pictures before their captions.
        Some(at) if options.media.is_none() => columns.iter().position(|c| is_media(&c.feature)).unwrap_or(at),
        Some(at) => at,
        None => {
            let what = format!("{} has no column of media", dataset.root().display());
            return Err(Error::config(what, "pictures, recordings, clips and texts are exported"));
        }
    };
    let objects = find(&options.objects, "objects", &|f| matches!(f, Feature::Objects(_)))?;
    let objects = objects.and_then(|at| match &columns[at].feature {
        Feature::Objects(of) => Some((at, of)),
        _ => None,
    });
    let label = match options.label {
        // Not where rows come from.
        None => dataset.schema().label(),
        Some(_) => find(&options.label, "classes", &|f| matches!(f, Feature::ClassLabel { .. }))?,
    };
    let there = dataset.splits();
    if let Some(split) = options.splits.iter().find(|split| !there.contains_key(*split)) {
        let names: Vec<&str> = there.keys().map(String::as_str).collect();
        let what = format!("{} has no split {split:?}", dataset.root().display());
        return Err(Error::config(what, format!("it has {}", names.join(", "))));
    }
    let mut splits = if options.splits.is_empty() { there.keys().cloned().collect() } else { options.splits.clone() };
    let mut named = HashSet::new();
    splits.retain(|split| named.insert(split.clone()));
    Ok(Asked { dataset, media, objects, label, splits, spill: Spill::temporary() })
}

/// Whether the file system of a folder takes upper and lower case for the same.
fn folds(folder: &Folder) -> Result<bool> {
    let (path, file) = folder.create("case")?;
    drop(file);
    let folds = folder.root.join("CASE").exists();
    fs::remove_file(&path).map_err(|e| Error::io(&path, "remove", e))?;
    Ok(folds)
}

fn left_out(done: &mut Exported, reason: &str, row: &Outgoing<'_>) {
    match done.left_out.iter_mut().find(|known| known.reason == reason) {
        Some(known) => known.rows += 1,
        None => done.left_out.push(LeftOut { reason: reason.to_owned(), rows: 1, first: row.entry.id().to_owned() }),
    }
}

/// Endings of media, by which readers know what files are. What has another, or none, gets that of its format.
const ENDINGS: &[&str] = &[
    "3gp", "aac", "aif", "aifc", "aiff", "apng", "asf", "avi", "avif", "bmp", "caf", "dds", "dib", "exr", "flac",
    "flv", "gif", "hdr", "heic", "ico", "jfif", "jpe", "jpeg", "jpg", "m2ts", "m4a", "m4v", "mka", "mkv", "mov", "mp2",
    "mp3", "mp4", "mpeg", "mpg", "mts", "mxf", "oga", "ogg", "ogv", "opus", "pam", "pbm", "pgm", "png", "pnm", "ppm",
    "qoi", "rgb", "tga", "tif", "tiff", "ts", "wav", "wave", "webm", "webp", "wma", "wmv",
];

/// The path as a file may have it, with an ending that tells what it is; `None` for one that leads elsewhere, or ends the line of a list.
fn safe(path: &str, format: crate::data::info::Format) -> Option<String> {
    let odd = |part: &str| part.is_empty() || part == "." || part == ".." || part.len() > 200 || part.trim() != part;
    let breaks = |c: char| c.is_control() || matches!(c, '\\' | ':' | '\u{2028}' | '\u{2029}');
    if path.len() > 1_000 || path.contains(breaks) || path.split('/').any(odd) {
        return None;
    }
    let known = path.rsplit_once('.').is_some_and(|(stem, end)| {
        !stem.ends_with('/') && !stem.is_empty() && ENDINGS.contains(&end.to_ascii_lowercase().as_str())
    });
    Some(if known { path.to_owned() } else { format!("{path}.{}", extension(format)) })
}

fn extension(format: crate::data::info::Format) -> &'static str {
    match format.name() {
        "jpeg" => "jpg",
        "matroska" => "mkv",
        "animated-gif" => "gif",
        "animated-webp" => "webp",
        "utf8" => "txt",
        name => name,
    }
}

/// What the file of a split is called: as the tools call it that the formats are from.
fn short(split: &str) -> &str {
    if split == "validation" { "val" } else { split }
}

/// A note of splits that a format's readers do not look for.
fn odd_splits(splits: &[String]) -> Option<String> {
    let odd: Vec<&str> =
        splits.iter().map(String::as_str).filter(|s| !["train", "validation", "test"].contains(s)).collect();
    (!odd.is_empty()).then(|| format!("readers of the format look for train, val and test: not for {}", odd.join(", ")))
}

/// A coordinate in as few digits as give the same one back to who reads it as a float of 64 bits and keeps 32.
fn number(value: f32) -> String {
    let short = value.to_string();
    if short.parse::<f64>().is_ok_and(|read| read as f32 == value) { short } else { f64::from(value).to_string() }
}

/// A small value as JSON, of an attribute.
fn json(value: &Value) -> serde_json::Value {
    match value {
        Value::Null => serde_json::Value::Null,
        Value::Int(v) => (*v).into(),
        Value::Float(v) => (*v).into(),
        Value::Bool(v) => (*v).into(),
        Value::Text(v) => v.clone().into(),
    }
}

/// Why objects cannot be told, if one has no class.
fn unnamed(objects: Option<&Objects>, of: &ObjectsType) -> std::result::Result<(), String> {
    let bad = |class: &i64| usize::try_from(*class).ok().is_none_or(|class| class >= of.names.len());
    match objects.and_then(|objects| objects.classes.iter().find(|class| bad(class))) {
        Some(_) => Err("an object has no class, which the format asks for".into()),
        None => Ok(()),
    }
}
