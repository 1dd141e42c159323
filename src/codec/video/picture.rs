//! Pictures as decoders hand them over.

use crate::codec::container::Colour;
use crate::error::{Fault, Reason};

/// How often chroma is sampled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Chroma {
    /// Never: luma alone.
    Mono,
    /// Once for 2 x 2 pixels.
    Quarter,
    /// Once for 2 pixels of a row.
    Half,
    /// Once for 2 pixels of a column.
    HalfRows,
    /// For every pixel.
    Full,
}

impl Chroma {
    /// By how much luma's columns and rows are shifted right for chroma's.
    pub(super) fn shifts(self) -> (u32, u32) {
        match self {
            Chroma::Quarter => (1, 1),
            Chroma::Half => (1, 0),
            Chroma::HalfRows => (0, 1),
            Chroma::Mono | Chroma::Full => (0, 0),
        }
    }

    /// As the standards write it.
    pub(super) fn name(self) -> &'static str {
        match self {
            Chroma::Mono => "monochrome",
            Chroma::Quarter => "4:2:0",
            Chroma::Half => "4:2:2",
            Chroma::HalfRows => "4:4:0",
            Chroma::Full => "4:4:4",
        }
    }

    /// `chroma_format_idc` of H.264 and H.265.
    pub(super) fn of_format(idc: u32) -> Chroma {
        [Chroma::Mono, Chroma::Quarter, Chroma::Half, Chroma::Full][idc.min(3) as usize]
    }

    /// From VP9's and AV1's `subsampling_x` and `subsampling_y`.
    pub(super) fn of_subsampling(x: bool, y: bool) -> Chroma {
        match (x, y) {
            (true, true) => Chroma::Quarter,
            (true, false) => Chroma::Half,
            (false, true) => Chroma::HalfRows,
            (false, false) => Chroma::Full,
        }
    }

    /// Samples of all planes of a picture.
    pub(super) fn samples(self, pixels: u64) -> u64 {
        match self {
            Chroma::Mono => pixels,
            _ => {
                let (x, y) = self.shifts();
                // Odd sizes round up; a picture of a single row or column is off by more, and small.
                pixels.saturating_add(pixels.saturating_mul(2) >> (x + y)).saturating_add(1 << 16)
            }
        }
    }
}

/// What all pictures of a stream have in common.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Picture {
    /// Pixels across after cropping.
    pub(super) width: u32,
    /// Pixels down after cropping.
    pub(super) height: u32,
    /// Pixels that cropping takes away on the left, which the decoder leaves in place.
    pub(super) left: u32,
    /// The same above.
    pub(super) top: u32,
    /// Pixels of the coded picture, before cropping.
    pub(super) coded: u64,
    /// Bits of a sample.
    pub(super) depth: u32,
    pub(super) chroma: Chroma,
    /// What the stream says of its colours.
    pub(super) colour: Colour,
}

/// A plane of samples, `[rows, stride]`; the last row may end where its samples do.
#[derive(Debug, Clone, Copy)]
pub(super) struct Plane<'a, S> {
    pub(super) samples: &'a [S],
    /// Samples from row to row.
    pub(super) stride: usize,
}

impl<'a, S> Plane<'a, S> {
    /// `count` samples of row `y` from column `x` on.
    #[inline(always)]
    pub(super) fn row(&self, y: usize, x: usize, count: usize) -> &'a [S] {
        &self.samples[y * self.stride + x..][..count]
    }
}

/// A decoded picture, before cropping on the left and above.
#[derive(Debug, Clone, Copy)]
pub(super) enum Planes<'a> {
    /// Y, Cb, Cr (or G, B, R) of 8 bits. Without chroma two planes are empty.
    Bytes([Plane<'a, u8>; 3]),
    /// The same of more bits, in the low ones.
    Words([Plane<'a, u16>; 3]),
    /// The same with the low byte first.
    Pairs([Plane<'a, [u8; 2]>; 3]),
    /// RGB8, `[height, width, 3]`.
    #[cfg_attr(not(feature = "image"), allow(dead_code))]
    Rgb(&'a [u8]),
}

impl Picture {
    /// "10-bit 4:2:2".
    pub(super) fn kind(&self) -> String {
        format!("{}-bit {}", self.depth, self.chroma.name())
    }

    /// Refuses planes that do not hold the picture: what is converted is never read beyond them.
    pub(super) fn check(&self, planes: &Planes<'_>) -> Result<(), Fault> {
        fn holds<S>(planes: &[Plane<'_, S>; 3], picture: &Picture) -> bool {
            let (x, y) = picture.chroma.shifts();
            let (width, height) = (picture.left + picture.width, picture.top + picture.height);
            planes.iter().enumerate().all(|(n, plane)| {
                let shifted = |n: u32, by: u32| (n as usize).div_ceil(1 << by);
                let (width, height) = match n {
                    0 => (width as usize, height as usize),
                    _ if picture.chroma == Chroma::Mono => return true,
                    _ => (shifted(width, x), shifted(height, y)),
                };
                let needed = plane.stride.checked_mul(height.saturating_sub(1)).and_then(|n| n.checked_add(width));
                plane.stride >= width && needed.is_some_and(|needed| plane.samples.len() >= needed)
            })
        }
        let fits = match planes {
            Planes::Bytes(planes) => self.depth == 8 && holds(planes, self),
            Planes::Words(planes) => holds(planes, self),
            Planes::Pairs(planes) => self.depth > 8 && holds(planes, self),
            Planes::Rgb(rgb) => rgb.len() as u64 == u64::from(self.width) * u64::from(self.height) * 3,
        };
        if fits {
            return Ok(());
        }
        Err(Fault::new(Reason::Corrupt, "a decoded picture is not of the size that the header says"))
    }
}
