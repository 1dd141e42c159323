//! Sources: label conventions of raw data on disk, one file each.
//!
//! What is on disk may be in an archive: sources look at it through a [`Tree`], and know nothing of that.
//!
//! A source lists entries and their labels; it reads no payload (text files are scanned for the ends of their units).
//! Nothing here decodes, writes or knows of shards. The order of a listing is that of (split, id), so that the
//! same files give the same dataset on every file system.

use std::fmt;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::data::feature::Schema;
use crate::data::info::Kind;
use crate::data::label::{Objects, Value};
use crate::error::{Error, Fault, Result};
use crate::registry::{Named, Table};

mod assign;
mod boxes;
mod choose;
#[cfg(feature = "annotations")]
pub mod coco;
mod excerpts;
pub mod folder;
mod labels;
mod layout;
mod listing;
mod look;
pub mod manifest;
mod pictures;
mod provenance;
mod raw;
pub mod table;
pub mod text;
mod tree;
mod typing;
#[cfg(feature = "annotations")]
pub mod voc;
mod walk;
pub mod webdataset;
mod windows;
#[cfg(feature = "annotations")]
pub mod yolo;

pub use crate::data::excerpt::{AudioChunks, ChunkTail, Excerpts};
pub use assign::Assign;
pub(crate) use choose::choose_into;
pub use choose::{Candidate, Choice, Survey, candidates, choose, survey};
pub(crate) use excerpts::facts;
pub use labels::split_name;
pub(crate) use listing::{Asked, Only, Print, order};
pub use listing::{Entries, Lister, Listing, Refusals, Watch};
pub use look::{Content, Look, Seen};
pub use provenance::Provenance;
pub use raw::{is_stored, open_any, raw_dataset};
pub use tree::Tree;
pub(crate) use walk::file_within;
pub use windows::{Count, Cut, TextWindow};

/// The split of entries when the source says nothing else.
pub const DEFAULT_SPLIT: &str = "train";

/// One label convention.
pub trait Source: Send + Sync {
    /// The name for `--format`.
    fn name(&self) -> &'static str;

    /// How well this source fits what a first look saw ([`Look::tree`] opens more of it), or `None` if it cannot read it at all.
    fn detect(&self, root: &Path, look: &Look) -> Option<Evidence>;

    /// Hands every entry to the lister, in any order, and returns the features. Class names need not be in them: those of
    /// the entries are added. Entries that cannot be are refused ([`Lister::refuse`]), never left out; an error is for what
    /// makes the whole listing impossible. The root, and all below it, may be in an archive: [`Lister::tree`] opens what is there.
    fn list(&self, root: &Path, options: &SourceOptions, lister: &mut Lister<'_>) -> Result<Schema>;
}

/// How well a source fits.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Evidence {
    /// 0 to 100; the highest is taken, two equal ones are an error that names both.
    pub score: u32,
    /// What was seen, in one line.
    pub why: String,
}

impl Evidence {
    /// Evidence of some weight.
    pub fn new(score: u32, why: impl Into<String>) -> Self {
        Evidence { score, why: why.into() }
    }
}

/// What the caller says about the source. Each source uses what it knows.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SourceOptions {
    /// A regular expression on file names with a group named `label`, and perhaps one named `split`.
    pub label_regex: Option<String>,
    /// The manifest column that holds the class (`label`, `class` or `category` unless told).
    pub label_column: Option<String>,
    /// The manifest column that holds the relative path (`file_name`, `path`, `file`, `image`, `audio`, `video`
    /// or NeMo's `audio_filepath` unless told).
    pub path_column: Option<String>,
    /// The manifest column that holds where in its recording a row begins, in seconds (`start` or `offset` unless told).
    // What was not asked for is left out, so that journals begun before these fields came keep their names.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub start_column: Option<String>,
    /// The manifest column that holds where it ends (`end` unless told).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub end_column: Option<String>,
    /// In place of an end, the manifest column that holds how long it is (`duration` unless told).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub duration_column: Option<String>,
    /// Rows of a manifest are whole recordings, whatever its columns are called.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub whole_files: bool,
    /// Recordings are cut into rows of one length.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub audio_chunks: Option<AudioChunks>,
    /// What one row of a text file is.
    pub text_unit: TextUnit,
    /// Its windows, where it is one.
    pub text_window: Option<TextWindow>,
    /// The coordinate of the first pixel in the boxes of Pascal VOC: 1 unless told.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub box_origin: Option<u8>,
    /// What is said of where rows come from.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub provenance: Option<Provenance>,
    /// Splits by fractions, in place of those that the source says.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub assign: Option<Assign>,
    /// The split of entries when the source says nothing else.
    pub split: String,
    /// Whether the top folders are splits.
    pub split_dirs: SplitDirs,
    /// The kind of media. Unless told, what most files are.
    pub kind: Option<Kind>,
}

impl Default for SourceOptions {
    fn default() -> Self {
        SourceOptions {
            label_regex: None,
            label_column: None,
            path_column: None,
            start_column: None,
            end_column: None,
            duration_column: None,
            whole_files: false,
            audio_chunks: None,
            text_unit: TextUnit::default(),
            text_window: None,
            box_origin: None,
            provenance: None,
            assign: None,
            split: DEFAULT_SPLIT.to_owned(),
            split_dirs: SplitDirs::default(),
            kind: None,
        }
    }
}

/// What one row of a text file is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TextUnit {
    /// A line; lines of white space are left out.
    #[default]
    Line,
    /// Lines up to a blank one.
    Paragraph,
    /// The whole file.
    File,
    /// A stretch of the file, for long documents ([`SourceOptions::text_window`]); those of white space are left out.
    Window,
}

impl SourceOptions {
    /// Refuses what can be seen to be wrong without looking at any file.
    pub fn validate(&self) -> Result<()> {
        if let Some(chunks) = &self.audio_chunks {
            chunks.validate()?;
        }
        if let Some(assign) = &self.assign {
            assign.validate()?;
        }
        if let Some(provenance) = &self.provenance {
            provenance.validate()?;
        }
        if let Some(origin) = self.box_origin.filter(|origin| *origin > 1) {
            return Err(Error::config(
                format!("the first pixel of boxes has the coordinate {origin}"),
                "--box-origin (box_origin) is 1, as in Pascal VOC, or 0",
            ));
        }
        let [start, end, duration] = [&self.start_column, &self.end_column, &self.duration_column].map(Option::is_some);
        if self.whole_files && (start || end || duration) {
            return Err(Error::config(
                "rows are whole files, and a column says where they begin or end",
                "leave --whole-files (whole_files) or the columns away",
            ));
        }
        if end && duration {
            return Err(Error::config(
                "both an end and a duration of the rows",
                "leave --end-column or --duration-column away: one of them says it",
            ));
        }
        match &self.text_window {
            Some(_) if self.text_unit != TextUnit::Window => Err(Error::config(
                "windows are described, and a row of a text file is something else",
                "say --text-unit window (text_unit = \"window\"), or leave the windows out",
            )),
            Some(window) => window.validate(),
            None => Ok(()),
        }
    }
}

/// Whether the folders at the top are splits or classes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SplitDirs {
    /// Splits if all of them are called like splits and hold class folders; so a class called `test` among others stays a class.
    /// Folders without any media beside splits do not count.
    #[default]
    Auto,
    /// Splits, whatever they are called.
    Yes,
    /// Classes, whatever they are called.
    No,
}

/// One input, listed and not yet read.
#[derive(Debug, Clone, PartialEq)]
pub struct Entry {
    /// Unique in the listing: the relative path with `/`, then `#ordinal` for parts of a file.
    pub id: String,
    /// Its split.
    pub split: String,
    /// One cell for each column of the schema.
    pub cells: Vec<EntryCell>,
    /// What to name when it is refused: the file or manifest, relative to the source.
    pub origin: String,
    /// The line within the origin, from 1, where that says more than the file alone.
    pub line: Option<u64>,
}

impl Entry {
    /// Bytes that reading it will take.
    pub fn bytes(&self) -> u64 {
        self.cells.iter().map(EntryCell::bytes).fold(0, u64::saturating_add)
    }
}

/// One cell of an entry.
#[derive(Debug, Clone, PartialEq)]
pub enum EntryCell {
    /// A whole file.
    File {
        /// Where it is.
        path: PathBuf,
        /// Its size when it was listed; another size at reading is [`crate::Reason::Changed`].
        bytes: u64,
    },
    /// A part of a file.
    Slice {
        /// Where it is.
        path: Arc<Path>,
        /// Its bytes.
        range: Range<u64>,
        /// The file's size when it was listed.
        file_bytes: u64,
    },
    /// A part of a recording: decoded with all of it and cut, it is a payload of its own.
    Excerpt {
        /// Where the recording is.
        path: Arc<Path>,
        /// The file's size when it was listed.
        file_bytes: u64,
        /// Which part.
        part: Part,
    },
    /// A payload that is already here.
    Inline(Vec<u8>),
    /// A class by name.
    Class(String),
    /// Objects, whose classes are places among the names here.
    Objects(Vec<String>, Box<Objects>),
    /// Any small value.
    Value(Value),
}

/// A part of a recording.
#[derive(Debug, Clone, PartialEq)]
pub enum Part {
    /// As a source names it: seconds from the beginning. [`Listing::cut`] makes samples of them.
    Seconds {
        /// Where it begins.
        start: f64,
        /// Where it ends.
        end: f64,
    },
    /// As an ingest takes it.
    Samples {
        /// Samples a channel.
        range: Range<u64>,
        /// How many of them the recording has.
        of: u64,
        /// Its channels.
        channels: u32,
    },
}

impl EntryCell {
    /// An absent cell.
    pub const NULL: EntryCell = EntryCell::Value(Value::Null);

    /// Bytes of its payload; 0 for small values. A part of a recording counts as PCM of 16 bits.
    pub fn bytes(&self) -> u64 {
        match self {
            EntryCell::File { bytes, .. } => *bytes,
            EntryCell::Slice { range, .. } => range.end.saturating_sub(range.start),
            EntryCell::Excerpt { part: Part::Samples { range, channels, .. }, .. } => {
                range.end.saturating_sub(range.start).saturating_mul(2 * u64::from(*channels))
            }
            EntryCell::Excerpt { file_bytes, part: Part::Seconds { .. }, .. } => *file_bytes,
            EntryCell::Inline(bytes) => bytes.len() as u64,
            EntryCell::Class(_) | EntryCell::Value(_) => 0,
            EntryCell::Objects(_, objects) => objects.bytes(),
        }
    }
}

/// Something the listing saw and could not take.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// The id it would have had, as far as that can be written.
    pub id: String,
    /// The file or manifest, relative to the source.
    pub origin: String,
    /// The line within the origin, from 1.
    pub line: Option<u64>,
    /// Why.
    pub fault: Fault,
}

impl Refusal {
    /// A refused file.
    pub fn file(id: impl Into<String>, fault: Fault) -> Self {
        let id = id.into();
        Refusal { origin: id.clone(), id, line: None, fault }
    }
}

/// One row of the source table.
#[derive(Clone, Copy)]
pub struct SourceEntry {
    /// The name for `--format`.
    pub name: &'static str,
    /// Raised whenever the same files give another listing; it enters the ingest's digest.
    pub version: u32,
    /// One line for listings and error hints.
    pub summary: &'static str,
    /// Makes the source.
    pub build: fn() -> Box<dyn Source>,
}

impl Named for SourceEntry {
    fn name(&self) -> &'static str {
        self.name
    }
}

impl fmt::Debug for SourceEntry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} v{}", self.name, self.version)
    }
}

/// The sources of this build.
pub const SOURCES: &[SourceEntry] = &[
    folder::ENTRY,
    manifest::ENTRY,
    text::ENTRY,
    webdataset::ENTRY,
    #[cfg(feature = "annotations")]
    coco::ENTRY,
    #[cfg(feature = "annotations")]
    voc::ENTRY,
    #[cfg(feature = "annotations")]
    yolo::ENTRY,
];

/// The built-in sources as a table that can be added to.
pub fn sources() -> Table<SourceEntry> {
    Table::new("source format", SOURCES)
}
