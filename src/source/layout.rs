//! Which folder is a split, which a class: shared by the sources that read labels off paths.

use std::collections::BTreeSet;

use super::labels::{self, LabelRegex};
use super::walk::Found;
use super::{Refusal, SourceOptions, SplitDirs};
use crate::error::{Error, Fault, Reason, Result};

/// A file with what its path says.
#[derive(Debug)]
pub(super) struct Placed {
    pub found: Found,
    pub split: String,
    pub label: Option<String>,
}

/// Files by their paths.
#[derive(Debug, Default)]
pub(super) struct Layout {
    pub placed: Vec<Placed>,
    /// Whether there are labels at all.
    pub labelled: bool,
    pub refused: Vec<Refusal>,
    pub notes: Vec<String>,
}

/// Reads splits and labels off paths. A file beside class folders has no class: it is refused if `wanted` says that it is
/// what the source is about, and named in a note otherwise (a README).
pub(super) fn place(
    files: Vec<Found>,
    options: &SourceOptions,
    mut wanted: impl FnMut(&Found) -> bool,
) -> Result<Layout> {
    let regex = LabelRegex::new(options)?;
    let default_split = labels::default_split(options)?;
    let tops = tops(&files, options.split_dirs, regex.is_some(), &mut wanted)?;
    let mut layout = Layout::default();
    let below = |found: &Found| -> Option<(Option<String>, usize)> {
        if tops == Tops::Classes {
            return Some((None, 0));
        }
        let (top, _) = found.relative.split_once('/')?;
        if tops == Tops::SplitsAndOthers && labels::split_of(top).is_none() {
            return None;
        }
        Some((Some(top.to_owned()), top.len() + 1))
    };
    // The scopes (splits, or the root) that hold class folders.
    let mut scopes = BTreeSet::new();
    for found in &files {
        if let Some((scope, at)) = below(found)
            && found.relative[at..].contains('/')
        {
            scopes.insert(scope);
        }
    }
    layout.labelled = regex.is_some() || !scopes.is_empty();
    let mut beside = Vec::new();
    let mut unlabelled = 0;
    for found in files {
        let Some((scope, at)) = below(&found) else {
            beside.push(found);
            continue;
        };
        let mut split = match &scope {
            Some(top) => labels::split_name(top).map_err(|fault| {
                Error::config(fault.message, "rename the folder, or say --split-dirs no if the folders are classes")
            })?,
            None => default_split.clone(),
        };
        let label = match &regex {
            Some(regex) => match regex.read(&found.relative, found.file_name()) {
                Ok((label, named)) => {
                    split = named.unwrap_or(split);
                    Some(label)
                }
                Err(refusal) => {
                    if wanted(&found) {
                        layout.refused.push(refusal);
                    } else {
                        beside.push(found);
                    }
                    continue;
                }
            },
            None => match found.relative[at..].split_once('/') {
                Some((class, _)) => Some(class.to_owned()),
                None if scopes.contains(&scope) => {
                    beside.push(found);
                    continue;
                }
                None => {
                    unlabelled += usize::from(layout.labelled);
                    None
                }
            },
        };
        layout.placed.push(Placed { found, split, label });
    }
    let mut unread = Vec::new();
    for found in beside {
        if wanted(&found) {
            let fault = Fault::new(Reason::BadLabel, "it lies beside the class folders and has no class");
            layout.refused.push(Refusal::file(found.relative, fault));
        } else {
            unread.push(found.relative);
        }
    }
    if tops == Tops::SplitsAndOthers {
        let why = "folders called like splits are read as splits; those beside them hold nothing to read";
        layout.notes.push(format!("{why} (--split-dirs no takes all of them as classes)"));
    }
    note(&mut layout, &unread, unlabelled);
    Ok(layout)
}

fn note(layout: &mut Layout, unread: &[String], unlabelled: usize) {
    if let Some(first) = unread.first() {
        let more = if unread.len() > 1 { format!(" and {} more", unread.len() - 1) } else { String::new() };
        layout.notes.push(format!("not read, because it has no class and is no media: {first}{more}"));
    }
    if unlabelled > 0 {
        layout.notes.push(format!("{unlabelled} files lie in splits without class folders: their label is null"));
    }
    let classes: BTreeSet<&str> = layout.placed.iter().filter_map(|p| p.label.as_deref()).collect();
    if let (1, Some(only)) = (classes.len(), classes.first()) {
        layout.notes.push(format!("there is one class only, {only:?}"));
    }
    if !layout.labelled {
        layout
            .notes
            .push("there are no class folders: the dataset has no label (--label-regex reads it off names)".into());
    }
}

/// What the folders at the top are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Tops {
    Classes,
    Splits,
    /// Those called like splits are, and the others hold nothing that is wanted.
    SplitsAndOthers,
}

fn tops(files: &[Found], say: SplitDirs, regex: bool, wanted: &mut impl FnMut(&Found) -> bool) -> Result<Tops> {
    let mut tops = BTreeSet::new();
    let mut classes = false;
    for found in files {
        if let Some((top, rest)) = found.relative.split_once('/') {
            tops.insert(top);
            classes |= rest.contains('/');
        }
    }
    match say {
        SplitDirs::Yes if tops.is_empty() => {
            Err(Error::config("--split-dirs yes, and there are no folders", "leave --split-dirs away"))
        }
        SplitDirs::Yes => Ok(Tops::Splits),
        SplitDirs::No => Ok(Tops::Classes),
        SplitDirs::Auto => {
            let other =
                |found: &&Found| found.relative.split_once('/').is_some_and(|(t, _)| labels::split_of(t).is_none());
            if tops.is_empty() || files.iter().any(|f| other(&f)) {
                let deep = |t: &str, rest: &str| labels::split_of(t).is_some() && rest.contains('/');
                let splits = files.iter().any(|f| f.relative.split_once('/').is_some_and(|(t, rest)| deep(t, rest)));
                // A README in a folder of its own makes no class of `train`.
                let only = splits && !files.iter().filter(other).any(wanted);
                return Ok(if only { Tops::SplitsAndOthers } else { Tops::Classes });
            }
            if classes || regex {
                return Ok(Tops::Splits);
            }
            let names: Vec<&str> = tops.into_iter().collect();
            Err(Error::config(
                format!("the folders {} may be splits without classes, or classes", names.join(", ")),
                "say --split-dirs yes (splits; no label) or --split-dirs no (classes)",
            ))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn placed(paths: &[&str], options: &SourceOptions) -> Result<Layout> {
        let found = |p: &&str| Found { relative: (*p).into(), path: (*p).into(), bytes: 1 };
        place(paths.iter().map(found).collect(), options, |f| f.relative.ends_with("jpg"))
    }

    fn seen(layout: &Layout) -> Vec<(&str, &str, Option<&str>)> {
        layout.placed.iter().map(|p| (p.found.relative.as_str(), p.split.as_str(), p.label.as_deref())).collect()
    }

    #[test]
    fn a_class_called_test_is_a_class() {
        let layout = placed(&["cat/1.jpg", "test/2.jpg", "val/deep/3.jpg"], &SourceOptions::default()).unwrap();
        let expected = [
            ("cat/1.jpg", "train", Some("cat")),
            ("test/2.jpg", "train", Some("test")),
            ("val/deep/3.jpg", "train", Some("val")),
        ];
        assert_eq!(seen(&layout), expected);
    }

    #[test]
    fn splits_hold_classes_even_one_called_train() {
        let paths = ["dev/train/1.jpg", "test/x.jpg", "train/cat/2.jpg", "train/stray.jpg", "README.md"];
        let layout = placed(&paths, &SourceOptions::default()).unwrap();
        let expected = [
            ("dev/train/1.jpg", "validation", Some("train")),
            ("test/x.jpg", "test", None),
            ("train/cat/2.jpg", "train", Some("cat")),
        ];
        assert_eq!(seen(&layout), expected);
        assert_eq!(layout.refused.len(), 1);
        assert_eq!(
            (layout.refused[0].id.as_str(), layout.refused[0].fault.reason),
            ("train/stray.jpg", Reason::BadLabel)
        );
        assert!(layout.notes.iter().any(|n| n.contains("README.md")), "{:?}", layout.notes);
        assert!(layout.notes.iter().any(|n| n.starts_with("1 files")), "{:?}", layout.notes);
    }

    #[test]
    fn folders_without_media_beside_splits_make_no_classes_of_them() {
        let paths = ["extras/a/readme.pdf", "train/cat/1.jpg", "test/cat/2.jpg"];
        let layout = placed(&paths, &SourceOptions::default()).unwrap();
        let expected = [("train/cat/1.jpg", "train", Some("cat")), ("test/cat/2.jpg", "test", Some("cat"))];
        assert_eq!(seen(&layout), expected);
        assert!(layout.refused.is_empty());
        assert!(layout.notes.iter().any(|n| n.contains("read as splits")), "{:?}", layout.notes);
        assert!(layout.notes.iter().any(|n| n.contains("extras/a/readme.pdf")), "{:?}", layout.notes);
        let media = ["extras/3.jpg", "train/cat/1.jpg", "test/cat/2.jpg"];
        let layout = placed(&media, &SourceOptions::default()).unwrap();
        assert_eq!(seen(&layout)[1], ("train/cat/1.jpg", "train", Some("train")));
        let say = SourceOptions { split_dirs: SplitDirs::No, ..Default::default() };
        assert_eq!(seen(&placed(&paths, &say).unwrap()).len(), 3);
    }

    #[test]
    fn split_names_over_bare_files_are_asked_about() {
        let paths = ["test/2.jpg", "train/1.jpg"];
        let asked = placed(&paths, &SourceOptions::default()).unwrap_err();
        assert!(asked.to_string().contains("--split-dirs"), "{asked}");
        let say = |split_dirs| SourceOptions { split_dirs, ..Default::default() };
        let splits = placed(&paths, &say(SplitDirs::Yes)).unwrap();
        assert_eq!(seen(&splits), [("test/2.jpg", "test", None), ("train/1.jpg", "train", None)]);
        assert!(!splits.labelled);
        let classes = placed(&paths, &say(SplitDirs::No)).unwrap();
        assert_eq!(seen(&classes)[0], ("test/2.jpg", "train", Some("test")));
    }

    #[test]
    fn a_regex_reads_labels_off_file_names() {
        let options = SourceOptions { label_regex: Some(r"(?P<label>\d)_".into()), ..Default::default() };
        let layout = placed(&["7_ada.jpg", "a/8_ben.jpg", "none.jpg", "LICENSE"], &options).unwrap();
        let expected = [("7_ada.jpg", "train", Some("7")), ("a/8_ben.jpg", "train", Some("8"))];
        assert_eq!(seen(&layout), expected);
        assert_eq!(layout.refused[0].id, "none.jpg");
        assert!(layout.notes[0].contains("LICENSE"));
    }
}
