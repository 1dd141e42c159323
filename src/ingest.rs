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
//! - An entry that the dataset has already is skipped; another one under its id goes to the quarantine (`id-taken`).
//!
//! [`DatasetWriter`] is the same door for records made in code.

use std::path::{Path, PathBuf};
use std::sync::Arc;

mod base;
mod check;
mod freeze;
mod journal;
mod keys;
mod options;
mod publish;
mod recordings;
mod run;
mod sink;
mod target;
mod writer;

pub use journal::{JOURNALS, QUARANTINE, Refused, journaled};
pub use options::{Control, IngestOptions, InvalidUtf8, MaxErrors, Progress, Summary};
pub use writer::DatasetWriter;

use crate::clock::Mark;
use crate::data::excerpt::{AudioChunks, Excerpts};
use crate::data::feature::Feature;
use crate::error::{Error, Result};
use crate::parallel;
use crate::prepare::{self, Prepare};
use crate::shard::read_finished;
use crate::source::{self, Listing};
use crate::spool::Spill;
use crate::store::{LocalDisk, Store};
use base::Base;
use freeze::Files;
use journal::{Journal, Report, Stretch};
use keys::Keys;
use run::{Done, Run, Work};
use sink::Sink;

/// Takes a source into a dataset and commits one version of it.
///
/// # Errors
///
/// [`Error::Config`] for what the caller has to decide (an unclear source, a folder that is no dataset, other
/// columns); [`Error::QuarantineLimit`] and [`Error::Interrupted`] commit nothing and keep the journal;
/// [`Error::Conflict`] if another writer appended other classes meanwhile; [`Error::Io`] otherwise.
pub fn ingest(source: &Path, dataset: &Path, options: &IngestOptions, control: &Control) -> Result<Summary> {
    let began = Mark::now();
    options.validate()?;
    target::check(source, dataset)?;
    let choice = source::choose(&control.sources, source, options.format.as_deref())?;
    let store = Store::with_disk(dataset, control.disk.clone().unwrap_or_else(|| Arc::new(LocalDisk)));
    // The dataset's own disk has room; the system's folder for temporary files may be memory.
    let mut spill = Spill::to(store.root().join(".dsctl"));
    if let Some(bytes) = control.spill_beyond {
        spill = spill.beyond(bytes);
    }
    let watch = |entries| control.listed(entries);
    let listing = Listing::of(choice.source.as_ref(), source, &options.source, &spill, &watch)?;
    let mut base = Base::open(&store, &spill)?;
    let chunks = chunks(options, &base, &listing);
    let mut listing = listing.cut(chunks.as_ref(), &options.limits, options.threads, &spill, &watch)?;
    let (mut prepare, stored) =
        Prepare::of_excerpts(&options.prepare, &listing.schema, listing.excerpts, base.schema(), &control.ops)?;
    let (schema, places) = base.merge(&stored)?;
    let places = prepare.arrange(&places)?;
    arrange(&mut listing, &places, options, source)?;
    let frozen = freeze::freeze(&listing, &choice.entry, options, &schema)?;
    let keys = Keys::listed(&listing.entries, &spill)?;
    base.find(|key| keys.contains(key))?;
    drop(keys);
    base.name_classes(&schema);
    control.check_cancel()?;

    let mut sink = Sink::new(&store, &schema, options.shards(), &spill);
    let mut refused = Report::of(&listing.refused, &spill)?;
    let (journal, done) = Journal::open(&store, &frozen, |stretch, lines| {
        let stands = stands(&base, &listing, stretch, lines)?
            && match &stretch.shard {
                None => true,
                Some(shard) => match read_finished(&store.path(&shard.path)?, &schema) {
                    Ok(finished) if finished.shard == *shard => sink.adopt(&schema, finished).map(|()| true)?,
                    // Gone or damaged: it is written again.
                    _ => false,
                },
            };
        if stands {
            refused.extend(stretch.refused, lines)?;
        }
        Ok(stands)
    })?;
    store.clean_temporaries()?;
    let report = dataset.join(PathBuf::from(format!("{QUARANTINE}/{}.jsonl", frozen.key)));
    let work = Work {
        listing: &listing,
        schema: &schema,
        base: &base,
        prepare: &prepare,
        options,
        control,
        journal: &journal,
        report: &report,
    };
    let mut run = Run::new(work, sink, refused, &done, &spill)?;
    let ran = match parallel::pool(options.threads)?.install(|| run.all()) {
        Err(e) if !matches!(e, Error::QuarantineLimit { .. }) => return Err(e),
        ran => ran,
    };
    let Done { skipped, mended, refused, sink } = run.into_done()?;
    let mut summary = Summary { skipped, quarantined: refused.count(), ..Summary::default() };
    (summary.mended, summary.replaced) = (mended.rows, mended.replaced);
    summary.quarantine = journal::quarantine(&store, &frozen.key, refused)?;
    ran?;

    summary.notes = choice.notes;
    summary.notes.append(&mut listing.notes.clone());
    if sink.tally.rows > 0 {
        publish::publish(&store, &base, &schema, sink, &mut summary)?;
    } else if skipped > 0 {
        summary.version = base.version();
        summary.notes.push(format!("nothing new: version {} has all of it", base.version()));
        publish::write_card(&store, &mut summary);
    } else {
        return Err(Error::QuarantineLimit {
            refused: summary.quarantined,
            seen: summary.quarantined,
            limit: format!("{} (and one good row)", options.max_errors),
            report,
        });
    }
    journal.remove()?;
    summary.seconds = began.elapsed().as_secs_f64();
    Ok(summary)
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
fn stands(base: &Base, listing: &Listing, stretch: &Stretch, lines: &[u8]) -> Result<bool> {
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
    for line in journal::refused(lines) {
        refused += u64::from(base.has(&line?.id));
    }
    Ok(had == stretch.skipped + refused && files.digest() == stretch.files)
}

#[cfg(test)]
mod tests;
