//! Recordings, decoded to interleaved `f32` `[samples, channels]`; integers are divided by 2^(bits - 1), as ffmpeg does.
//!
//! Plain PCM in WAVE is converted straight from the payload; everything else goes through `symphonia`.

use std::io::ErrorKind;

use symphonia::core::audio::{Audio, GenericAudioBufferRef};
use symphonia::core::codecs::audio::AudioDecoder;
use symphonia::core::errors::Error;
use symphonia::core::formats::FormatReader;

use super::{Limits, Want};
use crate::data::info::{Format, Info};
use crate::error::{Fault, Reason};

mod flac;
mod ogg;
mod opus;
mod packed;
mod streams;
mod wav;

pub use flac::Flac;
pub use packed::Packed;
pub use streams::{AAC, AIFF, CAF, M4A, MKA, MP3, OGG};
pub use wav::Wav;

/// The highest sampling rate that is believed, in Hz.
const MAX_RATE: u32 = 10_000_000;

/// A recording's facts, checked against what is possible and what is allowed. `count` is samples a channel.
fn facts(format: Format, channels: u32, rate: u32, count: u64, limits: &Limits) -> Result<Info, Fault> {
    if channels == 0 || rate == 0 || rate > MAX_RATE {
        let what = format!("{}: {channels} channels at {rate} Hz", format.name());
        return Err(Fault::new(Reason::Corrupt, what));
    }
    let samples = count.saturating_mul(u64::from(channels));
    Limits::check("samples", samples, limits.samples)?;
    Limits::check("decoded bytes", samples.saturating_mul(4), limits.decoded_bytes)?;
    let duration_us = u64::try_from(u128::from(count) * 1_000_000 / u128::from(rate)).unwrap_or(u64::MAX);
    Ok(Info { channels, rate, count, duration_us, ..Info::of(format) })
}

/// The wanted range in samples a channel, checked; all of the recording if none is wanted.
fn range_of(want: Want<'_>, count: u64) -> Result<(u64, u64), Fault> {
    match want {
        Want::Whole | Want::Audio { range: None } => Ok((0, count)),
        Want::Audio { range: Some((start, end)) } if start <= end && end <= count => Ok((start, end)),
        Want::Audio { range: Some((start, end)) } => {
            Err(Fault::new(Reason::Corrupt, format!("samples {start} to {end} are wanted of a recording of {count}")))
        }
        _ => Err(Fault::new(Reason::WrongMedia, "a recording has neither pixels nor frames")),
    }
}

/// The first sample that is not a number or infinite is a fault.
fn finite(samples: &[f32], channels: u32) -> Result<(), Fault> {
    match samples.iter().position(|s| !s.is_finite()) {
        Some(at) => {
            let what = format!("sample {} is {}", at as u64 / u64::from(channels), samples[at]);
            Err(Fault::new(Reason::Corrupt, what))
        }
        None => Ok(()),
    }
}

/// Decodes packets in order until `end` (samples a channel) into `out`; those that lie before `start` whole are only
/// parsed. Returns the place of the first sample in `out`, and of the one behind the last. Packets must follow each
/// other without gaps, and stay within `info.count` and `info.channels`.
fn decode_packets(
    reader: &mut dyn FormatReader,
    decoder: &mut dyn AudioDecoder,
    info: &Info,
    (start, end): (u64, u64),
    out: &mut Vec<f32>,
) -> Result<(u64, u64), Fault> {
    out.clear();
    let name = info.format.name();
    let corrupt = |what: String| Fault::new(Reason::Corrupt, format!("{name}: {what}"));
    let (mut at, mut first) = (0, None);
    while at < end {
        let Some(packet) = reader.next_packet().map_err(|e| fault(&e, name))? else { break };
        if u64::try_from(packet.pts.get()).ok() != Some(at) {
            return Err(corrupt(format!(
                "damaged behind sample {at}: the next whole block is that of {}",
                packet.pts.get()
            )));
        }
        let length = packet.dur.get();
        if length == 0 || length > info.count - at {
            return Err(corrupt(format!("a block of {length} at sample {at} of {}", info.count)));
        }
        if at + length > start {
            let buffer = decoder.decode(&packet).map_err(|e| fault(&e, name))?;
            if buffer.frames() as u64 != length || buffer.num_planes() != info.channels as usize {
                return Err(corrupt(format!("a block at sample {at} that is not what its header says")));
            }
            first.get_or_insert(at);
            append(&buffer, out);
        }
        at += length;
    }
    Ok((first.unwrap_or(at), at))
}

/// Interleaves a decoded block behind what is there.
fn append(buffer: &GenericAudioBufferRef<'_>, out: &mut Vec<f32>) {
    // Integer decoders left-justify their samples in 32 bits.
    const SCALE: f32 = 1.0 / (1u32 << 31) as f32;
    let from = out.len();
    out.resize(from + buffer.samples_interleaved(), 0.0);
    let channels = buffer.num_planes();
    match buffer {
        GenericAudioBufferRef::S32(buffer) => {
            for (channel, plane) in buffer.iter_planes().enumerate() {
                for (to, sample) in out[from + channel..].iter_mut().step_by(channels).zip(plane) {
                    *to = *sample as f32 * SCALE;
                }
            }
        }
        other => other.copy_to_slice_interleaved(&mut out[from..]),
    }
}

fn fault(error: &Error, name: &str) -> Fault {
    match error {
        Error::IoError(e) if e.kind() == ErrorKind::UnexpectedEof => {
            Fault::new(Reason::Truncated, format!("{name}: the recording ends before its header says"))
        }
        Error::Unsupported(what) => Fault::new(Reason::Unsupported, format!("{name}: {what}")),
        Error::ResetRequired => {
            Fault::new(Reason::Unsupported, format!("{name}: several recordings, one behind the other"))
        }
        Error::LimitError(what) => Fault::new(Reason::OverLimit, format!("{name}: {what}")),
        error => Fault::new(Reason::Corrupt, format!("{name}: {error}")),
    }
}

#[cfg(test)]
mod tests {
    use sha2::{Digest, Sha256};

    use super::*;
    use crate::codec::tests::fixture;
    use crate::codec::{Check, Codec, Decoded, Scratch, mutants, sniff};
    use crate::data::info::Kind;

    fn samples(codec: &dyn Codec, bytes: &[u8], want: Want<'_>) -> Result<(Vec<f32>, u64), Fault> {
        match codec.decode(bytes, want, &Limits::default(), &mut Scratch::default())? {
            Decoded::Wave(wave) => Ok((wave.data.to_vec(), wave.start)),
            other => panic!("{other:?}"),
        }
    }

    /// fixtures/golden/pcm.json: ffmpeg's samples of every audio fixture, whole and by ranges.
    #[test]
    fn samples_are_ffmpegs() {
        let golden: serde_json::Value = serde_json::from_slice(&fixture("golden/pcm.json")).unwrap();
        let (mut scratch, limits, mut compared) = (Scratch::default(), Limits::default(), 0);
        for (name, fact) in golden["files"].as_object().unwrap() {
            let bytes = fixture(name);
            let codec = sniff(&bytes, Kind::Audio).unwrap();
            let info = codec.check(&bytes, Check::Decode, &limits, &mut scratch).unwrap();
            assert_eq!(codec.check(&bytes, Check::Entropy, &limits, &mut scratch), Ok(info), "{name}");
            assert_eq!(codec.probe(&bytes, &limits), Ok(info), "{name}");
            let stated = (u64::from(info.channels), u64::from(info.rate), info.count);
            let expected = ["channels", "sample_rate", "frames"].map(|key| fact[key].as_u64().unwrap());
            assert_eq!(stated, expected.into(), "{name}");
            let (whole, _) = samples(codec, &bytes, Want::Whole).unwrap();
            let little: Vec<u8> = whole.iter().flat_map(|s| s.to_le_bytes()).collect();
            let digest: String = Sha256::digest(&little).iter().map(|b| format!("{b:02x}")).collect();
            assert_eq!(digest, fact["sha256_f32le"].as_str().unwrap(), "{name}");
            ranges_are_those_of_the_whole(codec, &bytes, &info, &whole, name);
            compared += 1;
        }
        assert!(compared >= 20, "only {compared} recordings were compared");
    }

    /// How far a decoder may be from ffmpeg's: half a step of 16 bits, and 2^-15 / sqrt(12) for the root of the mean square. The
    /// latter, with 2^-14 at the most, is full accuracy in ISO/IEC 11172-4 and 13818-4.
    const NEAR: (f32, f32) = (1.0 / (1 << 16) as f32, 8.81e-6);

    /// The same where a decoder makes noise, for which the standard gives no generator, so that its conformance tests leave it
    /// out: both decoders take the same one, and round the energy of a band in other places.
    const NEAR_NOISE: (f32, f32) = (1.0 / (1 << 13) as f32, 3.0e-5);

    /// golden/pcm_near.safetensors: ffmpeg's samples of every recording whose coding loses something, and where it ends.
    #[test]
    fn samples_are_near_ffmpegs() {
        let file = fixture("golden/pcm_near.safetensors");
        let golden = safetensors::SafeTensors::deserialize(&file).unwrap();
        let (mut scratch, limits, mut far) = (Scratch::default(), Limits::default(), Vec::new());
        for (name, tensor) in golden.tensors() {
            if name.contains("opus") && !cfg!(feature = "opus") {
                continue;
            }
            let bytes = fixture(&name);
            let codec = sniff(&bytes, Kind::Audio).unwrap();
            let info = codec.check(&bytes, Check::Decode, &limits, &mut scratch).unwrap();
            assert_eq!(codec.probe(&bytes, &limits), Ok(info), "{name}");
            let reference: Vec<f32> = tensor.data().as_chunks().0.iter().map(|&b| f32::from_le_bytes(b)).collect();
            let (whole, _) = samples(codec, &bytes, Want::Whole).unwrap();
            assert_eq!([info.count as usize, info.channels as usize], tensor.shape(), "{name}");
            assert_eq!(whole.len(), reference.len(), "{name}");
            let off = whole.iter().zip(&reference).map(|(a, b)| (a - b).abs());
            let most = off.clone().fold(0.0, f32::max);
            let root = (off.map(|d| f64::from(d).powi(2)).sum::<f64>() / whole.len() as f64).sqrt() as f32;
            println!("{name}: {most:e} at the most, {root:e} in the mean");
            let near = if name.contains("noise") { NEAR_NOISE } else { NEAR };
            if most > near.0 || root > near.1 {
                far.push((name, most, root));
                continue;
            }
            ranges_are_those_of_the_whole(codec, &bytes, &info, &whole, &name);
        }
        assert!(far.is_empty(), "{far:?}");
        assert!(golden.len() >= 23);
    }

    /// The bits of every range are those of the whole.
    fn ranges_are_those_of_the_whole(codec: &dyn Codec, bytes: &[u8], info: &Info, whole: &[f32], name: &str) {
        let (count, channels) = (info.count, info.channels as usize);
        for (start, end) in [(0, 1), (7, 500), (count / 2, count), (count - 1, count), (count, count), (0, 0)] {
            let (part, first) = samples(codec, bytes, Want::Audio { range: Some((start, end)) }).unwrap();
            assert!(first <= start, "{name}");
            let skipped = (start - first) as usize * channels;
            let wanted = &whole[start as usize * channels..end as usize * channels];
            assert_eq!(&part[skipped..skipped + wanted.len()], wanted, "{name}: {start} to {end}");
        }
        let beyond = Want::Audio { range: Some((0, count + 1)) };
        assert_eq!(samples(codec, bytes, beyond).unwrap_err().reason, Reason::Corrupt);
    }

    fn every_format() -> Vec<(String, Vec<u8>)> {
        let dir = concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/audio_formats");
        let mut names: Vec<String> =
            std::fs::read_dir(dir).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names.into_iter().map(|name| (name.clone(), fixture(&format!("audio_formats/{name}")))).collect()
    }

    /// Every audio format has a fixture, and nothing else is taken for it.
    #[test]
    fn content_decides_the_format() {
        let mut seen = std::collections::BTreeSet::from(["wav", "flac"]);
        for (name, bytes) in every_format() {
            let expected = match name.rsplit('.').next().unwrap() {
                "mp2" => "mp3",
                "opus" => "ogg",
                "aifc" => "aiff",
                "mp4" => "m4a",
                "webm" => "mka",
                other => other,
            };
            let found = sniff(&bytes, Kind::Audio).unwrap().name();
            assert_eq!(found, expected, "{name}");
            assert_eq!(sniff(&bytes, Kind::Video).err().map(|f| f.reason), Some(Reason::WrongMedia), "{name}");
            seen.insert(found);
        }
        let all: std::collections::BTreeSet<&str> =
            crate::codec::CODECS.iter().filter(|c| c.kind() == Kind::Audio).map(|c| c.name()).collect();
        assert_eq!(seen, all);
    }

    #[test]
    fn what_is_not_decoded_is_named() {
        let opus = if cfg!(feature = "opus") { "opus: 6 channels" } else { "feature \"opus\"" };
        for (name, word) in [("opus_six_channels.opus", opus), ("aac_six_channels.m4a", "too complex")] {
            let bytes = fixture(&format!("audio_formats/{name}"));
            let fault = sniff(&bytes, Kind::Audio).unwrap().probe(&bytes, &Limits::default()).unwrap_err();
            assert_eq!(fault.reason, Reason::Unsupported, "{name}");
            assert!(fault.message.to_lowercase().contains(word), "{name}: {}", fault.message);
        }
        let chained = fixture("audio_formats/vorbis_sndfile.ogg").repeat(2);
        let fault = OGG.probe(&chained, &Limits::default()).unwrap_err();
        assert_eq!(fault.reason, Reason::Unsupported, "{fault:?}");
    }

    /// A recording that is cut says so: where it states its length, and where it ends within a packet.
    #[test]
    fn a_cut_recording_is_refused() {
        for (name, bytes) in every_format() {
            for part in [2, 3, 5] {
                let cut = &bytes[..bytes.len() - bytes.len() / part - 3]; // not at the end of a frame
                let Ok(codec) = sniff(cut, Kind::Audio) else { continue };
                let found = codec.check(cut, Check::Decode, &Limits::default(), &mut Scratch::default());
                let reason = found.as_ref().err().map(|f| f.reason);
                assert!(
                    matches!(reason, Some(Reason::Truncated | Reason::Corrupt | Reason::Unsupported)),
                    "{name}, a {part}th cut: {found:?}"
                );
            }
        }
    }

    #[test]
    fn damage_in_any_format_never_panics_out() {
        let limits = Limits { samples: 1 << 20, ..Limits::default() };
        let mut scratch = Scratch::default();
        for (name, bytes) in every_format() {
            for made in mutants(&bytes, 400) {
                let Ok(codec) = sniff(&made, Kind::Audio) else { continue };
                let header = codec.check(&made, Check::Header, &limits, &mut scratch);
                let whole = codec.check(&made, Check::Decode, &limits, &mut scratch);
                // symphonia multiplies sizes of headers as they come, which only builds with debug assertions mind; caught.
                for fault in [&header, &whole].into_iter().filter_map(|found| found.as_ref().err()) {
                    let panicked = fault.reason == Reason::DecoderPanic && !fault.message.ends_with("with overflow");
                    assert!(!panicked, "{name}: {fault:?}");
                }
                if let (Ok(header), Ok(whole)) = (header, whole) {
                    assert_eq!(header, whole, "{name}");
                }
            }
        }
        assert!(scratch.floats.capacity() <= 2 << 20);
    }

    /// A file with one block of samples.
    fn wav(tag: u16, channels: u16, bits: u16, data: &[u8]) -> Vec<u8> {
        let block = channels * bits.div_ceil(8);
        let mut made = b"RIFF\0\0\0\0WAVEfmt \x12\0\0\0".to_vec();
        made.extend([tag.to_le_bytes(), channels.to_le_bytes()].concat());
        made.extend([8000u32.to_le_bytes(), (8000 * u32::from(block)).to_le_bytes()].concat());
        made.extend([block.to_le_bytes(), bits.to_le_bytes(), [0, 0]].concat());
        made.extend_from_slice(b"data");
        made.extend((data.len() as u32).to_le_bytes());
        made.extend_from_slice(data);
        let riff = (made.len() as u32 - 8).to_le_bytes();
        made[4..8].copy_from_slice(&riff);
        made
    }

    #[test]
    fn every_coding_of_wave_is_scaled() {
        let read = |tag, bits, data: &[u8]| samples(&Wav, &wav(tag, 1, bits, data), Want::Whole).map(|s| s.0);
        assert_eq!(read(1, 8, &[0, 128, 255]).unwrap(), [-1.0, 0.0, 127.0 / 128.0]);
        assert_eq!(read(1, 16, &[0, 128, 1, 0]).unwrap(), [-1.0, 1.0 / 32768.0]);
        assert_eq!(read(1, 24, &[0, 0, 128, 255, 255, 255]).unwrap(), [-1.0, -1.0 / 8388608.0]);
        assert_eq!(read(1, 32, &[0, 0, 0, 128]).unwrap(), [-1.0]);
        assert_eq!(read(3, 32, &1.5f32.to_le_bytes()).unwrap(), [1.5]);
        assert_eq!(read(3, 64, &0.1f64.to_le_bytes()).unwrap(), [0.1f32]);
        // G.711: 0x80 and 0x00 are the largest mu-law magnitudes, 32,124; 0xD5 is A-law's smallest, 8.
        assert_eq!(read(7, 8, &[0x80, 0x00]).unwrap(), [32124.0 / 32768.0, -32124.0 / 32768.0]);
        assert_eq!(read(6, 8, &[0xd5]).unwrap(), [8.0 / 32768.0]);
        assert_eq!(read(2, 4, &[0; 32]).unwrap_err().reason, Reason::Unsupported);
        assert_eq!(read(3, 32, &f32::NAN.to_le_bytes()).unwrap_err().reason, Reason::Corrupt);
        assert_eq!(read(3, 32, &f32::INFINITY.to_le_bytes()).unwrap_err().reason, Reason::Corrupt);
    }

    /// Plain PCM is converted here; symphonia must agree.
    #[test]
    fn wave_is_what_symphonia_makes_of_it() {
        for name in [
            "mono_8bit_8000",
            "mono_float32_16000",
            "odd_chunk_16bit_11025",
            "stereo_16bit_22050",
            "three_channels_24bit_16000",
        ] {
            let bytes = fixture(&format!("audio/{name}.wav"));
            let info = Wav.probe(&bytes, &Limits::default()).unwrap();
            let mut theirs = Vec::new();
            wav::decode_foreign(&bytes, &info, (0, info.count), &mut theirs).unwrap();
            assert_eq!(samples(&Wav, &bytes, Want::Whole).unwrap().0, theirs, "{name}");
        }
    }

    #[test]
    fn a_flac_that_does_not_state_its_length_is_counted() {
        let mut bytes = fixture("audio/mono_16bit_44100.flac");
        let whole = samples(&Flac, &bytes, Want::Whole).unwrap();
        bytes[21] &= 0xf0;
        bytes[22..26].fill(0);
        assert_eq!(Flac.probe(&bytes, &Limits::default()).map(|i| i.count), Ok(13_230));
        assert_eq!(samples(&Flac, &bytes, Want::Whole), Ok(whole));
        let limits = Limits { samples: 9_000, ..Limits::default() };
        assert_eq!(Flac.probe(&bytes, &limits).unwrap_err().reason, Reason::OverLimit);
    }

    #[test]
    fn ten_hours_of_silence_are_over_the_limit_even_if_the_header_lies() {
        let mut bytes = fixture("hostile/silence_10h.flac");
        let refused = |bytes: &[u8]| Flac.probe(bytes, &Limits::default()).unwrap_err().reason;
        assert_eq!(refused(&bytes), Reason::OverLimit);
        bytes[22..26].fill(0);
        bytes[21] &= 0xf0;
        assert_eq!(refused(&bytes), Reason::OverLimit);
        bytes[25] = 100;
        let mut scratch = Scratch::default();
        let found = Flac.check(&bytes, Check::Decode, &Limits::default(), &mut scratch);
        assert_eq!(found.unwrap_err().reason, Reason::Corrupt);
        assert!(scratch.floats.capacity() < 1 << 20);
    }

    /// Compares every recording of a folder with ffmpeg's decode of it, over the samples that both present.
    #[test]
    #[ignore = "needs ffmpeg, and a folder named by FEEDSTOCK_RECORDINGS"]
    fn ffmpeg_sweep() {
        let folder = std::env::var("FEEDSTOCK_RECORDINGS").expect("FEEDSTOCK_RECORDINGS names a folder");
        let mut worst = Vec::new();
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let bytes = std::fs::read(&path).unwrap();
            let found = sniff(&bytes, Kind::Audio).and_then(|codec| {
                let info = codec.probe(&bytes, &Limits::default())?;
                Ok((info, samples(codec, &bytes, Want::Whole)?.0))
            });
            let (info, ours) = match found {
                Ok(found) => found,
                Err(fault) => {
                    println!("{}: {:?}: {}", path.display(), fault.reason, fault.message);
                    continue;
                }
            };
            assert_eq!(ours.len() as u64, info.count * u64::from(info.channels), "{}", path.display());
            let mut ffmpeg = std::process::Command::new("ffmpeg");
            // Layer II: the default decoder computes in integers, 16 bits wide.
            if path.extension().is_some_and(|e| e == "mp2") {
                ffmpeg.args(["-c:a", "mp2float"]);
            }
            // ffmpeg's own decoder is up to 0.2 away from the reference in speech.
            if path.extension().is_some_and(|e| e == "opus" || e == "webm") {
                ffmpeg.args(["-c:a", "libopus", "-request_sample_fmt", "flt"]);
            }
            let out = ffmpeg.args(["-v", "error", "-i"]).arg(&path).args(["-f", "f32le", "-"]).output().unwrap();
            let theirs: Vec<f32> = out.stdout.as_chunks().0.iter().map(|&b| f32::from_le_bytes(b)).collect();
            let off = ours.iter().zip(&theirs).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
            let (here, there) = (info.count, theirs.len() / info.channels as usize);
            println!("{}: {here} samples, ffmpeg {there}, off by {off:e}", path.display());
            if off > 1e-5 {
                worst.push(path);
            }
        }
        assert!(worst.is_empty(), "{worst:?}");
    }

    #[test]
    fn damage_never_panics_out() {
        let limits = Limits { samples: 1 << 20, ..Limits::default() };
        let mut scratch = Scratch::default();
        for name in [
            "mono_16bit_44100.flac",
            "stereo_24bit_48000.flac",
            "three_channels_24bit_16000.wav",
            "mono_float32_16000.wav",
        ] {
            let bytes = fixture(&format!("audio/{name}"));
            let codec = sniff(&bytes, Kind::Audio).unwrap();
            for made in mutants(&bytes, 300) {
                let fault = codec.check(&made, Check::Decode, &limits, &mut scratch).err();
                assert!(fault.as_ref().is_none_or(|f| f.reason != Reason::DecoderPanic), "{name}: {fault:?}");
            }
        }
        assert!(scratch.floats.capacity() <= 2 << 20);
    }
}
