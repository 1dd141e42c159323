use std::path::Path;

use md5::{Digest as _, Md5};
use serde_json::Value;

use super::picture::{Plane, Planes};
use super::*;
use crate::codec::decode_shown;

/// A small generator, so that every run tries the same (splitmix64).
pub(super) struct Chance(pub(super) u64);

impl Chance {
    pub(super) fn below(&mut self, n: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ z >> 31) % n
    }
}

pub(super) fn read(name: &str) -> Vec<u8> {
    std::fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures").join(name)).unwrap()
}

/// Every clip of the fixtures that this build decodes, with what ffmpeg says of it.
pub(super) fn clips() -> Vec<(String, Vec<u8>, Value)> {
    let all: Value = serde_json::from_slice(&read("golden/video.json")).unwrap();
    let clips = all["clips"].as_object().unwrap();
    assert!(clips.len() >= 51, "only {} clips", clips.len());
    let lacking = |facts: &Value| match facts["codec"].as_str() {
        Some("av1") => cfg!(not(feature = "av1")),
        Some("mjpeg") => cfg!(not(feature = "image")),
        _ => false,
    };
    let here = clips.iter().filter(|(_, facts)| !lacking(facts));
    here.map(|(name, facts)| (name.clone(), read(name), facts.clone())).collect()
}

pub(super) fn container(bytes: &[u8]) -> Container {
    [MP4, MATROSKA].into_iter().find(|c| c.sniff(bytes)).unwrap()
}

/// All frames' times and pixels.
fn whole(bytes: &[u8]) -> Result<(Vec<i64>, Vec<u8>), Fault> {
    let mut scratch = Scratch::default();
    let decoded = container(bytes).decode(bytes, Want::Whole, &Limits::default(), &mut scratch).map(drop);
    decoded.map(|()| (scratch.times, scratch.bytes))
}

fn hex(digest: impl AsRef<[u8]>) -> String {
    digest.as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The MD5 of each presented frame as its decoder made it, cropped, in the order of presentation: of its planes, or of its RGB.
fn plane_digests(bytes: &[u8]) -> Vec<String> {
    let clip = Clip::open(bytes, &Limits::default(), container(bytes).read).unwrap();
    let mut wanted = clip.track.shown.clone();
    wanted.sort_unstable();
    let mut digests = vec![String::new(); clip.track.samples.len()];
    let size = clip.picture;
    clip.frames(&wanted, &Limits::default(), &mut |sample, planes| {
        /// Samples as ffmpeg writes them: one byte, or two with the low one first.
        fn add<S: Copy>(
            md5: &mut Md5,
            planes: &[Plane<'_, S>; 3],
            of: &super::picture::Picture,
            bytes: impl Fn(S) -> Vec<u8>,
        ) {
            let (x, y) = of.chroma.shifts();
            let count = if of.chroma == super::picture::Chroma::Mono { 1 } else { 3 };
            for (plane, (x, y)) in planes.iter().zip([(0, 0), (x, y), (x, y)]).take(count) {
                let [left, width] = [of.left, of.width].map(|n| n.div_ceil(1 << x) as usize);
                let [top, height] = [of.top, of.height].map(|n| n.div_ceil(1 << y) as usize);
                for row in top..top + height {
                    plane.row(row, left, width).iter().for_each(|&sample| md5.update(bytes(sample)));
                }
            }
        }
        let mut md5 = Md5::new();
        match planes {
            Planes::Bytes(planes) => add(&mut md5, &planes, &size, |s| vec![s]),
            Planes::Words(planes) if size.depth == 8 => {
                add(&mut md5, &planes, &size, |s| vec![u8::try_from(s).unwrap()])
            }
            Planes::Words(planes) => add(&mut md5, &planes, &size, |s| s.to_le_bytes().to_vec()),
            Planes::Pairs(planes) => add(&mut md5, &planes, &size, |s| s.to_vec()),
            Planes::Rgb(rgb) => md5.update(rgb),
        }
        digests[sample] = hex(md5.finalize());
        Ok(())
    })
    .unwrap();
    clip.track.shown.iter().map(|&sample| digests[sample].clone()).collect()
}

/// Times equal to ffprobe's and planes equal to ffmpeg's, bit for bit: none of the standards leaves room. JPEG does, in its
/// cosine transform: there the pixels are those of libjpeg-turbo, by Pillow.
#[test]
fn frames_are_those_of_ffmpeg() {
    for (name, bytes, facts) in clips() {
        let frames = facts["frames"].as_array().unwrap();
        let list = |field: &str| frames.iter().map(|f| f[field].clone()).collect::<Vec<Value>>();
        let (times, pixels) = whole(&bytes).unwrap_or_else(|fault| panic!("{name}: {fault}"));
        assert_eq!(times.into_iter().map(Value::from).collect::<Vec<_>>(), list("pts_us"), "{name}");
        let theirs = facts["rgb_md5"].as_array().cloned().unwrap_or_else(|| list("md5"));
        assert_eq!(plane_digests(&bytes).into_iter().map(Value::from).collect::<Vec<_>>(), theirs, "{name}");
        let info = container(&bytes).probe(&bytes, &Limits::default()).unwrap();
        let expected = [&facts["width"], &facts["height"]].map(|v| v.as_u64().unwrap());
        let (width, height) = info.orientation.size((info.width, info.height));
        assert_eq!([u64::from(width), u64::from(height)], expected, "{name}");
        assert_eq!(info.count, frames.len() as u64, "{name}");
        assert_eq!(pixels.len() as u64, info.count * expected[0] * expected[1] * 3, "{name}");
        let matroska = name.ends_with("mkv") || name.ends_with("webm");
        assert_eq!(info.format.name(), if matroska { "matroska" } else { "mp4" });
        let mut scratch = Scratch::default();
        for level in [Check::Header, Check::Entropy, Check::Decode] {
            assert_eq!(
                container(&bytes).check(&bytes, level, &Limits::default(), &mut scratch).unwrap(),
                info,
                "{name}"
            );
        }
    }
}

#[test]
fn facts_of_known_clips() {
    let info = |name: &str| container(&read(name)).probe(&read(name), &Limits::default()).unwrap();
    // 24 frames at 12 a second; the last one lasts a 12th of a second too.
    let b = info("clips/chart/b_frames.mp4");
    assert_eq!((b.width, b.height, b.count, b.rate, b.duration_us), (96, 64, 24, 12_000, 2_000_000));
    let cut = info("clips/chart/edit_list_cut.mp4");
    assert_eq!((cut.count, cut.rate, cut.duration_us), (21, 12_000, 1_750_000));
    let cropped = info("clips/dial/cropped_98x54.mp4");
    assert_eq!((cropped.width, cropped.height), (98, 54));
}

/// Turned by the track's matrix or pose, frames are those that ffmpeg's `autorotate` shows (within 1: the bound of `color`), in every
/// one of the eight ways.
#[test]
fn turned_frames_are_those_of_ffmpeg() {
    let golden = read("golden/video_rgb.safetensors");
    let tensors = safetensors::SafeTensors::deserialize(&golden).unwrap();
    let shown: Vec<String> =
        tensors.names().into_iter().filter(|n| n.starts_with("shown/")).map(str::to_owned).collect();
    assert_eq!(shown.len(), 11);
    for key in shown {
        let name = key.strip_prefix("shown/").unwrap();
        let (bytes, mut scratch) = (read(name), Scratch::default());
        let codec = container(&bytes);
        let info = codec.probe(&bytes, &Limits::default()).unwrap();
        let way: u32 = name.split("shown_").nth(1).unwrap()[..1].parse().unwrap();
        assert_eq!(info.orientation.code(), way, "{name}");
        let wanted = tensors.tensor(&key).unwrap();
        assert_eq!(wanted.shape(), [info.height as usize, info.width as usize, 3], "{name}");
        let times = [0, 1, 400_000];
        let decoded =
            decode_shown(&codec, &bytes, Want::Video { times_us: &times }, &info, &Limits::default(), &mut scratch);
        let Ok(Decoded::Pixels(pixels)) = decoded else { panic!("{name}") };
        assert_eq!((pixels.frames, pixels.width, pixels.height), (3, info.width, info.height), "{name}");
        assert_eq!(pixels.pts_us[0], 0, "{name}");
        let (first, rest) = pixels.data.split_at(wanted.data().len());
        assert!(first.iter().zip(wanted.data()).all(|(a, b)| a.abs_diff(*b) <= 1), "{name}");
        assert_eq!(first, &rest[..first.len()], "{name}");
        assert_ne!(first, &rest[first.len()..], "{name}: the dial moves");
    }
}

/// For any times the frames and times are those of the whole decode: near key frames, between frames, and far outside.
#[test]
fn wanted_frames_are_those_of_the_whole() {
    for (name, bytes, _) in clips() {
        wanted_equals_whole(&name, &bytes);
    }
}

fn wanted_equals_whole(name: &str, bytes: &[u8]) {
    let (times, pixels) = whole(bytes).unwrap_or_else(|fault| panic!("{name}: {fault}"));
    let one = pixels.len() / times.len();
    let mut chance = Chance(7);
    let mut scratch = Scratch::default();
    let step = times.len().div_ceil(100);
    let mut all: Vec<Vec<i64>> = times.iter().step_by(step).flat_map(|&t| [vec![t], vec![t - 1]]).collect();
    all.push(vec![]);
    for _ in 0..60 / step {
        let span = (times[times.len() - 1] + 200_000) as u64;
        let count = 1 + chance.below(9);
        let mut some: Vec<i64> = (0..count).map(|_| chance.below(span) as i64 - 50_000).collect();
        some.sort_unstable();
        all.push(some);
    }
    for wanted in all {
        let want = Want::Video { times_us: &wanted };
        let Ok(Decoded::Pixels(got)) = container(bytes).decode(bytes, want, &Limits::default(), &mut scratch) else {
            panic!("{name}: {wanted:?}");
        };
        assert_eq!(got.frames, wanted.len());
        for (n, &time) in wanted.iter().enumerate() {
            let frame = times.iter().rposition(|&t| t <= time).unwrap_or(0);
            assert_eq!(got.pts_us[n], times[frame], "{name}: at {time}");
            assert!(got.data[n * one..][..one] == pixels[frame * one..][..one], "{name}: at {time} of {wanted:?}");
        }
    }
}

/// Matrix and range are those that ffprobe sees, and a silent stream's are unspecified.
#[test]
fn colours_are_those_that_are_stated() {
    let mut seen = std::collections::BTreeSet::new();
    for (name, bytes, facts) in clips() {
        let clip = Clip::open(&bytes, &Limits::default(), container(&bytes).read).unwrap();
        let matrix = match facts["color_space"].as_str() {
            None => None,
            Some("gbr") => Some(0),
            Some("bt709") => Some(1),
            Some("bt470bg") => Some(5),
            Some("bt2020nc") => Some(9),
            Some(other) => panic!("{name}: {other}"),
        };
        let colour = crate::codec::container::Colour {
            matrix,
            full_range: facts["color_range"].as_str().map(|range| range == "pc"),
        };
        assert_eq!(clip.matrix, super::color::Matrix::of(&clip.picture, colour).unwrap(), "{name}");
        let format = facts["pixel_format"].as_str().unwrap();
        assert!(
            facts["rgb_md5"].is_array() || format.contains(&clip.picture.depth.to_string()) == (clip.picture.depth > 8)
        );
        seen.insert((matrix, colour.full_range, clip.picture.depth, clip.picture.chroma.name()));
    }
    assert!(seen.len() >= 11, "{seen:?}");
}

/// Pixels, frames, encoded and decoded bytes: each limit refuses each coding by itself, before anything is decoded.
#[test]
fn limits_hold_for_every_coding() {
    for (name, bytes, _) in clips() {
        let codec = container(&bytes);
        let clip = Clip::open(&bytes, &Limits::default(), codec.read).unwrap();
        let all = Limits::default();
        let tight = [
            Limits { pixels: clip.picture.coded - 1, ..all },
            Limits { frames: clip.track.samples.len() as u64 - 1, ..all },
            Limits { payload_bytes: bytes.len() as u64 - 1, ..all },
            Limits { decoded_bytes: clip.memory() - 1, ..all },
        ];
        for limits in tight {
            let fault = codec.probe(&bytes, &limits).unwrap_err();
            assert_eq!(fault.reason, Reason::OverLimit, "{name}: {limits:?}: {fault}");
        }
        assert!(codec.memory(&bytes, &codec.probe(&bytes, &all).unwrap()) >= clip.memory());
    }
}

/// Key frames alone are those of the whole decode: the container's keys, which ffprobe's are too.
#[test]
fn key_frames_are_those_of_the_container() {
    let mut compared = 0;
    for (name, bytes, facts) in clips() {
        let (times, pixels) = whole(&bytes).unwrap();
        let one = pixels.len() / times.len();
        let mut scratch = Scratch::default();
        let want = Want::Keys { from_us: i64::MIN, to_us: i64::MAX, most: u64::MAX };
        let Ok(Decoded::Pixels(got)) = container(&bytes).decode(&bytes, want, &Limits::default(), &mut scratch) else {
            panic!("{name}");
        };
        let frames = facts["frames"].as_array().unwrap();
        let keys: Vec<usize> = (0..times.len()).filter(|&n| frames[n]["key"] == true).collect();
        for (n, &time) in got.pts_us.iter().enumerate() {
            let frame = times.iter().position(|&t| t == time).unwrap();
            // An edit list may have hidden the key.
            assert!(keys.contains(&frame) || keys.is_empty(), "{name}: frame {frame} of {keys:?}");
            assert!(got.data[n * one..][..one] == pixels[frame * one..][..one], "{name}: frame {frame}");
        }
        assert!(got.frames == keys.len() || got.frames == 1, "{name}: {} keys of {}", got.frames, keys.len());
        compared += keys.len();
    }
    assert!(compared > 80, "{compared}");
}

/// Conversion follows the formula of `color` within 1 (its stated bound), here on ffmpeg's planes and against f64 in NumPy.
#[test]
fn colours_are_those_of_the_formula() {
    let bytes = read("golden/video_rgb.safetensors");
    let tensors = safetensors::SafeTensors::deserialize(&bytes).unwrap();
    let names = ["clips/chart/b_frames.mp4", "clips/dial/limited_range_bt709.mkv", "clips/dial/full_range_bt709.mp4"];
    for (n, name) in names.iter().enumerate() {
        let (_, pixels) = whole(&read(name)).unwrap();
        let formula = tensors.tensor(&format!("{n}/rgb_nearest")).unwrap().data();
        let apart = pixels.iter().zip(formula).map(|(a, b)| a.abs_diff(*b));
        assert!(apart.clone().max().unwrap() <= 1, "{name}");
        assert!(
            apart.map(usize::from).sum::<usize>() * 1000 < formula.len(),
            "{name}: only where the formula is near a half"
        );
    }
}

/// Whatever the bytes, the answer is a fault or frames, and never a panic out; what decodes has the header's facts.
#[test]
fn damage_is_answered() {
    let mut faults = std::collections::BTreeMap::new();
    let limits = Limits { pixels: 1 << 16, frames: 1000, decoded_bytes: 1 << 24, ..Limits::default() };
    for (name, bytes, _) in clips() {
        let mut chance = Chance(bytes.len() as u64);
        let codec = container(&bytes);
        let mut scratch = Scratch::default();
        for round in 0..60 {
            let mut bad = bytes.clone();
            let at = chance.below(bad.len() as u64) as usize;
            match round % 4 {
                0 => bad.truncate(at),
                1 => bad[at] ^= 1 << chance.below(8),
                2 => (0..8).for_each(|_| bad[chance.below(bytes.len() as u64) as usize] = chance.below(256) as u8),
                _ => drop(bad.drain(at..(at + 1 + chance.below(64) as usize).min(bytes.len()))),
            }
            let probed = codec.probe(&bad, &limits);
            match codec.check(&bad, Check::Decode, &limits, &mut scratch) {
                Ok(info) => assert_eq!(Ok(info), probed, "{name}: round {round}"),
                Err(fault) => *faults.entry(fault.reason.code()).or_insert(0) += 1,
            }
            let want = Want::Video { times_us: &[0, 500_000] };
            if let Ok(Decoded::Pixels(got)) = codec.decode(&bad, want, &limits, &mut scratch) {
                assert_eq!(got.data.len(), got.frames * got.width as usize * got.height as usize * 3);
            }
        }
    }
    println!("{faults:?}");
    assert!(faults["truncated"] > 50 && faults["corrupt"] > 50, "{faults:?}");
    assert_eq!(faults.get("decoder-panic"), None);
}

/// What is not decoded says so, by the name that people know it by, and by the feature that would help.
#[test]
#[cfg(not(feature = "ffmpeg"))]
fn other_codings_are_refused_by_name() {
    for (name, words) in [
        ("vp8_refused.webm", "VP8"),
        ("mpeg4_refused.mp4", "MPEG-4 part 2"),
        ("h265_422_refused.mp4", "10-bit 4:2:2 (range extensions)"),
        ("h264_10bit_refused.mp4", "10-bit 4:2:0 H.264"),
    ] {
        let bytes = read(&format!("clips_formats/{name}"));
        let fault = container(&bytes).probe(&bytes, &Limits::default()).unwrap_err();
        assert!(fault.reason == Reason::Unsupported && fault.message.contains(words), "{name}: {fault}");
        assert!(fault.message.contains("feature \"ffmpeg\""), "{name}: {fault}");
    }
}

/// Clips that only FFmpeg reads are refused by the name of their format or coding, and of the feature.
#[test]
#[cfg(not(feature = "ffmpeg"))]
fn what_ffmpeg_reads_is_refused_by_name() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/clips_ffmpeg");
    let mut seen = 0;
    for path in std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
        let bytes = std::fs::read(&path).unwrap();
        let found = crate::codec::sniff(&bytes, crate::data::info::Kind::Video);
        let fault = found.and_then(|codec| codec.probe(&bytes, &Limits::default())).unwrap_err();
        assert_eq!(fault.reason, Reason::Unsupported, "{}: {fault}", path.display());
        assert!(fault.message.contains("feature \"ffmpeg\""), "{}: {fault}", path.display());
        seen += 1;
    }
    assert!(seen > 20, "{seen}");
}

#[test]
fn hostile_files_are_refused_by_name() {
    for (name, reasons) in [
        ("truncated.mp4", &[Reason::Truncated][..]),
        ("truncated_faststart.mp4", &[Reason::Truncated]),
        ("truncated.mkv", &[Reason::Truncated]),
        ("sample_4gb.mp4", &[Reason::Truncated]),
        ("samples_4g.mp4", &[Reason::Corrupt, Reason::OverLimit]),
        ("random.mp4", &[Reason::Corrupt, Reason::Truncated]),
    ] {
        let bytes = read(&format!("hostile/{name}"));
        let fault = container(&bytes).check(&bytes, Check::Decode, &Limits::default(), &mut Scratch::default());
        let fault = fault.unwrap_err();
        assert!(reasons.contains(&fault.reason), "{name}: {fault}");
    }
    for codec in [MP4, MATROSKA] {
        assert_eq!(codec.probe(b"", &Limits::default()).unwrap_err().reason, Reason::Empty);
        let fault = codec.decode(&[0; 4096], Want::Whole, &Limits::default(), &mut Scratch::default()).unwrap_err();
        assert!(matches!(fault.reason, Reason::Corrupt | Reason::Truncated), "{fault}");
    }
}

/// Each limit refuses by itself, and what is just within it passes.
#[test]
fn limits_hold() {
    let bytes = read("clips/chart/b_frames.mp4");
    let exact = Limits {
        payload_bytes: bytes.len() as u64,
        pixels: 96 * 64,
        frames: 24,
        decoded_bytes: 24 * 96 * 64 * 3,
        ..Limits::default()
    };
    let mut scratch = Scratch::default();
    assert!(MP4.decode(&bytes, Want::Whole, &exact, &mut scratch).is_ok());
    let tight = [
        Limits { payload_bytes: exact.payload_bytes - 1, ..exact },
        Limits { pixels: exact.pixels - 1, ..exact },
        Limits { frames: exact.frames - 1, ..exact },
        Limits { decoded_bytes: exact.decoded_bytes - 1, ..exact },
    ];
    for limits in tight {
        let fault = MP4.decode(&bytes, Want::Whole, &limits, &mut scratch).unwrap_err();
        assert_eq!(fault.reason, Reason::OverLimit, "{limits:?}: {fault}");
        let seen = MP4.probe(&bytes, &limits).is_ok();
        assert_eq!(seen, limits.decoded_bytes < exact.decoded_bytes, "the header alone: {limits:?}");
    }
    let times = [0; 25];
    let fault = MP4.decode(&bytes, Want::Video { times_us: &times }, &exact, &mut scratch).unwrap_err();
    assert_eq!(fault.reason, Reason::OverLimit);
}

/// What is decoded is counted, also what is not handed over.
#[test]
fn work_is_counted() {
    let bytes = read("clips/dial/no_b_frames.mp4");
    let clip = Clip::open(&bytes, &Limits::default(), MP4.read).unwrap();
    let ten = Limits { pixels: 10 * 96 * 64 / 2048 + 1, ..Limits::default() };
    assert!(clip.frames(&[9], &ten, &mut |_, _| Ok(())).is_ok());
    let fault = clip.frames(&[10], &ten, &mut |_, _| Ok(())).unwrap_err();
    assert_eq!(fault.reason, Reason::OverLimit, "{fault}");
    assert!(clip.frames(&[20], &ten, &mut |_, _| Ok(())).is_ok(), "the second group begins at 12");
}

/// Compares a folder of clips with the ffmpeg that is installed. `FEEDSTOCK_CLIPS=folder cargo test -- --ignored ffmpeg_sweep`
#[test]
#[ignore = "needs ffmpeg, and a folder named by FEEDSTOCK_CLIPS"]
fn ffmpeg_sweep() {
    let run = |program: &str, args: &[&str], file: &Path| {
        let (before, after) = args.split_at(args.iter().position(|a| *a == "FILE").unwrap());
        let out = std::process::Command::new(program).args(before).arg(file).args(&after[1..]).output().unwrap();
        String::from_utf8_lossy(&out.stdout).into_owned()
    };
    let mut wrong = 0;
    let mut names: Vec<_> = std::fs::read_dir(std::env::var_os("FEEDSTOCK_CLIPS").unwrap()).unwrap().collect();
    names.sort_by_key(|entry| entry.as_ref().unwrap().path());
    for entry in names {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        let bytes = std::fs::read(&path).unwrap();
        let Some(codec) = [MP4, MATROSKA].into_iter().find(|c| c.sniff(&bytes)) else { continue };
        let info = match codec.check(&bytes, Check::Decode, &Limits::default(), &mut Scratch::default()) {
            Ok(info) => info,
            Err(fault) => {
                println!("{name}: {fault}");
                continue;
            }
        };
        let arguments =
            ["-v", "error", "-select_streams", "v:0", "-show_entries", "frame=pts_time", "-of", "csv=p=0", "FILE"];
        let theirs: Vec<String> = run("ffprobe", &arguments, &path)
            .lines()
            .map(|l| l.trim_matches(',').to_owned())
            .filter(|l| !l.is_empty())
            .collect();
        let (times, _) = whole(&bytes).unwrap();
        let ours: Vec<String> = times.iter().map(|t| format!("{:.6}", *t as f64 / 1e6)).collect();
        let arguments = [
            "-v",
            "error",
            "-noautorotate",
            "-flags",
            "unaligned",
            "-i",
            "FILE",
            "-map",
            "0:v:0",
            "-fps_mode",
            "passthrough",
            "-f",
            "framemd5",
            "-",
        ];
        let digests: Vec<String> = run("ffmpeg", &arguments, &path)
            .lines()
            .filter(|l| !l.starts_with('#'))
            .map(|l| l.rsplit(',').next().unwrap().trim().to_owned())
            .collect();
        let same_times = ours == theirs;
        // JPEGs are those of libjpeg-turbo, in RGB.
        let jpeg =
            run("ffprobe", &["-v", "error", "-show_entries", "stream=codec_name", "FILE"], &path).contains("mjpeg");
        let planes = if jpeg { digests.clone() } else { plane_digests(&bytes) };
        let same = planes.iter().zip(&digests).filter(|(a, b)| a == b).count();
        println!("{name}: {info:?}, times {same_times}, planes {same} of {} and {}", planes.len(), digests.len());
        wanted_equals_whole(&name, &bytes);
        if !same_times {
            println!("   ours {:?}\n theirs {:?}", &ours[..ours.len().min(8)], &theirs[..theirs.len().min(8)]);
        }
        wrong += usize::from(!same_times || planes != digests);
    }
    assert_eq!(wrong, 0, "clips that differ");
}
