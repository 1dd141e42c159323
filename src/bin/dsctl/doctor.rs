//! `dsctl doctor`: whether this machine, and a place for datasets, have what is needed.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;
use feedstock::recipe::Recipe;
use feedstock::store::Store;
use feedstock::{Error, augment, parallel};
use serde::Serialize;

use crate::{Done, Global, output};

/// Look at this machine and at a place for datasets: threads, memory, temporary files, space, and what commits need of a file
/// system. Exit code 1 if something is wrong.
#[derive(Debug, Args)]
pub(crate) struct Doctor {
    /// A folder for datasets, or a dataset: it is tried in a temporary folder inside, which is removed again.
    place: Option<PathBuf>,
}

/// One thing that was looked at.
#[derive(Debug, Serialize)]
struct Finding {
    what: &'static str,
    ok: bool,
    found: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    help: Option<String>,
}

impl Finding {
    fn fine(what: &'static str, found: impl Into<String>) -> Self {
        Finding { what, ok: true, found: found.into(), help: None }
    }

    fn of(what: &'static str, found: Result<String, Error>, help: &str) -> Self {
        match found {
            Ok(found) => Finding::fine(what, found),
            Err(error) => Finding { what, ok: false, found: error.to_string(), help: Some(help.to_owned()) },
        }
    }
}

impl Doctor {
    pub(crate) fn run(self, global: &Global) -> Done {
        let mut findings = vec![
            Finding::fine("build", build()),
            Finding::fine("threads", format!("{} at once", parallel::threads(global.threads.unwrap_or(0)))),
            Finding::fine(
                "float DSP",
                format!("{} (log-mel and resampling are bit-equal within it)", augment::numerics()),
            ),
            memory(),
            Finding::of(
                "temporary files",
                temporary(),
                "set TMPDIR to a folder that can be written; raw folders and `detect --list` need it",
            ),
        ];
        if let Some(place) = &self.place {
            let help = "datasets need a local (or POSIX network) file system with hard links, rename and fsync that this user may write to";
            findings.push(Finding::of("place", commits(place), help));
        }
        let fine = findings.iter().all(|f| f.ok);
        if global.json {
            output::json(&findings)?;
        } else {
            for Finding { what, ok, found, help } in &findings {
                output::line(format_args!("{} {what}: {found}", if *ok { "ok  " } else { "FAIL" }));
                if let Some(help) = help {
                    output::line(format_args!("     help: {help}"));
                }
            }
        }
        Ok(if fine { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }
}

fn build() -> String {
    let features = [
        ("image", cfg!(feature = "image")),
        ("exr", cfg!(feature = "exr")),
        ("avif", cfg!(feature = "avif")),
        ("libwebp", cfg!(feature = "libwebp")),
        ("audio", cfg!(feature = "audio")),
        ("opus", cfg!(feature = "opus")),
        ("video", cfg!(feature = "video")),
        ("av1", cfg!(feature = "av1")),
        ("ffmpeg", cfg!(feature = "ffmpeg")),
        ("text", cfg!(feature = "text")),
        ("tokenizers", cfg!(feature = "tokenizers")),
        ("ndarray", cfg!(feature = "ndarray")),
    ];
    #[cfg(feature = "ffmpeg")]
    let ffmpeg = format!(", FFmpeg {}", feedstock::codec::video::ffmpeg::version());
    #[cfg(not(feature = "ffmpeg"))]
    let ffmpeg = "";
    let on: Vec<&str> = features.iter().filter(|(_, on)| *on).map(|(name, _)| *name).collect();
    format!(
        "feedstock {} for {}-{}, features {}{ffmpeg}",
        env!("CARGO_PKG_VERSION"),
        std::env::consts::ARCH,
        std::env::consts::OS,
        on.join(", ")
    )
}

/// The memory that a load's default budget has to fit in.
fn memory() -> Finding {
    let budget = Recipe::default().run.memory;
    let Some(available) = available() else {
        return Finding::fine("memory", format!("unknown here; a load plans with {}", output::bytes(budget)));
    };
    let found = format!("{} available, a load plans with {}", output::bytes(available), output::bytes(budget));
    if available > budget {
        return Finding::fine("memory", found);
    }
    let help = format!("give `dsctl load --memory {}` or less", (available / 2) >> 20);
    Finding { what: "memory", ok: false, found, help: Some(help) }
}

/// Bytes that this process may still take, as Linux says: of the machine, and of its control group.
fn available() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/meminfo").ok()?;
    let line = text.lines().find(|l| l.starts_with("MemAvailable:"))?;
    let machine = line.split_whitespace().nth(1)?.parse::<u64>().ok()?.checked_mul(1024)?;
    let number = |path: &str| std::fs::read_to_string(path).ok()?.trim().parse::<u64>().ok();
    let limit = number("/sys/fs/cgroup/memory.max");
    let group = limit.map(|limit| limit.saturating_sub(number("/sys/fs/cgroup/memory.current").unwrap_or(0)));
    Some(group.map_or(machine, |group| group.min(machine)))
}

fn free(path: &Path) -> Result<u64, Error> {
    let stat = rustix::fs::statvfs(path).map_err(|e| Error::io(path, "look at", e.into()))?;
    Ok(stat.f_bavail.saturating_mul(stat.f_frsize))
}

fn temporary() -> Result<String, Error> {
    let folder = std::env::temp_dir();
    tempfile::tempfile_in(&folder).map_err(|e| Error::io(&folder, "make a temporary file in", e))?;
    Ok(format!("{}, {} free", folder.display(), output::bytes(free(&folder)?)))
}

/// Does in a temporary folder what a commit does.
fn commits(place: &Path) -> Result<String, Error> {
    let folder = place.ancestors().find(|p| p.is_dir()).unwrap_or(Path::new("."));
    let inside = tempfile::Builder::new().prefix(".dsctl-doctor-").tempdir_in(folder);
    let inside = inside.map_err(|e| Error::io(folder, "make a folder in", e))?;
    let store = Store::open(inside.path());
    store.put("a/shard", b"1")?;
    let (first, second) = (store.create_new("a/root", b"1")?, store.create_new("a/root", b"2")?);
    store.append("a/journal", &[b"1\n"])?;
    store.append("a/journal", &[b"2\n"])?;
    if (first, second) != (true, false) || store.read("a/root")? != b"1" || store.read("a/journal")? != b"1\n2\n" {
        return Err(Error::config(
            format!("{}: what was written is not what is read", folder.display()),
            "do not keep datasets on this file system",
        ));
    }
    let free = output::bytes(free(folder)?);
    inside.close().map_err(|e| Error::io(folder, "remove a folder in", e))?;
    Ok(format!("{}: hard links, rename, append and sync work, {free} free", folder.display()))
}
