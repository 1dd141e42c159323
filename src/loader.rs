//! The read door: threads execute a [`Plan`] and hand its batches over, in order.
//!
//! Nothing here decides what is in a batch: that is arithmetic on the Index, the recipe, the seed and the epoch. Threads
//! claim (batch, slot) pairs, decode and augment in memory of their own, and the last pass writes the batch itself. So the
//! bytes are the same for any number of threads, any prefetch and any memory budget.
//!
//! A [`Loader`] is assembled by [`Recipe::loader`](crate::recipe::Recipe::loader).

/// A span of `tracing` that lasts to the end of the block (feature `tracing`); nothing without.
macro_rules! span {
    ($name:literal $(, $field:ident = $value:expr)*) => {
        #[cfg(feature = "tracing")]
        let _span = tracing::debug_span!(target: "feedstock", $name $(, $field = $value)*).entered();
    };
}

mod ahead;
mod cells;
mod crew;
mod desk;
mod epoch;
mod lane;
mod least;
mod located;
#[cfg(feature = "prometheus")]
mod metrics;
mod packed;
mod room;
mod sample;
pub mod stats;
mod substitute;
mod window;
mod work;

use std::sync::Arc;

use serde::{Deserialize, Serialize};

pub use crew::Crew;
pub use epoch::Epoch;
use lane::Lane;
use least::least_memory;
#[cfg(feature = "prometheus")]
pub use metrics::Metrics;
use stats::Stats;
pub use stats::StatsReport;

use crate::augment::{Beside, Chain, Output};
use crate::codec::Limits;
use crate::data::buffer::Pool;
use crate::data::objects::ObjectsType;
use crate::data::tensor::DType;
use crate::dataset::Dataset;
use crate::error::{Error, Result};
use crate::plan::{At, Identity, Plan, Sequence, State, Steps, World};

/// Buffers that a loader keeps for reuse at the most.
const KEPT: usize = 64;

/// How an epoch is executed. Nothing here changes a byte of a batch, and none of it is in the recipe's digest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RunConfig {
    /// Worker threads; 0: one for each core, and more while they wait for storage.
    pub threads: usize,
    /// Batches on their way ahead of the consumer; 0: two, and more when it waits while threads have nothing to do, as far as `memory` goes.
    pub prefetch: usize,
    /// Budget in bytes for batches on their way, and for payloads and decoders in hand.
    pub memory: u64,
    /// Whether each payload that is read is held against the hash that its ingest took. It is then read whole, also where a part would do.
    pub check_hash: bool,
    /// This process among those that share the epoch.
    pub world: World,
}

impl Default for RunConfig {
    fn default() -> Self {
        RunConfig { threads: 0, prefetch: 0, memory: 1 << 30, check_hash: false, world: World::default() }
    }
}

/// What happens to a sample whose content is bad: that cannot be decoded, or is not what its hash says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OnError {
    /// The epoch ends with its error.
    #[default]
    Fail,
    /// Another sample stands in its slot: one that the plan names, the same on any rank and after any restart. The batch says which
    /// ([`Batch::substituted`](crate::data::batch::Batch::substituted)). In a row of packed sequences its place is padding.
    Substitute,
}

impl OnError {
    /// All ways.
    pub const ALL: &'static [OnError] = &[OnError::Fail, OnError::Substitute];
}

/// What is delivered for one column of a dataset.
#[derive(Debug, Clone)]
pub enum OutColumn {
    /// A small value from the Index.
    Values {
        /// The column's name.
        name: String,
        /// Its place in the schema; `None`: this source of a mixture has no such column, so that its cells are absent.
        index: Option<usize>,
        /// How it is delivered.
        dtype: DType,
        /// Whether null means -1 (classes) or 0.
        class: bool,
        /// Where classes of several sources are joined: which of the joined ones each is.
        joined: Option<Arc<[i64]>>,
    },
    /// A payload.
    Media {
        /// The column's name.
        name: String,
        /// As for values.
        index: Option<usize>,
        /// What is done with it.
        work: Work,
    },
    /// Located things, ragged: `NAME_bbox` with the corners of each in pixels of the picture that is delivered (`[objects, 4]` of f32, xyxy), moved as the
    /// picture's operations move it; `NAME_category` with their classes (`[objects]` of i64), and so each attribute that is a number.
    Objects {
        /// The column's name.
        name: String,
        /// As for values.
        index: Option<usize>,
        /// Their type.
        of: Arc<ObjectsType>,
        /// The column of the picture that they are in, by its place in the schema.
        picture: Option<usize>,
        /// As for values.
        joined: Option<Arc<[i64]>>,
    },
    /// Which source of a mixture the sample is of.
    Source {
        /// The column's name.
        name: String,
    },
    /// Token sequences, several in a row of so many tokens: `[N, length]`. Beside it `NAME_segments` (from 1 on in each row, 0 for padding) and
    /// `NAME_positions` (from 0 on in each sequence) of the same shape, so that attention need not cross sequences.
    Packed {
        /// The column's name.
        name: String,
        /// As for values.
        index: usize,
        /// What is done with each sequence: nothing that changes its length.
        chain: Box<Chain>,
        /// Tokens of a row.
        length: usize,
    },
}

/// One dataset behind a loader: the only one, or a source of a mixture.
#[derive(Debug, Clone)]
pub struct Feed {
    /// Its name in the mixture; empty for the only one.
    pub name: String,
    /// The dataset.
    pub dataset: Arc<Dataset>,
    /// How each column that is delivered is made of it. All feeds of a loader have the same columns, alike in what they deliver.
    pub columns: Vec<OutColumn>,
}

/// What is done with a payload.
#[derive(Debug, Clone)]
pub enum Work {
    /// Decode and run the chain.
    Chain(Box<Chain>),
    /// Deliver the encoded bytes.
    Bytes,
}

impl OutColumn {
    /// The column's name.
    pub fn name(&self) -> &str {
        match self {
            OutColumn::Values { name, .. }
            | OutColumn::Media { name, .. }
            | OutColumn::Objects { name, .. }
            | OutColumn::Source { name }
            | OutColumn::Packed { name, .. } => name,
        }
    }

    /// The place in the dataset's schema, if it has the column.
    pub fn index(&self) -> Option<usize> {
        match self {
            OutColumn::Values { index, .. } | OutColumn::Media { index, .. } | OutColumn::Objects { index, .. } => {
                *index
            }
            OutColumn::Packed { index, .. } => Some(*index),
            OutColumn::Source { .. } => None,
        }
    }

    /// The type of small values, and whether null is -1.
    fn values(&self) -> (DType, bool) {
        match self {
            OutColumn::Values { dtype, class, .. } => (*dtype, *class),
            _ => (DType::I64, true),
        }
    }

    /// Buffers that it takes for a batch, at the most.
    fn buffers(&self) -> usize {
        match self {
            OutColumn::Packed { .. } => 3,
            OutColumn::Media { .. } => 1 + usize::from(self.beside().is_some()),
            OutColumn::Values { .. } | OutColumn::Source { .. } => 1,
            OutColumn::Objects { .. } => 0,
        }
    }

    /// What is delivered beside it, as a column of its own.
    fn beside(&self) -> Option<Beside> {
        match self {
            OutColumn::Media { work, .. } => work.chain().and_then(Chain::output).and_then(|o| o.beside),
            _ => None,
        }
    }
}

impl Work {
    /// What it delivers into a dense column; `None`: ragged or bytes.
    fn dense(&self) -> Option<&Output> {
        match self {
            Work::Chain(chain) => chain.output().filter(|o| !o.is_late()),
            Work::Bytes => None,
        }
    }

    /// The element type of ragged samples; `None`: byte strings.
    fn loose(&self) -> Option<DType> {
        match self {
            Work::Chain(chain) => chain.output().map(|o| o.dtype),
            Work::Bytes => None,
        }
    }

    fn chain(&self) -> Option<&Chain> {
        match self {
            Work::Chain(chain) => Some(chain),
            Work::Bytes => None,
        }
    }
}

/// What all threads share.
struct Core {
    feeds: Vec<Feed>,
    /// What states say of the datasets.
    identity: Identity,
    limits: Limits,
    /// Whether another sample stands in for one that cannot be read.
    substitutes: bool,
    check_hash: bool,
    pool: Arc<Pool>,
    stats: Stats,
}

/// Streams the batches of a dataset, epoch by epoch.
pub struct Loader {
    core: Arc<Core>,
    sequence: Sequence,
    run: RunConfig,
    crew: Crew,
    /// The least budget that it can do with, in bytes.
    needed: u64,
    /// Digest of the recipe, as written into states.
    recipe: String,
}

impl std::fmt::Debug for Loader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Loader").field("sequence", &self.sequence).field("run", &self.run).finish_non_exhaustive()
    }
}

impl Core {
    /// The columns that are delivered, as the first feed has them: the others' are alike.
    fn columns(&self) -> &[OutColumn] {
        self.feeds.first().map_or(&[], |feed| &feed.columns)
    }
}

impl Loader {
    /// Assembles a loader. Callers use [`Recipe::loader`](crate::recipe::Recipe::loader), which checks the parts against the dataset.
    ///
    /// # Errors
    /// [`Error::Config`] for an empty batch, a rank outside its world, or a memory budget below three times the largest
    /// payload plus a batch.
    pub fn new(
        feeds: Vec<Feed>,
        sequence: Sequence,
        limits: Limits,
        errors: OnError,
        run: RunConfig,
        recipe: String,
    ) -> Result<Self> {
        run.world.validate()?;
        if sequence.batch == 0 {
            return Err(Error::config("batch = 0", "a batch has at least one sample"));
        }
        if feeds.is_empty() || feeds.len() != sequence.components.len() {
            let what = format!("{} datasets for {} components", feeds.len(), sequence.components.len());
            return Err(Error::library("assembling a loader", what));
        }
        // A batch may be all of the source that takes the most.
        let needed = feeds.iter().map(|feed| least_memory(feed, sequence.batch)).max().unwrap_or(0);
        let crew = Crew::new(run.threads, run.memory);
        crew.suffices(needed)?;
        let each: usize = feeds[0].columns.iter().map(OutColumn::buffers).sum();
        let pool = Pool::new(run.prefetch.max(2).saturating_add(2).saturating_mul(each).clamp(1, KEPT));
        let named = feeds.iter().map(|feed| (feed.name.as_str(), feed.dataset.digest()));
        let identity = Identity::of(&named.collect::<Vec<_>>());
        let (substitutes, check_hash, stats) = (errors == OnError::Substitute, run.check_hash, Stats::default());
        let core = Core { feeds, identity, limits, substitutes, check_hash, pool, stats };
        Ok(Loader { core: Arc::new(core), sequence, run, crew, needed, recipe })
    }

    /// Has its work done by the threads of another loader, under one budget with it: those of training do the validation, say, while nobody takes training's
    /// batches. `run.threads` and `run.memory` of its recipe mean nothing then (but `run.memory` must have sufficed to make it). No batch changes.
    ///
    /// ```no_run
    /// # use feedstock::{dataset::Dataset, recipe::Recipe};
    /// # use std::sync::Arc;
    /// # let (train, test) = (Recipe::default(), Recipe::default());
    /// let photos = Arc::new(Dataset::open("photos")?);
    /// let train = train.loader(photos.clone())?;
    /// let test = test.loader(photos)?.sharing(train.crew())?;
    /// # Ok::<(), feedstock::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Config`] for a budget that is too small for this loader.
    pub fn sharing(self, crew: &Crew) -> Result<Self> {
        crew.suffices(self.needed)?;
        Ok(Loader { crew: crew.clone(), ..self })
    }

    /// Its threads and its budget.
    pub fn crew(&self) -> &Crew {
        &self.crew
    }

    /// Which batches of an epoch are this rank's.
    pub fn steps(&self, epoch: u64) -> Steps {
        Steps::new(Arc::new(self.plan(epoch)), self.run.world, At::default())
    }

    /// Steps of the first epoch on this rank. All epochs have as many, unless the weights of a mixture change with them, or batches are formed by
    /// length ([`Loader::steps`]).
    pub fn len(&self) -> u64 {
        self.steps(0).count()
    }

    /// Whether an epoch has no step on this rank.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Places of an epoch that no rank gets (tail `drop`).
    pub fn dropped(&self, epoch: u64) -> u64 {
        self.steps(epoch).dropped()
    }

    /// The plan of an epoch: what stands where, for looking at.
    pub fn plan(&self, epoch: u64) -> Plan {
        Plan::new(&self.sequence, epoch)
    }

    /// What the plans are made from.
    pub fn sequence(&self) -> &Sequence {
        &self.sequence
    }

    /// The dataset behind the loader; of a mixture the first source's.
    pub fn dataset(&self) -> &Arc<Dataset> {
        &self.core.feeds[0].dataset
    }

    /// The datasets behind the loader, by the number that a segment has of its source.
    pub fn feeds(&self) -> &[Feed] {
        &self.core.feeds
    }

    /// The columns that batches carry (of a mixture, as the first source has them).
    pub fn columns(&self) -> &[OutColumn] {
        self.core.columns()
    }

    /// The names of a column of classes, by the numbers that batches carry; joined where several sources have some, and the sources' own names for
    /// the column that says the source. `None` if it is no such column.
    pub fn classes(&self, column: &str) -> Option<Vec<String>> {
        let mut all: Vec<String> = Vec::new();
        for feed in &self.core.feeds {
            match feed.columns.iter().find(|c| c.name() == column)? {
                OutColumn::Source { .. } => all.push(feed.name.clone()),
                OutColumn::Values { class: true, index, joined, .. } | OutColumn::Objects { index, joined, .. } => {
                    let names = index.and_then(|index| feed.dataset.schema().columns[index].feature.classes());
                    let Some(names) = names else { continue };
                    for (own, name) in names.iter().enumerate() {
                        let at = joined.as_ref().map_or(own, |joined| joined[own] as usize);
                        all.resize(all.len().max(at + 1), String::new());
                        all[at].clone_from(name);
                    }
                }
                _ => return None,
            }
        }
        Some(all)
    }

    /// SHA-256 (hex) of the dataset's version, or over the names and versions of a mixture's.
    pub fn dataset_digest(&self) -> &str {
        &self.core.identity.digest
    }

    /// The digest of the recipe.
    pub fn recipe_digest(&self) -> &str {
        &self.recipe
    }

    /// Starts an epoch from its front: `for batch in loader.epoch(3)? { let batch = batch?; ... }`.
    pub fn epoch(&self, epoch: u64) -> Result<Epoch> {
        self.epochs(epoch..epoch.saturating_add(1))
    }

    /// Some of an epoch's steps on this rank, counted from its front: what [`Loader::epoch`] gives, cut to a run of whole
    /// batches. What lies beyond this rank's steps is left out.
    pub fn part(&self, epoch: u64, steps: std::ops::Range<u64>) -> Result<Epoch> {
        let end = steps.end.max(steps.start);
        self.run(self.steps(epoch).part(steps.start..end), epoch..epoch.saturating_add(1))
    }

    /// Several epochs one behind the other, without a gap: the threads begin the next one while the last batches of the one before are still
    /// taken. The batches are those of [`Loader::epoch`], and say their epoch; a state goes on with one epoch ([`Loader::resume`]) or with all that are left
    /// ([`Loader::resume_epochs`]).
    pub fn epochs(&self, epochs: std::ops::Range<u64>) -> Result<Epoch> {
        let front = self.steps(epochs.start);
        // Of no epochs there are no steps.
        let front = if epochs.is_empty() { front.part(0..0) } else { front };
        self.run(front, epochs.start..epochs.end.max(epochs.start.saturating_add(1)))
    }

    /// Goes on where a state was saved, on this loader's world whatever the world it was saved on: the next batches are the
    /// ones that no rank had been given.
    ///
    /// # Errors
    /// [`Error::State`] if the state belongs to another dataset version or recipe.
    pub fn resume(&self, state: &State) -> Result<Epoch> {
        self.resume_epochs(state, state.epoch.saturating_add(1))
    }

    /// As [`Loader::resume`], and goes on with the epochs behind, up to `end` and without it.
    ///
    /// # Errors
    /// As [`Loader::resume`].
    pub fn resume_epochs(&self, state: &State, end: u64) -> Result<Epoch> {
        let names: Vec<&str> = self.core.feeds.iter().map(|feed| feed.name.as_str()).collect();
        state.expect(&self.core.identity, &names, &self.recipe)?;
        let steps = Steps::resumed(Arc::new(self.plan(state.epoch)), self.run.world, state)?;
        self.run(steps, state.epoch..end.max(state.epoch.saturating_add(1)))
    }

    fn run(&self, front: Steps, epochs: std::ops::Range<u64>) -> Result<Epoch> {
        if epochs.start == u64::MAX {
            let help = "epochs are counted from 0; the last is 18446744073709551614";
            return Err(Error::config(format!("there is no epoch {}", u64::MAX), help));
        }
        let (sequence, world) = (self.sequence.clone(), self.run.world);
        let make = move |epoch| Steps::new(Arc::new(Plan::new(&sequence, epoch)), world, At::default());
        let lane = Lane::new(front, epochs, Box::new(make));
        Epoch::start(self.core.clone(), lane, self.crew.clone(), self.run.prefetch, &self.recipe)
    }

    /// What was done so far, over all epochs.
    pub fn stats(&self) -> StatsReport {
        self.core.stats.report()
    }

    /// Threads that may work at a time now.
    pub fn threads(&self) -> usize {
        self.crew.threads()
    }
}
