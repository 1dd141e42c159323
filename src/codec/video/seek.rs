//! Seek tables of clips: all that [`Clip::open`] learns of a payload, so that some frames are decoded from their own samples alone.
//!
//! ```text
//! version u8 | postcard of `Columns` | XXH3-64 of all before, little endian
//! ```
//!
//! A sample takes four bytes or so: sizes as they are, offsets where one does not follow the one before, times in the order of
//! presentation as differences of differences (a steady rate has zeros). Limits are held as they are for a container, and what
//! decoders are told of a stream is what its own headers say.

use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::xxh3_64;

use super::clip::{Bytes, Clip, Head, Sets, admitted};
use super::color::Matrix;
use super::stream::{self, Entry, Setup};
use super::track::{Sample, Track};
use crate::codec::container::{Coding, Colour};
use crate::codec::{Limits, Parts};
use crate::data::orientation::Orientation;
use crate::error::{Fault, Reason};

/// The form that is written here. A table of another is not understood.
const VERSION: u8 = 1;

/// A table that is larger than its payload is worth having up to these bytes.
const SMALL: usize = 64 << 10;

/// Bytes of the sum at the end.
const SUM: usize = 8;

/// A frame takes no more bytes than these in any table, and all else no more than those.
const FRAME_BYTES: u64 = 64;
const HEAD_BYTES: u64 = 1 << 20;

/// Codings by their numbers in tables, which are never used again for others.
const CODINGS: &[Coding] = &[Coding::H264, Coding::H265, Coding::Vp9, Coding::Av1, Coding::Mjpeg];

/// What a table says.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Columns {
    /// Bytes of the payload.
    bytes: u64,
    /// A place in [`CODINGS`].
    coding: u8,
    /// The container's configuration of the coding.
    record: Vec<u8>,
    /// In place of the first sample, where the configuration does not say all ([`stream::Stream::opening`]).
    opening: Vec<u8>,
    /// The container's colours.
    matrix: Option<u8>,
    full_range: Option<bool>,
    orientation: u32,
    last_us: u64,
    /// Of each sample, in the order of decoding.
    sizes: Vec<u64>,
    /// Samples that do not begin where the one before ends (the first: at 0), as steps from one to the next, and by how much.
    jumps: Vec<(u64, i64)>,
    /// All times in ascending order, as differences of their differences.
    times: Vec<i64>,
    /// Of each sample, its place among these times less its own number.
    places: Vec<i64>,
    /// Samples that are never presented, as steps.
    hidden: Vec<u64>,
    /// The first sample and the container's keys: steps in the bits from the third on, below whether it is a key, and its [`Entry`].
    entries: Vec<u64>,
    /// The samples that bring other parameter sets than those before, as steps.
    changes: Vec<u64>,
}

fn corrupt(message: &str) -> Fault {
    Fault::new(Reason::Corrupt, format!("the seek table {message}"))
}

/// Ascending numbers as steps: the first one, then each less the one before.
fn steps(numbers: impl IntoIterator<Item = usize>) -> Vec<u64> {
    let mut last = 0;
    numbers.into_iter().map(|n| (n - std::mem::replace(&mut last, n)) as u64).collect()
}

/// The numbers again; all below `end`, and each above the one before.
fn walked(steps: impl IntoIterator<Item = u64>, end: usize) -> Result<Vec<usize>, Fault> {
    let mut at: Option<usize> = None;
    let mut numbers = Vec::new();
    for step in steps {
        let step = usize::try_from(step).ok().filter(|step| at.is_none() || *step > 0);
        let next = step.and_then(|step| at.unwrap_or(0).checked_add(step)).filter(|next| *next < end);
        numbers.push(next.ok_or_else(|| corrupt("names frames that it does not have"))?);
        at = next;
    }
    Ok(numbers)
}

/// The table of a payload whose clip was opened from all of its bytes. `None` for what the form cannot say: samples that are cut
/// off or cannot be looked at, times that differ by less than a microsecond out of order.
pub(super) fn table(clip: &Clip<'_>, bytes: &[u8], limits: &Limits) -> Option<Vec<u8>> {
    let Track { samples, orientation, last_us, .. } = &clip.track;
    let Head { coding, record, colour } = &clip.head;
    let count = samples.len();
    let mut noted = clip.track.clone();
    for (at, sample) in noted.samples.iter_mut().enumerate() {
        let data = clip.data(at).ok()?;
        if sample.key || at == 0 {
            sample.entry = Some(clip.stream.entry(data).ok()?);
        }
    }
    let alone = stream::open(coding, Setup { record, first: None, limits });
    let opening = if alone.is_ok() { Vec::new() } else { clip.stream.opening(clip.data(0).ok()?).ok()? };
    let mut ordered: Vec<usize> = (0..count).collect();
    ordered.sort_by_key(|&at| samples[at].pts_us);
    let mut places = vec![0; count];
    for (place, &at) in ordered.iter().enumerate() {
        places[at] = place as i64 - at as i64;
    }
    let (mut time, mut difference) = (0, 0);
    let times = ordered.iter().map(|&at| {
        let now = samples[at].pts_us - std::mem::replace(&mut time, samples[at].pts_us);
        now - std::mem::replace(&mut difference, now)
    });
    let times = times.collect();
    let mut shown = vec![false; count];
    clip.track.shown.iter().for_each(|&at| shown[at] = true);
    let (mut end, mut jumped) = (0i64, 0);
    let mut jumps = Vec::new();
    for (at, sample) in samples.iter().enumerate() {
        let offset = i64::try_from(sample.offset).ok()?;
        if offset != end {
            jumps.push(((at - std::mem::replace(&mut jumped, at)) as u64, offset - end));
        }
        end = offset + i64::try_from(sample.size).ok()?;
    }
    let (keyed, kinds): (Vec<usize>, Vec<u64>) =
        (0..count).filter_map(|at| Some((at, kind_code(&noted.samples[at])?))).unzip();
    let columns = Columns {
        bytes: bytes.len() as u64,
        coding: u8::try_from(CODINGS.iter().position(|known| known == coding)?).ok()?,
        record: record.clone(),
        opening,
        matrix: colour.matrix,
        full_range: colour.full_range,
        orientation: orientation.code(),
        last_us: *last_us,
        sizes: samples.iter().map(|sample| sample.size).collect(),
        jumps,
        times,
        places,
        hidden: steps((0..count).filter(|&at| !shown[at])),
        entries: steps(keyed).iter().zip(kinds).map(|(step, kind)| step << 3 | kind).collect(),
        changes: steps(Sets::default().before(clip, count).ok()?.iter().copied()),
    };
    let table = sealed(&columns)?;
    // Frames that share their bytes: a small file that claims many must not have a large table.
    if table.len() > bytes.len().max(SMALL) {
        return None;
    }
    let again = open(&table, bytes.len() as u64, limits).ok()?;
    let same = (&again.track, &again.picture, &again.matrix, again.stream.memory())
        == (&noted, &clip.picture, &clip.matrix, clip.stream.memory());
    same.then_some(table)
}

fn kind_code(sample: &Sample) -> Option<u64> {
    let entry = match sample.entry? {
        Entry::None => 0,
        Entry::Open => 1,
        Entry::Clean => 2,
    };
    Some(u64::from(sample.key) << 2 | entry)
}

fn sealed(columns: &Columns) -> Option<Vec<u8>> {
    let mut table = postcard::to_extend(columns, vec![VERSION]).ok()?;
    table.extend(xxh3_64(&table).to_le_bytes());
    Some(table)
}

/// A clip of a table, of a payload of `bytes` bytes, without any of these.
pub(super) fn open(table: &[u8], bytes: u64, limits: &Limits) -> Result<Clip<'static>, Fault> {
    match table.first() {
        Some(&VERSION) => {}
        Some(other) => {
            return Err(Fault::new(Reason::Unsupported, format!("a seek table of form {other}, this is {VERSION}")));
        }
        None => return Err(corrupt("is empty")),
    }
    // One byte of a table may take eight in memory.
    let most = limits.frames.saturating_mul(FRAME_BYTES).saturating_add(HEAD_BYTES).min(limits.payload_bytes);
    Limits::check("bytes of a seek table", table.len() as u64, most)?;
    let body = table.len().checked_sub(SUM).filter(|&body| body > 0).ok_or_else(|| corrupt("is cut off"))?;
    if xxh3_64(&table[..body]).to_le_bytes() != table[body..] {
        return Err(corrupt("is damaged: `dsctl verify` compares it with the payload"));
    }
    let (columns, rest) =
        postcard::take_from_bytes::<Columns>(&table[1..body]).map_err(|_| corrupt("cannot be read"))?;
    if !rest.is_empty() || columns.bytes != bytes {
        return Err(corrupt("is of another payload"));
    }
    Limits::check("encoded bytes", bytes, limits.payload_bytes)?;
    let track = track(&columns, limits)?;
    let changes = walked(columns.changes, track.samples.len())?;
    if changes.len() > Sets::MOST {
        return Err(corrupt("names too many parameter sets"));
    }
    let coding = CODINGS.get(usize::from(columns.coding)).ok_or_else(|| corrupt("names no coding"))?;
    let colour = Colour { matrix: columns.matrix, full_range: columns.full_range };
    let head = Head { coding: coding.clone(), record: columns.record, colour };
    let first = Some(&columns.opening[..]).filter(|opening| !opening.is_empty());
    let stream = stream::open(&head.coding, Setup { record: &head.record, first, limits })?;
    let picture = admitted(&*stream, limits)?;
    if track.samples[0].entry.is_none_or(|entry| entry == Entry::None) {
        return Err(corrupt("does not begin with a key frame"));
    }
    // What is presented before an open beginning cannot be decoded, and is hidden in the container's own list.
    let first_us = track.samples[0].pts_us;
    if track.samples[0].entry == Some(Entry::Open) && track.shown.iter().any(|&at| track.samples[at].pts_us < first_us)
    {
        return Err(corrupt("presents frames before those that they refer to"));
    }
    let matrix = Matrix::of(&picture, picture.colour.or(head.colour))?;
    Ok(Clip { bytes: Bytes::Whole(&[]), head, track, stream, picture, matrix, changes: Some(changes) })
}

impl Clip<'static> {
    /// The clip with what was read of its payload.
    pub(super) fn of_parts<'a>(self, parts: &'a Parts<'a>) -> Clip<'a> {
        let Clip { head, track, stream, picture, matrix, changes, .. } = self;
        Clip { bytes: Bytes::Parts(parts), head, track, stream, picture, matrix, changes }
    }
}

/// The samples again, all within the payload.
fn track(columns: &Columns, limits: &Limits) -> Result<Track, Fault> {
    let count = columns.sizes.len();
    Limits::check("frames", count as u64, limits.frames)?;
    if count == 0 || (columns.times.len(), columns.places.len()) != (count, count) {
        return Err(corrupt("does not say all of each frame"));
    }
    let (mut time, mut difference) = (0i64, 0i64);
    let mut times = Vec::with_capacity(count);
    for step in &columns.times {
        let now = difference.checked_add(*step).and_then(|now| Some((now, time.checked_add(now)?)));
        (difference, time) = now
            .filter(|(_, time)| time.unsigned_abs() < 1 << 62)
            .ok_or_else(|| corrupt("has times beyond all bounds"))?;
        times.push(time);
    }
    let beyond = || corrupt("names bytes beyond the payload");
    let jumped = walked(columns.jumps.iter().map(|(step, _)| *step), count)?;
    let mut jumps = jumped.into_iter().zip(columns.jumps.iter().map(|(_, by)| *by)).peekable();
    let mut end = 0u64;
    let mut samples = Vec::with_capacity(count);
    for (at, &size) in columns.sizes.iter().enumerate() {
        let by = jumps.next_if(|(sample, _)| *sample == at).map_or(0, |(_, by)| by);
        let offset = end.checked_add_signed(by).ok_or_else(beyond)?;
        end = offset.checked_add(size).filter(|end| *end <= columns.bytes).ok_or_else(beyond)?;
        let place = at.checked_add_signed(isize::try_from(columns.places[at]).unwrap_or(isize::MAX));
        let pts_us = place.and_then(|place| times.get(place)).ok_or_else(|| corrupt("puts frames in no order"))?;
        samples.push(Sample { offset, size, pts_us: *pts_us, key: false, entry: None });
    }
    let keyed = walked(columns.entries.iter().map(|entry| entry >> 3), count)?;
    for (at, code) in keyed.into_iter().zip(&columns.entries) {
        let entry = match code & 3 {
            0 => Entry::None,
            1 => Entry::Open,
            2 => Entry::Clean,
            _ => return Err(corrupt("names no kind of entry")),
        };
        (samples[at].key, samples[at].entry) = (code & 4 != 0, Some(entry));
    }
    let hidden = walked(columns.hidden.iter().copied(), count)?;
    Track::of_samples(samples, &hidden, Orientation::of(columns.orientation), columns.last_us)
}

#[cfg(test)]
mod tests;
