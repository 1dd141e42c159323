//! Rows that are parts of recordings: times become samples, and recordings are cut into chunks.
//!
//! A source names times and reads no payload. Here each recording is read once, all of its bytes, as the facts of some codecs
//! lie anywhere in them: what rate its times are counted in, where it ends, and how many chunks it has. Nothing is decoded but
//! what tells its length in no other way (Matroska). So the listing that an ingest freezes has every row, and each row its
//! samples.

use std::collections::HashMap;
use std::ops::Range;
use std::path::Path;

use rayon::prelude::*;

use super::listing::{Lister, Watch};
use super::{Entry, EntryCell, Listing, Part, Refusal, Tree};
use crate::codec::{self, Limits};
use crate::data::excerpt::{AudioChunks, Excerpts, between};
use crate::data::feature::{Feature, Schema};
use crate::data::info::{Info, Kind};
use crate::error::{Error, Fault, Reason, Result};
use crate::parallel;
use crate::spool::Spill;

/// Entries whose recordings are looked at between two looks at whether to go on.
const AT_ONCE: usize = 64;

/// Bytes of recordings that are in memory at once; a larger one is alone.
const BYTES_AT_ONCE: u64 = 64 << 20;

/// What is known of recordings by their paths.
type Facts = HashMap<Box<Path>, Result<Info, Fault>>;

impl Listing {
    /// Makes samples of the times of parts of recordings, and with `chunks` rows of one length of every recording or part.
    /// A listing without parts is as it was.
    ///
    /// A row that is no part of its recording, and every row of a recording whose header cannot be read, is refused. Chunk `k`
    /// of the entry `id` is `id#k`; its labels, split and values are the entry's.
    ///
    /// # Errors
    ///
    /// [`Error::Config`] if there are chunks to be made and no column of recordings, or several; what `watch` returns;
    /// [`Error::Io`] of a temporary file.
    pub fn cut(
        self,
        chunks: Option<&AudioChunks>,
        limits: &Limits,
        threads: usize,
        spill: &Spill,
        watch: Watch<'_>,
    ) -> Result<Listing> {
        self.cut_by(chunks, limits, threads, spill, watch, &|_, bytes| facts(bytes, limits))
    }

    /// As [`Listing::cut`], with somebody who says what [`facts`] does of the bytes of a recording (at a path).
    pub(crate) fn cut_by(
        self,
        chunks: Option<&AudioChunks>,
        limits: &Limits,
        threads: usize,
        spill: &Spill,
        watch: Watch<'_>,
        facts_of: FactsOf<'_>,
    ) -> Result<Listing> {
        if chunks.is_none() && self.excerpts.is_none() {
            return Ok(self);
        }
        let chunked = chunks.map(|chunks| Ok((recordings(&self.schema)?, chunks))).transpose()?;
        let pool = parallel::pool(threads)?;
        let tree = self.tree.clone();
        let mut lister = Lister::new(spill, watch).within(&tree);
        self.notes.iter().for_each(|note| lister.note(note));
        for refusal in self.refused.iter() {
            lister.refuse(refusal?)?;
        }
        let (mut facts, mut rowless) = (Facts::new(), 0u64);
        for from in (0..self.entries.len()).step_by(AT_ONCE) {
            watch(from as u64)?;
            let to = self.entries.len().min(from + AT_ONCE);
            let entries: Vec<Entry> = (from..to).map(|at| self.entries.get(at)).collect::<Result<_>>()?;
            facts = pool.install(|| look(&tree, &entries, chunked.map(|(column, _)| column), facts, limits, facts_of));
            for entry in entries {
                let Entry { id, origin, line, .. } = &entry;
                let refusal = |fault| Refusal { id: id.clone(), origin: origin.clone(), line: *line, fault };
                match resolved(&entry, chunked.map(|(column, _)| column), &facts) {
                    Err(fault) => lister.refuse(refusal(fault))?,
                    Ok((cells, None)) => lister.entry(Entry { cells, ..entry })?,
                    Ok((cells, Some((rate, range)))) => {
                        let Some((column, chunks)) = chunked else { continue };
                        let mut any = false;
                        for (k, part) in chunks.ranges(rate, range.end - range.start).enumerate() {
                            let mut cells = cells.clone();
                            if let EntryCell::Excerpt { part: Part::Samples { range: cut, .. }, .. } =
                                &mut cells[column]
                            {
                                *cut = range.start + part.start..range.start + part.end;
                            }
                            any = true;
                            lister.entry(Entry { id: format!("{id}#{k}"), cells, ..entry.clone() })?;
                        }
                        rowless += u64::from(!any);
                    }
                }
            }
        }
        if rowless > 0 {
            lister.note(format!("{rowless} recordings are shorter than a chunk and were dropped with their tails"));
        }
        let listing = lister.finish(self.schema)?;
        Ok(Listing { excerpts: chunks.map(|c| Excerpts::Chunks(c.settled())).or(self.excerpts), ..listing })
    }
}

/// The column of recordings.
fn recordings(schema: &Schema) -> Result<usize> {
    let mut columns = schema.columns.iter().enumerate().filter(|(_, c)| c.feature == Feature::Audio);
    let has = || {
        let payloads: Vec<String> =
            schema.payloads().map(|(_, c)| format!("{} ({})", c.name, c.feature.name())).collect();
        payloads.join(", ")
    };
    match (columns.next(), columns.next()) {
        (Some((column, _)), None) => Ok(column),
        (None, _) => Err(Error::config(
            format!("--chunk-seconds cuts recordings, and the source has none: its rows are {}", has()),
            "leave it away (source.audio_chunks), or say --kind audio if they are recordings",
        )),
        (Some(_), Some(_)) => Err(Error::config(
            format!("--chunk-seconds cuts one column of recordings, and the source has several: {}", has()),
            "leave it away (source.audio_chunks)",
        )),
    }
}

/// The recording of a cell that is to be looked at: one whose times are to become samples, or that is to be cut.
fn recording(cell: &EntryCell, is_cut: bool) -> Option<(&Path, u64)> {
    match cell {
        EntryCell::Excerpt { path, file_bytes, part: Part::Seconds { .. } } => Some((path, *file_bytes)),
        EntryCell::File { path, bytes } if is_cut => Some((path, *bytes)),
        _ => None,
    }
}

/// Looks at the recordings of some entries, but for those known from the entries before.
fn look(
    tree: &Tree,
    entries: &[Entry],
    cut: Option<usize>,
    mut known: Facts,
    limits: &Limits,
    facts_of: FactsOf<'_>,
) -> Facts {
    let cells = entries.iter().flat_map(|entry| entry.cells.iter().enumerate());
    let mut wanted: Vec<(&Path, u64)> = cells.filter_map(|(i, cell)| recording(cell, Some(i) == cut)).collect();
    wanted.sort();
    wanted.dedup();
    known.retain(|path, _| wanted.iter().any(|(wanted, _)| **wanted == **path));
    wanted.retain(|(path, _)| !known.contains_key(*path));
    let mut rest = wanted.as_slice();
    while !rest.is_empty() {
        let (now, later) = rest.split_at(together(rest.iter().map(|(_, bytes)| *bytes), BYTES_AT_ONCE));
        known.par_extend(
            now.par_iter().map(|(path, bytes)| ((*path).into(), probe(tree, path, *bytes, limits, facts_of))),
        );
        rest = later;
    }
    known
}

/// How many of these sizes, from the first on, are no more than `most` together; one at the least.
fn together(sizes: impl Iterator<Item = u64>, most: u64) -> usize {
    let mut sum = 0u64;
    let fits = sizes.take_while(|bytes| {
        sum = sum.saturating_add(*bytes);
        sum <= most
    });
    fits.count().max(1)
}

fn probe(tree: &Tree, path: &Path, bytes: u64, limits: &Limits, facts_of: FactsOf<'_>) -> Result<Info, Fault> {
    Limits::check("payload bytes", bytes, limits.payload_bytes)?;
    facts_of(path, &tree.read_range(path, 0, bytes, bytes)?)
}

/// Says what the header of a recording does.
pub(crate) type FactsOf<'a> = &'a (dyn Fn(&Path, &[u8]) -> Result<Info, Fault> + Sync);

/// What the header of a recording says that parts are to be cut from.
pub(crate) fn facts(bytes: &[u8], limits: &Limits) -> Result<Info, Fault> {
    let codec = codec::sniff(bytes, Kind::Audio)?;
    codec::guarded(codec.name(), || codec.probe(bytes, &limits.cut()))
}

/// The cells with samples in place of times; with the rate and the samples of the recording or part that is to be cut.
type Resolved = (Vec<EntryCell>, Option<(u32, Range<u64>)>);

fn resolved(entry: &Entry, cut: Option<usize>, facts: &Facts) -> Result<Resolved, Fault> {
    let (mut cells, mut whole) = (Vec::with_capacity(entry.cells.len()), None);
    for (i, cell) in entry.cells.iter().enumerate() {
        let is_cut = Some(i) == cut;
        let Some((path, file_bytes)) = recording(cell, is_cut) else {
            if is_cut && *cell != EntryCell::NULL {
                return Err(Fault::new(
                    Reason::Unsupported,
                    "only recordings in files of their own are cut into chunks",
                ));
            }
            cells.push(cell.clone());
            continue;
        };
        let unknown = || Err(Fault::new(Reason::Unreadable, "nothing is known of the recording"));
        let info = facts.get(path).cloned().unwrap_or_else(unknown)?;
        let range = match cell {
            EntryCell::Excerpt { part: Part::Seconds { start, end }, .. } => {
                between(*start, *end, info.rate, info.count)?
            }
            _ if info.count == 0 => return Err(Fault::new(Reason::Empty, "the recording has no samples")),
            _ => 0..info.count,
        };
        if is_cut {
            whole = Some((info.rate, range.clone()));
        }
        let part = Part::Samples { range, of: info.count, channels: info.channels };
        cells.push(EntryCell::Excerpt { path: path.into(), file_bytes, part });
    }
    Ok((cells, whole))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn recordings_are_read_together_while_they_are_small() {
        let fits = |sizes: &[u64]| together(sizes.iter().copied(), 100);
        assert_eq!(
            [fits(&[60, 40, 0, 1]), fits(&[60, 41]), fits(&[101, 1]), fits(&[u64::MAX, 1]), fits(&[7])],
            [3, 1, 1, 1, 1]
        );
    }
}
