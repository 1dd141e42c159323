//! The laws over every operation: fused equals unfused byte for byte, draws are a function of the key, specs and facts
//! and results agree, every slot byte is written, wrong parameters are refused by name.

use std::sync::Arc;

use super::{Chain, Draw, Elements, Lowered, Media, Op, OpEntry, SlotMut, Spec, Tools, ops};
use crate::codec::{Check, Codec, Decoded, Limits, Pixels, Rect, Scratch, Want, Wave};
use crate::data::info::{Fact, Format, Info, Kind};
use crate::data::label::{Labels, Objects};
use crate::data::orientation::Orientation;
use crate::data::tensor::{DType, Extent};
use crate::error::{Fault, Reason};
use crate::rng::{Key, Stream, mix};

/// A codec whose media are arithmetic: any payload decodes to what `info` says, a region with `margin` more around it.
#[derive(Clone, Copy)]
pub(super) struct Fake {
    pub(super) info: Info,
    pub(super) margin: u32,
}

impl Fake {
    fn pixels(&self, frames: &[u64], rect: Rect, out: &mut Vec<u8>) {
        out.clear();
        for frame in frames {
            for y in rect.y..rect.y + rect.height {
                for x in rect.x..rect.x + rect.width {
                    let value = mix(*frame << 48 ^ u64::from(y) << 24 ^ u64::from(x));
                    out.extend([value as u8, (value >> 8) as u8, (x * 5 + y) as u8]);
                }
            }
        }
    }
}

impl Codec for Fake {
    fn name(&self) -> &'static str {
        "fake"
    }
    fn format(&self) -> Format {
        self.info.format
    }
    fn sniff(&self, _: &[u8]) -> bool {
        true
    }
    fn probe(&self, _: &[u8], _: &Limits) -> Result<Info, Fault> {
        Ok(self.info)
    }
    fn check(&self, _: &[u8], _: Check, _: &Limits, _: &mut Scratch) -> Result<Info, Fault> {
        Ok(self.info)
    }
    fn decode<'s>(&self, _: &'s [u8], want: Want<'_>, _: &Limits, s: &'s mut Scratch) -> Result<Decoded<'s>, Fault> {
        let Info { width, height, count, orientation, .. } = self.info;
        let (width, height) = orientation.size((width, height));
        let mut rect = Rect { x: 0, y: 0, width, height };
        match self.format().kind() {
            Kind::Audio => {
                let channels = self.info.channels;
                s.floats.clear();
                let value = |i| (mix(i) as u32 as f32 / u32::MAX as f32) * 2.0 - 1.0;
                let (start, end) = match want {
                    Want::Audio { range: Some((start, end)) } => {
                        let margin = u64::from(self.margin);
                        (start.saturating_sub(margin), (end + margin).min(count))
                    }
                    _ => (0, count),
                };
                s.floats.extend((start * u64::from(channels)..end * u64::from(channels)).map(value));
                return Ok(Decoded::Wave(Wave { data: &s.floats, channels, rate: self.info.rate, start }));
            }
            Kind::Text | Kind::Tensor => {
                s.bytes.clear();
                s.bytes.extend((0..count).map(|i| b'a' + (mix(i) % 26) as u8));
                return Ok(Decoded::Text(std::str::from_utf8(&s.bytes).unwrap()));
            }
            Kind::Image => {
                if let Want::Image { region: Some(r) } = want {
                    let (x, y) = (r.x.saturating_sub(self.margin), r.y.saturating_sub(self.margin));
                    let right = (r.x + r.width + self.margin).min(width);
                    let below = (r.y + r.height + self.margin).min(height);
                    rect = Rect { x, y, width: right - x, height: below - y };
                }
                self.pixels(&[0], rect, &mut s.bytes);
                s.times.clear();
            }
            Kind::Video => {
                s.times = match want {
                    Want::Video { times_us } => times_us.iter().map(|t| t / 40_000 * 40_000).collect(),
                    // Every fourth frame is a key.
                    Want::Keys { from_us, to_us, most } => {
                        let keys = (0..count as i64).step_by(4).map(|i| i * 40_000);
                        keys.filter(|t| (from_us..to_us).contains(t)).take(most as usize).collect()
                    }
                    _ => (0..count as i64).map(|i| i * 40_000).collect(),
                };
                let frames: Vec<u64> = s.times.iter().map(|t| *t as u64 / 40_000).collect();
                self.pixels(&frames, rect, &mut s.bytes);
            }
        }
        let frames = s.times.len().max(1);
        let origin = (rect.x, rect.y);
        let (width, height) = (rect.width, rect.height);
        Ok(Decoded::Pixels(Pixels { data: &s.bytes, frames, width, height, origin, pts_us: &s.times }))
    }
}

/// An operation as a caller would define it: known to the chain by its `apply` only.
#[derive(Debug)]
struct Invert;

impl Op for Invert {
    fn spec(&self, input: &Spec) -> Result<Spec, Fault> {
        match input {
            Spec::Raster { .. } => Ok(input.clone()),
            other => Err(super::refused("invert", "pixels", other.name())),
        }
    }
    fn apply(&self, _: &Draw, media: Media, _: &mut Tools) -> Result<Media, Fault> {
        let Media::Raster(mut raster) = media else { return Err(super::refused("invert", "pixels", media.name())) };
        match &mut raster.data {
            Elements::U8(v) => v.iter_mut().for_each(|x| *x = 255 - *x),
            Elements::I8(v) => v.iter_mut().for_each(|x| *x = !*x),
            Elements::F16(v) => v.iter_mut().for_each(|x| *x = -*x),
            Elements::BF16(v) => v.iter_mut().for_each(|x| *x = -*x),
            Elements::F32(v) => v.iter_mut().for_each(|x| *x = -*x),
            Elements::I64(_) => {}
        }
        Ok(Media::Raster(raster))
    }
}

/// An operation whose length is known only afterwards: the bytes of a text without its vowels.
#[derive(Debug)]
struct Consonants;

impl Op for Consonants {
    fn spec(&self, _: &Spec) -> Result<Spec, Fault> {
        Ok(Spec::Tensor { dtype: DType::U8, shape: vec![Extent::Late] })
    }
    fn apply(&self, _: &Draw, media: Media, _: &mut Tools) -> Result<Media, Fault> {
        let Elements::U8(mut data) = media.into_elements() else { panic!() };
        data.retain(|b| !b"aeiou".contains(b));
        Ok(Media::Tensor { shape: vec![data.len()], data: Elements::U8(data) })
    }
}

fn build(name: &str, params: &str) -> Arc<dyn Op> {
    if name == "invert" {
        return Arc::new(Invert);
    }
    let params: serde_json::Value = serde_json::from_str(params).unwrap();
    (ops().get(name).unwrap().build)(&params).unwrap()
}

fn named(ops: &[(String, String)]) -> Vec<(String, Arc<dyn Op>)> {
    ops.iter().enumerate().map(|(i, (name, params))| (format!("x/{i}:{name}"), build(name, params))).collect()
}

pub(super) fn image(width: u32, height: u32) -> Info {
    Info { width, height, channels: 3, ..Info::of(Format::Png) }
}

fn clip(width: u32, height: u32, frames: u64) -> Info {
    let duration_us = frames * 40_000;
    Info { width, height, channels: 3, rate: 25_000, count: frames, duration_us, ..Info::of(Format::Mp4) }
}

/// Runs a chain into a dirty slot that is larger than it must be by `extra` on each axis.
fn run(chain: &Chain, fake: &Fake, key: Key, tools: &mut Tools, extra: &[usize], dirt: u8) -> Result<Vec<u8>, Fault> {
    let drawn = chain.draw(&fake.info, key);
    let output = chain.output().unwrap();
    let extents = chain.extents(&drawn);
    let shape: Vec<usize> = extents.iter().enumerate().map(|(i, e)| e + extra.get(i).copied().unwrap_or(0)).collect();
    let mut bytes = vec![dirt; shape.iter().product::<usize>() * output.dtype.size()];
    let mut beside = vec![i64::from(dirt); output.beside.map_or(0, |b| b.width * shape[0])];
    let slot =
        SlotMut { bytes: &mut bytes, shape: &shape, strides: &[], beside: output.beside.map(|_| &mut beside[..]) };
    chain.run(&drawn, b"payload", fake, &Limits::default(), tools, slot)?;
    bytes.extend(beside.iter().flat_map(|t| t.to_ne_bytes()));
    Ok(bytes)
}

/// Some operation on pixels with some parameters.
fn any_op(s: &mut Stream) -> (String, String) {
    let side = |s: &mut Stream| 1 + s.below(40);
    let (name, params) = match s.below(9) {
        0 => ("resize", format!("{{\"size\": {}}}", side(s))),
        1 => ("resize", format!("{{\"size\": [{}, {}]}}", side(s), side(s))),
        2 => ("center_crop", format!("{{\"size\": [{}, {}]}}", side(s) / 2 + 1, side(s) / 2 + 1)),
        3 => ("random_resized_crop", format!("{{\"size\": {}}}", side(s))),
        4 | 5 => ("horizontal_flip", "{\"p\": 0.7}".into()),
        6 => ("normalize", "{\"mean\": [0.4, 0.5, 0.6], \"std\": [0.2, 0.3, 0.1]}".into()),
        7 => {
            let layout = ["nhwc", "nchw"][s.below(2) as usize];
            match s.below(8) {
                0 => ("to", format!("{{\"layout\": \"{layout}\"}}")),
                1 => ("to", "{\"dtype\": \"f32\", \"unit\": true}".into()),
                2 => ("to", format!("{{\"dtype\": \"f16\", \"layout\": \"{layout}\"}}")),
                3 => ("to", "{\"dtype\": \"bf16\"}".into()),
                4 => ("to", "{\"dtype\": \"f16\", \"unit\": true}".into()),
                5 => ("to", "{\"dtype\": \"i8\", \"scale\": 0.03, \"zero_point\": -9}".into()),
                6 => ("to", "{\"dtype\": \"u8\", \"scale\": 0.5, \"zero_point\": 7}".into()),
                _ => ("to", format!("{{\"dtype\": \"f32\", \"layout\": \"{layout}\"}}")),
            }
        }
        _ => ("invert", "{}".into()),
    };
    (name.into(), params)
}

/// Ways to choose frames.
const SAMPLED: [&str; 4] = [
    "{\"count\": 3}",
    "{\"fps\": 10}",
    "{\"fps\": 30, \"start\": \"random\", \"seconds\": 0.1}",
    "{\"times\": [0, 0.04, 0.1]}",
];

#[test]
fn fused_equals_unfused_and_writes_every_byte() {
    let (mut fused_tools, mut plain_tools) = (Tools::default(), Tools::default());
    let (mut done, mut refused) = (0, 0);
    for seed in 0..1500 {
        let mut s = Key::new(seed).named("chains").stream();
        let (width, height) = (1 + s.below(60) as u32, 1 + s.below(60) as u32);
        let video = s.below(4) == 0;
        let (kind, mut info) = match video {
            true => (Kind::Video, clip(width, height, 1 + s.below(4))),
            false => (Kind::Image, image(width, height)),
        };
        info.orientation = Orientation::of(s.below(12) as u32);
        let mut list = Vec::new();
        if video && s.below(2) == 0 {
            list.push(("sample_frames".into(), SAMPLED[s.below(4) as usize].to_owned()));
        }
        for _ in 0..s.below(6) {
            list.push(any_op(&mut s));
            if Chain::compile(kind, named(&list), true).is_err() {
                list.pop();
            }
        }
        let fake = Fake { info, margin: s.below(9) as u32 };
        let extra: Vec<usize> = (0..4).map(|_| s.below(2) as usize * s.below(4) as usize).collect();
        let fused = Chain::compile(kind, named(&list), true).unwrap();
        let plain = Chain::compile(kind, named(&list), false).unwrap();
        let a = run(&fused, &fake, Key::new(seed), &mut fused_tools, &extra, 0xAA);
        let b = run(&plain, &fake, Key::new(seed), &mut plain_tools, &extra, 0x55);
        match (a, b) {
            (Ok(a), Ok(b)) => {
                assert!(a == b, "seed {seed}: {width} x {height} through {list:?}");
                done += 1;
            }
            (Err(a), Err(b)) => {
                assert_eq!(a.reason, b.reason, "seed {seed}: {list:?}");
                refused += 1;
            }
            (a, b) => panic!("seed {seed}: {list:?}: {:?} {:?}", a.map(|v| v.len()), b.map(|v| v.len())),
        }
    }
    assert!(done > 900 && refused > 20, "{done} {refused}: the test does not reach what it is for");
}

/// Key frames: their number is known only after decoding, and the memory for the most of them before.
#[test]
fn key_frames_are_late() {
    let list = [("sample_frames", "{\"keyframes\": true, \"count\": 2}"), ("resize", "{\"size\": [6, 8]}")];
    let list: Vec<(String, String)> = list.iter().map(|(n, p)| ((*n).to_owned(), (*p).to_owned())).collect();
    let chain = Chain::compile(Kind::Video, named(&list), true).unwrap();
    assert!(chain.output().unwrap().is_late());
    for (frames, expected) in [(1, 1), (5, 2), (9, 2)] {
        let fake = Fake { info: clip(30, 20, frames), margin: 0 };
        let drawn = chain.draw(&fake.info, Key::new(1));
        assert_eq!(chain.bytes(&drawn), frames.min(2) as usize * 6 * 8 * 3);
        let late = chain.run_late(&drawn, b"", &fake, &Limits::default(), &mut Tools::default()).unwrap();
        assert_eq!(late.shape, [expected, 6, 8, 3]);
        assert_eq!(late.beside, [0, 160_000][..expected]);
        assert_eq!(late.bytes.len(), expected * 6 * 8 * 3);
    }
}

/// Some operation on recordings with some parameters.
#[cfg(feature = "audio")]
fn any_audio_op(s: &mut Stream) -> (String, String) {
    let (name, params) = match s.below(8) {
        0 => ("channels", ["\"mono\"", "\"keep\"", "2", "1", "[1, 0, 1]", "[0]"][s.below(6) as usize].to_owned()),
        1 => ("time_crop", format!("{{\"samples\": {}, \"mode\": \"random\"}}", 1 + s.below(900))),
        2 => ("time_crop", format!("{{\"seconds\": 0.05, \"start\": 0.0{}}}", s.below(10))),
        3 => ("time_crop", format!("{{\"samples\": {}, \"mode\": \"center\"}}", 1 + s.below(900))),
        4 => ("resample", "{\"rate\": 16000}".into()),
        5 => ("pad_trim", format!("{{\"samples\": {}, \"mode\": \"random\"}}", 1 + s.below(900))),
        6 => ("log_mel", "{\"n_mels\": 5, \"n_fft\": 64, \"hop\": 16}".into()),
        _ => ("to", "{\"dtype\": \"f16\"}".into()),
    };
    let params = if name == "channels" { format!("{{\"to\": {params}}}") } else { params };
    (name.into(), params)
}

/// The same law for recordings: what is decoded of them is what the reference cuts, and the mix the mean.
#[cfg(feature = "audio")]
#[test]
fn recordings_decoded_in_part_are_those_cut_from_the_whole() {
    let (mut done, mut refused, mut parts) = (0, 0, 0);
    for seed in 0..1500 {
        let mut s = Key::new(seed).named("recordings").stream();
        let channels = 1 + s.below(3) as u32;
        let rate = [8000, 11_025, 16_000][s.below(3) as usize];
        let info = Info { rate, channels, count: 1 + s.below(2000), ..Info::of(Format::Wav) };
        let mut list = Vec::new();
        for _ in 0..1 + s.below(5) {
            list.push(any_audio_op(&mut s));
            if Chain::compile(Kind::Audio, named(&list), true).is_err() {
                list.pop();
            }
        }
        let fake = Fake { info, margin: s.below(9) as u32 };
        let extra: Vec<usize> = (0..4).map(|_| s.below(2) as usize * s.below(4) as usize).collect();
        let fused = Chain::compile(Kind::Audio, named(&list), true).unwrap();
        let plain = Chain::compile(Kind::Audio, named(&list), false).unwrap();
        parts += u32::from(list.first().is_some_and(|(name, _)| name == "time_crop"));
        let a = run(&fused, &fake, Key::new(seed), &mut Tools::default(), &extra, 0xAA);
        let b = run(&plain, &fake, Key::new(seed), &mut Tools::default(), &extra, 0x55);
        match (a, b) {
            (Ok(a), Ok(b)) => {
                assert!(a == b, "seed {seed}: {info:?} through {list:?}");
                done += 1;
            }
            (Err(a), Err(b)) => {
                assert_eq!(a.reason, b.reason, "seed {seed}: {list:?}");
                refused += 1;
            }
            (a, b) => panic!("seed {seed}: {list:?}: {:?} {:?}", a.map(|v| v.len()), b.map(|v| v.len())),
        }
    }
    assert!(done > 900 && refused > 20 && parts > 200, "{done} {refused} {parts}: it does not reach what it is for");
}

/// And with real files: a part in the middle of every recording of the fixtures, through every codec.
#[cfg(feature = "audio")]
#[test]
fn a_part_of_every_recording_is_that_of_the_whole() {
    let mut seen = 0;
    for folder in ["audio", "audio_formats"] {
        let folder = format!("{}/fixtures/{folder}", env!("CARGO_MANIFEST_DIR"));
        for file in std::fs::read_dir(folder).unwrap().map(|e| e.unwrap().path()) {
            let (bytes, limits) = (std::fs::read(&file).unwrap(), Limits::default());
            let codec = crate::codec::sniff(&bytes, Kind::Audio).unwrap();
            let Ok(info) = codec.probe(&bytes, &limits) else { continue };
            for list in [
                vec![("time_crop", r#"{"seconds": 0.03, "start": 0.02}"#)],
                vec![("channels", r#"{"to": "keep"}"#), ("time_crop", r#"{"samples": 700, "mode": "random"}"#)],
                vec![
                    ("time_crop", r#"{"seconds": 0.04, "mode": "center"}"#),
                    ("time_crop", r#"{"samples": 99, "start": 0.01}"#),
                ],
            ] {
                let list: Vec<_> = list.into_iter().map(|(n, p)| (n.to_owned(), p.to_owned())).collect();
                let made = [true, false].map(|fuse| {
                    let chain = Chain::compile(Kind::Audio, named(&list), fuse).unwrap();
                    let drawn = chain.draw(&info, Key::new(7));
                    chain.run_late(&drawn, &bytes, codec, &limits, &mut Tools::default()).unwrap()
                });
                assert_eq!(made[0], made[1], "{file:?}");
                assert!(!made[0].bytes.is_empty());
                seen += 1;
            }
        }
    }
    assert!(seen >= 3 * 40, "{seen}");
}

/// A decode of a part looks at no more than it: damage behind it is not seen.
#[cfg(feature = "audio")]
#[test]
fn only_the_part_is_decoded() {
    struct Asked(std::sync::Mutex<Vec<Option<(u64, u64)>>>, Fake);
    impl Codec for Asked {
        fn format(&self) -> Format {
            Format::Wav
        }
        fn sniff(&self, _: &[u8]) -> bool {
            true
        }
        fn probe(&self, _: &[u8], _: &Limits) -> Result<Info, Fault> {
            Ok(self.1.info)
        }
        fn decode<'s>(&self, b: &'s [u8], w: Want<'_>, l: &Limits, s: &'s mut Scratch) -> Result<Decoded<'s>, Fault> {
            self.0.lock().unwrap().push(if let Want::Audio { range } = w { range } else { None });
            self.1.decode(b, w, l, s)
        }
    }
    let info = Info { rate: 8000, channels: 2, count: 80_000, ..Info::of(Format::Wav) };
    let asked = Asked(std::sync::Mutex::default(), Fake { info, margin: 0 });
    let run = |list: &[(&str, &str)]| {
        let list: Vec<_> = list.iter().map(|(n, p)| ((*n).to_owned(), (*p).to_owned())).collect();
        let chain = Chain::compile(Kind::Audio, named(&list), true).unwrap();
        let drawn = chain.draw(&info, Key::new(1));
        chain.run_late(&drawn, b"", &asked, &Limits::default(), &mut Tools::default()).unwrap();
        asked.0.lock().unwrap().pop().unwrap()
    };
    let crop = ("time_crop", r#"{"seconds": 2, "start": 3}"#);
    let inner = ("time_crop", r#"{"seconds": 9, "start": 1.5}"#);
    let keep = ("channels", r#"{"to": "keep"}"#);
    assert_eq!(run(&[crop]), Some((24_000, 40_000)));
    assert_eq!(run(&[keep, crop, inner]), Some((36_000, 40_000)));
    assert_eq!(run(&[crop, keep]), Some((24_000, 40_000)));
    assert_eq!(run(&[("resample", r#"{"rate": 4000}"#), crop]), None);
}

/// Room, alignment and multiples change where elements lie, and nothing else: stripped of them the bytes are those without,
/// and what is stripped is the chain's padding.
#[test]
fn padding_of_memory_is_all_that_it_changes() {
    let mut strided = 0;
    for seed in 0..400 {
        let mut s = Key::new(seed).named("storage").stream();
        let (kind, info, mut list) = match s.below(3) {
            0 => (Kind::Video, clip(1 + s.below(20) as u32, 1 + s.below(20) as u32, 1 + s.below(4)), Vec::new()),
            #[cfg(feature = "audio")]
            1 => {
                let keep = vec![("channels".to_owned(), "{\"to\": \"keep\"}".to_owned())];
                let count = 1 + s.below(300);
                (Kind::Audio, Info { rate: 8000, channels: 2, count, ..Info::of(Format::Wav) }, keep)
            }
            _ => (Kind::Image, image(1 + s.below(30) as u32, 1 + s.below(30) as u32), Vec::new()),
        };
        for _ in 0..s.below(4) {
            list.push(any_op(&mut s));
            if Chain::compile(kind, named(&list), true).is_err() {
                list.pop();
            }
        }
        let plain = Chain::compile(kind, named(&list), true).unwrap();
        let channels =
            if kind == Kind::Audio { String::new() } else { format!("\"pad_channels\": {}, ", 1 + s.below(8)) };
        let (align, multiple) = (1u64 << s.below(8), 1 + s.below(40));
        list.push(("to".into(), format!("{{{channels}\"row_align\": {align}, \"pad_multiple\": {multiple}}}")));
        let padded = Chain::compile(kind, named(&list), true).unwrap();
        let fake = Fake { info, margin: 1 };
        let (drawn, key) = (padded.draw(&info, Key::new(seed)), Key::new(seed));
        let (output, extents) = (padded.output().unwrap(), padded.extents(&drawn));
        let shape = output.padded(std::slice::from_ref(&extents));
        let free = output.shape.iter().zip(&extents).zip(&shape).enumerate();
        for (axis, ((extent, own), padded)) in free {
            let frames = axis == 0 && matches!(kind, Kind::Video | Kind::Audio);
            let fixed = frames || matches!(extent, Extent::Fixed(_));
            let expected = if fixed { *own } else { own.next_multiple_of(multiple as usize) };
            assert_eq!(*padded, expected, "axis {axis} of {list:?}");
        }
        let size = output.dtype.size();
        let strides = output.placement.strides(&shape, size).unwrap();
        let extra: Vec<usize> = shape.iter().zip(&extents).map(|(s, e)| s - e).collect();
        let without = run(&plain, &fake, key, &mut Tools::default(), &extra, 0xAA);
        let whole = strides.first().copied().unwrap_or(shape.iter().product());
        let mut buffer = crate::data::buffer::Buffer::zeroed(whole * size);
        buffer.bytes_mut().fill(0x55);
        let mut pts = vec![0x55; if kind == Kind::Video { shape[0] } else { 0 }];
        let beside = (kind == Kind::Video).then_some(&mut pts[..]);
        let inner = strides.get(1..).unwrap_or_default();
        let slot = SlotMut { bytes: buffer.bytes_mut(), shape: &shape, strides: inner, beside };
        let done = padded.run(&drawn, b"", &fake, &Limits::default(), &mut Tools::default(), slot);
        let Ok(mut without) = without else {
            assert!(done.is_err(), "{list:?}");
            continue;
        };
        done.unwrap();
        without.truncate(without.len() - pts.len() * 8);
        strided += u32::from(!strides.is_empty());
        // Marked where a sample's elements are, the rest is padding.
        let mut marked = crate::data::buffer::Buffer::zeroed(whole);
        if !strides.is_empty() {
            let ones = super::Output { dtype: DType::U8, pad: 0.0, ..output.clone() };
            let mut slot = SlotMut { bytes: marked.bytes_mut(), shape: &shape, strides: inner, beside: None };
            slot.spread(&vec![1; shape.iter().product()], &ones);
            let gaps = marked.bytes().iter().zip(buffer.bytes().chunks_exact(size)).filter(|(mark, _)| **mark == 0);
            let pad = output.pad as f32;
            let pad = match output.dtype {
                DType::F32 => pad.to_ne_bytes().to_vec(),
                DType::F16 => half::f16::from_f32(pad).to_ne_bytes().to_vec(),
                DType::BF16 => half::bf16::from_f32(pad).to_ne_bytes().to_vec(),
                _ => vec![output.pad as i32 as u8],
            };
            assert_eq!(marked.bytes().iter().filter(|m| **m == 1).count(), shape.iter().product::<usize>());
            for (_, gap) in gaps {
                assert_eq!(gap, pad, "in a gap of {list:?}");
            }
        }
        let dense = crate::data::batch::Dense {
            buffer,
            shape: [&[1][..], &shape].concat(),
            strides: strides.to_vec(),
            dtype: output.dtype,
            lengths: Vec::new(),
            missing: Vec::new(),
        };
        assert!(*dense.packed() == without[..], "seed {seed}: {list:?}");
        assert!(align == 1 || strides.is_empty() || strides[0] * size % align as usize == 0);
    }
    assert!(strided > 250, "{strided}");
}

/// An operation's example. It names a file as a user would; here there is one.
fn example(entry: &OpEntry) -> String {
    let tokenizer = concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/tokenizers/wordpiece.json");
    entry.example.replace("tokenizer.json", tokenizer)
}

/// Facts that suit an operation's example, and the operations that must stand in front of it.
fn setting(name: &str) -> (Info, Vec<(String, String)>) {
    let front = |list: &[(&str, &str)]| list.iter().map(|(n, p)| ((*n).to_owned(), (*p).to_owned())).collect();
    let wave = Info { rate: 11_025, channels: 2, count: 7001, ..Info::of(Format::Wav) };
    let text = Info { count: 50, ..Info::of(Format::Utf8) };
    match name {
        "sample_frames" => (clip(30, 20, 9), front(&[])),
        "resample" | "pad_trim" | "channels" | "time_crop" => (wave, front(&[])),
        "log_mel" => (wave, front(&[("resample", "{\"rate\": 16000}")])),
        "bytes_to_ids" | "chars_to_ids" | "normalize_text" | "tokenize" => (text, front(&[])),
        "token_window" => (text, front(&[("bytes_to_ids", "{}")])),
        _ => (image(70, 50), front(&[])),
    }
}

#[test]
fn every_example_builds_and_keeps_its_word() {
    let mut seen = 0;
    for entry in ops().iter() {
        let (info, mut list) = setting(entry.name);
        list.push((entry.name.to_owned(), example(entry)));
        let fake = Fake { info, margin: 2 };
        let kind = info.format.kind();
        let fused = Chain::compile(kind, named(&list), true).unwrap();
        let plain = Chain::compile(kind, named(&list), false).unwrap();
        for key in (0..8).map(Key::new) {
            // Running holds what came out against `spec` and `facts`; here the bytes of both ways.
            if fused.output().is_some_and(|o| !o.is_late()) {
                let a = run(&fused, &fake, key, &mut Tools::default(), &[1, 2], 0xAA).unwrap();
                let b = run(&plain, &fake, key, &mut Tools::default(), &[1, 2], 0x55).unwrap();
                assert!(a == b, "{}", entry.name);
            }
            let drawn = fused.draw(&info, key);
            let late = |c: &Chain| c.run_late(&drawn, b"", &fake, &Limits::default(), &mut Tools::default()).unwrap();
            let (late, again) = (late(&fused), late(&plain));
            assert_eq!(late, again);
            let Some(output) = fused.output() else {
                assert!(late.bytes.len() <= fused.bytes(&drawn), "{}", entry.name);
                continue;
            };
            for ((extent, told), got) in output.shape.iter().zip(fused.extents(&drawn)).zip(&late.shape) {
                match extent {
                    Extent::Late => {}
                    Extent::AtMost(most) => assert!(got <= most, "{}", entry.name),
                    _ => assert_eq!(*got, told, "{}", entry.name),
                }
            }
            let known = !output.shape.iter().any(|e| matches!(e, Extent::AtMost(_) | Extent::Late));
            assert!(late.bytes.len() <= fused.bytes(&drawn) && (!known || late.bytes.len() == fused.bytes(&drawn)));
        }
        assert!(!entry.summary.is_empty() && entry.version > 0);
        seen += 1;
    }
    assert_eq!(seen, super::OPS.len());
    assert!(seen >= 13 || !cfg!(all(feature = "image", feature = "audio", feature = "video", feature = "text")));
}

/// What says that it draws nothing gives the same for every key, and may be stored.
#[test]
fn what_draws_says_so() {
    let mut random = Vec::new();
    for entry in ops().iter() {
        let (info, _) = setting(entry.name);
        let op = build(entry.name, &example(entry));
        let first = op.draw(&info, Key::new(0));
        let differs = (1..200).any(|key| op.draw(&info, Key::new(key)) != first);
        assert!(!differs || op.is_random(), "{} draws from its key and does not say so", entry.name);
        random.extend(op.is_random().then_some(entry.name));
    }
    for name in ["random_resized_crop", "horizontal_flip", "pad_trim", "time_crop", "token_window"] {
        assert!(random.contains(&name) || ops().get(name).is_err(), "{random:?}");
    }
}

#[test]
fn draws_are_a_function_of_key_facts_and_name() {
    let list = vec![
        ("random_resized_crop".to_owned(), "{\"size\": 16}".to_owned()),
        ("horizontal_flip".to_owned(), "{}".to_owned()),
        ("horizontal_flip".to_owned(), "{}".to_owned()),
    ];
    let chain = Chain::compile(Kind::Image, named(&list), true).unwrap();
    let info = image(90, 80);
    let all: Vec<_> = (0..200).map(|k| chain.draw(&info, Key::new(k))).collect();
    for (k, drawn) in all.iter().enumerate().rev() {
        assert_eq!(*drawn, chain.draw(&info, Key::new(k as u64)));
    }
    assert!(all.iter().any(|d| d.draws[1] != d.draws[2]), "operations of one name must not share their randomness");
    assert!(all.windows(2).filter(|w| w[0].draws[0] == w[1].draws[0]).count() < 5);
    assert_eq!((all[0].facts.width, all[0].facts.height), (16, 16));
}

#[test]
fn wrong_parameters_are_refused_with_the_operations_name_and_a_way_out() {
    let bad = [
        ("resize", "{}"),
        ("resize", "{\"size\": 0}"),
        ("resize", "{\"size\": [3]}"),
        ("resize", "{\"size\": 4, \"mode\": \"x\"}"),
        ("center_crop", "{\"size\": 70000}"),
        ("random_resized_crop", "{\"size\": 8, \"scale\": [0.5, 0.1]}"),
        ("random_resized_crop", "{\"size\": 8, \"ratio\": [0, 1]}"),
        ("horizontal_flip", "{\"p\": 2}"),
        ("normalize", "{\"mean\": [0, 0, 0], \"std\": [1, 0, 1]}"),
        ("normalize", "{\"mean\": [0, 0], \"std\": [1, 1]}"),
        ("to", "{}"),
        ("to", "{\"dtype\": \"i64\"}"),
        ("to", "{\"dtype\": \"u8\", \"unit\": true}"),
        ("to", "{\"dtype\": \"i8\"}"),
        ("to", "{\"dtype\": \"i8\", \"scale\": 0}"),
        ("to", "{\"dtype\": \"i8\", \"scale\": 1e-60}"),
        ("to", "{\"dtype\": \"i8\", \"scale\": 1, \"zero_point\": 128}"),
        ("to", "{\"dtype\": \"u8\", \"scale\": 1, \"zero_point\": -1}"),
        ("to", "{\"dtype\": \"u8\", \"zero_point\": 1}"),
        ("to", "{\"dtype\": \"f16\", \"scale\": 1}"),
        ("to", "{\"layout\": \"nchw\", \"unit\": true}"),
        ("to", "{\"row_align\": 48}"),
        ("to", "{\"pad_multiple\": 0}"),
        ("to", "{\"pad_channels\": 70000}"),
        ("sample_frames", "{}"),
        ("sample_frames", "{\"count\": 2, \"fps\": 3}"),
        ("sample_frames", "{\"fps\": 0}"),
        ("channels", "{}"),
        ("channels", "{\"to\": \"left\"}"),
        ("channels", "{\"to\": 0}"),
        ("channels", "{\"to\": []}"),
        ("time_crop", "{}"),
        ("time_crop", "{\"seconds\": 0}"),
        ("time_crop", "{\"seconds\": 1, \"start\": -1}"),
        ("time_crop", "{\"samples\": 1, \"start\": 1, \"mode\": \"random\"}"),
        ("time_crop", "{\"samples\": 1, \"seconds\": 1}"),
        ("resample", "{\"rate\": 0}"),
        ("pad_trim", "{\"samples\": 0}"),
        ("pad_trim", "{\"samples\": 1, \"seconds\": 1}"),
        ("log_mel", "{\"n_fft\": 1}"),
        ("log_mel", "{\"hop\": 0}"),
        ("log_mel", "{\"floor\": 0}"),
        ("log_mel", "{\"power\": 3}"),
        ("log_mel", "{\"f_min\": 900, \"f_max\": 800}"),
        ("bytes_to_ids", "{\"max_len\": 0}"),
        ("chars_to_ids", "{\"alphabet\": \"aba\"}"),
        ("chars_to_ids", "{\"alphabet\": \"\"}"),
        ("chars_to_ids", "{\"unknown_id\": 1}"),
        ("chars_to_ids", "{\"pad_to\": 0}"),
        ("normalize_text", "{}"),
        ("normalize_text", "{\"form\": \"nfx\"}"),
        ("token_window", "{\"length\": 0}"),
        ("token_window", "{\"length\": 4, \"mode\": \"end\"}"),
        ("tokenize", "{}"),
        ("tokenize", "{\"file\": \"nowhere/tokenizer.json\"}"),
        ("tokenize", "{\"file\": \"Cargo.toml\"}"),
        ("tokenize", "{\"file\": \"fixtures/tokenizers/unigram.json\", \"pad\": true}"),
        ("tokenize", "{\"file\": \"fixtures/tokenizers/unigram.json\", \"max_length\": 1}"),
        ("tokenize", "{\"file\": \"fixtures/tokenizers/byte_level.json\", \"max_length\": 9, \"pad\": true}"),
        ("bytes_to_ids", "{\"pad_id\": 9007199254740994}"),
    ];
    for (name, params) in bad {
        let refusal = (ops().get(name).unwrap().build)(&serde_json::from_str(params).unwrap()).unwrap_err().to_string();
        assert!(refusal.contains(&format!("\"{name}\"")) && refusal.contains("help: "), "{name} {params}: {refusal}");
    }
}

#[test]
fn what_does_not_follow_is_refused_before_the_first_batch() {
    type Refused = (Kind, &'static [(&'static str, &'static str)], &'static str);
    let bad: [Refused; 14] = [
        (Kind::Image, &[("to", "{\"layout\": \"nchw\"}"), ("resize", "{\"size\": 4}")], "x/1:resize"),
        (
            Kind::Image,
            &[("normalize", "{\"mean\": [0,0,0], \"std\": [1,1,1]}"), ("to", "{\"dtype\": \"u8\"}")],
            "x/1:to",
        ),
        (Kind::Image, &[("sample_frames", "{\"count\": 2}")], "takes clips"),
        (Kind::Video, &[("horizontal_flip", "{}"), ("sample_frames", "{\"count\": 2}")], "to the front"),
        (Kind::Audio, &[("resize", "{\"size\": 4}")], "a recording"),
        (Kind::Audio, &[("to", "{\"pad_channels\": 4}")], "pad_channels"),
        (Kind::Image, &[("to", "{\"row_align\": 64}"), ("horizontal_flip", "{}")], "at the end of the column's"),
        (Kind::Audio, &[("resample", "{\"rate\": 8000}"), ("channels", "{\"to\": 2}")], "to the front"),
        (Kind::Audio, &[("channels", "{\"to\": \"mono\"}"), ("channels", "{\"to\": 2}")], "x/1:channels"),
        (
            Kind::Audio,
            &[
                ("resample", "{\"rate\": 8000}"),
                ("pad_trim", "{\"seconds\": 1}"),
                ("time_crop", "{\"seconds\": 1, \"start\": 1}"),
            ],
            "longer than its start",
        ),
        (Kind::Audio, &[("log_mel", "{}")], "put a \"resample\" in front"),
        (Kind::Audio, &[("pad_trim", "{\"seconds\": 2}")], "put a \"resample\" in front"),
        (Kind::Audio, &[("resample", "{\"rate\": 8000}"), ("log_mel", "{\"f_max\": 7000}")], "4000 Hz"),
        (Kind::Image, &[("resize", "{\"size\": [4, 4]}"), ("center_crop", "{\"size\": 5}")], "at least 5 x 5"),
    ];
    for (kind, list, part) in bad {
        let list: Vec<_> = list.iter().map(|(n, p)| ((*n).to_owned(), (*p).to_owned())).collect();
        let refusal = Chain::compile(kind, named(&list), true).unwrap_err().to_string();
        assert!(refusal.contains(part) && refusal.contains("help: "), "{list:?}: {refusal}");
    }
}

#[test]
fn payloads_that_are_not_what_their_facts_say_are_faults() {
    let list = [("resize".to_owned(), "{\"size\": [8, 8]}".to_owned())];
    for fuse in [true, false] {
        let chain = Chain::compile(Kind::Image, named(&list), fuse).unwrap();
        let drawn = chain.draw(&image(20, 20), Key::new(1));
        for (width, height) in [(19, 20), (20, 21), (0, 0)] {
            let (fake, mut bytes) = (Fake { info: image(width, height), margin: 0 }, [0; 192]);
            let slot = SlotMut { bytes: &mut bytes, shape: &[8, 8, 3], strides: &[], beside: None };
            let fault = chain.run(&drawn, b"", &fake, &Limits::default(), &mut Tools::default(), slot).unwrap_err();
            assert_eq!(fault.reason, Reason::Corrupt);
        }
        // A slot that is too small, and facts of nothing.
        let fake = Fake { info: image(20, 20), margin: 0 };
        let slot = SlotMut { bytes: &mut [0; 191], shape: &[8, 8, 3], strides: &[], beside: None };
        assert!(chain.run(&drawn, b"", &fake, &Limits::default(), &mut Tools::default(), slot).is_err());
        let fake = Fake { info: image(0, 0), margin: 0 };
        let fault = run(&chain, &fake, Key::new(1), &mut Tools::default(), &[], 0);
        assert!(fault.is_err());
    }
    // A thin picture whose shorter side is enlarged is refused by its size, before anything is decoded or allocated.
    let list =
        [("resize".to_owned(), "{\"size\": 224}".to_owned()), ("center_crop".to_owned(), "{\"size\": 224}".to_owned())];
    let chain = Chain::compile(Kind::Image, named(&list), true).unwrap();
    let fault =
        run(&chain, &Fake { info: image(1, 60_000_000), margin: 0 }, Key::new(1), &mut Tools::default(), &[], 0);
    let fault = fault.unwrap_err();
    assert!(fault.reason == Reason::OverLimit && fault.message.contains("x/0:resize"), "{fault}");
}

#[test]
fn labels_follow_the_pixels() {
    let list = vec![
        ("resize".to_owned(), "{\"size\": [20, 40]}".to_owned()),
        ("center_crop".to_owned(), "{\"size\": [20, 20]}".to_owned()),
        ("horizontal_flip".to_owned(), "{\"p\": 1}".to_owned()),
    ];
    let chain = Chain::compile(Kind::Image, named(&list), true).unwrap();
    let objects = Objects { boxes: vec![[0.0, 0.0, 20.0, 20.0], [30.0, 10.0, 50.0, 40.0]], classes: vec![1, 2] };
    let mut labels = Labels { objects: Some(objects) };
    chain.labels(&chain.draw(&image(80, 40), Key::new(1)), &mut labels).unwrap();
    // Halved, 10 to the left, mirrored in 20: the first box lies left of the crop and is gone.
    assert_eq!(labels.objects, Some(Objects { boxes: vec![[5.0, 5.0, 15.0, 20.0]], classes: vec![2] }));
}

#[test]
fn text_and_late_lengths_are_delivered_by_run_late() {
    let info = Info { count: 40, ..Info::of(Format::Utf8) };
    let (fake, limits) = (Fake { info, margin: 0 }, Limits::default());
    let plain = Chain::compile(Kind::Text, Vec::new(), true).unwrap();
    assert!(plain.output().is_none());
    let late = plain.run_late(&plain.draw(&info, Key::new(0)), b"", &fake, &limits, &mut Tools::default()).unwrap();
    assert_eq!((late.bytes.len(), late.shape), (40, vec![40]));

    let ops: Vec<(String, Arc<dyn Op>)> = vec![("t/0:consonants".into(), Arc::new(Consonants))];
    let chain = Chain::compile(Kind::Text, ops, true).unwrap();
    assert!(chain.output().unwrap().is_late());
    let drawn = chain.draw(&info, Key::new(0));
    let got = chain.run_late(&drawn, b"", &fake, &limits, &mut Tools::default()).unwrap();
    assert!(got.bytes.len() < 40 && got.shape == [got.bytes.len()]);
    let slot = SlotMut { bytes: &mut [], shape: &[0], strides: &[], beside: None };
    assert!(chain.run(&drawn, b"", &fake, &limits, &mut Tools::default(), slot).is_err());
}

#[test]
fn a_bounded_column_is_padded_with_the_operations_value() {
    let list = [("bytes_to_ids".to_owned(), "{\"max_len\": 6, \"pad_id\": -7}".to_owned())];
    let chain = Chain::compile(Kind::Text, named(&list), true).unwrap();
    assert_eq!(chain.output().unwrap().shape, [Extent::Bounded(Fact::Count)]);
    let info = Info { count: 4, ..Info::of(Format::Utf8) };
    let bytes = run(&chain, &Fake { info, margin: 0 }, Key::new(0), &mut Tools::default(), &[3], 1).unwrap();
    let ids: Vec<i64> = bytes.as_chunks::<8>().0.iter().map(|b| i64::from_ne_bytes(*b)).collect();
    assert!(ids[..4].iter().all(|i| (97..123).contains(i)) && ids[4..] == [-7, -7, -7], "{ids:?}");
}

#[cfg(feature = "audio")]
#[test]
fn recordings_and_tensors_become_narrower_with_their_padding() {
    let info = Info { rate: 8000, channels: 1, count: 900, ..Info::of(Format::Wav) };
    let fake = Fake { info, margin: 0 };
    let out = |list: &[(&str, &str)]| {
        let list: Vec<_> = list.iter().map(|(n, p)| ((*n).to_owned(), (*p).to_owned())).collect();
        let chain = Chain::compile(Kind::Audio, named(&list), true).unwrap();
        let output = chain.output().unwrap().clone();
        (run(&chain, &fake, Key::new(1), &mut Tools::default(), &[0, 3], 7).unwrap(), output)
    };
    let mel = [("resample", "{\"rate\": 8000}"), ("log_mel", "{\"n_mels\": 4, \"n_fft\": 200, \"hop\": 80}")];
    let wide: Vec<f32> = bytemuck::pod_collect_to_vec(&out(&mel).0);
    for (params, dtype) in [
        ("{\"dtype\": \"f16\"}", DType::F16),
        ("{\"dtype\": \"bf16\"}", DType::BF16),
        ("{\"dtype\": \"i8\", \"scale\": 0.2, \"zero_point\": 60}", DType::I8),
        ("{\"dtype\": \"f32\"}", DType::F32),
    ] {
        let (bytes, output) = out(&[mel[0], mel[1], ("to", params)]);
        assert_eq!((output.dtype, bytes.len()), (dtype, wide.len() * dtype.size()));
        let quant = super::Quant { scale: 0.2, zero_point: 60 };
        for (x, got) in wide.iter().zip(bytes.chunks_exact(dtype.size())) {
            let want = match dtype {
                DType::F16 => half::f16::from_f32(*x).to_ne_bytes().to_vec(),
                DType::BF16 => half::bf16::from_f32(*x).to_ne_bytes().to_vec(),
                DType::I8 => vec![quant.value(*x, -128, 127) as u8],
                _ => x.to_ne_bytes().to_vec(),
            };
            assert_eq!(got, want, "{x} as {}", dtype.name());
        }
        // Three frames of padding behind the spectrogram: log_mel's floor, in the new type.
        assert!(
            output.pad < 0.0
                || dtype == DType::I8 && output.pad == f64::from(quant.value(wide[wide.len() - 1], -128, 127))
        );
    }
    let (bytes, output) = out(&[("to", "{\"dtype\": \"f16\"}")]);
    assert_eq!((bytes.len(), output.dtype), (1800, DType::F16));
    let chain = |list: &[(&str, &str)]| {
        let list: Vec<_> = list.iter().map(|(n, p)| ((*n).to_owned(), (*p).to_owned())).collect();
        Chain::compile(Kind::Audio, named(&list), true).unwrap_err().to_string()
    };
    assert!(chain(&[("to", "{\"layout\": \"nchw\"}")]).contains("a layout"));
    assert!(chain(&[("to", "{\"dtype\": \"f16\"}"), ("to", "{\"dtype\": \"f32\"}")]).contains("x/1:to"));
    assert!(chain(&[("to", "{\"dtype\": \"f16\"}"), mel[1]]).contains("x/1:log_mel"));
}

#[test]
fn a_draw_that_changes_nothing_is_lowered_to_keep_or_less() {
    let op = build("horizontal_flip", "{\"p\": 0}");
    assert_eq!(op.lower(&op.draw(&image(4, 4), Key::new(1))), Lowered::Keep);
}
