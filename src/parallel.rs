//! The only room that spawns threads.

use std::thread::JoinHandle;

use crate::error::{Error, Result};

/// Threads to use when the caller asks for 0: what the machine offers.
pub fn threads(asked: usize) -> usize {
    if asked > 0 { asked } else { std::thread::available_parallelism().map_or(1, std::num::NonZero::get) }
}

/// Spawns a named thread.
#[allow(clippy::disallowed_methods, reason = "this is the one place")]
pub fn spawn(name: String, body: impl FnOnce() + Send + 'static) -> Result<JoinHandle<()>> {
    std::thread::Builder::new().name(name).spawn(body).map_err(|e| Error::library("spawning a thread", e))
}

/// A rayon pool of its own for finite work that is awaited whole.
pub fn pool(threads: usize) -> Result<rayon::ThreadPool> {
    rayon::ThreadPoolBuilder::new()
        .num_threads(self::threads(threads))
        .thread_name(|i| format!("feedstock-work-{i}"))
        .build()
        .map_err(|e| Error::library("starting a thread pool", e))
}
