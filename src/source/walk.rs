//! The walk below a root: what is there, in byte order, and what is not followed.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Read as _;
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use super::tree::Node;
use super::{Lister, Refusal, Tree};
use crate::error::{Error, Fault, Reason, Result};
use crate::spool::{Sorted, Sorter, Spill};

/// Files that systems leave behind and nobody means.
const JUNK: &[&str] = &["Thumbs.db", "desktop.ini", "__MACOSX"];

/// Whether nobody looks at what is called so.
pub(super) fn is_hidden(name: &str) -> bool {
    name.starts_with('.') || JUNK.contains(&name)
}

/// Of the folders that are left out so many are named in a note.
const NAMED: usize = 10;
/// Folders deeper than this are refused: a loop of mounts, not a dataset.
const DEPTH: usize = 64;

/// One regular file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Found {
    /// Relative to the root, with `/`.
    pub relative: String,
    /// Where it is.
    pub path: PathBuf,
    /// Its size.
    pub bytes: u64,
}

impl Found {
    /// The last part of the path.
    pub(super) fn file_name(&self) -> &str {
        self.relative.rsplit('/').next().unwrap_or(&self.relative)
    }
}

/// Regular files below a root in byte order of their relative paths.
#[derive(Debug, Default)]
pub(super) struct Files {
    root: PathBuf,
    sorted: Sorted,
}

impl Files {
    /// Some paths as if a walk had found them.
    #[cfg(test)]
    pub(super) fn of(root: &Path, paths: &[&str]) -> Result<Self> {
        let mut files = Sorter::new(&Spill::temporary());
        for path in paths {
            files.push(path.as_bytes(), &1u64.to_le_bytes())?;
        }
        Ok(Files { root: root.to_owned(), sorted: files.finish()? })
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.sorted.len()
    }

    /// Whether there are none.
    pub(super) fn is_empty(&self) -> bool {
        self.sorted.is_empty()
    }

    /// A file by its place.
    pub(super) fn get(&self, at: usize) -> Found {
        let (relative, bytes) = self.sorted.get(at);
        // The names were UTF-8 when they came in.
        let relative = String::from_utf8_lossy(relative).into_owned();
        let bytes = bytes.try_into().map(u64::from_le_bytes).unwrap_or_default();
        Found { path: self.root.join(&relative), relative, bytes }
    }

    /// The places of all that is below a folder; of the root, all.
    #[cfg(feature = "annotations")]
    pub(super) fn below(&self, dir: &str) -> std::ops::Range<usize> {
        if dir.is_empty() {
            return 0..self.len();
        }
        // What is behind a slash comes before what is behind the next byte.
        self.sorted.at_least(format!("{dir}/").as_bytes())..self.sorted.at_least(format!("{dir}0").as_bytes())
    }

    /// The place of a file by its relative path.
    #[cfg(feature = "annotations")]
    pub(super) fn find(&self, relative: &str) -> Option<usize> {
        self.sorted.position(relative.as_bytes())
    }

    /// All of them in order.
    pub(super) fn iter(&self) -> impl ExactSizeIterator<Item = Found> {
        (0..self.len()).map(|at| self.get(at))
    }
}

/// What a walk saw.
#[derive(Debug, Default)]
pub(super) struct Walk {
    /// Regular files.
    pub files: Files,
    /// How much was not followed; the lister has each.
    pub refused: u64,
    /// How many folders there are among that, with everything inside.
    folders: u64,
    /// The first of the folders, and why they were left out.
    named: BTreeMap<String, String>,
    /// Hidden files and folders, and what systems leave behind.
    pub hidden: u64,
}

impl Walk {
    /// What a person should know: a folder that is not followed may be a whole class.
    pub(super) fn notes(&self) -> Vec<String> {
        let mut notes = Vec::new();
        if let Some((first, why)) = self.named.first_key_value() {
            let shown = self.named.keys().map(|f| format!("{f:?}")).collect::<Vec<_>>().join(", ");
            let more = self.folders - self.named.len() as u64;
            let more = if more > 0 { format!(" and {more} more") } else { String::new() };
            notes.push(format!("folders left out with all that is in them: {shown}{more} ({first:?}: {why})"));
        }
        if self.hidden > 0 {
            notes.push(format!("{} hidden files or folders are not read", self.hidden));
        }
        notes
    }
}

/// Lists the files below `root`. Hidden files and folders are not looked at; links to files within the root are read, all
/// other links, devices, pipes and sockets are refused.
pub(super) fn walk(root: &Path, lister: &mut Lister<'_>) -> Result<Walk> {
    let (spill, tree) = (lister.spill().clone(), lister.tree().clone());
    descend_all(&tree, root, usize::MAX, &spill, Some((lister, true)))
}

/// As [`walk`], and refuses nothing: only some of the files are the source's.
pub(super) fn scan(root: &Path, lister: &mut Lister<'_>) -> Result<Walk> {
    let (spill, tree) = (lister.spill().clone(), lister.tree().clone());
    descend_all(&tree, root, usize::MAX, &spill, Some((lister, false)))
}

/// As [`walk`], and goes into no further folder once `limit` files are there.
pub(super) fn glance(tree: &Tree, root: &Path, limit: usize) -> Result<Walk> {
    descend_all(tree, root, limit, &Spill::temporary(), None)
}

/// Beside the lister is whether it is told what is refused.
fn descend_all(
    tree: &Tree,
    root: &Path,
    limit: usize,
    spill: &Spill,
    lister: Option<(&mut Lister<'_>, bool)>,
) -> Result<Walk> {
    let real = tree.canonicalize(root).map_err(|e| Error::io(root, "open", e))?;
    let mut descent =
        Descent { tree, root: &real, limit, lister, found: 0, files: Sorter::new(spill), walk: Walk::default() };
    for (shown, fault) in tree.nameless(&real) {
        descent.refuse(shown.to_owned(), None, fault)?;
    }
    descent.folder(&real, "", 0)?;
    let Descent { files, walk, .. } = descent;
    let files = Files { sorted: files.finish()?, root: real };
    Ok(Walk { files, ..walk })
}

/// A walk under way.
struct Descent<'a, 'l> {
    tree: &'a Tree,
    root: &'a Path,
    limit: usize,
    lister: Option<(&'a mut Lister<'l>, bool)>,
    found: usize,
    files: Sorter,
    walk: Walk,
}

impl Descent<'_, '_> {
    fn refuse(&mut self, relative: String, path: Option<&Path>, fault: Fault) -> Result<()> {
        let walk = &mut self.walk;
        walk.refused += 1;
        if path.is_some_and(|path| self.tree.is_dir(path)) {
            walk.folders += 1;
            walk.named.insert(relative.clone(), fault.message.clone());
            if walk.named.len() > NAMED {
                walk.named.pop_last();
            }
        }
        match &mut self.lister {
            Some((lister, true)) => lister.refuse(Refusal::file(relative, fault)),
            _ => Ok(()),
        }
    }

    fn folder(&mut self, dir: &Path, prefix: &str, depth: usize) -> Result<()> {
        if let Some(children) = self.tree.children(dir) {
            return self.members(children, prefix, depth);
        }
        let listing = match fs::read_dir(dir) {
            Ok(listing) => listing,
            Err(e) if depth == 0 => return Err(Error::io(dir, "list", e)),
            Err(e) => {
                let fault = Fault::new(Reason::Unreadable, e);
                return self.refuse(prefix.trim_end_matches('/').to_owned(), Some(dir), fault);
            }
        };
        let mut folders = Vec::new();
        for child in listing {
            let child = child.map_err(|e| Error::io(dir, "list", e))?;
            let (os_name, path) = (child.file_name(), child.path());
            match os_name.to_str() {
                Some(name) => {
                    let what = || kind_of(self.root, &path);
                    self.child(format!("{prefix}{name}"), name, Some(&path), what, &mut folders)?;
                }
                None => {
                    let id = format!("{prefix}{}", os_name.to_string_lossy());
                    self.refuse(id, Some(&path), Fault::new(Reason::BadPath, "the name is not UTF-8"))?;
                }
            }
        }
        self.below(folders, depth)
    }

    /// The same of a folder in an archive.
    fn members<'t>(
        &mut self,
        children: impl Iterator<Item = (&'t str, Node)>,
        prefix: &str,
        depth: usize,
    ) -> Result<()> {
        let mut folders = Vec::new();
        for (name, node) in children {
            let what = || match node {
                Node::File(place) => Ok(Thing::File(place.bytes())),
                Node::Folder => Ok(Thing::Folder),
                Node::Refused(fault) => Err(fault),
            };
            self.child(format!("{prefix}{name}"), name, None, what, &mut folders)?;
        }
        self.below(folders, depth)
    }

    /// What is in a folder: a file is kept, a folder gone into later.
    fn child(
        &mut self,
        relative: String,
        name: &str,
        path: Option<&Path>,
        what: impl FnOnce() -> Result<Thing, Fault>,
        folders: &mut Vec<String>,
    ) -> Result<()> {
        if let Some((lister, _)) = &mut self.lister {
            lister.step()?;
        }
        if is_hidden(name) {
            self.walk.hidden += 1;
            return Ok(());
        }
        match what() {
            Ok(Thing::File(bytes)) => {
                self.found += 1;
                self.files.push(relative.as_bytes(), &bytes.to_le_bytes())?;
            }
            Ok(Thing::Folder) => folders.push(relative),
            Err(fault) => self.refuse(relative, path, fault)?,
        }
        Ok(())
    }

    /// Goes into folders.
    fn below(&mut self, mut folders: Vec<String>, depth: usize) -> Result<()> {
        // In order, so that a walk that ends early ends at the same place on every file system.
        folders.sort();
        for relative in folders {
            if self.found >= self.limit {
                break;
            }
            let path = self.root.join(&relative);
            if depth + 1 >= DEPTH {
                let fault = Fault::new(Reason::BadPath, format!("more than {DEPTH} folders deep"));
                self.refuse(relative, Some(&path), fault)?;
                continue;
            }
            // Files below it could not be unpacked beside the file.
            if let Some(Some(Node::File(_) | Node::Refused(_))) = self.tree.node(&path) {
                let fault = Fault::new(Reason::BadPath, "a member is called as the folder of others");
                self.refuse(format!("{relative}/"), None, fault)?;
                continue;
            }
            self.folder(&path, &format!("{relative}/"), depth + 1)?;
        }
        Ok(())
    }
}

enum Thing {
    File(u64),
    Folder,
}

fn kind_of(root: &Path, path: &Path) -> Result<Thing, Fault> {
    let unreadable = |e: std::io::Error| Fault::new(Reason::Unreadable, e);
    let meta = fs::symlink_metadata(path).map_err(unreadable)?;
    if meta.is_dir() {
        return Ok(Thing::Folder);
    }
    if meta.is_symlink() {
        return linked(root, path).map(Thing::File);
    }
    regular(&meta).map(Thing::File)
}

/// The size of the file that a link leads to, if it is one within the root.
fn linked(root: &Path, path: &Path) -> Result<u64, Fault> {
    let target =
        path.canonicalize().map_err(|e| Fault::new(Reason::Unreadable, format!("the link leads nowhere: {e}")))?;
    if !target.starts_with(root) {
        return Err(Fault::new(Reason::BadPath, "the link leads out of the source"));
    }
    let meta = fs::metadata(&target).map_err(|e| Fault::new(Reason::Unreadable, e))?;
    if meta.is_dir() {
        return Err(Fault::new(Reason::BadPath, "links to folders are not followed"));
    }
    regular(&meta)
}

fn regular(meta: &fs::Metadata) -> Result<u64, Fault> {
    if meta.is_file() {
        Ok(meta.len())
    } else {
        Err(Fault::new(Reason::BadPath, "neither a file nor a folder (a pipe, socket or device)"))
    }
}

/// A relative path as a manifest writes it, with `/`: one that stays below the folder that it is relative to.
pub(super) fn within(text: &str) -> Result<String, Fault> {
    let bad = |what: &str| Fault::new(Reason::BadPath, what);
    let slashed = text.trim().replace('\\', "/");
    let drive = slashed.as_bytes().get(1) == Some(&b':') && slashed.as_bytes()[0].is_ascii_alphabetic();
    if slashed.starts_with('/') || drive {
        return Err(bad("the path is absolute: paths are relative to the manifest"));
    }
    let parts: Vec<&str> = slashed.split('/').filter(|p| !p.is_empty() && *p != ".").collect();
    if parts.contains(&"..") {
        return Err(bad("the path leaves the manifest's folder (\"..\")"));
    }
    if parts.is_empty() || slashed.contains('\0') {
        return Err(bad("the path names no file"));
    }
    Ok(parts.join("/"))
}

/// The size of a file that a manifest names, after the same checks as in a walk. `root` must be canonical.
pub(super) fn named(tree: &Tree, root: &Path, relative: &str) -> Result<Found, Fault> {
    let path = root.join(relative);
    match tree.node(&path) {
        Some(Some(Node::File(place))) => {
            return Ok(Found { relative: relative.to_owned(), path, bytes: place.bytes() });
        }
        Some(Some(Node::Folder)) => return Err(Fault::new(Reason::BadPath, format!("{relative} is a folder"))),
        Some(Some(Node::Refused(fault))) => return Err(fault),
        Some(None) => {
            return Err(Fault::new(Reason::Unreadable, format!("{relative}: there is no such file")));
        }
        None => {}
    }
    let meta = fs::symlink_metadata(&path).map_err(|e| match e.kind() {
        std::io::ErrorKind::NotFound => Fault::new(Reason::Unreadable, format!("{relative}: there is no such file")),
        _ => Fault::new(Reason::Unreadable, format!("{relative}: {e}")),
    })?;
    if meta.is_dir() {
        return Err(Fault::new(Reason::BadPath, format!("{relative} is a folder")));
    }
    // A folder on the way may be a link too.
    let bytes = linked(root, &path)?;
    Ok(Found { relative: relative.to_owned(), path, bytes })
}

/// Path and size of a regular file within a root, after the same checks; `None` for all else. `root` must be canonical.
pub(crate) fn file_within(tree: &Tree, root: &Path, relative: &str) -> Option<(PathBuf, u64)> {
    named(tree, root, relative).ok().map(|found| (found.path, found.bytes))
}

/// Reads a range of a file of the system that had `file_bytes` when it was listed.
pub(super) fn read_range(path: &Path, start: u64, length: u64, file_bytes: u64) -> Result<Vec<u8>, Fault> {
    let unreadable = |e: std::io::Error| Fault::new(Reason::Unreadable, e);
    let changed = |now: u64| {
        Fault::new(Reason::Changed, format!("the file had {file_bytes} bytes when it was listed and has {now} now"))
    };
    // Without waiting: what was a file may be a pipe by now.
    let file = File::options().read(true).custom_flags(libc::O_NONBLOCK).open(path).map_err(unreadable)?;
    let meta = file.metadata().map_err(unreadable)?;
    if !meta.is_file() {
        return Err(Fault::new(Reason::Changed, "it was a file when it was listed and is none now"));
    }
    if meta.len() != file_bytes {
        return Err(changed(meta.len()));
    }
    let size = usize::try_from(length).map_err(|_| Fault::new(Reason::OverLimit, "larger than the memory"))?;
    let mut bytes = Vec::new();
    if bytes.try_reserve_exact(size).is_err() {
        return Err(Fault::new(Reason::OverLimit, format!("there is no memory for {length} bytes")));
    }
    if start == 0 {
        (&file).take(length).read_to_end(&mut bytes).map_err(unreadable)?;
    } else {
        bytes.resize(size, 0);
        match file.read_exact_at(&mut bytes, start) {
            Err(e) if e.kind() == std::io::ErrorKind::UnexpectedEof => bytes.clear(),
            other => other.map_err(unreadable)?,
        }
    }
    if bytes.len() != size {
        return Err(changed(file.metadata().map_or(0, |m| m.len())));
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_pipes_and_hidden_files_are_told_apart() {
        let dir = tempfile::tempdir().unwrap();
        let outside = tempfile::tempdir().unwrap();
        let root = dir.path().join("root");
        fs::create_dir_all(root.join("b")).unwrap();
        fs::create_dir_all(root.join(".git")).unwrap();
        fs::write(root.join(".git/config"), "x").unwrap();
        fs::write(root.join(".hidden"), "x").unwrap();
        fs::write(root.join("b/one"), "1").unwrap();
        fs::write(root.join("b.txt"), "22").unwrap();
        fs::write(outside.path().join("secret"), "s").unwrap();
        use std::os::unix::fs::symlink;
        symlink(root.join("b/one"), root.join("inside")).unwrap();
        symlink(outside.path().join("secret"), root.join("outside")).unwrap();
        symlink(&root, root.join("b/loop")).unwrap();
        symlink("nowhere", root.join("dangling")).unwrap();
        let pipe = std::ffi::CString::new(root.join("pipe").to_str().unwrap()).unwrap();
        // SAFETY: the path is a NUL-terminated string that lives through the call.
        assert_eq!(unsafe { libc::mkfifo(pipe.as_ptr(), 0o600) }, 0);
        use std::os::unix::ffi::OsStrExt as _;
        fs::write(root.join(std::ffi::OsStr::from_bytes(b"caf\xe9")), "x").unwrap();
        fs::create_dir(root.join(std::ffi::OsStr::from_bytes(b"dogs\xe9"))).unwrap();
        symlink(outside.path(), root.join("cats")).unwrap();

        let mut lister = Lister::new(&Spill::temporary(), &|_| Ok(()));
        let walk = walk(&root, &mut lister).unwrap();
        let listing = lister.finish(crate::data::feature::Schema::default()).unwrap();
        let names: Vec<_> = walk.files.iter().map(|f| (f.relative, f.bytes)).collect();
        let names: Vec<_> = names.iter().map(|(name, bytes)| (name.as_str(), *bytes)).collect();
        assert_eq!(names, [("b.txt", 2), ("b/one", 1), ("inside", 1)], "byte order: '.' before '/'");
        let refused: Vec<_> = listing.refused.iter().map(|r| r.map(|r| (r.id, r.fault.reason)).unwrap()).collect();
        let refused: Vec<_> = refused.iter().map(|(id, reason)| (id.as_str(), *reason)).collect();
        let expected = [
            ("b/loop", Reason::BadPath),
            ("caf\u{fffd}", Reason::BadPath),
            ("cats", Reason::BadPath),
            ("dangling", Reason::Unreadable),
            ("dogs\u{fffd}", Reason::BadPath),
            ("outside", Reason::BadPath),
            ("pipe", Reason::BadPath),
        ];
        assert_eq!((refused.as_slice(), walk.refused, walk.folders), (&expected[..], 7, 3));
        let notes = walk.notes();
        assert!(
            notes[0].contains("\"b/loop\", \"cats\", \"dogs\u{fffd}\"") && notes[0].contains("links to folders"),
            "{notes:?}"
        );
        assert_eq!(notes[1], "2 hidden files or folders are not read");

        for n in 10..22 {
            symlink(outside.path(), root.join(format!("a{n}"))).unwrap();
        }
        let walk = glance(&Tree::default(), &root, usize::MAX).unwrap();
        let notes = walk.notes();
        assert_eq!((walk.refused, walk.folders), (19, 15));
        assert!(notes[0].contains("\"a10\", \"a11\"") && notes[0].contains("\"a19\" and 5 more"), "{notes:?}");
    }
}
