//! What is told of duplicates.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::Serialize;
use serde_json::Value;

use super::Level;
use super::find::Watch;
use super::groups::{Duplicates, KeepIn};
use super::near::Crowded;
use crate::error::Result;

/// What a report is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReportOptions {
    /// Which split's row of a group stays.
    pub keep_in: KeepIn,
    /// Only groups with rows in several splits; a row goes only for one of another split.
    pub across_splits_only: bool,
    /// Groups whose labels differ go as a whole, too; else they stay as a whole.
    pub drop_conflicting: bool,
    /// Groups that are listed, and rows of each; the others are counted.
    pub limit: u64,
}

impl Default for ReportOptions {
    /// All groups, 20 of them listed, with 20 rows of each.
    fn default() -> Self {
        ReportOptions { keep_in: KeepIn::default(), across_splits_only: false, drop_conflicting: false, limit: 20 }
    }
}

/// One row of a group.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Copy {
    /// The row's number.
    pub row: u64,
    /// Its id.
    pub id: String,
    /// Its split.
    pub split: String,
    /// What it is said to be, by class columns; of objects their number.
    pub labels: BTreeMap<String, Value>,
    /// How it is the same as the first row of the group.
    pub level: Level,
    /// How much it is like it, 0 to 1. In a chain of near duplicates this may be less than two neighbours have.
    pub similarity: f64,
    /// Whether it stays when duplicates are dropped.
    pub stays: bool,
}

/// Rows that are the same.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Group {
    /// The loosest level by which they are held together.
    pub level: Level,
    /// How many there are.
    pub count: u64,
    /// The splits they are in.
    pub splits: Vec<String>,
    /// Label columns in which they differ.
    pub conflicts: Vec<String>,
    /// The first of them, by their claim to stay.
    pub rows: Vec<Copy>,
}

/// How often two splits have the same.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Leak {
    /// The two splits.
    pub splits: [String; 2],
    /// Groups with rows in both.
    pub groups: u64,
    /// Rows of these groups in each.
    pub rows: [u64; 2],
}

/// What was found.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Report {
    /// Where the dataset is.
    pub dataset: PathBuf,
    /// Its version; none of what is not ours.
    pub version: Option<u64>,
    /// The column by which rows were compared.
    pub column: String,
    /// What it holds.
    pub kind: &'static str,
    /// Down to which level they were.
    pub level: Level,
    /// How near duplicates were found: name and version.
    pub method: Option<String>,
    /// From which similarity on.
    pub similarity: Option<f64>,
    /// Rows of the dataset.
    pub rows: u64,
    /// Groups.
    pub groups: u64,
    /// Rows in them.
    pub in_groups: u64,
    /// Groups of each level.
    pub levels: BTreeMap<Level, u64>,
    /// Rows that go if duplicates are dropped.
    pub surplus: u64,
    /// Groups with rows in several splits.
    pub across_splits: u64,
    /// For each two splits what they have in common.
    pub leaks: Vec<Leak>,
    /// Groups whose labels differ.
    pub conflicting: u64,
    /// Payloads that could not be compared, by reason.
    pub left_out: BTreeMap<String, u64>,
    /// What was not compared in full.
    pub crowded: Crowded,
    /// Groups by their lowest rows.
    pub listed: Vec<Group>,
}

impl Duplicates<'_> {
    /// Counts and lists groups, and hands over the rows that go, in no order.
    ///
    /// # Errors
    /// [`crate::Error::Config`] for a split to keep in that there is not; those of `going`; what `watch` returns.
    pub fn report(
        &self,
        options: &ReportOptions,
        watch: Watch<'_>,
        going: &mut dyn FnMut(u32) -> Result<()>,
    ) -> Result<Report> {
        let dataset = self.dataset;
        options.keep_in.check(dataset)?;
        let mut report = Report {
            dataset: dataset.root().to_owned(),
            version: dataset.version(),
            column: dataset.schema().columns[self.column].name.clone(),
            kind: self.kind.name(),
            level: self.level,
            method: self.near.map(|near| format!("{} {}", near.method.name, near.method.version)),
            similarity: self.near.map(|near| near.similarity),
            rows: dataset.rows(),
            groups: 0,
            in_groups: 0,
            levels: BTreeMap::new(),
            surplus: 0,
            across_splits: 0,
            leaks: Vec::new(),
            conflicting: 0,
            left_out: self.left_out.0.clone(),
            crowded: self.crowded,
            listed: Vec::new(),
        };
        let mut leaks: BTreeMap<[&str; 2], (u64, [u64; 2])> = BTreeMap::new();
        for mut rows in self.groups() {
            let splits: Vec<&str> = self.splits(&rows).into_iter().collect();
            if options.across_splits_only && splits.len() < 2 {
                continue;
            }
            self.by_claim(&mut rows, &options.keep_in);
            report.groups += 1;
            report.in_groups += rows.len() as u64;
            let level = self.level_of(&rows);
            *report.levels.entry(level).or_default() += 1;
            if splits.len() > 1 {
                report.across_splits += 1;
                let mut counts: BTreeMap<&str, u64> = BTreeMap::new();
                rows.iter().for_each(|row| *counts.entry(dataset.split_of(u64::from(*row))).or_default() += 1);
                for (at, one) in splits.iter().enumerate() {
                    for other in &splits[at + 1..] {
                        let (groups, of) = leaks.entry([*one, *other]).or_default();
                        *groups += 1;
                        *of = [of[0] + counts[one], of[1] + counts[other]];
                    }
                }
            }
            let conflicts = self.conflicts(&rows);
            report.conflicting += u64::from(!conflicts.is_empty());
            let goes = match (conflicts.is_empty(), options.drop_conflicting) {
                (true, _) => {
                    let step = || watch("rows of groups looked at", report.in_groups, self.in_groups());
                    self.going(&rows, options.across_splits_only, &step)?
                }
                (false, drops) => vec![drops; rows.len()],
            };
            for (row, _) in rows.iter().zip(&goes).filter(|(_, goes)| **goes) {
                report.surplus += 1;
                going(*row)?;
            }
            if (report.listed.len() as u64) < options.limit {
                let most = usize::try_from(options.limit).unwrap_or(usize::MAX);
                let copies = rows.iter().zip(goes).take(most).map(|(row, goes)| self.copy(rows[0], *row, !goes));
                report.listed.push(Group {
                    level,
                    count: rows.len() as u64,
                    splits: splits.iter().map(|split| (*split).to_owned()).collect(),
                    conflicts: conflicts.iter().map(|at| dataset.schema().columns[*at].name.clone()).collect(),
                    rows: copies.collect(),
                });
            }
        }
        report.leaks = leaks
            .into_iter()
            .map(|(splits, (groups, rows))| Leak { splits: splits.map(str::to_owned), groups, rows })
            .collect();
        Ok(report)
    }

    fn copy(&self, first: u32, row: u32, stays: bool) -> Copy {
        let (level, similarity) = self.relation(first, row);
        let number = u64::from(row);
        let (entry, schema) = (self.dataset.index().row(number), self.dataset.schema());
        let label = |at: &usize| {
            let column = &schema.columns[*at];
            (column.name.clone(), column.feature.told(&entry.value(*at)))
        };
        Copy {
            row: number,
            id: entry.id().to_owned(),
            split: self.dataset.split_of(number).to_owned(),
            labels: self.labels().iter().map(label).collect(),
            level,
            similarity,
            stays,
        }
    }
}
