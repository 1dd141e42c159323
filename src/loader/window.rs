//! The bookkeeping between workers and the consumer: who claims what, what may be open, and when to stop.
//!
//! A worker claims the slots of a batch with one atomic addition each, and goes on to the next batch when none is left. Batches are opened in
//! order and held back while `limit` of them (or the bytes that there is room for) are on their way, so that one slow sample holds nobody up until the window is
//! full. Whoever has to wait is told before, so that its seat is another's meanwhile.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};

use super::room::Room;

/// The open batches of one epoch. `T` is what opening a batch makes.
#[derive(Debug)]
pub(super) struct Window<T> {
    /// Batches on their way at the most, however much there is to wait for.
    most: u64,
    room: Arc<Room>,
    /// Bytes of the room that batches hold.
    held: AtomicU64,
    ended: AtomicBool,
    state: Mutex<State<T>>,
    changed: Condvar,
}

#[derive(Debug)]
struct State<T> {
    /// The step of the front of `open`: everything before it was handed over.
    first: u64,
    /// Batches that may be on their way now.
    limit: u64,
    /// Whether the consumer waits for the front batch.
    awaited: bool,
    open: VecDeque<Arc<Flight<T>>>,
    /// The next step that may reserve its bytes.
    next: u64,
    peak: u64,
    stopped: bool,
    /// Who waits for a change: a call of the system for nobody costs as much as a small sample.
    waiting: usize,
}

/// Batches that are on their way at first, where none are said.
const BEGIN: u64 = 2;

/// Batches that are on their way at the most, where none are said.
const MOST: u64 = 1024;

/// One batch on its way.
#[derive(Debug)]
pub(super) struct Flight<T> {
    pub(super) step: u64,
    /// What opening made; the first worker to come opens, the others wait for it.
    pub(super) opened: OnceLock<T>,
    opens: AtomicBool,
    slots: AtomicUsize,
    claimed: AtomicUsize,
    left: AtomicUsize,
    bytes: AtomicU64,
}

impl<T> State<T> {
    /// The batch of a step that the window reaches, or the first that was not handed over if that is a later one; `None` when the epoch was stopped.
    fn flight(&mut self, step: u64) -> Option<Arc<Flight<T>>> {
        if self.stopped {
            return None;
        }
        let step = step.max(self.first);
        while self.first + (self.open.len() as u64) <= step {
            let step = self.first + self.open.len() as u64;
            self.open.push_back(Arc::new(Flight::new(step)));
        }
        self.open.get((step - self.first) as usize).cloned()
    }
}

impl<T> Flight<T> {
    fn new(step: u64) -> Self {
        let none = || AtomicUsize::new(0);
        let (opened, opens, bytes) = (OnceLock::new(), AtomicBool::new(false), AtomicU64::new(0));
        Flight { step, opened, opens, slots: none(), claimed: none(), left: none(), bytes }
    }

    /// Whether it is the caller's to open.
    pub(super) fn opens(&self) -> bool {
        !self.opens.swap(true, Ordering::Relaxed)
    }

    /// Says how many slots there are to claim (at least one). The opener calls it before `opened` is set, which publishes it.
    pub(super) fn begin(&self, slots: usize) {
        self.left.store(slots.max(1), Ordering::Relaxed);
        self.slots.store(slots.max(1), Ordering::Relaxed);
    }

    /// Claims the next slot of an opened batch; `None` when all are claimed.
    pub(super) fn claim(&self) -> Option<usize> {
        let slot = self.claimed.fetch_add(1, Ordering::Relaxed);
        (slot < self.slots.load(Ordering::Relaxed)).then_some(slot)
    }

    /// Reports one slot as finished; true for exactly one caller: the last.
    pub(super) fn finish(&self) -> bool {
        self.left.fetch_sub(1, Ordering::AcqRel) == 1
    }
}

impl<T> Window<T> {
    /// A window of at most `limit` batches on their way, whose bytes are those of a room. With a limit of 0 there are [`BEGIN`] at first, and one more whenever the
    /// consumer waits for a batch and a worker has nothing left to do: that one is held up by a slow sample, or by more workers than batches have slots.
    pub(super) fn new(limit: usize, room: Arc<Room>) -> Self {
        let (limit, most) = if limit == 0 { (BEGIN, MOST) } else { (limit as u64, limit as u64) };
        let state = State {
            first: 0,
            limit,
            awaited: false,
            open: VecDeque::new(),
            next: 0,
            peak: 0,
            stopped: false,
            waiting: 0,
        };
        let (held, ended) = (AtomicU64::new(0), AtomicBool::new(false));
        Window { most, room, held, ended, state: Mutex::new(state), changed: Condvar::new() }
    }

    fn lock(&self) -> MutexGuard<'_, State<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait<'a>(&self, mut guard: MutexGuard<'a, State<T>>) -> MutexGuard<'a, State<T>> {
        guard.waiting += 1;
        let mut guard = self.changed.wait(guard).unwrap_or_else(PoisonError::into_inner);
        guard.waiting -= 1;
        guard
    }

    /// Lets those who wait look again at what was changed under the lock.
    fn wake(&self, guard: MutexGuard<'_, State<T>>) {
        let waiting = guard.waiting > 0;
        drop(guard);
        if waiting {
            self.changed.notify_all();
        }
    }

    /// Whether the epoch was stopped.
    pub(super) fn ended(&self) -> &AtomicBool {
        &self.ended
    }

    /// The batch of a step, or the first that was not handed over if that is a later one, once the window reaches it; `None` when the epoch was
    /// stopped. `idle` is called before the first wait.
    pub(super) fn enter(&self, step: u64, idle: impl FnOnce()) -> Option<Arc<Flight<T>>> {
        let (mut idle, mut state) = (Some(idle), self.lock());
        while !state.stopped && step >= state.first.saturating_add(state.limit) {
            // Only while there is room: a batch that waits for bytes of the budget would hold up those behind it.
            if state.awaited && state.limit < self.most && self.held.load(Ordering::Relaxed) < self.room.budget() {
                state.limit += 1;
                continue;
            }
            idle.take().into_iter().for_each(|idle| idle());
            state = self.wait(state);
        }
        state.flight(step)
    }

    /// As [`Window::enter`], but for nobody who would have to wait: `None` as well where the window does not reach that far.
    pub(super) fn further(&self, step: u64) -> Option<Arc<Flight<T>>> {
        let mut state = self.lock();
        if step >= state.first.saturating_add(state.limit) {
            return None;
        }
        state.flight(step)
    }

    /// Says that a batch was opened.
    pub(super) fn opened(&self) {
        self.wake(self.lock());
    }

    /// Waits until another worker has opened a batch, or the epoch was stopped.
    pub(super) fn await_opened(&self, flight: &Flight<T>) {
        let mut state = self.lock();
        while !state.stopped && flight.opened.get().is_none() {
            state = self.wait(state);
        }
    }

    /// Waits until there is room for a batch's bytes (a batch alone is always let in). Steps are let in by number, so
    /// that no later batch can take the room that an earlier one needs. False when the epoch was stopped.
    pub(super) fn reserve(&self, flight: &Flight<T>, bytes: u64) -> bool {
        let mut state = self.lock();
        while !state.stopped && state.next != flight.step {
            state = self.wait(state);
        }
        drop(state);
        // Only the batch whose turn it is comes here.
        let go = self.room.batch(bytes, &self.held, &self.ended);
        flight.bytes.store(bytes, Ordering::Relaxed);
        let mut state = self.lock();
        // After a stop they come in any order.
        state.next = state.next.max(flight.step + 1);
        state.peak = state.peak.max(self.held.load(Ordering::Relaxed));
        self.wake(state);
        go
    }

    /// The most bytes that its batches held at one time.
    pub(super) fn peak(&self) -> u64 {
        self.lock().peak
    }

    /// The consumer waits for the front batch.
    pub(super) fn awaited(&self) {
        let mut state = self.lock();
        state.awaited = true;
        self.wake(state);
    }

    /// The consumer has the front batch: the window moves on. Returns the bytes that were reserved for it.
    pub(super) fn handed_over(&self) -> u64 {
        let mut state = self.lock();
        state.awaited = false;
        let flight = state.open.pop_front();
        state.first += u64::from(flight.is_some());
        let bytes = flight.map_or(0, |flight| flight.bytes.load(Ordering::Relaxed));
        self.room.give(bytes, &self.held);
        self.wake(state);
        bytes
    }

    /// Batches that have reserved their bytes and were not handed over, and these bytes, which are given back. Called once, when all workers have ended.
    pub(super) fn left(&self) -> (u64, u64) {
        let (bytes, state) = (self.held.load(Ordering::Relaxed), self.lock());
        self.room.give(bytes, &self.held);
        (state.next.saturating_sub(state.first), bytes)
    }

    /// Ends the epoch for every worker.
    pub(super) fn stop(&self) {
        self.ended.store(true, Ordering::Relaxed);
        let mut state = self.lock();
        state.stopped = true;
        self.wake(state);
        self.room.wake();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::parallel;

    #[test]
    fn every_slot_is_claimed_once_and_one_worker_closes_each_batch() {
        // As many slots as a batch has, which may differ.
        let (steps, slots) = (50, |step: u64| 1 + (step * 5 % 9) as usize);
        let window = Arc::new(Window::<u64>::new(3, Arc::new(Room::new(u64::MAX))));
        let (done, finished) = crossbeam_channel::unbounded();
        let workers: Vec<_> = (0..5)
            .map(|i| {
                let (window, done) = (window.clone(), done.clone());
                let body = move || {
                    let mut next = 0;
                    while next < steps {
                        let flight = window.enter(next, || {}).unwrap();
                        let step = flight.step;
                        assert!(step >= next);
                        if step >= steps {
                            return;
                        }
                        flight.opened.get_or_init(|| {
                            assert!(window.reserve(&flight, 10));
                            flight.begin(slots(step));
                            step
                        });
                        while let Some(slot) = flight.claim() {
                            done.send((step, Some(slot))).unwrap();
                            if flight.finish() {
                                done.send((step, None)).unwrap();
                            }
                        }
                        next = step + 1;
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
        assert_eq!((slots_seen.len(), closed.len()), ((0..steps).map(slots).sum(), steps as usize));
    }

    #[test]
    fn a_full_budget_holds_later_batches_back_and_a_stop_frees_them() {
        let window = Arc::new(Window::<()>::new(4, Arc::new(Room::new(100))));
        let flights: Vec<_> = (0..3).map(|s| window.enter(s, || {}).unwrap()).collect();
        assert!(window.reserve(&flights[0], 1_000), "a batch alone is let in, whatever its size");
        let (w, f) = (window.clone(), flights[1].clone());
        let waiting = parallel::spawn("waiting".into(), move || assert!(w.reserve(&f, 60))).unwrap();
        // Long enough for one that does not wait to come to its end.
        std::thread::sleep(std::time::Duration::from_millis(50));
        assert!(!waiting.is_finished(), "it was let in");
        window.handed_over();
        waiting.join().unwrap();
        let (w, f) = (window.clone(), flights[2].clone());
        let stopped = parallel::spawn("stopped".into(), move || assert!(!w.reserve(&f, 60))).unwrap();
        window.stop();
        stopped.join().unwrap();
        assert!(window.enter(3, || {}).is_none());
    }

    #[test]
    fn what_is_left_is_counted_whatever_the_order_after_a_stop() {
        let window = Window::<()>::new(4, Arc::new(Room::new(100)));
        let flights: Vec<_> = (0..3).map(|s| window.enter(s, || {}).unwrap()).collect();
        window.stop();
        for step in [0, 2, 1] {
            assert!(!window.reserve(&flights[step], 10));
        }
        assert_eq!(window.left(), (3, 30));
    }
}
