//! What is equal: payloads by their bytes, what they decode to by its digest.

use std::collections::HashMap;

use rayon::prelude::*;
use sha2::{Digest, Sha256};

use super::content::{Content, Wanted, beside, content, facts};
use super::find::{LeftOut, Work};
use super::sets::Sets;
use crate::error::{Error, Fault, Result};
use crate::spool::{Sorted, Sorter};

/// Payloads that are read or decoded between two looks at the watch.
const CHUNK: usize = 64;

/// The number in the last four bytes of a key.
pub(super) fn row_of(key: &[u8]) -> u32 {
    key.last_chunk::<4>().copied().map_or(0, u32::from_be_bytes)
}

/// Runs of records whose keys are equal but for the row in their last four bytes.
pub(super) fn runs(sorted: &Sorted) -> impl Iterator<Item = std::ops::Range<usize>> {
    let head = |at: usize| {
        let (key, _) = sorted.get(at);
        &key[..key.len() - 4]
    };
    let mut at = 0;
    std::iter::from_fn(move || {
        let from = at;
        if from == sorted.len() {
            return None;
        }
        while at < sorted.len() && head(at) == head(from) {
            at += 1;
        }
        Some(from..at)
    })
}

impl Work<'_> {
    /// Joins rows with the same bytes. Says which rows have a payload that may be compared further, and leaves out the others.
    pub(super) fn payloads(&mut self, sets: &mut Sets) -> Result<Vec<bool>> {
        let mut candidates = Sorter::new(&self.spill);
        let mut there = vec![false; sets.len() as usize];
        for row in 0..sets.len() {
            if row % 65_536 == 0 {
                (self.watch)("rows looked up", u64::from(row), u64::from(sets.len()))?;
            }
            let entry = self.dataset.index().row(u64::from(row));
            match entry.payload(self.column) {
                Some(payload) if payload.length == 0 => self.left_out.add(LeftOut::EMPTY),
                Some(payload) => {
                    let mut key = [0; 20];
                    key[..8].copy_from_slice(&payload.hash.to_be_bytes());
                    key[8..16].copy_from_slice(&payload.length.to_be_bytes());
                    key[16..].copy_from_slice(&row.to_be_bytes());
                    candidates.push(&key, &[])?;
                    there[row as usize] = true;
                }
                None if entry.is_null(self.column) => self.left_out.add(LeftOut::NULL),
                None => self.left_out.add(LeftOut::UNKNOWN),
            }
        }
        let candidates = candidates.finish()?;
        let several = || runs(&candidates).filter(|run| run.len() > 1);
        let total = several().map(|run| run.len() as u64).sum();
        // Rows of one run may have several contents: 64 bits prove nothing.
        let mut firsts: HashMap<[u8; 32], u32> = HashMap::new();
        let mut of = usize::MAX;
        let mut rows = several().flat_map(|run| run.clone().map(move |at| (run.start, at)));
        let mut done = 0;
        loop {
            let chunk: Vec<(usize, u32)> =
                rows.by_ref().take(CHUNK).map(|(run, at)| (run, row_of(candidates.get(at).0))).collect();
            if chunk.is_empty() {
                return Ok(there);
            }
            (self.watch)("payloads compared", done, total)?;
            let read = |bytes: &mut Vec<u8>, (_, row): &(usize, u32)| self.sha256(*row, bytes);
            let read: Vec<Result<Result<[u8; 32], Fault>>> =
                self.pool.install(|| chunk.par_iter().map_init(Vec::new, read).collect());
            for ((run, row), digest) in chunk.iter().zip(read) {
                if *run != of {
                    firsts.clear();
                    of = *run;
                }
                match digest? {
                    Ok(digest) => sets.join(*firsts.entry(digest).or_insert(*row), *row),
                    Err(fault) => {
                        there[*row as usize] = false;
                        self.left_out.add(fault.reason.code());
                    }
                }
            }
            done += chunk.len() as u64;
        }
    }

    /// SHA-256 of a row's payload.
    fn sha256(&self, row: u32, bytes: &mut Vec<u8>) -> Result<Result<[u8; 32], Fault>> {
        match self.dataset.fetch_checked(u64::from(row), self.column, bytes) {
            Ok(_) => Ok(Ok(Sha256::digest(bytes.as_slice()).into())),
            Err(Error::Sample { fault, .. }) => Ok(Err(fault)),
            Err(error) => Err(error),
        }
    }

    /// Which of these rows, one for each payload, have the facts of another.
    pub(super) fn with_facts_in_common(&self, rows: &[bool]) -> Result<Vec<bool>> {
        let mut sorter = Sorter::new(&self.spill);
        for row in (0..).zip(rows).filter(|(_, is)| **is).map(|(row, _): (u32, _)| row) {
            if let Some(payload) = self.dataset.index().row(u64::from(row)).payload(self.column) {
                let mut key = [0; 32];
                key[..28].copy_from_slice(&facts(&payload.info));
                key[28..].copy_from_slice(&row.to_be_bytes());
                sorter.push(&key, &[])?;
            }
        }
        let sorted = sorter.finish()?;
        let mut wanted = vec![false; rows.len()];
        for run in runs(&sorted).filter(|run| run.len() > 1) {
            run.for_each(|at| wanted[row_of(sorted.get(at).0) as usize] = true);
        }
        Ok(wanted)
    }

    /// Decodes rows and hands over what they hold, in their order.
    pub(super) fn decode(
        &mut self,
        wanted: &(dyn Fn(u32) -> Wanted + Sync),
        rows: &[bool],
        take: &mut dyn FnMut(u32, Content) -> Result<()>,
    ) -> Result<()> {
        let total = rows.iter().filter(|is| **is).count() as u64;
        let mut all = (0u32..).zip(rows).filter(|(_, is)| **is).map(|(row, _)| row);
        let mut done = 0;
        loop {
            let chunk: Vec<u32> = all.by_ref().take(CHUNK).collect();
            if chunk.is_empty() {
                return Ok(());
            }
            (self.watch)("payloads decoded", done, total)?;
            let look = |bytes: &mut Vec<u8>, row: &u32| self.content(*row, wanted(*row), bytes);
            let looked: Vec<Result<Result<Content, Fault>>> =
                self.pool.install(|| chunk.par_iter().map_init(Vec::new, look).collect());
            for (row, looked) in chunk.iter().zip(looked) {
                match looked? {
                    Ok(content) => take(*row, content)?,
                    Err(fault) => self.left_out.add(fault.reason.code()),
                }
            }
            done += chunk.len() as u64;
        }
    }

    fn content(&self, row: u32, wanted: Wanted, bytes: &mut Vec<u8>) -> Result<Result<Content, Fault>> {
        let cell = (u64::from(row), self.column);
        let Some(payload) = self.dataset.index().row(cell.0).payload(self.column) else {
            return Ok(Ok(Content::default()));
        };
        let (decoding, beside) = (self.decoding(), beside(&payload.info, wanted));
        decoding.look(cell, &payload, beside, bytes, |codec, bytes, scratch| {
            content(codec, &payload, bytes, &self.options.limits, scratch, wanted)
        })
    }
}
