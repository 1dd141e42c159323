//! What a caller says about an ingest, and what it hears.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use serde::{Deserialize, Serialize};

use super::isolated::Isolate;
use super::sync::Synced;
use crate::codec::{Check, Limits};
use crate::data::info::Kind;
use crate::error::{Error, Result};
use crate::prepare::{self, OpEntry, PrepareOptions};
use crate::registry::Table;
use crate::shard::ShardOptions;
use crate::source::{SourceEntry, SourceOptions, sources};
use crate::store::Disk;

/// How a source becomes a dataset: one struct for code, `--config FILE` (TOML) and the command line.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct IngestOptions {
    /// The source's convention by name (`--format`); detected unless told.
    pub format: Option<String>,
    /// What the source reads how.
    pub source: SourceOptions,
    /// How deep each payload is looked at before it is accepted.
    pub check: Check,
    /// What becomes of text that is not UTF-8.
    pub invalid_utf8: InvalidUtf8,
    /// What one payload may cost.
    pub limits: Limits,
    /// What is stored of the payloads.
    pub prepare: PrepareOptions,
    /// How many entries may be refused before nothing is committed.
    pub max_errors: MaxErrors,
    /// How many entries of one class may be: a count, or a share of the entries of the class. No limit unless told.
    // What was not asked for is left out, so that journals begun before these fields came keep their names.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_errors_per_class: Option<MaxErrors>,
    /// How many original bytes are kept of a refused entry, from the first on; 0 keeps none.
    #[serde(skip_serializing_if = "is_row")]
    pub quarantine_bytes: u64,
    /// How many of all of them: what is refused behind that is listed without bytes.
    #[serde(skip_serializing_if = "is_total")]
    pub quarantine_total_bytes: u64,
    /// Payloads are looked at in processes of their own ([`Control::isolate`]), so that one that crashes its decoder costs itself.
    /// The dataset's bytes do not depend on it.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub isolate: bool,
    /// Seconds that looking at one payload may take: by the clock, and generous. One that takes longer is refused where it is
    /// isolated; where it is not, and takes six times as long, [`Control::stuck`] is called.
    #[serde(skip_serializing_if = "is_patient")]
    pub payload_seconds: f64,
    /// Files are read also where the dataset has their rows and an earlier ingest saw them with the size and time of change that
    /// they have now: what was changed behind these is found.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub checksum: bool,
    /// Put in front of every id, for sources whose relative paths collide with those already in the dataset.
    pub id_prefix: String,
    /// Payload bytes at which a shard is cut; 65,536 rows cut it too.
    pub shard_bytes: u64,
    /// Rows of a row group at the most.
    pub row_group_rows: usize,
    /// Payload bytes of a row group at the most.
    pub row_group_bytes: u64,
    /// Threads; 0 for all of the machine. The dataset's bytes do not depend on it.
    pub threads: usize,
    /// Bytes that the decoders of all threads may hold together while they check; a payload that needs more is decoded
    /// alone. Payloads and what is written are not counted. The dataset's bytes do not depend on it.
    pub decode_memory: u64,
}

/// Original bytes of a refused entry, unless told.
const ROW: u64 = 1 << 20;
/// Original bytes of all of them, unless told.
const TOTAL: u64 = 256 << 20;

/// Seconds that a payload may take, unless told.
const SECONDS: f64 = 600.0;

#[allow(clippy::trivially_copy_pass_by_ref, reason = "what serde calls")]
fn is_patient(seconds: &f64) -> bool {
    *seconds == SECONDS
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "what serde calls")]
fn is_row(bytes: &u64) -> bool {
    *bytes == ROW
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "what serde calls")]
fn is_total(bytes: &u64) -> bool {
    *bytes == TOTAL
}

impl Default for IngestOptions {
    /// 2 GiB for decoders: enough for the largest picture or recording that the default [`Limits`] admit.
    fn default() -> Self {
        let shards = ShardOptions::default();
        IngestOptions {
            format: None,
            source: SourceOptions::default(),
            check: Check::default(),
            invalid_utf8: InvalidUtf8::default(),
            limits: Limits::default(),
            prepare: PrepareOptions::default(),
            max_errors: MaxErrors::default(),
            max_errors_per_class: None,
            quarantine_bytes: ROW,
            quarantine_total_bytes: TOTAL,
            isolate: false,
            payload_seconds: SECONDS,
            checksum: false,
            id_prefix: String::new(),
            shard_bytes: shards.shard_bytes,
            row_group_rows: shards.row_group_rows,
            row_group_bytes: shards.row_group_bytes,
            threads: 0,
            decode_memory: 2 << 30,
        }
    }
}

impl IngestOptions {
    /// Refuses what can be seen to be wrong without looking at any file.
    pub fn validate(&self) -> Result<()> {
        self.source.validate()?;
        let sizes = [self.shard_bytes, self.row_group_bytes, self.row_group_rows as u64];
        if sizes.contains(&0) {
            return Err(Error::config(
                "shard_bytes, row_group_bytes and row_group_rows are all at least 1",
                "leave them at their defaults",
            ));
        }
        if self.row_group_bytes > 1 << 30 || self.row_group_rows > 1 << 16 {
            return Err(Error::config(
                "a row group has 1 GiB of payload and 65,536 rows at the most",
                "leave row_group_bytes and row_group_rows at their defaults",
            ));
        }
        if self.decode_memory == 0 {
            return Err(Error::config(
                "decode_memory is at least 1 byte",
                "leave it at its default; 1 decodes one payload at a time",
            ));
        }
        if self.quarantine_bytes > 1 << 30 {
            return Err(Error::config(
                "quarantine_bytes is 1 GiB at the most",
                "leave it at its default; the quarantine tells the length of what it keeps a part of",
            ));
        }
        if !(self.payload_seconds > 0.0 && self.payload_seconds.is_finite()) {
            return Err(Error::config("payload_seconds is more than 0", "leave it at its default, or say 3600"));
        }
        self.prepare.check()?;
        if self.source.kind == Some(Kind::Tensor) {
            return Err(Error::config(
                "source.kind = \"tensor\": no source has tensors",
                "name what the files are; the operations of prepare.columns make tensors of them",
            ));
        }
        if self.id_prefix.contains(['\n', '\0']) || self.id_prefix.starts_with('/') {
            return Err(Error::config(
                format!("the id prefix {:?} begins with '/' or holds a newline or NUL", self.id_prefix),
                "use something like \"batch2/\"",
            ));
        }
        Ok(())
    }

    /// The options that a dataset's bytes follow from; the others as they are by default. What is stored of the payloads is in
    /// the dataset's schema, in full.
    pub(super) fn shaping(&self) -> Self {
        let free = IngestOptions::default();
        IngestOptions {
            format: None,
            max_errors: free.max_errors,
            max_errors_per_class: free.max_errors_per_class,
            quarantine_bytes: free.quarantine_bytes,
            quarantine_total_bytes: free.quarantine_total_bytes,
            isolate: free.isolate,
            payload_seconds: free.payload_seconds,
            checksum: free.checksum,
            threads: free.threads,
            decode_memory: free.decode_memory,
            prepare: free.prepare,
            ..self.clone()
        }
    }

    /// The options by which a retry reads the source again: without those that change nothing that is written, but isolated if it was.
    pub(super) fn recorded(&self, format: &str) -> Self {
        let free = IngestOptions::default();
        IngestOptions {
            format: Some(format.to_owned()),
            max_errors: free.max_errors,
            max_errors_per_class: free.max_errors_per_class,
            checksum: free.checksum,
            threads: free.threads,
            decode_memory: free.decode_memory,
            ..self.clone()
        }
    }

    pub(super) fn shards(&self) -> ShardOptions {
        ShardOptions {
            shard_bytes: self.shard_bytes,
            row_group_rows: self.row_group_rows,
            row_group_bytes: self.row_group_bytes,
        }
    }
}

/// What becomes of text that is not UTF-8. Rows of a manifest are refused either way, for paths and labels are in them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum InvalidUtf8 {
    /// The entry is refused.
    #[default]
    Refuse,
    /// Each part that is none becomes U+FFFD, as the WHATWG's Encoding Standard decodes UTF-8 (Python's `errors="replace"`).
    Replace,
}

/// How many entries may be refused: a count, a share of all entries, or whichever is more (`25`, `5%`, `10|1%`).
///
/// A recording that is damaged is one refusal for the count, as it is in the quarantine, however many rows are parts of it;
/// of the percentage it is so many rows.
///
/// The default is `10|1%`: a few bad files in a small set or one in a hundred of a large one pass into the quarantine;
/// more than that is a wrong folder, a wrong format or a broken copy, and wants a person.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct MaxErrors {
    /// Refused entries that are always allowed.
    pub count: u64,
    /// Percent of all entries that are allowed, 0 to 100.
    pub percent: f64,
}

impl MaxErrors {
    /// Not one.
    pub const NONE: MaxErrors = MaxErrors { count: 0, percent: 0.0 };
    /// Any number, as long as one entry is good.
    pub const ALL: MaxErrors = MaxErrors { count: 0, percent: 100.0 };

    /// Whether so many refusals, of so many of `total` entries, are too many.
    pub fn is_exceeded(&self, refusals: u64, entries: u64, total: u64) -> bool {
        refusals > self.count && entries > MaxErrors { count: 0, ..*self }.allowed(total)
    }

    /// How many of `total` entries may be refused.
    pub fn allowed(&self, total: u64) -> u64 {
        // Exact for any count of entries that a listing can hold (below 2^53).
        self.count.max((total as f64 * self.percent / 100.0) as u64)
    }
}

impl Default for MaxErrors {
    fn default() -> Self {
        MaxErrors { count: 10, percent: 1.0 }
    }
}

impl fmt::Display for MaxErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.count, self.percent) {
            (count, 0.0) => write!(f, "{count}"),
            (0, percent) => write!(f, "{percent}%"),
            (count, percent) => write!(f, "{count}|{percent}%"),
        }
    }
}

impl FromStr for MaxErrors {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let mut limit = MaxErrors::NONE;
        for part in text.split('|') {
            let part = part.trim();
            let ok = match part.strip_suffix('%') {
                Some(percent) => percent.parse().map(|p| limit.percent = p).is_ok(),
                None => part.parse().map(|c| limit.count = c).is_ok(),
            };
            if !ok || !(0.0..=100.0).contains(&limit.percent) {
                return Err(Error::config(
                    format!("--max-errors {text:?} is neither a count nor a percentage"),
                    "write 25, 5% or 10|1% (whichever is more)",
                ));
            }
        }
        Ok(limit)
    }
}

impl Serialize for MaxErrors {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for MaxErrors {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Written {
            Count(u64),
            Text(String),
        }
        match Written::deserialize(deserializer)? {
            Written::Count(count) => Ok(MaxErrors { count, percent: 0.0 }),
            Written::Text(text) => text.parse().map_err(serde::de::Error::custom),
        }
    }
}

/// How far an ingest is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Progress {
    /// Entries listed so far, while the source is being listed; 0 afterwards.
    pub listed: u64,
    /// Entries dealt with, those of an earlier run included.
    pub done: u64,
    /// Entries in all.
    pub total: u64,
    /// Payload bytes dealt with.
    pub bytes: u64,
    /// Payload bytes in all, as listed.
    pub total_bytes: u64,
    /// Refusals so far, as the summary counts them (`quarantined`).
    pub refused: u64,
}

/// Who is told of a decoder that does not come back.
pub type Tell = Arc<dyn Fn(&Error) + Send + Sync>;

/// What watches and steers an ingest from outside.
pub struct Control {
    /// The sources to choose from; add your own with [`Table::with`].
    pub sources: Table<SourceEntry>,
    /// The operations whose results may be stored; add your own too.
    pub ops: Table<OpEntry>,
    /// Set it to stop the listing, or at the next chunk: [`Error::Interrupted`], and a later run goes on.
    pub cancel: Arc<AtomicBool>,
    /// Called now and then while the source is listed, then after each chunk, from the ingest's thread.
    pub progress: Option<Box<dyn Fn(Progress) + Send + Sync>>,
    /// How the processes are begun of an ingest with [`IngestOptions::isolate`]: the program itself, or another that calls
    /// [`super::serve`].
    pub isolate: Option<Isolate>,
    /// Told of a decoder in this process that does not come back ([`Error::Stuck`]), from a thread that waits for nothing else. Nothing
    /// can end it but the end of the process, after which a rerun goes on where this one was; the ingest waits for it otherwise.
    pub stuck: Option<Tell>,
    /// Another disk below the dataset (tests).
    pub disk: Option<Arc<dyn Disk>>,
    /// Bytes that each listing, sort and segment under way keeps in memory before it goes on in a file (tests). Unless told,
    /// 32 MiB.
    pub spill_beyond: Option<usize>,
    /// Payloads that were handed to a codec's check so far.
    pub decodes: AtomicU64,
}

impl Default for Control {
    fn default() -> Self {
        Control {
            sources: sources(),
            ops: prepare::ops(),
            cancel: Arc::default(),
            progress: None,
            isolate: None,
            stuck: None,
            disk: None,
            spill_beyond: None,
            decodes: AtomicU64::new(0),
        }
    }
}

impl fmt::Debug for Control {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Control").field("sources", &self.sources).field("cancel", &self.cancel).finish_non_exhaustive()
    }
}

impl Control {
    /// Says how far a listing is, and whether to go on.
    pub(super) fn listed(&self, entries: u64) -> Result<()> {
        if let Some(progress) = &self.progress {
            progress(Progress { listed: entries, ..Progress::default() });
        }
        self.check_cancel()
    }

    pub(super) fn check_cancel(&self) -> Result<()> {
        if self.cancel.load(Ordering::Relaxed) { Err(Error::Interrupted) } else { Ok(()) }
    }
}

/// What an ingest did.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Summary {
    /// Rows added.
    pub rows: u64,
    /// Rows added to each split.
    pub rows_by_split: BTreeMap<String, u64>,
    /// Rows added of each class of the first class column.
    pub rows_by_label: BTreeMap<String, u64>,
    /// Refusals: entries, and recordings that are damaged, whatever the number of their rows.
    pub quarantined: u64,
    /// The file within the dataset that lists them ([`crate::quarantine`]).
    pub quarantine: Option<String>,
    /// Entries that were in the dataset already.
    pub skipped: u64,
    /// Of these, those whose files were not read: an earlier ingest saw them with the size and time of change that they have.
    #[serde(default)]
    pub unread: u64,
    /// Of the rows added, those whose text was not UTF-8 and was mended ([`InvalidUtf8::Replace`]).
    #[serde(default)]
    pub mended: u64,
    /// The U+FFFD that were put into them.
    #[serde(default)]
    pub replaced: u64,
    /// Shards added.
    pub shards: u64,
    /// Bytes of these shards.
    pub bytes: u64,
    /// Wall time.
    pub seconds: f64,
    /// The dataset's version now.
    pub version: u64,
    /// What a person should know.
    pub notes: Vec<String>,
    /// What became of the rows that were there, if they follow their source ([`crate::revise::sync()`]).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sync: Option<Synced>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_are_counts_or_shares_or_both() {
        let allowed = |text: &str, total| text.parse::<MaxErrors>().unwrap().allowed(total);
        assert_eq!((allowed("0", 9), allowed("25", 9), allowed("5%", 100), allowed("5%", 19)), (0, 25, 5, 0));
        assert_eq!((allowed("10|1%", 50), allowed("10|1%", 5000)), (10, 50));
        let exceeded =
            |text: &str, refusals, rows, total| text.parse::<MaxErrors>().unwrap().is_exceeded(refusals, rows, total);
        assert!(!exceeded("10|1%", 1, 60, 1200) && !exceeded("10|1%", 11, 12, 1200) && exceeded("10|1%", 11, 13, 1200));
        assert!(exceeded("0", 1, 60, 1200) && exceeded("4%", 1, 60, 1200) && !exceeded("5%", 1, 60, 1200));
        for bad in ["", "x", "-1", "101%", "nan%", "5%%"] {
            assert_eq!(bad.parse::<MaxErrors>().unwrap_err().exit_code(), 2, "{bad}");
        }
        for text in ["0", "25", "5%", "10|1%", "0.5%"] {
            assert_eq!(text.parse::<MaxErrors>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn options_come_from_toml_and_unknown_keys_are_refused() {
        let toml = "max_errors = 3\ncheck = \"header\"\n[source]\ntext_unit = \"paragraph\"\n[limits]\npixels = 9\n";
        let options: IngestOptions = toml::from_str(toml).unwrap();
        assert_eq!((options.max_errors.count, options.check, options.limits.pixels), (3, Check::Header, 9));
        assert!(toml::from_str::<IngestOptions>("shard_byte = 1").is_err());
        let back: IngestOptions = toml::from_str(&toml::to_string(&options).unwrap()).unwrap();
        assert_eq!(back, options);
        assert!(IngestOptions { shard_bytes: 0, ..options.clone() }.validate().is_err());
        let tensors = SourceOptions { kind: Some(Kind::Tensor), ..SourceOptions::default() };
        assert!(IngestOptions { source: tensors, ..options.clone() }.validate().is_err());
        assert!(IngestOptions { decode_memory: 0, ..options.clone() }.validate().is_err());
        assert!(IngestOptions { row_group_bytes: (1 << 30) + 1, ..options.clone() }.validate().is_err());
        assert!(IngestOptions { row_group_rows: (1 << 16) + 1, ..options.clone() }.validate().is_err());
        let free = IngestOptions { threads: 3, decode_memory: 5, ..options.clone() };
        assert_eq!(free.shaping(), options.shaping());
        assert_ne!(IngestOptions { shard_bytes: 5, ..options.clone() }.shaping(), options.shaping());
        let most = IngestOptions { row_group_bytes: 1 << 30, row_group_rows: 1 << 16, ..options };
        most.validate().unwrap();
    }
}
