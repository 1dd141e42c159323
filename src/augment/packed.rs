//! Stored tensors to elements and back.

use smallvec::SmallVec;

use super::chain::{Chain, Drawn, Job};
use super::slot::{self, SlotMut};
use super::{Elements, Media, Output, Tools};
use crate::clock::Mark;
use crate::codec::{Decoded, Want, decode_shown};
use crate::data::info::Info;
use crate::data::packed::{Packed, TensorType};
use crate::error::{Fault, Reason};

/// The lengths of a tensor's axes in a payload with these facts, which has just so many bytes.
fn lengths(tensor: &TensorType, bytes: &[u8], info: &Info) -> Result<Vec<usize>, Fault> {
    let shape = tensor.lengths(info);
    let size = shape.iter().try_fold(tensor.dtype.size(), |n, axis| n.checked_mul(*axis));
    if size != Some(bytes.len()) {
        let what = format!("{} bytes of {}, its facts say {shape:?}", bytes.len(), tensor.told());
        return Err(Fault::new(Reason::Corrupt, what));
    }
    Ok(shape)
}

/// The tensor in a payload with these facts.
pub(super) fn unpacked(tensor: &TensorType, bytes: &[u8], info: &Info) -> Result<Media, Fault> {
    let shape = lengths(tensor, bytes, info)?;
    fn all<T: bytemuck::Pod>(dtype: Packed, stored: &[u8]) -> Vec<T> {
        let mut made = vec![T::zeroed(); stored.len() / dtype.size()];
        widen(dtype, stored, bytemuck::cast_slice_mut(&mut made));
        made
    }
    let of = tensor.dtype;
    let data = match of {
        Packed::U8 => Elements::U8(all(of, bytes)),
        Packed::I8 => Elements::I8(all(of, bytes)),
        Packed::U16 | Packed::I32 | Packed::U32 | Packed::I64 => Elements::I64(all(of, bytes)),
        Packed::F16 => Elements::F16(all(of, bytes)),
        Packed::BF16 => Elements::BF16(all(of, bytes)),
        Packed::F32 => Elements::F32(all(of, bytes)),
    };
    Ok(Media::Tensor { data, shape })
}

impl Chain {
    /// Writes a tensor that no operation changes from the payload into its slot. `None`: this chain is another, or the slot is padded on an axis other than the
    /// first; nothing was done.
    pub(super) fn run_stored(
        &self,
        drawn: &Drawn,
        job: Job<'_>,
        tools: &mut Tools,
        slot: &mut SlotMut<'_>,
        output: &Output,
        extents: &[usize],
    ) -> Result<Option<SmallVec<[usize; 4]>>, Fault> {
        let Some(tensor) = self.tensor.as_ref().filter(|_| self.fuse && self.steps.is_empty()) else { return Ok(None) };
        if output.beside.is_some() || extents.get(1..) != slot.shape.get(1..) {
            return Ok(None);
        }
        let mark = Mark::now();
        let decoded = decode_shown(job.codec, job.payload, Want::Whole, &drawn.source, job.limits, &mut tools.scratch)?;
        tools.decode_nanos += mark.nanos();
        let Decoded::Elements(bytes) = decoded else {
            return Err(Fault::new(Reason::WrongMedia, "the payload holds no tensor"));
        };
        let made = SmallVec::from_vec(lengths(tensor, bytes, &drawn.source)?);
        let dtype = tensor.dtype.dtype();
        if dtype != output.dtype || made.as_slice() != extents {
            return Err(super::chain::unlike(&Some((dtype, made.to_vec())), Some((output.dtype, extents))));
        }
        let (own, rest) = slot.bytes.split_at_mut(made.iter().product::<usize>() * dtype.size());
        widen(tensor.dtype, bytes, own);
        slot::fill(rest, dtype, output.pad);
        Ok(Some(made))
    }
}

/// Writes stored elements as they are delivered ([`Packed::dtype`], native endian) to `out`, which has room for just them.
pub(crate) fn widen(dtype: Packed, stored: &[u8], out: &mut [u8]) {
    fn each<const N: usize>(stored: &[u8], out: &mut [u8], of: impl Fn([u8; N]) -> i64) {
        let out = out.as_chunks_mut::<8>().0;
        stored.as_chunks().0.iter().zip(out).for_each(|(stored, out)| *out = of(*stored).to_ne_bytes());
    }
    match dtype {
        Packed::U16 => each(stored, out, |b| u16::from_le_bytes(b).into()),
        Packed::I32 => each(stored, out, |b| i32::from_le_bytes(b).into()),
        Packed::U32 => each(stored, out, |b| u32::from_le_bytes(b).into()),
        _ if cfg!(target_endian = "little") => out.copy_from_slice(stored),
        _ => stored.chunks_exact(dtype.size()).zip(out.chunks_exact_mut(dtype.size())).for_each(|(stored, out)| {
            out.copy_from_slice(stored);
            out.reverse();
        }),
    }
}

/// Elements of a type's [`Packed::dtype`], given row-major and native endian, as they are stored. A whole number that the type
/// does not hold is a fault.
pub fn packed(dtype: Packed, elements: &[u8]) -> Result<Vec<u8>, Fault> {
    let integers = || elements.as_chunks().0.iter().map(|b| i64::from_ne_bytes(*b));
    if let (Packed::U16 | Packed::I32 | Packed::U32, Some((low, high))) = (dtype, dtype.range())
        && let Some(other) = integers().find(|v| !(low..=high).contains(v))
    {
        return Err(Fault::new(Reason::OverLimit, format!("{other} does not fit into {}", dtype.name())));
    }
    Ok(match dtype {
        Packed::U16 => integers().flat_map(|v| (v as u16).to_le_bytes()).collect(),
        Packed::I32 | Packed::U32 => integers().flat_map(|v| (v as u32).to_le_bytes()).collect(),
        _ if cfg!(target_endian = "little") => elements.to_vec(),
        _ => elements.chunks_exact(dtype.size()).flat_map(|e| e.iter().rev().copied()).collect(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_packed_is_unpacked() {
        for dtype in Packed::ALL {
            let tensor = TensorType { dtype, shape: vec![Some(2), None], pad: 0.0 };
            let (low, high) = dtype.range().unwrap_or((-3, 60));
            let values = [low, 0, 1, high];
            let native: Vec<u8> = match dtype {
                Packed::U8 | Packed::I8 => values.map(|v| v as u8).to_vec(),
                Packed::F16 => values.iter().flat_map(|v| half::f16::from_f32(*v as f32).to_ne_bytes()).collect(),
                Packed::BF16 => values.iter().flat_map(|v| half::bf16::from_f32(*v as f32).to_ne_bytes()).collect(),
                Packed::F32 => values.iter().flat_map(|v| (*v as f32).to_ne_bytes()).collect(),
                _ => values.iter().flat_map(|v| v.to_ne_bytes()).collect(),
            };
            let stored = packed(dtype, &native).unwrap();
            assert_eq!(stored.len(), 4 * dtype.size());
            let info = tensor.info(&[2, 2]).unwrap();
            let Media::Tensor { data, shape } = unpacked(&tensor, &stored, &info).unwrap() else { panic!() };
            assert_eq!((shape, data.dtype()), (vec![2, 2], dtype.dtype()));
            assert_eq!(super::super::slot::into_bytes(data), native, "{}", dtype.name());
            let mut wide = vec![0xAA; native.len()];
            widen(dtype, &stored, &mut wide);
            assert_eq!(wide, native, "{}", dtype.name());
            assert!(unpacked(&tensor, &stored[1..], &info).is_err());
        }
        for (dtype, value) in [(Packed::U16, 65_536), (Packed::U16, -1), (Packed::I32, 1 << 31), (Packed::U32, 1 << 32)]
        {
            assert!(packed(dtype, &i64::to_ne_bytes(value)).is_err());
        }
    }

    #[test]
    fn what_is_written_at_once_is_what_the_long_way_writes() {
        use crate::codec::{Limits, by_format};
        use crate::data::feature::Feature;
        use crate::data::info::Format;
        use crate::rng::Key;
        let codec = by_format(Format::Tensor).unwrap();
        for (dtype, shape, own) in Packed::ALL.into_iter().flat_map(|dtype| {
            [
                (vec![None], vec![3]),
                (vec![None, Some(2)], vec![3, 2]),
                (vec![Some(2), None], vec![2, 3]),
                (vec![], vec![]),
            ]
            .map(|(shape, own)| (dtype, shape, own))
        }) {
            let tensor = TensorType { dtype, shape, pad: 1.0 };
            let elements: usize = own.iter().product();
            let stored: Vec<u8> = (0..elements * dtype.size()).map(|b| (b * 37 % 120) as u8).collect();
            let info = tensor.info(&own).unwrap();
            // As large as the sample, longer on its first axis, and on its last.
            for more in [0, 1, 2] {
                let grow = |(axis, length): (usize, &usize)| {
                    let grows = (more == 1 && axis == 0) || (more == 2 && axis + 1 == own.len());
                    length + 2 * usize::from(grows)
                };
                let shape: Vec<usize> = own.iter().enumerate().map(grow).collect();
                let [fused, plain] = [true, false].map(|fuse| {
                    let chain = Chain::stored(&Feature::Tensor(tensor.clone()), Vec::new(), fuse).unwrap();
                    let drawn = chain.draw(&info, Key::new(1));
                    let size = chain.output().unwrap().dtype.size();
                    let mut bytes = vec![0xAA; shape.iter().product::<usize>() * size];
                    let slot = SlotMut { bytes: &mut bytes, shape: &shape, strides: &[], beside: None };
                    let (limits, mut tools) = (Limits::default(), Tools::default());
                    let made = chain.run(&drawn, &stored[..], codec, &limits, &mut tools, slot).unwrap();
                    if elements > 0 {
                        let mut short = vec![0; bytes.len()];
                        let slot = SlotMut { bytes: &mut short, shape: &shape, strides: &[], beside: None };
                        let cut = &stored[..stored.len() - 1];
                        assert!(chain.run(&drawn, cut, codec, &limits, &mut tools, slot).is_err());
                    }
                    (made, bytes)
                });
                assert_eq!(fused, plain, "{} {own:?} in {shape:?}", dtype.name());
                assert_eq!(fused.0.as_slice(), own);
            }
        }
    }
}
