//! Lints of classes and of small values.

use std::collections::BTreeMap;

use super::lint::{Judged, Lint, Rule, Seen, Severity, Threshold, Told};
use crate::data::feature::Feature;
use crate::data::label::Value;
use crate::source::DEFAULT_SPLIT;

/// How many rows each class of a column has; of a column of objects, how many objects.
#[derive(Debug)]
pub struct Classes<'a> {
    /// The names, in index order.
    pub names: &'a [String],
    /// Rows (objects) of each class in each split that was looked at. Those without a known class are in none.
    pub splits: &'a BTreeMap<String, Vec<u64>>,
    /// Whether objects are counted.
    pub objects: bool,
}

impl Classes<'_> {
    /// What is counted.
    fn unit(&self) -> &'static str {
        if self.objects { "object" } else { "row" }
    }

    /// Rows (objects) of a class in all splits.
    pub fn rows(&self, class: usize) -> u64 {
        self.splits.values().map(|counts| counts[class]).sum()
    }
}

fn is_class(feature: &Feature) -> bool {
    matches!(feature, Feature::ClassLabel { .. })
}

/// Rows have classes, or objects in them have.
fn has_classes(feature: &Feature) -> bool {
    is_class(feature) || matches!(feature, Feature::Objects(of) if !of.names.is_empty())
}

fn of_column(measured: f64, message: String) -> Judged {
    Judged { row: None, split: None, told: Told::new(measured, message) }
}

/// The number of a class that has no name, or of one that is not known.
fn class(seen: &Seen<'_>, column: usize) -> Option<i64> {
    match seen.value(column) {
        Value::Int(class) => Some(class),
        _ => None,
    }
}

pub(super) const OUT_OF_RANGE: Lint = Lint {
    code: "label-out-of-range",
    summary: "a class that has no name: below -1, or behind the last one",
    help: "mend the labels in the source, or give the class a name",
    severity: Severity::Error,
    threshold: None,
    of: is_class,
    decodes: false,
    rule: Rule::Row(|seen, column, _| {
        let class = class(seen, column)?;
        let Feature::ClassLabel { names } = &seen.dataset.schema().columns[column].feature else { return None };
        let is_known = class == -1 || usize::try_from(class).is_ok_and(|class| class < names.len());
        (!is_known).then(|| Told::new(class as f64, format!("class {class} of {}", names.len())))
    }),
};

pub(super) const UNKNOWN: Lint = Lint {
    code: "label-unknown",
    summary: "a row without a class: null or -1",
    help: "label the row, or leave it out of training: --where 'label != null'",
    severity: Severity::Warning,
    threshold: None,
    of: is_class,
    decodes: false,
    rule: Rule::Row(|seen, column, _| match class(seen, column) {
        None => Some(Told { measured: None, message: "the class is null".into() }),
        Some(-1) => Some(Told::new(-1.0, "the class is -1, not known")),
        Some(_) => None,
    }),
};

pub(super) const EMPTY: Lint = Lint {
    code: "class-empty",
    summary: "a class that no row has, or no object",
    help: "was it renamed, or were its rows refused? see the quarantine of the ingest",
    severity: Severity::Warning,
    threshold: None,
    of: has_classes,
    decodes: false,
    rule: Rule::Classes(|classes, _, tell| {
        for (number, name) in classes.names.iter().enumerate().filter(|(number, _)| classes.rows(*number) == 0) {
            tell(of_column(0.0, format!("no {} has class {name:?} ({number})", classes.unit())));
        }
    }),
};

pub(super) const RARE: Lint = Lint {
    code: "class-rare",
    summary: "a class that hardly any row or object has, which cannot be learned and tested",
    help: "add rows, join the class with another, or leave it out",
    severity: Severity::Warning,
    threshold: Some(Threshold { default: 2.0, meaning: "rows (objects) of the class, below" }),
    of: has_classes,
    decodes: false,
    rule: Rule::Classes(|classes, threshold, tell| {
        for (number, name) in classes.names.iter().enumerate() {
            let rows = classes.rows(number);
            if rows > 0 && (rows as f64) < threshold {
                let (unit, plural) = (classes.unit(), if rows == 1 { " has" } else { "s have" });
                tell(of_column(rows as f64, format!("{rows} {unit}{plural} class {name:?}")));
            }
        }
    }),
};

/// How many rows of a class a split would have if classes were spread over splits by chance; `train` must have every class.
pub(super) const MISSING: Lint = Lint {
    code: "class-missing",
    summary: "a class that other splits have and this one lacks (train must have all; of others those expected in it)",
    help: "split anew by class, or give the split rows of it",
    severity: Severity::Warning,
    threshold: Some(Threshold {
        default: 3.0,
        meaning: "rows (objects) of the class that the split would have by its share of all, at least",
    }),
    of: has_classes,
    decodes: false,
    rule: Rule::Classes(|classes, threshold, tell| {
        let total: u64 = classes.splits.values().flatten().sum();
        for (split, counts) in classes.splits {
            let part = counts.iter().sum::<u64>();
            // A split without labels is no split of labeled rows.
            for (number, name) in classes.names.iter().enumerate().filter(|(n, _)| part > 0 && counts[*n] == 0) {
                let rows = classes.rows(number);
                let expected = rows as f64 * part as f64 / total as f64;
                if rows > 0 && (expected >= threshold || split == DEFAULT_SPLIT) {
                    let message =
                        format!("split {split:?} has no {} of class {name:?}, others have {rows}", classes.unit());
                    tell(Judged { row: None, split: Some(split.clone()), told: Told::new(expected, message) });
                }
            }
        }
    }),
};

pub(super) const IMBALANCE: Lint = Lint {
    code: "class-imbalance",
    summary: "the largest class has many times the rows, or objects, of the smallest",
    help: "add rows, or let the loader balance: `balance` in a recipe, `dsctl load --balance COLUMN`",
    severity: Severity::Warning,
    threshold: Some(Threshold {
        default: 20.0,
        meaning: "rows (objects) of the largest class over those of the smallest, above",
    }),
    of: has_classes,
    decodes: false,
    rule: Rule::Classes(|classes, threshold, tell| {
        let counts = (0..classes.names.len()).map(|class| (classes.rows(class), class)).filter(|(rows, _)| *rows > 0);
        let Some(((most, large), (least, small))) = counts.clone().max().zip(counts.min()) else { return };
        let ratio = most as f64 / least as f64;
        if ratio > threshold {
            let (large, small) = (&classes.names[large], &classes.names[small]);
            let unit = classes.unit();
            tell(of_column(
                ratio,
                format!("{large:?} has {most} {unit}s, {small:?} {least}: {ratio:.0} times as many"),
            ));
        }
    }),
};

pub(super) const NOT_FINITE: Lint = Lint {
    code: "value-not-finite",
    summary: "a float that is no number, or infinite",
    help: "mend the source, or leave it empty: null is no number, too, but one that is seen",
    severity: Severity::Warning,
    threshold: None,
    of: |feature| matches!(feature, Feature::Float),
    decodes: false,
    rule: Rule::Row(|seen, column, _| match seen.value(column) {
        Value::Float(value) if !value.is_finite() => {
            Some(Told { measured: None, message: format!("the value is {value}") })
        }
        _ => None,
    }),
};
