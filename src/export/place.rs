//! Where the files of rows go: under their ids, as far as these can be names of files, and no two in one place.

use std::collections::HashSet;

use xxhash_rust::xxh3::xxh3_64;

use super::Writer;
use super::row::Outgoing;
use crate::data::info::Format;

/// Paths that are taken, by their hashes: two that are taken for one cost a row its name, and no more.
#[derive(Default)]
pub(super) struct Taken {
    files: HashSet<u64>,
    folders: HashSet<u64>,
    /// The file system takes `A` and `a` for one name.
    folds: bool,
}

impl Taken {
    /// Nothing yet; `folds`: the file system takes `A` and `a` for one name.
    pub(super) fn new(folds: bool) -> Self {
        Taken { folds, ..Taken::default() }
    }

    fn hash(&self, path: &str) -> u64 {
        if self.folds { xxh3_64(path.to_lowercase().as_bytes()) } else { xxh3_64(path.as_bytes()) }
    }

    /// Takes files, all or none: `false` if one is there already, or is a folder of another, or has a file among its folders.
    pub(super) fn take(&mut self, paths: &[&str]) -> bool {
        let above =
            |path: &'_ str| -> Vec<u64> { path.match_indices('/').map(|(at, _)| self.hash(&path[..at])).collect() };
        let files: Vec<u64> = paths.iter().map(|path| self.hash(path)).collect();
        let folders: Vec<u64> = paths.iter().flat_map(|path| above(path)).collect();
        if files.iter().any(|file| self.files.contains(file) || self.folders.contains(file))
            || folders.iter().any(|folder| self.files.contains(folder))
        {
            return false;
        }
        self.files.extend(files);
        self.folders.extend(folders);
        true
    }
}

/// Where the media of a row go: under its id, or, if another row has that already, or the same file of labels, under its number.
pub(super) fn placed(
    writer: &mut dyn Writer,
    row: &mut Outgoing<'_>,
    ending: &str,
    taken: &mut Taken,
) -> Result<String, String> {
    for again in 0..100 {
        let path = writer.place(row)?;
        let beside = writer.beside(&path);
        let paths: Vec<&str> = [path.as_str()].into_iter().chain(beside.iter().map(String::as_str)).collect();
        if taken.take(&paths) {
            return Ok(path);
        }
        row.name = match again {
            0 => format!("row-{:09}.{ending}", row.number),
            _ => format!("row-{:09}-{again}.{ending}", row.number),
        };
    }
    Err("other rows have all names that it could have".into())
}

/// Endings of media, by which readers know what files are. What has another, or none, gets that of its format.
const ENDINGS: &[&str] = &[
    "3gp", "aac", "aif", "aifc", "aiff", "apng", "asf", "avi", "avif", "bmp", "caf", "dds", "dib", "exr", "flac",
    "flv", "gif", "hdr", "heic", "ico", "jfif", "jpe", "jpeg", "jpg", "m2ts", "m4a", "m4v", "mka", "mkv", "mov", "mp2",
    "mp3", "mp4", "mpeg", "mpg", "mts", "mxf", "oga", "ogg", "ogv", "opus", "pam", "pbm", "pgm", "png", "pnm", "ppm",
    "qoi", "tga", "tif", "tiff", "ts", "wav", "wave", "webm", "webp", "wma", "wmv",
];

/// The path as a file may have it, with an ending that tells what it is; `None` for one that leads elsewhere, or ends the line of a list.
pub(super) fn safe(path: &str, format: Format) -> Option<String> {
    let odd = |part: &str| part.is_empty() || part == "." || part == ".." || part.len() > 200 || part.trim() != part;
    let breaks = |c: char| c.is_control() || matches!(c, '\\' | ':' | '\u{2028}' | '\u{2029}');
    if path.len() > 1_000 || path.contains(breaks) || path.split('/').any(odd) {
        return None;
    }
    let known = path.rsplit_once('.').is_some_and(|(stem, end)| {
        !stem.ends_with('/') && !stem.is_empty() && ENDINGS.contains(&end.to_ascii_lowercase().as_str())
    });
    Some(if known { path.to_owned() } else { format!("{path}.{}", format.extension()) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_format_of_media_has_an_ending_that_is_known() {
        for format in Format::ALL.iter().filter(|format| format.kind().is_media()) {
            assert!(ENDINGS.contains(&format.extension()), "{format:?}");
        }
    }
}
