//! Tables called `metadata` in the folders of a root, as `datasets` (5.2) has them for ImageFolder, AudioFolder and VideoFolder: `metadata.csv` or
//! `metadata.jsonl` with a column `file_name`, or several that end in `_file_name`, each of which is a column of media.
//!
//! What is done otherwise: a table above the folders of the splits is read, too (there it is the one manifest of the root), files that no row names are
//! counted, and a file that a row names and that is not there refuses the row.

use std::path::{Path, PathBuf};

use super::read::{self, Table};
use super::{Named, PATHS, Sheet};
use crate::data::record::row_key;
use crate::error::{Error, Result};
use crate::source::walk::Files;
use crate::source::{Evidence, Lister, Look, SourceOptions, SplitDirs, labels, pictures, walk};

/// What such a table is called, but for the ending.
const CALLED: &str = "metadata";
/// What the column of a further file ends in.
const ENDS: &str = "_file_name";

/// What the media are called that a column of paths is of, if it is one of several.
pub(super) fn further(column: &str) -> Option<String> {
    column.trim().strip_suffix(ENDS).filter(|name| !name.is_empty()).map(str::to_owned)
}

fn is(relative: &str) -> bool {
    read::is(relative) && relative.contains('/') && pictures::parts(relative).1 == CALLED
}

/// The first of a look.
pub(super) fn first(look: &Look) -> Option<&str> {
    look.files.iter().map(|f| f.relative.as_str()).find(|relative| is(relative))
}

/// What speaks for a root being such a folder.
pub(super) fn detect(root: &Path, look: &Look) -> Option<Evidence> {
    let name = first(look)?;
    let columns = read::columns(look.tree(), &root.join(name)).ok()?;
    let column =
        columns.iter().find(|c| PATHS.contains(&c.trim().to_ascii_lowercase().as_str()) || further(c).is_some())?;
    Some(Evidence::new(82, format!("{name} has a column {column:?}")))
}

/// The tables below a root, as one, and all files that are there.
pub(super) fn sheets(
    root: &Path,
    options: &SourceOptions,
    lister: &mut Lister<'_>,
) -> Result<(PathBuf, Vec<Sheet>, Files)> {
    let tree = lister.tree().clone();
    let base = tree.canonicalize(root).map_err(|e| Error::io(root, "open", e))?;
    let files = walk::scan(&base, lister)?.files;
    let mut sheets = Vec::new();
    for found in files.iter().filter(|found| is(&found.relative)) {
        let dir = pictures::parts(&found.relative).0.to_owned();
        let split = match options.split_dirs {
            SplitDirs::Auto => dir.split('/').find_map(labels::split_of).map(str::to_owned),
            SplitDirs::No => None,
            SplitDirs::Yes => Some(labels::split_name(dir.split('/').next().unwrap_or(&dir)).map_err(|fault| {
                let help = "say --split-dirs no, or give the table itself";
                Error::config(format!("{}: {}", found.relative, fault.message), help)
            })?),
        };
        let split = split.map_or_else(|| labels::default_split(options), Ok)?;
        sheets.push(Sheet {
            table: Table::open(&tree, &found.path, &found.relative)?,
            name: found.relative,
            dir,
            split,
        });
    }
    Ok((base, sheets, files))
}

/// Says how many files no row names: `datasets` leaves them out in silence.
pub(super) fn tell_others(files: &Files, named: &Named, lister: &mut Lister<'_>) -> Result<()> {
    let (mut count, mut first) = (0u64, None);
    for found in files.iter() {
        lister.step()?;
        if !is(&found.relative) && !named.contains_key(&row_key(&found.relative)) {
            count += 1;
            first.get_or_insert(found.relative);
        }
    }
    if let Some(first) = first {
        lister.note(format!("{count} files are named by no row of the metadata and were not read: {first:?}, .."));
    }
    Ok(())
}
