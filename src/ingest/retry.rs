//! Taking in again what an ingest refused, and nothing else of its source.
//!
//! The source is listed as before, and of the listing stays what a refusal names: by id, by file and line, by a file or folder
//! that was refused whole, by a recording that was refused with all its parts. What is good now becomes a version, as in any
//! ingest; then the quarantine of the run is replaced by what is refused still, and by what the source has no more.

use std::cell::RefCell;
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::journal::{Report, is_unfinished};
use super::options::{Control, IngestOptions, Summary};
use crate::error::{Error, Result};
use crate::quarantine::{Head, Original, Run};
use crate::source::{Asked, EntryCell};
use crate::spool::{Sorted, Sorter, Spill, Spooled};
use crate::store::{Store, commit};

/// What became of the refusals of a run.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Retried {
    /// The run.
    pub run: String,
    /// Refusals that were there.
    pub before: u64,
    /// Those that stay: of what is refused still, and of what the source has no more.
    pub after: u64,
    /// How many of these the source has no more.
    pub missing: u64,
    /// What the ingest of the others did. `quarantined` are those that were refused again.
    pub summary: Summary,
}

/// The options by which a run read its source; the default ones for a list that an older version wrote.
///
/// # Errors
/// [`Error::Config`]: they are none of this build.
pub fn recorded(run: &Run) -> Result<IngestOptions> {
    let Some(head) = &run.head else { return Ok(IngestOptions::default()) };
    serde_json::from_value(head.options.clone()).map_err(|e| {
        let what = format!("the options that feedstock {} kept with the run {}: {e}", head.feedstock, run.key);
        Error::config(what, "say by --config how the source is read")
    })
}

/// Takes in again what a run refused: from the source as it is now (`source`, or where the run found it), under options as they
/// are now. What is good now is committed as a version and leaves the quarantine; the rest stays there, with the reason that it
/// has now. If nothing is good, there is no new version, and that is no error. Killed anywhere, it can be run again.
///
/// # Errors
///
/// [`Error::Config`]: the run committed nothing, so that its ingest is what is to be run again, or nobody knows where the source
/// is; else as [`super::ingest`].
pub fn retry(
    dataset: &Path,
    run: &Run,
    source: Option<&Path>,
    options: &IngestOptions,
    control: &Control,
) -> Result<Retried> {
    let key = &run.key;
    if is_unfinished(dataset, key)? || commit::latest(&Store::open(dataset))?.is_none() {
        return Err(Error::config(
            format!("the ingest {key} has committed nothing, so there is nothing to add to"),
            "mend the source, or raise --max-errors, and run the ingest itself again: it goes on where it was",
        ));
    }
    let source = source.map(Path::to_owned).or_else(|| Some(PathBuf::from(run.head.as_ref()?.source.as_ref()?)));
    let Some(source) = source else {
        return Err(Error::config(
            format!("nobody knows where the source of the ingest {key} was"),
            "say it: --source PATH",
        ));
    };
    if !source.exists() {
        return Err(Error::config(
            format!("the source is not there: {}", source.display()),
            "say where it is now: --source PATH (only paths within it matter)",
        ));
    }
    let mut spill = Spill::to(dataset.join(".dsctl"));
    if let Some(bytes) = control.spill_beyond {
        spill = spill.beyond(bytes);
    }
    let prefix = recorded(run).map_or_else(|_| options.id_prefix.clone(), |recorded| recorded.id_prefix);
    let again = Again::of(run, &source, &prefix, &spill)?;
    let summary = super::take(&source, dataset, options, control, &super::Mode::Again(&again))?;
    let missing = again.missing();
    Ok(Retried { run: key.clone(), before: again.count, after: missing + summary.quarantined, missing, summary })
}

impl Head {
    pub(super) fn of(source: &Path, options: IngestOptions) -> Result<Self> {
        let source = source.canonicalize().map_err(|e| Error::io(source, "open", e))?;
        Ok(Head {
            quarantine: crate::quarantine::FORMAT,
            source: source.to_str().map(str::to_owned),
            options: serde_json::to_value(options).map_err(|e| Error::library("keeping the options", e))?,
            feedstock: env!("CARGO_PKG_VERSION").to_owned(),
        })
    }
}

/// How the message ends of a recording that was refused with all its parts.
pub(super) const OF_ALL_PARTS: &str = "rows are parts of this recording)";

/// What is taken in again.
pub(super) struct Again<'a> {
    pub run: &'a Run,
    /// The places of refusals by what they name ([`name`]).
    places: Sorted,
    count: u64,
    /// A bit for each refusal: the source has something under its name.
    found: RefCell<Vec<u64>>,
    /// The key of the source itself, an archive that was damaged: all of it is taken in again, as nobody knows what stood behind the damage.
    whole: Option<Vec<u8>>,
}

/// A key: what kind of name it is, and the name.
fn name(kind: u8, text: &str, line: u64) -> Vec<u8> {
    [&[kind][..], text.as_bytes(), &[0], &line.to_be_bytes()].concat()
}

impl<'a> Again<'a> {
    /// The refusals of a run whose ids have a prefix.
    fn of(run: &'a Run, source: &Path, prefix: &str, spill: &Spill) -> Result<Self> {
        let (mut sorter, mut count) = (Sorter::new(spill), 0);
        // What the source was called then, or is now.
        let was = run.head.as_ref().and_then(|head| head.source.as_deref()).map(Path::new);
        let called =
            was.or(Some(source)).filter(|_| source.is_file()).and_then(Path::file_name).and_then(|n| n.to_str());
        let mut whole = None;
        run.each(&mut |at, refused| {
            count += 1;
            let id = refused.id.strip_prefix(prefix).unwrap_or(&refused.id);
            if refused.line.is_none() && called == Some(id) && refused.origin == id {
                whole = Some(name(b'o', id, 0));
            }
            let mut put = |key: Vec<u8>| sorter.push(&key, &at.to_le_bytes());
            put(name(b'i', id, 0))?;
            match refused.line {
                Some(line) => put(name(b'l', &refused.origin, line))?,
                // A file or folder that was refused whole, or a part of a recording; what else a file says is named by its id.
                None if id
                    .strip_prefix(&refused.origin)
                    .is_some_and(|rest| rest.is_empty() || rest.starts_with('#')) =>
                {
                    put(name(b'o', &refused.origin, 0))?;
                }
                None => {}
            }
            match (&refused.recording, refused.rows) {
                (Some(recording), Some(_)) => put(name(b'r', recording, 0)),
                // A fault of its own: the part alone is named.
                (Some(_), None) => Ok(()),
                // Older versions said it in words, and ids of parts are the recording's with a range behind it.
                (None, _) if refused.message.ends_with(OF_ALL_PARTS) => {
                    put(name(b'r', id.rsplit_once('#').map_or(id, |(recording, _)| recording), 0))
                }
                (None, _) => Ok(()),
            }
        })?;
        let words = usize::try_from(count / 64 + 1).unwrap_or(usize::MAX);
        Ok(Again { run, places: sorter.finish()?, count, found: RefCell::new(vec![0; words]), whole })
    }

    /// Whether a refusal names this.
    pub(super) fn wants(&self, root: &Path, asked: &Asked<'_>) -> bool {
        let mut wanted = self.mark(&name(b'i', asked.id, 0));
        if let Some(whole) = &self.whole {
            wanted |= self.mark(whole);
        }
        match asked.line {
            Some(line) => wanted |= self.mark(&name(b'l', asked.origin, line)),
            None => {
                // The folders above may have been refused with all that is in them.
                let above = asked.origin.match_indices('/').map(|(at, _)| &asked.origin[..at]);
                for origin in above.chain([asked.origin]) {
                    wanted |= self.mark(&name(b'o', origin, 0));
                }
            }
        }
        // The lines of a file that was refused whole.
        if asked.line.is_some() {
            wanted |= self.mark(&name(b'o', asked.origin, 0));
        }
        for cell in asked.cells {
            if let EntryCell::Excerpt { path, .. } = cell
                && let Some(recording) = path.strip_prefix(root).ok().and_then(Path::to_str)
            {
                wanted |= self.mark(&name(b'r', recording, 0));
            }
        }
        wanted
    }

    /// Notes that the source has what the refusals of a key name; `false` if there are none.
    fn mark(&self, key: &[u8]) -> bool {
        let mut found = self.found.borrow_mut();
        let mut any = false;
        for place in self.places.all(key) {
            let Ok(place) = place.try_into().map(u64::from_le_bytes) else { continue };
            found[(place / 64) as usize] |= 1 << (place % 64);
            any = true;
        }
        any
    }

    fn is_found(&self, at: u64) -> bool {
        self.found.borrow()[(at / 64) as usize] >> (at % 64) & 1 == 1
    }

    fn missing(&self) -> u64 {
        (0..self.count).filter(|at| !self.is_found(*at)).count() as u64
    }

    /// What stays of the quarantine, as lines: what the source has no more, as it was, then the lines of what is refused now.
    pub(super) fn left(&self, refused: &[u8], spill: &Spill) -> Result<Spooled> {
        let mut left = Report::new(spill);
        self.run.each(&mut |at, mut missing| {
            if self.is_found(at) {
                return Ok(());
            }
            missing.original = match missing.kept {
                Some(_) => self.run.original(at)?.map(Original),
                None => None,
            };
            left.push(&missing)
        })?;
        left.extend(refused)?;
        left.finish()
    }
}
