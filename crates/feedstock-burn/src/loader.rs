//! feedstock's loader as burn's.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use burn::data::dataloader::{DataLoader, DataLoaderIterator, Progress};
use burn::data::dataset::DatasetError;
use burn::tensor::Device;
use feedstock::data::batch::Batch;
use feedstock::loader::{Epoch, Loader};
use feedstock::plan::{State, Steps};
use feedstock::{Error, Result};

/// Makes what a model takes of a batch.
type Batcher<O> = dyn Fn(Batch, &Device) -> Result<O> + Send + Sync;

/// A [`Loader`] as burn's [`DataLoader`]: give it to `SupervisedTraining::new`, or iterate over it yourself.
///
/// **Epochs.** burn's `iter()` does not say which epoch it wants, and a shuffled epoch depends on its number. So a
/// `BurnLoader` counts: the first `iter()` is epoch 0 (or that of [`BurnLoader::starting_at`]), every further one the next,
/// whether or not the one before was read to its end. [`BurnLoader::batches`] names the epoch and leaves the count alone.
/// burn's learner first moves a loader to its device: the moved loader (and every slice) goes on from the count at that
/// moment with a count of its own.
///
/// **Items** are samples of this rank without padding; what the tail policy drops is not among them.
///
/// **Errors.** A batch that cannot be loaded, and one that the batcher refuses, come out of the iterator as `Err` with
/// feedstock's [`Error`] as its source, and the epoch ends there. burn's learner then stops the training with the error's text.
///
/// **Several devices.** burn slices a loader into equal runs of items, one a device. A slice here is a run of whole batches:
/// a batch belongs to the slice with its first item, so that adjacent slices share and lose nothing. All slices have their work
/// done by the loader's threads, under its one memory budget.
pub struct BurnLoader<O> {
    loader: Arc<Loader>,
    batcher: Arc<Batcher<O>>,
    device: Device,
    steps: Range<u64>,
    next: AtomicU64,
}

impl<O> std::fmt::Debug for BurnLoader<O> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("BurnLoader")
            .field("device", &self.device)
            .field("steps", &self.steps)
            .field("next", &self.next)
            .finish_non_exhaustive()
    }
}

impl<O> BurnLoader<O> {
    /// A loader whose batches become items by `batcher`, on `device`.
    ///
    /// The batcher runs on the consumer's thread, between two training steps: taking tensors out of a batch costs next to
    /// nothing there, per-sample work belongs into the recipe's operations, which run on the loader's threads.
    pub fn new(
        loader: Arc<Loader>,
        device: Device,
        batcher: impl Fn(Batch, &Device) -> Result<O> + Send + Sync + 'static,
    ) -> Self {
        let steps = 0..loader.len();
        BurnLoader { loader, batcher: Arc::new(batcher), device, steps, next: AtomicU64::new(0) }
    }

    /// The epoch that the next `iter()` runs: after a restart from burn's checkpoint of epoch n, n.
    #[must_use]
    pub fn starting_at(self, epoch: u64) -> Self {
        BurnLoader { next: AtomicU64::new(epoch), ..self }
    }

    /// The loader behind, for its statistics, states and plans.
    pub fn loader(&self) -> &Arc<Loader> {
        &self.loader
    }

    /// The items of one epoch.
    pub fn batches(&self, epoch: u64) -> Batches<O> {
        self.run(self.loader.part(epoch, self.steps.clone()), self.items(&self.steps))
    }

    /// Goes on where [`Batches::state`] was taken, within its epoch. The count of `iter()` is left alone.
    ///
    /// # Errors
    /// [`Error::State`] if the state belongs to another dataset version or recipe; [`Error::Config`] for a slice.
    pub fn batches_from(&self, state: &State) -> Result<Batches<O>> {
        if !self.is_whole() {
            return Err(Error::config("a slice of a loader cannot resume", "resume the loader before it is sliced"));
        }
        let epoch = self.loader.resume(state)?;
        let whole = self.loader.steps(state.epoch);
        let steps = Steps::new(whole.plan().clone(), whole.world(), state.at());
        let items = items(&steps, &(0..steps.count()));
        Ok(self.run(Ok(epoch), items))
    }

    fn run(&self, epoch: Result<Epoch>, total: usize) -> Batches<O> {
        let (epoch, error) = match epoch {
            Ok(epoch) => (Some(epoch), None),
            Err(error) => (None, Some(error)),
        };
        let (batcher, device) = (self.batcher.clone(), self.device.clone());
        Batches { epoch, error, batcher, device, whole: self.is_whole(), taken: 0, total }
    }

    fn is_whole(&self) -> bool {
        self.steps == (0..self.loader.len())
    }

    fn items(&self, steps: &Range<u64>) -> usize {
        items(&self.loader.steps(0), steps)
    }

    /// The first step whose first item is not before `item`.
    fn boundary(&self, item: usize) -> u64 {
        if item >= self.items(&self.steps) {
            return self.steps.end;
        }
        let all = self.loader.steps(0);
        if all.plan().batching().is_none() {
            return self.steps.start + item.div_ceil(all.plan().batch_size()) as u64;
        }
        let mut before = 0;
        let step = self.steps.clone().find(|step| {
            let reached = before >= item;
            before += items(&all, &(*step..*step + 1));
            reached
        });
        step.unwrap_or(self.steps.end)
    }

    fn part(&self, steps: Range<u64>, device: &Device) -> Self {
        BurnLoader {
            loader: self.loader.clone(),
            batcher: self.batcher.clone(),
            device: device.clone(),
            steps,
            next: AtomicU64::new(self.next.load(Ordering::Relaxed)),
        }
    }
}

/// Samples without padding of some of a rank's steps.
fn items(all: &Steps, steps: &Range<u64>) -> usize {
    let plan = all.plan();
    let own = |step| plan.slots(all.batch(step)).iter().filter(|slot| slot.valid).count();
    if plan.batching().is_some() {
        return steps.clone().map(own).sum();
    }
    // Only a rank's last step may have padding: in the one before every rank's batch is followed by another that is not empty.
    let Some(last) = steps.end.checked_sub(1).filter(|last| steps.contains(last)) else { return 0 };
    let full = usize::try_from(last - steps.start).unwrap_or(usize::MAX);
    full.saturating_mul(plan.batch_size()).saturating_add(own(last))
}

impl<O: 'static> DataLoader<O> for BurnLoader<O> {
    fn iter<'a>(&'a self) -> Box<dyn DataLoaderIterator<O> + 'a> {
        Box::new(self.batches(self.next.fetch_add(1, Ordering::Relaxed)))
    }

    fn num_items(&self) -> usize {
        self.items(&self.steps)
    }

    fn to_device(&self, device: &Device) -> Arc<dyn DataLoader<O>> {
        Arc::new(self.part(self.steps.clone(), device))
    }

    fn slice(&self, start: usize, end: usize) -> Arc<dyn DataLoader<O>> {
        let (start, end) = (self.boundary(start), self.boundary(end));
        Arc::new(self.part(start..end.max(start), &self.device))
    }
}

/// One epoch's items, in order. Dropping it anywhere ends its threads.
pub struct Batches<O> {
    epoch: Option<Epoch>,
    error: Option<Error>,
    batcher: Arc<Batcher<O>>,
    device: Device,
    whole: bool,
    taken: usize,
    total: usize,
}

impl<O> std::fmt::Debug for Batches<O> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Batches").field("epoch", &self.epoch).field("taken", &self.taken).finish_non_exhaustive()
    }
}

impl<O> Batches<O> {
    /// Where the epoch stands: behind the last item that was taken. `None` within a slice, whose place is not that of its
    /// rank, and after an error.
    pub fn state(&self) -> Option<State> {
        self.epoch.as_ref().filter(|_| self.whole).map(Epoch::state)
    }

    fn step(&mut self) -> Option<Result<O>> {
        if let Some(error) = self.error.take() {
            return Some(Err(error));
        }
        let batch = match self.epoch.as_mut()?.next()? {
            Ok(batch) => batch,
            Err(error) => return Some(Err(error)),
        };
        self.taken += batch.valid.iter().filter(|valid| **valid).count();
        Some((self.batcher)(batch, &self.device))
    }
}

impl<O> Iterator for Batches<O> {
    type Item = Result<O, DatasetError>;

    fn next(&mut self) -> Option<Self::Item> {
        let item = self.step()?;
        if item.is_err() {
            self.epoch = None;
        }
        Some(item.map_err(DatasetError::new))
    }
}

impl<O> DataLoaderIterator<O> for Batches<O> {
    fn progress(&self) -> Progress {
        Progress::new(self.taken, self.total, Some("items".to_owned()))
    }
}
