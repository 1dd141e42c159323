//! Where rows come from, under which licence, and what took them in: columns of a few classes each, on request; and rows whose licence is not allowed are refused.

use std::path::Path;

use serde::{Deserialize, Serialize};

use super::{Entry, EntryCell, Lister, Listing, Refusal, Watch};
use crate::data::feature::{Column, Feature, PROVENANCE, Schema};
use crate::data::label::Value;
use crate::error::{Error, Fault, Reason, Result};
use crate::spool::Spill;

/// What is said of where rows come from.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Provenance {
    /// Whether rows get the columns `source`, `license` and `tool`.
    pub columns: bool,
    /// What the source is called; unless told, the last part of its path.
    pub source: Option<String>,
    /// The licence of rows that say none themselves, in a column `license`: SPDX's name of it, say.
    pub license: Option<String>,
    /// If there are some, rows of any other licence, or of none, are refused.
    pub allow: Vec<String>,
}

impl Provenance {
    /// Refuses what can be seen to be wrong without looking at any file.
    pub fn validate(&self) -> Result<()> {
        if self.source.is_some() && !self.columns {
            let help = "say --provenance (provenance.columns), too";
            return Err(Error::config("a name for the source, and no column to put it in", help));
        }
        let empty = |text: &String| text.trim().is_empty();
        if self.source.iter().chain(&self.license).chain(&self.allow).any(empty) {
            return Err(Error::config("an empty name of a source or licence", "leave it away, or name it"));
        }
        Ok(())
    }

    /// Puts the columns behind those of a listing, and takes rows out of it whose licence is not allowed.
    pub(super) fn stamp(
        &self,
        listing: Listing,
        root: &Path,
        format: &str,
        spill: &Spill,
        watch: Watch<'_>,
    ) -> Result<Listing> {
        let [by_source, by_license, by_tool] = PROVENANCE;
        let Listing { mut schema, entries, refused, notes, excerpts: _, tree } = listing;
        let own =
            schema.columns.iter().position(|c| ["license", "licence"].iter().any(|n| c.name.eq_ignore_ascii_case(n)));
        if let Some(taken) = [by_source, by_tool].iter().find(|name| self.columns && schema.position(name).is_some()) {
            return Err(Error::config(
                format!("the source has a column {taken:?} of its own, and --provenance would add one"),
                "rename the source's, or leave --provenance away",
            ));
        }
        let class = || Feature::ClassLabel { names: Vec::new() };
        if let Some(at) = own {
            schema.columns[at].feature = class();
        }
        if self.columns {
            let license = own.is_none().then_some(by_license);
            schema.columns.extend(
                [Some(by_source), license, Some(by_tool)].into_iter().flatten().map(|n| Column::new(n, class())),
            );
        }
        let name = || tree.name(root);
        let source = self.source.clone().or_else(name).unwrap_or_else(|| format.to_owned());
        let tool = format!("feedstock {} ({format})", env!("CARGO_PKG_VERSION"));
        let mut lister = Lister::new(spill, watch).within(&tree);
        notes.into_iter().for_each(|note| lister.note(note));
        for refusal in refused.iter() {
            lister.refuse(refusal?)?;
        }
        for at in 0..entries.len() {
            let mut entry = entries.get(at)?;
            let license = own.and_then(|at| text(&entry.cells[at])).or_else(|| self.license.clone());
            let license = match self.admit(license) {
                Ok(license) => license,
                Err(fault) => {
                    let Entry { id, origin, line, .. } = entry;
                    lister.refuse(Refusal { id, origin, line, fault })?;
                    continue;
                }
            };
            let cell = license.map_or(EntryCell::NULL, EntryCell::Class);
            if let Some(at) = own {
                entry.cells[at] = cell.clone();
            }
            if self.columns {
                entry.cells.push(EntryCell::Class(source.clone()));
                entry.cells.extend(own.is_none().then_some(cell));
                entry.cells.push(EntryCell::Class(tool.clone()));
            }
            lister.entry(entry)?;
        }
        lister.finish(Schema { columns: schema.columns })
    }

    fn admit(&self, license: Option<String>) -> Result<Option<String>, Fault> {
        if self.allow.is_empty() {
            return Ok(license);
        }
        match &license {
            Some(name) if self.allow.iter().any(|allowed| allowed.eq_ignore_ascii_case(name)) => Ok(license),
            Some(name) => Err(Fault::new(Reason::License, format!("the licence {name:?} is not among those allowed"))),
            None => Err(Fault::new(Reason::License, "nothing says its licence, and only some are allowed")),
        }
    }
}

/// What a cell of a licence says.
fn text(cell: &EntryCell) -> Option<String> {
    let text = match cell {
        EntryCell::Class(name) => name.clone(),
        EntryCell::Inline(bytes) => String::from_utf8_lossy(bytes).into_owned(),
        EntryCell::Value(Value::Text(text)) => text.clone(),
        EntryCell::Value(Value::Int(v)) => v.to_string(),
        _ => return None,
    };
    let text = text.trim();
    (!text.is_empty()).then(|| text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::SourceOptions;
    use crate::source::listing::listed;
    use crate::source::manifest::Manifest;

    /// Schema, cells of each row, refusals.
    type Listed = (Schema, Vec<Vec<EntryCell>>, Vec<(String, Reason)>);

    fn rows(csv: &str, provenance: Provenance) -> Result<Listed> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("m.csv");
        std::fs::write(&path, csv).unwrap();
        let options = SourceOptions { provenance: Some(provenance), ..SourceOptions::default() };
        options.validate()?;
        let (listing, entries) = listed(&Manifest, &path, &options)?;
        let refused = listing.refused.iter().map(Result::unwrap).map(|r| (r.id, r.fault.reason)).collect();
        Ok((listing.schema, entries.into_iter().map(|e| e.cells).collect(), refused))
    }

    fn class(name: &str) -> EntryCell {
        EntryCell::Class(name.to_owned())
    }

    #[test]
    fn columns_say_where_rows_come_from() {
        let provenance = Provenance {
            columns: true,
            source: Some("mine".into()),
            license: Some("CC0-1.0".into()),
            ..Provenance::default()
        };
        let (schema, cells, _) = rows("text\na\nb\n", provenance.clone()).unwrap();
        let names: Vec<&str> = schema.columns.iter().map(|c| c.name.as_str()).collect();
        assert_eq!(names, ["text", "source", "license", "tool"]);
        assert_eq!(cells[1][1..3], [class("mine"), class("CC0-1.0")]);
        assert_eq!(schema.get("license"), Some(&Feature::ClassLabel { names: vec!["CC0-1.0".into()] }));
        assert!(matches!(&cells[0][3], EntryCell::Class(tool) if tool.contains("manifest")));
        // A column of the source's own goes first.
        let (schema, cells, _) = rows("text,Licence\na,MIT\nb,\n", provenance).unwrap();
        assert_eq!(
            schema.columns.iter().map(|c| c.name.as_str()).collect::<Vec<_>>(),
            ["text", "Licence", "source", "tool"]
        );
        assert_eq!((&cells[0][1], &cells[1][1]), (&class("MIT"), &class("CC0-1.0")));
        let (_, cells, _) = rows("text\na\n", Provenance { columns: true, ..Provenance::default() }).unwrap();
        assert_eq!(cells[0][1..3], [class("m.csv"), EntryCell::NULL]);
    }

    #[test]
    fn other_licences_are_refused() {
        let allow = Provenance { allow: vec!["cc0-1.0".into(), "MIT".into()], ..Provenance::default() };
        let (schema, cells, refused) = rows("text,license\na,MIT\nb,GPL-3.0\nc,\nd,CC0-1.0\n", allow.clone()).unwrap();
        assert_eq!((schema.columns.len(), cells.len()), (2, 2));
        assert_eq!(refused, [("m.csv#3".to_owned(), Reason::License), ("m.csv#4".to_owned(), Reason::License)]);
        let (_, cells, refused) =
            rows("text\na\n", Provenance { license: Some("MIT".into()), ..allow.clone() }).unwrap();
        assert_eq!((cells.len(), refused.len()), (1, 0));
        let (_, cells, refused) = rows("text\na\n", allow).unwrap();
        assert_eq!((cells.len(), refused.len()), (0, 1));
    }

    #[test]
    fn what_cannot_be_is_refused_by_name() {
        let columns = Provenance { columns: true, ..Provenance::default() };
        assert!(rows("text,tool\na,b\n", columns.clone()).unwrap_err().to_string().contains("\"tool\""));
        for bad in [
            Provenance { source: Some("a".into()), ..Provenance::default() },
            Provenance { license: Some(" ".into()), ..columns },
        ] {
            assert_eq!(rows("text\na\n", bad).unwrap_err().exit_code(), 2);
        }
    }
}
