//! What rows are assigned by, and which of them go together.

use std::collections::HashMap;

use regex::Regex;

use super::SplitBy;
use crate::data::feature::{Feature, Schema};
use crate::data::index::Row;
use crate::data::label::Value;
use crate::data::partition::{Member, place};
use crate::duplicates::Sets;
use crate::error::{Error, Result};
use crate::revise::Old;
use crate::spool::Sorter;

/// What a row is assigned by.
pub(super) enum By {
    Row,
    Column(usize),
    Id(Regex),
}

impl By {
    pub(super) fn of(by: &SplitBy, schema: &Schema) -> Result<Self> {
        Ok(match by {
            SplitBy::Row => By::Row,
            SplitBy::Even { group, .. } => By::of(group, schema)?,
            SplitBy::Group(column) | SplitBy::Stratum(column) => {
                let at = schema.position(column).ok_or_else(|| {
                    let names: Vec<&str> = schema.columns.iter().map(|c| c.name.as_str()).collect();
                    Error::config(format!("there is no column {column:?}"), format!("there are: {}", names.join(", ")))
                })?;
                By::Column(at)
            }
            SplitBy::GroupId(expression) => {
                let help = "the first group is what rows have in common: '^[^/]+/(speaker\\d+)_'";
                let regex = Regex::new(expression).map_err(|e| Error::config(format!("--group-id: {e}"), help))?;
                if regex.captures_len() < 2 {
                    return Err(Error::config(format!("--group-id: {expression:?} has no group in parentheses"), help));
                }
                By::Id(regex)
            }
        })
    }

    pub(super) fn member<'a>(&self, row: &Row<'a>, schema: &Schema) -> Member<'a> {
        let own = Member::Row(row.key());
        match self {
            By::Row => own,
            By::Column(at) => value(row, *at, &schema.columns[*at].feature).map_or(own, Member::Group),
            By::Id(regex) => {
                regex.captures(row.id()).and_then(|found| found.get(1)).map_or(own, |m| Member::Named(m.as_str()))
            }
        }
    }
}

/// A cell as a number: of payloads the hash of their bytes. `None` if it is absent.
pub(super) fn value(row: &Row<'_>, column: usize, feature: &Feature) -> Option<u64> {
    if feature.is_payload() {
        return row.payload(column).map(|payload| payload.hash);
    }
    match row.value(column) {
        // A class that is not known is -1, or absent.
        Value::Int(v) if v < 0 && matches!(feature, Feature::ClassLabel { .. }) => None,
        Value::Int(v) => Some(v as u64),
        // The two zeros are equal, and what is no number is equal to nothing.
        Value::Float(v) => (!v.is_nan()).then(|| (v + 0.0).to_bits()),
        Value::Bool(v) => Some(u64::from(v)),
        Value::Null | Value::Text(_) => None,
    }
}

/// Rows that are to be in one split.
pub(super) struct Together {
    sets: Sets,
    /// Of sets with several rows, by the lowest: the one that was written first. The numbers of rows change with their splits, files and places in them do not.
    firsts: HashMap<u32, u32>,
}

impl Together {
    /// Joins rows that are of one group, too.
    pub(super) fn new(mut sets: Sets, old: &Old, by: &By, is_grouped: bool, seed: u64) -> Result<Self> {
        if is_grouped {
            let mut members = Sorter::new(&old.spill);
            for row in 0..sets.len() {
                // The place stands for the group, as below.
                match by.member(&old.dataset.index().row(u64::from(row)), old.schema()) {
                    Member::Row(_) => {}
                    member => members.push(&place(seed, member).to_be_bytes(), &row.to_be_bytes())?,
                }
            }
            let members = members.finish()?;
            for at in 1..members.len() {
                let ((before, a), (here, b)) = (members.get(at - 1), members.get(at));
                if before == here {
                    sets.join(number(a) as u32, number(b) as u32);
                }
            }
            sets.flatten();
        }
        let mut firsts: HashMap<u32, ((usize, usize, u64), u32)> = HashMap::new();
        let mut has_others = vec![false; sets.len() as usize];
        (0..sets.len())
            .filter(|row| sets.root(*row) != *row)
            .for_each(|row| has_others[sets.root(row) as usize] = true);
        let mut number = 0u32;
        for (segment, of) in old.dataset.index().segments().iter().enumerate() {
            let files = of.files();
            for row in 0..of.header().rows {
                let root = sets.root(number);
                if has_others[root as usize] {
                    let file = files.partition_point(|file| file.rows.end <= row);
                    let place = (segment, file, of.row(row).row_in_shard());
                    let first = firsts.entry(root).or_insert((place, number));
                    *first = (*first).min((place, number));
                }
                number += 1;
            }
        }
        let firsts = firsts.into_iter().map(|(root, (_, row))| (root, row)).collect();
        Ok(Together { sets, firsts })
    }

    /// The first row of a row's set, if the set has others.
    pub(super) fn first(&self, row: u64) -> Option<u64> {
        let row = u32::try_from(row).ok().filter(|row| *row < self.sets.len())?;
        self.firsts.get(&self.sets.root(row)).map(|first| u64::from(*first))
    }
}

/// The number whose bytes, the highest first, stand in a record.
pub(super) fn number(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0, |n, byte| n << 8 | u64::from(*byte))
}
