//! Manifests: CSV, TSV or JSONL, a row an entry, with relative paths and any other columns; or rows of text without paths.
//!
//! A folder without one whose subfolders have tables called `metadata` is what `datasets` calls an ImageFolder or AudioFolder: all of them are read as one
//! table, with paths from where each stands, and the splits that the folders are called like.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::{Path, PathBuf};

use super::look::{Content, SAMPLE};
use super::typing::{Cell, Typing};
use super::walk::{self, Found};
use super::{
    Entry, EntryCell, Evidence, Lister, Look, Part, Refusal, Source, SourceEntry, SourceOptions, SplitDirs, Tree,
    boxes, labels, pictures,
};
use crate::data::feature::{Feature, RESERVED, Schema};
use crate::data::info::Kind;
use crate::data::record::row_key;
use crate::error::{Error, Fault, Reason, Result};

mod metadata;
mod ranges;
pub(super) mod read;
mod roles;

use ranges::Ranges;
use read::{Columns, Row, Table};
use roles::{PATHS, Roles, TEXT};

/// The table's row.
pub const ENTRY: SourceEntry = SourceEntry {
    name: "manifest",
    version: 3,
    summary: "a CSV, TSV or JSONL file with relative paths and labels, or with rows of text; metadata files of an ImageFolder",
    build: || Box::new(Manifest),
};

/// CSV, TSV and JSONL manifests.
#[derive(Debug, Clone, Copy, Default)]
pub struct Manifest;

impl Source for Manifest {
    fn name(&self) -> &'static str {
        ENTRY.name
    }

    fn detect(&self, root: &Path, look: &Look) -> Option<Evidence> {
        let found = manifests(look);
        if found.is_empty() && !look.is_file {
            return metadata::detect(root, look);
        }
        let path = match (look.is_file, found.as_slice()) {
            (true, [_]) => root.to_owned(),
            (false, [one]) => root.join(one),
            (false, [_, _, ..]) => {
                let why = format!("{} manifests: {}; give one of them", found.len(), found.join(", "));
                return Some(Evidence::new(1, why));
            }
            _ => return None,
        };
        let columns = read::columns(look.tree(), &path).ok()?;
        let named = |names: &[&str]| columns.iter().find(|c| names.contains(&c.to_ascii_lowercase().as_str()));
        let column = named(PATHS).or_else(|| named(&[TEXT]))?;
        let score = if look.is_file { 90 } else { 80 };
        Some(Evidence::new(score, format!("{} has a column {column:?}", path.file_name()?.to_string_lossy())))
    }

    fn list(&self, root: &Path, options: &SourceOptions, lister: &mut Lister<'_>) -> Result<Schema> {
        labels::unused("a manifest", &[("--label-regex", &options.label_regex)])?;
        let tree = lister.tree().clone();
        let (base, sheets) = sheets(&tree, root, options)?;
        let columns = Table::columns(sheets.iter().map(|sheet| &sheet.table), &mut || lister.step())?;
        let called = match sheets.as_slice() {
            [one] => one.name.clone(),
            [first, others @ ..] => format!("{} and {} more", first.name, others.len()),
            [] => String::new(),
        };
        let nothing = || Error::config(format!("{called} has no rows"), "a manifest has a row an entry");
        if columns.names.is_empty() {
            return Err(nothing());
        }
        let mut reading = Reading {
            roles: Roles::of(&called, &columns, options)?,
            tree: &tree,
            sheets,
            columns,
            base: &base,
            called: &called,
            split_dirs: options.split_dirs,
        };
        let mut survey = reading.survey(lister)?;
        if survey.rows == 0 {
            return Err(nothing());
        }
        reading.settle_further(&mut survey, lister);
        if survey.beside_splits > 0 {
            lister.note(format!(
                "{} rows have files in folders that are called like splits, and no column `split` says so: they are in {:?} (--split-dirs yes takes the folders)",
                survey.beside_splits, options.split
            ));
        }
        let (schema, order) = reading.schema(&survey, options.kind, lister)?;
        let is_audio =
            schema.columns.first().is_some_and(|c| c.feature == Feature::Audio) && reading.roles.path.is_some();
        let ranges = Ranges::of(options, &reading.columns, &survey.types, is_audio, lister)?;
        let named = reading.enter(&order, ranges, survey.named, lister)?;
        if reading.sheets.iter().any(|sheet| !sheet.dir.is_empty()) {
            metadata::tell_others(&base, &named, &reading.sheets, lister)?;
        }
        reading.sheets.iter().try_for_each(|sheet| sheet.table.check_unchanged())?;
        Ok(schema)
    }
}

/// One table of those that are read as one.
#[derive(Debug)]
struct Sheet {
    table: Table,
    /// Relative to the root.
    name: String,
    /// The folder that its paths are relative to, relative to the root; empty: the root.
    dir: String,
    /// The split of rows that say none.
    split: String,
}

/// The folder that ids are relative to, canonical, and the tables of a root.
fn sheets(tree: &Tree, root: &Path, options: &SourceOptions) -> Result<(PathBuf, Vec<Sheet>)> {
    let path = match tree.is_file(root) {
        true => root.to_owned(),
        false => match only(tree, root)? {
            Some(path) => path,
            None => return metadata::sheets(tree, root, options),
        },
    };
    let base = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let base = tree.canonicalize(base).map_err(|e| Error::io(base, "open", e))?;
    let name = path
        .file_name()
        .and_then(|n| n.to_str())
        .ok_or_else(|| Error::config(format!("the name of {} is not UTF-8", path.display()), "rename the manifest"))?;
    let (table, split) = (Table::open(tree, &path, name)?, labels::default_split(options)?);
    Ok((base, vec![Sheet { table, name: name.to_owned(), dir: String::new(), split }]))
}

/// The manifests directly in the root, or the root itself.
fn manifests(look: &Look) -> Vec<&str> {
    look.top()
        .filter(|f| f.content == Some(Content::Text))
        .map(|f| f.relative.as_str())
        .filter(|n| read::is(n))
        .collect()
}

/// The one manifest of a folder; `None`: its subfolders have tables.
fn only(tree: &Tree, root: &Path) -> Result<Option<PathBuf>> {
    let look = Look::within(tree, root)?;
    match manifests(&look).as_slice() {
        [one] => Ok(Some(root.join(one))),
        [] if metadata::first(&look).is_some() => Ok(None),
        [] => Err(Error::config(
            format!("{} holds no manifest", root.display()),
            "give the .csv, .tsv or .jsonl file itself",
        )),
        many => Err(Error::config(
            format!("{} holds {} manifests: {}", root.display(), many.len(), many.join(", ")),
            "give one of the files",
        )),
    }
}

/// Tables that are read as one, with what their columns are. They are read twice: what a column holds follows from all of its cells.
struct Reading<'a> {
    tree: &'a Tree,
    roles: Roles,
    sheets: Vec<Sheet>,
    columns: Columns,
    base: &'a Path,
    /// What a person calls them.
    called: &'a str,
    split_dirs: SplitDirs,
}

/// What a row is handed to, with the table that it stands in.
type TakeRow<'t> = &'t mut dyn FnMut(&Sheet, Result<Row, Refusal>) -> Result<()>;

/// What the first reading finds out.
#[derive(Debug, Default)]
struct Survey {
    /// Rows, those that are none included.
    rows: u64,
    /// Rows whose files are in folders that are called like splits, where nothing else says theirs.
    beside_splits: u64,
    /// What the cells of each column are.
    types: Vec<Typing>,
    /// The files of the rows, none of which was entered yet.
    named: Named,
    /// Files spread over all rows.
    sample: Sample,
    /// The same of the columns of further media.
    further: Vec<Sample>,
    /// Refused rows by reason, with the first of each.
    reasons: BTreeMap<&'static str, (u64, Refusal)>,
}

/// Every file, then every second, every fourth, so that few are spread over all of them.
#[derive(Debug, Default)]
struct Sample {
    files: Vec<PathBuf>,
    seen: u64,
    sparse: u32,
}

impl Sample {
    fn see(&mut self, path: PathBuf) {
        if self.seen.is_multiple_of(1 << self.sparse) {
            self.files.push(path);
        }
        self.seen += 1;
        if self.files.len() > SAMPLE {
            let mut places = 0..;
            self.files.retain(|_| places.next().is_some_and(|at| at % 2 == 0));
            self.sparse += 1;
        }
    }
}

/// Rows entered by `row_key` of their file's relative path, or, of parts, of that and their place: sixteen bytes a file or
/// part, not its name.
type Named = HashMap<u64, u64, xxhash_rust::xxh3::Xxh3DefaultBuilder>;

impl Reading<'_> {
    /// The folder at the top that a file is in, where that may be its split.
    fn top<'f>(&self, sheet: &Sheet, found: &'f Found) -> Option<&'f str> {
        let may_be = self.roles.split.is_none() && sheet.dir.is_empty();
        found.relative.split_once('/').filter(|_| may_be).map(|(top, _)| top)
    }

    fn rows(&self, take: TakeRow<'_>) -> Result<()> {
        self.sheets.iter().try_for_each(|sheet| sheet.table.rows(&self.columns, &mut |row| take(sheet, row)))
    }

    /// The file and the split of a row.
    fn place(&self, sheet: &Sheet, row: &Row) -> Result<(Option<Found>, String), Fault> {
        let roles = &self.roles;
        let found = roles.path.map(|i| file(self.tree, self.base, sheet, row, i)).transpose()?;
        let split = match roles.split.and_then(|i| row.cells[i].text()) {
            Some(split) => labels::split_name(&split)?,
            None => match found.as_ref().and_then(|found| self.top(sheet, found)) {
                Some(top) if self.split_dirs == SplitDirs::Yes => labels::split_name(top)?,
                _ => sheet.split.clone(),
            },
        };
        if let Some(label) = roles.label.filter(|i| row.cells[*i] == Cell::Null) {
            return Err(Fault::new(Reason::BadLabel, format!("column {:?} is empty", self.columns.names[label])));
        }
        Ok((found, split))
    }

    fn refusal(&self, sheet: &Sheet, row: &Row, fault: Fault) -> Refusal {
        let path = self.roles.path.and_then(|i| row.cells[i].text());
        let path = match sheet.dir.is_empty() {
            true => path,
            false => path.and_then(|path| Some(pictures::join(&sheet.dir, &walk::within(&path).ok()?))),
        };
        let id = path.unwrap_or_else(|| format!("{}#{}", sheet.name, row.line));
        Refusal { id, origin: sheet.name.clone(), line: Some(row.line), fault }
    }

    /// The first reading.
    fn survey(&self, lister: &mut Lister<'_>) -> Result<Survey> {
        let types = vec![Typing::default(); self.columns.names.len()];
        let further = self.roles.further.iter().map(|_| Sample::default()).collect();
        let mut survey = Survey { types, further, ..Survey::default() };
        self.rows(&mut |sheet, row| {
            lister.step()?;
            survey.rows += 1;
            let placed = row.and_then(|row| match self.place(sheet, &row) {
                Ok((found, _)) => Ok((row, found)),
                Err(fault) => Err(self.refusal(sheet, &row, fault)),
            });
            match placed {
                Ok((row, found)) => {
                    for (typing, cell) in survey.types.iter_mut().zip(&row.cells) {
                        typing.see(cell);
                    }
                    if let Some(found) = found {
                        let top = self.top(sheet, &found).filter(|_| self.split_dirs == SplitDirs::Auto);
                        survey.beside_splits += u64::from(top.is_some_and(|top| labels::split_of(top).is_some()));
                        survey.named.insert(row_key(&found.relative), 0);
                        survey.sample.see(found.path);
                    }
                    for (sample, (i, _)) in survey.further.iter_mut().zip(&self.roles.further) {
                        if row.cells[*i] != Cell::Null
                            && let Ok(found) = file(self.tree, self.base, sheet, &row, *i)
                        {
                            survey.named.entry(row_key(&found.relative)).or_default();
                            sample.see(found.path);
                        }
                    }
                }
                Err(refusal) => {
                    survey.reasons.entry(refusal.fault.reason.code()).or_insert((0, refusal)).0 += 1;
                }
            }
            Ok(())
        })?;
        Ok(survey)
    }

    /// A column that is called like one of paths, and none of whose files is there, holds text.
    fn settle_further(&mut self, survey: &mut Survey, lister: &mut Lister<'_>) {
        let (mut further, mut samples) = (Vec::new(), Vec::new());
        for ((i, name), sample) in self.roles.further.drain(..).zip(survey.further.drain(..)) {
            if sample.files.is_empty() {
                let column = &self.columns.names[i];
                lister.note(format!("column {column:?} names no file that is there: kept as it is"));
            } else {
                further.push((i, name));
                samples.push(sample);
            }
        }
        (self.roles.further, survey.further) = (further, samples);
    }

    /// The schema: media or text, then the class, then the other columns as they stand in the manifest. The second part
    /// says which column of the manifest each one behind the media is.
    fn schema(
        &self,
        survey: &Survey,
        kind: Option<Kind>,
        lister: &mut Lister<'_>,
    ) -> Result<(Schema, Vec<(usize, Feature)>)> {
        let roles = &self.roles;
        let kind_told = kind;
        let kind = match (roles.path, kind) {
            (None, _) => None,
            (Some(_), Some(kind)) => Some(kind),
            (Some(_), None) if survey.sample.files.is_empty() => return Err(none(self.called, survey)),
            (Some(_), None) => Some(self.majority(&survey.sample, lister)?),
        };
        let mut schema: Vec<(String, Feature)> = kind
            .iter()
            .map(|k| (roles.media.clone().unwrap_or_else(|| k.name().to_owned()), Feature::of(*k)))
            .collect();
        for ((i, name), sample) in roles.further.iter().zip(&survey.further) {
            let kind = match kind_told {
                Some(kind) => kind,
                None => self.majority(sample, lister)?,
            };
            schema.push((column_name(name, *i, &schema, lister), Feature::of(kind)));
        }
        let mut order = Vec::new();
        let is_class = |feature: &Feature| *feature != Feature::Float;
        let text = roles.text.filter(|_| roles.path.is_none());
        let first: Vec<usize> = text.into_iter().chain(roles.label).collect();
        let columns = &self.columns.names;
        for i in first.iter().copied().chain((0..columns.len()).filter(|i| !first.contains(i))) {
            if Some(i) == roles.path || Some(i) == roles.split || roles.further.iter().any(|(f, _)| *f == i) {
                continue;
            }
            let mut feature = survey.types[i].feature();
            if Some(i) == text {
                feature = Feature::Text;
            }
            if Some(i) == roles.label && is_class(&feature) {
                feature = Feature::ClassLabel { names: Vec::new() };
            }
            if survey.types[i].is_nested() && !matches!(feature, Feature::Objects(_)) {
                lister.note(format!("column {:?} holds lists or objects: kept as JSON text", columns[i]));
            }
            schema.push((column_name(&columns[i], i, &schema, lister), feature.clone()));
            order.push((i, feature));
        }
        let schema = Schema::new(schema);
        schema.validate()?;
        Ok((schema, order))
    }

    fn majority(&self, sample: &Sample, lister: &mut Lister<'_>) -> Result<Kind> {
        super::folder::majority(Path::new(self.called), &sample.files, lister)
    }

    /// The second reading: every row becomes an entry or a refusal. Returns the files that rows name.
    fn enter(
        &self,
        order: &[(usize, Feature)],
        ranges: Option<Ranges>,
        mut named: Named,
        lister: &mut Lister<'_>,
    ) -> Result<Named> {
        self.rows(&mut |sheet, row| {
            let row = match row {
                Ok(row) => row,
                Err(refusal) => return lister.refuse(refusal),
            };
            let (found, split) = match self.place(sheet, &row) {
                Ok(placed) => placed,
                Err(fault) => return lister.refuse(self.refusal(sheet, &row, fault)),
            };
            let part = match ranges.map(|ranges| ranges.part(&row, &self.columns)).transpose() {
                Ok(part) => part,
                Err(fault) => return lister.refuse(self.refusal(sheet, &row, fault)),
            };
            let further = self.roles.further.iter().map(|(i, _)| match row.cells[*i] {
                Cell::Null => Ok(EntryCell::NULL),
                _ => match file(self.tree, self.base, sheet, &row, *i) {
                    Ok(Found { path, bytes, .. }) => Ok(EntryCell::File { path, bytes }),
                    Err(fault) => {
                        let what = format!("column {:?}: {}", self.columns.names[*i], fault.message);
                        Err(Fault::new(fault.reason, what))
                    }
                },
            });
            let further: Vec<EntryCell> = match further.collect() {
                Ok(further) => further,
                Err(fault) => return lister.refuse(self.refusal(sheet, &row, fault)),
            };
            let Row { line, mut cells, .. } = row;
            let id = match &found {
                None => format!("{}#{line}", sheet.name),
                Some(found) => match &part {
                    None => id(&found.relative, &mut named),
                    Some(part) => part_id(&found.relative, part, &mut named),
                },
            };
            let media = found.map(|Found { path, bytes, .. }| match part {
                None => EntryCell::File { path, bytes },
                Some(part) => EntryCell::Excerpt { path: path.into(), file_bytes: bytes, part },
            });
            let others = order.iter().map(|(i, feature)| {
                let cell = std::mem::replace(&mut cells[*i], Cell::Null);
                Ok(match feature {
                    Feature::ClassLabel { .. } => cell.text().map_or(EntryCell::NULL, EntryCell::Class),
                    Feature::Objects(of) => match cell.text() {
                        Some(text) => boxes::read(&text, of)?,
                        None => EntryCell::NULL,
                    },
                    feature => cell.into_entry(feature),
                })
            });
            let cells = match media.into_iter().chain(further).map(Ok).chain(others).collect() {
                Ok(cells) => cells,
                Err(fault) => {
                    return lister.refuse(Refusal { id, origin: sheet.name.clone(), line: Some(line), fault });
                }
            };
            lister.entry(Entry { id, split, cells, origin: sheet.name.clone(), line: Some(line) })
        })?;
        Ok(named)
    }
}

/// The id of the next row of a file: its path, then its path with `#2`, `#3`. A file may be called like the second row of
/// another: that id is its own.
fn id(relative: &str, named: &mut Named) -> String {
    let key = row_key(relative);
    let mut n = named.get(&key).copied().unwrap_or_default();
    let id = loop {
        n += 1;
        let id = if n == 1 { relative.to_owned() } else { format!("{relative}#{n}") };
        if n == 1 || !named.contains_key(&row_key(&id)) {
            break id;
        }
    };
    named.insert(key, n);
    id
}

/// The id of a row that is a part of a file: its path and its place, so that it is the same wherever in the manifest the row
/// stands. A place that is named again goes on with `#2`, `#3`; no place is such a number, as each has a dash.
fn part_id(relative: &str, part: &Part, named: &mut Named) -> String {
    let place = match part {
        Part::Seconds { start, end } => format!("{relative}#{}-{}", seconds(*start), seconds(*end)),
        Part::Samples { range, .. } => format!("{relative}#{}-{}", range.start, range.end),
    };
    let n = named.entry(row_key(&place)).or_default();
    *n += 1;
    if *n == 1 { place } else { format!("{place}#{n}") }
}

/// A time in an id: seconds to the microsecond, less than a sample of any rate, without zeros at the end.
fn seconds(time: f64) -> String {
    // No recording is as long: a number without hundreds of digits.
    if time.abs() >= 1e12 {
        return format!("{time:e}");
    }
    let text = format!("{time:.6}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// The file that a row names, if it is one within the manifest's folder.
fn file(tree: &Tree, base: &Path, sheet: &Sheet, row: &Row, column: usize) -> Result<Found, Fault> {
    let text = row.cells[column].text().ok_or_else(|| Fault::new(Reason::BadPath, "the path is empty"))?;
    walk::named(tree, base, &pictures::join(&sheet.dir, &walk::within(&text)?))
}

/// The error for a manifest without one good row, with the reasons.
fn none(name: &str, survey: &Survey) -> Error {
    let told = survey.reasons.iter().map(|(code, (n, first))| {
        format!("{n} {code} (line {}: {})", first.line.unwrap_or_default(), first.fault.message)
    });
    let told: Vec<String> = told.collect();
    Error::config(
        format!("{name}: not one of {} rows can be taken: {}", survey.rows, told.join(", ")),
        "mend the rows (paths are relative to the manifest), or say --kind image, audio or video to put them all into the \
         quarantine",
    )
}

/// A name that the shard format takes and no other column has.
fn column_name(name: &str, place: usize, taken: &[(String, Feature)], lister: &mut Lister<'_>) -> String {
    let used: BTreeSet<&str> = taken.iter().map(|(n, _)| n.as_str()).collect();
    let mut new = name.trim().replace(['.', '\n', '\0'], "_");
    if new.is_empty() {
        new = format!("column_{}", place + 1);
    }
    if RESERVED.contains(&new.as_str()) || used.contains(new.as_str()) {
        new = format!("source_{new}");
    }
    while used.contains(new.as_str()) {
        new.push('_');
    }
    if new != name {
        lister.note(format!("column {name:?} is called {new:?} in the dataset"));
    }
    new
}

#[cfg(test)]
mod tests;
