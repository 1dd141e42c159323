use std::path::Path;

use md5::{Digest as _, Md5};
use serde_json::Value;

use super::*;
use crate::data::info::Kind;
use crate::error::Reason;

fn hex(bytes: &[u8]) -> String {
    Md5::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The reader of a file of any of the containers.
fn muxed(bytes: &[u8]) -> Muxed {
    let all = [AVI, MPEGTS, MPEGPS, FLV, ASF, OGV, MXF];
    let video = |format: Format| if format == Format::Mp4 { MP4 } else { MATROSKA };
    let own = [super::super::MP4, super::super::MATROSKA];
    all.into_iter()
        .find(|m| m.sniff(bytes))
        .unwrap_or_else(|| video(own.into_iter().find(|c| c.sniff(bytes)).unwrap().format()))
}

/// All frames' times and pixels.
fn whole(bytes: &[u8]) -> Result<(Vec<i64>, Vec<u8>), Fault> {
    let mut scratch = Scratch::default();
    muxed(bytes).decode(bytes, Want::Whole, &Limits::default(), &mut scratch)?;
    Ok((scratch.times, scratch.bytes))
}

/// The MD5 of each presented frame's samples as they are decoded.
fn digests(bytes: &[u8]) -> Result<Vec<String>, Fault> {
    let clip = muxed(bytes).open(bytes, &Limits::default())?;
    let mut digests = Vec::new();
    clip.everything(&Limits::default(), &mut |_, frame| {
        digests.push(hex(&frame.raw()));
        Ok(())
    })?;
    Ok(digests)
}

fn read(name: &str) -> Vec<u8> {
    std::fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures").join(name)).unwrap()
}

/// Every clip of a golden file, with what ffmpeg says of it.
fn clips(golden: &str) -> Vec<(String, Vec<u8>, Value)> {
    let all: Value = serde_json::from_slice(&read(golden)).unwrap();
    let clips = all["clips"].as_object().unwrap();
    assert!(clips.len() >= 20, "only {} clips", clips.len());
    clips.iter().map(|(name, facts)| (name.clone(), read(name), facts.clone())).collect()
}

/// The codec that an ingest would take.
fn codec(bytes: &[u8]) -> &'static dyn Codec {
    crate::codec::sniff(bytes, Kind::Video).unwrap()
}

/// Times as ffprobe has them and samples equal to ffmpeg's, through the codec that an ingest takes.
#[test]
fn frames_are_those_of_ffmpeg() {
    let mut formats = std::collections::BTreeSet::new();
    for (name, bytes, facts) in clips("golden/ffmpeg.json") {
        let own = muxed(&bytes);
        let base: Vec<u64> = facts["time_base"].as_str().unwrap().split('/').map(|n| n.parse().unwrap()).collect();
        let ticks: Vec<i64> = facts["ticks"].as_array().unwrap().iter().map(|t| t.as_i64().unwrap()).collect();
        let zero = if own.from_first { ticks[0] } else { 0 };
        let expected: Vec<i64> = ticks.iter().map(|t| microseconds(t - zero, (base[0], base[1])).unwrap()).collect();
        let mut scratch = Scratch::default();
        let limits = Limits::default();
        let info = codec(&bytes).probe(&bytes, &limits).unwrap_or_else(|fault| panic!("{name}: {fault}"));
        for level in [Check::Header, Check::Entropy, Check::Decode] {
            assert_eq!(codec(&bytes).check(&bytes, level, &limits, &mut scratch).as_ref(), Ok(&info), "{name}");
        }
        let size = [&facts["width"], &facts["height"]].map(|v| v.as_u64().unwrap() as u32);
        assert_eq!(([info.width, info.height], info.count), (size, ticks.len() as u64), "{name}");
        codec(&bytes).decode(&bytes, Want::Whole, &limits, &mut scratch).unwrap();
        assert_eq!(scratch.times, expected, "{name}");
        let md5: Vec<Value> = digests(&bytes).unwrap().into_iter().map(Value::from).collect();
        assert_eq!(md5, *facts["md5"].as_array().unwrap(), "{name}");
        let one = size[0] as usize * size[1] as usize * 3;
        assert_eq!(scratch.bytes.len(), one * ticks.len(), "{name}");
        // What no formula is for here is converted as swscale does it when it is told to be exact.
        let pixels = facts["pixel_format"].as_str().unwrap();
        if !pixels.starts_with("yuv4") && !pixels.starts_with("yuvj4") || pixels.contains("411") {
            let rgb: Vec<Value> = scratch.bytes.chunks(one).map(|frame| Value::from(hex(frame))).collect();
            assert_eq!(rgb, *facts["swscale_md5"].as_array().unwrap(), "{name}: {pixels}");
        }
        formats.insert(info.format.name());
    }
    assert_eq!(formats.len(), 9, "{formats:?}");
}

/// FFmpeg's way gives the pixels and times of the decoders in Rust, where both read a clip. (Not of Motion JPEG: how its cosine
/// transform is rounded is left to the decoder.)
#[test]
fn both_ways_are_equal() {
    let mut seen = 0;
    for (name, bytes, facts) in clips("golden/video.json") {
        let mut scratch = Scratch::default();
        let ours = codec(&bytes).decode(&bytes, Want::Whole, &Limits::default(), &mut scratch);
        if facts["codec"] == "mjpeg" || ours.is_err() {
            continue; // a build without AV1 has no decoder for some
        }
        let (times, pixels) = whole(&bytes).unwrap_or_else(|fault| panic!("{name}: {fault}"));
        assert_eq!(times, scratch.times, "{name}");
        assert!(pixels == scratch.bytes, "{name}");
        seen += 1;
    }
    assert!(seen >= 30, "{seen}");
}

/// For any times the frames and times are those of the whole decode, which is what starting at a key must not change.
#[test]
fn wanted_frames_are_those_of_the_whole() {
    for (name, bytes, _) in clips("golden/ffmpeg.json") {
        wanted_is_whole(&bytes).unwrap_or_else(|what| panic!("{name}: {what}"));
    }
}

/// A wanted frame in the second group of pictures is decoded from there on.
#[test]
fn decoding_begins_at_a_key() {
    let bytes = read("clips_ffmpeg/h264_b_frames.flv");
    let clip = FLV.open(&bytes, &Limits::default()).unwrap();
    let three = Limits { pixels: 64 * 48, ..Limits::default() };
    let starts: Vec<usize> = clip.packets.shown.iter().map(|&at| clip.start(at)).collect();
    assert_eq!(starts.iter().collect::<std::collections::BTreeSet<_>>().len(), 3, "{starts:?}");
    assert!(clip.frames(&[clip.packets.shown[17]], &three, &mut |_, _| Ok(())).is_ok());
    // An open group begins at a recovery point; its leading pictures begin one group further back.
    let bytes = read("clips_ffmpeg/h264_open_gop.ts");
    let clip = MPEGTS.open(&bytes, &Limits::default()).unwrap();
    let starts: Vec<usize> = clip.packets.shown.iter().map(|&at| clip.start(at)).collect();
    assert!(starts.windows(2).all(|pair| pair[0] <= pair[1]) && starts[19] > 8, "{starts:?}");
}

/// Whatever the bytes, the answer is a fault or frames; what decodes has the header's facts.
#[test]
fn damage_is_answered() {
    let (mut faults, mut taken, mut all) = (std::collections::BTreeMap::new(), 0, 0);
    let limits = Limits { pixels: 1 << 16, frames: 1000, decoded_bytes: 1 << 24, ..Limits::default() };
    for (name, bytes, _) in clips("golden/ffmpeg.json") {
        let (own, mut scratch, mut good) = (muxed(&bytes), Scratch::default(), 0);
        for bad in crate::codec::mutants(&bytes, 60) {
            let probed = own.probe(&bad, &limits);
            match Codec::check(&own, &bad, Check::Decode, &limits, &mut scratch) {
                Ok(info) => {
                    good += 1;
                    assert_eq!(Ok(info), probed, "{name}");
                }
                Err(fault) => {
                    assert!(!fault.message.contains('\n') && fault.message.len() < 500, "{fault}");
                    *faults.entry(fault.reason.code()).or_insert(0) += 1;
                }
            }
            let want = Want::Video { times_us: &[0, 500_000] };
            if let Ok((width, height)) = Muxed::decode(&own, &bad, want, &limits, &mut scratch) {
                assert_eq!(scratch.bytes.len(), scratch.times.len() * width as usize * height as usize * 3);
            }
        }
        // Of transport streams of a small picture most bytes are stuffing, and uncompressed pixels may have any value.
        assert!(good < 60, "{name}: every damaged file is taken");
        (taken, all) = (taken + good, all + 60);
    }
    assert!(taken * 3 < all * 2, "{taken} of {all} damaged files are taken");
    println!("{faults:?}");
    assert!(faults["truncated"] > 50 && faults["corrupt"] > 100, "{faults:?}");
    assert_eq!(faults.get("decoder-panic"), None);
}

/// A file that ends early is refused where the container tells how long it is.
#[test]
fn cut_files_are_refused() {
    for (name, bytes, _) in clips("golden/ffmpeg.json") {
        let own = codec(&bytes);
        // These are written to be cut: what there is of them is whole.
        if matches!(own.format(), Format::MpegTs | Format::MpegPs | Format::Ogv | Format::Asf | Format::Flv) {
            continue;
        }
        for part in [bytes.len() / 2, bytes.len() * 3 / 4] {
            let cut = own.check(&bytes[..part], Check::Decode, &Limits::default(), &mut Scratch::default());
            assert!(cut.is_err(), "{name}: {part} of {} bytes are taken", bytes.len());
        }
    }
}

/// Each limit refuses by itself, and what is just within it passes.
#[test]
fn limits_hold() {
    for (name, own) in [("mpeg2_b_frames.ts", MPEGTS), ("mpeg4_b_frames.avi", AVI), ("h264_10bit_422.mp4", MP4)] {
        let bytes = read(&format!("clips_ffmpeg/{name}"));
        let pixels = 64 * 48;
        let exact = Limits {
            payload_bytes: bytes.len() as u64,
            pixels,
            frames: 20,
            decoded_bytes: 20 * pixels * 3,
            ..Limits::default()
        };
        let mut scratch = Scratch::default();
        // A decoder keeps up to 18 pictures, which is less than 20 frames of RGB.
        Muxed::decode(&own, &bytes, Want::Whole, &exact, &mut scratch)
            .unwrap_or_else(|fault| panic!("{name}: {fault}"));
        let tight = [
            Limits { payload_bytes: exact.payload_bytes - 1, ..exact },
            Limits { pixels: exact.pixels - 1, ..exact },
            Limits { frames: exact.frames - 1, ..exact },
            Limits { decoded_bytes: exact.decoded_bytes - 1, ..exact },
        ];
        for limits in tight {
            let fault = Muxed::decode(&own, &bytes, Want::Whole, &limits, &mut scratch).unwrap_err();
            assert_eq!(fault.reason, Reason::OverLimit, "{name}: {limits:?}: {fault}");
        }
    }
}

/// Playlists and lists of files are no containers here, and a demuxer opens nothing by name.
#[test]
fn nothing_else_is_opened() {
    let secret = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(secret.path(), read("clips_ffmpeg/mpeg4_b_frames.avi")).unwrap();
    let path = secret.path().display();
    let lists = [
        format!("#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\nfile://{path}\n#EXT-X-ENDLIST\n"),
        format!("ffconcat version 1.0\nfile '{path}'\n"),
        format!("file '{path}'\n"),
    ];
    for list in &lists {
        assert!(crate::codec::sniff(list.as_bytes(), Kind::Video).is_err());
        for own in [AVI, MPEGTS, MPEGPS, FLV, ASF, OGV, MXF, MP4, MATROSKA] {
            assert!(own.probe(list.as_bytes(), &Limits::default()).is_err(), "{own:?}");
        }
    }
    for name in [c"hls", c"concat", c"image2", c"lavfi", c"sdp"] {
        for list in &lists {
            let read = input::Input::open(list.as_bytes(), name).and_then(|mut input| input.packet());
            assert!(!matches!(read, Ok(Some(_))), "{name:?}");
        }
    }
}

/// Compares a folder of clips with the ffmpeg that is installed. `FEEDSTOCK_CLIPS=folder cargo test -- --ignored muxed_sweep`
#[test]
#[ignore = "needs ffmpeg, and a folder named by FEEDSTOCK_CLIPS"]
fn muxed_sweep() {
    let run = |program: &str, args: &str, file: &Path| {
        let mut command = std::process::Command::new(program);
        for arg in args.split(' ') {
            if arg == "FILE" {
                command.arg(file)
            } else {
                command.arg(arg)
            };
        }
        String::from_utf8_lossy(&command.output().unwrap().stdout).into_owned()
    };
    let mut wrong = 0;
    let mut names: Vec<_> = std::fs::read_dir(std::env::var_os("FEEDSTOCK_CLIPS").unwrap()).unwrap().collect();
    names.sort_by_key(|entry| entry.as_ref().unwrap().path());
    for path in names.into_iter().map(|entry| entry.unwrap().path()) {
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        let bytes = std::fs::read(&path).unwrap();
        let found = muxed(&bytes).open(&bytes, &Limits::default()).and_then(|clip| {
            let times = muxed(&bytes).times(&clip)?;
            Ok((times, digests(&bytes)?, clip.packets.certain, muxed(&bytes).info(&clip, &Limits::default())?))
        });
        let (times, planes, _, info) = match found {
            Ok(found) => found,
            Err(fault) => {
                println!("{name}: {fault}");
                wrong += 1;
                continue;
            }
        };
        let arguments = "-v error -select_streams v:0 -show_entries frame=best_effort_timestamp_time -of csv=p=0 FILE";
        let listed = run("ffprobe", arguments, &path);
        let theirs: Vec<i64> = listed
            .lines()
            .map(|l| l.trim_matches(','))
            .filter(|l| !l.is_empty())
            .map(|l| (l.parse::<f64>().unwrap_or(f64::NAN) * 1e6).round() as i64)
            .collect();
        let zero = if muxed(&bytes).from_first { theirs.first().copied().unwrap_or(0) } else { 0 };
        let theirs: Vec<i64> = theirs.iter().map(|t| t - zero).collect();
        let same_times = times.len() == theirs.len() && times.iter().zip(&theirs).all(|(a, b)| a.abs_diff(*b) <= 1);
        let arguments = "-v error -noautorotate -flags unaligned+bitexact -threads 1 -i FILE -map 0:v:0 -fps_mode passthrough -f framemd5 -c:v rawvideo -";
        let listed = run("ffmpeg", arguments, &path);
        let theirs_md5: Vec<&str> =
            listed.lines().filter(|l| !l.starts_with('#')).map(|l| l.rsplit(',').next().unwrap().trim()).collect();
        let same = planes.iter().zip(&theirs_md5).filter(|(a, b)| a == b).count();
        println!("{name}: {info:?}, times {same_times}, planes {same} of {} and {}", planes.len(), theirs_md5.len());
        if !same_times {
            println!("   ours {:?}\n theirs {:?}", &times[..times.len().min(9)], &theirs[..theirs.len().min(9)]);
        }
        match wanted_is_whole(&bytes) {
            Ok(()) => {}
            Err(what) => {
                println!("   alone: {what}");
                wrong += 1;
            }
        }
        wrong += usize::from(!same_times || planes != theirs_md5);
    }
    assert_eq!(wrong, 0, "clips that differ");
}

/// Every frame asked alone, and some together, are those of the whole decode.
fn wanted_is_whole(bytes: &[u8]) -> Result<(), String> {
    let (times, pixels) = whole(bytes).map_err(|f| f.to_string())?;
    let one = pixels.len() / times.len();
    let mut scratch = Scratch::default();
    let step = times.len().div_ceil(60);
    let mut all: Vec<Vec<i64>> = times.iter().step_by(step).flat_map(|&t| [vec![t], vec![t - 1]]).collect();
    all.push(times.iter().copied().step_by(3).collect());
    all.push(times.iter().copied().step_by(7).flat_map(|t| [t, t + 1]).collect());
    all.push(vec![i64::MIN / 2, i64::MAX / 2]);
    for wanted in all {
        let want = Want::Video { times_us: &wanted };
        let decoded = muxed(bytes).decode(bytes, want, &Limits::default(), &mut scratch);
        decoded.map_err(|fault| format!("{wanted:?}: {fault}"))?;
        for (n, &time) in wanted.iter().enumerate() {
            let frame = times.iter().rposition(|&t| t <= time).unwrap_or(0);
            if scratch.times[n] != times[frame] {
                return Err(format!("at {time} the time is {}", scratch.times[n]));
            }
            if scratch.bytes[n * one..][..one] != pixels[frame * one..][..one] {
                return Err(format!("at {time} of {wanted:?} the pixels differ"));
            }
        }
    }
    Ok(())
}

/// FFV1's decoder fills a slice whose sum is wrong from the frame before, and refuses nothing: here it is refused.
#[test]
fn a_wrong_sum_is_damage() {
    let bytes = read("clips_ffmpeg/ffv1_rgb.mkv");
    let at = bytes.len() * 2 / 3;
    let refused = (at..at + 40)
        .filter(|&at| {
            let mut bad = bytes.clone();
            bad[at] ^= 0x10;
            let checked = Codec::check(&MATROSKA, &bad, Check::Decode, &Limits::default(), &mut Scratch::default());
            checked.is_err_and(|fault| fault.reason == Reason::Corrupt && fault.message.contains("CRC mismatch"))
        })
        .count();
    assert!(refused > 20, "{refused} of 40");
}

/// Pictures that others refer to are not there: HEVC's decoder makes one up and refuses nothing.
#[test]
fn a_missing_reference_is_damage() {
    let bytes = read("clips_ffmpeg/h265_main_10.ts");
    let clip = MPEGTS.open(&bytes, &Limits::default()).unwrap();
    let refused = |left_out: usize| {
        let mut decoder = decoder::Decoder::open(&clip.packets.stream.parameters, "hevc", &Limits::default()).unwrap();
        let mut frame = Frame::new().unwrap();
        let packets = clip.packets.samples.iter().enumerate().filter(|(at, _)| *at != left_out);
        packets.map(|(_, sample)| Some(&sample.packet)).chain([None]).any(|packet| {
            let mut said = decoder.send(packet, false).map(|()| true);
            while matches!(said, Ok(true)) {
                said = decoder.receive(&mut frame);
            }
            said.is_err_and(|fault| fault.message.contains("Could not find ref"))
        })
    };
    assert!(!refused(usize::MAX));
    assert!(refused(1), "the first predicted picture is not there");
}

/// A slice that is not there is found, and frames of several slices are whole.
#[test]
fn a_missing_slice_is_damage() {
    let bytes = read("clips_ffmpeg/mpeg2_b_frames.mpg");
    let slices: Vec<usize> = (0..bytes.len() - 4).filter(|at| bytes[*at..at + 4] == [0, 0, 1, 2]).collect();
    assert!(slices.len() >= 15, "{} pictures", slices.len());
    for at in [slices[0], slices[3], slices[10]] {
        let mut bad = bytes.clone();
        bad[at + 3] = 0xB2; // user data in its place
        let checked = Codec::check(&MPEGPS, &bad, Check::Decode, &Limits::default(), &mut Scratch::default());
        assert_eq!(checked.map_err(|fault| fault.reason), Err(Reason::Corrupt), "{at}");
    }
}
