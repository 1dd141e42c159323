//! Records made in code, on the same way as those of a source.

use std::collections::HashSet;
use std::path::Path;
use std::sync::atomic::AtomicU64;

use xxhash_rust::xxh3::Xxh3DefaultBuilder;

use super::base::Base;
use super::check::{Checker, Outcome};
use super::options::{IngestOptions, Summary};
use super::recordings::Recordings;
use super::sink::Sink;
use super::{publish, target};
use crate::clock::Mark;
use crate::codec::Scratches;
use crate::data::feature::Schema;
use crate::data::record::{Cell, Record, row_key};
use crate::error::{Error, Origin, Result};
use crate::prepare::{self, Prepare};
use crate::source::{Entry, EntryCell, Print, Tree};
use crate::spool::{Spill, make_folder};
use crate::store::Store;

/// Writes records into a dataset: new rows behind those it has.
///
/// Nothing is seen by readers before [`DatasetWriter::commit`]; a writer that is dropped leaves the last version as it was
/// (and perhaps shards that no version names). The shards follow from the records and their order alone.
///
/// Memory: one row group and one shard's Index rows a split, and some 16 bytes for the key of each record.
///
/// A class that the schema does not name yet is appended at its first record. A shard's own list of names is the one of
/// the moment it was begun, so name the classes you know in the schema; the dataset's list is always complete.
#[derive(Debug)]
pub struct DatasetWriter {
    store: Store,
    base: Base,
    schema: Schema,
    /// For each column of the dataset, which cell of a record it is.
    places: Vec<usize>,
    prepare: Prepare,
    sink: Sink,
    keys: HashSet<u64, Xxh3DefaultBuilder>,
    options: IngestOptions,
    scratches: Scratches,
    decodes: AtomicU64,
    skipped: u64,
    mended: u64,
    replaced: u64,
    began: Mark,
    /// The error that lost accepted records, if there was one.
    lost: Option<String>,
}

impl DatasetWriter {
    /// Opens a dataset for writing, or begins one in a new or empty folder. The columns of one that is there must be those of
    /// `schema`, in any order. Of the options `check`, `invalid_utf8`, `limits`, `prepare`, `id_prefix` and
    /// the sizes count; `schema` says what the records have, not what is stored of it.
    pub fn create(path: impl AsRef<Path>, schema: Schema, options: &IngestOptions) -> Result<Self> {
        options.validate()?;
        target::folder(path.as_ref())?;
        let store = Store::open(path.as_ref());
        let spill = Spill::to(store.root().join(".dsctl"));
        let mut base = Base::open(&store, &spill)?;
        options.prepare.check_objects(&schema)?;
        let (mut prepare, stored) = Prepare::new(&options.prepare, &schema, base.schema(), &prepare::ops())?;
        let (schema, places) = base.merge(&stored)?;
        let places = prepare.arrange(&places)?;
        if schema.columns.is_empty() {
            return Err(Error::config("the schema has no columns", "name at least one feature"));
        }
        base.find(|_| true)?;
        base.name_classes(&schema);
        // A writer that dies leaves a dataset without a version, not a folder of unknown shards.
        let mark = path.as_ref().join(".dsctl");
        make_folder(&mark)?;
        let sink = Sink::new(&store, &schema, options.shards(), &spill);
        Ok(DatasetWriter {
            store,
            base,
            schema,
            places,
            prepare,
            sink,
            keys: HashSet::default(),
            options: options.clone(),
            scratches: Scratches::new(options.decode_memory),
            decodes: AtomicU64::new(0),
            skipped: 0,
            mended: 0,
            replaced: 0,
            began: Mark::now(),
            lost: None,
        })
    }

    /// The dataset's schema with all classes so far.
    pub fn schema(&self) -> &Schema {
        &self.schema
    }

    /// Adds a record; its cells are in the order of the schema given to [`DatasetWriter::create`]. A record that the dataset
    /// has already, byte for byte, is skipped.
    ///
    /// # Errors
    ///
    /// [`Error::Sample`] names the id and column of a payload or value that is refused: the writer goes on without the
    /// record. [`Error::Config`]: the id was written already. After any other error, a full disk for example, records
    /// that were accepted before may be lost with their open shard: the writer takes no more and commits nothing.
    pub fn append(&mut self, record: Record) -> Result<()> {
        self.check_lost()?;
        let id = format!("{}{}", self.options.id_prefix, record.id);
        if record.cells.len() != self.places.len() {
            return Err(Error::config(
                format!("record {id:?} has {} cells, the schema {} columns", record.cells.len(), self.places.len()),
                "one cell a column, Cell::NULL where there is nothing",
            ));
        }
        if self.keys.contains(&row_key(&id)) {
            return Err(Error::config(
                format!("the id {id:?} (or one with its key) was written already"),
                "ids are unique",
            ));
        }
        let mut given: Vec<Option<Cell>> = record.cells.into_iter().map(Some).collect();
        let cells = self.places.iter().map(|p| match given[*p].take() {
            None => EntryCell::NULL,
            Some(Cell::Media(bytes)) => EntryCell::Inline(bytes),
            Some(Cell::Class(name)) => EntryCell::Class(name),
            Some(Cell::Objects(names, objects)) => EntryCell::Objects(names, Box::new(objects)),
            Some(Cell::Value(value)) => EntryCell::Value(value),
        });
        let cells = cells.collect();
        let entry = Entry { origin: id.clone(), id, split: record.split, cells, line: None };
        let before = self.name_classes(&entry);
        let written = self.write(&entry);
        if let (Err(_), Some(before)) = (&written, before) {
            self.base.name_classes(&before);
            self.schema = before;
        }
        if let Err(e) = &written
            && !matches!(e, Error::Sample { .. } | Error::Config { .. })
        {
            self.lost = Some(e.to_string());
        }
        written
    }

    fn check_lost(&self) -> Result<()> {
        let Some(error) = &self.lost else { return Ok(()) };
        let what = format!("an earlier error lost records that it had accepted, so it commits nothing: {error}");
        Err(Error::library("this writer is closed", what))
    }

    fn write(&mut self, entry: &Entry) -> Result<()> {
        let tree = Tree::default();
        let checker = Checker {
            tree: &tree,
            schema: &self.schema,
            base: &self.base,
            seen: None,
            claims: None,
            is_cut: false,
            in_doubt: false,
            dry: false,
            prepare: &self.prepare,
            check: self.options.check,
            invalid_utf8: self.options.invalid_utf8,
            limits: &self.options.limits,
            decodes: &self.decodes,
            scratches: &self.scratches,
            isolation: None,
            watch: None,
        };
        match checker.entry(entry, Print::default(), &Recordings::default())? {
            Outcome::Skipped { .. } | Outcome::Other => self.skipped += 1,
            Outcome::Refused(fault, column) | Outcome::RecordingRefused(fault, column) => {
                let column = column.map(|c| self.schema.columns[c].name.clone());
                return Err(fault.at(Origin { id: Some(entry.id.clone()), column, ..Origin::default() }));
            }
            Outcome::Row(row, replaced) => {
                self.sink.push(&self.schema, &entry.split, row)?;
                self.mended += u64::from(replaced > 0);
                self.replaced += replaced;
            }
        }
        self.keys.insert(row_key(&entry.id));
        Ok(())
    }

    /// Appends the classes that a record is the first to have. Returns the schema before, if there are any.
    fn name_classes(&mut self, entry: &Entry) -> Option<Schema> {
        let mut before = None;
        for (i, cell) in entry.cells.iter().enumerate() {
            let new = match cell {
                EntryCell::Class(name) => std::slice::from_ref(name),
                EntryCell::Objects(names, _) => names,
                _ => continue,
            };
            for name in new {
                let Some(names) = self.schema.columns[i].feature.classes() else { continue };
                if self.base.class(i, names, name).is_none() {
                    before.get_or_insert_with(|| self.schema.clone());
                    if let Some(names) = self.schema.columns[i].feature.classes_mut() {
                        self.base.add_class(i, name, names.len());
                        names.push(name.clone());
                    }
                }
            }
        }
        before
    }

    /// Finishes the shards and commits them as one version. Without a new record the dataset stays as it was, and one that
    /// has no version yet is refused ([`Error::Config`]).
    pub fn commit(mut self) -> Result<Summary> {
        self.check_lost()?;
        for split in self.sink.open_splits() {
            self.sink.finish(&self.schema, &split)?;
        }
        let mut summary = Summary {
            skipped: self.skipped,
            mended: self.mended,
            replaced: self.replaced,
            version: self.base.version(),
            ..Summary::default()
        };
        if self.sink.tally.rows > 0 {
            let put = publish::put(&self.store, self.sink)?;
            publish::publish(&self.store, &self.base, &self.schema, put, &mut summary, &mut |_, _| Ok(()))?;
        } else if self.base.version() == 0 {
            return Err(Error::config("no record was appended", "a dataset's first version has at least one row"));
        } else {
            summary.notes.push(format!("nothing new: version {} has all of it", self.base.version()));
        }
        summary.seconds = self.began.elapsed().as_secs_f64();
        Ok(summary)
    }
}
