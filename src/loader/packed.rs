//! Rows of several token sequences: what each holds is the plan's, here they are read and laid one behind the other.

use std::ops::Range;

use smallvec::SmallVec;

use super::desk::Desk;
use super::room::{Lender, Loan};
use super::work::plain;
use super::{Core, Feed, OutColumn, Stats};
use crate::augment::packed::widen;
use crate::augment::{Chain, Drawn, Output, SlotMut};
use crate::clock::Mark;
use crate::codec::{self, Encoded, Limits};
use crate::collate::{self, Extents, Forming};
use crate::data::buffer::Region;
use crate::data::info::Format;
use crate::data::tensor::Extent;
use crate::dataset::{Place, Viewer};
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
    /// How many tokens it has.
    length: usize,
    from: Source,
}

/// Where the tokens of a piece come from.
enum Source {
    /// They are these bytes of the payload in a shard.
    Stored(Place, Range<u64>),
    /// The column's operations make them of the whole payload.
    Made(Box<Making>),
}

/// How a sequence is made.
struct Making {
    /// Where the piece begins in it.
    from: usize,
    /// How many tokens it has.
    whole: usize,
    /// Bytes of the payload.
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
    let (feed, index, chain) = core.packed(segment)?;
    let row = feed.dataset.index().row(segment.row);
    let refused = |fault: Fault| fault.at(feed.dataset.origin(segment.row, index));
    let Some(payload) = row.payload(index) else {
        return Err(refused(Fault::new(Reason::Unsupported, "its tokens are not there, or of a newer format")));
    };
    let (info, range) = (payload.info, segment.range);
    let piece = |length: u64, from| Piece { segment: segment.clone(), length: short(length), from };
    // A hash is one of the whole payload; and one that is not what its facts say is read to say so.
    if let Some(dtype) = chain.divisible().filter(|_| !core.check_hash)
        && info.count.checked_mul(dtype.size() as u64) == Some(payload.length)
        && range.is_none_or(|(from, to)| from <= to && to <= info.count)
        && let Some(place) = feed.dataset.lies(segment.row, index)
    {
        let (from, to) = range.unwrap_or((0, info.count));
        let own = (to - from).saturating_mul(dtype.dtype().size() as u64);
        Limits::check("bytes of the finished sample", own, core.limits.decoded_bytes).map_err(refused)?;
        let size = dtype.size() as u64;
        return Ok(piece(to - from, Source::Stored(place, from * size..to * size)));
    }
    // Of text the count is that of bytes: its tokens are counted in a column beside it, which the plan knows.
    let whole = plan.batching().map_or(info.count, |b| b.length(segment.source as usize, segment.row));
    let (from, length) = range.map_or((0, whole), |(from, to)| (from, to.saturating_sub(from)));
    let drawn = chain.draw(&info, plan.key(row.key(), segment));
    chain.admit(&drawn, &core.limits).map_err(refused)?;
    let (from, whole, read, format) = (short(from), short(whole), payload.length, info.format);
    Ok(piece(length, Source::Made(Box::new(Making { from, whole, read, drawn, format }))))
}

fn short(n: u64) -> usize {
    usize::try_from(n).unwrap_or(usize::MAX)
}

impl Core {
    /// Makes a sequence of a payload that is read whole.
    fn sequence(
        &self,
        segment: &Segment,
        making: &Making,
        size: usize,
        desk: &mut Desk,
        lender: &Lender<'_>,
    ) -> Result<(Vec<u8>, Option<Loan>)> {
        let (feed, index, chain) = self.packed(segment)?;
        let loan = self.lent(lender, making.read.saturating_add(making.whole.saturating_mul(size) as u64))?;
        let (Desk { tools, payload: held, .. }, row) = (desk, segment.row);
        let mark = Mark::now();
        match self.check_hash {
            true => feed.dataset.fetch_checked(row, index, held)?,
            false => feed.dataset.fetch(row, index, held)?,
        };
        self.stats.fetched(mark.nanos(), held.len() as u64);
        let mark = Mark::now();
        let refused = |fault: Fault| fault.at(feed.dataset.origin(row, index));
        let codec = codec::by_format(making.format).map_err(refused)?;
        let made = chain.run_late(&making.drawn, Encoded::Whole(held), codec, &self.limits, tools).map_err(refused)?;
        Stats::add(&self.stats.augment, mark.nanos());
        if making.whole.checked_mul(size) != Some(made.bytes.len()) {
            let what = format!("{} tokens, the Index says {}", made.bytes.len() / size.max(1), making.whole);
            return Err(refused(Fault::new(Reason::Corrupt, what)));
        }
        Ok((made.bytes, loan))
    }

    /// The column that a segment's rows are packed of.
    fn packed(&self, segment: &Segment) -> Result<(&Feed, usize, &Chain)> {
        let feed = self.feed(segment);
        match feed.columns.first() {
            Some(OutColumn::Packed { index, chain, .. }) => Ok((feed, *index, chain)),
            _ => Err(Error::library("packing", "a source has no column to pack")),
        }
    }

    /// Reads the sequences of a row and lays them one behind the other, with what says which is which.
    pub(super) fn pack(&self, row: &mut Row, desk: &mut Desk, lender: &Lender<'_>) -> Result<()> {
        let mut at = 0;
        let (segments, positions): (&mut [i64], &mut [i64]) =
            (bytemuck::cast_slice_mut(row.segments.bytes_mut()), bytemuck::cast_slice_mut(row.positions.bytes_mut()));
        let tokens = row.tokens.bytes_mut();
        let size = tokens.len() / segments.len().max(1);
        let mut number = 0;
        // Of what is stored: of which source, and how much. It is too little, one by one, to be timed one by one.
        let mut viewer: Option<(u32, Viewer<'_>)> = None;
        let (mark, mut apart, mut read) = (Mark::now(), 0, 0);
        for Piece { segment, length, from } in &row.pieces {
            let out = &mut tokens[at * size..(at + length) * size];
            let done = self.named(Some(segment), || match from {
                Source::Stored(place, bytes) => {
                    let (feed, index, chain) = self.packed(segment)?;
                    let (_, viewer) = match &mut viewer {
                        Some(own) if own.0 == segment.source => own,
                        other => {
                            let seen = desk.seen.take().filter(|(source, _)| *source == segment.source);
                            let viewer = feed.dataset.viewer_after(seen.map(|(_, seen)| seen).unwrap_or_default());
                            other.insert((segment.source, viewer))
                        }
                    };
                    let dtype = chain.divisible().ok_or_else(|| Error::library("packing", "its tokens are made"))?;
                    let (at, write) = ((segment.row, index), |stored: &[u8]| widen(dtype, stored, out));
                    read += viewer.view_at(at, place, bytes.clone(), &mut desk.payload, write)?.0;
                    Ok(())
                }
                Source::Made(making) => {
                    let mark = Mark::now();
                    let (made, _loan) = self.sequence(segment, making, size, desk, lender)?;
                    out.copy_from_slice(&made[making.from * size..][..length * size]);
                    apart += mark.nanos();
                    Ok(())
                }
            });
            if let Err(error) = done {
                row.bad.push((segment.clone(), self.bearable(error)?));
                continue;
            }
            number += 1;
            let end = at + length;
            segments[at..end].fill(number);
            (0..).zip(&mut positions[at..end]).for_each(|(position, out)| *out = position);
            at = end;
        }
        desk.seen = viewer.map(|(source, viewer)| (source, viewer.seen()));
        self.stats.fetched_all(mark.nanos().saturating_sub(apart), read, number as u64);
        Stats::add(&self.stats.samples, number as u64);
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
