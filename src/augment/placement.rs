//! How the samples of a column lie in memory, where an accelerator wants more than elements without gaps.

use smallvec::SmallVec;

use super::Spec;
use crate::data::info::Fact;
use crate::data::tensor::{Extent, Layout};

/// Room and alignment of a dense column. The default: row-major without gaps, padded to the batch's longest.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Placement {
    /// For each axis of a sample: what a batch pads its length to a multiple of. Empty: 1.
    pub multiples: SmallVec<[usize; 4]>,
    /// For each axis of a sample: there is room for a multiple of so many. Empty: 1.
    pub room: SmallVec<[usize; 4]>,
    /// A row begins at a multiple of so many bytes from the buffer's begin, a power of two. 0: wherever the one before it ends.
    pub row_align: usize,
    /// The innermost axes that make a row: two of pictures with channels last, else one.
    pub row_axes: usize,
}

impl Placement {
    /// Of samples of this kind: channels of pictures padded to a multiple, rows aligned to bytes, and axes that differ between
    /// samples (height and width of pictures and clips, not their frames) padded to a multiple. 1 and 0 ask for nothing.
    pub fn of(output: &Spec, pad_channels: usize, row_align: usize, pad_multiple: usize) -> Self {
        let Some((_, shape)) = output.output() else { return Placement::default() };
        let axes = shape.len();
        let (channel, row_axes, first) = match output {
            Spec::Raster { layout: Layout::Nhwc, .. } => (Some(axes - 1), 2, axes - 3),
            Spec::Raster { layout: Layout::Nchw, .. } => (Some(axes - 3), 1, axes - 2),
            _ => (None, 1, 0),
        };
        let padded =
            |axis: usize| axis >= first && !matches!(shape[axis], Extent::Fixed(_) | Extent::Bounded(Fact::Channels));
        let made = |by: usize, of: &dyn Fn(usize) -> bool| -> SmallVec<[usize; 4]> {
            let all = (0..axes).map(|axis| if of(axis) { by } else { 1 });
            if by > 1 { all.collect() } else { SmallVec::new() }
        };
        Placement {
            multiples: made(pad_multiple, &padded),
            room: made(pad_channels, &|axis| Some(axis) == channel),
            row_align,
            row_axes: if row_align > 0 { row_axes } else { 0 },
        }
    }

    /// The length that a batch pads an axis to, whose longest is `length`.
    pub fn padded(&self, axis: usize, length: usize) -> usize {
        let multiple = self.multiples.get(axis).copied().unwrap_or(1);
        length.checked_next_multiple_of(multiple).unwrap_or(usize::MAX)
    }

    /// The strides of a column of samples of this shape in elements of `size` bytes, N first; empty where it is row-major
    /// without gaps. `None`: beyond what can be counted.
    pub fn strides(&self, shape: &[usize], size: usize) -> Option<SmallVec<[usize; 5]>> {
        let mut strides: SmallVec<[usize; 5]> = SmallVec::from_elem(1, shape.len() + 1);
        let (mut plain, mut exact) = (1usize, true);
        let mut stride = 1usize;
        for axis in (0..shape.len()).rev() {
            strides[axis + 1] = stride;
            let room = self.room.get(axis).copied().unwrap_or(1);
            stride = stride.checked_mul(shape[axis].checked_next_multiple_of(room)?)?;
            plain = plain.checked_mul(shape[axis])?;
            if self.row_align > 0 && shape.len() - axis == self.row_axes.min(shape.len()) {
                stride = stride.checked_next_multiple_of((self.row_align / size).max(1))?;
            }
            exact &= stride == plain;
        }
        strides[0] = stride;
        if exact {
            strides.clear();
        }
        Some(strides)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::tensor::DType;

    #[test]
    fn strides_leave_the_room_that_was_asked_for() {
        let picture = |layout| Spec::Raster {
            frames: None,
            height: Extent::Bounded(Fact::Height),
            width: Extent::Fixed(5),
            channels: 3,
            dtype: DType::U8,
            layout,
        };
        let strides = |spec: &Spec, channels, align, shape: &[usize], size| {
            Placement::of(spec, channels, align, 1).strides(shape, size).unwrap().to_vec()
        };
        let (last, first) = (picture(Layout::Nhwc), picture(Layout::Nchw));
        assert_eq!(strides(&last, 1, 0, &[4, 5, 3], 1), [0; 0]);
        assert_eq!(strides(&last, 4, 0, &[4, 5, 3], 1), [80, 20, 4, 1]);
        assert_eq!(strides(&last, 1, 16, &[4, 5, 3], 1), [64, 16, 3, 1]);
        assert_eq!(strides(&last, 4, 64, &[4, 5, 3], 4), [128, 32, 4, 1]);
        assert_eq!(strides(&first, 1, 16, &[3, 4, 5], 2), [96, 32, 8, 1]);
        assert_eq!(strides(&first, 8, 0, &[3, 4, 5], 2), [160, 20, 5, 1]);
        assert_eq!(strides(&first, 1, 8, &[3, 4, 8], 1), [0; 0]);
        // Elements wider than the alignment are aligned as they are.
        assert_eq!(strides(&first, 1, 2, &[3, 4, 5], 4), [0; 0]);
        let wave = Spec::Wave { rate: None, channels: None, samples: Extent::Bounded(Fact::Count) };
        assert_eq!(strides(&wave, 1, 64, &[17], 4), [32, 1]);
        let placement = Placement::of(&last, 1, 0, 32);
        assert_eq!([placement.padded(0, 33), placement.padded(1, 5), placement.padded(2, 3)], [64, 5, 3]);
        assert_eq!(Placement::of(&last, 4, 1 << 12, 1).strides(&[usize::MAX / 2, 5, 3], 1), None);
    }
}
