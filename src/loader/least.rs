//! The least memory that a loader is built with.

use super::{Feed, OutColumn, Work};
use crate::augment::Chain;
use crate::data::info::{Format, Info};
use crate::data::tensor::DType;
use crate::rng::Key;

/// The law on memory: three times the largest payload, and a batch.
pub(super) fn least_memory(feed: &Feed, batch: usize) -> u64 {
    let index = feed.dataset.index();
    let mut payload = 0;
    // A slot's own bookkeeping: ids, jobs, draws.
    let mut bytes = (batch as u64).saturating_mul(256);
    for column in &feed.columns {
        if let OutColumn::Packed { index: at, chain, length, .. } = column {
            payload = index.largest(*at)[0].max(payload);
            bytes = bytes.saturating_add(packed_bytes(chain, *length).saturating_mul(batch as u64));
        }
        let OutColumn::Media { index: Some(at), work, .. } = column else { continue };
        let [length, width, height, count] = index.largest(*at);
        payload = length.max(payload);
        let (Work::Chain(chain), Some(_)) = (work, work.dense()) else {
            bytes = bytes.saturating_add(length.saturating_mul(batch as u64));
            continue;
        };
        let Some(format) = Format::ALL.iter().find(|f| f.kind() == chain.kind()) else { continue };
        let short = |v: u64| u32::try_from(v).unwrap_or(u32::MAX);
        // An estimate where rates and durations decide (they are not in the Index's header). What a batch really takes is
        // known when it is opened, and one over the budget is an error there, before any of it is allocated.
        let facts =
            Info { width: short(width), height: short(height), count, channels: 1, rate: 16_000, ..Info::of(*format) };
        let drawn = chain.draw(&facts, Key::new(0));
        bytes = bytes.saturating_add((chain.bytes(&drawn) as u64).saturating_mul(batch as u64));
    }
    bytes.saturating_add(payload.saturating_mul(3))
}

/// Bytes of one row of packed tokens, with its segments and positions.
pub(super) fn packed_bytes(chain: &Chain, length: usize) -> u64 {
    let token = chain.output().map_or(0, |output| output.dtype.size());
    (token + 2 * DType::I64.size()) as u64 * length as u64
}
