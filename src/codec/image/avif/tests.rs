use super::*;
use crate::codec::tests::fixture;
use crate::codec::{Check, decode_shown, mutants, sniff as codec_of};
use crate::data::info::Kind;
use crate::data::profile::Profile;

fn golden() -> serde_json::Map<String, serde_json::Value> {
    let all: serde_json::Value = serde_json::from_slice(&fixture("golden/avif.json")).unwrap();
    all["files"].as_object().unwrap().clone()
}

fn far(a: &[u8], b: &[u8]) -> u8 {
    assert_eq!(a.len(), b.len());
    a.iter().zip(b).map(|(a, b)| a.abs_diff(*b)).max().unwrap_or(0)
}

/// Within 1 of the formula on the planes that libavif decodes: the bound of `codec/video/color`. Within 2 of Pillow for 8 bits:
/// libyuv's weights are 64ths, so each of up to two terms of at most 128 may be off by 1. Within 4 for more bits: libyuv drops the lower ones
/// first, which luma's and chroma's weights (up to 1.2 and 2.1) make larger.
#[test]
fn pixels_are_the_formulas_and_near_pillows() {
    let file = fixture("golden/avif.safetensors");
    let tensors = safetensors::SafeTensors::deserialize(&file).unwrap();
    let (mut scratch, limits) = (Scratch::default(), Limits::default());
    let all = golden();
    assert!(all.len() >= 24, "{}", all.len());
    for (name, fact) in all {
        let bytes = fixture(&name);
        let codec = codec_of(&bytes, Kind::Image).unwrap();
        let info = codec.check(&bytes, Check::Decode, &limits, &mut scratch).unwrap();
        assert_eq!(codec.probe(&bytes, &limits), Ok(info), "{name}");
        let stored = ["width", "height"].map(|side| fact[side].as_u64().unwrap() as u32);
        let shown = info.orientation.size((info.width, info.height));
        assert_eq!((codec.name(), [shown.0, shown.1]), ("avif", stored), "{name}");
        assert_eq!(info.orientation.code(), fact["orientation"].as_u64().unwrap_or(0) as u32, "{name}");
        let Ok(Decoded::Pixels(pixels)) = codec.decode(&bytes, Want::Whole, &limits, &mut scratch) else { panic!() };
        let (formula, deep) = (tensors.tensor(&format!("{name}/formula")).unwrap(), name.contains("bit"));
        assert!(far(pixels.data, formula.data()) <= 1, "{name}: {}", far(pixels.data, formula.data()));
        if let Ok(pillow) = tensors.tensor(&format!("{name}/pillow")) {
            assert!(far(pixels.data, pillow.data()) <= if deep { 4 } else { 2 }, "{name}");
        }
        if let Ok(wanted) = tensors.tensor(&format!("{name}/shown")) {
            let Ok(Decoded::Pixels(pixels)) = decode_shown(codec, &bytes, Want::Whole, &info, &limits, &mut scratch)
            else {
                panic!()
            };
            assert_eq!([pixels.height as usize, pixels.width as usize, 3], wanted.shape(), "{name}");
            assert!(far(pixels.data, wanted.data()) <= 2, "{name}");
        }
    }
}

#[test]
fn facts_and_refusals() {
    let limits = Limits::default();
    let probe = |name: &str| Avif.probe(&fixture(&format!("images_avif/{name}.avif")), &limits);
    let info = |name: &str| probe(name).unwrap();
    assert_eq!((info("400").channels, info("alpha").channels), (1, 3));
    assert_eq!((info("display-p3").profile, info("444").profile), (Profile::DisplayP3, Profile::Srgb));
    assert_eq!(probe("premultiplied_refused").unwrap_err().reason, Reason::Unsupported);
    let bytes = fixture("images_avif/grid.avif");
    let mut scratch = Scratch::default();
    let mut reason =
        |bytes: &[u8], limits: &Limits| Avif.check(bytes, Check::Decode, limits, &mut scratch).map_err(|f| f.reason);
    assert_eq!(reason(&bytes, &Limits { pixels: 136 * 132 - 1, ..limits }), Err(Reason::OverLimit));
    assert_eq!(reason(&bytes[..bytes.len() - 300], &limits), Err(Reason::Truncated));
    assert!(reason(&bytes[..40], &limits).is_err() && reason(&bytes[..300], &limits).is_err());
}

#[test]
fn damage_never_panics_out() {
    let limits = Limits { pixels: 1 << 18, ..Limits::default() };
    let mut scratch = Scratch::default();
    for name in ["420", "422_10bit_bt2020", "grid", "alpha", "400"] {
        let bytes = fixture(&format!("images_avif/{name}.avif"));
        for made in mutants(&bytes, 200) {
            let probed = Avif.probe(&made, &limits);
            match Avif.check(&made, Check::Decode, &limits, &mut scratch) {
                Ok(info) => assert_eq!(probed, Ok(info), "{name}"),
                Err(fault) => assert!(fault.reason != Reason::DecoderPanic, "{name}: {fault}"),
            }
        }
    }
}
