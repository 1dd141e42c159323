//! Rows that are there twice, out: by a rule, which is asked again of a version that another writer committed meanwhile.

use serde::Serialize;

use super::remove::{Removed, remove_chosen};
use crate::data::record::row_key;
use crate::duplicates::{DuplicateOptions, Report, ReportOptions, Watch, find};
use crate::error::{Error, Result};
use crate::spool::Sorter;
use crate::store::Store;

/// What [`drop_duplicates`] did.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Deduplicated {
    /// What was found in the version before.
    pub found: Report,
    /// What became of the rows that go.
    pub removed: Removed,
}

/// Takes the surplus rows of each group of duplicates out, as [`super::remove()`] does and with its proof, and commits the version without them. Another writer's rows
/// that come meanwhile are looked at, too: a row goes only for one that is in the same version.
///
/// # Errors
/// Those of [`find`] and [`super::remove()`]; [`Error::Config`] for a dataset that was written by others.
pub fn drop_duplicates(
    store: &Store,
    options: &DuplicateOptions,
    told: &ReportOptions,
    dry_run: bool,
    watch: Watch<'_>,
) -> Result<Deduplicated> {
    options.validate()?;
    let mut found = None;
    let removed = remove_chosen(store, dry_run, &mut |old| {
        let mut named = Sorter::new(&old.spill);
        let report = find(&old.dataset, options, watch)?.report(told, watch, &mut |row| {
            let id = old.dataset.index().row(u64::from(row)).id();
            named.push(&row_key(id).to_be_bytes(), id.as_bytes())
        })?;
        found = Some(report);
        named.finish()
    })?;
    let found = found.ok_or_else(|| Error::library("dropping duplicates", "no version was looked at"))?;
    Ok(Deduplicated { found, removed })
}
