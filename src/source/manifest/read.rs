//! Rows of a CSV, TSV or JSONL file, before anyone knows what they mean.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

use serde::de::{Deserialize, DeserializeOwned, Deserializer, IgnoredAny, MapAccess, Visitor};

use crate::error::{Error, Fault, Reason, Result};
use crate::source::typing::Cell;
use crate::source::{Refusal, Tree};

/// Bytes of one row at the most.
const ROW_BYTES: u64 = 64 << 20;

/// Bytes of a file that are kept behind the row being read.
const KEPT: usize = 64 << 10;

/// One row.
#[derive(Debug)]
pub(in crate::source) struct Row {
    /// The line it begins on, from 1.
    pub line: u64,
    pub cells: Vec<Cell>,
    /// Of JSONL: columns of which the line has no key, ascending. Their cells are null.
    pub lacks: Vec<usize>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Syntax {
    Delimited(u8),
    JsonLines,
}

/// The syntax of a file name. The delimiter is the extension's: content cannot tell a comma in a path from one between cells.
fn syntax(name: &str) -> Option<Syntax> {
    let extension = name.rsplit_once('.')?.1.to_ascii_lowercase();
    match extension.as_str() {
        "csv" => Some(Syntax::Delimited(b',')),
        "tsv" => Some(Syntax::Delimited(b'\t')),
        "jsonl" | "ndjson" => Some(Syntax::JsonLines),
        _ => None,
    }
}

/// Whether a file is called like a manifest.
pub(super) fn is(name: &str) -> bool {
    syntax(name).is_some()
}

fn known(path: &Path) -> Result<Syntax> {
    let name = path.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
    syntax(&name).ok_or_else(|| {
        Error::config(
            format!("{} is called like no manifest", path.display()),
            "name it .csv, .tsv or .jsonl, so that the delimiter is known",
        )
    })
}

/// Quotes mean something in CSV only: in a TSV they are part of the cell, as the programs that write TSV mean them.
fn reader<R: std::io::Read>(from: R, delimiter: u8) -> csv::Reader<R> {
    csv::ReaderBuilder::new().delimiter(delimiter).quoting(delimiter == b',').flexible(true).from_reader(from)
}

/// A file under way.
type Opened = Box<dyn Read + Send>;

fn open(tree: &Tree, path: &Path) -> Result<Opened> {
    tree.open(path).map_err(|e| Error::io(path, "open", e))
}

/// The column names only: the header, or the keys of the first object.
pub(super) fn columns(tree: &Tree, path: &Path) -> Result<Vec<String>> {
    match known(path)? {
        Syntax::Delimited(delimiter) => headers(&mut reader(open(tree, path)?, delimiter), path),
        Syntax::JsonLines => {
            let file = open(tree, path)?;
            let mut line = Vec::new();
            // A manifest's row is short: a longer first line is none.
            let mut head = std::io::Read::take(BufReader::new(file), 1 << 20);
            head.read_until(b'\n', &mut line).map_err(|e| Error::io(path, "read", e))?;
            let (_, object) =
                object::<Object>(&line).ok_or_else(|| Error::config("the first line is no object", "check it"))?;
            Ok(object.map(|o| o.into_iter().map(|(k, _)| k).collect()).unwrap_or_default())
        }
    }
}

fn headers<R: std::io::Read>(reader: &mut csv::Reader<R>, path: &Path) -> Result<Vec<String>> {
    let header = reader.byte_headers().map_err(|e| broken(path, &e))?;
    let texts: Result<Vec<&str>, _> = header.iter().map(std::str::from_utf8).collect();
    let texts = texts.map_err(|_| {
        Error::config(format!("{}: the header is not UTF-8", path.display()), "save the manifest as UTF-8")
    })?;
    Ok(texts.into_iter().map(|t| t.strip_prefix('\u{feff}').unwrap_or(t).to_owned()).collect())
}

fn broken(path: &Path, error: &csv::Error) -> Error {
    if let csv::ErrorKind::Io(e) = error.kind()
        && let Some(code) = e.raw_os_error()
    {
        return Error::io(path, "read", std::io::Error::from_raw_os_error(code));
    }
    Error::config(format!("{}: {error}", path.display()), "check the manifest with a CSV tool")
}

/// The columns of a manifest.
#[derive(Debug, Default)]
pub(in crate::source) struct Columns {
    /// Their names; for JSONL in the order in which they first appear.
    pub names: Vec<String>,
    /// The place of each; of two with one name the first.
    places: BTreeMap<String, usize>,
}

/// What a row is handed to: the row, or why it is none.
pub(in crate::source) type Take<'a> = &'a mut dyn FnMut(Result<Row, Refusal>) -> Result<()>;

/// A manifest that is read several times, a row at a time: what its columns hold is known only at its end.
#[derive(Debug)]
pub(in crate::source) struct Table {
    tree: Tree,
    path: PathBuf,
    name: String,
    syntax: Syntax,
    /// Size and time of change when it was opened.
    seen: (u64, i128),
}

impl Table {
    /// Opens a manifest. `name` is what its rows are called after.
    pub(in crate::source) fn open(tree: &Tree, path: &Path, name: &str) -> Result<Self> {
        let tree = tree.clone();
        let seen = seen(&tree, path)?;
        Ok(Table { tree, path: path.to_owned(), name: name.to_owned(), syntax: known(path)?, seen })
    }

    /// The columns of tables that are read as one: of CSV the header, which all have alike; of JSONL the keys of all objects, so that all is
    /// read. `step` is called for each row.
    pub(in crate::source) fn columns<'t>(
        tables: impl IntoIterator<Item = &'t Table>,
        step: &mut dyn FnMut() -> Result<()>,
    ) -> Result<Columns> {
        let mut columns = Columns::default();
        let mut first: Option<&Table> = None;
        for table in tables {
            let before = *first.get_or_insert(table);
            if before.syntax != table.syntax {
                return Err(before.other(table, "are tables of two kinds"));
            }
            match table.syntax {
                Syntax::Delimited(delimiter) => {
                    let names = table.header(delimiter)?.1;
                    if std::ptr::eq(before, table) {
                        columns.names = names;
                    } else if columns.names != names {
                        return Err(before.other(table, "have other columns, or in another order"));
                    }
                }
                Syntax::JsonLines => table.objects(&mut |_, object: Result<Keys, Fault>| {
                    step()?;
                    for key in object.into_iter().flat_map(|keys| keys.0) {
                        if !columns.places.contains_key(&key) {
                            columns.places.insert(key.clone(), columns.names.len());
                            columns.names.push(key);
                        }
                    }
                    Ok(())
                })?,
            }
        }
        Ok(columns)
    }

    fn other(&self, other: &Table, what: &str) -> Error {
        Error::config(
            format!("{} and {} {what}", self.path.display(), other.path.display()),
            "they are read as one table: write them alike, or ingest one of them after the other",
        )
    }

    /// Hands over every row in the order of the file, one cell a column.
    pub(in crate::source) fn rows(&self, columns: &Columns, take: Take<'_>) -> Result<()> {
        match self.syntax {
            Syntax::Delimited(delimiter) => self.delimited(columns, delimiter, take),
            Syntax::JsonLines => self.objects(&mut |line, object: Result<Object, Fault>| {
                let object = match object {
                    Ok(object) => object,
                    Err(fault) => return take(Err(self.refusal(line, fault))),
                };
                let mut cells = vec![Cell::Null; columns.names.len()];
                let mut has = vec![false; cells.len()];
                for (key, value) in object {
                    let place = columns.places.get(&key).ok_or_else(|| self.changed())?;
                    has[*place] = true;
                    cells[*place] = match Cell::of_json(value) {
                        Cell::Text(text) if text.is_empty() => Cell::Null,
                        cell => cell,
                    };
                }
                let lacks = (0..has.len()).filter(|place| !has[*place]).collect();
                take(Ok(Row { line, cells, lacks }))
            }),
        }
    }

    /// Refuses a manifest that somebody wrote to since it was opened: its rows may be of two tables.
    pub(in crate::source) fn check_unchanged(&self) -> Result<()> {
        if seen(&self.tree, &self.path)? == self.seen { Ok(()) } else { Err(self.changed()) }
    }

    fn changed(&self) -> Error {
        let what = format!("{} was changed while it was read", self.path.display());
        Error::config(what, "run it again when nothing writes to it")
    }

    fn refusal(&self, line: u64, fault: Fault) -> Refusal {
        Refusal { id: format!("{}#{line}", self.name), origin: self.name.clone(), line: Some(line), fault }
    }

    /// A reader behind the header, and the names in it.
    fn header(&self, delimiter: u8) -> Result<(csv::Reader<Kept<Opened>>, Vec<String>)> {
        let mut reader = reader(Kept::new(open(&self.tree, &self.path)?), delimiter);
        let names = headers(&mut reader, &self.path)?;
        let end = reader.position().byte();
        check_quotes(&self.path, reader.get_ref().between(0, end), delimiter, 1, true)?;
        reader.get_mut().forget(end);
        Ok((reader, names))
    }

    fn delimited(&self, columns: &Columns, delimiter: u8, take: Take<'_>) -> Result<()> {
        let path = &self.path;
        let (mut reader, _) = self.header(delimiter)?;
        let mut record = csv::ByteRecord::new();
        let mut end = reader.position().byte();
        loop {
            let more = reader.read_byte_record(&mut record);
            if !more.map_err(|e| broken(path, &e))? {
                return Ok(());
            }
            let start = std::mem::replace(&mut end, reader.position().byte());
            let bytes = reader.get_ref().between(start, end);
            let line = record.position().map_or(0, |at| line(bytes, at));
            check_quotes(path, bytes, delimiter, line, record.len() == columns.names.len())?;
            reader.get_mut().forget(end);
            let row = if record.len() == columns.names.len() {
                let text = |cell: &[u8]| std::str::from_utf8(cell).map(str::to_owned);
                let cells: Result<Vec<String>, _> = record.iter().map(text).collect();
                cells.map_err(|_| Fault::new(Reason::InvalidUtf8, "the row is not UTF-8"))
            } else {
                let (has, wants) = (record.len(), columns.names.len());
                Err(Fault::new(Reason::Corrupt, format!("the row has {has} cells, the header {wants}")))
            };
            let cell = |c: String| if c.is_empty() { Cell::Null } else { Cell::Plain(c) };
            take(match row {
                Ok(cells) => Ok(Row { line, cells: cells.into_iter().map(cell).collect(), lacks: Vec::new() }),
                Err(fault) => Err(self.refusal(line, fault)),
            })?;
        }
    }

    /// Hands over every line that is not blank, as an object or with the reason why it is none.
    fn objects<T: DeserializeOwned>(&self, take: &mut dyn FnMut(u64, Result<T, Fault>) -> Result<()>) -> Result<()> {
        let mut reader = BufReader::new(open(&self.tree, &self.path)?);
        let (mut line, mut number) = (Vec::new(), 0);
        loop {
            let length = next_line(&mut reader, &mut line).map_err(|e| Error::io(&self.path, "read", e))?;
            if length == 0 {
                return Ok(());
            }
            number += 1;
            if length > ROW_BYTES {
                let what = format!("the line has {length} bytes, a row of a manifest at most {ROW_BYTES}");
                take(number, Err(Fault::new(Reason::OverLimit, what)))?;
            } else if let Some((_, object)) = object(&line) {
                take(number, object)?;
            }
        }
    }
}

fn seen(tree: &Tree, path: &Path) -> Result<(u64, i128)> {
    tree.stamp(path).map_err(|e| Error::io(path, "open", e))
}

/// Reads a line into `line`, no more than [`ROW_BYTES`] of it, and returns its whole length; 0 at the end.
fn next_line(reader: &mut impl BufRead, line: &mut Vec<u8>) -> std::io::Result<u64> {
    line.clear();
    let mut length = 0;
    loop {
        let buffer = reader.fill_buf()?;
        let newline = buffer.iter().position(|b| *b == b'\n');
        let part = &buffer[..newline.map_or(buffer.len(), |at| at + 1)];
        let used = part.len();
        length += used as u64;
        if length <= ROW_BYTES {
            line.extend_from_slice(part);
        }
        reader.consume(used);
        if newline.is_some() || used == 0 {
            return Ok(length);
        }
    }
}

/// What was read of a file and not forgotten: a record's own bytes say where its quotes stand.
struct Kept<R> {
    from: R,
    bytes: Vec<u8>,
    /// Where in the file the first of them stands.
    start: u64,
}

impl<R> Kept<R> {
    fn new(from: R) -> Self {
        Kept { from, bytes: Vec::new(), start: 0 }
    }

    /// The bytes between two places of the file.
    fn between(&self, start: u64, end: u64) -> &[u8] {
        let at = |place: u64| (place.saturating_sub(self.start) as usize).min(self.bytes.len());
        &self.bytes[at(start)..at(end).max(at(start))]
    }

    /// Forgets what stands before a place.
    fn forget(&mut self, before: u64) {
        let gone = (before.saturating_sub(self.start) as usize).min(self.bytes.len());
        // Not after every record: the rest is moved each time.
        if gone > KEPT || gone == self.bytes.len() {
            self.bytes.drain(..gone);
            self.start += gone as u64;
        }
    }
}

impl<R: Read> Read for Kept<R> {
    fn read(&mut self, into: &mut [u8]) -> std::io::Result<usize> {
        if self.bytes.len() as u64 > ROW_BYTES + KEPT as u64 {
            let what = format!("a row is longer than {ROW_BYTES} bytes: perhaps a quote opens that nothing closes");
            return Err(std::io::Error::other(what));
        }
        let read = self.from.read(into)?;
        self.bytes.extend_from_slice(&into[..read]);
        Ok(read)
    }
}

/// Refuses a record of several lines that a stray quote made: it holds rows that nobody would miss.
fn check_quotes(path: &Path, record: &[u8], delimiter: u8, line: u64, fits: bool) -> Result<()> {
    let text = record.trim_ascii();
    let lines = 1 + text.iter().filter(|b| **b == b'\n').count();
    if delimiter != b',' {
        return Ok(());
    }
    let what = match quotes(record.strip_prefix(b"\xef\xbb\xbf").unwrap_or(record), delimiter) {
        Quotes::Open => "a quote opens in it that nothing closes".to_owned(),
        Quotes::Stray if lines > 1 => format!("it goes on for {lines} lines, and text follows the quote that closes"),
        _ if lines > 1 && !fits => {
            format!("it goes on for {lines} lines, and its cells are not as many as the header's")
        }
        _ => return Ok(()),
    };
    Err(Error::config(
        format!("{}: the row that begins in line {line}: {what}", path.display()),
        "close the quote, or write a quote that is part of a cell twice in a quoted cell (\"say \"\"hi\"\"\"); \
         in a .tsv file quotes mean nothing",
    ))
}

#[derive(Debug, PartialEq, Eq)]
enum Quotes {
    Sound,
    /// Text stands between the end of a quoted part and the end of its cell.
    Stray,
    /// The end comes first.
    Open,
}

/// How the quotes of one record stand, under the rules of the reader: one that is not first in its cell is text.
fn quotes(record: &[u8], delimiter: u8) -> Quotes {
    let (mut first, mut inside, mut seen) = (true, false, Quotes::Sound);
    let mut bytes = record.iter().copied().peekable();
    while let Some(byte) = bytes.next() {
        if inside {
            if byte == b'"' && bytes.next_if_eq(&b'"').is_none() {
                inside = false;
                if bytes.peek().is_some_and(|b| *b != delimiter && !matches!(b, b'\r' | b'\n')) {
                    seen = Quotes::Stray;
                }
            }
        } else if byte == b'"' && first {
            (inside, first) = (true, false);
        } else {
            first = byte == delimiter || matches!(byte, b'\r' | b'\n');
        }
    }
    if inside { Quotes::Open } else { seen }
}

/// The line that a record begins on: the reader places it before the line ends that precede it, where its bytes begin.
fn line(bytes: &[u8], at: &csv::Position) -> u64 {
    at.line() + bytes.iter().take_while(|b| matches!(b, b'\r' | b'\n')).filter(|b| **b == b'\n').count() as u64
}

/// The keys of an object, its values passed over.
struct Keys(Vec<String>);

impl<'de> Deserialize<'de> for Keys {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(KeysVisitor)
    }
}

struct KeysVisitor;

impl<'de> Visitor<'de> for KeysVisitor {
    type Value = Keys;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Keys, A::Error> {
        let mut keys = Vec::new();
        while let Some((key, _)) = map.next_entry::<String, IgnoredAny>()? {
            keys.push(key);
        }
        Ok(Keys(keys))
    }
}

type Object = serde_json::Map<String, serde_json::Value>;

/// The object of a line (or why there is none); `None` for a blank line. The first part says whether a mark stood before it.
fn object<T: DeserializeOwned>(line: &[u8]) -> Option<(bool, Result<T, Fault>)> {
    let marked = line.starts_with(b"\xef\xbb\xbf");
    let line = if marked { &line[3..] } else { line };
    if line.iter().all(u8::is_ascii_whitespace) {
        return None;
    }
    let parsed = match std::str::from_utf8(line) {
        Err(_) => Err(Fault::new(Reason::InvalidUtf8, "the line is not UTF-8")),
        Ok(text) => serde_json::from_str(text)
            .map_err(|e| Fault::new(Reason::Corrupt, format!("the line is not a JSON object: {e}"))),
    };
    Some((marked, parsed))
}
