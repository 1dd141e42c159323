//! What a row of the plan is in its dataset: its small values, and what each of its payloads needs.

use std::sync::Arc;

use smallvec::SmallVec;

use super::room::SMALL;
use super::{Core, Feed, OutColumn, Work};
use crate::augment::{Chain, Drawn};
use crate::codec::{self, Codec};
use crate::collate::Extents;
use crate::data::index::{Payload, Row};
use crate::data::info::{Info, Kind};
use crate::data::label::Value;
use crate::error::{Fault, Reason, Result};
use crate::plan::{Plan, Segment};

/// One media cell of a row: what is drawn for it, and what that needs.
#[derive(Default)]
pub(super) struct Cell {
    pub(super) payload: Option<(Payload, Option<Drawn>)>,
    pub(super) extents: Extents,
    /// Bytes that it brings to a column without regions.
    pub(super) loose: u64,
}

/// What decoding a payload takes, in bytes.
pub(super) struct Needs {
    payload: Payload,
    /// With the kind of media that comes out, and what of it is decoded.
    codec: Option<(&'static dyn Codec, Kind, Info)>,
}

impl Needs {
    /// Of a payload, and what is drawn for it, where it is decoded.
    pub(super) fn of(payload: &Payload, drawn: Option<(&Drawn, &Chain)>) -> Self {
        // Text and tensors are handed on as they are.
        let drawn = drawn.filter(|(_, chain)| !matches!(chain.kind(), Kind::Text | Kind::Tensor));
        // The region of a picture that is small anyway is not worth knowing.
        let large = u64::from(payload.info.width) * u64::from(payload.info.height) > SMALL / 16;
        let part = |(drawn, chain): (&Drawn, &Chain)| {
            let codec = codec::by_format(payload.info.format).ok()?;
            let narrow = large || chain.kind() != Kind::Image;
            Some((codec, chain.kind(), if narrow { chain.decoded(drawn) } else { payload.info }))
        };
        Needs { payload: *payload, codec: drawn.and_then(part) }
    }

    /// By a payload that is there, with it.
    pub(super) fn whole(&self, bytes: &[u8]) -> u64 {
        self.decoding(bytes).saturating_add(bytes.len() as u64)
    }

    /// By a payload that is not there yet, with it: the most that [`Needs::whole`] may say.
    pub(super) fn unread(&self) -> u64 {
        self.decoding(&[]).saturating_add(self.payload.length)
    }

    /// Of a payload that is read in parts: as many bytes of it at once as the decoder holds, at the most, unless its codec reads all of it.
    pub(super) fn in_parts(&self) -> u64 {
        if self.codec.as_ref().is_some_and(|(codec, ..)| codec.reads_whole()) {
            return self.unread();
        }
        let decoding = self.decoding(&[]);
        decoding.saturating_add(decoding.min(self.payload.length))
    }

    /// What the decoder holds, and of a clip the frames that come out.
    fn decoding(&self, bytes: &[u8]) -> u64 {
        let Some((codec, kind, part)) = &self.codec else { return 0 };
        let pixels = u64::from(part.width).saturating_mul(u64::from(part.height));
        let frames = if *kind == Kind::Video { pixels.saturating_mul(3).saturating_mul(part.count) } else { 0 };
        codec.memory_of_part(bytes, &self.payload.info, part).saturating_add(frames)
    }
}

pub(super) type Cells = SmallVec<[Cell; 1]>;

impl Core {
    pub(super) fn feed(&self, segment: &Segment) -> &Feed {
        &self.feeds[segment.source as usize]
    }

    pub(super) fn row(&self, segment: &Segment) -> Row<'_> {
        self.feed(segment).dataset.index().row(segment.row)
    }

    /// The ids of segments, a line each.
    pub(super) fn ids(&self, segments: &[Segment]) -> String {
        let mut ids = Vec::with_capacity(segments.len() * 24);
        for (number, segment) in segments.iter().enumerate() {
            if number > 0 {
                ids.push(b'\n');
            }
            ids.extend_from_slice(self.row(segment).id_bytes());
        }
        // Looked at once, as a row may have many; one that is no text is told by itself.
        String::from_utf8(ids)
            .unwrap_or_else(|_| segments.iter().map(|segment| self.row(segment).id()).collect::<Vec<_>>().join("\n"))
    }

    /// What is done with the payloads, column by column.
    pub(super) fn works(&self) -> impl Iterator<Item = &Work> {
        self.columns().iter().filter_map(|column| match column {
            OutColumn::Media { work, .. } => Some(work),
            _ => None,
        })
    }

    /// A small value of a row, as the column `number` delivers it.
    pub(super) fn value(&self, segment: &Segment, row: &Row<'_>, number: usize) -> Value {
        match &self.feed(segment).columns[number] {
            OutColumn::Values { index: Some(at), joined, .. } => joined_class(row.value(*at), joined),
            OutColumn::Source { .. } => Value::Int(i64::from(segment.source)),
            _ => Value::Null,
        }
    }

    /// The cells of a slot that is empty.
    pub(super) fn no_cells(&self) -> Cells {
        self.works().map(|_| Cell::default()).collect()
    }

    /// The media cells of a row, each with what is drawn for it.
    pub(super) fn cells(&self, plan: &Plan, segment: &Segment) -> Result<Cells> {
        self.named(Some(segment), || self.drawn(plan, segment))
    }

    fn drawn(&self, plan: &Plan, segment: &Segment) -> Result<Cells> {
        let (feed, row) = (self.feed(segment), self.row(segment));
        let mut cells = Cells::new();
        for column in &feed.columns {
            let OutColumn::Media { index, work, .. } = column else { continue };
            let mut cell = Cell::default();
            if let Some(at) = index.filter(|at| !row.is_null(*at)) {
                let refused = |fault: Fault| fault.at(feed.dataset.origin(segment.row, at));
                let Some(payload) = row.payload(at) else {
                    let newer = "its format is newer than this build: use a newer feedstock";
                    return Err(refused(Fault::new(Reason::Unsupported, newer)));
                };
                let mut drawn = None;
                if let Work::Chain(chain) = work {
                    let own = chain.draw(&payload.info, plan.key(row.key(), segment));
                    chain.admit(&own, &self.limits).map_err(refused)?;
                    cell.extents = chain.extents(&own);
                    drawn = Some(own);
                }
                if work.dense().is_none() {
                    let made = drawn.as_ref().zip(work.chain()).map_or(0, |(drawn, chain)| chain.bytes(drawn) as u64);
                    cell.loose = made.max(payload.length);
                }
                cell.payload = Some((payload, drawn));
            }
            cells.push(cell);
        }
        Ok(cells)
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

#[cfg(test)]
mod tests {
    use super::*;

    /// A crop of a large picture takes less than the picture's bytes, which lie there all the same where the codec reads all of them.
    #[test]
    fn a_payload_that_is_read_whole_counts_whole() {
        for codec in codec::CODECS.iter().filter(|codec| codec.seeks()) {
            let info = Info { width: 9_000, height: 9_000, channels: 3, ..Info::of(codec.format()) };
            let part = Info { width: 32, height: 32, ..info };
            let payload = Payload { offset: 0, length: 40 << 20, hash: 0, info };
            let needs = Needs { payload, codec: Some((*codec, codec.kind(), part)) };
            assert!(needs.in_parts() <= needs.unread(), "{}", codec.name());
            if codec.reads_whole() {
                assert!(needs.in_parts() >= payload.length, "{}", codec.name());
            }
        }
    }
}
