//! Decoding the frames that are wanted, from the nearest place where decoding may begin.
//!
//! Decoding begins at an IDR picture, or at a recovery point that promises an exact match (ITU-T H.264, D.2.8) if the wanted
//! frame is presented at or after it; leading pictures of an open group, presented before it, begin one such place further
//! back. In between, pictures that nothing refers to are passed over and the others are decoded but not converted.

use rusty_h264_decoder::Decoder;

use super::color::{Matrix, Planes};
use super::h264::{Entry, Stream, refused};
use super::params::Picture;
use super::track::Track;
use crate::codec::Limits;
use crate::codec::container::{self, Medium};
use crate::error::{Fault, Reason};

/// What one call may decode, as a multiple of [`Limits::pixels`]: 2,048 pictures of the largest admitted size, which is at
/// the default more than 170,000 of 1920 x 1080. It counts what is decoded, not what is handed over.
const WORK: u64 = 2048;

/// Reads a container's tables.
pub(super) type Read = fn(&[u8], Medium, &Limits) -> Result<container::Track, Fault>;

/// Takes a sample's index and its picture.
pub(super) type Emit<'e> = &'e mut dyn FnMut(usize, Planes<'_>) -> Result<(), Fault>;

/// A payload whose headers have been read and held against the limits.
#[derive(Debug)]
pub(super) struct Clip<'a> {
    bytes: &'a [u8],
    pub(super) track: Track,
    stream: Stream,
    pub(super) picture: Picture,
    pub(super) matrix: Matrix,
}

fn corrupt(message: impl std::fmt::Display) -> Fault {
    Fault::new(Reason::Corrupt, message)
}

impl<'a> Clip<'a> {
    /// Reads the headers. Allocates in proportion to the number of frames, which is held under its limit before.
    pub(super) fn open(bytes: &'a [u8], limits: &Limits, read: Read) -> Result<Self, Fault> {
        if bytes.is_empty() {
            return Err(Fault::new(Reason::Empty, "the file has no bytes"));
        }
        Limits::check("encoded bytes", bytes.len() as u64, limits.payload_bytes)?;
        let mut track = Track::new(read(bytes, Medium::Video, limits)?)?;
        let first = track.data(bytes, 0).ok();
        let stream = Stream::new(&track.record, first)?;
        let picture = stream.picture()?;
        let pixels = picture.macroblocks.saturating_mul(256);
        Limits::check("pixels of a coded frame", pixels, limits.pixels)?;
        let kept = (u64::from(picture.references) + 2).saturating_mul(pixels).saturating_mul(3) / 2;
        Limits::check("bytes of the frames kept for reference", kept, limits.decoded_bytes)?;
        match first.map(|first| stream.entry(first)).transpose()? {
            Some(Entry::None) => return Err(corrupt("H.264: the clip does not begin with a key frame")),
            Some(Entry::Open) => track.hide_before(track.samples[0].pts_us),
            Some(Entry::Idr) | None => {} // if the first frame is cut off, decoding will say so
        }
        let matrix = Matrix::of(&picture)?;
        Ok(Clip { bytes, track, stream, picture, matrix })
    }

    /// Decodes samples, given in the order of decoding, and hands each one's picture to `emit`.
    pub(super) fn frames(&self, wanted: &[usize], limits: &Limits, emit: Emit<'_>) -> Result<(), Fault> {
        let mut work = limits.pixels.saturating_mul(WORK) / self.picture.macroblocks.saturating_mul(256).max(1);
        let mut sets = Sets::new(&self.stream);
        let mut session: Option<Session<'_, 'a>> = None;
        for &sample in wanted {
            let going = session.take().filter(|s| s.right_for(sample));
            let floor = going.as_ref().map_or(0, |s| s.next);
            let mut now = match (self.start(sample, floor)?, going) {
                (start, Some(going)) if start.is_none_or(|start| start == going.next) => going,
                (start, _) => Session::new(self, start.unwrap_or(0), &mut sets)?,
            };
            let mut done = now.run_to(sample, &mut work, emit)?;
            if !done {
                // A leading picture could not be decoded from an open start: begin where nothing is missing.
                now = Session::new(self, self.idr_before(sample)?, &mut sets)?;
                done = now.run_to(sample, &mut work, emit)?;
            }
            if !done {
                return Err(corrupt("H.264: a group of pictures cannot be decoded"));
            }
            session = Some(now);
        }
        Ok(())
    }

    /// The last sample from which `sample` can be decoded, not before `floor`; `None` if there is none.
    fn start(&self, sample: usize, floor: usize) -> Result<Option<usize>, Fault> {
        for at in (floor..=sample).rev() {
            if at == 0 {
                return Ok(Some(0));
            }
            if self.track.samples[at].key {
                match self.stream.entry(self.track.data(self.bytes, at)?)? {
                    Entry::Idr => return Ok(Some(at)),
                    Entry::Open if self.track.samples[sample].pts_us >= self.track.samples[at].pts_us => {
                        return Ok(Some(at));
                    }
                    _ => {}
                }
            }
        }
        Ok(None)
    }

    /// The last IDR picture up to a sample, or the first sample of all.
    fn idr_before(&self, sample: usize) -> Result<usize, Fault> {
        for at in (1..=sample).rev().filter(|&at| self.track.samples[at].key) {
            if self.stream.entry(self.track.data(self.bytes, at)?)? == Entry::Idr {
                return Ok(at);
            }
        }
        Ok(0)
    }
}

/// The parameter sets that come with samples, where they change.
struct Sets {
    stream: Stream,
    last: Vec<u8>,
    /// Samples seen.
    seen: usize,
    /// The samples that bring other sets than those before.
    changes: Vec<usize>,
}

impl Sets {
    /// Changes of parameter sets in one clip.
    const MOST: usize = 256;

    fn new(stream: &Stream) -> Self {
        Sets { stream: stream.clone(), last: stream.header.clone(), seen: 0, changes: Vec::new() }
    }

    /// What holds before a sample, and what the decoder must be told for it.
    fn before(&mut self, clip: &Clip<'_>, sample: usize) -> Result<(Stream, Vec<u8>), Fault> {
        let mut unit = Vec::new();
        while self.seen < sample {
            unit.clear();
            self.stream.sets(clip.track.data(clip.bytes, self.seen)?, &mut unit)?;
            if !unit.is_empty() && unit != self.last {
                if self.changes.len() == Self::MOST {
                    let message = format!("H.264 whose parameter sets change more than {} times", Self::MOST);
                    return Err(Fault::new(Reason::Unsupported, message));
                }
                self.last.clone_from(&unit);
                self.changes.push(self.seen);
            }
            self.seen += 1;
        }
        let mut stream = clip.stream.clone();
        let mut header = stream.header.clone();
        for at in self.changes.iter().take_while(|at| **at < sample) {
            stream.sets(clip.track.data(clip.bytes, *at)?, &mut header)?;
        }
        Ok((stream, header))
    }
}

/// A decoder under way.
struct Session<'c, 'a> {
    clip: &'c Clip<'a>,
    decoder: Decoder,
    stream: Stream,
    start: usize,
    /// Whether pictures presented before the start may lack references.
    open: bool,
    /// The sample to be looked at next.
    next: usize,
    /// `frame_num` of the last reference picture.
    number: Option<u32>,
    /// Whether the decoder has a broken picture pending, which makes it refuse the next one once.
    stale: bool,
    unit: Vec<u8>,
}

impl<'c, 'a> Session<'c, 'a> {
    /// At a sample, knowing the parameter sets of the samples before it.
    fn new(clip: &'c Clip<'a>, start: usize, sets: &mut Sets) -> Result<Self, Fault> {
        let (stream, unit) = sets.before(clip, start)?;
        let mut decoder = Decoder::new();
        decoder.decode(&unit).map_err(refused)?;
        let open = stream.entry(clip.track.data(clip.bytes, start)?)? != Entry::Idr;
        Ok(Session { clip, decoder, stream, start, open, next: start, number: None, stale: false, unit })
    }

    /// Whether a sample is presented before an open start.
    fn leading(&self, sample: usize) -> bool {
        let samples = &self.clip.track.samples;
        self.open && samples[sample].pts_us < samples[self.start].pts_us
    }

    /// Whether going on from here gives a sample's picture exactly.
    fn right_for(&self, sample: usize) -> bool {
        self.next <= sample && !self.leading(sample)
    }

    /// Decodes up to and with a sample and emits its picture. `false` if a leading picture before it failed.
    fn run_to(&mut self, sample: usize, work: &mut u64, emit: Emit<'_>) -> Result<bool, Fault> {
        while self.next < sample {
            let at = self.next;
            let outcome = self.step(at, work, None);
            match outcome {
                Ok(()) => {}
                Err(fault) if fault.reason == Reason::Corrupt && self.leading(at) => {
                    if self.start > 0 {
                        return Ok(false);
                    }
                    self.stale = true; // nothing lies further back; what follows the leading pictures does not need them
                }
                Err(fault) => return Err(fault),
            }
        }
        self.step(sample, work, Some(emit))?;
        Ok(true)
    }

    fn step(&mut self, sample: usize, work: &mut u64, emit: Option<Emit<'_>>) -> Result<(), Fault> {
        self.next = sample + 1;
        self.unit.clear();
        let unit = self.stream.unit(self.clip.track.data(self.clip.bytes, sample)?, &mut self.unit)?;
        if let (Some((number, modulus)), Some(last), false) = (unit.number, self.number, unit.idr) {
            // 7.4.3: the number of the last reference picture or one more; 0 or 1 after it was set back (MMCO 5).
            if number > 1 && number != last && number != (last + 1) % modulus {
                return Err(corrupt(format!(
                    "H.264: pictures are missing before frame {sample} (frame_num {number} after {last})"
                )));
            }
        }
        if unit.reference {
            self.number = unit.number.map(|(number, _)| number);
        } else if emit.is_none() && !unit.sets {
            return Ok(());
        }
        *work = work.checked_sub(1).ok_or_else(|| {
            Fault::new(Reason::OverLimit, format!("more than {WORK} times the largest admitted frame to decode"))
        })?;
        let mut picture = self.decoder.decode(&self.unit);
        if std::mem::take(&mut self.stale) && picture.is_err() {
            picture = self.decoder.decode(&self.unit);
        }
        let frame = picture.map_err(refused)?;
        let frame = frame.ok_or_else(|| corrupt(format!("H.264: frame {sample} is not complete")))?;
        let size = &self.clip.picture;
        let (width, height) = ((size.width + size.left) as usize, (size.height + size.top) as usize);
        let luma = width * height;
        if (frame.width, frame.y.len(), frame.u.len(), frame.v.len()) != (width, luma, luma / 4, luma / 4) {
            return Err(corrupt(format!("H.264: frame {sample} is not of the size that the header says")));
        }
        match emit {
            Some(emit) => emit(sample, Planes { y: &frame.y, u: &frame.u, v: &frame.v, stride: width }),
            None => Ok(()),
        }
    }
}
