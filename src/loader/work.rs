//! What workers do: open a batch from the plan, fill its slots, close it.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, PoisonError};

use smallvec::SmallVec;

use super::cells::Cell;
use super::desk::Desk;
use super::located;
use super::packed;
use super::room::{Lender, Loan, SMALL};
use super::substitute::{By, Swap, longest};
use super::{Core, OutColumn, Stats, Work};
use crate::augment::{Beside, Output};
use crate::clock::Mark;
use crate::collate::{self, Extents, Forming, Part};
use crate::data::batch::{Batch, BatchPlace, Column, Dense};
use crate::data::buffer::Region;
use crate::data::index::Row;
use crate::data::label::Value;
use crate::data::tensor::{DType, Extent};
use crate::error::{Error, Origin, Result};
use crate::plan::{At, Plan, Segment, Slot};

/// A batch whose rows, draws and buffers are decided.
pub(super) struct Opened {
    place: BatchPlace,
    pub(super) plan: Arc<Plan>,
    pub(super) slots: Vec<Slot>,
    valid: Vec<bool>,
    ids: Vec<String>,
    pub(super) columns: Vec<OpenColumn>,
    samples: Vec<Waiting>,
    results: Vec<Mutex<Option<Result<Parts>>>>,
    /// What stands in place of a sample that could not be read.
    pub(super) swaps: Vec<Mutex<Vec<Swap>>>,
}

/// One output column of an open batch.
pub(super) enum OpenColumn {
    /// Read from the Index, done.
    Values(Dense),
    /// Decoded; with the numbers beside it, where they have room of their own.
    Media { forming: Forming, slot: Place, beside: Option<Forming> },
    /// Rows of token sequences: tokens, segments, positions.
    Packed([Forming; 3]),
    /// Objects, which samples bring.
    Objects,
}

/// The padded shape of a column's samples, and their strides where they are not row-major.
#[derive(Default)]
pub(super) struct Place {
    pub(super) shape: Vec<usize>,
    pub(super) strides: Vec<usize>,
}

/// A slot's work, until the worker that claims it takes it.
type Waiting = Mutex<Option<Sample>>;

/// The work that nobody has taken yet.
fn waiting(samples: &mut [Waiting]) -> impl Iterator<Item = &mut Sample> {
    samples.iter_mut().filter_map(|sample| sample.get_mut().unwrap_or_else(PoisonError::into_inner).as_mut())
}

/// One slot's work.
pub(super) struct Sample {
    pub(super) segment: Option<Segment>,
    /// One for each column; more than one are rare, and a batch of them is as much as the heap gives back to the system and has to ask for again.
    pub(super) jobs: SmallVec<[Job; 1]>,
    pub(super) packed: Option<packed::Row>,
}

/// One media cell of a slot, and where it goes.
pub(super) struct Job {
    pub(super) cell: Cell,
    pub(super) region: Option<Region>,
    pub(super) beside: Option<Region>,
}

pub(super) type Parts = SmallVec<[Part; 2]>;

impl Opened {
    /// Decides everything about global batch `batch` of the plan. `reserve` is told the bytes before they are taken.
    pub(super) fn new(
        core: &Core,
        plan: &Arc<Plan>,
        epoch: u64,
        at: At,
        reserve: impl FnOnce(u64) -> Result<()>,
    ) -> Result<Self> {
        let slots = plan.slots(at);
        let n = slots.len();
        let valid: Vec<bool> = slots.iter().map(|s| s.valid).collect();

        slots.iter().flat_map(|slot| &slot.segments).for_each(|segment| core.row(segment).touch());
        // First what every sample needs, so that the bytes are known before any is taken.
        let packs = core.columns().iter().any(|column| matches!(column, OutColumn::Packed { .. }));
        let mut bytes = 0u64;
        let mut samples: Vec<Waiting> = Vec::with_capacity(n);
        let mut swaps: Vec<Vec<Swap>> = Vec::with_capacity(n);
        for (number, slot) in slots.iter().enumerate() {
            // Packed rows have jobs of their own.
            let first = slot.segments.first().filter(|_| !packs);
            let (segment, cells, swap) = match first.map(|own| (own, core.cells(plan, own))) {
                None => (None, core.no_cells(), Vec::new()),
                Some((own, Ok(cells))) => (Some(own.clone()), cells, Vec::new()),
                Some((own, Err(error))) => {
                    let bad = core.bad(number, own, &error);
                    let other = core.other(plan, slot, 0, longest(plan, &slots), error, |_| true)?;
                    let swap = Swap { by: By::Sample(other.segment.clone()), bad };
                    (Some(other.segment), other.cells, vec![swap])
                }
            };
            bytes = cells.iter().fold(bytes, |bytes, cell| bytes.saturating_add(cell.loose));
            let jobs = cells.into_iter().map(|cell| Job { cell, region: None, beside: None }).collect();
            samples.push(Mutex::new(Some(Sample { segment, jobs, packed: None })));
            swaps.push(swap);
        }
        let rows: Vec<Option<(&Segment, Row<'_>)>> = slots
            .iter()
            .zip(&swaps)
            .map(|(slot, swap)| match swap.first() {
                Some(Swap { by: By::Sample(other), .. }) => Some(other),
                _ => slot.segments.first(),
            })
            .map(|segment| segment.map(|segment| (segment, core.row(segment))))
            .collect();
        let ids = slots.iter().zip(&rows).map(|(slot, row)| match row {
            Some((_, row)) if !packs => row.id().to_owned(),
            _ => core.ids(&slot.segments),
        });
        let ids = ids.collect();
        let mut shapes = Vec::new();
        let media = core.columns().iter().filter_map(|column| match column {
            OutColumn::Media { work, .. } => Some(work),
            _ => None,
        });
        for (number, work) in media.enumerate() {
            let extents = waiting(&mut samples).map(|sample| sample.jobs[number].cell.extents.clone());
            let extents: Vec<Extents> = extents.collect();
            let shape = work.dense().map(|output| output.padded(&extents));
            if let (Some(output), Some(shape)) = (work.dense(), &shape) {
                let size = collate::dense_bytes(n, output, shape);
                bytes = bytes.saturating_add(size.map_or(u64::MAX, |b| b as u64));
                if let Some(beside) = output.beside {
                    let numbers = numbers(beside, shape);
                    let size = collate::dense_bytes(n, &plain(&numbers), &numbers);
                    bytes = bytes.saturating_add(size.map_or(u64::MAX, |b| b as u64));
                }
            }
            shapes.push((shape, extents));
        }
        for (number, column) in core.columns().iter().enumerate() {
            match column {
                OutColumn::Packed { chain, length, .. } => {
                    bytes = bytes.saturating_add(super::least::packed_bytes(chain, *length).saturating_mul(n as u64));
                }
                OutColumn::Objects { .. } => {
                    // What is delivered is about what is packed.
                    let of = |(segment, row): &(&Segment, Row<'_>)| {
                        let index = core.feed(segment).columns[number].index();
                        index.and_then(|index| row.table(index)).map_or(0, <[u8]>::len) as u64
                    };
                    bytes = rows.iter().flatten().map(of).fold(bytes, u64::saturating_add);
                }
                _ => {}
            }
        }
        reserve(bytes)?;

        let mut shapes = shapes.into_iter();
        let mut media = 0;
        let mut columns = Vec::with_capacity(core.columns().len());
        for (number, column) in core.columns().iter().enumerate() {
            match column {
                OutColumn::Values { .. } | OutColumn::Source { .. } => {
                    let cell = |(segment, row): &(&Segment, Row<'_>)| core.value(segment, row, number);
                    let cells: Vec<Value> = rows.iter().map(|r| r.as_ref().map_or(Value::Null, cell)).collect();
                    let (dtype, class) = column.values();
                    columns.push(OpenColumn::Values(collate::values(&core.pool, dtype, class, &cells)));
                }
                OutColumn::Packed { chain, length, .. } => {
                    let (forming, rows) = packed::open(core, plan, (chain, *length), &slots)?;
                    waiting(&mut samples).zip(rows).for_each(|(sample, row)| sample.packed = Some(row));
                    columns.push(OpenColumn::Packed(forming));
                }
                OutColumn::Objects { .. } => columns.push(OpenColumn::Objects),
                OutColumn::Media { work, .. } => {
                    let (shape, extents) = shapes.next().unwrap_or_default();
                    columns.push(core.open_media(work, shape, &extents, &mut samples, media)?);
                    media += 1;
                }
            }
        }
        drop(rows);
        Ok(Opened {
            place: BatchPlace { epoch, window: at.window, batch: at.batch },
            plan: plan.clone(),
            valid,
            ids,
            columns,
            results: slots.iter().map(|_| Mutex::new(None)).collect(),
            swaps: swaps.into_iter().map(Mutex::new).collect(),
            slots,
            samples,
        })
    }

    /// Slots of the batch.
    pub(super) fn slots(&self) -> usize {
        self.samples.len()
    }

    /// Does the work of one slot; whatever goes wrong is kept for the closing.
    pub(super) fn fill(&self, core: &Core, slot: usize, desk: &mut Desk, lender: &Lender<'_>) {
        let Some(mut sample) = lock(&self.samples[slot]).take() else { return };
        span!("sample", batch = self.place.batch, slot = slot);
        let result = match self.tried(core, &mut sample, desk, lender) {
            Err(error) if sample.packed.is_none() => self.replaced(core, slot, sample, error, desk, lender),
            result => {
                let bad = sample.packed.map(packed::Row::bad).unwrap_or_default();
                let swap = |(own, error): (Segment, Error)| {
                    let bad = core.bad(slot, &own, &error);
                    Swap { by: By::Padding(own), bad }
                };
                lock(&self.swaps[slot]).extend(bad.into_iter().map(swap));
                result
            }
        };
        // Whatever way it went: what one huge payload took is not kept.
        desk.trim();
        *lock(&self.results[slot]) = Some(result);
    }

    /// Does the work of a sample; a panic is its error.
    pub(super) fn tried(
        &self,
        core: &Core,
        sample: &mut Sample,
        desk: &mut Desk,
        lender: &Lender<'_>,
    ) -> Result<Parts> {
        let segment = sample.segment.clone();
        let result = core.named(segment.as_ref(), || core.sample(&self.columns, sample, desk, lender));
        if matches!(result, Err(Error::Panic { .. })) {
            // What the panic left there is of no use.
            *desk = Desk::default();
        }
        result
    }

    /// Joins the columns; the error of the lowest slot, if there is one. Called once, by the last worker.
    pub(super) fn close(mut self, core: &Core) -> Result<Batch> {
        let mut parts: Vec<std::collections::VecDeque<Part>> = Vec::with_capacity(self.results.len());
        for result in self.results {
            let done = result.into_inner().unwrap_or_else(PoisonError::into_inner);
            let missing = || Error::library("closing a batch", "a slot was not filled");
            parts.push(done.ok_or_else(missing)??.into_iter().collect());
        }
        drop(self.samples);
        let mut substituted = Vec::new();
        for (slot, swaps) in self.swaps.into_iter().enumerate() {
            for Swap { by, bad } in swaps.into_inner().unwrap_or_else(PoisonError::into_inner) {
                Stats::add(&core.stats.substituted, 1);
                substituted.push(bad);
                match by {
                    By::Padding(gone) => {
                        // The lines of a packed row's ids are its segments.
                        let own = &mut self.slots[slot].segments;
                        own.retain(|segment| *segment != gone);
                        self.valid[slot] = !own.is_empty();
                        self.ids[slot] = core.ids(own);
                    }
                    By::Sample(other) => {
                        let row = core.row(&other);
                        self.ids[slot] = row.id().to_owned();
                        for (number, column) in self.columns.iter_mut().enumerate() {
                            if let OpenColumn::Values(dense) = column {
                                let (_, class) = core.columns()[number].values();
                                collate::set_value(dense, slot, class, &core.value(&other, &row, number));
                            }
                        }
                    }
                }
            }
        }
        let mut columns = Vec::with_capacity(self.columns.len());
        for (column, out) in self.columns.into_iter().zip(core.columns()) {
            let name = out.name().to_owned();
            match column {
                OpenColumn::Values(dense) => columns.push((name, Column::Dense(dense))),
                OpenColumn::Packed(forming) => {
                    for (forming, suffix) in forming.into_iter().zip(["", "_segments", "_positions"]) {
                        let written = |valid: &bool| if *valid { Part::Written(Extents::new()) } else { Part::Missing };
                        let parts = self.valid.iter().map(written).collect();
                        columns.push((format!("{name}{suffix}"), forming.close(parts)?));
                    }
                }
                OpenColumn::Objects => {
                    let OutColumn::Objects { of, .. } = out else { continue };
                    for (suffix, dtype) in located::delivered(of) {
                        let own = parts.iter_mut().map(|p| p.pop_front().unwrap_or(Part::Missing)).collect();
                        columns.push((format!("{name}_{suffix}"), Forming::Loose(Some(dtype)).close(own)?));
                    }
                }
                OpenColumn::Media { forming, beside: open, .. } => {
                    let mut own: Vec<Part> = parts.iter_mut().map(|p| p.pop_front().unwrap_or(Part::Missing)).collect();
                    let beside = out.beside();
                    let named = beside.map(|b| format!("{name}_{}", b.suffix));
                    let numbers = match (open, beside) {
                        (Some(open), _) => {
                            Some(open.close(self.valid.iter().map(|_| Part::Written(Extents::new())).collect())?)
                        }
                        (None, Some(beside)) => {
                            Some(Forming::Loose(Some(DType::I64)).close(collate::beside(&mut own, beside))?)
                        }
                        (None, None) => None,
                    };
                    columns.push((name, forming.close(own)?));
                    columns.extend(named.zip(numbers));
                }
            }
        }
        Ok(Batch { place: self.place, columns, valid: self.valid, ids: self.ids, substituted })
    }
}

impl Core {
    /// Takes the memory of a media column and hands its regions to the samples.
    fn open_media(
        &self,
        work: &Work,
        shape: Option<Vec<usize>>,
        extents: &[Extents],
        samples: &mut [Waiting],
        media: usize,
    ) -> Result<OpenColumn> {
        let (Some(output), Some(shape)) = (work.dense(), shape) else {
            return Ok(OpenColumn::Media {
                forming: Forming::Loose(work.loose()),
                slot: Place::default(),
                beside: None,
            });
        };
        let (forming, regions) = collate::open(&self.pool, output, &shape, extents)?;
        for (sample, region) in waiting(samples).zip(regions) {
            sample.jobs[media].region = Some(region);
        }
        let mut open = None;
        if let Some(beside) = output.beside {
            // Its lengths are those of the column itself.
            let shape = numbers(beside, &shape);
            let (forming, regions) = collate::open(&self.pool, &plain(&shape), &shape, extents)?;
            for (sample, region) in waiting(samples).zip(regions) {
                sample.jobs[media].beside = Some(region);
            }
            open = Some(forming);
        }
        let strides = match &forming {
            Forming::Dense { strides, .. } => strides.iter().skip(1).copied().collect(),
            Forming::Loose(_) => Vec::new(),
        };
        Ok(OpenColumn::Media { forming, slot: Place { shape, strides }, beside: open })
    }

    /// What is done for a segment; a panic is an error that names it.
    pub(super) fn named<T>(&self, segment: Option<&Segment>, work: impl FnOnce() -> Result<T>) -> Result<T> {
        catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|panic| {
            let origin = |segment: &Segment| self.feed(segment).dataset.origin(segment.row, usize::MAX);
            let origin = segment.map_or_else(Origin::default, origin);
            Err(Error::Panic { origin, message: panic_message(&*panic) })
        })
    }

    /// Bytes for some work, and the time that was waited for them.
    pub(super) fn lent(&self, lender: &Lender<'_>, bytes: u64) -> Result<Option<Loan>> {
        if bytes <= SMALL {
            return Ok(None);
        }
        let mark = Mark::now();
        let loan = lender.lend(bytes);
        Stats::add(&self.stats.stall, mark.nanos());
        loan.map(Some)
    }
}

/// Numbers of just this shape, row-major.
pub(super) fn plain(shape: &[usize]) -> Output {
    let shape = shape.iter().map(|n| Extent::Fixed(*n)).collect();
    Output { dtype: DType::I64, shape, pad: 0.0, beside: None, placement: Default::default() }
}

/// The shape of a sample's numbers beside a column whose samples are padded to `shape`.
fn numbers(beside: Beside, shape: &[usize]) -> Vec<usize> {
    let places = shape.first().copied().unwrap_or(0);
    if beside.width == 1 { vec![places] } else { vec![places, beside.width] }
}

pub(super) fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The text of a caught panic.
pub(super) fn panic_message(panic: &(dyn std::any::Any + Send)) -> String {
    let text =
        panic.downcast_ref::<&str>().map(|s| (*s).to_owned()).or_else(|| panic.downcast_ref::<String>().cloned());
    text.unwrap_or_else(|| "without a message".into())
}
