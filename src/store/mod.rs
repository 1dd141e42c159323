//! A dataset's folder as a store of whole files: what is published is complete and durable, or absent.
//!
//! | operation | steps | a reader sees |
//! |---|---|---|
//! | [`Store::put`], [`Staged::publish`] | dot-prefixed temporary in the same folder, fsync, rename, fsync folder | the old or the new file |
//! | [`Store::create_new`] | temporary, fsync, `link(2)`, fsync folder, unlink temporary | no file or the whole file; one of several contenders wins |
//! | [`Store::append`] | write at the end, fsync | whole earlier lines, at most one unfinished last line |
//!
//! Names are relative to the root with `/` and never leave it. A process that dies leaves at most temporaries
//! (`.NAME.PID-N.tmp`), which no reader looks at and [`Store::clean_temporaries`] removes.

pub mod card;
pub mod commit;
pub mod disk;
#[doc(hidden)]
pub mod fault;
#[cfg(test)]
pub(crate) mod tests;

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, Write};
use std::path::{Component, Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

pub use disk::{Disk, LocalDisk};
use memmap2::Mmap;

use crate::error::{Error, Result};
use crate::spool::Spooled;

/// Temporaries that this process is writing now; [`Store::clean_temporaries`] leaves them alone.
static LIVE: Mutex<BTreeSet<PathBuf>> = Mutex::new(BTreeSet::new());
static COUNTER: AtomicU64 = AtomicU64::new(0);

fn live() -> MutexGuard<'static, BTreeSet<PathBuf>> {
    LIVE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A folder and the disk it lies on. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Store {
    root: PathBuf,
    disk: Arc<dyn Disk>,
}

impl Store {
    /// A store on the local file system. Nothing is created before the first write.
    pub fn open(root: impl Into<PathBuf>) -> Self {
        Store::with_disk(root, Arc::new(LocalDisk))
    }

    /// A store on another disk.
    pub fn with_disk(root: impl Into<PathBuf>, disk: Arc<dyn Disk>) -> Self {
        Store { root: root.into(), disk }
    }

    /// The folder.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The path of a file of the store. Refuses empty, absolute and escaping names (`..`, `\`, NUL).
    pub fn path(&self, rel: &str) -> Result<PathBuf> {
        let plain = !rel.is_empty()
            && !rel.contains(['\\', '\0'])
            && rel.split('/').all(|part| !matches!(part, "" | "." | ".."))
            && Path::new(rel).components().all(|part| matches!(part, Component::Normal(_)));
        if !plain {
            return Err(Error::config(
                format!("{rel:?} is not a relative path within {}", self.root.display()),
                "use names without \"..\", \"\\\" or a leading \"/\"",
            ));
        }
        Ok(self.root.join(rel))
    }

    /// The folder of a relative name; empty is the root itself.
    fn dir(&self, rel: &str) -> Result<PathBuf> {
        if rel.is_empty() { Ok(self.root.clone()) } else { self.path(rel) }
    }

    /// A whole file.
    pub fn read(&self, rel: &str) -> Result<Vec<u8>> {
        let path = self.path(rel)?;
        self.disk.read(&path).map_err(|e| Error::io(path, "read", e))
    }

    /// A whole file, or `None` if there is none.
    pub fn read_if_there(&self, rel: &str) -> Result<Option<Vec<u8>>> {
        let path = self.path(rel)?;
        match self.disk.read(&path) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(e) => Err(Error::io(path, "read", e)),
        }
    }

    /// A whole file behind a memory map, or `None` if there is none. For files that are replaced or appended to and never
    /// cut, as all of a store are: one that something else cuts meanwhile ends the process.
    pub(crate) fn map_if_there(&self, rel: &str) -> Result<Option<Spooled>> {
        let path = self.path(rel)?;
        let file = match File::open(&path) {
            Ok(file) => file,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(e) => return Err(Error::io(path, "read", e)),
        };
        if file.metadata().map_err(|e| Error::io(&path, "look at", e))?.len() == 0 {
            return Ok(Some(Spooled::default()));
        }
        // SAFETY: no operation of a store cuts a file or changes its bytes in place.
        let map = unsafe { Mmap::map(&file) };
        Ok(Some(Spooled::Mapped(map.map_err(|e| Error::io(path, "map", e))?)))
    }

    /// Whether a file or folder is there.
    pub fn exists(&self, rel: &str) -> Result<bool> {
        let path = self.path(rel)?;
        path.try_exists().map_err(|e| Error::io(path, "look at", e))
    }

    /// The names in a folder (`""`: the root), sorted; temporaries are left out. A folder that is not there is empty.
    pub fn list(&self, rel: &str) -> Result<Vec<String>> {
        let path = self.dir(rel)?;
        match self.disk.list(&path) {
            Ok(names) => Ok(names.into_iter().filter(|n| temporary(n).is_none()).collect()),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
            Err(e) => Err(Error::io(path, "list", e)),
        }
    }

    /// Writes a whole file in the place of what was there, durably.
    pub fn put(&self, rel: &str, bytes: &[u8]) -> Result<()> {
        self.path(rel)?;
        let mut staged = self.stage_named(parent(rel), base(rel))?;
        staged.write_whole(bytes)?;
        staged.publish(rel)
    }

    /// Writes a whole file unless there is one: `false` if there was. Of several contenders exactly one gets `true`.
    ///
    /// # Errors
    /// [`Error::Undurable`]: the file has its name, which readers see, and the folder could not be synced; any other error: it has not.
    pub fn create_new(&self, rel: &str, bytes: &[u8]) -> Result<bool> {
        let path = self.path(rel)?;
        let mut staged = self.stage_named(parent(rel), base(rel))?;
        staged.write_whole(bytes)?;
        staged.sync()?;
        match self.disk.link(&staged.path, &path) {
            Ok(()) => {}
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists => return Ok(false),
            Err(e) => return Err(Error::io(path, "create", e)),
        }
        // Readers see it: an error now does not take it back.
        let dir = self.dir(parent(rel))?;
        self.disk.sync_dir(&dir).map_err(|source| Error::Undurable { path, source })?;
        // The version stands; a temporary that cannot be removed is harmless (dropping `staged` tries).
        Ok(true)
    }

    /// Begins a file in a folder, to be published under a name that is known later.
    pub fn stage(&self, dir_rel: &str) -> Result<Staged> {
        self.stage_named(dir_rel, "stage")
    }

    fn stage_named(&self, dir_rel: &str, name: &str) -> Result<Staged> {
        let dir = self.make_dirs(dir_rel)?;
        let number = COUNTER.fetch_add(1, Ordering::Relaxed);
        let path = dir.join(format!(".{name}.{}-{number}.tmp", std::process::id()));
        live().insert(path.clone());
        match self.disk.create(&path) {
            Ok(file) => Ok(Staged { store: self.clone(), dir_rel: dir_rel.to_owned(), path, file, error: None }),
            Err(e) => {
                live().remove(&path);
                Err(Error::io(path, "create", e))
            }
        }
    }

    /// Adds the parts, one behind the other, at the end of a file, durably; makes the file if need be.
    ///
    /// A process that dies within leaves a prefix of the parts: readers of lines drop an unfinished last line, and a
    /// writer that goes on with such a file must first [`Store::put`] its whole lines again.
    pub fn append(&self, rel: &str, parts: &[&[u8]]) -> Result<()> {
        let path = self.path(rel)?;
        let dir = self.make_dirs(parent(rel))?;
        let fresh = !self.exists(rel)?;
        let mut file = self.disk.open_append(&path).map_err(|e| Error::io(&path, "append to", e))?;
        for part in parts.iter().filter(|p| !p.is_empty()) {
            self.disk.write(&mut file, &path, part).map_err(|e| Error::io(&path, "append to", e))?;
        }
        self.disk.sync(&file, &path).map_err(|e| Error::io(&path, "sync", e))?;
        if fresh {
            self.disk.sync_dir(&dir).map_err(|e| Error::io(dir, "sync", e))?;
        }
        Ok(())
    }

    /// Removes a file; one that is not there is fine.
    pub fn remove(&self, rel: &str) -> Result<()> {
        let path = self.path(rel)?;
        match self.disk.remove(&path) {
            Ok(()) => self.sync_dir(parent(rel)),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(e) => Err(Error::io(path, "remove", e)),
        }
    }

    /// Removes a file whose name says what is in it, if it was written before some time, and says whether it did. One that is not that old stays where it is; and as it
    /// may be written anew at any time, it is taken off its name, looked at once more, and put back.
    pub fn remove_old(&self, rel: &str, before: SystemTime) -> Result<bool> {
        let path = self.path(rel)?;
        let number = COUNTER.fetch_add(1, Ordering::Relaxed);
        let aside = path.with_file_name(format!(".{}.{}-{number}.tmp", base(rel), std::process::id()));
        live().insert(aside.clone());
        let done = self.removed(&path, &aside, before);
        live().remove(&aside);
        let done = done?;
        self.sync_dir(parent(rel))?;
        Ok(done)
    }

    fn removed(&self, path: &Path, aside: &Path, before: SystemTime) -> Result<bool> {
        let at = |action, e| Error::io(path, action, e);
        let young = |path: &Path| io::Result::Ok(std::fs::metadata(path)?.modified()? >= before);
        match young(path) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(false),
            young => {
                if young.map_err(|e| at("look at", e))? {
                    return Ok(false);
                }
            }
        }
        match self.disk.rename(path, aside) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(false),
            moved => moved.map_err(|e| at("move", e))?,
        }
        if young(aside).map_err(|e| at("look at", e))? {
            // Also over one that was written anew once more: the same name is the same content.
            self.disk.rename(aside, path).map_err(|e| at("put back", e))?;
            return Ok(false);
        }
        self.disk.remove(aside).map_err(|e| at("remove", e))?;
        Ok(true)
    }

    /// Removes what processes of this machine left when they died, and says how many files that were. Temporaries of
    /// processes that still run are left alone.
    pub fn clean_temporaries(&self) -> Result<u64> {
        let mut removed = 0;
        let roots = [self.root.clone(), self.root.join("data"), self.root.join(".dsctl")];
        for (i, root) in roots.iter().enumerate() {
            if !root.is_dir() {
                continue;
            }
            // Of the root only its own files: a dataset folder may hold other things.
            let depth = if i == 0 { 1 } else { usize::MAX };
            for entry in walkdir::WalkDir::new(root).max_depth(depth).into_iter().filter_map(Result::ok) {
                let name = entry.file_name().to_str().and_then(temporary);
                if let (true, Some(pid)) = (entry.file_type().is_file(), name) {
                    let path = entry.path();
                    let busy = if pid == std::process::id() { live().contains(path) } else { running(pid) };
                    if !busy {
                        match self.disk.remove(path) {
                            Ok(()) => removed += 1,
                            // Another process cleans as well.
                            Err(e) if e.kind() == io::ErrorKind::NotFound => {}
                            Err(e) => return Err(Error::io(path, "remove", e)),
                        }
                    }
                }
            }
        }
        Ok(removed)
    }

    fn sync_dir(&self, rel: &str) -> Result<()> {
        let dir = self.dir(rel)?;
        self.disk.sync_dir(&dir).map_err(|e| Error::io(dir, "sync", e))
    }

    /// Makes a folder with its parents, each name durable before anything is put inside.
    fn make_dirs(&self, rel: &str) -> Result<PathBuf> {
        let dir = self.dir(rel)?;
        if !dir.is_dir() {
            let mut missing: Vec<&Path> = dir.ancestors().take_while(|a| !a.is_dir() && *a != Path::new("")).collect();
            missing.reverse();
            for path in missing {
                self.disk.make_dir(path).map_err(|e| Error::io(path, "create folder", e))?;
                let above = path.parent().filter(|p| *p != Path::new("")).unwrap_or(Path::new("."));
                self.disk.sync_dir(above).map_err(|e| Error::io(above, "sync", e))?;
            }
        }
        Ok(dir)
    }
}

fn parent(rel: &str) -> &str {
    rel.rsplit_once('/').map_or("", |(parent, _)| parent)
}

fn base(rel: &str) -> &str {
    rel.rsplit_once('/').map_or(rel, |(_, base)| base)
}

/// The process number in the name of a temporary; `None` for any other name.
fn temporary(name: &str) -> Option<u32> {
    let (head, tail) = name.strip_prefix('.')?.strip_suffix(".tmp")?.rsplit_once('.')?;
    let (pid, number) = tail.split_once('-')?;
    number.parse::<u64>().ok().filter(|_| !head.is_empty())?;
    pid.parse().ok()
}

/// Whether a process of this machine runs. When in doubt, yes; but one that ended, and that nobody has waited for (as in containers whose first process waits for
/// none), does not.
fn running(pid: u32) -> bool {
    // proc(5): the state stands behind the name, which is in parentheses and may have some of its own.
    let state = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok();
    let state = state.as_deref().and_then(|stat| stat.rsplit_once(") ")?.1.chars().next());
    if matches!(state, Some('Z' | 'X')) {
        return false;
    }
    let Ok(pid) = libc::pid_t::try_from(pid) else { return false };
    // SAFETY: signal 0 is never delivered; the call only asks.
    let answer = unsafe { libc::kill(pid, 0) };
    answer == 0 || io::Error::last_os_error().raw_os_error() != Some(libc::ESRCH)
}

/// A file on its way into a store: a dot-prefixed temporary that is removed when dropped before [`Staged::publish`].
#[derive(Debug)]
pub struct Staged {
    store: Store,
    dir_rel: String,
    path: PathBuf,
    file: File,
    error: Option<io::Error>,
}

impl Staged {
    /// Where the temporary lies.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The open file, for reading back what was written.
    pub fn file(&self) -> &File {
        &self.file
    }

    /// The first error that a write met, with the file's path. Libraries that write through `io::Write` wrap it
    /// beyond recognition; this is the original.
    pub fn take_error(&mut self) -> Option<Error> {
        self.error.take().map(|e| Error::io(&self.path, "write", e))
    }

    fn write_whole(&mut self, bytes: &[u8]) -> Result<()> {
        self.store.disk.write(&mut self.file, &self.path, bytes).map_err(|e| Error::io(&self.path, "write", e))
    }

    fn sync(&mut self) -> Result<()> {
        self.store.disk.sync(&self.file, &self.path).map_err(|e| Error::io(&self.path, "sync", e))
    }

    /// Makes the content durable and gives it its name, in place of what had it. The name must lie in the folder the
    /// file was staged in.
    pub fn publish(mut self, rel: &str) -> Result<()> {
        let path = self.store.path(rel)?;
        if parent(rel) != self.dir_rel {
            return Err(Error::library("publishing a file", format!("{rel:?} was staged in {:?}", self.dir_rel)));
        }
        self.sync()?;
        self.store.disk.rename(&self.path, &path).map_err(|e| Error::io(&path, "create", e))?;
        self.store.sync_dir(&self.dir_rel)
    }
}

impl Write for Staged {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.store.disk.write(&mut self.file, &self.path, bytes).map_err(|e| {
            let copy = e.raw_os_error().map_or_else(|| e.kind().into(), io::Error::from_raw_os_error);
            self.error.get_or_insert(e);
            copy
        })?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for Staged {
    fn drop(&mut self) {
        // After a rename there is nothing left under this name, and only a temporary's name is ever removed here.
        if self.path.exists() {
            let _ = self.store.disk.remove(&self.path);
        }
        live().remove(&self.path);
    }
}
