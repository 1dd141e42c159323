//! What a loader has done, and what is on its way: counters and levels that threads change without a lock.

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use serde::Serialize;

/// Counters of the work done, times in nanoseconds of the threads that did it; and levels of what is on its way.
#[derive(Debug, Default)]
pub(super) struct Stats {
    pub(super) batches: AtomicU64,
    pub(super) samples: AtomicU64,
    pub(super) bytes: AtomicU64,
    pub(super) substituted: AtomicU64,
    pub(super) open: AtomicU64,
    pub(super) fetch: AtomicU64,
    /// Of fetching, what was beyond the time that memory takes.
    pub(super) blocked: AtomicU64,
    /// How often something was fetched, and how often that took longer than memory takes.
    pub(super) fetches: AtomicU64,
    pub(super) waits: AtomicU64,
    pub(super) decode: AtomicU64,
    pub(super) augment: AtomicU64,
    pub(super) close: AtomicU64,
    pub(super) stall: AtomicU64,
    pub(super) wait: AtomicU64,
    pub(super) in_flight_batches: AtomicU64,
    pub(super) in_flight_bytes: AtomicU64,
    pub(super) ready: AtomicU64,
}

impl Stats {
    pub(super) fn add(counter: &AtomicU64, value: u64) {
        counter.fetch_add(value, Ordering::Relaxed);
    }

    /// Bytes of a payload were read in so many nanoseconds.
    pub(super) fn fetched(&self, nanos: u64, bytes: u64) {
        self.fetched_all(nanos, bytes, 1);
    }

    /// Bytes of so many payloads were read in so many nanoseconds.
    pub(super) fn fetched_all(&self, nanos: u64, bytes: u64, payloads: u64) {
        Stats::add(&self.fetch, nanos);
        Stats::add(&self.bytes, bytes);
        // The system's memory gives a few GB/s, also on a busy machine more than half of one.
        let busy = payloads.saturating_mul(50_000).saturating_add(bytes.saturating_mul(2));
        Stats::add(&self.fetches, 1);
        if nanos > busy {
            Stats::add(&self.blocked, nanos - busy);
            Stats::add(&self.waits, 1);
        }
    }

    /// Lowers a level.
    pub(super) fn take(level: &AtomicU64, value: u64) {
        level.fetch_sub(value, Ordering::Relaxed);
    }

    pub(super) fn report(&self) -> StatsReport {
        let of = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let seconds = |counter: &AtomicU64| of(counter) as f64 / 1e9;
        StatsReport {
            batches: of(&self.batches),
            samples: of(&self.samples),
            bytes: of(&self.bytes),
            substituted: of(&self.substituted),
            open_seconds: seconds(&self.open),
            fetch_seconds: seconds(&self.fetch),
            decode_seconds: seconds(&self.decode),
            augment_seconds: seconds(&self.augment),
            close_seconds: seconds(&self.close),
            stall_seconds: seconds(&self.stall),
            wait_seconds: seconds(&self.wait),
            in_flight_batches: of(&self.in_flight_batches),
            in_flight_bytes: of(&self.in_flight_bytes),
            ready_batches: of(&self.ready),
        }
    }
}

/// How much of their time threads waited for storage, look by look.
#[derive(Debug, Default)]
pub(super) struct Lull {
    /// What was counted at the last look: blocked, busy, the consumer's wait.
    last: Mutex<Option<[u64; 3]>>,
}

/// Nanoseconds of work between two looks.
const LOOK: u64 = 100_000_000;

impl Lull {
    /// The share of their time that threads waited for storage since the last look. `None` if that was a moment ago, or the consumer does not wait for them.
    pub(super) fn share(&self, stats: &Stats, threads: usize) -> Option<f64> {
        let of = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let busy = [&stats.open, &stats.fetch, &stats.decode, &stats.augment, &stats.close].map(of).iter().sum();
        let now = [of(&stats.blocked), busy, of(&stats.wait)];
        let mut last = self.last.try_lock().ok()?;
        // Of what came before the epoch there is nothing to learn.
        let then = *last.get_or_insert(now);
        let [blocked, busy, wait] = [0, 1, 2].map(|at| now[at].saturating_sub(then[at]));
        if busy < LOOK {
            return None;
        }
        *last = Some(now);
        // Its wait beside the time that the work took: a tenth of that.
        (wait.saturating_mul(threads as u64) > busy / 10).then(|| blocked as f64 / busy as f64)
    }
}

/// What a loader has done so far, over all its epochs, and what is on its way now. Times are summed over threads.
///
/// A consumer that waits (`wait_seconds`) has a loader that is too slow: the greatest of the stages says where. Workers that stall have a consumer
/// that is slower, or too little room (`run.prefetch`, `run.memory`).
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct StatsReport {
    /// Batches handed over.
    pub batches: u64,
    /// Samples decoded (prefetched ones too), without padding.
    pub samples: u64,
    /// Payload bytes read.
    pub bytes: u64,
    /// Samples that could not be read, and had another in their slot.
    pub substituted: u64,
    /// Opening batches: the plan's rows, the draws, the memory.
    pub open_seconds: f64,
    /// Reading payloads.
    pub fetch_seconds: f64,
    /// Decoding.
    pub decode_seconds: f64,
    /// Operations, and writing into the batch.
    pub augment_seconds: f64,
    /// Joining what the samples of a batch made.
    pub close_seconds: f64,
    /// What workers waited for room: for the consumer to take a batch, or for bytes of the budget.
    pub stall_seconds: f64,
    /// What the consumer waited for the next batch.
    pub wait_seconds: f64,
    /// Batches opened and not yet handed over.
    pub in_flight_batches: u64,
    /// Their bytes.
    pub in_flight_bytes: u64,
    /// Those of them that are done: the depth of the queue in front of the consumer.
    pub ready_batches: u64,
}

/// Each number of a report: its name, what it is, and whether it only grows.
type Told = (&'static str, &'static str, bool, fn(&StatsReport) -> f64);

/// All numbers, by the names that metrics have: in base units, as Prometheus advises.
pub const METRICS: &[Told] = &[
    ("batches", "Batches handed over", true, |s| s.batches as f64),
    ("samples", "Samples decoded", true, |s| s.samples as f64),
    ("read_bytes", "Payload bytes read", true, |s| s.bytes as f64),
    ("substituted_samples", "Samples that could not be read", true, |s| s.substituted as f64),
    ("open_seconds", "Opening batches, threads together", true, |s| s.open_seconds),
    ("fetch_seconds", "Reading payloads, threads together", true, |s| s.fetch_seconds),
    ("decode_seconds", "Decoding, threads together", true, |s| s.decode_seconds),
    ("augment_seconds", "Operations, threads together", true, |s| s.augment_seconds),
    ("close_seconds", "Closing batches, threads together", true, |s| s.close_seconds),
    ("stall_seconds", "Workers waiting for room, threads together", true, |s| s.stall_seconds),
    ("wait_seconds", "The consumer waiting for batches", true, |s| s.wait_seconds),
    ("in_flight_batches", "Batches on their way", false, |s| s.in_flight_batches as f64),
    ("in_flight_bytes", "Bytes of batches on their way", false, |s| s.in_flight_bytes as f64),
    ("ready_batches", "Batches done and not yet taken", false, |s| s.ready_batches as f64),
];
