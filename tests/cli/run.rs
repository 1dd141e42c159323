//! Runs the command and looks at what it left.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

/// Runs `dsctl` with the given arguments (anything an `OsString` can be made of).
macro_rules! dsctl {
    ($($arg:expr),+ $(,)?) => { $crate::run::run(&[$(std::ffi::OsString::from(&$arg)),+]) };
}

/// The command, for those who start it themselves.
pub(crate) fn command() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_dsctl"));
    command.env_remove("RUST_BACKTRACE").stdin(std::process::Stdio::null());
    command
}

/// How a run ended.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) code: Option<i32>,
    pub(crate) out: String,
    pub(crate) err: String,
}

pub(crate) fn run(args: &[OsString]) -> Ran {
    let done = command().args(args).output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    let ran = Ran { code: done.status.code(), out: text(done.stdout), err: text(done.stderr) };
    assert!(!ran.err.contains("panicked"), "{args:?}: {}", ran.err);
    ran
}

impl Ran {
    /// It went well.
    pub(crate) fn ok(self) -> Self {
        self.ended(0)
    }

    /// It ended with this exit code.
    pub(crate) fn ended(self, code: i32) -> Self {
        assert_eq!(self.code, Some(code), "{self:#?}");
        self
    }

    /// All parts stand in what it said on stderr.
    pub(crate) fn says(self, parts: &[&str]) -> Self {
        for part in parts {
            assert!(self.err.contains(part), "no {part:?} in {self:#?}");
        }
        self
    }

    /// All of stdout as JSON.
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.out).unwrap_or_else(|e| panic!("{e}: {self:#?}"))
    }
}

/// A temporary folder.
pub(crate) fn folder() -> tempfile::TempDir {
    tempfile::tempdir().unwrap()
}

/// Copies files (by path below `fixtures`) into a folder, under a name each.
pub(crate) fn copies(root: &Path, files: &[(&str, &str)]) {
    for (fixture, name) in files {
        let to = root.join(name);
        std::fs::create_dir_all(to.parent().unwrap()).unwrap();
        std::fs::copy(crate::common::fixture(fixture), to).unwrap();
    }
}

/// Every file below a folder with its bytes.
pub(crate) fn files(root: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut all = BTreeMap::new();
    let mut open = vec![root.to_owned()];
    while let Some(folder) = open.pop() {
        for entry in std::fs::read_dir(folder).unwrap().map(Result::unwrap) {
            if entry.file_type().unwrap().is_dir() {
                // What an ingest saw of its source is no part of the dataset, and hangs on when files changed.
                open.extend(
                    Some(entry.path())
                        .filter(|path| !path.ends_with(".dsctl/seen") && !path.ends_with(".dsctl/sources")),
                );
            } else {
                let relative = entry.path().strip_prefix(root).unwrap().to_owned();
                all.insert(relative, std::fs::read(entry.path()).unwrap());
            }
        }
    }
    all
}

/// The rows of a dataset as `ls --rows --json` gives them, by id.
pub(crate) fn rows(dataset: &Path) -> BTreeMap<String, Value> {
    let listed = dsctl!["ls", dataset, "--rows", "--json", "--quiet", "--limit", "1000000"].ok().json();
    let listed = listed.as_array().unwrap().iter();
    listed.map(|row| (row["id"].as_str().unwrap().to_owned(), row.clone())).collect()
}

/// The digest and the version of a dataset.
pub(crate) fn version(dataset: &Path) -> (String, u64) {
    let shown = dsctl!["ls", dataset, "--json"].ok().json();
    (shown["digest"].as_str().unwrap().to_owned(), shown["version"].as_u64().unwrap())
}

/// Changes one byte of a file.
pub(crate) fn flip(path: &Path, at: usize) {
    let mut bytes = std::fs::read(path).unwrap();
    bytes[at] ^= 0x40;
    std::fs::write(path, bytes).unwrap();
}
