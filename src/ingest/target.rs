//! Where a dataset may be written.

use std::path::{Path, PathBuf};

use crate::error::{Error, Result};

/// What may lie in a folder that becomes a dataset: what a fresh repository has.
const WELCOME: &[&str] = &["README.md", "LICENSE", "LICENSE.md", "LICENSE.txt", "dsctl.toml"];

/// Refuses a target that is neither a dataset nor empty, and one that lies within its source or the other way round.
pub(super) fn check(source: &Path, dataset: &Path) -> Result<()> {
    folder(dataset)?;
    let (from, to) = (real(source)?, real(dataset)?);
    let inside = |what: &str| {
        Err(Error::config(
            format!("{what}: {} and {}", dataset.display(), source.display()),
            "give the dataset a folder of its own, beside the source",
        ))
    };
    if from == to {
        return inside("the dataset is its own source");
    }
    if from.is_dir() && to.starts_with(&from) {
        return inside("the dataset would lie within its source");
    }
    if from.starts_with(&to) {
        return inside("the source lies within the dataset");
    }
    Ok(())
}

/// Refuses a target that is neither a dataset nor empty.
pub(super) fn folder(dataset: &Path) -> Result<()> {
    let meta = match std::fs::metadata(dataset) {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        other => other.map_err(|e| Error::io(dataset, "open", e))?,
    };
    if !meta.is_dir() {
        return Err(Error::config(
            format!("{} is a file, a dataset is a folder", dataset.display()),
            "name a folder that is new, empty, or a dataset",
        ));
    }
    if dataset.join(".dsctl").is_dir() {
        return Ok(());
    }
    let mut others = Vec::new();
    for child in std::fs::read_dir(dataset).map_err(|e| Error::io(dataset, "list", e))? {
        let name = child.map_err(|e| Error::io(dataset, "list", e))?.file_name().to_string_lossy().into_owned();
        if !name.starts_with('.') && !WELCOME.contains(&name.as_str()) {
            others.push(name);
        }
    }
    others.sort();
    match others.as_slice() {
        [] => Ok(()),
        [first, rest @ ..] => {
            let more = if rest.is_empty() { String::new() } else { format!(" and {} more", rest.len()) };
            Err(Error::config(
                format!("{} is not a dataset and not empty: it holds {first:?}{more}", dataset.display()),
                "name a folder that is new, empty, or a dataset",
            ))
        }
    }
}

/// The path without links, also of what is not there yet.
fn real(path: &Path) -> Result<PathBuf> {
    let absolute = std::path::absolute(path).map_err(|e| Error::io(path, "resolve", e))?;
    let mut rest = Vec::new();
    for above in absolute.ancestors() {
        match above.canonicalize() {
            Ok(real) => return Ok(rest.iter().rev().fold(real, |path, name| path.join(name))),
            Err(_) => rest.extend(above.file_name()),
        }
    }
    Ok(absolute)
}
