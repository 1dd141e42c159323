//! What stands in the slot of a sample whose content is bad: which one is the plan's, here it is looked for and made.

use smallvec::SmallVec;

use super::Core;
use super::cells::Cells;
use super::desk::Desk;
use super::room::Lender;
use super::work::{OpenColumn, Opened, Parts, Sample, lock};
use crate::collate::Extents;
use crate::data::batch::Substituted;
use crate::error::{Error, Reason, Result};
use crate::plan::{Batching, Plan, Segment, Slot};

/// What stands in a slot whose own sample could not be read.
pub(super) struct Swap {
    pub(super) by: By,
    pub(super) bad: Substituted,
}

/// What stands in for a sample.
pub(super) enum By {
    /// Another one.
    Sample(Segment),
    /// Padding, for this sequence of a packed row.
    Padding(Segment),
}

/// A sample that may stand in for another, and the number of the one to try behind it.
pub(super) struct Other {
    pub(super) segment: Segment,
    pub(super) cells: Cells,
    next: u32,
}

/// How many other samples are drawn in place of a bad one.
const SUBSTITUTES: u32 = 256;

/// A batch as it was planned: what stands in for one of its samples fits in there.
pub(super) struct Planned<'a> {
    slots: &'a [Slot],
    /// The length of the longest sample, where batches are formed by length.
    longest: u64,
}

/// A batch, with the longest sample that it was planned for.
pub(super) fn longest<'a>(plan: &Plan, slots: &'a [Slot]) -> Planned<'a> {
    let of = |batching: &Batching| {
        let segments = slots.iter().flat_map(|slot| &slot.segments);
        segments.map(|segment| batching.length(segment.source as usize, segment.row)).max().unwrap_or(0)
    };
    Planned { slots, longest: plan.batching().map_or(u64::MAX, of) }
}

impl Opened {
    /// Does the work of another sample in the place of one that could not be read, if the recipe wants that.
    pub(super) fn replaced(
        &self,
        core: &Core,
        slot: usize,
        mut sample: Sample,
        error: Error,
        desk: &mut Desk,
        lender: &Lender<'_>,
    ) -> Result<Parts> {
        let Some(own) = self.slots[slot].segments.first() else { return Err(error) };
        let bad = core.bad(slot, own, &error);
        let rooms = self.columns.iter().filter_map(|column| match column {
            OpenColumn::Media { slot, .. } => Some(slot.shape.clone()),
            _ => None,
        });
        let rooms: SmallVec<[(Vec<usize>, Extents, u64); 2]> =
            rooms.zip(&sample.jobs).map(|(shape, job)| (shape, job.cell.extents.clone(), job.cell.loose)).collect();
        // What was opened for the sample is all the room there is.
        let fits = |cells: &Cells| {
            cells.iter().zip(&rooms).zip(core.works()).all(|((cell, (shape, extents, loose)), work)| {
                match work.dense() {
                    // The numbers beside a sample have the lengths that were opened.
                    Some(output) if output.beside.is_some() => cell.extents == *extents,
                    Some(_) => cell.extents.iter().zip(shape).all(|(own, room)| own <= room),
                    None => cell.loose <= *loose,
                }
            })
        };
        let (mut next, mut error) = (0, error);
        loop {
            let planned = Planned { slots: &self.slots, longest: u64::MAX };
            let other = core.other(&self.plan, &self.slots[slot], next, planned, error, fits)?;
            next = other.next;
            sample.segment = Some(other.segment.clone());
            sample.jobs.iter_mut().zip(other.cells).for_each(|(job, cell)| job.cell = cell);
            match self.tried(core, &mut sample, desk, lender) {
                Ok(parts) => {
                    // If another stood there already, it is still the slot's own sample that is told of.
                    let mut swaps = lock(&self.swaps[slot]);
                    let bad = swaps.pop().map_or(bad, |swap| swap.bad);
                    *swaps = vec![Swap { by: By::Sample(other.segment), bad }];
                    return Ok(parts);
                }
                Err(another) => error = another,
            }
        }
    }
}

impl Core {
    /// An error that the recipe bears: of a sample's content, where others may stand in for it. What the system refuses to read may be there on another
    /// rank, or the next time.
    pub(super) fn bearable(&self, error: Error) -> Result<Error> {
        let content = matches!(&error, Error::Sample { fault, .. } if fault.reason != Reason::Unreadable);
        if self.substitutes && content { Ok(error) } else { Err(error) }
    }

    /// What is said of a sample that could not be read.
    pub(super) fn bad(&self, slot: usize, segment: &Segment, error: &Error) -> Substituted {
        Substituted { slot, id: self.row(segment).id().to_owned(), reason: error.to_string() }
    }

    /// Another sample for a slot, from the `from`-th that the plan names on, whose cells can be had and fit; the error, if the recipe wants no other,
    /// the error is not the sample's own, or none of those that the plan names will do.
    pub(super) fn other(
        &self,
        plan: &Plan,
        slot: &Slot,
        from: u32,
        planned: Planned<'_>,
        error: Error,
        fits: impl Fn(&Cells) -> bool,
    ) -> Result<Other> {
        let error = self.bearable(error)?;
        // Where batches are formed by length, nothing longer than what was planned.
        let length = |segment: &Segment| {
            plan.batching().map_or(0, |batching| batching.length(segment.source as usize, segment.row))
        };
        let made = |attempt: u32, segment: Segment| {
            let may = attempt >= from && length(&segment) <= planned.longest;
            let cells = may.then(|| self.cells(plan, &segment).ok()).flatten().filter(|cells| fits(cells))?;
            Some(Other { segment, cells, next: attempt + 1 })
        };
        let mut drawn = (from..SUBSTITUTES).filter_map(|attempt| made(attempt, plan.substitute(slot, attempt)?));
        if let Some(other) = drawn.next() {
            return Ok(other);
        }
        let beside = (SUBSTITUTES..).zip(plan.neighbours(planned.slots, slot));
        let mut beside = beside.filter_map(|(attempt, segment)| made(attempt, segment));
        beside.next().ok_or(error)
    }
}
