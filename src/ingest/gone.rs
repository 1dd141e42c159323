//! What a source has no more, and whether that can be told.

use std::path::Path;
use std::sync::Arc;

use super::base::made_of;
use super::run::recording;
use super::sync::{Found, Own, SyncOptions};
use crate::data::feature::Feature;
use crate::data::record::row_key;
use crate::error::{Error, Result};
use crate::quarantine;
use crate::source::{Entry, Listing};
use crate::spool::{Sorted, Sorter, Spill};

/// Rows that the source lists no more.
pub(super) struct Gone {
    /// Those that are taken out.
    pub out: Sorted,
    /// Those that stay and stay the source's.
    pub kept: Sorted,
    pub shared: u64,
    /// The rows of the source.
    pub owned: u64,
    /// An archive of it may not be there as a whole: what is missing may be what it says of rows that it lists, too.
    pub is_cut: bool,
    pub notes: Vec<String>,
}

/// The names that the listing refused: a row that they may be of is not gone.
struct RefusedNames {
    names: Sorted,
    /// Whether some are of lines that name a row.
    torn: bool,
    /// Lines of which nobody can tell which rows they were.
    unnamed: u64,
}

fn name(kind: u8, text: &str) -> Vec<u8> {
    [&[kind][..], text.as_bytes()].concat()
}

/// A file name without its folders and ending.
fn stem(path: &str) -> &str {
    let file = path.rsplit_once('/').map_or(path, |(_, file)| file);
    file.rsplit_once('.').map_or(file, |(stem, _)| stem)
}

impl RefusedNames {
    fn of(listing: &Listing, prefix: &str, spill: &Spill) -> Result<Self> {
        let mut names = Sorter::new(spill);
        let (mut unnamed, mut any, mut torn) = (0, false, false);
        for refusal in listing.refused.iter() {
            let refusal = refusal?;
            any = true;
            let id = refusal.id.strip_prefix(prefix).unwrap_or(&refusal.id);
            names.push(&name(b'i', id), &[])?;
            match refusal.line {
                Some(line) if id == format!("{}#{line}", refusal.origin) => unnamed += 1,
                // A line that was cut off may have the beginning of an id.
                Some(_) => {
                    torn = true;
                    names.push(&name(b'l', id), &[])?;
                }
                // What is said of a picture may be in another file of its name.
                None => names.push(&name(b's', stem(id)), &[])?,
            }
        }
        // Where rows are called by their lines, these lines name them.
        let mut by_line = false;
        for entry in listing.entries.iter().take(if any { listing.entries.len() } else { 0 }) {
            let entry = entry?;
            let id = entry.id.strip_prefix(prefix).unwrap_or(&entry.id);
            by_line |= entry.line.is_some_and(|line| id == format!("{}#{line}", entry.origin));
            if by_line {
                break;
            }
        }
        Ok(RefusedNames { names: names.finish()?, torn, unnamed: if by_line { 0 } else { unnamed } })
    }

    /// Whether a row may be of something that was refused: itself, its file, or a folder above.
    fn may_be(&self, id: &str) -> bool {
        if self.names.is_empty() {
            return false;
        }
        let above = id.match_indices(['/', '#']).map(|(at, _)| &id[..at]);
        let file = id.split_once('#').map_or(id, |(file, _)| file);
        above.chain([id]).any(|id| self.names.position(&name(b'i', id)).is_some())
            || self.names.position(&name(b's', stem(file))).is_some()
            || self.torn && id.char_indices().any(|(at, _)| self.names.position(&name(b'l', &id[..at])).is_some())
    }
}

/// The entries that were refused, by id: each with how many rows its line stands for.
pub(super) struct RefusedIds(Sorted);

/// Goes over a listing and says which entries were refused: one line may stand for all parts of a recording.
pub(super) struct Refusing<'a> {
    ids: &'a RefusedIds,
    parts: Option<(Arc<Path>, u64)>,
}

impl RefusedIds {
    /// Those in the lines of a report, behind so many of what could not be listed.
    pub(super) fn of(lines: &[u8], unlisted: usize, spill: &Spill) -> Result<Self> {
        let mut ids = Sorter::new(spill);
        for line in quarantine::read_lines(lines).skip(unlisted) {
            let line = line?;
            ids.push(line.id.as_bytes(), &line.rows.unwrap_or(1).to_le_bytes())?;
        }
        Ok(RefusedIds(ids.finish()?))
    }

    /// Those that are collected already.
    pub(super) fn found(ids: Sorted) -> Self {
        RefusedIds(ids)
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    pub(super) fn along(&self) -> Refusing<'_> {
        Refusing { ids: self, parts: None }
    }
}

impl Refusing<'_> {
    /// Whether the next entry of the listing was refused.
    pub(super) fn is(&mut self, entry: &Entry) -> bool {
        if let Some((path, left)) = &mut self.parts
            && *left > 0
            && recording(entry) == Some(&*path)
        {
            *left -= 1;
            return true;
        }
        let rows = self.ids.0.find(entry.id.as_bytes());
        let rows = rows.map(|rows| rows.try_into().map_or(1, u64::from_le_bytes));
        self.parts = rows.and_then(|rows| Some((Arc::clone(recording(entry)?), rows.saturating_sub(1))));
        rows.is_some()
    }
}

impl Found<'_> {
    /// What the source has no more.
    ///
    /// # Errors
    /// [`Error::MassRemoval`].
    pub(super) fn gone(&self, sync: &SyncOptions, prefix: &str, dataset: &Path) -> Result<Gone> {
        let refused = RefusedNames::of(self.listing, prefix, self.spill)?;
        let (mut out, mut kept) = (Sorter::new(self.spill), Sorter::new(self.spill));
        // What an archive has behind the place where it is damaged, nobody knows.
        let cut = self.listing.tree.cut().map(Path::to_owned);
        let is_cut = cut.is_some();
        let (mut owned, mut removed, mut shared, mut unclear) = (0u64, 0u64, 0, 0u64);
        for key in self.base.keys() {
            let Some(there) = self.base.at(key) else { continue };
            if !self.owns(sync.own, &there) {
                continue;
            }
            owned += 1;
            if self.keys.contains(key) {
                continue;
            }
            let id = there.row.id();
            if refused.may_be(id.strip_prefix(prefix).unwrap_or(id)) {
                kept.push(&key.to_be_bytes(), &[])?;
            } else if sync.own != Own::All && self.claims.of_another(key, made_of(&there.row, self.base_columns())) {
                shared += 1;
            } else if refused.unnamed > 0 || is_cut {
                unclear += 1;
                kept.push(&key.to_be_bytes(), &[])?;
            } else {
                removed += 1;
                out.push(&key.to_be_bytes(), &[])?;
            }
        }
        let lost = removed + self.emptied(sync)?;
        if sync.max_removed.is_exceeded(lost, lost, owned) {
            let limit = sync.max_removed.to_string();
            return Err(Error::MassRemoval { dataset: dataset.to_owned(), removed: lost, rows: owned, limit });
        }
        let mut notes = Vec::new();
        if let Some(archive) = &cut {
            let archive = archive.display();
            let lacks = if unclear > 0 { format!(", also {unclear} that it does not list") } else { String::new() };
            notes.push(format!(
                "{archive} is damaged, may have been cut, or is being written: rows are added, and those that are there stay as they are{lacks}"
            ));
        } else if unclear > 0 {
            notes.push(format!(
                "{unclear} rows stay that the source does not list any more: {} of its lines cannot be read, and may be theirs (mend or remove these lines)",
                refused.unnamed
            ));
        }
        Ok(Gone { out: out.finish()?, kept: kept.finish()?, shared, owned, is_cut, notes })
    }

    /// How many of the source's rows have objects that the source has no more: where labels are files of their own, their folder may be missing alone.
    fn emptied(&self, sync: &SyncOptions) -> Result<u64> {
        let any = self.schema.columns.iter().any(|column| matches!(column.feature, Feature::Objects(_)));
        let mut emptied = 0;
        for entry in self.listing.entries.iter().take(if any { usize::MAX } else { 0 }) {
            let entry = entry?;
            let is_own = || self.base.at(row_key(&entry.id)).is_some_and(|there| self.owns(sync.own, &there));
            emptied += u64::from(self.base.is_emptied(&entry, self.schema) && is_own());
        }
        Ok(emptied)
    }

    /// Refuses to follow a source of which nobody knows what it brought. One that brought nothing yet, and of whose rows none is there, is a new one.
    ///
    /// # Errors
    /// [`Error::Config`].
    pub(super) fn check_known(&self, sync: &SyncOptions, was_seen: bool, source: &Path) -> Result<()> {
        let claims = self.claims;
        let is_told = match sync.own {
            Own::All => true,
            Own::Listed => !claims.damaged,
            Own::Recorded => false,
        };
        let is_new = || !was_seen && self.base.keys().all(|key| !self.keys.contains(key));
        if self.base.version() == 0 || is_told || claims.is_complete().unwrap_or_else(is_new) {
            return Ok(());
        }
        let why = match (claims.is_complete(), &sync.moved_from) {
            _ if claims.damaged => "the record of that is damaged".to_owned(),
            (Some(_), _) => "some may be from before that was written down".to_owned(),
            (None, Some(before)) => format!("no ingest of {} with this --id-prefix wrote it down", before.display()),
            (None, None) => "no ingest of this folder with this --id-prefix wrote it down".to_owned(),
        };
        Err(Error::config(
            format!("nobody knows which rows of the dataset {} brought: {why}", source.display()),
            "if the source was elsewhere then, say --moved-from PATH; if the dataset has no other source, --all-rows; if it brought the rows that it lists now, --listed-rows (those that it lost before stay then)",
        ))
    }
}
