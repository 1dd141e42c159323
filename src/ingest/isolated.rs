//! Payloads looked at in processes of their own, for media that nobody vouches for: one that crashes its decoder, takes all memory or
//! never comes back costs its own entry, and the rest goes on.
//!
//! ```text
//! ingest                          process (one a thread, begun when it is wanted, used for many payloads)
//!   Ask::Payload + bytes   -->    what it is, its header
//!          Answer::Needs   <--    how much memory decoding it takes
//!   Ask::Go                -->    decodes it, makes what is stored of it                 under RLIMIT_DATA
//!         Answer::Looked   <--    facts, and what was made
//! ```
//!
//! Both sides run the same [`Looker`](super::look::Looker), so a dataset has the same bytes either way. A process that dies in a payload is
//! replaced, and a payload that others went before in it is looked at once more in a fresh one: what becomes of it hangs on nothing but
//! itself. The processes end when the pipe closes, and so with the ingest, however that ends.

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, BufReader, Read as _, Seek as _, SeekFrom, Write as _};
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::path::PathBuf;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

mod serve;
mod wire;

pub(super) use serve::Setup;
pub use serve::serve;

use super::look::{Looked, Sound};
use super::options::Control;
use super::watchdog::{Then, Watchdog};
use crate::codec::Limits;
use crate::codec::Loan;
use crate::data::info::Info;
use crate::error::{Error, Fault, Origin, Reason, Result};
use wire::{Answer, Ask};

/// A process whose decoder needed more than this is not used again: memory that was large once stays with it.
const KEPT: u64 = 256 << 20;
/// The same for what it said on its standard error.
const WORDS: u64 = 1 << 20;

/// How a process is begun that looks at payloads: a program that calls [`serve`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Isolate {
    /// The program.
    pub program: PathBuf,
    /// What it is called with.
    pub args: Vec<OsString>,
}

/// The processes of an ingest.
pub(super) struct Isolation<'a> {
    how: &'a Isolate,
    setup: Vec<u8>,
    limits: &'a Limits,
    seconds: f64,
    watchdog: &'a Watchdog,
    idle: Mutex<Vec<Worker>>,
    /// Why there are none.
    broken: Mutex<Option<Error>>,
}

/// A process.
struct Worker {
    child: Arc<Mutex<Child>>,
    to: ChildStdin,
    from: BufReader<ChildStdout>,
    words: File,
    /// Whether it has looked at nothing yet.
    fresh: bool,
}

/// What an answer says, with its body.
enum Heard {
    Ready,
    Looked(Looked),
    Counted(i64),
    Sound(Sound),
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl<'a> Isolation<'a> {
    /// The one of an ingest that is set up so, if it is isolated.
    pub(super) fn of(
        setup: Option<&'a Setup>,
        control: &'a Control,
        watchdog: Option<&'a Watchdog>,
    ) -> Result<Option<Self>> {
        let (Some(setup), Some(how), Some(watchdog)) = (setup, &control.isolate, watchdog) else { return Ok(None) };
        Ok(Some(Isolation {
            how,
            setup: serde_json::to_vec(setup).map_err(|e| Error::library("setting up a process for payloads", e))?,
            limits: &setup.options.limits,
            seconds: setup.options.payload_seconds,
            watchdog,
            idle: Mutex::default(),
            broken: Mutex::default(),
        }))
    }

    /// Why no process could be begun: what was said of payloads since is void.
    pub(super) fn check(&self) -> Result<()> {
        lock(&self.broken).take().map_or(Ok(()), Err)
    }

    /// As [`Looker::payload`](super::look::Looker::payload).
    pub(super) fn payload<'s>(
        &self,
        origin: &Origin,
        column: usize,
        bytes: &[u8],
        lend: &dyn Fn(u64) -> Loan<'s>,
    ) -> Result<Looked, Fault> {
        looked(self.ask(origin, &Ask::Payload { column }, bytes, lend)?)
    }

    /// As [`Looker::part`](super::look::Looker::part).
    pub(super) fn part<'s>(
        &self,
        origin: &Origin,
        column: usize,
        bytes: &[u8],
        lend: &dyn Fn(u64) -> Loan<'s>,
    ) -> Result<Looked, Fault> {
        looked(self.ask(origin, &Ask::Part { column }, bytes, lend)?)
    }

    /// As [`Looker::count`](super::look::Looker::count).
    pub(super) fn count<'s>(
        &self,
        origin: &Origin,
        at: usize,
        (bytes, info): (&[u8], &Info),
        lend: &dyn Fn(u64) -> Loan<'s>,
    ) -> Result<i64, Fault> {
        match self.ask(origin, &Ask::Count { at, info: info.into() }, bytes, lend)? {
            Heard::Counted(count) => Ok(count),
            _ => Err(beside_the_point()),
        }
    }

    /// As [`Looker::recording`](super::look::Looker::recording), in memory that was lent before.
    pub(super) fn recording(&self, origin: &Origin, bytes: &[u8]) -> Result<Sound, Fault> {
        match self.ask(origin, &Ask::Recording, bytes, &|_| ())? {
            Heard::Sound(sound) => Ok(sound),
            _ => Err(beside_the_point()),
        }
    }

    /// As [`crate::source::facts`].
    pub(super) fn facts(&self, origin: &Origin, bytes: &[u8]) -> Result<Info, Fault> {
        looked(self.ask(origin, &Ask::Facts, bytes, &|_| ())?).map(|looked| looked.info)
    }

    /// Asks a process that has nothing to do, or a new one.
    fn ask<L>(&self, origin: &Origin, ask: &Ask, bytes: &[u8], lend: &dyn Fn(u64) -> L) -> Result<Heard, Fault> {
        loop {
            let idle = lock(&self.idle).pop();
            let mut worker = match idle.map_or_else(|| self.begin(), Ok) {
                Ok(worker) => worker,
                Err(error) => {
                    lock(&self.broken).get_or_insert(error);
                    return Err(Fault::new(Reason::Unreadable, "no process could be begun to look at it"));
                }
            };
            let watch = self.watchdog.begin(origin.clone(), Then::Kill(Arc::clone(&worker.child)));
            let (mut loan, mut large) = (None, false);
            let heard = worker.talk(ask, bytes, self.most(), &mut |needs| {
                large |= needs > KEPT;
                loan = Some(watch.paused(|| lend(needs)));
            });
            let late = watch.is_late();
            drop(watch);
            drop(loan);
            match heard {
                Ok(heard) => {
                    let talkative = worker.words.metadata().map_or(true, |meta| meta.len() > WORDS);
                    if !late && !large && !talkative {
                        worker.fresh = false;
                        lock(&self.idle).push(worker);
                    }
                    return heard;
                }
                // It may have died of what it looked at before.
                Err(_) if !late && !worker.fresh => {}
                Err(_) => return Err(self.fault(worker, late)),
            }
        }
    }

    /// Bytes of an answer at the most.
    fn most(&self) -> u64 {
        let Limits { payload_bytes, decoded_bytes, .. } = *self.limits;
        let samples = self.limits.cut().samples.saturating_mul(4);
        // A seek table is a small part of its payload.
        payload_bytes.saturating_mul(2).max(decoded_bytes).max(samples).saturating_add(1 << 20)
    }

    /// Begins a process, in a group of its own: Ctrl-C is for the ingest, which closes the pipes when it has ended.
    fn begin(&self) -> Result<Worker> {
        let lost = |e: io::Error| Error::io(&self.how.program, "begin a process to look at payloads", e);
        let words = tempfile::tempfile().map_err(lost)?;
        let mut command = Command::new(&self.how.program);
        command.args(&self.how.args).process_group(0);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(words.try_clone().map_err(lost)?);
        let mut child = command.spawn().map_err(lost)?;
        let (to, from) = (child.stdin.take(), child.stdout.take());
        let (Some(to), Some(from)) = (to, from) else { return Err(lost(wire::odd("it has no pipes"))) };
        let child = Arc::new(Mutex::new(child));
        let from = BufReader::with_capacity(1 << 16, from);
        let mut worker = Worker { child: Arc::clone(&child), to, from, words, fresh: true };
        let origin = Origin { file: Some(self.how.program.clone()), ..Origin::default() };
        let watch = self.watchdog.begin(origin, Then::Kill(child));
        let ready = worker.talk(&Ask::Setup, &self.setup, 0, &mut |_| {});
        drop(watch);
        let what = match ready {
            Ok(Ok(Heard::Ready)) => return Ok(worker),
            Ok(Ok(_)) => "it answers what it was not asked".to_owned(),
            Ok(Err(fault)) => fault.message,
            Err(e) => format!("{e}; {}", worker.end().1),
        };
        let context = format!("a process that looks at payloads ({})", self.how.program.display());
        Err(Error::library(context, what))
    }

    fn fault(&self, worker: Worker, late: bool) -> Fault {
        if late {
            let what = format!("it was not decoded within {} s (--payload-seconds)", self.seconds);
            return Fault::new(Reason::TimedOut, what);
        }
        let (status, words) = worker.end();
        // What the allocator of Rust says last; and what a system does that has no more memory.
        if words.contains("memory allocation of") || status.is_some_and(|status| status.signal() == Some(9)) {
            return Fault::new(Reason::OutOfMemory, "the process that decoded it had no more memory");
        }
        let how = match status.map(|status| (status.signal(), status.code())) {
            Some((Some(signal), _)) => format!("signal {signal}"),
            Some((None, Some(code))) => format!("exit code {code}"),
            _ => "nobody knows what".to_owned(),
        };
        Fault::new(Reason::Crashed, format!("the process that decoded it crashed ({how})"))
    }
}

impl Worker {
    /// Asks, and hears the answer; `needs` is called when it wants memory, once.
    fn talk(
        &mut self,
        ask: &Ask,
        bytes: &[u8],
        most: u64,
        needs: &mut dyn FnMut(u64),
    ) -> io::Result<Result<Heard, Fault>> {
        wire::send(&mut self.to, ask, &[bytes])?;
        let from = &mut self.from;
        // Of a recording it was lent before it was read, and who holds a loan must not ask for another.
        let mut asked = matches!(ask, Ask::Setup | Ask::Recording | Ask::Facts);
        loop {
            let (answer, length) = wire::receive::<Answer>(from, most)?.ok_or(io::ErrorKind::UnexpectedEof)?;
            let heard = match answer {
                Answer::Needs(bytes) if !asked && length == 0 => {
                    asked = true;
                    needs(bytes);
                    wire::send(&mut self.to, &Ask::Go, &[])?;
                    continue;
                }
                Answer::Needs(_) => return Err(wire::odd("it wants memory that it has")),
                Answer::Ready => Heard::Ready,
                Answer::Counted(count) => Heard::Counted(count),
                Answer::Sound { channels, rate } => {
                    Heard::Sound(Sound { samples: wire::floats(from, length)?, channels, rate })
                }
                Answer::Refused { reason, message } => return wire::fault(&reason, message).map(Err),
                Answer::Looked { info, made, seek } => {
                    let parts = [made.map_or(0, |(_, bytes)| bytes), seek.unwrap_or(0)];
                    if parts[0].checked_add(parts[1]) != Some(length) {
                        return Err(wire::odd("a body of another length"));
                    }
                    let made = match made {
                        Some((facts, bytes)) => Some((wire::body(from, bytes)?, facts.info()?)),
                        None => None,
                    };
                    let seek = seek.map(|bytes| wire::body(from, bytes)).transpose()?;
                    Heard::Looked(Looked { info: info.info()?, made, seek })
                }
            };
            return Ok(Ok(heard));
        }
    }

    /// Ends it, and says how it ended and what it said last.
    fn end(mut self) -> (Option<std::process::ExitStatus>, String) {
        let status = finish(&self.child);
        let mut words = Vec::new();
        let length = self.words.metadata().map_or(0, |meta| meta.len());
        let read = self.words.seek(SeekFrom::Start(length.saturating_sub(4096)));
        let _ = read.and_then(|_| (&self.words).take(4096).read_to_end(&mut words));
        (status, String::from_utf8_lossy(&words).trim().to_owned())
    }
}

/// Ends a process if it has not ended, so that none is left: what it ended of by itself stays what it ended of.
fn finish(child: &Mutex<Child>) -> Option<std::process::ExitStatus> {
    let mut child = lock(child);
    let _ = child.kill();
    child.wait().ok()
}

impl Drop for Worker {
    fn drop(&mut self) {
        let _ = self.to.flush();
        finish(&self.child);
    }
}

fn looked(heard: Heard) -> Result<Looked, Fault> {
    match heard {
        Heard::Looked(looked) => Ok(looked),
        _ => Err(beside_the_point()),
    }
}

/// A process that answers something else was taken over by what it looked at.
fn beside_the_point() -> Fault {
    Fault::new(Reason::Crashed, "the process that decoded it answered something else")
}
/// An answer of each kind, as it comes over the pipe.
#[cfg(feature = "fuzzing")]
pub(super) fn some_answers() -> Vec<Vec<u8>> {
    let info = wire::Facts::from(&crate::data::info::Info::of(crate::data::info::Format::Png));
    let answers = [
        (Answer::Ready, b"".as_slice()),
        (Answer::Needs(4096), b""),
        (Answer::Looked { info, made: Some((info, 2)), seek: Some(1) }, b"abc"),
        (Answer::Counted(-1), b""),
        (Answer::Sound { channels: 1, rate: 8000 }, &[0; 8]),
        (Answer::Refused { reason: "corrupt".into(), message: "why".into() }, b""),
    ];
    let sent = |(answer, body): &(Answer, &[u8])| {
        let mut pipe = Vec::new();
        wire::send(&mut pipe, answer, &[body]).is_ok().then_some(pipe)
    };
    answers.iter().filter_map(sent).collect()
}

/// Reads answers to the end, whatever they are.
#[cfg(feature = "fuzzing")]
pub(super) fn read_answers(mut from: &[u8]) {
    while let Ok(Some((answer, length))) = wire::receive::<Answer>(&mut from, 1 << 20) {
        let read = match answer {
            Answer::Sound { .. } => wire::floats(&mut from, length).map(drop),
            Answer::Looked { info, made, .. } => {
                let made = made.map(|(facts, _)| facts.info());
                wire::body(&mut from, length).and_then(|_| info.info()).and_then(|_| made.transpose()).map(drop)
            }
            Answer::Refused { reason, message } => wire::fault(&reason, message).map(drop),
            _ => wire::body(&mut from, length).map(drop),
        };
        if read.is_err() {
            return;
        }
    }
}
