//! Sources: what stands beside media, in every convention. What is listed lies below the root, and every entry can be had.

use std::cell::RefCell;
use std::path::{Path, PathBuf};

use feedstock::source::{
    AudioChunks, EntryCell, Listing, SOURCES, SourceOptions, TextUnit, TextWindow, candidates, choose, sources,
};
use feedstock::spool::Spill;
use tempfile::TempDir;

use crate::{Target, files, fixtures, lay, readers};

const MOST: usize = 64 << 20;

/// A source, the file that is replaced, and what else lies there.
#[derive(Debug, Clone, Copy)]
struct Case {
    name: &'static str,
    source: &'static str,
    /// A folder of the fixtures that is copied.
    beside: &'static str,
    /// What the input is in it.
    file: &'static str,
    /// Files of the fixtures that end so are what to begin with.
    seeds: &'static str,
    options: fn(&mut SourceOptions),
}

const CASES: &[Case] = &[
    Case { name: "csv", source: "manifest", beside: "manifests", file: "manifest.csv", seeds: ".csv", options: |_| {} },
    Case { name: "tsv", source: "manifest", beside: "manifests", file: "manifest.tsv", seeds: ".csv", options: |_| {} },
    Case {
        name: "jsonl",
        source: "manifest",
        beside: "manifests",
        file: "manifest.jsonl",
        seeds: ".jsonl",
        options: |_| {},
    },
    Case {
        name: "imagefolder-csv",
        source: "manifest",
        beside: "imagefolder/pairs",
        file: "train/metadata.csv",
        seeds: "metadata.csv",
        options: |_| {},
    },
    Case {
        name: "imagefolder-jsonl",
        source: "manifest",
        beside: "imagefolder/captions",
        file: "train/metadata.jsonl",
        seeds: "metadata.jsonl",
        options: |_| {},
    },
    Case {
        name: "coco",
        source: "coco",
        beside: "objects/coco",
        file: "annotations/instances_train.json",
        seeds: "instances_train.json",
        options: |_| {},
    },
    Case {
        name: "coco-keypoints",
        source: "coco",
        beside: "objects/coco_keypoints",
        file: "annotations/person_keypoints_train.json",
        seeds: "_train.json",
        options: |_| {},
    },
    Case {
        name: "voc",
        source: "voc",
        beside: "objects/voc",
        file: "Annotations/a.xml",
        seeds: ".xml",
        options: |_| {},
    },
    Case {
        name: "voc-list",
        source: "voc",
        beside: "objects/voc",
        file: "ImageSets/Main/train.txt",
        seeds: "train.txt",
        options: |_| {},
    },
    Case {
        name: "yolo",
        source: "yolo",
        beside: "objects/yolo_ultralytics",
        file: "labels/train/a.txt",
        seeds: "a.txt",
        options: |_| {},
    },
    Case {
        name: "yolo-yaml",
        source: "yolo",
        beside: "objects/yolo_ultralytics",
        file: "data.yaml",
        seeds: ".yaml",
        options: |_| {},
    },
    Case {
        name: "yolo-list",
        source: "yolo",
        beside: "objects/yolo_ultralytics",
        file: "train.txt",
        seeds: "train.txt",
        options: |_| {},
    },
    Case {
        name: "darknet",
        source: "yolo",
        beside: "objects/yolo",
        file: "obj.data",
        seeds: "obj.data",
        options: |_| {},
    },
    Case { name: "text-lines", source: "text", beside: "text", file: "fuzz.txt", seeds: ".txt", options: |_| {} },
    Case {
        name: "text-paragraphs",
        source: "text",
        beside: "text",
        file: "fuzz.txt",
        seeds: ".txt",
        options: |options| options.text_unit = TextUnit::Paragraph,
    },
    Case {
        name: "text-windows",
        source: "text",
        beside: "text",
        file: "fuzz.txt",
        seeds: ".txt",
        options: |options| {
            options.text_unit = TextUnit::Window;
            options.text_window = Some(TextWindow::default());
        },
    },
    Case {
        name: "excerpts",
        source: "manifest",
        beside: "manifests",
        file: "audio.csv",
        seeds: "audio.csv",
        options: |_| {},
    },
    Case {
        name: "wav-chunks",
        source: "folder",
        beside: "manifests/media",
        file: "g.wav",
        seeds: ".wav",
        options: |options| {
            options.kind = Some(feedstock::data::info::Kind::Audio);
            options.audio_chunks = Some(AudioChunks { seconds: 0.25, ..AudioChunks::default() });
        },
    },
];

/// A target for each case, and one for what a root is taken for.
pub(crate) fn targets() -> Vec<Target> {
    let of_case = |case: &'static Case| Target::new(format!("source-{}", case.name), MOST, list(*case), seeds);
    let mut all: Vec<Target> = CASES.iter().map(of_case).collect();
    // What is spooled of a compressed tar stays in memory up to 32 MiB.
    let of_archive =
        |name: &'static str| Target::new(format!("archive-{name}"), 2 * MOST, archive(name), seeds_of_archives);
    all.extend(["tar", "zip", "tar.gz", "tar.zst"].map(of_archive));
    all.push(Target::new("detect", MOST, detect(), |_| {
        CASES.iter().flat_map(|case| seeds(&format!("source-{}", case.name)).into_iter().take(2)).collect()
    }));
    all
}

/// A copy of a folder of the fixtures.
fn copy(of: &str) -> TempDir {
    let to = readers::folder();
    lay(of, to.path(), 256 << 10);
    to
}

/// A manifest or a text alone is given as the file: there are others beside it.
fn root_of(case: &Case, folder: &Path) -> PathBuf {
    let alone = case.source == "text" || case.source == "manifest" && case.beside == "manifests";
    if alone { folder.join(case.file) } else { folder.to_owned() }
}

fn list(case: Case) -> impl Fn(&[u8]) {
    thread_local! {
        static AT: RefCell<Option<(&'static str, TempDir, PathBuf)>> = const { RefCell::new(None) };
    }
    let entry = *SOURCES.iter().find(|entry| entry.name == case.source).expect("a source of the table");
    let mut options = SourceOptions::default();
    (case.options)(&mut options);
    move |data| {
        // Of another target in this thread, if any.
        AT.with_borrow_mut(|at| {
            if at.as_ref().is_none_or(|(name, ..)| *name != case.name) {
                let folder = copy(case.beside);
                let real = folder.path().canonicalize().expect("a folder");
                *at = Some((case.name, folder, real));
            }
            let Some((_, folder, real)) = at else { return };
            std::fs::write(folder.path().join(case.file), data).expect("a file in memory");
            let spill = Spill::temporary();
            let root = root_of(&case, folder.path());
            let source = (entry.build)();
            if let Ok(listing) = Listing::of(source.as_ref(), &root, &options, &spill, &|_| Ok(())) {
                hold(&listing, real);
            }
        });
    }
}

/// Every entry can be had, has a cell for each column, and lies below the root.
fn hold(listing: &Listing, real: &Path) {
    listing.schema.validate().expect("the schema of a listing");
    for at in 0..listing.entries.len() {
        let entry = listing.entries.get(at).expect("what was listed");
        assert_eq!(entry.cells.len(), listing.schema.columns.len(), "{}", entry.id);
        for cell in &entry.cells {
            let path: &Path = match cell {
                EntryCell::File { path, .. } => path,
                EntryCell::Slice { path, range, file_bytes } => {
                    assert!(range.start <= range.end && range.end <= *file_bytes, "{}", entry.id);
                    path
                }
                EntryCell::Excerpt { path, .. } => path,
                EntryCell::Inline(_) | EntryCell::Class(_) | EntryCell::Value(_) | EntryCell::Objects(..) => continue,
            };
            let lies = path.canonicalize().expect("what is listed is there");
            assert!(lies.starts_with(real), "{} leaves the source: {}", entry.id, lies.display());
        }
    }
}

/// An archive is listed, as what it is taken for, and all its members are read.
fn archive(ending: &'static str) -> impl Fn(&[u8]) {
    thread_local! {
        static AT: RefCell<Option<TempDir>> = const { RefCell::new(None) };
    }
    move |data| {
        AT.with_borrow_mut(|folder| {
            let root = folder.get_or_insert_with(readers::folder).path().canonicalize().expect("a folder");
            let path = root.join(format!("fuzz.{ending}"));
            std::fs::write(&path, data).expect("a file in memory");
            let Ok(choice) = choose(&sources(), &path, None) else { return };
            let Ok(listing) = Listing::of_choice(&choice, &SourceOptions::default(), &Spill::temporary(), &|_| Ok(()))
            else {
                return;
            };
            for at in 0..listing.entries.len() {
                let entry = listing.entries.get(at).expect("what was listed");
                assert!(!entry.id.split('/').any(|part| part == ".."), "{} leaves the archive", entry.id);
                for cell in &entry.cells {
                    let member: &Path = match cell {
                        EntryCell::File { path, .. } => path,
                        EntryCell::Slice { path, .. } | EntryCell::Excerpt { path, .. } => path,
                        _ => continue,
                    };
                    assert!(member.starts_with(&path), "{} is no member: {}", entry.id, member.display());
                    let _ = choice.tree.read(member, 1 << 20);
                }
            }
        });
    }
}

/// Archives of the fixtures by how they end.
fn seeds_of_archives(name: &str) -> Vec<Vec<u8>> {
    let ending = name.trim_start_matches("archive-");
    let all = files(&fixtures(), 64 << 10).into_iter();
    all.filter(|(path, _)| path.to_string_lossy().ends_with(&format!(".{ending}"))).map(|(_, bytes)| bytes).collect()
}

fn detect() -> impl Fn(&[u8]) {
    thread_local! {
        static AT: RefCell<Option<TempDir>> = const { RefCell::new(None) };
    }
    // The first byte says what the file is called.
    move |data| {
        let names =
            ["data.yaml", "instances.json", "a.xml", "metadata.csv", "metadata.jsonl", "a.txt", "x", "obj.data"];
        let Some((name, data)) = data.split_first() else { return };
        AT.with_borrow_mut(|folder| {
            let folder = folder.get_or_insert_with(|| copy("manifests/media"));
            let path = folder.path().join(names[usize::from(*name) % names.len()]);
            std::fs::write(&path, data).expect("a file in memory");
            let _ = candidates(&sources(), folder.path());
            std::fs::remove_file(path).expect("a file in memory");
        });
    }
}

fn seeds(name: &str) -> Vec<Vec<u8>> {
    let Some(case) = CASES.iter().find(|case| name.strip_prefix("source-") == Some(case.name)) else {
        return Vec::new();
    };
    let all = files(&fixtures(), 32 << 10).into_iter();
    let fit = all.filter(|(path, _)| path.to_string_lossy().ends_with(case.seeds));
    let mut fit: Vec<Vec<u8>> = fit.map(|(_, bytes)| bytes).collect();
    fit.sort_by_key(Vec::len);
    fit.dedup();
    fit.truncate(40);
    fit
}
