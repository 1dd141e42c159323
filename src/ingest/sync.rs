//! Rows that follow their source: what an ingest with `--sync` takes out, replaces and changes beside what it adds, so that the dataset's rows of this source
//! are those of one ingest of the source as it is now.
//!
//! - A row follows the source if the source brought it ([`super::claims`]); all others stay as they are.
//! - Content that is another is made into a new row. If that is refused, the row that is there stays: it may be the only copy.
//! - A split or small value is taken over where the *source* says something else than it said the last time. What a person changed meanwhile
//!   (`dsctl relabel`, `dsctl split`) stays otherwise, also over new content.
//! - Of a source whose archive is damaged or cut, rows are added, and none is taken out or changed: what is missing may be a row, a label or a picture's objects.
//! - What the source has no more is taken out, unless a file that it may be in could not be read, or another source has the row, too; and not at all if it is
//!   more than [`SyncOptions::max_removed`].

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::base::{Base, There, made_of};
use super::check::{Checker, Outcome, small as value_of};
use super::claims::{self, Claim, Claims, Collected, Next, UNKNOWN, said_split, said_value};
use super::freeze::Frozen;
use super::gone::{Gone, RefusedIds};
use super::keys::Keys;
use super::options::{Control, MaxErrors};
use super::recordings::Recordings;
use super::run::{CHUNK_BYTES, chunk};
use crate::data::changes::RowChanges;
use crate::data::feature::{Feature, Schema};
use crate::data::index::{IndexCell, Segment};
use crate::data::label::Value;
use crate::data::manifest::SegmentRef;
use crate::data::record::row_key;
use crate::error::Result;
use crate::source::{Entry, Listing};
use crate::spool::{Sorted, Sorter, Spill};
use crate::store::Store;
use crate::store::commit::Root;

/// Which rows of the dataset follow the source, where no ingest wrote it down.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Own {
    /// Those that its ingests brought, as they wrote down.
    #[default]
    Recorded,
    /// These, and all that the source lists now and the dataset has.
    Listed,
    /// All rows: the dataset has no other source.
    All,
}

/// How rows follow their source.
#[derive(Debug, Clone, PartialEq)]
pub struct SyncOptions {
    /// How many of the source's rows may be taken out because the source has them no more: more is taken for a disk that is not there.
    pub max_removed: MaxErrors,
    /// Which rows are the source's.
    pub own: Own,
    /// Where the source was when its ingests wrote down what they brought, if it was elsewhere.
    pub moved_from: Option<PathBuf>,
    /// Nothing is written, and nothing decoded: what is told as added or replaced may be refused yet.
    pub dry_run: bool,
}

impl Default for SyncOptions {
    /// Half of the rows may go.
    fn default() -> Self {
        SyncOptions {
            max_removed: MaxErrors { count: 0, percent: 50.0 },
            own: Own::Recorded,
            moved_from: None,
            dry_run: false,
        }
    }
}

/// What became of the rows that follow a source.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Synced {
    /// Rows that are new.
    pub added: u64,
    /// Rows with other content under the same id.
    pub replaced: u64,
    /// Rows that the source has no more.
    pub removed: u64,
    /// Rows with another value in a small column, because the source says another.
    pub relabelled: u64,
    /// Rows in another split, because the source has another.
    pub moved: u64,
    /// Rows that stay as they were, although what the source has in their place is refused now.
    pub kept_refused: u64,
    /// Rows that the source has no more, and another source of the dataset has.
    pub kept_shared: u64,
    /// Rows that are not this source's.
    pub others: u64,
    /// Whether a version was made.
    pub committed: bool,
    /// Whether it was only asked what would be.
    pub dry_run: bool,
}

impl Synced {
    /// Whether the next version would have the same rows.
    pub fn is_nothing(&self) -> bool {
        self.added + self.replaced + self.removed + self.relabelled + self.moved == 0
    }
}

/// What is to become the next version.
pub(crate) struct Pending<'a> {
    /// The version that was looked at.
    pub base: &'a Root,
    /// The schema of the new rows: the dataset's, with new classes behind the old ones.
    pub schema: &'a Schema,
    /// The new rows.
    pub segment: Option<&'a SegmentRef>,
    /// The keys of rows that go, be they gone from the source or replaced.
    pub out: &'a Sorted,
    /// What changes in rows that stay or are new, by key ([`RowChanges::from_bytes`]).
    pub changes: &'a Sorted,
    /// To be called with the number and the segments of a version before it is committed.
    pub intend: &'a dyn Fn(u64, &[SegmentRef]) -> Result<()>,
    pub spill: &'a Spill,
}

/// Who commits it, and what that left to say.
pub(crate) type Commit<'a> = &'a dyn Fn(&Store, &Pending<'_>) -> Result<(Root, Vec<String>)>;

impl Frozen {
    /// The same work where rows follow the source: what is finished of it stands only over the version that it began with.
    pub(super) fn following(mut self, base: &Root, own: Own) -> Self {
        self.options = format!("{}, sync of {:?} rows over {}", self.options, own, base.sha256);
        self.key = format!("{:016x}", xxhash_rust::xxh3::xxh3_64(format!("{} sync {own:?}", self.key).as_bytes()));
        self
    }
}

/// The new rows by key, with what they are made of; in a dry run those that there would be.
pub(super) struct Fresh(Sorted);

impl Fresh {
    pub(super) fn of(store: &Store, segment: Option<&SegmentRef>, columns: usize, spill: &Spill) -> Result<Self> {
        let mut rows = Sorter::new(spill);
        if let Some(entry) = segment {
            let segment = Segment::open(&store.path(&entry.path)?)?;
            for row in 0..segment.header().rows {
                let row = segment.row(row);
                rows.push(&row.key().to_be_bytes(), &made_of(&row, columns).to_le_bytes())?;
            }
        }
        Ok(Fresh(rows.finish()?))
    }

    fn made_of(&self, key: u64) -> Option<u64> {
        self.0.find(&key.to_be_bytes()).map(|of| of.try_into().map(u64::from_le_bytes).unwrap_or_default())
    }
}

/// What an ingest found, whether rows follow their source or not.
pub(super) struct Found<'a> {
    pub listing: &'a Listing,
    pub schema: &'a Schema,
    pub base: &'a Base,
    pub claims: &'a Claims,
    /// The keys of the listing.
    pub keys: &'a Keys,
    pub spill: &'a Spill,
}

/// What is to become of the rows that are there.
pub(super) struct Decided {
    pub out: Sorted,
    pub changes: Sorted,
    pub claims: Next,
    pub counts: Synced,
}

impl Found<'_> {
    fn small(&self) -> Vec<usize> {
        claims::small(self.schema)
    }

    /// Whether a row of the dataset, of this key, is the source's as far as is known without the listing.
    pub(super) fn owns(&self, own: Own, there: &There<'_>) -> bool {
        let key = there.row.key();
        match own {
            Own::All => true,
            Own::Listed if self.keys.contains(key) => true,
            _ => self.claims.owns(key, made_of(&there.row, self.base_columns())),
        }
    }

    pub(super) fn base_columns(&self) -> usize {
        self.base.schema().map_or(0, |schema| schema.columns.len())
    }

    /// What the source says of an entry: of each small column the value, if it is one, and its hash.
    fn said(&self, entry: &Entry, small: &[usize]) -> Vec<(Option<Value>, u64)> {
        let of = |at: &usize| {
            let feature = &self.schema.columns[*at].feature;
            let value = entry.cells.get(*at).and_then(|cell| value_of(self.base, feature, *at, cell).ok());
            let hash = value.as_ref().map_or(UNKNOWN, said_value);
            (value, hash)
        };
        small.iter().map(of).collect()
    }

    /// What changes in a row: where the source says something else than before, that (`takes`); where it does not, what the row has by now (`carries`, of a
    /// row that is made anew).
    fn change(&self, entry: &Entry, small: &[usize], there: &There<'_>, carries: bool) -> RowChanges {
        let claim = self.claims.find(there.row.key());
        let mut changes = RowChanges::default();
        // Of what was not written down a change tells that a person made it.
        let is_news = |before: u64, now: u64, changed: bool| if before == UNKNOWN { !changed } else { before != now };
        let before = claim.map_or(UNKNOWN, |claim| claim.split());
        let changed = there.change.and_then(|change| change.split()).is_some();
        if there.split != entry.split && is_news(before, said_split(&entry.split), changed) != carries {
            changes.split = Some(if carries { there.split.to_owned() } else { entry.split.clone() });
        }
        for (n, (at, (value, now))) in small.iter().zip(self.said(entry, small)).enumerate() {
            let Some(value) = value else { continue };
            let (row, feature) = (&there.row, &self.schema.columns[*at].feature);
            let before = claim.map_or(UNKNOWN, |claim| claim.value(n));
            let changed = there.change.is_some_and(|change| change.cells().any(|(place, _)| place == *at));
            if !is_same(&row.value(*at), &value, feature) && is_news(before, now, changed) != carries {
                changes.cells.insert(*at, if carries { row.cell(*at) } else { cell(&value) });
            }
        }
        changes
    }

    /// Decides about all rows, once it is known which are made anew and what was refused.
    pub(super) fn decide(
        &self,
        sync: &SyncOptions,
        gone: &Gone,
        fresh: &Fresh,
        refused: &RefusedIds,
    ) -> Result<Decided> {
        let small = self.small();
        let (mut out, mut changes) = (Sorter::new(self.spill), Sorter::new(self.spill));
        let mut next = Collected::new(self.spill, small.len(), true);
        let mut counts = Synced { dry_run: sync.dry_run, ..Synced::default() };
        for (key, value) in gone.out.iter() {
            counts.removed += 1;
            out.push(key, value)?;
        }
        for (key, _) in gone.kept.iter() {
            counts.kept_refused += 1;
            self.again(&mut next, key.try_into().map(u64::from_be_bytes).unwrap_or_default())?;
        }
        counts.kept_shared = gone.shared;
        counts.others = self.base.rows().saturating_sub(gone.owned);
        let mut refused = refused.along();
        for entry in self.listing.entries.iter() {
            let entry = entry?;
            let is_refused = refused.is(&entry);
            let key = row_key(&entry.id);
            let there = self.base.under(&entry.id);
            let made = fresh.made_of(key);
            let carries = match (&there, made) {
                (None, None) => continue,
                (None, Some(_)) => {
                    counts.added += 1;
                    self.claim(&mut next, key, made, &entry, &small)?;
                    continue;
                }
                (Some(_), Some(_)) => {
                    counts.replaced += 1;
                    out.push(&key.to_be_bytes(), &[])?;
                    true
                }
                (Some(there), None) => {
                    if !self.owns(sync.own, there) {
                        // What was refused under the id of another's row is not that row.
                        if !is_refused {
                            self.share(&mut next, there, &entry, &small)?;
                        }
                        continue;
                    }
                    if is_refused {
                        counts.kept_refused += 1;
                        self.again(&mut next, key)?;
                        continue;
                    }
                    false
                }
            };
            let Some(there) = there else { continue };
            let change = self.change(&entry, &small, &there, carries);
            if gone.is_cut && !carries && !change.is_empty() {
                counts.kept_refused += 1;
                self.again(&mut next, key)?;
                continue;
            }
            if !carries {
                counts.relabelled += u64::from(!change.cells.is_empty());
                counts.moved += u64::from(change.split.is_some());
            }
            if !change.is_empty() {
                changes.push(&key.to_be_bytes(), &change.to_bytes()?)?;
            }
            let made = made.unwrap_or_else(|| made_of(&there.row, self.base_columns()));
            self.claim(&mut next, key, Some(made), &entry, &small)?;
        }
        Ok(Decided { out: out.finish()?, changes: changes.finish()?, claims: next.finish()?, counts })
    }

    /// What is claimed where rows do not follow: the new ones, beside what was. `None`: what was is not known, and stays so.
    pub(super) fn brought(&self, fresh: &Fresh, refused: &RefusedIds, was_seen: bool) -> Result<Option<Next>> {
        if self.claims.damaged {
            return Ok(None);
        }
        let small = self.small();
        let known = self.claims.is_complete();
        let mut next = Collected::new(self.spill, small.len(), known.unwrap_or(!was_seen));
        for claim in self.claims.iter() {
            let stands = |there: There<'_>| made_of(&there.row, self.base_columns()) == claim.made_of();
            if fresh.made_of(claim.key()).is_none() && self.base.at(claim.key()).is_some_and(stands) {
                next.push_again(claim)?;
            }
        }
        let mut refused = refused.along();
        for entry in self.listing.entries.iter() {
            let entry = entry?;
            let is_refused = refused.is(&entry);
            let key = row_key(&entry.id);
            if let Some(made) = fresh.made_of(key) {
                self.claim(&mut next, key, Some(made), &entry, &small)?;
            } else if let Some(there) = self.base.at(key).filter(|_| self.claims.find(key).is_none()) {
                let is_others = self.claims.of_another(key, made_of(&there.row, self.base_columns()));
                // What was refused under the id of another's row is not that row.
                let shared = is_others && (is_refused || self.share(&mut next, &there, &entry, &small)?);
                // A row that nobody brought, as it seems: it may be this source's from before that was written down.
                next.complete &= shared || known.is_some();
            }
        }
        Ok(Some(next.finish()?))
    }

    /// Claims a row that another source brought, and that this one has, too.
    fn share(&self, next: &mut Collected, there: &There<'_>, entry: &Entry, small: &[usize]) -> Result<bool> {
        let (key, made) = (there.row.key(), made_of(&there.row, self.base_columns()));
        let shared = self.claims.of_another(key, made);
        if shared {
            self.claim(next, key, Some(made), entry, small)?;
        }
        Ok(shared)
    }

    fn claim(&self, next: &mut Collected, key: u64, made: Option<u64>, entry: &Entry, small: &[usize]) -> Result<()> {
        let before = self.claims.find(key);
        let said = self.said(entry, small).into_iter().enumerate();
        let said: Vec<u64> = said
            .map(|(n, (value, hash))| match value {
                Some(_) => hash,
                None => before.map_or(UNKNOWN, |claim| claim.value(n)),
            })
            .collect();
        next.push(key, made.unwrap_or_default(), said_split(&entry.split), &said)
    }

    /// Claims a row as before.
    fn again(&self, next: &mut Collected, key: u64) -> Result<()> {
        let claim: Option<Claim<'_>> = self.claims.find(key);
        let Some(there) = self.base.at(key) else { return Ok(()) };
        match claim {
            Some(claim) => next.push_again(claim),
            None => next.push(key, made_of(&there.row, self.base_columns()), UNKNOWN, &[]),
        }
    }
}

/// Whether a row has a value already: a class that is not known may be -1.
fn is_same(a: &Value, b: &Value, feature: &Feature) -> bool {
    match (a, b) {
        (Value::Float(a), Value::Float(b)) => a.to_bits() == b.to_bits(),
        (Value::Int(v), Value::Null) | (Value::Null, Value::Int(v)) => {
            *v < 0 && matches!(feature, Feature::ClassLabel { .. })
        }
        (a, b) => a == b,
    }
}

fn cell(value: &Value) -> IndexCell {
    match value {
        Value::Int(v) => IndexCell::Int(*v),
        Value::Float(v) => IndexCell::Float(*v),
        Value::Bool(v) => IndexCell::Bool(*v),
        Value::Null | Value::Text(_) => IndexCell::Null,
    }
}

/// What a dry run finds: the rows that would be made, and the ids of what cannot be read.
pub(super) fn look(
    checker: &Checker<'_>,
    listing: &Listing,
    control: &Control,
    spill: &Spill,
) -> Result<(Fresh, RefusedIds)> {
    let (mut fresh, mut refused) = (Sorter::new(spill), Sorter::new(spill));
    let mut recordings = Recordings::default();
    let mut from = 0;
    loop {
        control.check_cancel()?;
        let now = chunk(&listing.entries, from, CHUNK_BYTES)?;
        if now.entries.is_empty() {
            break;
        }
        from = now.to();
        let outcomes = recordings.check(checker, &now.entries);
        for ((entry, _), outcome) in now.entries.iter().zip(outcomes) {
            match outcome? {
                Outcome::Other | Outcome::Row(..) => {
                    fresh.push(&row_key(&entry.id).to_be_bytes(), &1u64.to_le_bytes())?;
                }
                Outcome::Skipped { .. } => {}
                Outcome::Refused(..) | Outcome::RecordingRefused(..) => refused.push(entry.id.as_bytes(), &[])?,
            }
        }
    }
    Ok((Fresh(fresh.finish()?), RefusedIds::found(refused.finish()?)))
}
