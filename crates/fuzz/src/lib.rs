//! What is fuzzed: every codec under limits, every reader of our own files, every source's annotations, every small language.
//!
//! A [`Target`] takes any bytes. It may refuse them; it may not panic (but in a foreign decoder under `guarded`), hang, take more memory than it
//! says, or break a law that it states. `crates/fuzz/run` gives them to libFuzzer, with coverage of our own crates; `tests/corpus.rs` runs what was
//! found before through all targets, without it. A new target is one line in [`targets`].

use std::io;
use std::path::{Path, PathBuf};

mod codecs;
pub mod memory;
mod readers;
mod sources;
mod words;

/// Takes an input; panics if a law is broken.
pub type Run = Box<dyn Fn(&[u8]) + Send + Sync>;

/// Something that takes bytes from outside.
pub struct Target {
    /// What `FEEDSTOCK_FUZZ` and the folders of corpora call it.
    pub name: String,
    /// Bytes that a run may take at once, beside the input.
    pub most: usize,
    /// What is done with an input.
    pub run: Run,
    /// What to begin with, beside the corpus.
    pub seeds: fn(&str) -> Vec<Vec<u8>>,
}

impl std::fmt::Debug for Target {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Target").field("name", &self.name).finish_non_exhaustive()
    }
}

impl Target {
    fn new(
        name: impl Into<String>,
        most: usize,
        run: impl Fn(&[u8]) + Send + Sync + 'static,
        seeds: fn(&str) -> Vec<Vec<u8>>,
    ) -> Self {
        Target { name: name.into(), most, run: Box::new(run), seeds }
    }

    /// Writes the seeds as files of a folder.
    ///
    /// # Errors
    /// What the system says.
    pub fn write_seeds(&self, folder: &Path) -> io::Result<()> {
        std::fs::create_dir_all(folder)?;
        for (number, seed) in (self.seeds)(&self.name).iter().enumerate() {
            std::fs::write(folder.join(format!("seed-{number:03}")), seed)?;
        }
        Ok(())
    }
}

/// All targets.
pub fn targets() -> Vec<Target> {
    let mut all = codecs::targets();
    all.extend(readers::targets());
    all.extend(sources::targets());
    all.extend(words::targets());
    all
}

/// A target by its name.
pub fn target(name: &str) -> Option<Target> {
    targets().into_iter().find(|target| target.name == name)
}

/// A panic in our own code ends the process, also where `guarded` would catch it. One in foreign code is caught there, and an input that makes one is refused.
///
/// # Panics
/// Never.
pub fn end_on_own_panics() {
    let before = std::panic::take_hook();
    // libFuzzer's own hook ends the process at any panic, so it is not asked.
    drop(before);
    std::panic::set_hook(Box::new(|info| {
        let at = info.location().map(std::panic::Location::file).unwrap_or_default();
        // Crates of ours are compiled by paths within the workspace.
        let own = at.starts_with("src/") || at.starts_with("crates/");
        if own || !feedstock::codec::is_guarded() {
            eprintln!("{info}");
            std::process::abort();
        }
    }));
}

/// The repository's fixtures.
fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures")
}

/// The files of a folder and those below it, in order, as far as they are smaller than `most` bytes.
///
/// # Panics
/// Where they cannot be read.
fn files(folder: &Path, most: u64) -> Vec<(PathBuf, Vec<u8>)> {
    let mut all = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).unwrap_or_else(|e| panic!("{}: {e}", folder.display())) {
            let path = entry.expect("an entry of a folder").path();
            if path.is_dir() {
                folders.push(path);
            } else if path.metadata().is_ok_and(|meta| meta.len() < most) {
                let bytes = std::fs::read(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
                all.push((path, bytes));
            }
        }
    }
    all.sort();
    all
}

/// Copies a folder of the fixtures, but for files of `most` bytes or more.
///
/// # Panics
/// Where it cannot be read or written.
fn lay(of: &str, to: &Path, most: u64) {
    let from = fixtures().join(of);
    for (path, bytes) in files(&from, most) {
        let to = to.join(path.strip_prefix(&from).expect("below it"));
        std::fs::create_dir_all(to.parent().expect("a folder")).expect("a folder");
        std::fs::write(to, bytes).expect("a copy");
    }
}
