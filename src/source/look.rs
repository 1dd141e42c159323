//! A first look at a root: enough for every source to say whether it fits, and bounded on any tree.

use std::path::Path;

use super::{Tree, walk};
use crate::codec::CODECS;
use crate::data::info::Kind;
use crate::error::{Error, Result};

/// Files that a look opens at the most.
pub(super) const SAMPLE: usize = 256;

/// Files that a look lists at the most before it stops going down.
const LISTED: usize = 4096;

/// What the first bytes of a file are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Content {
    /// Media that a codec of this build recognises.
    Media(Kind),
    /// Text; some of it may be no UTF-8, which is for its units to say.
    Text,
    /// No bytes.
    Empty,
    /// None of these.
    Other,
}

impl Content {
    /// What the beginning of a file (4 KiB, or all of it) is.
    pub fn of(head: &[u8]) -> Self {
        if head.is_empty() {
            return Content::Empty;
        }
        if let Some(codec) = CODECS.iter().filter(|c| c.kind() != Kind::Text).find(|c| c.sniff(head)) {
            return Content::Media(codec.kind());
        }
        // UTF-16 is text, too: a text source says what to do with it.
        if is_text(head) || utf16(head).is_some() { Content::Text } else { Content::Other }
    }

    /// The content of a file; what cannot be read is [`Content::Other`].
    pub fn of_file(path: &Path) -> Self {
        Content::within(&Tree::default(), path)
    }

    /// The same of a file of a source.
    pub(super) fn within(tree: &Tree, path: &Path) -> Self {
        tree.head(path).map_or(Content::Other, |head| Content::of(&head))
    }
}

/// Whether bytes are meant to be read: no control characters but white space and escapes, and two thirds UTF-8. So a file
/// with lines in another encoding is still text, and its bad lines are refused one by one.
fn is_text(head: &[u8]) -> bool {
    let control = |b: &u8| *b < 0x20 && !matches!(b, b'\t' | b'\n' | b'\r' | 0x0c | 0x1b) || *b == 0x7f;
    let invalid: usize = head.utf8_chunks().map(|c| c.invalid().len()).sum();
    !head.iter().any(control) && invalid * 3 <= head.len()
}

/// Whether bytes are UTF-16 with its mark in front, and which ("LE", "BE"): characters to be read, without control characters
/// but white space. (An MPEG frame can begin with the same two bytes.)
pub(super) fn utf16(head: &[u8]) -> Option<&'static str> {
    let (mark, rest) = head.split_first_chunk::<2>()?;
    let (order, unit): (_, fn([u8; 2]) -> u16) = match mark {
        [0xff, 0xfe] => ("LE", u16::from_le_bytes),
        [0xfe, 0xff] => ("BE", u16::from_be_bytes),
        _ => return None,
    };
    // A pair of surrogates may be cut at the end of the head, and 4 KiB show enough.
    let units = rest.as_chunks::<2>().0.iter().take(2046).map(|u| unit(*u));
    let bad = |c: char| (c.is_control() && !c.is_whitespace()) || matches!(c, '\u{fffe}' | '\u{ffff}');
    let read: Vec<_> = char::decode_utf16(units).collect();
    let (last, read) = read.split_last()?;
    let fine = read.iter().all(|c| c.as_ref().is_ok_and(|c| !bad(*c))) && last.as_ref().map_or(true, |c| !bad(*c));
    fine.then_some(order)
}

/// One file of a look.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    /// Relative to the root, with `/`; for a root that is a file, its name.
    pub relative: String,
    /// What it is; `None` for files beyond the sample.
    pub content: Option<Content>,
}

/// What a first look saw.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Look {
    /// Whether the root is a file.
    pub is_file: bool,
    /// Files in byte order of their paths, those of the upper folders first to be opened.
    pub files: Vec<Seen>,
    /// What it looked into.
    tree: Tree,
}

impl Look {
    /// Looks at a root: a file, or a folder.
    pub fn at(root: &Path) -> Result<Self> {
        Look::within(&Tree::default(), root)
    }

    /// Looks at a root in the tree of a source.
    pub(super) fn within(tree: &Tree, root: &Path) -> Result<Self> {
        tree.canonicalize(root).map_err(|e| Error::io(root, "open", e))?;
        if tree.is_file(root) {
            let name = root.file_name().map_or_else(String::new, |n| n.to_string_lossy().into_owned());
            let content = tree.head(root).map_err(|e| Error::io(root, "read", e))?;
            let file = Seen { relative: name, content: Some(Content::of(&content)) };
            return Ok(Look { is_file: true, files: vec![file], tree: tree.clone() });
        }
        if !tree.is_dir(root) {
            return Err(Error::config(
                format!("{} is neither a file nor a folder", root.display()),
                "give a folder of media, an archive, a manifest, or a text file",
            ));
        }
        let found = walk::glance(tree, root, LISTED)?.files;
        let mut files: Vec<Seen> = found.iter().map(|f| Seen { relative: f.relative, content: None }).collect();
        for i in sample(files.len()) {
            files[i].content = Some(Content::within(tree, &found.get(i).path));
        }
        Ok(Look { is_file: false, files, tree: tree.clone() })
    }

    /// What it looked into: files of the system, or those of an archive.
    pub fn tree(&self) -> &Tree {
        &self.tree
    }

    /// The files directly in the root.
    pub fn top(&self) -> impl Iterator<Item = &Seen> {
        self.files.iter().filter(|f| !f.relative.contains('/'))
    }

    /// How many of the opened files satisfy a condition.
    pub fn count(&self, mut is: impl FnMut(Content) -> bool) -> usize {
        self.files.iter().filter(|f| f.content.is_some_and(&mut is)).count()
    }
}

/// Which of so many files to open: all if they are few, else the same number of steps apart.
pub(super) fn sample(all: usize) -> impl Iterator<Item = usize> {
    let count = all.min(SAMPLE);
    (0..count).map(move |i| i * all / count.max(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_with_bad_lines_is_text_and_binaries_are_not() {
        let text: [&[u8]; 5] = [
            b"\xff\xfea\0b\0",
            b"plain\n",
            "\u{feff}mark \u{1f411}".as_bytes(),
            b"caf\xe9 au lait\n\xff\n",
            b"tab\tesc\x1b[0m",
        ];
        for bytes in text {
            assert_eq!(Content::of(bytes), Content::Text, "{bytes:?}");
        }
        let other: [&[u8]; 3] = [b"nul\0", b"\xff\xfe\x01\0b\0", b"\xe9\xe8a"];
        for bytes in other {
            assert_eq!(Content::of(bytes), Content::Other, "{bytes:?}");
        }
        assert_eq!(Content::of(b""), Content::Empty);
        let mut cut = "\u{1f411}".repeat(1025).into_bytes();
        cut.truncate(4095);
        assert_eq!(Content::of(&cut), Content::Text, "a character may be cut by the end of the head");
    }
}
