//! `dsctl inspect`: one row, one shard or one version in full.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use feedstock::data::feature::Feature;
use feedstock::data::record::{payload_hash, row_key};
use feedstock::dataset::Dataset;
use feedstock::{Error, open};
use serde_json::{Map, Value, json};

use crate::ls::{open_at, values};
use crate::{Done, Global, output};

/// Show one row in full, a shard, or a version.
#[derive(Debug, Args)]
pub(crate) struct Inspect {
    /// A dataset, a folder of Parquet files, or a raw class folder.
    dataset: PathBuf,
    /// The row: its number, or its id.
    #[arg(value_name = "ROW|ID", conflicts_with = "shard")]
    row: Option<String>,
    /// A shard of the dataset, by its path or digest.
    #[arg(long, value_name = "SHARD")]
    shard: Option<String>,
    /// Another version than the latest.
    #[arg(long, value_name = "V")]
    version: Option<u64>,
    /// Write the row's media (and texts) as files into this folder.
    #[arg(long, value_name = "DIR", requires = "row")]
    extract: Option<PathBuf>,
}

impl Inspect {
    pub(crate) fn run(self, global: &Global) -> Done {
        let dataset = match self.version {
            None => open(&self.dataset)?,
            version => open_at(&self.dataset, version)?,
        };
        let shown = match (&self.row, &self.shard) {
            (Some(row), _) => self.row(&dataset, find(&dataset, row)?)?,
            (None, Some(shard)) => self.shard(&dataset, shard)?,
            (None, None) => json!({
                "path": dataset.root(), "version": dataset.version(), "digest": dataset.digest(), "rows": dataset.rows(),
                "splits": dataset.splits(), "schema": dataset.schema(), "shards": dataset.shards(),
            }),
        };
        if global.json {
            output::json(&shown)?;
        } else {
            show(&shown, 0);
        }
        Ok(ExitCode::SUCCESS)
    }

    fn row(&self, dataset: &Dataset, row: u64) -> Result<Value, Error> {
        let entry = dataset.index().row(row);
        let origin = dataset.origin(row, usize::MAX);
        let mut media = Map::new();
        let mut bytes = Vec::new();
        for (i, column) in dataset.schema().payloads() {
            let Some(payload) = dataset.fetch(row, i, &mut bytes)? else {
                media.insert(column.name.clone(), Value::Null);
                continue;
            };
            let found = payload_hash(&bytes);
            let info = payload.info;
            let mut facts = json!({
                "format": info.format.name(), "bytes": payload.length, "offset": payload.offset,
                "hash": format!("{:016x}", payload.hash), "hash_ok": found == payload.hash,
                "width": info.width, "height": info.height, "channels": info.channels, "rate": info.rate,
                "count": info.count, "duration_us": info.duration_us, "orientation": info.orientation.code(),
                "profile": info.profile.name(),
            });
            if let Some(facts) = facts.as_object_mut() {
                facts.retain(|name, value| (value != 0 || name == "offset") && value != "srgb");
            }
            if let Feature::Tensor(tensor) = &column.feature {
                facts["shape"] = json!(tensor.lengths(&info));
            }
            if let Some(original) = entry.original(i) {
                facts["original"] = json!({"bytes": original.bytes, "hash": format!("{:016x}", original.hash)});
            }
            if info.format.kind() == feedstock::data::info::Kind::Text {
                facts["text"] = json!(String::from_utf8_lossy(&bytes));
            }
            if let Some(folder) = &self.extract {
                std::fs::create_dir_all(folder).map_err(|e| Error::io(folder, "create", e))?;
                let base = entry.id().rsplit('/').next().unwrap_or("row").replace(['#', '!'], "_");
                let path = folder.join(format!("{row}-{}-{base}", column.name));
                std::fs::write(&path, &bytes).map_err(|e| Error::io(&path, "write", e))?;
                facts["extracted"] = json!(path);
            }
            media.insert(column.name.clone(), facts);
        }
        Ok(json!({
            "row": row, "id": entry.id(), "key": format!("{:016x}", entry.key()), "file": origin.file,
            "row_in_file": origin.row, "values": values(dataset, row), "media": media,
        }))
    }

    fn shard(&self, dataset: &Dataset, wanted: &str) -> Result<Value, Error> {
        let matches = |path: &str, sha: &str| path == wanted || path.ends_with(wanted) || sha.starts_with(wanted);
        let shard = dataset.shards().iter().find(|s| matches(&s.path, &s.sha256)).ok_or_else(|| {
            Error::config(
                format!("no shard of this version is called {wanted:?}"),
                "`dsctl ls DATASET` lists the shards",
            )
        })?;
        let path = dataset.root().join(&shard.path);
        let file = std::fs::File::open(&path).map_err(|e| Error::io(&path, "open", e))?;
        let reader = parquet::file::serialized_reader::SerializedFileReader::new(file)
            .map_err(|e| Error::library(path.display().to_string(), e))?;
        let meta = parquet::file::reader::FileReader::metadata(&reader);
        let groups: Vec<Value> =
            meta.row_groups().iter().map(|g| json!({"rows": g.num_rows(), "bytes": g.total_byte_size()})).collect();
        let columns: Vec<String> = meta
            .file_metadata()
            .schema_descr()
            .columns()
            .iter()
            .map(|c| format!("{} {}", c.path(), c.physical_type()))
            .collect();
        Ok(json!({
            "path": path, "split": shard.split, "rows": shard.rows, "bytes": shard.bytes, "sha256": shard.sha256,
            "created_by": meta.file_metadata().created_by(), "row_groups": groups, "columns": columns,
        }))
    }
}

/// A row by number or id.
fn find(dataset: &Dataset, wanted: &str) -> Result<u64, Error> {
    let rows = dataset.rows();
    if let Ok(row) = wanted.parse::<u64>() {
        return if row < rows {
            Ok(row)
        } else {
            Err(Error::config(format!("row {row} of {rows}"), "rows count from 0; an id may be given instead"))
        };
    }
    let key = row_key(wanted);
    let index = dataset.index();
    (0..rows)
        .find(|row| index.row(*row).key() == key && index.row(*row).id() == wanted)
        .ok_or_else(|| Error::config(format!("no row has the id {wanted:?}"), "`dsctl ls --rows DATASET` lists ids"))
}

/// JSON as indented lines for people.
pub(crate) fn show(value: &Value, depth: usize) {
    let indent = "  ".repeat(depth);
    match value {
        Value::Object(map) => {
            for (key, value) in map {
                match value {
                    Value::Object(_) | Value::Array(_) => {
                        output::line(format_args!("{indent}{key}:"));
                        show(value, depth + 1);
                    }
                    Value::String(text) => output::line(format_args!("{indent}{key}: {text}")),
                    other => output::line(format_args!("{indent}{key}: {other}")),
                }
            }
        }
        Value::Array(items) => {
            for item in items {
                match item {
                    Value::Object(map) => {
                        let parts: Vec<String> = map
                            .iter()
                            .map(|(k, v)| format!("{k} {}", v.as_str().map_or_else(|| v.to_string(), str::to_owned)))
                            .collect();
                        output::line(format_args!("{indent}- {}", parts.join(", ")));
                    }
                    other => output::line(format_args!(
                        "{indent}- {}",
                        other.as_str().map_or_else(|| other.to_string(), str::to_owned)
                    )),
                }
            }
        }
        other => output::line(format_args!("{indent}{other}")),
    }
}
