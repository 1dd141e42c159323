//! Names of classes and splits.

use std::collections::{BTreeSet, HashMap};

use regex::Regex;

use super::{Refusal, SourceOptions};
use crate::error::{Error, Fault, Reason, Result};

/// Columns and fields that hold the class, unless told.
pub(super) const LABELS: &[&str] = &["label", "class", "category"];

/// The order of class names: integers by number if all are, else bytes.
pub(super) fn ordered(names: BTreeSet<String>) -> Vec<String> {
    let mut names: Vec<String> = names.into_iter().collect();
    if names.iter().all(|n| integer(n).is_some()) {
        names.sort_by_key(|n| integer(n));
    }
    names
}

/// The value of an integer written the one usual way: "7" and "-3", not "007" or "+7".
pub(super) fn integer(text: &str) -> Option<i64> {
    let value: i64 = text.parse().ok()?;
    (value.to_string() == text).then_some(value)
}

/// The names of the classes of one picture's objects, each once, in the order in which they came.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Names {
    list: Vec<String>,
    places: HashMap<String, i64>,
}

impl Names {
    /// The place of a class.
    pub(super) fn place(&mut self, name: &str) -> i64 {
        if let Some(place) = self.places.get(name) {
            return *place;
        }
        let place = self.list.len() as i64;
        self.list.push(name.to_owned());
        self.places.insert(name.to_owned(), place);
        place
    }

    /// The names by their places.
    pub(super) fn into_list(self) -> Vec<String> {
        self.list
    }
}

/// The canonical name of a split that people call by many names; `None` if it is called like no split.
pub(super) fn split_of(name: &str) -> Option<&'static str> {
    match name.to_ascii_lowercase().as_str() {
        "train" | "training" => Some("train"),
        "val" | "valid" | "validation" | "dev" | "eval" => Some("validation"),
        "test" | "testing" => Some("test"),
        _ => None,
    }
}

/// The split that a column, group or flag names: a synonym by its canonical name, else as it is if it can be one.
///
/// # Errors
/// A name that is none.
pub fn split_name(name: &str) -> Result<String, Fault> {
    if let Some(split) = split_of(name) {
        return Ok(split.to_owned());
    }
    let part = |p: &str| !p.is_empty() && p.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
    if name.len() > 100 {
        return Err(Fault::new(Reason::BadLabel, "the name of a split has at most 100 letters"));
    }
    if name.split('.').all(part) {
        Ok(name.to_owned())
    } else {
        Err(Fault::new(Reason::BadLabel, format!("a split cannot be called {name:?}: letters, digits and _ only")))
    }
}

/// The split of `--split`.
pub(super) fn default_split(options: &SourceOptions) -> Result<String> {
    split_name(&options.split).map_err(|fault| Error::config(fault.message, "choose another name for --split"))
}

/// Refuses options of the labels that a source would not read: what was asked for must not be left undone in silence.
pub(super) fn unused(source: &str, options: &[(&str, &Option<String>)]) -> Result<()> {
    match options.iter().find_map(|(flag, value)| value.as_ref().map(|value| (flag, value))) {
        None => Ok(()),
        Some((flag, value)) => Err(Error::config(
            format!("{flag} {value:?} means nothing for {source}"),
            format!("leave {flag} away, or say with --format what the source is"),
        )),
    }
}

/// The options that name a column of a manifest.
pub(super) fn of_manifests(options: &SourceOptions) -> [(&'static str, &Option<String>); 5] {
    [
        ("--label-column", &options.label_column),
        ("--path-column", &options.path_column),
        ("--start-column", &options.start_column),
        ("--end-column", &options.end_column),
        ("--duration-column", &options.duration_column),
    ]
}

/// `--label-regex`.
#[derive(Debug)]
pub(super) struct LabelRegex(Regex);

impl LabelRegex {
    /// The expression of the options, if there is one.
    pub(super) fn new(options: &SourceOptions) -> Result<Option<Self>> {
        let Some(pattern) = &options.label_regex else { return Ok(None) };
        let regex = Regex::new(pattern).map_err(|e| {
            Error::config(format!("--label-regex {pattern:?}: {e}"), "the syntax is that of the Rust crate `regex`")
        })?;
        let groups: Vec<&str> = regex.capture_names().flatten().collect();
        if !groups.contains(&"label") {
            return Err(Error::config(
                format!("--label-regex {pattern:?} has no group named `label`"),
                r"write the part of the file name that is the label as (?P<label>...), for example '(?P<label>\d+)_'",
            ));
        }
        if let Some(other) = groups.iter().find(|g| !matches!(**g, "label" | "split")) {
            return Err(Error::config(
                format!("--label-regex {pattern:?} has a group named `{other}`"),
                "the groups may be called `label` and `split`; write other groups as (?:...)",
            ));
        }
        Ok(Some(LabelRegex(regex)))
    }

    /// Label and split of a file name.
    pub(super) fn read(&self, relative: &str, file_name: &str) -> Result<(String, Option<String>), Refusal> {
        let refuse = |message: String| Refusal::file(relative, Fault::new(Reason::BadLabel, message));
        let captures = self
            .0
            .captures(file_name)
            .ok_or_else(|| refuse(format!("--label-regex does not match the file name {file_name:?}")))?;
        let label = captures.name("label").map_or("", |m| m.as_str());
        if label.is_empty() {
            return Err(refuse(format!("--label-regex finds an empty label in {file_name:?}")));
        }
        let split = captures.name("split").map(|m| split_name(m.as_str())).transpose();
        let split = split.map_err(|fault| Refusal::file(relative, fault))?;
        Ok((label.to_owned(), split))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn integers_are_ordered_by_number_and_all_else_by_bytes() {
        let set = |names: &[&str]| names.iter().map(|n| (*n).to_owned()).collect::<BTreeSet<_>>();
        assert_eq!(ordered(set(&["10", "2", "-1"])), ["-1", "2", "10"]);
        assert_eq!(ordered(set(&["10", "02", "b", "B"])), ["02", "10", "B", "b"]);
    }

    #[test]
    fn splits_have_one_name_each() {
        assert_eq!(split_name("Dev").unwrap(), "validation");
        assert_eq!(split_name("fold_1.a").unwrap(), "fold_1.a");
        for bad in ["hold-out", "", "a..b", "../x", "ü"] {
            assert_eq!(split_name(bad).unwrap_err().reason, Reason::BadLabel, "{bad}");
        }
    }

    #[test]
    fn options_that_a_source_does_not_read_are_refused_by_name() {
        use crate::source::{folder::Folder, listing::listed, manifest::Manifest, text::Text};
        let dir = tempfile::tempdir().unwrap();
        let (table, text) = (dir.path().join("m.csv"), dir.path().join("a.txt"));
        std::fs::write(&table, "text,label\nx,y\n").unwrap();
        std::fs::write(&text, "x\n").unwrap();
        let some = || Some("(?P<label>.)".to_owned());
        let regex = SourceOptions { label_regex: some(), ..Default::default() };
        let label = SourceOptions { label_column: some(), ..Default::default() };
        let path = SourceOptions { path_column: some(), ..Default::default() };
        for (result, flag) in [
            (listed(&Folder, dir.path(), &label), "--label-column"),
            (listed(&Folder, dir.path(), &path), "--path-column"),
            (listed(&Text, dir.path(), &label), "--label-column"),
            (listed(&Text, &text, &path), "--path-column"),
            (listed(&Text, &text, &regex), "--label-regex"),
            (listed(&Manifest, &table, &regex), "--label-regex"),
        ] {
            let error = result.map(|_| ()).unwrap_err();
            assert!(error.exit_code() == 2 && error.to_string().contains(flag), "{error}");
        }
        listed(&Text, dir.path(), &regex).unwrap();
    }

    #[test]
    fn a_regex_needs_its_group() {
        let options = |p: &str| SourceOptions { label_regex: Some(p.into()), ..Default::default() };
        for bad in ["(", r"(\d)", r"(?P<label>\d)(?P<speaker>.)"] {
            assert_eq!(LabelRegex::new(&options(bad)).unwrap_err().exit_code(), 2, "{bad}");
        }
        let regex = LabelRegex::new(&options(r"^(?P<label>\d)_(?P<split>train|dev)?")).unwrap().unwrap();
        assert_eq!(regex.read("x/7_dev.wav", "7_dev.wav").unwrap(), ("7".into(), Some("validation".into())));
        assert_eq!(regex.read("x/a.wav", "a.wav").unwrap_err().fault.reason, Reason::BadLabel);
    }
}
