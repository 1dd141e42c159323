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
mod wav;

pub use flac::Flac;
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
            let channels = info.channels as usize;
            for (start, end) in [(0, 1), (7, 500), (info.count / 2, info.count), (info.count, info.count), (0, 0)] {
                let (part, first) = samples(codec, &bytes, Want::Audio { range: Some((start, end)) }).unwrap();
                assert!(first <= start, "{name}");
                let skipped = (start - first) as usize * channels;
                let wanted = &whole[start as usize * channels..end as usize * channels];
                assert_eq!(&part[skipped..skipped + wanted.len()], wanted, "{name}: {start} to {end}");
            }
            let beyond = Want::Audio { range: Some((0, info.count + 1)) };
            assert_eq!(samples(codec, &bytes, beyond).unwrap_err().reason, Reason::Corrupt);
            compared += 1;
        }
        assert!(compared >= 20, "only {compared} recordings were compared");
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
