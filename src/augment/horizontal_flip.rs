//! `horizontal_flip`: mirrors left and right, by chance.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::pixels;
use super::{Draw, Geometry, Lowered, Media, Op, OpEntry, Spec, Tools};
use crate::data::info::Info;
use crate::data::label::Labels;
use crate::error::{Error, Fault};
use crate::rng::Key;

/// Mirrors pictures and clips (all frames alike) with probability `p`; boxes with them.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HorizontalFlip {
    /// The probability, 0 to 1.
    #[serde(default = "half")]
    pub p: f64,
}

fn half() -> f64 {
    0.5
}

const NAME: &str = "horizontal_flip";

/// The table's row.
pub const ENTRY: OpEntry = OpEntry {
    name: NAME,
    version: 1,
    summary: "mirrors left and right with probability p = 0.5",
    build: |params| {
        let op: HorizontalFlip = super::parse(NAME, params)?;
        if !(0.0..=1.0).contains(&op.p) {
            return Err(Error::config(
                format!("operation \"{NAME}\": p = {} is not a probability", op.p),
                "p is 0 (never) to 1 (always)",
            ));
        }
        Ok(Arc::new(op))
    },
    example: "{}",
};

impl Op for HorizontalFlip {
    fn spec(&self, input: &Spec) -> Result<Spec, Fault> {
        match input {
            Spec::Raster { .. } => Ok(input.clone()),
            other => Err(super::refused(NAME, "pictures or clips", other.name())),
        }
    }

    fn is_random(&self) -> bool {
        true
    }

    fn draw(&self, _info: &Info, key: Key) -> Draw {
        Draw::Flag(key.stream().unit() < self.p)
    }

    fn lower(&self, draw: &Draw) -> Lowered {
        match draw {
            Draw::Flag(true) => Lowered::Geometry(Geometry { mirror: true, ..Geometry::default() }),
            _ => Lowered::Keep,
        }
    }

    fn apply(&self, draw: &Draw, media: Media, tools: &mut Tools) -> Result<Media, Fault> {
        let mirror = *draw == Draw::Flag(true);
        pixels::moved(NAME, Geometry { mirror, ..Geometry::default() }, media, tools)
    }

    fn labels(&self, draw: &Draw, info: &Info, labels: &mut Labels) -> Result<(), Fault> {
        if *draw == Draw::Flag(true) {
            pixels::mirror_boxes(labels, info.width);
        }
        Ok(())
    }
}
