//! Damaged files of every codec: 10,000 each, cut, with bits flipped, with bytes replaced, and spliced with others. None may
//! panic out, abort, or take memory beyond the limits. Clips are taken by the coding of their video, in all containers, and half
//! of their damage is behind the containers' headers. More of them, and what came of them:
//!
//! ```sh
//! FEEDSTOCK_MUTATIONS=200000 cargo test --profile ci --test mutations -- --nocapture
//! ```
//!
//! `FEEDSTOCK_CODEC=tiff` takes one codec (or coding: `h265`) alone, `FEEDSTOCK_PANICS=1` shows where caught panics come from.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use feedstock::Reason;
use feedstock::codec::{CODECS, Check, Codec, Limits, Scratch, Want, guarded, sniff};
use feedstock::data::info::{Format, Kind};
use peak_alloc::PeakAlloc;

/// Counts what is allocated.
#[global_allocator]
static MEMORY: PeakAlloc = PeakAlloc;

/// The largest decode takes 35 bytes a pixel of the million that the limits admit, or 16 MiB of samples in a vector that holds
/// up to twice what it needs; a decoder may take 64 MiB for itself.
const MOST: usize = 100 << 20;

/// By this the process may grow, which counts what C allocates (FFmpeg): as much again for what allocators keep, and pictures for
/// reference of 54 bytes a pixel of the million.
const MOST_OF_PROCESS: usize = 2 * MOST + (54 << 20);

/// Bytes that Linux says of this process; 0 elsewhere.
fn resident(what: &str) -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix(what));
    line.and_then(|line| line.split_whitespace().next()?.parse::<usize>().ok()).unwrap_or(0) << 10
}

/// xorshift64*: the same damage on every machine.
struct Draw(u64);

impl Draw {
    fn below(&mut self, below: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) as usize % below.max(1)
    }
}

/// A file of the fixtures and the codec that reads it.
type File = (&'static dyn Codec, Vec<u8>);

/// One damaged file.
fn damaged(files: &[File], number: u64) -> Vec<u8> {
    let mut draw = Draw(number.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
    let mut made = files[number as usize % files.len()].1.clone();
    let clip = files[number as usize % files.len()].0.kind() == Kind::Video;
    if clip && draw.below(2) == 0 {
        // A bit or two, anywhere: what a container passes on to the decoder.
        for _ in 0..1 + draw.below(2) {
            let at = draw.below(made.len());
            made[at] ^= 1 << draw.below(8);
        }
        return made;
    }
    let kind = draw.below(6);
    if kind == 0 {
        made.truncate(draw.below(made.len()));
    }
    if kind == 1 {
        // A piece of this or another file of the format, somewhere.
        let other = &files[draw.below(files.len())].1;
        let from = draw.below(other.len());
        let piece = &other[from..(from + 1 + draw.below(4096)).min(other.len())];
        let at = draw.below(made.len());
        let end = if draw.below(2) == 0 { at } else { (at + piece.len()).min(made.len()) };
        made.splice(at..end, piece.iter().copied());
    }
    if kind == 2 {
        // A hole.
        let at = draw.below(made.len());
        let end = (at + 1 + draw.below(64)).min(made.len());
        made.drain(at..end);
    }
    for _ in 0..if kind < 3 { draw.below(3) } else { 1 + draw.below(8) } {
        // Half of the damage goes into the first bytes: headers are where the sizes are.
        let span = if draw.below(2) == 0 { made.len().min(256) } else { made.len() };
        if span == 0 {
            break;
        }
        let at = draw.below(span);
        made[at] = match draw.below(4) {
            0 => [0, 0xff, 0x7f, 0x80][draw.below(4)],
            1 => draw.below(256) as u8,
            _ => made[at] ^ (1 << draw.below(8)),
        };
    }
    made
}

fn files(folder: &Path, into: &mut Vec<PathBuf>) {
    let mut all: Vec<PathBuf> = std::fs::read_dir(folder).unwrap().map(|e| e.unwrap().path()).collect();
    all.sort();
    for path in all {
        if path.is_dir() { files(&path, into) } else { into.push(path) }
    }
}

/// What a codec's runs came to.
#[derive(Default)]
struct Tally {
    read: u64,
    refused: BTreeMap<&'static str, u64>,
    panics: BTreeMap<String, u64>,
    peak: usize,
}

fn run(files: &[File], count: u64) -> Tally {
    let limits =
        Limits { payload_bytes: 8 << 20, pixels: 1 << 20, samples: 1 << 22, frames: 200, decoded_bytes: 64 << 20 };
    let mut tally = Tally::default();
    let mut scratch = Scratch::default();
    for number in 0..count {
        let codec = files[number as usize % files.len()].0;
        let made = damaged(files, number);
        let before = MEMORY.current_usage();
        MEMORY.reset_peak_usage();
        // As ingest does: what panics is caught, and its state is not used again.
        let found = guarded(codec.name(), || {
            codec.probe(&made, &limits)?;
            let info = codec.check(&made, Check::Decode, &limits, &mut scratch)?;
            let range = Some((info.count / 3, info.count / 2));
            let times = [0, info.duration_us as i64 / 2];
            match codec.kind() {
                Kind::Image => codec.decode(&made, Want::Image { region: None }, &limits, &mut scratch).map(drop)?,
                Kind::Audio => codec.decode(&made, Want::Audio { range }, &limits, &mut scratch).map(drop)?,
                Kind::Video => {
                    codec.decode(&made, Want::Video { times_us: &times }, &limits, &mut scratch).map(drop)?;
                }
                Kind::Text | Kind::Tensor => {}
            }
            Ok(())
        });
        match found {
            Ok(()) => tally.read += 1,
            Err(fault) if fault.reason == Reason::DecoderPanic => {
                scratch = Scratch::default();
                let words = fault.message.chars().filter(|c| !c.is_ascii_digit()).collect();
                *tally.panics.entry(words).or_default() += 1;
            }
            Err(fault) => *tally.refused.entry(fault.reason.code()).or_default() += 1,
        }
        let most = MEMORY.peak_usage().saturating_sub(before);
        tally.peak = tally.peak.max(most);
        assert!(most < MOST, "{}: number {number} took {} MiB", codec.name(), most >> 20);
    }
    tally
}

#[test]
fn no_damage_panics_out_or_takes_memory() {
    let count = std::env::var("FEEDSTOCK_MUTATIONS").map_or(10_000, |n| n.parse().unwrap());
    let only = std::env::var("FEEDSTOCK_CODEC").ok();
    let report = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        if std::env::var_os("FEEDSTOCK_PANICS").is_some() || !feedstock::codec::is_guarded() {
            report(info);
        }
    }));
    let mut paths = Vec::new();
    files(&Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures"), &mut paths);
    // By the name of the codec, of clips in MP4 and Matroska by that of their coding. A file may be a picture and a clip in one.
    // Of a tensor every byte is good, and nothing is taken for one.
    let media = CODECS.iter().filter(|c| c.kind() != Kind::Tensor);
    let mut groups: BTreeMap<String, Vec<File>> = media.map(|c| (c.name().to_owned(), Vec::new())).collect();
    for path in &paths {
        let bytes = std::fs::read(path).unwrap();
        if bytes.is_empty() || bytes.len() >= 1 << 17 {
            continue;
        }
        let name = path.file_stem().unwrap().to_string_lossy();
        let of_clip = ["h265", "vp9", "av1", "mjpeg"].into_iter().find(|coding| name.starts_with(coding));
        for kind in [Kind::Image, Kind::Audio, Kind::Video] {
            let Ok(codec) = sniff(&bytes, kind) else { continue };
            let coded = matches!(codec.format(), Format::Mp4 | Format::Matroska);
            let behind = path.components().any(|part| part.as_os_str() == "clips_ffmpeg");
            let group = match coded {
                true if behind => "ffmpeg",
                true => of_clip.unwrap_or("h264"),
                false => codec.name(),
            };
            groups.entry(group.to_owned()).or_default().push((codec, bytes.clone()));
        }
        // Text is what nothing else is.
        if let Some(codec) = CODECS.iter().find(|c| c.sniff(&bytes)).filter(|c| c.kind() == Kind::Text) {
            groups.entry(codec.name().to_owned()).or_default().push((*codec, bytes));
        }
    }
    groups.retain(|name, _| !["mp4", "matroska"].contains(&name.as_str()));
    for (name, files) in groups.iter().filter(|(name, _)| only.as_deref().is_none_or(|only| only == name.as_str())) {
        assert!(!files.is_empty(), "{name} has no fixture");
        let started = feedstock::clock::Mark::now();
        let before = resident("VmRSS:");
        let _ = std::fs::write("/proc/self/clear_refs", "5"); // the peak is counted anew
        let Tally { read, refused, panics, peak } = run(files, count);
        let grown = resident("VmHWM:").saturating_sub(before);
        println!(
            "{name:<9} {count} of {} files in {:.0} s: {read} read, refused {refused:?}, peak {} MiB, of the process {} MiB, caught panics {panics:?}",
            files.len(),
            started.elapsed().as_secs_f64(),
            peak >> 20,
            grown >> 20,
        );
        assert!(grown < MOST_OF_PROCESS, "{name}: the process grew by {} MiB", grown >> 20);
        assert!(refused.values().sum::<u64>() > 0, "{name}: nothing was damaged");
    }
}
