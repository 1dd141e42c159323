//! Pictures of AV1 that stand alone, for AVIF: decoded onto a surface, whose chroma is then interpolated.
//!
//! Chroma lies between the pixels that share it (as libavif and libyuv take it, whatever `chroma_sample_position` says): each
//! pixel gets 3/4 of the nearer sample and 1/4 of the farther one in either direction, to the nearest whole number. Then as of
//! clips ([`super::color`]).

use super::av1;
use super::color::{Matrix, Rows, to_rgb};
use super::picture::{Chroma, Picture, Plane, Planes};
use super::stream::{Setup, Stream};
use crate::codec::Limits;
use crate::codec::container::Colour;
use crate::error::{Fault, Reason};

/// Pictures in one still item; encoders that code in layers have up to four.
const MOST_PICTURES: u64 = 8;

/// A picture whose headers have been read.
pub(in crate::codec) struct Still {
    stream: Box<dyn Stream>,
    picture: Picture,
}

impl Still {
    /// Reads the headers of an item's data, and of its `AV1CodecConfigurationRecord`, if it has one.
    pub(in crate::codec) fn open(record: &[u8], data: &[u8], limits: &Limits) -> Result<Self, Fault> {
        let stream = av1::open(Setup { record, first: Some(data), limits })?;
        let picture = stream.picture();
        Ok(Still { stream, picture })
    }

    /// Pixels across and down.
    pub(in crate::codec) fn size(&self) -> (u32, u32) {
        (self.picture.width, self.picture.height)
    }

    /// 1 for gray, else 3.
    pub(in crate::codec) fn channels(&self) -> u32 {
        if self.picture.chroma == Chroma::Mono { 1 } else { 3 }
    }

    /// Bytes that decoding it onto a surface of so many pixels holds.
    pub(in crate::codec) fn memory(&self, pixels: u64) -> u64 {
        self.stream.memory().saturating_add(self.picture.chroma.samples(pixels).saturating_mul(2))
    }

    /// A surface of this picture's format.
    pub(in crate::codec) fn surface(&self, (width, height): (u32, u32)) -> Surface {
        let picture = Picture { width, height, left: 0, top: 0, ..self.picture };
        let mut surface = Surface { picture, planes: Default::default() };
        for n in 0..if self.picture.chroma == Chroma::Mono { 1 } else { 3 } {
            let (width, height) = surface.size(n);
            surface.planes[n] = vec![0; width * height];
        }
        surface
    }

    /// Decodes the picture and puts it onto a surface of its format, its upper left pixel at a place whose coordinates are
    /// whole chroma samples; what of it lies outside is not seen.
    pub(in crate::codec) fn draw(&self, data: &[u8], surface: &mut Surface, at: (u32, u32)) -> Result<(), Fault> {
        let (depth, chroma) = (surface.picture.depth, surface.picture.chroma);
        if (self.picture.depth, self.picture.chroma) != (depth, chroma) {
            return Err(Fault::new(Reason::Corrupt, "AV1: the parts of a picture have different formats"));
        }
        let mut decoder = self.stream.decoder()?;
        let cost = decoder.read(0, data)?.cost;
        if cost > MOST_PICTURES {
            return Err(Fault::new(Reason::Unsupported, format!("AV1: a picture of {cost} layers")));
        }
        let mut drawn = false;
        let known = self.picture;
        let mut take = |_: usize, planes: Planes<'_>| {
            known.check(&planes)?;
            surface.put(&known, planes, at);
            drawn = true;
            Ok(())
        };
        decoder.decode(0, data, &mut take)?;
        decoder.drain(&mut take)?;
        if drawn { Ok(()) } else { Err(Fault::new(Reason::Truncated, "AV1: the data holds no picture")) }
    }
}

/// Planes that pictures are put onto, samples in the low bits.
pub(in crate::codec) struct Surface {
    picture: Picture,
    planes: [Vec<u16>; 3],
}

impl Surface {
    /// Samples across and down of a plane.
    fn size(&self, plane: usize) -> (usize, usize) {
        let (x, y) = if plane == 0 { (0, 0) } else { self.picture.chroma.shifts() };
        ((self.picture.width as usize).div_ceil(1 << x), (self.picture.height as usize).div_ceil(1 << y))
    }

    fn put(&mut self, of: &Picture, planes: Planes<'_>, at: (u32, u32)) {
        match planes {
            Planes::Bytes(planes) => self.copy(of, planes, at, u16::from),
            Planes::Words(planes) => self.copy(of, planes, at, |sample| sample),
            Planes::Pairs(planes) => self.copy(of, planes, at, u16::from_le_bytes),
            Planes::Rgb(_) => {}
        }
    }

    fn copy<S: Copy>(
        &mut self,
        of: &Picture,
        planes: [Plane<'_, S>; 3],
        at: (u32, u32),
        value: impl Fn(S) -> u16 + Copy,
    ) {
        let count = if of.chroma == Chroma::Mono { 1 } else { 3 };
        for (n, plane) in planes.iter().enumerate().take(count) {
            let (x, y) = if n == 0 { (0, 0) } else { of.chroma.shifts() };
            let (across, down) = self.size(n);
            let (left, top) = ((at.0 as usize >> x).min(across), (at.1 as usize >> y).min(down));
            let width = (of.width as usize).div_ceil(1 << x).min(across - left);
            let height = (of.height as usize).div_ceil(1 << y).min(down - top);
            for row in 0..height {
                let to = &mut self.planes[n][(top + row) * across + left..][..width];
                to.iter_mut().zip(plane.row(row, 0, width)).for_each(|(to, from)| *to = value(*from));
            }
        }
    }

    /// Writes the surface as RGB8. What `colour` leaves open the stream says.
    pub(in crate::codec) fn rgb(&self, colour: Colour, out: &mut [u8]) -> Result<(), Fault> {
        let said = self.picture.colour;
        let mono = self.picture.chroma == Chroma::Mono;
        let matrix = if mono { None } else { colour.matrix.or(said.matrix) };
        let colour = Colour { matrix, full_range: colour.full_range.or(said.full_range) };
        let matrix = Matrix::of(&self.picture, colour)?;
        let width = self.picture.width as usize;
        // Row by row: its luma, and its chroma made as wide.
        let chroma = if mono { Chroma::Mono } else { Chroma::Full };
        let picture = Picture { height: 1, chroma, ..self.picture };
        let (mut rows, mut wide) = (Rows::default(), [vec![0u16; width], vec![0u16; width]]);
        for (y, out) in out.chunks_exact_mut((width * 3).max(1)).enumerate() {
            if !mono {
                wide.iter_mut().enumerate().for_each(|(n, wide)| self.chroma_row(n + 1, y, wide));
            }
            let plane = |samples| Plane { samples, stride: width };
            let luma = &self.planes[0][y * width..][..width];
            let planes = Planes::Words([plane(luma), plane(&wide[0]), plane(&wide[1])]);
            to_rgb(planes, &picture, &matrix, &mut rows, out);
        }
        Ok(())
    }

    /// The chroma of a row of pixels.
    fn chroma_row(&self, plane: usize, y: usize, out: &mut [u16]) {
        let (x_shift, y_shift) = self.picture.chroma.shifts();
        let (across, down) = self.size(plane);
        let row = |y: usize| &self.planes[plane][y * across..][..across];
        // The nearer sample, and the farther one on the other side, which at an edge is the same.
        let near = |at: usize, shift: u32, count: usize| match shift {
            0 => (at, at),
            _ if at.is_multiple_of(2) => (at / 2, (at / 2).saturating_sub(1)),
            _ => (at / 2, (at / 2 + 1).min(count - 1)),
        };
        let (y0, y1) = near(y, y_shift, down);
        let (upper, lower) = (row(y0), row(y1));
        for (x, out) in out.iter_mut().enumerate() {
            let (x0, x1) = near(x, x_shift, across);
            let mix = |row: &[u16]| 3 * u32::from(row[x0]) + u32::from(row[x1]);
            *out = match (x_shift, y_shift) {
                (0, 0) => upper[x],
                (_, 0) => ((mix(upper) + 2) >> 2) as u16,
                _ => ((3 * mix(upper) + mix(lower) + 8) >> 4) as u16,
            };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chroma_is_interpolated_between_its_samples() {
        let picture = |chroma, width, height| Picture {
            width,
            height,
            left: 0,
            top: 0,
            coded: 64,
            depth: 8,
            chroma,
            colour: Colour::default(),
        };
        let surface = |chroma, width, height, samples: &[u16]| Surface {
            picture: picture(chroma, width, height),
            planes: [vec![0; (width * height) as usize], samples.to_vec(), samples.to_vec()],
        };
        let row = |s: &Surface, y| {
            let mut out = vec![0; s.picture.width as usize];
            s.chroma_row(1, y, &mut out);
            out
        };
        let half = surface(Chroma::Half, 5, 1, &[0, 100, 40]);
        assert_eq!(row(&half, 0), [0, 25, 75, 85, 55], "an odd width ends between");
        let quarter = surface(Chroma::Quarter, 4, 3, &[0, 160, 80, 240]);
        assert_eq!(row(&quarter, 0), [0, 40, 120, 160]);
        assert_eq!(row(&quarter, 1), [20, 60, 140, 180]);
        assert_eq!(row(&quarter, 2), [60, 100, 180, 220]);
        assert_eq!(row(&surface(Chroma::Full, 3, 1, &[5, 6, 7]), 0), [5, 6, 7]);
        assert_eq!(row(&surface(Chroma::Quarter, 1, 1, &[9]), 0), [9]);
    }
}
