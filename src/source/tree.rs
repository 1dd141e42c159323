//! The tree of a source: what is in a folder of the system, or in an archive, under one kind of path.
//!
//! A member of an archive is called by the archive's path with its own behind it: `/data/photos.zip/cat/1.jpg`. No file of the system can be
//! called so, as there are none in a file; so nothing but a tree knows whether a path leads into an archive, and a dataset made of an
//! archive is, byte for byte, that of its files unpacked.
//!
//! Nothing is unpacked: a tar and what a ZIP stores are read where they are, what a ZIP deflates one member at a time, with its checksum. Only a
//! compressed tar is decompressed, once, into a file without a name (`spooled`). The table of members goes on disk where it is too large for
//! memory.

use std::collections::{BTreeMap, VecDeque};
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use crate::error::{Error, Fault, Reason, Result};
use crate::spool::{Spill, Spooled};

mod bytes;
mod checked;
mod names;
mod opened;
mod place;
mod spooled;
mod table;
mod tar;
mod within;
mod zip;

use bytes::Bytes;
pub(super) use opened::{Opened, is_tar, mount, open, stem};
pub(crate) use place::Place;
use place::Stored;
pub(crate) use table::Node;
use table::{Maker, Members};
pub(super) use within::unreadable;
use within::{Within, system};

/// Which of several members with one name counts.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Taken {
    /// As where they are unpacked one after the other.
    #[default]
    Last,
    /// As where each is a sample of its own and the first has the id.
    First,
}

/// A member as it stands in an archive.
struct Member<'a> {
    name: &'a [u8],
    what: Result<What, Fault>,
}

enum What {
    File(Place),
    Folder,
}

/// An archive that is open.
#[derive(Debug)]
struct Archive {
    path: PathBuf,
    bytes: Arc<Bytes>,
    /// Its size and time of change when it was opened.
    seen: (u64, i128),
    /// What was lost of it.
    lost: Option<Fault>,
    /// Whether it may have more members than were found.
    is_cut: bool,
    is_tar: bool,
}

impl Archive {
    /// Whether nobody wrote to it since it was opened.
    fn unchanged(&self) -> io::Result<bool> {
        Ok(self.bytes.stamp()?.is_none_or(|now| now == self.seen))
    }
}

/// What is done with each file of a tar: its name, and its size or why it is not read.
pub(super) type Visit<'v> = &'v mut dyn FnMut(&str, Result<u64, Fault>) -> Result<()>;

#[derive(Debug)]
struct Archives {
    archives: Vec<Archive>,
    places: BTreeMap<PathBuf, u32>,
    members: Members,
    spill: Spill,
    inflated: Mutex<VecDeque<(PathBuf, Arc<Spooled>)>>,
}

/// What paths lead to: files of the system, and members of archives.
#[derive(Debug, Clone, Default)]
pub struct Tree {
    archives: Option<Arc<Archives>>,
    taken: Taken,
}

impl PartialEq for Tree {
    fn eq(&self, other: &Self) -> bool {
        let same = match (&self.archives, &other.archives) {
            (Some(one), Some(other)) => Arc::ptr_eq(one, other),
            (one, other) => one.is_none() && other.is_none(),
        };
        same && self.taken == other.taken
    }
}

impl Eq for Tree {}

/// Size and time of change, in nanoseconds since 1970.
fn stamp(meta: &std::fs::Metadata) -> (u64, i128) {
    (meta.len(), i128::from(meta.mtime()) * 1_000_000_000 + i128::from(meta.mtime_nsec()))
}

impl Tree {
    /// The archive that a path leads into, or that it is.
    fn within<'p>(&self, path: &'p Path) -> Option<Within<'_, 'p>> {
        let archives = self.archives.as_deref()?;
        let (above, number) = path.ancestors().find_map(|above| Some((above, *archives.places.get(above)?)))?;
        let archive = &archives.archives[number as usize];
        let path = path.strip_prefix(above).ok().and_then(Path::to_str).unwrap_or("\0");
        Some(Within { archives, archive, number, taken: self.taken, path })
    }

    /// Whether a path leads to a file.
    pub fn is_file(&self, path: &Path) -> bool {
        match self.within(path) {
            Some(within) => matches!(within.node(), Some(Node::File(_))),
            None => path.is_file(),
        }
    }

    /// Whether a path leads to a folder.
    pub fn is_dir(&self, path: &Path) -> bool {
        match self.within(path) {
            Some(within) => matches!(within.node(), Some(Node::Folder)),
            None => path.is_dir(),
        }
    }

    /// The size of a file, and when it, or its archive, changed, in nanoseconds since 1970.
    pub(crate) fn stamp(&self, path: &Path) -> io::Result<(u64, i128)> {
        match self.within(path) {
            Some(within) => {
                within.check_unchanged().map_err(system)?;
                let place = within.place().map_err(system)?;
                Ok((place.bytes, within.archive.seen.1))
            }
            None => std::fs::metadata(path).map(|meta| stamp(&meta)),
        }
    }

    /// What else tells a member from another that was in its place: where it is in the archive, and its checksum.
    pub(super) fn identity(&self, path: &Path) -> Option<[u64; 3]> {
        let within = self.within(path)?;
        let place = within.place().ok()?;
        Some([within.archive.seen.0, place.at, u64::from(place.crc)])
    }

    /// A path without links. Those into archives have none.
    pub(crate) fn canonicalize(&self, path: &Path) -> io::Result<PathBuf> {
        match self.within(path) {
            Some(within) => within.node().map(|_| path.to_owned()).ok_or(io::ErrorKind::NotFound.into()),
            None => path.canonicalize(),
        }
    }

    /// What a root is called: a folder or a file by its name, an archive without its ending, as the folder that it would be unpacked into.
    pub(super) fn name(&self, root: &Path) -> Option<String> {
        let path = self.canonicalize(root).ok()?;
        let name = path.file_name()?.to_str()?;
        let is_archive = self.within(&path).is_some_and(|within| within.path.is_empty());
        let stem = if is_archive { stem(name) } else { None };
        Some(stem.unwrap_or(name).to_owned())
    }

    /// What stands under a path in an archive; `None` of the outer: it leads into none.
    pub(super) fn node(&self, path: &Path) -> Option<Option<Node>> {
        self.within(path).map(|within| within.node())
    }

    /// What is directly in a folder of an archive, in byte order; `None`: it is in none.
    pub(super) fn children<'t>(&'t self, path: &Path) -> Option<impl Iterator<Item = (&'t str, Node)> + use<'t>> {
        let within = self.within(path)?;
        Some(within.archives.members.children(within.number, within.path, self.taken))
    }

    /// What of the archive that a path leads into has a name that cannot be.
    pub(super) fn nameless<'t>(&'t self, path: &Path) -> impl Iterator<Item = (&'t str, Fault)> + use<'t> {
        let within = self.within(path).map(|within| (&within.archives.members, within.number));
        within.into_iter().flat_map(|(members, archive)| members.bad(archive))
    }

    /// The same archives where the first of several members with one name counts.
    pub(super) fn of_samples(&self) -> Tree {
        Tree { archives: self.archives.clone(), taken: Taken::First }
    }

    /// The archive that a path leads into.
    pub(super) fn archive(&self, path: &Path) -> Option<&Path> {
        self.within(path).map(|within| within.archive.path.as_path())
    }

    /// Whether the archive that a path leads into is a tar.
    pub(super) fn is_tar(&self, path: &Path) -> bool {
        self.within(path).is_some_and(|within| within.archive.is_tar)
    }

    /// Hands over every file of a tar in the order in which they stand there, those with names that cannot be, too.
    pub(super) fn members(&self, archive: &Path, visit: Visit<'_>) -> Result<()> {
        let Some(within) = self.within(archive).filter(|within| within.archive.is_tar) else {
            return Err(Error::config(
                format!("{} is no tar", archive.display()),
                "the shards of WebDataset are tars, which may be compressed by gzip or Zstandard",
            ));
        };
        tar::scan(&within.archive.bytes, &mut |member| {
            let what = match member.what {
                Ok(What::File(place)) => Ok(place.bytes),
                Ok(What::Folder) => return Ok(()),
                Err(fault) => Err(fault),
            };
            match names::name(member.name, false) {
                names::Name::Path(path) => visit(&path, what),
                names::Name::Bad(shown, fault) => visit(&shown, Err(fault)),
                names::Name::Top => Ok(()),
            }
        })?;
        // Its table is of what it was.
        within.check_unchanged().map_err(|fault| {
            Error::config(format!("{}: {}", archive.display(), fault.message), "run it again when nobody writes to it")
        })
    }

    /// Whether its archives have no members.
    fn is_empty(&self) -> bool {
        self.archives.as_ref().is_none_or(|archives| archives.members.is_empty())
    }

    /// What a person should know of archives that are read as folders, from a root on: one line each.
    pub(super) fn notes(&self, root: &Path) -> Vec<String> {
        let mut notes = Vec::new();
        if let Some(within) = self.within(root).filter(|within| self.taken == Taken::Last && !within.path.is_empty()) {
            let (top, archive) = (within.path, within.archive.path.display());
            notes.push(format!(
                "the source is the folder {top:?} of {archive}, as all of it is there: ids are relative to it"
            ));
        }
        let archives = self.archives.iter().filter(|_| self.taken == Taken::Last);
        for (number, archive) in archives.flat_map(|all| (0u32..).zip(&all.archives).map(move |(n, a)| (n, (all, a)))) {
            let (all, archive) = archive;
            opened::tell(&archive.path, all.members.files(number), &mut notes);
        }
        notes
    }

    /// What was lost of archives, each with the path of one.
    pub(super) fn lost(&self) -> impl Iterator<Item = (&Path, &Fault)> {
        let archives = self.archives.iter().flat_map(|archives| &archives.archives);
        archives.filter_map(|archive| Some((archive.path.as_path(), archive.lost.as_ref()?)))
    }

    /// An archive that may have, or have had, more than was found in it, and of whose members nobody can say that they are gone: damaged, cut, without
    /// its end, or written to since.
    pub(crate) fn cut(&self) -> Option<&Path> {
        let archives = self.archives.iter().flat_map(|archives| &archives.archives);
        archives
            .into_iter()
            .find(|archive| archive.is_cut || !archive.unchanged().unwrap_or(false))
            .map(|archive| archive.path.as_path())
    }

    /// Whether an archive is damaged (`Some(true)`), or may be cut where nobody sees it.
    pub(super) fn how_cut(&self, archive: &Path) -> Option<bool> {
        let archive = self.within(archive)?.archive;
        archive.is_cut.then_some(archive.lost.is_some())
    }

    /// A file from its beginning. What a ZIP says of it is checked where it ends.
    ///
    /// # Errors
    /// The system's; of kind `InvalidData` for a member that is not what its archive says.
    pub fn open(&self, path: &Path) -> io::Result<Box<dyn Read + Send>> {
        match self.within(path) {
            Some(within) => {
                within.check_unchanged().map_err(system)?;
                within.place().and_then(|place| within.reader(&place)).map_err(system)
            }
            None => Ok(Box::new(std::fs::File::open(path)?)),
        }
    }

    /// All of a file that has `most` bytes at the most.
    ///
    /// # Errors
    /// As [`Tree::open`]; of kind `FileTooLarge` for a larger one.
    pub fn read(&self, path: &Path, most: u64) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        self.open(path)?.take(most.saturating_add(1)).read_to_end(&mut bytes)?;
        if bytes.len() as u64 > most {
            return Err(io::Error::new(io::ErrorKind::FileTooLarge, format!("more than {most} bytes")));
        }
        Ok(bytes)
    }

    /// The first bytes of a file, for sniffing.
    pub(super) fn head(&self, path: &Path) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::with_capacity(4096);
        self.open(path)?.take(4096).read_to_end(&mut bytes)?;
        Ok(bytes)
    }

    /// Reads a range of a file that had `file_bytes` when it was listed.
    pub(crate) fn read_range(&self, path: &Path, start: u64, length: u64, file_bytes: u64) -> Result<Vec<u8>, Fault> {
        match self.within(path) {
            Some(within) => within.read_range(path, start, length, file_bytes),
            None => super::walk::read_range(path, start, length, file_bytes),
        }
    }

    /// The file of the system, and the place in it, where all bytes of a file stand as they are.
    pub(super) fn stands(&self, path: &Path) -> Result<(PathBuf, u64), Fault> {
        let Some(within) = self.within(path) else { return Ok((path.to_owned(), 0)) };
        let place = within.place()?;
        if place.stored_as == Stored::Deflated || !matches!(*within.archive.bytes, Bytes::File { .. }) {
            let what = "it is compressed in its archive: ingest it";
            return Err(Fault::new(Reason::Unsupported, what));
        }
        Ok((within.archive.path.clone(), within.data(&place)?))
    }
}
