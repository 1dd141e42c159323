//! Trees of Pascal VOC as people have them, and what is wrong with some.

use std::fs;

use super::*;
use crate::source::listing::listed;

const BOX: &str =
    "<object><name>a</name><bndbox><xmin>1</xmin><ymin>1</ymin><xmax>2</xmax><ymax>2</ymax></bndbox></object>";

fn tree(files: &[(&str, &str)]) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    for (name, content) in files {
        let path = dir.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        let content = if content.starts_with('<') && !content.starts_with("<!") {
            format!("<annotation>{content}</annotation>")
        } else {
            (*content).to_owned()
        };
        fs::write(path, content).unwrap();
    }
    dir
}

type Row = (String, String, Option<usize>);

/// Ids with their splits and how many objects they have; refusals; notes.
fn seen(dir: &tempfile::TempDir, options: &SourceOptions) -> (Vec<Row>, Vec<(String, Reason)>, Vec<String>) {
    let (listing, entries) = listed(&Voc, dir.path(), options).unwrap();
    let entry = |entry: &Entry| {
        let objects = match &entry.cells[1] {
            EntryCell::Objects(_, objects) => Some(objects.len()),
            _ => None,
        };
        (entry.id.clone(), entry.split.clone(), objects)
    };
    let refused = listing.refused.iter().map(Result::unwrap).map(|r| (r.id, r.fault.reason)).collect();
    (entries.iter().map(entry).collect(), refused, listing.notes)
}

fn row(id: &str, split: &str, objects: impl Into<Option<usize>>) -> Row {
    (id.to_owned(), split.to_owned(), objects.into())
}

#[test]
fn pictures_find_their_annotations_and_lists_their_splits() {
    let dir = tree(&[
        ("V/JPEGImages/one.jpg", "1"),
        ("V/JPEGImages/sub/two.JPG", "2"),
        ("V/JPEGImages/bare.png", "3"),
        ("V/JPEGImages/named.png", "4"),
        ("V/JPEGImages/unlisted.png", "5"),
        ("V/Annotations/one.xml", BOX),
        ("V/Annotations/sub/two.xml", "<filename>two.JPG</filename>"),
        ("V/Annotations/other.xml", "<filename>C:\\data\\named.png</filename>"),
        ("V/Annotations/unlisted.xml", "<filename>x.png</filename>"),
        ("V/Annotations/nobody.xml", "<filename>nobody.png</filename>"),
        ("V/Annotations/twice.xml", "<filename>one.jpg</filename>"),
        ("V/ImageSets/Main/train.txt", "one\nbare\n"),
        ("V/ImageSets/Main/val.txt", "sub/two\r\nnamed  1\n\n"),
        ("V/ImageSets/Main/trainval.txt", "one\nunlisted\n"),
        ("side/test/a.png", "6"),
        ("side/test/a.xml", BOX),
    ]);
    let (rows, refused, notes) = seen(&dir, &SourceOptions::default());
    let expected = [
        row("side/test/a.png", "train", 1),
        row("V/JPEGImages/bare.png", "train", None),
        row("V/JPEGImages/one.jpg", "train", 1),
        row("V/JPEGImages/unlisted.png", "unlisted", 0),
        row("V/JPEGImages/named.png", "validation", 0),
        row("V/JPEGImages/sub/two.JPG", "validation", 0),
    ];
    let mut sorted = expected.to_vec();
    sorted.sort_by(|a, b| (&a.1, &a.0).cmp(&(&b.1, &b.0)));
    assert_eq!(rows, sorted);
    let refused: Vec<(&str, Reason)> = refused.iter().map(|(id, reason)| (id.as_str(), *reason)).collect();
    assert_eq!(
        refused,
        [("V/Annotations/nobody.xml", Reason::Unreadable), ("V/Annotations/twice.xml", Reason::BadLabel)]
    );
    for said in
        ["1 pictures have no annotation", "1 annotations name another file", "1 pictures are in none of the lists"]
    {
        assert!(notes.iter().any(|note| note.contains(said)), "{said}: {notes:?}");
    }
    // Folders that are called like splits are splits.
    let dir = tree(&[("test/a.png", "6"), ("test/a.xml", BOX), ("b.png", "7"), ("b.xml", BOX)]);
    let (rows, ..) = seen(&dir, &SourceOptions { split: "fold".into(), ..SourceOptions::default() });
    assert_eq!(rows, [row("b.png", "fold", 1), row("test/a.png", "test", 1)]);
}

#[test]
fn bad_annotations_refuse_their_picture_and_nothing_else() {
    let dir = tree(&[
        ("a.png", "1"),
        ("a.xml", "<object><name>a</name></object>"),
        ("b.png", "1"),
        ("b.xml", "<!DOCTYPE annotation [<!ENTITY e \"x\">]><annotation>&e;</annotation>"),
        ("c.png", "1"),
        ("c.xml", BOX),
    ]);
    let (rows, refused, _) = seen(&dir, &SourceOptions::default());
    assert_eq!(rows, [row("c.png", "train", 1)]);
    let reasons: Vec<(&str, Reason)> = refused.iter().map(|(id, reason)| (id.as_str(), *reason)).collect();
    assert_eq!(reasons, [("a.png", Reason::BadLabel), ("b.png", Reason::BadLabel)]);
    let dir = tree(&[
        ("a.png", "1"),
        ("ImageSets/Main/train.txt", "a"),
        ("ImageSets/Main/val.txt", "a"),
        ("Annotations/a.xml", BOX),
    ]);
    let (rows, refused, _) = seen(&dir, &SourceOptions::default());
    assert_eq!((rows.len(), refused.len()), (0, 1), "a picture in two lists");
    let files: Vec<(String, &str)> = (0..4)
        .flat_map(|n| [(format!("JPEGImages/frame {n}.jpg"), "1"), (format!("Annotations/frame {n}.xml"), BOX)])
        .chain([
            ("ImageSets/Main/train.txt".into(), "frame 0\nframe 1\nframe 3"),
            ("ImageSets/Main/test.txt".into(), "frame 3\nframe 2"),
            ("SegmentationClass/frame 0.png".into(), "mask"),
            ("depth/frame 1.png".into(), "depth"),
        ])
        .collect();
    let files: Vec<(&str, &str)> = files.iter().map(|(name, content)| (name.as_str(), *content)).collect();
    let (rows, refused, notes) = seen(&tree(&files), &SourceOptions::default());
    let expected = [
        row("JPEGImages/frame 2.jpg", "test", 1),
        row("JPEGImages/frame 0.jpg", "train", 1),
        row("JPEGImages/frame 1.jpg", "train", 1),
        row("depth/frame 1.png", "train", None),
    ];
    assert_eq!(rows, expected);
    assert_eq!(refused, [("JPEGImages/frame 3.jpg".to_owned(), Reason::BadLabel)]);
    for said in ["1 pictures in SegmentationClass", "1 pictures have the stem of another"] {
        assert!(notes.iter().any(|note| note.contains(said)), "{said}: {notes:?}");
    }
    for (files, options) in [
        (&[("a.png", "1")][..], SourceOptions::default()),
        (
            &[("a.png", "1"), ("a.xml", BOX)],
            SourceOptions { label_column: Some("x".into()), ..SourceOptions::default() },
        ),
    ] {
        assert_eq!(listed(&Voc, tree(files).path(), &options).map(|_| ()).unwrap_err().exit_code(), 2);
    }
}
