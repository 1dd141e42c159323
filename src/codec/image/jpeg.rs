//! JPEG (ITU-T T.81) by `libjpeg-turbo-rs`: the pixels of libjpeg-turbo's defaults (accurate integer DCT, fancy
//! upsampling), which are those of Pillow and torchvision.
//!
//! A region costs what lies above its lower edge: a sequential file is decoded through a copy of its bytes whose header
//! says that the picture ends a little below the region, so that the rows under it are not even entropy-decoded. The
//! pixels are those of the whole picture, bit by bit (tested over sampling factors and regions).
//!
//! With a *crop index* (the seek table of a picture, made where it is asked for: `--prepare crop`) it costs what lies in the region: entropy-coded
//! data can be begun at every few MCUs of each row, and what a region needs becomes a small JPEG of its own (`jpeg/crop.rs`). The pixels are the same.

mod bits;
mod coding;
mod crop;
mod table;
mod walk;

use libjpeg_turbo_rs::{DecodeLimits, Decoder, JpegError, PixelFormat, ScalingFactor};

use super::jpeg_header::{self, Header};
use super::{Native, check_size, icc, metadata, region_of, sized};
use crate::codec::{Check, Codec, Decoded, Limits, Pixels, Ranged, Rect, Scratch, Want, guarded};
use crate::data::info::{Format, Info};
use crate::data::record::payload_hash;
use crate::error::{Fault, Reason};
use coding::Coding;
use table::Table;

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

    fn seek_table(&self, bytes: &[u8], limits: &Limits) -> Result<Option<Vec<u8>>, Fault> {
        Ok(index(bytes, &header(bytes, limits)?))
    }

    fn seeks(&self) -> bool {
        true
    }

    /// Reads all of the payload: what is saved is the decoding, and only so can it be compared with the table's hash.
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
        None if region == whole => decode(bytes, &header, limits, &mut scratch.bytes, |_| {}).map(|_| whole),
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
    let rows = region.y + region.height + if header.rows_subsampled { MARGIN } else { 0 };
    if header.sequential && rows.div_ceil(header.mcu_rows) < header.height.div_ceil(header.mcu_rows) {
        shorten(bytes, header, rows, made);
        decode_crop(made, &Header { height: rows, ..*header }, region, limits, scratch)
    } else {
        decode_crop(bytes, header, region, limits, scratch)
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

/// Copies a file without its metadata, with a height of `rows`.
fn shorten(bytes: &[u8], header: &Header, rows: u32, copy: &mut Vec<u8>) {
    copy.clear();
    copy.extend_from_slice(&bytes[..2]);
    for segment in jpeg_header::segments(&bytes[..header.scan_at]) {
        if is_metadata(bytes[segment.start + 1]) {
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
mod tests {
    use libjpeg_turbo_rs::{Encoder, Subsampling};

    use super::*;
    use crate::codec::mutants;
    use crate::codec::parts::tests::Noted;
    use crate::codec::tests::fixture;

    /// A picture with smooth parts, edges and noise, so that neighbouring blocks and chroma samples differ.
    fn picture(width: u32, height: u32) -> Vec<u8> {
        let mut noise = 1u32;
        (0..height)
            .flat_map(|y| (0..width).map(move |x| (x, y)))
            .flat_map(|(x, y)| {
                noise = noise.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                let edge = if (x / 5 + y / 7) % 2 == 0 { 90 } else { 0 };
                [x * 3 + edge, y * 5 + (noise >> 28), x * y / 9 + edge].map(|v| v as u8)
            })
            .collect()
    }

    fn decoded(bytes: &[u8], region: Option<Rect>, scratch: &mut Scratch) -> Result<(Vec<u8>, Rect), Fault> {
        match Jpeg.decode(bytes, Want::Image { region }, &Limits::default(), scratch)? {
            Decoded::Pixels(p) => {
                assert_eq!(p.data.len(), p.width as usize * p.height as usize * 3);
                Ok((p.data.to_vec(), Rect { x: p.origin.0, y: p.origin.1, width: p.width, height: p.height }))
            }
            other => panic!("{other:?}"),
        }
    }

    fn cut(data: &[u8], of: Rect, part: Rect) -> Vec<u8> {
        let rows = (part.y - of.y) as usize..(part.y - of.y + part.height) as usize;
        let row = of.width as usize * 3;
        let columns = (part.x - of.x) as usize * 3..(part.x - of.x + part.width) as usize * 3;
        rows.flat_map(|y| data[y * row..(y + 1) * row][columns.clone()].to_vec()).collect()
    }

    /// Regions at the edges of the picture and of blocks, of one pixel, and drawn ones.
    fn regions(width: u32, height: u32, count: u32) -> Vec<Rect> {
        let mut state = width * 7919 + height;
        let mut below = |n: u32| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 8) % n
        };
        let rect = |x, y, width, height| Rect { x, y, width, height };
        let mut made = vec![rect(0, 0, 1, 1), rect(width - 1, height - 1, 1, 1), rect(0, height - 1, width, 1)];
        for edge in [8, 16, 32].into_iter().filter(|e| e + 1 < width.min(height)) {
            made.extend([
                rect(edge, edge, 1, 1),
                rect(edge - 1, edge - 1, 2, 2),
                rect(0, 0, edge, edge),
                rect(0, 0, edge + 1, edge - 1),
            ]);
        }
        for _ in 0..count {
            let (x, y) = (below(width), below(height));
            made.push(rect(x, y, 1 + below(width - x), 1 + below(height - y)));
        }
        made
    }

    /// The finest index of a picture as the encoder makes it unless told.
    fn encoder_index(pixels: &[u8], width: u32, height: u32) -> Vec<u8> {
        let bytes = Encoder::new(pixels, width as usize, height as usize, PixelFormat::Rgb).encode().unwrap();
        let header = header(&bytes, &Limits::default()).unwrap();
        indices(&bytes, &header, usize::MAX).unwrap().next().unwrap()
    }

    fn regions_equal(name: &str, bytes: &[u8], count: u32, scratch: &mut Scratch) {
        let (whole, of) = decoded(bytes, None, scratch).unwrap();
        for region in regions(of.width, of.height, count) {
            let (data, got) = decoded(bytes, Some(region), scratch).unwrap();
            assert_eq!(cut(&data, got, region), cut(&whole, of, region), "{name}: {region:?} came as {got:?}");
        }
    }

    #[test]
    fn regions_are_those_of_the_whole_picture() {
        use Subsampling::*;
        let mut scratch = Scratch::default();
        for (sampling, name) in
            [(S444, "444"), (S422, "422"), (S420, "420"), (S440, "440"), (S411, "411"), (S441, "441")]
        {
            for (width, height) in [(99, 75), (64, 64), (130, 33), (17, 95), (3, 50)] {
                let pixels = picture(width, height);
                for kind in 0..4 {
                    let encoder = Encoder::new(&pixels, width as usize, height as usize, PixelFormat::Rgb);
                    let encoder = encoder.quality(85).subsampling(sampling);
                    let bytes = match kind {
                        0 => encoder,
                        1 => encoder.progressive(true),
                        2 => encoder.restart_blocks(3),
                        _ => encoder.optimize_huffman(true),
                    };
                    let name = format!("{name} {width}x{height} kind {kind}");
                    regions_equal(&name, &bytes.encode().unwrap(), 40, &mut scratch);
                }
            }
        }
    }

    /// Decodes a region by an index; says whether the index was used.
    fn decoded_by(bytes: &[u8], table: &[u8], region: Rect) -> Result<(Vec<u8>, Rect, bool), Fault> {
        let mut scratch = Scratch::default();
        let source = Noted::new(bytes);
        let limits = Limits::default();
        let is_used = {
            let header = header(bytes, &limits)?;
            let mut made = Vec::new();
            by_index(bytes, &header, table, region, &limits, &mut made, &mut scratch)?.is_some()
        };
        match Jpeg.decode_parts(table, &source, Want::Image { region: Some(region) }, &limits, &mut scratch)? {
            Decoded::Pixels(p) => {
                let of = Rect { x: p.origin.0, y: p.origin.1, width: p.width, height: p.height };
                Ok((p.data.to_vec(), of, is_used))
            }
            other => panic!("{other:?}"),
        }
    }

    /// Returns how many regions an index was used for.
    fn indexed_regions_equal(name: &str, bytes: &[u8], count: u32) -> usize {
        let mut scratch = Scratch::default();
        let header = header(bytes, &Limits::default()).unwrap();
        let (whole, of) = decoded(bytes, None, &mut scratch).unwrap();
        let mut used = 0;
        for table in indices(bytes, &header, usize::MAX).into_iter().flatten() {
            for region in regions(of.width, of.height, count) {
                let (data, got, is_used) =
                    decoded_by(bytes, &table, region).unwrap_or_else(|fault| panic!("{name}: {region:?}: {fault}"));
                used += usize::from(is_used);
                let step = u16::from_le_bytes([table[9], table[10]]);
                let same = cut(&data, got, region) == cut(&whole, of, region);
                assert!(same, "{name}, an entry each {step} MCUs: {region:?} came as {got:?}");
            }
        }
        used
    }

    #[test]
    fn regions_by_an_index_are_those_of_the_whole_picture() {
        use Subsampling::*;
        for (sampling, name) in
            [(S444, "444"), (S422, "422"), (S420, "420"), (S440, "440"), (S411, "411"), (S441, "441")]
        {
            for (width, height) in [(299, 175), (256, 256), (130, 233)] {
                let pixels = picture(width, height);
                for kind in 0..5 {
                    let encoder = Encoder::new(&pixels, width as usize, height as usize, PixelFormat::Rgb);
                    let encoder = encoder.quality(if kind == 4 { 20 } else { 85 }).subsampling(sampling);
                    let encoder = match kind {
                        1 => encoder.restart_rows(1),
                        2 => encoder.restart_rows(2),
                        3 => encoder.optimize_huffman(true),
                        _ => encoder,
                    };
                    let bytes = encoder.encode().unwrap();
                    let name = format!("{name} {width}x{height} kind {kind}");
                    assert!(indexed_regions_equal(&name, &bytes, 30) > 30, "{name}");
                }
            }
        }
    }

    #[test]
    fn what_has_no_index_is_decoded_without() {
        let (width, height) = (160, 120);
        let pixels = picture(width, height);
        let encoder = || Encoder::new(&pixels, width as usize, height as usize, PixelFormat::Rgb);
        for (name, encoder, has_one) in [
            ("restarts within rows", encoder().restart_blocks(3), false),
            ("progressive", encoder().progressive(true), false),
            ("arithmetic", encoder().arithmetic(true), false),
            ("usual", encoder(), true),
        ] {
            let bytes = encoder.encode().unwrap();
            let header = header(&bytes, &Limits::default()).unwrap();
            assert_eq!(indices(&bytes, &header, usize::MAX).is_some(), has_one, "{name}");
            // Where there is one all the same (of another file), it is found out.
            let usual = encoder_index(&pixels, width, height);
            let region = Rect { x: 90, y: 70, width: 20, height: 20 };
            assert_eq!(decoded_by(&bytes, &usual, region).is_ok(), has_one, "{name}");
        }
        assert!(
            index(
                &fixture("images_extra/one_pixel.jpg"),
                &header(&fixture("images_extra/one_pixel.jpg"), &Limits::default()).unwrap()
            )
            .is_none()
        );
    }

    #[test]
    fn regions_of_fixtures_are_those_of_the_whole_picture() {
        let mut scratch = Scratch::default();
        for name in ["arithmetic", "sampling_1x2", "sampling_4x1", "exif_orientation_6", "one_pixel"] {
            regions_equal(name, &fixture(&format!("images_extra/{name}.jpg")), 60, &mut scratch);
        }
        regions_equal("gray", &fixture("images/train/pants/005_gray.jpg"), 60, &mut scratch);
    }

    #[test]
    fn a_missing_end_marker_or_a_tail_is_fine_and_a_missing_block_is_not() {
        let mut scratch = Scratch::default();
        for progressive in [false, true] {
            let encoder = Encoder::new(&[7; 64 * 48 * 3], 64, 48, PixelFormat::Rgb).progressive(progressive);
            let bytes = encoder.encode().unwrap();
            let mut check = |bytes: &[u8]| {
                Jpeg.check(bytes, Check::Decode, &Limits::default(), &mut scratch).map(|_| ()).map_err(|f| f.reason)
            };
            assert_eq!(check(&bytes), Ok(()));
            assert_eq!(check(&[&bytes[..], b"\0\0trailing bytes"].concat()), Ok(()));
            let end = if progressive { Err(Reason::Truncated) } else { Ok(()) };
            assert_eq!(check(&bytes[..bytes.len() - 2]), end, "without its end marker");
            for length in 2..bytes.len() - 8 {
                assert_eq!(check(&bytes[..length]), Err(Reason::Truncated), "{length} of {} bytes", bytes.len());
            }
        }
    }

    #[test]
    fn what_is_not_decoded_is_unsupported() {
        let black = fixture("images_extra/ycck_black_sampled.jpg");
        let fault = Jpeg.probe(&black, &Limits::default()).unwrap_err();
        assert!(fault.reason == Reason::Unsupported && fault.message.contains("black ink"), "{fault}");
        let bytes = fixture("images/train/pants/000_444.jpg");
        let limits = Limits { pixels: 100, ..Limits::default() };
        assert_eq!(Jpeg.probe(&bytes, &limits).unwrap_err().reason, Reason::OverLimit);
        let mut claims = bytes.clone();
        let at = jpeg_header::read(&bytes).unwrap().height_at;
        claims[at..at + 4].copy_from_slice(&[0x30, 0, 0x30, 0]);
        assert_eq!(Jpeg.probe(&claims, &Limits::default()).unwrap_err().reason, Reason::Truncated);
        let outside = Rect { x: 0, y: 0, width: 100_000, height: 1 };
        assert_eq!(decoded(&bytes, Some(outside), &mut Scratch::default()).unwrap_err().reason, Reason::Corrupt);
    }

    #[test]
    fn damage_never_panics_out() {
        let limits = Limits { pixels: 1 << 20, ..Limits::default() };
        let mut scratch = Scratch::default();
        for name in ["000_444", "002_420", "005_gray"] {
            let bytes = fixture(&format!("images/train/pants/{name}.jpg"));
            for made in mutants(&bytes, 150) {
                for level in [Check::Header, Check::Entropy, Check::Decode] {
                    let fault = Jpeg.check(&made, level, &limits, &mut scratch).err();
                    assert!(fault.as_ref().is_none_or(|f| f.reason != Reason::DecoderPanic), "{name}: {fault:?}");
                }
                let region = Rect { x: 3, y: 5, width: 20, height: 9 };
                let _ = Jpeg.decode(&made, Want::Image { region: Some(region) }, &limits, &mut scratch);
            }
        }
        assert!(scratch.bytes.capacity() <= 8 << 20);
    }

    /// Whoever makes an index by hand knows the payload's hash: whatever it says, it is a picture or a clear error.
    #[test]
    fn an_index_that_lies_never_panics_out() {
        let pixels = picture(260, 200);
        let bytes = Encoder::new(&pixels, 260, 200, PixelFormat::Rgb).encode().unwrap();
        let table = encoder_index(&pixels, 260, 200);
        let region = Rect { x: 130, y: 90, width: 60, height: 40 };
        let (limits, mut scratch) = (Limits::default(), Scratch::default());
        let mut faults = 0;
        for mut made in mutants(&table, 3_000) {
            if made.len() > 9 {
                made[0] = table::VERSION;
                made[1..9].copy_from_slice(&table[1..9]);
            }
            let source = Noted::new(&bytes);
            let want = Want::Image { region: Some(region) };
            let fault = Jpeg.decode_parts(&made, &source, want, &limits, &mut scratch).err();
            assert!(fault.as_ref().is_none_or(|f| f.reason != Reason::DecoderPanic), "{fault:?}");
            faults += usize::from(fault.is_some());
        }
        assert!(faults > 500, "{faults} of 3000 were found out");
        // Of another payload it is found out before anything is decoded, whatever region is wanted.
        for damaged in mutants(&bytes, 60).filter(|damaged| *damaged != bytes) {
            let source = Noted::new(&damaged);
            let fault = Jpeg.decode_parts(&table, &source, Want::Whole, &limits, &mut scratch).unwrap_err();
            assert!(
                matches!(fault.reason, Reason::Corrupt | Reason::Truncated | Reason::Unsupported | Reason::OverLimit),
                "{fault}"
            );
        }
        // One of a later form is passed over.
        let later = [&[table::VERSION + 1], &table[1..]].concat();
        let (data, of, _) = decoded_by(&bytes, &table, region).unwrap();
        let source = Noted::new(&bytes);
        let want = Want::Image { region: Some(region) };
        let Decoded::Pixels(plain) = Jpeg.decode_parts(&later, &source, want, &limits, &mut scratch).unwrap() else {
            panic!()
        };
        let got = Rect { x: plain.origin.0, y: plain.origin.1, width: plain.width, height: plain.height };
        assert_eq!(cut(plain.data, got, region), cut(&data, of, region));
    }
}
