//! What is kept of the bytes that are refused.
//!
//! They are read again when their entry is refused, in the order of the listing and one at a time: so what is kept follows from
//! the listing and two limits alone, and no more than one is in memory. Nothing looks into them.

use std::path::{Path, PathBuf};

use super::options::IngestOptions;
use crate::data::label::Value;
use crate::error::{Error, Result};
use crate::quarantine::{Original, Refused};
use crate::source::{self, Entry, EntryCell, Tree};

/// Where the source is, and how many bytes are kept.
#[derive(Debug, Clone, Copy)]
pub(super) struct Keeping<'a> {
    tree: &'a Tree,
    root: &'a Path,
    row: u64,
    total: u64,
}

/// The folder that what a source says of its files is relative to.
pub(super) fn root(tree: &Tree, source: &Path) -> Result<PathBuf> {
    let real = tree.canonicalize(source).map_err(|e| Error::io(source, "open", e))?;
    Ok(if tree.is_file(&real) { real.parent().map(Path::to_owned).unwrap_or_default() } else { real })
}

/// The bytes of a payload before they are read.
enum Bytes<'e> {
    /// A range of a file that had so many bytes.
    File(&'e Path, u64, u64, u64),
    /// They are here.
    Here(&'e [u8]),
}

impl<'e> Bytes<'e> {
    fn of(cell: &'e EntryCell) -> Option<Self> {
        match cell {
            EntryCell::File { path, bytes } => Some(Bytes::File(path, 0, *bytes, *bytes)),
            EntryCell::Slice { path, range, file_bytes } => {
                Some(Bytes::File(path, range.start, range.end.saturating_sub(range.start), *file_bytes))
            }
            // A part was refused with its recording, or for what is in it: the recording shows both.
            EntryCell::Excerpt { path, file_bytes, .. } => Some(Bytes::File(path, 0, *file_bytes, *file_bytes)),
            EntryCell::Inline(bytes) => Some(Bytes::Here(bytes)),
            EntryCell::Value(Value::Text(text)) => Some(Bytes::Here(text.as_bytes())),
            EntryCell::Class(_) | EntryCell::Objects(..) | EntryCell::Value(_) => None,
        }
    }

    fn len(&self) -> u64 {
        match self {
            Bytes::File(_, _, length, _) => *length,
            Bytes::Here(bytes) => bytes.len() as u64,
        }
    }

    /// The first so many. What cannot be read, or is another file by now, is not kept: often that is why it was refused.
    fn first(&self, tree: &Tree, most: u64) -> Option<Vec<u8>> {
        match self {
            Bytes::File(path, start, length, file_bytes) => {
                tree.read_range(path, *start, most.min(*length), *file_bytes).ok()
            }
            Bytes::Here(bytes) => Some(bytes[..usize::try_from(most).unwrap_or(usize::MAX).min(bytes.len())].to_vec()),
        }
    }
}

impl<'a> Keeping<'a> {
    pub(super) fn new(tree: &'a Tree, root: &'a Path, options: &IngestOptions) -> Self {
        Keeping { tree, root, row: options.quarantine_bytes, total: options.quarantine_total_bytes }
    }

    /// Adds to a refusal what is kept of its entry: of the column, or of the first payload. `kept` bytes are kept already.
    pub(super) fn entry(&self, refused: &mut Refused, entry: &Entry, column: Option<usize>, kept: u64) {
        if let Some(EntryCell::Excerpt { path, .. }) =
            entry.cells.iter().find(|c| matches!(c, EntryCell::Excerpt { .. }))
        {
            refused.recording = path.strip_prefix(self.root).ok().and_then(Path::to_str).map(str::to_owned);
        }
        let own = column.and_then(|c| entry.cells.get(c)).and_then(Bytes::of);
        if let Some(bytes) = own.or_else(|| entry.cells.iter().find_map(Bytes::of)) {
            self.keep(refused, &bytes, kept);
        }
    }

    /// The same of what the listing refused: files of the source. Links out of it, pipes and devices were refused for what they
    /// are, and are not opened here either.
    pub(super) fn listed(&self, refused: &mut Refused, id_prefix: &str, kept: u64) {
        let id = refused.id.strip_prefix(id_prefix).unwrap_or(&refused.id);
        if refused.line.is_some() || id != refused.origin {
            return;
        }
        if let Some(found) = source::file_within(self.tree, self.root, id) {
            self.keep(refused, &Bytes::File(&found.0, 0, found.1, found.1), kept);
        }
    }

    fn keep(&self, refused: &mut Refused, bytes: &Bytes<'_>, kept: u64) {
        refused.bytes = Some(bytes.len());
        let most = self.row.min(self.total.saturating_sub(kept));
        let first = if most > 0 { bytes.first(self.tree, most) } else { None };
        if let Some(first) = first.filter(|first| !first.is_empty()) {
            refused.kept = Some(first.len() as u64);
            refused.original = Some(Original(first));
        }
    }
}
