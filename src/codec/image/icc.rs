//! Which colour profile a picture carries: found in each format here, read by `moxcms`, named in a few words.

use std::borrow::Cow;
use std::sync::LazyLock;

use moxcms::{ColorProfile, DataColorSpace, ParsingOptions, ToneReprCurve, Xyzd};

use super::bombs::{Entry, tiff_entries};
use super::jpeg_header;
use super::metadata::riff_chunks;
use crate::codec::guarded;
use crate::data::profile::Profile;

/// Bytes of a profile that is looked into; those of cameras and screens have a few thousand.
const MOST_BYTES: usize = 1 << 20;

/// How far primaries (XYZ under D50) may be off: writers round, and adapt to D50 in different ways.
const NEAR: f64 = 0.005;

/// How far a curve may be off sRGB's, of 1. A power of 2.2 is 0.004 off.
const NEAR_CURVE: f64 = 0.002;

/// The name of a profile.
pub(super) fn named(icc: &[u8]) -> Profile {
    match icc.get(16..20) {
        Some(b"CMYK") => return Profile::Cmyk,
        Some(b"RGB " | b"GRAY") => {}
        _ => return Profile::Other,
    }
    let options = ParsingOptions { max_profile_size: MOST_BYTES, max_allowed_clut_size: 1 << 17, ..Default::default() };
    let read = guarded("ICC", || Ok(ColorProfile::new_from_slice_with_options(icc, options).ok()));
    let Ok(Some(profile)) = read else { return Profile::Other };
    if profile.color_space == DataColorSpace::Gray {
        let srgb = profile.gray_trc.as_ref().is_some_and(is_srgb_curve);
        return if srgb { Profile::Srgb } else { Profile::Gray };
    }
    let own = primaries(&profile);
    let found = KNOWN.iter().find(|(_, known)| known.iter().zip(&own).all(|(a, b)| (a - b).abs() < NEAR));
    let curves = [&profile.red_trc, &profile.green_trc, &profile.blue_trc];
    match found.map(|(name, _)| *name) {
        Some(Profile::Srgb) if !curves.into_iter().flatten().all(is_srgb_curve) => Profile::Other,
        found => found.unwrap_or(Profile::Other),
    }
}

/// The primaries that have a name.
static KNOWN: LazyLock<[(Profile, [f64; 9]); 5]> = LazyLock::new(|| {
    [
        (Profile::Srgb, ColorProfile::new_srgb()),
        (Profile::DisplayP3, ColorProfile::new_display_p3()),
        (Profile::AdobeRgb, ColorProfile::new_adobe_rgb()),
        (Profile::ProPhoto, ColorProfile::new_pro_photo_rgb()),
        (Profile::Rec2020, ColorProfile::new_bt2020()),
    ]
    .map(|(name, profile)| (name, primaries(&profile)))
});

fn primaries(profile: &ColorProfile) -> [f64; 9] {
    let Xyzd { x: a, y: b, z: c } = profile.red_colorant;
    let Xyzd { x: d, y: e, z: f } = profile.green_colorant;
    let Xyzd { x: g, y: h, z: i } = profile.blue_colorant;
    [a, b, c, d, e, f, g, h, i]
}

/// Whether a curve is that of IEC 61966-2-1.
fn is_srgb_curve(curve: &ToneReprCurve) -> bool {
    let Ok(evaluate) = curve.make_linear_evaluator() else { return false };
    [0.03f32, 0.1, 0.25, 0.5, 0.75, 1.0].into_iter().all(|x| {
        let v = f64::from(x);
        let light = if v <= 0.04045 { v / 12.92 } else { libm::pow((v + 0.055) / 1.055, 2.4) };
        (f64::from(evaluate.evaluate_value(x)) - light).abs() < NEAR_CURVE
    })
}

/// The profile of a JPEG whose header has been read: APP2 segments, numbered from 1 (ICC.1:2022, B.4).
pub(super) fn jpeg(headers: &[u8]) -> Option<Cow<'_, [u8]>> {
    let segments = jpeg_header::segments(headers).filter(|s| headers.get(s.start + 1) == Some(&0xe2));
    let parts = segments.filter_map(|s| headers.get(s)?.get(4..)?.strip_prefix(b"ICC_PROFILE\0"));
    let mut parts: Vec<(u8, &[u8])> =
        parts.filter_map(|part| part.split_at_checked(2)).map(|(n, data)| (n[0], data)).collect();
    parts.sort_by_key(|(number, _)| *number);
    match parts[..] {
        [] => None,
        [(_, one)] => Some(Cow::Borrowed(one)),
        _ => Some(Cow::Owned(parts.iter().flat_map(|(_, data)| *data).copied().take(MOST_BYTES).collect())),
    }
}

/// The profile of a WebP: the chunk ICCP (RFC 9649, 2.7).
pub(super) fn webp(bytes: &[u8]) -> Option<&[u8]> {
    riff_chunks(bytes).find(|(name, _)| name == b"ICCP").map(|(_, data)| data)
}

/// The profile of a TIFF: tag 34675 (ICC.1:2022, B.5). The decoder would read it under the limits of a picture's rows.
pub(super) fn tiff(bytes: &[u8]) -> Option<&[u8]> {
    let Entry { count, offset, .. } =
        tiff_entries(bytes).find(|entry| entry.tag == 34_675 && matches!(entry.kind, 1 | 7))?;
    let from = usize::try_from(offset).ok()?;
    bytes.get(from..from.checked_add(usize::try_from(count).ok()?)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::tests::fixture;
    use crate::codec::{Limits, mutants, sniff};
    use crate::data::info::Kind;

    #[test]
    fn profiles_are_named() {
        let made = [
            (ColorProfile::new_srgb(), Profile::Srgb),
            (ColorProfile::new_display_p3(), Profile::DisplayP3),
            (ColorProfile::new_adobe_rgb(), Profile::AdobeRgb),
            (ColorProfile::new_pro_photo_rgb(), Profile::ProPhoto),
            (ColorProfile::new_bt2020(), Profile::Rec2020),
            (ColorProfile::new_gray_with_gamma(2.2), Profile::Gray),
        ];
        for (profile, name) in made {
            let bytes = profile.encode().unwrap();
            assert_eq!(named(&bytes), name);
            for damaged in mutants(&bytes, 300) {
                named(&damaged);
            }
        }
        let mut gamma = ColorProfile::new_srgb();
        [gamma.red_trc, gamma.green_trc, gamma.blue_trc] = [(); 3].map(|()| Some(moxcms::curve_from_gamma(2.2)));
        assert_eq!(named(&gamma.encode().unwrap()), Profile::Other, "the primaries of sRGB under another curve");
        assert_eq!((named(b""), named(&[0; 128])), (Profile::Other, Profile::Other));
    }

    /// The files say in their names what they carry.
    #[test]
    fn profiles_of_files_are_found() {
        let dir = concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/images_profiles");
        let mut seen = 0;
        for file in std::fs::read_dir(dir).unwrap() {
            let name = file.unwrap().file_name().into_string().unwrap();
            let Some((profile, _)) = name.rsplit_once('.') else { panic!("{name}") };
            let bytes = fixture(&format!("images_profiles/{name}"));
            let info = sniff(&bytes, Kind::Image).unwrap().probe(&bytes, &Limits::default()).unwrap();
            let wanted = profile.strip_suffix("_parts").unwrap_or(profile);
            assert_eq!(info.profile.name(), wanted, "{name}");
            seen += 1;
        }
        assert!(seen >= 12, "{seen}");
    }
}
