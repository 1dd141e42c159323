//! What is exported: of which rows, by which columns.

use std::collections::HashSet;

use super::ExportOptions;
use crate::data::feature::Feature;
use crate::data::info::Kind;
use crate::data::objects::ObjectsType;
use crate::dataset::Dataset;
use crate::error::{Error, Result};
use crate::spool::Spill;

/// What a format is asked to write.
pub(super) struct Asked<'a> {
    pub(super) dataset: &'a Dataset,
    /// The column of media.
    pub(super) media: usize,
    pub(super) objects: Option<(usize, &'a ObjectsType)>,
    pub(super) label: Option<usize>,
    pub(super) splits: Vec<String>,
    pub(super) spill: Spill,
}

impl<'a> Asked<'a> {
    /// What the options come to for a dataset.
    ///
    /// # Errors
    /// [`Error::Config`]: no such column or split, none with media.
    pub(super) fn of(dataset: &'a Dataset, options: &ExportOptions) -> Result<Self> {
        let columns = &dataset.schema().columns;
        let find = |name: &Option<String>, what: &str, is: &dyn Fn(&Feature) -> bool| -> Result<Option<usize>> {
            let Some(name) = name else { return Ok(columns.iter().position(|c| is(&c.feature))) };
            let there: Vec<&str> = columns.iter().filter(|c| is(&c.feature)).map(|c| c.name.as_str()).collect();
            match columns.iter().position(|c| c.name == *name && is(&c.feature)) {
                Some(at) => Ok(Some(at)),
                None => Err(Error::config(
                    format!("{} has no column {name:?} of {what}", dataset.root().display()),
                    if there.is_empty() { "it has none".to_owned() } else { format!("it has {}", there.join(", ")) },
                )),
            }
        };
        let media = match find(&options.media, "media", &|f| f.is_media() || *f == Feature::Text)? {
            // Pictures before their captions.
            Some(at) if options.media.is_none() => columns.iter().position(|c| c.feature.is_media()).unwrap_or(at),
            Some(at) => at,
            None => {
                let what = format!("{} has no column of media", dataset.root().display());
                return Err(Error::config(what, "pictures, recordings, clips and texts are exported"));
            }
        };
        let objects = find(&options.objects, "objects", &|f| matches!(f, Feature::Objects(_)))?;
        let objects = objects.and_then(|at| match &columns[at].feature {
            Feature::Objects(of) => Some((at, of)),
            _ => None,
        });
        let label = match options.label {
            // Not where rows come from.
            None => dataset.schema().label(),
            Some(_) => find(&options.label, "classes", &|f| matches!(f, Feature::ClassLabel { .. }))?,
        };
        options.splits.iter().try_for_each(|split| dataset.has_split(split))?;
        let mut splits: Vec<String> = match options.splits.is_empty() {
            true => dataset.splits().keys().cloned().collect(),
            false => options.splits.clone(),
        };
        let mut named = HashSet::new();
        splits.retain(|split| named.insert(split.clone()));
        Ok(Asked { dataset, media, objects, label, splits, spill: Spill::temporary() })
    }
}

impl Asked<'_> {
    /// A column by name.
    pub(super) fn column(&self, name: &str) -> Option<usize> {
        self.dataset.schema().position(name)
    }

    /// A column of texts by name.
    pub(super) fn text(&self, name: &str) -> Option<usize> {
        self.column(name).filter(|at| matches!(self.dataset.schema().columns[*at].feature, Feature::Text))
    }

    /// A note of the columns that are none of these, if there are such.
    pub(super) fn unsaid(&self, said: &[usize]) -> Option<String> {
        let columns = self.dataset.schema().columns.iter().enumerate();
        let others: Vec<&str> = columns.filter(|(at, _)| !said.contains(at)).map(|(_, c)| c.name.as_str()).collect();
        no_place("left out", &others)
    }

    /// The objects, or an error that says what the format wants.
    pub(super) fn objects(&self, format: &str) -> Result<(usize, &ObjectsType)> {
        self.objects.ok_or_else(|| {
            let what = format!("{} has no column of objects", self.dataset.root().display());
            Error::config(what, format!("{format} is a format for boxes: --format jsonl takes any columns"))
        })
    }

    /// Only pictures have a place in formats of boxes.
    pub(super) fn pictures(&self, format: &str) -> Result<()> {
        let column = &self.dataset.schema().columns[self.media];
        if column.feature.kind() == Some(Kind::Image) {
            return Ok(());
        }
        Err(Error::config(
            format!("{format} is of pictures, and {:?} is none", column.name),
            "--media names the column of pictures",
        ))
    }
}

/// A note of what a format cannot say; none if there is nothing.
pub(super) fn no_place(what: &str, names: &[&str]) -> Option<String> {
    (!names.is_empty()).then(|| format!("{what}, as the format has no place for it: {}", names.join(", ")))
}

/// What the file of a split is called: as the tools call it that the formats are from.
pub(super) fn short(split: &str) -> &str {
    if split == "validation" { "val" } else { split }
}

/// A note of splits that a format's readers do not look for.
pub(super) fn odd_splits(splits: &[String]) -> Option<String> {
    let odd: Vec<&str> =
        splits.iter().map(String::as_str).filter(|s| !["train", "validation", "test"].contains(s)).collect();
    (!odd.is_empty()).then(|| format!("readers of the format look for train, val and test: not for {}", odd.join(", ")))
}
