//! `dsctl detect`: what a path is taken for, and why.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use feedstock::Error;
use feedstock::data::info::Kind;
use feedstock::ingest::IngestOptions;
use feedstock::source::{Choice, Content, EntryCell, Listing, Look, Survey, is_stored, sources, survey};
use feedstock::spool::Spill;
use serde_json::{Value, json};

use crate::source::SourceFlags;
use crate::{Done, Global, output};

/// Say what an ingest would take a path for, with the evidence and the alternatives. Nothing is written.
///
/// Exit code 2 if no source fits, or two fit equally well: then say which with --format.
#[derive(Debug, Args)]
pub(crate) struct Detect {
    /// A folder, an archive, a manifest or a text file.
    source: PathBuf,
    /// List it all, too: splits, columns, classes, and what the listing refuses. Headers and payloads are not read, but for
    /// recordings whose rows are parts of them: these are read once, all of their bytes, and not decoded.
    #[arg(long)]
    list: bool,
    #[command(flatten)]
    flags: SourceFlags,
}

impl Detect {
    pub(crate) fn run(self, global: &Global) -> Done {
        if is_stored(&self.source) {
            return self.stored(global);
        }
        let table = sources();
        let Survey { look, candidates: found, choice, notes } =
            survey(&table, &self.source, self.flags.format.as_deref())?;
        notes.into_iter().for_each(|note| output::note(global, format!("note: {note}")));
        let seen = contents(&look);
        let listed = match &choice {
            Ok(choice) if self.list => Some(self.listed(global, choice)?),
            _ => None,
        };
        let taken = choice.as_ref().ok().map(|c| c.entry.name);
        if global.json {
            let tried: Vec<Value> = found
                .iter()
                .map(|c| json!({"format": c.entry.name, "score": c.evidence.score, "why": c.evidence.why}))
                .collect();
            let mut shown = json!({
                "path": self.source, "format": taken, "candidates": tried,
                "files": {"listed": look.files.len(), "opened": look.count(|_| true), "contents": seen},
            });
            if let Some(listed) = listed {
                shown["listing"] = listed;
            }
            if let Err(error) = &choice {
                shown["error"] = json!(error.to_string());
                shown["exit_code"] = json!(error.exit_code());
            }
            output::json(&shown)?;
        } else {
            self.tell(&look, &seen, taken);
            for candidate in &found {
                let verb = if Some(candidate.entry.name) == taken { "read as" } else { "could be" };
                let evidence = &candidate.evidence;
                output::line(format_args!(
                    "  {verb} {}: {} (score {})",
                    candidate.entry.name, evidence.why, evidence.score
                ));
            }
            if let Some(name) =
                self.flags.format.as_deref().filter(|_| found.iter().all(|c| Some(c.entry.name) != taken))
            {
                output::line(format_args!("  read as {name}: asked for, nothing speaks for it"));
            }
            if let Some(listed) = &listed {
                crate::inspect::show(listed, 1);
            }
        }
        match choice {
            Ok(_) => {
                output::note(global, format!("next: dsctl ingest {} DATASET", self.source.display()));
                Ok(ExitCode::SUCCESS)
            }
            // With --json the error is in the one object on stdout.
            Err(error) if global.json => {
                output::note(global, format!("error: {error}"));
                Ok(ExitCode::from(error.exit_code()))
            }
            Err(error) => Err(error),
        }
    }

    fn tell(&self, look: &Look, seen: &BTreeMap<&'static str, usize>, taken: Option<&str>) {
        let taken = taken.map_or("nothing for certain".to_owned(), |name| format!("a {name} source"));
        let seen: Vec<String> = seen.iter().map(|(what, count)| format!("{count} {what}")).collect();
        output::line(format_args!("{}: {taken}", self.source.display()));
        output::line(format_args!(
            "  {} files listed, {} opened: {}",
            look.files.len(),
            look.count(|_| true),
            seen.join(", ")
        ));
    }

    fn stored(&self, global: &Global) -> Done {
        let dataset = feedstock::open(&self.source)?;
        let what = match dataset.version() {
            Some(version) => format!("a feedstock dataset, version {version}"),
            None => "Parquet, read as it is".to_owned(),
        };
        if global.json {
            output::json(&json!({
                "path": self.source, "format": if dataset.version().is_some() { "feedstock" } else { "parquet" },
                "version": dataset.version(), "rows": dataset.rows(), "candidates": [],
            }))?;
        } else {
            output::line(format_args!("{}: {what}, {} rows", self.source.display(), dataset.rows()));
        }
        output::note(global, format!("next: dsctl ls {}", self.source.display()));
        Ok(ExitCode::SUCCESS)
    }

    fn listed(&self, global: &Global, choice: &Choice) -> Result<Value, Error> {
        let mut options = IngestOptions::default();
        self.flags.apply(&mut options);
        let cancel = output::interrupt()?;
        let meter = output::Meter::new(global, "entries");
        let watch = |entries: u64| {
            meter.count(entries, "entries listed");
            if cancel.load(std::sync::atomic::Ordering::Relaxed) { Err(Error::Interrupted) } else { Ok(()) }
        };
        options.source.validate()?;
        let (spill, threads) = (Spill::temporary(), global.threads.unwrap_or(0));
        let listing = Listing::of_choice(choice, &options.source, &spill, &watch).and_then(|listing| {
            listing.cut(options.source.audio_chunks.as_ref(), &options.limits, threads, &spill, &watch)
        });
        meter.finish();
        let listing = listing?;
        let (mut splits, mut classes) = (BTreeMap::<String, u64>::new(), BTreeMap::<String, u64>::new());
        let class = listing.schema.label();
        for at in 0..listing.entries.len() {
            let entry = listing.entries.get(at)?;
            if let Some(EntryCell::Class(name)) = class.and_then(|c| entry.cells.get(c)) {
                *classes.entry(name.clone()).or_default() += 1;
            }
            *splits.entry(entry.split).or_default() += 1;
        }
        let columns: BTreeMap<&str, &str> =
            listing.schema.columns.iter().map(|c| (c.name.as_str(), c.feature.name())).collect();
        let mut refused = Vec::new();
        for refusal in listing.refused.iter().take(10) {
            let refusal = refusal?;
            refused.push(
                json!({"id": refusal.id, "reason": refusal.fault.reason.code(), "message": refusal.fault.message}),
            );
        }
        Ok(json!({
            "entries": listing.entries.len(), "bytes": listing.entries.bytes(), "splits": splits, "columns": columns,
            "classes": classes, "refused": listing.refused.len(), "refused_first": refused, "notes": listing.notes,
        }))
    }
}

/// How many of the opened files hold what.
fn contents(look: &Look) -> BTreeMap<&'static str, usize> {
    let kinds = [Kind::Image, Kind::Audio, Kind::Video].map(|k| (k.name(), Content::Media(k)));
    let others = [("text", Content::Text), ("empty", Content::Empty), ("of no known kind", Content::Other)];
    let counts = kinds.into_iter().chain(others).map(|(name, content)| (name, look.count(|c| c == content)));
    counts.filter(|(_, count)| *count > 0).collect()
}
