//! Still pictures, decoded to RGB8 `[height, width, 3]`.
//!
//! Gray is spread to three channels, alpha is dropped without compositing, 16-bit samples keep their high byte: what
//! Pillow's `convert("RGB")` gives for u8 data. Facts are those of the picture as it is shown, with its EXIF orientation; pixels and
//! regions of a decode are as they are stored, and [`decode_shown`](super::decode_shown) turns them.

use super::{Limits, Rect};
use crate::error::{Fault, Reason};

pub mod animation;
mod bombs;
mod icc;
pub mod jpeg;
mod jpeg_header;
mod metadata;
pub mod png;
pub mod raster;
pub mod rgb;
mod tiff;

/// Pictures before they are RGB, kept between calls for their memory.
#[derive(Default)]
struct Native(Vec<u8>);

/// Checks a picture's size against the budgets, before anything of that size is allocated.
fn check_size(width: u32, height: u32, limits: &Limits) -> Result<(), Fault> {
    let pixels = u64::from(width) * u64::from(height);
    Limits::check("pixels", pixels, limits.pixels)?;
    Limits::check("decoded bytes", pixels.saturating_mul(3), limits.decoded_bytes)
}

/// The wanted region, checked; the whole picture if none is wanted.
fn region_of(region: Option<Rect>, width: u32, height: u32) -> Result<Rect, Fault> {
    let Some(region) = region else { return Ok(Rect { x: 0, y: 0, width, height }) };
    let inside =
        |at: u32, length: u32, whole: u32| length > 0 && at.checked_add(length).is_some_and(|end| end <= whole);
    if inside(region.x, region.width, width) && inside(region.y, region.height, height) {
        return Ok(region);
    }
    Err(Fault::new(
        Reason::Corrupt,
        format!(
            "a region of {}x{} at ({}, {}) is wanted of a picture of {width}x{height}",
            region.width, region.height, region.x, region.y
        ),
    ))
}

/// Pixels of `channels` samples of `width` bytes to RGB8: gray is repeated, alpha dropped, byte `at` of each sample kept.
fn spread(from: &[u8], channels: usize, width: usize, at: usize, to: &mut [u8]) {
    for (from, to) in from.chunks_exact(channels * width).zip(to.chunks_exact_mut(3)) {
        match channels {
            1 | 2 => to.fill(from[at]),
            _ => (0..3).for_each(|channel| to[channel] = from[channel * width + at]),
        }
    }
}

/// Makes `bytes` hold at least `length` bytes and returns that many. Contents are unspecified.
fn sized(bytes: &mut Vec<u8>, length: usize) -> &mut [u8] {
    if bytes.len() < length {
        bytes.resize(length, 0);
    }
    &mut bytes[..length]
}

#[cfg(test)]
mod tests {
    use sha2::{Digest, Sha256};

    use crate::codec::tests::fixture;
    use crate::codec::{CODECS, Check, Decoded, Limits, Pixels, Rect, Scratch, Want, decode_shown, mutants, sniff};
    use crate::data::info::{Info, Kind};
    use crate::data::orientation::Orientation;
    use crate::error::Reason;

    fn hex(bytes: impl AsRef<[u8]>) -> String {
        bytes.as_ref().iter().map(|b| format!("{b:02x}")).collect()
    }

    /// Formats that are not equal to the reference, and how far they may be off. The curve of sRGB in 32 bits may round
    /// the other way than the reference's in 64; the two colours between a DXT block's ends are thirds, and nobody says how these
    /// are rounded.
    const NEAR: &[(&str, u8)] = &[(".hdr", 1), (".exr", 1), (".dds", 1)];

    /// fixtures/golden/decode.json: Pillow's pixels of every image fixture.
    #[test]
    fn pixels_are_pillows() {
        let golden: serde_json::Value = serde_json::from_slice(&fixture("golden/decode.json")).unwrap();
        let (mut scratch, limits, mut compared) = (Scratch::default(), Limits::default(), 0);
        let mut others: Vec<String> = Vec::new();
        let file = fixture("golden/decode_near.safetensors");
        let near = safetensors::SafeTensors::deserialize(&file).unwrap();
        for (name, fact) in golden["files"].as_object().unwrap() {
            let bytes = fixture(name);
            let codec = sniff(&bytes, Kind::Image).unwrap();
            // What the decoders do not read: black ink of fewer samples.
            if name.ends_with("black_sampled.jpg") {
                assert_eq!(codec.probe(&bytes, &limits).unwrap_err().reason, Reason::Unsupported);
                continue;
            }
            let info = codec.check(&bytes, Check::Decode, &limits, &mut scratch).unwrap();
            assert_eq!(codec.check(&bytes, Check::Entropy, &limits, &mut scratch), Ok(info), "{name}");
            assert_eq!(codec.probe(&bytes, &limits), Ok(info), "{name}");
            let stored = (fact["width"].as_u64().unwrap() as u32, fact["height"].as_u64().unwrap() as u32);
            assert_eq!((info.width, info.height), info.orientation.size(stored), "{name}");
            let said = fact["orientation"].as_u64().unwrap_or(u64::from(name.ends_with("tiff")));
            assert_eq!(u64::from(info.orientation.code()), said, "{name}");
            if let Some(shown) = fact["sha256_shown"].as_str() {
                let Ok(Decoded::Pixels(pixels)) =
                    decode_shown(codec, &bytes, Want::Whole, &info, &limits, &mut scratch)
                else {
                    panic!("{name} does not decode")
                };
                assert_eq!((pixels.width, pixels.height, pixels.origin), (info.width, info.height, (0, 0)), "{name}");
                assert_eq!(hex(Sha256::digest(pixels.data)), shown, "{name}");
            }
            let Ok(Decoded::Pixels(pixels)) = codec.decode(&bytes, Want::Whole, &limits, &mut scratch) else {
                panic!("{name} does not decode")
            };
            assert_eq!((pixels.width, pixels.height, pixels.origin), (stored.0, stored.1, (0, 0)), "{name}");
            compared += 1;
            if hex(Sha256::digest(pixels.data)) == fact["sha256_rgb"].as_str().unwrap() {
                continue;
            }
            // Formats whose arithmetic the standard leaves open: bounds in docs/formats.md.
            let bound = NEAR.iter().find(|(end, _)| name.ends_with(end)).map_or(0, |(_, bound)| *bound);
            let reference = near.tensor(name).unwrap();
            let far = pixels.data.iter().zip(reference.data()).map(|(a, b)| a.abs_diff(*b)).max().unwrap();
            assert_eq!(pixels.data.len(), reference.data().len(), "{name}");
            if far > bound {
                others.push(format!("{name}: {far}"));
            }
        }
        assert!(others.is_empty(), "{others:?}");
        assert!(compared >= 60, "only {compared} images were compared");
    }

    /// Of every format and under every orientation: a region is that of the whole picture as it is shown.
    #[test]
    fn regions_of_turned_pictures_are_those_of_the_whole() {
        let (mut whole, mut part, limits) = (Scratch::default(), Scratch::default(), Limits::default());
        let cut = |pixels: &Pixels<'_>, region: Rect| -> Vec<u8> {
            let (x, y) = (region.x - pixels.origin.0, region.y - pixels.origin.1);
            let row = |y: u32| (y * pixels.width + x) as usize * 3;
            (y..y + region.height)
                .flat_map(|y| pixels.data[row(y)..row(y) + region.width as usize * 3].to_vec())
                .collect()
        };
        let mut compared = 0;
        for folder in ["images_formats", "images_extra", "images_turned", "images_profiles"] {
            let dir = format!("{}/fixtures/{folder}", env!("CARGO_MANIFEST_DIR"));
            for file in std::fs::read_dir(dir).unwrap() {
                let path = file.unwrap().path();
                let bytes = std::fs::read(&path).unwrap();
                let codec = sniff(&bytes, Kind::Image).unwrap();
                let Ok(said) = codec.probe(&bytes, &limits) else { continue };
                let stored = said.orientation.size((said.width, said.height));
                for orientation in Orientation::ALL {
                    let (width, height) = orientation.size(stored);
                    let info = Info { width, height, orientation, ..said };
                    let Ok(Decoded::Pixels(all)) = decode_shown(codec, &bytes, Want::Whole, &info, &limits, &mut whole)
                    else {
                        panic!("{path:?}")
                    };
                    assert_eq!((all.width, all.height), (width, height), "{path:?}");
                    let (w, h) = (width.div_ceil(2), height.div_ceil(3));
                    for (x, y) in [(0, 0), (width - w, height - h), (width / 3, height / 2)] {
                        let region = Rect { x, y, width: w, height: h };
                        let want = Want::Image { region: Some(region) };
                        let Ok(Decoded::Pixels(some)) = decode_shown(codec, &bytes, want, &info, &limits, &mut part)
                        else {
                            panic!("{path:?}")
                        };
                        assert_eq!(cut(&some, region), cut(&all, region), "{path:?} {orientation:?} {region:?}");
                        compared += 1;
                    }
                    let outside = Rect { x: 0, y: 0, width: width + 1, height: 1 };
                    let want = Want::Image { region: Some(outside) };
                    assert!(decode_shown(codec, &bytes, want, &info, &limits, &mut part).is_err());
                }
            }
        }
        assert!(compared > 1500, "{compared}");
    }

    /// Every format has a fixture, and nothing else is taken for it.
    #[test]
    fn content_decides_the_format() {
        let formats =
            ["webp", "gif", "bmp", "tiff", "qoi", "ppm", "pgm", "pbm", "pam", "tga", "ico", "hdr", "exr", "dds"];
        let dir = concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/images_formats");
        let mut seen = std::collections::BTreeSet::new();
        for file in std::fs::read_dir(dir).unwrap() {
            let path = file.unwrap().path();
            let extension = path.extension().unwrap().to_str().unwrap();
            assert!(formats.contains(&extension), "{path:?}");
            let expected = if matches!(extension, "ppm" | "pgm" | "pbm" | "pam") { "pnm" } else { extension };
            let bytes = std::fs::read(&path).unwrap();
            for head in [bytes.len(), bytes.len().min(4096)] {
                let taken: Vec<&str> = {
                    // An animation is read as moving pictures, too.
                    let media = CODECS.iter().filter(|c| !matches!(c.kind(), Kind::Text | Kind::Video));
                    media.filter(|c| c.sniff(&bytes[..head])).map(|c| c.name()).collect()
                };
                assert_eq!(taken, [expected], "{path:?}");
            }
            seen.insert(expected.to_owned());
        }
        assert_eq!(seen.len(), 11);
        let none: [&[u8]; 6] = [b"BM is a text", b"P3 is a text", b"P1 2 words ", b"\0\0\x02\0", &[0; 64], b"GIF88a"];
        for bytes in none {
            assert!(sniff(bytes, Kind::Image).is_err(), "{bytes:?}");
        }
        let refused = sniff(b"\0\0\0\x20ftypavif\0\0\0\0", Kind::Image).err().unwrap();
        assert!(refused.reason == Reason::Unsupported && refused.message.contains("AVIF"), "{refused}");
    }

    #[test]
    fn a_damaged_picture_is_refused_or_read_and_its_facts_agree() {
        let limits = Limits { pixels: 1 << 20, ..Limits::default() };
        let mut scratch = Scratch::default();
        let dir = concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/images_formats");
        let mut panics = Vec::new();
        for file in std::fs::read_dir(dir).unwrap() {
            let path = file.unwrap().path();
            let bytes = std::fs::read(&path).unwrap();
            let codec = sniff(&bytes, Kind::Image).unwrap();
            for made in mutants(&bytes, 200) {
                let probed = codec.probe(&made, &limits);
                match codec.check(&made, Check::Decode, &limits, &mut scratch) {
                    Ok(info) => assert_eq!(probed, Ok(info), "{path:?}"),
                    Err(fault) if fault.reason == Reason::DecoderPanic => panics.push(format!("{path:?}: {fault}")),
                    Err(_) => {}
                }
            }
            assert!(scratch.held() <= 8 << 20, "{path:?}");
        }
        assert!(panics.is_empty(), "{panics:#?}");
    }

    /// Measured as the growth of a process: 6.0, 12.0 (progressive 4:4:4), 7.0 and 11.0 bytes a pixel.
    #[test]
    fn memory_is_that_of_planes_coefficients_and_wide_samples() {
        let says = |name: &str| {
            let bytes = fixture(name);
            let codec = sniff(&bytes, Kind::Image).unwrap();
            let info = codec.probe(&bytes, &Limits::default()).unwrap();
            codec.memory(&bytes, &info) / (u64::from(info.width) * u64::from(info.height))
        };
        assert_eq!(says("images/train/pants/000_444.jpg"), 6);
        assert_eq!(says("images_extra/arithmetic.jpg"), 12, "counted like a progressive one");
        assert_eq!(says("images/train/pants/006_rgb.png"), 7);
        assert_eq!(says("images_extra/rgb16.png"), 11);
    }

    #[test]
    fn a_png_region_is_handed_over_as_the_whole_picture() {
        let bytes = fixture("images/train/pants/006_rgb.png");
        let codec = sniff(&bytes, Kind::Image).unwrap();
        let (mut whole, mut part) = (Scratch::default(), Scratch::default());
        let limits = Limits::default();
        let Ok(Decoded::Pixels(all)) = codec.decode(&bytes, Want::Whole, &limits, &mut whole) else { panic!() };
        let region = Rect { x: 4, y: 6, width: 10, height: 7 };
        let want = Want::Image { region: Some(region) };
        let Ok(Decoded::Pixels(some)) = codec.decode(&bytes, want, &limits, &mut part) else { panic!() };
        assert_eq!((some.width, some.height, some.origin), (all.width, all.height, (0, 0)));
        assert_eq!(some.data, all.data);
        let outside = Want::Image { region: Some(Rect { x: 60, ..region }) };
        assert!(codec.decode(&bytes, outside, &limits, &mut part).is_err());
    }

    #[test]
    fn a_damaged_png_never_panics_out() {
        let limits = Limits { pixels: 1 << 20, ..Limits::default() };
        let mut scratch = Scratch::default();
        for name in ["images/train/pants/006_rgb.png", "images_extra/rgb16.png", "images_extra/bilevel.png"] {
            let bytes = fixture(name);
            let codec = sniff(&bytes, Kind::Image).unwrap();
            for made in mutants(&bytes, 300) {
                let fault = codec.check(&made, Check::Decode, &limits, &mut scratch).err();
                assert!(fault.as_ref().is_none_or(|f| f.reason != Reason::DecoderPanic), "{name}: {fault:?}");
            }
        }
        assert!(scratch.bytes.capacity() <= 8 << 20);
    }
}
