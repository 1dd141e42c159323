//! A member of a ZIP as a reader that is sure at its end: of the length and the checksum that the directory says.

use std::io::{self, BufReader, Read};
use std::sync::Arc;

use flate2::Crc;
use flate2::bufread::DeflateDecoder;

use super::bytes::{Bytes, Stretch};
use super::{Place, Stored};

/// A reader of a member.
pub(super) fn reader(bytes: &Arc<Bytes>, data: u64, place: &Place) -> Box<dyn Read + Send> {
    let stretch = Stretch::new(Arc::clone(bytes), data, place.stored);
    match place.stored_as {
        Stored::Plain => Box::new(stretch),
        Stored::Zip => Box::new(Checked::new(stretch, place)),
        Stored::Deflated => {
            Box::new(Checked::new(DeflateDecoder::new(BufReader::with_capacity(1 << 15, stretch)), place))
        }
    }
}

struct Checked<R> {
    from: R,
    left: u64,
    crc: Crc,
    said: u32,
}

impl<R: Read> Checked<R> {
    fn new(from: R, place: &Place) -> Self {
        Checked { from, left: place.bytes, crc: Crc::new(), said: place.crc }
    }
}

fn damaged(what: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

impl<R: Read> Read for Checked<R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        if into.is_empty() {
            return Ok(0);
        }
        if self.left == 0 {
            if self.from.read(&mut [0])? > 0 {
                return Err(damaged("the member is longer than the archive's directory says".into()));
            }
            return match self.crc.sum() == self.said {
                true => Ok(0),
                false => Err(damaged(format!("its checksum is {:08x}, not {:08x}", self.crc.sum(), self.said))),
            };
        }
        let most = usize::try_from(self.left).unwrap_or(usize::MAX).min(into.len());
        let read = self.from.read(&mut into[..most])?;
        if read == 0 {
            return Err(damaged(format!("the member ends {} bytes before the archive's directory says", self.left)));
        }
        self.crc.update(&into[..read]);
        self.left -= read as u64;
        Ok(read)
    }
}
