//! Frames to RGB8, `[height, width, 3]`.
//!
//! Planes of 8 to 12 bits in the ways of `picture` are converted by `color`, as they are without FFmpeg: the same samples give the
//! same colours. Other pixels (packed, of more bits, of a palette, with chroma of other kinds) are converted by swscale, told to be exact
//! (`accurate_rnd`, `full_chroma_int`, `full_chroma_inp`, `bitexact`, bilinear), with the same matrix and range. Alpha is dropped.

use super::frame::{Frame, Layout, layout};
use super::scaler::Scaler;
use crate::codec::container::Colour;
use crate::codec::video::color::{Matrix, Rows, to_rgb};
use crate::codec::video::picture::{Chroma, Picture, Plane, Planes};
use crate::error::{Fault, Reason};

/// What is kept between the frames of a clip.
#[derive(Default)]
pub(super) struct Converter {
    rows: Rows,
    scaler: Option<Scaler>,
}

/// What the formula needs to know of a frame.
fn colour(layout: &Layout, matrix: i32, range: i32, standard: bool) -> Colour {
    let full_range = match range {
        1 => Some(false),
        2 => Some(true),
        // RGB has no other range. Gray of a stream that could say so is limited, as its standard has it.
        _ => (layout.rgb || layout.gray && !standard).then_some(true),
    };
    let matrix = if layout.rgb { Some(0) } else { u8::try_from(matrix).ok().filter(|m| *m != 2) };
    Colour { matrix, full_range }
}

impl Converter {
    /// Writes a frame; `out` has just its size. `standard` says that the coding has a place for what its range is.
    pub(super) fn convert(&mut self, frame: &Frame, standard: bool, out: &mut [u8]) -> Result<(), Fault> {
        let facts = frame.facts();
        let layout = layout(facts.format)
            .ok_or_else(|| Fault::new(Reason::Unsupported, format!("ffmpeg: pixel format {}", facts.format)))?;
        let colour = colour(&layout, facts.matrix, facts.range, standard);
        // The formats whose name says that their range is full have it stated in no other place.
        let colour = Colour { full_range: colour.full_range.or(layout.full.then_some(true)), ..colour };
        let mut picture = Picture {
            width: facts.width,
            height: facts.height,
            left: 0,
            top: 0,
            coded: u64::from(facts.width) * u64::from(facts.height),
            depth: 8,
            chroma: Chroma::Full,
            colour,
        };
        let chroma = layout.planar.and_then(|(count, _, shifts)| match (count, shifts) {
            (1, _) => Some(Chroma::Mono),
            (_, (1, 1)) => Some(Chroma::Quarter),
            (_, (1, 0)) => Some(Chroma::Half),
            (_, (0, 1)) => Some(Chroma::HalfRows),
            (_, (0, 0)) => Some(Chroma::Full),
            _ => None,
        });
        if let Some((chroma, (_, depth, _), planes)) =
            chroma.zip(layout.planar).zip(frame.planes()).map(|((chroma, planar), planes)| (chroma, planar, planes))
        {
            (picture.chroma, picture.depth) = (chroma, depth);
            let matrix = Matrix::of(&picture, colour)?;
            let planes = if depth == 8 {
                Planes::Bytes(planes.map(|(samples, stride)| Plane { samples, stride }))
            } else {
                Planes::Pairs(planes.map(|(bytes, stride)| Plane { samples: bytes.as_chunks().0, stride: stride / 2 }))
            };
            picture.check(&planes)?;
            to_rgb(planes, &picture, &matrix, &mut self.rows, out);
            return Ok(());
        }
        // The matrices that there is a formula for are those that swscale knows.
        if !layout.rgb && !layout.gray {
            Matrix::of(&picture, colour)?;
        }
        let scaler = match self.scaler.take().filter(|scaler| scaler.fits(facts)) {
            Some(scaler) => self.scaler.insert(scaler),
            None => self.scaler.insert(Scaler::new(facts, colour.full_range == Some(true))?),
        };
        scaler.convert(frame, out)
    }
}
