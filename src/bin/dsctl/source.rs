//! The flags that say how a source is read: those of `ingest` and `detect`.

use clap::{Args, ValueEnum};
use feedstock::data::info::Kind;
use feedstock::ingest::IngestOptions;
use feedstock::source::{Assign, ChunkTail, Count, Cut, SourceOptions, SplitDirs, TextUnit};

/// Splits with their shares.
#[derive(Debug, Clone)]
pub(crate) struct Shares(Vec<(String, f64)>);

/// Shares as a flag has them; what they are together is looked at later.
fn shares(text: &str) -> Result<Shares, String> {
    let part = |part: &str| {
        let (split, share) = part.split_once('=').ok_or(format!("{part:?} is no SPLIT=SHARE"))?;
        Ok((split.trim().to_owned(), share.trim().parse().map_err(|e| format!("{part:?}: {e}"))?))
    };
    text.split(',').map(part).collect::<Result<_, String>>().map(Shares)
}

/// How a source is read.
#[derive(Debug, Args)]
#[command(next_help_heading = "How the source is read")]
pub(crate) struct SourceFlags {
    /// What SOURCE is: folder, manifest, text, voc, .. (`dsctl list sources`). Detected unless told.
    #[arg(long, value_name = "F")]
    pub(crate) format: Option<String>,
    /// Take labels from file names: a regular expression with a group named `label` (and perhaps one named `split`).
    #[arg(long, value_name = "REGEX")]
    label_regex: Option<String>,
    /// The manifest column that holds the class.
    #[arg(long, value_name = "COLUMN")]
    label_column: Option<String>,
    /// The manifest column that holds the relative path.
    #[arg(long, value_name = "COLUMN")]
    path_column: Option<String>,
    /// The manifest column that says where in its recording a row begins, in seconds (start or offset unless told).
    #[arg(long, value_name = "COLUMN")]
    start_column: Option<String>,
    /// The manifest column that says where it ends (end unless told).
    #[arg(long, value_name = "COLUMN")]
    end_column: Option<String>,
    /// In place of an end, the manifest column that says how long it is (duration unless told).
    #[arg(long, value_name = "COLUMN")]
    duration_column: Option<String>,
    /// Rows of a manifest are whole recordings, though columns are called start and end, or offset and duration.
    #[arg(long)]
    whole_files: bool,
    /// Cut recordings into rows of so many seconds. Labels and split are the recording's.
    #[arg(long, value_name = "S")]
    chunk_seconds: Option<f64>,
    /// From the beginning of one chunk to that of the next, in seconds (the length unless told; less makes chunks overlap).
    #[arg(long, value_name = "S")]
    chunk_stride: Option<f64>,
    /// What becomes of the rest behind the last whole chunk (keep unless told).
    #[arg(long, value_enum)]
    chunk_tail: Option<Tail>,
    /// A rest that is shorter, in seconds, is dropped (0 unless told).
    #[arg(long, value_name = "S")]
    chunk_min_seconds: Option<f64>,
    /// The coordinate of the first pixel in the boxes of Pascal VOC: 1 unless told, 0 of tools that count so.
    #[arg(long, value_name = "0|1", value_parser = clap::value_parser!(u8).range(0..=1))]
    box_origin: Option<u8>,
    /// Say of each row where it comes from: columns `source`, `license` and `tool`.
    #[arg(long)]
    provenance: bool,
    /// What the source is called in the column `source` (the last part of its path unless told).
    #[arg(long, value_name = "NAME")]
    source_name: Option<String>,
    /// The licence of rows that name none in a column `license`.
    #[arg(long, value_name = "SPDX")]
    license: Option<String>,
    /// Refuse rows of any other licence than these, or of none.
    #[arg(long, value_name = "SPDX", value_delimiter = ',')]
    allow_license: Vec<String>,
    /// Assign rows to splits by these shares, in place of what the source says: train=0.8,validation=0.1,test=0.1. By a hash of the id: what is added later moves none.
    #[arg(long, value_name = "SPLIT=SHARE,..", value_parser = shares)]
    split_fractions: Option<Shares>,
    /// Rows for whose ids the first group of this expression is the same go into one split: '/(speaker\d+)_'.
    #[arg(long, value_name = "REGEX", requires = "split_fractions")]
    split_group_id: Option<String>,
    /// Another seed is another assignment (0 unless told).
    #[arg(long, value_name = "N", requires = "split_fractions")]
    split_seed: Option<u64>,
    /// The kind of media, where the files do not make it plain.
    #[arg(long, value_enum)]
    kind: Option<MediaKind>,
    /// What one row of a text file is.
    #[arg(long, value_enum)]
    text_unit: Option<Unit>,
    /// Windows of a long text: their length (4096 unless told). With it a row of a text file is a window.
    #[arg(long, value_name = "N")]
    text_window: Option<u64>,
    /// From the beginning of one window to that of the next (the length unless told; less makes windows overlap).
    #[arg(long, value_name = "N")]
    text_stride: Option<u64>,
    /// What windows are counted in (chars unless told).
    #[arg(long, value_enum)]
    text_count: Option<Units>,
    /// Where windows may end (anywhere unless told).
    #[arg(long, value_enum)]
    text_cut: Option<Ends>,
    /// The split of rows that the source puts into none (train unless told).
    #[arg(long)]
    split: Option<String>,
    /// Whether the top folders are splits: auto (only if all that hold media are called so), yes or no.
    #[arg(long, value_enum)]
    split_dirs: Option<Dirs>,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum MediaKind {
    Image,
    Audio,
    Video,
    Text,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Unit {
    Line,
    Paragraph,
    File,
    /// Stretches of a long document (`--text-window`).
    Window,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Units {
    /// Unicode characters.
    Chars,
    /// Bytes of UTF-8; no character is cut in two.
    Bytes,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Ends {
    /// Behind any character.
    Anywhere,
    /// Behind white space, where there is some near the end.
    Space,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Tail {
    /// It is a row, shorter than the others, if it has samples that no other row has.
    Keep,
    /// It is left out.
    Drop,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Dirs {
    Auto,
    Yes,
    No,
}

impl SourceFlags {
    fn apply_chunks(&self, source: &mut SourceOptions) {
        let SourceFlags { chunk_seconds, chunk_stride, chunk_tail, chunk_min_seconds, .. } = self;
        if chunk_seconds.is_some() || chunk_stride.is_some() || chunk_tail.is_some() || chunk_min_seconds.is_some() {
            let chunks = source.audio_chunks.get_or_insert_default();
            chunks.seconds = chunk_seconds.unwrap_or(chunks.seconds);
            chunks.stride = chunk_stride.or(chunks.stride);
            chunks.min_seconds = chunk_min_seconds.unwrap_or(chunks.min_seconds);
            match chunk_tail {
                Some(Tail::Keep) => chunks.tail = ChunkTail::Keep,
                Some(Tail::Drop) => chunks.tail = ChunkTail::Drop,
                None => {}
            }
        }
    }

    fn apply_provenance(&self, source: &mut SourceOptions) {
        let SourceFlags { provenance, source_name, license, allow_license, .. } = self;
        if *provenance || source_name.is_some() || license.is_some() || !allow_license.is_empty() {
            let said = source.provenance.get_or_insert_default();
            said.columns |= provenance;
            said.source = source_name.clone().or(said.source.take());
            said.license = license.clone().or(said.license.take());
            if !allow_license.is_empty() {
                said.allow.clone_from(allow_license);
            }
        }
    }

    /// Puts what was given in the place of what the options say.
    pub(crate) fn apply(&self, options: &mut IngestOptions) {
        options.format = self.format.clone().or(options.format.take());
        let source = &mut options.source;
        source.label_regex = self.label_regex.clone().or(source.label_regex.take());
        source.label_column = self.label_column.clone().or(source.label_column.take());
        source.path_column = self.path_column.clone().or(source.path_column.take());
        source.start_column = self.start_column.clone().or(source.start_column.take());
        source.end_column = self.end_column.clone().or(source.end_column.take());
        source.duration_column = self.duration_column.clone().or(source.duration_column.take());
        source.whole_files |= self.whole_files;
        source.box_origin = self.box_origin.or(source.box_origin);
        self.apply_provenance(source);
        if let Some(Shares(fractions)) = &self.split_fractions {
            let (group_id, seed) = (self.split_group_id.clone(), self.split_seed.unwrap_or_default());
            source.assign = Some(Assign { fractions: fractions.clone(), group_id, seed });
        }
        self.apply_chunks(source);
        if let Some(split) = &self.split {
            source.split.clone_from(split);
        }
        if let Some(kind) = self.kind {
            source.kind = Some(match kind {
                MediaKind::Image => Kind::Image,
                MediaKind::Audio => Kind::Audio,
                MediaKind::Video => Kind::Video,
                MediaKind::Text => Kind::Text,
            });
        }
        if let Some(unit) = self.text_unit {
            source.text_unit = match unit {
                Unit::Line => TextUnit::Line,
                Unit::Paragraph => TextUnit::Paragraph,
                Unit::File => TextUnit::File,
                Unit::Window => TextUnit::Window,
            };
        }
        if self.text_window.is_some()
            || self.text_stride.is_some()
            || self.text_count.is_some()
            || self.text_cut.is_some()
        {
            let window = source.text_window.get_or_insert_default();
            window.length = self.text_window.unwrap_or(window.length);
            window.stride = self.text_stride.or(window.stride);
            match self.text_count {
                Some(Units::Chars) => window.count = Count::Chars,
                Some(Units::Bytes) => window.count = Count::Bytes,
                None => {}
            }
            match self.text_cut {
                Some(Ends::Anywhere) => window.cut = Cut::Anywhere,
                Some(Ends::Space) => window.cut = Cut::Space,
                None => {}
            }
            if self.text_unit.is_none() {
                source.text_unit = TextUnit::Window;
            }
        }
        if let Some(dirs) = self.split_dirs {
            source.split_dirs = match dirs {
                Dirs::Auto => SplitDirs::Auto,
                Dirs::Yes => SplitDirs::Yes,
                Dirs::No => SplitDirs::No,
            };
        }
    }
}
