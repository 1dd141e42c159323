//! Operations on decoded media, and the chain that runs them.
//!
//! An operation has two faces. [`Op::apply`] is the reference: it takes a whole [`Media`] and gives a whole one back.
//! [`Op::lower`] tells the chain what the operation *is*, so that the chain can fuse it with its neighbours: a crop in
//! front becomes the region that is decoded, a flip and a normalisation become the pass that writes the batch.
//! The law (tested over every member): the fused chain's bytes equal the unfused chain's.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::data::info::Info;
use crate::data::label::Labels;
use crate::error::{Fault, Reason, Result};
use crate::registry::{Named, Table};
use crate::rng::Key;

pub mod chain;
mod lowered;
mod media;
pub mod packed;
mod placement;
pub(crate) mod run;
pub mod slot;
mod spec;

#[cfg(test)]
mod goldens;
#[cfg(all(test, feature = "text"))]
mod goldens_text;
#[cfg(test)]
mod laws;

// Recordings and text.
#[cfg(feature = "text")]
pub mod bytes_to_ids;
#[cfg(feature = "audio")]
pub mod channels;
#[cfg(feature = "text")]
pub mod chars_to_ids;
#[cfg(feature = "audio")]
pub mod log_mel;
#[cfg(feature = "audio")]
mod logarithm;
#[cfg(feature = "audio")]
pub mod mel;
#[cfg(feature = "text")]
pub mod normalize_text;
#[cfg(feature = "audio")]
pub mod pad_trim;
#[cfg(feature = "audio")]
pub mod resample;
#[cfg(feature = "audio")]
pub mod time_crop;
#[cfg(feature = "text")]
pub mod token_window;
#[cfg(feature = "tokenizers")]
pub mod tokenize;
mod wave;

// Pictures and clips.
#[cfg(any(feature = "image", feature = "video"))]
pub mod center_crop;
#[cfg(any(feature = "image", feature = "video"))]
mod fused;
#[cfg(any(feature = "image", feature = "video"))]
pub mod horizontal_flip;
#[cfg(any(feature = "image", feature = "video"))]
pub mod normalize;
#[cfg(any(feature = "image", feature = "video"))]
mod pass;
#[cfg(any(feature = "image", feature = "video"))]
pub mod pixels;
#[cfg(any(feature = "image", feature = "video"))]
pub mod random_crop;
#[cfg(any(feature = "image", feature = "video"))]
pub mod random_resized_crop;
#[cfg(any(feature = "image", feature = "video"))]
pub mod resize;
#[cfg(feature = "video")]
pub mod sample_frames;
#[cfg(any(feature = "image", feature = "video"))]
mod scale;

// Whatever there is.
pub mod to;

pub use chain::{Chain, Drawn, Late, Output};
pub use lowered::{Canvas, Draw, Frames, Geometry, Lowered, Quant, Store};
use media::each;
pub use media::{Elements, Media, Raster};
pub use placement::Placement;
pub use slot::{Beside, SlotMut};
pub use spec::Spec;
pub use wave::Wave;

/// One operation: a serde struct that is at once its config and its behaviour.
pub trait Op: Send + Sync + fmt::Debug {
    /// What comes out for what goes in; refuses what it cannot take, so that errors surface before the first batch.
    fn spec(&self, input: &Spec) -> Result<Spec, Fault>;

    /// Whether anything is drawn from the key. What is random cannot be stored ([`crate::prepare`]): it would be the same in
    /// every epoch.
    fn is_random(&self) -> bool {
        false
    }

    /// What is drawn for one sample, from its facts alone. `key` is unique to (seed, epoch, row, occurrence, view, name path).
    fn draw(&self, _info: &Info, _key: Key) -> Draw {
        Draw::None
    }

    /// The facts after the operation, for the draws and buffer sizes behind it.
    fn facts(&self, info: &Info, _draw: &Draw) -> Info {
        *info
    }

    /// What the operation is, to the chain.
    fn lower(&self, _draw: &Draw) -> Lowered {
        Lowered::Custom
    }

    /// The reference behaviour on whole media. Its output has exactly the extents that [`Op::facts`] states.
    fn apply(&self, draw: &Draw, media: Media, tools: &mut Tools) -> Result<Media, Fault>;

    /// Moves the labels as the pixels moved; `info` holds the facts in front of the operation. The default leaves them:
    /// right only for what moves no pixels.
    fn labels(&self, _draw: &Draw, _info: &Info, _labels: &mut Labels) -> Result<(), Fault> {
        Ok(())
    }

    /// How samples lie in memory where the operation has a say in it, given what it puts out. Only a chain's last may.
    fn placement(&self, _output: &Spec) -> Placement {
        Placement::default()
    }

    /// What stands in a batch beyond a sample's own extents, given what it was in front of the operation (0 after decoding).
    fn padding(&self, before: f64) -> f64 {
        before
    }

    /// The parameters that name files, each with the SHA-256 (hex) of what the file held when the operation was built: the
    /// recipe's digest covers that, and not where the file lies.
    fn files(&self) -> Vec<(&'static str, String)> {
        Vec::new()
    }
}

/// A thread's reusable tools: a codec's scratch, and what operations keep (resizers, FFT plans and the like) by type.
#[derive(Debug, Default)]
pub struct Tools {
    /// What decoding borrows; decoded media live in it while operations work.
    pub scratch: crate::codec::Scratch,
    /// Nanoseconds spent in codecs since the owner last set it to 0.
    pub decode_nanos: u64,
    /// What operations keep.
    own: crate::codec::Scratch,
}

impl Tools {
    /// The state of a type, made by `Default` at first use.
    pub fn state<T: std::any::Any + Send + Default>(&mut self) -> &mut T {
        self.own.state()
    }
}

/// One operation by name with its parameters, as a recipe or an ingest's configuration has it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct OpConfig {
    /// The name in the operation table.
    pub op: String,
    /// Its parameters.
    #[serde(flatten)]
    pub params: Map<String, Value>,
}

impl OpConfig {
    /// Builds some operations, each with its name path: `column` and its place, on which its randomness hangs.
    ///
    /// # Errors
    /// [`crate::Error::Config`] for an unknown name or wrong parameters.
    pub fn build(list: &[OpConfig], column: &str, table: &Table<OpEntry>) -> Result<Vec<(String, Arc<dyn Op>)>> {
        let build = |(place, config): (usize, &OpConfig)| {
            let op = (table.get(&config.op)?.build)(&Value::Object(config.params.clone()))?;
            Ok((format!("{column}/{place}:{}", config.op), op))
        };
        list.iter().enumerate().map(build).collect()
    }
}

/// A fault for an operation that was given something it does not take.
pub fn refused(op: &str, takes: &str, given: &str) -> Fault {
    Fault::new(Reason::WrongMedia, format!("operation \"{op}\" takes {takes}, and here it is given {given}"))
}

#[cfg(any(feature = "image", feature = "video", feature = "audio"))]
/// The outcome for a draw that its operation cannot have made.
fn foreign(op: &str, draw: &Draw) -> Fault {
    Fault::new(Reason::Corrupt, format!("operation \"{op}\" was given a draw that is not its own: {draw:?}"))
}

/// One row of the operation table: a name, a version that enters the recipe's digest, and the way from configuration to behaviour.
#[derive(Clone, Copy)]
pub struct OpEntry {
    /// The name in recipes.
    pub name: &'static str,
    /// Raised whenever the same config and key give other bytes.
    pub version: u32,
    /// One line for listings and error hints.
    pub summary: &'static str,
    /// Builds the operation from its parameters (the recipe's table without `op`), checking them.
    pub build: fn(&Value) -> Result<Arc<dyn Op>>,
    /// Parameters that build a sensible instance on its own; conformance tests use them.
    pub example: &'static str,
}

impl Named for OpEntry {
    fn name(&self) -> &'static str {
        self.name
    }
}

impl fmt::Debug for OpEntry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} v{}", self.name, self.version)
    }
}

/// Parses an operation's parameters into its struct; unknown or missing parameters name the operation.
pub fn parse<T: serde::de::DeserializeOwned>(op: &str, params: &Value) -> Result<T> {
    serde_json::from_value(params.clone()).map_err(|e| {
        let example = OPS.iter().find(|entry| entry.name == op).map_or("{}", |entry| entry.example);
        crate::error::Error::config(
            format!("operation \"{op}\": {e}"),
            format!("parameters that \"{op}\" takes, for example: {example}"),
        )
    })
}

/// The numerics tier of this process: which SIMD level the float DSP (FFT) runs on. Pixels and integers are bit-equal on
/// every tier; log-mel and resampling are bit-equal within one, and within a stated bound across them.
pub fn numerics() -> &'static str {
    #[cfg(target_arch = "x86_64")]
    {
        if std::arch::is_x86_feature_detected!("avx") && std::arch::is_x86_feature_detected!("fma") {
            return "x86_64-avx-fma";
        }
        if std::arch::is_x86_feature_detected!("sse4.1") {
            return "x86_64-sse4.1";
        }
        return "x86_64-scalar";
    }
    #[cfg(target_arch = "aarch64")]
    return "aarch64-neon";
    #[allow(unreachable_code, reason = "the other targets")]
    "scalar"
}

/// The operations of this build.
pub const OPS: &[OpEntry] = &[
    #[cfg(any(feature = "image", feature = "video"))]
    resize::ENTRY,
    #[cfg(any(feature = "image", feature = "video"))]
    center_crop::ENTRY,
    #[cfg(any(feature = "image", feature = "video"))]
    random_crop::ENTRY,
    #[cfg(any(feature = "image", feature = "video"))]
    random_resized_crop::ENTRY,
    #[cfg(any(feature = "image", feature = "video"))]
    horizontal_flip::ENTRY,
    #[cfg(any(feature = "image", feature = "video"))]
    normalize::ENTRY,
    to::ENTRY,
    #[cfg(feature = "video")]
    sample_frames::ENTRY,
    #[cfg(feature = "audio")]
    channels::ENTRY,
    #[cfg(feature = "audio")]
    time_crop::ENTRY,
    #[cfg(feature = "audio")]
    resample::ENTRY,
    #[cfg(feature = "audio")]
    pad_trim::ENTRY,
    #[cfg(feature = "audio")]
    log_mel::ENTRY,
    #[cfg(feature = "text")]
    normalize_text::ENTRY,
    #[cfg(feature = "text")]
    bytes_to_ids::ENTRY,
    #[cfg(feature = "text")]
    chars_to_ids::ENTRY,
    #[cfg(feature = "tokenizers")]
    tokenize::ENTRY,
    #[cfg(feature = "text")]
    token_window::ENTRY,
];

/// The built-in operations as a table that can be added to.
pub fn ops() -> Table<OpEntry> {
    Table::new("operation", OPS)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The examples of ONNX's specification of `QuantizeLinear` (opset 13: halves to even, then saturation), and the ends.
    #[test]
    fn quantising_is_onnx_quantize_linear() {
        let quant = Quant { scale: 2.0, zero_point: 128 };
        let given = [0.0, 2.0, 3.0, 1000.0, -254.0, -1000.0];
        assert_eq!(given.map(|x| quant.value(x, 0, 255)), [128, 129, 130, 255, 1, 0]);
        let halves = Quant { scale: 1.0, zero_point: 0 };
        assert_eq!([0.5, 1.5, 2.5, -0.5, -1.5].map(|x| halves.value(x, -128, 127)), [0, 2, 2, 0, -2]);
        let ends = [f32::INFINITY, f32::NEG_INFINITY, f32::MAX, f32::NAN].map(|x| halves.value(x, -128, 127));
        assert_eq!(ends, [127, -128, 127, -128]);
        let tiny = Quant { scale: f32::MIN_POSITIVE, zero_point: -5 };
        assert_eq!([1.0, -1.0, 0.0].map(|x| tiny.value(x, -128, 127)), [127, -128, -5]);
    }

    /// Every binary16 there is, and the binary32 around each: what is stored is the nearest.
    #[test]
    fn halves_are_rounded_to_the_nearest() {
        for bits in 0..=u16::MAX {
            let half = half::f16::from_bits(bits);
            if !half.is_finite() {
                continue;
            }
            let near = [half.to_f32(), half.to_f32().next_up(), half.to_f32().next_down()];
            let Elements::F16(stored) = Store::F16.elements(near.to_vec()) else { panic!() };
            assert!(stored.iter().all(|s| *s == half), "{bits:#x}");
        }
    }
}
