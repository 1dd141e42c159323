//! `bytes_to_ids`: text as numbers, one for each UTF-8 byte.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::{Draw, Elements, Media, Op, OpEntry, Spec, Tools, refused};
use crate::data::info::{Fact, Info};
use crate::data::tensor::{DType, Extent};
use crate::error::{Error, Fault, Result};

/// Ids `[T]`, i64: each byte plus `offset` (as ByT5, which keeps the first ids for itself: Xue et al., TACL 2022).
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct BytesToIds {
    /// Longer texts are cut to so many bytes.
    pub max_len: Option<u32>,
    /// Every sample has exactly this length: longer texts are cut, shorter ones padded with `pad_id`.
    pub pad_to: Option<u32>,
    /// Added to each byte.
    pub offset: i64,
    /// What stands behind shorter texts.
    pub pad_id: i64,
}

const NAME: &str = "bytes_to_ids";

/// The table's row.
pub const ENTRY: OpEntry = OpEntry {
    name: NAME,
    version: 1,
    summary: "UTF-8 bytes as ids: max_len, pad_to (one length for all), offset = 0, pad_id = 0",
    build: |params| {
        let op: BytesToIds = super::parse(NAME, params)?;
        op.validate()?;
        Ok(Arc::new(op))
    },
    example: r#"{"max_len": 32, "offset": 3}"#,
};

impl BytesToIds {
    fn validate(&self) -> Result<()> {
        let exact = |v: i64| (-(1i64 << 53)..=1 << 53).contains(&v);
        if self.max_len == Some(0) || self.pad_to == Some(0) {
            return Err(Error::config(
                format!("operation \"{NAME}\": a length of 0"),
                "max_len and pad_to are 1 or more, or left out",
            ));
        }
        if !exact(self.offset) || !exact(self.pad_id) {
            return Err(Error::config(
                format!("operation \"{NAME}\": offset = {}, pad_id = {}", self.offset, self.pad_id),
                "both are within 2^53 of 0",
            ));
        }
        Ok(())
    }

    /// The bytes that are kept of so many.
    fn kept(&self, bytes: u64) -> u64 {
        [self.max_len, self.pad_to].into_iter().flatten().fold(bytes, |n, most| n.min(u64::from(most)))
    }
}

impl Op for BytesToIds {
    fn spec(&self, input: &Spec) -> Result<Spec, Fault> {
        let Spec::Text { bytes } = *input else {
            return Err(refused(NAME, "text", input.name()));
        };
        let length = match (self.pad_to, bytes, self.max_len) {
            (Some(n), ..) => Extent::Fixed(n as usize),
            (None, Extent::Bounded(_), _) => Extent::Bounded(Fact::Count),
            (None, _, Some(most)) => Extent::AtMost(most as usize),
            (None, ..) => Extent::Late,
        };
        Ok(Spec::Tensor { dtype: DType::I64, shape: vec![length] })
    }

    fn facts(&self, info: &Info, _draw: &Draw) -> Info {
        Info { count: self.pad_to.map_or(self.kept(info.count), u64::from), ..*info }
    }

    fn apply(&self, _draw: &Draw, media: Media, _tools: &mut Tools) -> Result<Media, Fault> {
        let Media::Text(text) = media else {
            return Err(refused(NAME, "text", media.name()));
        };
        let kept = self.kept(text.len() as u64) as usize;
        let mut ids: Vec<i64> = text.as_bytes()[..kept].iter().map(|b| i64::from(*b) + self.offset).collect();
        if let Some(length) = self.pad_to {
            ids.resize(length as usize, self.pad_id);
        }
        Ok(Media::Tensor { shape: vec![ids.len()], data: Elements::I64(ids) })
    }

    fn padding(&self, _before: f64) -> f64 {
        self.pad_id as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_cut_shifted_and_padded() {
        let run = |op: BytesToIds, text: &str| {
            op.apply(&Draw::None, Media::Text(text.into()), &mut Tools::default()).unwrap().into_elements()
        };
        let op = BytesToIds { max_len: Some(3), offset: 3, ..BytesToIds::default() };
        assert_eq!(run(op, "aé!"), Elements::I64(vec![100, 198, 172]));
        let op = BytesToIds { pad_to: Some(4), pad_id: -1, ..BytesToIds::default() };
        assert_eq!(run(op, "ab"), Elements::I64(vec![97, 98, -1, -1]));
    }
}
