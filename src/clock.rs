//! The only room that reads a clock. Nothing that a version's digest or a batch covers may come from here, but that a payload whose
//! decoder did not come back is in no version (`--isolate`).

use std::time::{Duration, Instant, SystemTime};

/// The time of the calendar so long ago, to hold ages of files against; `None` before the beginning of time.
#[allow(clippy::disallowed_methods, reason = "this is the one place")]
pub fn before(age: Duration) -> Option<SystemTime> {
    SystemTime::now().checked_sub(age)
}

/// A point in time for measuring; it has no calendar meaning.
#[derive(Debug, Clone, Copy)]
pub struct Mark(Instant);

impl Mark {
    /// Now.
    #[allow(clippy::disallowed_methods, reason = "this is the one place")]
    pub fn now() -> Self {
        Mark(Instant::now())
    }

    /// Time since the mark.
    pub fn elapsed(self) -> Duration {
        self.0.elapsed()
    }

    /// Nanoseconds since the mark.
    pub fn nanos(self) -> u64 {
        u64::try_from(self.0.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }
}
