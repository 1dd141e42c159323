//! What workers do: open a batch from the plan, fill its slots, close it.

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, PoisonError};

use smallvec::SmallVec;

use super::packed;
use super::{Core, OutColumn, Stats, Work};
use crate::augment::{Beside, Chain, Drawn, Late, Output, SlotMut, Tools};
use crate::clock::Mark;
use crate::codec::{self, Encoded, Ranged};
use crate::collate::{self, Extents, Forming, Part};
use crate::data::batch::{Batch, BatchPlace, Column, Dense};
use crate::data::buffer::Region;
use crate::data::index::{Payload, Row};
use crate::data::info::Format;
use crate::data::label::Value;
use crate::data::tensor::{DType, Extent};
use crate::dataset::Apart;
use crate::error::{Error, Fault, Origin, Reason, Result};
use crate::plan::{At, Plan, Segment};

/// A batch whose rows, draws and buffers are decided.
pub(super) struct Opened {
    place: BatchPlace,
    valid: Vec<bool>,
    ids: Vec<String>,
    columns: Vec<OpenColumn>,
    samples: Vec<Mutex<Option<Sample>>>,
    results: Vec<Mutex<Option<Result<Parts>>>>,
}

/// One output column of an open batch.
enum OpenColumn {
    /// Read from the Index, done.
    Values(Dense),
    /// Decoded; with the numbers beside it, where they have room of their own.
    Media { forming: Forming, slot: Place, beside: Option<Forming> },
    /// Rows of token sequences: tokens, segments, positions.
    Packed([Forming; 3]),
}

/// The padded shape of a column's samples, and their strides where they are not row-major.
#[derive(Default)]
struct Place {
    shape: Vec<usize>,
    strides: Vec<usize>,
}

/// One slot's work, taken by the worker that claims it.
struct Sample {
    /// Which source of a mixture, and its row.
    row: Option<(usize, u64)>,
    jobs: SmallVec<[Job; 2]>,
    packed: Option<packed::Row>,
}

/// One media cell of a slot.
struct Job {
    cell: Option<(Payload, Option<Drawn>)>,
    region: Option<Region>,
    beside: Option<Region>,
}

type Parts = SmallVec<[Part; 2]>;

/// A worker's own memory.
#[derive(Default)]
pub(super) struct Desk {
    pub(super) tools: Tools,
    pub(super) payload: Vec<u8>,
}

/// A payload that is read in parts, counted.
struct Metered<'a> {
    source: Apart<'a>,
    stats: &'a Stats,
    nanos: Cell<u64>,
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
        self.nanos.set(self.nanos.get().saturating_add(mark.nanos()));
        Stats::add(&self.stats.bytes, out.len() as u64);
        Ok(())
    }
}

impl Opened {
    /// Decides everything about global batch `batch` of the plan. `reserve` is told the bytes before they are taken.
    pub(super) fn new(
        core: &Core,
        plan: &Plan,
        epoch: u64,
        at: At,
        reserve: impl FnOnce(u64) -> Result<()>,
    ) -> Result<Self> {
        let slots = plan.slots(at);
        let n = slots.len();
        let valid: Vec<bool> = slots.iter().map(|s| s.valid).collect();
        let feed = |segment: &Segment| &core.feeds[segment.source as usize];
        let rows: Vec<_> =
            slots.iter().map(|s| s.segments.first().map(|g| (g, feed(g).dataset.index().row(g.row)))).collect();
        let id = |segment: &Segment| feed(segment).dataset.index().row(segment.row).id().to_owned();
        // Of a row of several, one line each.
        let ids = slots.iter().map(|s| s.segments.iter().map(id).collect::<Vec<_>>().join("\n")).collect();
        let mut samples: Vec<Sample> = rows
            .iter()
            .map(|r| Sample {
                row: r.as_ref().map(|(segment, _)| (segment.source as usize, segment.row)),
                jobs: SmallVec::new(),
                packed: None,
            })
            .collect();

        // First what every sample needs, so that the bytes are known before any is taken.
        let mut bytes = 0u64;
        let mut shapes = Vec::new();
        for (number, column) in core.columns().iter().enumerate() {
            // What all feeds deliver of the column is alike.
            let OutColumn::Media { work: like, .. } = column else { continue };
            let mut extents: Vec<Extents> = Vec::with_capacity(n);
            for (sample, row) in samples.iter_mut().zip(&rows) {
                let mut cell = None;
                let mut own = Extents::new();
                if let Some((segment, row)) = row
                    && let OutColumn::Media { index: Some(at), work, .. } = &feed(segment).columns[number]
                    && !row.is_null(*at)
                {
                    let refused = |fault: Fault| fault.at(feed(segment).dataset.origin(segment.row, *at));
                    let Some(payload) = row.payload(*at) else {
                        return Err(refused(Fault::new(
                            Reason::Unsupported,
                            "its format is newer than this build: use a newer feedstock",
                        )));
                    };
                    let drawn = match work {
                        Work::Bytes => None,
                        Work::Chain(chain) => {
                            let drawn = chain.draw(&payload.info, plan.key(row.key(), segment));
                            chain.admit(&drawn, &core.limits).map_err(refused)?;
                            own = chain.extents(&drawn);
                            Some(drawn)
                        }
                    };
                    if work.dense().is_none() {
                        let made =
                            drawn.as_ref().zip(work.chain()).map_or(0, |(drawn, chain)| chain.bytes(drawn) as u64);
                        bytes = bytes.saturating_add(made.max(payload.length));
                    }
                    cell = Some((payload, drawn));
                }
                extents.push(own);
                sample.jobs.push(Job { cell, region: None, beside: None });
            }
            let shape = like.dense().map(|output| output.padded(&extents));
            if let (Some(output), Some(shape)) = (like.dense(), &shape) {
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
        for column in core.columns() {
            if let OutColumn::Packed { chain, length, .. } = column {
                bytes = bytes.saturating_add(super::packed_bytes(chain, *length).saturating_mul(n as u64));
            }
        }
        reserve(bytes)?;

        let mut shapes = shapes.into_iter();
        let mut media = 0;
        let mut columns = Vec::with_capacity(core.columns().len());
        for (number, column) in core.columns().iter().enumerate() {
            match column {
                OutColumn::Values { dtype, class, .. } => {
                    let cell = |(segment, row): &(&Segment, Row<'_>)| match &feed(segment).columns[number] {
                        OutColumn::Values { index: Some(at), joined, .. } => joined_class(row.value(*at), joined),
                        _ => Value::Null,
                    };
                    let cells: Vec<Value> = rows.iter().map(|r| r.as_ref().map_or(Value::Null, cell)).collect();
                    columns.push(OpenColumn::Values(collate::values(&core.pool, *dtype, *class, &cells)));
                }
                OutColumn::Source { .. } => {
                    let cell = |(segment, _): &(&Segment, Row<'_>)| Value::Int(i64::from(segment.source));
                    let cells: Vec<Value> = rows.iter().map(|r| r.as_ref().map_or(Value::Null, cell)).collect();
                    columns.push(OpenColumn::Values(collate::values(&core.pool, DType::I64, true, &cells)));
                }
                OutColumn::Packed { chain, length, .. } => {
                    let (forming, rows) = packed::open(core, plan, (chain, *length), &slots)?;
                    samples.iter_mut().zip(rows).for_each(|(sample, row)| sample.packed = Some(row));
                    columns.push(OpenColumn::Packed(forming));
                }
                OutColumn::Media { work, .. } => {
                    let (shape, extents) = shapes.next().unwrap_or_default();
                    columns.push(core.open_media(work, shape, &extents, &mut samples, media)?);
                    media += 1;
                }
            }
        }
        Ok(Opened {
            place: BatchPlace { epoch, window: at.window, batch: at.batch },
            valid,
            ids,
            columns,
            results: samples.iter().map(|_| Mutex::new(None)).collect(),
            samples: samples.into_iter().map(|s| Mutex::new(Some(s))).collect(),
        })
    }

    /// Slots of the batch.
    pub(super) fn slots(&self) -> usize {
        self.samples.len()
    }

    /// Does the work of one slot; whatever goes wrong is kept for the closing.
    pub(super) fn fill(&self, core: &Core, slot: usize, desk: &mut Desk) {
        let Some(sample) = lock(&self.samples[slot]).take() else { return };
        let row = sample.row;
        let result = catch_unwind(AssertUnwindSafe(|| core.sample(&self.columns, sample, desk)));
        let result = result.unwrap_or_else(|panic| {
            *desk = Desk::default();
            let origin = |(source, row): (usize, u64)| core.feeds[source].dataset.origin(row, usize::MAX);
            let origin = row.map_or_else(Origin::default, origin);
            Err(Error::Panic { origin, message: panic_message(&*panic) })
        });
        *lock(&self.results[slot]) = Some(result);
    }

    /// Joins the columns; the error of the lowest slot, if there is one. Called once, by the last worker.
    pub(super) fn close(self, core: &Core) -> Result<Batch> {
        let mut parts: Vec<std::collections::VecDeque<Part>> = Vec::with_capacity(self.results.len());
        for result in self.results {
            let done = result.into_inner().unwrap_or_else(PoisonError::into_inner);
            let missing = || Error::library("closing a batch", "a slot was not filled");
            parts.push(done.ok_or_else(missing)??.into_iter().collect());
        }
        drop(self.samples);
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
        Ok(Batch { place: self.place, columns, valid: self.valid, ids: self.ids })
    }
}

impl Core {
    /// Takes the memory of a media column and hands its regions to the samples.
    fn open_media(
        &self,
        work: &Work,
        shape: Option<Vec<usize>>,
        extents: &[Extents],
        samples: &mut [Sample],
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
        for (sample, region) in samples.iter_mut().zip(regions) {
            sample.jobs[media].region = Some(region);
        }
        let mut open = None;
        if let Some(beside) = output.beside {
            // Its lengths are those of the column itself.
            let shape = numbers(beside, &shape);
            let (forming, regions) = collate::open(&self.pool, &plain(&shape), &shape, extents)?;
            for (sample, region) in samples.iter_mut().zip(regions) {
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

    /// Fetches, decodes and augments the media cells of one slot.
    fn sample(&self, columns: &[OpenColumn], sample: Sample, desk: &mut Desk) -> Result<Parts> {
        let mut parts = Parts::new();
        if let Some(row) = sample.packed {
            self.pack(row, desk)?;
            return Ok(parts);
        }
        let feed = &self.feeds[sample.row.map_or(0, |(source, _)| source)];
        let dataset = &feed.dataset;
        let media = feed.columns.iter().zip(columns).filter_map(|(out, open)| match (out, open) {
            (OutColumn::Media { index, work, .. }, OpenColumn::Media { slot, .. }) => Some((*index, work, slot)),
            _ => None,
        });
        for ((index, work, slot), mut job) in media.zip(sample.jobs) {
            let (Some((_, row)), Some(index), Some((payload, drawn))) = (sample.row, index, &job.cell) else {
                parts.push(absent(work, slot, &mut job));
                continue;
            };
            let Desk { tools, payload: held } = &mut *desk;
            // What has a seek table is read as its codec asks for it, and all else before.
            let seeks = drawn.is_some() && codec::by_format(payload.info.format).is_ok_and(|codec| codec.seeks());
            let apart = if seeks && !self.check_hash { dataset.apart(row, index) } else { None };
            let apart =
                apart.map(|(table, source)| (table, Metered { source, stats: &self.stats, nanos: Cell::new(0) }));
            if apart.is_none() {
                let mark = Mark::now();
                match self.check_hash {
                    true => dataset.fetch_checked(row, index, held)?,
                    false => dataset.fetch(row, index, held)?,
                };
                Stats::add(&self.stats.fetch, mark.nanos());
                Stats::add(&self.stats.bytes, held.len() as u64);
            }
            let fault = |fault: Fault| fault.at(dataset.origin(row, index));
            match (work, drawn) {
                (Work::Chain(chain), Some(drawn)) => {
                    let mark = Mark::now();
                    tools.decode_nanos = 0;
                    let encoded = match &apart {
                        Some((table, source)) => Encoded::Apart { table, source },
                        None => Encoded::Whole(held),
                    };
                    let format = payload.info.format;
                    let (region, beside) = (job.region, job.beside);
                    parts.push(self.run(chain, drawn, (format, encoded), tools, slot, region, beside).map_err(fault)?);
                    // Reading was within decoding.
                    let read = apart.map_or(0, |(_, source)| source.nanos.get());
                    let (all, decode) = (mark.nanos(), tools.decode_nanos);
                    Stats::add(&self.stats.fetch, read);
                    Stats::add(&self.stats.decode, decode.saturating_sub(read));
                    Stats::add(&self.stats.augment, all.saturating_sub(decode));
                }
                _ => {
                    let bytes = held.clone();
                    parts.push(Part::Loose(Late { shape: vec![bytes.len()], bytes, beside: Vec::new() }));
                }
            }
        }
        if sample.row.is_some() {
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
        region: Option<Region>,
        beside: Option<Region>,
    ) -> Result<Part, Fault> {
        let codec = codec::by_format(format)?;
        let Some(mut region) = region else {
            return chain.run_late(drawn, payload, codec, &self.limits, tools).map(Part::Loose);
        };
        let mut beside = beside;
        let beside = beside.as_mut().map(|b| bytemuck::cast_slice_mut(b.bytes_mut()));
        let slot = SlotMut { bytes: region.bytes_mut(), shape: &slot.shape, strides: &slot.strides, beside };
        chain.run(drawn, payload, codec, &self.limits, tools, slot).map(Part::Written)
    }
}

/// A class, by its number among those of all sources.
fn joined_class(value: Value, joined: &Option<Arc<[i64]>>) -> Value {
    match (value, joined) {
        (Value::Int(class), Some(joined)) if class >= 0 => usize::try_from(class)
            .ok()
            .and_then(|class| joined.get(class))
            .map_or(Value::Int(-1), |class| Value::Int(*class)),
        (value, _) => value,
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

/// Fills the slot of a null cell, or of padding.
fn absent(work: &Work, slot: &Place, job: &mut Job) -> Part {
    if let (Some(output), Some(region)) = (work.dense(), &mut job.region) {
        let beside = job.beside.as_mut().map(|b| bytemuck::cast_slice_mut(b.bytes_mut()));
        let Place { shape, strides } = slot;
        SlotMut { bytes: region.bytes_mut(), shape, strides, beside }.vacate(output);
    }
    Part::Missing
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The text of a caught panic.
pub(super) fn panic_message(panic: &(dyn std::any::Any + Send)) -> String {
    let text =
        panic.downcast_ref::<&str>().map(|s| (*s).to_owned()).or_else(|| panic.downcast_ref::<String>().cloned());
    text.unwrap_or_else(|| "without a message".into())
}
