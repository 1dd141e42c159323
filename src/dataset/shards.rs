//! The shards of a version, and payloads that are read in parts or looked at in their place.

use std::ops::Range;
use std::path::PathBuf;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};

use smallvec::SmallVec;

use super::{Backing, Dataset, unread};
use crate::codec::Ranged;
use crate::error::{Error, Fault, Reason, Result};
use crate::shard::ShardFile;

/// The shards of a version, opened when first needed and then kept open, as far as the process may.
#[derive(Debug)]
pub struct ShardSet {
    files: Vec<OnceLock<ShardFile>>,
    kept: AtomicUsize,
    limit: usize,
}

impl ShardSet {
    pub(super) fn new(shards: usize) -> Self {
        let mut files = Vec::new();
        files.resize_with(shards, OnceLock::new);
        ShardSet { files, kept: AtomicUsize::new(0), limit: descriptor_limit() / 2 }
    }

    /// Reads from a shard. Beyond half of the process's file descriptors a shard is opened for this read only.
    pub(super) fn with(
        &self,
        shard: usize,
        path: impl Fn() -> PathBuf,
        read: &mut dyn FnMut(&ShardFile) -> Result<()>,
    ) -> Result<()> {
        let Some(slot) = self.files.get(shard) else {
            return Err(Error::library("fetching a payload", format!("shard {shard} of {}", self.files.len())));
        };
        if let Some(file) = slot.get() {
            return read(file);
        }
        let file = ShardFile::open(path())?;
        let mut file = Some(file);
        if self.kept.fetch_add(1, Ordering::Relaxed) < self.limit {
            file = file.and_then(|file| slot.set(file).err());
        }
        match file {
            None => self.with(shard, path, read),
            Some(file) => {
                // Not kept: another thread was first, or enough are.
                self.kept.fetch_sub(1, Ordering::Relaxed);
                read(&file)
            }
        }
    }
}

/// Where a payload lies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// The shard, counted over all of the dataset.
    pub shard: usize,
    /// The payload's bytes in it.
    pub bytes: Range<u64>,
}

/// A payload of a shard, read in parts.
#[derive(Debug, Clone)]
pub struct Apart<'a> {
    pub(super) dataset: &'a Dataset,
    pub(super) set: &'a ShardSet,
    pub(super) place: Place,
}

impl Ranged for Apart<'_> {
    fn bytes(&self) -> u64 {
        self.place.bytes.end - self.place.bytes.start
    }

    fn stands(&self) -> Result<(), Fault> {
        self.with(&mut |file| file.holds(&self.place.bytes).map(|_| ()))
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> Result<(), Fault> {
        self.with(&mut |file| file.fetch_part(&self.place.bytes, offset, out))
    }
}

impl Apart<'_> {
    fn with(&self, read: &mut dyn FnMut(&ShardFile) -> Result<()>) -> Result<(), Fault> {
        let path = || self.dataset.root.join(&self.dataset.shards[self.place.shard].path);
        let read = self.set.with(self.place.shard, path, read);
        read.map_err(|error| unread(error).unwrap_or_else(|other| Fault::new(Reason::Unreadable, other)))
    }
}

/// Looks at payloads in their place: those of shards without a copy, in the file's mapped pages, as long as many of them lie in one shard without a call of
/// the system. It is for what is small or used as it stands (tokens, tensors), and to be had anew every few payloads, as what it once saw of a shard's size it believes.
#[derive(Debug)]
pub struct Viewer<'a> {
    pub(super) dataset: &'a Dataset,
    pub(super) seen: Seen,
    pub(super) waits: bool,
}

/// Shards of a dataset that were looked at, and the bytes of each.
pub type Seen = SmallVec<[(usize, u64); 4]>;

impl Viewer<'_> {
    /// What it has seen, for one that comes a moment later ([`Dataset::viewer_after`]).
    pub fn seen(self) -> Seen {
        self.seen
    }

    /// Waits for storage before `look` is called, so that what it takes is its own.
    pub fn waiting(self) -> Self {
        Viewer { waits: true, ..self }
    }

    /// Hands a payload to `look`, or these of its bytes, and says how many bytes that took: in a shard those, elsewhere the whole payload, which is read into
    /// `held`. `None` and errors as for [`Dataset::fetch`]; a shard that ends before the payload does is an error also where the bytes are there, and so is a
    /// range beyond the payload.
    pub fn view<R>(
        &mut self,
        row: u64,
        column: usize,
        bytes: Option<Range<u64>>,
        held: &mut Vec<u8>,
        look: impl FnOnce(&[u8]) -> R,
    ) -> Result<Option<(u64, R)>> {
        let dataset = self.dataset;
        let (segment, entry, payload) = dataset.find(row, column)?;
        let Some(payload) = payload else { return Ok(None) };
        let bytes = bytes.unwrap_or(0..payload.length);
        if bytes.start > bytes.end || bytes.end > payload.length {
            return Err(beyond(&bytes, payload.length));
        }
        if dataset.is_sharded() {
            let place = dataset.place(segment, &entry, &payload);
            return self.view_at((row, column), &place, bytes, held, look).map(Some);
        }
        dataset.fetch(row, column, held)?;
        let own = held.get(bytes.start as usize..bytes.end as usize);
        let own = own.ok_or_else(|| beyond(&bytes, held.len() as u64))?;
        Ok(Some((held.len() as u64, look(own))))
    }

    /// As [`Viewer::view`], for a payload whose place is known ([`Dataset::lies`]): the Index is not asked again, but to name the (row, column) in an error.
    pub fn view_at<R>(
        &mut self,
        (row, column): (u64, usize),
        place: &Place,
        bytes: Range<u64>,
        held: &mut Vec<u8>,
        look: impl FnOnce(&[u8]) -> R,
    ) -> Result<(u64, R)> {
        let (dataset, Place { shard, bytes: whole }) = (self.dataset, place);
        let Backing::Shards(set) = &dataset.backing else {
            return Err(Error::library("fetching a payload", "it is in no shard"));
        };
        let own = whole.start.saturating_add(bytes.start)..whole.start.saturating_add(bytes.end);
        if own.start > own.end || own.end > whole.end {
            return Err(beyond(&bytes, whole.end.saturating_sub(whole.start)));
        }
        let (mut look, mut made) = (Some(look), None);
        let path = || dataset.root.join(&dataset.shards[*shard].path);
        let answer = set.with(*shard, path, &mut |file| {
            if !self.seen.iter().any(|(seen, size)| seen == shard && *size >= whole.end) {
                self.seen.push((*shard, file.holds(whole)?));
            }
            let own = match file.mapped(&own) {
                Some(own) => {
                    if self.waits {
                        file.wait_for(own);
                    }
                    own
                }
                None => {
                    held.resize((own.end - own.start) as usize, 0);
                    file.fetch_part(whole, bytes.start, held)?;
                    &*held
                }
            };
            made = look.take().map(|look| look(own));
            Ok(())
        });
        dataset.told(row, column, answer)?;
        let made = made.ok_or_else(|| Error::library("fetching a payload", "nobody looked at it"))?;
        Ok((own.end - own.start, made))
    }
}

fn beyond(bytes: &Range<u64>, length: u64) -> Error {
    Error::library("fetching a range of a payload", format!("bytes {bytes:?} of {length}"))
}

/// How many files this process may have open.
fn descriptor_limit() -> usize {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: the call fills in the struct that it is given.
    let answer = unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) };
    if answer == 0 { usize::try_from(limit.rlim_cur).unwrap_or(usize::MAX) } else { 256 }
}
