//! The members of archives by their paths, on disk where they are many.

use super::{Place, Taken};
use crate::error::{Fault, Reason, Result};
use crate::spool::{Sorted, Sorter, Spill};

/// What stands under a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Node {
    /// A file.
    File(Place),
    /// Something that is not read, and why.
    Refused(Fault),
    /// A folder, as others are below it.
    Folder,
}

/// A table that is being made.
pub(super) struct Maker {
    sorter: Sorter,
}

/// Where the members of an archive begin; what has a name that cannot be is behind all others.
fn space(archive: u32, is_bad: bool) -> [u8; 4] {
    (archive | u32::from(is_bad) << 31).to_be_bytes()
}

fn key(space: [u8; 4], name: &str, ordinal: u64) -> Vec<u8> {
    [&space[..], name.as_bytes(), &[0], &ordinal.to_be_bytes()].concat()
}

fn value(what: &Result<Place, Fault>) -> Vec<u8> {
    match what {
        Ok(place) => place.to_bytes().to_vec(),
        Err(fault) => [fault.reason.code().as_bytes(), &[0], fault.message.as_bytes()].concat(),
    }
}

fn node(value: &[u8]) -> Node {
    if let Some(place) = Place::of_bytes(value) {
        return Node::File(place);
    }
    let mut parts = value.splitn(2, |b| *b == 0).map(String::from_utf8_lossy);
    let reason = parts.next().and_then(|code| Reason::from_code(&code)).unwrap_or(Reason::Corrupt);
    Node::Refused(Fault::new(reason, parts.next().unwrap_or_default()))
}

impl Maker {
    pub(super) fn new(spill: &Spill) -> Self {
        Maker { sorter: Sorter::new(spill) }
    }

    /// Adds a member under a path.
    pub(super) fn add(&mut self, archive: u32, name: &str, ordinal: u64, what: &Result<Place, Fault>) -> Result<()> {
        self.sorter.push(&key(space(archive, false), name, ordinal), &value(what))
    }

    /// Adds one whose name cannot be, as it may be shown.
    pub(super) fn add_bad(&mut self, archive: u32, shown: &str, ordinal: u64, fault: Fault) -> Result<()> {
        self.sorter.push(&key(space(archive, true), shown, ordinal), &value(&Err(fault)))
    }

    pub(super) fn finish(self) -> Result<Members> {
        Ok(Members { sorted: self.sorter.finish()? })
    }
}

/// The members of archives.
#[derive(Debug)]
pub(super) struct Members {
    sorted: Sorted,
}

impl Members {
    /// The name in the key at a place, if it begins with these bytes.
    fn name(&self, at: usize, begin: &[u8]) -> Option<&str> {
        if at >= self.sorted.len() {
            return None;
        }
        let key = self.sorted.get(at).0;
        // A mark and the ordinal stand behind it.
        let name = key.get(4..key.len().checked_sub(9)?)?;
        key.starts_with(begin).then(|| std::str::from_utf8(name).ok()).flatten()
    }

    /// The first behind all of one name.
    fn behind(&self, name: &str, archive: u32) -> usize {
        self.sorted.at_least(&key(space(archive, false), name, u64::MAX))
    }

    /// Of all of one name, of which the first is at `from`, the one that counts.
    fn counts(&self, from: usize, name: &str, archive: u32, taken: Taken) -> usize {
        if taken == Taken::Last { self.behind(name, archive) - 1 } else { from }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.sorted.is_empty()
    }

    /// What stands under a path.
    pub(super) fn find(&self, archive: u32, path: &str, taken: Taken) -> Option<Node> {
        let begin = [&space(archive, false)[..], path.as_bytes(), &[0]].concat();
        let from = self.sorted.at_least(&begin);
        if !path.is_empty() && self.name(from, &begin).is_some() {
            return Some(node(self.sorted.get(self.counts(from, path, archive, taken)).1));
        }
        let below = self.prefix(archive, path);
        self.name(self.sorted.at_least(&below), &below).map(|_| Node::Folder)
    }

    /// How the keys begin of what is below a folder.
    fn prefix(&self, archive: u32, folder: &str) -> Vec<u8> {
        let slash: &[u8] = if folder.is_empty() { b"" } else { b"/" };
        [&space(archive, false)[..], folder.as_bytes(), slash].concat()
    }

    /// What is directly in a folder, in byte order of the names. A name may come as a file and as a folder.
    pub(super) fn children(&self, archive: u32, folder: &str, taken: Taken) -> Children<'_> {
        let begin = self.prefix(archive, folder);
        Children { members: self, archive, taken, at: self.sorted.at_least(&begin), begin }
    }

    /// The members of an archive whose names cannot be.
    pub(super) fn bad(&self, archive: u32) -> impl Iterator<Item = (&str, Fault)> {
        let begin = space(archive, true);
        let from = self.sorted.at_least(&begin);
        (from..self.sorted.len()).map_while(move |at| {
            let name = self.name(at, &begin)?;
            match node(self.sorted.get(at).1) {
                Node::Refused(fault) => Some((name, fault)),
                _ => None,
            }
        })
    }

    /// The files of an archive by name, those that do not count too, each with whether it counts.
    pub(super) fn files(&self, archive: u32) -> impl Iterator<Item = (&str, bool)> {
        let begin = space(archive, false);
        let mut at = self.sorted.at_least(&begin);
        let mut counted = at;
        std::iter::from_fn(move || {
            let name = self.name(at, &begin)?;
            if at >= counted {
                counted = self.behind(name, archive);
            }
            at += 1;
            Some((name, at == counted))
        })
    }
}

/// What is in a folder.
pub(super) struct Children<'m> {
    members: &'m Members,
    archive: u32,
    taken: Taken,
    at: usize,
    begin: Vec<u8>,
}

impl<'m> Iterator for Children<'m> {
    type Item = (&'m str, Node);

    fn next(&mut self) -> Option<Self::Item> {
        let name = self.members.name(self.at, &self.begin)?;
        let from = self.begin.len() - 4;
        let rest = &name[from..];
        if let Some((folder, _)) = rest.split_once('/') {
            // What is behind a slash comes before what is behind the next byte.
            let behind = [&self.begin, folder.as_bytes(), b"0"].concat();
            self.at = self.members.sorted.at_least(&behind);
            return Some((folder, Node::Folder));
        }
        let counts = self.members.counts(self.at, name, self.archive, self.taken);
        self.at = self.members.behind(name, self.archive);
        Some((rest, node(self.members.sorted.get(counts).1)))
    }
}
