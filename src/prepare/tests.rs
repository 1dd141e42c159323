use std::collections::BTreeMap;

use serde_json::json;

use super::*;
use crate::codec::tests::fixture;
use crate::codec::{self, Check, Decoded, Limits, Scratch, Want};
use crate::data::info::Kind;

/// Sets up what is asked of one column.
fn of(options: serde_json::Value, name: &str, feature: Feature) -> Result<(Prepare, Schema)> {
    let options: PrepareOptions = serde_json::from_value(options).unwrap();
    options.check()?;
    Prepare::new(&options, &Schema::new([(name, feature)]), None, &ops())
}

/// What is stored of a payload; none: the payload itself.
fn stored(prepare: &Prepare, kind: Kind, bytes: &[u8]) -> Result<Option<(Vec<u8>, Info)>, Fault> {
    let (limits, mut scratch) = (Limits::default(), Scratch::default());
    let codec = codec::sniff(bytes, kind)?;
    let info = codec.check(bytes, Check::Decode, &limits, &mut scratch)?;
    prepare.make(0, Accepted { bytes, codec, info: &info, limits: &limits }, &mut scratch)
}

fn files(folders: &[&str]) -> Vec<(String, Vec<u8>)> {
    let root = format!("{}/fixtures", env!("CARGO_MANIFEST_DIR"));
    let mut found = Vec::new();
    for folder in folders {
        for entry in walkdir::WalkDir::new(format!("{root}/{folder}")).sort_by_file_name() {
            let path = entry.unwrap().into_path();
            if path.is_file() {
                found.push((
                    path.strip_prefix(&root).unwrap().to_str().unwrap().to_owned(),
                    std::fs::read(&path).unwrap(),
                ));
            }
        }
    }
    assert!(!found.is_empty());
    found
}

/// A refusal to set up says where it was and the way out.
fn refused(options: serde_json::Value, name: &str, feature: Feature) -> String {
    let error = of(options.clone(), name, feature).map(|_| ()).expect_err(&options.to_string());
    assert_eq!(error.exit_code(), 2, "{options}: {error}");
    error.to_string()
}

#[cfg(feature = "image")]
mod pictures {
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
}

#[cfg(feature = "audio")]
mod recordings {
    use super::*;

    fn samples(bytes: &[u8]) -> (u32, u32, Vec<f32>) {
        let codec = codec::sniff(bytes, Kind::Audio).unwrap();
        let mut scratch = Scratch::default();
        match codec.decode(bytes, Want::Whole, &Limits::default(), &mut scratch).unwrap() {
            Decoded::Wave(w) => (w.channels, w.rate, w.data.to_vec()),
            other => panic!("{other:?}"),
        }
    }

    fn asked(options: serde_json::Value) -> Prepare {
        of(options, "audio", Feature::Audio).unwrap().0
    }

    /// Every recording of the fixtures that a decoder reads: FLAC and PCM give the samples back to the bit, where 24 bits (in
    /// FLAC) or 32 hold them; FLAC of what has more is the nearest step of 24 bits.
    #[test]
    fn flac_and_pcm_lose_nothing() {
        let (flac, wav, raw) = (
            asked(json!({"audio": {"codec": "flac"}})),
            asked(json!({"audio": {"codec": "wav"}})),
            asked(json!({"store": "raw"})),
        );
        let (mut exact, mut rounded) = (0, 0);
        for (name, bytes) in files(&["audio", "digits", "audio_formats"]) {
            if codec::sniff(&bytes, Kind::Audio).and_then(|c| c.probe(&bytes, &Limits::default())).is_err() {
                continue;
            }
            let before = samples(&bytes);
            for prepare in [&wav, &raw] {
                let (made, info) = stored(prepare, Kind::Audio, &bytes).unwrap().unwrap();
                assert!(samples(&made) == before, "{name}: PCM is not the same");
                assert_eq!(info.format, Format::Wav);
            }
            let (made, info) = stored(&flac, Kind::Audio, &bytes).unwrap().unwrap();
            let after = samples(&made);
            assert_eq!((after.0, after.1, after.2.len()), (before.0, before.1, before.2.len()), "{name}");
            assert!(before.2.is_empty() || info.format == Format::Flac);
            let step = 1.0 / (1 << 23) as f32;
            if after.2 == before.2 {
                exact += 1;
                continue;
            }
            rounded += 1;
            for (a, b) in after.2.iter().zip(&before.2) {
                let clamped = b.clamp(-1.0, 1.0 - step);
                assert!((a - clamped).abs() <= step / 2.0, "{name}: {b} became {a}");
            }
        }
        assert!(exact >= 30 && rounded >= 3, "{exact} {rounded}");
    }

    #[test]
    fn a_stored_rate_is_the_operations() {
        use crate::augment::{Draw, Media, Op, Wave, resample::Resample};
        let bytes = fixture("digits/0_ada_0.wav");
        let (channels, rate, data) = samples(&bytes);
        assert_eq!((channels, rate), (1, 8000));
        let media = Resample { rate: 16_000 }.apply(&Draw::None, Media::Wave(Wave::mono(data, rate)), &mut Tools::default());
        let Media::Wave(Wave { data, .. }) = media.unwrap() else { panic!() };
        let (made, info) =
            stored(&asked(json!({"store": "raw", "audio": {"rate": 16000}})), Kind::Audio, &bytes).unwrap().unwrap();
        assert!(samples(&made) == (1, 16_000, data.clone()), "raw has every bit");
        assert_eq!((info.rate, info.count), (16_000, data.len() as u64));
        // As FLAC with the source's 16 bits: the nearest steps.
        let (made, _) = stored(&asked(json!({"audio": {"rate": 16000}})), Kind::Audio, &bytes).unwrap().unwrap();
        let steps: Vec<f32> = data.iter().map(|s| (s * 32_768.0).round_ties_even() / 32_768.0).collect();
        assert!(samples(&made).2 == steps);
        let (deep, _) =
            stored(&asked(json!({"audio": {"rate": 16000, "bits": 24}})), Kind::Audio, &bytes).unwrap().unwrap();
        assert!(deep.len() > made.len());
    }

    #[test]
    fn channels_are_kept_or_mixed_as_a_loader_does() {
        let left: Vec<f32> = (0..3000).map(|i| ((i * 37) % 2001) as f32 / 4096.0 - 0.2).collect();
        let both: Vec<f32> = left.iter().flat_map(|s| [*s, -s / 2.0]).collect();
        let (wav, _) = sound::wav(&both, 2, 8000, None, &Limits::default()).unwrap();
        let (made, info) = stored(&asked(json!({"audio": {"rate": 4000}})), Kind::Audio, &wav).unwrap().unwrap();
        assert_eq!((info.channels, info.rate, info.count), (2, 4000, 1500));
        let (mono, _) = sound::wav(&left, 1, 8000, None, &Limits::default()).unwrap();
        let (alone, _) = stored(&asked(json!({"audio": {"rate": 4000}})), Kind::Audio, &mono).unwrap().unwrap();
        let first: Vec<f32> = samples(&made).2.into_iter().step_by(2).collect();
        assert!(first == samples(&alone).2, "a channel is resampled alone");
        let (mixed, info) =
            stored(&asked(json!({"store": "raw", "audio": {"mono": true}})), Kind::Audio, &wav).unwrap().unwrap();
        assert_eq!(info.channels, 1);
        assert!(samples(&mixed).2 == crate::augment::run::mixed(&both, 2));
    }

    #[test]
    fn depths_and_saturation() {
        let limits = Limits::default();
        let bits = |samples: &[f32]| {
            let (bytes, _) = sound::wav(samples, 1, 8000, None, &limits).unwrap();
            u16::from_le_bytes([bytes[34], bytes[35]])
        };
        assert_eq!(bits(&[0.5, -1.0, 32_767.0 / 32_768.0]), 16);
        assert_eq!(bits(&[0.5, 1.0 / (1 << 20) as f32]), 24);
        assert_eq!(bits(&[0.5, 1.0]), 32, "1 is beyond the last step");
        assert_eq!(bits(&[1e-9]), 32);
        assert_eq!(bits(&[]), 16);
        let (bytes, _) = sound::wav(&[2.0, -3.0, 1.0], 1, 8000, Some(16), &limits).unwrap();
        assert_eq!(samples(&bytes).2, [32_767.0 / 32_768.0, -1.0, 32_767.0 / 32_768.0]);
        let odd = sound::wav(&[0.0, 1.0 / (1 << 20) as f32, 0.25], 1, 8000, None, &limits).unwrap().0;
        assert_eq!((odd.len() % 2, u32::from_le_bytes([odd[4], odd[5], odd[6], odd[7]]) as usize), (0, odd.len() - 8));
        // FLAC's limits: eight channels, 20 bits of a rate.
        let wide = sound::wav(&[0.0; 90], 9, 8000, None, &limits).unwrap().0;
        let fault = stored(&asked(json!({"audio": {"codec": "flac"}})), Kind::Audio, &wide).unwrap_err();
        assert_eq!(fault.reason, Reason::Unsupported, "{fault}");
    }

    /// A new flacenc that writes other bytes makes datasets that differ: then raise the version in `made_by`.
    #[test]
    fn flac_is_frozen() {
        use sha2::{Digest, Sha256};
        let bytes = fixture("digits/0_ada_0.wav");
        let (made, _) = stored(&asked(json!({"audio": {"codec": "flac"}})), Kind::Audio, &bytes).unwrap().unwrap();
        let digest = crate::data::index::hex(&Sha256::digest(&made));
        assert_eq!(digest, "8ca9089ccb3b500485bef585853b384d9dcc3c4a4dbcc8bbe3e595e4a83ed704");
    }
}

#[cfg(all(feature = "video", feature = "image"))]
#[test]
fn clips_are_frames_at_a_rate() {
    let (prepare, _) =
        of(json!({"video": {"fps": 4.0, "max_side": 64, "quality": 80}}), "video", Feature::Video).unwrap();
    let mut seen = 0;
    for (name, bytes) in files(&["clips"]) {
        let Ok(Some((made, info))) = stored(&prepare, Kind::Video, &bytes) else { continue };
        assert_eq!(info.width.max(info.height), 64, "{name}");
        // What a loader chooses of the source by the same rate, made by hand.
        let codec = codec::sniff(&bytes, Kind::Video).unwrap();
        let source = codec.probe(&bytes, &Limits::default()).unwrap();
        let ops: Vec<OpConfig> = serde_json::from_value(json!([
            {"op": "sample_frames", "fps": 4.0}, {"op": "resize", "size": [info.height, info.width]}
        ]))
        .unwrap();
        let chain =
            crate::augment::Chain::compile(Kind::Video, OpConfig::build(&ops, "x", &super::ops()).unwrap(), true)
                .unwrap();
        let drawn = chain.draw(&source, crate::rng::Key::new(0));
        let late = chain.run_late(&drawn, &bytes, codec, &Limits::default(), &mut Tools::default()).unwrap();
        let frame = info.width as usize * info.height as usize * 3;
        let jpegs: Vec<Vec<u8>> = late
            .bytes
            .chunks_exact(frame)
            .map(|pixels| picture::jpeg(pixels, (info.width, info.height), 80).unwrap())
            .collect();
        let times: Vec<i64> = (0..jpegs.len() as i64).map(|i| i * 250_000).collect();
        let frames = codec::container::mux::Frames {
            jpegs: &jpegs,
            times_us: &times,
            length_us: 250_000,
            width: info.width,
            height: info.height,
        };
        assert_eq!(made, codec::container::mux::mjpeg(&frames), "{name}");
        assert_eq!(
            (info.count, info.duration_us, info.rate),
            (jpegs.len() as u64, jpegs.len() as u64 * 250_000, 4_000)
        );
        // The facts are those that the codec finds, as soon as there is one that reads MJPEG.
        match codec::sniff(&made, Kind::Video).unwrap().probe(&made, &Limits::default()) {
            Ok(found) => assert_eq!(found, info, "{name}"),
            Err(fault) => assert!(fault.message.contains("MJPEG"), "{name}: {fault}"),
        }
        seen += 1;
    }
    assert!(seen >= 8, "{seen}");
}

#[cfg(all(feature = "image", feature = "audio", feature = "text"))]
#[test]
fn operations_are_stored_as_what_they_make() {
    use crate::data::packed::{Packed, TensorType};
    let ops = |column: &str, list: serde_json::Value| json!({"columns": {column: {"ops": list}}});
    let feature = |options, name, feature| of(options, name, feature).unwrap().1.columns[0].feature.clone();
    let tensor = |dtype, shape: &[Option<u32>], pad| Feature::Tensor(TensorType { dtype, shape: shape.to_vec(), pad });
    let mel = json!([{"op": "resample", "rate": 16000}, {"op": "log_mel", "n_mels": 40, "floor": 1.0}]);
    assert_eq!(feature(ops("a", mel), "a", Feature::Audio), tensor(Packed::F32, &[Some(40), None], 0.0));
    let ids = json!([{"op": "bytes_to_ids", "pad_id": 7}]);
    assert_eq!(feature(ops("t", ids.clone()), "t", Feature::Text), tensor(Packed::I64, &[None], 7.0));
    let narrow = json!({"columns": {"t": {"ops": ids, "dtype": "u16"}}});
    assert_eq!(feature(narrow.clone(), "t", Feature::Text), tensor(Packed::U16, &[None], 7.0));
    let fixed = json!([{"op": "resize", "size": [4, 6]}, {"op": "to", "dtype": "f16", "layout": "nchw"}]);
    let expected = tensor(Packed::F16, &[Some(3), Some(4), Some(6)], 0.0);
    assert_eq!(feature(ops("i", fixed), "i", Feature::Image), expected);
    let free = json!([{"op": "to", "dtype": "f32"}]);
    assert_eq!(feature(ops("i", free), "i", Feature::Image), tensor(Packed::F32, &[None, None, Some(3)], 0.0));
    // Media of their own kind stay that, so that a recipe may go on with them.
    let small = json!([{"op": "resize", "size": 8}]);
    assert_eq!(feature(ops("i", small), "i", Feature::Image), Feature::Image);
    assert_eq!(feature(ops("a", json!([{"op": "pad_trim", "samples": 99}])), "a", Feature::Audio), Feature::Audio);

    let (prepare, _) = of(narrow, "t", Feature::Text).unwrap();
    let (made, info) = stored(&prepare, Kind::Text, b"az").unwrap().unwrap();
    assert_eq!((made, info.count, info.format), (vec![97, 0, 122, 0], 2, Format::Tensor));
    let (over, _) = of(
        json!({"columns": {"t": {"ops": [{"op": "bytes_to_ids", "offset": 65500}], "dtype": "u16"}}}),
        "t",
        Feature::Text,
    )
    .unwrap();
    assert_eq!(stored(&over, Kind::Text, b"az").unwrap_err().reason, Reason::OverLimit);
}

#[cfg(all(feature = "image", feature = "audio", feature = "text", feature = "video"))]
#[test]
fn what_cannot_be_is_said_before_anything_is_read() {
    let image = || Feature::Image;
    for (options, name, feature, part) in [
        (json!({"image": {"max_side": 0}}), "image", image(), "max_side"),
        (json!({"image": {"quality": 101}}), "image", image(), "quality"),
        (json!({"image": {"quality": 90, "format": "png"}}), "image", image(), "JPEG"),
        (json!({"store": "raw", "image": {"quality": 90}}), "image", image(), "JPEG"),
        (json!({"store": "raw", "image": {"format": "png"}}), "image", image(), "raw"),
        (json!({"store": "raw"}), "text", Feature::Text, "no column"),
        (json!({"store": "raw"}), "video", Feature::Video, "no column"),
        (json!({"audio": {"rate": 16000}}), "image", image(), "recordings"),
        (json!({"audio": {"rate": 5}}), "audio", Feature::Audio, "rate"),
        (json!({"audio": {"bits": 32}}), "audio", Feature::Audio, "bits"),
        (json!({"audio": {"bits": 20, "codec": "wav"}}), "audio", Feature::Audio, "bits"),
        (json!({"store": "raw", "audio": {"codec": "flac"}}), "audio", Feature::Audio, "raw"),
        (json!({"video": {"max_side": 64}}), "video", Feature::Video, "fps"),
        (json!({"video": {"fps": 0.0}}), "video", Feature::Video, "fps"),
        (json!({"columns": {"x": {"ops": [{"op": "resize", "size": 3}]}}}), "image", image(), "it has: image"),
        (json!({"columns": {"image": {}}}), "image", image(), "no operations"),
        (json!({"columns": {"label": {"ops": [{"op": "resize", "size": 3}]}}}), "label", Feature::Int, "media"),
        (json!({"columns": {"image": {"ops": [{"op": "resiz", "size": 3}]}}}), "image", image(), "resize"),
        (json!({"columns": {"image": {"ops": [{"op": "log_mel"}]}}}), "image", image(), "recordings"),
        (json!({"columns": {"image": {"ops": [{"op": "horizontal_flip"}]}}}), "image", image(), "random"),
        (
            json!({"columns": {"image": {"ops": [{"op": "random_resized_crop", "size": 3}]}}}),
            "image",
            image(),
            "random",
        ),
        (
            json!({"columns": {"audio": {"ops": [{"op": "pad_trim", "samples": 3, "mode": "random"}]}}}),
            "audio",
            Feature::Audio,
            "random",
        ),
        (
            json!({"columns": {"image": {"ops": [{"op": "resize", "size": 3}], "dtype": "u16"}}}),
            "image",
            image(),
            "dtype",
        ),
        (
            json!({"columns": {"text": {"ops": [{"op": "bytes_to_ids"}], "dtype": "f16"}}}),
            "text",
            Feature::Text,
            "dtype",
        ),
    ] {
        let said = refused(options.clone(), name, feature);
        assert!(said.contains(part) && said.contains("help:"), "{options}: {said}");
    }
    assert!(of(json!({}), "image", image()).unwrap().1.columns[0].stored.is_none());
}

/// Adding to a dataset: what is asked must be what is there, and what is not asked is.
#[cfg(all(feature = "image", feature = "text"))]
#[test]
fn a_column_is_made_in_one_way() {
    let source = Schema::new([("image", Feature::Image), ("label", Feature::Int)]);
    let new = |options: serde_json::Value, dataset: Option<&Schema>| {
        Prepare::new(&serde_json::from_value(options).unwrap(), &source, dataset, &ops()).map(|(_, schema)| schema)
    };
    let asked = json!({"image": {"max_side": 256}});
    let there = new(asked.clone(), None).unwrap();
    for same in [asked, json!({}), json!({"image": {"max_side": 256, "quality": 90}})] {
        assert_eq!(new(same, Some(&there)).unwrap(), there);
    }
    let said = |options, dataset: &Schema| new(options, Some(dataset)).unwrap_err().to_string();
    let other = said(json!({"image": {"max_side": 128}}), &there);
    assert!(other.contains("max_side 256") && other.contains("max_side 128"), "{other}");
    let plain = said(json!({"store": "raw"}), &source);
    assert!(plain.contains("own bytes"), "{plain}");
    // Another build makes other bytes of it.
    let mut older = there.clone();
    if let Some(stored) = &mut older.columns[0].stored {
        *stored = Storage::new(stored.mode, &stored.parameters, vec!["resize 0".into(), "jpeg 1".into()]);
    }
    let versions = said(json!({}), &older);
    assert!(versions.contains("resize 0") && versions.contains("resize 1"), "{versions}");
    let mut unknown = there.clone();
    if let Some(stored) = &mut unknown.columns[0].stored {
        let parameters = serde_json::from_value(json!({"of": "hologram"})).unwrap();
        *stored = Storage::new(stored.mode, &parameters, Vec::new());
    }
    assert!(said(json!({}), &unknown).contains("does not know"));
    assert!(
        Prepare::new(&PrepareOptions::default(), &there, None, &ops())
            .unwrap_err()
            .to_string()
            .contains("says what made it")
    );
}

/// The operation comes with another crate feature; what it stands for does not.
#[cfg(feature = "text")]
#[test]
fn tokens_take_as_many_bits_as_the_vocabulary() {
    use crate::data::packed::Packed;
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("tokenizer.json");
    let ids = |text: &str| {
        std::fs::write(&file, text).unwrap();
        features::ids_of(&file)
    };
    let words = |ids: &[u64]| json!({"model": {"vocab": ids.iter().map(|i| (format!("t{i}"), *i)).collect::<BTreeMap<_, _>>()}});
    assert_eq!(ids(&words(&[0, 65_535]).to_string()).unwrap(), Packed::U16);
    assert_eq!(ids(&words(&[0, 65_536]).to_string()).unwrap(), Packed::U32);
    let mut added = words(&[0, 5]);
    added["added_tokens"] = json!([{"id": 70_000, "content": "<x>"}]);
    assert_eq!(ids(&added.to_string()).unwrap(), Packed::U32);
    assert_eq!(ids(&json!({"model": {"vocab": [["a", -1.0], ["b", -2.0]]}}).to_string()).unwrap(), Packed::U16);
    assert_eq!(ids("{}").unwrap(), Packed::U32, "nobody knows");
    assert!(ids("not json").is_err());
    ids(&words(&[0, 1]).to_string()).unwrap();
    let made = of(json!({"text": {"tokenizer": file}}), "text", Feature::Text);
    if ops().get("tokenize").is_err() {
        let said = made.unwrap_err().to_string();
        assert!(said.contains("\"tokenizers\""), "{said}");
    }
}
