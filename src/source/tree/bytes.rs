//! The bytes of an archive: of its file, or of what was decompressed of it.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileExt as _;
use std::path::PathBuf;

use crate::error::{Error, Result};
use crate::spool::Spooled;

/// Bytes that are read at any place.
#[derive(Debug)]
pub(super) enum Bytes {
    /// A file, which had so many when it was opened.
    File { file: File, path: PathBuf, length: u64 },
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
            Bytes::File { file, length, .. } if at.saturating_add(into.len() as u64) <= *length => {
                file.read_exact_at(into, at)
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
