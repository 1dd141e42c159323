//! One budget in bytes for batches on their way, and for payloads and decoders in hand.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use crate::error::{Error, Result};

/// Needs up to this, in bytes, are not counted: they are no part of what exhausts a machine, and asking costs more than such a sample.
pub(super) const SMALL: u64 = 1 << 20;

/// What is left of a budget.
#[derive(Debug)]
pub(super) struct Room {
    budget: u64,
    state: Mutex<State>,
    given: Condvar,
}

#[derive(Debug, Default)]
struct State {
    /// Held by batches.
    batches: u64,
    /// Held by work in hand, and the most that was at one time.
    hand: u64,
    hands: u64,
    peak: u64,
    /// Work that waits, in the order of its coming: what needs much is not passed by what needs little for ever.
    queue: VecDeque<u64>,
    next: u64,
    /// Who waits, for a batch's bytes or for those of work.
    waiting: usize,
}

/// Bytes of work in hand; dropped, they are given back.
pub(super) struct Loan {
    room: Arc<Room>,
    bytes: u64,
}

/// Where a worker gets the bytes for what it has in hand, as long as its epoch goes on.
pub(super) struct Lender<'a> {
    pub(super) room: &'a Arc<Room>,
    pub(super) ended: &'a AtomicBool,
}

impl Lender<'_> {
    /// Bytes for some work, once there is room for them.
    pub(super) fn lend(&self, bytes: u64) -> Result<Loan> {
        self.room.loan(bytes, self.ended).ok_or(Error::Interrupted)
    }
}

impl Room {
    /// Under a budget in bytes.
    pub(super) fn new(budget: u64) -> Self {
        Room { budget, state: Mutex::default(), given: Condvar::new() }
    }

    pub(super) fn budget(&self) -> u64 {
        self.budget
    }

    /// The most bytes that were held at one time.
    pub(super) fn peak(&self) -> u64 {
        self.lock().peak
    }

    /// Bytes that are held, of batches and of work in hand.
    pub(super) fn held(&self) -> (u64, u64) {
        let state = self.lock();
        (state.batches, state.hand)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait<'a>(&self, mut state: MutexGuard<'a, State>) -> MutexGuard<'a, State> {
        state.waiting += 1;
        let mut state = self.given.wait(state).unwrap_or_else(PoisonError::into_inner);
        state.waiting -= 1;
        state
    }

    /// Lets those who wait look again at what was changed under the lock.
    fn tell(&self, state: MutexGuard<'_, State>) {
        let waiting = state.waiting > 0;
        drop(state);
        if waiting {
            self.given.notify_all();
        }
    }

    /// Waits for the bytes of a batch; false when the work has `ended`. A loader that holds none (`own` is what its batches hold) is always let in: it would wait for a
    /// consumer that may be waiting for it. Batches leave the room that work in hand has needed so far, up to half of the budget: else it would be done one
    /// by one.
    pub(super) fn batch(&self, bytes: u64, own: &AtomicU64, ended: &AtomicBool) -> bool {
        let full = |state: &State| {
            let hand = state.hand.max(state.hands.min(self.budget / 2));
            own.load(Ordering::Relaxed) > 0 && state.batches.saturating_add(bytes).saturating_add(hand) > self.budget
        };
        let mut state = self.lock();
        while !ended.load(Ordering::Relaxed) && full(&state) {
            state = self.wait(state);
        }
        state.batches = state.batches.saturating_add(bytes);
        own.fetch_add(bytes, Ordering::Relaxed);
        state.peak = state.peak.max(state.batches.saturating_add(state.hand));
        !ended.load(Ordering::Relaxed)
    }

    /// Gives the bytes of a batch back.
    pub(super) fn give(&self, bytes: u64, own: &AtomicU64) {
        let mut state = self.lock();
        state.batches = state.batches.saturating_sub(bytes);
        own.fetch_sub(bytes, Ordering::Relaxed);
        self.tell(state);
    }

    /// Waits for the bytes of some work; `None` when it has `ended`. What is let in comes to its end, so what needs more than there is waits until nothing else is
    /// in hand, and is done alone. Who holds a loan must not wait for another.
    pub(super) fn loan(self: &Arc<Self>, bytes: u64, ended: &AtomicBool) -> Option<Loan> {
        let mut state = self.lock();
        let ticket = state.next;
        let full = |state: &State| {
            state.queue.front() != Some(&ticket)
                || state.hand > 0 && state.batches.saturating_add(state.hand).saturating_add(bytes) > self.budget
        };
        state.next += 1;
        state.queue.push_back(ticket);
        while !ended.load(Ordering::Relaxed) && full(&state) {
            state = self.wait(state);
        }
        state.queue.retain(|other| *other != ticket);
        if !state.queue.is_empty() {
            self.given.notify_all();
        }
        if ended.load(Ordering::Relaxed) {
            return None;
        }
        state.hand = state.hand.saturating_add(bytes);
        state.hands = state.hands.max(state.hand);
        state.peak = state.peak.max(state.batches.saturating_add(state.hand));
        Some(Loan { room: self.clone(), bytes })
    }

    fn returned(&self, bytes: u64) {
        let mut state = self.lock();
        state.hand = state.hand.saturating_sub(bytes);
        self.tell(state);
    }

    /// Lets those who wait look whether they still have to.
    pub(super) fn wake(&self) {
        self.tell(self.lock());
    }
}

impl Loan {
    /// Gives back what is above `bytes`, now that it is known that no more is needed.
    pub(super) fn shrink(&mut self, bytes: u64) {
        let over = self.bytes.saturating_sub(bytes);
        if over > 0 {
            self.bytes -= over;
            self.room.returned(over);
        }
    }
}

impl Drop for Loan {
    fn drop(&mut self) {
        self.room.returned(self.bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::parallel;

    #[test]
    fn batches_and_work_stay_under_one_budget_and_the_oversize_is_alone() {
        const BUDGET: u64 = 1_000;
        let room = Arc::new(Room::new(BUDGET));
        let ended = Arc::new(AtomicBool::new(false));
        // Two loaders whose consumers take batches at once, and six workers.
        let mut threads = Vec::new();
        for n in 0..2u64 {
            let (room, ended) = (room.clone(), ended.clone());
            let body = move || {
                let own = AtomicU64::new(0);
                for i in 0..2_000 {
                    let bytes = (i * 37 + n * 11) % 240;
                    assert!(room.batch(bytes, &own, &ended));
                    room.give(bytes, &own);
                }
            };
            threads.push(parallel::spawn(format!("batches-{n}"), body).unwrap());
        }
        for n in 0..6u64 {
            let (room, ended) = (room.clone(), ended.clone());
            let body = move || {
                for i in 0..2_000 {
                    let bytes = if (i + n) % 97 == 0 { 5_000 } else { (i * 53 + n) % 300 };
                    let mut loan = room.loan(bytes, &ended).unwrap();
                    let (batches, hand) = room.held();
                    assert!(hand >= bytes);
                    // Batches are let in though the oversize is there: each loader may have one.
                    assert!(bytes < 5_000 || hand == bytes, "{hand}");
                    assert!(bytes >= 5_000 || batches + hand <= BUDGET + 2 * 240, "{batches} {hand}");
                    loan.shrink(bytes / 2);
                    loan.shrink(bytes);
                    assert!(room.held().1 >= bytes / 2);
                    drop(loan);
                }
            };
            threads.push(parallel::spawn(format!("work-{n}"), body).unwrap());
        }
        threads.into_iter().for_each(|thread| thread.join().unwrap());
        assert_eq!(room.held(), (0, 0));
    }

    #[test]
    fn a_full_room_holds_back_what_is_not_the_first_of_its_loader() {
        let (room, ended) = (Arc::new(Room::new(100)), Arc::new(AtomicBool::new(false)));
        let (one, other) = (Arc::new(AtomicU64::new(0)), AtomicU64::new(0));
        assert!(room.batch(90, &one, &ended) && room.batch(90, &other, &ended));
        let waits = |bytes: u64, go: bool| {
            let (room, one, ended) = (room.clone(), one.clone(), ended.clone());
            let body = move || assert_eq!(room.batch(bytes, &one, &ended), go);
            parallel::spawn("waits".into(), body).unwrap()
        };
        let waiting = waits(20, true);
        room.give(90, &other);
        // Long enough for one that does not wait to come to its end.
        std::thread::sleep(std::time::Duration::from_millis(50));
        assert!(!waiting.is_finished());
        assert_eq!(one.load(Ordering::Relaxed), 90, "90 and 20 are more than there is");
        room.give(90, &one);
        waiting.join().unwrap();
        let waiting = waits(90, false);
        ended.store(true, Ordering::Relaxed);
        room.wake();
        waiting.join().unwrap();
        assert!(room.loan(1, &ended).is_none());
    }
}
