//! What the benches share: the photos, the process's clocks and memory, medians, tables.
#![allow(dead_code, reason = "each bench uses its own part")]

pub(crate) mod datasets;
pub(crate) mod sample;
pub(crate) mod sparse;

use std::path::{Path, PathBuf};
use std::time::Duration;

use criterion::Criterion;
use feedstock::clock::Mark;

/// Whether this run measures (`cargo bench`), or only shows that the bench works (`cargo bench -- --test`, `--quick`).
pub(crate) fn measures() -> bool {
    let has = |name: &str| std::env::args().any(|a| a == name);
    has("--bench") && !has("--quick") && !has("--test")
}

/// How criterion measures here: a line in two seconds or so, as its numbers are for looking where time goes. Fewer samples than its default would not tell a
/// neighbour on the machine from a change.
pub(crate) fn criterion() -> Criterion {
    Criterion::default().warm_up_time(Duration::from_millis(500)).measurement_time(Duration::from_millis(1_500))
}

/// Rows of datasets from small to very large.
pub(crate) const SIZES: [u64; 7] = [1_000, 10_000, 100_000, 1_000_000, 10_000_000, 100_000_000, 1_000_000_000];

/// A path below `fixtures`.
pub(crate) fn fixture(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures").join(path)
}

/// A file below `fixtures`.
pub(crate) fn bytes_of(path: &str) -> Vec<u8> {
    std::fs::read(fixture(path)).expect("a fixture")
}

/// The photos: a folder of class folders.
pub(crate) struct Photos {
    pub(crate) path: PathBuf,
    pub(crate) name: &'static str,
    /// Keeps replicated fixtures while they are read.
    _folder: Option<tempfile::TempDir>,
}

/// The clothing photos if they lie in `shared/` next to the repository (or one folder further out). Otherwise, and where
/// nothing is measured, the JPEG fixtures, `copies` times each.
pub(crate) fn photos(copies: usize) -> Photos {
    let home = Path::new(env!("CARGO_MANIFEST_DIR"));
    let shared = home.ancestors().skip(1).map(|p| p.join("shared/data/clothing")).find(|p| p.is_dir());
    if let Some(path) = shared.filter(|_| measures()) {
        return Photos { path, name: "clothing", _folder: None };
    }
    let folder = tempfile::tempdir().expect("a temporary folder");
    for class in std::fs::read_dir(home.join("fixtures/images/train")).expect("fixtures/images").flatten() {
        let target = folder.path().join("train").join(class.file_name());
        std::fs::create_dir_all(&target).expect("a class folder");
        for file in std::fs::read_dir(class.path()).expect("a class folder").flatten() {
            let name = file.file_name().into_string().expect("a name in UTF-8");
            if name.ends_with(".jpg") {
                for i in 0..copies {
                    std::fs::copy(file.path(), target.join(format!("{i:04}_{name}"))).expect("a copy");
                }
            }
        }
    }
    Photos { path: folder.path().to_owned(), name: "fixtures/images, replicated", _folder: Some(folder) }
}

/// CPU seconds of this process, all threads, user and system.
pub(crate) fn cpu() -> (f64, f64) {
    // SAFETY: a plain struct of numbers, for which all zeros is a value; the call fills it in.
    let usage = unsafe {
        let mut usage: libc::rusage = std::mem::zeroed();
        libc::getrusage(libc::RUSAGE_SELF, &raw mut usage);
        usage
    };
    let seconds = |t: libc::timeval| t.tv_sec as f64 + t.tv_usec as f64 / 1e6;
    (seconds(usage.ru_utime), seconds(usage.ru_stime))
}

/// What some work cost.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Cost {
    pub(crate) user: f64,
    pub(crate) system: f64,
    pub(crate) wall: f64,
}

impl Cost {
    /// User and system seconds.
    pub(crate) fn cpu(self) -> f64 {
        self.user + self.system
    }
}

/// Runs some work and says what it cost this process.
pub(crate) fn cost<T>(work: impl FnOnce() -> T) -> (Cost, T) {
    let (mark, before) = (Mark::now(), cpu());
    let made = work();
    let (wall, after) = (mark.elapsed().as_secs_f64(), cpu());
    (Cost { user: after.0 - before.0, system: after.1 - before.1, wall }, made)
}

/// A number of `/proc/self/status` in MiB (`VmRSS`, `VmHWM`, `RssAnon`); 0 where there is none.
pub(crate) fn memory(field: &str) -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|l| l.strip_prefix(field)?.strip_prefix(':'));
    let kib = line.and_then(|l| l.trim().trim_end_matches("kB").trim().parse::<f64>().ok());
    kib.unwrap_or(0.0) / 1024.0
}

/// Values of repeated runs.
#[derive(Debug, Clone, Default)]
pub(crate) struct Runs(Vec<f64>);

impl Runs {
    pub(crate) fn push(&mut self, value: f64) {
        self.0.push(value);
    }

    fn sorted(&self) -> Vec<f64> {
        let mut values = self.0.clone();
        values.sort_by(f64::total_cmp);
        values
    }

    /// The middle value (of an even number, the lower of the two).
    pub(crate) fn median(&self) -> f64 {
        let values = self.sorted();
        values.get(values.len().saturating_sub(1) / 2).copied().unwrap_or(f64::NAN)
    }

    /// `median (least to greatest)`.
    pub(crate) fn show(&self, digits: usize) -> String {
        let values = self.sorted();
        let (Some(least), Some(most)) = (values.first(), values.last()) else { return "-".into() };
        format!("{:.digits$} ({least:.digits$} to {most:.digits$})", self.median())
    }
}

/// The machine, the load that others put on it, and the commit, as a line of text.
pub(crate) fn machine() -> String {
    let info = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = info.lines().find_map(|l| l.strip_prefix("model name")?.split_once(':').map(|(_, m)| m.trim()));
    let cores = feedstock::parallel::threads(0);
    let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let load = load.split(' ').next().unwrap_or("?");
    format!("{}, {cores} cores; load average at the start: {load}", model.unwrap_or("an unknown CPU"))
}

/// Prints a row of a markdown table.
pub(crate) fn row<S: AsRef<str>>(cells: &[S]) {
    let cells: Vec<&str> = cells.iter().map(AsRef::as_ref).collect();
    println!("| {} |", cells.join(" | "));
}

/// Prints the head of a markdown table.
pub(crate) fn head(cells: &[&str]) {
    println!();
    row(cells);
    println!("|{}", "---|".repeat(cells.len()));
}
