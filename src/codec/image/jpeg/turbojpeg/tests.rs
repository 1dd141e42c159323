//! What libjpeg-turbo decodes the decoder in Rust decodes to the same pixels, and what that refuses is refused.

use libjpeg_turbo_rs::{Encoder, PixelFormat, Subsampling};

use super::super::tests::{cut, picture, regions};
use super::super::{decode as by_rust, decode_region_by_rust, header as read_header};
use super::decode as by_c;
use crate::codec::tests::fixture;
use crate::codec::{Limits, Rect, Scratch, mutants};
use crate::error::Fault;

/// All of a picture by the decoder in Rust.
fn whole_by_rust(bytes: &[u8]) -> Result<(Vec<u8>, Rect), Fault> {
    let limits = Limits::default();
    let header = read_header(bytes, &limits)?;
    let mut out = Vec::new();
    let (width, height) = by_rust(bytes, &header, &limits, &mut out, |_| {})?;
    Ok((out, Rect { x: 0, y: 0, width, height }))
}

/// A region by libjpeg-turbo, where it takes it.
fn region_by_c(bytes: &[u8], region: Rect) -> Option<(Vec<u8>, Rect)> {
    let limits = Limits::default();
    let header = read_header(bytes, &limits).ok()?;
    let (mut copy, mut made) = (Vec::new(), Vec::new());
    let of = by_c(bytes, &header, region, &limits, &mut copy, &mut made)?;
    Some((made, of))
}

/// A region by the decoder in Rust as it is asked without the feature.
fn region_by_rust(bytes: &[u8], region: Rect) -> Result<(Vec<u8>, Rect), Fault> {
    let (limits, mut copy, mut scratch) = (Limits::default(), Vec::new(), Scratch::default());
    let header = read_header(bytes, &limits)?;
    let of = decode_region_by_rust(bytes, &header, region, &limits, &mut copy, &mut scratch)?;
    Ok((scratch.bytes, of))
}

/// Returns how many of its regions this decoder took.
fn regions_equal(name: &str, bytes: &[u8], count: u32) -> usize {
    let (whole, of) = whole_by_rust(bytes).unwrap();
    let mut taken = 0;
    for region in regions(of.width, of.height, count) {
        let Some((made, got)) = region_by_c(bytes, region) else { continue };
        assert!(cut(&made, got, region) == cut(&whole, of, region), "{name}: {region:?} came as {got:?}");
        taken += 1;
    }
    taken
}

const SAMPLINGS: [(Subsampling, &str); 6] = {
    use Subsampling::*;
    [(S444, "444"), (S422, "422"), (S420, "420"), (S440, "440"), (S411, "411"), (S441, "441")]
};

#[test]
fn pixels_are_those_of_the_decoder_in_rust() {
    for (sampling, name) in SAMPLINGS {
        for (width, height) in [(99, 75), (64, 64), (130, 33), (17, 95), (3, 50)] {
            let pixels = picture(width, height);
            for kind in 0..4 {
                let encoder = Encoder::new(&pixels, width as usize, height as usize, PixelFormat::Rgb);
                let encoder = encoder.quality(85).subsampling(sampling);
                let encoder = match kind {
                    0 => encoder,
                    1 => encoder.progressive(true),
                    2 => encoder.restart_blocks(3),
                    _ => encoder.optimize_huffman(true),
                };
                let (bytes, name) = (encoder.encode().unwrap(), format!("{name} {width}x{height} kind {kind}"));
                let taken = regions_equal(&name, &bytes, 20);
                assert!(if kind == 1 { taken == 0 } else { taken >= 23 }, "{name}: {taken} regions are decoded here");
            }
        }
    }
}

#[test]
fn fixtures_are_those_of_the_decoder_in_rust() {
    let (mut seen, mut taken) = (0, 0);
    for folder in ["images", "images_extra"] {
        let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures").join(folder);
        for entry in walkdir::WalkDir::new(&root).sort_by_file_name() {
            let path = entry.unwrap().into_path();
            let bytes = std::fs::read(&path).unwrap_or_default();
            if path.extension().is_some_and(|extension| extension == "jpg") && whole_by_rust(&bytes).is_ok() {
                seen += 1;
                taken += usize::from(regions_equal(&path.display().to_string(), &bytes, 20) > 0);
            }
        }
    }
    assert!(seen >= 20 && taken * 10 >= seen * 6, "{taken} of {seen} fixtures");
}

/// With a segment that states an interval of 0.
fn without_restarts(bytes: &[u8]) -> Vec<u8> {
    [&bytes[..2], &[0xff, 0xdd, 0, 4, 0, 0], &bytes[2..]].concat()
}

/// What is damaged has the same pixels as by the decoder in Rust, or is left to it.
#[test]
fn damage_is_told_as_by_the_decoder_in_rust() {
    let pixels = picture(160, 120);
    let encoder = || Encoder::new(&pixels, 160, 120, PixelFormat::Rgb);
    let files = [
        ("usual", encoder().encode().unwrap()),
        ("444", encoder().subsampling(Subsampling::S444).encode().unwrap()),
        ("restarts", encoder().restart_rows(1).encode().unwrap()),
        ("restarts within rows", encoder().restart_blocks(3).encode().unwrap()),
        ("no restarts, in so many words", without_restarts(&encoder().encode().unwrap())),
        ("optimised", encoder().optimize_huffman(true).encode().unwrap()),
        ("gray", fixture("images/train/pants/005_gray.jpg")),
    ];
    let region = Rect { x: 40, y: 30, width: 60, height: 32 };
    let (mut taken, mut refused, mut wrong) = (0, 0, Vec::new());
    for (name, bytes) in files {
        for (number, damaged) in mutants(&bytes, 2_000).enumerate() {
            let by_rust = region_by_rust(&damaged, region);
            refused += usize::from(by_rust.is_err());
            let Some((made, of)) = region_by_c(&damaged, region) else { continue };
            taken += 1;
            match by_rust {
                Ok((other, got)) if cut(&made, of, region) == cut(&other, got, region) => {}
                Ok(_) => wrong.push(format!("{name} {number}: other pixels")),
                Err(fault) => wrong.push(format!("{name} {number}: {fault}")),
            }
        }
    }
    println!("{taken} taken, {refused} refused");
    assert!(wrong.is_empty(), "{} of {taken}: {:#?}", wrong.len(), &wrong[..wrong.len().min(40)]);
    assert!(taken > 1_000 && refused > 1_000, "{taken} taken, {refused} refused");
}
