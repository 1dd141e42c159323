use crate::data::info::Format;
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
mod pictures;

#[cfg(feature = "audio")]
mod recordings;

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
