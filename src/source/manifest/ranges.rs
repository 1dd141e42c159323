//! Which part of its recording a row of a manifest is: `start` and `end`, or `offset` and `duration` as NeMo has them, in seconds.

use super::read::Row;
use super::{Columns, Feature, Typing};
use crate::error::{Error, Fault, Reason, Result};
use crate::source::typing::Cell;
use crate::source::{Lister, Part, SourceOptions};

/// Pairs of columns that say it, unless told.
const PAIRS: [(&str, End, &str); 2] = [("start", End::At, "end"), ("offset", End::Behind, "duration")];

/// What the second column of a pair says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    /// Where the part ends.
    At,
    /// How long it is.
    Behind,
}

/// The two columns.
#[derive(Debug, Clone, Copy)]
pub(super) struct Ranges {
    start: usize,
    end: usize,
    says: End,
}

impl Ranges {
    /// The columns that were named, or that are called so and hold numbers. Rows are whole files where there are none.
    pub(super) fn of(
        options: &SourceOptions,
        columns: &Columns,
        types: &[Typing],
        is_audio: bool,
        lister: &mut Lister<'_>,
    ) -> Result<Option<Ranges>> {
        let SourceOptions { start_column, end_column, duration_column, whole_files, .. } = options;
        let told = [start_column, end_column, duration_column].into_iter().flatten().next();
        if !is_audio {
            return match told {
                None => Ok(None),
                Some(name) => Err(Error::config(
                    format!("column {name:?} is to say where rows begin or end, and they are no recordings"),
                    "leave --start-column, --end-column and --duration-column away, or say --kind audio",
                )),
            };
        }
        if *whole_files {
            return Ok(None);
        }
        let place = |name: &str| columns.names.iter().position(|c| c.trim().eq_ignore_ascii_case(name));
        let is_number = |i: usize| matches!(types[i].feature(), Feature::Int | Feature::Float);
        let found = match told {
            Some(_) => Some(Ranges::told(options, columns, &place)?),
            None => PAIRS
                .iter()
                .find_map(|(start, says, end)| Some(Ranges { start: place(start)?, end: place(end)?, says: *says })),
        };
        let Some(ranges) = found else { return Ok(None) };
        let [start, end] = [ranges.start, ranges.end].map(|i| columns.names[i].as_str());
        match [ranges.start, ranges.end].into_iter().find(|i| !is_number(*i)) {
            None => {
                let what = match ranges.says {
                    End::At => format!("from {start:?} to {end:?}"),
                    End::Behind => format!("from {start:?}, {end:?} long"),
                };
                lister
                    .note(format!("a row is the part of its recording {what}, in seconds (--whole-files: all of it)"));
                Ok(Some(ranges))
            }
            Some(other) if told.is_some() => Err(Error::config(
                format!(
                    "column {:?} is to say where rows begin or end, and not all of it are numbers",
                    columns.names[other]
                ),
                "mend the rows: seconds, as 12.5",
            )),
            Some(other) => {
                let other = &columns.names[other];
                lister.note(format!(
                    "rows are whole recordings: of {start:?} and {end:?}, {other:?} is no column of numbers (seconds, as 12.5)"
                ));
                Ok(None)
            }
        }
    }

    /// The columns where one is told: the other one, unless told too, is called as usual.
    fn told(options: &SourceOptions, columns: &Columns, place: &dyn Fn(&str) -> Option<usize>) -> Result<Ranges> {
        let exact = |flag: &str, name: &String| {
            columns.names.iter().position(|c| c == name).ok_or_else(|| {
                Error::config(
                    format!("{flag} {name:?} is no column"),
                    format!("the columns are: {}", columns.names.join(", ")),
                )
            })
        };
        let usual = |flag: &str, names: &[&str]| {
            names.iter().find_map(|name| place(name)).ok_or_else(|| {
                Error::config(
                    format!("no column is called {}", names.join(" or ")),
                    format!("say {flag}; the columns are: {}", columns.names.join(", ")),
                )
            })
        };
        let start = match &options.start_column {
            Some(name) => exact("--start-column", name)?,
            None => usual("--start-column", &["start", "offset"])?,
        };
        let (end, says) = match (&options.end_column, &options.duration_column) {
            (Some(name), _) => (exact("--end-column", name)?, End::At),
            (None, Some(name)) => (exact("--duration-column", name)?, End::Behind),
            (None, None) => match place("end") {
                Some(end) => (end, End::At),
                None => (usual("--end-column or --duration-column", &["end", "duration"])?, End::Behind),
            },
        };
        Ok(Ranges { start, end, says })
    }

    /// The part that a row names.
    pub(super) fn part(&self, row: &Row, columns: &Columns) -> Result<Part, Fault> {
        let number = |i: usize| {
            row.cells[i].as_float().ok_or_else(|| {
                let why = if row.cells[i] == Cell::Null { "is empty" } else { "is no number of seconds" };
                Fault::new(Reason::BadRange, format!("column {:?} {why}", columns.names[i]))
            })
        };
        let start = match row.cells[self.start] {
            // NeMo leaves an offset of 0 out.
            Cell::Null if self.says == End::Behind => 0.0,
            _ => number(self.start)?,
        };
        let end = number(self.end)?;
        match self.says {
            End::At => Ok(Part::Seconds { start, end }),
            End::Behind => Ok(Part::Seconds { start, end: start + end }),
        }
    }
}
