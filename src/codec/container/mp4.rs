//! MP4 and QuickTime files, whole or fragmented (ISO/IEC 14496-12), down to a [`Track`].
//!
//! Boxes are read in place. Every loop goes forward in the payload and every table is held under the limit of frames
//! before it is unrolled, which `re_mp4` 0.5.1 does not do: four billion samples of one size in its `stsz` are four billion
//! structs, a box of size 0 within `stbl` is an endless loop, and tables that disagree are a panic.

mod description;
mod fragments;

use std::ops::Range;

#[cfg(feature = "avif")]
pub(super) use self::description::colour;
use super::{Edit, Listed, Listing, Medium, Track};
use crate::codec::Limits;
use crate::data::orientation::Orientation;
use crate::error::{Fault, Reason};

/// Boxes that a file of this family begins with.
const FIRST: [&[u8; 4]; 8] = [b"ftyp", b"styp", b"moov", b"moof", b"mdat", b"wide", b"free", b"skip"];
/// Brands of pictures.
const PICTURES: [&[u8; 3]; 5] = [b"hei", b"mif", b"avi", b"crx", b"jxl"];
/// Brands of recordings without video.
const RECORDINGS: [&[u8; 3]; 3] = [b"M4A", b"M4B", b"M4P"];

/// Whether the content begins as a file of this family with a track of this kind: with video, if it has any; with sound
/// alone, if its brand or its index says so.
pub(in crate::codec) fn sniff(bytes: &[u8], medium: Medium) -> bool {
    let (Some(size), Some(kind)) = (u32_at(bytes, 0), bytes.get(4..8)) else { return false };
    let brand = |brands: &[&[u8; 3]]| {
        kind == b"ftyp" && bytes.get(8..11).is_some_and(|brand| brands.iter().any(|b| *b == brand))
    };
    if !(size == 1 || size >= 8) || !FIRST.iter().any(|first| *first == kind) || brand(&PICTURES) {
        return false;
    }
    let sound = brand(&RECORDINGS) || sound_alone(bytes);
    sound == (medium == Medium::Audio)
}

/// Whether the index lists tracks of sound and none of video.
fn sound_alone(bytes: &[u8]) -> bool {
    let Some(moov) = find(bytes, &(0..bytes.len()), &[b"moov"]) else { return false };
    let has =
        |medium| atoms(bytes, moov.clone()).any(|atom| &atom.kind == b"trak" && is_track_of(bytes, &atom, medium));
    has(Medium::Audio) && !has(Medium::Video)
}

/// Whether a track (box `trak`) is of a kind.
fn is_track_of(bytes: &[u8], trak: &Atom, medium: Medium) -> bool {
    let handler = find(bytes, &trak.body, &[b"mdia", b"hdlr"]).and_then(|h| bytes.get(h.start + 8..h.start + 12));
    handler
        == Some(match medium {
            Medium::Video => b"vide",
            Medium::Audio => b"soun",
        })
}

fn corrupt(message: impl std::fmt::Display) -> Fault {
    Fault::new(Reason::Corrupt, format!("MP4: {message}"))
}

fn unsupported(message: impl std::fmt::Display) -> Fault {
    Fault::new(Reason::Unsupported, format!("MP4: {message}"))
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..at.checked_add(4)?)?.try_into().ok().map(u32::from_be_bytes)
}

fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    bytes.get(at..at.checked_add(8)?)?.try_into().ok().map(u64::from_be_bytes)
}

/// A box: its kind, where its header begins in the payload, and its content.
#[derive(Debug, Clone)]
pub(super) struct Atom {
    pub(super) kind: [u8; 4],
    start: usize,
    pub(super) body: Range<usize>,
}

/// The boxes of a range, one after the other.
#[derive(Debug, Clone)]
pub(super) struct Atoms<'a> {
    bytes: &'a [u8],
    at: usize,
    end: usize,
    /// Whether the walk ended at a box that is longer than what is left, or at what is no box.
    pub(super) cut: bool,
}

pub(super) fn atoms(bytes: &[u8], range: Range<usize>) -> Atoms<'_> {
    Atoms { bytes, at: range.start, end: range.end.min(bytes.len()), cut: false }
}

impl Iterator for Atoms<'_> {
    type Item = Atom;

    /// The next box; one that is cut comes with what there is of it, as the last.
    fn next(&mut self) -> Option<Atom> {
        let (start, left) = (self.at, self.end.checked_sub(self.at).filter(|&left| left >= 8)?);
        let bytes = &self.bytes[start..self.end];
        let kind = [bytes[4], bytes[5], bytes[6], bytes[7]];
        let (head, size) = match u32_at(bytes, 0)? {
            0 => (8, left as u64),
            1 => (16, u64_at(bytes, 8).unwrap_or(0)),
            size => (8, u64::from(size)),
        };
        self.cut = size < head as u64 || size > left as u64;
        if size < head as u64 {
            self.at = self.end;
            return None;
        }
        self.at = if self.cut { self.end } else { start + size as usize };
        Some(Atom { kind, start, body: (start + head).min(self.at)..self.at })
    }
}

/// The content of the box that `path` leads to, first of its kind at each level.
pub(super) fn find(bytes: &[u8], range: &Range<usize>, path: &[&[u8; 4]]) -> Option<Range<usize>> {
    let mut range = range.clone();
    for kind in path {
        range = atoms(bytes, range).find(|atom| atom.kind == **kind)?.body;
    }
    Some(range)
}

/// Version, flags and the rest of a full box's content.
pub(super) fn full<'a>(bytes: &'a [u8], body: &Range<usize>) -> Result<(u8, u32, &'a [u8]), Fault> {
    let data = bytes.get(body.clone()).unwrap_or_default();
    let word = u32_at(data, 0).ok_or_else(|| corrupt("a box ends within its first field"))?;
    Ok(((word >> 24) as u8, word & 0xff_ffff, &data[4..]))
}

/// The entries of a table of `N`-byte entries that says their number first. More than there are is a fault.
fn table<'a, const N: usize>(bytes: &'a [u8], body: &Range<usize>, what: &str) -> Result<&'a [[u8; N]], Fault> {
    let (_, _, data) = full(bytes, body)?;
    let count = u32_at(data, 0).ok_or_else(|| corrupt(format!("{what} has no count")))? as usize;
    let (entries, _) = data[4..].as_chunks::<N>();
    entries.get(..count).ok_or_else(|| corrupt(format!("{what} claims {count} entries and holds {}", entries.len())))
}

fn word(entry: &[u8], n: usize) -> u32 {
    u32_at(entry, n * 4).unwrap_or(0)
}

/// Refuses tables of any track, in the index or in fragments, that claim more samples than the file has bytes: for readers that size
/// memory by them.
#[cfg(feature = "ffmpeg")]
pub(in crate::codec) fn tables_fit(bytes: &[u8]) -> Result<(), Fault> {
    // Where the boxes lie that have a count, and where it stands behind version and flags.
    const STBL: &[&[u8; 4]] = &[b"mdia", b"minf", b"stbl"];
    let counts = [
        (STBL, b"stsz", 4),
        (STBL, b"stz2", 4),
        (STBL, b"stts", 0),
        (STBL, b"ctts", 0),
        (STBL, b"stsc", 0),
        (STBL, b"stss", 0),
        (STBL, b"stco", 0),
        (STBL, b"co64", 0),
        (&[], b"trun", 0),
    ];
    let mut claimed = 0u64;
    for top in atoms(bytes, 0..bytes.len()).filter(|top| matches!(&top.kind, b"moov" | b"moof")) {
        for track in atoms(bytes, top.body).filter(|track| matches!(&track.kind, b"trak" | b"traf")) {
            for (path, kind, at) in counts {
                let Some(range) = find(bytes, &track.body, path) else { continue };
                for table in atoms(bytes, range).filter(|table| table.kind == *kind) {
                    let (_, _, data) = full(bytes, &table.body)?;
                    claimed = claimed.saturating_add(u64::from(u32_at(data, at).unwrap_or(0)));
                }
            }
        }
    }
    // Each entry has a byte at least, in the tables or as a sample; the sizes of samples of one size are in no table.
    Limits::check("entries of the tables", claimed, (bytes.len() as u64).saturating_mul(2))
}

/// Reads the tables of the first track of a kind.
pub(in crate::codec) fn read(bytes: &[u8], medium: Medium, limits: &Limits) -> Result<Track, Fault> {
    let mut top = atoms(bytes, 0..bytes.len());
    let Some(moov) = top.find(|atom| &atom.kind == b"moov") else {
        let reason = if top.cut { Reason::Truncated } else { Reason::Corrupt };
        return Err(Fault::new(reason, "MP4: there is no index (box moov)"));
    };
    if top.cut {
        return Err(Fault::new(Reason::Truncated, "MP4: the file ends within its index (box moov)"));
    }
    let mut traks = atoms(bytes, moov.body.clone()).filter(|atom| &atom.kind == b"trak");
    let name = medium.name();
    let trak = traks
        .find(|trak| is_track_of(bytes, trak, medium))
        .ok_or_else(|| Fault::new(Reason::WrongMedia, format!("MP4: there is no {name} track")))?
        .body;
    let movie_scale = find(bytes, &moov.body, &[b"mvhd"]).and_then(|b| scale(bytes, &b)).unwrap_or(0);
    let media_scale = find(bytes, &trak, &[b"mdia", b"mdhd"]).and_then(|b| scale(bytes, &b)).unwrap_or(0);
    if media_scale == 0 {
        return Err(corrupt(format!("the {name} track has no time scale")));
    }
    let tables = find(bytes, &trak, &[b"mdia", b"minf", b"stbl"])
        .ok_or_else(|| corrupt(format!("the {name} track has no tables")))?;
    let about = match medium {
        Medium::Video => description::picture(bytes, &tables)?,
        Medium::Audio => description::sound(bytes, &tables)?,
    };
    let mut listing = Listing::new(medium, bytes.len(), limits);
    sample_tables(bytes, &tables, &mut listing)?;
    let edit = edit(bytes, &trak, movie_scale, media_scale)?;
    let in_index = listing.samples.len();
    let defaults = fragments::defaults(bytes, &moov, &trak)?;
    for moof in atoms(bytes, 0..bytes.len()).filter(|atom| &atom.kind == b"moof") {
        fragments::fragment(bytes, &moof, &defaults, &mut listing)?;
    }
    let description::About { coding, record, channels, rate, colour } = about;
    let scale = (1, u64::from(media_scale));
    Ok(Track {
        coding,
        record,
        listing,
        scale,
        edit,
        exact: true,
        fragmented: in_index == 0,
        channels,
        rate,
        bits: 0,
        delay_ns: 0,
        colour,
        orientation: orientation(bytes, &moov.body, &trak),
    })
}

/// How the matrices of the track and of the movie turn its frames (ISO/IEC 14496-12, 8.3.2 and 8.2.2). Turns other than by quarters
/// are not told.
fn orientation(bytes: &[u8], moov: &Range<usize>, trak: &Range<usize>) -> Orientation {
    // A row vector (x, y) times the matrix of a, b and c, d; what is missing turns nothing.
    let matrix = |range: &Range<usize>, kind: &[u8; 4], at: [usize; 2]| {
        let parts = find(bytes, range, &[kind]).and_then(|body| {
            let (version, _, data) = full(bytes, &body).ok()?;
            let at = at[usize::from(version == 1)];
            let part = |n: usize| u32_at(data, at + n * 4).map(|word| f64::from(word.cast_signed()));
            Some([part(0)?, part(1)?, part(3)?, part(4)?])
        });
        parts.unwrap_or([1.0, 0.0, 0.0, 1.0])
    };
    let ([a, b, c, d], [e, f, g, h]) = (matrix(trak, b"tkhd", [36, 48]), matrix(moov, b"mvhd", [32, 44]));
    Orientation::of_matrix([a * e + b * g, a * f + b * h, c * e + d * g, c * f + d * h]).unwrap_or_default()
}

/// The time scale of `mvhd` or `mdhd`: ticks a second.
fn scale(bytes: &[u8], body: &Range<usize>) -> Option<u32> {
    let (version, _, data) = full(bytes, body).ok()?;
    u32_at(data, if version == 1 { 16 } else { 8 })
}

/// Unrolls `stsz`, `stts`, `ctts`, `stss`, `stsc` and `stco` or `co64` (ISO/IEC 14496-12, 8.6 and 8.7).
fn sample_tables(bytes: &[u8], tables: &Range<usize>, listing: &mut Listing) -> Result<(), Fault> {
    let body = |kind| find(bytes, tables, &[kind]);
    let need = |kind: &'static [u8; 4]| {
        body(kind).ok_or_else(|| corrupt(format!("there is no table {}", String::from_utf8_lossy(kind))))
    };
    let (_, _, sizes) = full(bytes, &need(b"stsz")?)?;
    let (one_size, count) = (word(sizes, 0), word(sizes, 1) as usize);
    let (each, _) = sizes.get(8..).unwrap_or_default().as_chunks::<4>();
    if one_size == 0 && each.len() < count {
        return Err(corrupt(format!("stsz claims {count} samples and holds {}", each.len())));
    }
    listing.room(count as u64)?;
    if count == 0 {
        return Ok(()); // the samples are in fragments
    }
    let mut times = table::<8>(bytes, &need(b"stts")?, "stts")?.iter().flat_map(|e| repeat(word(e, 0), word(e, 1)));
    let offsets = body(b"ctts").map(|b| table::<8>(bytes, &b, "ctts")).transpose()?.unwrap_or_default();
    let mut offsets = offsets.iter().flat_map(|e| repeat(word(e, 0), word(e, 1).cast_signed()));
    let keys = body(b"stss").map(|b| table::<4>(bytes, &b, "stss")).transpose()?;
    let mut keys = keys.map(|keys| keys.iter().map(|e| word(e, 0) as usize).peekable());
    let mut runs = table::<12>(bytes, &need(b"stsc")?, "stsc")?.iter().peekable();
    let mut chunks: Box<dyn Iterator<Item = u64>> = match body(b"stco") {
        Some(b) => Box::new(table::<4>(bytes, &b, "stco")?.iter().map(|e| u64::from(word(e, 0)))),
        None => Box::new(table::<8>(bytes, &need(b"co64")?, "co64")?.iter().map(|e| u64::from_be_bytes(*e))),
    };
    let (mut chunk, mut in_chunk, mut left, mut at, mut dts) = (0u32, 0u32, 0u32, 0u64, 0i64);
    for n in 0..count {
        while left == 0 {
            at = chunks.next().ok_or_else(|| corrupt("there are fewer chunks than the samples need"))?;
            chunk += 1;
            while let Some(run) = runs.next_if(|run| word(*run, 0) <= chunk) {
                in_chunk = word(run, 1);
                if word(run, 2) != 1 {
                    return Err(unsupported("samples of several codings in one track"));
                }
            }
            left = in_chunk;
        }
        left -= 1;
        let size = u64::from(if one_size == 0 { each.get(n).map_or(0, |e| word(e, 0)) } else { one_size });
        let length = times.next().ok_or_else(|| corrupt("stts lists fewer samples than stsz"))?;
        let key = match &mut keys {
            None => true,
            Some(keys) => {
                while keys.next_if(|&key| key < n + 1).is_some() {}
                keys.next_if_eq(&(n + 1)).is_some()
            }
        };
        listing.push(Listed {
            offset: at,
            size,
            ticks: dts.saturating_add(i64::from(offsets.next().unwrap_or(0))),
            length: u64::from(length),
            key,
            shown: true,
            discard_ns: 0,
        })?;
        at = at.saturating_add(size);
        dts = dts.saturating_add(i64::from(length));
    }
    Ok(())
}

fn repeat<T: Clone>(times: u32, value: T) -> impl Iterator<Item = T> {
    std::iter::repeat_n(value, times as usize)
}

/// The edit list of a track (ISO/IEC 14496-12, 8.6.6), if it has one that says something.
fn edit(bytes: &[u8], trak: &Range<usize>, movie: u32, media: u32) -> Result<Option<Edit>, Fault> {
    let Some(body) = find(bytes, trak, &[b"edts", b"elst"]) else { return Ok(None) };
    let (version, _, _) = full(bytes, &body)?;
    let entries: Vec<(u64, i64)> = if version == 1 {
        let list = table::<20>(bytes, &body, "elst")?.iter();
        list.map(|e| (u64_at(e, 0).unwrap_or(0), u64_at(e, 8).unwrap_or(0).cast_signed())).collect()
    } else {
        let list = table::<12>(bytes, &body, "elst")?.iter();
        list.map(|e| (u64::from(word(e, 0)), i64::from(word(e, 1).cast_signed()))).collect()
    };
    // From ticks of the movie to ticks of the media, to the nearest.
    let rescale = |ticks: u64| {
        let (n, d) = (u128::from(ticks) * u128::from(media), u128::from(movie.max(1)));
        i64::try_from((2 * n + d) / (2 * d)).unwrap_or(i64::MAX)
    };
    let mut edit = None;
    let mut empty = 0i64;
    for (duration, start) in entries {
        match (start, edit) {
            (-1, None) => empty = empty.saturating_add(rescale(duration)),
            (-1, Some(_)) => {}
            (..-1, _) => return Err(corrupt("an edit begins before the media")),
            (_, Some(_)) => return Err(unsupported("an edit list of several parts")),
            (_, None) => {
                let length = if duration == 0 { i64::MAX } else { rescale(duration) };
                edit = Some(Edit { empty, start, end: start.saturating_add(length), tolerance: rescale(1) });
            }
        }
    }
    Ok(edit.or((empty > 0).then_some(Edit { empty, start: 0, end: i64::MAX, tolerance: 0 })))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn content_decides() {
        let kinds = |bytes: &[u8]| [Medium::Video, Medium::Audio].map(|medium| sniff(bytes, medium));
        assert_eq!(kinds(b"\0\0\0\x20ftypisom\0\0\x02\0"), [true, false]);
        assert_eq!(kinds(b"\0\0\0\x08wide\0\0\0\0mdat"), [true, false]);
        assert_eq!(kinds(b"\0\0\0\x20ftypM4A "), [false, true]);
        for other in [&b"\0\0\0\x20ftypheic"[..], b"\0\0\0\x07ftyp", b"RIFF\0\0\0\0WAVE", b"", b"ftyp"] {
            assert_eq!(kinds(other), [false, false], "{other:?}");
        }
    }

    #[test]
    fn boxes_end() {
        // Size 0 goes to the end; a size below its own header, or beyond the end, stops the walk.
        for (bytes, count, cut) in [
            (&b"\0\0\0\0moov\0\0\0\0free"[..], 1, false),
            (b"\0\0\0\x08moov\0\0\0\x04free", 1, true),
            (b"\0\0\0\x08moov\0\0\0\x40free", 2, true),
            (b"\0\0\0\x01moov\0\0\0\0\0\0\0\x02", 0, true),
            (b"\0\0\0\x01moov\xff\xff\xff\xff\xff\xff\xff\xff", 1, true),
            (b"\0\0\0", 0, false),
        ] {
            let mut walk = atoms(bytes, 0..bytes.len());
            assert_eq!((walk.by_ref().count(), walk.cut), (count, cut), "{bytes:?}");
        }
    }
}
