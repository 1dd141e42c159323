//! The sources of a mixture: what a recipe says of each, and how their columns become those of one batch.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::{Recipe, Registry};
use crate::data::feature::{Column, Feature, Schema};
use crate::dataset::Dataset;
use crate::error::{Error, Result};
use crate::loader::{Feed, OutColumn, Work};
use crate::plan::{Balance, Fold, Subset};

/// One source of a mixture. What it does not say of the choice of rows, the recipe says for all.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SourceRecipe {
    /// Where the dataset is. `dsctl` takes a relative path from the recipe's folder. No part of the digest: what is there is.
    pub dataset: PathBuf,
    /// Another version than the latest.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version: Option<u64>,
    /// Its share of the samples, relative to the others. If no source has one, each has as many as it has samples.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub weight: Option<f64>,
    /// The split to run over.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub split: Option<String>,
    /// A condition on the rows.
    #[serde(rename = "where", skip_serializing_if = "Option::is_none")]
    pub filter: Option<String>,
    /// One part of several, or all but it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fold: Option<Fold>,
    /// A sample of what is left.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub subset: Option<Subset>,
    /// How often the rows of each class come within the source.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub balance: Option<Balance>,
    /// Columns by another name than the dataset has for them: `{ label = "cell_type" }` delivers its `cell_type` as `label`.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub rename: BTreeMap<String, String>,
    /// Columns that it does not have and others do: its cells are absent.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub absent: Vec<String>,
}

/// A dataset under the name it has in a recipe (none: the only one), with how its columns are called.
pub(super) struct Named<'a> {
    pub(super) name: Option<&'a str>,
    pub(super) dataset: Arc<Dataset>,
    pub(super) source: &'a SourceRecipe,
}

impl Named<'_> {
    fn schema(&self) -> &Schema {
        self.dataset.schema()
    }

    /// The schema, its columns under the names by which they are delivered: those that conditions, folds and balances know.
    pub(super) fn renamed(&self) -> Schema {
        let names: Vec<String> = self.names().into_iter().map(str::to_owned).collect();
        let mut schema = self.schema().clone();
        schema.columns.iter_mut().zip(names).for_each(|(column, name)| column.name = name);
        schema
    }

    /// An error of its choice of rows, with its name.
    pub(super) fn blamed(&self, error: Error) -> Error {
        match (self.name, error) {
            (Some(name), Error::Config { what, help }) => Error::config(format!("source {name:?}: {what}"), help),
            (_, error) => error,
        }
    }

    /// What messages call it.
    pub(super) fn said(&self) -> String {
        self.name.map_or_else(|| "the dataset".to_owned(), |name| format!("source {name:?}"))
    }

    /// The place of the column that is delivered by a name.
    pub(super) fn position(&self, name: &str) -> Option<usize> {
        match self.source.rename.get(name) {
            Some(own) => self.schema().position(own),
            None => self.schema().position(name).filter(|_| !self.source.rename.values().any(|own| own == name)),
        }
    }

    /// The names by which its columns are delivered, in its order.
    fn names(&self) -> Vec<&str> {
        let rename = &self.source.rename;
        let called = |column: &'_ Column| rename.iter().find(|(_, own)| **own == column.name).map(|(name, _)| name);
        let columns = self.dataset.schema().columns.iter();
        columns.map(|column| called(column).map_or(column.name.as_str(), String::as_str)).collect()
    }

    /// That renamed and absent columns are what they say.
    pub(super) fn check(&self) -> Result<()> {
        let has = || {
            format!("it has: {}", self.schema().columns.iter().map(|c| c.name.as_str()).collect::<Vec<_>>().join(", "))
        };
        for (name, own) in &self.source.rename {
            if self.schema().position(own).is_none() {
                return Err(Error::config(format!("rename: {} has no column {own:?}", self.said()), has()));
            }
            if self.source.rename.values().filter(|other| *other == own).count() > 1 {
                let what = format!("rename: {} has two names for column {own:?}", self.said());
                return Err(Error::config(what, "a column is delivered once"));
            }
            if self.names().iter().filter(|other| *other == name).count() > 1 {
                let what = format!("rename: {} would have two columns {name:?}", self.said());
                return Err(Error::config(what, "rename that of this name, too"));
            }
        }
        match self.source.absent.iter().find(|name| self.position(name).is_some()) {
            Some(name) => Err(Error::config(format!("absent: {} has a column {name:?}", self.said()), has())),
            None => Ok(()),
        }
    }
}

impl Recipe {
    /// The columns that are delivered, for each dataset as it makes them.
    pub(super) fn feeds(&self, datasets: Vec<Named<'_>>, registry: &Registry) -> Result<Vec<Feed>> {
        let mut names: Vec<&str> = Vec::new();
        for name in datasets.iter().flat_map(Named::names) {
            let wanted = match &self.pack {
                Some(pack) => pack.column == name,
                None => self.columns.is_empty() || self.columns.contains_key(name),
            };
            if !names.contains(&name) && wanted {
                names.push(name);
            }
        }
        if let Some(name) = self.columns.keys().find(|name| !names.contains(&name.as_str())) {
            let all: Vec<&str> = datasets.iter().flat_map(Named::names).collect();
            let all = all.join(", ");
            return Err(match datasets.as_slice() {
                [one] => Error::config(format!("{} has no column {name:?}", one.said()), format!("it has: {all}")),
                _ => Error::config(format!("no source has a column {name:?}"), format!("they have: {all}")),
            });
        }
        let all: Vec<&str> = datasets.iter().flat_map(Named::names).collect();
        for named in &datasets {
            if let Some(absent) = named.source.absent.iter().find(|absent| !all.contains(&absent.as_str())) {
                let what = format!("absent: no source has a column {absent:?}, which {} is to lack", named.said());
                return Err(Error::config(what, format!("they have: {}", all.join(", "))));
            }
        }
        let mut feeds: Vec<Feed> = datasets
            .iter()
            .map(|d| Feed {
                name: d.name.unwrap_or_default().to_owned(),
                dataset: d.dataset.clone(),
                columns: Vec::new(),
            })
            .collect();
        for name in &names {
            let columns = self.joined(name, &datasets, registry)?;
            feeds.iter_mut().zip(columns).for_each(|(feed, column)| feed.columns.push(column));
        }
        // A row of packed sequences is of no one source.
        if datasets[0].name.is_some() && self.pack.is_none() {
            let name = &self.mixture.column;
            if name.is_empty() || name.contains(['/', '.', '\n']) || ["valid", "ids"].contains(&name.as_str()) {
                let what = format!("mixture: a column {name:?} to say the source");
                return Err(Error::config(what, "give it a word that batches do not use otherwise: \"origin\""));
            }
            if names.contains(&name.as_str()) {
                let what = format!("a source has a column {name:?}, which is to say of which source a sample is");
                return Err(Error::config(what, "call that otherwise: mixture = { column = \"origin\" }"));
            }
            feeds.iter_mut().for_each(|feed| feed.columns.push(OutColumn::Source { name: name.clone() }));
        }
        Ok(feeds)
    }

    /// One column, as each dataset makes it.
    fn joined(&self, name: &str, datasets: &[Named<'_>], registry: &Registry) -> Result<Vec<OutColumn>> {
        let fallback = super::ColumnRecipe::default();
        let recipe = self.columns.get(name).unwrap_or(&fallback);
        let mut first: Option<(&Named<'_>, &Column, OutColumn)> = None;
        let mut made: Vec<Option<OutColumn>> = Vec::new();
        let mut classes: Vec<String> = Vec::new();
        for dataset in datasets {
            let Some(index) = dataset.position(name) else {
                if !dataset.source.absent.iter().any(|absent| absent == name) {
                    let help = "list the columns that are wanted, give its column the name by `rename`, or let it be absent: absent = [..]";
                    return Err(Error::config(
                        format!("{} has no column {name:?}, as others do", dataset.said()),
                        help,
                    ));
                }
                made.push(None);
                continue;
            };
            let column = &dataset.dataset.schema().columns[index];
            let unlike = |other: &Named<'_>, what: String| {
                let what = format!("column {name:?}: {what}, in {} and {}", other.said(), dataset.said());
                let help = "operations of the recipe (resize, resample, to) make them alike; or rename one of them";
                Err(Error::config(what, help))
            };
            if let Some((other, like, _)) = &first
                && let Some(what) = features_apart(like, column)
            {
                return unlike(other, what);
            }
            let made_here = self.column(index, name, dataset, recipe, registry);
            let mut own = made_here.map_err(|e| dataset.blamed(e))?;
            match &first {
                Some((other, _, out)) => {
                    if let Some(what) = outputs_apart(out, &own) {
                        return unlike(other, what);
                    }
                }
                None => first = Some((dataset, column, own.clone())),
            }
            if let (Some(names), OutColumn::Values { joined, .. } | OutColumn::Objects { joined, .. }, true) =
                (column.feature.classes(), &mut own, datasets.len() > 1)
            {
                let at = |class: &String| {
                    let at = classes.iter().position(|other| other == class);
                    at.unwrap_or_else(|| {
                        classes.push(class.clone());
                        classes.len() - 1
                    }) as i64
                };
                *joined = Some(names.iter().map(at).collect());
            }
            made.push(Some(own));
        }
        let absent = |out: &OutColumn| match out.clone() {
            OutColumn::Values { name, dtype, class, .. } => {
                OutColumn::Values { name, index: None, dtype, class, joined: None }
            }
            OutColumn::Media { name, work, .. } => OutColumn::Media { name, index: None, work },
            OutColumn::Objects { name, of, .. } => {
                OutColumn::Objects { name, index: None, of, picture: None, joined: None }
            }
            other => other,
        };
        let Some((_, _, like)) = first else { return Ok(Vec::new()) };
        if let (Some(pack), Some(at)) = (&self.pack, made.iter().position(Option::is_none)) {
            return Err(Error::config(
                format!("pack: {} has no column {:?}", datasets[at].said(), pack.column),
                "leave the source out",
            ));
        }
        made.into_iter().map(|own| self.packed(own.unwrap_or_else(|| absent(&like)))).collect()
    }
}

/// What keeps two columns from being one, before anything is done to them.
fn features_apart(a: &Column, b: &Column) -> Option<String> {
    if a.feature.name() != b.feature.name() {
        return Some(format!("{} and {}", a.feature.name(), b.feature.name()));
    }
    if let (Feature::Objects(x), Feature::Objects(y)) = (&a.feature, &b.feature) {
        return (x.attributes != y.attributes).then(|| "objects of which other things are said".into());
    }
    let (Feature::Tensor(x), Feature::Tensor(y)) = (&a.feature, &b.feature) else { return None };
    if x != y {
        return Some("tensors of another type, shape or padding".into());
    }
    // Numbers mean what the operations that made them say: tokens of two tokenizers are not one column.
    let made = |column: &Column| column.stored.as_ref().map(|stored| stored.digest.clone());
    (made(a) != made(b)).then(|| "tensors that were made in other ways (`dsctl inspect` says how)".into())
}

/// What keeps what is made of them from being one column.
fn outputs_apart(a: &OutColumn, b: &OutColumn) -> Option<String> {
    let (OutColumn::Media { work: Work::Chain(a), .. }, OutColumn::Media { work: Work::Chain(b), .. }) = (a, b) else {
        return None;
    };
    match (a.output(), b.output()) {
        (Some(a), Some(b)) if a != b => {
            Some(format!("samples of {} {:?} and of {} {:?}", a.dtype.name(), a.shape, b.dtype.name(), b.shape))
        }
        (Some(_), None) | (None, Some(_)) => Some("numbers and text".into()),
        _ => None,
    }
}
