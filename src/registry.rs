//! Tables of members (operations, sources) that are looked up by name and can be added to from outside the crate.

use crate::error::{Error, Result};

/// Something with a name in recipes and on the command line.
pub trait Named {
    /// The name.
    fn name(&self) -> &'static str;
}

/// A table of members: the crate's own, and those that a caller adds with [`Table::with`].
#[derive(Debug, Clone)]
pub struct Table<E> {
    what: &'static str,
    entries: Vec<E>,
}

impl<E: Named + Clone> Table<E> {
    /// A table of `what` ("operation") with the given members.
    pub fn new(what: &'static str, entries: &[E]) -> Self {
        Table { what, entries: entries.to_vec() }
    }

    /// Adds a member. A member of the same name is replaced.
    #[must_use]
    pub fn with(mut self, entry: E) -> Self {
        self.entries.retain(|e| e.name() != entry.name());
        self.entries.push(entry);
        self
    }

    /// The member of a name; an unknown name is refused with the ones that are there, nearest first.
    pub fn get(&self, name: &str) -> Result<&E> {
        self.entries.iter().find(|e| e.name() == name).ok_or_else(|| {
            let mut names: Vec<&str> = self.entries.iter().map(Named::name).collect();
            names.sort_by_key(|n| (distance(n, name), *n));
            Error::config(
                format!("there is no {} called {name:?}", self.what),
                format!("there are: {}", names.join(", ")),
            )
        })
    }

    /// The members in table order.
    pub fn iter(&self) -> impl Iterator<Item = &E> {
        self.entries.iter()
    }
}

/// Edit distance (Levenshtein), for hints.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, y) in b.iter().enumerate() {
            let change = diagonal + usize::from(x != *y);
            diagonal = row[j + 1];
            row[j + 1] = change.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, Clone)]
    struct Thing(&'static str);
    impl Named for Thing {
        fn name(&self) -> &'static str {
            self.0
        }
    }

    #[test]
    fn unknown_names_are_answered_with_the_nearest_first() {
        let table = Table::new("thing", &[Thing("resize"), Thing("normalize")]).with(Thing("crop"));
        assert_eq!(table.get("crop").unwrap().0, "crop");
        let message = table.get("normalise").unwrap_err().to_string();
        assert!(message.contains("there are: normalize, "), "{message}");
    }
}
