//! A disk that dies on demand, for tests: every operation of [`Disk`] is a point before, inside or after which the
//! process ends. It is part of the library so that the crate's own and a user's tests can put it under a store.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::disk::{Disk, LocalDisk};

/// The operations that change a disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[allow(missing_docs)]
pub enum Op {
    MakeDir,
    Create,
    Write,
    Sync,
    Rename,
    Link,
    SyncDir,
    OpenAppend,
    Remove,
}

/// When, of one operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    /// Nothing of it happened.
    Before,
    /// Part of it: some bytes of a write, half of an unsynced file, both names of a rename.
    Inside,
    /// All of it, but the caller never learnt so.
    After,
}

/// When to die.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kill {
    /// Not at all: only record.
    Never,
    /// At the n-th operation (from 0); `bytes` is how much of a write happens when it is [`Phase::Inside`].
    AtOp {
        /// Which.
        op: usize,
        /// When, of it.
        phase: Phase,
        /// Bytes of a write.
        bytes: usize,
    },
    /// In the write that carries the n-th byte (from 0) of all bytes written.
    AtByte(u64),
    /// Do not die: writes fail with "no space left" once this many bytes are written, all else works.
    FullAfter(u64),
}

/// What kind of point of a commit an operation is. One operation can be of several kinds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[allow(missing_docs)]
pub enum Class {
    TempWrite,
    Fsync,
    Rename,
    Journal,
    Shard,
    Segment,
    Root,
    Card,
    Seen,
    Claims,
}

impl Class {
    /// The kinds of a point.
    pub fn of(op: Op, path: &Path) -> BTreeSet<Class> {
        let text = path.to_string_lossy();
        let mut classes = BTreeSet::new();
        classes.extend(match op {
            Op::Write if text.ends_with(".tmp") => Some(Class::TempWrite),
            Op::Sync | Op::SyncDir => Some(Class::Fsync),
            Op::Rename => Some(Class::Rename),
            _ => None,
        });
        let places = [
            (".dsctl/journal", Class::Journal),
            ("/data/", Class::Shard),
            (".dsctl/segments", Class::Segment),
            (".dsctl/versions", Class::Root),
            ("README.md", Class::Card),
            (".dsctl/seen", Class::Seen),
            (".dsctl/sources", Class::Claims),
        ];
        classes.extend(places.iter().filter(|(part, _)| text.contains(part)).map(|(_, class)| *class));
        classes
    }
}

/// One operation as it was asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    /// What.
    pub op: Op,
    /// On which file or folder (the target of a rename or link).
    pub path: PathBuf,
    /// Bytes of a write.
    pub bytes: usize,
}

/// How to take back a change whose folder was not synced.
#[derive(Debug)]
enum Undo {
    Remove(PathBuf),
    RemoveDir(PathBuf),
    Rename { from: PathBuf, to: PathBuf, old: Option<Vec<u8>> },
    Restore(PathBuf, Vec<u8>),
}

impl Undo {
    fn dir(&self) -> Option<&Path> {
        match self {
            Undo::Remove(p) | Undo::RemoveDir(p) | Undo::Restore(p, _) | Undo::Rename { to: p, .. } => p.parent(),
        }
    }

    fn apply(self) {
        // What cannot be taken back was taken back already.
        let _ = match self {
            Undo::Remove(path) => fs::remove_file(path),
            Undo::RemoveDir(path) => fs::remove_dir(path),
            Undo::Restore(path, bytes) => fs::write(path, bytes),
            Undo::Rename { from, to, old } => {
                fs::rename(&to, from).and_then(|()| old.map_or(Ok(()), |bytes| fs::write(to, bytes)))
            }
        };
    }
}

#[derive(Debug, Default)]
struct State {
    seen: Vec<Seen>,
    written: u64,
    died: Option<(Seen, Phase)>,
    /// Durable bytes of files that hold more than those.
    durable: BTreeMap<PathBuf, u64>,
    undo: Vec<Undo>,
}

/// See the module. After it died, every operation fails.
#[derive(Debug)]
pub struct FaultDisk {
    kill: Kill,
    power_cut: bool,
    state: Mutex<State>,
}

impl FaultDisk {
    /// A local disk that dies as told; what was written before stays, as when a process is killed.
    pub fn new(kill: Kill) -> Self {
        FaultDisk { kill, power_cut: false, state: Mutex::default() }
    }

    /// As [`FaultDisk::new`], but at death all that was not synced is lost: bytes of files and names in folders. This is
    /// the other extreme of what a power cut may leave.
    pub fn with_power_cut(kill: Kill) -> Self {
        FaultDisk { power_cut: true, ..FaultDisk::new(kill) }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// All operations asked for so far.
    pub fn seen(&self) -> Vec<Seen> {
        self.state().seen.clone()
    }

    /// The operation at which it died, and when of it.
    pub fn died(&self) -> Option<(Seen, Phase)> {
        self.state().died.clone()
    }

    /// Records an operation and runs its parts as the plan says: `part` for [`Phase::Inside`], `whole` for all of it.
    fn point<T>(
        &self,
        op: Op,
        path: &Path,
        bytes: usize,
        mut part: impl FnMut(usize),
        whole: impl FnOnce(&mut State) -> io::Result<T>,
    ) -> io::Result<T> {
        let mut state = self.state();
        if state.died.is_some() {
            return Err(dead());
        }
        let seen = Seen { op, path: path.to_owned(), bytes };
        let number = state.seen.len();
        state.seen.push(seen.clone());
        let first = state.written;
        state.written += bytes as u64;
        let phase = match self.kill {
            Kill::AtOp { op, phase, .. } if op == number => phase,
            Kill::AtByte(at) if op == Op::Write && (first..state.written).contains(&at) => Phase::Inside,
            Kill::FullAfter(limit) if op == Op::Write && state.written > limit => {
                part(usize::try_from(limit.saturating_sub(first)).unwrap_or(bytes).min(bytes));
                return Err(io::Error::from_raw_os_error(libc::ENOSPC));
            }
            _ => return whole(&mut state),
        };
        match (phase, self.kill) {
            (Phase::Before, _) => {}
            (Phase::Inside, Kill::AtByte(at)) => part(usize::try_from(at - first).unwrap_or(0)),
            (Phase::Inside, Kill::AtOp { bytes: some, .. }) => part(some.min(bytes)),
            (Phase::Inside, _) => {}
            (Phase::After, _) => drop(whole(&mut state)),
        }
        state.died = Some((seen, phase));
        if self.power_cut {
            for (path, length) in std::mem::take(&mut state.durable) {
                if let Ok(file) = OpenOptions::new().write(true).open(path) {
                    let _ = file.set_len(length);
                }
            }
            std::mem::take(&mut state.undo).into_iter().rev().for_each(Undo::apply);
        }
        Err(dead())
    }

    fn alive<T>(&self, answer: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
        if self.state().died.is_some() { Err(dead()) } else { answer() }
    }
}

fn dead() -> io::Error {
    io::Error::other("the disk died here, as the test asked")
}

fn nothing(_: usize) {}

impl Disk for FaultDisk {
    fn make_dir(&self, path: &Path) -> io::Result<()> {
        self.point(Op::MakeDir, path, 0, nothing, |state| {
            let fresh = !path.exists();
            LocalDisk.make_dir(path)?;
            state.undo.extend(fresh.then(|| Undo::RemoveDir(path.to_owned())));
            Ok(())
        })
    }

    fn create(&self, path: &Path) -> io::Result<File> {
        self.point(Op::Create, path, 0, nothing, |state| {
            let file = LocalDisk.create(path)?;
            state.undo.push(Undo::Remove(path.to_owned()));
            Ok(file)
        })
    }

    fn write(&self, file: &mut File, path: &Path, bytes: &[u8]) -> io::Result<()> {
        let before = file.metadata()?.len();
        let mut other = file.try_clone()?;
        self.state().durable.entry(path.to_owned()).or_insert(before);
        let part = |some: usize| drop(other.write_all(&bytes[..some]));
        self.point(Op::Write, path, bytes.len(), part, |_| LocalDisk.write(file, path, bytes))
    }

    fn sync(&self, file: &File, path: &Path) -> io::Result<()> {
        // A sync that is cut may have reached half of what was not durable yet.
        let durable = self.state().durable.get(path).copied();
        let half = |_| {
            if let (Some(durable), Ok(now)) = (durable, file.metadata()) {
                let _ = file.set_len(durable + now.len().saturating_sub(durable) / 2);
            }
        };
        self.point(Op::Sync, path, 0, half, |state| {
            LocalDisk.sync(file, path)?;
            state.durable.remove(path);
            Ok(())
        })
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let both = |_| drop(fs::hard_link(from, to));
        self.point(Op::Rename, to, 0, both, |state| {
            let old = fs::read(to).ok();
            LocalDisk.rename(from, to)?;
            if let Some(length) = state.durable.remove(from) {
                state.durable.insert(to.to_owned(), length);
            }
            state.undo.push(Undo::Rename { from: from.to_owned(), to: to.to_owned(), old });
            Ok(())
        })
    }

    fn link(&self, from: &Path, to: &Path) -> io::Result<()> {
        let whole = |_| drop(fs::hard_link(from, to));
        self.point(Op::Link, to, 0, whole, |state| {
            LocalDisk.link(from, to)?;
            state.undo.push(Undo::Remove(to.to_owned()));
            Ok(())
        })
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        self.point(Op::SyncDir, path, 0, nothing, |state| {
            LocalDisk.sync_dir(path)?;
            state.undo.retain(|undo| undo.dir() != Some(path));
            Ok(())
        })
    }

    fn open_append(&self, path: &Path) -> io::Result<File> {
        self.point(Op::OpenAppend, path, 0, nothing, |state| {
            let fresh = !path.exists();
            let file = LocalDisk.open_append(path)?;
            state.undo.extend(fresh.then(|| Undo::Remove(path.to_owned())));
            Ok(file)
        })
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.point(Op::Remove, path, 0, nothing, |state| {
            let old = fs::read(path).unwrap_or_default();
            LocalDisk.remove(path)?;
            state.undo.push(Undo::Restore(path.to_owned(), old));
            Ok(())
        })
    }

    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        self.alive(|| LocalDisk.read(path))
    }

    fn list(&self, path: &Path) -> io::Result<Vec<String>> {
        self.alive(|| LocalDisk.list(path))
    }
}
