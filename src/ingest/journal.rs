//! The journal of an ingest: which entries are in finished shards, so that a later run does not decode them again.
//!
//! JSON lines at `.dsctl/journal/<key>.jsonl`. The first names the work, each further one a finished stretch of the
//! listing. A line is durable before the next shard begins; an unfinished last line is dropped.

use serde::{Deserialize, Serialize};

use super::freeze::Frozen;
use crate::data::manifest::ShardRef;
use crate::error::{Error, Fault, Result};
use crate::source::{Entry, Refusal};
use crate::store::Store;

/// The folder of the journals.
pub const JOURNALS: &str = ".dsctl/journal";
/// The folder of the quarantine files.
pub const QUARANTINE: &str = ".dsctl/quarantine";

/// The journal's format.
const FORMAT: u64 = 2;

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
    /// Entries that were refused.
    pub refused: Vec<Refused>,
}

/// One line of a quarantine file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refused {
    /// The id it would have had.
    pub id: String,
    /// The reason's code ([`crate::Reason::code`]).
    pub reason: String,
    /// The same for a person.
    pub message: String,
    /// The file or manifest, relative to the source.
    pub origin: String,
    /// The line within the origin, from 1, where that says more than the file.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub line: Option<u64>,
    /// The column, where there are several payloads.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub column: Option<String>,
}

impl Refused {
    pub(super) fn entry(entry: &Entry, fault: &Fault, column: Option<String>) -> Self {
        Refused {
            id: entry.id.clone(),
            reason: fault.reason.code().to_owned(),
            message: fault.message.clone(),
            origin: entry.origin.clone(),
            line: entry.line,
            column,
        }
    }
}

impl From<&Refusal> for Refused {
    fn from(refusal: &Refusal) -> Self {
        Refused {
            id: refusal.id.clone(),
            reason: refusal.fault.reason.code().to_owned(),
            message: refusal.fault.message.clone(),
            origin: refusal.origin.clone(),
            line: refusal.line,
            column: None,
        }
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
    /// on. `keep` says which of them still stand: the first that does not ends the list. What is left is made durable, so
    /// a folder that cannot be written is an error here, before anything is decoded.
    pub(super) fn open(
        store: &Store,
        frozen: &Frozen,
        mut keep: impl FnMut(&Stretch) -> Result<bool>,
    ) -> Result<(Self, Vec<Stretch>)> {
        let rel = format!("{JOURNALS}/{}.jsonl", frozen.key);
        let head = Head { journal: FORMAT, listing: frozen.listing.clone(), options: frozen.options.clone() };
        let head_line = line(&head)?;
        let there = store.read_if_there(&rel)?.unwrap_or_default();
        let (mut good, mut stretches) = (head_line.clone(), Vec::<Stretch>::new());
        if let Some(rest) = there.strip_prefix(head_line.as_slice()) {
            for text in rest.split_inclusive(|b| *b == b'\n').filter(|l| l.ends_with(b"\n")) {
                let Ok(stretch) = serde_json::from_slice::<Stretch>(text) else { break };
                let next = stretches.last().map_or(0, |s| s.to);
                if stretch.from != next || stretch.to < next || !keep(&stretch)? {
                    break;
                }
                good.extend(text);
                stretches.push(stretch);
            }
        }
        if there != good {
            store.put(&rel, &good)?;
        }
        Ok((Journal { store: store.clone(), rel }, stretches))
    }

    /// Adds a stretch, durably.
    pub(super) fn add(&self, stretch: &Stretch) -> Result<()> {
        self.store.append(&self.rel, &line(stretch)?)
    }

    /// Removes it: the work is committed.
    pub(super) fn remove(self) -> Result<()> {
        self.store.remove(&self.rel)
    }
}

fn line(value: &impl Serialize) -> Result<Vec<u8>> {
    let mut bytes = serde_json::to_vec(value).map_err(|e| Error::library("writing a journal", e))?;
    bytes.push(b'\n');
    Ok(bytes)
}

/// Writes the quarantine file of some work, or removes an earlier one if nothing was refused. Returns its name within
/// the dataset.
pub(super) fn quarantine(store: &Store, key: &str, refused: &[Refused]) -> Result<Option<String>> {
    let rel = format!("{QUARANTINE}/{key}.jsonl");
    if refused.is_empty() {
        if store.exists(&rel)? {
            store.remove(&rel)?;
        }
        return Ok(None);
    }
    let mut bytes = Vec::new();
    for refused in refused {
        bytes.extend(line(refused)?);
    }
    if store.read_if_there(&rel)?.as_deref() != Some(bytes.as_slice()) {
        store.put(&rel, &bytes)?;
    }
    Ok(Some(rel))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stretch(from: u64, to: u64) -> Stretch {
        Stretch { from, to, files: String::new(), shard: None, skipped: 0, refused: Vec::new() }
    }

    #[test]
    fn a_torn_line_and_all_behind_a_gap_are_dropped() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path());
        let frozen = Frozen { listing: "l".into(), options: "o".into(), key: "k".into() };
        let open = || Journal::open(&store, &frozen, |_| Ok(true)).unwrap();
        let (journal, none) = open();
        assert!(none.is_empty());
        journal.add(&stretch(0, 3)).unwrap();
        journal.add(&stretch(3, 5)).unwrap();
        store.append(&journal.rel, b"{\"from\":5,\"to\":").unwrap();
        let (journal, two) = open();
        assert_eq!(two, [stretch(0, 3), stretch(3, 5)]);
        journal.add(&stretch(5, 6)).unwrap();
        assert_eq!(open().1.len(), 3, "the torn line was removed before the next was added");
        journal.add(&stretch(9, 10)).unwrap();
        assert_eq!(open().1.len(), 3);
        let (_, one) = Journal::open(&store, &frozen, |s| Ok(s.from < 3)).unwrap();
        assert_eq!(one, [stretch(0, 3)]);
        assert_eq!(open().1.len(), 1, "what does not stand is gone for good");
        let other = Frozen { listing: "m".into(), ..frozen.clone() };
        assert!(Journal::open(&store, &other, |_| Ok(true)).unwrap().1.is_empty());
    }
}
