//! The chain of one column: operations compiled, drawn, and run into a slot of a batch.
//!
//! Building ([`Chain::compile`]) settles types and extents, so that what cannot work is refused before the first batch.
//! Planning ([`Chain::draw`]) needs a row's facts and a key, nothing else. Running ([`Chain::run`]) decodes and writes the
//! slot. A chain holds no state of its own: threads share it, each with its own [`Tools`].

use std::sync::Arc;

use smallvec::SmallVec;

use super::slot::{self, SlotMut};
use super::{Draw, Lowered, Op, Spec, Tools};
use crate::codec::{Codec, Limits};
use crate::data::info::{Fact, Format, Info, Kind};
use crate::data::label::Labels;
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
    /// For clips: presentation times in microseconds.
    pub pts_us: Vec<i64>,
}

/// One payload and how to decode it.
#[derive(Clone, Copy)]
pub(super) struct Job<'a> {
    pub(super) payload: &'a [u8],
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
    pub(super) steps: Vec<Step>,
    pub(super) spec: Spec,
    pub(super) output: Option<Output>,
    #[cfg_attr(not(any(feature = "image", feature = "video")), allow(dead_code))]
    pub(super) fuse: bool,
}

impl Chain {
    /// Compiles the operations of a column of `kind`, each with its name path ("image/0:resize": unique in a recipe, for
    /// the randomness hangs on it). `fuse: false` runs each operation's reference instead; the bytes are the same.
    ///
    /// # Errors
    /// [`Error::Config`] names the first operation that cannot take what the one in front of it gives.
    pub fn compile(kind: Kind, ops: Vec<(String, Arc<dyn Op>)>, fuse: bool) -> Result<Self> {
        let mut spec = Spec::decoded(kind);
        let mut pad = 0.0;
        for (place, (path, op)) in ops.iter().enumerate() {
            let next = op.spec(&spec).map_err(|fault| {
                Error::config(
                    format!("{path}: {}", fault.message),
                    format!("operations run in the order of the recipe; at this place there is {spec}"),
                )
            })?;
            // Frames are chosen while decoding, so the choice is looked for on the facts of an invented clip.
            let trial = op.draw(&invented(kind), Key::new(0));
            if matches!(op.lower(&trial), Lowered::Frames(_)) && (place > 0 || kind != Kind::Video) {
                return Err(Error::config(
                    format!(
                        "{path}: frames are chosen while decoding, and this operation is not the first of a video column"
                    ),
                    "move it to the front of the column's operations",
                ));
            }
            pad = op.padding(pad);
            spec = next;
        }
        let output = spec.output().map(|(dtype, shape)| Output { dtype, shape, pad });
        let steps = ops.into_iter().map(|(path, op)| Step { path, op }).collect();
        Ok(Chain { kind, steps, spec, output, fuse })
    }

    /// What the chain delivers. `None`: text, as bytes, by [`Chain::run_late`].
    pub fn output(&self) -> Option<&Output> {
        self.output.as_ref()
    }

    /// What flows out of the last operation.
    pub fn spec(&self) -> &Spec {
        &self.spec
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

    /// The sample's own lengths, axis by axis; 0 on a Late axis. Empty for text.
    pub fn extents(&self, drawn: &Drawn) -> SmallVec<[usize; 4]> {
        let shape = self.output.as_ref().map(|o| o.shape.as_slice()).unwrap_or_default();
        let length = |extent: &Extent| match extent {
            Extent::Fixed(n) => *n,
            Extent::Bounded(fact) => drawn.facts.fact(*fact),
            Extent::Late => 0,
        };
        shape.iter().map(length).collect()
    }

    /// The bytes that the sample takes by itself, unpadded, and at the most where a length is known only after decoding;
    /// `usize::MAX` where that is beyond counting. To be held against a budget before buffers are made: facts come from untrusted
    /// headers.
    pub fn bytes(&self, drawn: &Drawn) -> usize {
        let (size, shape) = self.output.as_ref().map_or((1, &[][..]), |o| (o.dtype.size(), o.shape.as_slice()));
        // A late length is at most the count that the facts state.
        let late = shape.iter().filter(|e| **e == Extent::Late).map(|_| drawn.facts.fact(Fact::Count));
        let known = self.extents(drawn).into_iter().zip(shape).filter(|(_, e)| **e != Extent::Late).map(|(n, _)| n);
        known.chain(late).fold(size, usize::saturating_mul)
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

    /// Decodes a payload and writes one slot, every byte of it.
    ///
    /// # Errors
    /// A payload that is not what its facts say, an operation that refuses the sample, or a slot too small for
    /// [`Chain::extents`]. The slot's content is then unspecified.
    pub fn run(
        &self,
        drawn: &Drawn,
        payload: &[u8],
        codec: &dyn Codec,
        limits: &Limits,
        tools: &mut Tools,
        mut slot: SlotMut<'_>,
    ) -> Result<(), Fault> {
        let Some(output) = self.output.as_ref().filter(|o| !o.is_late()) else {
            return Err(Fault::new(
                Reason::WrongMedia,
                "the length of this column is known only after decoding: run_late",
            ));
        };
        let extents = self.extents(drawn);
        slot.check(output.dtype, &extents)?;
        self.admit(drawn, limits)?;
        let job = Job { payload, codec, limits };
        #[cfg(any(feature = "image", feature = "video"))]
        if self.run_fused(drawn, job, tools, &mut slot, output, &extents)? {
            return Ok(());
        }
        let (media, pts_us) = self.media(drawn, job, tools)?;
        let (data, shape) = self.finished(drawn, media)?;
        slot::place(&data, &shape, &mut slot, output.pad)?;
        let frames = if self.kind == Kind::Video { extents.first().copied().unwrap_or(0) } else { 0 };
        slot.times(&pts_us, frames)
    }

    /// Decodes a payload of a column whose length is known only afterwards: text, or an operation with a Late axis.
    /// (It runs any other column too, into memory of its own.)
    ///
    /// # Errors
    /// As [`Chain::run`].
    pub fn run_late(
        &self,
        drawn: &Drawn,
        payload: &[u8],
        codec: &dyn Codec,
        limits: &Limits,
        tools: &mut Tools,
    ) -> Result<Late, Fault> {
        self.admit(drawn, limits)?;
        let (media, pts_us) = self.media(drawn, Job { payload, codec, limits }, tools)?;
        if let super::Media::Text(text) = media {
            let bytes = text.into_bytes();
            return Ok(Late { shape: vec![bytes.len()], bytes, pts_us });
        }
        let (data, shape) = self.finished(drawn, media)?;
        Ok(Late { bytes: slot::into_bytes(data), shape, pts_us })
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
                Kind::Audio => Limits::check("samples", facts.count, limits.samples).map_err(over)?,
                Kind::Image | Kind::Text => {}
            }
        }
        Limits::check("bytes of the finished sample", self.bytes(drawn) as u64, limits.decoded_bytes)
    }

    /// Holds finished media against what the chain promised, and takes it apart.
    pub(super) fn finished(&self, drawn: &Drawn, media: super::Media) -> Result<(super::Elements, Vec<usize>), Fault> {
        let got = slot::shape_of(&media);
        let agrees = match (&got, &self.output) {
            (Some((dtype, shape)), Some(output)) => {
                let extents = self.extents(drawn);
                let axes = output.shape.iter().zip(&extents);
                *dtype == output.dtype
                    && shape.len() == extents.len()
                    && axes.zip(shape).all(|((extent, want), got)| *extent == Extent::Late || want == got)
            }
            _ => false,
        };
        match (media, got) {
            (media, Some((_, shape))) if agrees => Ok((media.into_elements(), shape)),
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

/// Facts of no real payload: one second of 64 x 48 pixels, 16 kHz, 16 frames.
fn invented(kind: Kind) -> Info {
    let format = match kind {
        Kind::Image => Format::Png,
        Kind::Audio => Format::Wav,
        Kind::Video => Format::Mp4,
        Kind::Text => Format::Utf8,
    };
    Info { width: 64, height: 48, channels: 1, rate: 16_000, count: 16, duration_us: 1_000_000, ..Info::of(format) }
}
