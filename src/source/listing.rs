//! What a source found, in the order of the dataset, on disk where it is too much for memory.
//!
//! A source hands its entries to a [`Lister`] in any order. The [`Listing`] has them by (split, id); an entry is decoded
//! when it is asked for, so a listing of a billion lines takes no more memory than one of a thousand.

use std::path::Path;

use super::{Choice, Entry, EntryCell, Refusal, Source, SourceOptions, Tree};
use crate::data::excerpt::Excerpts;
use crate::data::feature::Schema;
use crate::error::{Error, Fault, Reason, Result};
use crate::spool::{Sorted, Spill};

mod lister;
mod stored;

pub(crate) use lister::{Asked, Only, Print};
pub use lister::{Lister, Watch};
pub(crate) use stored::order;
use stored::{Stored, StoredCell, StoredRefusal, read_key};

/// Everything a source found.
#[derive(Debug, Default)]
pub struct Listing {
    /// The features with all class names.
    pub schema: Schema,
    /// The entries by (split, id) in byte order, the parts of one file (`#ordinal`) in theirs.
    pub entries: Entries,
    /// What was seen and could not become an entry, by id and line.
    pub refused: Refusals,
    /// What a person should know: one line each.
    pub notes: Vec<String>,
    /// Which parts of recordings the entries are, if they are parts.
    pub excerpts: Option<Excerpts>,
    /// What the paths of entries lead to.
    pub tree: Tree,
}

impl Listing {
    /// Lists a root.
    ///
    /// # Errors
    ///
    /// What makes the whole listing impossible; what `watch` returns; [`Error::Io`] of a temporary file.
    pub fn of(
        source: &dyn Source,
        root: &Path,
        options: &SourceOptions,
        spill: &Spill,
        watch: Watch<'_>,
    ) -> Result<Listing> {
        Listing::of_only(source, (&Tree::default(), root), (options, ""), spill, watch, None)
    }

    /// Lists what a choice is of.
    ///
    /// # Errors
    ///
    /// As [`Listing::of`].
    pub fn of_choice(choice: &Choice, options: &SourceOptions, spill: &Spill, watch: Watch<'_>) -> Result<Listing> {
        let at = (&choice.tree, choice.root.as_path());
        Listing::of_only(choice.source.as_ref(), at, (options, ""), spill, watch, None)
    }

    /// Lists what of a root is wanted; the classes are those of what is. Beside the root is the tree that it is in, beside the options what will stand
    /// before ids.
    pub(crate) fn of_only(
        source: &dyn Source,
        (tree, root): (&Tree, &Path),
        (options, id_prefix): (&SourceOptions, &str),
        spill: &Spill,
        watch: Watch<'_>,
        only: Option<Only<'_>>,
    ) -> Result<Listing> {
        let mut lister = Lister::new(spill, watch).within(tree).only(only);
        watch(0)?;
        let schema = source.list(root, options, &mut lister)?;
        // A source may have opened archives itself.
        let tree = lister.tree().clone();
        tree.notes(root).into_iter().for_each(|note| lister.note(note));
        let real = tree.canonicalize(root).unwrap_or_else(|_| root.to_owned());
        for (path, fault) in tree.lost() {
            // A shard as its samples are called; an archive that is the source by its name.
            let within = path.strip_prefix(&real).ok().filter(|within| !within.as_os_str().is_empty());
            let name = within.or_else(|| path.file_name().map(Path::new)).unwrap_or(path).to_string_lossy();
            lister.refuse(Refusal::file(name, fault.clone()))?;
        }
        let mut listing = lister.finish(schema)?;
        if let Some(provenance) = &options.provenance {
            listing = provenance.stamp(listing, root, source.name(), spill, watch)?;
        }
        match &options.assign {
            Some(assign) => assign.assign(listing, id_prefix, spill, watch),
            None => Ok(listing),
        }
    }
}

/// The entries of a listing.
#[derive(Debug, Default)]
pub struct Entries {
    sorted: Sorted,
    places: Option<Vec<usize>>,
    prefix: String,
    bytes: u64,
}

impl Entries {
    /// How many there are.
    pub fn len(&self) -> usize {
        self.sorted.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.sorted.is_empty()
    }

    /// Payload bytes of all.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Brings the entries into a dataset's terms: for each of its columns which cell it is, and what stands before each
    /// id. Their order stays.
    pub(crate) fn arrange(&mut self, places: &[usize], prefix: &str) {
        self.places = Some(places.to_vec());
        self.prefix = prefix.to_owned();
    }

    /// An entry by its place in the order.
    ///
    /// # Errors
    ///
    /// [`Error::Library`]: the source gave it other than one cell a column.
    pub fn get(&self, at: usize) -> Result<Entry> {
        Ok(self.listed(at)?.0)
    }

    /// An entry, and what its files looked like when it was listed.
    pub(crate) fn listed(&self, at: usize) -> Result<(Entry, Print)> {
        let (key, value) = self.sorted.get(at);
        let lost = |e: &dyn std::fmt::Display| Error::library("reading an entry from a temporary file", e);
        let (split, id) = read_key(key).ok_or_else(|| lost(&"its key is damaged"))?;
        let stored: Stored<'_> = postcard::from_bytes(value).map_err(|e| lost(&e))?;
        let mut cells: Vec<EntryCell> = stored.cells.into_iter().map(StoredCell::cell).collect();
        let origin = stored.origin.map_or_else(|| id.clone(), str::to_owned);
        if let Some(places) = &self.places {
            if cells.len() != places.len() {
                let what = format!("{} cells for {} columns", cells.len(), places.len());
                return Err(Error::library(format!("listing {id:?}"), what));
            }
            cells = places.iter().map(|p| std::mem::replace(&mut cells[*p], EntryCell::NULL)).collect();
        }
        let id = if self.prefix.is_empty() { id } else { format!("{}{id}", self.prefix) };
        Ok((Entry { id, split, cells, origin, line: stored.line }, stored.print))
    }

    /// All entries in order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = Result<Entry>> {
        (0..self.len()).map(|at| self.get(at))
    }
}

/// The refusals of a listing.
#[derive(Debug, Default)]
pub struct Refusals {
    sorted: Sorted,
    prefix: String,
}

impl Refusals {
    /// Whether some are of files or folders, not of lines.
    pub(crate) fn any_files(&self) -> Result<bool> {
        for refusal in self.iter() {
            if refusal?.line.is_none() {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.sorted.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.sorted.is_empty()
    }

    /// Puts something before each id.
    pub(crate) fn prefix(&mut self, prefix: &str) {
        self.prefix = prefix.to_owned();
    }

    /// All of them in order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = Result<Refusal>> {
        self.sorted.iter().map(|(_, value)| {
            let lost = |e: &dyn std::fmt::Display| Error::library("reading a refusal from a temporary file", e);
            let stored: StoredRefusal<'_> = postcard::from_bytes(value).map_err(|e| lost(&e))?;
            let reason = Reason::from_code(stored.reason).ok_or_else(|| lost(&"its reason is damaged"))?;
            Ok(Refusal {
                id: format!("{}{}", self.prefix, stored.id),
                origin: stored.origin.unwrap_or(stored.id).to_owned(),
                line: stored.line,
                fault: Fault::new(reason, stored.message),
            })
        })
    }
}

/// A listing of a test with its entries.
#[cfg(test)]
pub(super) fn listed(source: &dyn Source, root: &Path, options: &SourceOptions) -> Result<(Listing, Vec<Entry>)> {
    let listing = Listing::of(source, root, options, &Spill::temporary(), &|_| Ok(()))?;
    let entries = listing.entries.iter().collect::<Result<_>>()?;
    Ok((listing, entries))
}

#[cfg(test)]
mod tests {
    use std::os::unix::ffi::OsStrExt as _;
    use std::path::PathBuf;

    use super::stored::put_key;
    use super::*;
    use crate::data::label::Value;
    use crate::source::Part;

    fn quiet(_: u64) -> Result<()> {
        Ok(())
    }

    fn entry(split: &str, id: &str, cells: Vec<EntryCell>) -> Entry {
        Entry { id: id.into(), split: split.into(), cells, origin: "m.csv".into(), line: Some(3) }
    }

    #[test]
    fn keys_are_ordered_like_split_and_id_and_give_them_back() {
        let ids = ["", "a", "a#2", "a#10", "a#010", "a#x", "a/b", "ab", "a\0", "a\0b", "#1", "\u{1f411}#7", "a#+3"];
        let mut all: Vec<(&str, &str)> =
            ["", "test", "train", "t\0"].iter().flat_map(|s| ids.iter().map(move |id| (*s, *id))).collect();
        let key = |(split, id): &(&str, &str)| {
            let mut key = Vec::new();
            put_key(&mut key, split, id);
            assert_eq!(read_key(&key), Some(((*split).to_owned(), (*id).to_owned())));
            key
        };
        let mut keys: Vec<Vec<u8>> = all.iter().map(key).collect();
        keys.sort();
        all.sort_by(|a, b| (a.0, order(a.1)).cmp(&(b.0, order(b.1))));
        assert_eq!(keys, all.iter().map(key).collect::<Vec<_>>());
        assert!(order("a#2") < order("a#10") && order("a#02") < order("a#2") && order("a") < order("a#1"));
    }

    #[test]
    fn entries_come_back_as_they_were_however_little_memory_there_is() {
        let odd = PathBuf::from(std::ffi::OsStr::from_bytes(b"/caf\xe9/x"));
        let cells = vec![
            EntryCell::File { path: odd.clone(), bytes: 7 },
            EntryCell::Slice { path: odd.clone().into(), range: 3..u64::MAX, file_bytes: u64::MAX },
            EntryCell::Excerpt {
                path: odd.clone().into(),
                file_bytes: 9,
                part: Part::Seconds { start: 0.5, end: f64::MAX },
            },
            EntryCell::Excerpt {
                path: odd.into(),
                file_bytes: u64::MAX,
                part: Part::Samples { range: 7..u64::MAX, of: u64::MAX, channels: u32::MAX },
            },
            EntryCell::Inline(vec![0, 255]),
            EntryCell::Class("b".into()),
            EntryCell::NULL,
            EntryCell::Value(Value::Int(i64::MIN)),
            EntryCell::Value(Value::Float(-0.5)),
            EntryCell::Value(Value::Bool(true)),
            EntryCell::Value(Value::Text("t".into())),
        ];
        let mut given =
            vec![entry("train", "x#9", cells), entry("test", "y", Vec::new()), entry("train", "x#10", Vec::new())];
        given[1].origin = "y".into();
        for memory in [0, usize::MAX] {
            let spill = Spill::temporary().beyond(memory);
            let mut lister = Lister::new(&spill, &quiet);
            for entry in &given {
                lister.entry(entry.clone()).unwrap();
            }
            let listing = lister.finish(Schema::default()).unwrap();
            let seen: Vec<Entry> = listing.entries.iter().collect::<Result<_>>().unwrap();
            assert_eq!(seen, [given[1].clone(), given[0].clone(), given[2].clone()]);
        }
    }

    #[test]
    fn a_watch_can_end_a_listing() {
        let stop = |entries: u64| if entries > 2000 { Err(Error::Interrupted) } else { Ok(()) };
        let mut lister = Lister::new(&Spill::temporary(), &stop);
        let ended =
            (0..5000).map(|i| lister.entry(entry("train", &i.to_string(), Vec::new()))).position(|r| r.is_err());
        assert!(ended.is_some_and(|at| (2000..4000).contains(&at)), "{ended:?}");
    }
}
