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
use crate::spool::{Spill, Spool, Spooled};

mod bytes;
mod checked;
mod names;
mod opened;
mod spooled;
mod table;
mod tar;
mod zip;

use bytes::Bytes;
pub(super) use opened::{Opened, is_tar, mount, open, stem};
pub(crate) use table::Node;
use table::{Maker, Members};

/// Members that are deflated and read in parts: so many are kept inflated.
const INFLATED: usize = 4;

/// Where the bytes of a member are.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Place {
    /// Of its data in the archive; in a ZIP, of the header in front of it.
    at: u64,
    /// Bytes in the archive.
    stored: u64,
    /// Its size.
    bytes: u64,
    crc: u32,
    stored_as: Stored,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Stored {
    /// As it is.
    #[default]
    Plain,
    /// As it is, behind a header of a ZIP, with a checksum.
    Zip,
    /// The same, deflated.
    Deflated,
}

impl Place {
    const BYTES: usize = 29;

    fn at(at: u64, bytes: u64) -> Self {
        Place { at, stored: bytes, bytes, ..Place::default() }
    }

    /// Begins with a byte that no text does.
    fn to_bytes(self) -> [u8; Self::BYTES] {
        let mut to = [0; Self::BYTES];
        to[0] = 0xf0 | self.stored_as as u8;
        let numbers = [self.at, self.stored, self.bytes].map(u64::to_le_bytes);
        to[1..25].copy_from_slice(numbers.as_flattened());
        to[25..].copy_from_slice(&self.crc.to_le_bytes());
        to
    }

    fn of_bytes(from: &[u8]) -> Option<Self> {
        let stored_as = match from.first()? {
            0xf0 => Stored::Plain,
            0xf1 => Stored::Zip,
            0xf2 => Stored::Deflated,
            _ => return None,
        };
        let number = |at: usize| from.get(at..at + 8)?.try_into().ok().map(u64::from_le_bytes);
        let crc = from.get(25..29)?.try_into().ok().map(u32::from_le_bytes)?;
        Some(Place { at: number(1)?, stored: number(9)?, bytes: number(17)?, crc, stored_as })
    }

    /// Its size.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }
}

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

/// A path within an archive.
#[derive(Debug, Clone, Copy)]
struct Within<'t, 'p> {
    archives: &'t Archives,
    archive: &'t Archive,
    number: u32,
    taken: Taken,
    /// Relative to the archive; a name that is not UTF-8 leads nowhere.
    path: &'p str,
}

impl Within<'_, '_> {
    fn node(&self) -> Option<Node> {
        match self.path {
            "" => Some(Node::Folder),
            path => self.archives.members.find(self.number, path, self.taken),
        }
    }

    /// The place of a file.
    fn place(&self) -> Result<Place, Fault> {
        let path = self.path;
        match self.node() {
            Some(Node::File(place)) => Ok(place),
            Some(Node::Refused(fault)) => Err(fault),
            Some(Node::Folder) => Err(Fault::new(Reason::BadPath, format!("{path} is a folder"))),
            None => Err(Fault::new(Reason::Unreadable, format!("{path}: there is no such file"))),
        }
    }

    /// Refuses an archive that somebody wrote to since it was opened.
    fn check_unchanged(&self) -> Result<(), Fault> {
        match self.archive.unchanged().map_err(|e| Fault::new(Reason::Unreadable, e))? {
            true => Ok(()),
            false => Err(Fault::new(Reason::Changed, "the archive was changed while it was read")),
        }
    }

    fn data(&self, place: &Place) -> Result<u64, Fault> {
        match place.stored_as {
            Stored::Plain => Ok(place.at),
            Stored::Zip | Stored::Deflated => zip::data(&self.archive.bytes, place, self.path),
        }
    }

    fn reader(&self, place: &Place) -> Result<Box<dyn Read + Send>, Fault> {
        Ok(checked::reader(&self.archive.bytes, self.data(place)?, place))
    }
}

/// Size and time of change, in nanoseconds since 1970.
fn stamp(meta: &std::fs::Metadata) -> (u64, i128) {
    (meta.len(), i128::from(meta.mtime()) * 1_000_000_000 + i128::from(meta.mtime_nsec()))
}

fn unreadable(e: io::Error) -> Fault {
    let reason = match e.kind() {
        io::ErrorKind::InvalidData | io::ErrorKind::InvalidInput | io::ErrorKind::UnexpectedEof => Reason::Corrupt,
        _ => Reason::Unreadable,
    };
    Fault::new(reason, e)
}

/// A fault as the system would say it.
fn system(fault: Fault) -> io::Error {
    let kind = match fault.reason {
        Reason::Unreadable => io::ErrorKind::NotFound,
        Reason::BadPath => io::ErrorKind::PermissionDenied,
        _ => io::ErrorKind::InvalidData,
    };
    io::Error::new(kind, fault.message)
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

impl Within<'_, '_> {
    fn read_range(&self, path: &Path, start: u64, length: u64, file_bytes: u64) -> Result<Vec<u8>, Fault> {
        self.check_unchanged()?;
        let place = self.place()?;
        if place.bytes != file_bytes || start.checked_add(length).is_none_or(|end| end > file_bytes) {
            let what = format!("the file had {file_bytes} bytes when it was listed and has {} now", place.bytes);
            return Err(Fault::new(Reason::Changed, what));
        }
        let size = usize::try_from(length).map_err(|_| Fault::new(Reason::OverLimit, "larger than the memory"))?;
        let mut bytes = Vec::new();
        // A deflated member may say more than there is: memory comes with what is read.
        let at_once = if place.stored_as == Stored::Deflated { size.min(1 << 20) } else { size };
        if bytes.try_reserve_exact(at_once).is_err() {
            return Err(Fault::new(Reason::OverLimit, format!("there is no memory for {length} bytes")));
        }
        let is_whole = length == file_bytes;
        match place.stored_as {
            Stored::Deflated if start > 0 => {
                let all = self.inflated(path, &place)?;
                let part = usize::try_from(start).ok().and_then(|start| all.get(start..start + size));
                bytes.extend_from_slice(part.ok_or_else(|| Fault::new(Reason::Truncated, "the member ends before"))?);
            }
            Stored::Zip if !is_whole => {
                bytes.resize(size, 0);
                self.archive.bytes.fill(self.data(&place)? + start, &mut bytes).map_err(unreadable)?;
            }
            Stored::Plain => {
                bytes.resize(size, 0);
                self.archive.bytes.fill(place.at + start, &mut bytes).map_err(unreadable)?;
            }
            // To its end, where the checksum is looked at.
            _ if is_whole => self.reader(&place)?.read_to_end(&mut bytes).map(drop).map_err(unreadable)?,
            _ => self.reader(&place)?.take(length).read_to_end(&mut bytes).map(drop).map_err(unreadable)?,
        }
        match bytes.len() == size {
            true => Ok(bytes),
            false => Err(Fault::new(Reason::Truncated, "the member ends before it should")),
        }
    }

    /// All of a deflated member that is read in parts; the rows of one file follow one another.
    fn inflated(&self, path: &Path, place: &Place) -> Result<Arc<Spooled>, Fault> {
        let poisoned = |_| Fault::new(Reason::Unreadable, "another thread failed while it was inflated");
        let mut held = self.archives.inflated.lock().map_err(poisoned)?;
        if let Some((_, all)) = held.iter().find(|(known, _)| known == path) {
            return Ok(Arc::clone(all));
        }
        let mut spool = Spool::new(&self.archives.spill);
        let mut reader = self.reader(place)?;
        let mut buffer = vec![0; 1 << 18];
        loop {
            let read = reader.read(&mut buffer).map_err(unreadable)?;
            if read == 0 {
                break;
            }
            spool.push(&buffer[..read]).map_err(|e| Fault::new(Reason::Unreadable, e))?;
        }
        let all = Arc::new(spool.finish().map_err(|e| Fault::new(Reason::Unreadable, e))?);
        held.push_back((path.to_owned(), Arc::clone(&all)));
        if held.len() > INFLATED {
            held.pop_front();
        }
        Ok(all)
    }
}
