//! Which source reads a root: the one that is asked for, else the one with the best evidence.

use std::path::{Path, PathBuf};

use super::listing::Watch;
use super::tree::{self, Opened};
use super::{Content, Evidence, Look, Source, SourceEntry, Tree};
use crate::error::{Error, Result};
use crate::registry::Table;
use crate::spool::Spill;

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
    /// Why it was taken, and what of an archive is not read, for a person.
    pub notes: Vec<String>,
    /// What the source reads: files of the system, or those of an archive.
    pub tree: Tree,
    /// Where it begins there: what was given, or a folder in it where that is an archive.
    pub root: PathBuf,
}

impl std::fmt::Debug for Choice {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Choice").field("entry", &self.entry).field("notes", &self.notes).finish_non_exhaustive()
    }
}

/// The sources that could read a root, best first, then in table order.
pub fn candidates(table: &Table<SourceEntry>, root: &Path) -> Result<Vec<Candidate>> {
    let Opened { tree, root, .. } = tree::open(root, &Spill::temporary(), &|_| Ok(()))?;
    Ok(seen(table, &root, &Look::within(&tree, &root)?))
}

fn seen(table: &Table<SourceEntry>, root: &Path, look: &Look) -> Vec<Candidate> {
    let evidence = |entry: &SourceEntry| (entry.build)().detect(root, look);
    let mut found: Vec<Candidate> =
        table.iter().filter_map(|e| Some(Candidate { evidence: evidence(e)?, entry: *e })).collect();
    found.sort_by_key(|c| std::cmp::Reverse(c.evidence.score));
    found
}

/// Chooses the source of a root: `format` by name, else the best evidence. Two equally good ones are refused by name.
///
/// An archive is opened: sources see it as the folder that it would be unpacked.
pub fn choose(table: &Table<SourceEntry>, root: &Path, format: Option<&str>) -> Result<Choice> {
    choose_into(table, root, format, &Spill::temporary(), &|_| Ok(()))
}

/// As [`choose`]: what is known of an archive may go into temporary files, and an error of `watch` ends it.
pub(crate) fn choose_into(
    table: &Table<SourceEntry>,
    source: &Path,
    format: Option<&str>,
    spill: &Spill,
    watch: Watch<'_>,
) -> Result<Choice> {
    let asked = format.map(|name| table.get(name).copied()).transpose()?;
    let opened = tree::open(source, spill, watch)?;
    let look = asked.is_none().then(|| Look::within(&opened.tree, &opened.root)).transpose()?;
    let found = look.as_ref().map_or_else(Vec::new, |look| seen(table, &opened.root, look));
    chosen(table, asked, opened, look.as_ref(), &found)
}

/// What was seen of a source, and what would read it.
#[derive(Debug)]
pub struct Survey {
    /// The files of the first look.
    pub look: Look,
    /// The sources that could read it, best first.
    pub candidates: Vec<Candidate>,
    /// The one that will, or why none.
    pub choice: Result<Choice>,
    /// What a person should know of the archive that it is.
    pub notes: Vec<String>,
}

/// Looks at a source once, for all that there is to say of it. The errors of [`choose`] that are no matter of opening it are in the answer.
///
/// # Errors
///
/// [`Error::Io`], and [`Error::Config`] of an archive that cannot be opened.
pub fn survey(table: &Table<SourceEntry>, source: &Path, format: Option<&str>) -> Result<Survey> {
    let asked = format.map(|name| table.get(name).copied()).transpose();
    let opened = tree::open(source, &Spill::temporary(), &|_| Ok(()))?;
    let look = Look::within(&opened.tree, &opened.root)?;
    let candidates = seen(table, &opened.root, &look);
    let notes = opened.notes.clone();
    let choice = asked.and_then(|asked| chosen(table, asked, opened, Some(&look), &candidates));
    Ok(Survey { look, candidates, choice, notes })
}

fn chosen(
    table: &Table<SourceEntry>,
    asked: Option<SourceEntry>,
    opened: Opened,
    look: Option<&Look>,
    found: &[Candidate],
) -> Result<Choice> {
    let Opened { tree, root, mut notes } = opened;
    if let Some(entry) = asked {
        return Ok(Choice { entry, source: (entry.build)(), notes, tree, root });
    }
    let told = |c: &Candidate| format!("{} ({})", c.entry.name, c.evidence.why);
    match found {
        [] => Err(unknown(table, &root, look)),
        [a, b, ..] if a.evidence.score == b.evidence.score => {
            let best = found.iter().take_while(|c| c.evidence.score == a.evidence.score);
            let names: Vec<String> = best.map(told).collect();
            Err(Error::config(
                format!("{} may be read as {}", root.display(), names.join(" or as ")),
                format!("say which: --format {} or --format {}", a.entry.name, b.entry.name),
            ))
        }
        [a, rest @ ..] => {
            notes.push(format!("read as {}", told(a)));
            notes.extend(rest.iter().map(|c| format!("not read as {}", told(c))));
            Ok(Choice { entry: a.entry, source: (a.entry.build)(), notes, tree, root })
        }
    }
}

fn unknown(table: &Table<SourceEntry>, root: &Path, look: Option<&Look>) -> Error {
    let nothing = Look::default();
    let look = look.unwrap_or(&nothing);
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
