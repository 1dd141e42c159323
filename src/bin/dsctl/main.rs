//! `dsctl`: raw labeled media into datasets, and datasets into batches, from a terminal or CI.
//!
//! Results go to stdout, progress and messages to stderr. Exit codes: 0 ok, 1 runtime, 2 usage or configuration, 3 data
//! problems found, 4 commit conflict, 5 quarantine over the limit, 130 interrupted.

use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};
use feedstock::Error;

mod bench;
mod chosen;
mod compact;
mod dedup;
mod detect;
mod doctor;
mod export;
mod head;
mod ingest;
mod inspect;
mod list;
mod load;
mod ls;
mod manual;
mod merge;
mod output;
mod plan;
mod prepare;
mod quarantine;
mod relabel;
mod remove;
mod schema;
mod source;
mod split;
mod stats;
#[cfg(feature = "tokenizers")]
mod tokenizer;
mod validate;
mod verify;
mod versions;

/// Turns raw labeled media into Parquet datasets, and streams them, deterministically, into training.
#[derive(Debug, Parser)]
#[command(name = "dsctl", version, max_term_width = 110, after_help = EXIT_CODES)]
struct Cli {
    #[command(flatten)]
    global: Global,
    #[command(subcommand)]
    verb: Verb,
}

const EXIT_CODES: &str = "Exit codes: 0 ok, 1 runtime or I/O error, 2 usage or configuration, 3 data problems found, \
4 commit conflict, 5 quarantine over the limit (nothing committed; a rerun continues), 130 interrupted.\n\n\
What a flag does not say, its environment variable does (DSCTL_THREADS and others, in each verb's help), then the file of --config or \
--recipe, then the default.";

/// Flags that every verb takes.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Everywhere")]
struct Global {
    /// Print the result as JSON.
    #[arg(long, global = true)]
    json: bool,
    /// No progress, no notes: only results and errors.
    #[arg(long, short, global = true)]
    quiet: bool,
    /// How progress is shown on stderr (auto: a bar on a terminal, lines elsewhere).
    #[arg(long, global = true, value_enum, env = "DSCTL_PROGRESS", default_value_t = output::Progress::Auto)]
    progress: output::Progress,
    /// Worker threads (0: one for each core).
    #[arg(long, global = true, value_name = "N", env = "DSCTL_THREADS")]
    threads: Option<usize>,
}

#[derive(Debug, Subcommand)]
enum Verb {
    Detect(Box<detect::Detect>),
    Ingest(Box<ingest::Ingest>),
    Quarantine(quarantine::Quarantine),
    #[command(hide = true)]
    Isolated(ingest::Isolated),
    Load(Box<load::Load>),
    Bench(Box<bench::Bench>),
    Plan(Box<plan::PlanVerb>),
    Ls(ls::Ls),
    Head(head::Head),
    Inspect(inspect::Inspect),
    Schema(schema::SchemaVerb),
    Stats(stats::StatsVerb),
    Verify(verify::Verify),
    Validate(Box<validate::Validate>),
    Dedup(dedup::Dedup),
    Log(versions::Log),
    Diff(versions::Diff),
    Gc(versions::Gc),
    Relabel(relabel::Relabel),
    Split(split::Split),
    Rm(remove::Rm),
    Compact(compact::Compact),
    Merge(merge::Merge),
    Export(export::Export),
    #[cfg(feature = "tokenizers")]
    Tokenizer(tokenizer::TokenizerVerb),
    List(list::List),
    Doctor(doctor::Doctor),
    Completions(manual::Completions),
    Man(manual::Man),
}

fn main() -> ExitCode {
    quiet_guarded_panics();
    let cli = Cli::parse();
    let global = &cli.global;
    let done = match cli.verb {
        Verb::Detect(verb) => verb.run(global),
        Verb::Ingest(verb) => verb.run(global),
        Verb::Quarantine(verb) => verb.run(global),
        Verb::Isolated(verb) => verb.run(),
        Verb::Load(verb) => verb.run(global),
        Verb::Bench(verb) => verb.run(global),
        Verb::Plan(verb) => verb.run(global),
        Verb::Ls(verb) => verb.run(global),
        Verb::Head(verb) => verb.run(global),
        Verb::Inspect(verb) => verb.run(global),
        Verb::Schema(verb) => verb.run(global),
        Verb::Stats(verb) => verb.run(global),
        Verb::Verify(verb) => verb.run(global),
        Verb::Validate(verb) => verb.run(global),
        Verb::Dedup(verb) => verb.run(global),
        Verb::Log(verb) => verb.run(global),
        Verb::Diff(verb) => verb.run(global),
        Verb::Gc(verb) => verb.run(global),
        Verb::Relabel(verb) => verb.run(global),
        Verb::Split(verb) => verb.run(global),
        Verb::Rm(verb) => verb.run(global),
        Verb::Compact(verb) => verb.run(global),
        Verb::Merge(verb) => verb.run(global),
        Verb::Export(verb) => verb.run(global),
        #[cfg(feature = "tokenizers")]
        Verb::Tokenizer(verb) => verb.run(global),
        Verb::List(verb) => verb.run(global),
        Verb::Doctor(verb) => verb.run(global),
        Verb::Completions(verb) => verb.run(),
        Verb::Man(verb) => verb.run(global),
    };
    match done {
        Ok(code) => code,
        Err(error) => {
            output::error(global, &error);
            ExitCode::from(error.exit_code())
        }
    }
}

/// A decoder's panic is caught and becomes a quarantine reason: no report of it on stderr.
fn quiet_guarded_panics() {
    let report = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        if !feedstock::codec::is_guarded() {
            report(info);
        }
    }));
}

/// What a verb returns: the exit code of a run that did what it was asked.
type Done = Result<ExitCode, Error>;

/// Reads a TOML file into a configuration struct; what is wrong is named with file and line.
fn read_toml<T: serde::de::DeserializeOwned>(path: &std::path::Path) -> Result<T, Error> {
    let text = std::fs::read_to_string(path).map_err(|e| Error::io(path, "read", e))?;
    toml::from_str(&text).map_err(|e| {
        Error::config(
            format!("{}: {}", path.display(), e.to_string().trim_end()),
            "schemas/recipe.schema.json lists what a recipe may hold, `dsctl ingest --help` what an ingest takes",
        )
    })
}
