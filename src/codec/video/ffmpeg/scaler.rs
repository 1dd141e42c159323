//! Pixels of any format to RGB8, by swscale.

use std::ffi::c_int;
use std::ptr::{null, null_mut};

use ffmpeg_sys_next as ff;

use super::frame::{Facts, Frame, pixel_format};
use super::log::refused;
use crate::error::{Fault, Reason};

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
