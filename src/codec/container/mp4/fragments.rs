//! Movie fragments (ISO/IEC 14496-12, 8.8): samples whose tables come in pieces, each before its data.

use std::ops::Range;

use super::super::{Listed, Listing};
use super::{Atom, atoms, corrupt, find, full, u32_at, u64_at, word};
use crate::error::Fault;

/// What fragments of a track take where they say nothing: track, and length, size and flags of a sample (box `trex`).
pub(super) fn defaults(bytes: &[u8], moov: &Atom, trak: &Range<usize>) -> Result<(u32, [u32; 3]), Fault> {
    let header = find(bytes, trak, &[b"tkhd"]).ok_or_else(|| corrupt("the track has no header"))?;
    let (version, _, header) = full(bytes, &header)?;
    let id = u32_at(header, if version == 1 { 16 } else { 8 }).ok_or_else(|| corrupt("the track has no number"))?;
    let extends = find(bytes, &moov.body, &[b"mvex"]).unwrap_or(0..0);
    let found = atoms(bytes, extends).filter(|atom| &atom.kind == b"trex").find_map(|atom| {
        let (_, _, data) = full(bytes, &atom.body).ok()?;
        (u32_at(data, 0)? == id).then(|| [word(data, 2), word(data, 3), word(data, 4)])
    });
    Ok((id, found.unwrap_or_default()))
}

/// Adds the samples of a movie fragment (ISO/IEC 14496-12, 8.8).
pub(super) fn fragment(
    bytes: &[u8],
    moof: &Atom,
    &(id, defaults): &(u32, [u32; 3]),
    listing: &mut Listing,
) -> Result<(), Fault> {
    let mut end = moof.start as u64; // of the data of the track fragment before
    for traf in atoms(bytes, moof.body.clone()).filter(|atom| &atom.kind == b"traf") {
        let header = find(bytes, &traf.body, &[b"tfhd"]).ok_or_else(|| corrupt("a track fragment has no header"))?;
        let (_, flags, data) = full(bytes, &header)?;
        let ours = u32_at(data, 0) == Some(id);
        let mut fields = data.get(4..).unwrap_or_default();
        let mut base = if flags & 0x2_0000 != 0 { moof.start as u64 } else { end };
        if flags & 1 != 0 {
            base = u64_at(fields, 0).ok_or_else(|| corrupt("a track fragment's header ends early"))?;
            fields = &fields[8..];
        }
        if flags & 2 != 0 {
            next(&mut fields)?;
        }
        let mut defaults = defaults;
        for (default, flag) in defaults.iter_mut().zip([8, 0x10, 0x20]) {
            if flags & flag != 0 {
                *default = next(&mut fields)?;
            }
        }
        let start = find(bytes, &traf.body, &[b"tfdt"]).map(|body| full(bytes, &body)).transpose()?;
        let start = start.and_then(|(version, _, data)| match version {
            1 => u64_at(data, 0),
            _ => u32_at(data, 0).map(u64::from),
        });
        let mut run = Run { base, at: base, defaults, dts: start.map(|t| i64::try_from(t).unwrap_or(i64::MAX)) };
        for trun in atoms(bytes, traf.body.clone()).filter(|atom| &atom.kind == b"trun") {
            run.read(bytes, &trun.body, ours, listing)?;
        }
        end = run.at;
    }
    Ok(())
}

fn next(fields: &mut &[u8]) -> Result<u32, Fault> {
    let value = u32_at(fields, 0).ok_or_else(|| corrupt("a fragment's fields end early"))?;
    *fields = &fields[4..];
    Ok(value)
}

/// Where a track fragment's runs stand.
struct Run {
    base: u64,
    at: u64,
    /// Length, size and flags of a sample that does not say.
    defaults: [u32; 3],
    dts: Option<i64>,
}

impl Run {
    /// Adds a run's samples (box `trun`), or only passes over its data if it is another track's.
    fn read(&mut self, bytes: &[u8], body: &Range<usize>, ours: bool, listing: &mut Listing) -> Result<(), Fault> {
        let (_, flags, mut fields) = full(bytes, body)?;
        let count = next(&mut fields)?;
        if flags & 1 != 0 {
            self.at = self.base.saturating_add_signed(i64::from(next(&mut fields)?.cast_signed()));
        }
        let first_flags = if flags & 4 != 0 { Some(next(&mut fields)?) } else { None };
        if ours {
            listing.room(u64::from(count))?;
        } else if flags & 0x200 == 0 {
            self.at = self.at.saturating_add(u64::from(count) * u64::from(self.defaults[1]));
            return Ok(());
        }
        let mut dts = self.dts.unwrap_or_else(|| {
            listing.samples.last().map_or(0, |s| s.ticks.saturating_add_unsigned(s.length)) // without tfdt: go on
        });
        for n in 0..count {
            let mut values = self.defaults;
            if let (0, Some(flags)) = (n, first_flags) {
                values[2] = flags;
            }
            for (value, flag) in values.iter_mut().zip([0x100, 0x200, 0x400]) {
                if flags & flag != 0 {
                    *value = next(&mut fields)?;
                }
            }
            let offset = if flags & 0x800 != 0 { next(&mut fields)?.cast_signed() } else { 0 };
            let [length, size, kind] = values;
            if ours {
                listing.push(Listed {
                    offset: self.at,
                    size: u64::from(size),
                    ticks: dts.saturating_add(i64::from(offset)),
                    length: u64::from(length),
                    key: kind >> 16 & 1 == 0, // sample_is_non_sync_sample (8.8.3.1)
                    shown: true,
                    discard_ns: 0,
                })?;
            }
            self.at = self.at.saturating_add(u64::from(size));
            dts = dts.saturating_add(i64::from(length));
        }
        self.dts = Some(dts);
        Ok(())
    }
}
