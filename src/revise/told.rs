//! What a file says of rows by their ids: a CSV, TSV or JSONL file with a column `id`.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use serde::Serialize;

use super::{Old, content};
use crate::data::record::row_key;
use crate::error::{Error, Result};
use crate::source::table::{TextCell, TextTable};
use crate::spool::{Sorted, Sorter, Spill};

/// Something in the file that cannot be done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Problem {
    /// The line in the file, from 1; none: the file as a whole.
    pub line: Option<u64>,
    /// The row's id.
    pub id: Option<String>,
    /// The column.
    pub column: Option<String>,
    /// A stable code: `unknown-id`, `same-id`, `unknown-column`, `bad-column`, `bad-value`, `unknown-class`, `bad-row`.
    pub code: &'static str,
    /// What is wrong, in a sentence.
    pub what: String,
}

impl std::fmt::Display for Problem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut comma = "";
        for (name, value) in [("id", &self.id), ("column", &self.column)] {
            if let Some(value) = value {
                if let (Some(line), "") = (self.line, comma) {
                    write!(f, "line {line}, ")?;
                }
                write!(f, "{comma}{name} {value:?}")?;
                comma = ", ";
            }
        }
        if let (Some(line), "") = (self.line, comma) {
            write!(f, "line {line}")?;
            comma = ", ";
        }
        let colon = if comma.is_empty() { "" } else { ": " };
        write!(f, "{colon}{} ({})", self.what, self.code)
    }
}

/// Where problems go, and how many there were.
pub(super) struct Problems<'t> {
    tell: &'t mut dyn FnMut(Problem) -> Result<()>,
    /// By code.
    pub(super) counts: BTreeMap<&'static str, u64>,
    /// They were told before: a further look at another version.
    pub(super) silent: bool,
}

impl<'t> Problems<'t> {
    pub(super) fn new(tell: &'t mut dyn FnMut(Problem) -> Result<()>) -> Self {
        Problems { tell, counts: BTreeMap::new(), silent: false }
    }

    pub(super) fn add(&mut self, problem: Problem) -> Result<()> {
        *self.counts.entry(problem.code).or_default() += 1;
        if self.silent { Ok(()) } else { (self.tell)(problem) }
    }

    /// All but the ids that the version does not have.
    pub(super) fn beside_unknown(&self) -> u64 {
        self.counts.iter().filter(|(code, _)| **code != "unknown-id").map(|(_, n)| n).sum()
    }

    pub(super) fn unknown(&self) -> u64 {
        self.counts.get("unknown-id").copied().unwrap_or(0)
    }

    /// Says nothing twice when the work begins anew on another version.
    pub(super) fn again(&mut self) {
        self.silent = true;
        self.counts.retain(|code, _| matches!(*code, "same-id" | "bad-row"));
    }
}

/// Rows of the file, by row key.
#[derive(Debug)]
pub(super) struct Told {
    /// The names of the columns beside the id.
    pub(super) columns: Vec<String>,
    /// By key: line, id and cells.
    rows: Sorted,
}

/// One of them.
#[derive(Debug)]
pub(super) struct ToldRow {
    pub(super) line: u64,
    pub(super) id: String,
    pub(super) cells: Vec<TextCell>,
}

impl Told {
    /// Reads a file. Rows that are none, and ids that stand twice, are problems.
    pub(super) fn read(path: &Path, spill: &Spill, problems: &mut Problems<'_>) -> Result<Self> {
        let table = TextTable::open(path)?;
        let at = table.columns().iter().position(|name| name == "id").ok_or_else(|| {
            let what = format!("{} has no column \"id\"", path.display());
            let help =
                format!("rows are told by their ids (`dsctl ls --rows`); it has: {}", table.columns().join(", "));
            Error::config(what, help)
        })?;
        let mut columns = table.columns().to_vec();
        columns.remove(at);
        let mut rows = Sorter::new(spill);
        table.rows(&mut |row| {
            let bad = |line, what: String| Problem { line: Some(line), id: None, column: None, code: "bad-row", what };
            match row {
                Err((line, fault)) => problems.add(bad(line, fault.to_string())),
                Ok((line, mut cells)) => match cells.remove(at) {
                    TextCell::Absent | TextCell::Empty => problems.add(bad(line, "the row has no id".into())),
                    TextCell::Text(id) => {
                        let value = postcard::to_allocvec(&(line, &id, &cells));
                        let value = value.map_err(|e| Error::library("keeping a row of the file", e))?;
                        rows.push(&row_key(&id).to_be_bytes(), &value)
                    }
                },
            }
        })?;
        let told = Told { columns, rows: rows.finish()? };
        for at in 1..told.rows.len() {
            if told.rows.get(at).0 == told.rows.get(at - 1).0 {
                let (before, row) = (told.row(at - 1)?, told.row(at)?);
                let what = format!("the id was told before, in line {} (as {:?})", before.line, before.id);
                let (line, id) = (Some(row.line), Some(row.id));
                problems.add(Problem { line, id, column: None, code: "same-id", what })?;
            }
        }
        Ok(told)
    }

    pub(super) fn len(&self) -> usize {
        self.rows.len()
    }

    fn row(&self, at: usize) -> Result<ToldRow> {
        let (line, id, cells) =
            postcard::from_bytes(self.rows.get(at).1).map_err(|e| Error::library("reading a row of the file", e))?;
        Ok(ToldRow { line, id, cells })
    }

    /// Hands over the rows that a version has, by key, each with its number there; the others are problems. Returns a digest of what all of them are, by which another
    /// writer's changes to them are seen.
    pub(super) fn find(
        &self,
        old: &Old,
        problems: &mut Problems<'_>,
        take: &mut dyn FnMut(&ToldRow, u64, &mut Problems<'_>) -> Result<()>,
    ) -> Result<u64> {
        let mut found = Sorter::new(&old.spill);
        let mut start = 0;
        for segment in old.dataset.index().segments() {
            for number in 0..segment.header().rows {
                let key = segment.row(number).key().to_be_bytes();
                if self.rows.find(&key).is_some() {
                    found.push(&key, &(start + number).to_le_bytes())?;
                }
            }
            start += segment.header().rows;
        }
        let found = found.finish()?;
        let columns = old.schema().columns.len();
        let mut touched = 0u64;
        for at in 0..self.rows.len() {
            let key = self.rows.get(at).0;
            let told = self.row(at)?;
            let row = found.find(key).and_then(|row| row.try_into().ok()).map(u64::from_le_bytes);
            let row = row.filter(|row| old.dataset.index().row(*row).id() == told.id);
            let Some(row) = row else {
                let what = "no row of the version has this id".to_owned();
                let (line, id) = (Some(told.line), Some(told.id));
                problems.add(Problem { line, id, column: None, code: "unknown-id", what })?;
                continue;
            };
            let (segment, entry) = old.dataset.index().locate(row);
            touched = touched.wrapping_add(content(&entry, &old.split_of(segment, &entry), columns));
            take(&told, row, problems)?;
        }
        Ok(touched)
    }
}

/// Names with their places, those that are new behind the old ones in the order of the lines in which they stand first.
#[derive(Debug, Default)]
pub(super) struct Names {
    known: HashMap<String, i64>,
    new: HashMap<String, u64>,
}

impl Names {
    pub(super) fn of(names: &[String]) -> Self {
        Names { known: names.iter().cloned().zip(0..).collect(), new: HashMap::new() }
    }

    /// Sees a name in a line.
    pub(super) fn see(&mut self, name: &str, line: u64) {
        if !self.known.contains_key(name) {
            let first = self.new.entry(name.to_owned()).or_insert(line);
            *first = line.min(*first);
        }
    }

    pub(super) fn has(&self, name: &str) -> bool {
        self.known.contains_key(name)
    }

    /// Takes the new names among the others, and returns them.
    pub(super) fn append(&mut self) -> Vec<String> {
        let mut new: Vec<(u64, String)> = self.new.drain().map(|(name, line)| (line, name)).collect();
        new.sort_unstable();
        for (_, name) in &new {
            let place = self.known.len() as i64;
            self.known.insert(name.clone(), place);
        }
        new.into_iter().map(|(_, name)| name).collect()
    }

    pub(super) fn get(&self, name: &str) -> Option<i64> {
        self.known.get(name).copied()
    }
}
