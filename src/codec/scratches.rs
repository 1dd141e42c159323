//! The memory of the decoders of all threads: scratches that are lent out under one budget.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use super::Scratch;

/// A scratch that held more than this for one payload is not kept for the next: one huge picture must not stay in memory
/// for the rest of the run.
const KEPT: u64 = 32 << 20;

/// Scratches, shared by all threads, and how many bytes those on loan may hold together.
#[derive(Debug)]
pub(crate) struct Scratches {
    budget: u64,
    state: Mutex<State>,
    returned: Condvar,
}

#[derive(Debug, Default)]
struct State {
    /// Bytes of the budget that are on loan.
    lent: u64,
    /// Bytes that are held beside the loans ([`Scratches::hold`]).
    held: u64,
    /// Scratches that no thread uses now.
    idle: Vec<Scratch>,
}

/// A scratch on loan. Dropped, also by a panic, it gives its part of the budget back.
#[derive(Debug)]
pub(crate) struct Loan<'a> {
    /// What to decode with.
    pub scratch: Scratch,
    from: &'a Scratches,
    /// What the decode was said to need.
    needs: u64,
    /// What it takes of the budget.
    part: u64,
}

impl Scratches {
    /// None yet, under a budget in bytes.
    pub(crate) fn new(budget: u64) -> Self {
        Scratches { budget, state: Mutex::default(), returned: Condvar::new() }
    }

    /// Lends a scratch for a decode that needs so many bytes, as soon as they fit into the budget. One that needs more than
    /// the whole budget waits until nothing else is on loan, and has it alone.
    ///
    /// A thread that holds a loan must neither ask for another nor call rayon, which could run another entry's check in the
    /// middle of its own. Then whoever holds a loan comes to its end, and waiting here, inside a rayon task, cannot
    /// deadlock. Small requests may overtake a large one, but no further than the end of a chunk of rows.
    pub(crate) fn lend(&self, needs: u64) -> Loan<'_> {
        let wait = |state: &mut State| !self.fits(state, needs);
        let mut state = self.returned.wait_while(self.lock(), wait).unwrap_or_else(PoisonError::into_inner);
        let part = self.part(&state, needs);
        state.lent += part;
        Loan { scratch: state.idle.pop().unwrap_or_default(), from: self, needs, part }
    }

    /// The budget in bytes.
    pub(crate) fn budget(&self) -> u64 {
        self.budget
    }

    /// Says how many bytes are held beside the loans from now on: loans have what that leaves of the budget, or, where it
    /// leaves nothing, come one after the other. To be called while nothing is on loan.
    pub(crate) fn hold(&self, bytes: u64) {
        self.lock().held = bytes;
    }

    fn fits(&self, state: &State, needs: u64) -> bool {
        self.part(state, needs) <= self.left(state).saturating_sub(state.lent)
    }

    /// What a need takes of the budget: all that is not held at the most.
    fn part(&self, state: &State, needs: u64) -> u64 {
        needs.min(self.left(state))
    }

    /// The budget without what is held.
    fn left(&self, state: &State) -> u64 {
        self.budget.saturating_sub(state.held).max(1)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Loan<'_> {
    fn drop(&mut self) {
        let scratch = std::mem::take(&mut self.scratch);
        // A decoder's state does not tell its size, but it follows from the need.
        let keep = self.needs.max(scratch.held()) <= KEPT && !std::thread::panicking();
        // Its memory is free before its part of the budget is.
        let kept = keep.then_some(scratch);
        let mut state = self.from.lock();
        state.idle.extend(kept);
        state.lent -= self.part;
        drop(state);
        self.from.returned.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering::SeqCst};

    use super::*;
    use crate::parallel::pool;

    #[test]
    fn what_is_on_loan_never_exceeds_the_budget_and_the_oversize_is_alone() {
        const BUDGET: u64 = 100;
        let (scratches, held, served) = (Scratches::new(BUDGET), AtomicU64::new(0), AtomicU64::new(0));
        pool(8).unwrap().scope(|scope| {
            for i in 0..4_000u64 {
                let (scratches, held, served) = (&scratches, &held, &served);
                scope.spawn(move |_| {
                    let needs = [1, 30, 60, 100, 1_000][(i * 7 % 5) as usize];
                    let loan = scratches.lend(needs);
                    let now = held.fetch_add(needs, SeqCst) + needs;
                    std::thread::yield_now();
                    assert!(now <= BUDGET.max(needs), "{now} bytes on loan with {needs} of them here");
                    held.fetch_sub(needs, SeqCst);
                    drop(loan);
                    served.fetch_add(1, SeqCst);
                });
            }
        });
        assert_eq!((served.into_inner(), scratches.lock().lent), (4_000, 0));
    }

    #[test]
    fn what_fits_is_what_is_not_on_loan() {
        let scratches = Scratches::new(100);
        let fits = |needs| scratches.fits(&scratches.lock(), needs);
        let first = scratches.lend(60);
        assert_eq!([0, 40, 41, 1_000].map(fits), [true, true, false, false]);
        let second = scratches.lend(40);
        assert_eq!([0, 1, 1_000].map(fits), [true, false, false]);
        drop(first);
        assert_eq!([60, 61, 1_000].map(fits), [true, false, false]);
        drop(second);
        let oversize = scratches.lend(1_000);
        assert_eq!([0, 1, 1_000].map(fits), [true, false, false]);
        drop(oversize);
        assert_eq!([100, 1_000].map(fits), [true, true]);
    }

    #[test]
    fn what_is_held_leaves_the_rest_and_one_at_a_time_at_the_least() {
        let scratches = Scratches::new(100);
        let fits = |needs| scratches.fits(&scratches.lock(), needs);
        scratches.hold(60);
        let first = scratches.lend(30);
        assert_eq!([10, 11, 1_000].map(fits), [true, false, false]);
        drop(first);
        scratches.hold(1_000);
        let alone = scratches.lend(50);
        assert_eq!([0, 1, 1_000].map(fits), [true, false, false]);
        drop(alone);
        assert!(fits(1_000));
        scratches.hold(0);
        let _all = scratches.lend(90);
        assert_eq!([10, 11].map(fits), [true, false]);
    }

    #[test]
    fn who_waits_is_woken() {
        let (scratches, order) = (Scratches::new(100), Mutex::new(Vec::new()));
        let (first, second) = (scratches.lend(60), scratches.lend(40));
        pool(2).unwrap().scope(|scope| {
            scope.spawn(|_| {
                let _loan = scratches.lend(1_000);
                order.lock().unwrap().push("the oversize is served");
            });
            drop(first);
            order.lock().unwrap().push("the last loan ends");
            drop(second);
        });
        assert_eq!(order.into_inner().unwrap(), ["the last loan ends", "the oversize is served"]);
    }

    #[test]
    fn a_panic_gives_back_and_its_scratch_is_not_used_again() {
        let scratches = Scratches::new(10);
        let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            let mut loan = scratches.lend(10);
            *loan.scratch.state::<u32>() = 5;
            panic!("a decoder");
        }));
        assert!(panicked.is_err());
        let mut loan = scratches.lend(10);
        assert_eq!(*loan.scratch.state::<u32>(), 0);
    }

    #[test]
    fn a_scratch_comes_again_unless_it_grew_large() {
        let scratches = Scratches::new(u64::MAX);
        let marked = |needs: u64, bytes: usize| {
            let mut loan = scratches.lend(needs);
            loan.scratch.bytes.reserve_exact(bytes);
            *loan.scratch.state::<u32>() = 5;
            drop(loan);
            *scratches.lend(0).scratch.state::<u32>() == 5
        };
        assert!(marked(KEPT, 100));
        assert!(!marked(KEPT + 1, 100), "by its need");
        assert!(!marked(0, KEPT as usize + 1), "by its buffers");
    }
}
