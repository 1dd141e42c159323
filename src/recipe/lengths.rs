//! Where the lengths are by which batches are formed, and what is packed.

use super::sources::Named;
use super::{Recipe, Registry};
use crate::augment::Chain;
use crate::data::feature::Feature;
use crate::data::info::{Format, Info, Kind};
use crate::error::{Error, Result};
use crate::loader::{OutColumn, Work};
use crate::plan::batching::{Batching, Forming, Quantity, WINDOW};
use crate::rng::Key;

impl Recipe {
    /// How batches are formed, with the lengths of each dataset's rows.
    pub(super) fn batching(&self, datasets: &[Named<'_>], registry: &Registry) -> Result<Option<Batching>> {
        let forming = match (&self.bucket, &self.pack) {
            (Some(bucket), _) => Forming::Bucket(bucket.clone()),
            (None, Some(pack)) => Forming::Pack(pack.clone()),
            (None, None) => return Ok(None),
        };
        let lengths = |named: &Named<'_>| {
            let by = match &forming {
                Forming::Bucket(bucket) => bucket.by.clone(),
                Forming::Pack(pack) => self.tokens(named, &pack.column, registry)?,
            };
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
            OutColumn::Media { name, index: Some(index), work: Work::Chain(chain) }
                // Of a text it is known by now that its tokens are counted.
                if is_sequence(&chain) && (chain.kind() == Kind::Text || keeps_length(&chain)) =>
            {
                Ok(OutColumn::Packed { name, index, chain, length: pack.length })
            }
            OutColumn::Media { name, work: Work::Bytes, .. } => {
                Err(Error::config(format!("pack: column {name:?} is raw"), "bytes are no tokens: leave out raw = true"))
            }
            other => Err(unpacked(&other)),
        }
    }
}

/// Why a column cannot be packed.
fn unpacked(column: &OutColumn) -> Error {
    let OutColumn::Media { name, work: Work::Chain(chain), .. } = column else {
        return Error::config(
            format!("pack: {:?} is no column of sequences", column.name()),
            "a packed recipe has one column: leave the others out",
        );
    };
    if let Some(beside) = chain.output().and_then(|output| output.beside) {
        return Error::config(
            format!(
                "pack: operations of {name:?} make {:?} beside the tokens, which rows have no place for",
                beside.suffix
            ),
            "leave out what asks for it (offsets of `tokenize`)",
        );
    }
    if chain.ops().next().is_none() {
        return Error::config(
            format!("pack: the sequences of {name:?} all have one length"),
            "there is nothing to pack: without `pack` they come as rows of that length",
        );
    }
    Error::config(
        format!("pack: operations of {name:?} change how many tokens there are"),
        "rows are planned by the lengths that are stored: store what these operations make, or leave them out",
    )
}

/// Whether what comes out has one axis, and nothing beside it.
fn is_sequence(chain: &Chain) -> bool {
    chain.output().is_some_and(|output| {
        output.shape.len() == 1 && output.beside.is_none() && output.placement == Default::default()
    })
}

/// Whether as many tokens come out as are stored, whatever is drawn.
pub(super) fn keeps_length(chain: &Chain) -> bool {
    let Some(format) = Format::ALL.iter().find(|format| format.kind() == chain.kind()) else { return false };
    let of = |count| {
        let drawn = chain.draw(&Info { count, ..Info::of(*format) }, Key::new(count));
        chain.extents(&drawn).to_vec()
    };
    [0, 1, 7, 4_099].into_iter().all(|count| of(count) == [count as usize])
}

/// A column's name as `bucket.by` and conditions write it.
fn quoted(name: &str) -> String {
    format!("`{}`", name.replace('`', "``"))
}

impl Recipe {
    /// Where the Index has the lengths of the token sequences of a column: those of what is stored, or a column that counts them.
    fn tokens(&self, named: &Named<'_>, name: &str, registry: &Registry) -> Result<String> {
        let schema = named.renamed();
        match schema.get(name) {
            Some(Feature::Tensor(tensor)) if tensor.shape.len() == 1 => Ok(format!("{}.count", quoted(name))),
            Some(Feature::Text) => Ok(quoted(&self.counted(named, name, registry)?)),
            Some(other) => Err(Error::config(
                format!("pack: {} has {name:?} as {}, not as sequences of tokens", named.said(), other.name()),
                "what is packed are tensors of one axis, as `dsctl ingest SOURCE DATASET --tokenize tokenizer.json` stores, and texts whose \
                 tokens were counted (`--count-tokens tokenizer.json`)",
            )),
            None => {
                let all: Vec<&str> = schema.columns.iter().map(|column| column.name.as_str()).collect();
                Err(Error::config(
                    format!("pack: {} has no column {name:?}", named.said()),
                    format!("it has: {}", all.join(", ")),
                ))
            }
        }
    }
}
