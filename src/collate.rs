//! How samples become columns: a column is opened before its samples are decoded and closed when the last one is.
//!
//! A dense column is one pooled buffer, divided into one region a sample; the pass that finishes a sample writes its region,
//! so closing copies nothing. Columns of unknown length, and byte strings, collect what each sample made and join it.

use std::sync::Arc;

use smallvec::SmallVec;

use crate::augment::{Beside, Late, Output};
use crate::data::batch::{ByteStrings, Column, Dense, Ragged};
use crate::data::buffer::{Held, Pool, Region};
use crate::data::label::Value;
use crate::data::tensor::{DType, Extent};
use crate::error::{Error, Result};

/// The lengths of one sample's axes.
pub type Extents = SmallVec<[usize; 4]>;

/// A column in the making.
#[derive(Debug)]
pub enum Forming {
    /// One buffer, divided among the samples.
    Dense {
        /// The divided buffer.
        held: Held,
        /// The column, still without its buffer.
        shape: Vec<usize>,
        /// N first; empty: row-major.
        strides: Vec<usize>,
        /// Element type.
        dtype: DType,
        /// True lengths of the axes that differ.
        lengths: Vec<(usize, Vec<usize>)>,
    },
    /// Samples bring memory of their own; `None`: byte strings.
    Loose(Option<DType>),
}

/// What one sample brings to the closing of a column.
#[derive(Debug)]
pub enum Part {
    /// It wrote its region; these are its own lengths.
    Written(Extents),
    /// It made this.
    Loose(Late),
    /// Its cell is null, or it is padding.
    Missing,
}

/// Bytes of a dense column for `samples` samples padded to `shape`; `None` beyond what memory can hold.
pub fn dense_bytes(samples: usize, output: &Output, shape: &[usize]) -> Option<usize> {
    let all = samples.checked_mul(output.dtype.size())?;
    let bytes = match output.placement.strides(shape, output.dtype.size())?.first() {
        Some(sample) => all.checked_mul(*sample)?,
        None => shape.iter().try_fold(all, |n, axis| n.checked_mul(*axis))?,
    };
    (isize::try_from(bytes).is_ok()).then_some(bytes)
}

/// Opens a dense column of samples padded to `shape`. Its regions are handed to the samples, in order.
pub fn open(pool: &Arc<Pool>, output: &Output, shape: &[usize], extents: &[Extents]) -> Result<(Forming, Vec<Region>)> {
    let samples = extents.len();
    let bytes = dense_bytes(samples, output, shape).ok_or_else(|| {
        Error::config(
            format!("{samples} samples of {shape:?} {} are more than memory can hold", output.dtype.name()),
            "make the batch smaller, or put an operation in front that bounds the shape",
        )
    })?;
    let (held, regions) = Pool::take(pool, bytes).split(bytes.checked_div(samples).unwrap_or(0), samples);
    let differs = output.shape.iter().enumerate().filter(|(_, e)| !matches!(e, Extent::Fixed(_)));
    let lengths = differs
        .map(|(axis, _)| (axis + 1, extents.iter().map(|e| e.get(axis).copied().unwrap_or(0)).collect()))
        .collect();
    let strides = output.placement.strides(shape, output.dtype.size()).unwrap_or_default().to_vec();
    let shape = std::iter::once(samples).chain(shape.iter().copied()).collect();
    Ok((Forming::Dense { held, shape, strides, dtype: output.dtype, lengths }, regions))
}

impl Forming {
    /// Joins what the samples brought, in their order.
    pub fn close(self, parts: Vec<Part>) -> Result<Column> {
        match self {
            Forming::Dense { held, shape, strides, dtype, mut lengths } => {
                let missing = missing(&parts);
                // What was opened with the most that a sample may be, is told what it is.
                for (axis, own) in &mut lengths {
                    for (length, part) in own.iter_mut().zip(&parts) {
                        match part {
                            Part::Written(made) => *length = made.get(*axis - 1).copied().unwrap_or(*length),
                            // Of what stands in for another sample, nothing may be there.
                            _ => *length = 0,
                        }
                    }
                }
                drop(parts);
                let buffer =
                    held.join().ok_or_else(|| Error::library("closing a batch", "a region is still being written"))?;
                Ok(Column::Dense(Dense { buffer, shape, strides, dtype, lengths, missing }))
            }
            Forming::Loose(dtype) => {
                let missing = missing(&parts);
                let (mut values, mut offsets, mut shapes) = (Vec::new(), vec![0], Vec::new());
                for part in parts {
                    let late = match part {
                        Part::Loose(late) => late,
                        _ => Late { bytes: Vec::new(), shape: vec![0], beside: Vec::new() },
                    };
                    if values.is_empty() {
                        values = late.bytes;
                    } else {
                        values.extend_from_slice(&late.bytes);
                    }
                    offsets.push(values.len());
                    shapes.push(late.shape);
                }
                Ok(match dtype {
                    Some(dtype) => Column::Ragged(Ragged { values, offsets, shapes, dtype, missing }),
                    None => Column::Bytes(ByteStrings { values, offsets, missing }),
                })
            }
        }
    }
}

/// Takes the numbers that ragged samples have beside them, as the parts of a column of their own.
pub fn beside(parts: &mut [Part], beside: Beside) -> Vec<Part> {
    let of = |part: &mut Part| match part {
        Part::Loose(late) => {
            let numbers = std::mem::take(&mut late.beside);
            let places = numbers.len().checked_div(beside.width).unwrap_or(0);
            let shape = if beside.width == 1 { vec![places] } else { vec![places, beside.width] };
            Part::Loose(Late { bytes: bytemuck::pod_collect_to_vec(&numbers), shape, beside: Vec::new() })
        }
        _ => Part::Missing,
    };
    parts.iter_mut().map(of).collect()
}

/// Which parts are missing; empty if none is.
fn missing(parts: &[Part]) -> Vec<bool> {
    let missing: Vec<bool> = parts.iter().map(|p| matches!(p, Part::Missing)).collect();
    if missing.contains(&true) { missing } else { Vec::new() }
}

/// A column of small values, `[N]`. Null becomes -1 in a class column, else 0, NaN or false; `missing` says where.
pub fn values(pool: &Arc<Pool>, dtype: DType, class: bool, cells: &[Value]) -> Dense {
    let mut buffer = Pool::take(pool, cells.len() * dtype.size());
    for (out, cell) in buffer.bytes_mut().chunks_exact_mut(dtype.size()).zip(cells) {
        write(out, dtype, class, cell);
    }
    let missing: Vec<bool> = cells.iter().map(Value::is_null).collect();
    let missing = if missing.contains(&true) { missing } else { Vec::new() };
    Dense { buffer, shape: vec![cells.len()], strides: Vec::new(), dtype, lengths: Vec::new(), missing }
}

/// Puts another value into a column of small values.
pub fn set_value(column: &mut Dense, at: usize, class: bool, cell: &Value) {
    let (size, dtype) = (column.dtype.size(), column.dtype);
    write(&mut column.buffer.bytes_mut()[at * size..(at + 1) * size], dtype, class, cell);
    if cell.is_null() && column.missing.is_empty() {
        column.missing = vec![false; column.shape[0]];
    }
    if let Some(missing) = column.missing.get_mut(at) {
        *missing = cell.is_null();
    }
    if !column.missing.contains(&true) {
        column.missing = Vec::new();
    }
}

fn write(out: &mut [u8], dtype: DType, class: bool, cell: &Value) {
    match dtype {
        DType::I64 => {
            let null = if class { -1 } else { 0 };
            let value = if let Value::Int(v) = cell { *v } else { null };
            out.copy_from_slice(&value.to_ne_bytes());
        }
        DType::F64 => {
            let value = if let Value::Float(v) = cell { *v } else { f64::NAN };
            out.copy_from_slice(&value.to_ne_bytes());
        }
        _ => out.fill(u8::from(matches!(cell, Value::Bool(true)))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slot_is_told_the_length_of_what_came_and_nothing_has_none() {
        let shape = vec![Extent::AtMost(9), Extent::Fixed(2)];
        let output = Output { dtype: DType::U8, shape, pad: 0.0, beside: None, placement: Default::default() };
        let extents: Vec<Extents> = vec![Extents::from_slice(&[9, 2]); 4];
        let (forming, regions) = open(&Pool::new(1), &output, &[9, 2], &extents).unwrap();
        drop(regions);
        let written = |shape: &[usize]| Part::Written(Extents::from_slice(shape));
        let parts = vec![written(&[4, 2]), Part::Missing, written(&[]), written(&[9, 2])];
        let Column::Dense(column) = forming.close(parts).unwrap() else { panic!("a dense column") };
        assert_eq!(column.lengths, [(1, vec![4, 0, 9, 9])]);
        assert_eq!(column.missing, [false, true, false, false]);
    }
}
