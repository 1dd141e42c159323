//! Ogg (RFC 3533) with Vorbis, FLAC or Opus. The granule position of the last page is the end.
//!
//! Vorbis and FLAC are taken apart by `symphonia`. Opus (RFC 7845) is taken apart here: symphonia 0.6.1 reads the number of
//! frames of a packet from five bits of six, and its times with it.

use std::borrow::Cow;

use symphonia::core::checksum::Crc32;
use symphonia::core::formats::{FormatOptions, FormatReader};
use symphonia::core::io::Monitor;
use symphonia::default::formats::OggReader;

use super::packed::{End, FROM_THE_START, Packet, Recording, decoder, parameters};
use super::streams::{next, seekable};
use super::{fault, opus};
use crate::codec::Limits;
use crate::error::{Fault, Reason};

fn corrupt(what: impl std::fmt::Display) -> Fault {
    Fault::new(Reason::Corrupt, format!("ogg: {what}"))
}

/// One page (RFC 3533, 6).
struct Page<'b> {
    /// All of it.
    bytes: &'b [u8],
    /// The lacing values: lengths of the segments.
    segments: &'b [u8],
}

impl<'b> Page<'b> {
    fn flag(&self, bit: u8) -> bool {
        self.bytes[5] & bit != 0
    }

    /// Its first packet began on the page before.
    fn continues(&self) -> bool {
        self.flag(1)
    }

    /// The first of its stream.
    fn begins(&self) -> bool {
        self.flag(2)
    }

    fn is_last(&self) -> bool {
        self.flag(4)
    }

    /// The position behind the last packet that ends here; -1 if none does.
    fn granule(&self) -> i64 {
        self.bytes[6..14].try_into().map_or(-1, i64::from_le_bytes)
    }

    fn serial(&self) -> &'b [u8] {
        &self.bytes[14..18]
    }

    fn body(&self) -> &'b [u8] {
        &self.bytes[27 + self.segments.len()..]
    }

    /// Whether its content is what was written.
    fn is_sound(&self) -> bool {
        let mut crc = Crc32::new(0);
        crc.process_buf_bytes(&self.bytes[..22]);
        crc.process_buf_bytes(&[0; 4]);
        crc.process_buf_bytes(&self.bytes[26..]);
        crc.crc().to_le_bytes() == self.bytes[22..26]
    }
}

/// The pages. Every byte belongs to one, and the last is whole: readers take what is cut for the end.
fn pages(bytes: &[u8]) -> impl Iterator<Item = Result<Page<'_>, Fault>> {
    let mut at = 0;
    let mut page = move || -> Result<Option<Page<'_>>, Fault> {
        let rest = &bytes[at..];
        if rest.is_empty() {
            return Ok(None);
        }
        if !rest.starts_with(b"OggS") && !b"OggS".starts_with(rest) {
            return Err(corrupt(format!("no page where one should begin, at byte {at}")));
        }
        let segments = rest.get(26).and_then(|&n| rest.get(27..27 + usize::from(n)));
        let size = |sizes: &[u8]| 27 + sizes.len() + sizes.iter().map(|&n| usize::from(n)).sum::<usize>();
        let page = segments.and_then(|segments| Some(Page { bytes: rest.get(..size(segments))?, segments }));
        let page = page.ok_or_else(|| Fault::new(Reason::Truncated, "ogg: it ends within a page"))?;
        at += page.bytes.len();
        Ok(Some(page))
    };
    std::iter::from_fn(move || page().transpose())
}

pub(super) fn open<'b>(bytes: &'b [u8], limits: &Limits) -> Result<Recording<'b>, Fault> {
    let mut first = None;
    for page in pages(bytes) {
        let page = page?;
        let sound = [&b"OpusHead"[..], b"\x01vorbis", b"\x7fFLAC"].iter().any(|head| page.body().starts_with(head));
        if first.is_none() && page.begins() && sound {
            first = Some(page);
        }
    }
    match first {
        Some(page) if page.body().starts_with(b"OpusHead") => open_opus(bytes, page.serial(), limits),
        _ => open_other(bytes),
    }
}

/// Vorbis and FLAC.
fn open_other(bytes: &[u8]) -> Result<Recording<'_>, Fault> {
    let mut reader = OggReader::try_new(seekable(bytes), FormatOptions::default()).map_err(|e| fault(&e, "ogg"))?;
    let params = parameters(&reader, "ogg")?;
    let decoder = decoder(&params, "ogg")?;
    let id = reader.tracks().iter().find(|track| matches!(&track.codec_params, Some(p) if p.is_audio())).map(|t| t.id);
    let mut expected: Option<i64> = None;
    let packets = move || {
        loop {
            let Some(packet) = next(&mut reader, "ogg")? else { return Ok(None) };
            if Some(packet.track_id) != id {
                continue;
            }
            let (pts, length) = (packet.pts.get(), packet.dur.get());
            let padding = packet.trim_end.get();
            if expected.is_some_and(|expected| expected != pts) {
                let behind = expected.unwrap_or(0);
                return Err(corrupt(format!("damaged behind sample {behind}: the next whole page is that of {pts}")));
            }
            expected = Some(pts.saturating_add_unsigned(packet.block_dur().get()));
            // What the first packet of Vorbis makes is half a window, which its decoder does not hand over.
            return Ok(Some(Packet { data: packet.data.into_vec().into(), samples: Some(length + padding), padding }));
        }
    };
    Ok(Recording { decoder, packets: Box::new(packets), delay: 0, end: End::Line, warm_up: 1 })
}

/// A stream of Opus (RFC 7845): its header, its comments, and packets that the granule positions count exactly.
fn open_opus<'b>(bytes: &'b [u8], serial: &[u8], limits: &Limits) -> Result<Recording<'b>, Fault> {
    let mut packets: Vec<Cow<'b, [u8]>> = Vec::new();
    let mut part: Option<Vec<u8>> = None;
    let (mut headers, mut line, mut granule) = (0, 0u64, None);
    // What was not recorded: streams may begin at any position (4.3).
    let mut before = None;
    let mut ended = false;
    for page in pages(bytes) {
        let page = page?;
        if page.serial() != serial {
            if headers == 2 && page.begins() {
                return Err(Fault::new(Reason::Unsupported, "ogg: several recordings, one behind the other"));
            }
            continue;
        }
        if !page.is_sound() {
            return Err(corrupt(format!("a page behind sample {line} is not what its checksum says")));
        }
        if ended || page.begins() && headers > 0 {
            return Err(Fault::new(Reason::Unsupported, "ogg: several recordings, one behind the other"));
        }
        if page.continues() != part.is_some() {
            return Err(corrupt(format!("a page is missing behind sample {line}")));
        }
        let (mut at, mut ends) = (0, false);
        let body = page.body();
        for packet in page.segments.split_inclusive(|&size| size < 255) {
            let size = packet.iter().map(|&n| usize::from(n)).sum::<usize>();
            let data = &body[at..at + size];
            at += size;
            if packet.last() == Some(&255) {
                part.get_or_insert_default().extend_from_slice(data);
                break;
            }
            let data = match part.take() {
                Some(part) => Cow::Owned([&part, data].concat()),
                None => Cow::Borrowed(data),
            };
            match headers {
                0 => {}
                1 if !data.starts_with(b"OpusTags") => return Err(corrupt("Opus without its comments")),
                1 => {}
                _ => {
                    line +=
                        opus::samples(&data).ok_or_else(|| corrupt(format!("no packet of Opus at sample {line}")))?;
                    ends = true;
                    packets.push(data);
                    Limits::check("packets", packets.len() as u64, limits.samples / 64)?;
                }
            }
            headers = (headers + 1).min(2);
        }
        ended = page.is_last();
        if ends {
            let behind = u64::try_from(page.granule()).map_err(|_| corrupt("a page of sound without its position"))?;
            let start = *before.get_or_insert(behind.saturating_sub(line));
            let here = behind.saturating_sub(start);
            // Only the last page may leave out what its last packets hold.
            if here > line || here < line && !ended {
                return Err(corrupt(format!("damaged behind sample {line}: a page there ends at {here}")));
            }
            granule = Some(here);
        }
    }
    if part.is_some() {
        return Err(Fault::new(Reason::Truncated, "ogg: it ends within a packet"));
    }
    let head = pages(bytes).find_map(|page| page.ok().filter(|page| page.serial() == serial));
    let head = opus::Head::read(head.map_or(&[], |page| page.body()))?;
    let mut packets = packets.into_iter();
    let packets = move || {
        let Some(data) = packets.next() else { return Ok(None) };
        Ok(Some(Packet { samples: opus::samples(&data), data, padding: 0 }))
    };
    Ok(Recording {
        decoder: opus::decoder(&head)?,
        packets: Box::new(packets),
        delay: u64::from(head.pre_skip),
        end: granule.map_or(End::Line, End::At),
        warm_up: FROM_THE_START,
    })
}
