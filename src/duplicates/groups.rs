//! Groups of rows that are the same, and which of them may go.

use std::collections::{BTreeMap, BTreeSet};

use super::equal::row_of;
use super::find::LeftOut;
use super::near::{Crowded, Sketches};
use super::sets::Sets;
use super::{Level, Near, is_label};
use crate::data::index::Row;
use crate::data::info::Kind;
use crate::data::label::Value;
use crate::dataset::Dataset;
use crate::error::Result;
use crate::spool::{Sorted, Sorter, Spill};

/// Rows of a chain of near duplicates that one row is compared with to see whether it may go. Of more it stays.
const COMPARED: usize = 1_000;

/// Rows between two looks at whether to go on: each may be compared with a thousand.
const STEP: usize = 64;

/// Which split's row of a group stays.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeepIn(pub Vec<String>);

impl Default for KeepIn {
    /// `test`, then `validation`, then `train`, then others by name: what models are measured by stays whole.
    fn default() -> Self {
        KeepIn(["test", "validation", "train"].map(str::to_owned).to_vec())
    }
}

impl KeepIn {
    /// Splits that are named, of which the dataset has none: not the usual ones, which many datasets lack.
    pub(super) fn check(&self, dataset: &Dataset) -> Result<()> {
        let usual = KeepIn::default();
        self.0.iter().filter(|name| !usual.0.contains(name)).try_for_each(|name| dataset.has_split(name))
    }

    fn rank(&self, split: &str) -> usize {
        self.0.iter().position(|name| name == split).unwrap_or(self.0.len())
    }
}

/// The rows of a dataset that are there twice, by groups.
#[derive(Debug)]
pub struct Duplicates<'a> {
    pub(super) dataset: &'a Dataset,
    pub(super) column: usize,
    pub(super) kind: Kind,
    pub(super) level: Level,
    pub(super) near: Option<Near>,
    payload: Sets,
    decoded: Option<Sets>,
    all: Sets,
    sketches: Option<Sketches>,
    /// The lowest row of each group with each of its rows.
    groups: Sorted,
    labels: Vec<usize>,
    pub(super) left_out: LeftOut,
    pub(super) crowded: Crowded,
}

impl<'a> Duplicates<'a> {
    pub(super) fn new(
        dataset: &'a Dataset,
        (column, kind): (usize, Kind),
        (level, near): (Level, Option<Near>),
        (payload, decoded, all): (Sets, Option<Sets>, Sets),
        sketches: Option<Sketches>,
        (left_out, crowded): (LeftOut, Crowded),
    ) -> Result<Self> {
        let mut is_first = vec![false; all.len() as usize];
        for row in 0..all.len() {
            let root = all.root(row);
            is_first[root as usize] |= root != row;
        }
        let mut groups = Sorter::new(&Spill::temporary());
        for row in 0..all.len() {
            let root = all.root(row);
            if is_first[root as usize] {
                let mut key = [0; 8];
                key[..4].copy_from_slice(&root.to_be_bytes());
                key[4..].copy_from_slice(&row.to_be_bytes());
                groups.push(&key, &[])?;
            }
        }
        let labels = (0..dataset.schema().columns.len()).filter(|at| is_label(dataset.schema(), *at)).collect();
        let groups = groups.finish()?;
        Ok(Duplicates {
            dataset,
            column,
            kind,
            level,
            near,
            payload,
            decoded,
            all,
            sketches,
            groups,
            labels,
            left_out,
            crowded,
        })
    }

    /// The groups by their lowest rows, the rows of each ascending.
    pub fn groups(&self) -> impl Iterator<Item = Vec<u32>> {
        super::equal::runs(&self.groups).map(|run| run.map(|at| row_of(self.groups.get(at).0)).collect())
    }

    /// Rows of all groups.
    pub(super) fn in_groups(&self) -> u64 {
        self.groups.len() as u64
    }

    /// All rows as sets, those of a group in one.
    pub(crate) fn into_sets(self) -> Sets {
        self.all
    }

    /// Puts the rows of a group in the order in which they have a claim to stay: by split, then by row.
    pub fn by_claim(&self, rows: &mut [u32], keep: &KeepIn) {
        let split = |row: u32| self.dataset.split_of(u64::from(row));
        rows.sort_unstable_by_key(|row| (keep.rank(split(*row)), split(*row), *row));
    }

    /// How two rows of a group are the same, and how much.
    pub fn relation(&self, a: u32, b: u32) -> (Level, f64) {
        if self.payload.same(a, b) {
            return (Level::Payload, 1.0);
        }
        if self.decoded.as_ref().is_none_or(|decoded| decoded.same(a, b)) {
            return (Level::Decoded, 1.0);
        }
        let sketch = |row| self.sketches.as_ref()?.of_row(self.payload.root(row));
        let similarity = self.near.zip(sketch(a)).zip(sketch(b)).map(|((near, a), b)| (near.method.similarity)(a, b));
        (Level::Near, similarity.unwrap_or(0.0))
    }

    fn are_alike(&self, a: u32, b: u32) -> bool {
        let (level, similarity) = self.relation(a, b);
        level < Level::Near || self.near.is_some_and(|near| similarity >= near.similarity)
    }

    /// Which rows of a group, given in the order of [`Duplicates::by_claim`], go if it is to be there once: each that is the same as, or alike, one that stays. Ends of a
    /// chain of near duplicates that are not alike both stay. With `across` a row goes only for one of another split.
    ///
    /// # Errors
    /// What `step` returns, which is asked now and then.
    pub fn going(&self, rows: &[u32], across: bool, step: &dyn Fn() -> Result<()>) -> Result<Vec<bool>> {
        let split = |row: u32| self.dataset.split_of(u64::from(row));
        let mut stay: Vec<u32> = Vec::new();
        // Of what is equal one stands for all, else a group of many would be compared with itself: by what it is, the splits of rows that were met (all
        // of them go or stay for the same reason, but for splits), and of those that stay.
        let mut met: BTreeMap<u32, [BTreeSet<&str>; 2]> = BTreeMap::new();
        let mut goes = Vec::with_capacity(rows.len());
        for (number, &row) in rows.iter().enumerate() {
            if number.is_multiple_of(STEP) {
                step()?;
            }
            let here = split(row);
            let [all, kept] = met.entry(self.decoded.as_ref().unwrap_or(&self.payload).root(row)).or_default();
            let is_known = if across { kept.iter().any(|other| *other != here) } else { !all.is_empty() };
            let is_like = |other: &u32| (!across || split(*other) != here) && self.are_alike(*other, row);
            // Beyond so many, only what is equal is found.
            let it_goes = is_known || stay.len() <= COMPARED && stay.iter().any(is_like);
            let is_first = all.insert(if across { here } else { "" });
            if !it_goes {
                kept.insert(here);
                if is_first && stay.len() <= COMPARED {
                    stay.push(row);
                }
            }
            goes.push(it_goes);
        }
        Ok(goes)
    }

    /// The splits of a group's rows.
    pub(super) fn splits(&self, rows: &[u32]) -> BTreeSet<&'a str> {
        rows.iter().map(|row| self.dataset.split_of(u64::from(*row))).collect()
    }

    /// The level of a group: the loosest by which its rows are held together.
    pub(super) fn level_of(&self, rows: &[u32]) -> Level {
        let all_same = |sets: &Sets| rows.iter().all(|row| sets.same(rows[0], *row));
        match &self.decoded {
            _ if all_same(&self.payload) => Level::Payload,
            Some(decoded) if !all_same(decoded) => Level::Near,
            _ => Level::Decoded,
        }
    }

    /// The columns in which rows of a group differ, of those that say what a row is: classes and objects.
    pub(super) fn conflicts(&self, rows: &[u32]) -> Vec<usize> {
        let row = |row: u32| self.dataset.index().row(u64::from(row));
        let first = row(rows[0]);
        let differs =
            |column: usize| rows[1..].iter().any(|other| label(&first, column) != label(&row(*other), column));
        self.labels.iter().copied().filter(|column| differs(*column)).collect()
    }

    /// The columns that say what a row is.
    pub(super) fn labels(&self) -> &[usize] {
        &self.labels
    }
}

/// What a row is said to be: a class, or objects as they are packed. A class that is not known is -1, or absent.
fn label<'r>(row: &Row<'r>, column: usize) -> (Option<i64>, Option<&'r [u8]>) {
    let class = match row.value(column) {
        Value::Int(class) if class >= 0 => Some(class),
        _ => None,
    };
    (class, row.table(column))
}
