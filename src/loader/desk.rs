//! What a worker works with, and how it reads.

use super::Stats;
use super::crew::KEPT;
use crate::augment::Tools;
use crate::clock::Mark;
use crate::codec::Ranged;
use crate::dataset::{Apart, Seen};
use crate::error::{Fault, Result};

/// A worker's own memory.
#[derive(Default)]
pub(super) struct Desk {
    pub(super) tools: Tools,
    pub(super) payload: Vec<u8>,
    /// Shards of a source that were looked at for the batch in hand.
    pub(super) seen: Option<(u32, Seen)>,
}

impl std::fmt::Debug for Desk {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Desk").field("held", &self.held()).finish_non_exhaustive()
    }
}

impl Desk {
    /// Lets go of what one huge payload took.
    pub(super) fn trim(&mut self) {
        if self.held() > KEPT {
            *self = Desk::default();
        }
    }

    /// Bytes that it keeps.
    pub(super) fn held(&self) -> u64 {
        self.payload.capacity() as u64 + self.tools.scratch.held()
    }
}

/// A payload that is read in parts, counted.
pub(super) struct Metered<'a> {
    source: Apart<'a>,
    stats: &'a Stats,
    nanos: std::cell::Cell<u64>,
}

impl<'a> Metered<'a> {
    pub(super) fn new(source: Apart<'a>, stats: &'a Stats) -> Self {
        Metered { source, stats, nanos: std::cell::Cell::new(0) }
    }

    /// What reading took so far.
    pub(super) fn nanos(&self) -> u64 {
        self.nanos.get()
    }
}

impl Ranged for Metered<'_> {
    fn bytes(&self) -> u64 {
        self.source.bytes()
    }

    fn stands(&self) -> Result<(), Fault> {
        self.source.stands()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> Result<(), Fault> {
        let mark = Mark::now();
        self.source.read(offset, out)?;
        let nanos = mark.nanos();
        self.nanos.set(self.nanos.get().saturating_add(nanos));
        self.stats.fetched(nanos, out.len() as u64);
        Ok(())
    }
}
