//! What ingests refused: reason, origin and the original bytes, for whoever has the dataset and not the source.
//!
//! Each ingest that refused something leaves two files in `.dsctl/quarantine`, named like its journal:
//!
//! - `KEY.parquet`, a dataset of its own: a row an entry ([`Refused`]) with the bytes that were refused, up to a limit, and what a
//!   retry needs to know ([`Head`]) in the file's metadata. One file, so that it is replaced as a whole; Parquet, so that DuckDB,
//!   `datasets` and the rest open it. The bytes are a plain binary column: nothing on the way to it takes them for media.
//! - `KEY.jsonl`, the same rows without the bytes: for eyes, `grep` and `jq`. It alone is what older versions of this crate wrote,
//!   and it is read as that.
//!
//! Neither is under a version's digest: a dataset is the same whatever was refused beside it.

use std::fs::File;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::error::{Error, Result};
use crate::spool::{Spill, Spool};
use crate::store::Store;

mod table;

/// The folder of the quarantine files.
pub const QUARANTINE: &str = ".dsctl/quarantine";

/// A refused entry: a line of a list, a row of a table.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
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
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub line: Option<u64>,
    /// The column, where it is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub column: Option<String>,
    /// The split it would have been in; unknown of what a source could not list.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub split: Option<String>,
    /// Its class in the first class column, if it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub class: Option<String>,
    /// Of a part of a recording: the recording, relative to the source.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recording: Option<String>,
    /// How many rows this stands for, where a recording was refused with all its parts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rows: Option<u64>,
    /// The length of the payload, in bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bytes: Option<u64>,
    /// How many of them are kept, from the first on. Absent if none are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kept: Option<u64>,
    /// Those. In a journal only; a table has them in a column of their own ([`Run::original`]).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) original: Option<Original>,
}

/// Bytes in a line of JSON.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Original(pub Vec<u8>);

impl Serialize for Original {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&STANDARD.encode(&self.0))
    }
}

impl<'de> Deserialize<'de> for Original {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        STANDARD.decode(text).map(Original).map_err(serde::de::Error::custom)
    }
}

/// What a retry needs to know of the ingest.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Head {
    /// The table's format.
    pub quarantine: u64,
    /// Where the source was: an absolute path, unless it is not UTF-8. (No version has it.)
    pub source: Option<String>,
    /// The options of the ingest ([`crate::ingest::IngestOptions`]), without those that change no dataset.
    pub options: serde_json::Value,
    /// The crate's version.
    pub feedstock: String,
}

/// The table's format.
pub(crate) const FORMAT: u64 = 1;

/// What one ingest refused.
#[derive(Debug, Clone)]
pub struct Run {
    /// The name it shares with its journal.
    pub key: String,
    /// What is known of the ingest; `None` for a list without a table, which an older version wrote.
    pub head: Option<Head>,
    path: PathBuf,
}

/// The runs of a dataset whose refusals are there, by key.
///
/// # Errors
///
/// [`Error::Io`], [`Error::Damaged`], [`Error::FormatVersion`].
pub fn runs(dataset: &Path) -> Result<Vec<Run>> {
    let mut keys: Vec<String> = Store::open(dataset)
        .list(QUARANTINE)?
        .iter()
        .filter_map(|name| name.strip_suffix(".parquet").or_else(|| name.strip_suffix(".jsonl")))
        .map(str::to_owned)
        .collect();
    keys.dedup();
    keys.into_iter().map(|key| Run::open(dataset, &key)).collect()
}

impl Run {
    /// Opens one run.
    ///
    /// # Errors
    ///
    /// [`Error::Config`] if there is none of this key; else as [`runs`].
    pub fn open(dataset: &Path, key: &str) -> Result<Self> {
        let store = Store::open(dataset);
        let [table, list] = names(key);
        if store.exists(&table)? {
            let path = store.path(&table)?;
            return Ok(Run { key: key.to_owned(), head: Some(table::head(&path)?), path });
        }
        if store.exists(&list)? {
            return Ok(Run { key: key.to_owned(), head: None, path: store.path(&list)? });
        }
        let help = "`dsctl quarantine ls` lists the runs";
        Err(Error::config(format!("{} has no quarantine {key:?}", dataset.display()), help))
    }

    /// The file that is read.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Hands over the entries in the order in which they were refused, each with its place.
    ///
    /// # Errors
    ///
    /// [`Error::Io`], [`Error::Damaged`], and what `take` returns.
    pub fn each(&self, take: &mut dyn FnMut(u64, Refused) -> Result<()>) -> Result<()> {
        if self.head.is_some() {
            return table::each(&self.path, take);
        }
        let file = File::open(&self.path).map_err(|e| Error::io(&self.path, "open", e))?;
        for (at, line) in (0..).zip(BufReader::new(file).split(b'\n')) {
            let line = line.map_err(|e| Error::io(&self.path, "read", e))?;
            let refused =
                serde_json::from_slice(&line).map_err(|e| damaged(&self.path, format!("line {}: {e}", at + 1)))?;
            take(at, refused)?;
        }
        Ok(())
    }

    /// The bytes that are kept of the entry at a place: all of its payload or the beginning of it. `None` if none are kept.
    ///
    /// # Errors
    ///
    /// [`Error::Io`], [`Error::Damaged`].
    pub fn original(&self, at: u64) -> Result<Option<Vec<u8>>> {
        if self.head.is_some() { table::original(&self.path, at) } else { Ok(None) }
    }
}

fn damaged(path: &Path, what: impl std::fmt::Display) -> Error {
    let help = "take the file away: the dataset does not need it, and its ingest, run again, writes it again";
    Error::damaged(path, what.to_string(), help)
}

/// The table and the list of a run, within the dataset.
fn names(key: &str) -> [String; 2] {
    ["parquet", "jsonl"].map(|kind| format!("{QUARANTINE}/{key}.{kind}"))
}

/// Writes the refusals of a run, given as the lines of a journal, in the place of those that were there; none takes both files
/// away. Returns the list's name within the dataset.
///
/// The table is what is read: it is replaced before the list, and taken away behind it.
pub(crate) fn write(store: &Store, key: &str, head: &Head, lines: &[u8], spill: &Spill) -> Result<Option<String>> {
    let [table, list] = names(key);
    if lines.is_empty() {
        for name in [list, table] {
            if store.exists(&name)? {
                store.remove(&name)?;
            }
        }
        return Ok(None);
    }
    let mut plain = Spool::new(spill);
    table::write(store, QUARANTINE, &table, head, &mut |push| {
        for refused in read_lines(lines) {
            let mut refused = refused?;
            let original = refused.original.take();
            plain.push(&line(&refused)?)?;
            push(&refused, original.as_ref().map(|original| original.0.as_slice()))?;
        }
        Ok(())
    })?;
    let plain = plain.finish()?;
    if store.map_if_there(&list)?.as_deref() != Some(&*plain) {
        store.put(&list, &plain)?;
    }
    Ok(Some(list))
}

/// A value as a line of JSON.
pub(crate) fn line(value: &impl Serialize) -> Result<Vec<u8>> {
    let mut bytes = serde_json::to_vec(value).map_err(|e| Error::library("writing a line of a journal", e))?;
    bytes.push(b'\n');
    Ok(bytes)
}

/// What some lines say.
pub(crate) fn read_lines(lines: &[u8]) -> impl Iterator<Item = Result<Refused>> {
    let lost = |e| Error::library("reading a journal", e);
    lines.split_inclusive(|b| *b == b'\n').map(move |text| serde_json::from_slice(text).map_err(lost))
}

#[cfg(test)]
mod tests;
