//! What decoding costs in every coding that is read, beside the decoder that it was compared with. Prints docs/codecs.md.
//!
//! ```sh
//! benches/codecs/media.sh /tmp/media PYTHON
//! FEEDSTOCK_MEDIA=/tmp/media FEEDSTOCK_PYTHON=PYTHON cargo bench --bench codecs > docs/codecs.md
//! ```
//!
//! With `--features ffmpeg` also what FFmpeg reads; without it these have dashes.
//!
//! Bytes are in memory, everything runs on one thread, and a cell is the median of five repeats, each of which decodes by us
//! and right behind it by the reference.

mod common;

use std::path::Path;
use std::process::Command;

use common::{Runs, cost, machine};
use feedstock::codec::codings::{CODINGS, Coding};
use feedstock::codec::{Codec, Decoded, Limits, Scratch, Want, by_format};
use feedstock::data::info::Kind;

const REPEATS: usize = 5;

/// What a decode hands over.
struct Made {
    bytes: u64,
    frames: u64,
}

fn decode(codec: &dyn Codec, bytes: &[u8], scratch: &mut Scratch) -> Made {
    match codec.decode(bytes, Want::Whole, &Limits::default(), scratch).expect("the bench's media decode") {
        Decoded::Pixels(pixels) => Made { bytes: pixels.data.len() as u64, frames: pixels.frames as u64 },
        Decoded::Wave(wave) => Made { bytes: size_of_val(wave.data) as u64, frames: 0 },
        Decoded::Text(text) => Made { bytes: text.len() as u64, frames: 0 },
        #[allow(unreachable_patterns, reason = "other things to decode may come")]
        _ => Made { bytes: 0, frames: 0 },
    }
}

/// CPU seconds of a decode: as many as fill four tenths of a second, the least of them.
fn ours(codec: &dyn Codec, bytes: &[u8]) -> (f64, Made) {
    let mut scratch = Scratch::default();
    let mut made = decode(codec, bytes, &mut scratch);
    let (mut least, mut spent) = (f64::INFINITY, 0.0);
    while spent < 0.4 {
        let (cost, again) = cost(|| decode(codec, bytes, &mut scratch));
        made = again;
        least = least.min(cost.cpu());
        spent += cost.cpu().max(1e-6);
    }
    (least, made)
}

fn theirs(python: &str, file: &Path) -> Option<(f64, String)> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/codecs/reference.py");
    let output = Command::new(python).arg(script).arg(file).output().ok()?;
    if !output.status.success() {
        eprintln!("{}: {}", file.display(), String::from_utf8_lossy(&output.stderr).lines().last().unwrap_or_default());
        return None;
    }
    let said: serde_json::Value = serde_json::from_slice(&output.stdout).ok()?;
    Some((said["cpu"].as_f64()?, said["by"].as_str()?.to_owned()))
}

/// `| speed of ours | speed of the reference |` and the reference's name.
fn measured(coding: &Coding, file: &Path, python: &str) -> (String, String, String) {
    let dash = || "-".to_owned();
    let (Ok(bytes), Ok(codec), true) = (std::fs::read(file), by_format(coding.format), coding.here()) else {
        return (dash(), dash(), dash());
    };
    let (mut own, mut other, mut by) = (Runs::default(), Runs::default(), dash());
    let video = coding.format.kind() == Kind::Video;
    let unit = if video { "frames/s" } else { "MB/s" };
    for _ in 0..REPEATS {
        let (seconds, made) = ours(codec, &bytes);
        let amount = if video { made.frames as f64 } else { made.bytes as f64 / 1e6 };
        own.push(amount / seconds);
        if let Some((seconds, name)) = theirs(python, file) {
            other.push(amount / seconds);
            by = name;
        }
    }
    let show = |runs: &Runs| if by == "-" { dash() } else { format!("{:.0} {unit}", runs.median()) };
    // What is handed over where it lies takes no time that could be measured.
    let own = if own.median().is_finite() { format!("{:.0} {unit}", own.median()) } else { "borrowed".to_owned() };
    (own, show(&other), by)
}

fn main() {
    let Some(media) = std::env::var_os("FEEDSTOCK_MEDIA") else {
        eprintln!("FEEDSTOCK_MEDIA names no folder: benches/codecs/media.sh makes one");
        return;
    };
    let python = std::env::var("FEEDSTOCK_PYTHON").unwrap_or_else(|_| "python3".into());
    println!("# Codecs\n");
    println!("<!-- made by: cargo bench --bench codecs (its head says how); the facts are src/codec/codings.rs -->\n");
    println!(
        "What is read, who decodes it, what it was held against and how far it may be off (`docs/formats.md` says what of each\n\
         format, and how it was compared), and how fast it decodes here beside that reference on the same file, one thread each, in CPU\n\
         time. MB/s are decoded bytes: RGB of 8 bits, samples of 32 bits. Frames come out as RGB on both sides; ffmpeg writes its samples in\n\
         the decoder's own type.\n"
    );
    println!("{}\n", machine());
    println!(
        "| format | coding | crate | pure Rust | feature | compared with | bound | feedstock | reference | reference's version |"
    );
    println!("|---|---|---|---|---|---|---|---|---|---|");
    for coding in CODINGS {
        let file = Path::new(&media).join(coding.sample);
        let (own, other, by) = measured(coding, &file, &python);
        let Coding { format, coding: name, krate, pure_rust, feature, reference, bound, .. } = coding;
        let pure = if *pure_rust { "yes" } else { "no" };
        let format = format.name();
        println!(
            "| {format} | {name} | {krate} | {pure} | {feature} | {reference} | {bound} | {own} | {other} | {by} |"
        );
    }
}
