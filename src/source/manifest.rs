//! Manifests: CSV, TSV or JSONL, a row an entry, with relative paths and any other columns; or rows of text without paths.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use super::look::Content;
use super::typing::{self, Cell};
use super::walk::{self, Found};
use super::{Entry, EntryCell, Evidence, Listing, Look, Refusal, Source, SourceEntry, SourceOptions, labels};
use crate::data::feature::{Feature, RESERVED, Schema};
use crate::error::{Error, Fault, Reason, Result};

mod read;

use read::{Row, Table};

/// The table's row.
pub const ENTRY: SourceEntry = SourceEntry {
    name: "manifest",
    version: 1,
    summary: "a CSV, TSV or JSONL file with relative paths and labels, or with rows of text",
    build: || Box::new(Manifest),
};

/// Columns that hold the path, unless told.
const PATHS: &[&str] = &["file_name", "path", "file", "image", "audio", "video"];
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

    fn list(&self, root: &Path, options: &SourceOptions) -> Result<Listing> {
        labels::unused("a manifest", &[("--label-regex", &options.label_regex)])?;
        let path = if root.is_file() { root.to_owned() } else { only(root)? };
        let base = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let base = base.canonicalize().map_err(|e| Error::io(base, "open", e))?;
        let name = path.file_name().and_then(|n| n.to_str()).ok_or_else(|| {
            Error::config(format!("the name of {} is not UTF-8", path.display()), "rename the manifest")
        })?;
        let table = read::table(&path, name)?;
        if table.columns.is_empty() || (table.rows.is_empty() && table.refused.is_empty()) {
            return Err(Error::config(format!("{} has no rows", path.display()), "a manifest has a row an entry"));
        }
        list(&table_roles(&path, &table, options)?, table, name, &base, options)
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

fn table_roles(manifest: &Path, table: &Table, options: &SourceOptions) -> Result<Roles> {
    let exact = |flag: &str, name: &str| {
        table.columns.iter().position(|c| c == name).ok_or_else(|| {
            Error::config(
                format!("{}: {flag} {name:?} is no column", manifest.display()),
                format!("the columns are: {}", table.columns.join(", ")),
            )
        })
    };
    let first =
        |names: &[&str]| names.iter().find_map(|n| table.columns.iter().position(|c| c.trim().eq_ignore_ascii_case(n)));
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
            format!("say --path-column; the columns are: {}", table.columns.join(", ")),
        ));
    }
    Ok(Roles { path, label, split: first(&[SPLIT]).filter(|s| Some(*s) != path && Some(*s) != label), text })
}

fn list(roles: &Roles, table: Table, name: &str, base: &Path, options: &SourceOptions) -> Result<Listing> {
    let Table { columns, rows, refused, mut notes } = table;
    let mut listing = Listing { refused, ..Listing::default() };
    let default_split = labels::default_split(options)?;
    let mut taken = Vec::new();
    for row in rows {
        let placed = (|| {
            let found = roles.path.map(|i| file(base, &row, i)).transpose()?;
            let split = match roles.split.and_then(|i| row.cells[i].text()) {
                Some(split) => labels::split_name(&split)?,
                None => default_split.clone(),
            };
            if roles.label.is_some_and(|i| row.cells[i] == Cell::Null) {
                return Err(Fault::new(
                    Reason::BadLabel,
                    format!("column {:?} is empty", columns[roles.label.unwrap_or(0)]),
                ));
            }
            Ok((found, split))
        })();
        match placed {
            Ok((found, split)) => taken.push((row, found, split)),
            Err(fault) => {
                let id = roles.path.and_then(|i| row.cells[i].text()).unwrap_or_else(|| format!("{name}#{}", row.line));
                listing.refused.push(Refusal { id, origin: name.to_owned(), line: Some(row.line), fault });
            }
        }
    }
    // The schema: media or text, then the class, then the other columns as they stand in the manifest.
    let kind = match (roles.path, options.kind) {
        (None, _) => None,
        (Some(_), Some(kind)) => Some(kind),
        (Some(_), None) => {
            if taken.is_empty() {
                return Err(none(name, &listing.refused));
            }
            let files: Vec<Found> = taken.iter().filter_map(|t| t.1.clone()).collect();
            Some(super::folder::majority(Path::new(name), &files, &mut notes)?)
        }
    };
    let mut schema: Vec<(String, Feature)> = kind.iter().map(|k| (k.name().to_owned(), Feature::of(*k))).collect();
    let mut order = Vec::new();
    let is_class = |feature: &Feature| *feature != Feature::Float;
    let text = roles.text.filter(|_| roles.path.is_none());
    let first: Vec<usize> = text.into_iter().chain(roles.label).collect();
    for i in first.iter().copied().chain((0..columns.len()).filter(|i| !first.contains(i))) {
        if Some(i) == roles.path || Some(i) == roles.split {
            continue;
        }
        let mut feature = typing::feature(taken.iter().map(|t| &t.0.cells[i]));
        if Some(i) == text {
            feature = Feature::Text;
        }
        if Some(i) == roles.label && is_class(&feature) {
            feature = Feature::ClassLabel { names: Vec::new() };
        }
        schema.push((column_name(&columns[i], i, &schema, &mut notes), feature.clone()));
        order.push((i, feature));
    }
    listing.schema = Schema::new(schema);
    listing.schema.validate()?;
    let mut times: BTreeMap<String, u64> = BTreeMap::new();
    let named: BTreeSet<String> = taken.iter().filter_map(|t| Some(t.1.as_ref()?.relative.clone())).collect();
    for (row, found, split) in taken {
        let Row { line, mut cells } = row;
        let id = match &found {
            None => format!("{name}#{line}"),
            Some(found) => {
                let n = times.entry(found.relative.clone()).or_default();
                loop {
                    *n += 1;
                    let id = if *n == 1 { found.relative.clone() } else { format!("{}#{n}", found.relative) };
                    // A file may be called like the second row of another.
                    if *n == 1 || !named.contains(&id) {
                        break id;
                    }
                }
            }
        };
        let media = found.map(|f| EntryCell::File { path: f.path, bytes: f.bytes });
        let others = order.iter().map(|(i, feature)| {
            let cell = std::mem::replace(&mut cells[*i], Cell::Null);
            match feature {
                Feature::ClassLabel { .. } => cell.text().map_or(EntryCell::NULL, EntryCell::Class),
                feature => cell.into_entry(feature),
            }
        });
        let cells = media.into_iter().chain(others).collect();
        listing.entries.push(Entry { id, split, cells, origin: name.to_owned(), line: Some(line) });
    }
    listing.notes = notes;
    listing.sort();
    Ok(listing)
}

/// The file that a row names, if it is one within the manifest's folder.
fn file(base: &Path, row: &Row, column: usize) -> Result<Found, Fault> {
    let bad = |what: &str| Fault::new(Reason::BadPath, what);
    let text = row.cells[column].text().ok_or_else(|| bad("the path is empty"))?;
    let slashed = text.trim().replace('\\', "/");
    let drive = slashed.as_bytes().get(1) == Some(&b':') && slashed.as_bytes()[0].is_ascii_alphabetic();
    if slashed.starts_with('/') || drive {
        return Err(bad("the path is absolute: paths are relative to the manifest"));
    }
    let parts: Vec<&str> = slashed.split('/').filter(|p| !p.is_empty() && *p != ".").collect();
    if parts.contains(&"..") {
        return Err(bad("the path leaves the manifest's folder (\"..\")"));
    }
    if parts.is_empty() || slashed.contains('\0') {
        return Err(bad("the path names no file"));
    }
    walk::named(base, &parts.join("/"))
}

/// The error for a manifest without one good row, with the reasons.
fn none(name: &str, refused: &[Refusal]) -> Error {
    let mut reasons: BTreeMap<&str, (u64, &Refusal)> = BTreeMap::new();
    for refusal in refused {
        reasons.entry(refusal.fault.reason.code()).or_insert((0, refusal)).0 += 1;
    }
    let told = reasons.iter().map(|(code, (n, first))| {
        format!("{n} {code} (line {}: {})", first.line.unwrap_or_default(), first.fault.message)
    });
    let told: Vec<String> = told.collect();
    Error::config(
        format!("{name}: not one of {} rows can be taken: {}", refused.len(), told.join(", ")),
        "mend the rows (paths are relative to the manifest), or say --kind image, audio or video to put them all into the \
         quarantine",
    )
}

/// A name that the shard format takes and no other column has.
fn column_name(name: &str, place: usize, taken: &[(String, Feature)], notes: &mut Vec<String>) -> String {
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
        notes.push(format!("column {name:?} is called {new:?} in the dataset"));
    }
    new
}

#[cfg(test)]
mod tests;
