//! A recipe says what is loaded and how: one serde struct for code, TOML and the command line alike.
//!
//! This room assembles: it looks names up in the [`Registry`], checks everything against the dataset, and builds the
//! [`Loader`].

mod check;
mod counted;
mod digest;
mod lengths;
mod sources;

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use sources::Named;
pub use sources::SourceRecipe;

pub use crate::augment::OpConfig;
use crate::augment::chain::Chain;
use crate::augment::{self, Op, OpEntry};
use crate::codec::Limits;
use crate::data::feature::{Feature, Schema};
use crate::data::index::Access;
use crate::data::objects::BoxFormat;
use crate::data::tensor::DType;
use crate::dataset::Dataset;
use crate::error::{Error, Result};
use crate::loader::{Loader, OnError, OutColumn, RunConfig, Work};
use crate::plan::{
    Balance, Balanced, Bucket, Component, Filter, Fold, Mixture, Order, Pack, Rows, Sequence, Subset, Tail, Window,
};
use crate::registry::Table;

/// What is loaded, in which order, through which operations.
///
/// ```
/// use feedstock::recipe::Recipe;
/// let recipe: Recipe = serde_json::from_str(r#"{
///     "split": "train", "batch": 64, "seed": 7,
///     "columns": { "image": { "ops": [ { "op": "random_resized_crop", "size": 224 } ] }, "label": {} }
/// }"#)?;
/// recipe.validate()?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Recipe {
    /// The split to run over; all rows if there is none.
    pub split: Option<String>,
    /// A condition on the rows ([`filter`](crate::plan::filter)): `label in ["cat", "dog"] and image.width >= 64`.
    #[serde(rename = "where")]
    pub filter: Option<String>,
    /// One part of several, or all but it, of the rows that the condition holds for.
    pub fold: Option<Fold>,
    /// A sample of what is left.
    pub subset: Option<Subset>,
    /// How often the rows of each class come; once if there is none.
    pub balance: Option<Balance>,
    /// The datasets of a mixture, by name; none: the loader is given one.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub sources: BTreeMap<String, SourceRecipe>,
    /// How they come together.
    pub mixture: Mixture,
    /// The seed of everything random.
    pub seed: u64,
    /// The order of the rows.
    pub order: Order,
    /// How large groups and windows are, if the order is windowed.
    pub window: Window,
    /// Places of a batch: samples, and views of them; with `bucket` at the most, with `pack` rows.
    pub batch: usize,
    /// Samples of like length in one batch.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bucket: Option<Bucket>,
    /// Token sequences, several in a row.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pack: Option<Pack>,
    /// Views of each sample, side by side in a batch: the same row, with draws of its own.
    pub views: usize,
    /// Other samples of the epoch behind each one's views, drawn for its place: to be mixed with it (MixUp, CutMix: 1; mosaic: 3).
    pub partners: usize,
    /// The source that these are drawn from: background noise, say. With a weight of 0 its rows come as partners alone; with another, a sample may be its own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub partners_from: Option<String>,
    /// What happens to the last batches of an epoch.
    pub tail: Tail,
    /// The columns to deliver and what is done to them. Empty: every column, media decoded and otherwise as they are.
    pub columns: BTreeMap<String, ColumnRecipe>,
    /// Whether neighbouring operations are fused. The bytes are the same; `false` is for checking just that.
    pub fuse: bool,
    /// What happens to a sample that cannot be read.
    pub errors: OnError,
    /// What one payload may cost.
    pub limits: Limits,
    /// How it is executed; changes no batch.
    pub run: RunConfig,
}

impl Default for Recipe {
    fn default() -> Self {
        Recipe {
            split: None,
            filter: None,
            fold: None,
            subset: None,
            balance: None,
            sources: BTreeMap::new(),
            mixture: Mixture::default(),
            seed: 0,
            order: Order::default(),
            window: Window::default(),
            batch: 32,
            bucket: None,
            pack: None,
            views: 1,
            partners: 0,
            partners_from: None,
            tail: Tail::default(),
            columns: BTreeMap::new(),
            fuse: true,
            errors: OnError::Fail,
            limits: Limits::default(),
            run: RunConfig::default(),
        }
    }
}

/// What is done to one column.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ColumnRecipe {
    /// The operations, in order.
    pub ops: Vec<OpConfig>,
    /// Deliver the stored bytes, undecoded.
    pub raw: bool,
    /// Of objects: the column of the picture that they are in, if there are several. They are moved as its operations move the picture.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub of: Option<String>,
}

/// The tables that names in a recipe are looked up in; add members with `registry.ops = registry.ops.with(entry)`.
#[derive(Debug, Clone)]
pub struct Registry {
    /// Operations.
    pub ops: Table<OpEntry>,
}

impl Default for Registry {
    fn default() -> Self {
        Registry { ops: augment::ops() }
    }
}

impl Recipe {
    /// Checks what can be checked without a dataset.
    pub fn validate(&self) -> Result<()> {
        self.validate_with(&Registry::default())
    }

    /// As [`Recipe::validate`], with operations from outside the crate.
    pub fn validate_with(&self, registry: &Registry) -> Result<()> {
        self.check()?;
        self.columns.iter().try_for_each(|(name, column)| self.ops(name, column, registry).map(|_| ()))
    }

    /// Builds the operations of a column, each with its name path.
    fn ops(&self, name: &str, column: &ColumnRecipe, registry: &Registry) -> Result<Vec<(String, Arc<dyn Op>)>> {
        OpConfig::build(&column.ops, name, &registry.ops)
    }

    /// The loader of this recipe over a dataset, with the built-in operations.
    ///
    /// # Errors
    /// [`Error::Config`] names the split, column or operation that does not fit, and what there is instead.
    pub fn loader(&self, dataset: impl Into<Arc<Dataset>>) -> Result<Loader> {
        self.loader_with(dataset, &Registry::default())
    }

    /// As [`Recipe::loader`], with operations from outside the crate.
    pub fn loader_with(&self, dataset: impl Into<Arc<Dataset>>, registry: &Registry) -> Result<Loader> {
        if !self.sources.is_empty() {
            return Err(Error::config(
                "one dataset for a recipe that has sources",
                "open those that it names (Recipe::open; `dsctl` without DATASET), or leave them out",
            ));
        }
        let source = SourceRecipe::default();
        self.assembled(vec![Named { name: None, dataset: dataset.into(), source: &source }], registry)
    }

    /// The loader of a recipe over the sources that it names, each opened where it says.
    ///
    /// # Errors
    /// As [`Recipe::loader`]; and those of opening a dataset.
    pub fn open(&self) -> Result<Loader> {
        let open = |(name, source): (&String, &SourceRecipe)| {
            let dataset = match source.version {
                Some(version) => Dataset::open_version(&source.dataset, version),
                None => Dataset::open(&source.dataset),
            };
            Ok((name.clone(), Arc::new(dataset?)))
        };
        self.mixed(&self.sources.iter().map(open).collect::<Result<_>>()?)
    }

    /// The loader of a recipe over a mixture, its sources given by their names.
    ///
    /// # Errors
    /// As [`Recipe::loader`]; for columns that not all sources have, or that are not alike; and for a weight that is none.
    pub fn mixed(&self, datasets: &BTreeMap<String, Arc<Dataset>>) -> Result<Loader> {
        self.mixed_with(datasets, &Registry::default())
    }

    /// As [`Recipe::mixed`], with operations from outside the crate.
    pub fn mixed_with(&self, datasets: &BTreeMap<String, Arc<Dataset>>, registry: &Registry) -> Result<Loader> {
        let (named, given): (Vec<&String>, Vec<&String>) = (self.sources.keys().collect(), datasets.keys().collect());
        if named != given || named.is_empty() {
            return Err(Error::config(
                format!("datasets {given:?} for sources {named:?}"),
                "a mixture has a dataset for each of its sources: [sources.NAME] dataset = \"..\"",
            ));
        }
        let pair = |((name, source), dataset): ((&'_ String, &'_ SourceRecipe), &Arc<Dataset>)| {
            (name.as_str().to_owned(), source.clone(), dataset.clone())
        };
        let all: Vec<_> = self.sources.iter().zip(datasets.values()).map(pair).collect();
        let named =
            all.iter().map(|(name, source, dataset)| Named { name: Some(name), dataset: dataset.clone(), source });
        self.assembled(named.collect(), registry)
    }

    fn assembled(&self, datasets: Vec<Named<'_>>, registry: &Registry) -> Result<Loader> {
        self.check()?;
        let choices: Vec<Recipe> = datasets.iter().map(|named| self.of_source(named.source)).collect();
        for (named, choice) in datasets.iter().zip(&choices) {
            let splits = named.dataset.splits();
            if let Some(split) = &choice.split
                && !splits.contains_key(split)
            {
                let names: Vec<String> = splits.keys().cloned().collect();
                return Err(Error::config(
                    format!("{} has no split {split:?}", named.said()),
                    format!("it has: {}", if names.is_empty() { "none (no rows)".into() } else { names.join(", ") }),
                ));
            }
        }
        datasets.iter().try_for_each(Named::check)?;
        // Choosing rows looks at all of them, and a plan at some here and there.
        let expect = |access| datasets.iter().flat_map(|d| d.dataset.index().segments()).for_each(|s| s.expect(access));
        expect(Access::Scan);
        let components = datasets.iter().zip(&choices);
        let components = components.map(|(named, choice)| choice.component(named).map_err(|e| named.blamed(e)));
        let components = components.collect::<Result<Vec<_>>>()?;
        expect(if self.order == Order::Sequential { Access::Scan } else { Access::Random });
        let (batch, views, partners, tail, seed) = (self.batch, self.views, self.partners, self.tail, self.seed);
        let mixing = if self.sources.is_empty() {
            None
        } else {
            if components.iter().all(|component| component.samples() == 0) {
                let help = "see split, where, fold and subset, of the recipe and of each source";
                return Err(Error::config("mixture: no source has a row that is chosen", help));
            }
            let bound = self.sources.iter().zip(&components).map(|((name, source), component)| {
                let samples = component.samples();
                (name.clone(), source.weight.unwrap_or(samples as f64), samples)
            });
            Some(self.mixture.bind(&bound.collect::<Vec<_>>(), (batch / self.group()) as u64)?)
        };
        let batching = self.batching(&datasets, registry)?.map(Arc::new);
        let feeds = self.feeds(datasets, registry)?;
        let digest = self.digest(&feeds[0].columns, registry)?;
        let partners_from =
            self.partners_from.as_ref().and_then(|from| self.sources.keys().position(|name| name == from));
        if let Some(from) = partners_from.filter(|from| components[*from].samples() == 0) {
            let what = format!("partners_from: source {:?} has no row that is chosen", self.sources.keys().nth(from));
            return Err(Error::config(what, "see split, where, fold and subset, of the recipe and of the source"));
        }
        let sequence = Sequence { components, mixing, batching, batch, views, partners, partners_from, tail, seed };
        Loader::new(feeds, sequence, self.limits, self.errors, self.run.clone(), digest)
    }

    /// This recipe, with what a source says of the choice of its rows.
    fn of_source(&self, source: &SourceRecipe) -> Recipe {
        Recipe {
            split: source.split.clone().or_else(|| self.split.clone()),
            filter: source.filter.clone().or_else(|| self.filter.clone()),
            fold: source.fold.clone().or_else(|| self.fold.clone()),
            subset: source.subset.clone().or_else(|| self.subset.clone()),
            balance: source.balance.clone().or_else(|| self.balance.clone()),
            ..self.clone()
        }
    }

    /// What of a dataset is wanted.
    fn component(&self, named: &Named<'_>) -> Result<Component> {
        let (dataset, schema) = (&named.dataset, named.renamed());
        let rows = self.rows(dataset, &schema)?;
        // Groups are runs of storage: the fewer of its rows are chosen, the fewer are in one.
        let all: u64 = dataset.index().ranges(self.split.as_deref()).iter().map(|range| range.end - range.start).sum();
        let mean = u128::from(dataset.index().mean_row()) * u128::from(all) / u128::from(rows.len().max(1));
        let window = self.window.of_rows(u64::try_from(mean).unwrap_or(u64::MAX));
        let balance = self.balance.as_ref().map(|balance| balanced(balance, &rows, dataset, &schema)).transpose()?;
        Ok(Component { name: named.name.map(str::to_owned), rows, balance, order: self.order, window })
    }

    /// The rows of the split that condition, fold and subset leave. Each of these looks at all rows that the one before left.
    fn rows(&self, dataset: &Dataset, schema: &Schema) -> Result<Rows> {
        let index = dataset.index();
        let mut rows = Rows::new(index.ranges(self.split.as_deref()));
        if let Some(filter) = &self.filter {
            let filter = Filter::parse(filter)?.bind(schema)?;
            rows = rows.choose(|row| filter.holds(&index.row(row)));
        }
        if let Some(fold) = &self.fold {
            rows = fold.choose(&rows, index, schema)?;
        }
        if let Some(subset) = &self.subset {
            rows = subset.choose(&rows, index);
        }
        Ok(rows)
    }

    fn column(
        &self,
        index: usize,
        name: &str,
        dataset: &Named<'_>,
        recipe: &ColumnRecipe,
        registry: &Registry,
    ) -> Result<OutColumn> {
        let schema = dataset.dataset.schema();
        let (name, feature) = (name.to_owned(), &schema.columns[index].feature);
        if let Some(of) = &recipe.of
            && !matches!(feature, Feature::Objects(_))
        {
            return Err(Error::config(
                format!("column {name:?} ({}) is of {of:?}", feature.name()),
                "`of` names the picture that objects are in: leave it away here",
            ));
        }
        if !feature.is_payload() {
            if recipe.raw || !recipe.ops.is_empty() {
                return Err(Error::config(
                    format!("column {name:?} ({}) has operations", feature.name()),
                    "operations work on media; this column is delivered as it is (objects follow those of their picture)",
                ));
            }
            if let Feature::Objects(of) = feature {
                let picture = self.picture(&name, dataset, recipe)?;
                return Ok(OutColumn::Objects {
                    name,
                    index: Some(index),
                    of: Arc::new(of.clone()),
                    picture,
                    joined: None,
                });
            }
            let dtype = match feature {
                Feature::Float => DType::F64,
                Feature::Bool => DType::Bool,
                _ => DType::I64,
            };
            let class = matches!(feature, Feature::ClassLabel { .. });
            return Ok(OutColumn::Values { name, index: Some(index), dtype, class, joined: None });
        }
        let work = if recipe.raw {
            Work::Bytes
        } else {
            Work::Chain(Box::new(Chain::stored(feature, self.ops(&name, recipe, registry)?, self.fuse)?))
        };
        Ok(OutColumn::Media { name, index: Some(index), work })
    }
}

impl Recipe {
    /// The column of the picture that a column of objects is in: the one that the recipe names, else the only one.
    fn picture(&self, name: &str, dataset: &Named<'_>, recipe: &ColumnRecipe) -> Result<Option<usize>> {
        let columns = &dataset.dataset.schema().columns;
        let pictures: Vec<usize> = (0..columns.len()).filter(|at| columns[*at].feature == Feature::Image).collect();
        let names = || pictures.iter().map(|at| columns[*at].name.as_str()).collect::<Vec<_>>().join(", ");
        let objects = dataset.position(name).map(|at| &columns[at].feature);
        let of_parts = matches!(objects, Some(Feature::Objects(of)) if of.boxes == BoxFormat::CxcywhNormalized);
        match (&recipe.of, pictures.as_slice()) {
            (Some(of), _) => {
                let at = dataset.position(of).filter(|at| pictures.contains(at));
                at.map(Some).ok_or_else(|| {
                    Error::config(
                        format!("column {name:?} is of {of:?}, which is no column of pictures"),
                        format!("there are: {}", names()),
                    )
                })
            }
            (None, []) if of_parts => Err(Error::config(
                format!("column {name:?}: its boxes are parts of a picture, and there is no column of pictures"),
                "leave the column out, or open the dataset with its pictures",
            )),
            (None, []) => Ok(None),
            (None, [one]) => Ok(Some(*one)),
            (None, _) => Err(Error::config(
                format!("column {name:?}: its objects are in one of {}", names()),
                format!("say in which: columns.{name} = {{ of = \"{}\" }}", columns[pictures[0]].name),
            )),
        }
    }
}

/// Counts the classes of a column.
fn balanced(balance: &Balance, rows: &Rows, dataset: &Dataset, schema: &Schema) -> Result<Balanced> {
    let columns = &schema.columns;
    let class = |feature: &Feature| match feature {
        Feature::ClassLabel { names } => Some(names.clone()),
        _ => None,
    };
    let found = columns.iter().enumerate().find(|(_, column)| column.name == balance.by);
    let Some((at, names)) = found.and_then(|(at, column)| Some((at, class(&column.feature)?))) else {
        let classes: Vec<&str> =
            columns.iter().filter(|c| class(&c.feature).is_some()).map(|c| c.name.as_str()).collect();
        let there =
            if classes.is_empty() { "there is none".to_owned() } else { format!("there are: {}", classes.join(", ")) };
        return Err(Error::config(format!("balance: there is no column of classes {:?}", balance.by), there));
    };
    Balanced::new(balance, rows, dataset.index(), at, &names)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_recipe_reads_the_same_from_toml_and_json() {
        let toml: Recipe = toml::from_str(
            r#"
            split = "train"
            batch = 8
            tail = "pad"
            [columns.image]
            ops = [{ op = "resize", size = 32 }, { op = "to", layout = "nchw" }]
            [columns.label]
            [run]
            threads = 2
            world = { rank = 1, size = 3 }
            "#,
        )
        .unwrap();
        let again: Recipe = serde_json::from_str(&serde_json::to_string(&toml).unwrap()).unwrap();
        assert_eq!(again, toml);
        assert_eq!(toml.columns["image"].ops[0].params["size"], 32);
        assert_eq!((toml.run.world.rank, toml.tail), (1, Tail::Pad));
    }

    #[test]
    fn wrong_recipes_name_the_field() {
        let wrong = |text: &str, part: &str| {
            let message = match toml::from_str::<Recipe>(text) {
                Err(e) => e.to_string(),
                Ok(recipe) => recipe.validate().unwrap_err().to_string(),
            };
            assert!(message.contains(part), "{text}: {message}");
        };
        wrong("bach = 3", "bach");
        wrong("batch = 0", "batch = 0");
        wrong("batch = 9\nviews = 2", "batch = 9 of views = 2");
        wrong("views = 0", "views = 0");
        wrong("batch = 4\npartners = 2", "batch = 4 of views = 1 and partners = 2");
        wrong("partners_from = \"noise\"", "partners_from");
        wrong("batch = 4\npartners = 1\npartners_from = \"noise\"", "no source \"noise\"");
        wrong("batch = 4\npartners = 1\nbucket = { by = \"audio.count\" }", "partners");
        wrong("order = \"windowed\"\nbalance = { by = \"label\", power = 1.0 }", "not shuffled");
        wrong("run = { world = { rank = 2, size = 2 } }", "rank 2 of a world of 2");
        wrong("columns.image.ops = [{ op = \"resise\", size = 3 }]", "resise");
        wrong("columns.image = { raw = true, ops = [{ op = \"resize\", size = 3 }] }", "raw");
    }
}
