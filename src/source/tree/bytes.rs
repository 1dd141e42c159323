//! The bytes of an archive: of its file, or of what was decompressed of it.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use crate::error::{Error, Result};
use crate::spool::Spooled;

/// Files that are open at the same time: a source may have more archives than a process may have files.
const OPEN: usize = 64;

/// The files of archives, of which the last few stay open.
#[derive(Debug, Default)]
pub(super) struct Files(Mutex<VecDeque<(u32, Arc<File>)>>);

impl Files {
    fn get(&self, number: u32, path: &Path) -> io::Result<Arc<File>> {
        let mut open =
            self.0.lock().map_err(|_| io::Error::other("another thread failed while it opened an archive"))?;
        if let Some((_, file)) = open.iter().find(|(known, _)| *known == number) {
            return Ok(Arc::clone(file));
        }
        let file = Arc::new(File::options().read(true).custom_flags(libc::O_NONBLOCK).open(path)?);
        if open.len() >= OPEN {
            open.pop_front();
        }
        open.push_back((number, Arc::clone(&file)));
        Ok(file)
    }
}

/// Bytes that are read at any place.
#[derive(Debug)]
pub(super) enum Bytes {
    /// A file, which had so many when it was opened first.
    File { files: Arc<Files>, number: u32, path: PathBuf, length: u64 },
    /// Decompressed.
    Spooled(Spooled),
}

impl Bytes {
    pub(super) fn len(&self) -> u64 {
        match self {
            Bytes::File { length, .. } => *length,
            Bytes::Spooled(bytes) => bytes.len() as u64,
        }
    }

    /// What they are called to a person.
    pub(super) fn shown(&self) -> String {
        match self {
            Bytes::File { path, .. } => path.display().to_string(),
            Bytes::Spooled(_) => "what was decompressed".to_owned(),
        }
    }

    /// Size and time of change as they are now; none of what nobody else can write to.
    pub(super) fn stamp(&self) -> io::Result<Option<(u64, i128)>> {
        match self {
            Bytes::File { files, number, path, .. } => {
                files.get(*number, path)?.metadata().map(|meta| Some(super::stamp(&meta)))
            }
            Bytes::Spooled(_) => Ok(None),
        }
    }

    /// Fills a buffer from a place on; `false` if there are not as many.
    pub(super) fn read_at(&self, at: u64, into: &mut [u8]) -> Result<bool> {
        match (self.fill(at, into), self) {
            (Ok(()), _) => Ok(true),
            (Err(e), _) if e.kind() == io::ErrorKind::UnexpectedEof => Ok(false),
            (Err(e), Bytes::File { path, .. }) => Err(Error::io(path, "read", e)),
            (Err(e), Bytes::Spooled(_)) => Err(Error::library("reading a temporary file", e)),
        }
    }

    /// The same with the system's error.
    pub(super) fn fill(&self, at: u64, into: &mut [u8]) -> io::Result<()> {
        match self {
            Bytes::File { files, number, path, length } if at.saturating_add(into.len() as u64) <= *length => {
                files.get(*number, path)?.read_exact_at(into, at)
            }
            Bytes::File { .. } => Err(io::ErrorKind::UnexpectedEof.into()),
            Bytes::Spooled(bytes) => {
                let from = usize::try_from(at).ok().and_then(|at| bytes.get(at..));
                let part = from.and_then(|from| from.get(..into.len())).ok_or(io::ErrorKind::UnexpectedEof)?;
                into.copy_from_slice(part);
                Ok(())
            }
        }
    }
}

/// A stretch of them as a reader.
#[derive(Debug)]
pub(super) struct Stretch<B> {
    bytes: B,
    at: u64,
    end: u64,
}

impl<B> Stretch<B> {
    pub(super) fn new(bytes: B, at: u64, length: u64) -> Self {
        Stretch { bytes, at, end: at.saturating_add(length) }
    }
}

impl<B: AsRef<Bytes>> Read for Stretch<B> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let most = usize::try_from(self.end - self.at).unwrap_or(usize::MAX).min(into.len());
        self.bytes.as_ref().fill(self.at, &mut into[..most])?;
        self.at += most as u64;
        Ok(most)
    }
}

impl AsRef<Bytes> for Bytes {
    fn as_ref(&self) -> &Bytes {
        self
    }
}
