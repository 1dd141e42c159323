//! Conditions on rows: `label in ["cat", "dog"] and image.width >= 64`.
//!
//! What a condition may ask is what the Index knows of a row, so that no payload is read: small columns, facts of payloads, the id.
//!
//! | operand | is |
//! |---|---|
//! | a class column | its name as text, or its index as a number; absent if the class is not known |
//! | an integer, float or truth column | itself |
//! | `COLUMN.width`, `.height`, `.pixels`, `.channels`, `.rate`, `.count`, `.bytes` | a fact of a payload, a number (`count`: samples, frames, UTF-8 bytes or tokens) |
//! | `COLUMN.duration` | seconds |
//! | `COLUMN.format` | the name of the encoding, text |
//! | `id` | the row's id, text (unless there is a column `id`) |
//!
//! Comparisons are `=` (`==`), `!=` (`<>`), `<`, `<=`, `>`, `>=`, `in [..]`, `not in [..]`, `like` (text; `%` is any text, `_` any character),
//! `is null` and `is not null`; they are joined by `and`, `or`, `not` and parentheses. A column whose name is no word stands in backticks.
//! A truth column stands alone. **A comparison with what is absent is false**, so `not x > 1` also takes rows without `x`.

pub(super) mod parse;

use crate::data::feature::{Feature, Schema};
use crate::data::index::Row;
use crate::data::info::{Format, Kind};
use crate::data::label::Value;
use crate::error::{Error, Result};

/// A condition as it was written, taken apart.
#[derive(Debug, Clone, PartialEq)]
pub struct Filter {
    expr: Expr,
}

/// A condition whose names were found in a schema.
#[derive(Debug, Clone, PartialEq)]
pub struct Bound {
    test: Test,
}

#[derive(Debug, Clone, PartialEq)]
enum Expr {
    And(Vec<Expr>),
    Or(Vec<Expr>),
    Not(Box<Expr>),
    Compare(Name, Compare, Literal),
    In(Name, Vec<Literal>),
    Like(Name, String),
    Null(Name),
    /// A column alone.
    True(Name),
}

/// A column, and a fact of it.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Name {
    column: String,
    fact: Option<String>,
}

impl std::fmt::Display for Name {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.column)?;
        self.fact.iter().try_for_each(|fact| write!(f, ".{fact}"))
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Compare {
    Equal,
    NotEqual,
    Less,
    AtMost,
    Greater,
    AtLeast,
}

#[derive(Debug, Clone, PartialEq)]
enum Literal {
    Int(i64),
    Float(f64),
    Text(String),
    Bool(bool),
}

#[derive(Debug, Clone, PartialEq)]
enum Test {
    And(Vec<Test>),
    Or(Vec<Test>),
    Not(Box<Test>),
    Compare(Operand, Compare, Literal),
    In(Operand, Vec<Literal>),
    Like(Operand, Vec<char>),
    Null(Operand),
}

/// Where a value comes from: a column's number, and which.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Operand {
    Id,
    Value(usize),
    /// The names of its classes.
    Class(usize, Vec<String>),
    Fact(usize, Fact),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fact {
    Any,
    Width,
    Height,
    Pixels,
    Channels,
    Rate,
    Count,
    Bytes,
    Duration,
    Format,
}

/// The facts, and the media that have them.
const FACTS: &[(&str, Fact, &[Kind])] = &[
    ("width", Fact::Width, &[Kind::Image, Kind::Video]),
    ("height", Fact::Height, &[Kind::Image, Kind::Video]),
    ("pixels", Fact::Pixels, &[Kind::Image, Kind::Video]),
    ("channels", Fact::Channels, &[Kind::Image, Kind::Audio, Kind::Video]),
    ("rate", Fact::Rate, &[Kind::Audio, Kind::Video]),
    ("count", Fact::Count, &[Kind::Audio, Kind::Video, Kind::Text, Kind::Tensor]),
    ("duration", Fact::Duration, &[Kind::Audio, Kind::Video]),
    ("bytes", Fact::Bytes, &[Kind::Image, Kind::Audio, Kind::Video, Kind::Text, Kind::Tensor]),
    ("format", Fact::Format, &[Kind::Image, Kind::Audio, Kind::Video, Kind::Text, Kind::Tensor]),
];

/// What an operand is in a row.
pub(super) enum Found<'r> {
    Null,
    Int(i64),
    Float(f64),
    Bool(bool),
    Text(&'r str),
}

fn wrong(what: String, help: impl Into<String>) -> Error {
    Error::config(format!("where: {what}"), help)
}

impl Filter {
    /// Takes a condition apart.
    ///
    /// # Errors
    /// [`Error::Config`] with the place and what was expected there.
    pub fn parse(text: &str) -> Result<Self> {
        Ok(Filter { expr: parse::condition(text)? })
    }

    /// Finds the names in a schema, and compares only what can be compared.
    ///
    /// # Errors
    /// [`Error::Config`] with the name that there is not, and those that there are.
    pub fn bind(&self, schema: &Schema) -> Result<Bound> {
        Ok(Bound { test: bind(&self.expr, schema)? })
    }
}

impl Bound {
    /// Whether it holds of a row.
    pub fn holds(&self, row: &Row<'_>) -> bool {
        self.test.holds(row)
    }
}

fn bind(expr: &Expr, schema: &Schema) -> Result<Test> {
    let all = |parts: &[Expr]| parts.iter().map(|part| bind(part, schema)).collect::<Result<Vec<_>>>();
    Ok(match expr {
        Expr::And(parts) => Test::And(all(parts)?),
        Expr::Or(parts) => Test::Or(all(parts)?),
        Expr::Not(part) => Test::Not(Box::new(bind(part, schema)?)),
        Expr::Null(name) => Test::Null(operand(name, schema)?.0),
        Expr::Compare(name, compare, literal) => {
            let (operand, kind) = operand(name, schema)?;
            let literal = kind.takes(name, &operand, literal)?;
            let ordered = !matches!(compare, Compare::Equal | Compare::NotEqual);
            if ordered && matches!(literal, Literal::Text(_) | Literal::Bool(_)) {
                let help = "text and truth values are compared by = and !=, text also by in and like";
                return Err(wrong(format!("{name} is not a number, so that nothing is less or greater"), help));
            }
            Test::Compare(operand, *compare, literal)
        }
        Expr::In(name, list) => {
            let (operand, kind) = operand(name, schema)?;
            let list = list.iter().map(|literal| kind.takes(name, &operand, literal)).collect::<Result<Vec<_>>>()?;
            Test::In(operand, list)
        }
        Expr::Like(name, pattern) => {
            let (operand, kind) = operand(name, schema)?;
            if !matches!(kind, Is::Text | Is::Format | Is::Class) {
                return Err(wrong(format!("{name} is no text"), "like is for ids, class names and formats"));
            }
            Test::Like(operand, pattern.chars().collect())
        }
        Expr::True(name) => {
            let (operand, kind) = operand(name, schema)?;
            if !matches!(kind, Is::Bool) {
                return Err(wrong(
                    format!("{name} stands alone"),
                    "compare it: name = value, name > value, name is not null",
                ));
            }
            Test::Compare(operand, Compare::Equal, Literal::Bool(true))
        }
    })
}

/// What an operand may be compared with.
#[derive(Debug, Clone, Copy)]
pub(super) enum Is {
    Number,
    Text,
    /// The name of an encoding.
    Format,
    Class,
    Bool,
    /// Whatever is there: only asked whether it is.
    Payload,
}

impl Is {
    fn takes(self, name: &Name, operand: &Operand, literal: &Literal) -> Result<Literal> {
        let fits = match (self, literal) {
            (Is::Number, Literal::Int(_) | Literal::Float(_))
            | (Is::Text, Literal::Text(_))
            | (Is::Bool, Literal::Bool(_)) => true,
            (Is::Format, Literal::Text(text)) => {
                if Format::from_name(text).is_none() {
                    let names: Vec<&str> = Format::ALL.iter().map(|format| format.name()).collect();
                    return Err(wrong(
                        format!("there is no format {text:?}"),
                        format!("there are: {}", names.join(", ")),
                    ));
                }
                true
            }
            (Is::Class, Literal::Int(class)) => {
                let Operand::Class(_, names) = operand else { return Ok(literal.clone()) };
                if !usize::try_from(*class).is_ok_and(|class| class < names.len()) {
                    let help =
                        format!("it has {}, from 0; rows without one are those of which {name} is null", names.len());
                    return Err(wrong(format!("{name} has no class {class}"), help));
                }
                true
            }
            (Is::Class, Literal::Text(text)) => {
                let Operand::Class(_, names) = operand else { return Ok(literal.clone()) };
                if !names.contains(text) {
                    return Err(wrong(
                        format!("{name} has no class {text:?}"),
                        format!("it has: {}", names.join(", ")),
                    ));
                }
                true
            }
            _ => false,
        };
        if fits {
            return Ok(literal.clone());
        }
        let expects = match self {
            Is::Number => "a number",
            Is::Text | Is::Format => "text in quotes",
            Is::Class => "a class name in quotes, or its index",
            Is::Bool => "true or false",
            Is::Payload => "a fact of it: .width, .duration and so on, or is null",
        };
        Err(wrong(format!("{name} does not compare with {literal}"), format!("it takes {expects}")))
    }
}

impl std::fmt::Display for Literal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Literal::Int(v) => write!(f, "{v}"),
            Literal::Float(v) => write!(f, "{v}"),
            Literal::Text(v) => write!(f, "{v:?}"),
            Literal::Bool(v) => write!(f, "{v}"),
        }
    }
}

pub(super) fn operand(name: &Name, schema: &Schema) -> Result<(Operand, Is)> {
    let found = schema.columns.iter().position(|column| column.name == name.column);
    let Some(at) = found else {
        if name.column == "id" {
            return match &name.fact {
                None => Ok((Operand::Id, Is::Text)),
                Some(fact) => Err(wrong(format!("the id has no {fact}"), "write id")),
            };
        }
        let names: Vec<&str> = schema.columns.iter().map(|column| column.name.as_str()).collect();
        return Err(wrong(
            format!("there is no column {:?}", name.column),
            format!("there are: {}, id", names.join(", ")),
        ));
    };
    let feature = &schema.columns[at].feature;
    let Some(fact) = &name.fact else {
        return Ok(match feature {
            Feature::ClassLabel { names } => (Operand::Class(at, names.clone()), Is::Class),
            // The value of objects is how many there are.
            Feature::Int | Feature::Float | Feature::Objects(_) => (Operand::Value(at), Is::Number),
            Feature::Bool => (Operand::Value(at), Is::Bool),
            _ => (Operand::Fact(at, Fact::Any), Is::Payload),
        });
    };
    let Some(kind) = feature.kind() else {
        let what = format!("{:?} is {}, and has no {fact}", name.column, feature.name());
        return Err(wrong(what, format!("write {}", name.column)));
    };
    let own = || FACTS.iter().filter(|(.., kinds)| kinds.contains(&kind));
    match own().find(|(known, ..)| known == fact) {
        Some((_, Fact::Format, _)) => Ok((Operand::Fact(at, Fact::Format), Is::Format)),
        Some((_, fact, _)) => Ok((Operand::Fact(at, *fact), Is::Number)),
        None => {
            let names: Vec<&str> = own().map(|(name, ..)| *name).collect();
            Err(wrong(format!("{} has no fact {fact:?}", feature.name()), format!("it has: {}", names.join(", "))))
        }
    }
}

impl Operand {
    pub(super) fn of<'r>(&'r self, row: &Row<'r>) -> Found<'r> {
        match self {
            Operand::Id => Found::Text(row.id()),
            Operand::Value(at) | Operand::Class(at, _) => match row.value(*at) {
                // A class that is not known is -1, or absent.
                Value::Int(v) if v < 0 && matches!(self, Operand::Class(..)) => Found::Null,
                Value::Int(v) => Found::Int(v),
                Value::Float(v) => Found::Float(v),
                Value::Bool(v) => Found::Bool(v),
                Value::Null | Value::Text(_) => Found::Null,
            },
            Operand::Fact(at, Fact::Any) => {
                if row.is_null(*at) {
                    Found::Null
                } else {
                    Found::Bool(true)
                }
            }
            Operand::Fact(at, fact) => {
                let Some(payload) = row.payload(*at) else { return Found::Null };
                let count = |n: u64| Found::Int(i64::try_from(n).unwrap_or(i64::MAX));
                let known = |n: u32| if n == 0 { Found::Null } else { Found::Int(n.into()) };
                let info = payload.info;
                match fact {
                    // None of these is 0 where it is known.
                    Fact::Width => known(info.width),
                    Fact::Height => known(info.height),
                    Fact::Pixels if info.width == 0 || info.height == 0 => Found::Null,
                    Fact::Pixels => count(u64::from(info.width) * u64::from(info.height)),
                    Fact::Channels => known(info.channels),
                    Fact::Rate => known(info.rate),
                    Fact::Count => count(info.count),
                    Fact::Bytes => count(payload.length),
                    Fact::Duration => Found::Float(info.duration_us as f64 / 1e6),
                    Fact::Format | Fact::Any => Found::Text(info.format.name()),
                }
            }
        }
    }

    /// The text of what was found: a class is its name.
    fn text<'r>(&'r self, found: &Found<'r>) -> Option<&'r str> {
        match (self, found) {
            (Operand::Class(_, names), Found::Int(v)) => {
                usize::try_from(*v).ok().and_then(|v| names.get(v)).map(String::as_str)
            }
            (_, Found::Text(text)) => Some(text),
            _ => None,
        }
    }

    /// How what was found stands to a literal; `None` if one is absent or not a number.
    fn compare(&self, found: &Found<'_>, literal: &Literal) -> Option<std::cmp::Ordering> {
        match (found, literal) {
            (Found::Int(a), Literal::Int(b)) => Some(a.cmp(b)),
            (Found::Int(a), Literal::Float(b)) => (*a as f64).partial_cmp(b),
            (Found::Float(a), Literal::Int(b)) => a.partial_cmp(&(*b as f64)),
            (Found::Float(a), Literal::Float(b)) => a.partial_cmp(b),
            (Found::Bool(a), Literal::Bool(b)) => Some(a.cmp(b)),
            (_, Literal::Text(b)) => self.text(found).map(|a| a.cmp(b.as_str())),
            _ => None,
        }
    }
}

impl Test {
    fn holds(&self, row: &Row<'_>) -> bool {
        use std::cmp::Ordering::{Equal, Greater, Less};
        match self {
            Test::And(parts) => parts.iter().all(|part| part.holds(row)),
            Test::Or(parts) => parts.iter().any(|part| part.holds(row)),
            Test::Not(part) => !part.holds(row),
            Test::Null(operand) => matches!(operand.of(row), Found::Null),
            Test::Compare(operand, compare, literal) => {
                let Some(order) = operand.compare(&operand.of(row), literal) else { return false };
                match compare {
                    Compare::Equal => order == Equal,
                    Compare::NotEqual => order != Equal,
                    Compare::Less => order == Less,
                    Compare::AtMost => order != Greater,
                    Compare::Greater => order == Greater,
                    Compare::AtLeast => order != Less,
                }
            }
            Test::In(operand, list) => {
                let found = operand.of(row);
                list.iter().any(|literal| operand.compare(&found, literal) == Some(Equal))
            }
            Test::Like(operand, pattern) => {
                let found = operand.of(row);
                operand.text(&found).is_some_and(|text| like(text, pattern))
            }
        }
    }
}

/// Whether a text is of a pattern: `%` is any text, `_` any character.
fn like(text: &str, pattern: &[char]) -> bool {
    let text: Vec<char> = text.chars().collect();
    let (mut t, mut p) = (0, 0);
    // Where the last `%` stands, and up to where it reaches: it takes one character more whenever what follows does not fit.
    let mut any: Option<(usize, usize)> = None;
    while t < text.len() {
        match pattern.get(p) {
            Some('%') => {
                any = Some((p, t));
                p += 1;
            }
            Some(c) if *c == '_' || *c == text[t] => {
                t += 1;
                p += 1;
            }
            _ => match any {
                Some((at, reach)) => {
                    any = Some((at, reach + 1));
                    t = reach + 1;
                    p = at + 1;
                }
                None => return false,
            },
        }
    }
    pattern[p..].iter().all(|c| *c == '%')
}

#[cfg(test)]
mod tests;
