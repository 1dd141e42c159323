//! Which folder is a split, which a class: shared by the sources that read labels off paths.

use std::collections::BTreeSet;

use super::labels::{self, LabelRegex};
use super::walk::{Files, Found};
use super::{Lister, Refusal, SourceOptions, SplitDirs};
use crate::error::{Error, Fault, Reason, Result};

/// What the path of a file says.
#[derive(Debug)]
pub(super) enum Place {
    /// It belongs to a split, and to a class if there is one.
    At { split: String, label: Option<String> },
    /// `--label-regex` finds nothing in its name.
    NoMatch(Refusal),
    /// It lies beside the class folders.
    Beside,
}

/// How the folders of a source are to be read.
#[derive(Debug)]
pub(super) struct Layout {
    regex: Option<LabelRegex>,
    default_split: String,
    tops: Tops,
    /// The scopes (splits, or the root) that hold class folders.
    scopes: BTreeSet<Option<String>>,
    /// Whether there are labels at all.
    pub labelled: bool,
}

impl Layout {
    /// Looks at all paths. `wanted` says whether a file is what the source is about.
    pub(super) fn of(files: &Files, options: &SourceOptions, wanted: impl FnMut(&Found) -> bool) -> Result<Self> {
        let regex = LabelRegex::new(options)?;
        let tops = tops(files, options.split_dirs, regex.is_some(), wanted)?;
        let default_split = labels::default_split(options)?;
        let mut layout = Layout { labelled: regex.is_some(), regex, default_split, tops, scopes: BTreeSet::new() };
        for found in files.iter() {
            if let Some((scope, rest)) = layout.scope(&found.relative)
                && rest.contains('/')
                && !layout.scopes.contains(&scope.map(str::to_owned))
            {
                layout.scopes.insert(scope.map(str::to_owned));
            }
        }
        layout.labelled |= !layout.scopes.is_empty();
        Ok(layout)
    }

    /// The split folder of a path, if there are any, and the rest; `None` for what lies in no split.
    fn scope<'p>(&self, relative: &'p str) -> Option<(Option<&'p str>, &'p str)> {
        if self.tops == Tops::Classes {
            return Some((None, relative));
        }
        let (top, rest) = relative.split_once('/')?;
        if self.tops == Tops::SplitsAndOthers && labels::split_of(top).is_none() {
            return None;
        }
        Some((Some(top), rest))
    }

    /// What a path says. An error is for a folder that can be no split.
    pub(super) fn place(&self, found: &Found) -> Result<Place> {
        let Some((scope, rest)) = self.scope(&found.relative) else { return Ok(Place::Beside) };
        let mut split = match scope {
            Some(top) => labels::split_name(top).map_err(|fault| {
                Error::config(fault.message, "rename the folder, or say --split-dirs no if the folders are classes")
            })?,
            None => self.default_split.clone(),
        };
        let label = match &self.regex {
            Some(regex) => match regex.read(&found.relative, found.file_name()) {
                Ok((label, named)) => {
                    split = named.unwrap_or(split);
                    Some(label)
                }
                Err(refusal) => return Ok(Place::NoMatch(refusal)),
            },
            None => match rest.split_once('/') {
                Some((class, _)) => Some(class.to_owned()),
                None if self.scopes.contains(&scope.map(str::to_owned)) => return Ok(Place::Beside),
                None => None,
            },
        };
        Ok(Place::At { split, label })
    }

    /// Hands every file that has a place to `take`. One beside class folders has no class: it is refused if `wanted` says
    /// that it is what the source is about, and counted in a note otherwise (a README).
    pub(super) fn each(
        &self,
        files: &Files,
        lister: &mut Lister<'_>,
        mut wanted: impl FnMut(&Found) -> bool,
        mut take: impl FnMut(&mut Lister<'_>, Found, String, Option<String>) -> Result<()>,
    ) -> Result<()> {
        let mut unread: Option<(String, u64)> = None;
        let mut unlabelled = 0u64;
        let mut only: Option<Option<String>> = None;
        for found in files.iter() {
            lister.step()?;
            let refusal = match self.place(&found)? {
                Place::At { split, label } => {
                    match &label {
                        None => unlabelled += u64::from(self.labelled),
                        Some(label) if only.as_ref().is_some_and(|o| o.as_ref() == Some(label)) => {}
                        Some(label) => only = Some(only.is_none().then(|| label.clone())),
                    }
                    take(lister, found, split, label)?;
                    continue;
                }
                Place::NoMatch(refusal) => Some(refusal),
                Place::Beside => None,
            };
            if wanted(&found) {
                let beside = || Fault::new(Reason::BadLabel, "it lies beside the class folders and has no class");
                lister.refuse(refusal.unwrap_or_else(|| Refusal::file(found.relative, beside())))?;
            } else {
                unread.get_or_insert((found.relative, 0)).1 += 1;
            }
        }
        if self.tops == Tops::SplitsAndOthers {
            let why = "folders called like splits are read as splits; those beside them hold nothing to read";
            lister.note(format!("{why} (--split-dirs no takes all of them as classes)"));
        }
        if let Some((first, count)) = unread {
            let more = if count > 1 { format!(" and {} more", count - 1) } else { String::new() };
            lister.note(format!("not read, because it has no class and is no media: {first}{more}"));
        }
        if unlabelled > 0 {
            lister.note(format!("{unlabelled} files lie in splits without class folders: their label is null"));
        }
        if let Some(Some(only)) = only {
            lister.note(format!("there is one class only, {only:?}"));
        }
        if !self.labelled {
            lister.note("there are no class folders: the dataset has no label (--label-regex reads it off names)");
        }
        Ok(())
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

fn tops(files: &Files, say: SplitDirs, regex: bool, mut wanted: impl FnMut(&Found) -> bool) -> Result<Tops> {
    let mut tops = BTreeSet::new();
    let (mut classes, mut others, mut splits) = (false, false, false);
    for found in files.iter() {
        let Some((top, rest)) = found.relative.split_once('/') else { continue };
        let split = labels::split_of(top).is_some();
        classes |= rest.contains('/');
        splits |= split && rest.contains('/');
        others |= !split;
        if !tops.contains(top) {
            tops.insert(top.to_owned());
        }
    }
    match say {
        SplitDirs::Yes if tops.is_empty() => {
            Err(Error::config("--split-dirs yes, and there are no folders", "leave --split-dirs away"))
        }
        SplitDirs::Yes => Ok(Tops::Splits),
        SplitDirs::No => Ok(Tops::Classes),
        SplitDirs::Auto if tops.is_empty() => Ok(Tops::Classes),
        SplitDirs::Auto if others => {
            let other =
                |found: &Found| found.relative.split_once('/').is_some_and(|(t, _)| labels::split_of(t).is_none());
            // A README in a folder of its own makes no class of `train`.
            let only = splits && !files.iter().any(|found| other(&found) && wanted(&found));
            Ok(if only { Tops::SplitsAndOthers } else { Tops::Classes })
        }
        SplitDirs::Auto if classes || regex => Ok(Tops::Splits),
        SplitDirs::Auto => {
            let names: Vec<String> = tops.into_iter().collect();
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
    use crate::data::feature::Schema;
    use crate::source::Listing;
    use crate::spool::Spill;

    #[derive(Debug)]
    struct Seen {
        placed: Vec<(String, String, Option<String>)>,
        labelled: bool,
        refused: Vec<Refusal>,
        notes: Vec<String>,
    }

    fn placed(paths: &[&str], options: &SourceOptions) -> Result<Seen> {
        let files = Files::of("/".as_ref(), paths)?;
        let wanted = |f: &Found| f.relative.ends_with("jpg");
        let layout = Layout::of(&files, options, wanted)?;
        let mut placed = Vec::new();
        let mut lister = Lister::new(&Spill::temporary(), &|_| Ok(()));
        layout.each(&files, &mut lister, wanted, |_, found, split, label| {
            placed.push((found.relative, split, label));
            Ok(())
        })?;
        let Listing { refused, notes, .. } = lister.finish(Schema::default())?;
        let refused = refused.iter().collect::<Result<_>>()?;
        Ok(Seen { placed, labelled: layout.labelled, refused, notes })
    }

    fn seen(seen: &Seen) -> Vec<(&str, &str, Option<&str>)> {
        seen.placed.iter().map(|(id, split, label)| (id.as_str(), split.as_str(), label.as_deref())).collect()
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
        let expected = [("test/cat/2.jpg", "test", Some("cat")), ("train/cat/1.jpg", "train", Some("cat"))];
        assert_eq!(seen(&layout), expected);
        assert!(layout.refused.is_empty());
        assert!(layout.notes.iter().any(|n| n.contains("read as splits")), "{:?}", layout.notes);
        assert!(layout.notes.iter().any(|n| n.contains("extras/a/readme.pdf")), "{:?}", layout.notes);
        let media = ["extras/3.jpg", "train/cat/1.jpg", "test/cat/2.jpg"];
        let layout = placed(&media, &SourceOptions::default()).unwrap();
        assert_eq!(seen(&layout)[2], ("train/cat/1.jpg", "train", Some("train")));
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
