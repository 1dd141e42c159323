//! The work itself: rows are measured on all cores, chunk by chunk, and what lints say of them is gathered in row order.

use std::collections::BTreeMap;

use rayon::prelude::*;

use super::ValidateOptions;
use super::classes::Classes;
use super::lint::{Judged, Lint, Rule, Seen, Severity, Told};
use super::measure::{Measured, Tools, measure};
use super::report::{Finding, Linted, Report};
use super::values::Gathered;
use crate::codec::Scratches;
use crate::data::feature::{Column, Feature};
use crate::data::label::Value;
use crate::data::objects::ObjectsType;
use crate::dataset::{Dataset, Decoding};
use crate::error::Result;
use crate::parallel;
use crate::registry::Table;
use crate::spool::Spill;

/// Rows between two looks at the watch, where payloads are decoded and where none are.
const CHUNK: usize = 64;
const CHUNK_OF_FACTS: usize = 4096;

/// Looks at a dataset through lints. `watch` is told how many rows are done of how many, and ends it with its error.
///
/// # Errors
///
/// [`Error::Config`](crate::Error::Config): options that name no lint or split of these. What is wrong with a payload is a finding, no error.
pub fn validate(
    dataset: &Dataset,
    lints: &Table<Lint>,
    options: &ValidateOptions,
    watch: &dyn Fn(u64, u64) -> Result<()>,
) -> Result<Report> {
    let columns = &dataset.schema().columns;
    let mut active: Vec<Active<'_>> =
        options.chosen(lints)?.into_iter().map(|chosen| Active::new(chosen, columns, options.max_findings)).collect();
    let splits = splits(dataset, options.split.as_deref())?;
    let is_decoded = |column: usize| active.iter().any(|a| a.lint.decodes && a.columns.contains(&column));
    let decoded: Vec<usize> = dataset.schema().payloads().map(|(i, _)| i).filter(|i| is_decoded(*i)).collect();
    let scratches = Scratches::new(options.decode_memory);
    let decoding = Decoding { dataset, limits: &options.limits, scratches: &scratches };
    let total: u64 = splits.iter().map(|split| dataset.splits()[*split]).sum();
    let mut counted = Counted::new(columns, &splits);
    let (mut done, mut payloads) = (0, 0);
    let pool = parallel::pool(options.threads)?;
    for split in splits {
        let rows = dataset.splits()[split];
        let sample = if decoded.is_empty() { 0 } else { options.sample.unwrap_or(rows).min(rows) };
        let is_sampled = |at: u64| {
            let before = |at: u64| u128::from(at) * u128::from(sample) / u128::from(rows.max(1));
            before(at + 1) > before(at)
        };
        let mut all = (0..).zip(dataset.index().ranges(Some(split)).into_iter().flatten());
        let most = if sample.saturating_mul(64) > rows { CHUNK } else { CHUNK_OF_FACTS };
        loop {
            let chunk: Vec<(u64, bool)> = all.by_ref().take(most).map(|(at, row)| (row, is_sampled(at))).collect();
            if chunk.is_empty() {
                break;
            }
            watch(done, total)?;
            let look = |tools: &mut Tools, (row, sampled): &(u64, bool)| {
                look(&decoding, &active, *row, if *sampled { &decoded } else { &[] }, tools)
            };
            let looked: Vec<Result<Looked>> =
                pool.install(|| chunk.par_iter().map_init(Tools::default, look).collect());
            for ((row, _), looked) in chunk.iter().zip(looked) {
                let Looked { said, decoded } = looked?;
                payloads += decoded;
                counted.add(dataset, *row, split);
                for (lint, column, said) in said {
                    active[lint].hear(dataset, split, *row, column, said)?;
                }
            }
            done += chunk.len() as u64;
        }
    }
    watch(done, total)?;
    let lints = active.into_iter().map(|active| active.finish(dataset, &counted));
    let lints = lints.collect::<Result<Vec<Linted>>>()?;
    let mut found: BTreeMap<Severity, u64> = Severity::ALL.iter().map(|severity| (*severity, 0)).collect();
    for lint in &lints {
        *found.entry(lint.severity).or_default() += lint.found;
    }
    let (version, place) = (dataset.version(), dataset.root().to_owned());
    Ok(Report { dataset: place, version, rows: done, decoded: payloads, found, lints })
}

/// The splits that are asked for.
fn splits<'a>(dataset: &'a Dataset, only: Option<&str>) -> Result<Vec<&'a str>> {
    only.map_or(Ok(()), |only| dataset.has_split(only))?;
    let names = dataset.splits().keys().map(String::as_str);
    Ok(names.filter(|name| only.is_none_or(|only| only == *name)).collect())
}

/// What a lint says of a row at once.
enum Said {
    Told(Told),
    Value(u64),
}

/// What there is to say of a row, by lint and column.
struct Looked {
    said: Vec<(usize, usize, Said)>,
    decoded: u64,
}

/// Measures a row's payloads in these columns and asks the lints.
fn look(
    decoding: &Decoding<'_>,
    active: &[Active<'_>],
    row: u64,
    columns: &[usize],
    tools: &mut Tools,
) -> Result<Looked> {
    let dataset = decoding.dataset;
    let entry = dataset.index().row(row);
    let mut measured: Vec<Measured> = dataset.schema().columns.iter().map(|_| Measured::Nothing).collect();
    let mut decoded = 0;
    for column in columns {
        if let Some(payload) = entry.payload(*column) {
            measured[*column] = measure(decoding, (row, *column), &payload, tools)?;
            decoded += 1;
        }
    }
    let seen = Seen { dataset, row, entry, measured };
    let mut said = Vec::new();
    // Lints that decode have nothing to say of rows that are not in the sample.
    for (number, lint) in active.iter().enumerate().filter(|(_, a)| !a.lint.decodes || !columns.is_empty()) {
        for column in lint.columns.iter().copied() {
            let told = match lint.lint.rule {
                Rule::Row(rule) => rule(&seen, column, lint.threshold.unwrap_or_default()).map(Said::Told),
                Rule::Values { of, .. } => of(&seen, column).map(Said::Value),
                Rule::Classes(_) | Rule::LeftOut => None,
            };
            said.extend(told.map(|told| (number, column, told)));
        }
    }
    Ok(Looked { said, decoded })
}

/// A lint at work.
struct Active<'a> {
    lint: &'a Lint,
    severity: Severity,
    threshold: Option<f64>,
    /// Where it looks.
    columns: Vec<usize>,
    /// Values of the rows so far, by column.
    values: BTreeMap<usize, Gathered>,
    most: u64,
    found: u64,
    /// The first findings by row, those of columns before all rows.
    kept: BTreeMap<(Option<u64>, usize, u64), Finding>,
}

impl<'a> Active<'a> {
    fn new((lint, severity, threshold): (&'a Lint, Severity, Option<f64>), schema: &[Column], most: u64) -> Self {
        let columns: Vec<usize> = (0..schema.len()).filter(|i| (lint.of)(&schema[*i].feature)).collect();
        let values = match lint.rule {
            Rule::Values { .. } => columns.iter().map(|c| (*c, Gathered::new(&Spill::temporary()))).collect(),
            _ => BTreeMap::new(),
        };
        Active { lint, severity, threshold, columns, values, most, found: 0, kept: BTreeMap::new() }
    }

    fn hear(&mut self, dataset: &Dataset, split: &str, row: u64, column: usize, said: Said) -> Result<()> {
        match said {
            Said::Told(told) => self.find(dataset, column, Judged { row: Some(row), split: Some(split.into()), told }),
            Said::Value(value) => {
                if let Some(values) = self.values.get_mut(&column) {
                    values.push(value, row)?;
                }
            }
        }
        Ok(())
    }

    fn find(&mut self, dataset: &Dataset, column: usize, judged: Judged) {
        let Judged { row, split, told } = judged;
        let order = if row.is_some() { 0 } else { self.found };
        self.found += 1;
        let place = (row, column, order);
        if self.kept.len() as u64 >= self.most && self.kept.last_key_value().is_none_or(|(last, _)| *last < place) {
            return;
        }
        let finding = Finding {
            row,
            id: row.map(|row| dataset.index().row(row).id().to_owned()),
            split: split.or_else(|| row.map(|row| dataset.split_of(row).to_owned())),
            column: dataset.schema().columns[column].name.clone(),
            measured: told.measured.filter(|measured| measured.is_finite()),
            threshold: self.threshold,
            message: told.message,
        };
        self.kept.insert(place, finding);
        if self.kept.len() as u64 > self.most {
            self.kept.pop_last();
        }
    }

    /// Tells of what opening left out; of one that is a cell of a row, by its row.
    fn lost(&mut self, dataset: &Dataset) {
        let left_out = dataset.left_out();
        for (origin, fault) in &left_out.first {
            let column = origin.column.as_deref().and_then(|name| dataset.schema().position(name));
            let Some(column) = column.or_else(|| self.columns.first().copied()) else { continue };
            let place = (origin.row, column, self.kept.len() as u64);
            let finding = Finding {
                row: origin.row,
                id: origin.id.clone(),
                split: origin.row.map(|row| dataset.split_of(row).to_owned()),
                column: dataset.schema().columns[column].name.clone(),
                measured: None,
                threshold: None,
                message: fault.to_string(),
            };
            if (self.kept.len() as u64) < self.most {
                self.kept.insert(place, finding);
            }
        }
        self.found = left_out.count;
    }

    /// Judges what needs all rows, and ends.
    fn finish(mut self, dataset: &Dataset, counted: &Counted) -> Result<Linted> {
        let threshold = self.threshold.unwrap_or_default();
        match self.lint.rule {
            Rule::Row(_) => {}
            Rule::LeftOut => self.lost(dataset),
            Rule::Values { judge, .. } => {
                for (column, values) in std::mem::take(&mut self.values) {
                    let values = values.finish(dataset)?;
                    judge(&values, threshold, &mut |judged| self.find(dataset, column, judged));
                }
            }
            Rule::Classes(judge) => {
                for column in self.columns.clone() {
                    let (names, objects) = match &dataset.schema().columns[column].feature {
                        Feature::ClassLabel { names } => (names, false),
                        Feature::Objects(of) => (&of.names, true),
                        _ => continue,
                    };
                    let Some(splits) = counted.0.get(&column) else { continue };
                    judge(&Classes { names, splits, objects }, threshold, &mut |judged| {
                        self.find(dataset, column, judged)
                    });
                }
            }
        }
        let Lint { code, summary, help, .. } = self.lint;
        let findings = self.kept.into_values().collect();
        let (severity, threshold, found) = (self.severity, self.threshold, self.found);
        Ok(Linted { code, summary, help, severity, threshold, found, findings })
    }
}

/// Rows or objects of each class, by column and split.
struct Counted(BTreeMap<usize, BTreeMap<String, Vec<u64>>>);

impl Counted {
    fn new(columns: &[Column], splits: &[&str]) -> Self {
        let of = |(i, column): (usize, &Column)| match &column.feature {
            Feature::ClassLabel { names } | Feature::Objects(ObjectsType { names, .. }) => {
                Some((i, splits.iter().map(|split| ((*split).to_owned(), vec![0; names.len()])).collect()))
            }
            _ => None,
        };
        Counted(columns.iter().enumerate().filter_map(of).collect())
    }

    fn add(&mut self, dataset: &Dataset, row: u64, split: &str) {
        let entry = dataset.index().row(row);
        for (column, splits) in &mut self.0 {
            let Some(counts) = splits.get_mut(split) else { continue };
            let mut one = |class: i64| {
                let count = usize::try_from(class).ok().and_then(|class| counts.get_mut(class));
                count.into_iter().for_each(|count| *count += 1);
            };
            match (&dataset.schema().columns[*column].feature, entry.value(*column)) {
                // Packed objects that are damaged are another lint's.
                (Feature::Objects(of), _) => {
                    let objects = entry.objects(*column, of).ok().flatten();
                    objects.iter().flat_map(|objects| &objects.classes).for_each(|class| one(*class));
                }
                (_, Value::Int(class)) => one(class),
                _ => {}
            }
        }
    }
}
