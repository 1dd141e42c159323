//! Versions: small roots that appear whole, one after the other, in one line of descent.

use std::collections::HashSet;
use std::io::Write as _;

use sha2::{Digest, Sha256};
use xxhash_rust::xxh3::Xxh3DefaultBuilder;

use super::Store;
use crate::data::changes::Changes;
use crate::data::feature::Schema;
use crate::data::index::{Segment, hex};
use crate::data::manifest::{ChangesRef, FORMAT_VERSION, Manifest, SegmentRef};
use crate::error::{Error, Result};

/// The folder of the roots.
pub const VERSIONS: &str = ".dsctl/versions";
/// The folder of the segments.
pub const SEGMENTS: &str = ".dsctl/segments";
/// The folder of the lists of changes.
pub const CHANGES: &str = ".dsctl/changes";

/// Bytes of one write of a segment.
const PIECE: usize = 1 << 20;

/// One committed version: its manifest and the SHA-256 of the root file, by which a child names its parent.
#[derive(Debug, Clone, PartialEq)]
pub struct Root {
    /// The manifest.
    pub manifest: Manifest,
    /// SHA-256 (hex) of the root file's bytes.
    pub sha256: String,
}

/// The relative path of a version's root.
pub fn version_path(version: u64) -> String {
    format!("{VERSIONS}/{version:020}.json")
}

/// SHA-256 in hex.
pub fn sha256_hex(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}

/// The committed versions, ascending.
pub fn versions(store: &Store) -> Result<Vec<u64>> {
    let mut versions: Vec<u64> = store
        .list(VERSIONS)?
        .iter()
        .filter_map(|name| name.strip_suffix(".json").filter(|n| n.len() == 20)?.parse().ok())
        .collect();
    versions.sort_unstable();
    Ok(versions)
}

/// The newest version; `None` for a store without any.
pub fn latest(store: &Store) -> Result<Option<Root>> {
    versions(store)?.last().map(|version| load(store, *version)).transpose()
}

/// One version. [`Error::FormatVersion`] if a newer program wrote it, [`Error::Damaged`] if it is not a root.
pub fn load(store: &Store, version: u64) -> Result<Root> {
    let rel = version_path(version);
    let path = store.path(&rel)?;
    let Some(bytes) = store.read_if_there(&rel)? else {
        let there = versions(store)?;
        let range = match (there.first(), there.last()) {
            (Some(first), Some(last)) if first == last => format!("version {last} is there"),
            (Some(first), Some(last)) => format!("versions {first} to {last} are there"),
            _ => "no version is there".to_owned(),
        };
        return Err(Error::config(format!("{} has no version {version}", store.root().display()), range));
    };
    let help = "the versions before it are independent of it: open one of them by its number, or restore this file";
    let value: serde_json::Value = serde_json::from_slice(&bytes)
        .map_err(|e| Error::damaged(&path, format!("the root is not JSON: {e}"), help))?;
    // The version first: of a newer root nothing else may be understood.
    let found = value.get("format_version").and_then(serde_json::Value::as_u64);
    match found {
        Some(found) if found > FORMAT_VERSION => {
            return Err(Error::FormatVersion { what: "the dataset", found, supported: FORMAT_VERSION });
        }
        Some(_) => {}
        None => return Err(Error::damaged(&path, "the root names no format_version", help)),
    }
    let manifest: Manifest = serde_json::from_value(value)
        .map_err(|e| Error::damaged(&path, format!("the root is not a manifest: {e}"), help))?;
    if manifest.version != version {
        return Err(Error::damaged(&path, format!("the root says it is version {}", manifest.version), help));
    }
    Ok(Root { manifest, sha256: sha256_hex(&bytes) })
}

/// The files that versions name, relative to the root: segments, lists of changes and shards.
#[derive(Debug, Default)]
pub struct Named {
    /// Their paths.
    pub files: HashSet<String, Xxh3DefaultBuilder>,
}

impl Named {
    /// Adds those of a version. Each segment is read once, and held against the digest that its version names: a shard table with one wrong bit names other
    /// files.
    ///
    /// # Errors
    /// What keeps the root or a segment from being read, or a segment that is not the one that is named; what can be read is added.
    pub fn add(&mut self, store: &Store, version: u64) -> Result<()> {
        let root = load(store, version)?;
        let mut done = Ok(());
        for entry in root.manifest.segments {
            // Two versions may name one segment with different lists: a relabelling that was undone leaves a list, and the rows as they were.
            self.files.extend(entry.changes.map(|changes| changes.path));
            if self.files.contains(&entry.path) {
                continue;
            }
            let path = store.path(&entry.path)?;
            match Segment::open(&path) {
                Ok(segment) => {
                    if sha256_hex(segment.bytes()) != entry.sha256 {
                        let help = "`dsctl verify --rebuild-index` makes it again from the shards";
                        done = Err(Error::damaged(path, "its SHA-256 is not the one its version names", help));
                    }
                    let shards = (0..segment.header().shards as usize).filter_map(|i| segment.shard(i));
                    self.files.extend(shards.map(|(_, shard)| shard.path));
                }
                Err(error) => done = Err(error),
            }
            self.files.insert(entry.path);
        }
        done
    }
}

/// The bytes of a root file.
pub fn root_bytes(manifest: &Manifest) -> Result<Vec<u8>> {
    let mut bytes = serde_json::to_vec_pretty(manifest).map_err(|e| Error::library("writing a version", e))?;
    bytes.push(b'\n');
    Ok(bytes)
}

/// Stores a finished segment, given in parts, under its digest. Doing so twice is harmless.
pub fn put_segment(store: &Store, parts: &[&[u8]], rows: u64) -> Result<SegmentRef> {
    let (path, sha256, bytes) = put_named(store, SEGMENTS, "idx", parts)?;
    Ok(SegmentRef { path, sha256, rows, bytes, changes: None })
}

/// Stores a list of changes, given in parts, under its digest. Doing so twice is harmless.
pub fn put_changes(store: &Store, parts: &[&[u8]], rows: u64) -> Result<ChangesRef> {
    let (path, sha256, bytes) = put_named(store, CHANGES, "chg", parts)?;
    Ok(ChangesRef { path, sha256, rows, bytes })
}

/// Stores a file under its digest: its path, SHA-256 and bytes.
fn put_named(store: &Store, folder: &str, extension: &str, parts: &[&[u8]]) -> Result<(String, String, u64)> {
    let mut staged = store.stage(folder)?;
    let (mut digest, mut bytes) = (Sha256::new(), 0);
    for piece in parts.iter().flat_map(|part| part.chunks(PIECE)) {
        let written = staged.write_all(piece);
        written.map_err(|e| staged.take_error().unwrap_or_else(|| Error::io(staged.path(), "write", e)))?;
        digest.update(piece);
        bytes += piece.len() as u64;
    }
    let sha256 = hex(&digest.finalize());
    let path = format!("{folder}/{}.{extension}", &sha256[..16]);
    staged.publish(&path)?;
    Ok((path, sha256, bytes))
}

/// The changes that stand over the shards of a segment; `None` where there are none. The file is held against the digest that its version names.
///
/// # Errors
/// [`Error::Damaged`]: the file is not the one that is named, or gone.
pub fn changes(store: &Store, entry: &SegmentRef, schema: &Schema) -> Result<Option<Changes>> {
    let Some(named) = &entry.changes else { return Ok(None) };
    let path = store.path(&named.path)?;
    let wrong = |what: &str| {
        Error::damaged(&path, what, "restore the file from a copy, or open a version that does not name it")
    };
    let Some(bytes) = store.map_if_there(&named.path)? else { return Err(wrong("the list of changes is missing")) };
    if sha256_hex(&bytes) != named.sha256 {
        return Err(wrong("its SHA-256 is not the one its version names"));
    }
    let changes = Changes::read(bytes, schema, &path)?;
    if changes.header().rows != named.rows {
        return Err(wrong("it has other rows than its version says"));
    }
    changes.check().map_err(|what| wrong(&what))?;
    Ok(Some(changes))
}

/// What stands over the shards of each segment of a version.
///
/// # Errors
/// Those of [`changes`].
pub fn all_changes(store: &Store, root: &Root) -> Result<Vec<Option<Changes>>> {
    root.manifest.segments.iter().map(|entry| changes(store, entry, &root.manifest.schema)).collect()
}

/// Commits the version behind the newest one.
///
/// `build` makes the manifest from the newest version; its `format_version`, `version` and `parent` are set here. If
/// another writer commits in between, `build` is called again with what that writer left, at most `tries` times in all.
/// Everything the manifest names must be durable before.
///
/// # Errors
/// [`Error::Undurable`]: it is committed, and readers see it, but nobody knows whether it outlasts a power cut. [`Error::Conflict`], and those of `build`.
pub fn commit(store: &Store, tries: u32, mut build: impl FnMut(Option<&Root>) -> Result<Manifest>) -> Result<Root> {
    let mut version = 1;
    for _ in 0..tries.max(1) {
        let parent = latest(store)?;
        let mut manifest = build(parent.as_ref())?;
        version = parent.as_ref().map_or(1, |p| p.manifest.version + 1);
        manifest.format_version = manifest.format();
        manifest.version = version;
        manifest.parent = parent.map(|p| p.sha256);
        let bytes = root_bytes(&manifest)?;
        if store.create_new(&version_path(version), &bytes)? {
            return Ok(Root { manifest, sha256: sha256_hex(&bytes) });
        }
    }
    Err(Error::Conflict { dataset: store.root().to_owned(), version, tries: tries.max(1) })
}
