//! How much memory a run takes.

use peak_alloc::PeakAlloc;

#[global_allocator]
static MEMORY: PeakAlloc = PeakAlloc;

/// Runs something, which may take so many bytes at once.
///
/// # Panics
/// If it takes more.
pub fn hold(most: usize, run: impl FnOnce()) {
    let before = MEMORY.current_usage();
    MEMORY.reset_peak_usage();
    run();
    let peak = MEMORY.peak_usage().saturating_sub(before);
    assert!(peak <= most, "it took {} KiB, {} at the most were foreseen", peak >> 10, most >> 10);
}
