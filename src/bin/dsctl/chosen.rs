//! The flags by which verbs that plan batches are told of which dataset, and how.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::Args;
use feedstock::Error;
use feedstock::loader::{Loader, OnError};
use feedstock::plan::{Balance, Bucket, Fold, Order, Pack, Subset, Tail};
use feedstock::recipe::Recipe;
use serde_json::json;

use crate::{Global, output};

/// A dataset, and what of it is wanted in which order. What no flag says, the recipe does.
#[derive(Debug, Args)]
pub(crate) struct Chosen {
    /// A dataset, a folder of Parquet files, or a raw class folder. Left out where the recipe names sources ([sources.NAME]).
    dataset: Option<PathBuf>,
    /// The recipe (TOML). Without one every column is delivered, media decoded and otherwise as they are.
    #[arg(long, value_name = "FILE", env = "DSCTL_RECIPE")]
    recipe: Option<PathBuf>,
    /// Another version than the latest.
    #[arg(long, value_name = "V")]
    version: Option<u64>,
    /// This process among those that share the epoch (from 0).
    #[arg(long, value_name = "R", env = "DSCTL_RANK")]
    rank: Option<u64>,
    /// How many processes share the epoch.
    #[arg(long, value_name = "W", env = "DSCTL_WORLD")]
    world: Option<u64>,
    /// The split to run over.
    #[arg(long)]
    split: Option<String>,
    /// Only rows of which this holds, in place of the recipe's condition: 'label in ["cat", "dog"] and image.width >= 64'.
    #[arg(long = "where", value_name = "CONDITION")]
    filter: Option<String>,
    /// All rows but those of one part of several: 0/5.
    #[arg(long, value_name = "PART/PARTS", value_parser = fold)]
    hold_out: Option<(u32, u32)>,
    /// Only the rows of one part of several: 0/5.
    #[arg(long, value_name = "PART/PARTS", value_parser = fold, conflicts_with = "hold_out")]
    only_fold: Option<(u32, u32)>,
    /// A sample of the rows: how many (1000), or about which share (0.1).
    #[arg(long, value_name = "ROWS|SHARE", value_parser = subset)]
    subset: Option<Subset>,
    /// Classes of this column come equally often, as far as the recipe's cap lets them (a recipe can say more: weights, power).
    #[arg(long, value_name = "COLUMN")]
    balance: Option<String>,
    /// Places of a batch: samples, and views of them.
    #[arg(long, value_name = "N")]
    batch: Option<usize>,
    /// Samples of like length in one batch: by samples of audio, tokens, pixels, or a column (audio.count, tokens.count, image.pixels).
    #[arg(long, value_name = "LENGTH", conflicts_with = "pack")]
    bucket: Option<String>,
    /// Token sequences, stored or counted, several in a row of so many tokens; --batch is rows then.
    #[arg(long, value_name = "COLUMN:LENGTH", value_parser = pack)]
    pack: Option<Pack>,
    /// Views of each sample in a batch, each with draws of its own.
    #[arg(long, value_name = "N")]
    views: Option<usize>,
    /// Other samples behind each one's views, to be mixed with it (MixUp: 1, mosaic: 3).
    #[arg(long, value_name = "N")]
    partners: Option<usize>,
    /// The seed.
    #[arg(long)]
    seed: Option<u64>,
    /// The order of the rows: sequential, shuffle or windowed.
    #[arg(long, value_parser = order)]
    order: Option<Order>,
    /// What happens to a sample that cannot be read: fail, or substitute (another stands in its slot, the same on any rank).
    #[arg(long, value_parser = on_error)]
    errors: Option<OnError>,
    /// What happens to the last batches: drop, pad or repeat.
    #[arg(long, value_parser = tail)]
    tail: Option<Tail>,
}

fn tail(text: &str) -> Result<Tail, String> {
    serde_json::from_value(json!(text)).map_err(|_| "drop, pad or repeat".to_owned())
}

fn on_error(text: &str) -> Result<OnError, String> {
    serde_json::from_value(json!(text)).map_err(|_| "fail or substitute".to_owned())
}

fn order(text: &str) -> Result<Order, String> {
    serde_json::from_value(json!(text)).map_err(|_| "sequential, shuffle or windowed".to_owned())
}

fn pack(text: &str) -> Result<Pack, String> {
    let parts = text.rsplit_once(':').and_then(|(column, length)| Some((column.to_owned(), length.parse().ok()?)));
    let pack = parts.map(|(column, length)| Pack { column, length, ..Pack::default() });
    pack.filter(|pack| pack.validate().is_ok())
        .ok_or_else(|| "a column and the tokens of a row: tokens:2048".to_owned())
}

fn fold(text: &str) -> Result<(u32, u32), String> {
    let parts = text.split_once('/').and_then(|(part, of)| Some((part.trim().parse().ok()?, of.trim().parse().ok()?)));
    parts.ok_or_else(|| "a part and how many there are: 0/5".to_owned())
}

fn subset(text: &str) -> Result<Subset, String> {
    let subset = match text.parse() {
        Ok(rows) => Subset { rows: Some(rows), ..Subset::default() },
        Err(_) => Subset { share: text.parse().ok(), ..Subset::default() },
    };
    subset.validate().map(|()| subset).map_err(|_| "a number of rows (1000), or a share of them (0.1)".to_owned())
}

impl Chosen {
    /// The recipe, as the flags change it.
    pub(crate) fn recipe(&self) -> Result<Recipe, Error> {
        match &self.recipe {
            Some(path) => self.read(path),
            None => Ok(self.changed(Recipe::default())),
        }
    }

    /// A recipe from a file, as the flags change it. Its sources' relative paths are from its folder.
    pub(crate) fn read(&self, path: &Path) -> Result<Recipe, Error> {
        let mut recipe: Recipe = crate::read_toml(path)?;
        let folder = path.parent().unwrap_or(Path::new("."));
        recipe.sources.values_mut().for_each(|source| source.dataset = folder.join(&source.dataset));
        Ok(self.changed(recipe))
    }

    /// A recipe as the flags change it.
    pub(crate) fn changed(&self, mut recipe: Recipe) -> Recipe {
        recipe.run.world.rank = self.rank.unwrap_or(recipe.run.world.rank);
        recipe.run.world.size = self.world.unwrap_or(recipe.run.world.size);
        // A flag counts for every source, also for one that says otherwise.
        for source in recipe.sources.values_mut() {
            source.split = source.split.take().filter(|_| self.split.is_none());
            source.filter = source.filter.take().filter(|_| self.filter.is_none());
            source.fold = source.fold.take().filter(|_| self.hold_out.is_none() && self.only_fold.is_none());
            source.subset = source.subset.take().filter(|_| self.subset.is_none());
            source.balance = source.balance.take().filter(|_| self.balance.is_none());
        }
        recipe.split = self.split.clone().or(recipe.split);
        recipe.filter = self.filter.clone().or(recipe.filter);
        if let Some((part, of)) = self.hold_out.or(self.only_fold) {
            // Column and seed are the recipe's, so that a flag goes through its folds.
            let fold = recipe.fold.take().unwrap_or_default();
            let (hold_out, only) = if self.hold_out.is_some() { (Some(part), None) } else { (None, Some(part)) };
            recipe.fold = Some(Fold { of, hold_out, only, ..fold });
        }
        if let Some(subset) = &self.subset {
            let seed = recipe.subset.map_or(0, |subset| subset.seed);
            recipe.subset = Some(Subset { seed, ..subset.clone() });
        }
        if let Some(column) = &self.balance {
            let cap = recipe.balance.and_then(|balance| balance.cap);
            recipe.balance = Some(Balance { by: column.clone(), power: Some(1.0), cap, ..Balance::default() });
        }
        if let Some(by) = &self.bucket {
            // Bounds of another length would mean nothing.
            let own = recipe.bucket.take().filter(|bucket| bucket.by == *by);
            recipe.bucket = Some(own.unwrap_or_else(|| Bucket { by: by.clone(), ..Bucket::default() }));
            recipe.pack = None;
        }
        if let Some(pack) = &self.pack {
            let Pack { fit, long, .. } = recipe.pack.take().unwrap_or_default();
            recipe.pack = Some(Pack { fit, long, ..pack.clone() });
            recipe.bucket = None;
        }
        recipe.batch = self.batch.unwrap_or(recipe.batch);
        recipe.views = self.views.unwrap_or(recipe.views);
        recipe.partners = self.partners.unwrap_or(recipe.partners);
        recipe.seed = self.seed.unwrap_or(recipe.seed);
        recipe.order = self.order.unwrap_or(recipe.order);
        recipe.tail = self.tail.unwrap_or(recipe.tail);
        recipe.errors = self.errors.unwrap_or(recipe.errors);
        recipe
    }

    /// The loader of a recipe over the dataset, or over the recipe's sources. What the datasets have to say goes to stderr.
    pub(crate) fn loader(&self, recipe: &Recipe, global: &Global) -> Result<Loader, Error> {
        recipe.validate()?;
        let loader = match (&self.dataset, recipe.sources.is_empty()) {
            (Some(path), _) => recipe.loader(Arc::new(crate::ls::open_at(path, self.version)?))?,
            (None, true) => {
                let help = "give DATASET, or a recipe with sources: [sources.NAME] dataset = \"..\"";
                return Err(Error::config("there is no dataset to read", help));
            }
            (None, false) if self.version.is_some() => {
                let help = "each source of a recipe says its own: [sources.NAME] version = 3";
                return Err(Error::config("--version for a mixture", help));
            }
            (None, false) => recipe.open()?,
        };
        for (feed, component) in loader.feeds().iter().zip(&loader.sequence().components) {
            let of = if feed.name.is_empty() { String::new() } else { format!("{}: ", feed.name) };
            for text in feed.dataset.notes() {
                output::note(global, format!("note: {of}{text}"));
            }
            if component.rows.is_empty() && feed.dataset.rows() > 0 {
                output::note(global, format!("note: {of}no row is chosen (see split, where, fold and subset)"));
            }
        }
        Ok(loader)
    }
}
