//! Other splits: by fractions, or as a file tells them. No media is read or written.

mod assign;
mod units;

use std::collections::BTreeMap;
use std::path::Path;

use serde::Serialize;

use super::overlay::Overlay;
use super::told::{Problem, Problems, Told};
use super::{Attempt, Old, Revised, revise};
use crate::data::changes::RowChanges;
use crate::data::index::Row;
use crate::data::partition::Fractions;
use crate::duplicates::{DuplicateOptions, Watch, find};
use crate::error::{Error, Result};
use crate::source::split_name;
use crate::spool::Spill;
use crate::store::Store;
use assign::assign;

/// By what rows are assigned.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum SplitBy {
    /// Each by its own id.
    #[default]
    Row,
    /// All with the same value in a column (small, or the bytes of a payload) together; a row without one by its id.
    Group(String),
    /// All for whose ids the first group of an expression is the same together; a row that it does not match by its id.
    GroupId(String),
    /// Of each value of a column the same shares, exactly.
    Stratum(String),
    /// Groups as [`SplitBy::Group`] or [`SplitBy::GroupId`] have them, with shares of each value of a column as even as whole groups make them: largest first, each to where its
    /// rows are wanted most. Some 50 bytes a group in memory.
    Even {
        /// What the groups are.
        group: Box<SplitBy>,
        /// The column.
        stratum: String,
    },
}

/// What [`split`](fn@split) is told.
#[derive(Debug, Clone, PartialEq)]
pub struct SplitOptions {
    /// The splits and their shares.
    pub fractions: Fractions,
    /// By what rows are assigned.
    pub by: SplitBy,
    /// Another seed is another assignment.
    pub seed: u64,
    /// Only rows that are in one of these splits; empty: all.
    pub only: Vec<String>,
    /// Nothing is written.
    pub dry_run: bool,
}

/// What became of the splits.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct SplitSummary {
    /// The version that has it; where nothing was committed the one that was looked at.
    pub version: u64,
    /// Whether a version was made.
    pub committed: bool,
    /// Rows that were assigned, or told.
    pub rows: u64,
    /// Rows that go into another split.
    pub moved: u64,
    /// Rows of each split, as it was.
    pub before: BTreeMap<String, u64>,
    /// Rows of each split, as it is.
    pub after: BTreeMap<String, u64>,
    /// Rows that were assigned, or told, by where they go.
    pub assigned: BTreeMap<String, u64>,
    /// Groups, where rows are assigned by groups.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub groups: Option<u64>,
    /// Groups with rows in several splits: only where some rows keep theirs ([`SplitOptions::only`]).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub groups_apart: Option<u64>,
    /// Rows without a group.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub alone: Option<u64>,
    /// Ids of the file that the version does not have.
    pub unknown: u64,
    /// What else cannot be done: nothing is committed then.
    pub problems: u64,
    /// What the user should know.
    pub notes: Vec<String>,
}

/// Assigns rows to splits by fractions ([`crate::data::partition`] says what stays when rows are added), and commits the version in which they are there.
///
/// # Errors
/// [`Error::Config`] for a column, split or expression that is none; [`Error::Conflict`] if other writers were faster all the time.
pub fn split(store: &Store, options: &SplitOptions) -> Result<SplitSummary> {
    split_rows(store, options, None)
}

/// As [`split`](fn@split), with duplicates in one split: all rows that are the same or of one group, or connected by such, go where the first of them goes. With a stratum each
/// such set counts there with all its rows, so that shares are exact to the largest of them.
///
/// # Errors
/// Those of [`split`](fn@split) and [`find`].
pub fn split_together(
    store: &Store,
    options: &SplitOptions,
    duplicates: &DuplicateOptions,
    watch: Watch<'_>,
) -> Result<SplitSummary> {
    split_rows(store, options, Some((duplicates, watch)))
}

fn split_rows(
    store: &Store,
    options: &SplitOptions,
    duplicates: Option<(&DuplicateOptions, Watch<'_>)>,
) -> Result<SplitSummary> {
    let Revised { mut done, version, committed, mut notes } = revise(store, |old| {
        let sets = duplicates.map(|(duplicates, watch)| Ok(find(&old.dataset, duplicates, watch)?.into_sets()));
        assign(old, options, sets.transpose()?)
    })?;
    if let Some(apart) = done.groups_apart.filter(|apart| *apart > 0) {
        notes.push(format!("{apart} groups have rows in several splits, as rows of other splits than --only stay"));
    }
    if let (Some(alone), true) = (done.alone.filter(|n| *n > 0), matches!(options.by, SplitBy::GroupId(_))) {
        notes.push(format!("the expression does not match {alone} ids: each is a group of its own"));
    }
    if let Some(groups) = done.groups {
        // Of few groups the hash makes what it makes; nobody should find that out in training.
        for split in options.fractions.splits() {
            let (asked, got) = (options.fractions.share(split), done.assigned.get(split).copied().unwrap_or(0));
            let got = got as f64 / done.rows.max(1) as f64;
            if (got - asked).abs() > 0.05 {
                let why = match options.by {
                    SplitBy::Even { .. } => "groups are whole",
                    _ => "groups fall as their hashes do (another --seed is another assignment)",
                };
                notes.push(format!("{split} has {got:.2} of the rows, not {asked:.2}: {groups} {why}"));
            }
        }
    }
    (done.version, done.committed, done.notes) = (version, committed, notes);
    Ok(done)
}

/// What is being made.
struct Work<'o> {
    overlay: Overlay<'o>,
    done: SplitSummary,
}

impl Work<'_> {
    /// Puts a row into a split.
    fn put(&mut self, segment: usize, row: &Row<'_>, before: &str, now: &str) -> Result<()> {
        self.done.rows += 1;
        match self.done.assigned.get_mut(now) {
            Some(rows) => *rows += 1,
            None => drop(self.done.assigned.insert(now.to_owned(), 1)),
        }
        if before == now {
            return Ok(());
        }
        self.done.moved += 1;
        *self.done.after.entry(now.to_owned()).or_default() += 1;
        if let Some(rows) = self.done.after.get_mut(before) {
            *rows -= 1;
        }
        self.overlay.push(segment, row.key(), &RowChanges { split: Some(now.to_owned()), ..RowChanges::default() })
    }
}

/// Puts rows into the splits that a file with the columns `id` and `split` tells. Problems are told as by [`super::relabel()`].
///
/// # Errors
/// A file that cannot be read or lacks a column; [`Error::Overtaken`] if another writer changed or removed rows of the file meanwhile; [`Error::Conflict`] if others were faster all the time.
pub fn split_as_told(
    store: &Store,
    file: &Path,
    (skip_unknown, dry_run): (bool, bool),
    tell: &mut dyn FnMut(Problem) -> Result<()>,
) -> Result<SplitSummary> {
    let mut problems = Problems::new(tell);
    drop(Old::open(store)?);
    let told = Told::read(file, &Spill::temporary(), &mut problems)?;
    let at = told.columns.iter().position(|name| name == "split").ok_or_else(|| {
        let help = format!("it has: id, {}", told.columns.join(", "));
        Error::config(format!("{} has no column \"split\"", file.display()), help)
    })?;
    let Revised { mut done, version, committed, notes } = revise(store, |old| {
        let mut work = Work { overlay: Overlay::new(old, old.schema()), done: SplitSummary::default() };
        work.done.before.clone_from(&old.root.manifest.splits);
        work.done.after.clone_from(&old.root.manifest.splits);
        let touched = told.find(old, &mut problems, &mut |row, number, problems| {
            let (segment, entry) = old.dataset.index().locate(number);
            let before = old.split_of(segment, &entry);
            let split = match row.cells[at].text() {
                Some(name) => split_name(name).map_err(|fault| fault.message),
                None => Err("the row has no split".to_owned()),
            };
            match split {
                Ok(split) => work.put(segment, &entry, &before, &split),
                Err(what) => problems.add(Problem {
                    line: Some(row.line),
                    id: Some(row.id.clone()),
                    column: Some("split".to_owned()),
                    code: "bad-value",
                    what,
                }),
            }
        })?;
        let Work { overlay, mut done } = work;
        done.after.retain(|_, rows| *rows > 0);
        (done.unknown, done.problems) = (problems.unknown(), problems.beside_unknown());
        let writes = !dry_run && done.problems == 0 && (done.unknown == 0 || skip_unknown);
        let edit = if writes && done.moved > 0 { overlay.finish()? } else { None };
        problems.again();
        Ok(Attempt { edit, touched: Some(touched), done })
    })?;
    (done.version, done.committed, done.notes) = (version, committed, notes);
    Ok(done)
}
