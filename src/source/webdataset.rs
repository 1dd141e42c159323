//! WebDataset: tars whose members are grouped to samples by the beginnings of their names.
//!
//! A sample is what stands together under one key, the path up to the first dot of the name: `a/7.jpg`, `a/7.cls`, `a/7.json`. What follows the dot says
//! what a member is: a picture, recording, clip or text by its usual endings, a class (`.cls`: a number, or a name), a number, the fields of an object
//! (`.json`). A shard is a split where its name or a folder says so (`train-000000.tar`, `val/..`). Shards are read in place; those that are compressed are
//! decompressed, each once.
//!
//! What is done otherwise than by the library webdataset (1.0): a suffix that a sample has twice refuses the sample and not the shard, a key that comes
//! again later in its shard is refused, and names without a dot, hidden ones and those like `__meta__.json` are counted.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use columns::{Columns, Survey};
use samples::{Beside, Sample, key_of};

use super::tree;
use super::{
    Entry, Evidence, Lister, Look, Refusal, Source, SourceEntry, SourceOptions, SplitDirs, Tree, labels, walk,
};
use crate::data::feature::Schema;
use crate::data::record::row_key;
use crate::error::{Error, Fault, Reason, Result};

mod columns;
mod samples;

/// The table's row.
pub const ENTRY: SourceEntry = SourceEntry {
    name: "webdataset",
    version: 1,
    summary: "WebDataset: tars of samples, members with one key (7.jpg, 7.cls, 7.json); one shard or a folder of them",
    build: || Box::new(WebDataset),
};

/// Files that name the classes by their lines.
const NAMES: &[&str] = &["classes.txt", "class_names.txt", "classnames.txt", "labels.txt"];
/// Bytes of such a file at the most.
const LARGEST: u64 = 16 << 20;

/// Shards of WebDataset.
#[derive(Debug, Clone, Copy, Default)]
pub struct WebDataset;

fn is_shard(name: &str) -> bool {
    tree::stem(name).is_some_and(|_| !name.to_ascii_lowercase().ends_with(".zip"))
}

impl Source for WebDataset {
    fn name(&self) -> &'static str {
        ENTRY.name
    }

    fn detect(&self, root: &Path, look: &Look) -> Option<Evidence> {
        if look.is_file {
            return None;
        }
        if look.tree().archive(root).is_some() {
            // Members of a ZIP have no order of their own, and no library reads shards of that kind.
            return if look.tree().is_tar(root) { of_members(look) } else { None };
        }
        let shards = look.files.iter().filter(|file| is_shard(&file.relative)).count();
        (shards > 0 && shards * 2 >= look.files.len())
            .then(|| Evidence::new(90, format!("{shards} of {} files are called like tars", look.files.len())))
    }

    fn list(&self, root: &Path, options: &SourceOptions, lister: &mut Lister<'_>) -> Result<Schema> {
        labels::unused("WebDataset", &[("--label-regex", &options.label_regex)])?;
        let others = labels::of_manifests(options).into_iter().filter(|(flag, _)| *flag != "--label-column");
        labels::unused("WebDataset", &others.collect::<Vec<_>>())?;
        let shards = Shards::find(root, options, lister)?;
        let tree = lister.tree().clone();
        let mut survey = Survey::default();
        for shard in &shards.all {
            samples::each(&tree, &shard.path, &mut |sample| {
                lister.step()?;
                survey.see(&tree, &shard.path, &sample)
            })?;
        }
        if survey.samples == 0 {
            return Err(Error::config(
                format!("{} has no samples", root.display()),
                "members of a WebDataset have names with a dot, as 000001.jpg and 000001.cls",
            ));
        }
        let columns = Columns::of(survey, shards.names, options, lister)?;
        let (mut beside, mut again) = (Beside::default(), 0);
        for shard in &shards.all {
            let mut taken = HashSet::with_hasher(xxhash_rust::xxh3::Xxh3DefaultBuilder);
            beside.add(samples::each(&tree, &shard.path, &mut |sample| {
                let is_new = taken.insert(row_key(&sample.key));
                again += u64::from(!is_new);
                shard.enter(&tree, &columns, sample, is_new, lister)
            })?);
        }
        tell(&beside, again, lister);
        Ok(columns.schema())
    }
}

/// What speaks for a tar being a shard: members of different kinds with one key. Pictures that are numbered behind a dot (`clip.0001.png`) are none.
fn of_members(look: &Look) -> Option<Evidence> {
    let is_number = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
    let keyed: Vec<(&str, &str)> = look.files.iter().filter_map(|file| key_of(&file.relative)).collect();
    let (mut keys, mut shared) = (0, 0);
    let mut first = None;
    for group in keyed.chunk_by(|(a, _), (b, _)| a == b) {
        let kinds = group.iter().map(|(_, suffix)| *suffix).filter(|suffix| !suffix.split('.').any(is_number));
        let kinds: Vec<&str> = kinds.collect();
        keys += group.len() + 1 - kinds.len().max(1);
        if kinds.len() > 1 {
            shared += 1;
            first.get_or_insert(kinds);
        }
    }
    let first = first.filter(|_| shared * 2 >= keys)?;
    let is_said = ["cls", "json", "jsn"].iter().any(|suffix| first.contains(suffix));
    let why = format!("{shared} of {keys} keys have several members (.{})", first.join(", ."));
    Some(Evidence::new(if is_said { 84 } else { 72 }, why))
}

/// What a person is told at the end.
fn tell(beside: &Beside, again: u64, lister: &mut Lister<'_>) {
    let Beside { hidden, meta, keyless, first } = beside;
    if *hidden > 0 {
        lister.note(format!("{hidden} hidden files or folders are not read"));
    }
    if *meta > 0 {
        lister.note(format!("{meta} members of the shards themselves (__name__) are not read"));
    }
    if let Some(first) = first {
        lister.note(format!("{keyless} members have names without a dot, and are of no sample: {first:?}"));
    }
    if again > 0 {
        lister.note(format!(
            "{again} samples have the key of an earlier one in their shard: members of a sample have to follow one another (tar --sort=name)"
        ));
    }
}

/// A shard.
struct Shard {
    path: PathBuf,
    /// Relative to the root: what its samples are called after.
    relative: String,
    split: String,
}

impl Shard {
    fn enter(
        &self,
        tree: &Tree,
        columns: &Columns,
        mut sample: Sample,
        is_new: bool,
        lister: &mut Lister<'_>,
    ) -> Result<()> {
        let id = format!("{}/{}", self.relative, sample.key);
        let cells = match sample.fault.take() {
            Some(fault) => Err(fault),
            None if !is_new => Err(Fault::new(
                Reason::Corrupt,
                "an earlier sample of the shard has the key; its members have to follow one another",
            )),
            None => columns.cells(tree, &self.path, &sample),
        };
        let (origin, split) = (self.relative.clone(), self.split.clone());
        match cells {
            Ok(cells) => lister.entry(Entry { id, split, cells, origin, line: None }),
            Err(fault) => lister.refuse(Refusal { id, origin, line: None, fault }),
        }
    }
}

/// The shards of a root.
struct Shards {
    all: Vec<Shard>,
    /// The names of the classes.
    names: Option<Vec<String>>,
}

impl Shards {
    /// Finds them, and opens their archives in the lister's tree.
    fn find(root: &Path, options: &SourceOptions, lister: &mut Lister<'_>) -> Result<Self> {
        if let Some(path) = lister.tree().archive(root).map(Path::to_owned) {
            lister.enter(lister.tree().of_samples());
            let relative = path.file_name().and_then(|name| name.to_str()).map(str::to_owned).ok_or_else(|| {
                Error::config(format!("the name of {} is not UTF-8", path.display()), "rename the shard")
            })?;
            let split = split(&relative, options)?;
            return Ok(Shards { all: vec![Shard { path, relative, split }], names: None });
        }
        if root.is_file() {
            return Err(Error::config(format!("{} is no tar", root.display()), "the shards of WebDataset are tars"));
        }
        let walk = walk::walk(root, lister)?;
        walk.notes().into_iter().for_each(|note| lister.note(note));
        let (mut all, mut names, mut others) = (Vec::new(), None, (0u64, None));
        for found in walk.files.iter() {
            if is_shard(&found.relative) {
                let split = split(&found.relative, options)?;
                all.push(Shard { path: found.path, relative: found.relative, split });
            } else if NAMES.contains(&found.relative.as_str()) {
                let read = lister.tree().read(&found.path, LARGEST).map_err(|e| Error::io(&found.path, "read", e))?;
                names = Some(classes(&found.relative, read)?);
                lister.note(format!("the names of the classes are those of {}", found.relative));
            } else {
                others.0 += 1;
                others.1.get_or_insert(found.relative);
            }
        }
        if let (n, Some(first)) = others {
            lister.note(format!("{n} files beside the shards are not read: {first:?}"));
        }
        if all.is_empty() {
            return Err(Error::config(
                format!("{} holds no tars", root.display()),
                "the shards of WebDataset are tars",
            ));
        }
        let (mut good, mut paths) = (Vec::new(), Vec::new());
        for shard in all {
            // What is called like a tar and is none is refused, and the others are read.
            if tree::is_tar(&shard.path)? {
                paths.push(shard.path.clone());
                good.push(shard);
            } else {
                lister.refuse(Refusal::file(shard.relative, Fault::new(Reason::UnknownFormat, "it is no tar")))?;
            }
        }
        let (spill, watch) = (lister.spill().clone(), lister.watch());
        let Some((tree, notes)) = tree::mount(&paths, &spill, watch)? else {
            return Err(Error::config(format!("{} was changed while it was read", root.display()), "run it again"));
        };
        notes.into_iter().for_each(|note| lister.note(note));
        lister.enter(tree.of_samples());
        Ok(Shards { all: good, names })
    }
}

/// The names of classes by the lines of a file; one that is empty is called by its number.
fn classes(file: &str, bytes: Vec<u8>) -> Result<Vec<String>> {
    let help = "mend the file, or take it away: classes are called by their numbers then";
    let text = String::from_utf8(bytes).map_err(|_| Error::config(format!("{file} is not UTF-8"), help))?;
    let mut names: Vec<String> = Vec::new();
    let mut lines = std::collections::HashMap::new();
    for (at, line) in text.trim_end().lines().enumerate() {
        let line = line.trim_start_matches('\u{feff}').trim();
        let name = if line.is_empty() { at.to_string() } else { line.to_owned() };
        if let Some(before) = lines.insert(name.clone(), at + 1) {
            let what = format!("{file} calls two classes {name:?}, in the lines {before} and {}", at + 1);
            return Err(Error::config(what, help));
        }
        names.push(name);
    }
    Ok(names)
}

/// The split of a shard: what its folders are called like, or a word of its name.
fn split(relative: &str, options: &SourceOptions) -> Result<String> {
    let (dir, name) = relative.rsplit_once('/').unwrap_or(("", relative));
    let named = match options.split_dirs {
        SplitDirs::No => None,
        SplitDirs::Yes if !dir.is_empty() => {
            let top = dir.split('/').next().unwrap_or(dir);
            let help = "say --split-dirs no, or rename the folder";
            Some(labels::split_name(top).map_err(|fault| Error::config(fault.message, help))?)
        }
        _ => {
            let words = name.split(|c: char| !c.is_ascii_alphabetic());
            dir.split('/').rev().chain(words).find_map(labels::split_of).map(str::to_owned)
        }
    };
    named.map_or_else(|| labels::default_split(options), Ok)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_classes_and_differ() {
        let of = |text: &[u8]| classes("classes.txt", text.to_vec()).map_err(|e| e.to_string());
        assert_eq!(of("\u{feff}dog\r\n\ncat \n\n".as_bytes()), Ok(vec!["dog".into(), "1".into(), "cat".into()]));
        assert_eq!(of(b""), Ok(Vec::new()));
        let twice = of(b"dog\ncrane\ncat\ncrane\n").unwrap_err();
        assert!(twice.contains("classes.txt") && twice.contains("lines 2 and 4"), "{twice}");
        assert!(of(b"\xff\xfed\0").unwrap_err().contains("UTF-8"));
    }

    #[test]
    fn the_split_of_a_shard_is_in_its_name() {
        let auto = SourceOptions::default();
        let cases = [
            ("imagenet-train-000000.tar", "train"),
            ("val/000.tar", "validation"),
            ("x/test/train-0.tar", "test"),
            ("shard_000.tar", "train"),
            ("devices-0.tar", "train"),
        ];
        for (name, expected) in cases {
            assert_eq!(split(name, &auto).unwrap(), expected, "{name}");
        }
        let say = |split_dirs| SourceOptions { split_dirs, ..SourceOptions::default() };
        assert_eq!(split("val/000.tar", &say(SplitDirs::No)).unwrap(), "train");
        assert_eq!(split("extra/000.tar", &say(SplitDirs::Yes)).unwrap(), "extra");
        assert!(split("a-b/000.tar", &say(SplitDirs::Yes)).is_err());
    }
}
