//! FFmpeg's messages: none reaches stderr, and the last of a thread goes into the fault that it explains.
//!
//! FFmpeg has one place for its messages in a process. It is set at the first use of this module, for everything in the process
//! that uses the same libraries.

use std::cell::RefCell;
use std::ffi::{CStr, c_char, c_int, c_void};
use std::sync::Once;

use ffmpeg_sys_next as ff;

use crate::error::{Fault, Reason};

/// Bytes that one allocation of FFmpeg may have: a plane of the default's largest picture, in 8 bits, and no more. Demuxers size
/// tables by numbers in the file.
const ONE_ALLOCATION: usize = 256 << 20;

/// How a second message begins that says where the first one's damage is.
const PLACE: &str = "at ";

/// Bytes of a message that are kept.
const MOST: usize = 200;

/// What H.264's decoder says where a picture is to be forgotten that it does not have. It takes the place of no other message.
const UNKNOWN_REFERENCE: &str = "mmco: unref short failure";

thread_local! {
    static LAST: RefCell<String> = const { RefCell::new(String::new()) };
}

/// Silences FFmpeg and bounds its allocations; once for the process.
pub(super) fn tame() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        // SAFETY: both set one word of the library. The callback is valid for the whole process and does not unwind.
        unsafe {
            ff::av_log_set_callback(Some(take));
            ff::av_max_alloc(ONE_ALLOCATION);
        }
    });
    forget();
}

/// The type of a `va_list` as the bindings of this platform have it.
macro_rules! callback {
    ($($list:tt)+) => {
        /// Keeps an error's words. A decoder of one thread speaks on the thread that called it.
        unsafe extern "C" fn take(context: *mut c_void, level: c_int, format: *const c_char, list: $($list)+) {
            if level > ff::AV_LOG_ERROR || format.is_null() {
                return;
            }
            let mut line = [0 as c_char; MOST];
            let mut prefix = 0;
            // SAFETY: FFmpeg's own arguments are handed on once; it writes at most `MOST` bytes, and a 0 behind them.
            let words = unsafe {
                ff::av_log_format_line2(context, level, format, list, line.as_mut_ptr(), MOST as c_int, &mut prefix);
                CStr::from_ptr(line.as_ptr())
            };
            let words: String = words.to_string_lossy().chars().filter(|c| !c.is_control()).collect();
            // No panic may leave a callback: a thread at its end, or one that reads its words, keeps none.
            let _ = LAST.try_with(|last| {
                let mut last = last.try_borrow_mut()?;
                if last.is_empty() || !(words == UNKNOWN_REFERENCE || words.starts_with(PLACE)) {
                    *last = words;
                }
                Ok::<_, std::cell::BorrowMutError>(())
            });
        }
    };
}

#[cfg(all(target_arch = "x86_64", unix))]
callback!(*mut ff::__va_list_tag);
#[cfg(not(all(target_arch = "x86_64", unix)))]
callback!(ff::va_list);

/// Forgets what was said on this thread.
pub(super) fn forget() {
    LAST.with(|last| last.borrow_mut().clear());
}

/// What was said on this thread since [`forget`], but for a picture to be forgotten that the decoder does not have.
pub(super) fn said() -> Option<String> {
    let words = LAST.with(|last| std::mem::take(&mut *last.borrow_mut()));
    (!words.is_empty() && words != UNKNOWN_REFERENCE).then_some(words)
}

/// The fault of an error code, with FFmpeg's words.
pub(super) fn refused(what: &str, code: c_int) -> Fault {
    let mut text = [0 as c_char; 128];
    // SAFETY: it writes at most 128 bytes, the last of them 0, also for codes that it does not know.
    let general = unsafe {
        ff::av_strerror(code, text.as_mut_ptr(), text.len());
        CStr::from_ptr(text.as_ptr()).to_string_lossy().into_owned()
    };
    let words = LAST.with(|last| std::mem::take(&mut *last.borrow_mut()));
    let reason = match code {
        // The bound of pixels is one of the reasons for which a size is "invalid".
        _ if words.contains("exceeds specified max pixel count") => Reason::OverLimit,
        ff::AVERROR_EXIT => Reason::OverLimit,
        ff::AVERROR_EOF => Reason::Truncated,
        ff::AVERROR_PATCHWELCOME | ff::AVERROR_DECODER_NOT_FOUND | ff::AVERROR_EXPERIMENTAL => Reason::Unsupported,
        code if code == -libc::ENOMEM => Reason::OverLimit,
        code if code == -libc::ENOSYS => Reason::Unsupported,
        code if code == -libc::EIO => Reason::Truncated,
        _ => Reason::Corrupt,
    };
    let colon = if words.is_empty() { "" } else { ": " };
    Fault::new(reason, format!("ffmpeg: {what}: {general}{colon}{words}"))
}
