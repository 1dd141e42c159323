//! Where a sample lands: its region of a batch, and the plain copy of finished media into it.

use super::each;
use crate::augment::{Elements, Media, Output};
use crate::data::tensor::{DType, Layout};
use crate::error::{Fault, Reason};

/// One sample's region of a batch. Every byte of it is written by [`Chain::run`](super::chain::Chain::run), padding included.
#[derive(Debug)]
pub struct SlotMut<'a> {
    /// The region, native endian; what is in it does not matter. `shape.product()` elements, or what `strides` make room for.
    pub bytes: &'a mut [u8],
    /// The padded shape of one sample, axis by axis at least the sample's own extents.
    pub shape: &'a [usize],
    /// The strides of the sample's axes, in elements. Empty: row-major without gaps.
    pub strides: &'a [usize],
    /// Where the numbers go that the column has beside its elements ([`Output::beside`]): so many for each place of the first
    /// axis of the padded shape.
    pub beside: Option<&'a mut [i64]>,
}

/// What a column has beside its elements: some numbers for each place of its first axis, delivered as a column of their
/// own, `NAME_suffix`, `[N, T]` or `[N, T, width]` i64.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Beside {
    /// What is put behind the column's name.
    pub suffix: &'static str,
    /// How many numbers a place has; for 1 there is no axis.
    pub width: usize,
    /// What stands there for padding.
    pub pad: i64,
}

impl Beside {
    /// Frames of a clip: when each is shown, in microseconds.
    pub const TIMES: Beside = Beside { suffix: "pts_us", width: 1, pad: NO_TIME };
    /// Tokens: where each begins and ends in the text.
    pub const OFFSETS: Beside = Beside { suffix: "offsets", width: 2, pad: 0 };
}

/// The presentation time of a frame that is padding.
pub const NO_TIME: i64 = i64::MIN;

impl SlotMut<'_> {
    /// Fills the slot of a sample that is not there: padding throughout.
    pub fn vacate(mut self, output: &Output) {
        fill(self.bytes, output.dtype, output.pad);
        if let (Some(numbers), Some(beside)) = (self.beside.as_deref_mut(), output.beside) {
            numbers.fill(beside.pad);
        }
    }

    /// Holds the slot against what is about to be written: `extents` elements of `dtype`, axis by axis.
    pub(super) fn check(&self, dtype: DType, extents: &[usize]) -> Result<(), Fault> {
        let room = self.shape.iter().try_fold(dtype.size(), |n, &d| n.checked_mul(d));
        let fits = extents.len() == self.shape.len() && extents.iter().zip(self.shape).all(|(e, s)| e <= s);
        // Rows, each of which ends before the next begins.
        let rows = self.strides.iter().zip(self.shape).try_fold(1usize, |behind, (stride, length)| {
            behind.checked_add(stride.checked_mul(length.saturating_sub(1))?)
        });
        let strided = self.strides.len() == self.shape.len()
            && self.strides.last() == Some(&1)
            && rows.and_then(|n| n.checked_mul(dtype.size())).is_some_and(|n| n <= self.bytes.len());
        if fits && (if self.strides.is_empty() { room == Some(self.bytes.len()) } else { strided }) {
            return Ok(());
        }
        Err(Fault::new(
            Reason::Corrupt,
            format!(
                "a sample of {} {extents:?} does not fit its slot of {:?} in {} bytes",
                dtype.name(),
                self.shape,
                self.bytes.len()
            ),
        ))
    }

    /// Fills the whole region with a value if some axis is padded; what is not padding is overwritten afterwards.
    pub(super) fn pad(&mut self, dtype: DType, extents: &[usize], value: f64) {
        if extents == self.shape {
            return;
        }
        fill(self.bytes, dtype, value);
    }

    /// Copies a sample of the slot's shape, row-major, to where the strides say; all else becomes padding.
    pub(super) fn spread(&mut self, sample: &[u8], output: &Output) {
        fill(self.bytes, output.dtype, output.pad);
        let size = output.dtype.size();
        let (Some(&length), Some(outer)) = (self.shape.last(), self.strides.len().checked_sub(1)) else { return };
        // Inner axes without gaps between them are copied at once.
        let (mut whole, mut piece) = (outer, length);
        while whole > 0 && self.strides[whole - 1] == piece {
            whole -= 1;
            piece *= self.shape[whole];
        }
        let piece = piece * size;
        let Some(inner) = whole.checked_sub(1) else {
            return self.bytes[..piece].copy_from_slice(&sample[..piece]);
        };
        let stride = (self.strides[inner] * size).max(1);
        let mut at = smallvec::SmallVec::<[usize; 4]>::from_elem(0, inner);
        for line in sample.chunks_exact((self.shape[inner] * piece).max(1)) {
            let start = at.iter().zip(self.strides).map(|(i, stride)| i * stride).sum::<usize>() * size;
            let to = self.bytes[start..].chunks_mut(stride).take(self.shape[inner]);
            match piece {
                3 => pieces::<3>(line, to),
                6 => pieces::<6>(line, to),
                12 => pieces::<12>(line, to),
                _ => line.chunks_exact(piece).zip(to).for_each(|(from, to)| to[..piece].copy_from_slice(from)),
            }
            for axis in (0..inner).rev() {
                at[axis] += 1;
                if at[axis] < self.shape[axis] {
                    break;
                }
                at[axis] = 0;
            }
        }
    }

    /// Writes the numbers beside the elements, of so many places on the first axis.
    pub(super) fn numbers(&mut self, beside: Option<Beside>, numbers: &[i64], places: usize) -> Result<(), Fault> {
        let (Some(out), Some(beside)) = (self.beside.as_deref_mut(), beside) else { return Ok(()) };
        if Some(numbers.len()) != places.checked_mul(beside.width) || numbers.len() > out.len() {
            return Err(Fault::new(
                Reason::Corrupt,
                format!("{} {} for {places} places and room for {}", numbers.len(), beside.suffix, out.len()),
            ));
        }
        let (own, rest) = out.split_at_mut(numbers.len());
        own.copy_from_slice(numbers);
        rest.fill(beside.pad);
        Ok(())
    }
}

/// Pixels, whose size the compiler knows.
fn pieces<'a, const B: usize>(line: &[u8], to: impl Iterator<Item = &'a mut [u8]>) {
    line.as_chunks::<B>().0.iter().zip(to).for_each(|(from, to)| to[..B].copy_from_slice(from));
}

pub(super) fn fill(bytes: &mut [u8], dtype: DType, value: f64) {
    if value == 0.0 {
        return bytes.fill(0);
    }
    match dtype {
        DType::U8 => bytes.fill(value as u8),
        DType::I8 => bytes.fill(value as i8 as u8),
        DType::Bool => bytes.fill(1),
        DType::F16 => bytes.as_chunks_mut::<2>().0.fill(half::f16::from_f32(value as f32).to_ne_bytes()),
        DType::BF16 => bytes.as_chunks_mut::<2>().0.fill(half::bf16::from_f32(value as f32).to_ne_bytes()),
        DType::F32 => bytes.as_chunks_mut::<4>().0.fill((value as f32).to_ne_bytes()),
        DType::F64 => bytes.as_chunks_mut::<8>().0.fill(value.to_ne_bytes()),
        DType::I64 => bytes.as_chunks_mut::<8>().0.fill((value as i64).to_ne_bytes()),
    }
}

/// The element type and shape of some media as they stand in a batch; text has none.
pub(super) fn shape_of(media: &Media) -> Option<(DType, Vec<usize>)> {
    match media {
        Media::Raster(r) => {
            let mut shape = match r.layout {
                Layout::Nhwc => vec![r.frames, r.height, r.width, 3],
                Layout::Nchw => vec![r.frames, 3, r.height, r.width],
            };
            if r.still {
                shape.remove(0);
            }
            Some((r.data.dtype(), shape))
        }
        Media::Wave(wave) => Some((DType::F32, wave.shape())),
        Media::Text(_) => None,
        Media::Tensor { data, shape } => Some((data.dtype(), shape.clone())),
        Media::Tokens { ids, .. } => Some((DType::I64, vec![ids.len()])),
    }
}

impl Elements {
    /// The type of the elements.
    pub fn dtype(&self) -> DType {
        match self {
            Elements::U8(_) => DType::U8,
            Elements::I8(_) => DType::I8,
            Elements::F16(_) => DType::F16,
            Elements::BF16(_) => DType::BF16,
            Elements::F32(_) => DType::F32,
            Elements::I64(_) => DType::I64,
        }
    }

    /// How many elements there are.
    pub fn len(&self) -> usize {
        each!(self, v => v.len())
    }

    /// All elements, native endian.
    fn bytes(&self) -> &[u8] {
        each!(self, v => bytemuck::cast_slice(v))
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Copies the elements `from..` into `to`, as many as fit in it, native endian.
    fn copy(&self, from: usize, to: &mut [u8]) {
        let from = from * self.dtype().size();
        to.copy_from_slice(&self.bytes()[from..from + to.len()]);
    }
}

/// Copies row-major elements of the given extents into a slot of a shape that is at least as large on each axis.
pub(super) fn place(data: &Elements, extents: &[usize], slot: &mut SlotMut<'_>, pad: f64) -> Result<(), Fault> {
    let dtype = data.dtype();
    slot.check(dtype, extents)?;
    if Some(data.len()) != extents.iter().try_fold(1usize, |n, &e| n.checked_mul(e)) {
        return Err(Fault::new(Reason::Corrupt, format!("{} elements do not make a shape of {extents:?}", data.len())));
    }
    slot.pad(dtype, extents, pad);
    rows(data, extents, slot.shape, dtype.size(), &mut 0, slot.bytes);
    Ok(())
}

/// Copies axis by axis; `at` counts the elements that are done.
fn rows(data: &Elements, extents: &[usize], shape: &[usize], size: usize, at: &mut usize, out: &mut [u8]) {
    if extents == shape || extents.len() <= 1 {
        let n: usize = extents.iter().product();
        data.copy(*at, &mut out[..n * size]);
        *at += n;
        return;
    }
    let stride = shape[1..].iter().product::<usize>() * size;
    for i in 0..extents[0] {
        rows(data, &extents[1..], &shape[1..], size, at, &mut out[i * stride..(i + 1) * stride]);
    }
}

/// Row-major elements as bytes, native endian.
pub(super) fn into_bytes(data: Elements) -> Vec<u8> {
    match data {
        Elements::U8(v) => v,
        other => other.bytes().to_vec(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn padding_is_written_on_every_axis() {
        let data = Elements::I64(vec![1, 2, 3, 4]);
        let mut bytes = vec![0xAA; 3 * 3 * 8];
        let mut slot = SlotMut { bytes: &mut bytes, shape: &[3, 3], strides: &[], beside: None };
        place(&data, &[2, 2], &mut slot, -1.0).unwrap();
        let got: Vec<i64> = bytes.as_chunks::<8>().0.iter().map(|c| i64::from_ne_bytes(*c)).collect();
        assert_eq!(got, [1, 2, -1, 3, 4, -1, -1, -1, -1]);
        assert_eq!(into_bytes(data).len(), 32);
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let mut bytes = vec![0; 8];
        let mut slot = SlotMut { bytes: &mut bytes, shape: &[2], strides: &[], beside: None };
        assert!(place(&Elements::F32(vec![0.0; 3]), &[3], &mut slot, 0.0).is_err());
        assert!(place(&Elements::F32(vec![0.0; 2]), &[1], &mut slot, 0.0).is_err());
        assert!(place(&Elements::I64(vec![0; 2]), &[2], &mut slot, 0.0).is_err());
    }
}
