//! `dsctl ls`: what is in a dataset.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use feedstock::data::feature::Feature;
use feedstock::dataset::Dataset;
use feedstock::{Error, open};
use serde_json::{Map, json};

use crate::{Done, Global, output};

/// List what a dataset holds: version, splits, columns and shards, or its rows.
#[derive(Debug, Args)]
pub(crate) struct Ls {
    /// A dataset, a folder of Parquet files, or a raw class folder.
    dataset: PathBuf,
    /// List rows: id, split order, small values.
    #[arg(long)]
    rows: bool,
    /// Only rows of this split.
    #[arg(long)]
    split: Option<String>,
    /// At most so many rows.
    #[arg(long, value_name = "N", default_value_t = 20)]
    limit: usize,
    /// Another version than the latest.
    #[arg(long, value_name = "V")]
    version: Option<u64>,
}

/// Opens a dataset at a version, or the latest.
pub(crate) fn open_at(path: &std::path::Path, version: Option<u64>) -> Result<Dataset, Error> {
    match version {
        Some(version) => Dataset::open_version(path, version),
        None => open(path),
    }
}

/// The small values of a row, by column.
pub(crate) fn values(dataset: &Dataset, row: u64) -> Map<String, serde_json::Value> {
    let entry = dataset.index().row(row);
    let columns = dataset.schema().columns.iter().enumerate().filter(|(_, c)| !c.feature.is_payload());
    columns.map(|(i, c)| (c.name.clone(), entry.told(i, &c.feature))).collect()
}

/// Refuses a split that the dataset does not have.
pub(crate) fn check_split(dataset: &Dataset, split: Option<&str>) -> Result<(), Error> {
    split.map_or(Ok(()), |split| dataset.has_split(split))
}

impl Ls {
    pub(crate) fn run(self, global: &Global) -> Done {
        let dataset = open_at(&self.dataset, self.version)?;
        for text in dataset.notes() {
            output::note(global, format!("note: {text}"));
        }
        check_split(&dataset, self.split.as_deref())?;
        if self.rows {
            self.list(&dataset, global)?
        } else {
            self.overview(&dataset, global)?
        }
        Ok(ExitCode::SUCCESS)
    }

    fn list(&self, dataset: &Dataset, global: &Global) -> Result<(), Error> {
        let rows = dataset.index().ranges(self.split.as_deref()).into_iter().flatten().take(self.limit);
        let mut listed = Vec::new();
        for row in rows {
            let id = dataset.index().row(row).id();
            let values = values(dataset, row);
            if global.json {
                listed.push(json!({"row": row, "id": id, "values": values}));
            } else {
                let values: Vec<String> = values.iter().map(|(k, v)| format!("{k}={v}")).collect();
                output::line(format_args!("{row}\t{id}\t{}", values.join(" ")));
            }
        }
        if global.json { output::json(&listed) } else { Ok(()) }
    }

    fn overview(&self, dataset: &Dataset, global: &Global) -> Result<(), Error> {
        // A file that has rows of several splits is listed with each of them.
        let files: BTreeMap<&str, u64> = dataset.shards().iter().map(|s| (s.path.as_str(), s.bytes)).collect();
        let bytes: u64 = if dataset.version().is_some() {
            files.values().sum()
        } else {
            dataset.shards().iter().map(|s| s.bytes).sum()
        };
        if global.json {
            return output::json(&json!({
                "path": dataset.root(), "version": dataset.version(), "digest": dataset.digest(), "rows": dataset.rows(),
                "bytes": bytes, "splits": dataset.splits(), "schema": dataset.schema(), "shards": dataset.shards(),
            }));
        }
        let version = dataset.version().map_or("read-only, not a feedstock dataset".into(), |v| format!("version {v}"));
        output::line(format_args!(
            "{}: {version}, {} rows, {} shards, {}",
            dataset.root().display(),
            dataset.rows(),
            if dataset.version().is_some() { files.len() } else { dataset.shards().len() },
            output::bytes(bytes)
        ));
        for (split, rows) in dataset.splits() {
            output::line(format_args!("  split {split:<12} {rows} rows"));
        }
        for column in &dataset.schema().columns {
            let more = match &column.feature {
                Feature::ClassLabel { names } => format!(", {} classes: {}", names.len(), shortened(names)),
                Feature::Tensor(tensor) => format!(" {}", tensor.told()),
                _ => String::new(),
            };
            let made = column.stored.as_ref().map_or_else(String::new, |stored| format!(", stored {}", stored.told()));
            output::line(format_args!("  column {:<11} {}{more}{made}", column.name, column.feature.name()));
        }
        for shard in dataset.shards() {
            let own = shard.path.split('/').nth(1) == Some(shard.split.as_str()) || dataset.version().is_none();
            let of = if own { String::new() } else { format!(" of {}", shard.split) };
            output::line(format_args!("  {}  {} rows{of}  {}", shard.path, shard.rows, output::bytes(shard.bytes)));
        }
        Ok(())
    }
}

fn shortened(names: &[String]) -> String {
    let some: Vec<&str> = names.iter().take(12).map(String::as_str).collect();
    format!("{}{}", some.join(", "), if names.len() > 12 { ", ..." } else { "" })
}
