//! The steps of one epoch, or of several one behind the other, numbered through.

use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};

use crate::plan::Steps;

/// Makes the steps of an epoch from its front.
pub(super) type Make = Box<dyn Fn(u64) -> Steps + Send + Sync>;

/// Epochs without a step that are passed over before a run counts as ended.
const EMPTY: usize = 1000;

/// Epochs beyond which steps are not counted.
const COUNTED: u64 = 1 << 20;

/// Epochs one behind the other. The next one's plan is made when its first step is asked for.
pub(super) struct Lane {
    /// The epoch behind the last.
    end: u64,
    make: Make,
    /// Ascending, without gaps, from the epoch of the first step that was not handed over.
    legs: Mutex<Vec<Leg>>,
}

/// One epoch of a lane.
#[derive(Clone)]
pub(super) struct Leg {
    /// The lane's step that is this epoch's first.
    first: u64,
    pub(super) epoch: u64,
    pub(super) steps: Arc<Steps>,
}

impl Lane {
    /// Epochs from the one that `steps` are of.
    pub(super) fn new(steps: Steps, epochs: Range<u64>, make: Make) -> Self {
        let leg = Leg { first: 0, epoch: epochs.start, steps: Arc::new(steps) };
        Lane { end: epochs.end, make, legs: Mutex::new(vec![leg]) }
    }

    /// The epoch of a step, and which of its steps that is; `None` behind the last.
    pub(super) fn find(&self, step: u64) -> Option<(Leg, u64)> {
        let (leg, own) = self.near(step);
        leg.steps.has(own).then_some((leg, own))
    }

    /// As [`Lane::find`]; behind the last step it is one of the last epoch that there is not.
    pub(super) fn near(&self, step: u64) -> (Leg, u64) {
        let mut legs = self.legs.lock().unwrap_or_else(PoisonError::into_inner);
        let mut at = legs.partition_point(|leg| leg.first <= step).saturating_sub(1);
        let mut empty = 0;
        loop {
            let leg = &legs[at];
            let own = step.saturating_sub(leg.first);
            empty += usize::from(!leg.steps.has(0));
            if leg.steps.has(own) || leg.epoch.saturating_add(1) >= self.end || empty > EMPTY {
                return (leg.clone(), own);
            }
            if at + 1 == legs.len() {
                let (first, epoch) = (leg.first + leg.steps.count(), leg.epoch + 1);
                legs.push(Leg { first, epoch, steps: Arc::new((self.make)(epoch)) });
            }
            at += 1;
        }
    }

    /// Everything before a step was handed over: the plans of epochs that are behind are let go.
    pub(super) fn passed(&self, step: u64) {
        let mut legs = self.legs.lock().unwrap_or_else(PoisonError::into_inner);
        let behind = legs.partition_point(|leg| leg.first <= step).saturating_sub(1);
        legs.drain(..behind);
    }

    /// Steps from `step` on; `u64::MAX` if they have no end, or are those of more than a million epochs.
    pub(super) fn left(&self, step: u64) -> u64 {
        let (leg, own) = self.near(step);
        let mut left = leg.steps.count().saturating_sub(own);
        if self.end.saturating_sub(leg.epoch) > COUNTED {
            return if leg.steps.has(own) { u64::MAX } else { 0 };
        }
        for epoch in leg.epoch.saturating_add(1)..self.end {
            left = left.saturating_add((self.make)(epoch).count());
        }
        left
    }
}
