//! What a worker does for one slot of an open batch: its payloads are read, decoded, and written where they belong.

use super::cells::Needs;
use super::desk::{Desk, Metered};
use super::room::{Lender, SMALL};
use super::work::{Job, OpenColumn, Parts, Place, Sample};
use super::{Core, OutColumn, Stats, Work};
use crate::augment::{Chain, Drawn, Late, SlotMut, Tools};
use crate::clock::Mark;
use crate::codec::{self, Encoded};
use crate::collate::Part;
use crate::data::buffer::Region;
use crate::data::info::Format;
use crate::error::{Fault, Reason, Result};

impl Core {
    /// Fetches, decodes and augments the media cells of one slot.
    pub(super) fn sample(
        &self,
        columns: &[OpenColumn],
        sample: &mut Sample,
        desk: &mut Desk,
        lender: &Lender<'_>,
    ) -> Result<Parts> {
        let mut parts = Parts::new();
        if let Some(row) = &mut sample.packed {
            self.pack(row, desk, lender)?;
            return Ok(parts);
        }
        let segment = sample.segment.as_ref();
        let feed = segment.map_or(&self.feeds[0], |segment| self.feed(segment));
        let dataset = &feed.dataset;
        let mut media = 0;
        for (out, open) in feed.columns.iter().zip(columns) {
            let (index, work, slot) = match (out, open) {
                (OutColumn::Media { index, work, .. }, OpenColumn::Media { slot, .. }) => (*index, work, slot),
                (_, OpenColumn::Objects) => {
                    self.objects(segment, out, &sample.jobs, &mut parts)?;
                    continue;
                }
                _ => continue,
            };
            let Some(job) = sample.jobs.get_mut(media) else { continue };
            media += 1;
            let (Some(row), Some(index), Some((payload, drawn))) = (segment.map(|s| s.row), index, &job.cell.payload)
            else {
                parts.push(absent(work, slot, job));
                continue;
            };
            let needs = Needs::of(payload, drawn.as_ref().zip(work.chain()));
            let Desk { tools, payload: held, .. } = &mut *desk;
            // What has a seek table is read as its codec asks for it, and all else before.
            let seeks = drawn.is_some() && codec::by_format(payload.info.format).is_ok_and(|codec| codec.seeks());
            let apart = if seeks && !self.check_hash { dataset.apart(row, index) } else { None };
            let apart = apart.map(|(table, source)| (table, Metered::new(source, &self.stats)));
            // Tensors and stored pixels are used as they stand, in their place.
            let in_place = matches!(payload.info.format, Format::Tensor | Format::Rgb)
                && drawn.is_some()
                && dataset.is_sharded()
                && !self.check_hash;
            // What is large is not read before there are the bytes to decode it, too: else it would lie there uncounted until it is its turn.
            let large = apart.is_none() && payload.length > SMALL;
            let mut loan = if large { self.lent(lender, needs.unread())? } else { None };
            if apart.is_none() && !in_place {
                span!("fetch", row = row);
                let mark = Mark::now();
                match self.check_hash {
                    true => dataset.fetch_checked(row, index, held)?,
                    false => dataset.fetch(row, index, held)?,
                };
                self.stats.fetched(mark.nanos(), held.len() as u64);
            }
            let bytes = match &apart {
                Some(_) => needs.in_parts(),
                None if in_place => needs.unread(),
                None => needs.whole(held),
            };
            // Nobody waits for a loan with one in hand.
            let _loan = match &mut loan {
                Some(loan) => {
                    loan.shrink(bytes);
                    None
                }
                None => self.lent(lender, bytes)?,
            };
            let fault = |fault: Fault| fault.at(dataset.origin(row, index));
            match (work, drawn) {
                (Work::Chain(chain), Some(drawn)) => {
                    span!("work", row = row);
                    let mark = Mark::now();
                    tools.decode_nanos = 0;
                    let format = payload.info.format;
                    let (region, beside) = (job.region.as_mut(), job.beside.as_mut());
                    let mut viewed = 0;
                    let made = |encoded: Encoded<'_>, tools: &mut Tools| {
                        self.run(chain, drawn, (format, encoded), tools, slot, region, beside)
                    };
                    let made = match &apart {
                        Some((table, source)) => made(Encoded::Apart { table, source }, tools),
                        None if in_place => {
                            let look = |bytes: &[u8]| {
                                // Waiting for storage is reading, not what is done with it.
                                viewed = mark.nanos();
                                self.stats.fetched(viewed, bytes.len() as u64);
                                made(Encoded::Whole(bytes), tools)
                            };
                            let seen = dataset.viewer().waiting().view(row, index, None, held, look)?;
                            seen.map_or_else(
                                || Err(Fault::new(Reason::Unreadable, "it is not there")),
                                |(_, made)| made,
                            )
                        }
                        None => made(Encoded::Whole(held), tools),
                    };
                    parts.push(made.map_err(fault)?);
                    // Reading was within decoding.
                    let read = apart.map_or(0, |(_, source)| source.nanos());
                    let (all, decode) = (mark.nanos().saturating_sub(viewed), tools.decode_nanos);
                    Stats::add(&self.stats.decode, decode.saturating_sub(read));
                    Stats::add(&self.stats.augment, all.saturating_sub(decode));
                }
                _ => {
                    let bytes = held.clone();
                    parts.push(Part::Loose(Late { shape: vec![bytes.len()], bytes, beside: Vec::new() }));
                }
            }
        }
        if sample.segment.is_some() {
            Stats::add(&self.stats.samples, 1);
        }
        Ok(parts)
    }

    #[allow(clippy::too_many_arguments, reason = "one call site; a struct would only rename them")]
    fn run(
        &self,
        chain: &Chain,
        drawn: &Drawn,
        (format, payload): (Format, Encoded<'_>),
        tools: &mut Tools,
        slot: &Place,
        region: Option<&mut Region>,
        beside: Option<&mut Region>,
    ) -> Result<Part, Fault> {
        let codec = codec::by_format(format)?;
        let Some(region) = region else {
            return chain.run_late(drawn, payload, codec, &self.limits, tools).map(Part::Loose);
        };
        let beside = beside.map(|b| bytemuck::cast_slice_mut(b.bytes_mut()));
        let slot = SlotMut { bytes: region.bytes_mut(), shape: &slot.shape, strides: &slot.strides, beside };
        chain.run(drawn, payload, codec, &self.limits, tools, slot).map(Part::Written)
    }
}

/// Fills the slot of a null cell, or of padding.
fn absent(work: &Work, slot: &Place, job: &mut Job) -> Part {
    if let (Some(output), Some(region)) = (work.dense(), &mut job.region) {
        let beside = job.beside.as_mut().map(|b| bytemuck::cast_slice_mut(b.bytes_mut()));
        let Place { shape, strides } = slot;
        SlotMut { bytes: region.bytes_mut(), shape, strides, beside }.vacate(output);
    }
    Part::Missing
}
