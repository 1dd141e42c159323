//! Laws of every method, over payloads of the fixtures and copies of them.

use super::*;
use crate::codec::tests::fixture;
use crate::codec::{Limits, Pixels, Scratch, Want, sniff};

/// A payload in memory of its own.
#[derive(Clone)]
enum Owned {
    Pixels { data: Vec<u8>, frames: usize, width: u32, height: u32 },
    Wave { data: Vec<f32>, channels: u32, rate: u32 },
    Text(String),
}

impl Owned {
    fn lend(&self) -> Decoded<'_> {
        match self {
            Owned::Pixels { data, frames, width, height } => Decoded::Pixels(Pixels {
                data,
                frames: *frames,
                width: *width,
                height: *height,
                origin: (0, 0),
                pts_us: &[],
            }),
            Owned::Wave { data, channels, rate } => {
                Decoded::Wave(crate::codec::Wave { data, channels: *channels, rate: *rate, start: 0 })
            }
            Owned::Text(text) => Decoded::Text(text),
        }
    }

    fn sketch(&self, method: &Method) -> Option<Vec<u8>> {
        (method.sketch)(&self.lend()).unwrap()
    }
}

/// Decodes a fixture as the method wants it.
fn decoded(path: &str, kind: Kind) -> Owned {
    let (bytes, limits, mut scratch) = (fixture(path), Limits::default(), Scratch::default());
    let codec = sniff(&bytes, kind).unwrap();
    let info = codec.probe(&bytes, &limits).unwrap();
    let times = clip_times(&info);
    let want = if kind == Kind::Video { Want::Video { times_us: &times } } else { Want::Whole };
    match codec.decode(&bytes, want, &limits, &mut scratch).unwrap() {
        Decoded::Pixels(p) => {
            Owned::Pixels { data: p.data.to_vec(), frames: p.frames, width: p.width, height: p.height }
        }
        Decoded::Wave(w) => Owned::Wave { data: w.data.to_vec(), channels: w.channels, rate: w.rate },
        Decoded::Text(text) => Owned::Text(text.to_owned()),
        Decoded::Elements(_) => unreachable!("no method compares tensors"),
    }
}

/// Payloads of a kind, all different things.
fn originals(kind: Kind) -> Vec<(String, Owned)> {
    let files = |folder: &str| {
        let path = format!("{}/fixtures/{folder}", env!("CARGO_MANIFEST_DIR"));
        let mut names: Vec<String> = std::fs::read_dir(path)
            .unwrap()
            .map(|e| format!("{folder}/{}", e.unwrap().file_name().into_string().unwrap()))
            .collect();
        names.sort();
        names
    };
    let paths = match kind {
        Kind::Image => ["pants", "shoes", "t-shirt"].iter().flat_map(|c| files(&format!("images/train/{c}"))).collect(),
        Kind::Audio => files("digits"),
        Kind::Video => ["clips/chart/b_frames.mp4", "clips/dial/no_b_frames.mp4"].map(String::from).to_vec(),
        Kind::Text => {
            let Owned::Text(play) = decoded("text/shakespeare_20k.txt", kind) else { unreachable!() };
            let parts = play.split("\n\n").filter(|part| part.len() > 200);
            return parts.enumerate().map(|(n, part)| (format!("part {n}"), Owned::Text(part.into()))).collect();
        }
        Kind::Tensor => unreachable!("no method compares tensors"),
    };
    paths.into_iter().map(|path| (path.clone(), decoded(&path, kind))).collect()
}

/// Copies that count as nearly alike.
fn copies(of: &Owned) -> Vec<(&'static str, Owned)> {
    match of {
        Owned::Pixels { data, frames, width, height } => {
            let (w, h) = (*width as usize, *height as usize);
            let levels = |change: &dyn Fn(usize, u8) -> i32| {
                let data = data.iter().enumerate().map(|(n, v)| change(n, *v).clamp(0, 255) as u8).collect();
                Owned::Pixels { data, frames: *frames, width: *width, height: *height }
            };
            // Of each frame the rows and columns that are named.
            let picked = |rows: Vec<usize>, columns: Vec<usize>| {
                let mut made = Vec::new();
                for (frame, y) in (0..*frames).flat_map(|f| rows.iter().map(move |y| (f, y))) {
                    columns.iter().for_each(|x| made.extend(&data[((frame * h + y) * w + x) * 3..][..3]));
                }
                let (width, height) = (columns.len() as u32, rows.len() as u32);
                Owned::Pixels { data: made, frames: *frames, width, height }
            };
            let (all_rows, all_columns): (Vec<_>, Vec<_>) = ((0..h).collect(), (0..w).collect());
            let within = |side: usize| (side / 40..side - side / 40).collect::<Vec<_>>();
            vec![
                ("brighter", levels(&|_, v| i32::from(v) * 110 / 100)),
                ("less contrast", levels(&|_, v| (i32::from(v) - 128) * 85 / 100 + 128)),
                (
                    "noise",
                    levels(&|n, v| i32::from(v) + (xxhash_rust::xxh3::xxh3_64(&n.to_le_bytes()) % 17) as i32 - 8),
                ),
                ("doubled", picked((0..2 * h).map(|y| y / 2).collect(), (0..2 * w).map(|x| x / 2).collect())),
                ("mirrored", picked(all_rows, all_columns.into_iter().rev().collect())),
                ("cropped", picked(within(h), within(w))),
            ]
        }
        Owned::Wave { data, channels, rate } => {
            let with = |data: Vec<f32>| Owned::Wave { data, channels: *channels, rate: *rate };
            let power = data.iter().map(|v| v * v).sum::<f32>() / data.len().max(1) as f32;
            // Uniform, 20 dB below.
            let size = (power / 100.0 * 12.0).sqrt();
            let noise = |n: usize| (xxhash_rust::xxh3::xxh3_64(&n.to_le_bytes()) >> 40) as f32 / (1 << 24) as f32 - 0.5;
            vec![
                ("quieter", with(data.iter().map(|v| v / 2.0).collect())),
                ("noise", with(data.iter().enumerate().map(|(n, v)| v + size * noise(n)).collect())),
                ("later", with([vec![0.0; *rate as usize / 50], data.clone()].concat())),
                ("8 bits", with(data.iter().map(|v| (v * 128.0).round() / 128.0).collect())),
                (
                    "stereo",
                    Owned::Wave { data: data.iter().flat_map(|v| [*v, *v / 2.0]).collect(), channels: 2, rate: *rate },
                ),
            ]
        }
        Owned::Text(text) => {
            let slip = |(n, c): (usize, char)| if n % 83 == 40 && c.is_alphabetic() { 'x' } else { c };
            vec![
                ("upper case", Owned::Text(text.to_uppercase())),
                ("one line", Owned::Text(text.split_whitespace().collect::<Vec<_>>().join(" "))),
                ("no punctuation", Owned::Text(text.replace(['.', ',', ';', ':', '!', '?'], ""))),
                ("slips", Owned::Text(text.chars().enumerate().map(slip).collect())),
            ]
        }
    }
}

/// Nothing that could be compared.
fn nothing(kind: Kind) -> Vec<Owned> {
    match kind {
        Kind::Image | Kind::Video => {
            let frames = if kind == Kind::Video { FRAMES as usize } else { 1 };
            let flat = |side: u32, level: u8| Owned::Pixels {
                data: vec![level; (side * side) as usize * 3 * frames],
                frames,
                width: side,
                height: side,
            };
            vec![flat(1, 7), flat(80, 0), flat(80, 255), flat(300, 90)]
        }
        Kind::Audio => {
            let wave = |data: Vec<f32>, rate: u32| Owned::Wave { data, channels: 1, rate };
            vec![
                wave(vec![], 8_000),
                wave(vec![0.0; 16_000], 8_000),
                wave(vec![0.25; 16_000], 8_000),
                wave(vec![0.1; 10], 8_000),
            ]
        }
        Kind::Text => ["", " \n\t", "Yes.", "!?!?!?!?!?!?!?!?!?!?!?!?!?!?!?!?"].map(|t| Owned::Text(t.into())).to_vec(),
        Kind::Tensor => vec![],
    }
}

#[test]
fn a_method_is_the_only_one_of_its_kind() {
    for method in METHODS {
        assert!(std::ptr::eq(of_kind(method.kind).unwrap(), method), "{}", method.name);
        assert!((0.0..=1.0).contains(&method.threshold) && method.version > 0 && !method.summary.is_empty());
    }
    assert!(of_kind(Kind::Tensor).is_none());
    let wrong = [Owned::Text("a".into()), Owned::Wave { data: vec![], channels: 1, rate: 8_000 }];
    for (method, other) in METHODS.iter().flat_map(|m| wrong.iter().map(move |w| (m, w))) {
        let same = matches!((method.kind, other), (Kind::Text, Owned::Text(_)) | (Kind::Audio, Owned::Wave { .. }));
        assert_eq!((method.sketch)(&other.lend()).is_err(), !same, "{}", method.name);
    }
}

#[test]
fn sketches_of_the_same_are_the_same_and_similarity_has_no_order() {
    for method in METHODS {
        let of: Vec<(String, Owned)> = originals(method.kind);
        let sketches: Vec<Vec<u8>> =
            of.iter().map(|(name, payload)| payload.sketch(method).unwrap_or_else(|| panic!("{name}"))).collect();
        assert!(sketches.len() >= 2, "{}", method.name);
        for (n, a) in sketches.iter().enumerate() {
            assert_eq!(Some(a), of[n].1.sketch(method).as_ref(), "{}", of[n].0);
            assert_eq!((method.similarity)(a, a), 1.0, "{}", of[n].0);
            let keys = (method.keys)(a);
            let unique: std::collections::BTreeSet<_> = keys.iter().collect();
            assert!(!keys.is_empty() && keys.len() <= KEYS && unique.len() == keys.len(), "{}", of[n].0);
            for (m, b) in sketches.iter().enumerate().take(n) {
                let both = ((method.similarity)(a, b), (method.similarity)(b, a));
                assert_eq!(both.0.to_bits(), both.1.to_bits(), "{} and {}", of[n].0, of[m].0);
                assert!((0.0..=1.0).contains(&both.0), "{both:?}");
                assert!(both.0 < method.threshold, "{} and {} are alike: {both:?}", of[n].0, of[m].0);
            }
        }
    }
}

/// Copies are above the threshold, and what is above the threshold shares a key.
#[test]
fn copies_are_alike_and_share_a_key() {
    for method in METHODS {
        let mut missed = Vec::new();
        for (name, payload) in originals(method.kind) {
            let sketch = payload.sketch(method).unwrap();
            let keys = (method.keys)(&sketch);
            for (how, copy) in copies(&payload) {
                let Some(copy) = copy.sketch(method) else { panic!("{name} {how}: no sketch") };
                let shared = (method.keys)(&copy).iter().any(|key| keys.contains(key));
                let similarity = (method.similarity)(&sketch, &copy);
                if similarity < method.threshold || !shared {
                    missed.push(format!("{}: {name}, {how}: {similarity:.3}, a key shared: {shared}", method.name));
                }
            }
        }
        assert!(missed.is_empty(), "{missed:#?}");
    }
}

#[test]
fn of_nothing_there_is_no_sketch() {
    for method in METHODS {
        for (n, payload) in nothing(method.kind).iter().enumerate() {
            assert_eq!(payload.sketch(method), None, "{} {n}", method.name);
        }
    }
}

/// Bytes that are no sketch, or a sketch of something that never was, neither panic nor leave the bounds.
#[test]
fn any_bytes_are_compared() {
    for method in METHODS {
        let of = originals(method.kind);
        let sketch = of[0].1.sketch(method).unwrap();
        let mut all: Vec<Vec<u8>> = crate::codec::mutants(&sketch, 60).collect();
        all.extend([vec![], vec![0], vec![255; 3], vec![0; sketch.len()], vec![255; sketch.len()], vec![7; 100_000]]);
        for a in &all {
            let keys = (method.keys)(a);
            assert!(keys.len() <= KEYS, "{}: {} keys", method.name, keys.len());
            for b in all.iter().step_by(7).chain([&sketch]) {
                let (there, back) = ((method.similarity)(a, b), (method.similarity)(b, a));
                assert!((0.0..=1.0).contains(&there), "{}: {there}", method.name);
                assert_eq!(there.to_bits(), back.to_bits(), "{}", method.name);
            }
        }
    }
}

/// Who changes a sketch raises the method's version, and freezes the new one here.
#[test]
fn sketches_are_frozen() {
    let frozen: &[(&str, u32, u64)] = &[
        ("dct", 1, 0x2ca8_a83c_ac81_38ec),
        ("dct-frames", 1, 0xf2d9_f731_c420_a3e3),
        ("band-energies", 1, 0x7bb7_7d6a_34e8_65a3),
        ("minhash", 1, 0xe35a_162e_4363_698e),
    ];
    let mut others = Vec::new();
    for method in METHODS {
        let mut all = Vec::new();
        for (_, payload) in originals(method.kind) {
            let sketch = payload.sketch(method).unwrap();
            all.extend((method.keys)(&sketch).iter().flat_map(|key| key.to_le_bytes()));
            all.extend(sketch);
        }
        let hash = xxhash_rust::xxh3::xxh3_64(&all);
        if !frozen.contains(&(method.name, method.version, hash)) {
            others.push(format!("{} {}: {hash:#018x}", method.name, method.version));
        }
    }
    assert!(others.is_empty(), "not what was frozen: {others:#?}");
}

#[test]
fn times_of_frames_lie_within_the_clip() {
    for duration_us in [0, 1, 9, 10, 2_000_000, u64::MAX] {
        let info = Info { duration_us, ..Info::of(crate::data::info::Format::Mp4) };
        let times = clip_times(&info);
        assert_eq!(times.len() as u64, FRAMES);
        assert!(times.is_sorted() && times.iter().all(|t| *t >= 0 && *t as u64 <= duration_us), "{times:?}");
    }
    let info = Info { duration_us: 2_000_000, ..Info::of(crate::data::info::Format::Mp4) };
    assert_eq!(clip_times(&info), [200_000, 600_000, 1_000_000, 1_400_000, 1_800_000]);
}

/// Sizes at the edge, and samples that are no numbers.
#[test]
fn odd_payloads_have_a_sketch_or_none() {
    for method in METHODS.iter().filter(|m| matches!(m.kind, Kind::Image | Kind::Video)) {
        for (width, height) in [(1, 9), (9, 1), (2, 2), (1, 3_000), (3_000, 1), (3, 5)] {
            let one = (0..width * height).flat_map(|n| [(n * 91 % 256) as u8; 3]);
            let data: Vec<u8> = (0..FRAMES).flat_map(|_| one.clone()).collect();
            let frames = if method.kind == Kind::Video { FRAMES as usize } else { 1 };
            let data = data[..data.len() / FRAMES as usize * frames].to_vec();
            let payload = Owned::Pixels { data, frames, width, height };
            // Thousands of pixels that go up and down are one gray, reduced.
            let flat = width.max(height) == 3_000;
            assert_eq!(payload.sketch(method).is_none(), flat, "{} {width} x {height}", method.name);
        }
        let cut = Owned::Pixels { data: vec![9; 10], frames: 1, width: 50, height: 50 };
        assert!(!matches!((method.sketch)(&cut.lend()), Ok(Some(_))), "{}", method.name);
    }
    for method in METHODS.iter().filter(|m| m.kind == Kind::Audio) {
        let bad = [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, f32::MAX, f32::MIN_POSITIVE, 0.0];
        for (rate, channels) in [(0, 1), (1, 1), (8_000, 1), (8_000, 7), (48_000, 2), (u32::MAX, 1)] {
            for data in [vec![], vec![1.0; 5], (0..50_000).map(|n| bad[n * n % 6]).collect()] {
                let sketch = Owned::Wave { data, channels, rate }.sketch(method);
                let itself = sketch.as_ref().map(|s| (method.similarity)(s, s));
                assert!(itself.is_none_or(|s| s == 1.0), "{rate} {channels}: {itself:?}");
            }
        }
    }
}
