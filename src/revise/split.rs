//! Other splits: by fractions, or as a file tells them. No media is read or written.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::Path;

use regex::Regex;
use serde::Serialize;

use super::overlay::Overlay;
use super::told::{Problem, Problems, Told};
use super::{Attempt, Old, Revised, revise};
use crate::data::changes::RowChanges;
use crate::data::feature::{Feature, Schema};
use crate::data::index::Row;
use crate::data::label::Value;
use crate::data::partition::{Fractions, Member, place};
use crate::duplicates::{DuplicateOptions, Sets, Watch, find};
use crate::error::{Error, Result};
use crate::source::split_name;
use crate::spool::{Sorter, Spill};
use crate::store::Store;

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
                notes.push(format!(
                    "{split} has {got:.2} of the rows, not {asked:.2}: {groups} groups fall as their hashes do (another --seed is another assignment)"
                ));
            }
        }
    }
    (done.version, done.committed, done.notes) = (version, committed, notes);
    Ok(done)
}

/// What a row is assigned by.
enum By {
    Row,
    Column(usize),
    Id(Regex),
}

impl By {
    fn of(by: &SplitBy, schema: &Schema) -> Result<Self> {
        Ok(match by {
            SplitBy::Row => By::Row,
            SplitBy::Group(column) | SplitBy::Stratum(column) => {
                let at = schema.position(column).ok_or_else(|| {
                    let names: Vec<&str> = schema.columns.iter().map(|c| c.name.as_str()).collect();
                    Error::config(format!("there is no column {column:?}"), format!("there are: {}", names.join(", ")))
                })?;
                By::Column(at)
            }
            SplitBy::GroupId(expression) => {
                let help = "the first group is what rows have in common: '^[^/]+/(speaker\\d+)_'";
                let regex = Regex::new(expression).map_err(|e| Error::config(format!("--group-id: {e}"), help))?;
                if regex.captures_len() < 2 {
                    return Err(Error::config(format!("--group-id: {expression:?} has no group in parentheses"), help));
                }
                By::Id(regex)
            }
        })
    }

    fn member<'a>(&self, row: &Row<'a>, schema: &Schema) -> Member<'a> {
        let own = Member::Row(row.key());
        match self {
            By::Row => own,
            By::Column(at) => value(row, *at, &schema.columns[*at].feature).map_or(own, Member::Group),
            By::Id(regex) => {
                regex.captures(row.id()).and_then(|found| found.get(1)).map_or(own, |m| Member::Named(m.as_str()))
            }
        }
    }
}

/// A cell as a number: of payloads the hash of their bytes. `None` if it is absent.
fn value(row: &Row<'_>, column: usize, feature: &Feature) -> Option<u64> {
    if feature.is_payload() {
        return row.payload(column).map(|payload| payload.hash);
    }
    match row.value(column) {
        // A class that is not known is -1, or absent.
        Value::Int(v) if v < 0 && matches!(feature, Feature::ClassLabel { .. }) => None,
        Value::Int(v) => Some(v as u64),
        // The two zeros are equal, and what is no number is equal to nothing.
        Value::Float(v) => (!v.is_nan()).then(|| (v + 0.0).to_bits()),
        Value::Bool(v) => Some(u64::from(v)),
        Value::Null | Value::Text(_) => None,
    }
}

/// Rows that are to be in one split.
struct Together {
    sets: Sets,
    /// Of sets with several rows, by the lowest: the one that was written first. The numbers of rows change with their splits, files and places in them do not.
    firsts: HashMap<u32, u32>,
}

impl Together {
    /// Joins rows that are of one group, too.
    fn new(mut sets: Sets, old: &Old, by: &By, is_grouped: bool, seed: u64) -> Result<Self> {
        if is_grouped {
            let mut members = Sorter::new(&old.spill);
            for row in 0..sets.len() {
                // The place stands for the group, as below.
                match by.member(&old.dataset.index().row(u64::from(row)), old.schema()) {
                    Member::Row(_) => {}
                    member => members.push(&place(seed, member).to_be_bytes(), &row.to_be_bytes())?,
                }
            }
            let members = members.finish()?;
            for at in 1..members.len() {
                let ((before, a), (here, b)) = (members.get(at - 1), members.get(at));
                if before == here {
                    let row = |bytes: &[u8]| bytes.iter().fold(0, |n, byte| n << 8 | u32::from(*byte));
                    sets.join(row(a), row(b));
                }
            }
            sets.flatten();
        }
        let mut firsts: HashMap<u32, ((usize, usize, u64), u32)> = HashMap::new();
        let mut has_others = vec![false; sets.len() as usize];
        (0..sets.len())
            .filter(|row| sets.root(*row) != *row)
            .for_each(|row| has_others[sets.root(row) as usize] = true);
        let mut number = 0u32;
        for (segment, of) in old.dataset.index().segments().iter().enumerate() {
            let files = of.files();
            for row in 0..of.header().rows {
                let root = sets.root(number);
                if has_others[root as usize] {
                    let file = files.partition_point(|file| file.rows.end <= row);
                    let place = (segment, file, of.row(row).row_in_shard());
                    let first = firsts.entry(root).or_insert((place, number));
                    *first = (*first).min((place, number));
                }
                number += 1;
            }
        }
        let firsts = firsts.into_iter().map(|(root, (_, row))| (root, row)).collect();
        Ok(Together { sets, firsts })
    }

    /// The first row of a row's set, if the set has others.
    fn first(&self, row: u64) -> Option<u64> {
        let row = u32::try_from(row).ok().filter(|row| *row < self.sets.len())?;
        self.firsts.get(&self.sets.root(row)).map(|first| u64::from(*first))
    }
}

fn assign(old: &Old, options: &SplitOptions, sets: Option<Sets>) -> Result<Attempt<SplitSummary>> {
    let (schema, index) = (old.schema(), old.dataset.index());
    let by = By::of(&options.by, schema)?;
    let only: BTreeSet<&String> = options.only.iter().collect();
    let splits = &old.root.manifest.splits;
    if let Some(none) = only.iter().find(|split| !splits.contains_key(**split)) {
        let there: Vec<&str> = splits.keys().map(String::as_str).collect();
        return Err(Error::config(format!("there is no split {none:?}"), format!("there are: {}", there.join(", "))));
    }
    let mut work = Work { overlay: Overlay::new(old, schema), done: SplitSummary::default() };
    work.done.before.clone_from(splits);
    work.done.after.clone_from(splits);
    let by_group = matches!(options.by, SplitBy::Group(_) | SplitBy::GroupId(_));
    let grouped = by_group || sets.is_some();
    let together = sets.map(|sets| Together::new(sets, old, &by, by_group, options.seed)).transpose()?;
    let first = |row: u64| together.as_ref()?.first(row);
    let (mut groups, mut strata) = (Sorter::new(&old.spill), Sorter::new(&old.spill));
    let mut alone = 0;
    let mut number = 0u64;
    for (segment, of) in index.segments().iter().enumerate() {
        for shard in 0..of.header().shards as usize {
            let Some((rows, shard)) = of.shard(shard) else { continue };
            let chosen = only.is_empty() || only.contains(&shard.split);
            for row in rows {
                let row = of.row(row);
                // All of a set go where its first row goes.
                let first = first(number).map(|first| index.row(first));
                let (unit, several) = (first.unwrap_or(row), first.is_some());
                let member = by.member(&unit, schema);
                let by_stratum = matches!(options.by, SplitBy::Stratum(_));
                let mut now = shard.split.as_str();
                if by_stratum && chosen {
                    // Those without a value are a stratum, too.
                    let stratum = match member {
                        Member::Group(value) => [&[1], &value.to_be_bytes()[..]].concat(),
                        _ => vec![0; 9],
                    };
                    let at = place(options.seed, Member::Row(unit.key())).to_be_bytes();
                    let key = [&stratum[..], &at, &unit.key().to_be_bytes()].concat();
                    strata.push(&key, &number.to_le_bytes())?;
                } else if chosen {
                    now = options.fractions.at(place(options.seed, member));
                    work.put(segment, &row, &shard.split, now)?;
                }
                if grouped {
                    match member {
                        _ if by_stratum && several => {
                            // Those that are chosen come below, when their split is known.
                            if !chosen {
                                groups.push(
                                    &place(options.seed, Member::Row(unit.key())).to_be_bytes(),
                                    now.as_bytes(),
                                )?;
                            }
                        }
                        _ if by_stratum => alone += 1,
                        Member::Row(_) if !several => alone += 1,
                        // The place stands for the group: two with one are as unlikely as two ids with one key.
                        member => groups.push(&place(options.seed, member).to_be_bytes(), now.as_bytes())?,
                    }
                }
                number += 1;
            }
        }
    }
    let strata = strata.finish()?;
    let mut from = 0;
    while from < strata.len() {
        let stratum = &strata.get(from).0[..9];
        let mut to = from + 1;
        while to < strata.len() && strata.get(to).0[..9] == *stratum {
            to += 1;
        }
        let counts = options.fractions.counts((to - from) as u64);
        let named = options.fractions.splits().zip(counts).flat_map(|(split, n)| (0..n).map(move |_| split));
        let mut before: Option<(&[u8], &str)> = None;
        for (at, split) in (from..to).zip(named) {
            // A set goes as a whole where its first place falls.
            let (key, _) = strata.get(at);
            let split = before.filter(|(other, _)| *other == key).map_or(split, |(_, split)| split);
            before = Some((key, split));
            let row = strata.get(at).1.iter().rev().fold(0, |n, byte| n << 8 | u64::from(*byte));
            if let Some(first) = first(row) {
                let key = index.row(first).key();
                groups.push(&place(options.seed, Member::Row(key)).to_be_bytes(), split.as_bytes())?;
            }
            let (segment, row) = index.locate(row);
            let was = old.split_of(segment, &row);
            work.put(segment, &row, &was, split)?;
        }
        from = to;
    }
    let Work { overlay, mut done } = work;
    if grouped {
        let groups = groups.finish()?;
        let (mut count, mut apart) = (0, 0);
        let mut rows = groups.iter().peekable();
        while let Some((key, split)) = rows.next() {
            count += 1;
            let mut several = false;
            while let Some((_, other)) = rows.next_if(|(other, _)| *other == key) {
                several |= other != split;
            }
            apart += u64::from(several);
        }
        (done.groups, done.groups_apart, done.alone) = (Some(count), Some(apart), Some(alone));
    }
    done.after.retain(|_, rows| *rows > 0);
    let edit = if options.dry_run || done.moved == 0 { None } else { overlay.finish()? };
    Ok(Attempt { edit, touched: None, done })
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
