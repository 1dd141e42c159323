//! WebP by libwebp (C), two to four times as fast as `image-webp` where it is lossy, with the same pixels.

/// Decodes a still picture into `rgb`, which has three bytes for each of `width` x `height` pixels; alpha is dropped. `false`: the
/// library does not take it, and `rgb` holds anything.
pub(super) fn decode(bytes: &[u8], (width, height): (u32, u32), rgb: &mut [u8]) -> bool {
    let (mut wide, mut high) = (0, 0);
    // SAFETY: the length is the slice's, and the two places outlive the call.
    let known = unsafe { libwebp_sys::WebPGetInfo(bytes.as_ptr(), bytes.len(), &raw mut wide, &raw mut high) };
    let Some(stride) = wide.checked_mul(3).filter(|_| known != 0) else { return false };
    if (i64::from(wide), i64::from(high)) != (i64::from(width), i64::from(height)) {
        return false;
    }
    // SAFETY: both lengths are the slices' own, and the library writes `high` rows of `stride` bytes only if they fit.
    let made =
        unsafe { libwebp_sys::WebPDecodeRGBInto(bytes.as_ptr(), bytes.len(), rgb.as_mut_ptr(), rgb.len(), stride) };
    !made.is_null()
}
