//! What is measured of a picture: the measures of cleanvision 0.3.7 (`issue_managers/image_property.py`), which
//! `fixtures/golden/cleanvision.json` holds them against, and its focus.
//!
//! Where they differ: pictures with a palette or with alpha are measured as the RGB that they decode to, cleanvision measures
//! palette indices and alpha as they are; brightness is sorted into 65,536 steps, not one by one.

use fast_image_resize::images::{TypedImage, TypedImageRef};
use fast_image_resize::pixels::U8x3;
use fast_image_resize::{FilterType, ResizeAlg, ResizeOptions, Resizer};

use super::focus::Focus;
use super::percentile::percentile;
use crate::codec::{Pixels, luma};
use crate::error::{Fault, Reason};

/// The longer side at which blur is measured.
const BLUR_SIDE: u64 = 64;
/// How steeply sharpness and contrast go towards 1.
const BLUR_FACTOR: f64 = 0.01;
/// Contrast up to here counts as none.
const CONTRAST: f64 = 0.18;
/// The longer sides at which focus is measured, of pictures that are larger: details are lost at the first, and at the second
/// what is so blurred that little but the blocks of a JPEG is left.
const FOCUS_SIDES: [u64; 2] = [512, 128];
/// Steps of brightness.
const STEPS: usize = 1 << 16;

/// What is measured of a picture.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Picture {
    /// The brightness that 99 in 100 pixels are not above; black is 0, white 1.
    pub bright: f64,
    /// The brightness that 5 in 100 pixels are not above.
    pub dim: f64,
    /// Entropy of the levels of all channels together, in bits: at most 8 for gray, 9.6 for colour.
    pub entropy: f64,
    /// Sharpness with contrast, 0 to 1.
    pub sharpness: f64,
    /// How little blurring it again takes away, 0 to 1; `None`: it has no edge at all.
    pub blur: Option<f64>,
    /// Whether every pixel is gray.
    pub gray: bool,
}

/// A thread's memory for looking at pictures.
#[derive(Debug)]
pub(super) struct Eye {
    resizer: Resizer,
    small: Vec<u8>,
    gray: Vec<u8>,
    brightness: Vec<u32>,
    focus: Focus,
    /// What each level of red, green and blue adds to the square of brightness.
    weights: [[f32; 256]; 3],
}

impl Default for Eye {
    fn default() -> Self {
        let weights = [0.241f32, 0.691, 0.068].map(|weight| std::array::from_fn(|v| weight * (v * v) as f32));
        Eye {
            resizer: Resizer::new(),
            small: Vec::new(),
            gray: Vec::new(),
            brightness: vec![0; STEPS],
            focus: Focus::default(),
            weights,
        }
    }
}

impl Eye {
    /// Measures RGB8 pixels; `single`: they have one channel as stored.
    pub(super) fn look(&mut self, pixels: &Pixels<'_>, single: bool) -> Result<Picture, Fault> {
        let mut levels = [[0u64; 256]; 3];
        let mut gray = true;
        self.brightness.fill(0);
        let [red, green, blue] = &self.weights;
        for &[r, g, b] in pixels.data.as_chunks::<3>().0 {
            levels[0][r as usize] += 1;
            levels[1][g as usize] += 1;
            levels[2][b as usize] += 1;
            gray &= r == g && g == b;
            let square = red[r as usize] + green[g as usize] + blue[b as usize];
            let step = (square.sqrt() * ((STEPS - 1) as f32 / 255.0) + 0.5) as usize;
            self.brightness[step.min(STEPS - 1)] += 1;
        }
        let bands = if single { &levels[..1] } else { &levels[..] };
        let (sharpness, entropy) = (self.sharpness(pixels)?, entropy(bands.as_flattened()));
        let mut blur: Option<f64> = None;
        for side in FOCUS_SIDES {
            let how = (side, FilterType::Bilinear);
            let (data, to) = Self::reduced(&mut self.resizer, &mut self.small, pixels, how)?;
            let here = self.focus.blur(data, to.0 as usize, to.1 as usize);
            blur = blur.into_iter().chain(here).reduce(f64::max);
        }
        let count = pixels.data.len() as u64 / 3;
        let [dim, bright] = [0.05, 0.99].map(|part| percentile(&self.brightness, count, part) / (STEPS - 1) as f64);
        Ok(Picture { bright, dim, entropy, sharpness, blur, gray })
    }

    /// The picture with a longer side of so many pixels at the most.
    fn reduced<'p>(
        resizer: &mut Resizer,
        small: &'p mut Vec<u8>,
        pixels: &Pixels<'p>,
        (longest, filter): (u64, FilterType),
    ) -> Result<(&'p [u8], (u32, u32)), Fault> {
        let (width, height) = (u64::from(pixels.width), u64::from(pixels.height));
        let longer = width.max(height);
        if longer <= longest {
            return Ok((pixels.data, (pixels.width, pixels.height)));
        }
        let side = |side: u64| (side * longest / longer).max(1) as u32;
        let to = (side(width), side(height));
        let wrong = |e: &dyn std::fmt::Display| Fault::new(Reason::Corrupt, format!("measuring blur: {e}"));
        let from = TypedImageRef::<U8x3>::from_buffer(pixels.width, pixels.height, pixels.data);
        let from = from.map_err(|e| wrong(&e))?;
        small.resize(to.0 as usize * to.1 as usize * 3, 0);
        let mut target = TypedImage::<U8x3>::from_buffer(to.0, to.1, small).map_err(|e| wrong(&e))?;
        let options = ResizeOptions::new().resize_alg(ResizeAlg::Convolution(filter)).use_alpha(false);
        resizer.resize_typed(&from, &mut target, &options).map_err(|e| wrong(&e))?;
        Ok((small, to))
    }

    /// Edges of the picture at 64 pixels, and how unevenly its levels are used.
    fn sharpness(&mut self, pixels: &Pixels<'_>) -> Result<f64, Fault> {
        // Pillow's BICUBIC has a = -0.5, too.
        let how = (BLUR_SIDE, FilterType::CatmullRom);
        let (data, to) = Self::reduced(&mut self.resizer, &mut self.small, pixels, how)?;
        self.gray.clear();
        self.gray.extend(data.as_chunks::<3>().0.iter().map(|pixel| luma(*pixel)));
        let mut used = [0u64; 256];
        self.gray.iter().for_each(|level| used[*level as usize] += 1);
        let contrast = saturating(deviation(used.iter().map(|n| *n as f64)));
        let sharp = saturating(edges(&self.gray, to.0 as usize, to.1 as usize));
        Ok((sharp + if contrast <= CONTRAST { 0.0 } else { contrast }).min(1.0))
    }
}

fn saturating(value: f64) -> f64 {
    1.0 - libm::exp(-value * BLUR_FACTOR)
}

/// Standard deviation (of the population).
fn deviation(values: impl ExactSizeIterator<Item = f64> + Clone) -> f64 {
    let count = values.len().max(1) as f64;
    let mean = values.clone().sum::<f64>() / count;
    (values.map(|v| (v - mean) * (v - mean)).sum::<f64>() / count).sqrt()
}

/// Standard deviation of Pillow's `FIND_EDGES`: 8 times a pixel without its neighbours, cut to a byte; the outermost pixels stay.
fn edges(gray: &[u8], width: usize, height: usize) -> f64 {
    let at = |x: usize, y: usize| i32::from(gray[y * width + x]);
    let edge = |i: usize| {
        let (x, y) = (i % width, i / width);
        if x == 0 || y == 0 || x + 1 == width || y + 1 == height {
            return f64::from(gray[i]);
        }
        let around: i32 =
            (y - 1..=y + 1).flat_map(|y| (x - 1..=x + 1).map(move |x| (x, y))).map(|(x, y)| at(x, y)).sum();
        f64::from((9 * at(x, y) - around).clamp(0, 255))
    };
    deviation((0..gray.len()).map(edge))
}

/// Shannon's entropy of counts, in bits.
fn entropy(counts: &[u64]) -> f64 {
    let total = counts.iter().sum::<u64>() as f64;
    let bits = |count: &u64| {
        let share = *count as f64 / total;
        -share * libm::log2(share)
    };
    counts.iter().filter(|count| **count > 0).map(bits).sum()
}
