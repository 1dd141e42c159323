//! The shards of a version, and payloads that are read in parts or looked at in their place.

use std::ops::Range;
use std::path::PathBuf;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};

use smallvec::SmallVec;

use super::{Backing, Dataset, unread};
use crate::codec::Ranged;
use crate::data::index::Payload;
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

/// A payload of a shard, read in parts.
#[derive(Debug, Clone, Copy)]
pub struct Apart<'a> {
    pub(super) dataset: &'a Dataset,
    pub(super) set: &'a ShardSet,
    pub(super) shard: usize,
    pub(super) payload: Payload,
}

impl Ranged for Apart<'_> {
    fn bytes(&self) -> u64 {
        self.payload.length
    }

    fn stands(&self) -> Result<(), Fault> {
        self.with(&mut |file| file.holds(&self.payload).map(|_| ()))
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> Result<(), Fault> {
        self.with(&mut |file| file.fetch_part(&self.payload, offset, out))
    }
}

impl Apart<'_> {
    fn with(&self, read: &mut dyn FnMut(&ShardFile) -> Result<()>) -> Result<(), Fault> {
        let path = || self.dataset.root.join(&self.dataset.shards[self.shard].path);
        let read = self.set.with(self.shard, path, read);
        read.map_err(|error| unread(error).unwrap_or_else(|other| Fault::new(Reason::Unreadable, other)))
    }
}

/// Looks at payloads in their place: those of shards without a copy, in the file's mapped pages, as long as many of them lie in one shard without a call of
/// the system. It is for what is small or used as it stands (tokens, tensors), and to be had anew every few payloads, as what it once saw of a shard's size it believes.
#[derive(Debug)]
pub struct Viewer<'a> {
    pub(super) dataset: &'a Dataset,
    /// Shards that were looked at, and the bytes of each.
    pub(super) seen: SmallVec<[(usize, u64); 4]>,
}

impl Viewer<'_> {
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
            let what = format!("bytes {bytes:?} of {}", payload.length);
            return Err(Error::library("fetching a range of a payload", what));
        }
        let Backing::Shards(set) = &dataset.backing else {
            dataset.fetch(row, column, held)?;
            let own = held.get(bytes.start as usize..bytes.end as usize);
            let own = own.ok_or_else(|| Error::library("fetching a range of a payload", format!("{bytes:?}")))?;
            return Ok(Some((held.len() as u64, look(own))));
        };
        let (mut look, mut made) = (Some(look), None);
        let shard = dataset.bases[segment] + entry.shard();
        let path = || dataset.root.join(&dataset.shards[shard].path);
        let answer = set.with(shard, path, &mut |file| {
            let end = payload.offset.saturating_add(payload.length);
            if !self.seen.iter().any(|(seen, size)| *seen == shard && *size >= end) {
                self.seen.push((shard, file.holds(&payload)?));
            }
            let range = payload.offset.saturating_add(bytes.start)..payload.offset.saturating_add(bytes.end);
            let own = match file.mapped(&range) {
                Some(own) => own,
                None => {
                    held.resize((bytes.end - bytes.start) as usize, 0);
                    file.fetch_part(&payload, bytes.start, held)?;
                    &*held
                }
            };
            made = look.take().map(|look| look(own));
            Ok(())
        });
        dataset.told(row, column, answer)?;
        Ok(made.map(|made| (bytes.end - bytes.start, made)))
    }
}

/// How many files this process may have open.
fn descriptor_limit() -> usize {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: the call fills in the struct that it is given.
    let answer = unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) };
    if answer == 0 { usize::try_from(limit.rlim_cur).unwrap_or(usize::MAX) } else { 256 }
}
