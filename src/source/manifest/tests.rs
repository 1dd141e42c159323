use super::*;
use crate::data::info::Kind;
use crate::data::label::Value;
use crate::source::listing;

/// A listing with its entries beside it.
struct Listed {
    schema: Schema,
    entries: Vec<Entry>,
    refused: Vec<Refusal>,
    notes: Vec<String>,
}

fn list(path: &Path, options: &SourceOptions) -> Result<Listed> {
    let (listing, entries) = listing::listed(&Manifest, path, options)?;
    let refused = listing.refused.iter().collect::<Result<_>>()?;
    Ok(Listed { schema: listing.schema, entries, refused, notes: listing.notes })
}

fn listed(name: &str, bytes: &[u8], options: &SourceOptions) -> Result<Listed> {
    let dir = tempfile::tempdir().unwrap();
    for file in ["a.jpg", "sub/b.jpg", "ü.jpg"] {
        let path = dir.path().join(file);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, "12345").unwrap();
    }
    std::fs::write(dir.path().join(name), bytes).unwrap();
    list(&dir.path().join(name), options)
}

fn images() -> SourceOptions {
    SourceOptions { kind: Some(Kind::Image), ..Default::default() }
}

fn reasons(listing: &Listed) -> Vec<(&str, Option<u64>, Reason)> {
    listing.refused.iter().map(|r| (r.id.as_str(), r.line, r.fault.reason)).collect()
}

#[test]
fn a_spreadsheet_with_a_mark_crlf_quotes_and_back_slashes() {
    let csv = "\u{feff}file_name,label,code,score,ok,id,note,split\r\n\
               a.jpg,10,001,1,true,7,\"two\nlines, one cell\",train\r\n\
               \r\n\
               sub\\b.jpg,9,002,2.5,false,,,dev\r\n\
               ./\u{fc}.jpg,9,003,,,8,\"say \"\"hi\"\"\",\r\n";
    let listing = listed("m.csv", csv.as_bytes(), &images()).unwrap();
    let names: Vec<(&str, &str)> = listing.schema.columns.iter().map(|c| (c.name.as_str(), c.feature.name())).collect();
    let expected = [
        ("image", "image"),
        ("label", "class label"),
        ("code", "text"),
        ("score", "float"),
        ("ok", "bool"),
        ("source_id", "int"),
        ("note", "text"),
    ];
    assert_eq!(names, expected);
    assert_eq!(listing.schema.get("label"), Some(&Feature::ClassLabel { names: vec!["9".into(), "10".into()] }));
    let ids: Vec<_> = listing.entries.iter().map(|e| (e.split.as_str(), e.id.as_str(), e.line)).collect();
    let expected =
        [("train", "a.jpg", Some(2)), ("train", "\u{fc}.jpg", Some(6)), ("validation", "sub/b.jpg", Some(5))];
    assert_eq!(ids, expected);
    let first = &listing.entries[0].cells;
    assert!(matches!(&first[0], EntryCell::File { bytes: 5, .. }));
    assert_eq!(first[1], EntryCell::Class("10".into()));
    assert_eq!(first[2], EntryCell::Inline(b"001".to_vec()));
    assert_eq!(first[3], EntryCell::Value(Value::Float(1.0)));
    assert_eq!(first[6], EntryCell::Inline(b"two\nlines, one cell".to_vec()));
    assert_eq!(listing.entries[2].cells[5], EntryCell::NULL);
    assert!(listing.notes.iter().any(|n| n.contains("source_id")));
}

#[test]
fn bad_rows_are_refused_one_by_one() {
    let csv = b"path\tclass\na.jpg\tcat\n../a.jpg\tcat\n/etc/passwd\tcat\nC:\\x.jpg\tcat\nnone.jpg\tcat\nsub\tcat\na.jpg\t\n\tcat\na.jpg\na.jpg\t\xff\nsub/b.jpg\tdog\n";
    let listing = listed("m.tsv", csv, &images()).unwrap();
    let ids: Vec<&str> = listing.entries.iter().map(|e| e.id.as_str()).collect();
    assert_eq!(ids, ["a.jpg", "sub/b.jpg"]);
    let expected = [
        ("../a.jpg", Some(3), Reason::BadPath),
        ("/etc/passwd", Some(4), Reason::BadPath),
        ("C:\\x.jpg", Some(5), Reason::BadPath),
        ("a.jpg", Some(8), Reason::BadLabel),
        ("m.tsv#9", Some(9), Reason::BadPath),
        ("m.tsv#10", Some(10), Reason::Corrupt),
        ("m.tsv#11", Some(11), Reason::InvalidUtf8),
        ("none.jpg", Some(6), Reason::Unreadable),
        ("sub", Some(7), Reason::BadPath),
    ];
    assert_eq!(reasons(&listing), expected);
}

#[test]
fn a_stray_quote_is_told_with_its_line_and_swallows_no_rows() {
    let of = |csv: &str| listed("m.csv", csv.as_bytes(), &images());
    for (csv, line) in [
        // Never closed; closed by the next stray one, with other and with as many cells; in the header.
        ("path,label\na.jpg,x\n\nsub/b.jpg,\"y\n\u{fc}.jpg,y\n", 4),
        ("path,label\na.jpg,\"x\nsub/b.jpg,y\",z\n", 2),
        ("path,label\r\na.jpg,\"x\r\nsub/b.jpg,\"y\r\n", 2),
        ("path,\"label\na.jpg,x\n", 1),
        ("\u{feff}\"path,label\na.jpg,x\n", 1),
    ] {
        let error = of(csv).err().unwrap();
        assert_eq!(error.exit_code(), 2);
        assert!(error.to_string().contains(&format!("begins in line {line}:")), "{csv:?}: {error}");
    }
    let inch = of("path,label,size\na.jpg,x,5\" wide\nsub/b.jpg,x,\"two \"\"\nlines\"\n").unwrap();
    assert_eq!((inch.entries.len(), inch.refused.len()), (2, 0), "quotes within a cell are text");
    let tsv = listed("m.tsv", b"path\tlabel\na.jpg\t\"x\nsub/b.jpg\ty\n", &images()).unwrap();
    assert_eq!(tsv.entries[0].cells[1], EntryCell::Class("\"x".into()));
    assert_eq!(tsv.entries.len(), 2);
}

#[test]
fn one_file_in_many_rows_has_many_ids() {
    let csv = "file,category\na.jpg,x\nsub/b.jpg,x\n./a.jpg,y\na.jpg,x\n";
    let listing = listed("m.csv", csv.as_bytes(), &images()).unwrap();
    let ids: Vec<&str> = listing.entries.iter().map(|e| e.id.as_str()).collect();
    assert_eq!(ids, ["a.jpg", "a.jpg#2", "a.jpg#3", "sub/b.jpg"]);
    assert_eq!(listing.entries[1].cells[1], EntryCell::Class("y".into()));
}

#[test]
fn a_file_called_like_the_second_row_of_another_keeps_its_id() {
    let dir = tempfile::tempdir().unwrap();
    for file in ["a.jpg", "a.jpg#2"] {
        std::fs::write(dir.path().join(file), "12345").unwrap();
    }
    let path = dir.path().join("m.csv");
    std::fs::write(&path, "file,category\na.jpg,x\na.jpg,y\na.jpg#2,z\na.jpg#2,z\n").unwrap();
    let listing = list(&path, &images()).unwrap();
    let mut ids: Vec<(&str, Option<u64>)> = listing.entries.iter().map(|e| (e.id.as_str(), e.line)).collect();
    ids.sort_unstable();
    assert_eq!(ids, [("a.jpg", Some(2)), ("a.jpg#2", Some(4)), ("a.jpg#2#2", Some(5)), ("a.jpg#3", Some(3))]);
}

#[test]
fn a_long_split_is_a_refused_row_and_no_good_row_at_all_is_told_with_reasons() {
    let long = "x".repeat(101);
    let csv = format!("path,split\na.jpg,{long}\nsub/b.jpg,train\n");
    let listing = listed("m.csv", csv.as_bytes(), &images()).unwrap();
    assert_eq!(reasons(&listing), [("a.jpg", Some(2), Reason::BadLabel)]);
    assert_eq!(listing.entries.len(), 1);
    let any = SourceOptions::default();
    let error = listed("m.csv", b"path,label\na.jpg,\n../x.jpg,y\nsub/b.jpg,\n", &any).err().unwrap().to_string();
    assert!(error.contains("2 bad-label (line 2: column \"label\" is empty)"), "{error}");
    assert!(error.contains("1 bad-path (line 3:"), "{error}");
}

#[test]
fn json_lines_keep_their_types() {
    let jsonl = "\u{feff}{\"image\": \"a.jpg\", \"label\": true, \"n\": \"12\", \"tags\": [1, 2]}\r\n\n\
                 [1]\n{\"image\": \"sub/b.jpg\", \"label\": false, \"m\": 3}\n";
    let listing = listed("m.jsonl", jsonl.as_bytes(), &images()).unwrap();
    let names: Vec<(&str, &str)> = listing.schema.columns.iter().map(|c| (c.name.as_str(), c.feature.name())).collect();
    assert_eq!(names, [("image", "image"), ("label", "class label"), ("n", "text"), ("tags", "text"), ("m", "int")]);
    assert_eq!(listing.schema.get("label"), Some(&Feature::ClassLabel { names: vec!["false".into(), "true".into()] }));
    assert_eq!(listing.entries[0].cells[3], EntryCell::Inline(b"[1,2]".to_vec()));
    assert_eq!(listing.entries[1].cells[2], EntryCell::NULL);
    assert_eq!(reasons(&listing), [("m.jsonl#3", Some(3), Reason::Corrupt)]);
}

#[test]
fn rows_of_text_need_no_path_and_a_label_of_numbers_is_a_number() {
    let listing = listed("m.csv", b"text,label\nhello,0.5\nworld,1\n", &SourceOptions::default()).unwrap();
    assert_eq!(listing.schema, Schema::new([("text", Feature::Text), ("label", Feature::Float)]));
    let ids: Vec<&str> = listing.entries.iter().map(|e| e.id.as_str()).collect();
    assert_eq!(ids, ["m.csv#2", "m.csv#3"]);
}

#[test]
fn columns_are_asked_for_by_name() {
    let named = SourceOptions { path_column: Some("where".into()), label_column: Some("what".into()), ..images() };
    let listing = listed("m.csv", b"where,what\na.jpg,x\n", &named).unwrap();
    assert_eq!(listing.schema.get("what"), Some(&Feature::ClassLabel { names: vec!["x".into()] }));
    for (csv, options) in [("where,what\na.jpg,x\n", images()), ("path\na.jpg\n", named), ("path,label\n", images())] {
        assert_eq!(listed("m.csv", csv.as_bytes(), &options).err().unwrap().exit_code(), 2);
    }
}

#[test]
fn a_line_or_row_without_end_is_refused_and_not_kept() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("a.jpg"), "12345").unwrap();
    let long = " ".repeat((64 << 20) + 1);
    let path = dir.path().join("m.jsonl");
    std::fs::write(&path, format!("{{\"image\": \"a.jpg\"}}\n{long}\n{{\"image\": \"a.jpg\"}}\n")).unwrap();
    let listing = list(&path, &images()).unwrap();
    assert_eq!(reasons(&listing), [("m.jsonl#2", Some(2), Reason::OverLimit)]);
    assert_eq!(listing.entries.iter().map(|e| e.line).collect::<Vec<_>>(), [Some(1), Some(3)]);
    let path = dir.path().join("m.csv");
    std::fs::write(&path, format!("image,note\na.jpg,\"{long}{long}")).unwrap();
    let error = list(&path, &images()).err().unwrap();
    assert!(error.exit_code() == 2 && error.to_string().contains("longer than"), "{error}");
}

#[test]
fn a_manifest_of_many_rows_is_typed_by_all_of_them_and_numbered_to_the_last() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("a.jpg"), "12345").unwrap();
    let path = dir.path().join("m.csv");
    let rows: String = (0..20_000).map(|i| format!("a.jpg,{i},\"x\ny\"\n")).collect();
    std::fs::write(&path, format!("path,n,note\n{rows}a.jpg,0.5,z\n")).unwrap();
    let listing = list(&path, &images()).unwrap();
    assert_eq!(listing.schema.get("n"), Some(&Feature::Float));
    let last = listing.entries.last().unwrap();
    assert_eq!((listing.entries.len(), last.id.as_str(), last.line), (20_001, "a.jpg#20001", Some(40_002)));
}

/// A folder of tables and media; what is no table has 5 bytes.
fn folder(files: &[(&str, &str)]) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    for (name, content) in files {
        let path = dir.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, content).unwrap();
    }
    dir
}

#[test]
fn metadata_of_each_split_is_one_table() {
    let dir = folder(&[
        ("train/metadata.csv", "file_name,note\na.jpg,1\nsub/a.jpg,2\n../test/a.jpg,3\nnone.jpg,4\n"),
        ("train/a.jpg", "12345"),
        ("train/sub/a.jpg", "12345"),
        ("train/b.jpg", "12345"),
        ("test/metadata.csv", "file_name,note\na.jpg,2.5\na.jpg,6\n"),
        ("test/a.jpg", "12345"),
        ("more/metadata.csv", "file_name,note\na.jpg,7\n"),
        ("more/a.jpg", "12345"),
    ]);
    let listing = list(dir.path(), &images()).unwrap();
    let told = |e: &Entry| format!("{} {} {}#{}", e.split, e.id, e.origin, e.line.unwrap());
    let mut rows: Vec<String> = listing.entries.iter().map(told).collect();
    rows.sort();
    let expected = [
        "test test/a.jpg test/metadata.csv#2",
        "test test/a.jpg#2 test/metadata.csv#3",
        "train more/a.jpg more/metadata.csv#2",
        "train train/a.jpg train/metadata.csv#2",
        "train train/sub/a.jpg train/metadata.csv#3",
    ];
    assert_eq!(rows, expected);
    // What a column holds follows from all tables.
    assert_eq!(listing.schema.get("note"), Some(&Feature::Float));
    let refused = reasons(&listing);
    let expected =
        [("train/metadata.csv#4", Some(4), Reason::BadPath), ("train/none.jpg", Some(5), Reason::Unreadable)];
    assert!(refused.len() == 2 && expected.iter().all(|want| refused.contains(want)), "{refused:?}");
    assert!(listing.notes.iter().any(|n| n.contains("1 files are named by no row") && n.contains("train/b.jpg")));
    let whole = list(dir.path(), &SourceOptions { split_dirs: SplitDirs::Yes, ..images() }).unwrap();
    assert!(whole.entries.iter().any(|e| e.split == "more"));
    let look = Look::at(dir.path()).unwrap();
    let why = Manifest.detect(dir.path(), &look).unwrap();
    assert!(why.score == 82 && why.why.contains("metadata.csv"), "{why:?}");
}

#[test]
fn tables_that_are_not_alike_are_no_table() {
    for (name, table, said) in [
        ("test/metadata.csv", "note,file_name\n1,a.jpg\n", "other columns"),
        ("test/metadata.jsonl", "{\"file_name\": \"a.jpg\"}\n", "two kinds"),
    ] {
        let train = ("train/metadata.csv", "file_name,note\na.jpg,1\n");
        let dir = folder(&[train, ("train/a.jpg", "12345"), (name, table), ("test/a.jpg", "12345")]);
        let error = list(dir.path(), &images()).err().unwrap().to_string();
        assert!(error.contains(said) && error.contains(name), "{error}");
    }
    // Of lines of JSON the keys of all are the columns.
    let dir = folder(&[
        ("train/metadata.jsonl", "{\"file_name\": \"a.jpg\", \"x\": 1}\n"),
        ("train/a.jpg", "12345"),
        ("test/metadata.jsonl", "{\"y\": true, \"file_name\": \"a.jpg\"}\n"),
        ("test/a.jpg", "12345"),
    ]);
    let listing = list(dir.path(), &images()).unwrap();
    let names: Vec<&str> = listing.schema.columns.iter().map(|c| c.name.as_str()).collect();
    assert_eq!(names, ["image", "y", "x"], "those of test/ come first");
    let test = listing.entries.iter().find(|e| e.id == "test/a.jpg").unwrap();
    assert_eq!(test.cells[1..], [EntryCell::Value(Value::Bool(true)), EntryCell::NULL]);
}

#[test]
fn rows_may_have_several_files() {
    let csv = "file_name,mask_file_name,original_file_name\na.jpg,sub/b.jpg,IMG_1.HEIC\n\u{fc}.jpg,,IMG_2.HEIC\na.jpg,gone.jpg,IMG_3.HEIC\n";
    let listing = listed("m.csv", csv.as_bytes(), &images()).unwrap();
    let columns: Vec<(&str, &str)> =
        listing.schema.columns.iter().map(|c| (c.name.as_str(), c.feature.name())).collect();
    assert_eq!(columns, [("image", "image"), ("mask", "image"), ("original_file_name", "text")]);
    assert!(listing.notes.iter().any(|n| n.contains("original_file_name") && n.contains("kept as it is")));
    let of = |id: &str| listing.entries.iter().find(|e| e.id == id).unwrap().cells[1].clone();
    assert!(matches!(of("a.jpg"), EntryCell::File { path, bytes: 5 } if path.ends_with("sub/b.jpg")));
    assert_eq!(of("\u{fc}.jpg"), EntryCell::NULL);
    let refusal = &listing.refused[0];
    assert_eq!((listing.refused.len(), refusal.line, refusal.fault.reason), (1, Some(4), Reason::Unreadable));
    assert!(refusal.fault.message.contains("mask_file_name") && refusal.fault.message.contains("gone.jpg"));
    // Without a column that is the path's, the first of these is.
    let csv = "left_file_name,right_file_name\na.jpg,sub/b.jpg\n";
    let listing = listed("m.csv", csv.as_bytes(), &images()).unwrap();
    let columns: Vec<&str> = listing.schema.columns.iter().map(|c| c.name.as_str()).collect();
    assert_eq!((columns, listing.entries[0].id.as_str()), (vec!["left", "right"], "a.jpg"));
    // None may leave the folder.
    let csv = "file_name,mask_file_name\na.jpg,sub/b.jpg\na.jpg,../m.csv\n";
    let listing = listed("m.csv", csv.as_bytes(), &images()).unwrap();
    assert_eq!(reasons(&listing), [("a.jpg", Some(3), Reason::BadPath)]);
}

#[test]
fn folders_are_splits_when_told_and_said_when_not() {
    let dir = folder(&[
        ("metadata.csv", "file_name\ntrain/a.jpg\ntest/a.jpg\nb.jpg\n"),
        ("train/a.jpg", "12345"),
        ("test/a.jpg", "12345"),
        ("b.jpg", "12345"),
    ]);
    let splits = |listing: &Listed| listing.entries.iter().map(|e| e.split.clone()).collect::<Vec<_>>();
    let auto = list(dir.path(), &images()).unwrap();
    assert_eq!(splits(&auto), ["train"; 3]);
    assert!(auto.notes.iter().any(|n| n.contains("2 rows") && n.contains("--split-dirs yes")), "{:?}", auto.notes);
    let told = list(dir.path(), &SourceOptions { split_dirs: SplitDirs::Yes, ..images() }).unwrap();
    assert_eq!(splits(&told), ["test", "train", "train"]);
    assert!(told.notes.is_empty(), "{:?}", told.notes);
}
