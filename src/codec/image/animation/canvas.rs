//! The canvas that frames are drawn on, one on top of the other.

use crate::codec::Rect;
use crate::error::{Fault, Reason};

/// The frames of a file in their order.
pub(super) trait Frames {
    /// Draws the next frame; `false` behind the last.
    fn draw(&mut self, canvas: &mut Canvas) -> Result<bool, Fault>;
}

/// How a frame's pixels meet those below.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Blend {
    /// They take their place.
    Source,
    /// Those without any alpha leave what is below, the others take its place (GIF).
    Mask,
    /// Over what is below, to the nearest (PNG).
    Over,
    /// Over what is below, in the whole numbers of libwebp's `WebPAnimDecoder`.
    WebpOver,
}

/// What becomes of a frame's region before the next one is drawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum After {
    /// It stays.
    Keep,
    /// It gets a colour (RGBA).
    Fill([u8; 4]),
    /// It becomes again what it was.
    Previous,
}

/// Pixels with alpha, not premultiplied.
#[derive(Debug)]
pub(super) struct Canvas {
    width: usize,
    height: usize,
    pixels: Vec<[u8; 4]>,
    /// What is to be done first: where, and to what.
    pending: Option<(Rect, After)>,
    /// What was in the region before.
    saved: Vec<[u8; 4]>,
}

impl Canvas {
    /// Transparent throughout.
    pub(super) fn new((width, height): (u32, u32)) -> Self {
        let (width, height) = (width as usize, height as usize);
        Canvas { width, height, pixels: vec![[0; 4]; width * height], pending: None, saved: Vec::new() }
    }

    /// Draws a frame of RGBA pixels; what of it lies outside is not seen.
    pub(super) fn draw(&mut self, at: Rect, rgba: &[u8], blend: Blend, after: After) -> Result<(), Fault> {
        let frame = rgba.as_chunks::<4>().0;
        let stride = at.width as usize;
        if frame.len() < stride * at.height as usize {
            return Err(Fault::new(Reason::Corrupt, "a frame has fewer pixels than its size says"));
        }
        self.settle();
        let (x, y) = ((at.x as usize).min(self.width), (at.y as usize).min(self.height));
        let (width, height) = (stride.min(self.width - x), (at.height as usize).min(self.height - y));
        let seen = Rect { x: x as u32, y: y as u32, width: width as u32, height: height as u32 };
        self.saved.clear();
        for row in 0..height {
            let from = &frame[row * stride..][..width];
            let to = &mut self.pixels[(y + row) * self.width + x..][..width];
            if after == After::Previous {
                self.saved.extend_from_slice(to);
            }
            for (to, from) in to.iter_mut().zip(from) {
                *to = blended(*from, *to, blend);
            }
        }
        self.pending = Some((seen, after));
        Ok(())
    }

    /// Disposes of the last frame.
    fn settle(&mut self) {
        let Some((Rect { x, y, width, height }, after)) = self.pending.take() else { return };
        for row in 0..height as usize {
            let to = &mut self.pixels[(y as usize + row) * self.width + x as usize..][..width as usize];
            match after {
                After::Keep => return,
                After::Fill(colour) => to.fill(colour),
                After::Previous => to.copy_from_slice(&self.saved[row * width as usize..][..width as usize]),
            }
        }
    }

    /// Writes what is to be seen as RGB8.
    pub(super) fn show(&self, out: &mut [u8]) {
        for (to, &[r, g, b, alpha]) in out.as_chunks_mut::<3>().0.iter_mut().zip(&self.pixels) {
            *to = if alpha == 0 { [0; 3] } else { [r, g, b] };
        }
    }
}

#[inline]
fn blended(from: [u8; 4], below: [u8; 4], blend: Blend) -> [u8; 4] {
    match (blend, from[3]) {
        (Blend::Source, _) | (_, 255) => from,
        (_, 0) => below,
        (Blend::Mask, _) => from,
        (Blend::Over, _) => over(from, below),
        (Blend::WebpOver, _) => webp_over(from, below),
    }
}

/// Porter and Duff's "over" without premultiplication (PNG, third edition, 13.16), each value to the nearest.
fn over(from: [u8; 4], below: [u8; 4]) -> [u8; 4] {
    // In 255ths of 255ths.
    let above = u32::from(from[3]) * 255;
    let rest = u32::from(below[3]) * (255 - u32::from(from[3]));
    let all = above + rest;
    let mix = |c: usize| ((u32::from(from[c]) * above + u32::from(below[c]) * rest + all / 2) / all) as u8;
    [mix(0), mix(1), mix(2), ((all + 127) / 255) as u8]
}

/// The same as libwebp has it: factors rounded down.
fn webp_over(from: [u8; 4], below: [u8; 4]) -> [u8; 4] {
    let above = u32::from(from[3]);
    let rest = (u32::from(below[3]) * (256 - above)) >> 8;
    let scale = (1 << 24) / (above + rest);
    let mix = |c: usize| (((u32::from(from[c]) * above + u32::from(below[c]) * rest) * scale) >> 24) as u8;
    [mix(0), mix(1), mix(2), (above + rest) as u8]
}

#[cfg(test)]
mod tests {
    use super::*;

    const RED: [u8; 4] = [255, 0, 0, 255];
    const CLEAR: [u8; 4] = [9, 9, 9, 0];

    fn shown(canvas: &Canvas) -> Vec<u8> {
        let mut out = vec![7; canvas.pixels.len() * 3];
        canvas.show(&mut out);
        out.as_chunks::<3>().0.iter().map(|p| p[0]).collect()
    }

    #[test]
    fn regions_are_kept_filled_and_restored() {
        let mut canvas = Canvas::new((3, 2));
        let rect = |x, y, width, height| Rect { x, y, width, height };
        canvas.draw(rect(0, 0, 3, 1), &[1, 1, 1, 255].repeat(3), Blend::Mask, After::Keep).unwrap();
        assert_eq!(shown(&canvas), [1, 1, 1, 0, 0, 0]);
        let frame = [RED, CLEAR, RED, RED].concat();
        canvas.draw(rect(1, 0, 2, 2), &frame, Blend::Mask, After::Previous).unwrap();
        assert_eq!(shown(&canvas), [1, 255, 1, 0, 255, 255]);
        canvas.draw(rect(2, 1, 9, 9), &RED.repeat(81), Blend::Source, After::Fill([5, 5, 5, 255])).unwrap();
        assert_eq!(shown(&canvas), [1, 1, 1, 0, 0, 255]);
        canvas.draw(rect(0, 0, 1, 1), &CLEAR, Blend::Source, After::Keep).unwrap();
        assert_eq!(shown(&canvas), [0, 1, 1, 0, 0, 5], "what is not there is black");
        canvas.draw(rect(7, 7, 1, 1), &RED, Blend::Source, After::Previous).unwrap();
        assert!(canvas.draw(rect(0, 0, 2, 2), &RED, Blend::Source, After::Keep).is_err());
    }

    /// Both ways of "over" against the formula in real numbers: to the nearest, and rounded down by less than 2.
    #[test]
    fn over_is_the_formula() {
        for (a, b) in (1..=255u8).step_by(3).flat_map(|a| (0..=255u8).step_by(5).map(move |b| (a, b))) {
            for (s, d) in [(0, 255), (255, 0), (10, 200), (77, 78)] {
                let (fa, fb) = (f64::from(a) / 255.0, f64::from(b) / 255.0 * (1.0 - f64::from(a) / 255.0));
                let exact = (f64::from(s) * fa + f64::from(d) * fb) / (fa + fb);
                let nearest = blended([s, s, s, a], [d, d, d, b], Blend::Over);
                assert!((f64::from(nearest[0]) - exact).abs() <= 0.5001, "{a} {b} {s} {d}");
                assert!((f64::from(nearest[3]) - (fa + fb) * 255.0).abs() <= 0.5001, "{a} {b}");
                let webp = blended([s, s, s, a], [d, d, d, b], Blend::WebpOver);
                assert!((f64::from(webp[3]) - (fa + fb) * 255.0).abs() < 2.0, "{a} {b}: {webp:?}");
            }
        }
        assert_eq!(blended(RED, [1; 4], Blend::WebpOver), RED);
        assert_eq!(blended(CLEAR, [1; 4], Blend::WebpOver), [1; 4]);
    }
}
