//! `dsctl compact`: fewer and fuller shards.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use feedstock::revise::{CompactOptions, compact};
use feedstock::store::Store;
use serde_json::json;

use crate::{Done, Global, output};

/// Put small shards together, as a new version with the same rows.
#[derive(Debug, Args)]
#[command(after_help = "\
Shards below half of --shard-bytes are put together with their neighbours. Rows, ids, labels, splits and draws stay, and so does the order of a split's rows, but of those that \
`dsctl split` moved. With --materialise the splits and values that stand over the files (`dsctl split`, `dsctl relabel`) are written into them, so that other readers of \
Parquet see them; a source that is ingested again is then held against these.")]
pub(crate) struct Compact {
    /// A dataset that dsctl made.
    dataset: PathBuf,
    /// Write the splits and values that stand over the files into them.
    #[arg(long)]
    materialise: bool,
    /// Payload bytes at which a shard is full (64 MiB unless told).
    #[arg(long, value_name = "BYTES")]
    shard_bytes: Option<u64>,
    /// Say what would be written, and change nothing.
    #[arg(long, short = 'n')]
    dry_run: bool,
}

impl Compact {
    pub(crate) fn run(self, global: &Global) -> Done {
        let shard_bytes = self.shard_bytes.unwrap_or(CompactOptions::default().shard_bytes);
        let options = CompactOptions { materialise: self.materialise, shard_bytes, dry_run: self.dry_run };
        let done = compact(&Store::open(&self.dataset), &options)?;
        for note in &done.notes {
            output::note(global, format!("note: {note}"));
        }
        if global.json {
            output::json(&json!({"compacted": done}))?;
            return Ok(ExitCode::SUCCESS);
        }
        let version = output::version_told(done.committed, self.dry_run, done.version, 0);
        let after = if done.after > 0 { format!(", {} after", done.after) } else { String::new() };
        output::line(format_args!(
            "{}: {version}: {} shards{after}; {} written anew ({}){}",
            self.dataset.display(),
            done.before,
            done.rewritten,
            output::bytes(done.bytes),
            if done.materialised > 0 {
                format!(", with the changes of {} rows", done.materialised)
            } else {
                String::new()
            }
        ));
        Ok(ExitCode::SUCCESS)
    }
}
