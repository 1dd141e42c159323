//! What is stored in place of a source's own bytes: media encoded anew, decoded media, or what operations made of them.
//!
//! An ingest hands every payload that it accepted to [`Prepare`], which gives back what is stored. Which it is follows from
//! [`PrepareOptions`] and, in a dataset that has rows already, from what made these: a column is made in one way for good.
//! What made it stands in the schema ([`Storage`]); what comes out is a payload like any other, so the loader knows nothing of
//! it. The same payload and options give the same bytes, on any number of threads; where they hang on the machine (float
//! arithmetic of an FFT), the storage names the tier.
//!
//! A way of making payloads is a `Maker` in a file of its own, and a `Way` that describes it.

use std::fmt::Debug;

use serde_json::{Map, Value};

use crate::augment::Tools;
use crate::codec::{Codec, Limits, Scratch};
use crate::data::excerpt::{AudioChunks, Excerpts};
use crate::data::feature::{Column, Feature, Schema};
use crate::data::info::Info;
use crate::data::storage::{Mode, Storage};
use crate::error::{Error, Fault, Reason, Result};
use crate::registry::Table;

#[cfg(all(feature = "video", feature = "image"))]
mod clip;
mod counts;
mod features;
mod options;
#[cfg(feature = "image")]
mod picture;
#[cfg(feature = "audio")]
mod sound;
#[cfg(test)]
mod tests;

pub use crate::augment::{OpConfig, OpEntry, ops};
pub use counts::Counting;
pub use options::{
    AudioCodec, AudioOptions, ColumnOptions, ImageFormat, ImageOptions, PrepareOptions, StoreAs, TextOptions,
    VideoOptions,
};

use options::Way;

/// An accepted payload.
#[derive(Clone, Copy)]
pub struct Accepted<'a> {
    /// Its bytes.
    pub bytes: &'a [u8],
    /// What decodes it.
    pub codec: &'a dyn Codec,
    /// Its facts.
    pub info: &'a Info,
    /// What it may cost, and what is made of it.
    pub limits: &'a Limits,
}

/// One way of making payloads, set up.
trait Maker: Send + Sync + Debug {
    /// The feature of the column that it makes.
    fn feature(&self) -> Feature;

    /// What does it, with versions.
    fn made_by(&self) -> Vec<String>;

    /// Whether a payload is made anew; else the source's own bytes are stored.
    fn takes(&self, _info: &Info) -> bool {
        true
    }

    /// Whether that takes decoding all of it, so that nothing else has to look whether that can be done.
    fn decodes(&self, info: &Info) -> bool {
        self.takes(info)
    }

    /// Whether what is stored is as a rule much larger than what the source has: decoded, not encoded.
    fn grows(&self) -> bool;

    /// About how many bytes it holds beside the payload and its decoder.
    fn memory(&self, info: &Info) -> u64;

    /// What is stored of a payload, with its facts; `None`: the payload itself, after all.
    fn make(&self, payload: Accepted<'_>, tools: &mut Tools) -> Result<Option<(Vec<u8>, Info)>, Fault>;
}

/// A column that is made of what its source has.
#[derive(Debug)]
struct Making {
    /// What the source has.
    source: Feature,
    maker: Box<dyn Maker>,
}

/// What is done to the payloads of each column of a dataset.
#[derive(Debug, Default)]
pub struct Prepare {
    columns: Vec<Option<Making>>,
    /// Columns behind these, which count what operations make of them.
    counts: Vec<Counting>,
}

impl Prepare {
    /// Settles what becomes of each column of a source. `dataset` is the schema of the dataset that is added to: where nothing
    /// is asked of a column, it goes on as it is there. Also returns the source's schema as it will be stored.
    ///
    /// # Errors
    /// [`Error::Config`] for options that nothing uses or that cannot be, and for a dataset whose column is made otherwise.
    pub fn new(
        options: &PrepareOptions,
        source: &Schema,
        dataset: Option<&Schema>,
        ops: &Table<OpEntry>,
    ) -> Result<(Self, Schema)> {
        Prepare::of_excerpts(options, source, None, dataset, ops)
    }

    /// As [`Prepare::new`], of a source whose recordings are parts of recordings if `excerpts` says so: unless something is asked
    /// of recordings, they are stored lossless ([`AudioCodec::Lossless`]).
    ///
    /// # Errors
    /// As [`Prepare::new`].
    pub fn of_excerpts(
        options: &PrepareOptions,
        source: &Schema,
        excerpts: Option<Excerpts>,
        dataset: Option<&Schema>,
        ops: &Table<OpEntry>,
    ) -> Result<(Self, Schema)> {
        options.validate(source)?;
        let mut prepare = Prepare::default();
        let mut schema = Schema::default();
        for column in &source.columns {
            if column.stored.is_some() {
                return Err(Error::config(
                    format!("the source's column {:?} says what made it", column.name),
                    "describe what the source has; what is stored follows from the options of the ingest (prepare)",
                ));
            }
            let there = dataset.and_then(|schema| schema.columns.iter().find(|c| c.name == column.name));
            if let Some((of, _)) = there.and_then(|there| there.stored.as_ref()?.counted()) {
                return Err(counts::taken(&column.name, of));
            }
            let excerpts = excerpts.filter(|_| column.feature == Feature::Audio);
            let asked = options.way(column)?;
            let way = match (&asked, there.and_then(|c| c.stored.as_ref())) {
                (None, Some(stored)) => Some(Way::of(stored, &column.name)?),
                _ => asked.clone().or(excerpts.map(|_| Way::LOSSLESS)),
            };
            let Some(way) = way else {
                prepare.columns.push(None);
                schema.columns.push(column.clone());
                continue;
            };
            let (making, stored) = making(&way, excerpts, column, ops)?;
            let made = Column { name: column.name.clone(), feature: making.maker.feature(), stored: Some(stored) };
            if let Some(there) = there {
                agree(there, &made, asked.is_some())?;
            }
            prepare.columns.push(Some(making));
            schema.columns.push(made);
        }
        for (at, column) in source.columns.iter().enumerate() {
            let asked = options.counted(column);
            if let Some((counting, made)) = Counting::of((at, source), asked, dataset, ops)? {
                prepare.counts.push(counting);
                schema.columns.push(made);
            }
        }
        Ok((prepare, schema))
    }

    /// Brings the columns into a dataset's order: `places` says for each of its columns which one it is. Returns the part of it
    /// that a source has cells for: columns that count stand behind these.
    ///
    /// # Errors
    /// [`Error::Config`] for a dataset in which they do not.
    pub fn arrange(&mut self, places: &[usize]) -> Result<Vec<usize>> {
        let (listed, behind) = places.split_at(self.columns.len().min(places.len()));
        let mut columns: Vec<_> = std::mem::take(&mut self.columns);
        if behind.iter().any(|place| *place < columns.len()) {
            return Err(Error::config(
                "the dataset has columns of counts in front of others",
                "it was not made by feedstock: ingest into another dataset",
            ));
        }
        let mut counts: Vec<_> = std::mem::take(&mut self.counts).into_iter().map(Some).collect();
        let counting = |place: &usize| counts[*place - columns.len()].take();
        self.counts = behind.iter().filter_map(counting).map(|counting| counting.arranged(listed)).collect();
        self.columns = listed.iter().map(|place| columns[*place].take()).collect();
        Ok(listed.to_vec())
    }

    fn making(&self, column: usize) -> Option<&Making> {
        self.columns.get(column).and_then(Option::as_ref)
    }

    /// What the source has, where that is not what the column holds.
    pub fn source(&self, column: usize) -> Option<&Feature> {
        self.making(column).map(|making| &making.source)
    }

    /// Whether what is stored may be much larger than what the source has, so that fewer rows are held at once.
    pub fn grows(&self) -> bool {
        self.columns.iter().flatten().any(|making| making.maker.grows())
    }

    /// Whether all of a payload is decoded to make something of it.
    pub fn decodes(&self, column: usize, info: &Info) -> bool {
        self.making(column).is_some_and(|making| making.maker.takes(info) && making.maker.decodes(info))
    }

    /// About how many bytes making it holds, beside the payload and what its codec says.
    pub fn memory(&self, column: usize, info: &Info) -> u64 {
        self.making(column).map_or(0, |making| making.maker.memory(info))
    }

    /// What is stored of a payload, with its facts; none if that is the payload itself.
    ///
    /// # Errors
    /// Why it cannot be made; the scratch is good for the next payload nevertheless.
    pub fn make(
        &self,
        column: usize,
        payload: Accepted<'_>,
        scratch: &mut Scratch,
    ) -> Result<Option<(Vec<u8>, Info)>, Fault> {
        let Some(making) = self.making(column).filter(|making| making.maker.takes(payload.info)) else {
            return Ok(None);
        };
        let made = made(&*making.maker, payload, scratch)?;
        let bytes = made.as_ref().map_or(0, |(bytes, _)| bytes.len() as u64);
        Limits::check("stored bytes", bytes, payload.limits.payload_bytes)?;
        Ok(made)
    }

    /// The columns that are counted, in the order of those behind them that hold the counts.
    pub fn counts(&self) -> &[Counting] {
        &self.counts
    }
}

/// What a maker makes, whatever happens in it.
fn made(maker: &dyn Maker, payload: Accepted<'_>, scratch: &mut Scratch) -> Result<Option<(Vec<u8>, Info)>, Fault> {
    // The tools of operations lie in the scratch between payloads, and the scratch in the tools meanwhile.
    let mut tools = std::mem::take(scratch.state::<Tools>());
    std::mem::swap(&mut tools.scratch, scratch);
    let made = crate::codec::guarded("prepare", || maker.make(payload, &mut tools));
    if matches!(&made, Err(fault) if fault.reason == Reason::DecoderPanic) {
        tools = Tools::default();
    }
    std::mem::swap(&mut tools.scratch, scratch);
    *scratch.state::<Tools>() = tools;
    made
}

/// Sets a way up for a column.
#[cfg_attr(
    not(all(feature = "image", feature = "audio", feature = "video")),
    allow(unused_variables, reason = "a build without a kind of media has no use for its options")
)]
fn making(way: &Way, excerpts: Option<Excerpts>, column: &Column, ops: &Table<OpEntry>) -> Result<(Making, Storage)> {
    let missing = |feature: &str| {
        Error::config(
            format!("column {:?} cannot be made by this build", column.name),
            format!("it needs the crate feature \"{feature}\""),
        )
    };
    let wrong = |kind: &str| {
        Error::config(
            format!("column {:?} holds {}, the options are of {kind}", column.name, column.feature.name()),
            "give the options of its own kind of media",
        )
    };
    let (maker, parameters): (Box<dyn Maker>, Map<String, Value>) = match way {
        Way::Image(options) => match &column.feature {
            #[cfg(feature = "image")]
            Feature::Image => (Box::new(picture::Pictures::new(*options)), way.parameters(excerpts)?),
            #[cfg(not(feature = "image"))]
            Feature::Image => return Err(missing("image")),
            _ => return Err(wrong("pictures")),
        },
        Way::Audio(options) => match &column.feature {
            #[cfg(feature = "audio")]
            Feature::Audio => (Box::new(sound::Sounds::new(*options)?), way.parameters(excerpts)?),
            #[cfg(not(feature = "audio"))]
            Feature::Audio => return Err(missing("audio")),
            _ => return Err(wrong("recordings")),
        },
        Way::Video(options) => match &column.feature {
            #[cfg(all(feature = "video", feature = "image"))]
            Feature::Video => (Box::new(clip::Clips::new(*options)?), way.parameters(excerpts)?),
            #[cfg(not(all(feature = "video", feature = "image")))]
            Feature::Video => return Err(missing("video\" and \"image")),
            _ => return Err(wrong("clips")),
        },
        Way::Ops(options) => {
            let maker = features::Features::new(options, column, ops)?;
            let parameters = maker.parameters(way.parameters(excerpts)?);
            (Box::new(maker), parameters)
        }
    };
    let _ = missing; // for builds of all features
    let mode = match way {
        Way::Ops(_) => Mode::Features,
        way if way.is_raw() => Mode::Raw,
        Way::Image(options) if !options.encodes() && !options.transcode => Mode::Indexed,
        _ => Mode::Encoded,
    };
    // In front of what is made of the parts.
    let cut = excerpts.map(|_| EXCERPT.to_owned());
    let stored = Storage::new(mode, &parameters, cut.into_iter().chain(maker.made_by()).collect());
    Ok((Making { source: column.feature.clone(), maker }, stored))
}

/// What cuts parts of recordings, with its version: raised when the same times or chunks give other samples.
const EXCERPT: &str = "excerpt 1";

/// Which parts of recordings a dataset holds, if it holds parts: a source that is added to it is cut in the same way.
pub fn excerpts(dataset: &Schema) -> Option<Excerpts> {
    dataset.columns.iter().find_map(|column| options::excerpts_of(column.stored.as_ref()?))
}

/// A part of a recording as a recording of its own: WAVE with every bit of its samples (interleaved).
///
/// # Errors
/// [`Reason::OverLimit`]; [`Reason::Unsupported`] in a build without audio.
#[cfg_attr(not(feature = "audio"), allow(unused_variables, reason = "a build without audio makes none"))]
pub fn excerpt(samples: &[f32], channels: u32, rate: u32, limits: &Limits) -> Result<Vec<u8>, Fault> {
    #[cfg(feature = "audio")]
    return sound::exact_wav(samples, channels, rate, limits).map(|(bytes, _)| bytes);
    #[cfg(not(feature = "audio"))]
    Err(Fault::new(Reason::Unsupported, "recordings need the crate feature \"audio\""))
}

/// Refuses to add to a column that is made otherwise.
fn agree(there: &Column, made: &Column, asked: bool) -> Result<()> {
    let Some(ours) = &made.stored else { return Ok(()) };
    let name = &made.name;
    let theirs = there.stored.as_ref();
    if theirs.is_some_and(|theirs| theirs.digest == ours.digest) {
        return Ok(());
    }
    let parts = [theirs.and_then(options::excerpts_of), options::excerpts_of(ours)];
    if parts[0] != parts[1] {
        // Parts may come of columns that are called so, with no option given: what to say is said for each case.
        let way = match parts {
            [None, Some(Excerpts::Rows)] => "--whole-files takes the recordings of the rows whole",
            [Some(Excerpts::Rows), None] => {
                "say which columns hold the range (--start-column, --end-column), without --whole-files"
            }
            _ => "leave --chunk-seconds and its like out",
        };
        let [has, source] = parts.map(|parts| match parts {
            None => "whole recordings".to_owned(),
            Some(Excerpts::Rows) => "parts of recordings that rows name".to_owned(),
            Some(Excerpts::Chunks(AudioChunks { seconds, .. })) => format!("chunks of {seconds} s"),
        });
        return Err(Error::config(
            format!(
                "the dataset's column {name:?} holds {has} ({}); the source gives {source} ({})",
                theirs.map_or_else(|| "the source's own bytes".to_owned(), Storage::told),
                ours.told()
            ),
            format!("a column is made in one way: {way}, or ingest into another dataset"),
        ));
    }
    let Some(theirs) = theirs else {
        return Err(Error::config(
            format!("the dataset's column {name:?} holds the source's own bytes, not {}", ours.told()),
            "a column is made in one way: leave these options out, or ingest into another dataset",
        ));
    };
    if asked && (theirs.mode != ours.mode || theirs.parameters != ours.parameters) {
        return Err(Error::config(
            format!("the dataset's column {name:?} is {}; asked for is {}", theirs.told(), ours.told()),
            "a column is made in one way: leave these options out to go on as the dataset is, or ingest into another dataset",
        ));
    }
    Err(Error::config(
        format!(
            "the dataset's column {name:?} was made by {}; this build on this machine makes it by {}",
            theirs.made_by.join(", "),
            ours.made_by.join(", ")
        ),
        "the same parameters would give other bytes: use the same feedstock on a machine of that kind, or ingest into another dataset",
    ))
}
