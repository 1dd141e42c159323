//! A CSV, TSV or JSONL file as rows of text: what somebody says of rows that a dataset has.

use std::path::Path;

use super::manifest::read::{Columns, Table};
use super::typing::Cell;
use crate::data::feature::Feature;
use crate::data::label::Value;
use crate::error::{Error, Fault, Reason, Result};
use crate::source::EntryCell;

/// One file of such rows, to be read once.
#[derive(Debug)]
pub struct TextTable {
    table: Table,
    columns: Columns,
}

/// A row: its line in the file, from 1, and its cells by column; `None` is absent or empty.
pub type TextRow = (u64, Vec<Option<String>>);

impl TextTable {
    /// Opens a file and reads the names of its columns; of JSONL that is all of it.
    ///
    /// # Errors
    /// [`Error::Io`]; [`Error::Config`] for a name or a header from which nothing can be read.
    pub fn open(path: &Path) -> Result<Self> {
        let name = path.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
        let table = Table::open(path, &name)?;
        let columns = table.columns(&mut || Ok(()))?;
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
                Ok(row) => Ok((row.line, row.cells.iter().map(Cell::text).collect())),
                Err(refusal) => Err((refusal.line.unwrap_or(0), refusal.fault)),
            })
        })?;
        self.table.check_unchanged()
    }
}

/// A text as a value of a column that is no class; `None` if it is none.
pub fn value(text: &str, feature: &Feature) -> Option<Value> {
    match Cell::Plain(text.to_owned()).into_entry(feature) {
        EntryCell::Value(value) if !value.is_null() => Some(value),
        _ => None,
    }
}
