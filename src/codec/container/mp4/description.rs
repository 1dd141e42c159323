//! The description of a track's samples (ISO/IEC 14496-12, 8.5.2): how they are coded, and the record that a decoder needs first.

use std::ops::Range;

use super::super::{Coding, Colour};
use super::{Atom, atoms, corrupt, find, full, unsupported};
use crate::error::Fault;

/// What the sample description says.
pub(super) struct About {
    pub(super) coding: Coding,
    pub(super) record: Vec<u8>,
    pub(super) channels: u32,
    pub(super) rate: u32,
    pub(super) colour: Colour,
}

/// The first entry of the sample description.
fn description(bytes: &[u8], tables: &Range<usize>) -> Result<Atom, Fault> {
    let body = find(bytes, tables, &[b"stsd"]).ok_or_else(|| corrupt("there is no sample description"))?;
    let entry = atoms(bytes, body.start.saturating_add(8).min(body.end)..body.end).next();
    entry.ok_or_else(|| corrupt("the sample description is empty"))
}

/// A coding that nothing here decodes.
fn other(name: &str, kind: [u8; 4]) -> Coding {
    Coding::Other(format!("{name} ({})", String::from_utf8_lossy(&kind).escape_default()))
}

/// A coded picture's description (ISO/IEC 14496-12, 12.1.3), with the boxes that its coding's binding puts into it.
pub(super) fn picture(bytes: &[u8], tables: &Range<usize>) -> Result<About, Fault> {
    let entry = description(bytes, tables)?;
    let inner = entry.body.start.saturating_add(78).min(entry.body.end)..entry.body.end;
    let found = |kind: &[u8; 4]| find(bytes, &inner, &[kind]).and_then(|body| bytes.get(body));
    let record = |kind: &[u8; 4]| found(kind).map(<[u8]>::to_vec);
    let need = |kind: &[u8; 4], name: &str| {
        let box_name = String::from_utf8_lossy(kind);
        record(kind).ok_or_else(|| corrupt(format!("the video track has no {name} configuration (box {box_name})")))
    };
    let (coding, record) = match &entry.kind {
        b"avc1" | b"avc3" => (Coding::H264, need(b"avcC", "H.264")?),
        b"hvc1" | b"hev1" => (Coding::H265, need(b"hvcC", "H.265")?),
        b"vp09" => (Coding::Vp9, record(b"vpcC").unwrap_or_default()),
        b"av01" => (Coding::Av1, record(b"av1C").unwrap_or_default()),
        b"jpeg" | b"mjpa" => (Coding::Mjpeg, Vec::new()),
        b"mp4v" => {
            let streams = find(bytes, &inner, &[b"esds"]).map(|body| full(bytes, &body)).transpose()?;
            let coding = match streams.and_then(|(_, _, data)| elementary(data)).map(|(kind, _)| kind) {
                Some(0x6c) => Coding::Mjpeg,
                Some(0x60..=0x65) => other("MPEG-2 video", entry.kind),
                Some(0x6a) => other("MPEG-1 video", entry.kind),
                _ => other("MPEG-4 part 2", entry.kind),
            };
            (coding, Vec::new())
        }
        code => {
            let name = match code {
                b"vp08" => "VP8",
                b"encv" => "encrypted video",
                b"avc2" | b"avc4" => "H.264 with extractors",
                b"dvh1" | b"dvhe" | b"dvav" | b"dva1" => "Dolby Vision",
                b"mjpb" => "Motion JPEG B",
                b"s263" | b"h263" => "H.263",
                b"apch" | b"apcn" | b"apcs" | b"apco" | b"ap4h" | b"ap4x" => "ProRes",
                _ => "another codec",
            };
            (other(name, *code), Vec::new())
        }
    };
    Ok(About { coding, record, channels: 0, rate: 0, colour: found(b"colr").map(colour).unwrap_or_default() })
}

/// A box of colours (ISO/IEC 14496-12, 12.1.5; QuickTime's has no range).
pub(in crate::codec::container) fn colour(data: &[u8]) -> Colour {
    let known = matches!(data.get(..4), Some(b"nclx" | b"nclc"));
    let matrix = data.get(8..10).map(|b| u16::from(b[0]) << 8 | u16::from(b[1])).filter(|&m| known && m != 2);
    let full = data.get(10).filter(|_| data.starts_with(b"nclx"));
    Colour { matrix: matrix.and_then(|m| u8::try_from(m).ok()), full_range: full.map(|byte| byte & 0x80 != 0) }
}

/// A sound's description (ISO/IEC 14496-12, 12.2.3, and QuickTime's version 1 of it).
pub(super) fn sound(bytes: &[u8], tables: &Range<usize>) -> Result<About, Fault> {
    let entry = description(bytes, tables)?;
    let fixed = bytes.get(entry.body.clone()).and_then(|b| b.get(..28)).unwrap_or_default();
    let half = |at: usize| fixed.get(at..at + 2).map_or(0, |b| u32::from(b[0]) << 8 | u32::from(b[1]));
    let extra = match half(8) {
        0 => 0,
        1 => 16,
        version => return Err(unsupported(format!("a sound description of version {version}"))),
    };
    let inner = entry.body.start.saturating_add(28 + extra).min(entry.body.end)..entry.body.end;
    let mut about = About {
        coding: Coding::Aac,
        record: Vec::new(),
        channels: half(16),
        rate: half(24),
        colour: Colour::default(),
    };
    let found = |path: &[&[u8; 4]]| find(bytes, &inner, path);
    let full_body = |range: Option<Range<usize>>| -> Result<Option<Vec<u8>>, Fault> {
        range.map(|range| full(bytes, &range).map(|(_, _, data)| data.to_vec())).transpose()
    };
    match &entry.kind {
        b"mp4a" => {
            let streams = full_body(found(&[b"esds"]).or_else(|| found(&[b"wave", b"esds"])))?;
            let (kind, record) = streams
                .and_then(|data| elementary(&data))
                .ok_or_else(|| corrupt("the audio track has no configuration (box esds)"))?;
            about.coding = match kind {
                0x40 | 0x66..=0x68 => Coding::Aac,
                0x69 | 0x6b => Coding::Mp3,
                other => Coding::Other(format!("of MPEG-4's object type 0x{other:02x}")),
            };
            about.record = record;
        }
        b"alac" => {
            about.coding = Coding::Alac;
            about.record = full_body(found(&[b"alac"]).or_else(|| found(&[b"wave", b"alac"])))?
                .ok_or_else(|| corrupt("the audio track has no ALAC configuration (box alac)"))?;
        }
        b"fLaC" => {
            let record =
                full_body(found(&[b"dfLa"]))?.ok_or_else(|| corrupt("the audio track has no FLAC configuration"))?;
            about.coding = Coding::Flac;
            about.record = record.get(4..).unwrap_or_default().to_vec(); // behind the block's header
        }
        b"Opus" => {
            let record = found(&[b"dOps"]).and_then(|range| bytes.get(range));
            about.record = record
                .and_then(opus_head)
                .ok_or_else(|| corrupt("the audio track has no Opus configuration (box dOps)"))?;
            about.coding = Coding::Opus;
        }
        b".mp3" | b"ms\0U" => about.coding = Coding::Mp3,
        code => {
            let name = match code {
                b"ac-3" => "AC-3",
                b"ec-3" => "E-AC-3",
                b"enca" => "encrypted sound",
                b"sowt" | b"twos" | b"lpcm" | b"in24" | b"fl32" | b"ipcm" | b"fpcm" | b"raw " => "PCM in MP4",
                _ => "another codec",
            };
            about.coding = other(name, *code);
        }
    }
    Ok(about)
}

/// The header that Opus has in other containers (RFC 7845, 5.1), of a box `dOps` ("Encapsulation of Opus in ISO Base Media File
/// Format", 4.3.2), whose numbers are big-endian.
fn opus_head(dops: &[u8]) -> Option<Vec<u8>> {
    let [0, channels, a, b, c, d, e, f, g, h, rest @ ..] = dops else { return None };
    let fixed = [1, *channels, *b, *a, *f, *e, *d, *c, *h, *g];
    Some([b"OpusHead", &fixed[..], rest].concat()).filter(|head| head.len() >= 19)
}

/// The object type and the decoder's configuration of an elementary stream's descriptor (ISO/IEC 14496-1, 7.2.6).
fn elementary(data: &[u8]) -> Option<(u8, Vec<u8>)> {
    let stream = descriptor(data, 3)?;
    let flags = *stream.get(2)?;
    let mut at = 3 + if flags & 0x80 != 0 { 2 } else { 0 };
    if flags & 0x40 != 0 {
        at += 1 + usize::from(*stream.get(at)?);
    }
    at += if flags & 0x20 != 0 { 2 } else { 0 };
    let decoder = descriptor(stream.get(at..)?, 4)?;
    let record = descriptor(decoder.get(13..)?, 5).unwrap_or_default();
    Some((*decoder.first()?, record.to_vec()))
}

/// The content of the descriptor that the bytes begin with, if it has this tag (ISO/IEC 14496-1, 8.3.3).
fn descriptor(data: &[u8], tag: u8) -> Option<&[u8]> {
    let (&first, mut rest) = data.split_first()?;
    let mut size = 0usize;
    for _ in 0..4 {
        let (&byte, behind) = rest.split_first()?;
        (size, rest) = (size << 7 | usize::from(byte & 0x7f), behind);
        if byte & 0x80 == 0 {
            break;
        }
    }
    (first == tag).then(|| &rest[..size.min(rest.len())])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colours_of_boxes() {
        let of = |matrix, full_range| Colour { matrix, full_range };
        assert_eq!(colour(b"nclx\0\x01\0\x01\0\x09\x80"), of(Some(9), Some(true)));
        assert_eq!(colour(b"nclx\0\x02\0\x02\0\x02\0"), of(None, Some(false)));
        assert_eq!(colour(b"nclc\0\x01\0\x01\0\x01\x80"), of(Some(1), None), "QuickTime's has no range");
        for other in [&b"prof\0\x01\0\x01\0\x09\x80"[..], b"nclx\0\x01", b"nclx\0\x01\0\x01\x01\x09", b""] {
            assert_eq!(colour(other), Colour::default(), "{other:?}");
        }
    }
}
