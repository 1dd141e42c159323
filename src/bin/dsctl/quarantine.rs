//! `dsctl quarantine`: what ingests refused.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, Subcommand};
use feedstock::ingest::{MaxErrors, is_unfinished, recorded, retry};
use feedstock::quarantine::{Refused, Run, runs};
use feedstock::shard::base_name;
use feedstock::{Error, Reason};
use serde_json::{Value, json};

use crate::ingest::{IngestFlags, watched};
use crate::{Done, Global, output};

/// See what ingests refused, get the bytes out, and take in again what is good by now.
#[derive(Debug, Args)]
pub(crate) struct Quarantine {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    Ls(Ls),
    Show(Show),
    Retry(Box<Retry>),
}

impl Quarantine {
    pub(crate) fn run(self, global: &Global) -> Done {
        match self.what {
            What::Ls(verb) => verb.run(global),
            What::Show(verb) => verb.run(global),
            What::Retry(verb) => verb.run(global),
        }
    }
}

/// List what each ingest refused: counts by reason and by class, or the entries.
#[derive(Debug, Args)]
#[command(after_help = "\
The files are DATASET/.dsctl/quarantine/RUN.parquet (with the bytes that were refused) and RUN.jsonl (without), for other tools.")]
struct Ls {
    /// A dataset that dsctl made.
    dataset: PathBuf,
    /// Only this run.
    #[arg(long)]
    run: Option<String>,
    /// Only what was refused for this reason, by its code (truncated, unknown-format, ...).
    #[arg(long, value_name = "CODE")]
    reason: Option<String>,
    /// Only entries of this class.
    #[arg(long)]
    class: Option<String>,
    /// List the entries.
    #[arg(long)]
    rows: bool,
    /// At most so many of each run; 0 lists all of them.
    #[arg(long, value_name = "N", default_value_t = 20)]
    limit: u64,
}

/// What a run refused, counted.
#[derive(Default)]
struct Counts {
    refused: u64,
    /// Rows that it stands for.
    rows: u64,
    kept: u64,
    kept_bytes: u64,
    reasons: BTreeMap<String, u64>,
    classes: BTreeMap<String, u64>,
    /// Of no class, or of one that nobody knows.
    classless: u64,
}

impl Counts {
    fn add(&mut self, refused: &Refused) {
        self.refused += 1;
        self.rows += refused.rows.unwrap_or(1);
        self.kept += u64::from(refused.kept.is_some());
        self.kept_bytes += refused.kept.unwrap_or(0);
        *self.reasons.entry(refused.reason.clone()).or_default() += 1;
        match &refused.class {
            Some(class) => *self.classes.entry(class.clone()).or_default() += 1,
            None => self.classless += 1,
        }
    }
}

impl Ls {
    fn run(self, global: &Global) -> Done {
        if let Some(code) = self.reason.as_ref().filter(|code| Reason::from_code(code).is_none()) {
            let codes: Vec<&str> = Reason::ALL.iter().map(|reason| reason.code()).collect();
            return Err(Error::config(
                format!("there is no reason {code:?}"),
                format!("there are: {}", codes.join(", ")),
            ));
        }
        let (mut told, mut any) = (Vec::new(), false);
        for run in chosen(&self.dataset, self.run.as_deref())? {
            any = true;
            let (mut counts, mut rows) = (Counts::default(), Vec::new());
            run.each(&mut |_, refused| {
                let is = |wanted: &Option<String>, own: Option<&String>| wanted.is_none() || wanted.as_ref() == own;
                if is(&self.reason, Some(&refused.reason)) && is(&self.class, refused.class.as_ref()) {
                    counts.add(&refused);
                    if self.rows && (self.limit == 0 || counts.refused <= self.limit) {
                        rows.push(refused);
                    }
                }
                Ok(())
            })?;
            let unfinished = is_unfinished(&self.dataset, &run.key)?;
            if global.json {
                told.push(self.json(&run, &counts, unfinished, &rows));
            } else {
                self.tell(&run, &counts, unfinished, &rows);
            }
        }
        if global.json {
            output::json(&told)?;
        } else if !any {
            output::note(global, "note: nothing is in the quarantine");
        }
        Ok(ExitCode::SUCCESS)
    }

    fn json(&self, run: &Run, counts: &Counts, unfinished: bool, rows: &[Refused]) -> Value {
        let source = run.head.as_ref().and_then(|head| head.source.as_ref());
        let mut told = json!({
            "run": run.key, "source": source, "unfinished": unfinished, "refused": counts.refused, "rows": counts.rows,
            "kept": counts.kept, "kept_bytes": counts.kept_bytes, "reasons": counts.reasons, "classes": counts.classes,
            "classless": counts.classless,
        });
        if self.rows {
            told["entries"] = json!(rows);
        }
        told
    }

    fn tell(&self, run: &Run, counts: &Counts, unfinished: bool, rows: &[Refused]) {
        let source = run.head.as_ref().and_then(|head| head.source.as_ref());
        let source = source.map_or_else(String::new, |source| format!(" of {}", plain(source)));
        let rows_too = if counts.rows > counts.refused { format!(" ({} rows)", counts.rows) } else { String::new() };
        let kept = match (counts.kept, &run.head) {
            (_, None) => "an older version's list without bytes".to_owned(),
            (0, _) => "no bytes are kept".to_owned(),
            (kept, _) => format!("bytes of {kept} are kept ({})", output::bytes(counts.kept_bytes)),
        };
        let state = if unfinished { "; its ingest has committed nothing" } else { "" };
        output::line(format_args!("{}: {} refused{rows_too}{source}, {kept}{state}", run.key, counts.refused));
        for (reason, count) in &counts.reasons {
            output::line(format_args!("  reason {:<16} {count}", plain(reason)));
        }
        for (class, count) in &counts.classes {
            output::line(format_args!("  class  {:<16} {count}", plain(class)));
        }
        if counts.classless > 0 && !counts.classes.is_empty() {
            output::line(format_args!("  of no class, or of an unknown one: {}", counts.classless));
        }
        for refused in rows {
            let class = refused.class.as_deref().map_or_else(String::new, plain);
            let [id, reason, message] = [&refused.id, &refused.reason, &refused.message].map(|text| plain(text));
            output::line(format_args!("  {id}\t{reason}\t{class}\t{message}"));
        }
        let more = counts.refused - rows.len() as u64;
        if self.rows && more > 0 {
            output::line(format_args!("  ... and {more} more (--limit)"));
        }
    }
}

/// The runs of a dataset, or the one that is named.
fn chosen(dataset: &Path, run: Option<&str>) -> Result<Vec<Run>, Error> {
    if !dataset.join(".dsctl").is_dir() {
        let what = format!("{} is no dataset that dsctl made", dataset.display());
        return Err(Error::config(what, "a quarantine is in the dataset whose ingest refused something"));
    }
    match run {
        Some(key) => Ok(vec![Run::open(dataset, key)?]),
        None => runs(dataset),
    }
}

/// Text of a stranger as one line that does nothing to a terminal.
fn plain(text: &str) -> String {
    text.chars().flat_map(|c| if c.is_control() { c.escape_default().collect() } else { vec![c] }).collect()
}

/// Show a refused entry: all that is known of it, and its first bytes; or write out the bytes that were refused.
#[derive(Debug, Args)]
struct Show {
    /// A dataset that dsctl made.
    dataset: PathBuf,
    /// The entry's id, as `ls --rows` gives it.
    id: String,
    /// Only of this run.
    #[arg(long)]
    run: Option<String>,
    /// Write the bytes into this file, which must not be there.
    #[arg(long, short, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Write them into a folder, under a name of plain characters that ends in .refused, so that nothing opens it unasked.
    #[arg(long, value_name = "DIR", conflicts_with = "output")]
    extract: Option<PathBuf>,
}

impl Show {
    fn run(self, global: &Global) -> Done {
        let mut found = Vec::new();
        for run in chosen(&self.dataset, self.run.as_deref())? {
            run.each(&mut |at, refused| {
                if refused.id == self.id {
                    found.push((run.clone(), at, refused));
                }
                Ok(())
            })?;
        }
        if found.is_empty() {
            let what = format!("nothing with the id {:?} is in the quarantine", self.id);
            return Err(Error::config(what, "`dsctl quarantine ls --rows` lists what is"));
        }
        if found.len() > 1 && self.output.is_some() {
            let runs: Vec<&str> = found.iter().map(|(run, ..)| run.key.as_str()).collect();
            let what = format!("{} entries have the id {:?}, in {}", found.len(), self.id, runs.join(", "));
            return Err(Error::config(what, "say which by --run, or write all of them by --extract DIR"));
        }
        let mut told = Vec::new();
        for (run, at, refused) in &found {
            let original = run.original(*at)?;
            let file = self.write(&run.key, *at, refused, original.as_deref())?;
            if global.json {
                let head = original.as_deref().map(|bytes| hex(&bytes[..bytes.len().min(64)]));
                told.push(json!({"run": run.key, "entry": refused, "first_bytes": head, "file": file}));
            } else {
                tell(run, refused, original.as_deref(), file.as_deref());
            }
        }
        if global.json {
            output::json(&told)?;
        }
        Ok(ExitCode::SUCCESS)
    }

    /// Writes the bytes, if that is asked for, and says where.
    fn write(&self, run: &str, at: u64, refused: &Refused, bytes: Option<&[u8]>) -> Result<Option<PathBuf>, Error> {
        let path = match (&self.output, &self.extract) {
            (Some(file), _) => file.clone(),
            (None, Some(folder)) => folder.join(safe_name(run, at, &refused.id)),
            (None, None) => return Ok(None),
        };
        let Some(bytes) = bytes else {
            let what = format!("no bytes of {:?} are kept", refused.id);
            return Err(Error::config(
                what,
                "an ingest keeps them up to --quarantine-bytes and --quarantine-total-bytes",
            ));
        };
        if let Some(folder) = &self.extract {
            std::fs::create_dir_all(folder).map_err(|e| Error::io(folder, "create folder", e))?;
        }
        let made = std::fs::File::create_new(&path).map_err(|e| Error::io(&path, "create", e));
        made?.write_all(bytes).map_err(|e| Error::io(&path, "write", e))?;
        Ok(Some(path))
    }
}

/// A file name of letters, digits, `.`, `_` and `-` that no program takes for something to open.
fn safe_name(run: &str, at: u64, id: &str) -> String {
    let plain = |c: char| if c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-') { c } else { '_' };
    let name: String = base_name(id).chars().map(plain).take(80).collect();
    format!("{}-{at}-{name}.refused", run.chars().map(plain).collect::<String>())
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn tell(run: &Run, refused: &Refused, original: Option<&[u8]>, file: Option<&Path>) {
    let Refused { id, reason, message, origin, line, column, split, class, recording, rows, bytes, kept, .. } = refused;
    let number = |n: &Option<u64>| n.map(|n| n.to_string());
    let text = |text: &Option<String>| text.clone();
    let source = run.head.as_ref().and_then(|head| head.source.clone());
    for (name, value) in [
        ("id", Some(id.clone())),
        ("reason", Some(reason.clone())),
        ("message", Some(message.clone())),
        ("origin", Some(origin.clone())),
        ("line", number(line)),
        ("column", text(column)),
        ("split", text(split)),
        ("class", text(class)),
        ("recording", text(recording)),
        ("rows", number(rows)),
        ("bytes", number(bytes)),
        ("kept", Some(kept.unwrap_or(0).to_string())),
        ("run", Some(run.key.clone())),
        ("source", source),
    ] {
        if let Some(value) = value {
            output::line(format_args!("{name:<10} {}", plain(&value)));
        }
    }
    for (at, row) in original.unwrap_or_default()[..original.map_or(0, |b| b.len().min(64))].chunks(16).enumerate() {
        let spaced: Vec<String> = row.iter().map(|byte| format!("{byte:02x}")).collect();
        let shown = |b: &u8| if (0x20..0x7f).contains(b) { char::from(*b) } else { '.' };
        let shown: String = row.iter().map(shown).collect();
        output::line(format_args!("  {:04x}  {:<47}  {shown}", at * 16, spaced.join(" ")));
    }
    if let Some(file) = file {
        let whole = kept == bytes;
        let part = if whole { "" } else { " (the beginning: the ingest kept no more)" };
        output::line(format_args!("written to {}{part}", file.display()));
    }
}

/// Take in again what was refused, and nothing else: what is good now becomes a version and leaves the quarantine.
///
/// The source is read where the ingest found it, under its options, unless told otherwise. What is refused still stays, with the
/// reason that it has now; so does what the source has no more.
#[derive(Debug, Args)]
#[command(after_help = "\
Any number may be refused again, unless --max-errors says how many (exit code 5: nothing is committed, the quarantine stays).\n\
A run whose ingest committed nothing is not retried: run that ingest again.")]
struct Retry {
    /// A dataset that dsctl made.
    dataset: PathBuf,
    /// Only this run (all whose ingests committed).
    #[arg(long)]
    run: Option<String>,
    /// Where the source is now, if it was moved.
    #[arg(long, value_name = "PATH")]
    source: Option<PathBuf>,
    #[command(flatten)]
    flags: IngestFlags,
}

impl Retry {
    fn run(self, global: &Global) -> Done {
        let mut work = Vec::new();
        let runs = chosen(&self.dataset, self.run.as_deref())?;
        if self.source.is_some() && self.run.is_none() && runs.len() > 1 {
            let keys: Vec<&str> = runs.iter().map(|run| run.key.as_str()).collect();
            return Err(Error::config(
                format!("--source for {} runs, which may be of several sources", runs.len()),
                format!("say with --run which one was moved there: {}", keys.join(", ")),
            ));
        }
        for run in runs {
            if self.run.is_none() && is_unfinished(&self.dataset, &run.key)? {
                output::note(global, format!("note: the ingest {} has committed nothing: run it again", run.key));
                continue;
            }
            let mut options = self.flags.options(recorded(&run)?, global)?;
            options.max_errors = self.flags.max_errors.unwrap_or(MaxErrors::ALL);
            let source = self.source.clone().or_else(|| run.head.as_ref()?.source.clone().map(PathBuf::from));
            if let Some(source) = source {
                output::note(global, format!("note: reading {} again", plain(&source.to_string_lossy())));
            }
            work.push((run, options));
        }
        if work.is_empty() {
            output::note(global, "note: there is nothing to take in again");
        }
        let (done, failed) = watched(global, |control| {
            let mut done = Vec::new();
            for (run, options) in &work {
                match retry(&self.dataset, run, self.source.as_deref(), options, control) {
                    Ok(retried) => done.push(retried),
                    // What others did before is committed, and is told.
                    Err(error) => return Ok((done, Some(error))),
                }
            }
            Ok((done, None))
        })?;
        if global.json {
            return match failed {
                Some(error) => Err(error),
                None => output::json(&done).map(|()| ExitCode::SUCCESS),
            };
        }
        for retried in &done {
            for text in &retried.summary.notes {
                output::note(global, format!("note: {text}"));
            }
            let summary = &retried.summary;
            let what = match summary.rows {
                0 => format!("no new rows (version {})", summary.version),
                rows => format!("{rows} rows added (version {})", summary.version),
            };
            let there = match summary.skipped {
                0 => String::new(),
                skipped => format!(", {skipped} were there already{}", crate::ingest::unread(summary)),
            };
            let missing = match retried.missing {
                0 => String::new(),
                missing => format!(", {missing} the source has no more"),
            };
            output::line(format_args!(
                "{}: run {}: of {} refusals, {what}{there}; {} are refused still{missing}",
                self.dataset.display(),
                retried.run,
                retried.before,
                summary.quarantined
            ));
        }
        failed.map_or(Ok(ExitCode::SUCCESS), Err)
    }
}
