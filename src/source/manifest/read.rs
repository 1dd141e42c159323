//! Rows of a CSV, TSV or JSONL file, before anyone knows what they mean.

use std::io::{BufRead as _, BufReader};
use std::path::Path;

use crate::error::{Error, Fault, Reason, Result};
use crate::source::Refusal;
use crate::source::typing::Cell;

/// A manifest as it lies there.
#[derive(Debug, Default)]
pub(super) struct Table {
    /// Column names; for JSONL in the order in which they first appear.
    pub columns: Vec<String>,
    /// Rows, one cell a column.
    pub rows: Vec<Row>,
    /// Rows that are none.
    pub refused: Vec<Refusal>,
    pub notes: Vec<String>,
}

/// One row.
#[derive(Debug)]
pub(super) struct Row {
    /// The line it begins on, from 1.
    pub line: u64,
    pub cells: Vec<Cell>,
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

fn open(path: &Path) -> Result<std::fs::File> {
    std::fs::File::open(path).map_err(|e| Error::io(path, "open", e))
}

/// The column names only: the header, or the keys of the first object.
pub(super) fn columns(path: &Path) -> Result<Vec<String>> {
    match known(path)? {
        Syntax::Delimited(delimiter) => headers(&mut reader(open(path)?, delimiter), path),
        Syntax::JsonLines => {
            let file = open(path)?;
            let mut line = Vec::new();
            // A manifest's row is short: a longer first line is none.
            let mut head = std::io::Read::take(BufReader::new(file), 1 << 20);
            head.read_until(b'\n', &mut line).map_err(|e| Error::io(path, "read", e))?;
            let (_, object) = object(&line).ok_or_else(|| Error::config("the first line is no object", "check it"))?;
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
    Error::config(format!("{}: {error}", path.display()), "check the manifest with a CSV tool")
}

/// All rows.
pub(super) fn table(path: &Path, name: &str) -> Result<Table> {
    match known(path)? {
        Syntax::Delimited(delimiter) => delimited(path, name, delimiter),
        Syntax::JsonLines => json_lines(path, name),
    }
}

fn delimited(path: &Path, name: &str, delimiter: u8) -> Result<Table> {
    let bytes = std::fs::read(path).map_err(|e| Error::io(path, "read", e))?;
    let mut reader = reader(bytes.as_slice(), delimiter);
    let mut table = Table { columns: headers(&mut reader, path)?, ..Table::default() };
    let mut record = csv::ByteRecord::new();
    let mut end = place(&bytes, reader.position());
    check_quotes(path, &bytes[..end], delimiter, 1, true)?;
    while reader.read_byte_record(&mut record).map_err(|e| broken(path, &e))? {
        let line = record.position().map_or(0, |at| line(&bytes, at));
        let start = std::mem::replace(&mut end, place(&bytes, reader.position()));
        check_quotes(path, &bytes[start..end], delimiter, line, record.len() == table.columns.len())?;
        let row = if record.len() == table.columns.len() {
            let text = |cell: &[u8]| std::str::from_utf8(cell).map(str::to_owned);
            let cells: Result<Vec<String>, _> = record.iter().map(text).collect();
            cells.map_err(|_| Fault::new(Reason::InvalidUtf8, "the row is not UTF-8"))
        } else {
            let (has, wants) = (record.len(), table.columns.len());
            Err(Fault::new(Reason::Corrupt, format!("the row has {has} cells, the header {wants}")))
        };
        match row {
            Ok(cells) => {
                let cell = |c: String| if c.is_empty() { Cell::Null } else { Cell::Plain(c) };
                table.rows.push(Row { line, cells: cells.into_iter().map(cell).collect() });
            }
            Err(fault) => table.refused.push(refusal(name, line, fault)),
        }
    }
    Ok(table)
}

fn place(bytes: &[u8], at: &csv::Position) -> usize {
    usize::try_from(at.byte()).unwrap_or(usize::MAX).min(bytes.len())
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

/// The line that a record begins on: the reader places it before the line ends that precede it.
fn line(bytes: &[u8], at: &csv::Position) -> u64 {
    let rest = usize::try_from(at.byte()).ok().and_then(|at| bytes.get(at..)).unwrap_or_default();
    at.line() + rest.iter().take_while(|b| matches!(b, b'\r' | b'\n')).filter(|b| **b == b'\n').count() as u64
}

fn refusal(name: &str, line: u64, fault: Fault) -> Refusal {
    Refusal { id: format!("{name}#{line}"), origin: name.to_owned(), line: Some(line), fault }
}

type Object = serde_json::Map<String, serde_json::Value>;

/// The object of a line (or why there is none); `None` for a blank line. The first part says whether a mark stood before it.
fn object(line: &[u8]) -> Option<(bool, Result<Object, Fault>)> {
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

fn json_lines(path: &Path, name: &str) -> Result<Table> {
    let mut reader = BufReader::new(open(path)?);
    let mut table = Table::default();
    let (mut line, mut number) = (Vec::new(), 0);
    let mut places = std::collections::BTreeMap::new();
    let mut nested = std::collections::BTreeSet::new();
    loop {
        line.clear();
        if reader.read_until(b'\n', &mut line).map_err(|e| Error::io(path, "read", e))? == 0 {
            break;
        }
        number += 1;
        let object = match object(&line) {
            None => continue,
            Some((_, Ok(object))) => object,
            Some((_, Err(fault))) => {
                table.refused.push(refusal(name, number, fault));
                continue;
            }
        };
        let mut cells = vec![Cell::Null; table.columns.len()];
        for (key, value) in object {
            let place = *places.entry(key.clone()).or_insert_with(|| {
                table.columns.push(key.clone());
                cells.push(Cell::Null);
                table.columns.len() - 1
            });
            cells[place] = match Cell::of_json(value) {
                Cell::Text(text) if text.is_empty() => Cell::Null,
                cell => cell,
            };
            if matches!(cells[place], Cell::Nested(_)) {
                nested.insert(key);
            }
        }
        table.rows.push(Row { line: number, cells });
    }
    for row in &mut table.rows {
        row.cells.resize(table.columns.len(), Cell::Null);
    }
    table.notes =
        nested.into_iter().map(|c| format!("column {c:?} holds lists or objects: kept as JSON text")).collect();
    Ok(table)
}
