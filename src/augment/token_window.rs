//! `token_window`: a stretch of a sequence, for training on texts that are longer than a model's context.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::{Draw, Elements, Media, Op, OpEntry, Spec, Tools, each, refused};
use crate::data::info::Info;
use crate::data::tensor::Extent;
use crate::error::{Error, Fault, Result};
use crate::rng::Key;

/// Which stretch is kept.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// The first.
    #[default]
    Start,
    /// The middle one.
    Center,
    /// One at random, every place as likely as any other.
    Random,
}

/// Keeps `length` neighbouring elements of a sequence `[L]` (token ids with their offsets, bytes, samples).
///
/// Batches are dense, `[N, length]`: a shorter sequence is kept whole, padded behind with `pad_id`, and the batch says how long
/// it is.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TokenWindow {
    /// Elements.
    pub length: u32,
    /// "start", "center" or "random".
    #[serde(default)]
    pub mode: Mode,
    /// What stands behind a shorter sequence; what the operation in front pads with unless told.
    #[serde(default)]
    pub pad_id: Option<i64>,
}

const NAME: &str = "token_window";

/// The table's row.
pub const ENTRY: OpEntry = OpEntry {
    name: NAME,
    version: 1,
    summary: "a stretch of a sequence: length, mode = \"start\" | \"center\" | \"random\", pad_id behind shorter ones",
    build: |params| {
        let op: TokenWindow = super::parse(NAME, params)?;
        if op.length == 0 {
            return Err(Error::config(format!("operation \"{NAME}\": length = 0"), "length is 1 or more"));
        }
        if op.pad_id.is_some_and(|id| !(-(1i64 << 53)..=1 << 53).contains(&id)) {
            return Err(Error::config(format!("operation \"{NAME}\": pad_id is too large"), "pad_id is within 2^53 of 0"));
        }
        Ok(Arc::new(op))
    },
    example: r#"{"length": 20, "mode": "random"}"#,
};

impl TokenWindow {
    /// The first element that is kept of so many.
    fn start(&self, draw: &Draw, all: usize) -> usize {
        let spare = all.saturating_sub(self.length as usize);
        match (self.mode, draw) {
            (Mode::Center, _) => spare / 2,
            // How long the sequence is may be known only now, so what was drawn is a share of the places.
            (Mode::Random, Draw::Numbers(share)) => {
                let places = spare as f64 + 1.0;
                ((share.first().copied().unwrap_or(0.0) * places) as usize).min(spare)
            }
            _ => 0,
        }
    }
}

impl Op for TokenWindow {
    fn spec(&self, input: &Spec) -> Result<Spec, Fault> {
        let length = |before: &Extent| match before {
            Extent::Fixed(n) if *n >= self.length as usize => Extent::Fixed(self.length as usize),
            _ => Extent::AtMost(self.length as usize),
        };
        match input {
            Spec::Tensor { dtype, shape } if shape.len() == 1 => {
                Ok(Spec::Tensor { dtype: *dtype, shape: vec![length(&shape[0])] })
            }
            Spec::Tokens { length: before } => Ok(Spec::Tokens { length: length(before) }),
            Spec::Text { .. } => {
                Err(refused(NAME, "a sequence [L] (put \"tokenize\" or \"bytes_to_ids\" in front)", input.name()))
            }
            other => Err(refused(NAME, "a sequence [L]", &other.to_string())),
        }
    }

    fn draw(&self, _info: &Info, key: Key) -> Draw {
        match self.mode {
            Mode::Random => Draw::Numbers(smallvec::smallvec![key.stream().unit()]),
            Mode::Start | Mode::Center => Draw::None,
        }
    }

    fn facts(&self, info: &Info, _draw: &Draw) -> Info {
        Info { count: info.count.min(u64::from(self.length)), ..*info }
    }

    fn apply(&self, draw: &Draw, media: Media, _tools: &mut Tools) -> Result<Media, Fault> {
        let length = self.length as usize;
        match media {
            Media::Tensor { data, shape } if shape.len() == 1 => {
                let start = self.start(draw, shape[0]);
                let data = each!(data, v => same v.into_iter().skip(start).take(length).collect());
                Ok(Media::Tensor { shape: vec![data.len()], data })
            }
            Media::Tokens { ids, offsets } => {
                let start = self.start(draw, ids.len());
                let ids = ids.into_iter().skip(start).take(length).collect();
                let offsets = offsets.into_iter().skip(start).take(length).collect();
                Ok(Media::Tokens { ids, offsets })
            }
            other => Err(refused(NAME, "a sequence [L]", other.name())),
        }
    }

    fn padding(&self, before: f64) -> f64 {
        self.pad_id.map_or(before, |id| id as f64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::info::Format;

    #[test]
    fn every_place_is_drawn_as_often_and_shorter_sequences_stay_whole() {
        let run = |mode, length, all: i64, key| {
            let op = TokenWindow { length, mode, pad_id: None };
            let draw = op.draw(&Info::of(Format::Utf8), Key::new(key));
            let media = Media::Tensor { shape: vec![all as usize], data: Elements::I64((0..all).collect()) };
            let Elements::I64(ids) = op.apply(&draw, media, &mut Tools::default()).unwrap().into_elements() else {
                panic!()
            };
            ids
        };
        assert_eq!(run(Mode::Start, 2, 5, 0), [0, 1]);
        assert_eq!(run(Mode::Center, 2, 5, 0), [1, 2]);
        assert_eq!(run(Mode::Random, 9, 3, 0), [0, 1, 2]);
        let mut starts = [0; 4];
        for key in 0..4000 {
            let ids = run(Mode::Random, 3, 6, key);
            assert_eq!(ids, [ids[0], ids[0] + 1, ids[0] + 2]);
            starts[ids[0] as usize] += 1;
        }
        // Five standard deviations around 1000 of 4000.
        assert!(starts.iter().all(|n| (863..=1137).contains(n)), "{starts:?}");
    }
}
