//! What a dataset holds in numbers: counts, ranges, means and deviations of every column, in each split.
//!
//! Everything but the levels comes from the Index and costs no read of a shard. Levels (of pixels, of samples) decode
//! payloads. The numbers do not depend on the threads: pixels are summed as integers, samples row by row in row order.

use std::collections::BTreeMap;

use rayon::prelude::*;
use serde::Serialize;

use crate::codec::{self, Decoded, Limits, Scratch, Want};
use crate::data::feature::{Column, Feature};
use crate::data::index::{Payload, Row};
use crate::data::info::Kind;
use crate::data::label::Value;
use crate::data::profile::Profile;
use crate::data::storage::Storage;
use crate::dataset::Dataset;
use crate::error::{Error, Result};
use crate::parallel;

/// Frames of a clip that levels are taken of, evenly over its play time.
pub const CLIP_FRAMES: u64 = 8;

/// Rows that are decoded between two looks at the watch.
const CHUNK: usize = 64;

/// What is counted.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct StatsOptions {
    /// One split; all of them unless told.
    pub split: Option<String>,
    /// Decode so many rows of each split, evenly spaced, for the levels of pictures, clips and recordings. 0: none.
    pub decode: u64,
    /// Threads; 0 for all of the machine.
    pub threads: usize,
}

/// Numbers of a dataset.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Stats {
    /// Of each split, by name.
    pub splits: BTreeMap<String, SplitStats>,
    /// The first payloads that could not be decoded, and why.
    pub faults: Vec<String>,
}

/// Numbers of a split.
#[derive(Debug, Clone, PartialEq, Default, Serialize)]
pub struct SplitStats {
    /// Rows.
    pub rows: u64,
    /// Of each column, in schema order.
    pub columns: Vec<ColumnStats>,
}

/// Numbers of a column within a split.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ColumnStats {
    /// The column.
    pub name: String,
    /// What it holds ([`Feature::name`]).
    pub feature: &'static str,
    /// What made its payloads of the source's, if anything did.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stored: Option<Storage>,
    /// Cells that are absent.
    pub nulls: u64,
    /// What there is to say of the feature.
    #[serde(flatten)]
    pub of: Measures,
}

/// What there is to say of a feature.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Measures {
    /// Rows of each class, in index order; classes without a row are there with 0.
    Classes(Vec<(String, u64)>),
    /// Integers and floats.
    Values(Spread),
    /// How many are true.
    True(u64),
    /// Objects: how many a row has, and how many there are of each class, in index order.
    Objects {
        /// Objects of a row.
        count: Spread,
        /// Objects of each class; classes without one are there with 0.
        classes: Vec<(String, u64)>,
        /// Objects whose class is not known.
        unknown: u64,
    },
    /// Payloads.
    Media(Box<MediaStats>),
}

/// Numbers of payloads.
#[derive(Debug, Clone, PartialEq, Default, Serialize)]
pub struct MediaStats {
    /// Payloads of each format.
    pub formats: BTreeMap<&'static str, u64>,
    /// Payloads of each number of channels, as stored.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub channels: BTreeMap<u32, u64>,
    /// Recordings of each sample rate, in Hz.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub rates: BTreeMap<u32, u64>,
    /// Pictures and clips that are turned to be shown, by EXIF's number (2 to 8).
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub turned: BTreeMap<u32, u64>,
    /// Pictures that carry a colour profile (ICC) other than sRGB, by its name. Pixels are not converted.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub profiles: BTreeMap<&'static str, u64>,
    /// Encoded bytes.
    pub bytes: Spread,
    /// Pixels across.
    #[serde(skip_serializing_if = "Spread::is_empty")]
    pub width: Spread,
    /// Pixels down.
    #[serde(skip_serializing_if = "Spread::is_empty")]
    pub height: Spread,
    /// Play time in seconds.
    #[serde(skip_serializing_if = "Spread::is_empty")]
    pub seconds: Spread,
    /// Frames of clips, samples a channel of recordings, UTF-8 bytes of texts.
    #[serde(skip_serializing_if = "Spread::is_empty")]
    pub length: Spread,
    /// Of decoded payloads.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub levels: Option<Levels>,
}

/// How values spread. All are 0 without one.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize)]
pub struct Spread {
    /// Values.
    pub count: u64,
    /// The smallest.
    pub min: f64,
    /// The greatest.
    pub max: f64,
    /// Their mean.
    pub mean: f64,
    /// Their standard deviation (of the population: divided by `count`).
    pub std: f64,
    #[serde(skip)]
    squares: f64,
}

impl Spread {
    /// Whether no value was added.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Adds a value (Welford's update). A value that is no number is left out.
    pub fn add(&mut self, value: f64) {
        if value.is_nan() {
            return;
        }
        let first = self.is_empty();
        self.count += 1;
        self.min = if first { value } else { self.min.min(value) };
        self.max = if first { value } else { self.max.max(value) };
        let before = value - self.mean;
        self.mean += before / self.count as f64;
        self.squares += before * (value - self.mean);
        self.std = (self.squares / self.count as f64).sqrt();
    }
}

/// Levels of decoded payloads.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Levels {
    /// Of pictures and frames, where black is 0 and white is 1: the `mean` and `std` that `normalize` takes.
    Pixels {
        /// Payloads that were decoded.
        payloads: u64,
        /// Payloads that could not be.
        refused: u64,
        /// Pixels in all.
        pixels: u64,
        /// Means of red, green and blue over all pixels.
        mean: [f64; 3],
        /// Standard deviations of red, green and blue over all pixels (of the population).
        std: [f64; 3],
    },
    /// Of recordings, in `[-1, 1)` nominal, over the samples of all channels.
    Samples {
        /// Payloads that were decoded.
        payloads: u64,
        /// Payloads that could not be.
        refused: u64,
        /// Samples in all.
        samples: u64,
        /// Their mean.
        mean: f64,
        /// Their standard deviation (of the population).
        std: f64,
        /// The greatest distance from 0.
        peak: f64,
    },
}

/// Counts what a dataset holds. `watch` is told how many payloads are decoded of how many, and ends it with its error.
///
/// # Errors
///
/// [`Error::Config`]: no such split. A payload that cannot be decoded is no error but counted, and named in `faults`.
pub fn stats(dataset: &Dataset, options: &StatsOptions, watch: &dyn Fn(u64, u64) -> Result<()>) -> Result<Stats> {
    let names: Vec<&String> = dataset.splits().keys().collect();
    options.split.iter().try_for_each(|split| dataset.has_split(split))?;
    let mut stats = Stats { splits: BTreeMap::new(), faults: Vec::new() };
    let chosen = names.into_iter().filter(|n| options.split.as_ref().is_none_or(|s| s == *n));
    let (mut done, mut samples) = (0, Vec::new());
    for name in chosen {
        let rows: Vec<u64> = dataset.index().ranges(Some(name)).into_iter().flatten().collect();
        stats.splits.insert(name.clone(), of_index(dataset, &rows));
        samples.push((name, evenly(&rows, options.decode)));
    }
    let pictured = |c: &Column| c.feature.is_media();
    let columns: Vec<usize> =
        (0..).zip(&dataset.schema().columns).filter(|(_, c)| pictured(c)).map(|(i, _)| i).collect();
    let total = samples.iter().map(|(_, rows)| rows.len() as u64).sum::<u64>() * columns.len() as u64;
    if total == 0 {
        return Ok(stats);
    }
    let pool = parallel::pool(options.threads)?;
    for (name, rows) in samples {
        for column in &columns {
            let mut sums = Sums::default();
            for chunk in rows.chunks(CHUNK) {
                watch(done, total)?;
                let read = |tools: &mut (Scratch, Vec<u8>), row: &u64| sum(dataset, *row, *column, tools);
                let sums_of: Vec<Result<Option<Sum>>> =
                    pool.install(|| chunk.par_iter().map_init(Default::default, read).collect());
                for sum in sums_of {
                    match sum {
                        Ok(Some(sum)) => sums.add(&sum),
                        Ok(None) => {}
                        Err(error @ (Error::Sample { .. } | Error::Panic { .. })) => {
                            sums.refused += 1;
                            if stats.faults.len() < 10 {
                                stats.faults.push(error.to_string());
                            }
                        }
                        Err(error) => return Err(error),
                    }
                }
                done += chunk.len() as u64;
            }
            let measured = stats.splits.get_mut(name).and_then(|s| s.columns.get_mut(*column));
            if let Some(ColumnStats { of: Measures::Media(media), .. }) = measured {
                media.levels = Some(sums.levels(dataset.schema().columns[*column].feature.kind()));
            }
        }
    }
    watch(done, total)?;
    Ok(stats)
}

/// At most so many of them, evenly spaced.
fn evenly(rows: &[u64], count: u64) -> Vec<u64> {
    let count = usize::try_from(count).unwrap_or(usize::MAX).min(rows.len());
    (0..count).map(|i| rows[i * rows.len() / count]).collect()
}

fn of_index(dataset: &Dataset, rows: &[u64]) -> SplitStats {
    let columns = dataset.schema().columns.iter().map(|c| {
        let of = match &c.feature {
            Feature::ClassLabel { names } => Measures::Classes(names.iter().map(|n| (n.clone(), 0)).collect()),
            Feature::Int | Feature::Float => Measures::Values(Spread::default()),
            Feature::Bool => Measures::True(0),
            Feature::Objects(of) => {
                let classes = of.names.iter().map(|n| (n.clone(), 0)).collect();
                Measures::Objects { count: Spread::default(), classes, unknown: 0 }
            }
            _ => Measures::Media(Box::default()),
        };
        ColumnStats { name: c.name.clone(), feature: c.feature.name(), stored: c.stored.clone(), nulls: 0, of }
    });
    let mut columns: Vec<ColumnStats> = columns.collect();
    for row in rows {
        let entry = dataset.index().row(*row);
        for (i, column) in columns.iter_mut().enumerate() {
            column.count(&entry, i, &dataset.schema().columns[i].feature);
        }
    }
    SplitStats { rows: rows.len() as u64, columns }
}

impl ColumnStats {
    fn count(&mut self, row: &Row<'_>, column: usize, feature: &Feature) {
        if let (Measures::Objects { count, classes, unknown }, Feature::Objects(of)) = (&mut self.of, feature) {
            let Ok(Some(objects)) = row.objects(column, of) else {
                self.nulls += 1;
                return;
            };
            count.add(objects.len() as f64);
            for class in objects.classes {
                match usize::try_from(class).ok().and_then(|c| classes.get_mut(c)) {
                    Some((_, objects)) => *objects += 1,
                    None => *unknown += 1,
                }
            }
            return;
        }
        if let Measures::Media(media) = &mut self.of {
            match row.payload(column) {
                Some(payload) => media.add(&payload),
                None => self.nulls += 1,
            }
            return;
        }
        match (&mut self.of, row.value(column)) {
            (Measures::Classes(classes), Value::Int(class)) => {
                match usize::try_from(class).ok().and_then(|c| classes.get_mut(c)) {
                    Some((_, rows)) => *rows += 1,
                    // An unknown class is -1 or null.
                    None => self.nulls += 1,
                }
            }
            (Measures::Values(spread), Value::Int(v)) => spread.add(v as f64),
            (Measures::Values(spread), Value::Float(v)) => spread.add(v),
            (Measures::True(count), Value::Bool(v)) => *count += u64::from(v),
            _ => self.nulls += 1,
        }
    }
}

impl MediaStats {
    fn add(&mut self, payload: &Payload) {
        let info = payload.info;
        let kind = info.format.kind();
        *self.formats.entry(info.format.name()).or_default() += 1;
        self.bytes.add(payload.length as f64);
        if kind.is_media() {
            *self.channels.entry(info.channels).or_default() += 1;
        }
        if !info.orientation.is_stored() {
            *self.turned.entry(info.orientation.code()).or_default() += 1;
        }
        if info.profile != Profile::Srgb {
            *self.profiles.entry(info.profile.name()).or_default() += 1;
        }
        if matches!(kind, Kind::Image | Kind::Video) || info.width != 0 {
            self.width.add(f64::from(info.width));
            self.height.add(f64::from(info.height));
        }
        if kind == Kind::Audio {
            *self.rates.entry(info.rate).or_default() += 1;
        }
        if matches!(kind, Kind::Audio | Kind::Video) {
            self.seconds.add(info.duration_us as f64 / 1e6);
        }
        if kind != Kind::Image && (kind != Kind::Tensor || info.count != 0) {
            self.length.add(info.count as f64);
        }
    }
}

/// What one payload adds.
enum Sum {
    Pixels { count: u64, sums: [u64; 3], squares: [u64; 3] },
    Samples { count: u64, sum: f64, squares: f64, peak: f64 },
}

fn sum(dataset: &Dataset, row: u64, column: usize, tools: &mut (Scratch, Vec<u8>)) -> Result<Option<Sum>> {
    let (scratch, bytes) = tools;
    let Some(payload) = dataset.fetch(row, column, bytes)? else { return Ok(None) };
    let times: Vec<i64>;
    let want = if payload.info.format.kind() == Kind::Video {
        let length = payload.info.duration_us;
        times = (0..CLIP_FRAMES).map(|i| (length * (2 * i + 1) / (2 * CLIP_FRAMES)) as i64).collect();
        Want::Video { times_us: &times }
    } else {
        Want::Whole
    };
    let decoded = codec::by_format(payload.info.format).and_then(|codec| {
        codec::guarded(codec.name(), || {
            Ok(match codec::decode_shown(codec, &*bytes, want, &payload.info, &Limits::default(), scratch)? {
                Decoded::Pixels(pixels) => Some(of_pixels(pixels.data)),
                Decoded::Wave(wave) => Some(of_samples(wave.data)),
                Decoded::Text(_) | Decoded::Elements(_) => None,
            })
        })
    });
    decoded.map_err(|fault| fault.at(dataset.origin(row, column)))
}

fn of_pixels(data: &[u8]) -> Sum {
    let (mut sums, mut squares) = ([0u64; 3], [0u64; 3]);
    for pixel in data.as_chunks::<3>().0 {
        for ((sum, square), value) in sums.iter_mut().zip(&mut squares).zip(pixel) {
            *sum += u64::from(*value);
            *square += u64::from(*value) * u64::from(*value);
        }
    }
    Sum::Pixels { count: data.len() as u64 / 3, sums, squares }
}

fn of_samples(data: &[f32]) -> Sum {
    let (mut sum, mut squares, mut peak) = (0.0, 0.0, 0.0f64);
    for value in data.iter().map(|v| f64::from(*v)) {
        sum += value;
        squares += value * value;
        peak = peak.max(value.abs());
    }
    Sum::Samples { count: data.len() as u64, sum, squares, peak }
}

/// What all payloads of a column add up to.
#[derive(Default)]
struct Sums {
    payloads: u64,
    refused: u64,
    count: u64,
    pixels: [u128; 3],
    pixel_squares: [u128; 3],
    sum: f64,
    squares: f64,
    peak: f64,
}

impl Sums {
    fn add(&mut self, sum: &Sum) {
        self.payloads += 1;
        match sum {
            Sum::Pixels { count, sums, squares } => {
                self.count += count;
                for c in 0..3 {
                    self.pixels[c] += u128::from(sums[c]);
                    self.pixel_squares[c] += u128::from(squares[c]);
                }
            }
            Sum::Samples { count, sum, squares, peak } => {
                self.count += count;
                self.sum += sum;
                self.squares += squares;
                self.peak = self.peak.max(*peak);
            }
        }
    }

    fn levels(&self, kind: Option<Kind>) -> Levels {
        let Sums { payloads, refused, count, .. } = *self;
        let n = u128::from(count.max(1));
        if kind == Some(Kind::Audio) {
            let mean = self.sum / n as f64;
            let std = (self.squares / n as f64 - mean * mean).max(0.0).sqrt();
            return Levels::Samples { payloads, refused, samples: count, mean, std, peak: self.peak };
        }
        let mean = self.pixels.map(|sum| sum as f64 / n as f64 / 255.0);
        // n * squares - sum^2 is exact: below 2^106 for 2^45 pixels.
        let std = [0, 1, 2].map(|c| {
            let spread = n * self.pixel_squares[c] - self.pixels[c] * self.pixels[c];
            (spread as f64).sqrt() / n as f64 / 255.0
        });
        Levels::Pixels { payloads, refused, pixels: count, mean, std }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_spread_is_that_of_the_definition() {
        let mut spread = Spread::default();
        assert!(spread.is_empty());
        for value in [2.0, 4.0, 4.0, 4.0, f64::NAN, 5.0, 5.0, 7.0, 9.0] {
            spread.add(value);
        }
        assert_eq!((spread.count, spread.min, spread.max, spread.mean, spread.std), (8, 2.0, 9.0, 5.0, 2.0));
        let mut negative = Spread::default();
        negative.add(-3.0);
        assert_eq!((negative.min, negative.max, negative.std), (-3.0, -3.0, 0.0));
    }

    #[test]
    fn rows_are_taken_evenly() {
        let rows: Vec<u64> = (10..20).collect();
        assert_eq!(evenly(&rows, 3), [10, 13, 16]);
        assert_eq!(evenly(&rows, 99), rows);
        assert!(evenly(&rows, 0).is_empty() && evenly(&[], 5).is_empty());
    }

    #[test]
    fn levels_of_pixels_are_exact() {
        let mut sums = Sums::default();
        sums.add(&of_pixels(&[0, 10, 255, 255, 20, 255]));
        let Levels::Pixels { pixels, mean, std, .. } = sums.levels(Some(Kind::Image)) else { panic!() };
        assert_eq!((pixels, mean, std), (2, [0.5, 15.0 / 255.0, 1.0], [0.5, 5.0 / 255.0, 0.0]));
    }
}
