//! What no version needs any more, and taking it away.
//!
//! Nothing that is young is taken: a writer publishes shards before the version that names them, and a version's age is the only thing that says that
//! nobody is about to name them. A file is first taken off its name, then looked at once more, and put back if it turns out to be another, younger one.

use std::path::Path;
use std::time::{Duration, SystemTime};

use serde::Serialize;

use crate::clock;
use crate::error::{Error, Result};
use crate::ingest::journaled;
use crate::store::Store;
use crate::store::commit::{self, Named};

/// What stays.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Keep {
    /// The newest so many versions; `None`: all of them. The newest one stays always.
    pub versions: Option<u64>,
    /// Whatever was written within this time. Below the time that an ingest may take, no ingest may run meanwhile.
    pub younger: Duration,
    /// What ingests that did not come to their end have made, by which a rerun goes on.
    pub unfinished: bool,
}

impl Default for Keep {
    /// All versions, what is younger than a day, and what a rerun goes on with.
    fn default() -> Self {
        Keep { versions: None, younger: Duration::from_secs(24 * 3600), unfinished: true }
    }
}

/// A file that nothing needs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Waste {
    /// Relative to the dataset.
    pub path: String,
    /// Its size.
    pub bytes: u64,
    /// What it is: `version`, `segment`, `shard` or `journal`.
    pub kind: &'static str,
}

/// What [`collect`] would take away.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Garbage {
    /// Versions that are not kept, ascending.
    pub versions: Vec<u64>,
    /// The files, in the order in which they are taken: what names others before these.
    pub files: Vec<Waste>,
    /// Their bytes.
    pub bytes: u64,
    /// Files that no kept version names and that are younger than what is kept.
    pub young: u64,
    /// Files that an unfinished ingest goes on with.
    pub unfinished: u64,
    /// What was written before this may be taken.
    #[serde(skip)]
    before: Option<SystemTime>,
}

/// Looks for what no kept version needs.
///
/// # Errors
/// That there is no version, or anything that keeps a kept version from being read in full: what is not known is not taken.
pub fn garbage(path: impl AsRef<Path>, keep: Keep) -> Result<Garbage> {
    let store = Store::open(path.as_ref());
    let versions = commit::versions(&store)?;
    let Some(newest) = versions.last() else { return Err(super::none(path.as_ref())) };
    if keep.versions == Some(0) {
        return Err(Error::config("no version is kept", "say how many of the newest stay: 1 or more"));
    }
    let expired = keep.versions.map_or(0, |n| versions.len().saturating_sub(usize::try_from(n).unwrap_or(usize::MAX)));
    let mut found = Garbage { before: clock::before(keep.younger), ..Garbage::default() };
    let mut named = Named::default();
    for version in &versions[expired..] {
        named.add(&store, *version)?;
    }
    debug_assert!(versions[expired..].contains(newest));
    for version in &versions[..expired] {
        let path = commit::version_path(*version);
        if found.take(&store, path.clone(), "version")? {
            found.versions.push(*version);
        } else {
            // What a young version names stays with it.
            named.add(&store, *version)?;
        }
    }
    for (journal, shards) in journaled(&store)? {
        if keep.unfinished || found.young(&store, &journal)? {
            let own = shards.into_iter().filter(|shard| named.files.insert(shard.clone()));
            found.unfinished += own.count() as u64;
        } else {
            found.take(&store, journal, "journal")?;
        }
    }
    let of = |found: &mut Garbage, folder: &str, kind: &'static str| -> Result<()> {
        let base = store.root().join(folder);
        if !base.is_dir() {
            return Ok(());
        }
        for entry in walkdir::WalkDir::new(&base).sort_by_file_name() {
            let entry = entry.map_err(|e| Error::library("looking for what nothing needs", e))?;
            let relative = entry.path().strip_prefix(store.root()).ok().and_then(Path::to_str);
            let Some(relative) = relative.filter(|_| entry.file_type().is_file()) else { continue };
            // What is not called as ours are is somebody else's.
            let ours = match kind {
                "segment" => relative.ends_with(".idx"),
                _ => relative.ends_with(".parquet"),
            };
            if ours && !hidden(relative) && !named.files.contains(relative) {
                found.take(&store, relative.to_owned(), kind)?;
            }
        }
        Ok(())
    };
    of(&mut found, commit::SEGMENTS, "segment")?;
    of(&mut found, "data", "shard")?;
    Ok(found)
}

impl Garbage {
    fn young(&self, store: &Store, path: &str) -> Result<bool> {
        let path = store.path(path)?;
        let meta = std::fs::metadata(&path).map_err(|e| Error::io(&path, "look at", e))?;
        let written = meta.modified().map_err(|e| Error::io(&path, "look at", e))?;
        Ok(self.before.is_none_or(|before| written >= before))
    }

    /// Adds a file unless it is young.
    fn take(&mut self, store: &Store, path: String, kind: &'static str) -> Result<bool> {
        if self.young(store, &path)? {
            self.young += 1;
            return Ok(false);
        }
        let file = store.path(&path)?;
        let bytes = std::fs::metadata(&file).map_err(|e| Error::io(&file, "look at", e))?.len();
        self.bytes += bytes;
        self.files.push(Waste { path, bytes, kind });
        Ok(true)
    }
}

fn hidden(relative: &str) -> bool {
    relative.rsplit('/').next().is_some_and(|name| name.starts_with('.'))
}

/// Takes away what [`garbage`] found, and temporaries of processes that died; says how many files that were. One that something else took, or wrote anew meanwhile,
/// is left out. Killed under way, it leaves files that no version names, for the next time.
///
/// # Errors
/// [`Error::Io`].
pub fn collect(path: impl AsRef<Path>, garbage: &Garbage) -> Result<u64> {
    let store = Store::open(path.as_ref());
    let mut taken = store.clean_temporaries()?;
    let Some(before) = garbage.before else { return Ok(taken) };
    for waste in &garbage.files {
        taken += u64::from(store.remove_old(&waste.path, before)?);
    }
    Ok(taken)
}
