use std::path::Path;

use md5::{Digest as _, Md5};

use super::*;

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

/// Compares a folder of clips with the ffmpeg that is installed. `FEEDSTOCK_CLIPS=folder cargo test -- --ignored muxed_sweep`
#[test]
#[ignore = "needs ffmpeg, and a folder named by FEEDSTOCK_CLIPS"]
fn muxed_sweep() {
    let run = |program: &str, args: &str, file: &Path| {
        let mut command = std::process::Command::new(program);
        for arg in args.split(' ') {
            if arg == "FILE" { command.arg(file) } else { command.arg(arg) };
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
        let theirs_md5: Vec<&str> = listed
            .lines()
            .filter(|l| !l.starts_with('#'))
            .map(|l| l.rsplit(',').next().unwrap().trim())
            .collect();
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
