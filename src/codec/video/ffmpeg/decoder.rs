//! The decoder of a stream: packets in, frames out.

use std::ffi::{CStr, c_int};
use std::ptr::{null, null_mut};

use ffmpeg_sys_next as ff;

use super::frame::Frame;
use super::input::{Packet, Parameters};
use super::log::{self, refused, tame};
use super::raw::{no_memory, number};
use crate::codec::Limits;
use crate::error::{Fault, Reason};

/// Pixels that a decoder may always have.
const LEAST_PIXELS: u64 = 1 << 20;

/// A decoder of one thread, whose output depends on its input alone.
pub(super) struct Decoder {
    context: *mut ff::AVCodecContext,
    /// Whether it may be told to forget a picture that it does not have.
    unknown: bool,
    /// Whether what it says of damage counts although it refuses nothing.
    listened: bool,
    /// Whether it may leave out frames that none refers to.
    skips: bool,
}

impl Drop for Decoder {
    fn drop(&mut self) {
        // SAFETY: made by `avcodec_alloc_context3`, freed once.
        unsafe { ff::avcodec_free_context(&mut self.context) };
    }
}

impl Decoder {
    pub(super) fn open(parameters: &Parameters, name: &str, limits: &Limits) -> Result<Self, Fault> {
        tame();
        let codec = find(parameters.coding());
        if codec.is_null() {
            let message = format!("the video is {name}, which this FFmpeg does not decode");
            return Err(Fault::new(Reason::Unsupported, message));
        }
        // SAFETY: the codec is a constant of the library; a null is seen below. Options are set before it is opened.
        unsafe {
            use ff::AVCodecID::{AV_CODEC_ID_FFV1, AV_CODEC_ID_HEVC, AV_CODEC_ID_VP8};
            let is = |coding: ff::AVCodecID| parameters.coding() == coding as i32;
            // FFV1's decoder says that a slice's sum (RFC 9043, 4.9.3) is wrong, and fills its place from the frame before; HEVC's that a
            // picture referred to is not there, and makes one up.
            let listened = is(AV_CODEC_ID_FFV1) || is(AV_CODEC_ID_HEVC);
            // What H.265 calls unreferenced is so in its own temporal layer alone, and a frame of VP8 that none refers to may still
            // change what later ones are read by (its segments): all of them are decoded.
            let skips = !is(AV_CODEC_ID_HEVC) && !is(AV_CODEC_ID_VP8);
            let decoder = Decoder { context: ff::avcodec_alloc_context3(codec), unknown: false, listened, skips };
            let context = decoder.context;
            if context.is_null() {
                return Err(no_memory("a decoder"));
            }
            let code = ff::avcodec_parameters_to_context(context, parameters.0);
            if code < 0 {
                return Err(refused(name, code));
            }
            // Some decoders hold their scratch to it, of up to 280 rows (libavcodec/mpegpicture.c), so that it may not be smaller
            // than that. What a frame has is seen when it comes.
            (*context).max_pixels = i64::try_from(limits.pixels.max(LEAST_PIXELS)).unwrap_or(i64::MAX);
            (*context).thread_count = 1;
            (*context).thread_type = 0;
            // The same bytes on every machine, and pictures cropped to the pixel.
            (*context).flags |= (ff::AV_CODEC_FLAG_BITEXACT | ff::AV_CODEC_FLAG_UNALIGNED) as c_int;
            // What is damaged is refused. Concealment stays on, for it is what finds slices that are not there, and says so of the
            // frame; without it, frames of several slices are called damaged that are not (libavcodec/error_resilience.c).
            (*context).err_recognition |=
                ff::AV_EF_EXPLODE | ff::AV_EF_CRCCHECK | ff::AV_EF_BITSTREAM | ff::AV_EF_BUFFER;
            // H.264 that does not say by how much its pictures are reordered is held back by as much as may be: with the guess
            // that is taken otherwise, pictures at the beginning are lost.
            (*context).strict_std_compliance = ff::FF_COMPLIANCE_STRICT;
            (*context).pkt_timebase = ff::AVRational { num: 1, den: 1 };
            let code = ff::avcodec_open2(context, codec, null_mut());
            if code < 0 {
                return Err(refused(name, code));
            }
            Ok(decoder)
        }
    }

    /// Whether it may be told to forget a picture that it does not have, which is damage otherwise.
    ///
    /// H.264's decoder refuses that among all else that is damaged, or nothing; so then it refuses nothing, and what it says
    /// is listened to.
    pub(super) fn admit_unknown_references(&mut self, admitted: bool) {
        self.unknown = admitted;
        // SAFETY: valid until dropped; the decoder looks at it when it has something to refuse.
        unsafe {
            let recognized = &raw mut (*self.context).err_recognition;
            *recognized = if admitted { *recognized & !ff::AV_EF_EXPLODE } else { *recognized | ff::AV_EF_EXPLODE };
        }
    }

    /// Hands over also the frames of which H.264's decoder does not know that all they refer to was there: it learns so only when
    /// the recovery point is presented while packets still come, and keeps back what is presented when they have ended.
    pub(super) fn give_unrecovered(&mut self) {
        // SAFETY: valid until dropped; the decoder looks at it with each frame.
        unsafe { (*self.context).flags |= ff::AV_CODEC_FLAG_OUTPUT_CORRUPT as c_int };
    }

    pub(super) fn admits_unknown_references(&self) -> bool {
        self.unknown
    }

    /// An answer of the decoder, which is a refusal too if it complained where it may not refuse.
    fn answer(&self, code: c_int) -> Result<c_int, Fault> {
        let complaint = if (self.unknown || self.listened) && code >= 0 { log::said() } else { None };
        match complaint {
            Some(words) => Err(Fault::new(Reason::Corrupt, format!("ffmpeg: a frame: {words}"))),
            None if code < 0 && code != -libc::EAGAIN && code != ff::AVERROR_EOF => Err(refused("a frame", code)),
            None => Ok(code),
        }
    }

    /// Takes a packet; with `None` there will be no more. `passing` says that nobody wants its frame, so that it may be left
    /// out if no other needs it.
    pub(super) fn send(&mut self, packet: Option<&Packet>, passing: bool) -> Result<(), Fault> {
        let packet = packet.map_or(null(), |packet| packet.0.cast_const());
        log::forget();
        // SAFETY: all are valid. What the decoder keeps of the packet it has its own reference to.
        let code = unsafe {
            (*self.context).skip_frame =
                if passing && self.skips { ff::AVDiscard::AVDISCARD_NONREF } else { ff::AVDiscard::AVDISCARD_DEFAULT };
            ff::avcodec_send_packet(self.context, packet)
        };
        // All frames were received before, so that there is room for a packet.
        match self.answer(code)? {
            0.. => Ok(()),
            code => Err(refused("a frame", code)),
        }
    }

    /// The next frame in the order of presentation, if there is one before another packet is taken.
    pub(super) fn receive(&mut self, frame: &mut Frame) -> Result<bool, Fault> {
        log::forget();
        // SAFETY: both are valid; what the frame held before is freed by this.
        let code = unsafe { ff::avcodec_receive_frame(self.context, frame.0) };
        Ok(self.answer(code)? >= 0)
    }
}

/// FFmpeg's first decoder of a coding that is neither experimental nor a machine's; null if it has none.
///
/// Two of AV1 are passed over. `re_rav1d` exports the functions of dav1d, so in a process with both FFmpeg's `libdav1d` would call
/// those, whose structures are of another version. FFmpeg's own decodes by a machine alone, and does not say so.
fn find(coding: i32) -> *const ff::AVCodec {
    let unwanted = ff::AV_CODEC_CAP_EXPERIMENTAL | ff::AV_CODEC_CAP_HARDWARE | ff::AV_CODEC_CAP_HYBRID;
    let mut at = null_mut();
    loop {
        // SAFETY: walks a constant table; `at` is FFmpeg's own note of the place, null at the beginning.
        let codec = unsafe { ff::av_codec_iterate(&mut at) };
        if codec.is_null() {
            return codec;
        }
        // SAFETY: an entry of the table.
        unsafe {
            let wanted = number!(codec, id) == coding && ff::av_codec_is_decoder(codec) != 0;
            let name = CStr::from_ptr((*codec).name);
            if cfg!(feature = "av1") && name == c"libdav1d" || name == c"av1" {
                continue;
            }
            if wanted && (*codec).capabilities as u32 & unwanted == 0 {
                return codec;
            }
        }
    }
}
