//! Trees of YOLO as people have them, and what is wrong with some.

use std::fs;

use super::*;
use crate::source::listing::listed;

fn tree(files: &[(&str, &str)]) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    for (name, content) in files {
        let path = dir.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }
    dir
}

const ONE: &str = "0 0.5 0.5 1 1\n";

/// Ids with their splits and classes.
fn seen(files: &[(&str, &str)]) -> (Vec<String>, Vec<String>, Vec<String>) {
    let dir = tree(files);
    let (listing, entries) = listed(&Yolo, dir.path(), &SourceOptions::default()).unwrap();
    let told = |entry: &Entry| match &entry.cells[1] {
        EntryCell::Objects(names, objects) => {
            let classes: Vec<&str> = objects.classes.iter().map(|c| names[*c as usize].as_str()).collect();
            format!("{} {} {}", entry.split, entry.id, classes.join("+"))
        }
        other => panic!("{other:?}"),
    };
    let refused = listing.refused.iter().map(Result::unwrap).map(|r| format!("{} {}", r.id, r.fault));
    (entries.iter().map(told).collect(), refused.collect(), listing.notes)
}

#[test]
fn settings_may_be_written_in_many_ways() {
    for yaml in [
        "train: images/train\nval: images/val\nnames: [cat, dog]\nnc: 2",
        "path: ../datasets/mine\ntrain: images/train\nvalidation: [images/val]\nnames:\n  0: cat\n  1: dog",
        "path: /data/of/someone\ntrain: ../images/train/\nval: ./images/val\nnames: {0: cat, 1: dog}",
        "train: lists/train.txt\nval: C:\\x\\images\\val\nnames: ['cat', \"dog\"]",
    ] {
        let (rows, refused, notes) = seen(&[
            ("data.yaml", yaml),
            ("images/train/a.jpg", "1"),
            ("labels/train/a.txt", "1 0.5 0.5 1 1\n0 0.5 0.5 1 1"),
            ("images/val/b.images.jpg", "2"),
            ("labels/val/b.images.txt", ONE),
            ("images/val/background.jpg", "3"),
            ("images/other/c.jpg", "4"),
            ("lists/train.txt", "./../images/train/a.jpg\n"),
        ]);
        let expected = [
            "train images/train/a.jpg dog+cat",
            "unlisted images/other/c.jpg ",
            "validation images/val/b.images.jpg cat",
            "validation images/val/background.jpg ",
        ];
        let mut sorted = rows.clone();
        sorted.sort();
        assert_eq!(sorted, expected, "{yaml}");
        assert!(refused.is_empty(), "{refused:?}");
        assert!(notes.iter().any(|n| n.contains("1 pictures are in none of the splits")), "{notes:?}");
    }
}

#[test]
fn without_settings_folders_and_numbers_say_it() {
    let (rows, _, notes) = seen(&[
        ("a/images/x/images/valid/p.png", "1"),
        ("a/images/x/labels/valid/p.txt", "3 0.5 0.5 1 1"),
        ("q.png", "2"),
        ("q.txt", ONE),
    ]);
    assert_eq!(rows, ["train q.png 0", "validation a/images/x/images/valid/p.png 3"]);
    assert!(notes.iter().any(|n| n.contains("called by their numbers")), "{notes:?}");
    let (rows, ..) =
        seen(&[("classes.txt", "\u{feff}cat\n\ndog\n\n"), ("q.png", "2"), ("q.txt", "2 0.5 0.5 1 1\n1 0.5 0.5 1 1")]);
    assert_eq!(rows, ["train q.png dog+1"], "a class is the number of its line");
}

#[test]
fn what_is_wrong_is_refused_or_said() {
    let (rows, refused, _) = seen(&[
        ("data.yaml", "train: train.txt\nnames: [cat]"),
        ("train.txt", "a.png\nmissing.png\n../../etc/passwd\nb.png\n"),
        ("a.png", "1"),
        ("a.txt", "1 0.5 0.5 1 1"),
        ("b.png", "1"),
        ("b.txt", "0 0.1 0.1 0.2 0.2 0.3 0.3\n"),
    ]);
    assert_eq!(rows, ["train b.png cat"]);
    assert_eq!(refused.len(), 3, "{refused:?}");
    assert!(refused[0].contains("class 1, and there are 1"), "{refused:?}");
    for yaml in [
        "train: nowhere\nnames: [a]",
        "names: [a]\nnc: 2\ntrain: .",
        "names: {4000000000: a}\ntrain: .",
        "train: .",
        "[1, 2",
        "a: &a [x]\nb: &b [*a, *a, *a, *a, *a, *a, *a, *a, *a]\nc: &c [*b, *b, *b, *b, *b, *b, *b, *b, *b]\nd: &d [*c, *c, *c, *c, *c, *c, *c, *c]\n\
         e: &e [*d, *d, *d, *d, *d, *d, *d, *d]\nf: &f [*e, *e, *e, *e, *e, *e, *e, *e]\nnames: *f\ntrain: .",
    ] {
        let dir = tree(&[("data.yaml", yaml), ("a.png", "1")]);
        let error = listed(&Yolo, dir.path(), &SourceOptions::default()).map(|_| ()).unwrap_err();
        assert!(error.exit_code() == 2, "{yaml}: {error}");
    }
}

#[test]
fn polygons_of_one_file_make_a_column_for_all() {
    let dir = tree(&[("a.png", "1"), ("a.txt", "0 0.1 0.1 0.2 0.1 0.2 0.3\n"), ("b.png", "2"), ("b.txt", ONE)]);
    let (listing, entries) = listed(&Yolo, dir.path(), &SourceOptions::default()).unwrap();
    assert_eq!(listing.schema.get("polygons"), Some(&Feature::Text));
    let text = |at: usize| match &entries[at].cells[2] {
        EntryCell::Inline(bytes) => String::from_utf8_lossy(bytes).into_owned(),
        other => panic!("{other:?}"),
    };
    assert_eq!((text(0).as_str(), text(1).as_str()), ("[[[0.1,0.1,0.2,0.1,0.2,0.3]]]", "[]"));
}

#[test]
fn poses_have_keypoints_and_what_is_said_of_them() {
    let yaml = "train: images\nnames: [person]\nkpt_shape: [2, 3]\nflip_idx: [1, 0]\nkpt_names:\n  0: [left, right]";
    let dir = tree(&[
        ("pose.yaml", yaml),
        ("images/a.jpg", "1"),
        ("labels/a.txt", "0 0.5 0.5 1 1 0.25 0.5 2 0.75 0.5 1\n"),
        ("images/b.jpg", "2"),
        ("labels/b.txt", ONE),
        ("images/empty.jpg", "3"),
        ("labels/empty.txt", ""),
    ]);
    let (listing, entries) = listed(&Yolo, dir.path(), &SourceOptions::default()).unwrap();
    let columns: Vec<&str> = listing.schema.columns.iter().map(|c| c.name.as_str()).collect();
    assert_eq!(columns, ["image", "objects", "keypoints"]);
    let Feature::Objects(objects) = &listing.schema.columns[1].feature else { panic!("no objects") };
    let said = serde_json::json!({"kpt_shape": [2, 3], "flip_idx": [1, 0], "keypoints": ["left", "right"]});
    assert_eq!(objects.details["person"], said);
    let of = |n: usize| (entries[n].id.as_str(), entries[n].cells[2].clone());
    assert_eq!(of(0), ("images/a.jpg", EntryCell::Inline(b"[[0.25,0.5,2.0,0.75,0.5,1.0]]".to_vec())));
    assert_eq!(of(1), ("images/empty.jpg", EntryCell::Inline(b"[]".to_vec())));
    let refused: Vec<String> = listing.refused.iter().map(Result::unwrap).map(|r| r.fault.to_string()).collect();
    assert!(refused.len() == 1 && refused[0].contains("5 numbers, not 11"), "{refused:?}");

    for (shape, said) in [
        ("[17, 4]", "kpt_shape is [17, 4]"),
        ("[2000, 3]", "kpt_shape is [2000, 3]"),
        ("[17]", "kpt_shape is [17]"),
        ("[2, 3]\nflip_idx: [0, 0]", "flip_idx is [0, 0]"),
        ("seventeen", "data.yaml"),
    ] {
        let yaml = format!("train: images\nnames: [person]\nkpt_shape: {shape}");
        let dir = tree(&[("data.yaml", &yaml), ("images/a.jpg", "1"), ("labels/a.txt", ONE)]);
        let error = listed(&Yolo, dir.path(), &SourceOptions::default()).unwrap_err();
        assert!(error.to_string().contains(said), "{error}");
    }
    // Where there are none, it says so in two ways.
    for shape in ["null", "[0, 0]"] {
        let yaml = format!("train: images\nnames: [person]\nkpt_shape: {shape}");
        let (rows, ..) = seen(&[("data.yaml", &yaml), ("images/a.jpg", "1"), ("labels/a.txt", ONE)]);
        assert_eq!(rows, ["train images/a.jpg person"]);
    }
}
