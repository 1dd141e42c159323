//! The work itself: chunks of entries are read and checked on all cores while the chunk before them is written.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use super::base::Base;
use super::check::{Checker, Outcome};
use super::claims::Claims;
use super::freeze::Files;
use super::isolated::{Isolation, Setup};
use super::journal::{Journal, Mended, Report, Stretch};
use super::keeping::Keeping;
use super::options::{Control, IngestOptions, Progress};
use super::recordings::Recordings;
use super::retry::OF_ALL_PARTS;
use super::seen::{MadeOf, Seen, Sightings};
use super::sink::Sink;
use super::sync::Own;
use super::watchdog::Watchdog;
use crate::codec::Scratches;
use crate::data::feature::{Feature, Schema};
use crate::data::label::Value;
use crate::error::{Error, Fault, Result};
use crate::prepare::Prepare;
use crate::quarantine::Refused;
use crate::source::{Entries, Entry, EntryCell, Listing, Print};
use crate::spool::Spill;

/// Entries of a chunk at the most.
const CHUNK_ENTRIES: usize = 256;
/// Payload bytes of a chunk, as listed; a larger entry is a chunk of its own. Two chunks are in memory at a time.
pub(super) const CHUNK_BYTES: u64 = 32 << 20;
/// The same where what is stored of them is larger: ten times for a photo that is decoded.
const GROWING_BYTES: u64 = CHUNK_BYTES / 4;

/// What is worked on, and under which rules.
#[derive(Clone, Copy)]
pub(super) struct Work<'a> {
    pub listing: &'a Listing,
    pub schema: &'a Schema,
    pub base: &'a Base,
    /// What earlier ingests of the source saw.
    pub seen: &'a Seen,
    /// If rows follow their source: which are its own.
    pub claims: Option<(&'a Claims, Own)>,
    /// Rows that are there stay as they are ([`super::gone::Gone::is_cut`]).
    pub is_cut: bool,
    pub prepare: &'a Prepare,
    pub options: &'a IngestOptions,
    pub control: &'a Control,
    pub journal: &'a Journal,
    /// How the processes that look at payloads are set up, if there are any.
    pub setup: Option<&'a Setup>,
    pub watchdog: Option<&'a Watchdog>,
    /// What is kept of what is refused.
    pub keeping: Keeping<'a>,
    /// Where the list of what was refused will be.
    pub report: &'a Path,
}

/// What a run has done.
pub(super) struct Done {
    pub skipped: u64,
    /// Of these, those whose files were not read.
    pub unread: u64,
    /// What was seen of the others and of what is new.
    pub sightings: Sightings,
    pub mended: Mended,
    pub refused: Report,
    pub sink: Sink,
}

/// A run over a frozen listing.
pub(super) struct Run<'a> {
    work: Work<'a>,
    sink: Sink,
    /// The stretch that is open: what came behind the last journal line.
    stretch: Stretch,
    /// The files of its entries.
    files: Files,
    /// The split of the entry that was written last.
    split: Option<String>,
    /// What was refused in the open stretch.
    open: Report,
    /// The recording whose parts are being refused for a fault of its own: the line of all of them is not written yet.
    damaged: Option<Damaged>,
    /// Entries of closed stretches and of the open one that share the line of another.
    sharing: u64,
    /// What was refused in closed stretches and by the listing.
    refused: Report,
    spill: Spill,
    skipped: u64,
    unread: u64,
    sightings: Sightings,
    mended: Mended,
    progress: Progress,
    /// Entries of each class, if there is a limit for each.
    by_class: BTreeMap<String, u64>,
}

impl<'a> Run<'a> {
    /// A run that goes on behind some journaled stretches, whose shards are in the sink and whose refusals, with those of
    /// the listing, are in the report.
    pub(super) fn new(work: Work<'a>, sink: Sink, refused: Report, done: &[Stretch], spill: &Spill) -> Result<Self> {
        let entries = &work.listing.entries;
        let mut run = Run {
            work,
            sink,
            stretch: open_at(done.last().map_or(0, |s| s.to)),
            files: Files::default(),
            split: None,
            open: Report::new(spill),
            damaged: None,
            sharing: done.iter().map(|s| s.sharing).sum(),
            refused,
            spill: spill.clone(),
            skipped: done.iter().map(|s| s.skipped).sum(),
            unread: done.iter().map(|s| s.unread).sum(),
            sightings: Sightings::new(spill),
            mended: Mended::default(),
            progress: Progress { total: entries.len() as u64, total_bytes: entries.bytes(), ..Progress::default() },
            by_class: BTreeMap::new(),
        };
        if work.options.max_errors_per_class.is_some() {
            for entry in entries.iter() {
                if let Some(class) = class(&entry?, work.schema) {
                    *run.by_class.entry(class).or_default() += 1;
                }
            }
        }
        done.iter().for_each(|stretch| run.mended.add(stretch.mended));
        for at in 0..run.first() {
            let entry = entries.get(at)?;
            run.progress.bytes += entry.bytes();
            // Its files are not looked at again in this run: what was known of them before stays known.
            run.sightings.again(work.seen, &entry.id)?;
        }
        Ok(run)
    }

    /// The first entry that is not in a journaled stretch.
    fn first(&self) -> usize {
        usize::try_from(self.stretch.from).unwrap_or(usize::MAX).min(self.work.listing.entries.len())
    }

    /// What it has done, whether it came to its end or not.
    pub(super) fn into_done(mut self) -> Result<Done> {
        self.tell_damaged()?;
        self.refused.absorb(self.open)?;
        let Run { skipped, unread, sightings, mended, refused, sink, .. } = self;
        Ok(Done { skipped, unread, sightings, mended, refused, sink })
    }

    /// Does all that is left. Ends early with [`Error::Interrupted`] or [`Error::QuarantineLimit`].
    pub(super) fn all(&mut self) -> Result<()> {
        let work = self.work;
        let scratches = Scratches::new(work.options.decode_memory);
        let isolation = Isolation::of(work.setup, work.control, work.watchdog)?;
        let tell = work.control.stuck.as_ref().filter(|_| isolation.is_none());
        let checker = Checker {
            tree: &work.listing.tree,
            schema: work.schema,
            base: work.base,
            seen: Some(work.seen),
            claims: work.claims,
            is_cut: work.is_cut,
            in_doubt: work.claims.is_some() && work.listing.refused.any_files()?,
            dry: false,
            prepare: work.prepare,
            check: work.options.check,
            invalid_utf8: work.options.invalid_utf8,
            limits: &work.options.limits,
            decodes: &work.control.decodes,
            scratches: &scratches,
            isolation: isolation.as_ref(),
            watch: work.watchdog.zip(tell),
        };
        let sound = || isolation.as_ref().map_or(Ok(()), Isolation::check);
        let entries = &work.listing.entries;
        let mut recordings = Recordings::default();
        let mut check = |chunk: &Chunk| recordings.check(&checker, &chunk.entries);
        // What is stored of a part of a recording is about what it is listed as.
        let grows = work.prepare.grows() && work.listing.excerpts.is_none();
        let most = if grows { GROWING_BYTES } else { CHUNK_BYTES };
        let mut now = chunk(entries, self.first(), most)?;
        self.tell(now.from)?;
        let mut outcomes = check(&now);
        sound()?;
        while !now.entries.is_empty() {
            work.control.check_cancel()?;
            let ahead = chunk(entries, now.to(), most)?;
            let (next, written) = rayon::join(|| check(&ahead), || self.write(&now, std::mem::take(&mut outcomes)));
            written?;
            sound()?;
            self.tell(now.to())?;
            (now, outcomes) = (ahead, next);
        }
        work.control.check_cancel()?;
        self.end_stretch(entries.len())
    }

    /// Says how far the run is, and ends it if too much was refused.
    fn tell(&mut self, done: usize) -> Result<()> {
        let Work { control, options, listing, report, .. } = self.work;
        self.progress.done = done as u64;
        self.progress.refused = self.refused.count() + self.open.count() + u64::from(self.damaged.is_some());
        if let Some(progress) = &control.progress {
            progress(self.progress);
        }
        let before = listing.refused.len() as u64;
        let rows = self.progress.refused + self.sharing;
        if options.max_errors.is_exceeded(self.progress.refused, rows, self.progress.total + before) {
            return Err(Error::QuarantineLimit {
                refused: self.progress.refused,
                seen: self.progress.done + before,
                limit: options.max_errors.to_string(),
                class: None,
                report: report.to_owned(),
            });
        }
        self.check_classes()
    }

    /// Ends the run if too much of one class was refused.
    fn check_classes(&self) -> Result<()> {
        let Some(limit) = self.work.options.max_errors_per_class else { return Ok(()) };
        let pending = self.damaged.as_ref().and_then(|d| Some((d.refused.class.as_ref()?, [1, d.rows])));
        for (class, total) in &self.by_class {
            let parts = [self.refused.classes().get(class), self.open.classes().get(class)].into_iter().flatten();
            let pending = pending.iter().filter(|(pending, _)| *pending == class).map(|(_, counts)| counts);
            let [refused, rows] = parts.chain(pending).fold([0, 0], |sum, more| [sum[0] + more[0], sum[1] + more[1]]);
            if limit.is_exceeded(refused, rows, *total) {
                return Err(Error::QuarantineLimit {
                    refused,
                    seen: *total,
                    limit: limit.to_string(),
                    class: Some(class.clone()),
                    report: self.work.report.to_owned(),
                });
            }
        }
        Ok(())
    }

    /// Writes a chunk's outcomes in the order of the listing.
    fn write(&mut self, chunk: &Chunk, outcomes: Vec<Result<Outcome>>) -> Result<()> {
        for ((i, (entry, print)), outcome) in (chunk.from..).zip(&chunk.entries).zip(outcomes) {
            if self.split.as_ref() != Some(&entry.split) {
                if self.split.is_some() {
                    self.end_stretch(i)?;
                }
                self.split = Some(entry.split.clone());
            }
            self.progress.bytes += entry.bytes();
            self.files.add(&entry.id, *print);
            if self.damaged.as_ref().is_some_and(|damaged| recording(entry) != Some(&damaged.path)) {
                self.tell_damaged()?;
            }
            let outcome = outcome?;
            let mut made_of = match &outcome {
                Outcome::Row(row, _) => Some(MadeOf::row(row)),
                Outcome::Skipped { .. } => self.work.base.made_of(&entry.id),
                Outcome::Refused(..) | Outcome::RecordingRefused(..) | Outcome::Other => None,
            };
            match outcome {
                Outcome::RecordingRefused(fault, column) => self.refuse_recording(entry, &fault, column)?,
                Outcome::Other => {}
                Outcome::Skipped { unread } => {
                    self.stretch.skipped += 1;
                    self.stretch.unread += u64::from(unread);
                }
                Outcome::Refused(fault, column) => {
                    let refused = self.refused(entry, &fault, column);
                    self.open.push(&refused)?;
                }
                Outcome::Row(row, replaced) => match self.sink.push(self.work.schema, &entry.split, row) {
                    Ok(None) => self.stretch.mend(replaced),
                    Ok(Some(shard)) => {
                        self.stretch.mend(replaced);
                        self.stretch.shard = Some(shard);
                        self.end_stretch(i + 1)?;
                    }
                    // The shard format has limits of its own.
                    Err(Error::Sample { origin, fault }) => {
                        let column = origin.column.and_then(|name| self.work.schema.position(&name));
                        let refused = self.refused(entry, &fault, column);
                        self.open.push(&refused)?;
                        made_of = None;
                    }
                    Err(e) => return Err(e),
                },
            }
            self.sightings.add(self.work.seen, entry, *print, made_of)?;
        }
        Ok(())
    }

    /// All that is known of a refused entry, with what is kept of it.
    fn refused(&self, entry: &Entry, fault: &Fault, column: Option<usize>) -> Refused {
        let Work { schema, keeping, .. } = self.work;
        let name = column.map(|c| schema.columns[c].name.clone());
        let mut refused = Refused::entry(entry, fault, name);
        refused.class = class(entry, schema);
        keeping.entry(&mut refused, entry, column, self.refused.kept() + self.open.kept());
        refused
    }

    /// Refuses a part for its recording's fault. One line says it of all parts that follow one another, and none of them is in
    /// a shard, so that they are in one stretch: what a later run goes on with has all of the line or nothing.
    fn refuse_recording(&mut self, entry: &Entry, fault: &Fault, column: Option<usize>) -> Result<()> {
        if let Some(damaged) = &mut self.damaged {
            damaged.rows += 1;
            self.sharing += 1;
            self.stretch.sharing += 1;
            return Ok(());
        }
        let refused = self.refused(entry, fault, column);
        match recording(entry) {
            Some(path) => self.damaged = Some(Damaged { path: Arc::clone(path), refused, rows: 1 }),
            None => self.open.push(&refused)?,
        }
        Ok(())
    }

    /// Writes the line of a recording that was refused.
    fn tell_damaged(&mut self) -> Result<()> {
        let Some(Damaged { mut refused, rows, .. }) = self.damaged.take() else { return Ok(()) };
        if rows > 1 {
            refused.message = format!("{} ({rows} {OF_ALL_PARTS}", refused.message);
            refused.rows = Some(rows);
        }
        self.open.push(&refused)
    }

    /// Closes the open shard and writes the stretch before `to` into the journal, if there is anything in it.
    fn end_stretch(&mut self, to: usize) -> Result<()> {
        if self.stretch.shard.is_none() {
            for split in self.sink.open_splits() {
                self.stretch.shard = self.sink.finish(self.work.schema, &split)?;
            }
        }
        self.tell_damaged()?;
        self.stretch.to = to as u64;
        if self.stretch.to > self.stretch.from {
            let mut stretch = std::mem::replace(&mut self.stretch, open_at(to as u64));
            stretch.files = std::mem::take(&mut self.files).digest();
            let open = std::mem::replace(&mut self.open, Report::new(&self.spill));
            stretch.refused = open.count();
            let lines = self.refused.absorb(open)?;
            self.work.journal.add(&stretch, &lines)?;
            self.skipped += stretch.skipped;
            self.unread += stretch.unread;
            self.mended.add(stretch.mended);
        }
        Ok(())
    }
}

fn open_at(from: u64) -> Stretch {
    let mended = Mended::default();
    Stretch { from, to: from, files: String::new(), shard: None, skipped: 0, unread: 0, refused: 0, sharing: 0, mended }
}

/// A recording whose parts are being refused.
struct Damaged {
    path: Arc<Path>,
    /// The refusal of its first part.
    refused: Refused,
    /// How many parts were refused with it.
    rows: u64,
}

/// The class of an entry in the first class column.
fn class(entry: &Entry, schema: &Schema) -> Option<String> {
    let mut columns = entry.cells.iter().zip(&schema.columns);
    columns.find_map(|(cell, column)| match (&column.feature, cell) {
        (Feature::ClassLabel { .. }, EntryCell::Class(name)) => Some(Some(name.clone())),
        (Feature::ClassLabel { names }, EntryCell::Value(Value::Int(at))) => {
            Some(usize::try_from(*at).ok().and_then(|at| names.get(at).cloned()))
        }
        (Feature::ClassLabel { .. }, _) => Some(None),
        _ => None,
    })?
}

/// The recording that an entry is a part of.
pub(super) fn recording(entry: &Entry) -> Option<&Arc<Path>> {
    entry.cells.iter().find_map(|cell| match cell {
        EntryCell::Excerpt { path, .. } => Some(path),
        _ => None,
    })
}

/// Entries that follow one another, each with its print.
pub(super) struct Chunk {
    from: usize,
    pub entries: Vec<(Entry, Print)>,
}

impl Chunk {
    /// The place behind the last.
    pub(super) fn to(&self) -> usize {
        self.from + self.entries.len()
    }
}

/// The chunk that begins at an entry, of so many bytes unless one entry has more; empty at the end.
pub(super) fn chunk(all: &Entries, from: usize, most: u64) -> Result<Chunk> {
    let mut chunk = Chunk { from, entries: Vec::new() };
    let mut bytes = 0u64;
    while chunk.to() < all.len() && chunk.entries.len() < CHUNK_ENTRIES {
        let listed = all.listed(chunk.to())?;
        bytes = bytes.saturating_add(listed.0.bytes());
        if !chunk.entries.is_empty() && bytes > most {
            break;
        }
        chunk.entries.push(listed);
    }
    Ok(chunk)
}
