//! The crate's one error type, and the reasons for which a piece of media is refused.

use std::fmt;
use std::path::{Path, PathBuf};

/// What this crate returns.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Everything that can go wrong, naming what, where and the way out.
#[non_exhaustive]
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The operating system refused an operation on a path.
    #[error("{}: cannot {action}: {source}", path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// What was tried, as a verb ("read", "create", "rename to x").
        action: &'static str,
        /// The system's own error.
        #[source]
        source: std::io::Error,
    },
    /// A version, or another file that is written once, is there and readers see it; but the system did not say that its name outlasts a power cut.
    #[error("{}: it is committed, and readers see it, but the disk did not confirm that it outlasts a power cut: {source}\n  help: nothing has to be done anew; keep the source, look at the disk, and run the same command again: it finds its work done (a version that a power cut took is made again)", path.display())]
    Undurable {
        /// The file.
        path: PathBuf,
        /// What syncing its folder gave.
        #[source]
        source: std::io::Error,
    },
    /// The caller asked for something that cannot be: a wrong flag, a recipe that does not fit the dataset.
    #[error("{what}\n  help: {help}")]
    Config {
        /// What is wrong, with the name of the field, flag or column.
        what: String,
        /// What to do instead.
        help: String,
    },
    /// One sample could not be read or decoded.
    #[error("{origin}: {fault}")]
    Sample {
        /// Where the bytes came from.
        origin: Origin,
        /// Why they were refused.
        fault: Fault,
    },
    /// A dataset on disk is not what its own records say.
    #[error("{}: damaged dataset: {what}\n  help: {help}", path.display())]
    Damaged {
        /// The file that disagrees.
        path: PathBuf,
        /// In which way.
        what: String,
        /// What to do.
        help: String,
    },
    /// A dataset, state or recipe was written by a newer (or foreign) program.
    #[error("{what} has format version {found}; this build reads {supported}\n  help: use a newer feedstock")]
    FormatVersion {
        /// Manifest, segment, state, ...
        what: &'static str,
        /// The version found.
        found: u64,
        /// The newest version that this build reads.
        supported: u64,
    },
    /// Another writer committed first, and went on doing so through every retry.
    #[error("{}: lost the race for version {version} {tries} times\n  help: run the command again when the other writer is done", dataset.display())]
    Conflict {
        /// The dataset's folder.
        dataset: PathBuf,
        /// The version that was wanted.
        version: u64,
        /// How often it was tried.
        tries: u32,
    },
    /// Another writer changed or removed rows that this command names, while it was at work. Nothing was committed.
    #[error("{}: version {version} changed or removed rows that are named here: nothing was committed\n  help: see `dsctl diff`, and run it again if it still holds", dataset.display())]
    Overtaken {
        /// The dataset's folder.
        dataset: PathBuf,
        /// The version that the other writer committed.
        version: u64,
    },
    /// More entries were refused than `--max-errors` allows, or of one class than `--max-errors-per-class` does. Nothing was committed.
    #[error("{refused} of {seen} entries{} were refused, more than {limit} allow: nothing was committed\n  help: see {} (`dsctl quarantine ls`), then mend the source (id-taken: use --id-prefix) or run again with a higher {}; finished shards are kept as long as their files stay as they are", of_class(class), report.display(), limit_flag(class))]
    QuarantineLimit {
        /// Refusals: entries, and recordings that are damaged, whatever the number of their rows.
        refused: u64,
        /// Entries looked at.
        seen: u64,
        /// The limit, as the user wrote it.
        limit: String,
        /// The class whose limit it is.
        class: Option<String>,
        /// The file that lists them.
        report: PathBuf,
    },
    /// A source lost more of its rows than `--max-removed` allows. Nothing was committed.
    #[error("{}: {removed} of the {rows} rows that this source brought are not in it any more, or have no objects any more: more than {limit} allow, so nothing was committed\n  help: is the source whole, and its disk mounted? If so, say --max-removed 100%", dataset.display())]
    MassRemoval {
        /// The dataset's folder.
        dataset: PathBuf,
        /// Rows that would be taken out, or lose all their objects.
        removed: u64,
        /// Rows that the source brought.
        rows: u64,
        /// The limit, as the user wrote it.
        limit: String,
    },
    /// A saved loader state does not belong to this dataset version or recipe.
    #[error("the state does not fit: {what}\n  help: {help}")]
    State {
        /// What differs.
        what: String,
        /// What to do.
        help: String,
    },
    /// A decoder did not come back, and nothing but the end of the process ends it.
    #[error(
        "{origin}: it is not decoded after {seconds} s\n  help: run it again with --isolate: it goes on where this run was, and refuses what takes longer than --payload-seconds"
    )]
    Stuck {
        /// What it is decoding.
        origin: Origin,
        /// How long it was waited for.
        seconds: f64,
    },
    /// The caller cancelled (Ctrl-C).
    #[error("interrupted")]
    Interrupted,
    /// A worker thread panicked; the panic was caught and is reported here.
    #[error(
        "{origin}: a worker panicked: {message}\n  help: this is a bug in feedstock or in a custom operation; please report it"
    )]
    Panic {
        /// The sample it was working on.
        origin: Origin,
        /// The panic's message.
        message: String,
    },
    /// A library below us failed in a way that names no sample.
    #[error("{context}: {message}")]
    Library {
        /// What we were doing.
        context: String,
        /// What it said.
        message: String,
    },
}

fn of_class(class: &Option<String>) -> String {
    class.as_ref().map_or_else(String::new, |class| format!(" of class {class:?}"))
}

fn limit_flag(class: &Option<String>) -> &'static str {
    if class.is_some() { "--max-errors-per-class" } else { "--max-errors" }
}

impl Error {
    /// An I/O error at a path.
    pub fn io(path: impl AsRef<Path>, action: &'static str, source: std::io::Error) -> Self {
        Error::Io { path: path.as_ref().to_owned(), action, source }
    }

    /// A wrong request and the way out.
    pub fn config(what: impl Into<String>, help: impl Into<String>) -> Self {
        Error::Config { what: what.into(), help: help.into() }
    }

    /// A dataset that contradicts itself.
    pub fn damaged(path: impl AsRef<Path>, what: impl Into<String>, help: impl Into<String>) -> Self {
        Error::Damaged { path: path.as_ref().to_owned(), what: what.into(), help: help.into() }
    }

    /// A library's failure, with what was being done.
    pub fn library(context: impl Into<String>, source: impl fmt::Display) -> Self {
        Error::Library { context: context.into(), message: source.to_string() }
    }

    /// The exit code `dsctl` ends with for this error.
    pub fn exit_code(&self) -> u8 {
        match self {
            Error::Config { .. } | Error::State { .. } => 2,
            Error::Damaged { .. } | Error::Sample { .. } | Error::MassRemoval { .. } => 3,
            Error::Conflict { .. } | Error::Overtaken { .. } => 4,
            Error::QuarantineLimit { .. } => 5,
            Error::Interrupted => 130,
            _ => 1,
        }
    }
}

/// Where a sample's bytes came from. Every part that is known is named.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Origin {
    /// The source file or the shard.
    pub file: Option<PathBuf>,
    /// Row within the shard, or line within the manifest.
    pub row: Option<u64>,
    /// The record's id.
    pub id: Option<String>,
    /// The column (feature).
    pub column: Option<String>,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut separator = "";
        if let Some(file) = &self.file {
            write!(f, "{}", file.display())?;
            separator = ", ";
        }
        if let Some(row) = self.row {
            write!(f, "{separator}row {row}")?;
            separator = ", ";
        }
        if let Some(id) = &self.id {
            write!(f, "{separator}id {id:?}")?;
            separator = ", ";
        }
        if let Some(column) = &self.column {
            write!(f, "{separator}column {column:?}")?;
            separator = ", ";
        }
        if separator.is_empty() {
            f.write_str("unknown origin")?;
        }
        Ok(())
    }
}

/// What opening a dataset that is not ours left out: entries and cells whose payload is none.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LeftOut {
    /// How many.
    pub count: u64,
    /// The first of them, [`LeftOut::KEPT`] at the most, and why.
    pub first: Vec<(Origin, Fault)>,
}

impl LeftOut {
    /// How many are remembered.
    pub const KEPT: usize = 1_000;

    /// One more.
    pub fn push(&mut self, origin: impl FnOnce() -> Origin, fault: &Fault) {
        self.count += 1;
        if self.first.len() < Self::KEPT {
            self.first.push((origin(), fault.clone()));
        }
    }
}

/// Why a piece of media was refused: a stable code for machines and a sentence for people.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{} ({})", message, reason.code())]
pub struct Fault {
    /// The stable reason.
    pub reason: Reason,
    /// One line for a person, without the origin.
    pub message: String,
}

impl Fault {
    /// A fault with its sentence.
    pub fn new(reason: Reason, message: impl fmt::Display) -> Self {
        Fault { reason, message: message.to_string() }
    }

    /// Adds where the bytes came from.
    pub fn at(self, origin: Origin) -> Error {
        Error::Sample { origin, fault: self }
    }
}

macro_rules! reasons {
    ($($(#[$doc:meta])* $variant:ident = $code:literal),+ $(,)?) => {
        /// The stable reasons for which media is refused. The codes are part of the quarantine's format.
        #[non_exhaustive]
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum Reason { $($(#[$doc])* $variant),+ }

        impl Reason {
            /// Every reason, in the order of the documentation.
            pub const ALL: &'static [Reason] = &[$(Reason::$variant),+];

            /// The code as written into quarantine files.
            pub fn code(self) -> &'static str {
                match self { $(Reason::$variant => $code),+ }
            }

            /// The reason of a code.
            pub fn from_code(code: &str) -> Option<Self> {
                Self::ALL.iter().copied().find(|r| r.code() == code)
            }
        }
    };
}

reasons! {
    /// Zero bytes.
    Empty = "empty",
    /// The file could not be opened or read.
    Unreadable = "unreadable",
    /// The file changed between listing and reading.
    Changed = "changed",
    /// No codec recognises the content.
    UnknownFormat = "unknown-format",
    /// The content is a known format, but of another kind of media than the column's.
    WrongMedia = "wrong-media",
    /// The data ends before its own header says.
    Truncated = "truncated",
    /// The data contradicts its format.
    Corrupt = "corrupt",
    /// A valid stream of a kind that this build does not decode.
    Unsupported = "unsupported",
    /// Larger than the limits allow: pixels, samples, frames, bytes.
    OverLimit = "over-limit",
    /// Text that is not UTF-8.
    InvalidUtf8 = "invalid-utf8",
    /// A label that is missing or of the wrong type.
    BadLabel = "bad-label",
    /// A path that leaves the source, or a name that cannot be written.
    BadPath = "bad-path",
    /// A part of a recording that is none: negative, reversed, empty, or behind its end.
    BadRange = "bad-range",
    /// A licence that is not among those allowed.
    License = "license",
    /// Another content has the id in the dataset already.
    IdTaken = "id-taken",
    /// A decoder panicked; the panic was caught.
    DecoderPanic = "decoder-panic",
    /// The process that decoded it crashed (`--isolate`).
    Crashed = "crashed",
    /// It was not decoded in time (`--isolate`).
    TimedOut = "timed-out",
    /// The process that decoded it had no more memory (`--isolate`).
    OutOfMemory = "out-of-memory",
}
