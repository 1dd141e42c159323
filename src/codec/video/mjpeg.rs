//! Motion JPEG: each sample is a JPEG, decoded as a picture is (`codec/image/jpeg.rs`, with libjpeg-turbo's pixels).
//!
//! Every sample is a clean entry and none is needed by another.

use super::picture::{Chroma, Picture, Planes};
use super::stream::{Decoder, Emit, Entry, Setup, Stream, Unit};
use crate::codec::container::Colour;
use crate::codec::image::jpeg::Jpeg;
use crate::codec::{Codec, Decoded, Limits, Scratch, Want};
use crate::data::info::Info;
use crate::error::{Fault, Reason};

fn unsupported(message: impl std::fmt::Display) -> Fault {
    Fault::new(Reason::Unsupported, format!("Motion JPEG {message}"))
}

/// The headers of a stream: those of its first picture.
#[derive(Debug, Clone, Copy)]
struct Pictures {
    picture: Picture,
    memory: u64,
    limits: Limits,
}

/// Opens a stream by its first picture.
pub(super) fn open(setup: Setup<'_>) -> Result<Box<dyn Stream>, Fault> {
    let first = setup.first("Motion JPEG")?;
    let info = probe(first, setup.limits)?;
    if two_fields(first) {
        return Err(unsupported("of two fields a sample (interlaced)"));
    }
    let Info { width, height, .. } = info;
    let picture = Picture {
        width,
        height,
        left: 0,
        top: 0,
        coded: u64::from(width) * u64::from(height),
        depth: 8,
        chroma: Chroma::Full,
        // JFIF's; the picture codec has made RGB of it.
        colour: Colour { matrix: Some(6), full_range: Some(true) },
    };
    Ok(Box::new(Pictures { picture, memory: Jpeg.memory(first, &info), limits: *setup.limits }))
}

fn probe(sample: &[u8], limits: &Limits) -> Result<Info, Fault> {
    if !Jpeg.sniff(sample) {
        return Err(Fault::new(Reason::Corrupt, "Motion JPEG: a sample is no JPEG"));
    }
    let info = Jpeg.probe(sample, limits)?;
    // An orientation within a frame is not the clip's.
    let (width, height) = info.orientation.size((info.width, info.height));
    Ok(Info { width, height, ..info })
}

/// Whether a second picture follows the end of the first (an end marker is never within coded data).
fn two_fields(sample: &[u8]) -> bool {
    let ends = sample.windows(2).enumerate().filter(|(_, pair)| *pair == [0xff, 0xd9]);
    ends.map(|(at, _)| &sample[at + 2..]).any(|behind| {
        let skipped = behind.iter().take_while(|&&byte| byte == 0).count();
        behind[skipped..].starts_with(&[0xff, 0xd8])
    })
}

impl Stream for Pictures {
    fn picture(&self) -> Picture {
        self.picture
    }

    fn memory(&self) -> u64 {
        self.memory
    }

    fn entry(&self, _sample: &[u8]) -> Result<Entry, Fault> {
        Ok(Entry::Clean)
    }

    /// The headers of the frame and its first scan, and zeros in place of data: as many as a picture of that size cannot do without.
    fn opening(&self, first: &[u8]) -> Result<Vec<u8>, Fault> {
        let mut out = crate::codec::image::jpeg::frame_headers(first)?;
        let least = self.picture.coded / 2048 + 1;
        out.resize(out.len() + usize::try_from(least).unwrap_or(0), 0);
        Ok(out)
    }

    fn decoder(&self) -> Result<Box<dyn Decoder>, Fault> {
        Ok(Box::new(Running { stream: *self, scratch: Scratch::default() }))
    }
}

/// A decoder with its memory.
struct Running {
    stream: Pictures,
    scratch: Scratch,
}

impl Decoder for Running {
    fn read(&mut self, _at: usize, sample: &[u8]) -> Result<Unit, Fault> {
        let info = probe(sample, &self.stream.limits)?;
        if (info.width, info.height) != (self.stream.picture.width, self.stream.picture.height) {
            return Err(unsupported("whose picture size changes on the way"));
        }
        Ok(Unit { disposable: true, cost: 1 })
    }

    fn decode(&mut self, at: usize, sample: &[u8], emit: Emit<'_>) -> Result<(), Fault> {
        match Jpeg.decode(sample, Want::Whole, &self.stream.limits, &mut self.scratch)? {
            Decoded::Pixels(pixels) => emit(at, Planes::Rgb(pixels.data)),
            _ => Err(Fault::new(Reason::Corrupt, "Motion JPEG: a sample is no picture")),
        }
    }
}
