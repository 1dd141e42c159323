//! Parts of a dataset that stay the same while it grows: folds, and samples of its rows.
//!
//! Each row's number in a fold or a sample is a hash of its id (or of a column, so that what belongs together stays together), never of
//! its place or of the other rows. (Of a sample of so many rows the threshold depends on all: as the dataset grows, new rows take the place of
//! some.) The seed is one of its own, so that another order of training leaves the parts as they are.

use serde::{Deserialize, Serialize};

use super::Rows;
use crate::data::feature::{Feature, Schema};
use crate::data::index::{Index, Row};
use crate::data::label::Value;
use crate::error::{Error, Result};
use crate::rng::Key;

/// One of several parts of about equal size, or all but it: `{ of = 5, hold_out = 0 }` to train, `{ of = 5, only = 0 }` to validate.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Fold {
    /// How many parts there are.
    pub of: u32,
    /// All rows but those of this part (from 0).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hold_out: Option<u32>,
    /// Only the rows of this part (from 0).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub only: Option<u32>,
    /// A small column whose equal values stay in one part, such as a speaker. Rows without one go by themselves.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub by: Option<String>,
    /// Another way to part the rows.
    pub seed: u64,
}

/// A sample of the rows: `{ rows = 1000 }` or `{ share = 0.1 }`. A smaller one lies within a larger one of the same seed.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Subset {
    /// So many rows, or all if there are fewer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rows: Option<u64>,
    /// About so large a share of the rows, from 0 to 1; each row is in it or not, whatever other rows there are.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub share: Option<f64>,
    /// Another sample.
    pub seed: u64,
}

impl Fold {
    /// Checks the numbers.
    ///
    /// # Errors
    /// [`Error::Config`] for no parts, or for not just one of `hold_out` and `only`.
    pub fn validate(&self) -> Result<()> {
        let help = "write fold = { of = 5, hold_out = 0 }, or only = 0 for that part alone";
        let part = match (self.hold_out, self.only) {
            (Some(part), None) | (None, Some(part)) => part,
            _ => return Err(Error::config("fold: one of hold_out and only says which part", help)),
        };
        if part >= self.of {
            return Err(Error::config(format!("fold: part {part} of {}", self.of), help));
        }
        Ok(())
    }

    /// The rows of the part.
    ///
    /// # Errors
    /// [`Error::Config`] if there is no small column of the name `by`.
    pub fn choose(&self, rows: &Rows, index: &Index, schema: &Schema) -> Result<Rows> {
        let by = match &self.by {
            None => None,
            Some(name) => {
                let at = schema.columns.iter().position(|c| c.name == *name && !c.feature.is_payload());
                let at = at.map(|at| (at, matches!(schema.columns[at].feature, Feature::ClassLabel { .. })));
                let small = || {
                    let small = schema.columns.iter().filter(|c| !c.feature.is_payload());
                    format!("there are: {}", small.map(|c| c.name.as_str()).collect::<Vec<_>>().join(", "))
                };
                Some(at.ok_or_else(|| Error::config(format!("fold: there is no small column {name:?}"), small()))?)
            }
        };
        let key = Key::new(self.seed).named("fold");
        Ok(rows.choose(|row| {
            let row = index.row(row);
            let part = key.with(group(&row, by)).stream().below(u64::from(self.of));
            match self.only {
                Some(only) => part == u64::from(only),
                None => Some(part) != self.hold_out.map(u64::from),
            }
        }))
    }
}

/// What is hashed: a column's value, or the row's own key.
fn group(row: &Row<'_>, by: Option<(usize, bool)>) -> u64 {
    match by.map(|(column, class)| (row.value(column), class)) {
        // A class that is not known is -1, or absent.
        Some((Value::Int(v), class)) if v >= 0 || !class => v as u64,
        // The two zeros are equal, and what is no number is equal to nothing.
        Some((Value::Float(v), _)) if !v.is_nan() => (v + 0.0).to_bits(),
        Some((Value::Bool(v), _)) => u64::from(v),
        _ => row.key(),
    }
}

impl Subset {
    /// Checks the numbers.
    ///
    /// # Errors
    /// [`Error::Config`] for a share that is none, or for not just one of `rows` and `share`.
    pub fn validate(&self) -> Result<()> {
        let help = "write subset = { rows = 1000 } or subset = { share = 0.1 }";
        match (self.rows, self.share) {
            (Some(_), None) => Ok(()),
            (None, Some(share)) if (0.0..=1.0).contains(&share) => Ok(()),
            (None, Some(share)) => Err(Error::config(format!("subset: a share of {share}"), help)),
            _ => Err(Error::config("subset: one of rows and share says how many", help)),
        }
    }

    /// The rows of the sample.
    pub fn choose(&self, rows: &Rows, index: &Index) -> Rows {
        let key = Key::new(self.seed).named("subset");
        let hash = |row: u64| key.with(index.row(row).key()).stream().next_u64();
        match (self.rows, self.share) {
            (Some(most), _) => lowest(rows, most, hash),
            (None, Some(share)) => {
                // 2^64 itself is no number of 64 bits; below it a share has 53.
                let bound = share * (1u64 << 53) as f64;
                rows.choose(|row| ((hash(row) >> 11) as f64) < bound)
            }
            (None, None) => rows.clone(),
        }
    }
}

/// The rows with the `most` lowest hashes. Counts by the upper bits say which hashes are in for sure, and only those of one count are sorted.
fn lowest(rows: &Rows, most: u64, hash: impl Fn(u64) -> u64) -> Rows {
    const BITS: u32 = 16;
    if most >= rows.len() {
        return rows.clone();
    }
    let mut counts = vec![0u64; 1 << BITS];
    for row in rows.iter() {
        counts[(hash(row) >> (64 - BITS)) as usize] += 1;
    }
    let (mut before, mut edge) = (0, 0);
    while before + counts[edge] <= most {
        before += counts[edge];
        edge += 1;
    }
    let edge_of = |hash: u64| (hash >> (64 - BITS)) as usize;
    let mut at_edge: Vec<(u64, u64)> =
        rows.iter().map(|row| (hash(row), row)).filter(|(hash, _)| edge_of(*hash) == edge).collect();
    at_edge.sort_unstable();
    // The first that is not in: all are compared with it, ties by their rows.
    let first_out = at_edge[(most - before) as usize];
    rows.choose(|row| (hash(row), row) < first_out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::index::{IndexCell, Segment, SegmentBuilder};
    use std::collections::BTreeSet;
    use std::sync::Arc;

    fn index(rows: u64) -> (Index, Schema) {
        let schema = Schema::new([("speaker", Feature::Int), ("text", Feature::Text)]);
        let mut builder = SegmentBuilder::new(&schema);
        for row in 0..rows {
            let speaker = if row % 50 == 49 { IndexCell::Null } else { IndexCell::Int((row % 7) as i64) };
            builder.push(&format!("row {row}"), &[speaker, IndexCell::Null]).unwrap();
        }
        builder.end_shard("train", 1, [0; 32]);
        let segment = Segment::from_bytes(builder.finish().unwrap().to_vec()).unwrap();
        (Index::new(vec![Arc::new(segment)]).unwrap(), schema)
    }

    fn all(index: &Index) -> Rows {
        Rows::new(Some(0..index.rows()))
    }

    #[test]
    fn folds_part_the_rows_and_stay_while_they_grow() {
        let ((small, schema), (large, _)) = (index(1500), index(3000));
        for by in [None, Some("speaker".to_owned())] {
            let mut seen = vec![0; 3000];
            for part in 0..5 {
                let fold = |hold_out, only| Fold { of: 5, hold_out, only, by: by.clone(), seed: 3 };
                let only = fold(None, Some(part));
                let rows = only.choose(&all(&large), &large, &schema).unwrap();
                rows.iter().for_each(|row| seen[row as usize] += 1);
                let rest = fold(Some(part), None).choose(&all(&large), &large, &schema).unwrap();
                let both: BTreeSet<u64> = rows.iter().chain(rest.iter()).collect();
                assert_eq!((both.len(), rows.len() + rest.len()), (3000, 3000));
                let before: Vec<u64> = only.choose(&all(&small), &small, &schema).unwrap().iter().collect();
                assert_eq!(before, rows.iter().filter(|row| *row < 1500).collect::<Vec<_>>());
                if by.is_none() {
                    // 600 of 3,000 with a deviation of 22: five of them are beyond chance.
                    assert!(rows.len().abs_diff(600) < 110, "{}", rows.len());
                } else {
                    // A speaker is in the part or not; the rows without one are by themselves.
                    let speakers = |rows: &Rows| -> BTreeSet<u64> {
                        rows.iter().filter(|r| r % 50 != 49).map(|r| r % 7).collect()
                    };
                    assert!(speakers(&rows).is_disjoint(&speakers(&rest)));
                }
            }
            assert!(seen.iter().all(|n| *n == 1));
        }
    }

    #[test]
    fn subsets_are_of_the_size_and_within_each_other() {
        let (index, _) = index(5000);
        let of = |subset: Subset| subset.choose(&all(&index), &index).iter().collect::<BTreeSet<u64>>();
        let rows = |rows| of(Subset { rows: Some(rows), ..Subset::default() });
        let share = |share| of(Subset { share: Some(share), ..Subset::default() });
        let mut before = BTreeSet::new();
        for most in [0, 1, 2, 63, 1000, 4999, 5000, 9000] {
            let now = rows(most);
            assert_eq!(now.len() as u64, most.min(5000));
            assert!(now.is_superset(&before));
            before = now;
        }
        assert_eq!((share(0.0).len(), share(1.0).len()), (0, 5000));
        let tenth = share(0.1);
        // 500 of 5,000 with a deviation of 21: five of them are beyond chance.
        assert!(tenth.len().abs_diff(500) < 106 && tenth.is_subset(&share(0.2)), "{}", tenth.len());
        assert_ne!(rows(1000), of(Subset { rows: Some(1000), seed: 1, ..Subset::default() }));
        // Rows of equal hashes are taken by their order.
        assert_eq!(lowest(&all(&index), 7, |_| 5).iter().collect::<Vec<_>>(), (0..7).collect::<Vec<_>>());
    }

    #[test]
    fn numbers_that_say_nothing_are_refused() {
        for fold in ["of = 5", "of = 5\nonly = 5", "of = 5\nonly = 1\nhold_out = 2", "only = 0"] {
            assert!(toml::from_str::<Fold>(fold).unwrap().validate().is_err(), "{fold}");
        }
        for subset in ["", "rows = 3\nshare = 0.5", "share = 1.5", "share = nan"] {
            assert!(toml::from_str::<Subset>(subset).unwrap().validate().is_err(), "{subset}");
        }
        let (index, schema) = index(3);
        let fold = Fold { of: 2, only: Some(0), by: Some("text".into()), ..Fold::default() };
        let message = fold.choose(&all(&index), &index, &schema).unwrap_err().to_string();
        assert!(message.contains("speaker"), "{message}");
    }
}
