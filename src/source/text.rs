//! Plain text: a row a line, a paragraph, a window or a file, from one file or a folder of them (with class folders or without).

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::sync::Arc;

use super::layout::Layout;
use super::look::{self, Content};
use super::tree::unreadable;
use super::walk::{self, Found};
use super::windows::{Window, windows};
use super::{Entry, EntryCell, Evidence, Lister, Look, Refusal, Source, SourceEntry, SourceOptions, TextUnit, Tree};
use super::{folder, labels};
use crate::data::feature::{Feature, Schema};
use crate::error::{Error, Fault, Reason, Result};

/// The table's row.
pub const ENTRY: SourceEntry = SourceEntry {
    name: "text",
    version: 1,
    summary: "plain text files: a row a line, a blank-line paragraph, a window of a long document or a file",
    build: || Box::new(Text),
};

/// The mark that some editors put in front of UTF-8.
const BOM: &[u8] = b"\xef\xbb\xbf";

/// Plain text files.
#[derive(Debug, Clone, Copy, Default)]
pub struct Text;

impl Source for Text {
    fn name(&self) -> &'static str {
        ENTRY.name
    }

    fn detect(&self, _root: &Path, look: &Look) -> Option<Evidence> {
        let text = look.count(|c| c == Content::Text);
        let media = look.count(|c| matches!(c, Content::Media(_)));
        let opened = look.count(|_| true);
        (text > 0 && text > media)
            .then(|| Evidence::new(50, format!("{text} of {opened} sampled files are UTF-8 text")))
    }

    fn list(&self, root: &Path, options: &SourceOptions, lister: &mut Lister<'_>) -> Result<Schema> {
        let mut labelled = false;
        labels::unused("text", &labels::of_manifests(options))?;
        let tree = lister.tree().clone();
        if tree.is_file(root) {
            labels::unused("a text file", &[("--label-regex", &options.label_regex)])?;
            let bytes = tree.stamp(root).map_err(|e| Error::io(root, "open", e))?.0;
            let name = root.file_name().and_then(|n| n.to_str()).ok_or_else(|| {
                Error::config(format!("the name of {} is not UTF-8", root.display()), "rename the file")
            })?;
            let found = Found { relative: name.to_owned(), path: root.to_owned(), bytes };
            file(lister, found, &labels::default_split(options)?, None, options)?;
        } else {
            let walk = walk::walk(root, lister)?;
            if walk.files.is_empty() && walk.refused == 0 {
                return Err(folder::empty(root));
            }
            for note in walk.notes() {
                lister.note(note);
            }
            let text = |found: &Found| Content::within(&tree, &found.path) == Content::Text;
            let layout = Layout::of(&walk.files, options, text)?;
            labelled = layout.labelled;
            layout.each(&walk.files, lister, text, |lister, found, split, label| {
                let label = labelled.then(|| label.map_or(EntryCell::NULL, EntryCell::Class));
                file(lister, found, &split, label, options)
            })?;
        }
        let mut columns = vec![("text", Feature::Text)];
        if labelled {
            columns.push(("label", Feature::ClassLabel { names: Vec::new() }));
        }
        Ok(Schema::new(columns))
    }
}

/// Adds the units of one file, or its refusal.
fn file(
    lister: &mut Lister<'_>,
    found: Found,
    split: &str,
    label: Option<EntryCell>,
    options: &SourceOptions,
) -> Result<()> {
    let Found { relative, path, bytes } = found;
    let path: Arc<Path> = path.into();
    let whole = options.text_unit == TextUnit::File;
    let tree = lister.tree().clone();
    let read = units(&tree, &path, bytes, options, |Unit { number, line, start, end }| {
        let slice = EntryCell::Slice { path: Arc::clone(&path), range: start..end, file_bytes: bytes };
        lister.entry(Entry {
            id: if whole { relative.clone() } else { format!("{relative}#{number}") },
            split: split.to_owned(),
            cells: std::iter::once(slice).chain(label.clone()).collect(),
            origin: relative.clone(),
            line: (!whole).then_some(line),
        })
    })?;
    match read {
        Ok(()) => Ok(()),
        Err(fault) => lister.refuse(Refusal::file(relative, fault)),
    }
}

/// One unit: what its id ends in (the line it begins on, or the number of the window), the line it begins on (from 1) and its
/// bytes, without the line end.
#[derive(Debug, PartialEq, Eq)]
struct Unit {
    number: u64,
    line: u64,
    start: u64,
    end: u64,
}

/// Finds the units of a file in one pass, in the memory of a buffer or of one window. The outer error is `take`'s.
fn units(
    tree: &Tree,
    path: &Path,
    bytes: u64,
    options: &SourceOptions,
    mut take: impl FnMut(Unit) -> Result<()>,
) -> Result<Result<(), Fault>> {
    let mut reader = match tree.open(path) {
        Ok(file) => BufReader::with_capacity(1 << 16, file),
        Err(e) => return Ok(Err(unreadable(e))),
    };
    let head = match reader.fill_buf() {
        Ok(head) => head,
        Err(e) => return Ok(Err(unreadable(e))),
    };
    if let Content::Media(kind) = Content::of(&head[..head.len().min(4096)]) {
        return Ok(Err(Fault::new(Reason::WrongMedia, format!("the content is {}, not text", kind.name()))));
    }
    if head.is_empty() {
        return Ok(Err(Fault::new(Reason::Empty, "the file has no bytes")));
    }
    if let Some(order) = look::utf16(head) {
        let way = format!("make UTF-8 of it: iconv -f UTF-16{order} -t UTF-8 (or any editor)");
        return Ok(Err(Fault::new(Reason::InvalidUtf8, format!("the file is UTF-16{order}: {way}"))));
    }
    let unit = options.text_unit;
    let mut at = if head.starts_with(BOM) { BOM.len() } else { 0 } as u64;
    if unit == TextUnit::File {
        return take(Unit { number: 1, line: 1, start: at, end: bytes }).map(Ok);
    }
    reader.consume(at as usize);
    let (mut line, mut any) = (0, false);
    let nothing = || Ok(Err(Fault::new(Reason::Empty, "there is nothing but white space in it")));
    if unit == TextUnit::Window {
        let found = windows(&mut reader, at, &options.text_window.unwrap_or_default(), |window| {
            let Window { number, line, start, end, blank } = window;
            any |= !blank;
            if blank { Ok(()) } else { take(Unit { number, line, start, end }) }
        })?;
        return match found {
            Err(e) => Ok(Err(unreadable(e))),
            Ok(()) if any => Ok(Ok(())),
            Ok(()) => nothing(),
        };
    }
    // The unit whose end is not known yet.
    let mut open: Option<Unit> = None;
    loop {
        let Line { length, content, blank } = match next_line(&mut reader) {
            Ok(Some(line)) => line,
            Ok(None) => break,
            Err(e) => return Ok(Err(unreadable(e))),
        };
        line += 1;
        if !blank && let Some(unit) = &mut open {
            unit.end = at + content;
        } else {
            if let Some(unit) = open.take() {
                take(unit)?;
            }
            if !blank {
                any = true;
                let found = Unit { number: line, line, start: at, end: at + content };
                if unit == TextUnit::Paragraph { open = Some(found) } else { take(found)? }
            }
        }
        at += length;
    }
    if let Some(unit) = open {
        take(unit)?;
    }
    if any { Ok(Ok(())) } else { nothing() }
}

/// A line: all its bytes, those before the line end, and whether these are nothing but white space.
struct Line {
    length: u64,
    content: u64,
    blank: bool,
}

/// Passes over one line without keeping it, so that a file of one endless line costs no memory.
fn next_line(reader: &mut impl std::io::BufRead) -> std::io::Result<Option<Line>> {
    let mut line = Line { length: 0, content: 0, blank: true };
    let mut last = 0;
    loop {
        let buffer = reader.fill_buf()?;
        if buffer.is_empty() {
            // A carriage return at the very end ends nothing: it stays.
            line.content = line.length;
            return Ok((line.length > 0).then_some(line));
        }
        let newline = buffer.iter().position(|b| *b == b'\n');
        let part = &buffer[..newline.unwrap_or(buffer.len())];
        line.blank &= part.iter().all(u8::is_ascii_whitespace);
        last = part.last().copied().unwrap_or(last);
        line.length += part.len() as u64;
        if newline.is_some() {
            line.content = line.length - u64::from(last == b'\r');
            line.length += 1;
            let used = part.len() + 1;
            reader.consume(used);
            return Ok(Some(line));
        }
        let used = part.len();
        reader.consume(used);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::{Cut, TextWindow, listing};

    fn texts(bytes: &[u8], text_unit: TextUnit) -> Vec<(String, String)> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.txt");
        std::fs::write(&path, bytes).unwrap();
        let (_, entries) = listing::listed(&Text, &path, &SourceOptions { text_unit, ..Default::default() }).unwrap();
        let text = |e: &Entry| match &e.cells[0] {
            EntryCell::Slice { range, file_bytes, .. } => {
                assert_eq!(*file_bytes, bytes.len() as u64);
                String::from_utf8_lossy(&bytes[range.start as usize..range.end as usize]).into_owned()
            }
            other => panic!("{other:?}"),
        };
        entries.iter().map(|e| (e.id.clone(), text(e))).collect()
    }

    fn pairs(expected: &[(&str, &str)]) -> Vec<(String, String)> {
        expected.iter().map(|(a, b)| ((*a).to_owned(), (*b).to_owned())).collect()
    }

    #[test]
    fn lines_and_paragraphs_lose_marks_line_ends_and_blanks() {
        let bytes = b"\xef\xbb\xbfone\r\ntwo\n \t\r\n\nthree\r\nfour\xff";
        assert_eq!(
            texts(bytes, TextUnit::Line),
            pairs(&[("a.txt#1", "one"), ("a.txt#2", "two"), ("a.txt#5", "three"), ("a.txt#6", "four\u{fffd}")])
        );
        assert_eq!(
            texts(bytes, TextUnit::Paragraph),
            pairs(&[("a.txt#1", "one\r\ntwo"), ("a.txt#5", "three\r\nfour\u{fffd}")])
        );
        assert_eq!(texts(b"\xef\xbb\xbfx\n", TextUnit::File), pairs(&[("a.txt", "x\n")]));
    }

    #[test]
    fn windows_are_numbered_from_0_and_blank_ones_are_left_out() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.txt");
        std::fs::write(&path, b"\xef\xbb\xbfone two three\n      \nfour").unwrap();
        let window = TextWindow { length: 6, cut: Cut::Space, ..Default::default() };
        let options =
            SourceOptions { text_unit: TextUnit::Window, text_window: Some(window), ..SourceOptions::default() };
        let (_, entries) = listing::listed(&Text, &path, &options).unwrap();
        let seen: Vec<_> = entries.iter().map(|e| (e.id.as_str(), e.line, e.cells[0].bytes())).collect();
        let expected =
            [("a.txt#0", Some(1), 4), ("a.txt#1", Some(1), 4), ("a.txt#2", Some(1), 6), ("a.txt#4", Some(2), 5)];
        assert_eq!(seen, expected);
        let wrong = SourceOptions { text_unit: TextUnit::Line, ..options };
        assert!(wrong.validate().unwrap_err().to_string().contains("--text-unit window"));
    }

    #[test]
    fn utf_16_is_refused_by_its_name() {
        let dir = tempfile::tempdir().unwrap();
        let text = "Zw\u{f6}lf Boxk\u{e4}mpfer\n\u{1f411}\n";
        for (name, bytes) in [
            (
                "le.txt",
                std::iter::once(0xfeff).chain(text.encode_utf16()).flat_map(u16::to_le_bytes).collect::<Vec<u8>>(),
            ),
            ("be.txt", std::iter::once(0xfeff).chain(text.encode_utf16()).flat_map(u16::to_be_bytes).collect()),
            ("ok.txt", text.as_bytes().to_vec()),
        ] {
            std::fs::write(dir.path().join(name), bytes).unwrap();
        }
        let (listing, entries) = listing::listed(&Text, dir.path(), &SourceOptions::default()).unwrap();
        assert_eq!(entries.len(), 2);
        let refused: Vec<_> = listing.refused.iter().map(|r| r.unwrap()).collect();
        let told: Vec<_> = refused.iter().map(|r| (r.id.as_str(), r.fault.reason)).collect();
        assert_eq!(told, [("be.txt", Reason::InvalidUtf8), ("le.txt", Reason::InvalidUtf8)]);
        assert!(refused[1].fault.message.contains("iconv -f UTF-16LE"), "{}", refused[1].fault.message);
    }

    #[test]
    fn ids_are_in_the_order_of_the_file() {
        let ids: Vec<String> = texts(&b"x\n".repeat(12), TextUnit::Line).into_iter().map(|(id, _)| id).collect();
        assert_eq!((ids[0].as_str(), ids[1].as_str(), ids[9].as_str()), ("a.txt#1", "a.txt#2", "a.txt#10"));
    }

    #[test]
    fn a_file_of_nothing_is_refused_and_folders_give_labels() {
        let dir = tempfile::tempdir().unwrap();
        for (name, bytes) in [("neg/a", "bad\n"), ("pos/b", "good\nfine"), ("pos/c", ""), ("pos/d", "\n \n")] {
            let path = dir.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, bytes).unwrap();
        }
        let (listing, entries) = listing::listed(&Text, dir.path(), &SourceOptions::default()).unwrap();
        let seen: Vec<_> = entries.iter().map(|e| (e.id.as_str(), e.cells[1].clone())).collect();
        let class = |name: &str| EntryCell::Class(name.into());
        assert_eq!(seen, [("neg/a#1", class("neg")), ("pos/b#1", class("pos")), ("pos/b#2", class("pos"))]);
        assert_eq!(listing.schema.get("label"), Some(&Feature::ClassLabel { names: vec!["neg".into(), "pos".into()] }));
        let refused: Vec<_> = listing.refused.iter().map(|r| r.map(|r| (r.id, r.fault.reason)).unwrap()).collect();
        assert_eq!(refused, [("pos/c".to_owned(), Reason::Empty), ("pos/d".to_owned(), Reason::Empty)]);
    }
}
