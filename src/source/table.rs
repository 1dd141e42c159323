//! A CSV, TSV or JSONL file as rows of text: what somebody says of rows that a dataset has.

use std::path::Path;

use serde::{Deserialize, Serialize};

use super::manifest::read::{Columns, Table};
use super::typing::Cell;
use crate::data::feature::Feature;
use crate::data::label::Value;
use crate::error::{Error, Fault, Reason, Result};
use crate::source::{EntryCell, Tree};

/// One file of such rows, to be read once.
#[derive(Debug)]
pub struct TextTable {
    table: Table,
    columns: Columns,
}

/// A row: its line in the file, from 1, and its cells by column.
pub type TextRow = (u64, Vec<TextCell>);

/// What a row says of a column.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum TextCell {
    /// Nothing: a line of JSON without the key.
    Absent,
    /// That there is no value: an empty cell, or `null`.
    Empty,
    /// This.
    Text(String),
}

impl TextCell {
    /// The text, if there is one.
    pub fn text(&self) -> Option<&str> {
        match self {
            TextCell::Text(text) => Some(text),
            TextCell::Absent | TextCell::Empty => None,
        }
    }
}

impl TextTable {
    /// Opens a file and reads the names of its columns; of JSONL that is all of it.
    ///
    /// # Errors
    /// [`Error::Io`]; [`Error::Config`] for a name or a header from which nothing can be read.
    pub fn open(path: &Path) -> Result<Self> {
        let name = path.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
        let table = Table::open(&Tree::default(), path, &name)?;
        let columns = Table::columns([&table], &mut || Ok(()))?;
        let mut names = columns.names.clone();
        names.sort_unstable();
        if let Some(twice) = names.windows(2).find(|pair| pair[0] == pair[1]) {
            let what = format!("{}: two columns are called {:?}", path.display(), twice[0]);
            return Err(Error::config(what, "rename one of them"));
        }
        Ok(TextTable { table, columns })
    }

    /// The names of its columns.
    pub fn columns(&self) -> &[String] {
        &self.columns.names
    }

    /// Hands over every row in the order of the file, or its line and why it is none.
    ///
    /// # Errors
    /// [`Error::Io`], a file that changes while it is read, a quote that nothing closes, and what `take` returns.
    pub fn rows(&self, take: &mut dyn FnMut(Result<TextRow, (u64, Fault)>) -> Result<()>) -> Result<()> {
        self.table.rows(&self.columns, &mut |row| {
            take(match row {
                Ok(row) if row.cells.iter().any(|cell| matches!(cell, Cell::Nested(_))) => {
                    Err((row.line, Fault::new(Reason::BadLabel, "a cell has parts (an object or a list)")))
                }
                Ok(row) => {
                    let cell = |cell: &Cell| cell.text().map_or(TextCell::Empty, TextCell::Text);
                    let mut cells: Vec<TextCell> = row.cells.iter().map(cell).collect();
                    row.lacks.iter().for_each(|place| cells[*place] = TextCell::Absent);
                    Ok((row.line, cells))
                }
                Err(refusal) => Err((refusal.line.unwrap_or(0), refusal.fault)),
            })
        })?;
        self.table.check_unchanged()
    }
}

/// A text as a value of a column that is no class; `None` if it is none.
pub fn value(text: &str, feature: &Feature) -> Option<Value> {
    match Cell::Plain(text.to_owned()).into_entry(feature) {
        Ok(EntryCell::Value(value)) if !value.is_null() => Some(value),
        _ => None,
    }
}
