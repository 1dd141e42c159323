//! One entry becomes a row or a refusal: read, compared with what the dataset has already, looked at by its codec, and made
//! into what is stored of it.

use std::borrow::Cow;
use std::sync::atomic::{AtomicU64, Ordering};

use super::base::{Base, Held};
use super::options::InvalidUtf8;
use super::recordings::Recordings;
use crate::codec::{self, Check, Limits, Scratch, Scratches};
use crate::data::feature::{Feature, Schema};
use crate::data::info::{Format, Kind};
use crate::data::label::Value;
use crate::data::record::payload_hash;
use crate::data::storage::Original;
use crate::error::{Error, Fault, Reason, Result};
use crate::prepare::{self, Accepted, Counting, Prepare};
use crate::shard::{ShardCell, ShardRow, base_name};
use crate::source::{self, Entry, EntryCell};

/// What became of an entry.
#[derive(Debug)]
pub(super) enum Outcome {
    /// A row for a shard, and the U+FFFD that were put into its text.
    Row(ShardRow, u64),
    /// It is in the dataset already, byte for byte.
    Skipped,
    /// It was refused, at a column if that is known.
    Refused(Fault, Option<usize>),
    /// The same, for a fault of the recording that it is a part of: all parts of that are refused.
    RecordingRefused(Fault, Option<usize>),
}

/// A cell that is read and not yet looked at.
pub(super) enum Cell {
    /// A payload with its hash.
    Payload(Vec<u8>, u64),
    /// A part of a recording, by what it is known again.
    Excerpt(Original),
    /// Everything else.
    Value(Value),
}

/// Checks entries; shared by all threads.
pub(super) struct Checker<'a> {
    pub schema: &'a Schema,
    pub base: &'a Base,
    pub prepare: &'a Prepare,
    pub check: Check,
    pub invalid_utf8: InvalidUtf8,
    pub limits: &'a Limits,
    pub decodes: &'a AtomicU64,
    pub scratches: &'a Scratches,
}

impl Checker<'_> {
    /// What becomes of an entry. An error is for what ends the ingest: a listing that is none, ids with one key.
    pub(super) fn entry(&self, entry: &Entry, recordings: &Recordings) -> Result<Outcome> {
        let columns = self.schema.columns.len().saturating_sub(self.prepare.counts().len());
        if entry.cells.len() != columns {
            return Err(Error::library(
                format!("listing {:?}", entry.id),
                format!("{} cells for {columns} columns", entry.cells.len()),
            ));
        }
        let (mut cells, mut replaced) = (Vec::with_capacity(entry.cells.len()), 0);
        for (i, cell) in entry.cells.iter().enumerate() {
            match self.read(cell, i, recordings, &mut replaced) {
                Ok(cell) => cells.push(cell),
                Err(fault) => return Ok(refused(fault, cell, i, recordings)),
            }
        }
        let taken = match self.base.holds(&entry.id, &entry.split, &cells)? {
            Held::Same => return Ok(Outcome::Skipped),
            Held::Not => None,
            // Recordings are not decoded for rows that are there under this id.
            Held::Other(fault) if cells.iter().any(|cell| matches!(cell, Cell::Excerpt(_))) => {
                return Ok(Outcome::Refused(fault, None));
            }
            // What is wrong with the payload itself is said first.
            Held::Other(fault) => Some(fault),
        };
        let mut row = ShardRow { id: entry.id.clone(), cells: Vec::with_capacity(cells.len()) };
        for (i, cell) in cells.into_iter().enumerate() {
            let cell = match cell {
                Cell::Payload(bytes, hash) => match self.take(bytes, hash, file_name(entry, &entry.cells[i]), i) {
                    Ok(cell) => cell,
                    Err(fault) => return Ok(Outcome::Refused(fault, Some(i))),
                },
                Cell::Excerpt(original) => match self.cut(entry, original, i, recordings) {
                    Ok(cell) => cell,
                    Err(fault) => return Ok(refused(fault, &entry.cells[i], i, recordings)),
                },
                Cell::Value(Value::Int(v)) => ShardCell::Int(v),
                Cell::Value(Value::Float(v)) => ShardCell::Float(v),
                Cell::Value(Value::Bool(v)) => ShardCell::Bool(v),
                Cell::Value(_) => ShardCell::Null,
            };
            row.cells.push(cell);
        }
        for counting in self.prepare.counts() {
            match self.count(counting, &row.cells[counting.column()]) {
                Ok(cell) => row.cells.push(cell),
                Err(fault) => return Ok(Outcome::Refused(fault, Some(counting.column()))),
            }
        }
        Ok(taken.map_or(Outcome::Row(row, replaced), |fault| Outcome::Refused(fault, None)))
    }

    /// The bytes or the value of a cell, in the type of its column. `replaced` counts the U+FFFD put in for what is no UTF-8.
    fn read(
        &self,
        cell: &EntryCell,
        column: usize,
        recordings: &Recordings,
        replaced: &mut u64,
    ) -> Result<Cell, Fault> {
        let feature = &self.schema.columns[column].feature;
        let wrong = || Fault::new(Reason::BadLabel, format!("the cell does not fit a column of {}", feature.name()));
        if let EntryCell::Value(Value::Null) = cell {
            return Ok(Cell::Value(Value::Null));
        }
        if let EntryCell::Excerpt { path, file_bytes, part } = cell {
            return recordings.original(path, *file_bytes, part).map(Cell::Excerpt);
        }
        if feature.is_payload() {
            Limits::check("payload bytes", cell.bytes(), self.limits.payload_bytes)?;
            let bytes = match cell {
                EntryCell::File { path, bytes } => source::read_range(path, 0, *bytes, *bytes)?,
                EntryCell::Slice { path, range, file_bytes } => {
                    let length = range.end.checked_sub(range.start).ok_or_else(wrong)?;
                    source::read_range(path, range.start, length, *file_bytes)?
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
        let value = match (feature, cell) {
            (Feature::ClassLabel { names }, EntryCell::Class(name)) => {
                let index = self.base.class(column, names, name);
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
            _ => return Err(wrong()),
        };
        Ok(Cell::Value(value))
    }

    /// Cuts a part out of its recording, and makes what is stored of it.
    fn cut(&self, entry: &Entry, original: Original, column: usize, from: &Recordings) -> Result<ShardCell, Fault> {
        let EntryCell::Excerpt { path, part, .. } = &entry.cells[column] else {
            return Err(Fault::new(Reason::BadLabel, "the cell is no part of a recording"));
        };
        let bytes = from.cut(path, part, self.limits)?;
        let codec = codec::sniff(&bytes, Kind::Audio)?;
        let info = codec.probe(&bytes, self.limits)?;
        let needs = codec.memory(&bytes, &info).saturating_add(self.prepare.memory(column, &info));
        let mut loan = self.scratches.lend(needs);
        let payload = Accepted { bytes: &bytes, codec, info: &info, limits: self.limits };
        let made = self.prepare.make(column, payload, &mut loan.scratch);
        if matches!(&made, Err(fault) if fault.reason == Reason::DecoderPanic) {
            loan.scratch = Scratch::default();
        }
        drop(loan);
        let (bytes, info) = made?.unwrap_or((bytes, info));
        // The id says which part it is; the name of the file alone would be that of all of them.
        let path = format!("{}.{}", base_name(&entry.id), prepare::extension(info.format));
        let hash = payload_hash(&bytes);
        Ok(ShardCell::Media { bytes, path, info, hash, original: Some(original), seek: None })
    }

    /// Looks at a payload through its codec, and makes what is stored of it. A panic in a decoder is a fault like any other.
    fn take(&self, bytes: Vec<u8>, hash: u64, path: String, column: usize) -> Result<ShardCell, Fault> {
        let stored = &self.schema.columns[column];
        let source = self.prepare.source(column);
        if let (None, Feature::Tensor(tensor)) = (source, &stored.feature) {
            let info = tensor.info_of(bytes.len() as u64)?;
            return Ok(ShardCell::Media { bytes, path, info, hash, original: None, seek: None });
        }
        let kind = source.unwrap_or(&stored.feature).kind().unwrap_or(Kind::Text);
        let codec = codec::sniff(&bytes, kind)?;
        self.decodes.fetch_add(1, Ordering::Relaxed);
        let probe = || codec::guarded(codec.name(), || codec.probe(&bytes, self.limits));
        let (needs, level) = match (source, self.check) {
            (None, Check::Header) => (0, Check::Header),
            (None, level) => (codec.memory(&bytes, &probe()?), level),
            (Some(_), level) => {
                let info = probe()?;
                let needs = codec.memory(&bytes, &info).saturating_add(self.prepare.memory(column, &info));
                // All of a picture is decoded to make something of it: that is the check.
                let once = kind == Kind::Image && self.prepare.takes(column, &info);
                (needs, if once { Check::Header } else { level })
            }
        };
        let mut loan = self.scratches.lend(needs);
        let answer = codec::guarded(codec.name(), || codec.check(&bytes, level, self.limits, &mut loan.scratch))
            .and_then(|info| {
                let payload = Accepted { bytes: &bytes, codec, info: &info, limits: self.limits };
                Ok((info, self.prepare.make(column, payload, &mut loan.scratch)?))
            });
        // After a panic the scratch may be in any state: it is dropped.
        if matches!(&answer, Err(fault) if fault.reason == Reason::DecoderPanic) {
            loan.scratch = Scratch::default();
        }
        drop(loan);
        let (info, made) = answer?;
        let original = source.map(|_| Original { bytes: bytes.len() as u64, hash });
        let (bytes, info, path, hash) = match made {
            None => (bytes, info, path, hash),
            Some((bytes, info)) => {
                let (path, hash) = (renamed(&path, info.format), payload_hash(&bytes));
                (bytes, info, path, hash)
            }
        };
        let seek = match stored.feature.is_seekable() {
            // What cannot be opened was accepted by what stands behind the codec: it has no table.
            true => codec::by_format(info.format)?.seek_table(&bytes, self.limits).ok().flatten(),
            false => None,
        };
        Ok(ShardCell::Media { bytes, path, info, hash, original, seek })
    }

    /// How many numbers operations make of a cell; of none, none.
    fn count(&self, counting: &Counting, cell: &ShardCell) -> Result<ShardCell, Fault> {
        let ShardCell::Media { bytes, info, .. } = cell else { return Ok(ShardCell::Null) };
        let codec = codec::by_format(info.format)?;
        let mut loan = self.scratches.lend(codec.memory(bytes, info).saturating_add(counting.memory(info)));
        let counted = counting.count(Accepted { bytes, codec, info, limits: self.limits }, &mut loan.scratch);
        if matches!(&counted, Err(fault) if fault.reason == Reason::DecoderPanic) {
            loan.scratch = Scratch::default();
        }
        counted.map(ShardCell::Int)
    }
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
    format!("{stem}.{}", prepare::extension(format))
}

/// The `path` of a media cell: the name of its file, or the last part of the id.
fn file_name(entry: &Entry, cell: &EntryCell) -> String {
    let name = match cell {
        EntryCell::File { path, .. } => path.file_name().and_then(|n| n.to_str()),
        _ => None,
    };
    name.unwrap_or_else(|| base_name(&entry.id)).to_owned()
}
