//! `dsctl log`, `dsctl diff`, `dsctl gc`: the versions of a dataset.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, SystemTime};

use clap::Args;
use feedstock::versions::{Differences, Keep, Side, collect, diff, garbage, log};
use feedstock::{Error, open};
use serde_json::json;

use crate::{Done, Global, output};

/// List the versions of a dataset, newest first: what each one brought.
#[derive(Debug, Args)]
pub(crate) struct Log {
    /// A dataset that dsctl made.
    dataset: PathBuf,
    /// At most so many versions.
    #[arg(long, short = 'n', value_name = "N")]
    limit: Option<usize>,
}

impl Log {
    pub(crate) fn run(self, global: &Global) -> Done {
        let log = log(&self.dataset, self.limit.unwrap_or(usize::MAX))?;
        if global.json {
            output::json(&log)?;
            return Ok(ExitCode::SUCCESS);
        }
        for version in &log {
            let written = version.written.and_then(|s| SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(s)));
            let written = written.map_or_else(String::new, |at| format!(", {}", humantime::format_rfc3339_seconds(at)));
            output::line(format_args!("version {} {}{written}", version.version, &version.digest[..16]));
            let removed = if version.removed > 0 { format!(", -{}", version.removed) } else { String::new() };
            let changed =
                [(version.moved, "moved"), (version.relabelled, "relabelled"), (version.replaced, "replaced")];
            let changed = changed.iter().filter(|(rows, _)| *rows > 0).map(|(rows, what)| format!(", {rows} {what}"));
            output::line(format_args!(
                "  {} rows (+{}{removed}{}), {} new shards, {}",
                version.rows,
                version.added,
                changed.collect::<String>(),
                version.shards,
                output::bytes(version.bytes)
            ));
            for change in &version.schema {
                output::line(format_args!("  {change}"));
            }
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// Compare two versions of a dataset, or two datasets: rows added, removed, moved to another split, relabelled, replaced.
#[derive(Debug, Args)]
#[command(after_help = "\
Lines: + added, - removed, ~ changed. Rows are known by their ids, columns and classes by their names.\n\
Without --from and --to the newest version is compared with the one before it; with OTHER, DATASET is the older one.")]
pub(crate) struct Diff {
    /// A dataset.
    dataset: PathBuf,
    /// Another dataset, the newer one of the two: also a folder of Parquet files, or of raw media.
    other: Option<PathBuf>,
    /// The older version.
    #[arg(long, value_name = "V")]
    from: Option<u64>,
    /// The newer version (the newest).
    #[arg(long, value_name = "V")]
    to: Option<u64>,
    /// Rows that are listed, at most; 0 lists all of them.
    #[arg(long, value_name = "N", default_value_t = 20)]
    limit: u64,
    /// End with exit code 3 if anything differs.
    #[arg(long)]
    exit_code: bool,
}

impl Diff {
    pub(crate) fn run(self, global: &Global) -> Done {
        let (from, to) = self.sides()?;
        let (mut listed, mut seen) = (Vec::new(), 0);
        let found = diff(&from, &to, &mut |change| {
            seen += 1;
            if self.limit == 0 || seen <= self.limit {
                if global.json {
                    listed.push(json!(change));
                } else {
                    output::line(change);
                }
            }
            Ok(())
        })?;
        let named = |side: &Side| json!({"path": side.dataset.root(), "version": side.dataset.version(), "digest": side.dataset.digest()});
        if global.json {
            output::json(&json!({"from": named(&from), "to": named(&to), "differences": found, "rows": listed}))?;
        } else {
            if self.limit > 0 && seen > self.limit {
                output::line(format_args!("... and {} more (--limit)", seen - self.limit));
            }
            told(&from, &to, &found);
        }
        Ok(if self.exit_code && found.any() { ExitCode::from(3) } else { ExitCode::SUCCESS })
    }

    fn sides(&self) -> Result<(Side, Side), Error> {
        let at = |path: &PathBuf, version: Option<u64>| match version {
            Some(version) => Side::version(path, version),
            None => Side::of(open(path)?),
        };
        if let Some(other) = &self.other {
            return Ok((at(&self.dataset, self.from)?, at(other, self.to)?));
        }
        let to = at(&self.dataset, self.to)?;
        let before = to.dataset.version().and_then(|version| version.checked_sub(1)).filter(|before| *before > 0);
        let Some(from) = self.from.or(before) else {
            let what = match to.dataset.version() {
                Some(version) => format!("version {version} of {} has none before it", self.dataset.display()),
                None => format!("{} has no versions", self.dataset.display()),
            };
            return Err(Error::config(what, "say what to compare it with: `dsctl diff DATASET OTHER`, or --from"));
        };
        Ok((at(&self.dataset, Some(from))?, to))
    }
}

fn told(from: &Side, to: &Side, found: &Differences) {
    for change in &found.schema {
        output::line(change);
    }
    let name = |side: &Side| {
        let version = side.dataset.version().map_or_else(String::new, |version| format!(" version {version}"));
        format!("{}{version}", side.dataset.root().display())
    };
    output::line(format_args!(
        "{} -> {}: {} added, {} removed, {} changed ({} moved, {} relabelled, {} replaced), {} the same",
        name(from),
        name(to),
        found.added,
        found.removed,
        found.changed,
        found.moved,
        found.relabelled,
        found.replaced,
        found.same
    ));
}

/// Take away what no version needs: shards and segments of ingests that died, and versions that are no longer wanted.
#[derive(Debug, Args)]
#[command(after_help = "\
Nothing is taken without --yes. What is younger than --min-age stays, and what the journal of an ingest names: it has shards that no version names yet.\n\
With --unfinished no ingest may be at work, nor, with --min-age below the time it takes, a program that writes through the crate.\n\
What an ingest saw of the files of its source (`seen`) goes with the version that it was the newest for: the next ingest of that source reads them all.\n\
A training run that has an expired version open fails at the next shard that it opens.")]
pub(crate) struct Gc {
    /// A dataset that dsctl made.
    dataset: PathBuf,
    /// Keep the newest N versions, and let the others expire (all are kept).
    #[arg(long, value_name = "N")]
    keep: Option<u64>,
    /// Leave what was written within this time: 30m, 12h, 7d.
    #[arg(long, value_name = "TIME", default_value = "1d", value_parser = humantime::parse_duration)]
    min_age: Duration,
    /// Take also what unfinished ingests have made: their reruns begin anew.
    #[arg(long)]
    unfinished: bool,
    /// Take it away; without, it is only listed.
    #[arg(long, short)]
    yes: bool,
}

impl Gc {
    pub(crate) fn run(self, global: &Global) -> Done {
        let keep = Keep { versions: self.keep, younger: self.min_age, unfinished: !self.unfinished };
        let found = garbage(&self.dataset, keep)?;
        let taken = if self.yes { Some(collect(&self.dataset, &found)?) } else { None };
        if global.json {
            output::json(&json!({"garbage": found, "taken": taken}))?;
            return Ok(ExitCode::SUCCESS);
        }
        for waste in &found.files {
            output::line(format_args!("{}  {}  {}", waste.kind, waste.path, output::bytes(waste.bytes)));
        }
        let done = match taken {
            Some(taken) => format!("{} files taken away", taken.files),
            None if found.files.is_empty() => "nothing to take away".to_owned(),
            None => "--yes takes them away".to_owned(),
        };
        output::line(format_args!(
            "{}: {} files, {} that no version needs, {done}",
            self.dataset.display(),
            found.files.len(),
            output::bytes(found.bytes)
        ));
        if let Some(temporaries) = taken.map(|taken| taken.temporaries).filter(|n| *n > 0) {
            output::note(global, format!("note: and {temporaries} temporaries of processes that died"));
        }
        if found.young > 0 {
            let age = humantime::format_duration(self.min_age);
            output::note(global, format!("note: {} more are younger than {age} (--min-age)", found.young));
        }
        if found.unfinished > 0 {
            let what = "shards are those of unfinished ingests, whose reruns go on with them (--unfinished)";
            output::note(global, format!("note: {} {what}", found.unfinished));
        }
        Ok(ExitCode::SUCCESS)
    }
}
