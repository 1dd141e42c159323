//! Decoding the frames that are wanted, from the nearest place where decoding may begin.
//!
//! Decoding begins at a clean entry, or at an open one if the wanted frame is presented at or after it; leading pictures of an
//! open group, presented before it, begin one such place further back. In between, pictures that nothing refers to are passed
//! over and the others are decoded but not converted. What a coding calls an entry is for its [`Stream`] to say.

use std::ops::Range;

use super::color::Matrix;
use super::picture::Picture;
use super::stream::{self, Decoder, Emit, Entry, Samples, Setup, Stream};
use super::track::{Sample, Track};
use crate::codec::container::{self, Coding, Colour, Medium};
use crate::codec::{Limits, Parts};
use crate::error::{Fault, Reason};

/// What one call may decode, as a multiple of [`Limits::pixels`]: 2,048 pictures of the largest admitted size, which is at
/// the default more than 170,000 of 1920 x 1080. It counts what is decoded, not what is handed over.
pub(super) const WORK: u64 = 2048;

/// Reads a container's tables.
pub(super) type Read = fn(&[u8], Medium, &Limits) -> Result<container::Track, Fault>;

/// Where the samples' data is.
#[derive(Clone, Copy)]
pub(super) enum Bytes<'a> {
    /// In the payload.
    Whole(&'a [u8]),
    /// In what was read of it.
    Parts(&'a Parts<'a>),
}

/// What a stream is opened by, as the container has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Head {
    pub(super) coding: Coding,
    pub(super) record: Vec<u8>,
    pub(super) colour: Colour,
}

/// A payload whose headers have been read and held against the limits.
pub(super) struct Clip<'a> {
    pub(super) bytes: Bytes<'a>,
    pub(super) head: Head,
    pub(super) track: Track,
    pub(super) stream: Box<dyn Stream>,
    pub(super) picture: Picture,
    pub(super) matrix: Matrix,
    /// The samples that bring other parameter sets than those before, where a table says so.
    pub(super) changes: Option<Vec<usize>>,
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
        let mut read = read(bytes, Medium::Video, limits)?;
        let record = std::mem::take(&mut read.record);
        let head = Head { coding: read.coding.clone(), record, colour: read.colour };
        let mut track = Track::new(read)?;
        let first = track.data(bytes, 0).ok();
        let stream = stream::open(&head.coding, Setup { record: &head.record, first, limits })?;
        let picture = admitted(&*stream, limits)?;
        if first.map(|first| stream.entry(first)).transpose()? == Some(Entry::None) {
            return Err(corrupt("the clip does not begin with a key frame"));
        }
        let hidden = stream.hidden(Samples { track: &track, bytes })?; // if frames are cut off, decoding will say so
        track.hide(&hidden)?;
        let matrix = Matrix::of(&picture, picture.colour.or(head.colour))?;
        Ok(Clip { bytes: Bytes::Whole(bytes), head, track, stream, picture, matrix, changes: None })
    }

    /// The bytes of a sample, if they are there.
    pub(super) fn data(&self, sample: usize) -> Result<&'a [u8], Fault> {
        match self.bytes {
            Bytes::Whole(bytes) => self.track.data(bytes, sample),
            Bytes::Parts(parts) => parts.get(self.track.samples[sample].range()),
        }
    }

    /// How decoding may begin at a sample: the first, or one that the container calls a key.
    fn entry(&self, sample: usize) -> Result<Entry, Fault> {
        match self.track.samples[sample].entry {
            Some(entry) => Ok(entry),
            None => self.stream.entry(self.data(sample)?),
        }
    }

    /// About how many bytes decoding it holds at once.
    pub(super) fn memory(&self) -> u64 {
        self.stream.memory()
    }

    /// Decodes samples, given in the order of decoding, and hands each one's picture to `emit`, in any order.
    pub(super) fn frames(&self, wanted: &[usize], limits: &Limits, emit: Emit<'_>) -> Result<(), Fault> {
        let mut work = limits.pixels.saturating_mul(WORK) / self.picture.coded.max(1);
        let mut sets = Sets::default();
        let mut given = vec![false; wanted.len()];
        let mut emit = |sample: usize, planes: super::picture::Planes<'_>| {
            let Ok(place) = wanted.binary_search(&sample) else { return Ok(()) };
            if std::mem::replace(&mut given[place], true) {
                return Ok(());
            }
            self.picture.check(&planes)?;
            emit(sample, planes)
        };
        let mut session: Option<Session<'_, 'a>> = None;
        for &sample in wanted {
            let mut now = match (self.begin(session.as_ref().map(|s| s.stand), sample)?, session.take()) {
                (None, Some(going)) => going,
                (start, before) => {
                    if let Some(mut before) = before {
                        before.decoder.drain(&mut emit)?;
                    }
                    Session::new(self, start.unwrap_or(0), &mut sets)?
                }
            };
            if !now.run_to(sample, &mut work, &mut emit)? {
                // A leading picture could not be decoded from an open start: begin where nothing is missing.
                now.decoder.drain(&mut emit)?;
                now = Session::new(self, self.clean_before(sample)?, &mut sets)?;
                if !now.run_to(sample, &mut work, &mut emit)? {
                    return Err(corrupt("a group of pictures cannot be decoded"));
                }
            }
            session = Some(now);
        }
        if let Some(mut last) = session {
            last.decoder.drain(&mut emit)?;
        }
        match given.iter().position(|given| !given) {
            None => Ok(()),
            Some(place) => Err(corrupt(format!("frame {} is not complete", wanted[place]))),
        }
    }

    /// The byte ranges that [`Clip::frames`] reads for samples, unless an open group of pictures turns out to need what is before it.
    pub(super) fn ranges(&self, wanted: &[usize]) -> Result<Vec<Range<u64>>, Fault> {
        let mut sets = Sets::default();
        let (mut stand, mut last_start) = (None, 0);
        // Samples, from one to another: a group may be gone through more than once, and is read once.
        let mut spans: Vec<Range<usize>> = Vec::with_capacity(wanted.len());
        for &sample in wanted {
            let mut now = match (self.begin(stand, sample)?, stand) {
                (None, Some(going)) => going,
                (start, _) => Stand::new(self, start.unwrap_or(0))?,
            };
            last_start = now.start.max(last_start);
            spans.push(now.next.min(sample)..sample + 1);
            now.next = sample + 1;
            stand = Some(now);
        }
        spans.sort_unstable_by_key(|span| span.start);
        let (mut ranges, mut behind) = (Vec::new(), 0);
        for span in spans {
            let fresh = span.start.max(behind)..span.end.max(behind);
            behind = fresh.end;
            ranges.extend(self.track.samples[fresh].iter().map(Sample::range));
        }
        ranges.extend(sets.before(self, last_start)?.iter().map(|&at| self.track.samples[at].range()));
        Ok(ranges)
    }

    /// Where a decoder has to begin for a sample; `None`: the one that stands there goes on.
    fn begin(&self, stand: Option<Stand>, sample: usize) -> Result<Option<usize>, Fault> {
        let right = stand.filter(|stand| stand.right_for(self, sample));
        let floor = right.map_or(0, |stand| stand.next);
        let start = self.start(sample, floor)?;
        let goes_on = right.is_some() && start.is_none_or(|start| start == floor);
        Ok(if goes_on { None } else { Some(start.unwrap_or(0)) })
    }

    /// The last sample from which `sample` can be decoded, not before `floor`; `None` if there is none.
    fn start(&self, sample: usize, floor: usize) -> Result<Option<usize>, Fault> {
        for at in (floor..=sample).rev() {
            if at == 0 {
                return Ok(Some(0));
            }
            if self.track.samples[at].key {
                match self.entry(at)? {
                    Entry::Clean => return Ok(Some(at)),
                    Entry::Open if self.track.samples[sample].pts_us >= self.track.samples[at].pts_us => {
                        return Ok(Some(at));
                    }
                    _ => {}
                }
            }
        }
        Ok(None)
    }

    /// The last clean entry up to a sample, or the first sample of all.
    fn clean_before(&self, sample: usize) -> Result<usize, Fault> {
        for at in (1..=sample).rev().filter(|&at| self.track.samples[at].key) {
            if self.entry(at)? == Entry::Clean {
                return Ok(at);
            }
        }
        Ok(0)
    }
}

/// What a clip's headers must say before memory is taken for it.
pub(super) fn admitted(stream: &dyn Stream, limits: &Limits) -> Result<Picture, Fault> {
    let picture = stream.picture();
    Limits::check("pixels of a coded frame", picture.coded, limits.pixels)?;
    Limits::check("bytes of the frames kept for reference", stream.memory(), limits.decoded_bytes)?;
    Ok(picture)
}

/// The parameter sets that come with samples, where they change.
#[derive(Default)]
pub(super) struct Sets {
    last: Vec<u8>,
    /// Samples seen.
    seen: usize,
    /// The samples that bring other sets than those before.
    changes: Vec<usize>,
}

impl Sets {
    /// Changes of parameter sets in one clip.
    pub(super) const MOST: usize = 256;

    /// The samples in front of one whose sets a decoder must know for it.
    pub(super) fn before<'s>(&'s mut self, clip: &'s Clip<'_>, sample: usize) -> Result<&'s [usize], Fault> {
        let up_to = |changes: &'s [usize]| &changes[..changes.partition_point(|&at| at < sample)];
        if let Some(changes) = &clip.changes {
            return Ok(up_to(changes));
        }
        let mut unit = Vec::new();
        while self.seen < sample {
            unit.clear();
            clip.stream.sets(clip.data(self.seen)?, &mut unit)?;
            if !unit.is_empty() && unit != self.last {
                if self.changes.len() == Self::MOST {
                    let message = format!("video whose parameter sets change more than {} times", Self::MOST);
                    return Err(Fault::new(Reason::Unsupported, message));
                }
                self.last.clone_from(&unit);
                self.changes.push(self.seen);
            }
            self.seen += 1;
        }
        Ok(up_to(&self.changes))
    }
}

/// Where a decoder stands.
#[derive(Debug, Clone, Copy)]
struct Stand {
    start: usize,
    /// Whether pictures presented before the start may lack references.
    open: bool,
    /// The sample to be looked at next.
    next: usize,
}

impl Stand {
    fn new(clip: &Clip<'_>, start: usize) -> Result<Self, Fault> {
        let open = clip.entry(start)? != Entry::Clean;
        Ok(Stand { start, open, next: start })
    }

    /// Whether a sample is presented before an open start.
    fn leading(&self, clip: &Clip<'_>, sample: usize) -> bool {
        let samples = &clip.track.samples;
        self.open && samples[sample].pts_us < samples[self.start].pts_us
    }

    /// Whether going on from here gives a sample's picture exactly.
    fn right_for(&self, clip: &Clip<'_>, sample: usize) -> bool {
        self.next <= sample && !self.leading(clip, sample)
    }
}

/// A decoder under way.
struct Session<'c, 'a> {
    clip: &'c Clip<'a>,
    decoder: Box<dyn Decoder>,
    stand: Stand,
}

impl<'c, 'a> Session<'c, 'a> {
    /// At a sample, knowing the parameter sets of the samples before it.
    fn new(clip: &'c Clip<'a>, start: usize, sets: &mut Sets) -> Result<Self, Fault> {
        let mut decoder = clip.stream.decoder()?;
        for &at in sets.before(clip, start)? {
            decoder.prime(clip.data(at)?)?;
        }
        Ok(Session { clip, decoder, stand: Stand::new(clip, start)? })
    }

    /// Decodes up to and with a sample. `false` if a leading picture before it failed.
    fn run_to(&mut self, sample: usize, work: &mut u64, emit: Emit<'_>) -> Result<bool, Fault> {
        while self.stand.next <= sample {
            let at = self.stand.next;
            match self.step(at, at == sample, work, emit) {
                // What follows the leading pictures of the file's beginning does not need them, and nothing lies further back.
                Err(fault) if fault.reason == Reason::Corrupt && at != sample && self.stand.leading(self.clip, at) => {
                    if self.stand.start > 0 {
                        return Ok(false);
                    }
                }
                outcome => outcome?,
            }
        }
        Ok(true)
    }

    fn step(&mut self, at: usize, wanted: bool, work: &mut u64, emit: Emit<'_>) -> Result<(), Fault> {
        self.stand.next = at + 1;
        let sample = self.clip.data(at)?;
        let unit = self.decoder.read(at, sample)?;
        if unit.disposable && !wanted {
            return Ok(());
        }
        *work = work.checked_sub(unit.cost).ok_or_else(|| {
            Fault::new(Reason::OverLimit, format!("more than {WORK} times the largest admitted frame to decode"))
        })?;
        self.decoder.decode(at, sample, emit)
    }
}
