//! Antialiased bilinear resizing of RGB8 by `fast_image_resize`, within one level of Pillow's `BILINEAR`.
//!
//! The resizer sees a *sub-view* of the region, never a crop box: a box would let the filter read pixels beside the region,
//! which Pillow's and torchvision's crop-then-resize does not.

use fast_image_resize::images::{TypedCroppedImage, TypedImage, TypedImageRef};
use fast_image_resize::pixels::U8x3;
use fast_image_resize::{FilterType, ResizeAlg, ResizeOptions, Resizer};

use crate::codec::Rect;
use crate::error::{Fault, Reason};

/// A thread's resizer and the buffers between resizes.
#[derive(Debug, Default)]
pub(super) struct Scaler {
    resizer: Resizer,
    /// Pixels of the last resize, of the one before, and of a mirrored region.
    pub(super) front: Vec<u8>,
    pub(super) back: Vec<u8>,
    pub(super) turned: Vec<u8>,
}

impl Scaler {
    /// Resizes a region of an RGB8 picture `(bytes, width, height)` to `(width, height)`. `out` becomes exactly the result.
    pub(super) fn resize(
        &mut self,
        picture: (&[u8], usize, usize),
        rect: Rect,
        to: (u32, u32),
        out: &mut Vec<u8>,
    ) -> Result<(), Fault> {
        let wrong = |e: &dyn std::fmt::Display| Fault::new(Reason::Corrupt, format!("resize: {e}"));
        let side = |n: usize| u32::try_from(n).map_err(|e| wrong(&e));
        let source = TypedImageRef::<U8x3>::from_buffer(side(picture.1)?, side(picture.2)?, picture.0);
        let source = source.map_err(|e| wrong(&e))?;
        let source = TypedCroppedImage::from_ref(&source, rect.x, rect.y, rect.width, rect.height);
        let source = source.map_err(|e| wrong(&e))?;
        out.resize(to.0 as usize * to.1 as usize * 3, 0);
        let mut target = TypedImage::<U8x3>::from_buffer(to.0, to.1, out).map_err(|e| wrong(&e))?;
        let options = ResizeOptions::new().resize_alg(ResizeAlg::Convolution(FilterType::Bilinear)).use_alpha(false);
        self.resizer.resize_typed(&source, &mut target, &options).map_err(|e| wrong(&e))
    }
}

#[cfg(test)]
mod tests {
    use fast_image_resize::CpuExtensions;

    use super::*;

    /// Law 1: pixels are bit-equal on every CPU.
    #[test]
    fn every_simd_level_gives_the_same_pixels() {
        let levels = [
            CpuExtensions::None,
            #[cfg(target_arch = "x86_64")]
            CpuExtensions::Sse4_1,
            #[cfg(target_arch = "x86_64")]
            CpuExtensions::Avx2,
            #[cfg(target_arch = "aarch64")]
            CpuExtensions::Neon,
        ];
        let supported: Vec<_> = levels.into_iter().filter(CpuExtensions::is_supported).collect();
        let mut stream = crate::rng::Key::new(11).stream();
        let mut compared = 0;
        for _ in 0..60 {
            let mut side = |most: u64| 1 + stream.below(most) as u32;
            let (width, height, to) = (side(190), side(190), (side(150), side(150)));
            let pixels: Vec<u8> = (0..width * height * 3).map(|_| stream.next_u64() as u8).collect();
            let rect = Rect { x: width / 7, y: height / 5, width: width - width / 7, height: height - height / 5 };
            let mut reference: Option<Vec<u8>> = None;
            for level in &supported {
                let mut scaler = Scaler::default();
                // SAFETY: only levels that this CPU supports.
                unsafe { scaler.resizer.set_cpu_extensions(*level) };
                let mut out = Vec::new();
                scaler.resize((&pixels, width as usize, height as usize), rect, to, &mut out).unwrap();
                match &reference {
                    None => reference = Some(out),
                    Some(reference) => {
                        assert_eq!(&out, reference, "{width}x{height} to {to:?} at {level:?}");
                        compared += 1;
                    }
                }
            }
        }
        assert!(supported.len() == 1 || compared >= 60, "{compared} comparisons over {supported:?}");
    }
}
