//! Fewer rows: the shards that hold the others are kept, those that hold some of both are written anew without them.

use std::collections::HashMap;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::Serialize;

use super::overlay::stored;
use super::told::Problem;
use super::{Attempt, Edit, Old, Revised, content, revise, sum};
use crate::data::changes::{Changes, ChangesBuilder};
use crate::data::index::{Row, Segment, SegmentBuilder, TableFile, take_over};
use crate::data::manifest::SegmentRef;
use crate::data::record::row_key;
use crate::error::{Error, Result};
use crate::ingest::forget;
use crate::plan::Filter;
use crate::shard::{ShardOptions, ShardWriter, read_ids, read_rows};
use crate::spool::{Sorted, Sorter, Spill};
use crate::store::Store;
use crate::store::commit;

/// Which rows [`remove`] takes out: those of which any of these holds.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct RemoveOptions {
    /// Rows with these ids.
    pub ids: Vec<String>,
    /// Rows whose ids stand in this file, one a line.
    pub ids_from: Option<PathBuf>,
    /// Rows for which a condition holds (`label = "cat" and image.width < 64`).
    pub filter: Option<String>,
    /// Rows whose ids begin so: those of a source, or of a folder of it.
    pub prefix: Option<String>,
    /// Ids that the version does not have are left out, and counted.
    pub skip_unknown: bool,
    /// Nothing is written.
    pub dry_run: bool,
}

/// What [`remove`] did.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Removed {
    /// The version without the rows; where nothing was committed the one that was looked at.
    pub version: u64,
    /// Whether a version was made.
    pub committed: bool,
    /// Rows that are out.
    pub rows: u64,
    /// Rows that stay.
    pub left: u64,
    /// Shards that were written anew.
    pub rewritten: u64,
    /// Shards of which nothing is left.
    pub dropped: u64,
    /// Shards that stay as they are.
    pub kept: u64,
    /// Ids that the version does not have.
    pub unknown: u64,
    /// What shows that they are out.
    pub proof: Option<Proof>,
    /// What the user should know.
    pub notes: Vec<String>,
}

/// What was looked at when rows were taken out.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Proof {
    /// Shards of the new version, all of whose ids were read from their files.
    pub shards: u64,
    /// Rows in them.
    pub rows: u64,
    /// Older versions that still have some of the rows that are out: `dsctl gc --keep 1` takes them and their files away.
    pub older: Vec<u64>,
}

/// Takes rows out, and commits the version without them. Only shards that hold such rows are written anew; labels, splits and the order of the others stay. Before
/// it is committed every shard of the new version is looked into: an error if one holds a row that should be out, or not exactly those that should stay. Ids that are not there go to `tell`; if there are any, without
/// `skip_unknown`, nothing is committed, and that is no error.
///
/// # Errors
/// [`Error::Config`] for a condition that is none, or no rows named; [`Error::Overtaken`] if another writer changed or removed rows named by their ids meanwhile;
/// [`Error::Conflict`] if others were faster all the time; [`Error::Damaged`] for a shard that cannot be read.
pub fn remove(store: &Store, options: &RemoveOptions, tell: &mut dyn FnMut(Problem) -> Result<()>) -> Result<Removed> {
    let named = named(options)?;
    let mut silent = false;
    remove_by(store, &mut |old| {
        let attempt = attempt(old, options, &named, &mut |problem| if silent { Ok(()) } else { tell(problem) });
        silent = true;
        attempt
    })
}

/// Takes out the rows that `choose` names, by key, of each version that is looked at: a rule, which is asked again where another writer was faster.
pub(super) fn remove_chosen(
    store: &Store,
    dry_run: bool,
    choose: &mut dyn FnMut(&Old) -> Result<Sorted>,
) -> Result<Removed> {
    let options = RemoveOptions { dry_run, ..RemoveOptions::default() };
    remove_by(store, &mut |old| {
        let (attempt, out) = attempt(old, &options, &choose(old)?, &mut |_| Ok(()))?;
        Ok((Attempt { touched: None, ..attempt }, out))
    })
}

type Doing<'d> = &'d mut dyn FnMut(&Old) -> Result<(Attempt<Removed>, Sorted)>;

fn remove_by(store: &Store, attempt: Doing<'_>) -> Result<Removed> {
    let mut out = Sorted::default();
    let Revised { mut done, version, committed, notes } = revise(store, |old| {
        let (attempt, doomed) = attempt(old)?;
        out = doomed;
        Ok(attempt)
    })?;
    (done.version, done.committed, done.notes) = (version, committed, notes);
    if committed && let Err(error) = forget(store, &out, &Spill::to(store.root().join(".dsctl"))) {
        let what = "that the rows are out was not written down for the sources that brought them";
        done.notes.push(format!("{what} (`dsctl ingest` of these does it): {error}"));
    }
    if let (Some(proof), true) = (&mut done.proof, committed) {
        // The version is committed: what cannot be looked into now is a note.
        older(store, version, &out, proof, &mut done.notes);
    }
    Ok(done)
}

/// The ids that are named one by one, by key.
fn named(options: &RemoveOptions) -> Result<Sorted> {
    let mut ids = Sorter::new(&Spill::temporary());
    let mut any = options.filter.is_some() || options.prefix.is_some();
    let mut add = |id: &str| {
        any = true;
        ids.push(&row_key(id).to_be_bytes(), id.as_bytes())
    };
    options.ids.iter().try_for_each(|id| add(id))?;
    if let Some(path) = &options.ids_from {
        let file = std::fs::File::open(path).map_err(|e| Error::io(path, "open", e))?;
        for line in BufReader::new(file).lines() {
            let line = line.map_err(|e| Error::io(path, "read", e))?;
            let line = line.strip_suffix('\r').unwrap_or(&line);
            if !line.is_empty() {
                add(line)?;
            }
        }
        any = true;
    }
    if !any {
        let help = "say --id, --ids-from, --where or --source";
        return Err(Error::config("no rows are named that should be out", help));
    }
    if options.prefix.as_ref().is_some_and(String::is_empty) {
        return Err(Error::config("every id begins with nothing", "say how the ids begin: --source old/"));
    }
    ids.finish()
}

type Tell<'t> = &'t mut dyn FnMut(Problem) -> Result<()>;

fn attempt(old: &Old, options: &RemoveOptions, named: &Sorted, tell: Tell<'_>) -> Result<(Attempt<Removed>, Sorted)> {
    let schema = old.schema();
    let filter = options.filter.as_deref().map(|text| Filter::parse(text)?.bind(schema)).transpose()?;
    let (mut out, mut there) = (Sorter::new(&old.spill), Sorter::new(&old.spill));
    let mut touched = 0u64;
    let segments = old.dataset.index().segments();
    let mut counts = vec![0u64; segments.len()];
    for (number, segment) in segments.iter().enumerate() {
        for row in 0..segment.header().rows {
            let row = segment.row(row);
            // By the id, as the files are read: a key that the Index has otherwise is found below.
            let (key, id) = (row_key(row.id()).to_be_bytes(), row.id());
            let by_id = named.find(&key).is_some_and(|named| named == id.as_bytes());
            if by_id {
                there.push(&key, &[])?;
                touched = touched.wrapping_add(content(&row, &old.split_of(number, &row), schema.columns.len()));
            }
            let begins = || options.prefix.as_ref().is_some_and(|prefix| id.starts_with(prefix));
            if by_id || begins() || filter.as_ref().is_some_and(|filter| filter.holds(&row)) {
                out.push(&key, &[])?;
                counts[number] += 1;
            }
        }
    }
    let (out, there) = (out.finish()?, there.finish()?);
    let mut done = Removed { rows: out.len() as u64, ..Removed::default() };
    done.left = old.dataset.rows() - done.rows;
    let mut last = None;
    for (key, id) in named.iter() {
        if there.find(key).is_none() && last != Some(key) {
            done.unknown += 1;
            let id = Some(String::from_utf8_lossy(id).into_owned());
            let what = "no row of the version has this id".to_owned();
            tell(Problem { line: None, id, column: None, code: "unknown-id", what })?;
        }
        last = Some(key);
    }
    let writes = !options.dry_run && done.rows > 0 && (done.unknown == 0 || options.skip_unknown);
    let kept = without(old, &out, &counts, writes, &mut done)?;
    let edit = writes.then(|| Edit { schema: schema.clone(), segments: kept });
    done.proof = edit.as_ref().map(|edit| prove(&old.store, edit, &out, done.left)).transpose()?;
    let touched = (!named.is_empty()).then_some(touched);
    Ok((Attempt { edit, touched, done }, out))
}

/// The segments of a version without the rows that are out, of which each segment has so many; the shards of those that have some of both are written anew if that is
/// asked.
pub(super) fn without(
    old: &Old,
    out: &Sorted,
    counts: &[u64],
    writes: bool,
    done: &mut Removed,
) -> Result<Vec<SegmentRef>> {
    let segments = old.dataset.index().segments();
    let mut kept = Vec::new();
    for (number, entry) in old.segments().iter().enumerate() {
        let rows = segments[number].header().rows;
        let mut work = Without { old, out, writes, done };
        match counts[number] {
            0 => {
                work.done.kept += segments[number].files().len() as u64;
                kept.push(entry.clone());
            }
            all if all == rows => work.done.dropped += segments[number].files().len() as u64,
            _ => kept.extend(work.segment(number)?),
        }
    }
    Ok(kept)
}

/// Writes what is left.
struct Without<'a> {
    old: &'a Old,
    out: &'a Sorted,
    writes: bool,
    done: &'a mut Removed,
}

impl Without<'_> {
    fn is_out(&self, key: u64) -> bool {
        self.out.find(&key.to_be_bytes()).is_some()
    }

    /// A segment of which some rows are out; `None` where nothing is to be written.
    fn segment(&mut self, number: usize) -> Result<Option<SegmentRef>> {
        let old = self.old;
        let (segment, schema) = (&old.dataset.index().segments()[number], old.schema());
        let mut changes = None;
        if let (Some(list), true) = (&old.changes[number], self.writes) {
            let mut left = ChangesBuilder::new(schema, &old.spill);
            for change in list.iter().filter(|change| !self.is_out(change.key())) {
                left.push(change.key(), &change.into())?;
            }
            changes = stored(old, left, schema)?;
        }
        let list = changes.as_ref().map(|(_, list)| list);
        let mut builder = SegmentBuilder::spilling(schema, &old.spill);
        for file in segment.files() {
            let gone = file.rows.clone().filter(|row| self.is_out(row_key(segment.row(*row).id()))).count() as u64;
            if gone == file.rows.end - file.rows.start {
                self.done.dropped += 1;
                continue;
            }
            *(if gone == 0 { &mut self.done.kept } else { &mut self.done.rewritten }) += 1;
            if !self.writes {
                continue;
            }
            match gone {
                0 => take_over(&mut builder, segment, &file, list)?,
                _ => self.rewrite(&mut builder, &file, list)?,
            }
        }
        if !self.writes {
            return Ok(None);
        }
        let rows = builder.rows();
        let entry = commit::put_segment(&old.store, &builder.finish()?.parts(), rows)?;
        self.check(segment, &entry)?;
        Ok(Some(SegmentRef { changes: changes.map(|(named, _)| named), ..entry }))
    }

    /// Holds a new segment against the old one: the rows that are not out, with the same payloads, values and splits.
    fn check(&self, segment: &Arc<Segment>, entry: &SegmentRef) -> Result<()> {
        let path = self.old.store.path(&entry.path)?;
        let new = Arc::new(Segment::open(&path)?);
        let columns = self.old.schema().columns.len();
        let stays = |row: &Row<'_>| !self.is_out(row_key(row.id()));
        if sum(std::slice::from_ref(segment), columns, &stays) == sum(&[new], columns, &|_| true) {
            return Ok(());
        }
        let help = "nothing was committed; `dsctl verify` says whether a shard is damaged, else please report this";
        Err(Error::damaged(path, "the rows of the new files are not those of the old ones that stay", help))
    }

    /// A shard without the rows that are out. What stands over the others stays over them: the file is what was ingested.
    fn rewrite(&self, builder: &mut SegmentBuilder, file: &TableFile, list: Option<&Changes>) -> Result<()> {
        let old = self.old;
        let path = old.store.path(&file.path())?;
        let mut writer = ShardWriter::create(&old.store, old.schema(), &file.folder, &ShardOptions::default())?;
        read_rows(&path, old.schema(), &mut |row| {
            if self.is_out(row_key(&row.id)) { Ok(()) } else { writer.push(row) }
        })?;
        writer.finish()?.enter_under(builder, list)
    }
}

/// Reads the ids of every shard that the next version names: none is out, and each file has the rows that the Index has of it.
fn prove(store: &Store, edit: &Edit, out: &Sorted, left: u64) -> Result<Proof> {
    let is_out = |id: &str| out.find(&row_key(id).to_be_bytes()).is_some();
    let mut proof = Proof::default();
    for entry in &edit.segments {
        let segment = Segment::open(&store.path(&entry.path)?)?;
        for file in segment.files() {
            let path = store.path(&file.path())?;
            proof.shards += 1;
            // The order of a file's rows is its own.
            let known = file.rows.clone().fold(0, |sum: u64, row| sum.wrapping_add(row_key(segment.row(row).id())));
            let (mut rows, mut found) = (0u64, 0u64);
            read_ids(&path, &mut |id| {
                (rows, found) = (rows + 1, found.wrapping_add(row_key(id)));
                if is_out(id) {
                    Err(other(&path, format!("it still holds the row {id:?}, which should be out")))
                } else {
                    Ok(())
                }
            })?;
            if (rows, found) != (file.rows.end - file.rows.start, known) {
                return Err(other(&path, "its rows are not those that the Index has of it".to_owned()));
            }
            proof.rows += rows;
        }
    }
    if proof.rows != left {
        let what = format!("the new version has {} rows, {left} should stay", proof.rows);
        return Err(other(store.root(), what));
    }
    Ok(proof)
}

fn other(path: &Path, what: String) -> Error {
    let help =
        "nothing was committed; `dsctl verify` says where files and Index differ; if nowhere, please report this";
    Error::damaged(path, what, help)
}

/// Looks which versions before a committed one have rows that are out. What cannot be looked into is a note.
fn older(store: &Store, version: u64, out: &Sorted, proof: &mut Proof, notes: &mut Vec<String>) {
    let mut note = |of: String, error: &Error| {
        notes.push(format!("whether {of} still have the rows is not known: {error} (version {version} is committed)"));
    };
    let versions = match commit::versions(store) {
        Ok(versions) => versions,
        Err(error) => return note("older versions".to_owned(), &error),
    };
    let mut known: HashMap<String, bool> = HashMap::new();
    for older in versions.into_iter().filter(|other| *other < version) {
        let mut has = false;
        let mut looked = |has: &mut bool| -> Result<()> {
            let mut done = Ok(());
            for entry in commit::load(store, older)?.manifest.segments {
                let of = match known.get(&entry.sha256) {
                    Some(has) => Ok(*has),
                    None => holds(store, &entry, out),
                };
                match of {
                    Ok(of) => {
                        *has |= of;
                        known.insert(entry.sha256, of);
                    }
                    Err(error) => done = Err(error),
                }
            }
            done
        };
        let done = looked(&mut has);
        if has {
            proof.older.push(older);
        } else if let Err(error) = done {
            note(format!("version {older} and its files"), &error);
        }
    }
}

/// Whether a segment has rows that are out.
fn holds(store: &Store, entry: &SegmentRef, out: &Sorted) -> Result<bool> {
    let path = store.path(&entry.path)?;
    let segment = Segment::open(&path)?;
    if commit::sha256_hex(segment.bytes()) != entry.sha256 {
        let help = "`dsctl verify --rebuild-index` makes it again from the shards";
        return Err(Error::damaged(path, "its SHA-256 is not the one its version names", help));
    }
    let is_out = |row| out.find(&row_key(segment.row(row).id()).to_be_bytes()).is_some();
    Ok((0..segment.header().rows).any(is_out))
}
