//! Manifests: CSV, TSV or JSONL, a row an entry, with relative paths and any other columns; or rows of text without paths.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::{Path, PathBuf};

use super::look::{Content, SAMPLE};
use super::typing::{Cell, Typing};
use super::walk::{self, Found};
use super::{
    Entry, EntryCell, Evidence, Lister, Look, Part, Refusal, Source, SourceEntry, SourceOptions, boxes, labels,
};
use crate::data::feature::{Feature, RESERVED, Schema};
use crate::data::info::Kind;
use crate::data::record::row_key;
use crate::error::{Error, Fault, Reason, Result};

mod ranges;
pub(super) mod read;

use ranges::Ranges;
use read::{Columns, Row, Table};

/// The table's row.
pub const ENTRY: SourceEntry = SourceEntry {
    name: "manifest",
    version: 2,
    summary: "a CSV, TSV or JSONL file with relative paths and labels, or with rows of text",
    build: || Box::new(Manifest),
};

/// Columns that hold the path, unless told.
const PATHS: &[&str] = &["file_name", "path", "file", "image", "audio", "video", "audio_filepath"];
/// Columns that hold the class, unless told.
const LABELS: &[&str] = &["label", "class", "category"];
/// The column that holds the split.
const SPLIT: &str = "split";
/// The column that holds the record where there is no path.
const TEXT: &str = "text";

/// CSV, TSV and JSONL manifests.
#[derive(Debug, Clone, Copy, Default)]
pub struct Manifest;

impl Source for Manifest {
    fn name(&self) -> &'static str {
        ENTRY.name
    }

    fn detect(&self, root: &Path, look: &Look) -> Option<Evidence> {
        let found = manifests(look);
        let path = match (look.is_file, found.as_slice()) {
            (true, [_]) => root.to_owned(),
            (false, [one]) => root.join(one),
            (false, [_, _, ..]) => {
                let why = format!("{} manifests: {}; give one of them", found.len(), found.join(", "));
                return Some(Evidence::new(1, why));
            }
            _ => return None,
        };
        let columns = read::columns(&path).ok()?;
        let named = |names: &[&str]| columns.iter().find(|c| names.contains(&c.to_ascii_lowercase().as_str()));
        let column = named(PATHS).or_else(|| named(&[TEXT]))?;
        let score = if look.is_file { 90 } else { 80 };
        Some(Evidence::new(score, format!("{} has a column {column:?}", path.file_name()?.to_string_lossy())))
    }

    fn list(&self, root: &Path, options: &SourceOptions, lister: &mut Lister<'_>) -> Result<Schema> {
        labels::unused("a manifest", &[("--label-regex", &options.label_regex)])?;
        let path = if root.is_file() { root.to_owned() } else { only(root)? };
        let base = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let base = base.canonicalize().map_err(|e| Error::io(base, "open", e))?;
        let name = path.file_name().and_then(|n| n.to_str()).ok_or_else(|| {
            Error::config(format!("the name of {} is not UTF-8", path.display()), "rename the manifest")
        })?;
        let table = Table::open(&path, name)?;
        let columns = table.columns(&mut || lister.step())?;
        let nothing = || Error::config(format!("{} has no rows", path.display()), "a manifest has a row an entry");
        if columns.names.is_empty() {
            return Err(nothing());
        }
        let reading = Reading {
            roles: roles(&path, &columns, options)?,
            table,
            columns,
            name,
            base: &base,
            default_split: labels::default_split(options)?,
        };
        let survey = reading.survey(lister)?;
        if survey.rows == 0 {
            return Err(nothing());
        }
        let (schema, order) = reading.schema(&survey, options.kind, lister)?;
        let is_audio = schema.get(Kind::Audio.name()) == Some(&Feature::Audio) && reading.roles.path.is_some();
        let ranges = Ranges::of(options, &reading.columns, &survey.types, is_audio, lister)?;
        reading.enter(&order, ranges, survey.named, lister)?;
        reading.table.check_unchanged()?;
        Ok(schema)
    }
}

/// The manifests directly in the root, or the root itself.
fn manifests(look: &Look) -> Vec<&str> {
    look.top()
        .filter(|f| f.content == Some(Content::Text))
        .map(|f| f.relative.as_str())
        .filter(|n| read::is(n))
        .collect()
}

fn only(root: &Path) -> Result<PathBuf> {
    let look = Look::at(root)?;
    match manifests(&look).as_slice() {
        [one] => Ok(root.join(one)),
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

/// Which column is what.
#[derive(Debug)]
struct Roles {
    path: Option<usize>,
    label: Option<usize>,
    split: Option<usize>,
    text: Option<usize>,
}

fn roles(manifest: &Path, columns: &Columns, options: &SourceOptions) -> Result<Roles> {
    let exact = |flag: &str, name: &str| {
        columns.names.iter().position(|c| c == name).ok_or_else(|| {
            Error::config(
                format!("{}: {flag} {name:?} is no column", manifest.display()),
                format!("the columns are: {}", columns.names.join(", ")),
            )
        })
    };
    let first =
        |names: &[&str]| names.iter().find_map(|n| columns.names.iter().position(|c| c.trim().eq_ignore_ascii_case(n)));
    let path = match &options.path_column {
        Some(name) => Some(exact("--path-column", name)?),
        None => first(PATHS),
    };
    let label = match &options.label_column {
        Some(name) => Some(exact("--label-column", name)?),
        None => first(LABELS).filter(|l| Some(*l) != path),
    };
    let text = first(&[TEXT]).filter(|t| Some(*t) != label);
    if path.is_none() && text.is_none() {
        return Err(Error::config(
            format!("{}: no column holds a path or text", manifest.display()),
            format!("say --path-column; the columns are: {}", columns.names.join(", ")),
        ));
    }
    Ok(Roles { path, label, split: first(&[SPLIT]).filter(|s| Some(*s) != path && Some(*s) != label), text })
}

/// A manifest with what its columns are. It is read twice: what a column holds follows from all of its cells.
struct Reading<'a> {
    roles: Roles,
    table: Table,
    columns: Columns,
    name: &'a str,
    base: &'a Path,
    default_split: String,
}

/// What the first reading finds out.
#[derive(Debug, Default)]
struct Survey {
    /// Rows, those that are none included.
    rows: u64,
    /// What the cells of each column are.
    types: Vec<Typing>,
    /// The files of the rows, none of which was entered yet.
    named: Named,
    /// Files spread over all rows.
    sample: Vec<PathBuf>,
    /// Refused rows by reason, with the first of each.
    reasons: BTreeMap<&'static str, (u64, Refusal)>,
}

/// Rows entered by `row_key` of their file's relative path, or, of parts, of that and their place: sixteen bytes a file or
/// part, not its name.
type Named = HashMap<u64, u64, xxhash_rust::xxh3::Xxh3DefaultBuilder>;

impl Reading<'_> {
    /// The file and the split of a row.
    fn place(&self, row: &Row) -> Result<(Option<Found>, String), Fault> {
        let roles = &self.roles;
        let found = roles.path.map(|i| file(self.base, row, i)).transpose()?;
        let split = match roles.split.and_then(|i| row.cells[i].text()) {
            Some(split) => labels::split_name(&split)?,
            None => self.default_split.clone(),
        };
        if let Some(label) = roles.label.filter(|i| row.cells[*i] == Cell::Null) {
            return Err(Fault::new(Reason::BadLabel, format!("column {:?} is empty", self.columns.names[label])));
        }
        Ok((found, split))
    }

    fn refusal(&self, row: &Row, fault: Fault) -> Refusal {
        let path = self.roles.path.and_then(|i| row.cells[i].text());
        let id = path.unwrap_or_else(|| format!("{}#{}", self.name, row.line));
        Refusal { id, origin: self.name.to_owned(), line: Some(row.line), fault }
    }

    /// The first reading.
    fn survey(&self, lister: &mut Lister<'_>) -> Result<Survey> {
        let mut survey = Survey { types: vec![Typing::default(); self.columns.names.len()], ..Survey::default() };
        let (mut taken, mut step) = (0u64, 1);
        self.table.rows(&self.columns, &mut |row| {
            lister.step()?;
            survey.rows += 1;
            let placed = row.and_then(|row| match self.place(&row) {
                Ok((found, _)) => Ok((row, found)),
                Err(fault) => Err(self.refusal(&row, fault)),
            });
            match placed {
                Ok((row, found)) => {
                    for (typing, cell) in survey.types.iter_mut().zip(&row.cells) {
                        typing.see(cell);
                    }
                    if let Some(found) = found {
                        survey.named.insert(row_key(&found.relative), 0);
                        // Every row, then every second, every fourth, so that few files are spread over all of them.
                        if taken.is_multiple_of(step) {
                            survey.sample.push(found.path);
                        }
                        if survey.sample.len() > SAMPLE {
                            let mut places = 0..;
                            survey.sample.retain(|_| places.next().is_some_and(|at| at % 2 == 0));
                            step *= 2;
                        }
                        taken += 1;
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

    /// The schema: media or text, then the class, then the other columns as they stand in the manifest. The second part
    /// says which column of the manifest each one behind the media is.
    fn schema(
        &self,
        survey: &Survey,
        kind: Option<Kind>,
        lister: &mut Lister<'_>,
    ) -> Result<(Schema, Vec<(usize, Feature)>)> {
        let roles = &self.roles;
        let kind = match (roles.path, kind) {
            (None, _) => None,
            (Some(_), Some(kind)) => Some(kind),
            (Some(_), None) if survey.sample.is_empty() => return Err(none(self.name, survey)),
            (Some(_), None) => Some(super::folder::majority(Path::new(self.name), &survey.sample, lister)?),
        };
        let mut schema: Vec<(String, Feature)> = kind.iter().map(|k| (k.name().to_owned(), Feature::of(*k))).collect();
        let mut order = Vec::new();
        let is_class = |feature: &Feature| *feature != Feature::Float;
        let text = roles.text.filter(|_| roles.path.is_none());
        let first: Vec<usize> = text.into_iter().chain(roles.label).collect();
        let columns = &self.columns.names;
        for i in first.iter().copied().chain((0..columns.len()).filter(|i| !first.contains(i))) {
            if Some(i) == roles.path || Some(i) == roles.split {
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

    /// The second reading: every row becomes an entry or a refusal.
    fn enter(
        &self,
        order: &[(usize, Feature)],
        ranges: Option<Ranges>,
        mut named: Named,
        lister: &mut Lister<'_>,
    ) -> Result<()> {
        self.table.rows(&self.columns, &mut |row| {
            let row = match row {
                Ok(row) => row,
                Err(refusal) => return lister.refuse(refusal),
            };
            let (found, split) = match self.place(&row) {
                Ok(placed) => placed,
                Err(fault) => return lister.refuse(self.refusal(&row, fault)),
            };
            let part = match ranges.map(|ranges| ranges.part(&row, &self.columns)).transpose() {
                Ok(part) => part,
                Err(fault) => return lister.refuse(self.refusal(&row, fault)),
            };
            let Row { line, mut cells, .. } = row;
            let id = match &found {
                None => format!("{}#{line}", self.name),
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
            let cells = match media.into_iter().map(Ok).chain(others).collect() {
                Ok(cells) => cells,
                Err(fault) => {
                    return lister.refuse(Refusal { id, origin: self.name.to_owned(), line: Some(line), fault });
                }
            };
            lister.entry(Entry { id, split, cells, origin: self.name.to_owned(), line: Some(line) })
        })
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
fn file(base: &Path, row: &Row, column: usize) -> Result<Found, Fault> {
    let text = row.cells[column].text().ok_or_else(|| Fault::new(Reason::BadPath, "the path is empty"))?;
    walk::named(base, &walk::within(&text)?)
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
