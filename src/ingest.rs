//! The write door: a source becomes a version of a dataset.
//!
//! ```text
//! Source -> Listing (frozen) -> chunks, checked and prepared on all cores -> shards in listing order -> journal -> segment -> root -> card
//! ```
//!
//! - The bytes of a dataset follow from the listing and the options alone: not from threads, clocks or paths.
//! - A bad entry goes to the quarantine with its reason, and the rest goes on ([`MaxErrors`] says how far).
//! - A run that is killed anywhere leaves the last version whole. A rerun of the same listing takes the finished shards from
//!   the journal and decodes the rest, and what changed since (by size and time of change) again.
//! - What was refused can be taken in later, alone ([`retry`]).
//! - With [`IngestOptions::isolate`] payloads are decoded in processes of their own, and what crashes there is refused.
//! - An entry that the dataset has already is skipped, without being read if its files have the sizes and times of change that an
//!   earlier ingest saw ([`IngestOptions::checksum`] reads them); another one under its id goes to the quarantine (`id-taken`),
//!   unless rows follow their source ([`crate::revise::sync()`]).
//!
//! [`DatasetWriter`] is the same door for records made in code.

use std::path::{Path, PathBuf};
use std::sync::Arc;

mod base;
mod check;
mod claims;
#[cfg(feature = "fuzzing")]
#[doc(hidden)]
pub mod doors;
mod freeze;
mod gone;
mod isolated;
mod journal;
mod keeping;
mod keys;
mod look;
mod options;
mod publish;
mod recordings;
mod retry;
mod run;
mod seen;
mod sink;
mod sync;
mod target;
mod watchdog;
mod writer;

pub use crate::quarantine::{QUARANTINE, Refused};
pub(crate) use claims::{forget, settle};
pub use isolated::{Isolate, serve};
pub use journal::{JOURNALS, is_unfinished, journaled};
pub use options::{Control, IngestOptions, InvalidUtf8, MaxErrors, Progress, Summary, Tell};
pub(crate) use publish::rebased;
pub use retry::{Retried, recorded, retry};
pub(crate) use seen::remembered;
pub(crate) use sync::{Commit, Pending};
pub use sync::{Own, SyncOptions, Synced};
pub use writer::DatasetWriter;

use crate::clock::{self, Mark};
use crate::codec::Scratches;
use crate::data::excerpt::{AudioChunks, Excerpts};
use crate::data::feature::Feature;
use crate::data::manifest::SegmentRef;
use crate::error::{Error, Origin, Result};
use crate::parallel;
use crate::prepare::{self, Prepare};
use crate::quarantine::{self, Head};
use crate::shard::read_finished;
use crate::source::{self, Listing};
use crate::spool::Spill;
use crate::store::{LocalDisk, Store};
use base::Base;
use check::Checker;
use claims::Claims;
use freeze::Files;
use gone::RefusedIds;
use isolated::{Isolation, Setup};
use journal::{Journal, Report, Stretch};
use keeping::Keeping;
use keys::Keys;
use retry::Again;
use run::{Done, Run, Work};
use seen::Seen;
use sink::Sink;
use sync::{Found, Fresh};
use watchdog::{Then, Watchdog};

/// Takes a source into a dataset and commits one version of it.
///
/// # Errors
///
/// [`Error::Config`] for what the caller has to decide (an unclear source, a folder that is no dataset, other
/// columns); [`Error::QuarantineLimit`] and [`Error::Interrupted`] commit nothing and keep the journal;
/// [`Error::Conflict`] if another writer appended other classes meanwhile; [`Error::Io`] otherwise.
pub fn ingest(source: &Path, dataset: &Path, options: &IngestOptions, control: &Control) -> Result<Summary> {
    take(source, dataset, options, control, &Mode::Plain)
}

/// The same, with the rows of the source following it: who calls this says how that is committed ([`crate::revise::sync()`]).
pub(crate) fn follow(
    source: &Path,
    dataset: &Path,
    options: &IngestOptions,
    sync: &SyncOptions,
    control: &Control,
    commit: Commit<'_>,
) -> Result<Summary> {
    take(source, dataset, options, control, &Mode::Follow(sync, commit))
}

/// What is taken.
enum Mode<'a> {
    /// What is new.
    Plain,
    /// What was refused before.
    Again(&'a Again<'a>),
    /// What is new, and what became of the rest.
    Follow(&'a SyncOptions, Commit<'a>),
}

/// The work of [`ingest`], of [`retry`], and of [`follow`].
fn take(source: &Path, dataset: &Path, options: &IngestOptions, control: &Control, mode: &Mode<'_>) -> Result<Summary> {
    let again = if let Mode::Again(again) = mode { Some(*again) } else { None };
    let began = Mark::now();
    // Before anything of the source is looked at.
    let settled = clock::before(seen::MARGIN);
    options.validate()?;
    if options.isolate && control.isolate.is_none() {
        let help = "say how in Control::isolate: a program that calls feedstock::ingest::serve";
        return Err(Error::config("nothing says how processes for payloads are begun", help));
    }
    target::check(source, dataset)?;
    let store = Store::with_disk(dataset, control.disk.clone().unwrap_or_else(|| Arc::new(LocalDisk)));
    // The dataset's own disk has room; the system's folder for temporary files may be memory.
    let mut spill = Spill::to(store.root().join(".dsctl"));
    if let Some(bytes) = control.spill_beyond {
        spill = spill.beyond(bytes);
    }
    let watch = |entries| control.listed(entries);
    let choice = source::choose_into(&control.sources, source, options.format.as_deref(), &spill, &watch)?;
    let root = keeping::root(&choice.tree, &choice.root)?;
    let head = Head::of(source, options.recorded(choice.entry.name))?;
    let only = again.map(|again| |asked: &source::Asked<'_>| again.wants(&root, asked));
    let only = only.as_ref().map(|only| only as source::Only<'_>);
    let listing = Listing::of_only(
        choice.source.as_ref(),
        (&choice.tree, &choice.root),
        (&options.source, &options.id_prefix),
        &spill,
        &watch,
        only,
    )?;
    let mut base = Base::open(&store, &spill)?;
    let chunks = chunks(options, &base, &listing);
    let watchdog = Watchdog::of(options, control)?;
    let mut listing = cut(listing, chunks.as_ref(), options, control, &spill, watchdog.as_ref())?;
    if let Some(again) = again
        && listing.entries.is_empty()
        && listing.refused.is_empty()
    {
        let left = again.left(&[], &spill)?;
        let quarantine = quarantine::write(&store, &again.run.key, &head, &left, &spill)?;
        let seconds = began.elapsed().as_secs_f64();
        return Ok(Summary { version: base.version(), quarantine, seconds, ..Summary::default() });
    }
    options.prepare.check_objects(&listing.schema)?;
    let (mut prepare, stored) =
        Prepare::of_excerpts(&options.prepare, &listing.schema, listing.excerpts, base.schema(), &control.ops)?;
    let (schema, places) = base.merge(&stored)?;
    let setup = options.isolate.then(|| Setup {
        options: options.clone(),
        feedstock: env!("CARGO_PKG_VERSION").to_owned(),
        source: Setup::nameless(&listing.schema),
        dataset: base.schema().map(Setup::nameless),
        shards: Setup::nameless(&schema),
        excerpts: listing.excerpts,
        places: places.clone(),
    });
    let places = prepare.arrange(&places)?;
    arrange(&mut listing, &places, options, source)?;
    let mut frozen = freeze::freeze(&listing, &choice.entry, options, &schema)?;
    let keys = Keys::listed(&listing.entries, &spill)?;
    let follow = if let Mode::Follow(sync, commit) = mode { Some((*sync, *commit)) } else { None };
    let own = follow.map_or(Own::Recorded, |(sync, _)| sync.own);
    let moved_from = follow.and_then(|(sync, _)| sync.moved_from.as_deref());
    let claims = Claims::open(&store, source, moved_from, options)?;
    base.find(|key| own == Own::All || keys.contains(key) || claims.find(key).is_some())?;
    base.name_classes(&schema);
    control.check_cancel()?;
    let found = Found { listing: &listing, schema: &schema, base: &base, claims: &claims, keys: &keys, spill: &spill };
    let seen = Seen::open(&store, source, &root, options, settled);
    if let Some((sync, _)) = follow {
        found.check_known(sync, seen.is_there(), source)?;
    }
    let gone = follow.map(|(sync, _)| found.gone(sync, &options.id_prefix, dataset)).transpose()?;
    if let (Some(_), Some(root)) = (follow, &base.root) {
        frozen = frozen.following(root, own);
    }
    let follows = follow.map(|_| (&claims, own));
    if let (Some((sync, _)), Some(gone)) = (follow.filter(|(sync, _)| sync.dry_run), &gone) {
        let scratches = Scratches::new(options.decode_memory);
        let checker = Checker {
            schema: &schema,
            tree: &listing.tree,
            base: &base,
            seen: Some(&seen),
            claims: follows,
            is_cut: gone.is_cut,
            in_doubt: listing.refused.any_files()?,
            dry: true,
            prepare: &prepare,
            check: options.check,
            invalid_utf8: options.invalid_utf8,
            limits: &options.limits,
            decodes: &control.decodes,
            scratches: &scratches,
            isolation: None,
            watch: None,
        };
        let (fresh, refused) =
            parallel::pool(options.threads)?.install(|| sync::look(&checker, &listing, control, &spill))?;
        let counts = found.decide(sync, gone, &fresh, &refused)?.counts;
        let mut notes = choice.notes;
        notes.extend(listing.notes.iter().chain(&gone.notes).cloned());
        let quarantined = refused.len() as u64 + listing.refused.len() as u64;
        let seconds = began.elapsed().as_secs_f64();
        return Ok(Summary {
            version: base.version(),
            quarantined,
            seconds,
            notes,
            sync: Some(counts),
            ..Summary::default()
        });
    }

    let mut sink = Sink::new(&store, &schema, options.shards(), &spill);
    let keeping = Keeping::new(&listing.tree, &root, options);
    let mut refused = Report::new(&spill);
    for refusal in listing.refused.iter() {
        let mut refusal = Refused::from(refusal?);
        keeping.listed(&mut refusal, &options.id_prefix, refused.kept());
        refused.push(&refusal)?;
    }
    let (journal, done) = Journal::open(&store, &frozen, |stretch, lines| {
        let stands = stands(&base, &listing, stretch, lines, follows.is_some())?
            && match &stretch.shard {
                None => true,
                Some(shard) => match read_finished(&store.path(&shard.path)?, &schema) {
                    Ok(finished) if finished.shard == *shard => sink.adopt(&schema, finished).map(|()| true)?,
                    // Gone or damaged: it is written again.
                    _ => false,
                },
            };
        if stands {
            refused.extend(lines)?;
        }
        Ok(stands)
    })?;
    store.clean_temporaries()?;
    let key = again.map_or(frozen.key.as_str(), |again| &again.run.key);
    let report = dataset.join(PathBuf::from(format!("{QUARANTINE}/{key}.jsonl")));
    let work = Work {
        listing: &listing,
        schema: &schema,
        base: &base,
        seen: &seen,
        claims: follows,
        is_cut: gone.as_ref().is_some_and(|gone| gone.is_cut),
        prepare: &prepare,
        options,
        control,
        journal: &journal,
        setup: setup.as_ref(),
        watchdog: watchdog.as_ref(),
        keeping,
        report: &report,
    };
    let mut run = Run::new(work, sink, refused, &done, &spill)?;
    let ran = match parallel::pool(options.threads)?.install(|| run.all()) {
        Err(e) if !matches!(e, Error::QuarantineLimit { .. }) => return Err(e),
        ran => ran,
    };
    let Done { skipped, unread, sightings, mended, refused, sink } = run.into_done()?;
    let mut summary = Summary { skipped, unread, quarantined: refused.count(), ..Summary::default() };
    (summary.mended, summary.replaced) = (mended.rows, mended.replaced);
    // A retry takes out of the quarantine what is good now, and not before that is committed.
    let lines = refused.finish()?;
    // What the listing refused is no entry, though it may have the id of one.
    let ids = RefusedIds::of(&lines, listing.refused.len(), &spill)?;
    if again.is_none() {
        summary.quarantine = quarantine::write(&store, key, &head, &lines, &spill)?;
    }
    ran?;

    summary.notes = choice.notes;
    summary.notes.append(&mut listing.notes.clone());
    let put = if sink.tally.rows > 0 { Some(publish::put(&store, sink)?) } else { None };
    let fresh = Fresh::of(&store, put.as_ref().map(|(segment, _)| segment), schema.columns.len(), &spill)?;
    let decided = match (follow, &gone) {
        (Some((sync, _)), Some(gone)) => Some(found.decide(sync, gone, &fresh, &ids)?),
        _ => None,
    };
    let brought = if decided.is_some() { None } else { found.brought(&fresh, &ids, seen.is_there())? };
    let mut newest = None;
    if let (Some(decided), Some((_, commit)), Some(root)) = (&decided, follow, &base.root) {
        summary.version = base.version();
        let mut counts = decided.counts;
        if counts.is_nothing() {
            let is_cut = gone.as_ref().is_some_and(|gone| gone.is_cut);
            let as_source = if is_cut { "stays" } else { "is as the source" };
            summary.notes.push(format!("nothing new: version {} {as_source}", base.version()));
            publish::write_card(&store, &mut summary);
        } else {
            let intend = |version: u64, segments: &[SegmentRef]| claims.intend(&decided.claims, version, segments);
            let segment = put.as_ref().map(|(segment, _)| segment);
            let (out, changes) = (&decided.out, &decided.changes);
            let pending =
                Pending { base: root, schema: &schema, segment, out, changes, intend: &intend, spill: &spill };
            let (root, mut notes) = commit(&store, &pending)?;
            summary.version = root.manifest.version;
            summary.notes.append(&mut notes);
            counts.committed = true;
            if let Some((_, tally)) = put {
                publish::summarise(&mut summary, &root.manifest.schema, tally);
            }
            newest = Some(root);
        }
        summary.notes.extend(gone.iter().flat_map(|gone| gone.notes.iter().cloned()));
        summary.sync = Some(counts);
    } else if let Some(put) = put {
        let next = decided.as_ref().map(|decided| &decided.claims).or(brought.as_ref());
        let mut intend =
            |version: u64, segments: &[SegmentRef]| next.map_or(Ok(()), |next| claims.intend(next, version, segments));
        newest = Some(publish::publish(&store, &base, &schema, put, &mut summary, &mut intend)?);
        summary.sync = decided.as_ref().map(|decided| Synced { committed: true, ..decided.counts });
    } else if skipped > 0 || again.is_some() {
        summary.version = base.version();
        if skipped > 0 {
            summary.notes.push(format!("nothing new: version {} has all of it", base.version()));
        }
        publish::write_card(&store, &mut summary);
    } else {
        return Err(Error::QuarantineLimit {
            refused: summary.quarantined,
            seen: summary.quarantined,
            limit: format!("{} (and one good row)", options.max_errors),
            class: None,
            report,
        });
    }
    match decided.as_ref().map(|decided| &decided.claims).or(brought.as_ref()) {
        Some(next) => {
            let segments = newest.as_ref().or(base.root.as_ref()).map_or(&[][..], |root| &root.manifest.segments);
            summary.notes.extend(claims.keep(next, summary.version, segments, &spill));
        }
        None => summary.notes.push(claims.damaged_note()),
    }
    summary.notes.extend(seen.keep(sightings, summary.version, again.is_some(), &spill));
    journal.remove()?;
    if let Some(again) = again {
        summary.quarantine = quarantine::write(&store, key, &head, &again.left(&lines, &spill)?, &spill)?;
    }
    summary.seconds = began.elapsed().as_secs_f64();
    Ok(summary)
}

/// Cuts the recordings of a listing, whose headers are looked at where its payloads will be.
fn cut(
    listing: Listing,
    chunks: Option<&AudioChunks>,
    options: &IngestOptions,
    control: &Control,
    spill: &Spill,
    watchdog: Option<&Watchdog>,
) -> Result<Listing> {
    let setup = options.isolate.then(|| Setup::headers(options));
    let isolation = Isolation::of(setup.as_ref(), control, watchdog)?;
    let facts = |path: &Path, bytes: &[u8]| {
        let origin = Origin { file: Some(path.to_owned()), ..Origin::default() };
        if let Some(isolation) = &isolation {
            return isolation.facts(&origin, bytes);
        }
        let then = control.stuck.as_ref().map(|tell| Then::Tell(Arc::clone(tell)));
        let _watch = watchdog.zip(then).map(|(dog, then)| dog.begin(origin, then));
        source::facts(bytes, &options.limits)
    };
    let watch = |entries| control.listed(entries);
    let cut = listing.cut_by(chunks, &options.limits, options.threads, spill, &watch, &facts)?;
    isolation.as_ref().map_or(Ok(()), Isolation::check)?;
    Ok(cut)
}

/// The chunks that recordings are cut into: as asked, or as those in the dataset were.
fn chunks(options: &IngestOptions, base: &Base, listing: &Listing) -> Option<AudioChunks> {
    let there = || match base.schema().and_then(prepare::excerpts) {
        // Other columns are said to be other ones where the schemas are compared.
        Some(Excerpts::Chunks(chunks)) if listing.schema.columns.iter().any(|c| c.feature == Feature::Audio) => {
            Some(chunks)
        }
        _ => None,
    };
    options.source.audio_chunks.or_else(there)
}

/// Brings a listing into the dataset's terms: its columns in their order, ids with their prefix.
fn arrange(listing: &mut Listing, places: &[usize], options: &IngestOptions, source: &Path) -> Result<()> {
    if listing.entries.is_empty() && listing.refused.is_empty() {
        return Err(Error::config(
            format!("{}: the source has no entries", source.display()),
            "check the path and the options of the source",
        ));
    }
    listing.entries.arrange(places, &options.id_prefix);
    listing.refused.prefix(&options.id_prefix);
    let columns = std::mem::take(&mut listing.schema.columns);
    listing.schema.columns = places.iter().map(|p| columns[*p].clone()).collect();
    Ok(())
}

/// Whether a journaled stretch, with its refused lines, is still work to be committed: not if a file of it changed, or if
/// the dataset has rows of it by now.
fn stands(base: &Base, listing: &Listing, stretch: &Stretch, lines: &[u8], follows: bool) -> Result<bool> {
    let range = usize::try_from(stretch.from).ok().zip(usize::try_from(stretch.to).ok());
    let Some(range) = range.filter(|(_, to)| *to <= listing.entries.len()) else { return Ok(false) };
    let (mut files, mut had) = (Files::default(), 0);
    for at in range.0..range.1 {
        let (entry, print) = listing.entries.listed(at)?;
        had += u64::from(base.has(&entry.id));
        files.add(&entry.id, print);
    }
    // Of the entries whose ids the dataset has, each was skipped or refused.
    let mut refused = 0;
    for line in quarantine::read_lines(lines) {
        refused += u64::from(base.has(&line?.id));
    }
    // Where rows follow their source, the journal is that of one version only, and some of what it has is made anew.
    Ok((follows || had == stretch.skipped + refused) && files.digest() == stretch.files)
}

#[cfg(test)]
mod tests;
