//! What a column of a manifest holds, by its content.

use super::boxes::{self, Boxes};
use super::labels::integer;
use super::{EntryCell, Lister};
use crate::data::feature::{Feature, RESERVED};
use crate::data::label::Value;
use crate::error::Fault;

/// A cell as the manifest has it.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Cell {
    /// Absent or empty.
    Null,
    /// Written without a type (CSV): what it is follows from its whole column.
    Plain(String),
    /// Written as text (a JSON string).
    Text(String),
    /// An integer.
    Int(i64),
    /// A number.
    Float(f64),
    /// A truth value.
    Bool(bool),
    /// Something with parts, as JSON.
    Nested(String),
}

impl Cell {
    /// The cell of a JSON value.
    pub(super) fn of_json(value: serde_json::Value) -> Self {
        use serde_json::Value as Json;
        match value {
            Json::Null => Cell::Null,
            Json::Bool(b) => Cell::Bool(b),
            Json::Number(n) => match (n.as_i64(), n.as_f64()) {
                (Some(i), _) => Cell::Int(i),
                (None, Some(f)) if n.is_f64() => Cell::Float(f),
                // An integer that no 64 bits hold: as a float it would be another one.
                _ => Cell::Text(n.to_string()),
            },
            Json::String(s) => Cell::Text(s),
            nested => Cell::Nested(nested.to_string()),
        }
    }

    /// The cell as people write it; `None` if it is absent.
    pub(super) fn text(&self) -> Option<String> {
        Some(match self {
            Cell::Null => return None,
            Cell::Plain(s) | Cell::Text(s) | Cell::Nested(s) => s.clone(),
            Cell::Int(i) => i.to_string(),
            Cell::Float(f) => f.to_string(),
            Cell::Bool(b) => b.to_string(),
        })
    }

    fn as_int(&self) -> Option<i64> {
        match self {
            Cell::Int(i) => Some(*i),
            Cell::Plain(s) => integer(s),
            _ => None,
        }
    }

    pub(super) fn as_float(&self) -> Option<f64> {
        match self {
            // Beyond 2^53 a float is another integer.
            Cell::Int(i) if i.unsigned_abs() <= 1 << 53 => Some(*i as f64),
            Cell::Float(f) => Some(*f),
            Cell::Plain(s) => float(s),
            _ => None,
        }
    }

    fn as_bool(&self) -> Option<bool> {
        match self {
            Cell::Bool(b) => Some(*b),
            Cell::Plain(s) => match s.as_str() {
                "true" | "True" | "TRUE" => Some(true),
                "false" | "False" | "FALSE" => Some(false),
                _ => None,
            },
            _ => None,
        }
    }

    /// The cell under a feature that [`Typing`] chose, or as the name of a class.
    pub(super) fn into_entry(self, feature: &Feature) -> Result<EntryCell, Fault> {
        let value = match feature {
            Feature::ClassLabel { .. } => return Ok(self.text().map_or(EntryCell::NULL, EntryCell::Class)),
            Feature::Objects(of) => return self.text().map_or(Ok(EntryCell::NULL), |text| boxes::read(&text, of)),
            Feature::Int => self.as_int().map(Value::Int),
            Feature::Float => self.as_float().map(Value::Float),
            Feature::Bool => self.as_bool().map(Value::Bool),
            _ => return Ok(self.text().map_or(EntryCell::NULL, |text| EntryCell::Inline(text.into_bytes()))),
        };
        Ok(EntryCell::Value(value.unwrap_or(Value::Null)))
    }
}

/// A name for a column that the shard format takes and no other column has. `place` is that of the column, for one
/// without a name; a new name is noted.
pub(super) fn column_name(
    name: &str,
    place: usize,
    is_taken: impl Fn(&str) -> bool,
    lister: &mut Lister<'_>,
) -> String {
    let mut new = name.trim().replace(['.', '\n', '\0'], "_");
    if new.is_empty() {
        new = format!("column_{}", place + 1);
    }
    if RESERVED.contains(&new.as_str()) || is_taken(&new) {
        new = format!("source_{new}");
    }
    while is_taken(&new) {
        new.push('_');
    }
    if new != name {
        lister.note(format!("column {name:?} is called {new:?} in the dataset"));
    }
    new
}

/// A number written the usual way: no leading zeros, no "nan", no "1_000", and no integer that a float cannot hold.
fn float(text: &str) -> Option<f64> {
    let digits = text.strip_prefix('-').unwrap_or(text);
    let bytes = digits.as_bytes();
    let plain = bytes.first().is_some_and(u8::is_ascii_digit)
        && bytes.iter().all(|b| matches!(b, b'0'..=b'9' | b'.' | b'e' | b'E' | b'+' | b'-'))
        && !(bytes.len() > 1 && bytes[0] == b'0' && bytes[1].is_ascii_digit());
    if bytes.iter().all(u8::is_ascii_digit) && !text.parse::<i64>().is_ok_and(|i| i.unsigned_abs() <= 1 << 53) {
        return None;
    }
    plain.then(|| text.parse().ok()).flatten().filter(|f: &f64| f.is_finite())
}

/// What the cells of a column seen so far have in common.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Typing {
    any: bool,
    int: bool,
    float: bool,
    bool: bool,
    nested: bool,
    boxes: Boxes,
}

impl Default for Typing {
    fn default() -> Self {
        Typing { any: false, int: true, float: true, bool: true, nested: false, boxes: Boxes::default() }
    }
}

impl Typing {
    /// Sees one more cell.
    pub(super) fn see(&mut self, cell: &Cell) {
        if *cell != Cell::Null {
            self.any = true;
            self.int = self.int && cell.as_int().is_some();
            self.float = self.float && cell.as_float().is_some();
            self.bool = self.bool && cell.as_bool().is_some();
            if let Cell::Nested(text) = cell {
                self.nested = true;
                self.boxes.see(text);
            }
        }
    }

    /// Whether one of them has parts.
    pub(super) fn is_nested(&self) -> bool {
        self.nested
    }

    /// The narrowest feature that holds every cell: objects, integers, numbers, truth values, else text. A column of nothing is text.
    pub(super) fn feature(&self) -> Feature {
        if let Some(of) = self.boxes.of() {
            return Feature::Objects(of);
        }
        match self {
            Typing { any: false, .. } => Feature::Text,
            Typing { int: true, .. } => Feature::Int,
            Typing { float: true, .. } => Feature::Float,
            Typing { bool: true, .. } => Feature::Bool,
            _ => Feature::Text,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn feature<'a>(cells: impl Iterator<Item = &'a Cell>) -> Feature {
        let mut typing = Typing::default();
        cells.for_each(|cell| typing.see(cell));
        typing.feature()
    }

    #[test]
    fn types_follow_from_the_whole_column_and_nothing_is_lost() {
        let of = |cells: &[&str]| {
            let cells: Vec<Cell> =
                cells.iter().map(|c| if c.is_empty() { Cell::Null } else { Cell::Plain((*c).into()) }).collect();
            feature(cells.iter())
        };
        assert_eq!(of(&["1", "", "-3"]), Feature::Int);
        assert_eq!(of(&["1", "001"]), Feature::Text, "a leading zero is a name, not a number");
        assert_eq!(of(&["1", "2.5", "1e-3"]), Feature::Float);
        assert_eq!(of(&["1.5", "nan"]), Feature::Text);
        assert_eq!(of(&["01.5"]), Feature::Text);
        assert_eq!(of(&["true", "False"]), Feature::Bool);
        assert_eq!(of(&["NA", "1"]), Feature::Text);
        assert_eq!(of(&["9223372036854775808", "1"]), Feature::Text, "as a float it would be another number");
        assert_eq!(of(&["9007199254740993", "1"]), Feature::Int);
        assert_eq!(of(&["9007199254740993", "1.5"]), Feature::Text);
        assert_eq!(Cell::of_json(u64::MAX.into()), Cell::Text(u64::MAX.to_string()));
        assert_eq!(Cell::of_json(0.5.into()), Cell::Float(0.5));
        assert_eq!(of(&["", ""]), Feature::Text);
        assert_eq!(feature([Cell::Text("1".into())].iter()), Feature::Text, "JSON says what it is");
    }
}
