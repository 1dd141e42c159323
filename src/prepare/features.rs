//! What operations make of media: tensors, and media of their own kind where it is that.

use std::path::Path;

use serde_json::{Map, Value, json};

use super::options::OpsOptions;
use super::{Accepted, Maker, OpEntry};
#[cfg(any(feature = "image", feature = "audio"))]
use crate::augment::Spec;
use crate::augment::packed::packed;
use crate::augment::{Chain, OpConfig, Output, Tools, numerics};
use crate::data::feature::{Column, Feature};
use crate::data::info::{Format, Info, Kind};
use crate::data::packed::{Packed, TensorType};
use crate::data::tensor::Extent;
#[cfg(feature = "image")]
use crate::data::tensor::{DType, Layout};
#[cfg(feature = "image")]
use crate::error::Reason;
use crate::error::{Error, Fault, Result};
use crate::registry::Table;
use crate::rng::Key;

/// The operation that [`super::TextOptions`] stand for.
pub(super) const TOKENIZE: &str = "tokenize";

/// What the last operation's output is stored as.
#[derive(Debug)]
enum As {
    /// u8 pixels of a still picture.
    #[cfg(feature = "image")]
    Pixels,
    /// A recording of one channel.
    #[cfg(feature = "audio")]
    Wave,
    /// Text.
    Text,
    /// Anything else.
    Tensor(TensorType),
}

/// Stores what operations make.
#[derive(Debug)]
pub(super) struct Features {
    chain: Chain,
    names: Vec<String>,
    output: As,
}

impl Features {
    pub(super) fn new(options: &OpsOptions, column: &Column, table: &Table<OpEntry>) -> Result<Self> {
        let name = &column.name;
        if let Some((op, digest)) = options.ops.iter().find_map(missing_file) {
            return Err(Error::config(
                format!(
                    "column {name:?} was made by \"{op}\" with a file (SHA-256 {digest}) that the dataset does not hold"
                ),
                "give that file again, by the option that was given first (--tokenize, --count-tokens, --store-ops, --count-ops)",
            ));
        }
        if options.ops.iter().any(|op| op.op == TOKENIZE) && table.get(TOKENIZE).is_err() {
            return Err(Error::config(
                format!("column {name:?}: this build has no operation \"{TOKENIZE}\""),
                "it needs the crate feature \"tokenizers\"",
            ));
        }
        let ops = OpConfig::build(&options.ops, name, table)?;
        let names = options.ops.iter().map(|c| Ok(format!("{} {}", c.op, table.get(&c.op)?.version)));
        let mut names: Vec<String> = names.collect::<Result<_>>()?;
        let kind = column.feature.kind();
        // Of the built-in operations only those of sound have an FFT; of others nobody can say.
        if kind == Some(Kind::Audio) || options.ops.iter().any(|c| crate::augment::ops().get(&c.op).is_err()) {
            names.push(format!("numerics {}", numerics()));
        }
        let chain = Chain::stored(&column.feature, ops, true)?;
        if let Some(path) = chain.random() {
            return Err(Error::config(
                format!("{path}: what is random cannot be stored: it would be the same in every epoch"),
                "leave it to the recipe that loads the dataset",
            ));
        }
        let output = output(&chain, options.dtype, name)?;
        Ok(Features { chain, names, output })
    }

    /// The parameters as they are recorded: a file is named by what is in it, not by where it lies.
    pub(super) fn parameters(&self, mut said: Map<String, Value>) -> Map<String, Value> {
        let configs = said.get_mut("ops").and_then(Value::as_array_mut).into_iter().flatten();
        for (config, op) in configs.zip(self.chain.ops()) {
            for (name, sha256) in op.files() {
                config[name] = json!({ "sha256": sha256 });
            }
        }
        said
    }
}

/// The first operation whose file is known by its digest alone, and the digest.
fn missing_file(config: &OpConfig) -> Option<(String, String)> {
    let digest = config.params.values().find_map(|v| v.as_object()?.get("sha256")?.as_str())?;
    Some((config.op.clone(), digest.to_owned()))
}

fn output(chain: &Chain, dtype: Option<Packed>, column: &str) -> Result<As> {
    let Some(Output { dtype: delivered, shape, pad, .. }) = chain.output() else {
        return narrow(dtype, column).map(|()| As::Text);
    };
    match chain.spec() {
        #[cfg(feature = "image")]
        Spec::Raster { frames: None, dtype: DType::U8, layout: Layout::Nhwc, .. } => {
            return narrow(dtype, column).map(|()| As::Pixels);
        }
        #[cfg(feature = "audio")]
        Spec::Wave { .. } => return narrow(dtype, column).map(|()| As::Wave),
        _ => {}
    }
    let stored = match dtype {
        Some(dtype) if dtype.dtype() == *delivered => dtype,
        Some(dtype) => {
            return Err(Error::config(
                format!("columns.{column}: {} is stored, not {}", delivered.name(), dtype.name()),
                "dtype is for whole numbers: u16, i32, u32 or i64; the operation \"to\" makes other floats",
            ));
        }
        None => Packed::of(*delivered).ok_or_else(|| {
            Error::config(
                format!("columns.{column}: {} cannot be stored", delivered.name()),
                "end with another operation",
            )
        })?,
    };
    let axis = |extent: &Extent| match extent {
        Extent::Fixed(n) => u32::try_from(*n).ok(),
        _ => None,
    };
    let tensor = TensorType { dtype: stored, shape: shape.iter().map(axis).collect(), pad: *pad };
    tensor.validate(column)?;
    Ok(As::Tensor(tensor))
}

/// Only tensors have a type of their own.
fn narrow(dtype: Option<Packed>, column: &str) -> Result<()> {
    match dtype {
        None => Ok(()),
        Some(_) => Err(Error::config(
            format!("columns.{column}: the operations give media, not whole numbers"),
            "leave dtype out",
        )),
    }
}

impl Maker for Features {
    fn feature(&self) -> Feature {
        match &self.output {
            #[cfg(feature = "image")]
            As::Pixels => Feature::Image,
            #[cfg(feature = "audio")]
            As::Wave => Feature::Audio,
            As::Text => Feature::Text,
            As::Tensor(tensor) => Feature::Tensor(tensor.clone()),
        }
    }

    fn made_by(&self) -> Vec<String> {
        self.names.clone()
    }

    fn grows(&self) -> bool {
        true
    }

    fn memory(&self, info: &Info) -> u64 {
        let drawn = self.chain.draw(info, Key::new(0));
        let made = self.chain.bytes(&drawn) as u64;
        let pixels = u64::from(info.width).saturating_mul(u64::from(info.height)).saturating_mul(3);
        // What the operations own: the decoded media, or those between two of them; then the result, and as it is stored.
        let source = match self.chain.kind() {
            Kind::Image => pixels,
            Kind::Video => pixels.saturating_mul(drawn.facts.count.max(1)),
            Kind::Audio => info.count.saturating_mul(4),
            Kind::Text | Kind::Tensor => info.count,
        };
        source.saturating_mul(2).saturating_add(made.saturating_mul(3))
    }

    fn make(&self, payload: Accepted<'_>, tools: &mut Tools) -> Result<Option<(Vec<u8>, Info)>, Fault> {
        let Accepted { bytes, codec, info, limits } = payload;
        let drawn = self.chain.draw(info, Key::new(0));
        let made = self.chain.run_late(&drawn, bytes, codec, limits, tools)?;
        match &self.output {
            #[cfg(feature = "image")]
            As::Pixels => {
                use crate::codec::Codec as _;
                use crate::codec::image::rgb;
                let [height, width, _] = made.shape[..] else {
                    return Err(Fault::new(Reason::Corrupt, format!("pixels of the shape {:?}", made.shape)));
                };
                let side = |n: usize| u32::try_from(n).map_err(|e| Fault::new(Reason::OverLimit, e));
                let stored = rgb::encode(side(width)?, side(height)?, &made.bytes);
                let info = rgb::Rgb.probe(&stored, limits)?;
                Ok(Some((stored, info)))
            }
            #[cfg(feature = "audio")]
            As::Wave => {
                let samples: Vec<f32> = bytemuck::pod_collect_to_vec(&made.bytes);
                super::sound::wav(&samples, 1, drawn.facts.rate, None, limits).map(Some)
            }
            As::Text => {
                let count = made.bytes.len() as u64;
                Ok(Some((made.bytes, Info { count, ..Info::of(Format::Utf8) })))
            }
            As::Tensor(tensor) => Ok(Some((packed(tensor.dtype, &made.bytes)?, tensor.info(&made.shape)?))),
        }
    }
}

/// The narrowest type that holds every id of a `tokenizer.json`: u16 or u32.
pub(super) fn ids_of(file: &Path) -> Result<Packed> {
    let bytes = std::fs::read(file).map_err(|e| Error::io(file, "read", e))?;
    let json: Value = serde_json::from_slice(&bytes).map_err(|e| {
        Error::config(
            format!("{} is not JSON: {e}", file.display()),
            "give a tokenizer.json of Hugging Face's tokenizers",
        )
    })?;
    let vocabulary = &json["model"]["vocab"];
    let most = match vocabulary {
        // Unigram lists its pieces in the order of their ids, the other models name each id.
        Value::Array(pieces) => Some(pieces.len() as u64),
        Value::Object(tokens) => tokens.values().filter_map(Value::as_u64).max(),
        _ => None,
    };
    let added = json["added_tokens"].as_array().into_iter().flatten().filter_map(|token| token["id"].as_u64()).max();
    let fits = most.max(added).is_some_and(|most| most <= u64::from(u16::MAX));
    Ok(if most.is_some() && fits { Packed::U16 } else { Packed::U32 })
}
