//! What an ingest keeps may outgrow memory: it goes on in files, and makes the same.

use super::*;

#[test]
fn an_ingest_that_outgrows_memory_is_the_same() {
    let mut files: Vec<(String, Vec<u8>)> = Vec::new();
    for (split, class, count) in [("train", "a", 300u32), ("train", "b", 7), ("test", "a", 40)] {
        let lines: String = (0..count).map(|i| format!("{class} line {i}\n")).collect();
        files.push((format!("{split}/{class}/x.txt"), lines.into_bytes()));
        files.push((format!("{split}/{class}/bad.txt"), b"\xff\n".to_vec()));
    }
    let borrowed: Vec<(&str, &[u8])> = files.iter().map(|(name, bytes)| (name.as_str(), bytes.as_slice())).collect();
    let (root, dir) = (tree(&borrowed), tempfile::tempdir().unwrap());
    let more =
        tree(&[("train/a/y.txt", b"new\n"), ("train/a/x.txt", b"a line 0\nanother\n"), ("test/c/z.txt", b"z\n")]);
    let digests = |name: &str, spill_beyond| {
        let dataset = dir.path().join(name);
        let control = Control { spill_beyond, ..Control::default() };
        let options = IngestOptions { shard_bytes: 500, ..IngestOptions::default() };
        let first = ingest(root.path(), &dataset, &options, &control).unwrap();
        let second = ingest(more.path(), &dataset, &options, &control).unwrap();
        let again = ingest(more.path(), &dataset, &options, &control).unwrap();
        assert_eq!((first.rows, first.quarantined), (347, 3), "{first:?}");
        assert_eq!((second.rows, second.skipped, second.quarantined), (2, 1, 1), "the second line is another one");
        assert_eq!((again.rows, again.skipped, again.version), (0, 3, 2));
        assert_eq!(quarantine(&dataset, &second), [("train/a/x.txt#2".to_owned(), "id-taken".to_owned())]);
        let report = crate::verify::verify(&dataset, true).unwrap();
        assert!(report.findings.is_empty(), "{:?}", report.findings);
        let store = Store::open(&dataset);
        let versions = commit::versions(&store).unwrap();
        versions.into_iter().map(|v| commit::load(&store, v).unwrap().sha256).collect::<Vec<_>>()
    };
    assert_eq!(digests("memory", None), digests("files", Some(0)));
}

/// Fifty rows and two hundred refused entries, in memory and in files: the same version, quarantine and journal, and a rerun
/// takes the refused ones from the journal too.
#[test]
fn what_is_refused_may_outgrow_memory() {
    let mixed: Vec<u8> = (0..250)
        .flat_map(|i| if i % 5 == 0 { format!("line {i}\n").into_bytes() } else { b"\xff\n".to_vec() })
        .collect();
    let root = tree(&[("train/a/x.txt", &mixed), ("train/a/empty.txt", b"")]);
    let dir = tempfile::tempdir().unwrap();
    let limit = |text: &str| IngestOptions {
        shard_bytes: 100,
        max_errors: text.parse().unwrap(),
        threads: 1,
        ..IngestOptions::default()
    };
    let seen = |name: &str, spill_beyond| {
        let dataset = dir.path().join(name);
        let mut stop = spilling(spill_beyond);
        let cancel = Arc::clone(&stop.cancel);
        stop.progress = Some(Box::new(move |p| cancel.store(p.done > 0, Ordering::Relaxed)));
        ingest(root.path(), &dataset, &limit("100%"), &stop).unwrap_err();
        let journal = fs::read_dir(dataset.join(JOURNALS)).unwrap().next().unwrap().unwrap().path();
        let journal = fs::read_to_string(journal).unwrap();
        let lines: Vec<serde_json::Value> = journal.lines().skip(1).map(|l| serde_json::from_str(l).unwrap()).collect();
        let refused = lines.iter().filter(|l| l["reason"] == "invalid-utf8").count() as u64;
        let counted: u64 = lines.iter().filter_map(|l| l["refused"].as_u64()).sum();
        assert!(refused > 0 && refused == counted, "{refused} lines, {counted} counted");
        let done = lines.last().unwrap()["to"].as_u64().unwrap();

        let control = spilling(spill_beyond);
        let summary = ingest(root.path(), &dataset, &limit("100%"), &control).unwrap();
        assert_eq!((summary.rows, summary.quarantined), (50, 201));
        assert_eq!(control.decodes.load(Ordering::Relaxed), 250 - done, "from the journal: {done}");
        let quarantined = quarantine(&dataset, &summary);
        assert_eq!(quarantined.len(), 201);
        assert_eq!(quarantined[0], ("train/a/empty.txt".to_owned(), "empty".to_owned()), "the listing's come first");
        assert!(quarantined[1..].iter().all(|(_, reason)| reason == "invalid-utf8"));

        let over = ingest(root.path(), &dataset, &limit("30"), &spilling(spill_beyond)).unwrap_err();
        assert!(matches!(over, crate::Error::QuarantineLimit { refused: 31.., .. }), "{over}");
        (journal, files(&dataset))
    };
    assert_eq!(seen("memory", None), seen("files", Some(0)));
}

fn spilling(spill_beyond: Option<usize>) -> Control {
    Control { spill_beyond, ..Control::default() }
}
