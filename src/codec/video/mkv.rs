//! Matroska and WebM files (RFC 9559, on EBML, RFC 8794), down to a [`Track`].
//!
//! Elements are read in place and the walk only goes forward; `matroska-demuxer` 0.8.1 copies every frame, and a seek head
//! that names itself holds it for ever. Presentation times are whole ticks of the segment (a millisecond in most files), as
//! ffprobe reports them.

use super::track::{Listed, Listing, Track};
use crate::codec::Limits;
use crate::error::{Fault, Reason};

const EBML: u32 = 0x1A45_DFA3;
const SEGMENT: u32 = 0x1853_8067;
const INFO: u32 = 0x1549_A966;
const TICK_NS: u32 = 0x2A_D7B1;
const TRACKS: u32 = 0x1654_AE6B;
const TRACK: u32 = 0xAE;
const TRACK_NUMBER: u32 = 0xD7;
const TRACK_TYPE: u32 = 0x83;
const TRACK_LENGTH_NS: u32 = 0x23_E383;
const CODEC: u32 = 0x86;
const CODEC_RECORD: u32 = 0x63A2;
const ENCODINGS: u32 = 0x6D80;
const CLUSTER: u32 = 0x1F43_B675;
const CLUSTER_TIME: u32 = 0xE7;
const SIMPLE_BLOCK: u32 = 0xA3;
const GROUP: u32 = 0xA0;
const BLOCK: u32 = 0xA1;
const BLOCK_LENGTH: u32 = 0x9B;
const REFERENCE: u32 = 0xFB;

/// Whether the content begins as a file of this family.
pub(super) fn sniff(bytes: &[u8]) -> bool {
    let head = &bytes[..bytes.len().min(128)];
    let names = |name: &[u8]| head.windows(name.len()).any(|window| window == name);
    head.starts_with(&EBML.to_be_bytes()) && (names(b"matroska") || names(b"webm"))
}

fn corrupt(message: impl std::fmt::Display) -> Fault {
    Fault::new(Reason::Corrupt, format!("Matroska: {message}"))
}

fn unsupported(message: impl std::fmt::Display) -> Fault {
    Fault::new(Reason::Unsupported, format!("Matroska: {message}"))
}

fn truncated() -> Fault {
    Fault::new(Reason::Truncated, "Matroska: the file ends within an element")
}

/// A number whose length the leading zero bits of its first byte tell (RFC 8794, 4), the marker left in, and its length.
fn vint(bytes: &[u8], at: usize) -> Result<(u64, usize), Fault> {
    let first = *bytes.get(at).ok_or_else(truncated)?;
    let length = first.leading_zeros() as usize + 1;
    if length > 8 {
        return Err(corrupt("an element has no valid length"));
    }
    let digits = bytes.get(at..at + length).ok_or_else(truncated)?;
    Ok((digits.iter().fold(0, |n, &b| n << 8 | u64::from(b)), length))
}

/// A number without its marker; `None` if all its bits are set ("unknown").
fn unmarked(value: u64, length: usize) -> Option<u64> {
    let value = value & !(1 << (7 * length));
    (value != (1 << (7 * length)) - 1).then_some(value)
}

/// Calls `visit` for each element from `at` to `end` with its id, where its content begins, and the content. `visit` says
/// whether to go into the content (or into an element of unknown size) instead of over it.
fn walk<'a>(
    bytes: &'a [u8],
    mut at: usize,
    end: usize,
    visit: &mut dyn FnMut(u32, usize, &'a [u8]) -> Result<bool, Fault>,
) -> Result<(), Fault> {
    while at < end {
        let (id, id_length) = vint(bytes, at)?;
        let id = u32::try_from(id).map_err(|_| corrupt("an element has an id that is too long"))?;
        let (size, size_length) = vint(bytes, at + id_length)?;
        let body = at + id_length + size_length;
        let stop = match unmarked(size, size_length) {
            None if id == SEGMENT || id == CLUSTER => end,
            None => return Err(corrupt("an element without a size")),
            Some(size) => usize::try_from(size)
                .ok()
                .and_then(|size| body.checked_add(size))
                .filter(|&stop| stop <= end)
                .ok_or_else(truncated)?,
        };
        at = if visit(id, body, &bytes[body..stop])? { body } else { stop };
    }
    Ok(())
}

fn unsigned(data: &[u8]) -> u64 {
    data.iter().take(8).fold(0, |n, &b| n << 8 | u64::from(b))
}

/// The first video track's entry.
#[derive(Debug, Default, Clone)]
struct Entry<'a> {
    number: u64,
    kind: u64,
    length_ns: u64,
    codec: &'a [u8],
    record: &'a [u8],
    encoded: bool,
}

fn entry(data: &[u8]) -> Result<Entry<'_>, Fault> {
    let mut entry = Entry::default();
    walk(data, 0, data.len(), &mut |id, _, body| {
        match id {
            TRACK_NUMBER => entry.number = unsigned(body),
            TRACK_TYPE => entry.kind = unsigned(body),
            TRACK_LENGTH_NS => entry.length_ns = unsigned(body),
            CODEC => entry.codec = body,
            CODEC_RECORD => entry.record = body,
            ENCODINGS => entry.encoded = true,
            _ => {}
        }
        Ok(false)
    })?;
    Ok(entry)
}

/// Finds the first video track and lists its blocks.
pub(super) fn read(bytes: &[u8], limits: &Limits) -> Result<Track, Fault> {
    let mut segment = None;
    let outer = walk(bytes, 0, bytes.len(), &mut |id, at, body| {
        if id == SEGMENT && segment.is_none() {
            segment = Some((at, at + body.len()));
        }
        Ok(false)
    });
    let Some((start, end)) = segment else {
        outer?;
        return Err(corrupt("there is no segment"));
    };
    let mut tick_ns = 1_000_000;
    let mut video = None;
    walk(bytes, start, end, &mut |id, at, body| {
        match id {
            INFO | TRACKS => return Ok(true),
            TICK_NS => tick_ns = unsigned(body),
            TRACK if video.is_none() => video = Some(entry(body)?).filter(|entry| entry.kind == 1),
            _ => {}
        }
        // A cluster of unknown size seems to reach the end, and has to be gone through.
        Ok(id == CLUSTER && at + body.len() == end)
    })?;
    let video = video.ok_or_else(|| Fault::new(Reason::WrongMedia, "Matroska: there is no video track"))?;
    if video.codec != b"V_MPEG4/ISO/AVC" {
        let name = String::from_utf8_lossy(&video.codec[..video.codec.len().min(32)]);
        return Err(unsupported(format!("the video is {}; only H.264 is decoded", name.escape_default())));
    }
    if video.encoded {
        return Err(unsupported("a track whose blocks are compressed or encrypted"));
    }
    if tick_ns == 0 {
        return Err(corrupt("the segment's ticks last no time"));
    }
    let mut listing = Listing::new(limits);
    let mut cluster = 0i64;
    let mut ours = false; // whether the block of the group we are in is of our track
    walk(bytes, start, end, &mut |id, at, body| {
        match id {
            CLUSTER | GROUP => {
                ours = false;
                return Ok(true);
            }
            CLUSTER_TIME => cluster = i64::try_from(unsigned(body)).unwrap_or(i64::MAX),
            SIMPLE_BLOCK | BLOCK => {
                ours = block(id, at, body, cluster, &video, &mut listing)?;
                if let (true, Some(last)) = (ours, listing.samples.last_mut()) {
                    last.length = video.length_ns.saturating_add(tick_ns / 2) / tick_ns;
                }
            }
            BLOCK_LENGTH | REFERENCE if ours => {
                if let Some(last) = listing.samples.last_mut() {
                    match id {
                        REFERENCE => last.key = false,
                        _ => last.length = unsigned(body),
                    }
                }
            }
            _ => {}
        }
        Ok(false)
    })?;
    Track::new(video.record.to_vec(), listing, (tick_ns, 1_000_000_000))
}

/// Lists a block (RFC 9559, 10) if it is of our track, and says so.
fn block(
    id: u32,
    at: usize,
    body: &[u8],
    cluster: i64,
    video: &Entry<'_>,
    listing: &mut Listing,
) -> Result<bool, Fault> {
    let (number, length) = vint(body, 0)?;
    if unmarked(number, length) != Some(video.number) {
        return Ok(false);
    }
    let [high, low, flags, data @ ..] = &body[length..] else { return Err(corrupt("a block ends within its header")) };
    if flags & 6 != 0 {
        return Err(unsupported("several frames in one block (lacing)"));
    }
    listing.push(Listed {
        offset: (at + length + 3) as u64,
        size: data.len() as u64,
        ticks: cluster.saturating_add(i64::from(i16::from_be_bytes([*high, *low]))),
        length: 0,
        key: id == BLOCK || flags & 0x80 != 0, // a block in a group is a key unless a reference follows
        shown: flags & 8 == 0,
    })?;
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_of_the_standard() {
        assert_eq!(vint(&[0x81], 0).unwrap(), (0x81, 1));
        assert_eq!(unmarked(0x81, 1), Some(1));
        assert_eq!(unmarked(0x4002, 2), Some(2));
        assert_eq!(unmarked(0xff, 1), None);
        assert_eq!(unmarked(0x01ff_ffff_ffff_ffff, 8), None);
        assert_eq!(vint(&[0x40], 0).unwrap_err().reason, Reason::Truncated);
        assert_eq!(vint(&[0], 0).unwrap_err().reason, Reason::Corrupt);
    }

    #[test]
    fn content_decides() {
        assert!(sniff(b"\x1A\x45\xDF\xA3\x93\x42\x82\x88matroska"));
        assert!(!sniff(b"\x1A\x45\xDF\xA3\x93\x42\x82\x84blob"));
        assert!(!sniff(b""));
    }
}
