//! The same coefficients in sequence: what lies in several scans, is coded arithmetically or begins anew within rows becomes one scan of Huffman's
//! codes, as `jpegtran` makes it. The pixels stay, and a decoder (and a crop index) needs what lies in sequence.

use libjpeg_turbo_rs::{JpegCoefficients, read_coefficients, write_coefficients_optimized};

use super::coding::Coding;
use super::{INKS, header, is_metadata, jpeg_header, pixels};
use crate::codec::{Codec, Limits, Scratch, guarded};
use crate::data::info::Info;
use crate::error::Fault;

/// A file's picture in sequence, with the file's metadata. `None` where it stays as it is: it lies in sequence already, has four inks, or cannot be written so
/// that the same pixels and facts are read of it.
///
/// # Errors
/// Why the file cannot be decoded.
pub(crate) fn in_sequence(
    bytes: &[u8],
    info: &Info,
    limits: &Limits,
    scratch: &mut Scratch,
) -> Result<Option<Vec<u8>>, Fault> {
    let header = header(bytes, limits)?;
    let is_plain = |coding: Coding<'_>| coding.restart == 0 || coding.restart.is_multiple_of(coding.mcus.0);
    if header.components == INKS || Coding::read(bytes, &header).is_some_and(is_plain) {
        return Ok(None);
    }
    // First what the decoder says, which bounds what may be asked of it.
    pixels(bytes, None, None, limits, scratch)?;
    let shown = scratch.bytes.clone();
    let written = guarded("JPEG", || {
        let coefficients = read_coefficients(bytes).ok().filter(|read| read.effective_precision() == 8);
        let plain = coefficients.map(|read| JpegCoefficients { restart_interval: 0, ..read });
        Ok(plain.and_then(|plain| write_coefficients_optimized(&plain).ok()))
    });
    // A panic, too: what the decoder takes is good, and is stored as it is.
    let written = written.ok().flatten().and_then(|written| with_metadata(bytes, header.scan_at, &written));
    let Some(made) = written else { return Ok(None) };
    // Also what a library reads otherwise than its decoder shows comes to light here.
    let same = super::Jpeg.probe(&made, limits).is_ok_and(|made| made == *info)
        && pixels(&made, None, None, limits, scratch).is_ok()
        && scratch.bytes == shown;
    Ok(same.then_some(made))
}

/// A file with the metadata of another, behind JFIF's segment, which is the first where there is one.
fn with_metadata(of: &[u8], scan_at: usize, written: &[u8]) -> Option<Vec<u8>> {
    let first = jpeg_header::segments(written).next()?;
    let at = if written[first.start + 1] == 0xe0 { first.end } else { 2 };
    let mut made = written.get(..at)?.to_vec();
    for segment in jpeg_header::segments(&of[..scan_at]) {
        if is_metadata(of[segment.start + 1]) {
            made.extend_from_slice(of.get(segment)?);
        }
    }
    made.extend_from_slice(&written[at..]);
    Some(made)
}

#[cfg(test)]
mod tests {
    use libjpeg_turbo_rs::{Encoder, PixelFormat, Subsampling};

    use super::super::tests::picture;
    use super::super::{Jpeg, index};
    use super::*;
    use crate::codec::tests::fixture;
    use crate::codec::{Decoded, Want, mutants};
    use crate::error::Reason;

    fn shown(bytes: &[u8]) -> (Vec<u8>, u32, u32) {
        let mut scratch = Scratch::default();
        match Jpeg.decode(bytes, Want::Whole, &Limits::default(), &mut scratch).unwrap() {
            Decoded::Pixels(p) => (p.data.to_vec(), p.width, p.height),
            other => panic!("{other:?}"),
        }
    }

    fn made(bytes: &[u8]) -> Result<Option<Vec<u8>>, Fault> {
        let limits = Limits::default();
        in_sequence(bytes, &Jpeg.probe(bytes, &limits)?, &limits, &mut Scratch::default())
    }

    fn is_plain(bytes: &[u8]) -> bool {
        let header = header(bytes, &Limits::default()).unwrap();
        Coding::read(bytes, &header).is_some_and(|coding| coding.entries(bytes, coding.mcus.0).is_some())
    }

    #[test]
    fn what_is_put_in_sequence_shows_the_same_pixels_and_can_have_an_index() {
        use Subsampling::*;
        for (sampling, name) in [(S444, "444"), (S422, "422"), (S420, "420"), (S440, "440"), (S411, "411")] {
            for (width, height) in [(199u32, 175u32), (64, 64), (17, 95), (3, 50)] {
                let pixels = picture(width, height);
                let encoder = || {
                    let encoder = Encoder::new(&pixels, width as usize, height as usize, PixelFormat::Rgb);
                    encoder.quality(85).subsampling(sampling)
                };
                for (kind, encoder) in [
                    ("progressive", encoder().progressive(true)),
                    ("arithmetic", encoder().arithmetic(true)),
                    ("both", encoder().arithmetic(true).progressive(true)),
                    ("restarts", encoder().restart_blocks(3)),
                    ("plain", encoder()),
                    ("rows", encoder().restart_rows(1)),
                ] {
                    let name = format!("{name} {width}x{height} {kind}");
                    let bytes = encoder.encode().unwrap();
                    let made = made(&bytes).unwrap();
                    // Three MCUs are also a row, or all, of the smallest pictures.
                    assert_eq!(made.is_none(), is_plain(&bytes), "{name}");
                    assert!(made.is_none() || !["plain", "rows"].contains(&kind), "{name}");
                    assert!(made.is_some() || ["plain", "rows", "restarts"].contains(&kind), "{name}");
                    let Some(made) = made else { continue };
                    assert_eq!(shown(&made), shown(&bytes), "{name}");
                    assert!(is_plain(&made), "{name}");
                    let header = header(&made, &Limits::default()).unwrap();
                    assert!(index(&made, &header).is_some() || width < 100, "{name}");
                }
            }
        }
    }

    #[test]
    fn metadata_stay() {
        let pixels = picture(120, 90);
        let exif = fixture("images_turned/jpeg_6.jpg");
        let exif =
            jpeg_header::segments(&exif).find(|segment| exif[segment.start + 1] == 0xe1).map(|s| exif[s].to_vec());
        let exif = exif.expect("the fixture has EXIF");
        let encoder = || Encoder::new(&pixels, 120, 90, PixelFormat::Rgb).progressive(true).comment("said of it");
        let gray = pixels.iter().step_by(3).copied().collect::<Vec<u8>>();
        let gray = Encoder::new(&gray, 120, 90, PixelFormat::Grayscale).progressive(true);
        for (name, bytes) in [("colour", encoder().encode().unwrap()), ("gray", gray.encode().unwrap())] {
            let mut turned = bytes[..2].to_vec();
            turned.extend(&exif);
            turned.extend(&bytes[2..]);
            let made = made(&turned).unwrap().unwrap();
            let limits = Limits::default();
            let info = Jpeg.probe(&made, &limits).unwrap();
            assert_eq!(info, Jpeg.probe(&turned, &limits).unwrap(), "{name}");
            assert_ne!(info.orientation, Jpeg.probe(&bytes, &limits).unwrap().orientation, "{name}");
            assert!(made.windows(exif.len()).any(|window| window == exif), "{name}");
            assert_eq!(made.windows(10).any(|window| window == b"said of it"), name == "colour");
            assert_eq!(shown(&made), shown(&turned), "{name}");
            assert!(is_plain(&made), "{name}");
        }
    }

    #[test]
    fn what_cannot_be_put_in_sequence_stays_or_is_refused() {
        for name in ["cmyk", "ycck"] {
            assert_eq!(made(&fixture(&format!("images_extra/{name}.jpg"))).unwrap(), None, "{name}");
        }
        let bytes = Encoder::new(&picture(99, 70), 99, 70, PixelFormat::Rgb).progressive(true).encode().unwrap();
        let fault = made(&bytes[..bytes.len() / 2]).unwrap_err();
        assert!(matches!(fault.reason, Reason::Truncated | Reason::Corrupt), "{fault:?}");
    }

    #[test]
    fn damaged_files_are_refused_as_the_decoder_refuses_them_or_stay_what_they_show() {
        let pixels = picture(60, 44);
        let encoder = || Encoder::new(&pixels, 60, 44, PixelFormat::Rgb);
        let (mut put, mut refused) = (0, 0);
        for bytes in [encoder().progressive(true), encoder().arithmetic(true), encoder().restart_blocks(3)] {
            for damaged in mutants(&bytes.encode().unwrap(), 1_000) {
                let limits = Limits::default();
                let Ok(info) = Jpeg.probe(&damaged, &limits) else { continue };
                let mut scratch = Scratch::default();
                match in_sequence(&damaged, &info, &limits, &mut scratch) {
                    Ok(Some(made)) => {
                        put += 1;
                        assert_eq!(shown(&made), shown(&damaged));
                    }
                    Ok(None) => {}
                    Err(fault) => {
                        refused += 1;
                        let decoded = Jpeg.decode(&damaged, Want::Whole, &limits, &mut scratch).map(|_| ());
                        assert_eq!(decoded.unwrap_err().reason, fault.reason);
                    }
                }
            }
        }
        assert!(put > 100 && refused > 100, "{put} in sequence, {refused} refused");
    }
}
