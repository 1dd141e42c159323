//! Names of pictures, and of what stands beside them.

#[cfg(feature = "annotations")]
use super::{SourceOptions, SplitDirs, labels};
#[cfg(feature = "annotations")]
use crate::error::Fault;

/// What the names of pictures end in. Only to tell them from what is said of them: what a file is, its content says.
#[cfg(feature = "annotations")]
const EXTENSIONS: &[&str] =
    &["jpg", "jpeg", "png", "bmp", "gif", "webp", "tif", "tiff", "ppm", "pgm", "pbm", "tga", "avif", "exr", "hdr"];

/// Whether a file is called like a picture.
#[cfg(feature = "annotations")]
pub(super) fn is(name: &str) -> bool {
    let extension = name.rsplit_once('.').map(|(_, extension)| extension);
    extension.is_some_and(|extension| EXTENSIONS.iter().any(|known| known.eq_ignore_ascii_case(extension)))
}

/// The folder of a relative path (without a slash at its end) and the stem of its name.
pub(super) fn parts(relative: &str) -> (&str, &str) {
    let (dir, name) = relative.rsplit_once('/').unwrap_or(("", relative));
    (dir, name.rsplit_once('.').map_or(name, |(stem, _)| stem))
}

/// A path below a folder, which may be the root.
pub(super) fn join(dir: &str, name: &str) -> String {
    if dir.is_empty() { name.to_owned() } else { format!("{dir}/{name}") }
}

/// The split that the first folder of a path is called like, if folders may be splits.
#[cfg(feature = "annotations")]
pub(super) fn split_of(relative: &str, options: &SourceOptions) -> Result<Option<String>, Fault> {
    let Some((top, _)) = relative.split_once('/') else { return Ok(None) };
    match options.split_dirs {
        SplitDirs::No => Ok(None),
        SplitDirs::Auto => Ok(labels::split_of(top).map(str::to_owned)),
        SplitDirs::Yes => labels::split_name(top).map(Some),
    }
}
