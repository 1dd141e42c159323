//! `dsctl export`: a dataset as files that other tools read.

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::atomic::Ordering;

use clap::Args;
use feedstock::Error;
use feedstock::export::{ExportOptions, FORMATS, export};
use serde_json::json;

use crate::ls::open_at;
use crate::{Done, Global, output};

/// Write a dataset as files that other tools read: class folders, JSON lines, COCO, Pascal VOC, YOLO.
#[derive(Debug, Args)]
#[command(after_help = "\
Media go out as they are stored, under their ids where the format leaves them their place. What a format cannot say is told in notes; rows that it has no place for are listed, and the exit code is 3. \
The folder is there whole or not at all. `dsctl list exports` tells the formats.")]
pub(crate) struct Export {
    /// A dataset, a folder of Parquet files, or a raw class folder.
    dataset: PathBuf,
    /// A folder that is not there, or empty.
    to: PathBuf,
    /// What comes out.
    #[arg(long, short, value_parser = clap::builder::PossibleValuesParser::new(FORMATS.iter().map(|f| clap::builder::PossibleValue::new(f.name).help(f.summary))))]
    format: String,
    /// Another version than the latest.
    #[arg(long, value_name = "V")]
    version: Option<u64>,
    /// Only rows of this split (several times: of these).
    #[arg(long, value_name = "SPLIT")]
    split: Vec<String>,
    /// The column of media (the first unless told).
    #[arg(long, value_name = "COLUMN")]
    media: Option<String>,
    /// The column of objects (the first unless told).
    #[arg(long, value_name = "COLUMN")]
    objects: Option<String>,
    /// The column of classes, for class folders (the first unless told).
    #[arg(long, value_name = "COLUMN")]
    label: Option<String>,
}

impl Export {
    pub(crate) fn run(self, global: &Global) -> Done {
        let dataset = open_at(&self.dataset, self.version)?;
        for text in dataset.notes() {
            output::note(global, format!("note: {text}"));
        }
        let options = ExportOptions { splits: self.split, media: self.media, objects: self.objects, label: self.label };
        let cancel = output::interrupt()?;
        let step = |_| if cancel.load(Ordering::Relaxed) { Err(Error::Interrupted) } else { Ok(()) };
        let done = export(&dataset, &self.format, &self.to, &options, &step)?;
        for note in &done.notes {
            output::note(global, format!("note: {note}"));
        }
        if global.json {
            output::json(&json!({"to": self.to, "exported": done}))?;
        } else {
            for (split, rows) in &done.splits {
                output::line(format_args!("  split {split:<12} {rows} rows"));
            }
            for out in &done.left_out {
                output::line(format_args!(
                    "  left out: {} rows: {} (the first is {:?})",
                    out.rows, out.reason, out.first
                ));
            }
            output::line(format_args!(
                "{}: {} rows as {}, {}",
                self.to.display(),
                done.rows,
                done.format,
                output::bytes(done.bytes)
            ));
        }
        Ok(if done.left_out.is_empty() { ExitCode::SUCCESS } else { ExitCode::from(3) })
    }
}
