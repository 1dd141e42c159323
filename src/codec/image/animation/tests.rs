use serde_json::Value;
use sha2::{Digest, Sha256};

use super::*;
use crate::codec::tests::fixture;
use crate::codec::{by_format, mutants, sniff};
use crate::data::info::Kind;

fn hex(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|b| format!("{b:02x}")).collect()
}

fn golden() -> serde_json::Map<String, Value> {
    let all: Value = serde_json::from_slice(&fixture("golden/animations.json")).unwrap();
    all["files"].as_object().unwrap().clone()
}

fn pixels(bytes: &[u8], want: Want<'_>) -> (Vec<i64>, Vec<u8>) {
    let (codec, mut scratch) = (sniff(bytes, Kind::Video).unwrap(), Scratch::default());
    codec.decode(bytes, want, &Limits::default(), &mut scratch).unwrap();
    (scratch.times, scratch.bytes)
}

/// Frames and times of every fixture are Pillow's. Where alpha is partial PNG's formula is rounded to the nearest and Pillow
/// rounds each product: within 1.
#[test]
fn frames_are_pillows() {
    let file = fixture("golden/animations_near.safetensors");
    let near = safetensors::SafeTensors::deserialize(&file).unwrap();
    let mut wrong = Vec::new();
    let all = golden();
    assert!(all.len() >= 12, "{}", all.len());
    for (name, fact) in all {
        let bytes = fixture(&name);
        let codec = sniff(&bytes, Kind::Video).unwrap();
        let info = codec.probe(&bytes, &Limits::default()).unwrap();
        let list = |field: &str| fact[field].as_array().unwrap().clone();
        let (times, data) = pixels(&bytes, Want::Whole);
        assert_eq!(times.iter().map(|t| Value::from(*t)).collect::<Vec<_>>(), list("times_us"), "{name}");
        assert_eq!(Value::from(info.duration_us), fact["end_us"], "{name}");
        assert_eq!((info.count, info.channels), (times.len() as u64, 3), "{name}");
        assert_eq!(
            [Value::from(info.width), Value::from(info.height)],
            [fact["width"].clone(), fact["height"].clone()]
        );
        let one = data.len() / times.len();
        for (n, (frame, sha)) in data.chunks(one).zip(list("sha256_rgb")).enumerate() {
            if hex(frame) == sha.as_str().unwrap() {
                continue;
            }
            let far = near.tensor(&name).map_or(255, |t| {
                let apart = frame.iter().zip(&t.data()[n * one..]).map(|(a, b)| a.abs_diff(*b));
                apart.max().unwrap_or(255)
            });
            if far > 1 {
                wrong.push(format!("{name} frame {n}: {far}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:?}");
}

#[test]
fn wanted_frames_are_those_of_the_whole_and_check_agrees_with_probe() {
    for (name, _) in golden() {
        let bytes = fixture(&name);
        let (times, all) = pixels(&bytes, Want::Whole);
        let one = all.len() / times.len();
        let end = times[times.len() - 1] + 50_000;
        for wanted in [vec![-9], vec![end], vec![0, 0, times[1], times[1] - 1, end, 3], vec![]] {
            let mut wanted: Vec<i64> = wanted;
            wanted.sort_unstable();
            let (got, some) = pixels(&bytes, Want::Video { times_us: &wanted });
            assert_eq!(some.len(), one * wanted.len(), "{name}");
            for (n, time) in wanted.iter().enumerate() {
                let frame = times.iter().rposition(|t| t <= time).unwrap_or(0);
                assert_eq!(got[n], times[frame], "{name} at {time}");
                assert!(some[n * one..][..one] == all[frame * one..][..one], "{name} at {time}");
            }
        }
        let (codec, mut scratch) = (sniff(&bytes, Kind::Video).unwrap(), Scratch::default());
        let info = codec.probe(&bytes, &Limits::default());
        for level in [Check::Header, Check::Entropy, Check::Decode] {
            assert_eq!(codec.check(&bytes, level, &Limits::default(), &mut scratch), info, "{name}");
        }
        assert_eq!(by_format(info.unwrap().format).unwrap().name(), codec.name());
    }
}

/// What is wanted decides: the same file is a clip, or a picture that is its first frame.
#[test]
fn an_animation_is_a_picture_where_pictures_are_wanted() {
    for (name, format) in [("dispose.gif", "gif"), ("lossy.webp", "webp"), ("dispose.png", "png")] {
        let bytes = fixture(&format!("animations/{name}"));
        assert_eq!(sniff(&bytes, Kind::Image).unwrap().name(), format);
        let still = sniff(&bytes, Kind::Image).unwrap();
        let mut scratch = Scratch::default();
        let Ok(Decoded::Pixels(first)) = still.decode(&bytes, Want::Whole, &Limits::default(), &mut scratch) else {
            panic!("{name}")
        };
        let (_, all) = pixels(&bytes, Want::Video { times_us: &[0] });
        assert!(first.data == &all[..], "{name}");
    }
    let one = fixture("images_formats/palette.gif");
    assert_eq!(sniff(&one, Kind::Video).unwrap().probe(&one, &Limits::default()).unwrap().count, 1);
    for still in ["images_formats/lossy.webp", "images/train/pants/006_rgb.png", "images/train/pants/000_444.jpg"] {
        assert_eq!(sniff(&fixture(still), Kind::Video).err().unwrap().reason, Reason::WrongMedia, "{still}");
    }
}

#[test]
fn limits_and_cuts_have_their_reasons() {
    for (name, _) in golden() {
        let bytes = fixture(&name);
        let codec = sniff(&bytes, Kind::Video).unwrap();
        let mut scratch = Scratch::default();
        let mut reason = |bytes: &[u8], limits: &Limits| {
            codec.check(bytes, Check::Decode, limits, &mut scratch).map_err(|fault| fault.reason)
        };
        let limits = Limits::default();
        assert_eq!(reason(&bytes, &Limits { frames: 2, ..limits }), Err(Reason::OverLimit), "{name}");
        assert_eq!(reason(&bytes, &Limits { pixels: 1199, ..limits }), Err(Reason::OverLimit), "{name}");
        assert!(reason(&bytes, &Limits { pixels: 1200, frames: 6, ..limits }).is_ok(), "{name}");
        assert!(reason(&bytes[..bytes.len() / 2], &limits).is_err(), "{name}");
        assert!(reason(&bytes[..bytes.len() - 30], &limits).is_err(), "{name}");
    }
}

#[test]
fn damage_never_panics_out() {
    let limits = Limits { pixels: 1 << 18, frames: 50, ..Limits::default() };
    let mut scratch = Scratch::default();
    let mut panics = Vec::new();
    for (name, _) in golden() {
        let bytes = fixture(&name);
        for made in mutants(&bytes, 200) {
            let Ok(codec) = sniff(&made, Kind::Video) else { continue };
            let probed = codec.probe(&made, &limits);
            match codec.check(&made, Check::Decode, &limits, &mut scratch) {
                Ok(info) => assert_eq!(probed, Ok(info), "{name}"),
                Err(fault) if fault.reason == Reason::DecoderPanic => panics.push(format!("{name}: {fault}")),
                Err(_) => {}
            }
            let _ = codec.decode(&made, Want::Video { times_us: &[0, 150_000] }, &limits, &mut scratch);
        }
    }
    assert!(panics.is_empty(), "{panics:#?}");
}
