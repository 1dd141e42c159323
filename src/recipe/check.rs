//! What of a recipe can be checked without a dataset, and without building an operation.

use super::Recipe;
use crate::error::{Error, Result};
use crate::plan::{Balance, Bucket, Filter, Fold, Mixture, Order, Subset};

impl Recipe {
    /// What can be checked without building an operation.
    pub(super) fn check(&self) -> Result<()> {
        if self.batch == 0 {
            return Err(Error::config("batch = 0", "a batch has at least one sample"));
        }
        if self.views == 0 || !self.batch.is_multiple_of(self.group()) {
            let partners = if self.partners > 0 { format!(" and partners = {}", self.partners) } else { String::new() };
            return Err(Error::config(
                format!("batch = {} of views = {}{partners}", self.batch, self.views),
                "a batch holds all views and partners of its samples: make it a multiple of them",
            ));
        }
        self.run.world.validate()?;
        self.check_forming()?;
        self.mixture.validate()?;
        self.check_choice()?;
        for (name, source) in &self.sources {
            self.of_source(source).check_choice().map_err(|error| match error {
                Error::Config { what, help } => Error::config(format!("source {name:?}: {what}"), help),
                other => other,
            })?;
        }
        let weighted = self.sources.values().filter(|source| source.weight.is_some()).count();
        if weighted != 0 && weighted != self.sources.len() {
            let without = self.sources.iter().find(|(_, source)| source.weight.is_none()).map(|(name, _)| name);
            return Err(Error::config(
                format!("source {:?} has no weight, and others have", without.map_or("", String::as_str)),
                "give every source one, or none: then each has its number of samples",
            ));
        }
        if self.sources.is_empty() && self.mixture != Mixture::default() {
            return Err(Error::config("a mixture without sources", "name them: [sources.NAME] dataset = \"..\""));
        }
        for (name, column) in &self.columns {
            if column.raw && !column.ops.is_empty() {
                return Err(Error::config(
                    format!("column {name:?} is raw and has operations"),
                    "operations work on decoded media: drop one of the two",
                ));
            }
        }
        Ok(())
    }

    /// Places of each sample.
    pub(super) fn group(&self) -> usize {
        self.views.saturating_add(self.partners)
    }

    /// What can be checked of how batches are formed.
    fn check_forming(&self) -> Result<()> {
        if let Some(from) = &self.partners_from {
            if self.partners == 0 {
                let help = "say how many partners each sample has: partners = 1";
                return Err(Error::config(format!("partners_from = {from:?}, and no partners"), help));
            }
            if !self.sources.contains_key(from) {
                let names: Vec<&str> = self.sources.keys().map(String::as_str).collect();
                let help = if names.is_empty() {
                    "name datasets: [sources.NAME] dataset = \"..\"".to_owned()
                } else {
                    format!("the sources are: {}", names.join(", "))
                };
                return Err(Error::config(format!("partners_from: there is no source {from:?}"), help));
            }
        }
        if self.partners > 0 && (self.bucket.is_some() || self.pack.is_some()) {
            let help = "partners are drawn from the whole epoch, whatever their length: leave out one of the two";
            return Err(Error::config("partners, and beside them bucket or pack", help));
        }
        self.bucket.as_ref().map_or(Ok(()), Bucket::validate)?;
        if !self.mixture.phases.is_empty() && (self.bucket.is_some() || self.pack.is_some()) {
            let help = "a phase begins with a batch, and which samples are before it is not known where batches are formed by length";
            return Err(Error::config("phases of a mixture, and beside them bucket or pack", help));
        }
        let Some(pack) = &self.pack else { return Ok(()) };
        pack.validate()?;
        if self.bucket.is_some() || self.views != 1 {
            let help = "rows of packed sequences are of one length, and tokens have nothing that views could draw: leave out the other";
            return Err(Error::config("pack, and beside it bucket or views", help));
        }
        match self.columns.keys().find(|name| **name != pack.column) {
            Some(name) => Err(Error::config(
                format!("pack delivers {:?} alone, and the recipe has a column {name:?}", pack.column),
                "a row holds several samples, so that other columns have no place in it: leave them out",
            )),
            None => Ok(()),
        }
    }

    /// What can be checked of the choice of rows.
    fn check_choice(&self) -> Result<()> {
        self.filter.as_deref().map(Filter::parse).transpose()?;
        self.fold.as_ref().map_or(Ok(()), Fold::validate)?;
        self.subset.as_ref().map_or(Ok(()), Subset::validate)?;
        self.balance.as_ref().map_or(Ok(()), Balance::validate)?;
        if self.balance.is_some() && self.order != Order::Shuffle {
            return Err(Error::config(
                "balance in an order that is not shuffled",
                "rows that come again have no place in the order of storage: leave order = \"shuffle\"",
            ));
        }
        Ok(())
    }
}
