//! The journal of an ingest: which entries are in finished shards, so that a later run does not decode them again.
//!
//! JSON lines at `.dsctl/journal/<key>.jsonl`. The first names the work. Each finished stretch of the listing adds the lines
//! of the entries that were refused in it, with what is kept of their bytes, and behind them its own. They are durable before the
//! next shard begins; lines without a whole stretch behind them are dropped.

use std::collections::BTreeMap;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::freeze::Frozen;
use crate::data::manifest::ShardRef;
use crate::error::{Fault, Result};
use crate::quarantine::{self, Refused};
use crate::source::{Entry, Refusal};
use crate::spool::{Spill, Spool, Spooled};
use crate::store::Store;

/// The folder of the journals.
pub const JOURNALS: &str = ".dsctl/journal";
/// The journal's format.
const FORMAT: u64 = 3;

/// The first line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Head {
    journal: u64,
    listing: String,
    options: String,
}

/// A finished stretch of the listing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Stretch {
    /// Its first entry.
    pub from: u64,
    /// The entry behind its last.
    pub to: u64,
    /// Of the sizes and times of the files as they were before they were read ([`super::freeze::Files`]).
    pub files: String,
    /// The shard that holds its rows, if it has any.
    pub shard: Option<ShardRef>,
    /// Entries that were in the dataset already.
    pub skipped: u64,
    /// Of these, those whose files were not read.
    #[serde(default, skip_serializing_if = "is_none")]
    pub unread: u64,
    /// Lines of what was refused, in front of its own.
    pub refused: u64,
    /// Entries that were refused beside these, in the line of another part of their recording.
    #[serde(default)]
    pub sharing: u64,
    /// What was put in for text that is no UTF-8.
    #[serde(default)]
    pub mended: Mended,
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "what serde calls")]
fn is_none(count: &u64) -> bool {
    *count == 0
}

impl Stretch {
    /// Counts a row with so many U+FFFD put into it.
    pub(super) fn mend(&mut self, replaced: u64) {
        self.mended.add(Mended { rows: u64::from(replaced > 0), replaced });
    }
}

/// Rows whose text was not UTF-8, and the U+FFFD that were put into them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Mended {
    pub rows: u64,
    pub replaced: u64,
}

impl Mended {
    pub(super) fn add(&mut self, more: Mended) {
        self.rows += more.rows;
        self.replaced += more.replaced;
    }
}

impl Refused {
    /// An entry at a column, if that is known. What is kept of it comes later.
    pub(super) fn entry(entry: &Entry, fault: &Fault, column: Option<String>) -> Self {
        Refused {
            id: entry.id.clone(),
            reason: fault.reason.code().to_owned(),
            message: fault.message.clone(),
            origin: entry.origin.clone(),
            line: entry.line,
            column,
            split: Some(entry.split.clone()),
            ..Refused::default()
        }
    }
}

impl From<Refusal> for Refused {
    fn from(refusal: Refusal) -> Self {
        Refused {
            id: refusal.id,
            reason: refusal.fault.reason.code().to_owned(),
            message: refusal.fault.message,
            origin: refusal.origin,
            line: refusal.line,
            ..Refused::default()
        }
    }
}

/// What was refused, as the lines of a journal, in files where they are many.
#[derive(Debug)]
pub(super) struct Report {
    count: u64,
    lines: Spool,
    /// Original bytes in the lines.
    kept: u64,
    /// Refusals of each class, and rows in them.
    classes: BTreeMap<String, [u64; 2]>,
}

impl Report {
    pub(super) fn new(spill: &Spill) -> Self {
        Report { count: 0, lines: Spool::new(spill), kept: 0, classes: BTreeMap::new() }
    }

    pub(super) fn push(&mut self, refused: &Refused) -> Result<()> {
        self.tally(refused);
        self.lines.push(&quarantine::line(refused)?)
    }

    /// Adds whole lines.
    pub(super) fn extend(&mut self, lines: &[u8]) -> Result<()> {
        for refused in quarantine::read_lines(lines) {
            self.tally(&refused?);
        }
        self.lines.push(lines)
    }

    /// Adds all of another one, and returns its lines.
    pub(super) fn absorb(&mut self, other: Report) -> Result<Spooled> {
        self.count += other.count;
        self.kept += other.kept;
        for (class, more) in other.classes {
            let known = self.classes.entry(class).or_default();
            *known = [known[0] + more[0], known[1] + more[1]];
        }
        let lines = other.lines.finish()?;
        self.lines.push(&lines)?;
        Ok(lines)
    }

    fn tally(&mut self, refused: &Refused) {
        self.count += 1;
        self.kept += refused.kept.unwrap_or(0);
        if let Some(class) = &refused.class {
            let known = self.classes.entry(class.clone()).or_default();
            *known = [known[0] + 1, known[1] + refused.rows.unwrap_or(1)];
        }
    }

    pub(super) fn count(&self) -> u64 {
        self.count
    }

    /// Original bytes that are kept.
    pub(super) fn kept(&self) -> u64 {
        self.kept
    }

    /// Refusals of each class, and how many rows they are.
    pub(super) fn classes(&self) -> &BTreeMap<String, [u64; 2]> {
        &self.classes
    }

    /// All lines.
    pub(super) fn finish(self) -> Result<Spooled> {
        self.lines.finish()
    }
}

/// An open journal.
#[derive(Debug)]
pub(super) struct Journal {
    store: Store,
    rel: String,
}

impl Journal {
    /// Opens the journal of some frozen work and returns the stretches that lie one behind the other from the first entry
    /// on. `keep` is given each with the lines of what was refused in it, and says which still stand: the first that does
    /// not ends the list. What is left is made durable, so a folder that cannot be written is an error here, before
    /// anything is decoded.
    pub(super) fn open(
        store: &Store,
        frozen: &Frozen,
        mut keep: impl FnMut(&Stretch, &[u8]) -> Result<bool>,
    ) -> Result<(Self, Vec<Stretch>)> {
        let rel = format!("{JOURNALS}/{}.jsonl", frozen.key);
        let head = Head { journal: FORMAT, listing: frozen.listing.clone(), options: frozen.options.clone() };
        let head_line = quarantine::line(&head)?;
        let there = store.map_if_there(&rel)?.unwrap_or_default();
        let mut stretches = Vec::<Stretch>::new();
        let good = if let Some(rest) = there.strip_prefix(head_line.as_slice()) {
            // Where the lines of the open stretch begin, where the next line begins, and how many there are.
            let (mut from, mut at, mut pending) = (0, 0, 0);
            for text in rest.split_inclusive(|b| *b == b'\n').filter(|l| l.ends_with(b"\n")) {
                let before = at;
                at += text.len();
                let Ok(stretch) = serde_json::from_slice::<Stretch>(text) else {
                    pending += 1;
                    continue;
                };
                let next = stretches.last().map_or(0, |s| s.to);
                let follows = stretch.from == next && stretch.to >= next && stretch.refused == pending;
                let refused = &rest[from..before];
                if !follows || quarantine::read_lines(refused).any(|r| r.is_err()) || !keep(&stretch, refused)? {
                    break;
                }
                stretches.push(stretch);
                (from, pending) = (at, 0);
            }
            &there[..head_line.len() + from]
        } else {
            head_line.as_slice()
        };
        if *there != *good {
            store.put(&rel, good)?;
        }
        Ok((Journal { store: store.clone(), rel }, stretches))
    }

    /// Adds a stretch, durably, with the lines of what was refused in it.
    pub(super) fn add(&self, stretch: &Stretch, refused: &[u8]) -> Result<()> {
        self.store.append(&self.rel, &[refused, &quarantine::line(stretch)?])
    }

    /// Removes it: the work is committed.
    pub(super) fn remove(self) -> Result<()> {
        self.store.remove(&self.rel)
    }
}

/// The journals of a dataset, each with the shards that a rerun of its ingest goes on with.
///
/// # Errors
/// [`crate::Error::Io`]. Lines that cannot be read are those of a writer that died within.
pub fn journaled(store: &Store) -> Result<Vec<(String, Vec<String>)>> {
    let shard = |line: &[u8]| serde_json::from_slice::<Stretch>(line).ok()?.shard;
    let mut all = Vec::new();
    for name in store.list(JOURNALS)?.into_iter().filter(|name| name.ends_with(".jsonl")) {
        let rel = format!("{JOURNALS}/{name}");
        // One that is gone by now belongs to an ingest that has come to its end.
        let Some(lines) = store.read_if_there(&rel)? else { continue };
        all.push((rel, lines.split(|byte| *byte == b'\n').filter_map(shard).map(|shard| shard.path).collect()));
    }
    Ok(all)
}

/// Whether the ingest of a key has not come to its end: its journal is there.
///
/// # Errors
/// [`crate::Error::Io`].
pub fn is_unfinished(dataset: &Path, key: &str) -> Result<bool> {
    Store::open(dataset).exists(&format!("{JOURNALS}/{key}.jsonl"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stretch(from: u64, to: u64) -> Stretch {
        let mended = Mended::default();
        Stretch { from, to, files: String::new(), shard: None, skipped: 0, unread: 0, refused: 0, sharing: 0, mended }
    }

    fn refusal(id: &str) -> Vec<u8> {
        let origin = "a".to_owned();
        quarantine::line(&Refused { id: id.into(), reason: "empty".into(), origin, ..Refused::default() }).unwrap()
    }

    #[test]
    fn a_torn_line_and_all_behind_a_gap_are_dropped() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path());
        let frozen = Frozen { listing: "l".into(), options: "o".into(), key: "k".into() };
        let open = || Journal::open(&store, &frozen, |_, _| Ok(true)).unwrap();
        let (journal, none) = open();
        assert!(none.is_empty());
        journal.add(&stretch(0, 3), b"").unwrap();
        journal.add(&stretch(3, 5), b"").unwrap();
        store.append(&journal.rel, &[b"{\"from\":5,\"to\":"]).unwrap();
        let (journal, two) = open();
        assert_eq!(two, [stretch(0, 3), stretch(3, 5)]);
        journal.add(&stretch(5, 6), b"").unwrap();
        assert_eq!(open().1.len(), 3, "the torn line was removed before the next was added");
        journal.add(&stretch(9, 10), b"").unwrap();
        assert_eq!(open().1.len(), 3);
        let (_, one) = Journal::open(&store, &frozen, |s, _| Ok(s.from < 3)).unwrap();
        assert_eq!(one, [stretch(0, 3)]);
        assert_eq!(open().1.len(), 1, "what does not stand is gone for good");
        let other = Frozen { listing: "m".into(), ..frozen.clone() };
        assert!(Journal::open(&store, &other, |_, _| Ok(true)).unwrap().1.is_empty());
    }

    #[test]
    fn refused_entries_belong_to_the_stretch_behind_them() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path());
        let frozen = Frozen { listing: "l".into(), options: "o".into(), key: "k".into() };
        let open = || {
            let mut ids = Vec::new();
            let keep = |_: &Stretch, lines: &[u8]| {
                ids.push(quarantine::read_lines(lines).map(|r| r.unwrap().id).collect::<Vec<_>>());
                Ok(true)
            };
            let (journal, stretches) = Journal::open(&store, &frozen, keep).unwrap();
            (journal, stretches.len(), ids)
        };
        let two = [refusal("one"), refusal("two")].concat();
        let (journal, ..) = open();
        journal.add(&stretch(0, 3), b"").unwrap();
        journal.add(&Stretch { refused: 2, ..stretch(3, 5) }, &two).unwrap();
        let whole = store.read(&journal.rel).unwrap();
        let ids = vec![Vec::new(), vec!["one".to_owned(), "two".to_owned()]];
        assert_eq!((open().1, open().2), (2, ids.clone()));

        // Killed between the lines, within one, or before the stretch's own: what is left over goes, the rest stays.
        for torn in [&two[..], &two[..two.len() / 2], &two[..two.len() - 3]] {
            store.append(&journal.rel, &[torn]).unwrap();
            let (_, count, seen) = open();
            assert_eq!((count, &seen), (2, &ids));
            assert_eq!(store.read(&journal.rel).unwrap(), whole);
        }
        // Fewer or more lines than the stretch says, or a line that is none of ours.
        for (lines, said) in [(&two[..], 1), (&two, 3), (&b"{}\n"[..], 1), (b"", 1)] {
            journal.add(&Stretch { refused: said, ..stretch(5, 6) }, lines).unwrap();
            assert_eq!(open().1, 2);
        }
        assert_eq!(store.read(&journal.rel).unwrap(), whole);
    }
}
