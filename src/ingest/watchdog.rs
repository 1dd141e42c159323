//! Who looks at the clock while payloads are decoded.
//!
//! What a payload may cost is counted before it is decoded, and a clock decides nothing ([`crate::codec::Limits`]): but a decoder that
//! does not come back is seen by nothing else. Where it runs in a process of its own, that is ended and the payload refused; in
//! this process nothing can end it but the end of the run, which is for the caller to bring about.

use std::collections::BTreeMap;
use std::process::Child;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use super::options::{Control, IngestOptions, Tell};
use crate::clock::Mark;
use crate::error::{Error, Origin, Result};
use crate::parallel;

/// What is done about a payload that takes too long.
#[derive(Clone)]
pub(super) enum Then {
    /// Somebody is told.
    Tell(Tell),
    /// The process that decodes it is ended.
    Kill(Arc<Mutex<Child>>),
}

/// Watches payloads under one limit, on a thread of its own.
pub(super) struct Watchdog {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

struct Shared {
    limit: Duration,
    state: Mutex<State>,
    ends: Condvar,
}

#[derive(Default)]
struct State {
    watched: BTreeMap<u64, Watched>,
    next: u64,
    ended: bool,
}

struct Watched {
    /// Since when it was not counted; `None` while it waits for something else than a decoder.
    since: Option<Mark>,
    /// What was counted.
    spent: Duration,
    origin: Origin,
    then: Then,
    late: bool,
}

/// How often it is looked at the clock. No more than twice that is counted at once.
const TICK: Duration = Duration::from_secs(1);

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn watch(&self) {
        let mut state = self.lock();
        while !state.ended {
            let mut late = Vec::new();
            let mut rest = self.limit;
            for watched in state.watched.values_mut().filter(|watched| !watched.late) {
                let Some(since) = watched.since else { continue };
                // A process that is stopped for a while has not decoded meanwhile.
                watched.spent += since.elapsed().min(2 * TICK);
                watched.since = Some(Mark::now());
                match self.limit.checked_sub(watched.spent) {
                    Some(left) if !left.is_zero() => rest = rest.min(left),
                    _ => {
                        watched.late = true;
                        late.push((watched.origin.clone(), watched.then.clone()));
                    }
                }
            }
            if late.is_empty() {
                // Whatever begins meanwhile is not late before the limit is over once more.
                let waited = self.ends.wait_timeout(state, rest.clamp(Duration::from_millis(1), TICK));
                state = waited.unwrap_or_else(PoisonError::into_inner).0;
                continue;
            }
            drop(state);
            for (origin, then) in late {
                match then {
                    Then::Tell(tell) => tell(&Error::Stuck { origin, seconds: self.limit.as_secs_f64() }),
                    // One that ended by itself cannot be ended, and need not.
                    Then::Kill(child) => drop(child.lock().unwrap_or_else(PoisonError::into_inner).kill()),
                }
            }
            state = self.lock();
        }
    }
}

/// In this process a payload may take so many times as long as in one of its own: nothing but the end of the run ends it.
const PATIENCE: f64 = 6.0;

impl Watchdog {
    /// The one of an ingest; none where there is nothing that it could do.
    pub(super) fn of(options: &IngestOptions, control: &Control) -> Result<Option<Self>> {
        let patience = match (options.isolate, &control.stuck) {
            (true, _) => 1.0,
            (false, Some(_)) => PATIENCE,
            (false, None) => return Ok(None),
        };
        let limit = Duration::try_from_secs_f64(options.payload_seconds * patience).unwrap_or(Duration::MAX);
        Watchdog::new(limit).map(Some)
    }

    /// Begins to watch: whoever is decoded for longer is late.
    pub(super) fn new(limit: Duration) -> Result<Self> {
        let shared = Arc::new(Shared { limit, state: Mutex::default(), ends: Condvar::new() });
        let watching = Arc::clone(&shared);
        let thread = parallel::spawn("feedstock-watchdog".to_owned(), move || watching.watch())?;
        Ok(Watchdog { shared, thread: Some(thread) })
    }

    /// A payload is being decoded from now on.
    pub(super) fn begin(&self, origin: Origin, then: Then) -> Watch<'_> {
        let mut state = self.shared.lock();
        let ticket = state.next;
        state.next += 1;
        state
            .watched
            .insert(ticket, Watched { since: Some(Mark::now()), spent: Duration::ZERO, origin, then, late: false });
        Watch { shared: &self.shared, ticket }
    }
}

impl Drop for Watchdog {
    fn drop(&mut self) {
        self.shared.lock().ended = true;
        self.shared.ends.notify_all();
        if let Some(thread) = self.thread.take() {
            // It has nothing to say that was not said.
            let _ = thread.join();
        }
    }
}

/// A payload that is watched until this is dropped.
pub(super) struct Watch<'a> {
    shared: &'a Shared,
    ticket: u64,
}

impl Watch<'_> {
    /// Does something that takes no time of the payload's: waiting for memory.
    pub(super) fn paused<T>(&self, wait: impl FnOnce() -> T) -> T {
        self.set(None);
        let waited = wait();
        self.set(Some(Mark::now()));
        waited
    }

    fn set(&self, since: Option<Mark>) {
        if let Some(watched) = self.shared.lock().watched.get_mut(&self.ticket) {
            watched.since = since;
            watched.spent = Duration::ZERO;
        }
    }

    /// Whether it was late.
    pub(super) fn is_late(&self) -> bool {
        self.shared.lock().watched.get(&self.ticket).is_some_and(|watched| watched.late)
    }
}

impl Drop for Watch<'_> {
    fn drop(&mut self) {
        self.shared.lock().watched.remove(&self.ticket);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    fn named(id: &str) -> Origin {
        Origin { id: Some(id.to_owned()), ..Origin::default() }
    }

    /// Who takes too long is told once; who waits, or has ended, is not.
    #[test]
    fn what_takes_too_long_is_told() {
        let (told, heard) = mpsc::channel();
        let told = Mutex::new(told);
        let tell: Tell = Arc::new(move |error: &Error| told.lock().unwrap().send(error.to_string()).unwrap());
        let dog = Watchdog::new(Duration::from_millis(20)).unwrap();
        drop(dog.begin(named("quick"), Then::Tell(Arc::clone(&tell))));
        let waits = dog.begin(named("waits"), Then::Tell(Arc::clone(&tell)));
        waits.paused(|| {
            let slow = dog.begin(named("slow"), Then::Tell(Arc::clone(&tell)));
            let said = heard.recv().unwrap();
            assert!(said.contains("\"slow\"") && said.contains("--isolate"), "{said}");
            assert!(slow.is_late() && !waits.is_late());
        });
        // It goes on, and takes too long by itself.
        assert!(heard.recv().unwrap().contains("\"waits\""));
        drop(waits);
        drop(dog);
        assert!(heard.try_recv().is_err(), "nobody is told twice");
    }

    #[test]
    fn a_process_that_takes_too_long_is_ended() {
        let dog = Watchdog::new(Duration::from_millis(20)).unwrap();
        let child = std::process::Command::new("sleep").arg("600").spawn().unwrap();
        let child = Arc::new(Mutex::new(child));
        let watch = dog.begin(named("x"), Then::Kill(Arc::clone(&child)));
        let ended = loop {
            if let Some(ended) = child.lock().unwrap().try_wait().unwrap() {
                break ended;
            }
            std::thread::yield_now();
        };
        assert!(!ended.success() && watch.is_late());
    }
}
