//! The work itself: chunks of entries are read and checked on all cores while the chunk before them is written.

use std::collections::BTreeMap;
use std::ops::Range;

use rayon::prelude::*;

use super::base::Base;
use super::check::{Checker, Outcome};
use super::journal::{Journal, Refused, Stretch};
use super::options::{Control, IngestOptions, Progress};
use super::sink::Sink;
use crate::data::feature::Schema;
use crate::error::{Error, Result};
use crate::shard::read_finished;
use crate::source::{Entry, Listing};
use crate::store::Store;

/// Entries of a chunk at the most.
const CHUNK_ENTRIES: usize = 256;
/// Payload bytes of a chunk, as listed; a larger entry is a chunk of its own. Two chunks are in memory at a time.
const CHUNK_BYTES: u64 = 32 << 20;

/// A run over a frozen listing.
pub(super) struct Run<'a> {
    pub listing: &'a Listing,
    pub schema: &'a Schema,
    pub base: &'a Base,
    pub options: &'a IngestOptions,
    pub control: &'a Control,
    pub journal: &'a Journal,
    pub sink: Sink,
    /// The stretch that is open: what came behind the last journal line.
    stretch: Stretch,
    /// All refusals of closed stretches, and those of the listing.
    refused: Vec<Refused>,
    skipped: u64,
    progress: Progress,
}

impl<'a> Run<'a> {
    /// A run that goes on behind some journaled stretches.
    pub(super) fn new(
        store: &Store,
        listing: &'a Listing,
        schema: &'a Schema,
        base: &'a Base,
        options: &'a IngestOptions,
        control: &'a Control,
        journal: &'a Journal,
        done: Vec<Stretch>,
    ) -> Result<Self> {
        let mut run = Run {
            listing,
            schema,
            base,
            options,
            control,
            journal,
            sink: Sink::new(store, schema, options.shards()),
            stretch: open_at(0),
            refused: listing.refused.iter().map(Refused::from).collect(),
            skipped: 0,
            progress: Progress {
                total: listing.entries.len() as u64,
                total_bytes: listing.entries.iter().map(Entry::bytes).sum(),
                ..Progress::default()
            },
        };
        for stretch in done {
            if let Some(shard) = &stretch.shard {
                run.sink.adopt(schema, read_finished(&store.path(&shard.path)?, schema)?)?;
            }
            run.close(stretch);
        }
        Ok(run)
    }

    /// Everything refused so far.
    pub(super) fn refused(&self) -> impl Iterator<Item = &Refused> {
        self.refused.iter().chain(&self.stretch.refused)
    }

    /// Entries skipped and the sink, when all is done.
    pub(super) fn into_parts(self) -> (u64, Sink) {
        (self.skipped, self.sink)
    }

    /// Does all that is left. `over` is asked after each chunk with the refused and the seen; its error ends the run.
    pub(super) fn all(&mut self, over: impl Fn(&Self, u64, u64) -> Result<()> + Sync) -> Result<()> {
        let decodes = &self.control.decodes;
        let checker = Checker::new(self.schema, self.base, self.options.check, &self.options.limits, decodes);
        let entries = &self.listing.entries;
        let first = usize::try_from(self.stretch.from).unwrap_or(usize::MAX).min(entries.len());
        let check = |range: Range<usize>| -> (Range<usize>, Vec<Result<Outcome>>) {
            (range.clone(), entries[range].par_iter().map(|entry| checker.entry(entry)).collect())
        };
        self.tell(first, &over)?;
        let mut ready = check(chunk(entries, first));
        while !ready.0.is_empty() {
            self.control.check_cancel()?;
            let ahead = chunk(entries, ready.0.end);
            let end = ready.0.end;
            let (next, written) = rayon::join(|| check(ahead), || self.write(ready.0, ready.1));
            written?;
            self.tell(end, &over)?;
            ready = next;
        }
        self.control.check_cancel()?;
        self.end_stretch(entries.len())
    }

    fn tell(&mut self, done: usize, over: impl Fn(&Self, u64, u64) -> Result<()>) -> Result<()> {
        self.progress.done = done as u64;
        self.progress.refused = (self.refused.len() + self.stretch.refused.len()) as u64;
        if let Some(progress) = &self.control.progress {
            progress(self.progress);
        }
        over(self, self.progress.refused, self.progress.done + self.listing.refused.len() as u64)
    }

    /// Writes a chunk's outcomes in the order of the listing.
    fn write(&mut self, range: Range<usize>, outcomes: Vec<Result<Outcome>>) -> Result<()> {
        for (i, outcome) in range.zip(outcomes) {
            let entry = &self.listing.entries[i];
            if i > 0 && self.listing.entries[i - 1].split != entry.split {
                self.end_stretch(i)?;
            }
            self.progress.bytes += entry.bytes();
            match outcome? {
                Outcome::Skipped => self.stretch.skipped += 1,
                Outcome::Refused(fault, column) => {
                    let column = column.map(|c| self.schema.columns[c].name.clone());
                    self.stretch.refused.push(Refused::entry(entry, &fault, column));
                }
                Outcome::Row(row) => match self.sink.push(self.schema, &entry.split, row) {
                    Ok(None) => {}
                    Ok(Some(shard)) => {
                        self.stretch.shard = Some(shard);
                        self.end_stretch(i + 1)?;
                    }
                    // The shard format has limits of its own.
                    Err(Error::Sample { origin, fault }) => {
                        self.stretch.refused.push(Refused::entry(entry, &fault, origin.column));
                    }
                    Err(e) => return Err(e),
                },
            }
        }
        Ok(())
    }

    /// Closes the open shard and writes the stretch before `to` into the journal, if there is anything in it.
    fn end_stretch(&mut self, to: usize) -> Result<()> {
        if self.stretch.shard.is_none() {
            for split in self.sink.open_splits() {
                self.stretch.shard = self.sink.finish(self.schema, &split)?;
            }
        }
        self.stretch.to = to as u64;
        if self.stretch.to > self.stretch.from {
            let stretch = std::mem::replace(&mut self.stretch, open_at(to as u64));
            self.journal.add(&stretch)?;
            self.close(stretch);
        }
        Ok(())
    }

    fn close(&mut self, stretch: Stretch) {
        self.skipped += stretch.skipped;
        self.refused.extend(stretch.refused);
        self.stretch = open_at(stretch.to);
        let entries = &self.listing.entries;
        let range = stretch.from as usize..(stretch.to as usize).min(entries.len());
        // Bytes of stretches that this run wrote itself were counted as they went by.
        if self.progress.done <= stretch.from && stretch.to > self.progress.done {
            let listed: u64 = entries.get(range).unwrap_or_default().iter().map(Entry::bytes).sum();
            self.progress.bytes = self.progress.bytes.max(listed);
        }
    }
}

fn open_at(from: u64) -> Stretch {
    Stretch { from, to: from, shard: None, skipped: 0, refused: Vec::new() }
}

/// The chunk that begins at an entry; empty at the end.
fn chunk(entries: &[Entry], from: usize) -> Range<usize> {
    let mut bytes = 0u64;
    let mut to = from;
    while to < entries.len() && to - from < CHUNK_ENTRIES {
        bytes = bytes.saturating_add(entries[to].bytes());
        if to > from && bytes > CHUNK_BYTES {
            break;
        }
        to += 1;
    }
    from..to
}

/// Refuses a listing in which two ids have one key.
pub(super) fn check_keys(entries: &[Entry]) -> Result<BTreeMap<u64, usize>> {
    let mut keys = BTreeMap::new();
    for (i, entry) in entries.iter().enumerate() {
        if let Some(other) = keys.insert(crate::data::record::row_key(&entry.id), i) {
            let other = &entries[other].id;
            if *other == entry.id {
                return Err(Error::library("listing a source", format!("the id {other:?} was listed twice")));
            }
            return Err(super::base::collision(other, &entry.id));
        }
    }
    Ok(keys)
}
