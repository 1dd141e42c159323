//! Where the lengths are by which batches are formed, and what is packed.

use super::Recipe;
use super::sources::Named;
use crate::augment::Chain;
use crate::data::feature::Feature;
use crate::data::info::{Format, Info};
use crate::error::{Error, Result};
use crate::loader::{OutColumn, Work};
use crate::plan::batching::{Batching, Forming, Quantity, WINDOW};
use crate::rng::Key;

impl Recipe {
    /// How batches are formed, with the lengths of each dataset's rows.
    pub(super) fn batching(&self, datasets: &[Named<'_>]) -> Result<Option<Batching>> {
        let (forming, by) = match (&self.bucket, &self.pack) {
            (Some(bucket), _) => (Forming::Bucket(bucket.clone()), bucket.by.clone()),
            (None, Some(pack)) => {
                datasets.iter().try_for_each(|named| named.packable(&pack.column))?;
                (Forming::Pack(pack.clone()), format!("`{}`.count", pack.column))
            }
            (None, None) => return Ok(None),
        };
        let lengths = |named: &Named<'_>| {
            let quantity = Quantity::bind(&by, &named.renamed()).map_err(|error| named.blamed(error))?;
            Ok((named.dataset.index().clone(), quantity))
        };
        let lengths = datasets.iter().map(lengths).collect::<Result<_>>()?;
        Ok(Some(Batching { forming, window: WINDOW, lengths }))
    }

    /// A column as it is packed.
    pub(super) fn packed(&self, column: OutColumn) -> Result<OutColumn> {
        let Some(pack) = &self.pack else { return Ok(column) };
        match column {
            OutColumn::Media { name, index: Some(index), work: Work::Chain(chain) } if keeps_length(&chain) => {
                Ok(OutColumn::Packed { name, index, chain, length: pack.length })
            }
            OutColumn::Media { name, work: Work::Bytes, .. } => {
                Err(Error::config(format!("pack: column {name:?} is raw"), "bytes are no tokens: leave out raw = true"))
            }
            other => Err(Error::config(
                format!("pack: operations of {:?} change how many tokens there are", other.name()),
                "rows are planned by the lengths that are stored: store what these operations make, or leave them out",
            )),
        }
    }
}

/// Whether as many tokens come out as are stored, in one axis, whatever is drawn.
fn keeps_length(chain: &Chain) -> bool {
    let Some(output) = chain.output() else { return false };
    let Some(format) = Format::ALL.iter().find(|format| format.kind() == chain.kind()) else { return false };
    let of = |count| {
        let drawn = chain.draw(&Info { count, ..Info::of(*format) }, Key::new(count));
        chain.extents(&drawn).to_vec()
    };
    output.shape.len() == 1
        && output.beside.is_none()
        && output.placement == Default::default()
        && [0, 1, 7, 4_099].into_iter().all(|count| of(count) == [count as usize])
}

impl Named<'_> {
    /// That a column has token sequences stored, whose lengths the Index has.
    fn packable(&self, name: &str) -> Result<()> {
        let schema = self.renamed();
        let help = |what: &str| {
            format!(
                "{what}; store tokens and pack those: `dsctl ingest SOURCE DATASET --tokenize tokenizer.json` \
                 (`dsctl tokenizer train TEXTS tokenizer.json --vocab-size 8192` makes one)"
            )
        };
        match schema.get(name) {
            Some(Feature::Tensor(tensor)) if tensor.shape.len() == 1 => Ok(()),
            Some(Feature::Text) => Err(Error::config(
                format!("pack: {} has {name:?} as text, whose tokens are counted only when it is read", self.said()),
                help("rows are planned before anything is read"),
            )),
            Some(other) => Err(Error::config(
                format!("pack: {} has {name:?} as {}, not as sequences of tokens", self.said(), other.name()),
                help("what is packed are tensors of one axis"),
            )),
            None => {
                let all: Vec<&str> = schema.columns.iter().map(|column| column.name.as_str()).collect();
                Err(Error::config(
                    format!("pack: {} has no column {name:?}", self.said()),
                    format!("it has: {}", all.join(", ")),
                ))
            }
        }
    }
}
