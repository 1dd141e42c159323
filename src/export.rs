//! Datasets as the files that other tools read: media in folders, and what is said of them in a format's own files beside them.
//!
//! Payloads go out as they are stored, byte for byte; what a format cannot say is left out and told in a note. A folder comes into being whole or
//! not at all: it is written beside its place and moved there at the end.

use std::collections::BTreeMap;
use std::path::Path;

use serde::Serialize;

use crate::data::info::Kind;
use crate::dataset::Dataset;
use crate::error::{Error, Result};
use crate::registry::{Named, Table};

mod asked;
mod coco;
mod folder;
mod jsonl;
mod place;
mod row;
mod target;
mod voc;
mod yolo;

use asked::Asked;
use place::{Taken, placed, safe};
use row::Outgoing;
use target::{Folder, Target};

/// One format: a row of the table.
#[derive(Debug, Clone, Copy)]
pub struct ExportFormat {
    /// The name for `--format`.
    pub name: &'static str,
    /// What comes out, in one line.
    pub summary: &'static str,
    /// Begins an export.
    make: fn(&Asked<'_>) -> Result<Box<dyn Writer>>,
}

impl Named for ExportFormat {
    fn name(&self) -> &'static str {
        self.name
    }
}

/// The formats of this build.
pub const FORMATS: &[ExportFormat] = &[folder::FORMAT, jsonl::FORMAT, coco::FORMAT, voc::FORMAT, yolo::FORMAT];

/// What is exported, and how.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ExportOptions {
    /// Of which splits the rows are; empty: of all.
    pub splits: Vec<String>,
    /// The column of media; unless told the first.
    pub media: Option<String>,
    /// The column of objects; unless told the first.
    pub objects: Option<String>,
    /// The column of classes for class folders; unless told the first.
    pub label: Option<String>,
}

/// What came of an export.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Exported {
    /// The format.
    pub format: &'static str,
    /// Rows whose media are there.
    pub rows: u64,
    /// Rows of each split.
    pub splits: BTreeMap<String, u64>,
    /// Bytes of media.
    pub bytes: u64,
    /// Rows that the format has no place for: the first of them with the reason, and how many.
    pub left_out: Vec<LeftOut>,
    /// What the format does not say, and other things to know.
    pub notes: Vec<String>,
}

/// Rows that are not in an export for one reason.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LeftOut {
    /// Why, in a sentence.
    pub reason: String,
    /// How many.
    pub rows: u64,
    /// The id of the first.
    pub first: String,
}

/// Writes one format.
trait Writer {
    /// Where the media of a row go, relative to the folder: its name, and what the format puts in front. An error says why it has no place for the row.
    fn place(&mut self, row: &Outgoing<'_>) -> std::result::Result<String, String>;

    /// What else a row at `path` has for its own: paths of other files, or how they begin. No two rows have the same.
    fn beside(&self, _path: &str) -> Vec<String> {
        Vec::new()
    }

    /// Files that are whole at the end only, and are for no row to have.
    fn at_the_end(&self, splits: &[String]) -> Vec<String>;

    /// Says what is said of a row, whose media are at `path`.
    fn row(&mut self, row: &mut Outgoing<'_>, path: &str, folder: &mut Folder) -> Result<()>;

    /// Writes what is written at the end; returns notes.
    fn finish(self: Box<Self>, folder: &mut Folder) -> Result<Vec<String>>;
}

impl Exported {
    /// A row has no place.
    fn leave_out(&mut self, reason: &str, id: &str) {
        match self.left_out.iter_mut().find(|known| known.reason == reason) {
            Some(known) => known.rows += 1,
            None => self.left_out.push(LeftOut { reason: reason.to_owned(), rows: 1, first: id.to_owned() }),
        }
    }
}

/// Writes a dataset into a folder that is not there, or empty. `step` is asked before each row whether to go on.
///
/// # Errors
/// [`Error::Config`]: no such format or column, a folder with something in it, a format that has no place for the dataset. What cannot be read or written; what
/// `step` returns. The folder is not there then.
pub fn export(
    dataset: &Dataset,
    format: &str,
    to: &Path,
    options: &ExportOptions,
    step: &dyn Fn(u64) -> Result<()>,
) -> Result<Exported> {
    let format = *Table::new("export format", FORMATS).get(format)?;
    let asked = Asked::of(dataset, options)?;
    let mut writer = (format.make)(&asked)?;
    let mut target = Target::new(to)?;
    let mut taken = Taken::new(target.folder.folds()?);
    for path in writer.at_the_end(&asked.splits) {
        if !taken.take(&[&path]) {
            let help = "export one of them (--split), or give one another name: `dsctl split --from-csv`";
            return Err(Error::config(format!("two splits are the file {path}"), help));
        }
    }
    let mut done = Exported { format: format.name, ..Exported::default() };
    let renamed = rows(&asked, writer.as_mut(), (&mut target.folder, &mut taken), step, &mut done)?;
    done.notes = writer.finish(&mut target.folder)?;
    if renamed > 0 {
        done.notes.push(format!("{renamed} files have other names than their ids, which are none for files, or those of others (a.png and a.jpg have one file of labels)"));
    }
    target.publish()?;
    Ok(done)
}

/// Writes all rows; returns how many files are not called by their ids.
fn rows(
    asked: &Asked<'_>,
    writer: &mut dyn Writer,
    (folder, taken): (&mut Folder, &mut Taken),
    step: &dyn Fn(u64) -> Result<()>,
    done: &mut Exported,
) -> Result<u64> {
    let dataset = asked.dataset;
    let (mut bytes, mut scratch) = (Vec::new(), Vec::new());
    let mut renamed = 0;
    for split in &asked.splits {
        for number in dataset.index().ranges(Some(split)).into_iter().flatten() {
            step(done.rows)?;
            let (_, entry) = dataset.index().locate(number);
            let Some(info) = entry.payload(asked.media).map(|payload| payload.info) else {
                let why = match entry.is_null(asked.media) {
                    true => "the media are null",
                    false => "the media are of a format that this build does not know",
                };
                done.leave_out(why, entry.id());
                continue;
            };
            let objects = match asked.objects {
                Some((column, of)) => entry.objects(column, of).map_err(|why| {
                    let help = "`dsctl verify --rebuild-index` makes the Index again from the shards";
                    Error::damaged(dataset.root(), format!("row {number} {:?}: {why}", entry.id()), help)
                })?,
                None => None,
            };
            let ending = info.format.extension();
            let name = safe(entry.id(), info.format).unwrap_or_else(|| format!("row-{number:09}.{ending}"));
            let size = [info.width, info.height];
            let mut row = Outgoing { dataset, number, entry, split, name, size, objects, scratch: &mut scratch };
            let path = match placed(writer, &mut row, ending, taken) {
                Ok(path) => path,
                Err(reason) => {
                    done.leave_out(&reason, entry.id());
                    continue;
                }
            };
            // Text is a row of its file.
            if info.format.kind() != Kind::Text {
                renamed += u64::from(row.name != entry.id());
                dataset.fetch_checked(number, asked.media, &mut bytes)?;
                folder.put(&path, &[&bytes])?;
                done.bytes += bytes.len() as u64;
            }
            writer.row(&mut row, &path, folder)?;
            done.rows += 1;
            *done.splits.entry(split.clone()).or_default() += 1;
        }
    }
    Ok(renamed)
}
