//! Rows of several token sequences: what each holds is the plan's, here they are read and laid one behind the other.

use std::ops::Range;

use smallvec::SmallVec;

use super::desk::Desk;
use super::room::{Lender, Loan};
use super::work::plain;
use super::{Core, OutColumn, Stats};
use crate::augment::{Chain, Drawn, Output, SlotMut};
use crate::clock::Mark;
use crate::codec::{self, Encoded};
use crate::collate::{self, Extents, Forming};
use crate::data::buffer::Region;
use crate::data::info::Format;
use crate::data::tensor::Extent;
use crate::error::{Error, Fault, Reason, Result};
use crate::plan::{Plan, Segment, Slot};

type Pieces = SmallVec<[Piece; 4]>;

/// Sequences that could not be read, and why.
type Bad = Vec<(Segment, Error)>;

/// One row on its way.
pub(super) struct Row {
    pieces: Pieces,
    tokens: Region,
    segments: Region,
    positions: Region,
    /// Sequences that could not be read, that those behind them move up for.
    bad: Bad,
}

impl Row {
    /// The sequences that could not be read.
    pub(super) fn bad(self) -> Bad {
        self.bad
    }
}

/// A sequence of a row, or a part of it.
struct Piece {
    segment: Segment,
    /// Where it begins in what is read, and how many tokens it has.
    from: usize,
    length: usize,
    /// How many what is read has in all: the sequence, or the piece.
    whole: usize,
    /// The bytes of the payload that are read; `None`: all.
    bytes: Option<Range<u64>>,
    /// How many bytes that is.
    read: u64,
    drawn: Drawn,
    format: Format,
}

/// Takes the memory of a batch's rows. What a row holds is held against its length here, so that what was planned is what fits.
pub(super) fn open(
    core: &Core,
    plan: &Plan,
    (chain, length): (&Chain, usize),
    slots: &[Slot],
) -> Result<([Forming; 3], Vec<Row>)> {
    let mut rows: Vec<(Pieces, Bad)> = Vec::with_capacity(slots.len());
    for slot in slots {
        let (mut pieces, mut bad) = (Pieces::new(), Bad::new());
        for segment in &slot.segments {
            match piece(core, plan, segment) {
                Ok(piece) => pieces.push(piece),
                Err(error) => bad.push((segment.clone(), core.bearable(error)?)),
            }
        }
        if pieces.iter().map(|piece| piece.length).sum::<usize>() > length {
            return Err(Error::library("packing", "a row has more tokens than it is long"));
        }
        rows.push((pieces, bad));
    }
    let none = vec![Extents::new(); slots.len()];
    let numbers = plain(&[length]);
    let dtype = chain.output().map_or(numbers.dtype, |output| output.dtype);
    let tokens = Output { dtype, shape: vec![Extent::Fixed(length)], ..numbers.clone() };
    let (tokens, own) = collate::open(&core.pool, &tokens, &[length], &none)?;
    let (segments, numbered) = collate::open(&core.pool, &numbers, &[length], &none)?;
    let (positions, placed) = collate::open(&core.pool, &numbers, &[length], &none)?;
    let regions = own.into_iter().zip(numbered).zip(placed);
    let rows = rows.into_iter().zip(regions).map(|((pieces, bad), ((tokens, segments), positions))| Row {
        pieces,
        tokens,
        segments,
        positions,
        bad,
    });
    Ok(([tokens, segments, positions], rows.collect()))
}

fn piece(core: &Core, plan: &Plan, segment: &Segment) -> Result<Piece> {
    core.named(Some(segment), || planned(core, plan, segment))
}

fn planned(core: &Core, plan: &Plan, segment: &Segment) -> Result<Piece> {
    let feed = core.feed(segment);
    let Some(OutColumn::Packed { index, chain, .. }) = feed.columns.first() else {
        return Err(Error::library("packing", "a source has no column to pack"));
    };
    let row = feed.dataset.index().row(segment.row);
    let refused = |fault: Fault| fault.at(feed.dataset.origin(segment.row, *index));
    let Some(payload) = row.payload(*index) else {
        return Err(refused(Fault::new(Reason::Unsupported, "its tokens are not there, or of a newer format")));
    };
    let (mut info, mut from, mut bytes) = (payload.info, 0, None);
    // Of text the count is that of bytes: its tokens are counted in a column beside it, which the plan knows.
    let whole = plan.batching().map_or(info.count, |b| b.length(segment.source as usize, segment.row));
    let length = segment.range.map_or(whole, |(from, to)| to.saturating_sub(from));
    if let Some((start, end)) = segment.range {
        from = start;
        // A hash is one of the whole payload; and one that is not what its facts say is read to say so.
        let alone = chain.divisible().filter(|size| {
            !core.check_hash && info.count.checked_mul(*size as u64) == Some(payload.length) && end <= info.count
        });
        if let Some(size) = alone {
            // To the chain, the piece is all there is.
            (from, info.count, bytes) = (0, length, Some(start * size as u64..end * size as u64));
        }
    }
    let drawn = chain.draw(&info, plan.key(row.key(), segment));
    chain.admit(&drawn, &core.limits).map_err(refused)?;
    let short = |n: u64| usize::try_from(n).unwrap_or(usize::MAX);
    let (whole, from, length) = (short(if bytes.is_some() { length } else { whole }), short(from), short(length));
    let read = bytes.as_ref().map_or(payload.length, |bytes| bytes.end - bytes.start);
    Ok(Piece { segment: segment.clone(), from, length, whole, bytes, read, drawn, format: info.format })
}

impl Core {
    /// Reads a sequence, or of it what is wanted alone; the piece's tokens are behind `from * size`.
    fn sequence(
        &self,
        piece: &Piece,
        size: usize,
        desk: &mut Desk,
        lender: &Lender<'_>,
    ) -> Result<(Vec<u8>, Option<Loan>)> {
        let feed = self.feed(&piece.segment);
        let Some(OutColumn::Packed { index, chain, .. }) = feed.columns.first() else {
            return Err(Error::library("packing", "a source has no column to pack"));
        };
        let loan = self.lent(lender, piece.read.saturating_add(piece.whole.saturating_mul(size) as u64))?;
        let (Desk { tools, payload: held }, row) = (desk, piece.segment.row);
        let mark = Mark::now();
        let read = match &piece.bytes {
            Some(range) => feed.dataset.fetch_range(row, *index, range.clone(), held)?,
            None if self.check_hash => feed.dataset.fetch_checked(row, *index, held)?.map(|payload| payload.length),
            None => feed.dataset.fetch(row, *index, held)?.map(|payload| payload.length),
        };
        self.stats.fetched(mark.nanos(), read.unwrap_or(0));
        let mark = Mark::now();
        let refused = |fault: Fault| fault.at(feed.dataset.origin(row, *index));
        let codec = codec::by_format(piece.format).map_err(refused)?;
        let made = chain.run_late(&piece.drawn, Encoded::Whole(held), codec, &self.limits, tools).map_err(refused)?;
        Stats::add(&self.stats.augment, mark.nanos());
        Stats::add(&self.stats.samples, 1);
        if piece.whole.checked_mul(size) != Some(made.bytes.len()) {
            let what = format!("{} tokens, the Index says {}", made.bytes.len() / size.max(1), piece.whole);
            return Err(refused(Fault::new(Reason::Corrupt, what)));
        }
        Ok((made.bytes, loan))
    }

    /// Reads the sequences of a row and lays them one behind the other, with what says which is which.
    pub(super) fn pack(&self, row: &mut Row, desk: &mut Desk, lender: &Lender<'_>) -> Result<()> {
        let mut at = 0;
        let (segments, positions): (&mut [i64], &mut [i64]) =
            (bytemuck::cast_slice_mut(row.segments.bytes_mut()), bytemuck::cast_slice_mut(row.positions.bytes_mut()));
        let tokens = row.tokens.bytes_mut();
        let size = tokens.len() / segments.len().max(1);
        let mut number = 0;
        for piece in &row.pieces {
            let made = self.named(Some(&piece.segment), || self.sequence(piece, size, desk, lender));
            let (made, _loan) = match made {
                Ok(made) => made,
                Err(error) => {
                    row.bad.push((piece.segment.clone(), self.bearable(error)?));
                    continue;
                }
            };
            let end = at + piece.length;
            tokens[at * size..end * size].copy_from_slice(&made[piece.from * size..][..piece.length * size]);
            number += 1;
            segments[at..end].fill(number);
            (0..).zip(&mut positions[at..end]).for_each(|(position, out)| *out = position);
            at = end;
        }
        segments[at..].fill(0);
        positions[at..].fill(0);
        // The tail, or all of a row that is padding.
        if let Some(OutColumn::Packed { chain, .. }) = self.columns().first()
            && let Some(output) = chain.output()
        {
            SlotMut { bytes: &mut tokens[at * size..], shape: &[], strides: &[], beside: None }.vacate(output);
        }
        Ok(())
    }
}
