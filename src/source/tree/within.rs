//! A path into an archive, and what is read there.

use std::io::{self, Read};
use std::path::Path;
use std::sync::Arc;

use super::place::{Place, Stored};
use super::{Archive, Archives, Node, Taken, checked, zip};
use crate::error::{Fault, Reason};
use crate::spool::{Spool, Spooled};

/// Members that are deflated and read in parts: so many are kept inflated.
const INFLATED: usize = 4;

/// A path within an archive.
#[derive(Debug, Clone, Copy)]
pub(super) struct Within<'t, 'p> {
    pub(super) archives: &'t Archives,
    pub(super) archive: &'t Archive,
    pub(super) number: u32,
    pub(super) taken: Taken,
    /// Relative to the archive; a name that is not UTF-8 leads nowhere.
    pub(super) path: &'p str,
}

impl Within<'_, '_> {
    pub(super) fn node(&self) -> Option<Node> {
        match self.path {
            "" => Some(Node::Folder),
            path => self.archives.members.find(self.number, path, self.taken),
        }
    }

    /// The place of a file.
    pub(super) fn place(&self) -> Result<Place, Fault> {
        let path = self.path;
        match self.node() {
            Some(Node::File(place)) => Ok(place),
            Some(Node::Refused(fault)) => Err(fault),
            Some(Node::Folder) => Err(Fault::new(Reason::BadPath, format!("{path} is a folder"))),
            None => Err(Fault::new(Reason::Unreadable, format!("{path}: there is no such file"))),
        }
    }

    /// Refuses an archive that somebody wrote to since it was opened.
    pub(super) fn check_unchanged(&self) -> Result<(), Fault> {
        match self.archive.unchanged().map_err(|e| Fault::new(Reason::Unreadable, e))? {
            true => Ok(()),
            false => Err(Fault::new(Reason::Changed, "the archive was changed while it was read")),
        }
    }

    pub(super) fn data(&self, place: &Place) -> Result<u64, Fault> {
        match place.stored_as {
            Stored::Plain => Ok(place.at),
            Stored::Zip | Stored::Deflated => zip::data(&self.archive.bytes, place, self.path),
        }
    }

    pub(super) fn reader(&self, place: &Place) -> Result<Box<dyn Read + Send>, Fault> {
        Ok(checked::reader(&self.archive.bytes, self.data(place)?, place))
    }

    pub(super) fn read_range(&self, path: &Path, start: u64, length: u64, file_bytes: u64) -> Result<Vec<u8>, Fault> {
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

/// A fault of reading: what ends early or does not fit itself is damaged.
pub(in crate::source) fn unreadable(e: io::Error) -> Fault {
    let reason = match e.kind() {
        io::ErrorKind::InvalidData | io::ErrorKind::InvalidInput | io::ErrorKind::UnexpectedEof => Reason::Corrupt,
        _ => Reason::Unreadable,
    };
    Fault::new(reason, e)
}

/// A fault as the system would say it.
pub(super) fn system(fault: Fault) -> io::Error {
    let kind = match fault.reason {
        Reason::Unreadable => io::ErrorKind::NotFound,
        Reason::BadPath => io::ErrorKind::PermissionDenied,
        _ => io::ErrorKind::InvalidData,
    };
    io::Error::new(kind, fault.message)
}
