//! The formats of [`Packed`]: how each is opened.
//!
//! - MPEG audio of layers II and III (ISO/IEC 11172-3, 13818-3). Tags in front and behind are stepped over. The frame count,
//!   delay and padding of a Xing or LAME tag are applied, the decoder's own 529 samples counted, as ffmpeg does.
//! - AAC in ADTS (ISO/IEC 13818-7): low complexity, mono and stereo. It states no delay, and all of it is presented.
//! - Ogg: [`super::ogg`].
//! - AIFF, AIFC and CAF with PCM, ALAC or Opus.
//! - Sound in MP4 (AAC, ALAC, FLAC, MP3, Opus) and Matroska or WebM (Vorbis, Opus, FLAC, AAC, ALAC, MPEG audio, PCM). An edit list's
//!   begin and end are applied to the sample; so are `CodecDelay` and `DiscardPadding`. ffmpeg 5.1 leaves the padding of
//!   AAC in MP4 in; a silence that an edit list puts in front is left out, as ffmpeg does.

use std::borrow::Cow;
use std::io::{Cursor, Read};

use symphonia::core::audio::Channels;
use symphonia::core::codecs::audio::well_known::*;
use symphonia::core::codecs::audio::{AudioCodecId, AudioCodecParameters};
use symphonia::core::codecs::registry::RegisterableAudioDecoder;
use symphonia::core::formats::{FormatOptions, FormatReader};
use symphonia::core::io::{MediaSourceStream, MediaSourceStreamOptions, ReadOnlySource};
use symphonia::default::codecs::PcmDecoder;
use symphonia::default::formats::{AdtsReader, AiffReader, CafReader, MpaReader};

use super::packed::{End, FROM_THE_START, Packed, Packet, Recording, decoder, parameters};
use super::{fault, ogg, opus};
use crate::codec::Limits;
use crate::codec::container::{self, Coding, Medium, mkv, mp4};
use crate::data::info::Format;
use crate::error::{Fault, Reason};

/// MPEG audio, layers II and III.
pub const MP3: Packed = Packed { format: Format::Mp3, sniff: is_mpeg, open: open_mpeg };
/// AAC in ADTS.
pub const AAC: Packed = Packed { format: Format::Aac, sniff: is_adts, open: open_adts };
/// Vorbis, Opus and FLAC in Ogg.
pub const OGG: Packed = Packed {
    format: Format::Ogg,
    sniff: |bytes| bytes.starts_with(b"OggS") && crate::codec::foreign::moving(bytes).is_none(),
    open: ogg::open,
};
/// AIFF and AIFC.
pub const AIFF: Packed = Packed { format: Format::Aiff, sniff: is_aiff, open: open_aiff };
/// Apple's Core Audio Format.
pub const CAF: Packed = Packed { format: Format::Caf, sniff: |bytes| bytes.starts_with(b"caff"), open: open_caf };
/// Sound alone in ISO base media files.
pub const M4A: Packed = Packed { format: Format::M4a, sniff: |bytes| mp4::sniff(bytes, Medium::Audio), open: open_mp4 };
/// Sound alone in Matroska and WebM.
pub const MKA: Packed = Packed { format: Format::Mka, sniff: |bytes| mkv::sniff(bytes, Medium::Audio), open: open_mkv };

fn corrupt(what: impl std::fmt::Display) -> Fault {
    Fault::new(Reason::Corrupt, what)
}

/// Where the sound begins behind an ID3v2 tag (id3.org, "ID3 tag version 2.4.0", 3.1), if there is one.
fn behind_id3(bytes: &[u8]) -> usize {
    match bytes {
        [b'I', b'D', b'3', 2..=4, _, flags, a @ ..=0x7f, b @ ..=0x7f, c @ ..=0x7f, d @ ..=0x7f, ..] => {
            let size = [a, b, c, d].iter().fold(0, |n, &&byte| n << 7 | usize::from(byte));
            size + if flags & 0x10 != 0 { 20 } else { 10 }
        }
        _ => 0,
    }
}

/// Where the sound ends before an ID3v1 and an APEv2 tag.
fn before_tags(bytes: &[u8]) -> usize {
    let mut end = bytes.len();
    if end >= 128 && bytes[end - 128..].starts_with(b"TAG") {
        end -= 128;
    }
    // A footer of 32 bytes: name, version, size without a header, items, flags (is there a header?).
    if let Some(footer) = end.checked_sub(32).and_then(|at| bytes[at..end].strip_prefix(b"APETAGEX")) {
        let word = |at: usize| u32::from_le_bytes([footer[at], footer[at + 1], footer[at + 2], footer[at + 3]]);
        let size = word(4) as usize + if word(12) & 0x8000_0000 != 0 { 32 } else { 0 };
        end = end.checked_sub(size).unwrap_or(end);
    }
    end
}

/// Whether the content is behind an ID3v2 tag, of which nothing else can be said as long as its end is not here; or what
/// `is` says of what follows the tag.
fn tagged(bytes: &[u8], is: fn(&[u8]) -> bool, otherwise: bool) -> bool {
    match behind_id3(bytes) {
        at if at >= bytes.len() => otherwise,
        at => is(&bytes[at..]),
    }
}

fn is_mpeg(bytes: &[u8]) -> bool {
    tagged(bytes, is_mpeg_frame, true)
}

/// A frame, and another one behind it as far as that can be seen.
fn is_mpeg_frame(bytes: &[u8]) -> bool {
    let Some(length) = mpeg_length(bytes) else { return false };
    bytes.len() < length + 4 || mpeg_length(&bytes[length..]).is_some() && bytes[1] >> 1 == bytes[length + 1] >> 1
}

/// The bytes of a frame of layer II or III, by its header (ISO/IEC 11172-3, 2.4.1.3 and 2.4.2.3; ISO/IEC 13818-3, 2.4.2.3).
fn mpeg_length(bytes: &[u8]) -> Option<usize> {
    const ONE_III: [usize; 14] = [32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320];
    const ONE_II: [usize; 14] = [32, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384];
    const TWO: [usize; 14] = [8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160];
    let [0xff, second @ 0xe0..=0xff, third, _, ..] = *bytes else { return None };
    // Halves of MPEG-1's rates: version 2 once, version 2.5 twice.
    let halves = match second >> 3 & 3 {
        3 => 0,
        2 => 1,
        0 => 2,
        _ => return None,
    };
    let (kbits, per_frame) = match (second >> 1 & 3, halves) {
        (1, 0) => (&ONE_III, 144_000),
        (1, _) => (&TWO, 72_000),
        (2, 0) => (&ONE_II, 144_000),
        (2, _) => (&TWO, 144_000),
        _ => return None,
    };
    let kbits = kbits.get(usize::from(third >> 4).checked_sub(1)?)?;
    let rate = [44_100, 48_000, 32_000].get(usize::from(third >> 2 & 3))? >> halves;
    Some(per_frame * kbits / rate + usize::from(third >> 1 & 1))
}

fn is_adts(bytes: &[u8]) -> bool {
    tagged(bytes, is_adts_frame, false)
}

fn is_adts_frame(bytes: &[u8]) -> bool {
    adts_length(bytes).is_some()
}

fn is_aiff(bytes: &[u8]) -> bool {
    bytes.starts_with(b"FORM") && matches!(bytes.get(8..12), Some(b"AIFF" | b"AIFC"))
}

/// A stream that can go back.
pub(super) fn seekable(bytes: &[u8]) -> MediaSourceStream<'_> {
    MediaSourceStream::new(Box::new(Cursor::new(bytes)), MediaSourceStreamOptions::default())
}

/// A stream that cannot go back: readers do not guess a length from a bit rate.
fn forward(bytes: &[u8]) -> MediaSourceStream<'_> {
    MediaSourceStream::new(
        Box::new(ReadOnlySource::new(bytes.take(bytes.len() as u64))),
        MediaSourceStreamOptions::default(),
    )
}

/// A reader's next packet.
pub(super) fn next(
    reader: &mut dyn FormatReader,
    name: &str,
) -> Result<Option<symphonia::core::packet::Packet>, Fault> {
    reader.next_packet().map_err(|e| fault(&e, name))
}

fn open_mpeg<'b>(bytes: &'b [u8], _: &Limits) -> Result<Recording<'b>, Fault> {
    // A decoder's reservoir holds 511 bytes at the most; the smallest frames have 24. One more for the overlap of the
    // transform, one for the filter bank.
    const WARM_UP: usize = 511 / 24 + 3;
    let (from, to) = (behind_id3(bytes).min(bytes.len()), before_tags(bytes));
    let sound = bytes.get(from..to).unwrap_or_default();
    let mut reader = MpaReader::try_new(forward(sound), FormatOptions::default()).map_err(|e| fault(&e, "mp3"))?;
    let params = parameters(&reader, "mp3")?;
    let track = reader.tracks().first();
    let delay = track.and_then(|track| track.delay).unwrap_or(0);
    let end = track.and_then(|track| track.num_frames).map_or(End::Line, End::Stated);
    let mut at = 0;
    let packets = move || {
        let Some(packet) = next(&mut reader, "mp3")? else {
            // A frame that begins like those before it and is not whole.
            let rest = &sound[at..];
            if mpeg_length(rest).is_some() && sound.get(1).is_some_and(|second| second >> 1 == rest[1] >> 1) {
                return Err(Fault::new(Reason::Truncated, "mp3: the recording ends within a frame"));
            }
            return Ok(None);
        };
        at = place(sound, at, &packet.data) + packet.data.len();
        Ok(Some(Packet { data: packet.data.into_vec().into(), samples: Some(packet.dur.get()), padding: 0 }))
    };
    let packets = Box::new(packets);
    let decoder = decoder(&params, "mp3")?;
    Ok(Recording { decoder, packets, delay: u64::from(delay), end, warm_up: WARM_UP })
}

/// Where a packet lies that was read from `bytes` at or behind `from`: readers step over what is no frame.
fn place(bytes: &[u8], from: usize, packet: &[u8]) -> usize {
    let rest = &bytes[from..];
    if rest.starts_with(packet) || packet.is_empty() {
        return from;
    }
    from + rest.windows(packet.len()).position(|window| window == packet).unwrap_or(0)
}

/// The bytes of a frame, by its header (ISO/IEC 13818-7, 6.2).
fn adts_length(bytes: &[u8]) -> Option<usize> {
    let [0xff, second, third, fourth, fifth, sixth, _, ..] = *bytes else { return None };
    let length = usize::from(fourth & 3) << 11 | usize::from(fifth) << 3 | usize::from(sixth >> 5);
    (second & 0xf6 == 0xf0 && third >> 2 & 15 < 13 && length > 7).then_some(length)
}

/// One frame follows the other, and the last is whole: readers look for the next sync word, and take a cut frame for the
/// end.
fn adts_frames(bytes: &[u8]) -> Result<(), Fault> {
    let mut at = 0;
    while at < bytes.len() {
        let rest = &bytes[at..];
        at += match adts_length(rest) {
            Some(length) if length <= rest.len() => length,
            None if rest.len() >= 7 => {
                return Err(corrupt(format!("aac: no frame where one should begin, at byte {at}")));
            }
            _ => return Err(Fault::new(Reason::Truncated, "aac: the recording ends within a frame")),
        };
    }
    Ok(())
}

fn open_adts<'b>(bytes: &'b [u8], _: &Limits) -> Result<Recording<'b>, Fault> {
    let (from, to) = (behind_id3(bytes).min(bytes.len()), before_tags(bytes));
    let sound = bytes.get(from..to).unwrap_or_default();
    adts_frames(sound)?;
    let mut reader = AdtsReader::try_new(forward(sound), FormatOptions::default()).map_err(|e| fault(&e, "aac"))?;
    let params = parameters(&reader, "aac")?;
    let packets = move || {
        let packet = next(&mut reader, "aac")?;
        Ok(packet.map(|p| Packet { data: p.data.into_vec().into(), samples: Some(p.dur.get()), padding: 0 }))
    };
    let decoder = decoder(&params, "aac")?;
    Ok(Recording { decoder, packets: Box::new(packets), delay: 0, end: End::Line, warm_up: FROM_THE_START })
}

fn open_aiff<'b>(bytes: &'b [u8], _: &Limits) -> Result<Recording<'b>, Fault> {
    let reader = AiffReader::try_new(seekable(bytes), FormatOptions::default()).map_err(|e| fault(&e, "aiff"))?;
    open_plain(Box::new(reader), "aiff")
}

fn open_caf<'b>(bytes: &'b [u8], _: &Limits) -> Result<Recording<'b>, Fault> {
    let reader = CafReader::try_new(seekable(bytes), FormatOptions::default()).map_err(|e| fault(&e, "caf"))?;
    open_plain(Box::new(reader), "caf")
}

/// A reader whose packets stand alone, and that says how many samples there are.
fn open_plain<'b>(mut reader: Box<dyn FormatReader + 'b>, name: &'static str) -> Result<Recording<'b>, Fault> {
    let params = parameters(&*reader, name)?;
    let track = reader.tracks().first();
    let delay = u64::from(track.and_then(|track| track.delay).unwrap_or(0));
    let warm_up = if [CODEC_ID_AAC, CODEC_ID_OPUS].contains(&params.codec) { FROM_THE_START } else { 0 };
    let stated = is_pcm(params.codec);
    let end = match track.and_then(|track| track.num_frames) {
        Some(frames) if stated => End::Stated(frames),
        // ffmpeg counts the last packet of ALAC as a whole one, which it is not.
        Some(frames) => End::At(delay.saturating_add(frames)),
        None => End::Line,
    };
    let packets = move || {
        let packet = next(&mut *reader, name)?;
        Ok(packet.map(|p| Packet {
            samples: stated.then_some(p.dur.get()),
            data: p.data.into_vec().into(),
            padding: 0,
        }))
    };
    Ok(Recording { decoder: decoder(&params, name)?, packets: Box::new(packets), delay, end, warm_up })
}

fn is_pcm(codec: AudioCodecId) -> bool {
    PcmDecoder::supported_codecs().iter().any(|supported| supported.id == codec)
}

fn open_mp4<'b>(bytes: &'b [u8], limits: &Limits) -> Result<Recording<'b>, Fault> {
    open_track(bytes, mp4::read(bytes, Medium::Audio, limits)?, "m4a")
}

fn open_mkv<'b>(bytes: &'b [u8], limits: &Limits) -> Result<Recording<'b>, Fault> {
    open_track(bytes, mkv::read(bytes, Medium::Audio, limits)?, "mka")
}

/// `ticks * rate * scale`, to the nearest.
fn rescaled(ticks: u64, rate: u32, (num, den): (u64, u64)) -> u64 {
    let (n, d) = (u128::from(ticks) * u128::from(rate) * u128::from(num), u128::from(den.max(1)));
    u64::try_from((2 * n + d) / (2 * d)).unwrap_or(u64::MAX)
}

/// A track of a container of ours.
fn open_track<'b>(bytes: &'b [u8], track: container::Track, name: &'static str) -> Result<Recording<'b>, Fault> {
    let container::Track { coding, record, listing, scale, edit, channels, rate, bits, delay_ns, exact, .. } = track;
    let samples = listing.samples;
    // MP4 files say two channels of MPEG audio whatever it has; its own header (ISO/IEC 11172-3, 2.4.1.3) knows.
    let first = samples.first().and_then(|s| container::data(bytes, (s.offset, s.size), name).ok());
    let channels = match (&coding, first) {
        (Coding::Mp2 | Coding::Mp3, Some([_, _, _, modes, ..])) => 2 - u32::from(modes >> 6 == 3),
        _ => channels,
    };
    let mut params = AudioCodecParameters::new();
    let mut codec = |codec: AudioCodecId| {
        params.for_codec(codec).with_sample_rate(rate);
        params.with_channels(Channels::Discrete(u16::try_from(channels).unwrap_or(0)));
    };
    let mut by_size = None;
    // The longest memory that a decoder of the family has; MPEG audio in here does not say its lengths.
    let warm_up = match coding {
        Coding::Vorbis => 1,
        Coding::Aac | Coding::Mp2 | Coding::Mp3 | Coding::Opus => FROM_THE_START,
        _ => 0,
    };
    match &coding {
        Coding::Aac => codec(CODEC_ID_AAC),
        Coding::Alac => codec(CODEC_ID_ALAC),
        Coding::Flac => codec(CODEC_ID_FLAC),
        Coding::Mp2 => codec(CODEC_ID_MP2),
        Coding::Mp3 => codec(CODEC_ID_MP3),
        Coding::Opus => codec(CODEC_ID_OPUS),
        Coding::Vorbis => codec(CODEC_ID_VORBIS),
        Coding::Pcm { float } => {
            codec(match (float, bits) {
                (false, 8) => CODEC_ID_PCM_U8,
                (false, 16) => CODEC_ID_PCM_S16LE,
                (false, 24) => CODEC_ID_PCM_S24LE,
                (false, 32) => CODEC_ID_PCM_S32LE,
                (true, 32) => CODEC_ID_PCM_F32LE,
                (true, 64) => CODEC_ID_PCM_F64LE,
                _ => return Err(Fault::new(Reason::Unsupported, format!("{name}: PCM of {bits} bits"))),
            });
            by_size = Some(u64::from(channels) * u64::from(bits) / 8).filter(|&size| size > 0);
        }
        Coding::Other(what) => {
            return Err(Fault::new(Reason::Unsupported, format!("{name}: the sound is {what}, which is not decoded")));
        }
        _ => return Err(corrupt(format!("{name}: a sound track with the coding of pictures"))),
    }
    let head = if coding == Coding::Opus { Some(opus::Head::read(&record)?) } else { None };
    if !record.is_empty() {
        params.with_extra_data(record.into_boxed_slice());
    }
    let decoder = decoder(&params, name)?;
    let rate = decoder.codec_params().sample_rate.unwrap_or(rate);
    let nanoseconds = move |ns: u64| rescaled(ns, rate, (1, 1_000_000_000));
    let delay = match edit {
        Some(edit) => rescaled(u64::try_from(edit.start).unwrap_or(0), rate, scale),
        // The same as `CodecDelay`, where that is right: ffmpeg counts it wrong for what was not recorded at 48 kHz.
        None if head.is_some() => head.map_or(0, |head| u64::from(head.pre_skip)),
        None => nanoseconds(delay_ns),
    };
    let end = if exact {
        let all = samples.iter().fold(0u64, |sum, s| sum.saturating_add(s.length));
        let all = i64::try_from(all).unwrap_or(i64::MAX);
        // The table of lengths is exact where the edit list can only be near to it.
        let last = match edit {
            Some(edit) if edit.end.saturating_add(edit.tolerance) < all => edit.end,
            _ => all,
        };
        End::At(rescaled(u64::try_from(last).unwrap_or(0), rate, scale))
    } else {
        End::Line
    };
    let mut number = 0;
    let packets = move || {
        let Some(sample) = samples.get(number) else { return Ok(None) };
        let data = container::data(bytes, (sample.offset, sample.size), format_args!("{name}: packet {number}"))?;
        number += 1;
        let length = match (&coding, by_size) {
            (Coding::Aac, _) => Some(1024),
            (Coding::Opus, _) => opus::samples(data),
            (Coding::Alac | Coding::Flac, _) if exact => Some(rescaled(sample.length, rate, scale)),
            (_, Some(size)) => Some(data.len() as u64 / size),
            _ => None,
        };
        Ok(Some(Packet { data: Cow::Borrowed(data), samples: length, padding: nanoseconds(sample.discard_ns) }))
    };
    Ok(Recording { decoder, packets: Box::new(packets), delay, end, warm_up })
}
