//! The rows of another dataset behind one's own: columns are joined by name, classes by theirs.

use std::collections::BTreeMap;

use serde::Serialize;

use super::files::Files;
use super::told::Problem;
use super::{Attempt, Edit, Old, Revised, hold_segments, revise};
use crate::data::feature::{Feature, Schema};
use crate::data::index::{IndexCell, Row};
use crate::data::objects::Objects;
use crate::data::record::row_key;
use crate::dataset::Dataset;
use crate::error::{Error, Result};
use crate::shard::{ShardCell, ShardOptions, ShardRow, base_name, read_rows};
use crate::spool::{Sorted, Sorter};
use crate::store::Store;
use crate::store::commit;

/// How [`merge`] goes about.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct MergeOptions {
    /// Stands before every id of the other dataset.
    pub id_prefix: String,
    /// Columns that only one of the two has are left out, or null; without, they are refused.
    pub common_columns: bool,
    /// Payload bytes at which a shard is full; 0: 64 MiB.
    pub shard_bytes: u64,
    /// Nothing is written.
    pub dry_run: bool,
}

/// What [`merge`] did.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Merged {
    /// The version that has it; where nothing was committed the one that was looked at.
    pub version: u64,
    /// Whether a version was made.
    pub committed: bool,
    /// Rows that are new.
    pub added: u64,
    /// Rows that are in it already, the same in every column.
    pub same: u64,
    /// Rows of whose ids it has others: nothing is committed then.
    pub taken: u64,
    /// Rows with a class that has no name: nothing is committed then.
    pub unnamed: u64,
    /// New rows of each split.
    pub splits: BTreeMap<String, u64>,
    /// Classes that are new, by column.
    pub classes: BTreeMap<String, Vec<String>>,
    /// Shards that were written.
    pub shards: u64,
    /// What the user should know.
    pub notes: Vec<String>,
}

/// Appends the rows of another dataset (of ours, or whatever can be opened) as one commit: payloads as they are stored there, labels by the names of their classes, splits by theirs. A row that
/// is there already with the same content is left out. One of whose id another is there, or with a class beyond the names, goes to `tell`; if there are any, nothing is committed, and that is no error.
///
/// # Errors
/// [`Error::Config`]: columns that do not fit; [`Error::Conflict`] if other writers were faster all the time; what keeps the other dataset from being read.
pub fn merge(
    store: &Store,
    other: &Dataset,
    options: &MergeOptions,
    tell: &mut dyn FnMut(Problem) -> Result<()>,
) -> Result<Merged> {
    if let (Some(version), true) = (other.version(), other.is_sharded()) {
        let theirs = Store::open(other.root());
        hold_segments(&theirs, &commit::load(&theirs, version)?, other)?;
    }
    let mut silent = false;
    let Revised { mut done, version, committed, mut notes } = revise(store, |old| {
        let work = Work::new(old, other, options)?;
        let done = work.attempt(&mut |problem| if silent { Ok(()) } else { tell(problem) })?;
        silent = true;
        Ok(done)
    })?;
    (done.version, done.committed) = (version, committed);
    done.notes.append(&mut notes);
    Ok(done)
}

/// Where a column of ours comes from.
#[derive(Debug)]
struct From {
    /// The column of the other; none: null.
    column: Option<usize>,
    /// Our numbers of its classes.
    classes: Vec<i64>,
}

/// Puts classes behind those that are there: where each is, and which are new.
fn joined(names: &mut Vec<String>, more: &[String]) -> (Vec<i64>, Vec<String>) {
    let mut places: std::collections::HashMap<String, i64> = names.iter().cloned().zip(0..).collect();
    let (mut classes, mut new) = (Vec::new(), Vec::new());
    for name in more {
        let place = *places.entry(name.clone()).or_insert_with(|| {
            new.push(name.clone());
            names.push(name.clone());
            names.len() as i64 - 1
        });
        classes.push(place);
    }
    (classes, new)
}

struct Work<'o> {
    old: &'o Old,
    other: &'o Dataset,
    options: &'o MergeOptions,
    schema: Schema,
    from: Vec<From>,
    done: Merged,
}

impl<'o> Work<'o> {
    /// Joins the columns.
    fn new(old: &'o Old, other: &'o Dataset, options: &'o MergeOptions) -> Result<Self> {
        let (mut schema, theirs) = (old.schema().clone(), other.schema());
        let mut done = Merged::default();
        let told = |schema: &Schema| {
            let each = schema.columns.iter().map(|c| format!("{} ({})", c.name, c.feature.name()));
            each.collect::<Vec<_>>().join(", ")
        };
        let differ = |what: String| {
            let help = format!("the columns are {}; those of the other {}", told(old.schema()), told(theirs));
            Err(Error::config(what, help))
        };
        let mut from = Vec::new();
        for column in &mut schema.columns {
            let Some(at) = theirs.position(&column.name) else {
                if !options.common_columns {
                    return differ(format!(
                        "the other dataset has no column {:?} (--common-columns makes it null)",
                        column.name
                    ));
                }
                done.notes.push(format!(
                    "column {:?} is null in the new rows: the other dataset does not have it",
                    column.name
                ));
                from.push(From { column: None, classes: Vec::new() });
                continue;
            };
            let of = &theirs.columns[at];
            if column.stored != of.stored {
                return differ(format!("column {:?} is stored in another way in the other dataset", column.name));
            }
            let mut classes = Vec::new();
            let mut new = Vec::new();
            match (&mut column.feature, &of.feature) {
                (Feature::ClassLabel { names }, Feature::ClassLabel { names: more }) => {
                    (classes, new) = joined(names, more);
                }
                (Feature::Objects(a), Feature::Objects(b)) if a.is_like(b) => {
                    (classes, new) = joined(&mut a.names, &b.names);
                    a.append(b);
                }
                // Whole numbers fit a column of numbers.
                (Feature::Float, Feature::Int) => {}
                (a, b) if a == b => {}
                (a, b) => {
                    let (a, b) = (a.name(), b.name());
                    return differ(format!("column {:?} is {a} here and {b} in the other dataset", column.name));
                }
            }
            if !new.is_empty() {
                done.classes.insert(column.name.clone(), new);
            }
            from.push(From { column: Some(at), classes });
        }
        let own = |name: &String| schema.position(name).is_none();
        let more: Vec<&str> = theirs.columns.iter().filter(|c| own(&c.name)).map(|c| c.name.as_str()).collect();
        if !more.is_empty() && !options.common_columns {
            return differ(format!(
                "only the other dataset has the columns {} (--common-columns leaves them out)",
                more.join(", ")
            ));
        }
        if !more.is_empty() {
            done.notes.push(format!("columns that only the other dataset has are left out: {}", more.join(", ")));
        }
        done.notes.extend(other.notes().iter().cloned());
        Ok(Work { old, other, options, schema, from, done })
    }

    /// The objects of a row of the other, their classes by our numbers.
    fn objects(&self, row: &Row<'_>, column: usize) -> Result<Option<Objects>> {
        let from = &self.from[column];
        let Some(at) = from.column else { return Ok(None) };
        let objects = self.packed(row, at)?;
        let class = |class: &i64| usize::try_from(*class).ok().and_then(|c| from.classes.get(c)).copied().unwrap_or(-1);
        Ok(objects.map(|objects| Objects { classes: objects.classes.iter().map(class).collect(), ..objects }))
    }

    fn id(&self, row: &Row<'_>) -> String {
        format!("{}{}", self.options.id_prefix, row.id())
    }

    /// A small value under our schema.
    fn cell(&self, row: &Row<'_>, column: usize) -> IndexCell {
        let from = &self.from[column];
        let Some(at) = from.column else { return IndexCell::Null };
        match (row.cell(at), &self.schema.columns[column].feature) {
            (IndexCell::Int(class), Feature::ClassLabel { .. }) => {
                let place = usize::try_from(class).ok().and_then(|class| from.classes.get(class));
                place.map_or(IndexCell::Null, |place| IndexCell::Int(*place))
            }
            (IndexCell::Int(v), Feature::Float) => IndexCell::Float(v as f64),
            (cell, _) => cell,
        }
    }

    /// The first column in which a row of the other has a class beyond its names, and what it is. One that is not known (-1, or none) is none of them.
    fn unnamed(&self, row: &Row<'_>) -> Result<Option<(String, String)>> {
        for (column, from) in self.schema.columns.iter().zip(&self.from) {
            let Some(at) = from.column else { continue };
            let named =
                |class: i64| class == -1 || usize::try_from(class).is_ok_and(|class| class < from.classes.len());
            let class = match (&column.feature, row.cell(at)) {
                (Feature::ClassLabel { .. }, IndexCell::Int(class)) => Some(class).filter(|class| !named(*class)),
                (Feature::Objects(_), IndexCell::Objects(_)) => {
                    let objects = self.packed(row, at)?.unwrap_or_default();
                    objects.classes.into_iter().find(|class| !named(*class))
                }
                _ => None,
            };
            if let Some(class) = class {
                let names = from.classes.len();
                let what =
                    format!("class {class} of {names} that have names: name it in the other dataset, or make it -1");
                return Ok(Some((column.name.clone(), what)));
            }
        }
        Ok(None)
    }

    /// The objects of a row of the other as they are there; the column is one of its own.
    fn packed(&self, row: &Row<'_>, at: usize) -> Result<Option<Objects>> {
        let Feature::Objects(of) = &self.other.schema().columns[at].feature else { return Ok(None) };
        let damaged = |what: String| Error::damaged(self.other.root(), what, "`dsctl verify` says what is damaged");
        row.objects(at, of).map_err(|e| damaged(format!("the objects of {:?}: {e}", row.id())))
    }

    /// Which rows of the other are new, told by number; those of ours by key.
    fn sort_out(&mut self, tell: &mut dyn FnMut(Problem) -> Result<()>) -> Result<Sorted> {
        let mut own = Sorter::new(&self.old.spill);
        let mut number = 0u64;
        for segment in self.old.dataset.index().segments() {
            for row in 0..segment.header().rows {
                own.push(&segment.row(row).key().to_be_bytes(), &number.to_le_bytes())?;
                number += 1;
            }
        }
        let own = own.finish()?;
        let mut new = Sorter::new(&self.old.spill);
        let mut number = 0u64;
        for (at, segment) in self.other.index().segments().iter().enumerate() {
            for row in 0..segment.header().rows {
                let row = segment.row(row);
                let id = self.id(&row);
                if let Some((column, what)) = self.unnamed(&row)? {
                    self.done.unnamed += 1;
                    number += 1;
                    tell(Problem { line: None, id: Some(id), column: Some(column), code: "bad-value", what })?;
                    continue;
                }
                let key = row_key(&id).to_be_bytes();
                let there = own.find(&key).and_then(|n| n.try_into().ok()).map(u64::from_le_bytes);
                let shard = self.other.index().segments()[at].shard(row.shard());
                let split = shard.map_or_else(String::new, |(_, shard)| shard.split);
                match there {
                    None => {
                        new.push(&number.to_be_bytes(), &key)?;
                        self.done.added += 1;
                        *self.done.splits.entry(split).or_default() += 1;
                    }
                    Some(there) => match self.differs(&row, &split, there, &id) {
                        None => self.done.same += 1,
                        Some(what) => {
                            self.done.taken += 1;
                            let id = Some(id);
                            tell(Problem { line: None, id, column: None, code: "id-taken", what })?;
                        }
                    },
                }
                number += 1;
            }
        }
        new.finish()
    }

    /// How a row of the other is not the one of ours that has its id.
    fn differs(&self, row: &Row<'_>, split: &str, there: u64, id: &str) -> Option<String> {
        let (segment, own) = self.old.dataset.index().locate(there);
        if own.id() != id {
            return Some(format!("the id {:?} has the same 64-bit key: merge it under another --id-prefix", own.id()));
        }
        let way = "merge it under other ids (--id-prefix), or take one of them out";
        let its = self.old.split_of(segment, &own);
        if its != split {
            return Some(format!("the row is there already, in split {its:?} and not {split:?}: {way}"));
        }
        for (at, column) in self.schema.columns.iter().enumerate() {
            if let Feature::Objects(_) = column.feature {
                let theirs = self.objects(row, at).ok().map(|objects| objects.map(|objects| objects.pack()));
                if theirs.as_ref().map(Option::as_deref) == Some(own.table(at)) {
                    continue;
                }
                return Some(format!("the row is there already, with other {:?}: {way}", column.name));
            }
            let same = match (own.payload(at), self.from[at].column.and_then(|at| row.payload(at))) {
                (None, None) => match (own.cell(at), self.cell(row, at)) {
                    (IndexCell::Float(a), IndexCell::Float(b)) => a.to_bits() == b.to_bits(),
                    (IndexCell::Int(v), IndexCell::Null) => {
                        v < 0 && matches!(column.feature, Feature::ClassLabel { .. })
                    }
                    (a, b) => a == b,
                },
                (Some(a), Some(b)) => (a.length, a.hash) == (b.length, b.hash),
                _ => false,
            };
            if !same {
                return Some(format!("the row is there already, with another {:?}: {way}", column.name));
            }
        }
        None
    }

    fn attempt(mut self, tell: &mut dyn FnMut(Problem) -> Result<()>) -> Result<Attempt<Merged>> {
        let new = self.sort_out(tell)?;
        if self.options.dry_run || self.done.taken + self.done.unnamed > 0 || self.done.added == 0 {
            return Ok(Attempt { edit: None, touched: None, done: self.done });
        }
        let mut options = ShardOptions::default();
        if self.options.shard_bytes > 0 {
            options.shard_bytes = self.options.shard_bytes;
        }
        let mut files = Files::new(self.old, &self.schema, options, None);
        if self.other.is_sharded() {
            self.of_shards(&new, &mut files)?
        } else {
            self.of_others(&new, &mut files)?
        }
        let (builder, shards) = files.finish()?;
        let rows = builder.rows();
        let entry = commit::put_segment(&self.old.store, &builder.finish()?.parts(), rows)?;
        self.done.shards = shards;
        let segments = [self.old.segments(), &[entry]].concat();
        Ok(Attempt { edit: Some(Edit { schema: self.schema, segments }), touched: None, done: self.done })
    }

    /// Rows of our own shards: whole, with what stands over them.
    fn of_shards(&self, new: &Sorted, files: &mut Files<'_>) -> Result<()> {
        let mut start = 0;
        for segment in self.other.index().segments() {
            for file in segment.files() {
                let rows = segment.in_file_order(&file);
                if !rows.iter().any(|row| new.find(&(start + row).to_be_bytes()).is_some()) {
                    continue;
                }
                let mut numbers = rows.iter();
                read_rows(&self.other.root().join(file.path()), self.other.schema(), &mut |mut found| {
                    let Some(number) = numbers.next().filter(|row| segment.row(**row).id() == found.id) else {
                        let what = format!("the row {:?} is not where the Index has it", found.id);
                        return Err(Error::damaged(self.other.root().join(file.path()), what, "see `dsctl verify`"));
                    };
                    if new.find(&(start + number).to_be_bytes()).is_none() {
                        return Ok(());
                    }
                    let row = segment.row(*number);
                    let mut payload = |at: usize| std::mem::replace(&mut found.cells[at], ShardCell::Null);
                    let cells = self.cells(&row, &mut |at| Ok(payload(at)))?;
                    let split = segment.shard(row.shard()).map_or_else(String::new, |(_, shard)| shard.split);
                    files.push(&split, ShardRow { id: self.id(&row), cells })
                })?;
            }
            start += segment.header().rows;
        }
        Ok(())
    }

    /// Rows of whatever else was opened: their payloads as they are fetched.
    fn of_others(&self, new: &Sorted, files: &mut Files<'_>) -> Result<()> {
        for (number, _) in new.iter() {
            let number = number.iter().fold(0, |n, byte| n << 8 | u64::from(*byte));
            let (segment, row) = self.other.index().locate(number);
            let cells = self.cells(&row, &mut |at| {
                let mut bytes = Vec::new();
                let Some(payload) = self.other.fetch_checked(number, at, &mut bytes)? else {
                    return Ok(ShardCell::Null);
                };
                let (path, seek) = (base_name(row.id()).to_owned(), row.table(at).map(<[u8]>::to_vec));
                let (info, hash, original) = (payload.info, payload.hash, row.original(at));
                Ok(ShardCell::Media { bytes, path, info, hash, original, seek })
            })?;
            let shard = self.other.index().segments()[segment].shard(row.shard());
            files.push(
                &shard.map_or_else(String::new, |(_, shard)| shard.split),
                ShardRow { id: self.id(&row), cells },
            )?;
        }
        Ok(())
    }

    /// The cells of a row under our schema; `payload` gives those of the other's columns that hold any.
    fn cells(&self, row: &Row<'_>, payload: &mut dyn FnMut(usize) -> Result<ShardCell>) -> Result<Vec<ShardCell>> {
        let mut cells = Vec::with_capacity(self.from.len());
        for (at, column) in self.schema.columns.iter().enumerate() {
            cells.push(match self.from[at].column {
                Some(of) if column.feature.is_payload() => payload(of)?,
                _ => match self.cell(row, at) {
                    IndexCell::Int(v) => ShardCell::Int(v),
                    IndexCell::Float(v) => ShardCell::Float(v),
                    IndexCell::Bool(v) => ShardCell::Bool(v),
                    IndexCell::Objects(_) => self.objects(row, at)?.map_or(ShardCell::Null, ShardCell::Objects),
                    IndexCell::Null | IndexCell::Payload(_) | IndexCell::Prepared(..) => ShardCell::Null,
                },
            });
        }
        Ok(cells)
    }
}
