//! What archives may hold: nothing leaves them, nothing in them ends an ingest, and what is not taken has its reason.

use std::fs;
use std::path::{Path, PathBuf};

use feedstock::Error;
use feedstock::dataset::Dataset;
use feedstock::error::Reason;
use feedstock::ingest::{Control, IngestOptions, MaxErrors, Summary, ingest};
use feedstock::quarantine::runs;

use crate::common::fixture;
use crate::common::pack::{END, Zipped, deflated, gzip, header, member, summed, tar, zip_of, zstandard};

fn png() -> Vec<u8> {
    fs::read(fixture("images/test/pants/003_gray.png")).unwrap()
}

/// What became of an archive: ids taken, ids refused with their reasons, and what a person was told.
struct Became {
    taken: Vec<String>,
    refused: Vec<(String, Reason)>,
    notes: String,
}

impl Became {
    fn refused(&self) -> Vec<(&str, Reason)> {
        self.refused.iter().map(|(id, reason)| (id.as_str(), *reason)).collect()
    }
}

fn options() -> IngestOptions {
    let mut options = IngestOptions { max_errors: MaxErrors::ALL, format: Some("folder".into()), ..Default::default() };
    options.source.kind = Some(feedstock::data::info::Kind::Image);
    options
}

struct Place(tempfile::TempDir);

impl Place {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        // Deep enough that `../..` would still be seen here.
        fs::create_dir_all(dir.path().join("a/b/in")).unwrap();
        fs::create_dir_all(dir.path().join("a/b/out")).unwrap();
        Place(dir)
    }

    fn take(&self, name: &str, bytes: &[u8]) -> Result<Summary, Error> {
        let archive = self.0.path().join("a/b/in").join(name);
        fs::write(&archive, bytes).unwrap();
        let dataset = self.dataset();
        let _ = fs::remove_dir_all(&dataset);
        ingest(&archive, &dataset, &options(), &Control::default())
    }

    fn dataset(&self) -> PathBuf {
        self.0.path().join("a/b/out/dataset")
    }

    /// Files beside the archive and the dataset.
    fn strays(&self) -> Vec<PathBuf> {
        let walk = walkdir::WalkDir::new(self.0.path()).into_iter().filter_entry(|e| e.path() != self.dataset());
        let files = walk.map(Result::unwrap).filter(|e| !e.file_type().is_dir());
        files.map(|e| e.path().to_owned()).filter(|path| path.parent() != Some(&self.0.path().join("a/b/in"))).collect()
    }
}

/// Ingests an archive that has one good picture at least.
fn became(name: &str, bytes: &[u8]) -> Became {
    let place = Place::new();
    let summary = place.take(name, bytes).unwrap_or_else(|e| panic!("{name}: {e}"));
    assert_eq!(place.strays(), Vec::<PathBuf>::new());
    let dataset = Dataset::open(place.dataset()).unwrap();
    let ids = (0..dataset.rows()).map(|row| dataset.index().row(row).id().to_owned());
    let mut taken: Vec<String> = ids.collect();
    taken.sort();
    let mut refused = Vec::new();
    for run in runs(&place.dataset()).unwrap() {
        run.each(&mut |_, line| {
            refused.push((line.id.clone(), Reason::from_code(&line.reason).unwrap()));
            Ok(())
        })
        .unwrap();
    }
    refused.sort_by(|a, b| a.0.cmp(&b.0));
    assert_eq!(refused.len() as u64, summary.quarantined);
    Became { taken, refused, notes: summary.notes.join("\n") }
}

fn with_good(members: &[Vec<u8>]) -> Vec<u8> {
    let readme = member(b"README", b'0', b"beside the folders");
    [&member(b"c/good.png", b'0', &png())[..], &readme, &members.concat(), &END].concat()
}

const GOOD: &str = "c/good.png";

#[test]
fn nothing_leaves_a_tar() {
    let file = |name: &[u8]| member(name, b'0', &png());
    let link = |name: &[u8], kind: u8, to: &[u8]| {
        let mut header = header(name, kind, 0);
        header[157..157 + to.len()].copy_from_slice(to);
        summed(header).to_vec()
    };
    let members = [
        file(b"../../up.png"),
        file(b"c/../../../up.png"),
        file(b"/etc/absolute.png"),
        file(b"C:/drive.png"),
        file(b"c/caf\xe9.png"),
        link(b"c/link.png", b'2', b"/etc/passwd"),
        link(b"c/within.png", b'2', b"good.png"),
        link(b"c/hard.png", b'1', b"c/good.png"),
        link(b"c/device.png", b'3', b""),
        link(b"c/block.png", b'4', b""),
        link(b"c/pipe.png", b'6', b""),
        link(b"c/loop", b'2', b".."),
        // What stands below a link is not written anywhere, so it is a file like others.
        file(b"c/loop2/in.png"),
        member(b"c/sparse.png", b'S', &png()),
        member(b"c/vendor.png", b'Z', &png()),
        file(b"c/.hidden.png"),
        file(b"./c//dots.png"),
    ];
    let became = became("x.tar", &with_good(&members));
    assert_eq!(became.taken, ["c/dots.png", GOOD, "c/loop2/in.png"]);
    let bad = Reason::BadPath;
    let expected = [
        ("../../up.png", bad),
        ("/etc/absolute.png", bad),
        ("C:/drive.png", bad),
        ("c/../../../up.png", bad),
        ("c/block.png", bad),
        ("c/caf\u{fffd}.png", bad),
        ("c/device.png", bad),
        ("c/hard.png", bad),
        ("c/link.png", bad),
        ("c/loop", bad),
        ("c/pipe.png", bad),
        ("c/sparse.png", Reason::Unsupported),
        ("c/vendor.png", Reason::Unsupported),
        ("c/within.png", bad),
    ];
    assert_eq!(became.refused(), expected);
    assert!(became.notes.contains("1 hidden"), "{}", became.notes);
}

/// GNU's map of a sparse file goes on in blocks that the size of the member does not count: what stands behind is found.
#[test]
fn a_sparse_file_with_a_long_map_is_one_refusal() {
    let mut head = header(b"c/sparse.png", b'S', png().len() as u64);
    head[482] = 1;
    let mut map = [7; 512];
    map[504] = 1;
    let mut last = map;
    last[504] = 0;
    let mut data = png();
    data.resize(data.len().next_multiple_of(512), 0);
    let sparse = [&summed(head)[..], &map, &last, &data].concat();
    let became = became("x.tar", &with_good(&[sparse, member(b"c/behind.png", b'0', &png())]));
    assert_eq!(became.taken, ["c/behind.png", GOOD]);
    assert_eq!(became.refused(), [("c/sparse.png", Reason::Unsupported)]);
}

#[test]
fn nothing_leaves_a_zip() {
    let file = |name: &[u8]| Zipped { name: name.to_vec(), ..Zipped::new("", &png()) };
    let mode = |name: &str, mode: u32, bytes: &[u8]| Zipped { mode, ..Zipped::new(name, bytes) };
    let members = [
        file(b"c/good.png"),
        file(b"../../up.png"),
        file(b"c\\..\\..\\..\\up.png"),
        file(b"\\absolute.png"),
        file(b"C:\\drive.png"),
        file(b"c/nul\0.png"),
        file(b"c/caf\xe9.png"),
        file(b"c\\windows.png"),
        mode("c/link.png", 0o120_777, b"/etc/passwd"),
        mode("c/pipe.png", 0o010_644, b""),
        mode("c/mode.png", 0o100_644, &png()),
        Zipped { flags: 1, ..Zipped::new("c/secret.png", &png()) },
        Zipped { method: Some(93), ..Zipped::new("c/zstd.png", &png()) },
        Zipped { method: Some(77), ..Zipped::new("c/unknown.png", &png()) },
        file(b"c/folder/"),
    ];
    let became = became("x.zip", &zip_of(&members));
    assert_eq!(became.taken, [GOOD, "c/mode.png", "c/windows.png"]);
    let (bad, unsupported) = (Reason::BadPath, Reason::Unsupported);
    let expected = [
        ("../../up.png", bad),
        ("C:\\drive.png", bad),
        ("\\absolute.png", bad),
        ("c/caf\u{fffd}.png", bad),
        ("c/link.png", bad),
        ("c/nul\u{fffd}.png", bad),
        ("c/pipe.png", bad),
        ("c/secret.png", unsupported),
        ("c/unknown.png", unsupported),
        ("c/zstd.png", unsupported),
        ("c\\..\\..\\..\\up.png", bad),
    ];
    assert_eq!(became.refused(), expected);
}

#[test]
fn a_zip_that_lies_is_found_out() {
    let png = png();
    let good = || Zipped::new(GOOD, &png);
    let zeros = vec![0; 8 << 20];
    let members = [
        good(),
        Zipped { crc: Some(7), ..Zipped::new("c/crc.png", &png) },
        Zipped { crc: Some(7), deflate: false, ..Zipped::new("c/stored_crc.png", &png) },
        Zipped { said: Some(png.len() as u32 - 9), ..Zipped::new("c/longer.png", &png) },
        Zipped { said: Some(png.len() as u32 + 9), ..Zipped::new("c/shorter.png", &png) },
        Zipped { said: Some(u32::MAX - 1), ..Zipped::new("c/impossible.png", &png) },
        Zipped { said: Some(9), deflate: false, ..Zipped::new("c/stored.png", &png) },
        Zipped { called: Some(b"c/other.png".to_vec()), ..Zipped::new("c/own.png", &png) },
        Zipped { method: Some(8), deflate: false, ..Zipped::new("c/not_deflated.png", &[7; 500]) },
        Zipped::new("c/bomb.png", &zeros),
    ];
    let became = became("x.zip", &zip_of(&members));
    assert_eq!(became.taken, [GOOD]);
    let corrupt = Reason::Corrupt;
    let expected = [
        ("c/bomb.png", Reason::UnknownFormat),
        ("c/crc.png", corrupt),
        ("c/impossible.png", corrupt),
        ("c/longer.png", corrupt),
        ("c/not_deflated.png", corrupt),
        ("c/other.png", corrupt),
        ("c/shorter.png", corrupt),
        ("c/stored.png", corrupt),
        ("c/stored_crc.png", corrupt),
    ];
    assert_eq!(became.refused(), expected);
}

/// A bomb of members that share their bytes, and one that is larger than payloads may be: neither is inflated.
#[test]
fn bombs_are_refused() {
    let kernel = vec![0; 1 << 20];
    let mut members = vec![Zipped::new(GOOD, &png()), Zipped::new("c/kernel.png", &kernel)];
    members.extend((0..50).map(|n| Zipped { at: Some(1), ..Zipped::new(&format!("c/{n}.png"), &kernel) }));
    let became_ = became("x.zip", &zip_of(&members));
    assert_eq!((became_.taken.as_slice(), became_.refused.len()), (&[GOOD.to_owned()][..], 51));
    assert!(became_.refused.iter().all(|(_, reason)| *reason == Reason::Corrupt));
    // One that is as large as it says is not inflated where payloads may not be as large.
    let large = zip_of(&[Zipped::new(GOOD, &png()), Zipped::new("c/large.png", &vec![0; 4 << 20])]);
    let place = Place::new();
    fs::write(place.0.path().join("a/b/in/x.zip"), large).unwrap();
    let mut strict = options();
    strict.limits.payload_bytes = 1 << 20;
    ingest(&place.0.path().join("a/b/in/x.zip"), &place.dataset(), &strict, &Control::default()).unwrap();
    let run = &runs(&place.dataset()).unwrap()[0];
    run.each(&mut |_, line| {
        assert_eq!((line.id.as_str(), line.reason.as_str()), ("c/large.png", "over-limit"));
        Ok(())
    })
    .unwrap();
    // A tar of zeros: what it decompresses to is counted.
    let place = Place::new();
    let bomb = zstandard(&[member(b"c/good.png", b'0', &png()), member(b"z", b'0', &vec![0; 200 << 20])].concat());
    let error = place.take("x.tar.zst", &bomb).unwrap_err();
    assert!(error.to_string().contains("bomb"), "{error}");
    assert_eq!(error.exit_code(), 2);
}

#[test]
fn a_tar_that_is_cut_or_damaged_gives_what_stands_before() {
    let whole = with_good(&[member(b"c/second.png", b'0', &png()), member(b"c/third.png", b'0', &png())]);
    let one = member(b"c/second.png", b'0', &png()).len();
    let rest = one - 512;
    // Cut within the third's data, within its header, between two, and within the end.
    let at = whole.len() - END.len() - one;
    let cases = [
        (at + 512 + 10, vec![("c/third.png", Reason::Truncated), ("x.tar", Reason::Truncated)], ""),
        (at + 100, vec![("x.tar", Reason::Truncated)], ""),
        (at, vec![], "no end marker"),
        (at + one + 10, vec![("x.tar", Reason::Truncated)], ""),
    ];
    for (cut, refused, note) in cases {
        let became = became("x.tar", &whole[..cut]);
        assert_eq!(became.refused(), refused, "cut at {cut}");
        assert!(became.notes.contains(note), "{}", became.notes);
        assert!(became.taken.len() == 2 || cut > at + one, "{:?}", became.taken);
    }
    // Without the zeros that fill the last block, as some programs leave them out.
    let filled = whole.len() - END.len() - (512 - png().len() % 512);
    assert_eq!(became("x.tar", &whole[..filled]).taken.len(), 3);
    let mut damaged = whole.clone();
    damaged[at + 3] ^= 1;
    let became_ = became("x.tar", &damaged);
    assert_eq!((became_.taken.len(), became_.refused()), (2, vec![("x.tar", Reason::Corrupt)]));
    let mut huge = whole.clone();
    let mut header = header(b"c/huge.png", b'0', 0);
    header[124..136].copy_from_slice(&[0x80, 0, 0, 1, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff]);
    huge[at..at + 512].copy_from_slice(&summed(header));
    assert_eq!(became("x.tar", &huge).refused(), [("x.tar", Reason::Corrupt)]);
    header[124..136].copy_from_slice(&[0x80, 0, 0, 0, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff]);
    huge[at..at + 512].copy_from_slice(&summed(header));
    let refused = [("c/huge.png", Reason::Truncated), ("x.tar", Reason::Truncated)];
    assert_eq!(became("x.tar", &huge).refused(), refused);
    // What has its size already and is not there yet.
    let zeros = [&whole[..], &[0; 100_000]].concat();
    assert!(became("x.tar", &zeros).notes.contains("zeros"));
    assert!(!became("x.tar", &[&whole[..], &[0; 60_000]].concat()).notes.contains("zeros"), "as tar -b 128 fills it");
    // Another tar behind the end is told, as tar leaves it out.
    let two = [whole.as_slice(), &with_good(&[])].concat();
    let became_ = became("x.tar", &two);
    assert!(became_.notes.contains("behind its end"), "{}", became_.notes);
    assert_eq!((became_.taken.len(), rest > 0), (3, true));
}

#[test]
fn a_compressed_tar_that_is_cut_gives_what_stands_before() {
    // More than one block of what compresses badly.
    let mut noise = vec![1u8; 400_000];
    (1..noise.len()).for_each(|at| noise[at] = noise[at - 1].wrapping_mul(77).wrapping_add(((at * at) >> 7) as u8));
    let whole = with_good(&[member(b"c/second.png", b'0', &png()), member(b".noise", b'0', &noise)]);
    for (name, compressed) in [("x.tar.gz", gzip(&whole)), ("x.tar.zst", zstandard(&whole))] {
        assert_eq!(became(name, &compressed).taken.len(), 2, "{name}");
        let mut end = compressed.clone();
        end.truncate(compressed.len() - 3);
        let became_ = became(name, &end);
        assert_eq!(became_.refused(), [(name, Reason::Truncated)], "{name}");
        assert_eq!(became_.taken.len(), 2, "{name}");
    }
    let place = Place::new();
    for (name, bytes) in [("x.tar.gz", &gzip(&whole)[..30]), ("x.tar.zst", &zstandard(&whole)[..30])] {
        let error = place.take(name, bytes).unwrap_err();
        assert!(error.to_string().contains("nothing of it can be read"), "{error}");
    }
    let mut damaged = gzip(&whole);
    let at = damaged.len() - 6;
    damaged[at] ^= 1;
    assert_eq!(became("x.tar.gz", &damaged).refused(), [("x.tar.gz", Reason::Corrupt)], "its checksum");
    // Several streams behind one another are one file, as the programs read them.
    let (first, second) = whole.split_at(700);
    assert_eq!(became("x.tar.gz", &[gzip(first), gzip(second)].concat()).taken.len(), 2);
    assert_eq!(became("x.tar.zst", &[zstandard(first), zstandard(second)].concat()).taken.len(), 2);
}

#[test]
fn a_zip_that_is_cut_says_so() {
    let whole = zip_of(&[Zipped::new(GOOD, &png()), Zipped::new("c/second.png", &png())]);
    let place = Place::new();
    for cut in [whole.len() - 1, whole.len() - 30, whole.len() / 2, 40] {
        let error = place.take("x.zip", &whole[..cut]).unwrap_err();
        assert!(error.to_string().contains("directory"), "{cut}: {error}");
        assert_eq!(error.exit_code(), 2, "{cut}");
    }
    // What stands in front of it moves all of it; a comment stands behind.
    let mut selfish = [&b"#!/bin/sh\n"[..], &whole].concat();
    assert!(place.take("x.zip", &selfish).is_err(), "known by its first bytes, as all are");
    selfish = [&whole[..], b"abc"].concat();
    let at = selfish.len() - 5;
    selfish[at..at + 2].copy_from_slice(&[3, 0]);
    assert_eq!(became("x.zip", &selfish).taken.len(), 2);
    // Its directory damaged in the middle: the first is known.
    let at = whole.windows(4).rposition(|w| w == b"PK\x01\x02").unwrap();
    let mut damaged = whole.clone();
    damaged[at] ^= 1;
    let became_ = became("x.zip", &damaged);
    assert_eq!((became_.taken.len(), became_.refused()), (1, vec![("x.zip", Reason::Corrupt)]));
}

#[test]
fn of_one_name_the_last_counts_as_where_they_are_unpacked() {
    let (good, other) = (png(), fs::read(fixture("images/test/pants/001_444_odd.jpg")).unwrap());
    let twice: [(&str, &[u8]); 3] = [("c/a.png", &other), ("c/b.png", &other), ("c/a.png", &good)];
    let as_zip: Vec<Zipped> = twice.iter().map(|(name, bytes)| Zipped::new(name, bytes)).collect();
    for (name, bytes) in [("x.tar", tar(twice)), ("x.zip", zip_of(&as_zip))] {
        let place = Place::new();
        let summary = place.take(name, &bytes).unwrap();
        assert_eq!((summary.rows, summary.quarantined), (2, 0), "{name}");
        assert!(summary.notes.iter().any(|note| note.contains("1 members have the name")), "{:?}", summary.notes);
        let dataset = Dataset::open(place.dataset()).unwrap();
        let mut bytes = Vec::new();
        dataset.fetch_checked(0, 0, &mut bytes).unwrap().unwrap();
        assert_eq!((dataset.index().row(0).id(), bytes == good), ("c/a.png", true), "{name}");
    }
    // A file and a folder of one name: what is below it could not be unpacked.
    let both = tar([("README", &b"x"[..]), (GOOD, &good), ("c/x.png", &good), ("c/x.png/y.png", &good)]);
    let became_ = became("x.tar", &both);
    assert_eq!((became_.taken.len(), became_.refused()), (2, vec![("c/x.png/", Reason::BadPath)]));
}

#[test]
fn long_names_and_large_numbers_are_read_as_tar_and_pax_write_them() {
    let long = format!("c/{}/{}.png", "d".repeat(120), "e".repeat(120));
    let record = |key: &str, value: &str| {
        let body = format!(" {key}={value}\n");
        let mut length = body.len() + 1;
        while length.to_string().len() + body.len() != length {
            length += 1;
        }
        format!("{length}{body}")
    };
    let size = png().len().to_string();
    let pax = |text: String| member(b"PaxHeaders/x", b'x', text.as_bytes());
    let lying = [header(b"c/short.png", b'0', 0).to_vec(), png(), vec![0; 512 - png().len() % 512]].concat();
    let mut prefixed = member(b"prefixed.png", b'0', &png());
    let mut first: [u8; 512] = prefixed[..512].try_into().unwrap();
    first[345..352].copy_from_slice(b"c/where");
    prefixed[..512].copy_from_slice(&summed(first));
    let members = [
        member(long.as_bytes(), b'0', &png()),
        pax(record("path", "c/pax/\u{1f411}.png") + &record("mtime", "1.5")),
        member(b"short.png", b'0', &png()),
        pax(record("size", &size)),
        lying,
        prefixed,
        member(b"g", b'g', record("comment", "a commit").as_bytes()),
        pax(record("GNU.sparse.major", "1")),
        member(b"c/sparse.png", b'0', &png()),
        member(b"c/last.png", b'0', &png()),
    ];
    let became_ = became("x.tar", &with_good(&members));
    let expected = [&long, GOOD, "c/last.png", "c/pax/\u{1f411}.png", "c/short.png", "c/where/prefixed.png"];
    assert_eq!(became_.taken, expected);
    assert_eq!(became_.refused(), [("c/sparse.png", Reason::Unsupported)]);
    // One that is a trap for readers that take it for all.
    let global = [member(b"g", b'g', record("path", "c/all.png").as_bytes()), member(b"c/x.png", b'0', &png())];
    assert_eq!(became("x.tar", &with_good(&global)).refused(), [("x.tar", Reason::Corrupt)]);
    let large = [header(b"L", b'L', 1 << 32).to_vec(), member(b"c/x.png", b'0', &png())];
    assert_eq!(became("x.tar", &with_good(&large)).refused(), [("x.tar", Reason::OverLimit)]);
    let bad = [pax("99999 path=x\n".into()), member(b"c/x.png", b'0', &png())];
    assert_eq!(became("x.tar", &with_good(&bad)).refused(), [("x.tar", Reason::Corrupt)]);
}

#[test]
fn archives_in_archives_are_not_opened_and_that_is_said() {
    let inner = tar([("c/in.png", png().as_slice())]);
    let became_ = became("x.tar", &tar([(GOOD, png().as_slice()), ("c/inner.tar", &inner)]));
    assert_eq!(became_.taken, [GOOD]);
    assert_eq!(became_.refused().len(), 1);
    assert!(became_.notes.contains("archives within archives are not opened"), "{}", became_.notes);
}

/// Many members cost a table that goes on disk, and an archive without any is said to be empty.
#[test]
fn many_members_and_none() {
    let mut members: Vec<u8> = (0..100_000).flat_map(|n| header(format!("c/{n}.png").as_bytes(), b'0', 0)).collect();
    members.extend(member(b"c/good.png", b'0', &png()));
    let place = Place::new();
    let archive = place.0.path().join("a/b/in/x.tar");
    fs::write(&archive, [members, END.to_vec()].concat()).unwrap();
    let control = Control { spill_beyond: Some(1 << 16), ..Control::default() };
    let summary = ingest(&archive, &place.dataset(), &options(), &control).unwrap();
    assert_eq!((summary.rows, summary.quarantined), (1, 100_000));
    for (name, bytes) in [("none.zip", zip_of(&[])), ("none.tar", tar([(".hidden", &b"x"[..])]))] {
        let error = place.take(name, &bytes).unwrap_err();
        assert!(error.to_string().contains("no files"), "{error}");
    }
}

/// An archive that is written to while it is read: what was not read yet is refused, as of a file.
#[test]
fn an_archive_that_changes_is_refused() {
    use feedstock::source::{Listing, SourceOptions, choose, sources};
    use feedstock::spool::Spill;
    let place = Place::new();
    let archive = place.0.path().join("a/b/in/x.tar");
    fs::write(&archive, tar([(GOOD, png().as_slice()), ("c/b.png", &png())])).unwrap();
    let progress = {
        let archive = archive.clone();
        move |_| {
            let file = fs::File::options().append(true).open(&archive).unwrap();
            file.set_modified(std::time::SystemTime::UNIX_EPOCH).unwrap();
        }
    };
    let control = Control { progress: Some(Box::new(progress)), ..Control::default() };
    let error = ingest(&archive, &place.dataset(), &options(), &control).unwrap_err();
    assert!(matches!(error, Error::QuarantineLimit { refused: 2, .. }), "{error}");
    let choice = choose(&sources(), &archive, Some("folder")).unwrap();
    fs::write(&archive, b"short").unwrap();
    let listed = Listing::of_choice(&choice, &SourceOptions::default(), &Spill::temporary(), &|_| Ok(()));
    assert!(listed.is_err(), "nothing of it can be looked at any more");
}

/// Whatever byte of an archive is another: no panic, and no row that is not one of the good ones or refused.
#[test]
fn any_byte_may_be_another() {
    let good = png();
    let names = ["c/a.png", "c/b.png", "d/e/f.png"];
    let as_zip: Vec<Zipped> = names
        .iter()
        .zip([true, false, true])
        .map(|(name, deflate)| Zipped { deflate, ..Zipped::new(name, &good) })
        .collect();
    let zip = zip_of(&as_zip);
    let small = tar(names.map(|name| (name, &good[..])));
    let place = Place::new();
    let mut bytes = Vec::new();
    for (name, whole) in [("x.zip", zip), ("x.tar", small)] {
        let data = |at: usize| whole[at..].starts_with(b"\x89PNG");
        let skipped: Vec<usize> = (0..whole.len()).filter(|at| data(*at)).collect();
        let is_payload = |at: usize| skipped.iter().any(|from| (from + 20..from + good.len() - 20).contains(&at));
        for at in (0..whole.len()).filter(|at| !is_payload(*at)).step_by(17) {
            {
                let mut damaged = whole.clone();
                damaged[at] ^= 0xff;
                match place.take(name, &damaged) {
                    Ok(summary) => {
                        let dataset = Dataset::open(place.dataset()).unwrap();
                        for row in 0..dataset.rows() {
                            dataset.fetch_checked(row, 0, &mut bytes).unwrap().unwrap();
                            // A tar has no checksum of what it holds.
                            assert!(bytes == good || name == "x.tar", "{name} {at}");
                        }
                        assert!(summary.rows > 0);
                    }
                    Err(error) => assert!(matches!(error.exit_code(), 2 | 5), "{name} {at}: {error}"),
                }
            }
        }
    }
    assert_eq!(place.strays(), Vec::<PathBuf>::new());
    assert!(deflated(&good).len() < 1 << 20 && Path::new("x").is_relative());
}
