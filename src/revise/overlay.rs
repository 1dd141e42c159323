//! Changes that come to stand over the shards of a version.

use super::{Edit, Old};
use crate::data::changes::{Changes, ChangesBuilder, RowChanges};
use crate::data::feature::Schema;
use crate::data::index::overlaid;
use crate::data::manifest::SegmentRef;
use crate::error::{Error, Result};
use crate::spool::Sorter;
use crate::store::commit;

/// Memory of what is collected before it goes on in files. All segments share it: a version may have thousands of them.
const MEMORY: usize = 64 << 20;

/// Collects changes for the segments of a version.
#[derive(Debug)]
pub(super) struct Overlay<'o> {
    old: &'o Old,
    schema: Schema,
    /// By segment and row key, those pushed later behind the others.
    sorter: Sorter,
    any: bool,
}

impl<'o> Overlay<'o> {
    /// Nothing yet, over a version. The schema may have more classes than the version's.
    pub(super) fn new(old: &'o Old, schema: &Schema) -> Self {
        Self::within(old, schema, MEMORY)
    }

    fn within(old: &'o Old, schema: &Schema, memory: usize) -> Self {
        let sorter = Sorter::new(&old.spill.clone().beyond(memory));
        Overlay { old, schema: schema.clone(), sorter, any: false }
    }

    /// Changes a row of a segment. Nothing to change is nothing added.
    pub(super) fn push(&mut self, segment: usize, key: u64, changes: &RowChanges) -> Result<()> {
        if changes.is_empty() {
            return Ok(());
        }
        self.any = true;
        let at = [(segment as u64).to_be_bytes(), key.to_be_bytes()];
        self.sorter.push(at.as_flattened(), &changes.to_bytes()?)
    }

    /// Stores the lists and the segments under them, one after the other. `None` if nothing changes.
    pub(super) fn finish(self) -> Result<Option<Edit>> {
        let Overlay { old, schema, sorter, any } = self;
        if !any && schema == *old.schema() {
            return Ok(None);
        }
        let sorted = sorter.finish()?;
        let mut changes = sorted.iter().peekable();
        let mut segments = Vec::with_capacity(old.segments().len());
        for (number, entry) in old.segments().iter().enumerate() {
            let of = (number as u64).to_be_bytes();
            let mut list = None;
            while let Some((at, value)) = changes.next_if(|(at, _)| at[..8] == of) {
                let list = match &mut list {
                    Some(list) => list,
                    none => none.insert(standing(old, number, &schema)?),
                };
                let key = at[8..].iter().fold(0, |key, byte| key << 8 | u64::from(*byte));
                list.push(key, &RowChanges::from_bytes(value)?)?;
            }
            segments.push(match list {
                None => entry.clone(),
                Some(list) => put(old, number, list, &schema)?,
            });
        }
        Ok(Some(Edit { schema, segments }))
    }
}

/// What stands over a segment already.
fn standing(old: &Old, number: usize, schema: &Schema) -> Result<ChangesBuilder> {
    let mut list = ChangesBuilder::new(schema, &old.spill);
    for change in old.changes[number].iter().flat_map(Changes::iter) {
        list.push(change.key(), &change.into())?;
    }
    Ok(list)
}

fn put(old: &Old, number: usize, list: ChangesBuilder, schema: &Schema) -> Result<SegmentRef> {
    let changes = stored(old, list, schema)?;
    let from = &old.dataset.index().segments()[number];
    let segment = overlaid(from, schema, changes.as_ref().map(|(_, list)| list), &old.spill)?;
    let entry = commit::put_segment(&old.store, &segment.parts(), from.header().rows)?;
    Ok(SegmentRef { changes: changes.map(|(named, _)| named), ..entry })
}

/// A list as it lies in the dataset now, and its name.
pub(super) fn stored(
    old: &Old,
    list: ChangesBuilder,
    schema: &Schema,
) -> Result<Option<(crate::data::manifest::ChangesRef, Changes)>> {
    let Some((head, rows)) = list.finish()? else { return Ok(None) };
    let mut named = commit::put_changes(&old.store, &[&head, &rows], 0)?;
    let path = old.store.path(&named.path)?;
    let gone = || Error::damaged(&path, "the list of changes was written and is gone", "run it again");
    let bytes = old.store.map_if_there(&named.path)?.ok_or_else(gone)?;
    let list = Changes::read(bytes, schema, &path)?;
    named.rows = list.header().rows;
    Ok(Some((named, list)))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::data::feature::Feature;
    use crate::data::index::IndexCell;
    use crate::data::label::Value;
    use crate::data::record::{Cell, Record};
    use crate::ingest::{DatasetWriter, IngestOptions};
    use crate::rng::Key;
    use crate::store::Store;

    /// Temporary files of a dataset that are mapped: they have no name any more.
    fn mapped(path: &std::path::Path) -> usize {
        let maps = std::fs::read_to_string("/proc/self/maps").unwrap_or_default();
        let of = path.to_str().unwrap();
        maps.lines().filter(|line| line.ends_with("(deleted)") && line.contains(of)).count()
    }

    #[test]
    fn the_lists_of_many_segments_are_made_one_after_the_other() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("d");
        let schema = Schema::new([
            ("score", Feature::Float),
            ("good", Feature::Bool),
            ("count", Feature::Int),
            ("text", Feature::Text),
        ]);
        let segments = 30;
        for segment in 0..segments {
            let mut writer = DatasetWriter::create(&path, schema.clone(), &IngestOptions::default()).unwrap();
            for row in 0..4 {
                let cells = vec![
                    Cell::Value(Value::Float(0.5)),
                    Cell::NULL,
                    Cell::Value(Value::Int(row)),
                    Cell::Media(b"t".to_vec()),
                ];
                let id = format!("{segment}/{row}");
                writer.append(Record { id, split: "train".into(), cells }).unwrap();
            }
            writer.commit().unwrap();
        }
        let old = Old::open(&Store::open(&path)).unwrap();
        let made = |memory: usize| {
            let before = mapped(&path);
            let mut overlay = Overlay::within(&old, &schema, memory);
            let mut want: BTreeMap<(usize, u64), RowChanges> = BTreeMap::new();
            let mut stream = Key::new(5).stream();
            // To and fro between the segments, the same rows again and again.
            for _ in 0..400 {
                let segment = stream.below(segments - 5) as usize;
                let of = &old.dataset.index().segments()[segment];
                let key = of.row(stream.below(of.header().rows)).key();
                let mut change = RowChanges::default();
                match stream.below(5) {
                    0 => change.split = Some(["val", "test"][stream.below(2) as usize].to_owned()),
                    1 => drop(change.cells.insert(0, IndexCell::Float(-0.0))),
                    2 => drop(change.cells.insert(1, IndexCell::Bool(stream.below(2) == 0))),
                    3 => change.cells.extend([(2, IndexCell::Int(-7)), (0, IndexCell::Null)]),
                    _ => {}
                }
                overlay.push(segment, key, &change).unwrap();
                if !change.is_empty() {
                    let all = want.remove(&(segment, key)).unwrap_or_default();
                    want.insert((segment, key), all.then(change));
                }
            }
            let open = mapped(&path) - before;
            (overlay.finish().unwrap().unwrap().segments, want, open)
        };
        let (made_in_memory, want, open) = made(MEMORY);
        assert_eq!(open, 0);
        let (made_in_files, _, open) = made(4 << 10);
        // As many files as the memory was filled: not one for each segment.
        assert!(open < 12 && (open > 1 || !cfg!(target_os = "linux")), "{open} files");
        assert_eq!(made_in_memory, made_in_files);
        let mut got = BTreeMap::new();
        for (number, entry) in made_in_files.iter().enumerate() {
            let list = commit::changes(&old.store, entry, &schema).unwrap();
            assert_eq!(list.is_some(), number < segments as usize - 5, "segment {number}");
            got.extend(list.iter().flat_map(Changes::iter).map(|change| ((number, change.key()), change.into())));
        }
        assert_eq!(got, want);
        assert!(Overlay::new(&old, &schema).finish().unwrap().is_none(), "nothing changes");
    }
}
