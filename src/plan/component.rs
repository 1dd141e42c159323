//! One dataset's part in a plan: which of its rows come, how often, and in which order.

use super::{Balanced, Permutation, Rows, Windowed};
use crate::rng::Key;
use serde::{Deserialize, Serialize};

/// In which order the rows of an epoch come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Order {
    /// As stored.
    #[serde(alias = "none")]
    Sequential,
    /// A keyed permutation of all rows, another one each epoch.
    #[default]
    #[serde(alias = "global")]
    Shuffle,
    /// Groups of neighbouring rows in a keyed order, and the rows of some groups mixed: [`Windowed`].
    Windowed,
}

impl Order {
    /// All orders.
    pub const ALL: &'static [Order] = &[Order::Sequential, Order::Shuffle, Order::Windowed];
}

/// What of one dataset is wanted: the only one of a plan, or one source of a mixture.
#[derive(Debug, Clone)]
pub struct Component {
    /// Its name in a mixture, which is part of the keys of its order and draws; none for the only one.
    pub name: Option<String>,
    /// The rows to run over.
    pub rows: Rows,
    /// How often each comes, if that is not once.
    pub balance: Option<Balanced>,
    /// Their order.
    pub order: Order,
    /// Rows of a group and groups of a window, where the order has windows.
    pub window: (u64, u64),
}

impl Component {
    /// Samples of one pass over the rows, however many views there are of each.
    pub fn samples(&self) -> u64 {
        self.balance.as_ref().map_or(self.rows.len(), Balanced::len)
    }
}

/// A row at a position, one of several where it comes more often.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Picked {
    /// The row in the Index.
    pub row: u64,
    /// How often it comes at positions before.
    pub occurrence: u64,
    /// How often such rows come at the most in a pass.
    pub most: u64,
}

/// An order of so many positions, any of which can be asked for alone.
#[derive(Debug, Clone, Copy)]
enum Ordered {
    Sequential,
    Shuffle(Permutation),
    Windowed(Windowed),
}

impl Ordered {
    fn at(&self, place: u64) -> u64 {
        match self {
            Ordered::Sequential => place,
            Ordered::Shuffle(permutation) => permutation.at(place),
            Ordered::Windowed(windowed) => windowed.at(place),
        }
    }
}

/// A component in one epoch: its samples in order, pass after pass.
#[derive(Debug, Clone)]
pub struct Course {
    rows: Rows,
    balance: Option<Balanced>,
    samples: u64,
    order: Order,
    window: (u64, u64),
    /// Of the first pass.
    first: Ordered,
    key: Key,
    /// Of the rows that come once more than others.
    extra: Key,
}

impl Course {
    /// The component's course through an epoch.
    pub fn new(component: &Component, seed: u64, epoch: u64) -> Self {
        let Component { name, rows, balance, order, window } = component;
        let key = |what: &str| {
            let key = Key::new(seed).named(what).with(epoch);
            name.as_ref().map_or(key, |name| key.named(name))
        };
        let mut course = Course {
            rows: rows.clone(),
            balance: balance.clone(),
            samples: component.samples(),
            order: *order,
            window: *window,
            first: Ordered::Sequential,
            key: key("order"),
            extra: key("balance"),
        };
        course.first = course.ordered(course.key);
        course
    }

    fn ordered(&self, key: Key) -> Ordered {
        match self.order {
            Order::Sequential => Ordered::Sequential,
            Order::Shuffle => Ordered::Shuffle(Permutation::new(self.samples, key)),
            Order::Windowed => Ordered::Windowed(Windowed::new(self.samples, self.window, key)),
        }
    }

    /// Samples of a pass.
    pub fn samples(&self) -> u64 {
        self.samples
    }

    /// The window that the n-th sample is of, and the samples of that, in the first pass of a windowed order.
    pub fn window(&self, sample: u64) -> Option<(u64, std::ops::Range<u64>)> {
        let Ordered::Windowed(windowed) = &self.first else { return None };
        let window = (sample < self.samples).then(|| windowed.window_of(sample))?;
        Some((window, windowed.window(window)))
    }

    /// How many runs of positions a window of the first pass mixes; none behind the last.
    pub fn groups(&self, window: u64) -> u64 {
        let Ordered::Windowed(windowed) = &self.first else { return 0 };
        windowed.runs(window)
    }

    /// One of these runs.
    pub fn group(&self, window: u64, nth: u64) -> Option<std::ops::Range<u64>> {
        let Ordered::Windowed(windowed) = &self.first else { return None };
        windowed.run(window, nth)
    }

    /// What is at a position of the order of storage (where classes are balanced: class by class).
    pub fn picked(&self, position: u64) -> Picked {
        self.drawn(position, self.extra)
    }

    fn drawn(&self, position: u64, extra: Key) -> Picked {
        match &self.balance {
            None => Picked { row: self.rows.at(position), occurrence: 0, most: 1 },
            Some(balance) => balance.at(position, extra),
        }
    }

    /// Which position ([`Course::picked`]) the n-th sample of the first pass has; `sample` is below [`Course::samples`].
    pub fn position(&self, sample: u64) -> u64 {
        self.first.at(sample)
    }

    /// The n-th sample. Behind the first pass the rows come again, each pass in an order of its own, as further occurrences.
    ///
    /// # Panics
    /// If there are no samples.
    pub fn at(&self, sample: u64) -> Picked {
        if sample < self.samples {
            return self.picked(self.first.at(sample));
        }
        let (pass, sample) = (sample / self.samples, sample % self.samples);
        let position = self.ordered(self.key.with(pass)).at(sample);
        let Picked { row, occurrence, most } = self.drawn(position, self.extra.with(pass));
        Picked { row, occurrence: pass.saturating_mul(most).saturating_add(occurrence), most }
    }
}
