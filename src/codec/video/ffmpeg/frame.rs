//! A decoded frame, and what pixel formats are.

use std::ffi::{CStr, c_int};

use ffmpeg_sys_next as ff;

use super::raw::{no_memory, number};
use crate::error::Fault;

/// A decoded frame.
pub(super) struct Frame(pub(super) *mut ff::AVFrame);

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
            let (data, stride) = unsafe { ((*self.0).data[n], (*self.0).linesize[n]) };
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
pub(super) fn pixel_format(number: i32) -> Option<ff::AVPixelFormat> {
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
        let parts: Vec<ff::AVComponentDescriptor> = (0..count).map(|n| (*about).comp[n]).collect();
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
