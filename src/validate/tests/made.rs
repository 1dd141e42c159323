//! Small datasets, clean and with known dirt.

use image::{ExtendedColorType, ImageEncoder as _, RgbImage};

use super::{Cell, dataset};
use crate::data::feature::{Feature, Schema};
use crate::data::objects::{BoxFormat, Objects, ObjectsType};
use crate::dataset::Dataset;
use crate::error::{Fault, LeftOut, Origin, Reason};

/// A level that looks like chance.
pub(super) fn noise(x: u32, y: u32, seed: u32) -> [u8; 3] {
    let mix = |n: u32| {
        let n = (n ^ seed.wrapping_mul(0x9e37_79b9)).wrapping_mul(0x85eb_ca6b);
        ((n ^ n >> 13).wrapping_mul(0xc2b2_ae35) >> 24) as u8
    };
    let at = y * 1_000 + x;
    [mix(at), mix(at + 1_000_000), mix(at + 2_000_000)]
}

/// A PNG of some size.
fn sized(width: u32, height: u32, pixel: impl Fn(u32, u32) -> [u8; 3]) -> Vec<u8> {
    let image = RgbImage::from_fn(width, height, |x, y| image::Rgb(pixel(x, y)));
    let mut bytes = Vec::new();
    let encoder = image::codecs::png::PngEncoder::new(&mut bytes);
    encoder.write_image(&image, width, height, ExtendedColorType::Rgb8).unwrap();
    bytes
}

/// A PNG of 80 x 60 pixels.
pub(super) fn picture(pixel: impl Fn(u32, u32) -> [u8; 3]) -> Vec<u8> {
    sized(80, 60, pixel)
}

/// 60 pictures in two splits and some of five classes.
pub(super) fn photos(dirty: bool) -> Dataset {
    let names = if dirty { vec!["a", "b", "c", "d", "e"] } else { vec!["a", "b", "c"] };
    let names = names.into_iter().map(str::to_owned).collect();
    let schema =
        Schema::new([("image", Feature::Image), ("label", Feature::ClassLabel { names }), ("value", Feature::Float)]);
    let row = |number: u32| {
        let [mut label, mut value] = [Cell::Int(i64::from(number % 3)), Cell::Float(f64::from(number))];
        // Of about one size.
        let mut payload = sized(80, 58 + number % 5, |x, y| noise(x, y, number));
        if dirty {
            let darker = |by: u8| move |x, y| noise(x, y, number).map(|v| v / by);
            match number {
                3 => payload = picture(darker(5)),
                4 => payload = picture(|x, y| noise(x, y, number).map(|v| 246 + v / 30)),
                // A hill without an edge, dark at the border, which edges count as it is.
                5 => {
                    payload = sized(64, 64, |x, y| {
                        let level = 10 + x.min(63 - x) * 4 + y.min(63 - y) * 10 / 3;
                        [level as u8, level as u8, (level + 9) as u8]
                    })
                }
                6 => payload = picture(|_, _| [100, 120, 90]),
                7 => payload = picture(|x, y| [noise(x, y, number)[0]; 3]),
                8 => payload = sized(200, 40, |x, y| noise(x, y, number)),
                9 => payload = sized(300, 200, |x, y| noise(x, y, number)),
                10 => payload.truncate(2_000),
                11 => label = Cell::Int(9),
                12 => label = Cell::Int(-1),
                13 => label = Cell::Null,
                14 => value = Cell::Float(f64::NAN),
                15 => label = Cell::Int(4),
                40.. => label = Cell::Int(0),
                // Few of class c, and none in the test split, where one is expected at the most.
                _ if number != 16 => label = Cell::Int(i64::from(if dirty { number % 2 } else { number })),
                _ => label = Cell::Int(2),
            }
            if number == 17 || number == 18 {
                label = Cell::Int(2);
            }
        }
        vec![Cell::Media(payload), label, value]
    };
    let mut left_out = LeftOut::default();
    if dirty {
        let place = || Origin { id: Some("train/gone".into()), column: Some("image".into()), ..Origin::default() };
        left_out.push(place, &Fault::new(Reason::Truncated, "the header is cut short"));
    }
    dataset(schema, &[("train", (0..40).map(row).collect()), ("test", (40..60).map(row).collect())])
        .with_left_out(left_out)
}

/// 20 pictures of 80 x 60 pixels with three boxes each.
pub(super) fn located(dirty: bool) -> Dataset {
    let names = vec!["a".to_owned(), "b".to_owned()];
    let of = ObjectsType { names, ..ObjectsType::new(BoxFormat::Xywh) };
    let schema = Schema::new([("image", Feature::Image), ("objects", Feature::Objects(of))]);
    let row = |number: u32| {
        let n = number as f32;
        // One that touches all edges, one that is beyond one by less than a pixel.
        let mut boxes = vec![[0.0, 0.0, 80.0, 60.0], [n, 10.0, 20.0, 15.5], [60.0, 40.0, 20.9, 2.0]];
        let mut classes = vec![0, 1, 1];
        if dirty {
            match number {
                2 => boxes[1] = [70.0, 10.0, 20.0, 15.0],
                3 => boxes[1] = [-30.0, 10.0, 20.0, 15.0],
                4 => boxes[1] = [10.0, 10.0, 0.0, 15.0],
                5 => boxes[1] = [10.0, 10.0, 1.5, 15.0],
                6 => boxes[1] = boxes[2],
                7 => classes[1] = -1,
                8 => (boxes, classes) = (Vec::new(), Vec::new()),
                _ => {}
            }
        }
        let objects = if dirty && number == 9 {
            Cell::Null
        } else {
            Cell::Objects(Objects { boxes, classes, attributes: Vec::new() })
        };
        vec![Cell::Media(picture(|x, y| noise(x, y, number))), objects]
    };
    dataset(schema, &[("train", (0..20).map(row).collect())])
}

/// 16-bit mono WAVE.
fn wave(rate: u32, samples: impl Iterator<Item = f64>) -> Vec<u8> {
    let data: Vec<u8> =
        samples.flat_map(|v| ((v * 32_768.0).round().clamp(-32_768.0, 32_767.0) as i16).to_le_bytes()).collect();
    let mut bytes = Vec::new();
    bytes.extend(b"RIFF");
    bytes.extend((36 + data.len() as u32).to_le_bytes());
    bytes.extend(b"WAVEfmt \x10\0\0\0\x01\0\x01\0");
    bytes.extend(rate.to_le_bytes());
    bytes.extend((rate * 2).to_le_bytes());
    bytes.extend(b"\x02\0\x10\0data");
    bytes.extend((data.len() as u32).to_le_bytes());
    bytes.extend(data);
    bytes
}

/// Words of so many characters in all.
fn words(chars: usize, seed: usize) -> String {
    (0..chars)
        .map(|i| if (i + seed) % 6 == 5 { ' ' } else { char::from(b'a' + ((i * 7 + seed * 3) % 26) as u8) })
        .collect()
}

/// 40 recordings of about a second with what is said in them.
pub(super) fn recordings(dirty: bool) -> Dataset {
    let schema = Schema::new([("audio", Feature::Audio), ("text", Feature::Text)]);
    let row = |number: usize| {
        let seconds = if dirty && number == 6 { 10.0 } else { 1.0 + (number % 7) as f64 * 0.1 };
        let rate = if dirty && number == 5 { 16_000 } else { 8_000 };
        let samples = (0..(seconds * f64::from(rate)) as usize).map(|i| {
            let sine = libm::sin(i as f64 * (220 + number) as f64 * std::f64::consts::TAU / f64::from(rate));
            match number {
                2 if dirty => sine * 1e-4,
                3 if dirty => sine * 3.0,
                4 if dirty => sine * 0.3 + 0.05,
                _ => sine * 0.3,
            }
        });
        let mut text = words((seconds * 15.0) as usize, number);
        if dirty {
            match number {
                6 => text = words(100, 6),
                7 => text = " \n".into(),
                9 => text = words((seconds * 48.0) as usize, 9),
                10 => text = words((seconds * 100.0) as usize, 10),
                11 => text = "l\u{c3}\u{a9}t\u{c3}\u{a9} \u{c3}\u{a0} la mer".into(),
                12 => text.push('\u{7}'),
                _ => {}
            }
        }
        let text = if dirty && number == 8 { Cell::Null } else { Cell::Media(text.into_bytes()) };
        vec![Cell::Media(wave(rate, samples)), text]
    };
    dataset(schema, &[("train", (0..40).map(row).collect())])
}

/// 40 texts.
pub(super) fn texts(dirty: bool) -> Dataset {
    let row = |number: usize| {
        let text = match number {
            5 if dirty => "  ".into(),
            6 if dirty => words(2_000, 6),
            7..=9 if dirty => "again".into(),
            _ => words(40 + number, number),
        };
        vec![Cell::Media(text.into_bytes())]
    };
    dataset(Schema::new([("text", Feature::Text)]), &[("train", (0..40).map(row).collect())])
}

/// 20 pictures in two splits with their captions, of which the dirty ones have two.
pub(super) fn copies(dirty: bool) -> Dataset {
    let schema = Schema::new([("image", Feature::Image), ("text", Feature::Text)]);
    let row = |number: u32| {
        let of = match number {
            3 | 6 if dirty => 2,
            13 if dirty => 12,
            15 if dirty => 4,
            16 if dirty => 5,
            other => other,
        };
        vec![
            Cell::Media(picture(|x, y| noise(x, y, of))),
            Cell::Media(format!("this is a picture, {}", if dirty { number % 2 } else { number }).into_bytes()),
        ]
    };
    dataset(schema, &[("train", (0..12).map(row).collect()), ("test", (12..20).map(row).collect())])
}

/// Six animations of ten frames.
pub(super) fn clips(dirty: bool) -> Dataset {
    let row = |number: u32| {
        let frames = (0..10u32).map(|frame| {
            let image = image::RgbaImage::from_fn(32, 24, |x, y| {
                let [r, g, b] = match number {
                    2 if dirty => [(x * 7) as u8, (y * 9) as u8, 90],
                    3 if dirty => [0; 3],
                    _ => [(x * 7) as u8, (y * 9) as u8, (frame * 20 + number) as u8],
                };
                image::Rgba([r, g, b, 255])
            });
            image::Frame::from_parts(image, 0, 0, image::Delay::from_numer_denom_ms(100, 1))
        });
        let mut bytes = Vec::new();
        image::codecs::gif::GifEncoder::new(&mut bytes).encode_frames(frames).unwrap();
        vec![Cell::Media(bytes)]
    };
    dataset(Schema::new([("clip", Feature::Video)]), &[("train", (0..6).map(row).collect())])
}
