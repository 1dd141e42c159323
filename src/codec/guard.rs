//! Panics of foreign decoders as faults.

use std::cell::Cell;
use std::panic::AssertUnwindSafe;

use crate::error::{Fault, Reason};

thread_local! {
    static GUARDED: Cell<u32> = const { Cell::new(0) };
}

/// Runs foreign decoder code: a panic in it comes back as a fault of [`Reason::DecoderPanic`] with the panic's words.
///
/// Buffers that `run` was writing hold unspecified (but valid) contents afterwards; decoder states that it may have left
/// half changed must be dropped with [`Scratch::forget`](super::Scratch::forget). The process's panic hook still runs before the catch, as it does
/// for every panic; a program that does not want its report on stderr installs a hook which asks [`is_guarded`].
pub fn guarded<T>(codec: &str, run: impl FnOnce() -> Result<T, Fault>) -> Result<T, Fault> {
    struct Depth;
    impl Drop for Depth {
        fn drop(&mut self) {
            GUARDED.with(|depth| depth.set(depth.get() - 1));
        }
    }
    GUARDED.with(|depth| depth.set(depth.get() + 1));
    let _depth = Depth;
    std::panic::catch_unwind(AssertUnwindSafe(run)).unwrap_or_else(|panic| {
        let words =
            panic.downcast_ref::<&str>().copied().or_else(|| panic.downcast_ref::<String>().map(String::as_str));
        Err(Fault::new(
            Reason::DecoderPanic,
            format!("the {codec} decoder panicked: {}", words.unwrap_or("no message")),
        ))
    })
}

/// Whether this thread is inside [`guarded`]: a panic now will be caught and reported as a fault.
pub fn is_guarded() -> bool {
    GUARDED.with(|depth| depth.get() > 0)
}
