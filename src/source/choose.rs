//! Which source reads a root: the one that is asked for, else the one with the best evidence.

use std::path::Path;

use super::{Content, Evidence, Look, Source, SourceEntry};
use crate::error::{Error, Result};
use crate::registry::Table;

/// A source and what speaks for it.
#[derive(Debug, Clone)]
pub struct Candidate {
    /// The source.
    pub entry: SourceEntry,
    /// What it saw.
    pub evidence: Evidence,
}

/// The source that will read a root.
pub struct Choice {
    /// Its row of the table.
    pub entry: SourceEntry,
    /// The source itself.
    pub source: Box<dyn Source>,
    /// Why it was taken, for a person; empty when it was asked for.
    pub notes: Vec<String>,
}

impl std::fmt::Debug for Choice {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Choice").field("entry", &self.entry).field("notes", &self.notes).finish_non_exhaustive()
    }
}

/// The sources that could read a root, best first, then in table order.
pub fn candidates(table: &Table<SourceEntry>, root: &Path) -> Result<Vec<Candidate>> {
    Ok(seen(table, root, &Look::at(root)?))
}

fn seen(table: &Table<SourceEntry>, root: &Path, look: &Look) -> Vec<Candidate> {
    let evidence = |entry: &SourceEntry| (entry.build)().detect(root, look);
    let mut found: Vec<Candidate> =
        table.iter().filter_map(|e| Some(Candidate { evidence: evidence(e)?, entry: *e })).collect();
    found.sort_by_key(|c| std::cmp::Reverse(c.evidence.score));
    found
}

/// Chooses the source of a root: `format` by name, else the best evidence. Two equally good ones are refused by name.
pub fn choose(table: &Table<SourceEntry>, root: &Path, format: Option<&str>) -> Result<Choice> {
    if let Some(name) = format {
        let entry = *table.get(name)?;
        std::fs::metadata(root).map_err(|e| Error::io(root, "open", e))?;
        return Ok(Choice { entry, source: (entry.build)(), notes: Vec::new() });
    }
    let look = Look::at(root)?;
    let found = seen(table, root, &look);
    let told = |c: &Candidate| format!("{} ({})", c.entry.name, c.evidence.why);
    match found.as_slice() {
        [] => Err(unknown(table, root, &look)),
        [a, b, ..] if a.evidence.score == b.evidence.score => {
            let best = found.iter().take_while(|c| c.evidence.score == a.evidence.score);
            let names: Vec<String> = best.map(told).collect();
            Err(Error::config(
                format!("{} may be read as {}", root.display(), names.join(" or as ")),
                format!("say which: --format {} or --format {}", a.entry.name, b.entry.name),
            ))
        }
        [a, rest @ ..] => {
            let mut notes = vec![format!("read as {}", told(a))];
            notes.extend(rest.iter().map(|c| format!("not read as {}", told(c))));
            Ok(Choice { entry: a.entry, source: (a.entry.build)(), notes })
        }
    }
}

fn unknown(table: &Table<SourceEntry>, root: &Path, look: &Look) -> Error {
    if look.files.is_empty() {
        return super::folder::empty(root);
    }
    let other = look.count(|c| c == Content::Other);
    let empty = look.count(|c| c == Content::Empty);
    let opened = look.count(|_| true);
    let formats: Vec<&str> = table.iter().map(|e| e.name).collect();
    Error::config(
        format!(
            "{}: no source recognises it ({opened} files opened: {other} of no known kind, {empty} empty)",
            root.display()
        ),
        format!("say what it is with --format {}", formats.join(", ")),
    )
}
