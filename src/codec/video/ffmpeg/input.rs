//! The demuxer on a payload, its video stream and its packets.

use std::ffi::{CStr, c_int, c_void};
use std::marker::PhantomData;
use std::ptr::{self, null, null_mut};

use ffmpeg_sys_next as ff;

use super::log::{refused, tame};
use super::raw::{bytes, no_memory, number};
use crate::error::{Fault, Reason};

/// Bytes of the buffer between the payload and a demuxer.
const BUFFER: usize = 32 << 10;

/// A demuxer may read each byte of the payload so often, and [`READ_ANYWAY`] bytes beside: seeks fill the buffer anew.
const READ_TIMES: u64 = 64;
const READ_ANYWAY: u64 = 64 << 20;

/// Streams that a container may have.
const STREAMS: c_int = 256;

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
pub(super) struct Parameters(pub(super) *mut ff::AVCodecParameters);

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

/// A packet: what a decoder takes at once.
pub(super) struct Packet(pub(super) *mut ff::AVPacket);

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
