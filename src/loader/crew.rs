//! The threads and the bytes of a loader, which several can share.
//!
//! Worker threads belong to an epoch, and work only while they sit on a seat of the crew. A seat has the memory that a thread decodes in, and is left whenever
//! there is nothing to do: the threads of a loader whose consumer does something else cost nothing, and those of another have all seats.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use super::desk::Desk;
use super::room::Room;
use crate::error::{Error, Result};
use crate::parallel;

/// Seats for each core at the most, where threads wait for storage and nobody said how many there are.
const MOST: usize = 4;

/// The memory of a seat beyond which it is not kept while nobody sits on it: one huge payload must not stay in memory.
pub(super) const KEPT: u64 = 32 << 20;

/// The threads and the memory budget of one loader, or of several: those of training and of validation, say. Each loader has one of its own until it is
/// given another's ([`Loader::sharing`](super::Loader::sharing)). Which threads do the work changes no batch.
#[derive(Debug, Clone)]
pub struct Crew {
    pub(super) seats: Arc<Seats>,
    pub(super) room: Arc<Room>,
}

impl Crew {
    /// So many threads at work at a time (0: one for each core, and more while they wait for storage), and so many bytes of batches on their way and of
    /// payloads and decoders in hand.
    pub fn new(threads: usize, memory: u64) -> Self {
        let limit = parallel::threads(threads);
        let most = if threads == 0 { limit.saturating_mul(MOST) } else { limit };
        let state = State { free: Vec::new(), taken: 0, limit, queue: VecDeque::new(), next: 0 };
        let seats =
            Seats { least: limit, most, wanted: AtomicUsize::new(0), state: Mutex::new(state), left: Condvar::new() };
        Crew { seats: Arc::new(seats), room: Arc::new(Room::new(memory)) }
    }

    /// Threads that may work at a time now.
    pub fn threads(&self) -> usize {
        self.seats.lock().limit
    }

    /// The budget in bytes.
    pub fn memory(&self) -> u64 {
        self.room.budget()
    }

    /// Bytes that are held now, of batches on their way and of work in hand, over all loaders.
    pub fn bytes(&self) -> u64 {
        let (batches, hand) = self.room.held();
        batches.saturating_add(hand)
    }

    /// The most bytes that were held at one time.
    pub fn peak_bytes(&self) -> u64 {
        self.room.peak()
    }

    /// Refuses a budget that is too small.
    pub(super) fn suffices(&self, needed: u64) -> Result<()> {
        let memory = self.memory();
        if memory < needed {
            return Err(Error::config(
                format!("a memory budget of {memory} bytes; this dataset and recipe need at least {needed}"),
                "raise run.memory (--memory), make the batch smaller, or put an operation in front that bounds the shape",
            ));
        }
        Ok(())
    }
}

/// Who may work.
#[derive(Debug)]
pub(super) struct Seats {
    /// Seats at first, and at the most.
    least: usize,
    most: usize,
    /// Threads that wait for a seat.
    wanted: AtomicUsize,
    state: Mutex<State>,
    left: Condvar,
}

#[derive(Debug)]
struct State {
    /// What those who left worked with.
    free: Vec<Desk>,
    taken: usize,
    limit: usize,
    /// Who waits, in the order of their coming.
    queue: VecDeque<u64>,
    next: u64,
}

/// A seat of a worker, who is on it or has left it for a while.
pub(super) struct Seat {
    seats: Arc<Seats>,
    desk: Option<Desk>,
}

impl Seats {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets those who wait look whether they still have to.
    pub(super) fn wake(&self) {
        drop(self.lock());
        self.left.notify_all();
    }

    /// Seats for threads of which `share` of the time goes into waiting for storage. Returns how many there are.
    pub(super) fn tune(&self, share: f64) -> usize {
        let want = (self.least as f64 / (1.0 - share.clamp(0.0, 0.9))).round() as usize;
        let mut state = self.lock();
        // Step by step, as more readers change what each waits for.
        let limit = match want.clamp(self.least, self.most) {
            more if more > state.limit => state.limit + 1,
            fewer if fewer < state.limit => state.limit - 1,
            same => same,
        };
        let changed = limit > state.limit;
        state.limit = limit;
        drop(state);
        if changed {
            self.left.notify_all();
        }
        limit
    }

    /// Whether there may be other seats than there are.
    pub(super) fn is_tuned(&self) -> bool {
        self.most > self.least
    }
}

impl Seat {
    /// A seat that nobody sits on yet.
    pub(super) fn of(crew: &Crew) -> Self {
        Seat { seats: crew.seats.clone(), desk: None }
    }

    /// Sits down, behind those who came before; false if the work has `ended`.
    pub(super) fn sit(&mut self, ended: &AtomicBool) -> bool {
        if self.desk.is_some() {
            return !ended.load(Ordering::Relaxed);
        }
        let mut state = self.seats.lock();
        let ticket = state.next;
        state.next += 1;
        state.queue.push_back(ticket);
        self.seats.wanted.fetch_add(1, Ordering::Relaxed);
        while !ended.load(Ordering::Relaxed) && (state.queue.front() != Some(&ticket) || state.taken >= state.limit) {
            state = self.seats.left.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        self.seats.wanted.fetch_sub(1, Ordering::Relaxed);
        state.queue.retain(|other| *other != ticket);
        let go = !ended.load(Ordering::Relaxed);
        if go {
            state.taken += 1;
            self.desk = Some(state.free.pop().unwrap_or_default());
        }
        let more = !state.queue.is_empty();
        drop(state);
        if more {
            // The next one in the queue may have been told before it was the next.
            self.seats.left.notify_all();
        }
        go
    }

    /// What to work with.
    ///
    /// # Panics
    /// If nobody sits here.
    pub(super) fn desk(&mut self) -> &mut Desk {
        self.desk.as_mut().expect("a worker works on its seat")
    }

    /// Leaves the seat to others.
    pub(super) fn leave(&mut self) {
        let Some(desk) = self.desk.take() else { return };
        let kept = (desk.held() <= KEPT && !std::thread::panicking()).then_some(desk);
        let mut state = self.seats.lock();
        state.taken -= 1;
        if state.free.len() < state.limit {
            state.free.extend(kept);
        }
        let wanted = !state.queue.is_empty();
        drop(state);
        if wanted {
            self.seats.left.notify_all();
        }
    }

    /// Leaves the seat if others wait for one, and sits down again behind them; false if the work has ended.
    pub(super) fn yielded(&mut self, ended: &AtomicBool) -> bool {
        if self.seats.wanted.load(Ordering::Relaxed) > 0 {
            self.leave();
        }
        self.sit(ended)
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.leave();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicU64;

    use super::*;

    #[test]
    fn no_more_work_than_there_are_seats_and_everybody_gets_one() {
        let crew = Crew::new(3, 0);
        let (now, most) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
        let workers: Vec<_> = (0..12)
            .map(|i| {
                let (crew, now, most) = (crew.clone(), now.clone(), most.clone());
                let body = move || {
                    let (mut seat, go) = (Seat::of(&crew), AtomicBool::new(false));
                    for round in 0..200 {
                        assert!(seat.yielded(&go));
                        most.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                        std::hint::black_box(vec![round; 64]);
                        now.fetch_sub(1, Ordering::SeqCst);
                        if round % 7 == i % 7 {
                            seat.leave();
                        }
                    }
                };
                parallel::spawn(format!("seat-{i}"), body).unwrap()
            })
            .collect();
        workers.into_iter().for_each(|worker| worker.join().unwrap());
        assert!((1..=3).contains(&most.load(Ordering::SeqCst)));
        assert_eq!(crew.seats.lock().taken, 0);
    }

    #[test]
    fn who_waits_for_a_seat_ends_with_the_work() {
        let crew = Crew::new(1, 0);
        let (ended, mut first) = (Arc::new(AtomicBool::new(false)), Seat::of(&crew));
        assert!(first.sit(&ended));
        let (other, flag) = (crew.clone(), ended.clone());
        let waiting = parallel::spawn("waits".into(), move || assert!(!Seat::of(&other).sit(&flag))).unwrap();
        while crew.seats.wanted.load(Ordering::Relaxed) == 0 {
            std::thread::yield_now();
        }
        ended.store(true, Ordering::Relaxed);
        crew.seats.wake();
        waiting.join().unwrap();
        assert!(crew.seats.lock().queue.is_empty());
    }

    #[test]
    fn seats_follow_what_storage_lets_wait() {
        let crew = Crew::new(0, 0);
        let cores = parallel::threads(0);
        (0..100).for_each(|_| assert!(crew.seats.tune(0.5) <= 2 * cores));
        assert_eq!(crew.threads(), 2 * cores);
        (0..100).for_each(|_| assert!(crew.seats.tune(1.0) <= MOST * cores));
        assert_eq!(crew.threads(), MOST * cores);
        (0..100).for_each(|_| assert!(crew.seats.tune(0.0) >= cores));
        assert_eq!(crew.threads(), cores);
        let fixed = Crew::new(3, 0);
        assert!(!fixed.seats.is_tuned() && crew.seats.is_tuned());
        assert_eq!(fixed.seats.tune(0.9), 3);
    }
}
