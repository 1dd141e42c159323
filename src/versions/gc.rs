//! What no version needs any more, and taking it away.
//!
//! A writer publishes shards before the version that names them. So nothing that is young is taken, nor what a journal names; journals are read before versions,
//! as an ingest removes its own when it has committed; and what was committed after the look is looked at again before anything is taken.

use std::path::Path;
use std::time::{Duration, SystemTime};

use serde::Serialize;

use crate::clock;
use crate::error::{Error, Result};
use crate::ingest::{journaled, remembered, settle};
use crate::store::Store;
use crate::store::commit::{self, Named};

/// What stays.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Keep {
    /// The newest so many versions; `None`: all of them. The newest one stays always.
    pub versions: Option<u64>,
    /// Whatever was written within this time. A [`crate::ingest::DatasetWriter`] has no journal: if one may be at work, more than the time it takes.
    pub younger: Duration,
    /// What ingests that did not come to their end have made, by which a rerun goes on. If that is not kept, no ingest may be at work.
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
    /// What it is: `version`, `segment`, `changes`, `shard`, `journal`, or `seen`: what an ingest saw of the files of a source.
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
    /// The newest version that was looked at.
    #[serde(skip)]
    newest: u64,
}

/// What [`collect`] took away.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Taken {
    /// Files of those that were found.
    pub files: u64,
    /// Temporaries of processes that died.
    pub temporaries: u64,
}

/// Looks for what no kept version needs.
///
/// # Errors
/// That there is no version, or anything that keeps a kept version from being read in full: what is not known is not taken.
pub fn garbage(path: impl AsRef<Path>, keep: Keep) -> Result<Garbage> {
    let store = Store::open(path.as_ref());
    let journals = journaled(&store)?;
    let versions = commit::versions(&store)?;
    let Some(newest) = versions.last().copied() else { return Err(super::none(path.as_ref())) };
    if keep.versions == Some(0) {
        return Err(Error::config("no version is kept", "say how many of the newest stay: 1 or more"));
    }
    let expired = keep.versions.map_or(0, |n| versions.len().saturating_sub(usize::try_from(n).unwrap_or(usize::MAX)));
    let mut found = Garbage { before: clock::before(keep.younger), newest, ..Garbage::default() };
    let mut named = Named::default();
    for version in &versions[expired..] {
        named.add(&store, *version)?;
    }
    for version in &versions[..expired] {
        let path = commit::version_path(*version);
        if found.take(&store, path.clone(), "version")? {
            found.versions.push(*version);
        } else {
            // What a young version names stays with it.
            named.add(&store, *version)?;
        }
    }
    // The next ingest of its source would have written it anew, if there had been one since.
    for (seen, version) in remembered(&store)? {
        let is_kept = |version: &u64| versions.binary_search(version).is_ok() && !found.versions.contains(version);
        if !version.as_ref().is_some_and(is_kept) {
            found.take(&store, seen, "seen")?;
        }
    }
    for (journal, shards) in journals {
        if keep.unfinished || found.old(&store, &journal)?.is_none() {
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
                "changes" => relative.ends_with(".chg"),
                _ => relative.ends_with(".parquet"),
            };
            if ours && !hidden(relative) && !named.files.contains(relative) {
                found.take(&store, relative.to_owned(), kind)?;
            }
        }
        Ok(())
    };
    of(&mut found, commit::SEGMENTS, "segment")?;
    of(&mut found, commit::CHANGES, "changes")?;
    of(&mut found, "data", "shard")?;
    Ok(found)
}

impl Garbage {
    /// The size of a file that is old enough; one that is gone by now is of no concern, as one that is young.
    fn old(&self, store: &Store, path: &str) -> Result<Option<u64>> {
        let path = store.path(path)?;
        let looked = std::fs::metadata(&path).and_then(|meta| Ok((meta.modified()?, meta.len())));
        match looked {
            Ok((written, bytes)) => Ok(self.before.is_some_and(|before| written < before).then_some(bytes)),
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(e) => Err(Error::io(path, "look at", e)),
        }
    }

    /// Adds a file if it is old enough.
    fn take(&mut self, store: &Store, path: String, kind: &'static str) -> Result<bool> {
        let Some(bytes) = self.old(store, &path)? else {
            self.young += 1;
            return Ok(false);
        };
        self.bytes += bytes;
        self.files.push(Waste { path, bytes, kind });
        Ok(true)
    }
}

fn hidden(relative: &str) -> bool {
    relative.rsplit('/').next().is_some_and(|name| name.starts_with('.'))
}

/// Takes away what [`garbage`] found, and temporaries of processes that died. What something else took, wrote anew, or named in a version meanwhile is left out.
/// Killed under way, it leaves files that no version names, for the next time.
///
/// # Errors
/// [`Error::Io`], and what keeps a version that was committed meanwhile from being read.
pub fn collect(path: impl AsRef<Path>, garbage: &Garbage) -> Result<Taken> {
    let store = Store::open(path.as_ref());
    let mut taken = Taken { temporaries: store.clean_temporaries()?, files: 0 };
    let Some(before) = garbage.before else { return Ok(taken) };
    // What sources brought may be known by a version that goes.
    settle(&store)?;
    let mut named = Named::default();
    for version in commit::versions(&store)?.into_iter().filter(|version| *version > garbage.newest) {
        named.add(&store, version)?;
    }
    for waste in garbage.files.iter().filter(|waste| !named.files.contains(&waste.path)) {
        taken.files += u64::from(store.remove_old(&waste.path, before)?);
    }
    Ok(taken)
}
