//! Stored tensors to elements and back.

use super::{Elements, Media};
use crate::data::info::Info;
use crate::data::packed::{Packed, TensorType};
use crate::error::{Fault, Reason};

/// The tensor in a payload with these facts.
pub(super) fn unpacked(tensor: &TensorType, bytes: &[u8], info: &Info) -> Result<Media, Fault> {
    let shape = tensor.lengths(info);
    let size = shape.iter().try_fold(tensor.dtype.size(), |n, axis| n.checked_mul(*axis));
    if size != Some(bytes.len()) {
        let what = format!("{} bytes of {}, its facts say {shape:?}", bytes.len(), tensor.told());
        return Err(Fault::new(Reason::Corrupt, what));
    }
    let data = match tensor.dtype {
        Packed::U8 => Elements::U8(bytes.to_vec()),
        Packed::I8 => Elements::I8(bytes.iter().map(|b| *b as i8).collect()),
        Packed::U16 => Elements::I64(bytes.as_chunks().0.iter().map(|b| i64::from(u16::from_le_bytes(*b))).collect()),
        Packed::I32 => Elements::I64(bytes.as_chunks().0.iter().map(|b| i64::from(i32::from_le_bytes(*b))).collect()),
        Packed::U32 => Elements::I64(bytes.as_chunks().0.iter().map(|b| i64::from(u32::from_le_bytes(*b))).collect()),
        Packed::I64 => Elements::I64(bytes.as_chunks().0.iter().map(|b| i64::from_le_bytes(*b)).collect()),
        Packed::F16 => Elements::F16(bytes.as_chunks().0.iter().map(|b| half::f16::from_le_bytes(*b)).collect()),
        Packed::BF16 => Elements::BF16(bytes.as_chunks().0.iter().map(|b| half::bf16::from_le_bytes(*b)).collect()),
        Packed::F32 => Elements::F32(bytes.as_chunks().0.iter().map(|b| f32::from_le_bytes(*b)).collect()),
    };
    Ok(Media::Tensor { data, shape })
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
}
