//! One entry becomes a row or a refusal: read, compared with what the dataset has already, looked at by its codec, and made
//! into what is stored of it.

use std::borrow::Cow;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::base::{Base, Held};
use super::claims::Claims;
use super::isolated::Isolation;
use super::look::{Lend, Looked, Looker};
use super::options::{InvalidUtf8, Tell};
use super::recordings::Recordings;
use super::seen::Seen;
use super::sync::Own;
use super::watchdog::{Then, Watchdog};
use crate::codec::{self, Check, Limits, Scratches};
use crate::data::feature::{Feature, Schema};
use crate::data::info::{Format, Kind};
use crate::data::label::{Objects, Value};
use crate::data::record::{payload_hash, row_key};
use crate::data::storage::Original;
use crate::error::{Error, Fault, Origin, Reason, Result};
use crate::prepare::Prepare;
use crate::shard::{ShardCell, ShardRow, base_name};
use crate::source::{Entry, EntryCell, Print, Tree};

/// What became of an entry.
#[derive(Debug)]
pub(super) enum Outcome {
    /// A row for a shard, and the U+FFFD that were put into its text.
    Row(ShardRow, u64),
    /// It is in the dataset already, byte for byte: by what was read now, or unread, by what an earlier ingest saw.
    Skipped { unread: bool },
    /// It would be made into a row, if that were asked ([`Checker::dry`]).
    Other,
    /// It was refused, at a column if that is known.
    Refused(Fault, Option<usize>),
    /// The same, for a fault of the recording that it is a part of: all parts of that are refused.
    RecordingRefused(Fault, Option<usize>),
}

/// A cell that is read and not yet looked at.
pub(super) enum Cell {
    /// A payload with its hash.
    Payload(Vec<u8>, u64),
    /// A payload of the dataset's row: its file was not read ([`Seen::knows`]).
    Known,
    /// A part of a recording, by what it is known again.
    Excerpt(Original),
    /// Objects of the dataset's classes, and as the Index has them.
    Objects(Box<Objects>, Vec<u8>),
    /// Everything else.
    Value(Value),
}

/// Checks entries; shared by all threads.
pub(super) struct Checker<'a> {
    /// What the paths of entries lead to.
    pub tree: &'a Tree,
    pub schema: &'a Schema,
    pub base: &'a Base,
    /// What earlier ingests of the source saw.
    pub seen: Option<&'a Seen>,
    /// If rows follow their source: which are its own.
    pub claims: Option<(&'a Claims, Own)>,
    /// Rows that are there stay as they are: the source may not be there as a whole.
    pub is_cut: bool,
    /// Files or folders of the source could not be listed: an entry that has no objects any more may have them there.
    pub in_doubt: bool,
    /// Only whether rows differ is asked: none is made.
    pub dry: bool,
    pub prepare: &'a Prepare,
    pub check: Check,
    pub invalid_utf8: InvalidUtf8,
    pub limits: &'a Limits,
    pub decodes: &'a AtomicU64,
    pub scratches: &'a Scratches,
    /// The processes that look at payloads, if it is not done here.
    pub isolation: Option<&'a Isolation<'a>>,
    /// Who watches, and who is told, if it is.
    pub watch: Option<(&'a Watchdog, &'a Tell)>,
}

impl Checker<'_> {
    /// What becomes of an entry that was listed with a print. An error is for what ends the ingest: a listing that is none, ids with one key.
    pub(super) fn entry(&self, entry: &Entry, print: Print, recordings: &Recordings) -> Result<Outcome> {
        let columns = self.schema.columns.len().saturating_sub(self.prepare.counts().len());
        if entry.cells.len() != columns {
            return Err(Error::library(
                format!("listing {:?}", entry.id),
                format!("{} cells for {columns} columns", entry.cells.len()),
            ));
        }
        let known = self.seen.is_some_and(|seen| seen.knows(entry, print, self.base));
        self.compared(entry, known, recordings)
    }

    /// Whether the row under an id follows the source: what it is may change with that.
    pub(super) fn follows(&self, id: &str) -> bool {
        let owns = |(claims, own): (&Claims, Own)| {
            let made_of = self.base.made_of(id);
            made_of.is_some_and(|made_of| own != Own::Recorded || claims.owns(row_key(id), made_of))
        };
        !self.is_cut && self.claims.is_some_and(owns)
    }

    /// Whether other content under an id takes the place of the row: not if another source brought that very row, too.
    pub(super) fn replaces(&self, id: &str) -> bool {
        let is_shared = |(claims, own): (&Claims, Own)| {
            let made_of = self.base.made_of(id);
            own == Own::Recorded && made_of.is_some_and(|made_of| claims.of_another(row_key(id), made_of))
        };
        self.follows(id) && !self.claims.is_some_and(is_shared)
    }

    fn compared(&self, entry: &Entry, known: bool, recordings: &Recordings) -> Result<Outcome> {
        let (mut cells, mut replaced) = (Vec::with_capacity(entry.cells.len()), 0);
        for (i, cell) in entry.cells.iter().enumerate() {
            match self.read(cell, i, known, recordings, &mut replaced) {
                Ok(cell) => cells.push(cell),
                Err(fault) => return Ok(refused(fault, cell, i, recordings)),
            }
        }
        let follows = self.follows(&entry.id);
        let replaces = || follows && self.replaces(&entry.id);
        let taken = match self.base.holds(&entry.id, &entry.split, &cells, follows)? {
            Held::Same => return Ok(Outcome::Skipped { unread: known }),
            Held::Not => None,
            Held::Other(_) if self.in_doubt && self.base.is_emptied(entry, self.schema) && replaces() => {
                let what = "its objects are gone, and something of the source could not be listed that may have them";
                return Ok(Outcome::Refused(Fault::new(Reason::Unreadable, what), None));
            }
            // Objects of known pictures: the row is made anew, of what is read now.
            Held::Other(_) if known && replaces() => return self.compared(entry, false, recordings),
            Held::Other(_) if !known && replaces() => None,
            Held::Other(_) if self.is_cut => {
                let what = "the source says something else of the row, which stays as it is: its archive is damaged, or may have been cut";
                return Ok(Outcome::Refused(Fault::new(Reason::Truncated, what), None));
            }
            // Recordings are not decoded for rows that are there under this id, and a payload that is theirs is not read.
            Held::Other(fault) if known || cells.iter().any(|cell| matches!(cell, Cell::Excerpt(_))) => {
                return Ok(Outcome::Refused(fault, None));
            }
            // What is wrong with the payload itself is said first.
            Held::Other(fault) => Some(fault),
        };
        if self.dry {
            // Nothing is decoded to be asked only.
            return Ok(taken.map_or(Outcome::Other, |fault| Outcome::Refused(fault, None)));
        }
        let mut row = ShardRow { id: entry.id.clone(), cells: Vec::with_capacity(cells.len()) };
        for (i, cell) in cells.into_iter().enumerate() {
            let cell = match cell {
                Cell::Payload(bytes, hash) => match self.take(entry, bytes, hash, i) {
                    Ok(cell) => cell,
                    Err(fault) => return Ok(Outcome::Refused(fault, Some(i))),
                },
                Cell::Excerpt(original) => match self.cut(entry, original, i, recordings) {
                    Ok(cell) => cell,
                    Err(fault) => return Ok(refused(fault, &entry.cells[i], i, recordings)),
                },
                Cell::Known => {
                    return Err(Error::library(format!("taking {:?} in", entry.id), "its row was there and is not"));
                }
                Cell::Objects(objects, _) => ShardCell::Objects(*objects),
                Cell::Value(Value::Int(v)) => ShardCell::Int(v),
                Cell::Value(Value::Float(v)) => ShardCell::Float(v),
                Cell::Value(Value::Bool(v)) => ShardCell::Bool(v),
                Cell::Value(_) => ShardCell::Null,
            };
            row.cells.push(cell);
        }
        for (at, counting) in self.prepare.counts().iter().enumerate() {
            match self.count(entry, at, &row.cells[counting.column()]) {
                Ok(cell) => row.cells.push(cell),
                Err(fault) => return Ok(Outcome::Refused(fault, Some(counting.column()))),
            }
        }
        Ok(taken.map_or(Outcome::Row(row, replaced), |fault| Outcome::Refused(fault, None)))
    }

    /// The bytes or the value of a cell, in the type of its column; of a `known` payload no bytes. `replaced` counts the U+FFFD put in for what is no UTF-8.
    fn read(
        &self,
        cell: &EntryCell,
        column: usize,
        known: bool,
        recordings: &Recordings,
        replaced: &mut u64,
    ) -> Result<Cell, Fault> {
        let feature = &self.schema.columns[column].feature;
        let wrong = || unfit(feature);
        if let EntryCell::Value(Value::Null) = cell {
            return Ok(Cell::Value(Value::Null));
        }
        if let EntryCell::Excerpt { path, file_bytes, part } = cell {
            return recordings.original(path, *file_bytes, part).map(Cell::Excerpt);
        }
        if feature.is_payload() {
            Limits::check("payload bytes", cell.bytes(), self.limits.payload_bytes)?;
            if known && matches!(cell, EntryCell::File { .. } | EntryCell::Slice { .. }) {
                return Ok(Cell::Known);
            }
            let bytes = match cell {
                EntryCell::File { path, bytes } => self.tree.read_range(path, 0, *bytes, *bytes)?,
                EntryCell::Slice { path, range, file_bytes } => {
                    let length = range.end.checked_sub(range.start).ok_or_else(wrong)?;
                    self.tree.read_range(path, range.start, length, *file_bytes)?
                }
                EntryCell::Inline(bytes) => bytes.clone(),
                EntryCell::Value(Value::Text(text)) => text.clone().into_bytes(),
                _ => return Err(wrong()),
            };
            let bytes = match self.invalid_utf8 {
                InvalidUtf8::Replace if feature.kind() == Some(Kind::Text) => mended(bytes, replaced),
                _ => bytes,
            };
            let hash = payload_hash(&bytes);
            return Ok(Cell::Payload(bytes, hash));
        }
        if let (Feature::Objects(of), EntryCell::Objects(names, objects)) = (feature, cell) {
            let class = |class: &i64| -> Result<i64, Fault> {
                let name = usize::try_from(*class).ok().and_then(|at| names.get(at));
                let Some(name) = name else { return Ok(-1) };
                let known = self.base.class(column, &of.names, name);
                known.ok_or_else(|| Fault::new(Reason::BadLabel, format!("there is no class {name:?}")))
            };
            let mut objects = objects.clone();
            objects.classes = objects.classes.iter().map(class).collect::<Result<_, _>>()?;
            objects.widen(of).map_err(|why| Fault::new(Reason::BadLabel, why))?;
            objects.fit(of).map_err(|why| Fault::new(Reason::BadLabel, why))?;
            let packed = objects.pack();
            return Ok(Cell::Objects(objects, packed));
        }
        small(self.base, feature, column, cell).map(Cell::Value)
    }

    /// Cuts a part out of its recording, and makes what is stored of it.
    fn cut(&self, entry: &Entry, original: Original, column: usize, from: &Recordings) -> Result<ShardCell, Fault> {
        let EntryCell::Excerpt { path, part, .. } = &entry.cells[column] else {
            return Err(Fault::new(Reason::BadLabel, "the cell is no part of a recording"));
        };
        let bytes = from.cut(path, part, self.limits)?;
        let Looked { info, made, .. } = match self.isolation {
            Some(isolation) => isolation.part(&of(entry), column, &bytes, &|needs| self.scratches.lend(needs))?,
            None => self.here(&of(entry), |lend| self.looker().part(column, &bytes, lend))?,
        };
        let (bytes, info) = made.unwrap_or((bytes, info));
        // The id says which part it is; the name of the file alone would be that of all of them.
        let path = format!("{}.{}", base_name(&entry.id), info.format.extension());
        let hash = payload_hash(&bytes);
        Ok(ShardCell::Media { bytes, path, info, hash, original: Some(original), seek: None })
    }

    /// Looks at a payload, and makes what is stored of it.
    fn take(&self, entry: &Entry, bytes: Vec<u8>, hash: u64, column: usize) -> Result<ShardCell, Fault> {
        let path = file_name(entry, &entry.cells[column]);
        let source = self.prepare.source(column);
        if let (None, Feature::Tensor(tensor)) = (source, &self.schema.columns[column].feature) {
            let info = tensor.info_of(bytes.len() as u64)?;
            return Ok(ShardCell::Media { bytes, path, info, hash, original: None, seek: None });
        }
        let looker = self.looker();
        let codec = codec::sniff(&bytes, looker.kind(column))?;
        self.decodes.fetch_add(1, Ordering::Relaxed);
        let lend = |needs| self.scratches.lend(needs);
        let Looked { info, made, seek } = match self.isolation {
            // Nothing but code of our own looks at it.
            _ if !looker.is_foreign(column) => looker.payload(column, codec, &bytes, &lend)?,
            Some(isolation) => isolation.payload(&of(entry), column, &bytes, &lend)?,
            None => self.here(&of(entry), |lend| looker.payload(column, codec, &bytes, lend))?,
        };
        let original = source.map(|_| Original { bytes: bytes.len() as u64, hash });
        let (bytes, info, path, hash) = match made {
            None => (bytes, info, path, hash),
            Some((bytes, info)) => {
                let (path, hash) = (renamed(&path, info.format), payload_hash(&bytes));
                (bytes, info, path, hash)
            }
        };
        Ok(ShardCell::Media { bytes, path, info, hash, original, seek })
    }

    /// How many numbers operations make of a cell; of none, none.
    fn count(&self, entry: &Entry, at: usize, cell: &ShardCell) -> Result<ShardCell, Fault> {
        let ShardCell::Media { bytes, info, .. } = cell else { return Ok(ShardCell::Null) };
        let counted = match self.isolation {
            Some(isolation) => isolation.count(&of(entry), at, (bytes, info), &|needs| self.scratches.lend(needs)),
            None => self.here(&of(entry), |lend| self.looker().count(at, bytes, info, lend)),
        };
        counted.map(ShardCell::Int)
    }

    /// What looks at payloads.
    pub(super) fn looker(&self) -> Looker<'_> {
        Looker { schema: self.schema, prepare: self.prepare, check: self.check, limits: self.limits }
    }

    /// Looks at something in this process, while the watchdog watches, if there is one.
    pub(super) fn here<T>(&self, origin: &Origin, look: impl FnOnce(Lend<'_, '_>) -> T) -> T {
        let watch = self.watch.map(|(dog, tell)| dog.begin(origin.clone(), Then::Tell(Arc::clone(tell))));
        look(&|needs| match &watch {
            Some(watch) => watch.paused(|| self.scratches.lend(needs)),
            None => self.scratches.lend(needs),
        })
    }
}

/// The value of a cell of a small column, in the type of that.
pub(super) fn small(base: &Base, feature: &Feature, column: usize, cell: &EntryCell) -> Result<Value, Fault> {
    Ok(match (feature, cell) {
        (_, EntryCell::Value(Value::Null)) => Value::Null,
        (Feature::ClassLabel { names }, EntryCell::Class(name)) => {
            let index = base.class(column, names, name);
            Value::Int(index.ok_or_else(|| Fault::new(Reason::BadLabel, format!("there is no class {name:?}")))?)
        }
        (Feature::ClassLabel { names }, EntryCell::Value(Value::Int(v))) => {
            if *v != -1 && usize::try_from(*v).map_or(true, |v| v >= names.len()) {
                return Err(Fault::new(Reason::BadLabel, format!("class {v} of {}", names.len())));
            }
            Value::Int(*v)
        }
        (Feature::Int, EntryCell::Value(Value::Int(v))) => Value::Int(*v),
        (Feature::Float, EntryCell::Value(Value::Float(v))) => Value::Float(*v),
        (Feature::Float, EntryCell::Value(Value::Int(v))) => Value::Float(*v as f64),
        (Feature::Bool, EntryCell::Value(Value::Bool(v))) => Value::Bool(*v),
        _ => return Err(unfit(feature)),
    })
}

fn unfit(feature: &Feature) -> Fault {
    Fault::new(Reason::BadLabel, format!("the cell does not fit a column of {}", feature.name()))
}

/// Where an entry is from.
fn of(entry: &Entry) -> Origin {
    Origin { file: Some(entry.origin.clone().into()), row: entry.line, id: Some(entry.id.clone()), column: None }
}

/// The refusal of a cell, which may be that of its recording.
fn refused(fault: Fault, cell: &EntryCell, column: usize, recordings: &Recordings) -> Outcome {
    match cell {
        EntryCell::Excerpt { path, part, .. } if recordings.is_at_fault(path, part) => {
            Outcome::RecordingRefused(fault, Some(column))
        }
        _ => Outcome::Refused(fault, Some(column)),
    }
}

/// UTF-8 of what may be none: each maximal part that is none becomes one U+FFFD.
fn mended(bytes: Vec<u8>, replaced: &mut u64) -> Vec<u8> {
    let mended = match String::from_utf8_lossy(&bytes) {
        Cow::Borrowed(_) => None,
        Cow::Owned(text) => Some(text.into_bytes()),
    };
    let Some(mended) = mended else { return bytes };
    *replaced += bytes.utf8_chunks().filter(|c| !c.invalid().is_empty()).count() as u64;
    mended
}

/// A file name with the extension of another format.
fn renamed(name: &str, format: Format) -> String {
    let stem = name.rsplit_once('.').map_or(name, |(stem, _)| stem);
    format!("{stem}.{}", format.extension())
}

/// The `path` of a media cell: the name of its file, or the last part of the id.
fn file_name(entry: &Entry, cell: &EntryCell) -> String {
    let name = match cell {
        EntryCell::File { path, .. } => path.file_name().and_then(|n| n.to_str()),
        _ => None,
    };
    name.unwrap_or_else(|| base_name(&entry.id)).to_owned()
}
