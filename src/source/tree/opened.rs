//! Archives are opened: known by their first bytes, their members put into a table.

use std::collections::{BTreeMap, VecDeque};
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use super::bytes::{Bytes, Files};
use super::names::{Name, name};
use super::spooled::{Compression, decompress};
use super::{Archive, Archives, Maker, Member, Taken, Tree, What, stamp, tar, zip};
use crate::error::{Error, Fault, Reason, Result};
use crate::source::listing::Watch;
use crate::source::{labels, walk};
use crate::spool::Spill;

/// Members between two looks at whether to go on.
const STEP: u64 = 1024;

/// What the files of labels are called whose folder is the source itself, not a class.
const LABELS: &[&str] = &["csv", "tsv", "jsonl", "ndjson", "json", "yaml", "yml", "xml", "data", "names"];

/// What an archive is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Format {
    Zip,
    Tar,
    Compressed(Compression),
}

impl Format {
    /// What a file is, if it is an archive: by its content, as names say little.
    fn of(file: &File, path: &Path) -> std::io::Result<Option<Self>> {
        use std::os::unix::fs::FileExt as _;
        let mut head = [0; 512];
        let mut read = 0;
        while read < head.len() {
            match file.read_at(&mut head[read..], read as u64)? {
                0 => break,
                n => read += n,
            }
        }
        let head = &head[..read];
        Ok(match Compression::of(head) {
            Some(how) => {
                // One that is damaged where it begins is said to be so.
                let is_called_so = || {
                    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
                    stem(name).is_some_and(|_| !name.to_ascii_lowercase().ends_with(".zip"))
                };
                (how.holds_tar(file) || is_called_so()).then_some(Format::Compressed(how))
            }
            None if zip::is(head) => Some(Format::Zip),
            None => tar::is(head).then_some(Format::Tar),
        })
    }
}

/// Whether a file is called like an archive; what of it is taken off is the name of what is in it.
pub(in crate::source) fn stem(name: &str) -> Option<&str> {
    let endings = [".zip", ".tar", ".tar.gz", ".tgz", ".tar.zst", ".tzst"];
    let lower = name.to_ascii_lowercase();
    let ending = endings.iter().find(|ending| lower.len() > ending.len() && lower.ends_with(**ending))?;
    name.get(..name.len() - ending.len())
}

/// Whether a file is a tar, or a compressed one.
pub(in crate::source) fn is_tar(path: &Path) -> Result<bool> {
    let file = File::open(path).map_err(|e| Error::io(path, "open", e))?;
    let format = Format::of(&file, path).map_err(|e| Error::io(path, "read", e))?;
    Ok(matches!(format, Some(Format::Tar | Format::Compressed(_))))
}

/// A source as it is opened.
#[derive(Debug, Default)]
pub(in crate::source) struct Opened {
    pub tree: Tree,
    /// Where sources begin: the source itself, or a folder in its archive.
    pub root: PathBuf,
    /// What a person should know: one line each.
    pub notes: Vec<String>,
}

/// Opens a source. A file that is an archive becomes the folder that it would be unpacked; all else is what it is.
pub(in crate::source) fn open(source: &Path, spill: &Spill, watch: Watch<'_>) -> Result<Opened> {
    let plain = || Opened { root: source.to_owned(), ..Opened::default() };
    if !std::fs::metadata(source).map_err(|e| Error::io(source, "open", e))?.is_file() {
        return Ok(plain());
    }
    let path = source.canonicalize().map_err(|e| Error::io(source, "open", e))?;
    let Some((tree, notes)) = mount(std::slice::from_ref(&path), spill, watch)? else { return Ok(plain()) };
    if let Some((_, fault)) = tree.lost().next().filter(|_| tree.is_empty()) {
        return Err(Error::config(
            format!("{}: nothing of it can be read: {fault}", source.display()),
            "it may have been cut in a download: fetch it again",
        ));
    }
    let root = top(&tree, &path).map_or_else(|| path.clone(), |top| path.join(top));
    Ok(Opened { tree, root, notes })
}

/// The folder that holds all of an archive, if it is the source itself and no class or split.
fn top(tree: &Tree, archive: &Path) -> Option<String> {
    let is_hidden = |name: &str| walk::is_hidden(name);
    let mut children = tree.children(archive)?.filter(|(name, _)| !is_hidden(name));
    let (only, super::Node::Folder) = children.next()? else { return None };
    if children.next().is_some() {
        return None;
    }
    let called = archive.file_name().and_then(|name| name.to_str()).and_then(stem);
    let is_called_so = called.is_some_and(|called| called.eq_ignore_ascii_case(only));
    let is_source = || {
        tree.children(&archive.join(only)).into_iter().flatten().any(|(name, node)| {
            let is_label = || name.rsplit_once('.').is_some_and(|(_, ending)| LABELS.contains(&ending));
            !is_hidden(name) && (node == super::Node::Folder || is_label())
        })
    };
    (labels::split_of(only).is_none() && (is_called_so || is_source())).then(|| only.to_owned())
}

/// Opens archives, whose paths are canonical, in one tree; `None` if one of them is none.
pub(in crate::source) fn mount(
    paths: &[PathBuf],
    spill: &Spill,
    watch: Watch<'_>,
) -> Result<Option<(Tree, Vec<String>)>> {
    let mut maker = Maker::new(spill);
    let (mut archives, mut places, mut notes) = (Vec::new(), BTreeMap::new(), Vec::new());
    let files = Arc::new(Files::default());
    for (number, path) in (0u32..).zip(paths) {
        let Some(archive) = archive((path, number), &files, spill, &mut maker, watch, &mut notes)? else {
            return Ok(None);
        };
        archives.push(archive);
        places.insert(path.clone(), number);
    }
    let members = maker.finish()?;
    let inflated = Mutex::new(VecDeque::new());
    let archives = Archives { archives, places, members, spill: spill.clone(), inflated };
    Ok(Some((Tree { archives: Some(Arc::new(archives)), taken: Taken::Last }, notes)))
}

/// Says what of the members of an archive is not read.
pub(super) fn tell<'m>(path: &Path, files: impl Iterator<Item = (&'m str, bool)>, notes: &mut Vec<String>) {
    let (mut twice, mut nested) = ((0u64, None), (0u64, None));
    for (name, counts) in files {
        let seen = match counts {
            false => &mut twice,
            true if stem(name).is_some() => &mut nested,
            true => continue,
        };
        seen.0 += 1;
        seen.1.get_or_insert_with(|| name.to_owned());
    }
    let shown = path.display();
    if let (n, Some(first)) = twice {
        let what = "members have the name of a later one, which counts, as where they are unpacked";
        notes.push(format!("{shown}: {n} {what}: {first:?}"));
    }
    if let (n, Some(first)) = nested {
        let what = "members are called like archives, and archives within archives are not opened";
        notes.push(format!("{shown}: {n} {what}: {first:?}"));
    }
}

fn archive(
    (path, number): (&Path, u32),
    files: &Arc<Files>,
    spill: &Spill,
    maker: &mut Maker,
    watch: Watch<'_>,
    notes: &mut Vec<String>,
) -> Result<Option<Archive>> {
    let file = File::open(path).map_err(|e| Error::io(path, "open", e))?;
    let Some(format) = Format::of(&file, path).map_err(|e| Error::io(path, "read", e))? else { return Ok(None) };
    let seen = stamp(&file.metadata().map_err(|e| Error::io(path, "open", e))?);
    let shown = path.display();
    let (mut lost, mut is_unended) = (None, false);
    let bytes = match format {
        Format::Compressed(how) => {
            let (spooled, damage) = decompress((&file, path), seen.0, how, spill, &mut || watch(0))?;
            let what =
                "decompressed once, into a temporary file beside the dataset where it is larger than memory may be";
            notes.push(format!("{shown} ({}): {} bytes were {what}", how.name(), spooled.len()));
            lost = damage;
            Bytes::Spooled(spooled)
        }
        _ => Bytes::File { files: Arc::clone(files), number, path: path.to_owned(), length: seen.0 },
    };
    let (mut count, mut ordinal) = (0u64, 0u64);
    let mut unnamed = 0u64;
    let mut take = |ordinal: u64, member: Member<'_>| {
        count += 1;
        if count.is_multiple_of(STEP) {
            watch(count)?;
        }
        let what = match member.what {
            Ok(What::File(place)) => Ok(place),
            Ok(What::Folder) => return Ok(()),
            Err(fault) => Err(fault),
        };
        match name(member.name, format == Format::Zip) {
            Name::Path(path) => maker.add(number, &path, ordinal, &what),
            Name::Bad(shown, fault) => maker.add_bad(number, &shown, ordinal, fault),
            // A file that is called like no file.
            Name::Top => {
                unnamed += 1;
                Ok(())
            }
        }
    };
    let scanned = match format {
        Format::Zip => zip::scan(&bytes, spill, &mut take)?,
        Format::Tar | Format::Compressed(_) => {
            let end = tar::scan(&bytes, &mut |member| {
                ordinal += 1;
                take(ordinal - 1, member)
            })?;
            // Of what was decompressed in part it is no wonder that the end is missing.
            notes.extend(end.note.filter(|_| lost.is_none()).map(|note| format!("{shown}: {note}")));
            is_unended = end.is_unended;
            end.lost
        }
    };
    lost = lost.or(scanned);
    if unnamed > 0 && lost.is_none() {
        lost = Some(Fault::new(Reason::BadPath, format!("{unnamed} members have no name")));
    }
    let is_tar = format != Format::Zip;
    Ok(Some(Archive { path: path.to_owned(), bytes: Arc::new(bytes), seen, lost, is_unended, is_tar }))
}
