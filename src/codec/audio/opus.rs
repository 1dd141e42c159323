//! Opus (RFC 6716), by `unsafe-libopus`: the reference's float decoder (libopus 1.3.1), translated from C. Always 48 kHz. The
//! containers' header is that of RFC 7845, 5.1.
//!
//! The crate is as unsafe as its name says, and as its original in C, which everyone decodes with. It was run over 180,000
//! damaged packets under AddressSanitizer, with overflow checks, without a finding. Of the others that there are, `ropus`
//! 0.12 (fixed point) is up to 4.5e-4 away and cuts samples at full scale, `opus-decoder` 0.1 decodes music at twice real time,
//! `opus-rs` 0.1.40 is wrong in frames of 2.5 ms, and `mousiki` 0.2 is wrong throughout.

use symphonia::core::codecs::audio::AudioDecoder;

use crate::error::{Fault, Reason};

/// What a container says of a stream (RFC 7845, 5.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Head {
    pub(super) channels: u8,
    /// Samples at the beginning that are not presented.
    pub(super) pre_skip: u16,
    /// What the samples are amplified by, in 1/256 decibel.
    pub(super) gain: i16,
    /// How streams become channels: 0 is one stream of one or two.
    pub(super) family: u8,
}

impl Head {
    /// One stream of so many channels, of which nothing else is said.
    pub(super) fn plain(channels: u32) -> Self {
        Head { channels: u8::try_from(channels).unwrap_or(u8::MAX), pre_skip: 0, gain: 0, family: 0 }
    }

    /// Reads `OpusHead`.
    pub(super) fn read(bytes: &[u8]) -> Result<Self, Fault> {
        match *bytes {
            [b'O', b'p', b'u', b's', b'H', b'e', b'a', b'd', ..=15, channels, a, b, _, _, _, _, c, d, family, ..] => {
                let (pre_skip, gain) = (u16::from_le_bytes([a, b]), i16::from_le_bytes([c, d]));
                Ok(Head { channels, pre_skip, gain, family })
            }
            _ => Err(Fault::new(Reason::Corrupt, "opus: a header that is none")),
        }
    }
}

/// The samples that a packet decodes to, by its first bytes (RFC 6716, 3.1); `None` if it is none.
pub(super) fn samples(packet: &[u8]) -> Option<u64> {
    let first = *packet.first()?;
    let frame = match first >> 3 {
        config @ ..=11 => [480, 960, 1920, 2880][usize::from(config & 3)],
        config @ ..=15 => [480, 960][usize::from(config & 1)],
        config => 120 << (config & 3),
    };
    let frames = match first & 3 {
        0 => 1,
        3 => u64::from(packet.get(1)? & 63),
        _ => 2,
    };
    (1..=5760).contains(&(frame * frames)).then_some(frame * frames)
}

/// The decoder of a stream.
#[cfg(feature = "opus")]
pub(super) fn decoder(head: &Head) -> Result<Box<dyn AudioDecoder>, Fault> {
    decoding::decoder(head)
}

/// Without it.
#[cfg(not(feature = "opus"))]
pub(super) fn decoder(_head: &Head) -> Result<Box<dyn AudioDecoder>, Fault> {
    Err(Fault::new(Reason::Unsupported, "opus needs the crate feature \"opus\""))
}

#[cfg(feature = "opus")]
mod decoding {
    use std::ptr::NonNull;

    use symphonia::core::audio::{
        AsGenericAudioBufferRef, AudioBuffer, AudioMut, AudioSpec, Channels, GenericAudioBufferRef,
    };
    use symphonia::core::codecs::CodecInfo;
    use symphonia::core::codecs::audio::well_known::CODEC_ID_OPUS;
    use symphonia::core::codecs::audio::{AudioCodecParameters, AudioDecoder, FinalizeResult};
    use symphonia::core::errors::{Error, Result};
    use symphonia::core::packet::PacketRef;
    use unsafe_libopus::{OpusDecoder, opus_decode_float, opus_decoder_create, opus_decoder_destroy};

    use super::{Head, samples};
    use crate::error::{Fault, Reason};

    /// 120 ms, what a packet holds at the most.
    const MOST: usize = 5760;

    /// A decoder of libopus, alone in its hands.
    struct Handle(NonNull<OpusDecoder>);

    // SAFETY: the state is plain memory that nothing else points to, and is not tied to a thread.
    unsafe impl Send for Handle {}
    // SAFETY: through `&Handle` nothing is read or written.
    unsafe impl Sync for Handle {}

    impl Handle {
        fn new(channels: i32) -> Option<Self> {
            let mut code = 0;
            // SAFETY: the number is written where the pointer points. Rates and channels are checked there.
            NonNull::new(unsafe { opus_decoder_create(48_000, channels, &mut code) }).map(Handle)
        }

        /// Decodes a packet; the samples a channel, or below zero what is wrong.
        fn decode(&mut self, packet: &[u8], out: &mut [f32], most: usize) -> i32 {
            let (Ok(length), Ok(most)) = (i32::try_from(packet.len()), i32::try_from(most)) else { return -1 };
            // SAFETY: the state is whole and borrowed alone; `length` bytes can be read, and `most` samples of each channel
            // written: `out` has been made for them.
            unsafe { opus_decode_float(self.0.as_ptr(), packet.as_ptr(), length, out.as_mut_ptr(), most, 0) }
        }
    }

    impl Drop for Handle {
        fn drop(&mut self) {
            // SAFETY: made by `opus_decoder_create`, and given back once.
            unsafe { opus_decoder_destroy(self.0.as_ptr()) }
        }
    }

    /// libopus as a decoder among symphonia's.
    struct Opus {
        params: AudioCodecParameters,
        channels: usize,
        decoder: Handle,
        /// What the samples are multiplied by.
        gain: f32,
        interleaved: Vec<f32>,
        buffer: AudioBuffer<f32>,
    }

    pub(super) fn decoder(head: &Head) -> std::result::Result<Box<dyn AudioDecoder>, Fault> {
        let (1 | 2, 0 | 1) = (head.channels, head.family) else {
            let what =
                format!("opus: {} channels (mapping family {}); one and two are decoded", head.channels, head.family);
            return Err(Fault::new(Reason::Unsupported, what));
        };
        let decoder = Handle::new(head.channels.into())
            .ok_or_else(|| Fault::new(Reason::Unsupported, "opus: its decoder cannot be made"))?;
        let channels = usize::from(head.channels);
        let layout = Channels::Discrete(head.channels.into());
        let mut params = AudioCodecParameters::new();
        params.for_codec(CODEC_ID_OPUS).with_sample_rate(48_000).with_channels(layout.clone());
        Ok(Box::new(Opus {
            params,
            channels,
            decoder,
            gain: libm::pow(10.0, f64::from(head.gain) / (20.0 * 256.0)) as f32,
            interleaved: vec![0.0; MOST * channels],
            buffer: AudioBuffer::new(AudioSpec::new(48_000, layout), MOST),
        }))
    }

    impl AudioDecoder for Opus {
        fn reset(&mut self) {
            if let Some(decoder) = Handle::new(self.channels as i32) {
                self.decoder = decoder;
            }
        }

        fn codec_info(&self) -> &CodecInfo {
            &CodecInfo { short_name: "opus", long_name: "Opus", profiles: &[] }
        }

        fn codec_params(&self) -> &AudioCodecParameters {
            &self.params
        }

        fn decode_ref(&mut self, packet: &PacketRef<'_>) -> Result<GenericAudioBufferRef<'_>> {
            self.buffer.clear();
            // An empty packet would be taken for a lost one, and concealed.
            if samples(packet.data).is_none() {
                return Err(Error::DecodeError("no packet of Opus"));
            }
            let count = self.decoder.decode(packet.data, &mut self.interleaved, MOST);
            let count = usize::try_from(count).map_err(|_| Error::DecodeError("a packet of Opus that is damaged"))?;
            let values = &mut self.interleaved[..count * self.channels];
            if self.gain != 1.0 {
                values.iter_mut().for_each(|x| *x *= self.gain);
            }
            self.buffer.render_uninit(Some(count));
            self.buffer.copy_from_slice_interleaved(&values);
            Ok(self.buffer.as_generic_audio_buffer_ref())
        }

        fn finalize(&mut self) -> FinalizeResult {
            FinalizeResult::default()
        }

        fn last_decoded(&self) -> GenericAudioBufferRef<'_> {
            self.buffer.as_generic_audio_buffer_ref()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packets_say_how_long_they_are() {
        // Table 2 of RFC 6716: 10 to 60 ms of SILK, 10 and 20 of the hybrid, 2.5 to 20 of CELT.
        let one = |config: u8| samples(&[config << 3]).unwrap();
        let all: Vec<u64> = (0..32).map(one).collect();
        assert_eq!(all[..12], [480, 960, 1920, 2880].repeat(3));
        assert_eq!(all[12..16], [480, 960, 480, 960]);
        assert_eq!(all[16..], [120, 240, 480, 960].repeat(4));
        assert_eq!([samples(&[31 << 3 | 1]), samples(&[31 << 3 | 2])], [Some(1920); 2]);
        // 48 frames of 2.5 ms are 120 ms; more are not allowed, and none neither.
        assert_eq!(samples(&[16 << 3 | 3, 48]), Some(5760));
        for bad in [&[16 << 3 | 3, 49][..], &[16 << 3 | 3, 0], &[16 << 3 | 3], &[3 << 3 | 3, 3], &[]] {
            assert_eq!(samples(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn headers_are_read() {
        let head = b"OpusHead\x01\x02\x38\x01\x80\xbb\0\0\x00\xff\0";
        assert_eq!(Head::read(head), Ok(Head { channels: 2, pre_skip: 312, gain: -256, family: 0 }));
        assert!(Head::read(&head[..18]).is_err() && Head::read(b"OpusHead\x10\x02\x38\x01\x80\xbb\0\0\0\0\0").is_err());
        #[cfg(not(feature = "opus"))]
        assert!(decoder(&Head::plain(1)).err().unwrap().message.contains("feature \"opus\""));
        #[cfg(feature = "opus")]
        assert!(decoder(&Head::plain(6)).err().unwrap().message.contains("6 channels"));
    }
}
