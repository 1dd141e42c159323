//! Recordings: at another rate, as FLAC, or as PCM.
//!
//! Channels are kept, and each is resampled alone; with `mono` they are mixed first, as a loader does it. Samples become
//! integers of 16 or 24 bits by rounding to the nearest, ties to even, and saturation. Where the source's samples are
//! integers of that many bits (as all decoders of lossless formats give them) nothing is lost, and FLAC is decoded again and
//! compared before its source is let go.

use flacenc::bitsink::ByteSink;
use flacenc::component::BitRepr;
use flacenc::config::{Encoder, OrderSel, Window};
use flacenc::error::{Verified, Verify};
use flacenc::source::MemSource;

use super::options::{AudioCodec, AudioOptions};
use super::{Accepted, Maker};
use crate::augment::resample::{self, Resample};
use crate::augment::run::mixed;
use crate::augment::{Draw, Media, Op, Tools, Wave, numerics};
use crate::codec::audio::{Flac, Wav};
use crate::codec::{Codec, Decoded, Limits, Scratch, Want};
use crate::data::feature::Feature;
use crate::data::info::Info;
use crate::error::{Error, Fault, Reason, Result};

/// Stores recordings at another rate or in another encoding.
#[derive(Debug)]
pub(super) struct Sounds {
    options: AudioOptions,
    encoder: Verified<Encoder>,
}

impl Sounds {
    pub(super) fn new(options: AudioOptions) -> Result<Self> {
        let mut encoder = Encoder::default();
        // One recording is one thread's work; and nothing of it hangs on the machine: a cosine, a logarithm would.
        encoder.multithread = false;
        encoder.subframe_coding.qlpc.window = Window::Rectangle;
        encoder.subframe_coding.fixed.order_sel = OrderSel::BitCount;
        let encoder = encoder.into_verified().map_err(|(_, e)| Error::library("setting up FLAC", e))?;
        Ok(Sounds { options, encoder })
    }
}

impl Maker for Sounds {
    fn feature(&self) -> Feature {
        Feature::Audio
    }

    fn made_by(&self) -> Vec<String> {
        let mut by = Vec::new();
        if self.options.rate.is_some() {
            by.push(format!("resample {}", resample::ENTRY.version));
            by.push(format!("numerics {}", numerics()));
        }
        by.push(match self.options.codec {
            Some(AudioCodec::Wav) => "wav 1".to_owned(),
            Some(AudioCodec::Lossless) => "lossless 1 (flac 1, wav 1)".to_owned(),
            _ => "flac 1".to_owned(),
        });
        by
    }

    fn grows(&self) -> bool {
        true // of MP3 or the like
    }

    fn memory(&self, info: &Info) -> u64 {
        let samples = |rate: u32| {
            let count = u128::from(info.count) * u128::from(rate) / u128::from(info.rate.max(1));
            u64::try_from(count).unwrap_or(u64::MAX).saturating_mul(u64::from(info.channels)).saturating_mul(4)
        };
        // As decoded, and by channels; as resampled, as integers (which the encoder copies), encoded, and decoded again.
        samples(info.rate)
            .saturating_mul(2)
            .saturating_add(samples(self.options.rate.unwrap_or(info.rate)).saturating_mul(6))
    }

    fn make(&self, payload: Accepted<'_>, tools: &mut Tools) -> Result<Option<(Vec<u8>, Info)>, Fault> {
        self.encoded(payload, tools).map(Some)
    }
}

impl Sounds {
    /// A recording as it is stored.
    fn encoded(&self, payload: Accepted<'_>, tools: &mut Tools) -> Result<(Vec<u8>, Info), Fault> {
        let Accepted { bytes, codec, limits, .. } = payload;
        let Decoded::Wave(wave) = codec.decode(bytes, Want::Whole, limits, &mut tools.scratch)? else {
            return Err(Fault::new(Reason::WrongMedia, "the payload holds no samples"));
        };
        let (mut channels, mut rate) = (wave.channels.max(1), wave.rate);
        let mut samples = wave.data.to_vec();
        let found = depth(&samples);
        if self.options.mono && channels > 1 {
            samples = mixed(&samples, channels as usize);
            channels = 1;
        }
        let mut bits = self.options.bits.or(depth(&samples));
        if let Some(to) = self.options.rate.filter(|to| *to != rate) {
            samples = resampled(&samples, channels as usize, (rate, to), tools)?;
            rate = to;
            bits = self.options.bits.or(found);
        }
        match self.options.codec {
            // FLAC writes a length of 0 for one that is not known.
            _ if samples.is_empty() => wav(&samples, channels, rate, Some(16), limits),
            Some(AudioCodec::Wav) => wav(&samples, channels, rate, bits.or(Some(32)), limits),
            Some(AudioCodec::Lossless) => {
                let Some(bits) = exact(&samples) else { return wav(&samples, channels, rate, Some(32), limits) };
                match self.flac(&samples, channels, rate, bits, limits, &mut tools.scratch) {
                    // FLAC has 8 channels and some rates; WAVE has the others.
                    Err(fault) if fault.reason == Reason::Unsupported => {
                        wav(&samples, channels, rate, Some(bits), limits)
                    }
                    made => made,
                }
            }
            _ => self.flac(&samples, channels, rate, bits.unwrap_or(24), limits, &mut tools.scratch),
        }
    }
}

/// Each channel resampled by the operation `resample`.
fn resampled(data: &[f32], channels: usize, (from, to): (u32, u32), tools: &mut Tools) -> Result<Vec<f32>, Fault> {
    let mut out: Vec<f32> = Vec::new();
    for channel in 0..channels {
        let plane = data.iter().skip(channel).step_by(channels).copied().collect();
        let media = Resample { rate: to }.apply(&Draw::None, Media::Wave(Wave::mono(plane, from)), tools)?;
        let Media::Wave(Wave { data: plane, .. }) = media else {
            return Err(Fault::new(Reason::WrongMedia, "resampling gave no samples"));
        };
        out.resize(plane.len() * channels, 0.0);
        out.iter_mut().skip(channel).step_by(channels).zip(plane).for_each(|(to, sample)| *to = sample);
    }
    Ok(out)
}

/// The bits, 16 or 24, that hold every sample exactly; none if there are more.
fn depth(samples: &[f32]) -> Option<u8> {
    let exact = |bits: u8| {
        let scale = scale(bits);
        samples.iter().all(|s| (s * scale).fract() == 0.0 && (-1.0..1.0).contains(s))
    };
    [16, 24].into_iter().find(|bits| exact(*bits))
}

/// The same where the sign of zero is a bit, too, as decoders of floats give it.
fn exact(samples: &[f32]) -> Option<u8> {
    let signed = samples.iter().any(|s| *s == 0.0 && s.is_sign_negative());
    depth(samples).filter(|_| !signed)
}

/// A WAVE file that has every bit of the samples.
pub(super) fn exact_wav(samples: &[f32], channels: u32, rate: u32, limits: &Limits) -> Result<(Vec<u8>, Info), Fault> {
    wav(samples, channels, rate, Some(exact(samples).unwrap_or(32)), limits)
}

/// The steps from 0 to 1.
fn scale(bits: u8) -> f32 {
    (1u32 << (bits - 1)) as f32
}

/// Samples as integers.
fn integers(samples: &[f32], bits: u8) -> Vec<i32> {
    let scale = scale(bits);
    samples.iter().map(|s| (s * scale).round_ties_even().clamp(-scale, scale - 1.0) as i32).collect()
}

/// A WAVE file of interleaved samples: PCM of 16 or 24 bits, or floats with 32. Unless told the fewest that hold all.
pub(super) fn wav(
    samples: &[f32],
    channels: u32,
    rate: u32,
    bits: Option<u8>,
    limits: &Limits,
) -> Result<(Vec<u8>, Info), Fault> {
    let bits = bits.or(depth(samples)).unwrap_or(32);
    let float = bits == 32;
    let block = channels * u32::from(bits / 8);
    let size = samples.len() as u64 * u64::from(bits / 8);
    let length = u32::try_from(size).ok().filter(|size| *size < u32::MAX - 64);
    let (Some(length), Ok(channels_16)) = (length, u16::try_from(channels)) else {
        let what = format!("a WAVE file of {channels} channels and {size} bytes: it holds 65535 and 4 GiB at the most");
        return Err(Fault::new(Reason::OverLimit, what));
    };
    let mut out = Vec::with_capacity(58 + length as usize);
    let mut put = |bytes: &[u8]| out.extend_from_slice(bytes);
    // What is no PCM says its number of samples, and that its format says no more (Microsoft, "Multiple channel audio data").
    let head: u32 = if float { 4 + 26 + 12 + 8 } else { 4 + 24 + 8 };
    put(b"RIFF");
    put(&(head + length + (length & 1)).to_le_bytes());
    put(b"WAVEfmt ");
    put(&(if float { 18u32 } else { 16 }).to_le_bytes());
    put(&(if float { 3u16 } else { 1 }).to_le_bytes());
    put(&channels_16.to_le_bytes());
    put(&rate.to_le_bytes());
    put(&rate.saturating_mul(block).to_le_bytes());
    put(&u16::try_from(block).unwrap_or(u16::MAX).to_le_bytes());
    put(&u16::from(bits).to_le_bytes());
    if float {
        put(&0u16.to_le_bytes());
        put(b"fact");
        put(&4u32.to_le_bytes());
        put(&(samples.len() as u32 / channels.max(1)).to_le_bytes());
    }
    put(b"data");
    put(&length.to_le_bytes());
    match bits {
        32 => samples.iter().for_each(|s| put(&s.to_le_bytes())),
        16 => integers(samples, 16).iter().for_each(|v| put(&(*v as i16).to_le_bytes())),
        _ => integers(samples, 24).iter().for_each(|v| put(&v.to_le_bytes()[..3])),
    }
    if length & 1 == 1 {
        put(&[0]);
    }
    let info = Wav.probe(&out, limits)?;
    Ok((out, info))
}

impl Sounds {
    /// A FLAC file of interleaved samples, decoded again and compared.
    fn flac(
        &self,
        samples: &[f32],
        channels: u32,
        rate: u32,
        bits: u8,
        limits: &Limits,
        scratch: &mut Scratch,
    ) -> Result<(Vec<u8>, Info), Fault> {
        let refused = |e: &dyn std::fmt::Display| {
            Fault::new(Reason::Unsupported, format!("FLAC of {channels} channels at {rate} Hz: {e}"))
        };
        let values = integers(samples, bits);
        let source = MemSource::from_samples(&values, channels as usize, usize::from(bits), rate as usize);
        let stream = flacenc::encode_with_fixed_block_size(&self.encoder, source, self.encoder.block_size);
        let mut stream = stream.map_err(|e| refused(&e))?;
        // The last block is shorter, and does not count (RFC 9639, 8.2): decoders would take the blocks for ones of any size.
        let block = self.encoder.block_size;
        stream.stream_info_mut().set_block_sizes(block, block).map_err(|e| refused(&e))?;
        let mut sink = ByteSink::new();
        stream.write(&mut sink).map_err(|e| refused(&e))?;
        let out = sink.into_inner();
        let info = Flac.probe(&out, limits)?;
        let Decoded::Wave(wave) = Flac.decode(&out, Want::Whole, limits, scratch)? else {
            return Err(refused(&"it does not decode to samples"));
        };
        let scale = scale(bits);
        let same =
            wave.data.len() == values.len() && wave.data.iter().zip(&values).all(|(s, v)| s * scale == *v as f32);
        if !same || (wave.channels, wave.rate) != (channels, rate) {
            return Err(refused(&"it decodes to other samples than were encoded"));
        }
        Ok((out, info))
    }
}
