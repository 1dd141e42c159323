//! A compressed tar, decompressed once: nobody can look into the middle of one.

use std::fs::File;
use std::io::{BufReader, Read, Seek as _};
use std::path::Path;

use super::tar;
use crate::error::{Error, Fault, Reason, Result};
use crate::spool::{Spill, Spool, Spooled};

/// A tar may decompress to so many times its size, and so many bytes more. Text compresses tenfold, sparse labels a hundredfold; what makes more
/// is a bomb.
const RATIO: u64 = 250;
const BESIDE: u64 = 64 << 20;

/// How a file is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Compression {
    Gzip,
    Zstandard,
}

impl Compression {
    /// What the first bytes say.
    pub(super) fn of(head: &[u8]) -> Option<Self> {
        match head {
            [0x1f, 0x8b, 8, ..] => Some(Compression::Gzip),
            [0x28, 0xb5, 0x2f, 0xfd, ..] => Some(Compression::Zstandard),
            _ => None,
        }
    }

    pub(super) fn name(self) -> &'static str {
        match self {
            Compression::Gzip => "gzip",
            Compression::Zstandard => "Zstandard",
        }
    }

    fn reader(self, mut from: &File) -> std::io::Result<Box<dyn Read + '_>> {
        from.rewind()?;
        let from = BufReader::with_capacity(1 << 18, from);
        Ok(match self {
            Compression::Gzip => Box::new(flate2::bufread::MultiGzDecoder::new(from)),
            Compression::Zstandard => Box::new(zstd::stream::read::Decoder::with_buffer(from)?),
        })
    }

    /// Whether a tar is inside.
    pub(super) fn holds_tar(self, file: &File) -> bool {
        let mut head = Vec::new();
        let read = self.reader(file).and_then(|reader| reader.take(512).read_to_end(&mut head));
        read.is_ok() && tar::is(&head)
    }
}

/// Decompresses a file of so many bytes. What ends it early is in the answer, with what there was before.
pub(super) fn decompress(
    (file, shown): (&File, &Path),
    length: u64,
    how: Compression,
    spill: &Spill,
    step: &mut dyn FnMut() -> Result<()>,
) -> Result<(Spooled, Option<Fault>)> {
    let damaged = |e: std::io::Error| {
        let reason = match e.kind() {
            std::io::ErrorKind::UnexpectedEof => Reason::Truncated,
            _ => Reason::Corrupt,
        };
        Some(Fault::new(reason, format!("its {} ends in error: {e}", how.name())))
    };
    let mut spool = Spool::new(spill);
    let mut reader = match how.reader(file) {
        Ok(reader) => reader,
        Err(e) => return Ok((spool.finish()?, damaged(e))),
    };
    let most = length.saturating_mul(RATIO).saturating_add(BESIDE);
    let mut buffer = vec![0; 1 << 20];
    loop {
        step()?;
        let read = match reader.read(&mut buffer) {
            Ok(read) => read,
            Err(e) if e.kind() == std::io::ErrorKind::Interrupted => continue,
            Err(e) => return Ok((spool.finish()?, damaged(e))),
        };
        if read == 0 {
            return Ok((spool.finish()?, None));
        }
        if spool.len() + read as u64 > most {
            return Err(Error::config(
                format!("{}: {length} bytes decompress to more than {most}: a decompression bomb", shown.display()),
                "if it is none, decompress it yourself and give the .tar",
            ));
        }
        spool.push(&buffer[..read])?;
    }
}
