//! JPEG (ITU-T T.81) by `libjpeg-turbo-rs`: the pixels of libjpeg-turbo's defaults (accurate integer DCT, fancy
//! upsampling), which are those of Pillow and torchvision.
//!
//! A region costs what lies above its lower edge: a sequential file is decoded through a copy of its bytes whose header
//! says that the picture ends a little below the region, so that the rows under it are not even entropy-decoded. The
//! pixels are those of the whole picture, bit by bit (tested over sampling factors and regions).
//!
//! With a *crop index* (the seek table of a picture, made where it is asked for: `--prepare crop`) it costs what lies in the region: entropy-coded
//! data can be begun at every few MCUs of each row, and what a region needs becomes a small JPEG of its own (`jpeg/crop.rs`). The pixels are the same.
//!
//! With the feature `turbojpeg` libjpeg-turbo itself decodes regions without an index (`jpeg/turbojpeg.rs`), to the same pixels. It is slower with whole
//! pictures, and as slow with the small ones of an index (docs/formats.md).

mod bits;
mod coding;
mod crop;
mod sequence;
mod table;
#[cfg(feature = "turbojpeg")]
mod turbojpeg;
mod walk;

use std::ops::Range;

use libjpeg_turbo_rs::{DecodeLimits, Decoder, JpegError, PixelFormat, ScalingFactor};

use super::jpeg_header::{self, Header};
use super::{Native, check_size, icc, metadata, region_of, sized};
use crate::codec::{Check, Codec, Decoded, Limits, Pixels, Ranged, Rect, Scratch, Want, guarded};
use crate::data::info::{Format, Info};
use crate::data::record::payload_hash;
use crate::error::{Fault, Reason};
use coding::Coding;
use table::Table;

pub(crate) use sequence::in_sequence;

/// The JPEG codec: baseline, extended, progressive and arithmetic-coded files of 8 bits, gray, colour, or four inks.
///
/// CMYK and YCCK are taken as Adobe stores them, inverted, whether its marker is there or not, and become RGB without a colour
/// profile, as Pillow does both; a region of them is handed over as the whole picture. Refused as unsupported: black that is sampled more coarsely than the picture, lossless and hierarchical files, 12 bits. Strict where libjpeg warns: a scan
/// that ends before its last block is [`Reason::Truncated`] (or [`Reason::Corrupt`] if the file has its end marker); a
/// missing end marker or bytes behind the picture are fine as long as every block is there.
#[derive(Debug, Clone, Copy)]
pub struct Jpeg;

/// More scans than any encoder writes; each one costs a walk over the whole picture.
const MAX_SCANS: usize = 500;

/// Rows and columns behind a region that fancy upsampling may look at.
const MARGIN: u32 = 2;

/// Columns to decode at least where columns are subsampled: the decoder takes a simpler filter for the narrowest pictures,
/// and takes a narrow crop for one.
const LEAST_WIDTH: u32 = 16;

/// The file with another size, kept between calls for its memory.
#[derive(Default)]
struct Made(Vec<u8>);

impl Codec for Jpeg {
    fn format(&self) -> Format {
        Format::Jpeg
    }

    fn sniff(&self, bytes: &[u8]) -> bool {
        bytes.starts_with(&[0xff, 0xd8, 0xff])
    }

    fn probe(&self, bytes: &[u8], limits: &Limits) -> Result<Info, Fault> {
        Ok(info(bytes, &header(bytes, limits)?))
    }

    fn memory(&self, bytes: &[u8], info: &Info) -> u64 {
        self.memory_of_part(bytes, info, info)
    }

    fn memory_of_part(&self, bytes: &[u8], info: &Info, part: &Info) -> u64 {
        // RGB and three planes; where scans follow each other, also a coefficient of two bytes for each sample of the whole.
        let sequential = jpeg_header::read(bytes).is_ok_and(|header| header.sequential);
        let pixels = |of: &Info| u64::from(of.width) * u64::from(of.height);
        // Inks are decoded whole.
        let (decoded, inks) = if info.channels == 4 { (info, 4 + 1) } else { (part, 0) };
        let coefficients = if sequential { 0 } else { pixels(info).saturating_mul(6) };
        pixels(decoded).saturating_mul(inks + 3 + 3).saturating_add(coefficients)
    }

    fn check(&self, bytes: &[u8], level: Check, limits: &Limits, scratch: &mut Scratch) -> Result<Info, Fault> {
        let header = header(bytes, limits)?;
        if level != Check::Header {
            // One pixel of each block is enough to walk the stream.
            let scale = match level {
                Check::Entropy => ScalingFactor::try_new(1, 8).map_err(|e| fault(e, bytes))?,
                _ => ScalingFactor::default(),
            };
            decode(bytes, &header, limits, &mut scratch.bytes, |decoder| decoder.set_scale(scale))?;
        }
        Ok(info(bytes, &header))
    }

    fn decode<'s>(
        &self,
        bytes: &'s [u8],
        want: Want<'_>,
        limits: &Limits,
        scratch: &'s mut Scratch,
    ) -> Result<Decoded<'s>, Fault> {
        let region = want.region("a JPEG")?;
        let of = pixels(bytes, None, region, limits, scratch)?;
        Ok(Decoded::Pixels(Pixels::picture(&scratch.bytes, of)))
    }

    /// The walk that makes an index goes over every block, and takes less than a decoder: where there is one, the entropy-coded data are right. What
    /// else a file needs is seen as one corner is decoded.
    fn check_seekable(
        &self,
        bytes: &[u8],
        level: Check,
        limits: &Limits,
        scratch: &mut Scratch,
    ) -> Result<(Info, Option<Vec<u8>>), Fault> {
        if level == Check::Entropy {
            let header = header(bytes, limits)?;
            let corner = Rect { x: 0, y: 0, width: header.width.min(8), height: header.height.min(8) };
            if let Some(table) = index(bytes, &header)
                && pixels(bytes, Some(&table), Some(corner), limits, scratch).is_ok()
            {
                return Ok((info(bytes, &header), Some(table)));
            }
        }
        Ok((self.check(bytes, level, limits, scratch)?, None))
    }

    fn seek_table(&self, bytes: &[u8], limits: &Limits) -> Result<Option<Vec<u8>>, Fault> {
        Ok(index(bytes, &header(bytes, limits)?))
    }

    fn seeks(&self) -> bool {
        true
    }

    /// Only so can it be compared with the table's hash.
    fn reads_whole(&self) -> bool {
        true
    }

    fn decode_parts<'s>(
        &self,
        table: &[u8],
        source: &dyn Ranged,
        want: Want<'_>,
        limits: &Limits,
        scratch: &'s mut Scratch,
    ) -> Result<Decoded<'s>, Fault> {
        let region = want.region("a JPEG")?;
        Limits::check("payload bytes", source.bytes(), limits.payload_bytes)?;
        let mut whole = std::mem::take(scratch.state::<Whole>());
        let length = usize::try_from(source.bytes()).unwrap_or(usize::MAX);
        let read = if length > whole.0.capacity() { source.stands() } else { Ok(()) };
        let of = read.and_then(|()| source.read(0, sized(&mut whole.0, length))).and_then(|()| {
            let table = Some(table).filter(|table| table.first() == Some(&table::VERSION));
            pixels(&whole.0[..length], table, region, limits, scratch)
        });
        *scratch.state::<Whole>() = whole;
        Ok(Decoded::Pixels(Pixels::picture(&scratch.bytes, of?)))
    }
}

/// A payload that was read, kept between calls for its memory.
#[derive(Default)]
struct Whole(Vec<u8>);

/// The most that an index may be of its payload: 3 parts of 100.
const LARGEST_INDEX: (usize, usize) = (3, 100);

/// The index of a file, the finest that is small enough; `None` for one that has none.
fn index(bytes: &[u8], header: &Header) -> Option<Vec<u8>> {
    indices(bytes, header, bytes.len() / LARGEST_INDEX.1 * LARGEST_INDEX.0)?.next()
}

/// The indices of a file that have `most` bytes at the most, the finest first.
fn indices(bytes: &[u8], header: &Header, most: usize) -> Option<impl Iterator<Item = Vec<u8>>> {
    let coding = Coding::read(bytes, header)?;
    // What a crop could not be made of has no index.
    if !crop::is_worth_it(&coding) || crop::whole_dc(&coding).is_none() {
        return None;
    }
    let finest = crop::steps(&coding).next()?;
    let (entries, end) = coding.entries(bytes, finest)?;
    let across = coding.mcus.0;
    let hash = payload_hash(bytes);
    let steps: Vec<u32> = crop::steps(&coding).collect();
    Some(steps.into_iter().filter_map(move |step| {
        let rows = entries.chunks(across.div_ceil(finest) as usize);
        let kept = rows.flat_map(|row| row.iter().step_by(step.div_ceil(finest) as usize));
        let kept: Vec<_> = kept.copied().chain([end]).collect();
        let a_row = across.div_ceil(step) as usize;
        table::pack(hash, u16::try_from(step).ok()?, a_row, coding.components.len(), &kept, most)
    }))
}

/// Decodes a region, or all, into the scratch, by the index if there is one; returns what of the picture is there.
fn pixels(
    bytes: &[u8],
    table: Option<&[u8]>,
    region: Option<Rect>,
    limits: &Limits,
    scratch: &mut Scratch,
) -> Result<Rect, Fault> {
    let header = header(bytes, limits)?;
    let region = region_of(region, header.width, header.height)?;
    let whole = Rect { x: 0, y: 0, width: header.width, height: header.height };
    if header.components == INKS {
        let mut native = std::mem::take(scratch.state::<Native>());
        let done = decode(bytes, &header, limits, &mut native.0, |_| {});
        if done.is_ok() {
            let pixels = header.width as usize * header.height as usize;
            from_inks(&native.0[..pixels * 4], sized(&mut scratch.bytes, pixels * 3));
        }
        *scratch.state::<Native>() = native;
        done?;
        return Ok(whole);
    }
    let mut made = std::mem::take(scratch.state::<Made>());
    let done = match table {
        Some(table) => by_index(bytes, &header, table, region, limits, &mut made.0, scratch),
        None => Ok(None),
    };
    let done = done.and_then(|done| match done {
        Some(done) => Ok(done),
        None if region == whole => {
            let small = bytes.len() <= SMALL;
            let copy = small.then(|| shortened(bytes, &header, header.height, &mut made.0)).flatten();
            decode(copy.unwrap_or(bytes), &header, limits, &mut scratch.bytes, |_| {}).map(|_| whole)
        }
        None => decode_region(bytes, &header, region, limits, &mut made.0, scratch),
    });
    *scratch.state::<Made>() = made;
    done
}

/// Decodes a region by the index of a file, if that is less work than without.
fn by_index(
    bytes: &[u8],
    header: &Header,
    table: &[u8],
    region: Rect,
    limits: &Limits,
    made: &mut Vec<u8>,
    scratch: &mut Scratch,
) -> Result<Option<Rect>, Fault> {
    let table = Table::read(table, usize::from(header.components))?;
    if table.hash != payload_hash(bytes) {
        return Err(table::disagrees("its hash is another"));
    }
    let coding =
        Coding::read(bytes, header).ok_or_else(|| table::disagrees("its headers are none that have an index"))?;
    let Some(crop) = crop::cut(bytes, header, &coding, &table, region, made)? else { return Ok(None) };
    // All of it, though a little lies around the region: to cut off rows the decoder takes a buffer of its own, and copies it.
    let (width, height) = decode(made, &crop.header, limits, &mut scratch.bytes, |_| {})?;
    Ok(Some(Rect { x: crop.x, y: crop.y, width, height }))
}

/// Components of CMYK and YCCK.
const INKS: u8 = 4;

/// CMYK as Adobe stores it (255 is no ink) to RGB: `(255 - c) * (255 - k) / 255` of the true inks, each product rounded as
/// Pillow rounds it.
fn from_inks(inks: &[u8], rgb: &mut [u8]) {
    for (ink, rgb) in inks.as_chunks::<4>().0.iter().zip(rgb.as_chunks_mut::<3>().0) {
        let left = u32::from(ink[3]);
        for (to, stored) in rgb.iter_mut().zip(ink) {
            // Pillow takes off what the ink covers: ink * left / 255, to the nearest.
            let product = (255 - u32::from(*stored)) * left + 128;
            *to = (left - (((product >> 8) + product) >> 8)) as u8;
        }
    }
}

fn info(bytes: &[u8], header: &Header) -> Info {
    let Header { width, height, components, .. } = *header;
    let stored = Info { width, height, channels: u32::from(components), ..Info::of(Format::Jpeg) };
    let headers = &bytes[..header.scan_at];
    metadata::shown(stored, metadata::jpeg(headers), icc::jpeg(headers).as_deref())
}

/// A JPEG of the headers of another's frame and first scan alone: it has the same size and sampling, and no data.
#[cfg(feature = "video")]
pub(in crate::codec) fn frame_headers(bytes: &[u8]) -> Result<Vec<u8>, Fault> {
    let header = jpeg_header::read(bytes)?;
    // The frame header: two bytes of marker, two of length, one of precision, then the height.
    let mut out = vec![0xff, 0xd8];
    for at in [header.height_at - 5, header.scan_at] {
        let length = 2 + usize::from(u16::from_be_bytes([bytes[at + 2], bytes[at + 3]]));
        out.extend_from_slice(&bytes[at..at + length]);
    }
    Ok(out)
}

fn header(bytes: &[u8], limits: &Limits) -> Result<Header, Fault> {
    Limits::check("payload bytes", bytes.len() as u64, limits.payload_bytes)?;
    let header = jpeg_header::read(bytes)?;
    check_size(header.width, header.height, limits)?;
    // A block (64 samples, of a component that may be sampled down) takes a bit at least: a few bytes cannot be a large
    // picture, and are refused before they get the memory of one.
    let pixels = u64::from(header.width) * u64::from(header.height);
    if header.huffman && pixels / 2048 > bytes.len() as u64 {
        let what = format!("{} bytes cannot hold a JPEG of {}x{}", bytes.len(), header.width, header.height);
        return Err(Fault::new(Reason::Truncated, what));
    }
    Ok(header)
}

/// Decodes a region into the scratch, or more columns of it; returns what of the picture is there.
fn decode_region(
    bytes: &[u8],
    header: &Header,
    region: Rect,
    limits: &Limits,
    made: &mut Vec<u8>,
    scratch: &mut Scratch,
) -> Result<Rect, Fault> {
    #[cfg(feature = "turbojpeg")]
    if let Some(made) = turbojpeg::decode(bytes, header, region, limits, made, &mut scratch.bytes) {
        return Ok(made);
    }
    decode_region_by_rust(bytes, header, region, limits, made, scratch)
}

/// The same by the decoder in Rust.
fn decode_region_by_rust(
    bytes: &[u8],
    header: &Header,
    region: Rect,
    limits: &Limits,
    made: &mut Vec<u8>,
    scratch: &mut Scratch,
) -> Result<Rect, Fault> {
    let rows = region.y + region.height + if header.rows_subsampled { MARGIN } else { 0 };
    let is_less = rows.div_ceil(header.mcu_rows) < header.height.div_ceil(header.mcu_rows);
    let height = if is_less { rows } else { header.height };
    let copies = is_less || bytes.len() <= SMALL;
    match copies.then(|| shortened(bytes, header, height, made)).flatten() {
        Some(copy) => decode_crop(copy, &Header { height, ..*header }, region, limits, scratch),
        None => decode_crop(bytes, header, region, limits, scratch),
    }
}

/// Decodes all of a file, of which no more than the columns of a region are made.
fn decode_crop(
    bytes: &[u8],
    header: &Header,
    region: Rect,
    limits: &Limits,
    scratch: &mut Scratch,
) -> Result<Rect, Fault> {
    let Rect { y, height, .. } = region;
    let (x, end) = columns(header, region);
    let crop = |decoder: &mut Decoder<'_>| {
        decoder.set_crop_region(x as usize, y as usize, (end - x) as usize, height as usize);
    };
    let (width, got) = decode(bytes, header, limits, &mut scratch.bytes, crop)?;
    // The left edge moved to the beginning of an MCU, the right edge stayed.
    match end.checked_sub(width) {
        Some(x) if got == height => Ok(Rect { x, width, ..region }),
        _ => Err(disagree("the crop")),
    }
}

/// The columns to decode for a region: chroma at the edges of a crop is upsampled from what is inside, so where columns are
/// subsampled the crop gets a margin.
fn columns(header: &Header, region: Rect) -> (u32, u32) {
    let end = region.x + region.width;
    if !header.columns_subsampled {
        return (region.x, end);
    }
    let end = (end + MARGIN).max(LEAST_WIDTH).min(header.width);
    (region.x.saturating_sub(1).min(end.saturating_sub(LEAST_WIDTH)), end)
}

/// Whether a segment is metadata: APPn and COM, but APP0 (JFIF) and APP14 (Adobe) tell the colours.
fn is_metadata(code: u8) -> bool {
    matches!(code, 0xe1..=0xed | 0xef | 0xfe)
}

/// Bytes of a file that are copied to be spared its headers.
const SMALL: usize = 32 << 10;

/// A copy of a file without its metadata, with a height of `rows`, and without Huffman's tables where they are those that the decoder has: to
/// build them takes a quarter of what a picture of 32 x 32 takes. `None` for one that is not in sequence, or whose headers are not as encoders write
/// them: where a segment says that it is shorter than it is, decoders read on in what follows, which would be something else.
fn shortened<'m>(bytes: &[u8], header: &Header, rows: u32, copy: &'m mut Vec<u8>) -> Option<&'m [u8]> {
    Coding::read(bytes, header)?;
    let segments = || jpeg_header::segments(&bytes[..header.scan_at]);
    let is_codes = |segment: &Range<usize>| bytes[segment.start + 1] == 0xc4;
    // All or none: one of its own may stand in the place of one of these.
    let standard = |segment: Range<usize>| bytes.get(segment.start + 4..segment.end).is_some_and(coding::are_standard);
    let standard = segments().filter(is_codes).all(standard);
    copy.clear();
    copy.extend_from_slice(&bytes[..2]);
    for segment in segments() {
        if is_metadata(bytes[segment.start + 1]) || standard && is_codes(&segment) {
            continue;
        }
        let from = copy.len();
        copy.extend_from_slice(&bytes[segment.clone()]);
        if segment.contains(&header.height_at) {
            let at = from + header.height_at - segment.start;
            copy[at..at + 2].copy_from_slice(&(rows as u16).to_be_bytes());
        }
    }
    copy.extend_from_slice(&bytes[header.scan_at..]);
    Some(copy)
}

/// Decodes into `out` as configured, as RGB or four inks, and returns (width, height) of what is there.
fn decode<'b>(
    bytes: &'b [u8],
    header: &Header,
    limits: &Limits,
    out: &mut Vec<u8>,
    configure: impl FnOnce(&mut Decoder<'b>),
) -> Result<(u32, u32), Fault> {
    guarded("JPEG", || {
        let budget = DecodeLimits { max_scans: MAX_SCANS, max_pixels: limits.pixels, ..DecodeLimits::default() };
        let mut decoder = Decoder::new_with_limits(bytes, budget).map_err(|e| fault(e, bytes))?;
        let frame = decoder.header();
        if (u32::from(frame.width), u32::from(frame.height)) != (header.width, header.height) {
            return Err(disagree("the frame header"));
        }
        if !header.sequential && !ends(bytes) {
            return Err(Fault::new(Reason::Truncated, "the JPEG ends before its last scan"));
        }
        let format = if header.components == INKS { PixelFormat::Cmyk } else { PixelFormat::Rgb };
        decoder.set_output_format(format);
        configure(&mut decoder);
        let length = decoder.output_buffer_size().map_err(|e| fault(e, bytes))?;
        Limits::check("decoded bytes", length as u64, limits.decoded_bytes)?;
        let done = decoder.decode_image_into(sized(out, length)).map_err(|e| fault(e, bytes))?;
        if done.pixel_format != format || done.bytes_written != done.width * done.height * format.bytes_per_pixel() {
            return Err(disagree("the pixel format"));
        }
        Ok((done.width as u32, done.height as u32))
    })
}

fn disagree(what: &str) -> Fault {
    Fault::new(Reason::Corrupt, format!("JPEG: {what} is read in two ways"))
}

/// Whether an end marker follows the last scan header.
fn ends(bytes: &[u8]) -> bool {
    let last = bytes.windows(2).rev().find(|two| matches!(two, [0xff, 0xd9 | 0xda]));
    last.is_some_and(|two| two[1] == 0xd9)
}

fn fault(error: JpegError, bytes: &[u8]) -> Fault {
    let reason = match &error {
        JpegError::UnexpectedEof if ends(bytes) => Reason::Corrupt,
        JpegError::UnexpectedEof => Reason::Truncated,
        JpegError::LimitExceeded { .. } | JpegError::AllocationFailed { .. } => Reason::OverLimit,
        JpegError::Unsupported(_) => Reason::Unsupported,
        _ => Reason::Corrupt,
    };
    let words = match reason {
        Reason::Truncated => "the JPEG ends before its picture does".to_owned(),
        Reason::Corrupt if matches!(error, JpegError::UnexpectedEof) => {
            "JPEG: a scan ends before its last block".to_owned()
        }
        _ => format!("JPEG: {error}"),
    };
    Fault::new(reason, words)
}

#[cfg(test)]
mod tests;
