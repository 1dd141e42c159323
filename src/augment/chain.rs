//! The chain of one column: operations compiled, drawn, and run into a slot of a batch.
//!
//! Building ([`Chain::compile`]) settles types and extents, so that what cannot work is refused before the first batch.
//! Planning ([`Chain::draw`]) needs a row's facts and a key, nothing else. Running ([`Chain::run`]) decodes and writes the
//! slot. A chain holds no state of its own: threads share it, each with its own [`Tools`].

use std::sync::Arc;

use smallvec::SmallVec;

use super::slot::{self, Beside, SlotMut};
use super::{Draw, Elements, Lowered, Op, Placement, Spec, Tools};
use crate::codec::{Codec, Encoded, Limits};
use crate::data::feature::Feature;
use crate::data::info::{Fact, Format, Info, Kind};
use crate::data::label::Labels;
use crate::data::packed::{Packed, TensorType};
use crate::data::tensor::{DType, Extent};
use crate::error::{Error, Fault, Reason, Result};
use crate::rng::Key;

/// What a chain delivers for one sample.
#[derive(Debug, Clone, PartialEq)]
pub struct Output {
    /// Element type.
    pub dtype: DType,
    /// One extent for each axis, without the N axis: `[H, W, C]`, `[T, C, H, W]`, `[S]`, `[mels, T]`, `[L]`.
    pub shape: Vec<Extent>,
    /// What a slot holds beyond a sample's own extents, as a number of `dtype`.
    pub pad: f64,
    /// What is delivered beside the elements.
    pub beside: Option<Beside>,
    /// How samples lie in memory.
    pub placement: Placement,
}

impl Output {
    /// Whether some length is known only after decoding: such a column is run by [`Chain::run_late`].
    pub fn is_late(&self) -> bool {
        self.shape.contains(&Extent::Late)
    }

    /// Whether every sample has the same shape.
    pub fn is_fixed(&self) -> bool {
        self.shape.iter().all(|e| matches!(e, Extent::Fixed(_)))
    }

    /// The shape that every sample of a batch is padded to, given the own lengths of each: the lengths that are fixed or the most
    /// there can be, and the longest of the others, or the multiple above them.
    pub fn padded(&self, extents: &[SmallVec<[usize; 4]>]) -> Vec<usize> {
        let longest = |axis: usize| extents.iter().filter_map(|e| e.get(axis)).copied().max().unwrap_or(0);
        let of = |(axis, extent): (usize, &Extent)| match extent {
            Extent::Fixed(n) => *n,
            Extent::AtMost(n) => self.placement.padded(axis, *n),
            Extent::Bounded(_) | Extent::Late => self.placement.padded(axis, longest(axis)),
        };
        self.shape.iter().enumerate().map(of).collect()
    }
}

/// What is decided for one sample before anything is decoded.
#[derive(Debug, Clone, PartialEq)]
pub struct Drawn {
    /// One draw for each operation.
    pub draws: SmallVec<[Draw; 4]>,
    /// The facts of the stored payload.
    pub source: Info,
    /// The facts behind the last operation; Bounded extents follow from them.
    pub facts: Info,
}

/// One sample whose size was known only after decoding.
#[derive(Debug, Clone, PartialEq)]
pub struct Late {
    /// The elements, row-major, native endian; or a text's bytes.
    pub bytes: Vec<u8>,
    /// The lengths of the axes; for text its bytes.
    pub shape: Vec<usize>,
    /// The numbers beside the elements ([`Output::beside`]).
    pub beside: Vec<i64>,
}

/// Finished media, taken apart.
pub(super) struct Made {
    pub(super) data: Elements,
    pub(super) shape: Vec<usize>,
    /// The offsets of tokens.
    pub(super) offsets: Vec<i64>,
}

impl Made {
    /// Writes all of it into a slot.
    pub(super) fn place(&self, slot: &mut SlotMut<'_>, output: &Output, pts_us: &[i64]) -> Result<(), Fault> {
        slot::place(&self.data, &self.shape, slot, output.pad)?;
        slot.numbers(output.beside, self.beside(output, pts_us), self.shape.first().copied().unwrap_or(0))
    }

    /// The numbers that go beside the elements: the offsets of tokens, the times of frames.
    pub(super) fn beside<'a>(&'a self, output: &Output, pts_us: &'a [i64]) -> &'a [i64] {
        match output.beside {
            Some(Beside::OFFSETS) => &self.offsets,
            Some(_) => pts_us,
            None => &[],
        }
    }
}

/// One payload and how to decode it.
#[derive(Clone, Copy)]
pub(super) struct Job<'a> {
    pub(super) payload: Encoded<'a>,
    pub(super) codec: &'a dyn Codec,
    pub(super) limits: &'a Limits,
}

/// One operation in its place.
#[derive(Debug, Clone)]
pub(super) struct Step {
    /// Where it stands in the recipe ("image/0:resize"); its randomness hangs on this name.
    pub(super) path: String,
    pub(super) op: Arc<dyn Op>,
}

/// A column's operations, ready to run.
#[derive(Debug, Clone)]
pub struct Chain {
    pub(super) kind: Kind,
    /// What goes in, where the payload does not say it.
    pub(super) tensor: Option<TensorType>,
    pub(super) steps: Vec<Step>,
    pub(super) spec: Spec,
    pub(super) output: Option<Output>,
    pub(super) fuse: bool,
    /// Recordings come with all their channels, and an operation says what becomes of them; else they are mixed to their mean.
    pub(super) keeps_channels: bool,
}

impl Chain {
    /// Compiles the operations of a column of `kind`, each with its name path ("image/0:resize": unique in a recipe, for
    /// the randomness hangs on it). `fuse: false` runs each operation's reference instead; the bytes are the same.
    ///
    /// # Errors
    /// [`Error::Config`] names the first operation that cannot take what the one in front of it gives.
    pub fn compile(kind: Kind, ops: Vec<(String, Arc<dyn Op>)>, fuse: bool) -> Result<Self> {
        Chain::stored(&Feature::of(kind), ops, fuse)
    }

    /// As [`Chain::compile`], for what a column holds.
    ///
    /// # Errors
    /// Those of [`Chain::compile`], and a column that holds no payloads.
    pub fn stored(feature: &Feature, ops: Vec<(String, Arc<dyn Op>)>, fuse: bool) -> Result<Self> {
        let Some((kind, mut spec)) = feature.kind().zip(Spec::stored(feature)) else {
            return Err(Error::library("compiling a chain", format!("a column of {} has no payloads", feature.name())));
        };
        let tensor = if let Feature::Tensor(tensor) = feature { Some(tensor.clone()) } else { None };
        let mut pad = tensor.as_ref().map_or(0.0, |tensor| tensor.pad);
        let trial = invented(kind);
        let lowered = |op: &dyn Op| op.lower(&op.draw(&trial, Key::new(0)));
        let mut keeps_channels = false;
        if let Spec::Wave { channels, .. } = &mut spec
            && ops.iter().any(|(_, op)| lowered(&**op) == Lowered::Channels)
        {
            (keeps_channels, *channels) = (true, Some(Extent::Bounded(Fact::Channels)));
        }
        let mut front = true;
        let mut placement = Placement::default();
        for (place, (path, op)) in ops.iter().enumerate() {
            let lowered = lowered(&**op);
            if lowered == Lowered::Channels && !front {
                return Err(Error::config(
                    format!(
                        "{path}: channels are chosen while decoding, and other operations are in front of this one"
                    ),
                    "move it to the front of the column's operations; only a \"time_crop\" may stand before it",
                ));
            }
            front &= matches!(lowered, Lowered::Range(..) | Lowered::Channels);
            let next = op.spec(&spec).map_err(|fault| {
                Error::config(
                    format!("{path}: {}", fault.message),
                    format!("operations run in the order of the recipe; at this place there is {spec}"),
                )
            })?;
            // Frames are chosen while decoding, so the choice is looked for on the facts of an invented clip.
            if matches!(lowered, Lowered::Frames(_)) && (place > 0 || kind != Kind::Video) {
                return Err(Error::config(
                    format!(
                        "{path}: frames are chosen while decoding, and this operation is not the first of a video column"
                    ),
                    "move it to the front of the column's operations",
                ));
            }
            if placement != Placement::default() {
                return Err(Error::config(
                    format!(
                        "{path}: the operation in front of it says how samples lie in memory, which only the last may"
                    ),
                    "put \"to\" with pad_channels, row_align or pad_multiple at the end of the column's operations",
                ));
            }
            pad = op.padding(pad);
            placement = op.placement(&next);
            spec = next;
        }
        let beside = match &spec {
            Spec::Raster { frames: Some(_), .. } => Some(Beside::TIMES),
            Spec::Tokens { .. } => Some(Beside::OFFSETS),
            _ => None,
        };
        let output = spec.output().map(|(dtype, shape)| Output { dtype, shape, pad, beside, placement });
        if let Some(output) = output.as_ref().filter(|o| o.is_late() && o.placement != Placement::default()) {
            return Err(Error::config(
                format!("samples of {:?} are delivered ragged: there is nothing to pad or to align", output.shape),
                "take pad_channels, row_align and pad_multiple out of the column's last operation",
            ));
        }
        let steps = ops.into_iter().map(|(path, op)| Step { path, op }).collect();
        Ok(Chain { kind, tensor, steps, spec, output, fuse, keeps_channels })
    }

    /// What the chain delivers. `None`: text, as bytes, by [`Chain::run_late`].
    pub fn output(&self) -> Option<&Output> {
        self.output.as_ref()
    }

    /// What flows out of the last operation.
    pub fn spec(&self) -> &Spec {
        &self.spec
    }

    /// The first operation that draws from its key, by its name path.
    pub fn random(&self) -> Option<&str> {
        self.steps.iter().find(|step| step.op.is_random()).map(|step| step.path.as_str())
    }

    /// The type of stored elements, where what comes out of some elements of a sequence hangs on these alone: no operation sees it whole.
    pub(crate) fn divisible(&self) -> Option<Packed> {
        let tensor = self.tensor.as_ref().filter(|tensor| self.steps.is_empty() && tensor.shape == [None]);
        tensor.map(|tensor| tensor.dtype)
    }

    /// The kind of media that goes in.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// The operations' name paths, in order; [`Drawn::draws`] has the same order.
    pub fn paths(&self) -> impl Iterator<Item = &str> {
        self.steps.iter().map(|s| s.path.as_str())
    }

    /// Decides everything random for one sample, from its facts and a key that is unique to (seed, epoch, row,
    /// occurrence, view). Each operation's own key is `key` narrowed by its name path.
    pub fn draw(&self, info: &Info, key: Key) -> Drawn {
        let mut facts = *info;
        let draws = self.steps.iter().map(|step| {
            let draw = step.op.draw(&facts, key.named(&step.path));
            facts = step.op.facts(&facts, &draw);
            draw
        });
        let draws = draws.collect();
        Drawn { draws, source: *info, facts }
    }

    /// The operations, in order.
    pub fn ops(&self) -> impl Iterator<Item = &dyn Op> {
        self.steps.iter().map(|s| &*s.op)
    }

    /// The sample's own lengths, axis by axis, as far as they are known: the most there can be on an AtMost axis, 0 on a Late
    /// one. Empty for text.
    pub fn extents(&self, drawn: &Drawn) -> SmallVec<[usize; 4]> {
        let shape = self.output.as_ref().map(|o| o.shape.as_slice()).unwrap_or_default();
        let length = |extent: &Extent| match extent {
            Extent::Fixed(n) | Extent::AtMost(n) => *n,
            Extent::Bounded(fact) => drawn.facts.fact(*fact),
            Extent::Late => 0,
        };
        shape.iter().map(length).collect()
    }

    /// The bytes that the sample takes by itself, unpadded, and at the most where a length is known only after decoding;
    /// `usize::MAX` where that is beyond counting. To be held against a budget before buffers are made: facts come from untrusted
    /// headers.
    pub fn bytes(&self, drawn: &Drawn) -> usize {
        // A late length is at most the count that the facts state.
        let most = drawn.facts.fact(Fact::Count);
        let Some(output) = &self.output else { return most };
        let axes = output.shape.iter().zip(self.extents(drawn));
        let elements = axes
            .fold(1usize, |n, (extent, length)| n.saturating_mul(if *extent == Extent::Late { most } else { length }));
        let places =
            elements.saturating_mul(output.beside.filter(|b| *b == Beside::OFFSETS).map_or(0, |b| b.width * 8));
        elements.saturating_mul(output.dtype.size()).saturating_add(places)
    }

    /// Moves a sample's labels as its pixels are moved.
    ///
    /// # Errors
    /// An operation that cannot carry a label says so.
    pub fn labels(&self, drawn: &Drawn, labels: &mut Labels) -> Result<(), Fault> {
        let mut info = drawn.source;
        for (step, draw) in self.steps.iter().zip(&drawn.draws) {
            step.op.labels(draw, &info, labels)?;
            info = step.op.facts(&info, draw);
        }
        Ok(())
    }

    /// Decodes a payload and writes one slot, every byte of it. Returns the sample's own lengths, axis by axis.
    ///
    /// # Errors
    /// A payload that is not what its facts say, an operation that refuses the sample, or a slot too small for
    /// [`Chain::extents`]. The slot's content is then unspecified.
    pub fn run<'p>(
        &self,
        drawn: &Drawn,
        payload: impl Into<Encoded<'p>>,
        codec: &dyn Codec,
        limits: &Limits,
        tools: &mut Tools,
        mut slot: SlotMut<'_>,
    ) -> Result<SmallVec<[usize; 4]>, Fault> {
        let payload = payload.into();
        let Some(output) = self.output.as_ref().filter(|o| !o.is_late()) else {
            return Err(Fault::new(
                Reason::WrongMedia,
                "the length of this column is known only after decoding: run_late",
            ));
        };
        let extents = self.extents(drawn);
        slot.check(output.dtype, &extents)?;
        if !slot.strides.is_empty() {
            // Made as it is everywhere, and moved to its rows: a copy more, of one sample that is still in the cache.
            let mut room = std::mem::take(&mut tools.state::<Room>().0);
            room.resize(slot.shape.iter().product::<usize>() * output.dtype.size(), 0);
            let plain = SlotMut { bytes: &mut room, shape: slot.shape, strides: &[], beside: slot.beside.take() };
            let done = self.run(drawn, payload, codec, limits, tools, plain);
            if done.is_ok() {
                slot.spread(&room, output);
            }
            tools.state::<Room>().0 = room;
            return done;
        }
        self.admit(drawn, limits)?;
        let job = Job { payload, codec, limits };
        #[cfg(any(feature = "image", feature = "video"))]
        if let Some(made) = self.run_fused(drawn, job, tools, &mut slot, output, &extents)? {
            return Ok(made);
        }
        if let Some(made) = self.run_stored(drawn, job, tools, &mut slot, output, &extents)? {
            return Ok(made);
        }
        let (media, pts_us) = self.media(drawn, job, tools)?;
        let made = self.finished(drawn, media)?;
        made.place(&mut slot, output, &pts_us)?;
        Ok(SmallVec::from_vec(made.shape))
    }

    /// Decodes a payload of a column whose length is known only afterwards: text, or an operation with a Late axis.
    /// (It runs any other column too, into memory of its own.)
    ///
    /// # Errors
    /// As [`Chain::run`].
    pub fn run_late<'p>(
        &self,
        drawn: &Drawn,
        payload: impl Into<Encoded<'p>>,
        codec: &dyn Codec,
        limits: &Limits,
        tools: &mut Tools,
    ) -> Result<Late, Fault> {
        self.admit(drawn, limits)?;
        let (media, pts_us) = self.media(drawn, Job { payload: payload.into(), codec, limits }, tools)?;
        if let super::Media::Text(text) = media {
            let bytes = text.into_bytes();
            self.promised(drawn, bytes.len())?;
            return Ok(Late { shape: vec![bytes.len()], bytes, beside: Vec::new() });
        }
        let made = self.finished(drawn, media)?;
        let beside = self.output.as_ref().map_or_else(Vec::new, |output| made.beside(output, &pts_us).to_vec());
        Ok(Late { bytes: slot::into_bytes(made.data), shape: made.shape, beside })
    }

    /// Holds every operation's result, as the facts tell it, against the limits: a picture of 1 x 60,000 pixels is small
    /// until its shorter side is resized to 224.
    pub(crate) fn admit(&self, drawn: &Drawn, limits: &Limits) -> Result<(), Fault> {
        let mut facts = drawn.source;
        for (step, draw) in self.steps.iter().zip(&drawn.draws) {
            facts = step.op.facts(&facts, draw);
            let over = |mut fault: Fault| {
                fault.message = format!("{}: {}", step.path, fault.message);
                fault
            };
            let pixels = u64::from(facts.width) * u64::from(facts.height);
            Limits::check("pixels", pixels, limits.pixels).map_err(over)?;
            match self.kind {
                Kind::Video => Limits::check("frames", facts.count, limits.frames).map_err(over)?,
                Kind::Audio => {
                    let channels = if self.keeps_channels { u64::from(facts.channels) } else { 1 };
                    Limits::check("samples", facts.count.saturating_mul(channels), limits.samples).map_err(over)?;
                }
                Kind::Image | Kind::Text | Kind::Tensor => {}
            }
        }
        Limits::check("bytes of the finished sample", self.bytes(drawn) as u64, limits.decoded_bytes)
    }

    /// Holds a length that became known late against the most that was counted for it.
    fn promised(&self, drawn: &Drawn, length: usize) -> Result<(), Fault> {
        match self.kind {
            Kind::Text => Limits::check("the length after the operations", length as u64, drawn.facts.count),
            _ => Ok(()),
        }
    }

    /// Holds finished media against what the chain promised, and takes it apart.
    pub(super) fn finished(&self, drawn: &Drawn, media: super::Media) -> Result<Made, Fault> {
        let got = slot::shape_of(&media);
        let agrees = match (&got, &self.output) {
            (Some((dtype, shape)), Some(output)) => {
                let extents = self.extents(drawn);
                let axes = output.shape.iter().zip(&extents);
                *dtype == output.dtype
                    && shape.len() == extents.len()
                    && axes.zip(shape).all(|((extent, want), got)| match extent {
                        Extent::Late => true,
                        Extent::AtMost(most) => got <= most,
                        _ => want == got,
                    })
            }
            _ => false,
        };
        match (media, got) {
            (super::Media::Tokens { ids, offsets }, Some((_, shape))) if agrees => {
                self.promised(drawn, ids.len())?;
                Ok(Made { data: Elements::I64(ids), shape, offsets: offsets.into_flattened() })
            }
            (media, Some((_, shape))) if agrees => {
                let late = self.output.iter().flat_map(|o| &o.shape).zip(&shape).filter(|(e, _)| **e == Extent::Late);
                for (_, length) in late {
                    self.promised(drawn, *length)?;
                }
                Ok(Made { data: media.into_elements(), shape, offsets: Vec::new() })
            }
            (_, got) => {
                let extents = self.extents(drawn);
                Err(unlike(&got, self.output.as_ref().map(|o| (o.dtype, extents.as_slice()))))
            }
        }
    }
}

/// The outcome for media that became something else than its facts and the operations' specs promised.
pub(super) fn unlike(got: &Option<(DType, Vec<usize>)>, want: Option<(DType, &[usize])>) -> Fault {
    Fault::new(Reason::Corrupt, format!("the operations made {got:?} of it, and by its facts it should be {want:?}"))
}

/// Where samples are made that are not to lie row-major.
#[derive(Default)]
struct Room(Vec<u8>);

/// Facts of no real payload: one second of 64 x 48 pixels, 16 frames; a week at 16 kHz, which no crop by time lies behind.
fn invented(kind: Kind) -> Info {
    let format = match kind {
        Kind::Image => Format::Png,
        Kind::Audio => Format::Wav,
        Kind::Video => Format::Mp4,
        Kind::Text => Format::Utf8,
        Kind::Tensor => Format::Tensor,
    };
    let count = if kind == Kind::Audio { 7 * 86_400 * 16_000 } else { 16 };
    Info { width: 64, height: 48, channels: 1, rate: 16_000, count, duration_us: 1_000_000, ..Info::of(format) }
}
