//! The dataset card: a README.md that tells `datasets` (and people) what the newest version holds.
//!
//! Its YAML front matter lists the shards of each split by name, so that a reader of the card sees exactly one version,
//! and always carries `dataset_info.features`, which win over what single shards say (label names may have been appended
//! since). Beyond [`MAX_PATHS`] shards the lists become globs, if the folders hold no other shards; such a reader may see shards of a later commit under way.
//!
//! A README.md of the user's stays the user's: only the keys `configs` and `dataset_info` of its front matter and the
//! section between our two markers are replaced, all other keys and text are kept byte for byte. One that is not UTF-8
//! is left alone, and [`Card::Kept`] says so.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use super::Store;
use super::commit::{self, Root};
use crate::data::feature::{Feature, Schema, attribute_type, hf_dtype, info_fields};
use crate::data::index::{Segment, hex};
use crate::data::manifest::ShardRef;
use crate::data::objects::{BBOX, CATEGORY, ObjectsType};
use crate::error::Result;

/// The file's name.
pub const CARD: &str = "README.md";
/// Shards that are listed by name at the most.
pub const MAX_PATHS: usize = 10_000;

const BEGIN: &str = "<!-- feedstock: begin (rewritten by every commit; text outside the markers is kept) -->";
const END: &str = "<!-- feedstock: end -->";
const KEYS: [&str; 2] = ["configs", "dataset_info"];

/// What became of the card.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Card {
    /// It describes this version now.
    Written {
        /// The version.
        version: u64,
    },
    /// The file that was there is not text; it was left alone.
    Kept {
        /// Why.
        why: String,
    },
    /// There is no version yet.
    Nothing,
}

/// Writes the card of the newest version, by rename. Another commit may pass in between: the newest version is looked
/// at again after the rename.
pub fn write(store: &Store) -> Result<Card> {
    let Some(mut root) = commit::latest(store)? else { return Ok(Card::Nothing) };
    loop {
        let old = match store.read_if_there(CARD)?.map(String::from_utf8) {
            Some(Err(_)) => return Ok(Card::Kept { why: format!("{CARD} is not UTF-8 text") }),
            Some(Ok(text)) => Some(text),
            None => None,
        };
        let shards = shards(store, &root)?;
        let new = render(&root, &shards, globs(store, &shards)?, old.as_deref().unwrap_or(""));
        if old.as_ref() != Some(&new) {
            store.put(CARD, new.as_bytes())?;
        }
        match commit::latest(store)? {
            Some(newer) if newer.manifest.version > root.manifest.version => root = newer,
            _ => return Ok(Card::Written { version: root.manifest.version }),
        }
    }
}

/// The card as it should read; equal to the file when that is fresh.
pub fn expected(store: &Store, root: &Root) -> Result<String> {
    let old = store.read_if_there(CARD)?.and_then(|bytes| String::from_utf8(bytes).ok());
    let shards = shards(store, root)?;
    Ok(render(root, &shards, globs(store, &shards)?, old.as_deref().unwrap_or("")))
}

/// Whether folders are named and not the shards in them: there are many, and nothing else lies there. Where rows were taken out, the shards that had them may be there still.
fn globs(store: &Store, shards: &BTreeMap<String, Vec<ShardRef>>) -> Result<bool> {
    globs_beyond(store, shards, MAX_PATHS)
}

fn globs_beyond(store: &Store, shards: &BTreeMap<String, Vec<ShardRef>>, most: usize) -> Result<bool> {
    if shards.values().map(Vec::len).sum::<usize>() <= most {
        return Ok(false);
    }
    for (folder, shards) in shards {
        let there = store.list(&format!("data/{folder}"))?;
        if there.iter().filter(|name| name.ends_with(".parquet")).count() != shards.len() {
            return Ok(false);
        }
    }
    Ok(true)
}

/// The shards of each folder, in the order of the Index: what the files say, whatever changes stand over them.
fn shards(store: &Store, root: &Root) -> Result<BTreeMap<String, Vec<ShardRef>>> {
    let mut folders: BTreeMap<String, Vec<ShardRef>> = BTreeMap::new();
    for entry in &root.manifest.segments {
        let segment = Segment::open(&store.path(&entry.path)?)?;
        for file in segment.files() {
            let shard = ShardRef {
                path: file.path(),
                split: file.folder.clone(),
                rows: file.rows.end.saturating_sub(file.rows.start),
                bytes: file.bytes,
                sha256: hex(&file.sha256),
            };
            folders.entry(file.folder).or_default().push(shard);
        }
    }
    Ok(folders)
}

/// A string as YAML reads it back: always in double quotes, what YAML does not print escaped.
pub fn yaml(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\t' => out.push_str("\\t"),
            c if c.is_control() || matches!(c, '\u{2028}' | '\u{2029}' | '\u{feff}' | '\u{fffe}' | '\u{ffff}') => {
                let _ = write!(out, "\\U{:08x}", c as u32);
            }
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

/// train, validation, test, then the others by name.
fn split_order(split: &str) -> (usize, &str) {
    let known = ["train", "validation", "val", "dev", "test"];
    (known.iter().position(|k| *k == split).unwrap_or(known.len()), split)
}

fn render(root: &Root, shards: &BTreeMap<String, Vec<ShardRef>>, globs: bool, old: &str) -> String {
    let mut splits: Vec<(&str, &[ShardRef])> = shards.iter().map(|(k, v)| (k.as_str(), v.as_slice())).collect();
    splits.sort_by_key(|(split, _)| split_order(split));
    let (front, body) = front_matter(old);
    let mut card = String::from("---\n");
    for line in foreign_keys(front) {
        card.push_str(line);
        card.push('\n');
    }
    card.push_str(&configs(&splits, globs));
    card.push_str(&dataset_info(&root.manifest.schema, &splits));
    card.push_str("---\n");
    let section = section(root, &splits);
    let marked = body.find(BEGIN).and_then(|begin| {
        let end = begin + body[begin..].find(END)? + END.len();
        Some((&body[..begin], &body[end..]))
    });
    match marked {
        Some((before, after)) => {
            let _ = write!(card, "{before}{section}{after}");
        }
        None if body.trim().is_empty() => {
            let _ = writeln!(card, "\n{section}");
        }
        None => {
            let gap = if body.ends_with('\n') { "\n" } else { "\n\n" };
            let _ = writeln!(card, "{body}{gap}{section}");
        }
    }
    card
}

/// The lines between the leading `---` and the next, and what follows them.
fn front_matter(text: &str) -> (Vec<&str>, &str) {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut at = 0;
    let mut lines = Vec::new();
    for (number, line) in text.split_inclusive('\n').enumerate() {
        at += line.len();
        let line = line.trim_end();
        match (number, line) {
            (0, "---") => {}
            (0, _) => break,
            (_, "---") => return (lines, &text[at..]),
            _ => lines.push(line),
        }
    }
    (Vec::new(), text)
}

/// The front matter without the keys that we write. A key's value goes on over indented lines and over list items.
fn foreign_keys(front: Vec<&str>) -> impl Iterator<Item = &str> {
    let mut ours = false;
    front.into_iter().filter(move |line| {
        let goes_on = line.is_empty() || line.starts_with([' ', '\t', '#']) || *line == "-" || line.starts_with("- ");
        if !goes_on {
            let key = line.split(':').next().unwrap_or("").trim().trim_matches(['"', '\'']);
            ours = KEYS.contains(&key);
        }
        !ours
    })
}

fn configs(splits: &[(&str, &[ShardRef])], globs: bool) -> String {
    let mut out = String::from("configs:\n- config_name: default\n  data_files:\n");
    for (split, shards) in splits.iter().filter(|(_, shards)| !shards.is_empty()) {
        let _ = writeln!(out, "  - split: {}\n    path:", yaml(split));
        if globs {
            let _ = writeln!(out, "    - {}", yaml(&format!("data/{split}/*.parquet")));
        } else {
            for shard in *shards {
                let _ = writeln!(out, "    - {}", yaml(&shard.path));
            }
        }
    }
    if splits.iter().all(|(_, shards)| shards.is_empty()) {
        return String::new();
    }
    out
}

fn dataset_info(schema: &Schema, splits: &[(&str, &[ShardRef])]) -> String {
    let mut out = String::from("dataset_info:\n  features:\n  - name: \"id\"\n    dtype: string\n");
    for column in &schema.columns {
        let _ = writeln!(out, "  - name: {}", yaml(&column.name));
        match &column.feature {
            Feature::ClassLabel { names } if !names.is_empty() => {
                out.push_str("    dtype:\n      class_label:\n        names:\n");
                for (i, name) in names.iter().enumerate() {
                    let _ = writeln!(out, "          '{i}': {}", yaml(name));
                }
            }
            Feature::Objects(of) => out.push_str(&lists(of)),
            // A class list without names cannot be written in YAML: the column is what it holds.
            feature => {
                let _ = writeln!(out, "    dtype: {}", dtype(feature));
            }
        }
    }
    let infos: Vec<_> = schema.payloads().collect();
    if !infos.is_empty() {
        out.push_str("  - name: \"info\"\n    struct:\n");
        for (_, column) in infos {
            let _ = writeln!(out, "    - name: {}\n      struct:", yaml(&column.name));
            for field in &info_fields(column) {
                let _ = writeln!(
                    out,
                    "      - name: {}\n        dtype: {}",
                    yaml(field.name()),
                    hf_dtype(field.data_type())
                );
            }
        }
    }
    out.push_str("  splits:");
    let sum = |shards: &[ShardRef], of: fn(&ShardRef) -> u64| shards.iter().map(of).sum::<u64>();
    for (split, shards) in splits {
        let (rows, bytes) = (sum(shards, |s| s.rows), sum(shards, |s| s.bytes));
        let _ = write!(out, "\n  - name: {}\n    num_bytes: {bytes}\n    num_examples: {rows}", yaml(split));
    }
    if splits.is_empty() {
        out.push_str(" []");
    }
    let bytes: u64 = splits.iter().map(|(_, shards)| sum(shards, |s| s.bytes)).sum();
    let _ = writeln!(out, "\n  download_size: {bytes}\n  dataset_size: {bytes}");
    out
}

/// The lists of a column of objects, as `datasets` dumps its own features.
fn lists(of: &ObjectsType) -> String {
    let mut out = format!(
        "    struct:\n    - name: {BBOX}\n      list:\n        list: float32\n        length: 4\n    - name: {CATEGORY}\n"
    );
    if of.names.is_empty() {
        out.push_str("      list: int64\n");
    } else {
        out.push_str("      list:\n        class_label:\n          names:\n");
        for (i, name) in of.names.iter().enumerate() {
            let _ = writeln!(out, "            '{i}': {}", yaml(name));
        }
    }
    for attribute in &of.attributes {
        let dtype = hf_dtype(&attribute_type(attribute.kind));
        let _ = writeln!(out, "    - name: {}\n      list: {dtype}", yaml(&attribute.name));
    }
    out
}

fn dtype(feature: &Feature) -> &'static str {
    match feature {
        // Its lists are written one by one.
        Feature::Objects(_) => "struct",
        Feature::Image => "image",
        Feature::Audio => "audio",
        Feature::Video => "video",
        Feature::Text => "string",
        Feature::Tensor(_) => "binary",
        Feature::ClassLabel { .. } | Feature::Int => "int64",
        Feature::Float => "float64",
        Feature::Bool => "bool",
    }
}

/// The readable part, between the markers.
fn section(root: &Root, splits: &[(&str, &[ShardRef])]) -> String {
    let manifest = &root.manifest;
    let mut out = format!("{BEGIN}\n## Contents\n\nVersion {}: {} rows.\n", manifest.version, manifest.rows());
    out.push_str("\n| split | rows | shards | bytes |\n|---|---|---|---|\n");
    for (split, shards) in splits {
        let (rows, bytes) = shards.iter().fold((0, 0), |(r, b), s| (r + s.rows, b + s.bytes));
        let _ = writeln!(out, "| {split} | {rows} | {} | {bytes} |", shards.len());
    }
    if manifest.is_overlaid() {
        out.push_str(&overlay(root));
    }
    out.push_str("\n| column | feature |\n|---|---|\n");
    for column in &manifest.schema.columns {
        let classes = match &column.feature {
            Feature::ClassLabel { names } => format!(" ({} classes)", names.len()),
            Feature::Tensor(tensor) => format!(" of {}", cell(&tensor.told())),
            Feature::Objects(of) => format!(": {}", cell(&of.told())),
            _ => String::new(),
        };
        let made = column.stored.as_ref().map_or_else(String::new, |s| format!("; {}", cell(&s.told())));
        let _ = writeln!(out, "| {} | {}{classes}{made} |", cell(&column.name), column.feature.name());
    }
    out.push_str("\nThe shards are Parquet. In Python: `datasets.load_dataset(\"path/to/this/folder\")`. In Rust: ");
    out.push_str("`feedstock::dataset::Dataset::open(\"path/to/this/folder\")`.\n");
    out.push_str(END);
    out
}

/// What stands over the files, in words: other readers do not see it.
fn overlay(root: &Root) -> String {
    let manifest = &root.manifest;
    let rows: u64 = manifest.segments.iter().filter_map(|s| s.changes.as_ref()).map(|c| c.rows).sum();
    let mut out = format!(
        "\n**Changes stand over {rows} of these rows** (`dsctl relabel`, `dsctl split`): the table above is what the files hold, and what `datasets` \
        and other readers of Parquet see. feedstock sees the splits and labels of version {}:\n\n| split | rows |\n|---|---|\n",
        manifest.version
    );
    let mut splits: Vec<_> = manifest.splits.iter().collect();
    splits.sort_by_key(|(split, _)| split_order(split));
    for (split, rows) in splits {
        let _ = writeln!(out, "| {split} | {rows} |");
    }
    out.push_str("\n`dsctl compact DATASET --materialise` writes them into the files.\n");
    out
}

/// A name within a Markdown table.
fn cell(text: &str) -> String {
    let escape =
        |c: char| if matches!(c, '|' | '\\' | '`' | '<' | '*' | '_') { format!("\\{c}") } else { c.to_string() };
    text.chars().filter(|c| !c.is_control()).map(escape).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::manifest::Manifest;

    fn root(names: &[&str]) -> Root {
        let names = names.iter().map(|n| (*n).to_owned()).collect();
        let schema = Schema::new([("image", Feature::Image), ("label", Feature::ClassLabel { names })]);
        let splits = BTreeMap::from([("train".to_owned(), 5)]);
        let manifest = Manifest { format_version: 1, version: 3, parent: None, schema, segments: Vec::new(), splits };
        Root { manifest, sha256: String::new() }
    }

    fn some_shards(count: usize) -> BTreeMap<String, Vec<ShardRef>> {
        let shard = |i: usize| ShardRef {
            path: format!("data/train/{i:016x}.parquet"),
            split: "train".into(),
            rows: 5,
            bytes: 100,
            sha256: String::new(),
        };
        BTreeMap::from([("train".to_owned(), (0..count).map(shard).collect())])
    }

    #[test]
    fn a_fresh_card_lists_the_version() {
        let card = render(&root(&["cat", "a: \"b\"\u{85}"]), &some_shards(1), false, "");
        let expected = "---\nconfigs:\n- config_name: default\n  data_files:\n  - split: \"train\"\n    path:\n    \
            - \"data/train/0000000000000000.parquet\"\ndataset_info:\n  features:\n  - name: \"id\"\n    dtype: string\n  \
            - name: \"image\"\n    dtype: image\n  - name: \"label\"\n    dtype:\n      class_label:\n        names:\n          \
            '0': \"cat\"\n          '1': \"a: \\\"b\\\"\\U00000085\"\n  - name: \"info\"\n    struct:\n    \
            - name: \"image\"\n      struct:\n      - name: \"format\"\n        dtype: string\n";
        assert!(card.starts_with(expected), "{card}");
        assert!(card.contains("num_bytes: 100\n    num_examples: 5\n  download_size: 100\n"), "{card}");
        assert_eq!(render(&root(&["cat", "a: \"b\"\u{85}"]), &some_shards(1), false, &card), card, "not a fixed point");
        assert!(render(&root(&[]), &some_shards(3), true, "").contains("- \"data/train/*.parquet\"\n"));
    }

    #[test]
    fn folders_are_named_only_if_nothing_else_lies_there() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path());
        let shards = some_shards(3);
        shards["train"].iter().for_each(|shard| store.put(&shard.path, b"").unwrap());
        let globs = |most| globs_beyond(&store, &shards, most).unwrap();
        assert_eq!((globs(3), globs(2)), (false, true));
        // What a later version does not have any more, or an earlier one had.
        store.put("data/train/ffffffffffffffff.parquet", b"").unwrap();
        assert!(!globs(2));
    }

    #[test]
    fn the_users_text_is_kept() {
        let mine = "---\nlicense: mit\n\"configs\":\n- config_name: old\n  data_files: x\ntags:\n- a\n# why\ndataset_info:\n  \
            features: []\n\n  more: 1\nlanguage: de\n---\n# Mine\r\n\n---\nnot front matter";
        let card = render(&root(&["cat"]), &some_shards(1), false, mine);
        assert!(card.starts_with("---\nlicense: mit\ntags:\n- a\n# why\nlanguage: de\nconfigs:\n"), "{card}");
        assert!(card.contains("---\n# Mine\r\n\n---\nnot front matter\n\n<!-- feedstock: begin"), "{card}");
        assert!(!card.contains("config_name: old") && !card.contains("more: 1"), "{card}");
        let again =
            render(&root(&["cat", "dog"]), &some_shards(2), false, &card.replace(END, &format!("{END}\n\nBelow.\n")));
        assert!(again.contains("not front matter\n\n<!-- feedstock: begin") && again.contains("Below.\n"), "{again}");
        assert_eq!(again.matches(BEGIN).count(), 1);
        for open in ["---\nlicense: mit\nno end", "no front matter", "\u{feff}---\nlicense: mit\n---\nx"] {
            let card = render(&root(&["cat"]), &some_shards(1), false, open);
            assert_eq!(render(&root(&["cat"]), &some_shards(1), false, &card), card, "{open:?}");
            assert!(card.contains("license: mit") || !open.contains("license"), "{card}");
        }
    }
}
