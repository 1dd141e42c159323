//! Payloads that are read in parts: a *seek table*, made once of the whole payload, says what lies where in it, and a codec that
//! made it decodes what is wanted from the table and the bytes that this needs.
//!
//! What a table holds is its codec's matter; all else takes it as bytes. Its first byte is the version of its form.

use std::cell::OnceCell;
use std::ops::Range;

use super::{Codec, Decoded, Limits, Scratch, Want};
use crate::error::{Fault, Reason};

/// Bytes between two wanted ranges that are read with them: a read costs about as much as these.
const GAP: u64 = 64 << 10;

/// A payload that lies elsewhere.
pub trait Ranged {
    /// How many bytes it has.
    fn bytes(&self) -> u64;

    /// Whether they are there at all, as far as that can be told without reading: asked before memory is taken for them.
    ///
    /// # Errors
    /// What ends before its last byte.
    fn stands(&self) -> Result<(), Fault> {
        Ok(())
    }

    /// Reads as many bytes as `out` has, from `offset` on.
    ///
    /// # Errors
    /// What cannot be read.
    fn read(&self, offset: u64, out: &mut [u8]) -> Result<(), Fault>;
}

/// An encoded payload on its way to its codec.
#[derive(Clone, Copy)]
pub enum Encoded<'a> {
    /// All of it.
    Whole(&'a [u8]),
    /// Its seek table, and where its bytes can be had.
    Apart {
        /// As [`Codec::seek_table`] made it.
        table: &'a [u8],
        /// The payload.
        source: &'a dyn Ranged,
    },
}

impl<'a> From<&'a [u8]> for Encoded<'a> {
    fn from(bytes: &'a [u8]) -> Self {
        Encoded::Whole(bytes)
    }
}

impl<'a> From<&'a Vec<u8>> for Encoded<'a> {
    fn from(bytes: &'a Vec<u8>) -> Self {
        Encoded::Whole(bytes)
    }
}

impl<'a, const N: usize> From<&'a [u8; N]> for Encoded<'a> {
    fn from(bytes: &'a [u8; N]) -> Self {
        Encoded::Whole(bytes)
    }
}

impl<'s> Encoded<'s> {
    /// Decodes it, by [`Codec::decode`] or [`Codec::decode_parts`].
    ///
    /// # Errors
    /// Those of the codec.
    pub fn decode(
        self,
        codec: &dyn Codec,
        want: Want<'_>,
        limits: &Limits,
        scratch: &'s mut Scratch,
    ) -> Result<Decoded<'s>, Fault> {
        match self {
            Encoded::Whole(bytes) => codec.decode(bytes, want, limits, scratch),
            Encoded::Apart { table, source } => codec.decode_parts(table, source, want, limits, scratch),
        }
    }
}

/// Some ranges of a payload, read. What else is asked for has all of the payload read, so that what is wanted need not be
/// foreseen in every case.
pub struct Parts<'a> {
    source: &'a dyn Ranged,
    /// Ascending and apart, each with its place in `bytes`.
    runs: Vec<(Range<u64>, usize)>,
    bytes: Vec<u8>,
    whole: OnceCell<Vec<u8>>,
}

impl<'a> Parts<'a> {
    /// Reads ranges, given in any order, into `room`, whose content is of no account. Those that lie close to each other are read
    /// together, and all of a payload if several ranges are most of it.
    ///
    /// # Errors
    /// What cannot be read; ranges outside the payload.
    pub fn read(source: &'a dyn Ranged, wanted: Vec<Range<u64>>, mut room: Vec<u8>) -> Result<Self, Fault> {
        let ranges = joined(wanted, source.bytes())?;
        let all: u64 = ranges.iter().map(|range| range.end - range.start).sum();
        let all = usize::try_from(all).map_err(|_| beyond(0..all))?;
        if all > room.capacity() {
            source.stands()?;
        }
        room.resize(all, 0);
        let mut runs = Vec::with_capacity(ranges.len());
        let mut at = 0;
        for range in ranges {
            let end = at + (range.end - range.start) as usize;
            source.read(range.start, &mut room[at..end])?;
            runs.push((range, at));
            at = end;
        }
        Ok(Parts { source, runs, bytes: room, whole: OnceCell::new() })
    }

    /// The bytes of a range.
    ///
    /// # Errors
    /// What cannot be read; a range outside the payload.
    pub fn get(&self, range: Range<u64>) -> Result<&[u8], Fault> {
        let run = self.runs[..self.runs.partition_point(|(run, _)| run.start <= range.start)].last();
        if let Some((run, at)) = run.filter(|(run, _)| range.start <= range.end && range.end <= run.end) {
            let start = at + (range.start - run.start) as usize;
            return Ok(&self.bytes[start..start + (range.end - range.start) as usize]);
        }
        let whole = match self.whole.get() {
            Some(whole) => whole,
            None => {
                let whole = all(self.source)?;
                self.whole.get_or_init(|| whole)
            }
        };
        let place = usize::try_from(range.start).ok().zip(usize::try_from(range.end).ok());
        place.and_then(|(start, end)| whole.get(start..end)).ok_or_else(|| beyond(range))
    }

    /// The buffer, for the next payload.
    pub fn into_room(self) -> Vec<u8> {
        self.bytes
    }
}

/// All of a payload.
///
/// # Errors
/// What cannot be read.
pub(super) fn all(source: &dyn Ranged) -> Result<Vec<u8>, Fault> {
    source.stands()?;
    let mut whole = vec![0; usize::try_from(source.bytes()).map_err(|_| beyond(0..source.bytes()))?];
    source.read(0, &mut whole)?;
    Ok(whole)
}

fn beyond(range: Range<u64>) -> Fault {
    Fault::new(Reason::Corrupt, format!("bytes {} to {} lie outside the payload", range.start, range.end))
}

/// What is read for the sake of some ranges of a payload of `bytes` bytes: ascending and apart.
fn joined(mut wanted: Vec<Range<u64>>, bytes: u64) -> Result<Vec<Range<u64>>, Fault> {
    wanted.sort_unstable_by_key(|range| (range.start, range.end));
    let mut ranges: Vec<Range<u64>> = Vec::new();
    for range in wanted {
        if range.start > range.end || range.end > bytes {
            return Err(beyond(range));
        }
        match ranges.last_mut() {
            Some(last) if range.start <= last.end.saturating_add(GAP) => last.end = last.end.max(range.end),
            _ => ranges.push(range),
        }
    }
    let all: u64 = ranges.iter().map(|range| range.end - range.start).sum();
    if ranges.len() > 1 && all > bytes / 4 * 3 {
        ranges.clear();
        ranges.push(0..bytes);
    }
    Ok(ranges)
}

#[cfg(test)]
#[allow(clippy::single_range_in_vec_init, reason = "ranges are what is meant")]
pub(crate) mod tests {
    use std::cell::RefCell;

    use super::*;

    /// A payload in memory that remembers what was read of it.
    pub(crate) struct Noted<'a> {
        pub(crate) payload: &'a [u8],
        pub(crate) reads: RefCell<Vec<Range<u64>>>,
    }

    impl<'a> Noted<'a> {
        pub(crate) fn new(payload: &'a [u8]) -> Self {
            Noted { payload, reads: RefCell::default() }
        }

        /// Bytes read so far.
        pub(crate) fn read(&self) -> u64 {
            self.reads.borrow().iter().map(|range| range.end - range.start).sum()
        }
    }

    impl Ranged for Noted<'_> {
        fn bytes(&self) -> u64 {
            self.payload.len() as u64
        }

        fn read(&self, offset: u64, out: &mut [u8]) -> Result<(), Fault> {
            let range = offset..offset + out.len() as u64;
            out.copy_from_slice(&self.payload[range.start as usize..range.end as usize]);
            self.reads.borrow_mut().push(range);
            Ok(())
        }
    }

    #[test]
    fn close_ranges_are_read_together_and_most_of_a_payload_whole() {
        let far = GAP + 1;
        let joined = |wanted: &[Range<u64>], bytes| joined(wanted.to_vec(), bytes).unwrap();
        assert_eq!(joined(&[], 9), []);
        assert_eq!(joined(&[5..7, 0..1, 6..9], 9), [0..9]);
        assert_eq!(joined(&[0..1, far..far + 2], 9 * far), [0..far + 2], "the gap is just small enough");
        assert_eq!(joined(&[0..1, 1 + far..2 + far], 9 * far), [0..1, 1 + far..2 + far]);
        assert_eq!(joined(&[0..3 * far, 4 * far + 1..5 * far], 5 * far), [0..5 * far], "several that are most of it");
        assert_eq!(joined(&[far..5 * far], 5 * far), [far..5 * far], "one that is most of it");
        assert_eq!(super::joined([0..10].to_vec(), 9).unwrap_err().reason, Reason::Corrupt);
        #[allow(clippy::reversed_empty_ranges, reason = "that is what is tried")]
        let reversed = super::joined([3..2].to_vec(), 9);
        assert!(reversed.is_err());
    }

    #[test]
    fn what_was_not_foreseen_is_read_with_all_the_rest_once() {
        let payload: Vec<u8> = (0..3 * GAP + 300).map(|at| (at % 251) as u8).collect();
        let source = Noted::new(&payload);
        let far = 2 * GAP;
        let parts = Parts::read(&source, vec![far..far + 100, 10..20], vec![9; 5]).unwrap();
        assert_eq!(*source.reads.borrow(), [10..20, far..far + 100]);
        for range in [10..20, 12..12, far + 1..far + 100, 10..11] {
            assert_eq!(parts.get(range.clone()).unwrap(), &payload[range.start as usize..range.end as usize]);
        }
        assert_eq!(source.reads.borrow().len(), 2);
        for range in [9..20, far + 99..far + 101, 20..21, payload.len() as u64 - 1..payload.len() as u64] {
            assert_eq!(parts.get(range.clone()).unwrap(), &payload[range.start as usize..range.end as usize]);
        }
        assert_eq!(source.reads.borrow()[2..], [0..payload.len() as u64]);
        assert!(parts.get(payload.len() as u64..payload.len() as u64 + 1).is_err());
        assert!(parts.get(u64::MAX - 1..u64::MAX).is_err());
    }
}
