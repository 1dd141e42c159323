//! Other values of small columns, as a file tells them. No media is read or written.

use std::collections::BTreeMap;
use std::path::Path;

use serde::Serialize;

use super::overlay::Overlay;
use super::told::{Names, Problem, Problems, Told, ToldRow};
use super::{Attempt, Old, Revised, revise};
use crate::data::changes::RowChanges;
use crate::data::feature::{Feature, Schema};
use crate::data::index::IndexCell;
use crate::data::label::Value;
use crate::error::Result;
use crate::source::table::{self, TextCell};
use crate::spool::Spill;
use crate::store::Store;

/// How [`relabel`] goes about.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RelabelOptions {
    /// Rows of the file whose ids the version does not have are left out, and counted.
    pub skip_unknown: bool,
    /// A class that the column does not have is a problem (`unknown-class`), not a new class: it may be a slip of the pen.
    pub known_classes: bool,
    /// Nothing is written.
    pub dry_run: bool,
}

/// What [`relabel`] did.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Relabel {
    /// The version that has it; where nothing was committed the one that was looked at.
    pub version: u64,
    /// Whether a version was made.
    pub committed: bool,
    /// Rows of the file.
    pub listed: u64,
    /// Rows that get another value.
    pub changed: u64,
    /// Rows that have all these values already.
    pub same: u64,
    /// Values that change, by column.
    pub cells: BTreeMap<String, u64>,
    /// Classes that are new, by column.
    pub classes: BTreeMap<String, Vec<String>>,
    /// Ids that the version does not have.
    pub unknown: u64,
    /// What else cannot be done: nothing is committed then.
    pub problems: u64,
    /// What the user should know.
    pub notes: Vec<String>,
}

/// Gives rows other values in small columns: classes (by name; one that is new is appended, unless `known_classes` forbids it), integers, floats, truth values. An empty cell is null, as is `NA` where no class is
/// called so; where a line of JSON lacks a key, the row keeps what it has. All problems go to `tell`; if there are any (other than unknown ids under `skip_unknown`), nothing is committed, and that is no error.
///
/// What is written is a list of changes and the segments of the Index that it stands over: no shard is opened.
///
/// # Errors
/// A file that cannot be read or has no column `id`; [`Error::Overtaken`](crate::Error::Overtaken) if another writer changed or removed rows of the file meanwhile; [`Error::Conflict`](crate::Error::Conflict) if others were faster all the time.
pub fn relabel(
    store: &Store,
    file: &Path,
    options: RelabelOptions,
    tell: &mut dyn FnMut(Problem) -> Result<()>,
) -> Result<Relabel> {
    let mut problems = Problems::new(tell);
    let old = Old::open(store)?;
    let told = Told::read(file, &Spill::temporary(), &mut problems)?;
    drop(old);
    let Revised { mut done, version, committed, notes } = revise(store, |old| {
        let attempt = attempt(old, &told, options, &mut problems)?;
        problems.again();
        Ok(attempt)
    })?;
    (done.version, done.committed, done.notes) = (version, committed, notes);
    Ok(done)
}

/// A column of the file and where it goes.
struct Target {
    /// Among the cells of a row of the file.
    from: usize,
    /// In the schema.
    to: usize,
    /// Of a class column.
    names: Names,
}

/// Finds the columns of the file in the schema.
fn targets(schema: &Schema, columns: &[String], problems: &mut Problems<'_>) -> Result<Vec<Target>> {
    let mut targets = Vec::new();
    for (from, name) in columns.iter().enumerate() {
        let problem = |code, what: String| Problem { line: None, id: None, column: Some(name.clone()), code, what };
        let Some(to) = schema.position(name) else {
            let small = schema.columns.iter().filter(|c| !c.feature.is_payload());
            let small: Vec<&str> = small.map(|c| c.name.as_str()).collect();
            let more = if name == "split" { "; `dsctl split --from-csv` gives rows other splits" } else { "" };
            let what = format!("there is no such column; those that can have other values: {}{more}", small.join(", "));
            problems.add(problem("unknown-column", what))?;
            continue;
        };
        let column = &schema.columns[to];
        let large = !column.feature.is_small();
        if large || column.stored.is_some() {
            let what = match large {
                true => format!(
                    "it holds {}, which is stored in the shards: only small values can change",
                    column.feature.name()
                ),
                false => "its values are made of another column".to_owned(),
            };
            problems.add(problem("bad-column", what))?;
            continue;
        }
        let names = match &column.feature {
            Feature::ClassLabel { names } => Names::of(names),
            _ => Names::default(),
        };
        targets.push(Target { from, to, names });
    }
    Ok(targets)
}

impl Target {
    /// The cell that a text is, but a class that is new; `None`: it is no value of the column.
    fn cell(&self, text: Option<&str>, feature: &Feature) -> Option<IndexCell> {
        let Some(text) = text.filter(|text| *text != "NA" || self.names.has(text)) else {
            return Some(IndexCell::Null);
        };
        if let Feature::ClassLabel { .. } = feature {
            return self.names.get(text).map(IndexCell::Int);
        }
        match table::value(text, feature)? {
            Value::Int(v) => Some(IndexCell::Int(v)),
            Value::Float(v) => Some(IndexCell::Float(v)),
            Value::Bool(v) => Some(IndexCell::Bool(v)),
            Value::Null | Value::Text(_) => None,
        }
    }
}

fn attempt(old: &Old, told: &Told, options: RelabelOptions, problems: &mut Problems<'_>) -> Result<Attempt<Relabel>> {
    let mut schema = old.schema().clone();
    let mut targets = targets(&schema, &told.columns, problems)?;
    let mut done = Relabel { listed: told.len() as u64, ..Relabel::default() };
    // Once for the classes that are new and for what is wrong, once for the changes.
    let features: Vec<Feature> = schema.columns.iter().map(|c| c.feature.clone()).collect();
    let touched = told.find(old, problems, &mut |row, _, problems| {
        for target in &mut targets {
            let (cell, feature) = (&row.cells[target.from], &features[target.to]);
            let text = cell.text();
            match (feature, text) {
                _ if *cell == TextCell::Absent => {}
                (Feature::ClassLabel { names }, Some(name)) if name != "NA" => {
                    if options.known_classes && !target.names.has(name) {
                        let what = format!("there is no class {name:?}{}", like(name, names));
                        problems.add(bad(row, &told.columns[target.from], "unknown-class", what))?;
                    } else {
                        target.names.see(name, row.line);
                    }
                }
                _ if target.cell(text, feature).is_none() => {
                    let what = format!("{:?} is no {}", text.unwrap_or_default(), feature.name());
                    problems.add(bad(row, &told.columns[target.from], "bad-value", what))?;
                }
                _ => {}
            }
        }
        Ok(())
    })?;
    for target in &mut targets {
        let new = target.names.append();
        let column = &mut schema.columns[target.to];
        if let Feature::ClassLabel { names } = &mut column.feature
            && !new.is_empty()
        {
            names.extend(new.iter().cloned());
            done.classes.insert(column.name.clone(), new);
        }
    }
    done.unknown = problems.unknown();
    done.problems = problems.beside_unknown();
    if done.problems > 0 {
        return Ok(Attempt { edit: None, touched: Some(touched), done });
    }
    let mut overlay = Overlay::new(old, &schema);
    let mut silent = |_: Problem| Ok(());
    told.find(old, &mut Problems::new(&mut silent), &mut |row, number, _| {
        let (segment, entry) = old.dataset.index().locate(number);
        let mut changes = RowChanges::default();
        for target in targets.iter().filter(|target| row.cells[target.from] != TextCell::Absent) {
            let column = &schema.columns[target.to];
            let cell = target.cell(row.cells[target.from].text(), &column.feature).unwrap_or(IndexCell::Null);
            if !same(&entry.cell(target.to), &cell, &column.feature) {
                changes.cells.insert(target.to, cell);
                *done.cells.entry(column.name.clone()).or_default() += 1;
            }
        }
        *(if changes.is_empty() { &mut done.same } else { &mut done.changed }) += 1;
        overlay.push(segment, entry.key(), &changes)
    })?;
    let writes = !options.dry_run && (done.unknown == 0 || options.skip_unknown);
    let edit = if writes && done.changed > 0 { overlay.finish()? } else { None };
    Ok(Attempt { edit, touched: Some(touched), done })
}

fn bad(row: &ToldRow, column: &str, code: &'static str, what: String) -> Problem {
    Problem { line: Some(row.line), id: Some(row.id.clone()), column: Some(column.to_owned()), code, what }
}

/// Of few classes all, of many those that have the name's letters in other case or begin as it does.
fn like(name: &str, names: &[String]) -> String {
    const FEW: usize = 12;
    let start: String = name.chars().take(2).flat_map(char::to_lowercase).collect();
    let is_like = |other: &&String| names.len() <= FEW || other.to_lowercase().starts_with(&start);
    let shown: Vec<String> = names.iter().filter(is_like).take(FEW).map(|other| format!("{other:?}")).collect();
    match shown.as_slice() {
        [] => String::new(),
        shown => format!("; there are {}{}", shown.join(", "), if names.len() > FEW { ", .." } else { "" }),
    }
}

/// Whether a row has a value already: a class that is not known may be -1.
fn same(a: &IndexCell, b: &IndexCell, feature: &Feature) -> bool {
    match (a, b) {
        (IndexCell::Float(a), IndexCell::Float(b)) => a.to_bits() == b.to_bits(),
        (IndexCell::Int(v), IndexCell::Null) => *v < 0 && matches!(feature, Feature::ClassLabel { .. }),
        (a, b) => a == b,
    }
}
