//! What the columns of a manifest are: paths, the class, the split, text.

use super::metadata;
use super::read::Columns;
use crate::error::{Error, Result};
use crate::source::SourceOptions;
use crate::source::labels::LABELS;

/// Columns that hold the path, unless told.
pub(super) const PATHS: &[&str] = &["file_name", "path", "file", "image", "audio", "video", "audio_filepath"];
/// The column that holds the split.
const SPLIT: &str = "split";
/// The column that holds the record where there is no path.
pub(super) const TEXT: &str = "text";

/// Which column is what.
#[derive(Debug)]
pub(super) struct Roles {
    pub path: Option<usize>,
    /// What the column of its media is called, where not as their kind.
    pub media: Option<String>,
    /// Columns of paths of further media, with what their columns are called.
    pub further: Vec<(usize, String)>,
    pub label: Option<usize>,
    pub split: Option<usize>,
    pub text: Option<usize>,
}

impl Roles {
    /// Finds them: as told, else by what columns are usually called.
    pub(super) fn of(manifest: &str, columns: &Columns, options: &SourceOptions) -> Result<Roles> {
        let exact = |flag: &str, name: &str| {
            columns.names.iter().position(|c| c == name).ok_or_else(|| {
                Error::config(
                    format!("{manifest}: {flag} {name:?} is no column"),
                    format!("the columns are: {}", columns.names.join(", ")),
                )
            })
        };
        let first = |names: &[&str]| {
            names.iter().find_map(|n| columns.names.iter().position(|c| c.trim().eq_ignore_ascii_case(n)))
        };
        let mut further: Vec<(usize, String)> =
            columns.names.iter().enumerate().filter_map(|(i, name)| Some((i, metadata::further(name)?))).collect();
        let mut media = None;
        let path = match &options.path_column {
            Some(name) => Some(exact("--path-column", name)?),
            None => first(PATHS).or_else(|| {
                let (path, name) = further.first().cloned()?;
                media = Some(name);
                Some(path)
            }),
        };
        further.retain(|(i, _)| path.is_some_and(|path| path != *i));
        let label = match &options.label_column {
            Some(name) => Some(exact("--label-column", name)?),
            None => first(LABELS).filter(|l| Some(*l) != path),
        };
        let text = first(&[TEXT]).filter(|t| Some(*t) != label);
        if path.is_none() && text.is_none() {
            return Err(Error::config(
                format!("{manifest}: no column holds a path or text"),
                format!("say --path-column; the columns are: {}", columns.names.join(", ")),
            ));
        }
        let split = first(&[SPLIT]).filter(|s| Some(*s) != path && Some(*s) != label);
        Ok(Roles { path, media, further, label, split, text })
    }
}
