//! Segments over whose shards changes stand: the rows of a file, grouped by the splits that they are of now.

use std::collections::BTreeMap;
use std::ops::Range;

use super::{Finished, IndexCell, Segment, SegmentBuilder, shard_path};
use crate::data::changes::{Change, Changes};
use crate::data::feature::Schema;
use crate::error::Result;
use crate::spool::Spill;

/// A file of a segment's shard table, with all of its entries there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TableFile {
    /// The split that the file's folder says.
    pub folder: String,
    /// SHA-256 of the file.
    pub sha256: [u8; 32],
    /// Its bytes.
    pub bytes: u64,
    /// Its entries of the table.
    pub entries: Range<usize>,
    /// Its rows by their places in the segment: of each entry a range, one behind the other.
    pub rows: Range<u64>,
}

impl TableFile {
    /// The path within the dataset.
    pub fn path(&self) -> String {
        shard_path(&self.folder, &super::hex(&self.sha256))
    }
}

impl Segment {
    /// The files of the shard table, each once, in the order of the table.
    pub fn files(&self) -> Vec<TableFile> {
        let mut files: Vec<TableFile> = Vec::new();
        for number in 0..self.header.shards as usize {
            let at = self.shards_at + number * super::SHARD;
            let entry = &self.backing.bytes()[at..at + super::SHARD];
            let (Some((rows, _)), Some(folder)) = (self.shard(number), self.folder(number)) else { continue };
            let sha256: [u8; 32] = entry[32..64].try_into().expect("32 bytes");
            match files.last_mut() {
                Some(last) if last.sha256 == sha256 && last.folder == folder => {
                    last.entries.end = number + 1;
                    last.rows.end = rows.end;
                }
                _ => files.push(TableFile {
                    folder: folder.to_owned(),
                    sha256,
                    bytes: super::u64_at(entry, 16),
                    entries: number..number + 1,
                    rows,
                }),
            }
        }
        files
    }

    /// The rows of a file in the file's order, by their places in the segment.
    pub fn in_file_order(&self, file: &TableFile) -> Vec<u64> {
        let mut rows: Vec<u64> = file.rows.clone().collect();
        rows.sort_by_key(|row| self.row(*row).row_in_shard());
        rows
    }
}

/// What adds the row of a place in a file to a segment, with these cells in place of its own.
pub type PushRow<'a> = &'a mut dyn FnMut(&mut SegmentBuilder, usize, &[(usize, IndexCell)]) -> Result<()>;

/// Rows of a split by their places in a file.
type Places<'c> = Vec<(usize, Option<Change<'c>>)>;

/// Enters the rows of a file into a segment, each at its place: those that are of the file's folder first, then those of other splits by name, all with
/// their new values. `keys` are those of its rows in the file's order.
///
/// # Errors
/// Those of `push`.
pub fn enter_file(
    segment: &mut SegmentBuilder,
    (folder, bytes, sha256): (&str, u64, [u8; 32]),
    keys: impl Iterator<Item = u64>,
    changes: Option<&Changes>,
    push: PushRow<'_>,
) -> Result<()> {
    let mut splits: BTreeMap<(bool, &str), Places<'_>> = BTreeMap::new();
    for (place, key) in keys.enumerate() {
        let change = changes.and_then(|changes| changes.find(key));
        let split = change.and_then(|change| change.split()).unwrap_or(folder);
        splits.entry((split != folder, split)).or_default().push((place, change));
    }
    let mut cells = Vec::new();
    for ((_, split), rows) in splits {
        for (place, change) in rows {
            cells.clear();
            cells.extend(change.into_iter().flat_map(|change| change.cells()));
            push(segment, place, &cells)?;
        }
        segment.end_shard_in(split, folder, bytes, sha256);
    }
    Ok(())
}

/// The segment over the same files as another, under a list that has all the changes of that one and more. No file is read.
///
/// # Errors
/// Those of temporary files.
pub fn overlaid(from: &Segment, schema: &Schema, changes: Option<&Changes>, spill: &Spill) -> Result<Finished> {
    let mut segment = SegmentBuilder::spilling(schema, spill);
    for file in from.files() {
        take_over(&mut segment, from, &file, changes)?;
    }
    segment.finish()
}

/// Enters a file of another segment as it stands there, under changes.
///
/// # Errors
/// Those of temporary files.
pub fn take_over(
    segment: &mut SegmentBuilder,
    from: &Segment,
    file: &TableFile,
    changes: Option<&Changes>,
) -> Result<()> {
    let rows = from.in_file_order(file);
    let keys = rows.iter().map(|row| from.row(*row).key());
    let of = (file.folder.as_str(), file.bytes, file.sha256);
    enter_file(segment, of, keys, changes, &mut |segment, place, cells| segment.push_row(&from.row(rows[place]), cells))
}
