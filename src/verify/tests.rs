use super::*;
use crate::store::commit::sha256_hex;
use crate::store::tests::append_rows;

/// A dataset of two commits, changed by `damage`, which gets its root and the file names of the first shard and segment.
fn damaged(damage: impl FnOnce(&Path, &Path, &Path)) -> Report {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path());
    append_rows(&store, 0).unwrap();
    append_rows(&store, 1).unwrap();
    let whole = verify(dir.path(), true).unwrap();
    assert!(whole.findings.is_empty() && whole.notes.is_empty(), "{whole:?}");
    assert_eq!((whole.rows, whole.shards, whole.version), (8, 4, Some(2)));
    let dataset = Dataset::open(dir.path()).unwrap();
    let root = commit::latest(&store).unwrap().unwrap();
    let shard = dir.path().join(&dataset.shards()[0].path);
    let segment = dir.path().join(&root.manifest.segments[0].path);
    damage(dir.path(), &shard, &segment);
    verify(dir.path(), true).unwrap()
}

fn codes(report: &Report) -> Vec<&'static str> {
    let mut codes: Vec<_> = report.findings.iter().map(|f| f.code).collect();
    codes.sort_unstable();
    codes.dedup();
    codes
}

fn flip(path: &Path, at: usize) {
    let mut bytes = std::fs::read(path).unwrap();
    bytes[at] ^= 0x40;
    std::fs::write(path, bytes).unwrap();
}

#[test]
fn every_damage_is_a_finding() {
    let report = damaged(|_, shard, _| std::fs::remove_file(shard).unwrap());
    assert_eq!(codes(&report), ["shard-missing"]);
    let report = damaged(|_, shard, _| {
        let bytes = std::fs::read(shard).unwrap();
        std::fs::write(shard, &bytes[..bytes.len() - 9]).unwrap();
    });
    assert!(codes(&report).starts_with(&["shard-content", "shard-size"]), "{report:?}");
    let report = damaged(|_, _, segment| std::fs::remove_file(segment).unwrap());
    assert_eq!(codes(&report), ["segment", "split-count"]);
    let report = damaged(|root, _, _| std::fs::remove_file(root.join(commit::version_path(1))).unwrap());
    assert!(codes(&report).is_empty(), "an older version may be gone: {report:?}");
    let report = damaged(|root, _, _| {
        let path = root.join(commit::version_path(1));
        let text = std::fs::read_to_string(&path).unwrap();
        std::fs::write(&path, text + " ").unwrap();
    });
    assert_eq!(codes(&report), ["parent"]);
    let report = damaged(|root, _, _| std::fs::write(root.join(commit::version_path(1)), "{").unwrap());
    assert_eq!(codes(&report), ["root"]);
    let report = damaged(|root, _, _| {
        let path = root.join(commit::version_path(2));
        let text = std::fs::read_to_string(&path).unwrap();
        std::fs::write(&path, text.replace("\"train\": 6", "\"train\": 7")).unwrap();
    });
    assert_eq!(codes(&report), ["split-count"]);
}

#[test]
fn every_flipped_byte_of_a_shard_is_found() {
    let mut length = 0;
    for step in 0..25 {
        let report = damaged(|_, shard, _| {
            length = std::fs::metadata(shard).unwrap().len() as usize;
            flip(shard, step * (length - 1) / 24);
        });
        assert!(codes(&report).contains(&"shard-digest"), "byte {} of {length}: {report:?}", step * (length - 1) / 24);
    }
}

#[test]
fn a_segment_that_lies_with_a_fitting_digest_is_found() {
    // Every number of the Index is compared with the shards, even when a wrong segment carries the right digest.
    for row in 0..3u64 {
        let report = damaged(|root, _, segment| {
            let mut bytes = std::fs::read(segment).unwrap();
            let parsed = Segment::from_bytes(bytes.clone()).unwrap();
            let offset = parsed.row(row).payload(0).map_or(1, |p| p.offset);
            let at = bytes.windows(8).position(|w| w == offset.to_le_bytes()).unwrap();
            bytes[at] ^= 1;
            std::fs::write(segment, &bytes).unwrap();
            let path = root.join(commit::version_path(2));
            let text = std::fs::read_to_string(&path).unwrap();
            let old = commit::latest(&Store::open(root)).unwrap().unwrap().manifest.segments[0].sha256.clone();
            std::fs::write(&path, text.replace(&old, &sha256_hex(&bytes))).unwrap();
        });
        assert!(codes(&report).contains(&"index"), "{report:?}");
        let found = report.findings.iter().find(|f| f.code == "index").unwrap();
        assert!(found.row.is_some() && found.id.is_some(), "{found:?}");
    }
}

#[test]
fn a_flipped_byte_of_a_segment_is_found_and_mended() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path());
    append_rows(&store, 0).unwrap();
    let entry = commit::latest(&store).unwrap().unwrap().manifest.segments[0].clone();
    let path = store.path(&entry.path).unwrap();
    let whole = std::fs::read(&path).unwrap();
    for step in 0..20 {
        flip(&path, step * (whole.len() - 1) / 19);
        let report = verify(dir.path(), false).unwrap();
        assert!(codes(&report).contains(&"segment"), "{step}: {report:?}");
        std::fs::write(&path, &whole).unwrap();
    }
    flip(&path, whole.len() - 1);
    assert_eq!(rebuild_index(dir.path()).unwrap(), std::slice::from_ref(&path));
    assert!(std::fs::read(&path).unwrap() == whole);
    assert!(verify(dir.path(), true).unwrap().findings.is_empty());
    assert!(rebuild_index(dir.path()).unwrap().is_empty());
}

#[test]
fn leftovers_and_a_stale_card_are_notes() {
    let report = damaged(|root, shard, _| {
        std::fs::copy(shard, shard.with_file_name("0123456789abcdef.parquet")).unwrap();
        std::fs::write(root.join(card::CARD), "mine").unwrap();
    });
    let notes: Vec<_> = report.notes.iter().map(|n| n.code).collect();
    assert_eq!((codes(&report).len(), notes), (0, vec!["orphan", "card"]));
}
