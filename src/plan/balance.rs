//! How often classes come: exact counts of samples over an epoch, instead of draws with replacement.
//!
//! A class of `n` rows that is due `m` samples has each of its rows `m / n` times, and the remainder goes to rows that are drawn anew each epoch. A
//! row that comes again is a further occurrence, so its augmentation is drawn anew.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{Permutation, Picked, Rows};
use crate::data::index::{Index, Row};
use crate::data::label::Value;
use crate::error::{Error, Result};
use crate::rng::Key;

/// How often each class of a column comes. One of `power`, `weights` and `repeat_threshold` says it; rows whose class is not known come once.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Balance {
    /// A column of classes.
    pub by: String,
    /// A class's share is that of its rows to the power of `1 - power`: 1 makes all classes equal (inverse frequency), 0.5 takes the square root,
    /// 0 leaves them as they are. The epoch is as long as without.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub power: Option<f64>,
    /// The shares of the classes by name, relative to each other; 0 leaves a class out. The epoch is as long as without.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub weights: BTreeMap<String, f64>,
    /// Classes whose share `f` is below this come more often by a factor of `sqrt(threshold / f)`, the others as they are (the repeat factor of LVIS;
    /// Gupta, Dollár and Girshick, CVPR 2019, which takes 0.001). The epoch is longer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub repeat_threshold: Option<f64>,
    /// No class comes more often than so many times its rows. What that takes from it goes to the others; where all are capped, the epoch is shorter.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cap: Option<f64>,
}

/// What comes of a class.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Share {
    /// The class; `None`: rows whose class is not known.
    pub class: Option<String>,
    /// Its rows.
    pub rows: u64,
    /// Its samples in an epoch.
    pub samples: u64,
    /// What would stand for the same in a loss, on an epoch without repeats: samples a row, relative to their mean over the epoch. With
    /// `power = 1` that is all rows by classes and the class's rows (the "balanced" weights of scikit-learn).
    pub loss_weight: f64,
}

impl Balance {
    /// Checks the numbers.
    ///
    /// # Errors
    /// [`Error::Config`] for none or several of the ways, and for numbers that are none.
    pub fn validate(&self) -> Result<()> {
        let help = "write balance = { by = \"label\", power = 1.0 }, or weights = { cat = 2, dog = 1 }, or repeat_threshold = 0.001; beside it cap = 10";
        let ways = [self.power.is_some(), !self.weights.is_empty(), self.repeat_threshold.is_some()];
        if ways.into_iter().filter(|way| *way).count() != 1 {
            return Err(Error::config("balance: one of power, weights and repeat_threshold says how", help));
        }
        let wrong = |what: &str, value: f64| Err(Error::config(format!("balance: {what} = {value}"), help));
        match (self.power, self.repeat_threshold, self.cap) {
            (Some(power), ..) if !(0.0..=1.0).contains(&power) => wrong("power", power),
            (_, Some(threshold), _) if !(threshold > 0.0 && threshold <= 1.0) => wrong("repeat_threshold", threshold),
            (.., Some(cap)) if !(cap >= 1.0 && cap.is_finite()) => wrong("cap", cap),
            _ => match self.weights.iter().find(|(_, weight)| !(**weight >= 0.0 && weight.is_finite())) {
                Some((name, weight)) => wrong(&format!("the weight of {name:?}"), *weight),
                None => Ok(()),
            },
        }
    }

    /// The samples of each class in an epoch, from its rows.
    fn quotas(&self, names: &[String], rows: &[u64]) -> Result<Vec<u64>> {
        let all: u64 = rows.iter().sum();
        if let Some(threshold) = self.repeat_threshold {
            let most = self.cap.unwrap_or(f64::INFINITY);
            let repeated = |rows: u64| {
                let share = rows as f64 / all as f64;
                (rows as f64 * (threshold / share).sqrt().max(1.0).min(most)).round() as u64
            };
            return Ok(rows.iter().map(|rows| if *rows == 0 { 0 } else { repeated(*rows) }).collect());
        }
        if let Some(name) = self.weights.keys().find(|name| !names.contains(name)) {
            return Err(Error::config(
                format!("balance: {:?} has no class {name:?}", self.by),
                format!("it has: {}", names.join(", ")),
            ));
        }
        let share = |(name, rows): (&String, &u64)| match (*rows, self.power) {
            (0, _) => Ok(0.0),
            // libm's is the same on every machine.
            (rows, Some(power)) => Ok(libm::pow(rows as f64, 1.0 - power)),
            _ => self.weights.get(name).copied().ok_or_else(|| {
                let help = "give it one; 0 leaves its rows out";
                Error::config(format!("balance: class {name:?} has rows and no weight"), help)
            }),
        };
        let mut shares = names.iter().zip(rows).map(share).collect::<Result<Vec<f64>>>()?;
        let greatest = shares.iter().copied().fold(0.0, f64::max);
        if greatest == 0.0 && all > 0 {
            return Err(Error::config(
                "balance: no class that has rows has a weight",
                "give one of them a weight above 0",
            ));
        }
        // So that no sum of them is beyond what a float holds.
        shares.iter_mut().filter(|_| greatest > 0.0).for_each(|share| *share /= greatest);
        let caps: Vec<u64> =
            rows.iter().map(|rows| self.cap.map_or(u64::MAX, |cap| (*rows as f64 * cap).floor() as u64)).collect();
        Ok(apportioned(all, &shares, &caps))
    }
}

/// Parts of `total` in proportion to shares, none beyond its cap, by largest remainders (Hamilton's method; ties go to the first). What is beyond a
/// cap goes to the others, if there are any.
fn apportioned(total: u64, shares: &[f64], caps: &[u64]) -> Vec<u64> {
    let mut parts = vec![0; shares.len()];
    let mut open: Vec<usize> = (0..shares.len()).filter(|at| shares[*at] > 0.0).collect();
    let mut left = total;
    loop {
        let sum: f64 = open.iter().map(|at| shares[*at]).sum();
        let due = |at: usize| left as f64 * (shares[at] / sum);
        let capped: Vec<usize> = open.iter().copied().filter(|at| due(*at) > caps[*at] as f64).collect();
        if capped.is_empty() {
            let mut given = 0;
            for at in &open {
                parts[*at] = due(*at).floor() as u64;
                given += parts[*at];
            }
            let mut by_remainder = open.clone();
            by_remainder.sort_by(|a, b| due(*b).fract().total_cmp(&due(*a).fract()).then(a.cmp(b)));
            // Rounding may leave one more than there are classes.
            for at in
                by_remainder.iter().cycle().take(if open.is_empty() { 0 } else { (left - given.min(left)) as usize })
            {
                parts[*at] += u64::from(parts[*at] < caps[*at]);
            }
            return parts;
        }
        for at in capped {
            parts[at] = caps[at];
            left = left.saturating_sub(caps[at]);
            open.retain(|other| *other != at);
        }
    }
}

/// The samples of an epoch by classes: positions `0..len` to rows and occurrences. The first positions are those of the first class, in the order of
/// storage; the last ones those of rows whose class is not known.
#[derive(Debug, Clone)]
pub struct Balanced {
    classes: std::sync::Arc<Classes>,
    names: std::sync::Arc<[String]>,
    /// Samples of each class.
    quotas: Vec<u64>,
    /// Where the samples of each class begin, and where all end.
    starts: Vec<u64>,
}

impl Balanced {
    /// Counts the classes of the rows, and what is due to each.
    ///
    /// # Errors
    /// [`Error::Config`] for a weight of no class, or a class without a weight.
    pub fn new(balance: &Balance, rows: &Rows, index: &Index, column: usize, names: &[String]) -> Result<Self> {
        let classes = Classes::new(rows, index, column, names.len());
        let mut quotas = balance.quotas(names, &classes.totals()[..names.len()])?;
        quotas.push(classes.totals()[names.len()]);
        let mut starts = vec![0];
        starts.extend(quotas.iter().scan(0, |end, quota| {
            *end += quota;
            Some(*end)
        }));
        Ok(Balanced { classes: std::sync::Arc::new(classes), names: names.into(), quotas, starts })
    }

    /// Samples of an epoch.
    pub fn len(&self) -> u64 {
        self.starts.last().copied().unwrap_or(0)
    }

    /// Whether an epoch has none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// What is at a position below `len`. `key` draws the rows that come once more than others.
    pub fn at(&self, position: u64, key: Key) -> Picked {
        let class = self.starts.partition_point(|start| *start <= position) - 1;
        let (rows, quota) = (self.classes.total(class), self.quotas[class]);
        let nth = position - self.starts[class];
        let (pass, at) = (nth / rows, nth % rows);
        let last = quota / rows;
        // Every row comes in a full pass, so that they stay in the order of storage.
        let at = if pass < last { at } else { Permutation::new(rows, key.with(class as u64)).at(at) };
        Picked { row: self.classes.select(class, at), occurrence: pass, most: quota.div_ceil(rows) }
    }

    /// What comes of each class that has rows.
    pub fn shares(&self) -> Vec<Share> {
        let all: u64 = self.classes.totals().iter().sum();
        let mean = self.len() as f64 / all as f64;
        (0..=self.names.len())
            .map(|class| (self.names.get(class).cloned(), self.classes.total(class), self.quotas[class]))
            .filter(|(_, rows, _)| *rows > 0)
            .map(|(class, rows, samples)| {
                let loss_weight = samples as f64 / rows as f64 / mean;
                Share { class, rows, samples, loss_weight }
            })
            .collect()
    }
}

/// Which rows are of a class: counts of each class before each block of rows, and a look through one block (select by prefix sums).
#[derive(Debug)]
struct Classes {
    rows: Rows,
    index: Index,
    column: usize,
    /// Classes, and the one of rows without.
    count: usize,
    /// Rows of a block.
    block: u64,
    /// For each block, and behind the last one, the rows of each class before it.
    before: Vec<u64>,
}

/// Counts that are kept at the most, or as many as a block of all rows needs.
const COUNTS: u64 = 1 << 22;

/// Rows of the smallest block.
const BLOCK: u64 = 64;

impl Classes {
    fn new(rows: &Rows, index: &Index, column: usize, names: usize) -> Self {
        let count = names + 1;
        let block = (rows.len().saturating_mul(count as u64) / COUNTS).max(BLOCK);
        let mut before = Vec::new();
        let mut now = vec![0u64; count];
        for (nth, row) in rows.iter().enumerate() {
            if (nth as u64).is_multiple_of(block) {
                before.extend_from_slice(&now);
            }
            now[class(&index.row(row), column, names)] += 1;
        }
        before.extend_from_slice(&now);
        Classes { rows: rows.clone(), index: index.clone(), column, count, block, before }
    }

    fn totals(&self) -> &[u64] {
        &self.before[self.before.len() - self.count..]
    }

    fn total(&self, class: usize) -> u64 {
        self.totals()[class]
    }

    /// The n-th row of a class, from 0.
    ///
    /// # Panics
    /// If there are not so many.
    fn select(&self, wanted: usize, n: u64) -> u64 {
        let blocks = self.before.len() / self.count;
        let before = |block: usize| self.before[block * self.count + wanted];
        // The last block before which there are at most n.
        let (mut low, mut high) = (0, blocks);
        while high - low > 1 {
            let middle = low + (high - low) / 2;
            if before(middle) <= n { low = middle } else { high = middle }
        }
        let mut left = n - before(low);
        let start = low as u64 * self.block;
        for position in start..(start + self.block).min(self.rows.len()) {
            let row = self.rows.at(position);
            if class(&self.index.row(row), self.column, self.count - 1) == wanted {
                if left == 0 {
                    return row;
                }
                left -= 1;
            }
        }
        panic!("class {wanted} has no {n}th row")
    }
}

/// The class of a row; that behind the last if it is not known.
fn class(row: &Row<'_>, column: usize, names: usize) -> usize {
    match row.value(column) {
        Value::Int(class) => usize::try_from(class).unwrap_or(names).min(names),
        _ => names,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::feature::{Feature, Schema};
    use crate::data::index::{IndexCell, Segment, SegmentBuilder};
    use std::sync::Arc;

    fn names() -> Vec<String> {
        ["a", "b", "c", "none"].map(str::to_owned).to_vec()
    }

    /// Rows of classes a, b, c as often as said, mixed, and `unknown` ones without.
    fn index(of: [u64; 3], unknown: u64) -> Index {
        let schema = Schema::new([("label", Feature::ClassLabel { names: names() })]);
        let mut cells: Vec<i64> = (0..3).flat_map(|class| vec![class as i64; of[class] as usize]).collect();
        cells.extend(vec![-1; unknown as usize]);
        let mixed = Permutation::new(cells.len() as u64, Key::new(9));
        let mut builder = SegmentBuilder::new(&schema);
        for n in 0..cells.len() {
            let class = cells[mixed.at(n as u64) as usize];
            let cell = if class < 0 && n % 2 == 0 { IndexCell::Null } else { IndexCell::Int(class) };
            builder.push(&format!("{n}"), &[cell]).unwrap();
        }
        builder.end_shard("train", 1, [0; 32]);
        Index::new(vec![Arc::new(Segment::from_bytes(builder.finish().unwrap().to_vec()).unwrap())]).unwrap()
    }

    fn power(power: f64) -> Balance {
        Balance { by: "label".into(), power: Some(power), ..Balance::default() }
    }

    fn quotas(balance: &Balance, rows: [u64; 4]) -> Vec<u64> {
        balance.quotas(&names(), &rows).unwrap()
    }

    #[test]
    fn quotas_are_exact_and_in_proportion() {
        assert_eq!(quotas(&power(1.0), [70, 20, 10, 0]), [34, 33, 33, 0]);
        assert_eq!(quotas(&power(0.0), [70, 20, 10, 0]), [70, 20, 10, 0]);
        // Square roots of 64, 16 and 4 are as 4 to 2 to 1.
        assert_eq!(quotas(&power(0.5), [64, 16, 4, 0]), [48, 24, 12, 0]);
        let capped = |cap| Balance { cap: Some(cap), ..power(1.0) };
        // c may come 30 times; what it leaves goes to a and b.
        assert_eq!(quotas(&capped(3.0), [70, 20, 10, 0]), [35, 35, 30, 0]);
        assert_eq!(quotas(&capped(1.0), [70, 20, 10, 0]), [70, 20, 10, 0]);
        let weights = |list: &[(&str, f64)]| Balance {
            by: "label".into(),
            weights: list.iter().map(|(name, weight)| ((*name).to_owned(), *weight)).collect(),
            ..Balance::default()
        };
        assert_eq!(quotas(&weights(&[("a", 3.0), ("b", 1.0), ("c", 0.0)]), [70, 20, 10, 0]), [75, 25, 0, 0]);
        let refused = |balance: Balance| balance.quotas(&names(), &[70, 20, 10, 0]).unwrap_err().to_string();
        assert!(refused(weights(&[("a", 3.0)])).contains("class \"b\" has rows and no weight"));
        assert!(
            refused(weights(&[("a", 0.0), ("b", 0.0), ("c", 0.0)])).contains("no class that has rows has a weight")
        );
        let huge = weights(&[("a", 1e308), ("b", 1e308), ("c", 1.0)]);
        assert_eq!(quotas(&huge, [70, 20, 10, 0]), [50, 50, 0, 0]);
        assert!(refused(weights(&[("d", 3.0)])).contains("it has: a, b, c, none"));
        // LVIS: of 10,000, a share of 1/400 comes twice as often as it is at a threshold of 1/100; what is above stays.
        let lvis = Balance { by: "label".into(), repeat_threshold: Some(0.01), ..Balance::default() };
        assert_eq!(quotas(&lvis, [9875, 100, 25, 0]), [9875, 100, 50, 0]);
        assert_eq!(quotas(&Balance { cap: Some(1.5), ..lvis }, [9875, 100, 25, 0]), [9875, 100, 38, 0]);
        for total in [0, 1, 5, 999, 1 << 40] {
            let shares = [0.3, 1e-9, 7.0, 0.0, 2.5];
            assert_eq!(apportioned(total, &shares, &[u64::MAX; 5]).iter().sum::<u64>(), total);
        }
    }

    #[test]
    fn each_row_comes_as_often_as_its_class_is_due() {
        for (of, unknown) in
            [([70, 20, 10], 0), ([700, 1, 0], 5), ([0, 0, 3], 0), ([5000, 300, 20], 77), ([0, 0, 0], 4)]
        {
            let index = index(of, unknown);
            let rows = Rows::new(Some(0..index.rows()));
            for balance in [power(1.0), power(0.3), Balance { cap: Some(1.5), ..power(1.0) }] {
                let balanced = Balanced::new(&balance, &rows, &index, 0, &names()).unwrap();
                let mut seen = vec![Vec::new(); index.rows() as usize];
                for position in 0..balanced.len() {
                    let Picked { row, occurrence, most } = balanced.at(position, Key::new(4));
                    assert!(occurrence < most);
                    seen[row as usize].push(occurrence);
                }
                for share in balanced.shares() {
                    let class = share.class.as_ref().map_or(4, |name| names().iter().position(|n| n == name).unwrap());
                    let own: Vec<&Vec<u64>> = (0..index.rows())
                        .filter(|row| super::class(&index.row(*row), 0, 4) == class)
                        .map(|row| &seen[row as usize])
                        .collect();
                    assert_eq!(own.len() as u64, share.rows);
                    assert_eq!(own.iter().map(|times| times.len() as u64).sum::<u64>(), share.samples);
                    // Nobody comes twice more than another, and each time is another occurrence.
                    let least = share.samples / share.rows;
                    assert!(own.iter().all(|t| (least..=least + 1).contains(&(t.len() as u64))));
                    assert!(own.iter().all(|t| t.iter().enumerate().all(|(n, pass)| n as u64 == *pass)));
                }
            }
        }
    }

    #[test]
    fn the_rows_that_come_once_more_are_drawn_by_the_key() {
        let index = index([70, 20, 10], 0);
        let rows = Rows::new(Some(0..100));
        let balanced = Balanced::new(&power(1.0), &rows, &index, 0, &names()).unwrap();
        let of = |key: u64| (0..balanced.len()).map(|p| balanced.at(p, Key::new(key)).row).collect::<Vec<_>>();
        assert_ne!(of(1), of(2));
        assert_eq!(of(1), of(1));
    }

    #[test]
    fn numbers_that_say_nothing_are_refused() {
        for wrong in [
            "by = \"a\"",
            "by = \"a\"\npower = 2.0",
            "by = \"a\"\npower = 1\nrepeat_threshold = 0.1",
            "by = \"a\"\npower = 1\ncap = 0.5",
            "by = \"a\"\nrepeat_threshold = 0.0",
            "by = \"a\"\nweights = { b = -1.0 }",
            "by = \"a\"\nweights = { b = inf }",
        ] {
            assert!(toml::from_str::<Balance>(wrong).unwrap().validate().is_err(), "{wrong}");
        }
        assert!(toml::from_str::<Balance>("by = \"a\"\nweights = { b = 1 }").unwrap().validate().is_ok());
    }
}
