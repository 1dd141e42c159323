//! Matroska and WebM files (RFC 9559, on EBML, RFC 8794), down to a [`Track`].
//!
//! Elements are read in place and the walk only goes forward; `matroska-demuxer` 0.8.1 copies every frame, and a seek head
//! that names itself holds it for ever. Presentation times are whole ticks of the segment (a millisecond in most files), as
//! ffprobe reports them.

use super::{Coding, Colour, Listed, Listing, Medium, Track};
use crate::codec::Limits;
use crate::data::orientation::Orientation;
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
const DISCARD_NS: u32 = 0x75A2;
const DELAY_NS: u32 = 0x56AA;
const VIDEO: u32 = 0xE0;
const COLOUR: u32 = 0x55B0;
const MATRIX: u32 = 0x55B1;
const RANGE: u32 = 0x55B9;
const AUDIO: u32 = 0xE1;
const RATE: u32 = 0xB5;
const CHANNELS: u32 = 0x9F;
const BITS: u32 = 0x6264;
const PROJECTION: u32 = 0x7670;
const PROJECTION_TYPE: u32 = 0x7671;
const YAW: u32 = 0x7673;
const PITCH: u32 = 0x7674;
const ROLL: u32 = 0x7675;

/// Whether the content begins as a file of this family with a track of this kind: with video, if it has any or does not
/// say; with sound alone, if its list of tracks says so.
pub(in crate::codec) fn sniff(bytes: &[u8], medium: Medium) -> bool {
    let head = &bytes[..bytes.len().min(128)];
    let names = |name: &[u8]| head.windows(name.len()).any(|window| window == name);
    head.starts_with(&EBML.to_be_bytes())
        && (names(b"matroska") || names(b"webm"))
        && sound_alone(bytes) == (medium == Medium::Audio)
}

/// Whether the tracks that are listed before the first cluster are of sound and not of video.
fn sound_alone(bytes: &[u8]) -> bool {
    let mut kinds = Vec::new();
    let mut media = false;
    // What stops the walk early (a cut head, damage) leaves what was seen before.
    let _ = walk_cut(bytes, 0, bytes.len(), &mut |id, _, body| {
        match id {
            TRACK => kinds.push(entry(body).map(|entry| entry.kind).unwrap_or(0)),
            CLUSTER => media = true,
            _ => {}
        }
        if media { Err(truncated()) } else { Ok(id == SEGMENT || id == TRACKS) }
    });
    kinds.contains(&2) && !kinds.contains(&1)
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

/// What is called for an element: its id, where its content begins, and the content. It says whether to go into the content
/// (or into an element of unknown size) instead of over it.
type Visit<'v, 'a> = &'v mut dyn FnMut(u32, usize, &'a [u8]) -> Result<bool, Fault>;

/// Visits each element from `at` to `end`.
fn walk<'a>(bytes: &'a [u8], at: usize, end: usize, visit: Visit<'_, 'a>) -> Result<(), Fault> {
    walk_elements(bytes, at, end, false, visit)
}

/// The same over a file's first bytes: an element may reach beyond them.
fn walk_cut<'a>(bytes: &'a [u8], at: usize, end: usize, visit: Visit<'_, 'a>) -> Result<(), Fault> {
    walk_elements(bytes, at, end, true, visit)
}

fn walk_elements<'a>(bytes: &'a [u8], mut at: usize, end: usize, cut: bool, visit: Visit<'_, 'a>) -> Result<(), Fault> {
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
                .or(cut.then_some(end))
                .ok_or_else(truncated)?,
        };
        at = if visit(id, body, &bytes[body..stop])? { body } else { stop };
    }
    Ok(())
}

fn unsigned(data: &[u8]) -> u64 {
    data.iter().take(8).fold(0, |n, &b| n << 8 | u64::from(b))
}

/// A track's entry.
#[derive(Debug, Default, Clone)]
struct Entry<'a> {
    number: u64,
    /// 1 for video, 2 for sound.
    kind: u64,
    delay_ns: u64,
    rate: f64,
    channels: u64,
    bits: u64,
    length_ns: u64,
    codec: &'a [u8],
    record: &'a [u8],
    encoded: bool,
    colour: Colour,
    /// Degrees of yaw, pitch and roll, if the projection is flat.
    pose: [f64; 3],
    projection: u64,
}

impl Entry<'_> {
    /// How the pose turns the frames (RFC 9559, 5.1.4.1.28.44 to 46): yaw by half a turn mirrors them, then they roll counterclockwise.
    /// As ffmpeg 7 has it; what is not flat, or turns by something else than quarters, is not told.
    fn orientation(&self) -> Orientation {
        let [yaw, pitch, roll] = self.pose;
        let flat = self.projection == 0 && pitch == 0.0 && (yaw == 0.0 || yaw.abs() == 180.0);
        if !flat || (yaw == 0.0 && roll == 0.0) {
            return Orientation::STORED;
        }
        let side = if yaw == 0.0 { 1.0 } else { -1.0 };
        let (sin, cos) = (libm::sin(roll.to_radians()), libm::cos(roll.to_radians()));
        Orientation::of_matrix([side * cos, -side * sin, sin, cos]).unwrap_or_default()
    }
}

fn entry(data: &[u8]) -> Result<Entry<'_>, Fault> {
    let mut entry = Entry { rate: 8000.0, channels: 1, ..Entry::default() }; // what is left out is that
    walk(data, 0, data.len(), &mut |id, _, body| {
        match id {
            TRACK_NUMBER => entry.number = unsigned(body),
            TRACK_TYPE => entry.kind = unsigned(body),
            TRACK_LENGTH_NS => entry.length_ns = unsigned(body),
            CODEC => entry.codec = body,
            CODEC_RECORD => entry.record = body,
            ENCODINGS => entry.encoded = true,
            DELAY_NS => entry.delay_ns = unsigned(body),
            RATE => entry.rate = float(body),
            CHANNELS => entry.channels = unsigned(body),
            BITS => entry.bits = unsigned(body),
            // RFC 9559, 5.1.4.1.28.16: the numbers are those of ITU-T H.273; a range of 1 is limited, 2 full.
            MATRIX => entry.colour.matrix = u8::try_from(unsigned(body)).ok().filter(|&m| m != 2),
            RANGE => {
                entry.colour.full_range =
                    [(1, false), (2, true)].into_iter().find_map(|(n, full)| (unsigned(body) == n).then_some(full))
            }
            PROJECTION_TYPE => entry.projection = unsigned(body),
            YAW => entry.pose[0] = float(body),
            PITCH => entry.pose[1] = float(body),
            ROLL => entry.pose[2] = float(body),
            _ => {}
        }
        Ok(matches!(id, AUDIO | VIDEO | COLOUR | PROJECTION))
    })?;
    Ok(entry)
}

/// A floating-point element (RFC 8794, 7.3).
fn float(data: &[u8]) -> f64 {
    match *data {
        [a, b, c, d] => f64::from(f32::from_be_bytes([a, b, c, d])),
        [a, b, c, d, e, f, g, h] => f64::from_be_bytes([a, b, c, d, e, f, g, h]),
        _ => 0.0,
    }
}

/// The coding of a track by Matroska's name for it, and its configuration.
fn coding(entry: &Entry<'_>) -> (Coding, Vec<u8>) {
    let name = entry.codec.strip_suffix(b"\0").unwrap_or(entry.codec);
    let record = entry.record.to_vec();
    match name {
        b"V_MPEG4/ISO/AVC" => (Coding::H264, record),
        b"V_MPEGH/ISO/HEVC" => (Coding::H265, record),
        b"V_VP9" => (Coding::Vp9, record),
        b"V_AV1" => (Coding::Av1, record),
        b"V_MJPEG" => (Coding::Mjpeg, record),
        b"A_VORBIS" => (Coding::Vorbis, record),
        b"A_OPUS" => (Coding::Opus, record),
        // Behind the marker and the header of the first block.
        b"A_FLAC" => (Coding::Flac, record.get(8..).unwrap_or_default().to_vec()),
        b"A_MPEG/L3" => (Coding::Mp3, record),
        b"A_MPEG/L2" => (Coding::Mp2, record),
        b"A_ALAC" => (Coding::Alac, record),
        b"A_PCM/INT/LIT" => (Coding::Pcm { float: false }, record),
        b"A_PCM/FLOAT/IEEE" => (Coding::Pcm { float: true }, record),
        _ if name.starts_with(b"A_AAC") && !record.is_empty() => (Coding::Aac, record),
        _ => {
            let known = match name {
                b"V_VP8" => "VP8, ",
                b"V_MPEG1" => "MPEG-1 video, ",
                b"V_MPEG2" => "MPEG-2 video, ",
                b"V_THEORA" => "Theora, ",
                b"V_PRORES" => "ProRes, ",
                b"V_FFV1" => "FFV1, ",
                _ if name.starts_with(b"V_MPEG4/") => "MPEG-4 part 2, ",
                _ => "",
            };
            let name = String::from_utf8_lossy(&name[..name.len().min(32)]);
            (Coding::Other(format!("{known}{}", name.escape_default())), record)
        }
    }
}

/// Finds the first track of a kind and lists its blocks.
pub(in crate::codec) fn read(bytes: &[u8], medium: Medium, limits: &Limits) -> Result<Track, Fault> {
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
    let mut found = None;
    let kind = match medium {
        Medium::Video => 1,
        Medium::Audio => 2,
    };
    walk(bytes, start, end, &mut |id, at, body| {
        match id {
            INFO | TRACKS => return Ok(true),
            TICK_NS => tick_ns = unsigned(body),
            TRACK if found.is_none() => found = Some(entry(body)?).filter(|entry| entry.kind == kind),
            _ => {}
        }
        // A cluster of unknown size seems to reach the end, and has to be gone through.
        Ok(id == CLUSTER && at + body.len() == end)
    })?;
    let track = found
        .ok_or_else(|| Fault::new(Reason::WrongMedia, format!("Matroska: there is no {} track", medium.name())))?;
    if track.encoded {
        return Err(unsupported("a track whose blocks are compressed or encrypted"));
    }
    if tick_ns == 0 {
        return Err(corrupt("the segment's ticks last no time"));
    }
    let mut listing = Listing::new(medium, bytes.len(), limits);
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
                ours = block(id, at, body, cluster, &track, &mut listing)?;
                if let (true, Some(last)) = (ours, listing.samples.last_mut()) {
                    last.length = track.length_ns.saturating_add(tick_ns / 2) / tick_ns;
                }
            }
            BLOCK_LENGTH | REFERENCE | DISCARD_NS if ours => {
                if let Some(last) = listing.samples.last_mut() {
                    match id {
                        REFERENCE => last.key = false,
                        // A signed number; below zero it would be silence to add, which nothing writes.
                        DISCARD_NS if body.first().is_some_and(|&b| b < 0x80) => last.discard_ns = unsigned(body),
                        DISCARD_NS => return Err(unsupported("a block that discards before itself")),
                        _ => last.length = unsigned(body),
                    }
                }
            }
            _ => {}
        }
        Ok(false)
    })?;
    let (coding, record) = coding(&track);
    Ok(Track {
        coding,
        record,
        listing,
        scale: (tick_ns, 1_000_000_000),
        edit: None,
        exact: false,
        fragmented: false,
        channels: u32::try_from(track.channels).unwrap_or(0),
        rate: track.rate.round() as u32,
        bits: u32::try_from(track.bits).unwrap_or(0),
        delay_ns: track.delay_ns,
        colour: track.colour,
        orientation: track.orientation(),
    })
}

/// Lists a block's frames (RFC 9559, 10) if it is of our track, and says so.
fn block(
    id: u32,
    at: usize,
    body: &[u8],
    cluster: i64,
    track: &Entry<'_>,
    listing: &mut Listing,
) -> Result<bool, Fault> {
    let (number, length) = vint(body, 0)?;
    if unmarked(number, length) != Some(track.number) {
        return Ok(false);
    }
    let [high, low, flags, data @ ..] = &body[length..] else { return Err(corrupt("a block ends within its header")) };
    let (mut place, sizes) = lacing(flags & 6, data)?;
    for size in sizes {
        listing.push(Listed {
            offset: (at + length + 3 + place) as u64,
            size: size as u64,
            ticks: cluster.saturating_add(i64::from(i16::from_be_bytes([*high, *low]))),
            length: 0,
            key: id == BLOCK || flags & 0x80 != 0, // a block in a group is a key unless a reference follows
            shown: flags & 8 == 0,
            discard_ns: 0,
        })?;
        place += size;
    }
    Ok(true)
}

/// Where the frames of a block begin in its data, and the size of each (RFC 9559, 10.3).
fn lacing(kind: u8, data: &[u8]) -> Result<(usize, Vec<usize>), Fault> {
    let ends = || corrupt("a block ends within its lacing");
    if kind == 0 {
        return Ok((0, vec![data.len()]));
    }
    let count = usize::from(*data.first().ok_or_else(ends)?) + 1;
    let mut at = 1;
    let mut sizes = Vec::with_capacity(count);
    match kind {
        // Fixed: all alike.
        4 => {
            let left = data.len() - 1;
            if !left.is_multiple_of(count) {
                return Err(corrupt("a block of equal frames that cannot be equal"));
            }
            return Ok((1, vec![left / count; count]));
        }
        // Xiph: bytes of 255 and one below.
        2 => {
            for _ in 1..count {
                let mut size = 0;
                loop {
                    let byte = *data.get(at).ok_or_else(ends)?;
                    at += 1;
                    size += usize::from(byte);
                    if byte < 255 {
                        break;
                    }
                }
                sizes.push(size);
            }
        }
        // EBML: the first size, then differences.
        _ => {
            let mut size = 0i64;
            for n in 1..count {
                let (value, length) = vint(data, at)?;
                at += length;
                let value = unmarked(value, length).ok_or_else(|| corrupt("a frame of unknown size"))?;
                // Differences are stored with their middle added (10.3.3); both are below 2^56.
                let signed = value.cast_signed() - if n == 1 { 0 } else { (1 << (7 * length - 1)) - 1 };
                size += signed;
                sizes.push(usize::try_from(size).map_err(|_| corrupt("a frame of a negative size"))?);
            }
        }
    }
    let before = sizes.iter().fold(at, |sum, &size| sum.saturating_add(size));
    sizes.push(data.len().checked_sub(before).ok_or_else(ends)?);
    Ok((at, sizes))
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
        let kinds = |bytes: &[u8]| [Medium::Video, Medium::Audio].map(|medium| sniff(bytes, medium));
        let head = b"\x1A\x45\xDF\xA3\x8b\x42\x82\x88matroska";
        assert_eq!(kinds(head), [true, false]);
        let tracks =
            |kind: u8| [&head[..], b"\x18\x53\x80\x67\xff\x16\x54\xae\x6b\x85\xae\x83\x83\x81", &[kind]].concat();
        assert_eq!(kinds(&tracks(1)), [true, false]);
        assert_eq!(kinds(&tracks(2)), [false, true]);
        assert_eq!(kinds(b"\x1A\x45\xDF\xA3\x93\x42\x82\x84blob"), [false, false]);
        assert_eq!(kinds(b""), [false, false]);
    }

    #[test]
    fn poses_of_the_standard() {
        let of = |yaw: f64, pitch: f64, roll: f64| {
            Entry { pose: [yaw, pitch, roll], ..Entry::default() }.orientation().code()
        };
        assert_eq!(
            [0.0, 90.0, 180.0, -180.0, -90.0, 45.0, f64::NAN].map(|roll| of(0.0, 0.0, roll)),
            [0, 8, 3, 3, 6, 0, 0]
        );
        assert_eq!([0.0, 180.0].map(|roll| of(180.0, 0.0, roll)), [2, 4], "mirrored, and upside down behind it");
        assert_eq!([90.0, -90.0].map(|roll| of(-180.0, 0.0, roll)), [5, 7]);
        assert_eq!((of(10.0, 0.0, 90.0), of(0.0, 1.0, 90.0)), (0, 0));
    }

    #[test]
    fn laces_of_the_standard() {
        let sizes = |kind, data: &[u8]| lacing(kind, data).map_err(|fault| fault.reason);
        assert_eq!(sizes(0, &[1, 2, 3]), Ok((0, vec![3])));
        assert_eq!(sizes(4, &[2, 1, 1, 2, 2, 3, 3]), Ok((1, vec![2, 2, 2])));
        assert_eq!(sizes(4, &[1, 1, 1, 1]), Err(Reason::Corrupt));
        // Frames of 260, 2 and the rest.
        let xiph = [&[2u8, 255, 5, 2][..], &[0; 265]].concat();
        assert_eq!(sizes(2, &xiph), Ok((4, vec![260, 2, 3])));
        // 2, one more than that, and the rest; then one less than nothing.
        let ebml = |difference: u8| [&[2u8, 0x82, 0x80 | (0x3f + difference)][..], &[0; 9]].concat();
        assert_eq!(sizes(6, &ebml(1)), Ok((3, vec![2, 3, 4])));
        assert_eq!(sizes(6, &[2, 0x82, 0x80 | (0x3f - 3), 0, 0]), Err(Reason::Corrupt));
        assert_eq!(sizes(2, &[9]), Err(Reason::Corrupt));
        assert_eq!(sizes(2, &[]), Err(Reason::Corrupt));
    }
}
