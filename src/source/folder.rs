//! Class folders: `CLASS/file` or `SPLIT/CLASS/file`, or files without folders.
//!
//! The id is the whole relative path, the label the first folder below the split. What kind of media a folder holds is
//! decided by the content of its files.

use std::collections::BTreeMap;
use std::path::Path;

use super::look::{Content, sample};
use super::walk::{self, Found};
use super::{Entry, EntryCell, Evidence, Listing, Look, Source, SourceEntry, SourceOptions, layout};
use crate::data::feature::{Feature, Schema};
use crate::data::info::Kind;
use crate::error::{Error, Result};

/// The table's row.
pub const ENTRY: SourceEntry = SourceEntry {
    name: "folder",
    version: 1,
    summary: "class folders of pictures, recordings or clips, with or without train/ val/ test/ above",
    build: || Box::new(Folder),
};

/// Class folders of media.
#[derive(Debug, Clone, Copy, Default)]
pub struct Folder;

impl Source for Folder {
    fn name(&self) -> &'static str {
        ENTRY.name
    }

    fn detect(&self, _root: &Path, look: &Look) -> Option<Evidence> {
        if look.is_file {
            return None;
        }
        let media = look.count(|c| matches!(c, Content::Media(_)));
        let text = look.count(|c| c == Content::Text);
        let folders = look.files.iter().any(|f| f.relative.contains('/'));
        // A few pictures among many texts do not make a folder of pictures.
        (media > 0).then(|| {
            let score = 40 + 20 * u32::from(media >= text) + 10 * u32::from(folders);
            Evidence::new(score, format!("{media} of {} sampled files are media", look.count(|_| true)))
        })
    }

    fn list(&self, root: &Path, options: &SourceOptions) -> Result<Listing> {
        if root.is_file() {
            return Err(Error::config(
                format!("{} is a file, not a folder of media", root.display()),
                "give the folder above it, or say --format manifest or --format text",
            ));
        }
        super::labels::unused(
            "a folder of media",
            &[("--label-column", &options.label_column), ("--path-column", &options.path_column)],
        )?;
        let walk = walk::walk(root, usize::MAX)?;
        if walk.files.is_empty() && walk.refused.is_empty() {
            return Err(empty(root));
        }
        let media = |found: &Found| matches!(Content::of_file(&found.path), Content::Media(_));
        let mut notes = walk.notes();
        let layout = layout::place(walk.files, options, media)?;
        let mut refused = walk.refused;
        notes.extend(layout.notes);
        refused.extend(layout.refused);
        let files: Vec<Found> = layout.placed.iter().map(|p| p.found.clone()).collect();
        let kind = match options.kind {
            Some(kind) => kind,
            None => majority(root, &files, &mut notes)?,
        };
        let mut columns = vec![(kind.name(), Feature::of(kind))];
        if layout.labelled {
            columns.push(("label", Feature::ClassLabel { names: Vec::new() }));
        }
        let entries = layout.placed.into_iter().map(|placed| {
            let Found { relative, path, bytes } = placed.found;
            let mut cells = vec![EntryCell::File { path, bytes }];
            if layout.labelled {
                cells.push(placed.label.map_or(EntryCell::NULL, EntryCell::Class));
            }
            Entry { origin: relative.clone(), id: relative, split: placed.split, cells, line: None }
        });
        let mut listing = Listing { schema: Schema::new(columns), entries: entries.collect(), refused, notes };
        listing.sort();
        Ok(listing)
    }
}

/// The error for a root without files.
pub(super) fn empty(root: &Path) -> Error {
    Error::config(format!("{} holds no files", root.display()), "hidden files are not read; check the path")
}

/// The kind that most files are, of a sample spread over all of them.
pub(super) fn majority(root: &Path, files: &[Found], notes: &mut Vec<String>) -> Result<Kind> {
    let mut counts: BTreeMap<Kind, usize> = BTreeMap::new();
    let mut opened = 0;
    for i in sample(files) {
        opened += 1;
        if let Content::Media(kind) = Content::of_file(&files[i].path) {
            *counts.entry(kind).or_default() += 1;
        }
    }
    // Of equal counts the first kind: pictures, recordings, clips.
    let Some((&kind, _)) = counts.iter().rev().max_by_key(|(_, n)| **n) else {
        return Err(Error::config(
            format!("{}: none of {opened} sampled files is media that this build reads", root.display()),
            "say --kind image, audio or video to put them all into the quarantine with their reasons; or another --format",
        ));
    };
    if counts.len() > 1 {
        let seen: Vec<String> = counts.iter().map(|(k, n)| format!("{n} {}", k.name())).collect();
        notes.push(format!("mixed media ({} of {opened} sampled files): read as {}", seen.join(", "), kind.name()));
    }
    Ok(kind)
}
