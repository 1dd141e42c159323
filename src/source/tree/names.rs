//! What a member of an archive may be called: a path that stays below the archive, whatever wrote it.

use crate::error::{Fault, Reason};

/// Bytes of a path at the most, as systems have it.
const LONGEST: usize = 4096;

/// What the name of a member is.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Name {
    /// A relative path with `/` and no empty parts, `.` or `..`.
    Path(String),
    /// The archive's own folder.
    Top,
    /// None that can be taken: how it may be shown, and why.
    Bad(String, Fault),
}

/// Reads a name. `backslashes` are separators in a ZIP, where some programs of Windows write them, and letters in a tar.
pub(super) fn name(bytes: &[u8], backslashes: bool) -> Name {
    let bad = |why: String| Name::Bad(shown(bytes), Fault::new(Reason::BadPath, why));
    let Ok(text) = std::str::from_utf8(bytes) else { return bad("the name is not UTF-8".into()) };
    let text = if backslashes { text.replace('\\', "/") } else { text.to_owned() };
    if text.contains('\0') {
        return bad("the name has a NUL".into());
    }
    if text.len() > LONGEST {
        return bad(format!("the name has {} bytes, a path at most {LONGEST}", text.len()));
    }
    let drive = text.as_bytes().get(1) == Some(&b':') && text.as_bytes()[0].is_ascii_alphabetic();
    if text.starts_with('/') || drive && matches!(text.as_bytes().get(2), Some(b'/' | b'\\')) {
        return bad("the path is absolute: those of an archive are below it".into());
    }
    let parts: Vec<&str> = text.split('/').filter(|part| !part.is_empty() && *part != ".").collect();
    if parts.contains(&"..") {
        return bad("the path leaves the archive (\"..\")".into());
    }
    if parts.is_empty() { Name::Top } else { Name::Path(parts.join("/")) }
}

/// A name as far as it can be written.
pub(super) fn shown(bytes: &[u8]) -> String {
    let most = bytes.len().min(LONGEST);
    String::from_utf8_lossy(&bytes[..most]).replace('\0', "\u{fffd}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_stay_below_the_archive() {
        let path = |text: &str| Name::Path(text.to_owned());
        let good: [(&[u8], bool, Name); 9] = [
            (b"a/b.png", false, path("a/b.png")),
            (b"./a//b/./c", false, path("a/b/c")),
            (b"a\\b", true, path("a/b")),
            (b"a\\..\\b", false, path("a\\..\\b")),
            (b"..a/b..", false, path("..a/b..")),
            (b"C:tale.png", false, path("C:tale.png")),
            (b"./", false, Name::Top),
            (b"", false, Name::Top),
            ("\u{1f411}".as_bytes(), false, path("\u{1f411}")),
        ];
        for (bytes, backslashes, expected) in good {
            assert_eq!(name(bytes, backslashes), expected);
        }
        let bad: [(&[u8], bool, &str); 10] = [
            (b"../x", false, "leaves"),
            (b"a/../../x", false, "leaves"),
            (b"a\\..\\..\\x", true, "leaves"),
            (b"..", false, "leaves"),
            (b"/etc/passwd", false, "absolute"),
            (b"\\x", true, "absolute"),
            (b"C:\\x", true, "absolute"),
            (b"c:/x", false, "absolute"),
            (b"a\0b", false, "NUL"),
            (b"caf\xe9", false, "UTF-8"),
        ];
        for (bytes, backslashes, why) in bad {
            match name(bytes, backslashes) {
                Name::Bad(_, fault) => assert!(fault.message.contains(why), "{bytes:?}: {fault}"),
                other => panic!("{bytes:?} is {other:?}"),
            }
        }
        assert!(matches!(name(&[b'a'; 5000], false), Name::Bad(shown, _) if shown.len() == 4096));
    }
}
