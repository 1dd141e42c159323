//! What flows between operations, before there is any.

use std::fmt;

use serde::Serialize;

use crate::data::feature::Feature;
use crate::data::info::{Fact, Kind};
use crate::data::tensor::{DType, Extent, Layout};

/// What flows between two operations, as known when the loader is built.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub enum Spec {
    /// Pictures or frames, `[H, W, C]` or `[T, H, W, C]` (channels first under [`Layout::Nchw`]).
    Raster {
        /// Frames of a clip; `None` for a still picture (no T axis).
        frames: Option<Extent>,
        /// Pixels down.
        height: Extent,
        /// Pixels across.
        width: Extent,
        /// Channels, 3 after decoding.
        channels: usize,
        /// `U8` after decoding, `F32` after normalisation.
        dtype: DType,
        /// Channels last after decoding.
        layout: Layout,
    },
    /// PCM, `[S]` or `[C, S]`, `f32`. Decoding averages the channels, unless a `channels` says otherwise.
    Wave {
        /// Hz, if it is the same for every sample (after a resample). `None`: whatever each recording has.
        rate: Option<u32>,
        /// The axis of channels; `None`: mono, and no such axis.
        channels: Option<Extent>,
        /// Samples.
        samples: Extent,
    },
    /// UTF-8 text; delivered as bytes.
    Text {
        /// Its bytes. Where they are [`Extent::Late`], [`Info::count`](crate::data::info::Info::count) is the most that they may be.
        bytes: Extent,
    },
    /// A plain tensor: log-mel `[mels, T]`, token ids `[L]`. Where an axis of what was text is [`Extent::Late`],
    /// [`Info::count`](crate::data::info::Info::count) is the most that it may be.
    Tensor {
        /// Element type.
        dtype: DType,
        /// One extent for each axis.
        shape: Vec<Extent>,
    },
    /// Token ids, `[L]` i64, with the place of each in the text, `[L, 2]` i64: delivered as a column of its own beside them.
    Tokens {
        /// L.
        length: Extent,
    },
}

impl Spec {
    /// What a codec hands to the first operation.
    pub fn decoded(kind: Kind) -> Self {
        let raster = |frames| Spec::Raster {
            frames,
            height: Extent::Bounded(Fact::Height),
            width: Extent::Bounded(Fact::Width),
            channels: 3,
            dtype: DType::U8,
            layout: Layout::Nhwc,
        };
        match kind {
            Kind::Image => raster(None),
            Kind::Video => raster(Some(Extent::Bounded(Fact::Count))),
            Kind::Audio => Spec::Wave { rate: None, channels: None, samples: Extent::Bounded(Fact::Count) },
            Kind::Text => Spec::Text { bytes: Extent::Bounded(Fact::Count) },
            Kind::Tensor => Spec::Tensor { dtype: DType::U8, shape: vec![Extent::Bounded(Fact::Count)] },
        }
    }

    /// What the payloads of a column are to the first operation; none for a column that has no payloads.
    pub fn stored(feature: &Feature) -> Option<Self> {
        match feature {
            Feature::Tensor(tensor) => Some(Spec::Tensor { dtype: tensor.dtype.dtype(), shape: tensor.extents() }),
            other => other.kind().map(Spec::decoded),
        }
    }

    /// Element type and extents of one sample, as they stand in a batch (without the N axis). Text has none: it is bytes.
    pub fn output(&self) -> Option<(DType, Vec<Extent>)> {
        match self {
            Spec::Raster { frames, height, width, channels, dtype, layout } => {
                let mut shape: Vec<Extent> = frames.iter().copied().collect();
                match layout {
                    Layout::Nhwc => shape.extend([*height, *width, Extent::Fixed(*channels)]),
                    Layout::Nchw => shape.extend([Extent::Fixed(*channels), *height, *width]),
                }
                Some((*dtype, shape))
            }
            Spec::Wave { channels, samples, .. } => {
                Some((DType::F32, channels.iter().copied().chain([*samples]).collect()))
            }
            Spec::Text { .. } => None,
            Spec::Tensor { dtype, shape } => Some((*dtype, shape.clone())),
            Spec::Tokens { length } => Some((DType::I64, vec![*length])),
        }
    }

    /// The name used in messages.
    pub fn name(&self) -> &'static str {
        match self {
            Spec::Raster { frames: None, .. } => "a picture",
            Spec::Raster { .. } => "a clip",
            Spec::Wave { .. } => "a recording",
            Spec::Text { .. } => "text",
            Spec::Tensor { .. } => "a tensor",
            Spec::Tokens { .. } => "tokens",
        }
    }
}

impl fmt::Display for Spec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())?;
        if let Some((dtype, shape)) = self.output() {
            write!(f, " ({}", dtype.name())?;
            for (i, extent) in shape.iter().enumerate() {
                f.write_str(if i == 0 { " [" } else { ", " })?;
                match extent {
                    Extent::Fixed(n) => write!(f, "{n}")?,
                    Extent::Bounded(fact) => write!(f, "{}", format!("{fact:?}").to_lowercase())?,
                    Extent::AtMost(n) => write!(f, "at most {n}")?,
                    Extent::Late => f.write_str("late")?,
                }
            }
            f.write_str("])")?;
        }
        Ok(())
    }
}
