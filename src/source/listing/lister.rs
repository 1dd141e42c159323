//! What a source hands its entries to.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::stored::{Stored, StoredCell, StoredRefusal, put_key};
use super::{Entries, Listing, Refusals};
use crate::data::excerpt::Excerpts;
use crate::data::feature::Schema;
use crate::error::{Error, Result};
use crate::source::{Entry, EntryCell, Refusal, Tree, labels};
use crate::spool::{Sorter, Spill};

/// How often a listing asks whether to go on, in entries or files.
const STEP: u64 = 1024;

/// The time of change of a file that tells none.
const UNKNOWN: i128 = -1;

/// What the files of an entry looked like when it was listed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Print {
    /// A hash of their sizes and times of change.
    pub hash: u64,
    /// When the youngest of them changed, in nanoseconds since 1970, at the end of time if one does not tell; of an entry without files, `None`.
    pub changed: Option<i128>,
}

/// Called now and then while a source lists, with the entries so far: an error ends the listing.
pub type Watch<'a> = &'a (dyn Fn(u64) -> Result<()> + 'a);

/// What a source found, as far as [`Only`] asks.
pub(crate) struct Asked<'a> {
    /// Its id.
    pub id: &'a str,
    /// Where it is from.
    pub origin: &'a str,
    /// The line there.
    pub line: Option<u64>,
    /// Its cells; none of what the source refuses.
    pub cells: &'a [EntryCell],
}

/// Says what of a source is listed.
pub(crate) type Only<'a> = &'a dyn Fn(&Asked<'_>) -> bool;

/// Takes what a source finds.
pub struct Lister<'a> {
    spill: Spill,
    tree: Tree,
    watch: Watch<'a>,
    only: Option<Only<'a>>,
    sorter: Sorter,
    refused: Sorter,
    notes: Vec<String>,
    /// The class names of each column.
    classes: Vec<BTreeSet<String>>,
    /// Whether an entry is a part of a recording.
    excerpts: bool,
    bytes: u64,
    entries: u64,
    steps: u64,
    /// The file looked at last, and when it changed: the parts of one file follow one another.
    changed: Option<(PathBuf, i128)>,
    key: Vec<u8>,
}

impl std::fmt::Debug for Lister<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Lister").field("entries", &self.entries).finish_non_exhaustive()
    }
}

impl<'a> Lister<'a> {
    /// An empty one. `watch` is called every thousand entries or so.
    pub fn new(spill: &Spill, watch: Watch<'a>) -> Self {
        Lister {
            spill: spill.clone(),
            tree: Tree::default(),
            watch,
            only: None,
            sorter: Sorter::new(spill),
            refused: Sorter::new(spill),
            notes: Vec::new(),
            classes: Vec::new(),
            excerpts: false,
            bytes: 0,
            entries: 0,
            steps: 0,
            changed: None,
            key: Vec::new(),
        }
    }

    /// With the tree that the paths of entries lead into.
    #[must_use]
    pub(crate) fn within(self, tree: &Tree) -> Self {
        Lister { tree: tree.clone(), ..self }
    }

    /// Only what is asked for.
    #[must_use]
    pub(super) fn only(self, only: Option<Only<'a>>) -> Self {
        Lister { only, ..self }
    }

    /// Who is asked whether to go on.
    pub(in crate::source) fn watch(&self) -> Watch<'a> {
        self.watch
    }

    /// The paths of entries lead into another tree from now on.
    pub(in crate::source) fn enter(&mut self, tree: Tree) {
        self.tree = tree;
    }

    /// What paths lead to: files of the system, and members of archives.
    pub fn tree(&self) -> &Tree {
        &self.tree
    }

    /// Where a source's own sorters and spools may go.
    pub fn spill(&self) -> &Spill {
        &self.spill
    }

    /// Says that work was done that gave no entry: a file looked at, a row read. An error ends the listing.
    ///
    /// # Errors
    ///
    /// What the caller's `watch` returns, [`Error::Interrupted`] for example.
    pub fn step(&mut self) -> Result<()> {
        self.steps += 1;
        if self.steps.is_multiple_of(STEP) { (self.watch)(self.entries) } else { Ok(()) }
    }

    /// Adds an entry.
    ///
    /// # Errors
    ///
    /// As [`Lister::step`], and [`Error::Io`] of a temporary file.
    pub fn entry(&mut self, entry: Entry) -> Result<()> {
        self.step()?;
        let Entry { id, origin, line, cells, .. } = &entry;
        if self.only.is_some_and(|only| !only(&Asked { id, origin, line: *line, cells })) {
            return Ok(());
        }
        let (mut print, mut changed) = (xxhash_rust::xxh3::Xxh3Default::new(), None);
        for cell in &entry.cells {
            let path: &Path = match cell {
                EntryCell::File { path, .. } => path,
                EntryCell::Slice { path, .. } => path,
                EntryCell::Excerpt { path, file_bytes, .. } => {
                    self.excerpts = true;
                    print.update(&file_bytes.to_le_bytes());
                    path
                }
                EntryCell::Inline(_) | EntryCell::Class(_) | EntryCell::Value(_) | EntryCell::Objects(..) => continue,
            };
            let at = self.changed(path);
            changed = changed.max(Some(if at == UNKNOWN { i128::MAX } else { at }));
            print.update(&cell.bytes().to_le_bytes());
            print.update(&at.to_le_bytes());
            if let Some(identity) = self.tree.identity(path) {
                print.update(identity.map(u64::to_le_bytes).as_flattened());
            }
        }
        for (column, cell) in entry.cells.iter().enumerate() {
            let names = match cell {
                EntryCell::Class(name) => std::slice::from_ref(name),
                EntryCell::Objects(names, _) => names,
                _ => continue,
            };
            if self.classes.len() <= column {
                self.classes.resize_with(column + 1, BTreeSet::new);
            }
            for name in names {
                if !self.classes[column].contains(name.as_str()) {
                    self.classes[column].insert(name.clone());
                }
            }
        }
        self.entries += 1;
        self.bytes = self.bytes.saturating_add(entry.bytes());
        self.key.clear();
        put_key(&mut self.key, &entry.split, &entry.id);
        let stored = Stored {
            origin: (entry.origin != entry.id).then_some(&entry.origin),
            line: entry.line,
            print: Print { hash: print.digest(), changed },
            cells: entry.cells.iter().map(StoredCell::of).collect(),
        };
        let value = postcard::to_stdvec(&stored).map_err(|e| Error::library("keeping an entry", e))?;
        self.sorter.push(&self.key, &value)
    }

    /// When a file's content changed last, in nanoseconds; [`UNKNOWN`] if nobody knows.
    fn changed(&mut self, path: &Path) -> i128 {
        if let Some((_, at)) = self.changed.as_ref().filter(|(known, _)| known == path) {
            return *at;
        }
        let at = self.tree.stamp(path).map_or(UNKNOWN, |(_, at)| at);
        self.changed = Some((path.to_owned(), at));
        at
    }

    /// Adds what was seen and can be no entry.
    ///
    /// # Errors
    ///
    /// As [`Lister::entry`].
    pub fn refuse(&mut self, refusal: Refusal) -> Result<()> {
        self.step()?;
        let Refusal { id, origin, line, .. } = &refusal;
        if self.only.is_some_and(|only| !only(&Asked { id, origin, line: *line, cells: &[] })) {
            return Ok(());
        }
        self.key.clear();
        put_key(&mut self.key, "", &refusal.id);
        self.key.push(0);
        self.key.extend(refusal.line.unwrap_or(0).to_be_bytes());
        let stored = StoredRefusal {
            id: &refusal.id,
            origin: (refusal.origin != refusal.id).then_some(&refusal.origin),
            line: refusal.line,
            reason: refusal.fault.reason.code(),
            message: &refusal.fault.message,
        };
        let value = postcard::to_stdvec(&stored).map_err(|e| Error::library("keeping a refusal", e))?;
        self.refused.push(&self.key, &value)
    }

    /// Adds what a person should know, in one line.
    pub fn note(&mut self, note: impl Into<String>) {
        self.notes.push(note.into());
    }

    /// The listing: entries and refusals in their order, the class names in the schema (integers in numeric order, all
    /// else in byte order, behind those that the source put there itself).
    ///
    /// # Errors
    ///
    /// [`Error::Io`] of a temporary file.
    pub fn finish(mut self, mut schema: Schema) -> Result<Listing> {
        for (column, new) in schema.columns.iter_mut().zip(&mut self.classes) {
            if let Some(names) = column.feature.classes_mut() {
                for name in names.iter() {
                    new.remove(name);
                }
                names.extend(labels::ordered(std::mem::take(new)));
            }
        }
        let entries = Entries { sorted: self.sorter.finish()?, places: None, prefix: String::new(), bytes: self.bytes };
        let refused = Refusals { sorted: self.refused.finish()?, prefix: String::new() };
        let excerpts = self.excerpts.then_some(Excerpts::Rows);
        Ok(Listing { schema, entries, refused, notes: self.notes, excerpts, tree: self.tree })
    }
}
