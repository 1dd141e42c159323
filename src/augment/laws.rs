//! The laws over every operation: fused equals unfused byte for byte, draws are a function of the key, specs and facts
//! and results agree, every slot byte is written, wrong parameters are refused by name.

mod alone;
#[cfg(feature = "audio")]
mod recordings;

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

fn named<N: AsRef<str>, P: AsRef<str>>(ops: &[(N, P)]) -> Vec<(String, Arc<dyn Op>)> {
    let of = |(i, (name, params)): (usize, &(N, P))| {
        let (name, params) = (name.as_ref(), params.as_ref());
        (format!("x/{i}:{name}"), build(name, params))
    };
    ops.iter().enumerate().map(of).collect()
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
    let (name, params) = match s.below(10) {
        0 => ("resize", format!("{{\"size\": {}}}", side(s))),
        1 => ("resize", format!("{{\"size\": [{}, {}]}}", side(s), side(s))),
        2 => ("center_crop", format!("{{\"size\": [{}, {}]}}", side(s) / 2 + 1, side(s) / 2 + 1)),
        3 => ("random_resized_crop", format!("{{\"size\": {}}}", side(s))),
        4 | 5 => ("horizontal_flip", "{\"p\": 0.7}".into()),
        8 => {
            let (height, width) = (side(s), side(s));
            let padding = [s.below(height.min(6)), s.below(width.min(6))];
            let fill = ["0", "250", "[1, 2, 3]"][s.below(3) as usize];
            let needed = s.below(4) > 0;
            let size = format!("\"size\": [{height}, {width}], \"padding\": {padding:?}");
            ("random_crop", format!("{{{size}, \"fill\": {fill}, \"pad_if_needed\": {needed}}}"))
        }
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
