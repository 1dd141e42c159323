//! Changes that come to stand over the shards of a version.

use super::{Edit, Old};
use crate::data::changes::{Changes, ChangesBuilder, RowChanges};
use crate::data::feature::Schema;
use crate::data::index::overlaid;
use crate::data::manifest::SegmentRef;
use crate::error::{Error, Result};
use crate::store::commit;

/// Memory of all lists together before they go on in files.
const MEMORY: usize = 64 << 20;

/// Collects changes for the segments of a version.
#[derive(Debug)]
pub(super) struct Overlay<'o> {
    old: &'o Old,
    schema: Schema,
    lists: Vec<Option<ChangesBuilder>>,
}

impl<'o> Overlay<'o> {
    /// Nothing yet, over a version. The schema may have more classes than the version's.
    pub(super) fn new(old: &'o Old, schema: &Schema) -> Self {
        let lists = old.segments().iter().map(|_| None).collect();
        Overlay { old, schema: schema.clone(), lists }
    }

    /// Changes a row of a segment.
    pub(super) fn push(&mut self, segment: usize, key: u64, changes: &RowChanges) -> Result<()> {
        let list = match &mut self.lists[segment] {
            Some(list) => list,
            none => {
                let spill = self.old.spill.clone().beyond(MEMORY / self.old.segments().len().max(2));
                let mut list = ChangesBuilder::new(&self.schema, &spill);
                for change in self.old.changes[segment].iter().flat_map(Changes::iter) {
                    list.push(change.key(), &change.into())?;
                }
                none.insert(list)
            }
        };
        list.push(key, changes)
    }

    /// Stores the lists and the segments under them. `None` if nothing changes.
    pub(super) fn finish(self) -> Result<Option<Edit>> {
        if self.lists.iter().all(Option::is_none) && self.schema == *self.old.schema() {
            return Ok(None);
        }
        let mut segments = Vec::with_capacity(self.lists.len());
        for (number, list) in self.lists.into_iter().enumerate() {
            let entry = &self.old.segments()[number];
            segments.push(match list {
                None => entry.clone(),
                Some(list) => put(self.old, number, list, &self.schema)?,
            });
        }
        Ok(Some(Edit { schema: self.schema, segments }))
    }
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
