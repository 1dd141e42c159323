//! The few operations on a disk that can fail or be interrupted. Every one is a point at which a process may die.

use std::fmt::Debug;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::Path;

/// What a [`super::Store`] asks of the system below it.
///
/// All paths are absolute or relative to the process, already checked. Tests put [`super::fault::FaultDisk`] in between.
pub trait Disk: Send + Sync + Debug {
    /// Makes one folder whose parent exists; one that is there already is fine.
    fn make_dir(&self, path: &Path) -> io::Result<()>;
    /// Makes a file that must not exist, open for writing.
    fn create(&self, path: &Path) -> io::Result<File>;
    /// Writes at the file's position, all of it.
    fn write(&self, file: &mut File, path: &Path, bytes: &[u8]) -> io::Result<()>;
    /// Makes a file's content durable.
    fn sync(&self, file: &File, path: &Path) -> io::Result<()>;
    /// Puts a file in the place of another, atomically.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Gives a file a second name, which must not exist (`AlreadyExists` if it does), atomically.
    fn link(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Makes the names within a folder durable.
    fn sync_dir(&self, path: &Path) -> io::Result<()>;
    /// Opens a file at its end, making it if need be.
    fn open_append(&self, path: &Path) -> io::Result<File>;
    /// Removes a file.
    fn remove(&self, path: &Path) -> io::Result<()>;
    /// Reads a whole file.
    fn read(&self, path: &Path) -> io::Result<Vec<u8>>;
    /// The names in a folder, sorted; non-UTF-8 names are left out.
    fn list(&self, path: &Path) -> io::Result<Vec<String>>;
}

/// The machine's own file system.
#[derive(Debug, Clone, Copy, Default)]
pub struct LocalDisk;

impl Disk for LocalDisk {
    fn make_dir(&self, path: &Path) -> io::Result<()> {
        match fs::create_dir(path) {
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists && path.is_dir() => Ok(()),
            other => other,
        }
    }

    fn create(&self, path: &Path) -> io::Result<File> {
        // Readable too, so that what was written can be proved before it is published.
        OpenOptions::new().read(true).write(true).create_new(true).open(path)
    }

    fn write(&self, file: &mut File, _path: &Path, bytes: &[u8]) -> io::Result<()> {
        file.write_all(bytes)
    }

    fn sync(&self, file: &File, _path: &Path) -> io::Result<()> {
        file.sync_all()
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn link(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::hard_link(from, to)
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        File::open(path)?.sync_all()
    }

    fn open_append(&self, path: &Path) -> io::Result<File> {
        OpenOptions::new().append(true).create(true).open(path)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }

    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        fs::read(path)
    }

    fn list(&self, path: &Path) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in fs::read_dir(path)? {
            names.extend(entry?.file_name().into_string());
        }
        names.sort_unstable();
        Ok(names)
    }
}
