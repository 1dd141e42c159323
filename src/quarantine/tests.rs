use super::*;

fn refused(n: u64) -> Refused {
    let odd = n.is_multiple_of(2);
    Refused {
        id: format!("train/cats/{n}\u{1b}[2J.jpg"),
        reason: "truncated".into(),
        message: format!("it ends at {n}"),
        origin: "m.csv".into(),
        line: odd.then_some(n + 1),
        column: odd.then(|| "image".into()),
        split: Some("train".into()),
        class: (!n.is_multiple_of(3)).then(|| "cats".into()),
        recording: (n == 7).then(|| "talk.mp3".into()),
        rows: (n == 7).then_some(40),
        bytes: odd.then_some(n << 33),
        kept: None,
        original: None,
    }
}

/// A row with some original bytes.
fn kept(n: u64, bytes: Vec<u8>) -> Refused {
    Refused { kept: Some(bytes.len() as u64), original: Some(Original(bytes)), ..refused(n) }
}

fn head() -> Head {
    let options = serde_json::json!({"id_prefix": "b/", "limits": {"pixels": 9}});
    Head { quarantine: FORMAT, source: Some("/data/caf\u{e9}".into()), options, feedstock: "0.1.0".into() }
}

fn lines(rows: &[Refused]) -> Vec<u8> {
    rows.iter().flat_map(|row| line(row).unwrap()).collect()
}

fn all(run: &Run) -> Vec<Refused> {
    let mut all = Vec::new();
    run.each(&mut |at, refused| {
        assert_eq!(at, all.len() as u64);
        all.push(refused);
        Ok(())
    })
    .unwrap();
    all
}

/// What goes in comes out, whatever the bytes are and however many row groups they make; the same rows make the same files.
#[test]
fn rows_come_back_with_their_bytes() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path());
    let hostile = [b"PAR1\0\xff{\"a\":\n".to_vec(), vec![0; 3 << 20], vec![b'\n'; 5 << 20], vec![7; 9 << 20]];
    let mut rows: Vec<Refused> = (0..20).map(refused).collect();
    rows.extend(hostile.iter().zip(20..).map(|(bytes, n)| kept(n, bytes.clone())));
    rows.extend((24..30).map(refused));
    for memory in [0, usize::MAX] {
        let spill = Spill::to(dir.path()).beyond(memory);
        let list = write(&store, "k", &head(), &lines(&rows), &spill).unwrap();
        assert_eq!(list.as_deref(), Some(".dsctl/quarantine/k.jsonl"));
        let run = Run::open(dir.path(), "k").unwrap();
        assert_eq!(run.head, Some(head()));
        let plain: Vec<_> = rows.iter().map(|row| Refused { original: None, ..row.clone() }).collect();
        assert_eq!(all(&run), plain);
        for (at, row) in (0..).zip(&rows) {
            assert_eq!(run.original(at).unwrap(), row.original.as_ref().map(|o| o.0.clone()), "{at}");
        }
        assert_eq!(run.original(rows.len() as u64).unwrap(), None);
        // The list alone says the same but for the bytes.
        let list = store.read(&list.unwrap()).unwrap();
        assert_eq!(read_lines(&list).map(|row| row.unwrap()).collect::<Vec<_>>(), plain);
    }
    let table = store.read(".dsctl/quarantine/k.parquet").unwrap();
    write(&store, "k", &head(), &lines(&rows), &Spill::to(dir.path())).unwrap();
    assert_eq!(store.read(".dsctl/quarantine/k.parquet").unwrap(), table);
    assert_eq!(write(&store, "k", &head(), b"", &Spill::to(dir.path())).unwrap(), None);
    assert!(runs(dir.path()).unwrap().is_empty(), "nothing refused leaves nothing");
}

/// Any reader of Parquet sees a flat table: texts, numbers and plain bytes.
#[test]
fn the_table_is_one_that_others_read() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path());
    write(&store, "k", &head(), &lines(&[kept(0, b"GIF89a".to_vec()), refused(1)]), &Spill::to(dir.path())).unwrap();
    let foreign = crate::open(dir.path().join(QUARANTINE).join("k.parquet")).unwrap();
    assert_eq!(foreign.rows(), 2);
}

/// A list without a table is what older versions wrote: four fields, sometimes a line and a column.
#[test]
fn the_lists_of_older_versions_are_read() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join(QUARANTINE);
    std::fs::create_dir_all(&folder).unwrap();
    let old = concat!(
        r#"{"id":"a.jpg","reason":"truncated","message":"it ends","origin":"a.jpg"}"#,
        "\n",
        r#"{"id":"b","reason":"bad-label","message":"none","origin":"m.csv","line":3,"column":"label"}"#,
        "\n"
    );
    std::fs::write(folder.join("0123.jsonl"), old).unwrap();
    let [run] = <[Run; 1]>::try_from(runs(dir.path()).unwrap()).unwrap();
    assert_eq!((run.key.as_str(), &run.head, run.original(0).unwrap()), ("0123", &None, None));
    let rows = all(&run);
    assert_eq!((rows[0].id.as_str(), rows[0].line, rows[0].class.as_ref()), ("a.jpg", None, None));
    assert_eq!(
        (rows[1].reason.as_str(), rows[1].line, rows[1].column.as_deref()),
        ("bad-label", Some(3), Some("label"))
    );
    std::fs::write(folder.join("0123.jsonl"), format!("{old}{{torn")).unwrap();
    let error = run.each(&mut |_, _| Ok(())).unwrap_err();
    assert!(error.exit_code() == 3 && error.to_string().contains("line 3"), "{error}");
}

#[test]
fn what_is_no_table_of_ours_is_an_error_that_names_it() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path());
    let error = Run::open(dir.path(), "k").unwrap_err();
    assert!(error.exit_code() == 2 && error.to_string().contains("\"k\""), "{error}");
    assert_eq!(Run::open(dir.path(), "../../k").unwrap_err().exit_code(), 2, "no way out of the folder");
    let rows = lines(&[kept(0, vec![9; 100_000]), refused(1)]);
    let mut newer = head();
    newer.quarantine = FORMAT + 1;
    write(&store, "k", &newer, &rows, &Spill::to(dir.path())).unwrap();
    assert!(matches!(Run::open(dir.path(), "k"), Err(Error::FormatVersion { found: 2, .. })));
    write(&store, "k", &head(), &rows, &Spill::to(dir.path())).unwrap();
    let path = dir.path().join(".dsctl/quarantine/k.parquet");
    let whole = std::fs::read(&path).unwrap();
    for cut in [0, 4, whole.len() / 2, whole.len() - 1] {
        std::fs::write(&path, &whole[..cut]).unwrap();
        let error = Run::open(dir.path(), "k").unwrap_err();
        assert!(error.exit_code() == 3 && error.to_string().contains("k.parquet"), "{cut}: {error}");
    }
    // A byte that differs anywhere is read, or is an error: no panic.
    let mut wrong = 0;
    for at in (0..whole.len()).rev().take(4000).chain((0..whole.len()).step_by(997)) {
        let mut bytes = whole.clone();
        bytes[at] ^= 0x41;
        std::fs::write(&path, &bytes).unwrap();
        let read = || -> Result<()> {
            let run = Run::open(dir.path(), "k")?;
            run.each(&mut |_, _| Ok(()))?;
            run.original(0).map(drop)
        };
        wrong += u32::from(read().is_err());
    }
    assert!(wrong > 100, "{wrong} damages were seen");
}
