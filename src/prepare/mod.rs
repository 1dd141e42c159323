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
use crate::data::feature::{Column, Feature, Schema};
use crate::data::info::{Format, Info};
use crate::data::storage::{Mode, Storage};
use crate::error::{Error, Fault, Reason, Result};
use crate::registry::Table;

#[cfg(all(feature = "video", feature = "image"))]
mod clip;
mod features;
mod options;
#[cfg(feature = "image")]
mod picture;
#[cfg(feature = "audio")]
mod sound;
#[cfg(test)]
mod tests;

pub use crate::augment::{OpConfig, OpEntry, ops};
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

    /// Whether what is stored is as a rule much larger than what the source has: decoded, not encoded.
    fn grows(&self) -> bool;

    /// About how many bytes it holds beside the payload and its decoder.
    fn memory(&self, info: &Info) -> u64;

    /// What is stored of a payload, with its facts.
    fn make(&self, payload: Accepted<'_>, tools: &mut Tools) -> Result<(Vec<u8>, Info), Fault>;
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
            let asked = options.way(column)?;
            let way = match (&asked, there.and_then(|c| c.stored.as_ref())) {
                (None, Some(stored)) => Some(Way::of(stored, &column.name)?),
                _ => asked.clone(),
            };
            let Some(way) = way else {
                prepare.columns.push(None);
                schema.columns.push(column.clone());
                continue;
            };
            let (making, stored) = making(&way, column, ops)?;
            let made = Column { name: column.name.clone(), feature: making.maker.feature(), stored: Some(stored) };
            if let Some(there) = there {
                agree(there, &made, asked.is_some())?;
            }
            prepare.columns.push(Some(making));
            schema.columns.push(made);
        }
        Ok((prepare, schema))
    }

    /// Brings the columns into a dataset's order: `places` says for each of its columns which one it is.
    pub fn arrange(&mut self, places: &[usize]) {
        let mut columns: Vec<_> = std::mem::take(&mut self.columns);
        self.columns = places.iter().map(|place| columns[*place].take()).collect();
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

    /// Whether something is made of a payload, instead of storing it as it is.
    pub fn takes(&self, column: usize, info: &Info) -> bool {
        self.making(column).is_some_and(|making| making.maker.takes(info))
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
        // The tools of operations lie in the scratch between payloads, and the scratch in the tools meanwhile.
        let mut tools = std::mem::take(scratch.state::<Tools>());
        std::mem::swap(&mut tools.scratch, scratch);
        let made = crate::codec::guarded("prepare", || making.maker.make(payload, &mut tools));
        if matches!(&made, Err(fault) if fault.reason == Reason::DecoderPanic) {
            tools = Tools::default();
        }
        std::mem::swap(&mut tools.scratch, scratch);
        *scratch.state::<Tools>() = tools;
        let (bytes, info) = made?;
        Limits::check("stored bytes", bytes.len() as u64, payload.limits.payload_bytes)?;
        Ok(Some((bytes, info)))
    }
}

/// Sets a way up for a column.
#[cfg_attr(
    not(all(feature = "image", feature = "audio", feature = "video")),
    allow(unused_variables, reason = "a build without a kind of media has no use for its options")
)]
fn making(way: &Way, column: &Column, ops: &Table<OpEntry>) -> Result<(Making, Storage)> {
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
            Feature::Image => (Box::new(picture::Pictures::new(*options)), way.parameters()?),
            #[cfg(not(feature = "image"))]
            Feature::Image => return Err(missing("image")),
            _ => return Err(wrong("pictures")),
        },
        Way::Audio(options) => match &column.feature {
            #[cfg(feature = "audio")]
            Feature::Audio => (Box::new(sound::Sounds::new(*options)?), way.parameters()?),
            #[cfg(not(feature = "audio"))]
            Feature::Audio => return Err(missing("audio")),
            _ => return Err(wrong("recordings")),
        },
        Way::Video(options) => match &column.feature {
            #[cfg(all(feature = "video", feature = "image"))]
            Feature::Video => (Box::new(clip::Clips::new(*options)?), way.parameters()?),
            #[cfg(not(all(feature = "video", feature = "image")))]
            Feature::Video => return Err(missing("video\" and \"image")),
            _ => return Err(wrong("clips")),
        },
        Way::Ops(options) => {
            let maker = features::Features::new(options, column, ops)?;
            let parameters = maker.parameters(way.parameters()?);
            (Box::new(maker), parameters)
        }
    };
    let _ = missing; // for builds of all features
    let mode = match way {
        Way::Ops(_) => Mode::Features,
        way if way.is_raw() => Mode::Raw,
        _ => Mode::Encoded,
    };
    let stored = Storage::new(mode, &parameters, maker.made_by());
    Ok((Making { source: column.feature.clone(), maker }, stored))
}

/// Refuses to add to a column that is made otherwise.
fn agree(there: &Column, made: &Column, asked: bool) -> Result<()> {
    let Some(ours) = &made.stored else { return Ok(()) };
    let name = &made.name;
    let Some(theirs) = &there.stored else {
        return Err(Error::config(
            format!("the dataset's column {name:?} holds the source's own bytes, not {}", ours.told()),
            "a column is made in one way: leave these options out, or ingest into another dataset",
        ));
    };
    if theirs.digest == ours.digest {
        return Ok(());
    }
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

/// The file extension of what is stored, for readers that look at it.
pub fn extension(format: Format) -> &'static str {
    match format {
        Format::Jpeg => "jpg",
        Format::Rgb => "ppm",
        Format::Matroska => "mkv",
        Format::Utf8 => "txt",
        other => other.name(),
    }
}
