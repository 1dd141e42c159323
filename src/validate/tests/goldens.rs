//! What cleanvision measures (`fixtures/make/make_golden_lints.py` says how, and why these bounds).

use serde_json::Value;

use crate::codec::{self, Decoded, Limits, Scratch, Want};
use crate::data::info::Kind;
use crate::validate::eye::Eye;
use crate::validate::focus::Focus;

#[test]
fn pictures_measure_as_cleanvision_does() {
    let fixtures = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures");
    let golden: Value =
        serde_json::from_slice(&std::fs::read(fixtures.join("golden/cleanvision.json")).unwrap()).unwrap();
    let files = golden["files"].as_object().unwrap();
    assert!(files.len() >= 30, "{}", files.len());
    let (mut eye, mut focus, mut scratch) = (Eye::default(), Focus::default(), Scratch::default());
    for (name, want) in files {
        let bytes = std::fs::read(fixtures.join(name)).unwrap();
        let codec = codec::sniff(&bytes, Kind::Image).unwrap();
        let info = codec.probe(&bytes, &Limits::default()).unwrap();
        let decoded = codec.decode(&bytes, Want::Whole, &Limits::default(), &mut scratch).unwrap();
        let Decoded::Pixels(pixels) = decoded else { panic!("{name}") };
        let got = eye.look(&pixels, info.channels <= 2).unwrap();
        let blur = focus.blur(pixels.data, pixels.width as usize, pixels.height as usize);
        let aspect = f64::from(info.width.min(info.height)) / f64::from(info.width.max(info.height));
        for (measure, got) in [
            ("bright", got.bright),
            ("dim", got.dim),
            ("entropy", got.entropy),
            ("sharpness", got.sharpness),
            ("aspect", aspect),
            ("blur", blur.unwrap_or(f64::NAN)),
        ] {
            let Some(want) = want[measure].as_f64() else {
                assert!(got.is_nan(), "{name}: {measure} is {got}");
                continue;
            };
            let bound = golden["bounds"][measure].as_f64().unwrap();
            assert!((got - want).abs() <= bound, "{name}: {measure} is {got}, cleanvision says {want}");
        }
    }
}
