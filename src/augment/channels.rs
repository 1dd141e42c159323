//! `channels`: which channels of a recording are delivered, and as what.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::wave::{self, Wave};
use super::{Draw, Lowered, Media, Op, OpEntry, Spec, Tools};
use crate::data::info::Info;
use crate::data::tensor::Extent;
use crate::error::{Error, Fault, Reason, Result};

/// What a recording's channels become. Without this operation they are mixed to `"mono"`. It stands at the front of an audio
/// column (a `time_crop` may be in front of it).
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ChannelsOp {
    /// `"mono"`: their mean, `[S]`. `"keep"`: all of them, `[C, S]`. A number `n`: `[n, S]` of recordings of `n` channels, and
    /// of one channel, which is repeated. A list: `[n, S]`, those channels, counted from 0. A recording that has not what is
    /// asked for is a fault.
    pub to: To,
}

/// What channels become.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum To {
    /// "mono" or "keep".
    Named(Named),
    /// So many.
    Count(usize),
    /// These.
    Picked(Vec<usize>),
}

/// What needs no number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Named {
    /// The mean of all.
    Mono,
    /// As they are.
    Keep,
}

const NAME: &str = "channels";

/// More channels than these are not asked for.
const MOST: usize = 1024;

/// The table's row.
pub const ENTRY: OpEntry = OpEntry {
    name: NAME,
    version: 1,
    summary: "channels of a recording: to = \"mono\" (their mean, the default of every audio column) | \"keep\" [C, S] | n | [0, 1, ...]",
    build: |params| {
        let op: ChannelsOp = super::parse(NAME, params)?;
        let fine = match &op.to {
            To::Named(_) => true,
            To::Count(n) => (1..=MOST).contains(n),
            To::Picked(list) => (1..=MOST).contains(&list.len()) && list.iter().all(|c| *c < MOST),
        };
        if !fine {
            return Err(Error::config(
                format!("operation \"{NAME}\": to = {:?} is out of range", op.to),
                format!(
                    "to is \"mono\", \"keep\", a number of channels from 1 to {MOST}, or a list of channels, the first is 0"
                ),
            ));
        }
        Ok(Arc::new(op))
    },
    example: r#"{"to": [1, 0]}"#,
};

impl Op for ChannelsOp {
    fn spec(&self, input: &Spec) -> Result<Spec, Fault> {
        let (rate, channels, samples) = wave::spec(NAME, input)?;
        if channels.is_none() {
            return Err(super::refused(NAME, "channels that are not yet mixed", "mono"));
        }
        let channels = match &self.to {
            To::Named(Named::Mono) => None,
            To::Named(Named::Keep) => channels,
            To::Count(n) => Some(Extent::Fixed(*n)),
            To::Picked(list) => Some(Extent::Fixed(list.len())),
        };
        Ok(Spec::Wave { rate, channels, samples })
    }

    fn facts(&self, info: &Info, _draw: &Draw) -> Info {
        let channels = match &self.to {
            To::Named(Named::Mono) => 1,
            To::Named(Named::Keep) => info.channels as usize,
            To::Count(n) => *n,
            To::Picked(list) => list.len(),
        };
        Info { channels: channels as u32, ..*info }
    }

    fn lower(&self, _draw: &Draw) -> Lowered {
        Lowered::Channels
    }

    fn apply(&self, _draw: &Draw, media: Media, _tools: &mut Tools) -> Result<Media, Fault> {
        let wave = wave::wave(NAME, media)?;
        let there = wave.channels();
        let lacks = |what: String| Fault::new(Reason::WrongMedia, format!("{NAME}: the recording has {there}, {what}"));
        let pick = |list: &mut dyn Iterator<Item = usize>| -> Wave {
            let planes: Vec<&[f32]> = wave.planes().collect();
            let made: Vec<&[f32]> = list.map(|c| planes[c]).collect();
            Wave { channels: Some(made.len()), data: made.concat(), rate: wave.rate }
        };
        Ok(Media::Wave(match &self.to {
            To::Named(Named::Mono) => mixed(&wave),
            To::Named(Named::Keep) => wave,
            To::Count(n) if there == *n => wave,
            To::Count(n) if there == 1 => pick(&mut std::iter::repeat_n(0, *n)),
            To::Count(n) => return Err(lacks(format!("and {n} are asked for (\"mono\" mixes, a list picks)"))),
            To::Picked(list) => match list.iter().find(|c| **c >= there) {
                Some(c) => return Err(lacks(format!("and channel {c} is asked for, where the first is 0"))),
                None => pick(&mut list.iter().copied()),
            },
        }))
    }
}

/// The mean of the channels, sample by sample, summed in their order.
fn mixed(wave: &Wave) -> Wave {
    let planes: Vec<&[f32]> = wave.planes().collect();
    let mean = |i: usize| planes.iter().map(|plane| plane[i]).sum::<f32>() / planes.len() as f32;
    let data = if planes.len() == 1 { planes[0].to_vec() } else { (0..wave.samples()).map(mean).collect() };
    Wave::mono(data, wave.rate)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn channels_are_mixed_picked_and_repeated() {
        let run = |to: serde_json::Value, channels: usize| {
            let data: Vec<f32> = (0..channels * 3).map(|i| i as f32).collect();
            let media = Media::Wave(Wave { data, channels: Some(channels), rate: 8000 });
            let op = (ENTRY.build)(&serde_json::json!({"to": to})).unwrap();
            op.apply(&Draw::None, media, &mut Tools::default()).map(|media| wave::wave(NAME, media).unwrap())
        };
        let made = |to, channels| run(to, channels).map(|w| (w.shape(), w.data)).unwrap();
        assert_eq!(made("mono".into(), 2), (vec![3], vec![1.5, 2.5, 3.5]));
        assert_eq!(made("keep".into(), 2), (vec![2, 3], vec![0.0, 1.0, 2.0, 3.0, 4.0, 5.0]));
        assert_eq!(made(1.into(), 1), (vec![1, 3], vec![0.0, 1.0, 2.0]));
        assert_eq!(made(2.into(), 1), (vec![2, 3], vec![0.0, 1.0, 2.0, 0.0, 1.0, 2.0]));
        assert_eq!(made(serde_json::json!([2, 0]), 3), (vec![2, 3], vec![6.0, 7.0, 8.0, 0.0, 1.0, 2.0]));
        for (to, channels, word) in [(1.into(), 2, "has 2, and 1"), (serde_json::json!([0, 2]), 2, "channel 2")] {
            let fault = run(to, channels).unwrap_err();
            assert!(fault.reason == Reason::WrongMedia && fault.message.contains(word), "{fault}");
        }
    }
}
