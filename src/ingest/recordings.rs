//! Recordings that rows are parts of: each is read and decoded once for all its rows that follow one another.
//!
//! A recording is decoded whole, so that what becomes of a part hangs on nothing but the recording: not on the parts beside
//! it, on threads, or on where a run goes on. Damage anywhere refuses all of its parts.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use rayon::prelude::*;

use super::check::{Checker, Outcome};
use super::look::Sound;
use crate::codec::{self, Limits, Scratch};
use crate::data::info::Kind;
use crate::data::record::payload_hash;
use crate::data::storage::Original;
use crate::error::{Fault, Origin, Reason, Result};
use crate::prepare;
use crate::source::{Entry, EntryCell, Part, Print};

/// The recordings that the entries under way are parts of.
#[derive(Debug, Default)]
pub(super) struct Recordings {
    held: HashMap<Arc<Path>, Result<Recording, Fault>>,
}

/// A recording that was read.
#[derive(Debug)]
struct Recording {
    /// Of the file's bytes.
    hash: u64,
    /// None if every part of it was in the dataset already.
    sound: Option<Result<Sound, Fault>>,
}

/// A recording that parts are wanted of.
struct Wanted<'e> {
    path: &'e Arc<Path>,
    file_bytes: u64,
    /// Bytes that it decodes to.
    decoded: u64,
    /// Whether a part of it is new.
    is_new: bool,
    /// Parts that are there, and are cut anew if they are others now.
    follow: Vec<&'e Entry>,
}

impl Wanted<'_> {
    /// Whether samples of it are wanted, now that its hash is known.
    fn is_decoded(&self, checker: &Checker<'_>, hash: u64) -> bool {
        let is_other = |entry: &&Entry| {
            entry.cells.iter().enumerate().any(|(column, cell)| match cell {
                EntryCell::Excerpt { file_bytes, part, path } if **path == **self.path => {
                    part_of(hash, *file_bytes, part).ok() != checker.base.original(&entry.id, column)
                }
                _ => false,
            })
        };
        !checker.dry && (self.is_new || self.follow.iter().any(is_other))
    }
}

/// By what a part is known again: the length of its file, and a hash of the file's hash and the part's samples.
fn part_of(hash: u64, file_bytes: u64, part: &Part) -> Result<Original, Fault> {
    let Part::Samples { range, .. } = part else { return Err(no_samples()) };
    let hash = payload_hash([hash, range.start, range.end].map(u64::to_le_bytes).as_flattened());
    Ok(Original { bytes: file_bytes, hash })
}

/// The parts of recordings among an entry's cells, each with what its recording decodes to.
fn parts(entry: &Entry) -> impl Iterator<Item = (&Arc<Path>, u64, u64)> {
    entry.cells.iter().filter_map(|cell| match cell {
        EntryCell::Excerpt { path, file_bytes, part: Part::Samples { of, channels, .. } } => {
            Some((path, *file_bytes, of.saturating_mul(4 * u64::from(*channels))))
        }
        _ => None,
    })
}

impl Recordings {
    /// What becomes of entries that follow one another; as [`Checker::entry`] says, with the recordings that they are parts of.
    ///
    /// As many recordings are decoded at once as half the budget of the decoders holds; one that is larger is held alone. The
    /// last one stays for the entries that come next.
    pub(super) fn check(&mut self, checker: &Checker<'_>, entries: &[(Entry, Print)]) -> Vec<Result<Outcome>> {
        let mut outcomes = Vec::with_capacity(entries.len());
        let mut rest = entries;
        while !rest.is_empty() {
            let (now, later) = rest.split_at(fitting(rest, checker.scratches.budget() / 2));
            self.hold(checker, now);
            let held = &*self;
            outcomes.par_extend(now.par_iter().map(|(entry, print)| checker.entry(entry, *print, held)));
            rest = later;
        }
        outcomes
    }

    /// Reads, and decodes where needed, what these entries are parts of; what no entry is a part of is let go.
    fn hold(&mut self, checker: &Checker<'_>, entries: &[(Entry, Print)]) {
        let mut wanted: Vec<Wanted<'_>> = Vec::new();
        for (entry, _) in entries {
            for (path, file_bytes, decoded) in parts(entry) {
                let is_new = !checker.base.has(&entry.id);
                // Whether a row that follows its source is another one now is known when its recording is read.
                let follows = (!is_new && checker.replaces(&entry.id)).then_some(entry);
                match wanted.iter_mut().rev().find(|w| *w.path == *path) {
                    Some(known) => {
                        known.is_new |= is_new;
                        known.follow.extend(follows);
                    }
                    None => {
                        wanted.push(Wanted {
                            path,
                            file_bytes,
                            decoded,
                            is_new,
                            follow: follows.into_iter().collect(),
                        });
                    }
                }
            }
        }
        self.held.retain(|path, recording| {
            let wanted = wanted.iter().find(|w| **w.path == **path);
            wanted.is_some_and(|w| match recording {
                Ok(Recording { sound: None, hash }) => !w.is_decoded(checker, *hash),
                _ => true,
            })
        });
        checker.scratches.hold(self.decoded(&wanted));
        wanted.retain(|w| !self.held.contains_key(w.path));
        self.held.par_extend(wanted.into_par_iter().map(|w| (Arc::clone(w.path), read(checker, &w))));
    }

    /// Bytes of samples that are held while these are: of those that are to be decoded, and of those that were decoded for
    /// rows before, though the rows now may be known.
    fn decoded(&self, wanted: &[Wanted<'_>]) -> u64 {
        let is_held = |w: &Wanted<'_>| matches!(self.held.get(&**w.path), Some(Ok(Recording { sound: Some(_), .. })));
        wanted
            .iter()
            .filter(|w| w.is_new || !w.follow.is_empty() || is_held(w))
            .map(|w| w.decoded)
            .fold(0, u64::saturating_add)
    }

    fn get(&self, path: &Path) -> Result<&Recording, Fault> {
        let unread = || Err(Fault::new(Reason::Unreadable, "the recording was not read"));
        self.held.get(path).map_or_else(unread, |held| held.as_ref().map_err(Clone::clone))
    }

    /// By what a part is known again.
    pub(super) fn original(&self, path: &Path, file_bytes: u64, part: &Part) -> Result<Original, Fault> {
        part_of(self.get(path)?.hash, file_bytes, part)
    }

    /// What the recording of a part was decoded to. A fault is the recording's own, and so every part's.
    fn sound(&self, path: &Path, part: &Part) -> Result<&Sound, Fault> {
        let Part::Samples { of, channels, .. } = part else { return Err(no_samples()) };
        let Some(sound) = &self.get(path)?.sound else {
            return Err(Fault::new(Reason::Unreadable, "the recording was not decoded"));
        };
        let sound = sound.as_ref().map_err(Clone::clone)?;
        let Sound { samples, channels: found, .. } = sound;
        let has = samples.len() as u64 / u64::from(*found).max(1);
        if (has, *found) != (*of, *channels) {
            let what = format!("{found} x {has} samples, and {channels} x {of} when it was listed");
            return Err(Fault::new(Reason::Changed, format!("the recording has {what}")));
        }
        Ok(sound)
    }

    /// Whether a part was refused for a fault of its recording, not one of its own.
    pub(super) fn is_at_fault(&self, path: &Path, part: &Part) -> bool {
        self.sound(path, part).is_err()
    }

    /// A part as a recording of its own.
    pub(super) fn cut(&self, path: &Path, part: &Part, limits: &Limits) -> Result<Vec<u8>, Fault> {
        let Part::Samples { range, .. } = part else { return Err(no_samples()) };
        let Sound { samples, channels: found, rate } = self.sound(path, part)?;
        let places = [range.start, range.end].map(|at| usize::try_from(at.saturating_mul(u64::from(*found))));
        let [Ok(start), Ok(end)] = places else { return Err(no_samples()) };
        let part = samples.get(start..end).ok_or_else(no_samples)?;
        prepare::excerpt(part, *found, *rate, limits)
    }
}

fn no_samples() -> Fault {
    Fault::new(Reason::BadRange, "the part is none of its recording's samples")
}

/// How many entries from the first on are parts of recordings that decode to so many bytes together: those of one recording
/// at least.
fn fitting(entries: &[(Entry, Print)], budget: u64) -> usize {
    let (mut sum, mut seen): (u64, Vec<&Arc<Path>>) = (0, Vec::new());
    for (at, (entry, _)) in entries.iter().enumerate() {
        let before = seen.len();
        for (path, _, decoded) in parts(entry) {
            if !seen.iter().rev().any(|known| *known == path) {
                sum = sum.saturating_add(decoded);
                seen.push(path);
            }
        }
        // A further row of a recording that is larger than all of it goes with the rows before.
        if sum > budget && before > 0 && seen.len() > before {
            return at;
        }
    }
    entries.len()
}

fn read(checker: &Checker<'_>, wanted: &Wanted<'_>) -> Result<Recording, Fault> {
    let Wanted { path, file_bytes, .. } = *wanted;
    Limits::check("payload bytes", file_bytes, checker.limits.payload_bytes)?;
    // The file, and what a reader keeps of it; the samples are held, and counted, by who holds the recording.
    let reader = if wanted.is_new || !wanted.follow.is_empty() {
        file_bytes.saturating_mul(2).saturating_add(1 << 20)
    } else {
        0
    };
    let mut loan = checker.scratches.lend(file_bytes.saturating_add(reader));
    let bytes = checker.tree.read_range(path, 0, file_bytes, file_bytes)?;
    let hash = payload_hash(&bytes);
    let sound = wanted.is_decoded(checker, hash).then(|| decode(checker, path, &bytes, &mut loan.scratch));
    Ok(Recording { hash, sound })
}

fn decode(checker: &Checker<'_>, path: &Path, bytes: &[u8], scratch: &mut Scratch) -> Result<Sound, Fault> {
    let codec = codec::sniff(bytes, Kind::Audio)?;
    checker.decodes.fetch_add(1, Ordering::Relaxed);
    let origin = Origin { file: Some(path.to_owned()), ..Origin::default() };
    match checker.isolation {
        Some(isolation) => isolation.recording(&origin, bytes),
        None => checker.here(&origin, |_| checker.looker().recording(codec, bytes, scratch)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A row of a recording that decodes to so many bytes.
    fn row(path: &str, decoded: u64) -> (Entry, Print) {
        let part = Part::Samples { range: 0..1, of: decoded / 4, channels: 1 };
        let cell = EntryCell::Excerpt { path: Path::new(path).into(), file_bytes: 1, part };
        let (id, split) = (path.to_owned(), "train".to_owned());
        (Entry { origin: id.clone(), id, split, cells: vec![cell, EntryCell::NULL], line: None }, Print::default())
    }

    #[test]
    fn rows_go_together_as_long_as_their_recordings_fit() {
        let whole = (Entry { cells: vec![EntryCell::NULL], ..row("x", 0).0 }, Print::default());
        let rows = [row("a", 40), row("a", 40), row("b", 40), whole.clone(), row("c", 40), row("a", 40), row("d", 400)];
        let fits = |from: usize, budget| fitting(&rows[from..], budget);
        assert_eq!([80, 119, 120, 520, 519].map(|budget| fits(0, budget)), [4, 4, 6, 7, 6]);
        assert_eq!([fits(0, 0), fits(2, 0), fits(6, 0)], [2, 2, 1], "one recording at the least");
        assert_eq!(fitting(&[whole.clone(), whole], 0), 2);
    }

    /// A recording that was decoded for rows before stays, and stays counted, where the rows now are known.
    #[test]
    fn samples_that_are_held_are_counted() {
        let paths: Vec<Arc<Path>> = ["held", "known", "new", "gone"].iter().map(|p| Path::new(p).into()).collect();
        let sound = || Some(Ok(Sound { samples: vec![0.0; 10], channels: 1, rate: 8000 }));
        let mut recordings = Recordings::default();
        for (path, sound) in [(&paths[0], sound()), (&paths[1], None), (&paths[3], sound())] {
            recordings.held.insert(Arc::clone(path), Ok(Recording { hash: 0, sound }));
        }
        let wanted =
            |at: usize, is_new| Wanted { path: &paths[at], file_bytes: 1, decoded: 40, is_new, follow: Vec::new() };
        assert_eq!(recordings.decoded(&[wanted(0, false), wanted(1, false)]), 40);
        assert_eq!(recordings.decoded(&[wanted(0, true), wanted(1, true), wanted(2, true)]), 120);
        assert_eq!(recordings.decoded(&[wanted(1, false), wanted(2, false)]), 0);
    }
}
