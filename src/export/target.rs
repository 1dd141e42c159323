//! The folder that an export becomes: written beside its place, and moved there at the end.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Component, Path, PathBuf};

use tempfile::TempDir;

use crate::error::{Error, Result};
use crate::spool::{Spill, Spool};

/// The folder that is being written.
pub(super) struct Folder {
    root: PathBuf,
    /// Files that grow from row to row, in memory or on disk until the end.
    lists: BTreeMap<String, Spool>,
    spill: Spill,
}

impl Folder {
    /// A new file. Two of one name are an error: rows must not write over each other.
    fn create(&self, relative: &str) -> Result<(PathBuf, File)> {
        let path = self.root.join(relative);
        if !Path::new(relative).components().all(|part| matches!(part, Component::Normal(_))) {
            return Err(Error::config(
                format!("{relative:?} leads out of the folder"),
                "rename what it is called by in the dataset",
            ));
        }
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent).map_err(|e| Error::io(parent, "make", e))?;
        }
        match File::options().write(true).create_new(true).open(&path) {
            Ok(file) => Ok((path, file)),
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists => Err(Error::config(
                format!("two rows are the file {relative}"),
                "the file system takes two names for one: export to another",
            )),
            Err(e) => Err(Error::io(&path, "make", e)),
        }
    }

    pub(super) fn put(&self, relative: &str, parts: &[&[u8]]) -> Result<()> {
        let (path, mut file) = self.create(relative)?;
        parts.iter().try_for_each(|part| file.write_all(part)).map_err(|e| Error::io(&path, "write", e))
    }

    /// Appends to a file that is written at the end.
    pub(super) fn append(&mut self, relative: &str, parts: &[&[u8]]) -> Result<()> {
        if !self.lists.contains_key(relative) {
            self.lists.insert(relative.to_owned(), Spool::new(&self.spill));
        }
        let Some(list) = self.lists.get_mut(relative) else { return Ok(()) };
        parts.iter().try_for_each(|part| list.push(part))
    }

    /// Whether the file system takes upper and lower case for the same.
    pub(super) fn folds(&self) -> Result<bool> {
        let (path, file) = self.create("case")?;
        drop(file);
        let folds = self.root.join("CASE").exists();
        fs::remove_file(&path).map_err(|e| Error::io(&path, "remove", e))?;
        Ok(folds)
    }
}

/// An export under way. If it does not come to its end, nothing of it stays.
pub(super) struct Target {
    pub(super) folder: Folder,
    made: TempDir,
    to: PathBuf,
}

impl Target {
    /// Begins one in a folder that is not there, or empty.
    ///
    /// # Errors
    /// [`Error::Config`]: there is something in it, or it cannot be replaced; what cannot be made.
    pub(super) fn new(to: &Path) -> Result<Self> {
        match fs::read_dir(to).map(|mut entries| entries.next().is_some()) {
            Ok(false) => {}
            Ok(true) => return Err(Error::config(format!("{} is not empty", to.display()), "name a new folder")),
            Err(e) if e.kind() == io::ErrorKind::NotFound => {}
            Err(e) => return Err(Error::io(to, "open", e)),
        }
        // Where a link leads, and what stands above `.`.
        let to = fs::canonicalize(to).unwrap_or_else(|_| to.to_owned());
        // It is replaced at the end: what cannot be is said before anything is written.
        if to.is_dir() {
            let is_here = std::env::current_dir().is_ok_and(|here| here.starts_with(&to));
            let gone = if is_here {
                Err("it is the folder that this is called in".to_owned())
            } else {
                fs::remove_dir(&to).and_then(|()| fs::create_dir(&to)).map_err(|e| e.to_string())
            };
            gone.map_err(|why| {
                Error::config(format!("{} cannot be replaced: {why}", to.display()), "name a folder that is not there")
            })?;
        }
        let above = to.parent().filter(|above| !above.as_os_str().is_empty()).unwrap_or(Path::new("."));
        fs::create_dir_all(above).map_err(|e| Error::io(above, "make", e))?;
        let made = tempfile::Builder::new().prefix(".export-").tempdir_in(above);
        let made = made.map_err(|e| Error::io(above, "make", e))?;
        let (root, lists) = (made.path().to_owned(), BTreeMap::new());
        Ok(Target { folder: Folder { root, lists, spill: Spill::temporary() }, made, to })
    }

    /// Writes the lists, and moves it to its place.
    pub(super) fn publish(mut self) -> Result<()> {
        for (relative, list) in std::mem::take(&mut self.folder.lists) {
            self.folder.put(&relative, &[&list.finish()?])?;
        }
        // An empty one; if something came into it meanwhile, the move says so.
        let _ = fs::remove_dir(&self.to);
        let kept = self.made.keep();
        fs::rename(&kept, &self.to).map_err(|e| {
            let _ = fs::remove_dir_all(&kept);
            Error::io(&self.to, "move the export to", e)
        })
    }
}
