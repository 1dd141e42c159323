//! FFmpeg's structures as owned Rust values: what one holds is freed when it goes, on every path.
//!
//! All calls into FFmpeg but the log's are here. Structures are used through pointers, never through references, and
//! their enumerations are read as numbers: a library that is newer than its headers may have values that the bindings do not.

use std::ffi::{CStr, c_int, c_void};
use std::marker::PhantomData;
use std::ptr::{self, null, null_mut};

use ffmpeg_sys_next as ff;

use super::log::{self, refused, tame};
use crate::codec::Limits;
use crate::error::{Fault, Reason};

/// Bytes of the buffer between the payload and a demuxer.
const BUFFER: usize = 32 << 10;

/// A demuxer may read each byte of the payload so often, and [`READ_ANYWAY`] bytes beside: seeks fill the buffer anew.
const READ_TIMES: u64 = 64;
const READ_ANYWAY: u64 = 64 << 20;

/// Streams that a container may have.
const STREAMS: c_int = 256;

/// Pixels that a decoder may always have.
const LEAST_PIXELS: u64 = 1 << 20;

/// FFmpeg's version.
pub(super) fn version() -> String {
    // SAFETY: a constant of the library that ends with a 0.
    unsafe { CStr::from_ptr(ff::av_version_info()) }.to_string_lossy().into_owned()
}

fn no_memory(what: &str) -> Fault {
    Fault::new(Reason::OverLimit, format!("ffmpeg: no memory for {what}"))
}

/// Reads a field that is an enumeration as the number it is.
macro_rules! number {
    ($pointer:expr, $field:ident) => {
        // The bindings make 32-bit enumerations, as C does.
        (&raw const (*$pointer).$field).cast::<i32>().read()
    };
}

/// The payload, as FFmpeg reads it.
struct Reader {
    data: *const u8,
    size: u64,
    at: u64,
    /// Bytes that may still be read.
    budget: u64,
}

/// Hands over bytes of the payload: [`ff::avio_alloc_context`]'s `read_packet`.
unsafe extern "C" fn read(opaque: *mut c_void, into: *mut u8, size: c_int) -> c_int {
    // SAFETY: `opaque` is the `Reader` that the `Input` keeps until the context is freed, and nothing else uses it meanwhile.
    let reader = unsafe { &mut *opaque.cast::<Reader>() };
    let count = reader.size.saturating_sub(reader.at).min(u64::try_from(size).unwrap_or(0));
    if count == 0 {
        return ff::AVERROR_EOF;
    }
    if count > reader.budget {
        return ff::AVERROR_EXIT;
    }
    // SAFETY: `at + count` is within the payload, and FFmpeg gives room for `size` bytes, of which `count` are written.
    unsafe { ptr::copy_nonoverlapping(reader.data.add(reader.at as usize), into, count as usize) };
    reader.at += count;
    reader.budget -= count;
    count as c_int
}

/// Moves in the payload, or says its size: [`ff::avio_alloc_context`]'s `seek`.
unsafe extern "C" fn seek(opaque: *mut c_void, offset: i64, whence: c_int) -> i64 {
    // SAFETY: as in `read`.
    let reader = unsafe { &mut *opaque.cast::<Reader>() };
    if whence & ff::AVSEEK_SIZE != 0 {
        return reader.size as i64;
    }
    let base = match whence & 3 {
        libc::SEEK_SET => 0,
        libc::SEEK_CUR => reader.at as i64,
        _ => reader.size as i64,
    };
    match base.checked_add(offset).and_then(|at| u64::try_from(at).ok()) {
        Some(at) => {
            reader.at = at;
            at as i64
        }
        None => i64::from(-libc::EINVAL),
    }
}

/// Refuses to open what a container names beside itself: [`ff::AVFormatContext::io_open`].
unsafe extern "C" fn open_nothing(
    _: *mut ff::AVFormatContext,
    _: *mut *mut ff::AVIOContext,
    _: *const std::ffi::c_char,
    _: c_int,
    _: *mut *mut ff::AVDictionary,
) -> c_int {
    -libc::EPERM
}

/// A demuxer on a payload.
pub(super) struct Input<'a> {
    context: *mut ff::AVFormatContext,
    io: *mut ff::AVIOContext,
    /// What `io` reads from; freed after it.
    reader: *mut Reader,
    payload: PhantomData<&'a [u8]>,
}

impl Drop for Input<'_> {
    fn drop(&mut self) {
        // SAFETY: each is null or what its own function made, freed once; the demuxer first, since it may look at `io` at its end,
        // and `io`'s buffer by itself, since FFmpeg may have put another in its place.
        unsafe {
            ff::avformat_close_input(&mut self.context);
            if !self.io.is_null() {
                ff::av_freep((&raw mut (*self.io).buffer).cast());
                ff::avio_context_free(&mut self.io);
            }
            if !self.reader.is_null() {
                drop(Box::from_raw(self.reader));
            }
        }
    }
}

/// What is kept of a stream: how it is coded, and its clock.
pub(super) struct Stream {
    pub(super) index: c_int,
    pub(super) parameters: Parameters,
    /// A tick lasts `scale.0 / scale.1` seconds.
    pub(super) scale: (u64, u64),
    /// Frames as the container's header counts them; 0 if it does not.
    pub(super) frames: u64,
    /// Ticks as the container's header counts them; 0 if it does not.
    pub(super) ticks: u64,
}

impl<'a> Input<'a> {
    /// Opens a payload by one demuxer, which may use no other and open nothing else.
    pub(super) fn open(bytes: &'a [u8], demuxer: &CStr) -> Result<Self, Fault> {
        tame();
        // SAFETY: the name ends with a 0; the answer is a constant of the library or null.
        let format = unsafe { ff::av_find_input_format(demuxer.as_ptr()) };
        if format.is_null() {
            let message = format!("this FFmpeg has no demuxer \"{}\"", demuxer.to_string_lossy());
            return Err(Fault::new(Reason::Unsupported, message));
        }
        // SAFETY: a constant of the library.
        if unsafe { (*format).flags } & ff::AVFMT_NOFILE != 0 {
            let message = format!("FFmpeg's \"{}\" reads no payload", demuxer.to_string_lossy());
            return Err(Fault::new(Reason::Unsupported, message));
        }
        let size = bytes.len() as u64;
        let budget = size.saturating_mul(READ_TIMES).saturating_add(READ_ANYWAY);
        let reader = Box::into_raw(Box::new(Reader { data: bytes.as_ptr(), size, at: 0, budget }));
        let mut input = Input { context: null_mut(), io: null_mut(), reader, payload: PhantomData };
        // SAFETY: the buffer is FFmpeg's own, goes to the context with its size, and is freed here if there is no context. The
        // reader lives until the context is gone (`drop`). Fields are set as the documentation has it: before it is opened.
        unsafe {
            let buffer = ff::av_malloc(BUFFER);
            if buffer.is_null() {
                return Err(no_memory("a buffer"));
            }
            let opaque = input.reader.cast();
            input.io = ff::avio_alloc_context(buffer.cast(), BUFFER as c_int, 0, opaque, Some(read), None, Some(seek));
            if input.io.is_null() {
                ff::av_free(buffer);
                return Err(no_memory("a reader"));
            }
            input.context = ff::avformat_alloc_context();
            let context = input.context;
            if context.is_null() {
                return Err(no_memory("a demuxer"));
            }
            (*context).pb = input.io;
            (*context).flags |= ff::AVFMT_FLAG_CUSTOM_IO;
            (*context).io_open = Some(open_nothing);
            (*context).max_streams = STREAMS;
            (*context).error_recognition = ff::AV_EF_EXPLODE | ff::AV_EF_CRCCHECK;
            // Freed with the context. No decoder is admitted to the search for facts: it would decode without limits.
            (*context).protocol_whitelist = ff::av_strdup(c"none".as_ptr());
            (*context).codec_whitelist = ff::av_strdup(c"none".as_ptr());
            (*context).format_whitelist = ff::av_strdup(demuxer.as_ptr());
            if (*context).protocol_whitelist.is_null()
                || (*context).codec_whitelist.is_null()
                || (*context).format_whitelist.is_null()
            {
                return Err(no_memory("a demuxer"));
            }
            // A context that cannot be opened is freed by this and set to null.
            let code = ff::avformat_open_input(&mut input.context, c"".as_ptr(), format, null_mut());
            if code < 0 {
                return Err(refused("the header", code));
            }
            let code = ff::avformat_find_stream_info(input.context, null_mut());
            if code < 0 {
                return Err(refused("the streams", code));
            }
        }
        Ok(input)
    }

    /// The first stream of moving pictures; only its packets will be read.
    pub(super) fn video(&mut self) -> Result<Stream, Fault> {
        let mut found = None;
        // SAFETY: FFmpeg keeps `nb_streams` streams there, each with parameters, until the next call that reads.
        unsafe {
            for at in 0..(*self.context).nb_streams as usize {
                let stream = *(*self.context).streams.add(at);
                let is_video = number!((*stream).codecpar, codec_type) == ff::AVMediaType::AVMEDIA_TYPE_VIDEO as i32;
                if found.is_none() && is_video && (*stream).disposition & ff::AV_DISPOSITION_ATTACHED_PIC == 0 {
                    found = Some(stream);
                } else {
                    (*stream).discard = ff::AVDiscard::AVDISCARD_ALL;
                }
            }
            let stream = found.ok_or_else(|| Fault::new(Reason::WrongMedia, "there is no video track"))?;
            let base = (*stream).time_base;
            let scale = u64::try_from(base.num).ok().zip(u64::try_from(base.den).ok()).filter(|s| s.0 > 0 && s.1 > 0);
            Ok(Stream {
                index: (*stream).index,
                parameters: Parameters::copy((*stream).codecpar)?,
                scale: scale.ok_or_else(|| Fault::new(Reason::Corrupt, "the video track has no time scale"))?,
                frames: u64::try_from((*stream).nb_frames).unwrap_or(0),
                ticks: match number!(self.context, duration_estimation_method) {
                    // FFmpeg writes what it guesses from times or from the rate of bits into the same field.
                    method if method == ff::AVDurationEstimationMethod::AVFMT_DURATION_FROM_STREAM as i32 => {
                        u64::try_from((*stream).duration).unwrap_or(0)
                    }
                    _ => 0,
                },
            })
        }
    }

    /// The next packet of any stream; `None` at the end.
    pub(super) fn packet(&mut self) -> Result<Option<Packet>, Fault> {
        let packet = Packet::new()?;
        // SAFETY: both are valid; on success the packet owns its data.
        match unsafe { ff::av_read_frame(self.context, packet.0) } {
            0.. => Ok(Some(packet)),
            ff::AVERROR_EOF => Ok(None),
            code => Err(refused("a packet", code)),
        }
    }
}

/// How a stream is coded.
pub(super) struct Parameters(*mut ff::AVCodecParameters);

impl Drop for Parameters {
    fn drop(&mut self) {
        // SAFETY: made by `avcodec_parameters_alloc`, freed once.
        unsafe { ff::avcodec_parameters_free(&mut self.0) };
    }
}

impl Parameters {
    /// # Safety
    ///
    /// `from` is valid.
    unsafe fn copy(from: *const ff::AVCodecParameters) -> Result<Self, Fault> {
        // SAFETY: no requirements; a null is seen below.
        let own = Parameters(unsafe { ff::avcodec_parameters_alloc() });
        // SAFETY: both are valid; the copy shares nothing.
        if own.0.is_null() || unsafe { ff::avcodec_parameters_copy(own.0, from) } < 0 {
            return Err(no_memory("a stream's parameters"));
        }
        Ok(own)
    }

    /// FFmpeg's number of the coding.
    pub(super) fn coding(&self) -> i32 {
        // SAFETY: valid until dropped.
        unsafe { number!(self.0, codec_id) }
    }

    /// Pixels across and down as the container has them; 0 if it does not.
    pub(super) fn size(&self) -> (u64, u64) {
        // SAFETY: valid until dropped.
        let (width, height) = unsafe { ((*self.0).width, (*self.0).height) };
        (u64::try_from(width).unwrap_or(0), u64::try_from(height).unwrap_or(0))
    }

    /// The coding's configuration.
    pub(super) fn record(&self) -> &[u8] {
        // SAFETY: FFmpeg keeps `extradata_size` bytes there, which nothing changes while they are borrowed.
        unsafe { bytes((*self.0).extradata, (*self.0).extradata_size) }
    }

    /// The coding's name, and whether each frame stands by itself. "unknown" if FFmpeg has no name for it.
    pub(super) fn describe(&self) -> (String, bool) {
        let coding = self.coding();
        let mut at = null();
        loop {
            // SAFETY: walks a constant table from its beginning (null) to its end (null).
            at = unsafe { ff::avcodec_descriptor_next(at) };
            if at.is_null() {
                return ("unknown".to_owned(), false);
            }
            // SAFETY: an entry of the table; names are constants that end with a 0.
            unsafe {
                if number!(at, id) == coding {
                    let name = CStr::from_ptr((*at).name).to_string_lossy().into_owned();
                    return (name, (*at).props & ff::AV_CODEC_PROP_INTRA_ONLY != 0);
                }
            }
        }
    }
}

/// # Safety
///
/// `data` is null or points to `size` bytes that stay for `'a`.
unsafe fn bytes<'a>(data: *const u8, size: c_int) -> &'a [u8] {
    match usize::try_from(size) {
        // SAFETY: the caller's promise.
        Ok(size) if !data.is_null() => unsafe { std::slice::from_raw_parts(data, size) },
        _ => &[],
    }
}

/// A packet: what a decoder takes at once.
pub(super) struct Packet(*mut ff::AVPacket);

impl Drop for Packet {
    fn drop(&mut self) {
        // SAFETY: made by `av_packet_alloc`, freed once, with its data.
        unsafe { ff::av_packet_free(&mut self.0) };
    }
}

impl Packet {
    fn new() -> Result<Self, Fault> {
        // SAFETY: no requirements.
        let packet = unsafe { ff::av_packet_alloc() };
        if packet.is_null() {
            return Err(no_memory("a packet"));
        }
        Ok(Packet(packet))
    }

    pub(super) fn stream(&self) -> c_int {
        // SAFETY: valid until dropped; so below.
        unsafe { (*self.0).stream_index }
    }

    pub(super) fn data(&self) -> &[u8] {
        // SAFETY: FFmpeg keeps `size` bytes there, which nothing changes while they are borrowed.
        unsafe { bytes((*self.0).data, (*self.0).size) }
    }

    fn has(&self, flag: c_int) -> bool {
        // SAFETY: as above.
        unsafe { (*self.0).flags & flag != 0 }
    }

    /// Whether the container calls it a place to begin.
    pub(super) fn key(&self) -> bool {
        self.has(ff::AV_PKT_FLAG_KEY)
    }

    /// Whether the container has not all of it, or knows it to be damaged.
    pub(super) fn damaged(&self) -> bool {
        self.has(ff::AV_PKT_FLAG_CORRUPT)
    }

    /// Whether it is only decoded, outside an edit.
    pub(super) fn hidden(&self) -> bool {
        self.has(ff::AV_PKT_FLAG_DISCARD)
    }

    /// Whether it changes what the decoder must know beside it: palette, configuration.
    pub(super) fn changes(&self) -> bool {
        use ff::AVPacketSideDataType::{AV_PKT_DATA_NEW_EXTRADATA, AV_PKT_DATA_PALETTE, AV_PKT_DATA_PARAM_CHANGE};
        [AV_PKT_DATA_NEW_EXTRADATA, AV_PKT_DATA_PALETTE, AV_PKT_DATA_PARAM_CHANGE].into_iter().any(|kind| {
            // SAFETY: valid; the answer is only compared with null.
            unsafe { !ff::av_packet_get_side_data(self.0, kind, null_mut()).is_null() }
        })
    }

    /// Times of presentation and of decoding, in ticks.
    pub(super) fn times(&self) -> (Option<i64>, Option<i64>) {
        // SAFETY: as above.
        let (pts, dts) = unsafe { ((*self.0).pts, (*self.0).dts) };
        (Some(pts).filter(|t| *t != ff::AV_NOPTS_VALUE), Some(dts).filter(|t| *t != ff::AV_NOPTS_VALUE))
    }

    /// Ticks on display; 0 if that is unknown.
    pub(super) fn length(&self) -> u64 {
        // SAFETY: as above.
        u64::try_from(unsafe { (*self.0).duration }).unwrap_or(0)
    }

    /// Gives it its place in the list as its time, which the decoder hands on to its frame.
    pub(super) fn number(&mut self, place: usize) {
        // SAFETY: as above, and nothing borrows it.
        unsafe {
            (*self.0).pts = place as i64;
            (*self.0).dts = place as i64;
        }
    }
}

/// A decoder of one thread, whose output depends on its input alone.
pub(super) struct Decoder {
    context: *mut ff::AVCodecContext,
    /// Whether it may be told to forget a picture that it does not have.
    unknown: bool,
    /// Whether what it says of damage counts although it refuses nothing.
    listened: bool,
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
            // FFV1's decoder says that a slice's sum (RFC 9043, 4.9.3) is wrong, and fills its place from the frame before.
            let listened = parameters.coding() == ff::AVCodecID::AV_CODEC_ID_FFV1 as i32;
            let decoder = Decoder { context: ff::avcodec_alloc_context3(codec), unknown: false, listened };
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
            // What is damaged is refused, not concealed.
            (*context).err_recognition |=
                ff::AV_EF_EXPLODE | ff::AV_EF_CRCCHECK | ff::AV_EF_BITSTREAM | ff::AV_EF_BUFFER;
            (*context).error_concealment = 0;
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
                if passing { ff::AVDiscard::AVDISCARD_NONREF } else { ff::AVDiscard::AVDISCARD_DEFAULT };
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
            if wanted && (*codec).capabilities as u32 & unwanted as u32 == 0 {
                return codec;
            }
        }
    }
}

/// A decoded frame.
pub(super) struct Frame(*mut ff::AVFrame);

impl Drop for Frame {
    fn drop(&mut self) {
        // SAFETY: made by `av_frame_alloc`, freed once, with its reference to the picture.
        unsafe { ff::av_frame_free(&mut self.0) };
    }
}

/// What a frame says of itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Facts {
    /// The place of its packet ([`Packet::number`]).
    pub(super) place: Option<usize>,
    pub(super) width: u32,
    pub(super) height: u32,
    /// FFmpeg's number of the pixel format.
    pub(super) format: i32,
    /// `MatrixCoefficients` of ITU-T H.273.
    pub(super) matrix: i32,
    /// 1: limited range, 2: full range, else unknown.
    pub(super) range: i32,
    /// Whether it was predicted from another, as far as the decoder says.
    pub(super) predicted: bool,
    /// Whether the decoder found it damaged.
    pub(super) damaged: bool,
    /// Whether the decoder does not know that all it refers to was there.
    pub(super) unrecovered: bool,
}

impl Frame {
    pub(super) fn new() -> Result<Self, Fault> {
        // SAFETY: no requirements.
        let frame = unsafe { ff::av_frame_alloc() };
        if frame.is_null() {
            return Err(no_memory("a frame"));
        }
        Ok(Frame(frame))
    }

    pub(super) fn facts(&self) -> Facts {
        use ff::AVPictureType as Type;
        let predicted = [Type::AV_PICTURE_TYPE_P, Type::AV_PICTURE_TYPE_B, Type::AV_PICTURE_TYPE_S];
        // SAFETY: valid until dropped.
        unsafe {
            let kind = number!(self.0, pict_type);
            Facts {
                place: usize::try_from((*self.0).pts).ok(),
                width: u32::try_from((*self.0).width).unwrap_or(0),
                height: u32::try_from((*self.0).height).unwrap_or(0),
                format: (*self.0).format,
                matrix: number!(self.0, colorspace),
                range: number!(self.0, color_range),
                predicted: predicted.into_iter().any(|p| p as i32 == kind),
                damaged: (*self.0).decode_error_flags != 0,
                unrecovered: (*self.0).flags & ff::AV_FRAME_FLAG_CORRUPT != 0,
            }
        }
    }

    /// All of its samples as FFmpeg's raw video has them.
    #[cfg(test)]
    pub(super) fn raw(&self) -> Vec<u8> {
        let Facts { format, width, height, .. } = self.facts();
        let format = pixel_format(format).unwrap();
        let (width, height) = (width as c_int, height as c_int);
        // SAFETY: valid until dropped; the copy is held to the size of the vector, which is that of the picture.
        unsafe {
            let size = ff::av_image_get_buffer_size(format, width, height, 1);
            let mut all = vec![0; size as usize];
            let data = (&raw const (*self.0).data).cast();
            let lines = (&raw const (*self.0).linesize).cast();
            assert_eq!(
                size,
                ff::av_image_copy_to_buffer(all.as_mut_ptr(), size, data, lines, format, width, height, 1)
            );
            all
        }
    }

    /// The planes, if they lie as [`Layout::planar`] says, from the top down: bytes, and bytes from row to row. What there is not is empty.
    pub(super) fn planes(&self) -> Option<[(&[u8], usize); 3]> {
        let Facts { format, width, height, .. } = self.facts();
        let (count, depth, shifts) = layout(format)?.planar?;
        let mut planes: [(&[u8], usize); 3] = [(&[], 0); 3];
        for (n, plane) in planes.iter_mut().enumerate().take(count) {
            let (x, y) = if n == 0 { (0, 0) } else { shifts };
            let (columns, rows) = (width.div_ceil(1 << x) as usize, height.div_ceil(1 << y) as usize);
            let row = columns * if depth > 8 { 2 } else { 1 };
            // SAFETY: valid until dropped.
            let (data, stride) = unsafe { (*(&raw const (*self.0).data[n]), *(&raw const (*self.0).linesize[n])) };
            let stride = usize::try_from(stride).ok().filter(|stride| *stride >= row)?;
            if data.is_null() || rows == 0 {
                return None;
            }
            // SAFETY: a decoder gives each plane of the format a row each `linesize` bytes for all of the frame's height, and nothing
            // changes them while the frame is borrowed.
            *plane = (unsafe { std::slice::from_raw_parts(data, stride * (rows - 1) + row) }, stride);
        }
        Some(planes)
    }
}

/// What a pixel format is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Layout {
    /// Planes, without any of alpha, of samples with the low byte first; their bits, and log2 of how often chroma is
    /// sampled across and down. `None` if samples lie in another way.
    pub(super) planar: Option<(usize, u32, (u32, u32))>,
    pub(super) rgb: bool,
    pub(super) gray: bool,
    /// Whether the format's name says that samples use all of their range ("yuvj420p").
    pub(super) full: bool,
}

/// The pixel format of a number, if the bindings know it.
fn pixel_format(number: i32) -> Option<ff::AVPixelFormat> {
    // SAFETY: an enumeration of 32 bits in which each number from 0 to the last has a name.
    (0..ff::AVPixelFormat::AV_PIX_FMT_NB as i32).contains(&number).then(|| unsafe { std::mem::transmute(number) })
}

/// Looks a pixel format up; `None` if it is unknown or no picture in memory.
pub(super) fn layout(format: i32) -> Option<Layout> {
    // SAFETY: a constant of the library, or null.
    unsafe {
        let about = ff::av_pix_fmt_desc_get(pixel_format(format)?);
        if about.is_null() {
            return None;
        }
        let flags = (*about).flags;
        let has = |flag: c_int| flags & flag as u64 != 0;
        if has(ff::AV_PIX_FMT_FLAG_HWACCEL) {
            return None;
        }
        let all = usize::from((*about).nb_components).min(4);
        let count = if has(ff::AV_PIX_FMT_FLAG_ALPHA) { all.saturating_sub(1) } else { all };
        let parts: Vec<ff::AVComponentDescriptor> = (0..count).map(|n| *(&raw const (*about).comp[n])).collect();
        let rgb = has(ff::AV_PIX_FMT_FLAG_RGB);
        // Red, green and blue lie in the planes G, B, R.
        let place = |n: usize| if rgb { [2, 0, 1][n] } else { n as c_int };
        let other = [ff::AV_PIX_FMT_FLAG_PAL, ff::AV_PIX_FMT_FLAG_BITSTREAM, ff::AV_PIX_FMT_FLAG_BAYER];
        let depth = parts.first().map_or(0, |part| part.depth);
        let plain = matches!(count, 1 | 3)
            && !other.into_iter().chain([ff::AV_PIX_FMT_FLAG_FLOAT]).any(has)
            && !(depth > 8 && has(ff::AV_PIX_FMT_FLAG_BE))
            && (8..=12).contains(&depth)
            && parts.iter().enumerate().all(|(n, part)| {
                let bytes = if depth > 8 { 2 } else { 1 };
                (part.plane, part.step, part.offset, part.shift, part.depth) == (place(n), bytes, 0, 0, depth)
            });
        let shifts = (u32::from((*about).log2_chroma_w), u32::from((*about).log2_chroma_h));
        let full = CStr::from_ptr((*about).name).to_bytes().starts_with(b"yuvj");
        Some(Layout { planar: plain.then_some((count, depth as u32, shifts)), rgb, gray: count == 1 && !rgb, full })
    }
}

/// A converter of pixels to RGB8 by swscale, for frames of one kind.
pub(super) struct Scaler {
    context: *mut ff::SwsContext,
    of: Facts,
    /// Rows of RGB with room behind them, which swscale may write to.
    rows: Vec<u8>,
}

impl Drop for Scaler {
    fn drop(&mut self) {
        // SAFETY: made by `sws_getContext`, or null; freed once.
        unsafe { ff::sws_freeContext(self.context) };
    }
}

impl Scaler {
    /// Bytes behind each row, and by how much they are rounded.
    const ROOM: usize = 64;

    /// For frames such as this one; `full` says that its samples use all of their range.
    pub(super) fn new(of: Facts, full: bool) -> Result<Self, Fault> {
        let unsupported = || Fault::new(Reason::Unsupported, format!("ffmpeg: pixel format {} to RGB", of.format));
        let from = pixel_format(of.format).ok_or_else(unsupported)?;
        let size = |n: u32| c_int::try_from(n).map_err(|_| unsupported());
        let (width, height) = (size(of.width)?, size(of.height)?);
        // Chroma as it is taken for its pixels, not interpolated, would need SWS_POINT, which is not exact; see `convert`.
        let exact = ff::SWS_BITEXACT | ff::SWS_ACCURATE_RND | ff::SWS_FULL_CHR_H_INT | ff::SWS_FULL_CHR_H_INP;
        let to = ff::AVPixelFormat::AV_PIX_FMT_RGB24;
        // SAFETY: sizes are positive; a null is seen below, and `drop` takes it too.
        let context = unsafe {
            let flags = ff::SWS_BILINEAR | exact;
            ff::sws_getContext(width, height, from, width, height, to, flags as _, null_mut(), null_mut(), null())
        };
        let scaler = Scaler { context, of, rows: Vec::new() };
        if context.is_null() {
            return Err(unsupported());
        }
        // SAFETY: the tables are constants of the library, also for matrices that it does not know. Formats without a matrix refuse
        // the call, and need none.
        unsafe {
            let from = ff::sws_getCoefficients(if of.matrix == 2 { ff::SWS_CS_DEFAULT } else { of.matrix } as _);
            let to = ff::sws_getCoefficients(ff::SWS_CS_DEFAULT as _);
            ff::sws_setColorspaceDetails(context, from, c_int::from(full), to, 1, 0, 1 << 16, 1 << 16);
        }
        Ok(scaler)
    }

    /// Whether it is for frames such as this one.
    pub(super) fn fits(&self, facts: Facts) -> bool {
        let kind = |facts| Facts { place: None, predicted: false, unrecovered: false, ..facts };
        kind(self.of) == kind(facts)
    }

    /// Writes the frame as RGB8, `[height, width, 3]`; `out` has just that size.
    pub(super) fn convert(&mut self, frame: &Frame, out: &mut [u8]) -> Result<(), Fault> {
        if !self.fits(frame.facts()) {
            return Err(Fault::new(Reason::Corrupt, "ffmpeg: a frame of another kind than the converter's"));
        }
        let (row, rows) = (self.of.width as usize * 3, self.of.height as usize);
        let stride = (row + Self::ROOM).next_multiple_of(Self::ROOM);
        self.rows.resize(stride * rows + Self::ROOM, 0);
        let into = [self.rows.as_mut_ptr(), null_mut(), null_mut(), null_mut()];
        let strides = [stride as c_int, 0, 0, 0];
        // SAFETY: source and size are of the kind that the context was made for; `rows` rows of `stride` bytes are there.
        let done = unsafe {
            let data = (&raw const (*frame.0).data).cast::<*const u8>();
            let lines = (&raw const (*frame.0).linesize).cast::<c_int>();
            ff::sws_scale(self.context, data, lines, 0, rows as c_int, into.as_ptr(), strides.as_ptr())
        };
        if done != rows as c_int {
            return Err(refused("the conversion to RGB", done.min(-1)));
        }
        for (from, to) in self.rows.chunks_exact(stride).zip(out.chunks_exact_mut(row)) {
            to.copy_from_slice(&from[..row]);
        }
        Ok(())
    }
}
