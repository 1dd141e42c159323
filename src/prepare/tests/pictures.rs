use sha2::{Digest, Sha256};

use super::*;
use crate::augment::{Draw, Elements, Media, Op, Raster, pixels::Size, resize::Resize};
use crate::data::index::hex;
use crate::data::tensor::Layout;

fn pixels(bytes: &[u8]) -> (u32, u32, Vec<u8>) {
    let codec = codec::sniff(bytes, Kind::Image).unwrap();
    let mut scratch = Scratch::default();
    match codec.decode(bytes, Want::Whole, &Limits::default(), &mut scratch).unwrap() {
        Decoded::Pixels(p) => (p.width, p.height, p.data.to_vec()),
        other => panic!("{other:?}"),
    }
}

/// golden/prepare.json: Pillow's JPEGs of every picture in fixtures/images, byte for byte.
#[test]
fn jpegs_are_pillows() {
    let golden: serde_json::Value = serde_json::from_slice(&fixture("golden/prepare.json")).unwrap();
    let mut compared = 0;
    for quality in [90, 30] {
        let (prepare, _) = of(json!({"image": {"quality": quality}}), "image", Feature::Image).unwrap();
        for (name, bytes) in files(&["images"]) {
            let (made, info) = stored(&prepare, Kind::Image, &bytes).unwrap().unwrap();
            let fact = &golden["files"][&name][quality.to_string()];
            assert_eq!(hex(&Sha256::digest(&made)), fact["sha256"].as_str().unwrap(), "{name} at {quality}");
            assert_eq!(info.format, Format::Jpeg);
            compared += 1;
        }
    }
    assert!(compared >= 60, "{compared}");
}

/// Decode, resize, encode by hand; lossless formats decode to the pixels that were encoded.
#[test]
fn smaller_pictures_are_those_made_by_hand() {
    let side = 48;
    let (mut smaller, mut kept) = (0, 0);
    for format in ["jpeg", "png", "webp", "rgb"] {
        let (prepare, schema) =
            of(json!({"image": {"max_side": side, "format": format}}), "image", Feature::Image).unwrap();
        let mode = if format == "rgb" { Mode::Raw } else { Mode::Encoded };
        assert_eq!(schema.columns[0].stored.as_ref().map(|s| s.mode), Some(mode));
        for (name, bytes) in files(&["images/train/pants", "images_formats"]) {
            if codec::sniff(&bytes, Kind::Image).unwrap().probe(&bytes, &Limits::default()).is_err() {
                continue; // a TIFF with a palette
            }
            let Some((made, info)) = stored(&prepare, Kind::Image, &bytes).unwrap() else {
                let (width, height, _) = pixels(&bytes);
                assert!(width.max(height) <= side, "{name}");
                assert_eq!(codec::sniff(&bytes, Kind::Image).unwrap().name(), format);
                kept += 1;
                continue;
            };
            let (width, height, whole) = pixels(&bytes);
            let to = picture::within((width, height), Some(side));
            let raster = Raster {
                data: Elements::U8(whole),
                frames: 1,
                still: true,
                width: width as usize,
                height: height as usize,
                layout: Layout::Nhwc,
            };
            let resize = Resize { size: Size::Both([to.1, to.0]) };
            let draw = resize.draw(&Info { width, height, ..Info::of(Format::Png) }, crate::rng::Key::new(1));
            let by_hand = resize.apply(&draw, Media::Raster(raster), &mut Tools::default()).unwrap();
            let Elements::U8(by_hand) = by_hand.into_elements() else { panic!() };
            assert_ne!(draw, Draw::None);
            assert_eq!((info.width, info.height, info.format.name()), (to.0, to.1, format), "{name}");
            match format {
                "jpeg" => assert_eq!(made, picture::jpeg(&by_hand, to, 90).unwrap(), "{name}"),
                _ => assert!(pixels(&made) == (to.0, to.1, by_hand), "{name} as {format}"),
            }
            smaller += 1;
        }
    }
    assert!(smaller > 100 && kept > 0, "{smaller} {kept}");
}

#[test]
fn what_is_small_enough_keeps_its_bytes() {
    let asked = |options| of(options, "image", Feature::Image).unwrap().0;
    let photo = fixture("images/train/pants/000_444.jpg");
    let png = fixture("images/train/pants/006_rgb.png");
    let (width, height, _) = pixels(&photo);
    let long = width.max(height).max(200);
    for (options, of_jpeg, of_png) in [
        (json!({"image": {"max_side": long}}), false, false),
        (json!({"image": {"max_side": long, "quality": 20}}), false, false),
        (json!({"image": {"max_side": long, "format": "jpeg"}}), false, true),
        (json!({"image": {"format": "png"}}), true, false),
        (json!({"image": {"quality": 20}}), true, true),
        (json!({"image": {"max_side": 20}}), true, true),
        (json!({"store": "raw"}), true, true),
    ] {
        let prepare = asked(options.clone());
        assert_eq!(stored(&prepare, Kind::Image, &photo).unwrap().is_some(), of_jpeg, "{options}");
        assert_eq!(stored(&prepare, Kind::Image, &png).unwrap().is_some(), of_png, "{options}");
    }
    assert_eq!(picture::within((1000, 3), Some(100)), (100, 1));
    assert_eq!(picture::within((3, 1000), Some(100)), (1, 100));
    assert_eq!(picture::within((640, 427), Some(256)), (256, 171));
    assert_eq!(picture::within((640, 427), Some(640)), (640, 427));
}

#[test]
fn what_cannot_be_encoded_is_a_fault() {
    let (prepare, _) = of(json!({"image": {"format": "jpeg"}}), "image", Feature::Image).unwrap();
    let wide = codec::image::rgb::encode(70_000, 1, &vec![7; 210_000]);
    assert_eq!(stored(&prepare, Kind::Image, &wide).unwrap_err().reason, Reason::OverLimit);
    let (prepare, _) = of(json!({"image": {"format": "webp"}}), "image", Feature::Image).unwrap();
    assert_eq!(stored(&prepare, Kind::Image, &wide).unwrap_err().reason, Reason::Unsupported);
    // Damaged pictures: refused or made, never a panic.
    let (prepare, _) = of(json!({"image": {"max_side": 16}}), "image", Feature::Image).unwrap();
    for made in codec::mutants(&fixture("images/train/pants/002_420.jpg"), 200) {
        if let Err(fault) = stored(&prepare, Kind::Image, &made) {
            assert_ne!(fault.reason, Reason::DecoderPanic, "{fault}");
        }
    }
}
