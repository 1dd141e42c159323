//! The bookkeeping between workers and the consumer: who claims what, what may be open, and when to stop.
//!
//! A worker claims a (batch, slot) with one atomic addition. Batches are opened in order and held back while `limit` of them
//! (or a byte budget) are on their way, so that one slow sample holds nobody up until the window is full.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};

/// The claims and the open batches of one epoch. `T` is what opening a batch makes.
#[derive(Debug)]
pub(super) struct Window<T> {
    slots: u64,
    steps: u64,
    limit: u64,
    budget: u64,
    ticket: AtomicU64,
    ended: AtomicBool,
    state: Mutex<State<T>>,
    changed: Condvar,
}

#[derive(Debug)]
struct State<T> {
    /// The step of the front of `open`: everything before it was handed over.
    first: u64,
    open: VecDeque<Arc<Flight<T>>>,
    /// The next step that may reserve its bytes.
    next: u64,
    bytes: u64,
    peak: u64,
    stopped: bool,
}

/// One batch on its way.
#[derive(Debug)]
pub(super) struct Flight<T> {
    pub(super) step: u64,
    /// What opening made; the first worker to come opens, the others wait for it.
    pub(super) opened: OnceLock<T>,
    left: AtomicUsize,
    bytes: AtomicU64,
}

impl<T> Flight<T> {
    /// Reports one slot as finished; true for exactly one caller: the last.
    pub(super) fn finish(&self) -> bool {
        self.left.fetch_sub(1, Ordering::AcqRel) == 1
    }
}

impl<T> Window<T> {
    /// A window over `steps` batches of `slots` slots, at most `limit` batches and `budget` bytes on their way.
    pub(super) fn new(steps: u64, slots: usize, limit: usize, budget: u64) -> Self {
        let state = State { first: 0, open: VecDeque::new(), next: 0, bytes: 0, peak: 0, stopped: false };
        Window {
            slots: slots as u64,
            steps,
            limit: limit.max(1) as u64,
            budget,
            ticket: AtomicU64::new(0),
            ended: AtomicBool::new(false),
            state: Mutex::new(state),
            changed: Condvar::new(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait<'a>(&self, guard: MutexGuard<'a, State<T>>) -> MutexGuard<'a, State<T>> {
        self.changed.wait(guard).unwrap_or_else(PoisonError::into_inner)
    }

    /// Claims the next (step, slot); `None` when all are claimed, or the epoch was stopped.
    pub(super) fn claim(&self) -> Option<(u64, usize)> {
        if self.ended.load(Ordering::Relaxed) {
            return None;
        }
        let ticket = self.ticket.fetch_add(1, Ordering::Relaxed);
        let step = ticket / self.slots;
        (step < self.steps).then_some((step, (ticket % self.slots) as usize))
    }

    /// The batch of a claimed step, once the window reaches it; `None` when the epoch was stopped.
    pub(super) fn enter(&self, step: u64) -> Option<Arc<Flight<T>>> {
        let mut state = self.lock();
        while !state.stopped && step >= state.first.saturating_add(self.limit) {
            state = self.wait(state);
        }
        if state.stopped {
            return None;
        }
        while state.first + (state.open.len() as u64) <= step {
            let step = state.first + state.open.len() as u64;
            state.open.push_back(Arc::new(Flight {
                step,
                opened: OnceLock::new(),
                left: AtomicUsize::new(self.slots as usize),
                bytes: AtomicU64::new(0),
            }));
        }
        state.open.get((step - state.first) as usize).cloned()
    }

    /// Waits until the budget has room for a batch's bytes (a batch alone is always let in). Steps are let in by number, so
    /// that no later batch can take the room that an earlier one needs. False when the epoch was stopped.
    pub(super) fn reserve(&self, flight: &Flight<T>, bytes: u64) -> bool {
        let mut state = self.lock();
        while !state.stopped
            && (state.next != flight.step || (state.bytes > 0 && state.bytes.saturating_add(bytes) > self.budget))
        {
            state = self.wait(state);
        }
        state.next = flight.step + 1;
        state.bytes = state.bytes.saturating_add(bytes);
        state.peak = state.peak.max(state.bytes);
        flight.bytes.store(bytes, Ordering::Relaxed);
        let go = !state.stopped;
        drop(state);
        self.changed.notify_all();
        go
    }

    /// The most bytes that were reserved at one time.
    pub(super) fn peak(&self) -> u64 {
        self.lock().peak
    }

    /// The consumer has the front batch: the window moves on.
    pub(super) fn handed_over(&self) {
        let mut state = self.lock();
        if let Some(flight) = state.open.pop_front() {
            state.bytes -= flight.bytes.load(Ordering::Relaxed);
            state.first += 1;
        }
        drop(state);
        self.changed.notify_all();
    }

    /// Ends the epoch for every worker.
    pub(super) fn stop(&self) {
        self.ended.store(true, Ordering::Relaxed);
        self.lock().stopped = true;
        self.changed.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::parallel;

    #[test]
    fn every_slot_is_claimed_once_and_one_worker_closes_each_batch() {
        let (steps, slots) = (50, 7);
        let window = Arc::new(Window::<u64>::new(steps, slots, 3, u64::MAX));
        let (done, finished) = crossbeam_channel::unbounded();
        let workers: Vec<_> = (0..5)
            .map(|i| {
                let (window, done) = (window.clone(), done.clone());
                let body = move || {
                    while let Some((step, slot)) = window.claim() {
                        let flight = window.enter(step).unwrap();
                        assert_eq!(flight.step, step);
                        flight.opened.get_or_init(|| {
                            assert!(window.reserve(&flight, 10));
                            step
                        });
                        done.send((step, Some(slot))).unwrap();
                        if flight.finish() {
                            done.send((step, None)).unwrap();
                        }
                    }
                };
                parallel::spawn(format!("test-{i}"), body).unwrap()
            })
            .collect();
        drop(done);
        let (mut slots_seen, mut closed, mut next) =
            (std::collections::BTreeSet::new(), std::collections::BTreeSet::new(), 0);
        for (step, slot) in finished {
            match slot {
                Some(slot) => assert!(slots_seen.insert((step, slot))),
                None => {
                    assert!(closed.insert(step) && step < next + 3, "step {step} beyond the window at {next}");
                    while closed.contains(&next) {
                        window.handed_over();
                        next += 1;
                    }
                }
            }
        }
        workers.into_iter().for_each(|w| w.join().unwrap());
        assert_eq!((slots_seen.len(), closed.len()), (steps as usize * slots, steps as usize));
    }

    #[test]
    fn a_full_budget_holds_later_batches_back_and_a_stop_frees_them() {
        let window = Arc::new(Window::<()>::new(4, 1, 4, 100));
        let flights: Vec<_> = (0..3).map(|s| window.enter(s).unwrap()).collect();
        assert!(window.reserve(&flights[0], 1_000), "a batch alone is let in, whatever its size");
        let (w, f) = (window.clone(), flights[1].clone());
        let waiting = parallel::spawn("waiting".into(), move || assert!(w.reserve(&f, 60))).unwrap();
        window.handed_over();
        waiting.join().unwrap();
        let (w, f) = (window.clone(), flights[2].clone());
        let stopped = parallel::spawn("stopped".into(), move || assert!(!w.reserve(&f, 60))).unwrap();
        window.stop();
        stopped.join().unwrap();
        assert!(window.enter(3).is_none());
    }
}
