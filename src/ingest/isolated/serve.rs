//! The process that looks at payloads: what it is asked comes from its standard input, what it answers goes to its standard output.

use std::fs::File;
use std::io::{self, BufReader, BufWriter};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use serde::{Deserialize, Serialize};

use super::wire::{self, Answer, Ask};
use crate::codec::Scratches;
use crate::codec::{self, Limits};
use crate::data::excerpt::Excerpts;
use crate::data::feature::{Feature, Schema};
use crate::data::info::Kind;
use crate::error::{Error, Fault, Reason, Result};
use crate::ingest::look::{Looked, Looker};
use crate::ingest::options::IngestOptions;
use crate::parallel;
use crate::prepare::{OpEntry, Prepare, PrepareOptions};
use crate::registry::Table;
use crate::source;

/// What the process has beside what a decoder needs: the program, its stacks, and what an estimate leaves out.
const BESIDE: u64 = 512 << 20;

/// What a process is set up with.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(in crate::ingest) struct Setup {
    pub options: IngestOptions,
    /// The version of the crate: both ends have the same.
    pub feedstock: String,
    /// The source's columns, those of the dataset that is added to, and those of the shards. Classes have no names here.
    pub source: Schema,
    pub dataset: Option<Schema>,
    pub shards: Schema,
    pub excerpts: Option<Excerpts>,
    /// For each column of the shards which one of the source it is.
    pub places: Vec<usize>,
}

impl Setup {
    /// For looks at headers alone, before it is known what is made of anything.
    pub(in crate::ingest) fn headers(options: &IngestOptions) -> Self {
        let options = IngestOptions { prepare: PrepareOptions::default(), ..options.clone() };
        let [source, shards] = [Schema::default(), Schema::default()];
        let feedstock = env!("CARGO_PKG_VERSION").to_owned();
        Setup { options, feedstock, source, dataset: None, shards, excerpts: None, places: Vec::new() }
    }

    pub(in crate::ingest) fn nameless(schema: &Schema) -> Schema {
        let mut schema = schema.clone();
        for column in &mut schema.columns {
            if let Feature::ClassLabel { names } = &mut column.feature {
                names.clear();
            }
        }
        schema
    }
}

/// Looks at payloads for an ingest with [`IngestOptions::isolate`], until that closes the pipe. A program whose
/// [`Isolate`](super::Isolate) names itself calls this, and does nothing else with its standard streams. The process ends itself when
/// the ingest is gone, in whatever way.
///
/// # Errors
///
/// [`Error::Library`]: the pipe broke, or the ingest is of another version.
pub fn serve(ops: &Table<OpEntry>) -> Result<()> {
    let lost = |e: io::Error| Error::library("looking at payloads for an ingest", e);
    serve_all(ops).map_err(lost)
}

fn serve_all(ops: &Table<OpEntry>) -> io::Result<()> {
    // Crashes are expected here, and their cores are of no use.
    limit(Resource::Core, 0);
    // What a decoder prints must not get between the answers.
    let to = File::from(rustix::io::fcntl_dupfd_cloexec(io::stdout(), 3)?);
    rustix::stdio::dup2_stdout(io::stderr())?;
    leash()?;
    let (mut from, mut to) =
        (BufReader::with_capacity(1 << 16, File::from(rustix::io::dup(io::stdin())?)), BufWriter::new(to));
    let Some((Ask::Setup, length)) = wire::receive(&mut from, u64::MAX)? else {
        return Err(wire::odd("this is started by an ingest, not by hand"));
    };
    let setup: Setup = serde_json::from_slice(&wire::body(&mut from, length)?)?;
    let prepare = match prepared(&setup, ops) {
        Ok(prepare) => prepare,
        Err(e) => {
            let fault = Fault::new(Reason::Unsupported, e);
            return wire::send(&mut to, &Answer::refused(&fault), &[]);
        }
    };
    wire::send(&mut to, &Answer::Ready, &[])?;
    let IngestOptions { check, limits, .. } = &setup.options;
    let looker = Looker { schema: &setup.shards, prepare: &prepare, check: *check, limits };
    let scratches = Scratches::new(u64::MAX);
    while let Some((ask, length)) = wire::receive::<Ask>(&mut from, u64::MAX)? {
        let bytes = wire::body(&mut from, length)?;
        answer(&looker, &setup, &scratches, &ask, &bytes, &mut from, &mut to)?;
    }
    Ok(())
}

fn prepared(setup: &Setup, ops: &Table<OpEntry>) -> Result<Prepare> {
    let Setup { options, feedstock, source, dataset, excerpts, places, .. } = setup;
    if feedstock != env!("CARGO_PKG_VERSION") {
        let what = format!("the ingest is of feedstock {feedstock}, this is {}", env!("CARGO_PKG_VERSION"));
        return Err(Error::config(what, "begin the same program"));
    }
    let (mut prepare, _) = Prepare::of_excerpts(&options.prepare, source, *excerpts, dataset.as_ref(), ops)?;
    prepare.arrange(places)?;
    Ok(prepare)
}

/// Ends the process as soon as the other end of its input is closed, also while a decoder does not come back.
fn leash() -> io::Result<()> {
    let ended = || {
        let input = io::stdin();
        let mut watched = [PollFd::new(&input, PollFlags::empty())];
        while !watched[0].revents().intersects(PollFlags::HUP | PollFlags::ERR | PollFlags::NVAL) {
            // An interrupted call is made again.
            let _ = poll(&mut watched, None);
        }
        std::process::abort();
    };
    parallel::spawn("feedstock-leash".to_owned(), ended).map(drop).map_err(io::Error::other)
}

/// Sets what the process may have of something, as far as it may.
fn limit(resource: Resource, most: u64) {
    let maximum = getrlimit(resource).maximum;
    let current = Some(maximum.map_or(most, |maximum| most.min(maximum)));
    // A system that does not have it goes without.
    let _ = setrlimit(resource, Rlimit { current, maximum });
}

/// Limits the memory: to what a decoder said it needs, twice, or to the ingest's budget of all decoders, with the payload, what is
/// made of it, and what every process has.
fn limit_memory(options: &IngestOptions, payload: u64, needs: u64) {
    let decoder = options.decode_memory.max(needs.saturating_mul(2));
    limit(Resource::Data, decoder.saturating_add(payload.saturating_mul(3)).saturating_add(BESIDE));
}

fn answer(
    looker: &Looker<'_>,
    setup: &Setup,
    scratches: &Scratches,
    ask: &Ask,
    bytes: &[u8],
    from: &mut BufReader<File>,
    to: &mut BufWriter<File>,
) -> io::Result<()> {
    let (size, options) = (bytes.len() as u64, &setup.options);
    limit_memory(options, size, 0);
    if !matches!(ask, Ask::Count { .. }) {
        hook(bytes);
    }
    // What went wrong on the way to memory is said behind the look, which then is void.
    let pipes = std::cell::RefCell::new((&mut *from, &mut *to, None::<io::Error>));
    let lend = |needs: u64| {
        if needs > 0 {
            let (from, to, lost) = &mut *pipes.borrow_mut();
            let asked = wire::send(*to, &Answer::Needs(needs), &[]);
            match asked.and_then(|()| wire::receive::<Ask>(*from, 0)) {
                Ok(Some((Ask::Go, _))) => limit_memory(options, size, needs),
                Ok(_) => *lost = Some(wire::odd("no leave to decode")),
                Err(e) => *lost = Some(e),
            }
        }
        scratches.lend(needs)
    };
    let seen = match ask {
        Ask::Payload { column } => codec::sniff(bytes, looker.kind(*column))
            .and_then(|codec| looker.payload(*column, codec, bytes, &lend))
            .map(Seen::Looked),
        Ask::Part { column } => looker.part(*column, bytes, &lend).map(Seen::Looked),
        Ask::Count { at, info } => looker.count(*at, bytes, &info.info()?, &lend).map(Seen::Counted),
        Ask::Recording => {
            // What it decodes to was counted before it was read.
            limit_memory(options, size, decoded(&options.limits));
            let mut loan = scratches.lend(0);
            let codec = codec::sniff(bytes, Kind::Audio);
            codec.and_then(|codec| looker.recording(codec, bytes, &mut loan.scratch)).map(Seen::Sound)
        }
        Ask::Facts => {
            source::facts(bytes, &options.limits).map(|info| Seen::Looked(Looked { info, made: None, seek: None }))
        }
        Ask::Setup | Ask::Go => return Err(wire::odd("no payload")),
    };
    if let Some(lost) = pipes.into_inner().2 {
        return Err(lost);
    }
    match seen {
        Err(fault) => wire::send(to, &Answer::refused(&fault), &[]),
        Ok(Seen::Counted(count)) => wire::send(to, &Answer::Counted(count), &[]),
        Ok(Seen::Sound(sound)) => {
            let samples: &[u8] = bytemuck::cast_slice(&sound.samples);
            wire::send(to, &Answer::Sound { channels: sound.channels, rate: sound.rate }, &[samples])
        }
        Ok(Seen::Looked(Looked { info, made, seek })) => {
            let head = Answer::Looked {
                info: (&info).into(),
                made: made.as_ref().map(|(bytes, info)| (info.into(), bytes.len() as u64)),
                seek: seek.as_ref().map(|seek| seek.len() as u64),
            };
            let made = made.as_ref().map_or(&[][..], |(bytes, _)| bytes);
            wire::send(to, &head, &[made, seek.as_deref().unwrap_or_default()])
        }
    }
}

enum Seen {
    Looked(Looked),
    Counted(i64),
    Sound(crate::ingest::look::Sound),
}

/// Bytes that a recording decodes to at the most.
fn decoded(limits: &Limits) -> u64 {
    limits.decoded_bytes.max(limits.cut().samples.saturating_mul(4))
}

/// **For tests**: the variable that makes a process like this, and none but this, do what hostile media does where a payload says so.
const HOOK: &str = "FEEDSTOCK_TEST_HOSTILE";

fn hook(bytes: &[u8]) {
    if std::env::var_os(HOOK).is_none() {
        return;
    }
    let says = |what: &[u8]| bytes.windows(what.len()).any(|window| window == what);
    if says(b"feedstock-test:abort") {
        std::process::abort();
    }
    if says(b"feedstock-test:exit") {
        std::process::exit(7);
    }
    while says(b"feedstock-test:hang") {
        std::hint::spin_loop();
    }
    let mut held: Vec<Vec<u8>> = Vec::new();
    while says(b"feedstock-test:memory") {
        held.push(Vec::with_capacity(64 << 20));
    }
    drop(held);
}
