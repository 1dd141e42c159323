//! Class folders: `CLASS/file` or `SPLIT/CLASS/file`, or files without folders.
//!
//! The id is the whole relative path, the label the first folder below the split. What kind of media a folder holds is
//! decided by the content of its files.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::layout::{Layout, Place};
use super::look::{Content, sample};
use super::walk::{self, Files, Found};
use super::{Entry, EntryCell, Evidence, Lister, Look, Source, SourceEntry, SourceOptions, labels};
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

    fn list(&self, root: &Path, options: &SourceOptions, lister: &mut Lister<'_>) -> Result<Schema> {
        if lister.tree().is_file(root) {
            return Err(Error::config(
                format!("{} is a file, not a folder of media", root.display()),
                "give the folder above it, or say --format manifest or --format text",
            ));
        }
        labels::unused("a folder of media", &labels::of_manifests(options))?;
        let walk = walk::walk(root, lister)?;
        if walk.files.is_empty() && walk.refused == 0 {
            return Err(empty(root));
        }
        for note in walk.notes() {
            lister.note(note);
        }
        let tree = lister.tree().clone();
        let media = |found: &Found| matches!(Content::within(&tree, &found.path), Content::Media(_));
        let layout = Layout::of(&walk.files, options, media)?;
        let kind = match options.kind {
            Some(kind) => kind,
            None => majority(root, &placed(&walk.files, &layout)?, lister)?,
        };
        let labelled = layout.labelled;
        layout.each(&walk.files, lister, media, |lister, found, split, label| {
            let Found { relative, path, bytes } = found;
            let mut cells = vec![EntryCell::File { path, bytes }];
            if labelled {
                cells.push(label.map_or(EntryCell::NULL, EntryCell::Class));
            }
            lister.entry(Entry { origin: relative.clone(), id: relative, split, cells, line: None })
        })?;
        let mut columns = vec![(kind.name(), Feature::of(kind))];
        if labelled {
            columns.push(("label", Feature::ClassLabel { names: Vec::new() }));
        }
        Ok(Schema::new(columns))
    }
}

/// Files with a place, a sample spread over all of them.
fn placed(files: &Files, layout: &Layout) -> Result<Vec<PathBuf>> {
    let mut count = 0;
    for found in files.iter() {
        count += usize::from(matches!(layout.place(&found)?, Place::At { .. }));
    }
    let mut taken = sample(count).peekable();
    let (mut at, mut paths) = (0, Vec::new());
    for found in files.iter() {
        if taken.peek().is_none() {
            break;
        }
        if matches!(layout.place(&found)?, Place::At { .. }) {
            if taken.next_if_eq(&at).is_some() {
                paths.push(found.path);
            }
            at += 1;
        }
    }
    Ok(paths)
}

/// The error for a root without files.
pub(super) fn empty(root: &Path) -> Error {
    Error::config(format!("{} holds no files", root.display()), "hidden files are not read; check the path")
}

/// The kind that most of some files are.
pub(super) fn majority(root: &Path, sampled: &[PathBuf], lister: &mut Lister<'_>) -> Result<Kind> {
    let mut counts: BTreeMap<Kind, usize> = BTreeMap::new();
    for path in sampled {
        if let Content::Media(kind) = Content::within(lister.tree(), path) {
            *counts.entry(kind).or_default() += 1;
        }
    }
    let opened = sampled.len();
    // Of equal counts the first kind: pictures, recordings, clips.
    let Some((&kind, _)) = counts.iter().rev().max_by_key(|(_, n)| **n) else {
        return Err(Error::config(
            format!("{}: none of {opened} sampled files is media that this build reads", root.display()),
            "say --kind image, audio or video to put them all into the quarantine with their reasons; or another --format",
        ));
    };
    if counts.len() > 1 {
        let seen: Vec<String> = counts.iter().map(|(k, n)| format!("{n} {}", k.name())).collect();
        lister.note(format!("mixed media ({} of {opened} sampled files): read as {}", seen.join(", "), kind.name()));
    }
    Ok(kind)
}
