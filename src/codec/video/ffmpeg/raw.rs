//! What the modules that call FFmpeg share.
//!
//! [`super::input`], [`super::decoder`], [`super::frame`] and [`super::scaler`] hold FFmpeg's structures as owned Rust values: what
//! one holds is freed when it goes, on every path. Structures are used through pointers, never through references, and their
//! enumerations are read as numbers: a library that is newer than its headers may have values that the bindings do not.

use std::ffi::{CStr, c_int};

use ffmpeg_sys_next as ff;

use crate::error::{Fault, Reason};

/// FFmpeg's version.
pub(super) fn version() -> String {
    // SAFETY: a constant of the library that ends with a 0.
    unsafe { CStr::from_ptr(ff::av_version_info()) }.to_string_lossy().into_owned()
}

pub(super) fn no_memory(what: &str) -> Fault {
    Fault::new(Reason::OverLimit, format!("ffmpeg: no memory for {what}"))
}

/// Reads a field that is an enumeration as the number it is.
macro_rules! number {
    ($pointer:expr, $field:ident) => {
        // The bindings make 32-bit enumerations, as C does.
        (&raw const (*$pointer).$field).cast::<i32>().read()
    };
}

/// # Safety
///
/// `data` is null or points to `size` bytes that stay for `'a`.
pub(super) unsafe fn bytes<'a>(data: *const u8, size: c_int) -> &'a [u8] {
    match usize::try_from(size) {
        // SAFETY: the caller's promise.
        Ok(size) if !data.is_null() => unsafe { std::slice::from_raw_parts(data, size) },
        _ => &[],
    }
}

pub(super) use number;
