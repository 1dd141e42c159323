//! Manifests: CSV, TSV or JSONL, a row an entry, with relative paths and any other columns; or rows of text without paths.
//!
//! A folder without one whose subfolders have tables called `metadata` is what `datasets` calls an ImageFolder or AudioFolder: all of them are read as one
//! table, with paths from where each stands, and the splits that the folders are called like.

use std::path::{Path, PathBuf};

use super::look::Content;
use super::typing::{Cell, Typing, column_name};
use super::walk::{self, Files, Found};
use super::{
    Entry, EntryCell, Evidence, Lister, Look, Refusal, Source, SourceEntry, SourceOptions, SplitDirs, Tree, labels,
    pictures,
};
use crate::data::feature::{Feature, Schema};
use crate::data::info::Kind;
use crate::error::{Error, Fault, Reason, Result};

mod ids;
mod metadata;
mod ranges;
pub(super) mod read;
mod roles;
mod survey;

use ids::{Named, id, part_id};
use ranges::Ranges;
use read::{Columns, Row, Table};
use roles::{PATHS, Roles, TEXT};
use survey::{Sample, Survey, none};

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
        let (base, sheets, files) = sheets(root, options, lister)?;
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
        if let Some(files) = files {
            metadata::tell_others(&files, &named, lister)?;
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

/// The folder that ids are relative to, canonical, and the tables of a root; where they are in the folders below, all files that are there.
fn sheets(
    root: &Path,
    options: &SourceOptions,
    lister: &mut Lister<'_>,
) -> Result<(PathBuf, Vec<Sheet>, Option<Files>)> {
    let tree = lister.tree().clone();
    let path = match tree.is_file(root) {
        true => root.to_owned(),
        false => match only(&tree, root)? {
            Some(path) => path,
            None => {
                return metadata::sheets(root, options, lister).map(|(base, sheets, all)| (base, sheets, Some(all)));
            }
        },
    };
    let base = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let base = tree.canonicalize(base).map_err(|e| Error::io(base, "open", e))?;
    let name = path
        .file_name()
        .and_then(|n| n.to_str())
        .ok_or_else(|| Error::config(format!("the name of {} is not UTF-8", path.display()), "rename the manifest"))?;
    let (table, split) = (Table::open(&tree, &path, name)?, labels::default_split(options)?);
    Ok((base, vec![Sheet { table, name: name.to_owned(), dir: String::new(), split }], None))
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
            schema
                .push((column_name(name, *i, |name| schema.iter().any(|(n, _)| n == name), lister), Feature::of(kind)));
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
            schema.push((
                column_name(&columns[i], i, |name| schema.iter().any(|(n, _)| n == name), lister),
                feature.clone(),
            ));
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
            let others =
                order.iter().map(|(i, feature)| std::mem::replace(&mut cells[*i], Cell::Null).into_entry(feature));
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

/// The file that a row names, if it is one within the manifest's folder.
fn file(tree: &Tree, base: &Path, sheet: &Sheet, row: &Row, column: usize) -> Result<Found, Fault> {
    let text = row.cells[column].text().ok_or_else(|| Fault::new(Reason::BadPath, "the path is empty"))?;
    walk::named(tree, base, &pictures::join(&sheet.dir, &walk::within(&text)?))
}

#[cfg(test)]
mod tests;
