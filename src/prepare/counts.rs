//! How many numbers operations make of a text, stored beside it: rows of tokens are planned by these without storing the tokens.

use serde_json::{Map, json};

use super::features::Features;
use super::options::OpsOptions;
use super::{Accepted, Maker, OpConfig, OpEntry, agree, made};
use crate::codec::Scratch;
use crate::data::feature::{Column, Feature, Schema};
use crate::data::info::Info;
use crate::data::storage::Storage;
use crate::error::{Error, Fault, Reason, Result};
use crate::registry::Table;

/// What stands behind the name of a column in that of its counts.
const SUFFIX: &str = "_tokens";

/// Counts the numbers that operations make of a column of texts.
#[derive(Debug)]
pub struct Counting {
    /// The place of the texts.
    of: usize,
    /// What makes the numbers; they are let go when they are counted.
    maker: Features,
}

impl Counting {
    /// Sets up what is asked of the column at a place of a source, or what goes on as it is in the dataset that is added to. Also
    /// returns the column that holds the counts.
    pub(super) fn of(
        (at, source): (usize, &Schema),
        asked: Option<Vec<OpConfig>>,
        dataset: Option<&Schema>,
        table: &Table<OpEntry>,
    ) -> Result<Option<(Self, Column)>> {
        let column = &source.columns[at];
        let name = format!("{}{SUFFIX}", column.name);
        let there = dataset.and_then(|schema| schema.columns.iter().find(|c| c.name == name));
        let counted = there.and_then(|c| c.stored.as_ref()?.counted()).filter(|(of, _)| *of == column.name);
        let ops = match (&asked, counted) {
            (Some(ops), _) => ops.clone(),
            (None, Some((_, ops))) => serde_json::from_value(json!(ops)).map_err(|e| {
                Error::config(
                    format!("column {name:?} counts in a way that this build does not know: {e}"),
                    "use the feedstock that made it, or a newer one",
                )
            })?,
            (None, None) => return Ok(None),
        };
        if source.position(&name).is_some() {
            return Err(taken(&name, &column.name));
        }
        if dataset.is_some() && there.is_none() {
            return Err(Error::config(
                format!("the dataset has no column {name:?}: the tokens of {:?} were not counted", column.name),
                "the columns are fixed by the first ingest: leave the counts out, or ingest into another dataset",
            ));
        }
        let texts = Column::new(name.clone(), column.feature.clone());
        let maker = Features::new(&OpsOptions { ops: ops.clone(), dtype: None }, &texts, table)?;
        if !matches!(maker.feature(), Feature::Tensor(tensor) if tensor.shape.len() == 1) {
            return Err(Error::config(
                format!("column {name:?}: what the operations make of a text is no sequence of tokens"),
                "end with an operation that gives ids: tokenize, bytes_to_ids, chars_to_ids",
            ));
        }
        let said = maker.parameters(Map::from_iter([("ops".to_owned(), json!(ops))]));
        let stored = Storage::counts(&column.name, said["ops"].clone(), maker.made_by());
        let made = Column { name, feature: Feature::Int, stored: Some(stored) };
        if let Some(there) = there {
            agree(there, &made, asked.is_some())?;
        }
        Ok(Some((Counting { of: at, maker }, made)))
    }

    /// The same of columns in another order: `listed` says of each which one it was.
    pub(super) fn arranged(mut self, listed: &[usize]) -> Self {
        self.of = listed.iter().position(|place| *place == self.of).unwrap_or(self.of);
        self
    }

    /// The place of the column that is counted.
    pub fn column(&self) -> usize {
        self.of
    }

    /// About how many bytes counting holds, beside the payload and what its codec says.
    pub fn memory(&self, info: &Info) -> u64 {
        self.maker.memory(info)
    }

    /// How many numbers come of a payload.
    ///
    /// # Errors
    /// As [`super::Prepare::make`].
    pub fn count(&self, payload: Accepted<'_>, scratch: &mut Scratch) -> Result<i64, Fault> {
        let facts = *payload.info;
        let info = made(&self.maker, payload, scratch)?.map_or(facts, |(_, info)| info);
        i64::try_from(info.count).map_err(|e| Fault::new(Reason::OverLimit, e))
    }
}

/// The error for a source that has a column of its own where counts are.
pub(super) fn taken(name: &str, of: &str) -> Error {
    Error::config(
        format!("the source has a column {name:?}, and how many tokens {of:?} has stands under that name"),
        "call it otherwise in the source, or ingest into a dataset without counts",
    )
}
