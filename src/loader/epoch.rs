//! One epoch under way, or several: the threads, and the consumer's end.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use crossbeam_channel::{Receiver, Sender};

use super::ahead::Ahead;
use super::crew::{Crew, Seat};
use super::lane::{Lane, Leg};
use super::room::Lender;
use super::stats::Lull;
use super::window::{Flight, Window};
use super::work::{Opened, lock, panic_message};
use super::{Core, Stats};
use crate::clock::Mark;
use crate::data::batch::Batch;
use crate::error::{Error, Origin, Result};
use crate::parallel;
use crate::plan::State;

/// An iterator over the batches of one epoch on this rank, or of several one behind the other ([`Loader::epochs`](super::Loader::epochs)), in order. Dropping it anywhere
/// ends its threads.
///
/// After an error the iterator ends: nothing behind a bad sample is delivered as if nothing had happened.
pub struct Epoch {
    core: Arc<Core>,
    window: Arc<Window<Slot>>,
    done: Receiver<(u64, Result<Batch>)>,
    early: BTreeMap<u64, Result<Batch>>,
    gang: Arc<Gang>,
    crew: Crew,
    lane: Arc<Lane>,
    taken: u64,
    failed: bool,
    recipe: String,
}

/// The step under which a worker reports that it cannot go on.
const LOST: u64 = u64::MAX;

/// Bytes of batches on their way up to which workers open one more instead of waiting for one.
const SMALL: u64 = 16 << 20;

/// An open batch, until its last worker takes it to close it; or why it could not be opened.
type Slot = std::sync::RwLock<Option<Result<Opened>>>;

impl std::fmt::Debug for Epoch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Epoch")
            .field("epoch", &self.lane.near(self.taken).0.epoch)
            .field("taken", &self.taken)
            .finish_non_exhaustive()
    }
}

impl Epoch {
    pub(super) fn start(core: Arc<Core>, lane: Lane, crew: Crew, prefetch: usize, recipe: &str) -> Result<Self> {
        let (lane, window) = (Arc::new(lane), Arc::new(Window::new(prefetch, crew.room.clone())));
        // The window bounds what is on its way.
        let (sender, done) = crossbeam_channel::unbounded();
        let started = Epoch {
            core: core.clone(),
            window: window.clone(),
            done,
            early: BTreeMap::new(),
            gang: Arc::new(Gang::default()),
            crew: crew.clone(),
            lane: lane.clone(),
            taken: 0,
            failed: false,
            recipe: recipe.to_owned(),
        };
        if lane.find(0).is_some() {
            let threads = crew.threads();
            let worker = Worker { core, window, lane, crew, sender, gang: started.gang.clone() };
            (0..threads).try_for_each(|_| worker.another())?;
        }
        Ok(started)
    }

    /// Where the run stands: what has been handed out, not what was prefetched. All ranks that have taken the same number
    /// of steps have the same state.
    pub fn state(&self) -> State {
        let (leg, own) = self.lane.near(self.taken);
        State::new(&self.core.identity, &self.recipe, leg.epoch, leg.steps.after(own))
    }

    /// Places of the epoch (of several, of that of the next batch) that no rank gets from where this run began (tail `drop`). A part of an epoch drops
    /// none.
    pub fn dropped(&self) -> u64 {
        self.lane.near(self.taken).0.steps.dropped()
    }

    /// The most bytes that batches on their way have held at one time.
    pub fn peak_bytes(&self) -> u64 {
        self.window.peak()
    }

    /// Steps that are still to come on this rank; `u64::MAX` if they have no end, or are those of more than a million epochs. Where batches are formed in windows, the first call looks at all that
    /// are left.
    pub fn remaining(&self) -> u64 {
        if self.failed { 0 } else { self.lane.left(self.taken) }
    }
}

impl Iterator for Epoch {
    type Item = Result<Batch>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.failed || self.lane.find(self.taken).is_none() {
            return None;
        }
        span!("wait", step = self.taken);
        let mark = Mark::now();
        let batch = loop {
            if let Some(batch) = self.early.remove(&self.taken) {
                Stats::take(&self.core.stats.ready, 1);
                break batch;
            }
            let done = self.done.try_recv().or_else(|_| {
                self.window.awaited();
                self.done.recv()
            });
            match done {
                Ok((LOST, lost)) => break lost,
                Ok((step, batch)) => {
                    self.early.insert(step, batch);
                }
                Err(_) => break Err(Error::library("loading", "every worker thread ended before the epoch did")),
            }
        };
        Stats::add(&self.core.stats.wait, mark.nanos());
        match &batch {
            Ok(_) => {
                self.taken += 1;
                self.lane.passed(self.taken);
                Stats::add(&self.core.stats.batches, 1);
                Stats::take(&self.core.stats.in_flight_bytes, self.window.handed_over());
                Stats::take(&self.core.stats.in_flight_batches, 1);
            }
            Err(_) => {
                self.failed = true;
                self.stop();
            }
        }
        Some(batch)
    }
}

impl Epoch {
    fn stop(&self) {
        self.window.stop();
        self.crew.seats.wake();
    }
}

impl Drop for Epoch {
    fn drop(&mut self) {
        self.stop();
        // A worker that panicked outside a sample has already ended the epoch; there is nobody left to tell. None begins behind the stop.
        loop {
            // Not held while a worker ends, which may look who else there is.
            let worker = lock(&self.gang.workers).pop();
            let Some(worker) = worker else { break };
            let _ = worker.join();
        }
        // What was on its way is no more.
        let stats = &self.core.stats;
        let waiting = self.done.try_iter().filter(|(step, _)| *step != LOST).count() + self.early.len();
        Stats::take(&stats.ready, waiting as u64);
        let (batches, bytes) = self.window.left();
        Stats::take(&stats.in_flight_batches, batches);
        Stats::take(&stats.in_flight_bytes, bytes);
    }
}

/// The threads of an epoch.
#[derive(Default)]
struct Gang {
    workers: Mutex<Vec<JoinHandle<()>>>,
    lull: Lull,
    ahead: Ahead,
}

/// One thread's share of the epoch.
#[derive(Clone)]
struct Worker {
    core: Arc<Core>,
    window: Arc<Window<Slot>>,
    lane: Arc<Lane>,
    crew: Crew,
    sender: Sender<(u64, Result<Batch>)>,
    gang: Arc<Gang>,
}

impl Worker {
    /// Starts a thread, unless the epoch has ended.
    fn another(&self) -> Result<()> {
        let mut workers = lock(&self.gang.workers);
        if !self.window.ended().load(Ordering::Relaxed) {
            let (worker, name) = (self.clone(), format!("feedstock-load-{}", workers.len()));
            workers.push(parallel::spawn(name, move || worker.guarded())?);
        }
        Ok(())
    }

    /// Has as many threads as there is waiting for storage, where nobody said how many there are.
    fn tune(&self) {
        if !self.crew.seats.is_tuned() {
            return;
        }
        let Some(share) = self.gang.lull.share(&self.core.stats, self.crew.threads()) else { return };
        let (seats, threads) = (self.crew.seats.tune(share), lock(&self.gang.workers).len());
        if threads < seats {
            // A system that gives no more threads leaves those that there are.
            let _ = self.another();
        }
    }

    /// Panics inside a sample are that sample's error. Any other would leave the consumer waiting for a batch that nobody
    /// finishes: it ends the epoch, and says so.
    fn guarded(self) {
        let worker = std::panic::AssertUnwindSafe(&self);
        let ended = std::panic::catch_unwind(|| worker.run()).unwrap_or_else(|panic| {
            let message = panic_message(&*panic);
            Err(Error::Panic { origin: Origin::default(), message })
        });
        if let Err(error) = ended {
            // First of all why: what the others are interrupted by must not come before.
            let _ = self.sender.send((LOST, Err(error)));
            self.window.stop();
            self.crew.seats.wake();
        }
    }

    fn run(&self) -> Result<()> {
        let (mut seat, ended) = (Seat::of(&self.crew), self.window.ended());
        let mut next = 0;
        while self.lane.find(next).is_some() {
            self.tune();
            let mark = Mark::now();
            let entered = self.window.enter(next, || seat.leave());
            let go = entered.is_some() && seat.yielded(ended);
            Stats::add(&self.core.stats.stall, mark.nanos());
            let Some(flight) = entered.filter(|_| go) else { return Ok(()) };
            let Some((leg, own)) = self.lane.find(flight.step) else { return Ok(()) };
            next = flight.step + 1;
            if flight.opens() {
                self.begin(&flight, &leg, own, &mut seat);
            } else if flight.opened.get().is_none() {
                // Meanwhile the one behind it can be opened, if there is room for it and nobody does. Of large ones the memory costs more than the wait.
                if self.window.peak() <= SMALL
                    && self.lane.find(next).is_some()
                    && let Some(behind) = self.window.further(next)
                    && let Some((leg, own)) = self.lane.find(behind.step)
                    && behind.opens()
                {
                    self.begin(&behind, &leg, own, &mut seat);
                    next = flight.step;
                    continue;
                }
                let mark = Mark::now();
                seat.leave();
                self.window.await_opened(&flight);
                Stats::add(&self.core.stats.stall, mark.nanos());
            }
            let Some(opened) = flight.opened.get().filter(|_| seat.sit(ended)) else { return Ok(()) };
            seat.desk().seen = None;
            while let Some(slot) = flight.claim() {
                if ended.load(Ordering::Relaxed) {
                    return Ok(());
                }
                if let Ok(guard) = opened.read()
                    && let Some(Ok(open)) = guard.as_ref()
                {
                    open.fill(&self.core, slot, seat.desk(), &Lender { room: &self.crew.room, ended });
                }
                if !flight.finish() {
                    continue;
                }
                let taken = opened.write().ok().and_then(|mut slot| slot.take());
                span!("close", step = flight.step);
                let mark = Mark::now();
                let closed = match taken {
                    Some(open) => open.and_then(|open| open.close(&self.core)),
                    None => Err(Error::library("closing a batch", "it was closed twice")),
                };
                Stats::add(&self.core.stats.close, mark.nanos());
                Stats::add(&self.core.stats.ready, 1);
                if self.sender.send((flight.step, closed)).is_err() {
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    /// Opens a batch for all workers.
    fn begin(&self, flight: &Flight<Slot>, leg: &Leg, own: u64, seat: &mut Seat) {
        let opened = self.open(flight, leg, own, seat);
        flight.begin(opened.as_ref().map_or(1, Opened::slots));
        let _ = flight.opened.set(std::sync::RwLock::new(Some(opened)));
        self.window.opened();
        self.gang.ahead.opened(&self.core, &self.lane, flight.step);
    }

    fn open(&self, flight: &Flight<Slot>, leg: &Leg, own: u64, seat: &mut Seat) -> Result<Opened> {
        let mut reserved = false;
        let stalled = std::cell::Cell::new(0);
        let mark = Mark::now();
        let mut room = |bytes| {
            let mark = Mark::now();
            let stats = &self.core.stats;
            // There may be nothing to wait for, but what holds this up is then no more than a moment.
            seat.leave();
            let go = self.window.reserve(flight, bytes) && seat.sit(self.window.ended());
            stalled.set(stalled.get() + mark.nanos());
            Stats::add(&stats.stall, mark.nanos());
            Stats::add(&stats.in_flight_batches, 1);
            Stats::add(&stats.in_flight_bytes, bytes);
            go
        };
        let (epoch, batch) = (leg.epoch, leg.steps.batch(own));
        span!("open", epoch = epoch, window = batch.window, batch = batch.batch);
        let reserve = |bytes| {
            if bytes > self.crew.memory() {
                let what = format!("batch {batch} takes {bytes} bytes, the memory budget is {}", self.crew.memory());
                let help = "raise run.memory (--memory), make the batch smaller, or bound the shape with an operation";
                return Err(Error::config(what, help));
            }
            reserved = true;
            if room(bytes) { Ok(()) } else { Err(Error::Interrupted) }
        };
        let open = std::panic::AssertUnwindSafe(|| Opened::new(&self.core, leg.steps.plan(), epoch, batch, reserve));
        let opened = std::panic::catch_unwind(open)
            .unwrap_or_else(|panic| Err(Error::Panic { origin: Origin::default(), message: panic_message(&*panic) }));
        if !reserved {
            // Later batches wait for this one's turn, also if it could not be opened.
            room(0);
        }
        Stats::add(&self.core.stats.open, mark.nanos().saturating_sub(stalled.get()));
        opened
    }
}
