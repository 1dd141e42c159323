//! What is found is what a plain comparison of all pairs finds, whatever the order of rows and the number of threads.

use std::collections::BTreeSet;

use image::ExtendedColorType::{L8, Rgb8};
use image::ImageEncoder as _;
use image::codecs::{bmp::BmpEncoder, png::PngEncoder};

use super::*;
use crate::codec::{self, Decoded, Scratch, Want, decode_shown};
use crate::data::info::Format;
use crate::data::objects::{BoxFormat, Objects, ObjectsType};
use crate::dataset::Dataset;
use crate::validate::tests::{Cell, dataset};

/// Pixels that hang on a seed, the first of which is of a level.
fn pixels(width: u32, height: u32, seed: u32, level: u8) -> Vec<u8> {
    let mix = |n: u32| ((n ^ seed.wrapping_mul(0x9e37_79b9)).wrapping_mul(0x85eb_ca6b) >> 24) as u8;
    let mut all: Vec<u8> = (0..width * height * 3).map(mix).collect();
    all[..3].fill(level);
    all
}

fn png(width: u32, height: u32, pixels: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    PngEncoder::new(&mut bytes).write_image(pixels, width, height, Rgb8).unwrap();
    bytes
}

fn bmp(width: u32, height: u32, pixels: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    BmpEncoder::new(&mut bytes).write_image(pixels, width, height, Rgb8).unwrap();
    bytes
}

/// A PNG whose EXIF says that it is shown turned by a quarter to the right.
fn png_turned(width: u32, height: u32, pixels: &[u8]) -> Vec<u8> {
    let exif = [b"II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x06\0\0\0", &[0; 4][..]].concat();
    let mut bytes = Vec::new();
    let mut encoder = PngEncoder::new(&mut bytes);
    encoder.set_exif_metadata(exif).unwrap();
    encoder.write_image(pixels, width, height, Rgb8).unwrap();
    bytes
}

fn labelled(image: Vec<u8>, class: i64) -> Vec<Cell> {
    vec![Cell::Media(image), Cell::Int(class)]
}

fn schema() -> Schema {
    let names = ["a", "b", "c"].map(str::to_owned).to_vec();
    Schema::new([("image", Feature::Image), ("label", Feature::ClassLabel { names })])
}

fn options(level: Level) -> DuplicateOptions {
    DuplicateOptions { level, method: (level == Level::Near).then_some(&LEVELS), ..DuplicateOptions::default() }
}

fn look<'a>(dataset: &'a Dataset, options: &DuplicateOptions) -> Duplicates<'a> {
    find(dataset, options, &|_, _, _| Ok(())).unwrap()
}

fn groups(dataset: &Dataset, options: &DuplicateOptions) -> Vec<Vec<u32>> {
    look(dataset, options).groups().collect()
}

fn report(dataset: &Dataset, level: Level, told: &ReportOptions) -> (Report, BTreeSet<u32>) {
    let mut going = BTreeSet::new();
    let report = look(dataset, &options(level)).report(told, &|_, _, _| Ok(()), &mut |row| {
        assert!(going.insert(row), "row {row} goes twice");
        Ok(())
    });
    (report.unwrap(), going)
}

/// Sketches that are the level of the first pixel: as alike as the levels are near. Of level 0 nothing can be said.
static LEVELS: Method = Method {
    name: "levels",
    kind: Kind::Image,
    version: 1,
    summary: "the first pixel",
    threshold: 1.0 - 4.0 / 255.0,
    sketch: |decoded| match decoded {
        Decoded::Pixels(pixels) => Ok((pixels.data[0] > 0).then(|| vec![pixels.data[0]])),
        other => panic!("{other:?}"),
    },
    // Cells of 16, and those in between: levels within 4 share one.
    keys: |sketch| vec![u64::from(sketch[0]) / 16, 1_000 + (u64::from(sketch[0]) + 8) / 16],
    similarity: |a, b| 1.0 - f64::from(a[0].abs_diff(b[0])) / 255.0,
};

/// What a row decodes to, by the codec alone.
fn decoded(dataset: &Dataset, row: u32) -> (u32, u32, Vec<u8>) {
    let mut bytes = Vec::new();
    let payload = dataset.fetch(u64::from(row), 0, &mut bytes).unwrap().unwrap();
    let codec = codec::by_format(payload.info.format).unwrap();
    let (limits, mut scratch) = (Limits::default(), Scratch::default());
    let shown = decode_shown(codec, bytes.as_slice(), Want::Whole, &payload.info, &limits, &mut scratch);
    match shown.unwrap() {
        Decoded::Pixels(pixels) => (pixels.width, pixels.height, pixels.data.to_vec()),
        other => panic!("{other:?}"),
    }
}

fn payload(dataset: &Dataset, row: u32) -> Vec<u8> {
    let mut bytes = Vec::new();
    dataset.fetch(u64::from(row), 0, &mut bytes).unwrap();
    bytes
}

/// Groups by comparing all pairs.
fn plain(rows: u32, same: &dyn Fn(u32, u32) -> bool) -> Vec<Vec<u32>> {
    let mut of: Vec<u32> = (0..rows).collect();
    for _ in 0..rows {
        for a in 0..rows {
            for b in 0..a {
                if same(a, b) {
                    let least = of[a as usize].min(of[b as usize]);
                    (of[a as usize], of[b as usize]) = (least, least);
                }
            }
        }
    }
    let group = |root: u32| (0..rows).filter(|row| of[*row as usize] == root).collect::<Vec<u32>>();
    (0..rows).map(group).filter(|group| group.len() > 1).collect()
}

/// 48 pictures of few contents in several encodings, in three splits.
fn drawn(seed: u64) -> Vec<(&'static str, Vec<Cell>)> {
    let mut draws = crate::rng::Key::new(seed).stream();
    (0..48)
        .map(|_| {
            let (width, height) = [(6, 5), (5, 6), (7, 4)][draws.below(3) as usize];
            let level = [0, 40, 43, 47, 90, 200][draws.below(6) as usize];
            let pixels = pixels(width, height, draws.below(3) as u32, level);
            let bytes = [png, bmp, png_turned][draws.below(3) as usize](width, height, &pixels);
            (["train", "test", "extra"][draws.below(3) as usize], labelled(bytes, draws.below(2) as i64))
        })
        .collect()
}

fn in_splits(rows: &[(&'static str, Vec<Cell>)]) -> Dataset {
    let of = |split: &'static str| {
        (split, rows.iter().filter(|row| row.0 == split).map(|row| row.1.clone()).collect::<Vec<_>>())
    };
    dataset(schema(), &["train", "test", "extra"].map(of))
}

#[test]
fn every_level_is_what_all_pairs_say() {
    let mut found = [0; 3];
    for seed in 0..6 {
        let dataset = in_splits(&drawn(seed));
        let rows = dataset.rows() as u32;
        let all: Vec<_> = (0..rows).map(|row| (payload(&dataset, row), decoded(&dataset, row))).collect();
        let at = |row: u32| &all[row as usize];
        let near = |a: u32, b: u32| {
            let (a, b) = (at(a).1.2[0], at(b).1.2[0]);
            a > 0 && b > 0 && a.abs_diff(b) <= 4
        };
        let by_payload = plain(rows, &|a, b| at(a).0 == at(b).0);
        let by_pixels = plain(rows, &|a, b| at(a).1 == at(b).1);
        let by_sketch = plain(rows, &|a, b| at(a).1 == at(b).1 || near(a, b));
        assert_eq!(groups(&dataset, &options(Level::Payload)), by_payload);
        assert_eq!(groups(&dataset, &options(Level::Decoded)), by_pixels);
        assert_eq!(groups(&dataset, &options(Level::Near)), by_sketch);
        // What is told of each row is so, too.
        let told = ReportOptions { limit: 100, ..ReportOptions::default() };
        for group in report(&dataset, Level::Near, &told).0.listed {
            let first = group.rows[0].row as u32;
            for copy in &group.rows[1..] {
                let (a, b) = (at(first), at(copy.row as u32));
                let level = if a.0 == b.0 {
                    Level::Payload
                } else if a.1 == b.1 {
                    Level::Decoded
                } else {
                    Level::Near
                };
                assert_eq!(copy.level, level);
                let similarity = 1.0 - f64::from(a.1.2[0].abs_diff(b.1.2[0])) / 255.0;
                assert!(level != Level::Near || copy.similarity == similarity, "{copy:?} {similarity}");
            }
            found[group.level as usize] += 1;
        }
        found[1] += by_pixels.len();
    }
    assert!(found.iter().all(|n| *n > 3), "{found:?}");
}

#[test]
fn neither_threads_nor_memory_nor_the_order_of_rows_change_what_is_found() {
    let rows = drawn(7);
    let told = ReportOptions { limit: 1_000, ..ReportOptions::default() };
    for level in [Level::Payload, Level::Decoded, Level::Near] {
        let dataset = in_splits(&rows);
        let one = report(&dataset, level, &told);
        for (threads, decode_memory) in [(1, 1), (3, 1_000), (8, 1 << 30)] {
            let again = look(&dataset, &DuplicateOptions { threads, decode_memory, ..options(level) });
            assert_eq!(again.report(&told, &|_, _, _| Ok(()), &mut |_| Ok(())).unwrap(), one.0);
        }
        // Rows by what they hold: in another order the same ones are together.
        let mut other = rows.clone();
        other.reverse();
        let contents = |dataset: &Dataset| -> BTreeSet<Vec<(String, Vec<u8>)>> {
            let row = |row: u32| (dataset.split_of(u64::from(row)).to_owned(), payload(dataset, row));
            let sorted = |group: Vec<u32>| {
                let mut group: Vec<_> = group.into_iter().map(row).collect();
                group.sort();
                group
            };
            groups(dataset, &options(level)).into_iter().map(sorted).collect()
        };
        assert_eq!(contents(&in_splits(&other)), contents(&dataset));
    }
}

/// Rows in a chain, each like its neighbours alone: half of them stay, more than are compared with a later row.
#[test]
fn of_a_long_chain_exact_copies_go_all_the_same() {
    static STEPS: Method = Method {
        name: "steps",
        kind: Kind::Image,
        version: 1,
        summary: "the first two bytes of a pixel",
        threshold: 0.99,
        sketch: |decoded| match decoded {
            Decoded::Pixels(pixels) => Ok(Some(pixels.data[..2].to_vec())),
            other => panic!("{other:?}"),
        },
        keys: |sketch| vec![step(sketch), step(sketch) + 1],
        similarity: |a, b| if step(a).abs_diff(step(b)) <= 1 { 1.0 } else { 0.0 },
    };
    fn step(sketch: &[u8]) -> u64 {
        u64::from(sketch[0]) << 8 | u64::from(sketch[1])
    }
    const ROWS: u16 = 2_200;
    let row = |step: u16| labelled(bmp(1, 1, &[(step >> 8) as u8, step as u8, 0]), 0);
    let rows = (0..ROWS).chain([1_000, ROWS - 2, ROWS - 1]).map(row).collect();
    let dataset = dataset(schema(), &[("train", rows)]);
    let options = DuplicateOptions { level: Level::Near, method: Some(&STEPS), ..DuplicateOptions::default() };
    let mut going = BTreeSet::new();
    let tell = &mut |row| {
        going.insert(row);
        Ok(())
    };
    look(&dataset, &options).report(&ReportOptions::default(), &|_, _, _| Ok(()), tell).unwrap();
    let rows = u32::from(ROWS);
    assert!(going.is_superset(&BTreeSet::from([rows, rows + 1, rows + 2])), "{:?}", going.range(rows..));
    assert!(rows as usize + 3 - going.len() > 1_001, "{}", going.len());
}

#[test]
fn what_was_encoded_anew_without_loss_is_equal_once_decoded_and_no_equal_payload() {
    let flat = pixels(9, 7, 1, 50);
    let gray: Vec<u8> = (0..63).collect();
    let mut of_gray = Vec::new();
    PngEncoder::new(&mut of_gray).write_image(&gray, 9, 7, L8).unwrap();
    let as_colour: Vec<u8> = gray.iter().flat_map(|v| [*v; 3]).collect();
    // As shown, the stored pixel (x, y) of a picture turned by a quarter is at (height - 1 - y, x).
    let mut turned = vec![0; flat.len()];
    for (at, pixel) in flat.chunks(3).enumerate() {
        let (x, y) = (at % 9, at / 9);
        turned[(x * 7 + 6 - y) * 3..][..3].copy_from_slice(pixel);
    }
    let images = [
        bmp(9, 7, &flat),
        png(9, 7, &flat),
        png_turned(9, 7, &flat),
        png(7, 9, &turned),
        of_gray,
        bmp(9, 7, &as_colour),
    ];
    let rows = images.into_iter().map(|image| labelled(image, 0)).collect();
    let dataset = dataset(schema(), &[("train", rows)]);
    assert_eq!(groups(&dataset, &options(Level::Payload)), Vec::<Vec<u32>>::new());
    assert_eq!(groups(&dataset, &options(Level::Decoded)), [[0, 1], [2, 3], [4, 5]]);
}

#[cfg(feature = "audio")]
#[test]
fn recordings_are_equal_by_samples_rate_and_channels() {
    let flac = crate::codec::tests::fixture("audio/mono_16bit_44100.flac");
    let mut scratch = Scratch::default();
    let samples: Vec<i16> = match codec::sniff(&flac, Kind::Audio)
        .unwrap()
        .decode(&flac, Want::Whole, &Limits::default(), &mut scratch)
        .unwrap()
    {
        Decoded::Wave(wave) => wave.data.iter().map(|v| (v * 32_768.0) as i16).collect(),
        other => panic!("{other:?}"),
    };
    let wav = |channels: u16, rate: u32| {
        let data: Vec<u8> = samples.iter().flat_map(|v| v.to_le_bytes()).collect();
        let mut bytes = [&b"RIFF"[..], &(36 + data.len() as u32).to_le_bytes(), b"WAVEfmt \x10\0\0\0\x01\0"].concat();
        bytes.extend(channels.to_le_bytes());
        bytes.extend(rate.to_le_bytes());
        bytes.extend((rate * 2 * u32::from(channels)).to_le_bytes());
        bytes.extend((channels * 2).to_le_bytes());
        bytes.extend(b"\x10\0data");
        bytes.extend((data.len() as u32).to_le_bytes());
        bytes.extend(data);
        vec![Cell::Media(bytes)]
    };
    assert!(samples.len().is_multiple_of(2));
    let rows = vec![wav(1, 22_050), vec![Cell::Media(flac.clone())], wav(1, 44_100), wav(2, 44_100)];
    let dataset = dataset(Schema::new([("audio", Feature::Audio)]), &[("train", rows)]);
    assert_eq!(groups(&dataset, &options(Level::Payload)), Vec::<Vec<u32>>::new());
    assert_eq!(groups(&dataset, &options(Level::Decoded)), [[1, 2]]);
}

#[test]
fn clips_are_equal_by_their_frames() {
    let gif = |frames: u8, level: u8, milliseconds: u32| {
        let frames = (0..frames).map(|frame| {
            let pixels = image::RgbaImage::from_fn(12, 8, |x, y| {
                image::Rgba([(x * 9) as u8, (y * 7) as u8, frame * level, 255])
            });
            image::Frame::from_parts(pixels, 0, 0, image::Delay::from_numer_denom_ms(milliseconds, 1))
        });
        let mut bytes = Vec::new();
        image::codecs::gif::GifEncoder::new(&mut bytes).encode_frames(frames).unwrap();
        vec![Cell::Media(bytes)]
    };
    let rows = vec![gif(5, 20, 100), gif(5, 20, 200), gif(5, 21, 100), gif(6, 20, 100)];
    let dataset = dataset(Schema::new([("clip", Feature::Video)]), &[("train", rows)]);
    assert_eq!(groups(&dataset, &options(Level::Payload)), Vec::<Vec<u32>>::new());
    assert_eq!(groups(&dataset, &options(Level::Decoded)), [[0, 1]]);
}

#[test]
fn one_row_of_each_group_stays_that_of_the_split_which_is_named_first() {
    for (seed, level) in (0..6).zip([Level::Payload, Level::Decoded, Level::Near].into_iter().cycle()) {
        let dataset = in_splits(&drawn(seed));
        let split = |row: u32| dataset.split_of(u64::from(row));
        for keep in [vec![], vec!["train".to_owned(), "extra".to_owned()]] {
            for across in [false, true] {
                let keep_in = if keep.is_empty() { KeepIn::default() } else { KeepIn(keep.clone()) };
                let told =
                    ReportOptions { keep_in: keep_in.clone(), across_splits_only: across, ..ReportOptions::default() };
                let (report, going) = report(&dataset, level, &told);
                assert_eq!(report.surplus, going.len() as u64);
                let found = look(&dataset, &options(level));
                let alike = |a: u32, b: u32| {
                    let (of, similarity) = found.relation(a, b);
                    of < Level::Near || similarity >= LEVELS.threshold
                };
                for group in found.groups() {
                    let crosses = group.iter().any(|row| split(*row) != split(group[0]));
                    let conflicts = !found.conflicts(&group).is_empty();
                    let (goes, stays): (Vec<u32>, Vec<u32>) = group.iter().partition(|row| going.contains(row));
                    if conflicts || (across && !crosses) {
                        assert!(goes.is_empty());
                        continue;
                    }
                    if level < Level::Near && !across {
                        assert_eq!(stays.len(), 1);
                    }
                    let counts = |a: u32, b: u32| a != b && alike(a, b) && (!across || split(a) != split(b));
                    assert!(goes.iter().all(|row| stays.iter().any(|other| counts(*row, *other))));
                    assert!(stays.iter().all(|row| !stays.iter().any(|other| counts(*row, *other))));
                    let rank = |row: u32| keep_in.0.iter().position(|name| name == split(row)).unwrap_or(9);
                    let best = group.iter().map(|row| rank(*row)).min().unwrap();
                    assert!(stays.iter().any(|row| rank(*row) == best));
                }
            }
        }
    }
}

#[test]
fn ends_of_a_chain_that_are_not_alike_stay() {
    let rows = [100, 104, 108, 112].map(|level| labelled(png(4, 4, &pixels(4, 4, u32::from(level), level)), 0));
    let dataset = dataset(schema(), &[("train", rows.to_vec())]);
    let (report, going) = report(&dataset, Level::Near, &ReportOptions::default());
    assert_eq!((report.groups, report.in_groups), (1, 4));
    assert_eq!(going.into_iter().collect::<Vec<_>>(), [1, 3]);
    assert_eq!(report.method.as_deref(), Some("levels 1"));
    // A threshold below the method's joins more, one above it less.
    for (similarity, expected) in [(0.9, 1), (1.0 - 3.0 / 255.0, 0)] {
        let options = DuplicateOptions { similarity: Some(similarity), ..options(Level::Near) };
        assert_eq!(groups(&dataset, &options).len(), expected, "{similarity}");
    }
}

#[test]
fn groups_whose_labels_differ_are_told_and_left() {
    let image = |seed| png(4, 4, &pixels(4, 4, seed, 9));
    let train = vec![labelled(image(1), 0), labelled(image(1), 1), labelled(image(2), 0), labelled(image(2), 0)];
    let test = vec![labelled(image(3), 1), vec![Cell::Media(image(3)), Cell::Null], labelled(image(2), 0)];
    let dataset = dataset(schema(), &[("train", train), ("test", test)]);
    let (told, going) = report(&dataset, Level::Decoded, &ReportOptions::default());
    assert_eq!((told.groups, told.conflicting, told.across_splits, told.surplus), (3, 2, 1, 2));
    assert_eq!(going.into_iter().collect::<Vec<_>>(), [2, 3], "the row of the test split stays");
    let conflicts: Vec<bool> = told.listed.iter().map(|group| group.conflicts == ["label"]).collect();
    assert_eq!(conflicts, [true, false, true]);
    assert_eq!(told.leaks, [Leak { splits: ["test", "train"].map(str::to_owned), groups: 1, rows: [1, 2] }]);
    let all = ReportOptions { drop_conflicting: true, ..ReportOptions::default() };
    assert_eq!(report(&dataset, Level::Decoded, &all).1.into_iter().collect::<Vec<_>>(), [0, 1, 2, 3, 4, 5]);
    let across = ReportOptions { across_splits_only: true, ..ReportOptions::default() };
    let (told, going) = report(&dataset, Level::Decoded, &across);
    assert_eq!((told.groups, going.len()), (1, 2));
    let unknown = ReportOptions { keep_in: KeepIn(vec!["tset".into()]), ..ReportOptions::default() };
    let error =
        look(&dataset, &options(Level::Payload)).report(&unknown, &|_, _, _| Ok(()), &mut |_| Ok(())).unwrap_err();
    assert!(error.exit_code() == 2 && error.to_string().contains("tset"), "{error}");
}

#[test]
fn objects_that_differ_are_a_conflict_too() {
    let of = ObjectsType { names: vec!["a".into()], ..ObjectsType::new(BoxFormat::Xywh) };
    let schema = Schema::new([("image", Feature::Image), ("objects", Feature::Objects(of))]);
    let row = |seed: u32, x: f32| {
        let objects = Objects { boxes: vec![[x, 0.0, 2.0, 2.0]], classes: vec![0], attributes: Vec::new() };
        vec![Cell::Media(png(4, 4, &pixels(4, 4, seed, 9))), Cell::Objects(objects)]
    };
    let dataset = dataset(schema, &[("train", vec![row(1, 0.0), row(1, 1.0), row(2, 0.0), row(2, 0.0)])]);
    let (told, going) = report(&dataset, Level::Payload, &ReportOptions::default());
    assert_eq!((told.groups, told.conflicting), (2, 1));
    assert_eq!(going.into_iter().collect::<Vec<_>>(), [3]);
}

#[test]
fn what_cannot_be_compared_is_counted_by_reason() {
    let image = png(40, 30, &pixels(40, 30, 1, 9));
    let cut = image[..image.len() / 2].to_vec();
    let silent = png(40, 30, &pixels(40, 30, 2, 0));
    let rows = [image.clone(), cut.clone(), silent, image].map(|image| labelled(image, 0));
    let rows = [&rows[..], &[vec![Cell::Null, Cell::Int(0)]]].concat();
    let dataset = dataset(schema(), &[("train", rows)]);
    let left_out =
        |level| report(&dataset, level, &ReportOptions::default()).0.left_out.into_iter().collect::<Vec<_>>();
    let of = |reason: &str| (reason.to_owned(), 1);
    assert_eq!(left_out(Level::Payload), [of("null")]);
    assert_eq!(left_out(Level::Decoded), [of("null"), of("truncated")]);
    assert_eq!(left_out(Level::Near), [of("no-sketch"), of("null"), of("truncated")]);
    assert_eq!(groups(&dataset, &options(Level::Near)), [[0, 3]]);
}

/// What the texts begin with.
static WORDS: Method = Method {
    name: "words",
    kind: Kind::Text,
    version: 1,
    summary: "the first word",
    threshold: 1.0,
    sketch: |decoded| match decoded {
        Decoded::Text(text) => Ok(text.split(' ').next().map(|word| word.as_bytes().to_vec())),
        other => panic!("{other:?}"),
    },
    keys: |_| vec![7],
    similarity: |a, b| f64::from(u8::from(a == b)),
};

#[test]
fn a_key_that_very_many_share_is_compared_with_representatives_and_told() {
    let texts = |kinds: usize, rows: usize| {
        let rows = (0..rows).map(|n| vec![Cell::Media(format!("{} and {n}", n % kinds).into_bytes())]).collect();
        dataset(Schema::new([("text", Feature::Text)]), &[("train", rows)])
    };
    let options = DuplicateOptions { level: Level::Near, method: Some(&WORDS), ..DuplicateOptions::default() };
    let rows = near::CROWD + 300;
    let dataset = texts(near::REPRESENTATIVES / 2, rows);
    let found = look(&dataset, &options).report(&ReportOptions::default(), &|_, _, _| Ok(()), &mut |_| Ok(())).unwrap();
    assert_eq!(found.crowded, Crowded { keys: 1, largest: rows as u64 });
    assert_eq!((found.groups, found.in_groups), (near::REPRESENTATIVES as u64 / 2, rows as u64));
    // Beyond the representatives nothing is found, and that it may be so is told.
    let dataset = texts(near::REPRESENTATIVES * 2, rows);
    let found = look(&dataset, &options).report(&ReportOptions::default(), &|_, _, _| Ok(()), &mut |_| Ok(())).unwrap();
    assert_eq!((found.crowded.keys, found.groups), (1, near::REPRESENTATIVES as u64));
    let dataset = texts(near::REPRESENTATIVES * 2, near::CROWD);
    let found = look(&dataset, &options).report(&ReportOptions::default(), &|_, _, _| Ok(()), &mut |_| Ok(())).unwrap();
    assert_eq!((found.crowded.keys, found.groups), (0, near::REPRESENTATIVES as u64 * 2));
}

#[test]
fn what_cannot_be_asked_is_refused() {
    let pictures = dataset(schema(), &[("train", vec![labelled(png(2, 2, &[7; 12]), 0)])]);
    let numbers = dataset(Schema::new([("n", Feature::Int)]), &[("train", vec![vec![Cell::Int(1)]])]);
    let empty = dataset(schema(), &[("train", Vec::new())]);
    let refused = |dataset: &Dataset, options: DuplicateOptions, says: &str| {
        let error = find(dataset, &options, &|_, _, _| Ok(())).unwrap_err();
        assert!(error.exit_code() == 2 && error.to_string().contains(says), "{error}");
    };
    let near = |similarity| DuplicateOptions { similarity: Some(similarity), ..options(Level::Near) };
    for similarity in [2.0, -0.1, f64::NAN] {
        refused(&pictures, near(similarity), "similarity");
    }
    refused(&pictures, DuplicateOptions { similarity: Some(0.5), ..DuplicateOptions::default() }, "--near");
    let column = |name: &str| DuplicateOptions { column: Some(name.into()), ..DuplicateOptions::default() };
    refused(&pictures, column("nothing"), "there are: image");
    refused(&pictures, column("label"), "class label");
    refused(&numbers, DuplicateOptions::default(), "no column of media or text");
    refused(&pictures, DuplicateOptions { method: Some(&WORDS), ..options(Level::Near) }, "among image");
    assert_eq!(groups(&empty, &options(Level::Near)), Vec::<Vec<u32>>::new());
    let stopped = find(&pictures, &options(Level::Near), &|_, _, _| Err(Error::Interrupted));
    assert_eq!(stopped.unwrap_err().exit_code(), 130);
    assert_eq!(pictures.index().row(0).payload(0).unwrap().info.format, Format::Png);
}
