//! Pixels of regions are those of the whole picture, with an index and without; damage is told.

use libjpeg_turbo_rs::{Encoder, Subsampling};

use super::*;
use crate::codec::mutants;
use crate::codec::parts::tests::Noted;
use crate::codec::tests::fixture;

/// A picture with smooth parts, edges and noise, so that neighbouring blocks and chroma samples differ.
pub(super) fn picture(width: u32, height: u32) -> Vec<u8> {
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

pub(super) fn cut(data: &[u8], of: Rect, part: Rect) -> Vec<u8> {
    let rows = (part.y - of.y) as usize..(part.y - of.y + part.height) as usize;
    let row = of.width as usize * 3;
    let columns = (part.x - of.x) as usize * 3..(part.x - of.x + part.width) as usize * 3;
    rows.flat_map(|y| data[y * row..(y + 1) * row][columns.clone()].to_vec()).collect()
}

/// Regions at the edges of the picture and of blocks, of one pixel, and drawn ones.
pub(super) fn regions(width: u32, height: u32, count: u32) -> Vec<Rect> {
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
    for (sampling, name) in [(S444, "444"), (S422, "422"), (S420, "420"), (S440, "440"), (S411, "411"), (S441, "441")] {
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
    for (sampling, name) in [(S444, "444"), (S422, "422"), (S420, "420"), (S440, "440"), (S411, "411"), (S441, "441")] {
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
    for (width, height) in [(299, 175), (130, 233)] {
        let gray: Vec<u8> = picture(width, height).as_chunks::<3>().0.iter().map(|pixel| pixel[1]).collect();
        let encoder = || Encoder::new(&gray, width as usize, height as usize, PixelFormat::Grayscale);
        for (kind, encoder) in
            [encoder(), encoder().restart_rows(1), encoder().optimize_huffman(true)].into_iter().enumerate()
        {
            let name = format!("gray {width}x{height} kind {kind}");
            assert!(indexed_regions_equal(&name, &encoder.encode().unwrap(), 30) > 30, "{name}");
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
    for name in ["one_pixel", "cmyk", "ycck", "arithmetic"] {
        let bytes = fixture(&format!("images_extra/{name}.jpg"));
        assert_eq!(Jpeg.seek_table(&bytes, &Limits::default()).unwrap(), None, "{name}");
    }
}

#[test]
fn tables_that_are_left_out_change_no_pixel() {
    let pixels = picture(90, 70);
    let gray: Vec<u8> = pixels.as_chunks::<3>().0.iter().map(|pixel| pixel[0]).collect();
    let encoder = || Encoder::new(&pixels, 90, 70, PixelFormat::Rgb);
    let usual = encoder().encode().unwrap();
    let own = encoder().optimize_huffman(true).encode().unwrap();
    let tables = |bytes: &[u8]| -> Vec<u8> {
        let scan_at = header(bytes, &Limits::default()).unwrap().scan_at;
        let codes = jpeg_header::segments(&bytes[..scan_at]).filter(|segment| bytes[segment.start + 1] == 0xc4);
        codes.flat_map(|segment| bytes[segment].to_vec()).collect()
    };
    // Tables in front of a file's own are replaced by those, whichever are the standard's.
    let after = |first: &[u8], bytes: &[u8]| [&bytes[..2], &tables(first), &bytes[2..]].concat();
    let (mut copy, mut scratch, mut alone) = (Vec::new(), Scratch::default(), Vec::new());
    for (name, bytes, leaves_out) in [
        ("usual", usual.clone(), true),
        ("gray", Encoder::new(&gray, 90, 70, PixelFormat::Grayscale).encode().unwrap(), true),
        ("restarts", encoder().restart_blocks(3).encode().unwrap(), true),
        ("its own", own.clone(), false),
        ("its own behind the usual", after(&usual, &own), false),
        ("the usual behind its own", after(&own, &usual), false),
        ("the usual twice", after(&usual, &usual), true),
    ] {
        let header = header(&bytes, &Limits::default()).unwrap();
        decode(&bytes, &header, &Limits::default(), &mut alone, |_| {}).unwrap();
        let (data, _) = decoded(&bytes, None, &mut scratch).unwrap();
        assert!(data == alone, "{name}");
        let short = tables(shortened(&bytes, &header, header.height, &mut copy).unwrap());
        assert_eq!((short.is_empty(), tables(&bytes).is_empty()), (leaves_out, false), "{name}");
        regions_equal(name, &bytes, 30, &mut scratch);
    }
    // Of a segment that says it is shorter than the decoder reads it no copy is made.
    let mut short = usual.clone();
    let scan_at = header(&short, &Limits::default()).unwrap().scan_at;
    let quantisation =
        jpeg_header::segments(&short[..scan_at]).find(|segment| short[segment.start + 1] == 0xdb).unwrap();
    short[quantisation.start + 3] -= 9;
    let of = header(&short, &Limits::default()).unwrap();
    decode(&short, &of, &Limits::default(), &mut alone, |_| {}).unwrap();
    assert!(decoded(&short, None, &mut scratch).unwrap().0 == alone);
    regions_equal("short", &short, 30, &mut scratch);
    assert!(shortened(&short, &of, of.height, &mut copy).is_none());
    // Luminance's codes in the place of chrominance's are not the standard's.
    let mut swapped = usual;
    let scan_at = header(&swapped, &Limits::default()).unwrap().scan_at;
    let codes = jpeg_header::segments(&swapped[..scan_at]).filter(|segment| swapped[segment.start + 1] == 0xc4);
    let places: Vec<usize> = codes.map(|segment| segment.start + 4).collect();
    places.into_iter().for_each(|place| swapped[place] ^= 1);
    let of = header(&swapped, &Limits::default()).unwrap();
    assert!(!tables(shortened(&swapped, &of, of.height, &mut copy).unwrap()).is_empty());
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

#[test]
fn the_walk_to_an_index_accepts_nothing_that_the_decoder_refuses() {
    let pixels = picture(260, 200);
    let encoder = || Encoder::new(&pixels, 260, 200, PixelFormat::Rgb).quality(80);
    let (limits, mut scratch) = (Limits { pixels: 1 << 20, ..Limits::default() }, Scratch::default());
    let (mut walked, mut refused) = (0, 0);
    for encoder in [encoder(), encoder().restart_rows(1), encoder().subsampling(Subsampling::S444)] {
        let bytes = encoder.encode().unwrap();
        // The headers as they are, for half of the damage goes into them.
        let data = bytes.len() - 2_000;
        let behind = mutants(&bytes[data..], 400).map(|made| [&bytes[..data], &made[..]].concat());
        for made in mutants(&bytes, 800).chain(behind).chain([bytes.clone()]) {
            let checked = Jpeg.check(&made, Check::Entropy, &limits, &mut scratch);
            let decoded = Jpeg.check(&made, Check::Decode, &limits, &mut scratch);
            let seekable = Jpeg.check_seekable(&made, Check::Entropy, &limits, &mut scratch);
            refused += usize::from(seekable.is_err());
            match seekable {
                Ok((info, Some(table))) => {
                    walked += 1;
                    assert_eq!((Ok(info), decoded.map(|_| ())), (checked, Ok(())));
                    assert_eq!(Jpeg.seek_table(&made, &limits), Ok(Some(table)));
                }
                other => assert_eq!(other.map(|(info, _)| info), checked),
            }
        }
    }
    assert!(walked > 300 && refused > 300, "{walked} walked, {refused} refused");
    // One whose decoder finds no quantisation: the walk would not have missed it.
    let mut bytes = encoder().encode().unwrap();
    let frame = jpeg_header::read(&bytes).unwrap().height_at;
    bytes[frame + 7] = 3;
    assert!(Jpeg.seek_table(&bytes, &limits).unwrap().is_some());
    assert!(Jpeg.check_seekable(&bytes, Check::Entropy, &limits, &mut scratch).is_err());
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
